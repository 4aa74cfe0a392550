//! Commands and replies with the values that they stand for, both ways.

use posthaste_smtp_proto::*;

fn parse(line: &str) -> Command<'_> {
    Command::parse(line.as_bytes()).unwrap_or_else(|error| panic!("{line:?}: {error}"))
}

fn encoded(command: &Command<'_>) -> String {
    let mut out = Vec::new();
    command.encode(&mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn commands_of_the_rfcs_parse_and_encode_the_same() {
    for line in [
        "EHLO bar.com",
        "EHLO [192.0.2.1]",
        "HELO relay.example",
        "LHLO foo.edu",
        "MAIL FROM:<Smith@bar.com>",
        "MAIL FROM:<>",
        "MAIL FROM:<ned@thor.innosoft.com> SIZE=500000",
        "MAIL FROM:<ned@ymir.claremont.edu> BODY=8BITMIME",
        "MAIL FROM:<e=mc2@example.com> AUTH=e+3Dmc2@example.com",
        "MAIL FROM:<a@b.c> AUTH=<>",
        "MAIL FROM:<Alice@Example.ORG> RET=HDRS ENVID=QQ314159",
        "MAIL FROM:<a@b.c> SIZE=1 BODY=BINARYMIME SMTPUTF8 RET=FULL REQUIRETLS MT-PRIORITY=-3",
        "MAIL FROM:<grün@bücher.example> SMTPUTF8",
        "MAIL FROM:<a@b.c> BY=120;R X-FOO",
        "RCPT TO:<Jones@XYZ.COM>",
        "RCPT TO:<postmaster>",
        "RCPT TO:<\"a b\"@[IPv6:2001:db8::1]>",
        "RCPT TO:<Bob@Example.COM> NOTIFY=SUCCESS ORCPT=rfc822;Bob@Example.COM",
        "RCPT TO:<Eric@Example.ORG> NOTIFY=SUCCESS,FAILURE,DELAY",
        "RCPT TO:<Fred@Example.NET> NOTIFY=NEVER",
        "DATA",
        "BDAT 86 LAST",
        "BDAT 0",
        "RSET",
        "VRFY Smith",
        "EXPN Example-People",
        "HELP",
        "HELP MAIL",
        "NOOP",
        "NOOP hello there",
        "QUIT",
        "STARTTLS",
        "AUTH PLAIN",
        "AUTH PLAIN dGVzdAB0ZXN0ADEyMzQ=",
        "AUTH EXTERNAL =",
    ] {
        let command = parse(line);
        assert_eq!(encoded(&command), format!("{line}\r\n"));
        assert_eq!(command.clone().into_owned(), command);
    }
}

#[test]
fn case_and_trailing_blanks_do_not_matter() {
    assert_eq!(
        parse("mail from:<a@b.c> size=7 body=8bitmime"),
        parse("MAIL FROM:<a@b.c> SIZE=7 BODY=8BITMIME")
    );
    assert_eq!(parse("QuIt \t"), Command::Quit);
    assert_eq!(parse("rcpt to:<POSTMASTER>"), parse("RCPT TO:<postmaster>"));
}

#[test]
fn common_slips_are_taken() {
    assert_eq!(parse("MAIL FROM: <a@b.c>"), parse("MAIL FROM:<a@b.c>"));
    assert_eq!(parse("RCPT TO:<@relay.one,@relay.two:a@b.c>"), parse("RCPT TO:<a@b.c>"));
}

#[test]
fn fields_hold_what_the_parameters_say() {
    let Command::Mail { from, params } = parse("MAIL FROM:<a@b.c> SIZE=77 ENVID=a+20b X=y") else { panic!() };
    assert_eq!(from.mailbox().unwrap().local.as_str(), "a");
    assert!(from.mailbox().unwrap().domain.same_name("B.C"));
    assert_eq!(params.size, Some(77));
    assert_eq!(params.envid.as_ref().unwrap().as_str(), "a b");
    assert_eq!(params.other()[0].name.as_str(), "X");
    assert_eq!(params.other()[0].value.as_ref().unwrap().as_str(), "y");
}

#[test]
fn an_unknown_auth_sender_is_one_however_it_is_written() {
    assert_eq!(parse("MAIL FROM:<a@b> AUTH=+3C+3E"), parse("MAIL FROM:<a@b> AUTH=<>"));
}

#[test]
fn bad_commands_are_refused_with_the_right_reply() {
    for (line, code) in [
        ("FOO", "500 5.5.1"),
        ("", "500 5.5.1"),
        (" NOOP", "500 5.5.1"),
        ("VERYLONGVERB", "500 5.5.1"),
        ("EHLO", "501 5.5.4"),
        ("EHLO a b", "501 5.5.4"),
        ("DATA now", "501 5.5.4"),
        ("MAIL", "501 5.5.4"),
        ("MAIL FROM:a@b.c", "501 5.1.7"),
        ("MAIL FROM:<a@b.c", "501 5.1.7"),
        ("MAIL FROM:<a@b.c>SIZE=1", "501 5.1.7"),
        ("MAIL FROM:<postmaster>", "501 5.1.7"),
        ("RCPT TO:<>", "501 5.1.3"),
        ("RCPT TO:<a b@c>", "501 5.1.3"),
        ("MAIL FROM:<a@b.c> SIZE=x", "501 5.5.4"),
        ("MAIL FROM:<a@b.c> SIZE=99999999999999999999999", "501 5.5.4"),
        ("MAIL FROM:<a@b.c> SIZE=1 SIZE=2", "501 5.5.4"),
        ("MAIL FROM:<a@b.c> MT-PRIORITY=10", "501 5.5.4"),
        ("MAIL FROM:<a@b.c> SMTPUTF8=1", "501 5.5.4"),
        ("MAIL FROM:<a@b.c> ENVID=a+0D+0Ab", "501 5.5.4"),
        ("MAIL FROM:<grün@b.c>", "553 5.6.7"),
        ("AUTH", "501 5.5.4"),
        ("AUTH PLAIN no!base64", "501 5.5.2"),
        ("NOOP a\x01b", "500 5.5.2"),
        ("BDAT x", "421 4.5.4"),
        ("BDAT 99999999999999999999", "421 4.5.4"),
    ] {
        let reply = Command::parse(line.as_bytes()).expect_err(line).reply().to_string();
        assert!(reply.starts_with(code), "{line:?} got {reply}");
    }
    assert_eq!(Command::parse(b"NOOP \xff"), Err(SyntaxError::NotUtf8));
}

#[test]
fn credentials_show_neither_in_debug_nor_in_display() {
    let command = parse("AUTH PLAIN AGFsaWNlAHNlY3JldA==");
    for shown in [format!("{command:?}"), command.to_string()] {
        assert!(!shown.contains("AGFs"), "{shown}");
    }
}

fn replies(wire: &[u8]) -> Vec<Result<Reply, ReplyError>> {
    let mut receiver = ReplyReceiver::new(ReplyConfig { line_max: 64, lines_max: 4 });
    let mut input = wire;
    let mut out = Vec::new();
    while let Some(reply) = receiver.next(&mut input) {
        let stop = reply.is_err();
        out.push(reply);
        if stop {
            break;
        }
    }
    out
}

#[test]
fn replies_of_a_server_parse() {
    let wire =
        b"220 mx ready\r\n250-mx\r\n250-SIZE 10\r\n250 DSN\r\n550-5.1.1 no\r\n550 5.1.1 such user\r\n354\r\n";
    let expected = [
        Reply::plain(220, "mx ready"),
        Reply::plain(250, "mx\nSIZE 10\nDSN"),
        Reply::new(550, (1, 1), "no\nsuch user"),
        Reply::plain(354, ""),
    ];
    assert_eq!(replies(wire), expected.map(Ok));
}

#[test]
fn senseless_replies_are_typed_errors() {
    let long = [b"250 ".as_slice(), &[b'x'; 64]].concat();
    for (wire, error) in [
        (b"what\r\n".as_slice(), ReplyError::Malformed),
        (b"199 x\r\n", ReplyError::Malformed),
        (b"25 x\r\n", ReplyError::Malformed),
        (b"250_x\r\n", ReplyError::Malformed),
        (b"250 x\n", ReplyError::Malformed),
        (b"250-a\r\n251 b\r\n", ReplyError::CodeChanged),
        (b"250-a\r\n250-b\r\n250-c\r\n250-d\r\n250 e\r\n", ReplyError::TooManyLines { limit: 4 }),
        (&long, ReplyError::LineTooLong { limit: 64 }),
    ] {
        assert_eq!(replies(wire), [Err(error)], "{wire:?}");
    }
}

//! The examples of the extensions' RFCs, both ways.

use posthaste_smtp_proto::*;

use crate::{Seen, run, run_pieces};

fn parse(line: &str) -> Command<'_> {
    Command::parse(line.as_bytes()).unwrap_or_else(|error| panic!("{line:?}: {error}"))
}

/// Examples as they stand in their RFCs, and what we would send for them where that looks different.
#[test]
fn commands_of_the_extensions_parse_and_encode_the_same() {
    for line in [
        // RFC 1870 §6
        "MAIL FROM:<ned@thor.innosoft.com> SIZE=500000",
        // RFC 6152 §4
        "MAIL FROM:<ned@ymir.claremont.edu> BODY=8BITMIME",
        // RFC 3030 §4
        "MAIL FROM:<sam@random.com> BODY=BINARYMIME",
        "BDAT 86 LAST",
        "BDAT 100000",
        // RFC 3461 §10
        "MAIL FROM:<Alice@Example.ORG> RET=HDRS ENVID=QQ314159",
        "RCPT TO:<Bob@Example.COM> NOTIFY=SUCCESS ORCPT=rfc822;Bob@Example.COM",
        "RCPT TO:<Carol@Ivory.EDU> NOTIFY=FAILURE ORCPT=rfc822;Carol@Ivory.EDU",
        "RCPT TO:<Eric@Bombs.AF.MIL> NOTIFY=NEVER",
        // RFC 4954 §5
        "MAIL FROM:<e=mc2@example.com> AUTH=e+3Dmc2@example.com",
        "MAIL FROM:<john+@example.org> AUTH=<>",
        // RFC 6531
        "MAIL FROM:<用户@例え.example> SMTPUTF8",
        "VRFY grün",
        // RFC 2852 §4
        "MAIL FROM:<eljefe@bigbiz.example> BY=120;R",
        "MAIL FROM:<eljefe@bigbiz.example> BY=-5;NT",
        // RFC 4865
        "MAIL FROM:<a@b.example> HOLDFOR=86400",
        "MAIL FROM:<a@b.example> HOLDUNTIL=2026-12-24T18:00:00Z",
        // RFC 6710 §8
        "MAIL FROM:<eljefe@example.net> MT-PRIORITY=6",
        "MAIL FROM:<eljefe@example.net> MT-PRIORITY=-9",
        // RFC 8689 §4
        "MAIL FROM:<roger@example.org> REQUIRETLS",
        // Postfix's readmes
        "XCLIENT NAME=spike.porcupine.org ADDR=168.100.189.2",
        "XCLIENT DESTADDR=IPV6:2001:db8::1 DESTPORT=25 LOGIN=[UNAVAILABLE]",
        "XFORWARD NAME=[TEMPUNAVAIL] ADDR=168.100.189.2 PROTO=ESMTP",
        "XFORWARD IDENT=4QxZy SOURCE=REMOTE PORT=1234",
        // RFC 4468 §3.4
        "BURL imap://harry@gryffindor.example.com/outbox;uidvalidity=1078863300/;uid=25;urlauth=submit+harry:internal:91354a473744909de610943775f92038 LAST",
        "BURL imap://harry@gryffindor.example.com/outbox/;uid=25/;section=1.5",
        // RFC 1985
        "ETRN mail.systemx.example",
        "ETRN @systemy.example",
        "ETRN #uucp",
        // RFC 2645
        "ATRN",
        "ATRN example.org,example.com",
        // RFC 7293, 3865, 3885 and 4141, and Cyrus's LMTP: parameters that this crate passes on
        "MAIL FROM:<a@b.example> SOLICIT=org.example:ADV:ADLT MTRK=abc:123 CONNEG",
        "RCPT TO:<a@b.example> RRVS=2014-04-03T23:01:00Z CONPERM",
        "RCPT TO:<a@b.example> IGNOREQUOTA",
        // RFC 2033 §4.3
        "LHLO foo.edu",
    ] {
        let command = parse(line);
        let mut out = Vec::new();
        command.encode(&mut out);
        assert_eq!(String::from_utf8(out).unwrap(), format!("{line}\r\n"));
        assert_eq!(command.clone().into_owned(), command);
    }
}

#[test]
fn parameters_that_break_their_rfc_are_refused() {
    for line in [
        "MAIL FROM:<a@b> BY=0;R",
        "MAIL FROM:<a@b> BY=1234567890;N",
        "MAIL FROM:<a@b> BY=5",
        "MAIL FROM:<a@b> HOLDFOR=0",
        "MAIL FROM:<a@b> HOLDFOR=1000000000",
        "MAIL FROM:<a@b> HOLDUNTIL=2026-02-30T00:00:00Z",
        "MAIL FROM:<a@b> HOLDFOR=1 HOLDUNTIL=2026-12-24T18:00:00Z",
        "MAIL FROM:<a@b> MT-PRIORITY=-10",
        "MAIL FROM:<a@b> MT-PRIORITY=+1",
        "MAIL FROM:<a@b> BODY=9BIT",
        "MAIL FROM:<a@b> RET=",
        "MAIL FROM:<a@b> REQUIRETLS=yes",
        "MAIL FROM:<a@b> ENVID=a+0D+0AQUIT",
        "RCPT TO:<a@b> NOTIFY=NEVER,SUCCESS",
        "RCPT TO:<a@b> NOTIFY=",
        "RCPT TO:<a@b> ORCPT=rfc822",
        "RCPT TO:<a@b> ORCPT=;a@b",
        "RCPT TO:<a@b> ORCPT=rfc822;a+0Ab",
        "XCLIENT NAME=a+0D+0AQUIT",
        "XFORWARD WHAT=x",
    ] {
        let error = Command::parse(line.as_bytes()).expect_err(line);
        assert!(
            matches!(error, SyntaxError::BadParameter | SyntaxError::DuplicateParameter),
            "{line}: {error}"
        );
        assert_eq!(error.reply().code(), 501);
    }
}

#[test]
fn commands_that_ask_for_waiting_mail_or_name_a_url_are_checked() {
    for (line, error) in [
        ("ETRN", SyntaxError::MissingArgument),
        ("ETRN @", SyntaxError::BadDomain),
        ("ETRN a b", SyntaxError::BadDomain),
        ("ETRN a..b", SyntaxError::BadDomain),
        ("ATRN a,", SyntaxError::BadDomain),
        ("ATRN a b", SyntaxError::BadDomain),
        ("BURL", SyntaxError::MissingArgument),
        ("BURL imap://a LAST LAST", SyntaxError::BadUrl),
        ("BURL imap://a b", SyntaxError::BadUrl),
    ] {
        assert_eq!(Command::parse(line.as_bytes()), Err(error), "{line}");
        assert_eq!(error.reply().code(), 501);
    }
}

/// RFC 5321, appendices F.1 and F.6: not to be implemented, so 502 and not 500 (§4.2.4).
#[test]
fn turn_and_the_sending_commands_are_refused() {
    for line in ["TURN", "turn", "SEND FROM:<a@b>", "SOML FROM:<a@b>", "SAML FROM:<a@b>"] {
        let error = Command::parse(line.as_bytes()).expect_err(line);
        assert_eq!((error, error.reply().code()), (SyntaxError::Obsolete, 502), "{line}");
    }
}

#[test]
fn a_pipelined_group_of_rfc_2920_is_read_in_one_go() {
    let wire = b"MAIL FROM:<mrose@dbc.mtview.ca.us>\r\nRCPT TO:<ned@innosoft.com>\r\n\
        RCPT TO:<dan@innosoft.com>\r\nRCPT TO:<kvc@innosoft.com>\r\nDATA\r\nhi\r\n.\r\nQUIT\r\n";
    let seen = run(wire);
    assert_eq!(seen.len(), 8);
    let ends: Vec<bool> = seen
        .iter()
        .filter_map(|s| if let Seen::Command(c) = s { Some(c.ends_group()) } else { None })
        .collect();
    assert_eq!(ends, [false, false, false, false, true, true]);
}

#[test]
fn chunks_of_rfc_3030_stream_with_whatever_they_hold() {
    let mut receiver = Receiver::new(Config::default());
    receiver.expect_binary();
    let mut input = b"BDAT 6\r\na\0\nb\r.BDAT 4 LAST\r\n\r\n.\nQUIT\r\n".as_slice();
    let mut body = Vec::new();
    let mut ends = Vec::new();
    while let Some(event) = receiver.next(&mut input) {
        match event {
            Event::Body(text) => body.extend_from_slice(text),
            Event::EndOfChunk { last, violation } => ends.push((last, violation)),
            _ => {}
        }
    }
    assert_eq!(body, b"a\0\nb\r.\r\n.\n");
    assert_eq!(ends, [(false, None), (true, None)]);
    // The next message is text again.
    let mut input = b"BDAT 2 LAST\r\n\n\n".as_slice();
    let last =
        std::iter::from_fn(|| receiver.next(&mut input).map(|event| format!("{event:?}"))).last().unwrap();
    assert!(last.contains("BareLf"), "{last}");
}

#[test]
fn other_scripts_stand_where_rfc_6531_has_them_and_nowhere_else() {
    for (line, error) in [
        ("MAIL FROM:<grün@example.org>", SyntaxError::NeedsSmtpUtf8),
        ("MAIL FROM:<\"grün\"@example.org>", SyntaxError::NeedsSmtpUtf8),
        ("MAIL FROM:<\"grün\"@[tag:content]>", SyntaxError::NeedsSmtpUtf8),
        ("MAIL FROM:<green@[tag:grün]>", SyntaxError::NeedsSmtpUtf8),
        ("EHLO grün.example", SyntaxError::BadClientName),
        ("AUTH GRÜN", SyntaxError::BadAuth),
        ("MAIL FROM:<a@b> GRÜN=1", SyntaxError::BadParameter),
        ("GRÜN", SyntaxError::UnknownCommand),
        ("MAIL FROM:<a\u{85}@b> SMTPUTF8", SyntaxError::ControlCharacter),
    ] {
        assert_eq!(Command::parse(line.as_bytes()), Err(error), "{line}");
    }
    let Command::Rcpt { to: ForwardPath::Mailbox(to), .. } = parse("RCPT TO:<grün@bücher.example>") else {
        panic!()
    };
    assert!(!to.is_ascii(), "the session refuses it where MAIL had no SMTPUTF8");
}

/// RFC 4954 §4.1 and §4.3: with and without initial response, given up, and refused.
#[test]
fn auth_exchanges_of_rfc_4954() {
    let wire = b"AUTH PLAIN dGVzdAB0ZXN0ADEyMzQ=\r\n\r\nAUTH PLAIN\r\ndGVzdAB0ZXN0ADEyMzQ=\r\nAUTH DIGEST-MD5\r\n*\r\nQUIT\r\n";
    let seen = run_pieces(Config::default(), [wire.as_slice()]);
    assert_eq!(seen[1], Seen::Sasl(Some(String::new())));
    assert_eq!(seen[3], Seen::Sasl(Some("dGVzdAB0ZXN0ADEyMzQ=".into())));
    assert_eq!(seen[5..], [Seen::Sasl(None), Seen::Command(Command::Quit)]);
}

/// The client's side of the same.
#[test]
fn a_client_answers_a_challenge() {
    let mut receiver = ReplyReceiver::default();
    let mut input = b"334 VXNlcm5hbWU6\r\n334 \r\n235 2.7.0 welcome\r\n".as_slice();
    let mut challenges = Vec::new();
    while let Some(reply) = receiver.next(&mut input) {
        challenges.push(reply.unwrap().challenge().map(|challenge| challenge.expose().to_owned()));
    }
    assert_eq!(challenges, [Some("VXNlcm5hbWU6".to_owned()), Some(String::new()), None]);
    let mut wire = b"AUTH LOGIN\r\n".to_vec();
    SaslResponse::Response(Secret::new("dGlt").unwrap()).encode(&mut wire);
    wire.extend(b"AUTH LOGIN\r\n");
    SaslResponse::Cancel.encode(&mut wire);
    let seen = run(&wire);
    assert_eq!((&seen[1], &seen[3]), (&Seen::Sasl(Some("dGlt".into())), &Seen::Sasl(None)));
}

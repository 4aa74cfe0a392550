//! Known answers: commands of RFC 3501 and of real clients.

use posthaste_imap_proto::*;

fn parse(text: &str) -> Result<Command<'_>, ParseError> {
    Command::parse(text.as_bytes(), &ParseLimits::default())
}

fn body(text: &str) -> CommandBody<'_> {
    parse(text).unwrap_or_else(|e| panic!("{text}: {e}")).body
}

/// Written in the form that the encoder chooses, so that they hold both ways.
const CANONICAL: &[&str] = &[
    "a CAPABILITY",
    "a NOOP",
    "a LOGOUT",
    "a STARTTLS",
    "a AUTHENTICATE PLAIN",
    "a AUTHENTICATE PLAIN =",
    "a AUTHENTICATE PLAIN AGFsaWNlAHNlY3JldA==",
    "a LOGIN alice secret",
    "a LOGIN \"al ice\" \"se\\\"c\\\\ret\"",
    "a LOGIN {7+}\r\n\u{fc}\u{fc}\u{fc}x \"\"",
    "a SELECT INBOX",
    "a EXAMINE Entw&APw-rfe",
    "a CREATE \"a b\"",
    "a DELETE blurdybloop",
    "a RENAME INBOX old-mail",
    "a SUBSCRIBE #news.comp.mail.mime",
    "a UNSUBSCRIBE \"\"",
    "a LIST \"\" \"*\"",
    "a LSUB #news. \"comp.mail.%\"",
    "a STATUS blurdybloop (UIDNEXT MESSAGES UIDVALIDITY UNSEEN RECENT)",
    "a APPEND saved-messages (\\Seen $Junk) \" 7-Feb-1994 22:43:04 -0800\" {5+}\r\nhello",
    "a APPEND INBOX {0+}\r\n",
    "a NAMESPACE",
    "a ID NIL",
    "a ID (\"name\" \"x\" \"version\" NIL)",
    "a IDLE",
    "a CHECK",
    "a CLOSE",
    "a UNSELECT",
    "a EXPUNGE",
    "a UID EXPUNGE 3000:3002,*",
    "a SEARCH ALL",
    "a SEARCH FLAGGED SINCE 1-Feb-1994 NOT FROM Smith",
    "a UID SEARCH CHARSET UTF-8 TEXT {8+}\r\n\u{43f}\u{440}\u{438}\u{432}",
    "a SEARCH OR (SEEN ANSWERED) NOT OR DELETED 1:5,7 HEADER Message-Id <x@y> UID 5:*",
    "a SEARCH BCC a BODY b CC c FROM d SUBJECT e TO g KEYWORD k UNKEYWORD l",
    "a SEARCH BEFORE 1-Jan-2000 ON 2-Jan-2000 SENTBEFORE 3-Jan-2000 SENTON 4-Jan-2000 SENTSINCE 5-Jan-2000",
    "a SEARCH LARGER 100 SMALLER 4294967296",
    "a SEARCH ANSWERED DELETED DRAFT FLAGGED NEW OLD RECENT SEEN UNANSWERED UNDELETED UNDRAFT UNFLAGGED UNSEEN",
    "a FETCH 2:4 ALL",
    "a FETCH 1 FAST",
    "a UID FETCH 1:* FULL",
    "a FETCH 1 (FLAGS UID INTERNALDATE RFC822 RFC822.HEADER RFC822.SIZE RFC822.TEXT ENVELOPE BODY BODYSTRUCTURE)",
    "a FETCH 1 (BODY[] BODY.PEEK[HEADER] BODY[TEXT]<0.100> BODY[1.2.MIME] BODY[3] BODY[4.1.HEADER])",
    "a FETCH 2:4 (BODY.PEEK[HEADER.FIELDS (DATE FROM)] BODY[1.HEADER.FIELDS.NOT (\"x y\")]<2048.1024>)",
    "a STORE 2:4 +FLAGS (\\Deleted)",
    "a UID STORE 7 -FLAGS.SILENT (\\Seen $Forwarded)",
    "a STORE * FLAGS ()",
    "a COPY 2:4 MEETING",
    "a UID COPY 1,3 \"Sent Items\"",
];

#[test]
fn known_commands_parse_and_encode_to_the_same_octets() {
    for text in CANONICAL {
        let command = parse(text).unwrap_or_else(|e| panic!("{text}: {e}"));
        let encoded = command.encode(Literals::NonSync);
        assert_eq!(String::from_utf8_lossy(&encoded.bytes), format!("{text}\r\n"));
        assert!(encoded.pauses.is_empty());
        assert_eq!(command.clone().into_owned(), command);
    }
}

#[test]
fn commands_are_understood_in_any_case_and_spelling() {
    assert_eq!(body("a uid fetch 1 flags"), body("a UID FETCH 1 (FLAGS)"));
    assert_eq!(body("a select inbox"), CommandBody::Select(Mailbox::INBOX));
    assert_eq!(body("a store 1 +flags \\seen \\DELETED"), body("a STORE 1 +FLAGS (\\Seen \\Deleted)"));
    assert_eq!(body("a LOGIN {5}\r\nalice {3}\r\nfoo"), body("a LOGIN alice \"foo\""));
    assert_eq!(body("a LIST \"\" %"), body("a LIST \"\" \"%\""));
    assert_eq!(body("a SEARCH since \"1-feb-1994\""), body("a SEARCH SINCE 01-Feb-1994"));
    assert_eq!(
        body("a fetch 1 body.peek[header.fields (to)]"),
        body("a FETCH 1 (BODY.PEEK[HEADER.FIELDS (to)])")
    );
}

#[test]
fn a_refused_command_keeps_its_tag() {
    for text in [
        "a1 FOO",
        "a1 UID FOO 1",
        "a1 FETCH",
        "a1 FETCH 0 FLAGS",
        "a1 FETCH 1 ()",
        "a1 FETCH 1 (BODY[1.])",
        "a1 FETCH 1 (BODY[MIME])",
        "a1 FETCH 1 BODY[]<0.0>",
        "a1 FETCH 4294967296 FLAGS",
        "a1 STORE 1 FLAGS (",
        "a1 LOGIN alice",
        "a1 LOGIN alice secret more",
        "a1 LOGIN  alice secret",
        "a1 LOGIN \"alice",
        "a1 LOGIN \"al\0ice\" x",
        "a1 LOGIN {2}\r\n\0a x",
        "a1 SELECT (x)",
        "a1 SEARCH",
        "a1 SEARCH NOT",
        "a1 SEARCH (ALL",
        "a1 SEARCH SINCE 31-Feb-2020",
        "a1 AUTHENTICATE PLAIN a",
        "a1 APPEND x CATENATE (TEXT {1}\r\nx)",
        "a1 NOOP ",
        "a1",
    ] {
        let error = parse(text).expect_err(text);
        assert_eq!(error.tag.expect(text).as_str(), "a1", "{text}");
    }
    for text in ["", " NOOP", "* NOOP", "a+ NOOP", "\0"] {
        assert_eq!(parse(text).expect_err(text).tag, None, "{text}");
    }
}

#[test]
fn credentials_do_not_show_in_debug() {
    let login = parse("a LOGIN alice opensesame").unwrap();
    let auth = parse("a AUTHENTICATE PLAIN b3BlbnNlc2FtZQ==").unwrap();
    let encoded = login.encode(Literals::Sync);
    for text in [format!("{login:?}"), format!("{auth:?}"), format!("{encoded:?}")] {
        assert!(!text.contains("opensesame") && !text.contains("b3Blbn"), "{text}");
    }
    let mut input: &[u8] = b"a LOGIN alice opensesame\r\n";
    let mut decoder = CommandDecoder::new(Config::default());
    let text = format!("{:?}", decoder.decode(&mut input));
    assert!(!text.contains("opensesame"), "{text}");
    let CommandBody::Authenticate { initial: Some(secret), .. } = auth.body else { panic!() };
    assert_eq!(secret.expose(), b"opensesame");
}

#[test]
fn a_client_pauses_at_each_synchronizing_literal() {
    let login = parse("a LOGIN {4+}\r\n\u{fc}\u{fc} {2+}\r\n\u{fc}").unwrap();
    let encoded = login.encode(Literals::Sync);
    let [first, second] = encoded.pauses[..] else { panic!("{encoded:?}") };
    assert_eq!(&encoded.bytes[..first], b"a LOGIN {4}\r\n");
    assert_eq!(&encoded.bytes[first..second], "\u{fc}\u{fc} {2}\r\n".as_bytes());
    assert_eq!(&encoded.bytes[second..], "\u{fc}\r\n".as_bytes());
}

#[test]
fn an_append_with_everything_before_its_message_parses() {
    let CommandBody::Append { head, message } =
        body("a APPEND \"x y\" (\\Seen) \"01-Jan-2024 00:00:00 +0100\" {3}\r\nabc")
    else {
        panic!()
    };
    assert_eq!(head.mailbox.as_wire(), b"x y");
    assert_eq!(head.flags, [Flag::Seen]);
    assert_eq!(head.date.unwrap().unix(), 1_704_063_600);
    assert_eq!(*message, *b"abc");
}

//! Known answers: responses of RFC 3501 section 8 and of real servers.

use posthaste_imap_proto::*;

fn parse(text: &str) -> Response<'_> {
    Response::parse(text.as_bytes(), &ParseLimits::client()).unwrap_or_else(|e| panic!("{text}: {e}"))
}

/// In the encoder's own form, so that they hold both ways.
const CANONICAL: &[&str] = &[
    "* OK [CAPABILITY IMAP4rev1 LITERAL+ AUTH=PLAIN] ready",
    "* PREAUTH hello",
    "* BYE going down",
    "a OK done",
    "a NO [TRYCREATE] no such mailbox",
    "a BAD [CLIENTBUG] what?",
    "a NO [BADCHARSET (UTF-8 US-ASCII)] no",
    "a NO [BADCHARSET] no",
    "* OK [UIDVALIDITY 3857529045] UIDs valid",
    "* OK [UIDNEXT 4392] next",
    "* OK [UNSEEN 12] first",
    "* OK [PERMANENTFLAGS (\\Deleted \\Seen \\*)] limited",
    "a OK [READ-WRITE] selected",
    "a OK [APPENDUID 38505 3955] done",
    "a OK [COPYUID 38505 304,319:320 3956:3958] done",
    "a NO [X-FUTURE some \"value ]\" (x)] text",
    "* CAPABILITY IMAP4rev1 STARTTLS AUTH=GSSAPI",
    "* LIST (\\Noselect \\HasChildren) \".\" \"a b\"",
    "* LIST () NIL INBOX",
    "* LSUB (\\Marked) \"\\\\\" #news.x",
    "* STATUS blurdybloop (MESSAGES 231 UIDNEXT 44292)",
    "* SEARCH",
    "* SEARCH 2 84 882",
    "* FLAGS (\\Answered \\Seen $Forwarded)",
    "* 23 EXISTS",
    "* 5 RECENT",
    "* 44 EXPUNGE",
    "* 23 FETCH (FLAGS (\\Seen) RFC822.SIZE 44827 UID 17)",
    "* 12 FETCH (INTERNALDATE \"17-Jul-1996 02:44:25 -0700\")",
    "* 12 FETCH (BODY[HEADER] {4}\r\nab\r\n BODY[1.TEXT]<5> NIL RFC822 {0}\r\n)",
    "* 1 FETCH (X-GM-LABELS (\\Inbox \"a b\") X-GM-MSGID 1278455344230334865 BINARY[1] {2}\r\nxy)",
    "* 12 FETCH (ENVELOPE (\"Wed, 17 Jul 1996 02:23:25 -0700 (PDT)\" \"IMAP4rev1 WG mtg\" ((\"Terry Gray\" NIL \"gray\" \"cac.washington.edu\")) \
((\"Terry Gray\" NIL \"gray\" \"cac.washington.edu\")) NIL ((NIL NIL \"imap\" \"x\")(NIL NIL \"b\" \"y\")) NIL NIL NIL \"<B27397-0100000@x>\"))",
    "* 12 FETCH (BODY (\"TEXT\" \"PLAIN\" (\"CHARSET\" \"US-ASCII\") NIL NIL \"7BIT\" 3028 92))",
    "* 1 FETCH (BODYSTRUCTURE ((\"TEXT\" \"PLAIN\" NIL NIL NIL \"7BIT\" 1152 23 NIL NIL NIL NIL)(\"APPLICATION\" \"PDF\" (\"NAME\" \"a\") \"<id>\" \
\"d\" \"BASE64\" 4554 \"md5\" (\"ATTACHMENT\" (\"FILENAME\" \"a\")) (\"en\" \"de\") \"loc\" 5 (NIL \"x\")) \"MIXED\" (\"BOUNDARY\" \"b\") NIL NIL NIL))",
    "* 1 FETCH (BODY (\"MESSAGE\" \"RFC822\" NIL NIL NIL \"7BIT\" 300 (NIL \"s\" NIL NIL NIL NIL NIL NIL NIL NIL) \
(\"TEXT\" \"PLAIN\" NIL NIL NIL \"7BIT\" 3 1) 9))",
    "* NAMESPACE ((\"\" \".\")) NIL ((\"#shared/\" \"/\")(\"x\" NIL))",
    "* ID (\"name\" \"Cyrus\")",
    "* ID NIL",
    "* ENABLED CONDSTORE",
    "* 5 X-THING a b",
    "+ send it",
    "+ ",
];

#[test]
fn known_responses_parse_and_encode_to_the_same_octets() {
    for text in CANONICAL {
        let response = parse(text);
        let mut out = Vec::new();
        response.encode(&mut out);
        assert_eq!(String::from_utf8_lossy(&out), format!("{text}\r\n"));
        assert_eq!(response.clone().into_owned(), response);
    }
}

#[test]
fn what_real_servers_write_is_understood() {
    // No space between addresses, `()` for none, NIL for a parameter's value or an encoding, spaces at the end.
    assert_eq!(parse("* SEARCH 1 2 "), parse("* SEARCH 1 2"));
    assert_eq!(parse("* CAPABILITY IMAP4rev1 "), parse("* CAPABILITY IMAP4rev1"));
    assert_eq!(parse("* STATUS x (MESSAGES 1 SIZE 5) "), parse("* STATUS x (MESSAGES 1)"));
    assert_eq!(
        parse("* 1 FETCH (ENVELOPE (NIL NIL () NIL NIL NIL NIL NIL NIL NIL))"),
        parse("* 1 FETCH (ENVELOPE (NIL NIL NIL NIL NIL NIL NIL NIL NIL NIL))")
    );
    let Response::Data(Data::Fetch { items, .. }) =
        parse("* 1 FETCH (BODY (\"TEXT\" \"PLAIN\" (\"CHARSET\" NIL) NIL NIL NIL 5))")
    else {
        panic!()
    };
    assert!(matches!(&items[0], FetchData::Body(_)));
    assert_eq!(parse("+"), parse("+ "));
    assert!(matches!(parse("a OK"), Response::Tagged { .. }));
    let Response::Status(status) = parse("* OK [unclosed text") else { panic!() };
    assert_eq!((status.code, &*status.text), (None, "[unclosed text"));
    let Response::Status(status) = parse("* OK [UIDNEXT none] text") else { panic!() };
    assert!(matches!(status.code, Some(Code::Other { .. })));
}

#[test]
fn encoded_text_cannot_break_out_of_its_line() {
    let mut out = Vec::new();
    Response::Status(Status::new(StatusKind::Ok, "x\r\n* BYE\0")).encode(&mut out);
    assert_eq!(out, b"* OK x  * BYE \r\n");
    out.clear();
    let entry =
        ListEntry { attributes: vec![], delimiter: Some(b'.'), mailbox: Mailbox::from_wire(&b"a\r\nb"[..]) };
    Response::Data(Data::List(entry)).encode(&mut out);
    assert_eq!(out, b"* LIST () \".\" {4}\r\na\r\nb\r\n");
    assert!(Tag::new("a\r\n").is_none() && Atom::new("").is_none() && Flag::keyword("a b").is_none());
}

#[test]
fn fetch_flags_encode_without_allocating() {
    let flags = [Flag::Seen, Flag::Keyword(Atom::new("$Junk").unwrap())];
    let mut out = Vec::with_capacity(256);
    let before = out.as_ptr();
    for seq in 1..=4 {
        let mut fetch = FetchWriter::new(&mut out, seq);
        fetch.flags(&flags);
        fetch.uid(u32::MAX);
        fetch.end();
    }
    assert!(out.starts_with(b"* 1 FETCH (FLAGS (\\Seen $Junk) UID 4294967295)\r\n* 2 FETCH"));
    assert_eq!(out.as_ptr(), before);
}

#[test]
fn a_large_literal_can_be_sent_without_being_copied() {
    let mut out = Vec::new();
    let mut fetch = FetchWriter::new(&mut out, 3);
    fetch.uid(7);
    fetch.section_start(&Section::default(), Some(5), 4);
    out.extend_from_slice(b"data");
    let mut fetch = FetchWriter::resume(&mut out);
    fetch.flags(&[]);
    fetch.end();
    assert_eq!(out, b"* 3 FETCH (UID 7 BODY[]<5> {4}\r\ndata FLAGS ())\r\n");
}

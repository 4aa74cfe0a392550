//! Known answers: responses of RFC 3501 section 8 and of real servers.

use posthaste_imap_proto::*;

fn parse(text: &str) -> Response<'_> {
    Response::parse(text.as_bytes(), &ParseLimits::client()).unwrap_or_else(|e| panic!("{text}: {e}"))
}

/// In the encoder's own form, so that they hold both ways.
pub(crate) const CANONICAL: &[&str] = &[
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
    "* GENURLAUTH imap://joe@example.com/INBOX/;uid=20/;section=1.2;urlauth=submit+fred:internal:91354a47 y",
    "* URLFETCH imap://x/INBOX/;uid=20 \"Si vis pacem, para bellum\" y NIL z {2}\r\n\u{e9}",
    "* LANGUAGE (de)",
    "* LANGUAGE (EN DE IT i-default)",
    "* COMPARATOR i;unicode-casemap",
    "* COMPARATOR i;basic (i;ascii-casemap i;octet)",
    "* OK [URLMECH INTERNAL XSAMPLE=P34OKhO7VEkCbsiYY8rGEg==] done",
    "a NO [BADCOMPARATOR] none of them",
    "a NO [UNDEFINED-FILTER on-the-road] no such filter",
    "* OK [ANNOTATIONS 20480 NOPRIVATE] annotations",
    "a NO [ANNOTATE TOOBIG] too big",
    "* 12 FETCH (UID 1123 ANNOTATION (/comment (value.priv \"My comment\" size.priv \"10\")))",
    "* LIST (\\NonExistent) \"/\" Foo (\"CHILDINFO\" (\"SUBSCRIBED\") \"OLDNAME\" (Bar) \"X\" (1 2))",
    "* STATUS x (UIDNEXT 44292 HIGHESTMODSEQ 7011231777 SIZE 44421 APPENDLIMIT NIL MAILBOXID (F2212ea87-6097) X-FUTURE (a b))",
    "* SEARCH 2 5 6 (MODSEQ 917162500)",
    "* SORT 5 3 4 1 2",
    "* SORT",
    "* THREAD (2)(3 6 (4 23)(44 7 96))",
    "* THREAD ((3)(5))",
    "* THREAD",
    "* ESEARCH",
    "* ESEARCH (TAG \"A282\") MIN 2 COUNT 3",
    "* ESEARCH (TAG \"A283\") UID ALL 2,10:11 MODSEQ 12345",
    "* ESEARCH (TAG \"A01\") UID PARTIAL (-1:-100 250:350) PARTIAL (1:10 NIL)",
    "* ESEARCH (TAG \"B01\") UID ADDTO (0 32768:32769 5 7) REMOVEFROM (0 32768)",
    "* ESEARCH (TAG \"tag1\" MAILBOX folder1 UIDVALIDITY 1) UID ALL 4001,4003 X-FUTURE (1 2)",
    "* VANISHED 405,407,410:425",
    "* VANISHED (EARLIER) 41,43:116",
    "* 25997 UIDFETCH (FLAGS (\\Flagged \\Answered))",
    "* 1 FETCH (UID 4 MODSEQ (12121231000) EMAILID (M6d99ac3275bb4e) THREADID (T64) THREADID NIL PREVIEW \"Lorem\" PREVIEW NIL)",
    "* 1 FETCH (SAVEDATE \"17-Jul-1996 02:44:25 -0700\" SAVEDATE NIL BINARY[1.2]<5> {2}\r\nxy BINARY.SIZE[1] 44 BINARY[2] NIL)",
    "* QUOTA \"\" (STORAGE 10 512 MESSAGE 1 2)",
    "* QUOTAROOT INBOX \"\" x",
    "* ACL INBOX Fred rwipsldexta -x lr",
    "* LISTRIGHTS ~/Mail smith la r swicdkxte",
    "* MYRIGHTS INBOX rwiptsldaex",
    "* METADATA INBOX (/shared/comment \"Shared comment\" /x NIL)",
    "* METADATA \"\" /shared/comment /private/comment",
    "* UIDBATCHES (TAG \"A143\") 215295:99696,99695:20351,20350:1",
    "* UIDBATCHES (TAG \"A1\")",
    "* OK [HIGHESTMODSEQ 715194045007] x",
    "* OK [NOMODSEQ] x",
    "a OK [MODIFIED 7,9] x",
    "a NO [BADURL \"/x y\"] x",
    "a OK [MAILBOXID (F2212ea87)] x",
    "a NO [BADEVENT (FlagsChange MessageNew)] x",
    "* NO [NOUPDATE \"B02\"] x",
    "a OK [METADATA LONGENTRIES 2199] x",
    "a NO [METADATA MAXSIZE 5] x",
    "a NO [METADATA TOOMANY] x",
    "a NO [METADATA NOPRIVATE] x",
    "* OK [INPROGRESS] x",
    "* OK [INPROGRESS (\"tag\" 175 NIL)] x",
    "* OK [INPROGRESS (NIL 1 1000)] x",
    "a NO [MESSAGELIMIT 1000 23221] x",
    "a NO [MESSAGELIMIT 1000] x",
    "a NO [SAVELIMIT 5] x",
    "a NO [UIDREQUIRED] x",
    "a NO [REFERRAL imap://x.example/] x",
    "a NO [REFERRAL IMAP://user;AUTH=*@SERVER1/FOO IMAP://user;AUTH=*@SERVER2/BAR] x",
    "a NO [NOTSAVED] x",
    "a NO [USEATTR] x",
    "a NO [COMPRESSIONACTIVE] x",
    "* OK [NOTIFICATIONOVERFLOW] x",
    "a NO [HASCHILDREN] x",
    "* NAMESPACE ((\"\" \"/\" \"TRANSLATION\" (\"x\"))) NIL NIL",
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
    assert_eq!(parse("* STATUS x (MESSAGES 1 SIZE 5) "), parse("* STATUS x (MESSAGES 1 SIZE 5)"));
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
fn search_results_of_any_width_are_read() {
    let widths = (0..10).flat_map(|n| {
        [10_u32.pow(n), 10_u32.pow(n) + 3, (10_u64.pow(n + 1) - 1).min(u32::MAX.into()) as u32]
    });
    let ids: Vec<u32> = widths.clone().chain([7, 7, 7]).chain(widths.rev()).chain([0, u32::MAX]).collect();
    let text = ids.iter().map(|id| format!(" {id}")).collect::<String>();
    for end in ["", " (MODSEQ 5)"] {
        let mod_seq = (!end.is_empty()).then_some(5);
        for upto in 0..ids.len() {
            let octets: usize = ids[..upto].iter().map(|id| id.to_string().len() + 1).sum();
            let line = format!("* SEARCH{}{end}", &text[..octets]);
            assert_eq!(parse(&line), Response::Data(Data::Search { ids: ids[..upto].to_vec(), mod_seq }));
        }
    }
    assert_eq!(parse("* SEARCH 123 1234"), parse("* SEARCH 0123 1234"));
    for wrong in
        ["* SEARCH 1 2x 3", "* SEARCH 1 22 4294967296", "* SEARCH 12 12:14 15", "* SEARCH 123\t124 125 126"]
    {
        Response::parse(wrong.as_bytes(), &ParseLimits::client()).expect_err(wrong);
    }
    let few = ParseLimits { items_max: 3, ..ParseLimits::client() };
    assert!(Response::parse(b"* SEARCH 11 12 13", &few).is_ok());
    let error = Response::parse(b"* SEARCH 11 12 13 14 15", &few).unwrap_err();
    assert_eq!(error.kind, ParseErrorKind::TooManyItems { limit: 3 });
}

#[test]
fn encoded_text_cannot_break_out_of_its_line() {
    let mut out = Vec::new();
    Response::Status(Status::new(StatusKind::Ok, "x\r\n* BYE\0")).encode(&mut out);
    assert_eq!(out, b"* OK x  * BYE \r\n");
    out.clear();
    let entry = ListEntry {
        attributes: Flags::default(),
        delimiter: Some(b'.'),
        mailbox: Mailbox::from_wire(&b"a\r\nb"[..]),
        extended: vec![],
    };
    Response::Data(Data::List(entry)).encode(&mut out);
    assert_eq!(out, b"* LIST () \".\" {4}\r\na\r\nb\r\n");
    assert!(Tag::new("a\r\n").is_none() && Atom::new("").is_none() && Flag::keyword("a b").is_none());
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

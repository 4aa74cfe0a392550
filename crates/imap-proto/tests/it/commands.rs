//! Known answers: commands of RFC 3501 and of real clients.

use posthaste_imap_proto::*;

fn parse(text: &str) -> Result<Command<'_>, ParseError> {
    Command::parse(text.as_bytes(), &ParseLimits::default())
}

fn body(text: &str) -> CommandBody<'_> {
    parse(text).unwrap_or_else(|e| panic!("{text}: {e}")).body
}

/// Written in the form that the encoder chooses, so that they hold both ways.
pub(crate) const CANONICAL: &[&str] = &[
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
    "a RLIST \"\" \"#SHARED/%\"",
    "a RLSUB \"\" \"*\"",
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

/// The extensions, mostly by their RFCs' examples.
pub(crate) const EXTENSIONS: &[&str] = &[
    "a ENABLE CONDSTORE X-GOOD-IDEA",
    "a COMPRESS DEFLATE",
    "a UNAUTHENTICATE",
    "a SELECT INBOX (CONDSTORE)",
    "a SELECT INBOX (QRESYNC (67890007 20050715194045000 41,43:211,214:541))",
    "a SELECT INBOX (QRESYNC (67890007 90060115194045000 41:211,214:541 (5000,7500,9000:9990 5000,7500,9000:9990)))",
    "a SELECT INBOX (QRESYNC (67890007 1) CONDSTORE)",
    "a EXAMINE INBOX (X-FUTURE (a b) Y)",
    "a CREATE MySpecial (USE (\\Drafts \\Sent))",
    "a LIST (SUBSCRIBED RECURSIVEMATCH) \"\" \"*\" RETURN (CHILDREN STATUS (MESSAGES UNSEEN SIZE))",
    "a LIST \"\" (\"INBOX\" \"Drafts\" \"Sent/%\")",
    "a LIST (SPECIAL-USE REMOTE X-FUTURE) \"\" \"*\" RETURN (SPECIAL-USE SUBSCRIBED X-FUTURE)",
    "a LIST \"\" \"%\" RETURN (MYRIGHTS METADATA (/shared/color /private/comment))",
    "a LIST \"\" \"%\" RETURN (METADATA (MAXSIZE 100 DEPTH 1) (/shared))",
    "a STATUS x (HIGHESTMODSEQ SIZE DELETED DELETED-STORAGE APPENDLIMIT MAILBOXID X-FUTURE)",
    "a NOTIFY NONE",
    "a NOTIFY SET STATUS (selected (MessageNew (UID BODY.PEEK[HEADER.FIELDS (from to)]) MessageExpunge)) (subtree Lists (MessageNew)) (personal NONE)",
    "a NOTIFY SET (mailboxes (x \"a b\") (FlagChange AnnotationChange MailboxName)) (selected-delayed (SubscriptionChange X-FUTURE))",
    "a SEARCH RETURN (MIN MAX COUNT ALL SAVE) FLAGGED SINCE 1-Feb-1994 NOT FROM Smith",
    "a UID SEARCH RETURN () CHARSET UTF-8 $ SMALLER 4096",
    "a UID SEARCH RETURN (PARTIAL -1:-100 UPDATE CONTEXT X-FUTURE (1)) UNDELETED UID $",
    "a SEARCH OLDER 259200 YOUNGER 600 MODSEQ 624140003 MODSEQ \"/flags/\\\\draft\" all 620162338",
    "a SEARCH SAVEDBEFORE 1-Jan-2020 SAVEDON 2-Jan-2020 SAVEDSINCE 3-Jan-2020 SAVEDATESUPPORTED",
    "a SEARCH EMAILID M6d99ac3275bb4e THREADID T64b478a75b7ea9 FUZZY (SUBJECT x NOT BODY y)",
    "a SORT (REVERSE DATE SUBJECT DISPLAYFROM) UTF-8 ALL",
    "a UID SORT RETURN (ALL COUNT) (ARRIVAL CC FROM SIZE TO DISPLAYTO) US-ASCII FLAGGED",
    "a UID THREAD REFERENCES UTF-8 SINCE 5-Mar-2000",
    "a ESEARCH IN (mailboxes folder1 subtree (folder2 f3) subtree-one x inboxes) RETURN (COUNT) UNSEEN",
    "a ESEARCH CHARSET UTF-8 ALL",
    "a CANCELUPDATE \"B01\" \"B02\"",
    "a FETCH $ (UID)",
    "a UID FETCH 1:* (FLAGS) (CHANGEDSINCE 12345 VANISHED)",
    "a UID FETCH 1:* (UID) (PARTIAL 1:50 X-FUTURE)",
    "a FETCH 1 (MODSEQ EMAILID THREADID SAVEDATE PREVIEW PREVIEW (LAZY) BINARY[1.2]<0.10> BINARY.PEEK[] BINARY.SIZE[3] X-GM-LABELS)",
    "a UID STORE 6,4,8 (UNCHANGEDSINCE 12121230045) +FLAGS.SILENT (\\Deleted)",
    "a UID MOVE 42:69 foo",
    "a MOVE $ x",
    "a UID EXPUNGE $",
    "a UID REPLACE 2000 Drafts (\\Seen \\Draft) {3+}\r\nabc",
    "a REPLACE * Drafts {0+}\r\n",
    "a APPEND x (\\Seen) {1+}\r\na (\\Draft) \" 7-Feb-1994 22:43:04 -0800\" {2+}\r\nbc",
    "a APPEND Drafts (\\Seen) CATENATE (URL /Drafts/;UID=20/;section=HEADER TEXT {2+}\r\nhi URL \"a b\")",
    "a APPEND x UTF8 (~{3+}\r\nabc)",
    "a APPEND x ~{2+}\r\n\0a",
    "a APPEND x ANNOTATION (/comment (value.priv \"x\")) {1+}\r\na",
    "a UIDBATCHES 2000",
    "a UIDBATCHES 2000 10:20",
    "a GETQUOTA \"\"",
    "a GETQUOTAROOT INBOX",
    "a SETQUOTA \"\" (STORAGE 512 MESSAGE 9)",
    "a SETQUOTA x ()",
    "a SETACL INBOX/Drafts Byron +lrswikda",
    "a SETACL INBOX anyone \"\"",
    "a DELETEACL x -Fred",
    "a GETACL x",
    "a LISTRIGHTS ~/Mail/saved smith",
    "a MYRIGHTS INBOX",
    "a GETMETADATA INBOX (/shared/comment)",
    "a GETMETADATA (MAXSIZE 1024 DEPTH infinity) \"\" (/shared/comment /private/comment)",
    "a SETMETADATA INBOX (/private/comment \"My new comment\" /shared/comment NIL)",
    "a SETMETADATA INBOX (/private/comment ~{2+}\r\n\0x)",
    "a GENURLAUTH imap://joe@example.com/INBOX/;uid=20/;section=1.2;expire=2006-12-31T23:59:59-08:00;urlauth=submit+fred INTERNAL",
    "a GENURLAUTH x INTERNAL \"a b\" XSAMPLE",
    "a RESETKEY",
    "a RESETKEY INBOX",
    "a RESETKEY \"a b\" INTERNAL XSAMPLE",
    "a URLFETCH imap://joe@example.com/INBOX/;uid=20/;section=1.2;urlauth=submit+fred:internal:91354a473744909de610943775f92038 y",
    "a LANGUAGE",
    "a LANGUAGE de-IT i-default",
    "a COMPARATOR",
    "a COMPARATOR \"cz;*\" i;basic",
    "a SEARCH FILTER on-the-road OR FILTER a FILTER b",
    "a SEARCH ANNOTATION \"/comment\" value \"IMAP4\" ANNOTATION \"*\" value.priv NIL",
    "a FETCH 1 (UID ANNOTATION (/comment value))",
    "a FETCH 1 (ANNOTATION ((/comment /altsubject) (value.priv value.shared)) FLAGS)",
    "a UID STORE 1:3 ANNOTATION (/comment (value.priv \"My new comment\" value.shared NIL))",
    "a STORE 1 (UNCHANGEDSINCE 5) ANNOTATION (/altsubject (value.priv NIL))",
    "a CONVERT 2 (\"text/plain\" (\"charset\" \"utf-8\")) BINARY[3]",
    "a UID CONVERT 100 (NIL) (BINARY[2] AVAILABLECONVERSIONS[2])",
    "a CONVERSIONS \"text/*\" application/pdf",
];

#[test]
fn known_commands_parse_and_encode_to_the_same_octets() {
    for text in CANONICAL.iter().chain(EXTENSIONS) {
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
    assert_eq!(
        body("a select inbox"),
        CommandBody::Select { mailbox: Mailbox::INBOX, params: SelectParams::default() }
    );
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
        "a1 APPEND x CATENATE (TEXT x)",
        "a1 APPEND x CATENATE ()",
        "a1 APPEND x",
        "a1 SEARCH RETURN ALL",
        "a1 SEARCH MODSEQ 9223372036854775808",
        "a1 UID FETCH 1 FLAGS (PARTIAL -1:5)",
        "a1 SORT () UTF-8 ALL",
        "a1 LIST (X Y",
        "a1 NOTIFY SET",
        "a1 SETQUOTA x (STORAGE)",
        "a1 STORE 1 (UNCHANGEDSINCE) FLAGS x",
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
    let CommandBody::Append { mailbox, messages } =
        body("a APPEND \"x y\" (\\Seen) \"01-Jan-2024 00:00:00 +0100\" {3}\r\nabc")
    else {
        panic!()
    };
    assert_eq!(mailbox.as_wire(), b"x y");
    let [message] = &messages[..] else { panic!() };
    assert!(message.flags.iter().eq([Flag::Seen]));
    assert_eq!(message.date.unwrap().unix(), 1_704_063_600);
    assert_eq!(message.data, AppendData::Message(Payload::Bytes(b"abc"[..].into())));
}

#[test]
fn examples_of_the_rfcs_are_understood_as_they_are_printed() {
    for text in [
        // RFC 5465 section 5.8, RFC 7377 section 3, RFC 5464 section 4.2, RFC 5258 section 5, RFC 4469 section 3.
        "a notify set (selected MessageNew (uid body.peek[header.fields (from to subject)]))",
        "tag1 ESEARCH IN (mailboxes \"folder1\" subtree \"folder2\") unseen",
        "tag2 ESEARCH IN (mailboxes (\"folder1\" \"folder2\")) subject \"chad\"",
        "a GETMETADATA \"INBOX\" /shared/comment",
        "A03 LIST (SUBSCRIBED) \"\" \"*\"",
        "A04 LIST () \"\" \"%\" RETURN (CHILDREN)",
        "A003 APPEND Drafts (\\Seen \\Draft $MDNSent) CATENATE (URL \"/Drafts;UIDVALIDITY=385759045/;UID=20/;section=HEADER\" TEXT {5}\r\nhello URL \"/x\")",
        "t1 UID STORE 6:* (unchangedsince 5) flags ()",
        "A283 UID SEARCH return (min count) SUBJECT {5+}\r\n\"a b\" UNSEEN",
        "a GETACL INBOX",
        "A142 select \"INBOX\" (condstore qresync (1 2))",
    ] {
        parse(text).unwrap_or_else(|e| panic!("{text}: {e}"));
    }
}

#[test]
fn octets_above_127_in_a_quoted_string_need_the_quirk() {
    let strict = ParseLimits { quirks: Quirks::NONE, ..ParseLimits::default() };
    let text = "a LOGIN alice \"gr\u{fc}n\"".as_bytes();
    assert_eq!(Command::parse(text, &strict).unwrap_err().kind, ParseErrorKind::EightBit);
    assert!(Command::parse(text, &ParseLimits::default()).is_ok());
    let atom = "a LOGIN gr\u{fc}n x".as_bytes();
    assert!(Command::parse(atom, &ParseLimits::default()).is_err());
}

#[test]
fn a_streamed_message_leaves_a_gap_in_the_encoded_command() {
    let mut message = AppendMessage::new(&b""[..]);
    message.data = AppendData::Message(Payload::Streamed(9));
    let body = CommandBody::Append { mailbox: Mailbox::INBOX, messages: vec![message] };
    let encoded = Command { tag: Tag::new("a").unwrap(), body }.encode(Literals::Sync);
    assert_eq!(encoded.bytes, b"a APPEND INBOX {9}\r\n\r\n");
    assert_eq!((&encoded.pauses[..], &encoded.gaps[..]), (&[20][..], &[(20, 9)][..]));
}

#[test]
fn literal_minus_sends_only_small_literals_at_once() {
    let text = |n: usize| {
        let body = CommandBody::GetQuota("\u{fc}".repeat(n).into_bytes().into());
        Command { tag: Tag::new("a").unwrap(), body }.encode(Literals::NonSyncSmall)
    };
    assert!(text(2048).pauses.is_empty() && text(2048).bytes.starts_with(b"a GETQUOTA {4096+}"));
    assert_eq!(text(2049).pauses.len(), 1);
}

//! What the values of an example are, for each shape that the examples have: written out by hand.

use std::borrow::Cow;
use std::num::NonZeroU32;

use posthaste_imap_proto::*;

pub(super) fn body(text: &str) -> CommandBody<'_> {
    let limits = ParseLimits { quirks: Quirks::NONE, ..ParseLimits::default() };
    Command::parse(text.as_bytes(), &limits).unwrap_or_else(|e| panic!("{text}: {e}")).body
}

fn response(text: &str) -> Response<'_> {
    let limits = ParseLimits { quirks: Quirks::NONE, ..ParseLimits::client() };
    Response::parse(text.as_bytes(), &limits).unwrap_or_else(|e| panic!("{text}: {e}"))
}

pub(super) fn data(text: &str) -> Data<'_> {
    match response(text) {
        Response::Data(data) => data,
        other => panic!("{text}: {other:?}"),
    }
}

pub(super) fn code(text: &str) -> Code<'_> {
    match response(text) {
        Response::Tagged { status, .. } | Response::Status(status) => status.code.expect(text),
        other => panic!("{text}: {other:?}"),
    }
}

pub(super) fn fetched(text: &str) -> Vec<FetchData<'_>> {
    match data(text) {
        Data::Fetch { items, .. } => items,
        other => panic!("{text}: {other:?}"),
    }
}

pub(super) fn n(n: u32) -> NonZeroU32 {
    NonZeroU32::new(n).unwrap()
}

pub(super) fn set(text: &str) -> SequenceSet {
    text.parse().unwrap()
}

pub(super) fn atom(text: &'static str) -> Atom<'static> {
    Atom::new(text).unwrap()
}

pub(super) fn octets(text: &str) -> Cow<'_, [u8]> {
    Cow::Borrowed(text.as_bytes())
}

pub(super) fn mailbox(name: &str) -> Mailbox<'_> {
    Mailbox::encode(name)
}

pub(super) fn keys<'a>(keys: impl IntoIterator<Item = SearchKey<'a>>) -> SearchKeys<'static> {
    keys.into_iter().collect::<SearchKeys<'_>>().into_owned()
}

#[test]
fn logins_and_their_secrets() {
    // RFC 3501 section 7.5, RFC 4959 section 4, RFC 2971 section 3.1, RFC 5161 section 3.1.
    let login = CommandBody::Login { user: octets("FRED FOOBAR"), password: Secret::new(&b"fat man"[..]) };
    assert_eq!(body("A001 LOGIN {11}\r\nFRED FOOBAR {7}\r\nfat man"), login);
    let plain = Secret::new(&b"test\0test\0test"[..]);
    let authenticate = CommandBody::Authenticate { mechanism: atom("PLAIN"), initial: Some(plain) };
    assert_eq!(body("A01 AUTHENTICATE PLAIN dGVzdAB0ZXN0AHRlc3Q="), authenticate);
    let external =
        CommandBody::Authenticate { mechanism: atom("EXTERNAL"), initial: Some(Secret::new(&b""[..])) };
    assert_eq!(body("A01 AUTHENTICATE EXTERNAL ="), external);
    let id = [("name", "sodr"), ("version", "19.34"), ("vendor", "Pink Floyd Music Limited")];
    let id = id.map(|(name, value)| (octets(name), Some(octets(value)))).to_vec();
    let text = "a023 ID (\"name\" \"sodr\" \"version\" \"19.34\" \"vendor\" \"Pink Floyd Music Limited\")";
    assert_eq!(body(text), CommandBody::Id(Some(id)));
    let CommandBody::Enable(names) = body("t2 ENABLE CONDSTORE X-GOOD-IDEA") else { panic!() };
    assert!(names.iter().eq([atom("CONDSTORE"), atom("X-GOOD-IDEA")]));
    assert_eq!(data("* ID NIL"), Data::Id(None));
    let Data::Capability(names) = data("* CAPABILITY IMAP4rev1 STARTTLS AUTH=GSSAPI LOGINDISABLED") else {
        panic!()
    };
    assert!(names.has("AUTH=GSSAPI") && names.has("logindisabled") && !names.has("IDLE"));
}

#[test]
fn mailboxes_and_what_is_told_of_them() {
    // RFC 3501 section 6.3.
    assert_eq!(
        body("Z433 RENAME INBOX old-mail"),
        CommandBody::Rename { from: Mailbox::INBOX, to: mailbox("old-mail") }
    );
    let lsub =
        CommandBody::Lsub { reference: mailbox("#news."), pattern: Pattern::from_wire(&b"comp.%"[..]) };
    assert_eq!(body("A003 LSUB \"#news.\" \"comp.%\""), lsub);
    let Data::List(entry) = data("* LIST (\\Noselect) \"/\" ~/Mail/foo") else { panic!() };
    assert!(entry.attributes.iter().eq([Flag::Extension(atom("Noselect"))]));
    assert_eq!(
        (entry.delimiter, entry.mailbox, entry.extended.len()),
        (Some(b'/'), mailbox("~/Mail/foo"), 0)
    );
    let Data::Status { mailbox: name, items } = data("* STATUS blurdybloop (MESSAGES 231 UIDNEXT 44292)")
    else {
        panic!()
    };
    assert_eq!(name, mailbox("blurdybloop"));
    assert!(items.iter().map(|i| (i.item, i.value)).eq([
        (StatusItem::Messages, StatusValue::Number(231)),
        (StatusItem::UidNext, StatusValue::Number(44292)),
    ]));
    assert!(matches!(data("* 172 EXISTS"), Data::Exists(172)));
    assert!(matches!(data("* 44 EXPUNGE"), Data::Expunge(number) if number == n(44)));
    let Code::PermanentFlags(flags) = code("* OK [PERMANENTFLAGS (\\Deleted \\Seen \\*)] Limited") else {
        panic!()
    };
    assert!(flags.iter().eq([Flag::Deleted, Flag::Seen, Flag::NewKeywords]));
    assert_eq!(code("* OK [UIDVALIDITY 3857529045] UIDs valid"), Code::UidValidity(n(3857529045)));
    assert_eq!(code("A142 OK [READ-WRITE] SELECT completed"), Code::ReadWrite);
    // RFC 2193 section 5.1 and RFC 2221 section 4.1.
    let rlist = CommandBody::Rlist { reference: mailbox(""), pattern: Pattern::from_wire(&b"#SHARED/%"[..]) };
    assert_eq!(body("a RLIST \"\" \"#SHARED/%\""), rlist);
    let referral =
        code("A001 NO [REFERRAL IMAP://user;AUTH=*@SERVER2/FOO IMAP://user;AUTH=*@SERVER2/BAR] moved");
    let urls = ["IMAP://user;AUTH=*@SERVER2/FOO", "IMAP://user;AUTH=*@SERVER2/BAR"].map(octets);
    assert_eq!(referral, Code::Referral(urls.to_vec()));
}

#[test]
fn namespaces() {
    // RFC 2342 section 5.
    let Data::Namespace(spaces) =
        data("* NAMESPACE ((\"\" \"/\")(\"#mh/\" \"/\" \"X-PARAM\" (\"FLAG1\" \"FLAG2\"))) NIL NIL")
    else {
        panic!()
    };
    let [Some(personal), None, None] = *spaces else { panic!() };
    let [plain, mh] = &personal[..] else { panic!() };
    assert_eq!((&plain.prefix, plain.delimiter, plain.extensions.len()), (&mailbox(""), Some(b'/'), 0));
    assert_eq!((&mh.prefix, mh.delimiter), (&mailbox("#mh/"), Some(b'/')));
    let [(name, values)] = &mh.extensions[..] else { panic!() };
    assert_eq!(name, &octets("X-PARAM"));
    assert!(values.iter().eq(["FLAG1", "FLAG2"].map(octets)));
}

#[test]
fn lists_of_rfc_5258_5819_and_6154() {
    let CommandBody::List(list) =
        body("A02 LIST (SUBSCRIBED RECURSIVEMATCH) \"\" % RETURN (STATUS (MESSAGES))")
    else {
        panic!()
    };
    assert!(list.selection.unwrap().iter().eq([ListSelection::Subscribed, ListSelection::RecursiveMatch]));
    let status = ListReturn::Status([StatusItem::Messages].into_iter().collect());
    assert!(list.returns.unwrap().iter().eq([status]));
    let CommandBody::List(list) = body("BBB LIST \"\" (\"INBOX\" \"Drafts\" \"Sent/%\")") else { panic!() };
    assert!(list.patterns.iter().map(|p| p.as_wire().to_vec()).eq([&b"INBOX"[..], b"Drafts", b"Sent/%"]));
    assert_eq!((list.selection, list.returns), (None, None));
    let Data::List(entry) = data("* LIST (\\NonExistent) \"/\" \"Foo\" (\"CHILDINFO\" (\"SUBSCRIBED\"))")
    else {
        panic!()
    };
    let [ListExtended::ChildInfo(why)] = &entry.extended[..] else { panic!() };
    assert!(why.iter().eq([octets("SUBSCRIBED")]));
    let Data::List(entry) = data("* LIST () \"/\" \"NewMailbox\" (\"OLDNAME\" (\"OldMailbox\"))") else {
        panic!()
    };
    assert_eq!(entry.extended, [ListExtended::OldName(mailbox("OldMailbox"))]);
    let CommandBody::Create { params, .. } = body("t2 CREATE MySpecial (USE (\\Drafts \\Sent))") else {
        panic!()
    };
    let Some(CreateParam::Use(uses)) = params.iter().next() else { panic!() };
    assert!(uses.iter().eq(["Drafts", "Sent"].map(|name| Flag::Extension(atom(name)))));
}

#[test]
fn searches() {
    // RFC 3501 section 6.4.4, RFCs 4731, 5182, 5032, 6203, 7162 section 3.1.5, 5267 and 7377.
    let flagged = keys([
        SearchKey::Flagged,
        SearchKey::Since(Date::new(1994, 2, 1).unwrap()),
        SearchKey::Not(SearchKey::From(octets("Smith")).into()),
    ]);
    let search = |uid, returns: Option<Vec<SearchReturn<'static>>>, charset, keys| CommandBody::Search {
        uid,
        returns: returns.map(|r| r.into_iter().collect()),
        charset,
        keys,
    };
    assert_eq!(
        body("A282 SEARCH FLAGGED SINCE 1-Feb-1994 NOT FROM \"Smith\""),
        search(false, None, None, flagged.clone())
    );
    assert_eq!(
        body("A282 SEARCH RETURN (MIN COUNT) FLAGGED SINCE 1-Feb-1994 NOT FROM \"Smith\""),
        search(false, Some(vec![SearchReturn::Min, SearchReturn::Count]), None, flagged)
    );
    let or =
        SearchKey::Or(SearchKey::Set(SequenceSet::SAVED).into(), SearchKey::Set(set("1,3000:3021")).into());
    let saved = keys([SearchKey::And(keys([or])), SearchKey::Text(octets("YYYYYYYY"))]);
    assert_eq!(
        body("P283 SEARCH CHARSET UTF-8 (OR $ 1,3000:3021) TEXT {8}\r\nYYYYYYYY"),
        search(false, None, Some(octets("UTF-8")), saved)
    );
    let younger = keys([SearchKey::Unseen, SearchKey::Younger(259200)]);
    assert_eq!(body("a1 SEARCH UNSEEN YOUNGER 259200"), search(false, None, None, younger));
    let fuzzy = keys([SearchKey::Fuzzy(SearchKey::Text(octets("Helo")).into())]);
    assert_eq!(
        body("B1 SEARCH RETURN (RELEVANCY ALL) FUZZY TEXT \"Helo\""),
        search(false, Some(vec![SearchReturn::Relevancy, SearchReturn::All]), None, fuzzy)
    );
    let entry = Some(ModSeqEntry { name: octets("/flags/\\draft"), kind: EntryKind::All });
    let mod_seq = keys([SearchKey::ModSeq { entry, n: 620162338 }]);
    assert_eq!(
        body("a SEARCH MODSEQ \"/flags/\\\\draft\" all 620162338"),
        search(false, None, None, mod_seq)
    );
    let range = PartialRange { from_end: false, start: n(23500), end: n(24000) };
    let undeleted = keys([SearchKey::Undeleted, SearchKey::Unkeyword(atom("$Junk"))]);
    assert_eq!(
        body("A02 UID SEARCH RETURN (PARTIAL 23500:24000) UNDELETED UNKEYWORD $Junk"),
        search(true, Some(vec![SearchReturn::Partial(range)]), None, undeleted)
    );
    let CommandBody::MultiSearch(multi) =
        body("tag1 ESEARCH IN (mailboxes \"folder1\" subtree \"folder2\") unseen")
    else {
        panic!()
    };
    let folders = |name: &'static str| [mailbox(name)].into_iter().collect::<Mailboxes<'_>>();
    let filters = [MailboxFilter::Mailboxes(folders("folder1")), MailboxFilter::Subtree(folders("folder2"))];
    assert!(multi.mailboxes.unwrap().iter().eq(filters));
    assert_eq!(multi.keys, keys([SearchKey::Unseen]));
}

#[test]
fn what_searches_found() {
    let found = Data::Search { ids: vec![2, 5, 6, 7, 11, 12, 18, 19, 20, 23], mod_seq: Some(917162500) };
    assert_eq!(data("* SEARCH 2 5 6 7 11 12 18 19 20 23 (MODSEQ 917162500)"), found);
    let esearch = |tag: Option<&'static str>, mailbox, uid, results| {
        Data::Esearch(Box::new(Esearch { tag: tag.map(octets), mailbox, uid, results }))
    };
    let relevancy = vec![SearchResult::All(set("1,5,10")), SearchResult::Relevancy(vec![4, 99, 42])];
    let text = "* ESEARCH (TAG \"B1\") ALL 1,5,10 RELEVANCY (4 99 42)";
    assert_eq!(data(text), esearch(Some("B1"), None, false, relevancy));
    let count = vec![SearchResult::Count(17), SearchResult::All(set("4:18,21,28"))];
    assert_eq!(data("* ESEARCH UID COUNT 17 ALL 4:18,21,28"), esearch(None, None, true, count));
    let banana = Some((mailbox("folder2/banana"), n(503)));
    assert_eq!(
        data("* ESEARCH (TAG \"tag1\" MAILBOX \"folder2/banana\" UIDVALIDITY 503) UID ALL 3002,4004"),
        esearch(Some("tag1"), banana, true, vec![SearchResult::All(set("3002,4004"))])
    );
    let added =
        vec![SearchResult::AddTo(vec![(1, set("2733"))]), SearchResult::AddTo(vec![(1, set("2731:2732"))])];
    assert_eq!(
        data("* ESEARCH (TAG \"C01\") UID ADDTO (1 2733) ADDTO (1 2731:2732)"),
        esearch(Some("C01"), None, true, added)
    );
    let range = PartialRange { from_end: false, start: n(24000), end: n(24500) };
    assert_eq!(
        data("* ESEARCH (TAG \"A04\") UID PARTIAL (24000:24500 NIL)"),
        esearch(Some("A04"), None, true, vec![SearchResult::Partial { range, set: None }])
    );
    assert_eq!(code("* NO [NOUPDATE \"B02\"] Too many contexts"), Code::NoUpdate(octets("B02")));
}

#[test]
fn sorts_and_threads() {
    // RFC 5256 sections 3 and 4.
    let CommandBody::Sort { uid: true, criteria, charset, keys: wanted, .. } =
        body("E01 UID SORT RETURN () (REVERSE DATE) UTF-8 UNDELETED UNKEYWORD $Junk")
    else {
        panic!()
    };
    assert!(criteria.iter().eq([SortCriterion { reverse: true, key: SortKey::Date }]));
    assert_eq!(charset, octets("UTF-8"));
    assert_eq!(wanted, keys([SearchKey::Undeleted, SearchKey::Unkeyword(atom("$Junk"))]));
    assert_eq!(data("* SORT 2 3 6"), Data::Sort { ids: vec![2, 3, 6], mod_seq: None });
    let thread =
        |chain: &[u32], branches| Thread { chain: chain.iter().map(|id| n(*id)).collect(), branches };
    let branches = vec![thread(&[4, 23], vec![]), thread(&[44, 7, 96], vec![])];
    let threads = Data::Thread(vec![thread(&[2], vec![]), thread(&[3, 6], branches)]);
    assert_eq!(data("* THREAD (2)(3 6 (4 23)(44 7 96))"), threads);
    let siblings = vec![thread(&[3], vec![]), thread(&[5], vec![])];
    assert_eq!(data("* THREAD ((3)(5))"), Data::Thread(vec![thread(&[], siblings)]));
}

#[test]
fn changes_since() {
    // RFC 7162 sections 3.1.3, 3.2.5.2, 3.2.6 and 3.2.7.
    let CommandBody::Store { uid: true, set: ids, unchanged_since, action, silent: true, flags } =
        body("a103 UID STORE 6,4,8 (UNCHANGEDSINCE 12121230045) +FLAGS.SILENT (\\Deleted)")
    else {
        panic!()
    };
    assert_eq!((ids, unchanged_since, action), (set("6,4,8"), Some(12121230045), StoreAction::Add));
    assert!(flags.iter().eq([Flag::Deleted]));
    assert_eq!(code("d105 OK [MODIFIED 7,9] Conditional STORE failed"), Code::Modified(set("7,9")));
    let CommandBody::Select { mailbox: name, params } =
        body("B04 SELECT INBOX (QRESYNC (67890007 90060115194045000 1:29997 (5000,7500 15000,22500)))")
    else {
        panic!()
    };
    let qresync = SelectParam::Qresync {
        uid_validity: n(67890007),
        mod_seq: 90060115194045000,
        known: Some(set("1:29997")),
        matching: Some(Box::new((set("5000,7500"), set("15000,22500")))),
    };
    assert!(name.is_inbox() && params.iter().eq([qresync]));
    let CommandBody::Fetch { modifiers, .. } =
        body("s100 UID FETCH 300:500 (FLAGS) (CHANGEDSINCE 12345 VANISHED)")
    else {
        panic!()
    };
    assert!(modifiers.iter().eq([FetchModifier::ChangedSince(12345), FetchModifier::Vanished]));
    let vanished = |earlier, uids| Data::Vanished { earlier, uids: set(uids) };
    assert_eq!(data("* VANISHED (EARLIER) 300:310,405,411"), vanished(true, "300:310,405,411"));
    assert_eq!(data("* VANISHED 405,407,410,425"), vanished(false, "405,407,410,425"));
    let items = fetched("* 7 FETCH (MODSEQ (320162342) FLAGS (\\Seen \\Deleted))");
    let [FetchData::ModSeq(320162342), FetchData::Flags(flags)] = &items[..] else { panic!() };
    assert!(flags.iter().eq([Flag::Seen, Flag::Deleted]));
    assert_eq!(code("* OK [HIGHESTMODSEQ 715194045007] x"), Code::HighestModSeq(715194045007));
}

#[test]
fn messages_appended_copied_and_replaced() {
    // RFCs 3502, 4469, 8508, 4315 and 6851.
    let CommandBody::Append { mailbox: name, messages } = body(
        "A003 APPEND saved-messages (\\Seen) {3}\r\nabc (\\Seen) \" 7-Feb-1994 22:43:04 -0800\" {2}\r\nde",
    ) else {
        panic!()
    };
    assert_eq!((name, messages.len()), (mailbox("saved-messages"), 2));
    assert_eq!((messages[0].date, messages[1].date.unwrap().unix()), (None, 760_689_784));
    assert_eq!(messages[1].data, AppendData::Message(Payload::Bytes(octets("de"))));
    let CommandBody::Replace { uid: true, n: SeqNum::Number(replaced), mailbox: name, message } =
        body("A011 UID REPLACE 3002 Drafts CATENATE (TEXT {2}\r\nTo URL \"/Drafts/;UID=3002\")")
    else {
        panic!()
    };
    assert_eq!((replaced, name), (n(3002), mailbox("Drafts")));
    let parts = vec![
        CatenatePart::Text(Payload::Bytes(octets("To"))),
        CatenatePart::Url(octets("/Drafts/;UID=3002")),
    ];
    assert_eq!(message.data, AppendData::Catenate(parts));
    let moved = CommandBody::Move { uid: true, set: set("42:69"), mailbox: mailbox("foo") };
    assert_eq!(body("a UID MOVE 42:69 foo"), moved);
    assert_eq!(body("A003 UID EXPUNGE 3000:3002"), CommandBody::UidExpunge(set("3000:3002")));
    let appended = Code::AppendUid { uid_validity: n(38505), uids: set("3955") };
    assert_eq!(code("A003 OK [APPENDUID 38505 3955] APPEND completed"), appended);
    let copied = Code::CopyUid { uid_validity: n(38505), from: set("304,319:320"), to: set("3956:3958") };
    assert_eq!(code("A004 OK [COPYUID 38505 304,319:320 3956:3958] Done"), copied);
}

#[test]
fn an_envelope() {
    // RFC 3501 section 8.
    let items = fetched(
        "* 12 FETCH (ENVELOPE (\"Wed, 17 Jul 1996 02:23:25 -0700 (PDT)\" \"IMAP4rev1 WG mtg summary and minutes\" \
((\"Terry Gray\" NIL \"gray\" \"cac.washington.edu\")) ((\"Terry Gray\" NIL \"gray\" \"cac.washington.edu\")) \
((\"Terry Gray\" NIL \"gray\" \"cac.washington.edu\")) ((NIL NIL \"imap\" \"cac.washington.edu\")) \
((NIL NIL \"minutes\" \"CNRI.Reston.VA.US\")(\"John Klensin\" NIL \"KLENSIN\" \"MIT.EDU\")) NIL NIL \
\"<B27397-0100000@cac.washington.edu>\") INTERNALDATE \"17-Jul-1996 02:44:25 -0700\")",
    );
    let [FetchData::Envelope(raw), FetchData::InternalDate(date)] = &items[..] else { panic!() };
    assert_eq!((date.unix(), date.zone_minutes()), (837_596_665, -420));
    let envelope = raw.parse();
    assert_eq!(envelope.date, Some(octets("Wed, 17 Jul 1996 02:23:25 -0700 (PDT)")));
    assert_eq!(envelope.message_id, Some(octets("<B27397-0100000@cac.washington.edu>")));
    assert_eq!((envelope.bcc.is_empty(), envelope.in_reply_to), (true, None));
    let of = |name: Option<&'static str>, mailbox, host| Address {
        name: name.map(octets),
        route: None,
        mailbox: Some(octets(mailbox)),
        host: Some(octets(host)),
    };
    assert!(envelope.reply_to.iter().eq([of(Some("Terry Gray"), "gray", "cac.washington.edu")]));
    let cc = [of(None, "minutes", "CNRI.Reston.VA.US"), of(Some("John Klensin"), "KLENSIN", "MIT.EDU")];
    assert!(envelope.cc.iter().eq(cc));
}

#[test]
fn body_structures() {
    // RFC 3501 section 7.4.2 prints them within its text, without the response around them.
    let items = fetched(
        "* 1 FETCH (BODYSTRUCTURE ((\"TEXT\" \"PLAIN\" (\"CHARSET\" \"US-ASCII\") NIL NIL \"7BIT\" 1152 23)(\"TEXT\" \"PLAIN\" \
(\"CHARSET\" \"US-ASCII\" \"NAME\" \"cc.diff\") \"<960723163407.20117h@cac.washington.edu>\" \"Compiler diff\" \"BASE64\" 4554 73) \"MIXED\"))",
    );
    let [FetchData::BodyStructure(structure)] = &items[..] else { panic!() };
    let Part::Multi(multi) = structure.root().part() else { panic!() };
    assert_eq!((&multi.subtype, &multi.extension), (&octets("MIXED"), &None));
    let parts: Vec<_> = structure.root().children().map(|child| child.part().clone()).collect();
    let [Part::Single(text), Part::Single(diff)] = &parts[..] else { panic!() };
    assert_eq!((text.octets, &text.kind), (1152, &PartKind::Text { lines: 23 }));
    assert_eq!(diff.id, Some(octets("<960723163407.20117h@cac.washington.edu>")));
    assert_eq!((&diff.description, &diff.encoding), (&Some(octets("Compiler diff")), &octets("BASE64")));
    assert!(
        diff.params
            .iter()
            .eq([("CHARSET", "US-ASCII"), ("NAME", "cc.diff")].map(|(a, b)| (octets(a), octets(b))))
    );
    let items =
        fetched("* 1 FETCH (BODY (\"TEXT\" \"PLAIN\" (\"CHARSET\" \"US-ASCII\") NIL NIL \"7BIT\" 2279 48))");
    assert!(matches!(&items[..], [FetchData::Body(_)]));
}

#[test]
fn what_fetch_asks_for() {
    // RFC 3501 section 6.4.5.
    let CommandBody::Fetch { uid: false, set: ids, items: FetchItems::List(items), .. } =
        body("A654 FETCH 2:4 (FLAGS BODY[HEADER.FIELDS (DATE FROM)])")
    else {
        panic!()
    };
    assert_eq!(ids, set("2:4"));
    let fields = SectionText::HeaderFields(["DATE", "FROM"].map(octets).into_iter().collect());
    let section = Section { part: PartPath::new(), text: Some(fields) };
    assert!(items.iter().eq([FetchItem::Flags, FetchItem::Section { peek: false, section, partial: None }]));
    assert!(matches!(body("a003 fetch 12 full"), CommandBody::Fetch { items: FetchItems::Full, .. }));
    let items = fetched("* 12 FETCH (BODY[HEADER] {4}\r\nab\r\n)");
    let [FetchData::Section { section, origin: None, data: Some(Payload::Bytes(text)) }] = &items[..] else {
        panic!()
    };
    assert_eq!((&section.text, text), (&Some(SectionText::Header), &octets("ab\r\n")));
}

#[test]
fn codes_of_rfc_5530() {
    let of = |word: &str| {
        let text = format!("a NO [{word}] x");
        match Response::parse(text.as_bytes(), &ParseLimits::client()).unwrap().into_owned() {
            Response::Tagged { status, .. } => status.code.unwrap(),
            other => panic!("{other:?}"),
        }
    };
    let codes = [
        ("UNAVAILABLE", Code::Unavailable),
        ("AUTHENTICATIONFAILED", Code::AuthenticationFailed),
        ("AUTHORIZATIONFAILED", Code::AuthorizationFailed),
        ("EXPIRED", Code::Expired),
        ("PRIVACYREQUIRED", Code::PrivacyRequired),
        ("CONTACTADMIN", Code::ContactAdmin),
        ("NOPERM", Code::NoPerm),
        ("INUSE", Code::InUse),
        ("EXPUNGEISSUED", Code::ExpungeIssued),
        ("CORRUPTION", Code::Corruption),
        ("SERVERBUG", Code::ServerBug),
        ("CLIENTBUG", Code::ClientBug),
        ("CANNOT", Code::Cannot),
        ("LIMIT", Code::Limit),
        ("OVERQUOTA", Code::OverQuota),
        ("ALREADYEXISTS", Code::AlreadyExists),
        ("NONEXISTENT", Code::NonExistent),
        ("BADCHARSET (UTF-8)", Code::BadCharset(vec![atom("UTF-8")])),
        ("UIDNOTSTICKY", Code::UidNotSticky),
        ("HASCHILDREN", Code::HasChildren),
        ("USEATTR", Code::UseAttr),
    ];
    for (word, code) in codes {
        assert_eq!(of(word), code);
    }
}

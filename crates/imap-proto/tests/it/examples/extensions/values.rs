//! What the values of the rarer extensions' examples are, for each shape that they have: written out by hand.

use posthaste_imap_proto::*;

use crate::examples::values::{atom, body, code, data, fetched, keys, mailbox, n, octets, set};

fn payload(text: &str) -> Payload<'_> {
    Payload::Bytes(octets(text))
}

#[test]
fn access_control_lists() {
    // RFC 4314 section 3.
    let change = CommandBody::SetAcl {
        mailbox: mailbox("INBOX/Drafts"),
        identifier: octets("Chris"),
        change: AclChange::Add,
        rights: octets("cda"),
    };
    assert_eq!(body("A002 SETACL INBOX/Drafts Chris +cda"), change);
    let delete = CommandBody::DeleteAcl { mailbox: Mailbox::INBOX, identifier: octets("Fred") };
    assert_eq!(body("B002 DeleteAcl INBOX Fred"), delete);
    let entries = [("Fred", "rwipslxetad"), ("-Fred", "wetd"), ("$team", "w")];
    let entries = entries.map(|(who, rights)| (octets(who), octets(rights))).to_vec();
    let acl = data("* ACL INBOX Fred rwipslxetad -Fred wetd $team w");
    assert_eq!(acl, Data::Acl { mailbox: Mailbox::INBOX, entries });
    let rights = Data::ListRights {
        mailbox: mailbox("~/Mail/saved"),
        identifier: octets("smith"),
        always: octets("la"),
        grantable: vec![octets("r"), octets("swicdkxte")],
    };
    assert_eq!(data("* LISTRIGHTS ~/Mail/saved smith la r swicdkxte"), rights);
    let mine = Data::MyRights { mailbox: mailbox("foo"), rights: octets("lrs") };
    assert_eq!(data("* MYRIGHTS \"foo\" lrs"), mine);
    // RFC 8440 section 4.
    let CommandBody::List(list) = body("A01 LIST \"\" % RETURN (MYRIGHTS)") else { panic!() };
    assert!(list.returns.unwrap().iter().eq([ListReturn::MyRights]));
}

#[test]
fn annotations_of_mailboxes() {
    // RFC 5464 section 4.
    let entries = || ["/shared/comment", "/private/comment"].map(octets).into_iter().collect::<Strings<'_>>();
    for text in [
        "a GETMETADATA \"INBOX\" (MAXSIZE 1024) (/shared/comment /private/comment)",
        "a GETMETADATA (MAXSIZE 1024) INBOX (/shared/comment /private/comment)",
    ] {
        let get =
            GetMetadata { size_max: Some(1024), depth: None, mailbox: Mailbox::INBOX, entries: entries() };
        assert_eq!(body(text), CommandBody::GetMetadata(Box::new(get)));
    }
    let CommandBody::GetMetadata(get) = body("a GETMETADATA \"INBOX\" (DEPTH 1) (/private/filters/values)")
    else {
        panic!()
    };
    assert_eq!((get.depth, get.size_max), (Some(MetadataDepth::One), None));
    let CommandBody::SetMetadata { entries, .. } = body("a SETMETADATA INBOX (/private/comment NIL)") else {
        panic!()
    };
    assert!(entries.iter().eq([MetadataEntry { name: octets("/private/comment"), value: None }]));
    let text = "* METADATA \"INBOX\" (/private/filters/values/boss \"FROM \\\"boss@example.com\\\"\")";
    let Data::Metadata { entries, .. } = data(text) else { panic!() };
    let value = Some(octets("FROM \"boss@example.com\""));
    assert!(entries.iter().eq([MetadataEntry { name: octets("/private/filters/values/boss"), value }]));
    let changed = Data::MetadataChanged {
        mailbox: Mailbox::INBOX,
        names: ["/shared/comment", "/private/comment"].map(octets).to_vec(),
    };
    assert_eq!(data("* METADATA \"INBOX\" /shared/comment /private/comment"), changed);
    let long = code("a OK [METADATA LONGENTRIES 2199] GETMETADATA complete");
    assert_eq!(long, Code::MetadataLongEntries(2199));
    assert_eq!(code("a NO [METADATA TOOMANY] SETMETADATA failed"), Code::MetadataTooMany);
    // RFC 9590 section 4.
    let CommandBody::List(list) = body("A01 LIST \"\" % RETURN (METADATA (\"/shared/color\"))") else {
        panic!()
    };
    let entries = [octets("/shared/color")].into_iter().collect();
    let metadata = ListReturn::Metadata { depth: None, size_max: None, entries };
    assert!(list.returns.unwrap().iter().eq([metadata]));
}

#[test]
fn quota() {
    // RFC 9208 section 4.
    let CommandBody::SetQuota { root, limits } = body("S0001 SETQUOTA \"#user/alice\" (STORAGE 510)") else {
        panic!()
    };
    assert_eq!(root, octets("#user/alice"));
    assert!(limits.iter().eq([QuotaLimit { resource: atom("STORAGE"), limit: 510 }]));
    let resources = vec![
        QuotaResource { name: atom("STORAGE"), usage: 54, limit: 111 },
        QuotaResource { name: atom("MESSAGE"), usage: 42, limit: 1000 },
    ];
    let told = data("* QUOTA \"#user/alice\" (STORAGE 54 111 MESSAGE 42 1000)");
    assert_eq!(told, Data::Quota { root: octets("#user/alice"), resources });
    let roots = ["#user/alice", "!partition/sda4"].map(octets).to_vec();
    let told = data("* QUOTAROOT INBOX \"#user/alice\" \"!partition/sda4\"");
    assert_eq!(told, Data::QuotaRoot { mailbox: Mailbox::INBOX, roots });
    assert_eq!(code("A003 NO [OVERQUOTA] APPEND Failed"), Code::OverQuota);
    let Data::Status { items, .. } = data("* STATUS INBOX (MESSAGES 12 DELETED 4 DELETED-STORAGE 8)") else {
        panic!()
    };
    assert!(items.iter().map(|i| (i.item, i.value)).eq([
        (StatusItem::Messages, StatusValue::Number(12)),
        (StatusItem::Deleted, StatusValue::Number(4)),
        (StatusItem::DeletedStorage, StatusValue::Number(8)),
    ]));
}

#[test]
fn notifications() {
    // RFC 5465 sections 3.1, 6 and 7.
    let text = "b notify set status (selected MessageNew (uid body.peek[header.fields (from to subject)]) \
        MessageExpunge) (subtree Lists MessageNew)";
    let CommandBody::Notify(Notify::Set { status: true, groups }) = body(text) else { panic!() };
    let [selected, lists] = &groups[..] else { panic!() };
    assert_eq!(selected.filter, MailboxFilter::Selected);
    let fields = ["from", "to", "subject"].map(octets).into_iter().collect();
    let section = Section { text: Some(SectionText::HeaderFields(fields)), ..Section::default() };
    let items = [FetchItem::Uid, FetchItem::Section { peek: true, section, partial: None }];
    let new = NotifyEvent::MessageNew(Some(items.into_iter().collect()));
    assert!(selected.events.iter().eq([new, NotifyEvent::MessageExpunge]));
    assert_eq!(lists.filter, MailboxFilter::Subtree([mailbox("Lists")].into_iter().collect()));
    assert!(lists.events.iter().eq([NotifyEvent::MessageNew(None)]));
    let text = "a00 SEARCH RETURN (COUNT UPDATE (UID BODY[HEADER.FIELDS (TO FROM SUBJECT)])) FROM \"boss\"";
    let CommandBody::Search { returns: Some(returns), .. } = body(text) else { panic!() };
    let mut returns = returns.iter();
    assert_eq!(returns.next(), Some(SearchReturn::Count));
    let Some(SearchReturn::UpdateWith(items)) = returns.next() else { panic!() };
    assert_eq!((items.len(), items.iter().next(), returns.next()), (2, Some(FetchItem::Uid), None));
    let Data::List(entry) = data("* LIST () \"/\" \"NewMailbox\" (\"OLDNAME\" (\"OldMailbox\"))") else {
        panic!()
    };
    assert_eq!(entry.extended, [ListExtended::OldName(mailbox("OldMailbox"))]);
    assert_eq!(code("* OK [NOTIFICATIONOVERFLOW] ...A comment can go here..."), Code::NotificationOverflow);
}

#[test]
fn what_messages_and_mailboxes_are() {
    // RFC 8474 sections 4 to 6.
    let id = atom("F2212ea87-6097-4256-9d51-71338625");
    let told = code("3 OK [MAILBOXID (F2212ea87-6097-4256-9d51-71338625)] Completed");
    assert_eq!(told, Code::MailboxId(id.clone()));
    let Data::Status { items, .. } = data("* STATUS foo (MAILBOXID (F2212ea87-6097-4256-9d51-71338625))")
    else {
        panic!()
    };
    assert!(items.iter().map(|i| i.value).eq([StatusValue::Id(id)]));
    let ids = fetched("* 1 FETCH (EMAILID (M00000001) THREADID NIL)");
    assert_eq!(ids, [FetchData::EmailId(atom("M00000001")), FetchData::ThreadId(None)]);
    let CommandBody::Search { keys: found, .. } = body("28 search threadid T64b478a75b7ea9") else {
        panic!()
    };
    assert_eq!(found, keys([SearchKey::ThreadId(atom("T64b478a75b7ea9"))]));
    // RFC 8514 section 4.
    let saved = DateTime::new(Date::new(2015, 1, 1).unwrap(), 18, 50, 53, 60).unwrap();
    let told = fetched("* 998 FETCH (SAVEDATE \"01-Jan-2015 18:50:53 +0100\")");
    assert_eq!(told, [FetchData::SaveDate(Some(saved))]);
    let CommandBody::Search { keys: found, .. } = body("A103 SEARCH SAVEDSINCE 28-Dec-2014") else {
        panic!()
    };
    assert_eq!(found, keys([SearchKey::SavedSince(Date::new(2014, 12, 28).unwrap())]));
    // RFC 8970 sections 3 and 5.
    let CommandBody::Fetch { items, .. } = body("C3 FETCH $ (UID PREVIEW (LAZY))") else { panic!() };
    assert_eq!(items.expand(), [FetchItem::Uid, FetchItem::Preview { lazy: true }]);
    let told = fetched("* 9 FETCH (UID 23 PREVIEW NIL)");
    assert_eq!(told, [FetchData::Uid(n(23)), FetchData::Preview(None)]);
    let told = fetched("* 3 FETCH (PREVIEW {30}\r\nMessage data from message 3.\r\n)");
    assert_eq!(told, [FetchData::Preview(Some(octets("Message data from message 3.\r\n")))]);
    // RFC 7889 section 3.1.
    let Data::Status { items, .. } = data("* STATUS INBOX (APPENDLIMIT 257890)") else { panic!() };
    assert!(
        items.iter().map(|i| (i.item, i.value)).eq([(StatusItem::AppendLimit, StatusValue::Number(257890))])
    );
}

#[test]
fn large_mailboxes() {
    // RFC 9394 section 3.
    let text = "101 UID FETCH 25900:26600 (UID FLAGS) (PARTIAL -1:-30 CHANGEDSINCE 98305)";
    let CommandBody::Fetch { uid: true, modifiers, .. } = body(text) else { panic!() };
    let last = PartialRange { from_end: true, start: n(1), end: n(30) };
    assert!(modifiers.iter().eq([FetchModifier::Partial(last), FetchModifier::ChangedSince(98305)]));
    let Data::Esearch(found) = data("* ESEARCH (TAG \"A04\") UID PARTIAL (24000:24500 NIL)") else {
        panic!()
    };
    let range = PartialRange { from_end: false, start: n(24000), end: n(24500) };
    assert_eq!((found.tag, found.uid), (Some(octets("A04")), true));
    assert_eq!(found.results, [SearchResult::Partial { range, set: None }]);
    // RFC 9586 section 3.
    let Data::UidFetch { uid, items } = data("* 25997 UIDFETCH (FLAGS (\\Flagged \\Answered))") else {
        panic!()
    };
    assert_eq!((uid, items.len()), (n(25997), 1));
    assert_eq!(code("07 BAD [UIDREQUIRED] Message numbers are not allowed"), Code::UidRequired);
    // RFC 9738 section 3.
    let limit = code("03 OK [MESSAGELIMIT 1000 23221] FETCH completed with 1000 partial results");
    assert_eq!(limit, Code::MessageLimit { limit: 1000, uid: Some(n(23221)) });
    let CommandBody::Search { keys: found, .. } = body("12 UID SEARCH UIDAFTER 25000 UNDELETED") else {
        panic!()
    };
    assert_eq!(found, keys([SearchKey::UidAfter(n(25000)), SearchKey::Undeleted]));
    // RFC 10022 section 3.1.
    let batches = CommandBody::UidBatches { size: 2000, range: Some((10, 20)) };
    assert_eq!(body("A302 UIDBATCHES 2000 10:20"), batches);
    let told = Data::UidBatches {
        of: Correlator { tag: Some(octets("A143")), mailbox: None },
        batches: vec![(215295, 99696), (99695, 20351), (20350, 7830), (7829, 1)],
    };
    let text = "* UIDBATCHES (TAG \"A143\") 215295:99696,99695:20351,20350:7830,7829:1";
    assert_eq!(data(text), told);
    assert_eq!(code("A302 NO [TOOFEW] Minimum batch size is 500"), Code::TooFew);
    assert_eq!(code("A302 NO [TOOMANY] Too many messages"), Code::TooMany);
}

#[test]
fn sessions() {
    // RFC 4978 section 3, RFC 9585 section 4, RFC 9698 section 5, RFC 5255 sections 3.2 and 4.7.
    assert_eq!(body("c compress deflate"), CommandBody::Compress(atom("deflate")));
    assert_eq!(code("c NO [COMPRESSIONACTIVE] DEFLATE active via TLS"), Code::CompressionActive);
    let progress = Progress { tag: Some(octets("tag")), done: Some(175), goal: None };
    let told = code("* OK [INPROGRESS (\"tag\" 175 NIL)] Processed 175 items so far");
    assert_eq!(told, Code::InProgress(Some(progress)));
    assert_eq!(body("1b GETJMAPACCESS"), CommandBody::GetJmapAccess);
    let url = "https://example.com/.well-known/jmap";
    assert_eq!(data("* JMAPACCESS \"https://example.com/.well-known/jmap\""), Data::JmapAccess(octets(url)));
    let CommandBody::Language(tags) = body("E001 LANGUAGE FR-CA EN-CA") else { panic!() };
    assert!(tags.iter().eq(["FR-CA", "EN-CA"].map(octets)));
    let all = ["EN", "DE", "IT", "i-default"].map(octets).to_vec();
    assert_eq!(data("* LANGUAGE (EN DE IT i-default)"), Data::Language(all));
    let CommandBody::Comparator(names) = body("A001 COMPARATOR \"cz;*\" i;basic") else { panic!() };
    assert!(names.iter().eq(["cz;*", "i;basic"].map(octets)));
    let basic = Data::Comparator { active: octets("i;basic"), others: vec![] };
    assert_eq!(data("* COMPARATOR i;basic"), basic);
    // RFC 8457 section 3.2.
    let Data::List(entry) = data("* LIST (\\HasNoChildren \\Important) \"/\" \"Important Messages\"") else {
        panic!()
    };
    let attributes = ["HasNoChildren", "Important"].map(|name| Flag::Extension(atom(name)));
    assert!(entry.attributes.iter().eq(attributes));
}

#[test]
fn urls() {
    // RFC 4467 section 7.
    let reset = CommandBody::ResetKey(Some((Mailbox::INBOX, vec![atom("XSAMPLE")])));
    assert_eq!(body("a33 RESETKEY INBOX XSAMPLE"), reset);
    let url = "imap://joe@example.com/INBOX/;uid=20/;section=1.2;urlauth=submit+fred";
    let generate = CommandBody::GenUrlAuth(vec![(octets(url), atom("INTERNAL"))]);
    assert_eq!(body(&format!("a777 GENURLAUTH \"{url}\" INTERNAL")), generate);
    let mechanisms = code("a33 OK [URLMECH INTERNAL XSAMPLE=P34OKhO7VEkCbsiYY8rGEg==] done");
    assert_eq!(mechanisms, Code::UrlMech(vec![atom("INTERNAL"), atom("XSAMPLE=P34OKhO7VEkCbsiYY8rGEg==")]));
    let text = format!("* URLFETCH \"{url}\" {{28}}\r\nSi vis pacem, para bellum.\r\n");
    let content = UrlContent::Text(Some(payload("Si vis pacem, para bellum.\r\n")));
    assert_eq!(data(&text), Data::UrlFetch(vec![UrlData { url: octets(url), content }]));
    // RFC 5524 section 4.
    let CommandBody::UrlFetch(wanted) = body("A001 URLFETCH (\"imap://x\" BINARY BODYPARTSTRUCTURE)") else {
        panic!()
    };
    let items = Some(vec![UrlItem::Binary, UrlItem::BodyPartStructure]);
    assert!(wanted.iter().eq([UrlRequest { url: octets("imap://x"), items }]));
    let text = "* URLFETCH \"imap://x\" (BODYPARTSTRUCTURE (\"IMAGE\" \"PNG\" () NIL NIL \"BASE64\" 4)) (BODY {4}\r\nabcd)";
    let Data::UrlFetch(told) = data(text) else { panic!() };
    let UrlContent::Items(items) = &told[0].content else { panic!() };
    let [UrlMetadata::BodyPartStructure(structure), UrlMetadata::Body(Some(octets))] = &items[..] else {
        panic!()
    };
    assert_eq!(octets, &payload("abcd"));
    let Part::Single(part) = structure.root().part() else { panic!() };
    assert_eq!((&part.media[..], &part.encoding[..], part.octets), (&b"IMAGE"[..], &b"BASE64"[..], 4));
    let text = "* URLFETCH \"imap://x\" (BINARY NIL)";
    let Data::UrlFetch(told) = data(text) else { panic!() };
    assert_eq!(told[0].content, UrlContent::Items(vec![UrlMetadata::Binary(None)]));
    let Data::UrlFetch(told) = data("* URLFETCH \"imap://x\" NIL") else { panic!() };
    assert_eq!(told[0].content, UrlContent::Text(None));
}

#[test]
fn annotations_conversions_and_filters() {
    // RFC 5257 sections 4.8 and 4.9.
    let text = "a SORT (ANNOTATION /altsubject value.shared) UTF-8 ALL";
    let CommandBody::Sort { criteria, .. } = body(text) else { panic!() };
    let key = SortKey::Annotation { entry: octets("/altsubject"), attribute: octets("value.shared") };
    assert!(criteria.iter().eq([SortCriterion { reverse: false, key }]));
    let CommandBody::Search { keys: found, .. } = body("a SEARCH ANNOTATION /comment value \"IMAP4\"") else {
        panic!()
    };
    let annotation = AnnotationKey {
        entries: Pattern::from_wire(&b"/comment"[..]),
        attribute: octets("value"),
        value: Some(octets("IMAP4")),
    };
    assert_eq!(found, keys([SearchKey::Annotation(Box::new(annotation))]));
    // RFC 5259 sections 5.1, 8.5 and 9.
    let conversions = CommandBody::Conversions { from: octets("image/gif"), to: octets("*") };
    assert_eq!(body("b CONVERSIONS \"image/gif\" \"*\""), conversions);
    let told = Data::Conversion {
        from: octets("image/gif"),
        to: octets("image/jpeg"),
        params: ["pix-y", "pix-x", "image-interleave"].map(octets).into_iter().collect(),
    };
    let text = "* CONVERSION \"image/gif\" \"image/jpeg\" (\"pix-y\" \"pix-x\" \"image-interleave\")";
    assert_eq!(data(text), told);
    assert_eq!(code("g001 NO [MAXCONVERTPARTS 1] You can only"), Code::MaxConvertParts(1));
    assert_eq!(code("b002 NO [TEMPFAIL] All conversions failed"), Code::TempFail);
    // RFC 5466 section 3.1.
    let text = "a SEARCH UID 300:900 FILTER on-the-road SINCE \"3-Dec-2002\"";
    let CommandBody::Search { keys: found, .. } = body(text) else { panic!() };
    let since = SearchKey::Since(Date::new(2002, 12, 3).unwrap());
    assert_eq!(found, keys([SearchKey::Uid(set("300:900")), SearchKey::Filter(atom("on-the-road")), since]));
}

#[test]
fn gmail() {
    let search = |text: &'static str| match body(text) {
        CommandBody::Search { keys, .. } => keys,
        other => panic!("{text}: {other:?}"),
    };
    let raw = SearchKey::GmailRaw(octets("has:attachment in:unread"));
    assert_eq!(search("a005 SEARCH X-GM-RAW \"has:attachment in:unread\""), keys([raw]));
    let id = SearchKey::GmailMessageId(1278455344230334865);
    assert_eq!(search("a007 UID SEARCH X-GM-MSGID 1278455344230334865"), keys([id]));
    let id = SearchKey::GmailThreadId(1266894439832287888);
    assert_eq!(search("a009 UID SEARCH X-GM-THRID 1266894439832287888"), keys([id]));
    assert_eq!(search("a012 SEARCH X-GM-LABELS foo"), keys([SearchKey::GmailLabel(octets("foo"))]));
    assert_eq!(search("a SEARCH X-GM-LABELS \\Inbox"), keys([SearchKey::GmailLabel(octets("\\Inbox"))]));
    let store = CommandBody::StoreLabels {
        uid: false,
        set: set("1"),
        action: StoreAction::Add,
        silent: false,
        labels: Opaque::new(&b"(foo)"[..]).unwrap(),
    };
    assert_eq!(body("a011 STORE 1 +X-GM-LABELS (foo)"), store);
}

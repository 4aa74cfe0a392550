//! Laws over generated values.

use std::borrow::Cow;
use std::num::NonZeroU32;

use posthaste_imap_proto::*;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use crate::framing::run;

fn octets() -> impl Strategy<Value = Cow<'static, [u8]>> {
    prop_oneof!["[a-zA-Z0-9 \"\\\\(){}*%\\]]{0,12}".prop_map(String::into_bytes), vec(1_u8.., 0..12)]
        .prop_map(Cow::Owned)
}

fn atom() -> impl Strategy<Value = Atom<'static>> {
    "[a-zA-Z$][a-zA-Z0-9$.-]{0,8}".prop_filter_map("atom", Atom::new)
}

fn mailbox() -> impl Strategy<Value = Mailbox<'static>> {
    prop_oneof![Just(Mailbox::INBOX), octets().prop_map(Mailbox::from_wire)]
}

fn flag() -> impl Strategy<Value = Flag<'static>> {
    prop_oneof![
        Just(Flag::Seen),
        Just(Flag::Deleted),
        Just(Flag::Answered),
        Just(Flag::Draft),
        Just(Flag::Flagged),
        Just(Flag::Recent),
        Just(Flag::NewKeywords),
        "X[a-z]{1,5}".prop_map(|a| Flag::Extension(Atom::new(a).unwrap())),
        atom().prop_map(Flag::Keyword)
    ]
}

fn seq_num() -> impl Strategy<Value = SeqNum> {
    prop_oneof![Just(SeqNum::Last), (1_u32..).prop_map(|n| SeqNum::Number(NonZeroU32::new(n).unwrap()))]
}

fn set() -> impl Strategy<Value = SequenceSet> {
    vec((seq_num(), seq_num()).prop_map(|(start, end)| SeqRange { start, end }), 1..5)
        .prop_map(|ranges| SequenceSet::new(ranges).unwrap())
}

fn date() -> impl Strategy<Value = Date> {
    (-719_528_i64..2_932_897).prop_map(|days| Date::from_days(days).unwrap())
}

fn date_time() -> impl Strategy<Value = DateTime> {
    (date(), 0_u8..24, 0_u8..60, 0_u8..60, -1439_i16..1440)
        .prop_map(|(d, h, m, s, z)| DateTime::new(d, h, m, s, z).unwrap())
}

fn search_key() -> impl Strategy<Value = SearchKey<'static>> {
    let leaf = prop_oneof![
        Just(SearchKey::Unseen),
        Just(SearchKey::All),
        Just(SearchKey::SaveDateSupported),
        octets().prop_map(SearchKey::Subject),
        (octets(), octets()).prop_map(|(n, v)| SearchKey::Header(n, v)),
        atom().prop_map(SearchKey::Keyword),
        atom().prop_map(SearchKey::EmailId),
        atom().prop_map(SearchKey::Filter),
        (octets(), octets(), option::of(octets())).prop_map(|(entries, attribute, value)| {
            let entries = Pattern::from_wire(entries);
            SearchKey::Annotation(Box::new(AnnotationKey { entries, attribute, value }))
        }),
        date().prop_map(SearchKey::SentSince),
        (1_u32..).prop_map(|n| SearchKey::UidAfter(NonZeroU32::new(n).unwrap())),
        octets().prop_map(SearchKey::GmailRaw),
        any::<u64>().prop_map(SearchKey::GmailThreadId),
        octets().prop_map(SearchKey::GmailLabel),
        any::<u64>().prop_map(SearchKey::Larger),
        (1_u32..).prop_map(SearchKey::Older),
        (0_u64..1 << 63).prop_map(|n| SearchKey::ModSeq { entry: None, n }),
        set().prop_map(SearchKey::Set),
        set().prop_map(SearchKey::Uid),
    ];
    leaf.prop_recursive(4, 20, 4, |inner| {
        prop_oneof![
            inner.clone().prop_map(|k| SearchKey::Not(k.into())),
            inner.clone().prop_map(|k| SearchKey::Fuzzy(k.into())),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| SearchKey::Or(a.into(), b.into())),
            vec(inner, 1..4).prop_map(|keys| SearchKey::And(keys.into_iter().collect())),
        ]
    })
}

fn keys() -> impl Strategy<Value = SearchKeys<'static>> {
    vec(search_key(), 1..4).prop_map(|keys| keys.into_iter().collect())
}

fn partial_range() -> impl Strategy<Value = PartialRange> {
    (any::<bool>(), 1_u32.., 1_u32..).prop_map(|(from_end, a, b)| PartialRange {
        from_end,
        start: NonZeroU32::new(a).unwrap(),
        end: NonZeroU32::new(b).unwrap(),
    })
}

fn returns() -> impl Strategy<Value = Option<SearchReturns<'static>>> {
    let one = prop_oneof![
        Just(SearchReturn::Min),
        Just(SearchReturn::Save),
        Just(SearchReturn::Relevancy),
        partial_range().prop_map(SearchReturn::Partial),
        vec(fetch_item(), 1..3).prop_map(|items| SearchReturn::UpdateWith(items.into_iter().collect())),
        opaque()
            .prop_map(|value| SearchReturn::Other { name: Atom::new("X-F").unwrap(), value: Some(value) }),
    ];
    option::of(vec(one, 0..3).prop_map(|all| all.into_iter().collect()))
}

/// A value in parentheses.
fn opaque() -> impl Strategy<Value = Opaque<'static>> {
    "\\([a-z0-9]{1,4}( \"[a-z ()]{0,4}\")?( \\(x \\(\\)\\))?\\)"
        .prop_filter_map("opaque", |text| Opaque::new(text.into_bytes()))
}

fn flags() -> impl Strategy<Value = Flags<'static>> {
    vec(flag(), 0..4).prop_map(|flags| flags.into_iter().collect())
}

fn strings() -> impl Strategy<Value = Strings<'static>> {
    vec(octets(), 1..4).prop_map(|all| all.into_iter().collect())
}

fn section() -> impl Strategy<Value = Section<'static>> {
    let part = vec((1_u32..30).prop_map(|n| NonZeroU32::new(n).unwrap()), 0..9)
        .prop_map(|part| part.into_iter().collect::<PartPath>());
    let text = option::of(prop_oneof![
        Just(SectionText::Header),
        Just(SectionText::Text),
        Just(SectionText::Mime),
        strings().prop_map(SectionText::HeaderFields),
        strings().prop_map(SectionText::HeaderFieldsNot),
    ]);
    (part, text).prop_map(|(part, text)| {
        let text = text.filter(|t| *t != SectionText::Mime || !part.is_empty());
        Section { part, text }
    })
}

fn fetch_item() -> impl Strategy<Value = FetchItem<'static>> {
    let partial = option::of(
        (any::<u32>(), 1_u32..)
            .prop_map(|(start, n)| Partial { start, octets_max: NonZeroU32::new(n).unwrap() }),
    );
    prop_oneof![
        Just(FetchItem::Flags),
        Just(FetchItem::BodyStructure),
        Just(FetchItem::Rfc822Size),
        (any::<bool>(), section(), partial).prop_map(|(peek, section, partial)| FetchItem::Section {
            peek,
            section,
            partial
        }),
    ]
}

fn append_data() -> impl Strategy<Value = AppendData<'static>> {
    let payload = || vec(1_u8.., 0..12).prop_map(|b| Payload::Bytes(b.into()));
    let part = prop_oneof![payload().prop_map(CatenatePart::Text), octets().prop_map(CatenatePart::Url)];
    prop_oneof![
        payload().prop_map(AppendData::Message),
        vec(any::<u8>(), 0..12).prop_map(|b| AppendData::Binary(Payload::Bytes(b.into()))),
        payload().prop_map(AppendData::Utf8),
        vec(part, 1..4).prop_map(AppendData::Catenate),
    ]
}

fn append_message() -> impl Strategy<Value = AppendMessage<'static>> {
    (flags(), option::of(date_time()), append_data()).prop_map(|(flags, date, data)| AppendMessage {
        flags,
        date,
        extensions: vec![],
        data,
    })
}

fn list() -> impl Strategy<Value = List<'static>> {
    let selection = option::of(vec(
        prop_oneof![
            Just(ListSelection::Subscribed),
            Just(ListSelection::RecursiveMatch),
            Just(ListSelection::SpecialUse)
        ],
        0..3,
    ));
    let one = prop_oneof![
        Just(ListReturn::Children),
        Just(ListReturn::Status([StatusItem::Size, StatusItem::Unseen].into_iter().collect())),
        strings().prop_map(|entries| ListReturn::Metadata {
            depth: Some(MetadataDepth::One),
            size_max: None,
            entries
        }),
    ];
    let patterns = vec(octets().prop_map(Pattern::from_wire), 1..3);
    (selection, mailbox(), patterns, option::of(vec(one, 0..3))).prop_map(
        |(selection, reference, patterns, returns)| List {
            selection: selection.map(|s| s.into_iter().collect()),
            reference,
            patterns: patterns.into_iter().collect(),
            returns: returns.map(|r| r.into_iter().collect()),
        },
    )
}

fn select_params() -> impl Strategy<Value = SelectParams<'static>> {
    let one = prop_oneof![
        Just(SelectParam::CondStore),
        (1_u32.., 0_u64..1 << 63, option::of(set()), option::of((set(), set()))).prop_map(
            |(n, mod_seq, known, matching)| {
                SelectParam::Qresync {
                    uid_validity: NonZeroU32::new(n).unwrap(),
                    mod_seq,
                    known,
                    matching: matching.map(Box::new),
                }
            }
        ),
    ];
    vec(one, 0..3).prop_map(|all| all.into_iter().collect())
}

fn command_body() -> impl Strategy<Value = CommandBody<'static>> {
    prop_oneof![
        on_mailboxes().boxed(),
        on_messages().boxed(),
        Just(CommandBody::Noop),
        (octets(), octets()).prop_map(|(user, p)| CommandBody::Login { user, password: Secret::new(p) }),
        (atom(), option::of(vec(any::<u8>(), 0..9)))
            .prop_map(|(mechanism, i)| CommandBody::Authenticate { mechanism, initial: i.map(Secret::new) }),
        option::of(vec((octets(), option::of(octets())), 0..3)).prop_map(CommandBody::Id),
        vec(atom(), 1..3).prop_map(|names| CommandBody::Enable(names.into_iter().collect())),
    ]
}

fn on_mailboxes() -> impl Strategy<Value = CommandBody<'static>> {
    let entry = (octets(), option::of(vec(any::<u8>(), 0..9)))
        .prop_map(|(name, value)| MetadataEntry { name, value: value.map(Cow::Owned) });
    let uses = flags().prop_map(|flags| [CreateParam::Use(flags)].into_iter().collect());
    prop_oneof![
        (mailbox(), select_params()).prop_map(|(mailbox, params)| CommandBody::Select { mailbox, params }),
        (mailbox(), uses).prop_map(|(mailbox, params)| CommandBody::Create { mailbox, params }),
        (mailbox(), mailbox()).prop_map(|(from, to)| CommandBody::Rename { from, to }),
        list().prop_map(CommandBody::List),
        (mailbox(), vec(append_message(), 1..3))
            .prop_map(|(mailbox, messages)| CommandBody::Append { mailbox, messages }),
        (mailbox(), vec(entry, 1..4)).prop_map(|(mailbox, entries)| CommandBody::SetMetadata {
            mailbox,
            entries: entries.into_iter().collect()
        }),
        (mailbox(), octets(), "[lrswi]{0,4}").prop_map(|(mailbox, identifier, rights)| CommandBody::SetAcl {
            mailbox,
            identifier,
            change: AclChange::Add,
            rights: rights.into_bytes().into()
        }),
        vec((octets(), atom()), 1..3).prop_map(CommandBody::GenUrlAuth),
        option::of((mailbox(), vec(atom(), 0..3))).prop_map(CommandBody::ResetKey),
        vec((octets(), option::of(vec(url_item(), 0..3))), 1..3).prop_map(|urls| {
            CommandBody::UrlFetch(urls.into_iter().map(|(url, items)| UrlRequest { url, items }).collect())
        }),
        Just(CommandBody::GetJmapAccess),
        (any::<bool>(), set(), any::<bool>()).prop_map(|(uid, set, silent)| CommandBody::StoreLabels {
            uid,
            set,
            action: StoreAction::Add,
            silent,
            labels: Opaque::new(&b"(\\Inbox \"a b\" foo)"[..]).unwrap()
        }),
        vec(octets(), 0..3).prop_map(|tags| CommandBody::Language(tags.into_iter().collect())),
        (octets(), octets()).prop_map(|(from, to)| CommandBody::Conversions { from, to }),
    ]
}

fn url_item() -> impl Strategy<Value = UrlItem<'static>> {
    prop_oneof![
        Just(UrlItem::Body),
        Just(UrlItem::Binary),
        Just(UrlItem::BodyPartStructure),
        Just(UrlItem::Other(Atom::new("X-F").unwrap()))
    ]
}

fn on_messages() -> impl Strategy<Value = CommandBody<'static>> {
    let modifier = prop_oneof![
        (0_u64..1 << 63).prop_map(FetchModifier::ChangedSince),
        Just(FetchModifier::Vanished),
        partial_range().prop_map(FetchModifier::Partial),
    ];
    let annotation =
        (octets(), octets()).prop_map(|(entry, attribute)| SortKey::Annotation { entry, attribute });
    let criterion = (
        any::<bool>(),
        prop_oneof![Just(SortKey::Date), Just(SortKey::DisplayTo), Just(SortKey::Relevancy), annotation],
    )
        .prop_map(|(reverse, key)| SortCriterion { reverse, key });
    prop_oneof![
        (any::<bool>(), returns(), option::of(octets()), keys())
            .prop_map(|(uid, returns, charset, keys)| CommandBody::Search { uid, returns, charset, keys }),
        (any::<bool>(), returns(), vec(criterion, 1..3), keys()).prop_map(
            |(uid, returns, criteria, keys)| {
                let criteria = criteria.into_iter().collect();
                CommandBody::Sort { uid, returns, criteria, charset: Cow::Borrowed(b"UTF-8"), keys }
            }
        ),
        (any::<bool>(), set(), vec(fetch_item(), 1..4), vec(modifier, 0..3)).prop_map(
            |(uid, set, items, modifiers)| {
                CommandBody::Fetch {
                    uid,
                    set,
                    items: FetchItems::List(items.into_iter().collect()),
                    modifiers: modifiers.into_iter().collect(),
                }
            }
        ),
        (any::<bool>(), set(), option::of(0_u64..1 << 63), any::<bool>(), flags()).prop_map(
            |(uid, set, unchanged_since, silent, flags)| {
                CommandBody::Store { uid, set, unchanged_since, action: StoreAction::Add, silent, flags }
            }
        ),
        (any::<bool>(), set(), mailbox()).prop_map(|(uid, set, mailbox)| CommandBody::Move {
            uid,
            set,
            mailbox
        }),
        (any::<bool>(), mailbox(), append_message()).prop_map(|(uid, mailbox, message)| {
            CommandBody::Replace { uid, n: SeqNum::Last, mailbox, message: Box::new(message) }
        }),
    ]
}

fn text() -> impl Strategy<Value = Option<Cow<'static, [u8]>>> {
    option::of(octets())
}

fn addresses() -> impl Strategy<Value = Addresses<'static>> {
    let one = (text(), text(), text(), text()).prop_map(|(name, route, mailbox, host)| Address {
        name,
        route,
        mailbox,
        host,
    });
    vec(one, 0..3).prop_map(|all| all.into_iter().collect())
}

fn envelope() -> impl Strategy<Value = Envelope<'static>> {
    ((text(), text(), text(), text()), (addresses(), addresses(), addresses())).prop_map(
        |((date, subject, in_reply_to, message_id), (from, to, cc))| Envelope {
            date,
            subject,
            sender: from.clone(),
            reply_to: Addresses::default(),
            from,
            to,
            cc,
            bcc: Addresses::default(),
            in_reply_to,
            message_id,
        },
    )
}

fn params() -> impl Strategy<Value = Params<'static>> {
    vec((octets(), octets()), 0..3).prop_map(|all| all.into_iter().collect())
}

fn part_extension() -> impl Strategy<Value = PartExtension<'static>> {
    let disposition =
        option::of((octets(), params()).prop_map(|(kind, params)| Disposition { kind, params }));
    (text(), disposition, vec(octets(), 0..3), text(), option::of(any::<u64>())).prop_map(
        |(md5, disposition, language, location, more)| PartExtension {
            md5,
            disposition,
            language: language.into_iter().collect(),
            location,
            more: more
                .map(|n| BodyExtension::List(vec![BodyExtension::Number(n), BodyExtension::Text(None)]))
                .into_iter()
                .collect(),
        },
    )
}

fn part() -> impl Strategy<Value = BodyPart<'static>> {
    (
        (octets(), octets(), params(), text()),
        (octets(), any::<u64>(), any::<bool>(), option::of(part_extension())),
    )
        .prop_map(|((media, subtype, params, id), (encoding, octets, lines, extension))| BodyPart {
            media,
            subtype,
            params,
            description: id.clone(),
            id,
            encoding,
            octets,
            kind: if lines { PartKind::Text { lines: octets } } else { PartKind::Basic },
            extension: extension.as_ref().map(RawExtension::from),
        })
}

fn structure() -> impl Strategy<Value = BodyStructure<'static>> {
    part().prop_map(BodyStructure::single).prop_recursive(3, 8, 3, move |inner| {
        let message = (part(), envelope(), any::<u64>(), inner.clone()).prop_map(|(part, e, lines, body)| {
            BodyStructure::message(part, RawEnvelope::from(&e), lines, body)
        });
        let extension = option::of((params(), part_extension()))
            .prop_map(|e| e.map(|(p, e)| (p, RawExtension::of_multipart(&PartExtension { md5: None, ..e }))));
        let multi = (vec(inner, 1..3), octets(), extension).prop_map(|(parts, subtype, extension)| {
            BodyStructure::multi(MultiPart { subtype, extension }, parts).unwrap()
        });
        prop_oneof![message, multi]
    })
}

fn code() -> impl Strategy<Value = Code<'static>> {
    let n = || (1_u32..).prop_map(|n| NonZeroU32::new(n).unwrap());
    prop_oneof![
        Just(Code::TryCreate),
        Just(Code::Unavailable),
        Just(Code::UnknownCte),
        vec(atom(), 0..3).prop_map(Code::BadCharset),
        vec(atom(), 1..4).prop_map(|c| Code::Capability(c.into_iter().collect())),
        flags().prop_map(Code::PermanentFlags),
        set().prop_map(Code::Modified),
        (0_u64..1 << 63).prop_map(Code::HighestModSeq),
        atom().prop_map(Code::MailboxId),
        (option::of(octets_for_quotes()), option::of(any::<u32>()), option::of(any::<u32>()))
            .prop_map(|(tag, done, goal)| Code::InProgress(Some(Progress { tag, done, goal }))),
        n().prop_map(Code::UidValidity),
        (n(), set()).prop_map(|(uid_validity, uids)| Code::AppendUid { uid_validity, uids }),
        (n(), set(), set()).prop_map(|(uid_validity, from, to)| Code::CopyUid { uid_validity, from, to }),
    ]
}

fn status() -> impl Strategy<Value = Status<'static>> {
    let kind = prop_oneof![Just(StatusKind::Ok), Just(StatusKind::No), Just(StatusKind::Bad)];
    (kind, option::of(code()), "[a-z0-9\u{fc}][a-z0-9 ({\"]{0,12}").prop_map(|(kind, code, text)| Status {
        kind,
        code,
        text: text.into(),
    })
}

/// What a quoted string can hold.
fn octets_for_quotes() -> impl Strategy<Value = Cow<'static, [u8]>> {
    "[a-zA-Z0-9 \"\\\\(){}*%\\]]{0,12}".prop_map(|text| Cow::Owned(text.into_bytes()))
}

fn fetch_data() -> impl Strategy<Value = FetchData<'static>> {
    let payload = || option::of(vec(any::<u8>(), 0..20).prop_map(|b| Payload::Bytes(b.into())));
    let path = || {
        vec((1_u32..30).prop_map(|n| NonZeroU32::new(n).unwrap()), 0..8).prop_map(|p| p.into_iter().collect())
    };
    prop_oneof![
        flags().prop_map(FetchData::Flags).boxed(),
        (1_u32..).prop_map(|n| FetchData::Uid(NonZeroU32::new(n).unwrap())),
        date_time().prop_map(FetchData::InternalDate),
        any::<u64>().prop_map(FetchData::Rfc822Size),
        envelope().prop_map(|e| FetchData::Envelope(RawEnvelope::from(&e))).boxed(),
        structure().prop_map(FetchData::BodyStructure).boxed(),
        structure().prop_map(FetchData::Body).boxed(),
        payload().prop_map(FetchData::Rfc822Text),
        (section(), option::of(any::<u32>()), payload()).prop_map(|(section, origin, data)| {
            FetchData::Section { section: Box::new(section), origin, data }
        }),
        (path(), option::of(any::<u32>()), payload()).prop_map(|(part, origin, data)| FetchData::Binary {
            part: Box::new(part),
            origin,
            data
        }),
        (0_u64..1 << 63).prop_map(FetchData::ModSeq),
        option::of(date_time()).prop_map(FetchData::SaveDate),
        text().prop_map(FetchData::Preview),
        option::of(atom()).prop_map(FetchData::ThreadId),
        opaque().prop_map(|value| FetchData::Other { name: "X-FUTURE[1]".into(), value }),
    ]
}

fn thread() -> impl Strategy<Value = Thread> {
    let chain = || vec((1_u32..).prop_map(|n| NonZeroU32::new(n).unwrap()), 1..4);
    chain().prop_map(|chain| Thread { chain, branches: vec![] }).prop_recursive(3, 8, 3, move |inner| {
        (chain(), vec(inner, 2..4)).prop_map(|(chain, branches)| Thread { chain, branches })
    })
}

fn esearch() -> impl Strategy<Value = Esearch<'static>> {
    let result = prop_oneof![
        any::<u32>().prop_map(SearchResult::Min),
        vec(any::<u32>(), 0..4).prop_map(SearchResult::Relevancy),
        set().prop_map(SearchResult::All),
        (0_u64..1 << 63).prop_map(SearchResult::ModSeq),
        (partial_range(), option::of(set())).prop_map(|(range, set)| SearchResult::Partial { range, set }),
        vec((any::<u32>(), set()), 1..3).prop_map(SearchResult::AddTo),
        opaque().prop_map(|value| SearchResult::Other { name: Atom::new("X").unwrap(), value }),
    ];
    (octets(), option::of((mailbox(), 1_u32..)), any::<bool>(), vec(result, 0..4)).prop_map(
        |(tag, m, uid, results)| Esearch {
            tag: Some(tag),
            mailbox: m.map(|(m, n)| (m, NonZeroU32::new(n).unwrap())),
            uid,
            results,
        },
    )
}

fn status_data() -> impl Strategy<Value = StatusData<'static>> {
    prop_oneof![
        any::<u64>().prop_map(|n| StatusData { item: StatusItem::Size, value: StatusValue::Number(n) }),
        Just(StatusData { item: StatusItem::AppendLimit, value: StatusValue::Nil }),
        atom().prop_map(|id| StatusData { item: StatusItem::MailboxId, value: StatusValue::Id(id) }),
    ]
}

fn response() -> impl Strategy<Value = Response<'static>> {
    prop_oneof![
        status().prop_map(Response::Status),
        ("[a-z0-9.]{1,8}", status())
            .prop_map(|(tag, status)| Response::Tagged { tag: Tag::new(tag).unwrap(), status }),
        data().prop_map(Response::Data),
    ]
}

fn data() -> impl Strategy<Value = Data<'static>> {
    let delimiter = option::of(prop_oneof![Just(b'.'), Just(b'"'), Just(b'/')]);
    let extended = vec(mailbox().prop_map(ListExtended::OldName), 0..2);
    let entry =
        (flags(), delimiter, mailbox(), extended).prop_map(|(attributes, delimiter, mailbox, extended)| {
            ListEntry { attributes, delimiter, mailbox, extended }
        });
    let ids = || (vec(any::<u32>(), 0..5), option::of(0_u64..1 << 63));
    let nonzero = || (1_u32..).prop_map(|n| NonZeroU32::new(n).unwrap());
    prop_oneof![
        entry.prop_map(Data::List).boxed(),
        ids().prop_map(|(ids, mod_seq)| Data::Search { ids, mod_seq }),
        ids().prop_map(|(ids, mod_seq)| Data::Sort { ids, mod_seq }),
        vec(thread(), 0..3).prop_map(Data::Thread),
        esearch().prop_map(|found| Data::Esearch(Box::new(found))).boxed(),
        (mailbox(), vec(status_data(), 0..4))
            .prop_map(|(mailbox, items)| Data::Status { mailbox, items: items.into_iter().collect() }),
        (nonzero(), vec(fetch_data(), 0..4)).prop_map(|(seq, items)| Data::Fetch { seq, items }).boxed(),
        (nonzero(), vec(fetch_data(), 0..2)).prop_map(|(uid, items)| Data::UidFetch { uid, items }).boxed(),
        (any::<bool>(), set()).prop_map(|(earlier, uids)| Data::Vanished { earlier, uids }),
        option::of(vec((octets(), text()), 0..3)).prop_map(Data::Id),
        (octets(), vec((atom(), any::<u64>(), any::<u64>()), 0..3)).prop_map(|(root, all)| Data::Quota {
            root,
            resources: all
                .into_iter()
                .map(|(name, usage, limit)| QuotaResource { name, usage, limit })
                .collect()
        }),
        (mailbox(), vec((octets(), octets()), 0..3))
            .prop_map(|(mailbox, entries)| Data::Acl { mailbox, entries }),
        (octets(), option::of((mailbox(), nonzero())), vec((1_u32.., 1_u32..), 0..3)).prop_map(
            |(tag, mailbox, batches)| Data::UidBatches {
                of: Correlator { tag: Some(tag), mailbox },
                batches
            }
        ),
        vec((octets(), url_content()), 1..3).prop_map(|urls| {
            Data::UrlFetch(urls.into_iter().map(|(url, content)| UrlData { url, content }).collect())
        }),
        (octets(), octets(), strings()).prop_map(|(from, to, params)| Data::Conversion { from, to, params }),
    ]
}

fn url_content() -> impl Strategy<Value = UrlContent<'static>> {
    let payload = || text().prop_map(|text| text.map(Payload::Bytes));
    let item = prop_oneof![
        structure().prop_map(UrlMetadata::BodyPartStructure),
        payload().prop_map(UrlMetadata::Binary),
        payload().prop_map(UrlMetadata::Body),
        opaque().prop_map(|value| UrlMetadata::Other { name: Atom::new("X-F").unwrap(), value }),
    ];
    prop_oneof![payload().prop_map(UrlContent::Text), vec(item, 1..3).prop_map(UrlContent::Items)]
}

/// Reads one response from octets; the pieces are cut at `cut`.
fn decode_response(octets: &[u8], cut: usize) -> Response<'static> {
    let mut decoder = ResponseDecoder::new(ResponseConfig::default());
    let (mut a, mut b) = octets.split_at(cut.min(octets.len() - 1));
    assert_eq!(decoder.decode(&mut a), ResponseEvent::NeedMore, "a proper prefix is incomplete");
    match decoder.decode(&mut b) {
        ResponseEvent::Response(raw) => raw.parse(&ParseLimits::client()).unwrap().into_owned(),
        other => panic!("{other:?} for {}", octets.escape_ascii()),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn parsing_an_encoded_command_gives_it_back(body in command_body()) {
        let command = Command { tag: Tag::new("a1").unwrap(), body };
        for literals in [Literals::Sync, Literals::NonSync] {
            let octets = command.encode(literals).bytes;
            let parsed = Command::parse(&octets[..octets.len() - 2], &ParseLimits::default());
            prop_assert_eq!(parsed.as_ref(), Ok(&command), "{}", octets.escape_ascii());
            prop_assert_eq!(parsed.unwrap().into_owned(), command.clone());
        }
    }

    #[test]
    fn parsing_an_encoded_response_gives_it_back(response in response(), cut in any::<prop::sample::Index>()) {
        let mut octets = Vec::new();
        response.encode(&mut octets);
        prop_assert_eq!(decode_response(&octets, cut.index(octets.len())), response);
    }

    #[test]
    fn every_proper_prefix_of_an_encoded_command_is_incomplete(body in command_body(), cut in any::<prop::sample::Index>()) {
        let octets = Command { tag: Tag::new("a1").unwrap(), body }.encode(Literals::NonSync).bytes;
        let mut decoder = CommandDecoder::new(Config { append_more: true, ..Config::default() });
        decoder.set_authenticated(true);
        let mut input = &octets[..cut.index(octets.len())];
        loop {
            let accept = match decoder.decode(&mut input) {
                Event::NeedMore => break,
                Event::Append(_) => true,
                Event::MessageChunk(_) => false,
                other => panic!("{other:?} for a prefix of {}", octets.escape_ascii()),
            };
            if accept {
                decoder.accept_message();
            }
        }
    }

    #[test]
    fn any_octets_in_any_split_give_the_same_events(
        octets in vec(prop_oneof![
            "(a|b) (NOOP|LOGIN|APPEND x|IDLE) ?".prop_map(String::into_bytes),
            "\\{[0-9]{1,3}\\+?\\}\r\n".prop_map(String::into_bytes),
            Just(b"\r\n".to_vec()), Just(b"\n".to_vec()), Just(b"\r".to_vec()), Just(b"\"".to_vec()), Just(b" \"".to_vec()),
            "[a-z]{0,70}".prop_map(String::into_bytes), vec(any::<u8>(), 0..30)
        ], 0..30).prop_map(|v| v.concat()),
        cuts in vec(any::<prop::sample::Index>(), 0..6),
        authenticated in any::<bool>(),
    ) {
        let mut cuts: Vec<_> = cuts.iter().map(|c| c.index(octets.len() + 1)).collect();
        cuts.sort_unstable();
        let mut pieces = Vec::new();
        let mut at = 0;
        for cut in cuts.into_iter().chain([octets.len()]) {
            pieces.push(&octets[at..cut]);
            at = cut;
        }
        prop_assert_eq!(run(authenticated, [&octets[..]]), run(authenticated, pieces));
    }

    #[test]
    fn any_octets_parse_or_fail_without_a_panic(octets in vec(prop_oneof![
        "(a |\\* |FETCH|SEARCH|1|\\(|\\)|BODY|\\[|\\]|UID| |\\{3\\}\r\n|ENVELOPE|NIL|\"|\\\\|OK|LIST|STATUS|<0.1>)"
            .prop_map(String::into_bytes),
        vec(any::<u8>(), 0..4)
    ], 0..40).prop_map(|v| v.concat())) {
        let _ = Command::parse(&octets, &ParseLimits::default());
        if let Ok(response) = Response::parse(&octets, &ParseLimits::default()) {
            let mut out = Vec::new();
            response.encode(&mut out);
            prop_assert!(out.ends_with(b"\r\n"));
        }
    }

    #[test]
    fn mailbox_names_survive_modified_utf7(name in "\\PC{0,20}") {
        let wire = Mailbox::encode(&name);
        if !wire.is_inbox() {
            prop_assert!(wire.as_wire().is_ascii());
            prop_assert_eq!(&wire.decode().unwrap(), &name);
        }
    }
}

/// Known messages with some octets changed, left out, or put in twice.
fn mutated(known: Vec<&'static str>) -> impl Strategy<Value = Vec<u8>> {
    let octet = prop_oneof![any::<u8>(), prop::sample::select(b" ()[]{}\"\\*%~+-.,:<>$0129NIL\r\n".to_vec())];
    let change = (any::<prop::sample::Index>(), 0..4, octet);
    (prop::sample::select(known), vec(change, 0..4)).prop_map(|(text, changes)| {
        let mut text = text.as_bytes().to_vec();
        for (at, how, octet) in changes {
            let at = at.index(text.len() + 1);
            match how {
                0 => text.insert(at, octet),
                1 if at < text.len() => text[at] = octet,
                2 if at < text.len() => drop(text.remove(at)),
                _ => text.extend_from_within(at..),
            }
        }
        text
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_parses_as_a_command_comes_back_from_its_encoding(
        text in mutated(crate::commands::CANONICAL.iter().chain(crate::commands::EXTENSIONS).copied().collect())
    ) {
        if let Ok(command) = Command::parse(&text, &ParseLimits::client()) {
            let octets = command.encode(Literals::NonSync).bytes;
            let again = Command::parse(&octets[..octets.len() - 2], &ParseLimits::client());
            prop_assert_eq!(again.as_ref(), Ok(&command), "{} became {}", text.escape_ascii(), octets.escape_ascii());
        }
    }

    #[test]
    fn whatever_parses_as_a_response_has_a_stable_encoding(
        text in mutated(crate::responses::CANONICAL.to_vec())
    ) {
        if let Ok(response) = Response::parse(&text, &ParseLimits::client()) {
            let (mut once, mut twice) = (Vec::new(), Vec::new());
            response.encode(&mut once);
            // Of free text and of codes that nobody understands, control characters are left out and brackets trimmed.
            let free = matches!(response, Response::Continue(_) | Response::Status(_) | Response::Tagged { .. });
            let again = Response::parse(&once[..once.len() - 2], &ParseLimits::client());
            prop_assert!(again.is_ok(), "{} became {}", text.escape_ascii(), once.escape_ascii());
            again.unwrap().encode(&mut twice);
            prop_assert!(free || once == twice, "{} became {}", once.escape_ascii(), twice.escape_ascii());
        }
    }
}

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
        octets().prop_map(SearchKey::Subject),
        (octets(), octets()).prop_map(|(n, v)| SearchKey::Header(n, v)),
        atom().prop_map(SearchKey::Keyword),
        date().prop_map(SearchKey::SentSince),
        any::<u64>().prop_map(SearchKey::Larger),
        set().prop_map(SearchKey::Set),
        set().prop_map(SearchKey::Uid),
    ];
    leaf.prop_recursive(4, 20, 4, |inner| {
        prop_oneof![
            inner.clone().prop_map(|k| SearchKey::Not(Box::new(k))),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| SearchKey::Or(Box::new(a), Box::new(b))),
            vec(inner, 1..4).prop_map(SearchKey::And),
        ]
    })
}

fn section() -> impl Strategy<Value = Section<'static>> {
    let part = vec((1_u32..30).prop_map(|n| NonZeroU32::new(n).unwrap()), 0..4);
    let text = option::of(prop_oneof![
        Just(SectionText::Header),
        Just(SectionText::Text),
        Just(SectionText::Mime),
        vec(octets(), 1..4).prop_map(SectionText::HeaderFields),
        vec(octets(), 1..4).prop_map(SectionText::HeaderFieldsNot),
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

fn command_body() -> impl Strategy<Value = CommandBody<'static>> {
    let head = (mailbox(), vec(flag(), 0..4), option::of(date_time()))
        .prop_map(|(mailbox, flags, date)| AppendHead { mailbox, flags, date });
    prop_oneof![
        Just(CommandBody::Noop),
        (octets(), octets()).prop_map(|(user, p)| CommandBody::Login { user, password: Secret::new(p) }),
        (atom(), option::of(vec(any::<u8>(), 0..9)))
            .prop_map(|(mechanism, i)| CommandBody::Authenticate { mechanism, initial: i.map(Secret::new) }),
        mailbox().prop_map(CommandBody::Select),
        (mailbox(), mailbox()).prop_map(|(from, to)| CommandBody::Rename { from, to }),
        (mailbox(), mailbox()).prop_map(|(reference, pattern)| CommandBody::List { reference, pattern }),
        (head, octets()).prop_map(|(head, message)| CommandBody::Append { head, message }),
        option::of(vec((octets(), option::of(octets())), 0..3)).prop_map(CommandBody::Id),
        (any::<bool>(), option::of(octets()), vec(search_key(), 1..4))
            .prop_map(|(uid, charset, keys)| CommandBody::Search { uid, charset, keys }),
        (any::<bool>(), set(), vec(fetch_item(), 1..4)).prop_map(|(uid, set, items)| CommandBody::Fetch {
            uid,
            set,
            items: FetchItems::List(items)
        }),
        (any::<bool>(), set(), any::<bool>(), vec(flag(), 0..4)).prop_map(|(uid, set, silent, flags)| {
            CommandBody::Store { uid, set, action: StoreAction::Add, silent, flags }
        }),
        (any::<bool>(), set(), mailbox()).prop_map(|(uid, set, mailbox)| CommandBody::Copy {
            uid,
            set,
            mailbox
        }),
    ]
}

fn text() -> impl Strategy<Value = Option<Cow<'static, [u8]>>> {
    option::of(octets())
}

fn addresses() -> impl Strategy<Value = Vec<Address<'static>>> {
    vec(
        (text(), text(), text(), text()).prop_map(|(name, route, mailbox, host)| Address {
            name,
            route,
            mailbox,
            host,
        }),
        0..3,
    )
}

fn envelope() -> impl Strategy<Value = Envelope<'static>> {
    ((text(), text(), text(), text()), (addresses(), addresses(), addresses())).prop_map(
        |((date, subject, in_reply_to, message_id), (from, to, cc))| Envelope {
            date,
            subject,
            sender: from.clone(),
            reply_to: Vec::new(),
            from,
            to,
            cc,
            bcc: Vec::new(),
            in_reply_to,
            message_id,
        },
    )
}

fn params() -> impl Strategy<Value = Params<'static>> {
    vec((octets(), octets()), 0..3)
}

fn part_extension() -> impl Strategy<Value = PartExtension<'static>> {
    let disposition =
        option::of((octets(), params()).prop_map(|(kind, params)| Disposition { kind, params }));
    (text(), disposition, vec(octets(), 0..3), text(), option::of(any::<u64>())).prop_map(
        |(md5, disposition, language, location, more)| PartExtension {
            md5,
            disposition,
            language,
            location,
            more: more
                .map(|n| BodyExtension::List(vec![BodyExtension::Number(n), BodyExtension::Text(None)]))
                .into_iter()
                .collect(),
        },
    )
}

fn structure() -> impl Strategy<Value = BodyStructure<'static>> {
    let part = |kind: BoxedStrategy<PartKind<'static>>| {
        ((octets(), octets(), params(), text()), (octets(), any::<u64>(), kind, option::of(part_extension())))
            .prop_map(|((media, subtype, params, id), (encoding, octets, kind, extension))| {
                let description = id.clone();
                BodyStructure::Single(Box::new(BodyPart {
                    media,
                    subtype,
                    params,
                    id,
                    description,
                    encoding,
                    octets,
                    kind,
                    extension,
                }))
            })
    };
    let leaf = prop_oneof![
        part(Just(PartKind::Basic).boxed()),
        part(any::<u64>().prop_map(|lines| PartKind::Text { lines }).boxed())
    ];
    leaf.prop_recursive(3, 8, 3, move |inner| {
        let message = (envelope(), inner.clone(), any::<u64>())
            .prop_map(|(e, body, lines)| PartKind::Message { envelope: Box::new(e), body, lines });
        let extension =
            option::of((params(), part_extension()).prop_map(|(p, e)| (p, PartExtension { md5: None, ..e })));
        prop_oneof![
            part(message.boxed()),
            (vec(inner, 1..3), octets(), extension).prop_map(|(parts, subtype, extension)| {
                BodyStructure::Multi(Box::new(MultiPart { parts, subtype, extension }))
            }),
        ]
    })
}

fn code() -> impl Strategy<Value = Code<'static>> {
    let n = || (1_u32..).prop_map(|n| NonZeroU32::new(n).unwrap());
    prop_oneof![
        Just(Code::TryCreate),
        Just(Code::Unavailable),
        Just(Code::UnknownCte),
        vec(atom(), 0..3).prop_map(Code::BadCharset),
        vec(atom(), 1..4).prop_map(Code::Capability),
        vec(flag(), 0..4).prop_map(Code::PermanentFlags),
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

fn fetch_data() -> impl Strategy<Value = FetchData<'static>> {
    let payload =
        || prop_oneof![Just(Payload::Nil), vec(any::<u8>(), 0..20).prop_map(|b| Payload::Bytes(b.into()))];
    prop_oneof![
        vec(flag(), 0..4).prop_map(FetchData::Flags).boxed(),
        (1_u32..).prop_map(|n| FetchData::Uid(NonZeroU32::new(n).unwrap())),
        date_time().prop_map(FetchData::InternalDate),
        any::<u64>().prop_map(FetchData::Rfc822Size),
        envelope().prop_map(|e| FetchData::Envelope(Box::new(e))).boxed(),
        structure().prop_map(|b| FetchData::BodyStructure(Box::new(b))).boxed(),
        payload().prop_map(FetchData::Rfc822Text),
        (section(), option::of(any::<u32>()), payload())
            .prop_map(|(section, origin, data)| FetchData::Section { section, origin, data }),
    ]
}

fn response() -> impl Strategy<Value = Response<'static>> {
    let entry = (vec(flag(), 0..3), option::of(prop_oneof![Just(b'.'), Just(b'"'), Just(b'/')]), mailbox())
        .prop_map(|(attributes, delimiter, mailbox)| ListEntry { attributes, delimiter, mailbox });
    prop_oneof![
        status().prop_map(Response::Status),
        ("[a-z0-9.]{1,8}", status())
            .prop_map(|(tag, status)| Response::Tagged { tag: Tag::new(tag).unwrap(), status }),
        entry.prop_map(|e| Response::Data(Data::List(e))),
        vec(any::<u32>(), 0..5).prop_map(|ids| Response::Data(Data::Search(ids))),
        (mailbox(), any::<u32>()).prop_map(|(mailbox, n)| Response::Data(Data::Status {
            mailbox,
            items: vec![(StatusItem::Unseen, n)]
        })),
        (1_u32.., vec(fetch_data(), 0..4))
            .prop_map(|(n, items)| Response::Data(Data::Fetch { seq: NonZeroU32::new(n).unwrap(), items })),
        option::of(vec((octets(), text()), 0..3)).prop_map(|f| Response::Data(Data::Id(f))),
    ]
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

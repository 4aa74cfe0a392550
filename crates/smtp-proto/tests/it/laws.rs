//! Laws over generated values: parse after encode is the identity, prefixes are incomplete, splits do not matter.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use posthaste_smtp_proto::*;

use crate::{Seen, run_pieces};

fn local() -> impl Strategy<Value = LocalPart<'static>> {
    "[ -~éß]{0,20}".prop_map(|s| LocalPart::new(s).unwrap())
}

fn domain() -> impl Strategy<Value = Domain<'static>> {
    prop_oneof![
        "[a-z0-9]([a-z0-9_-]{0,8}[a-z0-9])?(\\.[a-zé]{1,5}){0,3}"
            .prop_map(|s| Domain::Name(DomainName::new(s).unwrap())),
        any::<[u8; 4]>().prop_map(|ip| Domain::V4(ip.into())),
        any::<[u8; 16]>().prop_map(|ip| Domain::V6(ip.into())),
        "[a-z][a-z0-9-]{0,5}:[!-Z^-~]{1,10}".prop_filter_map("ipv6 is another", |s| GeneralLiteral::new(s)
            .ok()
            .map(|l| Domain::General(Box::new(l)))),
    ]
}

fn domain_name() -> impl Strategy<Value = DomainName<'static>> {
    "[a-z0-9]{1,5}(\\.[a-zé]{1,5}){0,2}".prop_map(|s| DomainName::new(s).unwrap())
}

fn waiting() -> impl Strategy<Value = Waiting<'static>> {
    prop_oneof![
        domain_name().prop_map(Waiting::Host),
        domain_name().prop_map(Waiting::Subdomains),
        "[!-<>-~]{1,9}".prop_map(|s| Waiting::Queue(Value::new(s).unwrap())),
    ]
}

fn mailbox() -> impl Strategy<Value = Mailbox<'static>> {
    (local(), domain()).prop_map(|(local, domain)| Mailbox { local, domain })
}

fn text() -> impl Strategy<Value = Text<'static>> {
    "[!-~é]([ -~é]{0,20}[!-~é])?".prop_map(|s| Text::new(s).unwrap())
}

fn by() -> impl Strategy<Value = DeliverBy> {
    (-999_999_999i32..=999_999_999, any::<bool>()).prop_map(|(seconds, trace)| {
        let mode = if seconds > 0 && seconds % 2 == 0 { ByMode::Return } else { ByMode::Notify };
        DeliverBy { seconds, mode, trace }
    })
}

fn hold() -> impl Strategy<Value = Hold> {
    let time = (0u16..=9999, 1u8..=12, 1u8..=28, 0u8..24, 0u8..60, 0u8..=60)
        .prop_map(|(y, m, d, h, min, s)| Hold::Until(UtcTime::new((y, m, d), (h, min, s)).unwrap()));
    prop_oneof![(1u32..=999_999_999).prop_map(Hold::For), time]
}

fn attributes() -> impl Strategy<Value = Vec<Attribute<'static>>> {
    let text =
        || prop_oneof![text().prop_map(Known::Value), Just(Known::Unavailable), Just(Known::TempUnavailable)];
    let ip = prop_oneof![
        any::<[u8; 4]>().prop_map(std::net::IpAddr::from),
        any::<[u8; 16]>().prop_map(std::net::IpAddr::from),
    ];
    (text(), ip, any::<u16>(), text(), any::<bool>()).prop_map(|(name, ip, port, login, local)| {
        vec![
            Attribute::Name(name),
            Attribute::Addr(Known::Value(ip)),
            Attribute::DestPort(Known::Value(port)),
            Attribute::Login(login),
            Attribute::Proto(Known::Value(ClientProtocol::Esmtp)),
            Attribute::Source(Known::Value(if local { Source::Local } else { Source::Remote })),
        ]
    })
}

fn mail() -> impl Strategy<Value = Command<'static>> {
    let from = option::of(mailbox()).prop_map(|m| m.map_or(ReversePath::Null, ReversePath::Mailbox));
    let body = prop_oneof![Just(Body::SevenBit), Just(Body::EightBitMime), Just(Body::BinaryMime)];
    let auth = option::of(text()).prop_map(|t| t.map_or(AuthSender::Unknown, AuthSender::Address));
    let ret = prop_oneof![Just(Ret::Full), Just(Ret::Headers)];
    let other = option::of("X-[A-Z]{1,8}").prop_map(|name| {
        name.map(|name| Parameter { name: Keyword::new(name).unwrap(), value: Value::new("a;b").ok() })
    });
    let fields = (
        option::of(any::<u64>()),
        option::of(body),
        option::of(auth),
        option::of(ret),
        option::of(text()),
        any::<bool>(),
        option::of(-9i8..=9),
        other,
        (option::of(by()), option::of(hold())),
    );
    (from, fields).prop_map(
        |(from, (size, body, auth, ret, envid, requiretls, mt_priority, other, times))| {
            let smtputf8 = from.mailbox().is_some_and(|m| !m.is_ascii());
            let (by, hold) = times;
            let some = by.is_some() || hold.is_some() || other.is_some();
            let more = MoreMailParams { by, hold, other: other.into_iter().collect() };
            let more = some.then(|| Box::new(more));
            let params = MailParams { size, body, smtputf8, auth, ret, envid, requiretls, mt_priority, more };
            Command::Mail { from, params }
        },
    )
}

fn rcpt() -> impl Strategy<Value = Command<'static>> {
    let to = option::of(mailbox()).prop_map(|m| m.map_or(ForwardPath::Postmaster, ForwardPath::Mailbox));
    let notify =
        any::<(bool, bool, bool)>().prop_map(|(success, failure, delay)| match (success, failure, delay) {
            (false, false, false) => Notify::Never,
            _ => Notify::On { success, failure, delay },
        });
    let orcpt = text().prop_map(|address| OriginalRecipient::new(&Keyword::new("rfc822").unwrap(), &address));
    (to, option::of(notify), option::of(orcpt)).prop_map(|(to, notify, orcpt)| Command::Rcpt {
        to,
        params: RcptParams { notify, orcpt, other: Vec::new() },
    })
}

fn command() -> impl Strategy<Value = Command<'static>> {
    let name = || "[!-~]{1,30}".prop_map(|s| ClientName::new(s).unwrap());
    let secret = "[A-Za-z0-9+/]{0,40}={0,2}"
        .prop_filter_map("= is the empty one", |s| if s == "=" { None } else { Secret::new(s) });
    let plain = prop_oneof![
        Just(Command::Data),
        Just(Command::Rset),
        Just(Command::Quit),
        Just(Command::StartTls),
        name().prop_map(Command::Ehlo),
        name().prop_map(Command::Helo),
        name().prop_map(Command::Lhlo),
        option::of(text()).prop_map(Command::Noop),
        option::of(text()).prop_map(Command::Help),
        text().prop_map(Command::Vrfy),
        text().prop_map(Command::Expn),
        ("[!-~]{1,30}", any::<bool>())
            .prop_map(|(url, last)| Command::Burl { url: Url::new(url).unwrap(), last }),
        waiting().prop_map(Command::Etrn),
        vec(domain_name(), 0..3).prop_map(Command::Atrn),
    ];
    let auth = ("[A-Z0-9-]{1,20}", option::of(secret))
        .prop_map(|(name, initial)| Command::Auth { mechanism: Keyword::new(name).unwrap(), initial });
    let bdat = (0u64..50, any::<bool>()).prop_map(|(size, last)| Command::Bdat { size, last });
    let proxied = (attributes(), any::<bool>())
        .prop_map(|(list, client)| if client { Command::XClient(list) } else { Command::XForward(list) });
    prop_oneof![2 => plain, 2 => mail(), 2 => rcpt(), 1 => auth, 1 => bdat, 1 => proxied]
}

fn encoded(command: &Command<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    command.encode(&mut out);
    out
}

/// Octets that make trouble more often than random ones.
fn hostile() -> impl Strategy<Value = Vec<u8>> {
    let bit = prop_oneof![
        Just(b"\r\n".to_vec()),
        Just(b"\r\n.\r\n".to_vec()),
        Just(b".".to_vec()),
        Just(b"\r".to_vec()),
        Just(b"\n".to_vec()),
        Just(b"\0".to_vec()),
        Just(b"DATA\r\n".to_vec()),
        Just(b"AUTH PLAIN\r\n".to_vec()),
        Just(b"BDAT 7 LAST\r\n".to_vec()),
        Just(b"NOOP\r\n".to_vec()),
        vec(any::<u8>(), 0..20),
        command().prop_map(|c| encoded(&c)),
    ];
    vec(bit, 0..30).prop_map(|bits| bits.concat())
}

fn pieces<'a>(wire: &'a [u8], cuts: &[usize]) -> Vec<&'a [u8]> {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (wire.len() + 1)).collect();
    cuts.extend([0, wire.len()]);
    cuts.sort_unstable();
    cuts.windows(2).map(|pair| &wire[pair[0]..pair[1]]).collect()
}

/// The text, what is wrong with it, and what is left behind its end, if it ended.
type Unstuffed = (Vec<u8>, Option<Violation>, Option<Vec<u8>>);

fn unstuffed<'i>(pieces: impl IntoIterator<Item = &'i [u8]>) -> Unstuffed {
    unstuffed_by(pieces, |unstuffer, check, input, text| {
        while let Some(piece) = unstuffer.next_checked(input, check) {
            match piece {
                Piece::Text(slice) => text.extend_from_slice(slice),
                Piece::End => return true,
            }
        }
        false
    })
}

fn unstuffed_copied<'i>(pieces: impl IntoIterator<Item = &'i [u8]>) -> Unstuffed {
    unstuffed_by(pieces, |unstuffer, check, input, text| unstuffer.copy_checked(input, check, text))
}

fn unstuffed_by<'i>(
    pieces: impl IntoIterator<Item = &'i [u8]>,
    take: impl Fn(&mut Unstuffer, &mut TextCheck, &mut &[u8], &mut Vec<u8>) -> bool,
) -> Unstuffed {
    let (mut unstuffer, mut check) = (Unstuffer::new(), TextCheck::new());
    let (mut text, mut left) = (Vec::new(), None::<Vec<u8>>);
    for mut input in pieces {
        if left.is_none() && take(&mut unstuffer, &mut check, &mut input, &mut text) {
            left = Some(Vec::new());
        }
        match &mut left {
            Some(left) => left.extend_from_slice(input),
            None => assert!(input.is_empty(), "all input is taken"),
        }
    }
    (text, check.finish(), left)
}

fn violation_by_the_letter(text: &[u8]) -> Option<Violation> {
    (0..text.len()).find_map(|at| {
        match (text[at], at.checked_sub(1).map(|before| text[before]), text.get(at + 1)) {
            (0, _, _) => Some(Violation::Nul),
            (b'\r', _, after) if after != Some(&b'\n') => Some(Violation::BareCr),
            (b'\n', before, _) if before != Some(b'\r') => Some(Violation::BareLf),
            _ => None,
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn parse_after_encode_is_the_identity(command in command()) {
        let wire = encoded(&command);
        prop_assert_eq!(Command::parse(wire.strip_suffix(b"\r\n").unwrap()), Ok(command));
    }

    #[test]
    fn every_proper_prefix_of_a_command_is_incomplete(command in command()) {
        let wire = encoded(&command);
        for end in 0..wire.len() {
            prop_assert_eq!(run_pieces(Config::default(), [&wire[..end]]), vec![]);
        }
    }

    #[test]
    fn any_split_gives_the_same_events(wire in hostile(), cuts in vec(any::<usize>(), 0..8)) {
        let config = Config { command_line_max: 120, skip_limit: 60, ..Config::default() };
        let whole = run_pieces(config.clone(), [wire.as_slice()]);
        prop_assert_eq!(run_pieces(config.clone(), pieces(&wire, &cuts)), whole.clone());
        prop_assert_eq!(run_pieces(config, wire.chunks(1)), whole);
    }

    /// The one pass over common commands and the careful parser say the same of every line: of commands, and of commands
    /// in which one octet is another.
    #[test]
    fn common_commands_are_parsed_as_by_the_careful_parser(
        command in command(), at in any::<prop::sample::Index>(), octet in any::<u8>(), change in any::<bool>(),
    ) {
        let mut wire = encoded(&command);
        let len = wire.len() - 2;
        let at = at.index(len);
        if change && ![b'\r', b'\n', 0].contains(&octet) {
            wire[at] = octet;
        }
        let careful = match Command::parse(&wire[..len]) {
            Ok(command) => Seen::Command(command.into_owned()),
            Err(error) => Seen::Refused(ProtocolError::Syntax(error)),
        };
        let seen = run_pieces(Config::default(), [wire.as_slice()]);
        prop_assert_eq!(seen.first(), Some(&careful));
    }

    #[test]
    fn any_message_survives_stuffing_and_unstuffing(
        bits in vec(prop_oneof![Just("\r\n".to_owned()), Just(".".to_owned()), "[ -~é]{0,30}"], 0..40),
        cuts in vec(any::<usize>(), 0..8),
    ) {
        let mut message = bits.concat().into_bytes();
        if !message.is_empty() {
            message.extend(b"\r\n");
        }
        let mut stuffer = Stuffer::new();
        let mut wire = b"DATA\r\n".to_vec();
        for piece in pieces(&message, &cuts) {
            stuffer.stuff(piece).for_each(|slice| wire.extend_from_slice(slice));
        }
        wire.extend(stuffer.finish());
        let mut seen = run_pieces(Config::default(), [wire.as_slice()]);
        prop_assert_eq!(seen.pop(), Some(Seen::EndOfData(None)));
        let body = match seen.pop() { Some(Seen::Body(body)) => body, _ => Vec::new() };
        prop_assert_eq!(body, message);
    }

    #[test]
    fn unstuffing_and_its_check_are_as_octet_by_octet_in_any_split(
        bits in vec(prop_oneof![
            4 => Just("\r\n".to_owned()),
            2 => Just(".".to_owned()),
            6 => "[ -~é]{0,150}",
            1 => prop_oneof![Just("\r"), Just("\n"), Just("\0")].prop_map(str::to_owned),
        ], 0..40),
        cuts in vec(any::<usize>(), 0..8),
    ) {
        let wire = bits.concat().into_bytes();
        let expected = unstuffed(wire.chunks(1));
        prop_assert_eq!(expected.1, violation_by_the_letter(&expected.0));
        prop_assert_eq!(&unstuffed([wire.as_slice()]), &expected);
        prop_assert_eq!(&unstuffed(pieces(&wire, &cuts)), &expected);
        prop_assert_eq!(&unstuffed_copied([wire.as_slice()]), &expected);
        prop_assert_eq!(&unstuffed_copied(pieces(&wire, &cuts)), &expected);
    }

    #[test]
    fn replies_parse_after_encode_in_any_split(
        code in prop_oneof![200u16..=299, 400u16..=599],
        enhanced in option::of((0u16..1000, 0u16..1000)),
        lines in vec("([A-Za-z][ -~é]{0,30})?", 1..6),
        cuts in vec(any::<usize>(), 0..8),
    ) {
        let text = lines.join("\n");
        let reply = match enhanced {
            Some(enhanced) => Reply::new(code, enhanced, text),
            None => Reply::plain(code, text),
        };
        let mut wire = Vec::new();
        reply.encode(&mut wire);
        let mut receiver = ReplyReceiver::default();
        let mut seen = Vec::new();
        for mut piece in pieces(&wire, &cuts) {
            while let Some(reply) = receiver.next(&mut piece) {
                seen.push(reply);
            }
        }
        prop_assert_eq!(seen, vec![Ok(reply)]);
    }
}

//! Laws over generated values: parse after encode is the identity, prefixes are incomplete, splits do not matter.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use posthaste_pop3_proto::*;

use crate::run_pieces;

fn number() -> impl Strategy<Value = MessageNumber> {
    any::<MessageNumber>()
}

fn command() -> impl Strategy<Value = Command<'static>> {
    let name = || "[!-~é]([ -~é]{0,20}[!-~é])?".prop_map(|s| Text::new(s).unwrap());
    let word = || "[!-~]{1,12}".prop_map(|s| Word::new(s).unwrap());
    let password =
        vec(any::<u8>(), 0..30).prop_filter_map("no line breaks", |octets| Secret::new(octets).ok());
    let base64 = "[A-Za-z0-9+/]{2,40}={0,2}|".prop_map(|s| Secret::new(s.into_bytes()).unwrap());
    prop_oneof![
        Just(Command::Stat),
        Just(Command::Quit),
        Just(Command::Stls),
        name().prop_map(Command::User),
        password.prop_map(Command::Pass),
        (name(), "[0-9a-f]{32}").prop_map(|(name, digest)| Command::Apop {
            name,
            digest: Secret::new(digest.into_bytes()).unwrap()
        }),
        (word(), option::of(base64))
            .prop_map(|(mechanism, initial)| Command::Auth { mechanism: Some(mechanism), initial }),
        option::of(number()).prop_map(Command::List),
        option::of(number()).prop_map(Command::Uidl),
        number().prop_map(Command::Retr),
        number().prop_map(Command::Dele),
        (number(), any::<u32>()).prop_map(|(message, lines)| Command::Top { message, lines }),
        option::of(word()).prop_map(Command::Lang),
        (attribute(), vec(any::<String>().prop_filter("not empty", |field| !field.is_empty()), 0..4))
            .prop_map(|(attribute, fields)| Command::XClient(vec![attribute, Attribute::Forward(fields)])),
    ]
}

fn attribute() -> impl Strategy<Value = Attribute<'static>> {
    let word = || "[!-~]{1,64}".prop_map(|s| Word::new(s).unwrap());
    prop_oneof![
        any::<std::net::IpAddr>().prop_map(Attribute::Addr),
        any::<std::net::IpAddr>().prop_map(Attribute::DestAddr),
        any::<u16>().prop_map(Attribute::Port),
        any::<u16>().prop_map(Attribute::DestPort),
        "[a-z0-9._-]{1,20}".prop_map(|name| Attribute::DestName(Word::new(name).unwrap())),
        word().prop_map(Attribute::Session),
        any::<u32>().prop_map(Attribute::Ttl),
        any::<bool>().prop_map(|tls| Attribute::ClientTransport { tls }),
        ("x-[!-<>-~]{1,9}", "[!-~]{0,9}")
            .prop_map(|(name, value)| Attribute::Other { name: Word::new(name).unwrap(), value }),
    ]
}

fn encoded(command: &Command<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    command.encode(&mut out);
    out
}

fn hostile() -> impl Strategy<Value = Vec<u8>> {
    let bit = prop_oneof![
        Just(b"\r\n".to_vec()),
        Just(b"\r".to_vec()),
        Just(b"\n".to_vec()),
        Just(b"\0".to_vec()),
        Just(b"AUTH PLAIN\r\n".to_vec()),
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
        let config = Config { command_line_max: 60, sasl_line_max: 80, skip_limit: 60, ..Config::default() };
        let whole = run_pieces(config.clone(), [wire.as_slice()]);
        prop_assert_eq!(run_pieces(config.clone(), pieces(&wire, &cuts)), whole.clone());
        prop_assert_eq!(run_pieces(config, wire.chunks(1)), whole);
    }

    #[test]
    fn any_message_survives_stuffing_and_unstuffing(
        bits in vec(prop_oneof![Just("\r\n".to_owned()), Just(".".to_owned()), "[ -~é]{0,30}"], 0..40),
        cuts in vec(any::<usize>(), 0..8),
    ) {
        let message = bits.concat().into_bytes();
        let mut stuffer = Stuffer::new();
        let mut wire = b"+OK\r\n+OK\r\n".to_vec();
        for piece in pieces(&message, &cuts) {
            stuffer.stuff(piece).for_each(|slice| wire.extend_from_slice(slice));
        }
        wire.extend(stuffer.finish());
        let mut receiver = ResponseReceiver::new(ClientConfig::default());
        receiver.expect(Shape::Message);
        let mut read = Vec::new();
        let mut ended = false;
        for mut piece in pieces(&wire, &cuts) {
            while let Some(event) = receiver.next(&mut piece) {
                match event.unwrap() {
                    ClientEvent::Text(text) => read.extend_from_slice(text),
                    ClientEvent::End => ended = true,
                    _ => {}
                }
            }
        }
        let whole_lines = message.is_empty() || message.ends_with(b"\r\n");
        let expected = if whole_lines { message } else { [message.as_slice(), b"\r\n"].concat() };
        prop_assert!(ended);
        prop_assert_eq!(read, expected);
    }
}

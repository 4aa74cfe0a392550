//! A server's octets give the same events however they are cut; status lines and listings come back
//! from their encoding.
#![no_main]

use libfuzzer_sys::fuzz_target;
use posthaste_fuzz::{pieces, seeded};
use posthaste_pop3_proto::*;

#[derive(Debug, PartialEq)]
enum Seen {
    Status(Reply),
    Challenge(Vec<u8>),
    Line(Vec<u8>),
    Text(Vec<u8>),
    End,
    Error(ResponseError),
}

fn own(event: Result<ClientEvent<'_>, ResponseError>) -> Seen {
    match event {
        Ok(ClientEvent::Status(reply)) => Seen::Status(reply),
        Ok(ClientEvent::Challenge(secret)) => Seen::Challenge(secret.expose().to_vec()),
        Ok(ClientEvent::Line(line)) => Seen::Line(line.to_vec()),
        Ok(ClientEvent::Text(text)) => Seen::Text(text.to_vec()),
        Ok(ClientEvent::End) => Seen::End,
        Err(error) => Seen::Error(error),
    }
}

fn run<'i>(shapes: u8, pieces: impl IntoIterator<Item = &'i [u8]>) -> Vec<Seen> {
    let quirks = if shapes & 128 == 0 { Quirks::NONE } else { Quirks::ALL };
    let mut receiver = ResponseReceiver::new(ClientConfig { line_max: 80, quirks });
    for n in 0..3 {
        let kinds = [Shape::Single, Shape::Lines, Shape::Message, Shape::Message];
        receiver.expect(kinds[usize::from(shapes >> (2 * n) & 3)]);
    }
    let mut seen: Vec<Seen> = Vec::new();
    for mut input in pieces {
        while let Some(event) = receiver.next(&mut input).map(own) {
            match (seen.last_mut(), event) {
                (Some(Seen::Text(all)), Seen::Text(more)) => all.extend(more),
                (_, Seen::Error(error)) => {
                    seen.push(Seen::Error(error));
                    return seen;
                }
                (_, event) => seen.push(event),
            }
        }
        assert!(input.is_empty(), "None means that all input is taken");
    }
    seen
}

fn comes_back(reply: &Reply) {
    let mut octets = Vec::new();
    reply.encode(&mut octets);
    let line = octets.strip_suffix(b"\r\n").expect("a status line ends in CRLF");
    let again = Reply::parse(std::str::from_utf8(line).expect("text")).expect("its own encoding");
    let mut twice = Vec::new();
    again.encode(&mut twice);
    assert_eq!(twice, octets, "{}", octets.escape_ascii());
    assert_eq!((again.is_ok(), again.code()), (reply.is_ok(), reply.code()));
    if let Some(stat) = Stat::parse(reply.text()) {
        assert_eq!(Stat::parse(&stat.to_string()), Some(stat));
    }
}

fn listing_comes_back(line: &[u8]) {
    let Ok(line) = std::str::from_utf8(line) else { return };
    if let Some(entry) = ListEntry::parse(line) {
        assert_eq!(ListEntry::parse(&entry.to_string()), Some(entry));
    }
    if let Some(entry) = UidlEntry::parse(line) {
        assert_eq!(
            UidlEntry::parse_with(line, Quirks::ALL),
            Some(entry.clone()),
            "quirks change no valid line"
        );
        assert_eq!(UidlEntry::parse(&entry.to_string()), Some(entry));
    }
    if let Some(entry) = UidlEntry::parse_with(line, Quirks::ALL) {
        assert_eq!(UidlEntry::parse_with(&entry.to_string(), Quirks::LONG_UNIQUE_IDS), Some(entry));
    }
    if let Some(capability) = Capability::parse(line) {
        assert_eq!(Capability::parse(&capability.to_string()), Some(capability));
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((shapes, data)) = seeded(data) else { return };
    let Some((seed, wire)) = seeded(data) else { return };
    let whole = run(shapes, [wire]);
    assert_eq!(run(shapes, pieces(wire, seed)), whole);
    for event in &whole {
        match event {
            Seen::Status(reply) => comes_back(reply),
            Seen::Line(line) => listing_comes_back(line),
            _ => {}
        }
    }
});

//! A client's octets give the same events however they are cut; a command that parses comes back
//! from its encoding.
#![no_main]

use libfuzzer_sys::fuzz_target;
use posthaste_fuzz::{pieces, seeded};
use posthaste_smtp_proto::*;

/// An event that owns what it holds, adjacent body pieces joined.
#[derive(Debug, PartialEq)]
enum Seen {
    Command(Command<'static>),
    Sasl(Option<String>),
    Body(Vec<u8>),
    EndOfData(Option<Violation>),
    EndOfChunk(bool, Option<Violation>),
    Refused(ProtocolError),
}

fn own(event: Event<'_>) -> Seen {
    match event {
        Event::Command(command) => Seen::Command(command.into_owned()),
        Event::Sasl(SaslResponse::Cancel) => Seen::Sasl(None),
        Event::Sasl(SaslResponse::Response(secret)) => Seen::Sasl(Some(secret.expose().to_owned())),
        Event::Body(text) => Seen::Body(text.to_vec()),
        Event::EndOfData { violation } => Seen::EndOfData(violation),
        Event::EndOfChunk { last, violation } => Seen::EndOfChunk(last, violation),
        Event::Refused(error) => Seen::Refused(error),
    }
}

/// Feeds a server that accepts DATA and AUTH as the seed says.
fn run<'i>(seed: u8, pieces: impl IntoIterator<Item = &'i [u8]>) -> Vec<Seen> {
    let bad_text = if seed & 4 == 0 { BadText::Report } else { BadText::Pass };
    let config = Config { command_line_max: 200, sasl_line_max: 100, skip_limit: 60, bad_text };
    let mut receiver = Receiver::new(config);
    let mut seen: Vec<Seen> = Vec::new();
    for mut input in pieces {
        while let Some(event) = receiver.next(&mut input).map(own) {
            match &event {
                Seen::Command(Command::Data) if seed & 1 == 0 => receiver.accept_data(),
                Seen::Command(Command::Auth { .. }) if seed & 2 == 0 => receiver.expect_sasl(),
                Seen::Command(Command::Rset) => receiver.reset_message(),
                _ => {}
            }
            match (seen.last_mut(), event) {
                (Some(Seen::Body(body)), Seen::Body(more)) => body.extend(more),
                (_, event) => seen.push(event),
            }
        }
        assert!(input.is_empty(), "None means that all input is taken");
    }
    seen
}

fn comes_back(command: &Command<'_>) {
    let mut octets = Vec::new();
    command.encode(&mut octets);
    let line = octets.strip_suffix(b"\r\n").expect("a command ends in CRLF");
    assert!(!line.contains(&b'\r') && !line.contains(&b'\n'), "{}", octets.escape_ascii());
    assert_eq!(Command::parse(line).as_ref(), Ok(command), "{}", octets.escape_ascii());
}

fuzz_target!(|data: &[u8]| {
    let Some((seed, wire)) = seeded(data) else { return };
    let whole = run(seed, [wire]);
    assert_eq!(run(seed, pieces(wire, seed >> 3)), whole);
    for event in &whole {
        match event {
            Seen::Command(command) => comes_back(command),
            Seen::Refused(error) => {
                let reply = error.reply();
                assert!(reply.is_permanent() || reply.is_transient(), "{reply}");
            }
            _ => {}
        }
    }
});

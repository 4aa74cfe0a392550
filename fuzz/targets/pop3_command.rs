//! A client's octets give the same events however they are cut; a command that parses comes back
//! from its encoding.
#![no_main]

use libfuzzer_sys::fuzz_target;
use posthaste_fuzz::{pieces, seeded};
use posthaste_pop3_proto::*;

/// An event that owns what it holds.
#[derive(Debug, PartialEq)]
enum Seen {
    Command(Command<'static>),
    Sasl(Option<Vec<u8>>),
    Refused(ProtocolError),
}

fn own(event: Event<'_>) -> Seen {
    match event {
        Event::Command(command) => Seen::Command(command.into_owned()),
        Event::Sasl(SaslResponse::Cancel) => Seen::Sasl(None),
        Event::Sasl(SaslResponse::Response(secret)) => Seen::Sasl(Some(secret.expose().to_vec())),
        Event::Refused(error) => Seen::Refused(error),
    }
}

fn run<'i>(seed: u8, pieces: impl IntoIterator<Item = &'i [u8]>) -> Vec<Seen> {
    let quirks = if seed & 2 == 0 { Quirks::NONE } else { Quirks::BARE_LF };
    let mut receiver =
        Receiver::new(Config { command_line_max: 100, sasl_line_max: 60, skip_limit: 60, quirks });
    let mut seen = Vec::new();
    for mut input in pieces {
        while let Some(event) = receiver.next(&mut input).map(own) {
            if matches!(event, Seen::Command(Command::Auth { .. })) && seed & 1 == 0 {
                receiver.expect_sasl();
            }
            seen.push(event);
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
    assert_eq!(run(seed, pieces(wire, seed >> 2)), whole);
    for event in &whole {
        match event {
            Seen::Command(command) => comes_back(command),
            Seen::Refused(error) => assert!(!error.reply().is_ok()),
            Seen::Sasl(_) => {}
        }
    }
});

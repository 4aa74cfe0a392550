//! A client's octets give the same events however they are cut, in bounded memory; a command that
//! parses comes back from its encoding.
#![no_main]

use libfuzzer_sys::fuzz_target;
use posthaste_fuzz::{pieces, seeded};
use posthaste_imap_proto::*;

/// An event, owned, chunks joined.
#[derive(Debug, PartialEq)]
enum Seen {
    Command(Vec<u8>, Result<Command<'static>, ParseErrorKind>),
    Continue,
    Append(Option<AppendHead<'static>>, LiteralSpec),
    Message(Vec<u8>),
    MessageEnd,
    Line(Vec<u8>),
    Error(FrameError),
}

fn limits() -> ParseLimits {
    ParseLimits { depth_max: 20, items_max: 1000, quirks: Quirks::ALL }
}

/// Limits that a short input can reach.
fn tight() -> Config {
    Config {
        pre_auth: FrameLimits { line_octets_max: 100, literal_octets_max: 20, command_octets_max: 120 },
        authenticated: FrameLimits { line_octets_max: 300, literal_octets_max: 100, command_octets_max: 400 },
        append_octets_max: 1000,
        literal_minus: false,
        append_more: false,
        parse: limits(),
    }
}

fn run<'i>(seed: u8, pieces: impl IntoIterator<Item = &'i [u8]>) -> Vec<Seen> {
    let mut config = tight();
    if seed & 0x80 != 0 {
        config.parse.quirks = Quirks::ALL | Quirks::BARE_LF;
    }
    let mut decoder = CommandDecoder::new(config);
    decoder.set_authenticated(seed & 1 == 1);
    let mut seen = Vec::new();
    for mut input in pieces {
        while let Some(event) = next(&mut decoder, &mut input) {
            match &event {
                Seen::Append(Some(_), _) if seed & 2 == 0 => decoder.accept_message(),
                Seen::Append(..) => decoder.refuse_message(),
                Seen::Command(_, Ok(command)) if matches!(command.body, CommandBody::Idle) => {
                    decoder.expect_line();
                }
                _ => {}
            }
            match (seen.last_mut(), event) {
                (Some(Seen::Message(all)), Seen::Message(more)) => all.extend(more),
                (_, event) => seen.push(event),
            }
        }
        assert!(input.is_empty(), "NeedMore means that all input is taken");
        assert!(decoder.held() <= 401, "{} octets held", decoder.held());
    }
    seen
}

fn next(decoder: &mut CommandDecoder, input: &mut &[u8]) -> Option<Seen> {
    Some(match decoder.decode(input) {
        Event::NeedMore => return None,
        Event::Command(raw) => {
            let parsed = raw.parse(&limits()).map(Command::into_owned).map_err(|error| error.kind);
            Seen::Command(raw.as_bytes().to_vec(), parsed)
        }
        Event::Continue => Seen::Continue,
        Event::Append(start) => {
            let head = start.parse(&limits()).ok().map(|(_, head)| head.into_owned());
            Seen::Append(head, start.literal)
        }
        Event::MessageChunk(chunk) => Seen::Message(chunk.to_vec()),
        Event::MessageEnd(_) => Seen::MessageEnd,
        Event::Line(line) => Seen::Line(line.as_bytes().to_vec()),
        Event::Error(error) => Seen::Error(error),
    })
}

fn comes_back(text: &[u8], command: &Command<'_>) {
    // What was streamed past the decoder cannot be written again.
    if text.windows(2).any(|pair| pair == b"}\0") {
        return;
    }
    for literals in [Literals::Sync, Literals::NonSync] {
        let octets = command.encode(literals).bytes;
        let line = octets.strip_suffix(b"\r\n").expect("a command ends in CRLF");
        let again = Command::parse(line, &limits());
        assert_eq!(again.as_ref(), Ok(command), "{}", octets.escape_ascii());
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((seed, wire)) = seeded(data) else { return };
    let whole = run(seed, [wire]);
    assert_eq!(run(seed, pieces(wire, seed >> 2)), whole);
    for event in &whole {
        if let Seen::Command(text, Ok(command)) = event {
            comes_back(text, command);
        }
    }
    if let Ok(command) = Command::parse(wire, &limits()) {
        comes_back(wire, &command);
    }
});

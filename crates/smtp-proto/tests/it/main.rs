//! Behaviour of the whole crate: laws by proptest, known answers, attacks by name.

mod allocations;
mod attacks;
#[path = "../../benches/smtp/corpus.rs"]
#[allow(dead_code, reason = "the benchmark uses more of it")]
mod corpus;
mod examples;
mod extensions;
mod known_answers;
mod laws;
mod peers;
#[cfg(feature = "serde")]
mod serde;

use posthaste_smtp_proto::{Command, Config, Event, ProtocolError, Receiver, SaslResponse, Violation};

/// An event that owns what it holds, adjacent body pieces joined.
#[derive(Debug, Clone, PartialEq)]
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

/// Feeds the pieces to a server that accepts every DATA and asks one question for every AUTH.
/// What comes, the octets of messages in one piece; the same whether they come as events or are copied at once.
fn run_pieces<'a>(config: Config, pieces: impl IntoIterator<Item = &'a [u8], IntoIter: Clone>) -> Vec<Seen> {
    let pieces = pieces.into_iter();
    let seen = drive(config.clone(), pieces.clone(), |receiver, input| receiver.next(input).map(own));
    let mut copied = Vec::new();
    let again = drive(config, pieces, |receiver, input| {
        let before = input.len();
        let mut text = Vec::new();
        let event = receiver.next_into(input, &mut text).map(own);
        // The CR of a ".CR" at the end of the piece before may turn out to be text.
        assert!(text.len() <= before + 1, "more than there was");
        assert_ne!(event.as_ref().map(|event| matches!(event, Seen::Body(_))), Some(true));
        copied.push((text, event.clone()));
        event
    });
    let mut expected = seen.clone();
    expected.retain(|seen| !matches!(seen, Seen::Body(_)));
    assert_eq!(again, expected);
    assert_eq!(with_bodies(copied), seen);
    seen
}

fn with_bodies(copied: Vec<(Vec<u8>, Option<Seen>)>) -> Vec<Seen> {
    let mut seen = Vec::new();
    for (text, event) in copied {
        match seen.last_mut() {
            Some(Seen::Body(body)) => body.extend(text),
            _ if !text.is_empty() => seen.push(Seen::Body(text)),
            _ => {}
        }
        seen.extend(event);
    }
    seen
}

fn drive<'a>(
    config: Config,
    pieces: impl Iterator<Item = &'a [u8]>,
    mut next: impl FnMut(&mut Receiver, &mut &[u8]) -> Option<Seen>,
) -> Vec<Seen> {
    let mut receiver = Receiver::new(config);
    let mut seen: Vec<Seen> = Vec::new();
    for piece in pieces {
        let mut input = piece;
        while let Some(event) = next(&mut receiver, &mut input) {
            match &event {
                Seen::Command(Command::Data) => receiver.accept_data(),
                Seen::Command(Command::Auth { .. }) => receiver.expect_sasl(),
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

fn run(wire: &[u8]) -> Vec<Seen> {
    run_pieces(Config::default(), [wire])
}

/// Whole, octet by octet, and cut in two at every place: all the same.
fn run_all_splits(config: Config, wire: &[u8]) -> Vec<Seen> {
    let whole = run_pieces(config.clone(), [wire]);
    assert_eq!(run_pieces(config.clone(), wire.chunks(1)), whole, "octet by octet");
    for at in 0..wire.len() {
        let (a, b) = wire.split_at(at);
        assert_eq!(run_pieces(config.clone(), [a, b]), whole, "cut at {at}");
    }
    whole
}

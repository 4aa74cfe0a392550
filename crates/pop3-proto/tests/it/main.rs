//! Behaviour of the whole crate: laws by proptest, known answers, attacks by name.

mod allocations;
mod attacks;
mod client;
mod commands;
#[path = "../../benches/pop3/corpus.rs"]
#[allow(dead_code, reason = "the benchmark uses more of it")]
mod corpus;
mod examples;
mod laws;
mod peers;
mod quirks;

use posthaste_pop3_proto::{Command, Config, Event, ProtocolError, Receiver, SaslResponse};

/// An event that owns what it holds.
#[derive(Debug, Clone, PartialEq)]
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

/// Feeds the pieces to a server that asks one question for every AUTH.
fn run_pieces<'a>(config: Config, pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<Seen> {
    let mut receiver = Receiver::new(config);
    let mut seen = Vec::new();
    for piece in pieces {
        let mut input = piece;
        while let Some(event) = receiver.next(&mut input).map(own) {
            if matches!(event, Seen::Command(Command::Auth { .. })) {
                receiver.expect_sasl();
            }
            seen.push(event);
        }
        assert!(input.is_empty(), "None means that all input is taken");
    }
    seen
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

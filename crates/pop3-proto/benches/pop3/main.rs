//! POP3 beside pop3-codec, on one corpus from a seed.
//!
//! `cargo bench -p posthaste-pop3-proto --bench pop3 [-- --quick]`. What is timed is what `mail-server` calls:
//! [`Receiver::next`], every value through `black_box`. The differential test has parsed the same corpus.

use std::hint::black_box;

use posthaste_pop3_proto::{
    ClientConfig, ClientEvent, Config, ListEntry, Receiver, ResponseReceiver, Shape, Stuffer, UidlEntry,
};

mod corpus;

use posthaste_measure::timing::{Effort, at_least, at_most, contestant, race};

const SEED: u64 = 1939;

fn main() {
    let effort = Effort::from_args();
    println!("corpus of seed {SEED}");
    commands(effort);
    listings(effort);
    message(effort);
    hostile(effort);
}

/// A name for a kind of hostile input, and how so many octets of it are made.
type Hostile = (&'static str, fn(usize) -> Vec<u8>);

const HOSTILE: [Hostile; 6] = [
    ("a line without end", |len| vec![b'x'; len]),
    ("bare line feeds", |len| b"NOOP\n".repeat(len / 5)),
    ("bare carriage returns", |len| b"\r\r\r\r\n".repeat(len / 5)),
    ("empty lines", |len| b"\r\n".repeat(len / 2)),
    ("a password without end", |len| [b"PASS ".as_slice(), &b" ".repeat(len), b"\r\n"].concat()),
    ("attributes without end", |len| [b"XCLIENT".as_slice(), &b" X=y".repeat(len / 4), b"\r\n"].concat()),
];

/// Eight times the hostile input takes eight times as long: the worst growth of all kinds, 1 being linear.
fn hostile(effort: Effort) {
    let worst = HOSTILE.iter().fold(0.0, |worst: f64, (name, make)| {
        let (small, large) = (make(30_000), make(240_000));
        let contestants =
            vec![contestant("small", || defend(&small)), contestant("large", || defend(&large))];
        let growth = race(effort, contestants).ratio("small", "large") / 8.0;
        println!("hostile: {name:<24} grows by {growth:.2} x the input");
        worst.max(growth)
    });
    at_most("pop3-proto/hostile-growth", worst, 2.0);
}

/// What a server does with it that has no limits.
fn defend(wire: &[u8]) {
    let config = Config { command_line_max: usize::MAX, skip_limit: usize::MAX, ..Config::default() };
    let mut receiver = Receiver::new(config);
    for piece in black_box(wire).chunks(1460) {
        let mut input = piece;
        while let Some(event) = receiver.next(&mut input) {
            sink(event);
        }
    }
}

fn commands(effort: Effort) {
    let lines = corpus::commands(SEED, 69);
    let wire = lines.concat().into_bytes();
    let outcome = race(
        effort,
        vec![
            contestant("posthaste", || ours(&wire)),
            contestant("pop3-codec", || peer(&wire)),
            contestant("memchr lines", || {
                memchr::memchr_iter(b'\n', &wire).for_each(sink);
            }),
        ],
    );
    outcome.print("commands", lines.len(), wire.len());
    at_least("pop3-proto/commands", outcome.ratio("posthaste", "pop3-codec"), 2.0);
}

fn ours(wire: &[u8]) {
    let mut receiver = Receiver::new(Config::default());
    let mut input = black_box(wire);
    loop {
        let event = receiver.next(&mut input);
        if black_box(&event).is_none() {
            return;
        }
    }
}

fn peer(wire: &[u8]) {
    let mut rest = black_box(wire);
    while !rest.is_empty() {
        let parsed = pop3_codec::parse::command(rest);
        match black_box(&parsed) {
            Ok((after, _)) => rest = after,
            Err(_) => return,
        }
    }
}

/// LIST and UIDL of 1,000 messages, each line a typed value. No target: ours are streamed and their lines checked, the
/// peer's are parsed in one piece.
fn listings(effort: Effort) {
    let (list, uidl) = corpus::listings(SEED, 1000);
    let outcome = race(
        effort,
        vec![
            contestant("LIST", || lines(&list, |line| sink(ListEntry::parse(line)))),
            contestant("UIDL", || lines(&uidl, |line| sink(UidlEntry::parse(line)))),
            contestant("LIST pop3-codec", || sink(pop3_codec::parse::response_list_all(black_box(&list)))),
            contestant("UIDL pop3-codec", || sink(pop3_codec::parse::response_uidl_all(black_box(&uidl)))),
        ],
    );
    outcome.print("listings of 1000", 1000, list.len());
}

fn receive(shape: Shape, wire: &[u8], mut take: impl FnMut(ClientEvent<'_>)) {
    let mut receiver = ResponseReceiver::after_tls(ClientConfig::default());
    receiver.expect(shape);
    let mut input = black_box(wire);
    while let Some(event) = receiver.next(&mut input) {
        take(event.expect("a good response"));
    }
}

fn lines(wire: &[u8], take: impl Fn(&str)) {
    receive(Shape::Lines, wire, |event| {
        if let ClientEvent::Line(line) = event {
            take(std::str::from_utf8(line).expect("ASCII"));
        }
    });
}

/// RETR of 1 MiB.
fn message(effort: Effort) {
    let text = corpus::message(SEED, 1 << 20);
    let mut wire = b"+OK here it is\r\n".to_vec();
    let mut stuffer = Stuffer::new();
    stuffer.stuff(&text).for_each(|slice| wire.extend_from_slice(slice));
    wire.extend_from_slice(stuffer.finish());
    let mut flat = Vec::with_capacity(wire.len());
    let outcome = race(
        effort,
        vec![
            contestant("slices", || receive(Shape::Message, &wire, |event| sink(event))),
            contestant("pop3-codec", || sink(pop3_codec::parse::response_retr(black_box(&wire)))),
            contestant("memcpy", || {
                flat.clear();
                flat.extend_from_slice(black_box(&wire));
                black_box(&flat);
            }),
        ],
    );
    outcome.print("RETR", 1, wire.len());
    at_least("pop3-proto/retr", outcome.ratio("slices", "pop3-codec"), 2.0);
    at_least("pop3-proto/retr-slices", outcome.ratio("slices", "memcpy"), 0.7);
}

/// All of the value is used, as far as the compiler knows.
fn sink<T>(value: T) {
    let _ = black_box(value);
}

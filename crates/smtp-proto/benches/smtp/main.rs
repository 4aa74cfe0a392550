//! SMTP beside its peers on crates.io and beside memcpy and memchr, on one corpus from a seed.
//!
//! `cargo bench -p posthaste-smtp-proto --bench smtp [-- [--quick] [section]]`. What is timed is what `mail-server` calls:
//! [`Receiver::next`], every value through `black_box`. The differential test has parsed the same corpus.

use std::cell::RefCell;
use std::hint::black_box;

use posthaste_smtp_proto::{BadText, Command, Config, Event, Receiver, ReplyReceiver};

mod corpus;

use posthaste_measure::timing::{Effort, at_least, at_most, contestant, race};

const SEED: u64 = 5321;

fn main() {
    let effort = Effort::from_args();
    println!("corpus of seed {SEED}");
    let only = std::env::args().skip(1).find(|arg| !arg.starts_with('-'));
    let wanted = |section: &str| only.as_ref().is_none_or(|only| section.contains(only.as_str()));
    if wanted("commands") {
        commands(effort);
    }
    if wanted("kinds") {
        kinds(effort);
    }
    if wanted("hostile") {
        hostile(effort);
    }
    if wanted("replies") {
        replies(effort);
    }
    if wanted("unstuff") {
        unstuffing(effort, "unstuff-dotted", Some(40));
        unstuffing(effort, "unstuff-plain", None);
    }
}

fn commands(effort: Effort) {
    let lines = corpus::commands(SEED, 73);
    let wire = lines.concat().into_bytes();
    let outcome = race(
        effort,
        vec![
            contestant("posthaste", || ours(&wire)),
            contestant("posthaste 1460", || ours_in_reads(&wire, 1460)),
            contestant("smtp-proto", || peer(&wire)),
            contestant("smtp-codec", || codec(&wire)),
            contestant("memchr lines", || {
                memchr::memchr_iter(b'\n', &wire).for_each(sink);
            }),
            contestant("memcpy", || sink(black_box(&wire).clone())),
        ],
    );
    outcome.print("commands", lines.len(), wire.len());
    at_least("smtp-proto/commands", outcome.ratio("posthaste", "smtp-proto"), 2.0);
}

/// A name for some of the commands, and which they are.
type Kind = (&'static str, fn(&str) -> bool);

/// Where the time goes: lines of one kind alone, beside the peer.
fn kinds(effort: Effort) {
    let lines = corpus::commands(SEED, 4000);
    let kinds: [Kind; 9] = [
        ("EHLO", |line| line.starts_with("EHLO")),
        ("STARTTLS", |line| line.starts_with("STARTTLS")),
        ("AUTH", |line| line.starts_with("AUTH")),
        ("MAIL", |line| line.starts_with("MAIL") && line.ends_with(">\r\n")),
        ("MAIL with parameters", |line| line.starts_with("MAIL") && !line.ends_with(">\r\n")),
        ("RCPT", |line| line.starts_with("RCPT") && line.ends_with(">\r\n")),
        ("RCPT with parameters", |line| line.starts_with("RCPT") && !line.ends_with(">\r\n")),
        ("DATA", |line| line.starts_with("DATA")),
        ("QUIT", |line| line.starts_with("QUIT")),
    ];
    for (name, is_one) in kinds {
        let some: Vec<&str> = lines.iter().map(String::as_str).filter(|line| is_one(line)).take(73).collect();
        let wire = some.concat().into_bytes();
        let outcome = race(
            effort,
            vec![contestant("posthaste", || ours(&wire)), contestant("smtp-proto", || peer(&wire))],
        );
        outcome.print(name, some.len(), wire.len());
    }
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

fn ours_in_reads(wire: &[u8], size: usize) {
    let mut receiver = Receiver::new(Config::default());
    for piece in black_box(wire).chunks(size) {
        let mut input = piece;
        while let Some(event) = receiver.next(&mut input) {
            black_box(&event);
        }
    }
}

/// `Request::parse` on the whole buffer: faster than its `RequestReceiver`.
fn peer(wire: &[u8]) {
    let mut bytes = black_box(wire).iter();
    loop {
        let request = smtp_proto::Request::parse(&mut bytes);
        if black_box(&request).is_err() {
            return;
        }
    }
}

fn codec(wire: &[u8]) {
    let mut rest = black_box(wire);
    while !rest.is_empty() {
        match smtp_codec::parse::command::command(rest) {
            Ok((after, command)) => {
                black_box(&command);
                rest = after;
            }
            Err(_) => rest = after_line(rest),
        }
    }
}

fn after_line(rest: &[u8]) -> &[u8] {
    let end = memchr::memchr(b'\n', rest).map_or(rest.len(), |at| at + 1);
    &rest[end..]
}

/// Eight times the hostile input takes eight times as long: the worst growth of all kinds, 1 being linear.
fn hostile(effort: Effort) {
    let worst = corpus::HOSTILE
        .iter()
        .map(|(name, make)| {
            let (small, large) = (make(30_000), make(240_000));
            let contestants =
                vec![contestant("small", || defend(&small)), contestant("large", || defend(&large))];
            let growth = race(effort, contestants).ratio("small", "large") / 8.0;
            println!("hostile: {name:<24} grows by {growth:.2} x the input");
            growth
        })
        .fold(0.0, f64::max);
    at_most("smtp-proto/hostile-growth", worst, 2.0);
}

/// What a server does with it that has no limits.
fn defend(wire: &[u8]) {
    let config = Config { command_line_max: usize::MAX, skip_limit: usize::MAX, ..Config::default() };
    let mut receiver = Receiver::new(config);
    for piece in black_box(wire).chunks(1460) {
        let mut input = piece;
        while let Some(event) = receiver.next(&mut input) {
            if matches!(&event, Event::Command(Command::Data)) {
                receiver.accept_data();
            } else {
                sink(event);
            }
        }
    }
}

fn replies(effort: Effort) {
    let lines = corpus::replies(SEED, 2000);
    let wire = lines.concat().into_bytes();
    let outcome = race(
        effort,
        vec![
            contestant("posthaste", || {
                let mut receiver = ReplyReceiver::default();
                let mut input = black_box(wire.as_slice());
                while let Some(reply) = receiver.next(&mut input) {
                    let _ = black_box(&reply);
                }
            }),
            contestant("smtp-proto", || {
                let mut bytes = black_box(&wire).iter();
                while let Ok(reply) =
                    smtp_proto::response::parser::ResponseReceiver::default().parse(&mut bytes)
                {
                    black_box(&reply);
                }
            }),
        ],
    );
    outcome.print("replies", lines.len(), wire.len());
}

/// Un-stuffing in reads of 16 KiB, as a socket gives them: with the check for bare CR, bare LF and NUL, as `mail-server`
/// has it and no peer does, which is what counts; and without.
fn unstuffing(effort: Effort, name: &str, dotted: Option<u64>) {
    let wire = corpus::message(SEED, 1 << 20, dotted);
    // One buffer for all: what pages it has makes a difference.
    let out = RefCell::new(Vec::with_capacity(wire.len()));
    let emptied = || {
        let mut out = out.borrow_mut();
        out.clear();
        out
    };
    let outcome = race(
        effort,
        vec![
            contestant("slices, checked", || body(&wire, BadText::Report, |text| sink(text))),
            contestant("slices", || body(&wire, BadText::Pass, |text| sink(text))),
            contestant("copied, checked", || {
                let mut out = emptied();
                copy(&wire, BadText::Report, &mut out);
                black_box(&out);
            }),
            contestant("copied", || {
                let mut out = emptied();
                copy(&wire, BadText::Pass, &mut out);
                black_box(&out);
            }),
            contestant("smtp-proto", || {
                let mut out = emptied();
                let mut receiver = smtp_proto::request::receiver::DataReceiver::new();
                for piece in black_box(&wire).chunks(READ) {
                    receiver.ingest(&mut piece.iter(), &mut out);
                }
                black_box(&out);
            }),
            contestant("memcpy", || {
                let mut out = emptied();
                out.extend_from_slice(black_box(&wire));
                black_box(&out);
            }),
            contestant("memchr scan", || sink(memchr::memchr(0, black_box(&wire)))),
        ],
    );
    outcome.print(name, 1, wire.len());
    let figure = |what: &str, ours: &str, peer: &str, target: f64| {
        at_least(&format!("smtp-proto/{name}-{what}"), outcome.ratio(ours, peer), target);
    };
    figure("copied", "copied, checked", "smtp-proto", 1.0);
    figure("slices", "slices, checked", "memcpy", 0.7);
    figure("copied-unchecked", "copied", "smtp-proto", 1.0);
    figure("slices-unchecked", "slices", "memcpy", 0.7);
}

const READ: usize = 16 * 1024;

fn body(wire: &[u8], bad_text: BadText, mut take: impl FnMut(&[u8])) {
    let mut receiver = Receiver::new(Config { bad_text, ..Config::default() });
    receiver.accept_data();
    for piece in black_box(wire).chunks(READ) {
        let mut input = piece;
        while let Some(event) = receiver.next(&mut input) {
            match event {
                Event::Body(text) => take(text),
                end => sink(end),
            }
        }
    }
}

/// As `mail-server` collects a message.
fn copy(wire: &[u8], bad_text: BadText, out: &mut Vec<u8>) {
    let mut receiver = Receiver::new(Config { bad_text, ..Config::default() });
    receiver.accept_data();
    for piece in black_box(wire).chunks(READ) {
        let mut input = piece;
        while let Some(end) = receiver.next_into(&mut input, out) {
            sink(end);
        }
    }
}

/// All of the value is used, as far as the compiler knows.
fn sink<T>(value: T) {
    let _ = black_box(value);
}

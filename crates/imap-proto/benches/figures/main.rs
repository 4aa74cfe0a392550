//! IMAP beside its peers on crates.io and beside memcpy and memchr, on one corpus from a seed.
//!
//! `cargo bench -p posthaste-imap-proto-benches [-- --quick]`. What is timed of ours is what `mail-server` calls:
//! [`CommandDecoder::decode`] and [`RawCommand::parse`]; every field is read. Of the peers it is their fastest documented call, and
//! nothing is read. `main` first checks that all of them take all of the corpus.

use std::collections::BTreeMap;
use std::hint::black_box;

use imap_codec::decode::Decoder as _;
use imap_codec::encode::Encoder as _;
use posthaste_imap_proto::*;

mod corpus;
mod counting;
mod read;
mod timing;

use timing::{Effort, at_least, at_most, contestant, race};

const SEED: u64 = 9051;

type Measure = fn(Effort);
/// Hostile input of a given size.
type Hostile = fn(usize) -> String;
/// Who reads it.
type Reader = fn(&[u8]);

#[global_allocator]
static COUNTING: counting::Counting = counting::Counting;

fn main() {
    let effort = Effort::from_args();
    println!("corpus of seed {SEED}");
    let parts: [(&str, Measure); 8] = [
        ("commands", commands),
        ("kinds", kinds),
        ("flags", flags),
        ("structures", structures),
        ("search", search),
        ("arrival", arrival),
        ("encode", encode_flags),
        ("hostile", hostile),
    ];
    // `-- structures search` measures these alone.
    let asked: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    for (name, part) in parts {
        if asked.is_empty() || asked.iter().any(|asked| asked == name) {
            part(effort);
        }
    }
}

/// Hides a value from the optimizer.
fn keep<T>(value: T) {
    let _ = black_box(value);
}

fn memory<'w>(wire: &'w [u8], copy: &'w mut [u8]) -> [timing::Contestant<'w>; 2] {
    [
        contestant("memchr lines", || {
            memchr::memchr_iter(b'\n', black_box(wire)).for_each(keep);
        }),
        contestant("memcpy", move || {
            copy.copy_from_slice(black_box(wire));
            black_box(&copy);
        }),
    ]
}

fn commands(effort: Effort) {
    let lines = corpus::commands(SEED, 60);
    let wire = lines.concat().into_bytes();
    let mut copy = wire.clone();
    assert_eq!(codec_commands(&wire), lines.len(), "imap-codec takes the corpus");
    assert_eq!(our_commands(&wire), lines.len(), "we take the corpus");
    let allocations = counting::during(|| keep(our_commands(&wire)));
    let mut all = vec![
        contestant("posthaste", || keep(our_commands(&wire))),
        contestant("posthaste, in 1460", || keep(our_commands_in(&wire, 1460))),
        contestant("imap-codec", || keep(codec_commands(&wire))),
    ];
    all.extend(memory(&wire, &mut copy));
    let outcome = race(effort, all);
    outcome.print("commands", lines.len(), wire.len());
    at_least("commands", outcome.ratio("posthaste", "imap-codec"), 4.0);
    at_most("commands-allocations", allocations as f64 / lines.len() as f64, "each", 0.0);
}

/// Each kind of command alone: where the mix's time goes.
fn kinds(effort: Effort) {
    let mut kinds: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in corpus::commands(SEED, 60) {
        let words = line.split_whitespace().skip(1).map(str::to_owned);
        let kind: Vec<String> = words.take_while(|w| w.bytes().all(|b| b.is_ascii_uppercase())).collect();
        let kind = match &kind[..] {
            [uid, verb, ..] if uid == "UID" => format!("UID {verb}"),
            [verb, ..] => verb.clone(),
            [] => line.clone(),
        };
        kinds.entry(kind).or_default().push(line);
    }
    for (kind, lines) in kinds {
        let wire = lines.concat().into_bytes();
        let all = vec![
            contestant("posthaste", || keep(our_commands(&wire))),
            contestant("imap-codec", || keep(codec_commands(&wire))),
        ];
        let outcome = race(effort, all);
        outcome.print(&kind, lines.len(), wire.len());
        println!("  {:.2} x", outcome.ratio("posthaste", "imap-codec"));
    }
}

fn our_commands(wire: &[u8]) -> usize {
    our_commands_in(wire, wire.len())
}

fn our_commands_in(wire: &[u8], size: usize) -> usize {
    let (config, mut count) = (Config::default(), 0);
    let limits = config.parse;
    let mut decoder = CommandDecoder::new(config);
    decoder.set_authenticated(true);
    for piece in black_box(wire).chunks(size) {
        let mut input = piece;
        loop {
            match decoder.decode(&mut input) {
                Event::Command(raw) => match raw.parse(&limits) {
                    Ok(command) => {
                        read::command(&command);
                        count += 1;
                    }
                    Err(error) => panic!("{error}"),
                },
                Event::NeedMore => break,
                other => panic!("{other:?}"),
            }
        }
    }
    count
}

fn codec_commands(wire: &[u8]) -> usize {
    let codec = imap_codec::CommandCodec::new();
    let (mut rest, mut count) = (black_box(wire), 0);
    while !rest.is_empty() {
        let (after, command) = codec.decode(rest).unwrap_or_else(|e| panic!("{e:?}: {}", shown(rest)));
        black_box(&command);
        rest = after;
        count += 1;
    }
    count
}

fn shown(rest: &[u8]) -> String {
    rest[..rest.len().min(300)].escape_ascii().to_string()
}

fn our_responses(wire: &[u8], size: usize) -> usize {
    responses_by(&mut ResponseDecoder::new(ResponseConfig::default()), wire, size)
}

fn responses_by(decoder: &mut ResponseDecoder, wire: &[u8], size: usize) -> usize {
    let (limits, mut count) = (ParseLimits::client(), 0);
    for piece in black_box(wire).chunks(size) {
        let mut input = piece;
        loop {
            match decoder.decode(&mut input) {
                ResponseEvent::Response(raw) => match raw.parse(&limits) {
                    Ok(response) => {
                        read::response(&response);
                        count += 1;
                    }
                    Err(error) => panic!("{error}"),
                },
                ResponseEvent::NeedMore => break,
                other => panic!("{other:?}"),
            }
        }
    }
    count
}

fn codec_responses(wire: &[u8]) -> usize {
    let codec = imap_codec::ResponseCodec::new();
    let (mut rest, mut count) = (black_box(wire), 0);
    while !rest.is_empty() {
        let (after, response) = codec.decode(rest).unwrap_or_else(|e| panic!("{e:?}: {}", shown(rest)));
        black_box(&response);
        rest = after;
        count += 1;
    }
    count
}

fn proto_responses(wire: &[u8]) -> usize {
    let (mut rest, mut count) = (black_box(wire), 0);
    while !rest.is_empty() {
        let (after, response) =
            imap_proto::Response::parse(rest).unwrap_or_else(|e| panic!("{e:?}: {}", shown(rest)));
        black_box(&response);
        rest = after;
        count += 1;
    }
    count
}

/// All three on lines of responses.
fn responses(effort: Effort, title: &str, lines: &[String]) -> (timing::Outcome, f64) {
    let wire = lines.concat().into_bytes();
    let mut copy = wire.clone();
    assert_eq!(our_responses(&wire, wire.len()), lines.len(), "we take the corpus");
    assert_eq!(codec_responses(&wire), lines.len(), "imap-codec takes the corpus");
    assert_eq!(proto_responses(&wire), lines.len(), "imap-proto takes the corpus");
    let allocations = counting::during(|| keep(our_responses(&wire, wire.len())));
    let mut all = vec![
        contestant("posthaste", || keep(our_responses(&wire, wire.len()))),
        contestant("imap-codec", || keep(codec_responses(&wire))),
        contestant("imap-proto", || keep(proto_responses(&wire))),
    ];
    all.extend(memory(&wire, &mut copy));
    let outcome = race(effort, all);
    outcome.print(title, lines.len(), wire.len());
    (outcome, allocations as f64 / lines.len() as f64)
}

fn flags(effort: Effort) {
    let (outcome, _) = responses(effort, "FETCH FLAGS", &corpus::flags(SEED, 500));
    at_least("fetch-flags-codec", outcome.ratio("posthaste", "imap-codec"), 4.0);
    at_least("fetch-flags-proto", outcome.ratio("posthaste", "imap-proto"), 4.0);
}

fn structures(effort: Effort) {
    let (outcome, allocations) =
        responses(effort, "ENVELOPE and BODYSTRUCTURE", &corpus::structures(SEED, 40));
    at_least("structures", outcome.ratio("posthaste", "imap-proto"), 2.0);
    at_least("structures-codec", outcome.ratio("posthaste", "imap-codec"), 2.0);
    at_most("structures-allocations", allocations, "each", 2.0);
}

fn search(effort: Effort) {
    let (outcome, _) = responses(effort, "SEARCH of 1000", &[corpus::search(SEED, 1000)]);
    at_least("search-codec", outcome.ratio("posthaste", "imap-codec"), 2.5);
    at_least("search-proto", outcome.ratio("posthaste", "imap-proto"), 2.5);
}

/// A response of 1 MB, in one piece and in reads of 16 KiB.
fn arrival(effort: Effort) {
    let wire = corpus::search(SEED, 150_000).into_bytes();
    // A connection has one decoder for all its life.
    let mut decoders = [(); 2].map(|()| ResponseDecoder::new(ResponseConfig::default()));
    let [whole, pieces] = &mut decoders;
    let outcome = race(
        effort,
        vec![
            contestant("whole", || keep(responses_by(whole, &wire, wire.len()))),
            contestant("in 16 KiB", || keep(responses_by(pieces, &wire, 16 * 1024))),
        ],
    );
    outcome.print("1 MB arriving", 1, wire.len());
    at_most("arrival", outcome.ratio("whole", "in 16 KiB"), "x", 1.2);
}

fn encode_flags(effort: Effort) {
    let lines = corpus::flags(SEED, 500);
    let codec = imap_codec::ResponseCodec::new();
    let theirs: Vec<_> = lines.iter().map(|l| codec.decode(l.as_bytes()).expect("a response").1).collect();
    let known: Vec<(u32, u32, Vec<Flag<'_>>)> = lines.iter().map(|line| told(line)).collect();
    let wire = lines.concat().into_bytes();
    let mut out = Vec::with_capacity(wire.len());
    encode_ours(&known, &mut out);
    assert_eq!(out, wire, "the same octets");
    let allocations = counting::during(|| encode_ours(&known, &mut out));
    let outcome = race(
        effort,
        vec![
            contestant("posthaste", || encode_ours(&known, &mut out)),
            contestant("imap-codec", || {
                theirs.iter().for_each(|response| drop(black_box(codec.encode(response).dump())));
            }),
        ],
    );
    outcome.print("encode FETCH FLAGS", lines.len(), wire.len());
    at_most("encode-fetch-flags", 1.0 / outcome.ratio("posthaste", "imap-codec"), "x", 0.25);
    at_most("encode-allocations", allocations as f64 / lines.len() as f64, "each", 0.0);
}

/// The values of a line.
fn told(line: &str) -> (u32, u32, Vec<Flag<'static>>) {
    let limits = ParseLimits::client();
    let response = Response::parse(line.trim_end().as_bytes(), &limits).expect("a response").into_owned();
    let Response::Data(Data::Fetch { seq, items }) = response else { panic!("{line}") };
    let [FetchData::Uid(uid), FetchData::Flags(flags)] = &items[..] else { panic!("{line}") };
    (seq.get(), uid.get(), flags.iter().map(Flag::into_owned).collect())
}

fn encode_ours(known: &[(u32, u32, Vec<Flag<'_>>)], out: &mut Vec<u8>) {
    out.clear();
    for (seq, uid, flags) in known {
        let mut fetch = FetchWriter::new(out, *seq);
        fetch.uid(*uid);
        fetch.flags(flags);
        fetch.end();
    }
    black_box(&out);
}

/// Twice the hostile input takes at most so many times as long: 2 is linear.
fn hostile(effort: Effort) {
    let inputs: [(&str, Hostile, Reader); 8] = [
        ("deep search", |n| format!("a SEARCH {}ALL\r\n", "NOT (OR ALL (".repeat(n / 50)), refused),
        ("quotes", |n| format!("a LOGIN \"{}\r\n", "\\\"".repeat(n)), refused),
        ("flags", |n| format!("a STORE 1 FLAGS ({})\r\n", "x ".repeat(n)), refused),
        ("sets", |n| format!("a FETCH {}1 FLAGS\r\n", "1:*,".repeat(n)), refused),
        ("lines without end, an octet at a time", |n| "x ".repeat(n), endless),
        ("literals, an octet at a time", |n| "a LOGIN {1+}\r\n".repeat(n / 10), endless),
        ("deep structures", |n| format!("* 1 FETCH (BODY {}\r\n", "(".repeat(n)), refused_response),
        ("deep threads", |n| format!("* THREAD {}1\r\n", "(1 ".repeat(n)), refused_response),
    ];
    let mut worst: f64 = 0.0;
    for (name, make, read) in inputs {
        let (small, large) = (make(4000), make(8000));
        let outcome = race(
            effort,
            vec![contestant("n", || read(small.as_bytes())), contestant("2n", || read(large.as_bytes()))],
        );
        outcome.print(name, 1, small.len());
        worst = worst.max(outcome.ratio("n", "2n"));
    }
    at_most("hostile-growth", worst, "x", 2.5);
}

fn refused(text: &[u8]) {
    keep(Command::parse(&text[..text.len() - 2], &ParseLimits::default()).is_err());
}

fn refused_response(text: &[u8]) {
    keep(Response::parse(&text[..text.len() - 2], &ParseLimits::client()).is_err());
}

fn endless(text: &[u8]) {
    let mut decoder = CommandDecoder::new(Config::default());
    for octet in text.chunks(1) {
        let mut input = octet;
        while !matches!(decoder.decode(&mut input), Event::NeedMore) {}
    }
    keep(decoder.held());
}

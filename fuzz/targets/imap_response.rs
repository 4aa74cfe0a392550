//! A server's octets give the same events however they are cut; a response that parses comes back
//! from its encoding, and that encoding is stable.
#![no_main]

use libfuzzer_sys::fuzz_target;
use posthaste_fuzz::{pieces, seeded};
use posthaste_imap_proto::*;

#[derive(Debug, PartialEq)]
enum Seen {
    Response(Vec<u8>),
    LiteralStart(Vec<u8>, u64),
    Chunk(Vec<u8>),
    Error(ResponseFrameError),
}

fn limits() -> ParseLimits {
    ParseLimits { depth_max: 20, items_max: 1000, quirks: Quirks::ALL }
}

fn run<'i>(seed: u8, pieces: impl IntoIterator<Item = &'i [u8]>) -> Vec<Seen> {
    let mut decoder = ResponseDecoder::new(ResponseConfig {
        response_octets_max: 400,
        literal_held_max: if seed & 1 == 1 { 10 } else { 200 },
        buffer_kept: 1000,
        literal_octets_max: 1000,
        parse: limits(),
    });
    let mut seen = Vec::new();
    for mut input in pieces {
        loop {
            let event = match decoder.decode(&mut input) {
                ResponseEvent::NeedMore => break,
                ResponseEvent::LiteralStart { so_far, octets } => Seen::LiteralStart(so_far.to_vec(), octets),
                ResponseEvent::LiteralChunk(chunk) => Seen::Chunk(chunk.to_vec()),
                ResponseEvent::Response(raw) => Seen::Response(raw.as_bytes().to_vec()),
                ResponseEvent::Error(error) => {
                    seen.push(Seen::Error(error));
                    return seen;
                }
            };
            match (seen.last_mut(), event) {
                (Some(Seen::Chunk(all)), Seen::Chunk(more)) => all.extend(more),
                (_, event) => seen.push(event),
            }
        }
        assert!(input.is_empty(), "NeedMore means that all input is taken");
    }
    seen
}

fn comes_back(text: &[u8]) {
    // What was streamed past the decoder cannot be written again.
    if text.windows(2).any(|pair| pair == b"}\0") {
        return;
    }
    let Ok(response) = Response::parse(text, &limits()) else { return };
    assert_eq!(response.clone().into_owned(), response);
    let mut octets = Vec::new();
    response.encode(&mut octets);
    let line = octets.strip_suffix(b"\r\n").expect("a response ends in CRLF");
    let again = Response::parse(line, &limits()).expect("its own encoding");
    // Control characters in free text are written as blanks, and text must not look like a response code.
    let lossy = text.iter().any(|b| *b < b' ' || *b == 127)
        || begins_with_a_bracket(&response)
        || has_half_a_code(&response);
    assert!(lossy || again == response, "{response:?} became {again:?}");
    let mut twice = Vec::new();
    again.encode(&mut twice);
    assert!(lossy || twice == octets, "{}", octets.escape_ascii());
}

fn begins_with_a_bracket(response: &Response<'_>) -> bool {
    let (Response::Status(status) | Response::Tagged { status, .. }) = response else { return false };
    status.text.starts_with('[')
}

/// A list that does not end in its code: where the code ends is then a guess, and a blank behind it, which is
/// added where the peer left it out, may change the guess.
fn has_half_a_code(response: &Response<'_>) -> bool {
    let (Response::Status(status) | Response::Tagged { status, .. }) = response else { return false };
    matches!(&status.code, Some(Code::Other { value: Some(value), .. }) if value.iter().any(|b| b"(\"".contains(b)))
}

fuzz_target!(|data: &[u8]| {
    let Some((seed, wire)) = seeded(data) else { return };
    let whole = run(seed, [wire]);
    assert_eq!(run(seed, pieces(wire, seed >> 1)), whole);
    for event in &whole {
        if let Seen::Response(text) = event {
            comes_back(text);
        }
    }
    comes_back(wire);
});

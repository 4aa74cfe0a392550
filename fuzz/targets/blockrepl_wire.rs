//! A peer's bytes give the same frames however they are cut, and an error stays one; a message that
//! is understood has one encoding, the one that came.
#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use posthaste_blockrepl::wire::{Decoder, HEADER_LEN, Message, WIRE_VERSION, WireError};
use posthaste_fuzz::{Script, pieces, seeded};

const LIMIT: u32 = 300;

fn run<'i>(pieces: impl IntoIterator<Item = &'i [u8]>) -> (Vec<Message>, Option<WireError>) {
    let (mut decoder, mut seen) = (Decoder::new(LIMIT), Vec::new());
    for piece in pieces {
        decoder.buffer().extend_from_slice(piece);
        loop {
            match decoder.next() {
                Ok(Some(message)) => seen.push(message),
                Ok(None) => break,
                Err(error) => return (seen, Some(error)),
            }
        }
    }
    (seen, None)
}

/// Frames with checksums that hold around payloads from the input, so that all of it is reached.
fn framed(script: &mut Script<'_>) -> Vec<u8> {
    let mut wire = Vec::new();
    while !script.is_over() {
        let (kind, len) = (script.byte(), usize::from(script.byte()));
        let payload = script.take(len);
        let at = wire.len();
        wire.extend_from_slice(&[b'P', b'B', WIRE_VERSION, kind]);
        wire.extend_from_slice(&(payload.len() as u32).to_le_bytes());
        wire.extend_from_slice(&crc32fast::hash(payload).to_le_bytes());
        let crc = crc32fast::hash(&wire[at..]);
        wire.extend_from_slice(&crc.to_le_bytes());
        assert_eq!(wire.len() - at, HEADER_LEN);
        wire.extend_from_slice(payload);
    }
    wire
}

fuzz_target!(|data: &[u8]| {
    let Some((seed, text)) = seeded(data) else { return };
    let wire = if seed & 1 == 0 { framed(&mut Script(text)) } else { text.to_vec() };
    let (messages, error) = run([&wire[..]]);
    assert_eq!(run(pieces(&wire, seed >> 1)), (messages.clone(), error.clone()));
    let mut encoded = BytesMut::new();
    messages.iter().for_each(|message| message.encode(&mut encoded));
    if seed & 2 == 0 || error.is_some() {
        assert!(wire.starts_with(&encoded), "{messages:?}");
    }
    assert!(error.is_some() || encoded.len() == wire.len() || seed & 1 == 1, "a whole frame was left");
});

//! A message survives dot-stuffing and its removal in any pieces, for SMTP and for POP3; nothing but
//! CRLF.CRLF ends it; what text may not hold is found in any split.
#![no_main]

use libfuzzer_sys::fuzz_target;
use posthaste_fuzz::{pieces, seeded};
use posthaste_pop3_proto as pop3;
use posthaste_smtp_proto as smtp;

/// The text, and what is left behind its end, if it ended.
fn unstuff<'i>(pieces: impl IntoIterator<Item = &'i [u8]>) -> (Vec<u8>, Option<Vec<u8>>) {
    let mut unstuffer = smtp::Unstuffer::new();
    let (mut text, mut left) = (Vec::new(), None);
    for mut input in pieces {
        while left.is_none() {
            match unstuffer.next(&mut input) {
                Some(smtp::Piece::Text(slice)) => text.extend_from_slice(slice),
                Some(smtp::Piece::End) => left = Some(Vec::new()),
                None => break,
            }
        }
        if let Some(left) = &mut left {
            left.extend_from_slice(input);
        }
    }
    (text, left)
}

/// The same with the check in the same pass, and what that found.
fn unstuff_checked<'i>(
    pieces: impl IntoIterator<Item = &'i [u8]>,
) -> ((Vec<u8>, Option<Vec<u8>>), Option<smtp::Violation>) {
    let (mut unstuffer, mut check) = (smtp::Unstuffer::new(), smtp::TextCheck::new());
    let (mut text, mut left) = (Vec::new(), None);
    for mut input in pieces {
        while left.is_none() {
            match unstuffer.next_checked(&mut input, &mut check) {
                Some(smtp::Piece::Text(slice)) => text.extend_from_slice(slice),
                Some(smtp::Piece::End) => left = Some(Vec::new()),
                None => break,
            }
        }
        if let Some(left) = &mut left {
            left.extend_from_slice(input);
        }
    }
    ((text, left), check.finish())
}

/// The same, copied in the pass that looks at it.
fn unstuff_copied<'i>(
    pieces: impl IntoIterator<Item = &'i [u8]>,
) -> ((Vec<u8>, Option<Vec<u8>>), Option<smtp::Violation>) {
    let (mut unstuffer, mut check) = (smtp::Unstuffer::new(), smtp::TextCheck::new());
    let (mut text, mut left) = (Vec::new(), None);
    for mut input in pieces {
        if left.is_none() && unstuffer.copy_checked(&mut input, &mut check, &mut text) {
            left = Some(Vec::new());
        }
        if let Some(left) = &mut left {
            left.extend_from_slice(input);
        } else {
            assert!(input.is_empty());
        }
    }
    ((text, left), check.finish())
}

/// The same by RFC 5321 §4.5.2 to the letter: lines end in CRLF; a lone dot ends; a leading dot goes.
fn by_the_letter(wire: &[u8]) -> (Vec<u8>, Option<Vec<u8>>) {
    let (mut text, mut at) = (Vec::new(), 0);
    loop {
        let rest = &wire[at..];
        if let Some(left) = rest.strip_prefix(b".\r\n") {
            return (text, Some(left.to_vec()));
        }
        let line = rest.strip_prefix(b".").unwrap_or(rest);
        let Some(end) = line.windows(2).position(|pair| pair == b"\r\n") else {
            // The dot and the CR of an end that may be coming are held back.
            text.extend_from_slice(if rest == b".\r" { b"" } else { line });
            return (text, None);
        };
        text.extend_from_slice(&line[..end + 2]);
        at += rest.len() - line.len() + end + 2;
    }
}

fn stuff(message: &[u8], seed: u8) -> Vec<u8> {
    let (mut stuffer, mut wire) = (smtp::Stuffer::new(), Vec::new());
    for piece in pieces(message, seed) {
        stuffer.stuff(piece).for_each(|slice| wire.extend_from_slice(slice));
    }
    wire.extend_from_slice(stuffer.finish());
    wire
}

fn pop3_stuff(message: &[u8], seed: u8) -> Vec<u8> {
    let (mut stuffer, mut wire) = (pop3::Stuffer::new(), Vec::new());
    for piece in pieces(message, seed) {
        stuffer.stuff(piece).for_each(|slice| wire.extend_from_slice(slice));
    }
    wire.extend_from_slice(stuffer.finish());
    wire
}

fn violation(pieces: &[&[u8]]) -> Option<smtp::Violation> {
    let mut check = smtp::TextCheck::new();
    pieces.iter().for_each(|piece| check.push(piece));
    check.finish()
}

/// The first in the order of the text, octet by octet.
fn violation_by_the_letter(text: &[u8]) -> Option<smtp::Violation> {
    (0..text.len()).find_map(|at| {
        match (text[at], at.checked_sub(1).map(|before| text[before]), text.get(at + 1)) {
            (0, _, _) => Some(smtp::Violation::Nul),
            (b'\r', _, after) if after != Some(&b'\n') => Some(smtp::Violation::BareCr),
            (b'\n', before, _) if before != Some(b'\r') => Some(smtp::Violation::BareLf),
            _ => None,
        }
    })
}

fn top_is_a_prefix_in_any_pieces(message: &[u8], lines: u32, seed: u8) {
    let mut whole = pop3::TopCut::new(lines);
    let top = whole.take(message);
    assert!(message.starts_with(top));
    let (mut cut, mut joined) = (pop3::TopCut::new(lines), Vec::new());
    pieces(message, seed).into_iter().for_each(|piece| joined.extend_from_slice(cut.take(piece)));
    assert_eq!(joined, top);
    assert_eq!(cut.is_done(), whole.is_done());
}

fuzz_target!(|data: &[u8]| {
    let Some((seed, text)) = seeded(data) else { return };
    let whole = unstuff([text]);
    assert_eq!(whole, by_the_letter(text));
    assert_eq!(unstuff(pieces(text, seed)), whole);
    let expected = violation_by_the_letter(&whole.0);
    assert_eq!(unstuff_checked([text]), (whole.clone(), expected));
    assert_eq!(unstuff_checked(pieces(text, seed)), (whole.clone(), expected));
    assert_eq!(unstuff_copied([text]), (whole.clone(), expected));
    assert_eq!(unstuff_copied(pieces(text, seed)), (whole, expected));

    let wire = stuff(text, seed);
    assert_eq!(wire, stuff(text, 127));
    assert_eq!(wire, pop3_stuff(text, seed));
    let complete = text.is_empty() || text.ends_with(b"\r\n");
    let expected = if complete { text.to_vec() } else { [text, b"\r\n"].concat() };
    assert_eq!(unstuff([&wire[..]]), (expected, Some(Vec::new())));

    assert_eq!(violation(&[text]), violation_by_the_letter(text));
    assert_eq!(violation(&pieces(text, seed)), violation_by_the_letter(text));
    top_is_a_prefix_in_any_pieces(text, u32::from(seed % 5), seed);
});

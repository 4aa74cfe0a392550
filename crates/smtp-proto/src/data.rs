//! The text of a message on the wire: dot-stuffing (RFC 5321 §4.5.2) both ways, and what text may not hold.
//!
//! All of it hands out slices of what it was given, nothing is copied. The end of a message is CRLF.CRLF and
//! nothing else: every other reading is how mail gets smuggled.

use std::sync::LazyLock;

use memchr::memmem;

use crate::Violation;
use crate::fast::{copy_to_remarkable, is_remarkable, remarkable};

/// Removes dot-stuffing and finds the end of the message.
///
/// A dot at the start of a line is dropped; if CRLF follows it, the message has ended. The octets handed out
/// are the message, final CRLF included.
#[derive(Debug, Clone, Default)]
pub struct Unstuffer {
    at: At,
}

/// Finds CRLF dot; made once, since that costs as much as to search some kilobytes.
static DOTS: LazyLock<memmem::Finder<'static>> = LazyLock::new(|| memmem::Finder::new(b"\r\n."));

/// Where in the text the last octet left us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum At {
    /// After CRLF, or before the first octet: the CRLF of `DATA` counts (RFC 5321 §4.1.1.4).
    #[default]
    LineStart,
    InLine,
    /// After a CR, which was handed out.
    Cr,
    /// After a dot at the start of a line, which was not.
    Dot,
    /// After dot CR at the start of a line; neither was handed out.
    DotCr,
}

/// What [`Unstuffer::next`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece<'a> {
    /// Octets of the message.
    Text(&'a [u8]),
    /// The message is over; what is left of the input comes after it.
    End,
}

impl Unstuffer {
    /// At the start of a message.
    pub fn new() -> Self {
        Self::default()
    }

    /// At the start of the next message.
    pub fn restart(&mut self) {
        self.at = At::default();
    }

    /// The next piece, or `None` when all input is taken and more is needed.
    pub fn next<'i>(&mut self, input: &mut &'i [u8]) -> Option<Piece<'i>> {
        self.held_back(input)?.or_else(|| {
            let len = to_dot(self.at, input);
            Some(self.text(input, len))
        })
    }

    /// The same, and looks at the octets for `check` in the same pass. Use one check for all of a message.
    pub fn next_checked<'i>(&mut self, input: &mut &'i [u8], check: &mut TextCheck) -> Option<Piece<'i>> {
        let piece = self.held_back(input)?;
        if let Some(Piece::Text(text)) = piece {
            check.push(text);
        }
        piece.or_else(|| {
            let len = check.push_through_dot(self.at, input, None);
            Some(self.text(input, len))
        })
    }

    /// Appends to `out` what there is of the message in `input`. Says whether the message is over; if not, all input is taken.
    pub fn copy(&mut self, input: &mut &[u8], out: &mut Vec<u8>) -> bool {
        while let Some(piece) = self.next(input) {
            match piece {
                Piece::Text(text) => out.extend_from_slice(text),
                Piece::End => return true,
            }
        }
        false
    }

    /// The same, and looks at the octets for `check` in the pass that copies them: for whoever would copy the pieces anyway.
    ///
    /// ```
    /// # use posthaste_smtp_proto::{TextCheck, Unstuffer};
    /// let (mut unstuffer, mut check, mut message) = (Unstuffer::new(), TextCheck::new(), Vec::new());
    /// let mut input = b"one\r\n..two\r\n.\r\nQUIT\r\n".as_slice();
    /// assert!(unstuffer.copy_checked(&mut input, &mut check, &mut message));
    /// assert_eq!((message.as_slice(), input), (b"one\r\n.two\r\n".as_slice(), b"QUIT\r\n".as_slice()));
    /// assert_eq!(check.finish(), None);
    /// ```
    pub fn copy_checked(&mut self, input: &mut &[u8], check: &mut TextCheck, out: &mut Vec<u8>) -> bool {
        while let Some(piece) = self.held_back(input) {
            match piece {
                Some(Piece::End) => return true,
                Some(Piece::Text(text)) => check.push_copied(text, out),
                None => {
                    let len = check.push_through_dot(self.at, input, Some(out));
                    self.text(input, len);
                }
            }
        }
        false
    }

    /// What comes of a dot at the start of a line, if anything does; `None` when all input is taken.
    #[inline(always)]
    fn held_back<'i>(&mut self, input: &mut &'i [u8]) -> Option<Option<Piece<'i>>> {
        loop {
            match (self.at, *input.first()?) {
                (At::LineStart, b'.') => self.at = At::Dot,
                (At::Dot, b'\r') => self.at = At::DotCr,
                (At::DotCr, b'\n') => {
                    self.restart();
                    *input = &input[1..];
                    return Some(Some(Piece::End));
                }
                (At::DotCr, _) => {
                    self.at = At::Cr;
                    return Some(Some(Piece::Text(b"\r")));
                }
                _ => return Some(None),
            }
            *input = &input[1..];
        }
    }

    #[inline(always)]
    fn text<'i>(&mut self, input: &mut &'i [u8], len: usize) -> Piece<'i> {
        let text = split(input, len);
        self.at = self.at.behind(text);
        Piece::Text(text)
    }
}

impl At {
    /// Behind some octets of text.
    #[inline(always)]
    fn behind(self, text: &[u8]) -> Self {
        match text {
            [.., b'\r', b'\n'] => At::LineStart,
            [b'\n'] if self == At::Cr => At::LineStart,
            [.., b'\r'] => At::Cr,
            _ => At::InLine,
        }
    }
}

/// How much of `text` there is through the next CRLF that a dot follows; all of it, if none does.
#[inline(always)]
fn to_dot(at: At, text: &[u8]) -> usize {
    if at == At::Cr && text.starts_with(b"\n.") {
        return 1;
    }
    DOTS.find(text).map_or(text.len(), |found| found + 2)
}

fn split<'i>(input: &mut &'i [u8], len: usize) -> &'i [u8] {
    let (text, rest) = input.split_at(len);
    *input = rest;
    text
}

/// Adds dot-stuffing to a message that is given in pieces.
///
/// ```
/// # use posthaste_smtp_proto::Stuffer;
/// let mut stuffer = Stuffer::new();
/// let mut wire: Vec<u8> = Vec::new();
/// for piece in [b"a\r\n.".as_slice(), b"b\r\n"] {
///     stuffer.stuff(piece).for_each(|slice| wire.extend_from_slice(slice));
/// }
/// wire.extend_from_slice(stuffer.finish());
/// assert_eq!(wire, b"a\r\n..b\r\n.\r\n");
/// ```
///
/// It does not look for bare CR or LF, which some servers would misread: refuse them with [`TextCheck`] first.
#[derive(Debug, Clone, Default)]
pub struct Stuffer {
    at: At,
}

impl Stuffer {
    /// At the start of a message.
    pub fn new() -> Self {
        Self::default()
    }

    /// The slices to send for this piece, in order. Take all of them before the next call.
    pub fn stuff<'s, 'i>(&'s mut self, piece: &'i [u8]) -> impl Iterator<Item = &'i [u8]> + use<'s, 'i> {
        let mut rest = piece;
        std::iter::from_fn(move || {
            let first = *rest.first()?;
            if self.at == At::LineStart && first == b'.' {
                self.at = At::Dot;
                return Some(b".".as_slice());
            }
            if self.at == At::Dot {
                self.at = At::InLine;
            }
            let len = to_dot(self.at, rest);
            let text = split(&mut rest, len);
            self.at = self.at.behind(text);
            Some(text)
        })
    }

    /// What ends the message: dot CRLF, after a CRLF if the message had none at its end. Starts a new one.
    pub fn finish(&mut self) -> &'static [u8] {
        match std::mem::take(&mut self.at) {
            At::LineStart => b".\r\n",
            _ => b"\r\n.\r\n",
        }
    }
}

/// Looks for what text may not hold: bare LF, bare CR, NUL. Give it every octet in order, in any pieces.
#[derive(Debug, Clone)]
pub struct TextCheck {
    last: u8,
    violation: Option<Violation>,
}

impl Default for TextCheck {
    fn default() -> Self {
        // A message begins as if after CRLF; any octet but CR will do.
        Self { last: b'\n', violation: None }
    }
}

impl TextCheck {
    /// At the start of a message.
    pub fn new() -> Self {
        Self::default()
    }

    /// Checks a whole message.
    pub fn whole(message: &[u8]) -> Result<(), Violation> {
        let mut check = Self::new();
        check.push(message);
        check.finish().map_or(Ok(()), Err)
    }

    /// Looks at the next octets.
    pub fn push(&mut self, text: &[u8]) {
        self.push_or_copy(text, None);
    }

    /// The same, and appends them to `out` in the same pass.
    pub fn push_copied(&mut self, text: &[u8], out: &mut Vec<u8>) {
        self.push_or_copy(text, Some(out));
    }

    #[inline(always)]
    fn push_or_copy(&mut self, text: &[u8], mut out: Option<&mut Vec<u8>>) {
        let Some(&first) = text.first() else { return };
        self.note(self.last, first);
        let mut from = 0;
        while let Some(at) = self.next_remarkable(&text[from..], &mut out) {
            self.note(text[from + at], text[from + at + 1]);
            from += at + 1;
        }
        if self.violation.is_some() {
            append(&mut out, &text[from..]);
        }
        self.last = text[text.len() - 1];
    }

    /// Looks at octets of `text` through the next CRLF that a dot follows, or at all of it; says how many that were, and
    /// appends them to `out`, if given.
    #[inline(always)]
    fn push_through_dot(&mut self, at: At, text: &[u8], mut out: Option<&mut Vec<u8>>) -> usize {
        let Some(&first) = text.first() else { return 0 };
        self.note(self.last, first);
        let (mut len, mut from) = (text.len(), 0);
        while let Some(found) = self.next_remarkable(&text[from..], &mut out) {
            from += found + 1;
            if text[from - 1] == b'\n' && text[from] == b'.' {
                len = from;
                break;
            }
            self.note(text[from - 1], text[from]);
        }
        if self.violation.is_some() {
            len = to_dot(at, text);
            append(&mut out, &text[from..len]);
        }
        self.last = text[len - 1];
        len
    }

    /// The next neighbours that are worth a look, with all through the first of them appended to `out`; none, and nothing,
    /// once there was a violation.
    #[inline(always)]
    fn next_remarkable(&self, text: &[u8], out: &mut Option<&mut Vec<u8>>) -> Option<usize> {
        match (self.violation, out) {
            (None, None) => remarkable(text),
            (None, Some(out)) => copy_to_remarkable(text, out),
            (Some(_), _) => None,
        }
    }

    #[inline(always)]
    fn note(&mut self, a: u8, b: u8) {
        if is_remarkable(a, b) && self.violation.is_none() {
            self.violation = violation(a, b);
        }
    }

    /// The first violation; a CR at the very end is one. Starts a new message.
    pub fn finish(&mut self) -> Option<Violation> {
        let done = std::mem::take(self);
        done.violation.or(violation(done.last, b'.'))
    }
}

#[inline(always)]
fn append(out: &mut Option<&mut Vec<u8>>, text: &[u8]) {
    if let Some(out) = out {
        out.extend_from_slice(text);
    }
}

/// What is wrong with `a`, or with `b` behind it.
fn violation(a: u8, b: u8) -> Option<Violation> {
    match (a, b) {
        (0, _) => Some(Violation::Nul),
        (b'\r', b'\n') => None,
        (b'\r', _) => Some(Violation::BareCr),
        (_, b'\n') => Some(Violation::BareLf),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unstuff(pieces: &[&[u8]]) -> (Vec<u8>, bool, usize) {
        let mut unstuffer = Unstuffer::new();
        let (mut text, mut ended, mut left) = (Vec::new(), false, 0);
        for piece in pieces {
            let mut input = *piece;
            while !ended {
                match unstuffer.next(&mut input) {
                    Some(Piece::Text(slice)) => text.extend_from_slice(slice),
                    Some(Piece::End) => ended = true,
                    None => break,
                }
            }
            left += input.len();
        }
        (text, ended, left)
    }

    #[test]
    fn unstuffing_known_answers() {
        for (wire, text, ended) in [
            ("a\r\n.\r\n", "a\r\n", true),
            (".\r\n", "", true),
            ("..\r\n.\r\n", ".\r\n", true),
            ("a\r\n..b\r\n.\r\nQUIT", "a\r\n.b\r\n", true),
            (".a\r\n.\r\n", "a\r\n", true),
            ("a.\r\n.b.\r\n.\r\n", "a.\r\nb.\r\n", true),
            ("\r\n.\r\n", "\r\n", true),
            ("a\r\n.", "a\r\n", false),
        ] {
            let (out, end, _) = unstuff(&[wire.as_bytes()]);
            assert_eq!((out.as_slice(), end), (text.as_bytes(), ended), "{wire:?}");
        }
    }

    #[test]
    fn unstuffing_hands_out_slices_of_the_input() {
        let wire = b"line one\r\nline two\r\n.\r\n";
        let mut input = wire.as_slice();
        let Some(Piece::Text(text)) = Unstuffer::new().next(&mut input) else { panic!() };
        assert_eq!(text.as_ptr(), wire.as_ptr());
        assert_eq!(text.len(), 20);
    }

    #[test]
    fn text_check_finds_the_first_violation() {
        assert_eq!(TextCheck::whole(b"a\r\nb\r\n"), Ok(()));
        assert_eq!(TextCheck::whole(b""), Ok(()));
        assert_eq!(TextCheck::whole(b"a\nb\rc"), Err(Violation::BareLf));
        assert_eq!(TextCheck::whole(b"\n"), Err(Violation::BareLf));
        assert_eq!(TextCheck::whole(b"a\rb\nc"), Err(Violation::BareCr));
        assert_eq!(TextCheck::whole(b"a\r"), Err(Violation::BareCr));
        assert_eq!(TextCheck::whole(b"a\r\r\n"), Err(Violation::BareCr));
        assert_eq!(TextCheck::whole(b"\0a"), Err(Violation::Nul));
        let mut long = vec![b'x'; 10_000];
        assert_eq!(TextCheck::whole(&long), Ok(()));
        long[4096] = b'\n';
        assert_eq!(TextCheck::whole(&long), Err(Violation::BareLf));
    }
}

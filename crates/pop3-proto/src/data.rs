//! Multi-line responses on the wire: dot-stuffing (RFC 1939 §3) both ways.
//!
//! All of it hands out slices of what it was given, nothing is copied. The end is CRLF.CRLF and nothing else.

use memchr::memmem;

/// Removes dot-stuffing and finds the end of the message.
///
/// A dot at the start of a line is dropped; if CRLF follows it, the message has ended. The octets handed out
/// are the message, final CRLF included.
#[derive(Debug, Clone)]
pub struct Unstuffer {
    at: At,
    dots: Dots,
}

/// Finds CRLF dot. Made once a connection: to make it costs as much as to search some kilobytes.
#[derive(Debug, Clone)]
struct Dots(memmem::Finder<'static>);

impl Default for Dots {
    fn default() -> Self {
        Self(memmem::Finder::new(b"\r\n."))
    }
}

impl Default for Unstuffer {
    fn default() -> Self {
        Self::new()
    }
}

/// Where in the text the last octet left us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum At {
    /// After CRLF, or before the first octet: the CRLF of the status line counts.
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
        Self { at: At::default(), dots: Dots::default() }
    }

    /// At the start of the next message.
    pub fn restart(&mut self) {
        self.at = At::default();
    }

    /// The next piece, or `None` when all input is taken and more is needed.
    pub fn next<'i>(&mut self, input: &mut &'i [u8]) -> Option<Piece<'i>> {
        loop {
            let first = *input.first()?;
            match (self.at, first) {
                (At::LineStart, b'.') => {
                    self.at = At::Dot;
                    *input = &input[1..];
                }
                (At::Dot, b'\r') => {
                    self.at = At::DotCr;
                    *input = &input[1..];
                }
                (At::DotCr, b'\n') => {
                    self.restart();
                    *input = &input[1..];
                    return Some(Piece::End);
                }
                (At::DotCr, _) => {
                    self.at = At::Cr;
                    return Some(Piece::Text(b"\r"));
                }
                _ => {
                    let text = text(&mut self.at, &self.dots, input);
                    return Some(Piece::Text(text));
                }
            }
        }
    }
}

/// Through the next CRLF that a dot follows, or all there is.
fn text<'i>(at: &mut At, dots: &Dots, input: &mut &'i [u8]) -> &'i [u8] {
    if *at == At::Cr && input.starts_with(b"\n.") {
        *at = At::LineStart;
        return split(input, 1);
    }
    if let Some(found) = dots.0.find(input) {
        *at = At::LineStart;
        return split(input, found + 2);
    }
    *at = match *input {
        [.., b'\r', b'\n'] => At::LineStart,
        [b'\n'] if *at == At::Cr => At::LineStart,
        [.., b'\r'] => At::Cr,
        _ => At::InLine,
    };
    split(input, input.len())
}

fn split<'i>(input: &mut &'i [u8], len: usize) -> &'i [u8] {
    let (text, rest) = input.split_at(len);
    *input = rest;
    text
}

/// Adds dot-stuffing to a message that is given in pieces.
///
/// ```
/// # use posthaste_pop3_proto::Stuffer;
/// let mut stuffer = Stuffer::new();
/// let mut wire: Vec<u8> = Vec::new();
/// for piece in [b"a\r\n.".as_slice(), b"b\r\n"] {
///     stuffer.stuff(piece).for_each(|slice| wire.extend_from_slice(slice));
/// }
/// wire.extend_from_slice(stuffer.finish());
/// assert_eq!(wire, b"a\r\n..b\r\n.\r\n");
/// ```
#[derive(Debug, Clone, Default)]
pub struct Stuffer {
    at: At,
    dots: Dots,
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
            Some(text(&mut self.at, &self.dots, &mut rest))
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
}

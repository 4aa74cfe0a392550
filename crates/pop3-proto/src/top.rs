//! TOP: the head of a message.

use memchr::memchr;

/// Cuts a message that comes in pieces to its header, the empty line behind it, and the first so many lines of
/// the body (RFC 1939 §7). A message without an empty line is all header.
#[derive(Debug, Clone)]
pub struct TopCut {
    in_header: bool,
    /// What the current line holds so far.
    line: Line,
    lines_left: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    Empty,
    Cr,
    Text,
}

impl TopCut {
    /// At the start of a message.
    pub fn new(lines: u32) -> Self {
        Self { in_header: true, line: Line::Empty, lines_left: lines }
    }

    /// What of this piece belongs to the answer.
    pub fn take<'a>(&mut self, piece: &'a [u8]) -> &'a [u8] {
        let mut at = 0;
        while at < piece.len() && !self.is_done() {
            match memchr(b'\n', &piece[at..]) {
                Some(end) => {
                    self.see(&piece[at..at + end]);
                    self.end_line();
                    at += end + 1;
                }
                None => {
                    self.see(&piece[at..]);
                    at = piece.len();
                }
            }
        }
        &piece[..at]
    }

    /// Whether nothing more belongs to the answer.
    pub fn is_done(&self) -> bool {
        !self.in_header && self.lines_left == 0
    }

    fn see(&mut self, part: &[u8]) {
        self.line = match (self.line, part) {
            (line, []) => line,
            (Line::Empty, b"\r") => Line::Cr,
            _ => Line::Text,
        };
    }

    fn end_line(&mut self) {
        if !self.in_header {
            self.lines_left -= 1;
        } else if self.line != Line::Text {
            self.in_header = false;
        }
        self.line = Line::Empty;
    }
}

/// [`TopCut`] for a message in one piece.
pub fn top(message: &[u8], lines: u32) -> &[u8] {
    TopCut::new(lines).take(message)
}

#[cfg(test)]
mod tests {
    use super::{TopCut, top};

    #[test]
    fn top_is_the_header_and_so_many_lines() {
        let message = b"A: b\r\nC: d\r\n\r\none\r\ntwo\r\n";
        assert_eq!(top(message, 0), b"A: b\r\nC: d\r\n\r\n");
        assert_eq!(top(message, 1), b"A: b\r\nC: d\r\n\r\none\r\n");
        assert_eq!(top(message, u32::MAX), message);
        assert_eq!(top(b"A: b\r\n", 3), b"A: b\r\n");
        assert_eq!(top(b"", 3), b"");
        assert_eq!(top(b"\r\nno header\r\nend", 2), b"\r\nno header\r\nend");
        assert_eq!(top(b"\n\nx\ny", 1), b"\n\n");
    }

    #[test]
    fn top_does_not_depend_on_the_pieces() {
        let message = b"A: b\r\n\rx\r\n\r\none\r\n\r\nthree\r\nfour";
        for lines in 0..6 {
            for size in 1..message.len() {
                let mut cut = TopCut::new(lines);
                let pieces: Vec<u8> =
                    message.chunks(size).flat_map(|piece| cut.take(piece)).copied().collect();
                assert_eq!(pieces, top(message, lines), "{lines} lines in pieces of {size}");
            }
        }
    }
}

//! What commands and responses have in common: where a line ends, and whether a literal follows.

/// A literal's announcement at the end of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LiteralSpec {
    /// How many octets follow. A number beyond 64 bits is taken as the largest one, which no limit admits.
    pub octets: u64,
    /// `{n}`: the peer waits for a continuation request. Otherwise `{n+}`: the octets come at once (RFC 7888).
    pub sync: bool,
    /// `~{n}`: a literal8, which may hold NUL (RFC 3516).
    pub binary: bool,
}

/// The literal that `line` (without its CRLF) announces, and where the announcement starts.
pub(crate) fn literal_at_end(line: &[u8]) -> Option<(usize, LiteralSpec)> {
    let text = line.strip_suffix(b"}")?;
    let (text, sync) = match text.strip_suffix(b"+") {
        Some(text) => (text, false),
        None => (text, true),
    };
    let digits = text.iter().rev().take_while(|b| b.is_ascii_digit()).count();
    let open = text.len().checked_sub(digits + 1)?;
    // 20 digits write any number of 64 bits; more are no literal, wherever the line was cut.
    if digits == 0 || digits > 20 || text[open] != b'{' {
        return None;
    }
    let octets =
        text[open + 1..].iter().fold(0_u64, |n, d| n.saturating_mul(10).saturating_add(u64::from(d - b'0')));
    let binary = open > 0 && text[open - 1] == b'~';
    Some((open - usize::from(binary), LiteralSpec { octets, sync, binary }))
}

/// Follows quoted strings through a line, however it is cut. A quote opens a string only where a token can start, so that a
/// stray one within an atom hides no literal.
#[derive(Debug, Clone, Copy)]
pub(crate) struct QuoteScan {
    inside: bool,
    escaped: bool,
    last: u8,
}

impl QuoteScan {
    pub(crate) fn new() -> Self {
        Self { inside: false, escaped: false, last: b' ' }
    }

    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        for &b in bytes {
            if self.inside {
                match b {
                    _ if self.escaped => self.escaped = false,
                    b'\\' => self.escaped = true,
                    b'"' => self.inside = false,
                    _ => {}
                }
            } else if b == b'"' && matches!(self.last, b' ' | b'(' | b'[') {
                self.inside = true;
            }
            self.last = b;
        }
    }

    pub(crate) fn inside(self) -> bool {
        self.inside
    }
}

/// As [`literal_at_end`], unless the announcement stands within a quoted string.
pub(crate) fn literal_outside_quotes(line: &[u8]) -> Option<(usize, LiteralSpec)> {
    let found = literal_at_end(line)?;
    let mut quotes = QuoteScan::new();
    quotes.feed(line);
    (!quotes.inside()).then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn octets(line: &str) -> Option<u64> {
        literal_outside_quotes(line.as_bytes()).map(|(_, l)| l.octets)
    }

    #[test]
    fn literals_count_only_at_the_line_end_outside_quotes() {
        assert_eq!(octets("a LOGIN {5}"), Some(5));
        assert_eq!(octets("a LOGIN {012+}"), Some(12));
        assert_eq!(octets("a LOGIN \"x\" {5}"), Some(5));
        assert_eq!(octets("a LOGIN \"x {5}"), None);
        assert_eq!(octets("a LOGIN \"x\\\" {5}"), None);
        assert_eq!(octets("a LOGIN \"x\\\\\" {5}"), Some(5));
        assert_eq!(octets("a LOGIN fo\"o {5+}"), Some(5));
        assert_eq!(octets("a LOGIN {5} "), None);
        for not in ["{}", "{+}", "{-1}", "{5-}", "{a}", "5}", "}", "{000000000000000000001}"] {
            assert_eq!(octets(not), None, "{not}");
        }
        assert_eq!(octets("{99999999999999999999}"), Some(u64::MAX));
    }
}

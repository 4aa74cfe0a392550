//! The leaves of the encoders. What they write cannot break out of its place, whatever the value.

use crate::chars::{self, ASTRING, QUOTED};

/// Writes `n` in decimal without allocating.
pub(crate) fn number(out: &mut Vec<u8>, n: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    let mut n = n;
    loop {
        at -= 1;
        digits[at] = b'0' + (n % 10) as u8;
        n /= 10;
        if n == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// How the writer may send what does not fit a quoted string.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Literals {
    /// `{n}`: a server's response, or a client that waits for `+` at each of them.
    Sync,
    /// `{n+}`: a client whose server advertised LITERAL+ (RFC 7888).
    NonSync,
}

/// Where encoded octets go, and where a client has to wait for the server.
pub(crate) struct Writer<'o> {
    pub(crate) out: &'o mut Vec<u8>,
    pub(crate) literals: Literals,
    pub(crate) pauses: Option<&'o mut Vec<usize>>,
}

impl<'o> Writer<'o> {
    pub(crate) fn response(out: &'o mut Vec<u8>) -> Self {
        Self { out, literals: Literals::Sync, pauses: None }
    }

    pub(crate) fn raw(&mut self, bytes: impl AsRef<[u8]>) {
        self.out.extend_from_slice(bytes.as_ref());
    }

    pub(crate) fn number(&mut self, n: impl Into<u64>) {
        number(self.out, n.into());
    }

    pub(crate) fn astring(&mut self, value: &[u8]) {
        let plain = !value.is_empty() && chars::all(value, ASTRING) && !value.eq_ignore_ascii_case(b"NIL");
        if plain { self.raw(value) } else { self.string(value) }
    }

    pub(crate) fn string(&mut self, value: &[u8]) {
        let quotable = value.len() <= 1024
            && value.iter().all(|&b| b < 0x80 && (chars::is(b, QUOTED) || matches!(b, b'"' | b'\\')));
        if quotable { self.quoted(value) } else { self.literal(value) }
    }

    pub(crate) fn nstring(&mut self, value: Option<&[u8]>) {
        match value {
            Some(value) => self.string(value),
            None => self.raw("NIL"),
        }
    }

    pub(crate) fn quoted(&mut self, value: &[u8]) {
        self.out.push(b'"');
        for &b in value {
            if matches!(b, b'"' | b'\\') {
                self.out.push(b'\\');
            }
            self.out.push(b);
        }
        self.out.push(b'"');
    }

    pub(crate) fn literal(&mut self, value: &[u8]) {
        self.out.push(b'{');
        self.number(value.len() as u64);
        self.raw(if self.literals == Literals::NonSync { "+}\r\n" } else { "}\r\n" });
        if self.literals == Literals::Sync {
            let at = self.out.len();
            if let Some(pauses) = &mut self.pauses {
                pauses.push(at);
            }
        }
        self.raw(value);
    }

    /// `(a b c)`.
    pub(crate) fn list<T>(&mut self, items: impl IntoIterator<Item = T>, mut each: impl FnMut(&mut Self, T)) {
        self.out.push(b'(');
        self.spaced(items, &mut each);
        self.out.push(b')');
    }

    /// `a b c`.
    pub(crate) fn spaced<T>(
        &mut self,
        items: impl IntoIterator<Item = T>,
        mut each: impl FnMut(&mut Self, T),
    ) {
        for (n, item) in items.into_iter().enumerate() {
            if n > 0 {
                self.out.push(b' ');
            }
            each(self, item);
        }
    }

    /// Human-readable text: CR, LF and NUL become spaces.
    pub(crate) fn text(&mut self, text: &str) {
        self.out.extend(text.bytes().map(|b| if matches!(b, 0 | b'\r' | b'\n') { b' ' } else { b }));
    }
}

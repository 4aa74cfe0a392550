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
    /// `{n+}` up to 4096 octets, `{n}` beyond: a client whose server advertised LITERAL- (RFC 7888 section 5), as
    /// IMAP4rev2 does.
    NonSyncSmall,
}

/// Where encoded octets go, and where a client has to wait for the server.
pub struct Writer<'o> {
    pub(crate) out: &'o mut Vec<u8>,
    pub(crate) literals: Literals,
    pub(crate) pauses: Option<&'o mut Vec<usize>>,
    pub(crate) gaps: Option<&'o mut Vec<(usize, u64)>>,
}

impl<'o> Writer<'o> {
    pub(crate) fn response(out: &'o mut Vec<u8>) -> Self {
        Self { out, literals: Literals::Sync, pauses: None, gaps: None }
    }

    /// For text that only this crate reads again.
    pub(crate) fn checked(out: &'o mut Vec<u8>) -> Self {
        Self { out, literals: Literals::NonSync, pauses: None, gaps: None }
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

    /// A quoted string where no literal may stand; what it cannot hold is left out.
    pub(crate) fn quoted_only(&mut self, value: &[u8]) {
        let kept: Vec<u8> = value.iter().copied().filter(|b| !matches!(b, 0 | b'\r' | b'\n')).collect();
        self.quoted(&kept);
    }

    pub(crate) fn literal(&mut self, value: &[u8]) {
        // NUL may stand in a literal8 only (RFC 3516).
        if memchr::memchr(0, value).is_some() {
            self.raw("~");
        }
        self.announce(value.len() as u64);
        self.raw(value);
    }

    /// `{n}` CRLF, as `literals` has it.
    pub(crate) fn announce(&mut self, octets: u64) {
        self.out.push(b'{');
        self.number(octets);
        let at_once = match self.literals {
            Literals::Sync => false,
            Literals::NonSync => true,
            Literals::NonSyncSmall => octets <= 4096,
        };
        self.raw(if at_once { "+}\r\n" } else { "}\r\n" });
        if !at_once {
            let at = self.out.len();
            if let Some(pauses) = &mut self.pauses {
                pauses.push(at);
            }
        }
    }

    /// A literal whose octets the caller inserts.
    pub(crate) fn gap(&mut self, octets: u64) {
        self.announce(octets);
        let at = self.out.len();
        if let Some(gaps) = &mut self.gaps {
            gaps.push((at, octets));
        }
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

    /// `name`, and what stands behind it.
    pub(crate) fn word(&mut self, name: &str, value: &str) {
        self.raw(name);
        self.raw(value);
    }

    /// `name`, and a number behind it.
    pub(crate) fn numbered(&mut self, name: &str, n: impl Into<u64>) {
        self.raw(name);
        self.number(n);
    }

    /// Human-readable text: CR, LF and NUL become spaces.
    pub(crate) fn text(&mut self, text: &str) {
        self.out.extend(text.bytes().map(|b| if matches!(b, 0 | b'\r' | b'\n') { b' ' } else { b }));
    }
}

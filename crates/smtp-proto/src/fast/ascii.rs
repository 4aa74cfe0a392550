//! Plain ASCII, read where it lies in the input: eight octets at a time, and addresses by one automaton.
//! What was just seen to be ASCII is called text without a second look at it.

use crate::class::{ATEXT, Class, LABEL};

const EACH: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;

/// A place in octets that may be anything; what is handed out of them as text is ASCII.
#[derive(Debug)]
pub(crate) struct Ascii<'a> {
    octets: &'a [u8],
    /// How many of them were stepped over.
    at: usize,
}

impl<'a> Ascii<'a> {
    #[inline(always)]
    pub(crate) fn new(octets: &'a [u8]) -> Self {
        Self { octets, at: 0 }
    }

    #[inline(always)]
    fn ahead(&self) -> &'a [u8] {
        &self.octets[self.at..]
    }

    /// Whether CRLF stands here. If so, `input`, in whose first octets this is, goes on behind it.
    #[inline(always)]
    pub(crate) fn end(&self, input: &mut &[u8]) -> bool {
        let is_end = self.ahead().starts_with(b"\r\n");
        if is_end {
            *input = &input[self.at + 2..];
        }
        is_end
    }

    /// Steps over `N` octets and gives them.
    #[inline(always)]
    pub(crate) fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let octets = *self.ahead().first_chunk()?;
        self.at += N;
        Some(octets)
    }

    /// Steps over the octet `b` if it is here.
    #[inline(always)]
    pub(crate) fn eat(&mut self, b: u8) -> bool {
        let here = self.octets.get(self.at) == Some(&b);
        self.at += usize::from(here);
        here
    }

    /// Steps over `word`, in any case, if it is here.
    #[inline(always)]
    pub(crate) fn eat_word<const N: usize>(&mut self, word: &[u8; N]) -> bool {
        let Some(here) = self.ahead().first_chunk::<N>() else { return false };
        let found = here == word || (here[0] | 0x20 == word[0] | 0x20 && here.eq_ignore_ascii_case(word));
        self.at += if found { N } else { 0 };
        found
    }

    /// A number of one to eight digits; larger ones are for others to read.
    #[inline(always)]
    pub(crate) fn number(&mut self) -> Option<u64> {
        let digits = self.word() ^ (EACH * u64::from(b'0'));
        let others = (digits | digits.wrapping_add(EACH * (0x80 - 10))) & HIGH;
        let len = others.trailing_zeros() / 8;
        self.at += len as usize;
        if len == 0 || self.octets.get(self.at).is_some_and(u8::is_ascii_digit) {
            return None;
        }
        Some(decimal(digits << (64 - 8 * len)))
    }

    /// The next eight octets, the first of them lowest; zeros behind the end.
    #[inline(always)]
    fn word(&self) -> u64 {
        match self.ahead().first_chunk::<8>() {
            Some(octets) => u64::from_le_bytes(*octets),
            None => last_word(self.ahead()),
        }
    }

    /// Graphic octets, as many as are here.
    #[inline(always)]
    pub(crate) fn graphic(&mut self) -> &'a str {
        self.run(|_| 0)
    }

    /// The same, up to a `=` or a `+`: xtext that stands for itself, if any is here.
    #[inline(always)]
    pub(crate) fn plain_xtext(&mut self) -> Option<&'a str> {
        let each = |b: u8| EACH * u64::from(b);
        let run = self.run(|word| zeros(word ^ each(b'=')) | zeros(word ^ each(b'+')));
        if run.is_empty() { None } else { Some(run) }
    }

    /// Octets of base64's alphabet, padding included, as many as are here.
    #[inline(always)]
    pub(crate) fn base64(&mut self) -> &'a str {
        let begin = self.at;
        loop {
            let word = self.word();
            let ends = (!base64(word) | word) & HIGH;
            self.at += ends.trailing_zeros() as usize / 8;
            if ends != 0 {
                break;
            }
        }
        let run = &self.octets[begin..self.at];
        // SAFETY: all octets stepped over since `begin` are of base64's alphabet, which is ASCII, which is UTF-8.
        unsafe { std::str::from_utf8_unchecked(run) }
    }

    /// Octets of `class`, as many as are here: for short runs.
    #[inline(always)]
    pub(crate) fn word_of(&mut self, class: Class) -> &'a str {
        let ahead = self.ahead();
        let len = ahead.iter().take_while(|b| b.is_ascii() && class.holds(**b)).count();
        self.at += len;
        // SAFETY: the `len` octets were just seen to be ASCII, which is UTF-8.
        unsafe { std::str::from_utf8_unchecked(&ahead[..len]) }
    }

    /// Up to the first octet that is not graphic, or that `ends` marks by its high bit.
    #[inline(always)]
    fn run(&mut self, ends: impl Fn(u64) -> u64) -> &'a str {
        let begin = self.at;
        loop {
            let word = self.word();
            let ends = ends(word) | graphic_ends(word);
            self.at += ends.trailing_zeros() as usize / 8;
            if ends != 0 {
                break;
            }
        }
        let run = &self.octets[begin..self.at];
        // SAFETY: all octets stepped over since `begin` are graphic: `graphic_ends` marks the first that is not, zeros
        // behind the end of the input among them. So they are ASCII, which is UTF-8.
        unsafe { std::str::from_utf8_unchecked(run) }
    }

    /// Steps over `local@domain>`, a dot-string and a domain name of at most 63 octets, and gives both.
    #[inline(always)]
    pub(crate) fn path(&mut self) -> Option<(&'a str, &'a str)> {
        let ahead = self.ahead();
        let (mut state, mut at_sign, mut len) = (LOCAL, 0, 0);
        for b in ahead {
            state = PATHS[usize::from(*b)] >> (state & 63);
            if state & 63 < LOCAL {
                break;
            }
            at_sign = if *b == b'@' { len } else { at_sign };
            len += 1;
        }
        if state & 63 != END || len - at_sign > 64 {
            return None;
        }
        self.at += len + 1;
        let (local, domain) = (&ahead[..at_sign], &ahead[at_sign + 1..len]);
        // SAFETY: at every octet beyond ASCII `PATHS` leaves the states from `LOCAL` on, so all of the `len` octets are
        // ASCII, which is UTF-8.
        unsafe { Some((std::str::from_utf8_unchecked(local), std::str::from_utf8_unchecked(domain))) }
    }
}

#[cold]
#[inline(never)]
fn last_word(octets: &[u8]) -> u64 {
    octets.iter().take(8).rev().fold(0, |word, octet| word << 8 | u64::from(*octet))
}

/// The value of eight digits, given as numbers of which the first is the lowest octet.
#[inline(always)]
fn decimal(digits: u64) -> u64 {
    let pairs = (digits.wrapping_mul(10 << 8 | 1) >> 8) & 0x00FF_00FF_00FF_00FF;
    let fours = (pairs.wrapping_mul(100 << 16 | 1) >> 16) & 0x0000_FFFF_0000_FFFF;
    fours.wrapping_mul(10_000 << 32 | 1) >> 32
}

/// Marks, by their high bits, octets that are not graphic (0x21 to 0x7E). The first mark is right; others may not be.
#[inline(always)]
fn graphic_ends(word: u64) -> u64 {
    (word.wrapping_sub(EACH * 0x21) | word | word.wrapping_add(EACH)) & HIGH
}

/// Marks octets that are zero; the first mark is right.
#[inline(always)]
fn zeros(word: u64) -> u64 {
    word.wrapping_sub(EACH) & !word & HIGH
}

/// Marks octets of base64's alphabet, each mark right; octets beyond ASCII may be marked as well.
#[inline(always)]
fn base64(word: u64) -> u64 {
    let from = |word: u64, first: u8| (word | HIGH) - EACH * u64::from(first);
    let between = |word: u64, first: u8, last: u8| from(word, first) & !from(word, last + 1);
    let is = |b: u8| !from(word ^ (EACH * u64::from(b)), 1);
    between(word, b'/', b'9') | between(word | (EACH * 0x20), b'a', b'z') | is(b'+') | is(b'=')
}

// The states of a path: each is a shift in the 64 bits that an octet has in `PATHS`, where the next state stands.
const DEAD: u64 = 0;
/// Behind the `>`.
const END: u64 = 6;
/// An atom must begin.
const LOCAL: u64 = 12;
const IN_ATOM: u64 = 18;
/// A label must begin.
const DOMAIN: u64 = 24;
const IN_LABEL: u64 = 30;
/// Where a label may not end.
const AFTER_DASH: u64 = 36;

static PATHS: [u64; 256] = paths();

const fn paths() -> [u64; 256] {
    let mut table = [0; 256];
    let mut b = 0;
    while b < 128 {
        let octet = b as u8;
        if ATEXT.holds(octet) {
            table[b] |= IN_ATOM << LOCAL | IN_ATOM << IN_ATOM;
        }
        if octet == b'-' {
            table[b] |= AFTER_DASH << IN_LABEL | AFTER_DASH << AFTER_DASH;
        } else if LABEL.holds(octet) {
            table[b] |= IN_LABEL << DOMAIN | IN_LABEL << IN_LABEL | IN_LABEL << AFTER_DASH;
        }
        b += 1;
    }
    table[b'.' as usize] |= LOCAL << IN_ATOM | DOMAIN << IN_LABEL;
    table[b'@' as usize] |= DOMAIN << IN_ATOM;
    table[b'>' as usize] |= END << IN_LABEL;
    table
}

const _: () = assert!(DEAD == 0, "what the table does not name is dead");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_up_to_eight_digits() {
        for (text, value, left) in [
            ("0 ", 0, 1),
            ("7", 7, 0),
            ("123", 123, 0),
            ("20000000\r\n", 20_000_000, 2),
            ("00000042/", 42, 1),
        ] {
            let mut i = Ascii::new(text.as_bytes());
            assert_eq!((i.number(), text.len() - i.at), (Some(value), left), "{text}");
        }
        for bad in ["", "x", "-1", "123456789", "\u{80}1", ":", "/"] {
            assert_eq!(Ascii::new(bad.as_bytes()).number(), None, "{bad}");
        }
    }

    #[test]
    fn a_run_ends_at_the_first_octet_that_is_not_graphic() {
        for len in 0..40 {
            for end in [&b""[..], b" ", b"\r\n", b"\0", b"\x1f", b"\x7f", b"\x80", b"\xff"] {
                let octets = [&vec![b'!'; len / 2][..], &vec![b'~'; len - len / 2], end, b"!!"].concat();
                let expected = if end.is_empty() { len + 2 } else { len };
                assert_eq!(Ascii::new(&octets).graphic().len(), expected, "{len} {end:?}");
            }
        }
        assert_eq!(Ascii::new(b"0123456789=1").plain_xtext(), Some("0123456789"));
        assert_eq!(Ascii::new(b"a+2B").plain_xtext(), Some("a"));
    }

    #[test]
    fn every_octet_in_every_place_of_base64() {
        for at in 0..20 {
            for b in 0..=255u8 {
                let mut octets = *b"AZaz09+/=AZaz09+/=AZ";
                octets[at] = b;
                let expected = if crate::class::BASE64.holds(b) { 20 } else { at };
                assert_eq!(Ascii::new(&octets).base64().len(), expected, "{b:#x} at {at}");
                assert_eq!(Ascii::new(&octets).word_of(crate::class::BASE64).len(), expected);
            }
        }
    }

    #[test]
    fn every_octet_in_every_place_of_a_path() {
        let good = b"a.b@c-d.e>";
        for at in 0..good.len() {
            for b in 0..=255u8 {
                let mut octets = good.to_vec();
                octets[at] = b;
                let found = Ascii::new(&octets).path();
                let text = String::from_utf8(octets[..octets.len() - 1].to_vec()).ok();
                let right = text.as_deref().filter(|text| text.is_ascii() && !text.contains(['"', '[', '>']));
                let right = right
                    .filter(|_| octets.ends_with(b">"))
                    .and_then(|text| crate::Mailbox::parse(text).ok());
                let found = found.map(|(local, domain)| crate::Mailbox::plain(local, domain));
                if b != b'>' {
                    assert_eq!(found, right, "{:?}", octets.escape_ascii().to_string());
                }
            }
        }
    }
}

//! One table of character classes (RFC 3501 section 9).

/// ATOM-CHAR.
pub(crate) const ATOM: u8 = 1;
/// ASTRING-CHAR: ATOM-CHAR or `]`.
pub(crate) const ASTRING: u8 = 2;
/// A tag's characters: ASTRING-CHAR except `+`.
pub(crate) const TAG: u8 = 4;
/// list-char: ATOM-CHAR, the wildcards or `]`.
pub(crate) const LIST: u8 = 8;
/// May stand unescaped in a quoted string: TEXT-CHAR but quote and backslash.
pub(crate) const QUOTED: u8 = 16;
/// A FETCH attribute's or capability's name without its section: ATOM-CHAR but `[`.
pub(crate) const NAME: u8 = 32;
/// An octet above 127.
pub(crate) const HIGH: u8 = 64;

pub(crate) static CLASS: [u8; 256] = classes();

#[inline]
pub(crate) const fn is(byte: u8, class: u8) -> bool {
    CLASS[byte as usize] & class != 0
}

/// The length of the longest prefix of `input` in `class`.
#[inline]
pub(crate) fn span(input: &[u8], class: u8) -> usize {
    let mut n = 0;
    while n < input.len() && is(input[n], class) {
        n += 1;
    }
    n
}

pub(crate) fn all(input: &[u8], class: u8) -> bool {
    input.iter().all(|&b| is(b, class))
}

const fn classes() -> [u8; 256] {
    let mut table = [0; 256];
    let mut i = 0;
    while i < 256 {
        table[i] = class_of(i as u8);
        i += 1;
    }
    table
}

const fn class_of(b: u8) -> u8 {
    let mut class = 0;
    let atom = b > 0x20 && b < 0x7f && !matches!(b, b'(' | b')' | b'{' | b'%' | b'*' | b'"' | b'\\' | b']');
    if atom {
        class |= ATOM | ASTRING | LIST;
        if b != b'+' {
            class |= TAG;
        }
        if b != b'[' {
            class |= NAME;
        }
    }
    if b == b']' {
        class |= ASTRING | TAG | LIST;
    }
    if matches!(b, b'%' | b'*') {
        class |= LIST;
    }
    if b >= 0x80 {
        class |= HIGH;
    } else if !matches!(b, 0 | b'\r' | b'\n' | b'"' | b'\\') {
        class |= QUOTED;
    }
    class
}

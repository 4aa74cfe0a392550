//! Which octets may stand where: one table, and the hand loops over it.

/// The text does not fit the grammar here; the caller says what was wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Syntax;

/// A set of octets: bits of [`TABLE`].
#[derive(Clone, Copy)]
pub(crate) struct Class(u8);

/// Octets of characters beyond ASCII, all of them alike, so that a split never falls inside a character.
const WIDE: u8 = 128;

/// `atext` of RFC 5322 §3.2.3.
pub(crate) const ATEXT: Class = Class(1);
/// What a domain's label may hold; `_` because names in use hold it.
pub(crate) const LABEL: Class = Class(2);
/// `esmtp-value` (RFC 5321 §4.1.2): no blank, no `=`, no control.
pub(crate) const VALUE: Class = Class(4);
/// A keyword: letters, digits, `-`, `_`.
pub(crate) const KEYWORD: Class = Class(8);
/// Printable and blank: what free text is made of.
pub(crate) const PRINT: Class = Class(16);
/// The alphabet of base64, padding included.
pub(crate) const BASE64: Class = Class(32);

static TABLE: [u8; 256] = table();

const fn table() -> [u8; 256] {
    let mut table = [0u8; 256];
    let mut b = 0;
    while b < 256 {
        let octet = b as u8;
        if octet.is_ascii_alphanumeric() {
            table[b] = ATEXT.0 | LABEL.0 | KEYWORD.0 | BASE64.0;
        }
        if octet >= 0x80 {
            table[b] = WIDE;
        }
        if octet.is_ascii_graphic() && octet != b'=' {
            table[b] |= VALUE.0;
        }
        if octet.is_ascii_graphic() || octet == b' ' {
            table[b] |= PRINT.0;
        }
        b += 1;
    }
    let table = add(table, b"!#$%&'*+-/=?^_`{|}~", ATEXT);
    let table = add(table, b"-_", LABEL);
    let table = add(table, b"-_", KEYWORD);
    add(table, b"+/=", BASE64)
}

const fn add(mut table: [u8; 256], octets: &[u8], class: Class) -> [u8; 256] {
    let mut i = 0;
    while i < octets.len() {
        table[octets[i] as usize] |= class.0;
        i += 1;
    }
    table
}

impl Class {
    /// The same with what RFC 6531 §3.3 adds: all characters beyond ASCII.
    #[inline]
    pub(crate) const fn wide(self) -> Self {
        Self(self.0 | WIDE)
    }

    #[inline]
    pub(crate) const fn holds(self, b: u8) -> bool {
        TABLE[b as usize] & self.0 != 0
    }

    /// Whether all of `text` is.
    #[inline]
    pub(crate) fn is_all(self, text: &str) -> bool {
        text.bytes().all(|b| self.holds(b))
    }
}

/// A decimal number that fits; leading zeros are taken.
#[inline]
pub(crate) fn number(text: &str) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    let mut value = 0u64;
    for digit in text.bytes().map(|b| b.wrapping_sub(b'0')) {
        if digit > 9 {
            return None;
        }
        value = value.checked_mul(10)?.checked_add(u64::from(digit))?;
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_hold_what_their_rfcs_say() {
        let count = |class: Class| (0..128u8).filter(|b| class.holds(*b)).count();
        assert_eq!(count(ATEXT), 62 + 19);
        assert_eq!(count(LABEL), 62 + 2);
        assert_eq!(count(KEYWORD), 62 + 2);
        assert_eq!(count(VALUE), 93);
        assert_eq!(count(PRINT), 95);
        assert_eq!(count(BASE64), 62 + 3);
        assert!((128..=255u8).all(|b| !ATEXT.holds(b) && ATEXT.wide().holds(b)));
    }

    #[test]
    fn numbers_that_overflow_are_none() {
        assert_eq!(number("18446744073709551615"), Some(u64::MAX));
        assert_eq!(number("18446744073709551616"), None);
        assert_eq!(number("007"), Some(7));
        assert!(
            ["", "-1", "+1", "1 ", "x", "99999999999999999999999"]
                .into_iter()
                .all(|bad| number(bad).is_none())
        );
    }
}

//! Keywords of the grammar: packed into a number, so that one `match` finds which of a place's words it is.

use crate::chars;
use crate::lex::{In, Res, expected};

/// A word of at most 16 octets in two numbers: its octets from the ninth on, and before that its first eight, the first one
/// lowest. Both are 0 for a longer word. Bit 5 of each octet is set, so that case does not count. It makes no other character of
/// an atom one that a keyword of letters, digits, `-` and `.` has.
pub(crate) type Key = (u64, u64);

type Packed = u128;

const LONGEST: usize = 16;
const ANY_CASE: Packed = Packed::MAX / 0xff * 0x20;

/// The octets that a word of so many has.
static MASKS: [Packed; LONGEST + 1] = masks();

const fn masks() -> [Packed; LONGEST + 1] {
    let mut masks = [0; LONGEST + 1];
    let mut n = 1;
    while n <= LONGEST {
        masks[n] = masks[n - 1] << 8 | 0xff;
        n += 1;
    }
    masks
}

pub(crate) const fn key(word: &str) -> Key {
    let word = word.as_bytes();
    let mut packed: Packed = 0;
    let mut n = word.len();
    if n > LONGEST {
        return (0, 0);
    }
    while n > 0 {
        n -= 1;
        packed = packed << 8 | (word[n] | 0x20) as Packed;
    }
    halves(packed)
}

#[inline]
const fn halves(packed: Packed) -> Key {
    ((packed >> 64) as u64, packed as u64)
}

/// At least one octet of `class`, which must be ASCII, and its key.
#[inline]
pub(crate) fn keyword<'a>(i: In<'a>, class: u8, what: &'static str) -> Res<'a, (In<'a>, Key)> {
    let n = chars::span(i, class);
    if n == 0 {
        return expected(i, what);
    }
    let (word, rest) = i.split_at(n);
    let packed = match (i.first_chunk::<LONGEST>(), MASKS.get(n)) {
        (_, None) => 0,
        (Some(chunk), Some(mask)) => (Packed::from_le_bytes(*chunk) | ANY_CASE) & mask,
        (None, Some(mask)) => (near_the_end(word) | ANY_CASE) & mask,
    };
    Ok((rest, (word, halves(packed))))
}

/// A word of at most 16 octets, as two loads that overlap.
#[inline]
fn near_the_end(word: &[u8]) -> Packed {
    let n = word.len();
    if let (Some(head), Some(tail)) = (word.first_chunk::<8>(), word.last_chunk::<8>()) {
        return Packed::from(u64::from_le_bytes(*head))
            | Packed::from(u64::from_le_bytes(*tail)) << (8 * (n - 8));
    }
    if let (Some(head), Some(tail)) = (word.first_chunk::<4>(), word.last_chunk::<4>()) {
        let (head, tail) = (u64::from(u32::from_le_bytes(*head)), u64::from(u32::from_le_bytes(*tail)));
        return Packed::from(head | tail << (8 * (n - 4)));
    }
    Packed::from(word.iter().rev().fold(0_u64, |packed, b| packed << 8 | u64::from(*b)))
}

/// `keys!(SELECT, RFC822_SIZE = "RFC822.SIZE")`: the keys of words, as constants to match.
macro_rules! keys {
    ($($name:ident $(= $text:literal)?),* $(,)?) => {
        $(const $name: $crate::keyword::Key = $crate::keyword::keys!(@ $name $($text)?);)*
    };
    (@ $name:ident $text:literal) => { $crate::keyword::key($text) };
    (@ $name:ident) => { $crate::keyword::key(stringify!($name)) };
}

pub(crate) use keys;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chars::ATOM;

    const WORDS: [&str; 8] =
        ["a", "feTCH", "BODY.Peek", "x-Zz", "BodyStructure", "uid", "SIXTEEN.OCTETS-X", "x@[`|}~_0123"];

    #[test]
    fn a_keyword_has_the_same_key_in_any_case_and_place() {
        for word in WORDS {
            for text in [word.to_owned(), format!("{word} "), format!("{word} and more than sixteen octets")]
            {
                for text in [text.to_ascii_lowercase(), text.to_ascii_uppercase()] {
                    let (_, (found, packed)) = keyword(text.as_bytes(), ATOM, "").unwrap();
                    assert_eq!((found.len(), packed), (word.len(), key(word)), "{text}");
                }
            }
        }
    }

    #[test]
    fn no_other_word_has_its_key() {
        for other in
            ["b", "fetc", "fetch.", "bodystructures", "sixteen.octets-xx", "NOTIFICATIONOVERFLOW", "ui"]
        {
            let (_, (_, packed)) = keyword(other.as_bytes(), ATOM, "").unwrap();
            assert!(WORDS.iter().all(|word| key(word) != packed), "{other}");
        }
        assert!(keyword(b" x", ATOM, "").is_err());
    }

    #[test]
    fn a_word_near_the_end_is_packed_as_it_is_elsewhere() {
        let word = "ABCDEFGHIJKLMNOP";
        for n in 1..=word.len() {
            let packed = (near_the_end(&word.as_bytes()[..n]) | ANY_CASE) & MASKS[n];
            assert_eq!(halves(packed), key(&word[..n]), "{n}");
        }
    }
}

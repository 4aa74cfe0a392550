//! The letters that mark a message.

use std::fmt;

/// A set of flag letters: `A`–`Z` (system flags) and `a`–`z` (keywords 0–25).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Flags(u64);

impl Flags {
    /// No flag.
    pub const EMPTY: Self = Self(0);
    /// `D`, IMAP's `\Draft`.
    pub const DRAFT: Self = Self::upper(b'D');
    /// `F`, IMAP's `\Flagged`.
    pub const FLAGGED: Self = Self::upper(b'F');
    /// `P`, passed on (resent, forwarded or bounced); IMAP has no such flag.
    pub const PASSED: Self = Self::upper(b'P');
    /// `R`, IMAP's `\Answered`.
    pub const REPLIED: Self = Self::upper(b'R');
    /// `S`, IMAP's `\Seen`.
    pub const SEEN: Self = Self::upper(b'S');
    /// `T`, IMAP's `\Deleted`.
    pub const TRASHED: Self = Self::upper(b'T');
    /// The five that IMAP knows.
    pub const IMAP: Self =
        Self(Self::DRAFT.0 | Self::FLAGGED.0 | Self::REPLIED.0 | Self::SEEN.0 | Self::TRASHED.0);
    /// All keyword letters.
    pub const KEYWORDS: Self = Self(((1 << 26) - 1) << 26);

    const fn upper(letter: u8) -> Self {
        Self(1 << (letter - b'A'))
    }

    /// The flag of one ASCII letter.
    pub const fn letter(letter: u8) -> Option<Self> {
        match letter {
            b'A'..=b'Z' => Some(Self(1 << (letter - b'A'))),
            b'a'..=b'z' => Some(Self(1 << (26 + letter - b'a'))),
            _ => None,
        }
    }

    /// The letter of keyword number `index` (0–25).
    pub const fn keyword(index: u8) -> Option<Self> {
        match index {
            0..26 => Some(Self(1 << (26 + index))),
            _ => None,
        }
    }

    /// The set as bits: `A` is bit 0, `a` is bit 26.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// The set of these bits; those above bit 51 are dropped.
    pub const fn from_bits_truncate(bits: u64) -> Self {
        Self(bits & ((1 << 52) - 1))
    }

    /// Flags in either.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Flags in both.
    #[must_use]
    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Flags in `self` and not in `other`.
    #[must_use]
    pub const fn minus(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Are all of `other` in `self`?
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Is there no flag?
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The letters in ASCII order.
    pub fn letters(self) -> impl Iterator<Item = u8> {
        (b'A'..=b'Z')
            .chain(b'a'..=b'z')
            .enumerate()
            .filter(move |(i, _)| self.0 >> i & 1 == 1)
            .map(|(_, b)| b)
    }

    /// The numbers of the keywords in the set.
    pub fn keyword_indexes(self) -> impl Iterator<Item = u8> {
        (0..26).filter(move |i| self.0 >> (26 + i) & 1 == 1)
    }
}

impl fmt::Debug for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letters: String = self.letters().map(char::from).collect();
        write!(f, "Flags({letters})")
    }
}

//! File names: who a message is (its base name) and how it is marked (its flags).
//!
//! Names are bytes. Parsing keeps every byte: rendering an unchanged name gives the name that was
//! read, and a change of flags touches letters only (reference: Dovecot's habits, §1.2).

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use crate::flags::Flags;

/// Longest file name that common file systems take, in bytes.
const NAME_MAX: usize = 255;

/// Why bytes are not the name of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// No bytes at all, or nothing before the first `:`.
    #[error("the base name is empty")]
    Empty,
    /// Names that begin with a dot are not messages.
    #[error("the name begins with a dot")]
    Hidden,
    /// `/`, NUL, CR or LF, or a `:` in a base name.
    #[error("the name contains the byte {0:#04x}")]
    Forbidden(u8),
    /// More than 255 bytes.
    #[error("the name is {0} bytes long, more than 255")]
    TooLong(usize),
}

/// All of a file name before its first `:`; the identity of a message (GUID, UIDL, uidlist key).
///
/// Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BaseName(Arc<[u8]>);

impl BaseName {
    /// Checks that `bytes` can be a base name.
    pub fn parse(bytes: &[u8]) -> Result<Self, NameError> {
        check(bytes)?;
        match bytes.contains(&b':') {
            true => Err(NameError::Forbidden(b':')),
            false => Ok(Self(bytes.into())),
        }
    }

    /// Can this be a base name?
    pub(crate) fn is_base(bytes: &[u8]) -> bool {
        check(bytes).is_ok() && !bytes.contains(&b':')
    }

    /// Of bytes that were checked before.
    pub(crate) fn checked(bytes: &[u8]) -> Self {
        debug_assert!(Self::is_base(bytes));
        Self(bytes.into())
    }

    /// The name's bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The size on disk that the name claims (`,S=`), in bytes.
    pub fn size(&self) -> Option<u64> {
        self.field(b'S')
    }

    /// The size with CRLF line ends that the name claims (`,W=`), in bytes.
    pub fn wire_size(&self) -> Option<u64> {
        self.field(b'W')
    }

    /// Seconds since 1970 and microseconds that begin the name; 0 where it has none.
    pub fn arrival(&self) -> (u64, u64) {
        let (secs, rest) = number(&self.0);
        let usec = rest.strip_prefix(b".M").map_or(0, |rest| number(rest).0);
        (secs, usec)
    }

    /// The same name with `,S=` and `,W=` added, or as it is if it has an `,S=` already.
    pub fn with_sizes(&self, size: u64, wire_size: u64) -> Result<Self, NameError> {
        match self.size() {
            Some(_) => Ok(self.clone()),
            None => Self::parse(&[&self.0, format!(",S={size},W={wire_size}").as_bytes()].concat()),
        }
    }

    /// All before the first comma: what the name's maker chose.
    pub fn stem(&self) -> &[u8] {
        stem(&self.0)
    }

    fn field(&self, key: u8) -> Option<u64> {
        field(&self.0, key)
    }
}

/// All of a base name before its first comma.
pub(crate) fn stem(base: &[u8]) -> &[u8] {
    base.split(|b| *b == b',').next().unwrap_or(base)
}

/// A number that a base name carries (`,S=12`); digits only.
pub(crate) fn field(base: &[u8], key: u8) -> Option<u64> {
    base.split(|b| *b == b',').skip(1).find_map(|field| match field {
        [k, b'=', digits @ ..] if *k == key && digits.iter().all(u8::is_ascii_digit) => {
            std::str::from_utf8(digits).ok()?.parse().ok()
        }
        _ => None,
    })
}

impl Borrow<[u8]> for BaseName {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for BaseName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BaseName({})", self.0.escape_ascii())
    }
}

impl fmt::Display for BaseName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.escape_ascii().fmt(f)
    }
}

/// A message's file name in `new` or `cur`: base name, flags, and what other programs added.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct FileName {
    raw: Box<[u8]>,
    base_len: u16,
    /// Where the flag letters are; both 0 if the name has no `:2,`. A name that got flags may be
    /// longer than any that is read.
    flags_from: u16,
    flags_to: u16,
}

impl FileName {
    /// Parses a name as found in a directory. Flags stand after the last `:` if that is `:2,`.
    pub fn parse(raw: &[u8]) -> Result<Self, NameError> {
        check(raw)?;
        let base_len = raw.iter().position(|b| *b == b':').unwrap_or(raw.len());
        if base_len == 0 {
            return Err(NameError::Empty);
        }
        let (from, to) = flags_span(raw).unwrap_or((0, 0));
        Ok(Self { raw: raw.into(), base_len: base_len as u16, flags_from: from as u16, flags_to: to as u16 })
    }

    /// Can this be the name of a message?
    pub fn is_message(raw: &[u8]) -> bool {
        check(raw).is_ok() && raw[0] != b':'
    }

    /// As [`FileName::is_message`], of a name that a directory holds: what no directory can hold is
    /// not looked for.
    pub(crate) fn is_message_entry(raw: &[u8]) -> bool {
        !matches!(raw.first(), None | Some(b'.' | b':')) && !has_line_end(raw)
    }

    /// Base name and flags of a name as found in a directory, without keeping it.
    pub fn split(raw: &[u8]) -> Option<(&[u8], Flags)> {
        if !Self::is_message(raw) {
            return None;
        }
        let base = raw.split(|b| *b == b':').next()?;
        let (from, to) = flags_span(raw).unwrap_or((0, 0));
        Some((base, letters(&raw[from..to])))
    }

    /// The canonical name of a message in `cur`: `base:2,` and its flags.
    pub fn new(base: &BaseName, flags: Flags) -> Self {
        Self::canonical(base.as_bytes(), flags)
    }

    /// As [`FileName::new`], of a base name that was checked before.
    pub(crate) fn canonical(base: &[u8], flags: Flags) -> Self {
        let mut raw = Vec::with_capacity(base.len() + b":2,".len() + flags.bits().count_ones() as usize);
        raw.extend_from_slice(base);
        raw.extend_from_slice(b":2,");
        let from = raw.len();
        raw.extend(flags.letters());
        let (flags_from, flags_to) = (from as u16, raw.len() as u16);
        Self { raw: raw.into(), base_len: base.len() as u16, flags_from, flags_to }
    }

    /// The flags, if base name and flags are all that there is, as [`FileName::new`] writes it.
    pub(crate) fn canonical_flags(&self) -> Option<Flags> {
        let flags = self.flags();
        let bare = self.flags_from == self.base_len + 3 && self.tail().is_empty();
        (bare && self.flag_bytes().iter().copied().eq(flags.letters())).then_some(flags)
    }

    /// The whole name, as it was read.
    pub fn as_bytes(&self) -> &[u8] {
        &self.raw
    }

    /// The bytes of the base name.
    pub fn base_bytes(&self) -> &[u8] {
        &self.raw[..usize::from(self.base_len)]
    }

    /// The base name.
    pub fn base(&self) -> BaseName {
        BaseName(self.base_bytes().into())
    }

    /// The size on disk that the name claims (`,S=`), in bytes.
    pub fn base_size(&self) -> Option<u64> {
        field(self.base_bytes(), b'S')
    }

    /// The letters among the flags; what is no ASCII letter is kept in the name but not shown.
    pub fn flags(&self) -> Flags {
        letters(self.flag_bytes())
    }

    /// The same name with other flags, sorted, each once. Odd characters among the flags and
    /// everything after a second comma stay.
    pub fn with_flags(&self, flags: Flags) -> Self {
        let mut raw = self.head().to_vec();
        raw.extend_from_slice(b":2,");
        let from = raw.len();
        raw.extend(flags.letters());
        raw.extend(self.flag_bytes().iter().filter(|b| Flags::letter(**b).is_none()));
        raw[from..].sort_unstable();
        let mut last = None;
        let mut sorted = raw.split_off(from);
        sorted.retain(|b| last.replace(*b) != Some(*b));
        raw.append(&mut sorted);
        let to = raw.len();
        raw.extend_from_slice(self.tail());
        Self { raw: raw.into(), base_len: self.base_len, flags_from: from as u16, flags_to: to as u16 }
    }

    /// Is the name longer than file systems take? A change of flags can make it so.
    pub(crate) fn is_too_long(&self) -> bool {
        self.raw.len() > NAME_MAX
    }

    /// The same flags and additions under another base name.
    pub fn with_base(&self, base: &BaseName) -> Self {
        let mut moved = Self::new(base, self.flags());
        let mut raw = moved.raw.to_vec();
        raw.extend_from_slice(self.tail());
        moved.raw = raw.into();
        moved
    }

    fn flag_bytes(&self) -> &[u8] {
        &self.raw[usize::from(self.flags_from)..usize::from(self.flags_to)]
    }

    /// What stands before the `:2,`; without one, the base.
    fn head(&self) -> &[u8] {
        match self.flags_from {
            0 => self.base_bytes(),
            from => &self.raw[..usize::from(from) - 3],
        }
    }

    fn tail(&self) -> &[u8] {
        match self.flags_from {
            0 => &[],
            _ => &self.raw[usize::from(self.flags_to)..],
        }
    }
}

impl fmt::Debug for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FileName({})", self.raw.escape_ascii())
    }
}

fn check(raw: &[u8]) -> Result<(), NameError> {
    match raw.first() {
        None => return Err(NameError::Empty),
        Some(b'.') => return Err(NameError::Hidden),
        Some(_) => {}
    }
    // Room for ":2," and a few flags is the caller's care: names this long exist, and are read.
    if raw.len() > NAME_MAX {
        return Err(NameError::TooLong(raw.len()));
    }
    let is_bad = |b: u8| (b == b'/') | (b == 0) | (b == b'\r') | (b == b'\n');
    // Without branches: so the compiler looks at many bytes at a time.
    match raw.iter().fold(false, |bad, b| bad | is_bad(*b)) {
        true => Err(NameError::Forbidden(raw.iter().copied().find(|b| is_bad(*b)).unwrap_or(0))),
        false => Ok(()),
    }
}

/// Is there a CR or LF? Eight bytes at a time.
fn has_line_end(raw: &[u8]) -> bool {
    const ONES: u64 = u64::MAX / 255;
    let has = |word: u64, byte: u8| {
        let zero = word ^ (ONES * u64::from(byte));
        zero.wrapping_sub(ONES) & !zero & (ONES << 7)
    };
    let found = |word: [u8; 8]| {
        let word = u64::from_ne_bytes(word);
        has(word, b'\r') | has(word, b'\n')
    };
    let (words, rest) = raw.as_chunks();
    let whole = words.iter().fold(0, |all, word| all | found(*word));
    whole != 0 || rest.iter().any(|b| matches!(b, b'\r' | b'\n'))
}

fn letters(bytes: &[u8]) -> Flags {
    bytes.iter().filter_map(|b| Flags::letter(*b)).fold(Flags::EMPTY, Flags::union)
}

fn flags_span(raw: &[u8]) -> Option<(usize, usize)> {
    let colon = raw.iter().rposition(|b| *b == b':')?;
    let letters = raw[colon..].strip_prefix(b":2,")?;
    let len = letters.iter().position(|b| *b == b',').unwrap_or(letters.len());
    Some((colon + 3, colon + 3 + len))
}

/// The decimal number that `bytes` begin with (saturating), and the rest.
fn number(bytes: &[u8]) -> (u64, &[u8]) {
    let digits = bytes.iter().take_while(|b| b.is_ascii_digit()).count();
    let value =
        bytes[..digits].iter().fold(0u64, |n, b| n.saturating_mul(10).saturating_add(u64::from(b - b'0')));
    (value, &bytes[digits..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn flagged(name: &[u8], add: Flags) -> Vec<u8> {
        let name = FileName::parse(name).unwrap();
        name.with_flags(name.flags().union(add)).as_bytes().to_vec()
    }

    #[test]
    fn unknown_flags_and_extensions_stay_as_dovecot_keeps_them() {
        let add = Flags::FLAGGED.union(Flags::keyword(0).unwrap());
        assert_eq!(flagged(b"1.2.h:2,PXS,ext=1", add), b"1.2.h:2,FPSXa,ext=1");
    }

    #[test]
    fn unsorted_flags_are_read_and_written_sorted() {
        assert_eq!(flagged(b"1.2.h:2,TS", Flags::REPLIED), b"1.2.h:2,RST");
    }

    #[test]
    fn a_second_colon_ends_no_base_and_hides_no_flags() {
        let name = FileName::parse(b"1.h,U=103:2:2,RS").unwrap();
        assert_eq!(name.base_bytes(), b"1.h,U=103");
        assert_eq!(name.flags(), Flags::REPLIED.union(Flags::SEEN));
    }

    #[test]
    fn flags_on_a_name_of_full_length_are_kept_though_no_file_system_takes_it() {
        let name = FileName::parse(&[b'a'; NAME_MAX]).unwrap();
        let marked = name.with_flags(Flags::SEEN.union(Flags::FLAGGED));
        assert_eq!(marked.as_bytes(), [&[b'a'; NAME_MAX][..], b":2,FS"].concat());
        assert_eq!(marked.flags(), Flags::SEEN.union(Flags::FLAGGED));
        assert_eq!(marked.with_flags(Flags::SEEN).as_bytes(), [&[b'a'; NAME_MAX][..], b":2,S"].concat());
    }

    #[test]
    fn sizes_and_arrival_are_read_from_the_name() {
        let base = BaseName::parse(b"1700.M000042P1.h,S=12,W=15").unwrap();
        assert_eq!((base.size(), base.wire_size(), base.arrival()), (Some(12), Some(15), (1700, 42)));
        assert_eq!(BaseName::parse(b"x,S=,W=a").unwrap().size(), None);
    }

    #[test]
    fn hidden_empty_and_broken_names_are_no_messages() {
        assert_eq!(FileName::parse(b":2,S"), Err(NameError::Empty));
        assert_eq!(FileName::parse(b".nfs1"), Err(NameError::Hidden));
        assert_eq!(FileName::parse(b"a\nb"), Err(NameError::Forbidden(b'\n')));
        assert_eq!(FileName::parse(&[b'a'; 256]), Err(NameError::TooLong(256)));
    }

    proptest! {
        #[test]
        fn line_ends_are_found_wherever_they_are(raw in prop::collection::vec(0u8..32, 1..40)) {
            let has = raw.iter().any(|b| matches!(b, b'\r' | b'\n'));
            prop_assert_eq!(has_line_end(&raw), has);
            prop_assert_eq!(FileName::is_message_entry(&raw), !has);
        }

        #[test]
        fn any_name_is_kept_byte_for_byte(raw in prop::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(name) = FileName::parse(&raw) {
                prop_assert_eq!(name.as_bytes(), &raw[..]);
            }
        }

        #[test]
        fn a_change_of_flags_touches_letters_only(
            base in "[a-z0-9.,=]{1,20}", flags in "[A-Za-z0-9!]{0,8}", tail in "(,[ -9;-~&&[^/]]{0,8})?", bits in any::<u64>(),
        ) {
            prop_assume!(!base.starts_with('.'));
            let raw = format!("{base}:2,{flags}{tail}");
            let name = FileName::parse(raw.as_bytes()).unwrap();
            let wanted = Flags::from_bits_truncate(bits);
            let changed = name.with_flags(wanted);
            prop_assert_eq!(changed.flags(), wanted);
            prop_assert_eq!(changed.base_bytes(), base.as_bytes());
            prop_assert!(changed.as_bytes().ends_with(tail.as_bytes()));
            prop_assert_eq!(changed.with_flags(wanted), changed.clone());
            prop_assert_eq!(FileName::parse(changed.as_bytes()).unwrap(), changed);
        }
    }
}

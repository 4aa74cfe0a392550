//! `dovecot-uidlist`: which UID each base name has. Pure text in, text out; no I/O.
//!
//! ```text
//! 3 V<uidvalidity> N<next uid> G<32 hex> [<letter><value> …]
//! <uid> [<A-Z><value> …] :<base name>
//! ```
//! UIDs ascend strictly; the next UID is the larger of `N` and the last + 1. Lines are only ever
//! appended, or the file is replaced whole. Version 1 (Courier's) is read, never written.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use hashbrown::HashTable;

use crate::name::{BaseName, stem};

/// One message that ever had a UID here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// The UID, at least 1.
    pub uid: u32,
    /// The message's base name.
    pub base: &'a [u8],
    /// Record keys as read (`S12 W13 P…`), kept when the file is rewritten.
    pub fields: &'a [u8],
}

/// A header that cannot be read: the file is of no use. The caller must take a new UIDVALIDITY.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("dovecot-uidlist has no readable header")]
pub struct BadHeader;

/// The content of a `dovecot-uidlist`. Takes the names' bytes and about 15 more a message.
#[derive(Debug, Clone)]
pub struct UidList {
    validity: u32,
    next: u64,
    /// Header fields other than V and N, as read.
    header: Vec<Box<[u8]>>,
    /// UIDs ascending.
    places: Vec<Place>,
    /// The base names, one behind the other.
    names: Vec<u8>,
    /// By UID; few files have any.
    fields: HashMap<u32, Box<[u8]>>,
    /// Where in `places` a message is, by a hash of what its base name has before its first comma.
    index: HashTable<u32>,
    hasher: RandomState,
    /// Must be replaced before it may be appended to: version 1, damage, or a torn last line.
    rewrite: bool,
}

/// A UID, and where its name ends: it begins where the one before it ends.
#[derive(Debug, Clone, Copy)]
struct Place {
    uid: u32,
    end: u32,
}

impl UidList {
    /// An empty list. `guid` identifies the mailbox for Dovecot.
    pub fn new(validity: u32, guid: u128) -> Self {
        Self {
            validity,
            next: 1,
            header: vec![format!("G{guid:032x}").into_bytes().into()],
            places: Vec::new(),
            names: Vec::new(),
            fields: HashMap::new(),
            index: HashTable::new(),
            hasher: RandomState::new(),
            rewrite: true,
        }
    }

    /// Reads a whole file. Returns also how many bytes were used: up to its last line end.
    pub fn parse(bytes: &[u8]) -> Result<(Self, usize), BadHeader> {
        let end = bytes.iter().position(|b| *b == b'\n').ok_or(BadHeader)?;
        let mut list = parse_header(&bytes[..end]).ok_or(BadHeader)?;
        let used = list.extend(&bytes[end + 1..]);
        list.names.shrink_to_fit();
        list.places.shrink_to_fit();
        Ok((list, end + 1 + used))
    }

    /// Reads lines appended since; returns how many bytes were used. What follows the last line
    /// end was torn by a crash, or is being written: it is not used.
    pub fn extend(&mut self, bytes: &[u8]) -> usize {
        let used = bytes.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
        for line in bytes[..used].split_inclusive(|b| *b == b'\n') {
            self.read_line(&line[..line.len() - 1]);
        }
        self.rewrite |= used < bytes.len();
        used
    }

    /// UIDVALIDITY.
    pub fn validity(&self) -> u32 {
        self.validity
    }

    /// The UID that the next message gets; `None` when all 2^32 − 1 are used.
    pub fn next_uid(&self) -> Option<u32> {
        u32::try_from(self.next).ok()
    }

    /// All records, UIDs ascending.
    pub fn records(&self) -> impl ExactSizeIterator<Item = Record<'_>> {
        (0..self.places.len()).map(|at| self.at(at))
    }

    /// The record of a UID.
    pub fn record(&self, uid: u32) -> Option<Record<'_>> {
        self.places.binary_search_by_key(&uid, |place| place.uid).ok().map(|at| self.at(at))
    }

    /// The UID of a base name, present or expunged.
    pub fn uid(&self, base: &[u8]) -> Option<u32> {
        self.newest(stem(base), |record| record.base == base)
    }

    /// The UID of the message whose base name is `stem` before its first comma. Sizes may follow
    /// that the asker does not know.
    pub fn uid_of_stem(&self, wanted: &[u8]) -> Option<u32> {
        self.newest(wanted, |record| stem(record.base) == wanted)
    }

    fn newest(&self, stem: &[u8], is_it: impl Fn(&Record<'_>) -> bool) -> Option<u32> {
        let found = self.index.iter_hash(self.hasher.hash_one(stem));
        found.map(|at| self.at(*at as usize)).filter(is_it).map(|record| record.uid).max()
    }

    fn at(&self, at: usize) -> Record<'_> {
        let Place { uid, end } = self.places[at];
        let from = at.checked_sub(1).map_or(0, |before| self.places[before].end);
        let fields = match self.fields.is_empty() {
            true => &[],
            false => self.fields.get(&uid).map_or(&[][..], |fields| fields),
        };
        Record { uid, base: &self.names[from as usize..end as usize], fields }
    }

    /// About how many bytes it takes.
    pub(crate) fn memory(&self) -> usize {
        self.names.capacity() + self.places.capacity() * size_of::<Place>() + self.index.allocation_size()
    }

    /// Gives the mailbox a GUID if it has none (version 1).
    pub fn ensure_guid(&mut self, guid: u128) {
        if !self.header.iter().any(|field| field.first() == Some(&b'G')) {
            self.header.push(format!("G{guid:032x}").into_bytes().into());
        }
    }

    /// Must the file be replaced by [`UidList::render`] instead of being appended to?
    pub fn needs_rewrite(&self) -> bool {
        self.rewrite
    }

    /// The caller has replaced the file by [`UidList::render`].
    pub fn rewritten(&mut self) {
        self.rewrite = false;
    }

    /// Gives `base` the next UID, in memory. `None` if there is none left.
    pub fn assign(&mut self, base: &BaseName) -> Option<Record<'_>> {
        self.assign_at_least(base, 1)
    }

    /// Gives `base` the next UID that is not below `least`, in memory. `None` if there is none.
    pub fn assign_at_least(&mut self, base: &BaseName, least: u32) -> Option<Record<'_>> {
        let uid = self.next_uid()?.max(least);
        let pushed = self.push(Record { uid, base: base.as_bytes(), fields: &[] });
        pushed.then(|| self.at(self.places.len() - 1))
    }

    /// Takes back the newest `count` assignments, which nobody has been told.
    pub fn forget_last(&mut self, count: usize) {
        let kept = self.places.len() - count;
        self.keep(|at, _| at < kept);
        // `next` stays: a line may have reached the disk all the same. The file is replaced, so
        // that half a line cannot stand in it.
        self.rewrite = true;
    }

    /// Keeps the records for which `keep` is true. The file must then be replaced.
    pub fn retain(&mut self, mut keep: impl FnMut(&Record<'_>) -> bool) {
        self.keep(|_, record| keep(record));
        self.rewrite = true;
    }

    fn keep(&mut self, mut keep: impl FnMut(usize, &Record<'_>) -> bool) {
        let old = self.clone();
        self.places.clear();
        self.names.clear();
        self.fields.clear();
        self.index.clear();
        for (at, record) in old.records().enumerate() {
            if keep(at, &record) {
                self.push(record);
            }
        }
    }

    /// The file's bytes.
    pub fn render(&self) -> Vec<u8> {
        let mut out = format!("3 V{} N{}", self.validity, self.next).into_bytes();
        for field in &self.header {
            out.push(b' ');
            out.extend_from_slice(field);
        }
        out.push(b'\n');
        for record in self.records() {
            record.render(&mut out);
        }
        out
    }

    fn read_line(&mut self, line: &[u8]) {
        let record = parse_record(line);
        let record = record.filter(|record| u64::from(record.uid) >= self.floor());
        let record = record.filter(|record| self.uid(record.base).is_none());
        if !record.is_some_and(|record| self.push(record)) {
            self.note_damage(line.len());
        }
    }

    /// Whatever stood in a damaged line may have been UIDs that clients know: skip more numbers
    /// than it can have held.
    fn note_damage(&mut self, len: usize) {
        tracing::warn!(len, "dovecot-uidlist: a line cannot be read; its messages get new UIDs");
        self.next = self.next.max(self.floor()).saturating_add(len as u64 + 1);
        self.rewrite = true;
    }

    fn floor(&self) -> u64 {
        self.places.last().map_or(1, |last| u64::from(last.uid) + 1)
    }

    /// Adds a record; false if four gigabytes of names are there already.
    fn push(&mut self, record: Record<'_>) -> bool {
        let Ok(end) = u32::try_from(self.names.len() + record.base.len()) else { return false };
        self.next = self.next.max(u64::from(record.uid) + 1);
        self.names.extend_from_slice(record.base);
        if !record.fields.is_empty() {
            self.fields.insert(record.uid, record.fields.into());
        }
        let at = self.places.len() as u32;
        self.places.push(Place { uid: record.uid, end });
        let (places, names, hasher) = (&self.places, &self.names, &self.hasher);
        let hash_of = |at: &u32| {
            let from = at.checked_sub(1).map_or(0, |before| places[before as usize].end);
            hasher.hash_one(stem(&names[from as usize..places[*at as usize].end as usize]))
        };
        self.index.insert_unique(hash_of(&at), at, hash_of);
        true
    }
}

impl Record<'_> {
    /// Appends the record's line.
    pub fn render(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.uid.to_string().as_bytes());
        out.push(b' ');
        if !self.fields.is_empty() {
            out.extend_from_slice(self.fields);
            out.push(b' ');
        }
        out.push(b':');
        out.extend_from_slice(self.base);
        out.push(b'\n');
    }
}

fn parse_header(line: &[u8]) -> Option<UidList> {
    let mut words = line.split(|b| *b == b' ').filter(|word| !word.is_empty());
    let version = words.next()?;
    let mut list = UidList::new(0, 0);
    list.header.clear();
    match version {
        b"1" => {
            list.validity = decimal(words.next()?)?;
            list.next = u64::from(decimal(words.next()?)?);
        }
        b"3" => {
            list.rewrite = false;
            for word in words {
                match word {
                    [b'V', digits @ ..] => list.validity = decimal(digits)?,
                    [b'N', digits @ ..] => list.next = number(digits)?,
                    other => list.header.push(other.into()),
                }
            }
        }
        _ => return None,
    }
    (list.validity != 0 && list.next != 0).then_some(list)
}

fn parse_record(line: &[u8]) -> Option<Record<'_>> {
    let space = line.iter().position(|b| *b == b' ')?;
    let uid = decimal(&line[..space]).filter(|uid| *uid != 0)?;
    let rest = &line[space + 1..];
    // Version 3 has a colon before the name; version 1 begins with the name, a digit.
    let (fields, name) = match rest.first()? {
        b':' => (&b""[..], &rest[1..]),
        b'A'..=b'Z' => {
            let at = rest.windows(2).position(|pair| pair == b" :")?;
            (&rest[..at], &rest[at + 2..])
        }
        _ => (&b""[..], rest),
    };
    let base = name.split(|b| *b == b':').next()?;
    BaseName::is_base(base).then_some(Record { uid, base, fields })
}

fn decimal(digits: &[u8]) -> Option<u32> {
    number(digits).and_then(|number| u32::try_from(number).ok())
}

/// The next UID of a list whose UIDs are used up is larger than any UID.
fn number(digits: &[u8]) -> Option<u64> {
    let plain = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(digits).ok().filter(|_| plain)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DOVECOTS: &[u8] =
        b"3 V1700000000 N3 G0123456789abcdef0123456789abcdef X9\n1 S10 W12 P :a:2,S\n11 :b\n";

    #[test]
    fn a_dovecot_uidlist_is_read_and_rewritten_with_all_it_says() {
        let (list, used) = UidList::parse(DOVECOTS).unwrap();
        assert_eq!(used, DOVECOTS.len());
        assert_eq!((list.validity(), list.next_uid(), list.uid(b"a")), (1_700_000_000, Some(12), Some(1)));
        let expected = b"3 V1700000000 N12 G0123456789abcdef0123456789abcdef X9\n1 S10 W12 P :a\n11 :b\n";
        assert_eq!(list.render(), expected);
        assert!(!list.needs_rewrite());
    }

    #[test]
    fn couriers_version_1_is_read_and_must_be_rewritten() {
        let (list, _) = UidList::parse(b"1 77 5\n3 1700.x.host\n").unwrap();
        assert_eq!((list.validity(), list.next_uid(), list.uid(b"1700.x.host")), (77, Some(5), Some(3)));
        assert!(list.needs_rewrite());
    }

    #[test]
    fn a_torn_last_line_is_not_used_and_forces_a_rewrite() {
        let (list, used) = UidList::parse(b"3 V1 N1\n1 :a\n2 :b").unwrap();
        assert_eq!((used, list.next_uid(), list.needs_rewrite()), (13, Some(2), true));
    }

    #[test]
    fn a_damaged_line_never_leads_to_a_reused_uid() {
        let (list, _) = UidList::parse(b"3 V1 N1\n1 :a\n\0\0\0\0 2 :b\n").unwrap();
        assert!(list.next_uid().unwrap() > 2);
        let (list, _) = UidList::parse(b"3 V1 N1\n5 :a\n3 :b\n").unwrap();
        assert_eq!(list.uid(b"b"), None, "UIDs must ascend");
    }

    #[test]
    fn a_file_without_a_header_is_refused() {
        for bad in
            [&b""[..], b"3 V1 N1", b"3 V0 N1\n", b"4 V1 N1\n", b"3 V99999999999 N1\n", b"\n", b"3 V1 Nx\n"]
        {
            assert!(UidList::parse(bad).is_err(), "{}", bad.escape_ascii());
        }
    }

    #[test]
    fn the_last_uid_is_followed_by_none() {
        let (mut list, _) = UidList::parse(b"3 V1 N4294967295\n").unwrap();
        assert_eq!(list.assign(&BaseName::parse(b"a").unwrap()).unwrap().uid, u32::MAX);
        assert!(list.assign(&BaseName::parse(b"b").unwrap()).is_none());
        let (again, _) = UidList::parse(&list.render()).unwrap();
        assert_eq!((again.uid(b"a"), again.next_uid()), (Some(u32::MAX), None), "it can be read again");
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic_and_rewriting_is_stable(tail in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut bytes = b"3 V1 N1\n".to_vec();
            bytes.extend(tail);
            let (list, used) = UidList::parse(&bytes).unwrap();
            prop_assert!(used <= bytes.len());
            let (again, _) = UidList::parse(&list.render()).unwrap();
            prop_assert!(again.records().eq(list.records()));
            prop_assert_eq!(again.next_uid(), list.next_uid());
        }

        #[test]
        fn a_uidlist_cut_anywhere_keeps_the_whole_lines_before_the_cut(cut in 24usize..DOVECOTS.len()) {
            if let Ok((list, used)) = UidList::parse(&DOVECOTS[..cut]) {
                let (full, _) = UidList::parse(DOVECOTS).unwrap();
                let (all, some) = (full.records(), list.records().len());
                prop_assert!(all.take(some).eq(list.records()));
                prop_assert!(used <= cut);
            }
        }
    }
}

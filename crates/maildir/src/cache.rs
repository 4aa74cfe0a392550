//! The formats of the two files of our own in a mailbox. Pure bytes in, bytes out; no I/O.
//!
//! `posthaste-cache`, what message files say, so that they need not be opened. It may be removed
//! at any time. All numbers are little-endian.
//!
//! ```text
//! "PHcache1"  kind u32  uid_validity u32  crc32 u32 of what is before
//! len u32     crc32 u32 of the len bytes that follow:
//!             uid u32  wire_size u64  modified: seconds i64, nanoseconds u32  digest bytes
//! …
//! ```
//! `posthaste-modseq`, the change numbers that clients were told. Replaced whole. Without it,
//! clients read the mailbox anew.
//!
//! ```text
//! "PHmodsq1"  uid_validity u32  uid_next u32  modseq u64  floor u64  messages u32  vanished u32
//! messages × (uid u32  modseq u64  flags u64)   vanished × (modseq u64  uid u32)
//! crc32 u32 of all before
//! ```

use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub(crate) const HEADER_LEN: usize = 20;
const MAGIC: &[u8; 8] = b"PHcache1";
const RECORD_HEAD: usize = 8;
const FACTS_LEN: usize = 24;
/// The largest digest that is kept, in bytes.
pub(crate) const DIGEST_MAX: usize = 1 << 20;

/// What is kept of one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record<'a> {
    pub(crate) uid: u32,
    pub(crate) wire_size: u64,
    pub(crate) modified: SystemTime,
    pub(crate) digest: &'a [u8],
}

/// The file's first bytes.
pub(crate) fn header(kind: u32, validity: u32) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    out.extend(kind.to_le_bytes());
    out.extend(validity.to_le_bytes());
    out.extend(crc32fast::hash(&out).to_le_bytes());
    out
}

impl<'a> Record<'a> {
    pub(crate) fn render(&self, out: &mut Vec<u8>) {
        let mut body = Vec::with_capacity(FACTS_LEN + self.digest.len());
        body.extend(self.uid.to_le_bytes());
        body.extend(self.wire_size.to_le_bytes());
        let (secs, nanos) = parts(self.modified);
        body.extend(secs.to_le_bytes());
        body.extend(nanos.to_le_bytes());
        body.extend(self.digest);
        out.extend((body.len() as u32).to_le_bytes());
        out.extend(crc32fast::hash(&body).to_le_bytes());
        out.extend(body);
    }

    /// The length of [`Record::render`].
    pub(crate) fn rendered_len(&self) -> usize {
        RECORD_HEAD + FACTS_LEN + self.digest.len()
    }

    /// The record that `bytes` begin with, and its length; `None` if it is cut off or damaged.
    pub(crate) fn parse(bytes: &'a [u8]) -> Option<(Self, usize)> {
        let len = u32_at(bytes, 0)? as usize;
        if !(FACTS_LEN..=FACTS_LEN + DIGEST_MAX).contains(&len) {
            return None;
        }
        let body = bytes.get(RECORD_HEAD..RECORD_HEAD + len)?;
        if crc32fast::hash(body) != u32_at(bytes, 4)? {
            return None;
        }
        let modified = time(u64_at(body, 12)? as i64, u32_at(body, 20)?);
        let (uid, wire_size) = (u32_at(body, 0)?, u64_at(body, 4)?);
        Some((Self { uid, wire_size, modified, digest: &body[FACTS_LEN..] }, RECORD_HEAD + len))
    }
}

/// What clients were told of changes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct ModSeqs {
    pub(crate) validity: u32,
    pub(crate) uid_next: u32,
    pub(crate) modseq: u64,
    pub(crate) floor: u64,
    /// UID, change number, flags; UIDs ascending.
    pub(crate) messages: Vec<(u32, u64, u64)>,
    /// Change number and UID, oldest first.
    pub(crate) vanished: Vec<(u64, u32)>,
}

const MODSEQ_MAGIC: &[u8; 8] = b"PHmodsq1";
const MODSEQ_HEAD: usize = 40;

impl ModSeqs {
    pub(crate) fn render(&self) -> Vec<u8> {
        let mut out = MODSEQ_MAGIC.to_vec();
        out.extend(self.validity.to_le_bytes());
        out.extend(self.uid_next.to_le_bytes());
        out.extend(self.modseq.to_le_bytes());
        out.extend(self.floor.to_le_bytes());
        out.extend((self.messages.len() as u32).to_le_bytes());
        out.extend((self.vanished.len() as u32).to_le_bytes());
        for (uid, modseq, flags) in &self.messages {
            out.extend(uid.to_le_bytes());
            out.extend(modseq.to_le_bytes());
            out.extend(flags.to_le_bytes());
        }
        for (modseq, uid) in &self.vanished {
            out.extend(modseq.to_le_bytes());
            out.extend(uid.to_le_bytes());
        }
        out.extend(crc32fast::hash(&out).to_le_bytes());
        out
    }

    /// `None` if a single bit is not as it was written.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let body = bytes.get(..bytes.len().checked_sub(4)?)?;
        if !body.starts_with(MODSEQ_MAGIC) || crc32fast::hash(body) != u32_at(bytes, body.len())? {
            return None;
        }
        let (messages, vanished) = (u32_at(body, 32)? as usize, u32_at(body, 36)? as usize);
        let gone_at = MODSEQ_HEAD.checked_add(messages.checked_mul(20)?)?;
        if body.len() != gone_at.checked_add(vanished.checked_mul(12)?)? {
            return None;
        }
        let message = |at| Some((u32_at(body, at)?, u64_at(body, at + 4)?, u64_at(body, at + 12)?));
        let gone = |at| Some((u64_at(body, at)?, u32_at(body, at + 8)?));
        Some(Self {
            validity: u32_at(body, 8)?,
            uid_next: u32_at(body, 12)?,
            modseq: u64_at(body, 16)?,
            floor: u64_at(body, 24)?,
            messages: (0..messages).map(|n| message(MODSEQ_HEAD + n * 20)).collect::<Option<_>>()?,
            vanished: (0..vanished).map(|n| gone(gone_at + n * 12)).collect::<Option<_>>()?,
        })
    }
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

fn parts(time: SystemTime) -> (i64, u32) {
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => (after.as_secs() as i64, after.subsec_nanos()),
        // Rounded down to the second: the nanoseconds count up from there.
        Err(before) => {
            let before = before.duration();
            match before.subsec_nanos() {
                0 => (-(before.as_secs() as i64), 0),
                nanos => (-(before.as_secs() as i64) - 1, 1_000_000_000 - nanos),
            }
        }
    }
}

fn time(secs: i64, nanos: u32) -> SystemTime {
    let distance = Duration::from_secs(secs.unsigned_abs());
    let whole = if secs < 0 { UNIX_EPOCH.checked_sub(distance) } else { UNIX_EPOCH.checked_add(distance) };
    whole.and_then(|t| t.checked_add(Duration::from_nanos(nanos.into()))).unwrap_or(UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_record_comes_back_and_no_part_of_it_does(
            uid in any::<u32>(), wire_size in any::<u64>(), secs in -1_000_000_000i64..10_000_000_000,
            nanos in 0u32..1_000_000_000, digest in prop::collection::vec(any::<u8>(), 0..60), cut in any::<prop::sample::Index>(),
        ) {
            let record = Record { uid, wire_size, modified: time(secs, nanos), digest: &digest };
            let mut bytes = Vec::new();
            record.render(&mut bytes);
            prop_assert_eq!(bytes.len(), record.rendered_len());
            prop_assert_eq!(Record::parse(&bytes), Some((record, bytes.len())));
            let at = cut.index(bytes.len());
            prop_assert_eq!(Record::parse(&bytes[..at]), None);
            bytes[at] ^= 1;
            prop_assert_eq!(Record::parse(&bytes), None);
        }

        #[test]
        fn change_numbers_come_back_and_damaged_ones_do_not(
            messages in prop::collection::vec(any::<(u32, u64, u64)>(), 0..5),
            vanished in prop::collection::vec(any::<(u64, u32)>(), 0..5), at in any::<prop::sample::Index>(),
        ) {
            let told = ModSeqs { validity: 1, uid_next: 2, modseq: 3, floor: 4, messages, vanished };
            let mut bytes = told.render();
            prop_assert_eq!(ModSeqs::parse(&bytes), Some(told));
            let at = at.index(bytes.len());
            prop_assert_eq!(ModSeqs::parse(&bytes[..at]), None);
            bytes[at] ^= 1;
            prop_assert_eq!(ModSeqs::parse(&bytes), None);
        }

        #[test]
        fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = (Record::parse(&bytes), ModSeqs::parse(&bytes));
        }
    }
}

//! One record of the log: a batch of operations, or the start of an epoch. Drawn in `docs/format.md`.

use xxhash_rust::xxh3::{Xxh3, xxh3_64_with_seed};

use crate::superblock::BLOCK;

pub(crate) const HEADER: usize = 64;
const MAGIC: u32 = u32::from_le_bytes(*b"PHLR");
pub(crate) const VERSION: u16 = 1;

/// What a record says of itself and of those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    /// Header and payload, in bytes.
    pub(crate) len: u32,
    /// Operations in the payload.
    pub(crate) count: u32,
    /// Where the record begins: bytes ever written to the log before it.
    pub(crate) lsn: u64,
    /// Sequence of the first operation.
    pub(crate) first: u64,
    /// Highest sequence known to be committed when this was written.
    pub(crate) committed: u64,
    pub(crate) epoch: u64,
    /// Hash of the record before.
    pub(crate) prev: u64,
}

/// Why bytes are no record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Bad {
    NoMagic,
    Length,
    Hash,
    /// Whole, but from elsewhere: another lap of the ring.
    Place,
    Newer(u16),
}

impl Header {
    /// Sequence of the last operation.
    pub(crate) fn last(&self) -> u64 {
        self.first + u64::from(self.count) - 1
    }

    /// Where the next record begins.
    pub(crate) fn next_lsn(&self) -> u64 {
        self.lsn + padded(u64::from(self.len))
    }

    /// The header's bytes without the hash.
    fn head(&self) -> [u8; HEADER - 8] {
        let mut out = [0; HEADER - 8];
        out[0..4].copy_from_slice(&MAGIC.to_le_bytes());
        out[4..6].copy_from_slice(&VERSION.to_le_bytes());
        out[8..12].copy_from_slice(&self.len.to_le_bytes());
        out[12..16].copy_from_slice(&self.count.to_le_bytes());
        let longs = [self.lsn, self.first, self.committed, self.epoch, self.prev];
        for (slot, long) in out[16..56].chunks_exact_mut(8).zip(longs) {
            slot.copy_from_slice(&long.to_le_bytes());
        }
        out
    }

    /// Appends the record to `out` and returns its hash.
    pub(crate) fn encode(&self, payload: &[u8], seed: u64, out: &mut Vec<u8>) -> u64 {
        debug_assert_eq!(self.len as usize, HEADER + payload.len());
        let head = self.head();
        let hash = digest(&head, payload, seed);
        out.extend_from_slice(&head);
        out.extend_from_slice(&hash.to_le_bytes());
        out.extend_from_slice(payload);
        hash
    }

    /// Reads the header at the front of `block`, without a proof that the record is whole.
    pub(crate) fn peek(block: &[u8], lsn: u64, len_max: u64) -> Result<Header, Bad> {
        let word = |at: usize| u32::from_le_bytes(block[at..at + 4].try_into().expect("four bytes"));
        let long = |at: usize| u64::from_le_bytes(block[at..at + 8].try_into().expect("eight bytes"));
        if block.len() < HEADER || word(0) != MAGIC {
            return Err(Bad::NoMagic);
        }
        let header = Header {
            len: word(8),
            count: word(12),
            lsn: long(16),
            first: long(24),
            committed: long(32),
            epoch: long(40),
            prev: long(48),
        };
        if (header.len as usize) < HEADER || u64::from(header.len) > len_max || header.count == 0 {
            return Err(Bad::Length);
        }
        if header.lsn != lsn { Err(Bad::Place) } else { Ok(header) }
    }

    /// Proves that `record` is whole, and returns its hash.
    pub(crate) fn verify(record: &[u8], seed: u64) -> Result<u64, Bad> {
        let stored = u64::from_le_bytes(record[HEADER - 8..HEADER].try_into().expect("eight bytes"));
        let found = digest(&record[..HEADER - 8], &record[HEADER..], seed);
        if found != stored {
            return Err(Bad::Hash);
        }
        match u16::from_le_bytes([record[4], record[5]]) {
            VERSION => Ok(found),
            newer => Err(Bad::Newer(newer)),
        }
    }
}

fn digest(head: &[u8], payload: &[u8], seed: u64) -> u64 {
    if payload.is_empty() {
        return xxh3_64_with_seed(head, seed);
    }
    let mut hasher = Xxh3::with_seed(seed);
    hasher.update(head);
    hasher.update(payload);
    hasher.digest()
}

/// Ring space that a record of `len` bytes takes.
pub(crate) fn padded(len: u64) -> u64 {
    len.next_multiple_of(BLOCK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_with_any_flipped_byte_is_no_record() {
        let payload = b"some operations";
        let len = (HEADER + payload.len()) as u32;
        let header = Header { len, count: 3, lsn: 8192, first: 7, committed: 6, epoch: 2, prev: 99 };
        let mut bytes = Vec::new();
        let hash = header.encode(payload, 5, &mut bytes);
        assert_eq!(Header::peek(&bytes, 8192, 4096), Ok(header));
        assert_eq!(Header::verify(&bytes, 5), Ok(hash));
        assert_eq!(Header::verify(&bytes, 6), Err(Bad::Hash), "another volume's key");
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert!(Header::verify(&damaged, 5).is_err(), "byte {at}");
        }
        assert_eq!(Header::peek(&bytes, 4096, 4096), Err(Bad::Place));
        assert_eq!((header.last(), header.next_lsn()), (9, 12288));
    }
}

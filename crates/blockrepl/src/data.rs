//! Bytes with the checksums of their blocks, which are computed once: for the metadata here, and for the frame to or from each peer.

use std::fmt;
use std::ops::{Deref, Range};
use std::sync::{Arc, LazyLock, OnceLock};

use bytes::Bytes;
use crc32fast::Hasher;

use crate::meta::{BLOCK, sum_of_crc};

const LEN: usize = BLOCK as usize;

/// The bytes of a write or of a copy. Cheap to clone, as [`Bytes`] are, and compared by the bytes alone.
#[derive(Clone, Default)]
pub struct Data {
    bytes: Bytes,
    crcs: Arc<OnceLock<Vec<u32>>>,
}

impl Data {
    /// Bytes whose checksums are known as far as `crcs` goes.
    pub(crate) fn with_crcs(bytes: Bytes, mut crcs: Vec<u32>) -> Self {
        add_crcs(&mut crcs, &bytes);
        Data { bytes, crcs: Arc::new(crcs.into()) }
    }

    /// The CRC-32 of each whole block of 4096 bytes, counted from the first byte.
    pub(crate) fn crcs(&self) -> &[u32] {
        self.crcs.get_or_init(|| {
            let mut crcs = Vec::with_capacity(self.len() / LEN);
            add_crcs(&mut crcs, self);
            crcs
        })
    }

    /// The CRC-32 of what has this one, followed by these bytes.
    pub(crate) fn crc_behind(&self, crc: u32) -> u32 {
        crc_behind(crc, self.crcs(), self)
    }

    /// The checksums that are kept of the whole blocks.
    pub(crate) fn sums(&self) -> Vec<u32> {
        self.crcs().iter().map(|crc| sum_of_crc(*crc)).collect()
    }

    /// A part of it.
    pub(crate) fn part(&self, range: Range<usize>) -> Data {
        let (first, last) = (range.start / LEN, range.end / LEN);
        let known = self.crcs.get().filter(|_| range.start.is_multiple_of(LEN));
        let crcs = known.and_then(|crcs| crcs.get(first..last));
        let bytes = self.slice(range.clone());
        match crcs {
            Some(_) if range == (0..self.len()) => self.clone(),
            Some(crcs) => Data::with_crcs(bytes, crcs.to_vec()),
            None => bytes.into(),
        }
    }

    /// The bytes alone.
    pub(crate) fn into_bytes(self) -> Bytes {
        self.bytes
    }
}

/// Adds those of the whole blocks of `bytes` that are missing.
pub(crate) fn add_crcs(crcs: &mut Vec<u32>, bytes: &[u8]) {
    let missing = bytes.get(crcs.len() * LEN..).unwrap_or_default();
    crcs.extend(missing.chunks_exact(LEN).map(crc32fast::hash));
}

/// The CRC-32 of what has `crc`, followed by `bytes`, whose whole blocks have these.
pub(crate) fn crc_behind(crc: u32, crcs: &[u32], bytes: &[u8]) -> u32 {
    let blocks = crcs.iter().fold(crc, |crc, block| over_a_block(crc) ^ block);
    let mut rest = Hasher::new_with_initial(blocks);
    rest.update(&bytes[crcs.len() * LEN..]);
    rest.finalize()
}

/// What a CRC-32 adds to the one of the same bytes and a block behind them. It is linear: a sum of what each of its bytes adds.
fn over_a_block(crc: u32) -> u32 {
    static BY_BYTE: LazyLock<[[u32; 256]; 4]> = LazyLock::new(|| {
        let over = |crc: u32| {
            let mut sum = Hasher::new_with_initial_len(crc, 0);
            sum.combine(&Hasher::new_with_initial_len(0, BLOCK));
            sum.finalize()
        };
        std::array::from_fn(|at| std::array::from_fn(|byte| over((byte as u32) << (8 * at))))
    });
    crc.to_le_bytes().iter().zip(BY_BYTE.iter()).fold(0, |sum, (byte, table)| sum ^ table[usize::from(*byte)])
}

impl Deref for Data {
    type Target = Bytes;

    fn deref(&self) -> &Bytes {
        &self.bytes
    }
}

impl From<Bytes> for Data {
    fn from(bytes: Bytes) -> Self {
        Data { bytes, crcs: Arc::default() }
    }
}

impl From<Vec<u8>> for Data {
    fn from(bytes: Vec<u8>) -> Self {
        Bytes::from(bytes).into()
    }
}

impl PartialEq for Data {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for Data {}

impl fmt::Debug for Data {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.bytes.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_checksum_of_a_frame_follows_from_those_of_the_blocks(
            head in proptest::collection::vec(any::<u8>(), 0..100),
            len in 0..5 * LEN,
            known in 0usize..6,
            seed in any::<u8>(),
        ) {
            let bytes: Vec<u8> = (0..len).map(|i| (i as u8).wrapping_mul(seed) ^ (i >> 8) as u8).collect();
            let each: Vec<u32> = bytes.chunks_exact(LEN).map(crc32fast::hash).collect();
            let whole = crc32fast::hash(&[&head[..], &bytes].concat());
            let fresh = Data::from(bytes.clone());
            let before = Data::with_crcs(bytes.into(), each[..known.min(each.len())].to_vec());
            for data in [fresh, before] {
                prop_assert_eq!(data.crc_behind(crc32fast::hash(&head)), whole);
                prop_assert_eq!(data.crcs(), &each[..]);
            }
        }
    }
}

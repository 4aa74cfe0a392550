//! Zeros that travel, and reach the disk, as their number.

use std::sync::LazyLock;

use bytes::Bytes;

use crate::core::WRITE_MAX;

/// Two halves: what is kept, what may be freed.
static ALL: LazyLock<Bytes> = LazyLock::new(|| vec![0; 2 * WRITE_MAX].into());

/// What a disk does with blocks that are to read as zeros.
///
/// Write the [`bytes`](Self::bytes) of one by [`BlockDevice::write_bytes`](crate::BlockDevice::write_bytes): they are told from
/// others by where they lie in memory, so nothing searches data for zeros. From 64 KiB on they cross the links without
/// their content, and go to the disks by [`Disk::zero`](crate::Disk::zero).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Zeros {
    /// Their room stays theirs.
    Kept,
    /// Nobody needs them: a replica with [`Config::free_discarded`](crate::Config::free_discarded) gives their room back, others keep it.
    Free,
}

impl Zeros {
    /// The most that there are at once, in bytes.
    pub const MAX: usize = WRITE_MAX;

    /// So many of them; no more than [`MAX`](Self::MAX).
    pub fn bytes(self, len: usize) -> Bytes {
        let first = match self {
            Zeros::Kept => 0,
            Zeros::Free => WRITE_MAX,
        };
        ALL.slice(first..first + len.min(WRITE_MAX))
    }

    /// Whether these are such bytes.
    pub(crate) fn of(data: &Bytes) -> Option<Zeros> {
        // Bytes of their own never lie there.
        let at = (data.as_ptr() as usize).checked_sub(LazyLock::get(&ALL)?.as_ptr() as usize)?;
        match at {
            _ if data.is_empty() => None,
            at if at < WRITE_MAX => Some(Zeros::Kept),
            at if at < 2 * WRITE_MAX => Some(Zeros::Free),
            _ => None,
        }
    }
}

/// Whether these bytes are all zeros. Compared with themselves, one further on: as fast as memory is read, where a look at each is not.
pub(crate) fn is_zero(bytes: &[u8]) -> bool {
    match bytes {
        [] => true,
        [first, rest @ ..] => *first == 0 && bytes[..rest.len()] == *rest,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_bit_anywhere_is_no_zeros() {
        for len in [0, 1, 2, 7, 4096, 4099] {
            let mut bytes = vec![0; len];
            assert!(is_zero(&bytes));
            for at in 0..len {
                bytes[at] = 1 << (at % 8);
                assert!(!is_zero(&bytes), "{at} of {len}");
                bytes[at] = 0;
            }
        }
    }

    #[test]
    fn they_are_known_by_where_they_lie_and_by_nothing_else() {
        assert_eq!(Zeros::of(&Bytes::from(vec![0; 4096])), None);
        for zeros in [Zeros::Kept, Zeros::Free] {
            for len in [1, 4096, WRITE_MAX] {
                let bytes = zeros.bytes(len);
                assert!(bytes.len() == len && bytes.iter().all(|b| *b == 0));
                assert_eq!(Zeros::of(&bytes), Some(zeros));
                assert_eq!(Zeros::of(&bytes.clone().slice(len / 2..)), Some(zeros));
                assert_eq!(Zeros::of(&Bytes::copy_from_slice(&bytes)), None, "content alone is not enough");
            }
            assert_eq!(zeros.bytes(2 * WRITE_MAX).len(), WRITE_MAX);
            assert_eq!(Zeros::of(&zeros.bytes(0)), None);
        }
    }
}

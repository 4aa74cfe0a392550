//! Where everything lies on the device. Written once, at format, twice: first and last block.

use std::hash::{BuildHasher, Hasher, RandomState};

use crate::disk::Disk;
use crate::error::{FormatError, OpenError};

/// The unit of allocation and of alignment, in bytes. Two things that were acknowledged at
/// different times never share one, so no torn write harms its neighbour.
pub(crate) const BLOCK: u64 = 4096;
const MAGIC: [u8; 8] = *b"PHCLFSv\n";
const VERSION: u32 = 1;
const VOLUME_MAX: usize = 255;
const LEN: usize = 512;

const LOG_MIN: u64 = 1 << 20;
/// The largest that is chosen by itself: opening after a crash reads all of it.
const LOG_MAX: u64 = 32 << 20;
/// redb's file begins with 72 KiB and grows so that all but the first 4 KiB double; any other size
/// of the region would be room that it cannot use. Two blocks of ours go before it.
const INDEX_STEP: u64 = 68 << 10;
const INDEX_HEAD: u64 = 3 * BLOCK;
const INDEX_MIN: u64 = INDEX_HEAD + (INDEX_STEP << 4);
const INDEX_MAX: u64 = INDEX_HEAD + (INDEX_STEP << 15);
const DATA_MIN: u64 = 1 << 20;

/// How to lay out a new volume.
#[derive(Debug, Clone)]
pub struct FormatOptions {
    /// The volume's name; [`OpenOptions::expect_volume`](crate::OpenOptions::expect_volume)
    /// refuses any other. At most 255 bytes.
    pub volume: String,
    /// Identity of this file system; also keys the log's checksums, so it must be random.
    pub uuid: [u8; 16],
    /// Bytes of the log ring, at least 1 MiB. `None`: a sixteenth of the device, at most 32 MiB. It
    /// bounds the time to open after a crash.
    pub log_bytes: Option<u64>,
    /// Bytes of the index, 1.1 MiB to 2.1 GiB, rounded down to a size that it can use (1.07 MiB times
    /// a power of two). `None`: a tenth to a fifth of the device. A message needs about 1.5 KiB of it, so that
    /// a checkpoint may rewrite everything beside what is there.
    pub index_bytes: Option<u64>,
    /// Format even where something is there already.
    pub overwrite: bool,
}

impl FormatOptions {
    /// The defaults for a volume of this name, with a random uuid.
    #[must_use]
    pub fn new(volume: impl Into<String>) -> Self {
        let mut uuid = [0; 16];
        for half in uuid.chunks_exact_mut(8) {
            half.copy_from_slice(&RandomState::new().build_hasher().finish().to_le_bytes());
        }
        FormatOptions { volume: volume.into(), uuid, log_bytes: None, index_bytes: None, overwrite: false }
    }
}

/// A part of the device, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) start: u64,
    pub(crate) len: u64,
}

impl Span {
    fn end(self) -> u64 {
        self.start + self.len
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Superblock {
    pub(crate) volume: String,
    pub(crate) uuid: [u8; 16],
    pub(crate) device: u64,
    pub(crate) log: Span,
    pub(crate) index: Span,
    pub(crate) data: Span,
}

impl Superblock {
    pub(crate) fn plan(device: u64, options: &FormatOptions) -> Result<Self, FormatError> {
        let refuse = |why: String| Err(FormatError::Layout(why));
        if options.volume.is_empty() || options.volume.len() > VOLUME_MAX {
            return refuse(format!("a volume's name has 1 to {VOLUME_MAX} bytes"));
        }
        let log = down(options.log_bytes.unwrap_or((device / 16).clamp(LOG_MIN, LOG_MAX)));
        let index = options.index_bytes.map_or_else(|| default_index(device), usable_index);
        if log < LOG_MIN || index < INDEX_MIN {
            return refuse(format!("the log needs {LOG_MIN} bytes, the index {INDEX_MIN} to {INDEX_MAX}"));
        }
        let log = Span { start: BLOCK, len: log };
        let index = Span { start: log.end(), len: index };
        let end = down(device).saturating_sub(BLOCK);
        let data = Span { start: index.end(), len: end.saturating_sub(index.end()) };
        if data.len < DATA_MIN {
            return refuse(format!(
                "{device} bytes leave less than {DATA_MIN} for messages beside a log of {} and an index of {}",
                log.len, index.len
            ));
        }
        let (volume, uuid) = (options.volume.clone(), options.uuid);
        Ok(Superblock { volume, uuid, device, log, index, data })
    }

    /// Keys the hashes of the log, so that no message body can pose as a record.
    pub(crate) fn seed(&self) -> u64 {
        xxhash_rust::xxh3::xxh3_64(&self.uuid)
    }

    fn encode(&self) -> [u8; LEN] {
        let mut out = [0; LEN];
        out[..8].copy_from_slice(&MAGIC);
        out[8..12].copy_from_slice(&VERSION.to_le_bytes());
        out[16..32].copy_from_slice(&self.uuid);
        let numbers = [
            self.device,
            self.log.start,
            self.log.len,
            self.index.start,
            self.index.len,
            self.data.start,
            self.data.len,
        ];
        for (slot, number) in out[32..88].chunks_exact_mut(8).zip(numbers) {
            slot.copy_from_slice(&number.to_le_bytes());
        }
        out[88] = self.volume.len() as u8; // `plan` and `decode` bound it
        out[89..89 + self.volume.len()].copy_from_slice(self.volume.as_bytes());
        let crc = crc32fast::hash(&out[..LEN - 4]);
        out[LEN - 4..].copy_from_slice(&crc.to_le_bytes());
        out
    }

    fn decode(block: &[u8; LEN]) -> Result<Self, OpenError> {
        if block[..8] != MAGIC {
            return Err(OpenError::NotFormatted);
        }
        let word = |at: usize| u32::from_le_bytes(block[at..at + 4].try_into().expect("four bytes"));
        if word(LEN - 4) != crc32fast::hash(&block[..LEN - 4]) {
            return Err(OpenError::SuperblockDamaged);
        }
        if word(8) != VERSION {
            return Err(OpenError::NewerVersion { what: "superblock", found: word(8), supported: VERSION });
        }
        let long = |at: usize| u64::from_le_bytes(block[at..at + 8].try_into().expect("eight bytes"));
        let span = |at: usize| Span { start: long(at), len: long(at + 8) };
        let name = &block[89..89 + block[88] as usize];
        Ok(Superblock {
            volume: String::from_utf8_lossy(name).into_owned(),
            uuid: block[16..32].try_into().expect("sixteen bytes"),
            device: long(32),
            log: span(40),
            index: span(56),
            data: span(72),
        })
    }

    /// Reads whichever copy is whole.
    pub(crate) fn read(disk: &Disk) -> Result<Self, OpenError> {
        if disk.size() < 2 * BLOCK {
            return Err(OpenError::NotFormatted);
        }
        let mut block = [0; LEN];
        disk.read(0, &mut block)?;
        let first = match Superblock::decode(&block) {
            Ok(superblock) => return superblock.check(disk.size()),
            Err(error @ OpenError::NewerVersion { .. }) => return Err(error),
            Err(error) => error,
        };
        disk.read(down(disk.size()) - BLOCK, &mut block)?;
        match Superblock::decode(&block) {
            Ok(superblock) => superblock.check(disk.size()),
            Err(OpenError::NotFormatted) => Err(first),
            Err(error) => Err(error),
        }
    }

    fn check(self, device: u64) -> Result<Self, OpenError> {
        if self.device > device {
            return Err(OpenError::WrongSize { formatted: self.device, device });
        }
        let spans = [self.log, self.index, self.data];
        let fits = spans.iter().all(|s| s.start.checked_add(s.len).is_some_and(|end| end <= self.device));
        let whole = spans.iter().all(|s| s.start % BLOCK == 0 && s.len % BLOCK == 0 && s.len >= LOG_MIN);
        if fits && whole { Ok(self) } else { Err(OpenError::SuperblockDamaged) }
    }

    /// Writes both copies; the caller flushes.
    pub(crate) fn write(&self, disk: &Disk) -> std::io::Result<()> {
        let block = self.encode();
        disk.write(down(self.device) - BLOCK, &block)?;
        disk.write(0, &block)
    }
}

/// The sizes that an index can use, in ascending order.
fn index_sizes() -> impl DoubleEndedIterator<Item = u64> {
    (4..=15).map(|doublings| INDEX_HEAD + (INDEX_STEP << doublings))
}

fn default_index(device: u64) -> u64 {
    index_sizes().find(|size| *size >= device / 10).unwrap_or(INDEX_MAX)
}

/// The largest that fits, or 0.
fn usable_index(bytes: u64) -> u64 {
    index_sizes().rev().find(|size| *size <= bytes).unwrap_or(0)
}

/// Rounds down to whole blocks.
fn down(bytes: u64) -> u64 {
    bytes / BLOCK * BLOCK
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_superblock_survives_its_codec_and_no_flipped_bit() {
        let planned = Superblock::plan(64 << 20, &FormatOptions::new("vol1")).expect("fits");
        let block = planned.encode();
        assert_eq!(Superblock::decode(&block).expect("whole"), planned);
        for byte in 0..LEN {
            let mut damaged = block;
            damaged[byte] ^= 0x10;
            assert!(Superblock::decode(&damaged).is_err(), "byte {byte}");
        }
    }

    #[test]
    fn a_layout_that_does_not_fit_is_refused() {
        assert!(Superblock::plan(2 << 20, &FormatOptions::new("v")).is_err());
        assert!(Superblock::plan(64 << 20, &FormatOptions::new("")).is_err());
        let greedy = FormatOptions { log_bytes: Some(64 << 20), ..FormatOptions::new("v") };
        assert!(Superblock::plan(64 << 20, &greedy).is_err());
    }
}

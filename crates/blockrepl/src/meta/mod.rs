//! The metadata file's and the data file's own structures. Drawn in bytes in `docs/format.md`.
//!
//! Metadata: two alternating superblocks, which say where the other areas lie: bitmaps, checksums, undo.
//! A superblock is whole or ignored; a bitmap page that is damaged counts as all dirty, a page of
//! checksums that is damaged as knowing none; the undo area is read up to the first entry that is not
//! of the current run.

mod bitmap_page;
mod error;
mod identity;
mod layout;
mod sums;
mod superblock;
mod undo;

use bytes::Bytes;

use crate::codec::Writer;

pub(crate) use bitmap_page::{decode_page, encode_page};
pub use error::OpenError;
pub(crate) use identity::{check_data_header, check_identity, encode_data_header};
use identity::{put_identity, take_identity};
pub(crate) use layout::{Area, Layout};
pub(crate) use sums::{SumsOfPage, block_sum, decode_sums, encode_sums, no_sums, sum_of_crc};
pub(crate) use superblock::{DamagedBlock, SlotHead, SnapshotHead, SnapshotState, Superblock};
pub(crate) use undo::{UndoEntry, decode_undo, encode_undo, encode_undo_end, is_undo_end, may_be_undo};

/// The newest version of the metadata and data file formats. Newer ones are refused.
pub const FORMAT_VERSION: u32 = 3;
/// What is written where nothing of a later version is needed; older ones are refused.
const BASE_VERSION: u32 = 2;
/// Bytes at the head of the data file that identify it; the device's first byte follows.
pub const DATA_HEADER_LEN: u64 = 4096;

pub(crate) const SB_LEN: u64 = 16 << 10;
pub(crate) const PAGE_LEN: u64 = 4096;
const PAGE_HEAD: usize = 16;
pub(crate) const BITS_PER_PAGE: u32 = (PAGE_LEN as u32 - PAGE_HEAD as u32) * 8;
/// Peers whose differences are tracked.
pub(crate) const MAX_SLOTS: usize = 7;
/// Snapshots whose ranges are recorded.
pub(crate) const MAX_SNAPSHOTS: usize = 8;
/// Blocks known to be damaged that a superblock has room for.
pub(crate) const MAX_DAMAGED: usize = 512;
/// Bitmaps there is room for: one a peer, and one a snapshot.
pub(crate) const MAX_BITMAPS: usize = MAX_SLOTS + MAX_SNAPSHOTS;
/// Bytes that one checksum stands for.
pub(crate) const BLOCK: u64 = 4096;
/// Checksums in one page.
pub(crate) const SUMS_PER_PAGE: u32 = (PAGE_LEN as u32 - PAGE_HEAD as u32) / 4;
pub(crate) const UNDO_HEAD: u64 = 4096;

/// Pads to `len` and fills in the checksum at byte 12, computed with that field zero.
fn seal(mut w: Writer, len: usize) -> Bytes {
    assert!(w.0.len() <= len, "a structure outgrew its place");
    w.0.resize(len, 0);
    let crc = crc32fast::hash(&w.0);
    w.0[12..16].copy_from_slice(&crc.to_le_bytes());
    w.0.into()
}

/// Checks magic, version and checksum; returns what follows them.
fn unseal<'a>(bytes: &'a [u8], magic: &[u8; 8], file: &'static str) -> Result<&'a [u8], OpenError> {
    if bytes.get(..8) != Some(magic) {
        return Err(OpenError::not_ours(file, "its first bytes are not the expected mark"));
    }
    let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("4 bytes"));
    let mut crc = crc32fast::Hasher::new();
    crc.update(&bytes[..12]);
    crc.update(&[0; 4]);
    crc.update(&bytes[16..]);
    if crc.finalize() != word(12) {
        return Err(OpenError::not_ours(file, "its checksum does not match"));
    }
    match word(8) {
        found if found > FORMAT_VERSION => Err(OpenError::Newer { file, found }),
        found if found < BASE_VERSION => Err(OpenError::Older { file, found }),
        _ => Ok(&bytes[16..]),
    }
}

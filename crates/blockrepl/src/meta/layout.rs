//! Where things lie in the metadata file.

use super::{
    BITS_PER_PAGE, BLOCK, MAX_BITMAPS, MAX_SLOTS, OpenError, PAGE_LEN, SB_LEN, SUMS_PER_PAGE, UNDO_LEN,
};
use crate::bitmap::GRANULE;

/// A part of the metadata file, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Area {
    pub(crate) at: u64,
    pub(crate) len: u64,
}

impl Area {
    pub(crate) fn end(&self) -> u64 {
        self.at + self.len
    }
}

/// The size of the device and where the areas lie, as the superblock says. To grow, an area is written
/// anew behind the others, and the next superblock names the new place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) size: u64,
    pub(crate) bitmaps: Area,
    pub(crate) sums: Area,
    pub(crate) undo: Area,
}

impl Layout {
    /// The layout of a new file: the areas one behind the other.
    pub(crate) fn new(size: u64, undo_bytes: Option<u64>) -> Result<Self, OpenError> {
        Self::check_size(size)?;
        let undo = undo_bytes.unwrap_or((size / 8).min(256 << 20)) / GRANULE;
        let bitmaps = Area { at: 2 * SB_LEN, len: Self::bitmaps_len(size) };
        let sums = Area { at: bitmaps.end(), len: Self::sums_len(size) };
        let undo = Area { at: sums.end(), len: undo * UNDO_LEN };
        Ok(Layout { size, bitmaps, sums, undo })
    }

    /// Whether a device can have this size.
    pub(crate) fn check_size(size: u64) -> Result<(), OpenError> {
        match size.is_multiple_of(4096) && (GRANULE..=128 << 40).contains(&size) {
            true => Ok(()),
            false => Err(OpenError::Size(size)),
        }
    }

    /// Bytes that the bitmaps of a device of `size` bytes take.
    pub(crate) fn bitmaps_len(size: u64) -> u64 {
        MAX_BITMAPS as u64 * u64::from(pages(size)) * PAGE_LEN
    }

    /// Bytes that its checksums take.
    pub(crate) fn sums_len(size: u64) -> u64 {
        (size / BLOCK).div_ceil(u64::from(SUMS_PER_PAGE)) * PAGE_LEN
    }

    /// Whether what a superblock says can be: each area has its size, and none lies in another.
    pub(crate) fn is_sound(&self) -> bool {
        let mut areas = [self.bitmaps, self.sums, self.undo];
        areas.sort_by_key(|a| a.at);
        let mut from = 2 * SB_LEN;
        let apart = areas.iter().all(|a| {
            let end = a.at.checked_add(a.len).filter(|_| a.at >= from && a.at.is_multiple_of(PAGE_LEN));
            end.inspect(|end| from = *end).is_some()
        });
        Self::check_size(self.size).is_ok()
            && apart
            && self.bitmaps.len >= Self::bitmaps_len(self.size)
            && self.sums.len >= Self::sums_len(self.size)
            && self.undo.len.is_multiple_of(UNDO_LEN)
            && self.undo.len / UNDO_LEN <= u64::from(u32::MAX)
    }

    pub(crate) fn granules(&self) -> u32 {
        self.size.div_ceil(GRANULE) as u32
    }

    /// Bytes of granule `g`: less than a granule only at the end.
    pub(crate) fn granule_len(&self, g: u32) -> u64 {
        GRANULE.min(self.size.saturating_sub(u64::from(g) * GRANULE))
    }

    /// Pages of one bitmap.
    pub(crate) fn pages(&self) -> u32 {
        pages(self.size)
    }

    /// Where page `page` of bitmap `slot` lies.
    pub(crate) fn page_at(&self, slot: usize, page: u32) -> u64 {
        self.bitmaps.at + (slot as u64 * u64::from(self.pages()) + u64::from(page)) * PAGE_LEN
    }

    /// Where page `page` of the checksums lies.
    pub(crate) fn sums_at(&self, page: u32) -> u64 {
        self.sums.at + u64::from(page) * PAGE_LEN
    }

    pub(crate) fn undo_slots(&self) -> u32 {
        (self.undo.len / UNDO_LEN) as u32
    }

    pub(crate) fn undo_at(&self, entry: u32) -> u64 {
        self.undo.at + u64::from(entry) * UNDO_LEN
    }

    /// What the file must hold.
    pub(crate) fn meta_len(&self) -> u64 {
        self.bitmaps.end().max(self.sums.end()).max(self.undo.end())
    }
}

fn pages(size: u64) -> u32 {
    size.div_ceil(GRANULE).div_ceil(u64::from(BITS_PER_PAGE)) as u32
}

const _: () = assert!(MAX_SLOTS < MAX_BITMAPS);

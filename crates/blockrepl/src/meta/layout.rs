//! Where things lie in the metadata file.

use super::{
    BITS_PER_PAGE, BLOCK, MAX_BITMAPS, MAX_SLOTS, OpenError, PAGE_LEN, SB_LEN, SUMS_PER_PAGE, UNDO_HEAD,
};
use crate::bitmap::{CHUNK_MAX, EXTENT, GRANULES};

/// Granules of the largest device: their numbers, and one more, fit in 32 bits.
pub(super) const MOST_GRANULES: u64 = 1 << 31;

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

/// The size of the device, that of its granules, and where the areas lie, as the superblock says. To grow, an area is written
/// anew behind the others, and the next superblock names the new place. The granule stays what it was at creation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) size: u64,
    /// Bytes of a granule.
    pub(crate) granule: u64,
    pub(crate) bitmaps: Area,
    pub(crate) sums: Area,
    pub(crate) undo: Area,
}

impl Layout {
    /// The layout of a new file: the areas one behind the other.
    pub(crate) fn new(size: u64, granule: u64, undo_bytes: Option<u64>) -> Result<Self, OpenError> {
        Self::check_size(size, granule)?;
        let undo = undo_bytes.unwrap_or((size / 8).min(256 << 20)) / granule;
        let bitmaps = Area { at: 2 * SB_LEN, len: Self::bitmaps_len(size, granule) };
        let sums = Area { at: bitmaps.end(), len: Self::sums_len(size) };
        let undo = Area { at: sums.end(), len: undo * (UNDO_HEAD + granule) };
        Ok(Layout { size, granule, bitmaps, sums, undo })
    }

    /// Whether a device can have this size, in such granules.
    pub(crate) fn check_size(size: u64, granule: u64) -> Result<(), OpenError> {
        if !size.is_multiple_of(4096) || !(64 << 10..=128 << 40).contains(&size) {
            return Err(OpenError::Size(size));
        }
        match granule.is_power_of_two()
            && GRANULES.contains(&granule)
            && size.div_ceil(granule) <= MOST_GRANULES
        {
            true => Ok(()),
            false => Err(OpenError::Granule { granule, size }),
        }
    }

    /// Bytes that the bitmaps of a device of `size` bytes take.
    pub(crate) fn bitmaps_len(size: u64, granule: u64) -> u64 {
        MAX_BITMAPS as u64 * u64::from(pages(size, granule)) * PAGE_LEN
    }

    /// Bytes that its checksums take.
    pub(crate) fn sums_len(size: u64) -> u64 {
        (size / BLOCK).div_ceil(u64::from(SUMS_PER_PAGE)) * PAGE_LEN
    }

    /// Whether what a superblock says can be: each area has its size, and none lies in another.
    pub(crate) fn is_sound(&self) -> bool {
        let mut areas = [self.bitmaps, self.sums, self.undo];
        // One without bytes (no undo area) stands where another begins.
        areas.sort_by_key(|a| (a.at, a.len));
        let mut from = 2 * SB_LEN;
        let apart = areas.iter().all(|a| {
            let end = a.at.checked_add(a.len).filter(|_| a.at >= from && a.at.is_multiple_of(PAGE_LEN));
            end.inspect(|end| from = *end).is_some()
        });
        Self::check_size(self.size, self.granule).is_ok()
            && apart
            && self.bitmaps.len >= Self::bitmaps_len(self.size, self.granule)
            && self.sums.len >= Self::sums_len(self.size)
            && self.undo.len.is_multiple_of(self.undo_len())
            && self.undo.len / self.undo_len() <= u64::from(u32::MAX)
    }

    pub(crate) fn granules(&self) -> u32 {
        self.size.div_ceil(self.granule) as u32
    }

    /// Where granule `g` begins, in bytes.
    pub(crate) fn granule_at(&self, g: u32) -> u64 {
        u64::from(g) * self.granule
    }

    /// Bytes of granule `g`: less than a granule only at the end.
    pub(crate) fn granule_len(&self, g: u32) -> u64 {
        self.granule.min(self.size.saturating_sub(self.granule_at(g)))
    }

    /// The first and the last granule a range touches.
    pub(crate) fn granules_of(&self, offset: u64, len: usize) -> (u32, u32) {
        parts_of(self.granule, offset, len)
    }

    /// The granules of an extent, as `(first, count)`.
    pub(crate) fn extent_granules(&self, extent: u32) -> (u32, u32) {
        let per = (EXTENT / self.granule) as u32;
        (extent.saturating_mul(per), per)
    }

    /// Bytes of a chunk, what is judged and compared at once: a granule, or as even a part of a large one.
    pub(crate) fn chunk(&self) -> u64 {
        self.granule.min(CHUNK_MAX)
    }

    pub(crate) fn chunks(&self) -> u32 {
        self.size.div_ceil(self.chunk()) as u32
    }

    /// Where chunk `c` begins, in bytes.
    pub(crate) fn chunk_at(&self, c: u32) -> u64 {
        u64::from(c) * self.chunk()
    }

    /// Bytes of chunk `c`: less than a chunk only at the end.
    pub(crate) fn chunk_len(&self, c: u32) -> u64 {
        self.chunk().min(self.size.saturating_sub(self.chunk_at(c)))
    }

    /// The first and the last chunk a range touches.
    pub(crate) fn chunks_of(&self, offset: u64, len: usize) -> (u32, u32) {
        parts_of(self.chunk(), offset, len)
    }

    /// The chunks of granule `g`.
    pub(crate) fn granule_chunks(&self, g: u32) -> std::ops::RangeInclusive<u32> {
        let (first, last) = self.chunks_of(self.granule_at(g), self.granule_len(g) as usize);
        first..=last
    }

    /// The granule that chunk `c` lies in.
    pub(crate) fn granule_of_chunk(&self, c: u32) -> u32 {
        (self.chunk_at(c) / self.granule) as u32
    }

    /// Pages of one bitmap.
    pub(crate) fn pages(&self) -> u32 {
        pages(self.size, self.granule)
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
        (self.undo.len / self.undo_len()) as u32
    }

    /// Bytes of an entry of the undo area.
    pub(crate) fn undo_len(&self) -> u64 {
        UNDO_HEAD + self.granule
    }

    pub(crate) fn undo_at(&self, entry: u32) -> u64 {
        self.undo.at + u64::from(entry) * self.undo_len()
    }

    /// What the file must hold.
    pub(crate) fn meta_len(&self) -> u64 {
        self.bitmaps.end().max(self.sums.end()).max(self.undo.end())
    }
}

fn pages(size: u64, granule: u64) -> u32 {
    size.div_ceil(granule).div_ceil(u64::from(BITS_PER_PAGE)) as u32
}

fn parts_of(part: u64, offset: u64, len: usize) -> (u32, u32) {
    let last = offset + (len as u64).max(1) - 1;
    ((offset / part) as u32, (last / part) as u32)
}

const _: () = assert!(MAX_SLOTS < MAX_BITMAPS);

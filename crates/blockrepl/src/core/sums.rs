//! Checksums of blocks: kept with the metadata, in memory for what is hot.
//!
//! A page is written before an extent of it leaves the activity log, and after the data it speaks of
//! is durable. So after a crash the pages on disk are right for every extent that was cold; what was
//! hot is void (R11), and after a crash in a resync, whose copies are not in the activity log, all is.

use super::*;
use crate::bitmap::{CHUNK_MAX, EXTENT};
use crate::meta::{
    self, BLOCK, SUMS_PER_PAGE, SumsOfPage, block_sum, decode_sums, encode_sums, no_sums, sum_of_crc,
};
use crate::zeros::Zeros;

/// Pages kept besides those of hot extents.
const SPARE_PAGES: usize = 64;
/// Dirty pages of a resync that are written without waiting for its end.
const RESYNC_PAGES: usize = 256;
/// Blocks of a chunk, at most.
pub(super) const BLOCKS: usize = (CHUNK_MAX / BLOCK) as usize;

/// Nothing is known of a block.
pub(super) const VOID: u32 = 0;

#[derive(Debug, Default)]
pub(super) struct Sums {
    pages: BTreeMap<u32, Page>,
    /// Pages were written that no flush of the metadata has covered yet.
    unflushed: bool,
}

#[derive(Debug)]
struct Page {
    sums: SumsOfPage,
    /// It is being read; what is in `set` is newer than what comes.
    loading: bool,
    set: BTreeSet<u32>,
    dirty: bool,
    /// It speaks of something that changed and is not hot: the next commit needs it.
    cooled: bool,
    /// Somebody asked for it since the pages were last trimmed: he may be waiting for another one as well.
    asked: bool,
}

impl Sums {
    /// The page as it was found at open; with what was hot then, void.
    pub(super) fn loaded(&mut self, page: u32, found: Option<SumsOfPage>) {
        let sums = found.unwrap_or_else(no_sums);
        self.pages.entry(page).or_insert(Page::new(sums, false));
    }

    /// Forgets the checksums of an extent.
    pub(super) fn void_extent(&mut self, extent: u32) {
        for block in extent_blocks(extent) {
            if let Some(page) = self.pages.get_mut(&page_of(block)) {
                page.put(block, VOID);
            }
        }
    }

    /// Forgets all from this offset on.
    pub(super) fn cut_off(&mut self, size: u64) {
        let first = size / BLOCK;
        self.pages.retain(|number, _| *number <= page_of(first));
        if let Some(page) = self.pages.get_mut(&page_of(first)) {
            (index_of(first)..SUMS_PER_PAGE)
                .for_each(|index| page.put(first + u64::from(index - index_of(first)), VOID));
            page.cooled = true;
        }
    }

    fn get(&self, block: u64) -> u32 {
        self.pages.get(&page_of(block)).map_or(VOID, |p| p.sums[index_of(block) as usize])
    }

    /// Whether the checksums of a range are in memory.
    pub(super) fn has(&self, offset: u64, len: u64) -> bool {
        self.is_loaded(page_of(offset / BLOCK)) && self.is_loaded(page_of((offset + len.max(1) - 1) / BLOCK))
    }

    fn is_loaded(&self, page: u32) -> bool {
        self.pages.get(&page).is_some_and(|p| !p.loading)
    }

    /// Whether a page that the next commit needs is still being read.
    pub(super) fn must_wait(&self) -> bool {
        self.pages.values().any(|p| p.loading && p.dirty && p.cooled)
    }

    pub(super) fn cool_all(&mut self) {
        self.pages.values_mut().for_each(|p| p.cooled |= p.dirty);
    }

    pub(super) fn bytes(&self) -> u64 {
        self.pages.len() as u64 * meta::PAGE_LEN
    }
}

impl Page {
    fn new(sums: SumsOfPage, loading: bool) -> Self {
        Page { sums, loading, set: BTreeSet::new(), dirty: false, cooled: false, asked: false }
    }

    fn put(&mut self, block: u64, sum: u32) {
        let index = index_of(block);
        if self.loading {
            self.set.insert(index);
        }
        self.sums[index as usize] = sum;
        self.dirty = true;
    }
}

fn page_of(block: u64) -> u32 {
    (block / u64::from(SUMS_PER_PAGE)) as u32
}

fn index_of(block: u64) -> u32 {
    (block % u64::from(SUMS_PER_PAGE)) as u32
}

fn extent_blocks(extent: u32) -> std::ops::Range<u64> {
    let per = EXTENT / BLOCK;
    u64::from(extent) * per..(u64::from(extent) + 1) * per
}

/// The pages that speak of an extent.
pub(super) fn extent_pages(extent: u32) -> std::ops::RangeInclusive<u32> {
    let blocks = extent_blocks(extent);
    page_of(blocks.start)..=page_of(blocks.end - 1)
}

/// Whether these are nothing but zeros; compared a block at a time.
pub(super) fn is_zero(data: &[u8]) -> bool {
    static ZEROS: [u8; BLOCK as usize] = [0; BLOCK as usize];
    data.chunks(ZEROS.len()).all(|block| *block == ZEROS[..block.len()])
}

/// The blocks, counted from the first one, that are not as their checksums say.
pub(super) fn bad_blocks(computed: &[u32], sums: &[u32]) -> Vec<u64> {
    let blocks = (0..).zip(computed.iter().zip(sums));
    blocks.filter(|(_, (found, sum))| **sum != VOID && found != sum).map(|(block, _)| block).collect()
}

/// The checksums of a range of whole blocks.
pub(crate) fn sums_of(data: &[u8]) -> Vec<u32> {
    data.chunks(BLOCK as usize).map(block_sum).collect()
}

impl Replica {
    /// Notes what a write makes of the checksums: known for whole blocks, void for parts of one.
    pub(super) fn note_sums(&mut self, offset: u64, data: &Data) {
        let end = offset + data.len() as u64;
        let of_zeros = Zeros::of(data).map(|_| block_sum(&[0; BLOCK as usize]));
        let known = if of_zeros.is_none() && offset.is_multiple_of(BLOCK) { data.crcs() } else { &[] };
        for block in offset / BLOCK..end.div_ceil(BLOCK) {
            let from = block * BLOCK;
            let whole = from >= offset && from + BLOCK <= end;
            // What is left of it is as damaged as before.
            if !whole && self.damage.holds(block) {
                continue;
            }
            let sum = match whole {
                true if let Some(sum) = of_zeros => sum,
                true if !known.is_empty() => sum_of_crc(known[(block - offset / BLOCK) as usize]),
                true => block_sum(&data[(from - offset) as usize..][..BLOCK as usize]),
                false if let Some(sum) = of_zeros.filter(|_| self.bug(Bug::ZeroEdges)) => sum,
                false => VOID,
            };
            self.put_sum(block, sum);
        }
        self.forget_computed(offset, data.len());
        self.damage.overwritten(offset.div_ceil(BLOCK)..end / BLOCK, self.order);
    }

    pub(super) fn put_sum(&mut self, block: u64, sum: u32) {
        let hot = self.hot.contains_key(&((block * BLOCK / EXTENT) as u32));
        self.load_page(page_of(block));
        if let Some(page) = self.sums.pages.get_mut(&page_of(block)) {
            page.put(block, sum);
            page.cooled |= !hot;
        }
    }

    fn load_page(&mut self, page: u32) {
        if self.sums.pages.contains_key(&page) {
            return;
        }
        self.sums.pages.insert(page, Page::new(no_sums(), true));
        let (offset, len) = (self.layout.sums_at(page), meta::PAGE_LEN as u32);
        self.disk(OpKind::SumsRead(page), DiskOp::MetaRead { offset, len });
    }

    pub(super) fn sums_read(&mut self, number: u32, bytes: &[u8]) {
        let found = decode_sums(bytes, self.sb.identity.device, self.sb.sums_run, number);
        let Some(page) = self.sums.pages.get_mut(&number) else { return };
        page.loading = false;
        let set = std::mem::take(&mut page.set);
        for (index, sum) in found.iter().flat_map(|found| found.iter().enumerate()) {
            if !set.contains(&(index as u32)) {
                page.sums[index] = *sum;
            }
        }
        // What is known to be damaged is so whatever became of the page: it may be of another run, or damaged itself.
        let first = u64::from(number) * u64::from(SUMS_PER_PAGE);
        for (block, right) in self.damage.held(first, first + u64::from(SUMS_PER_PAGE) - 1) {
            page.sums[index_of(block) as usize] = right;
        }
    }

    /// Whether the checksums of a range are in memory; asks for them if not.
    pub(super) fn sums_ready(&mut self, offset: u64, len: u64) -> bool {
        let (first, last) = (page_of(offset / BLOCK), page_of((offset + len.max(1) - 1) / BLOCK));
        for page in first..=last {
            self.load_page(page);
            self.sums.pages.entry(page).and_modify(|p| p.asked = true);
        }
        let known = !self.damage.unread(offset / BLOCK, (offset + len.max(1) - 1) / BLOCK);
        known && (first..=last).all(|page| self.sums.is_loaded(page))
    }

    /// Whether the checksums of a granule are in memory; asks for those that come next as well.
    pub(super) fn sums_at_hand(&mut self, granule: u32) -> bool {
        let (offset, len) = (self.layout.granule_at(granule), self.layout.granule_len(granule));
        let ready = self.sums_ready(offset, len);
        let next = page_of(offset / BLOCK) + 1;
        if ready && self.layout.sums_at(next) < self.layout.sums.end() {
            self.load_page(next);
        }
        ready
    }

    pub(super) fn chunk_sums_ready(&mut self, chunk: u32) -> bool {
        self.sums_ready(self.layout.chunk_at(chunk), self.layout.chunk_len(chunk))
    }

    /// The checksums of a range of blocks; [`sums_ready`](Self::sums_ready) was true.
    pub(super) fn sums(&self, offset: u64, len: u64) -> Vec<u32> {
        (offset / BLOCK..(offset + len).div_ceil(BLOCK)).map(|block| self.sums.get(block)).collect()
    }

    /// The pages that a hot extent needs.
    pub(super) fn load_extent(&mut self, extent: u32) {
        for page in extent_pages(extent) {
            if self.layout.sums_at(page) < self.layout.sums.end() {
                self.load_page(page);
            }
        }
    }

    /// An extent leaves the activity log: what is known of it must be durable before.
    pub(super) fn cool_sums(&mut self, extent: u32) {
        for page in extent_pages(extent) {
            if let Some(page) = self.sums.pages.get_mut(&page) {
                page.cooled |= page.dirty;
            }
        }
    }

    /// The pages that a commit needs, to be written before it.
    pub(super) fn changed_sums(&mut self) -> Vec<(u64, Bytes)> {
        let (device, run, layout) = (self.sb.identity.device, self.sb.sums_run, self.layout);
        let due = |p: &Page| p.dirty && p.cooled && !p.loading;
        let pages = self.sums.pages.iter_mut().filter(|(_, p)| due(p));
        pages
            .map(|(number, p)| {
                (p.dirty, p.cooled) = (false, false);
                (layout.sums_at(*number), encode_sums(&p.sums, device, run, *number))
            })
            .collect()
    }

    /// Whether pages were written that need a flush before the next superblock.
    pub(super) fn sums_unflushed(&mut self) -> bool {
        std::mem::take(&mut self.sums.unflushed)
    }

    /// Keeps the memory small: a resync's pages are written as they come, for after a crash in it all are
    /// void; clean ones that nothing hot needs, and nobody asked for since, are dropped.
    pub(super) fn trim_sums(&mut self) {
        if self.sums.pages.len() <= SPARE_PAGES + 2 * self.hot.len() {
            return;
        }
        let due = self.sums.pages.values().filter(|p| p.dirty && p.cooled && !p.loading).count();
        match self.sb.sync.is_some() {
            true if self.commit.durable > 0 && due > RESYNC_PAGES => {
                self.sums.unflushed = true;
                for (offset, data) in self.changed_sums() {
                    self.disk(OpKind::Meta, DiskOp::MetaWrite { offset, data });
                }
            }
            false if self.commit.durable == self.commit.wanted && due > RESYNC_PAGES => {
                self.touch_with_pages();
            }
            _ => {}
        }
        let hot: BTreeSet<u32> = self.hot.keys().flat_map(|e| extent_pages(*e)).collect();
        self.sums.pages.retain(|number, p| {
            let asked = std::mem::take(&mut p.asked);
            asked || p.dirty || p.loading || hot.contains(number)
        });
    }

    /// Whether bytes read outside the core, in whole blocks, are what was written: `None` when that
    /// is not known without reading more. A mismatch may be a write that came between.
    pub fn sums_hold(&self, offset: u64, computed: &[u32]) -> Option<bool> {
        let first = offset / BLOCK;
        let mut holds = true;
        for (block, found) in (first..).zip(computed) {
            if !self.sums.is_loaded(page_of(block)) || self.damage.unread(block, block) {
                return None;
            }
            let sum = self.sums.get(block);
            holds &= sum == VOID || sum == *found;
        }
        Some(holds)
    }
}

//! A disk with a volatile cache: what was not flushed is lost or torn by a power cut.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::rng::Rng;

/// What survives or is lost together at a crash, in bytes.
pub const SECTOR: usize = 512;
const PAGE: usize = 4096;
const ZEROS: [u8; PAGE] = [0; PAGE];

/// A sparse image: pages that were never written are zero.
#[derive(Debug, Default, Clone)]
pub struct Image {
    pages: Vec<Option<Box<[u8; PAGE]>>>,
}

impl Image {
    pub(crate) fn new(len: u64) -> Self {
        Self { pages: vec![None; (len as usize).div_ceil(PAGE)] }
    }

    /// Makes it longer, by zeros.
    pub(crate) fn grow(&mut self, len: u64) {
        let pages = (len as usize).div_ceil(PAGE).max(self.pages.len());
        self.pages.resize(pages, None);
    }

    /// Writes at an offset.
    pub(crate) fn write(&mut self, mut offset: usize, mut data: &[u8]) {
        while !data.is_empty() {
            let (page, within) = (offset / PAGE, offset % PAGE);
            let len = data.len().min(PAGE - within);
            let (head, rest) = data.split_at(len);
            let slot = &mut self.pages[page];
            if slot.is_some() || head != &ZEROS[..len] {
                slot.get_or_insert_with(|| Box::new([0; PAGE]))[within..within + len].copy_from_slice(head);
            }
            (offset, data) = (offset + len, rest);
        }
    }

    /// Fills `buf` from an offset.
    pub fn read(&self, offset: u64, buf: &mut [u8]) {
        let mut offset = offset as usize;
        let mut rest = buf;
        while !rest.is_empty() {
            let (page, within) = (offset / PAGE, offset % PAGE);
            let len = rest.len().min(PAGE - within);
            let (head, tail) = rest.split_at_mut(len);
            match self.pages.get(page).and_then(Option::as_ref) {
                Some(bytes) => head.copy_from_slice(&bytes[within..within + len]),
                None => head.fill(0),
            }
            (offset, rest) = (offset + len, tail);
        }
    }

    /// The first byte at which two images differ.
    pub fn difference(&self, other: &Self) -> Option<u64> {
        (0..self.pages.len().max(other.pages.len())).find_map(|n| {
            let (a, b) = (self.page(n), other.page(n));
            if a == b {
                return None;
            }
            let at = a.iter().zip(b).position(|(x, y)| x != y)?;
            Some((n * PAGE + at) as u64)
        })
    }

    fn page(&self, n: usize) -> &[u8; PAGE] {
        self.pages.get(n).and_then(Option::as_deref).unwrap_or(&ZEROS)
    }
}

#[derive(Debug)]
struct Pending {
    seq: u64,
    offset: usize,
    data: Bytes,
}

/// One file of one node.
#[derive(Debug)]
pub struct Disk {
    /// What reads see.
    pub live: Image,
    /// What a power cut leaves, at least.
    pub durable: Image,
    pending: VecDeque<Pending>,
    next: u64,
    /// The next flush fails, and what it was to save is lost (R11).
    pub fail_flush: bool,
    /// A flush has failed: the cache shows what the disk has not. Only a reboot ends that, so a
    /// process is not started again without one.
    poisoned: bool,
    /// When the last operation given to it ends, in true microseconds.
    pub lane_ends: u64,
    /// When the last flush ends.
    pub flush_ends: u64,
}

impl Disk {
    /// A blank disk of `len` bytes.
    pub fn new(len: u64) -> Self {
        Self {
            live: Image::new(len),
            durable: Image::new(len),
            pending: VecDeque::new(),
            next: 0,
            fail_flush: false,
            poisoned: false,
            lane_ends: 0,
            flush_ends: 0,
        }
    }

    /// Writes into the cache.
    pub fn write(&mut self, offset: u64, data: &Bytes) {
        self.live.write(offset as usize, data);
        self.pending.push_back(Pending { seq: self.next, offset: offset as usize, data: data.clone() });
        self.next += 1;
    }

    /// Bytes as a reader sees them.
    pub fn read(&self, offset: u64, len: u32) -> Bytes {
        let mut buf = vec![0; len as usize];
        self.live.read(offset, &mut buf);
        buf.into()
    }

    /// What a flush that begins now has to save.
    pub fn mark(&self) -> u64 {
        self.next
    }

    /// A flush that began at `mark` has done its work.
    pub fn flushed(&mut self, mark: u64) {
        while let Some(write) = self.pending.pop_front_if(|w| w.seq < mark) {
            self.durable.write(write.offset, &write.data);
        }
    }

    /// A flush that began at `mark` failed: the cache calls these writes clean, and they are gone.
    pub fn flush_failed(&mut self, mark: u64, rng: &mut Rng) {
        self.poisoned = true;
        while let Some(write) = self.pending.pop_front_if(|w| w.seq < mark) {
            self.keep_some(&write, rng);
        }
    }

    /// Whether a flush has failed since the machine was started.
    pub fn is_poisoned(&self) -> bool {
        self.poisoned
    }

    /// The process died and the machine went on: everything given to the disk gets there, unless a
    /// flush had failed.
    pub fn outlive(&mut self, rng: &mut Rng) {
        (self.lane_ends, self.flush_ends) = (0, 0);
        match self.poisoned {
            true => self.crash(rng),
            false => self.settle(),
        }
    }

    /// Everything given to it so far is durable.
    pub fn settle(&mut self) {
        self.flushed(u64::MAX);
    }

    /// Power cut: of what was not flushed, each sector survives or not.
    pub fn crash(&mut self, rng: &mut Rng) {
        (self.lane_ends, self.flush_ends) = (0, 0);
        while let Some(write) = self.pending.pop_front() {
            self.keep_some(&write, rng);
        }
        self.live.clone_from(&self.durable);
        self.poisoned = false;
    }

    fn keep_some(&mut self, write: &Pending, rng: &mut Rng) {
        let mut offset = write.offset;
        let mut rest = &write.data[..];
        while !rest.is_empty() {
            let len = rest.len().min(SECTOR - offset % SECTOR);
            if rng.chance(400) {
                self.durable.write(offset, &rest[..len]);
            }
            (offset, rest) = (offset + len, &rest[len..]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_power_cut_spares_only_what_was_flushed() {
        let mut disk = Disk::new(1 << 16);
        let kept = Bytes::from(vec![1; 4096]);
        let risked = Bytes::from(vec![2; 32 * SECTOR]);
        disk.write(4096, &kept);
        let mark = disk.mark();
        disk.write(8192, &risked);
        disk.flushed(mark);
        disk.crash(&mut Rng::new(1));
        assert_eq!(disk.read(4096, 4096), kept);
        let after = disk.read(8192, risked.len() as u32);
        assert!(after.contains(&0) && after.contains(&2), "torn at sectors");
    }

    #[test]
    fn a_failed_flush_loses_what_it_was_to_save_though_readers_still_see_it() {
        let mut disk = Disk::new(1 << 16);
        disk.write(0, &Bytes::from(vec![2; 32 * SECTOR]));
        let mark = disk.mark();
        disk.flush_failed(mark, &mut Rng::new(1));
        assert_eq!(disk.live.difference(&Disk::new(1 << 16).live), Some(0));
        disk.flushed(disk.mark());
        assert!(disk.live.difference(&disk.durable).is_some());
    }
}

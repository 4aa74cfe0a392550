//! A disk with a volatile cache, and all that disks do wrong: what was not flushed is lost or torn by a
//! power cut; a flush fails, lies or takes long; a write is lost or lands elsewhere; a bit flips.

mod image;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;

use crate::rng::Rng;

pub use image::Image;

/// What survives or is lost together at a crash, in bytes.
pub const SECTOR: usize = 512;

#[derive(Debug, Clone)]
struct Pending {
    seq: u64,
    offset: usize,
    data: Bytes,
}

/// What is wrong with a disk.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Wrong {
    /// The next flush fails, and what it was to save is lost (R11).
    pub fail_flush: bool,
    /// The next read or write fails.
    pub fail_io: bool,
    /// It says that it has flushed, and has not.
    pub lies: bool,
    /// The next write is answered and never done.
    pub lose: bool,
    /// The next write lands this many bytes further on.
    pub misdirect: Option<u64>,
    /// Nothing is answered any more.
    pub hangs: bool,
    /// It cannot grow.
    pub no_room: bool,
}

/// One file of one node.
#[derive(Debug)]
pub struct Disk {
    /// What reads see.
    pub live: Image,
    /// What a power cut leaves, at least.
    pub durable: Image,
    /// What is wrong with it.
    pub wrong: Wrong,
    /// Sectors that cannot be read until they are written.
    pub unreadable: BTreeSet<u64>,
    /// Given to the disk and not done yet.
    under_way: BTreeMap<u64, (usize, Bytes)>,
    /// Done and not durable yet.
    pending: VecDeque<Pending>,
    next: u64,
    len: u64,
    poisoned: bool,
    /// When the last operation given to it ends.
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
            wrong: Wrong::default(),
            unreadable: BTreeSet::new(),
            under_way: BTreeMap::new(),
            pending: VecDeque::new(),
            next: 0,
            len,
            poisoned: false,
            lane_ends: 0,
            flush_ends: 0,
        }
    }

    /// Takes a write in; it is done by [`apply`](Self::apply).
    pub fn begin(&mut self, offset: u64, data: &Bytes) -> u64 {
        self.next += 1;
        self.under_way.insert(self.next, (offset as usize, data.clone()));
        self.next
    }

    /// A write that was taken in is in the cache.
    pub fn apply(&mut self, seq: u64) {
        let Some((offset, data)) = self.under_way.remove(&seq) else { return };
        if std::mem::take(&mut self.wrong.lose) {
            return;
        }
        let aside = self.wrong.misdirect.take().unwrap_or(0) as usize;
        let offset = if offset + aside + data.len() <= self.len as usize { offset + aside } else { offset };
        let (first, end) = (offset / SECTOR, (offset + data.len()).div_ceil(SECTOR));
        self.unreadable.retain(|sector| !(first as u64..end as u64).contains(sector));
        self.live.write(offset, &data);
        self.pending.push_back(Pending { seq, offset, data });
    }

    /// Writes into the cache at once.
    pub fn write(&mut self, offset: u64, data: &Bytes) {
        let seq = self.begin(offset, data);
        self.apply(seq);
    }

    /// Bytes as a reader sees them.
    pub fn read(&self, offset: u64, len: u32) -> Bytes {
        let mut buf = vec![0; len as usize];
        self.live.read(offset, &mut buf);
        buf.into()
    }

    /// Whether nothing is wrong with it.
    pub fn is_well(&self) -> bool {
        self.wrong == Wrong::default() && self.unreadable.is_empty() && !self.poisoned
    }

    /// Whether all of it can be read.
    pub fn is_readable(&self, offset: u64, len: u32) -> bool {
        let sector = SECTOR as u64;
        self.unreadable.range(offset / sector..(offset + u64::from(len)).div_ceil(sector)).next().is_none()
    }

    /// What readers see once all that was given to it is done.
    pub fn when_done(&self) -> Image {
        let mut image = self.live.clone();
        for (offset, data) in self.under_way.values() {
            image.write(*offset, data);
        }
        image
    }

    /// What a flush that is given to it now has to save.
    pub fn mark(&self) -> u64 {
        self.next
    }

    /// A flush of all up to `mark` has ended; what it answers.
    pub fn flush(&mut self, mark: u64, rng: &mut Rng) -> Result<(), &'static str> {
        if std::mem::take(&mut self.wrong.fail_flush) {
            self.fail_flush(mark, rng);
            return Err("injected: the flush failed");
        }
        if !self.wrong.lies {
            self.settle(mark);
        }
        Ok(())
    }

    /// A flush of all up to `mark` has failed: the cache calls these writes clean, and they are gone.
    pub fn fail_flush(&mut self, mark: u64, rng: &mut Rng) {
        self.poisoned = true;
        while let Some(write) = self.pending.pop_front_if(|w| w.seq <= mark) {
            keep_some(&mut self.durable, write.offset, &write.data, rng);
        }
    }

    /// All up to `mark` is durable.
    pub fn settle(&mut self, mark: u64) {
        while let Some(write) = self.pending.pop_front_if(|w| w.seq <= mark) {
            self.durable.write(write.offset, &write.data);
        }
    }

    /// Whether a flush has failed since the machine was started.
    pub fn is_poisoned(&self) -> bool {
        self.poisoned
    }

    /// The process died and the machine went on: everything given to the disk gets there, unless a
    /// flush had failed.
    pub fn outlive(&mut self, rng: &mut Rng) {
        if self.poisoned {
            return self.crash(rng);
        }
        let under_way: Vec<u64> = self.under_way.keys().copied().collect();
        under_way.into_iter().for_each(|seq| self.apply(seq));
        (self.lane_ends, self.flush_ends) = (0, 0);
        self.wrong.hangs = false;
    }

    /// Power cut: of what was not flushed, each sector survives or not.
    pub fn crash(&mut self, rng: &mut Rng) {
        (self.lane_ends, self.flush_ends) = (0, 0);
        while let Some(write) = self.pending.pop_front() {
            keep_some(&mut self.durable, write.offset, &write.data, rng);
        }
        for (offset, data) in std::mem::take(&mut self.under_way).into_values() {
            keep_some(&mut self.durable, offset, &data, rng);
        }
        self.live.clone_from(&self.durable);
        self.poisoned = false;
        self.wrong.hangs = false;
    }

    /// The file is made longer, durably; what is behind `from` is zero.
    pub fn grow(&mut self, from: u64, len: u64) {
        self.cut(from);
        self.len = self.len.max(len);
        self.live.grow(self.len);
        self.durable.grow(self.len);
    }

    /// What is behind `at` is given back.
    pub fn cut(&mut self, at: u64) {
        let at = at as usize;
        self.live.cut(at);
        self.durable.cut(at);
        self.pending.retain(|w| w.offset < at);
        let across = self.pending.iter_mut().filter(|w| w.offset + w.data.len() > at);
        across.for_each(|w| w.data.truncate(at - w.offset));
    }

    /// One bit of the medium changes by itself.
    pub fn flip(&mut self, offset: u64) {
        for image in [&mut self.live, &mut self.durable] {
            let mut byte = [0];
            image.read(offset, &mut byte);
            byte[0] ^= 0x10;
            image.write(offset as usize, &byte);
        }
    }

    /// All given to it so far is durable; for a disk that is made.
    pub fn seal(&mut self) {
        let under_way: Vec<u64> = self.under_way.keys().copied().collect();
        under_way.into_iter().for_each(|seq| self.apply(seq));
        self.settle(u64::MAX);
    }
}

fn keep_some(durable: &mut Image, mut offset: usize, mut rest: &[u8], rng: &mut Rng) {
    while !rest.is_empty() {
        let len = rest.len().min(SECTOR - offset % SECTOR);
        if rng.chance(400) {
            durable.write(offset, &rest[..len]);
        }
        (offset, rest) = (offset + len, &rest[len..]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(disk: &mut Disk, offset: u64, byte: u8) {
        let seq = disk.begin(offset, &Bytes::from(vec![byte; 32 * SECTOR]));
        disk.apply(seq);
    }

    #[test]
    fn a_power_cut_spares_what_was_flushed_and_tears_the_rest() {
        let (mut disk, mut rng) = (Disk::new(1 << 16), Rng::new(1));
        put(&mut disk, 0, 1);
        disk.flush(disk.mark(), &mut rng).unwrap();
        put(&mut disk, 1 << 15, 2);
        disk.crash(&mut rng);
        assert_eq!(disk.read(0, 32 * SECTOR as u32), vec![1; 32 * SECTOR]);
        let torn = disk.read(1 << 15, 32 * SECTOR as u32);
        assert!(torn.contains(&0) && torn.contains(&2));
    }

    #[test]
    fn what_was_cut_off_is_zero_when_the_file_grows_again() {
        let (mut disk, mut rng) = (Disk::new(1 << 16), Rng::new(1));
        put(&mut disk, 0, 1);
        disk.flush(disk.mark(), &mut rng).unwrap();
        put(&mut disk, 0, 2);
        disk.grow(5 * SECTOR as u64 + 7, 1 << 17);
        disk.seal();
        for image in [&disk.live, &disk.durable] {
            let mut bytes = vec![9; 1 << 17];
            image.read(0, &mut bytes);
            let (kept, new) = bytes.split_at(5 * SECTOR + 7);
            assert!(kept.iter().all(|b| *b == 2) && new.iter().all(|b| *b == 0));
        }
    }

    #[test]
    fn each_fault_does_what_it_says() {
        let (mut disk, mut rng) = (Disk::new(1 << 16), Rng::new(1));
        disk.wrong.lose = true;
        put(&mut disk, 0, 1);
        assert_eq!(disk.read(0, 1)[0], 0, "lost");
        disk.wrong.misdirect = Some(SECTOR as u64);
        put(&mut disk, 0, 2);
        assert_eq!((disk.read(0, 1)[0], disk.read(SECTOR as u64, 1)[0]), (0, 2), "beside its place");
        disk.wrong.lies = true;
        disk.flush(disk.mark(), &mut rng).unwrap();
        assert!(disk.durable.difference(&Disk::new(1 << 16).live).is_none(), "nothing was saved");
        disk.wrong.fail_flush = true;
        assert!(disk.flush(disk.mark(), &mut rng).is_err() && disk.is_poisoned());
        assert!(disk.flush(disk.mark(), &mut rng).is_ok(), "as a kernel says, though the data are gone");
        let before = disk.read(9, 1)[0];
        disk.flip(9);
        assert_eq!(disk.read(9, 1)[0], before ^ 0x10);
    }
}

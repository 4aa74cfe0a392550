//! Which blocks of the data region are free. Bitmaps are read from the index as they are needed.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::index::Snapshot;
use crate::op::{Inode, Run, key};
use crate::state::Freed;

/// Blocks to a bitmap.
pub(crate) const GROUP: u32 = 32768;
/// Groups searched for one contiguous run before pieces are taken.
const TRIES: usize = 8;

pub(crate) fn group_blocks(group: u32, blocks: u64) -> u32 {
    let before = u64::from(group) * u64::from(GROUP);
    blocks.saturating_sub(before).min(u64::from(GROUP)) as u32
}

/// The allocator. What it hands out is free in the last durable checkpoint, and not handed out since.
#[derive(Debug)]
pub(crate) struct Space {
    blocks: u64,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    blocks: u64,
    base: Option<Arc<Snapshot>>,
    /// Free blocks of each group.
    free: Vec<u32>,
    free_total: u64,
    /// Bitmaps in use: a set bit is a used block.
    maps: HashMap<u32, Vec<u64>>,
    /// Where the next search begins.
    cursor: u64,
    /// Open files, and what of theirs waits for their end.
    pins: HashMap<Inode, Pin>,
}

#[derive(Debug, Default)]
struct Pin {
    handles: u32,
    due: Vec<Run>,
}

impl Space {
    /// Reads the counts of free blocks; the bitmaps come later.
    pub(crate) fn open(base: Arc<Snapshot>, blocks: u64) -> io::Result<Self> {
        let groups = blocks.div_ceil(u64::from(GROUP)) as u32;
        let mut free: Vec<u32> = (0..groups).map(|group| group_blocks(group, blocks)).collect();
        base.walk(b"g", b"h", &mut |key, value| {
            let group = key.get(1..5).and_then(|bytes| bytes.try_into().ok()).map(u32::from_be_bytes);
            let count = value.try_into().ok().map(u32::from_le_bytes);
            if let (Some(group), Some(count)) = (group, count)
                && let Some(slot) = free.get_mut(group as usize)
            {
                *slot = count.min(*slot);
            }
            Ok(true)
        })?;
        let free_total = free.iter().map(|count| u64::from(*count)).sum();
        let (maps, pins) = (HashMap::new(), HashMap::new());
        let inner = Inner { blocks, base: Some(base), free, free_total, maps, cursor: 0, pins };
        Ok(Space { blocks, inner: Mutex::new(inner) })
    }

    pub(crate) fn blocks(&self) -> u64 {
        self.blocks
    }

    pub(crate) fn free(&self) -> u64 {
        self.inner().free_total
    }

    /// Takes `need` blocks, in one run if it can be, and leaves `keep` free. `None`: no room.
    pub(crate) fn take(&self, need: u32, keep: u64) -> io::Result<Option<Vec<Run>>> {
        let mut inner = self.inner();
        if inner.free_total < u64::from(need) + keep {
            return Ok(None);
        }
        if let Some(run) = inner.take_one(need)? {
            return Ok(Some(vec![run]));
        }
        inner.take_pieces(need).map(Some)
    }

    /// Gives back blocks that no durable state names.
    pub(crate) fn release(&self, runs: impl IntoIterator<Item = Run>) {
        let mut inner = self.inner();
        for run in runs {
            inner.clear(run);
        }
    }

    /// Marks blocks that the replayed log names.
    pub(crate) fn mark(&self, run: Run) -> io::Result<()> {
        let mut inner = self.inner();
        let end = run.start.saturating_add(u64::from(run.blocks));
        if end > inner.blocks || run.blocks == 0 || run.start / GROUP64 != (end - 1) / GROUP64 {
            return Err(crate::error::corrupt("an extent of the log lies outside the data region"));
        }
        let group = (run.start / GROUP64) as u32;
        inner.load(group)?;
        if inner.map(group).iter_bits(run).any(|used| used) {
            return Err(crate::error::corrupt("an extent of the log is in use already"));
        }
        inner.set(run);
        Ok(())
    }

    /// Goes over to a new durable checkpoint, which covers these releases (R10).
    pub(crate) fn checkpointed(&self, base: Arc<Snapshot>, freed: &[Freed]) -> io::Result<()> {
        let mut inner = self.inner();
        for freed in freed.iter().filter(|freed| inner.pins.contains_key(&freed.inode)).collect::<Vec<_>>() {
            // A reader still holds it: its bits must stay, so they must be here.
            inner.load((freed.run.start / GROUP64) as u32)?;
        }
        inner.base = Some(base);
        for freed in freed {
            match inner.pins.get_mut(&freed.inode) {
                Some(pin) => pin.due.push(freed.run),
                None => inner.clear(freed.run),
            }
        }
        Ok(())
    }

    pub(crate) fn pin(&self, inode: Inode) {
        self.inner().pins.entry(inode).or_default().handles += 1;
    }

    pub(crate) fn unpin(&self, inode: Inode) {
        let mut inner = self.inner();
        let Some(pin) = inner.pins.get_mut(&inode) else { return };
        pin.handles -= 1;
        if pin.handles == 0 {
            let due = inner.pins.remove(&inode).map(|pin| pin.due).unwrap_or_default();
            for run in due {
                inner.clear(run);
            }
        }
    }

    /// Forgets everything: the volume is lost to this process.
    pub(crate) fn drop_caches(&self) {
        let mut inner = self.inner();
        inner.base = None;
        inner.maps = HashMap::new();
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

const GROUP64: u64 = GROUP as u64;

impl Inner {
    fn load(&mut self, group: u32) -> io::Result<()> {
        if self.maps.contains_key(&group) {
            return Ok(());
        }
        let Some(base) = &self.base else { return Err(crate::error::Failure::Closed.to_io()) };
        let row = base.read(&key::bitmap(group))?.unwrap_or_default();
        let mut words = vec![0u64; (GROUP / 64) as usize];
        for (at, byte) in row.iter().take((GROUP / 8) as usize).enumerate() {
            words[at / 8] |= u64::from(*byte) << (at % 8 * 8);
        }
        // Blocks beyond the end of the region are in use, so to say.
        for bit in group_blocks(group, self.blocks)..GROUP {
            words[(bit / 64) as usize] |= 1 << (bit % 64);
        }
        self.free[group as usize] = words.iter().map(|word| word.count_zeros()).sum();
        self.free_total = self.free.iter().map(|count| u64::from(*count)).sum();
        self.maps.insert(group, words);
        Ok(())
    }

    fn map(&self, group: u32) -> Map<'_> {
        Map(&self.maps[&group])
    }

    fn groups_from_cursor(&self) -> impl Iterator<Item = u32> + use<> {
        let groups = self.free.len() as u32;
        let first = (self.cursor / GROUP64) as u32;
        // The cursor's group comes again at the end, for the part before the cursor.
        (0..=groups).map(move |step| (first + step) % groups)
    }

    fn take_one(&mut self, need: u32) -> io::Result<Option<Run>> {
        let mut tries = 0;
        for (step, group) in self.groups_from_cursor().enumerate() {
            if self.free[group as usize] < need || tries == TRIES {
                continue;
            }
            tries += 1;
            self.load(group)?;
            let from = if step == 0 { (self.cursor % GROUP64) as u32 } else { 0 };
            if let Some(bit) = self.map(group).find(from, need) {
                let run = Run { start: u64::from(group) * GROUP64 + u64::from(bit), blocks: need };
                self.set(run);
                return Ok(Some(run));
            }
        }
        Ok(None)
    }

    /// Takes whatever is free from the cursor on; the caller saw that there is enough.
    fn take_pieces(&mut self, need: u32) -> io::Result<Vec<Run>> {
        let (mut left, mut runs) = (need, Vec::new());
        for group in self.groups_from_cursor() {
            self.load(group)?;
            let mut from = 0;
            while left > 0 {
                let Some((bit, len)) = self.map(group).next_free(from, left) else { break };
                let run = Run { start: u64::from(group) * GROUP64 + u64::from(bit), blocks: len };
                self.set(run);
                runs.push(run);
                (from, left) = (bit + len, left - len);
            }
            if left == 0 {
                break;
            }
        }
        debug_assert_eq!(left, 0, "free_total promised enough");
        Ok(runs)
    }

    fn set(&mut self, run: Run) {
        self.flip(run, true);
        self.cursor = (run.start + u64::from(run.blocks)) % self.blocks;
    }

    fn clear(&mut self, run: Run) {
        self.flip(run, false);
    }

    fn flip(&mut self, run: Run, used: bool) {
        let group = (run.start / GROUP64) as u32;
        if let Some(map) = self.maps.get_mut(&group) {
            let first = (run.start % GROUP64) as usize;
            for bit in first..first + run.blocks as usize {
                debug_assert_ne!(map[bit / 64] >> (bit % 64) & 1 == 1, used, "a block has one owner");
                map[bit / 64] ^= 1 << (bit % 64);
            }
        }
        let free = &mut self.free[group as usize];
        (*free, self.free_total) = if used {
            (*free - run.blocks, self.free_total - u64::from(run.blocks))
        } else {
            (*free + run.blocks, self.free_total + u64::from(run.blocks))
        };
    }
}

struct Map<'a>(&'a [u64]);

impl Map<'_> {
    fn used(&self, bit: u32) -> bool {
        self.0[(bit / 64) as usize] >> (bit % 64) & 1 == 1
    }

    /// The first bit at or after `from` that is used (or free).
    fn seek(&self, from: u32, used: bool) -> u32 {
        let mut bit = from;
        while bit < GROUP {
            let word = self.0[(bit / 64) as usize];
            let word = (if used { word } else { !word }) >> (bit % 64);
            if word != 0 {
                return bit + word.trailing_zeros();
            }
            bit = (bit / 64 + 1) * 64;
        }
        GROUP
    }

    /// Where `need` free bits in a row begin.
    fn find(&self, from: u32, need: u32) -> Option<u32> {
        let mut from = from;
        loop {
            let (bit, len) = self.next_free(from, need)?;
            if len == need {
                return Some(bit);
            }
            from = bit + len;
        }
    }

    /// The next free bit and how many are free there, up to `most`.
    fn next_free(&self, from: u32, most: u32) -> Option<(u32, u32)> {
        let bit = self.seek(from, false);
        (bit < GROUP).then(|| (bit, (self.seek(bit, true) - bit).min(most)))
    }

    fn iter_bits(&self, run: Run) -> impl Iterator<Item = bool> + '_ {
        let first = (run.start % GROUP64) as u32;
        (first..first + run.blocks).map(|bit| self.used(bit))
    }
}

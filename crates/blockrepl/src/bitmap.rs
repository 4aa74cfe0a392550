//! A set of granules, kept as bits.

/// Bytes that one bit stands for, unless [`Config::granule_bytes`](crate::Config::granule_bytes) says otherwise.
pub const GRANULE: u64 = 64 << 10;
/// The smallest and the largest granule.
pub(crate) const GRANULES: std::ops::RangeInclusive<u64> = 4096..=1 << 20;
/// Bytes that one entry of the activity log stands for.
pub const EXTENT: u64 = 1 << 20;
/// What is judged and compared at once, at most: a granule, or a part of a larger one.
pub(crate) const CHUNK_MAX: u64 = 64 << 10;

/// Which granules of a volume may differ from a peer's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bitmap {
    words: Vec<u64>,
    len: u32,
    count: u32,
}

impl Bitmap {
    pub(crate) fn new(len: u32) -> Self {
        Bitmap { words: vec![0; len.div_ceil(64) as usize], len, count: 0 }
    }

    /// Makes room for more bits, all clear.
    pub(crate) fn grow(&mut self, len: u32) {
        self.len = self.len.max(len);
        self.words.resize(self.len.div_ceil(64) as usize, 0);
    }

    /// Drops the bits from `len` on.
    pub(crate) fn truncate(&mut self, len: u32) {
        while let Some(bit) = self.next(len) {
            self.clear(bit);
        }
        self.len = self.len.min(len);
        self.words.truncate(self.len.div_ceil(64) as usize);
    }

    pub(crate) fn count(&self) -> u32 {
        self.count
    }

    pub(crate) fn get(&self, bit: u32) -> bool {
        bit < self.len && self.words[(bit / 64) as usize] >> (bit % 64) & 1 == 1
    }

    /// Returns whether the bit was clear.
    pub(crate) fn set(&mut self, bit: u32) -> bool {
        let fresh = bit < self.len && !self.get(bit);
        if fresh {
            self.words[(bit / 64) as usize] |= 1 << (bit % 64);
            self.count += 1;
        }
        fresh
    }

    /// Sets `count` bits from `first` on, as far as there are any; a word at a time.
    pub(crate) fn set_run(&mut self, first: u32, count: u32) {
        let end = first.saturating_add(count).min(self.len);
        let mut at = first;
        while at < end {
            let next = end.min((at / 64 + 1).saturating_mul(64));
            let mask = (u64::MAX >> (64 - (next - at))) << (at % 64);
            let word = &mut self.words[(at / 64) as usize];
            self.count += (mask & !*word).count_ones();
            *word |= mask;
            at = next;
        }
    }

    /// Clears all bits.
    pub(crate) fn clear_all(&mut self) {
        self.words.fill(0);
        self.count = 0;
    }

    /// Returns whether the bit was set.
    pub(crate) fn clear(&mut self, bit: u32) -> bool {
        let was = self.get(bit);
        if was {
            self.words[(bit / 64) as usize] &= !(1 << (bit % 64));
            self.count -= 1;
        }
        was
    }

    /// The first set bit at or after `from`.
    pub(crate) fn next(&self, from: u32) -> Option<u32> {
        let mut index = (from / 64) as usize;
        let mut word = self.words.get(index)? & (u64::MAX << (from % 64));
        while word == 0 {
            index += 1;
            word = *self.words.get(index)?;
        }
        Some(index as u32 * 64 + word.trailing_zeros())
    }

    /// The set bits as `(first, length)`. When there are more than `max` runs, neighbours are
    /// joined: the result then covers more than the set, never less.
    pub(crate) fn runs(&self, max: usize) -> Vec<(u32, u32)> {
        let mut gap = 0;
        loop {
            let runs = self.runs_joining(gap);
            if runs.len() <= max.max(1) {
                return runs;
            }
            gap = gap * 2 + 1;
        }
    }

    fn runs_joining(&self, gap: u32) -> Vec<(u32, u32)> {
        let mut runs: Vec<(u32, u32)> = Vec::new();
        let mut at = self.next(0);
        while let Some(bit) = at {
            match runs.last_mut() {
                Some((first, len)) if bit - (*first + *len) <= gap => *len = bit - *first + 1,
                _ => runs.push((bit, 1)),
            }
            at = self.next(bit + 1);
        }
        runs
    }

    /// Copies `out.len() * 8` bits from `first` (a multiple of 8) into `out`, little-endian.
    pub(crate) fn export(&self, first: u32, out: &mut [u8]) {
        for (i, byte) in out.iter_mut().enumerate() {
            let at = first as usize / 8 + i;
            let word = self.words.get(at / 8).copied().unwrap_or(0);
            *byte = word.to_le_bytes()[at % 8];
        }
    }

    /// The inverse of [`export`](Self::export); bits past the end are dropped.
    pub(crate) fn import(&mut self, first: u32, bytes: &[u8]) {
        for (i, byte) in bytes.iter().enumerate().filter(|(_, b)| **b != 0) {
            for bit in (0..8).filter(|bit| byte >> bit & 1 == 1) {
                self.set(first + i as u32 * 8 + bit);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn bitmap_behaves_as_a_set(ops in proptest::collection::vec((any::<bool>(), 0u32..300), 0..200)) {
            let (mut map, mut set) = (Bitmap::new(300), BTreeSet::new());
            for (put, bit) in ops {
                if put { prop_assert_eq!(map.set(bit), set.insert(bit)) }
                else { prop_assert_eq!(map.clear(bit), set.remove(&bit)) }
            }
            prop_assert_eq!(map.count() as usize, set.len());
            let bits: BTreeSet<u32> = map.runs(1000).iter().flat_map(|(a, n)| *a..*a + *n).collect();
            prop_assert_eq!(&bits, &set);
            let few: BTreeSet<u32> = map.runs(3).iter().flat_map(|(a, n)| *a..*a + *n).collect();
            prop_assert!(few.is_superset(&set) && map.runs(3).len() <= 3);
            for (first, count) in [(0, 1), (60, 5), (3, 200), (64, 64), (299, 9)] {
                let (mut at_once, mut singly) = (map.clone(), map.clone());
                at_once.set_run(first, count);
                (first..first + count).for_each(|bit| { singly.set(bit); });
                prop_assert_eq!(at_once, singly);
            }
            let mut bytes = [0u8; 40];
            map.export(0, &mut bytes);
            let mut copy = Bitmap::new(300);
            copy.import(0, &bytes);
            prop_assert_eq!(&copy, &map);
            // Cut off and grown again, what was behind the cut is clear.
            copy.truncate(77);
            prop_assert_eq!(copy.count() as usize, set.range(..77).count());
            copy.grow(300);
            let left: BTreeSet<u32> = copy.runs(1000).iter().flat_map(|(a, n)| *a..*a + *n).collect();
            prop_assert!(left.iter().eq(set.range(..77)));
        }
    }
}

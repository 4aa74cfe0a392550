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
///
/// Above the bits lies a bit for each word of them that is not zero, above those likewise, and so on: so the next set bit is found
/// in a few steps also among the 2^31 granules of the largest device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bitmap {
    /// The bits, and what lies above them; the last one is a single word.
    levels: Vec<Vec<u64>>,
    len: u32,
    count: u32,
}

impl Bitmap {
    pub(crate) fn new(len: u32) -> Self {
        let mut map = Bitmap { levels: vec![Vec::new()], len: 0, count: 0 };
        map.grow(len);
        map
    }

    /// Makes room for more bits, all clear.
    pub(crate) fn grow(&mut self, len: u32) {
        self.len = self.len.max(len);
        self.levels[0].resize(self.len.div_ceil(64) as usize, 0);
        self.look_again();
    }

    /// Drops the bits from `len` on.
    pub(crate) fn truncate(&mut self, len: u32) {
        self.len = self.len.min(len);
        let words = &mut self.levels[0];
        words.truncate(self.len.div_ceil(64) as usize);
        if let Some(last) = words.last_mut().filter(|_| !self.len.is_multiple_of(64)) {
            *last &= !(u64::MAX << (self.len % 64));
        }
        self.look_again();
    }

    /// Adds the bits of another one that is as long.
    pub(crate) fn add(&mut self, other: &Bitmap) {
        self.levels[0].iter_mut().zip(&other.levels[0]).for_each(|(word, more)| *word |= more);
        self.look_again();
    }

    /// Many words have changed: what lies above them is made anew.
    fn look_again(&mut self) {
        self.levels.truncate(1);
        self.count = self.levels[0].iter().map(|word| word.count_ones()).sum();
        while let Some(below) = self.levels.last().filter(|level| level.len() > 1) {
            let word = |words: &[u64]| (0..).zip(words).map(|(bit, w)| u64::from(*w != 0) << bit).sum();
            self.levels.push(below.chunks(64).map(word).collect());
        }
    }

    /// Puts a word in its place.
    fn put(&mut self, at: usize, word: u64) {
        let old = std::mem::replace(&mut self.levels[0][at], word);
        self.count = self.count - old.count_ones() + word.count_ones();
        let (mut at, mut was, mut is) = (at, old != 0, word != 0);
        for level in &mut self.levels[1..] {
            if was == is {
                return;
            }
            let word = &mut level[at / 64];
            was = *word != 0;
            *word ^= 1 << (at % 64);
            (is, at) = (*word != 0, at / 64);
        }
    }

    pub(crate) fn count(&self) -> u32 {
        self.count
    }

    pub(crate) fn get(&self, bit: u32) -> bool {
        bit < self.len && self.levels[0][(bit / 64) as usize] >> (bit % 64) & 1 == 1
    }

    /// Returns whether the bit was clear.
    pub(crate) fn set(&mut self, bit: u32) -> bool {
        let fresh = bit < self.len && !self.get(bit);
        if fresh {
            let at = (bit / 64) as usize;
            self.put(at, self.levels[0][at] | 1 << (bit % 64));
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
            let word = (at / 64) as usize;
            self.put(word, self.levels[0][word] | mask);
            at = next;
        }
    }

    /// Clears all bits.
    pub(crate) fn clear_all(&mut self) {
        self.levels.iter_mut().for_each(|level| level.fill(0));
        self.count = 0;
    }

    /// Returns whether the bit was set.
    pub(crate) fn clear(&mut self, bit: u32) -> bool {
        let was = self.get(bit);
        if was {
            let at = (bit / 64) as usize;
            self.put(at, self.levels[0][at] & !(1 << (bit % 64)));
        }
        was
    }

    fn word(&self, level: usize, at: usize) -> Option<u64> {
        #[cfg(test)]
        tests::LOOKED_AT.with(|words| words.set(words.get() + 1));
        self.levels.get(level)?.get(at).copied()
    }

    /// The first set bit at or after `from`.
    pub(crate) fn next(&self, from: u32) -> Option<u32> {
        let (mut level, mut at) = (0, from as usize);
        // Up, until there is one further on; and down to it.
        loop {
            let word = self.word(level, at / 64)? & (u64::MAX << (at % 64));
            if word != 0 {
                at = at / 64 * 64 + word.trailing_zeros() as usize;
                break;
            }
            (level, at) = (level + 1, at / 64 + 1);
        }
        for below in (0..level).rev() {
            at = at * 64 + self.word(below, at)?.trailing_zeros() as usize;
        }
        Some(at as u32)
    }

    /// The first bit at or after `from` that is clear, or the end.
    fn next_clear(&self, from: u32) -> u32 {
        let mut at = from;
        while let Some(word) = self.word(0, (at / 64) as usize) {
            let clear = !word & (u64::MAX << (at % 64));
            if clear != 0 {
                return self.len.min(at / 64 * 64 + clear.trailing_zeros());
            }
            at = (at / 64 + 1).saturating_mul(64);
        }
        self.len
    }

    /// The set bits as `(first, length)`. When there are more than `max` runs, neighbours are
    /// joined: the result then covers more than the set, never less.
    pub(crate) fn runs(&self, max: usize) -> Vec<(u32, u32)> {
        let mut gap = 0;
        loop {
            if let Some(runs) = self.runs_joining(gap, max.max(1)) {
                return runs;
            }
            gap = gap * 2 + 1;
        }
    }

    /// `None` if there are more than `max`.
    fn runs_joining(&self, gap: u32, max: usize) -> Option<Vec<(u32, u32)>> {
        let mut runs: Vec<(u32, u32)> = Vec::new();
        let mut from = 0;
        while let Some(bit) = self.next(from) {
            from = self.next_clear(bit);
            let full = runs.len() == max;
            match runs.last_mut() {
                Some((first, len)) if bit - (*first + *len) <= gap => *len = from - *first,
                _ if full => return None,
                _ => runs.push((bit, from - bit)),
            }
        }
        Some(runs)
    }

    /// Copies `out.len() * 8` bits from `first` (a multiple of 64) into `out`, little-endian.
    pub(crate) fn export(&self, first: u32, out: &mut [u8]) {
        let words = self.levels[0].iter().skip((first / 64) as usize).chain(std::iter::repeat(&0));
        for (bytes, word) in out.chunks_mut(8).zip(words) {
            bytes.copy_from_slice(&word.to_le_bytes()[..bytes.len()]);
        }
    }

    /// Adds what [`export`](Self::export) gave; bits past the end are dropped.
    pub(crate) fn import(&mut self, first: u32, bytes: &[u8]) {
        for (at, bytes) in (first / 64..self.len.div_ceil(64)).zip(bytes.chunks(8)) {
            let mut word = [0; 8];
            word[..bytes.len()].copy_from_slice(bytes);
            let left = self.len - at * 64;
            let within = if left < 64 { !(u64::MAX << left) } else { u64::MAX };
            self.put(at as usize, self.levels[0][at as usize] | u64::from_le_bytes(word) & within);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::cell::Cell;
    use std::collections::BTreeSet;

    thread_local! {
        /// Words that were looked at in this thread.
        pub(super) static LOOKED_AT: Cell<u64> = const { Cell::new(0) };
    }

    fn looked_at<R>(f: impl FnOnce() -> R) -> (R, u64) {
        let before = LOOKED_AT.get();
        let result = f();
        (result, LOOKED_AT.get() - before)
    }

    /// 1 TiB in granules of 4 KiB.
    #[test]
    fn many_granules_are_not_gone_through_for_a_few() {
        const GRANULES: u32 = 1 << 28;
        let mut map = Bitmap::new(GRANULES);
        for bit in [5, 1 << 20, GRANULES - 1] {
            map.set(bit);
        }
        for (from, next) in
            [(0, Some(5)), (6, Some(1 << 20)), ((1 << 20) + 1, Some(GRANULES - 1)), (GRANULES, None)]
        {
            let (found, words) = looked_at(|| map.next(from));
            assert_eq!(found, next);
            assert!(words <= 10, "{words} words from {from} on");
        }
        let (runs, words) = looked_at(|| map.runs(10));
        assert!(runs.len() == 3 && words <= 50, "{words}");
        map.set_run(0, GRANULES);
        let (runs, words) = looked_at(|| map.runs(10));
        assert_eq!(runs, [(0, GRANULES)]);
        assert!(words <= u64::from(GRANULES) / 64 + 10, "a word at a time");
        // Every other one of fewer: no more runs are made than were asked for.
        let mut map = Bitmap::new(1 << 20);
        (0..1 << 19).for_each(|bit| assert!(map.set(2 * bit)));
        let (few, words) = looked_at(|| map.runs_joining(0, 1000));
        assert!(few.is_none() && words <= 3000);
        let (runs, words) = looked_at(|| map.runs(1000));
        assert_eq!(runs, [(0, (1 << 20) - 1)]);
        assert!(words <= 2 << 20, "{words}: a few for each run");
    }

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
            let mut sum = Bitmap::new(300);
            sum.set_run(100, 70);
            sum.add(&map);
            let both: BTreeSet<u32> = set.iter().copied().chain(100..170).collect();
            prop_assert!(sum.runs(1000).iter().flat_map(|(a, n)| *a..*a + *n).eq(both.iter().copied()));
            prop_assert_eq!(sum.count() as usize, both.len());
            for from in 0..302 {
                prop_assert_eq!(map.next(from), set.range(from..).next().copied());
            }
            // Cut off and grown again, what was behind the cut is clear.
            copy.truncate(77);
            prop_assert_eq!(copy.count() as usize, set.range(..77).count());
            copy.grow(300);
            let left: BTreeSet<u32> = copy.runs(1000).iter().flat_map(|(a, n)| *a..*a + *n).collect();
            prop_assert!(left.iter().eq(set.range(..77)));
        }
    }
}

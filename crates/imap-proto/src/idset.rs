//! Sets of numbers to compute with.

use std::fmt;

use crate::SequenceSet;

/// An ordered set of numbers, as disjoint ranges that do not touch.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct IdSet {
    pub(crate) ranges: Vec<(u32, u32)>,
}

impl IdSet {
    /// The empty set.
    pub fn new() -> Self {
        Self::default()
    }

    /// The inclusive range `first..=last`; empty if `first > last`.
    pub fn range(first: u32, last: u32) -> Self {
        Self { ranges: if first <= last { vec![(first, last)] } else { Vec::new() } }
    }

    pub(crate) fn normalize(&mut self) {
        self.ranges.sort_unstable();
        let mut kept = 0;
        for n in 1..self.ranges.len() {
            let (a, b) = self.ranges[n];
            if a <= self.ranges[kept].1.saturating_add(1) {
                self.ranges[kept].1 = self.ranges[kept].1.max(b);
            } else {
                kept += 1;
                self.ranges[kept] = (a, b);
            }
        }
        self.ranges.truncate(kept + 1);
    }

    /// Adds one number; constant time when numbers come in order.
    pub fn insert(&mut self, id: u32) {
        match self.ranges.last_mut() {
            Some(last) if id > last.1 && id - 1 == last.1 => last.1 = id,
            Some(last) if id <= last.1 => self.insert_inside(id),
            _ => self.ranges.push((id, id)),
        }
    }

    fn insert_inside(&mut self, id: u32) {
        if !self.contains(id) {
            self.ranges.push((id, id));
            self.normalize();
        }
    }

    /// Whether `id` is in the set; logarithmic in the number of ranges.
    pub fn contains(&self, id: u32) -> bool {
        let n = self.ranges.partition_point(|r| r.1 < id);
        self.ranges.get(n).is_some_and(|r| r.0 <= id)
    }

    /// Whether the set is empty.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// How many numbers it holds.
    pub fn len(&self) -> u64 {
        self.ranges.iter().map(|r| u64::from(r.1 - r.0) + 1).sum()
    }

    /// The ranges in order, both ends included.
    pub fn ranges(&self) -> impl DoubleEndedIterator<Item = (u32, u32)> + '_ {
        self.ranges.iter().copied()
    }

    /// The numbers in order. Mind that a client may have sent `1:*`: intersect first.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.ranges.iter().flat_map(|r| r.0..=r.1)
    }

    /// The smallest number.
    pub fn first(&self) -> Option<u32> {
        self.ranges.first().map(|r| r.0)
    }

    /// The largest number.
    pub fn last(&self) -> Option<u32> {
        self.ranges.last().map(|r| r.1)
    }

    /// What is in either set; linear in the number of ranges.
    pub fn union(&self, other: &IdSet) -> IdSet {
        let mut set = IdSet { ranges: [&self.ranges[..], &other.ranges[..]].concat() };
        set.normalize();
        set
    }

    /// What is in both sets; linear in the number of ranges.
    pub fn intersection(&self, other: &IdSet) -> IdSet {
        let mut ranges = Vec::new();
        let (mut a, mut b) = (self.ranges.iter().peekable(), other.ranges.iter().peekable());
        while let (Some(x), Some(y)) = (a.peek(), b.peek()) {
            let (first, last) = (x.0.max(y.0), x.1.min(y.1));
            if first <= last {
                ranges.push((first, last));
            }
            if x.1 < y.1 {
                a.next()
            } else {
                b.next()
            };
        }
        IdSet { ranges }
    }

    /// The set as the wire has it; `None` if it is empty.
    pub fn to_sequence_set(&self) -> Option<SequenceSet> {
        SequenceSet::from_ids(self)
    }

    /// What is in `self` and not in `other`; linear in the number of ranges.
    pub fn difference(&self, other: &IdSet) -> IdSet {
        self.intersection(&other.complement())
    }

    fn complement(&self) -> IdSet {
        let mut ranges = Vec::with_capacity(self.ranges.len() + 1);
        let mut next = Some(0);
        for &(a, b) in &self.ranges {
            if let Some(first) = next.filter(|first| *first < a) {
                ranges.push((first, a - 1));
            }
            next = b.checked_add(1);
        }
        if let Some(first) = next {
            ranges.push((first, u32::MAX));
        }
        IdSet { ranges }
    }
}

impl FromIterator<u32> for IdSet {
    fn from_iter<I: IntoIterator<Item = u32>>(ids: I) -> Self {
        let mut set = IdSet { ranges: ids.into_iter().map(|id| (id, id)).collect() };
        set.normalize();
        set
    }
}

impl fmt::Display for IdSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, (a, b)) in self.ranges().enumerate() {
            let comma = if n > 0 { "," } else { "" };
            if a == b { write!(f, "{comma}{a}")? } else { write!(f, "{comma}{a}:{b}")? }
        }
        Ok(())
    }
}

impl fmt::Debug for IdSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IdSet({self})")
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for IdSet {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(&self.ranges)
    }
}

#[cfg(feature = "serde")]
impl<'de> serde::Deserialize<'de> for IdSet {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let mut set = IdSet { ranges: Vec::deserialize(from)? };
        set.ranges.retain(|(a, b)| a <= b);
        set.normalize();
        Ok(set)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> SequenceSet {
        text.parse().unwrap()
    }

    #[test]
    fn star_and_reversed_ranges_resolve_as_in_rfc_3501() {
        assert_eq!(parse("2,4:7,9,12:*").resolve(15).to_string(), "2,4:7,9,12:15");
        assert_eq!(parse("*:4,5:7").resolve(10).to_string(), "4:10");
        assert_eq!(parse("559:*").resolve(100).to_string(), "100:559");
        assert_eq!(parse("1:*").resolve(0).to_string(), "");
        assert_eq!(parse("*").resolve(3).to_string(), "3");
    }

    #[test]
    fn a_huge_range_stays_a_range() {
        let set = parse("1:4294967295,4294967295:1").resolve(7);
        assert_eq!((set.len(), set.ranges().count()), (u64::from(u32::MAX), 1));
    }

    proptest! {
        #[test]
        fn set_operations_agree_with_a_naive_model(
            a in proptest::collection::btree_set(0_u32..60, 0..40),
            b in proptest::collection::btree_set(0_u32..60, 0..40),
        ) {
            let (x, y): (IdSet, IdSet) = (a.iter().copied().collect(), b.iter().copied().collect());
            prop_assert!(x.union(&y).iter().eq(a.union(&b).copied()));
            prop_assert!(x.intersection(&y).iter().eq(a.intersection(&b).copied()));
            prop_assert!(x.difference(&y).iter().eq(a.difference(&b).copied()));
            let mut grown = IdSet::new();
            a.iter().rev().chain(&b).for_each(|id| grown.insert(*id));
            prop_assert_eq!(grown, x.union(&y));
            for id in 0..60 {
                prop_assert_eq!(x.contains(id), a.contains(&id));
            }
        }
    }
}

//! Whose resync goes first, of volumes that share disks.

use std::collections::BTreeMap;
use std::time::Duration;

/// Lets volumes on the same disks be resynced in order, so many at once (DRBD's `resync-after` and `max_parallel_resyncs`).
///
/// No I/O, no clock: tell it with [`saw`](Self::saw) how each resync stands, about once in a fraction of a second, and hold
/// those that [`turn`](Self::turn) lets wait, by [`Volume::pause_resync`](crate::Volume::pause_resync). A volume with a lower key goes first,
/// also if it comes later. All is derived from what was seen last, so nothing is latched: a volume that is gone, paused
/// by its operator, or without its peer is seen with nothing under way, and one that goes and does not move for a while
/// is in nobody's way until it does.
///
/// ```
/// use posthaste_blockrepl::{ResyncOrder, Turn};
/// use std::time::Duration;
///
/// let mut order = ResyncOrder::new(1, Duration::from_secs(10));
/// order.saw(Duration::ZERO, "mail", Some(4096)); // bytes to copy
/// order.saw(Duration::ZERO, "spool", Some(8192));
/// assert_eq!((order.turn(&"mail"), order.turn(&"spool")), (Turn::Goes, Turn::Waits("mail")));
/// order.saw(Duration::from_secs(1), "mail", None);
/// assert_eq!(order.turn(&"spool"), Turn::Goes);
/// ```
#[derive(Clone, Debug)]
pub struct ResyncOrder<K> {
    at_once: usize,
    patience: Duration,
    volumes: BTreeMap<K, Seen>,
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    /// Any number that changes while the resync moves.
    place: u64,
    /// When it last did, or was not its turn.
    moved: Duration,
    goes: bool,
    /// It has not moved for long, though it goes.
    stalled: bool,
}

/// What a volume's resync does now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Turn<K> {
    /// There is none.
    Idle,
    /// It goes.
    Goes,
    /// It waits for this volume's.
    Waits(K),
}

impl<K: Ord + Clone> ResyncOrder<K> {
    /// At most `at_once` (at least one) go, not counting those that have not moved for `patience`.
    pub fn new(at_once: usize, patience: Duration) -> Self {
        ResyncOrder { at_once: at_once.max(1), patience, volumes: BTreeMap::new() }
    }

    /// How a volume's resync stood at `now`: any number that changes while it moves, such as the bytes left; `None` when there is none,
    /// or none that could go.
    pub fn saw(&mut self, now: Duration, key: K, place: Option<u64>) {
        match place {
            None => {
                self.volumes.remove(&key);
            }
            Some(place) => {
                let new = Seen { place, moved: now, goes: false, stalled: false };
                let seen = self.volumes.entry(key).or_insert(new);
                if seen.place != place {
                    (seen.place, seen.moved) = (place, now);
                }
            }
        }
        self.settle(now);
    }

    /// Forgets all volumes but these.
    pub fn keep(&mut self, now: Duration, mut wanted: impl FnMut(&K) -> bool) {
        self.volumes.retain(|key, _| wanted(key));
        self.settle(now);
    }

    /// Whether a volume's resync goes, or which one it waits for: the first of those in its way.
    pub fn turn(&self, key: &K) -> Turn<K> {
        match self.volumes.get(key) {
            None => Turn::Idle,
            Some(seen) if seen.goes => Turn::Goes,
            Some(_) => match self.volumes.iter().find(|(_, seen)| seen.goes && !seen.stalled) {
                Some((first, _)) => Turn::Waits(first.clone()),
                None => Turn::Goes,
            },
        }
    }

    /// Hands the turns out anew, in order. Who waits has not stalled.
    fn settle(&mut self, now: Duration) {
        let mut free = self.at_once;
        for seen in self.volumes.values_mut() {
            let went = std::mem::replace(&mut seen.goes, free > 0);
            if !went || !seen.goes {
                seen.moved = now;
            }
            seen.stalled = now.saturating_sub(seen.moved) >= self.patience;
            free -= usize::from(seen.goes && !seen.stalled);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_stalled_predecessor_is_in_nobodys_way_until_it_moves() {
        let mut order = ResyncOrder::new(1, 3 * SECOND);
        for now in 0..3 {
            order.saw(now * SECOND, 1, Some(100));
            order.saw(now * SECOND, 2, Some(50));
            assert_eq!((order.turn(&1), order.turn(&2)), (Turn::Goes, Turn::Waits(1)));
        }
        order.saw(3 * SECOND, 2, Some(50));
        assert_eq!((order.turn(&1), order.turn(&2)), (Turn::Goes, Turn::Goes), "1 hangs");
        order.saw(4 * SECOND, 1, Some(99));
        assert_eq!((order.turn(&1), order.turn(&2)), (Turn::Goes, Turn::Waits(1)), "and moves again");
        // Whoever waited for long has not stalled by that.
        order.saw(9 * SECOND, 1, None);
        order.saw(9 * SECOND, 3, Some(1));
        assert_eq!((order.turn(&2), order.turn(&3)), (Turn::Goes, Turn::Waits(2)));
    }

    proptest! {
        #[test]
        fn somebody_goes_whenever_anybody_wants_to_and_no_more_than_so_many_move(
            at_once in 1usize..4,
            seen in proptest::collection::vec((0u64..3, 0u8..6, proptest::option::of(0u64..3)), 1..200),
        ) {
            let patience = 5 * SECOND;
            let mut order = ResyncOrder::new(at_once, patience);
            let mut now = Duration::ZERO;
            // By volume: what was seen of it last.
            let mut model: BTreeMap<u8, u64> = BTreeMap::new();
            // When it was seen to move, or was not let go.
            let mut moved: BTreeMap<u8, Duration> = BTreeMap::new();
            for (wait, key, place) in seen {
                now += SECOND * wait as u32;
                let before = model.get(&key).copied();
                match place {
                    Some(place) => drop(model.insert(key, place)),
                    None => drop(model.remove(&key)),
                }
                if before != place {
                    moved.insert(key, now);
                }
                order.saw(now, key, place);
                let turns: Vec<(u8, Turn<u8>)> = model.keys().map(|k| (*k, order.turn(k))).collect();
                let goes = |k: &u8| order.turn(k) == Turn::Goes;
                prop_assert!(turns.iter().all(|(_, turn)| *turn != Turn::Idle));
                prop_assert!(model.is_empty() || turns.iter().any(|(_, turn)| *turn == Turn::Goes));
                let moving = model.keys().filter(|k| goes(k) && now - moved[k] < patience).count();
                prop_assert!(moving <= at_once, "{turns:?}");
                for (k, turn) in &turns {
                    if let Turn::Waits(first) = turn {
                        prop_assert!(first < k && goes(first));
                        moved.insert(*k, now);
                    }
                }
            }
        }
    }
}

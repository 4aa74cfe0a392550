//! What must be true where several nodes write: each sector is a linearizable register, in the times at which clients
//! asked and were answered. A leader that takes over may lose what no flush has acknowledged, and nothing
//! that a reader saw before such a flush was asked for.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use posthaste_blockrepl::core::{LeaseId, RequestId};

use super::layout::{decode, sectors};
use super::name::{is_zeros, may_be};
use super::world::MS;
use crate::checkers::Verdict;
use crate::disk::Image;

const NEVER: u64 = u64::MAX;

/// One operation on one register. A write without an answer may have been done.
#[derive(Debug, Clone, Copy)]
struct Op {
    write: bool,
    value: u64,
    began: u64,
    ended: u64,
}

/// What a client on some node has asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asks {
    /// To write these sectors.
    Write {
        /// The write's name.
        id: u64,
        /// The first sector.
        first: usize,
        /// How many.
        len: usize,
    },
    /// To read them.
    Read {
        /// The first sector.
        first: usize,
        /// How many.
        len: usize,
    },
    /// For a flush.
    Flush,
    /// To have them for itself.
    Lease {
        /// The first sector.
        first: usize,
        /// How many.
        len: usize,
    },
}

#[derive(Debug, Clone, Copy)]
struct Open {
    asks: Asks,
    began: u64,
    since_us: u64,
    /// The leader has taken this node's ranges meanwhile: a grant that is still on its way is void.
    void: bool,
}

/// A range that one node holds.
#[derive(Debug, Clone, Copy)]
struct Held {
    node: usize,
    lease: LeaseId,
    first: usize,
    len: usize,
    began: u64,
    /// No write to it was under way when it was granted: none that was can be told to race.
    clean: bool,
}

/// A write, to hold against it which races were told.
#[derive(Debug, Clone, Copy)]
struct Wrote {
    node: usize,
    sectors: (usize, usize),
    began: u64,
    began_us: u64,
    /// When it was answered; never, if it failed or is not answered yet.
    ended_us: u64,
}

/// Two writes overlapped, as a leader has told.
#[derive(Debug, Clone, Copy)]
pub struct Race {
    /// Whose came first.
    pub first: usize,
    /// Whose came second.
    pub second: usize,
    /// Which sectors they have in common.
    pub sectors: (usize, usize),
    /// When it was told.
    pub at_us: u64,
    /// How long it takes at most, while nothing is wrong, until all nodes know that a write is complete.
    pub late_us: Option<u64>,
}

/// Races and writes that are remembered: more than the core remembers.
const REMEMBERED: usize = 4096;
/// After a range was held, writes to it may still have waited for that at the leader.
const LEASED_US: u64 = 200 * MS;

fn meet(a: (usize, usize), b: (usize, usize)) -> bool {
    a.0 < b.0 + b.1 && b.0 < a.0 + a.1
}

fn common(a: (usize, usize), b: (usize, usize)) -> (usize, usize) {
    let first = a.0.max(b.0);
    (first, (a.0 + a.1).min(b.0 + b.1).saturating_sub(first))
}

/// What clients did since a leader opened, and what they saw.
#[derive(Debug)]
pub struct History {
    registers: Vec<Vec<Op>>,
    open: BTreeMap<(usize, RequestId), Open>,
    held: Vec<Held>,
    wrote: VecDeque<Wrote>,
    told: VecDeque<Race>,
    /// When a range with this sector was last asked for, held or given back, in microseconds.
    leased_us: Vec<u64>,
    /// Since when nothing has gone wrong and all copies are read.
    calm_since: Option<u64>,
    dirty: BTreeSet<usize>,
    time: u64,
    /// When the newest flush that was acknowledged was asked for.
    flushed: u64,
    /// The epoch that is open.
    pub epoch: u64,
    /// An operator accepts whatever the next leader opens with.
    pub accepts_loss: bool,
    /// Pairs of writes that raced for certain, while nothing was wrong.
    pub races: u64,
    /// Races that leaders have told of.
    pub overlaps: u64,
}

impl History {
    /// All is zero.
    pub fn new(sectors: usize) -> Self {
        let blank = vec![Op { write: true, value: 0, began: 0, ended: 0 }];
        Self {
            registers: vec![blank; sectors],
            open: BTreeMap::new(),
            held: Vec::new(),
            wrote: VecDeque::new(),
            told: VecDeque::new(),
            leased_us: vec![0; sectors],
            calm_since: None,
            dirty: BTreeSet::new(),
            time: 1,
            flushed: 0,
            epoch: 0,
            accepts_loss: false,
            races: 0,
            overlaps: 0,
        }
    }

    /// The device has so many sectors; of those that it had so many are kept, and what is new is zero.
    pub fn resized(&mut self, kept: usize, sectors: usize) {
        self.time += 1;
        let blank = vec![Op { write: true, value: 0, began: self.time, ended: self.time }];
        self.registers.truncate(kept);
        self.registers.resize(sectors, blank);
        self.leased_us.resize(sectors, 0);
        self.dirty.retain(|sector| *sector < kept);
    }

    /// All from this sector on may become zeros at any time from now on, or never: by the write of this name.
    pub fn shrinks(&mut self, to: usize, name: u64) {
        self.time += 1;
        let (began, len) = (self.time, self.registers.len().saturating_sub(to));
        self.note_write((name, to, len), began, NEVER);
    }

    /// Sectors that clients may write.
    pub fn sectors(&self) -> usize {
        self.registers.len()
    }

    /// Whether a flush has acknowledged what it shows.
    pub fn is_acknowledged(&self, sector: usize) -> bool {
        let written = |op: &&Op| op.write && op.value > 0;
        self.registers[sector].iter().filter(written).any(|op| op.ended < self.flushed)
    }

    /// A client asks.
    pub fn begin(&mut self, node: usize, request: RequestId, asks: Asks, now_us: u64) {
        self.time += 1;
        if let Asks::Lease { first, len } = asks {
            self.note_lease((first, len), now_us);
        }
        self.open.insert((node, request), Open { asks, began: self.time, since_us: now_us, void: false });
    }

    /// How many operations of a node are not answered.
    pub fn under_way(&self, node: usize) -> usize {
        self.open.keys().filter(|(n, _)| *n == node).count()
    }

    /// What has waited for longest, and since when.
    pub fn oldest(&self) -> Option<(usize, Asks, u64)> {
        let oldest = self.open.iter().min_by_key(|(_, open)| open.since_us)?;
        Some((oldest.0.0, oldest.1.asks, oldest.1.since_us))
    }

    /// An answer that counts: what was asked for, when, and whether a range that it grants may be another's by now.
    pub fn end(
        &mut self,
        node: usize,
        request: RequestId,
        ok: bool,
        now_us: u64,
    ) -> Option<(Asks, u64, bool)> {
        let open = self.open.remove(&(node, request))?;
        let Open { asks, began, void, .. } = open;
        self.time += 1;
        self.remember(node, open, if ok { now_us } else { NEVER });
        if let Asks::Write { id, first, len } = asks {
            self.note_write((id, first, len), began, if ok { self.time } else { NEVER });
        }
        Some((asks, began, void))
    }

    fn remember(&mut self, node: usize, open: Open, ended_us: u64) {
        if let Some(wrote) = wrote(node, &open, ended_us) {
            self.wrote.push_back(wrote);
            self.wrote.drain(..self.wrote.len().saturating_sub(REMEMBERED));
        }
    }

    fn note_lease(&mut self, (first, len): (usize, usize), now_us: u64) {
        self.leased_us.iter_mut().skip(first).take(len).for_each(|at| *at = now_us);
    }

    fn note_write(&mut self, (value, first, len): (u64, usize, usize), began: u64, ended: u64) {
        for sector in first..(first + len).min(self.registers.len()) {
            if self.note(sector, Op { write: true, value, began, ended }) {
                self.dirty.insert(sector);
            }
        }
    }

    /// Whether it is there still: what was under way when the device was cut off says nothing of what is there since.
    fn note(&mut self, sector: usize, op: Op) -> bool {
        let Some(register) = self.registers.get_mut(sector) else { return false };
        let fits = register.first().is_none_or(|first| first.began <= op.began);
        if fits {
            register.push(op);
        }
        fits
    }

    /// A write by `node` was answered: nobody else held the range meanwhile. `calm`: who leads, while nothing goes
    /// wrong and all copies are read. A write of the leader that was asked for and answered while another's was
    /// under way has raced with that for certain: it was told.
    pub fn written(
        &mut self,
        node: usize,
        sectors: (usize, usize),
        began: u64,
        calm: Option<usize>,
    ) -> Verdict {
        let calm_since = calm.map(|_| self.calm_since.unwrap_or(self.time));
        self.calm_since = calm_since;
        let inside = |h: &&Held| h.node != node && h.began < began && meet((h.first, h.len), sectors);
        if let Some(held) = self.held.iter().find(inside) {
            return Err(format!("node {node} writes to sectors {sectors:?}, though {held:?}"));
        }
        let Some(since) = calm_since.filter(|since| *since < began) else { return Ok(()) };
        let inside = |w: &&Wrote| {
            Some(w.node) == calm && w.node != node && meet(w.sectors, sectors) && w.began > began.max(since)
        };
        let outer = Wrote {
            node,
            sectors,
            began,
            began_us: self.wrote.back().map_or(0, |w| w.began_us),
            ended_us: NEVER,
        };
        let certain: Vec<Wrote> =
            self.wrote.iter().filter(inside).filter(|w| self.free(&outer, w)).copied().collect();
        self.races += certain.len() as u64;
        match certain.iter().find(|inner| !self.was_told(&outer, inner)) {
            Some(inner) => Err(format!("{inner:?} raced with {outer:?}, and no leader has told so")),
            None => Ok(()),
        }
    }

    /// No lease has kept the two apart.
    fn free(&self, outer: &Wrote, inner: &Wrote) -> bool {
        let (first, len) = outer.sectors;
        let (from, n) = inner.sectors;
        let leased =
            |sector: usize| self.leased_us.get(sector).is_some_and(|at| at + LEASED_US > outer.began_us);
        let spans = [outer.sectors, inner.sectors];
        let held = |h: &Held| spans.iter().any(|span| meet((h.first, h.len), *span));
        let asked = |open: &Open| matches!(open.asks, Asks::Lease { first, len } if spans.iter().any(|span| meet((first, len), *span)));
        !(first..first + len).chain(from..from + n).any(leased)
            && !self.held.iter().any(held)
            && !self.open.values().any(asked)
    }

    /// The second of the two was told to have raced, with the first or with a third.
    fn was_told(&self, outer: &Wrote, inner: &Wrote) -> bool {
        let second =
            |race: &Race, w: &Wrote| race.second == w.node && common(race.sectors, w.sectors) == race.sectors;
        let told =
            |race: &&Race| race.at_us >= outer.began_us && (second(race, outer) || second(race, inner));
        self.told.iter().any(|race| told(&race))
    }

    /// A reader was shown these values.
    pub fn read(&mut self, first: usize, values: &[Option<u64>], began: u64) -> Verdict {
        for (sector, value) in (first..).zip(values) {
            let value = value.ok_or_else(|| format!("sector {sector} shows what nobody wrote"))?;
            self.note(sector, Op { write: false, value, began, ended: self.time });
        }
        Ok(())
    }

    /// A range is held from now on.
    pub fn leased(&mut self, node: usize, lease: LeaseId, (first, len): (usize, usize)) -> Verdict {
        let other = |h: &&Held| h.node != node && meet((h.first, h.len), (first, len));
        let taken = self.held.iter().find(other).copied();
        let writes = |open: &Open| matches!(open.asks, Asks::Write { first: f, len: l, .. } if meet((f, l), (first, len)));
        let clean = !self.open.values().any(writes);
        self.held.push(Held { node, lease, first, len, began: self.time, clean });
        match taken {
            Some(held) => {
                Err(format!("node {node} is granted sectors {first}+{len} that are held: {held:?}"))
            }
            None => Ok(()),
        }
    }

    /// It is not any more.
    pub fn released(&mut self, node: usize, lease: LeaseId, now_us: u64) {
        let mine = |h: &&Held| h.node == node && h.lease == lease;
        let ranges: Vec<_> = self.held.iter().filter(mine).map(|h| (h.first, h.len)).collect();
        ranges.into_iter().for_each(|range| self.note_lease(range, now_us));
        self.held.retain(|h| h.node != node || h.lease != lease);
    }

    /// The leader has taken this one away, if it was granted; and what else it grants that node may be void.
    pub fn lost(&mut self, node: usize, lease: LeaseId, now_us: u64) {
        self.released(node, lease, now_us);
        self.make_void(|n| n == node);
    }

    /// Of all others nothing is held any more.
    pub fn only(&mut self, writes: impl Fn(usize) -> bool) {
        self.held.retain(|h| writes(h.node));
        self.make_void(|n| !writes(n));
    }

    fn make_void(&mut self, of: impl Fn(usize) -> bool) {
        self.open.iter_mut().filter(|((n, _), _)| of(*n)).for_each(|(_, open)| open.void = true);
    }

    /// Two writers raced, a leader says: the first one's write may not have been complete for what the second one knew
    /// when it asked for its own, which nobody has been answered yet, and these sectors are what the two have in common.
    pub fn overlapped(&mut self, race: Race) -> Verdict {
        self.overlaps += 1;
        self.told.push_back(race);
        self.told.drain(..self.told.len().saturating_sub(REMEMBERED));
        let Race { first, second, sectors, late_us, .. } = race;
        let open: Vec<Wrote> = self.open.iter().filter_map(|((n, _), open)| wrote(*n, open, NEVER)).collect();
        let all = || open.iter().chain(&self.wrote);
        let pair = |v: &Wrote, w: &Wrote| {
            let late = late_us.is_some_and(|late| v.ended_us.saturating_add(late) < w.began_us);
            v.node == first && common(v.sectors, w.sectors) == sectors && !late
        };
        let seconds = || all().filter(|w| w.node == second && w.ended_us == NEVER);
        if first == second || !seconds().any(|w| all().any(|v| pair(v, w))) {
            return Err(format!("{race:?} is told, and no two writes can have raced so"));
        }
        match self.held.iter().find(|h| h.clean && meet((h.first, h.len), sectors)) {
            Some(held) => Err(format!("writes to {sectors:?} overlapped, though {held:?}")),
            None => Ok(()),
        }
    }

    /// A node's process, or its handle, is gone: nobody hears its answers.
    pub fn dies(&mut self, node: usize) {
        self.held.retain(|h| h.node != node);
        let gone: Vec<_> = self.open.extract_if(.., |(n, _), _| *n == node).map(|(_, open)| open).collect();
        for open in gone {
            self.remember(node, open, NEVER);
            if let Asks::Write { id, first, len } = open.asks {
                self.note_write((id, first, len), open.began, NEVER);
            }
        }
    }

    /// A flush is acknowledged that was asked for at `began`: what was answered before is on these media, or
    /// something that did not come before it.
    pub fn flush(&mut self, began: u64, images: &[(usize, &Image)]) -> Verdict {
        self.flushed = self.flushed.max(began);
        let mut clean = Vec::new();
        for sector in &self.dirty {
            let history = &self.registers[*sector];
            let covered = history.iter().filter(|op| op.write && op.ended < began);
            let newest = covered.map(|op| op.began).max().unwrap_or(0);
            for (node, image) in images {
                let found = decode(image, *sector);
                let shown = |op: &&Op| op.write && found.is_some_and(|found| may_be(op.value, found));
                let known = found.is_some_and(|found| self.is_known(*sector, found));
                let under_way = found.is_some_and(|found| self.is_under_way(*sector, found));
                let old = history.iter().filter(shown).all(|op| op.ended < newest) && !under_way;
                if let Some(op) = history.iter().find(shown).filter(|_| old) {
                    return Err(format!(
                        "a flush is acknowledged; sector {sector} of the medium of node {node} shows {op:?}"
                    ));
                }
                if !known {
                    return Err(format!("the medium of node {node} shows garbage in sector {sector}"));
                }
            }
            if history.iter().all(|op| !op.write || op.ended < began) {
                clean.push(*sector);
            }
        }
        clean.iter().for_each(|sector| {
            self.dirty.remove(sector);
        });
        Ok(())
    }

    fn is_known(&self, sector: usize, value: u64) -> bool {
        self.registers[sector].iter().any(|op| op.write && may_be(op.value, value))
            || self.is_under_way(sector, value)
    }

    fn is_under_way(&self, sector: usize, value: u64) -> bool {
        let writes = |open: &Open| matches!(open.asks, Asks::Write { id, first, len } if may_be(id, value) && (first..first + len).contains(&sector));
        self.open.values().any(writes)
    }

    /// A leader opens on this image: all before is judged, and what it shows is what happened.
    pub fn open(&mut self, epoch: u64, size: u64, image: &Image) -> Verdict {
        if epoch <= self.epoch {
            return Err(format!("epoch {epoch} opens after epoch {}", self.epoch));
        }
        self.settle()?;
        // Whether it may have this size is judged elsewhere.
        let sectors = sectors(size);
        self.resized(sectors, sectors);
        self.epoch = epoch;
        let accepts_loss = std::mem::take(&mut self.accepts_loss);
        self.time += 1;
        let time = self.time;
        for sector in 0..self.registers.len() {
            let found = decode(image, sector).ok_or_else(|| format!("sector {sector}: garbage"))?;
            let mut kept = Vec::new();
            for op in &self.registers[sector] {
                match op.ended < self.flushed {
                    true => kept.push(*op),
                    false if op.write => kept.push(Op { ended: NEVER, ..*op }),
                    false => {}
                }
            }
            kept.push(Op { write: false, value: found, began: time, ended: time });
            let verdict = if accepts_loss { Ok(()) } else { linearizable(&kept) };
            verdict.map_err(|why| {
                format!("epoch {epoch} opens with sector {sector} showing {found:#x}: {why}")
            })?;
            self.registers[sector] = vec![Op { write: true, value: found, began: time, ended: time }];
        }
        self.flushed = time;
        self.wrote.clear();
        self.told.clear();
        (self.overlaps, self.calm_since) = (0, None);
        Ok(())
    }

    /// Judges the whole history up to now. What is under way is over: nobody waits for it any more.
    fn settle(&mut self) -> Verdict {
        let nodes: BTreeSet<usize> = self.open.keys().map(|(node, _)| *node).collect();
        nodes.into_iter().for_each(|node| self.dies(node));
        self.held.clear();
        self.dirty.clear();
        for (sector, history) in self.registers.iter().enumerate() {
            linearizable(history).map_err(|why| format!("sector {sector}: {why}"))?;
        }
        Ok(())
    }

    /// All is answered and at rest: the last history, the image of the leader of so many sectors, and how many races it has
    /// counted.
    pub fn quiet(&mut self, image: &Image, sectors: usize, counted: u64) -> Verdict {
        if counted != self.overlaps {
            return Err(format!("the leader counts {counted} overlaps, and has told of {}", self.overlaps));
        }
        if let Some((node, asks, since)) = self.oldest() {
            return Err(format!("{asks:?} of node {node} was never answered, since {} ms", since / MS));
        }
        self.time += 1;
        let values: Vec<_> = (0..sectors).map(|sector| decode(image, sector)).collect();
        self.read(0, &values, self.time)?;
        self.settle()
    }
}

fn wrote(node: usize, open: &Open, ended_us: u64) -> Option<Wrote> {
    let Asks::Write { first, len, .. } = open.asks else { return None };
    Some(Wrote { node, sectors: (first, len), began: open.began, began_us: open.since_us, ended_us })
}

/// Whether a history of one register, whose writes all differ, has a linear order (Gibbons and Korach): each
/// value with its reads has a zone, from its first end to its last beginning.
fn linearizable(history: &[Op]) -> Verdict {
    let mut clusters: BTreeMap<u64, Vec<&Op>> = BTreeMap::new();
    let zeros: Vec<&Op> = history.iter().filter(|op| op.write && is_zeros(op.value)).collect();
    for op in history {
        let value = match op.write || op.value > 0 {
            true => Some(op.value),
            false => shown_zeros(op, &zeros, history)?,
        };
        value.into_iter().for_each(|value| clusters.entry(value).or_default().push(op));
    }
    let (mut forward, mut backward) = (Vec::new(), Vec::new());
    for (value, ops) in &clusters {
        let write = ops.iter().find(|op| op.write);
        let write = write.ok_or_else(|| format!("{value:#x} was read and nobody wrote it"))?;
        if let Some(read) = ops.iter().find(|op| !op.write && op.ended < write.began) {
            return Err(format!("{read:?} is before {write:?}"));
        }
        let first_end = ops.iter().map(|op| op.ended).min().unwrap_or(NEVER);
        let last_begin = ops.iter().map(|op| op.began).max().unwrap_or(0);
        match first_end < last_begin {
            true => forward.push((first_end, last_begin, *value)),
            false if first_end < NEVER => backward.push((last_begin, first_end, *value)),
            false => {}
        }
    }
    forward.sort_unstable();
    if let Some(pair) = forward.windows(2).find(|pair| pair[1].0 < pair[0].1) {
        return Err(format!("the zones {:?} and {:?} overlap", pair[0], pair[1]));
    }
    for zone in &backward {
        if let Some(around) = forward.iter().find(|f| f.0 < zone.0 && zone.1 < f.1) {
            return Err(format!("{zone:?} lies within {around:?}"));
        }
    }
    Ok(())
}

/// Whose zeros a reader was shown: those of a write that was not after it, and that no other write has come between for certain.
/// None is told where it may be one of several; no order is missed by leaving such a read out.
fn shown_zeros(read: &Op, zeros: &[&Op], history: &[Op]) -> Result<Option<u64>, String> {
    if let [only] = zeros {
        return Ok(Some(only.value));
    }
    let before = history.iter().filter(|op| op.write && op.ended < read.began);
    let newest = before.map(|op| op.began).max().unwrap_or(0);
    let mut possible = zeros.iter().filter(|op| op.began <= read.ended && op.ended >= newest);
    let first = possible.next().ok_or_else(|| format!("{read:?}: what was zeroed was overwritten before"))?;
    Ok(Some(first.value).filter(|_| possible.next().is_none()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_are_those_of_some_write() {
        let op = |write, value, began, ended| Op { write, value, began, ended };
        let start = op(true, 0, 0, 0);
        let cleared = op(true, 3, 10, 12);
        let again = [start, op(true, 2, 1, 2), cleared, op(false, 0, 13, 14)];
        assert_eq!(linearizable(&again), Ok(()));
        let either = [start, op(true, 2, 1, 9), op(true, 3, 1, 9), op(false, 0, 2, 3), op(false, 2, 10, 11)];
        assert_eq!(linearizable(&either), Ok(()));
        let early = [start, op(true, 2, 1, 2), op(false, 0, 3, 4), cleared];
        let lost = [start, op(true, 2, 1, 2), cleared, op(false, 2, 13, 14)];
        let stale = [start, op(true, 3, 1, 2), op(true, 4, 3, 4), op(false, 0, 5, 6)];
        for bad in [&early[..], &lost, &stale] {
            assert!(linearizable(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn what_was_cut_off_is_zeros_or_is_not_and_nothing_of_it_comes_back() {
        let write = |history: &mut History, request: u64, id, first| {
            history.begin(0, RequestId(request), Asks::Write { id, first, len: 1 }, 0);
            history.end(0, RequestId(request), true, 0).unwrap();
        };
        let mut history = History::new(24);
        write(&mut history, 1, 2, 20);
        history.begin(1, RequestId(9), Asks::Write { id: 4, first: 21, len: 1 }, 0);
        history.shrinks(12, 5);
        for shown in [2, 0] {
            history.read(20, &[Some(shown)], history.time + 1).unwrap();
            history.time += 2;
        }
        assert_eq!(linearizable(&history.registers[20]), Ok(()));
        history.resized(12, 12);
        history.resized(12, 24);
        history.end(1, RequestId(9), true, 0).unwrap();
        assert_eq!(history.registers[21].len(), 1, "that was of what is gone");
        history.read(20, &[Some(2)], history.time + 1).unwrap();
        assert!(linearizable(&history.registers[20]).is_err(), "it came back");
    }

    #[test]
    fn orders_that_exist_are_told_from_those_that_do_not() {
        let op = |write, value, began, ended| Op { write, value, began, ended };
        let start = op(true, 0, 0, 0);
        let good = [start, op(true, 2, 1, 9), op(false, 0, 2, 3), op(false, 2, 4, 5)];
        assert_eq!(linearizable(&good), Ok(()));
        let lost = [start, op(true, 2, 1, NEVER), op(false, 0, 3, 4), op(false, 2, 5, 6)];
        assert_eq!(linearizable(&lost), Ok(()));
        let inversion = [start, op(true, 2, 1, 9), op(false, 2, 2, 3), op(false, 0, 4, 5)];
        let stale = [start, op(true, 2, 1, 2), op(false, 0, 3, 4)];
        let unwritten = [start, op(false, 8, 1, 2)];
        let early = [start, op(false, 2, 1, 2), op(true, 2, 3, 4)];
        for bad in [&inversion[..], &stale, &unwritten, &early] {
            assert!(linearizable(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_range_that_one_holds_is_not_written_by_another() {
        let mut history = History::new(24);
        let lease = LeaseId { epoch: 1, number: 1 };
        history.leased(0, lease, (4, 4)).unwrap();
        history.begin(1, RequestId(1), Asks::Write { id: 1, first: 6, len: 4 }, 0);
        let (_, began, _) = history.end(1, RequestId(1), true, 0).unwrap();
        assert!(history.written(1, (6, 4), began, None).is_err());
        assert!(history.written(0, (6, 4), began, None).is_ok(), "the holder may");
        history.released(0, lease, 0);
        assert!(history.written(1, (6, 4), began, None).is_ok());
    }
}

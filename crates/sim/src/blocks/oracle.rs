//! What must be true: each sector is a register.
//!
//! A write that was answered is visible; one that was not may be, until the next leader opens: what it then
//! shows is what happened, and must hold all that a flush acknowledged. A flush that is acknowledged is on
//! the medium of every member of the granted in-sync set.

use std::collections::{BTreeMap, BTreeSet};

use super::authority::Grants;
use super::layout::{PLACE, SIZE, decode, sectors};
use super::name::{self, is_zeros, may_be, text};
use crate::checkers::Verdict;
use crate::disk::Image;

#[derive(Debug, Default, Clone)]
struct Register {
    /// A flush has acknowledged this write, or the open leader began with it.
    floor: u64,
    /// What the open leader began with.
    base: u64,
    /// The newest that was answered, or seen by a reader, since.
    seen: u64,
    /// Given to the leader of the newest epoch, newer than `floor`.
    issued: BTreeSet<u64>,
    /// All that it was given, in that order.
    all: Vec<u64>,
}

impl Register {
    fn opened(name: u64) -> Self {
        Self { floor: name, base: name, seen: name, issued: BTreeSet::new(), all: Vec::new() }
    }

    /// The first write, not before `least`, that a sector may show which shows `found`.
    fn named(&self, found: u64, least: u64) -> Option<u64> {
        let may_be = |id: &u64| *id >= least && may_be(*id, found);
        let base = Some(self.base).filter(may_be);
        match found {
            0 => base.or_else(|| self.issued.range(least..).copied().find(may_be)),
            _ => base.or_else(|| self.issued.get(&found).copied().filter(may_be)),
        }
    }

    /// The last write that it may show when the next leader opens and shows `found`; none, if something is lost or came back.
    fn settled(&self, found: u64) -> Option<u64> {
        let newest = self.issued.iter().rev().copied().find(|id| may_be(*id, found));
        newest.or_else(|| Some(self.floor).filter(|floor| may_be(*floor, found)))
    }

    /// Whether a medium that shows `found` has what was acknowledged.
    fn holds_floor(&self, found: u64) -> bool {
        match found {
            0 => is_zeros(self.floor) || self.issued.range(self.floor..).any(|id| is_zeros(*id)),
            _ => found >= self.floor,
        }
    }
}

/// What an operator, or the protocol, has accepted that the next leader lacks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Loss {
    /// Nothing that was acknowledged.
    #[default]
    Nothing,
    /// The newest writes: what it shows is what the device was at some moment.
    Newest,
    /// Whatever it is, somebody wrote it.
    Any,
}

/// All registers.
#[derive(Debug)]
pub struct Oracle {
    registers: Vec<Register>,
    /// The newest epoch that was opened for clients.
    pub epoch: u64,
    /// Flushes acknowledged.
    pub acked: u64,
    /// Reads judged.
    pub reads: u64,
    /// What the next leader may lack.
    pub accept: Loss,
    /// The device's size, as it was last told.
    pub size: u64,
    /// Some leader has been smaller than before.
    pub shrunk: bool,
    /// A shrinking to this size was asked for, and nobody knows what became of it.
    cut: Option<u64>,
    /// The open leader is smaller than was told.
    smaller: Option<u64>,
    /// Sectors that may be damaged on all copies, and the newest write to each when that began.
    rotten: BTreeMap<usize, u64>,
}

impl Default for Oracle {
    fn default() -> Self {
        Self {
            registers: vec![Register::default(); sectors(SIZE)],
            epoch: 0,
            acked: 0,
            reads: 0,
            accept: Loss::Nothing,
            size: SIZE,
            shrunk: false,
            cut: None,
            smaller: None,
            rotten: BTreeMap::new(),
        }
    }
}

impl Oracle {
    /// A client gives a write to its leader.
    pub fn issue(&mut self, id: u64, first: usize, len: usize) {
        if name::epoch(id) == self.epoch {
            for register in self.of(first, len) {
                register.issued.insert(id);
                register.all.push(id);
            }
        }
    }

    /// Those of these sectors that are still there.
    fn of(&mut self, first: usize, len: usize) -> &mut [Register] {
        let end = self.registers.len();
        &mut self.registers[first.min(end)..(first + len).min(end)]
    }

    /// It was refused: nothing happened.
    pub fn refused(&mut self, id: u64, first: usize, len: usize) {
        if name::epoch(id) == self.epoch {
            self.of(first, len).iter_mut().for_each(|r| r.all.retain(|other| *other != id));
        }
    }

    /// Whether a write to it was acknowledged by a flush.
    pub fn is_acknowledged(&self, sector: usize) -> bool {
        self.registers[sector].floor > 0
    }

    /// The blocks around this sector may be damaged until a newer write to them is acknowledged. Who reads them may be
    /// told so, and is never shown them.
    pub fn rots(&mut self, sector: usize) {
        let first = sector / PLACE * PLACE;
        for sector in first..first + PLACE {
            let register = &self.registers[sector];
            let newest = register.all.last().copied().unwrap_or(0).max(register.floor);
            self.rotten.insert(sector, newest);
        }
    }

    /// Whether a reader of these sectors may be told that they are damaged.
    pub fn may_be_damaged(&self, first: usize, len: usize) -> bool {
        self.rotten.range(first..first + len).next().is_some()
    }

    /// Sectors that clients may write.
    pub fn sectors(&self) -> usize {
        self.cut.map_or(self.registers.len(), sectors)
    }

    /// An operator asks for less: what lies behind may be gone from now on, for the next leader, or for none.
    pub fn shrinks(&mut self, to: u64) {
        self.cut = Some(self.cut.map_or(to, |cut| cut.min(to)));
        self.registers.iter_mut().skip(sectors(to)).for_each(|r| r.issued.extend([0]));
    }

    /// It was refused, and the leader is as large as before.
    pub fn does_not_shrink(&mut self) {
        if self.smaller.is_none() {
            self.cut = None;
        }
    }

    /// The open leader has this size now; nobody was told yet.
    pub fn leader_has(&mut self, size: u64) {
        if size < self.size {
            self.shrunk = true;
            self.smaller = Some(self.smaller.map_or(size, |smaller| smaller.min(size)));
        }
    }

    /// The operator is told that the device has this size: what is new is zero, what is behind it is gone. How many sectors
    /// are what they were.
    pub fn resized(&mut self, size: u64) -> usize {
        let kept = self.smaller.take().map_or(size, |smaller| smaller.min(size));
        self.registers.truncate(sectors(kept));
        let kept = self.registers.len();
        (self.size, self.cut) = (size, None);
        self.registers.resize(sectors(size), Register::default());
        kept
    }

    /// What a reader that asks now must see, at least.
    pub fn seen(&self, first: usize, len: usize) -> Vec<u64> {
        self.registers[first..first + len].iter().map(|r| r.seen).collect()
    }

    /// A reader that asked when `since` had been seen is shown this.
    pub fn read_since(&mut self, epoch: u64, sector: usize, since: u64, found: Option<u64>) -> Verdict {
        let all = &self.registers[sector].all;
        let shown = found.and_then(|found| all.iter().copied().find(|id| *id >= since && may_be(*id, found)));
        if let Some(shown) = shown
            && epoch == self.epoch
        {
            self.reads += 1;
            let register = &mut self.registers[sector];
            register.seen = register.seen.max(shown);
            return Ok(());
        }
        self.read(epoch, sector, found)
    }

    /// It was answered.
    pub fn written(&mut self, id: u64, first: usize, len: usize) {
        if name::epoch(id) == self.epoch {
            for register in self.of(first, len) {
                register.seen = register.seen.max(id);
            }
        }
    }

    /// A reader of the leader of `epoch` sees a sector.
    pub fn read(&mut self, epoch: u64, sector: usize, found: Option<u64>) -> Verdict {
        self.reads += 1;
        let register = &mut self.registers[sector];
        let Some(found) = found else {
            return Err(format!("sector {sector} shows what nobody wrote"));
        };
        if epoch < self.epoch {
            return Err(format!(
                "the leader of epoch {epoch} answers a reader while epoch {} is open",
                self.epoch
            ));
        }
        let Some(shown) = register.named(found, register.seen) else {
            return Err(format!(
                "sector {sector} shows write {}, after {} was answered or seen",
                text(found),
                text(register.seen)
            ));
        };
        register.seen = shown;
        Ok(())
    }

    /// A leader opens with so many bytes.
    pub fn opens_with(&mut self, epoch: u64, size: u64) -> Verdict {
        let least = self.cut.take().unwrap_or(self.size);
        if size < least {
            return Err(format!("epoch {epoch} opens with {size} bytes; the device had {least}"));
        }
        self.smaller = None;
        self.size = size;
        self.registers.resize(sectors(size), Register::default());
        if epoch <= self.epoch {
            return Err(format!("epoch {epoch} opens after epoch {}", self.epoch));
        }
        self.epoch = epoch;
        Ok(())
    }

    /// A leader opens on this image.
    pub fn open(&mut self, epoch: u64, size: u64, image: &Image) -> Verdict {
        self.opens_with(epoch, size)?;
        let accept = std::mem::take(&mut self.accept);
        if accept == Loss::Newest {
            self.is_some_moment(epoch, image)?;
        }
        for (sector, register) in self.registers.iter_mut().enumerate() {
            let found = decode(image, sector);
            if found.is_none() && self.rotten.contains_key(&sector) {
                // What it should show is not lost for ever: another copy may come that has it.
                continue;
            }
            let Some(found) = found else {
                return Err(format!("epoch {epoch} opens with sector {sector} showing what nobody wrote"));
            };
            let settled = register.settled(found);
            if accept == Loss::Nothing && settled.is_none() {
                return Err(format!(
                    "epoch {epoch} opens with write {} in sector {sector}; {} was acknowledged",
                    text(found),
                    text(register.floor)
                ));
            }
            *register = Register::opened(settled.unwrap_or(found));
        }
        Ok(())
    }

    /// The writes of a stream were done up to one of them, and none after it.
    fn is_some_moment(&self, epoch: u64, image: &Image) -> Verdict {
        let found: Vec<u64> = (0..self.registers.len()).map(|s| decode(image, s).unwrap_or(0)).collect();
        let last = found.iter().copied().max().unwrap_or(0);
        let verdict = self.is_moment(epoch, last, &found);
        // Zeros may have come after it.
        let all = self.registers.iter().flat_map(|r| r.all.iter().copied());
        let zeros: BTreeSet<u64> = all.filter(|id| *id > last && is_zeros(*id)).collect();
        match zeros.into_iter().any(|id| self.is_moment(epoch, id, &found).is_ok()) {
            true => Ok(()),
            false => verdict,
        }
    }

    fn is_moment(&self, epoch: u64, last: u64, found: &[u64]) -> Verdict {
        for (sector, (register, found)) in self.registers.iter().zip(found).enumerate() {
            let newest = register.all.iter().copied().filter(|id| *id <= last).max().unwrap_or(register.base);
            if !may_be(newest, *found) && newest > register.base {
                return Err(format!(
                    "epoch {epoch} opens with write {} somewhere, and sector {sector} shows {}, not the earlier {}",
                    text(last),
                    text(*found),
                    text(newest)
                ));
            }
        }
        Ok(())
    }

    /// A flush is acknowledged that covers these writes to sectors. `images` are the media of the in-sync set.
    pub fn flushed(&mut self, covers: &[(u64, usize)], images: &[(usize, &Image)]) -> Verdict {
        self.acked += 1;
        let end = self.sectors();
        for (id, sector) in covers.iter().filter(|(_, sector)| *sector < end) {
            let register = &mut self.registers[*sector];
            if name::epoch(*id) < self.epoch && *id > register.base {
                return Err(format!(
                    "a stale leader acknowledges write {} while epoch {} is open",
                    text(*id),
                    self.epoch
                ));
            }
            let floor = register.floor.max(*id);
            register.floor = floor;
            if self.rotten.get(sector).is_some_and(|newest| id > newest) {
                self.rotten.remove(sector);
            }
            register.issued = register.issued.split_off(&floor);
            for (node, image) in images {
                let found = decode(image, *sector);
                if !found.is_some_and(|found| register.holds_floor(found)) {
                    return Err(format!(
                        "write {} to sector {sector} is acknowledged; the medium of node {node} shows {}",
                        text(floor),
                        found.map_or("garbage".to_owned(), text)
                    ));
                }
            }
        }
        Ok(())
    }

    /// What the image of a quiet leader lacks or has too much.
    pub fn quiet(&self, image: &Image) -> Verdict {
        for (sector, register) in self.registers.iter().enumerate().take(self.sectors()) {
            let found = decode(image, sector);
            let damaged = found.is_none() && self.rotten.contains_key(&sector);
            if !found.is_some_and(|found| may_be(register.seen, found)) && !damaged {
                return Err(format!(
                    "at rest sector {sector} shows {}, not {}",
                    found.map_or("garbage".to_owned(), text),
                    text(register.seen)
                ));
            }
        }
        Ok(())
    }
}

/// R1: what may follow upon what.
pub fn granted(before: &Grants, after: &Grants) -> Verdict {
    let elected = after.leader.filter(|_| after.leader != before.leader);
    let bad = |what: &str| Err(format!("{what}: {before:?} -> {after:?}"));
    if after.epoch < before.epoch || after.generation < before.generation {
        return bad("the epoch or the generation shrinks");
    }
    if let Some(leader) = elected {
        let counted = before.in_sync.iter().any(|m| m.node.0 == leader as u64 + 1);
        if !counted {
            return bad("a leader from outside the in-sync set");
        }
    }
    if !before.in_sync.is_subset(&after.in_sync) && after.generation == before.generation {
        return bad("the set loses a member in the same generation");
    }
    if after.in_sync.is_empty() {
        return bad("nobody is in sync");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::name::{id, zeros};
    use super::*;
    use crate::blocks::layout::{SECTORS, SIZE, encode, offset};

    fn show(image: &mut Image, sector: usize, id: u64) {
        image.write(offset(sector) as usize, &encode(sector, 1, id));
    }

    #[test]
    fn what_was_flushed_must_be_there_and_what_was_not_is_settled_by_the_next_opening() {
        let mut image = Image::new(SIZE);
        let mut oracle = Oracle::default();
        oracle.open(1, SIZE, &image).unwrap();
        let (first, second) = (id(1, 1), id(1, 2));
        oracle.issue(first, 0, 1);
        oracle.written(first, 0, 1);
        assert!(oracle.read(1, 0, Some(0)).is_err(), "an answered write is visible");
        assert!(oracle.flushed(&[(first, 0)], &[(0, &image)]).is_err(), "and on the medium when flushed");
        oracle.issue(second, 0, 1);
        let mut lost = Oracle::default();
        assert!(lost.open(2, SIZE, &image).is_ok());
        assert!(oracle.open(2, SIZE, &image).is_err(), "the flushed write is gone");
        show(&mut image, 0, second);
        assert!(oracle.open(3, SIZE, &image).is_err() || oracle.read(3, 0, Some(second)).is_ok());
    }

    #[test]
    fn an_unanswered_write_cannot_come_back_after_the_next_leader_opened_without_it() {
        let mut image = Image::new(SIZE);
        let mut oracle = Oracle::default();
        oracle.open(1, SIZE, &image).unwrap();
        oracle.issue(id(1, 1), 5, 1);
        oracle.open(2, SIZE, &image).unwrap();
        show(&mut image, 5, id(1, 1));
        assert!(oracle.read(2, 5, decode(&image, 5)).is_err());
        assert!(oracle.open(3, SIZE, &image).is_err());
    }

    #[test]
    fn a_stale_leader_acknowledges_and_shows_nothing() {
        let image = Image::new(SIZE);
        let mut oracle = Oracle::default();
        oracle.open(1, SIZE, &image).unwrap();
        oracle.issue(id(1, 1), 5, 1);
        oracle.open(2, SIZE, &image).unwrap();
        assert!(oracle.flushed(&[(id(1, 1), 5)], &[]).is_err());
        assert!(oracle.read(1, 5, Some(0)).is_err());
    }

    #[test]
    fn what_a_follower_lacks_is_the_newest_and_nothing_before_it() {
        let (first, second) = (id(1, 1), id(1, 2));
        let led = |shown: &[(usize, u64)]| {
            let mut image = Image::new(SIZE);
            let mut oracle = Oracle::default();
            oracle.open(1, SIZE, &image).unwrap();
            oracle.issue(first, 0, 1);
            oracle.issue(second, 7, 1);
            shown.iter().for_each(|(sector, id)| show(&mut image, *sector, *id));
            oracle.accept = Loss::Newest;
            oracle.open(2, SIZE, &image)
        };
        assert!(led(&[]).is_ok() && led(&[(0, first)]).is_ok() && led(&[(0, first), (7, second)]).is_ok());
        assert!(led(&[(7, second)]).is_err(), "the second without the first");
    }

    #[test]
    fn zeros_are_a_write_like_any_other() {
        let mut image = Image::new(SIZE);
        let mut oracle = Oracle::default();
        oracle.open(1, SIZE, &image).unwrap();
        let (first, cleared) = (id(1, 1), zeros(1, 2));
        oracle.issue(first, 0, 1);
        oracle.written(first, 0, 1);
        show(&mut image, 0, first);
        assert!(oracle.read(1, 0, Some(0)).is_err(), "nobody has zeroed it");
        oracle.issue(cleared, 0, 2);
        oracle.written(cleared, 0, 2);
        assert!(oracle.read(1, 0, Some(first)).is_err(), "what was zeroed reads as zeros");
        assert!(oracle.read(1, 0, Some(0)).is_ok() && oracle.quiet(&Image::new(SIZE)).is_ok());
        assert!(oracle.flushed(&[(cleared, 0)], &[(0, &image)]).is_err(), "and so does the medium");
        oracle.flushed(&[(cleared, 0)], &[(0, &Image::new(SIZE))]).unwrap();
        assert!(oracle.open(2, SIZE, &image).is_err(), "what was zeroed came back");
        assert!(oracle.open(3, SIZE, &Image::new(SIZE)).is_ok());
    }

    #[test]
    fn a_device_that_was_told_to_be_larger_does_not_shrink_and_is_zero_where_it_is_new() {
        let mut image = Image::new(SIZE);
        let mut oracle = Oracle::default();
        oracle.open(1, SIZE, &image).unwrap();
        oracle.resized(SIZE + (1 << 20));
        assert!(oracle.open(2, SIZE, &image).is_err());
        image.grow(SIZE + (1 << 20));
        let mut dirty = image.clone();
        show(&mut dirty, sectors(SIZE), id(1, 9));
        assert!(oracle.open(3, SIZE + (1 << 20), &dirty).is_err());
        assert!(oracle.open(4, SIZE + (1 << 20), &image).is_ok());
    }

    #[test]
    fn what_a_shrinking_cut_off_does_not_come_back_once_that_was_told() {
        let mut image = Image::new(SIZE);
        let mut oracle = Oracle::default();
        oracle.open(1, SIZE, &image).unwrap();
        let (last, smaller) = (SECTORS - 1, SIZE - (1 << 20));
        oracle.issue(id(1, 1), last, 1);
        oracle.written(id(1, 1), last, 1);
        show(&mut image, last, id(1, 1));
        oracle.flushed(&[(id(1, 1), last)], &[(0, &image)]).unwrap();
        assert!(oracle.open(2, smaller, &image).is_err(), "nobody asked for it");
        oracle.shrinks(smaller);
        assert!(oracle.sectors() < SECTORS, "clients keep off");
        oracle.open(3, SIZE, &image).expect("it may not have happened");
        oracle.shrinks(smaller);
        oracle.leader_has(smaller);
        oracle.resized(smaller);
        oracle.resized(SIZE);
        assert!(oracle.open(4, SIZE, &image).is_err(), "what is new is zero");
        assert!(oracle.open(5, SIZE, &Image::new(SIZE)).is_ok());
    }
}

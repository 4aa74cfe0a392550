//! Blocks known to be damaged, in the superblock: what a copy of them, a crash or a rollback must not make sound again.
//!
//! In memory it is their checksums that tell them, as with all damage. Checksums can become void, though, and with them
//! what was known. So each such block has a mark: what it should hold, and what it held when it was found. A mark
//! speaks of a block only while it still holds that: it is durable before what it speaks of, goes after what takes its place,
//! and no order among them has to be kept at a crash.

use std::ops::Range;

use super::sums::{VOID, bad_blocks};
use super::*;
use crate::meta::{BLOCK, DamagedBlock, MAX_DAMAGED, block_sum};

#[derive(Debug, Default)]
pub(super) struct Damage(BTreeMap<(u64, u32), Mark>);

#[derive(Debug)]
struct Mark {
    right: u32,
    state: State,
    /// The metadata commit that holds it.
    commit: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Found at open: what the block holds is to be read.
    Unread,
    Reading,
    /// What it speaks of is on its way to the disk.
    Coming,
    /// The block holds it.
    Holds,
    /// This write, as the data disk counts them, has overwritten it.
    Over(u64),
}

impl Damage {
    pub(super) fn opened(found: &[DamagedBlock]) -> Self {
        let mark = |right| Mark { right, state: State::Unread, commit: 0 };
        Damage(found.iter().map(|d| ((d.block, d.found), mark(d.right))).collect())
    }

    /// What the superblock says.
    pub(super) fn recorded(&self) -> Vec<DamagedBlock> {
        let one = |((block, found), mark): (&(u64, u32), &Mark)| DamagedBlock {
            block: *block,
            found: *found,
            right: mark.right,
        };
        self.0.iter().map(one).collect()
    }

    /// Bytes that are damaged, as far as it is known.
    pub(super) fn bytes(&self) -> u64 {
        self.0.values().filter(|m| m.state == State::Holds).count() as u64 * BLOCK
    }

    /// Whether nothing is known of these blocks before they were read.
    pub(super) fn unread(&self, first: u64, last: u64) -> bool {
        let mut marks = self.0.range((first, 0)..=(last, u32::MAX));
        marks.any(|(_, m)| matches!(m.state, State::Unread | State::Reading))
    }

    /// Whether the block is damaged.
    pub(super) fn holds(&self, block: u64) -> bool {
        self.0.range((block, 0)..=(block, u32::MAX)).any(|(_, m)| m.state == State::Holds)
    }

    /// The damaged blocks of a range, and the checksums that they should have.
    pub(super) fn held(&self, first: u64, last: u64) -> impl Iterator<Item = (u64, u32)> {
        let marks = self.0.range((first, 0)..=(last, u32::MAX));
        marks.filter(|(_, m)| m.state == State::Holds).map(|((block, _), m)| (*block, m.right))
    }

    /// Whole blocks: a part of one does not make it sound.
    pub(super) fn overwritten(&mut self, blocks: Range<u64>, order: u64) {
        if blocks.is_empty() {
            return;
        }
        for mark in self.0.range_mut((blocks.start, 0)..(blocks.end, 0)).map(|(_, m)| m) {
            if mark.state != State::Coming {
                mark.state = State::Over(order);
            }
        }
    }

    /// What was to come does not.
    pub(super) fn nothing_comes(&mut self) {
        self.0.values_mut().filter(|m| m.state == State::Coming).for_each(|m| m.state = State::Over(0));
    }

    pub(super) fn cut_off(&mut self, size: u64) {
        self.0.split_off(&(size / BLOCK, 0));
    }

    fn found_in(&self, block: u64, found: u32) -> Option<u32> {
        self.0.get(&(block, found)).map(|m| m.right)
    }
}

impl Replica {
    /// Whether a read must be compared with the checksums, whatever the configuration says.
    pub(crate) fn knows_damage(&self) -> bool {
        !self.damage.0.is_empty()
    }

    /// Notes that a block is damaged. Says whether there was room for it.
    pub(super) fn note_damage(&mut self, new: DamagedBlock) -> bool {
        self.enter(new, State::Holds)
    }

    /// A mark that is not there, is over or says something else is durable with the next commit.
    fn enter(&mut self, new: DamagedBlock, state: State) -> bool {
        let state = match self.damage.0.get(&(new.block, new.found)) {
            // What was read of it before the device became smaller.
            _ if new.block >= self.layout.size / BLOCK => return true,
            None if self.damage.0.len() >= MAX_DAMAGED => return false,
            None => state,
            Some(mark) if matches!(mark.state, State::Over(_)) => state,
            Some(mark) if mark.right == new.right => return true,
            Some(mark) => mark.state,
        };
        let commit = self.touch();
        self.damage.0.insert((new.block, new.found), Mark { right: new.right, state, commit });
        true
    }

    /// There is no room to note what a copy brings. Says whether there will be, once marks that are over are dropped.
    fn make_room_for_marks(&mut self) -> bool {
        if !self.damage.0.values().any(|m| matches!(m.state, State::Over(_))) {
            return false;
        }
        // They are kept for what a rollback would bring back.
        if self.undo_active() {
            self.undo_full("more is damaged than can be noted");
        }
        self.local.wanted = self.order;
        true
    }

    /// Whether the marks of a copy are durable, so that it may be written. One that there is no room for is refused.
    pub(super) fn damage_is_noted(&mut self, link: LinkId, copy: &[DamagedBlock]) -> bool {
        for new in copy {
            if !self.enter(*new, State::Coming) {
                if !self.make_room_for_marks() {
                    self.refuse(link, Refusal::TooDamaged);
                }
                return false;
            }
        }
        let durable = self.commit.durable;
        copy.iter().all(|d| self.damage.0.get(&(d.block, d.found)).is_some_and(|m| m.commit <= durable))
    }

    /// A damaged copy was given to the disk: what reads it is told so.
    pub(super) fn damage_came(&mut self, copy: &[DamagedBlock]) {
        let mut findings = Vec::new();
        let node = self.me().node;
        for d in copy {
            if let Some(mark) = self.damage.0.get_mut(&(d.block, d.found)) {
                (mark.state, mark.right) = (State::Holds, d.right);
            }
            self.put_sum(d.block, d.right);
            let (offset, wrong) = (d.block * BLOCK, Wrong::Both);
            super::mend::note(&mut findings, Finding { node, offset, len: BLOCK, wrong, healed: false });
        }
        for finding in findings {
            self.count(&finding);
            self.event(Event::Damaged(finding));
        }
    }

    /// What was overwritten in a resync is back: what was known of it holds again.
    pub(super) fn damage_is_back(&mut self, offset: u64, data: &[u8]) {
        if self.damage.0.is_empty() {
            return;
        }
        for (block, bytes) in (offset / BLOCK..).zip(data.chunks(BLOCK as usize)) {
            let found = block_sum(bytes);
            if let Some(right) = self.damage.found_in(block, found) {
                self.note_held(block, found);
                self.put_sum(block, right);
            }
        }
    }

    fn note_held(&mut self, block: u64, found: u32) {
        if let Some(mark) = self.damage.0.get_mut(&(block, found)) {
            mark.state = State::Holds;
        }
    }

    /// Blocks of a range that was read, and are not what their checksums say.
    pub(super) fn damaged_blocks(offset: u64, computed: &[u32], sums: &[u32]) -> Vec<DamagedBlock> {
        let first = offset / BLOCK;
        let of = |at: u64| DamagedBlock {
            block: first + at,
            found: computed[at as usize],
            right: sums[at as usize],
        };
        bad_blocks(computed, sums).into_iter().map(of).collect()
    }

    /// Reads what was found at open, and forgets what is over.
    pub(super) fn pump_damage(&mut self) {
        if self.damage.0.is_empty() {
            return;
        }
        let unread = |(key, mark): (&(u64, u32), &Mark)| (mark.state == State::Unread).then_some(key.0);
        let unread: BTreeSet<u64> = self.damage.0.iter().filter_map(unread).collect();
        for block in unread {
            self.marks_of(block).for_each(|(_, m)| m.state = State::Reading);
            let what = DiskOp::Read { offset: block * BLOCK, len: BLOCK as u32 };
            self.disk(OpKind::DamageRead(block), what);
        }
        // What was overwritten in a resync may come back by a rollback.
        if !self.undo_active() {
            let (before, flushed) = (self.damage.0.len(), self.local.flushed);
            self.damage.0.retain(|_, m| !matches!(m.state, State::Over(order) if order <= flushed));
            if self.damage.0.len() < before {
                self.touch();
            }
        }
    }

    fn marks_of(&mut self, block: u64) -> impl Iterator<Item = (u32, &mut Mark)> {
        self.damage.0.range_mut((block, 0)..=(block, u32::MAX)).map(|((_, found), m)| (*found, m))
    }

    /// Of what is written, some may be what a damaged block holds already, and a mark cannot tell the two apart. Such a mark goes
    /// before: were it there after a crash, what was written would be taken for damage for ever. `as_damage` is to stay.
    /// The other way round, what a crash leaves without the mark is what the write was to make of it.
    pub(super) fn damage_may_go(&mut self, offset: u64, data: &Data, as_damage: &[DamagedBlock]) -> bool {
        let blocks = offset.div_ceil(BLOCK)..(offset + data.len() as u64) / BLOCK;
        if self.damage.0.is_empty() || blocks.is_empty() {
            return self.durable(self.unmarked);
        }
        let stays = |key: &(u64, u32)| as_damage.iter().any(|d| (d.block, d.found) == *key);
        let written = |block: u64| block_sum(&data[(block * BLOCK - offset) as usize..][..BLOCK as usize]);
        let keys = self.damage.0.range((blocks.start, 0)..(blocks.end, 0)).map(|(key, _)| *key);
        let same: Vec<(u64, u32)> = keys.filter(|key| !stays(key) && written(key.0) == key.1).collect();
        if same.is_empty() {
            return self.durable(self.unmarked);
        }
        // A rollback would need it.
        if self.undo_active() {
            self.undo_full("what comes is what was found damaged");
            return false;
        }
        same.iter().for_each(|key| {
            self.damage.0.remove(key);
        });
        self.unmarked = self.touch();
        false
    }

    /// Whether it is known of the blocks that a write changes parts of whether they are damaged.
    pub(super) fn edges_are_known(&self, offset: u64, len: usize) -> bool {
        self.damage.0.is_empty() || edges(offset, len).all(|block| !self.damage.unread(block, block))
    }

    /// The damaged blocks of which a write would change a part, as offsets.
    pub(super) fn damaged_edges(&self, offset: u64, len: usize) -> Vec<u64> {
        match self.damage.0.is_empty() {
            true => Vec::new(),
            false => edges(offset, len).filter(|b| self.damage.holds(*b)).map(|b| b * BLOCK).collect(),
        }
    }

    /// What a block holds for which a mark was found at open.
    pub(super) fn damage_read(&mut self, block: u64, data: Option<&[u8]>) {
        let holds = data.map(block_sum);
        let mut right = VOID;
        for (found, mark) in self.marks_of(block).filter(|(_, m)| m.state == State::Reading) {
            // What cannot be read is no better.
            let held = holds.is_none_or(|sum| sum == found);
            mark.state = if held { State::Holds } else { State::Over(0) };
            right = if held { mark.right } else { right };
        }
        if right != VOID {
            self.put_sum(block, right);
        }
    }
}

/// The blocks of which a write changes a part.
fn edges(offset: u64, len: usize) -> impl Iterator<Item = u64> {
    let end = offset + len as u64;
    let cut = |at: &u64| !at.is_multiple_of(BLOCK);
    [offset, end].into_iter().filter(cut).map(|at| at / BLOCK)
}

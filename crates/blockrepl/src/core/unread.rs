//! What the source of a resync cannot read, or finds damaged: first read alone, then healed from a copy that has it right,
//! if there is one, and read again. What cannot be read even then is left out and told; too much of it is a failed
//! disk (R11). What is damaged even then is copied as it is, with the checksums that it should have: the target is told.

use super::*;
use crate::meta::BLOCK;

/// How often a granule is found damaged otherwise than it was judged before it is left out: the disk reads otherwise each time.
const JUDGED_MAX: u32 = 16;
/// Granules that wait to be judged, or are, before no more are read that might have to be.
const JUDGING_MAX: usize = 256;

/// Granules whose copying met an error of the disk here.
#[derive(Debug, Default)]
pub(super) struct Unread(BTreeMap<u32, Granule>);

#[derive(Debug, Default)]
struct Granule {
    step: Step,
    /// How often it was found otherwise than it was judged.
    in_vain: u32,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum Step {
    /// A read of it and others failed: it is read alone.
    #[default]
    Alone,
    /// It failed alone: these chunks of it are still to be judged.
    Judging(BTreeSet<u32>, Judgement),
    /// Judged, and healed if it could be: it is read once more.
    Judged(Judgement),
    /// Left out until it is written to, or the resync begins anew.
    Lost,
    /// Likewise: it is damaged, and there is no room to note more of that.
    Damaged,
}

/// What the judging of a granule came to.
#[derive(Debug, Default, PartialEq, Eq)]
struct Judgement {
    /// Those who were asked for all that nobody had right before, and answered, if what they have could count.
    asked: BTreeSet<LinkId>,
    /// Blocks that neither they nor the copy here have right, with the checksums that they should have.
    lost: BTreeSet<(u64, u32)>,
}

impl Granule {
    /// The chunks of it that are still to be judged.
    fn left(&self) -> Option<&BTreeSet<u32>> {
        if let Step::Judging(left, _) = &self.step { Some(left) } else { None }
    }
}

impl Judgement {
    /// Whether this peer has none of these blocks right.
    fn covers(&self, link: LinkId, damaged: &[DamagedBlock]) -> bool {
        self.asked.contains(&link) && damaged.iter().all(|d| self.lost.contains(&(d.block, d.right)))
    }
}

impl Unread {
    /// Whether it is read alone.
    pub(super) fn contains(&self, granule: u32) -> bool {
        self.0.contains_key(&granule)
    }

    fn step(&self, granule: u32) -> Option<&Step> {
        self.0.get(&granule).map(|g| &g.step)
    }

    fn put(&mut self, granule: u32, step: Step) {
        self.0.entry(granule).or_default().step = step;
    }

    /// Whether it must not be read for a peer now. One that is silent cannot be asked for what is right.
    pub(super) fn waits(&self, granule: u32, link: LinkId, silent: bool) -> bool {
        match self.step(granule) {
            Some(Step::Judging(..) | Step::Lost | Step::Damaged) => true,
            Some(Step::Judged(judgement)) => silent && !judgement.asked.contains(&link),
            Some(Step::Alone) | None => false,
        }
    }

    /// These could be read.
    pub(super) fn read(&mut self, run: Run) {
        self.0.retain(|granule, g| !run.granules().contains(granule) || matches!(g.step, Step::Judging(..)));
    }

    /// Whether so many are to be judged that the rest has to wait.
    pub(super) fn is_full(&self) -> bool {
        self.0.len() > JUDGING_MAX && self.0.values().filter_map(Granule::left).nth(JUDGING_MAX).is_some()
    }

    /// How many are left out.
    pub(super) fn lost(&self) -> usize {
        self.0.values().filter(|g| g.step == Step::Lost).count()
    }

    /// What was left out is tried again.
    pub(super) fn try_again(&mut self, granules: impl std::ops::RangeBounds<u32>) {
        if !self.0.is_empty() {
            self.0.extract_if(granules, |_, g| matches!(g.step, Step::Lost | Step::Damaged)).for_each(drop);
            self.0.values_mut().for_each(|g| g.in_vain = 0);
        }
    }

    /// What was judged of these bytes is out of date.
    pub(super) fn written(&mut self, granules: std::ops::RangeInclusive<u32>, offset: u64, len: usize) {
        if self.0.is_empty() {
            return;
        }
        self.try_again(granules.clone());
        let blocks = offset / BLOCK..(offset + len as u64).div_ceil(BLOCK);
        for granule in self.0.range_mut(granules).map(|(_, g)| g) {
            if let Step::Judging(_, found) | Step::Judged(found) = &mut granule.step {
                found.lost.retain(|(block, _)| !blocks.contains(block));
            }
        }
    }
}

impl Replica {
    /// The disk here could not read what a peer was to get.
    pub(super) fn source_unreadable(&mut self, link: LinkId, run: Run, reason: Arc<str>) {
        self.copies_not(link, run);
        if run.count > 1 {
            for granule in run.granules() {
                self.unread.0.entry(granule).or_default();
            }
            return;
        }
        match self.unread.step(run.first) {
            Some(Step::Judged(judgement)) if judgement.asked.contains(&link) => {
                self.leave_out(link, run.first, reason);
            }
            None | Some(Step::Alone | Step::Judged(_)) => self.have_judged(link, run.first, reason),
            // Another peer's copy of it is at this already.
            Some(Step::Judging(..) | Step::Lost | Step::Damaged) => {}
        }
    }

    /// What was read for a peer is not what its checksums say: what of it is sound is sent. The rest is judged first, as
    /// what cannot be read is, and then sent as it is, if no copy is right: not this peer's either.
    pub(super) fn source_damaged(&mut self, link: LinkId, run: Run, data: &Bytes, damaged: &[DamagedBlock]) {
        let size = self.layout.granule as usize;
        for granule in run.granules() {
            let at = (granule - run.first) as usize * size;
            let data = data.slice(at..data.len().min(at + size));
            let here = |d: &&DamagedBlock| d.block * BLOCK / size as u64 == u64::from(granule);
            let damaged: Vec<DamagedBlock> = damaged.iter().filter(here).copied().collect();
            let one = Run { first: granule, count: 1 };
            match self.unread.step(granule) {
                _ if damaged.is_empty() => {
                    self.unread.read(one);
                    self.send_copies(link, one, &data.into());
                }
                Some(Step::Judged(judgement)) if judgement.covers(link, &damaged) => {
                    self.send_damaged(link, granule, data.into(), &damaged);
                }
                None | Some(Step::Alone | Step::Judged(_)) => {
                    self.copies_not(link, one);
                    self.have_judged(link, granule, "it reads otherwise each time".into());
                }
                Some(Step::Judging(..) | Step::Lost | Step::Damaged) => self.copies_not(link, one),
            }
        }
    }

    /// Has a granule judged, by all who can be asked now.
    fn have_judged(&mut self, link: LinkId, granule: u32, reason: Arc<str>) {
        let (left, asked) =
            (self.layout.granule_chunks(granule).collect(), self.links.keys().copied().collect());
        let entry = self.unread.0.entry(granule).or_default();
        // For one that was not asked there is a reason.
        let again = matches!(&entry.step, Step::Judged(judgement) if judgement.asked.contains(&link));
        entry.in_vain += u32::from(again);
        entry.step = Step::Judging(left, Judgement { asked, lost: BTreeSet::new() });
        if entry.in_vain > JUDGED_MAX {
            self.leave_out(link, granule, reason);
        }
    }

    pub(super) fn copies_not(&mut self, link: LinkId, run: Run) {
        if let Some(t) = self.target(link) {
            run.granules().for_each(|granule| t.copies.remove(granule));
        }
    }

    /// No copy has it right: the peer is told so with it.
    fn send_damaged(&mut self, link: LinkId, granule: u32, data: Data, damaged: &[DamagedBlock]) {
        let Some(peer) = self.links.get(&link).map(|l| l.hello.node) else { return };
        if !damaged.iter().all(|d| self.note_damage(*d)) {
            self.copies_not(link, Run { first: granule, count: 1 });
            self.unread.put(granule, Step::Damaged);
            let ((offset, len), reason) =
                (self.place_of(granule), "more is damaged than can be noted".into());
            return self.event(Event::Unreadable { peer, offset, len: u64::from(len), reason });
        }
        self.unread.0.remove(&granule);
        if !self.copy_damaged(link, granule, data, damaged) {
            return;
        }
        let mut ranges: Vec<(u64, u64)> = Vec::new();
        for offset in damaged.iter().map(|d| d.block * BLOCK) {
            match ranges.last_mut().filter(|(from, len)| from + *len == offset) {
                Some((_, len)) => *len += BLOCK,
                None => ranges.push((offset, BLOCK)),
            }
        }
        for (offset, len) in ranges {
            self.event(Event::DamageCopied { peer, offset, len });
        }
    }

    fn leave_out(&mut self, link: LinkId, granule: u32, reason: Arc<str>) {
        self.unread.put(granule, Step::Lost);
        if self.unread.lost() > self.config.unreadable_max {
            return self.disk_failed(reason);
        }
        let ((offset, len), Some(l)) = (self.place_of(granule), self.links.get(&link)) else { return };
        let peer = l.hello.node;
        self.event(Event::Unreadable { peer, offset, len: u64::from(len), reason });
    }

    /// Has the chunks judged that are still to be, as far as there is room.
    pub(super) fn pump_unread(&mut self) -> bool {
        if self.leading().is_none() {
            self.unread.0.clear();
            return false;
        }
        let judging = self.unread.0.values().filter_map(Granule::left);
        let chunks: Vec<u32> = judging.flatten().copied().take(mend::MENDS_MAX).collect();
        let before = self.mends.len();
        chunks.into_iter().for_each(|chunk| {
            self.mend(chunk);
        });
        self.mends.len() > before
    }

    /// Whether a granule is judged for the sake of a copy. Whoever has it judged from now on has all targets asked.
    pub(super) fn is_judged_to_copy(&self, granule: u32) -> bool {
        matches!(self.unread.step(granule), Some(Step::Judging(..) | Step::Judged(_)))
    }

    /// A chunk was judged, whoever had it judged: a granule is with its last one.
    pub(super) fn unread_mended(&mut self, chunk: u32, mend: &mend::Mend) {
        let granule = self.layout.granule_of_chunk(chunk);
        let Some(Granule { step, .. }) = self.unread.0.get_mut(&granule) else { return };
        let Step::Judging(left, found) = step else { return };
        if !left.remove(&chunk) {
            return;
        }
        if let Some(asked) = mend.lost_for() {
            found.asked.retain(|link| asked.contains(link));
        }
        found.lost.extend(mend.lost.iter().map(|d| (d.block, d.right)));
        if left.is_empty() {
            *step = Step::Judged(std::mem::take(found));
        }
    }
}

//! What the source of a resync cannot read, or finds damaged: first read alone, then healed from a copy that has it right,
//! if there is one, and read again. What cannot be read even then is left out and told; too much of it is a failed
//! disk (R11). What is damaged even then is copied as it is, with the checksums that it should have: the target is told.

use super::*;
use crate::meta::BLOCK;

/// Granules whose copying met an error of the disk here.
#[derive(Debug, Default)]
pub(super) struct Unread(BTreeMap<u32, Step>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// A read of it and others failed: it is read alone.
    Alone,
    /// It failed alone: it is to be judged.
    Failed,
    Judging,
    /// Judged, and healed if it could be: it is read once more.
    Judged,
    /// Left out until it is written to, or the resync begins anew.
    Lost,
    /// Likewise: it is damaged, and there is no room to note more of that.
    Damaged,
}

impl Unread {
    /// Whether it is read alone.
    pub(super) fn contains(&self, granule: u32) -> bool {
        self.0.contains_key(&granule)
    }

    /// Whether it must not be read now.
    pub(super) fn waits(&self, granule: u32) -> bool {
        matches!(self.0.get(&granule), Some(Step::Failed | Step::Judging | Step::Lost | Step::Damaged))
    }

    /// These could be read.
    pub(super) fn read(&mut self, run: Run) {
        self.0.retain(|granule, step| !run.granules().contains(granule) || *step == Step::Judging);
    }

    /// How many are left out.
    pub(super) fn lost(&self) -> usize {
        self.0.values().filter(|step| **step == Step::Lost).count()
    }

    /// What was left out is tried again.
    pub(super) fn try_again(&mut self, granules: impl std::ops::RangeBounds<u32>) {
        if !self.0.is_empty() {
            self.0.extract_if(granules, |_, step| matches!(step, Step::Lost | Step::Damaged)).for_each(drop);
        }
    }
}

impl Replica {
    /// The disk here could not read what a peer was to get.
    pub(super) fn source_unreadable(&mut self, link: LinkId, run: Run, reason: Arc<str>) {
        self.copies_not(link, run);
        if run.count > 1 {
            for granule in run.granules() {
                self.unread.0.entry(granule).or_insert(Step::Alone);
            }
            return;
        }
        match self.unread.0.get(&run.first) {
            None | Some(Step::Alone) => {
                self.unread.0.insert(run.first, Step::Failed);
            }
            Some(Step::Judged) => self.leave_out(link, run.first, reason),
            // Another peer's copy of it is at this already.
            Some(Step::Failed | Step::Judging | Step::Lost | Step::Damaged) => {}
        }
    }

    /// What was read for a peer is not what its checksums say: what of it is sound is sent. The rest is judged first, as
    /// what cannot be read is, and then sent as it is, if no copy is right.
    pub(super) fn source_damaged(&mut self, link: LinkId, run: Run, data: &Bytes, damaged: &[DamagedBlock]) {
        let size = self.layout.granule as usize;
        for granule in run.granules() {
            let at = (granule - run.first) as usize * size;
            let data = data.slice(at..data.len().min(at + size));
            let here = |d: &&DamagedBlock| d.block * BLOCK / size as u64 == u64::from(granule);
            let damaged: Vec<DamagedBlock> = damaged.iter().filter(here).copied().collect();
            let one = Run { first: granule, count: 1 };
            match self.unread.0.get(&granule) {
                _ if damaged.is_empty() => {
                    self.unread.read(one);
                    self.send_copies(link, one, &data.into());
                }
                Some(Step::Judged) => self.send_damaged(link, granule, data.into(), &damaged),
                step => {
                    if matches!(step, None | Some(Step::Alone)) {
                        self.unread.0.insert(granule, Step::Failed);
                    }
                    self.copies_not(link, one);
                }
            }
        }
    }

    pub(super) fn copies_not(&mut self, link: LinkId, run: Run) {
        if let Some(t) = self.target(link) {
            run.granules().for_each(|granule| {
                t.copies.remove(&granule);
            });
        }
    }

    /// No copy has it right: the peer is told so with it.
    fn send_damaged(&mut self, link: LinkId, granule: u32, data: Data, damaged: &[DamagedBlock]) {
        let Some(peer) = self.links.get(&link).map(|l| l.hello.node) else { return };
        if !damaged.iter().all(|d| self.note_damage(*d)) {
            self.copies_not(link, Run { first: granule, count: 1 });
            self.unread.0.insert(granule, Step::Damaged);
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
        self.unread.0.insert(granule, Step::Lost);
        if self.unread.lost() > self.config.unreadable_max {
            return self.disk_failed(reason);
        }
        let ((offset, len), Some(l)) = (self.place_of(granule), self.links.get(&link)) else { return };
        let peer = l.hello.node;
        self.event(Event::Unreadable { peer, offset, len: u64::from(len), reason });
    }

    /// Has judged what failed.
    pub(super) fn pump_unread(&mut self) {
        if self.leading().is_none() {
            return self.unread.0.clear();
        }
        let failed = |(granule, step): (&u32, &Step)| (*step == Step::Failed).then_some(*granule);
        let failed: Vec<u32> = self.unread.0.iter().filter_map(failed).collect();
        for granule in failed {
            // Where there is no room for all, those that are judged now are judged again.
            if self.layout.granule_chunks(granule).all(|chunk| self.mend(chunk)) {
                self.unread.0.insert(granule, Step::Judging);
            }
        }
    }

    /// Whether a granule is judged for the sake of a copy.
    pub(super) fn is_judged_to_copy(&self, granule: u32) -> bool {
        matches!(self.unread.0.get(&granule), Some(Step::Failed | Step::Judging))
    }

    /// A chunk was judged: a granule is with its last one.
    pub(super) fn unread_mended(&mut self, chunk: u32) {
        let granule = self.layout.granule_of_chunk(chunk);
        let more = self.mends.range(self.layout.granule_chunks(granule)).next().is_some();
        if let Some(step @ Step::Judging) = self.unread.0.get_mut(&granule).filter(|_| !more) {
            *step = Step::Judged;
        }
    }
}

//! What the source of a resync cannot read: first read alone, then healed from a copy in step, if there is one, and
//! read again. What is lost even then is left out and told; too much of it is a failed disk (R11).

use super::*;

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
}

impl Unread {
    /// Whether it is read alone.
    pub(super) fn contains(&self, granule: u32) -> bool {
        self.0.contains_key(&granule)
    }

    /// Whether it must not be read now.
    pub(super) fn waits(&self, granule: u32) -> bool {
        matches!(self.0.get(&granule), Some(Step::Failed | Step::Judging | Step::Lost))
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
            self.0.extract_if(granules, |_, step| *step == Step::Lost).for_each(drop);
        }
    }
}

impl Replica {
    /// The disk here could not read what a peer was to get.
    pub(super) fn source_unreadable(&mut self, link: LinkId, run: Run, reason: Arc<str>) {
        if let Some(t) = self.target(link) {
            run.granules().for_each(|granule| {
                t.copies.remove(&granule);
            });
        }
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
            Some(Step::Failed | Step::Judging | Step::Lost) => {}
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

    /// A chunk was judged: a granule is with its last one.
    pub(super) fn unread_mended(&mut self, chunk: u32) {
        let granule = self.layout.granule_of_chunk(chunk);
        let more = self.mends.range(self.layout.granule_chunks(granule)).next().is_some();
        if let Some(step @ Step::Judging) = self.unread.0.get_mut(&granule).filter(|_| !more) {
            *step = Step::Judged;
        }
    }
}

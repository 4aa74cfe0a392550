//! N4: before a resync overwrites a generation that the leader's does not descend from, the whole device is
//! kept as a snapshot, with the ranges that were written since the two parted.
//!
//! Each step is durable before the next: the record (the image is being made), the image, the record (it is
//! whole) in one superblock with the mark of the resync. What is found half made, or half removed, at
//! open is removed.

use super::*;
use crate::ids::GenerationId;
use crate::meta::{BLOCK, MAX_SLOTS, MAX_SNAPSHOTS, SnapshotHead, SnapshotState};

/// Pieces being copied at once, and the bytes of one.
const WINDOW: usize = 8;
const PIECE: u64 = 64 << 10;

#[derive(Debug)]
pub(super) struct Kept {
    pub(super) head: SnapshotHead,
    pub(super) bits: Bitmap,
    pub(super) changed: BTreeSet<u32>,
    /// The commit that records its state.
    commit: u64,
    /// The image's removal was asked of the store.
    removing: bool,
}

/// An image that is being made.
#[derive(Debug)]
pub(super) struct Taking {
    id: u64,
    step: Step,
}

#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// The device is being flushed and the record written.
    Recording,
    Creating,
    Copying {
        next: u32,
        under_way: usize,
    },
    Flushing,
    Whole,
}

/// Where an operation of the store belongs.
#[derive(Debug)]
pub(super) enum SnapshotStep {
    Created,
    Read(u32, Vec<u32>),
    Written,
    Flushed,
    Removed(u64),
}

impl Kept {
    pub(super) fn new(head: SnapshotHead, bits: Bitmap) -> Self {
        Kept { head, bits, changed: BTreeSet::new(), commit: 0, removing: false }
    }

    fn picture(&self, granule: u64) -> Snapshot {
        let h = &self.head;
        let range = |(first, count): (u32, u32)| {
            let start = u64::from(first) * granule;
            (start, (u64::from(count) * granule).min(h.size - start.min(h.size)))
        };
        let written = self.bits.runs(usize::MAX).into_iter().map(range).collect();
        Snapshot { id: h.id, generation: h.generation, common: h.common, size: h.size, written }
    }
}

impl Replica {
    /// The generations that were kept, oldest first.
    pub fn snapshots(&self) -> Vec<Snapshot> {
        let whole = |k: &&Kept| k.head.state == SnapshotState::Kept;
        let picture = |k: &Kept| k.picture(self.layout.granule);
        let mut snapshots: Vec<Snapshot> = self.kept.iter().filter(whole).map(picture).collect();
        if self.bug(Bug::SnapshotForgets) {
            snapshots.iter_mut().for_each(|s| s.written.truncate(s.written.len().saturating_sub(1)));
        }
        snapshots
    }

    /// Before a resync's mark: whether the copy here needs no snapshot, or has it.
    pub(super) fn loser_is_kept(&mut self, link: LinkId) -> bool {
        if self.sb.sync.is_some() || self.config.snapshots_max == 0 || !self.loses_data(link) {
            return true;
        }
        match &self.taking {
            None => {
                self.take_snapshot(link);
                false
            }
            Some(taking) if taking.step == Step::Whole => {
                let id = taking.id;
                self.taking = None;
                // It takes effect with the mark, in one superblock.
                if let Some(kept) = self.kept.iter_mut().find(|k| k.head.id == id) {
                    kept.head.state = SnapshotState::Kept;
                    let (generation, size) = (kept.head.generation.generation, kept.head.size);
                    self.event(Event::SnapshotKept { id, generation, bytes: size });
                }
                true
            }
            Some(_) => false,
        }
    }

    /// Whether this copy's generation is not among the leader's ancestors.
    pub(super) fn loses_data(&self, link: LinkId) -> bool {
        let ours = &self.sb.lineage;
        let theirs = self.links.get(&link).and_then(|l| l.lineage.as_ref());
        !ours.is_blank() && theirs.is_some_and(|theirs| !theirs.contains(ours.current()))
    }

    fn take_snapshot(&mut self, link: LinkId) {
        if let Err(reason) = self.may_keep() {
            return self.cannot_keep(link, reason);
        }
        let Some((device, theirs)) =
            self.links.get(&link).map(|l| (l.hello.device, l.lineage.clone().unwrap_or_default()))
        else {
            return;
        };
        let common = self.sb.lineage.common(&theirs);
        let bits = self.written_since(device, common);
        let used: BTreeSet<u32> = self.kept.iter().map(|k| k.head.bitmap).collect();
        let bitmap = (MAX_SLOTS as u32..).find(|n| !used.contains(n)).unwrap_or_default();
        let id = self.kept.iter().map(|k| k.head.id).max().unwrap_or(0).max(self.sb.snapshot_counter) + 1;
        self.sb.snapshot_counter = id;
        let generation = self.sb.lineage.current();
        let size = self.layout.size;
        let head = SnapshotHead { id, state: SnapshotState::Making, bitmap, generation, common, size };
        let changed = (0..self.layout.pages()).collect();
        let commit = self.touch_with_pages();
        self.kept.push(Kept { changed, commit, ..Kept::new(head, bits) });
        self.taking = Some(Taking { id, step: Step::Recording });
        self.local.wanted = self.order;
    }

    fn may_keep(&self) -> Result<(), String> {
        let most = self.config.snapshots_max.min(MAX_SNAPSHOTS);
        if self.kept.len() >= most {
            return Err(format!("there are {most} snapshots already: delete one"));
        }
        let bytes = self.kept.iter().map(|k| k.head.size).sum::<u64>() + self.layout.size;
        match self.config.snapshot_bytes_max {
            Some(max) if bytes > max => Err(format!("{bytes} bytes of snapshots exceed the limit of {max}")),
            _ => Ok(()),
        }
    }

    /// What was written here since `common`: what the bitmap towards the winner says; everything, if it is
    /// not known that it says all.
    fn written_since(&self, device: DeviceId, common: Option<GenerationId>) -> Bitmap {
        let head = self.slot_of(device).map(|s| &self.slots[s]);
        if let Some(slot) = head.filter(|s| Some(s.head.base) == common) {
            return slot.bits.clone();
        }
        let mut all = Bitmap::new(self.layout.granules());
        all.set_run(0, self.layout.granules());
        all
    }

    /// Nothing is overwritten: the resync is refused, and says why.
    fn cannot_keep(&mut self, link: LinkId, reason: String) {
        self.event(Event::SnapshotFailed { reason: reason.into() });
        self.refuse(link, Refusal::CannotKeep);
    }

    fn store(&mut self, step: SnapshotStep, what: SnapshotOp) {
        self.disk(OpKind::Snapshot(step), DiskOp::Snapshot(what));
    }

    pub(super) fn pump_snapshots(&mut self) -> bool {
        self.remove_images();
        let Some(Taking { id, step }) = &self.taking else { return false };
        let id = *id;
        match step {
            Step::Recording => {
                let recorded = self.kept.iter().any(|k| k.head.id == id && self.durable(k.commit));
                if recorded && self.writes_in_flight == 0 && self.local.flushed >= self.order {
                    self.taking = Some(Taking { id, step: Step::Creating });
                    let size = self.layout.size;
                    self.store(SnapshotStep::Created, SnapshotOp::Create { id, size });
                }
            }
            Step::Copying { next, under_way } => {
                let (next, under_way) = (*next, *under_way);
                self.copy_to_image(id, next, under_way);
            }
            _ => {}
        }
        matches!(&self.taking, Some(Taking { step: Step::Whole, .. })) && self.gate == Gate::Open
    }

    fn copy_to_image(&mut self, id: u64, mut next: u32, mut under_way: usize) {
        let size = self.layout.size;
        let pieces = size.div_ceil(PIECE) as u32;
        let all = if self.bug(Bug::SnapshotLate) { pieces / 2 } else { pieces };
        while next < all && under_way < WINDOW {
            let offset = u64::from(next) * PIECE;
            let len = PIECE.min(size - offset);
            if !self.sums_ready(offset, len) {
                break;
            }
            let step = SnapshotStep::Read(next, self.sums(offset, len));
            self.disk(OpKind::Snapshot(step), DiskOp::Read { offset, len: len as u32 });
            (next, under_way) = (next + 1, under_way + 1);
        }
        let step = match next == all && under_way == 0 {
            true => Step::Flushing,
            false => Step::Copying { next, under_way },
        };
        if step == Step::Flushing {
            self.store(SnapshotStep::Flushed, SnapshotOp::Flush { id });
        }
        self.taking = Some(Taking { id, step });
    }

    pub(super) fn snapshot_step(&mut self, step: SnapshotStep, result: Result<Bytes, Arc<str>>) {
        if let SnapshotStep::Removed(id) = step {
            return self.image_removed(id, result);
        }
        let Some(taking) = &mut self.taking else { return };
        let data = match result {
            Ok(data) => data,
            Err(reason) => return self.snapshot_failed(&reason),
        };
        match (step, &mut taking.step) {
            // The store says so if the image has all bytes already.
            (SnapshotStep::Created, step) if data.is_empty() => {
                *step = Step::Copying { next: 0, under_way: 0 }
            }
            (SnapshotStep::Created, step) => {
                *step = Step::Flushing;
                let id = taking.id;
                self.store(SnapshotStep::Flushed, SnapshotOp::Flush { id });
            }
            (SnapshotStep::Read(piece, sums), Step::Copying { under_way, .. }) => {
                // What is zero stays a hole.
                if super::sums::is_zero(&data) {
                    *under_way -= 1;
                    return;
                }
                let (id, offset) = (taking.id, u64::from(piece) * PIECE);
                self.tell_kept_damage(offset, &data, &sums);
                self.store(SnapshotStep::Written, SnapshotOp::Write { id, offset, data });
            }
            (SnapshotStep::Written, Step::Copying { under_way, .. }) => *under_way -= 1,
            (SnapshotStep::Flushed, step) => *step = Step::Whole,
            _ => {}
        }
    }

    /// The image of what is lost is no better than it was. (A clone is not read.)
    fn tell_kept_damage(&mut self, offset: u64, data: &Bytes, sums: &[u32]) {
        let (node, wrong) = (self.me().node, Wrong::Copy);
        let mut findings = Vec::new();
        for d in Self::damaged_blocks(offset, &sums_of(data), sums) {
            let finding = Finding { node, offset: d.block * BLOCK, len: BLOCK, wrong, healed: false };
            super::mend::note(&mut findings, finding);
        }
        for finding in findings {
            self.count(&finding);
            self.event(Event::Damaged(finding));
        }
    }

    fn snapshot_failed(&mut self, reason: &Arc<str>) {
        self.abandon_snapshot();
        match self.source_link() {
            Some(link) => self.cannot_keep(link, reason.to_string()),
            None => self.event(Event::SnapshotFailed { reason: reason.clone() }),
        }
    }

    /// The resync is not to be: what was made of the image is removed.
    pub(super) fn abandon_snapshot(&mut self) {
        if let Some(Taking { id, .. }) = self.taking.take() {
            self.drop_record(id);
        }
    }

    fn drop_record(&mut self, id: u64) {
        let commit = self.touch();
        if let Some(kept) = self.kept.iter_mut().find(|k| k.head.id == id) {
            (kept.head.state, kept.commit) = (SnapshotState::Removing, commit);
        }
    }

    pub(super) fn delete_snapshot(&mut self, request: RequestId, id: u64) {
        let found = self.kept.iter().any(|k| k.head.id == id && k.head.state == SnapshotState::Kept);
        match self.unusable() {
            Some(why) => self.done(request, Err(why)),
            None if !found => self.done(request, Err(Denied::NoSnapshot(id))),
            None => {
                self.deleting.push((request, id));
                self.drop_record(id);
            }
        }
    }

    /// Images whose end is durable are removed, then forgotten.
    fn remove_images(&mut self) {
        let durable = self.commit.durable;
        let taking = self.taking.as_ref().map(|t| t.id);
        let due = |k: &&mut Kept| {
            k.head.state != SnapshotState::Kept
                && Some(k.head.id) != taking
                && k.commit <= durable
                && !k.removing
        };
        let ids: Vec<u64> = self
            .kept
            .iter_mut()
            .filter(due)
            .map(|k| {
                k.removing = true;
                k.head.id
            })
            .collect();
        for id in ids {
            self.store(SnapshotStep::Removed(id), SnapshotOp::Remove { id });
        }
        self.deleting.retain(|(request, id)| {
            let over = !self.kept.iter().any(|k| k.head.id == *id);
            if over {
                self.out.push_back(Output::Done { request: *request, result: Ok(Reply::Deleted) });
            }
            !over
        });
    }

    fn image_removed(&mut self, id: u64, result: Result<Bytes, Arc<str>>) {
        match result {
            Ok(_) => {
                self.kept.retain(|k| k.head.id != id);
                self.touch();
            }
            // It stays recorded as being removed; the next opening tries again.
            Err(reason) => {
                for (request, _) in self.deleting.extract_if(.., |(_, of)| *of == id).collect::<Vec<_>>() {
                    self.done(request, Err(Denied::Snapshot(reason.clone())));
                }
            }
        }
    }
}

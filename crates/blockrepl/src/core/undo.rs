//! R9: before-images of what a resync overwrites here, and the way back to them.
//!
//! A granule is read, its image written and flushed, and only then is it overwritten. These steps overlap for
//! different granules: while the images of some are flushed, those of the next are read and the next copies
//! come in; what was saved is overwritten and flushed meanwhile. `docs/format.md` says what must be durable before
//! what, and what a crash leaves.

use super::*;
use crate::config::UndoPolicy;
use crate::meta::{
    OpenError, UNDO_HEAD, UndoEntry, decode_undo, encode_undo, encode_undo_end, is_undo_end, may_be_undo,
};

/// Entries of the queue whose before-images are read ahead.
const AHEAD: usize = 64;

#[derive(Debug, Default)]
pub(super) struct Undo {
    /// Granules whose before-image is durable.
    pub(super) saved: BTreeSet<u32>,
    /// Being read.
    reading: BTreeSet<u32>,
    /// Read, and not given to the disk yet.
    read: BTreeMap<u32, Data>,
    /// Given to the disk, and not durable yet.
    writing: BTreeSet<u32>,
    /// The number of the next entry.
    pub(super) next: u32,
    lost_commit: u64,
    /// The metadata commit that holds what is known to be damaged of it, or makes durable what was found at open.
    noted: u64,
    /// Of those that were found at open, one is missing that was durable.
    rotten: bool,
    /// They are whole, and nothing was done yet to make them durable and to say so.
    unmarked: bool,
    /// The metadata commit after which a rollback may begin to put back.
    put_back_after: Option<u64>,
}

impl Undo {
    fn has(&self, granule: u32) -> bool {
        self.saved.contains(&granule)
            || self.reading.contains(&granule)
            || self.read.contains_key(&granule)
            || self.writing.contains(&granule)
    }

    /// What a resync that was broken off has left: the entries up to the first one that is not whole. That was not durable, unless
    /// one behind it says that it was, or cannot be read.
    pub(super) fn found(
        layout: &Layout,
        run: u64,
        mut read: impl FnMut(u64, u64) -> Result<Vec<u8>, OpenError>,
    ) -> Result<Self, OpenError> {
        let mut read = |offset, len| match read(offset, len) {
            // A bad sector is none of the replica: the way back is given up at most.
            Err(OpenError::Io { .. }) => Ok(None),
            other => other.map(Some),
        };
        let mut undo = Undo::default();
        // Whether the place of the next entry says that there is none.
        let mut ended = false;
        for number in 0..layout.undo_slots() {
            let at = layout.undo_at(number);
            let whole = undo.next == number;
            let Some(head) = read(at, UNDO_HEAD)? else {
                undo.rotten |= !ended;
                continue;
            };
            if is_undo_end(&head, run, number) {
                ended |= whole;
                undo.rotten |= !whole;
                continue;
            }
            if !may_be_undo(&head, run) {
                continue;
            }
            let Some(bytes) = read(at, layout.undo_len())? else {
                undo.rotten |= !ended;
                continue;
            };
            match decode_undo(&bytes, run, number, layout.granules()) {
                Some(entry) if whole => {
                    undo.saved.insert(entry.granule);
                    undo.next += 1;
                }
                Some(entry) => undo.rotten |= entry.durable > undo.next,
                None => {}
            }
        }
        Ok(undo)
    }

    /// Stops what has not been given to the disk.
    fn give_up(&mut self) {
        self.reading.clear();
        self.read.clear();
    }
}

impl Replica {
    /// Whether so many granules would outgrow the undo area. Then no image is kept of any: a rollback needs them all.
    fn outgrows_undo(&self, granules: u32) -> bool {
        !self.sb.lineage.is_blank() && granules > self.layout.undo_slots()
    }

    /// A resync that is to be held when the undo area is full, and is known to fill it, does not begin: the data here
    /// stays consistent.
    pub(super) fn undo_holds_it_up(&mut self, link: LinkId, granules: u32) -> bool {
        let holds = self.config.undo_policy == UndoPolicy::Hold && self.outgrows_undo(granules);
        if holds {
            self.refuse(link, Refusal::UndoFull);
        }
        holds
    }

    /// Another resync begins, which copies so many granules (0: nobody knows yet).
    pub(super) fn start_undo(&mut self, granules: u32) {
        self.sb.undo_run += 1;
        self.undo = Undo::default();
        let outgrown = self.outgrows_undo(granules);
        // A blank device has no state worth returning to.
        self.sb.undo_lost = outgrown || self.sb.lineage.is_blank();
        if outgrown {
            self.event(Event::UndoLost { reason: "the undo area is too small for what is to be copied" });
        }
    }

    /// Whether before-images are kept now.
    pub(super) fn undo_active(&self) -> bool {
        self.sb.sync.is_some() && !self.sb.undo_lost
    }

    /// Whether a granule may be overwritten.
    pub(super) fn undo_ready(&self, granule: u32) -> bool {
        match (self.sb.sync.is_some(), self.sb.undo_lost) {
            (false, _) => true,
            (true, true) => self.durable(self.undo.lost_commit),
            (true, false) => self.undo.saved.contains(&granule) && self.durable(self.undo.noted),
        }
    }

    /// Reads the before-images of what the queue is about to overwrite, as far as there is room for them.
    pub(super) fn save_before_images(&mut self) {
        if !self.undo_active() {
            return;
        }
        let undo = &self.undo;
        let used = undo.next as usize + undo.reading.len() + undo.read.len();
        let room = (self.layout.undo_slots() as usize).saturating_sub(used);
        let mut wanted = BTreeSet::new();
        for (at, entry) in self.queue.iter().take(AHEAD).enumerate() {
            let granules = match entry {
                Queued::Remote { offset, data, .. } => {
                    let (first, last) = self.layout.granules_of(*offset, data.len());
                    first..=last
                }
                Queued::Copy { granule, data, .. } => self.copied_range(*granule, data).1,
                Queued::SyncStart { .. } | Queued::SyncEnd { .. } => break,
                _ => continue,
            };
            let more: Vec<u32> = granules.filter(|g| !undo.has(*g) && !wanted.contains(g)).collect();
            if wanted.len() + more.len() > room {
                // What stands further behind may never come to need its place.
                if at == 0 {
                    return self.undo_full("the undo area is too small");
                }
                break;
            }
            wanted.extend(more);
        }
        // The checksums that say whether they are sound are asked for, if they are not in memory.
        wanted.retain(|granule| self.sums_at_hand(*granule));
        self.read_before_images(wanted);
    }

    fn read_before_images(&mut self, mut wanted: BTreeSet<u32>) {
        if self.bug(Bug::LoseBeforeImage) {
            let lost: Vec<u32> = wanted.iter().copied().filter(|g| g % 2 == 1).collect();
            wanted.retain(|g| g % 2 == 0);
            self.undo.saved.extend(lost);
        }
        // As many as the largest write has.
        let at_once = (WRITE_MAX as u64 / self.layout.granule).max(1) as u32;
        let mut left = wanted.iter().copied().peekable();
        while let Some(first) = left.next() {
            let mut count = 1;
            while count < at_once && left.next_if_eq(&(first + count)).is_some() {
                count += 1;
            }
            let (offset, len) = self.place_of_run(first, count);
            let (run, sums) = (Run { first, count }, self.sums(offset, u64::from(len)));
            self.disk(OpKind::UndoRead { run, sums }, DiskOp::Read { offset, len });
        }
        self.undo.reading.extend(wanted);
    }

    pub(super) fn before_image_read(&mut self, run: Run, sums: &[u32], result: Result<Bytes, Arc<str>>) {
        let size = self.layout.granule as usize;
        // They may have been given up meanwhile.
        let wanted: Vec<u32> = run.granules().filter(|granule| self.undo.reading.remove(granule)).collect();
        match result {
            Ok(_) if wanted.is_empty() => {}
            Ok(data) => {
                let data = Data::from(data);
                if !self.note_damage_before(run, sums, &data) {
                    return self.undo_full("more is damaged than can be noted");
                }
                self.undo.read.extend(wanted.into_iter().map(|granule| {
                    let at = (granule - run.first) as usize * size;
                    (granule, data.part(at..data.len().min(at + size)))
                }));
            }
            // There is no state of this granule to return to: as with those that there is no room for.
            Err(_) if !wanted.is_empty() => {
                self.undo_full("a granule could not be read before it was overwritten")
            }
            Err(_) => {}
        }
    }

    /// A state to return to that is damaged: it must be told so then as well, and the checksums that know will be gone.
    /// Says whether there was room to note it: without, there is no state to return to.
    fn note_damage_before(&mut self, run: Run, sums: &[u32], data: &Data) -> bool {
        let (offset, _) = self.place_of_run(run.first, run.count);
        let damaged = Self::damaged_blocks(offset, &data.sums(), sums);
        let noted = damaged.iter().all(|d| self.note_damage(*d));
        if !damaged.is_empty() {
            self.undo.noted = self.commit.wanted;
        }
        noted
    }

    pub(super) fn undo_full(&mut self, reason: &'static str) {
        if self.config.undo_policy == UndoPolicy::Hold {
            if let Some(link) = self.source_link() {
                self.refuse(link, Refusal::UndoFull);
            }
            return;
        }
        self.lose_undo(reason);
    }

    fn lose_undo(&mut self, reason: &'static str) {
        self.sb.undo_lost = true;
        self.undo.give_up();
        self.undo.lost_commit = self.touch();
        self.event(Event::UndoLost { reason });
    }

    /// At open: half of a way back is none (R9). A whole one is made durable, then that it is, before what it speaks of is
    /// overwritten: a crash may have come before either.
    pub(super) fn settle_found_images(&mut self) {
        if self.undo.rotten {
            self.lose_undo("a before-image is damaged");
        } else if self.undo.next > 0 {
            self.undo.unmarked = true;
            self.undo.noted = self.touch();
        }
    }

    fn mark_found_images(&mut self) {
        if std::mem::take(&mut self.undo.unmarked) && self.undo_active() {
            self.disk(OpKind::Meta, DiskOp::MetaFlush);
            self.write_undo_end();
        }
    }

    /// Writes the before-images that were read, and flushes them; those that are read meanwhile come next.
    pub(super) fn pump_undo(&mut self) -> bool {
        self.mark_found_images();
        if self.undo.read.is_empty() || !self.undo.writing.is_empty() {
            return false;
        }
        let (run, durable) = (self.sb.undo_run, self.undo.next);
        for (granule, data) in std::mem::take(&mut self.undo.read) {
            let number = self.undo.next;
            self.undo.next += 1;
            self.undo.writing.insert(granule);
            let entry = UndoEntry { run, number, granule, durable, data: &data };
            let mut offset = self.layout.undo_at(number);
            for data in encode_undo(&entry, self.layout.undo_len()) {
                let len = data.len() as u64;
                self.disk(OpKind::Meta, DiskOp::MetaWrite { offset, data });
                offset += len;
            }
        }
        if self.bug(Bug::UndoUnflushed) && !self.undo.saved.is_empty() {
            self.undo.saved.extend(&self.undo.writing);
        }
        self.disk(OpKind::UndoFlush, DiskOp::MetaFlush);
        false
    }

    pub(super) fn undo_flushed(&mut self) {
        let saved = std::mem::take(&mut self.undo.writing);
        self.undo.saved.extend(saved);
        // If no entry comes that says how many are durable. It is so with the next flush, which nobody waits for.
        if self.undo.read.is_empty() && self.undo.reading.is_empty() {
            self.write_undo_end();
        }
    }

    /// Says in the place of the next entry, if there is one, that those before it are durable.
    fn write_undo_end(&mut self) {
        let (run, next) = (self.sb.undo_run, self.undo.next);
        if next < self.layout.undo_slots() {
            let (offset, data) = (self.layout.undo_at(next), encode_undo_end(run, next));
            self.disk(OpKind::Meta, DiskOp::MetaWrite { offset, data });
        }
    }

    /// Restores all before-images, then becomes consistent.
    pub(super) fn pump_rollback(&mut self) {
        let Some(request) = self.rollback else { return };
        if let Some(commit) = self.undo.put_back_after {
            if !self.durable(commit) {
                return;
            }
            self.undo.put_back_after = None;
            self.read_images();
        }
        if self.rolling > 0 || self.writes_in_flight > 0 {
            return;
        }
        if self.local.flushed < self.order {
            self.local.wanted = self.order;
            return;
        }
        if self.sb.sync.take().is_some() {
            self.sb.consistent = true;
            self.undo.lost_commit = self.touch_with_pages();
        }
        if self.durable(self.undo.lost_commit) {
            self.undo = Undo::default();
            self.rollback = None;
            self.event(Event::Consistent { generation: self.sb.lineage.current().generation });
            self.done(request, Ok(Reply::RolledBack));
        }
    }

    pub(super) fn start_rollback(&mut self, request: RequestId) {
        self.purge_remote();
        self.rollback = Some(request);
        self.undo.give_up();
        // The source takes these for copied. It is not to find the resync that it knows, nor is the next leader: also if this is
        // interrupted, they are copied again.
        for slot in 0..self.slots.len() {
            let saved: Vec<u32> = self.undo.saved.iter().copied().collect();
            saved.into_iter().for_each(|g| self.mark(slot, g));
        }
        let known = |source| if self.slots.is_empty() { DeviceId::default() } else { source };
        self.sb.sync = self.sb.sync.map(|(source, _)| (known(source), 0));
        self.undo.put_back_after = Some(self.touch_with_pages());
    }

    fn read_images(&mut self) {
        self.rolling = self.undo.next;
        for entry in 0..self.undo.next {
            let what =
                DiskOp::MetaRead { offset: self.layout.undo_at(entry), len: self.layout.undo_len() as u32 };
            self.disk(OpKind::RollbackRead(entry), what);
        }
    }

    pub(super) fn rollback_read(&mut self, entry: u32, bytes: &Bytes) {
        let Some(UndoEntry { granule, data, .. }) =
            decode_undo(bytes, self.sb.undo_run, entry, self.layout.granules())
        else {
            return self.disk_failed("a before-image in the undo area is damaged".into());
        };
        let offset = self.layout.granule_at(granule);
        let data = Bytes::copy_from_slice(data);
        self.write(OpKind::RollbackWrite, offset, data.clone().into());
        self.damage_is_back(offset, &data);
    }
}

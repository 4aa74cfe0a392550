//! The ordered stream: when the next write, copy or barrier may go to the disk.

use super::*;
use crate::zeros::Zeros;

impl Queued {
    pub(super) fn len(&self) -> u64 {
        match self {
            Queued::Local { data, .. }
            | Queued::Forward { data, .. }
            | Queued::Remote { data, .. }
            | Queued::Copy { data, .. } => data.len() as u64 + 64,
            _ => 64,
        }
    }

    pub(super) fn link(&self) -> Option<LinkId> {
        match self {
            Queued::Local { .. } => None,
            Queued::Forward { link, .. }
            | Queued::Remote { link, .. }
            | Queued::Copy { link, .. }
            | Queued::Flush { link, .. }
            | Queued::SyncStart { link, .. }
            | Queued::SyncEnd { link, .. }
            | Queued::Verify { link, .. }
            | Queued::Fetch { link, .. }
            | Queued::Compare { link, .. } => Some(*link),
        }
    }
}

impl Replica {
    /// Where a copy lies, and the granules that it fills: one or several that follow each other.
    pub(super) fn copied_range(&self, first: u32, data: &Bytes) -> (u64, std::ops::RangeInclusive<u32>) {
        let offset = self.layout.granule_at(first);
        let (first, last) = self.layout.granules_of(offset, data.len());
        (offset, first..=last)
    }

    pub(super) fn enqueue(&mut self, entry: Queued) {
        self.queued_bytes += entry.len();
        self.queue.push_back(entry);
        if self.bug(Bug::OutOfOrder) {
            self.swap_last();
        }
        if self.queued_bytes + self.flying_bytes > self.queue_limit {
            // An honest leader stops at its window, long before.
            if let Some(link) = self.queue.back().and_then(Queued::link) {
                self.refuse(link, Refusal::Protocol);
            }
        }
    }

    /// What [`Bug::OutOfOrder`] does.
    fn swap_last(&mut self) {
        let len = self.queue.len();
        let remote = |at: usize| matches!(self.queue.get(at), Some(Queued::Remote { .. }));
        if len >= 2 && remote(len - 1) && remote(len - 2) {
            self.queue.swap(len - 1, len - 2);
        }
    }

    /// Drops what came from a leader and did not reach the disk: none of it was acknowledged.
    pub(super) fn purge_remote(&mut self) {
        self.queue.retain(|q| q.link().is_none());
        self.queued_bytes = self.queue.iter().map(Queued::len).sum();
        self.acks.clear();
        self.applying.clear();
        self.gate = Gate::Open;
        self.damage.nothing_comes();
        self.abandon_snapshot();
    }

    pub(super) fn pump_queue(&mut self) -> bool {
        let mut moved = false;
        loop {
            self.warm();
            self.save_before_images();
            let Some(head) = self.queue.pop_front() else { break };
            if !self.admissible(&head) {
                // Its link may have been refused just now, and with it all that came on it.
                if head.link().is_none_or(|link| self.links.contains_key(&link)) {
                    self.queue.push_front(head);
                }
                break;
            }
            self.queued_bytes -= head.len();
            self.admit(head);
            moved = true;
        }
        moved
    }

    fn admissible(&mut self, head: &Queued) -> bool {
        match head {
            Queued::Local { offset, data, .. } | Queued::Forward { offset, data, .. } => {
                let (first, last) = self.layout.granules_of(*offset, data.len());
                let (first_chunk, last_chunk) = self.layout.chunks_of(*offset, data.len());
                (self.reading.range(first..=last).next().is_none() || self.bug(Bug::CopyOvertakes))
                    && self.mends.range(first_chunk..=last_chunk).next().is_none()
                    && self.edges_are_known(*offset, data.len())
                    && self.is_redundant()
                    && self.is_hot(*offset, data.len())
                    && self.make_room()
                    && self.recent_has_room()
                    && self.damage_may_go(*offset, data, &[])
            }
            Queued::Remote { offset, data, .. } => {
                let (first, last) = self.layout.granules_of(*offset, data.len());
                self.is_hot(*offset, data.len())
                    && (first..=last).all(|g| self.undo_ready(g))
                    && self.edges_are_known(*offset, data.len())
                    && self.damage_may_go(*offset, data, &[])
            }
            Queued::Copy { link, granule, data, damaged } => {
                // A resync's copies are bounded by its mark; a repair's by the activity log.
                let (offset, mut granules) = self.copied_range(*granule, data);
                granules.all(|g| self.undo_ready(g))
                    && (damaged.is_empty() || self.damage_is_noted(*link, damaged))
                    && (self.sb.sync.is_some() || self.is_hot(offset, data.len()))
                    && match data.is_empty() {
                        true => self.damage_may_go(offset, &self.zeros(*granule).into(), damaged),
                        false => self.damage_may_go(offset, data, damaged),
                    }
            }
            Queued::SyncStart { link, sync, granules } => self.sync_start_ready(*link, *sync, *granules),
            Queued::SyncEnd { link, message } => self.sync_end_ready(*link, message),
            Queued::Fetch { chunk, .. } => self.chunk_sums_ready(*chunk),
            Queued::Verify { offset, len, .. } => self.sums_ready(*offset, u64::from(*len)),
            Queued::Flush { .. } | Queued::Compare { .. } => true,
        }
    }

    /// Of a damaged block no part can be written: the rest would then pass for sound.
    fn cuts_damage(&mut self, by: Asker, offset: u64, len: usize) -> bool {
        let Some(block) = self.damaged_edges(offset, len).first().copied() else { return false };
        if let Asker::Writer { link, .. } = by {
            self.writers.taken(link, len);
        }
        self.answer(by, Err(Denied::Corrupt { offset: block, len: crate::meta::BLOCK }));
        true
    }

    fn admit(&mut self, head: Queued) {
        match head {
            Queued::Local { request, offset, ref data, .. }
                if self.cuts_damage(Asker::Owner(request), offset, data.len()) => {}
            Queued::Forward { link, id, offset, ref data, .. }
                if self.cuts_damage(Asker::Writer { link, id }, offset, data.len()) => {}
            Queued::Local { request, seen, offset, data } => {
                self.order_write(Asker::Owner(request), seen, offset, data);
            }
            Queued::Forward { link, id, seen, offset, data } => {
                self.order_write(Asker::Writer { link, id }, seen, offset, data);
            }
            Queued::Remote { link, seq, offset, data } => {
                let weight = data.len() as u64 + 64;
                self.note_recent(seq, offset, data.len());
                self.mark_outsiders(offset, data.len());
                self.bound_recent();
                self.flying_bytes += weight;
                // Damaged here alone: the leader's block is asked for.
                let damaged = self.damaged_edges(offset, data.len());
                self.write(OpKind::Remote { link, weight, seq }, offset, data);
                damaged.into_iter().for_each(|block| self.found_rotten(block, &[0]));
            }
            Queued::Copy { link, granule, data, damaged } => {
                let weight = data.len() as u64 + 64;
                let data = if data.is_empty() { self.zeros(granule).into() } else { data };
                let offset = self.layout.granule_at(granule);
                self.flying_bytes += weight;
                self.write(OpKind::Remote { link, weight, seq: 0 }, offset, data.clone());
                self.damage_came(&damaged);
                self.repaired(offset, &data);
            }
            Queued::Fetch { link, id, chunk } => self.fetch(link, id, chunk),
            Queued::Flush { link, id } => {
                self.local.wanted = self.local.wanted.max(self.order);
                self.acks.push_back(AckDue { order: self.order, link, id });
            }
            Queued::SyncStart { .. } => self.gate = Gate::Open,
            Queued::SyncEnd { link, message } => self.sync_ended(link, &message),
            Queued::Compare { link, granule, digest } => {
                let (offset, len) = self.place_of(granule);
                self.disk(OpKind::Compare { link, granule, digest }, DiskOp::Read { offset, len });
            }
            Queued::Verify { link, id, offset, len } => {
                self.read_for_verify(link, id, offset, len);
            }
        }
    }

    fn zeros(&self, granule: u32) -> Bytes {
        // Room that was kept at the source need not be kept here.
        Zeros::Free.bytes(self.layout.granule_len(granule) as usize)
    }

    pub(super) fn write(&mut self, kind: OpKind, offset: u64, data: Data) {
        self.order += 1;
        self.writes_in_flight += 1;
        self.note_sums(offset, &data);
        let (first, last) = self.layout.granules_of(offset, data.len());
        self.unread.written(first..=last, offset, data.len());
        for extent in super::persist::extents(offset, data.len()) {
            if let Some(hot) = self.hot.get_mut(&extent) {
                hot.order = self.order;
            }
        }
        self.disk(kind, DiskOp::Write { offset, data: data.into_bytes() });
    }

    /// A follower cannot ask for a flush: it notes what it can no longer list in the bitmaps.
    fn bound_recent(&mut self) {
        if self.recent.len() > 2 * self.config.unflushed_writes_max {
            (0..self.slots.len()).for_each(|slot| self.mark_recent(slot, 0));
            self.recent.clear();
        }
    }

    fn recent_has_room(&mut self) -> bool {
        let room = self.recent.len() < self.config.unflushed_writes_max;
        if !room {
            self.relieve();
            self.want_flush_everywhere();
        }
        room || self.recent.len() < self.config.unflushed_writes_max
    }
}

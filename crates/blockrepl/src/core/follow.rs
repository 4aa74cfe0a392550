//! The follower's half: obeying one leader at a time.

use super::*;
use crate::ids::Lineage;
use crate::meta::{BLOCK, block_sum};
use crate::wire::RUNS_MAX;

/// Bytes written for a leader before it is told so without a flush.
const TELL_BYTES: u64 = 256 << 10;
/// Numbers of writes end here: no stream comes so far, and one more can always be added.
pub(super) const SEQ_MAX: u64 = u64::MAX / 2;
/// Questions of a leader that are not answered yet, at most: as for a resync window of a gigabyte.
const ASKS_MAX: u64 = 16_384;

impl Replica {
    pub(super) fn source_link(&self) -> Option<LinkId> {
        let follows = |l: &Link| matches!(l.side, Side::Source { .. });
        self.links.iter().find(|(_, l)| follows(l)).map(|(id, _)| *id)
    }

    /// A leader opens replication. A higher epoch than ours is made durable first (R4).
    pub(super) fn begin(&mut self, link: LinkId, epoch: u64, seq: u64) {
        if epoch < self.floor && !self.bug(Bug::SkipEpochCheck) {
            return self.tell_fenced(link, self.floor);
        }
        if self.leading().is_some_and(|l| l.grant.epoch == epoch) || seq > SEQ_MAX {
            return self.refuse(link, Refusal::Protocol);
        }
        if self.rollback.is_some() {
            return self.refuse(link, Refusal::Closing);
        }
        if let Some(l) = self.links.get_mut(&link) {
            l.begin = Some((epoch, seq));
        }
        self.begin_raise(epoch);
        match &mut self.raise {
            Some(raise) if raise.begins.contains(&link) => {}
            Some(raise) => raise.begins.push(link),
            None => self.accept_begin(link),
        }
    }

    pub(super) fn accept_begin(&mut self, link: LinkId) {
        let Some((epoch, seq)) = self.links.get_mut(&link).and_then(|l| l.begin.take()) else { return };
        if epoch < self.sb.epoch && !self.bug(Bug::SkipEpochCheck) {
            return self.tell_fenced(link, self.floor);
        }
        if let Some(old) = self.source_link().filter(|old| *old != link) {
            self.refuse(old, Refusal::Closing);
        }
        self.purge_remote();
        self.settle_recent();
        self.read_elsewhere();
        (self.seq, self.stable) = (seq, seq);
        let Some(l) = self.links.get_mut(&link) else { return };
        l.side = Side::Source { epoch, member: false, synced: false, done_bytes: 0, told_bytes: 0 };
        let leader = l.hello.device;
        let noted = self.slot_of(leader).map(|s| &self.slots[s]);
        let answer = Message::BeginAck {
            lineage: self.sb.lineage.clone(),
            members: self.sb.members.clone(),
            base: noted.map(|s| s.head.base).unwrap_or_default(),
            consistent: self.sb.consistent,
            sync: self.sb.sync,
            changed: noted.map_or(0, |s| s.bits.count()),
            dirty: self.dirty_towards(link, leader),
        };
        self.send(link, answer);
    }

    /// What may differ here from the leader's copy. Without a bitmap for it: what was hot, and what any other may lack.
    fn dirty_towards(&self, link: LinkId, leader: DeviceId) -> Vec<(u32, u32)> {
        let unknown = self.slot_of(leader).is_none();
        let mut bits = Bitmap::new(self.layout.granules());
        for extent in self.hot.keys().filter(|_| unknown) {
            let (first, count) = self.layout.extent_granules(*extent);
            bits.set_run(first, count);
        }
        let since = self.led_since(link);
        let lacks = |s: &&Slot| unknown || s.head.device == leader || since.contains(&s.head.device);
        self.slots.iter().filter(lacks).for_each(|s| bits.add(&s.bits));
        bits.runs(RUNS_MAX)
    }

    /// Those that began the generations which this copy has not: the leader's may have been copied from theirs, and then
    /// what was copied to it from here before is not there any more.
    fn led_since(&self, link: LinkId) -> BTreeSet<DeviceId> {
        let Some(theirs) = self.links.get(&link).and_then(|l| l.lineage.as_ref()) else {
            return BTreeSet::new();
        };
        let common = self.sb.lineage.common(theirs);
        theirs.entries().iter().rev().take_while(|g| Some(**g) != common).map(|g| g.device).collect()
    }

    /// Whether the message comes from the leader we follow, in its epoch. Answers if not.
    pub(super) fn obeys(&mut self, link: LinkId, epoch: u64) -> bool {
        match self.links.get(&link).map(|l| &l.side) {
            Some(Side::Source { epoch: ours, .. }) if *ours == epoch && epoch >= self.floor => true,
            Some(Side::Source { .. }) if self.bug(Bug::SkipEpochCheck) => true,
            None => false,
            _ if epoch < self.floor => {
                self.tell_fenced(link, self.floor);
                false
            }
            _ => {
                self.refuse(link, Refusal::Protocol);
                false
            }
        }
    }

    pub(super) fn remote_write(&mut self, link: LinkId, seq: u64, stable: u64, offset: u64, data: Data) {
        let end = offset.checked_add(data.len() as u64);
        let fits =
            end.is_some_and(|end| end <= self.layout.size) && !data.is_empty() && data.len() <= WRITE_MAX;
        let numbered = self.seq < seq && seq <= SEQ_MAX && stable <= seq;
        if !fits || !numbered {
            return self.refuse(link, Refusal::Protocol);
        }
        self.seq = seq;
        self.set_stable(stable);
        self.note_arrival(seq, offset, data.len());
        self.enqueue(Queued::Remote { link, seq, offset, data });
    }

    /// A granule with blocks that are damaged, with the checksums that these should have.
    pub(super) fn remote_damaged(
        &mut self,
        link: LinkId,
        granule: u32,
        heal: bool,
        copy: (&[(u8, u32)], Data),
    ) {
        let (blocks, data) = copy;
        let len = if granule < self.layout.granules() { self.layout.granule_len(granule) } else { 0 };
        // That of a leader whose device is smaller is shorter.
        let fits = !data.is_empty() && (data.len() as u64).is_multiple_of(BLOCK) && data.len() as u64 <= len;
        let first = self.layout.granule_at(granule) / BLOCK;
        let mut damaged = Vec::new();
        for (block, right) in blocks {
            let at = usize::from(*block) * BLOCK as usize;
            let Some(bytes) = data.get(at..at + BLOCK as usize).filter(|_| fits) else { break };
            damaged.push(DamagedBlock {
                block: first + u64::from(*block),
                found: block_sum(bytes),
                right: *right,
            });
        }
        let sound = |d: &DamagedBlock| d.right != super::sums::VOID && d.right != d.found;
        if blocks.is_empty() || damaged.len() != blocks.len() || !damaged.iter().all(sound) {
            return self.refuse(link, Refusal::Protocol);
        }
        self.copy_comes(link, granule, heal, data, damaged);
    }

    pub(super) fn remote_copy(&mut self, link: LinkId, granule: u32, heal: bool, data: Data) {
        self.copy_comes(link, granule, heal, data, Vec::new());
    }

    fn copy_comes(&mut self, link: LinkId, granule: u32, heal: bool, data: Data, damaged: Vec<DamagedBlock>) {
        let room = self.layout.size.saturating_sub(self.layout.granule_at(granule));
        // The mark of inconsistency may still be on its way to the disk: SyncStart is in the queue.
        let marked =
            self.sb.sync.is_some() || self.queue.iter().any(|q| matches!(q, Queued::SyncStart { .. }));
        // The last granule of a leader whose device is smaller is shorter.
        let most = if heal { self.layout.granule } else { WRITE_MAX as u64 };
        let fits = room > 0 && data.len() as u64 <= room.min(most);
        if !fits || !(heal || marked || self.bug(Bug::NoMark)) {
            return self.refuse(link, Refusal::Protocol);
        }
        self.enqueue(Queued::Copy { link, granule, data, damaged });
    }

    /// Whether a leader may have one thing more under way here. Refuses it if not.
    pub(super) fn has_room_for(&mut self, link: LinkId) -> bool {
        let under_way = self.queue.len() + self.ops.len() + self.acks.len() + self.adopting.len();
        // A write has 64 bytes and more of the window.
        let fits = under_way as u64 <= ASKS_MAX + self.config.peer_window() / 32;
        if !fits {
            self.refuse(link, Refusal::Protocol);
        }
        fits
    }

    /// The end of a resync; there is one at a time, and it may be long.
    pub(super) fn remote_sync_end(&mut self, link: LinkId, message: Message) {
        if self.queue.iter().any(|q| matches!(q, Queued::SyncEnd { .. })) {
            return self.refuse(link, Refusal::Protocol);
        }
        self.enqueue(Queued::SyncEnd { link, message });
    }

    /// Whether our granule is the same as the leader's, as of here in the stream.
    pub(super) fn remote_compare(&mut self, link: LinkId, granule: u32, digest: Digest) {
        if granule >= self.layout.granules() {
            return self.refuse(link, Refusal::Protocol);
        }
        self.enqueue(Queued::Compare { link, granule, digest });
    }

    pub(super) fn compared(&mut self, link: LinkId, granule: u32, digest: Digest, data: &[u8]) {
        if self.links.contains_key(&link) {
            self.send(link, Message::Compared { granule, same: Digest::of(data) == digest });
        }
    }

    pub(super) fn remote_verify(&mut self, link: LinkId, id: u64, offset: u64, len: u32) {
        let fits = offset.checked_add(u64::from(len)).is_some_and(|end| end <= self.layout.size);
        if !fits || u64::from(len) > crate::bitmap::CHUNK_MAX {
            return self.refuse(link, Refusal::Protocol);
        }
        self.enqueue(Queued::Verify { link, id, offset, len });
    }

    /// R9: the durable mark that precedes the first copy.
    pub(super) fn sync_start_ready(&mut self, link: LinkId, sync: u64, granules: u32) -> bool {
        if let Gate::Commit(commit) = self.gate {
            return self.durable(commit);
        }
        let Some(source) = self.links.get(&link).map(|l| l.hello.device) else { return true };
        if self.bug(Bug::NoMark) {
            return true;
        }
        let begins = self.sb.sync.is_none();
        if begins && self.undo_holds_it_up(link, granules) || !self.loser_is_kept(link) {
            return false;
        }
        if begins {
            self.start_undo(granules);
            self.event(Event::Inconsistent);
        }
        self.sb.consistent = false;
        self.sb.sync = Some((source, sync));
        let commit = self.touch_with_pages();
        self.gate = Gate::Commit(commit);
        false
    }

    /// The end of a resync: what was copied is flushed, then the mark is taken away.
    pub(super) fn sync_end_ready(&mut self, link: LinkId, message: &Message) -> bool {
        match self.gate {
            Gate::Open => {
                self.gate = Gate::Flush(self.order);
                self.local.wanted = self.local.wanted.max(self.order);
                self.sync_end_ready(link, message)
            }
            Gate::Flush(order) if self.local.flushed < order || self.writes_in_flight > 0 => false,
            Gate::Flush(_) => {
                let commit = self.become_consistent(link, message);
                self.gate = Gate::Commit(commit);
                false
            }
            Gate::Commit(commit) => self.durable(commit),
        }
    }

    fn become_consistent(&mut self, link: LinkId, message: &Message) -> u64 {
        let Message::SyncEnd { lineage, members, dirty, .. } = message else { return self.commit.durable };
        let source = self.links.get(&link).map(|l| l.hello.device);
        self.sb.consistent = true;
        self.sb.sync = None;
        self.sb.undo_lost = false;
        self.undo = undo::Undo::default();
        // What was known about the other peers was about data that is gone now.
        self.slots.retain(|s| Some(s.head.device) == source);
        self.slots.iter_mut().for_each(|s| s.head.base = lineage.current());
        if !self.slots.is_empty() {
            self.unmark_all(0);
        }
        self.take_over(lineage, members);
        for slot in 0..self.slots.len() {
            if Some(self.slots[slot].head.device) != source {
                self.mark_runs(slot, dirty);
            }
        }
        self.touch_with_pages()
    }

    fn take_over(&mut self, lineage: &Lineage, members: &MemberSet) {
        self.sb.lineage = lineage.clone();
        self.sb.members = members.clone();
        // What those outside the set miss is known to the leader alone.
        self.slots.retain(|s| members.iter().any(|m| m.device == s.head.device));
        self.track(members, lineage.current(), false);
    }

    pub(super) fn sync_ended(&mut self, link: LinkId, message: &Message) {
        self.gate = Gate::Open;
        if let Message::SyncEnd { version, members, .. } = message {
            self.note_membership(link, members);
            self.send(link, Message::SyncDone { version: *version });
            self.event(Event::Consistent { generation: self.sb.lineage.current().generation });
        }
    }

    pub(super) fn adopt(&mut self, link: LinkId, version: u64, lineage: &Lineage, members: &MemberSet) {
        if !self.sb.consistent || !lineage.contains(self.sb.lineage.current()) && !self.sb.lineage.is_blank()
        {
            return self.refuse(link, Refusal::Protocol);
        }
        // Still the same data as the leader's: the bitmaps for the members go on.
        let current = lineage.current();
        self.slots.iter_mut().filter(|s| members.iter().any(|m| m.device == s.head.device)).for_each(|s| {
            s.head.base = current;
        });
        self.take_over(lineage, members);
        self.note_membership(link, members);
        let commit = self.touch_with_pages();
        self.adopting.push_back((commit, link, version));
    }

    pub(super) fn pump_adopted(&mut self) {
        while let Some((_, link, version)) =
            self.adopting.pop_front_if(|(commit, ..)| *commit <= self.commit.durable)
        {
            if self.links.contains_key(&link) {
                self.send(link, Message::Adopted { version });
            }
        }
    }

    /// A write or a copy of the leader's is in the page cache.
    pub(super) fn written_for(&mut self, link: LinkId, weight: u64) {
        let Some(Link { side: Side::Source { done_bytes, told_bytes, .. }, .. }) = self.links.get_mut(&link)
        else {
            return;
        };
        *done_bytes += weight;
        if *done_bytes - *told_bytes >= TELL_BYTES {
            *told_bytes = *done_bytes;
            let bytes = *done_bytes;
            self.send(link, Message::Progress { bytes });
        }
    }

    pub(super) fn answer_flush(&mut self, link: LinkId, id: u64) {
        if let Some(Link { side: Side::Source { done_bytes, told_bytes, .. }, .. }) =
            self.links.get_mut(&link)
        {
            *told_bytes = *done_bytes;
            let bytes = *done_bytes;
            self.send(link, Message::FlushAck { id, bytes });
        }
    }
}

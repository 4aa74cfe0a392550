//! What the other replicas lack. The leader tells its followers, which go on with the list, so that one of them knows it
//! when it leads: a replica that was away meanwhile then gets all that it misses, and is not copied in full.

use super::*;
use crate::ids::GenerationId;
use crate::wire::RUNS_MAX;

impl Replica {
    /// An operator takes a replica out for good: its bitmap is given up, here and at the followers, and its
    /// link, if any, ends. Should it connect again, it is a new one, and copied in full.
    pub fn forget(&mut self, now: Duration, device: DeviceId) -> Result<(), Denied> {
        self.now = self.now.max(now);
        self.may_write()?;
        if let Some(member) = self.counted().into_iter().find(|m| m.device == device) {
            return Err(Denied::StillCounted(member.node));
        }
        let link = self.links.iter().find(|(_, l)| l.hello.device == device).map(|(id, _)| *id);
        if let Some(link) = link {
            self.refuse(link, Refusal::Removed);
        }
        self.slots.retain(|s| s.head.device != device);
        self.touch();
        self.tell_version();
        self.advance();
        Ok(())
    }

    /// What the others lack as of here in the stream: those in the set (to be told before the set is), or those outside of
    /// it (after it, for a follower forgets those).
    pub(super) fn tell_lacks(&mut self, link: LinkId, inside: bool) {
        let Some(to) = self.links.get(&link).map(Link::member) else { return };
        let Some(set) = self.leading().map(|l| l.grant.in_sync.clone()) else { return };
        for slot in 0..self.slots.len() {
            let head = &self.slots[slot].head;
            let member = Member { node: head.node, device: head.device };
            if member != to && set.contains(&member) == inside {
                self.tell_lack(link, slot);
            }
        }
    }

    /// A peer was brought in step: the others need not know any more what it lacked.
    pub(super) fn tell_others(&mut self, member: Member) {
        let Some(slot) = self.slot_of(member.device) else { return };
        let synced = |l: &Link| matches!(&l.side, Side::Target(t) if t.state == TargetState::Synced);
        let others = self.links.iter().filter(|(_, l)| synced(l) && l.member() != member);
        for link in others.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.tell_lack(link, slot);
        }
    }

    fn tell_lack(&mut self, link: LinkId, slot: usize) {
        let Some(epoch) = self.leading().map(|l| l.grant.epoch) else { return };
        let head = &self.slots[slot].head;
        let member = Member { node: head.node, device: head.device };
        let (base, mut bits) = (head.base, self.slots[slot].bits.clone());
        // What it was sent and may yet lose.
        let peer = self.links.values().find(|l| l.member() == member);
        let flushed = match peer.map(|l| &l.side) {
            Some(Side::Target(t)) if t.state != TargetState::Beginning => t.flushed.max(t.noted),
            _ => self.seq,
        };
        for recent in self.recent.iter().filter(|r| r.seq > flushed) {
            bits.set_run(recent.first, recent.last - recent.first + 1);
        }
        let dirty = bits.runs(RUNS_MAX);
        self.send(link, Message::Lacks { epoch, member, base, dirty });
    }

    /// The leader says what another one lacks. What it says takes the place of what was known here: all that was written since
    /// is in the list of recent writes, or will be noted.
    pub(super) fn note_lacks(&mut self, member: Member, base: GenerationId, dirty: &[(u32, u32)]) {
        let mine = member.node == self.me().node || member.device == self.me().device;
        if mine || !self.sb.consistent {
            return;
        }
        let slot = self.make_slot(member, base);
        self.slots[slot].head.base = base;
        self.unmark_all(slot);
        self.mark_runs(slot, dirty);
        self.touch_with_pages();
    }

    pub(super) fn mark_runs(&mut self, slot: usize, runs: &[(u32, u32)]) {
        for (first, count) in runs {
            self.mark_run(slot, *first, *count);
        }
    }

    /// A write of the leader's: those outside the set may not get it.
    pub(super) fn mark_outsiders(&mut self, offset: u64, len: usize) {
        let (first, last) = self.layout.granules_of(offset, len);
        for slot in 0..self.slots.len() {
            let head = &self.slots[slot].head;
            if !self.sb.members.contains(&Member { node: head.node, device: head.device }) {
                self.mark_run(slot, first, last - first + 1);
            }
        }
    }
}

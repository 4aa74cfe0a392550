//! The leader's half: sending writes, choosing a resync, its beginning and its end. What it copies: see `copies`.

use super::*;
use crate::ids::{GenerationId, Lineage};
use crate::wire::RUNS_MAX;

/// What the leader concludes from a follower's state.
enum Plan {
    /// Copy what both bitmaps say.
    Partial { forget_theirs: bool },
    /// Copy what either bitmap has noted since the two sides parted.
    Both,
    /// Copy everything.
    Full,
    /// An operator must choose.
    Diverged,
}

impl Replica {
    pub(super) fn send_begin(&mut self, link: LinkId) {
        let Some(epoch) = self.leading().map(|l| l.grant.epoch) else { return };
        let (seq, lineage, asked) = (self.seq, self.sb.lineage.clone(), self.now);
        let Some(l) = self.links.get_mut(&link) else { return };
        if l.hello.device == DeviceId::default() {
            return self.send(link, Message::Writer(crate::wire::WriterMessage::Leads { epoch }));
        }
        l.side = Side::Target(Box::new(Target {
            state: TargetState::Beginning,
            asked,
            flushed: 0,
            noted: 0,
            flush: None,
            flush_wanted: false,
            next_flush: 1,
            sent_bytes: 0,
            done_bytes: 0,
            adopted: 0,
            shrink_told: false,
            cursor: 0,
            copies: Copies::default(),
            reading: 0,
            slow_told: false,
            silent: false,
            joins: None,
            reached: 0,
            reach: None,
            pace: Pace::new(asked, &self.config, self.layout.granule),
        }));
        self.send(link, Message::Begin { epoch, seq, lineage });
    }

    pub(super) fn target(&mut self, link: LinkId) -> Option<&mut Target> {
        match self.links.get_mut(&link).map(|l| &mut l.side) {
            Some(Side::Target(t)) => Some(t),
            _ => None,
        }
    }

    pub(super) fn begin_ack(&mut self, link: LinkId, message: Message) {
        if self.grow_first(link, &message) {
            return;
        }
        let answer = message.clone();
        let Message::BeginAck { lineage, consistent, dirty, .. } = message else { return };
        let Some(member) = self.links.get(&link).map(Link::member) else { return };
        if self.target(link).is_none_or(|t| t.state != TargetState::Beginning) {
            return;
        }
        self.reads_no_more(link);
        let mut plan = self.plan(member, &answer);
        if matches!(plan, Plan::Diverged)
            && let Some(split) = self.split_brain(member, &answer)
            && self.gives_up_theirs(split)
        {
            plan = self.overwrite(member, &answer);
        }
        let base = lineage.current();
        let slot = match plan {
            Plan::Diverged => return self.diverged(link, member, &lineage),
            Plan::Partial { .. } | Plan::Both | Plan::Full => self.make_slot(member, base),
        };
        match plan {
            Plan::Full => {
                self.slots[slot].head.base = base;
                self.mark_all(slot);
            }
            Plan::Both => {
                self.slots[slot].head.base = base;
                self.mark_runs(slot, &dirty);
                self.suspect_absent(slot, &dirty);
            }
            Plan::Partial { forget_theirs: false } => {
                self.mark_runs(slot, &dirty);
                self.suspect_absent(slot, &dirty);
            }
            _ => {}
        }
        self.discard.remove(&member.device);
        self.start_target(link, slot, consistent, matches!(plan, Plan::Full));
    }

    /// What this peer has and loses now, a replica that is away may have from the same leader, and by its own account
    /// the peer had it too: whoever leads when it returns must know that it is to be overwritten there as well.
    fn suspect_absent(&mut self, slot: usize, dirty: &[(u32, u32)]) {
        let absent = |s: &usize| *s != slot && !self.has_begun(self.slots[*s].head.device);
        for other in (0..self.slots.len()).filter(absent).collect::<Vec<_>>() {
            self.mark_runs(other, dirty);
        }
    }

    /// Whether this peer's own account of what it has was heard on its link.
    fn has_begun(&self, device: DeviceId) -> bool {
        let begun = |l: &Link| matches!(&l.side, Side::Target(t) if t.state != TargetState::Beginning);
        self.links.values().any(|l| l.hello.device == device && begun(l))
    }

    fn plan(&self, member: Member, answer: &Message) -> Plan {
        let Message::BeginAck { lineage: theirs, members: set, sync, .. } = answer else {
            return Plan::Diverged;
        };
        let (current, ours) = (theirs.current(), &self.sb.lineage);
        let known = self.slot_of(member.device).map(|s| &self.slots[s].head);
        let same_source = sync.is_none_or(|(source, _)| source == self.me().device);
        match known {
            Some(head) if (head.base == current || ours.current() == current) && same_source => {
                // In a resync that goes on, our bitmap already holds what theirs said.
                let forget_theirs = sync.is_some_and(|(_, number)| number == head.sync && number != 0)
                    || self.bug(Bug::ForgetTheirBits);
                Plan::Partial { forget_theirs }
            }
            _ if theirs.is_blank() || ours.contains(current) => Plan::Full,
            // Whatever it acknowledged in its newest generation had to be here as well (R2): it only began
            // a generation, by a change of the set, that this replica was not told of in time.
            _ if set.contains(&self.me()) && ours.common(theirs).is_some() => self.overwrite(member, answer),
            _ if self.discard.contains(&member.device) => self.overwrite(member, answer),
            _ if self.descends_from(set, member, current.epoch) && ours.common(theirs).is_some() => {
                Plan::Full
            }
            _ => Plan::Diverged,
        }
    }

    /// Whether one that led later, and that this copy descends from, was in the peer's set.
    fn descends_from(&self, set: &MemberSet, peer: Member, epoch: u64) -> bool {
        let led_later = |m: &Member| {
            let began = |g: &GenerationId| g.device == m.device && g.epoch > epoch;
            m.device != peer.device && self.sb.lineage.entries().iter().any(began)
        };
        set.iter().any(led_later)
    }

    /// How a copy that went its own way is overwritten. What both sides have noted is enough if both began to note where
    /// they parted, and if theirs is a state of its own and no half-done resync.
    fn overwrite(&self, member: Member, answer: &Message) -> Plan {
        let Message::BeginAck { lineage, base, sync: None, consistent: true, .. } = answer else {
            return Plan::Full;
        };
        let common = self.sb.lineage.common(lineage);
        let ours = self.slot_of(member.device).map(|s| self.slots[s].head.base);
        match common.is_some() && ours == common && Some(*base) == common {
            true => Plan::Both,
            false => Plan::Full,
        }
    }

    /// Whether policy says that the peer's data is overwritten.
    fn gives_up_theirs(&mut self, split: SplitBrain) -> bool {
        let given_up = split.verdict == Verdict::TheirsLoses;
        self.event(Event::SplitBrain(Box::new(split)));
        given_up
    }

    fn diverged(&mut self, link: LinkId, member: Member, theirs: &Lineage) {
        let common = self.sb.lineage.common(theirs);
        self.event(Event::Diverged { peer: member.node, device: member.device, common });
        self.refuse(link, Refusal::Diverged);
    }

    fn start_target(&mut self, link: LinkId, slot: usize, consistent: bool, full: bool) {
        let seq = self.seq;
        if self.bug(Bug::RemovedCounts) && consistent && !full {
            self.unmark_all(slot);
        }
        let clean = consistent && self.slots[slot].bits.count() == 0;
        let Some(t) = self.target(link) else { return };
        (t.flushed, t.noted, t.state) = (seq, seq, TargetState::Syncing);
        if clean {
            return self.finish_target(link);
        }
        self.start_sync(link, slot);
        let bytes = u64::from(self.slots[slot].bits.count()) * self.layout.granule;
        let peer = self.slots[slot].head.node;
        self.event(Event::ResyncStarted { peer, bytes, full });
    }

    /// What follows on this link need not be in the order of the writes.
    pub(super) fn start_sync(&mut self, link: LinkId, slot: usize) {
        self.sb.sync_counter += 1;
        let sync = self.sb.sync_counter;
        self.slots[slot].head.sync = sync;
        self.touch_with_pages();
        let Some(epoch) = self.leading().map(|l| l.grant.epoch) else { return };
        let pace = Pace::new(self.now, &self.config, self.layout.granule);
        self.unread.try_again(..);
        if let Some(t) = self.target(link) {
            t.pace = pace;
        }
        // By digest, what differs shows only later.
        let granules = if self.config.resync_by_digest { 0 } else { self.slots[slot].bits.count() };
        self.send(link, Message::SyncStart { epoch, sync, granules });
    }

    /// The target holds all that we hold, at this point of the stream.
    pub(super) fn finish_target(&mut self, link: LinkId) {
        let Some(Message::Adopt { epoch, version, lineage, members }) = self.adopt_message(link) else {
            return;
        };
        let now = self.now;
        let mut measured = None;
        if let Some(t) = self.target(link) {
            (t.state, t.asked) = (TargetState::Finishing, now);
            measured = t.pace.measured(now);
        }
        if let Some(rate) = measured {
            self.config.measured(rate);
        }
        let dirty = self.lacked_by_others(link);
        self.send(link, Message::SyncEnd { epoch, version, lineage, members, dirty });
    }

    /// What members besides the target may lack: were it to lead, its own notes would not tell, for it has got
    /// that as copies.
    fn lacked_by_others(&self, link: LinkId) -> Vec<(u32, u32)> {
        let target = self.links.get(&link).map(|l| l.hello.device);
        let mut lacked = Bitmap::new(self.layout.granules());
        let others = self.slots.iter().filter(|s| Some(s.head.device) != target);
        others.for_each(|s| lacked.add(&s.bits));
        for r in self.recent.iter().filter(|r| r.seq > self.everywhere) {
            lacked.set_run(r.first, r.last - r.first + 1);
        }
        lacked.runs(RUNS_MAX)
    }

    pub(super) fn sync_done(&mut self, link: LinkId, version: u64) {
        let current = self.leading().map(|l| l.version);
        let Some(member) = self.links.get(&link).map(Link::member) else { return };
        let Some(t) = self.target(link).filter(|t| t.state == TargetState::Finishing) else { return };
        if current.is_none_or(|told| version > told) {
            return self.refuse(link, Refusal::Protocol);
        }
        t.state = TargetState::Synced;
        t.adopted = version;
        t.flush_wanted = true;
        t.slow_told = false;
        if let Some(slot) = self.slot_of(member.device) {
            self.slots[slot].head.sync = 0;
            if current == Some(version) {
                self.slots[slot].head.base = self.sb.lineage.current();
            }
            self.touch();
        }
        self.start_join(link, member);
        if current != Some(version)
            && let Some(adopt) = self.adopt_message(link)
        {
            self.send(link, adopt);
        }
        self.tell_lacks(link, true);
        self.tell_lacks(link, false);
        self.tell_others(member);
    }

    /// The leader's owner does something: its resyncs must not be in the way.
    pub(super) fn foreground(&mut self) {
        self.each_pace(Pace::foreground);
    }

    /// A flush of the leader's owner was answered.
    pub(super) fn flush_took(&mut self, time: Duration) {
        self.each_pace(|pace| pace.delayed(time));
    }

    fn each_pace(&mut self, f: impl Fn(&mut Pace)) {
        for link in self.links.values_mut() {
            if let Side::Target(t) = &mut link.side
                && t.state == TargetState::Syncing
            {
                f(&mut t.pace);
            }
        }
    }

    /// Holds the resync of a peer, or lets it go on, now and whenever it is resynced from here. New writes
    /// still go to it. Kept until the volume is opened anew.
    pub fn pause_resync(&mut self, now: Duration, node: NodeId, paused: bool) {
        self.now = self.now.max(now);
        match paused {
            true => self.paused.insert(node),
            false => self.paused.remove(&node),
        };
        self.unread.try_again(..);
        if let Some(t) = self.find_link(node).and_then(|link| self.target(link)) {
            t.pace.held_up();
        }
        self.advance();
    }

    /// When the next granule may be copied, where the rate forbids it now.
    pub(super) fn copy_due(&self) -> Option<Duration> {
        let due = |l: &Link| match &l.side {
            Side::Target(t) if t.state == TargetState::Syncing && !self.paused.contains(&l.hello.node) => {
                t.pace.due()
            }
            _ => None,
        };
        self.links.values().filter_map(due).min().map(|at| at.max(self.now + Duration::from_millis(1)))
    }

    pub(super) fn local_write(&mut self, request: RequestId, offset: u64, data: Bytes) {
        if let Err(why) = self.may_write() {
            return self.done(request, Err(why));
        }
        let (len, size) = (data.len() as u64, self.usable_size());
        if data.len() > WRITE_MAX || offset.checked_add(len).is_none_or(|end| end > size) {
            return self.done(request, Err(Denied::OutOfRange { offset, len, size }));
        }
        if data.is_empty() {
            return self.done(request, Ok(Reply::Written));
        }
        self.foreground();
        let seen = self.writers.complete(self.seq);
        self.take_in(Queued::Local { request, seen, offset, data: data.into() });
    }

    /// To the writer that it comes from goes its place only: it has the data.
    pub(super) fn send_to_targets(
        &mut self,
        message: &Message,
        by: Asker,
        offset: u64,
        len: usize,
    ) -> Vec<DeviceId> {
        let window = self.config.peer_window();
        let (first, last) = self.layout.granules_of(offset, len);
        let mut sent = Vec::new();
        for (id, link) in &mut self.links {
            let Side::Target(t) = &mut link.side else { continue };
            let keeps_up = t.state != TargetState::Syncing || t.in_flight() < window;
            if t.state == TargetState::Beginning {
                continue;
            }
            if !keeps_up {
                t.copies.again(first..=last);
                continue;
            }
            t.sent_bytes += message.weight();
            sent.push(link.hello.device);
            let message = place_for(*id, by, message).unwrap_or_else(|| message.clone());
            self.out.push_back(Output::Send { link: *id, message });
        }
        sent
    }
}

/// What the writer that forwarded this write is sent in place of it.
fn place_for(to: LinkId, by: Asker, message: &Message) -> Option<Message> {
    let Message::Write { epoch, seq, stable, .. } = *message else { return None };
    match by {
        Asker::Writer { link, id } if link == to => {
            Some(Message::Writer(crate::wire::WriterMessage::Ordered { epoch, seq, stable, id, apply: true }))
        }
        _ => None,
    }
}

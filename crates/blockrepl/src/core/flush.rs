//! Barriers: the local disk, the peers, and who waits for them.

use super::*;

impl Replica {
    pub(super) fn local_flush(&mut self, request: RequestId) {
        if let Err(why) = self.may_write() {
            return self.done(request, Err(why));
        }
        self.ask_flush(Asker::Owner(request));
    }

    pub(super) fn ask_flush(&mut self, by: Asker) {
        let (seq, order, since) = (self.seq, self.order, self.now);
        self.flushes.push_back(FlushRequest { by, seq, order, since });
        self.foreground();
        self.want_flush_up_to(seq, order);
    }

    /// For room in the activity log, or to bound what must be remembered.
    pub(super) fn want_flush_everywhere(&mut self) {
        if self.leading().is_some() {
            self.want_flush_up_to(self.seq, self.order);
        }
    }

    pub(super) fn flush_under_way(&self) -> bool {
        let asked = |l: &Link| matches!(&l.side, Side::Target(t) if t.flush.is_some());
        self.local.running.is_some() || self.links.values().any(asked)
    }

    pub(super) fn want_flush_up_to(&mut self, seq: u64, order: u64) {
        self.local.wanted = self.local.wanted.max(order);
        for link in self.links.values_mut() {
            if let Side::Target(t) = &mut link.side {
                let covered = t.flushed.max(t.flush.as_ref().map_or(0, |f| f.seq));
                t.flush_wanted |= covered < seq;
            }
        }
    }

    pub(super) fn pump_local_flush(&mut self) {
        if self.local.running.is_none() && self.local.wanted > self.local.flushed {
            self.local.running = Some((self.order, self.seq));
            self.disk(OpKind::DataFlush, DiskOp::Flush);
        }
    }

    pub(super) fn local_flushed(&mut self) {
        if let Some((order, seq)) = self.local.running.take() {
            self.local.flushed = order;
            self.local.flushed_seq = seq;
        }
        self.restabilise();
    }

    /// Answers the leader's flushes that the local disk has covered.
    pub(super) fn answer_leader(&mut self) {
        let done = if self.bug(Bug::AckUnflushed) { self.order } else { self.local.flushed };
        while let Some(AckDue { link, id, .. }) = self.acks.pop_front_if(|a| a.order <= done) {
            self.answer_flush(link, id);
        }
    }

    /// One flush at a time goes to each peer; requests that come meanwhile share the next one.
    pub(super) fn pump_peer_flushes(&mut self) {
        let Some(epoch) = self.leading().map(|l| l.grant.epoch) else { return };
        let (stable, seq, now) = (self.everywhere, self.seq, self.now);
        for (id, link) in &mut self.links {
            let Side::Target(t) = &mut link.side else { continue };
            if t.state == TargetState::Beginning || !t.flush_wanted || t.flush.is_some() {
                continue;
            }
            t.flush_wanted = false;
            let flush = t.next_flush;
            t.next_flush += 1;
            t.flush = Some(FlushOut { id: flush, seq, since: now });
            let message = Message::Flush { epoch, id: flush, stable };
            self.out.push_back(Output::Send { link: *id, message });
        }
    }

    pub(super) fn flush_acked(&mut self, link: LinkId, id: u64, bytes: u64) {
        let Some(Link { side: Side::Target(t), hello, .. }) = self.links.get_mut(&link) else { return };
        // What it had been asked before it began anew.
        if t.state == TargetState::Beginning {
            return;
        }
        if id >= t.next_flush {
            return self.refuse(link, Refusal::Protocol);
        }
        t.done(self.now, bytes);
        let Some(flush) = t.flush.take_if(|f| f.id == id) else { return };
        t.flushed = t.flushed.max(flush.seq);
        let recovered =
            std::mem::take(&mut t.slow_told) && t.state == TargetState::Synced && t.joins.is_none();
        let device = hello.device;
        let over = t.copies.flushed(id);
        // Requests that came after this flush was sent are waiting for the next.
        t.flush_wanted |= self.flushes.back().is_some_and(|f| f.seq > t.flushed);
        let peer = hello.node;
        if let Some(slot) = self.slot_of(device) {
            over.iter().filter(|(_, again)| !again).for_each(|(g, _)| self.unmark(slot, *g));
        }
        if recovered && !self.lags(&Member { node: peer, device }) {
            self.event(Event::PeerRecovered { peer, device });
        }
        self.restabilise();
    }

    /// What every connected peer and the local disk have flushed needs no memory any more.
    fn restabilise(&mut self) {
        if self.leading().is_none() {
            return;
        }
        let mut stable = self.local.flushed_seq;
        for link in self.links.values() {
            if let Side::Target(t) = &link.side
                && t.state != TargetState::Beginning
            {
                stable = stable.min(t.flushed.max(t.noted));
            }
        }
        self.set_stable(stable);
        self.everywhere = self.everywhere.max(self.durable_on_members());
    }

    /// What the followers may forget: durable also on the members that are away, for a follower
    /// that takes over must know what those may lack. A peer counts from the end of its resync on,
    /// so that it lacks nothing that is forgotten when it becomes a member.
    fn durable_on_members(&self) -> u64 {
        let behind = |m: &Member| {
            let link = self.links.values().find(|l| l.member() == *m);
            match link.map(|l| &l.side) {
                Some(Side::Target(t)) if t.state >= TargetState::Finishing => t.flushed,
                _ => self.away.get(&m.device).copied().unwrap_or(0),
            }
        };
        if self.bug(Bug::StableTooEarly) {
            return self.stable;
        }
        // A follower that has not adopted the newest set could still lead for a member that was removed from it.
        let version = self.leading().map_or(0, |l| l.version);
        let behind_the_set = |l: &Link| matches!(&l.side, Side::Target(t) if t.state == TargetState::Synced && t.adopted < version);
        if self.links.values().any(behind_the_set) {
            return 0;
        }
        let mut members = self.counted();
        let ends = |l: &&Link| matches!(&l.side, Side::Target(t) if t.state >= TargetState::Finishing);
        members.extend(self.links.values().filter(ends).map(Link::member).filter(|m| !self.lags(m)));
        members.iter().filter(|m| **m != self.me()).map(behind).min().unwrap_or(u64::MAX).min(self.stable)
    }

    /// A peer under resync must not hold up the writers: what it has not flushed goes to its
    /// bitmap.
    pub(super) fn relieve(&mut self) {
        self.note_laggards();
        let seq = self.seq;
        let mut note = Vec::new();
        for link in self.links.values_mut() {
            if let Side::Target(t) = &mut link.side
                && t.state == TargetState::Syncing
            {
                note.push((link.hello.device, t.flushed.max(t.noted)));
                t.noted = seq;
                t.copies.again(0..=u32::MAX);
            }
        }
        for (device, flushed) in note {
            if let Some(slot) = self.slot_of(device) {
                self.mark_recent(slot, flushed);
            }
        }
        self.restabilise();
    }

    /// R1, R2: all of the in-sync set, of a pending change, and of the peers under C that are
    /// synced.
    pub(super) fn required(&self) -> MemberSet {
        let Some(leading) = self.leading() else { return MemberSet::new() };
        let mut set = leading.grant.in_sync.clone();
        if self.bug(Bug::ForgetUnion) {
            set.remove(&self.me());
            return set;
        }
        set.extend(leading.pending.iter().flatten());
        for link in self.links.values() {
            let member = link.member();
            if matches!(&link.side, Side::Target(t) if t.state == TargetState::Synced) && !self.lags(&member)
            {
                set.insert(member);
            }
        }
        set.remove(&self.me());
        set
    }

    /// Why the write numbered `seq` is not acknowledged yet; empty when it is.
    pub(super) fn waits(&self, seq: u64, order: u64) -> Vec<Waiting> {
        let Some(leading) = self.leading() else { return Vec::new() };
        let mut waits = Vec::new();
        if self.local.flushed < order {
            waits.push(Waiting::LocalDisk);
        }
        if !self.durable(leading.recorded) {
            waits.push(Waiting::Metadata);
        }
        let version = leading.version;
        if self.bug(Bug::AckBeforePeer) {
            return waits;
        }
        waits.extend(self.redundancy_waits());
        waits.extend(self.required().iter().filter_map(|m| self.waits_for(*m, seq, version)));
        waits.extend(self.links.values().filter_map(|l| match &l.side {
            Side::Target(t) if self.unreached(&l.member(), t, seq) => Some(Waiting::PeerMemory(l.hello.node)),
            _ => None,
        }));
        waits
    }

    fn waits_for(&self, member: Member, seq: u64, version: u64) -> Option<Waiting> {
        let link = self.links.values().find(|l| l.member() == member);
        match link.map(|l| &l.side) {
            Some(Side::Target(t)) if t.state != TargetState::Synced => {
                Some(Waiting::PeerSyncing(member.node))
            }
            Some(Side::Target(t)) if t.flushed < seq || t.adopted < version => {
                Some(Waiting::Peer(member.node))
            }
            Some(Side::Target(_)) => None,
            _ => Some(Waiting::PeerDown(member.node)),
        }
    }

    pub(super) fn answer_flushes(&mut self) {
        while let Some(first) = self.flushes.front() {
            if !self.waits(first.seq, first.order).is_empty() {
                return;
            }
            if let Some(done) = self.flushes.pop_front() {
                self.flush_took(self.now.saturating_sub(done.since));
                self.answer(done.by, Ok(Reply::Flushed));
            }
        }
    }

    /// In an idle moment, lets the followers forget what is everywhere.
    pub(super) fn tell_stable(&mut self) {
        let Some(epoch) = self.leading().map(|l| l.grant.epoch) else { return };
        if self.stable_told == self.everywhere {
            return;
        }
        self.stable_told = self.everywhere;
        for (id, link) in &self.links {
            if matches!(&link.side, Side::Target(t) if t.state != TargetState::Beginning) {
                let message = Message::Stable { epoch, stable: self.everywhere };
                self.out.push_back(Output::Send { link: *id, message });
            }
        }
    }

    pub(super) fn note_slow_peers(&mut self) {
        let (now, slow) = (self.now, self.config.slow_after);
        let counted = self.counted();
        let lagging: MemberSet = self.links.values().map(Link::member).filter(|m| self.lags(m)).collect();
        let (version, window) = (self.leading().map_or(0, |l| l.told), self.config.peer_window());
        let mut told = Vec::new();
        for (id, link) in &mut self.links {
            let member = link.member();
            let Side::Target(t) = &mut link.side else { continue };
            let Some(since) = t.silent_since(version) else { continue };
            let age = now.saturating_sub(since);
            let in_sync = counted.contains(&member);
            // One under A or B holds nobody up, unless it says nothing of what it has in memory, or its window is full.
            let idle = lagging.contains(&member) && t.reach.is_none() && t.in_flight() < window;
            let drop = age >= slow * 4 && !in_sync && t.state >= TargetState::Finishing && !idle;
            if age >= slow && !t.slow_told || drop {
                t.slow_told = true;
                told.push((*id, member.node, in_sync, drop));
            }
        }
        for (link, peer, in_sync, drop) in told {
            self.event(Event::PeerSlow { peer, in_sync });
            if drop {
                // Nobody would remove it by a grant, for no grant counts it.
                self.refuse(link, Refusal::Removed);
            }
        }
    }

    /// The members of the grant and of a pending change.
    pub(super) fn counted(&self) -> MemberSet {
        let leading = self.leading();
        leading
            .iter()
            .flat_map(|l| l.grant.in_sync.iter().chain(l.pending.iter().flatten()))
            .copied()
            .collect()
    }

    /// When the next [`Input::Tick`] is due.
    pub fn poll_timeout(&self) -> Option<Duration> {
        self.stream_timeout().into_iter().chain(self.lease_timeout()).chain(self.session_timeout()).min()
    }

    /// When a lease of a writer that is away ends.
    fn lease_timeout(&self) -> Option<Duration> {
        let over = self.writers.away().map(|(_, lost)| lost + self.config.lease_grace);
        over.min().map(|at| at.max(self.now))
    }

    fn stream_timeout(&self) -> Option<Duration> {
        let version = self.leading()?.told;
        let due = |l: &Link| match &l.side {
            Side::Target(t) => {
                let patience = self.config.slow_after * if t.slow_told { 4 } else { 1 };
                t.silent_since(version).map(|since| since + patience)
            }
            _ => None,
        };
        let slow =
            self.links.values().filter_map(due).min().map(|at| at.max(self.now + self.config.slow_after / 4));
        slow.into_iter().chain(self.copy_due()).chain(self.mends_due()).min()
    }
}

impl Target {
    /// Since when an answer of this peer is outstanding.
    fn silent_since(&self, version: u64) -> Option<Duration> {
        let asked = match self.state {
            TargetState::Beginning | TargetState::Finishing => true,
            TargetState::Syncing => false,
            TargetState::Synced => self.adopted < version,
        };
        let flush = self.flush.as_ref().map(|f| f.since);
        let reach = self.reach.map(|(_, since)| since);
        flush.into_iter().chain(reach).chain(asked.then_some(self.asked)).min()
    }

    /// Bytes sent and not yet written there.
    pub(super) fn in_flight(&self) -> u64 {
        self.sent_bytes - self.done_bytes
    }

    /// The peer has written so many bytes.
    pub(super) fn done(&mut self, now: Duration, bytes: u64) {
        self.done_bytes = self.done_bytes.max(bytes).min(self.sent_bytes);
        self.pace.done(now, self.done_bytes);
    }
}

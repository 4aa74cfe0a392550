//! The leader's half: sending writes, choosing a resync, copying granules.

use super::*;
use crate::ids::{GenerationId, Lineage};
use crate::meta::BLOCK;
use crate::wire::RUNS_MAX;

/// Granules on their way to a peer at once, at most: fewer than a peer bears questions.
const WINDOW_MAX: u64 = 8192;
/// Reads that it takes to fill a window, at least.
const RUNS_AT_ONCE: u64 = 8;
/// Parts of a window that are flushed one by one.
const FLUSHES_A_WINDOW: u64 = 4;

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
            copies: BTreeMap::new(),
            reading: 0,
            slow_told: false,
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
        self.send(link, Message::SyncStart { epoch, sync });
    }

    /// The target holds all that we hold, at this point of the stream.
    fn finish_target(&mut self, link: LinkId) {
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
        let bits = others.flat_map(|s| s.bits.runs(usize::MAX));
        let unflushed = self.recent.iter().filter(|r| r.seq > self.everywhere);
        let unflushed = unflushed.map(|r| (r.first, r.last - r.first + 1));
        for (first, count) in bits.chain(unflushed) {
            lacked.set_run(first, count);
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
                t.copies.range_mut(first..=last).for_each(|(_, copy)| copy.again());
                continue;
            }
            t.sent_bytes += message.weight();
            sent.push(link.hello.device);
            let message = place_for(*id, by, message).unwrap_or_else(|| message.clone());
            self.out.push_back(Output::Send { link: *id, message });
        }
        sent
    }

    /// Starts the reads of the next granules that a peer lacks, within the window; ends a resync
    /// that has nothing left.
    pub(super) fn pump_copies(&mut self) -> bool {
        if self.leading().is_none() {
            return false;
        }
        let links: Vec<(LinkId, DeviceId)> = self.links.iter().map(|(id, l)| (*id, l.hello.device)).collect();
        for (link, device) in links {
            if let Some(slot) = self.slot_of(device) {
                self.pump_copy(link, slot);
            }
        }
        false
    }

    fn pump_copy(&mut self, link: LinkId, slot: usize) {
        loop {
            let left = self.slots[slot].bits.count();
            let Some(t) = self.target(link) else { return };
            if !matches!(t.state, TargetState::Syncing | TargetState::Synced) {
                return;
            }
            if left == 0 && t.copies.is_empty() {
                if t.state == TargetState::Syncing {
                    self.finish_target(link);
                }
                return;
            }
            let Some(run) = self.copy_now(link, slot) else { return self.flush_copies(link) };
            self.read_copy(link, run, false);
        }
    }

    /// The next granules, if there is room for them and it is time.
    fn copy_now(&mut self, link: LinkId, slot: usize) -> Option<Run> {
        let most = self.room_for_copies(link, slot);
        let first = self.next_copy(link, slot).filter(|_| most > 0)?;
        if !self.sums_at_hand(first) {
            return None;
        }
        let (now, bits, unread) = (self.now, &self.slots[slot].bits, &self.unread);
        let (sums, layout) = (&self.sums, &self.layout);
        let Some(Link { side: Side::Target(t), .. }) = self.links.get_mut(&link) else { return None };
        let known = |g: u32| sums.has(layout.granule_at(g), layout.granule_len(g));
        let alone = |granule: u32| unread.contains(granule) || !known(granule);
        let joins = |granule: u32| bits.get(granule) && !alone(first) && !alone(granule);
        let resync = t.state == TargetState::Syncing;
        let mut count = 0;
        while count < most
            && (count == 0 || joins(first + count) && !t.copies.contains_key(&(first + count)))
            && (!resync || t.pace.take(now, &self.config))
        {
            count += 1;
        }
        (count > 0).then_some(Run { first, count })
    }

    /// Granules that may be on their way to a peer.
    fn window_of(&self, t: &Target) -> u64 {
        (t.pace.window(&self.config) / self.layout.granule).clamp(1, WINDOW_MAX)
    }

    /// How many granules may be read for a peer at once.
    fn room_for_copies(&self, link: LinkId, slot: usize) -> u32 {
        let Some(Link { side: Side::Target(t), .. }) = self.links.get(&link) else { return 0 };
        let (window, granule) = (self.window_of(t), self.layout.granule);
        let room = window.saturating_sub(t.copies.len() as u64);
        if t.state == TargetState::Synced {
            return room.min(1) as u32;
        }
        // New writes go to the peer as long as there is room; copies leave some.
        let sent = t.in_flight() + u64::from(t.reading) * granule;
        let unsent = (self.config.peer_window() / 4 * 3).saturating_sub(sent).div_ceil(granule);
        // Read at once, and sent as one message: as many as the largest write has.
        let at_once = (WRITE_MAX as u64 / granule).max(1);
        match self.paused.contains(&self.slots[slot].head.node) {
            true => 0,
            false => room.min(unsent).min(window.div_ceil(RUNS_AT_ONCE)).min(at_once) as u32,
        }
    }

    /// What was copied counts once it is flushed. The peer flushes a part of the window while it takes in the rest.
    fn flush_copies(&mut self, link: LinkId) {
        let least = |t: &Target| (self.window_of(t) / FLUSHES_A_WINDOW).max(1) as usize;
        let Some(Link { side: Side::Target(t), .. }) = self.links.get(&link) else { return };
        if t.flush.is_some() || t.flush_wanted {
            return;
        }
        let sent = t.copies.values().filter(|c| matches!(c, CopyState::Sent { .. })).count();
        let enough = sent == t.copies.len() || sent >= least(t);
        if let Some(t) = self.target(link).filter(|_| sent > 0 && enough) {
            t.flush_wanted = true;
        }
    }

    /// The next granule to copy, round and round.
    fn next_copy(&mut self, link: LinkId, slot: usize) -> Option<u32> {
        let Some(Link { side: Side::Target(t), .. }) = self.links.get(&link) else { return None };
        let free = |granule: &u32| !t.copies.contains_key(granule) && !self.unread.waits(*granule);
        let bits = &self.slots[slot].bits;
        let dirty = |from: u32| std::iter::successors(bits.next(from), |at| bits.next(at + 1));
        dirty(t.cursor).find(free).or_else(|| dirty(0).take_while(|g| *g < t.cursor).find(free))
    }

    fn read_copy(&mut self, link: LinkId, run: Run, whole: bool) {
        let digests = self.config.resync_by_digest;
        let Some(t) = self.target(link) else { return };
        let whole = whole || !digests || t.state == TargetState::Synced;
        t.cursor = run.first + run.count;
        t.reading += run.count;
        for granule in run.granules() {
            t.copies.insert(granule, CopyState::Reading { whole });
        }
        for granule in run.granules() {
            *self.reading.entry(granule).or_default() += 1;
        }
        let (offset, len) = self.place_of_run(run.first, run.count);
        let ready = self.sums_ready(offset, u64::from(len));
        let sums = if ready { self.sums(offset, u64::from(len)) } else { Vec::new() };
        self.disk(OpKind::CopyRead { link, run, sums }, DiskOp::Read { offset, len });
    }

    /// Where a granule lies in the device, and its length.
    pub(super) fn place_of(&self, granule: u32) -> (u64, u32) {
        self.place_of_run(granule, 1)
    }

    /// Where `count` granules lie in the device, and their length.
    pub(super) fn place_of_run(&self, first: u32, count: u32) -> (u64, u32) {
        let offset = self.layout.granule_at(first);
        let len = (u64::from(count) * self.layout.granule).min(self.layout.size.saturating_sub(offset));
        (offset, len as u32)
    }

    pub(super) fn copy_read(
        &mut self,
        link: LinkId,
        run: Run,
        sums: &[u32],
        result: Result<Bytes, Arc<str>>,
    ) {
        for granule in run.granules() {
            if let Some(readers) = self.reading.get_mut(&granule) {
                *readers -= 1;
            }
        }
        self.reading.retain(|_, readers| *readers > 0);
        if let Some(t) = self.target(link) {
            t.reading = t.reading.saturating_sub(run.count);
        }
        match result {
            Ok(data) => self.copy_checked(link, run, sums, &data.into()),
            Err(reason) => self.source_unreadable(link, run, reason),
        }
    }

    /// Compares what was read with the checksums here: damage must not be copied as if it were sound.
    fn copy_checked(&mut self, link: LinkId, run: Run, sums: &[u32], data: &Data) {
        let (offset, len) = self.place_of_run(run.first, run.count);
        let late = match () {
            () if !sums.is_empty() => Vec::new(),
            () if self.sums_ready(offset, u64::from(len)) => self.sums(offset, u64::from(len)),
            // They come: it is read again then.
            () => return self.copies_not(link, run),
        };
        let sums = if sums.is_empty() { &late } else { sums };
        let damaged = match self.bug(Bug::UncheckedSource) {
            true => Vec::new(),
            false => Self::damaged_blocks(offset, &data.sums(), sums),
        };
        if !damaged.is_empty() {
            return self.source_damaged(link, run, data, &damaged);
        }
        self.unread.read(run);
        self.send_copies(link, run, data);
    }

    /// Sends a granule that is damaged. Says whether it did.
    pub(super) fn copy_damaged(
        &mut self,
        link: LinkId,
        granule: u32,
        data: Data,
        damaged: &[DamagedBlock],
    ) -> bool {
        let Some(epoch) = self.leading().map(|l| l.grant.epoch) else { return false };
        let Some(t) = self.target(link) else { return false };
        if !matches!(t.copies.get(&granule), Some(CopyState::Reading { .. })) {
            return false;
        }
        let (heal, flush) = (t.state == TargetState::Synced, t.next_flush);
        t.copies.insert(granule, CopyState::Sent { flush, again: false });
        let first = self.layout.granule_at(granule) / BLOCK;
        let blocks = damaged.iter().map(|d| ((d.block - first) as u8, d.right)).collect();
        self.send_copy(link, Message::CopyDamaged { epoch, granule, heal, blocks, data });
        true
    }

    /// Sends what was read, or asks about it first.
    pub(super) fn send_copies(&mut self, link: LinkId, run: Run, data: &Data) {
        let Some(epoch) = self.leading().map(|l| l.grant.epoch) else { return };
        let granule_len = self.layout.granule as usize;
        let Some(t) = self.target(link) else { return };
        let Some(CopyState::Reading { whole }) = t.copies.get(&run.first) else { return };
        let (whole, heal, flush) = (*whole, t.state == TargetState::Synced, t.next_flush);
        let pieces: Vec<Bytes> = (0..data.len())
            .step_by(granule_len)
            .map(|at| data.slice(at..data.len().min(at + granule_len)))
            .collect();
        let state = || match whole {
            true => CopyState::Sent { flush, again: false },
            false => CopyState::Asked { again: false },
        };
        t.copies.extend(run.granules().map(|granule| (granule, state())));
        if !whole {
            for (granule, piece) in run.granules().zip(&pieces) {
                let piece = if self.bug(Bug::DigestOfOne) { &pieces[0] } else { piece };
                self.send(link, Message::Compare { epoch, granule, digest: Digest::of(piece) });
            }
            return;
        }
        if self.bug(Bug::ClearBeforeFlush)
            && let Some(slot) = self.links.get(&link).and_then(|l| self.slot_of(l.hello.device))
        {
            run.granules().for_each(|granule| self.unmark(slot, granule));
        }
        for (granule, data) in without_zeros(run.first, data, &pieces, granule_len) {
            self.send_copy(link, Message::Copy { epoch, granule, heal, data });
        }
    }

    fn send_copy(&mut self, link: LinkId, message: Message) {
        let now = self.now;
        if let Some(t) = self.target(link) {
            t.sent_bytes += message.weight();
            t.pace.sent(now, t.sent_bytes);
            self.send(link, message);
        }
    }

    /// What is the same counts as copied: it is certain once the peer has flushed.
    pub(super) fn compare_answered(&mut self, link: LinkId, granule: u32, same: bool) {
        let Some(t) = self.target(link) else { return };
        let Some(CopyState::Asked { again }) = t.copies.get(&granule) else { return };
        if same {
            let state = CopyState::Sent { flush: t.next_flush, again: *again };
            t.copies.insert(granule, state);
            if self.bug(Bug::SameUnflushed)
                && let Some(slot) = self.links.get(&link).and_then(|l| self.slot_of(l.hello.device))
            {
                self.unmark(slot, granule);
            }
        } else {
            self.read_copy(link, Run { first: granule, count: 1 }, true);
        }
    }
}

impl CopyState {
    /// A later write to the granule is not sent: what was sent of it is out of date.
    pub(super) fn again(&mut self) {
        if let CopyState::Sent { again, .. } | CopyState::Asked { again } = self {
            *again = true;
        }
    }
}

/// What was read, in as few parts as it takes to send no zeros: each begins with its first granule, and one of
/// zeros has no bytes.
fn without_zeros(first: u32, data: &Data, pieces: &[Bytes], granule: usize) -> Vec<(u32, Data)> {
    let zero: Vec<bool> = pieces.iter().map(|piece| sums::is_zero(piece)).collect();
    let mut parts = Vec::new();
    let mut at = 0;
    while at < zero.len() {
        let count = match zero[at] {
            true => 1,
            false => zero[at..].iter().take_while(|zero| !**zero).count(),
        };
        let span = at * granule..data.len().min((at + count) * granule);
        parts.push((first + at as u32, if zero[at] { Data::default() } else { data.part(span) }));
        at += count;
    }
    parts
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

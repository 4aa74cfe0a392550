//! The leader's half of several writers: one sequencer orders everybody's writes.
//!
//! A write is *in flight* from its turn in the stream until this disk and every copy that is read
//! elsewhere have it. Only then is it complete; until then a read of its range waits, here as on
//! every writer. So a read that saw a write is followed by no read that misses it.
//!
//! Which copies are read is for this leader alone to say, and to change at any moment: a writer shows what it read at home only
//! after the leader has said, later than the read was asked for, that it still waits for that copy. Who is taken out, or cut off, need
//! not hear of it, and nothing is measured in time.

use super::*;
use crate::wire::WriterMessage as M;
use crate::zeros::Zeros;

/// Complete writes that are remembered, to recognise a forward that was under way meanwhile.
const PAST_MAX: usize = 1024;
/// Reads and flushes that one writer may have under way; an honest one stops long before.
const ASKS_MAX: usize = 512;
/// Writes that a writer may forward before it has heard that they are complete; it stops at half of what is refused.
pub(super) const FORWARDS_MAX: usize = 4096;

/// The longest read that another writer may ask for: the longest of its owner's, in whole blocks.
const READ_MAX: usize = WRITE_MAX + 2 * crate::meta::BLOCK as usize;

/// A range of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) start: u64,
    pub(super) end: u64,
}

impl Span {
    pub(super) fn new(offset: u64, len: u64) -> Self {
        Span { start: offset, end: offset.saturating_add(len) }
    }

    /// The whole blocks that it touches.
    pub(super) fn blocks(self) -> Self {
        let block = crate::meta::BLOCK;
        Span { start: self.start / block * block, end: self.end.next_multiple_of(block) }
    }

    pub(super) fn len(self) -> u64 {
        self.end - self.start
    }

    pub(super) fn meets(self, other: Span) -> bool {
        self.start < other.end && other.start < self.end
    }

    pub(super) fn holds(self, other: Span) -> bool {
        self.start <= other.start && other.end <= self.end
    }

    fn common(self, other: Span) -> (u64, u64) {
        let (start, end) = (self.start.max(other.start), self.end.min(other.end));
        (start, end.saturating_sub(start))
    }
}

/// Who is to be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Asker {
    Owner(RequestId),
    Writer { link: LinkId, id: u64 },
}

#[derive(Debug, Default)]
pub(super) struct Writers {
    joined: BTreeMap<NodeId, Joined>,
    /// Of a node that was taken out: its session, and which of its forwards were ordered. It may come back and send them again.
    gone: BTreeMap<NodeId, (u64, BTreeMap<u64, u64>)>,
    flights: VecDeque<Flight>,
    past: VecDeque<(u64, NodeId, Span)>,
    pub(super) leases: leases::Leases,
    overlaps: u64,
}

/// A node that joined; while it is away, what it needs to go on where it was.
#[derive(Debug)]
struct Joined {
    session: u64,
    link: Option<LinkId>,
    /// It reads its own copy, which has all up to this number. Only while it has a link and is not revoked.
    applied: Option<u64>,
    /// Its forwards that were ordered and that it may not know of as complete.
    ordered: BTreeMap<u64, u64>,
    last_id: u64,
    /// All that was complete when it joined first, and so before it asked for anything.
    since: u64,
    seen: u64,
    told: u64,
    queued_bytes: u64,
    asks: usize,
    revoked: bool,
    lost: Duration,
}

#[derive(Debug)]
struct Flight {
    seq: u64,
    origin: NodeId,
    span: Span,
    request: Option<RequestId>,
    here: bool,
    /// Its writer held the range: whoever comes after it has waited for it, and not raced.
    leased: bool,
}

impl Writers {
    fn on(&self, link: LinkId) -> Option<(NodeId, &Joined)> {
        self.joined.iter().find(|(_, j)| j.link == Some(link)).map(|(node, j)| (*node, j))
    }

    fn on_mut(&mut self, link: LinkId) -> Option<&mut Joined> {
        self.joined.values_mut().find(|j| j.link == Some(link))
    }

    pub(super) fn overlaps(&self) -> u64 {
        self.overlaps
    }

    /// All writes up to this number are complete, if `last` is the last one.
    pub(super) fn complete(&self, last: u64) -> u64 {
        self.flights.front().map_or(last, |f| f.seq - 1)
    }

    fn knows(&self, node: NodeId, session: u64) -> bool {
        let joined = self.joined.get(&node).map(|j| j.session);
        joined == Some(session) || self.gone.get(&node).is_some_and(|(of, _)| *of == session)
    }

    /// A forward of so many bytes waits for its turn no more.
    pub(super) fn taken(&mut self, link: LinkId, len: usize) {
        if let Some(joined) = self.on_mut(link) {
            joined.queued_bytes = joined.queued_bytes.saturating_sub(len as u64 + 64);
        }
    }

    /// Those who joined, and whether they read their own copy.
    pub(super) fn list(&self) -> impl Iterator<Item = (NodeId, bool)> {
        self.joined.iter().map(|(node, j)| (*node, j.applied.is_some()))
    }

    /// Whether a write to the range is not complete yet.
    pub(super) fn flying(&self, span: Span) -> bool {
        self.flights.iter().any(|f| f.span.meets(span))
    }

    /// Whether the node reads its own copy.
    pub(super) fn reads(&self, node: NodeId) -> bool {
        self.joined.get(&node).is_some_and(|j| j.applied.is_some())
    }

    pub(super) fn in_flight(&self, span: Span, but: NodeId) -> bool {
        self.flights.iter().any(|f| f.origin != but && f.span.meets(span))
    }

    /// Those who hold leases and are away, and since when.
    pub(super) fn away(&self) -> impl Iterator<Item = (NodeId, Duration)> {
        let away = self.joined.iter().filter(|(_, j)| j.link.is_none());
        away.map(|(node, j)| (*node, j.lost)).filter(|(node, _)| self.leases.held_by(*node))
    }

    /// All that an owner waits for.
    pub(super) fn requests(self) -> Vec<RequestId> {
        let mut requests: Vec<RequestId> = self.flights.iter().filter_map(|f| f.request).collect();
        requests.extend(self.leases.requests());
        requests
    }
}

impl Replica {
    /// Whether reads of this leader must pass through the core.
    pub fn is_shared(&self) -> bool {
        let granted = self.leading().is_some_and(|l| !l.grant.writers.is_empty());
        granted
            || !self.writers.flights.is_empty()
            || self.writers.joined.values().any(|j| j.applied.is_some())
    }

    /// Whose write this is.
    pub(super) fn origin(&self, by: Asker) -> NodeId {
        match by {
            Asker::Owner(_) => self.me().node,
            Asker::Writer { link, .. } => self.links.get(&link).map_or(self.me().node, |l| l.hello.node),
        }
    }

    pub(super) fn answer(&mut self, asker: Asker, result: Result<Reply, Denied>) {
        let (link, id) = match asker {
            Asker::Owner(request) => return self.done(request, result),
            Asker::Writer { link, id } => (link, id),
        };
        let Some(joined) = self.writers.on_mut(link) else { return };
        let message = match result {
            Ok(Reply::Leased(_)) => M::Leased { id },
            Ok(_) => M::Flushed { id },
            Err(Denied::Redundancy { have, need }) => {
                M::TooFew { id, have: have as u32, need: need.try_into().unwrap_or(u32::MAX) }
            }
            // Of a read: no copy is right.
            Err(_) => M::ReadData { id, sums: Vec::new(), data: Bytes::new() },
        };
        joined.asks = joined.asks.saturating_sub(usize::from(!matches!(message, M::Leased { .. })));
        self.send(link, Message::Writer(message));
    }

    /// A read of another writer was found to be as it was written. It checks that once more.
    pub(super) fn answer_read(&mut self, link: LinkId, id: u64, sums: Vec<u32>, data: Bytes) {
        let Some(joined) = self.writers.on_mut(link) else { return };
        joined.asks = joined.asks.saturating_sub(1);
        self.send(link, Message::Writer(M::ReadData { id, sums, data }));
    }

    // ---- what writers say ----

    /// N1: whatever a writer asks for, its epoch and its right are checked first.
    pub(super) fn writer_message(&mut self, link: LinkId, message: M) {
        let Some(epoch) = message.epoch() else { return self.session_message(link, message) };
        let from_leader = matches!(
            message,
            M::Leads { .. } | M::Joined { .. } | M::ReadHere { .. } | M::Ordered { .. } | M::Visible { .. }
        );
        if from_leader {
            return self.session_message(link, message);
        }
        if self.leading().is_none_or(|l| l.grant.epoch != epoch || l.request.is_some()) {
            return match epoch < self.floor {
                true => self.tell_fenced(link, self.floor),
                false => self.refuse(link, Refusal::Protocol),
            };
        }
        if let M::Join { session, again, .. } = message {
            return self.join_asked(link, epoch, session, again);
        }
        match self.writers.on(link).map(|(_, j)| j.revoked) {
            // It heard in the meantime that it is no writer.
            None if matches!(message, M::Leave { .. }) => {}
            None => self.refuse(link, Refusal::Protocol),
            Some(true) if !matches!(message, M::Leave { .. }) => {}
            Some(_) => self.joined_message(link, message),
        }
    }

    fn joined_message(&mut self, link: LinkId, message: M) {
        match message {
            M::Forward { id, seen, offset, data, .. } => self.forwarded(link, id, seen, offset, data),
            M::Applied { seq, .. } => {
                let seq = seq.min(self.seq);
                if let Some(applied) = self.writers.on_mut(link).and_then(|j| j.applied.as_mut()) {
                    *applied = seq.max(*applied);
                }
            }
            M::VouchAsk { id, .. } => {
                let counted = self.writers.on(link).is_some_and(|(_, j)| j.applied.is_some());
                self.send(link, Message::Writer(M::Vouched { id, counted }));
            }
            M::FlushAsk { id, .. } if self.may_ask(link) => self.ask_flush(Asker::Writer { link, id }),
            M::ReadAt { id, offset, len, .. } if self.may_ask(link) => {
                if len == 0 || len as usize > READ_MAX || !self.fits(offset, u64::from(len)) {
                    return self.refuse(link, Refusal::Protocol);
                }
                self.start_read(Asker::Writer { link, id }, offset, len);
            }
            M::LeaseAsk { id, offset, len, .. } => {
                let span = Span::new(offset, len);
                let node = self.origin(Asker::Writer { link, id });
                if !self.fits(offset, len) || len == 0 || !self.writers.leases.has_room(node, id) {
                    return self.refuse(link, Refusal::Protocol);
                }
                self.writers.leases.ask(Asker::Writer { link, id }, node, id, span);
            }
            M::Release { id, .. } => {
                let node = self.origin(Asker::Writer { link, id });
                self.writers.leases.release(node, id);
            }
            M::Leave { .. } => self.writer_left(link),
            _ => self.refuse(link, Refusal::Protocol),
        }
    }

    /// Whether a writer may have one more flush or read under way; refuses it if not.
    fn may_ask(&mut self, link: LinkId) -> bool {
        let Some(joined) = self.writers.on_mut(link) else { return false };
        joined.asks += 1;
        let fits = joined.asks <= ASKS_MAX;
        if !fits {
            self.refuse(link, Refusal::Protocol);
        }
        fits
    }

    pub(super) fn fits(&self, offset: u64, len: u64) -> bool {
        offset.checked_add(len).is_some_and(|end| end <= self.layout.size)
    }

    fn join_asked(&mut self, link: LinkId, epoch: u64, session: u64, again: bool) {
        let Some(node) = self.links.get(&link).map(|l| l.hello.node) else { return };
        let stranger = again && !self.writers.knows(node, session);
        if stranger || self.leading().is_none_or(|l| !l.grant.writers.contains(&node)) {
            return self.send(link, Message::Refused(Refusal::NotWriter { epoch }));
        }
        let same = self.writers.joined.get(&node).filter(|j| j.session == session).map(|j| j.revoked);
        if same != Some(false) {
            self.forget_writer(node);
        }
        let forgets = self.bug(Bug::ForwardTwice);
        let gone = self.writers.gone.remove(&node).filter(|(of, _)| *of == session && !forgets);
        let fresh = Joined {
            session,
            link: None,
            applied: None,
            ordered: gone.map(|(_, ordered)| ordered).unwrap_or_default(),
            last_id: 0,
            since: if again { 0 } else { self.writers.complete(self.seq) },
            seen: 0,
            told: 0,
            queued_bytes: 0,
            asks: 0,
            revoked: false,
            lost: self.now,
        };
        let joined = self.writers.joined.entry(node).or_insert(fresh);
        // It drops its own reads before it sends this.
        (joined.link, joined.applied, joined.last_id, joined.told) = (Some(link), None, 0, 0);
        (joined.queued_bytes, joined.asks) = (0, 0);
        let ordered = joined.ordered.iter().map(|(id, seq)| (*id, *seq)).collect();
        let knows = !self.bug(Bug::LeaseOutlives);
        let leases = if knows { self.writers.leases.of(node) } else { Vec::new() };
        self.send(link, Message::Writer(M::Joined { epoch, session, ordered, leases }));
        self.event(Event::WriterJoined { peer: node });
        self.let_read(link);
    }

    /// A writer whose copy is in step may read it: from here on writes wait for it.
    pub(super) fn let_read(&mut self, link: LinkId) {
        let in_step = self.links.get(&link).is_some_and(|l| self.may_join(&l.member()));
        let Some(epoch) = self.leading().map(|l| l.grant.epoch).filter(|_| in_step) else { return };
        let seq = self.seq;
        let Some(joined) = self.writers.on_mut(link).filter(|j| j.applied.is_none() && !j.revoked) else {
            return;
        };
        joined.applied = Some(seq);
        self.send(link, Message::Writer(M::ReadHere { epoch, seq }));
    }

    /// The peer on this link has begun anew, so it does not read its copy.
    pub(super) fn reads_no_more(&mut self, link: LinkId) {
        let node = self.links.get(&link).map(|l| l.hello.node);
        if let Some(joined) = node.and_then(|n| self.writers.joined.get_mut(&n)) {
            joined.applied = None;
        }
    }

    fn writer_left(&mut self, link: LinkId) {
        if let Some(node) = self.writers.on(link).map(|(node, _)| node) {
            self.drop_asks(link);
            self.forget_writer(node);
        }
    }

    fn forget_writer(&mut self, node: NodeId) {
        if !self.bug(Bug::LeaseOutlives) {
            self.writers.leases.release_all(node);
        }
        if let Some(joined) = self.writers.joined.remove(&node) {
            self.writers.gone.insert(node, (joined.session, joined.ordered));
            self.event(Event::WriterLeft { peer: node });
        }
    }

    /// What came by this link and was not ordered was never begun.
    fn drop_asks(&mut self, link: LinkId) {
        let from = |asker: &Asker| matches!(asker, Asker::Writer { link: l, .. } if *l == link);
        self.queue.retain(|q| !matches!(q, Queued::Forward { link: l, .. } if *l == link));
        self.queued_bytes = self.queue.iter().map(Queued::len).sum();
        self.flushes.retain(|f| !from(&f.by));
        self.checked.drop_link(link);
        self.writers.leases.drop_link(link);
    }

    pub(super) fn writer_link_down(&mut self, link: LinkId) {
        self.drop_asks(link);
        let now = self.now;
        let Some((node, _)) = self.writers.on(link) else { return };
        let Some(joined) = self.writers.joined.get_mut(&node) else { return };
        (joined.link, joined.lost, joined.applied) = (None, now, None);
        if joined.revoked {
            self.forget_writer(node);
        }
    }

    /// The grant has changed: those that are no writers any more are told, and no write waits for their copies.
    pub(super) fn revoke_writers(&mut self) {
        let Some(l) = self.leading() else { return };
        let (epoch, granted) = (l.grant.epoch, l.grant.writers.clone());
        let gone: Vec<NodeId> =
            self.writers.joined.keys().filter(|n| !granted.contains(n)).copied().collect();
        for node in gone {
            let link = self.writers.joined.get(&node).and_then(|j| j.link);
            let Some(link) = link else {
                self.forget_writer(node);
                continue;
            };
            self.drop_asks(link);
            self.writers.leases.release_all(node);
            if let Some(joined) = self.writers.joined.get_mut(&node) {
                (joined.revoked, joined.applied) = (true, None);
            }
            self.send(link, Message::Refused(Refusal::NotWriter { epoch }));
        }
    }

    // ---- writes ----

    fn forwarded(&mut self, link: LinkId, id: u64, seen: u64, offset: u64, data: Bytes) {
        let fits = !data.is_empty() && data.len() <= WRITE_MAX && self.fits(offset, data.len() as u64);
        let (limit, last) = (self.queue_limit, self.seq);
        let Some(joined) = self.writers.on_mut(link) else { return };
        let new = id > joined.last_id && !joined.ordered.contains_key(&id) && seen <= last;
        joined.queued_bytes += data.len() as u64 + 64;
        if !fits || !new || joined.queued_bytes > limit {
            return self.refuse(link, Refusal::Protocol);
        }
        if seen > joined.seen {
            joined.seen = seen;
            joined.ordered.retain(|_, seq| *seq > seen);
        }
        if joined.ordered.len() >= 2 * FORWARDS_MAX {
            return self.refuse(link, Refusal::Protocol);
        }
        joined.last_id = id;
        let seen = seen.max(joined.since);
        self.take_in(Queued::Forward { link, id, seen, offset, data: data.into() });
    }

    /// One write goes to the disk and to every peer that keeps up; for the others it is noted.
    pub(super) fn order_write(&mut self, by: Asker, seen: u64, offset: u64, data: Data) {
        let Some(epoch) = self.leading().map(|l| l.grant.epoch) else {
            return self.answer(by, Err(Denied::NotLeading));
        };
        self.seq += 1;
        let (seq, stable) = (self.seq, self.everywhere);
        self.note_recent(seq, offset, data.len());
        let message = Message::Write { epoch, seq, stable, offset, data: data.clone() };
        let sent = self.send_to_targets(&message, by, offset, data.len());
        let (first, last) = self.layout.granules_of(offset, data.len());
        let last = if self.bug(Bug::ForgetBit) { first } else { last };
        let forgotten = self.bug(Bug::ZerosUnmarked) && Zeros::of(&data).is_some();
        for slot in 0..self.slots.len() {
            if !sent.contains(&self.slots[slot].head.device) && !forgotten {
                self.mark_run(slot, first, last - first + 1);
            }
        }
        if let Asker::Writer { link, id } = by {
            self.ordered(link, id, seq, data.len(), &sent);
        }
        let kind = match by {
            Asker::Owner(request) if !self.is_shared() => OpKind::Local(request),
            _ => {
                self.depart(by, seen, seq, Span::new(offset, data.len() as u64));
                OpKind::Shared(seq)
            }
        };
        self.write(kind, offset, data);
    }

    /// Remembers what became of a forward, and tells its writer, unless it was told in the stream.
    fn ordered(&mut self, link: LinkId, id: u64, seq: u64, len: usize, sent: &[DeviceId]) {
        let told = self.links.get(&link).is_some_and(|l| sent.contains(&l.hello.device));
        let (epoch, stable) = (self.leading().map_or(0, |l| l.grant.epoch), self.everywhere);
        let Some(joined) = self.writers.on_mut(link) else { return };
        joined.ordered.insert(id, seq);
        self.writers.taken(link, len);
        if !told {
            self.send(link, Message::Writer(M::Ordered { epoch, seq, stable, id, apply: false }));
        }
    }

    fn depart(&mut self, by: Asker, seen: u64, seq: u64, span: Span) {
        let origin = self.origin(by);
        if let Some((first, other)) = self.raced(origin, seen, span) {
            let (offset, len) = span.common(other);
            self.writers.overlaps += 1;
            self.event(Event::Overlap { first, second: origin, offset, len });
        }
        let request = match by {
            Asker::Owner(request) => Some(request),
            Asker::Writer { .. } => None,
        };
        let leased = self.writers.leases.cover(origin, span);
        self.writers.flights.push_back(Flight { seq, origin, span, request, here: false, leased });
    }

    /// Another's write to the same bytes that was not complete when this one was begun, as far as its writer knew.
    fn raced(&self, origin: NodeId, seen: u64, span: Span) -> Option<(NodeId, Span)> {
        let flying = self.writers.flights.iter().map(|f| (f.seq, f.origin, f.span));
        let remembers = !self.bug(Bug::RaceForgotten);
        let past = self.writers.past.iter().copied().filter(|(seq, ..)| *seq > seen && remembers);
        flying
            .chain(past)
            .find(|(_, other, s)| *other != origin && s.meets(span))
            .map(|(_, other, s)| (other, s))
    }

    /// A write of the stream is on this disk.
    pub(super) fn shared_written(&mut self, seq: u64) {
        if let Ok(at) = self.writers.flights.binary_search_by_key(&seq, |f| f.seq) {
            self.writers.flights[at].here = true;
        }
    }

    /// Completes, in order, what every copy that is read has.
    pub(super) fn pump_visible(&mut self) -> bool {
        let read = self.writers.joined.values().filter(|_| !self.bug(Bug::VisibleEarly));
        let everywhere = read.filter_map(|j| j.applied).min().unwrap_or(u64::MAX);
        let mut moved = false;
        while let Some(flight) = self.writers.flights.pop_front_if(|f| f.here && f.seq <= everywhere) {
            moved = true;
            if !flight.leased {
                self.writers.past.push_back((flight.seq, flight.origin, flight.span));
            }
            if let Some(request) = flight.request {
                self.done(request, Ok(Reply::Written));
            }
        }
        while self.writers.past.len() > PAST_MAX {
            self.writers.past.pop_front();
        }
        self.tell_visible();
        moved
    }

    fn tell_visible(&mut self) {
        let Some(epoch) = self.leading().map(|l| l.grant.epoch) else { return };
        let seq = self.writers.complete(self.seq);
        for joined in self.writers.joined.values_mut() {
            let Some(link) = joined.link.filter(|_| joined.told < seq && !joined.revoked) else { continue };
            joined.told = seq;
            let message = Message::Writer(M::Visible { epoch, seq });
            self.out.push_back(Output::Send { link, message });
        }
    }

    /// Why the oldest incomplete write waits.
    pub(super) fn write_waits(&self) -> Vec<Waiting> {
        let mut waits = Vec::new();
        if let Some(flight) = self.writers.flights.front() {
            waits.extend((!flight.here).then_some(Waiting::LocalDisk));
            let behind = |j: &Joined| j.applied.is_some_and(|applied| applied < flight.seq);
            let lagging = self.writers.joined.iter().filter(|(_, j)| behind(j));
            waits.extend(lagging.map(|(node, _)| Waiting::Writer(*node)));
        }
        waits.extend(self.writers.leases.parked_for().map(Waiting::Lease));
        if matches!(self.queue.front(), Some(Queued::Local { .. } | Queued::Forward { .. })) {
            waits.extend(self.redundancy_waits());
        }
        waits
    }
}

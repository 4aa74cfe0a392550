//! The writer's half: a handle on a device that another node leads.
//!
//! Writes are forwarded and come back as a place in the leader's stream; with a disk in step, reads are
//! served from it, otherwise by the leader. What was read here is shown when the leader has said, asked no earlier
//! than the read was, that no write is complete which this copy lacks. While the leader is away operations wait, and are sent
//! again when it is back: the leader knows which writes it has ordered. The session ends with its epoch.

mod reads;

use super::writers::{FORWARDS_MAX, Span};
use super::*;
use crate::wire::WriterMessage as M;

/// Reads, flushes and lease requests under way at the leader at once.
const ASKS_MAX: usize = 256;

#[derive(Debug)]
pub(super) struct Session {
    epoch: u64,
    number: u64,
    /// Who waits for the first joining.
    request: Option<RequestId>,
    link: Option<LinkId>,
    joined: bool,
    /// Reads may be served here once all up to this number is applied and visible.
    from: Option<u64>,
    visible: u64,
    told: u64,
    /// The last question whether the leader waits for this copy.
    asked: u64,
    /// Writes of the stream that are not known to be visible.
    flights: VecDeque<(u64, Span)>,
    ops: BTreeMap<u64, Op>,
    next: u64,
    /// Since when the leader is away.
    lost: Duration,
    pub(super) leases: BTreeSet<u64>,
}

#[derive(Debug)]
struct Op {
    request: RequestId,
    what: What,
    sent: bool,
}

#[derive(Debug)]
enum What {
    Write {
        offset: u64,
        data: Bytes,
        /// Its place in the stream, once the leader has told.
        seq: Option<u64>,
    },
    Flush,
    Read {
        span: Span,
        place: Place,
        /// The leader's answer was damaged on its way: it is asked once more.
        again: bool,
    },
    Lease {
        span: Span,
    },
}

/// Where a read is served.
#[derive(Debug, PartialEq, Eq)]
enum Place {
    /// Nowhere yet.
    Open,
    /// By the disk here, if the answer to this question is that it may.
    Here { ask: u64, vouched: bool, found: Option<Bytes> },
    /// By the leader: the disk here could not, or not with what was written.
    Far,
}

/// A session, as its replica's status shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionStatus {
    /// The epoch that was joined.
    pub epoch: u64,
    /// Whether the leader is connected and has let this node write.
    pub joined: bool,
    /// Whether reads are served from the disk here.
    pub reads_here: bool,
    /// Operations that are not answered yet.
    pub open: usize,
}

impl Session {
    pub(super) fn is(&self, epoch: u64) -> bool {
        self.epoch == epoch
    }

    pub(super) fn joined_link(&self) -> Option<LinkId> {
        self.link.filter(|_| self.joined)
    }

    fn lose(&mut self, now: Duration) {
        if self.joined {
            self.lost = now;
        }
        (self.link, self.joined, self.told) = (None, false, 0);
        self.read_elsewhere();
        self.flights.clear();
        self.ops.values_mut().for_each(|op| op.sent = false);
    }

    fn add(&mut self, request: RequestId, what: What) {
        self.next += 1;
        self.ops.insert(self.next, Op { request, what, sent: false });
    }

    /// Forwards sent and not ordered, in bytes; and how many other questions are out.
    fn outstanding(&self) -> (u64, usize) {
        self.ops.values().filter(|op| op.sent).fold((0, 0), |(bytes, asks), op| match &op.what {
            What::Write { data, seq: None, .. } => (bytes + data.len() as u64 + 64, asks),
            What::Write { .. } => (bytes, asks),
            _ => (bytes, asks + 1),
        })
    }

    /// The next operations to send, as far as the window reaches.
    fn sendable(&mut self, window: u64, reads: bool) -> Vec<M> {
        let (mut bytes, mut asks) = self.outstanding();
        let forwarded = |op: &&Op| op.sent && matches!(op.what, What::Write { .. });
        let mut room = FORWARDS_MAX.saturating_sub(self.ops.values().filter(forwarded).count());
        let (epoch, seen) = (self.epoch, self.visible);
        let mut messages = Vec::new();
        for (id, op) in self.ops.iter_mut().filter(|(_, op)| !op.sent) {
            let id = *id;
            let message = match &op.what {
                What::Write { seq: Some(_), .. } | What::Read { place: Place::Here { .. }, .. } => continue,
                What::Read { place: Place::Open, .. } if !reads => continue,
                What::Write { offset, data, .. } if bytes < window && room > 0 => {
                    room -= 1;
                    bytes += data.len() as u64 + 64;
                    M::Forward { epoch, id, seen, offset: *offset, data: data.clone() }
                }
                // Forwards stay in their order.
                What::Write { .. } => break,
                _ if asks >= ASKS_MAX => continue,
                What::Flush => M::FlushAsk { epoch, id },
                What::Read { span, .. } => {
                    let blocks = span.blocks();
                    M::ReadAt { epoch, id, offset: blocks.start, len: blocks.len() as u32 }
                }
                What::Lease { span } => {
                    M::LeaseAsk { epoch, id, offset: span.start, len: span.end - span.start }
                }
            };
            asks += usize::from(!matches!(message, M::Forward { .. }));
            op.sent = true;
            messages.push(message);
        }
        messages
    }
}

impl Replica {
    /// A replica without a disk, which can do nothing but [`Input::Join`]: it writes and reads through
    /// the leader. A replica whose disk has failed goes on as one.
    pub fn diskless(config: Config, identity: &Identity, size: u64) -> Result<Self, crate::OpenError> {
        let layout = Layout::new(size, config.granule_bytes, config.undo_bytes)?;
        let mut replica = Self::with(
            config,
            Superblock::blank(*identity, &layout),
            Vec::new(),
            undo::Undo::default(),
            sums::Sums::default(),
            Vec::new(),
        );
        replica.failed = Some("this node has no disk".into());
        Ok(replica)
    }

    pub(super) fn session_status(&self) -> Option<SessionStatus> {
        let s = self.session.as_ref()?;
        let reads_here = self.reads_here(s);
        Some(SessionStatus { epoch: s.epoch, joined: s.joined, reads_here, open: s.ops.len() })
    }

    pub(super) fn session_waits(&self) -> Option<Waiting> {
        let s = self.session.as_ref().filter(|s| s.request.is_some() || !s.ops.is_empty())?;
        Some(match s.joined_link().and_then(|link| self.links.get(&link)) {
            Some(link) => Waiting::Peer(link.hello.node),
            None => Waiting::Leader { epoch: s.epoch },
        })
    }

    // ---- what the owner wants ----

    pub(super) fn join(&mut self, request: RequestId, epoch: u64, number: u64) {
        let current = self.floor.max(if self.failed.is_some() { self.known } else { 0 });
        let why = match &self.role {
            Role::Closed => Some(Denied::Closed),
            Role::Leading(_) => Some(Denied::Busy),
            _ if self.closing.is_some() => Some(Denied::Closed),
            _ if epoch < current => Some(Denied::EpochTooLow { asked: epoch, current }),
            _ => None,
        };
        if let Some(why) = why {
            return self.done(request, Err(why));
        }
        self.end_session(Denied::Closed);
        self.session = Some(Session {
            epoch,
            number,
            request: Some(request),
            link: None,
            joined: false,
            from: None,
            visible: 0,
            told: 0,
            asked: 0,
            flights: VecDeque::new(),
            ops: BTreeMap::new(),
            next: 0,
            lost: self.now,
            leases: BTreeSet::new(),
        });
    }

    pub(super) fn remote_op(&mut self, request: RequestId, number: u64, op: RemoteOp) {
        let size = self.layout.size;
        let Some(session) = self.session.as_mut().filter(|s| s.number == number) else {
            return self.done(request, Err(Denied::Closed));
        };
        let (offset, len) = match &op {
            RemoteOp::Write { offset, data } => (*offset, data.len() as u64),
            RemoteOp::Read { offset, len } => (*offset, u64::from(*len)),
            RemoteOp::Flush => (0, 0),
        };
        if len > WRITE_MAX as u64 || offset.checked_add(len).is_none_or(|end| end > size) {
            return self.done(request, Err(Denied::OutOfRange { offset, len, size }));
        }
        match op {
            RemoteOp::Flush => session.add(request, What::Flush),
            RemoteOp::Write { data, .. } if data.is_empty() => self.done(request, Ok(Reply::Written)),
            RemoteOp::Write { offset, data } => session.add(request, What::Write { offset, data, seq: None }),
            RemoteOp::Read { .. } if len == 0 => self.done(request, Ok(Reply::Read(Bytes::new()))),
            RemoteOp::Read { .. } => {
                let span = Span::new(offset, len);
                session.add(request, What::Read { span, place: Place::Open, again: false })
            }
        }
    }

    pub(super) fn session_lease(&mut self, request: RequestId, offset: u64, len: u64) {
        if let Some(session) = &mut self.session {
            session.add(request, What::Lease { span: Span::new(offset, len) });
        }
    }

    pub(super) fn leave(&mut self, number: u64) {
        let Some(s) = self.session.as_ref().filter(|s| s.number == number) else { return };
        // The leader may still order what is under way, and its data would be missing here.
        let unclear = |op: &Op| op.sent && matches!(op.what, What::Write { seq: None, .. });
        let cut = s.link.filter(|_| s.ops.values().any(unclear));
        self.end_session(Denied::Closed);
        if let Some(link) = cut {
            self.refuse(link, Refusal::Closing);
        }
    }

    /// The session is over: its handle fails for ever (R4).
    pub(super) fn end_session(&mut self, why: Denied) {
        let Some(session) = self.session.take() else { return };
        let requests: Vec<RequestId> =
            session.request.into_iter().chain(session.ops.values().map(|op| op.request)).collect();
        for request in requests {
            self.done(request, Err(why.clone()));
        }
        // A fenced leader must not complete what it has not yet completed.
        if let Some(link) = session.link.filter(|_| !matches!(why, Denied::Fenced { .. })) {
            self.send(link, Message::Writer(M::Leave { epoch: session.epoch }));
        }
        self.event(Event::SessionEnded { epoch: session.epoch, why });
    }

    /// R4: a higher epoch is known.
    pub(super) fn fence_session(&mut self, current: u64) {
        if let Some(held) = self.session.as_ref().map(|s| s.epoch).filter(|held| *held < current) {
            self.end_session(Denied::Fenced { held, current });
        }
    }

    // ---- what the leader says ----

    pub(super) fn session_message(&mut self, link: LinkId, message: M) {
        if let M::Leads { epoch } = message {
            return self.told_leader(link, epoch);
        }
        // What comes before this session has joined was said to an earlier one.
        let ours =
            |s: &&mut Session| s.link == Some(link) && (s.joined || matches!(message, M::Joined { .. }));
        let Some(session) = self.session.as_mut().filter(ours) else {
            // The data of an ended session's write is gone: the next link resyncs it.
            if let M::Ordered { epoch, apply: true, .. } = message
                && self.obeys(link, epoch)
            {
                self.refuse(link, Refusal::Protocol);
            }
            return;
        };
        if message.epoch().is_some_and(|epoch| epoch != session.epoch) {
            return self.refuse(link, Refusal::Protocol);
        }
        match message {
            M::Joined { session, ordered, leases, .. } => self.session_joined(session, &ordered, &leases),
            M::ReadHere { seq, .. } if seq > super::follow::SEQ_MAX => self.refuse(link, Refusal::Protocol),
            M::ReadHere { seq, .. } => {
                session.read_elsewhere();
                session.from = Some(seq);
                // What the stream skipped during the resync came as copies.
                self.seq = self.seq.max(seq);
            }
            M::Ordered { seq, stable, id, apply, .. } => self.forward_ordered(link, seq, stable, id, apply),
            M::Visible { seq, .. } => self.now_visible(seq),
            M::Vouched { id, .. } if id > session.asked => self.refuse(link, Refusal::Protocol),
            M::Vouched { id, counted: true } => session.vouch(id),
            M::Vouched { .. } => session.read_elsewhere(),
            M::Flushed { id } => self.op_answered(id, Ok(Reply::Flushed)),
            M::TooFew { id, have, need } => self.too_few_copies(id, have as usize, need as usize),
            M::ReadData { id, sums, data } if sums.is_empty() && data.is_empty() => self.corrupt_there(id),
            M::ReadData { id, sums, data } => self.read_answered(id, &sums, &data),
            M::Leased { id } => {
                let epoch = session.epoch;
                session.leases.insert(id);
                self.op_answered(id, Ok(Reply::Leased(LeaseId { epoch, number: id })));
            }
            _ => self.refuse(link, Refusal::Protocol),
        }
    }

    fn told_leader(&mut self, link: LinkId, epoch: u64) {
        self.known = self.known.max(epoch);
        if self.failed.is_none() {
            return self.refuse(link, Refusal::Protocol);
        }
        if let Some(l) = self.links.get_mut(&link) {
            l.leads = Some(epoch);
        }
        self.fence_session(epoch);
    }

    fn session_joined(&mut self, number: u64, ordered: &[(u64, u64)], leases: &[u64]) {
        let Some(s) = self.session.as_mut().filter(|s| s.number == number) else { return };
        s.joined = true;
        for (id, place) in ordered {
            if let Some(What::Write { seq, .. }) = s.ops.get_mut(id).map(|op| &mut op.what) {
                *seq = Some(*place);
            }
        }
        let lost: Vec<u64> = s.leases.iter().filter(|id| !leases.contains(id)).copied().collect();
        s.leases.retain(|id| leases.contains(id));
        // What was granted and not heard of, and what was given back while the leader was away.
        let asks = |id: &u64| matches!(s.ops.get(id).map(|op| &op.what), Some(What::Lease { .. }));
        let unheard = leases.iter().copied().filter(|id| !s.leases.contains(id));
        let (granted, given_back): (Vec<u64>, Vec<u64>) = unheard.partition(asks);
        s.leases.extend(&granted);
        let (epoch, request, link) = (s.epoch, s.request.take(), s.link);
        for id in granted {
            self.op_answered(id, Ok(Reply::Leased(LeaseId { epoch, number: id })));
        }
        for id in given_back {
            link.into_iter().for_each(|link| self.send(link, Message::Writer(M::Release { epoch, id })));
        }
        if let Some(request) = request {
            self.done(request, Ok(Reply::Joined));
        }
        let holder = self.me().node;
        for number in lost {
            self.event(Event::LeaseLost { holder, lease: LeaseId { epoch, number } });
        }
    }

    /// The leader gave a forward its place: the data goes to the disk here at that place too.
    fn forward_ordered(&mut self, link: LinkId, place: u64, stable: u64, id: u64, apply: bool) {
        let Some(s) = &mut self.session else { return };
        let (epoch, op) = (s.epoch, s.ops.get_mut(&id));
        let Some(What::Write { offset, data, seq }) = op.map(|op| &mut op.what) else {
            return self.refuse(link, Refusal::Protocol);
        };
        *seq = Some(place);
        let (offset, data) = (*offset, data.clone());
        if apply && self.obeys(link, epoch) {
            self.remote_write(link, place, stable, offset, data.into());
            if self.bug(Bug::OwnFirst) && matches!(self.queue.front(), Some(Queued::Remote { .. })) {
                self.queue.rotate_right(1);
            }
        }
    }

    /// No copy of what was to be read is right, or of a block of which a part was to be written.
    fn corrupt_there(&mut self, id: u64) {
        let what = self.session.as_ref().and_then(|s| s.ops.get(&id)).map(|op| &op.what);
        let span = match what {
            Some(What::Write { offset, data, seq: None }) => Span::new(*offset, data.len() as u64),
            Some(What::Read { span, .. }) => *span,
            _ => return,
        };
        self.op_answered(id, Err(Denied::Corrupt { offset: span.start, len: span.len() }));
    }

    fn too_few_copies(&mut self, id: u64, have: usize, need: usize) {
        let waits = |op: &&Op| matches!(op.what, What::Write { seq: None, .. } | What::Flush);
        if self.session.as_ref().and_then(|s| s.ops.get(&id)).filter(waits).is_some() {
            self.op_answered(id, Err(Denied::Redundancy { have, need }));
        }
    }

    fn now_visible(&mut self, seq: u64) {
        let Some(s) = &mut self.session else { return };
        s.visible = s.visible.max(seq);
        while s.flights.pop_front_if(|(at, _)| *at <= s.visible).is_some() {}
        let done: Vec<u64> = s
            .ops
            .iter()
            .filter(|(_, op)| matches!(&op.what, What::Write { seq: Some(at), .. } if *at <= s.visible))
            .map(|(id, _)| *id)
            .collect();
        for id in done {
            self.op_answered(id, Ok(Reply::Written));
        }
    }

    /// `(id, offset, length)` of those that end behind `size`.
    pub(super) fn session_ops_behind(&self, size: u64) -> Vec<(u64, u64, u64)> {
        let ops = self.session.iter().flat_map(|s| &s.ops);
        let spans = ops.filter_map(|(id, op)| match &op.what {
            What::Write { offset, data, .. } => Some((*id, Span::new(*offset, data.len() as u64))),
            What::Read { span, .. } | What::Lease { span } => Some((*id, *span)),
            What::Flush => None,
        });
        spans.filter(|(_, s)| s.end > size).map(|(id, s)| (id, s.start, s.end - s.start)).collect()
    }

    pub(super) fn op_answered(&mut self, id: u64, result: Result<Reply, Denied>) {
        if let Some(op) = self.session.as_mut().and_then(|s| s.ops.remove(&id)) {
            self.done(op.request, result);
        }
    }

    // ---- what goes by itself ----

    pub(super) fn pump_session(&mut self) {
        if self.session.is_none() {
            return;
        }
        self.find_leader();
        self.show_reads();
        self.pump_session_reads();
        let Some(s) = &mut self.session else { return };
        let (reads, window) = (s.from.is_none(), self.config.peer_window_bytes);
        if let Some(link) = s.joined_link() {
            for message in s.sendable(window, reads) {
                self.send(link, Message::Writer(message));
            }
        }
        self.tell_applied();
    }

    /// Joins where the epoch's leader is.
    fn find_leader(&mut self) {
        let Some(s) = &self.session else { return };
        let (epoch, session, again, now) = (s.epoch, s.number, s.request.is_none(), self.now);
        let leads = |l: &Link| match &l.side {
            _ if self.failed.is_some() => l.leads == Some(epoch),
            Side::Source { epoch: e, .. } => *e == epoch,
            _ => false,
        };
        let found = self.links.iter().find(|(_, l)| leads(l)).map(|(link, _)| *link);
        if found == s.link {
            return;
        }
        if let Some(s) = &mut self.session {
            s.lose(now);
            s.link = found;
        }
        if let Some(link) = found {
            self.send(link, Message::Writer(M::Join { epoch, session, again }));
        }
    }

    fn tell_applied(&mut self) {
        let seq = self.applied();
        let Some(s) = self.session.as_mut().filter(|s| s.from.is_some() && s.told < seq) else { return };
        s.told = seq;
        let epoch = s.epoch;
        if let Some(link) = s.joined_link() {
            self.send(link, Message::Writer(M::Applied { epoch, seq }));
        }
    }

    pub(super) fn session_timeout(&self) -> Option<Duration> {
        let s = self.session.as_ref().filter(|s| !s.joined && (s.request.is_some() || !s.ops.is_empty()))?;
        self.config.leader_wait.map(|wait| (s.lost + wait).max(self.now))
    }

    /// Fails what has waited for an absent leader for too long.
    pub(super) fn give_up_waiting(&mut self) {
        let (now, wait) = (self.now, self.config.leader_wait);
        let Some(s) = self.session.as_mut().filter(|s| !s.joined) else { return };
        if wait.is_none_or(|wait| now < s.lost + wait) {
            return;
        }
        let epoch = s.epoch;
        if s.request.is_some() {
            return self.end_session(Denied::NoLeader { epoch });
        }
        let ids: Vec<u64> = s.ops.keys().copied().collect();
        for id in ids {
            self.op_answered(id, Err(Denied::NoLeader { epoch }));
        }
    }

    // ---- the stream here ----

    /// A write of the stream came in: it is on its way to the disk, and not known to be visible.
    pub(super) fn note_arrival(&mut self, seq: u64, offset: u64, len: usize) {
        self.applying.push_back((seq, false));
        if let Some(s) = self.session.as_mut().filter(|s| s.from.is_some()) {
            s.flights.push_back((seq, Span::new(offset, len as u64)));
        }
    }

    pub(super) fn note_applied(&mut self, seq: u64) {
        if let Ok(at) = self.applying.binary_search_by_key(&seq, |(s, _)| *s) {
            self.applying[at].1 = true;
        }
        while self.applying.pop_front_if(|(_, done)| *done).is_some() {}
    }

    /// All writes of the stream up to here are visible to a read of the disk.
    fn applied(&self) -> u64 {
        self.applying.front().map_or(self.seq, |(seq, _)| seq - 1)
    }
}

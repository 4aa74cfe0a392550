//! The state machine of one replica. It has no disk, link, clock, thread or random source.
//!
//! Driving it: give it what happened with [`Replica::handle`], then drain
//! [`Replica::poll_output`] until it returns `None`, and carry out what it says in that order;
//! see [`DiskOp`] for the order among disk operations. Call it with [`Input::Tick`] at
//! [`Replica::poll_timeout`].

mod admit;
mod authority;
mod candidate;
mod copies;
mod damage;
mod flush;
mod follow;
mod leases;
mod link;
mod mend;
mod others;
mod pace;
mod persist;
mod protocol;
mod reads;
mod redundancy;
mod resize;
mod resync;
mod scrub;
mod session;
mod shrink;
mod snapshots;
mod split;
mod state;
mod status;
mod sums;
mod types;
mod undo;
mod unread;
mod verdict;
mod verify;
mod writers;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::bitmap::Bitmap;
use crate::bugs::Bug;
use crate::config::{Config, Protocol};
use crate::data::Data;
use crate::ids::{DeviceId, Grant, Identity, Lineage, Member, MemberSet, NodeId};
use crate::meta::{DamagedBlock, Layout, SlotHead, Superblock};
use crate::wire::{Digest, Hello, Message, Refusal};

use copies::Copies;
use pace::Pace;
use state::*;
use writers::{Asker, Writers};

pub(crate) use sums::sums_of;

pub use candidate::{Candidate, Heir, Reason};
pub use session::SessionStatus;
pub use status::{LinkStatus, PeerStatus, ResyncStatus, RoleStatus, Status};
pub use types::{
    Branch, Denied, DiskOp, Event, Finding, Input, Integrity, LeaseId, LinkId, OpId, Output, RemoteOp, Reply,
    RequestId, ScrubReport, Snapshot, SnapshotOp, SplitBrain, Verdict, VerifyReport, WRITE_MAX, Waiting,
    Wrong,
};

/// One replica of one volume.
#[derive(Debug)]
pub struct Replica {
    config: Config,
    layout: Layout,
    sb: Superblock,
    slots: Vec<Slot>,
    now: Duration,
    out: VecDeque<Output>,
    /// Disk operations under way, and when each was begun.
    ops: BTreeMap<OpId, (OpKind, Duration)>,
    next_op: u64,
    role: Role,
    /// Lower epochs are refused; at least the durable epoch.
    floor: u64,
    raise: Option<Raise>,
    closing: Option<Closing>,
    rollback: Option<RequestId>,
    rolling: u32,
    links: BTreeMap<LinkId, Link>,
    /// The ordered stream: what waits for its turn at the disk.
    queue: VecDeque<Queued>,
    queued_bytes: u64,
    /// Of these, what has gone on to the disk, which has not answered.
    flying_bytes: u64,
    gate: Gate,
    /// Data writes issued to the disk.
    order: u64,
    writes_in_flight: u32,
    local: LocalFlush,
    /// Flushes of peers, answered when the local disk has flushed up to the order.
    acks: VecDeque<AckDue>,
    flushes: VecDeque<FlushRequest>,
    /// The number of the last write of the stream.
    seq: u64,
    /// Writes up to here are durable wherever they were sent, or noted in a bitmap.
    stable: u64,
    /// The leader's word to its followers: durable on all members, also those that are away.
    everywhere: u64,
    stable_told: u64,
    /// What members that are away had flushed when they were last synced.
    away: BTreeMap<DeviceId, u64>,
    recent: VecDeque<Recent>,
    hot: BTreeMap<u32, Hot>,
    sums: sums::Sums,
    /// Blocks known to be damaged.
    damage: damage::Damage,
    /// The metadata commit that holds no mark that had to go before a write.
    unmarked: u64,
    commit: Commit,
    undo: undo::Undo,
    /// Granules being read for copies, and for how many: writes into them wait.
    reading: BTreeMap<u32, u32>,
    /// Granules that could not be read for a copy.
    unread: unread::Unread,
    verify: Option<verify::Verify>,
    /// Checksums computed for a verify's answer, to be kept if all copies agree.
    computed: BTreeMap<u64, (u32, Vec<u32>)>,
    scrub: Option<scrub::Scrub>,
    /// Granules found damaged here that the leader was told of.
    rotten: BTreeMap<u32, Vec<Finding>>,
    /// Granules being judged: writes into them wait.
    mends: BTreeMap<u32, mend::Mend>,
    next_mend: u64,
    /// Reads whose bytes are checked.
    checked: reads::Checked,
    integrity: Integrity,
    kept: Vec<snapshots::Kept>,
    taking: Option<snapshots::Taking>,
    /// Requests to delete a snapshot.
    deleting: Vec<(RequestId, u64)>,
    /// Grants to be confirmed to the leader once the commit is durable.
    adopting: VecDeque<(u64, LinkId, u64)>,
    discard: BTreeSet<DeviceId>,
    /// Where it differs from the configured one.
    protocols: BTreeMap<NodeId, Protocol>,
    /// Nodes whose resync is held.
    paused: BTreeSet<NodeId>,
    resize: Option<resize::Resize>,
    growth: Option<resize::Growth>,
    failed: Option<Arc<str>>,
    queue_limit: u64,
    /// The other writers, when this replica leads.
    writers: Writers,
    /// This node's handle under another leader.
    session: Option<session::Session>,
    /// Writes of the stream on their way to the disk, and whether they are there.
    applying: VecDeque<(u64, bool)>,
    /// The highest epoch heard of; a lower one would be fenced at once.
    known: u64,
    /// The leader we followed has ended, and this copy has all that it acknowledged.
    heir: Option<Heir>,
    #[cfg(feature = "bugs")]
    bug: Option<Bug>,
}

impl Replica {
    /// Takes one input. Drain [`poll_output`](Self::poll_output) afterwards.
    ///
    /// `now` is the time since any fixed point; it must not run backwards.
    pub fn handle(&mut self, now: Duration, input: Input) {
        self.now = self.now.max(now);
        match input {
            Input::Write { request, offset, data } => self.local_write(request, offset, data),
            Input::Flush { request } => self.local_flush(request),
            Input::Join { request, epoch, session } => self.join(request, epoch, session),
            Input::Remote { request, session, op } => self.remote_op(request, session, op),
            Input::Leave { session } => self.leave(session),
            Input::Lease { request, epoch, offset, len } => self.lease(request, epoch, offset, len),
            Input::Unlease(lease) => self.unlease(lease),
            Input::Raise { request, epoch } => self.raise(request, epoch),
            Input::Lead { request, grant } => self.lead(request, grant),
            Input::Rollback { request } => self.roll_back(request),
            Input::Verify { request } => self.start_verify(request),
            Input::Scrub { request } => self.start_scrub(request),
            Input::Read { request, offset, len } => self.local_read(request, offset, len),
            Input::Resize { request, size } => self.resize(request, size, false),
            Input::Shrink { request, size } => self.resize(request, size, true),
            Input::DeleteSnapshot { request, id } => self.delete_snapshot(request, id),
            Input::Discard { device } => {
                self.discard.insert(device);
            }
            Input::Close { request } => self.close(request),
            Input::LinkUp { link, hello } => self.link_up(link, hello),
            Input::Message { link, message } => self.message(link, message),
            Input::LinkDown { link } => self.link_down(link),
            Input::DiskDone { op, result } => self.disk_done(op, result),
            Input::Detach { reason } => self.disk_failed(reason),
            Input::Tick => self.tick(),
        }
        self.advance();
    }

    /// The next thing to do, in order.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    /// The identity given at creation.
    pub fn identity(&self) -> &Identity {
        &self.sb.identity
    }

    /// The device's size in bytes.
    pub fn size(&self) -> u64 {
        self.layout.size
    }

    /// Switches a known bug on. It must be done before anything else.
    #[cfg(feature = "bugs")]
    #[doc(hidden)]
    pub fn with_bug(mut self, bug: Bug) -> Self {
        self.bug = Some(bug);
        if self.bug(Bug::ForgetHot) {
            (0..self.slots.len()).for_each(|slot| self.unmark_all(slot));
            self.hot.clear();
        }
        self
    }

    /// Whether a known bug is switched on: never, without the feature `bugs`.
    #[inline(always)]
    fn bug(&self, bug: Bug) -> bool {
        #[cfg(feature = "bugs")]
        return self.bug == Some(bug);
        #[cfg(not(feature = "bugs"))]
        {
            let _ = bug;
            false
        }
    }

    fn me(&self) -> Member {
        Member { node: self.sb.identity.node, device: self.sb.identity.device }
    }

    fn leading(&self) -> Option<&Leading> {
        match &self.role {
            Role::Leading(l) => Some(l),
            _ => None,
        }
    }

    fn event(&mut self, event: Event) {
        self.out.push_back(Output::Event(event));
    }

    fn send(&mut self, link: LinkId, message: Message) {
        self.out.push_back(Output::Send { link, message });
    }

    fn done(&mut self, request: RequestId, result: Result<Reply, Denied>) {
        self.out.push_back(Output::Done { request, result });
    }

    fn disk(&mut self, kind: OpKind, what: DiskOp) {
        self.next_op += 1;
        let op = OpId(self.next_op);
        self.ops.insert(op, (kind, self.now));
        self.out.push_back(Output::Disk { op, what });
    }

    /// Does all that has become possible. Each pump says whether it changed anything that
    /// another could wait for.
    fn advance(&mut self) {
        self.pump_session();
        if self.failed.is_some() {
            return;
        }
        self.pump_damage();
        self.fail_for_redundancy();
        while self.pump_unread()
            | self.pump_queue()
            | self.pump_undo()
            | self.pump_copies()
            | self.pump_verify()
            | self.pump_visible()
            | self.pump_leases()
            | self.pump_reads()
            | self.pump_mends()
            | self.pump_snapshots()
        {}
        self.pump_scrub();
        self.pump_raise();
        self.pump_rollback();
        self.pump_close();
        self.pump_lead();
        self.pump_joins();
        self.pump_growth();
        self.pump_resize();
        self.tell_large_ones();
        self.pump_adopt();
        self.pump_adopted();
        self.pump_peer_flushes();
        self.pump_reach();
        self.pump_local_flush();
        self.answer_leader();
        self.answer_flushes();
        self.trim_sums();
        self.pump_commit();
    }

    fn disk_done(&mut self, op: OpId, result: Result<Bytes, Arc<str>>) {
        let Some((kind, begun)) = self.ops.remove(&op) else {
            return;
        };
        match result {
            Err(_) if self.bug(Bug::RetryFlush) && matches!(kind, OpKind::DataFlush) => {
                self.disk(kind, DiskOp::Flush);
            }
            result if matches!(kind, OpKind::Grow) => self.file_grown(result),
            _ if self.failed.is_some() => {}
            result => match self.read_done(kind, result) {
                None => {}
                Some((kind, Ok(data))) => self.op_done(kind, data),
                Some((kind, Err(reason))) => {
                    // Who waits for it is answered with all the others.
                    self.ops.insert(op, (kind, begun));
                    self.disk_failed(reason);
                }
            },
        }
    }

    /// Reads that can be answered from another copy: an error of theirs does not end the replica.
    fn read_done(
        &mut self,
        kind: OpKind,
        result: Result<Bytes, Arc<str>>,
    ) -> Option<(OpKind, Result<Bytes, Arc<str>>)> {
        match kind {
            OpKind::VerifyLocal(id) => self.verify_local(id, &result.unwrap_or_default()),
            OpKind::VerifyRemote { link, id } => self.verify_answer(link, id, &result.unwrap_or_default()),
            OpKind::ScrubRead(chunk) => self.scrub_read(chunk, &result.unwrap_or_default()),
            OpKind::Snapshot(step) => self.snapshot_step(step, result),
            OpKind::UndoRead { run, sums } => self.before_image_read(run, &sums, result),
            OpKind::CopyRead { link, run, sums } => self.copy_read(link, run, &sums, result),
            OpKind::DamageRead(block) => self.damage_read(block, result.ok().as_deref()),
            OpKind::Shrink => {}
            OpKind::MendRead(chunk) => self.mend_read(chunk, result),
            OpKind::MendBlock { chunk, block } => self.mend_block_read(chunk, block, result.ok()),
            OpKind::MendCheck { chunk, data } => self.mend_checked(chunk, &data, result),
            OpKind::FetchRead { link, id, sums } => {
                self.fetch_answer(link, id, &sums, result.unwrap_or_default());
            }
            OpKind::CheckedRead { asker, sums } => self.read_checked(asker, &sums, result.ok()),
            OpKind::SessionRead { session, id, ask, sums } => {
                self.session_read((session, id, ask), &sums, result.ok());
            }
            OpKind::RepairCheck { chunk, data } => self.repair_checked(chunk, &data, result),
            // What cannot be read differs.
            OpKind::Compare { link, granule, digest } => {
                self.compared(link, granule, digest, &result.unwrap_or_default());
            }
            other => return Some((other, result)),
        }
        None
    }

    fn op_done(&mut self, kind: OpKind, data: Bytes) {
        match kind {
            OpKind::Local(request) => {
                self.writes_in_flight -= 1;
                self.done(request, Ok(Reply::Written));
            }
            OpKind::Shared(seq) => {
                self.writes_in_flight -= 1;
                self.shared_written(seq);
            }
            OpKind::Remote { link, weight, seq } => {
                self.writes_in_flight -= 1;
                self.flying_bytes -= weight;
                self.note_applied(seq);
                self.written_for(link, weight);
            }
            OpKind::DataFlush => self.local_flushed(),
            OpKind::MendWrite => self.writes_in_flight -= 1,
            OpKind::SumsRead(page) => self.sums_read(page, &data),
            OpKind::UndoFlush => self.undo_flushed(),
            OpKind::RollbackRead(entry) => self.rollback_read(entry, &data),
            OpKind::RollbackWrite => {
                self.writes_in_flight -= 1;
                self.rolling -= 1;
            }
            OpKind::Commit(version) => {
                self.commit.durable = version;
                self.commit.running = None;
            }
            // Nobody waits for `Meta`; the others are done with in `read_done`.
            _ => {}
        }
    }

    /// R11: nothing is tried again. The replica detaches and says so to everybody.
    fn disk_failed(&mut self, reason: Arc<str>) {
        if self.failed.is_some() {
            return;
        }
        self.failed = Some(reason.clone());
        self.event(Event::DiskFailed { reason: reason.clone() });
        let links: Vec<LinkId> = self.links.keys().copied().collect();
        for link in links {
            self.refuse(link, Refusal::DiskFailed);
        }
        self.fail_requests(Denied::Disk(reason));
        self.role = Role::Follower;
    }

    /// Answers every open request with `why`, and empties the queue.
    fn fail_requests(&mut self, why: Denied) {
        let mut requests = Vec::new();
        for (kind, _) in std::mem::take(&mut self.ops).into_values() {
            match kind {
                OpKind::Local(request) => requests.push(request),
                OpKind::SessionRead { session, id, ask, .. } => {
                    self.session_read((session, id, ask), &[], None);
                }
                _ => {}
            }
        }
        requests.extend(self.raise.take().into_iter().flat_map(|r| r.requests).map(|(request, _)| request));
        requests.extend(self.closing.take().map(|c| c.request));
        requests.extend(self.rollback.take());
        requests.extend(std::mem::take(&mut self.deleting).into_iter().map(|(request, _)| request));
        requests.extend(self.scrub.take().map(|s| s.request));
        requests.extend(self.abandon_growth());
        for request in requests {
            self.done(request, Err(why.clone()));
        }
        self.fail_local(why);
    }

    /// Answers what a leader's owner waits for: queued writes, flushes, the verify, the lead.
    fn fail_local(&mut self, why: Denied) {
        let mut requests = std::mem::take(&mut self.writers).requests();
        requests.extend(self.flushes.drain(..).filter_map(|f| match f.by {
            Asker::Owner(request) => Some(request),
            Asker::Writer { .. } => None,
        }));
        let queue = std::mem::take(&mut self.queue);
        requests.extend(queue.into_iter().filter_map(|q| match q {
            Queued::Local { request, .. } => Some(request),
            _ => None,
        }));
        self.queued_bytes = 0;
        self.gate = Gate::Open;
        self.acks.clear();
        requests.extend(self.verify.take().map(|v| v.request));
        requests.extend(self.checked.take());
        self.mends.clear();
        self.scrub_gives_up();
        if let Role::Leading(l) = &mut self.role {
            requests.extend(l.request.take());
        }
        for request in requests {
            self.done(request, Err(why.clone()));
        }
    }

    fn tick(&mut self) {
        self.note_slow_peers();
        self.judge_without_silent();
        self.end_lost_leases();
        self.give_up_waiting();
        self.tell_stable();
    }

    fn find_link(&self, node: NodeId) -> Option<LinkId> {
        self.links.iter().find(|(_, l)| l.hello.node == node).map(|(id, _)| *id)
    }
}

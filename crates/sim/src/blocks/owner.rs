//! The owner of one replica: what stands between it and the authority, step by step as blockrepl's
//! documentation asks for under "What the owner must do".

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use posthaste_blockrepl::core::{
    Denied, Event as Told, Input, LinkStatus, Replica, Reply, RequestId, RoleStatus,
};
use posthaste_blockrepl::{Grant, Member, MemberSet, NodeId, Protocol, Raised};

use super::authority::Grants;
use super::client::Session;
use super::machine::member;
use super::scenarios::Setting;
use super::world::{MS, World};

/// Without a sign of life from the leader for this long, it is fenced.
const SUSPECT: u64 = 500 * MS;
/// A member that is away, or behind, for this long is removed.
pub(super) const PATIENCE: u64 = 400 * MS;
/// How long a disk may owe an answer.
const DISK_PATIENCE: Duration = Duration::from_secs(3);

/// One process: a replica, its owner, and the clients on its device.
#[derive(Debug)]
pub(super) struct Proc {
    pub(super) replica: Replica,
    pub(super) asked: BTreeMap<RequestId, Asked>,
    next_request: u64,
    pub(super) known: Option<Rc<Grants>>,
    raised: Option<Raised>,
    rolling_back: bool,
    /// The epoch in which this life was seen to be elected.
    may_lead: u64,
    /// An epoch that ended a leadership here.
    fenced_by: u64,
    pub(super) stage: Stage,
    proposed: Option<(Grants, u64)>,
    pub(super) forced: Option<Grant>,
    pub(super) heard: [u64; 3],
    /// Since when writes wait for a writer.
    pub(super) blocked: [Option<u64>; 3],
    /// The epoch that this node joined as a writer, and its session.
    pub(super) session_at: Option<(u64, u64)>,
    pub(super) joining: bool,
    /// Granules that the leader has sent to heal damage, or what may differ in a copy that is in step.
    pub(super) healed: BTreeSet<u64>,
    missed: BTreeMap<Member, u64>,
    slow: BTreeSet<NodeId>,
    pub(super) lease: u64,
    pub(super) session: Session,
}

/// How far a leadership is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Idle,
    /// The replica was told to lead.
    Asked(u64),
    /// It leads; somebody's lease may still hold.
    Led(u64),
    /// Open for clients.
    Serving(u64),
    /// It hands over: what runs ends, all is flushed.
    Draining {
        epoch: u64,
        to: usize,
        since: u64,
        asked: bool,
    },
    /// It has proposed its successor.
    Moving(u64),
}

impl Stage {
    pub(super) fn epoch(self) -> Option<u64> {
        match self {
            Self::Idle => None,
            Self::Asked(epoch) | Self::Led(epoch) | Self::Serving(epoch) | Self::Moving(epoch) => Some(epoch),
            Self::Draining { epoch, .. } => Some(epoch),
        }
    }
}

/// What a request of a replica is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    Raise,
    Rollback,
    Lead(u64),
    /// An operator's force: to lead without the authority.
    ForcedRaise,
    ForcedLead(u64),
    ForcedFlush,
    Shrink,
    Drain(u64),
    /// Epoch and session.
    Join(u64, u64),
    Verify,
    Client,
}

impl Proc {
    pub(super) fn new(replica: Replica) -> Self {
        Self {
            replica,
            asked: BTreeMap::new(),
            next_request: 0,
            known: None,
            raised: None,
            rolling_back: false,
            may_lead: 0,
            fenced_by: 0,
            stage: Stage::Idle,
            proposed: None,
            forced: None,
            heard: [0; 3],
            blocked: [None; 3],
            session_at: None,
            joining: false,
            healed: BTreeSet::new(),
            missed: BTreeMap::new(),
            slow: BTreeSet::new(),
            lease: 0,
            session: Session::default(),
        }
    }
}

impl Proc {
    /// The epoch of its handle.
    pub(super) fn epoch(&self) -> Option<u64> {
        self.session_at.map(|(epoch, _)| epoch).or(self.stage.epoch())
    }
}

pub(super) fn node(n: NodeId) -> usize {
    n.0 as usize - 1
}

impl World {
    pub(super) fn proc(&mut self, n: usize) -> Option<&mut Proc> {
        self.procs[n].as_mut()
    }

    pub(super) fn me(&self, n: usize) -> Member {
        member(n, self.machines[n].serial)
    }

    /// Gives a replica a request.
    pub(super) fn ask(&mut self, n: usize, asked: Asked, make: impl FnOnce(RequestId) -> Input) {
        let Some(p) = self.proc(n) else { return };
        p.next_request += 1;
        let request = RequestId(p.next_request);
        p.asked.insert(request, asked);
        let input = make(request);
        self.client_asks(n, request, &input);
        self.input(n, input);
    }

    /// Every 50 ms.
    pub(super) fn tick(&mut self, n: usize) {
        self.input(n, Input::Tick);
        let now = self.replica_now(n);
        let hung = self.replica(n).and_then(|r| r.disk_age(now)).is_some_and(|age| age > DISK_PATIENCE);
        if hung && self.replica(n).is_some_and(|r| r.status().failed.is_none()) {
            self.input(n, Input::Detach { reason: "it does not answer".into() });
        }
        let local = self.local(n);
        let alive: [bool; 3] = std::array::from_fn(|m| self.runs(m) && self.net.both_ways(n, m));
        let newest = self.authority.current().rev;
        let Some(p) = self.proc(n) else { return };
        for (m, alive) in alive.into_iter().enumerate() {
            if alive || p.heard[m] == 0 {
                p.heard[m] = local;
            }
        }
        let (stage, late) = (p.stage, p.known.as_ref().is_none_or(|k| k.rev < newest));
        if late && self.has_majority(n) {
            self.tell(n);
        }
        match stage {
            Stage::Idle | Stage::Asked(_) => {}
            Stage::Led(epoch) => self.open_if_due(n, epoch),
            Stage::Serving(epoch) | Stage::Moving(epoch) => self.renew(n, epoch),
            Stage::Draining { epoch, .. } => {
                self.renew(n, epoch);
                self.hand_over_if_due(n);
            }
        }
        if self.history.is_some() {
            self.look_to_join(n);
        }
        self.decide(n);
    }

    pub(super) fn leased(&mut self, n: usize, epoch: u64, until: u64) {
        let p = self.proc(n).filter(|p| p.epoch() == Some(epoch));
        p.into_iter().for_each(|p| p.lease = p.lease.max(until));
    }

    // ---- what is granted ----

    /// Hears of grants, in the order of their commits; a new process begins with the newest.
    pub(super) fn learn(&mut self, n: usize, rev: u64) {
        let Some(p) = self.proc(n) else { return };
        let first = p.known.as_ref().map_or(rev, |k| k.rev + 1);
        for rev in first..=rev {
            let next = self.authority.history[rev as usize].clone();
            self.learn_one(n, next);
        }
    }

    fn learn_one(&mut self, n: usize, next: Rc<Grants>) {
        let me = self.me(n);
        let _ = self.redundancy(n);
        let Some(p) = self.proc(n) else { return };
        let before = p.known.replace(next.clone());
        let elected = before.is_some_and(|b| b.epoch < next.epoch || b.leader.is_none());
        if next.leader == Some(n) && elected {
            p.may_lead = next.epoch;
        }
        let leads = p.stage.epoch() == Some(next.epoch) && next.leader == Some(n);
        if leads {
            self.apply_grant(n, &next);
        } else if let Some(p) = self.proc(n) {
            if p.stage.epoch().is_some_and(|epoch| epoch <= next.epoch) {
                p.stage = Stage::Idle;
            }
            p.proposed = None;
        }
        let Some(p) = self.proc(n) else { return };
        if p.raised.is_none_or(|r| r.epoch < next.epoch || r.device != me.device) {
            p.raised = None;
            self.ask(n, Asked::Raise, |request| Input::Raise { request, epoch: next.epoch });
        } else {
            self.lead_if_elected(n);
        }
    }

    /// A change of the set under this leader: first the grant, then the end of the union.
    fn apply_grant(&mut self, n: usize, next: &Grants) {
        let now = self.replica_now(n);
        self.end_writers(n, next);
        let grant = next.grant();
        let Some(p) = self.proc(n) else { return };
        if let Some(grant) = grant {
            drop(p.replica.set_grant(now, grant));
        }
        if p.proposed.take().is_some_and(|(mine, _)| mine != *next) {
            drop(p.replica.set_pending(now, None));
            if let Stage::Moving(epoch) = p.stage {
                p.stage = Stage::Serving(epoch);
                self.begin_clients(n, epoch);
            }
        }
        self.drain(n);
    }

    // ---- leading ----

    fn raised(&mut self, n: usize, result: Result<Reply, Denied>) {
        let Ok(Reply::Raised(raised)) = result else { return };
        let me = self.me(n);
        let Some(p) = self.proc(n) else { return };
        p.raised = Some(raised);
        // It is counted as in sync: the state before the resync holds all that was acknowledged (R9).
        let counted = p.known.as_ref().is_some_and(|k| {
            k.epoch == raised.epoch && k.in_sync.contains(&me) && k.leader.is_none_or(|l| l == n)
        });
        if !raised.consistent && raised.can_roll_back && counted && !p.rolling_back {
            p.rolling_back = true;
            self.ask(n, Asked::Rollback, |request| Input::Rollback { request });
        }
        self.lead_if_elected(n);
    }

    fn rolled_back(&mut self, n: usize, ok: bool) {
        let before = self.machines[n].before.take().filter(|_| ok && self.opens_disks);
        let after = self.machines[n].disks.as_ref().map(|[data, _]| &data.live);
        if let Some(at) = before.as_ref().zip(after).and_then(|(before, after)| before.lacks(after)) {
            let what = format!("node {n} is rolled back, and byte {at} is not what it was before the resync");
            self.judge("R9", Err(what));
        }
        let Some(p) = self.proc(n) else { return };
        p.rolling_back = false;
        if let Some(raised) = p.raised.as_mut().filter(|_| ok) {
            raised.consistent = true;
        }
        self.lead_if_elected(n);
    }

    fn lead_if_elected(&mut self, n: usize) {
        let Some(p) = self.proc(n) else { return };
        let Some(known) = p.known.clone().filter(|k| k.leader == Some(n)) else { return };
        let ready = p.raised.is_some_and(|r| r.epoch == known.epoch && r.consistent);
        if p.may_lead != known.epoch || !ready || p.stage != Stage::Idle {
            return;
        }
        let Some(grant) = known.grant() else { return };
        p.stage = Stage::Asked(known.epoch);
        p.may_lead = 0;
        self.ask(n, Asked::Lead(known.epoch), |request| Input::Lead { request, grant });
    }

    fn led(&mut self, n: usize, epoch: u64, result: Result<Reply, Denied>) {
        self.say(|| format!("node {n} leads in epoch {epoch}: {result:?}"));
        let Some(p) = self.proc(n).filter(|p| p.stage == Stage::Asked(epoch)) else { return };
        p.stage = if result.is_ok() { Stage::Led(epoch) } else { Stage::Idle };
        (p.lease, p.slow) = (0, BTreeSet::new());
        p.missed.clear();
        if self.setting == Setting::Followers {
            self.set_protocols(n);
        }
    }

    /// The old leader's lease is over, as a majority says: the device opens.
    fn open_if_due(&mut self, n: usize, epoch: u64) {
        let current = self.authority.current();
        let mine = current.epoch == epoch && current.leader == Some(n);
        let ends = self.authority.reader_ends.into_iter().max().max(Some(self.authority.lease_ends));
        if !mine || !self.has_majority(n) || Some(self.now) < ends || !self.leads(n) {
            return;
        }
        if self.replica(n).is_some_and(|r| !r.status().consistent) {
            self.judge("R9", Err(format!("node {n} opens an inconsistent copy")));
        }
        let size = self.replica(n).map_or(0, |r| r.size());
        let Some(disks) = &self.machines[n].disks else { return };
        let verdict = match &mut self.history {
            Some(history) => {
                let sized = self.oracle.opens_with(epoch, size);
                sized.and_then(|()| history.open(epoch, size, &disks[0].live))
            }
            None => self.oracle.open(epoch, size, &disks[0].live),
        };
        self.oracle.epoch = epoch;
        self.judge("R2", verdict);
        self.say(|| format!("node {n} OPENS in epoch {epoch}"));
        if let Some(p) = self.proc(n) {
            p.stage = Stage::Serving(epoch);
            p.session = Session::new(epoch);
        }
        self.renew(n, epoch);
        self.begin_clients(n, epoch);
    }

    /// Whether the replica itself believes that it leads.
    pub(super) fn leads(&self, n: usize) -> bool {
        self.replica(n).is_some_and(|r| r.hello().leading)
    }

    // ---- proposing ----

    fn decide(&mut self, n: usize) {
        let local = self.local(n);
        let me = self.me(n);
        let Some(p) = self.proc(n) else { return };
        let Some(known) = p.known.clone() else { return };
        if let Some((next, at)) = &mut p.proposed {
            if local >= *at + 500 * MS {
                *at = local;
                let next = next.clone();
                self.propose(n, next);
            }
            return;
        }
        let failed = p.replica.status().failed.is_some();
        let counted = known.in_sync.contains(&me);
        let able = p.raised.is_some_and(|r| r.epoch == known.epoch && r.consistent);
        match known.leader {
            Some(l) if l == n && failed => self.propose_vacancy(n, &known),
            Some(l) if l == n => self.decide_as_leader(n, &known),
            Some(l) if counted && !failed && local > p.heard[l] + SUSPECT => self.propose_vacancy(n, &known),
            None if counted && !failed && able && self.rng.chance(500) => self.propose_election(n, &known),
            _ => {}
        }
    }

    fn put_forward(&mut self, n: usize, next: Grants) {
        let local = self.local(n);
        if let Some(p) = self.proc(n) {
            p.proposed = Some((next.clone(), local));
        }
        self.propose(n, next);
    }

    /// The leadership is over; whoever is in sync may have the next one.
    fn propose_vacancy(&mut self, n: usize, known: &Grants) {
        let seen = self.proc(n).map_or(0, |p| p.fenced_by);
        let epoch = known.epoch.max(seen) + 1;
        self.put_forward(
            n,
            Grants { rev: known.rev + 1, epoch, leader: None, writers: BTreeSet::new(), ..known.clone() },
        );
    }

    /// R1: a takeover starts with itself alone.
    fn propose_election(&mut self, n: usize, known: &Grants) {
        let in_sync = MemberSet::from([self.me(n)]);
        let generation = known.generation + 1;
        self.put_forward(
            n,
            Grants {
                rev: known.rev + 1,
                epoch: known.epoch,
                leader: Some(n),
                in_sync,
                generation,
                writers: BTreeSet::new(),
            },
        );
    }

    fn decide_as_leader(&mut self, n: usize, known: &Rc<Grants>) {
        let Some(p) = self.proc(n) else { return };
        let (stage, raised, role) = (p.stage, p.raised, p.replica.status().role);
        match stage {
            // Its process was started anew, or it could not lead.
            Stage::Idle if raised.is_some_and(|r| r.epoch == known.epoch) && p.may_lead == 0 => {
                self.propose_vacancy(n, known);
            }
            Stage::Led(_) | Stage::Serving(_) if role != RoleStatus::Leader => self.propose_vacancy(n, known),
            Stage::Led(_) | Stage::Serving(_) => self.look_after_the_set(n, known),
            _ => {}
        }
    }

    fn look_after_the_set(&mut self, n: usize, known: &Rc<Grants>) {
        let (local, me, now) = (self.local(n), self.me(n), self.replica_now(n));
        let (patience, protocols) = (self.patience, self.protocols);
        let writers = if self.history.is_some() { self.wanted_writers(n, known) } else { BTreeSet::new() };
        let Some(p) = self.proc(n) else { return };
        let status = p.replica.status();
        let synced: MemberSet = status
            .peers
            .iter()
            .filter(|p| p.link == LinkStatus::Synced)
            .map(|p| Member { node: p.node, device: p.device })
            .collect();
        let mut wanted = synced.clone();
        wanted.insert(me);
        for member in known.in_sync.iter().filter(|m| **m != me) {
            let well = synced.contains(member) && !p.slow.contains(&member.node);
            if well {
                p.missed.remove(member);
                continue;
            }
            let since = *p.missed.entry(*member).or_insert(local);
            if local < since + patience {
                wanted.insert(*member);
            } else {
                wanted.remove(member);
            }
        }
        wanted.retain(|m| *m == me || protocols[node(m.node)] == Protocol::C);
        wanted.retain(|m| known.in_sync.contains(m) || !p.slow.contains(&m.node));
        if wanted == known.in_sync && writers == known.writers {
            return;
        }
        if wanted != known.in_sync && p.replica.set_pending(now, Some(wanted.clone())).is_err() {
            return;
        }
        let lost = !known.in_sync.is_subset(&wanted);
        let generation = known.generation + u64::from(lost);
        let next =
            Grants { rev: known.rev + 1, in_sync: wanted, generation, writers, ..Grants::clone(known) };
        self.put_forward(n, next);
        self.drain(n);
    }

    // ---- a planned move ----

    /// The leader is asked to hand over to a member that is in sync.
    pub(super) fn begin_move(&mut self) {
        let current = self.authority.current().clone();
        let Some(n) = current.leader else { return };
        let me = self.me(n);
        let Some(to) = current.in_sync.iter().find(|m| **m != me).map(|m| node(m.node)) else { return };
        let since = self.local(n);
        let Some(p) = self.proc(n) else { return };
        if let (Stage::Serving(epoch), None) = (p.stage, &p.proposed) {
            p.stage = Stage::Draining { epoch, to, since, asked: false };
            self.say(|| format!("node {n} is to hand over to {to}"));
        }
    }

    fn hand_over_if_due(&mut self, n: usize) {
        let local = self.local(n);
        let Some(p) = self.proc(n) else { return };
        let Stage::Draining { epoch, to, since, asked } = p.stage else { return };
        let busy = self.history.as_ref().is_some_and(|h| h.under_way(n) > 0);
        let Some(p) = self.proc(n) else { return };
        if local > since + 1500 * MS {
            p.stage = Stage::Serving(epoch);
            self.begin_clients(n, epoch);
        } else if !asked && p.session.writes.is_empty() && p.proposed.is_none() && !busy {
            p.stage = Stage::Draining { epoch, to, since, asked: true };
            self.ask(n, Asked::Drain(epoch), |request| Input::Flush { request });
        }
    }

    fn drained(&mut self, n: usize, epoch: u64, ok: bool) {
        let Some(p) = self.proc(n) else { return };
        let Stage::Draining { epoch: led, to, .. } = p.stage else { return };
        let Some(known) = p.known.clone().filter(|k| k.epoch == epoch && led == epoch) else { return };
        let still = known.in_sync.iter().any(|m| node(m.node) == to);
        if !ok || !still || p.proposed.is_some() {
            p.stage = Stage::Serving(epoch);
            return self.begin_clients(n, epoch);
        }
        p.stage = Stage::Moving(epoch);
        let epoch = known.epoch + 1;
        let next = Grants {
            rev: known.rev + 1,
            epoch,
            leader: Some(to),
            writers: BTreeSet::new(),
            ..Grants::clone(&known)
        };
        self.put_forward(n, next);
    }

    // ---- answers and events ----

    pub(super) fn answered(&mut self, n: usize, request: RequestId, result: Result<Reply, Denied>) {
        let Some(asked) = self.proc(n).and_then(|p| p.asked.remove(&request)) else { return };
        if result.is_err() {
            self.say(|| format!("replica {n}: {asked:?}: {result:?}"));
        }
        match asked {
            Asked::Raise => self.raised(n, result),
            Asked::Rollback => self.rolled_back(n, result.is_ok()),
            Asked::Lead(epoch) => self.led(n, epoch, result),
            Asked::Drain(epoch) => self.drained(n, epoch, result.is_ok()),
            Asked::Join(epoch, session) => self.joined(n, epoch, session, result.is_ok()),
            Asked::Verify => self.verified(n, result),
            Asked::ForcedRaise => self.forced_raised(n),
            Asked::ForcedLead(epoch) => self.forced_writes(n, epoch),
            Asked::ForcedFlush => self.forced.durable |= result.is_ok(),
            Asked::Client | Asked::Shrink => {}
        }
    }

    fn verified(&mut self, n: usize, result: Result<Reply, Denied>) {
        if let Ok(Reply::Verified(report)) = result {
            self.say(|| format!("verify on {n}: {report:?}"));
            self.verifies += usize::from(report.incomplete.is_empty());
            self.differing += report.differing.len();
        }
    }

    pub(super) fn hear(&mut self, n: usize, event: Told) {
        self.say(|| format!("replica {n} says {event:?}"));
        match event {
            Told::Diverged { peer, device, .. } => self.heard_of_divergence(n, peer, device),
            Told::ResyncStarted { .. } => self.resyncs += 1,
            Told::SnapshotFailed { .. } => self.make_room(n),
            Told::PeerSlow { peer, .. } => {
                self.proc(n).into_iter().for_each(|p| p.slow.extend([peer]));
            }
            Told::PeerRecovered { peer, .. } | Told::PeerSynced { peer, .. } => {
                self.proc(n).into_iter().for_each(|p| p.slow.retain(|n| *n != peer));
            }
            Told::Fenced { current, .. } => {
                self.proc(n).into_iter().for_each(|p| p.fenced_by = p.fenced_by.max(current));
            }
            _ => {}
        }
    }

    /// After an operator's force it is what must be said, and the operator gives the loser up; else nobody
    /// can have written what the other does not know.
    fn heard_of_divergence(&mut self, n: usize, peer: NodeId, device: posthaste_blockrepl::DeviceId) {
        self.diverged += 1;
        let chosen = self.authority.current().leader == Some(n);
        match self.split {
            true if chosen => {
                self.note_lost(node(peer));
                self.input(n, Input::Discard { device });
            }
            true => {}
            false => self.judge("R1", Err(format!("node {n} takes node {} for diverged", node(peer)))),
        }
    }
}

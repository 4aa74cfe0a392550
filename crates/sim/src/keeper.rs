//! The task of one volume: what the node daemon has between the agent and the replica.
//!
//! It follows `examples/mail-cluster/src/node/volumes.rs` step by step: it takes the agent's orders one
//! by one, waits where that one awaits, and turns the replica's events into reports. What runs
//! beside it (the opening, the closing, the flush to a union) says through a queue that it has ended.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use posthaste_blockrepl as repl;
use posthaste_blockrepl::core::{
    Denied, Event as ReplicaEvent, LinkStatus, Replica, Reply, RequestId, RoleStatus,
};
use posthaste_blockrepl::wire::Refusal;
use posthaste_heartbeat::agent::{VolumeOrder, VolumeReport};
use posthaste_heartbeat::{DeviceId, Epoch, Generation, NodeId};

use crate::bugs::Bug;
use crate::checkers;
use crate::client::Request;
use crate::layout::EPOCH_RECORD;
use crate::world::{Event, World, device};
use crate::{node_id, volume_id};

type Members = BTreeSet<(NodeId, DeviceId)>;

/// How long the disk of a volume that is led may owe an answer.
const DISK_PATIENCE: Duration = Duration::from_secs(3);

/// The task of one volume.
#[derive(Debug)]
pub struct Keeper {
    pub(crate) replica: Replica,
    /// The copy cannot be used in this life: nobody obeys.
    pub(crate) absent: bool,
    orders: VecDeque<VolumeOrder>,
    events: VecDeque<ReplicaEvent>,
    endings: VecDeque<Ended>,
    /// The request that its task awaits.
    awaits: Option<RequestId>,
    pub(crate) asked: BTreeMap<RequestId, Asked>,
    next_request: u64,
    /// The leadership that is wanted here, from its order until it is closed or abandoned.
    pub(crate) leading: Option<Leading>,
    pub(crate) hear_end: u64,
}

/// A leadership.
#[derive(Debug)]
pub struct Leading {
    pub(crate) epoch: Epoch,
    in_sync: Members,
    generation: u64,
    /// Grows with each order about the set, and tells answers about an earlier union.
    union: u64,
    pub(crate) stage: Stage,
    /// Clients' operations under way.
    pub(crate) running: u64,
}

/// How far a leadership is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The store is being opened; `true` if it is to be closed then.
    Opening(bool),
    /// It could not be opened.
    Failed,
    /// Open for clients.
    Serving,
    /// No operation begins any more; those under way end.
    Draining,
    /// The last flush.
    Closing,
}

/// What ran beside the task has ended.
#[derive(Debug)]
enum Ended {
    Open(Epoch, Result<(), String>),
    Union(Epoch, u64, Members),
    Close(Epoch, bool),
}

/// What a request of a replica is for.
#[derive(Debug)]
pub enum Asked {
    /// A higher epoch (R4).
    Raise,
    /// To go back behind a resync (R9).
    Rollback(repl::Raised),
    /// To follow.
    Follow,
    /// To lead.
    Lead(Epoch, BTreeSet<(NodeId, DeviceId)>, u64),
    /// The first write of a leadership (R10).
    EpochRecord(Epoch),
    /// Its flush.
    Open(Epoch),
    /// What was acknowledged before is to be durable on the union, too.
    Pending(Epoch, u64, BTreeSet<(NodeId, DeviceId)>),
    /// The last flush of a leadership.
    Close(Epoch),
    /// A client's write.
    Write(Epoch, Request),
    /// The flush before a client's answer.
    Flush(Epoch, Request),
}

fn members(set: &Members) -> repl::MemberSet {
    let member = |(node, device): &(NodeId, DeviceId)| repl::Member {
        node: repl::NodeId(node.0),
        device: repl::DeviceId(device.0.to_be_bytes()),
    };
    set.iter().map(member).collect()
}

fn grant(n: usize, epoch: Epoch, in_sync: &Members, generation: u64) -> repl::Grant {
    repl::Grant::new(epoch.0, repl::NodeId(node_id(n).0), members(in_sync), generation)
}

fn volume_of(order: &VolumeOrder) -> usize {
    let (VolumeOrder::RaiseEpoch { volume, .. }
    | VolumeOrder::Lead { volume, .. }
    | VolumeOrder::SetPending { volume, .. }
    | VolumeOrder::UpdateInSync { volume, .. }
    | VolumeOrder::Follow { volume, .. }
    | VolumeOrder::Retire { volume, .. }
    | VolumeOrder::Abandon { volume, .. }) = order
    else {
        unreachable!("an order of a newer agent")
    };
    usize::from(*volume == volume_id(1))
}

impl Keeper {
    /// A task that has nothing to do yet.
    pub(crate) fn new(replica: Replica, absent: bool) -> Self {
        Self {
            replica,
            absent,
            orders: VecDeque::new(),
            events: VecDeque::new(),
            endings: VecDeque::new(),
            awaits: None,
            asked: BTreeMap::new(),
            next_request: 0,
            leading: None,
            hear_end: 0,
        }
    }

    fn led(&mut self, epoch: Epoch) -> Option<&mut Leading> {
        self.leading.as_mut().filter(|l| l.epoch == epoch)
    }
}

// ---- the queues ----

impl World {
    pub(crate) fn ask(
        &mut self,
        n: usize,
        v: usize,
        asked: Asked,
        make: impl FnOnce(RequestId) -> repl::core::Input,
    ) {
        let Some(keeper) = self.keeper_mut(n, v) else { return };
        keeper.next_request += 1;
        let request = RequestId(keeper.next_request);
        if matches!(asked, Asked::Raise | Asked::Rollback(_) | Asked::Follow | Asked::Lead(..)) {
            keeper.awaits = Some(request);
        }
        keeper.asked.insert(request, asked);
        self.replica_input(n, v, make(request));
    }

    fn report(&mut self, n: usize, report: VolumeReport) {
        let (life, after) = (self.machines[n].life, self.rng.between(10, 200));
        let mut end = self.procs[n].as_ref().map_or(0, |p| p.reports_end);
        let input = posthaste_heartbeat::agent::Input::Volume(report);
        self.push_fifo(&mut end, after, Event::Agent { n, life, input: Box::new(input) });
        self.procs[n].iter_mut().for_each(|p| p.reports_end = end);
    }

    pub(crate) fn take_order(&mut self, n: usize, order: VolumeOrder) {
        let v = volume_of(&order);
        let keeper = self.keeper_mut(n, v).filter(|k| !k.absent);
        keeper.into_iter().for_each(|k| k.orders.push_back(order.clone()));
        self.work(n, v);
    }

    pub(crate) fn take_event(&mut self, n: usize, v: usize, event: ReplicaEvent) {
        self.keeper_mut(n, v).into_iter().for_each(|k| k.events.push_back(event.clone()));
        self.work(n, v);
    }

    fn end(&mut self, n: usize, v: usize, ended: Ended) {
        if let Some(keeper) = self.keeper_mut(n, v) {
            keeper.endings.push_back(ended);
        }
        self.work(n, v);
    }

    /// Takes orders, events and endings, from any queue first, until one has to be awaited.
    fn work(&mut self, n: usize, v: usize) {
        loop {
            let first = self.rng.below(3);
            let Some(keeper) = self.keeper_mut(n, v).filter(|k| k.awaits.is_none()) else { return };
            let full = [!keeper.orders.is_empty(), !keeper.events.is_empty(), !keeper.endings.is_empty()];
            let Some(queue) = (0..3).map(|i| (first as usize + i) % 3).find(|q| full[*q]) else { return };
            match queue {
                0 => self.next_order(n, v),
                1 => self.next_event(n, v),
                _ => self.next_ending(n, v),
            }
        }
    }

    fn next_order(&mut self, n: usize, v: usize) {
        let Some(order) = self.keeper_mut(n, v).and_then(|k| k.orders.pop_front()) else { return };
        self.say(|| format!("keeper {n} vol{v} <- {order:?}"));
        match order {
            VolumeOrder::RaiseEpoch { epoch, .. } => self.raise(n, v, epoch, Asked::Raise),
            VolumeOrder::Follow { epoch, .. } => self.raise(n, v, epoch, Asked::Follow),
            VolumeOrder::Lead { epoch, in_sync, .. } => self.lead(n, v, epoch, in_sync),
            VolumeOrder::SetPending { epoch, union, .. } => self.set_pending(n, v, epoch, union),
            VolumeOrder::UpdateInSync { epoch, in_sync, .. } => self.update(n, v, epoch, in_sync),
            VolumeOrder::Retire { epoch, .. } => self.retire(n, v, epoch),
            VolumeOrder::Abandon { epoch, .. } => self.abandon_upto(n, v, epoch),
            _ => {}
        }
    }

    /// Now and then the queue has overflowed: what came first in it is lost.
    fn next_event(&mut self, n: usize, v: usize) {
        let lags = self.rng.chance(5);
        let Some(keeper) = self.keeper_mut(n, v) else { return };
        let Some(event) = keeper.events.pop_front() else { return };
        match lags {
            true => {
                self.say(|| format!("keeper {n} vol{v} misses {event:?}"));
                self.look_around(n, v);
            }
            false => self.hear(n, v, event),
        }
    }

    fn next_ending(&mut self, n: usize, v: usize) {
        let Some(ended) = self.keeper_mut(n, v).and_then(|k| k.endings.pop_front()) else { return };
        match ended {
            Ended::Open(epoch, opened) => self.opened(n, v, epoch, opened),
            Ended::Union(epoch, number, union) => self.union_held(n, v, epoch, number, union),
            Ended::Close(epoch, clean) => self.closed(n, v, epoch, clean),
        }
    }
}

// ---- epochs ----

impl World {
    fn raise(&mut self, n: usize, v: usize, epoch: Epoch, asked: Asked) {
        let held = self.keeper_mut(n, v).and_then(|k| k.leading.as_ref()).map(|l| l.epoch);
        if held.is_some_and(|held| held < epoch) {
            self.abandon(n, v);
        }
        self.ask(n, v, asked, |request| repl::core::Input::Raise { request, epoch: epoch.0 });
    }

    /// A copy that is to lead, or may be elected, and counts as in sync, but was being resynced: the
    /// state before that holds all that was acknowledged (R9).
    fn raised(&mut self, n: usize, v: usize, result: Result<Reply, Denied>) {
        let Ok(Reply::Raised(raised)) = result else { return };
        let (me, device) = (node_id(n), device(n, v));
        let state = self.quorum.known(n).map(|(_, state)| state);
        let to_lead = state.as_ref().and_then(|s| s.volumes.get(&volume_id(v))).is_some_and(|v| {
            let mine = v.leader.is_none_or(|leader| leader == me);
            v.epoch.0 == raised.epoch && mine && v.in_sync.contains(&(me, device))
        });
        match !raised.consistent && raised.can_roll_back && to_lead && !self.bug(Bug::NoRollback) {
            true => {
                self.ask(n, v, Asked::Rollback(raised), |request| repl::core::Input::Rollback { request })
            }
            false => self.report_raised(n, v, raised, false),
        }
    }

    fn report_raised(&mut self, n: usize, v: usize, raised: repl::Raised, rolled_back: bool) {
        let report = VolumeReport::Raised {
            volume: volume_id(v),
            epoch: Epoch(raised.epoch),
            generation: Generation::default(),
            device: DeviceId(u128::from_be_bytes(raised.device.0)),
            consistent: raised.consistent || rolled_back,
        };
        self.report(n, report);
    }

    /// Ends the leadership at once; operations under way end as they end.
    fn abandon(&mut self, n: usize, v: usize) {
        if self.bug(Bug::ForgetAbandon) {
            return;
        }
        if let Some(keeper) = self.keeper_mut(n, v) {
            keeper.leading = None;
        }
    }

    fn abandon_upto(&mut self, n: usize, v: usize, epoch: Epoch) {
        let held = self.keeper_mut(n, v).and_then(|k| k.leading.as_ref()).map(|l| l.epoch);
        if held.is_some_and(|held| held <= epoch) {
            self.abandon(n, v);
        }
    }
}

// ---- opening ----

impl World {
    fn lead(&mut self, n: usize, v: usize, epoch: Epoch, in_sync: Members) {
        let verdict = checkers::r1::opens(node_id(n), device(n, v), &in_sync);
        self.judge("R1", verdict);
        let held = self.keeper_mut(n, v).and_then(|k| k.led(epoch)).map(|l| l.stage);
        if held == Some(Stage::Failed) {
            // The replica leads in this epoch already: only the store is to be tried again.
            self.update(n, v, epoch, in_sync);
            return self.begin_opening(n, v, epoch);
        }
        self.abandon(n, v);
        let own = self.replica(n, v).map_or(0, |r| r.hello().generation.generation);
        let generation = match in_sync.len() > 1 && own > 0 {
            // Nobody was lost: those in sync go on in the same one. Were another begun here alone, a
            // successor among them would not know it, and take this copy for a diverged one.
            true => own,
            false => epoch.0 << 20,
        };
        let grant = grant(n, epoch, &in_sync, generation);
        let asked = Asked::Lead(epoch, in_sync, generation);
        self.ask(n, v, asked, |request| repl::core::Input::Lead { request, grant });
    }

    fn led(&mut self, n: usize, v: usize, leading: Leading, result: Result<Reply, Denied>) {
        let epoch = leading.epoch;
        if let Err(why) = result {
            return self.open_failed(n, epoch, v, why.to_string());
        }
        if let Some(status) = self.replica(n, v).map(Replica::status) {
            self.judge("R9", checkers::r9::leads(n, v, &status));
        }
        let Some(keeper) = self.keeper_mut(n, v) else { return };
        keeper.leading = Some(leading);
        self.begin_opening(n, v, epoch);
    }

    fn open_failed(&mut self, n: usize, epoch: Epoch, v: usize, why: String) {
        self.report(n, VolumeReport::OpenFailed { volume: volume_id(v), epoch, why });
    }

    /// The opening of the store: the record of the epoch (R10), and a flush.
    fn begin_opening(&mut self, n: usize, v: usize, epoch: Epoch) {
        let Some(leading) = self.keeper_mut(n, v).and_then(|k| k.led(epoch)) else { return };
        leading.stage = Stage::Opening(false);
        let data = Bytes::from(epoch.0.to_le_bytes().repeat(64));
        let asked = Asked::EpochRecord(epoch);
        self.ask(n, v, asked, |request| repl::core::Input::Write { request, offset: EPOCH_RECORD, data });
        if !self.bug(Bug::NoLookAround) {
            // Events from before this leadership were not reported, and may not come again.
            self.look_around(n, v);
        }
    }

    fn recorded(&mut self, n: usize, v: usize, epoch: Epoch, result: Result<Reply, Denied>) {
        let fails = &mut self.machines[n].fail_open[v];
        if *fails > 0 {
            *fails -= 1;
            return self.end(n, v, Ended::Open(epoch, Err("injected: out of memory".to_owned())));
        }
        match result {
            Ok(_) if self.bug(Bug::OpenBeforeFlush) => self.end(n, v, Ended::Open(epoch, Ok(()))),
            Ok(_) => self.ask(n, v, Asked::Open(epoch), |request| repl::core::Input::Flush { request }),
            Err(why) => self.end(n, v, Ended::Open(epoch, Err(why.to_string()))),
        }
    }

    fn opened(&mut self, n: usize, v: usize, epoch: Epoch, opened: Result<(), String>) {
        let Some(leading) = self.keeper_mut(n, v).and_then(|k| k.led(epoch)) else { return };
        let Stage::Opening(close) = leading.stage else { return };
        match (opened, close) {
            (Err(_), true) => self.closed(n, v, epoch, true),
            (Err(why), false) => {
                leading.stage = Stage::Failed;
                self.open_failed(n, epoch, v, why);
            }
            (Ok(()), true) => {
                leading.stage = Stage::Draining;
                self.finish_closing(n, v);
            }
            (Ok(()), false) => {
                leading.stage = Stage::Serving;
                self.hand_out(n, v, epoch);
            }
        }
    }

    fn hand_out(&mut self, n: usize, v: usize, epoch: Epoch) {
        self.mark("opened", n as u64, epoch.0);
        self.say(|| format!("node {n} opens vol{v} in epoch {epoch}"));
        self.report(n, VolumeReport::Opened { volume: volume_id(v), epoch });
        // A sleeper that finds its opening done when all is over may serve nothing (R3).
        if self.has_lease(n) || !self.checks.r4.is_over(v, epoch.0) {
            self.check_opening(n, v, epoch);
        }
    }

    fn check_opening(&mut self, n: usize, v: usize, epoch: Epoch) {
        let verdict = self.checks.r4.opened(n, v, epoch.0);
        self.judge("R4", verdict);
        let verdict = self.checks.r2[v].readable(n, &self.machines[n].disks[v][0].live);
        self.judge("R2", verdict);
        let members = self.in_sync_images(v);
        let verdict = checkers::r10::recorded(v, epoch.0, &members);
        self.judge("R10", verdict);
    }
}

// ---- the in-sync set ----

impl World {
    fn set_pending(&mut self, n: usize, v: usize, epoch: Epoch, union: Members) {
        let forgets = self.bug(Bug::ForgetUnionHeld);
        let now = self.local(n).since_boot();
        let Some(keeper) = self.keeper_mut(n, v) else { return };
        let Some(leading) = keeper.leading.as_mut().filter(|l| l.epoch == epoch) else { return };
        leading.union += 1;
        let (number, joining) =
            (leading.union, union.difference(&leading.in_sync).copied().collect::<Vec<_>>());
        if forgets {
            return self.report(n, VolumeReport::UnionHeld { volume: volume_id(v), epoch, union });
        }
        let result = keeper.replica.set_pending(now, Some(members(&union)));
        self.drain(n, v);
        match result {
            Ok(()) => {
                let asked = Asked::Pending(epoch, number, union);
                self.ask(n, v, asked, |request| repl::core::Input::Flush { request });
            }
            // It was lost meanwhile. Once it is synced anew, that is reported.
            Err(_) => joining.into_iter().for_each(|(node, _)| self.peer_lost(n, v, node, false)),
        }
    }

    fn union_held(&mut self, n: usize, v: usize, epoch: Epoch, number: u64, union: Members) {
        let leading = self.keeper_mut(n, v).and_then(|k| k.led(epoch));
        if leading.is_some_and(|l| l.union == number) {
            self.report(n, VolumeReport::UnionHeld { volume: volume_id(v), epoch, union });
        }
    }

    fn update(&mut self, n: usize, v: usize, epoch: Epoch, in_sync: Members) {
        let clears = self.bug(Bug::ClearThenGrant);
        let now = self.local(n).since_boot();
        let Some(keeper) = self.keeper_mut(n, v) else { return };
        let Some(leading) = keeper.leading.as_mut().filter(|l| l.epoch == epoch) else { return };
        if clears {
            drop(keeper.replica.set_pending(now, None));
        }
        if leading.in_sync.difference(&in_sync).next().is_some() {
            leading.generation += 1;
        }
        leading.in_sync.clone_from(&in_sync);
        leading.union += 1;
        let grant = grant(n, epoch, &in_sync, leading.generation);
        let taken = keeper.replica.set_grant(now, grant);
        // Only then: if the union has become the set, nothing may be acknowledged without it in between.
        let taken = taken.and_then(|()| keeper.replica.set_pending(now, None));
        if let Err(why) = taken {
            self.say(|| format!("keeper {n} vol{v}: the in-sync set was not taken: {why}"));
        }
        self.drain(n, v);
    }

    fn hear(&mut self, n: usize, v: usize, event: ReplicaEvent) {
        self.say(|| format!("keeper {n} vol{v} hears {event:?}"));
        match event {
            ReplicaEvent::PeerSynced { peer, device } => self.peer_synced(n, v, peer, device),
            // Also of one that is not in the set: it must not be taken for synced when its node returns.
            ReplicaEvent::PeerLost { peer, .. } => {
                self.peer_lost(n, v, NodeId(peer.0), false);
                self.remove_early(n, v);
            }
            ReplicaEvent::PeerSlow { peer, .. } => self.peer_lost(n, v, NodeId(peer.0), false),
            ReplicaEvent::PeerRecovered { peer, device } => self.peer_synced(n, v, peer, device),
            ReplicaEvent::RefusedBy { peer, why } => {
                self.peer_lost(n, v, NodeId(peer.0), matches!(why, Refusal::DiskFailed));
            }
            ReplicaEvent::Fenced { held, .. } => {
                let epoch = self.keeper_mut(n, v).and_then(|k| k.leading.as_ref()).map(|l| l.epoch);
                if epoch == Some(Epoch(held)) {
                    self.abandon(n, v);
                }
            }
            ReplicaEvent::DiskFailed { reason } => self.disk_failed(n, v, &reason),
            _ => {}
        }
    }

    /// The handle is dead (R11). What still runs on it may hang in the disk: nobody waits for that.
    fn disk_failed(&mut self, n: usize, v: usize, reason: &str) {
        self.report(n, VolumeReport::DiskFailed { volume: volume_id(v) });
        let leading = self.keeper_mut(n, v).and_then(|k| k.leading.as_ref()).map(|l| (l.epoch, l.stage));
        match leading {
            None | Some((_, Stage::Serving | Stage::Failed)) => {}
            Some((epoch, Stage::Opening(false))) => {
                self.abandon(n, v);
                self.open_failed(n, epoch, v, format!("the disk has failed: {reason}"));
            }
            Some((epoch, _)) => self.give_up(n, v, epoch),
        }
    }

    /// A disk that hangs is given up where the volume is to be led; a follower waits.
    pub(crate) fn look_at_disk(&mut self, n: usize, v: usize) {
        let now = self.local(n).since_boot();
        let known = self.quorum.known(n).map(|(_, state)| state);
        let wanted = known
            .and_then(|s| s.volumes.get(&volume_id(v)).map(|v| v.leader == Some(node_id(n))))
            .unwrap_or(false);
        let leads = wanted || self.keeper_mut(n, v).is_some_and(|k| k.leading.is_some());
        let age = self.replica(n, v).and_then(|r| r.disk_age(now)).filter(|_| leads);
        if age.is_some_and(|age| age >= DISK_PATIENCE) {
            let reason = "it has not answered for long".into();
            self.replica_input(n, v, repl::core::Input::Detach { reason });
        }
    }

    fn remove_early(&mut self, n: usize, v: usize) {
        let leading = self.keeper_mut(n, v).and_then(|k| k.leading.as_ref()).map(|l| l.epoch);
        if let Some(epoch) = leading.filter(|_| self.bug(Bug::EarlyRemoval)) {
            self.update(n, v, epoch, [(node_id(n), device(n, v))].into());
        }
    }

    fn peer_synced(&mut self, n: usize, v: usize, peer: repl::NodeId, device: repl::DeviceId) {
        let Some(epoch) = self.keeper_mut(n, v).and_then(|k| k.leading.as_ref()).map(|l| l.epoch) else {
            return;
        };
        let (volume, node) = (volume_id(v), NodeId(peer.0));
        let device = DeviceId(u128::from_be_bytes(device.0));
        self.report(n, VolumeReport::PeerSynced { volume, epoch, node, device });
    }

    fn peer_lost(&mut self, n: usize, v: usize, node: NodeId, disk: bool) {
        let Some(epoch) = self.keeper_mut(n, v).and_then(|k| k.leading.as_ref()).map(|l| l.epoch) else {
            return;
        };
        self.report(n, VolumeReport::PeerLost { volume: volume_id(v), epoch, node, disk });
    }

    /// Events were missed: what the status says takes their place.
    fn look_around(&mut self, n: usize, v: usize) {
        let Some(status) = self.replica(n, v).map(Replica::status) else { return };
        if let Some(reason) = status.failed {
            return self.hear(n, v, ReplicaEvent::DiskFailed { reason });
        }
        if status.role != RoleStatus::Leader {
            return self.abandon(n, v);
        }
        for peer in status.peers {
            match peer.link {
                LinkStatus::Synced => self.peer_synced(n, v, peer.node, peer.device),
                LinkStatus::Down => self.peer_lost(n, v, NodeId(peer.node.0), false),
                _ => {}
            }
        }
    }
}

// ---- closing ----

impl World {
    /// Ends the leadership in order: what runs ends, all is flushed. Until then it hears of the set.
    fn retire(&mut self, n: usize, v: usize, epoch: Epoch) {
        let status_failed = self.replica(n, v).is_some_and(|r| r.status().failed.is_some());
        let Some(leading) = self.keeper_mut(n, v).and_then(|k| k.led(epoch)) else {
            return self.report(n, VolumeReport::Closed { volume: volume_id(v), epoch, clean: false });
        };
        if status_failed {
            return self.give_up(n, v, epoch);
        }
        match leading.stage {
            Stage::Opening(_) => leading.stage = Stage::Opening(true),
            Stage::Failed => self.closed(n, v, epoch, true),
            Stage::Serving => {
                leading.stage = Stage::Draining;
                self.finish_closing(n, v);
            }
            Stage::Draining | Stage::Closing => {}
        }
    }

    pub(crate) fn finish_closing(&mut self, n: usize, v: usize) {
        let Some(leading) = self.keeper_mut(n, v).and_then(|k| k.leading.as_mut()) else { return };
        if leading.stage == Stage::Draining && leading.running == 0 {
            leading.stage = Stage::Closing;
            let asked = Asked::Close(leading.epoch);
            self.ask(n, v, asked, |request| repl::core::Input::Flush { request });
        }
    }

    fn give_up(&mut self, n: usize, v: usize, epoch: Epoch) {
        self.abandon(n, v);
        self.report(n, VolumeReport::Closed { volume: volume_id(v), epoch, clean: false });
    }

    fn closed(&mut self, n: usize, v: usize, epoch: Epoch, clean: bool) {
        let Some(keeper) = self.keeper_mut(n, v) else { return };
        if keeper.leading.take_if(|l| l.epoch == epoch).is_some() {
            self.report(n, VolumeReport::Closed { volume: volume_id(v), epoch, clean });
        }
    }
}

// ---- answers ----

impl World {
    /// A request of a replica was answered.
    pub(crate) fn answered(&mut self, n: usize, v: usize, request: RequestId, result: Result<Reply, Denied>) {
        let Some(keeper) = self.keeper_mut(n, v) else { return };
        if keeper.awaits == Some(request) {
            keeper.awaits = None;
        }
        let Some(asked) = keeper.asked.remove(&request) else { return };
        if result.is_err() {
            self.say(|| format!("replica {n} vol{v}: {asked:?}: {result:?}"));
        }
        match asked {
            Asked::Raise => self.raised(n, v, result),
            Asked::Rollback(raised) => self.report_raised(n, v, raised, result.is_ok()),
            Asked::Follow => {}
            Asked::Lead(epoch, in_sync, generation) => {
                let stage = Stage::Failed;
                let leading = Leading { epoch, in_sync, generation, union: 0, stage, running: 0 };
                self.led(n, v, leading, result);
            }
            Asked::EpochRecord(epoch) => self.recorded(n, v, epoch, result),
            Asked::Open(epoch) => {
                let opened = result.map(drop).map_err(|why| why.to_string());
                self.end(n, v, Ended::Open(epoch, opened));
            }
            Asked::Pending(epoch, number, union) => {
                if result.is_ok() {
                    self.end(n, v, Ended::Union(epoch, number, union));
                }
            }
            Asked::Close(epoch) => self.end(n, v, Ended::Close(epoch, result.is_ok())),
            Asked::Write(epoch, request) => self.written(n, v, epoch, request, result.is_ok()),
            Asked::Flush(epoch, request) => self.flushed(n, v, epoch, request, result.is_ok()),
        }
        self.work(n, v);
    }
}

//! One process: its agent, its replicas, and the glue that the node daemon has between them.
//!
//! The glue follows `examples/mail-cluster/src/node/volumes.rs` order by order: a keeper for each
//! volume takes the agent's orders one by one, waits where that one awaits, and turns the replica's
//! events into reports.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;

use bytes::Bytes;
use posthaste_blockrepl as repl;
use posthaste_blockrepl::core::{Denied, Event as ReplicaEvent, Output as Wish, Replica, RequestId};
use posthaste_heartbeat::agent::{
    AddressOrder, AddressReport, AgentConfig, Input, Outcome, Output, ProposalId, VolumeOrder, VolumeReport,
};
use posthaste_heartbeat::lease::FenceLog;
use posthaste_heartbeat::message::Message;
use posthaste_heartbeat::{Agent, ClusterId, DeviceId, Epoch, Generation, Incarnation, NodeId};

use crate::bugs::Bug;
use crate::checkers;
use crate::client::{Reply, Request, What};
use crate::layout::{EPOCH_RECORD, Slot, config};
use crate::world::{Event, MS, World, blank, device};
use crate::{NODES, ip, node_id, volume_id};

type Members = BTreeSet<(NodeId, DeviceId)>;

/// One life of one member's process.
#[derive(Debug)]
pub struct Proc {
    agent: Agent,
    /// What its log holds that ends leases.
    pub fences: FenceLog,
    /// Proposals without an outcome.
    pub proposals: BTreeSet<ProposalId>,
    /// Addresses that it has.
    pub addresses: [bool; 2],
    keepers: Vec<Keeper>,
    timer: Option<u64>,
    orders_end: u64,
    addresses_end: u64,
    reports_end: u64,
}

/// The task of one volume.
#[derive(Debug)]
struct Keeper {
    replica: Replica,
    orders: VecDeque<VolumeOrder>,
    events: VecDeque<ReplicaEvent>,
    /// The request that its task awaits.
    awaits: Option<RequestId>,
    asked: BTreeMap<RequestId, Asked>,
    next_request: u64,
    leading: Option<Leading>,
    closing: Option<Leading>,
    hear_end: u64,
}

#[derive(Debug)]
struct Leading {
    epoch: Epoch,
    in_sync: Members,
    generation: u64,
    /// Open for clients.
    open: bool,
    /// Operations under way.
    running: u64,
}

/// What a request of a replica is for.
#[derive(Debug)]
enum Asked {
    Raise,
    Rollback(repl::Raised),
    Follow,
    Lead(Epoch, Members, u64),
    EpochRecord(Epoch),
    Open(Epoch),
    Pending(Epoch, Members),
    Close(Epoch),
    Write(Epoch, Request),
    Flush(Epoch, Request),
}

/// Who the copy of volume `v` on node `n` is.
pub(crate) fn identity(n: usize, v: usize) -> repl::Identity {
    repl::Identity {
        cluster: repl::ClusterId([1; 16]),
        volume: repl::VolumeId([v as u8 + 1; 16]),
        device: repl::DeviceId(device(n, v).0.to_be_bytes()),
        node: repl::NodeId(node_id(n).0),
    }
}

fn members(set: &Members) -> repl::MemberSet {
    let member = |(node, device): &(NodeId, DeviceId)| repl::Member {
        node: repl::NodeId(node.0),
        device: repl::DeviceId(device.0.to_be_bytes()),
    };
    set.iter().map(member).collect()
}

fn index_of(node: repl::NodeId) -> usize {
    node.0 as usize - 1
}

fn index_of_address(address: IpAddr) -> usize {
    usize::from(address == ip(1))
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

// ---- the process and its agent ----

impl World {
    /// Starts a process on what its disks and its quorum store hold.
    pub(crate) fn start(&mut self, n: usize) {
        if self.procs[n].is_some() {
            return;
        }
        if self.bug(Bug::FormatOnRejoin) && self.machines[n].life > 1 {
            self.machines[n].disks = (0..self.machines[n].disks.len()).map(|v| blank(n, v)).collect();
        }
        let life = self.machines[n].life;
        let mut incarnation = Incarnation(self.rng.draw());
        if self.bug(Bug::OldIncarnation)
            && let Some(member) = self.quorum.state().members.get(&node_id(n)).filter(|_| life > 1)
        {
            incarnation = member.incarnation;
        }
        let agent_config = AgentConfig::new(node_id(n), ClusterId(1), incarnation, self.machines[n].store);
        let fences = self.quorum.fences(n);
        let mut now = self.local(n);
        if self.bug(Bug::ForgetfulGrantor) && life > 1 {
            now = now - std::time::Duration::from_secs(5);
        }
        let agent = Agent::new(agent_config, (0..NODES).map(node_id), fences.clone(), now);
        let keepers = (0..self.machines[n].disks.len()).map(|v| self.keeper(n, v)).collect();
        self.procs[n] = Some(Proc {
            agent,
            fences,
            proposals: BTreeSet::new(),
            addresses: [false; 2],
            keepers,
            timer: None,
            orders_end: 0,
            addresses_end: 0,
            reports_end: 0,
        });
        self.say(|| format!("node {n} starts life {life}"));
        self.first_events(n, life);
    }

    fn first_events(&mut self, n: usize, life: u64) {
        if let Some((index, state)) = self.quorum.known(n) {
            self.tell_agent(n, MS, Input::Committed { index, state });
        }
        for v in 0..self.machines[n].disks.len() {
            self.push(100 * MS, Event::ReplicaTick { n, life, v });
            if n == 0 {
                self.push(5 * MS, Event::Dial { life, volume: v });
            }
        }
        self.arm(n);
    }

    fn keeper(&mut self, n: usize, v: usize) -> Keeper {
        let meta = &self.machines[n].disks[v][1].live;
        let read = |offset: u64, buf: &mut [u8]| {
            meta.read(offset, buf);
            Ok(())
        };
        let opened = Replica::open(config(), &identity(n, v), read);
        let replica = match opened {
            Ok(replica) => replica,
            Err(e) => panic!("node {n} cannot open its copy of vol{v} after a crash: {e}"),
        };
        let verdict = self.checks.r4.starts(n, v, replica.status().epoch);
        self.judge("R4", verdict);
        Keeper {
            replica,
            orders: VecDeque::new(),
            events: VecDeque::new(),
            awaits: None,
            asked: BTreeMap::new(),
            next_request: 0,
            leading: None,
            closing: None,
            hear_end: 0,
        }
    }

    /// Hands the agent an input after a while; such inputs keep their order.
    pub(crate) fn tell_agent(&mut self, n: usize, after: u64, input: Input) {
        let life = self.machines[n].life;
        self.push(after, Event::Agent { n, life, input: Box::new(input) });
    }

    pub(crate) fn agent_timer(&mut self, n: usize, at: u64) {
        let now = self.local(n);
        let Some(p) = self.procs[n].as_mut().filter(|p| p.timer == Some(at)) else { return };
        p.timer = None;
        p.agent.handle_timeout(now);
        self.obey_agent(n);
    }

    pub(crate) fn agent_input(&mut self, n: usize, input: Input) {
        let now = self.local(n);
        if !matches!(input, Input::Message { .. }) {
            self.say(|| match &input {
                Input::Committed { index, .. } => format!("agent {n} sees state {index}"),
                other => format!("agent {n} <- {other:?}"),
            });
        }
        let Some(p) = &mut self.procs[n] else { return };
        p.agent.handle(now, input);
        self.obey_agent(n);
    }

    pub(crate) fn agent_outcome(&mut self, n: usize, id: ProposalId, outcome: Outcome) {
        let open = self.procs[n].as_mut().is_some_and(|p| p.proposals.remove(&id));
        if open {
            self.agent_input(n, Input::Outcome { id, outcome });
        }
    }

    fn arm(&mut self, n: usize) {
        let due = self.procs[n].as_ref().and_then(|p| p.agent.poll_timeout()).map(|t| self.truly(n, t));
        let life = self.machines[n].life;
        let Some(p) = &mut self.procs[n] else { return };
        if let Some(at) = due.filter(|at| p.timer != Some(*at)) {
            p.timer = Some(at);
            self.push(at - self.now, Event::AgentTimer { n, life, at });
        }
    }

    fn obey_agent(&mut self, n: usize) {
        let life = self.machines[n].life;
        while let Some(out) = self.procs[n].as_mut().and_then(|p| p.agent.poll_output()) {
            match out {
                Output::Send { to, message } => self.send_beat(n, to, message),
                Output::Propose { id, command } => self.propose(n, id, command),
                Output::Volume(order) => {
                    let after = self.rng.between(10, 300);
                    let mut end = self.procs[n].as_ref().map_or(0, |p| p.orders_end);
                    self.push_fifo(&mut end, after, Event::Order { n, life, order });
                    self.procs[n].iter_mut().for_each(|p| p.orders_end = end);
                }
                Output::Address(order) => {
                    let after = self.rng.between(MS, 15 * MS);
                    let mut end = self.procs[n].as_ref().map_or(0, |p| p.addresses_end);
                    self.push_fifo(&mut end, after, Event::Address { n, life, order });
                    self.procs[n].iter_mut().for_each(|p| p.addresses_end = end);
                }
                Output::StepDown => self.say(|| format!("agent {n} steps down")),
                Output::Resume => self.say(|| format!("agent {n} resumes")),
                other => unreachable!("an output of a newer agent: {other:?}"),
            }
        }
        self.arm(n);
    }

    fn send_beat(&mut self, from: usize, to: NodeId, message: Message) {
        let to = to.0 as usize - 1;
        let message = match message {
            Message::Age { holder, stint, sent, .. } if self.bug(Bug::OpenBeforeLeaseEnd) => {
                Message::Age { holder, stint, sent, age_nanos: 60_000_000_000 }
            }
            other => other,
        };
        if let Some(delay) = self.net.datagram(from, to, &mut self.rng) {
            self.tell_agent(to, delay, Input::Message { from: node_id(from), message });
        }
    }

    /// Whether the node's lease holds, by its own clock.
    pub(crate) fn has_lease(&self, n: usize) -> bool {
        self.procs[n].as_ref().is_some_and(|p| p.agent.lease().is_valid(self.local(n)))
    }

    /// Whether the volume is open here for clients.
    pub(crate) fn has_led(&self, n: usize, v: usize) -> bool {
        let keeper = self.procs[n].as_ref().and_then(|p| p.keepers.get(v));
        keeper.and_then(|k| k.leading.as_ref()).is_some_and(|l| l.open)
    }

    pub(crate) fn take_address(&mut self, n: usize, order: AddressOrder) {
        let Some(p) = &mut self.procs[n] else { return };
        let report = match order {
            AddressOrder::Take(ip) => {
                p.addresses[index_of_address(ip)] = true;
                AddressReport::Taken(ip)
            }
            AddressOrder::Drop(ip) => {
                let address = index_of_address(ip);
                let later = if self.bug(Bug::DropLater) { 80 * MS } else { 0 };
                match later {
                    0 => self.address_gone(n, address),
                    _ => self.push(later, Event::AddressGone { n, life: self.machines[n].life, address }),
                }
                AddressReport::Dropped(ip)
            }
        };
        self.tell_agent(n, MS, Input::Address(report));
    }

    pub(crate) fn address_gone(&mut self, n: usize, address: usize) {
        self.procs[n].iter_mut().for_each(|p| p.addresses[address] = false);
    }
}

// ---- the replica and its driver ----

impl World {
    pub(crate) fn replica(&self, n: usize, v: usize) -> Option<&Replica> {
        Some(&self.procs[n].as_ref()?.keepers.get(v)?.replica)
    }

    fn keeper_mut(&mut self, n: usize, v: usize) -> Option<&mut Keeper> {
        self.procs[n].as_mut()?.keepers.get_mut(v)
    }

    pub(crate) fn replica_input(&mut self, n: usize, v: usize, input: repl::core::Input) {
        let now = self.local(n).since_boot();
        let Some(keeper) = self.keeper_mut(n, v) else { return };
        keeper.replica.handle(now, input);
        self.drain(n, v);
    }

    fn drain(&mut self, n: usize, v: usize) {
        while let Some(wish) = self.keeper_mut(n, v).and_then(|k| k.replica.poll_output()) {
            match wish {
                Wish::Disk { op, what } => self.disk_begins(n, v, op, what),
                Wish::Send { link, message } => self.link_send(n, link, message),
                Wish::CloseLink { link } => self.link_close(n, link),
                Wish::Done { request, result } => {
                    if let Ok(repl::core::Reply::Raised(raised)) = &result {
                        let verdict = self.checks.r4.raised(n, v, raised.epoch);
                        self.judge("R4", verdict);
                    }
                    let (life, after) = (self.machines[n].life, self.rng.between(5, 80));
                    self.push(after, Event::Done { n, life, v, request, result });
                }
                Wish::Event(event) => {
                    let (life, after) = (self.machines[n].life, self.rng.between(5, 200));
                    let mut end = self.keeper_mut(n, v).map_or(0, |k| k.hear_end);
                    self.push_fifo(&mut end, after, Event::Hear { n, life, v, event });
                    self.keeper_mut(n, v).into_iter().for_each(|k| k.hear_end = end);
                }
            }
        }
    }

    fn disk_begins(&mut self, n: usize, v: usize, op: repl::core::OpId, what: repl::core::DiskOp) {
        use repl::core::DiskOp as D;
        let meta = what.is_meta();
        let slow = self.machines[n].slow;
        let takes = match what {
            D::Flush | D::MetaFlush => self.rng.between(200, 1500) * slow,
            _ => self.rng.between(10, 60) * slow,
        };
        let disk = &mut self.machines[n].disks[v][usize::from(meta)];
        let mut flush = None;
        let data = match what {
            D::Write { offset, data } | D::MetaWrite { offset, data } => {
                disk.write(offset, &data);
                Bytes::new()
            }
            D::Read { offset, len } | D::MetaRead { offset, len } => disk.read(offset, len),
            D::Flush | D::MetaFlush => {
                flush = Some(disk.mark());
                Bytes::new()
            }
        };
        // Data flushes run beside later writes; the metadata is one lane.
        let mut end = if flush.is_some() && !meta { disk.flush_ends } else { disk.lane_ends };
        if flush.is_some() {
            end = end.max(disk.lane_ends);
        }
        let life = self.machines[n].life;
        self.push_fifo(&mut end, takes, Event::DiskEnds { n, life, v, meta, op, flush, data });
        let disk = &mut self.machines[n].disks[v][usize::from(meta)];
        match flush.is_some() && !meta {
            true => disk.flush_ends = end,
            false => disk.lane_ends = end,
        }
    }

    /// An operation ends in the kernel, though the process may be stopped.
    pub(crate) fn disk_ends(
        &mut self,
        n: usize,
        v: usize,
        (meta, op): (bool, repl::core::OpId),
        flush: Option<u64>,
        data: Bytes,
    ) {
        let lies = self.bug(if meta { Bug::LyingMetaFlush } else { Bug::LyingFlush });
        let retry = self.bug(Bug::RetryFlush);
        let disk = &mut self.machines[n].disks[v][usize::from(meta)];
        let mut result = Ok(data);
        match flush {
            Some(mark) if std::mem::take(&mut disk.fail_flush) => {
                disk.flush_failed(mark, &mut self.rng);
                if !retry {
                    result = Err("injected: the flush failed".into());
                }
            }
            // It is saved by the next one, if there is a next one.
            Some(mark) if lies => disk.flushed(mark.saturating_sub(1)),
            Some(mark) => disk.flushed(mark),
            None => {}
        }
        let life = self.machines[n].life;
        self.push(1, Event::DiskDone { n, life, v, op, result });
    }
}

// ---- the keeper ----

impl World {
    fn ask(&mut self, n: usize, v: usize, asked: Asked, make: impl FnOnce(RequestId) -> repl::core::Input) {
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
        self.push_fifo(&mut end, after, Event::Agent { n, life, input: Box::new(Input::Volume(report)) });
        self.procs[n].iter_mut().for_each(|p| p.reports_end = end);
    }

    pub(crate) fn take_order(&mut self, n: usize, order: VolumeOrder) {
        let v = volume_of(&order);
        self.keeper_mut(n, v).into_iter().for_each(|k| k.orders.push_back(order.clone()));
        self.work(n, v);
    }

    pub(crate) fn take_event(&mut self, n: usize, v: usize, event: ReplicaEvent) {
        self.keeper_mut(n, v).into_iter().for_each(|k| k.events.push_back(event.clone()));
        self.work(n, v);
    }

    /// Takes orders and events, either first, until one has to be awaited.
    fn work(&mut self, n: usize, v: usize) {
        loop {
            let events_first = self.rng.chance(500);
            let Some(keeper) = self.keeper_mut(n, v).filter(|k| k.awaits.is_none()) else { return };
            if (events_first || keeper.orders.is_empty()) && !keeper.events.is_empty() {
                if let Some(event) = keeper.events.pop_front() {
                    self.hear(n, v, event);
                }
            } else if let Some(order) = keeper.orders.pop_front() {
                self.obey(n, v, order);
            } else {
                return;
            }
        }
    }

    fn obey(&mut self, n: usize, v: usize, order: VolumeOrder) {
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

    fn raise(&mut self, n: usize, v: usize, epoch: Epoch, asked: Asked) {
        let held = self.keeper_mut(n, v).and_then(|k| k.leading.as_ref()).map(|l| l.epoch);
        if held.is_some_and(|held| held < epoch) {
            self.abandon(n, v);
        }
        self.ask(n, v, asked, |request| repl::core::Input::Raise { request, epoch: epoch.0 });
    }

    fn lead(&mut self, n: usize, v: usize, epoch: Epoch, in_sync: Members) {
        self.abandon(n, v);
        let verdict = checkers::r1::opens(node_id(n), device(n, v), &in_sync);
        self.judge("R1", verdict);
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

    fn set_pending(&mut self, n: usize, v: usize, epoch: Epoch, union: Members) {
        let forgets = self.bug(Bug::ForgetUnionHeld);
        let now = self.local(n).since_boot();
        let Some(keeper) = self.keeper_mut(n, v) else { return };
        if keeper.leading.as_ref().is_none_or(|l| l.epoch != epoch) {
            return;
        }
        if forgets {
            return self.report(n, VolumeReport::UnionHeld { volume: volume_id(v), epoch, union });
        }
        let result = keeper.replica.set_pending(now, Some(members(&union)));
        self.drain(n, v);
        if result.is_ok() {
            self.ask(n, v, Asked::Pending(epoch, union), |request| repl::core::Input::Flush { request });
        }
    }

    fn update(&mut self, n: usize, v: usize, epoch: Epoch, in_sync: Members) {
        let now = self.local(n).since_boot();
        let Some(keeper) = self.keeper_mut(n, v) else { return };
        let Some(leading) = keeper.leading.as_mut().filter(|l| l.epoch == epoch) else { return };
        if leading.in_sync.difference(&in_sync).next().is_some() {
            leading.generation += 1;
        }
        leading.in_sync.clone_from(&in_sync);
        let grant = grant(n, epoch, &in_sync, leading.generation);
        let result = keeper.replica.set_grant(now, grant);
        if let Err(why) = result {
            self.say(|| format!("keeper {n} vol{v}: the in-sync set was not taken: {why}"));
        }
        self.drain(n, v);
    }

    /// Ends the leadership in order: what runs ends, all is flushed.
    fn retire(&mut self, n: usize, v: usize, epoch: Epoch) {
        let Some(keeper) = self.keeper_mut(n, v) else { return };
        let Some(leading) = keeper.leading.take_if(|l| l.epoch == epoch) else {
            return self.report(n, VolumeReport::Closed { volume: volume_id(v), epoch, clean: false });
        };
        keeper.closing = Some(leading);
        self.finish_closing(n, v);
    }

    fn finish_closing(&mut self, n: usize, v: usize) {
        let Some(keeper) = self.keeper_mut(n, v) else { return };
        if let Some(closing) = keeper.closing.take_if(|c| c.running == 0) {
            let asked = Asked::Close(closing.epoch);
            self.ask(n, v, asked, |request| repl::core::Input::Flush { request });
        }
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

    fn hear(&mut self, n: usize, v: usize, event: ReplicaEvent) {
        self.say(|| format!("keeper {n} vol{v} hears {event:?}"));
        let volume = volume_id(v);
        let epoch = self.keeper_mut(n, v).and_then(|k| k.leading.as_ref()).map(|l| l.epoch);
        match (event, epoch) {
            (ReplicaEvent::PeerSynced { peer, device }, Some(epoch)) => {
                let (node, device) = (node_id(index_of(peer)), DeviceId(u128::from_be_bytes(device.0)));
                self.report(n, VolumeReport::PeerSynced { volume, epoch, node, device });
            }
            (ReplicaEvent::PeerLost { peer, .. }, Some(epoch)) => {
                let node = node_id(index_of(peer));
                self.report(n, VolumeReport::PeerLost { volume, epoch, node, disk: false });
                if self.bug(Bug::EarlyRemoval) {
                    self.update(n, v, epoch, [(node_id(n), device(n, v))].into());
                }
            }
            (ReplicaEvent::Fenced { held, .. }, Some(epoch)) if epoch.0 == held => self.abandon(n, v),
            (ReplicaEvent::DiskFailed { .. }, _) => self.report(n, VolumeReport::DiskFailed { volume }),
            (ReplicaEvent::Diverged { peer, .. }, _) => {
                let what = format!("node {n} finds the copy of vol{v} on node {} diverged", index_of(peer));
                self.judge("R1", Err(what));
            }
            _ => {}
        }
    }

    /// A request of a replica was answered.
    pub(crate) fn answered(
        &mut self,
        n: usize,
        v: usize,
        request: RequestId,
        result: Result<repl::core::Reply, Denied>,
    ) {
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
                let leading = Leading { epoch, in_sync, generation, open: false, running: 0 };
                self.led(n, v, leading, result);
            }
            Asked::EpochRecord(epoch) => self.recorded(n, v, epoch, result),
            Asked::Open(epoch) => self.opened(n, v, epoch, result),
            Asked::Pending(epoch, union) if result.is_ok() => {
                self.report(n, VolumeReport::UnionHeld { volume: volume_id(v), epoch, union });
            }
            Asked::Pending(..) => {}
            Asked::Close(epoch) => {
                let (volume, clean) = (volume_id(v), result.is_ok());
                self.report(n, VolumeReport::Closed { volume, epoch, clean });
            }
            Asked::Write(epoch, request) => self.written(n, v, epoch, request, result.is_ok()),
            Asked::Flush(epoch, request) => self.flushed(n, v, epoch, request, result.is_ok()),
        }
        self.work(n, v);
    }

    /// A copy that is to lead and counts as in sync, but was being resynced: the state before that
    /// holds all that was acknowledged (R9).
    fn raised(&mut self, n: usize, v: usize, result: Result<repl::core::Reply, Denied>) {
        let Ok(repl::core::Reply::Raised(raised)) = result else { return };
        let (me, device) = (node_id(n), device(n, v));
        let state = self.quorum.known(n).map(|(_, state)| state);
        let to_lead = state.as_ref().and_then(|s| s.volumes.get(&volume_id(v))).is_some_and(|v| {
            v.epoch.0 == raised.epoch && v.leader == Some(me) && v.in_sync.contains(&(me, device))
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

    fn open_failed(&mut self, n: usize, v: usize, epoch: Epoch, why: &Denied) {
        self.report(n, VolumeReport::OpenFailed { volume: volume_id(v), epoch, why: why.to_string() });
    }

    fn led(&mut self, n: usize, v: usize, leading: Leading, result: Result<repl::core::Reply, Denied>) {
        let epoch = leading.epoch;
        if let Err(why) = result {
            return self.open_failed(n, v, epoch, &why);
        }
        if let Some(status) = self.replica(n, v).map(Replica::status) {
            self.judge("R9", checkers::r9::leads(n, v, &status));
        }
        let Some(keeper) = self.keeper_mut(n, v) else { return };
        keeper.leading = Some(leading);
        let data = Bytes::from(epoch.0.to_le_bytes().repeat(64));
        let asked = Asked::EpochRecord(epoch);
        self.ask(n, v, asked, |request| repl::core::Input::Write { request, offset: EPOCH_RECORD, data });
    }

    fn recorded(&mut self, n: usize, v: usize, epoch: Epoch, result: Result<repl::core::Reply, Denied>) {
        match result {
            Ok(_) => self.ask(n, v, Asked::Open(epoch), |request| repl::core::Input::Flush { request }),
            Err(why) => self.open_failed(n, v, epoch, &why),
        }
    }

    fn opened(&mut self, n: usize, v: usize, epoch: Epoch, result: Result<repl::core::Reply, Denied>) {
        if let Err(why) = result {
            return self.open_failed(n, v, epoch, &why);
        }
        let Some(keeper) = self.keeper_mut(n, v) else { return };
        let Some(leading) = keeper.leading.as_mut().filter(|l| l.epoch == epoch) else { return };
        leading.open = true;
        self.mark("opened", n as u64, epoch.0);
        self.say(|| format!("node {n} opens vol{v} in epoch {epoch}"));
        let verdict = self.checks.r4.opened(n, v, epoch.0);
        self.judge("R4", verdict);
        let verdict = self.checks.r2[v].readable(n, &self.machines[n].disks[v][0].live);
        self.judge("R2", verdict);
        self.report(n, VolumeReport::Opened { volume: volume_id(v), epoch });
    }
}

fn grant(n: usize, epoch: Epoch, in_sync: &Members, generation: u64) -> repl::Grant {
    repl::Grant { epoch: epoch.0, leader: repl::NodeId(node_id(n).0), in_sync: members(in_sync), generation }
}

// ---- clients' operations ----

impl World {
    fn may_reply(&self, n: usize) -> bool {
        self.has_lease(n) || self.bug(Bug::ServeWithoutLease)
    }

    /// A client asks: this node answers if it leads and its lease holds (R3).
    pub(crate) fn serve(&mut self, n: usize, v: usize, request: Request) {
        let allowed = self.may_reply(n);
        // A device handle fails for ever once it is fenced, or its disk has failed.
        let holds = self.replica(n, v).is_some_and(|r| r.hello().leading) || self.bug(Bug::ForgetAbandon);
        let leading = self.keeper_mut(n, v).and_then(|k| k.leading.as_mut());
        let leading = leading.filter(|l| l.open && allowed && holds);
        let Some(leading) = leading else {
            return self.send_reply(n, v, request.op, Reply::NotHere);
        };
        leading.running += 1;
        let (epoch, slot) = (leading.epoch, request.slot);
        match request.what {
            What::Put(value) => {
                let (offset, data) = (Slot::of(slot).offset(), Slot::of(slot).encode(value));
                let asked = Asked::Write(epoch, request);
                self.ask(n, v, asked, |request| repl::core::Input::Write { request, offset, data });
            }
            What::Get(_) if self.is_dirty(n, v, slot) => {
                let asked = Asked::Flush(epoch, request);
                self.ask(n, v, asked, |request| repl::core::Input::Flush { request });
            }
            What::Get(_) => self.reply(n, v, epoch, &request),
        }
    }

    /// Whether a write to the slot is not known to be durable: a reader must wait for it.
    fn is_dirty(&mut self, n: usize, v: usize, slot: usize) -> bool {
        let writes = |a: &Asked| match a {
            Asked::Write(_, r) => r.slot == slot,
            Asked::Flush(_, r) => r.slot == slot && matches!(r.what, What::Put(_)),
            _ => false,
        };
        self.keeper_mut(n, v).is_some_and(|k| k.asked.values().any(writes))
    }

    fn written(&mut self, n: usize, v: usize, epoch: Epoch, request: Request, ok: bool) {
        if !ok {
            return self.fail(n, v, epoch, &request);
        }
        if self.bug(Bug::AckBeforeFlush) {
            return self.reply(n, v, epoch, &request);
        }
        let asked = Asked::Flush(epoch, request);
        self.ask(n, v, asked, |request| repl::core::Input::Flush { request });
    }

    fn flushed(&mut self, n: usize, v: usize, epoch: Epoch, request: Request, ok: bool) {
        match (ok, &request.what) {
            (false, _) => self.fail(n, v, epoch, &request),
            // A write that began meanwhile may show: it has to be waited for, too.
            (true, What::Get(_)) if self.is_dirty(n, v, request.slot) => {
                let asked = Asked::Flush(epoch, request);
                self.ask(n, v, asked, |request| repl::core::Input::Flush { request });
            }
            (true, _) => self.reply(n, v, epoch, &request),
        }
    }

    fn fail(&mut self, n: usize, v: usize, epoch: Epoch, request: &Request) {
        self.send_reply(n, v, request.op, Reply::Failed);
        self.operation_ended(n, v, epoch);
    }

    /// The reply is built; then the lease is checked; then it leaves (R3).
    fn reply(&mut self, n: usize, v: usize, epoch: Epoch, request: &Request) {
        if !self.may_reply(n) {
            return self.fail(n, v, epoch, request);
        }
        match &request.what {
            What::Put(value) => self.acknowledge(n, v, epoch, request.slot, *value),
            What::Get(floor) => {
                let found = Slot::of(request.slot).read(&self.machines[n].disks[v][0].live);
                let verdict = self.checks.r2[v].shown(request.slot, &found, floor);
                self.judge("R3", verdict);
            }
        }
        self.send_reply(n, v, request.op, Reply::Done);
        self.operation_ended(n, v, epoch);
    }

    fn acknowledge(&mut self, n: usize, v: usize, epoch: Epoch, slot: usize, value: u64) {
        self.mark("ack", (v * 100 + slot) as u64, value);
        let verdict = self.checks.r4.acknowledges(n, v, epoch.0);
        self.judge("R4", verdict);
        let state = self.quorum.state();
        let in_sync = state.volumes.get(&volume_id(v)).map(|v| v.in_sync.clone()).unwrap_or_default();
        let images = in_sync.iter().map(|(node, _)| node.0 as usize - 1);
        let images = images.filter(|_| self.opens_disks).map(|m| (m, &self.machines[m].disks[v][0].durable));
        let images: Vec<_> = images.collect();
        let verdict = self.checks.r2[v].acknowledge(slot, value, &images);
        self.judge("R2", verdict);
    }

    fn operation_ended(&mut self, n: usize, v: usize, epoch: Epoch) {
        let Some(keeper) = self.keeper_mut(n, v) else { return };
        let all = keeper.leading.iter_mut().chain(keeper.closing.iter_mut());
        all.filter(|l| l.epoch == epoch).for_each(|l| l.running = l.running.saturating_sub(1));
        self.finish_closing(n, v);
    }
}

//! Virtual time: one queue of events, and who handles each.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use posthaste_blockrepl::core as repl;
use posthaste_heartbeat::agent::{AddressOrder, Input, Outcome, ProposalId, VolumeOrder};
use posthaste_heartbeat::state::{Address, Command, FORMAT, Member, Role, State, Volume};
use posthaste_heartbeat::{ClusterId, DeviceId, NodeId, StoreId, Time};

use crate::bugs::{Bug, Switch};
use crate::checkers::{self, Checkers, Verdict};
use crate::client::{Client, Reply, Request};
use crate::consensus::{Proposer, Quorum};
use crate::disk::Disk;
use crate::faults::Fault;
use crate::layout::{SIZE, config};
use crate::net::Net;
use crate::node::{Proc, identity};
use crate::rng::Rng;
use crate::{NODES, ip, node_id, volume_id};

/// A millisecond of virtual time.
pub const MS: u64 = 1000;

/// Something that will happen.
#[derive(Debug)]
#[allow(missing_docs)]
pub enum Event {
    AgentTimer {
        n: usize,
        life: u64,
        at: u64,
    },
    Agent {
        n: usize,
        life: u64,
        input: Box<Input>,
    },
    Outcome {
        to: usize,
        life: u64,
        id: ProposalId,
        outcome: Outcome,
    },
    Order {
        n: usize,
        life: u64,
        order: VolumeOrder,
    },
    Address {
        n: usize,
        life: u64,
        order: AddressOrder,
    },
    AddressGone {
        n: usize,
        life: u64,
        address: usize,
    },
    Hear {
        n: usize,
        life: u64,
        v: usize,
        event: repl::Event,
    },
    Done {
        n: usize,
        life: u64,
        v: usize,
        request: repl::RequestId,
        result: Result<repl::Reply, repl::Denied>,
    },
    ReplicaTick {
        n: usize,
        life: u64,
        v: usize,
    },
    DiskEnds {
        n: usize,
        life: u64,
        v: usize,
        meta: bool,
        op: repl::OpId,
        flush: Option<u64>,
        data: Bytes,
    },
    DiskDone {
        n: usize,
        life: u64,
        v: usize,
        op: repl::OpId,
        result: Result<Bytes, Arc<str>>,
    },
    Dial {
        life: u64,
        volume: usize,
    },
    Pump {
        link: u64,
        to: usize,
        life: u64,
    },
    LinkBreaks {
        link: u64,
        end: usize,
    },
    LinkTimesOut {
        link: u64,
        end: usize,
        volume: Option<usize>,
    },
    QuorumTick,
    Append {
        to: usize,
        life: u64,
        term: u64,
        len: usize,
        committed: usize,
    },
    Appended {
        leader: usize,
        life: u64,
        term: u64,
        from: usize,
        len: usize,
    },
    Propose {
        leader: usize,
        life: u64,
        proposer: Option<Proposer>,
        command: Box<Command>,
    },
    Replace(usize),
    ToServer {
        n: usize,
        life: u64,
        v: usize,
        request: Request,
    },
    ToClient {
        v: usize,
        op: u64,
        reply: Reply,
    },
    ClientTick {
        v: usize,
    },
    ClientTimeout {
        v: usize,
        op: u64,
    },
    Resume {
        n: usize,
        life: u64,
    },
    Fault(Fault),
}

impl Event {
    /// The process that handles it, and which life of it; such an event waits while the process is paused.
    fn process(&self) -> Option<(usize, Option<u64>)> {
        match self {
            Self::AgentTimer { n, life, .. }
            | Self::Agent { n, life, .. }
            | Self::Order { n, life, .. }
            | Self::Address { n, life, .. }
            | Self::AddressGone { n, life, .. }
            | Self::Hear { n, life, .. }
            | Self::Done { n, life, .. }
            | Self::ReplicaTick { n, life, .. }
            | Self::DiskDone { n, life, .. }
            | Self::Outcome { to: n, life, .. }
            | Self::Pump { to: n, life, .. }
            | Self::Append { to: n, life, .. }
            | Self::Appended { leader: n, life, .. }
            | Self::Propose { leader: n, life, .. }
            | Self::ToServer { n, life, .. } => Some((*n, Some(*life))),
            Self::Dial { life, .. } => Some((0, Some(*life))),
            Self::LinkBreaks { end, .. } => Some((*end, None)),
            _ => None,
        }
    }

    /// A number for the trace.
    fn kind(&self) -> u64 {
        match self {
            Self::AgentTimer { .. } => 1,
            Self::Agent { .. } => 2,
            Self::Outcome { .. } => 3,
            Self::Order { .. } => 4,
            Self::Address { .. } => 5,
            Self::Hear { .. } => 6,
            Self::Done { .. } => 7,
            Self::ReplicaTick { .. } => 8,
            Self::DiskEnds { .. } => 9,
            Self::DiskDone { .. } => 10,
            Self::Dial { .. } => 11,
            Self::Pump { .. } => 12,
            Self::Append { .. } => 13,
            Self::Appended { .. } => 14,
            Self::Propose { .. } => 15,
            Self::ToServer { .. } => 16,
            Self::ToClient { .. } => 17,
            Self::Fault(_) => 18,
            _ => 19,
        }
    }
}

/// A node's clock: it started somewhere and runs a little fast or slow.
#[derive(Debug, Clone, Copy)]
struct Clock {
    offset: u64,
    ppm: i64,
}

impl Clock {
    fn local(self, now: u64) -> u64 {
        (i128::from(self.offset + now) + i128::from(now) * i128::from(self.ppm) / 1_000_000) as u64
    }

    /// The first true time at which the local one is reached.
    fn truly(self, local: u64) -> u64 {
        let run = i128::from(local.saturating_sub(self.offset));
        let mut now = (run * 1_000_000 / i128::from(1_000_000 + self.ppm)) as u64;
        while self.local(now) < local {
            now += 1;
        }
        now
    }
}

/// What outlives a process.
#[derive(Debug)]
pub struct Machine {
    /// Counts the lives of its process.
    pub life: u64,
    /// The quorum store's id.
    pub store: StoreId,
    clock: Clock,
    /// While the process is stopped: until when.
    paused_until: Option<u64>,
    held: Vec<Event>,
    /// `[volume][data, metadata]`.
    pub disks: Vec<[Disk; 2]>,
    /// How many times slower than usual its disks are.
    pub slow: u64,
    /// A copy whose files cannot be used: a process that starts goes on without it.
    pub no_copy: [bool; 2],
    /// So many openings of a volume's store fail, for want of memory, say.
    pub fail_open: [u64; 2],
}

/// Why a run failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The rule.
    pub rule: &'static str,
    /// When, in microseconds of virtual time.
    pub at: u64,
    /// What was seen.
    pub what: String,
}

/// The whole cluster.
#[derive(Debug)]
pub struct World {
    /// True time in microseconds.
    pub now: u64,
    seq: u64,
    queue: BTreeMap<(u64, u64), Event>,
    pub(crate) rng: Rng,
    pub(crate) net: Net,
    pub(crate) machines: [Machine; NODES],
    pub(crate) procs: [Option<Proc>; NODES],
    pub(crate) quorum: Quorum,
    pub(crate) clients: [Client; 2],
    pub(crate) checks: Checkers,
    bugs: Switch,
    /// The checkers open the disks; else they see what a client sees.
    pub(crate) opens_disks: bool,
    /// What went wrong first.
    pub violation: Option<Violation>,
    hash: u64,
    trace: Option<Vec<String>>,
}

/// What is true of a device of a volume on a node: the same in all runs.
pub(crate) fn device(n: usize, v: usize) -> DeviceId {
    DeviceId(u128::from(n as u64 + 1) << 64 | u128::from(v as u64 + 1))
}

fn initial() -> State {
    let member = |n: usize| {
        let role = if n < 2 { Role::Node } else { Role::Witness };
        (node_id(n), Member::new(&format!("m{n}"), role, StoreId(n as u128 + 1), "-"))
    };
    let volume =
        |v: usize| (volume_id(v), Volume::new(node_id(v), [0, 1].map(|n| (node_id(n), device(n, v)))));
    State {
        format: FORMAT,
        cluster: ClusterId(1),
        lease_ms: 700,
        members: (0..NODES).map(member).collect(),
        volumes: [0, 1].map(volume).into(),
        addresses: [0, 1].map(|a| (ip(a), Address::new(node_id(a)))).into(),
        ..State::default()
    }
}

impl World {
    /// Three machines that are off.
    pub fn new(seed: u64, bug: Option<Bug>, trace: bool) -> Self {
        let mut rng = Rng::new(seed);
        let machines = std::array::from_fn(|n| Machine::new(n, &mut rng));
        let mut world = Self {
            now: 0,
            seq: 0,
            queue: BTreeMap::new(),
            net: Net::default(),
            machines,
            procs: [None, None, None],
            quorum: Quorum::new(initial()),
            clients: [Client::new(0), Client::new(1)],
            checks: Checkers::default(),
            bugs: Switch::new(bug),
            opens_disks: true,
            violation: None,
            hash: 0xcbf2_9ce4_8422_2325,
            trace: trace.then(Vec::new),
            rng,
        };
        (0..NODES).for_each(|n| world.start(n));
        world.push(MS, Event::QuorumTick);
        [0, 1].into_iter().for_each(|v| world.push(100 * MS, Event::ClientTick { v }));
        world
    }

    // ---- time ----

    pub(crate) fn push(&mut self, after: u64, event: Event) {
        self.seq += 1;
        self.queue.insert((self.now + after, self.seq), event);
    }

    /// Pushes behind what was pushed with the same `last`: a channel keeps its order.
    pub(crate) fn push_fifo(&mut self, last: &mut u64, after: u64, event: Event) {
        *last = (self.now + after).max(*last);
        self.push(*last - self.now, event);
    }

    /// Lets virtual time pass, up to `until` or the first violation.
    pub fn run_to(&mut self, until: u64) {
        while self.violation.is_none() {
            let Some((&(at, seq), _)) = self.queue.first_key_value().filter(|((at, _), _)| *at <= until)
            else {
                break;
            };
            let Some(event) = self.queue.remove(&(at, seq)) else { break };
            self.now = self.now.max(at);
            self.happen(event);
        }
        self.now = self.now.max(until);
    }

    fn happen(&mut self, event: Event) {
        if let Some((n, life)) = event.process() {
            let machine = &mut self.machines[n];
            if life.is_some_and(|life| life != machine.life) {
                return;
            }
            if machine.paused_until.is_some() {
                return machine.held.push(event);
            }
        }
        let (kind, who) = (event.kind(), event.process().map_or(9, |(n, _)| n as u64));
        self.mark("event", kind, who);
        self.dispatch(event);
        self.check_servers();
        self.check_majorities();
    }

    fn dispatch(&mut self, event: Event) {
        match event {
            Event::AgentTimer { n, at, .. } => self.agent_timer(n, at),
            Event::Agent { n, input, .. } => self.agent_input(n, *input),
            Event::Outcome { to, id, outcome, .. } => self.agent_outcome(to, id, outcome),
            Event::Order { n, order, .. } => self.take_order(n, order),
            Event::Address { n, order, .. } => self.take_address(n, order),
            Event::AddressGone { n, address, .. } => self.address_gone(n, address),
            Event::Hear { n, v, event, .. } => self.take_event(n, v, event),
            Event::Done { n, v, request, result, .. } => self.answered(n, v, request, result),
            Event::ReplicaTick { n, life, v } => {
                self.push(100 * MS, Event::ReplicaTick { n, life, v });
                self.replica_input(n, v, repl::Input::Tick);
                self.look_at_disk(n, v);
            }
            Event::DiskEnds { n, life, v, meta, op, flush, data } => {
                if self.machines[n].life == life {
                    self.disk_ends(n, v, (meta, op), flush, data);
                }
            }
            Event::DiskDone { n, v, op, result, .. } => {
                self.replica_input(n, v, repl::Input::DiskDone { op, result });
            }
            Event::Dial { life, volume } => self.dial(life, volume),
            Event::Pump { link, to, life } => self.pump(link, to, life),
            Event::LinkBreaks { link, end } => self.link_breaks(link, end),
            Event::LinkTimesOut { link, end, volume } => self.link_times_out(link, end, volume),
            Event::QuorumTick => self.quorum_tick(),
            Event::Append { to, term, len, committed, .. } => self.take_append(to, term, len, committed),
            Event::Appended { term, from, len, .. } => self.take_appended(term, from, len),
            Event::Propose { leader, proposer, command, .. } => {
                self.take_proposal(leader, proposer, *command)
            }
            Event::Replace(n) => self.replace_store(n),
            Event::ToServer { n, v, request, .. } => self.serve(n, v, request),
            Event::ToClient { v, op, reply } => self.client_reply(v, op, reply),
            Event::ClientTick { v } => self.client_tick(v),
            Event::ClientTimeout { v, op } => self.client_timeout(v, op),
            Event::Resume { n, life } => self.resume(n, life),
            Event::Fault(fault) => self.inflict(fault),
        }
    }

    /// The node's own clock.
    pub(crate) fn local(&self, n: usize) -> Time {
        Time::from_boot(Duration::from_micros(self.machines[n].clock.local(self.now)))
    }

    /// When the node's clock will show `time`; later than now.
    pub(crate) fn truly(&self, n: usize, time: Time) -> u64 {
        let nanos = time.as_nanos();
        self.machines[n].clock.truly(nanos.div_ceil(1000)).max(self.now + 1)
    }

    // ---- processes ----

    pub(crate) fn is_paused(&self, n: usize) -> bool {
        self.machines[n].paused_until.is_some()
    }

    /// Stops the process; what comes in waits.
    pub(crate) fn pause(&mut self, n: usize, ms: u64) {
        if self.procs[n].is_some() {
            let until = self.now + ms * MS;
            let until = self.machines[n].paused_until.map_or(until, |u| u.max(until));
            self.machines[n].paused_until = Some(until);
            let life = self.machines[n].life;
            self.push(until - self.now, Event::Resume { n, life });
        }
    }

    fn resume(&mut self, n: usize, life: u64) {
        let machine = &mut self.machines[n];
        if machine.life != life || machine.paused_until.is_none_or(|until| until > self.now) {
            return;
        }
        machine.paused_until = None;
        let held = std::mem::take(&mut machine.held);
        self.say(|| format!("node {n} wakes to {} events", held.len()));
        // In order; but when the agent's timer comes among them, nobody knows.
        let is_timer = |e: &Event| matches!(e, Event::AgentTimer { .. });
        let (timers, mut events): (Vec<_>, Vec<_>) = held.into_iter().partition(is_timer);
        for timer in timers {
            let at = self.rng.below(events.len() as u64 + 1) as usize;
            events.insert(at, timer);
        }
        for event in events {
            self.happen(event);
        }
    }

    /// Ends all pauses.
    pub(crate) fn wake_all(&mut self) {
        for n in 0..NODES {
            if self.machines[n].paused_until.is_some() {
                self.machines[n].paused_until = Some(self.now);
                let life = self.machines[n].life;
                self.push(0, Event::Resume { n, life });
            }
        }
    }

    /// SIGKILL, or with `power` a power cut: what its disks had not flushed is lost or torn.
    pub(crate) fn kill(&mut self, n: usize, power: bool) {
        if self.procs[n].take().is_none() {
            return;
        }
        let machine = &mut self.machines[n];
        machine.life += 1;
        machine.paused_until = None;
        machine.held.clear();
        for disk in machine.disks.iter_mut().flatten() {
            match power {
                true => disk.crash(&mut self.rng),
                false => disk.outlive(&mut self.rng),
            }
            disk.seal();
            disk.wrong.fail_flush = false;
        }
        self.links_of_dead(n);
        self.hint(n);
    }

    /// Of a process that is gone, others may be told before it is missed.
    fn hint(&mut self, gone: usize) {
        let hears = |n: &usize| *n != gone && self.net.both_ways(*n, gone);
        for n in (0..NODES).filter(hears).collect::<Vec<_>>() {
            if self.rng.chance(300) {
                let after = self.rng.between(MS, 20 * MS);
                self.tell_agent(n, after, Input::Gone { node: node_id(gone) });
            }
        }
    }

    // ---- checking ----

    pub(crate) fn bug(&self, bug: Bug) -> bool {
        self.bugs.is(bug)
    }

    pub(crate) fn judge(&mut self, rule: &'static str, verdict: Verdict) {
        if let (Err(what), None) = (verdict, &self.violation) {
            self.say(|| format!("{rule} VIOLATED: {what}"));
            self.violation = Some(Violation { rule, at: self.now, what });
        }
    }

    pub(crate) fn check_commit(
        &mut self,
        before: &State,
        after: &State,
        command: Option<&Command>,
        done: bool,
    ) {
        self.judge("R1", checkers::r1::committed(after));
        self.judge("R1", checkers::r1::elected(before, after, command));
        self.judge("growth", checkers::growth::grows(before, after));
        if let Some(command) = command.filter(|_| done) {
            let verdict = self.checks.r6.committed(command, after);
            self.judge("R6", verdict);
        }
    }

    /// The nodes that have a valid lease and the volume open.
    pub(crate) fn serving(&self, v: usize) -> Vec<usize> {
        (0..2).filter(|n| self.has_lease(*n) && self.has_led(*n, v)).collect()
    }

    /// The nodes that have a valid lease and the address.
    pub(crate) fn answering(&self, a: usize) -> Vec<usize> {
        let has = |n: &usize| self.procs[*n].as_ref().is_some_and(|p| p.addresses[a]);
        (0..2).filter(|n| has(n) && self.has_lease(*n)).collect()
    }

    fn check_servers(&mut self) {
        for i in 0..2 {
            let (volume, address) = (self.serving(i), self.answering(i));
            if volume.len() > 1 {
                self.judge("R5", checkers::r5::exclusive(&format!("vol{i}"), &volume));
            }
            if address.len() > 1 {
                self.judge("R5", checkers::r5::exclusive(&format!("address {i}"), &address));
            }
        }
    }

    /// R8: from which majorities a lease could come.
    fn check_majorities(&mut self) {
        let heard = |from: usize, to: usize| self.net.passes(from, to);
        let runs = std::array::from_fn(|n| self.procs[n].is_some() && !self.is_paused(n));
        self.checks.r8.sees(self.now, runs, heard);
    }

    // ---- the trace ----

    /// Folds an event into the trace's hash.
    pub(crate) fn mark(&mut self, kind: &str, a: u64, b: u64) {
        let words = [self.now, kind.len() as u64, a, b];
        for word in words {
            self.hash = (self.hash ^ word).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(23);
        }
    }

    /// Adds a line to the trace, if one is kept.
    pub(crate) fn say(&mut self, line: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{:>12.3} ms {}", self.now as f64 / 1000.0, line()));
        }
    }

    /// The trace's hash.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// The trace's lines.
    pub fn take_trace(&mut self) -> Vec<String> {
        self.trace.take().unwrap_or_default()
    }

    pub(crate) fn leader_of(&self, v: usize) -> Option<NodeId> {
        self.quorum.state().volumes.get(&volume_id(v)).and_then(|v| v.leader)
    }
}

impl Machine {
    fn new(n: usize, rng: &mut Rng) -> Self {
        // Up to 2 % each way: far more than a clock's, well within what the margin of a lease allows.
        let ppm = rng.below(40_001) as i64 - 20_000;
        let clock = Clock { offset: rng.between(10_000, 10_000_000) * MS, ppm };
        let disks = (0..if n < 2 { 2 } else { 0 }).map(|v| blank(n, v)).collect();
        Self {
            life: 1,
            store: StoreId(n as u128 + 1),
            clock,
            paused_until: None,
            held: Vec::new(),
            disks,
            slow: 1,
            no_copy: [false; 2],
            fail_open: [0; 2],
        }
    }
}

/// A formatted copy without data.
pub(crate) fn blank(n: usize, v: usize) -> [Disk; 2] {
    let format = repl::Replica::format(&config(), &identity(n, v), SIZE);
    let (len, writes) = format.unwrap_or_else(|e| unreachable!("a volume of {SIZE} bytes is possible: {e}"));
    let mut meta = Disk::new(len);
    writes.iter().for_each(|(at, bytes)| meta.write(*at, bytes));
    meta.seal();
    [Disk::new(SIZE), meta]
}

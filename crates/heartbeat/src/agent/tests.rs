//! Whole clusters of agents in virtual time, over a model of the quorum, the network and the replicas.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::state::{Address, Command, FORMAT, Status as Standing, Volume, apply};
use crate::{DeviceId, Epoch, Generation};

const A: NodeId = NodeId(1);
const B: NodeId = NodeId(2);
const W: NodeId = NodeId(3);
const ALL: [NodeId; 3] = [A, B, W];

fn vol(n: u8) -> VolumeId {
    VolumeId::parse(&format!("vol{n}")).unwrap()
}

fn ip(n: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 0, 0, n))
}

fn device(node: NodeId, volume: &VolumeId) -> DeviceId {
    DeviceId(u128::from(node.0) * 1000 + u128::from(volume.as_str().as_bytes()[3]))
}

fn initial() -> State {
    let member = |n: NodeId, role| (n, Member::new(&format!("m{}", n.0), role, StoreId(n.0.into()), "-"));
    let volume = |n: u8, home| (vol(n), Volume::new(home, [A, B].map(|m| (m, device(m, &vol(n))))));
    State {
        format: FORMAT,
        cluster: ClusterId(1),
        lease_ms: 700,
        members: [member(A, Role::Node), member(B, Role::Node), member(W, Role::Witness)].into(),
        volumes: [volume(1, A), volume(2, B)].into(),
        addresses: [(ip(1), Address::new(A)), (ip(2), Address::new(B))].into(),
        ..State::default()
    }
}

/// What one process is made of besides its agent.
struct Node {
    agent: Agent,
    life: u64,
    paused_until: u64,
    fences: FenceLog,
    appended: usize,
    /// Volumes open here, with their epoch; addresses that are here.
    open: BTreeMap<VolumeId, Epoch>,
    addresses: BTreeSet<IpAddr>,
    leads: BTreeMap<VolumeId, Lead>,
}

type Members = BTreeSet<(NodeId, DeviceId)>;

/// What the replication layer holds of one leadership: acknowledgements count on both sets.
struct Lead {
    epoch: Epoch,
    in_sync: Members,
    pending: Option<Members>,
    serves: bool,
}

impl Lead {
    fn counted(&self) -> Members {
        self.in_sync.iter().chain(self.pending.iter().flatten()).copied().collect()
    }
}

enum Event {
    Input {
        to: NodeId,
        life: u64,
        input: Input,
    },
    Propose {
        from: NodeId,
        life: u64,
        id: ProposalId,
        command: Command,
    },
    /// The replicated log's next entries reach this member.
    Replicate {
        to: NodeId,
        life: u64,
    },
    /// Likewise, by the leader's heartbeat.
    Poll {
        to: NodeId,
        life: u64,
    },
    /// The replication layer looks at its link.
    Link {
        at: NodeId,
        life: u64,
        volume: VolumeId,
        epoch: Epoch,
    },
    /// A flush ends, and with it what needed one, once each copy in the set answers.
    Flush {
        at: NodeId,
        life: u64,
        then: VolumeReport,
    },
}

struct World {
    now: u64,
    seq: u64,
    queue: BTreeMap<(u64, u64), Event>,
    nodes: BTreeMap<NodeId, Node>,
    cut: BTreeSet<(NodeId, NodeId)>,
    log: Vec<(Command, State)>,
    /// Durable: each replica's epoch.
    epochs: BTreeMap<(NodeId, VolumeId), Epoch>,
    links: BTreeMap<(NodeId, VolumeId), bool>,
    replica_cut: bool,
    drop_every: u64,
    dropped_outcomes: bool,
    trace: VecDeque<String>,
}

const MS: u64 = 1000;

fn time(us: u64) -> Time {
    Time::from_boot(Duration::from_micros(us))
}

impl World {
    fn new() -> Self {
        let state = apply(&State::default(), &Command::Bootstrap(Box::new(initial()))).unwrap();
        let mut world = Self {
            now: 10_000 * MS,
            seq: 0,
            queue: BTreeMap::new(),
            nodes: BTreeMap::new(),
            cut: BTreeSet::new(),
            log: vec![(Command::Bootstrap(Box::new(initial())), state)],
            epochs: BTreeMap::new(),
            links: BTreeMap::new(),
            replica_cut: false,
            drop_every: 0,
            dropped_outcomes: false,
            trace: VecDeque::new(),
        };
        ALL.into_iter().for_each(|n| world.start(n));
        world
    }

    fn started() -> Self {
        let mut world = Self::new();
        world.run(6000);
        world.assert_home();
        world
    }

    fn state(&self) -> &State {
        &self.log.last().unwrap().1
    }

    fn note(&mut self, line: String) {
        if self.trace.len() > 4000 {
            self.trace.pop_front();
        }
        self.trace.push_back(format!("{:>9.3} {line}", self.now as f64 / 1000.0));
    }

    // ---- faults ----

    fn start(&mut self, me: NodeId) {
        self.seq += 1;
        let life = self.seq;
        let config = AgentConfig::new(me, ClusterId(1), Incarnation(life), StoreId(me.0.into()));
        let fences = FenceLog::new();
        let agent = Agent::new(config, ALL, fences.clone(), time(self.now));
        let (open, addresses) = (BTreeMap::new(), BTreeSet::new());
        let leads = BTreeMap::new();
        let node = Node { agent, life, paused_until: 0, fences, appended: 0, open, addresses, leads };
        self.nodes.insert(me, node);
        self.note(format!("start {me} life {life}"));
        self.push(20 * MS, Event::Poll { to: me, life });
    }

    fn kill(&mut self, node: NodeId) {
        self.note(format!("kill {node}"));
        self.nodes.remove(&node);
    }

    fn pause(&mut self, node: NodeId, ms: u64) {
        self.note(format!("pause {node} for {ms} ms"));
        let until = self.now + ms * MS;
        if let Some(n) = self.nodes.get_mut(&node) {
            n.paused_until = until;
        }
    }

    fn set_cut(&mut self, a: NodeId, b: NodeId, on: bool) {
        self.note(format!("cut {a} {b}: {on}"));
        for pair in [(a, b), (b, a)] {
            if on {
                self.cut.insert(pair)
            } else {
                self.cut.remove(&pair)
            };
        }
    }

    fn heal(&mut self) {
        self.note("heal".into());
        self.cut.clear();
        self.drop_every = 0;
        for n in ALL {
            if !self.nodes.contains_key(&n) {
                self.start(n);
            }
            self.nodes.get_mut(&n).unwrap().paused_until = 0;
        }
    }

    // ---- time ----

    fn push(&mut self, after: u64, event: Event) {
        self.seq += 1;
        self.queue.insert((self.now + after, self.seq), event);
    }

    fn runs(&self, n: &Node) -> bool {
        n.paused_until <= self.now
    }

    fn next_due(&self) -> u64 {
        let timer = |n: &Node| {
            let due = n.agent.poll_timeout().map_or(u64::MAX, |t| t.since_boot().as_micros() as u64 + 1);
            due.max(n.paused_until)
        };
        let timers = self.nodes.values().map(timer).min();
        let events = self.queue.keys().next().map(|k| k.0);
        timers.into_iter().chain(events).min().unwrap_or(u64::MAX).max(self.now)
    }

    fn run(&mut self, ms: u64) {
        let end = self.now + ms * MS;
        let mut same = 0;
        while self.next_due() <= end {
            let due = self.next_due();
            same = if due == self.now { same + 1 } else { 0 };
            assert!(same < 5000, "time stands still at {}", self.now);
            self.now = due;
            self.step();
            self.check();
        }
        self.now = end;
    }

    fn run_until(&mut self, what: &str, within_ms: u64, done: impl Fn(&Self) -> bool) -> u64 {
        let start = self.now;
        while !done(self) {
            assert!(self.now < start + within_ms * MS, "{what}: not within {within_ms} ms\n{}", self.dump());
            self.run(1);
        }
        (self.now - start) / MS
    }

    fn step(&mut self) {
        if let Some(first) = self.queue.first_entry().filter(|e| e.key().0 <= self.now) {
            let event = first.remove();
            return self.happen(event);
        }
        let now = self.now;
        for id in ALL {
            let Some(n) = self.nodes.get_mut(&id).filter(|n| n.paused_until <= now) else { continue };
            if n.agent.poll_timeout().is_some_and(|t| t <= time(now)) {
                n.agent.handle_timeout(time(now));
                self.obey(id);
            }
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Input { to, life, input } => {
                let Some(n) = self.nodes.get_mut(&to).filter(|n| n.life == life) else { return };
                if n.paused_until > self.now {
                    let wait = n.paused_until - self.now;
                    return self.push(wait, Event::Input { to, life, input });
                }
                if !matches!(input, Input::Message { .. }) {
                    let line = match &input {
                        Input::Committed { index, .. } => format!("{to} sees state {index}"),
                        other => format!("{to} <- {other:?}"),
                    };
                    self.note(line);
                }
                let now = time(self.now);
                self.nodes.get_mut(&to).unwrap().agent.handle(now, input);
                self.obey(to);
            }
            Event::Propose { from, life, id, command } => self.commit(from, life, id, command),
            Event::Replicate { to, life } => self.replicate(to, life),
            Event::Poll { to, life } if self.nodes.get(&to).is_some_and(|n| n.life == life) => {
                self.replicate(to, life);
                self.push(50 * MS, Event::Poll { to, life });
            }
            Event::Poll { .. } => {}
            Event::Link { at, life, volume, epoch } => self.look_at_link(at, life, volume, epoch),
            Event::Flush { at, life, then } => self.flush(at, life, then),
        }
    }

    // ---- network and quorum ----

    fn linked(&self, a: NodeId, b: NodeId) -> bool {
        !self.cut.contains(&(a, b)) && !self.cut.contains(&(b, a))
    }

    /// The members that run and are reached from `from`, if need be through one other.
    fn reached(&self, from: NodeId) -> Vec<NodeId> {
        let up = |n: &NodeId| self.nodes.get(n).is_some_and(|n| self.runs(n));
        let direct = |a: NodeId, b: NodeId| a == b || self.linked(a, b);
        ALL.into_iter()
            .filter(up)
            .filter(|n| direct(from, *n) || ALL.iter().any(|r| up(r) && direct(from, *r) && direct(*r, *n)))
            .collect()
    }

    fn commit(&mut self, from: NodeId, life: u64, id: ProposalId, command: Command) {
        let Some(n) = self.nodes.get(&from).filter(|n| n.life == life) else { return };
        if !self.runs(n) || self.reached(from).len() < 2 {
            let input = Input::Outcome { id, outcome: Outcome::NotProposed };
            return self.push(100 * MS, Event::Input { to: from, life, input });
        }
        let result = apply(self.state(), &command);
        self.note(format!("{} {command:?} by {from}: {:?}", self.log.len() + 1, result.as_ref().map(|_| ())));
        let (next, result) = match result {
            Ok(next) => (next, Ok(())),
            Err(why) => (self.state().clone(), Err(why)),
        };
        self.check_step(&next);
        self.log.push((command, next));
        let index = self.log.len() as u64;
        // A majority holds it durably before it counts as committed.
        for to in self.reached(from) {
            self.append(to);
            let life = self.nodes[&to].life;
            self.push(MS + self.seq % 5 * MS, Event::Replicate { to, life });
        }
        let lost = self.dropped_outcomes && self.seq.is_multiple_of(3);
        let outcome = if lost { Outcome::Unknown } else { Outcome::Settled { index, result } };
        self.push(2 * MS, Event::Input { to: from, life, input: Input::Outcome { id, outcome } });
    }

    fn append(&mut self, to: NodeId) {
        let n = self.nodes.get_mut(&to).unwrap();
        for (i, (command, _)) in self.log.iter().enumerate().skip(n.appended) {
            n.fences.appended(i as u64 + 1, command);
        }
        n.appended = self.log.len();
    }

    fn replicate(&mut self, to: NodeId, life: u64) {
        let Some(n) = self.nodes.get(&to).filter(|n| n.life == life) else { return };
        if self.runs(n) && self.reached(to).len() >= 2 {
            self.append(to);
            let (index, state) = (self.log.len() as u64, Arc::new(self.state().clone()));
            self.push(0, Event::Input { to, life, input: Input::Committed { index, state } });
        }
    }

    // ---- what the agent orders ----

    fn obey(&mut self, me: NodeId) {
        while let Some(out) = self.nodes.get_mut(&me).unwrap().agent.poll_output() {
            let life = self.nodes[&me].life;
            match out {
                Output::Send { to, message } => self.deliver(me, to, message),
                Output::Propose { id, command } => {
                    self.push(MS, Event::Propose { from: me, life, id, command });
                }
                Output::Volume(order) => self.obey_volume(me, order),
                Output::Address(order) => self.obey_address(me, order),
                Output::StepDown => self.note(format!("{me} steps down")),
                Output::Resume => self.note(format!("{me} resumes")),
            }
        }
    }

    fn deliver(&mut self, from: NodeId, to: NodeId, message: Message) {
        self.seq += 1;
        let lost = self.drop_every > 0 && self.seq.is_multiple_of(self.drop_every);
        if lost || self.cut.contains(&(from, to)) {
            return;
        }
        let Some(life) = self.nodes.get(&to).map(|n| n.life) else { return };
        let message = Message::decode(&message.encode()).unwrap();
        let delay = 200 + self.seq % 7 * 100;
        self.push(delay, Event::Input { to, life, input: Input::Message { from, message } });
    }

    fn report(&mut self, to: NodeId, after: u64, report: VolumeReport) {
        let life = self.nodes[&to].life;
        self.push(after, Event::Input { to, life, input: Input::Volume(report) });
    }

    fn obey_volume(&mut self, me: NodeId, order: VolumeOrder) {
        self.note(format!("{me} -> {order:?}"));
        match order {
            VolumeOrder::RaiseEpoch { volume, epoch } => {
                let held = self.epochs.entry((me, volume.clone())).or_default();
                *held = epoch.max(*held);
                let (epoch, device) = (*held, device(me, &volume));
                let generation = Generation::default();
                let consistent = true;
                self.report(
                    me,
                    5 * MS,
                    VolumeReport::Raised { volume, epoch, generation, device, consistent },
                );
            }
            VolumeOrder::Lead { volume, epoch, in_sync, .. } => {
                assert!(in_sync.iter().any(|(n, _)| *n == me), "R1: a leader is in sync");
                assert!(self.epochs[&(me, volume.clone())] >= epoch, "R4: raised before it is opened");
                let n = self.nodes.get_mut(&me).unwrap();
                n.open.insert(volume.clone(), epoch);
                n.leads.insert(volume.clone(), Lead { epoch, in_sync, pending: None, serves: false });
                let (at, life) = (me, n.life);
                self.links.remove(&(at, volume.clone()));
                self.push(300 * MS, Event::Link { at, life, volume: volume.clone(), epoch });
                self.begin_flush(me, 5 * MS, VolumeReport::Opened { volume, epoch });
            }
            VolumeOrder::SetPending { volume, epoch, union } => self.set_pending(me, volume, epoch, union),
            VolumeOrder::UpdateInSync { volume, epoch, in_sync, .. } => {
                if let Some(lead) = self.lead(me, &volume, epoch) {
                    (lead.in_sync, lead.pending) = (in_sync, None);
                }
            }
            VolumeOrder::Retire { volume, epoch } => {
                if let Some(lead) = self.lead(me, &volume, epoch) {
                    lead.serves = false;
                }
                self.begin_flush(me, 3 * MS, VolumeReport::Closed { volume, epoch, clean: true });
            }
            VolumeOrder::Abandon { volume, .. } => {
                let n = self.nodes.get_mut(&me).unwrap();
                n.open.remove(&volume);
                n.leads.remove(&volume);
            }
            VolumeOrder::Follow { .. } => {}
        }
    }

    fn lead(&mut self, at: NodeId, volume: &VolumeId, epoch: Epoch) -> Option<&mut Lead> {
        self.nodes.get_mut(&at)?.leads.get_mut(volume).filter(|l| l.epoch == epoch)
    }

    /// A copy that is not synced now is refused, as lost.
    fn set_pending(&mut self, me: NodeId, volume: VolumeId, epoch: Epoch, union: Members) {
        let peer = if me == A { B } else { A };
        if self.lead(me, &volume, epoch).is_none() {
            return;
        }
        if !self.copy_answers(peer) || self.links.get(&(me, volume.clone())) != Some(&true) {
            self.links.insert((me, volume.clone()), false);
            return self.report(me, 0, VolumeReport::PeerLost { volume, epoch, node: peer, disk: false });
        }
        self.lead(me, &volume, epoch).unwrap().pending = Some(union.clone());
        self.begin_flush(me, 2 * MS, VolumeReport::UnionHeld { volume, epoch, union });
    }

    fn copy_answers(&self, peer: NodeId) -> bool {
        let up = self.nodes.get(&peer).is_some_and(|n| self.runs(n));
        up && self.linked(A, B) && !self.replica_cut
    }

    fn begin_flush(&mut self, at: NodeId, after: u64, then: VolumeReport) {
        let life = self.nodes[&at].life;
        self.push(after, Event::Flush { at, life, then });
    }

    fn flush(&mut self, at: NodeId, life: u64, then: VolumeReport) {
        let (VolumeReport::Opened { volume, epoch }
        | VolumeReport::Closed { volume, epoch, .. }
        | VolumeReport::UnionHeld { volume, epoch, .. }) = &then
        else {
            unreachable!("needs no flush: {then:?}");
        };
        let Some(n) = self.nodes.get(&at).filter(|n| n.life == life) else { return };
        let Some(lead) = n.leads.get(volume).filter(|l| l.epoch == *epoch) else { return };
        let held = lead.counted().iter().all(|(peer, _)| *peer == at || self.copy_answers(*peer));
        if !held || !self.runs(n) {
            return self.push(10 * MS, Event::Flush { at, life, then });
        }
        let n = self.nodes.get_mut(&at).unwrap();
        match &then {
            VolumeReport::Closed { volume, .. } => {
                n.open.remove(volume);
                n.leads.remove(volume);
            }
            VolumeReport::UnionHeld { volume, union, .. } => {
                if n.leads[volume].pending.as_ref() != Some(union) {
                    return;
                }
            }
            _ => n.leads.get_mut(volume).unwrap().serves = true,
        }
        self.report(at, 0, then);
    }

    /// Every 300 ms: the peer's copy is complete if its node is within reach, else it is lost.
    fn look_at_link(&mut self, at: NodeId, life: u64, volume: VolumeId, epoch: Epoch) {
        let open = |n: &&Node| n.life == life && n.open.get(&volume) == Some(&epoch);
        let Some(n) = self.nodes.get(&at).filter(open) else { return };
        if !self.runs(n) {
            return self.push(300 * MS, Event::Link { at, life, volume, epoch });
        }
        let node = if at == A { B } else { A };
        let linked = self.copy_answers(node);
        let device = device(node, &volume);
        if self.links.insert((at, volume.clone()), linked) != Some(linked) {
            let (volume, disk) = (volume.clone(), false);
            let report = if linked {
                VolumeReport::PeerSynced { volume, epoch, node, device }
            } else {
                VolumeReport::PeerLost { volume, epoch, node, disk }
            };
            self.report(at, 0, report);
        }
        self.push(300 * MS, Event::Link { at, life, volume, epoch });
    }

    fn obey_address(&mut self, me: NodeId, order: AddressOrder) {
        self.note(format!("{me} -> {order:?}"));
        let n = self.nodes.get_mut(&me).unwrap();
        let report = match order {
            AddressOrder::Take(ip) => {
                n.addresses.insert(ip);
                AddressReport::Taken(ip)
            }
            AddressOrder::Drop(ip) => {
                n.addresses.remove(&ip);
                AddressReport::Dropped(ip)
            }
        };
        let life = n.life;
        self.push(MS, Event::Input { to: me, life, input: Input::Address(report) });
    }

    // ---- what must hold ----

    fn serves(&self, node: NodeId) -> Option<&Node> {
        self.nodes.get(&node).filter(|n| n.agent.lease().is_valid(time(self.now)))
    }

    /// Who holds, with a lease, what is needed to serve it.
    fn holders(&self, volume: &VolumeId) -> Vec<NodeId> {
        ALL.into_iter().filter(|n| self.serves(*n).is_some_and(|n| n.open.contains_key(volume))).collect()
    }

    fn leader_serving(&self, volume: &VolumeId) -> Vec<NodeId> {
        let open = |n: &Node| n.leads.get(volume).is_some_and(|l| l.serves);
        ALL.into_iter().filter(|n| self.serves(*n).is_some_and(open)).collect()
    }

    fn owner_serving(&self, ip: IpAddr) -> Vec<NodeId> {
        ALL.into_iter().filter(|n| self.serves(*n).is_some_and(|n| n.addresses.contains(&ip))).collect()
    }

    fn check(&self) {
        for n in [1, 2] {
            let leaders = self.holders(&vol(n));
            assert!(leaders.len() <= 1, "R5: vol{n} is served by {leaders:?}\n{}", self.dump());
            let owners = self.owner_serving(ip(n));
            assert!(owners.len() <= 1, "R5: address {n} is served by {owners:?}\n{}", self.dump());
        }
        for (id, n) in &self.nodes {
            for (name, lead) in &n.leads {
                let v = &self.state().volumes[name];
                let counts = v.epoch != lead.epoch || v.in_sync.is_subset(&lead.counted());
                assert!(counts, "R1: {id} acknowledges {name} without {:?}\n{}", v.in_sync, self.dump());
            }
        }
    }

    fn check_step(&self, next: &State) {
        for (id, v) in &next.volumes {
            let before = &self.state().volumes[id];
            assert!(before.epoch <= v.epoch && before.revision <= v.revision);
            assert!(v.leader.is_none_or(|l| v.has_in_sync(l)), "R1: {id} {v:?}");
        }
    }

    fn assert_home(&self) {
        assert!(self.is_home(), "not at home:\n{}", self.dump());
    }

    fn is_home(&self) -> bool {
        let at = |n: u8, node| {
            self.leader_serving(&vol(n)) == [node]
                && self.owner_serving(ip(n)) == [node]
                && self.state().volumes[&vol(n)].in_sync.len() == 2
        };
        at(1, A) && at(2, B)
    }

    fn dump(&self) -> String {
        let mut text: String = self.trace.iter().map(|l| format!("{l}\n")).collect();
        text.push_str(&format!("{:#?}\n", self.state()));
        for (id, n) in &self.nodes {
            text.push_str(&format!("{id}: {:#?}\n", n.agent.status(time(self.now)).waits));
        }
        text
    }

    fn up(&self, node: NodeId) -> bool {
        self.state().members[&node].status == Standing::Up
    }
}

#[test]
fn a_cold_start_brings_everything_home() {
    let mut world = World::new();
    let took = world.run_until("home", 6000, World::is_home);
    assert!(took >= 700, "a voter grants nothing for a lease's length after its start");
    assert!(world.nodes[&A].agent.status(time(world.now)).waits.is_empty());
}

#[test]
fn a_killed_node_is_replaced_within_a_second() {
    let mut world = World::started();
    world.kill(A);
    let took = world
        .run_until("takeover", 1000, |w| w.leader_serving(&vol(1)) == [B] && w.owner_serving(ip(1)) == [B]);
    assert!(took >= 500, "{took}");
    assert!(!world.up(A));
    assert_eq!(world.state().volumes[&vol(1)].in_sync, [(B, device(B, &vol(1)))].into());
}

#[test]
fn the_successor_says_that_it_waits_for_the_lease() {
    let mut world = World::started();
    world.kill(A);
    world.run_until("fence", 800, |w| !w.up(A));
    world.run(20);
    let waits = world.nodes[&B].agent.status(time(world.now)).waits;
    assert!(waits.iter().any(|w| w.starts_with("vol1: waits 0.") && w.ends_with("lease of m1")), "{waits:?}");
}

#[test]
fn a_killed_node_returns_and_gets_its_things_back() {
    let mut world = World::started();
    world.kill(A);
    world.run(3000);
    world.start(A);
    world.run_until("home", 8000, World::is_home);
}

#[test]
fn a_quick_restart_is_noticed_though_nobody_missed_the_node() {
    let mut world = World::started();
    let stint = world.state().members[&A].stint;
    let epoch = world.state().volumes[&vol(1)].epoch;
    world.kill(A);
    world.run(100);
    world.start(A);
    world.run_until("home", 8000, World::is_home);
    assert!(world.state().members[&A].stint > stint, "admitted anew");
    assert!(world.state().volumes[&vol(1)].epoch > epoch, "an old life's leadership is over (R4)");
}

#[test]
fn a_cut_between_the_nodes_leaves_one_survivor_for_everything() {
    let mut world = World::started();
    world.set_cut(A, B, true);
    world.run_until("survivor", 1500, |w| {
        [1, 2].iter().all(|n| w.leader_serving(&vol(*n)) == [A] && w.owner_serving(ip(*n)) == [A])
    });
    assert!(world.up(A) && !world.up(B), "of equals the lower id survives (R6)");
    let membership = world.state().membership_epoch;
    world.run(10_000);
    assert_eq!(world.state().membership_epoch, membership, "the other does not come back into a cut");
    world.set_cut(A, B, false);
    world.run_until("home", 8000, World::is_home);
}

#[test]
fn a_cut_in_one_direction_is_a_cut() {
    for pair in [(A, B), (B, A)] {
        let mut world = World::started();
        world.cut.insert(pair);
        world.run(3000);
        assert!(world.up(A) && !world.up(B), "{pair:?}");
        world.run(8000);
        assert!(!world.up(B), "it does not come back into a cut");
        world.heal();
        world.run_until("home", 8000, World::is_home);
    }
}

#[test]
fn the_node_with_more_in_sync_copies_survives_a_cut() {
    let mut world = World::started();
    world.kill(A);
    world.run(1500);
    world.start(A);
    // Back in, but its copies are not in sync yet.
    world.run_until("return", 4000, |w| w.up(A));
    world.set_cut(A, B, true);
    world.run(2500);
    assert!(world.up(B) && !world.up(A));
}

#[test]
fn a_node_paused_past_its_lease_wakes_without_any_rights() {
    let mut world = World::started();
    world.pause(A, 4000);
    world.run_until("takeover", 1100, |w| w.leader_serving(&vol(1)) == [B]);
    world.run(4000);
    assert!(world.up(B), "the sleeper fenced nobody when it woke");
    world.run_until("home", 8000, World::is_home);
}

#[test]
fn without_a_quorum_a_node_steps_down_and_says_why() {
    let mut world = World::started();
    world.kill(B);
    world.kill(W);
    world.run(1500);
    assert!(world.leader_serving(&vol(1)).is_empty() && world.owner_serving(ip(1)).is_empty());
    let waits = world.nodes[&A].agent.status(time(world.now)).waits;
    assert_eq!(waits[0], "no quorum: 2 of 3 voters do not answer (m2, m3)");
    world.heal();
    world.run_until("home", 10_000, World::is_home);
}

#[test]
fn a_drained_node_gives_everything_away_as_planned_moves_and_gets_it_back() {
    let mut world = World::started();
    let epoch = world.state().volumes[&vol(2)].epoch;
    let life = world.nodes[&A].life;
    world.push(0, Event::Input { to: A, life, input: Input::Drain { node: B, on: true } });
    let took = world
        .run_until("drained", 200, |w| w.leader_serving(&vol(2)) == [A] && w.owner_serving(ip(2)) == [A]);
    assert!(took < 100, "{took} ms in a planned move");
    let v = &world.state().volumes[&vol(2)];
    assert_eq!((v.in_sync.len(), v.epoch), (2, epoch.next()), "a planned move keeps the in-sync set");
    assert!(world.up(B));
    world.push(0, Event::Input { to: A, life, input: Input::Drain { node: B, on: false } });
    world.run_until("home", 6000, World::is_home);
}

#[test]
fn a_node_that_ends_as_soon_as_it_has_handed_over_does_not_keep_the_next_leader_from_opening() {
    let mut world = World::started();
    let life = world.nodes[&A].life;
    world.push(0, Event::Input { to: A, life, input: Input::Drain { node: A, on: true } });
    world.run_until("moved", 200, |w| w.state().volumes[&vol(1)].leader == Some(B));
    world.kill(A);
    world.run_until("served", 2000, |w| w.leader_serving(&vol(1)) == [B]);
}

#[test]
fn a_replica_that_is_lost_while_the_volume_is_opened_is_left_behind() {
    let mut world = World::started();
    let life = world.nodes[&A].life;
    world.push(0, Event::Input { to: A, life, input: Input::Drain { node: A, on: true } });
    world.run_until("moved", 200, |w| w.state().volumes[&vol(1)].leader == Some(B));
    world.replica_cut = true;
    world.run_until("served", 4000, |w| w.leader_serving(&vol(1)) == [B]);
    assert!(world.up(A));
}

#[test]
fn a_replica_that_dies_while_the_volume_is_closed_does_not_hold_up_the_close() {
    let mut world = World::started();
    let epoch = world.state().volumes[&vol(2)].epoch;
    let life = world.nodes[&B].life;
    world.push(0, Event::Input { to: B, life, input: Input::Drain { node: B, on: true } });
    world.run_until("closing", 200, |w| !w.nodes[&B].leads[&vol(2)].serves);
    world.kill(A);
    world.run_until("opened again", 3000, |w| w.leader_serving(&vol(2)) == [B]);
    assert!(world.state().volumes[&vol(2)].epoch > epoch, "what is closed is opened in a new epoch");
}

#[test]
fn a_copy_that_dies_as_it_joins_is_no_longer_waited_for() {
    let mut world = World::started();
    world.kill(B);
    world.run(3000);
    world.start(B);
    world.run_until("joins", 8000, |w| w.nodes[&A].leads[&vol(1)].pending.is_some());
    world.kill(B);
    let alone: Members = [(A, device(A, &vol(1)))].into();
    world.run_until("alone", 3000, |w| w.nodes[&A].leads[&vol(1)].counted() == alone);
    world.start(B);
    world.run_until("home", 10_000, World::is_home);
}

#[test]
fn an_old_answer_does_not_count_for_a_newer_join() {
    let mut world = World::started();
    world.replica_cut = true;
    world.run_until("left", 3000, |w| w.state().volumes[&vol(1)].in_sync.len() == 1);
    world.replica_cut = false;
    world.run_until("joins", 2000, |w| w.nodes[&A].leads[&vol(1)].pending.is_some());
    // The link is lost and back before the first answer; the second order is refused.
    let epoch = world.state().volumes[&vol(1)].epoch;
    let (volume, device) = (vol(1), device(B, &vol(1)));
    let lost = VolumeReport::PeerLost { volume: volume.clone(), epoch, node: B, disk: false };
    let synced = VolumeReport::PeerSynced { volume: volume.clone(), epoch, node: B, device };
    let union = world.nodes[&A].leads[&vol(1)].pending.clone().unwrap();
    let now = time(world.now);
    let agent = &mut world.nodes.get_mut(&A).unwrap().agent;
    agent.handle(now, Input::Volume(lost));
    agent.handle(now, Input::Volume(synced));
    agent.handle(now, Input::Volume(VolumeReport::UnionHeld { volume, epoch, union }));
    let orders: Vec<Output> = std::iter::from_fn(|| agent.poll_output()).collect();
    let joins = |o: &Output| matches!(o, Output::Propose { command: Command::JoinInSync { .. }, .. });
    assert!(!orders.iter().any(joins), "{orders:?}");
}

#[test]
fn a_lost_replica_link_alone_costs_the_replica_not_the_node() {
    let mut world = World::started();
    world.replica_cut = true;
    world.run(1500);
    assert_eq!(world.state().volumes[&vol(1)].in_sync.len(), 2, "it may be a cut: wait for the fence");
    world.run_until("left", 1000, |w| w.state().volumes[&vol(1)].in_sync.len() == 1);
    assert!(world.up(B));
    world.replica_cut = false;
    world.run_until("in sync again", 2000, World::is_home);
}

#[test]
fn a_failed_disk_of_the_leader_moves_the_volume() {
    let mut world = World::started();
    world.report(A, 0, VolumeReport::DiskFailed { volume: vol(1) });
    world.run_until("moved", 200, |w| w.leader_serving(&vol(1)) == [B]);
}

#[test]
fn a_leader_with_a_failed_disk_throws_no_copy_out() {
    let mut world = World::started();
    let epoch = world.state().volumes[&vol(1)].epoch;
    // Its links end with its disk: what it says of the others is worth nothing.
    world.report(A, 0, VolumeReport::DiskFailed { volume: vol(1) });
    world.report(A, 0, VolumeReport::PeerLost { volume: vol(1), epoch, node: B, disk: true });
    world.run_until("moved", 200, |w| w.leader_serving(&vol(1)) == [B]);
}

#[test]
fn a_failed_disk_never_costs_the_copy_of_a_node_that_is_silent_just_now() {
    let mut met = 0;
    for silent in (360..460).step_by(4) {
        let mut world = World::started();
        world.pause(B, 3000);
        world.run(silent);
        if world.state().volumes[&vol(1)].in_sync.len() < 2 {
            continue;
        }
        met += 1;
        world.report(A, 0, VolumeReport::DiskFailed { volume: vol(1) });
        world.run_until("home", 10_000, |w| w.leader_serving(&vol(1)) == [B]);
    }
    assert!(met > 10, "{met}");
}

#[test]
fn a_lost_replica_with_a_failed_disk_leaves_at_once() {
    let mut world = World::started();
    let epoch = world.state().volumes[&vol(1)].epoch;
    world.report(A, 0, VolumeReport::PeerLost { volume: vol(1), epoch, node: B, disk: true });
    world.run_until("left", 100, |w| w.state().volumes[&vol(1)].in_sync.len() == 1);
}

#[test]
fn both_nodes_down_and_one_back_serves_everything_it_has() {
    let mut world = World::started();
    world.kill(A);
    world.kill(B);
    world.run(2000);
    world.start(A);
    world.run_until("one serves", 8000, |w| {
        [1, 2].iter().all(|n| w.leader_serving(&vol(*n)) == [A] && w.owner_serving(ip(*n)) == [A])
    });
}

#[test]
fn a_volume_waits_for_the_only_node_that_has_all_of_it() {
    let mut world = World::started();
    world.kill(A);
    world.run(2000);
    world.kill(B);
    world.start(A);
    world.run(8000);
    assert!(world.leader_serving(&vol(1)).is_empty() && world.leader_serving(&vol(2)).is_empty());
    let waits = world.nodes[&A].agent.status(time(world.now)).waits;
    assert!(waits.iter().any(|w| w.contains("waits for m2")), "{waits:?}");
    world.start(B);
    world.run_until("home", 10_000, World::is_home);
}

#[derive(Debug, Clone)]
enum Fault {
    Kill(NodeId),
    Start(NodeId),
    Pause(NodeId, u64),
    Cut(NodeId, NodeId, bool),
    OneWay(NodeId, NodeId),
    Heal,
    Loss(u64),
    LoseOutcomes(bool),
    Drain(NodeId, bool),
    PeerLost(NodeId, bool),
}

fn any_node() -> impl Strategy<Value = NodeId> {
    prop_oneof![Just(A), Just(B), Just(W)]
}

fn any_fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        any_node().prop_map(Fault::Kill),
        any_node().prop_map(Fault::Start),
        (any_node(), 50..3000u64).prop_map(|(n, ms)| Fault::Pause(n, ms)),
        (any_node(), any_node(), any::<bool>()).prop_map(|(a, b, on)| Fault::Cut(a, b, on)),
        (any_node(), any_node()).prop_map(|(a, b)| Fault::OneWay(a, b)),
        Just(Fault::Heal),
        (2..9u64).prop_map(Fault::Loss),
        any::<bool>().prop_map(Fault::LoseOutcomes),
        (prop_oneof![Just(A), Just(B)], any::<bool>()).prop_map(|(n, on)| Fault::Drain(n, on)),
        (prop_oneof![Just(A), Just(B)], any::<bool>()).prop_map(|(n, disk)| Fault::PeerLost(n, disk)),
    ]
}

impl World {
    fn inflict(&mut self, fault: Fault) {
        match fault {
            Fault::Kill(n) => self.kill(n),
            Fault::Start(n) if self.nodes.contains_key(&n) => {}
            Fault::Start(n) => self.start(n),
            Fault::Pause(n, ms) => self.pause(n, ms),
            Fault::Cut(a, b, on) => self.set_cut(a, b, on),
            Fault::OneWay(a, b) => drop(self.cut.insert((a, b))),
            Fault::Heal => self.heal(),
            Fault::Loss(every) => self.drop_every = every,
            Fault::LoseOutcomes(on) => self.dropped_outcomes = on,
            Fault::Drain(node, on) => self.drain(node, on),
            Fault::PeerLost(node, disk) => self.lose_peer(node, disk),
        }
    }

    fn drain(&mut self, node: NodeId, on: bool) {
        if let Some(n) = self.nodes.get(&node) {
            let (to, life) = (node, n.life);
            self.push(0, Event::Input { to, life, input: Input::Drain { node, on } });
        }
    }

    fn lose_peer(&mut self, leader: NodeId, disk: bool) {
        let Some(n) = self.nodes.get(&leader).filter(|n| self.runs(n)) else { return };
        let peer = if leader == A { B } else { A };
        for (volume, epoch) in n.open.clone() {
            self.links.insert((leader, volume.clone()), false);
            self.report(leader, 0, VolumeReport::PeerLost { volume, epoch, node: peer, disk });
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    /// Safety is checked at every step; when the faults end, everything comes home by itself.
    #[test]
    fn any_schedule_of_faults_keeps_one_server_and_ends_at_home(
        faults in prop::collection::vec((any_fault(), 1..1500u64), 1..25)
    ) {
        let mut world = World::started();
        for (fault, pause) in faults {
            world.inflict(fault);
            world.run(pause);
        }
        world.heal();
        world.dropped_outcomes = false;
        world.run(2000);
        world.drain(A, false);
        world.drain(B, false);
        world.run_until("home", 25_000, World::is_home);
    }
}

//! Whole clusters of agents in virtual time, over a model of the quorum, the network and the replicas.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

mod faults;
mod replicas;
mod scenarios;

use super::*;
use crate::state::{Address, Command, FORMAT, Status as Standing, Volume, apply};
use crate::{DeviceId, Epoch, Generation};
use replicas::{Lead, Members};

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

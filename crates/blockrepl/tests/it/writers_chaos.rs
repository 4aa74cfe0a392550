//! Two writers, each with its copy, under random faults: every register is linearizable, what was flushed is
//! durable, and the copies are the same once all is quiet.

use std::collections::BTreeMap;

use bytes::Bytes;
use posthaste_blockrepl::core::{Event, Input, LinkStatus, RemoteOp, Reply, RequestId, RoleStatus};
use posthaste_blockrepl::{Grant, NodeId};

use crate::harness::*;

const REGISTERS: usize = 12;
const NEVER: u64 = u64::MAX;

/// One operation on one register. A write without an answer may have been done.
#[derive(Clone, Copy, Debug)]
struct Op {
    write: bool,
    value: u64,
    began: u64,
    ended: u64,
}

/// Whether a history of one register, whose writes all differ, has a linear order (Gibbons and Korach): each
/// value with its reads has a zone, from its first end to its last beginning.
fn linearizable(history: &[Op]) -> Result<(), String> {
    let mut clusters: BTreeMap<u64, Vec<Op>> = BTreeMap::new();
    history.iter().for_each(|op| clusters.entry(op.value).or_default().push(*op));
    let (mut forward, mut backward) = (Vec::new(), Vec::new());
    for (value, ops) in &clusters {
        let write = ops.iter().find(|op| op.write).ok_or(format!("{value} was read and never written"))?;
        if let Some(read) = ops.iter().find(|op| !op.write && op.ended < write.began) {
            return Err(format!("{read:?} is before {write:?}"));
        }
        let first_end = ops.iter().map(|op| op.ended).min().unwrap_or(NEVER);
        let last_begin = ops.iter().map(|op| op.began).max().unwrap_or(0);
        match first_end < last_begin {
            true => forward.push((first_end, last_begin, *value)),
            false if first_end < NEVER => backward.push((last_begin, first_end, *value)),
            false => {}
        }
    }
    forward.sort_unstable();
    if let Some(pair) = forward.windows(2).find(|pair| pair[1].0 < pair[0].1) {
        return Err(format!("the zones {:?} and {:?} overlap", pair[0], pair[1]));
    }
    for zone in &backward {
        if let Some(around) = forward.iter().find(|f| f.0 < zone.0 && zone.1 < f.1) {
            return Err(format!("{zone:?} lies within {around:?}"));
        }
    }
    Ok(())
}

/// What is known of one register since the last crash.
struct Register {
    history: Vec<Op>,
}

#[derive(Clone, Copy)]
enum Kind {
    Write { first: usize, count: usize, value: u64 },
    Read { register: usize },
    Flush,
    Join { session: u64 },
}

struct Open {
    node: usize,
    kind: Kind,
    began: u64,
}

struct World {
    net: Net,
    epoch: u64,
    leader: usize,
    in_sync: Vec<usize>,
    generation: u64,
    /// The session of the node that does not lead.
    session: Option<u64>,
    open: BTreeMap<RequestId, Open>,
    registers: Vec<Register>,
    /// The newest flush that was acknowledged: when it was asked for.
    flushed: u64,
    time: u64,
    next: u64,
    overlaps: u64,
    reads_here: u64,
    ended: u64,
}

/// Neighbours, so that one write may cover two.
fn place(register: usize) -> u64 {
    4096 * (register as u64 / 4) * 37 + 8 * (register as u64 % 4)
}

fn bytes(value: u64, count: usize) -> Bytes {
    value.to_le_bytes().repeat(count).into()
}

fn value(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(bytes.try_into().unwrap())
}

impl World {
    fn new(seed: u64) -> Self {
        let mut net = Net::new(2, seed);
        net.connect(0, 1);
        let fresh = || Register { history: vec![Op { write: true, value: 0, began: 0, ended: 0 }] };
        let mut world = World {
            net,
            epoch: 0,
            leader: 1,
            in_sync: vec![0, 1],
            generation: 0,
            session: None,
            open: BTreeMap::new(),
            registers: (0..REGISTERS).map(|_| fresh()).collect(),
            flushed: 0,
            time: 1,
            next: 0,
            overlaps: 0,
            reads_here: 0,
            ended: 0,
        };
        world.take_over(0);
        world
    }

    fn other(&self) -> usize {
        1 - self.leader
    }

    fn alive(&self, n: usize) -> bool {
        self.net.nodes[n].replica.is_some()
    }

    fn grant(&self, writers: bool) -> Grant {
        let grant = grant(self.epoch, self.leader, &self.in_sync, self.generation);
        grant.with_writers(writers.then_some(NodeId(self.other() as u64)))
    }

    fn wait(&mut self, request: RequestId) -> Reply {
        for _ in 0..100_000 {
            if let Some(answer) = self.net.answers.remove(&request) {
                return answer.unwrap();
            }
            assert!(self.net.step());
        }
        panic!("{request:?} is never answered");
    }

    /// The quorum's part (R1, R4): fence the old leader, lead here alone, take the other back later.
    fn take_over(&mut self, n: usize) {
        if !self.alive(n) || !self.in_sync.contains(&n) {
            return;
        }
        self.epoch += 1;
        let request = self.net.start_raise(n, self.epoch);
        let Reply::Raised(raised) = self.wait(request) else { panic!("not raised") };
        if !raised.consistent {
            let request = self.net.rollback(n);
            self.wait(request);
        }
        self.collect();
        self.overlaps += self.net.nodes[self.leader].replica.as_ref().map_or(0, |r| r.status().overlaps);
        (self.leader, self.in_sync, self.session) = (n, vec![n], None);
        self.generation += 1;
        let request = self.net.start_lead(n, self.grant(true));
        assert_eq!(self.wait(request), Reply::Leading);
        self.new_era();
    }

    /// A takeover may lose what was not flushed, and nothing else.
    fn new_era(&mut self) {
        let (time, flushed, n) = (self.time, self.flushed, self.leader);
        // Operations of the former leader's time may have been done, or may not.
        for (_, open) in std::mem::take(&mut self.open) {
            if let Kind::Write { first, count, value } = open.kind {
                for register in &mut self.registers[first..first + count] {
                    register.history.push(Op { write: true, value, began: open.began, ended: NEVER });
                }
            }
        }
        for r in 0..REGISTERS {
            let at = place(r) as usize;
            let found = value(&self.net.nodes[n].data.live[at..at + 8]);
            let history = &mut self.registers[r].history;
            let mut durable: Vec<Op> =
                history.iter().filter(|op| op.write || op.ended < flushed).copied().collect();
            durable.iter_mut().filter(|op| op.ended >= flushed).for_each(|op| op.ended = NEVER);
            durable.push(Op { write: false, value: found, began: time, ended: time });
            linearizable(&durable).unwrap_or_else(|why| panic!("register {r} after a takeover: {why}"));
            *history = vec![Op { write: true, value: found, began: time, ended: time }];
        }
        self.flushed = time;
        self.time += 1;
    }

    /// Begins an operation on either node.
    fn operate(&mut self) {
        let n = self.net.random(2) as usize;
        let leads = n == self.leader;
        if !self.alive(n) || (!leads && self.session.is_none()) || self.open.len() > 12 {
            return;
        }
        let register = self.net.random(REGISTERS as u64) as usize;
        let kind = match self.net.random(10) {
            0..=4 => {
                let room = 4 - register % 4;
                let count = 1 + self.net.random(2.min(room as u64)) as usize;
                self.next += 1;
                Kind::Write { first: register, count, value: self.next }
            }
            5..=8 => Kind::Read { register },
            _ => Kind::Flush,
        };
        let op = match kind {
            Kind::Write { first, count, value } => {
                RemoteOp::Write { offset: place(first), data: bytes(value, count) }
            }
            Kind::Read { register } => RemoteOp::Read { offset: place(register), len: 8 },
            _ => RemoteOp::Flush,
        };
        let session = self.session;
        self.time += 1;
        let request = self.net.request(n, |request| match (session, op) {
            (Some(session), op) if !leads => Input::Remote { request, session, op },
            (_, RemoteOp::Write { offset, data }) => Input::Write { request, offset, data },
            (_, RemoteOp::Read { offset, len }) => Input::Read { request, offset, len },
            (_, RemoteOp::Flush) => Input::Flush { request },
        });
        self.open.insert(request, Open { node: n, kind, began: self.time });
    }

    fn collect(&mut self) {
        self.time += 1;
        let now = self.time;
        let done: Vec<RequestId> =
            self.open.keys().filter(|request| self.net.answers.contains_key(request)).copied().collect();
        for request in done {
            let (Some(open), Some(answer)) = (self.open.remove(&request), self.net.answers.remove(&request))
            else {
                continue;
            };
            let began = open.began;
            match (open.kind, answer) {
                (Kind::Write { first, count, value }, answer) => {
                    let ended = if answer.is_ok() { now } else { NEVER };
                    for register in &mut self.registers[first..first + count] {
                        register.history.push(Op { write: true, value, began, ended });
                    }
                }
                (Kind::Read { register }, Ok(Reply::Read(data))) => {
                    let op = Op { write: false, value: value(&data), began, ended: now };
                    self.registers[register].history.push(op);
                }
                (Kind::Flush, Ok(_)) => self.flushed = self.flushed.max(began),
                (Kind::Join { session }, Ok(_)) => self.session = Some(session),
                _ => {}
            }
        }
    }

    fn join(&mut self) {
        let n = self.other();
        let joining = self.open.values().any(|o| matches!(o.kind, Kind::Join { .. }) && o.node == n);
        let inside = self.net.nodes[n].replica.as_ref().is_some_and(|r| r.status().session.is_some());
        if !self.alive(n) || joining || self.session.is_some() && inside {
            return;
        }
        self.session = None;
        self.next += 1;
        let (epoch, session) = (self.epoch, self.next);
        let request = self.net.request(n, |request| Input::Join { request, epoch, session });
        self.open.insert(request, Open { node: n, kind: Kind::Join { session }, began: self.time });
    }

    /// What the owner does: lets the other go while it is away, and takes it back when it is in step.
    fn owner(&mut self) {
        let (n, other) = (self.leader, self.other());
        for node in &mut self.net.nodes {
            let events = std::mem::take(&mut node.events);
            self.ended += events.iter().filter(|e| matches!(e, Event::SessionEnded { .. })).count() as u64;
        }
        if !self.alive(n) || self.net.status(n).role != RoleStatus::Leader {
            return;
        }
        let status = self.net.status(n);
        let link =
            status.peers.iter().find(|p| p.node.0 == other as u64).map_or(LinkStatus::Down, |p| p.link);
        let counted = self.in_sync.contains(&other);
        if link == LinkStatus::Synced && !counted && self.net.set_pending(n, Some(set(&[0, 1]))).is_ok() {
            self.in_sync = vec![0, 1];
            self.net.set_grant(n, self.grant(true)).unwrap();
        }
        if !self.net.connected(0, 1) && self.net.random(2) == 0 {
            self.in_sync = vec![n];
            self.generation += u64::from(counted);
            self.net.set_grant(n, self.grant(false)).unwrap();
        } else if self.net.connected(0, 1) {
            self.net.set_grant(n, self.grant(true)).unwrap();
        }
    }

    fn crash(&mut self, n: usize) {
        self.net.crash(n);
        if n == self.leader {
            return;
        }
        self.session = None;
        // Nobody hears their answers any more.
        let gone: Vec<RequestId> =
            self.open.iter().filter(|(_, o)| o.node == n).map(|(request, _)| *request).collect();
        for request in gone {
            if let Some(Open { kind: Kind::Write { first, count, value }, began, .. }) =
                self.open.remove(&request)
            {
                for register in &mut self.registers[first..first + count] {
                    register.history.push(Op { write: true, value, began, ended: NEVER });
                }
            }
        }
    }

    fn fault(&mut self) {
        let n = self.net.random(2) as usize;
        match self.net.random(12) {
            0..=2 => self.net.cut(0, 1),
            3 => self.crash(n),
            4 | 5 if !self.alive(n) => self.net.boot(n),
            6 => self.take_over(n),
            7 => self.net.deaf = [None, Some(0), Some(1)][self.net.random(3) as usize],
            _ if self.alive(0) && self.alive(1) && !self.net.connected(0, 1) => drop(self.net.connect(0, 1)),
            _ => {}
        }
        if !self.alive(self.leader) || self.net.status(self.leader).role != RoleStatus::Leader {
            self.net.deaf = None;
            // A leader that went away had told nobody to stop: its successor is fenced off by the epoch.
            let first = self.net.random(2) as usize;
            for n in [first, 1 - first] {
                if !self.alive(self.leader) || self.net.status(self.leader).role != RoleStatus::Leader {
                    self.take_over(n);
                }
            }
        }
    }

    fn run(&mut self, rounds: u32) {
        for _ in 0..rounds {
            match self.net.random(16) {
                0..=9 => self.operate(),
                10 => self.owner(),
                11 => self.join(),
                12 if self.net.random(6) == 0 => self.fault(),
                _ => {}
            }
            for _ in 0..self.net.random(8) {
                self.net.step();
            }
            self.collect();
            self.reads_here += u64::from(self.reads());
        }
        self.check();
    }

    fn reads(&self) -> bool {
        self.net.nodes[self.other()]
            .replica
            .as_ref()
            .and_then(|r| r.status().session)
            .is_some_and(|s| s.reads_here)
    }

    fn check(&self) {
        for (r, register) in self.registers.iter().enumerate() {
            let mut history = register.history.clone();
            // Writes under way may have been seen.
            history.extend(self.open.values().filter_map(|o| match o.kind {
                Kind::Write { first, count, value } if (first..first + count).contains(&r) => {
                    Some(Op { write: true, value, began: o.began, ended: NEVER })
                }
                _ => None,
            }));
            linearizable(&history).unwrap_or_else(|why| panic!("register {r}: {why}\n{history:#?}"));
        }
    }

    /// All faults removed: both write and read at home again, and the copies are the same.
    fn heal(&mut self) {
        self.net.deaf = None;
        (0..2).for_each(|n| {
            if !self.alive(n) {
                self.net.boot(n);
            }
        });
        for _ in 0..20 {
            if !self.net.connected(0, 1) {
                self.net.connect(0, 1);
            }
            if self.net.status(self.leader).role != RoleStatus::Leader {
                [0, 1].into_iter().for_each(|n| {
                    if self.net.status(self.leader).role != RoleStatus::Leader {
                        self.take_over(n);
                    }
                });
            }
            self.owner();
            self.join();
            self.net.idle();
            self.collect();
        }
        assert!(
            self.reads(),
            "the other reads at home: {:#?} {:#?}",
            self.net.status(self.other()),
            self.net.status(self.leader)
        );
        assert!(self.open.is_empty(), "nothing waits: {:?}", self.net.status(self.leader));
        self.check();
        self.net.assert_identical(0, 1);
        self.overlaps += self.net.status(self.leader).overlaps;
    }
}

fn seeds(default: u64) -> std::ops::Range<u64> {
    let var = |name: &str| std::env::var(name).ok().and_then(|v| v.parse::<u64>().ok());
    match var("BLOCKREPL_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..var("BLOCKREPL_SEEDS").unwrap_or(default),
    }
}

#[test]
fn two_writers_are_linearizable_through_random_faults_and_their_copies_end_alike() {
    let (mut overlaps, mut reads_here, mut ended) = (0, 0, 0);
    let seeds = seeds(24);
    for seed in seeds.clone() {
        let outcome = std::panic::catch_unwind(|| {
            let mut world = World::new(seed * 2 + 1);
            world.run(1200);
            world.heal();
            (world.overlaps, world.reads_here, world.ended)
        });
        match outcome {
            Ok((a, b, c)) => (overlaps, reads_here, ended) = (overlaps + a, reads_here + b, ended + c),
            Err(panic) => {
                eprintln!("replay with BLOCKREPL_SEED={seed}");
                std::panic::resume_unwind(panic);
            }
        }
    }
    // One seed alone need not have all of them.
    let all = overlaps > 0 && reads_here > 0 && ended > 0;
    assert!(all || seeds.count() == 1, "{overlaps} {reads_here} {ended}");
}

#[test]
fn the_checker_tells_orders_that_exist_from_those_that_do_not() {
    let op = |write, value, began, ended| Op { write, value, began, ended };
    let start = op(true, 0, 0, 0);
    assert_eq!(linearizable(&[start, op(true, 1, 1, 9), op(false, 0, 2, 3), op(false, 1, 4, 5)]), Ok(()));
    let inversion = [start, op(true, 1, 1, 9), op(false, 1, 2, 3), op(false, 0, 4, 5)];
    let stale = [start, op(true, 1, 1, 2), op(false, 0, 3, 4)];
    let unwritten = [start, op(false, 7, 1, 2)];
    let early = [start, op(false, 1, 1, 2), op(true, 1, 3, 4)];
    for bad in [&inversion[..], &stale, &unwritten, &early] {
        assert!(linearizable(bad).is_err(), "{bad:?}");
    }
    assert_eq!(linearizable(&[start, op(true, 1, 1, NEVER), op(false, 0, 3, 4), op(false, 1, 5, 6)]), Ok(()));
}

//! Random faults against a model of the quorum: what was acknowledged is always there, and once
//! the faults end everybody comes together again.

use posthaste_blockrepl::core::{Denied, Event, Reply, RequestId, RoleStatus};
use posthaste_blockrepl::{Config, EXTENT, GRANULE, Grant, MemberSet, NodeId};

use crate::harness::*;

const REGISTERS: usize = 48;

/// The state the quorum would keep, and what its leader's owner does about events.
struct World {
    net: Net,
    count: usize,
    epoch: u64,
    leader: Option<usize>,
    in_sync: MemberSet,
    generation: u64,
    proposal: Option<(u64, usize, MemberSet)>,
    /// Per register: the last value written, and the highest known to be acknowledged.
    written: Vec<u64>,
    visible: Vec<u64>,
    acked: Vec<u64>,
    writes: Vec<(RequestId, usize, u64)>,
    flushes: Vec<(RequestId, Vec<u64>)>,
    takeovers: u32,
}

/// The smallest, the usual and the largest take turns.
fn granule(seed: u64) -> u64 {
    [4096, GRANULE, EXTENT][(seed / 2 % 3) as usize]
}

fn place(register: usize) -> u64 {
    (register as u64 * 0x1F35B) % (SIZE - 16)
}

impl World {
    fn new(count: usize, seed: u64) -> Self {
        let all: Vec<usize> = (0..count).collect();
        let mut world = World {
            net: Net::with(count, seed, Config { granule_bytes: granule(seed), ..small() }),
            count,
            epoch: 0,
            leader: None,
            in_sync: set(&all),
            generation: 0,
            proposal: None,
            written: vec![0; REGISTERS],
            visible: vec![0; REGISTERS],
            acked: vec![0; REGISTERS],
            writes: Vec::new(),
            flushes: Vec::new(),
            takeovers: 0,
        };
        world.connect_all();
        world
    }

    fn alive(&self, n: usize) -> bool {
        self.net.nodes[n].replica.is_some()
    }

    fn connect_all(&mut self) {
        for a in 0..self.count {
            for b in a + 1..self.count {
                if self.alive(a) && self.alive(b) && !self.net.connected(a, b) {
                    self.net.connect(a, b);
                }
            }
        }
    }

    fn answer(&mut self, request: RequestId) -> Result<Reply, Denied> {
        for _ in 0..100_000 {
            if let Some(answer) = self.net.answers.remove(&request) {
                return answer;
            }
            assert!(self.net.step(), "{request:?} is never answered");
        }
        panic!("{request:?} is not answered");
    }

    fn grant(&self, leader: usize) -> Grant {
        Grant::new(self.epoch, NodeId(leader as u64), self.in_sync.clone(), self.generation)
    }

    /// Fences whoever leads, then lets `n` lead if it may. The quorum's part of R1 and R4.
    fn take_over(&mut self, n: usize) {
        if !self.alive(n) || !self.in_sync.contains(&member(n)) {
            return;
        }
        self.epoch += 1;
        self.leader = None;
        let request = self.net.start_raise(n, self.epoch);
        let Ok(Reply::Raised(mut raised)) = self.answer(request) else { panic!("a raise failed") };
        if !raised.consistent && raised.can_roll_back {
            // It is counted as in sync: the state before the resync holds all acknowledged writes.
            let request = self.net.rollback(n);
            assert_eq!(self.answer(request), Ok(Reply::RolledBack));
            raised.consistent = true;
        }
        if !raised.consistent {
            return;
        }
        assert!(raised.generation <= self.generation);
        self.in_sync = set(&[n]);
        self.generation += 1;
        let request = self.net.start_lead(n, self.grant(n));
        assert_eq!(self.answer(request), Ok(Reply::Leading));
        self.leader = Some(n);
        self.takeovers += 1;
        self.check_acked(n);
        // What an old handle still reports as written says nothing about this leader.
        self.writes.clear();
        self.visible = (0..REGISTERS).map(|r| self.read(n, r)).collect();
    }

    fn read(&self, n: usize, register: usize) -> u64 {
        let at = place(register) as usize;
        u64::from_le_bytes(self.net.nodes[n].data.live[at..at + 8].try_into().unwrap())
    }

    fn check_acked(&self, n: usize) {
        for r in 0..REGISTERS {
            let value = self.read(n, r);
            assert!(
                value >= self.acked[r] && value <= self.written[r],
                "register {r} on node {n} holds {value}; acknowledged {}, written {}",
                self.acked[r],
                self.written[r]
            );
        }
    }

    fn write(&mut self) {
        let Some(n) = self.leader else { return };
        let register = self.net.random(REGISTERS as u64) as usize;
        self.written[register] += 1;
        let value = self.written[register];
        let request = self.net.write(n, place(register), &value.to_le_bytes());
        self.writes.push((request, register, value));
    }

    fn flush(&mut self) {
        let Some(n) = self.leader else { return };
        let request = self.net.flush(n);
        self.flushes.push((request, self.visible.clone()));
    }

    fn collect(&mut self) {
        let World { net, writes, flushes, visible, acked, .. } = self;
        writes.retain(|(request, register, value)| match net.answers.remove(request) {
            Some(Ok(_)) => {
                visible[*register] = visible[*register].max(*value);
                false
            }
            answer => answer.is_none(),
        });
        flushes.retain(|(request, seen)| match net.answers.remove(request) {
            Some(Ok(_)) => {
                for (acked, seen) in acked.iter_mut().zip(seen) {
                    *acked = (*acked).max(*seen);
                }
                false
            }
            answer => answer.is_none(),
        });
    }

    /// What the owner of the leader does: proposes removals and additions.
    fn owner(&mut self) {
        let events: Vec<Vec<Event>> =
            self.net.nodes.iter_mut().map(|n| std::mem::take(&mut n.events)).collect();
        for event in events.iter().flatten() {
            assert!(!matches!(event, Event::Diverged { .. }), "no split brain without force: {event:?}");
        }
        let Some(n) = self.leader.filter(|n| self.alive(*n)) else { return };
        if self.proposal.is_some() || self.net.status(n).role != RoleStatus::Leader {
            return;
        }
        let peers = self.net.status(n).peers;
        let synced = |m| {
            peers.iter().any(|p| {
                p.device == identity_of(m) && p.link == posthaste_blockrepl::core::LinkStatus::Synced
            })
        };
        let mut wanted: MemberSet =
            (0..self.count).map(member).filter(|m| m.node.0 == n as u64 || synced(*m)).collect();
        if self.net.random(4) != 0 {
            // Mostly patient with those who are gone for a while.
            wanted.extend(self.in_sync.iter().copied());
        }
        if wanted != self.in_sync && self.net.set_pending(n, Some(wanted.clone())).is_ok() {
            self.proposal = Some((self.epoch, n, wanted));
        }
    }

    /// The quorum's answer arrives, late.
    fn decide(&mut self) {
        let Some((epoch, n, wanted)) = self.proposal.take() else { return };
        let current = epoch == self.epoch && self.leader == Some(n);
        if !current || self.net.random(5) == 0 {
            if self.alive(n) {
                drop(self.net.set_pending(n, None));
            }
            return;
        }
        if !self.in_sync.is_subset(&wanted) {
            self.generation += 1;
        }
        self.in_sync = wanted;
        if self.alive(n) {
            drop(self.net.set_grant(n, self.grant(n)));
        }
    }

    fn fault(&mut self) {
        let n = self.net.random(self.count as u64) as usize;
        let other = (n + 1) % self.count;
        match self.net.random(10) {
            0 | 1 => self.net.cut(n, other),
            2 if self.alive(n) => {
                self.net.crash(n);
                if self.leader == Some(n) {
                    self.leader = None;
                }
            }
            3 | 4 if !self.alive(n) => self.net.boot(n),
            5..=7 => self.connect_all(),
            8 => self.take_over(n),
            _ => {}
        }
        if self.leader.is_none() {
            let n = self.net.random(self.count as u64) as usize;
            self.take_over(n);
        }
    }

    fn run(&mut self, rounds: u32) {
        for _ in 0..rounds {
            match self.net.random(16) {
                0..=6 => self.write(),
                7 | 8 => self.flush(),
                9 => self.owner(),
                10 => self.decide(),
                11 if self.net.random(4) == 0 => self.fault(),
                _ => {}
            }
            for _ in 0..self.net.random(12) {
                self.net.step();
            }
            self.collect();
        }
    }

    /// All faults removed: it must come to rest, in sync, with everything acknowledged.
    fn heal(&mut self) {
        (0..self.count).for_each(|n| {
            if !self.alive(n) {
                self.net.boot(n);
            }
        });
        for round in 0..30 {
            self.connect_all();
            if self.leader.is_none_or(|n| self.net.status(n).role != RoleStatus::Leader) {
                self.leader = None;
                (0..self.count).for_each(|n| {
                    if self.leader.is_none() {
                        self.take_over(n);
                    }
                });
            }
            self.net.idle();
            self.owner();
            self.decide();
            self.net.settle();
            if self.in_sync.len() == self.count && round > 3 {
                break;
            }
        }
        assert_eq!(self.in_sync.len(), self.count, "everybody is back in sync");
        let leader = self.leader.expect("somebody leads");
        // Requests of those that crashed are answered by nobody.
        self.flushes.clear();
        self.write();
        self.net.settle();
        self.collect();
        self.flush();
        self.net.settle();
        self.collect();
        assert!(self.flushes.is_empty(), "no flush waits any more: {:?}", self.net.status(leader));
        (0..self.count).for_each(|n| {
            self.check_acked(n);
            self.net.assert_identical(leader, n);
            assert!(self.net.status(n).consistent);
        });
    }
}

fn identity_of(member: posthaste_blockrepl::Member) -> posthaste_blockrepl::DeviceId {
    member.device
}

fn seeds(default: u64) -> std::ops::Range<u64> {
    let var = |name: &str| std::env::var(name).ok().and_then(|v| v.parse::<u64>().ok());
    match var("BLOCKREPL_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..var("BLOCKREPL_SEEDS").unwrap_or(default),
    }
}

fn chaos(count: usize, default: u64) {
    let mut takeovers = 0;
    let seeds = seeds(default);
    for seed in seeds.clone() {
        let outcome = std::panic::catch_unwind(|| {
            let mut world = World::new(count, seed * 2 + 1);
            world.take_over(0);
            world.run(1500);
            world.heal();
            world.takeovers
        });
        match outcome {
            Ok(n) => takeovers += n,
            Err(panic) => {
                eprintln!("replay with BLOCKREPL_SEED={seed}");
                std::panic::resume_unwind(panic);
            }
        }
    }
    assert!(takeovers > 0 || seeds.count() == 1);
}

#[test]
fn two_replicas_keep_every_acknowledged_write_through_random_faults() {
    chaos(2, 20);
}

#[test]
fn three_replicas_keep_every_acknowledged_write_through_random_faults() {
    chaos(3, 10);
}

//! One run: start, faults, the liveness phase, the last comparison.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use super::bugs::Bug;
use posthaste_blockrepl::Protocol;
use posthaste_blockrepl::core::{LinkStatus, PeerStatus};

use super::owner::{Stage, node};
use super::scenarios::Scenario;
use super::stopwatch::Times;
use super::world::{MS, World};
use crate::rng::Rng;
use crate::world::Violation;

/// Virtual seconds within which replicas without faults are all in sync and serve.
pub const RECOVERS_WITHIN_S: u64 = 40;

/// What to run.
#[derive(Debug, Clone, Copy)]
pub struct Job {
    /// Decides everything.
    pub seed: u64,
    /// Which faults.
    pub scenario: Scenario,
    /// A known bug to switch on.
    pub bug: Option<Bug>,
    /// Only what a client sees is judged; the disks are not opened.
    pub black_box: bool,
    /// Keep the trace's lines.
    pub trace: bool,
}

/// How it went.
#[derive(Debug)]
pub struct Report {
    /// What was run.
    pub job: Job,
    /// The first thing that went wrong.
    pub violation: Option<Violation>,
    /// Virtual time, in microseconds.
    pub took_us: u64,
    /// How long the liveness phase lasted, in microseconds.
    pub recovered_us: u64,
    /// The hash of all that happened.
    pub hash: u64,
    /// Flushes acknowledged.
    pub flushes: u64,
    /// Sectors read and judged.
    pub reads: u64,
    /// Resyncs begun.
    pub resyncs: u64,
    /// Leaderships opened: the newest epoch.
    pub epochs: u64,
    /// How long takeovers and returns took.
    pub times: Times,
    /// The trace's lines, if they were kept.
    pub trace: Vec<String>,
}

impl Job {
    /// A seed in the scenario that it chooses.
    pub fn of_seed(seed: u64) -> Self {
        Self { seed, scenario: Scenario::of_seed(seed), bug: None, black_box: false, trace: false }
    }

    /// A seed in this scenario.
    pub fn scenario(seed: u64, scenario: Scenario) -> Self {
        Self { scenario, ..Self::of_seed(seed) }
    }

    /// The command that does this again, with the trace.
    pub fn replay_line(&self) -> String {
        let bug = self.bug.map(|b| format!(" --bug {}", b.name())).unwrap_or_default();
        let features = if self.bug.is_some() { " --features bugs" } else { "" };
        let (seed, name) = (self.seed, self.scenario.name);
        format!(
            "cargo run --release -p posthaste-sim{features} -- --blocks --seed {seed} --scenario {name}{bug} --trace"
        )
    }

    /// Runs it.
    pub fn run(self) -> Report {
        let mut world = World::new(
            self.seed,
            self.scenario.copies(self.seed),
            self.scenario.setting,
            self.bug,
            self.trace,
        );
        world.opens_disks = !self.black_box;
        let mut recovered_us = 0;
        match catch_unwind(AssertUnwindSafe(|| self.phases(&mut world))) {
            Ok(took) => recovered_us = took,
            Err(panic) => {
                let what = panic.downcast_ref::<String>().cloned();
                let what = what.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()));
                world.judge("panic", Err(what.unwrap_or_default()));
            }
        }
        Report {
            job: self,
            violation: world.violation.clone(),
            took_us: world.now,
            recovered_us,
            hash: world.hash(),
            flushes: world.oracle.acked,
            reads: world.oracle.reads,
            resyncs: world.resyncs,
            epochs: world.oracle.epoch,
            times: std::mem::take(&mut world.stopwatch.times),
            trace: world.take_trace(),
        }
    }

    fn phases(self, world: &mut World) -> u64 {
        world.recover(15);
        let (faults, length_ms) = self.scenario.plan(Rng::new(self.seed ^ 0xFA17));
        for (at, fault) in faults {
            world.plan(at, fault);
        }
        world.run_to(world.now + length_ms * MS);
        if world.violation.is_some() {
            return 0;
        }
        world.heal();
        let begun = world.now;
        world.run_to(world.now + 1000 * MS);
        world.recover(RECOVERS_WITHIN_S);
        let took = world.now - begun;
        if self.scenario.silent {
            world.find_what_was_damaged();
        }
        if self.scenario.splits {
            world.split_was_detected();
        }
        world.check_snapshots();
        world.come_to_rest();
        took
    }
}

impl World {
    /// Runs until nothing is missing, or judges what is.
    fn recover(&mut self, within_s: u64) {
        let end = self.now + within_s * 1000 * MS;
        let acked = self.oracle.acked;
        while self.violation.is_none() && self.now < end {
            if self.missing(acked).is_none() {
                return;
            }
            self.run_to(self.now + 50 * MS);
            self.restart_the_failed();
        }
        if let Some(missing) = self.missing(acked) {
            self.judge("liveness", Err(format!("after {within_s} s without a fault {missing}")));
        }
    }

    pub(super) fn serving(&self) -> Option<usize> {
        let serves = |n: &usize| {
            let stage = self.procs[*n].as_ref().map(|p| p.stage);
            matches!(stage, Some(Stage::Serving(epoch)) if epoch == self.authority.current().epoch)
        };
        (0..self.copies).find(serves)
    }

    /// What healthy replicas have and these have not.
    fn missing(&self, acked: u64) -> Option<String> {
        let current = self.authority.current();
        let Some(leader) = self.serving() else { return Some(format!("nobody serves: {current:?}")) };
        let counts = |n: &usize| *n == leader || self.protocols[*n] == Protocol::C;
        let follows = |p: &PeerStatus| p.link == LinkStatus::Following || p.protocol == Protocol::C;
        let all_follow = self.replica(leader).is_some_and(|r| {
            let status = r.status();
            status.peers.iter().filter(|p| self.me(node(p.node)).device == p.device).all(follows)
        });
        let size = self.replica(leader).map(|r| r.size());
        // What an attempt to grow that failed has left is of no importance.
        let differs = |other: Option<u64>| other < size || other > size && self.oracle.shrunk;
        if let Some(other) = (0..self.copies).find(|n| differs(self.replica(*n).map(|r| r.size()))) {
            return Some(format!("the copy of node {other} has not the size of node {leader}"));
        }
        if current.in_sync.len() < (0..self.copies).filter(counts).count() || !all_follow {
            let peers = self.replica(leader).map(|r| r.status().peers);
            return Some(format!("a copy is not in sync: {:?}; peers {peers:?}", current.in_sync));
        }
        if self.oracle.acked < acked + 5 {
            let waiting = self.replica(leader).map(|r| r.status().waiting);
            return Some(format!("flushes are not acknowledged; waiting for {waiting:?}"));
        }
        if let Some(missing) = self.writers_miss(leader) {
            return Some(missing);
        }
        if let Some(n) = (0..self.copies).find(|n| self.owes(*n)) {
            return Some(format!("the disk of node {n} owes an answer from when it was slow"));
        }
        let half = (0..self.copies).find(|n| self.replica(*n).is_some_and(|r| !r.status().consistent));
        half.map(|n| format!("node {n} is inconsistent"))
    }

    /// Whether its disk has yet to answer what it was asked long ago: its owner may still give it up for that.
    fn owes(&self, n: usize) -> bool {
        let age = self.replica(n).and_then(|r| r.disk_age(self.replica_now(n)));
        age.is_some_and(|age| age > Duration::from_millis(500))
    }

    /// Clients stop, all is flushed; then all copies are byte-identical, and hold what the oracle knows.
    fn come_to_rest(&mut self) {
        self.clients_stop = true;
        let Some(leader) = self.serving().filter(|_| self.violation.is_none()) else { return };
        // What is still under way no flush covers.
        for _ in 0..50 {
            self.run_to(self.now + 200 * MS);
            if self.procs[leader].as_ref().is_none_or(|p| p.session.writes.is_empty()) {
                break;
            }
        }
        let acked = self.oracle.acked;
        self.client_flushes(leader);
        self.run_to(self.now + 3000 * MS);
        if self.oracle.acked <= acked {
            self.judge("liveness", Err("the last flush is not acknowledged".to_owned()));
        }
        let overlaps = self.replica(leader).map_or(0, |r| r.status().overlaps);
        let size = self.replica(leader).map_or(0, |r| r.size());
        let images = |n: usize| self.machines[n].disks.as_ref().map(|[data, _]| data);
        let Some(first) = images(leader) else { return };
        let mut verdict = match &mut self.history {
            Some(history) => history.quiet(&first.live, self.oracle.sectors(), overlaps),
            None => self.oracle.quiet(&first.live),
        };
        for n in (0..self.copies).filter(|n| *n != leader) {
            let Some(other) = images(n) else { continue };
            for (what, a, b) in
                [("at rest", &first.live, &other.live), ("on the media", &first.durable, &other.durable)]
            {
                if let Some(at) = a.difference_within(b, size) {
                    let differs = format!("{what} the copies of {leader} and {n} differ at byte {at}");
                    verdict = verdict.and(Err(differs));
                }
            }
        }
        self.judge("identical", verdict);
    }

    /// Damage that nobody reported: a verify finds it, says so, and heals it.
    fn find_what_was_damaged(&mut self) {
        let Some(leader) = self.serving().filter(|_| self.violation.is_none()) else { return };
        let damaged = self.differs_from(leader);
        let (verifies, differing) = (self.verifies, self.differing);
        let end = self.now + 20_000 * MS;
        while self.verifies == verifies && self.now < end {
            self.begin_verify();
            self.run_to(self.now + 500 * MS);
        }
        if self.verifies == verifies {
            return self.judge("liveness", Err("a verify does not come to its end".to_owned()));
        }
        if damaged && self.differing == differing {
            self.judge("verify", Err("it has not found the damaged copy".to_owned()));
        }
        // Healing runs beside the clients.
        self.run_to(self.now + 2000 * MS);
        self.machines.iter_mut().for_each(|m| m.distrusted = false);
    }

    /// Whether, with clients at rest, another copy differs.
    fn differs_from(&mut self, leader: usize) -> bool {
        self.clients_stop = true;
        self.run_to(self.now + 1000 * MS);
        let size = self.replica(leader).map_or(0, |r| r.size());
        let image = |n: usize| self.machines[n].disks.as_ref().map(|[data, _]| &data.live);
        let differs = (0..self.copies).any(|n| {
            image(leader).zip(image(n)).is_some_and(|(a, b)| a.difference_within(b, size).is_some())
        });
        self.clients_stop = false;
        for n in 0..3 {
            if let Some(epoch) = self.procs[n].as_ref().and_then(|p| p.epoch()) {
                self.begin_clients(n, epoch);
            }
        }
        differs
    }

    fn split_was_detected(&mut self) {
        if self.split && self.diverged == 0 {
            self.judge("split brain", Err("nobody has noticed that the copies diverged".to_owned()));
        }
    }
}

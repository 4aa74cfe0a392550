//! One run: start, faults, the liveness phase, the last comparison.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::bugs::Bug;
use crate::checkers;
use crate::faults::Scenario;
use crate::rng::Rng;
use crate::world::{Event, MS, Violation, World};
use crate::{ip, node_id, volume_id};

/// Virtual seconds within which a cluster without faults has everything at home and serves.
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
    /// Checkers see only what a client sees; the disks are not opened.
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
    /// Writes acknowledged.
    pub acked: u64,
    /// Commands committed.
    pub committed: u64,
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
        let (seed, scenario) = (self.seed, self.scenario.name);
        format!(
            "cargo run --release -p posthaste-sim{features} -- --seed {seed} --scenario {scenario}{bug} --trace"
        )
    }

    /// Runs it.
    pub fn run(self) -> Report {
        let mut world = World::new(self.seed, self.bug, self.trace);
        world.opens_disks = !self.black_box;
        let mut recovered_us = 0;
        let outcome = catch_unwind(AssertUnwindSafe(|| self.phases(&mut world)));
        match outcome {
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
            acked: world.checks.r2.iter().map(|o| o.acked).sum(),
            committed: world.quorum.committed() as u64,
            trace: world.take_trace(),
        }
    }

    fn phases(self, world: &mut World) -> u64 {
        world.recover(15);
        let (faults, length_ms) = self.scenario.plan(Rng::new(self.seed ^ 0xFA17));
        for (at, fault) in faults {
            world.push(at * MS, Event::Fault(fault));
        }
        world.run_to(world.now + length_ms * MS);
        if world.violation.is_some() {
            return 0;
        }
        world.heal();
        let begun = world.now;
        // Ends of faults that were planned later, and operators, come first.
        world.run_to(world.now + 4000 * MS);
        // What hung when the faults ended has been given up by now.
        (0..2).for_each(|n| world.restart_if_failed(n));
        world.recover(RECOVERS_WITHIN_S);
        let took = world.now - begun;
        world.come_to_rest();
        took
    }
}

impl World {
    /// Runs until nothing is missing, or judges what is.
    fn recover(&mut self, within_s: u64) {
        let end = self.now + within_s * 1000 * MS;
        let done = [0, 1].map(|v| self.clients[v].done);
        while self.violation.is_none() && self.now < end {
            if self.missing(&done).is_empty() {
                return;
            }
            self.run_to(self.now + 50 * MS);
        }
        let missing = self.missing(&done);
        self.judge("liveness", checkers::liveness::recovered(&missing, within_s));
    }

    /// What a healthy cluster has and this one has not.
    fn missing(&self, done: &[u64; 2]) -> Vec<String> {
        let state = self.quorum.state();
        let mut missing = Vec::new();
        for (i, done) in done.iter().enumerate() {
            let (serving, answering) = (self.serving(i), self.answering(i));
            if self.leader_of(i) != Some(node_id(i)) || serving != [i] {
                missing.push(format!("vol{i} is led by {:?}, served by {serving:?}", self.leader_of(i)));
            }
            if state.volumes.get(&volume_id(i)).is_none_or(|v| v.in_sync.len() < 2) {
                missing.push(format!("vol{i} has a copy that is not in sync"));
            }
            if state.addresses.get(&ip(i)).and_then(|a| a.owner) != Some(node_id(i)) || answering != [i] {
                missing.push(format!("address {i} is answered by {answering:?}"));
            }
            if self.clients[i].done < done + 5 {
                missing.push(format!("the client of vol{i} gets no answers"));
            }
        }
        missing
    }

    /// The clients stop; then everything is the same everywhere, and all of it is there.
    fn come_to_rest(&mut self) {
        self.clients.iter_mut().for_each(|c| c.stopped = true);
        self.run_to(self.now + 1500 * MS);
        for v in 0..2 {
            if !self.clients[v].is_idle() {
                self.judge("liveness", Err(format!("an operation on vol{v} never ends")));
            }
            let [a, b] = [0, 1].map(|n| &self.machines[n].disks[v][0]);
            let same = checkers::identical::identical(v, [a, b], self.opens_disks);
            let [a, b] = [0, 1].map(|n| &self.machines[n].disks[v][0]);
            let there =
                [a, b].iter().enumerate().try_for_each(|(n, disk)| self.checks.r2[v].readable(n, &disk.live));
            self.judge("identical", same);
            self.judge("R2", there);
        }
        let [a, b] = [self.clients[0].done, self.clients[1].done];
        self.mark("end", a, b);
    }
}

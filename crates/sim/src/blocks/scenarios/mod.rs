//! Schedules of faults, drawn from the seed. A scenario that bears a name of DRBD's test suite does what that name
//! says; `README.md` has the table.

mod cuts;
mod disks;
mod leaders;
mod mixed;
mod operators;
mod resyncs;

use super::faults::{Fault, Who};
use crate::rng::Rng;

/// A kind of schedule.
#[derive(Debug, Clone, Copy)]
pub struct Scenario {
    /// Its name on the command line.
    pub name: &'static str,
    /// How many copies it needs; 0 for any.
    pub copies: usize,
    /// Disks damage data in silence: a verify has to find it before the copies are compared.
    pub silent: bool,
    /// An operator splits the copies: that must be detected.
    pub splits: bool,
    plan: fn(&mut Plan),
}

/// A schedule under construction.
#[derive(Debug)]
pub struct Plan {
    rng: Rng,
    now: u64,
    faults: Vec<(u64, Fault)>,
}

const fn scenario(name: &'static str, copies: usize, plan: fn(&mut Plan)) -> Scenario {
    Scenario { name, copies, silent: false, splits: false, plan }
}

const fn silent(name: &'static str, plan: fn(&mut Plan)) -> Scenario {
    Scenario { name, copies: 2, silent: true, splits: false, plan }
}

/// All scenarios; [`MIXED`] mixes the faults of all that a correct replica can mask.
pub const SCENARIOS: &[Scenario] = &[
    scenario("fault-free", 0, |p| p.wait(4000, 4001)),
    // ---- the issue's own ----
    scenario("cut-with-the-witness-visible", 0, Plan::cut),
    scenario("pause-past-the-lease", 0, Plan::pause),
    scenario("torn-writes", 0, Plan::torn_writes),
    silent("lost-write", |p| p.silently(Fault::Lose(Who::Follower))),
    silent("misdirected-write", |p| p.silently(Fault::Misdirect(Who::Follower))),
    silent("flipped-bit", |p| p.silently(Fault::Flip(Who::Follower))),
    silent("lying-flush", Plan::lying_flush),
    scenario("slow-disk", 0, Plan::slow_disk),
    scenario("restart-storm", 0, Plan::restart_storm),
    scenario("clock-jumps", 0, Plan::clock_jumps),
    scenario("message-delay", 0, Plan::message_delay),
    scenario("one-way-cut", 0, Plan::one_way),
    scenario("power-cut-of-all", 0, Plan::power_cut_of_all),
    // ---- by DRBD's names ----
    Scenario { name: "split-brain", copies: 2, silent: false, splits: true, plan: Plan::split_brain },
    scenario("quorum", 0, |p| p.isolations(Who::Witness)),
    scenario("quorum-isolate-primary", 0, |p| p.isolations(Who::Leader)),
    scenario("quorum-degraded-join", 0, Plan::degraded_join),
    scenario("quorum-far-away-and-down", 0, Plan::far_away_and_down),
    scenario("quorum-failover-reconnect", 0, Plan::failover_reconnect),
    scenario("quorum-suspend-failover-busy", 0, |p| {
        p.add(Fault::Pace(2000));
        p.failover_reconnect();
    }),
    scenario("quorum-suspended-cancel", 0, Plan::suspended_cancel),
    scenario("quorum-tiebreaker", 2, Plan::tiebreaker),
    scenario("suspend-io", 0, |p| {
        let patience = p.rng.pick(&[100, 1000, 60_000]);
        p.add(Fault::Patience(patience));
        p.link_flaps(Who::Follower);
    }),
    scenario("fencing", 0, Plan::fencing),
    scenario("switch-primaries", 0, |p| p.moves(false)),
    scenario("concurrent-promote-demote", 0, |p| p.moves(true)),
    scenario("connect-abort", 0, Plan::connect_abort),
    scenario("unstable-retry", 0, Plan::unstable),
    scenario("resync-initial", 0, Plan::replace_device),
    scenario("resync", 0, |p| p.returns(1, 1)),
    scenario("busy-resync", 0, |p| {
        p.add(Fault::Pace(1500));
        p.returns(1, 20);
    }),
    scenario("brief-resync-oos", 0, |p| p.brief_breaks(1, 30)),
    scenario("resync-multiple-interrupt", 0, |p| p.interrupted(false)),
    scenario("resync-interrupt-variants", 0, |p| p.interrupted(true)),
    scenario("resync-after-primary-crash", 0, Plan::primary_crash),
    scenario("resync-source-becomes-target", 0, Plan::source_becomes_target),
    scenario("resync-target-promote", 2, Plan::source_lost),
    scenario("resync-double-target", 3, Plan::double_target),
    scenario("switch-sync-source", 3, Plan::switch_source),
    scenario("write-during-resync", 0, Plan::write_during_resync),
    scenario("lost-primary-after-no-writes", 0, Plan::no_writes),
    scenario("stress-al", 0, Plan::stress_al),
    scenario("verify", 0, Plan::verify),
    scenario("verify-target-becomes-inconsistent", 0, Plan::verify_interrupted),
    scenario("io-errors", 0, Plan::io_errors),
    scenario("disk-timeout", 0, Plan::disk_timeout),
    scenario("add-disk", 0, Plan::replace_device),
    scenario("peer-acks", 3, Plan::peer_acks),
    scenario("resize", 0, Plan::resize),
    scenario("mixed", 0, Plan::mixed),
];

/// Random faults that overlap.
pub const MIXED: Scenario = SCENARIOS[SCENARIOS.len() - 1];

impl Scenario {
    /// The scenario of this name.
    pub fn parse(name: &str) -> Option<Self> {
        SCENARIOS.iter().copied().find(|s| s.name == name)
    }

    /// The scenario of a seed where none is asked for: a third of them are mixed.
    pub fn of_seed(seed: u64) -> Self {
        let named = &SCENARIOS[1..];
        match seed % 3 {
            0 => MIXED,
            _ => named[(seed - seed / 3) as usize % named.len()],
        }
    }

    /// How many copies it has with this seed.
    pub fn copies(self, seed: u64) -> usize {
        match self.copies {
            0 => 2 + usize::from(Rng::new(seed).chance(400)),
            n => n,
        }
    }

    /// The faults, each with its time in milliseconds after the start, and the end.
    pub fn plan(self, rng: Rng) -> (Vec<(u64, Fault)>, u64) {
        let mut plan = Plan { rng, now: 0, faults: Vec::new() };
        plan.wait(200, 1200);
        (self.plan)(&mut plan);
        (plan.faults, plan.now)
    }
}

const LEADER: Who = Who::Leader;
const FOLLOWER: Who = Who::Follower;

impl Plan {
    fn wait(&mut self, low_ms: u64, high_ms: u64) {
        self.now += self.rng.between(low_ms, high_ms);
    }

    fn add(&mut self, fault: Fault) {
        self.faults.push((self.now, fault));
    }

    fn kill(&mut self, who: Who) {
        let power = self.rng.chance(700);
        self.add(Fault::Kill { who, power });
    }

    fn anybody(&mut self) -> Who {
        self.rng.pick(&[LEADER, FOLLOWER, Who::Witness, Who::Member(0), Who::Member(1)])
    }

    fn copy(&mut self) -> Who {
        self.rng.pick(&[LEADER, FOLLOWER])
    }

    fn times(&mut self, low: u64, high: u64, mut act: impl FnMut(&mut Self)) {
        for _ in 0..self.rng.between(low, high) {
            act(self);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blocks::Job;

    #[test]
    fn every_scenario_has_its_line_in_the_readme_and_some_seed() {
        let readme = include_str!("../../../README.md");
        for scenario in &SCENARIOS[15..SCENARIOS.len() - 1] {
            assert!(readme.contains(&format!("= {}", scenario.name)), "{}", scenario.name);
        }
        let drawn = |s: &Scenario| (1..200).any(|seed| Scenario::of_seed(seed).name == s.name);
        assert!(SCENARIOS[1..].iter().all(drawn));
    }

    #[test]
    fn a_seed_gives_one_trace() {
        let run = |seed| Job::scenario(seed, Scenario::parse("connect-abort").unwrap()).run();
        let (first, again, other) = (run(1), run(1), run(2));
        assert_eq!(first.violation, None, "{}", first.job.replay_line());
        assert_eq!(first.hash, again.hash);
        assert_ne!(first.hash, other.hash);
    }
}

//! Schedules of faults, drawn from the seed. A scenario that bears a name of DRBD's test suite does what that name
//! says; `README.md` has the table.

mod checksums;
mod cuts;
mod disks;
mod followers;
mod leaders;
mod mixed;
mod operators;
mod resyncs;
mod writers;

use std::time::Duration;

use bytes::Bytes;
use posthaste_blockrepl::{Config, Congestion, LowRedundancy, Protocol};

use super::faults::{Fault, Who};
use super::layout::{encode, offset, whole_blocks};
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
    /// Who writes, and how.
    pub setting: Setting,
    plan: fn(&mut Plan),
}

/// Who writes, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setting {
    /// The leader alone.
    Leader,
    /// The leader alone; resyncs compare digests first. Elsewhere they do with one seed of four.
    Digests,
    /// All nodes with a copy.
    Writers,
    /// They, and the witness, which has no copy.
    Diskless,
    /// The leader alone, whole blocks; each read is checked against checksums.
    Checksums,
    /// The leader alone; the last copy is under protocol A or B.
    Followers,
    /// The leader alone; nothing is written while fewer than two copies are in sync.
    Redundant,
    /// All nodes with a copy, whole blocks; each read is checked against checksums.
    CheckedWriters,
}

impl Setting {
    /// Whether several nodes write.
    pub fn shares(self) -> bool {
        matches!(self, Self::Writers | Self::Diskless | Self::CheckedWriters)
    }

    /// Whether reads are checked, and whole blocks written.
    pub fn checks(self) -> bool {
        matches!(self, Self::Checksums | Self::CheckedWriters)
    }

    /// Where a write to these sectors goes, and its bytes.
    pub(super) fn bytes(self, first: usize, len: usize, id: u64) -> (u64, Bytes) {
        match self.checks() {
            true => whole_blocks(first, len, id),
            false => (offset(first), encode(first, len, id)),
        }
    }

    /// What is waited for, per node.
    pub(super) fn protocols(self, copies: usize, seed: u64) -> [Protocol; 3] {
        let mut protocols = [Protocol::C; 3];
        if self == Self::Followers {
            protocols[copies - 1] = Rng::new(seed ^ 0xAB).pick(&[Protocol::A, Protocol::B]);
        }
        protocols
    }

    /// The configuration that goes with it.
    pub(super) fn config(self, config: Config, seed: u64) -> Config {
        let mut rng = Rng::new(seed ^ 0x5E77);
        let resync_by_digest = self == Self::Digests || Rng::new(seed ^ 0xD16).chance(250);
        let config = Config { resync_by_digest, ..config };
        match self {
            Self::Leader | Self::Digests => config,
            Self::Checksums => Config { verify_reads: true, ..config },
            Self::Followers => {
                Config { congestion: rng.pick(&[Congestion::Wait, Congestion::Behind]), ..config }
            }
            Self::Writers | Self::Diskless => {
                Config { lease_grace: Duration::from_millis(rng.pick(&[200, 1500, 5000])), ..config }
            }
            Self::CheckedWriters => Config { verify_reads: true, ..config },
            Self::Redundant => {
                let low_redundancy = rng.pick(&[LowRedundancy::Suspend, LowRedundancy::Fail]);
                Config { min_redundancy: 2, low_redundancy, ..config }
            }
        }
    }
}

/// A schedule under construction.
#[derive(Debug)]
pub struct Plan {
    rng: Rng,
    now: u64,
    faults: Vec<(u64, Fault)>,
}

const fn scenario(name: &'static str, copies: usize, plan: fn(&mut Plan)) -> Scenario {
    Scenario { name, copies, silent: false, splits: false, setting: Setting::Leader, plan }
}

const fn silent(name: &'static str, plan: fn(&mut Plan)) -> Scenario {
    Scenario { silent: true, ..scenario(name, 2, plan) }
}

const fn with(name: &'static str, setting: Setting, copies: usize, plan: fn(&mut Plan)) -> Scenario {
    Scenario { setting, ..scenario(name, copies, plan) }
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
    Scenario { splits: true, ..scenario("split-brain", 2, Plan::split_brain) },
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
    scenario("resync-undo-power-cut", 2, Plan::undo_power_cut),
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
    scenario("resize-crash", 0, Plan::resize_crash),
    scenario("resize-no-room", 0, Plan::resize_no_room),
    scenario("shrink", 0, Plan::shrink),
    scenario("shrink-crash", 0, Plan::shrink_crash),
    scenario("resize-mixed", 0, Plan::resize_mixed),
    scenario("resync-from-weak", 3, Plan::weak_source),
    scenario("add-disk-concurrent", 3, Plan::members_come_and_go),
    scenario("io-errors-metadata", 0, Plan::metadata_errors),
    scenario("read-errors-during-resync", 0, Plan::latent_errors),
    Scenario { splits: true, ..scenario("split-brain-snapshot", 2, Plan::snapshot_crash) },
    with("checksum-resync", Setting::Digests, 0, Plan::by_digest),
    scenario("resync-discard", 0, Plan::discards),
    // ---- a least redundancy ----
    with("min-redundancy", Setting::Redundant, 0, Plan::redundancy),
    with("min-redundancy-mixed", Setting::Redundant, 0, Plan::mixed),
    // ---- checksums ----
    with("checksums", Setting::Checksums, 0, Plan::torn_writes),
    with("checksums-read-errors", Setting::Checksums, 2, Plan::latent_reads),
    Scenario {
        silent: true,
        ..with("checksums-flipped-bit", Setting::Checksums, 2, |p| p.silently_while_read(LEADER, Fault::Flip))
    },
    Scenario {
        silent: true,
        ..with("checksums-lost-write", Setting::Checksums, 2, |p| p.silently_while_read(LEADER, Fault::Lose))
    },
    Scenario {
        silent: true,
        ..with("checksums-misdirected-write", Setting::Checksums, 2, |p| {
            p.silently_while_read(LEADER, Fault::Misdirect)
        })
    },
    Scenario {
        silent: true,
        ..with("checksums-damaged-source", Setting::Checksums, 2, Plan::damaged_source)
    },
    // ---- protocols A and B ----
    with("protocol-a-io", Setting::Followers, 0, |p| p.link_flaps(Who::Follower)),
    with("ahead-behind", Setting::Followers, 0, Plan::ahead_behind),
    with("protocol-change", Setting::Followers, 0, Plan::protocol_change),
    with("protocol-promote", Setting::Followers, 2, Plan::promote_follower),
    with("protocol-mixed", Setting::Followers, 0, Plan::mixed),
    // ---- several writers ----
    with("writers-fault-free", Setting::Writers, 0, |p| p.wait(4000, 4001)),
    with("writers-overlap", Setting::Writers, 0, Plan::overlaps),
    with("writers-cut", Setting::Writers, 0, Plan::writers_cut),
    with("writers-silent-cut", Setting::Writers, 0, Plan::silent_cuts),
    with("writers-crash", Setting::Writers, 0, Plan::writers_crash),
    with("writers-unstable", Setting::Writers, 0, |p| p.brief_breaks(1, 30)),
    with("writers-switch-primaries", Setting::Writers, 0, |p| p.moves(true)),
    with("range-leases", Setting::Writers, 0, Plan::leases),
    with("diskless", Setting::Diskless, 2, Plan::diskless),
    with("quorum-suspend-failover-dless", Setting::Diskless, 2, Plan::diskless_failover),
    with("resync-w-dless-pri", Setting::Diskless, 2, |p| p.returns(1, 20)),
    with("io-errors-diskless", Setting::Writers, 2, Plan::serves_from_the_peer),
    with("recreate-node-day0-diskless", Setting::Diskless, 2, Plan::replace_device),
    with("resync-after-failover-to-dless", Setting::Diskless, 2, Plan::diskless_late),
    with("writers-resize", Setting::Writers, 0, Plan::resize),
    with("writers-shrink", Setting::Writers, 0, Plan::shrink),
    with("writers-shrink-crash", Setting::Writers, 0, Plan::shrink_crash),
    Scenario { splits: true, ..with("writers-split-brain", Setting::Writers, 2, Plan::split_brain) },
    Scenario {
        splits: true,
        ..with("diskless-primary-split-brain", Setting::Diskless, 2, Plan::split_brain)
    },
    Scenario {
        silent: true,
        ..with("writers-flipped-bit", Setting::CheckedWriters, 2, |p| p.either_silently(Fault::Flip))
    },
    Scenario {
        silent: true,
        ..with("writers-lost-write", Setting::CheckedWriters, 2, |p| p.either_silently(Fault::Lose))
    },
    Scenario {
        silent: true,
        ..with("writers-misdirected-write", Setting::CheckedWriters, 2, |p| {
            p.either_silently(Fault::Misdirect)
        })
    },
    with("writers-mixed", Setting::Writers, 0, Plan::writers_mixed),
    with("diskless-mixed", Setting::Diskless, 2, Plan::writers_mixed),
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
        for scenario in &SCENARIOS[1..SCENARIOS.len() - 1] {
            assert!(readme.contains(scenario.name), "{}", scenario.name);
        }
        let drawn = |s: &Scenario| (1..400).any(|seed| Scenario::of_seed(seed).name == s.name);
        assert!(SCENARIOS[1..].iter().all(drawn));
    }

    /// The names in `tests` of LINBIT/drbd9-tests as of May 2026.
    #[test]
    fn every_scenario_of_drbds_has_its_line_in_the_readme() {
        let (readme, names) =
            (include_str!("../../../README.md"), include_str!("../../../tests/drbd9-tests"));
        let words: Vec<&str> = readme.split([' ', ',', '|', '\n']).collect();
        let missing: Vec<&str> = names.split_whitespace().filter(|name| !words.contains(name)).collect();
        assert!(missing.is_empty(), "{missing:?}");
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

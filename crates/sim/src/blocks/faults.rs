//! What goes wrong, and when: schedules drawn from the seed. A scenario that bears a name of DRBD's test suite
//! does what that name says; `README.md` has the table.

use posthaste_blockrepl::core::Input;

use super::layout::{SECTORS, SIZE, offset};
use super::owner::{Asked, Stage};
use super::world::World;
use crate::disk::SECTOR;
use crate::rng::Rng;

/// Whom a fault hits; chosen when it happens.
#[derive(Debug, Clone, Copy)]
pub enum Who {
    /// This member.
    Member(usize),
    /// Whoever leads then (or led last).
    Leader,
    /// One of the other copies.
    Follower,
    /// The one that the fault before has hit.
    Same,
    /// The member without a copy, or the last one.
    Witness,
}

/// One thing that goes wrong, or right again.
#[derive(Debug, Clone, Copy)]
#[allow(missing_docs)]
pub enum Fault {
    /// The process dies; with `power` the disk's cache, too.
    Kill {
        who: Who,
        power: bool,
    },
    /// All that do not run are started.
    StartAll,
    /// This one is.
    Start(Who),
    Pause {
        who: Who,
        ms: u64,
    },
    /// Nothing passes between two members, in either direction.
    Cut {
        a: usize,
        b: usize,
        on: bool,
    },
    /// Nothing passes from one to the other.
    OneWay {
        from: usize,
        to: usize,
    },
    /// Cut off from everybody.
    Isolate(Who),
    /// The leader and this copy lose their replication link, nothing else.
    LinkCut(Who),
    /// All cuts end.
    Mend,
    Delay(u64),
    LostAnswers(u64),
    SlowDisk {
        who: Who,
        times: u64,
    },
    FailFlush {
        who: Who,
        meta: bool,
    },
    FailIo {
        who: Who,
        meta: bool,
    },
    Hang {
        who: Who,
        meta: bool,
    },
    /// What the disk says is flushed is not.
    Lie(Who),
    Lose(Who),
    Misdirect(Who),
    Flip(Who),
    /// A clock is put forward, or what the replica is told jumps about.
    ClockJump {
        who: Who,
        ms: u64,
        back: bool,
    },
    /// A planned move.
    Move,
    /// The leader compares the copies.
    Verify,
    /// An operator makes the device larger.
    Resize,
    /// Who is not counted as in sync gets a new, blank device.
    Replace(Who),
    /// The operator lets a node lead that nobody counts.
    Force(Who),
    /// The operator decides for the forced one.
    ForcedWins,
    /// The pace of clients, in microseconds.
    Pace(u64),
    /// Owners wait for a member that is away for so many milliseconds before they have it removed.
    Patience(u64),
}

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

    // ---- the issue's own ----

    fn cut(&mut self) {
        self.times(1, 4, |p| {
            p.add(Fault::Cut { a: 0, b: 1, on: true });
            p.wait(300, 4000);
            p.add(Fault::Cut { a: 0, b: 1, on: false });
            p.wait(20, 2500);
        });
    }

    fn pause(&mut self) {
        self.times(1, 5, |p| {
            let who = if p.rng.chance(600) { LEADER } else { p.anybody() };
            let ms = p.rng.between(300, 3500);
            p.add(Fault::Pause { who, ms });
            p.wait(ms, ms + 2500);
        });
    }

    fn torn_writes(&mut self) {
        self.add(Fault::Pace(2000));
        self.times(2, 6, |p| {
            let who = p.copy();
            p.add(Fault::Kill { who, power: true });
            p.wait(20, 1500);
            p.add(Fault::StartAll);
            p.wait(300, 3000);
        });
    }

    /// Data are damaged on a follower, which does not lead before a verify has healed it.
    fn silently(&mut self, fault: Fault) {
        self.times(1, 6, |p| {
            p.add(fault);
            p.wait(50, 700);
        });
    }

    fn lying_flush(&mut self) {
        self.add(Fault::Lie(FOLLOWER));
        self.wait(500, 3000);
        self.add(Fault::Kill { who: Who::Same, power: true });
        self.wait(50, 1500);
        self.add(Fault::StartAll);
        self.wait(500, 3000);
    }

    fn slow_disk(&mut self) {
        self.times(1, 3, |p| {
            let (who, times) = (p.copy(), p.rng.pick(&[10, 100, 600, 3000]));
            p.add(Fault::SlowDisk { who, times });
            p.wait(800, 4000);
            if p.rng.chance(400) {
                p.kill(LEADER);
                p.wait(500, 2500);
                p.add(Fault::StartAll);
            }
            p.add(Fault::SlowDisk { who: Who::Same, times: 1 });
            p.wait(200, 1500);
        });
    }

    fn restart_storm(&mut self) {
        self.times(4, 14, |p| {
            let who = p.anybody();
            p.kill(who);
            p.wait(10, 500);
            if p.rng.chance(700) {
                p.add(Fault::StartAll);
            }
            p.wait(20, 900);
        });
    }

    fn clock_jumps(&mut self) {
        self.times(2, 8, |p| {
            let (who, ms, back) = (p.copy(), p.rng.pick(&[50, 700, 10_000, 86_400_000]), p.rng.chance(400));
            p.add(Fault::ClockJump { who, ms, back });
            p.wait(100, 1500);
            if p.rng.chance(300) {
                p.kill(LEADER);
                p.wait(100, 1500);
                p.add(Fault::StartAll);
            }
        });
    }

    fn message_delay(&mut self) {
        let (delay, lost) = (self.rng.pick(&[5, 40, 200]), self.rng.below(600));
        self.add(Fault::Delay(delay));
        self.add(Fault::LostAnswers(lost));
        self.wait(1000, 4000);
        let who = self.anybody();
        self.kill(who);
        self.wait(500, 3000);
        self.add(Fault::StartAll);
        self.wait(500, 3000);
    }

    fn one_way(&mut self) {
        self.times(1, 4, |p| {
            let (from, to) = p.rng.pick(&[(0, 1), (1, 0), (0, 2), (1, 2), (2, 0)]);
            p.add(Fault::OneWay { from, to });
            p.wait(300, 3000);
            p.add(Fault::Mend);
            p.wait(50, 2000);
        });
    }

    fn power_cut_of_all(&mut self) {
        self.times(1, 3, |p| {
            for n in 0..3 {
                p.add(Fault::Kill { who: Who::Member(n), power: true });
                p.wait(0, 30);
            }
            let first = p.rng.below(3) as usize;
            p.add(Fault::Start(Who::Member(first)));
            p.wait(10, 2500);
            p.add(Fault::StartAll);
            p.wait(500, 3000);
        });
    }

    // ---- by DRBD's names ----

    fn split_brain(&mut self) {
        self.add(Fault::Isolate(FOLLOWER));
        self.wait(2500, 4000);
        self.add(Fault::Force(Who::Same));
        self.wait(800, 2500);
        if self.rng.chance(500) {
            self.add(Fault::ForcedWins);
        }
        self.add(Fault::Mend);
        self.wait(500, 2000);
    }

    fn isolations(&mut self, who: Who) {
        self.times(1, 4, |p| {
            p.add(Fault::Isolate(who));
            p.wait(200, 4000);
            p.add(Fault::Mend);
            p.wait(50, 2500);
        });
    }

    /// The leader goes on alone; the other comes back while a third is away.
    fn degraded_join(&mut self) {
        self.kill(FOLLOWER);
        self.wait(1500, 3000);
        self.add(Fault::Isolate(Who::Witness));
        self.wait(100, 800);
        self.add(Fault::StartAll);
        self.wait(500, 2500);
        self.add(Fault::Mend);
        self.wait(300, 1500);
    }

    fn far_away_and_down(&mut self) {
        self.add(Fault::Isolate(FOLLOWER));
        self.wait(1000, 2500);
        self.kill(Who::Same);
        self.wait(100, 1500);
        self.add(Fault::Mend);
        self.add(Fault::StartAll);
        self.wait(300, 2000);
    }

    fn failover_reconnect(&mut self) {
        self.times(1, 4, |p| {
            p.add(Fault::Isolate(LEADER));
            p.wait(700, 3500);
            p.add(Fault::Mend);
            p.wait(0, 1500);
        });
    }

    /// Everybody is alone for a while: nothing is acknowledged; some wait is ended by a restart.
    fn suspended_cancel(&mut self) {
        for (a, b) in [(0, 1), (0, 2), (1, 2)] {
            self.add(Fault::Cut { a, b, on: true });
        }
        self.wait(500, 3000);
        if self.rng.chance(500) {
            self.kill(LEADER);
            self.wait(100, 800);
            self.add(Fault::StartAll);
        }
        self.add(Fault::Mend);
        self.wait(500, 2500);
    }

    fn tiebreaker(&mut self) {
        self.times(1, 4, |p| {
            p.add(Fault::Cut { a: 0, b: 1, on: true });
            p.wait(20, 800);
            p.kill(Who::Witness);
            p.wait(50, 1500);
            p.add(Fault::StartAll);
            p.wait(100, 1500);
            p.add(Fault::Mend);
            p.wait(50, 2000);
        });
    }

    fn link_flaps(&mut self, who: Who) {
        self.times(1, 6, |p| {
            p.add(Fault::LinkCut(who));
            p.wait(200, 3500);
            p.add(Fault::Mend);
            p.wait(10, 1500);
        });
    }

    fn fencing(&mut self) {
        self.times(1, 4, |p| {
            let (ms, times) = (p.rng.between(700, 2500), p.rng.pick(&[1, 30, 300]));
            // Its writes take long: they may be under way when the epoch is raised.
            p.add(Fault::SlowDisk { who: FOLLOWER, times });
            match p.rng.below(3) {
                0 => p.add(Fault::Isolate(LEADER)),
                1 => p.add(Fault::Pause { who: LEADER, ms }),
                _ => p.add(Fault::Cut { a: 0, b: 1, on: true }),
            }
            // What is on its way to the other copy arrives late.
            p.add(Fault::Delay(60));
            p.wait(ms, ms + 1000);
            p.add(Fault::SlowDisk { who: Who::Member(0), times: 1 });
            p.add(Fault::SlowDisk { who: Who::Member(1), times: 1 });
            p.add(Fault::Mend);
            p.wait(20, 1500);
        });
    }

    fn moves(&mut self, busy: bool) {
        self.times(2, 8, |p| {
            p.add(Fault::Move);
            if busy {
                p.wait(0, 120);
                match p.rng.below(4) {
                    0 => p.kill(LEADER),
                    1 => p.add(Fault::LinkCut(FOLLOWER)),
                    2 => p.add(Fault::Pause { who: LEADER, ms: 900 }),
                    _ => p.add(Fault::Move),
                }
                p.wait(20, 1500);
                p.add(Fault::Mend);
                p.add(Fault::StartAll);
            }
            p.wait(100, 1500);
        });
    }

    fn connect_abort(&mut self) {
        self.times(3, 12, |p| {
            p.add(Fault::LinkCut(FOLLOWER));
            p.wait(400, 2200);
            p.add(Fault::Mend);
            // In the midst of the handshake.
            p.wait(0, 330);
        });
    }

    fn unstable(&mut self) {
        self.times(8, 25, |p| {
            let (from, to) = p.rng.pick(&[(0, 1), (1, 0), (0, 2), (2, 1)]);
            p.add(Fault::OneWay { from, to });
            p.wait(20, 500);
            p.add(Fault::Mend);
            p.wait(5, 400);
        });
    }

    fn replace_device(&mut self) {
        self.times(1, 3, |p| {
            p.kill(FOLLOWER);
            p.wait(1500, 3000);
            p.add(Fault::Replace(Who::Same));
            p.add(Fault::StartAll);
            p.wait(300, 2500);
        });
    }

    fn returns(&mut self, low: u64, slow: u64) {
        self.times(low, low + 3, |p| {
            p.kill(FOLLOWER);
            p.wait(800, 3500);
            p.add(Fault::SlowDisk { who: LEADER, times: slow });
            p.add(Fault::StartAll);
            p.wait(300, 2500);
        });
    }

    fn brief_breaks(&mut self, low_ms: u64, high_ms: u64) {
        self.times(3, 15, |p| {
            // Nobody is removed for so short a break; all that was unflushed is resynced.
            p.add(Fault::Patience(10_000));
            p.add(Fault::LinkCut(FOLLOWER));
            p.wait(500 + low_ms, 2000 + high_ms);
            p.add(Fault::Mend);
            p.add(Fault::StartAll);
            p.wait(50, 900);
        });
    }

    fn interrupted(&mut self, variants: bool) {
        self.kill(FOLLOWER);
        self.wait(1000, 3000);
        self.add(Fault::StartAll);
        self.add(Fault::SlowDisk { who: LEADER, times: 30 });
        self.add(Fault::SlowDisk { who: FOLLOWER, times: 30 });
        self.times(2, 7, |p| {
            p.wait(100, 700);
            match p.rng.below(if variants { 5 } else { 1 }) {
                0 => p.add(Fault::LinkCut(FOLLOWER)),
                1 => p.kill(FOLLOWER),
                2 => p.kill(LEADER),
                3 => p.add(Fault::Pause { who: FOLLOWER, ms: 800 }),
                _ => p.add(Fault::Move),
            }
            p.wait(100, 1500);
            p.add(Fault::Mend);
            p.add(Fault::StartAll);
        });
        self.wait(300, 1500);
    }

    fn primary_crash(&mut self) {
        self.add(Fault::Pace(2500));
        self.times(1, 4, |p| {
            p.kill(LEADER);
            p.wait(20, 2500);
            p.add(Fault::StartAll);
            p.wait(500, 3000);
        });
    }

    fn source_becomes_target(&mut self) {
        self.times(1, 3, |p| {
            p.kill(FOLLOWER);
            p.wait(800, 2000);
            p.add(Fault::StartAll);
            p.wait(300, 2500);
            p.kill(LEADER);
            p.wait(800, 2500);
            p.add(Fault::StartAll);
            p.wait(300, 2500);
        });
    }

    /// The target is in sync all the while: its link broke for a moment. It has to go back (R9).
    fn source_lost(&mut self) {
        self.times(1, 4, |p| {
            p.add(Fault::Pace(2000));
            let times = p.rng.pick(&[8, 40, 150]);
            p.add(Fault::Patience(60_000));
            p.add(Fault::LinkCut(FOLLOWER));
            p.wait(800, 2200);
            p.add(Fault::SlowDisk { who: LEADER, times });
            p.add(Fault::SlowDisk { who: FOLLOWER, times });
            p.add(Fault::Mend);
            p.wait(150, 900);
            p.kill(LEADER);
            p.wait(20, 300);
            if p.rng.chance(400) {
                p.wait(100, 600);
                p.kill(FOLLOWER);
                p.wait(10, 100);
                p.add(Fault::Start(Who::Same));
            }
            p.wait(500, 3000);
            p.add(Fault::StartAll);
            p.wait(500, 2500);
        });
    }

    fn double_target(&mut self) {
        self.kill(FOLLOWER);
        self.wait(50, 1500);
        self.add(Fault::LinkCut(FOLLOWER));
        self.wait(800, 2500);
        self.add(Fault::SlowDisk { who: LEADER, times: 20 });
        self.add(Fault::StartAll);
        self.add(Fault::Mend);
        self.wait(300, 2000);
    }

    fn switch_source(&mut self) {
        self.kill(FOLLOWER);
        self.wait(1000, 2500);
        self.add(Fault::SlowDisk { who: Who::Member(0), times: 20 });
        self.add(Fault::StartAll);
        self.wait(50, 800);
        match self.rng.below(2) {
            0 => self.add(Fault::Move),
            _ => self.kill(LEADER),
        }
        self.wait(500, 3000);
        self.add(Fault::StartAll);
        self.wait(300, 2500);
    }

    fn write_during_resync(&mut self) {
        self.add(Fault::Pace(1500));
        self.add(Fault::LinkCut(FOLLOWER));
        self.wait(1000, 2500);
        self.add(Fault::Mend);
        self.wait(50, 500);
        self.add(Fault::Pause { who: Who::Same, ms: 600 });
        self.wait(800, 2000);
        self.kill(LEADER);
        self.wait(800, 2500);
        self.add(Fault::StartAll);
        self.wait(300, 1500);
    }

    fn no_writes(&mut self) {
        self.add(Fault::Pace(10_000_000));
        self.wait(500, 1500);
        self.kill(LEADER);
        self.wait(800, 2500);
        self.add(Fault::StartAll);
        self.wait(300, 1500);
        self.add(Fault::Pace(8000));
        self.wait(300, 1500);
    }

    fn stress_al(&mut self) {
        self.add(Fault::Pace(1200));
        self.wait(800, 2500);
        self.times(1, 4, |p| {
            let (times, alone) = (p.rng.pick(&[1, 10, 60]), p.rng.chance(400));
            p.add(Fault::SlowDisk { who: LEADER, times });
            if alone {
                p.add(Fault::Kill { who: FOLLOWER, power: true });
                p.wait(800, 2000);
            }
            p.wait(20, 600);
            let who = if alone { LEADER } else { p.copy() };
            p.add(Fault::Kill { who, power: true });
            p.wait(20, 1500);
            p.add(Fault::StartAll);
            p.wait(500, 2500);
        });
    }

    fn verify(&mut self) {
        self.times(1, 5, |p| {
            p.add(Fault::Verify);
            p.wait(50, 1500);
            if p.rng.chance(300) {
                p.add(Fault::Move);
                p.wait(50, 800);
            }
        });
    }

    fn verify_interrupted(&mut self) {
        self.times(1, 5, |p| {
            p.add(Fault::SlowDisk { who: LEADER, times: 20 });
            p.add(Fault::Verify);
            p.wait(5, 300);
            match p.rng.below(3) {
                0 => p.add(Fault::LinkCut(FOLLOWER)),
                1 => p.kill(FOLLOWER),
                _ => p.kill(LEADER),
            }
            p.wait(300, 2000);
            p.add(Fault::Mend);
            p.add(Fault::StartAll);
            p.wait(200, 1500);
        });
    }

    fn io_errors(&mut self) {
        self.times(1, 4, |p| {
            let (who, meta) = (p.copy(), p.rng.chance(300));
            match p.rng.chance(600) {
                true => p.add(Fault::FailFlush { who, meta }),
                false => p.add(Fault::FailIo { who, meta }),
            }
            p.wait(300, 3500);
            p.kill(Who::Same);
            p.wait(20, 1500);
            p.add(Fault::StartAll);
            p.wait(300, 3000);
        });
    }

    fn disk_timeout(&mut self) {
        let (who, meta) = (self.copy(), self.rng.chance(300));
        self.add(Fault::Hang { who, meta });
        self.wait(3000, 6000);
        self.add(Fault::Kill { who: Who::Same, power: true });
        self.wait(20, 1500);
        self.add(Fault::StartAll);
        self.wait(300, 2000);
    }

    fn resize(&mut self) {
        self.times(1, 4, |p| {
            if p.rng.chance(400) {
                // It hears of the new size when it returns.
                p.kill(FOLLOWER);
                p.wait(1200, 2500);
            }
            p.add(Fault::Resize);
            p.wait(0, 60);
            match p.rng.below(4) {
                0 => p.kill(LEADER),
                1 => p.kill(FOLLOWER),
                2 => p.add(Fault::LinkCut(FOLLOWER)),
                _ => {}
            }
            p.wait(300, 2500);
            p.add(Fault::Mend);
            p.add(Fault::StartAll);
            p.wait(200, 1500);
        });
    }

    /// One is away while the leader dies: what the new one forgot would be missing on the third.
    fn peer_acks(&mut self) {
        self.times(1, 4, |p| {
            p.add(Fault::LinkCut(FOLLOWER));
            p.wait(50, 600);
            p.kill(LEADER);
            p.wait(600, 2000);
            p.add(Fault::Mend);
            p.add(Fault::StartAll);
            p.wait(300, 2500);
        });
    }

    fn mixed(&mut self) {
        let (pace, patience) = (self.rng.pick(&[1500, 6000, 30_000]), self.rng.pick(&[100, 400, 2000]));
        self.add(Fault::Pace(pace));
        self.add(Fault::Patience(patience));
        self.times(4, 14, Plan::any);
    }

    fn any(&mut self) {
        let who = self.anybody();
        let copy = self.copy();
        match self.rng.below(18) {
            0..=3 => self.kill(who),
            4 => self.add(Fault::Cut { a: 0, b: 1, on: true }),
            5 => self.add(Fault::Isolate(who)),
            6 | 7 => self.add(Fault::LinkCut(FOLLOWER)),
            8 => {
                let ms = self.rng.between(50, 2500);
                self.add(Fault::Pause { who, ms });
            }
            9 => {
                let times = self.rng.pick(&[1, 10, 100, 1000]);
                self.add(Fault::SlowDisk { who: copy, times });
            }
            10 => self.add(Fault::FailFlush { who: copy, meta: false }),
            11 => self.add(Fault::Move),
            12 => {
                let ms = self.rng.pick(&[700, 60_000]);
                self.add(Fault::ClockJump { who: copy, ms, back: false });
            }
            13 => self.add(Fault::Verify),
            14 => {
                let delay = self.rng.pick(&[0, 30, 150]);
                self.add(Fault::Delay(delay));
            }
            15 => self.add(Fault::Replace(Who::Same)),
            _ => self.add(Fault::Mend),
        }
        self.wait(20, 1200);
        if self.rng.chance(600) {
            self.add(Fault::StartAll);
        }
        if self.rng.chance(300) {
            self.add(Fault::Mend);
        }
        self.wait(20, 1500);
    }
}

impl World {
    fn whom(&mut self, who: Who) -> usize {
        let leader = self.authority.history.iter().rev().find_map(|g| g.leader).unwrap_or(0);
        let n = match who {
            Who::Member(n) => n,
            Who::Leader => leader,
            Who::Follower => (leader + 1 + self.rng.below(self.copies as u64 - 1) as usize) % self.copies,
            Who::Witness => 2,
            Who::Same => self.last_hit,
        };
        self.last_hit = n;
        n
    }

    fn disk_of(&mut self, who: Who, meta: bool) -> Option<&mut super::disk::Disk> {
        let n = self.whom(who);
        self.machines[n].disks.as_mut().map(|d| &mut d[usize::from(meta)])
    }

    pub(super) fn inflict(&mut self, fault: Fault) {
        self.say(|| format!("FAULT {fault:?}"));
        match fault {
            Fault::Kill { who, power } => {
                let n = self.whom(who);
                let poisoned = self.machines[n].disks.iter().flatten().any(super::disk::Disk::is_poisoned);
                // After a failed flush the machine is started anew, not only the process (R11).
                self.kill(n, power || poisoned);
            }
            Fault::StartAll => (0..3).for_each(|n| self.start(n)),
            Fault::Start(who) => {
                let n = self.whom(who);
                self.start(n);
            }
            Fault::Pause { who, ms } => {
                let n = self.whom(who);
                self.pause(n, ms);
            }
            Fault::Cut { a, b, on } => {
                (self.net.cut[a][b], self.net.cut[b][a]) = (on, on);
                self.links_time_out();
            }
            Fault::OneWay { from, to } => {
                self.net.cut[from][to] = true;
                self.links_time_out();
            }
            Fault::Isolate(who) => {
                let n = self.whom(who);
                for m in (0..3).filter(|m| *m != n) {
                    (self.net.cut[n][m], self.net.cut[m][n]) = (true, true);
                }
                self.links_time_out();
            }
            Fault::LinkCut(who) => {
                let n = self.whom(who);
                for m in (0..3).filter(|m| *m != n) {
                    (self.net.links_cut[n][m], self.net.links_cut[m][n]) = (true, true);
                }
                self.links_time_out();
            }
            Fault::Mend => (self.net.cut, self.net.links_cut) = Default::default(),
            Fault::Delay(ms) => self.net.delay_ms = ms,
            Fault::LostAnswers(per_mille) => self.authority.lost_answers = per_mille,
            Fault::Pace(us) => self.pace = us,
            Fault::Patience(ms) => self.patience = ms * 1000,
            Fault::Move => self.begin_move(),
            Fault::Verify => self.begin_verify(),
            Fault::Resize => self.resize(),
            Fault::ForcedWins => self.decide_for_the_forced(),
            Fault::Force(who) => {
                let n = self.whom(who);
                self.force(n);
            }
            Fault::Replace(who) => {
                let n = self.whom(who);
                self.replace(n);
            }
            Fault::ClockJump { who, ms, back } => {
                let n = self.whom(who);
                match back {
                    true => self.machines[n].wall -= (ms * 1000) as i64,
                    false => self.machines[n].jumped += ms * 1000,
                }
            }
            disk => self.spoil(disk),
        }
    }

    /// What goes wrong with a disk.
    fn spoil(&mut self, fault: Fault) {
        // Who finds damage heals it at once.
        self.verifying |=
            matches!(fault, Fault::Lie(_) | Fault::Lose(_) | Fault::Misdirect(_) | Fault::Flip(_));
        match fault {
            Fault::SlowDisk { who, times } => {
                let n = self.whom(who);
                self.machines[n].slow = times;
            }
            Fault::FailFlush { who, meta } => {
                self.disk_of(who, meta).into_iter().for_each(|d| d.wrong.fail_flush = true);
            }
            Fault::FailIo { who, meta } => {
                self.disk_of(who, meta).into_iter().for_each(|d| d.wrong.fail_io = true);
            }
            Fault::Hang { who, meta } => {
                self.disk_of(who, meta).into_iter().for_each(|d| d.wrong.hangs = true);
            }
            Fault::Lie(who) => {
                self.disk_of(who, false).into_iter().for_each(|d| d.wrong.lies = true);
                self.machines[self.last_hit].distrusted = true;
            }
            Fault::Lose(who) => {
                self.disk_of(who, false).into_iter().for_each(|d| d.wrong.lose = true);
                self.machines[self.last_hit].distrusted = true;
            }
            Fault::Misdirect(who) => {
                let aside = self.rng.pick(&[SECTOR as u64, 4096, 64 << 10, 1 << 20]);
                self.disk_of(who, false).into_iter().for_each(|d| d.wrong.misdirect = Some(aside));
                self.machines[self.last_hit].distrusted = true;
            }
            Fault::Flip(who) => {
                let at = offset(self.rng.below(SECTORS as u64) as usize) + self.rng.below(SECTOR as u64);
                self.disk_of(who, false).into_iter().for_each(|d| d.flip(at));
                self.machines[self.last_hit].distrusted = true;
            }
            _ => {}
        }
    }

    /// An operator has the copies compared, by whoever serves.
    pub(super) fn begin_verify(&mut self) {
        let serves = |p: &super::owner::Proc| matches!(p.stage, Stage::Serving(_));
        if let Some(n) = (0..3).find(|n| self.procs[*n].as_ref().is_some_and(serves)) {
            self.verifying = true;
            self.ask(n, Asked::Verify, |request| Input::Verify { request });
        }
    }

    fn resize(&mut self) {
        let serves = |p: &super::owner::Proc| matches!(p.stage, Stage::Serving(_));
        if let Some(n) = (0..3).find(|n| self.procs[*n].as_ref().is_some_and(serves)) {
            let size = self.replica(n).map_or(SIZE, |r| r.size()) + (1 << 20);
            self.ask(n, Asked::Client, |request| Input::Resize { request, size });
        }
    }

    /// Who is not counted may get a new device; whoever is, holds data.
    fn replace(&mut self, n: usize) {
        let node = self.me(n).node;
        let counted = self.authority.current().in_sync.iter().any(|m| m.node == node);
        if !counted && n < self.copies {
            self.kill(n, true);
            self.machines[n].serial += 1;
            self.format(n);
            self.start(n);
        }
    }

    /// The operator gives up what the others have written: the forced copy is the one that counts.
    fn decide_for_the_forced(&mut self) {
        let n = self.last_hit;
        let Some(status) = self.replica(n).map(|r| r.status()) else { return };
        if !self.split {
            return;
        }
        let current = self.authority.current();
        let next = super::authority::Grants {
            rev: current.rev + 1,
            epoch: current.epoch.max(status.epoch) + 1,
            leader: None,
            in_sync: [self.me(n)].into(),
            generation: current.generation.max(status.generation.generation) + 1,
        };
        self.oracle.accept_loss = true;
        self.say(|| format!("the operator decides: {next:?}"));
        self.authority.history.push(std::rc::Rc::new(next));
    }

    /// All faults end; the operator starts what does not run, and what has lost its disk.
    pub(super) fn heal(&mut self) {
        self.say(|| "HEAL".to_owned());
        self.net.heal();
        self.authority.lost_answers = 0;
        self.wake_all();
        for n in 0..3 {
            self.machines[n].slow = 1;
            let disks = self.machines[n].disks.iter_mut().flatten();
            let mut hung = false;
            for disk in disks {
                hung |= disk.wrong.hangs;
                disk.wrong = super::disk::Wrong::default();
            }
            if hung {
                self.kill(n, true);
            }
            self.start(n);
        }
        self.restart_the_failed();
        self.pace = self.pace.min(20_000);
        self.patience = super::owner::PATIENCE;
    }

    /// The operator starts a machine anew whose disk has failed, once that is well again.
    pub(super) fn restart_the_failed(&mut self) {
        for n in 0..self.copies {
            if self.replica(n).is_some_and(|r| r.status().failed.is_some()) {
                self.kill(n, true);
                self.start(n);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blocks::Job;

    #[test]
    fn every_scenario_has_its_line_in_the_readme_and_some_seed() {
        let readme = include_str!("../../README.md");
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

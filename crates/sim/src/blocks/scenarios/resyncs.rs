//! Copies that come back, and what happens to them while they are brought in step.

use super::super::faults::{Fault, Who};
use super::{FOLLOWER, LEADER, Plan};

impl Plan {
    pub(super) fn returns(&mut self, low: u64, slow: u64) {
        self.times(low, low + 3, |p| {
            p.kill(FOLLOWER);
            p.wait(800, 3500);
            p.add(Fault::SlowDisk { who: LEADER, times: slow });
            p.add(Fault::StartAll);
            p.wait(300, 2500);
        });
    }

    /// What differs little: a leader that crashed, or one whose peer has not flushed yet; and again before all is compared.
    pub(super) fn by_digest(&mut self) {
        let pace = self.rng.pick(&[1500, 6000]);
        self.add(Fault::Pace(pace));
        self.add(Fault::Patience(10_000));
        self.times(2, 6, |p| {
            let times = p.rng.pick(&[1, 40, 300]);
            p.add(Fault::SlowDisk { who: FOLLOWER, times });
            p.wait(50, 400);
            match p.rng.below(3) {
                0 => p.add(Fault::Kill { who: LEADER, power: true }),
                1 => p.kill(FOLLOWER),
                _ => p.add(Fault::LinkCut(FOLLOWER)),
            }
            p.wait(20, 2000);
            p.add(Fault::Mend);
            p.add(Fault::StartAll);
            p.wait(50, 900);
            if p.rng.chance(600) {
                p.kill(FOLLOWER);
                p.wait(20, 300);
                p.add(Fault::StartAll);
            }
            (0..3).for_each(|n| p.add(Fault::SlowDisk { who: Who::Member(n), times: 1 }));
            p.wait(200, 1500);
        });
    }

    /// Much is zeroed and discarded while copies are away, or are brought in step.
    pub(super) fn discards(&mut self) {
        self.add(Fault::Zeros(600));
        self.returns(1, 20);
    }

    pub(super) fn replace_device(&mut self) {
        self.times(1, 3, |p| {
            p.kill(FOLLOWER);
            p.wait(1500, 3000);
            p.add(Fault::Replace(Who::Same));
            p.add(Fault::StartAll);
            p.wait(300, 2500);
        });
    }

    pub(super) fn interrupted(&mut self, variants: bool) {
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

    pub(super) fn source_becomes_target(&mut self) {
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
    pub(super) fn source_lost(&mut self) {
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

    /// The power of both is cut in the midst of a resync of one that is in sync, while before-images are on their way to
    /// its disk.
    pub(super) fn undo_power_cut(&mut self) {
        self.times(1, 4, |p| {
            p.add(Fault::Pace(1500));
            let times = p.rng.pick(&[8, 20, 60]);
            p.add(Fault::Patience(60_000));
            p.add(Fault::LinkCut(FOLLOWER));
            p.wait(800, 2200);
            p.add(Fault::SlowDisk { who: FOLLOWER, times });
            p.add(Fault::Mend);
            p.wait(100, 700);
            p.add(Fault::Kill { who: LEADER, power: true });
            p.add(Fault::Kill { who: FOLLOWER, power: true });
            p.wait(10, 100);
            p.add(Fault::Start(Who::Same));
            p.wait(1500, 3000);
            p.add(Fault::StartAll);
            p.wait(500, 2500);
        });
    }

    pub(super) fn double_target(&mut self) {
        self.kill(FOLLOWER);
        self.wait(50, 1500);
        self.add(Fault::LinkCut(FOLLOWER));
        self.wait(800, 2500);
        self.add(Fault::SlowDisk { who: LEADER, times: 20 });
        self.add(Fault::StartAll);
        self.add(Fault::Mend);
        self.wait(300, 2000);
    }

    /// One that was away is brought in step by a leader that goes in the midst of it; the next one, which knows only what
    /// it was told, goes on.
    pub(super) fn weak_source(&mut self) {
        self.times(1, 3, |p| {
            p.add(Fault::Isolate(FOLLOWER));
            p.wait(800, 2500);
            p.add(Fault::SlowDisk { who: LEADER, times: 30 });
            p.add(Fault::Mend);
            p.wait(100, 900);
            match p.rng.below(3) {
                0 => p.add(Fault::Isolate(LEADER)),
                1 => p.kill(LEADER),
                _ => p.add(Fault::Move),
            }
            p.wait(600, 2500);
            p.add(Fault::Mend);
            p.add(Fault::StartAll);
            p.wait(300, 2000);
        });
    }

    pub(super) fn switch_source(&mut self) {
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

    pub(super) fn write_during_resync(&mut self) {
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
}

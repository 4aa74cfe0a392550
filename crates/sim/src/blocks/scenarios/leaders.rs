//! Leaders and processes that die, sleep, move.

use super::super::faults::{Fault, Who};
use super::{FOLLOWER, LEADER, Plan};

impl Plan {
    pub(super) fn pause(&mut self) {
        self.times(1, 5, |p| {
            let who = if p.rng.chance(600) { LEADER } else { p.anybody() };
            let ms = p.rng.between(300, 3500);
            p.add(Fault::Pause { who, ms });
            p.wait(ms, ms + 2500);
        });
    }

    pub(super) fn fencing(&mut self) {
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

    pub(super) fn moves(&mut self, busy: bool) {
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

    pub(super) fn primary_crash(&mut self) {
        self.add(Fault::Pace(2500));
        self.times(1, 4, |p| {
            p.kill(LEADER);
            p.wait(20, 2500);
            p.add(Fault::StartAll);
            p.wait(500, 3000);
        });
    }

    pub(super) fn no_writes(&mut self) {
        self.add(Fault::Pace(10_000_000));
        self.wait(500, 1500);
        self.kill(LEADER);
        self.wait(800, 2500);
        self.add(Fault::StartAll);
        self.wait(300, 1500);
        self.add(Fault::Pace(8000));
        self.wait(300, 1500);
    }

    pub(super) fn stress_al(&mut self) {
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

    /// One is away while the leader dies: what the new one forgot would be missing on the third.
    pub(super) fn peer_acks(&mut self) {
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

    pub(super) fn restart_storm(&mut self) {
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

    pub(super) fn power_cut_of_all(&mut self) {
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

    pub(super) fn clock_jumps(&mut self) {
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
}

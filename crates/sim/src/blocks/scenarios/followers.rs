//! Copies under protocol A or B.

use posthaste_blockrepl::Protocol;

use super::super::faults::{Fault, Who};
use super::{LEADER, Plan};

impl Plan {
    /// It does not keep up: it holds the writers up, or falls behind.
    pub(super) fn ahead_behind(&mut self) {
        self.add(Fault::Pace(1200));
        self.times(1, 4, |p| {
            let times = p.rng.pick(&[30, 200, 1000]);
            p.add(Fault::SlowDisk { who: Who::Member(1), times });
            p.wait(300, 2500);
            if p.rng.chance(300) {
                p.kill(Who::Member(1));
                p.wait(20, 800);
                p.add(Fault::StartAll);
            }
            p.add(Fault::SlowDisk { who: Who::Member(1), times: 1 });
            p.wait(200, 1500);
        });
    }

    pub(super) fn protocol_change(&mut self) {
        self.times(3, 10, |p| {
            let protocol = p.rng.pick(&[Protocol::A, Protocol::B, Protocol::C]);
            let who = p.rng.pick(&[Who::Member(0), Who::Member(1), Who::Follower]);
            p.add(Fault::Protocol { who, protocol });
            p.wait(10, 900);
            match p.rng.below(5) {
                0 => p.add(Fault::LinkCut(Who::Follower)),
                1 => p.kill(LEADER),
                2 => p.add(Fault::Move),
                _ => {}
            }
            p.wait(100, 1500);
            p.add(Fault::Mend);
            p.add(Fault::StartAll);
        });
    }

    /// The leader dies, and the operator takes what the follower has.
    pub(super) fn promote_follower(&mut self) {
        self.add(Fault::Pace(2500));
        self.wait(500, 1500);
        self.times(1, 4, |p| {
            if p.rng.chance(600) {
                p.add(Fault::Delay(40));
                p.wait(100, 500);
            }
            p.add(Fault::Kill { who: LEADER, power: true });
            p.wait(50, 800);
            p.add(Fault::Promote(Who::Follower));
            p.wait(1200, 2500);
            p.add(Fault::Delay(0));
            p.add(Fault::StartAll);
            p.wait(800, 2500);
        });
    }
}

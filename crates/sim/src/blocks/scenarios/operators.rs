//! What an operator asks for.

use super::super::faults::{Fault, Who};
use super::{FOLLOWER, LEADER, Plan};

impl Plan {
    pub(super) fn split_brain(&mut self) {
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

    pub(super) fn resize(&mut self) {
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

    /// Power is cut at all of them, or one, and comes back.
    fn power_cut(&mut self) {
        match self.rng.below(3) {
            0 => (0..3).for_each(|n| self.add(Fault::Kill { who: Who::Member(n), power: true })),
            1 => self.add(Fault::Kill { who: LEADER, power: true }),
            _ => self.add(Fault::Kill { who: FOLLOWER, power: true }),
        }
        self.wait(100, 1500);
        self.add(Fault::StartAll);
    }

    /// Right after the device was told to grow.
    pub(super) fn resize_crash(&mut self) {
        self.add(Fault::Pace(2000));
        self.times(1, 4, |p| {
            p.add(Fault::Resize);
            p.wait(0, 25);
            p.power_cut();
            p.wait(300, 2500);
        });
    }

    pub(super) fn resize_no_room(&mut self) {
        self.times(1, 4, |p| {
            let who = p.copy();
            p.add(Fault::NoRoom(who));
            p.add(Fault::Resize);
            p.wait(50, 1500);
            p.add(Fault::Resize);
            p.wait(50, 1500);
        });
    }

    /// The device is cut off and grows again, while copies come and go.
    pub(super) fn shrink(&mut self) {
        self.times(2, 6, |p| {
            if p.rng.chance(300) {
                // It is asked for what it must refuse, for a copy that it knows is away.
                p.add(Fault::LinkCut(FOLLOWER));
                p.wait(20, 1500);
            }
            let change = p.rng.pick(&[Fault::Shrink, Fault::Shrink, Fault::Resize]);
            p.add(change);
            p.wait(0, 60);
            match p.rng.below(5) {
                0 => p.kill(LEADER),
                1 => p.kill(FOLLOWER),
                2 => p.add(Fault::LinkCut(FOLLOWER)),
                3 => p.add(Fault::Move),
                _ => {}
            }
            p.wait(50, 2000);
            p.add(Fault::Mend);
            p.add(Fault::StartAll);
            p.wait(200, 1500);
        });
    }

    /// Right after it was told to shrink.
    pub(super) fn shrink_crash(&mut self) {
        self.add(Fault::Pace(2000));
        self.times(1, 4, |p| {
            p.add(Fault::Shrink);
            p.wait(0, 25);
            p.power_cut();
            p.wait(300, 1500);
            p.add(Fault::Resize);
            p.wait(0, 1000);
        });
    }

    pub(super) fn resize_mixed(&mut self) {
        let pace = self.rng.pick(&[1500, 6000, 30_000]);
        self.add(Fault::Pace(pace));
        self.times(4, 12, |p| {
            let change = p.rng.pick(&[Fault::Shrink, Fault::Resize]);
            p.add(change);
            p.wait(0, 100);
            p.any();
        });
    }

    /// Copies are away, and the operator goes on with one, or does not.
    pub(super) fn redundancy(&mut self) {
        self.times(1, 5, |p| {
            match p.rng.below(4) {
                0 => p.kill(LEADER),
                1 => p.kill(FOLLOWER),
                2 => p.add(Fault::LinkCut(FOLLOWER)),
                _ => p.add(Fault::Isolate(LEADER)),
            }
            p.wait(300, 2500);
            if p.rng.chance(400) {
                p.add(Fault::Redundancy(1));
                p.wait(50, 1000);
            }
            p.add(Fault::Mend);
            p.add(Fault::StartAll);
            p.wait(0, 800);
            p.add(Fault::Redundancy(2));
            p.wait(200, 1500);
        });
    }

    /// Members are taken out for good, and come back: with their old disk, or a new one.
    pub(super) fn members_come_and_go(&mut self) {
        self.times(1, 4, |p| {
            p.kill(FOLLOWER);
            p.wait(800, 2000);
            p.add(Fault::Forget(Who::Same));
            p.wait(0, 800);
            if p.rng.chance(500) {
                p.add(Fault::Replace(Who::Same));
            }
            p.add(Fault::StartAll);
            p.wait(100, 1200);
            if p.rng.chance(400) {
                p.kill(LEADER);
                p.wait(300, 2000);
                p.add(Fault::StartAll);
            }
            p.wait(300, 1500);
        });
    }

    /// The loser dies while what it had is being kept, again and again.
    pub(super) fn snapshot_crash(&mut self) {
        self.split_brain();
        self.times(1, 4, |p| {
            p.add(Fault::Mend);
            p.wait(200, 900);
            let who = p.rng.pick(&[Who::Member(0), Who::Member(1)]);
            p.add(Fault::Kill { who, power: true });
            p.wait(50, 500);
            p.add(Fault::StartAll);
            p.wait(0, 700);
        });
        self.wait(500, 1500);
    }
}

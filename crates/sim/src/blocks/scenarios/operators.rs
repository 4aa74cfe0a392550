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
}

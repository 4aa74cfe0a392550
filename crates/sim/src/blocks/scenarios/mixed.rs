//! Faults of all kinds that overlap.

use super::super::faults::{Fault, Who};
use super::{FOLLOWER, Plan};

impl Plan {
    pub(super) fn mixed(&mut self) {
        let (pace, patience) = (self.rng.pick(&[1500, 6000, 30_000]), self.rng.pick(&[100, 400, 2000]));
        self.add(Fault::Pace(pace));
        self.add(Fault::Patience(patience));
        self.times(4, 14, Plan::any);
    }

    pub(super) fn any(&mut self) {
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

//! Damage where each read is checked: also on the disk of the leader.

use super::super::faults::{Fault, Who};
use super::{FOLLOWER, LEADER, Plan};

impl Plan {
    /// A disk that is read is damaged meanwhile: readers are shown what was written all the same.
    /// Always the same one, though another may lead meanwhile: where both are damaged none is right.
    pub(super) fn silently_while_read(&mut self, who: Who, fault: fn(Who) -> Fault) {
        self.add(Fault::Pace(2500));
        self.wait(300, 1500);
        let mut who = who;
        self.times(1, 6, |p| {
            p.add(fault(std::mem::replace(&mut who, Who::Same)));
            p.wait(50, 700);
            if p.rng.chance(300) {
                p.add(Fault::Scrub(Who::Same));
            }
        });
    }

    /// Blocks of the leader are damaged before they are copied and meanwhile; then the copy leads.
    pub(super) fn damaged_source(&mut self) {
        self.add(Fault::Pace(2500));
        self.times(1, 4, |p| {
            p.add(Fault::LinkCut(FOLLOWER));
            p.wait(800, 2500);
            p.times(1, 6, |p| p.add(Fault::Rot(LEADER)));
            let times = p.rng.pick(&[1, 10, 40]);
            p.add(Fault::SlowDisk { who: LEADER, times });
            p.add(Fault::Mend);
            p.wait(50, 800);
            p.times(1, 4, |p| {
                p.add(Fault::Rot(LEADER));
                p.wait(20, 300);
            });
            if p.rng.chance(300) {
                p.kill(FOLLOWER);
                p.wait(50, 500);
                p.add(Fault::StartAll);
            }
            p.add(Fault::SlowDisk { who: LEADER, times: 1 });
            p.wait(500, 2500);
        });
        self.wait(500, 2000);
        self.add(Fault::Move);
        self.wait(500, 2500);
    }

    /// Sectors of either copy cannot be read.
    pub(super) fn latent_reads(&mut self) {
        self.times(1, 5, |p| {
            let who = p.copy();
            p.add(Fault::Latent(who));
            p.wait(50, 700);
            match p.rng.below(3) {
                0 => p.add(Fault::Verify),
                1 => p.add(Fault::Scrub(Who::Same)),
                _ => {}
            }
            p.wait(50, 700);
        });
    }

    /// The source, or the target, of a resync cannot read some of its sectors.
    pub(super) fn latent_errors(&mut self) {
        self.times(1, 4, |p| {
            p.add(Fault::LinkCut(FOLLOWER));
            p.wait(600, 2500);
            let who = p.copy();
            p.add(Fault::Latent(who));
            p.add(Fault::Mend);
            p.wait(300, 2500);
        });
    }
}

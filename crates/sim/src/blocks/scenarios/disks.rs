//! Disks that tear, lie, lose, fail, and verifies that find it.

use super::super::faults::{Fault, Who};
use super::{FOLLOWER, LEADER, Plan};

impl Plan {
    pub(super) fn torn_writes(&mut self) {
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
    pub(super) fn silently(&mut self, fault: Fault) {
        self.times(1, 6, |p| {
            p.add(fault);
            p.wait(50, 700);
        });
    }

    pub(super) fn lying_flush(&mut self) {
        self.add(Fault::Lie(FOLLOWER));
        self.wait(500, 3000);
        self.add(Fault::Kill { who: Who::Same, power: true });
        self.wait(50, 1500);
        self.add(Fault::StartAll);
        self.wait(500, 3000);
    }

    pub(super) fn slow_disk(&mut self) {
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

    pub(super) fn verify(&mut self) {
        self.times(1, 5, |p| {
            p.add(Fault::Verify);
            p.wait(50, 1500);
            if p.rng.chance(300) {
                p.add(Fault::Move);
                p.wait(50, 800);
            }
        });
    }

    pub(super) fn verify_interrupted(&mut self) {
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

    pub(super) fn io_errors(&mut self) {
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

    pub(super) fn disk_timeout(&mut self) {
        let (who, meta) = (self.copy(), self.rng.chance(300));
        self.add(Fault::Hang { who, meta });
        self.wait(3000, 6000);
        self.add(Fault::Kill { who: Who::Same, power: true });
        self.wait(20, 1500);
        self.add(Fault::StartAll);
        self.wait(300, 2000);
    }

    /// The metadata cannot be written, read or flushed, or do not answer, at whatever moment.
    pub(super) fn metadata_errors(&mut self) {
        self.times(1, 5, |p| {
            let who = p.copy();
            match p.rng.below(3) {
                0 => p.add(Fault::FailFlush { who, meta: true }),
                1 => p.add(Fault::Hang { who, meta: true }),
                _ => p.add(Fault::FailIo { who, meta: true }),
            }
            match p.rng.below(4) {
                0 => p.add(Fault::Move),
                1 => p.add(Fault::LinkCut(FOLLOWER)),
                2 => p.add(Fault::Resize),
                _ => {}
            }
            p.wait(300, 3500);
            p.add(Fault::Mend);
            p.kill(who);
            p.wait(20, 1500);
            p.add(Fault::StartAll);
            p.wait(300, 2500);
        });
    }
}

//! Several writers, with and without a disk of their own.

use super::super::faults::{Fault, Who};
use super::{FOLLOWER, LEADER, Plan};

impl Plan {
    /// Nothing goes wrong, but much at once: races, on slow disks and late links.
    pub(super) fn overlaps(&mut self) {
        let (delay, times) = (self.rng.pick(&[0, 5, 30]), self.rng.pick(&[1, 10, 40]));
        self.add(Fault::Pace(1500));
        self.add(Fault::Delay(delay));
        self.add(Fault::SlowDisk { who: FOLLOWER, times });
        self.wait(1500, 4000);
    }

    pub(super) fn writers_cut(&mut self) {
        self.times(1, 5, |p| {
            let who = p.anybody();
            let ms = p.rng.between(200, 2500);
            match p.rng.below(5) {
                0 => p.add(Fault::LinkCut(FOLLOWER)),
                1 => p.add(Fault::Isolate(who)),
                2 => p.add(Fault::Pause { who, ms }),
                3 => p.add(Fault::Cut { a: 0, b: 1, on: true }),
                _ => p.add(Fault::OneWay { from: 1, to: 0 }),
            }
            p.wait(ms, ms + 1500);
            p.add(Fault::Mend);
            p.wait(20, 2000);
        });
    }

    /// The leader soon takes out a writer whose link is cut in silence, and lets it in again, while that one still holds the link.
    pub(super) fn silent_cuts(&mut self) {
        self.add(Fault::Pace(2000));
        self.times(2, 6, |p| {
            let patience = p.rng.pick(&[50, 100, 400]);
            p.add(Fault::Patience(patience));
            match p.rng.below(4) {
                0 => p.add(Fault::OneWay { from: 0, to: 1 }),
                _ => p.add(Fault::LinkCut(FOLLOWER)),
            }
            p.wait(200, 2200);
            p.add(Fault::Mend);
            p.wait(50, 1500);
        });
    }

    pub(super) fn writers_crash(&mut self) {
        self.times(1, 5, |p| {
            let who = p.anybody();
            p.kill(who);
            p.wait(20, 2500);
            p.add(Fault::StartAll);
            p.wait(200, 2500);
        });
    }

    /// Holders of ranges die, are cut off for a moment or for good, or lose their leader.
    pub(super) fn leases(&mut self) {
        self.add(Fault::Leases(400));
        self.add(Fault::Pace(2500));
        self.times(1, 5, |p| {
            match p.rng.below(4) {
                0 => p.add(Fault::LinkCut(FOLLOWER)),
                1 => p.kill(FOLLOWER),
                2 => p.kill(LEADER),
                _ => p.add(Fault::Pause { who: FOLLOWER, ms: 1500 }),
            }
            p.wait(100, 2500);
            p.add(Fault::Mend);
            p.add(Fault::StartAll);
            p.wait(200, 2000);
        });
    }

    /// A node without a disk writes and reads through whoever leads.
    pub(super) fn diskless(&mut self) {
        self.times(1, 5, |p| {
            let who = p.rng.pick(&[Who::Witness, Who::Witness, LEADER]);
            match p.rng.below(3) {
                0 => p.kill(who),
                1 => p.add(Fault::Isolate(who)),
                _ => p.add(Fault::LinkCut(Who::Witness)),
            }
            p.wait(100, 2500);
            p.add(Fault::Mend);
            p.add(Fault::StartAll);
            p.wait(200, 2000);
        });
    }

    pub(super) fn diskless_failover(&mut self) {
        self.add(Fault::Pace(2000));
        self.times(1, 4, |p| {
            p.kill(LEADER);
            p.wait(500, 2500);
            p.add(Fault::StartAll);
            p.wait(500, 2500);
        });
    }

    /// The copy that returns reaches the other one first, and the node without a disk, which has gone on, last.
    pub(super) fn diskless_late(&mut self) {
        self.times(1, 4, |p| {
            p.kill(LEADER);
            let on = p.rng.chance(500);
            p.add(Fault::Cut { a: 0, b: 2, on });
            p.wait(700, 2000);
            p.add(Fault::StartAll);
            p.wait(100, 1500);
            p.add(Fault::Mend);
            p.wait(300, 2000);
        });
    }

    /// The disk of whoever leads, or of the other writer, is damaged: both read what was written all the same.
    pub(super) fn either_silently(&mut self, fault: fn(Who) -> Fault) {
        let who = self.copy();
        self.silently_while_read(who, fault);
    }

    /// The leader's disk fails: it goes on through its peer, which leads now, and attaches a disk again later.
    pub(super) fn serves_from_the_peer(&mut self) {
        self.times(1, 4, |p| {
            match p.rng.below(4) {
                0 => p.add(Fault::FailFlush { who: LEADER, meta: false }),
                1 => p.add(Fault::FailIo { who: LEADER, meta: false }),
                2 => p.add(Fault::FailIo { who: LEADER, meta: true }),
                _ => p.add(Fault::Detach(LEADER)),
            }
            p.wait(800, 3500);
            p.add(Fault::Kill { who: Who::Same, power: true });
            p.wait(20, 500);
            p.add(Fault::StartAll);
            p.wait(300, 2500);
        });
    }

    pub(super) fn writers_mixed(&mut self) {
        let per_mille = self.rng.pick(&[30, 300]);
        self.add(Fault::Leases(per_mille));
        self.mixed();
    }
}

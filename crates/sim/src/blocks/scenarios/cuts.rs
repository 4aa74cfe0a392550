//! What is cut off from what, and for how long.

use super::super::faults::{Fault, Who};
use super::{FOLLOWER, LEADER, Plan};

impl Plan {
    pub(super) fn cut(&mut self) {
        self.times(1, 4, |p| {
            p.add(Fault::Cut { a: 0, b: 1, on: true });
            p.wait(300, 4000);
            p.add(Fault::Cut { a: 0, b: 1, on: false });
            p.wait(20, 2500);
        });
    }

    pub(super) fn one_way(&mut self) {
        self.times(1, 4, |p| {
            let (from, to) = p.rng.pick(&[(0, 1), (1, 0), (0, 2), (1, 2), (2, 0)]);
            p.add(Fault::OneWay { from, to });
            p.wait(300, 3000);
            p.add(Fault::Mend);
            p.wait(50, 2000);
        });
    }

    pub(super) fn unstable(&mut self) {
        self.times(8, 25, |p| {
            let (from, to) = p.rng.pick(&[(0, 1), (1, 0), (0, 2), (2, 1)]);
            p.add(Fault::OneWay { from, to });
            p.wait(20, 500);
            p.add(Fault::Mend);
            p.wait(5, 400);
        });
    }

    pub(super) fn connect_abort(&mut self) {
        self.times(3, 12, |p| {
            p.add(Fault::LinkCut(FOLLOWER));
            p.wait(400, 2200);
            p.add(Fault::Mend);
            // In the midst of the handshake.
            p.wait(0, 330);
        });
    }

    pub(super) fn link_flaps(&mut self, who: Who) {
        self.times(1, 6, |p| {
            p.add(Fault::LinkCut(who));
            p.wait(200, 3500);
            p.add(Fault::Mend);
            p.wait(10, 1500);
        });
    }

    pub(super) fn brief_breaks(&mut self, low_ms: u64, high_ms: u64) {
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

    pub(super) fn message_delay(&mut self) {
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

    pub(super) fn isolations(&mut self, who: Who) {
        self.times(1, 4, |p| {
            p.add(Fault::Isolate(who));
            p.wait(200, 4000);
            p.add(Fault::Mend);
            p.wait(50, 2500);
        });
    }

    /// The leader goes on alone; the other comes back while a third is away.
    pub(super) fn degraded_join(&mut self) {
        self.kill(FOLLOWER);
        self.wait(1500, 3000);
        self.add(Fault::Isolate(Who::Witness));
        self.wait(100, 800);
        self.add(Fault::StartAll);
        self.wait(500, 2500);
        self.add(Fault::Mend);
        self.wait(300, 1500);
    }

    pub(super) fn far_away_and_down(&mut self) {
        self.add(Fault::Isolate(FOLLOWER));
        self.wait(1000, 2500);
        self.kill(Who::Same);
        self.wait(100, 1500);
        self.add(Fault::Mend);
        self.add(Fault::StartAll);
        self.wait(300, 2000);
    }

    pub(super) fn failover_reconnect(&mut self) {
        self.times(1, 4, |p| {
            p.add(Fault::Isolate(LEADER));
            p.wait(700, 3500);
            p.add(Fault::Mend);
            p.wait(0, 1500);
        });
    }

    /// Everybody is alone for a while: nothing is acknowledged; some wait is ended by a restart.
    pub(super) fn suspended_cancel(&mut self) {
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

    pub(super) fn tiebreaker(&mut self) {
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
}

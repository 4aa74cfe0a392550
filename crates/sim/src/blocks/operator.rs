//! What an operator does: verifies, grows the device, replaces disks, forces a leader, puts everything right in the end.

use posthaste_blockrepl::core::Input;
use posthaste_blockrepl::{Grant, MemberSet};

use super::images::Images;
use super::layout::{SECTORS, SIZE, encode, offset, range};
use super::name::id;
use super::oracle::Loss;
use super::owner::{Asked, Stage};
use super::world::World;
use crate::disk::Wrong;

impl World {
    /// An operator has the copies compared, by whoever serves.
    pub(super) fn begin_verify(&mut self) {
        let serves = |p: &super::owner::Proc| matches!(p.stage, Stage::Serving(_));
        if let Some(n) = (0..3).find(|n| self.procs[*n].as_ref().is_some_and(serves)) {
            self.verifying = true;
            self.ask(n, Asked::Verify, |request| Input::Verify { request });
        }
    }

    pub(super) fn resize(&mut self) {
        let serves = |p: &super::owner::Proc| matches!(p.stage, Stage::Serving(_));
        if let Some(n) = (0..3).find(|n| self.procs[*n].as_ref().is_some_and(serves)) {
            let size = self.replica(n).map_or(SIZE, |r| r.size()) + (1 << 20);
            self.ask(n, Asked::Client, |request| Input::Resize { request, size });
        }
    }

    /// Whoever serves is asked to be smaller; what lies behind is not used any more.
    pub(super) fn shrink(&mut self) {
        let serves = |p: &super::owner::Proc| matches!(p.stage, Stage::Serving(_));
        let Some(n) = (0..3).find(|n| self.procs[*n].as_ref().is_some_and(serves)) else { return };
        let Some(Stage::Serving(epoch)) = self.procs[n].as_ref().map(|p| p.stage) else { return };
        let less = self.chance.pick(&[1, 2, 3]) * (1 << 20) + self.chance.pick(&[0, 12_288]);
        let size = self.replica(n).map_or(SIZE, |r| r.size()).saturating_sub(less);
        let busy = self.procs[n].as_ref().is_some_and(|p| p.session.shrinking);
        if size >= SIZE / 2 && epoch == self.oracle.epoch && !busy {
            self.oracle.shrinks(size);
            let name = self.next_name(epoch, true);
            self.history.iter_mut().for_each(|h| h.shrinks(self.oracle.sectors(), name));
            self.proc(n).into_iter().for_each(|p| p.session.shrinking = true);
            self.ask(n, Asked::Shrink, |request| Input::Shrink { request, size });
        }
    }

    /// The operator wants so many copies in sync before anything is written.
    pub(super) fn ask_for_copies(&mut self, copies: usize) {
        self.config.min_redundancy = copies;
        for n in 0..3 {
            let now = self.replica_now(n);
            self.proc(n).into_iter().for_each(|p| p.replica.set_min_redundancy(now, copies));
            self.drain(n);
        }
    }

    /// The leader forgets what it knows of a copy that is not counted.
    pub(super) fn forget_member(&mut self, n: usize) {
        let (device, current) = (self.me(n).device, self.authority.current());
        let Some(leader) = current.leader.filter(|l| *l != n) else { return };
        let now = self.replica_now(leader);
        self.proc(leader).into_iter().for_each(|p| drop(p.replica.forget(now, device)));
        self.drain(leader);
    }

    /// Who is not counted may get a new device; whoever is, holds data.
    pub(super) fn replace(&mut self, n: usize) {
        let node = self.me(n).node;
        let counted = self.authority.current().in_sync.iter().any(|m| m.node == node);
        if !counted && n < self.copies {
            self.kill(n, true);
            self.machines[n].serial += 1;
            self.machines[n].images = Images { shares: self.machines[n].images.shares, ..Images::default() };
            self.format(n);
            self.start(n);
        }
    }

    /// The operator gives up what the others have written: the forced copy is the one that counts.
    pub(super) fn decide_for_the_forced(&mut self) {
        let n = self.last_hit;
        let Some(status) = self.replica(n).map(|r| r.status()) else { return };
        if !self.split {
            return;
        }
        let current = self.authority.current();
        let next = super::authority::Grants {
            rev: current.rev + 1,
            epoch: current.epoch.max(status.epoch) + 1,
            leader: None,
            in_sync: [self.me(n)].into(),
            generation: current.generation.max(status.generation.generation) + 1,
            writers: Default::default(),
        };
        self.oracle.accept = Loss::Any;
        self.history.iter_mut().for_each(|h| h.accepts_loss = true);
        self.say(|| format!("the operator decides: {next:?}"));
        self.authority.history.push(std::rc::Rc::new(next));
    }

    /// All faults end; the operator starts what does not run, and what has lost its disk.
    pub(super) fn heal(&mut self) {
        self.say(|| "HEAL".to_owned());
        self.net.heal();
        self.authority.lost_answers = 0;
        self.wake_all();
        for n in 0..3 {
            self.machines[n].slow = 1;
            let disks = self.machines[n].disks.iter_mut().flatten();
            let mut hung = false;
            for disk in disks {
                hung |= disk.wrong.hangs;
                disk.wrong = Wrong::default();
                disk.unreadable.clear();
            }
            if hung {
                self.kill(n, true);
            }
            self.start(n);
        }
        self.restart_the_failed();
        self.pace = self.pace.min(20_000);
        self.patience = super::owner::PATIENCE;
    }

    /// The operator starts a machine anew whose disk has failed, once that is well again.
    pub(super) fn restart_the_failed(&mut self) {
        for n in 0..self.copies {
            if self.replica(n).is_some_and(|r| r.status().failed.is_some()) {
                self.kill(n, true);
                self.start(n);
            }
        }
    }

    // ---- force ----

    /// The operator tells a node that nobody counts to lead, whatever the others do.
    pub(super) fn force(&mut self, n: usize) {
        let me = self.me(n);
        if self.authority.current().in_sync.contains(&me) {
            return;
        }
        let Some(p) = self.proc(n) else { return };
        let Some(known) = p.known.clone() else { return };
        let epoch = known.epoch + 1000;
        let grant = Grant {
            epoch,
            leader: me.node,
            in_sync: MemberSet::from([me]),
            writers: Default::default(),
            generation: known.generation + 1,
        };
        self.say(|| format!("the operator forces node {n}"));
        self.parted = self.machines[n].disks.as_ref().map(|[data, _]| data.when_done());
        self.proc(n).into_iter().for_each(|p| p.forced = Some(grant.clone()));
        self.ask(n, Asked::ForcedRaise, |request| Input::Raise { request, epoch });
    }

    pub(super) fn forced_raised(&mut self, n: usize) {
        if let Some(grant) = self.proc(n).and_then(|p| p.forced.take()) {
            self.ask(n, Asked::ForcedLead(grant.epoch), |request| Input::Lead { request, grant });
        }
    }

    /// It writes what the others will never know.
    pub(super) fn forced_writes(&mut self, n: usize, epoch: u64) {
        self.split = true;
        for number in 1..20 {
            let (first, len) = range(&mut self.rng, number as usize, SECTORS);
            let (offset, data) = (offset(first), encode(first, len, id(epoch, number)));
            self.forced.writes.push((id(epoch, number), first, len));
            self.ask(n, Asked::Client, |request| Input::Write { request, offset, data });
        }
        self.forced.node = n;
        self.ask(n, Asked::ForcedFlush, |request| Input::Flush { request });
    }
}

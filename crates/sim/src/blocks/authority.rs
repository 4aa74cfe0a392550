//! Who leads: one register of grants, changed by compare-and-set, that a majority of three members must reach.
//!
//! It is linearizable because it is one value; what a member knows of it is late, what it proposes may be
//! lost on the way, committed without an answer, or refused. It grants leases, too (R5).

use std::collections::BTreeSet;
use std::rc::Rc;

use posthaste_blockrepl::{Grant, MemberSet, NodeId};

use super::event::Event;
use super::world::{MS, World};

/// How long a lease lasts, in microseconds.
pub const LEASE: u64 = 700 * MS;
/// What its holder takes off.
pub const MARGIN: u64 = 100 * MS;

/// What is granted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grants {
    /// Counts the changes.
    pub rev: u64,
    /// Grows with each change of leader.
    pub epoch: u64,
    /// Who leads.
    pub leader: Option<usize>,
    /// The in-sync set.
    pub in_sync: MemberSet,
    /// Grows when the set loses a member.
    pub generation: u64,
    /// Who may write besides the leader.
    pub writers: BTreeSet<NodeId>,
}

impl Grants {
    /// As a replica takes it.
    pub fn grant(&self) -> Option<Grant> {
        let leader = NodeId(self.leader? as u64 + 1);
        let (epoch, generation) = (self.epoch, self.generation);
        Some(Grant {
            epoch,
            leader,
            in_sync: self.in_sync.clone(),
            generation,
            writers: self.writers.clone(),
        })
    }
}

/// The register.
#[derive(Debug)]
pub struct Authority {
    /// All that was ever granted.
    pub history: Vec<Rc<Grants>>,
    /// Until when, in true time, somebody may still hold a lease.
    pub lease_ends: u64,
    /// The same of each node as a writer that reads its own copy.
    pub reader_ends: [u64; 3],
    /// Answers that get lost, per mille.
    pub lost_answers: u64,
}

impl Authority {
    /// Nobody leads; all are in sync and blank.
    pub fn new(in_sync: MemberSet) -> Self {
        let first =
            Grants { rev: 0, epoch: 1, leader: None, in_sync, generation: 0, writers: BTreeSet::new() };
        Self { history: vec![Rc::new(first)], lease_ends: 0, reader_ends: [0; 3], lost_answers: 0 }
    }

    /// The newest grants, which nobody may know yet.
    pub fn current(&self) -> &Rc<Grants> {
        &self.history[self.history.len() - 1]
    }
}

impl World {
    /// Whether `n` reaches a majority of the members, itself included.
    pub(super) fn has_majority(&self, n: usize) -> bool {
        let reached = (0..3).filter(|m| self.runs(*m) && (*m == n || self.net.both_ways(n, *m))).count();
        self.runs(n) && reached >= 2
    }

    /// A member proposes; by compare-and-set on the revision that it knows.
    pub(super) fn propose(&mut self, n: usize, next: Grants) {
        self.say(|| format!("node {n} proposes {next:?}"));
        let (delay, life) = (self.rng.between(MS, 15 * MS), self.machines[n].life);
        self.push(delay, Event::Commit { n, life, next: Box::new(next) });
    }

    /// The proposal is with the majority, or it is lost.
    pub(super) fn commit(&mut self, n: usize, next: Grants) {
        if !self.has_majority(n) || self.rng.chance(30) {
            return;
        }
        if self.authority.current().rev + 1 != next.rev {
            return self.tell(n);
        }
        self.grant(next);
        self.tell(n);
    }

    /// Changes the register, and sees to it that everybody hears of it some time.
    pub(super) fn grant(&mut self, next: Grants) {
        let before = self.authority.current().clone();
        let verdict = super::oracle::granted(&before, &next);
        self.judge("R1", verdict);
        if next.epoch > before.epoch && next.leader.is_some() {
            // Handed over by its holder, who has stopped.
            self.authority.lease_ends = self.authority.lease_ends.min(self.now);
        }
        self.mark(next.epoch, next.generation);
        self.say(|| format!("GRANTED {next:?}"));
        self.authority.history.push(Rc::new(next));
        self.time_grant();
    }

    /// Tells `n` what is granted, unless the answer is lost.
    pub(super) fn tell(&mut self, n: usize) {
        if self.rng.chance(self.authority.lost_answers) {
            return;
        }
        let (after, life) = (self.rng.between(MS, 15 * MS), self.machines[n].life);
        let rev = self.authority.current().rev;
        self.push(after, Event::Learn { n, life, rev });
    }

    /// A leader renews its lease: the time counts from the sending.
    pub(super) fn renew(&mut self, n: usize, epoch: u64) {
        let current = self.authority.current();
        let holds = current.epoch == epoch && current.leader == Some(n);
        if !holds || !self.has_majority(n) {
            return;
        }
        let until = self.local(n) + LEASE - MARGIN;
        self.authority.lease_ends = self.now + LEASE;
        let (after, life) = (self.rng.between(MS, 10 * MS), self.machines[n].life);
        self.push(after, Event::Lease { n, life, epoch, until });
    }
}

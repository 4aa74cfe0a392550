//! Leases, exactly as rule R5 has them.
//!
//! *Holder.* A node asks every voter in each beat. Its lease ends `D − margin` after it **sent** the
//! newest beat that a majority has granted. *Grantor.* A voter grants in memory, to one stint of a
//! member, and not once its log holds a command that ends that member's leases. *Successor.*
//! [`Takeover`] asks a majority that holds the fence how old its last grant is, and waits `D`
//! minus the smallest age.
//!
//! Why that is safe: let a renewal sent at `s` have been granted by a majority. It shares a voter with
//! the majority of the takeover. Either that voter granted before it answered: then its answer's age
//! counts the grant, which was after `s`. Or it granted afterwards: its answer promised
//! not to, so it must have restarted since, and grants nothing for `D` from then; the renewal's
//! other voters hold the committed fence and granted before it, so `s` lies more than `D` before that
//! grant, which is worthless when it arrives. The holder's margin covers the drift of two clocks over `D`.

use std::collections::BTreeMap;
use std::sync::PoisonError;
use std::time::Duration;

use crate::state::{Command, State, Status};
use crate::sync::{Arc, AtomicU64, Mutex, MutexGuard, Ordering};
use crate::{MembershipEpoch, NodeId, Time};

/// The end of this node's lease, shared with every thread that replies to anybody (R3): build the
/// reply, then check.
#[derive(Debug, Clone, Default)]
pub struct LeaseFlag(Arc<AtomicU64>);

impl LeaseFlag {
    /// A flag without a lease.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether the lease holds at `now`.
    pub fn is_valid(&self, now: Time) -> bool {
        now.as_nanos() < self.0.load(Ordering::Acquire)
    }

    /// When the lease ends; [`Time::ZERO`] without one.
    pub fn ends(&self) -> Time {
        Time::from_nanos(self.0.load(Ordering::Acquire))
    }

    fn set(&self, ends: Time) {
        self.0.store(ends.as_nanos(), Ordering::Release);
    }
}

/// The node's side: what it has been granted.
#[derive(Debug)]
pub struct LeaseHolder {
    length: Duration,
    stint: Option<MembershipEpoch>,
    voters: Vec<NodeId>,
    /// For each voter the newest send time that it granted.
    granted: BTreeMap<NodeId, Time>,
    flag: LeaseFlag,
}

impl LeaseHolder {
    /// A holder without a lease.
    pub fn new() -> Self {
        let (length, flag) = (Duration::ZERO, LeaseFlag::new());
        Self { length, stint: None, voters: Vec::new(), granted: BTreeMap::new(), flag }
    }

    /// The flag for other threads.
    pub fn flag(&self) -> LeaseFlag {
        self.flag.clone()
    }

    /// Takes the state in: who votes, how long a lease is, and in which stint `me` is (none: it
    /// is fenced, or this is not the life that was admitted). A change of stint ends the lease.
    pub fn configure(&mut self, state: &State, stint: Option<MembershipEpoch>, margin: Duration) {
        self.length = state.lease().saturating_sub(margin);
        self.voters = state.voters().collect();
        if stint != self.stint {
            self.stint = stint;
            self.granted.clear();
        }
        self.update();
    }

    /// A voter answered the beat sent at `sent`. Answers for another stint, or from the future, are ignored.
    pub fn granted(&mut self, now: Time, by: NodeId, stint: MembershipEpoch, sent: Time) {
        if self.stint != Some(stint) || sent > now || !self.voters.contains(&by) {
            return;
        }
        let newest = self.granted.entry(by).or_insert(sent);
        *newest = sent.max(*newest);
        self.update();
    }

    /// When the lease ends; [`Time::ZERO`] without one.
    pub fn ends(&self) -> Time {
        self.flag.ends()
    }

    /// Whether the lease holds.
    pub fn is_valid(&self, now: Time) -> bool {
        self.flag.is_valid(now)
    }

    /// The voters whose newest grant no longer counts.
    pub fn missing(&self, now: Time) -> Vec<NodeId> {
        let fresh = |v: &NodeId| self.granted.get(v).is_some_and(|sent| now < *sent + self.length);
        self.voters.iter().copied().filter(|v| !fresh(v)).collect()
    }

    fn update(&self) {
        let mut sent: Vec<Time> = self.voters.iter().filter_map(|v| self.granted.get(v)).copied().collect();
        sent.sort_unstable_by(|a, b| b.cmp(a));
        let majority = self.voters.len() / 2 + 1;
        let ends = match (self.stint, sent.get(majority - 1)) {
            (Some(_), Some(sent)) => *sent + self.length,
            _ => Time::ZERO,
        };
        self.flag.set(ends);
    }
}

impl Default for LeaseHolder {
    fn default() -> Self {
        Self::new()
    }
}

/// What a voter's log holds that ends leases, from the moment of the append on. The store writes it,
/// *before* it reports an append as durable; the grantor reads it at every grant.
#[derive(Debug, Clone, Default)]
pub struct FenceLog(Arc<Mutex<BTreeMap<u64, NodeId>>>);

impl FenceLog {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// The log holds `command` at `index`. Call it before the append is acknowledged, and for
    /// every entry that is found when the log is opened.
    pub fn appended(&self, index: u64, command: &Command) {
        match command.ends_leases_of() {
            Some(node) => drop(self.lock().insert(index, node)),
            None => self.replaced(index),
        }
    }

    /// The log holds something at `index` that ends no lease.
    pub fn replaced(&self, index: u64) {
        self.lock().remove(&index);
    }

    /// The log has lost the entries from `index` on.
    pub fn truncated_from(&self, index: u64) {
        self.lock().split_off(&index);
    }

    fn observed(&self, applied: u64) {
        self.lock().retain(|index, _| *index > applied);
    }

    fn holds(&self, node: NodeId) -> bool {
        self.lock().values().any(|n| *n == node)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, NodeId>> {
        // No code panics while it holds the lock; a poisoned map is still whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Granted {
    stint: MembershipEpoch,
    last: Option<Time>,
    /// The last grant to any earlier stint.
    earlier: Option<Time>,
    /// No grant to this stint or an earlier one, ever: a successor has been told an age.
    promised: Option<MembershipEpoch>,
}

/// The voter's side: to whom it granted, and when; in memory only.
#[derive(Debug)]
pub struct LeaseGrantor {
    started: Time,
    fences: FenceLog,
    holders: BTreeMap<NodeId, Granted>,
}

impl LeaseGrantor {
    /// A voter that starts at `now`. What it granted in an earlier life it has forgotten, so it grants
    /// nothing for the length of a lease.
    pub fn new(now: Time, fences: FenceLog) -> Self {
        Self { started: now, fences, holders: BTreeMap::new() }
    }

    /// The caller has seen the state as of the log's `applied` index and passes it from now on.
    pub fn observed(&mut self, applied: u64) {
        self.fences.observed(applied);
    }

    /// Grants a lease to `node`'s `stint`, or refuses.
    pub fn grant(&mut self, now: Time, state: &State, node: NodeId, stint: MembershipEpoch) -> bool {
        let silent = now < self.started + state.lease();
        let admitted = state.members.get(&node).is_some_and(|m| m.status == Status::Up && m.stint == stint);
        if silent || !admitted || self.fences.holds(node) {
            return false;
        }
        let held = self.holders.entry(node).or_default();
        if held.promised >= Some(stint) || held.stint > stint {
            return false;
        }
        if held.stint < stint {
            held.earlier = held.last.max(held.earlier);
            held.stint = stint;
        }
        held.last = Some(now);
        true
    }

    /// For a successor: how long ago the last lease was granted to `node`'s `stint`, with the promise
    /// never to grant to it again. None while this voter does not know that the stint is over.
    pub fn last_grant_age(
        &mut self,
        now: Time,
        state: &State,
        node: NodeId,
        stint: MembershipEpoch,
    ) -> Option<Duration> {
        let member = state.members.get(&node)?;
        let over = member.stint > stint || member.status == Status::Fenced && member.stint == stint;
        let held = member.stint == stint && self.fences.holds(node);
        if !over && !held {
            return None;
        }
        let held = self.holders.entry(node).or_default();
        held.promised = held.promised.max(Some(stint));
        let last = if held.stint <= stint { held.last.max(held.earlier) } else { held.earlier };
        Some(now.since(last.unwrap_or(self.started).max(self.started)))
    }
}

/// A successor's wait for the lease of one earlier owner.
#[derive(Debug, Clone)]
pub struct Takeover {
    holder: NodeId,
    stint: MembershipEpoch,
    /// For each voter that answered: when its last grant can no longer count.
    ready: BTreeMap<NodeId, Time>,
}

impl Takeover {
    /// Waits for the lease that `holder` may have had in `stint`.
    pub fn new(holder: NodeId, stint: MembershipEpoch) -> Self {
        Self { holder, stint, ready: BTreeMap::new() }
    }

    /// Whose lease.
    pub fn holder(&self) -> NodeId {
        self.holder
    }

    /// Of which stint.
    pub fn stint(&self) -> MembershipEpoch {
        self.stint
    }

    /// A voter answered at `now` that its last grant is `age` old; `lease` is D.
    pub fn answered(&mut self, now: Time, by: NodeId, age: Duration, lease: Duration) {
        let ready = now + lease.saturating_sub(age);
        let known = self.ready.entry(by).or_insert(ready);
        // Both are true upper bounds, since the voter has granted nothing in between.
        *known = ready.min(*known);
    }

    /// When the lease is over for sure; none while too few voters have answered.
    pub fn over_at(&self, state: &State) -> Option<Time> {
        let mut ready: Vec<Time> = state.voters().filter_map(|v| self.ready.get(&v)).copied().collect();
        ready.sort_unstable();
        ready.get(state.majority() - 1).copied()
    }

    /// The voters that have not answered yet.
    pub fn unanswered<'a>(&'a self, state: &'a State) -> impl Iterator<Item = NodeId> + 'a {
        state.voters().filter(|v| !self.ready.contains_key(v))
    }
}

//! Waiting for the leases of earlier owners (R5).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::Agent;
use crate::lease::Takeover;
use crate::message::Message;
use crate::state::State;
use crate::{MembershipEpoch, NodeId, Time};

type Key = (NodeId, MembershipEpoch);

/// One wait for each earlier owner and stint, shared by all that it owned.
#[derive(Debug, Default)]
pub(super) struct Takeovers {
    waits: BTreeMap<Key, Takeover>,
    ask_at: Option<Time>,
    ran_at: Time,
}

/// What stands between this node and the things that `prior` owned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wait {
    Over,
    /// Until then, for this node's lease.
    Until(Time, NodeId),
    /// Too few voters have said how old this node's lease is.
    Unknown(NodeId),
}

impl Takeovers {
    /// None once nothing is open: ends in the past have had their effect.
    pub(super) fn poll_timeout(&self, state: Option<&State>) -> Option<Time> {
        let (state, ask_at) = (state?, self.ask_at?);
        let over = self.waits.values().filter_map(|t| t.over_at(state)).filter(|t| *t > self.ran_at);
        over.chain([ask_at]).min()
    }

    pub(super) fn wait(
        &self,
        now: Time,
        state: &State,
        me: NodeId,
        prior: &BTreeMap<NodeId, MembershipEpoch>,
    ) -> Wait {
        let mut latest = Wait::Over;
        for (holder, stint) in prior.iter().filter(|(n, _)| **n != me) {
            let Some(over) = self.waits.get(&(*holder, *stint)).and_then(|t| t.over_at(state)) else {
                return Wait::Unknown(*holder);
            };
            let longer = !matches!(latest, Wait::Until(at, _) if at >= over);
            if over > now && longer {
                latest = Wait::Until(over, *holder);
            }
        }
        latest
    }
}

impl Agent {
    /// Asks the voters that have not answered, again every half heartbeat.
    pub(super) fn run_takeovers(&mut self, now: Time, state: &State) {
        self.takeovers.ran_at = now;
        let wanted = self.wanted_waits(state);
        let before = self.takeovers.waits.len();
        self.takeovers.waits.retain(|key, _| wanted.contains(key));
        for (holder, stint) in wanted {
            self.takeovers.waits.entry((holder, stint)).or_insert_with(|| Takeover::new(holder, stint));
        }
        let open = self.takeovers.waits.values().any(|t| t.over_at(state).is_none_or(|at| at > now));
        if !open {
            self.takeovers.ask_at = None;
        } else if self.takeovers.waits.len() != before || self.takeovers.ask_at.is_none_or(|at| now >= at) {
            self.takeovers.ask_at = Some(now + self.config.detector.heartbeat_every / 2);
            self.ask_ages(now, state);
        }
    }

    /// The earlier owners of all that is to be owned here.
    fn wanted_waits(&self, state: &State) -> BTreeSet<Key> {
        let me = Some(self.config.me);
        let volumes = state.volumes.values().filter(|v| v.leader == me).map(|v| &v.prior);
        let addresses = state.addresses.values().filter(|a| a.owner == me).map(|a| &a.prior);
        let all = volumes.chain(addresses).flatten().map(|(n, s)| (*n, *s));
        all.filter(|(n, _)| Some(*n) != me).collect()
    }

    fn ask_ages(&mut self, now: Time, state: &State) {
        let mut asks = Vec::new();
        for wait in self.takeovers.waits.values().filter(|t| t.over_at(state).is_none()) {
            asks.extend(wait.unanswered(state).map(|v| (v, wait.holder(), wait.stint())));
        }
        for (voter, holder, stint) in asks {
            if voter == self.config.me {
                let age = self.grantor.last_grant_age(now, state, holder, stint);
                age.into_iter().for_each(|age| self.take_age(now, voter, holder, stint, age));
            } else {
                self.send(voter, Message::AskAge { holder, stint, sent: now });
            }
        }
    }

    pub(super) fn answer_age(
        &mut self,
        now: Time,
        to: NodeId,
        holder: NodeId,
        stint: MembershipEpoch,
        sent: Time,
    ) {
        let Some(view) = self.view.clone() else { return };
        if !self.is_voter(&view.state) {
            return;
        }
        if let Some(age) = self.grantor.last_grant_age(now, &view.state, holder, stint) {
            let age_nanos = u64::try_from(age.as_nanos()).unwrap_or(u64::MAX);
            self.send(to, Message::Age { holder, stint, sent, age_nanos });
        }
    }

    pub(super) fn take_age(
        &mut self,
        now: Time,
        by: NodeId,
        holder: NodeId,
        stint: MembershipEpoch,
        age: Duration,
    ) {
        let Some(lease) = self.state().map(State::lease) else { return };
        if let Some(wait) = self.takeovers.waits.get_mut(&(holder, stint)) {
            wait.answered(now, by, age, lease);
        }
    }
}

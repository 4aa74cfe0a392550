//! One service address on one node.

use std::net::IpAddr;

use super::proposals::Purpose;
use super::takeovers::Wait;
use super::{AddressOrder, AddressReport, Agent, Output};
use crate::state::{Address, Command, State};
use crate::{NodeId, Time};

#[derive(Debug, Default)]
pub(super) struct Local {
    phase: Phase,
    ordered: Option<Time>,
    leaving: bool,
    failed: Option<String>,
    fit: Option<(NodeId, Time)>,
    unowned: Option<Time>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Phase {
    /// What an earlier life left behind is not known.
    #[default]
    Unknown,
    Taking,
    Taken,
    Dropping,
    Dropped,
}

impl Agent {
    pub(super) fn handle_address(&mut self, now: Time, report: AddressReport) {
        let (ip, to, failed) = match report {
            AddressReport::Taken(ip) => (ip, Phase::Taken, None),
            AddressReport::Dropped(ip) => (ip, Phase::Dropped, None),
            AddressReport::Failed(ip, why) => (ip, Phase::Unknown, Some(why)),
        };
        let Some(local) = self.addresses.get_mut(&ip) else { return };
        match (local.phase, to) {
            (Phase::Taking, Phase::Taken) | (Phase::Dropping, Phase::Dropped) => local.phase = to,
            // The order stands and is repeated when its time is up.
            (_, Phase::Unknown) => local.ordered = Some(now),
            _ => {}
        }
        local.failed = failed;
    }

    pub(super) fn reconcile_addresses(&mut self, now: Time, state: &State) {
        for (ip, a) in &state.addresses {
            let mut local = self.addresses.remove(ip).unwrap_or_default();
            self.reconcile_address(now, state, *ip, a, &mut local);
            self.addresses.insert(*ip, local);
        }
    }

    fn reconcile_address(&mut self, now: Time, state: &State, ip: IpAddr, a: &Address, local: &mut Local) {
        let mine = a.owner == Some(self.config.me);
        if !mine {
            local.leaving = false;
        }
        let over = || self.takeovers.wait(now, state, self.config.me, &a.prior) == Wait::Over;
        let have = mine && self.serving && !local.leaving && over();
        self.order_address(now, ip, local, have);
        if mine && self.serving {
            self.consider_leaving(now, state, ip, a, local);
        }
        if a.owner.is_none() && self.serving {
            self.claim(now, state, ip, a, local);
        }
    }

    fn order_address(&mut self, now: Time, ip: IpAddr, local: &mut Local, have: bool) {
        let (order, under_way, done) = if have {
            (AddressOrder::Take(ip), Phase::Taking, Phase::Taken)
        } else {
            (AddressOrder::Drop(ip), Phase::Dropping, Phase::Dropped)
        };
        let repeat = self.config.retry_every * 5;
        let patient = local.ordered.is_some_and(|at| now.since(at) < repeat);
        if local.phase == done || (local.phase == under_way && patient) {
            return;
        }
        (local.phase, local.ordered) = (under_way, Some(now));
        self.out.push_back(Output::Address(order));
    }

    /// Drops the address, then says so in a move to its home, or to anyone if this node is drained.
    fn consider_leaving(&mut self, now: Time, state: &State, ip: IpAddr, a: &Address, local: &mut Local) {
        let purpose = Purpose::Address(ip);
        let target = self.address_target(now, state, a);
        let since = match (target, local.fit) {
            (Some(to), Some((before, since))) if to == before => since,
            _ => now,
        };
        local.fit = target.map(|to| (to, since));
        let drained = state.members.get(&self.config.me).is_some_and(|m| m.drained);
        let waited = drained || now.since(since) >= self.config.home_after;
        match target {
            Some(to) if local.leaving && local.phase == Phase::Dropped => {
                let from = Some(self.config.me);
                let command = Command::MoveAddress { address: ip, revision: a.revision, from, to };
                self.propose(now, purpose, command);
            }
            Some(_)
                if !local.leaving
                    && waited
                    && local.phase == Phase::Taken
                    && !self.flights.is_busy(&purpose) =>
            {
                local.leaving = true;
                self.order_address(now, ip, local, false);
            }
            // An open proposal may still give it away: it is not taken back before that is known.
            None if local.leaving && !self.flights.is_open(&purpose) => local.leaving = false,
            _ => {}
        }
    }

    fn address_target(&self, now: Time, state: &State, a: &Address) -> Option<NodeId> {
        let me = self.config.me;
        let steady =
            |n: NodeId| self.detector.alive_for(now, n).is_some_and(|d| d >= self.config.return_after);
        let fit = |n: NodeId| n != me && state.is_welcome(n) && steady(n);
        if a.home != me && fit(a.home) {
            return Some(a.home);
        }
        let drained = state.members.get(&me).is_some_and(|m| m.drained);
        let owned = |n: NodeId| state.addresses.values().filter(|a| a.owner == Some(n)).count();
        state.up_nodes().filter(|n| drained && fit(*n)).min_by_key(|n| (owned(*n), *n))
    }

    /// Nobody owns it: its home takes it at once; if that does not come, the lowest id does.
    fn claim(&mut self, now: Time, state: &State, ip: IpAddr, a: &Address, local: &mut Local) {
        let me = self.config.me;
        let since = *local.unowned.get_or_insert(now);
        let first = state.up_nodes().find(|n| *n == me || self.detector.is_alive(*n)) == Some(me);
        if a.home == me || (first && !self.home_may_come(now, state, a.home, since)) {
            let command = Command::MoveAddress { address: ip, revision: a.revision, from: None, to: me };
            self.propose(now, Purpose::Address(ip), command);
            local.unowned = None;
        }
    }

    pub(super) fn explain_address(
        &self,
        now: Time,
        state: &State,
        ip: IpAddr,
        a: &Address,
    ) -> Option<String> {
        let local = self.addresses.get(&ip)?;
        if a.owner != Some(self.config.me) || local.phase == Phase::Taken {
            return None;
        }
        self.explain_wait(now, state, &a.prior)
            .or_else(|| (!self.serving).then(|| "waits for this node's own lease".to_owned()))
            .or_else(|| local.failed.clone())
            .or_else(|| local.leaving.then(|| "is on its way to its next owner".to_owned()))
    }
}

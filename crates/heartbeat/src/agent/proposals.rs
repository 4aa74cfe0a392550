//! One proposal at a time for each purpose, and what to do when its outcome is not known.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use super::{Agent, Outcome, Output, ProposalId};
use crate::state::{Command, Refused};
use crate::{NodeId, Time, VolumeId};

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Purpose {
    Rejoin,
    Fence(NodeId),
    Drain(NodeId),
    Volume(VolumeId),
    Address(IpAddr),
}

impl Purpose {
    /// Volumes and addresses: the outcome must become known (R1), so the very same command, a
    /// compare-and-set, is proposed until it does. Others are derived afresh.
    fn insists(&self) -> bool {
        matches!(self, Self::Volume(_) | Self::Address(_))
    }
}

#[derive(Debug)]
enum Stage {
    Sent(Time),
    /// Propose the same again at this time.
    Again(Time),
    /// Known; it shows in the state of this index.
    Settled(u64, Result<(), Refused>),
    /// Done; nothing new for this purpose until then.
    Cooling(Time),
}

#[derive(Debug)]
struct Flight {
    id: ProposalId,
    command: Command,
    stage: Stage,
}

#[derive(Debug, Default)]
pub(super) struct Flights {
    next_id: u64,
    retry: Duration,
    flights: BTreeMap<Purpose, Flight>,
    pub(super) last_refusal: BTreeMap<Purpose, Refused>,
}

impl Flights {
    pub(super) fn is_busy(&self, purpose: &Purpose) -> bool {
        self.flights.contains_key(purpose)
    }

    /// Whether the outcome of a proposal for this purpose is still open.
    pub(super) fn is_open(&self, purpose: &Purpose) -> bool {
        self.flights.get(purpose).is_some_and(|f| !matches!(f.stage, Stage::Cooling(_)))
    }

    pub(super) fn forget(&mut self, purpose: &Purpose) {
        self.flights.remove(purpose);
    }

    pub(super) fn poll_timeout(&self) -> Option<Time> {
        let due = |f: &Flight| match f.stage {
            Stage::Again(at) | Stage::Cooling(at) => Some(at),
            Stage::Sent(_) | Stage::Settled(..) => None,
        };
        self.flights.values().filter_map(due).min()
    }

    /// The state of `index` is known here.
    pub(super) fn observed(&mut self, now: Time, index: u64) {
        let retry = self.retry;
        self.flights.retain(|_, f| match &f.stage {
            Stage::Settled(at, result) if *at <= index => {
                let refused = result.is_err();
                f.stage = Stage::Cooling(now + retry);
                refused
            }
            _ => true,
        });
    }

    pub(super) fn tick(&mut self, now: Time, within: Duration) {
        self.flights.retain(|purpose, f| match f.stage {
            Stage::Cooling(until) => now < until,
            Stage::Sent(at) if now.since(at) > within => {
                f.stage = Stage::Again(now);
                purpose.insists()
            }
            _ => true,
        });
    }
}

impl Agent {
    /// Proposes, unless something for this purpose is under way.
    pub(super) fn propose(&mut self, now: Time, purpose: Purpose, command: Command) {
        if self.flights.is_busy(&purpose) {
            return;
        }
        self.flights.retry = self.config.retry_every;
        let id = self.fresh_id();
        self.out.push_back(Output::Propose { id, command: command.clone() });
        self.flights.flights.insert(purpose, Flight { id, command, stage: Stage::Sent(now) });
    }

    pub(super) fn propose_drain(&mut self, now: Time, node: NodeId, on: bool) {
        self.flights.forget(&Purpose::Drain(node));
        self.propose(now, Purpose::Drain(node), Command::Drain { node, on });
    }

    fn fresh_id(&mut self) -> ProposalId {
        self.flights.next_id += 1;
        ProposalId(self.flights.next_id)
    }

    pub(super) fn handle_outcome(&mut self, now: Time, id: ProposalId, outcome: Outcome) {
        let retry_at = now + self.config.retry_every;
        let observed = self.view.as_ref().map_or(0, |v| v.index);
        let flights = &mut self.flights;
        let Some((purpose, flight)) = flights.flights.iter_mut().find(|(_, f)| f.id == id) else { return };
        flight.stage = match outcome {
            Outcome::Settled { index, result } => {
                match &result {
                    Ok(()) => flights.last_refusal.remove(purpose),
                    Err(why) => flights.last_refusal.insert(purpose.clone(), why.clone()),
                };
                Stage::Settled(index, result)
            }
            Outcome::Unknown if purpose.insists() => Stage::Again(retry_at),
            Outcome::Unknown | Outcome::NotProposed => Stage::Cooling(retry_at),
        };
        self.flights.observed(now, observed);
    }

    /// Proposes again what insists on an outcome.
    pub(super) fn repeat_proposals(&mut self, now: Time) {
        for flight in self.flights.flights.values_mut() {
            if matches!(flight.stage, Stage::Again(at) if now >= at) {
                self.flights.next_id += 1;
                flight.id = ProposalId(self.flights.next_id);
                flight.stage = Stage::Sent(now);
                self.out.push_back(Output::Propose { id: flight.id, command: flight.command.clone() });
            }
        }
    }
}

//! What an operator is told.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use serde::Serialize;

use super::Agent;
use super::takeovers::Wait;
use crate::state::{self, Role, State};
use crate::{DeviceId, Epoch, Generation, MembershipEpoch, NodeId, Time, VolumeId};

/// The cluster as one member sees it, and why something waits.
#[derive(Debug, Clone, Serialize)]
pub struct Status {
    /// Who says this.
    pub me: NodeId,
    /// The log index of the state that this is about; none before the first one.
    pub index: Option<u64>,
    /// Counts changes of membership.
    pub membership_epoch: MembershipEpoch,
    /// This node is in and its lease holds.
    pub serving: bool,
    /// What is left of the own lease.
    pub lease_remaining: Duration,
    /// Every member.
    pub members: Vec<MemberStatus>,
    /// Every volume.
    pub volumes: Vec<VolumeStatus>,
    /// Every address.
    pub addresses: Vec<AddressStatus>,
    /// What is wrong or being waited for, in plain words, the gravest first.
    pub waits: Vec<String>,
}

/// A member as this one sees it.
#[derive(Debug, Clone, Serialize)]
pub struct MemberStatus {
    /// Which.
    pub id: NodeId,
    /// Its name.
    pub name: String,
    /// Node or witness.
    pub role: Role,
    /// In, according to the quorum.
    pub up: bool,
    /// Drained by the operator.
    pub drained: bool,
    /// Heard by this member (which always hears itself).
    pub alive: bool,
    /// How long it has been silent.
    pub silence: Duration,
}

/// A volume as this member sees it.
#[derive(Debug, Clone, Serialize)]
pub struct VolumeStatus {
    /// Which.
    pub id: VolumeId,
    /// Who leads.
    pub leader: Option<NodeId>,
    /// Which leadership.
    pub epoch: Epoch,
    /// Which history.
    pub generation: Generation,
    /// Where it belongs.
    pub home: NodeId,
    /// Who holds everything.
    pub in_sync: BTreeSet<NodeId>,
    /// All replicas.
    pub replicas: BTreeMap<NodeId, DeviceId>,
    /// What this node does with it: `idle`, `following`, `opening`, `leading`, `moving`.
    pub here: String,
    /// Why it does not serve, if it should here.
    pub waits: Option<String>,
}

/// An address as this member sees it.
#[derive(Debug, Clone, Serialize)]
pub struct AddressStatus {
    /// Which.
    pub address: IpAddr,
    /// Whose.
    pub owner: Option<NodeId>,
    /// Where it belongs.
    pub home: NodeId,
    /// Why it does not answer, if it should here.
    pub waits: Option<String>,
}

impl Agent {
    /// The cluster as this member sees it, and why something waits.
    pub fn status(&self, now: Time) -> Status {
        let blank = State::default();
        let state = self.state().unwrap_or(&blank);
        let volumes = self.volume_statuses(now, state);
        let addresses = self.address_statuses(now, state);
        Status {
            me: self.config.me,
            index: self.view.as_ref().map(|v| v.index),
            membership_epoch: state.membership_epoch,
            serving: self.serving && self.holder.is_valid(now),
            lease_remaining: self.holder.ends().since(now),
            members: self.member_statuses(now, state),
            waits: self.all_waits(now, state, &volumes, &addresses),
            volumes,
            addresses,
        }
    }

    fn member_statuses(&self, now: Time, state: &State) -> Vec<MemberStatus> {
        let status = |(id, m): (&NodeId, &state::Member)| MemberStatus {
            id: *id,
            name: m.name.clone(),
            role: m.role,
            up: m.status == state::Status::Up,
            drained: m.drained,
            alive: *id == self.config.me || self.detector.alive_for(now, *id).is_some(),
            silence: self.detector.silence(now, *id).unwrap_or_default(),
        };
        state.members.iter().map(status).collect()
    }

    fn volume_statuses(&self, now: Time, state: &State) -> Vec<VolumeStatus> {
        let status = |(id, v): (&VolumeId, &state::Volume)| {
            let (here, waits) = self.explain_volume(now, state, id, v);
            VolumeStatus {
                id: id.clone(),
                leader: v.leader,
                epoch: v.epoch,
                generation: v.generation,
                home: v.home,
                in_sync: v.in_sync.iter().map(|(n, _)| *n).collect(),
                replicas: v.replicas.clone(),
                here,
                waits,
            }
        };
        state.volumes.iter().map(status).collect()
    }

    fn address_statuses(&self, now: Time, state: &State) -> Vec<AddressStatus> {
        let status = |(ip, a): (&IpAddr, &state::Address)| AddressStatus {
            address: *ip,
            owner: a.owner,
            home: a.home,
            waits: self.explain_address(now, state, *ip, a),
        };
        state.addresses.iter().map(status).collect()
    }

    fn all_waits(
        &self,
        now: Time,
        state: &State,
        volumes: &[VolumeStatus],
        addresses: &[AddressStatus],
    ) -> Vec<String> {
        let volume = |v: &VolumeStatus| v.waits.as_ref().map(|w| format!("{}: {w}", v.id));
        let address = |a: &AddressStatus| a.waits.as_ref().map(|w| format!("{}: {w}", a.address));
        let refusals = self.flights.last_refusal.values().map(|r| format!("last refusal: {r}"));
        self.explain_quorum(now, state)
            .into_iter()
            .chain(self.explain_myself(state))
            .chain(volumes.iter().filter_map(volume))
            .chain(addresses.iter().filter_map(address))
            .chain(
                (self.foreign_beats > 0)
                    .then(|| format!("{} beats came from another cluster", self.foreign_beats)),
            )
            .chain(refusals)
            .collect()
    }

    fn explain_quorum(&self, now: Time, state: &State) -> Option<String> {
        if !state.is_initialised() {
            return Some(
                "no state has been committed yet: the cluster is being started, or has no quorum".into(),
            );
        }
        let me = self.config.me;
        let silent: Vec<NodeId> =
            state.voters().filter(|v| *v != me && self.detector.alive_for(now, *v).is_none()).collect();
        let voters = state.voters().count();
        if voters - silent.len() >= state.majority() {
            return None;
        }
        let names: Vec<String> = silent.iter().map(|v| state.name_of(*v)).collect();
        Some(format!("no quorum: {} of {voters} voters do not answer ({})", silent.len(), names.join(", ")))
    }

    fn explain_myself(&self, state: &State) -> Option<String> {
        let member = state.members.get(&self.config.me);
        match member {
            None if state.is_initialised() => Some("this node is no member of the cluster".into()),
            Some(m) if m.status == state::Status::Fenced => {
                Some(format!("{} is fenced and asks back in once it hears the others well", m.name))
            }
            Some(m) if m.incarnation != self.config.incarnation => {
                Some(format!("{} has restarted and waits to be admitted", m.name))
            }
            _ => None,
        }
    }

    pub(super) fn explain_wait(
        &self,
        now: Time,
        state: &State,
        prior: &BTreeMap<NodeId, MembershipEpoch>,
    ) -> Option<String> {
        match self.takeovers.wait(now, state, self.config.me, prior) {
            Wait::Over => None,
            Wait::Until(at, holder) => {
                let left = at.since(now).as_secs_f64();
                Some(format!("waits {left:.1} s for the lease of {}", state.name_of(holder)))
            }
            Wait::Unknown(holder) => Some(format!(
                "waits for a majority of voters to tell the age of the lease of {}",
                state.name_of(holder)
            )),
        }
    }
}

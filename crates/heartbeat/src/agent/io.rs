//! What goes into an agent and what comes out.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use crate::message::Message;
use crate::state::{Command, Refused, State};
use crate::{DeviceId, Epoch, Generation, NodeId, VolumeId};

/// Names one proposal of one agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProposalId(pub u64);

/// Something that happened.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Input {
    /// A peer's message; `from` is who the transport says it is.
    Message {
        /// Who sent it.
        from: NodeId,
        /// What it says.
        message: Message,
    },
    /// A peer's process is known to be gone: a hint that saves the wait for its silence. Its lease
    /// is waited for all the same.
    Gone {
        /// Which.
        node: NodeId,
    },
    /// The state as of the log's `index`. Older ones than seen are ignored.
    Committed {
        /// The index of the last command in it.
        index: u64,
        /// The state.
        state: Arc<State>,
    },
    /// What became of a proposal.
    Outcome {
        /// Which.
        id: ProposalId,
        /// What.
        outcome: Outcome,
    },
    /// The replication layer reports.
    Volume(VolumeReport),
    /// The address driver reports.
    Address(AddressReport),
    /// The operator wants a node emptied, or filled again.
    Drain {
        /// Which node.
        node: NodeId,
        /// Emptied, or filled.
        on: bool,
    },
}

/// What became of a proposal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It is in the log at `index`, and `apply` said this.
    Settled {
        /// Where.
        index: u64,
        /// What `apply` said.
        result: Result<(), Refused>,
    },
    /// It may commit, or have committed, or never will.
    Unknown,
    /// It was not proposed and never will commit.
    NotProposed,
}

/// What the replication layer tells. Reports about an epoch that is over are ignored.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum VolumeReport {
    /// The local replica has stopped accepting below `epoch`, drained and flushed that (R4). It answers
    /// every [`VolumeOrder::RaiseEpoch`], also one that changes nothing.
    Raised {
        /// Which volume.
        volume: VolumeId,
        /// The replica's epoch now.
        epoch: Epoch,
        /// The generation that the device shows.
        generation: Generation,
        /// The device's own id.
        device: DeviceId,
        /// Whether it is not in the middle of a resync (R9).
        consistent: bool,
    },
    /// [`VolumeOrder::Lead`] is done: the volume is open and serves.
    Opened {
        /// Which volume.
        volume: VolumeId,
        /// In which epoch.
        epoch: Epoch,
    },
    /// [`VolumeOrder::Lead`] failed; the volume is closed.
    OpenFailed {
        /// Which volume.
        volume: VolumeId,
        /// In which epoch.
        epoch: Epoch,
        /// Why, for the operator.
        why: String,
    },
    /// [`VolumeOrder::Retire`] is done: no handle of this epoch will ever write again.
    Closed {
        /// Which volume.
        volume: VolumeId,
        /// In which epoch.
        epoch: Epoch,
        /// Everything was flushed to every in-sync replica before.
        clean: bool,
    },
    /// All that was and will be acknowledged in this epoch is durable on this union (R1).
    UnionHeld {
        /// Which volume.
        volume: VolumeId,
        /// In which epoch.
        epoch: Epoch,
        /// As in [`VolumeOrder::SetPending`].
        union: BTreeSet<(NodeId, DeviceId)>,
    },
    /// A replica's resync is complete.
    PeerSynced {
        /// Which volume.
        volume: VolumeId,
        /// In which epoch.
        epoch: Epoch,
        /// Whose replica.
        node: NodeId,
        /// On which device.
        device: DeviceId,
    },
    /// A replica cannot be written to.
    PeerLost {
        /// Which volume.
        volume: VolumeId,
        /// In which epoch.
        epoch: Epoch,
        /// Whose replica.
        node: NodeId,
        /// Its disk failed, so waiting for it is no use.
        disk: bool,
    },
    /// The local disk failed (R11).
    DiskFailed {
        /// Which volume.
        volume: VolumeId,
    },
}

/// What the address driver tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AddressReport {
    /// The address is here and announced.
    Taken(IpAddr),
    /// The address is not here.
    Dropped(IpAddr),
    /// The last order failed, for this reason; it will be given again.
    Failed(IpAddr, String),
}

/// What the agent wants done. **In this order**: an output takes effect before the next is begun.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Output {
    /// Send a message; it may get lost.
    Send {
        /// To whom.
        to: NodeId,
        /// What.
        message: Message,
    },
    /// Propose a command, and report its [`Outcome`].
    Propose {
        /// Name for the outcome.
        id: ProposalId,
        /// What.
        command: Command,
    },
    /// For the replication layer.
    Volume(VolumeOrder),
    /// For the address driver.
    Address(AddressOrder),
    /// The lease is lost: reply to nobody.
    StepDown,
    /// The lease holds: replies may leave, as long as the [`LeaseFlag`](crate::lease::LeaseFlag) says so.
    Resume,
}

/// An order to the replication layer.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum VolumeOrder {
    /// Stop accepting writes of lower epochs, drain, flush the epoch, report
    /// [`VolumeReport::Raised`] (R4).
    RaiseEpoch {
        /// Which volume.
        volume: VolumeId,
        /// The new epoch.
        epoch: Epoch,
    },
    /// Open the volume here and serve it.
    Lead {
        /// Which volume.
        volume: VolumeId,
        /// In which epoch.
        epoch: Epoch,
        /// Which generation.
        generation: Generation,
        /// Who must have every acknowledged write (R2).
        in_sync: BTreeSet<(NodeId, DeviceId)>,
        /// All replicas; those not in sync are to be resynced.
        replicas: BTreeMap<NodeId, DeviceId>,
    },
    /// From now on acknowledge only what is durable on this union; report
    /// [`VolumeReport::UnionHeld`] once what was acknowledged before is durable there as well.
    SetPending {
        /// Which volume.
        volume: VolumeId,
        /// In which epoch.
        epoch: Epoch,
        /// The old set and the new.
        union: BTreeSet<(NodeId, DeviceId)>,
    },
    /// The committed set; a pending union is over.
    UpdateInSync {
        /// Which volume.
        volume: VolumeId,
        /// In which epoch.
        epoch: Epoch,
        /// The set.
        in_sync: BTreeSet<(NodeId, DeviceId)>,
        /// All replicas.
        replicas: BTreeMap<NodeId, DeviceId>,
    },
    /// Take writes of this leader.
    Follow {
        /// Which volume.
        volume: VolumeId,
        /// In which epoch.
        epoch: Epoch,
        /// From whom.
        leader: NodeId,
    },
    /// Finish what runs, flush, close the volume; report [`VolumeReport::Closed`].
    Retire {
        /// Which volume.
        volume: VolumeId,
        /// In which epoch.
        epoch: Epoch,
    },
    /// The epoch is over: drop the handle and all that was built on it; nothing of it may be
    /// written or acknowledged.
    Abandon {
        /// Which volume.
        volume: VolumeId,
        /// The epoch that is over.
        epoch: Epoch,
    },
}

/// An order to the address driver. Each is answered by an [`AddressReport`], also if nothing was to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddressOrder {
    /// Have the address and announce it.
    Take(IpAddr),
    /// Do not have it.
    Drop(IpAddr),
}

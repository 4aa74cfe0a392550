//! What can be asked of the quorum.

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::State;
use crate::{DeviceId, Epoch, Incarnation, MembershipEpoch, NodeId, Revision, StoreId, VolumeId};

/// The view of a volume from which a command was made: the compare of its compare-and-set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct At {
    /// The leadership.
    pub epoch: Epoch,
    /// The change within it.
    pub revision: Revision,
}

/// What a [`Command::Put`] or [`Command::Delete`] expects to find.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Expect {
    /// Whatever is there.
    Anything,
    /// No such key.
    Absent,
    /// Just this value.
    Value(Vec<u8>),
}

/// A change of the replicated state. Each is refused, with the reason, when it does not fit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Command {
    /// Starts the cluster. Refused once it has been started.
    Bootstrap(Box<State>),
    /// Throws `target` out and moves all that it owned, in one commit (R6).
    Fence {
        /// Who goes.
        target: NodeId,
        /// Who asks; itself in.
        by: NodeId,
        /// The membership that the asker saw.
        membership_epoch: MembershipEpoch,
        /// Others that the asker cannot hear either: nothing is given to them.
        avoid: BTreeSet<NodeId>,
    },
    /// A fenced member asks back in.
    Return {
        /// Who.
        node: NodeId,
        /// Its process's present life.
        incarnation: Incarnation,
        /// Its durable store (R7).
        store: StoreId,
    },
    /// A member that is in finds that this was an earlier life of its process: what it owned is
    /// free to be elected anew, itself included.
    Restarted {
        /// Who.
        node: NodeId,
        /// Its process's present life.
        incarnation: Incarnation,
        /// Its durable store (R7).
        store: StoreId,
    },
    /// The leader says that a replica now holds everything.
    JoinInSync {
        /// Which volume.
        volume: VolumeId,
        /// The leader's view of it.
        at: At,
        /// Whose replica.
        node: NodeId,
        /// On which device.
        device: DeviceId,
    },
    /// The leader goes on without a replica.
    LeaveInSync {
        /// Which volume.
        volume: VolumeId,
        /// The leader's view of it.
        at: At,
        /// Whose replica; not the leader's own.
        node: NodeId,
    },
    /// The leader, which has closed the device, hands the volume over: a new epoch. With `to` =
    /// `from` it opens it again itself.
    MoveVolume {
        /// Which volume.
        volume: VolumeId,
        /// The leader's view of it.
        at: At,
        /// The leader.
        from: NodeId,
        /// The next one; in sync.
        to: NodeId,
        /// The device was flushed to every in-sync replica before it was closed: the set is kept.
        /// Otherwise the set becomes `{to}`.
        clean: bool,
    },
    /// A member of the in-sync set of a volume without a leader offers itself.
    ElectLeader {
        /// Which volume.
        volume: VolumeId,
        /// The view of it.
        at: At,
        /// The candidate.
        node: NodeId,
        /// The device it has.
        device: DeviceId,
    },
    /// Gives `node` another device for its replica, out of sync.
    SetReplica {
        /// Which volume.
        volume: VolumeId,
        /// The view of it.
        at: At,
        /// Whose replica; not the leader's.
        node: NodeId,
        /// The new device.
        device: DeviceId,
    },
    /// Moves an address; proposed by the owner after it has dropped it, by anyone if nobody owns it.
    MoveAddress {
        /// Which.
        address: IpAddr,
        /// The view of it.
        revision: Revision,
        /// The owner.
        from: Option<NodeId>,
        /// The next one.
        to: NodeId,
    },
    /// Says where a volume belongs.
    SetVolumeHome {
        /// Which volume.
        volume: VolumeId,
        /// A node with a replica.
        home: NodeId,
    },
    /// Says where an address belongs.
    SetAddressHome {
        /// Which address.
        address: IpAddr,
        /// A node.
        home: NodeId,
    },
    /// Sets or clears a node's drained mark.
    Drain {
        /// Which node.
        node: NodeId,
        /// Drained, or not.
        on: bool,
    },
    /// Accepts a member's new store in place of the one that was lost (R7), and throws the member
    /// out, should it still be in.
    Replace {
        /// Whose.
        node: NodeId,
        /// The new store.
        store: StoreId,
    },
    /// Writes a key.
    Put {
        /// The key.
        key: String,
        /// The value.
        value: Vec<u8>,
        /// What must be there.
        expect: Expect,
    },
    /// Deletes a key.
    Delete {
        /// The key.
        key: String,
        /// What must be there.
        expect: Expect,
    },
}

impl Command {
    /// The member whose leases end with this command, were it to commit: voters stop granting to
    /// it as soon as their log holds the command (R5).
    pub fn ends_leases_of(&self) -> Option<NodeId> {
        match self {
            Self::Fence { target, .. } => Some(*target),
            Self::Restarted { node, .. } | Self::Replace { node, .. } => Some(*node),
            _ => None,
        }
    }
}

//! Why a command was refused.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::At;
use crate::{DeviceId, MembershipEpoch, NodeId, Revision, VolumeId};

/// Why a command changed nothing. The state is as before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// A second bootstrap.
    #[error("the cluster has been started before")]
    AlreadyInitialised,
    /// A command before the bootstrap.
    #[error("the cluster has not been started yet")]
    NotInitialised,
    /// The bootstrap's state contradicts itself.
    #[error("the initial state is invalid: {0}")]
    BadBootstrap(String),
    /// The proposer saw an older membership; look again.
    #[error("membership has changed: epoch {now} now, {seen} was seen")]
    StaleMembership {
        /// The proposer's.
        seen: MembershipEpoch,
        /// The state's.
        now: MembershipEpoch,
    },
    /// The proposer saw an older volume; look again.
    #[error(
        "volume {volume} has changed: epoch {}.{} now, {}.{} was seen",
        now.epoch, now.revision, seen.epoch, seen.revision
    )]
    StaleVolume {
        /// Which.
        volume: VolumeId,
        /// The proposer's view.
        seen: At,
        /// The state's.
        now: At,
    },
    /// The proposer saw an older address; look again.
    #[error("address {address} has changed: revision {now} now, {seen} was seen")]
    StaleAddress {
        /// Which.
        address: IpAddr,
        /// The proposer's view.
        seen: Revision,
        /// The state's.
        now: Revision,
    },
    /// No such member.
    #[error("{0} is no member")]
    NoSuchMember(NodeId),
    /// No such volume.
    #[error("there is no volume {0}")]
    NoSuchVolume(VolumeId),
    /// No such address.
    #[error("there is no address {0}")]
    NoSuchAddress(IpAddr),
    /// A witness or an unknown member cannot do this.
    #[error("{0} is a witness, which owns nothing")]
    NotANode(NodeId),
    /// The member is fenced.
    #[error("{0} is fenced")]
    IsFenced(NodeId),
    /// The member is in already.
    #[error("{0} is in already")]
    IsUp(NodeId),
    /// A node does not fence itself.
    #[error("{0} cannot fence itself")]
    FencesItself(NodeId),
    /// The member's durable store is not the recorded one (R7): `replace` it first.
    #[error("{0} has another store than the one recorded: it must be replaced by the operator first")]
    ForeignStore(NodeId),
    /// Only the leader proposes this.
    #[error("{node} does not lead volume {volume}")]
    NotLeader {
        /// Who proposed.
        node: NodeId,
        /// Which volume.
        volume: VolumeId,
    },
    /// The volume has a leader, or has none.
    #[error("volume {volume} is led by {leader:?}")]
    LedBy {
        /// Which volume.
        volume: VolumeId,
        /// By whom.
        leader: Option<NodeId>,
    },
    /// The address is somebody else's.
    #[error("address {address} is owned by {owner:?}")]
    OwnedBy {
        /// Which address.
        address: IpAddr,
        /// By whom.
        owner: Option<NodeId>,
    },
    /// The node has no replica of the volume.
    #[error("{node} has no replica of volume {volume}")]
    NoReplica {
        /// Who.
        node: NodeId,
        /// Which volume.
        volume: VolumeId,
    },
    /// The node's replica is on another device (R1).
    #[error("{node} has volume {volume} on device {has}, not on {asked}")]
    WrongDevice {
        /// Who.
        node: NodeId,
        /// Which volume.
        volume: VolumeId,
        /// The device named.
        asked: DeviceId,
        /// The device recorded.
        has: DeviceId,
    },
    /// The node's replica is not in sync (R1).
    #[error("{node} is not in sync for volume {volume}")]
    NotInSync {
        /// Who.
        node: NodeId,
        /// Which volume.
        volume: VolumeId,
    },
    /// The node's replica is in sync already.
    #[error("{node} is in sync for volume {volume} already")]
    IsInSync {
        /// Who.
        node: NodeId,
        /// Which volume.
        volume: VolumeId,
    },
    /// The leader is always in sync.
    #[error("{node} leads volume {volume} and cannot leave its in-sync set")]
    LeaderStays {
        /// The leader.
        node: NodeId,
        /// Which volume.
        volume: VolumeId,
    },
    /// A key-value expectation failed.
    #[error("key {0:?} is not as expected")]
    Unexpected(String),
    /// A limit of the replicated state; the value is the limit.
    #[error("{what} would exceed its limit of {limit}")]
    TooLarge {
        /// Of what.
        what: String,
        /// The limit.
        limit: usize,
    },
}

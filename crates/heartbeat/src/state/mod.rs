//! The replicated state and the one function that changes it.
//!
//! # Who may change what, and against what it is compared
//!
//! | thing | number | grows with | commands compare |
//! |---|---|---|---|
//! | membership | [`MembershipEpoch`] | `Fence`, `Return`, `Restarted`, `Replace` | fences: R6 |
//! | a volume's leadership | [`Epoch`] | every change of leader, every reopening | with the revision |
//! | a volume | [`Revision`] | every change of that volume, its in-sync set included | [`At`] |
//! | an address | [`Revision`] | every change of its owner | the revision |
//!
//! A device handle belongs to one epoch (R4), and a follower that comes or goes must not end it. So the
//! epoch names the leadership and the revision orders the changes within it: every command about a
//! volume is a compare-and-set on both ([`At`]). Of two proposals made from one view at most one
//! commits, hence an outcome that got lost can be found out by proposing the same again.
//!
//! # Whose lease must be waited for
//!
//! Whoever loses a volume or an address without having closed it is written into its
//! [`prior`](Volume::prior) with the *stint* (the membership epoch at which it was last admitted) in
//! which it may hold a lease. A successor serves only when the leases of all of these are over (R5). Planned
//! moves, proposed by the owner after it has closed the thing, clear the list.

mod apply;
mod command;
mod refused;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use apply::apply;
pub use command::{At, Command, Expect};
pub use refused::Refused;

use crate::{
    ClusterId, DeviceId, Epoch, Generation, Incarnation, MembershipEpoch, NodeId, Revision, StoreId, VolumeId,
};

/// The format of [`State`] and [`Command`] that this version writes. A newer one is refused.
pub const FORMAT: u16 = 1;

/// Limits on the replicated state, the same on every member: they are part of the format.
pub mod limits {
    /// Most members, voters included.
    pub const MEMBERS: usize = 64;
    /// Most voters (DESIGN §3).
    pub const VOTERS: usize = 5;
    /// Most volumes.
    pub const VOLUMES: usize = 256;
    /// Most addresses.
    pub const ADDRESSES: usize = 256;
    /// Most keys of the key-value space.
    pub const KEYS: usize = 65_536;
    /// Longest key, in bytes.
    pub const KEY_BYTES: usize = 512;
    /// Longest value, in bytes.
    pub const VALUE_BYTES: usize = 64 * 1024;
    /// Most bytes of all keys and values together.
    pub const KV_BYTES: usize = 16 * 1024 * 1024;
    /// Longest name or peer address of a member, in bytes.
    pub const TEXT_BYTES: usize = 256;
}

/// What the quorum agrees on. [`State::default`] is the state before [`Command::Bootstrap`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct State {
    /// [`FORMAT`] of the writer; 0 before the bootstrap.
    pub format: u16,
    /// Which cluster this is.
    pub cluster: ClusterId,
    /// How often an operator overrode the quorum (R8).
    pub generation: Generation,
    /// Counts changes of membership.
    pub membership_epoch: MembershipEpoch,
    /// Length of a lease (D of R5) in milliseconds, before the holder's margin.
    pub lease_ms: u32,
    /// All members, fenced ones included.
    pub members: BTreeMap<NodeId, Member>,
    /// All volumes.
    pub volumes: BTreeMap<VolumeId, Volume>,
    /// All service addresses.
    pub addresses: BTreeMap<IpAddr, Address>,
    /// The embedding program's own small space.
    pub kv: Arc<BTreeMap<String, Vec<u8>>>,
}

/// A node or a witness.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// What people call it.
    pub name: String,
    /// Whether it may own anything.
    pub role: Role,
    /// Whether it grants leases and votes.
    pub voter: bool,
    /// Whether it is in.
    pub status: Status,
    /// The life of its process that was last admitted.
    pub incarnation: Incarnation,
    /// The membership epoch at which it was last admitted. Leases belong to one stint.
    pub stint: MembershipEpoch,
    /// Its durable store (R7).
    pub store: StoreId,
    /// Where its peers reach it, in the embedding program's notation.
    pub peer: String,
    /// An operator wants nothing on it.
    pub drained: bool,
}

/// What a member is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Role {
    /// Leads volumes, owns addresses.
    Node,
    /// Only votes.
    Witness,
}

/// Whether a member is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Status {
    /// In: it may own things while its lease holds.
    Up,
    /// Out, until it asks back in with [`Command::Return`]. Every member starts so.
    Fenced,
}

/// A replicated device and who leads it (R1).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    /// Who leads; nobody while no member of `in_sync` is in.
    pub leader: Option<NodeId>,
    /// Which leadership this is (R4).
    pub epoch: Epoch,
    /// Counts all changes of this volume.
    pub revision: Revision,
    /// The replicas that hold everything that was ever acknowledged.
    pub in_sync: BTreeSet<(NodeId, DeviceId)>,
    /// Which history its devices must show (R8).
    pub generation: Generation,
    /// Where it belongs.
    pub home: NodeId,
    /// Who holds a replica, and on which device.
    pub replicas: BTreeMap<NodeId, DeviceId>,
    /// Earlier leaders, with the stint, whose leases a new leader must wait out (R5).
    pub prior: BTreeMap<NodeId, MembershipEpoch>,
}

/// A service address and who answers to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Address {
    /// Who answers; nobody while no node is in.
    pub owner: Option<NodeId>,
    /// Where it belongs.
    pub home: NodeId,
    /// Counts all changes of this address.
    pub revision: Revision,
    /// Earlier owners, with the stint, whose leases a new owner must wait out (R5).
    pub prior: BTreeMap<NodeId, MembershipEpoch>,
}

impl State {
    /// Whether the bootstrap has happened.
    pub fn is_initialised(&self) -> bool {
        self.format != 0
    }

    /// D of R5.
    pub fn lease(&self) -> Duration {
        Duration::from_millis(u64::from(self.lease_ms))
    }

    /// The members that vote and grant leases.
    pub fn voters(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.members.iter().filter(|(_, m)| m.voter).map(|(id, _)| *id)
    }

    /// How many voters make a majority.
    pub fn majority(&self) -> usize {
        self.voters().count() / 2 + 1
    }

    /// Whether `node` is a node that is in.
    pub fn is_up_node(&self, node: NodeId) -> bool {
        self.members.get(&node).is_some_and(|m| m.role == Role::Node && m.status == Status::Up)
    }

    /// Whether things may be brought to `node`: in, a node, not drained.
    pub fn is_welcome(&self, node: NodeId) -> bool {
        self.is_up_node(node) && self.members.get(&node).is_some_and(|m| !m.drained)
    }

    /// The nodes that are in.
    pub fn up_nodes(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.members.keys().copied().filter(|n| self.is_up_node(*n))
    }

    /// How many volumes `node` leads.
    pub fn led_by(&self, node: NodeId) -> usize {
        self.volumes.values().filter(|v| v.leader == Some(node)).count()
    }

    /// A member's name, or its number.
    pub fn name_of(&self, node: NodeId) -> String {
        self.members.get(&node).map_or_else(|| node.to_string(), |m| m.name.clone())
    }
}

impl Member {
    /// A member as [`Command::Bootstrap`] wants it: out, until its process asks in.
    pub fn new(name: &str, role: Role, store: StoreId, peer: &str) -> Self {
        Self {
            name: name.to_owned(),
            role,
            voter: true,
            status: Status::Fenced,
            incarnation: Incarnation::default(),
            stint: MembershipEpoch::default(),
            store,
            peer: peer.to_owned(),
            drained: false,
        }
    }
}

impl Volume {
    /// A volume whose devices are all freshly initialised, hence alike; led by nobody yet.
    pub fn new(home: NodeId, replicas: impl IntoIterator<Item = (NodeId, DeviceId)>) -> Self {
        let replicas: BTreeMap<_, _> = replicas.into_iter().collect();
        Self {
            leader: None,
            epoch: Epoch::default(),
            revision: Revision::default(),
            in_sync: replicas.iter().map(|(n, d)| (*n, *d)).collect(),
            generation: Generation::default(),
            home,
            replicas,
            prior: BTreeMap::new(),
        }
    }

    /// What a command about this volume, as it is now, must carry.
    pub fn at(&self) -> At {
        At { epoch: self.epoch, revision: self.revision }
    }

    /// Whether `node`'s replica is in sync, with the device that it is known to have.
    pub fn has_in_sync(&self, node: NodeId) -> bool {
        self.replicas.get(&node).is_some_and(|d| self.in_sync.contains(&(node, *d)))
    }
}

impl Address {
    /// An address that nobody answers to yet.
    pub fn new(home: NodeId) -> Self {
        Self { owner: None, home, revision: Revision::default(), prior: BTreeMap::new() }
    }
}

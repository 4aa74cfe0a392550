//! Names of things, and what a quorum grants.

use std::collections::BTreeSet;
use std::fmt;

macro_rules! id16 {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub [u8; 16]);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }
    };
}

id16!(
    /// The cluster a volume belongs to; replicas of different clusters never talk.
    ClusterId
);
id16!(
    /// One replicated volume; the same on all its replicas.
    VolumeId
);
id16!(
    /// One backing device, random, drawn when it is created. A replaced disk has another.
    DeviceId
);

/// A node of the cluster.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
pub struct NodeId(pub u64);

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "n{}", self.0)
    }
}

/// Who a replica is: recorded in its data file and in its metadata, checked at open and at
/// every handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The cluster.
    pub cluster: ClusterId,
    /// The volume.
    pub volume: VolumeId,
    /// This replica's device: 16 random bytes, drawn by the caller.
    pub device: DeviceId,
    /// The node that holds the device.
    pub node: NodeId,
}

/// One replica as the quorum names it: a node *and* the device that was in sync there, so that
/// a new disk in an old node is not mistaken for the old one (R1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Member {
    /// The node.
    pub node: NodeId,
    /// Its device.
    pub device: DeviceId,
}

/// The in-sync set: an acknowledged write is durable on each of these (R2).
pub type MemberSet = BTreeSet<Member>;

/// What the quorum decided about one volume (R1). Grants are applied in the order in which they
/// were committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Grows with each change of leader; a handle belongs to one epoch.
    pub epoch: u64,
    /// The node that orders all writes.
    pub leader: NodeId,
    /// Where a write must be durable before it is acknowledged.
    pub in_sync: MemberSet,
    /// Grows when the set loses a member (takeover or removal): what is written from then on
    /// is not on that member. Need not grow when a member is added or the leader moves.
    pub generation: u64,
    /// Nodes besides the leader that may write through it; empty: a single writer. Taking a node
    /// that is away from the set says that nobody reads its copy any more: its lease is over.
    pub writers: BTreeSet<NodeId>,
}

impl Grant {
    /// A grant with one writer, the leader.
    pub fn new(epoch: u64, leader: NodeId, in_sync: MemberSet, generation: u64) -> Self {
        Grant { epoch, leader, in_sync, generation, writers: BTreeSet::new() }
    }

    /// The same with these writers besides the leader.
    pub fn with_writers(self, writers: impl IntoIterator<Item = NodeId>) -> Self {
        Grant { writers: writers.into_iter().collect(), ..self }
    }
}

/// One entry of a replica's ancestry: which leader began which generation under which epoch.
/// Two replicas are related when one's newest entry is in the other's list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct GenerationId {
    /// The number the grant carried; 0 for a device that was never written.
    pub generation: u64,
    /// The epoch in which it began.
    pub epoch: u64,
    /// The device of the leader that began it.
    pub device: DeviceId,
}

/// A replica's ancestry, oldest first; empty for a blank device.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Lineage(pub(crate) Vec<GenerationId>);

impl Lineage {
    /// Generations remembered; older replicas are resynced in full.
    pub const MAX: usize = 32;

    /// The newest entry; all zero for a blank device.
    pub fn current(&self) -> GenerationId {
        self.0.last().copied().unwrap_or_default()
    }

    /// Whether no generation ever began here.
    pub fn is_blank(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether `id` is the current generation or an ancestor of it.
    pub fn contains(&self, id: GenerationId) -> bool {
        self.0.contains(&id)
    }

    /// The entries, oldest first.
    pub fn entries(&self) -> &[GenerationId] {
        &self.0
    }

    pub(crate) fn begin(&mut self, id: GenerationId) {
        if self.0.len() == Self::MAX {
            self.0.remove(0);
        }
        self.0.push(id);
    }

    /// The newest entry that both lists hold.
    pub(crate) fn common(&self, other: &Lineage) -> Option<GenerationId> {
        self.0.iter().rev().copied().find(|e| other.contains(*e))
    }
}

/// The answer to [`raise_epoch`](crate::Volume::raise_epoch) (R4): from here on no write of a
/// lower epoch is accepted, and all that was accepted is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Raised {
    /// The durable epoch.
    pub epoch: u64,
    /// The replica's newest generation (0: blank).
    pub generation: u64,
    /// The replica's device.
    pub device: DeviceId,
    /// False in the midst of a resync: such a replica must not lead (R9).
    pub consistent: bool,
    /// Whether [`rollback`](crate::Volume::rollback) can bring back the last consistent state.
    pub can_roll_back: bool,
}

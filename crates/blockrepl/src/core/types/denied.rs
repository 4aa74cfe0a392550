//! Why a request was not carried out.

use std::sync::Arc;

use crate::ids::NodeId;

/// Why a replica did not do what it was asked. Unless a variant says more, nothing has changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Denied {
    /// A higher epoch is known; this leadership is over for ever (R4).
    #[error("fenced: epoch {held} is over (epoch {current} is known)")]
    Fenced {
        /// The epoch held.
        held: u64,
        /// The one known.
        current: u64,
    },
    /// The epoch asked for is over already.
    #[error("epoch {asked} is over: epoch {current} is known")]
    EpochTooLow {
        /// Asked for.
        asked: u64,
        /// Known.
        current: u64,
    },
    /// The grant's epoch was not raised here first (R4).
    #[error("the grant is of epoch {asked}, but epoch {durable} is the raised one; raise it first")]
    NotRaised {
        /// The grant's.
        asked: u64,
        /// The durable one.
        durable: u64,
    },
    /// The replica is in the midst of a resync (R9).
    #[error("the replica is inconsistent: finish its resync, or roll it back (accepting loss)")]
    Inconsistent,
    /// The grant names another leader, or does not count this device as in sync (R1).
    #[error("the grant does not make this device the leader")]
    NotGranted,
    /// The replica's data is newer than the grant: the grant is outdated, or the device was moved.
    #[error("the replica holds generation {own}, the grant speaks of generation {granted}")]
    GenerationOlder {
        /// The replica's.
        own: u64,
        /// The grant's.
        granted: u64,
    },
    /// Only a leader can do that.
    #[error("this replica does not lead")]
    NotLeading,
    /// The leader's grant does not name this node as a writer: whoever grants must add it.
    #[error("the leader of epoch {epoch} was not granted this node as a writer")]
    NotWriter {
        /// The leader's epoch.
        epoch: u64,
    },
    /// The leader is away, longer than `Config::leader_wait`. A write that fails so may have been done.
    #[error("the leader of epoch {epoch} is away: connect it, or grant another epoch")]
    NoLeader {
        /// The epoch that was joined.
        epoch: u64,
    },
    /// The in-sync set has fewer copies than `Config::min_redundancy`, and the policy is to fail. A flush that fails so
    /// has done nothing else; the handle is still good, and so is what was written.
    #[error(
        "{have} in-sync copies where {need} are asked for: connect a peer and grant it, or ask for fewer"
    )]
    Redundancy {
        /// Copies in the set.
        have: usize,
        /// Copies that are asked for.
        need: usize,
    },
    /// A pending set may name only members and peers that are synced now, under protocol C (R1). Growing needs all members to
    /// be synced, shrinking all replicas: connect it, or leave it out and forget it.
    #[error("node {0} is not synced under protocol C: connect it, or go on without it")]
    NotSynced(NodeId),
    /// The range does not lie within the device, or is longer than a write may be.
    #[error("{len} bytes at {offset} do not fit the device of {size} bytes")]
    OutOfRange {
        /// Offset asked for.
        offset: u64,
        /// Length asked for.
        len: u64,
        /// The device's size.
        size: u64,
    },
    /// The bytes are damaged here and no peer has them. The device is otherwise unharmed.
    #[error("{len} bytes at {offset} are damaged, and no copy of them is right")]
    Corrupt {
        /// From where, in bytes.
        offset: u64,
        /// How many bytes were asked for.
        len: u64,
    },
    /// There is no such snapshot here.
    #[error("there is no snapshot {0}")]
    NoSnapshot(u64),
    /// The image of a snapshot could not be opened or removed.
    #[error("the snapshot: {0}")]
    Snapshot(Arc<str>),
    /// No rollback is possible: the replica is consistent, or there is no way back, as [`Event::UndoLost`](super::Event::UndoLost)
    /// has told.
    #[error("nothing to roll back to: {0}")]
    NoRollback(&'static str),
    /// A device does not become smaller unasked: what lies behind the new end is lost. Make the file system on it smaller
    /// first, then ask with [`Volume::shrink`](crate::Volume::shrink).
    #[error(
        "the device has {from} bytes, and what lies behind {to} would be lost: make the file system on it smaller, \
         then ask to shrink"
    )]
    Shrinks {
        /// Its size in bytes.
        from: u64,
        /// The size asked for.
        to: u64,
    },
    /// No device can have this size.
    #[error("a device of {0} bytes: give a multiple of 4096, at least 65536 and at most 128 TiB")]
    Size(u64),
    /// There is no room for it here.
    #[error("the device cannot grow here: {0}")]
    CannotGrow(Arc<str>),
    /// One of these runs already.
    #[error("another request of this kind is under way")]
    Busy,
    /// A member of the in-sync set is not forgotten: a grant must leave it out first.
    #[error("node {0} is counted as in sync: propose its removal first")]
    StillCounted(NodeId),
    /// The disk failed and the replica has detached (R11).
    #[error("the disk failed: {0}")]
    Disk(Arc<str>),
    /// The replica was closed.
    #[error("the replica is closed")]
    Closed,
}

//! What a replica tells its owner unasked, and what its requests wait for.

use std::fmt;
use std::sync::Arc;

use super::{Denied, Finding, LeaseId, SplitBrain};
use crate::ids::{DeviceId, GenerationId, NodeId};
use crate::wire::Refusal;

/// What a replica's owner may want to act upon.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A link is up and the handshake was accepted.
    PeerConnected {
        /// Who.
        peer: NodeId,
        /// With which device.
        device: DeviceId,
    },
    /// The link is gone. While `in_sync`, flushes wait until it returns or a grant removes it.
    PeerLost {
        /// Who.
        peer: NodeId,
        /// With which device.
        device: DeviceId,
        /// Whether the grant or a pending change counts it.
        in_sync: bool,
    },
    /// A flush has waited for this peer longer than `Config::slow_after`; or it was asked whether it has right what is damaged
    /// here, and has not answered for four times as long.
    PeerSlow {
        /// Who.
        peer: NodeId,
        /// Whether the grant or a pending change counts it.
        in_sync: bool,
    },
    /// A synced peer that was reported as slow has answered.
    PeerRecovered {
        /// Who.
        peer: NodeId,
        /// With which device.
        device: DeviceId,
    },
    /// The peer, under protocol C, holds all that was ever acknowledged, and no flush is answered without it
    /// while it is connected; it may be proposed as a member.
    PeerSynced {
        /// Who.
        peer: NodeId,
        /// With which device.
        device: DeviceId,
    },
    /// The peer, under protocol A or B, has caught up and follows the stream. It is no candidate for the set.
    PeerFollows {
        /// Who.
        peer: NodeId,
        /// With which device.
        device: DeviceId,
    },
    /// The peer, under protocol A or B, did not keep up: what it misses is copied when there is room.
    PeerBehind {
        /// Who.
        peer: NodeId,
    },
    /// A resync towards `peer` began.
    ResyncStarted {
        /// The target.
        peer: NodeId,
        /// Bytes to copy.
        bytes: u64,
        /// Everything, or only what differs.
        full: bool,
    },
    /// The peer refused us.
    RefusedBy {
        /// Who.
        peer: NodeId,
        /// Why.
        why: Refusal,
    },
    /// We refused the peer.
    Refused {
        /// Who.
        peer: NodeId,
        /// Why.
        why: Refusal,
    },
    /// The peer's data does not descend from ours nor ours from it. An operator must choose: to
    /// overwrite theirs, lead here and discard their device.
    Diverged {
        /// Who.
        peer: NodeId,
        /// With which device.
        device: DeviceId,
        /// The last generation that both share (`None`: unrelated data).
        common: Option<GenerationId>,
    },
    /// As [`Diverged`](Self::Diverged), which follows unless the policy gives up the peer's data.
    SplitBrain(Box<SplitBrain>),
    /// A generation that the leader's does not descend from is kept here; now it is overwritten.
    SnapshotKept {
        /// The snapshot.
        id: u64,
        /// The generation's number.
        generation: u64,
        /// Bytes of the device.
        bytes: u64,
    },
    /// It could not be kept: the resync was refused, and nothing was overwritten.
    SnapshotFailed {
        /// Why.
        reason: Arc<str>,
    },
    /// This replica led and does no longer.
    Fenced {
        /// The epoch it held.
        held: u64,
        /// The epoch that ended it.
        current: u64,
    },
    /// A resync into this replica began: it must not lead until it is over (R9).
    Inconsistent,
    /// This replica is consistent again, at this generation.
    Consistent {
        /// The generation's number.
        generation: u64,
    },
    /// A copy was found damaged, or different from the leader's. Told by the leader; by a follower when it
    /// found it by its own scrub.
    Damaged(Finding),
    /// Told by a leader: its disk cannot read this range, nor has another copy in step healed it. The resync of `peer`
    /// leaves it out and goes on with the rest; the peer stays out of step until it is written to or can be read again.
    /// [`Event::Damaged`] says which blocks it is.
    Unreadable {
        /// Who is being resynced.
        peer: NodeId,
        /// Where the granule begins, in bytes.
        offset: u64,
        /// Its length in bytes.
        len: u64,
        /// What the disk said.
        reason: Arc<str>,
    },
    /// Told by a leader: these bytes of its copy are damaged, and no copy that it can ask has them right. They were copied
    /// to `peer` as they are, marked: a read of them there fails too, until they are written. [`Event::Damaged`] names
    /// the copies.
    DamageCopied {
        /// Who got them.
        peer: NodeId,
        /// From where, in bytes.
        offset: u64,
        /// How many.
        len: u64,
    },
    /// There is no way back from the resync any more, to the state before it: this copy does not lead before it is brought in step.
    UndoLost {
        /// Why: the undo area is too small for what is to be copied, or full, a granule could not be read before it was to be
        /// overwritten, more was damaged than could be noted, or a before-image is damaged.
        reason: &'static str,
    },
    /// A leader was told to stop. Of its in-sync peers one may be led now, under a higher epoch.
    LeaderResigned {
        /// The former leader.
        peer: NodeId,
        /// The epoch it raised; a successor needs a higher one.
        epoch: u64,
        /// Whether this copy is such a one: as the leader told it last, on this link.
        in_sync: bool,
    },
    /// The disk of the leader failed: its leadership is over, as if it had resigned.
    LeaderFailed {
        /// The former leader.
        peer: NodeId,
        /// Its epoch; a successor needs a higher one.
        epoch: u64,
        /// Whether this copy has all that it acknowledged: as the leader told it last, on this link.
        in_sync: bool,
    },
    /// Another node writes through this leader now.
    WriterJoined {
        /// Who.
        peer: NodeId,
    },
    /// It does no more.
    WriterLeft {
        /// Who.
        peer: NodeId,
    },
    /// Two writers wrote to the same bytes at the same time. All copies hold them in the order in which
    /// they are named; which one that is was chance.
    Overlap {
        /// Whose write came first.
        first: NodeId,
        /// Whose came second.
        second: NodeId,
        /// Where they overlap, in bytes.
        offset: u64,
        /// How much, in bytes.
        len: u64,
    },
    /// A range lease ended before it was given back: its holder was away for too long.
    LeaseLost {
        /// The holder.
        holder: NodeId,
        /// The lease, as its holder names it.
        lease: LeaseId,
    },
    /// This replica wrote through the leader of this epoch and does no more; its handle is dead.
    SessionEnded {
        /// The epoch that was joined.
        epoch: u64,
        /// Why.
        why: Denied,
    },
    /// The device has grown here. Handles see it at once, NBD clients when they connect anew.
    Resized {
        /// Its size in bytes.
        size: u64,
    },
    /// The disk failed; the replica has detached (R11).
    DiskFailed {
        /// The disk's error.
        reason: Arc<str>,
    },
}

/// Why a flush (or a write) waits, and who can end the wait.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Waiting {
    /// For a member whose link is down, or for a grant that removes it.
    PeerDown(NodeId),
    /// For a member that is still being resynced.
    PeerSyncing(NodeId),
    /// For a member's answer.
    Peer(NodeId),
    /// For its answer that it has the writes in memory (protocol B).
    PeerMemory(NodeId),
    /// For the local disk.
    LocalDisk,
    /// For the local metadata to hold the newest grant.
    Metadata,
    /// A write waits for another writer's copy, which is read there, to have it; or for the end of its link, or a grant that
    /// takes it from the writers.
    Writer(NodeId),
    /// A write waits for the range lease of this node.
    Lease(NodeId),
    /// A writer waits for the leader of this epoch to be connected.
    Leader {
        /// The epoch.
        epoch: u64,
    },
    /// The in-sync set has fewer copies than `Config::min_redundancy`.
    Redundancy {
        /// Copies in the set.
        have: usize,
        /// Copies that are asked for.
        need: usize,
    },
}

impl fmt::Display for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Waiting::PeerDown(n) => write!(f, "waiting for node {n}, or for a grant that removes it"),
            Waiting::PeerSyncing(n) => write!(f, "waiting until node {n} is resynced"),
            Waiting::Peer(n) => write!(f, "waiting for node {n}'s disk"),
            Waiting::PeerMemory(n) => write!(f, "waiting for node {n} to have the writes in memory"),
            Waiting::LocalDisk => f.write_str("waiting for the local disk"),
            Waiting::Metadata => f.write_str("waiting for the local metadata"),
            Waiting::Writer(n) => write!(f, "waiting for node {n}, which reads its own copy"),
            Waiting::Lease(n) => write!(f, "waiting for node {n} to give its range lease back"),
            Waiting::Leader { epoch } => {
                write!(f, "waiting for the leader of epoch {epoch}, or for a grant of a higher epoch")
            }
            Waiting::Redundancy { have, need } => write!(
                f,
                "waiting for {need} in-sync copies, there are {have}: connect a peer and grant it, or ask for fewer"
            ),
        }
    }
}

//! What goes into a [`Replica`](super::Replica) and what comes out.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::ids::{DeviceId, GenerationId, Grant, NodeId, Raised};
use crate::wire::{Hello, Message, Refusal};

/// One connection, named by the driver; a new connection to the same peer has a new name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u64);

/// One disk operation, named by the core.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OpId(pub u64);

/// One request, named by the driver; answered once, by [`Output::Done`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// What happens to a replica.
#[derive(Debug)]
pub enum Input {
    /// The leader's owner writes.
    Write {
        /// Answered by [`Reply::Written`] when a local read would see it.
        request: RequestId,
        /// Where, in bytes.
        offset: u64,
        /// What; at most [`WRITE_MAX`] bytes.
        data: Bytes,
    },
    /// The leader's owner flushes.
    Flush {
        /// Answered by [`Reply::Flushed`] when all writes answered before are durable on all of
        /// the in-sync set.
        request: RequestId,
    },
    /// Write under the leader of this epoch: become one of its writers.
    Join {
        /// Answered by [`Reply::Joined`].
        request: RequestId,
        /// The leader's epoch.
        epoch: u64,
        /// Names this joining; no other of this node may ever have had it (a random number does).
        session: u64,
    },
    /// What a writer that joined does.
    Remote {
        /// Answered as the same operation of a leader is.
        request: RequestId,
        /// Its session.
        session: u64,
        /// What.
        op: RemoteOp,
    },
    /// A writer that joined is done.
    Leave {
        /// Its session.
        session: u64,
    },
    /// N3: keep all other writers out of a range.
    Lease {
        /// Answered by [`Reply::Leased`].
        request: RequestId,
        /// The epoch of the handle that asks.
        epoch: u64,
        /// Where, in bytes.
        offset: u64,
        /// How much, in bytes.
        len: u64,
    },
    /// Give a range lease back.
    Unlease(LeaseId),
    /// Refuse lower epochs from now on (R4).
    Raise {
        /// Answered by [`Reply::Raised`].
        request: RequestId,
        /// The epoch.
        epoch: u64,
    },
    /// Lead under this grant.
    Lead {
        /// Answered by [`Reply::Leading`].
        request: RequestId,
        /// The grant; its epoch must have been raised.
        grant: Grant,
    },
    /// Give up the resync under way: return to the last consistent state (R9).
    Rollback {
        /// Answered by [`Reply::RolledBack`].
        request: RequestId,
    },
    /// Compare this leader's copy with all synced peers' and heal the wrong ones.
    Verify {
        /// Answered by [`Reply::Verified`].
        request: RequestId,
    },
    /// Read this replica's copy, leader or follower, against its own checksums, and heal it.
    Scrub {
        /// Answered by [`Reply::Scrubbed`].
        request: RequestId,
    },
    /// The leader's owner reads what is known to be what was written, if need be from a peer. With other
    /// writers, all reads must go this way: a write that another's read could still miss is not shown.
    Read {
        /// Answered by [`Reply::Read`].
        request: RequestId,
        /// Where, in bytes.
        offset: u64,
        /// How much, in bytes; at most [`WRITE_MAX`].
        len: u32,
    },
    /// Grow the device, on all members of the in-sync set.
    Resize {
        /// Answered by [`Reply::Resized`].
        request: RequestId,
        /// The new size in bytes.
        size: u64,
    },
    /// Delete a snapshot.
    DeleteSnapshot {
        /// Answered by [`Reply::Deleted`].
        request: RequestId,
        /// Its number.
        id: u64,
    },
    /// An operator agrees that the diverged data of `device` is overwritten by this leader's.
    Discard {
        /// The losing device.
        device: DeviceId,
    },
    /// Stop cleanly: flush, and leave no hot extents behind.
    Close {
        /// Answered by [`Reply::Closed`].
        request: RequestId,
    },
    /// A link is up and the peer's hello was read. Ours is [`Replica::hello`](super::Replica::hello).
    LinkUp {
        /// Its name.
        link: LinkId,
        /// What the peer said.
        hello: Hello,
    },
    /// A message came in.
    Message {
        /// On which link.
        link: LinkId,
        /// What it says.
        message: Message,
    },
    /// The link is gone.
    LinkDown {
        /// Which.
        link: LinkId,
    },
    /// The owner gives the disk up, as if it had failed (R11): one that hangs reports no error by itself.
    Detach {
        /// Why.
        reason: Arc<str>,
    },
    /// A disk operation ended.
    DiskDone {
        /// Which.
        op: OpId,
        /// The bytes read (empty for others), or the disk's error.
        result: Result<Bytes, Arc<str>>,
    },
    /// Time passed; see [`Replica::poll_timeout`](super::Replica::poll_timeout).
    Tick,
}

/// An operation of a writer that is not the leader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RemoteOp {
    /// As [`Input::Write`].
    Write {
        /// Where, in bytes.
        offset: u64,
        /// What; at most [`WRITE_MAX`] bytes.
        data: Bytes,
    },
    /// As [`Input::Flush`].
    Flush,
    /// As [`Input::Read`].
    Read {
        /// Where, in bytes.
        offset: u64,
        /// How much, in bytes; at most [`WRITE_MAX`].
        len: u32,
    },
}

/// One range lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseId {
    /// The epoch in which it was granted; it ends with it.
    pub epoch: u64,
    /// Its number on this replica.
    pub number: u64,
}

/// The longest single write.
pub const WRITE_MAX: usize = 1 << 20;

/// A replica's wishes.
#[derive(Debug, PartialEq, Eq)]
pub enum Output {
    /// Do this on the disk, then answer with [`Input::DiskDone`].
    Disk {
        /// Comes back in the answer.
        op: OpId,
        /// What to do.
        what: DiskOp,
    },
    /// Send this, after all that was to be sent on this link before.
    Send {
        /// On which link.
        link: LinkId,
        /// What.
        message: Message,
    },
    /// Close the link once what was to be sent is sent. No `LinkDown` is expected for it.
    CloseLink {
        /// Which.
        link: LinkId,
    },
    /// A request's answer.
    Done {
        /// Which request.
        request: RequestId,
        /// How it ended.
        result: Result<Reply, Denied>,
    },
    /// Something its owner may want to act upon.
    Event(Event),
}

/// A disk operation.
///
/// Contract: `Read` and `Write` take effect in the order given; `Flush` covers every `Write` given
/// before it, and later ones may overtake it. `MetaWrite`, `MetaRead` and `MetaFlush` are done one
/// after the other in the order given. The two files are independent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DiskOp {
    /// Write to the data area.
    Write {
        /// Offset in the device, in bytes.
        offset: u64,
        /// The bytes.
        data: Bytes,
    },
    /// Read from the data area.
    Read {
        /// Offset in the device, in bytes.
        offset: u64,
        /// How many bytes.
        len: u32,
    },
    /// In the order of the data operations.
    Snapshot(SnapshotOp),
    /// Make the data area durable.
    Flush,
    /// Make the data area longer. What is new reads as zeros and has its blocks. This may fail: then
    /// nothing has changed.
    Grow {
        /// The device's size in bytes.
        from: u64,
        /// The new one.
        to: u64,
    },
    /// Make the metadata file longer, likewise.
    MetaGrow {
        /// Bytes of it that are in use.
        from: u64,
        /// Bytes that it must hold.
        to: u64,
    },
    /// Write to the metadata.
    MetaWrite {
        /// Offset in the metadata file, in bytes.
        offset: u64,
        /// The bytes.
        data: Bytes,
    },
    /// Read from the metadata.
    MetaRead {
        /// Offset in the metadata file, in bytes.
        offset: u64,
        /// How many bytes.
        len: u32,
    },
    /// Make the metadata durable.
    MetaFlush,
}

impl DiskOp {
    /// Whether it is for the metadata file.
    pub fn is_meta(&self) -> bool {
        use DiskOp::{MetaFlush, MetaGrow, MetaRead, MetaWrite};
        matches!(self, MetaWrite { .. } | MetaRead { .. } | MetaFlush | MetaGrow { .. })
    }
}

/// An operation on the images of snapshots, beside the data file. It may fail: then the snapshot is not made, or
/// not removed, and nothing else has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SnapshotOp {
    /// Make the image of a snapshot anew. Answer with any bytes if it shares all blocks of the data file as of
    /// now, with none if it is empty and must be written.
    Create {
        /// Its number.
        id: u64,
        /// The device's size in bytes.
        size: u64,
    },
    /// Write to the image.
    Write {
        /// Its number.
        id: u64,
        /// Offset in the device, in bytes.
        offset: u64,
        /// The bytes.
        data: Bytes,
    },
    /// Make the image durable.
    Flush {
        /// Its number.
        id: u64,
    },
    /// Remove the image, if there is one.
    Remove {
        /// Its number.
        id: u64,
    },
}

/// A generation that lost a split brain, kept as it was before a resync overwrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Its number on this replica.
    pub id: u64,
    /// The generation.
    pub generation: GenerationId,
    /// The last one that it shares with the winner's.
    pub common: Option<GenerationId>,
    /// Bytes of the device.
    pub size: u64,
    /// Where it was written to since then: `(offset, length)` in bytes, in granules. Elsewhere it is as it was
    /// when the two parted. The whole device when that is not known.
    pub written: Vec<(u64, u64)>,
}

/// One side of a split brain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Branch {
    /// The generation with which it went its own way.
    pub first: Option<GenerationId>,
    /// Bytes that it may have written since, in whole granules; `None` when it cannot be told.
    pub changed_bytes: Option<u64>,
}

/// Whose data a policy gives up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// An operator must choose.
    Undecided,
    /// The peer's: it is overwritten.
    TheirsLoses,
    /// The leader's own: its owner must let the peer lead, and discard this device there.
    OursLoses,
}

/// Both sides wrote since they parted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SplitBrain {
    /// The peer.
    pub peer: NodeId,
    /// Its device.
    pub device: DeviceId,
    /// The last generation that both share (`None`: unrelated data).
    pub common: Option<GenerationId>,
    /// The leader's side.
    pub ours: Branch,
    /// The peer's.
    pub theirs: Branch,
    /// What `Config::split_brain` says of it.
    pub verdict: Verdict,
}

/// How a request ended well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The write is visible.
    Written,
    /// This replica is one of the epoch's writers.
    Joined,
    /// Nobody else writes to the range from here on.
    Leased(LeaseId),
    /// Durable on the in-sync set.
    Flushed,
    /// The epoch is durable.
    Raised(Raised),
    /// The handle may be used.
    Leading,
    /// The last consistent state is back.
    RolledBack,
    /// The comparison is over.
    Verified(VerifyReport),
    /// The scrub is over.
    Scrubbed(ScrubReport),
    /// The bytes.
    Read(Bytes),
    /// The snapshot is gone.
    Deleted,
    /// The device has this size.
    Resized {
        /// In bytes.
        size: u64,
    },
    /// Everything is durable; the replica does nothing any more.
    Closed,
}

/// The result of an online verify.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VerifyReport {
    /// Bytes compared, per peer.
    pub checked_bytes: u64,
    /// The peers that were compared to the end.
    pub peers: Vec<NodeId>,
    /// Peers whose link broke meanwhile: nothing is known of the rest of them.
    pub incomplete: Vec<NodeId>,
    /// Ranges that differed, and whose copy was the wrong one.
    pub differing: Vec<Finding>,
}

/// What is known of a damaged range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Wrong {
    /// A checksum, or an error of the disk, says that this copy is the wrong one.
    Copy,
    /// The copies differ and no checksum decides: the leader's copy, the elected one, is taken.
    Unknown,
    /// No copy can be shown to be right. Nothing is overwritten.
    Both,
}

/// A range in which one node's copy was damaged, or differed from the leader's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Whose copy.
    pub node: NodeId,
    /// From where, in bytes.
    pub offset: u64,
    /// How long, in bytes.
    pub len: u64,
    /// What is known of it.
    pub wrong: Wrong,
    /// Whether it was, or is being, overwritten with the right bytes.
    pub healed: bool,
}

/// The result of a scrub: this replica's disk against its own checksums.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScrubReport {
    /// Bytes read.
    pub checked_bytes: u64,
    /// Bytes of which no checksum was known (void after a crash, or written in parts of a block); a
    /// verify, or a scrub by a leader without peers, makes them known.
    pub unknown_bytes: u64,
    /// What was damaged.
    pub findings: Vec<Finding>,
}

/// What was found damaged since the replica was opened, in ranges, and what came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Integrity {
    /// Healed here.
    pub healed_here: u64,
    /// Healed at a peer.
    pub healed_there: u64,
    /// Of these, those that no checksum decided: the leader's copy was taken.
    pub undecided: u64,
    /// Not healed: no copy could be shown to be right.
    pub lost: u64,
    /// Bytes of memory that checksums take now.
    pub memory_bytes: u64,
}

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
    /// A pending set may name only members and peers that are synced now, under protocol C (R1).
    #[error("node {0} is not synced under protocol C: it cannot be proposed as a member")]
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
    #[error("{len} bytes at {offset} cannot be read: no copy of them is right")]
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
    /// No rollback is possible: the replica is consistent, or the undo area was too small.
    #[error("nothing to roll back to: {0}")]
    NoRollback(&'static str),
    /// A device does not become smaller: what lies behind the new end would be lost. Copy what is in use to
    /// a new, smaller volume.
    #[error(
        "the device has {from} bytes: it does not shrink to {to}, whatever lies behind that would be lost"
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
    /// A flush has waited for this peer longer than `Config::slow_after`.
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
    /// The undo area is full: the resync goes on, but can no longer be rolled back.
    UndoLost,
    /// A leader was told to stop. Of its in-sync peers one may be led now, under a higher epoch.
    LeaderResigned {
        /// The former leader.
        peer: NodeId,
        /// The epoch it raised; a successor needs a higher one.
        epoch: u64,
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
    /// A write waits for another writer's copy, which is read there, to have it.
    Writer(NodeId),
    /// The same, and that writer is away: until it returns or a grant takes it from the writers.
    WriterDown(NodeId),
    /// A write waits for the range lease of this node.
    Lease(NodeId),
    /// A writer waits for the leader of this epoch to be connected.
    Leader {
        /// The epoch.
        epoch: u64,
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
            Waiting::WriterDown(n) => {
                write!(f, "waiting for node {n}, or for a grant that takes it from the writers")
            }
            Waiting::Lease(n) => write!(f, "waiting for node {n} to give its range lease back"),
            Waiting::Leader { epoch } => {
                write!(f, "waiting for the leader of epoch {epoch}, or for a grant of a higher epoch")
            }
        }
    }
}

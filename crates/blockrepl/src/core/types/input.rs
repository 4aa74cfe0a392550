//! What goes into a [`Replica`](crate::core::Replica).

use std::sync::Arc;

use bytes::Bytes;

use super::{LeaseId, LinkId, OpId, RequestId};
use crate::ids::{DeviceId, Grant};
use crate::wire::{Hello, Message};

/// The longest single write.
pub const WRITE_MAX: usize = 1 << 20;

/// What happens to a replica.
#[derive(Debug)]
pub enum Input {
    /// The leader's owner writes.
    Write {
        /// Answered by [`Reply::Written`](super::Reply::Written) when a local read would see it.
        request: RequestId,
        /// Where, in bytes.
        offset: u64,
        /// What; at most [`WRITE_MAX`] bytes.
        data: Bytes,
    },
    /// The leader's owner flushes.
    Flush {
        /// Answered by [`Reply::Flushed`](super::Reply::Flushed) when all writes answered before are durable on all of
        /// the in-sync set.
        request: RequestId,
    },
    /// Write under the leader of this epoch: become one of its writers.
    Join {
        /// Answered by [`Reply::Joined`](super::Reply::Joined).
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
        /// Answered by [`Reply::Leased`](super::Reply::Leased).
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
        /// Answered by [`Reply::Raised`](super::Reply::Raised).
        request: RequestId,
        /// The epoch.
        epoch: u64,
    },
    /// Lead under this grant.
    Lead {
        /// Answered by [`Reply::Leading`](super::Reply::Leading).
        request: RequestId,
        /// The grant; its epoch must have been raised.
        grant: Grant,
    },
    /// Give up the resync under way: return to the last consistent state (R9).
    Rollback {
        /// Answered by [`Reply::RolledBack`](super::Reply::RolledBack).
        request: RequestId,
    },
    /// Compare this leader's copy with all synced peers' and heal the wrong ones.
    Verify {
        /// Answered by [`Reply::Verified`](super::Reply::Verified).
        request: RequestId,
    },
    /// Read this replica's copy, leader or follower, against its own checksums, and heal it.
    Scrub {
        /// Answered by [`Reply::Scrubbed`](super::Reply::Scrubbed).
        request: RequestId,
    },
    /// The leader's owner reads what is known to be what was written, if need be from a peer. With other
    /// writers, all reads must go this way: a write that another's read could still miss is not shown.
    Read {
        /// Answered by [`Reply::Read`](super::Reply::Read).
        request: RequestId,
        /// Where, in bytes.
        offset: u64,
        /// How much, in bytes; at most [`WRITE_MAX`].
        len: u32,
    },
    /// Grow the device, on all members of the in-sync set.
    Resize {
        /// Answered by [`Reply::Resized`](super::Reply::Resized).
        request: RequestId,
        /// The new size in bytes.
        size: u64,
    },
    /// Cut the device off, on all replicas.
    Shrink {
        /// Answered by [`Reply::Resized`](super::Reply::Resized).
        request: RequestId,
        /// The new size in bytes; a larger one is as by `Resize`.
        size: u64,
    },
    /// Delete a snapshot.
    DeleteSnapshot {
        /// Answered by [`Reply::Deleted`](super::Reply::Deleted).
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
        /// Answered by [`Reply::Closed`](super::Reply::Closed).
        request: RequestId,
    },
    /// A link is up and the peer's hello was read. Ours is [`Replica::hello`](crate::core::Replica::hello).
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
    /// Time passed; see [`Replica::poll_timeout`](crate::core::Replica::poll_timeout).
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

//! What comes out of a [`Replica`](crate::core::Replica).

use bytes::Bytes;

use super::{Denied, Event, LeaseId, LinkId, OpId, RequestId, ScrubReport, VerifyReport};
use crate::ids::Raised;
use crate::wire::Message;

/// A replica's wishes.
#[derive(Debug, PartialEq, Eq)]
pub enum Output {
    /// Do this on the disk, then answer with [`Input::DiskDone`](super::Input::DiskDone).
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
    /// The data area is shorter from now on: what lies behind may be given back. Nobody waits for it, and an error of
    /// it means nothing.
    Shrink {
        /// The device's size in bytes.
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

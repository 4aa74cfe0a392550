//! The one thing a user of a replicated device needs to know.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

/// A block device as its single writer sees it. All calls block and are safe from any thread.
///
/// Writes behave as on a disk with a volatile cache: a completed [`write_at`](Self::write_at) is
/// visible to later reads, and durable on every in-sync replica once a [`flush`](Self::flush)
/// that began after it returned `Ok`. A handle belongs to one epoch: once fenced, each call
/// fails with [`DeviceError::Fenced`] for ever.
pub trait BlockDevice: Send + Sync + fmt::Debug + 'static {
    /// Size in bytes. It may change.
    fn size(&self) -> u64;
    /// Fills `buf` from `offset`.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), DeviceError>;
    /// Fills `buf` from `offset` if that needs no waiting for a disk or a peer, and says whether it did; if not, `buf` has any
    /// content. For a thread that must not be held up. By default: never.
    fn read_cached(&self, offset: u64, buf: &mut [u8]) -> bool {
        let _ = (offset, buf);
        false
    }
    /// Writes `data` at `offset`. No alignment is asked for.
    fn write_at(&self, offset: u64, data: &[u8]) -> Result<(), DeviceError>;
    /// As [`write_at`](Self::write_at), with bytes that can be kept until they are on all disks without a copy; those of
    /// [`Zeros`](crate::Zeros) are not even sent.
    fn write_bytes(&self, offset: u64, data: Bytes) -> Result<(), DeviceError> {
        self.write_at(offset, &data)
    }
    /// Ranges within this one, in ascending order and apart, that read as zeros, as far as that is known without reading;
    /// at most `most`. By default: none is.
    fn zeros_in(&self, range: Range<u64>, most: usize) -> Vec<Range<u64>> {
        let _ = (range, most);
        Vec::new()
    }
    /// Whether what is discarded here ([`Zeros::Free`](crate::Zeros)) gives its room back. By default: no.
    fn frees_discarded(&self) -> bool {
        false
    }
    /// Returns when all writes that completed before the call are durable on every member of
    /// the in-sync set. A failed flush is never retried (R11): the device fails from then on.
    fn flush(&self) -> Result<(), DeviceError>;
    /// The epoch this handle belongs to (R4).
    fn epoch(&self) -> u64;
}

impl<D: BlockDevice + ?Sized> BlockDevice for Arc<D> {
    fn size(&self) -> u64 {
        (**self).size()
    }
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), DeviceError> {
        (**self).read_at(offset, buf)
    }
    fn read_cached(&self, offset: u64, buf: &mut [u8]) -> bool {
        (**self).read_cached(offset, buf)
    }
    fn write_at(&self, offset: u64, data: &[u8]) -> Result<(), DeviceError> {
        (**self).write_at(offset, data)
    }
    fn write_bytes(&self, offset: u64, data: Bytes) -> Result<(), DeviceError> {
        (**self).write_bytes(offset, data)
    }
    fn zeros_in(&self, range: Range<u64>, most: usize) -> Vec<Range<u64>> {
        (**self).zeros_in(range, most)
    }
    fn frees_discarded(&self) -> bool {
        (**self).frees_discarded()
    }
    fn flush(&self) -> Result<(), DeviceError> {
        (**self).flush()
    }
    fn epoch(&self) -> u64 {
        (**self).epoch()
    }
}

/// Why a device refused or failed. After `Fenced` and `Failed` the handle is dead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceError {
    /// Another node leads now, or this one was told to stop. Nothing that was not acknowledged
    /// is promised; open the volume again under the new epoch.
    #[error("fenced: epoch {held} is over (epoch {current} is known)")]
    Fenced {
        /// The handle's epoch.
        held: u64,
        /// The highest epoch known here.
        current: u64,
    },
    /// The local disk failed; the replica has detached (R11).
    #[error("the disk failed: {0}")]
    Failed(Arc<str>),
    /// Another node leads and has been away for longer than `Config::leader_wait`. A write that failed so may
    /// have been done. The handle is still good.
    #[error("the leader of epoch {epoch} is away")]
    Unreachable {
        /// The handle's epoch.
        epoch: u64,
    },
    /// Another node leads, and its grant no longer names this one as a writer. The handle is dead.
    #[error("this node is no writer of epoch {epoch} any more")]
    Revoked {
        /// The handle's epoch.
        epoch: u64,
    },
    /// Fewer copies are in sync than `Config::min_redundancy` asks for, and the policy is to fail. The handle is still
    /// good: a later call may succeed.
    #[error(
        "{have} in-sync copies where {need} are asked for: connect a peer and grant it, or ask for fewer"
    )]
    Redundancy {
        /// Copies in the in-sync set.
        have: usize,
        /// Copies that are asked for.
        need: usize,
    },
    /// The bytes are damaged on the local disk, and no peer has them. Of a write: it would have changed a part of a block of which
    /// the rest is so. The device goes on.
    #[error("{len} bytes at {offset} are damaged, and no copy of them is right")]
    Corrupt {
        /// From where, in bytes.
        offset: u64,
        /// How many bytes were asked for.
        len: u64,
    },
    /// It is a snapshot, which cannot be written.
    #[error("a snapshot is read-only")]
    ReadOnly,
    /// The range does not lie within the device. The device is unharmed.
    #[error("{len} bytes at {offset} exceed the device of {size} bytes")]
    OutOfRange {
        /// Offset asked for, in bytes.
        offset: u64,
        /// Length asked for, in bytes.
        len: u64,
        /// The device's size in bytes.
        size: u64,
    },
}

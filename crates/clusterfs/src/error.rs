//! What can go wrong, and whose fault it is.

use std::io;
use std::sync::Arc;

/// Why [`Fs::format`](crate::Fs::format) refused. Nothing was overwritten unless the device itself failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FormatError {
    /// The device already holds a volume; say `overwrite` if it is really to be lost.
    #[error("the device already holds the clusterfs volume {0:?}; formatting would destroy it")]
    AlreadyFormatted(String),
    /// The device's first block is not empty and is not ours; say `overwrite` to take it.
    #[error("the device is not empty and holds no clusterfs volume; formatting would destroy what is there")]
    NotEmpty,
    /// The options do not fit the device; correct them.
    #[error("cannot lay out a volume: {0}")]
    Layout(String),
    /// The device failed meanwhile; format it again.
    #[error("formatting failed: {0}")]
    Io(#[from] io::Error),
}

/// Why [`Fs::open`](crate::Fs::open) refused. Nothing of the volume was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// No superblock: a foreign or an empty device. Format it, or give the right one.
    #[error("the device holds no clusterfs volume")]
    NotFormatted,
    /// Written by a newer release; upgrade this node.
    #[error("{what} has format version {found}; this release reads up to {supported}")]
    NewerVersion {
        /// `superblock` or `log record`.
        what: &'static str,
        /// The version found.
        found: u32,
        /// The newest version understood.
        supported: u32,
    },
    /// Both superblocks are damaged; restore one, or fetch the volume from the peer.
    #[error("both superblocks are damaged")]
    SuperblockDamaged,
    /// Another volume than the one asked for; check the configuration.
    #[error("the device holds the volume {found:?}, not {expected:?}")]
    WrongVolume {
        /// The volume asked for.
        expected: String,
        /// The volume found.
        found: String,
    },
    /// The device is shorter than the volume: it was truncated, or it is another device.
    #[error("the volume was formatted for {formatted} bytes, the device has {device}")]
    WrongSize {
        /// Bytes at format.
        formatted: u64,
        /// Bytes now.
        device: u64,
    },
    /// The volume was opened under a higher epoch before: this handle is a late one (R4).
    #[error("the volume has seen epoch {seen}; the device handle belongs to epoch {held}")]
    StaleEpoch {
        /// The handle's epoch.
        held: u64,
        /// The highest epoch in the log.
        seen: u64,
    },
    /// A record at or below a sequence known to be committed is damaged (R10). The log was left
    /// as it is: fetch the volume from the peer.
    #[error(
        "the log is damaged at byte {position} of the ring ({reason}): operation {sequence} was acknowledged, \
         later records prove it; refusing to open"
    )]
    LogCorrupt {
        /// Where the bad record begins, as an offset into the log region.
        position: u64,
        /// The first operation that is missing.
        sequence: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// The index is damaged or contradicts the log; fetch the volume from the peer.
    #[error("the index is damaged: {0}")]
    IndexCorrupt(String),
    /// The device failed or was fenced.
    #[error("opening failed: {0}")]
    Io(#[from] io::Error),
}

/// The volume was taken over: another node leads it now (R4). Carried inside an [`io::Error`];
/// every later call on the same [`Fs`](crate::Fs) fails with it. Open the volume again under the
/// new epoch, if this node is ever made its leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("fenced: epoch {held} is over (epoch {current} is known)")]
pub struct Fenced {
    /// The epoch of the lost handle.
    pub held: u64,
    /// The highest epoch known.
    pub current: u64,
}

impl Fenced {
    /// The fence behind an error, if that is what it was.
    #[must_use]
    pub fn of(error: &io::Error) -> Option<&Fenced> {
        error.get_ref()?.downcast_ref()
    }
}

/// A stored body does not match its checksum: the disk's fault. Carried inside an [`io::Error`]
/// of kind `InvalidData`; other files are unharmed, and the peer's copy may be whole.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name:?} (inode {inode}): {len} bytes at {offset} of the device do not match their checksum")]
pub struct BodyDamaged {
    /// The name by which the file was opened.
    pub name: String,
    /// The file's inode.
    pub inode: u64,
    /// Where on the device the damaged extent begins, in bytes.
    pub offset: u64,
    /// The extent's length in bytes.
    pub len: u32,
}

/// Why a volume is dead for this process; sticky.
#[derive(Debug, Clone)]
pub(crate) enum Failure {
    Fenced(Fenced),
    Device(Arc<str>),
    Index(Arc<str>),
    Closed,
}

impl Failure {
    pub(crate) fn to_io(&self) -> io::Error {
        match self {
            Failure::Fenced(fenced) => io::Error::other(*fenced),
            Failure::Device(why) => io::Error::other(format!("the volume's device failed: {why}")),
            Failure::Index(why) => io::Error::other(format!("the volume's index failed: {why}")),
            Failure::Closed => io::Error::other("the volume is closed"),
        }
    }
}

pub(crate) fn corrupt(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.into())
}

pub(crate) fn not_found(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, what)
}

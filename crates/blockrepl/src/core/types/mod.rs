//! What goes into a [`Replica`](super::Replica) and what comes out.

mod denied;
mod event;
mod input;
mod integrity;
mod output;
mod split;

pub use denied::Denied;
pub use event::{Event, Waiting};
pub use input::{Input, RemoteOp, WRITE_MAX};
pub use integrity::{Finding, Integrity, ScrubReport, VerifyReport, Wrong};
pub use output::{DiskOp, Output, Reply, SnapshotOp};
pub use split::{Branch, Snapshot, SplitBrain, Verdict};

/// One connection, named by the driver; a new connection to the same peer has a new name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u64);

/// One disk operation, named by the core.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OpId(pub u64);

/// One request, named by the driver; answered once, by [`Output::Done`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// One range lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseId {
    /// The epoch in which it was granted; it ends with it.
    pub epoch: u64,
    /// Its number on this replica.
    pub number: u64,
}

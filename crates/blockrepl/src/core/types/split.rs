//! The two sides of a split brain, and what is kept of the one that lost.

use crate::ids::{DeviceId, GenerationId, NodeId};

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

/// One side of a split brain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Branch {
    /// The generation with which it went its own way.
    pub first: Option<GenerationId>,
    /// Bytes that it has noted for the other side since, in whole granules: what it wrote, and what was hot or not flushed when they
    /// parted. What either has noted for a third copy is not among them. `None` when it cannot be told.
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

//! What a verify or a scrub found.

use crate::ids::NodeId;

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

/// What is known of a damaged range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Wrong {
    /// A checksum, or an error of the disk, says that this copy is the wrong one; or it is right, and its checksum is not.
    Copy,
    /// The copies differ and no checksum decides: the leader's copy, the elected one, is taken.
    Unknown,
    /// No copy can be shown to be right. Nothing is overwritten.
    Both,
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
    /// Bytes of blocks that are known to be damaged here now, and that no copy has right. Only a write makes them sound.
    pub damaged_bytes: u64,
    /// Bytes of memory that checksums take now.
    pub memory_bytes: u64,
}

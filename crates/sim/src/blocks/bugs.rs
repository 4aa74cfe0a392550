//! blockrepl's own known bugs, and where to hunt them.

use posthaste_blockrepl::core::Replica;

#[cfg(feature = "bugs")]
pub use posthaste_blockrepl::bugs::Bug;

/// No bug can be switched on without the feature `bugs`.
#[cfg(not(feature = "bugs"))]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bug {}

#[cfg(not(feature = "bugs"))]
impl Bug {
    /// None.
    pub const ALL: &[Self] = &[];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {}
    }

    /// What is wrong.
    pub fn what(self) -> &'static str {
        match self {}
    }
}

/// The bug of this name.
pub fn parse(name: &str) -> Option<Bug> {
    Bug::ALL.iter().copied().find(|b| b.name() == name)
}

/// The scenario in which to hunt it, where mixed seeds would take long.
pub fn haunt(bug: Bug) -> Option<&'static str> {
    match bug.name() {
        "lead-half" | "no-mark" | "lose-before-image" => Some("resync-target-promote"),
        "undo-unflushed" => Some("resync-undo-power-cut"),
        "stable-too-early" => Some("peer-acks"),
        "clear-before-flush" => Some("resync-interrupt-variants"),
        "copy-overtakes" => Some("busy-resync"),
        "forget-unflushed" => Some("suspend-io"),
        "own-first" | "visible-early" | "race-forgotten" => Some("writers-overlap"),
        "lease-outlives" | "lease-ignored" => Some("range-leases"),
        "unvouched-read" => Some("writers-silent-cut"),
        "forward-twice" => Some("writers-cut"),
        "grown-early" => Some("resize-crash"),
        "snapshot-forgets" | "snapshot-late" => Some("split-brain-snapshot"),
        "ack-unreceived" => Some("protocol-promote"),
        "digest-of-one" | "same-unflushed" => Some("checksum-resync"),
        "unchecked-source" => Some("checksums-damaged-source"),
        "trust-blocks" => Some("checksums-flipped-bit"),
        _ => None,
    }
}

/// The replica with the bug, if any.
pub(super) fn with(replica: Replica, bug: Option<Bug>) -> Replica {
    match bug {
        None => replica,
        #[cfg(feature = "bugs")]
        Some(bug) => replica.with_bug(bug),
        #[cfg(not(feature = "bugs"))]
        Some(bug) => match bug {},
    }
}

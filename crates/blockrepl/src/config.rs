//! Limits and tunables of one replica.

use std::time::Duration;

/// What to do when the undo area is full in the midst of a resync (R9).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum UndoPolicy {
    /// Go on and give up the possibility to roll back. The default: redundancy returns sooner.
    #[default]
    Continue,
    /// Refuse further copies until an operator changes the policy or discards the replica.
    Hold,
}

/// Limits and tunables. All replicas of a volume should use the same `hot_extents`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Extents (1 MiB each) that may be hot at once, 8 to [`Config::MAX_HOT`]. This bounds what is
    /// copied after a crash. Writes into a cold extent cost one metadata flush. Default 128.
    pub hot_extents: usize,
    /// Extents made hot in advance of a sequential writer, at most a quarter of `hot_extents`. He begins with few, and
    /// they double while he goes on. Default 32.
    pub hot_ahead: u32,
    /// Bytes sent to one peer and not yet written there; writes wait beyond it. Default 8 MiB.
    pub peer_window_bytes: u64,
    /// Resync and healing: bytes in flight to one peer. Default 2 MiB.
    pub resync_window_bytes: u64,
    /// Unflushed writes remembered one by one; beyond it the replica flushes by itself. Default 16384.
    pub unflushed_writes_max: usize,
    /// A flush that a peer has not answered for this long is reported as `PeerSlow`. Default 300 ms.
    pub slow_after: Duration,
    /// Size of the undo area in bytes, fixed at creation. `None`: an eighth of the volume, at most
    /// 256 MiB.
    pub undo_bytes: Option<u64>,
    /// When the undo area is full.
    pub undo_policy: UndoPolicy,
    /// A writer that is away keeps its range leases for this long. Default 5 s.
    pub lease_grace: Duration,
    /// What a writer that is not the leader does while the leader is away: its operations wait (`None`, the
    /// default: until the leader returns or the epoch ends), or fail with [`Denied::NoLeader`](crate::Denied::NoLeader)
    /// after this long. A failed write may or may not have been done.
    pub leader_wait: Option<Duration>,
    /// The largest frame accepted from a peer, in bytes. Default 4 MiB.
    pub frame_bytes_max: u32,
}

impl Config {
    /// The most hot extents a superblock has room for.
    pub const MAX_HOT: usize = 1024;

    pub(crate) fn hot_limit(&self) -> usize {
        self.hot_extents.clamp(8, Self::MAX_HOT - 64)
    }
}

impl Default for Config {
    fn default() -> Self {
        Config {
            hot_extents: 128,
            hot_ahead: 32,
            peer_window_bytes: 8 << 20,
            resync_window_bytes: 2 << 20,
            unflushed_writes_max: 16384,
            slow_after: Duration::from_millis(300),
            undo_bytes: None,
            undo_policy: UndoPolicy::Continue,
            lease_grace: Duration::from_secs(5),
            leader_wait: None,
            frame_bytes_max: 4 << 20,
        }
    }
}

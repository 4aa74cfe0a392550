//! Limits and tunables of one replica.

use std::time::Duration;

use crate::bitmap::{EXTENT, GRANULE};

/// What to do when the undo area is full in the midst of a resync (R9), when it is known before that it would be, or when
/// what is to be saved there cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize), serde(rename_all = "kebab-case"))]
pub enum UndoPolicy {
    /// Go on and give up the possibility to roll back. The default: redundancy returns sooner. Where the resync is known
    /// not to fit, nothing is saved from the start: half of the images bring nothing back.
    #[default]
    Continue,
    /// Refuse further copies until an operator changes the policy or discards the replica. Where the resync is known not to
    /// fit, it does not begin, and the data stays consistent.
    Hold,
}

/// How far a peer must have come before a leader answers a flush.
///
/// Only a replica under [`Protocol::C`] can be a member of the in-sync set, and so lead (R1). One under
/// A or B follows the stream: it holds what the leader held a moment ago, and is made to lead only by force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
pub enum Protocol {
    /// It is not waited for; what it has not got yet is bounded by [`Config::peer_window_bytes`].
    A,
    /// It has the writes in memory.
    B,
    /// It has the writes on its disk. The default.
    #[default]
    C,
}

/// What a leader does when a peer under protocol A or B does not keep up and its window is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize), serde(rename_all = "kebab-case"))]
pub enum Congestion {
    /// Writes wait for the peer. The default.
    #[default]
    Wait,
    /// The peer falls behind: what it is not sent is noted in its bitmap and copied later, when there is room.
    /// Until then it is inconsistent (R9).
    Behind,
}

/// What a leader does about a peer whose data does not descend from its own: both wrote since they parted.
/// Whatever is given up is kept as a snapshot first (see [`Config::snapshots_max`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize), serde(rename_all = "kebab-case"))]
pub enum SplitBrainPolicy {
    /// Nothing: refuse the peer until an operator discards one side. The default.
    #[default]
    Disconnect,
    /// The leader's data stands (DRBD's discard-secondary).
    DiscardPeer,
    /// The side that began to write on its own later is given up, by the epochs of its grants.
    DiscardYounger,
    /// The side that began earlier is given up.
    DiscardOlder,
    /// A side that wrote nothing since they parted is given up; if both wrote, nothing is done.
    DiscardZeroChanges,
    /// The side that wrote to fewer granules is given up.
    DiscardLeastChanges,
    /// This node's data is given up, whoever leads.
    DiscardNode(crate::ids::NodeId),
}

/// What a leader does with writes while fewer copies are in sync than [`Config::min_redundancy`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize), serde(rename_all = "kebab-case"))]
pub enum LowRedundancy {
    /// They wait, and so do flushes. The default.
    #[default]
    Suspend,
    /// They are answered with [`Denied::Redundancy`](crate::Denied::Redundancy), those of other writers too.
    Fail,
}

/// Limits and tunables. All replicas of a volume should use the same `hot_extents`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Extents (1 MiB each) that may be hot at once, 8 to [`Config::MAX_HOT`]. This bounds what is
    /// copied after a crash. Writes into a cold extent cost one metadata flush. Default 512.
    pub hot_extents: usize,
    /// Extents made hot in advance of a sequential writer, at most a quarter of `hot_extents`. He begins with few, and
    /// they double while he goes on. Default 64.
    pub hot_ahead: u32,
    /// Bytes sent to one peer and not yet written there; writes wait beyond it. At least 512 KiB.
    /// Default 8 MiB.
    pub peer_window_bytes: u64,
    /// Resync and healing: bytes on their way to one peer's disk, flushed there in quarters while the rest is read, sent and
    /// written. An eighth of it while the leader is written to. What is not written there yet is bounded by
    /// three quarters of `peer_window_bytes`. Default 16 MiB.
    pub resync_window_bytes: u64,
    /// Resync: bytes a second, per peer, at least, even if it slows down the leader's own writes. Default 1 MiB.
    pub resync_rate_min: u64,
    /// Resync: bytes a second, per peer, at most. Default: no limit.
    pub resync_rate_max: u64,
    /// While the leader is written to, its resyncs are slowed down (to no less than `resync_rate_min`) as long as a flush, or a
    /// copied granule, is answered later than this. It should be a few times the time of a flush alone. Default 50 ms.
    pub resync_delay_target: Duration,
    /// Ask for a digest of each granule first and copy only what differs: for a slow link, or a large copy
    /// that hardly differs. Costs a reading of both disks. A digest has 96 bits and is no protection
    /// against a peer that lies. Default false.
    pub resync_by_digest: bool,
    /// Granules that resyncs from here leave out because they cannot be read and no copy in step has them. The peer
    /// stays out of step until they are written to or can be read. One more, and the disk counts as failed (R11); with 0 a
    /// bad sector that nothing heals is enough. Default 64.
    pub unreadable_max: usize,
    /// The time that the resync after a crash of the leader may take. With it, `hot_extents` counts only until a
    /// resync has been long enough to be measured; from then on as many extents may be hot as are copied in this time.
    /// Default `None`.
    pub resync_after_crash: Option<Duration>,
    /// For peers that [`Volume::set_protocol`](crate::Volume::set_protocol) says nothing about. Default C.
    pub protocol: Protocol,
    /// For peers under protocol A or B. Default [`Congestion::Wait`].
    pub congestion: Congestion,
    /// Unflushed writes remembered one by one; beyond it the replica flushes by itself. Default 16384.
    pub unflushed_writes_max: usize,
    /// A flush that a peer has not answered for this long is reported as `PeerSlow`. Four times as long, who writes where damage is
    /// being judged waits for the target of a resync to say whether it has it right. Default 300 ms.
    pub slow_after: Duration,
    /// Bytes that one bit of a bitmap stands for, fixed at creation: a power of two from 4096 to 1 MiB. Small ones copy less for
    /// small scattered writes, large ones take less memory: 32 MiB a TiB and peer at 4096, 128 KiB at 1 MiB. All copies of a
    /// volume must have the same; one that differs is refused when it connects. Default [`GRANULE`], 64 KiB: 2 MiB a TiB.
    pub granule_bytes: u64,
    /// What is discarded ([`Zeros::Free`](crate::Zeros), such as an NBD client's `TRIM`) gives its room back to the file system, or to a raw device that
    /// can take it. **Then a later write may find no room**, which counts as a failed disk (R11): watch the free room, as
    /// with any thin volume. Off, such a range keeps its blocks and reads as zeros. Each replica has its own. Default false.
    pub free_discarded: bool,
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
    /// Whether each read of a handle is checked against the checksums of its blocks, and served from a peer
    /// (and healed here) when it does not match. Costs a CRC of what is read, rounded up to whole blocks of
    /// 4096 bytes. Off, reads are served from a peer only when the disk reports an error. Default off.
    pub verify_reads: bool,
    /// What this replica, as leader, does about a split brain. When it finds that its own data is to be given
    /// up, it says so ([`Event::SplitBrain`](crate::core::Event::SplitBrain)) and waits for its owner to move
    /// the leadership.
    pub split_brain: SplitBrainPolicy,
    /// Snapshots of lost generations that may be kept at once, at most 8; a further resync that would
    /// overwrite one is refused until one is deleted. 0 keeps none. A snapshot takes no room where the
    /// file system can share blocks (XFS, btrfs), otherwise up to the size of the device. Default 2.
    pub snapshots_max: usize,
    /// Bytes of devices that all snapshots together may hold. `None`, the default: no limit.
    pub snapshot_bytes_max: Option<u64>,
    /// Copies that must be in the in-sync set of a leader's grant, its own included, for it to take writes and to answer
    /// flushes. Reads and resyncs go on below it. A takeover begins with one copy (R1), so with 2 or more the successor
    /// takes no writes before a peer is in step and granted. It is counted by the set, not by who is connected: for a
    /// member that is away a flush waits anyway. Changed with
    /// [`Volume::set_min_redundancy`](crate::Volume::set_min_redundancy). Default 1.
    pub min_redundancy: usize,
    /// What becomes of writes below it.
    pub low_redundancy: LowRedundancy,
    /// The largest frame accepted from a peer, in bytes. Default 4 MiB.
    pub frame_bytes_max: u32,
    /// Bytes that wait for one peer which does not read them, before its link is cut; never less than eight of its windows.
    /// 256 reads of 1 MiB at once, the most that a second writer asks for, fit the default of 512 MiB.
    pub unsent_bytes_max: u64,
}

impl Config {
    /// The most hot extents a superblock has room for.
    pub const MAX_HOT: usize = 1024;

    pub(crate) fn hot_limit(&self) -> usize {
        self.hot_extents.clamp(8, Self::MAX_HOT - 64)
    }

    /// A peer tells of each 256 KiB that it has written: with less room than twice that it might be waited for in vain.
    pub(crate) fn peer_window(&self) -> u64 {
        self.peer_window_bytes.max(512 << 10)
    }

    pub(crate) fn unsent_limit(&self) -> u64 {
        self.unsent_bytes_max.max(8 * self.peer_window())
    }

    /// A resync copied this many bytes in a second.
    pub(crate) fn measured(&mut self, copied_per_second: f64) {
        if let Some(time) = self.resync_after_crash {
            self.hot_extents = (time.as_secs_f64() * copied_per_second / EXTENT as f64) as usize;
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Config {
            hot_extents: 512,
            hot_ahead: 64,
            peer_window_bytes: 8 << 20,
            resync_window_bytes: 16 << 20,
            resync_rate_min: 1 << 20,
            resync_rate_max: u64::MAX,
            resync_delay_target: Duration::from_millis(50),
            resync_by_digest: false,
            unreadable_max: 64,
            resync_after_crash: None,
            protocol: Protocol::C,
            congestion: Congestion::Wait,
            unflushed_writes_max: 16384,
            slow_after: Duration::from_millis(300),
            granule_bytes: GRANULE,
            free_discarded: false,
            undo_bytes: None,
            undo_policy: UndoPolicy::Continue,
            lease_grace: Duration::from_secs(5),
            leader_wait: None,
            verify_reads: false,
            split_brain: SplitBrainPolicy::Disconnect,
            snapshots_max: 2,
            snapshot_bytes_max: None,
            min_redundancy: 1,
            low_redundancy: LowRedundancy::Suspend,
            frame_bytes_max: 4 << 20,
            unsent_bytes_max: 512 << 20,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_activity_log_follows_what_was_measured() {
        let mut fixed = Config::default();
        fixed.measured(100.0 * (1 << 20) as f64);
        assert_eq!(fixed.hot_limit(), 512, "no time was asked for");
        let mut timed = Config { resync_after_crash: Some(Duration::from_secs(3)), ..Config::default() };
        assert_eq!(timed.hot_limit(), 512, "nothing was measured");
        timed.measured(100.0 * (1 << 20) as f64);
        assert_eq!(timed.hot_limit(), 300);
        timed.measured(1.0);
        assert_eq!(timed.hot_limit(), 8);
        timed.measured(1e15);
        assert_eq!(timed.hot_limit(), Config::MAX_HOT - 64);
    }
}

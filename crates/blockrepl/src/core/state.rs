//! The parts of a replica's state that several of its modules share.

use super::copies::Copies;
use super::pace::Pace;
use super::protocol::Join;
use super::writers::Asker;
use super::*;

#[derive(Debug)]
pub(super) struct Slot {
    pub(super) head: SlotHead,
    pub(super) bits: Bitmap,
    pub(super) changed: BTreeSet<u32>,
}

#[derive(Debug)]
pub(super) enum Role {
    Follower,
    Leading(Leading),
    Closed,
}

#[derive(Debug)]
pub(super) struct Leading {
    pub(super) grant: Grant,
    pub(super) pending: Option<MemberSet>,
    /// Counts the grants of this epoch.
    pub(super) version: u64,
    /// The version of the set that the synced peers were told: only one that is durable here.
    pub(super) told: u64,
    /// The metadata commit that holds the newest grant.
    pub(super) recorded: u64,
    /// Who waits for that before it may use the handle.
    pub(super) request: Option<RequestId>,
}

#[derive(Debug)]
pub(super) struct Raise {
    pub(super) epoch: u64,
    pub(super) commit: Option<u64>,
    pub(super) requests: Vec<(RequestId, u64)>,
    pub(super) begins: Vec<LinkId>,
}

#[derive(Debug)]
pub(super) struct Closing {
    pub(super) request: RequestId,
    pub(super) commit: Option<u64>,
}

#[derive(Debug)]
pub(super) struct Link {
    pub(super) hello: Hello,
    pub(super) side: Side,
    /// The peer's `Begin`, while the epoch it carries is being raised.
    pub(super) begin: Option<(u64, u64)>,
    /// The ancestry it told as leader.
    pub(super) lineage: Option<Lineage>,
    /// Its `BeginAck`, while it grows.
    pub(super) parked: Option<Message>,
    pub(super) fenced_told: u64,
    /// The epoch that the peer leads, as it told a node without a disk.
    pub(super) leads: Option<u64>,
}

impl Link {
    pub(super) fn member(&self) -> Member {
        Member { node: self.hello.node, device: self.hello.device }
    }
}

#[derive(Debug)]
pub(super) enum Side {
    Idle,
    /// The peer leads.
    Source {
        epoch: u64,
        /// The newest set that it told on this link counts this copy.
        member: bool,
        /// This copy was brought in step on this link.
        synced: bool,
        done_bytes: u64,
        told_bytes: u64,
    },
    /// We lead.
    Target(Box<Target>),
}

#[derive(Debug)]
pub(super) struct Target {
    pub(super) state: TargetState,
    /// When it was last asked something other than a flush.
    pub(super) asked: Duration,
    pub(super) flushed: u64,
    /// Writes up to here are in its bitmap if they were not flushed.
    pub(super) noted: u64,
    pub(super) flush: Option<FlushOut>,
    pub(super) flush_wanted: bool,
    pub(super) next_flush: u64,
    pub(super) sent_bytes: u64,
    pub(super) done_bytes: u64,
    pub(super) adopted: u64,
    /// It was told to become as small as the leader.
    pub(super) shrink_told: bool,
    pub(super) cursor: u32,
    pub(super) copies: Copies,
    /// How many of them are being read.
    pub(super) reading: u32,
    pub(super) slow_told: bool,
    /// It did not answer in time for what it has, and has not since.
    pub(super) silent: bool,
    /// On its way to be a candidate.
    pub(super) joins: Option<Join>,
    /// Protocol B: writes up to here are in its memory; a question under way, and since when.
    pub(super) reached: u64,
    pub(super) reach: Option<(u64, Duration)>,
    pub(super) pace: Pace,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum TargetState {
    Beginning,
    Syncing,
    Finishing,
    Synced,
}

#[derive(Debug)]
pub(super) struct FlushOut {
    pub(super) id: u64,
    pub(super) seq: u64,
    pub(super) since: Duration,
}

/// Granules that follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) first: u32,
    pub(super) count: u32,
}

impl Run {
    pub(super) fn granules(self) -> std::ops::Range<u32> {
        self.first..self.first + self.count
    }
}

/// What waits for its turn in the stream. `seen`: all writes up to there were complete when this one was asked for, as far
/// as its node knew.
#[derive(Debug)]
pub(super) enum Queued {
    Local { request: RequestId, seen: u64, offset: u64, data: Data },
    Forward { link: LinkId, id: u64, seen: u64, offset: u64, data: Data },
    Remote { link: LinkId, seq: u64, offset: u64, data: Data },
    Copy { link: LinkId, granule: u32, data: Data, damaged: Vec<DamagedBlock> },
    Flush { link: LinkId, id: u64 },
    SyncStart { link: LinkId, sync: u64, granules: u32 },
    SyncEnd { link: LinkId, message: Message },
    Verify { link: LinkId, id: u64, offset: u64, len: u32 },
    Fetch { link: LinkId, id: u64, chunk: u32 },
    Compare { link: LinkId, granule: u32, digest: Digest },
}

/// How far the head of the queue has come, for those that need several steps.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Gate {
    Open,
    Flush(u64),
    Commit(u64),
}

#[derive(Debug, Default)]
pub(super) struct LocalFlush {
    pub(super) flushed: u64,
    pub(super) flushed_seq: u64,
    pub(super) running: Option<(u64, u64)>,
    pub(super) wanted: u64,
}

#[derive(Debug)]
pub(super) struct AckDue {
    pub(super) order: u64,
    pub(super) link: LinkId,
    pub(super) id: u64,
}

#[derive(Debug)]
pub(super) struct FlushRequest {
    pub(super) by: Asker,
    pub(super) seq: u64,
    pub(super) order: u64,
    pub(super) since: Duration,
}

#[derive(Debug)]
pub(super) struct Recent {
    pub(super) seq: u64,
    pub(super) first: u32,
    pub(super) last: u32,
}

#[derive(Debug)]
pub(super) struct Hot {
    /// The last write into it.
    pub(super) seq: u64,
    /// The metadata commit that records it.
    pub(super) commit: u64,
    /// The last write into it here, as the data disk counts them.
    pub(super) order: u64,
}

#[derive(Debug, Default)]
pub(super) struct Commit {
    pub(super) wanted: u64,
    pub(super) durable: u64,
    pub(super) running: Option<u64>,
    pub(super) pages: bool,
}

#[derive(Debug)]
pub(super) enum OpKind {
    Local(RequestId),
    /// A leader's write that other writers must have too.
    Shared(u64),
    Remote {
        link: LinkId,
        weight: u64,
        seq: u64,
    },
    SessionRead {
        session: u64,
        id: u64,
        /// The question to the leader that goes with it.
        ask: u64,
        sums: Vec<u32>,
    },
    DataFlush,
    Grow,
    Shrink,
    CopyRead {
        link: LinkId,
        run: Run,
        /// What the checksums said when it was issued.
        sums: Vec<u32>,
    },
    Compare {
        link: LinkId,
        granule: u32,
        digest: Digest,
    },
    VerifyLocal(u64),
    VerifyRemote {
        link: LinkId,
        id: u64,
    },
    ScrubRead(u32),
    MendRead(u32),
    MendBlock {
        chunk: u32,
        block: usize,
    },
    MendWrite,
    MendCheck {
        chunk: u32,
        data: Bytes,
    },
    FetchRead {
        link: LinkId,
        id: u64,
        sums: Vec<u32>,
    },
    CheckedRead {
        asker: Asker,
        sums: Vec<u32>,
    },
    /// A chunk that the leader has healed here is read again.
    RepairCheck {
        chunk: u32,
        data: Bytes,
    },
    Snapshot(snapshots::SnapshotStep),
    SumsRead(u32),
    UndoRead {
        run: Run,
        sums: Vec<u32>,
    },
    DamageRead(u64),
    UndoFlush,
    RollbackRead(u32),
    RollbackWrite,
    /// A metadata write whose end nobody waits for; the flush after it counts.
    Meta,
    Commit(u64),
}

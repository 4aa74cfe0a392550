//! All that goes over a link.

use bytes::Bytes;

use super::{Digest, Hello, Opening, Refusal, WriterMessage};
use crate::data::{Data, crc_behind};
use crate::ids::{DeviceId, GenerationId, Lineage, Member, MemberSet};
use crate::zeros::Zeros;

/// All that goes over a link. Messages of one link arrive in order or not at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Who is there.
    Hello(Hello),
    /// No, and why.
    Refused(Refusal),
    /// The leader opens (or re-opens) replication on this link.
    Begin {
        /// Its epoch.
        epoch: u64,
        /// Writes that follow have a higher number.
        seq: u64,
        /// Its ancestry.
        lineage: Lineage,
    },
    /// The follower's state, on which the leader chooses between no, partial and full resync.
    BeginAck {
        /// Its ancestry.
        lineage: Lineage,
        /// The in-sync set as last recorded there.
        members: MemberSet,
        /// The generation of the leader's data from which `dirty` leads; all zero where there is none.
        base: GenerationId,
        /// False in the midst of a resync.
        consistent: bool,
        /// Whose resync, and its number.
        sync: Option<(DeviceId, u64)>,
        /// Granules that it has noted for the leader since `base`, and for nobody else.
        changed: u32,
        /// Granules that may differ from the leader's: `(first, count)`. Those, and what the leader may have had copied to it.
        dirty: Vec<(u32, u32)>,
    },
    /// One write of the leader.
    Write {
        /// The leader's epoch.
        epoch: u64,
        /// Its number, growing.
        seq: u64,
        /// All writes up to this number are durable wherever they were sent.
        stable: u64,
        /// Where, in bytes.
        offset: u64,
        /// What.
        data: Data,
    },
    /// Make everything before this message durable.
    Flush {
        /// The leader's epoch.
        epoch: u64,
        /// Comes back in the answer.
        id: u64,
        /// As in `Write`.
        stable: u64,
    },
    /// Everything before flush `id` is durable.
    FlushAck {
        /// The flush.
        id: u64,
        /// Payload bytes of this link written so far.
        bytes: u64,
    },
    /// Payload bytes of this link written so far.
    Progress {
        /// The count.
        bytes: u64,
    },
    /// Granules follow: mark yourself inconsistent first (R9).
    SyncStart {
        /// The leader's epoch.
        epoch: u64,
        /// Names this resync among those of the leader's device.
        sync: u64,
        /// How many, as of now. 0: that will show.
        granules: u32,
    },
    /// One granule of a resync or of a repair; empty data stands for zeros.
    Copy {
        /// The leader's epoch.
        epoch: u64,
        /// Which granule.
        granule: u32,
        /// Repair of an in-sync replica, not part of a resync.
        heal: bool,
        /// Its bytes, or none for zeros.
        data: Data,
    },
    /// As `Copy`, of one granule whose blocks are not all right: no copy has what these should be. They are written,
    /// and told as damaged to whoever reads them.
    CopyDamaged {
        /// The leader's epoch.
        epoch: u64,
        /// Which granule.
        granule: u32,
        /// As in `Copy`.
        heal: bool,
        /// Which blocks of 4096 bytes of it are damaged, ascending, and the checksums that they should have.
        blocks: Vec<(u8, u32)>,
        /// The granule's bytes.
        data: Data,
    },
    /// You now hold what I hold: be consistent, and take over my ancestry.
    SyncEnd {
        /// The leader's epoch.
        epoch: u64,
        /// The grant's number within the epoch.
        version: u64,
        /// The ancestry to record.
        lineage: Lineage,
        /// The in-sync set to record.
        members: MemberSet,
        /// Granules that other members may lack: `(first, count)`.
        dirty: Vec<(u32, u32)>,
    },
    /// `SyncEnd` is durable.
    SyncDone {
        /// Its version.
        version: u64,
    },
    /// A new grant for the same leader.
    Adopt {
        /// The leader's epoch.
        epoch: u64,
        /// The grant's number within the epoch.
        version: u64,
        /// The ancestry to record.
        lineage: Lineage,
        /// The in-sync set to record.
        members: MemberSet,
    },
    /// `Adopt` is durable.
    Adopted {
        /// Its version.
        version: u64,
    },
    /// Digest this range, as of here in the stream.
    Verify {
        /// The leader's epoch.
        epoch: u64,
        /// Comes back in the answer.
        id: u64,
        /// Where, in bytes.
        offset: u64,
        /// How much, in bytes.
        len: u32,
    },
    /// All writes up to this number are durable wherever they were sent; said when idle.
    Stable {
        /// The leader's epoch.
        epoch: u64,
        /// The number.
        stable: u64,
    },
    /// Send this chunk as it is here in the stream, and what its checksums say of it.
    Fetch {
        /// The leader's epoch.
        epoch: u64,
        /// Comes back in the answer.
        id: u64,
        /// Which chunk: they are as large as granules, but 64 KiB at most.
        chunk: u32,
    },
    /// The answer to `Fetch`.
    Fetched {
        /// Of which question.
        id: u64,
        /// A bit for each block of 4096 bytes, the first one lowest: its checksum is as it should be.
        good: u16,
        /// Likewise: no checksum of it is known.
        void: u16,
        /// The chunk; nothing when it could not be read.
        data: Bytes,
    },
    /// A follower found a chunk of its copy unreadable or against its checksums.
    Rotten {
        /// Which chunk.
        chunk: u32,
    },
    /// The chunk that the addressee named by `Rotten` was judged, and nothing is sent to heal it: no copy is right, or its
    /// own is.
    Judged {
        /// The leader's epoch.
        epoch: u64,
        /// Which chunk.
        chunk: u32,
    },
    /// All copies had the digest of `Verified` `id`: the follower may take its checksums from its copy.
    Agreed {
        /// The leader's epoch.
        epoch: u64,
        /// Which question.
        id: u64,
    },
    /// All before this message shall have arrived (protocol B).
    Reach {
        /// The leader's epoch.
        epoch: u64,
        /// Comes back in the answer: the last write before.
        seq: u64,
    },
    /// The answer to `Reach`.
    Reached {
        /// Of which question.
        seq: u64,
    },
    /// Does your granule, as of here in the stream, look like this?
    Compare {
        /// The leader's epoch.
        epoch: u64,
        /// Which granule.
        granule: u32,
        /// The digest of the leader's.
        digest: Digest,
    },
    /// The answer to `Compare`.
    Compared {
        /// Of which granule.
        granule: u32,
        /// Whether it does.
        same: bool,
    },
    /// A replica outside the set may differ from the leader here, as of here in the stream.
    Lacks {
        /// The leader's epoch.
        epoch: u64,
        /// Which replica.
        member: Member,
        /// The generation of its data.
        base: GenerationId,
        /// Granules: `(first, count)`.
        dirty: Vec<(u32, u32)>,
    },
    /// Grow to this size.
    Resize {
        /// The leader's epoch.
        epoch: u64,
        /// In bytes.
        size: u64,
    },
    /// Cut the device off at this size, which is smaller.
    Shrink {
        /// The leader's epoch.
        epoch: u64,
        /// In bytes.
        size: u64,
    },
    /// The device has this size here, durably.
    Resized {
        /// In bytes.
        size: u64,
    },
    /// The answer to `Verify`.
    Verified {
        /// Of which question.
        id: u64,
        /// The digest.
        digest: Digest,
    },
    /// Between a leader and the other writers of its epoch.
    Writer(WriterMessage),
    /// Before the hellos.
    Opening(Opening),
}

impl Message {
    /// What a frame carries behind its fields.
    pub(crate) fn data(&self) -> &[u8] {
        match self {
            Message::Write { data, .. } if Zeros::of(data).is_some() => &[],
            Message::Write { data, .. } | Message::Copy { data, .. } | Message::CopyDamaged { data, .. } => {
                data
            }
            Message::Fetched { data, .. } => data,
            Message::Writer(m) => m.data(),
            _ => &[],
        }
    }

    /// The CRC-32 of a payload that begins with these fields.
    pub(crate) fn payload_crc(&self, head: &[u8]) -> u32 {
        let head = crc32fast::hash(head);
        match self {
            // Of some zeros there is no more than the head.
            Message::Write { data, .. } | Message::Copy { data, .. } if self.data().len() == data.len() => {
                data.crc_behind(head)
            }
            other => crc_behind(head, &[], other.data()),
        }
    }

    /// Payload bytes that count against the peer's window.
    pub(crate) fn weight(&self) -> u64 {
        match self {
            Message::Write { data, .. } | Message::Copy { data, .. } | Message::CopyDamaged { data, .. } => {
                data.len() as u64 + 64
            }
            _ => 0,
        }
    }
}

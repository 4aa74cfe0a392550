//! What replicas say to each other, and its framing. Drawn in bytes in `docs/format.md`.
//!
//! The framing does no I/O: [`Decoder`] takes bytes in any split and gives [`Message`]s.

mod writers;

use std::fmt;

use bytes::{Buf, Bytes, BytesMut};

use crate::codec::{Reader, Short, Writer};
use crate::ids::{ClusterId, DeviceId, GenerationId, Lineage, Member, MemberSet, NodeId, VolumeId};

pub(crate) use writers::LEASES_MAX;
pub use writers::WriterMessage;

/// The version of the wire protocol; a peer of another version is refused.
pub const WIRE_VERSION: u8 = 2;
/// Bytes before the payload.
pub const HEADER_LEN: usize = 16;
const MAGIC: [u8; 2] = *b"PB";
/// Runs of dirty granules in one message.
pub(crate) const RUNS_MAX: usize = 65_536;

/// The first frame on a link, from both sides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The sender's cluster.
    pub cluster: ClusterId,
    /// The volume the link is for.
    pub volume: VolumeId,
    /// The sender.
    pub node: NodeId,
    /// The sender's device.
    pub device: DeviceId,
    /// The volume's size in bytes.
    pub size: u64,
    /// The highest epoch the sender knows.
    pub epoch: u64,
    /// The newest generation of the sender's data.
    pub generation: GenerationId,
    /// Whether the sender leads.
    pub leading: bool,
}

/// Why a replica will not talk, in words for the other side's log.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// A higher epoch is known here: the addressee's leadership is over (R4).
    Fenced {
        /// That epoch.
        current: u64,
    },
    /// The addressee belongs to another cluster.
    WrongCluster,
    /// No such volume here.
    UnknownVolume,
    /// The addressee shows this replica's own node or device id.
    OwnIdentity,
    /// The disk here has failed (R11).
    DiskFailed,
    /// The data of the two sides do not descend from each other; an operator must choose.
    Diverged,
    /// The grant no longer counts the addressee as in sync; it returns by connecting anew.
    Removed,
    /// The undo area is full and the policy is to hold (R9).
    UndoFull,
    /// The device was to grow, and there is no room for it here.
    CannotGrow,
    /// The frame does not belong here.
    Protocol,
    /// The data here, which the leader's does not descend from, could not be kept as a snapshot; it was not
    /// overwritten.
    CannotKeep,
    /// This replica is closing down, or a newer link replaces this one.
    Closing,
    /// The leader's grant does not name the addressee's node as a writer. The link stays up.
    NotWriter {
        /// The leader's epoch.
        epoch: u64,
    },
    /// The sender led and was told to stop. A successor needs an epoch above this. The link stays up.
    Resigned {
        /// The epoch the sender raised.
        current: u64,
    },
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Fenced { current } => write!(f, "fenced: epoch {current} is known"),
            Refusal::WrongCluster => f.write_str("the replica belongs to another cluster"),
            Refusal::UnknownVolume => f.write_str("no such volume here"),
            Refusal::OwnIdentity => f.write_str("the other side has the same node or device id"),
            Refusal::DiskFailed => f.write_str("the disk has failed"),
            Refusal::Diverged => f.write_str("the two copies have diverged; an operator must choose one"),
            Refusal::Removed => f.write_str("removed from the in-sync set; connect anew to be resynced"),
            Refusal::UndoFull => f.write_str("the undo area is full and the policy is to hold"),
            Refusal::CannotGrow => f.write_str("there is no room for the larger device"),
            Refusal::CannotKeep => f.write_str("the data that would be lost could not be kept as a snapshot"),
            Refusal::Protocol => f.write_str("a frame that does not belong here"),
            Refusal::Closing => f.write_str("closing, or replaced by a newer link"),
            Refusal::NotWriter { epoch } => write!(f, "the grant of epoch {epoch} names no such writer"),
            Refusal::Resigned { current } => write!(f, "leads no more: epoch {current} is known"),
        }
    }
}

/// A digest of one chunk, as verify compares it: two functions that do not fail together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digest {
    /// CRC-32 (IEEE).
    pub crc: u32,
    /// A 64-bit multiply-and-fold over the words and the length.
    pub mix: u64,
}

impl Digest {
    /// The digest of `data`.
    pub fn of(data: &[u8]) -> Self {
        Digest { crc: crc32fast::hash(data), mix: mix64(data) }
    }
}

fn mix64(data: &[u8]) -> u64 {
    let fold = |a: u64, b: u64| {
        let wide = u128::from(a) * u128::from(b);
        (wide >> 64) as u64 ^ wide as u64
    };
    let mut state = 0x9E37_79B9_7F4A_7C15 ^ data.len() as u64;
    let mut chunks = data.chunks_exact(8);
    for word in &mut chunks {
        let word = u64::from_le_bytes(word.try_into().expect("chunks of 8"));
        state = fold(state ^ word, 0xD6E8_FEB8_6659_FD93) ^ state.rotate_left(23);
    }
    for byte in chunks.remainder() {
        state = fold(state ^ u64::from(*byte), 0xA076_1D64_78BD_642F);
    }
    fold(state, 0xE703_7ED1_A0B4_28DB)
}

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
        /// Granules that may differ from the leader's: `(first, count)`.
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
        data: Bytes,
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
        data: Bytes,
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
    /// Send this granule as it is here in the stream, and what its checksums say of it.
    Fetch {
        /// The leader's epoch.
        epoch: u64,
        /// Comes back in the answer.
        id: u64,
        /// Which granule.
        granule: u32,
    },
    /// The answer to `Fetch`.
    Fetched {
        /// Of which question.
        id: u64,
        /// A bit for each block of 4096 bytes, the first one lowest: its checksum is as it should be.
        good: u16,
        /// Likewise: no checksum of it is known.
        void: u16,
        /// The granule; nothing when it could not be read.
        data: Bytes,
    },
    /// A follower found a granule of its copy unreadable or against its checksums.
    Rotten {
        /// Which granule.
        granule: u32,
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
}

/// The peer sent something that no replica sends; the link is of no use any more.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// Not our protocol at all.
    #[error("the peer does not speak the replication protocol (magic {0:02x?})")]
    Magic([u8; 2]),
    /// Another version of it.
    #[error(
        "the peer speaks version {theirs} of the protocol, this side version {WIRE_VERSION}; upgrade the older one"
    )]
    Version {
        /// The peer's.
        theirs: u8,
    },
    /// Damaged on the way.
    #[error("a frame's checksum does not match (kind {kind})")]
    Checksum {
        /// The frame's kind byte.
        kind: u8,
    },
    /// Larger than the limit.
    #[error("a frame of {len} bytes exceeds the limit of {limit}")]
    TooLong {
        /// Its payload in bytes.
        len: u32,
        /// The limit in bytes.
        limit: u32,
    },
    /// Whole, yet not a message.
    #[error("a frame of kind {kind} is malformed")]
    Malformed {
        /// The frame's kind byte.
        kind: u8,
    },
}

impl Message {
    /// Appends the frame to `out`.
    pub fn encode(&self, out: &mut BytesMut) {
        self.encode_head(out);
        out.extend_from_slice(self.data());
    }

    /// Appends the frame without its [`data`](Self::data), which must follow.
    pub(crate) fn encode_head(&self, out: &mut BytesMut) {
        let (kind, head, data) = self.fields();
        let len = (head.len() + data.len()) as u32;
        let mut header = Writer(Vec::with_capacity(HEADER_LEN));
        header.bytes(&MAGIC).u8(WIRE_VERSION).u8(kind).u32(len);
        let mut crc = crc32fast::Hasher::new();
        crc.update(&head);
        crc.update(data);
        let payload_crc = crc.finalize();
        header.u32(payload_crc);
        let header_crc = crc32fast::hash(&header.0);
        header.u32(header_crc);
        out.extend_from_slice(&header.0);
        out.extend_from_slice(&head);
    }

    /// What a frame carries behind its fields.
    pub(crate) fn data(&self) -> &[u8] {
        match self {
            Message::Write { data, .. } | Message::Copy { data, .. } | Message::Fetched { data, .. } => data,
            Message::Writer(m) => m.data(),
            _ => &[],
        }
    }

    /// Payload bytes that count against the peer's window.
    pub(crate) fn weight(&self) -> u64 {
        match self {
            Message::Write { data, .. } | Message::Copy { data, .. } => data.len() as u64 + 64,
            _ => 0,
        }
    }

    fn fields(&self) -> (u8, Vec<u8>, &[u8]) {
        let mut w = Writer::default();
        let none: &[u8] = &[];
        match self {
            Message::Hello(h) => {
                put_hello(&mut w, h);
                (1, w.0, none)
            }
            Message::Refused(r) => {
                let (code, value) = refusal_code(r);
                w.u8(code).u64(value);
                (2, w.0, none)
            }
            Message::Begin { epoch, seq, lineage } => {
                w.u64(*epoch).u64(*seq).lineage(lineage);
                (3, w.0, none)
            }
            Message::BeginAck { lineage, members, base, consistent, sync, dirty } => {
                w.lineage(lineage).members(members).generation(*base);
                put_resync_state(&mut w, *consistent, *sync, dirty);
                (4, w.0, none)
            }
            Message::Write { epoch, seq, stable, offset, data } => {
                w.u64(*epoch).u64(*seq).u64(*stable).u64(*offset);
                (5, w.0, data)
            }
            Message::Flush { epoch, id, stable } => {
                w.u64(*epoch).u64(*id).u64(*stable);
                (6, w.0, none)
            }
            Message::FlushAck { id, bytes } => {
                w.u64(*id).u64(*bytes);
                (7, w.0, none)
            }
            Message::Progress { bytes } => {
                w.u64(*bytes);
                (8, w.0, none)
            }
            Message::SyncStart { epoch, sync } => {
                w.u64(*epoch).u64(*sync);
                (9, w.0, none)
            }
            Message::Copy { epoch, granule, heal, data } => {
                w.u64(*epoch).u32(*granule).u8(u8::from(*heal));
                (10, w.0, data)
            }
            Message::SyncEnd { epoch, version, lineage, members, dirty } => {
                w.u64(*epoch).u64(*version).lineage(lineage).members(members);
                put_runs(&mut w, dirty);
                (11, w.0, none)
            }
            Message::SyncDone { version } => {
                w.u64(*version);
                (12, w.0, none)
            }
            Message::Adopt { epoch, version, lineage, members } => {
                w.u64(*epoch).u64(*version).lineage(lineage).members(members);
                (13, w.0, none)
            }
            Message::Adopted { version } => {
                w.u64(*version);
                (14, w.0, none)
            }
            Message::Verify { epoch, id, offset, len } => {
                w.u64(*epoch).u64(*id).u64(*offset).u32(*len);
                (15, w.0, none)
            }
            Message::Stable { epoch, stable } => {
                w.u64(*epoch).u64(*stable);
                (17, w.0, none)
            }
            Message::Fetch { epoch, id, granule } => {
                w.u64(*epoch).u64(*id).u32(*granule);
                (48, w.0, none)
            }
            Message::Fetched { id, good, void, data } => {
                w.u64(*id).u32(u32::from(*good) << 16 | u32::from(*void));
                (49, w.0, data)
            }
            Message::Rotten { granule } => {
                w.u32(*granule);
                (50, w.0, none)
            }
            Message::Agreed { epoch, id } => {
                w.u64(*epoch).u64(*id);
                (51, w.0, none)
            }
            Message::Verified { id, digest } => {
                put_digest(w.u64(*id), *digest);
                (16, w.0, none)
            }
            Message::Writer(m) => {
                let (kind, head) = m.head();
                (kind, head, m.data())
            }
            Message::Reach { epoch, seq } => {
                w.u64(*epoch).u64(*seq);
                (64, w.0, none)
            }
            Message::Reached { seq } => {
                w.u64(*seq);
                (65, w.0, none)
            }
            Message::Compare { epoch, granule, digest } => {
                put_digest(w.u64(*epoch).u32(*granule), *digest);
                (66, w.0, none)
            }
            Message::Resize { epoch, size } => {
                w.u64(*epoch).u64(*size);
                (68, w.0, none)
            }
            Message::Lacks { epoch, member, base, dirty } => {
                w.u64(*epoch).u64(member.node.0).bytes(&member.device.0).generation(*base);
                put_runs(&mut w, dirty);
                (70, w.0, none)
            }
            Message::Resized { size } => {
                w.u64(*size);
                (69, w.0, none)
            }
            Message::Compared { granule, same } => {
                w.u32(*granule).u8(u8::from(*same));
                (67, w.0, none)
            }
        }
    }

    fn decode(kind: u8, payload: Bytes) -> Result<Message, WireError> {
        Self::parse(kind, payload).map_err(|Short| WireError::Malformed { kind })
    }

    fn parse(kind: u8, payload: Bytes) -> Result<Message, Short> {
        let mut r = Reader(&payload);
        // Data is the tail of the payload, shared, not copied.
        let tail = |r: &Reader<'_>| payload.slice(payload.len() - r.0.len()..);
        let message = match kind {
            1 => Message::Hello(take_hello(&mut r)?),
            2 => Message::Refused(refusal_from(r.u8()?, r.u64()?)?),
            3 => Message::Begin { epoch: r.u64()?, seq: r.u64()?, lineage: r.lineage()? },
            4 => take_begin_ack(&mut r)?,
            5 => {
                let (epoch, seq, stable, offset) = (r.u64()?, r.u64()?, r.u64()?, r.u64()?);
                return Ok(Message::Write { epoch, seq, stable, offset, data: tail(&r) });
            }
            6 => Message::Flush { epoch: r.u64()?, id: r.u64()?, stable: r.u64()? },
            7 => Message::FlushAck { id: r.u64()?, bytes: r.u64()? },
            8 => Message::Progress { bytes: r.u64()? },
            9 => Message::SyncStart { epoch: r.u64()?, sync: r.u64()? },
            10 => {
                let (epoch, granule, heal) = (r.u64()?, r.u32()?, r.flag()?);
                return Ok(Message::Copy { epoch, granule, heal, data: tail(&r) });
            }
            11 => {
                let (epoch, version) = (r.u64()?, r.u64()?);
                let (lineage, members) = (r.lineage()?, r.members()?);
                Message::SyncEnd { epoch, version, lineage, members, dirty: take_runs(&mut r)? }
            }
            12 => Message::SyncDone { version: r.u64()? },
            13 => {
                let (epoch, version) = (r.u64()?, r.u64()?);
                Message::Adopt { epoch, version, lineage: r.lineage()?, members: r.members()? }
            }
            14 => Message::Adopted { version: r.u64()? },
            15 => Message::Verify { epoch: r.u64()?, id: r.u64()?, offset: r.u64()?, len: r.u32()? },
            16 => Message::Verified { id: r.u64()?, digest: take_digest(&mut r)? },
            17 => Message::Stable { epoch: r.u64()?, stable: r.u64()? },
            32..=47 => Message::Writer(WriterMessage::parse(kind, &mut r, &payload)?),
            48 => Message::Fetch { epoch: r.u64()?, id: r.u64()?, granule: r.u32()? },
            49 => {
                let (id, blocks) = (r.u64()?, r.u32()?);
                let (good, void) = ((blocks >> 16) as u16, blocks as u16);
                return Ok(Message::Fetched { id, good, void, data: tail(&r) });
            }
            50 => Message::Rotten { granule: r.u32()? },
            51 => Message::Agreed { epoch: r.u64()?, id: r.u64()? },
            64 => Message::Reach { epoch: r.u64()?, seq: r.u64()? },
            65 => Message::Reached { seq: r.u64()? },
            66 => Message::Compare { epoch: r.u64()?, granule: r.u32()?, digest: take_digest(&mut r)? },
            67 => Message::Compared { granule: r.u32()?, same: r.flag()? },
            68 => Message::Resize { epoch: r.u64()?, size: r.u64()? },
            69 => Message::Resized { size: r.u64()? },
            70 => Message::Lacks {
                epoch: r.u64()?,
                member: Member { node: NodeId(r.u64()?), device: r.device()? },
                base: r.generation()?,
                dirty: take_runs(&mut r)?,
            },
            _ => return Err(Short),
        };
        r.end()?;
        Ok(message)
    }
}

fn put_digest(w: &mut Writer, d: Digest) {
    w.u32(d.crc).u64(d.mix);
}

fn take_digest(r: &mut Reader<'_>) -> Result<Digest, Short> {
    Ok(Digest { crc: r.u32()?, mix: r.u64()? })
}

fn put_hello(w: &mut Writer, h: &Hello) {
    w.bytes(&h.cluster.0).bytes(&h.volume.0).u64(h.node.0).bytes(&h.device.0);
    w.u64(h.size).u64(h.epoch).generation(h.generation).u8(u8::from(h.leading));
}

fn take_hello(r: &mut Reader<'_>) -> Result<Hello, Short> {
    Ok(Hello {
        cluster: r.cluster()?,
        volume: r.volume()?,
        node: NodeId(r.u64()?),
        device: r.device()?,
        size: r.u64()?,
        epoch: r.u64()?,
        generation: r.generation()?,
        leading: r.flag()?,
    })
}

fn put_resync_state(w: &mut Writer, consistent: bool, sync: Option<(DeviceId, u64)>, dirty: &[(u32, u32)]) {
    let (source, number) = sync.unwrap_or_default();
    w.u8(u8::from(consistent)).u8(u8::from(sync.is_some()));
    w.bytes(&source.0).u64(number);
    put_runs(w, dirty);
}

fn put_runs(w: &mut Writer, runs: &[(u32, u32)]) {
    w.u32(runs.len() as u32);
    for (first, count) in runs {
        w.u32(*first).u32(*count);
    }
}

fn take_runs(r: &mut Reader<'_>) -> Result<Vec<(u32, u32)>, Short> {
    let runs = r.count(RUNS_MAX)?;
    (0..runs).map(|_| Ok((r.u32()?, r.u32()?))).collect()
}

fn take_begin_ack(r: &mut Reader<'_>) -> Result<Message, Short> {
    let (lineage, members, base) = (r.lineage()?, r.members()?, r.generation()?);
    let (consistent, syncing) = (r.flag()?, r.flag()?);
    let sync = (r.device()?, r.u64()?);
    if !syncing && sync != Default::default() {
        return Err(Short);
    }
    let dirty = take_runs(r)?;
    Ok(Message::BeginAck { lineage, members, base, consistent, sync: syncing.then_some(sync), dirty })
}

fn refusal_code(r: &Refusal) -> (u8, u64) {
    match r {
        Refusal::Fenced { current } => (1, *current),
        Refusal::WrongCluster => (2, 0),
        Refusal::UnknownVolume => (3, 0),
        Refusal::OwnIdentity => (5, 0),
        Refusal::DiskFailed => (6, 0),
        Refusal::Diverged => (7, 0),
        Refusal::Removed => (8, 0),
        Refusal::UndoFull => (9, 0),
        Refusal::Protocol => (10, 0),
        Refusal::Closing => (11, 0),
        Refusal::NotWriter { epoch } => (32, *epoch),
        Refusal::Resigned { current } => (33, *current),
        Refusal::CannotKeep => (48, 0),
        Refusal::CannotGrow => (64, 0),
    }
}

fn refusal_from(code: u8, value: u64) -> Result<Refusal, Short> {
    if value != 0 && !matches!(code, 1 | 32 | 33) {
        return Err(Short);
    }
    Ok(match code {
        1 => Refusal::Fenced { current: value },
        2 => Refusal::WrongCluster,
        3 => Refusal::UnknownVolume,
        5 => Refusal::OwnIdentity,
        6 => Refusal::DiskFailed,
        7 => Refusal::Diverged,
        8 => Refusal::Removed,
        9 => Refusal::UndoFull,
        10 => Refusal::Protocol,
        11 => Refusal::Closing,
        32 => Refusal::NotWriter { epoch: value },
        33 => Refusal::Resigned { current: value },
        48 => Refusal::CannotKeep,
        64 => Refusal::CannotGrow,
        _ => return Err(Short),
    })
}

/// Turns bytes, in any split, into messages.
#[derive(Debug)]
pub struct Decoder {
    buf: BytesMut,
    limit: u32,
}

impl Decoder {
    /// A decoder that refuses payloads over `limit` bytes.
    pub fn new(limit: u32) -> Self {
        Decoder { buf: BytesMut::new(), limit }
    }

    /// Where the next bytes go; append to it, then call [`next`](Self::next) until it gives `None`.
    pub fn buffer(&mut self) -> &mut BytesMut {
        &mut self.buf
    }

    /// The next whole message. `Ok(None)`: more bytes are needed. After an error the link is
    /// out of step and must be closed.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Result<Option<Message>, WireError> {
        let Some(header) = self.buf.first_chunk::<HEADER_LEN>() else {
            return Ok(None);
        };
        let (kind, len, payload_crc) = check_header(header, self.limit)?;
        if self.buf.len() < HEADER_LEN + len {
            return Ok(None);
        }
        self.buf.advance(HEADER_LEN);
        let payload = self.buf.split_to(len).freeze();
        Partial { kind, len, payload_crc }.finish(payload).map(Some)
    }

    /// After [`next`](Self::next) gave `None`: takes the frame that has begun, with the part of its payload that is
    /// here, if its payload has `min` bytes or more. The rest of it does not go into [`buffer`](Self::buffer).
    pub(crate) fn take_partial(&mut self, min: usize) -> Option<(Partial, BytesMut)> {
        let header = self.buf.first_chunk::<HEADER_LEN>()?;
        let (kind, len, payload_crc) = check_header(header, self.limit).ok()?;
        if len < min {
            self.buf.reserve(HEADER_LEN + len - self.buf.len());
            return None;
        }
        self.buf.advance(HEADER_LEN);
        Some((Partial { kind, len, payload_crc }, self.buf.split()))
    }
}

/// A frame whose payload is still coming.
#[derive(Debug)]
pub(crate) struct Partial {
    kind: u8,
    /// Bytes of its payload.
    pub(crate) len: usize,
    payload_crc: u32,
}

impl Partial {
    /// Bytes of its payload before the data, where it carries data.
    pub(crate) fn head(&self) -> usize {
        match self.kind {
            5 => 32,
            10 => 13,
            _ => 0,
        }
    }

    /// The message, with the whole payload.
    pub(crate) fn finish(self, payload: Bytes) -> Result<Message, WireError> {
        if crc32fast::hash(&payload) != self.payload_crc {
            return Err(WireError::Checksum { kind: self.kind });
        }
        Message::decode(self.kind, payload)
    }
}

fn check_header(header: &[u8; HEADER_LEN], limit: u32) -> Result<(u8, usize, u32), WireError> {
    let word = |at: usize| u32::from_le_bytes(header[at..at + 4].try_into().expect("4 bytes"));
    let (magic, version, kind) = ([header[0], header[1]], header[2], header[3]);
    if magic != MAGIC {
        return Err(WireError::Magic(magic));
    }
    if version != WIRE_VERSION {
        return Err(WireError::Version { theirs: version });
    }
    if crc32fast::hash(&header[..12]) != word(12) {
        return Err(WireError::Checksum { kind });
    }
    match word(4) {
        len if len > limit => Err(WireError::TooLong { len, limit }),
        len => Ok((kind, len as usize, word(8))),
    }
}

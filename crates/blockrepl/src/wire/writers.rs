//! What a leader and the other writers of its epoch say to each other: kinds 32 to 47 and 52 to 54.

use bytes::Bytes;

use crate::codec::{Reader, Short, Writer};
use crate::core::WRITE_MAX;
use crate::meta::BLOCK;
use crate::zeros::Zeros;

use super::payload::{put_zeros, take_zeros};

/// Forwards that a leader may list as ordered when a writer joins again.
pub(crate) const ORDERED_MAX: usize = 65_536;
/// Range leases that one writer may hold.
pub(crate) const LEASES_MAX: usize = 1024;

/// Checksums that come with a read: of the longest, and of the blocks at its ends.
const SUMS_MAX: usize = WRITE_MAX / BLOCK as usize + 2;

/// A message between a leader and a writer. An `id` is the writer's name for one operation of its
/// session; ids only grow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WriterMessage {
    /// To a node without a disk, in place of `Begin`: I lead.
    Leads {
        /// The leader's epoch.
        epoch: u64,
    },
    /// Let me write under this epoch. From here on the sender does not read its own copy until told.
    Join {
        /// The epoch the writer's handle belongs to.
        epoch: u64,
        /// Names this joining among all of the node's.
        session: u64,
        /// This session joined before. A leader that does not know it cannot know which of its writes were ordered.
        again: bool,
    },
    /// You may.
    Joined {
        /// The leader's epoch.
        epoch: u64,
        /// The session that joined.
        session: u64,
        /// Forwards of this session that were ordered before: `(id, sequence number)`.
        ordered: Vec<(u64, u64)>,
        /// The range leases that this session still holds.
        leases: Vec<u64>,
    },
    /// From this number on, and while `Vouched` says so, no write completes before you have applied it: reads may be
    /// served from your copy once you have applied all up to here and know it visible.
    ReadHere {
        /// The leader's epoch.
        epoch: u64,
        /// The number.
        seq: u64,
    },
    /// Do you still wait for my copy? Asked for each read that is served from it.
    VouchAsk {
        /// The leader's epoch.
        epoch: u64,
        /// The question's number.
        id: u64,
    },
    /// The answer to `VouchAsk`.
    Vouched {
        /// Of which question.
        id: u64,
        /// No write was complete at this moment that was not applied at the addressee.
        counted: bool,
    },
    /// A write for the leader to order.
    Forward {
        /// The leader's epoch.
        epoch: u64,
        /// Its name.
        id: u64,
        /// The writer knew all writes up to this number to be complete.
        seen: u64,
        /// Where, in bytes.
        offset: u64,
        /// What.
        data: Bytes,
    },
    /// Your forward `id` is write `seq` of the stream.
    Ordered {
        /// The leader's epoch.
        epoch: u64,
        /// Its number.
        seq: u64,
        /// As in `Write`.
        stable: u64,
        /// The forward.
        id: u64,
        /// Write it to the disk here, at this point of the stream; otherwise it comes by resync, or
        /// there is no disk.
        apply: bool,
    },
    /// All writes up to this number are visible to reads of the sender's copy.
    Applied {
        /// The leader's epoch.
        epoch: u64,
        /// The number.
        seq: u64,
    },
    /// All writes up to this number are complete: every copy that is read has them.
    Visible {
        /// The leader's epoch.
        epoch: u64,
        /// The number.
        seq: u64,
    },
    /// Make all that is complete durable on the in-sync set.
    FlushAsk {
        /// The leader's epoch.
        epoch: u64,
        /// Its name.
        id: u64,
    },
    /// It is.
    Flushed {
        /// The request.
        id: u64,
    },
    /// A forward or a flush is not carried out: the in-sync set has too few copies, and the leader's policy is to fail.
    TooFew {
        /// The request.
        id: u64,
        /// Copies in the set.
        have: u32,
        /// Copies that are asked for.
        need: u32,
    },
    /// A read of the leader's copy.
    ReadAt {
        /// The leader's epoch.
        epoch: u64,
        /// Its name.
        id: u64,
        /// Where, in bytes.
        offset: u64,
        /// How much, in bytes.
        len: u32,
    },
    /// What it found.
    ReadData {
        /// The request.
        id: u64,
        /// The checksum of each block of 4096 bytes, as the leader keeps it; for a range of whole blocks.
        sums: Vec<u32>,
        /// The bytes.
        data: Bytes,
    },
    /// Let nobody else write to this range.
    LeaseAsk {
        /// The leader's epoch.
        epoch: u64,
        /// Names the lease.
        id: u64,
        /// Where, in bytes.
        offset: u64,
        /// How much, in bytes.
        len: u64,
    },
    /// From now on.
    Leased {
        /// The lease.
        id: u64,
    },
    /// The lease is given back.
    Release {
        /// The leader's epoch.
        epoch: u64,
        /// The lease.
        id: u64,
    },
    /// The sender writes no more, and reads its own copy no more.
    Leave {
        /// The leader's epoch.
        epoch: u64,
    },
}

use WriterMessage as M;

impl WriterMessage {
    /// The epoch that a message of a writer carries; none for the leader's answers by id.
    pub(crate) fn epoch(&self) -> Option<u64> {
        match self {
            M::Leads { epoch }
            | M::Join { epoch, .. }
            | M::Joined { epoch, .. }
            | M::ReadHere { epoch, .. }
            | M::VouchAsk { epoch, .. }
            | M::Forward { epoch, .. }
            | M::Ordered { epoch, .. }
            | M::Applied { epoch, .. }
            | M::Visible { epoch, .. }
            | M::FlushAsk { epoch, .. }
            | M::ReadAt { epoch, .. }
            | M::LeaseAsk { epoch, .. }
            | M::Release { epoch, .. }
            | M::Leave { epoch } => Some(*epoch),
            M::Vouched { .. }
            | M::Flushed { .. }
            | M::TooFew { .. }
            | M::ReadData { .. }
            | M::Leased { .. } => None,
        }
    }

    pub(crate) fn data(&self) -> &[u8] {
        match self {
            M::Forward { data, .. } if Zeros::of(data).is_some() => &[],
            M::Forward { data, .. } | M::ReadData { data, .. } => data,
            _ => &[],
        }
    }

    /// The kind and the fields before the data.
    pub(crate) fn head(&self) -> (u8, Vec<u8>) {
        let mut w = Writer::default();
        let kind = self.put(&mut w);
        (kind, w.0)
    }

    fn put(&self, w: &mut Writer) -> u8 {
        match self {
            M::Leads { epoch } => kind(32, w.u64(*epoch)),
            M::Join { epoch, session, again } => kind(33, w.u64(*epoch).u64(*session).u8(u8::from(*again))),
            M::Joined { epoch, session, ordered, leases } => {
                w.u64(*epoch).u64(*session);
                put_joined(w, ordered, leases);
                34
            }
            M::ReadHere { epoch, seq } => kind(35, w.u64(*epoch).u64(*seq)),
            M::Forward { epoch, id, seen, offset, data } => {
                w.u64(*epoch).u64(*id).u64(*seen).u64(*offset);
                if put_zeros(w, data) { 77 } else { 36 }
            }
            M::Ordered { epoch, seq, stable, id, apply } => {
                kind(37, w.u64(*epoch).u64(*seq).u64(*stable).u64(*id).u8(u8::from(*apply)))
            }
            M::Applied { epoch, seq } => kind(38, w.u64(*epoch).u64(*seq)),
            M::Visible { epoch, seq } => kind(39, w.u64(*epoch).u64(*seq)),
            M::FlushAsk { epoch, id } => kind(40, w.u64(*epoch).u64(*id)),
            M::Flushed { id } => kind(41, w.u64(*id)),
            M::ReadAt { epoch, id, offset, len } => kind(42, w.u64(*epoch).u64(*id).u64(*offset).u32(*len)),
            M::ReadData { id, sums, .. } => {
                w.u64(*id).u32(sums.len() as u32);
                sums.iter().for_each(|sum| {
                    w.u32(*sum);
                });
                43
            }
            M::LeaseAsk { epoch, id, offset, len } => kind(44, w.u64(*epoch).u64(*id).u64(*offset).u64(*len)),
            M::Leased { id } => kind(45, w.u64(*id)),
            M::Release { epoch, id } => kind(46, w.u64(*epoch).u64(*id)),
            M::Leave { epoch } => kind(47, w.u64(*epoch)),
            M::VouchAsk { epoch, id } => kind(52, w.u64(*epoch).u64(*id)),
            M::Vouched { id, counted } => kind(53, w.u64(*id).u8(u8::from(*counted))),
            M::TooFew { id, have, need } => kind(54, w.u64(*id).u32(*have).u32(*need)),
        }
    }

    /// Reads the fields of `kind`. `tail` is what lies behind the fields that were read.
    pub(crate) fn parse(kind: u8, r: &mut Reader<'_>, payload: &Bytes) -> Result<Self, Short> {
        let tail = |r: &mut Reader<'_>| {
            let data = payload.slice(payload.len() - r.0.len()..);
            r.0 = &[];
            data
        };
        let message = match kind {
            32 => M::Leads { epoch: r.u64()? },
            33 => M::Join { epoch: r.u64()?, session: r.u64()?, again: r.flag()? },
            34 => take_joined(r)?,
            35 => M::ReadHere { epoch: r.u64()?, seq: r.u64()? },
            36 => {
                let (epoch, id, seen, offset) = (r.u64()?, r.u64()?, r.u64()?, r.u64()?);
                M::Forward { epoch, id, seen, offset, data: tail(r) }
            }
            77 => {
                let (epoch, id, seen, offset) = (r.u64()?, r.u64()?, r.u64()?, r.u64()?);
                M::Forward { epoch, id, seen, offset, data: take_zeros(r)? }
            }
            37 => {
                let (epoch, seq, stable, id) = (r.u64()?, r.u64()?, r.u64()?, r.u64()?);
                M::Ordered { epoch, seq, stable, id, apply: r.flag()? }
            }
            38 => M::Applied { epoch: r.u64()?, seq: r.u64()? },
            39 => M::Visible { epoch: r.u64()?, seq: r.u64()? },
            40 => M::FlushAsk { epoch: r.u64()?, id: r.u64()? },
            41 => M::Flushed { id: r.u64()? },
            42 => M::ReadAt { epoch: r.u64()?, id: r.u64()?, offset: r.u64()?, len: r.u32()? },
            43 => {
                let (id, count) = (r.u64()?, r.count(SUMS_MAX)?);
                let sums = (0..count).map(|_| r.u32()).collect::<Result<_, _>>()?;
                M::ReadData { id, sums, data: tail(r) }
            }
            44 => M::LeaseAsk { epoch: r.u64()?, id: r.u64()?, offset: r.u64()?, len: r.u64()? },
            45 => M::Leased { id: r.u64()? },
            46 => M::Release { epoch: r.u64()?, id: r.u64()? },
            47 => M::Leave { epoch: r.u64()? },
            52 => M::VouchAsk { epoch: r.u64()?, id: r.u64()? },
            53 => M::Vouched { id: r.u64()?, counted: r.flag()? },
            54 => M::TooFew { id: r.u64()?, have: r.u32()?, need: r.u32()? },
            _ => return Err(Short),
        };
        r.end()?;
        Ok(message)
    }
}

fn kind(number: u8, _: &mut Writer) -> u8 {
    number
}

fn put_joined(w: &mut Writer, ordered: &[(u64, u64)], leases: &[u64]) {
    w.u32(ordered.len() as u32);
    for (id, seq) in ordered {
        w.u64(*id).u64(*seq);
    }
    w.u32(leases.len() as u32);
    for id in leases {
        w.u64(*id);
    }
}

fn take_joined(r: &mut Reader<'_>) -> Result<M, Short> {
    let (epoch, session) = (r.u64()?, r.u64()?);
    let n = r.count(ORDERED_MAX)?;
    let ordered = (0..n).map(|_| Ok((r.u64()?, r.u64()?))).collect::<Result<_, Short>>()?;
    let n = r.count(LEASES_MAX)?;
    let leases = (0..n).map(|_| r.u64()).collect::<Result<_, Short>>()?;
    Ok(M::Joined { epoch, session, ordered, leases })
}

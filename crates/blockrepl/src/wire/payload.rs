//! The payload of each kind of frame. A frame's data, if it has any, is its tail: shared, never copied.

use bytes::Bytes;

use super::{Digest, Message, RUNS_MAX, WireError, WriterMessage, hello, opening, refusal};
use crate::codec::{Reader, Short, Writer};
use crate::data::Data;
use crate::ids::{DeviceId, Member, NodeId};
use crate::zeros::Zeros;

impl Message {
    pub(super) fn fields(&self) -> (u8, Vec<u8>, &[u8]) {
        let mut w = Writer::default();
        let none: &[u8] = &[];
        match self {
            Message::Hello(h) => {
                hello::put(&mut w, h);
                (1, w.0, none)
            }
            Message::Refused(r) => {
                let (code, value) = refusal::code(r);
                w.u8(code).u64(value);
                (2, w.0, none)
            }
            Message::Begin { epoch, seq, lineage } => {
                w.u64(*epoch).u64(*seq).lineage(lineage);
                (3, w.0, none)
            }
            Message::BeginAck { lineage, members, base, consistent, sync, changed, dirty } => {
                w.lineage(lineage).members(members).generation(*base).u32(*changed);
                put_resync_state(&mut w, *consistent, *sync, dirty);
                (4, w.0, none)
            }
            Message::Write { epoch, seq, stable, offset, data } => {
                w.u64(*epoch).u64(*seq).u64(*stable).u64(*offset);
                let zeros = put_zeros(&mut w, data);
                if zeros { (76, w.0, none) } else { (5, w.0, data) }
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
            Message::SyncStart { epoch, sync, granules } => {
                w.u64(*epoch).u64(*sync).u32(*granules);
                (9, w.0, none)
            }
            Message::Copy { epoch, granule, heal, data } => {
                w.u64(*epoch).u32(*granule).u8(u8::from(*heal));
                (10, w.0, data)
            }
            Message::CopyDamaged { epoch, granule, heal, blocks, data } => {
                w.u64(*epoch).u32(*granule).u8(u8::from(*heal)).u32(blocks.len() as u32);
                blocks.iter().for_each(|(block, sum)| {
                    w.u8(*block).u32(*sum);
                });
                (72, w.0, data)
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
            Message::Fetch { epoch, id, chunk } => {
                w.u64(*epoch).u64(*id).u32(*chunk);
                (48, w.0, none)
            }
            Message::Fetched { id, good, void, data } => {
                w.u64(*id).u32(u32::from(*good) << 16 | u32::from(*void));
                (49, w.0, data)
            }
            Message::Rotten { chunk } => {
                w.u32(*chunk);
                (50, w.0, none)
            }
            Message::Judged { epoch, chunk } => {
                w.u64(*epoch).u32(*chunk);
                (74, w.0, none)
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
            Message::Opening(o) => {
                let (kind, head) = opening::head(o);
                (kind, head, none)
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
            Message::Shrink { epoch, size } => {
                w.u64(*epoch).u64(*size);
                (71, w.0, none)
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

    /// `crcs`: of the blocks of its data.
    pub(super) fn decode(kind: u8, payload: Bytes, crcs: Vec<u32>) -> Result<Message, WireError> {
        Self::parse(kind, payload, crcs).map_err(|Short| WireError::Malformed { kind })
    }

    fn parse(kind: u8, payload: Bytes, crcs: Vec<u32>) -> Result<Message, Short> {
        let mut r = Reader(&payload);
        // Data is the tail of the payload, shared, not copied.
        let tail = |r: &Reader<'_>| payload.slice(payload.len() - r.0.len()..);
        let message = match kind {
            1 => Message::Hello(hello::take(&mut r)?),
            2 => Message::Refused(refusal::parse(r.u8()?, r.u64()?)?),
            3 => Message::Begin { epoch: r.u64()?, seq: r.u64()?, lineage: r.lineage()? },
            4 => take_begin_ack(&mut r)?,
            5 => {
                let (epoch, seq, stable, offset) = (r.u64()?, r.u64()?, r.u64()?, r.u64()?);
                let data = Data::with_crcs(tail(&r), crcs);
                return Ok(Message::Write { epoch, seq, stable, offset, data });
            }
            76 => {
                let (epoch, seq, stable, offset) = (r.u64()?, r.u64()?, r.u64()?, r.u64()?);
                Message::Write { epoch, seq, stable, offset, data: take_zeros(&mut r)?.into() }
            }
            6 => Message::Flush { epoch: r.u64()?, id: r.u64()?, stable: r.u64()? },
            7 => Message::FlushAck { id: r.u64()?, bytes: r.u64()? },
            8 => Message::Progress { bytes: r.u64()? },
            9 => Message::SyncStart { epoch: r.u64()?, sync: r.u64()?, granules: r.u32()? },
            10 => {
                let (epoch, granule, heal) = (r.u64()?, r.u32()?, r.flag()?);
                let data = Data::with_crcs(tail(&r), crcs);
                return Ok(Message::Copy { epoch, granule, heal, data });
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
            32..=47 | 52..=54 | 77 => Message::Writer(WriterMessage::parse(kind, &mut r, &payload)?),
            48 => Message::Fetch { epoch: r.u64()?, id: r.u64()?, chunk: r.u32()? },
            49 => {
                let (id, blocks) = (r.u64()?, r.u32()?);
                let (good, void) = ((blocks >> 16) as u16, blocks as u16);
                return Ok(Message::Fetched { id, good, void, data: tail(&r) });
            }
            50 => Message::Rotten { chunk: r.u32()? },
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
            71 => Message::Shrink { epoch: r.u64()?, size: r.u64()? },
            74 => Message::Judged { epoch: r.u64()?, chunk: r.u32()? },
            72 => {
                let (epoch, granule, heal) = (r.u64()?, r.u32()?, r.flag()?);
                let blocks = take_damaged(&mut r)?;
                return Ok(Message::CopyDamaged { epoch, granule, heal, blocks, data: tail(&r).into() });
            }
            80..=98 => Message::Opening(opening::parse(kind, &mut r)?),
            _ => return Err(Short),
        };
        r.end()?;
        Ok(message)
    }
}

/// In place of data that are zeros: how many.
pub(super) fn put_zeros(w: &mut Writer, data: &Bytes) -> bool {
    let zeros = Zeros::of(data);
    if let Some(zeros) = zeros {
        w.u32(data.len() as u32).u8(u8::from(zeros == Zeros::Free));
    }
    zeros.is_some()
}

pub(super) fn take_zeros(r: &mut Reader<'_>) -> Result<Bytes, Short> {
    let (len, free) = (r.count(Zeros::MAX)?, r.flag()?);
    let zeros = if free { Zeros::Free } else { Zeros::Kept };
    if len == 0 { Err(Short) } else { Ok(zeros.bytes(len)) }
}

fn put_digest(w: &mut Writer, d: Digest) {
    w.u32(d.crc).u64(d.mix);
}

fn take_digest(r: &mut Reader<'_>) -> Result<Digest, Short> {
    Ok(Digest { crc: r.u32()?, mix: r.u64()? })
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

/// Runs ascend and do not overlap, so that what they cost to note is bounded by the device, not by the sender.
fn take_runs(r: &mut Reader<'_>) -> Result<Vec<(u32, u32)>, Short> {
    let (runs, mut free) = (r.count(RUNS_MAX)?, 0);
    let mut take = || {
        let (first, count) = (r.u32()?, r.u32()?);
        if count == 0 || first < free {
            return Err(Short);
        }
        free = first.checked_add(count).ok_or(Short)?;
        Ok((first, count))
    };
    (0..runs).map(|_| take()).collect()
}

/// Blocks ascend.
fn take_damaged(r: &mut Reader<'_>) -> Result<Vec<(u8, u32)>, Short> {
    let (blocks, mut free) = (r.count(256)?, 0);
    let mut take = || {
        let (block, sum) = (r.u8()?, r.u32()?);
        if u16::from(block) < free {
            return Err(Short);
        }
        free = u16::from(block) + 1;
        Ok((block, sum))
    };
    (0..blocks).map(|_| take()).collect()
}

fn take_begin_ack(r: &mut Reader<'_>) -> Result<Message, Short> {
    let (lineage, members, base, changed) = (r.lineage()?, r.members()?, r.generation()?, r.u32()?);
    let (consistent, syncing) = (r.flag()?, r.flag()?);
    let sync = (r.device()?, r.u64()?);
    if !syncing && sync != Default::default() {
        return Err(Short);
    }
    let (sync, dirty) = (syncing.then_some(sync), take_runs(r)?);
    Ok(Message::BeginAck { lineage, members, base, consistent, sync, changed, dirty })
}

//! The header before each piece of a stream on one of its paths. Drawn in `docs/format.md`.

use crate::codec::{Reader, Writer};

/// Bytes before the data.
pub(super) const HEADER: usize = 28;
/// The most data of one segment, in bytes.
pub(super) const SEGMENT_MAX: usize = 1 << 20;

/// What a segment is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Bytes of the stream.
    Data,
    /// Nothing: the path is alive.
    Alive,
    /// The stream ends at this offset.
    End,
}

/// A segment without its data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) kind: Kind,
    /// Bytes of data.
    pub(super) len: u32,
    /// Where they are in the sender's stream.
    pub(super) offset: u64,
    /// How much of the other side's stream has arrived at the sender.
    pub(super) received: u64,
}

/// The other side sent what no bond sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

impl Segment {
    pub(super) fn encode(&self) -> [u8; HEADER] {
        let kind = match self.kind {
            Kind::Data => 1,
            Kind::Alive => 2,
            Kind::End => 3,
        };
        let mut w = Writer(Vec::with_capacity(HEADER));
        w.u32(kind).u32(self.len).u64(self.offset).u64(self.received);
        let crc = crc32fast::hash(&w.0);
        w.u32(crc);
        w.0.try_into().expect("a header's length")
    }

    pub(super) fn decode(bytes: &[u8; HEADER]) -> Result<Self, Malformed> {
        let mut r = Reader(bytes);
        let mut fields = || Ok((r.u32()?, r.u32()?, r.u64()?, r.u64()?, r.u32()?));
        let (kind, len, offset, received, crc) = fields().map_err(|_: crate::codec::Short| Malformed)?;
        let kind = match kind {
            1 if (1..=SEGMENT_MAX as u32).contains(&len) => Kind::Data,
            2 if len == 0 && offset == 0 => Kind::Alive,
            3 if len == 0 => Kind::End,
            _ => return Err(Malformed),
        };
        let end = offset.checked_add(len.into());
        if crc != crc32fast::hash(&bytes[..HEADER - 4]) || end.is_none() {
            return Err(Malformed);
        }
        Ok(Segment { kind, len, offset, received })
    }
}

//! Frames: the header before each payload, in and out of bytes.

use bytes::{Buf, Bytes, BytesMut};

use super::{Message, WIRE_VERSION};
use crate::codec::Writer;
use crate::data::{add_crcs, crc_behind};

/// Bytes before the payload.
pub const HEADER_LEN: usize = 16;

const MAGIC: [u8; 2] = *b"PB";

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
        header.u32(self.payload_crc(&head));
        let header_crc = crc32fast::hash(&header.0);
        header.u32(header_crc);
        out.extend_from_slice(&header.0);
        out.extend_from_slice(&head);
    }
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
        Partial { kind, len, payload_crc, crcs: Vec::new() }.finish(payload).map(Some)
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
        Some((Partial { kind, len, payload_crc, crcs: Vec::new() }, self.buf.split()))
    }
}

/// A frame whose payload is still coming.
#[derive(Debug)]
pub(crate) struct Partial {
    kind: u8,
    /// Bytes of its payload.
    pub(crate) len: usize,
    payload_crc: u32,
    /// Of the blocks that its data begins with.
    crcs: Vec<u32>,
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

    /// So much of the payload is here. What has just come is read while it is at hand.
    pub(crate) fn come(&mut self, begun: &[u8]) {
        let data = begun.get(self.head()..).unwrap_or_default();
        add_crcs(&mut self.crcs, data);
    }

    /// The message, with the whole payload.
    pub(crate) fn finish(mut self, payload: Bytes) -> Result<Message, WireError> {
        self.come(&payload);
        let (head, data) = payload.split_at(self.head().min(payload.len()));
        if crc_behind(crc32fast::hash(head), &self.crcs, data) != self.payload_crc {
            return Err(WireError::Checksum { kind: self.kind });
        }
        Message::decode(self.kind, payload, self.crcs)
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

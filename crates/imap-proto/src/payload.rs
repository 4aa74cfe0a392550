//! The octets of a message or a part of one, which may have streamed past the parser.

use std::borrow::Cow;
use std::fmt;

use crate::lex::{In, Res, any_literal, literal_head, map};
use crate::own::into_owned;
use crate::write::Writer;

/// A message's octets.
#[derive(Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Payload<'a> {
    /// All of them.
    Bytes(Cow<'a, [u8]>),
    /// So many, which a decoder streamed out before; or which the caller of an encoder inserts.
    Streamed(u64),
}

into_owned!(
    enum Payload {
        Bytes(b),
        Streamed(n),
    }
);

impl fmt::Debug for Payload<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Payload::Bytes(b) => write!(f, "Bytes(\"{}\")", b.escape_ascii()),
            Payload::Streamed(n) => write!(f, "Streamed({n} octets)"),
        }
    }
}

impl<'a> Payload<'a> {
    /// The octets, if they are here.
    pub fn bytes(&self) -> Option<&[u8]> {
        match self {
            Payload::Bytes(bytes) => Some(bytes),
            Payload::Streamed(_) => None,
        }
    }

    /// How many there are.
    pub fn octets(&self) -> u64 {
        match self {
            Payload::Bytes(bytes) => bytes.len() as u64,
            Payload::Streamed(n) => *n,
        }
    }

    /// A literal. Of one that the decoder streamed, NUL stands in the place of CRLF and its octets; no peer can send that.
    #[inline]
    pub(crate) fn parse(i: In<'a>) -> Res<'a, Self> {
        let (after, n) = literal_head(i)?;
        match after.strip_prefix(b"\0") {
            Some(after) => Ok((after, Payload::Streamed(n))),
            None => map(any_literal(i), |data| Payload::Bytes(Cow::Borrowed(data))),
        }
    }

    pub(crate) fn write(&self, w: &mut Writer<'_>) {
        match self {
            Payload::Bytes(bytes) => w.literal(bytes),
            Payload::Streamed(n) => w.gap(*n),
        }
    }
}

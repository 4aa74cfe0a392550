//! Frames on the wire.

use std::io;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Length, id and kind.
const HEADER: usize = 4 + 8 + 1;
/// The part of the header that the length counts.
const COUNTED: usize = HEADER - 4;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Request = 0,
    Reply = 1,
    /// The handler ended without an answer; the body is empty.
    Failed = 2,
    /// Asks for the turn, or says that it has come; the first frame each way, with an empty body.
    Turn = 3,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Header {
    pub(super) id: u64,
    pub(super) kind: Kind,
    /// Bytes of the body.
    pub(super) len: usize,
}

#[derive(Debug)]
pub(super) struct Frame {
    pub(super) id: u64,
    pub(super) kind: Kind,
    pub(super) body: Bytes,
}

/// Reads a header; `None` when the stream ends at a frame's boundary.
pub(super) async fn read_header(
    stream: &mut (impl AsyncRead + Unpin),
    limit: usize,
) -> io::Result<Option<Header>> {
    let mut bytes = [0; HEADER];
    if stream.read(&mut bytes[..1]).await? == 0 {
        return Ok(None);
    }
    stream.read_exact(&mut bytes[1..]).await?;
    parse_header(bytes, limit).map(Some)
}

fn parse_header(bytes: [u8; HEADER], limit: usize) -> io::Result<Header> {
    let [a, b, c, d, id @ .., kind] = bytes;
    let bad = |text: String| io::Error::new(io::ErrorKind::InvalidData, text);
    let counted = u32::from_be_bytes([a, b, c, d]) as usize;
    let len = counted.checked_sub(COUNTED).ok_or_else(|| bad(format!("a frame of {counted} bytes")))?;
    if len > limit {
        return Err(bad(format!("a frame of {len} bytes is over the limit of {limit}")));
    }
    let kind = match kind {
        0 => Kind::Request,
        1 => Kind::Reply,
        2 => Kind::Failed,
        3 => Kind::Turn,
        other => return Err(bad(format!("a frame of unknown kind {other}"))),
    };
    Ok(Header { id: u64::from_be_bytes(id), kind, len })
}

pub(super) async fn read_body(stream: &mut (impl AsyncRead + Unpin), len: usize) -> io::Result<Bytes> {
    let mut body = BytesMut::zeroed(len);
    stream.read_exact(&mut body).await?;
    Ok(body.freeze())
}

/// Writes without flushing, so that frames that wait together leave together.
pub(super) async fn write(stream: &mut (impl AsyncWrite + Unpin), frame: &Frame) -> io::Result<()> {
    let counted = u32::try_from(COUNTED + frame.body.len());
    let counted =
        counted.map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "a frame of more than 4 GiB"))?;
    let mut header = [0; HEADER];
    header[..4].copy_from_slice(&counted.to_be_bytes());
    header[4..12].copy_from_slice(&frame.id.to_be_bytes());
    header[12] = frame.kind as u8;
    stream.write_all(&header).await?;
    stream.write_all(&frame.body).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn frames_come_back_as_they_were_and_bad_ones_are_errors() {
        let mut wire = Vec::new();
        for (id, kind) in [(7, Kind::Request), (u64::MAX, Kind::Reply), (0, Kind::Failed), (9, Kind::Turn)] {
            write(&mut wire, &Frame { id, kind, body: Bytes::from_static(b"body") }).await.unwrap();
        }
        let mut read = &wire[..];
        for (id, kind) in [(7, Kind::Request), (u64::MAX, Kind::Reply), (0, Kind::Failed), (9, Kind::Turn)] {
            let header = read_header(&mut read, 4).await.unwrap().unwrap();
            assert_eq!((header.id, header.kind, header.len), (id, kind, 4));
            assert_eq!(read_body(&mut read, 4).await.unwrap(), "body");
        }
        assert!(read_header(&mut read, 4).await.unwrap().is_none());
        assert!(read_header(&mut &wire[..], 3).await.is_err(), "over the limit");
        assert!(read_header(&mut &wire[..5], 4).await.is_err(), "cut in a header");
        assert!(
            read_header(&mut &[0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0][..], 4).await.is_err(),
            "shorter than its header"
        );
        assert!(
            read_header(&mut &[0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 9][..], 4).await.is_err(),
            "unknown kind"
        );
    }
}

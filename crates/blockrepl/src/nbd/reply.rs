//! Replies, into bytes.

use bytes::{BufMut, BytesMut};

use super::proto::{SIMPLE_REPLY_MAGIC, STRING_MAX, STRUCTURED_REPLY_MAGIC, chunk, state};

/// What went wrong, as the protocol can say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Errno {
    /// The export is read-only.
    Perm = 1,
    /// The disk failed.
    Io = 5,
    /// The request makes no sense here.
    Inval = 22,
    /// It goes over the end of the device.
    NoSpace = 28,
    /// The answer would be too long.
    Overflow = 75,
    /// It cannot be done as asked.
    NotSup = 95,
    /// This server's leadership is over; another one may have it.
    Shutdown = 108,
}

/// How the client wants its replies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// As ever.
    Simple,
    /// In chunks; errors with words.
    Structured,
}

/// Appends the reply to a command that went well and gives nothing back.
pub fn ok(out: &mut BytesMut, style: Style, cookie: u64) {
    match style {
        Style::Simple => simple(out, 0, cookie),
        Style::Structured => structured(out, chunk::NONE, cookie, 0),
    }
}

/// Appends the reply to a command that failed, and `why`, cut to what the protocol allows.
pub fn error(out: &mut BytesMut, style: Style, cookie: u64, errno: Errno, why: &str) {
    if style == Style::Simple {
        return simple(out, errno as u32, cookie);
    }
    let mut end = why.len().min(STRING_MAX);
    while !why.is_char_boundary(end) {
        end -= 1;
    }
    structured(out, chunk::ERROR, cookie, 6 + end as u32);
    out.put_u32(errno as u32);
    out.put_u16(end as u16);
    out.put_slice(&why.as_bytes()[..end]);
}

/// Appends the head of a reply to a read; `len` bytes that were read at `offset` must follow.
pub fn data_head(out: &mut BytesMut, style: Style, cookie: u64, offset: u64, len: u32) {
    match style {
        Style::Simple => simple(out, 0, cookie),
        Style::Structured if len == 0 => structured(out, chunk::NONE, cookie, 0),
        Style::Structured => {
            structured(out, chunk::OFFSET_DATA, cookie, 8 + len);
            out.put_u64(offset);
        }
    }
}

/// Appends the reply to `BLOCK_STATUS`: extents as `(length, whether it reads as zeros)`; those of zeros are `holes` if nothing is
/// kept for them. It exists in chunks only.
pub fn block_status(out: &mut BytesMut, cookie: u64, context: u32, extents: &[(u32, bool)], holes: bool) {
    structured(out, chunk::BLOCK_STATUS, cookie, 4 + 8 * extents.len() as u32);
    out.put_u32(context);
    for (len, zeros) in extents {
        out.put_u32(*len);
        out.put_u32(if *zeros { state::ZERO | if holes { state::HOLE } else { 0 } } else { 0 });
    }
}

fn simple(out: &mut BytesMut, errno: u32, cookie: u64) {
    out.put_u32(SIMPLE_REPLY_MAGIC);
    out.put_u32(errno);
    out.put_u64(cookie);
}

/// The head of a chunk that is the only one of its reply.
fn structured(out: &mut BytesMut, kind: u16, cookie: u64, len: u32) {
    out.put_u32(STRUCTURED_REPLY_MAGIC);
    out.put_u16(chunk::DONE);
    out.put_u16(kind);
    out.put_u64(cookie);
    out.put_u32(len);
}

//! Requests, out of bytes in any split.

use bytes::{Buf, Bytes, BytesMut};

use super::NbdError;
use super::proto::{REQUEST_LEN, REQUEST_MAGIC, cmd};

/// What a client wants done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Read a range.
    Read,
    /// Write a range; the data follow.
    Write,
    /// Go away in good order; has no answer.
    Disconnect,
    /// Make what was answered durable.
    Flush,
    /// A range is not needed any more.
    Trim,
    /// Write zeros.
    WriteZeroes,
    /// Report a range's extents.
    BlockStatus,
    /// A command that is not spoken here.
    Unknown(u16),
}

impl Command {
    fn parse(number: u16) -> Self {
        match number {
            cmd::READ => Command::Read,
            cmd::WRITE => Command::Write,
            cmd::DISC => Command::Disconnect,
            cmd::FLUSH => Command::Flush,
            cmd::TRIM => Command::Trim,
            cmd::WRITE_ZEROES => Command::WriteZeroes,
            cmd::BLOCK_STATUS => Command::BlockStatus,
            other => Command::Unknown(other),
        }
    }

    fn number(self) -> u16 {
        match self {
            Command::Read => cmd::READ,
            Command::Write => cmd::WRITE,
            Command::Disconnect => cmd::DISC,
            Command::Flush => cmd::FLUSH,
            Command::Trim => cmd::TRIM,
            Command::WriteZeroes => cmd::WRITE_ZEROES,
            Command::BlockStatus => cmd::BLOCK_STATUS,
            Command::Unknown(other) => other,
        }
    }
}

/// One request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// See [`flag`](super::proto::flag).
    pub flags: u16,
    /// What to do.
    pub command: Command,
    /// Comes back in the reply.
    pub cookie: u64,
    /// Where, in bytes.
    pub offset: u64,
    /// How much, in bytes.
    pub len: u32,
    /// What to write; empty for all but `Write`.
    pub data: Bytes,
}

impl Request {
    /// Appends the request as a client sends it.
    pub fn encode(&self, out: &mut BytesMut) {
        use bytes::BufMut;
        out.put_u32(REQUEST_MAGIC);
        out.put_u16(self.flags);
        out.put_u16(self.command.number());
        out.put_u64(self.cookie);
        out.put_u64(self.offset);
        out.put_u32(self.len);
        out.put_slice(&self.data);
    }
}

/// Cuts a stream of bytes into requests. Put bytes into [`buffer`](Self::buffer) in any split, then call
/// [`next`](Self::next) until it gives none.
#[derive(Debug)]
pub struct Decoder {
    buffer: BytesMut,
    limit: u32,
}

impl Decoder {
    /// Goes on with what lies in `buffer` already. A write may have `limit` bytes.
    pub fn new(buffer: BytesMut, limit: u32) -> Self {
        Decoder { buffer, limit }
    }

    /// Where the stream's bytes go.
    pub fn buffer(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    /// The next whole request. After an error the stream is out of step and of no further use.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Result<Option<Request>, NbdError> {
        let Some(mut head) = self.buffer.get(..REQUEST_LEN) else { return Ok(None) };
        let magic = head.get_u32();
        if magic != REQUEST_MAGIC {
            return Err(NbdError::RequestMagic(magic));
        }
        let (flags, command) = (head.get_u16(), Command::parse(head.get_u16()));
        let (cookie, offset, len) = (head.get_u64(), head.get_u64(), head.get_u32());
        let Some(data) = self.payload(command, len)? else { return Ok(None) };
        Ok(Some(Request { flags, command, cookie, offset, len, data }))
    }

    /// The bytes behind the header, when all of them are here; then header and bytes leave the buffer.
    fn payload(&mut self, command: Command, len: u32) -> Result<Option<Bytes>, NbdError> {
        if command != Command::Write {
            self.buffer.advance(REQUEST_LEN);
            return Ok(Some(Bytes::new()));
        }
        if len > self.limit {
            return Err(NbdError::WriteTooLong { len, limit: self.limit });
        }
        let whole = REQUEST_LEN + len as usize;
        if self.buffer.len() < whole {
            // Room for the rest at once; the limit was checked.
            self.buffer.reserve(whole - self.buffer.len());
            return Ok(None);
        }
        self.buffer.advance(REQUEST_LEN);
        Ok(Some(self.buffer.split_to(len as usize).freeze()))
    }
}

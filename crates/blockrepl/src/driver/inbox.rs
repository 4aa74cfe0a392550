//! What comes in from one peer: bytes into messages, long ones read to where they stay.

use std::io;
use std::sync::Arc;

use bytes::{BufMut, Bytes};
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::pool::{Buffer, Pool};
use crate::wire::{Decoder, Message, Partial, WireError};

/// A payload of this length or more is read into a buffer of its own.
const LONG: usize = 64 << 10;
/// Bytes read at once behind a long payload, for another one may follow, and these are copied to where it stays.
const SHORT: usize = 4 << 10;

/// The way in from one peer.
pub(super) struct Inbox {
    decoder: Decoder,
    long: Option<Long>,
    /// The last message was a long one.
    stream: bool,
    pool: Arc<Pool>,
}

struct Long {
    frame: Partial,
    buffer: Buffer,
    filled: usize,
}

impl Inbox {
    /// Refuses payloads over `limit` bytes.
    pub(super) fn new(limit: u32, pool: Arc<Pool>) -> Self {
        Inbox { decoder: Decoder::new(limit), long: None, stream: false, pool }
    }

    /// Whether long messages come one after the other, or one is on its way.
    pub(super) fn is_long(&self) -> bool {
        self.stream || self.long.is_some()
    }

    /// Reads once; 0 is the end of the stream. Take all messages with [`next`](Self::next) before the next call.
    pub(super) async fn read<R: AsyncRead + Unpin>(&mut self, io: &mut R) -> io::Result<usize> {
        let Some(long) = &mut self.long else {
            let most = if self.stream { SHORT } else { LONG };
            self.decoder.buffer().reserve(most);
            return io.read_buf(&mut self.decoder.buffer().limit(most)).await;
        };
        let read = io.read(&mut long.buffer.as_mut()[long.filled..]).await?;
        long.filled += read;
        long.frame.come(&long.buffer.as_ref()[..long.filled]);
        Ok(read)
    }

    /// The next whole message.
    pub(super) fn next(&mut self) -> Result<Option<Message>, WireError> {
        match self.long.take() {
            Some(long) if long.filled == long.frame.len => {
                self.stream = true;
                return long.frame.finish(Bytes::from_owner(long.buffer)).map(Some);
            }
            Some(long) => {
                self.long = Some(long);
                return Ok(None);
            }
            None => {}
        }
        let message = self.decoder.next()?;
        self.stream &= message.is_none();
        if message.is_none()
            && let Some((frame, begun)) = self.decoder.take_partial(LONG)
        {
            let mut buffer = self.pool.take_behind(frame.head(), frame.len);
            buffer.as_mut()[..begun.len()].copy_from_slice(&begun);
            self.long = Some(Long { frame, buffer, filled: begun.len() });
        }
        Ok(message)
    }
}

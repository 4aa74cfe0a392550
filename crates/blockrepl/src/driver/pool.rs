//! Buffers for long data that are used again: the system need not find and clear fresh pages for each.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::core::WRITE_MAX;

/// The longest that is kept: a write and the fields of its frame.
const LEN: usize = WRITE_MAX + 4096;
/// Buffers kept while they are idle.
const KEPT: usize = 16;

/// Idle buffers. It shrinks by [`tick`](Self::tick).
#[derive(Debug, Default)]
pub(super) struct Pool(Mutex<Vec<Box<[u8]>>>);

impl Pool {
    fn idle(&self) -> MutexGuard<'_, Vec<Box<[u8]>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A buffer of `len` bytes with any content.
    pub(super) fn take(self: &Arc<Self>, len: usize) -> Buffer {
        let kept = if len <= LEN { self.idle().pop() } else { None };
        let bytes = kept.unwrap_or_else(|| vec![0; len.max(LEN)].into());
        Buffer { bytes, len, pool: self.clone() }
    }

    /// A copy of `data`.
    pub(super) fn copy(self: &Arc<Self>, data: &[u8]) -> Bytes {
        let mut buffer = self.take(data.len());
        buffer.as_mut().copy_from_slice(data);
        Bytes::from_owner(buffer)
    }

    /// Time has passed: an idle buffer goes back to the system.
    pub(super) fn tick(&self) {
        drop(self.idle().pop());
    }
}

/// A buffer that returns to its pool.
#[derive(Debug)]
pub(super) struct Buffer {
    bytes: Box<[u8]>,
    len: usize,
    pool: Arc<Pool>,
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl AsMut<[u8]> for Buffer {
    fn as_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[..self.len]
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        let mut idle = self.pool.idle();
        if bytes.len() == LEN && idle.len() < KEPT {
            idle.push(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_returns_when_its_last_reader_is_done_and_goes_when_idle() {
        let pool = Arc::new(Pool::default());
        let bytes = pool.copy(&[7; 100]);
        let half = bytes.slice(50..);
        drop(bytes);
        assert_eq!(pool.idle().len(), 0);
        assert_eq!(half, [7; 50][..]);
        drop(half);
        assert_eq!(pool.idle().len(), 1);
        drop(pool.take(2 * LEN));
        assert_eq!(pool.idle().len(), 1);
        pool.tick();
        assert_eq!(pool.idle().len(), 0);
    }
}

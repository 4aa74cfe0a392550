//! Buffers for long data that are used again: the system need not find and clear fresh pages for each.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::core::WRITE_MAX;

/// The longest that is kept: a write and the fields of its frame.
const LEN: usize = WRITE_MAX + ALIGN;
/// Data begins at a multiple of this, as a disk past the page cache wants it.
const ALIGN: usize = 4096;
/// A shorter buffer is not worth keeping.
const SHORT: usize = 64 << 10;
/// Buffers kept while they are idle.
const KEPT: usize = 16;

/// Idle buffers. It shrinks by [`tick`](Self::tick).
#[derive(Debug, Default)]
pub(crate) struct Pool(Mutex<Idle>);

#[derive(Debug, Default)]
struct Idle {
    buffers: Vec<Box<[u8]>>,
    /// As few as there were since the last tick: so many are too many.
    least: usize,
}

impl Pool {
    fn idle(&self) -> MutexGuard<'_, Idle> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A buffer of `len` bytes with any content.
    pub(crate) fn take(self: &Arc<Self>, len: usize) -> Buffer {
        self.take_behind(0, len)
    }

    /// A buffer of `len` bytes with any content, aligned at its byte number `head`.
    pub(crate) fn take_behind(self: &Arc<Self>, head: usize, len: usize) -> Buffer {
        let room = if (SHORT..LEN).contains(&len) { LEN } else { len };
        let kept = if room == LEN { self.idle().pop() } else { None };
        let bytes = kept.unwrap_or_else(|| vec![0; room + ALIGN].into());
        let aligned = bytes.as_ptr().align_offset(ALIGN);
        let start = (aligned + ALIGN - head % ALIGN) % ALIGN;
        Buffer { bytes, start, len, pool: self.clone() }
    }

    /// A copy of `data`.
    pub(crate) fn copy(self: &Arc<Self>, data: &[u8]) -> Bytes {
        let mut buffer = self.take(data.len());
        buffer.as_mut().copy_from_slice(data);
        Bytes::from_owner(buffer)
    }

    /// Time has passed: a buffer that nobody needed meanwhile goes back to the system.
    pub(crate) fn tick(&self) {
        let mut idle = self.idle();
        if idle.least > 0 {
            idle.buffers.pop();
        }
        idle.least = idle.buffers.len();
    }

    /// All idle buffers go back.
    #[cfg(feature = "nbd")]
    pub(crate) fn clear(&self) {
        *self.idle() = Idle::default();
    }
}

impl Idle {
    fn pop(&mut self) -> Option<Box<[u8]>> {
        let buffer = self.buffers.pop();
        self.least = self.least.min(self.buffers.len());
        buffer
    }
}

/// A buffer that returns to its pool.
#[derive(Debug)]
pub(crate) struct Buffer {
    bytes: Box<[u8]>,
    start: usize,
    len: usize,
    pool: Arc<Pool>,
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[self.start..self.start + self.len]
    }
}

impl AsMut<[u8]> for Buffer {
    fn as_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.start + self.len]
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        let mut idle = self.pool.idle();
        if bytes.len() == LEN + ALIGN && idle.buffers.len() < KEPT {
            idle.buffers.push(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_returns_when_its_last_reader_is_done_and_goes_when_idle() {
        let pool = Arc::new(Pool::default());
        let kept = || pool.idle().buffers.len();
        let bytes = pool.copy(&[7; SHORT]);
        let half = bytes.slice(50..);
        drop(bytes);
        assert_eq!(kept(), 0);
        assert_eq!(half, [7; SHORT - 50][..]);
        drop(half);
        assert_eq!(kept(), 1);
        drop((pool.take(2 * LEN), pool.take(SHORT - 1)));
        assert_eq!(kept(), 1);
        pool.tick();
        assert_eq!(kept(), 1, "it was in use since the last tick");
        pool.tick();
        assert_eq!(kept(), 0);
    }

    #[test]
    fn data_behind_the_fields_of_a_frame_is_aligned() {
        let pool = Arc::new(Pool::default());
        for (head, len) in [(0, 1), (32, 32 + WRITE_MAX), (13, 100), (4096, 8192), (5000, 3 * LEN)] {
            let mut buffer = pool.take_behind(head, len);
            assert_eq!(buffer.as_mut().len(), len);
            let data = buffer.as_ref().as_ptr() as usize + head;
            assert_eq!(data % ALIGN, 0, "{head} {len}");
        }
    }
}

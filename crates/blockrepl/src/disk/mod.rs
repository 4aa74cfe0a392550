//! Where a replica's bytes lie.
//!
//! | disk | for | a flush is |
//! |---|---|---|
//! | [`FileDisk`] | a file or a raw device, through the page cache: reads of what was written lately cost no I/O, small writes are gathered | `fdatasync` |
//! | [`DirectDisk`] | the same, past the page cache (`O_DIRECT`): a guest or a file system above has a cache of its own, or memory is scarce | `fdatasync` |
//! | [`MemDisk`] | tests, and peers that need not outlive a power cut | nothing |
//! | [`VolatileDisk`] | tests: a SIGKILL becomes a power cut | all of it handed down, and a flush there |

pub mod conformance;
mod direct;
mod file;
mod kernel;
mod mem;
mod streams;
mod volatile;

use std::io;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

pub use direct::DirectDisk;
pub use file::FileDisk;
pub use mem::MemDisk;
pub use volatile::VolatileDisk;

const PAGE: u64 = 4096;

/// A blocking store of bytes with a volatile cache, safe from any thread. A write is visible to
/// reads at once, and durable after a flush that began later. A range past the end is an error and changes nothing.
/// After a failed flush no later one succeeds: what the first one lost is lost (R11).
///
/// [`conformance`] checks an implementation.
pub trait Disk: Send + Sync + std::fmt::Debug + 'static {
    /// Fills `buf` from `offset`.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()>;
    /// Fills `buf` from `offset` if that needs no waiting, and says whether it did; if not, `buf` has any content, and
    /// [`read_at`](Self::read_at) may or may not succeed. By default: never.
    fn read_cached(&self, offset: u64, buf: &mut [u8]) -> bool {
        let _ = (offset, buf);
        false
    }
    /// Writes all of `data` at `offset`.
    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()>;
    /// Writes ranges that do not overlap, in any order; after an error any of them may be written. By default: one
    /// after the other.
    fn write_many(&self, writes: &[(u64, &[u8])]) -> io::Result<()> {
        writes.iter().try_for_each(|(offset, data)| self.write_at(*offset, data))
    }
    /// Makes a range read as zeros, as if they were written; where the disk can, without writing data. With `free` its room may be given back,
    /// otherwise a later write there needs none that is not there already. After an error any part of it may be done. By default: zeros are
    /// written.
    fn zero(&self, offset: u64, len: u64, free: bool) -> io::Result<()> {
        let _ = free;
        check(self.size()?, offset, usize::try_from(len).unwrap_or(usize::MAX))?;
        write_zeros(offset, offset + len, |zeros, at| self.write_at(at, zeros))
    }
    /// Ranges within this one, in ascending order and apart, that are known to read as zeros without looking at data; at most
    /// `most`. By default: none is.
    fn zeros_in(&self, range: Range<u64>, most: usize) -> Vec<Range<u64>> {
        let _ = (range, most);
        Vec::new()
    }
    /// Makes all completed writes durable.
    fn flush(&self) -> io::Result<()>;
    /// Length in bytes.
    fn size(&self) -> io::Result<u64>;
    /// Makes the disk at least `to` bytes long, durably; `from..to` then reads as zeros. On an error all
    /// is as it was, but for these bytes. By default: for a disk that is long enough already.
    fn grow(&self, from: u64, to: u64) -> io::Result<()> {
        grow_within(self, from, to)
    }
    /// What lies behind `to` is not needed any more and may be given back. By default: nothing is.
    fn shrink(&self, to: u64) -> io::Result<()> {
        let _ = to;
        Ok(())
    }
}

/// What lies between is there and must become zeros.
fn grow_within(disk: &(impl Disk + ?Sized), from: u64, to: u64) -> io::Result<()> {
    let size = disk.size()?;
    if size < to {
        let why = format!("the disk has {size} bytes where {to} are needed, and does not grow by itself");
        return Err(io::Error::new(io::ErrorKind::Unsupported, why));
    }
    write_zeros(from, to, |zeros, at| disk.write_at(at, zeros))?;
    disk.flush()
}

fn write_zeros(from: u64, to: u64, write: impl Fn(&[u8], u64) -> io::Result<()>) -> io::Result<()> {
    let zeros = vec![0; to.saturating_sub(from).min(1 << 20) as usize];
    let mut at = from;
    while at < to {
        let n = (to - at).min(zeros.len() as u64);
        write(&zeros[..n as usize], at)?;
        at += n;
    }
    Ok(())
}

/// A range past the end is an error.
fn check(size: u64, offset: u64, len: usize) -> io::Result<()> {
    match offset.checked_add(len as u64) {
        Some(end) if end <= size => Ok(()),
        _ => {
            let why = format!("{len} bytes at {offset} exceed the disk of {size} bytes");
            Err(io::Error::new(io::ErrorKind::UnexpectedEof, why))
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The pages a range touches, each with the part of it: `(page, start within it, length)`.
fn pages(offset: u64, len: usize) -> impl Iterator<Item = (u64, usize, usize)> {
    let end = offset + len as u64;
    let mut at = offset;
    std::iter::from_fn(move || {
        (at < end).then(|| {
            let (page, start) = (at / PAGE, (at % PAGE) as usize);
            let n = (end - at).min(PAGE - start as u64) as usize;
            at += n as u64;
            (page, start, n)
        })
    })
}

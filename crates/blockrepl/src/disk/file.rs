//! Files and raw devices.

use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice};
use std::ops::Range;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustix::fs::OFlags;
use rustix::io::ReadWriteFlags;

use super::kernel::begin_writeback;
use super::streams::Streams;
use super::{Disk, PAGE, check, grow_within, lock, write_zeros};

/// Pieces that the system takes in one call (`IOV_MAX`).
const SLICES: usize = 1024;

/// A file or a raw device, through the page cache; a flush is `fdatasync`. What is written in long runs is on its way to the
/// disk before that, so that the flush finds little left to do.
#[derive(Debug)]
pub struct FileDisk {
    pub(super) file: File,
    size: AtomicU64,
    flush: Flush,
    streams: Mutex<Streams>,
}

/// R11: what a failed flush has lost, a later one does not bring back, though the system may call it a success.
#[derive(Debug, Default)]
struct Flush(AtomicBool);

impl Flush {
    fn run(&self, flush: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        if self.0.load(Ordering::Acquire) {
            return Err(io::Error::other("an earlier flush failed, and it is not tried again"));
        }
        flush().inspect_err(|_| self.0.store(true, Ordering::Release))
    }
}

impl FileDisk {
    fn new(file: File) -> io::Result<Self> {
        // `len` is 0 for a raw device; the end of it is where a seek says it is.
        let size = match file.metadata()?.len() {
            0 => rustix::fs::seek(&file, rustix::fs::SeekFrom::End(0))?,
            len => len,
        };
        Ok(FileDisk { file, size: AtomicU64::new(size), flush: Flush::default(), streams: Mutex::default() })
    }

    /// Writes that follow each other, by one call.
    fn write_run(&self, run: &[(u64, &[u8])]) -> io::Result<()> {
        let [(offset, _), _, ..] = run else {
            return run.iter().try_for_each(|(offset, data)| self.write_at(*offset, data));
        };
        let len = run.iter().map(|(_, data)| data.len()).sum();
        check(self.len(), *offset, len)?;
        let mut slices: Vec<IoSlice<'_>> = run.iter().map(|(_, data)| IoSlice::new(data)).collect();
        let (mut left, mut at) = (&mut slices[..], *offset);
        IoSlice::advance_slices(&mut left, 0);
        while !left.is_empty() {
            let written = match rustix::io::pwritev(&self.file, &left[..left.len().min(SLICES)], at) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => written,
                Err(rustix::io::Errno::INTR) => continue,
                Err(why) => return Err(why.into()),
            };
            at += written as u64;
            IoSlice::advance_slices(&mut left, written);
        }
        self.wrote(*offset, len);
        Ok(())
    }

    /// A long run is begun to be written to the disk.
    fn wrote(&self, offset: u64, len: usize) {
        if let Some(run) = lock(&self.streams).note(offset, len as u64) {
            begin_writeback(&self.file, run);
        }
    }

    /// Zeros the whole pages of a range without writing them. Gives what was done: nothing, where the file system cannot.
    pub(super) fn zero_pages(&self, offset: u64, len: u64, free: bool) -> io::Result<Range<u64>> {
        use rustix::fs::FallocateFlags as F;
        use rustix::io::Errno;
        let (start, end) = (offset.next_multiple_of(PAGE), (offset + len) / PAGE * PAGE);
        if start >= end {
            return Ok(offset..offset);
        }
        // Blocks that are kept are zeroed by a mark in the file system.
        let how = if free { F::PUNCH_HOLE } else { F::ZERO_RANGE };
        match rustix::fs::fallocate(&self.file, how | F::KEEP_SIZE, start, end - start) {
            Ok(()) => Ok(start..end),
            // No room for the mark is no lack of room for the zeros.
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL | Errno::NOSPC | Errno::PERM) => {
                Ok(offset..offset)
            }
            Err(why) => Err(why.into()),
        }
    }

    /// Where the file has nothing but zeros: holes, and room that was never written to.
    pub(super) fn holes(&self, range: Range<u64>, most: usize) -> Vec<Range<u64>> {
        use rustix::fs::SeekFrom::{Data, Hole};
        let mut holes = Vec::new();
        let mut at = range.start;
        while at < range.end && holes.len() < most {
            let Ok(hole) = rustix::fs::seek(&self.file, Hole(at)) else { break };
            let end = match rustix::fs::seek(&self.file, Data(hole)) {
                Ok(data) => data,
                // Nothing but a hole up to the end.
                Err(rustix::io::Errno::NXIO) => u64::MAX,
                Err(_) => break,
            };
            if hole < range.end && hole < end {
                holes.push(hole..end.min(range.end));
            }
            at = end;
        }
        holes
    }

    pub(super) fn len(&self) -> u64 {
        self.size.load(Ordering::Acquire)
    }

    /// Opens an existing file for reading and writing, and locks it against other processes (and
    /// other openers in this one) for as long as it is open.
    pub fn open(path: &Path) -> io::Result<Self> {
        Self::open_with(path, OFlags::empty())
    }

    pub(super) fn open_with(path: &Path, flags: OFlags) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).custom_flags(flags.bits() as i32).open(path)?;
        rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive).map_err(
            |e| match e {
                rustix::io::Errno::WOULDBLOCK => io::Error::new(io::ErrorKind::WouldBlock, "it is in use"),
                e => e.into(),
            },
        )?;
        Self::new(file)
    }

    /// Creates a file of `size` zero bytes with its blocks allocated, durable with its directory
    /// entry. Fails if it exists and holds anything.
    pub fn create(path: &Path, size: u64) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        if file.metadata()?.len() > 0 {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        if let Err(e) = allocate(&file, 0, size).and_then(|()| file.sync_all()) {
            // No room: what was allocated is given back, and the next try finds no remains.
            drop(std::fs::remove_file(path));
            return Err(e);
        }
        if let Some(parent) = path.parent() {
            let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
            File::open(parent)?.sync_all()?;
        }
        Self::new(file)
    }
}

/// R11: the blocks are there before they are needed. Where the file system cannot allocate ahead,
/// zeros are written.
fn allocate(file: &File, from: u64, to: u64) -> io::Result<()> {
    match rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), from, to - from) {
        Ok(()) => Ok(()),
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => {
            write_zeros(from, to, |zeros, at| file.write_all_at(zeros, at))
        }
        Err(e) => Err(e.into()),
    }
}

impl Disk for FileDisk {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(buf, offset)
    }
    fn read_cached(&self, offset: u64, buf: &mut [u8]) -> bool {
        let len = buf.len();
        let mut parts = [io::IoSliceMut::new(buf)];
        // An offset of -1 would mean the file's own.
        i64::try_from(offset).is_ok()
            && rustix::io::preadv2(&self.file, &mut parts, offset, ReadWriteFlags::NOWAIT) == Ok(len)
    }
    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        check(self.len(), offset, data.len())?;
        self.file.write_all_at(data, offset)?;
        self.wrote(offset, data.len());
        Ok(())
    }
    fn write_many(&self, writes: &[(u64, &[u8])]) -> io::Result<()> {
        let follows = |a: &(u64, &[u8]), b: &(u64, &[u8])| a.0.checked_add(a.1.len() as u64) == Some(b.0);
        writes.chunk_by(follows).try_for_each(|run| self.write_run(run))
    }
    fn zero(&self, offset: u64, len: u64, free: bool) -> io::Result<()> {
        check(self.len(), offset, usize::try_from(len).unwrap_or(usize::MAX))?;
        let whole = self.zero_pages(offset, len, free)?;
        write_zeros(offset, whole.start, |zeros, at| self.write_at(at, zeros))?;
        write_zeros(whole.end, offset + len, |zeros, at| self.write_at(at, zeros))
    }
    fn zeros_in(&self, range: Range<u64>, most: usize) -> Vec<Range<u64>> {
        self.holes(range, most)
    }
    fn flush(&self) -> io::Result<()> {
        self.flush.run(|| self.file.sync_data())
    }
    fn grow(&self, from: u64, to: u64) -> io::Result<()> {
        if !self.file.metadata()?.is_file() {
            return grow_within(self, from, to);
        }
        // What an attempt that failed has left must not show.
        self.size.store(from, Ordering::Release);
        self.file.set_len(from)?;
        allocate(&self.file, from, to)?;
        self.file.sync_all()?;
        self.size.store(to, Ordering::Release);
        Ok(())
    }
    fn shrink(&self, to: u64) -> io::Result<()> {
        if self.file.metadata()?.is_file() && to < self.len() {
            self.size.store(to, Ordering::Release);
            self.file.set_len(to)?;
        }
        Ok(())
    }
    fn size(&self) -> io::Result<u64> {
        match self.file.metadata()? {
            // As it is now: somebody else may have cut it.
            of if of.is_file() => Ok(of.len()),
            _ => Ok(self.len()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_a_failed_flush_none_succeeds() {
        let flush = Flush::default();
        assert!(flush.run(|| Ok(())).is_ok());
        assert!(flush.run(|| Err(io::ErrorKind::Other.into())).is_err());
        let mut tried = false;
        let again = flush.run(|| {
            tried = true;
            Ok(())
        });
        assert!(again.is_err() && !tried);
    }
}

//! Past the page cache.

use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Mutex, PoisonError, RwLock};

use rustix::fs::OFlags;

#[cfg(feature = "io-uring")]
use super::kernel::uring::Rings;
use super::{Disk, FileDisk, check, lock, write_zeros};

/// What `O_DIRECT` asks of offsets, lengths and memory here. Some disks ask for less; none that we know for more.
const ALIGN: usize = 4096;
/// Bytes copied at once on the way to or from memory that is not aligned.
const BOUNCE: usize = 1 << 20;
/// Aligned buffers kept.
const KEPT: usize = 8;
/// Threads that write at once where there is no `io_uring`.
const THREADS: usize = 4;

/// A file or a raw device whose size is a multiple of 4096, by `O_DIRECT`.
///
/// Any offset, length and memory may be used: what is not aligned to 4096 bytes is copied, and a block that is written in
/// part is read before. Several writes at once ([`Disk::write_many`]) go to the disk together: by one call of
/// `io_uring` with the feature of that name where the kernel has it, by threads otherwise.
#[derive(Debug)]
pub struct DirectDisk {
    below: FileDisk,
    /// Who writes a part of a block has all blocks to himself.
    parts: RwLock<()>,
    bounce: Mutex<Vec<Aligned>>,
    #[cfg(feature = "io-uring")]
    rings: Option<Rings>,
}

/// Memory at a multiple of [`ALIGN`].
#[derive(Debug)]
struct Aligned {
    bytes: Vec<u8>,
    start: usize,
}

impl Aligned {
    fn new() -> Self {
        let bytes = vec![0; BOUNCE + ALIGN];
        let start = bytes.as_ptr().align_offset(ALIGN);
        Aligned { bytes, start }
    }

    fn get(&mut self, len: usize) -> &mut [u8] {
        &mut self.bytes[self.start..self.start + len]
    }
}

impl DirectDisk {
    /// As [`FileDisk::open`]. Fails where the file system has no `O_DIRECT` (tmpfs before Linux 6.6), and for a
    /// size that is not a multiple of 4096.
    pub fn open(path: &Path) -> io::Result<Self> {
        let below = FileDisk::open_with(path, OFlags::DIRECT)?;
        if !below.len().is_multiple_of(ALIGN as u64) {
            let why = format!("O_DIRECT needs a size that is a multiple of {ALIGN}, not {}", below.len());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        Ok(DirectDisk {
            #[cfg(feature = "io-uring")]
            rings: Rings::new(&below.file),
            below,
            parts: RwLock::new(()),
            bounce: Mutex::default(),
        })
    }

    /// Whether writes go by `io_uring`: the feature is on and the kernel lets us.
    pub fn uses_io_uring(&self) -> bool {
        #[cfg(feature = "io-uring")]
        return self.rings.is_some();
        #[cfg(not(feature = "io-uring"))]
        false
    }

    fn with_bounce<R>(&self, f: impl FnOnce(&mut Aligned) -> R) -> R {
        let mut buffer = lock(&self.bounce).pop().unwrap_or_else(Aligned::new);
        let result = f(&mut buffer);
        let mut kept = lock(&self.bounce);
        if kept.len() < KEPT {
            kept.push(buffer);
        }
        result
    }

    /// Whole blocks from any memory.
    fn write_blocks(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        if data.as_ptr().align_offset(ALIGN) == 0 {
            return self.below.file.write_all_at(data, offset);
        }
        self.with_bounce(|buffer| {
            let mut at = offset;
            data.chunks(BOUNCE).try_for_each(|part| {
                let aligned = buffer.get(part.len());
                aligned.copy_from_slice(part);
                self.below.file.write_all_at(aligned, at)?;
                at += part.len() as u64;
                Ok(())
            })
        })
    }

    /// One block of which a part is new.
    fn write_part(&self, block: u64, start: usize, data: &[u8]) -> io::Result<()> {
        self.with_bounce(|buffer| {
            let whole = buffer.get(ALIGN);
            self.below.file.read_exact_at(whole, block)?;
            whole[start..start + data.len()].copy_from_slice(data);
            self.below.file.write_all_at(whole, block)
        })
    }

    fn write_at_once(&self, writes: &[(u64, &[u8])]) -> io::Result<()> {
        #[cfg(feature = "io-uring")]
        if let Some(rings) = &self.rings
            && writes.iter().all(|(_, data)| data.as_ptr().align_offset(ALIGN) == 0)
        {
            return rings.write_many(&self.below.file, writes);
        }
        let share = writes.len().div_ceil(THREADS);
        std::thread::scope(|scope| {
            let write = |part: &[(u64, &[u8])]| {
                part.iter().try_for_each(|(offset, data)| self.write_blocks(*offset, data))
            };
            let threads: Vec<_> = writes.chunks(share).map(|part| scope.spawn(move || write(part))).collect();
            threads.into_iter().try_for_each(|t| {
                t.join().unwrap_or_else(|_| Err(io::Error::other("a writing thread panicked")))
            })
        })
    }
}

fn whole_blocks(offset: u64, len: usize) -> bool {
    offset.is_multiple_of(ALIGN as u64) && len.is_multiple_of(ALIGN)
}

impl Disk for DirectDisk {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        check(self.below.len(), offset, buf.len())?;
        if whole_blocks(offset, buf.len()) && buf.as_ptr().align_offset(ALIGN) == 0 {
            return self.below.file.read_exact_at(buf, offset);
        }
        self.with_bounce(|buffer| {
            let mut done = 0;
            while done < buf.len() {
                let at = offset + done as u64;
                let start = (at % ALIGN as u64) as usize;
                let n = (buf.len() - done).min(BOUNCE - start);
                let aligned = buffer.get((start + n).next_multiple_of(ALIGN));
                self.below.file.read_exact_at(aligned, at - start as u64)?;
                buf[done..done + n].copy_from_slice(&aligned[start..start + n]);
                done += n;
            }
            Ok(())
        })
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        check(self.below.len(), offset, data.len())?;
        if whole_blocks(offset, data.len()) {
            let _shared = self.parts.read().unwrap_or_else(PoisonError::into_inner);
            return self.write_blocks(offset, data);
        }
        let _alone = self.parts.write().unwrap_or_else(PoisonError::into_inner);
        let mut done = 0;
        while done < data.len() {
            let at = offset + done as u64;
            let start = (at % ALIGN as u64) as usize;
            let left = data.len() - done;
            let n = if start > 0 || left < ALIGN { left.min(ALIGN - start) } else { left / ALIGN * ALIGN };
            let part = &data[done..done + n];
            if n.is_multiple_of(ALIGN) {
                self.write_blocks(at, part)?;
            } else {
                self.write_part(at - start as u64, start, part)?;
            }
            done += n;
        }
        Ok(())
    }

    fn write_many(&self, writes: &[(u64, &[u8])]) -> io::Result<()> {
        let whole = |(offset, data): &(u64, &[u8])| whole_blocks(*offset, data.len()) && !data.is_empty();
        if writes.len() < 2 || !writes.iter().all(whole) {
            return writes.iter().try_for_each(|(offset, data)| self.write_at(*offset, data));
        }
        writes.iter().try_for_each(|(offset, data)| check(self.below.len(), *offset, data.len()))?;
        let _shared = self.parts.read().unwrap_or_else(PoisonError::into_inner);
        self.write_at_once(writes)
    }

    fn zero(&self, offset: u64, len: u64, free: bool) -> io::Result<()> {
        check(self.below.len(), offset, usize::try_from(len).unwrap_or(usize::MAX))?;
        let whole = {
            let _shared = self.parts.read().unwrap_or_else(PoisonError::into_inner);
            self.below.zero_pages(offset, len, free)?
        };
        write_zeros(offset, whole.start, |zeros, at| self.write_at(at, zeros))?;
        write_zeros(whole.end, offset + len, |zeros, at| self.write_at(at, zeros))
    }

    fn zeros_in(&self, range: Range<u64>, most: usize) -> Vec<Range<u64>> {
        self.below.holes(range, most)
    }

    fn flush(&self) -> io::Result<()> {
        self.below.flush()
    }

    fn grow(&self, from: u64, to: u64) -> io::Result<()> {
        self.below.grow(from, to)
    }

    fn size(&self) -> io::Result<u64> {
        self.below.size()
    }
}

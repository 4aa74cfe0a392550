//! Where a replica's bytes lie.

use std::collections::{BTreeMap, HashMap};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A blocking store of bytes with a volatile cache, safe from any thread. A write is visible to
/// reads at once, and durable after a flush that began later.
pub trait Disk: Send + Sync + std::fmt::Debug + 'static {
    /// Fills `buf` from `offset`.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()>;
    /// Writes all of `data` at `offset`.
    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()>;
    /// Makes all completed writes durable.
    fn flush(&self) -> io::Result<()>;
    /// Length in bytes.
    fn size(&self) -> io::Result<u64>;
    /// Makes the disk at least `to` bytes long, durably; `from..to` then reads as zeros. On an error all
    /// is as it was, but for these bytes. By default: for a disk that is long enough already.
    fn grow(&self, from: u64, to: u64) -> io::Result<()> {
        grow_within(self, from, to)
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
    let zeros = vec![0; 1 << 20];
    let mut at = from;
    while at < to {
        let n = (to - at).min(zeros.len() as u64);
        write(&zeros[..n as usize], at)?;
        at += n;
    }
    Ok(())
}

/// A file or a raw device, through the page cache; a flush is `fdatasync`.
#[derive(Debug)]
pub struct FileDisk(File);

impl FileDisk {
    /// Opens an existing file for reading and writing, and locks it against other processes (and
    /// other openers in this one) for as long as it is open.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive).map_err(
            |e| match e {
                rustix::io::Errno::WOULDBLOCK => io::Error::new(io::ErrorKind::WouldBlock, "it is in use"),
                e => e.into(),
            },
        )?;
        Ok(FileDisk(file))
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
        Ok(FileDisk(file))
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
        self.0.read_exact_at(buf, offset)
    }
    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write_all_at(data, offset)
    }
    fn flush(&self) -> io::Result<()> {
        self.0.sync_data()
    }
    fn grow(&self, from: u64, to: u64) -> io::Result<()> {
        if !self.0.metadata()?.is_file() {
            return grow_within(self, from, to);
        }
        // What an attempt that failed has left must not show.
        self.0.set_len(from)?;
        allocate(&self.0, from, to)?;
        self.0.sync_all()
    }
    fn size(&self) -> io::Result<u64> {
        // `len` is 0 for a raw device; the end of it is where a seek says it is.
        match self.0.metadata()?.len() {
            0 => Ok(rustix::fs::seek(&self.0, rustix::fs::SeekFrom::End(0))?),
            len => Ok(len),
        }
    }
}

const PAGE: u64 = 4096;
type Pages = BTreeMap<u64, Box<[u8]>>;

/// A disk that keeps unflushed writes in this process's memory and hands them to the disk below
/// only at a flush: a SIGKILL, or dropping it, then acts as a power cut. For tests.
#[derive(Debug)]
pub struct VolatileDisk {
    below: Arc<dyn Disk>,
    cache: Mutex<Cache>,
    /// One flush at a time.
    flushing: Mutex<()>,
}

#[derive(Debug, Default)]
struct Cache {
    dirty: Pages,
    /// Being handed down; still newer than what lies below.
    leaving: Arc<Pages>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl VolatileDisk {
    /// A volatile cache over `below`, whose size must be a multiple of 4096.
    pub fn new(below: Arc<dyn Disk>) -> Self {
        VolatileDisk { below, cache: Mutex::default(), flushing: Mutex::new(()) }
    }

    fn page(&self, cache: &Cache, index: u64) -> io::Result<Box<[u8]>> {
        if let Some(page) = cache.dirty.get(&index).or_else(|| cache.leaving.get(&index)) {
            return Ok(page.clone());
        }
        let mut page = vec![0; PAGE as usize].into_boxed_slice();
        self.below.read_at(index * PAGE, &mut page)?;
        Ok(page)
    }
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

impl Disk for VolatileDisk {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let cache = lock(&self.cache);
        self.below.read_at(offset, buf)?;
        let mut done = 0;
        for (index, start, n) in pages(offset, buf.len()) {
            if let Some(page) = cache.dirty.get(&index).or_else(|| cache.leaving.get(&index)) {
                buf[done..done + n].copy_from_slice(&page[start..start + n]);
            }
            done += n;
        }
        Ok(())
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut cache = lock(&self.cache);
        let mut done = 0;
        for (index, start, n) in pages(offset, data.len()) {
            let mut page = match cache.dirty.remove(&index) {
                Some(page) => page,
                None => self.page(&cache, index)?,
            };
            page[start..start + n].copy_from_slice(&data[done..done + n]);
            cache.dirty.insert(index, page);
            done += n;
        }
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        let _one = lock(&self.flushing);
        let leaving = {
            let mut cache = lock(&self.cache);
            cache.leaving = Arc::new(std::mem::take(&mut cache.dirty));
            cache.leaving.clone()
        };
        for (index, page) in leaving.iter() {
            self.below.write_at(index * PAGE, page)?;
        }
        self.below.flush()?;
        lock(&self.cache).leaving = Arc::default();
        Ok(())
    }

    fn size(&self) -> io::Result<u64> {
        self.below.size()
    }

    fn grow(&self, from: u64, to: u64) -> io::Result<()> {
        self.below.grow(from, to)
    }
}

/// A disk in memory, sparse. Nothing outlives it.
#[derive(Debug)]
pub struct MemDisk {
    size: AtomicU64,
    pages: Mutex<HashMap<u64, Box<[u8]>>>,
}

impl MemDisk {
    /// `size` zero bytes.
    pub fn new(size: u64) -> Self {
        MemDisk { size: AtomicU64::new(size), pages: Mutex::default() }
    }

    fn check(&self, offset: u64, len: usize) -> io::Result<()> {
        match offset.checked_add(len as u64) {
            Some(end) if end <= self.size.load(Ordering::Acquire) => Ok(()),
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

impl Disk for MemDisk {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.check(offset, buf.len())?;
        let all = lock(&self.pages);
        let mut done = 0;
        for (index, start, n) in pages(offset, buf.len()) {
            match all.get(&index) {
                Some(page) => buf[done..done + n].copy_from_slice(&page[start..start + n]),
                None => buf[done..done + n].fill(0),
            }
            done += n;
        }
        Ok(())
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.check(offset, data.len())?;
        let mut all = lock(&self.pages);
        let mut done = 0;
        for (index, start, n) in pages(offset, data.len()) {
            let page = all.entry(index).or_insert_with(|| vec![0; PAGE as usize].into_boxed_slice());
            page[start..start + n].copy_from_slice(&data[done..done + n]);
            done += n;
        }
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.size.load(Ordering::Acquire))
    }

    fn grow(&self, from: u64, to: u64) -> io::Result<()> {
        lock(&self.pages).retain(|page, _| page * PAGE < from);
        self.size.fetch_max(to, Ordering::AcqRel);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_volatile_disk_loses_exactly_what_was_not_flushed(
            ops in proptest::collection::vec((0u64..60_000, 1usize..9000, any::<u8>(), any::<bool>()), 1..20)
        ) {
            let below = Arc::new(MemDisk::new(1 << 17));
            let disk = VolatileDisk::new(below.clone());
            let (mut live, mut durable) = (vec![0u8; 1 << 17], vec![0u8; 1 << 17]);
            for (offset, len, byte, flush) in ops {
                disk.write_at(offset, &vec![byte; len]).unwrap();
                live[offset as usize..offset as usize + len].fill(byte);
                if flush {
                    disk.flush().unwrap();
                    durable.copy_from_slice(&live);
                }
                let mut seen = vec![0; 1 << 17];
                disk.read_at(0, &mut seen).unwrap();
                prop_assert!(seen == live);
                below.read_at(0, &mut seen).unwrap();
                prop_assert!(seen == durable);
            }
        }
    }
}

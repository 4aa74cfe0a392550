//! The few things that the quorum's store asks of a file.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// One of the store's two files. All calls block. A test disk that keeps unflushed writes in memory
/// implements it as well as a real file does.
pub trait LogFile: Send + 'static {
    /// Length in bytes.
    fn len(&self) -> io::Result<u64>;
    /// Whether it has no bytes.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
    /// Fills `buf` from `offset`.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()>;
    /// Writes all of `data` at `offset`, within the length.
    fn write_at(&mut self, offset: u64, data: &[u8]) -> io::Result<()>;
    /// Returns when all writes are durable. After a failure the file is not used any more (R11).
    fn sync(&mut self) -> io::Result<()>;
    /// Makes the file `len` bytes long, with zeros, with its space really allocated and its length durable.
    fn reserve(&mut self, len: u64) -> io::Result<()>;
}

impl<F: LogFile + ?Sized> LogFile for Box<F> {
    fn len(&self) -> io::Result<u64> {
        (**self).len()
    }
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        (**self).read_at(offset, buf)
    }
    fn write_at(&mut self, offset: u64, data: &[u8]) -> io::Result<()> {
        (**self).write_at(offset, data)
    }
    fn sync(&mut self) -> io::Result<()> {
        (**self).sync()
    }
    fn reserve(&mut self, len: u64) -> io::Result<()> {
        (**self).reserve(len)
    }
}

/// A file of the operating system.
#[derive(Debug)]
pub struct OsFile(File);

impl OsFile {
    /// Creates an empty file; fails if it exists. The directory entry is durable on return.
    ///
    /// # Errors
    /// Whatever the file system says.
    pub fn create(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(path)?;
        file.sync_all()?;
        if let Some(dir) = path.parent() {
            File::open(dir)?.sync_all()?;
        }
        Ok(Self(file))
    }

    /// Opens an existing file.
    ///
    /// # Errors
    /// Whatever the file system says; a missing file is never created here (R7).
    pub fn open(path: &Path) -> io::Result<Self> {
        OpenOptions::new().read(true).write(true).open(path).map(Self)
    }
}

impl LogFile for OsFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(buf, offset)
    }

    fn write_at(&mut self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write_all_at(data, offset)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn reserve(&mut self, len: u64) -> io::Result<()> {
        allocate(&self.0, len)?;
        self.0.sync_all()
    }
}

#[cfg(target_os = "linux")]
fn allocate(file: &File, len: u64) -> io::Result<()> {
    let flags = rustix::fs::FallocateFlags::empty();
    match rustix::fs::fallocate(file, flags, 0, len) {
        Err(rustix::io::Errno::OPNOTSUPP) => fill(file, len),
        other => Ok(other?),
    }
}

#[cfg(not(target_os = "linux"))]
fn allocate(file: &File, len: u64) -> io::Result<()> {
    fill(file, len)
}

/// Allocates by writing zeros behind what is there.
fn fill(file: &File, len: u64) -> io::Result<()> {
    let zeros = [0; 64 * 1024];
    let mut at = file.metadata()?.len();
    while at < len {
        let n = usize::try_from(len - at).unwrap_or(usize::MAX).min(zeros.len());
        file.write_all_at(&zeros[..n], at)?;
        at += n as u64;
    }
    Ok(())
}

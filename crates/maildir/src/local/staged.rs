//! Files that are being written and that nobody sees yet.

use std::fs::File;
use std::io::{self, Write};
use std::time::SystemTime;

use rustix::fs::{self, AtFlags};

use super::LocalDir;
use super::at::{full_io, rename_noreplace, set_mtime};
use super::unnamed::give_name;

/// A file in `tmp`. Dropped unpublished, it is removed.
#[derive(Debug)]
pub struct LocalStaged {
    file: File,
    pub(super) tmp: LocalDir,
    /// In `tmp`; `None` if it has no name before it is published.
    name: Option<Vec<u8>>,
    modified: Option<SystemTime>,
    settled: bool,
    /// A flush failed: another one would claim success for what is gone.
    failed: bool,
    published: bool,
}

impl LocalStaged {
    pub(super) fn new(
        file: File,
        tmp: LocalDir,
        name: Option<Vec<u8>>,
        modified: Option<SystemTime>,
    ) -> Self {
        Self { file, tmp, name, modified, settled: false, failed: false, published: false }
    }

    /// Dates the file: the last thing before its content is flushed.
    pub(super) fn date(&self) -> io::Result<()> {
        self.modified.map_or(Ok(()), |time| set_mtime(&self.file, time))
    }

    /// Flushes the content, unless it is known to be on disk.
    pub(super) fn settle(&mut self) -> io::Result<()> {
        if self.failed {
            return Err(io::Error::other("the content could not be flushed"));
        }
        if !self.settled {
            self.date()?;
            let flushed = self.file.sync_all().map_err(full_io);
            (self.settled, self.failed) = (flushed.is_ok(), flushed.is_err());
            return flushed;
        }
        Ok(())
    }

    pub(super) fn is_settled(&self) -> bool {
        self.settled
    }

    /// The content is on disk, or need not be.
    pub(super) fn settled(&mut self) {
        self.settled = true;
    }

    /// Gives it the name under which all see it. The content is on disk by then.
    pub(super) fn publish(mut self, dir: &LocalDir, name: &[u8], nfs: bool) -> io::Result<()> {
        self.settle()?;
        match &self.name {
            Some(old) => rename_noreplace(&self.tmp.0.fd, old, &dir.0.fd, name, nfs)?,
            None => give_name(&self.file, dir, name)?,
        }
        self.published = true;
        Ok(())
    }
}

impl Write for LocalStaged {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.settled = false;
        self.file.write(bytes).map_err(full_io)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for LocalStaged {
    fn drop(&mut self) {
        if let Some(name) = self.name.as_ref().filter(|_| !self.published) {
            let _ = fs::unlinkat(&self.tmp.0.fd, &name[..], AtFlags::empty());
        }
    }
}

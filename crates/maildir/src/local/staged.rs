//! Files that are being written and that nobody sees yet.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::time::SystemTime;

use rustix::fs::{self, AtFlags};

use super::{LocalDir, full_io, rename_noreplace, set_mtime};

/// A file in `tmp`. Dropped unpublished, it is removed.
#[derive(Debug)]
pub struct LocalStaged {
    file: File,
    tmp: LocalDir,
    name: Vec<u8>,
    modified: Option<SystemTime>,
    published: bool,
}

impl LocalStaged {
    pub(super) fn new(file: File, tmp: LocalDir, name: &[u8], modified: Option<SystemTime>) -> Self {
        Self { file, tmp, name: name.to_vec(), modified, published: false }
    }

    /// Flushes the content, then renames: a name never stands for less than the whole.
    pub(super) fn publish(mut self, dir: &LocalDir, name: &[u8]) -> io::Result<()> {
        if let Some(time) = self.modified {
            set_mtime(&self.file, time)?;
        }
        self.file.sync_all().map_err(full_io)?;
        rename_noreplace(self.tmp.0.fd.as_fd(), &self.name, dir.0.fd.as_fd(), name)?;
        self.published = true;
        Ok(())
    }
}

impl Write for LocalStaged {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes).map_err(full_io)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for LocalStaged {
    fn drop(&mut self) {
        if !self.published {
            let _ = fs::unlinkat(&self.tmp.0.fd, &self.name[..], AtFlags::empty());
        }
    }
}

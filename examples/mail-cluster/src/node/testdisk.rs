//! The test disk for the quorum's log: unflushed writes stay in process memory, so that SIGKILL is a
//! power cut. (Volumes have theirs in `blockrepl`.)

use std::io;
use std::path::PathBuf;

use posthaste_heartbeat::raft::{LogFile, OsFile};

/// A file whose writes reach the system only when it is synced.
pub(crate) struct VolatileLog {
    file: OsFile,
    /// While there is such a file, the disk fails.
    broken: PathBuf,
    unsynced: Vec<(u64, Vec<u8>)>,
}

impl VolatileLog {
    /// Over an open file.
    pub(crate) fn new(file: OsFile, broken: PathBuf) -> Self {
        Self { file, broken, unsynced: Vec::new() }
    }
}

impl LogFile for VolatileLog {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.file.read_at(offset, buf)?;
        for (at, data) in &self.unsynced {
            overlay(offset, buf, *at, data);
        }
        Ok(())
    }

    fn write_at(&mut self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.unsynced.push((offset, data.to_vec()));
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        if self.broken.exists() {
            return Err(io::Error::other(format!("the test disk is broken: {}", self.broken.display())));
        }
        for (offset, data) in self.unsynced.drain(..) {
            self.file.write_at(offset, &data)?;
        }
        self.file.sync()
    }

    fn reserve(&mut self, len: u64) -> io::Result<()> {
        self.file.reserve(len)
    }
}

/// Lays the part of `data` (which begins at `at`) that meets `buf` (which begins at `offset`) over it.
fn overlay(offset: u64, buf: &mut [u8], at: u64, data: &[u8]) {
    let from = offset.max(at);
    let to = (offset + buf.len() as u64).min(at + data.len() as u64);
    if from < to {
        let (target, source) = ((from - offset) as usize, (from - at) as usize);
        let len = (to - from) as usize;
        buf[target..target + len].copy_from_slice(&data[source..source + len]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_synced_is_seen_by_the_process_and_not_by_the_disk() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut log = VolatileLog::new(OsFile::create(&path).unwrap(), dir.path().join("broken"));
        log.reserve(16).unwrap();
        log.write_at(4, b"abcd").unwrap();
        log.write_at(6, b"XY").unwrap();
        let mut seen = [0; 8];
        log.read_at(2, &mut seen).unwrap();
        assert_eq!(&seen, b"\0\0abXY\0\0");
        assert_eq!(std::fs::read(&path).unwrap(), [0; 16]);
        std::fs::write(dir.path().join("broken"), "").unwrap();
        assert!(log.sync().is_err());
        std::fs::remove_file(dir.path().join("broken")).unwrap();
        log.sync().unwrap();
        assert_eq!(&std::fs::read(&path).unwrap()[4..8], b"abXY");
    }
}

//! An open directory, and the files that are made in it.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{self, Mode, OFlags};

/// An open directory.
#[derive(Debug, Clone)]
pub struct LocalDir(pub(super) Arc<OpenDir>);

#[derive(Debug)]
pub(super) struct OpenDir {
    pub(super) fd: OwnedFd,
    pub(super) dev: u64,
    pub(super) ino: u64,
    mode: Mode,
    gid: u32,
    /// Do files get the directory's mode and group without our help?
    plain: bool,
}

/// Counts the changes that this process made, per directory (several may share a counter: then
/// one's change looks like the other's, and a scan is done for nothing).
static GENERATIONS: [AtomicU64; 4096] = [const { AtomicU64::new(0) }; 4096];

/// What the umask may take away.
const OTHERS: u32 = 0o066;

impl LocalDir {
    pub(super) fn open(fd: OwnedFd) -> io::Result<Self> {
        let stat = fs::fstat(&fd)?;
        let mode = Mode::from_raw_mode(stat.st_mode & 0o666);
        let inherited = stat.st_gid == rustix::process::getegid().as_raw()
            || Mode::from_raw_mode(stat.st_mode).contains(Mode::SGID);
        let plain = inherited && stat.st_mode & OTHERS == 0;
        Ok(Self(Arc::new(OpenDir { dev: stat.st_dev, ino: stat.st_ino, gid: stat.st_gid, mode, plain, fd })))
    }

    fn counter(&self) -> &'static AtomicU64 {
        let slot = (self.0.ino ^ self.0.dev.rotate_left(32)) % GENERATIONS.len() as u64;
        &GENERATIONS[slot as usize]
    }

    /// Must come after the change: a scan that misses the change then carries the older number.
    pub(super) fn changed(&self) {
        self.counter().fetch_add(1, Ordering::SeqCst);
    }

    pub(super) fn generation(&self) -> u64 {
        self.counter().load(Ordering::SeqCst)
    }

    /// Makes a file with the directory's mode and group; `.` and the flag for it make one without
    /// a name.
    pub(super) fn create(&self, name: &[u8], flags: OFlags) -> io::Result<File> {
        self.make(name, flags | OFlags::CREATE | OFlags::NOFOLLOW)
    }

    pub(super) fn make(&self, name: &[u8], flags: OFlags) -> io::Result<File> {
        let fd = fs::openat(&self.0.fd, name, flags | OFlags::CLOEXEC, self.0.mode)?;
        if !self.0.plain {
            self.adopt(&fd)?;
        }
        Ok(File::from(fd))
    }

    fn adopt(&self, fd: &OwnedFd) -> io::Result<()> {
        let (mode, gid) = mode_and_group(fd)?;
        if mode != self.0.mode {
            fs::fchmod(fd, self.0.mode)?;
        }
        if gid != self.0.gid {
            // Not ours to give away: the file is then as private as the process makes it.
            let _ = fs::fchown(fd, None, Some(fs::Gid::from_raw(self.0.gid)));
        }
        Ok(())
    }
}

/// Nothing else is asked for: who has looked at a file's times makes its next change dearer, since
/// that must then get a time of its own (Linux 6.13).
#[cfg(target_os = "linux")]
fn mode_and_group(fd: &OwnedFd) -> io::Result<(Mode, u32)> {
    let wanted = fs::StatxFlags::MODE | fs::StatxFlags::GID;
    let found = fs::statx(fd, c"", fs::AtFlags::EMPTY_PATH, wanted)?;
    Ok((Mode::from_raw_mode(u32::from(found.stx_mode) & 0o666), found.stx_gid))
}

#[cfg(not(target_os = "linux"))]
fn mode_and_group(fd: &OwnedFd) -> io::Result<(Mode, u32)> {
    let stat = fs::fstat(fd)?;
    Ok((Mode::from_raw_mode(stat.st_mode & 0o666), stat.st_gid))
}

//! System calls on directory descriptors: nothing follows links, and errors are the store's.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

#[cfg(target_os = "linux")]
use rustix::fs::RenameFlags;
use rustix::fs::{self, AtFlags, FileType, Mode, OFlags, Stat, Timespec, Timestamps};
use rustix::io::Errno;

pub(super) const DIR_FLAGS: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// How much of a directory is read at a time.
#[cfg(target_os = "linux")]
const SCAN_BYTES: usize = 128 << 10;

pub(super) fn components(path: &[u8]) -> impl Iterator<Item = io::Result<&[u8]>> {
    let all = path.split(|b| *b == b'/').map(|name| check_name(name).map(|()| name));
    all.take(if path.is_empty() { 0 } else { usize::MAX })
}

pub(super) fn check_name(name: &[u8]) -> io::Result<()> {
    let bad = matches!(name, b"" | b"." | b"..") || name.iter().any(|b| matches!(b, b'/' | 0));
    if bad { Err(io::ErrorKind::InvalidInput.into()) } else { Ok(()) }
}

/// Opens a directory and never a link to one.
pub(super) fn open_subdir(dir: &OwnedFd, name: &[u8]) -> io::Result<OwnedFd> {
    Ok(fs::openat(dir, name, DIR_FLAGS, Mode::empty())?)
}

pub(super) fn file_type(dir: &OwnedFd, entry: &fs::DirEntry) -> io::Result<FileType> {
    match entry.file_type() {
        FileType::Unknown => match fs::statat(dir, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(FileType::from_raw_mode(stat.st_mode)),
            Err(Errno::NOENT) => Ok(FileType::Unknown),
            Err(e) => Err(e.into()),
        },
        known => Ok(known),
    }
}

pub(super) fn remove_tree(parent: &OwnedFd, name: &[u8]) -> io::Result<()> {
    let dir = open_subdir(parent, name)?;
    for entry in fs::Dir::read_from(&dir)? {
        let entry = entry?;
        let child = entry.file_name().to_bytes();
        if matches!(child, b"." | b"..") {
            continue;
        }
        match file_type(&dir, &entry)? {
            FileType::Directory => remove_tree(&dir, child)?,
            _ => gone_is_fine(fs::unlinkat(&dir, child, AtFlags::empty()))?,
        }
    }
    gone_is_fine(fs::unlinkat(parent, name, AtFlags::REMOVEDIR))
}

pub(super) fn gone_is_fine(result: Result<(), Errno>) -> io::Result<()> {
    match result {
        Err(Errno::NOENT) | Ok(()) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

/// Renames without replacing. File systems that cannot (NFS) get a check before a plain rename:
/// Maildir names are unique by construction, so nobody makes the target in between.
///
/// On NFS the answer to a rename that was done may be lost, and its repetition finds nothing: with
/// `replayed`, a target that appeared counts as ours.
pub(super) fn rename_noreplace(
    from: &OwnedFd,
    old: &[u8],
    to: &OwnedFd,
    new: &[u8],
    replayed: bool,
) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    match fs::renameat_with(from, old, to, new, RenameFlags::NOREPLACE) {
        Err(Errno::INVAL | Errno::NOSYS) => {}
        other => return other.map_err(full),
    }
    match stat(to, new) {
        Ok(_) => return Err(io::ErrorKind::AlreadyExists.into()),
        Err(Errno::NOENT) => {}
        Err(e) => return Err(e.into()),
    }
    match fs::renameat(from, old, to, new) {
        Err(Errno::NOENT) if replayed && stat(to, new).is_ok() => Ok(()),
        other => other.map_err(full),
    }
}

/// Links without replacing. (An answer that NFS lost looks like a name that is taken: who links
/// to a name that is nobody else's removes it and tries again.)
pub(super) fn link(from: &OwnedFd, old: &[u8], to: &OwnedFd, new: &[u8]) -> io::Result<()> {
    match fs::linkat(from, old, to, new, AtFlags::empty()) {
        Err(Errno::XDEV | Errno::MLINK | Errno::PERM) => Err(io::ErrorKind::Unsupported.into()),
        other => other.map_err(full),
    }
}

/// A file's facts; of a link, the link's.
pub(super) fn stat(dir: &OwnedFd, name: &[u8]) -> Result<Stat, Errno> {
    fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)
}

/// Calls `each` for every regular file in the directory. Allocates once.
#[cfg(target_os = "linux")]
pub(super) fn each_file(dir: &OwnedFd, each: &mut dyn FnMut(&[u8])) -> io::Result<()> {
    // A descriptor of its own: its position in the directory is nobody else's.
    let fd = fs::openat(dir, c".", DIR_FLAGS, Mode::empty())?;
    let mut buffer = Vec::with_capacity(SCAN_BYTES);
    let mut entries = fs::RawDir::new(&fd, buffer.spare_capacity_mut());
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let regular = match entry.file_type() {
            FileType::Unknown => is_file(dir, entry.file_name().to_bytes())?,
            known => known == FileType::RegularFile,
        };
        if regular {
            each(entry.file_name().to_bytes());
        }
    }
    Ok(())
}

/// Calls `each` for every regular file in the directory.
#[cfg(not(target_os = "linux"))]
pub(super) fn each_file(dir: &OwnedFd, each: &mut dyn FnMut(&[u8])) -> io::Result<()> {
    for entry in fs::Dir::read_from(dir)? {
        let entry = entry?;
        if file_type(dir, &entry)? == FileType::RegularFile {
            each(entry.file_name().to_bytes());
        }
    }
    Ok(())
}

#[cfg(target_os = "linux")]
fn is_file(dir: &OwnedFd, name: &[u8]) -> io::Result<bool> {
    match stat(dir, name) {
        Ok(stat) => Ok(FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile),
        Err(Errno::NOENT) => Ok(false),
        Err(e) => Err(e.into()),
    }
}

pub(super) fn set_mtime(file: &File, time: SystemTime) -> io::Result<()> {
    let (tv_sec, tv_nsec) = match time.duration_since(UNIX_EPOCH) {
        Ok(after) => (after.as_secs() as i64, i64::from(after.subsec_nanos())),
        Err(before) => (-(before.duration().as_secs() as i64), 0),
    };
    let time = Timespec { tv_sec, tv_nsec };
    Ok(fs::futimens(file, &Timestamps { last_access: time, last_modification: time })?)
}

/// Notes that the directory was looked at.
pub(super) fn set_atime(dir: &OwnedFd, time: SystemTime) -> io::Result<()> {
    let secs = time.duration_since(UNIX_EPOCH).map_or(0, |after| after.as_secs());
    let last_access = Timespec { tv_sec: secs as i64, tv_nsec: 0 };
    let last_modification = Timespec { tv_sec: 0, tv_nsec: fs::UTIME_OMIT };
    Ok(fs::futimens(dir, &Timestamps { last_access, last_modification })?)
}

pub(super) fn system_time(secs: i64, nanos: u32) -> SystemTime {
    let offset = Duration::from_secs(secs.unsigned_abs());
    let whole = if secs < 0 { UNIX_EPOCH.checked_sub(offset) } else { UNIX_EPOCH.checked_add(offset) };
    whole.and_then(|t| t.checked_add(Duration::from_nanos(nanos.into()))).unwrap_or(UNIX_EPOCH)
}

pub(super) fn mtime_ns(stat: &Stat) -> i128 {
    i128::from(stat.st_mtime) * 1_000_000_000 + i128::from(stat.st_mtime_nsec)
}

/// A quota that is used up is a full store.
pub(super) fn full(e: Errno) -> io::Error {
    full_io(e.into())
}

pub(super) fn full_io(e: io::Error) -> io::Error {
    match e.kind() {
        io::ErrorKind::QuotaExceeded => io::Error::new(io::ErrorKind::StorageFull, e),
        _ => e,
    }
}

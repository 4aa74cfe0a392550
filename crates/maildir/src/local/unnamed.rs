//! Files that are made without a name and get one when they are complete (`O_TMPFILE`): nothing of
//! a writer that dies stays, and the directory is touched once instead of twice.

use std::fs::File;
use std::io;
use std::sync::OnceLock;

use super::LocalDir;

/// Whether such files can be made, found out with the first.
#[derive(Debug)]
pub(super) struct Unnamed(OnceLock<bool>);

impl Unnamed {
    pub(super) fn new(allowed: bool) -> Self {
        let known = OnceLock::new();
        if !allowed || cfg!(not(target_os = "linux")) {
            let _ = known.set(false);
        }
        Self(known)
    }

    /// As far as is known.
    pub(super) fn is_possible(&self) -> bool {
        *self.0.get().unwrap_or(&true)
    }
}

#[cfg(not(target_os = "linux"))]
impl Unnamed {
    pub(super) fn make(&self, _tmp: &LocalDir) -> io::Result<Option<File>> {
        Ok(None)
    }
}

#[cfg(not(target_os = "linux"))]
pub(super) fn give_name(_file: &File, _dir: &LocalDir, _name: &[u8]) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(target_os = "linux")]
pub(super) use linux::give_name;

#[cfg(target_os = "linux")]
mod linux {
    use std::os::fd::AsRawFd;

    use rustix::fs::{self, AtFlags, CWD, OFlags};
    use rustix::io::Errno;

    use super::*;
    use crate::local::at::full;

    impl Unnamed {
        /// A file without a name on the file system of `tmp`; `None` where there are none.
        pub(in crate::local) fn make(&self, tmp: &LocalDir) -> io::Result<Option<File>> {
            match *self.0.get_or_init(|| can_be_named(tmp)) {
                true => open(tmp),
                false => Ok(None),
            }
        }
    }

    fn open(tmp: &LocalDir) -> io::Result<Option<File>> {
        let made = tmp.make(b".", OFlags::WRONLY | OFlags::TMPFILE);
        match made.as_ref().map_err(Errno::from_io_error) {
            // The file system has none.
            Err(Some(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL | Errno::NOENT)) => Ok(None),
            _ => made.map(Some),
        }
    }

    /// Makes one, and sees whether the process may link it. (What was linked and removed again
    /// cannot be linked once more: it is of no further use.)
    fn can_be_named(tmp: &LocalDir) -> bool {
        let Ok(Some(file)) = open(tmp) else { return false };
        let name = format!("posthaste-unnamed.{}.{:016x}", std::process::id(), rand::random::<u64>());
        let linked = give_name(&file, tmp, name.as_bytes());
        let _ = fs::unlinkat(&tmp.0.fd, &name, AtFlags::empty());
        linked.is_ok()
    }

    /// Names a file that has no name yet; `AlreadyExists` if the name is taken.
    pub(in crate::local) fn give_name(file: &File, dir: &LocalDir, name: &[u8]) -> io::Result<()> {
        match fs::linkat(file, c"", &dir.0.fd, name, AtFlags::EMPTY_PATH) {
            // By descriptor only with a privilege (or, since 6.10, with what it was opened with).
            Err(Errno::NOENT) => {
                let path = format!("/proc/self/fd/{}", file.as_raw_fd());
                fs::linkat(CWD, path, &dir.0.fd, name, AtFlags::SYMLINK_FOLLOW).map_err(full)
            }
            other => other.map_err(full),
        }
    }
}

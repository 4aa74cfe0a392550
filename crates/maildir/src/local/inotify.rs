//! Changes of directories, as the kernel tells them. Linux only; elsewhere callers poll.

use std::io;
use std::time::Duration;

use super::LocalDir;

#[cfg(target_os = "linux")]
pub(super) use linux::Inotify;
#[cfg(not(target_os = "linux"))]
pub(super) use other::Inotify;

#[cfg(target_os = "linux")]
mod linux {
    use std::mem::MaybeUninit;
    use std::os::fd::{AsRawFd, OwnedFd};

    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
    use rustix::io::Errno;

    use super::{Duration, LocalDir, io};

    /// An inotify descriptor that watches directories.
    #[derive(Debug)]
    pub(in crate::local) struct Inotify(OwnedFd);

    impl Inotify {
        /// Watches for names that appear, go, or are renamed.
        pub(in crate::local) fn names(dirs: &[&LocalDir]) -> io::Result<Self> {
            let fd = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
            let what = WatchFlags::CREATE
                | WatchFlags::DELETE
                | WatchFlags::MOVED_FROM
                | WatchFlags::MOVED_TO
                | WatchFlags::DELETE_SELF
                | WatchFlags::ONLYDIR;
            for dir in dirs {
                // By descriptor: the path may lead elsewhere by now.
                let path = format!("/proc/self/fd/{}", dir.0.fd.as_raw_fd());
                inotify::add_watch(&fd, path.as_str(), what)?;
            }
            Ok(Self(fd))
        }

        /// Waits for a change; true if there was one. All changes that are known are taken.
        pub(in crate::local) fn wait(&self, timeout: Duration) -> io::Result<bool> {
            let deadline = std::time::Instant::now() + timeout;
            loop {
                let left = deadline.saturating_duration_since(std::time::Instant::now());
                let left =
                    Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) };
                match poll(&mut [PollFd::new(&self.0, PollFlags::IN)], Some(&left)) {
                    Ok(0) => return Ok(false),
                    Ok(_) => return self.drain().map(|()| true),
                    Err(Errno::INTR) => {}
                    Err(e) => return Err(e.into()),
                }
            }
        }

        fn drain(&self) -> io::Result<()> {
            let mut buffer = [MaybeUninit::<u8>::uninit(); 4096];
            let mut reader = inotify::Reader::new(&self.0, &mut buffer);
            loop {
                match reader.next() {
                    Ok(_) => {}
                    Err(Errno::AGAIN) => return Ok(()),
                    Err(Errno::INTR) => {}
                    Err(e) => return Err(e.into()),
                }
            }
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod other {
    use super::{Duration, LocalDir, io};

    #[derive(Debug)]
    pub(in crate::local) enum Inotify {}

    impl Inotify {
        pub(in crate::local) fn names(_: &[&LocalDir]) -> io::Result<Self> {
            Err(io::ErrorKind::Unsupported.into())
        }

        pub(in crate::local) fn wait(&self, _: Duration) -> io::Result<bool> {
            match *self {}
        }
    }
}

impl crate::store::Watch for Inotify {
    fn wait(&mut self, timeout: Duration) -> io::Result<bool> {
        Self::wait(self, timeout)
    }
}

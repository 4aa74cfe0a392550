//! The system calls themselves: what no library can beat.

use std::fs::File;
use std::io::Write;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{self, Mode, OFlags, RawDir};

pub(crate) fn message() -> Vec<u8> {
    let mut message = b"From: a@example.org\r\nSubject: benchmark\r\n\r\n".to_vec();
    while message.len() < 8192 {
        message.extend_from_slice(
            b"A line of text, as long as lines of text are in most of the mail there is.\r\n",
        );
    }
    message.truncate(8190);
    message.extend_from_slice(b"\r\n");
    message
}

pub(crate) fn maildir(path: &Path) {
    for sub in ["new", "cur", "tmp"] {
        std::fs::create_dir_all(path.join(sub)).unwrap();
    }
}

pub(crate) fn dir(path: &Path) -> OwnedFd {
    fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).unwrap()
}

/// A file as a delivery makes it, in `tmp`.
pub(crate) fn write(tmp: &OwnedFd, name: &str, content: &[u8]) -> File {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut file = File::from(fs::openat(tmp, name, flags, Mode::from_raw_mode(0o600)).unwrap());
    file.write_all(content).unwrap();
    file
}

pub(crate) fn name(n: usize) -> String {
    format!("1790000000.M{:06}P12345Q{n}R0123456789abcdef.host,S=8192,W=8192", n % 1_000_000)
}

/// Reads a directory, in pieces of 128 KiB; returns how many entries there were.
pub(crate) fn list(dir: &Path) -> usize {
    let fd = self::dir(dir);
    let mut buffer = vec![MaybeUninit::uninit(); 128 << 10];
    let mut entries = RawDir::new(&fd, &mut buffer);
    let mut count = 0;
    while let Some(entry) = entries.next() {
        std::hint::black_box(entry.unwrap().file_name());
        count += 1;
    }
    count
}

/// Empty files that are messages by their names; their uidlist is made by whoever opens them.
pub(crate) fn fill(path: &Path, count: usize) {
    let cur = dir(&path.join("cur"));
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::CLOEXEC;
    for n in 0..count {
        let name = format!("{}:2,S", name(n));
        fs::openat(&cur, &name[..], flags, Mode::from_raw_mode(0o600)).unwrap();
    }
}

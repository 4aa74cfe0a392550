//! The raw disk: what a flush costs with no mail server in the way, and what the device was given.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The size of what is written each time: that of the benchmark's messages.
pub(super) const BYTES: usize = 8 * 1024;

/// The file that [`fdatasync_rate`] writes round and round, in blocks of [`BYTES`].
const RING_BLOCKS: u64 = 2_048;

/// How often a second 8 KiB can be written into a preallocated file and made durable by
/// `fdatasync`, one after the other, for `time`.
///
/// # Errors
/// The file system's own.
pub(super) fn fdatasync_rate(dir: &Path, time: Duration) -> io::Result<f64> {
    let file = OpenOptions::new().create(true).truncate(true).write(true).open(dir.join("fdatasync"))?;
    let block = [0x5a; BYTES];
    for at in 0..RING_BLOCKS {
        file.write_all_at(&block, at * BYTES as u64)?;
    }
    file.sync_all()?;
    let mut at = 0;
    rate(time, || {
        file.write_all_at(&block, at % RING_BLOCKS * BYTES as u64)?;
        at += 1;
        file.sync_data()
    })
}

/// How often a second a file of 8 KiB can be published as Maildir wants it: write under a
/// temporary name, `fdatasync`, rename, `fsync` of the directory.
///
/// # Errors
/// The file system's own.
pub(super) fn publish_rate(dir: &Path, time: Duration) -> io::Result<f64> {
    let (tmp, new) = (dir.join("raw-tmp"), dir.join("raw-new"));
    std::fs::create_dir_all(&tmp)?;
    std::fs::create_dir_all(&new)?;
    let directory = File::open(&new)?;
    let block = [0x5a; BYTES];
    let mut number = 0u64;
    let measured = rate(time, || {
        let name = number.to_string();
        number += 1;
        let file = File::create(tmp.join(&name))?;
        file.write_all_at(&block, 0)?;
        file.sync_data()?;
        std::fs::rename(tmp.join(&name), new.join(&name))?;
        directory.sync_all()
    });
    std::fs::remove_dir_all(&new)?;
    std::fs::remove_dir_all(&tmp)?;
    measured
}

/// The block device below a directory, whoever writes to it.
#[derive(Debug, Clone)]
pub(super) struct Device(PathBuf);

impl Device {
    /// `None` where there is no such thing, or the kernel does not tell: tmpfs, overlays, network file
    /// systems.
    pub(super) fn below(dir: &Path) -> Option<Self> {
        let id = std::fs::metadata(dir).ok()?.dev();
        let (major, minor) = (rustix::fs::major(id), rustix::fs::minor(id));
        let device = Self(format!("/sys/dev/block/{major}:{minor}/stat").into());
        device.written().map(|_| device)
    }

    /// Bytes written to it since the system started.
    pub(super) fn written(&self) -> Option<u64> {
        const SECTORS_WRITTEN: usize = 6;
        let text = std::fs::read_to_string(&self.0).ok()?;
        let sectors: u64 = text.split_whitespace().nth(SECTORS_WRITTEN)?.parse().ok()?;
        Some(sectors * 512)
    }
}

/// How often a second `act` can be done.
fn rate(time: Duration, mut act: impl FnMut() -> io::Result<()>) -> io::Result<f64> {
    let started = Instant::now();
    let mut count = 0u32;
    while started.elapsed() < time {
        act()?;
        count += 1;
    }
    Ok(f64::from(count) / started.elapsed().as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_rates_are_measured_and_nothing_is_left_but_the_ring() {
        let dir = tempfile::tempdir().unwrap();
        let time = Duration::from_millis(20);
        assert!(fdatasync_rate(dir.path(), time).unwrap() > 0.0);
        assert!(publish_rate(dir.path(), time).unwrap() > 0.0);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}

//! Several writes by one call of `io_uring`.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::sync::Mutex;
use std::time::Duration;

use io_uring::{IoUring, opcode, types};

use crate::disk::lock;

/// Writes given to the kernel at once.
const DEPTH: usize = 32;

/// Rings that nobody uses now; each call has one to itself.
pub(in crate::disk) struct Rings(Mutex<Vec<IoUring>>);

impl std::fmt::Debug for Rings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Rings")
    }
}

impl Rings {
    /// `None` where the kernel has no `io_uring`, or does not let us.
    pub(in crate::disk) fn new(_: &File) -> Option<Self> {
        let ring = IoUring::new(DEPTH as u32).ok()?;
        Some(Rings(Mutex::new(vec![ring])))
    }

    /// Writes all ranges; returns when each is written or has failed.
    pub(in crate::disk) fn write_many(&self, file: &File, writes: &[(u64, &[u8])]) -> io::Result<()> {
        for some in writes.chunks(DEPTH) {
            let kept = lock(&self.0).pop();
            let mut ring = kept.map_or_else(|| IoUring::new(DEPTH as u32), Ok)?;
            let result = write_some(&mut ring, file, some);
            // One that is out of step is closed instead.
            if result.is_ok() {
                lock(&self.0).push(ring);
            }
            result?;
        }
        Ok(())
    }
}

/// At most [`DEPTH`] writes. When it returns, the kernel reads none of the buffers any more.
fn write_some(ring: &mut IoUring, file: &File, writes: &[(u64, &[u8])]) -> io::Result<()> {
    let fd = types::Fd(file.as_raw_fd());
    for (i, (offset, data)) in writes.iter().enumerate() {
        let entry = opcode::Write::new(fd, data.as_ptr(), data.len() as u32).offset(*offset).build();
        // SAFETY: the buffer and the file are borrowed until this function returns, and it returns only when the kernel
        // has completed each entry that it took. Entries that it did not take die with the ring.
        let pushed = unsafe { ring.submission().push(&entry.user_data(i as u64)) };
        debug_assert!(pushed.is_ok(), "the ring has room for {DEPTH}");
    }
    let mut results = [None; DEPTH];
    let mut left = writes.len();
    let mut failed = None;
    while left > 0 {
        if failed.is_some() {
            // The call cannot wait for us; what the kernel has taken still ends.
            let untaken = ring.submission().len();
            if untaken >= left {
                break;
            }
            std::thread::sleep(Duration::from_millis(1));
        } else if let Err(e) = ring.submit_and_wait(left)
            && e.kind() != io::ErrorKind::Interrupted
        {
            failed = Some(e);
        }
        for entry in ring.completion() {
            results[entry.user_data() as usize] = Some(entry.result());
            left -= 1;
        }
    }
    if let Some(e) = failed {
        return Err(e);
    }
    results.iter().zip(writes).try_for_each(|(result, (offset, data))| match result.unwrap_or(0) {
        errno if errno < 0 => Err(io::Error::from_raw_os_error(-errno)),
        // Short, as any write may be.
        written => file.write_all_at(&data[written as usize..], offset + written as u64),
    })
}

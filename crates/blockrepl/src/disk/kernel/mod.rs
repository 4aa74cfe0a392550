//! What neither the standard library nor rustix wraps: the only unsafe code of this crate.
#![allow(unsafe_code)]

#[cfg(feature = "io-uring")]
pub(super) mod uring;

use std::fs::File;
use std::ops::Range;

/// Asks the system to begin writing a range from the page cache to the disk, and does not wait for it. A hint: nothing is durable
/// by it, a flush is as necessary as before, and an error of the disk is for the flush to report.
#[cfg(target_os = "linux")]
pub(super) fn begin_writeback(file: &File, range: Range<u64>) {
    use std::os::fd::AsRawFd;

    let (offset, len) = (range.start as libc::off64_t, (range.end - range.start) as libc::off64_t);
    // SAFETY: the descriptor is open for as long as `file` is borrowed, and the call touches no memory of ours.
    unsafe { libc::sync_file_range(file.as_raw_fd(), offset, len, libc::SYNC_FILE_RANGE_WRITE) };
}

#[cfg(not(target_os = "linux"))]
pub(super) fn begin_writeback(_: &File, _: Range<u64>) {}

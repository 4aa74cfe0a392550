//! R11: a failed flush is never tried again.

use super::Verdict;

/// A replica begins a flush of a disk.
pub fn flushes(node: usize, volume: usize, has_failed: bool) -> Verdict {
    match has_failed {
        true => Err(format!("node {node} flushes a disk of vol{volume} again, after it had failed")),
        false => Ok(()),
    }
}

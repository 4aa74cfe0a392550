//! Replicas are byte-identical once quiet, in the cache and on the disk.

use super::Verdict;
use crate::disk::Disk;

/// Compares the two copies of a volume; with `opens` also what is on the disks below the caches.
pub fn identical(volume: usize, copies: [&Disk; 2], opens: bool) -> Verdict {
    let [a, b] = copies;
    let pairs = [
        (&a.live, &b.live, "the copies"),
        (&a.live, &a.durable, "cache and disk of copy 0"),
        (&b.live, &b.durable, "cache and disk of copy 1"),
    ];
    for (one, other, what) in pairs.into_iter().take(if opens { 3 } else { 1 }) {
        if let Some(at) = one.difference(other) {
            return Err(format!("vol{volume}: {what} differ at byte {at}, all quiet"));
        }
    }
    Ok(())
}

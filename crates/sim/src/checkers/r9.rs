//! R9: an inconsistent replica is never opened, and the mark outlives a crash.

use posthaste_blockrepl::core::Status;

use super::Verdict;

/// A replica was opened for a leader.
pub fn leads(node: usize, volume: usize, status: &Status) -> Verdict {
    match status.consistent {
        true => Ok(()),
        false => Err(format!("node {node} leads vol{volume} in the midst of a resync")),
    }
}

//! R7: voters remember. Were a voter without its memory counted, a commit could be undone.

use super::Verdict;

/// A new leader of the quorum holds all that was ever committed.
pub fn keeps_committed(kept: bool, leader: usize) -> Verdict {
    match kept {
        true => Ok(()),
        false => Err(format!("the quorum's new leader {leader} lacks a committed command")),
    }
}

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

/// Which copies were written to in the midst of a resync, and not finished since.
#[derive(Debug, Default)]
pub struct Marks([[bool; 2]; 2]);

impl Marks {
    /// A replica writes to its data.
    pub fn writes(&mut self, node: usize, volume: usize, consistent: bool) {
        self.0[node][volume] = !consistent;
    }

    /// Whether a copy is half overwritten.
    pub fn is_half(&self, node: usize, volume: usize) -> bool {
        self.0[node][volume]
    }

    /// A replica is whole again, and is about to say so on its disk.
    pub fn is_whole(&mut self, node: usize, volume: usize) {
        self.0[node][volume] = false;
    }

    /// A replica starts from its disk.
    pub fn starts(&self, node: usize, volume: usize, status: &Status) -> Verdict {
        match self.0[node][volume] && status.consistent {
            true => Err(format!("node {node} starts vol{volume} as whole, it was in the midst of a resync")),
            false => Ok(()),
        }
    }
}

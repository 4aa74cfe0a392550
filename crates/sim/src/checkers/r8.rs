//! R8: who reaches no majority of the voters acknowledges nothing, once its lease has ended.

use super::Verdict;
use crate::NODES;
use crate::world::MS;

/// A lease, from the sending of the renewal, is shorter than this on any clock.
const LEASE: u64 = 700 * MS;
/// A renewal that was sent before a break may be answered after it: at most so late.
const ON_ITS_WAY: u64 = 300 * MS;

/// When each node was last within reach of a majority, itself included.
#[derive(Debug, Default)]
pub struct Majorities {
    /// `passed[a][b]`: when a message from a could last leave for b.
    passed: [[u64; NODES]; NODES],
    ran: [u64; NODES],
    majority: [u64; NODES],
}

impl Majorities {
    /// How things are now: which processes run, and what passes between them.
    pub fn sees(&mut self, now: u64, runs: [bool; NODES], passes: impl Fn(usize, usize) -> bool) {
        for a in (0..NODES).filter(|a| runs[*a]) {
            self.ran[a] = now;
            (0..NODES).filter(|b| passes(a, *b)).for_each(|b| self.passed[a][b] = now);
        }
        let lately = |at: u64| now.saturating_sub(at) <= ON_ITS_WAY;
        for n in 0..NODES {
            let reaches = |v: &usize| lately(self.passed[n][*v]) && lately(self.passed[*v][n]);
            let voters = (0..NODES).filter(|v| lately(self.ran[*v]) && (*v == n || reaches(v))).count();
            if voters > NODES / 2 {
                self.majority[n] = now;
            }
        }
    }

    /// A node acknowledges.
    pub fn acknowledges(&self, node: usize, now: u64) -> Verdict {
        let since = now.saturating_sub(self.majority[node]);
        match since > LEASE {
            true => Err(format!("node {node} acknowledges {} ms after its last majority", since / MS)),
            false => Ok(()),
        }
    }
}

//! R6: one cut, one fence, one survivor.

use posthaste_heartbeat::state::{Command, State};

use super::Verdict;

/// Counts the fences of one cut with which no other fault overlaps.
#[derive(Debug, Default)]
pub struct Cut {
    pure: bool,
    fences: u32,
}

impl Cut {
    /// A cut begins with the cluster whole.
    pub fn begins(&mut self) {
        *self = Self { pure: true, fences: 0 };
    }

    /// Another fault, or the end of the cut.
    pub fn ends(&mut self) {
        self.pure = false;
    }

    /// Whether a cut without any other fault is on, and one fence has decided it.
    pub fn is_decided(&self) -> bool {
        self.pure && self.fences == 1
    }

    /// A command was committed and not refused.
    pub fn committed(&mut self, command: &Command, after: &State) -> Verdict {
        if !matches!(command, Command::Fence { .. }) {
            return Ok(());
        }
        if after.up_nodes().next().is_none() {
            return Err("a fence left no node in".to_owned());
        }
        self.fences += 1;
        match self.pure && self.fences > 1 {
            true => Err(format!("{} fences in one cut", self.fences)),
            false => Ok(()),
        }
    }

    /// The end of a pure cut that lasted long enough: one node has it all.
    pub fn one_survivor(&self, serving: &[Vec<usize>]) -> Verdict {
        let first = serving.first().and_then(|s| s.first());
        match self.pure && serving.iter().any(|s| s.first() != first || s.len() != 1) {
            true => Err(format!("no single survivor of the cut: {serving:?}")),
            false => Ok(()),
        }
    }
}

//! R4: once a replica has reported an epoch, lower ones are over there for ever.

use super::Verdict;

/// The highest epochs that were reported.
#[derive(Debug, Default)]
pub struct Epochs {
    /// For each node and volume: raised, durably.
    raised: [[u64; 2]; 2],
    /// For each volume: opened by anybody.
    opened: [u64; 2],
}

impl Epochs {
    /// A replica reports that its epoch is durable.
    pub fn raised(&mut self, node: usize, volume: usize, epoch: u64) -> Verdict {
        let held = &mut self.raised[node][volume];
        if epoch < *held {
            return Err(format!("node {node} reports epoch {epoch} of vol{volume} after {held}"));
        }
        *held = epoch;
        Ok(())
    }

    /// A replica starts with this epoch from its disk.
    pub fn starts(&self, node: usize, volume: usize, epoch: u64) -> Verdict {
        let held = self.raised[node][volume];
        match epoch < held {
            true => Err(format!("node {node} starts vol{volume} in epoch {epoch}, it had reported {held}")),
            false => Ok(()),
        }
    }

    /// A replica answers a leader that began in `epoch`.
    pub fn answers(&self, node: usize, volume: usize, epoch: u64) -> Verdict {
        let held = self.raised[node][volume];
        match epoch < held {
            true => {
                Err(format!("node {node} serves epoch {epoch} of vol{volume} after it had raised {held}"))
            }
            false => Ok(()),
        }
    }

    /// Whether a later leader has opened the volume.
    pub fn is_over(&self, volume: usize, epoch: u64) -> bool {
        epoch < self.opened[volume]
    }

    /// A leader has opened the volume.
    pub fn opened(&mut self, node: usize, volume: usize, epoch: u64) -> Verdict {
        let raised = self.raised[node][volume];
        if epoch < self.opened[volume] || epoch != raised {
            let opened = self.opened[volume];
            return Err(format!(
                "node {node} opens vol{volume} in epoch {epoch}; raised {raised}, opened before {opened}"
            ));
        }
        self.opened[volume] = epoch;
        Ok(())
    }

    /// A leader acknowledges.
    pub fn acknowledges(&self, node: usize, volume: usize, epoch: u64) -> Verdict {
        let opened = self.opened[volume];
        match epoch < opened {
            true => {
                Err(format!("node {node} acknowledges in epoch {epoch} of vol{volume}, {opened} is open"))
            }
            false => Ok(()),
        }
    }
}

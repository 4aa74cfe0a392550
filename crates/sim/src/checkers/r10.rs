//! R10, as far as a volume without a log can show it: the record of the epoch comes first, everywhere.

use super::Verdict;
use crate::disk::Image;
use crate::layout::EPOCH_RECORD;

/// A leader has opened the volume: its record, or that of a later one, is durable on each member.
pub fn recorded(volume: usize, epoch: u64, members: &[(usize, &Image)]) -> Verdict {
    for (node, image) in members {
        let mut record = [0; 8];
        image.read(EPOCH_RECORD, &mut record);
        let found = u64::from_le_bytes(record);
        if found < epoch {
            return Err(format!(
                "vol{volume} is open in epoch {epoch}, on the disk of node {node} the record says {found}"
            ));
        }
    }
    Ok(())
}

//! R3: what anybody is told is committed (R2), and leaves under a lease.

use super::Verdict;
use crate::disk::Image;
use crate::layout::Slot;

/// A reader is shown these values: each is durable on every member of the in-sync set.
pub fn committed(slot: usize, found: &[Option<u64>], members: &[(usize, &Image)]) -> Verdict {
    for (node, image) in members {
        let durable = Slot::of(slot).read(image);
        if let Some(sector) = found.iter().zip(&durable).position(|(shown, held)| held < shown) {
            return Err(format!(
                "slot {slot} sector {sector} is shown as {:?}, on the disk of node {node} is {:?}",
                found[sector], durable[sector]
            ));
        }
    }
    Ok(())
}

/// A reply was built and leaves.
pub fn leaves(node: usize, lease: bool) -> Verdict {
    match lease {
        true => Ok(()),
        false => Err(format!("node {node} replies without a lease")),
    }
}

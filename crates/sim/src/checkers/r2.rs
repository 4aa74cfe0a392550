//! R2: what was acknowledged is durable on every member of the in-sync set, and is read ever after.
//!
//! Each sector is a register whose values grow with each write. An acknowledgement, and also a
//! read, sets its floor: whoever leads later must show at least that. Together with the order of
//! one client's operations on a sector this is linearizability, for the values never go back.

use super::Verdict;
use crate::disk::Image;
use crate::layout::{SECTORS, SLOTS, Slot};

/// One value for each sector of a slot.
pub type Values = [u64; SECTORS];

/// What is promised about one volume.
#[derive(Debug, Clone)]
pub struct Oracle {
    /// Acknowledged, or shown to a reader.
    floor: [Values; SLOTS],
    /// The last value that anybody tried to write.
    written: [u64; SLOTS],
    /// Writes acknowledged.
    pub acked: u64,
}

impl Default for Oracle {
    fn default() -> Self {
        Self { floor: [[0; SECTORS]; SLOTS], written: [0; SLOTS], acked: 0 }
    }
}

impl Oracle {
    /// The next value for a slot; from now on it may be seen.
    pub fn next_value(&mut self, slot: usize) -> u64 {
        self.written[slot] += 1;
        self.written[slot]
    }

    /// What a read that begins now must show at least.
    pub fn floor(&self, slot: usize) -> Values {
        self.floor[slot]
    }

    /// A write was acknowledged; `members` are the durable images of the in-sync set.
    pub fn acknowledge(&mut self, slot: usize, value: u64, members: &[(usize, &Image)]) -> Verdict {
        self.acked += 1;
        self.floor[slot].iter_mut().for_each(|f| *f = value.max(*f));
        let written = self.written[slot];
        for (node, image) in members {
            let found = Slot::of(slot).read(image);
            check(slot, &found, &self.floor[slot], written)
                .map_err(|why| format!("acknowledged, but on the disk of node {node}: {why}"))?;
        }
        Ok(())
    }

    /// A reader is shown these values; `floor` is from the time when it asked.
    pub fn shown(&mut self, slot: usize, found: &[Option<u64>], floor: &Values) -> Verdict {
        check(slot, found, floor, self.written[slot]).map_err(|why| format!("read: {why}"))?;
        for (known, found) in self.floor[slot].iter_mut().zip(found) {
            *known = found.unwrap_or(0).max(*known);
        }
        Ok(())
    }

    /// A new leader opens this image: all that was promised is there.
    pub fn readable(&self, node: usize, image: &Image) -> Verdict {
        for slot in 0..SLOTS {
            check(slot, &Slot::of(slot).read(image), &self.floor[slot], self.written[slot])
                .map_err(|why| format!("at the opening on node {node}: {why}"))?;
        }
        Ok(())
    }
}

fn check(slot: usize, found: &[Option<u64>], floor: &Values, written: u64) -> Verdict {
    for (sector, (found, floor)) in found.iter().zip(floor).enumerate() {
        let Some(value) = found else {
            return Err(format!("slot {slot} sector {sector} holds no value that was ever written"));
        };
        if value < floor || *value > written {
            return Err(format!(
                "slot {slot} sector {sector} holds {value}; promised {floor}, written {written}"
            ));
        }
    }
    Ok(())
}

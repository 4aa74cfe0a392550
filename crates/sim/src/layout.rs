//! What clients write, and where.

use bytes::Bytes;

use crate::disk::{Image, SECTOR};

/// Bytes of a volume: more extents than the activity log of [`config`] keeps hot.
pub const SIZE: u64 = 12 << 20;
/// Places that clients write.
pub const SLOTS: usize = 24;
/// Sectors of one slot.
pub const SECTORS: usize = 4;
/// Where a leader writes the record of its epoch (R10 in small).
pub const EPOCH_RECORD: u64 = 0;

/// The replicas' configuration: small, so that its limits are met.
pub fn config() -> posthaste_blockrepl::Config {
    posthaste_blockrepl::Config {
        hot_extents: 8,
        hot_ahead: 1,
        snapshots_max: 0,
        // Never full: what then happens is for an operator, and nothing recovers by itself.
        undo_bytes: Some(2 * SIZE),
        ..posthaste_blockrepl::Config::default()
    }
}

/// One place: four sectors that straddle two granules.
#[derive(Debug, Clone, Copy)]
pub struct Slot(usize);

impl Slot {
    /// The place with this number.
    pub fn of(slot: usize) -> Self {
        Self(slot)
    }

    /// Where it begins, in bytes.
    pub fn offset(self) -> u64 {
        self.0 as u64 * (512 << 10) + (64 << 10) - 2 * SECTOR as u64
    }

    /// The bytes that say `value`.
    pub fn encode(self, value: u64) -> Bytes {
        let mut sector = [0; SECTOR];
        sector[..8].copy_from_slice(&value.to_le_bytes());
        sector[8..16].copy_from_slice(&(self.0 as u64 + 1).to_le_bytes());
        sector[SECTOR - 8..].copy_from_slice(&(!value).to_le_bytes());
        sector.repeat(SECTORS).into()
    }

    /// What an image says; none for a sector that nobody can have written.
    pub fn read(self, image: &Image) -> Vec<Option<u64>> {
        let mut bytes = [0; SECTORS * SECTOR];
        image.read(self.offset(), &mut bytes);
        bytes.chunks(SECTOR).map(|sector| decode(sector, self.0)).collect()
    }
}

fn decode(sector: &[u8], slot: usize) -> Option<u64> {
    let word = |at: usize| sector[at..at + 8].try_into().map(u64::from_le_bytes).unwrap_or_default();
    let (value, tag, check) = (word(0), word(8), word(SECTOR - 8));
    match (value, tag) {
        (0, 0) => (check == 0).then_some(0),
        _ => (tag == slot as u64 + 1 && check == !value).then_some(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sector_of_another_slot_is_no_value() {
        let bytes = Slot::of(3).encode(7);
        assert_eq!(decode(&bytes[..SECTOR], 3), Some(7));
        assert_eq!(decode(&bytes[..SECTOR], 4), None);
        assert_eq!(decode(&[0; SECTOR], 4), Some(0));
    }
}

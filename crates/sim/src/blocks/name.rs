//! A write's name: its epoch, its number there, and whether what it writes are zeros.
//!
//! The writes of one leader take effect in the order of their names. A sector shows the name of what was written to it;
//! of zeros it does not, and only what is possible then can be told.

/// The write of this number in an epoch.
pub fn id(epoch: u64, number: u64) -> u64 {
    epoch << 32 | number << 1
}

/// The same, if it is one of zeros.
pub fn zeros(epoch: u64, number: u64) -> u64 {
    id(epoch, number) | 1
}

/// Its epoch.
pub fn epoch(id: u64) -> u64 {
    id >> 32
}

/// Its number there.
pub fn number(id: u64) -> u64 {
    (id & 0xffff_ffff) >> 1
}

/// Whether sectors are zero behind it: also those that nobody has written yet.
pub fn is_zeros(id: u64) -> bool {
    id == 0 || id & 1 == 1
}

/// Whether a sector that shows `found` may show this write.
pub fn may_be(id: u64, found: u64) -> bool {
    id == found || found == 0 && is_zeros(id)
}

/// For people.
pub fn text(id: u64) -> String {
    let zeros = if id > 0 && is_zeros(id) { " (zeros)" } else { "" };
    format!("{}.{}{zeros}", epoch(id), number(id))
}

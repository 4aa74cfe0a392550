//! Before-images.

use bytes::Bytes;

use super::{BASE_VERSION, UNDO_HEAD, seal, unseal};
use crate::codec::{Reader, Writer};

const UNDO_MAGIC: &[u8; 8] = b"PHREPLUN";

/// One before-image, in an entry of `len` bytes.
pub(crate) fn encode_undo(run: u64, entry: u32, granule: u32, data: &[u8], len: u64) -> Bytes {
    let mut w = Writer(Vec::with_capacity(len as usize));
    w.bytes(UNDO_MAGIC).u32(BASE_VERSION).u32(0);
    w.u64(run).u32(entry).u32(granule).u32(data.len() as u32);
    w.0.resize(UNDO_HEAD as usize, 0);
    w.bytes(data);
    seal(w, len as usize)
}

/// The granule and data of entry `entry`, if it belongs to `run`, is whole, and is of one of `granules`.
pub(crate) fn decode_undo(bytes: &[u8], run: u64, entry: u32, granules: u32) -> Option<(u32, &[u8])> {
    let mut r = Reader(unseal(bytes, UNDO_MAGIC, "metadata").ok()?);
    if r.u64().ok()? != run || r.u32().ok()? != entry {
        return None;
    }
    let (granule, len) = (r.u32().ok()?, r.u32().ok()?);
    if granule >= granules {
        return None;
    }
    let data = bytes.get(UNDO_HEAD as usize..)?.get(..len as usize)?;
    Some((granule, data))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_of_no_granule_or_of_another_run_is_none() {
        let entry = encode_undo(3, 5, 9, &[7; 100], UNDO_HEAD + 4096);
        assert_eq!(decode_undo(&entry, 3, 5, 10), Some((9, &[7; 100][..])));
        for (run, entry_number, granules) in [(3, 5, 9), (4, 5, 10), (3, 6, 10)] {
            assert_eq!(decode_undo(&entry, run, entry_number, granules), None);
        }
    }
}

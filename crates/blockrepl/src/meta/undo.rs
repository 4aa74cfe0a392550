//! Before-images.

use bytes::Bytes;

use super::{BASE_VERSION, UNDO_HEAD, unseal};
use crate::codec::{Reader, Writer};
use crate::data::Data;

const UNDO_MAGIC: &[u8; 8] = b"PHREPLUN";

/// One before-image, in an entry of `len` bytes: its head, and what follows that. The image is not copied.
pub(crate) fn encode_undo(run: u64, entry: u32, granule: u32, image: &Data, len: u64) -> [Bytes; 2] {
    let mut w = Writer(Vec::with_capacity(UNDO_HEAD as usize));
    w.bytes(UNDO_MAGIC).u32(BASE_VERSION).u32(0);
    w.u64(run).u32(entry).u32(granule).u32(image.len() as u32);
    w.0.resize(UNDO_HEAD as usize, 0);
    let image = padded(image, (len - UNDO_HEAD) as usize);
    let crc = image.crc_behind(crc32fast::hash(&w.0));
    w.0[12..16].copy_from_slice(&crc.to_le_bytes());
    [w.0.into(), image.into_bytes()]
}

/// The last granule may be a short one.
fn padded(image: &Data, len: usize) -> Data {
    if image.len() == len {
        return image.clone();
    }
    let mut bytes = image.to_vec();
    bytes.resize(len, 0);
    bytes.into()
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
        let entry = encode_undo(3, 5, 9, &vec![7; 100].into(), UNDO_HEAD + 4096).concat();
        assert_eq!(decode_undo(&entry, 3, 5, 10), Some((9, &[7; 100][..])));
        for (run, entry_number, granules) in [(3, 5, 9), (4, 5, 10), (3, 6, 10)] {
            assert_eq!(decode_undo(&entry, run, entry_number, granules), None);
        }
    }
}

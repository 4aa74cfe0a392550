//! Before-images.

use bytes::Bytes;

use super::{BASE_VERSION, UNDO_HEAD, unseal};
use crate::codec::{Reader, Writer};
use crate::data::Data;

const UNDO_MAGIC: &[u8; 8] = b"PHREPLUN";

/// One before-image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct UndoEntry<D> {
    pub(crate) run: u64,
    pub(crate) number: u32,
    pub(crate) granule: u32,
    /// Entries before this one were durable when it was written.
    pub(crate) durable: u32,
    pub(crate) data: D,
}

/// An entry, in `len` bytes: its head, and what follows that. The image is not copied.
pub(crate) fn encode_undo(entry: &UndoEntry<&Data>, len: u64) -> [Bytes; 2] {
    let mut w = Writer(Vec::with_capacity(UNDO_HEAD as usize));
    w.bytes(UNDO_MAGIC).u32(BASE_VERSION).u32(0);
    w.u64(entry.run).u32(entry.number).u32(entry.granule).u32(entry.data.len() as u32).u32(entry.durable);
    w.0.resize(UNDO_HEAD as usize, 0);
    let image = padded(entry.data, (len - UNDO_HEAD) as usize);
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

/// Entry `number`, if it belongs to `run`, is whole, and is of one of `granules`.
pub(crate) fn decode_undo(bytes: &[u8], run: u64, number: u32, granules: u32) -> Option<UndoEntry<&[u8]>> {
    let mut r = Reader(unseal(bytes, UNDO_MAGIC, "metadata").ok()?);
    if r.u64().ok()? != run || r.u32().ok()? != number {
        return None;
    }
    let (granule, len, durable) = (r.u32().ok()?, r.u32().ok()?, r.u32().ok()?);
    if granule >= granules {
        return None;
    }
    let data = bytes.get(UNDO_HEAD as usize..)?.get(..len as usize)?;
    Some(UndoEntry { run, number, granule, durable, data })
}

/// What stands in the place of entry `number` while there is none: those before it are durable.
pub(crate) fn encode_undo_end(run: u64, number: u32) -> Bytes {
    let (granule, data) = (u32::MAX, &Data::default());
    let [head, _] = encode_undo(&UndoEntry { run, number, granule, durable: number, data }, UNDO_HEAD);
    head
}

pub(crate) fn is_undo_end(head: &[u8], run: u64, number: u32) -> bool {
    head.len() as u64 == UNDO_HEAD && *head == encode_undo_end(run, number)
}

/// Whether an entry that begins so may be one of `run`: the rest is not read otherwise.
pub(crate) fn may_be_undo(head: &[u8], run: u64) -> bool {
    head.starts_with(UNDO_MAGIC) && head.get(16..24) == Some(&run.to_le_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_of_no_granule_or_of_another_run_is_none() {
        let (data, run, number, granule, durable) = (Data::from(vec![7; 100]), 3, 5, 9, 4);
        let entry = UndoEntry { run, number, granule, durable, data: &data };
        let bytes = encode_undo(&entry, UNDO_HEAD + 4096).concat();
        let found = UndoEntry { run, number, granule, durable, data: &data[..] };
        assert_eq!(decode_undo(&bytes, 3, 5, 10), Some(found));
        let end = encode_undo_end(3, 5);
        assert!(may_be_undo(&end, 3) && is_undo_end(&end, 3, 5) && !is_undo_end(&end, 3, 6));
        assert_eq!(decode_undo(&end, 3, 5, u32::MAX), None);
        assert!(may_be_undo(&bytes, 3) && !may_be_undo(&bytes, 4) && !may_be_undo(&[0; 4096], 0));
        for (run, number, granules) in [(3, 5, 9), (4, 5, 10), (3, 6, 10)] {
            assert_eq!(decode_undo(&bytes, run, number, granules), None);
        }
    }
}

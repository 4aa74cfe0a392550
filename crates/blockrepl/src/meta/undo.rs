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

/// The granule and data of entry `entry`, if it belongs to `run` and is whole.
pub(crate) fn decode_undo(bytes: &[u8], run: u64, entry: u32) -> Option<(u32, &[u8])> {
    let mut r = Reader(unseal(bytes, UNDO_MAGIC, "metadata").ok()?);
    if r.u64().ok()? != run || r.u32().ok()? != entry {
        return None;
    }
    let (granule, len) = (r.u32().ok()?, r.u32().ok()?);
    let data = bytes.get(UNDO_HEAD as usize..)?.get(..len as usize)?;
    Some((granule, data))
}

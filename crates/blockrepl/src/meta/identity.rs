//! What ties the two files to a replica and to each other.

use bytes::Bytes;

use super::{BASE_VERSION, DATA_HEADER_LEN, OpenError, seal, unseal};
use crate::codec::{Reader, Short, Writer};
use crate::ids::{Identity, NodeId};

const DATA_MAGIC: &[u8; 8] = b"PHREPLDT";

/// The block at the head of the data file.
pub(crate) fn encode_data_header(identity: &Identity, size: u64) -> Bytes {
    let mut w = Writer::default();
    w.bytes(DATA_MAGIC).u32(BASE_VERSION).u32(0);
    put_identity(&mut w, identity, size);
    seal(w, DATA_HEADER_LEN as usize)
}

/// Checks the data file's head and length against the metadata's identity and size.
pub(crate) fn check_data_header(
    head: &[u8],
    len: u64,
    identity: &Identity,
    (size, shrunk): (u64, bool),
) -> Result<(), OpenError> {
    let body = unseal(head, DATA_MAGIC, "data")?;
    let (found, found_size) = take_identity(&mut Reader(body))
        .map_err(|Short| OpenError::not_ours("data", "its header is too short"))?;
    check_identity("data", &found, identity)?;
    let expected = DATA_HEADER_LEN + size;
    // The header is written once: the device may have grown since, or have been cut off.
    if found_size > size && !shrunk {
        return Err(OpenError::not_ours("data", format!("made for {found_size} bytes, not {size}")));
    }
    if len < expected {
        return Err(OpenError::Truncated { file: "data", found: len, expected });
    }
    Ok(())
}

pub(crate) fn check_identity(
    file: &'static str,
    found: &Identity,
    expected: &Identity,
) -> Result<(), OpenError> {
    let pairs = [
        ("cluster", found.cluster.to_string(), expected.cluster.to_string()),
        ("volume", found.volume.to_string(), expected.volume.to_string()),
        ("node", found.node.to_string(), expected.node.to_string()),
        ("device", found.device.to_string(), expected.device.to_string()),
    ];
    match pairs.into_iter().find(|(_, found, expected)| found != expected) {
        Some((what, found, expected)) => Err(OpenError::Foreign { file, what, found, expected }),
        None => Ok(()),
    }
}

pub(super) fn put_identity(w: &mut Writer, id: &Identity, size: u64) {
    w.bytes(&id.cluster.0).bytes(&id.volume.0).bytes(&id.device.0).u64(id.node.0).u64(size);
}

pub(super) fn take_identity(r: &mut Reader<'_>) -> Result<(Identity, u64), Short> {
    let (cluster, volume, device) = (r.cluster()?, r.volume()?, r.device()?);
    Ok((Identity { cluster, volume, device, node: NodeId(r.u64()?) }, r.u64()?))
}

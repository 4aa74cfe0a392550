//! Who is there: the first frame on a link.

use crate::codec::{Reader, Short, Writer};
use crate::ids::{ClusterId, DeviceId, GenerationId, NodeId, VolumeId};

/// The first frame on a link, from both sides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The sender's cluster.
    pub cluster: ClusterId,
    /// The volume the link is for.
    pub volume: VolumeId,
    /// The sender.
    pub node: NodeId,
    /// The sender's device.
    pub device: DeviceId,
    /// The volume's size in bytes.
    pub size: u64,
    /// Bytes of the sender's granules; 0 without a disk.
    pub granule: u32,
    /// The highest epoch the sender knows.
    pub epoch: u64,
    /// The newest generation of the sender's data.
    pub generation: GenerationId,
    /// Whether the sender leads.
    pub leading: bool,
}

pub(super) fn put(w: &mut Writer, h: &Hello) {
    w.bytes(&h.cluster.0).bytes(&h.volume.0).u64(h.node.0).bytes(&h.device.0);
    w.u64(h.size).u32(h.granule).u64(h.epoch).generation(h.generation).u8(u8::from(h.leading));
}

pub(super) fn take(r: &mut Reader<'_>) -> Result<Hello, Short> {
    Ok(Hello {
        cluster: r.cluster()?,
        volume: r.volume()?,
        node: NodeId(r.u64()?),
        device: r.device()?,
        size: r.u64()?,
        granule: r.u32()?,
        epoch: r.u64()?,
        generation: r.generation()?,
        leading: r.flag()?,
    })
}

//! Little-endian fields, for the disk and the wire.

use crate::ids::{ClusterId, DeviceId, GenerationId, Lineage, Member, MemberSet, NodeId, VolumeId};

/// The bytes end before the structure does, a count exceeds its limit, or nothing is written so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Short;

/// Appends fields.
#[derive(Default)]
pub(crate) struct Writer(pub(crate) Vec<u8>);

impl Writer {
    pub(crate) fn u8(&mut self, v: u8) -> &mut Self {
        self.0.push(v);
        self
    }
    pub(crate) fn u32(&mut self, v: u32) -> &mut Self {
        self.0.extend(v.to_le_bytes());
        self
    }
    pub(crate) fn u64(&mut self, v: u64) -> &mut Self {
        self.0.extend(v.to_le_bytes());
        self
    }
    pub(crate) fn bytes(&mut self, v: &[u8]) -> &mut Self {
        self.0.extend(v);
        self
    }
    pub(crate) fn generation(&mut self, g: GenerationId) -> &mut Self {
        self.u64(g.generation).u64(g.epoch).bytes(&g.device.0)
    }
    pub(crate) fn lineage(&mut self, l: &Lineage) -> &mut Self {
        self.u32(l.0.len() as u32);
        l.0.iter().for_each(|g| {
            self.generation(*g);
        });
        self
    }
    pub(crate) fn members(&mut self, set: &MemberSet) -> &mut Self {
        self.u32(set.len() as u32);
        set.iter().for_each(|m| {
            self.u64(m.node.0).bytes(&m.device.0);
        });
        self
    }
}

/// Takes fields off the front.
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

/// The most replicas a volume may have.
pub(crate) const MAX_MEMBERS: usize = 8;

impl<'a> Reader<'a> {
    pub(crate) fn take(&mut self, n: usize) -> Result<&'a [u8], Short> {
        let (head, tail) = self.0.split_at_checked(n).ok_or(Short)?;
        self.0 = tail;
        Ok(head)
    }
    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Short> {
        self.take(N).map(|b| b.try_into().expect("take returns N bytes"))
    }
    pub(crate) fn u8(&mut self) -> Result<u8, Short> {
        self.array::<1>().map(|b| b[0])
    }
    pub(crate) fn flag(&mut self) -> Result<bool, Short> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Short),
        }
    }
    pub(crate) fn u32(&mut self) -> Result<u32, Short> {
        self.array().map(u32::from_le_bytes)
    }
    pub(crate) fn u64(&mut self) -> Result<u64, Short> {
        self.array().map(u64::from_le_bytes)
    }
    pub(crate) fn count(&mut self, max: usize) -> Result<usize, Short> {
        let n = self.u32()? as usize;
        if n <= max { Ok(n) } else { Err(Short) }
    }
    pub(crate) fn cluster(&mut self) -> Result<ClusterId, Short> {
        self.array().map(ClusterId)
    }
    pub(crate) fn volume(&mut self) -> Result<VolumeId, Short> {
        self.array().map(VolumeId)
    }
    pub(crate) fn device(&mut self) -> Result<DeviceId, Short> {
        self.array().map(DeviceId)
    }
    pub(crate) fn generation(&mut self) -> Result<GenerationId, Short> {
        Ok(GenerationId { generation: self.u64()?, epoch: self.u64()?, device: self.device()? })
    }
    pub(crate) fn lineage(&mut self) -> Result<Lineage, Short> {
        let n = self.count(Lineage::MAX)?;
        (0..n).map(|_| self.generation()).collect::<Result<_, _>>().map(Lineage)
    }
    pub(crate) fn members(&mut self) -> Result<MemberSet, Short> {
        let n = self.count(MAX_MEMBERS)?;
        let mut set = MemberSet::new();
        for _ in 0..n {
            let member = Member { node: NodeId(self.u64()?), device: self.device()? };
            // A set is written in ascending order, each once.
            if set.last().is_some_and(|last| *last >= member) {
                return Err(Short);
            }
            set.insert(member);
        }
        Ok(set)
    }
    pub(crate) fn end(&self) -> Result<(), Short> {
        if self.0.is_empty() { Ok(()) } else { Err(Short) }
    }
}

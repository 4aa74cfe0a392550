//! The superblock: all small durable state of a replica.

use bytes::Bytes;

use super::{
    Area, BASE_VERSION, BLOCK, FORMAT_VERSION, Layout, MAX_BITMAPS, MAX_DAMAGED, MAX_SLOTS, MAX_SNAPSHOTS,
    OpenError, SB_LEN, put_identity, seal, take_identity, unseal,
};
use crate::bitmap::GRANULE;
use crate::codec::{Reader, Short, Writer};
use crate::ids::{DeviceId, GenerationId, Identity, Lineage, MemberSet, NodeId};

const SB_MAGIC: &[u8; 8] = b"PHREPLMD";

/// What a replica remembers of one peer; its bitmap lies in the area `slot`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SlotHead {
    pub(crate) slot: u32,
    pub(crate) node: NodeId,
    pub(crate) device: DeviceId,
    /// The generation of the peer's data that the bitmap describes the way from.
    pub(crate) base: GenerationId,
    /// The resync of this peer under way, or 0.
    pub(crate) sync: u64,
}

/// How far a snapshot's image has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SnapshotState {
    /// It is being made: void after a crash.
    Making,
    /// It is whole.
    Kept,
    /// It is being removed.
    Removing,
}

/// A generation that was kept; the bitmap of its ranges lies in the area `bitmap`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SnapshotHead {
    pub(crate) id: u64,
    pub(crate) state: SnapshotState,
    pub(crate) bitmap: u32,
    pub(crate) generation: GenerationId,
    pub(crate) common: Option<GenerationId>,
    pub(crate) size: u64,
}

/// A block known to be damaged as long as it holds what it held when that was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct DamagedBlock {
    pub(crate) block: u64,
    /// The checksum of what it holds.
    pub(crate) found: u32,
    /// The checksum that it should have.
    pub(crate) right: u32,
}

impl DamagedBlock {
    /// Whether it can be true of a block of a device of this size.
    fn is_sound(&self, size: u64) -> bool {
        self.block < size / BLOCK && self.found != 0 && self.right != 0 && self.right != self.found
    }
}

/// All small durable state of a replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Superblock {
    pub(crate) identity: Identity,
    pub(crate) layout: Layout,
    pub(crate) seq: u64,
    pub(crate) epoch: u64,
    pub(crate) consistent: bool,
    /// The resync this replica is the target of: the source's device and its number.
    pub(crate) sync: Option<(DeviceId, u64)>,
    pub(crate) sync_counter: u64,
    pub(crate) undo_run: u64,
    pub(crate) undo_lost: bool,
    /// Pages of checksums of other runs are void.
    pub(crate) sums_run: u64,
    pub(crate) lineage: Lineage,
    pub(crate) members: MemberSet,
    pub(crate) slots: Vec<SlotHead>,
    pub(crate) hot: Vec<u32>,
    /// Snapshots taken by this replica.
    pub(crate) snapshot_counter: u64,
    pub(crate) snapshots: Vec<SnapshotHead>,
    /// It was made smaller once: a larger copy may hold what was cut off here.
    pub(crate) shrunk: bool,
    /// Ascending.
    pub(crate) damaged: Vec<DamagedBlock>,
}

impl Superblock {
    pub(crate) fn blank(identity: Identity, layout: &Layout) -> Self {
        Superblock {
            identity,
            layout: *layout,
            seq: 1,
            epoch: 0,
            consistent: true,
            sync: None,
            sync_counter: 0,
            undo_run: 0,
            undo_lost: false,
            sums_run: 1,
            lineage: Lineage::default(),
            members: MemberSet::new(),
            slots: Vec::new(),
            hot: Vec::new(),
            snapshot_counter: 0,
            snapshots: Vec::new(),
            shrunk: false,
            damaged: Vec::new(),
        }
    }

    /// Where this superblock goes: the two places take turns.
    pub(crate) fn offset(&self) -> u64 {
        (self.seq % 2) * SB_LEN
    }

    pub(crate) fn encode(&self) -> Bytes {
        let mut w = Writer(Vec::with_capacity(SB_LEN as usize));
        // Programs that know no other granule, and no list of damage, need not refuse a file without.
        let usual = self.layout.granule == GRANULE;
        let version = if usual && self.damaged.is_empty() { BASE_VERSION } else { FORMAT_VERSION };
        w.bytes(SB_MAGIC).u32(version).u32(0).u64(self.seq);
        put_identity(&mut w, &self.identity, self.layout.size);
        for area in [self.layout.bitmaps, self.layout.sums, self.layout.undo] {
            w.u64(area.at).u64(area.len);
        }
        w.u64(self.epoch).u8(u8::from(self.consistent));
        let (source, number) = self.sync.unwrap_or_default();
        w.u8(u8::from(self.sync.is_some())).bytes(&source.0).u64(number);
        w.u64(self.sync_counter).u64(self.undo_run).u8(u8::from(self.undo_lost)).u64(self.sums_run);
        w.lineage(&self.lineage).members(&self.members);
        w.u32(self.slots.len() as u32);
        for s in &self.slots {
            w.u32(s.slot).u64(s.node.0).bytes(&s.device.0).generation(s.base).u64(s.sync);
        }
        w.u32(self.hot.len() as u32);
        for extent in &self.hot {
            w.u32(*extent);
        }
        w.u64(self.snapshot_counter).u32(self.snapshots.len() as u32);
        for s in &self.snapshots {
            w.u64(s.id).u8(s.state as u8).u32(s.bitmap).generation(s.generation);
            w.generation(s.common.unwrap_or_default()).u64(s.size);
        }
        w.u8(u8::from(self.shrunk)).u32(if usual { 0 } else { self.layout.granule as u32 });
        w.u32(self.damaged.len() as u32);
        for d in &self.damaged {
            w.u64(d.block).u32(d.found).u32(d.right);
        }
        seal(w, SB_LEN as usize)
    }

    fn decode(bytes: &[u8]) -> Result<Self, OpenError> {
        let bad = |why: &str| OpenError::not_ours("metadata", why);
        let body = unseal(bytes, SB_MAGIC, "metadata")?;
        let mut r = Reader(body);
        Self::parse(&mut r).map_err(|Short| bad("a field is out of range"))
    }

    fn parse(r: &mut Reader<'_>) -> Result<Self, Short> {
        let seq = r.u64()?;
        let (identity, size) = take_identity(r)?;
        let (bitmaps, sums, undo) = (take_area(r)?, take_area(r)?, take_area(r)?);
        let (epoch, consistent) = (r.u64()?, r.flag()?);
        let (syncing, source, number) = (r.flag()?, r.device()?, r.u64()?);
        let (sync_counter, undo_run, undo_lost, sums_run) = (r.u64()?, r.u64()?, r.flag()?, r.u64()?);
        let (lineage, members) = (r.lineage()?, r.members()?);
        let slots = r.count(MAX_SLOTS)?;
        let slots = (0..slots).map(|_| take_slot(r)).collect::<Result<_, _>>()?;
        let hot = r.count(crate::Config::MAX_HOT)?;
        let hot = (0..hot).map(|_| r.u32()).collect::<Result<_, _>>()?;
        let (snapshot_counter, snapshots) = (r.u64()?, r.count(MAX_SNAPSHOTS)?);
        let snapshots = (0..snapshots).map(|_| take_snapshot(r)).collect::<Result<_, _>>()?;
        let (shrunk, granule, damaged) = (r.flag()?, r.u32()?, r.count(MAX_DAMAGED)?);
        let damaged: Vec<_> = (0..damaged).map(|_| take_damaged(r)).collect::<Result<_, _>>()?;
        let granule = if granule == 0 { GRANULE } else { u64::from(granule) };
        // All offsets are computed from it.
        let layout = Layout { size, granule, bitmaps, sums, undo };
        if !layout.is_sound() || !damaged.iter().all(|d| d.is_sound(size)) {
            return Err(Short);
        }
        Ok(Superblock {
            identity,
            layout,
            seq,
            epoch,
            consistent,
            sync: syncing.then_some((source, number)),
            sync_counter,
            undo_run,
            undo_lost,
            sums_run,
            lineage,
            members,
            slots,
            hot,
            snapshot_counter,
            snapshots,
            shrunk,
            damaged,
        })
    }

    /// The newer whole one of the two. One that is damaged is ignored: it was never acted upon.
    /// One of a newer format refuses the file.
    pub(crate) fn newest(a: &[u8], b: &[u8]) -> Result<Self, OpenError> {
        match (Self::decode(a), Self::decode(b)) {
            (Err(e @ OpenError::Newer { .. }), _) | (_, Err(e @ OpenError::Newer { .. })) => Err(e),
            (Ok(a), Ok(b)) => Ok(if a.seq > b.seq { a } else { b }),
            (Ok(one), Err(_)) | (Err(_), Ok(one)) => Ok(one),
            (Err(e), Err(_)) => Err(e),
        }
    }
}

fn take_snapshot(r: &mut Reader<'_>) -> Result<SnapshotHead, Short> {
    let (id, state, bitmap) = (r.u64()?, r.u8()?, r.u32()?);
    let state = match state {
        0 => SnapshotState::Making,
        1 => SnapshotState::Kept,
        2 => SnapshotState::Removing,
        _ => return Err(Short),
    };
    if !(MAX_SLOTS..MAX_BITMAPS).contains(&(bitmap as usize)) {
        return Err(Short);
    }
    let (generation, common) = (r.generation()?, r.generation()?);
    let common = (common != GenerationId::default()).then_some(common);
    Ok(SnapshotHead { id, state, bitmap, generation, common, size: r.u64()? })
}

fn take_damaged(r: &mut Reader<'_>) -> Result<DamagedBlock, Short> {
    Ok(DamagedBlock { block: r.u64()?, found: r.u32()?, right: r.u32()? })
}

fn take_area(r: &mut Reader<'_>) -> Result<Area, Short> {
    Ok(Area { at: r.u64()?, len: r.u64()? })
}

fn take_slot(r: &mut Reader<'_>) -> Result<SlotHead, Short> {
    let slot = r.u32()?;
    if slot as usize >= MAX_SLOTS {
        return Err(Short);
    }
    Ok(SlotHead { slot, node: NodeId(r.u64()?), device: r.device()?, base: r.generation()?, sync: r.u64()? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{ClusterId, Member, VolumeId};
    use proptest::prelude::*;

    fn identity() -> Identity {
        Identity {
            cluster: ClusterId([1; 16]),
            volume: VolumeId([2; 16]),
            device: DeviceId([3; 16]),
            node: NodeId(4),
        }
    }

    fn sample() -> Superblock {
        let layout = Layout::new(1 << 30, GRANULE, None).unwrap();
        let mut sb = Superblock::blank(identity(), &layout);
        sb.epoch = 7;
        sb.sync = Some((DeviceId([9; 16]), 5));
        let generation = GenerationId { generation: 3, epoch: 7, device: DeviceId([3; 16]) };
        (0..Lineage::MAX).for_each(|_| sb.lineage.begin(generation));
        sb.members.insert(Member { node: NodeId(4), device: DeviceId([3; 16]) });
        sb.slots = (0..MAX_SLOTS as u32)
            .map(|slot| SlotHead {
                slot,
                node: NodeId(9),
                device: DeviceId([8; 16]),
                base: generation,
                sync: 2,
            })
            .collect();
        sb.snapshots = (0..MAX_SNAPSHOTS as u32)
            .map(|n| SnapshotHead {
                id: u64::from(n),
                state: SnapshotState::Kept,
                bitmap: MAX_SLOTS as u32 + n,
                generation,
                common: Some(generation),
                size: 1 << 30,
            })
            .collect();
        sb.hot = (0..crate::Config::MAX_HOT as u32).collect();
        sb.shrunk = true;
        sb.damaged =
            (0..MAX_DAMAGED as u64).map(|block| DamagedBlock { block, found: 7, right: 9 }).collect();
        sb
    }

    #[test]
    fn a_full_superblock_fits_and_survives_encoding() {
        let sb = sample();
        assert_eq!(Superblock::decode(&sb.encode()).unwrap(), sb);
    }

    #[test]
    fn a_superblock_of_an_impossible_size_is_refused_though_its_checksum_holds() {
        for size in [0, 4096, (1 << 20) + 1, (128 << 40) + 4096, u64::MAX - 4095] {
            let sb = Superblock { layout: Layout { size, ..sample().layout }, ..sample() };
            assert!(matches!(Superblock::decode(&sb.encode()), Err(OpenError::NotOurs { .. })), "{size}");
        }
    }

    #[test]
    fn another_granule_is_recorded_by_a_version_of_its_own() {
        for granule in [4096, 8192, 64 << 10, 1 << 20] {
            let layout = Layout::new(1 << 30, granule, None).unwrap();
            let sb = Superblock { layout, damaged: Vec::new(), ..sample() };
            let bytes = sb.encode();
            assert_eq!(Superblock::decode(&bytes).unwrap(), sb);
            assert_eq!(u32::from(bytes[8]), if granule == GRANULE { BASE_VERSION } else { FORMAT_VERSION });
        }
        for granule in [1, 2048, 4095, 12 << 10, 2 << 20, u64::from(u32::MAX)] {
            assert!(
                matches!(Layout::new(1 << 30, granule, None), Err(OpenError::Granule { .. })),
                "{granule}"
            );
            let layout = Layout { granule, ..sample().layout };
            let sb = Superblock { layout, ..sample() };
            assert!(matches!(Superblock::decode(&sb.encode()), Err(OpenError::NotOurs { .. })), "{granule}");
        }
        let too_large = Layout::new(8 << 40 | 4096, 4096, None).unwrap_err();
        assert!(too_large.to_string().ends_with("at least 8192 for this size"), "{too_large}");
        assert!(Layout::new(8 << 40, 4096, None).is_ok());
    }

    #[test]
    fn an_empty_undo_area_may_lie_where_the_bitmaps_of_a_device_that_has_grown_begin() {
        let old = Layout::new(12 << 20, 1 << 20, Some(256 << 10)).unwrap();
        assert_eq!((old.undo.len, old.undo.at), (0, old.sums.end()));
        let bitmaps = Area { at: old.undo.at, ..old.bitmaps };
        let layout = Layout { bitmaps, sums: Area { at: bitmaps.end(), ..old.sums }, ..old };
        assert!(layout.is_sound());
    }

    #[test]
    fn areas_that_overlap_or_are_too_small_are_refused() {
        let good = sample().layout;
        let wrong: [fn(&mut Layout); 7] = [
            |l| l.bitmaps.at = SB_LEN,
            |l| l.bitmaps.len -= 4096,
            |l| l.sums.at -= 4096,
            |l| l.sums.len -= 4096,
            |l| l.undo.at += 512,
            |l| l.undo.len -= 4096,
            |l| l.undo.at = u64::MAX - 4095,
        ];
        for (i, spoil) in wrong.iter().enumerate() {
            let mut layout = good;
            spoil(&mut layout);
            assert!(!layout.is_sound(), "{i}");
        }
        // An area that was moved behind the others.
        let sums = Area { at: good.undo.end(), len: 2 * good.sums.len };
        let moved = Layout { sums, ..good };
        assert!(moved.is_sound() && moved.meta_len() == sums.end());
        let sb = Superblock { layout: moved, ..sample() };
        assert_eq!(Superblock::decode(&sb.encode()).unwrap(), sb);
    }

    #[test]
    fn a_program_that_would_drop_what_is_known_of_damage_refuses_the_file() {
        assert_eq!(u32::from(sample().encode()[8]), FORMAT_VERSION);
        let none = Superblock { damaged: Vec::new(), ..sample() };
        assert_eq!(u32::from(none.encode()[8]), BASE_VERSION);
    }

    #[test]
    fn damage_that_cannot_be_is_refused_though_the_checksum_holds() {
        let (found, right, last) = (7, 9, (1 << 30) / BLOCK - 1);
        let with = |damaged| Superblock { damaged: vec![damaged], ..sample() };
        let good = with(DamagedBlock { block: last, found, right });
        assert_eq!(Superblock::decode(&good.encode()).unwrap(), good);
        for (block, found, right) in
            [(last + 1, found, right), (u64::MAX, found, right), (0, 0, right), (0, found, 0), (0, 9, 9)]
        {
            let sb = with(DamagedBlock { block, found, right });
            assert!(matches!(Superblock::decode(&sb.encode()), Err(OpenError::NotOurs { .. })), "{block}");
        }
    }

    #[test]
    fn a_torn_superblock_leaves_the_older_one_in_force() {
        let old = sample();
        let new = Superblock { seq: old.seq + 1, epoch: 8, ..old.clone() };
        let (whole_old, whole_new) = (old.encode(), new.encode());
        assert_eq!(Superblock::newest(&whole_old, &whole_new).unwrap(), new);
        for cut in (0..SB_LEN as usize).step_by(512) {
            let torn = [&whole_new[..cut], &vec![0xEE; SB_LEN as usize - cut][..]].concat();
            assert_eq!(Superblock::newest(&whole_old, &torn).unwrap(), old, "torn at {cut}");
        }
    }

    #[test]
    fn a_newer_format_is_refused_even_beside_an_old_superblock() {
        let mut newer = sample().encode().to_vec();
        newer[8] = 4;
        newer[12..16].fill(0);
        let crc = crc32fast::hash(&newer);
        newer[12..16].copy_from_slice(&crc.to_le_bytes());
        let answer = Superblock::newest(&sample().encode(), &newer);
        assert!(matches!(answer, Err(OpenError::Newer { found: 4, .. })), "{answer:?}");
    }

    proptest! {
        #[test]
        fn any_flipped_byte_of_a_superblock_is_noticed(at in 0usize..SB_LEN as usize, bit in 0u8..8) {
            let mut bytes = sample().encode().to_vec();
            bytes[at] ^= 1 << bit;
            prop_assert!(Superblock::decode(&bytes).is_err());
        }
    }
}

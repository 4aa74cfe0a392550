//! The metadata file's and the data file's own structures. Drawn in bytes in `docs/format.md`.
//!
//! Metadata: two alternating superblocks, seven bitmap areas, the undo area. A superblock is
//! whole or ignored; a bitmap page that is damaged counts as all dirty; the undo area is read up to
//! the first entry that is not of the current run.

use bytes::Bytes;

use crate::bitmap::{Bitmap, GRANULE};
use crate::codec::{Reader, Short, Writer};
use crate::ids::{DeviceId, GenerationId, Identity, Lineage, MemberSet, NodeId};

/// The version of the metadata and data file formats; a newer one is refused.
pub const FORMAT_VERSION: u32 = 1;
/// Bytes at the head of the data file that identify it; the device's first byte follows.
pub const DATA_HEADER_LEN: u64 = 4096;

pub(crate) const SB_LEN: u64 = 16 << 10;
pub(crate) const PAGE_LEN: u64 = 4096;
const PAGE_HEAD: usize = 16;
pub(crate) const BITS_PER_PAGE: u32 = (PAGE_LEN as u32 - PAGE_HEAD as u32) * 8;
/// Peers whose differences are tracked.
pub(crate) const MAX_SLOTS: usize = 7;
const UNDO_HEAD: u64 = 4096;
pub(crate) const UNDO_LEN: u64 = UNDO_HEAD + GRANULE;

const SB_MAGIC: &[u8; 8] = b"PHREPLMD";
const DATA_MAGIC: &[u8; 8] = b"PHREPLDT";
const UNDO_MAGIC: &[u8; 8] = b"PHREPLUN";

/// Why the files of a replica cannot be used. Nothing was written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The file is missing, unreadable, or there is no room for it.
    #[error("{what}: {source}")]
    Io {
        /// What was tried, and on which file.
        what: String,
        /// The system's answer.
        source: std::io::Error,
    },
    /// `create` found a file with content.
    #[error("{0} exists and is not empty; remove it by hand if it is really to be overwritten")]
    Exists(String),
    /// Not a file of this program.
    #[error("the {file} file is not a replica's {file} file: {why}")]
    NotOurs {
        /// `data` or `metadata`.
        file: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// Written by a newer program.
    #[error(
        "the {file} file has format version {found}; this program knows up to {FORMAT_VERSION}: upgrade it"
    )]
    Newer {
        /// `data` or `metadata`.
        file: &'static str,
        /// Its version.
        found: u32,
    },
    /// It belongs to another cluster, volume, node or device.
    #[error("the {file} file belongs to {what} {found}, not {expected}")]
    Foreign {
        /// `data` or `metadata`.
        file: &'static str,
        /// `cluster`, `volume`, `node` or `device`.
        what: &'static str,
        /// The id in the file.
        found: String,
        /// The id asked for.
        expected: String,
    },
    /// Shorter than it was created.
    #[error("the {file} file is truncated: {found} bytes where {expected} are expected")]
    Truncated {
        /// `data` or `metadata`.
        file: &'static str,
        /// Its length in bytes.
        found: u64,
        /// The length it needs.
        expected: u64,
    },
    /// The size asked for cannot be.
    #[error("a volume of {0} bytes: give a multiple of 4096, at least 65536 and at most 128 TiB")]
    Size(u64),
}

impl OpenError {
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> OpenError {
        let what = what.into();
        move |source| OpenError::Io { what, source }
    }

    fn not_ours(file: &'static str, why: impl Into<String>) -> Self {
        OpenError::NotOurs { file, why: why.into() }
    }
}

/// Where things lie in the metadata file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) size: u64,
    pub(crate) undo_slots: u32,
}

impl Layout {
    pub(crate) fn new(size: u64, undo_bytes: Option<u64>) -> Result<Self, OpenError> {
        if !size.is_multiple_of(4096) || !(GRANULE..=128 << 40).contains(&size) {
            return Err(OpenError::Size(size));
        }
        let undo = undo_bytes.unwrap_or((size / 8).min(256 << 20));
        Ok(Layout { size, undo_slots: (undo / GRANULE) as u32 })
    }

    pub(crate) fn granules(&self) -> u32 {
        self.size.div_ceil(GRANULE) as u32
    }

    /// Bytes of granule `g`: less than a granule only at the end.
    pub(crate) fn granule_len(&self, g: u32) -> u64 {
        GRANULE.min(self.size.saturating_sub(u64::from(g) * GRANULE))
    }

    pub(crate) fn pages(&self) -> u32 {
        self.granules().div_ceil(BITS_PER_PAGE)
    }

    pub(crate) fn page_at(&self, slot: usize, page: u32) -> u64 {
        2 * SB_LEN + (slot as u64 * u64::from(self.pages()) + u64::from(page)) * PAGE_LEN
    }

    pub(crate) fn undo_at(&self, entry: u32) -> u64 {
        self.page_at(MAX_SLOTS, 0) + u64::from(entry) * UNDO_LEN
    }

    pub(crate) fn meta_len(&self) -> u64 {
        self.undo_at(self.undo_slots)
    }
}

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

/// All small durable state of a replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Superblock {
    pub(crate) identity: Identity,
    pub(crate) size: u64,
    pub(crate) undo_slots: u32,
    pub(crate) seq: u64,
    pub(crate) epoch: u64,
    pub(crate) consistent: bool,
    /// The resync this replica is the target of: the source's device and its number.
    pub(crate) sync: Option<(DeviceId, u64)>,
    pub(crate) sync_counter: u64,
    pub(crate) undo_run: u64,
    pub(crate) undo_lost: bool,
    pub(crate) lineage: Lineage,
    pub(crate) members: MemberSet,
    pub(crate) slots: Vec<SlotHead>,
    pub(crate) hot: Vec<u32>,
}

impl Superblock {
    pub(crate) fn blank(identity: Identity, layout: &Layout) -> Self {
        Superblock {
            identity,
            size: layout.size,
            undo_slots: layout.undo_slots,
            seq: 1,
            epoch: 0,
            consistent: true,
            sync: None,
            sync_counter: 0,
            undo_run: 0,
            undo_lost: false,
            lineage: Lineage::default(),
            members: MemberSet::new(),
            slots: Vec::new(),
            hot: Vec::new(),
        }
    }

    pub(crate) fn layout(&self) -> Layout {
        Layout { size: self.size, undo_slots: self.undo_slots }
    }

    /// Where this superblock goes: the two places take turns.
    pub(crate) fn offset(&self) -> u64 {
        (self.seq % 2) * SB_LEN
    }

    pub(crate) fn encode(&self) -> Bytes {
        let mut w = Writer(Vec::with_capacity(SB_LEN as usize));
        w.bytes(SB_MAGIC).u32(FORMAT_VERSION).u32(0).u64(self.seq);
        put_identity(&mut w, &self.identity, self.size);
        w.u32(self.undo_slots).u64(self.epoch).u8(u8::from(self.consistent));
        let (source, number) = self.sync.unwrap_or_default();
        w.u8(u8::from(self.sync.is_some())).bytes(&source.0).u64(number);
        w.u64(self.sync_counter).u64(self.undo_run).u8(u8::from(self.undo_lost));
        w.lineage(&self.lineage).members(&self.members);
        w.u32(self.slots.len() as u32);
        for s in &self.slots {
            w.u32(s.slot).u64(s.node.0).bytes(&s.device.0).generation(s.base).u64(s.sync);
        }
        w.u32(self.hot.len() as u32);
        for extent in &self.hot {
            w.u32(*extent);
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
        let (undo_slots, epoch, consistent) = (r.u32()?, r.u64()?, r.flag()?);
        // All offsets are computed from these two.
        Layout::new(size, Some(u64::from(undo_slots) * GRANULE)).map_err(|_| Short)?;
        let (syncing, source, number) = (r.flag()?, r.device()?, r.u64()?);
        let (sync_counter, undo_run, undo_lost) = (r.u64()?, r.u64()?, r.flag()?);
        let (lineage, members) = (r.lineage()?, r.members()?);
        let slots = r.count(MAX_SLOTS)?;
        let slots = (0..slots).map(|_| take_slot(r)).collect::<Result<_, _>>()?;
        let hot = r.count(crate::Config::MAX_HOT)?;
        let hot = (0..hot).map(|_| r.u32()).collect::<Result<_, _>>()?;
        Ok(Superblock {
            identity,
            size,
            undo_slots,
            seq,
            epoch,
            consistent,
            sync: syncing.then_some((source, number)),
            sync_counter,
            undo_run,
            undo_lost,
            lineage,
            members,
            slots,
            hot,
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

fn take_slot(r: &mut Reader<'_>) -> Result<SlotHead, Short> {
    let slot = r.u32()?;
    if slot as usize >= MAX_SLOTS {
        return Err(Short);
    }
    Ok(SlotHead { slot, node: NodeId(r.u64()?), device: r.device()?, base: r.generation()?, sync: r.u64()? })
}

fn put_identity(w: &mut Writer, id: &Identity, size: u64) {
    w.bytes(&id.cluster.0).bytes(&id.volume.0).bytes(&id.device.0).u64(id.node.0).u64(size);
}

fn take_identity(r: &mut Reader<'_>) -> Result<(Identity, u64), Short> {
    let (cluster, volume, device) = (r.cluster()?, r.volume()?, r.device()?);
    Ok((Identity { cluster, volume, device, node: NodeId(r.u64()?) }, r.u64()?))
}

/// Pads to `len` and fills in the checksum at byte 12, computed with that field zero.
fn seal(mut w: Writer, len: usize) -> Bytes {
    assert!(w.0.len() <= len, "a structure outgrew its place");
    w.0.resize(len, 0);
    let crc = crc32fast::hash(&w.0);
    w.0[12..16].copy_from_slice(&crc.to_le_bytes());
    w.0.into()
}

/// Checks magic, version and checksum; returns what follows them.
fn unseal<'a>(bytes: &'a [u8], magic: &[u8; 8], file: &'static str) -> Result<&'a [u8], OpenError> {
    if bytes.get(..8) != Some(magic) {
        return Err(OpenError::not_ours(file, "its first bytes are not the expected mark"));
    }
    let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("4 bytes"));
    let mut crc = crc32fast::Hasher::new();
    crc.update(&bytes[..12]);
    crc.update(&[0; 4]);
    crc.update(&bytes[16..]);
    if crc.finalize() != word(12) {
        return Err(OpenError::not_ours(file, "its checksum does not match"));
    }
    match word(8) {
        v if v > FORMAT_VERSION => Err(OpenError::Newer { file, found: v }),
        _ => Ok(&bytes[16..]),
    }
}

/// The block at the head of the data file.
pub(crate) fn encode_data_header(identity: &Identity, size: u64) -> Bytes {
    let mut w = Writer::default();
    w.bytes(DATA_MAGIC).u32(FORMAT_VERSION).u32(0);
    put_identity(&mut w, identity, size);
    seal(w, DATA_HEADER_LEN as usize)
}

/// Checks the data file's head and length against the metadata's identity and size.
pub(crate) fn check_data_header(
    head: &[u8],
    len: u64,
    identity: &Identity,
    size: u64,
) -> Result<(), OpenError> {
    let body = unseal(head, DATA_MAGIC, "data")?;
    let (found, found_size) = take_identity(&mut Reader(body))
        .map_err(|Short| OpenError::not_ours("data", "its header is too short"))?;
    check_identity("data", &found, identity)?;
    let expected = DATA_HEADER_LEN + size;
    if found_size != size {
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

/// One page of a peer's bitmap.
pub(crate) fn encode_page(map: &Bitmap, device: DeviceId, page: u32) -> Bytes {
    let mut bytes = vec![0; PAGE_LEN as usize];
    map.export(page * BITS_PER_PAGE, &mut bytes[PAGE_HEAD..]);
    let crc = page_crc(&bytes, device, page);
    bytes[..4].copy_from_slice(&crc.to_le_bytes());
    bytes[4..8].copy_from_slice(&page.to_le_bytes());
    bytes.into()
}

/// Adds a page's bits to `map`; all of its bits when the page is damaged or of another device.
pub(crate) fn decode_page(map: &mut Bitmap, device: DeviceId, page: u32, bytes: &[u8]) {
    let stored = u32::from_le_bytes(bytes[..4].try_into().expect("a page has a head"));
    if stored == page_crc(bytes, device, page) {
        map.import(page * BITS_PER_PAGE, &bytes[PAGE_HEAD..]);
    } else {
        (0..BITS_PER_PAGE).for_each(|bit| {
            map.set(page * BITS_PER_PAGE + bit);
        });
    }
}

fn page_crc(bytes: &[u8], device: DeviceId, page: u32) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&device.0);
    crc.update(&page.to_le_bytes());
    crc.update(&bytes[PAGE_HEAD..]);
    crc.finalize()
}

/// One before-image.
pub(crate) fn encode_undo(run: u64, entry: u32, granule: u32, data: &[u8]) -> Bytes {
    let mut w = Writer(Vec::with_capacity(UNDO_LEN as usize));
    w.bytes(UNDO_MAGIC).u32(FORMAT_VERSION).u32(0);
    w.u64(run).u32(entry).u32(granule).u32(data.len() as u32);
    w.0.resize(UNDO_HEAD as usize, 0);
    w.bytes(data);
    seal(w, UNDO_LEN as usize)
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
        let layout = Layout::new(1 << 30, None).unwrap();
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
        sb.hot = (0..crate::Config::MAX_HOT as u32).collect();
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
            let sb = Superblock { size, ..sample() };
            assert!(matches!(Superblock::decode(&sb.encode()), Err(OpenError::NotOurs { .. })), "{size}");
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
        newer[8] = 2;
        newer[12..16].fill(0);
        let crc = crc32fast::hash(&newer);
        newer[12..16].copy_from_slice(&crc.to_le_bytes());
        let answer = Superblock::newest(&sample().encode(), &newer);
        assert!(matches!(answer, Err(OpenError::Newer { found: 2, .. })), "{answer:?}");
    }

    #[test]
    fn a_damaged_bitmap_page_counts_as_dirty() {
        let (mut map, device) = (Bitmap::new(BITS_PER_PAGE + 10), DeviceId([3; 16]));
        map.set(5);
        let mut page = encode_page(&map, device, 0).to_vec();
        let mut read = Bitmap::new(BITS_PER_PAGE + 10);
        decode_page(&mut read, device, 0, &page);
        assert_eq!(read, map);
        page[100] ^= 1;
        decode_page(&mut read, device, 0, &page);
        assert_eq!(read.count(), BITS_PER_PAGE);
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

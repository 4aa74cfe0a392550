//! Every record of the metadata file and every frame is what `docs/format.md` draws, read here byte by byte.

use bytes::BytesMut;
use posthaste_blockrepl::core::{PeerStatus, Replica};
use posthaste_blockrepl::wire::{Digest, HEADER_LEN, Hello, Message, Opening, Refusal, WriterMessage};
use posthaste_blockrepl::{
    Config, DeviceId, FileSnapshots, GRANULE, GenerationId, Lineage, Options, Paths, SnapshotStore,
    SplitBrainPolicy, Volume, Zeros,
};

use crate::harness::*;

const SUPERBLOCK: usize = 16_384;
const PAGE: usize = 4096;
/// {u64 number, u64 epoch, device id}
type Generation = (u64, u64, [u8; 16]);

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

/// Takes fields off the front.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn array<const N: usize>(&mut self) -> [u8; N] {
        let (head, rest) = self.0.split_first_chunk().unwrap();
        self.0 = rest;
        *head
    }
    fn u8(&mut self) -> u8 {
        self.array::<1>()[0]
    }
    fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.array())
    }
    fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.array())
    }
    fn generation(&mut self) -> Generation {
        (self.u64(), self.u64(), self.array())
    }
    fn list<T>(&mut self, most: u32, one: impl Fn(&mut Self) -> T) -> Vec<T> {
        let n = self.u32();
        assert!(n <= most, "{n} of {most}");
        (0..n).map(|_| one(self)).collect()
    }
}

struct Peer {
    area: u32,
    node: u64,
    device: [u8; 16],
    base: Generation,
    resync: u64,
}

struct Snapshot {
    id: u64,
    state: u8,
    area: u32,
    generation: Generation,
    common: Generation,
    size: u64,
}

/// A superblock, as it is drawn.
struct Superblock {
    seq: u64,
    areas: [(u64, u64); 3],
    epoch: u64,
    consistent: u8,
    resync: Option<([u8; 16], u64)>,
    begun: u64,
    undo_run: u64,
    undo_too_small: u8,
    sums_run: u64,
    lineage: Vec<Generation>,
    members: Vec<(u64, [u8; 16])>,
    peers: Vec<Peer>,
    hot: Vec<u32>,
    taken: u64,
    snapshots: Vec<Snapshot>,
    made_smaller: u8,
    granule: u32,
    /// {block, crc of what it holds, crc that it should have}
    damaged: Vec<(u64, u32, u32)>,
}

pub fn whole(bytes: &[u8], magic: &[u8; 8]) -> bool {
    let mut copy = bytes.to_vec();
    copy[12..16].fill(0);
    let version = if magic == b"PHREPLMD" { 2..=3 } else { 2..=2 };
    bytes[..8] == *magic && version.contains(&u32_at(bytes, 8)) && u32_at(bytes, 12) == crc32fast::hash(&copy)
}

/// The one in force.
fn superblock(meta: &[u8]) -> Superblock {
    let places = [0, 1].map(|n| &meta[n * SUPERBLOCK..(n + 1) * SUPERBLOCK]);
    let all = places.iter().enumerate().filter(|(_, sb)| whole(sb, b"PHREPLMD"));
    let (place, sb) = all.max_by_key(|(_, sb)| u64_at(sb, 16)).expect("a whole superblock");
    assert_eq!(place as u64, u64_at(sb, 16) % 2);
    let areas = [88, 104, 120].map(|at| (u64_at(sb, at), u64_at(sb, at + 8)));
    let resync = (sb[145] == 1).then(|| (sb[146..162].try_into().unwrap(), u64_at(sb, 162)));
    let mut f = Fields(&sb[195..]);
    let drawn = Superblock {
        seq: u64_at(sb, 16),
        areas,
        epoch: u64_at(sb, 136),
        consistent: sb[144],
        resync,
        begun: u64_at(sb, 170),
        undo_run: u64_at(sb, 178),
        undo_too_small: sb[186],
        sums_run: u64_at(sb, 187),
        lineage: f.list(32, Fields::generation),
        members: f.list(8, |f| (f.u64(), f.array())),
        peers: f.list(7, |f| Peer {
            area: f.u32(),
            node: f.u64(),
            device: f.array(),
            base: f.generation(),
            resync: f.u64(),
        }),
        hot: f.list(1024, Fields::u32),
        taken: f.u64(),
        snapshots: f.list(8, |f| Snapshot {
            id: f.u64(),
            state: f.u8(),
            area: f.u32(),
            generation: f.generation(),
            common: f.generation(),
            size: f.u64(),
        }),
        made_smaller: f.u8(),
        granule: f.u32(),
        damaged: f.list(512, |f| (f.u64(), f.u32(), f.u32())),
    };
    assert!(f.0.iter().all(|b| *b == 0), "zeros behind the last field");
    let usual = drawn.granule == 0 && drawn.damaged.is_empty();
    assert_eq!(u32_at(sb, 8), if usual { 2 } else { 3 });
    drawn
}

#[test]
fn another_granule_stands_behind_the_last_field_of_a_superblock_of_version_3() {
    for granule in [4096u64, GRANULE, 1 << 20] {
        let config = Config { granule_bytes: granule, undo_bytes: Some(4 << 20), ..Config::default() };
        let (len, writes) = Replica::format(&config, &identity(0), 512 << 20).unwrap();
        let usual = granule == GRANULE;
        for (_, sb) in writes {
            assert_eq!(u32_at(&sb, 8), if usual { 2 } else { 3 });
            // Its lists are empty.
            assert_eq!(u32_at(&sb, 224), if usual { 0 } else { granule as u32 });
            let pages = (512u64 << 20).div_ceil(granule).div_ceil(32640);
            let bitmaps = (32 << 10, 15 * pages * 4096);
            let sums = (bitmaps.0 + bitmaps.1, (131_072u64).div_ceil(1020) * 4096);
            let undo = (sums.0 + sums.1, (4 << 20) / granule * (4096 + granule));
            assert_eq!(
                [88, 104, 120].map(|at| (u64_at(&sb, at), u64_at(&sb, at + 8))),
                [bitmaps, sums, undo]
            );
            assert_eq!(len, undo.0 + undo.1);
        }
    }
}

/// The granules of a bitmap of one page, whose head is checked.
fn bitmap(meta: &[u8], sb: &Superblock, area: u32, device: [u8; 16]) -> Vec<u32> {
    let page = &meta[sb.areas[0].0 as usize + area as usize * PAGE..][..PAGE];
    let crc = crc32fast::hash(&[&device[..], &0u32.to_le_bytes(), &page[16..]].concat());
    assert_eq!((u32_at(page, 0), u32_at(page, 4)), (crc, 0));
    (0..4080 * 8).filter(|i| page[16 + *i as usize / 8] >> (i % 8) & 1 == 1).collect()
}

/// The checksum of a block, from its page, whose head is checked.
fn sum(meta: &[u8], sb: &Superblock, device: [u8; 16], block: u64) -> u32 {
    let number = block / 1020;
    let page = &meta[sb.areas[1].0 as usize + number as usize * PAGE..][..PAGE];
    let crc = crc32fast::hash(&[b"sums", &device[..], &page[4..]].concat());
    assert_eq!((u32_at(page, 0), u64::from(u32_at(page, 4)), u64_at(page, 8)), (crc, number, sb.sums_run));
    u32_at(page, 16 + 4 * (block % 1020) as usize)
}

#[test]
fn a_superblock_in_use_its_bitmap_and_its_checksums_are_as_they_are_drawn() {
    let mut net = Net::pair(1);
    net.put(0, 5 * GRANULE, &[3; 8192]);
    net.put(0, 9 * GRANULE, b"a part of a block");
    net.flush(0);
    net.idle();
    let hot = superblock(&net.nodes[0].meta.live);
    assert!(!hot.hot.is_empty() && hot.hot.is_sorted(), "extents of 1 MiB");
    net.cut(0, 1);
    net.set_grant(0, grant(1, 0, &[0], 2)).unwrap();
    net.put(0, 1020 * 4096, &[4; 4096]);
    net.flush(0);
    net.close(0);
    net.settle();
    let (meta, own) = (&net.nodes[0].meta.live, identity(0).device.0);
    let sb = superblock(meta);
    assert!(sb.seq > hot.seq && sb.hot.is_empty(), "it was closed");
    assert_eq!((sb.epoch, sb.consistent, sb.resync, sb.undo_too_small), (1, 1, None, 0));
    assert_eq!((sb.begun, sb.undo_run, sb.taken), (0, 0, 0));
    assert_eq!(sb.lineage, [(1, 1, own), (2, 1, own)], "oldest first");
    assert_eq!(sb.members, [(0, own)]);
    let peer = &sb.peers[0];
    assert_eq!((sb.peers.len(), peer.area, peer.node, peer.device), (1, 0, 1, identity(1).device.0));
    assert_eq!((peer.base, peer.resync), ((1, 1, own), 0));
    // What the peer lacks; the bits are exact after a close.
    assert_eq!(bitmap(meta, &sb, 0, peer.device), [(1020 * 4096 / GRANULE) as u32]);
    let of = |data: &[u8]| crc32fast::hash(data);
    let block = 5 * GRANULE / 4096;
    assert_eq!([block, block + 1].map(|b| sum(meta, &sb, own, b)), [of(&[3; 4096]); 2]);
    assert_eq!(sum(meta, &sb, own, 9 * GRANULE / 4096), 0, "written in parts");
    assert_eq!(sum(meta, &sb, own, 1020), of(&[4; 4096]), "the first of the second page");
}

#[test]
fn a_resync_s_mark_and_a_before_image_are_as_they_are_drawn() {
    let mut net = Net::pair(2);
    net.put(0, 5 * GRANULE, &[1; GRANULE as usize]);
    net.flush(0);
    net.idle();
    net.cut(0, 1);
    net.set_grant(0, grant(1, 0, &[0], 2)).unwrap();
    net.put(0, 5 * GRANULE, &[2; GRANULE as usize]);
    net.flush(0);
    net.settle();
    net.connect(0, 1);
    let at = superblock(&net.nodes[1].meta.live).areas[2].0 as usize;
    while !whole(&net.nodes[1].meta.live[at..at + 69_632], b"PHREPLUN") {
        assert!(net.step(), "a before-image is written");
    }
    let meta = &net.nodes[1].meta.live;
    let (sb, entry) = (superblock(meta), &meta[at..at + 69_632]);
    assert_eq!((sb.consistent, sb.undo_too_small, sb.undo_run), (0, 0, 1));
    assert_eq!(sb.resync, Some((identity(0).device.0, 1)), "the leader's first");
    assert_eq!((u64_at(entry, 16), u32_at(entry, 24), u32_at(entry, 32)), (sb.undo_run, 0, GRANULE as u32));
    let granule = u32_at(entry, 28) as usize;
    assert!(entry[36..4096].iter().all(|b| *b == 0));
    let before: &[u8] = if granule == 5 { &[1; GRANULE as usize] } else { &[0; GRANULE as usize] };
    assert!(entry[4096..] == *before, "granule {granule} as it was");
    net.settle();
    let sb = superblock(&net.nodes[1].meta.live);
    assert_eq!((sb.consistent, sb.resync), (1, None));
    let leaders = superblock(&net.nodes[0].meta.live);
    assert_eq!((leaders.begun, leaders.peers[0].resync), (1, 0), "it is over");
}

#[test]
fn blocks_that_are_known_to_be_damaged_are_recorded_as_they_are_drawn() {
    let mut net = Net::pair(6);
    net.put(0, 0, &[7; GRANULE as usize]);
    net.flush(0);
    net.idle();
    (0..2).for_each(|n| net.nodes[n].data.rot(3 * 4096 + 5));
    net.verify(0);
    net.settle();
    let sb = superblock(&net.nodes[0].meta.live);
    let found = crc32fast::hash(&net.nodes[0].data.live[3 * 4096..4 * 4096]);
    assert_eq!(sb.damaged, [(3, found, crc32fast::hash(&[7; 4096]))]);
    assert_eq!((sb.made_smaller, sb.granule), (0, 0));
    // Overwritten, and that durable, it is forgotten.
    net.put(0, 3 * 4096, &[8; 4096]);
    net.flush(0);
    net.shrink(0, SIZE / 2);
    net.settle();
    let sb = superblock(&net.nodes[0].meta.live);
    assert_eq!((&sb.damaged[..], sb.made_smaller), (&[][..], 1));
}

/// Node 0 wrote granule 2 on its own, node 1 granule 3; node 1 leads, and node 0's is given up.
fn given_up() -> Net {
    let config = Config { split_brain: SplitBrainPolicy::DiscardPeer, ..small() };
    let mut net = Net::with(2, 3, config);
    net.connect(0, 1);
    net.lead(0, grant(1, 0, &[0, 1], 1));
    net.flush(0);
    net.idle();
    net.cut(0, 1);
    net.lead(0, grant(2, 0, &[0], 2));
    net.put(0, 2 * GRANULE, b"what node 0 wrote");
    net.flush(0);
    net.settle();
    net.lead(1, grant(3, 1, &[1], 3));
    net.put(1, 3 * GRANULE, b"what node 1 wrote");
    net.flush(1);
    net.settle();
    net
}

#[test]
fn a_snapshot_s_record_and_bitmap_are_as_they_are_drawn_in_each_state() {
    let mut net = given_up();
    net.connect(0, 1);
    let mut states = Vec::new();
    let note = |net: &Net, states: &mut Vec<u8>| {
        let state = superblock(&net.nodes[0].meta.live).snapshots.first().map(|s| s.state);
        states.extend(state.filter(|s| states.last() != Some(s)));
    };
    while net.step() {
        note(&net, &mut states);
    }
    let (meta, own) = (&net.nodes[0].meta.live, identity(0).device.0);
    let sb = superblock(meta);
    let kept = &sb.snapshots[0];
    assert_eq!((sb.taken, kept.id, kept.state, kept.size), (1, 1, 1, SIZE));
    assert_eq!((kept.generation, kept.common), ((2, 2, own), (1, 1, own)));
    assert!((7..15).contains(&kept.area), "areas 7 to 14 are the snapshots'");
    let written = bitmap(meta, &sb, kept.area, own);
    assert!(written.contains(&2) && !written.contains(&100));
    let told: u64 = net.snapshots(0)[0].written.iter().map(|(_, len)| len).sum();
    assert_eq!(told, written.len() as u64 * GRANULE);
    net.delete_snapshot(0, 1);
    while net.step() {
        note(&net, &mut states);
    }
    assert_eq!(states, [0, 1, 2], "making, kept, removing");
    let sb = superblock(&net.nodes[0].meta.live);
    assert!(sb.snapshots.is_empty() && sb.taken == 1);
}

#[test]
fn the_areas_of_a_device_that_has_grown_are_as_they_are_drawn() {
    let mut net = Net::pair(4);
    let before = superblock(&net.nodes[0].meta.live);
    let end = net.nodes[0].meta.live.len() as u64;
    let larger = SIZE + (20 << 20);
    net.resize(0, larger);
    net.settle();
    let meta = &net.nodes[0].meta.live;
    let sb = superblock(meta);
    // Bitmaps and checksums behind all that there was, at a multiple of 4096; the undo area stays.
    let bitmaps = (end.next_multiple_of(4096), 15 * 4096);
    let sums = (bitmaps.0 + bitmaps.1, (larger / 4096).div_ceil(1020) * 4096);
    assert_eq!(sb.areas, [bitmaps, sums, before.areas[2]]);
    assert_eq!(sb.sums_run, before.sums_run + 1, "they are void");
    let place = (sb.seq % 2) as usize * SUPERBLOCK;
    assert_eq!(u64_at(meta, place + 80), larger, "size, in the identity");
    assert_eq!(meta.len() as u64, sums.0 + sums.1);
    assert!(bitmap(meta, &sb, 0, identity(1).device.0).len() < 192);
    let PeerStatus { node, .. } = net.peer(0, 1);
    assert_eq!(node.0, sb.peers[0].node);
}

#[test]
fn the_image_of_a_snapshot_is_a_data_file_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let paths = Paths { data: dir.path().join("data"), meta: dir.path().join("meta") };
    drop(Volume::create(&paths, &identity(0), SIZE, Options::default()).unwrap());
    let store = FileSnapshots::new(&paths.data);
    store.create(7, SIZE).unwrap();
    store.write(7, 70_000, b"as it was").unwrap();
    store.flush(7).unwrap();
    let image = std::fs::read(dir.path().join("data.snapshot-7")).unwrap();
    assert_eq!(image.len() as u64, 4096 + SIZE);
    assert!(
        image[..4096] == std::fs::read(&paths.data).unwrap()[..4096] && whole(&image[..4096], b"PHREPLDT")
    );
    assert_eq!(image[4096 + 70_000..][..9], *b"as it was");
}

/// The payload that is drawn for each kind, with each field another number.
fn frames() -> Vec<(u8, Message, Vec<u8>)> {
    use Message as M;
    use WriterMessage as W;
    let n = |n: u64| n.to_le_bytes().to_vec();
    let i = |n: u32| n.to_le_bytes().to_vec();
    let (device, node) = (identity(1).device, identity(1).node);
    let id = GenerationId { generation: 21, epoch: 22, device };
    let generation = [n(21), n(22), device.0.to_vec()].concat();
    let (lineage, none) = (Lineage::default(), i(0));
    let (members, two) =
        (set(&[1, 2]), [i(2), n(1), device.0.to_vec(), n(2), identity(2).device.0.to_vec()].concat());
    let (dirty, runs) = (vec![(31, 2), (40, 3)], [i(2), i(31), i(2), i(40), i(3)].concat());
    let (digest, digests) = (Digest { crc: 51, mix: 52 }, [i(51), n(52)].concat());
    let data = bytes::Bytes::from_static(b"data");
    let tail = || b"data".to_vec();
    let e = || n(2);
    let hello = Hello {
        cluster: identity(1).cluster,
        volume: identity(1).volume,
        node,
        device,
        size: 3,
        granule: 5,
        epoch: 4,
        generation: id,
        leading: true,
    };
    let ids = [hello.cluster.0, hello.volume.0].concat();
    let w = |message: W| M::Writer(message);
    vec![
        (
            1,
            M::Hello(hello.clone()),
            [ids.clone(), n(1), device.0.to_vec(), n(3), i(5), n(4), generation.clone(), vec![1]].concat(),
        ),
        (2, M::Refused(Refusal::Fenced { current: 9 }), [vec![1], n(9)].concat()),
        (3, M::Begin { epoch: 2, seq: 3, lineage: lineage.clone() }, [e(), n(3), none.clone()].concat()),
        (
            4,
            M::BeginAck {
                lineage: lineage.clone(),
                members: members.clone(),
                base: id,
                consistent: false,
                sync: Some((device, 6)),
                changed: 7,
                dirty: dirty.clone(),
            },
            [
                none.clone(),
                two.clone(),
                generation.clone(),
                i(7),
                vec![0, 1],
                device.0.to_vec(),
                n(6),
                runs.clone(),
            ]
            .concat(),
        ),
        (
            5,
            M::Write { epoch: 2, seq: 3, stable: 4, offset: 5, data: data.clone().into() },
            [e(), n(3), n(4), n(5), tail()].concat(),
        ),
        (6, M::Flush { epoch: 2, id: 3, stable: 4 }, [e(), n(3), n(4)].concat()),
        (7, M::FlushAck { id: 3, bytes: 4 }, [n(3), n(4)].concat()),
        (8, M::Progress { bytes: 3 }, n(3)),
        (9, M::SyncStart { epoch: 2, sync: 3, granules: 4 }, [e(), n(3), i(4)].concat()),
        (
            10,
            M::Copy { epoch: 2, granule: 3, heal: true, data: data.clone().into() },
            [e(), i(3), vec![1], tail()].concat(),
        ),
        (
            11,
            M::SyncEnd {
                epoch: 2,
                version: 3,
                lineage: lineage.clone(),
                members: members.clone(),
                dirty: dirty.clone(),
            },
            [e(), n(3), none.clone(), two.clone(), runs.clone()].concat(),
        ),
        (12, M::SyncDone { version: 3 }, n(3)),
        (13, M::Adopt { epoch: 2, version: 3, lineage, members }, [e(), n(3), none, two].concat()),
        (14, M::Adopted { version: 3 }, n(3)),
        (15, M::Verify { epoch: 2, id: 3, offset: 4, len: 5 }, [e(), n(3), n(4), i(5)].concat()),
        (16, M::Verified { id: 3, digest }, [n(3), digests.clone()].concat()),
        (17, M::Stable { epoch: 2, stable: 3 }, [e(), n(3)].concat()),
        (32, w(W::Leads { epoch: 2 }), e()),
        (33, w(W::Join { epoch: 2, session: 3, again: true }), [e(), n(3), vec![1]].concat()),
        (
            34,
            w(W::Joined { epoch: 2, session: 3, ordered: vec![(4, 5)], leases: vec![6, 7] }),
            [e(), n(3), i(1), n(4), n(5), i(2), n(6), n(7)].concat(),
        ),
        (
            76,
            M::Write { epoch: 2, seq: 3, stable: 4, offset: 5, data: Zeros::Free.bytes(6).into() },
            [e(), n(3), n(4), n(5), i(6), vec![1]].concat(),
        ),
        (
            77,
            w(W::Forward { epoch: 2, id: 3, seen: 4, offset: 5, data: Zeros::Kept.bytes(6) }),
            [e(), n(3), n(4), n(5), i(6), vec![0]].concat(),
        ),
        (35, w(W::ReadHere { epoch: 2, seq: 3 }), [e(), n(3)].concat()),
        (
            36,
            w(W::Forward { epoch: 2, id: 3, seen: 4, offset: 5, data: data.clone() }),
            [e(), n(3), n(4), n(5), tail()].concat(),
        ),
        (
            37,
            w(W::Ordered { epoch: 2, seq: 3, stable: 4, id: 5, apply: true }),
            [e(), n(3), n(4), n(5), vec![1]].concat(),
        ),
        (38, w(W::Applied { epoch: 2, seq: 3 }), [e(), n(3)].concat()),
        (39, w(W::Visible { epoch: 2, seq: 3 }), [e(), n(3)].concat()),
        (40, w(W::FlushAsk { epoch: 2, id: 3 }), [e(), n(3)].concat()),
        (41, w(W::Flushed { id: 3 }), n(3)),
        (42, w(W::ReadAt { epoch: 2, id: 3, offset: 4, len: 5 }), [e(), n(3), n(4), i(5)].concat()),
        (
            43,
            w(W::ReadData { id: 3, sums: vec![4, 5], data: data.clone() }),
            [n(3), i(2), i(4), i(5), tail()].concat(),
        ),
        (44, w(W::LeaseAsk { epoch: 2, id: 3, offset: 4, len: 5 }), [e(), n(3), n(4), n(5)].concat()),
        (45, w(W::Leased { id: 3 }), n(3)),
        (46, w(W::Release { epoch: 2, id: 3 }), [e(), n(3)].concat()),
        (47, w(W::Leave { epoch: 2 }), e()),
        (52, w(W::VouchAsk { epoch: 2, id: 3 }), [e(), n(3)].concat()),
        (53, w(W::Vouched { id: 3, counted: true }), [n(3), vec![1]].concat()),
        (54, w(W::TooFew { id: 3, have: 4, need: 5 }), [n(3), i(4), i(5)].concat()),
        (48, M::Fetch { epoch: 2, id: 3, chunk: 4 }, [e(), n(3), i(4)].concat()),
        (
            49,
            M::Fetched { id: 3, good: 0x0102, void: 0x0304, data },
            [n(3), vec![0x04, 0x03, 0x02, 0x01], tail()].concat(),
        ),
        (50, M::Rotten { chunk: 3 }, i(3)),
        (51, M::Agreed { epoch: 2, id: 3 }, [e(), n(3)].concat()),
        (64, M::Reach { epoch: 2, seq: 3 }, [e(), n(3)].concat()),
        (65, M::Reached { seq: 3 }, n(3)),
        (66, M::Compare { epoch: 2, granule: 3, digest }, [e(), i(3), digests].concat()),
        (67, M::Compared { granule: 3, same: true }, [i(3), vec![1]].concat()),
        (68, M::Resize { epoch: 2, size: 3 }, [e(), n(3)].concat()),
        (69, M::Resized { size: 3 }, n(3)),
        (74, M::Judged { epoch: 2, chunk: 3 }, [e(), i(3)].concat()),
        (71, M::Shrink { epoch: 2, size: 3 }, [e(), n(3)].concat()),
        (
            72,
            M::CopyDamaged {
                epoch: 2,
                granule: 3,
                heal: true,
                blocks: vec![(6, 4), (7, 5)],
                data: bytes::Bytes::from_static(b"data").into(),
            },
            [e(), i(3), vec![1], i(2), vec![6], i(4), vec![7], i(5), tail()].concat(),
        ),
        (
            70,
            M::Lacks { epoch: 2, member: member(1), base: id, dirty },
            [e(), n(1), DeviceId(device.0).0.to_vec(), generation, runs].concat(),
        ),
        (
            80,
            M::Opening(Opening::Challenge {
                cluster: hello.cluster,
                volume: hello.volume,
                from: node,
                to: identity(2).node,
                sealed: true,
                share: [6; 32],
            }),
            [ids.clone(), n(node.0), n(identity(2).node.0), vec![1], vec![6; 32]].concat(),
        ),
        (81, M::Opening(Opening::Share([6; 32])), vec![6; 32]),
        (82, M::Opening(Opening::Proof([7; 32])), vec![7; 32]),
        (
            96,
            M::Opening(Opening::Path {
                cluster: hello.cluster,
                volume: hello.volume,
                from: node,
                to: identity(2).node,
                session: [8; 16],
                answer: [9; 16],
                rank: 3,
            }),
            [ids, n(node.0), n(identity(2).node.0), vec![8; 16], vec![9; 16], vec![3]].concat(),
        ),
        (97, M::Opening(Opening::Taken([9; 16])), vec![9; 16]),
        (98, M::Opening(Opening::Go), vec![]),
    ]
}

#[test]
fn every_frame_s_payload_is_as_it_is_drawn() {
    let docs = include_str!("../../docs/format.md");
    for (kind, message, payload) in frames() {
        let mut frame = BytesMut::new();
        message.encode(&mut frame);
        assert_eq!((frame[3], u32_at(&frame, 4) as usize), (kind, payload.len()), "{message:?}");
        assert_eq!(frame[HEADER_LEN..], payload, "{message:?}");
        let debug = format!("{message:?}");
        let name = debug
            .trim_start_matches("Writer(")
            .trim_start_matches("Opening(")
            .split([' ', '(', ')'])
            .next()
            .unwrap();
        assert!(docs.contains(&format!("\n| {kind} | {name} | ")), "{kind} {name} is not drawn");
    }
    let drawn =
        docs.lines().filter(|l| l.starts_with("| ") && l[2..].starts_with(|c: char| c.is_ascii_digit()));
    let drawn = drawn.filter(|l| l.split('|').count() == 6).count();
    assert!(drawn >= frames().len(), "{drawn} kinds are drawn");
}

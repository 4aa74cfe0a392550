//! Hostile bytes on live links, and files that are not ours. Each test is a row of `tests/HOSTILE.md`.

use std::path::Path;
use std::time::Duration;

use bytes::BytesMut;
use posthaste_blockrepl::core::RoleStatus;
use posthaste_blockrepl::wire::{Hello, Message, Refusal, WIRE_VERSION, WireError};
use posthaste_blockrepl::{
    Config, GenerationId, Identity, Lineage, Link, LinkError, NodeId, OpenError, Options, Paths, Volume,
};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use crate::driver::{connect, content, create, flush, pair, paths, write};
use crate::harness::{SIZE, grant, identity};

const WAIT: Duration = Duration::from_secs(20);

fn frame(message: &Message) -> BytesMut {
    let mut out = BytesMut::new();
    message.encode(&mut out);
    out
}

/// A whole frame with right checksums around any payload.
fn raw(version: u8, kind: u8, len: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![b'P', b'B', version, kind];
    bytes.extend_from_slice(&len.to_le_bytes());
    bytes.extend_from_slice(&crc32fast::hash(payload).to_le_bytes());
    bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// The hello of a replica that nobody knows.
pub fn stranger() -> Hello {
    match hello(2) {
        Message::Hello(hello) => hello,
        _ => unreachable!(),
    }
}

fn hello(n: usize) -> Message {
    let id = identity(n);
    Message::Hello(Hello {
        cluster: id.cluster,
        volume: id.volume,
        node: id.node,
        device: id.device,
        size: SIZE,
        granule: posthaste_blockrepl::GRANULE as u32,
        epoch: 0,
        generation: GenerationId::default(),
        leading: false,
    })
}

/// Plays node `n` up to where both have said hello.
async fn play(volume: &Volume, n: usize) -> (DuplexStream, Link) {
    let (mut ours, mut theirs) = tokio::io::duplex(1 << 16);
    ours.write_all(&frame(&hello(n))).await.unwrap();
    let heard = Hello::read(&mut theirs).await.unwrap();
    let link = volume.accept(heard, theirs).await.unwrap();
    Hello::read(&mut ours).await.unwrap();
    (ours, link)
}

async fn ended(link: Link) -> LinkError {
    tokio::time::timeout(WAIT, link.ended()).await.expect("the link ends")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_dribbles_its_hello_or_half_a_frame_is_given_up_and_keeps_nobody_waiting() {
    let dir = TempDir::new().unwrap();
    let (a, _b, device, _link) = pair(&dir).await;
    // Half a frame, after a hello in good order.
    let (mut half, _link) = play(&a, 2).await;
    half.write_all(&raw(WIRE_VERSION, 8, 8, &[0; 8])[..20]).await.unwrap();
    // A byte of a hello now and then.
    let (mut slow, mut theirs) = tokio::io::duplex(1 << 10);
    let dribble = tokio::spawn(async move {
        for byte in frame(&hello(2)) {
            tokio::time::sleep(Duration::from_millis(100)).await;
            if slow.write_u8(byte).await.is_err() {
                return;
            }
        }
    });
    // One that takes no byte of ours.
    let (deaf, _keep) = tokio::io::duplex(16);
    let all = async { tokio::join!(Hello::read(&mut theirs), a.attach(NodeId(2), deaf)) };
    let work = async {
        write(&device, 0, &[1; 4096]).await.unwrap();
        flush(&device).await
    };
    let (given_up, worked) = tokio::join!(tokio::time::timeout(WAIT, all), tokio::time::timeout(WAIT, work));
    let (read, dialled) = given_up.unwrap();
    assert!(matches!(read, Err(LinkError::Timeout)), "{read:?}");
    assert!(matches!(dialled, Err(LinkError::Timeout)), "{dialled:?}");
    worked.unwrap().unwrap();
    dribble.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_that_are_damaged_newer_too_long_or_malformed_end_their_own_link_only() {
    let dir = TempDir::new().unwrap();
    let (a, _b, device, _link) = pair(&dir).await;
    write(&device, 0, &[1; 4096]).await.unwrap();
    flush(&device).await.unwrap();
    let before = content(&dir, 0);
    let limit = Config::default().frame_bytes_max;
    let mut flipped = raw(WIRE_VERSION, 8, 8, &[0; 8]);
    flipped[20] ^= 1;
    for (bytes, why) in [
        (b"GET / HTTP/1.1\r\n\r\n".to_vec(), WireError::Magic(*b"GE")),
        (raw(WIRE_VERSION + 1, 8, 8, &[0; 8]), WireError::Version { theirs: WIRE_VERSION + 1 }),
        (raw(WIRE_VERSION - 1, 8, 8, &[0; 8]), WireError::Version { theirs: WIRE_VERSION - 1 }),
        (flipped, WireError::Checksum { kind: 8 }),
        (raw(WIRE_VERSION, 5, limit + 1, &[]), WireError::TooLong { len: limit + 1, limit }),
        (raw(WIRE_VERSION, 5, u32::MAX, &[]), WireError::TooLong { len: u32::MAX, limit }),
        (raw(WIRE_VERSION, 8, 9, &[0; 9]), WireError::Malformed { kind: 8 }),
        (raw(WIRE_VERSION, 200, 0, &[]), WireError::Malformed { kind: 200 }),
    ] {
        let (mut hostile, link) = play(&a, 2).await;
        hostile.write_all(&bytes).await.unwrap();
        match ended(link).await {
            LinkError::Wire(found) => assert_eq!(found, why),
            other => panic!("{other} for {why}"),
        }
        // It is told why, behind what was on its way.
        let mut heard = Vec::new();
        drop(tokio::time::timeout(WAIT, hostile.read_to_end(&mut heard)).await);
        let refused = frame(&Message::Refused(Refusal::Protocol));
        assert!(heard.ends_with(&refused), "{why}");
    }
    assert!(content(&dir, 0) == before);
    write(&device, 4096, &[2; 4096]).await.unwrap();
    flush(&device).await.unwrap();
    assert_eq!(a.status().role, RoleStatus::Leader);
}

/// Frames of a leader with a few bits changed, under checksums that are right again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fuzzed_frames_on_a_live_link_harm_nobody_else() {
    let dir = TempDir::new().unwrap();
    let (a, _b, device, _link) = pair(&dir).await;
    write(&device, 0, &[1; 8192]).await.unwrap();
    flush(&device).await.unwrap();
    let (before, mut state) = (content(&dir, 0), 7u64);
    let mut random = move |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    for _ in 0..150 {
        let (mut hostile, link) = play(&a, 2).await;
        for _ in 0..6 {
            // Of no kind by which a follower in step may heal its leader.
            let kind =
                [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 33, 36, 40, 42, 44, 70][random(21)];
            // No epoch above the leader's own, which it would obey.
            let epoch = random(2) as u64;
            let mut payload = epoch.to_le_bytes().to_vec();
            payload.extend((0..random(80)).map(|_| if random(3) == 0 { random(256) as u8 } else { 0 }));
            if kind <= 3 || kind == 5 || kind == 10 {
                payload[..8].copy_from_slice(&1u64.to_le_bytes());
            }
            if hostile.write_all(&raw(WIRE_VERSION, kind, payload.len() as u32, &payload)).await.is_err() {
                break;
            }
        }
        drop(hostile);
        ended(link).await;
        assert_eq!((a.status().role, a.status().epoch), (RoleStatus::Leader, 1));
    }
    assert!(content(&dir, 0) == before);
    write(&device, 0, &[2; 8192]).await.unwrap();
    flush(&device).await.unwrap();
    let verified = a.verify().await.unwrap();
    assert!(verified.differing.is_empty(), "{verified:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_asks_and_never_reads_is_cut_off() {
    let dir = TempDir::new().unwrap();
    let config = Config { peer_window_bytes: 0, unsent_bytes_max: 0, ..Config::default() };
    let options = Options { config, ..Options::default() };
    let volume = Volume::create(&paths(dir.path(), 0), &identity(0), SIZE, options).unwrap();
    let (mut hostile, link) = play(&volume, 1).await;
    let begin = Message::Begin { epoch: 5, seq: 0, lineage: Lineage::default() };
    hostile.write_all(&frame(&begin)).await.unwrap();
    // It is followed once it has read this answer, and reads no other.
    assert!(hostile.read(&mut [0; 1024]).await.unwrap() > 16);
    let flood = tokio::spawn(async move {
        for id in 0.. {
            let fetch = Message::Fetch { epoch: 5, id, chunk: id as u32 % 16 };
            if hostile.write_all(&frame(&fetch)).await.is_err() {
                return id;
            }
            // Not more at once than the disk can answer.
            if id % 50 == 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        0
    });
    let why = ended(link).await;
    assert!(matches!(why, LinkError::Unread { limit: 4_194_304 }), "{why}");
    assert!(tokio::time::timeout(WAIT, flood).await.unwrap().unwrap() > 64);
    // The volume is there for others.
    let other = create(&dir, 1);
    connect(&volume, &other).await;
    volume.raise_epoch(6).await.unwrap();
    volume.lead(grant(6, 0, &[0], 1)).await.unwrap();
}

fn files(paths: &Paths) -> (Vec<u8>, Vec<u8>) {
    (std::fs::read(&paths.data).unwrap(), std::fs::read(&paths.meta).unwrap())
}

fn cut(path: &Path, len: u64) {
    std::fs::OpenOptions::new().write(true).open(path).unwrap().set_len(len).unwrap();
}

#[test]
fn a_truncated_foreign_or_swapped_backing_file_is_refused_by_identity_and_left_as_it_is() {
    type Spoil = fn(&Paths, &Paths);
    fn put(from: &Path, to: &Path) {
        std::fs::write(to, std::fs::read(from).unwrap()).unwrap();
    }
    let cases: [(&str, Spoil); 9] = [
        ("foreign data", |p, q| put(&q.data, &p.data)),
        ("foreign metadata", |p, q| put(&q.meta, &p.meta)),
        ("swapped", |p, _| {
            let aside = p.data.with_extension("aside");
            std::fs::rename(&p.data, &aside).unwrap();
            std::fs::rename(&p.meta, &p.data).unwrap();
            std::fs::rename(&aside, &p.meta).unwrap();
        }),
        ("truncated data", |p, _| cut(&p.data, 4096 + SIZE - 1)),
        ("no data", |p, _| cut(&p.data, 0)),
        ("truncated metadata", |p, _| cut(&p.meta, 40_000)),
        ("half a superblock", |p, _| cut(&p.meta, 9000)),
        ("no metadata", |p, _| cut(&p.meta, 0)),
        ("another program's", |p, _| std::fs::write(&p.meta, vec![b'x'; 100_000]).unwrap()),
    ];
    for (name, spoil) in cases {
        let dir = TempDir::new().unwrap();
        drop((create(&dir, 0), create(&dir, 1)));
        let (ours, other) = (paths(dir.path(), 0), paths(dir.path(), 1));
        spoil(&ours, &other);
        let before = files(&ours);
        let why = Volume::open(&ours, &identity(0), Options::default()).unwrap_err();
        let typed = match name {
            "foreign data" => matches!(why, OpenError::Foreign { file: "data", .. }),
            "foreign metadata" => matches!(why, OpenError::Foreign { file: "metadata", .. }),
            "truncated data" | "no data" => matches!(why, OpenError::Truncated { file: "data", .. }),
            "truncated metadata" | "half a superblock" | "no metadata" => {
                matches!(why, OpenError::Truncated { file: "metadata", .. })
            }
            _ => matches!(why, OpenError::NotOurs { .. }),
        };
        assert!(typed, "{name}: {why}");
        assert!(files(&ours) == before, "{name}");
    }
    // The right files under a wrong name: each part of the identity counts.
    let dir = TempDir::new().unwrap();
    drop(create(&dir, 0));
    let (ours, right) = (paths(dir.path(), 0), identity(0));
    let before = files(&ours);
    let mut wrong = [right; 4];
    wrong[0].cluster.0[0] ^= 1;
    wrong[1].volume.0[0] ^= 1;
    wrong[2].device.0[0] ^= 1;
    wrong[3].node.0 ^= 1;
    for (identity, part) in wrong.iter().zip(["cluster", "volume", "device", "node"]) {
        let identity: &Identity = identity;
        let why = Volume::open(&ours, identity, Options::default()).unwrap_err();
        assert!(matches!(why, OpenError::Foreign { what, .. } if what == part), "{part}: {why}");
    }
    assert!(files(&ours) == before);
}

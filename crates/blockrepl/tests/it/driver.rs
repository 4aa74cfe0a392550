//! The driver on real files and in-memory streams.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use posthaste_blockrepl::core::{Denied, Event, LinkStatus, RoleStatus, Waiting};
use posthaste_blockrepl::wire::{Hello, Refusal};
use posthaste_blockrepl::{
    BlockDevice, ClusterId, Config, DATA_HEADER_LEN, DeviceError, DeviceId, Disk, FileDisk, Identity, Link,
    LinkError, NodeId, OpenError, Options, Paths, VolatileDisk, Volume, VolumeId, Zeros,
};
use tempfile::TempDir;
use tokio::task::spawn_blocking;

use crate::harness::{SIZE, grant, identity, set};

const WAIT: Duration = Duration::from_secs(10);

pub fn paths(dir: &Path, n: usize) -> Paths {
    Paths { data: dir.join(format!("{n}.data")), meta: dir.join(format!("{n}.meta")) }
}

pub fn volatile() -> Options {
    Options { volatile: true, ..Options::default() }
}

pub fn create(dir: &TempDir, n: usize) -> Volume {
    Volume::create(&paths(dir.path(), n), &identity(n), SIZE, volatile()).unwrap()
}

/// Waits for the links of the volume that was here before: they hold its files until they end.
pub fn open(dir: &TempDir, n: usize) -> Volume {
    let begun = std::time::Instant::now();
    loop {
        match Volume::open(&paths(dir.path(), n), &identity(n), volatile()) {
            Err(OpenError::Io { source, .. })
                if source.kind() == std::io::ErrorKind::WouldBlock && begun.elapsed() < WAIT =>
            {
                std::thread::sleep(Duration::from_millis(5));
            }
            opened => return opened.unwrap(),
        }
    }
}

/// Connects two volumes; the acceptor finds out by the hello which volume is meant.
pub async fn connect(a: &Volume, b: &Volume) -> (Link, Link) {
    let (ours, mut theirs) = tokio::io::duplex(1 << 16);
    let accepted = async {
        let hello = Hello::read(&mut theirs).await.unwrap();
        assert_eq!(hello.volume, VolumeId([2; 16]));
        b.accept(hello, theirs).await.unwrap()
    };
    let (dialled, accepted) = tokio::join!(a.attach(b.status().identity.node, ours), accepted);
    (dialled.unwrap(), accepted)
}

pub async fn until(what: &str, mut ready: impl FnMut() -> bool) {
    let wait = async {
        while !ready() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(WAIT, wait).await.unwrap_or_else(|_| panic!("{what} never happened"));
}

async fn lead(
    volume: &Volume,
    epoch: u64,
    n: usize,
    members: &[usize],
    generation: u64,
) -> Arc<dyn BlockDevice> {
    volume.raise_epoch(epoch).await.unwrap();
    volume.lead(grant(epoch, n, members, generation)).await.unwrap()
}

fn link_status(volume: &Volume) -> Option<LinkStatus> {
    volume.status().peers.first().map(|p| p.link)
}

pub fn content(dir: &TempDir, n: usize) -> Vec<u8> {
    std::fs::read(paths(dir.path(), n).data).unwrap()[DATA_HEADER_LEN as usize..].to_vec()
}

pub async fn pair(dir: &TempDir) -> (Volume, Volume, Arc<dyn BlockDevice>, Link) {
    let (a, b) = (create(dir, 0), create(dir, 1));
    let device = lead(&a, 1, 0, &[0, 1], 1).await;
    let (link, _) = connect(&a, &b).await;
    until("sync", || link_status(&a) == Some(LinkStatus::Synced)).await;
    (a, b, device, link)
}

pub async fn flush(device: &Arc<dyn BlockDevice>) -> Result<(), DeviceError> {
    let device = device.clone();
    spawn_blocking(move || device.flush()).await.unwrap()
}

pub async fn write(
    device: &Arc<dyn BlockDevice>,
    offset: u64,
    data: &'static [u8],
) -> Result<(), DeviceError> {
    let device = device.clone();
    spawn_blocking(move || device.write_at(offset, data)).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn zeros_cost_neither_copy_data_and_a_replica_frees_them_only_if_told_to() {
    use std::os::unix::fs::MetadataExt;
    let dir = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let free = Config { free_discarded: true, ..Config::default() };
    let options = Options { config: free, ..Options::default() };
    let a = Volume::create(&paths(dir.path(), 0), &identity(0), SIZE, Options::default()).unwrap();
    let b = Volume::create(&paths(dir.path(), 1), &identity(1), SIZE, options).unwrap();
    let device = lead(&a, 1, 0, &[0, 1], 1).await;
    let (_link, _) = connect(&a, &b).await;
    until("sync", || link_status(&a) == Some(LinkStatus::Synced)).await;
    let d = device.clone();
    spawn_blocking(move || d.write_at(0, &vec![7; SIZE as usize]).and_then(|()| d.flush()))
        .await
        .unwrap()
        .unwrap();
    let blocks = |n: usize| paths(dir.path(), n).data.metadata().unwrap().blocks() * 512;
    let (before, written) = ([0, 1].map(blocks), [&a, &b].map(|v| v.written().data));
    assert!(device.zeros_in(0..SIZE, 4).is_empty());
    let d = device.clone();
    let zero = move || {
        d.write_bytes(0, Zeros::Kept.bytes(1 << 20))?;
        for i in 1..8 {
            d.write_bytes(i << 20, Zeros::Free.bytes(1 << 20))?;
        }
        d.write_bytes((8 << 20) + 100, Zeros::Free.bytes(5000))?;
        d.flush()
    };
    spawn_blocking(zero).await.unwrap().unwrap();
    let mut expected = vec![0; 8 << 20];
    expected.resize(SIZE as usize, 7);
    expected[(8 << 20) + 100..][..5000].fill(0);
    assert!(content(&dir, 0) == expected && content(&dir, 1) == expected);
    if device.zeros_in(0..SIZE, 4).is_empty() {
        eprintln!("skipped: this file system does not zero without writing");
        return;
    }
    let found = device.zeros_in(4096..SIZE, 4);
    assert!(found.len() == 1 && found[0] == (4096..8 << 20), "{found:?}");
    let data = [&a, &b].map(|v| v.written().data);
    assert!(data.iter().zip(written).all(|(now, then)| now - then <= 16 << 10), "{written:?} {data:?}");
    assert!(blocks(0) >= before[0], "the leader keeps its room");
    assert!(blocks(1) + (7 << 20) <= before[1], "the other one gives back what may be freed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_writers_leave_identical_files_that_survive_a_power_cut() {
    let dir = TempDir::new().unwrap();
    let (a, b, device, _link) = pair(&dir).await;
    let writers = (0..4u8).map(|w| {
        let device = device.clone();
        spawn_blocking(move || {
            for i in 0..40u64 {
                let at = (u64::from(w) * 7919 + i * 104_729) % (SIZE - 9000);
                device.write_at(at, &vec![w * 40 + i as u8; 9000]).unwrap();
                if i % 10 == 9 {
                    device.flush().unwrap();
                }
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    flush(&device).await.unwrap();
    let mut seen = vec![0; SIZE as usize];
    device.read_at(0, &mut seen).unwrap();
    drop((a, b, device));
    assert!(content(&dir, 0) == seen);
    assert!(content(&dir, 1) == seen);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_each_copy_wrote_is_counted_in_whole_pages() {
    let dir = TempDir::new().unwrap();
    let (a, b, device, _link) = pair(&dir).await;
    let before = [&a, &b].map(|volume| volume.written().data);
    write(&device, 4090, b"over the end of a page").await.unwrap();
    flush(&device).await.unwrap();
    for (volume, before) in [&a, &b].into_iter().zip(before) {
        assert_eq!(volume.written().data - before, 2 * 4096);
        assert!(volume.written().meta > 0, "an extent was made hot");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_the_link_is_cut_a_grant_lets_the_flush_go_on_and_the_peer_returns() {
    let dir = TempDir::new().unwrap();
    let (a, b, device, link) = pair(&dir).await;
    let mut events = a.events();
    write(&device, 0, b"both").await.unwrap();
    flush(&device).await.unwrap();
    link.cut();
    until("loss", || link_status(&a) == Some(LinkStatus::Down)).await;
    write(&device, 70_000, b"alone").await.unwrap();
    let waiting = tokio::spawn({
        let device = device.clone();
        async move { flush(&device).await }
    });
    until("wait", || a.status().waiting == vec![Waiting::PeerDown(NodeId(1))]).await;
    a.set_pending(Some(set(&[0]))).unwrap();
    a.set_grant(grant(1, 0, &[0], 2)).unwrap();
    waiting.await.unwrap().unwrap();

    let (_link, _) = connect(&a, &b).await;
    until("resync", || link_status(&a) == Some(LinkStatus::Synced)).await;
    a.set_pending(Some(set(&[0, 1]))).unwrap();
    a.set_grant(grant(1, 0, &[0, 1], 2)).unwrap();
    flush(&device).await.unwrap();
    assert!(b.status().consistent && b.status().generation == a.status().generation);
    let mut names = Vec::new();
    while let Ok(event) = events.try_recv() {
        names.push(event);
    }
    let lost = Event::PeerLost { peer: NodeId(1), device: identity(1).device, in_sync: true };
    let back = Event::PeerSynced { peer: NodeId(1), device: identity(1).device };
    assert!(names.contains(&lost) && names.contains(&back), "{names:?}");
    let report = a.verify().await.unwrap();
    assert_eq!((report.checked_bytes, report.differing.len()), (SIZE, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_leader_loses_nothing_acknowledged_and_comes_back_by_resync() {
    let dir = TempDir::new().unwrap();
    let (a, b, device, _link) = pair(&dir).await;
    write(&device, 1000, b"acknowledged").await.unwrap();
    flush(&device).await.unwrap();
    write(&device, 3 << 20, b"not acknowledged").await.unwrap();
    drop((a, device));
    until("loss", || link_status(&b) == Some(LinkStatus::Down)).await;
    let device = lead(&b, 2, 1, &[1], 2).await;
    let mut seen = [0; 12];
    device.read_at(1000, &mut seen).unwrap();
    assert_eq!(&seen, b"acknowledged");
    write(&device, 2 << 20, b"by the successor").await.unwrap();
    flush(&device).await.unwrap();

    let a = open(&dir, 0);
    let (_link, _) = connect(&b, &a).await;
    until("resync", || link_status(&b) == Some(LinkStatus::Synced)).await;
    flush(&device).await.unwrap();
    a.close().await.unwrap();
    b.close().await.unwrap();
    drop((a, b, device));
    assert!(content(&dir, 0) == content(&dir, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fenced_handle_fails_all_calls_for_ever() {
    let dir = TempDir::new().unwrap();
    let (a, b, device, _link) = pair(&dir).await;
    b.raise_epoch(5).await.unwrap();
    until("fence", || a.status().role == RoleStatus::Follower).await;
    let fenced = DeviceError::Fenced { held: 1, current: 5 };
    assert_eq!(write(&device, 0, b"x").await, Err(fenced.clone()));
    assert_eq!(flush(&device).await, Err(fenced.clone()));
    assert_eq!(device.read_at(0, &mut [0]), Err(fenced.clone()));
    assert!(!device.read_cached(0, &mut [0]));
    // Not even a new leadership of the same node revives it.
    let newer = lead(&a, 6, 0, &[0], 2).await;
    assert_eq!(device.read_at(0, &mut [0]), Err(fenced));
    newer.read_at(0, &mut [0]).unwrap();
    assert_eq!((device.epoch(), newer.epoch()), (1, 6));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_replica_alone_is_a_plain_device() {
    let dir = TempDir::new().unwrap();
    let a = create(&dir, 0);
    let device = lead(&a, 1, 0, &[0], 1).await;
    let big = vec![7u8; 3 << 20];
    let (d, data) = (device.clone(), big.clone());
    spawn_blocking(move || d.write_at(5, &data).and_then(|()| d.flush())).await.unwrap().unwrap();
    let out = DeviceError::OutOfRange { offset: SIZE - 1, len: 2, size: SIZE };
    assert_eq!(device.write_at(SIZE - 1, b"ab"), Err(out));
    let mut seen = vec![0; big.len()];
    assert!(!device.read_cached(5, &mut seen) || seen == big);
    assert!(!device.read_cached(SIZE - 1, &mut [0; 2]));
    a.close().await.unwrap();
    assert!(matches!(device.flush(), Err(DeviceError::Fenced { .. })));
    drop((a, device));
    assert!(content(&dir, 0)[5..5 + big.len()] == big);
}

#[test]
fn foreign_truncated_and_existing_files_are_refused_and_left_alone() {
    let dir = TempDir::new().unwrap();
    drop((create(&dir, 0), create(&dir, 1)));
    let (zero, one) = (paths(dir.path(), 0), paths(dir.path(), 1));
    let open =
        |paths: &Paths, identity: &Identity| Volume::open(paths, identity, Options::default()).unwrap_err();
    let before = std::fs::read(&zero.data).unwrap();

    let other_cluster = Identity { cluster: ClusterId([9; 16]), ..identity(0) };
    assert!(matches!(open(&zero, &other_cluster), OpenError::Foreign { what: "cluster", .. }));
    let other_volume = Identity { volume: VolumeId([9; 16]), ..identity(0) };
    assert!(matches!(open(&zero, &other_volume), OpenError::Foreign { what: "volume", .. }));
    let other_device = Identity { device: DeviceId([9; 16]), ..identity(0) };
    assert!(matches!(open(&zero, &other_device), OpenError::Foreign { what: "device", .. }));
    let swapped = Paths { data: one.data.clone(), meta: zero.meta.clone() };
    assert!(matches!(open(&swapped, &identity(0)), OpenError::Foreign { file: "data", .. }));
    let again = Volume::create(&zero, &identity(0), SIZE, Options::default());
    assert!(matches!(again, Err(OpenError::Exists(_))));
    assert!(std::fs::read(&zero.data).unwrap() == before);

    let cut = |path: &Path, len: u64| {
        std::fs::OpenOptions::new().write(true).open(path).unwrap().set_len(len).unwrap();
    };
    cut(&zero.data, DATA_HEADER_LEN + SIZE - 1);
    assert!(matches!(open(&zero, &identity(0)), OpenError::Truncated { file: "data", .. }));
    cut(&one.meta, 40_000);
    assert!(matches!(open(&one, &identity(1)), OpenError::Truncated { file: "metadata", .. }));
    std::fs::write(&one.meta, vec![b'x'; 100_000]).unwrap();
    assert!(matches!(open(&one, &identity(1)), OpenError::NotOurs { file: "metadata", .. }));
}

#[test]
fn a_volume_in_use_is_not_opened_twice() {
    let dir = TempDir::new().unwrap();
    let volume = create(&dir, 0);
    let again = Volume::open(&paths(dir.path(), 0), &identity(0), Options::default());
    assert!(matches!(again, Err(OpenError::Io { .. })), "{again:?}");
    drop(volume);
    open(&dir, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_on_a_link_get_a_typed_refusal() {
    let dir = TempDir::new().unwrap();
    let a = create(&dir, 0);
    let foreign = Identity { cluster: ClusterId([9; 16]), ..identity(1) };
    let b = Volume::create(&paths(dir.path(), 1), &foreign, SIZE, Options::default()).unwrap();
    let (_, end) = connect(&a, &b).await;
    let why = tokio::time::timeout(WAIT, end.ended()).await.unwrap();
    assert!(matches!(why, LinkError::Refused(Refusal::WrongCluster) | LinkError::Closed), "{why}");
    assert!(a.status().peers.is_empty());

    // A listener that knows no such volume.
    let (ours, mut theirs) = tokio::io::duplex(4096);
    let refuse = async {
        Hello::read(&mut theirs).await.unwrap();
        Hello::refuse(&mut theirs, Refusal::UnknownVolume).await.unwrap();
    };
    let (dialled, ()) = tokio::join!(a.attach(NodeId(1), ours), refuse);
    assert!(matches!(dialled, Err(LinkError::Refused(Refusal::UnknownVolume))));

    // Somebody who is no replica at all.
    let (ours, mut theirs) = tokio::io::duplex(4096);
    let noise = tokio::io::AsyncWriteExt::write_all(&mut theirs, b"GET / HTTP/1.1\r\n\r\n");
    let (dialled, _) = tokio::join!(a.attach(NodeId(1), ours), noise);
    assert!(matches!(dialled, Err(LinkError::Wire(_))));

    // The wrong node at the right address.
    let c = Volume::create(&paths(dir.path(), 2), &identity(2), SIZE, Options::default()).unwrap();
    let (ours, mut theirs) = tokio::io::duplex(4096);
    let accept = async {
        let hello = Hello::read(&mut theirs).await.unwrap();
        c.accept(hello, theirs).await
    };
    let (dialled, _) = tokio::join!(a.attach(NodeId(1), ours), accept);
    assert!(matches!(dialled, Err(LinkError::WrongPeer { .. })));
}

/// A disk that hangs while the gate is shut: in a flush, or in a write as well.
#[derive(Debug)]
struct Hanging {
    below: FileDisk,
    gate: Gate,
    writes: bool,
}

impl Hanging {
    fn pass(&self) {
        let mut shut = self.gate.0.lock().unwrap();
        while *shut {
            shut = self.gate.1.wait(shut).unwrap();
        }
    }
}

impl Disk for Hanging {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> std::io::Result<()> {
        self.below.read_at(offset, buf)
    }
    fn write_at(&self, offset: u64, data: &[u8]) -> std::io::Result<()> {
        if self.writes {
            self.pass();
        }
        self.below.write_at(offset, data)
    }
    fn flush(&self) -> std::io::Result<()> {
        self.pass();
        self.below.flush()
    }
    fn size(&self) -> std::io::Result<u64> {
        self.below.size()
    }
}

type Gate = Arc<(std::sync::Mutex<bool>, std::sync::Condvar)>;

/// Replica `n`, on a data disk that hangs while the gate is shut.
fn create_hanging(dir: &TempDir, n: usize, writes: bool) -> (Volume, Gate) {
    drop(create(dir, n));
    let gate = Gate::default();
    let files = paths(dir.path(), n);
    let data = Hanging { below: FileDisk::open(&files.data).unwrap(), gate: gate.clone(), writes };
    let meta = FileDisk::open(&files.meta).unwrap();
    let volume = Volume::with_disks(Arc::new(data), Arc::new(meta), &identity(n), Default::default());
    (volume.unwrap(), gate)
}

/// A leader alone, on a data disk whose flush hangs while the gate is shut.
async fn on_hanging_disk(dir: &TempDir) -> (Volume, Arc<dyn BlockDevice>, Gate) {
    let (volume, gate) = create_hanging(dir, 0, false);
    let device = lead(&volume, 1, 0, &[0], 1).await;
    (volume, device, gate)
}

/// R11: an owner that waits no longer gives the disk up; what hung is no success, whenever it ends.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hung_disk_shows_its_age_and_can_be_given_up() {
    let dir = TempDir::new().unwrap();
    let (a, device, gate) = on_hanging_disk(&dir).await;
    until("rest", || a.disk_age().is_none()).await;
    write(&device, 0, b"x").await.unwrap();
    *gate.0.lock().unwrap() = true;
    let hung = tokio::spawn({
        let device = device.clone();
        async move { flush(&device).await }
    });
    until("hang", || a.disk_age().is_some_and(|age| age > Duration::from_millis(50))).await;
    a.detach("the owner waits no longer");
    assert_eq!(a.status().role, RoleStatus::Failed);
    assert!(matches!(write(&device, 1, b"y").await, Err(DeviceError::Failed(_))));
    *gate.0.lock().unwrap() = false;
    gate.1.notify_all();
    assert!(matches!(hung.await.unwrap(), Err(DeviceError::Failed(_))));
}

/// In a stream of long writes it is the thread of the disk that reads from the link.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_whose_disk_hangs_in_a_stream_still_hears_its_leader() {
    let dir = TempDir::new().unwrap();
    let a = create(&dir, 0);
    let (b, gate) = create_hanging(&dir, 1, true);
    let device = lead(&a, 1, 0, &[0, 1], 1).await;
    let (ours, theirs) = connect(&a, &b).await;
    until("sync", || link_status(&a) == Some(LinkStatus::Synced)).await;
    static LONG: [u8; 200 << 10] = [7; 200 << 10];
    for _ in 0..2 {
        write(&device, 0, &LONG).await.unwrap();
        flush(&device).await.unwrap();
    }
    *gate.0.lock().unwrap() = true;
    for at in 0..2 {
        write(&device, at * LONG.len() as u64, &LONG).await.unwrap();
    }
    until("hang", || b.disk_age().is_some_and(|age| age > Duration::from_millis(50))).await;
    ours.cut();
    let why = tokio::time::timeout(WAIT, theirs.ended()).await.expect("the end of the link is heard");
    assert!(matches!(why, LinkError::ClosedByPeer | LinkError::Io(_)), "{why}");
    *gate.0.lock().unwrap() = false;
    gate.1.notify_all();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hung_disk_blocks_neither_the_status_nor_later_writes() {
    let dir = TempDir::new().unwrap();
    let (a, device, gate) = on_hanging_disk(&dir).await;
    write(&device, 0, b"x").await.unwrap();
    *gate.0.lock().unwrap() = true;
    let hung = tokio::spawn({
        let device = device.clone();
        async move { flush(&device).await }
    });
    until("wait", || a.status().waiting == vec![Waiting::LocalDisk]).await;
    write(&device, 1, b"y").await.unwrap();
    *gate.0.lock().unwrap() = false;
    gate.1.notify_all();
    hung.await.unwrap().unwrap();
}

#[test]
fn creating_without_room_leaves_no_remains() {
    let dir = TempDir::new().unwrap();
    let none = Volume::create(&paths(dir.path(), 0), &identity(0), 100 << 40, Options::default());
    assert!(matches!(none, Err(OpenError::Io { .. })), "{none:?}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    create(&dir, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_volume_grows_under_a_handle_in_use_and_is_found_larger_when_opened_again() {
    let dir = TempDir::new().unwrap();
    let (a, b, device, _link) = pair(&dir).await;
    let larger = SIZE + (3 << 20);
    assert!(matches!(write(&device, SIZE, b"beyond").await, Err(DeviceError::OutOfRange { .. })));
    let writer = spawn_blocking({
        let device = device.clone();
        move || (0..200u64).for_each(|i| device.write_at(i * 50_000, &[7; 3000]).unwrap())
    });
    assert_eq!(a.resize(larger).await, Ok(larger));
    writer.await.unwrap();
    assert_eq!((device.size(), b.status().size), (larger, larger));
    write(&device, larger - 3, b"end").await.unwrap();
    flush(&device).await.unwrap();
    drop((a, b, device, _link));
    for n in 0..2 {
        assert_eq!(open(&dir, n).status().size, larger);
        assert_eq!(content(&dir, n).len() as u64, larger);
        assert!(content(&dir, n).ends_with(b"end"));
    }
    assert!(content(&dir, 0) == content(&dir, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_volume_shrinks_under_a_handle_in_use_and_is_found_smaller_when_opened_again() {
    let dir = TempDir::new().unwrap();
    let (a, b, device, _link) = pair(&dir).await;
    let smaller = SIZE - (3 << 20);
    assert!(matches!(a.resize(smaller).await, Err(Denied::Shrinks { .. })));
    write(&device, SIZE - 3, b"end").await.unwrap();
    assert_eq!(a.shrink(smaller).await, Ok(smaller));
    assert_eq!((device.size(), b.status().size), (smaller, smaller));
    assert!(matches!(write(&device, smaller - 1, b"beyond").await, Err(DeviceError::OutOfRange { .. })));
    write(&device, smaller - 3, b"new").await.unwrap();
    flush(&device).await.unwrap();
    drop((a, b, device, _link));
    for n in 0..2 {
        assert_eq!(open(&dir, n).status().size, smaller);
        assert!(content(&dir, n)[..smaller as usize].ends_with(b"new"));
    }
}

#[test]
fn what_a_growth_that_failed_left_behind_never_shows() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("disk");
    let disk = FileDisk::create(&path, 8192).unwrap();
    disk.write_at(0, &[1; 8192]).unwrap();
    std::fs::OpenOptions::new()
        .append(true)
        .open(&path)
        .and_then(|mut f| std::io::Write::write_all(&mut f, &[9; 9000]))
        .unwrap();
    disk.grow(8192, 20_480).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    assert_eq!(bytes.len(), 20_480);
    assert!(bytes[..8192].iter().all(|b| *b == 1) && bytes[8192..].iter().all(|b| *b == 0));
}

fn flip_on_disk(dir: &TempDir, n: usize, at: u64) {
    use std::os::unix::fs::FileExt;
    let file = std::fs::OpenOptions::new().read(true).write(true).open(paths(dir.path(), n).data).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, 4096 + at).unwrap();
    file.write_all_at(&[byte[0] ^ 8], 4096 + at).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_verified_read_never_gives_damaged_bytes_and_heals_the_file() {
    let dir = TempDir::new().unwrap();
    let options = || Options {
        config: posthaste_blockrepl::Config { verify_reads: true, ..Default::default() },
        ..Options::default()
    };
    let make = |n| Volume::create(&paths(dir.path(), n), &identity(n), SIZE, options()).unwrap();
    let (a, b) = (make(0), make(1));
    let device = lead(&a, 1, 0, &[0, 1], 1).await;
    let (_link, _) = connect(&a, &b).await;
    until("sync", || link_status(&a) == Some(LinkStatus::Synced)).await;
    write(&device, 8192, &[5; 8192]).await.unwrap();
    flush(&device).await.unwrap();
    for at in [8192 + 17, 8192 + 8191] {
        flip_on_disk(&dir, 0, at);
        let device = device.clone();
        let seen = tokio::task::spawn_blocking(move || {
            let mut seen = [0; 6000];
            device.read_at(8192 + 1000, &mut seen).map(|()| seen)
        });
        let seen = seen.await.unwrap();
        assert!(seen.unwrap() == [5; 6000]);
    }
    let mut healed = [0; 8192];
    device.read_at(8192, &mut healed).unwrap();
    assert!(healed == [5; 8192]);
    assert!(a.status().integrity.healed_here >= 1);
    flip_on_disk(&dir, 1, 8192);
    let report = b.scrub().await.unwrap();
    assert_eq!(report.findings.iter().map(|f| (f.offset, f.healed)).collect::<Vec<_>>(), [(8192, true)]);
    assert_eq!(b.scrub().await.unwrap().findings, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_losing_generation_is_a_read_only_device_beside_the_live_one() {
    let dir = TempDir::new().unwrap();
    let (a, b, device, link) = pair(&dir).await;
    write(&device, 0, b"on both").await.unwrap();
    flush(&device).await.unwrap();
    link.cut();
    until("loss", || link_status(&a) == Some(LinkStatus::Down)).await;
    // Both were told to go on alone.
    a.set_grant(grant(1, 0, &[0], 2)).unwrap();
    write(&device, 0, b"by node 0").await.unwrap();
    write(&device, SIZE - 8, b"the end.").await.unwrap();
    flush(&device).await.unwrap();
    let other = lead(&b, 2, 1, &[1], 3).await;
    write(&other, 0, b"by node 1").await.unwrap();
    flush(&other).await.unwrap();
    b.discard(identity(0).device);
    let (_link, _) = connect(&b, &a).await;
    until("resync", || link_status(&b) == Some(LinkStatus::Synced)).await;

    let kept = a.snapshots();
    assert_eq!(
        kept.iter().map(|s| (s.id, s.generation.generation, s.size)).collect::<Vec<_>>(),
        [(1, 2, SIZE)]
    );
    let image = a.open_snapshot(1).unwrap();
    let read = |at: u64, len: usize| {
        let mut bytes = vec![0; len];
        image.read_at(at, &mut bytes).unwrap();
        bytes
    };
    assert_eq!((read(0, 9), read(SIZE - 8, 8)), (b"by node 0".to_vec(), b"the end.".to_vec()));
    assert_eq!(image.write_at(0, b"no"), Err(DeviceError::ReadOnly));
    write(&other, 0, b"moves on").await.unwrap();
    flush(&other).await.unwrap();
    assert_eq!(read(0, 9), b"by node 0");
    let file = paths(dir.path(), 0).data.with_file_name(format!(
        "{}.snapshot-1",
        paths(dir.path(), 0).data.file_name().unwrap().to_str().unwrap()
    ));
    assert!(file.exists());
    a.delete_snapshot(1).await.unwrap();
    assert!(!file.exists() && a.snapshots().is_empty() && a.open_snapshot(1).is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_count_what_the_volume_did() {
    let dir = TempDir::new().unwrap();
    let (a, b, device, link) = pair(&dir).await;
    write(&device, 4096, &[1; 8192]).await.unwrap();
    flush(&device).await.unwrap();
    device.read_at(0, &mut [0; 100]).unwrap();
    let past_end = write(&device, SIZE, b"x").await;
    assert!(matches!(past_end, Err(DeviceError::OutOfRange { .. })));
    let (leader, follower) = (a.metrics(), b.metrics());
    assert_eq!((leader.written.ops, leader.written.bytes), (1, 8192));
    assert_eq!((leader.read.ops, leader.read.bytes), (1, 100));
    assert_eq!(leader.flushes.count(), 1);
    assert_eq!(leader.replicated, follower.received);
    assert_eq!(follower.received.bytes, 8192);
    assert_eq!((leader.peers_connected, leader.peers_lost), (1, 0));
    assert!(leader.disk.data >= 8192 && leader.disk.meta > 0);
    link.cut();
    until("the loss", || a.metrics().peers_lost == 1).await;
    assert!(a.metrics().prometheus("v").contains("blockrepl_peers_lost_total{volume=\"v\"} 1\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_process_left_in_the_page_cache_is_durable_once_a_volume_is_open() {
    let dir = tempfile::tempdir().unwrap();
    drop(create(&dir, 0));
    let files = paths(dir.path(), 0);
    let cached = |path| {
        let below: Arc<dyn Disk> = Arc::new(FileDisk::open(path).unwrap());
        (below.clone(), Arc::new(VolatileDisk::new(below)))
    };
    let (data, data_cache) = cached(&files.data);
    let (meta, meta_cache) = cached(&files.meta);
    let end = meta.size().unwrap() - 7;
    data_cache.write_at(DATA_HEADER_LEN + 5, b"written").unwrap();
    meta_cache.write_at(end, b"written").unwrap();
    let volume = Volume::with_disks(data_cache, meta_cache, &identity(0), Default::default()).unwrap();
    for (disk, at) in [(data, DATA_HEADER_LEN + 5), (meta, end)] {
        let mut found = [0; 7];
        disk.read_at(at, &mut found).unwrap();
        assert_eq!(&found, b"written");
    }
    drop(volume);
}

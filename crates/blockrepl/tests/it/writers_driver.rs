//! Further writers, range leases and nodes without a disk on real files and streams.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use posthaste_blockrepl::core::RoleStatus;
use posthaste_blockrepl::{
    BlockDevice, Config, Denied, DeviceError, Disk, FileDisk, Link, NodeId, Options, Volume, Zeros,
};
use tempfile::TempDir;
use tokio::task::spawn_blocking;

use crate::driver::{connect, content, create, flush, open, paths, until, volatile, write};
use crate::harness::{SIZE, grant, identity};

async fn read(device: &Arc<dyn BlockDevice>, offset: u64, len: usize) -> Result<Vec<u8>, DeviceError> {
    let device = device.clone();
    spawn_blocking(move || {
        let mut buf = vec![0; len];
        device.read_at(offset, &mut buf).map(|()| buf)
    })
    .await
    .unwrap()
}

async fn lead(
    volume: &Volume,
    epoch: u64,
    n: usize,
    members: &[usize],
    others: &[u64],
) -> Arc<dyn BlockDevice> {
    volume.raise_epoch(epoch).await.unwrap();
    let grant = grant(epoch, n, members, epoch).with_writers(others.iter().map(|n| NodeId(*n)));
    volume.lead(grant).await.unwrap()
}

struct Pair {
    volumes: [Volume; 2],
    devices: [Arc<dyn BlockDevice>; 2],
    link: Link,
}

async fn pair(dir: &TempDir) -> Pair {
    let (a, b) = (create(dir, 0), create(dir, 1));
    let near = lead(&a, 1, 0, &[0, 1], &[1]).await;
    let (link, _) = connect(&a, &b).await;
    let far = b.join(1).await.unwrap();
    until("reads at home", || b.status().session.is_some_and(|s| s.reads_here)).await;
    Pair { volumes: [a, b], devices: [near, far], link }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_nodes_write_the_same_blocks_and_see_each_others_at_once() {
    let dir = TempDir::new().unwrap();
    let Pair { volumes, devices, link } = pair(&dir).await;
    // Each adds to its own counter and reads the other's: what a writer was told is seen by all.
    let counters = Arc::new([const { std::sync::atomic::AtomicU64::new(0) }; 2]);
    let tasks = [0, 1].map(|n| {
        let (device, counters) = (devices[n].clone(), counters.clone());
        spawn_blocking(move || {
            for i in 1..=150u64 {
                device.write_at(n as u64 * 8, &i.to_le_bytes()).unwrap();
                counters[n].store(i, Ordering::SeqCst);
                let told = counters[1 - n].load(Ordering::SeqCst);
                let mut seen = [0; 8];
                device.read_at((1 - n as u64) * 8, &mut seen).unwrap();
                assert!(u64::from_le_bytes(seen) >= told);
                // And both overwrite a third place.
                device.write_at(4090 + i % 5, &[n as u8 + 1; 20]).unwrap();
            }
            device.flush().unwrap();
        })
    });
    for task in tasks {
        task.await.unwrap();
    }
    drop((devices, link, volumes));
    assert!(content(&dir, 0) == content(&dir, 1));
    assert_eq!(content(&dir, 0)[..8], 150u64.to_le_bytes());
}

/// As NBD's `CAN_MULTI_CONN` says it, across both machines: SIGKILL is a power cut here.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn zeros_of_another_writer_are_zeros_everywhere() {
    let dir = TempDir::new().unwrap();
    let Pair { volumes, devices: [near, far], link } = pair(&dir).await;
    let zero = move || {
        near.write_at(0, &vec![9; 3 << 20])?;
        far.write_bytes(4096, Zeros::Kept.bytes(1 << 20))?;
        far.write_bytes(2 << 20, Zeros::Free.bytes(100))?;
        assert!(near.zeros_in(0..SIZE, 9).is_empty(), "with another writer, only reads tell");
        far.flush()
    };
    spawn_blocking(zero).await.unwrap().unwrap();
    let mut expected = vec![9; 3 << 20];
    expected[4096..(1 << 20) + 4096].fill(0);
    expected[2 << 20..(2 << 20) + 100].fill(0);
    for n in 0..2 {
        assert!(content(&dir, n)[..3 << 20] == expected, "node {n}");
    }
    drop((volumes, link));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flush_on_either_node_covers_what_was_answered_on_the_other() {
    let dir = TempDir::new().unwrap();
    let Pair { volumes, devices: [near, far], link } = pair(&dir).await;
    write(&near, 0, b"written near").await.unwrap();
    flush(&far).await.unwrap();
    write(&far, 4096, b"written far").await.unwrap();
    flush(&near).await.unwrap();
    drop((near, far, link, volumes));
    for n in 0..2 {
        let content = content(&dir, n);
        assert_eq!((&content[..12], &content[4096..4107]), (&b"written near"[..], &b"written far"[..]));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_handle_waits_for_the_link_and_ends_with_its_epoch() {
    let dir = TempDir::new().unwrap();
    let Pair { volumes: [a, b], devices: [near, far], link } = pair(&dir).await;
    link.cut();
    until("the cut", || b.status().session.is_some_and(|s| !s.joined)).await;
    let device = far.clone();
    let waiting = spawn_blocking(move || device.write_at(0, b"x"));
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!waiting.is_finished());
    let _link = connect(&a, &b).await;
    assert_eq!(waiting.await.unwrap(), Ok(()));
    assert_eq!(read(&near, 0, 1).await.unwrap(), b"x");
    // Dropping it leaves; a new one takes its place.
    drop(far);
    until("it left", || a.status().writers.is_empty()).await;
    let far = b.join(1).await.unwrap();
    b.raise_epoch(2).await.unwrap();
    assert_eq!(write(&far, 0, b"y").await, Err(DeviceError::Fenced { held: 1, current: 2 }));
    assert!(matches!(b.join(1).await, Err(Denied::EpochTooLow { .. })));
    until("the old leader heard", || a.status().role == RoleStatus::Follower).await;
    assert_eq!(flush(&near).await, Err(DeviceError::Fenced { held: 1, current: 2 }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn by_policy_a_remote_write_fails_while_the_leader_is_away() {
    let dir = TempDir::new().unwrap();
    let config = Config { leader_wait: Some(Duration::from_millis(200)), ..Config::default() };
    let a = create(&dir, 0);
    let b =
        Volume::create(&paths(dir.path(), 1), &identity(1), SIZE, Options { config, ..volatile() }).unwrap();
    assert_eq!(b.join(1).await.err(), Some(Denied::NoLeader { epoch: 1 }));
    let _near = lead(&a, 1, 0, &[0], &[1]).await;
    let (link, _) = connect(&a, &b).await;
    let far = b.join(1).await.unwrap();
    link.cut();
    assert_eq!(write(&far, 0, b"x").await, Err(DeviceError::Unreachable { epoch: 1 }));
    let _link = connect(&a, &b).await;
    assert_eq!(write(&far, 0, b"y").await, Ok(()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_range_lease_keeps_the_other_handle_waiting_until_its_guard_is_dropped() {
    let dir = TempDir::new().unwrap();
    let Pair { volumes: [a, b], devices: [near, far], link: _link } = pair(&dir).await;
    let lease = b.lease_range(1, 0, 4096).await.unwrap();
    assert!(lease.is_held() && lease.len() == 4096);
    let device = near.clone();
    let waiting = spawn_blocking(move || device.write_at(100, b"near"));
    write(&far, 100, b"far").await.unwrap();
    write(&near, 4096, b"beside").await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!waiting.is_finished());
    drop(lease);
    assert_eq!(waiting.await.unwrap(), Ok(()));
    assert_eq!(read(&far, 100, 4).await.unwrap(), b"near");
    assert_eq!(a.status().overlaps, 0);
    assert!(matches!(b.lease_range(1, SIZE, 1).await, Err(Denied::OutOfRange { .. })));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_without_a_disk_uses_the_device_and_may_get_one() {
    let dir = TempDir::new().unwrap();
    let a = create(&dir, 0);
    let bare = Volume::diskless(&identity(1), SIZE, Config::default()).unwrap();
    let _near = lead(&a, 1, 0, &[0], &[1]).await;
    let _link = connect(&a, &bare).await;
    let far = bare.join(1).await.unwrap();
    let big = vec![7; 3 << 20];
    let data: &'static [u8] = Box::leak(big.clone().into_boxed_slice());
    write(&far, 5, data).await.unwrap();
    flush(&far).await.unwrap();
    assert!(read(&far, 5, data.len()).await.unwrap() == big);
    assert!(matches!(bare.raise_epoch(2).await, Err(Denied::Disk(_))));
    // The disk comes: it is resynced while the handle works, and then read.
    drop((far, bare));
    let b = create(&dir, 1);
    let _link = connect(&a, &b).await;
    let far = b.join(1).await.unwrap();
    assert!(read(&far, 5, data.len()).await.unwrap() == big);
    until("reads at home", || b.status().session.is_some_and(|s| s.reads_here)).await;
    assert!(read(&far, 5, data.len()).await.unwrap() == big);
}

/// A file whose writes begin to fail.
#[derive(Debug)]
struct Failing {
    below: FileDisk,
    broken: Arc<AtomicBool>,
}

impl Failing {
    fn check(&self) -> std::io::Result<()> {
        match self.broken.load(Ordering::SeqCst) {
            true => Err(std::io::Error::other("the disk is broken")),
            false => Ok(()),
        }
    }
}

impl Disk for Failing {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> std::io::Result<()> {
        self.check().and_then(|()| self.below.read_at(offset, buf))
    }
    fn write_at(&self, offset: u64, data: &[u8]) -> std::io::Result<()> {
        self.check().and_then(|()| self.below.write_at(offset, data))
    }
    fn flush(&self) -> std::io::Result<()> {
        self.check().and_then(|()| self.below.flush())
    }
    fn size(&self) -> std::io::Result<u64> {
        self.below.size()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_whose_disk_breaks_goes_on_through_its_peer_and_attaches_again() {
    let dir = TempDir::new().unwrap();
    drop((create(&dir, 0), create(&dir, 1)));
    let broken = Arc::new(AtomicBool::new(false));
    let files = paths(dir.path(), 0);
    let data = Failing { below: FileDisk::open(&files.data).unwrap(), broken: broken.clone() };
    let meta = FileDisk::open(&files.meta).unwrap();
    let a = Volume::with_disks(Arc::new(data), Arc::new(meta), &identity(0), Config::default()).unwrap();
    let b = open(&dir, 1);
    let near = lead(&a, 1, 0, &[0, 1], &[]).await;
    let (link, _) = connect(&a, &b).await;
    write(&near, 0, b"kept").await.unwrap();
    flush(&near).await.unwrap();

    broken.store(true, Ordering::SeqCst);
    assert!(matches!(write(&near, 8192, b"unclear").await, Err(DeviceError::Failed(_))));
    assert_eq!(a.status().role, RoleStatus::Failed);
    link.ended().await;
    // The peer was in sync: it takes over, and this node writes through it.
    let _peer = lead(&b, 2, 1, &[1], &[0]).await;
    let _link = connect(&a, &b).await;
    let far = a.join(2).await.unwrap();
    assert_eq!(read(&far, 0, 4).await.unwrap(), b"kept");
    write(&far, 0, b"more").await.unwrap();
    flush(&far).await.unwrap();
    // The disk is repaired: it follows, is resynced, and is read again.
    drop((far, near, a));
    let a = open(&dir, 0);
    let _link = connect(&a, &b).await;
    let far = a.join(2).await.unwrap();
    until("reads at home", || a.status().session.is_some_and(|s| s.reads_here)).await;
    assert_eq!(read(&far, 0, 4).await.unwrap(), b"more");
    flush(&far).await.unwrap();
    assert_eq!(content(&dir, 0)[..4], *b"more");
}

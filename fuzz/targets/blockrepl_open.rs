//! A replica opens on damaged metadata with an older whole superblock or not at all; what differs from
//! a peer is never forgotten; fields that are out of range are refused, even under a right checksum.
#![no_main]

use std::io;
use std::sync::LazyLock;
use std::time::Duration;

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use posthaste_blockrepl::core::{DiskOp, Input, Output, Replica, RequestId, Status};
use posthaste_blockrepl::*;
use posthaste_fuzz::Script;

const SIZE: u64 = 1 << 20;
const SUPERBLOCK: usize = 16 << 10;

/// A metadata file that was led with one peer away, so that it holds a peer's bitmap and hot extents.
struct Base {
    image: Vec<u8>,
    /// What each of the two superblocks says, the newer one first.
    states: [(usize, Status); 2],
}

static BASE: LazyLock<Base> = LazyLock::new(|| {
    let (len, writes) = Replica::format(&Config::default(), &identity(), SIZE).expect("a size that fits");
    let mut image = vec![0; len as usize];
    writes.iter().for_each(|(offset, bytes)| put(&mut image, *offset, bytes));
    let mut replica = open(&image).expect("a fresh file");
    let member = |n: u8| Member { node: NodeId(u64::from(n)), device: DeviceId([n; 16]) };
    let grant = |generation, members: &[u8]| {
        Grant::new(1, NodeId(1), members.iter().map(|n| member(*n)).collect(), generation)
    };
    let request = RequestId(1);
    drive(&mut replica, &mut image, Input::Raise { request, epoch: 1 });
    drive(&mut replica, &mut image, Input::Lead { request, grant: grant(1, &[1, 2]) });
    drive(&mut replica, &mut image, Input::Write { request, offset: 70_000, data: Bytes::from_static(b"x") });
    replica.set_grant(Duration::ZERO, grant(2, &[1])).expect("the same leader");
    drive(&mut replica, &mut image, Input::Tick);
    drive(&mut replica, &mut image, Input::Flush { request });
    let alone = |n: usize| {
        let mut image = image.clone();
        image[(1 - n) * SUPERBLOCK..(2 - n) * SUPERBLOCK].fill(0);
        (n, open(&image).expect("one whole superblock").status())
    };
    let newest = open(&image).expect("whole").status();
    let (zero, one) = (alone(0), alone(1));
    let states = if zero.1 == newest { [zero, one] } else { [one, zero] };
    assert!(newest.peers.iter().any(|peer| peer.dirty_bytes > 0), "{newest:?}");
    Base { image, states }
});

fn identity() -> Identity {
    let (cluster, volume) = (ClusterId([7; 16]), VolumeId([8; 16]));
    Identity { cluster, volume, device: DeviceId([1; 16]), node: NodeId(1) }
}

fn open(image: &[u8]) -> Result<Replica, OpenError> {
    Replica::open(Config::default(), &identity(), |offset, buf| {
        let at = usize::try_from(offset).map_err(io::Error::other)?;
        let end = at.checked_add(buf.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        buf.copy_from_slice(image.get(at..end).ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    })
}

fn put(image: &mut [u8], offset: u64, bytes: &[u8]) {
    image[offset as usize..offset as usize + bytes.len()].copy_from_slice(bytes);
}

/// Does what the replica asks of its disk; nobody hears what it sends.
fn drive(replica: &mut Replica, image: &mut Vec<u8>, input: Input) {
    replica.handle(Duration::ZERO, input);
    while let Some(output) = replica.poll_output() {
        let Output::Disk { op, what } = output else { continue };
        let mut read = Bytes::new();
        match what {
            DiskOp::MetaWrite { offset, data } => put(image, offset, &data),
            DiskOp::MetaRead { offset, len } => {
                read = Bytes::copy_from_slice(&image[offset as usize..][..len as usize]);
            }
            DiskOp::Read { len, .. } => read = vec![0; len as usize].into(),
            DiskOp::MetaGrow { to, .. } => image.resize(to as usize, 0),
            DiskOp::Write { .. }
            | DiskOp::Flush
            | DiskOp::MetaFlush
            | DiskOp::Grow { .. }
            | DiskOp::Shrink { .. }
            | DiskOp::Snapshot(_) => {}
        }
        replica.handle(Duration::ZERO, Input::DiskDone { op, result: Ok(read) });
    }
}

fn damage(image: &mut Vec<u8>, script: &mut Script<'_>) {
    while !script.is_over() {
        let (kind, at) = (script.byte(), script.short() % image.len().max(1));
        match kind % 8 {
            _ if image.is_empty() => return,
            // Most fields lie at the head of the two superblocks.
            0..=3 => {
                let at = usize::from(kind & 8 != 0) * SUPERBLOCK + at % 1024;
                let value = script.take(1 + usize::from(kind >> 5));
                if let Some(field) = image.get_mut(at..at + value.len()) {
                    field.copy_from_slice(value);
                }
            }
            4 => image[at] ^= 1 << (script.byte() % 8),
            5 => image[at..].iter_mut().take(4096).for_each(|byte| *byte = 0),
            6 => {
                let (from, to) = image.split_at_mut(SUPERBLOCK.min(at));
                let len = from.len().min(to.len()).min(SUPERBLOCK);
                to[..len].copy_from_slice(&from[..len]);
            }
            _ => image.truncate(at),
        }
    }
}

fn reseal(image: &mut [u8]) {
    for block in image.chunks_exact_mut(SUPERBLOCK).take(2) {
        block[12..16].fill(0);
        let crc = crc32fast::hash(block);
        block[12..16].copy_from_slice(&crc.to_le_bytes());
    }
}

fn forgets_nothing(image: &[u8], opened: Result<Replica, OpenError>) {
    let whole = |n: usize| {
        let span = n * SUPERBLOCK..(n + 1) * SUPERBLOCK;
        image.get(span.clone()).is_some_and(|block| block == &BASE.image[span])
    };
    let moved = |n: usize| image.len() >= 2 * SUPERBLOCK && whole_elsewhere(image, n);
    let Ok(replica) = opened else {
        let sound = whole(0) && whole(1) && image.len() == BASE.image.len();
        assert!(!sound, "whole superblocks are refused");
        return;
    };
    let status = replica.status();
    let (newest, newer) = &BASE.states[0];
    let (older, old) = &BASE.states[1];
    let expected = if whole(*newest) || moved(*newest) { newer } else { old };
    assert!(whole(*newest) || whole(*older) || moved(0) || moved(1), "opened without a whole superblock");
    assert_eq!(
        (status.epoch, status.generation, &status.in_sync),
        (expected.epoch, expected.generation, &expected.in_sync)
    );
    for peer in &expected.peers {
        let found =
            status.peers.iter().find(|found| found.device == peer.device).expect("a peer is forgotten");
        assert!(found.dirty_bytes >= peer.dirty_bytes, "differences are forgotten");
    }
}

/// The base's superblock `n` in the other one's place.
fn whole_elsewhere(image: &[u8], n: usize) -> bool {
    image[(1 - n) * SUPERBLOCK..(2 - n) * SUPERBLOCK] == BASE.image[n * SUPERBLOCK..(n + 1) * SUPERBLOCK]
}

fuzz_target!(|data: &[u8]| {
    let mut script = Script(data);
    let sealed = script.byte() & 1 == 1;
    let mut image = BASE.image.clone();
    damage(&mut image, &mut script);
    if sealed {
        reseal(&mut image);
        if let Ok(mut replica) = open(&image) {
            let status = replica.status();
            assert!(
                status.size >= 64 << 10 && status.size <= 128 << 40 && status.size % 4096 == 0,
                "{status:?}"
            );
            if image.len() as u64 >= replica.meta_len() {
                drive(&mut replica, &mut image, Input::Raise { request: RequestId(9), epoch: status.epoch });
                drive(&mut replica, &mut image, Input::Rollback { request: RequestId(10) });
            }
        }
    } else {
        let opened = open(&image);
        forgets_nothing(&image, opened);
    }
});

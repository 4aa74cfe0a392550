//! The formats are what `docs/format.md` draws, and newer ones are refused.

use bytes::{Bytes, BytesMut};
use posthaste_blockrepl::wire::{Decoder, Message, WireError};
use posthaste_blockrepl::{OpenError, Options, Paths, Volume};
use tempfile::TempDir;

use crate::harness::{SIZE, identity};

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

/// The checksum of a structure that holds it at byte 12.
fn seal(structure: &mut [u8]) -> u32 {
    structure[12..16].fill(0);
    let crc = crc32fast::hash(structure);
    structure[12..16].copy_from_slice(&crc.to_le_bytes());
    crc
}

fn created() -> (TempDir, Paths) {
    let dir = TempDir::new().unwrap();
    let paths = Paths { data: dir.path().join("data"), meta: dir.path().join("meta") };
    drop(Volume::create(&paths, &identity(0), SIZE, Options::default()).unwrap());
    (dir, paths)
}

fn check_identity(bytes: &[u8]) {
    let id = identity(0);
    assert_eq!(bytes[..16], id.cluster.0);
    assert_eq!(bytes[16..32], id.volume.0);
    assert_eq!(bytes[32..48], id.device.0);
    assert_eq!((u64_at(bytes, 48), u64_at(bytes, 56)), (id.node.0, SIZE));
}

#[test]
fn the_files_are_as_the_documentation_draws_them() {
    let (_dir, paths) = created();
    let mut data = std::fs::read(&paths.data).unwrap();
    assert_eq!(data.len() as u64, 4096 + SIZE);
    assert_eq!((&data[..8], u32_at(&data, 8)), (&b"PHREPLDT"[..], 2));
    check_identity(&data[16..]);
    let crc = u32_at(&data, 12);
    assert_eq!(seal(&mut data[..4096]), crc);

    let mut meta = std::fs::read(&paths.meta).unwrap();
    let (pages, sums, undo) = (1, (SIZE / 4096).div_ceil(1020), SIZE / 8 / 65536);
    let areas = [15 * pages * 4096, sums * 4096, undo * 69632];
    assert_eq!(meta.len() as u64, 2 * 16384 + areas.iter().sum::<u64>());
    // The first superblock has number 1, so it lies in place 1.
    let sb = &mut meta[16384..32768];
    assert_eq!((&sb[..8], u32_at(sb, 8), u64_at(sb, 16)), (&b"PHREPLMD"[..], 2, 1));
    check_identity(&sb[24..]);
    let mut at = 2 * 16384;
    for (i, len) in areas.into_iter().enumerate() {
        assert_eq!((u64_at(sb, 88 + 16 * i), u64_at(sb, 96 + 16 * i)), (at, len));
        at += len;
    }
    assert_eq!((u64_at(sb, 136), sb[144], u64_at(sb, 187)), (0, 1, 1), "epoch, consistent, run of checksums");
    let zero = sb[145..187].iter().chain(&sb[195..]).all(|b| *b == 0);
    assert!(zero, "no resync, no generation, no member, no peer, nothing hot");
    let crc = u32_at(sb, 12);
    assert_eq!(seal(sb), crc);
}

#[test]
fn files_of_a_newer_format_are_refused_and_left_alone() {
    let (_dir, paths) = created();
    for (path, at, len, name) in [(&paths.meta, 16384, 16384, "metadata"), (&paths.data, 0, 4096, "data")] {
        let old = std::fs::read(path).unwrap();
        let mut new = old.clone();
        new[at + 8] = 4;
        seal(&mut new[at..at + len]);
        std::fs::write(path, &new).unwrap();
        let refused = Volume::open(&paths, &identity(0), Options::default()).unwrap_err();
        assert!(matches!(refused, OpenError::Newer { file, found: 4 } if file == name), "{refused}");
        assert!(std::fs::read(path).unwrap() == new);
        std::fs::write(path, &old).unwrap();
    }
    Volume::open(&paths, &identity(0), Options::default()).unwrap();
}

#[test]
fn files_of_an_older_format_are_refused_and_left_alone() {
    let (_dir, paths) = created();
    let mut old = std::fs::read(&paths.data).unwrap();
    old[8] = 1;
    seal(&mut old[..4096]);
    std::fs::write(&paths.data, &old).unwrap();
    let refused = Volume::open(&paths, &identity(0), Options::default()).unwrap_err();
    assert!(matches!(refused, OpenError::Older { file: "data", found: 1 }), "{refused}");
    assert!(std::fs::read(&paths.data).unwrap() == old);
}

#[test]
fn a_frame_is_as_the_documentation_draws_it_and_another_version_is_refused() {
    let data = Bytes::from_static(b"data").into();
    let mut frame = BytesMut::new();
    Message::Write { epoch: 2, seq: 3, stable: 4, offset: 5, data }.encode(&mut frame);
    assert_eq!((&frame[..2], frame[2], frame[3], u32_at(&frame, 4)), (&b"PB"[..], 3, 5, 36));
    assert_eq!(u32_at(&frame, 8), crc32fast::hash(&frame[16..]));
    assert_eq!(u32_at(&frame, 12), crc32fast::hash(&frame[..12]));
    let numbers = [16, 24, 32, 40].map(|at| u64_at(&frame, at));
    assert_eq!((numbers, &frame[48..]), ([2, 3, 4, 5], &b"data"[..]));

    frame[2] = 2;
    let crc = crc32fast::hash(&frame[..12]);
    frame[12..16].copy_from_slice(&crc.to_le_bytes());
    let mut decoder = Decoder::new(4096);
    decoder.buffer().extend_from_slice(&frame);
    assert_eq!(decoder.next(), Err(WireError::Version { theirs: 2 }));
}

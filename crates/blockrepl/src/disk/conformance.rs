//! What every [`Disk`] must do, for those who write one.
//!
//! ```
//! use std::sync::Arc;
//! use posthaste_blockrepl::{MemDisk, disk::conformance};
//!
//! conformance::check(&|| Arc::new(MemDisk::new(conformance::SIZE)));
//! ```

use std::sync::Arc;

use super::Disk;

/// The size of the disks to be made, in bytes.
pub const SIZE: u64 = 4 << 20;

/// Checks disks that `blank` makes, each of [`SIZE`] zero bytes. Panics at the first thing that is wrong.
pub fn check(blank: &dyn Fn() -> Arc<dyn Disk>) {
    begins_with_zeros(&*blank());
    keeps_what_was_written(&*blank());
    refuses_what_lies_past_the_end(&*blank());
    writes_many_as_one_by_one(&*blank());
    zeroes_what_it_is_told_to_and_nothing_else(&*blank());
    neighbours_do_not_disturb_each_other(&blank());
}

/// Checks that what was flushed is there after `open` opens the same disk once more. The disk is dropped in between.
pub fn check_reopen(open: &dyn Fn() -> Arc<dyn Disk>) {
    let disk = open();
    disk.write_at(12_345, b"flushed").expect("a write");
    disk.write_at(20_000, &[3; 90_000]).expect("a write");
    disk.flush().expect("a flush");
    disk.zero(20_000, 90_000, false).expect("zeros");
    disk.flush().expect("a flush");
    drop(disk);
    let mut seen = [0; 7];
    let disk = open();
    disk.read_at(12_345, &mut seen).expect("a read");
    let mut zeros = vec![1; 90_000];
    disk.read_at(20_000, &mut zeros).expect("a read");
    assert!(zeros.iter().all(|b| *b == 0), "flushed zeros are there after a reopening");
    assert_eq!(&seen, b"flushed", "a flushed write is there after a reopening");
}

/// Checks a disk whose next flush fails: it fails, and none after it succeeds (R11).
pub fn check_failed_flush(disk: &dyn Disk) {
    disk.write_at(0, b"lost").expect("a write");
    assert!(disk.flush().is_err(), "the disk was to fail its next flush");
    for _ in 0..3 {
        assert!(disk.flush().is_err(), "a flush after a failed one tells of success (R11)");
    }
}

fn whole(disk: &dyn Disk) -> Vec<u8> {
    let mut seen = vec![1; SIZE as usize];
    disk.read_at(0, &mut seen).expect("a read of all");
    seen
}

fn begins_with_zeros(disk: &dyn Disk) {
    assert_eq!(disk.size().expect("a size"), SIZE);
    assert!(whole(disk).iter().all(|b| *b == 0), "a blank disk reads as zeros");
}

/// Numbers that look random and are the same each time.
fn numbers() -> impl FnMut(u64) -> u64 {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    move |below| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    }
}

fn keeps_what_was_written(disk: &dyn Disk) {
    let (mut random, mut model) = (numbers(), vec![0; SIZE as usize]);
    let mut lens = [0, 1, 511, 512, 4095, 4096, 4097, 65_536, 1 << 20].into_iter().cycle();
    for step in 0..120 {
        let len = lens.next().expect("a cycle");
        let aligned = random(2) == 0;
        let offset = random(SIZE - len as u64);
        let offset = if aligned { offset / 4096 * 4096 } else { offset };
        let data = vec![step as u8 + 1; len];
        disk.write_at(offset, &data).expect("a write");
        model[offset as usize..offset as usize + len].copy_from_slice(&data);
        if step % 7 == 0 {
            disk.flush().expect("a flush");
        }
        let (from, n) = (random(SIZE - 70_000), 1 + random(70_000) as usize);
        let mut seen = vec![0; n];
        disk.read_at(from, &mut seen).expect("a read");
        assert!(seen == model[from as usize..from as usize + n], "step {step}: {n} bytes at {from} differ");
        seen.fill(0xEE);
        let cached = disk.read_cached(from, &mut seen);
        assert!(
            !cached || seen == model[from as usize..from as usize + n],
            "step {step}: what is at hand differs"
        );
    }
    assert!(whole(disk) == model, "in the end");
    disk.flush().expect("a flush");
    assert!(whole(disk) == model, "after a flush");
}

fn refuses_what_lies_past_the_end(disk: &dyn Disk) {
    for (offset, len) in
        [(SIZE, 1), (SIZE - 1, 2), (SIZE - 4096, 8192), (u64::MAX, 2), (u64::MAX - 4095, 4096)]
    {
        assert!(disk.write_at(offset, &vec![9; len]).is_err(), "a write of {len} at {offset}");
        let many = disk.write_many(&[(offset, &vec![9; len]), (0, &[])]);
        assert!(many.is_err(), "a write of {len} at {offset}, and another");
        assert!(disk.read_at(offset, &mut vec![0; len]).is_err(), "a read of {len} at {offset}");
        assert!(!disk.read_cached(offset, &mut vec![0; len]), "a read of {len} at {offset} without waiting");
    }
    assert_eq!(disk.size().expect("a size"), SIZE, "the disk grew");
    assert!(whole(disk).iter().all(|b| *b == 0), "a write past the end left something");
    disk.write_at(SIZE - 1, &[5]).expect("the last byte");
    let mut last = [0];
    disk.read_at(SIZE - 1, &mut last).expect("the last byte");
    assert_eq!(last, [5]);
}

fn writes_many_as_one_by_one(disk: &dyn Disk) {
    let mut random = numbers();
    let mut model = vec![0; SIZE as usize];
    for round in 0..9_u8 {
        let step = SIZE / 40;
        let mut end = 4096;
        let parts: Vec<(u64, Vec<u8>)> = (0..40)
            .map(|i| match round % 3 {
                // One behind the other, and some are empty.
                2 => {
                    let len = random(20_000) / 3 * (i % 3);
                    end += len;
                    (end - len, vec![i as u8 + round; len as usize])
                }
                0 => (i * step / 4096 * 4096, vec![i as u8 + round; 4096 * (1 + random(20) as usize)]),
                _ => (i * step + random(1000), vec![i as u8 + round; random(50_000) as usize]),
            })
            .collect();
        let writes: Vec<(u64, &[u8])> = parts.iter().map(|(offset, data)| (*offset, &data[..])).collect();
        disk.write_many(&writes).expect("many writes");
        for (offset, data) in &parts {
            model[*offset as usize..*offset as usize + data.len()].copy_from_slice(data);
        }
        assert!(whole(disk) == model, "round {round}");
    }
}

fn zeroes_what_it_is_told_to_and_nothing_else(disk: &dyn Disk) {
    let mut random = numbers();
    let mut model = vec![0; SIZE as usize];
    for step in 0..60_u8 {
        let len = [1, 511, 4096, 5000, 65_536, 300_000][step as usize % 6];
        let offset = random(SIZE - len);
        let offset = if step % 2 == 0 { offset / 4096 * 4096 } else { offset };
        let range = offset as usize..(offset + len) as usize;
        match step % 3 {
            0 => {
                disk.write_at(offset, &vec![step + 1; len as usize]).expect("a write");
                model[range].fill(step + 1);
            }
            kind => {
                disk.zero(offset, len, kind == 2).expect("zeros");
                model[range].fill(0);
            }
        }
        if step % 7 == 0 {
            disk.flush().expect("a flush");
        }
        let mut end = 4097;
        for zeros in disk.zeros_in(4097..SIZE - 1, 100) {
            assert!(zeros.start >= end && zeros.start < zeros.end && zeros.end < SIZE, "{zeros:?}");
            end = zeros.end + 1;
            let seen = &model[zeros.start as usize..zeros.end as usize];
            assert!(seen.iter().all(|b| *b == 0), "step {step}: {zeros:?} are not zeros");
        }
    }
    assert!(whole(disk) == model, "in the end");
    disk.zero(SIZE, 0, false).expect("no zeros at the end");
    for (offset, len) in [(SIZE, 1), (SIZE - 4096, 8192), (u64::MAX, 2), (0, u64::MAX)] {
        assert!(disk.zero(offset, len, false).is_err(), "{len} zeros at {offset}");
        assert!(disk.zero(offset, len, true).is_err(), "{len} zeros at {offset}, freed");
    }
    assert_eq!(disk.size().expect("a size"), SIZE, "the disk has another size");
    // What was freed can be written again.
    disk.zero(0, SIZE, true).expect("all of it");
    assert!(whole(disk).iter().all(|b| *b == 0));
    disk.write_at(100, &[7; 9000]).expect("a write");
    disk.flush().expect("a flush");
    let mut seen = vec![0; 9000];
    disk.read_at(100, &mut seen).expect("a read");
    assert_eq!(seen, [7; 9000]);
}

/// Writers of bytes that lie in the same blocks.
fn neighbours_do_not_disturb_each_other(disk: &Arc<dyn Disk>) {
    const EACH: u64 = 1000;
    std::thread::scope(|scope| {
        for n in 0..4_u64 {
            scope.spawn(move || {
                for i in 0..50 {
                    disk.write_at((i * 4 + n) * EACH, &[n as u8 + 1; EACH as usize]).expect("a write");
                    if i % 16 == n {
                        disk.flush().expect("a flush");
                    }
                }
            });
        }
    });
    let seen = whole(&**disk);
    for (i, part) in seen.chunks(EACH as usize).take(200).enumerate() {
        assert!(part.iter().all(|b| *b == i as u8 % 4 + 1), "the bytes of writer {} are lost", i % 4);
    }
}

//! The engine at work: sharing flushes, space, the ring, limits, fencing.

use std::io::{ErrorKind, Read};
use std::sync::Arc;
use std::time::Duration;

use posthaste_clusterfs::{Dir, Fenced, FormatOptions, Fs, OpenOptions};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::device::TestDevice;
use crate::workload::{deliver, dump, format_options, formatted, noise, open, options, read};

fn names(fs: &Fs, dir: Dir) -> Vec<String> {
    let mut names = Vec::new();
    fs.scan(dir, &mut |name| names.push(String::from_utf8(name.to_vec()).unwrap())).unwrap();
    names
}

#[test]
fn concurrent_deliveries_share_flushes() {
    let device = formatted();
    let fs = open(&device);
    device.slow_flushes(Duration::from_millis(5));
    let before = device.flushes();
    std::thread::scope(|scope| {
        for n in 0..50 {
            let fs = &fs;
            scope.spawn(move || {
                deliver(fs, Dir::ROOT, &format!("m{n}"), &[n; 3000]).unwrap();
                fs.commit().unwrap();
            });
        }
    });
    let flushes = device.flushes() - before;
    assert!(flushes <= 15, "{flushes} flushes for 50 deliveries");
    assert_eq!(names(&fs, Dir::ROOT).len(), 50);
}

#[test]
fn a_commit_with_nothing_pending_costs_no_flush() {
    let device = formatted();
    let fs = open(&device);
    let before = device.flushes();
    fs.commit().unwrap();
    assert_eq!(device.flushes(), before);
    assert!(dump(&fs).is_empty());
}

#[test]
fn an_idle_volume_writes_nothing() {
    let device = formatted();
    let eager = OpenOptions { checkpoint_every: Duration::ZERO, ..options() };
    let fs = Fs::open_with(device.clone(), eager).unwrap();
    deliver(&fs, Dir::ROOT, "m", b"mail").unwrap();
    fs.maintain().unwrap();
    let status = fs.status().unwrap();
    assert_eq!((status.log.0, status.checkpointed), (0, status.applied));
    let before = (device.written(), device.flushes());
    fs.maintain().unwrap();
    fs.maintain().unwrap();
    assert_eq!((device.written(), device.flushes()), before);
}

#[test]
fn a_message_costs_its_body_and_a_few_hundred_bytes() {
    let device = formatted();
    let fs = open(&device);
    let name = "1764100000.M123456P42Q7R0123456789abcdef.node-a,S=8192,W=8192";
    let before = device.written();
    let messages = 100;
    for n in 0..messages {
        deliver(&fs, Dir::ROOT, &format!("{n}{name}"), &[7; 8192]).unwrap();
        fs.commit().unwrap();
    }
    let each = (device.written() - before) / messages;
    assert!(each <= 8192 + 256, "{each} bytes for a message of 8192, checkpoints apart");
    fs.checkpoint().unwrap();
    let each = (device.written() - before) / messages;
    assert!(each <= 8192 + 3000, "{each} bytes for a message of 8192, with the checkpoint");
}

#[test]
fn the_space_of_unlinked_files_comes_back_round_after_round() {
    let device = formatted();
    let fs = open(&device);
    let mut rng = StdRng::seed_from_u64(3);
    let body = noise(&mut rng, 30_000);
    let mut fits = None;
    for round in 0..8 {
        let mut count = 0;
        let full = loop {
            match deliver(&fs, Dir::ROOT, &format!("r{round}m{count}"), &body) {
                Ok(()) => count += 1,
                Err(error) => break error,
            }
        };
        assert_eq!(full.kind(), ErrorKind::StorageFull, "{full}");
        assert_eq!(*fits.get_or_insert(count), count, "round {round}");
        assert!(count > 100);
        // Reads and removals go on; what is there is whole.
        for n in 0..count {
            let name = format!("r{round}m{n}");
            assert!(read(&fs, Dir::ROOT, &name).unwrap() == body);
            fs.unlink(Dir::ROOT, name.as_bytes()).unwrap();
        }
        fs.commit().unwrap();
    }
    assert!(dump(&fs).is_empty());
}

#[test]
fn a_volume_full_of_small_files_refuses_more_and_recovers() {
    let device = formatted();
    let fs = open(&device);
    for round in 0..3 {
        let mut count = 0;
        let full = loop {
            match deliver(&fs, Dir::ROOT, &format!("a-rather-long-name-{round}-{count}"), &[5; 900]) {
                Ok(()) => count += 1,
                Err(error) => break error,
            }
        };
        assert_eq!(full.kind(), ErrorKind::StorageFull, "{full}");
        assert!(count > 300, "round {round}: {count}, {:?}", fs.status());
        fs.append_or_replace(b"uidlist");
        fs.commit().unwrap();
        fs.checkpoint().unwrap();
        for name in names(&fs, Dir::ROOT) {
            fs.unlink(Dir::ROOT, name.as_bytes()).unwrap();
        }
        fs.checkpoint().unwrap();
    }
    fs.close().unwrap();
    assert!(dump(&open(&TestDevice::from_image(device.image(), 2))).is_empty());
}

#[test]
fn an_index_at_its_limit_survives_random_churn() {
    let device = formatted();
    let fs = open(&device);
    let mut rng = StdRng::seed_from_u64(9);
    for dir in 0..10 {
        fs.create_dir(Dir::ROOT, format!("d{dir}").as_bytes()).unwrap();
    }
    let dirs: Vec<_> = (0..10).map(|n| fs.dir(Dir::ROOT, format!("d{n}").as_bytes()).unwrap()).collect();
    let (mut live, mut refused) = (Vec::new(), 0);
    for step in 0..12_000u32 {
        let (dir, name) = (dirs[rng.random_range(0..10)], format!("{:016x}", rng.random::<u64>()));
        match rng.random_range(0..10) {
            0..=6 => match deliver(&fs, dir, &name, &vec![1; rng.random_range(0..600)]) {
                Ok(()) => live.push((dir, name)),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::StorageFull, "{error}");
                    refused += 1;
                }
            },
            7 if !live.is_empty() => {
                let at = rng.random_range(0..live.len());
                let (old_dir, old) = std::mem::replace(&mut live[at], (dir, name.clone()));
                fs.rename(old_dir, old.as_bytes(), dir, name.as_bytes()).unwrap();
            }
            8 if live.len() > 100 => {
                let (dir, name) = live.swap_remove(rng.random_range(0..live.len()));
                fs.unlink(dir, name.as_bytes()).unwrap();
            }
            _ if step % 100 == 0 => fs.checkpoint().unwrap(),
            _ => fs.commit().unwrap(),
        }
        if step % 3000 == 2999 {
            let gone = live.split_off(live.len() / 10);
            for (dir, name) in gone {
                fs.unlink(dir, name.as_bytes()).unwrap();
            }
        }
    }
    fs.checkpoint().unwrap();
    assert!(refused > 0, "{:?}", fs.status());
    assert_eq!(dump(&fs).len(), live.len() + 10);
}

trait Control {
    fn append_or_replace(&self, name: &[u8]);
}

impl Control for Fs {
    /// What a mail store does on a full volume: its control files still change.
    fn append_or_replace(&self, name: &[u8]) {
        self.replace(Dir::ROOT, name, &[b'x'; 3000]).unwrap();
        self.append(Dir::ROOT, name, &[b'y'; 3000]).unwrap();
        assert_eq!(self.attributes(Dir::ROOT, name).unwrap().len, 6000);
    }
}

#[test]
fn the_ring_wraps_many_times_and_a_full_one_waits_for_a_checkpoint() {
    let device = formatted();
    let fs = open(&device);
    // 1 MiB of ring, 4 KiB a record: more than five laps, and no checkpoint but the forced ones.
    for n in 0..1500u32 {
        let name = format!("m{}", n % 50);
        fs.replace(Dir::ROOT, name.as_bytes(), &n.to_be_bytes()).unwrap();
        fs.commit().unwrap();
    }
    let status = fs.status().unwrap();
    assert!((4..=20).contains(&status.checkpoints), "{status:?}");
    assert!(status.log.0 <= status.log.1);
    let before = dump(&fs);
    drop(fs);
    assert_eq!(dump(&open(&TestDevice::from_image(device.image(), 2))), before);
}

#[test]
fn a_batch_larger_than_the_ring_has_room_for_is_made_durable_by_a_checkpoint() {
    let device = formatted();
    let fs = open(&device);
    for n in 0..4000 {
        deliver(&fs, Dir::ROOT, &format!("m{n}"), &[1; 100]).unwrap();
        if n % 50 == 49 {
            for name in names(&fs, Dir::ROOT) {
                fs.unlink(Dir::ROOT, name.as_bytes()).unwrap();
            }
        }
    }
    fs.commit().unwrap();
    let before = dump(&fs);
    drop(fs);
    assert_eq!(dump(&open(&TestDevice::from_image(device.image(), 2))), before);
}

#[test]
fn opening_after_a_crash_reads_the_log_and_not_the_volume() {
    let opened = |messages: u32| {
        let device = TestDevice::new(40 << 20);
        Fs::format(device.clone(), &FormatOptions { index_bytes: None, ..format_options() }).unwrap();
        let fs = open(&device);
        for n in 0..messages {
            deliver(&fs, Dir::ROOT, &format!("m{n}"), &[1; 10]).unwrap();
        }
        fs.checkpoint().unwrap();
        deliver(&fs, Dir::ROOT, "last", &[2; 3000]).unwrap();
        fs.commit().unwrap();
        drop(fs);
        let device = TestDevice::from_image(device.image(), 2);
        let fs = open(&device);
        let read = device.read();
        assert_eq!(dump(&fs).len() as u32, messages + 1);
        read
    };
    let (few, many) = (opened(100), opened(6000));
    assert!(many < few + (64 << 10), "{few} bytes for 100 messages, {many} for 6000");
}

#[test]
fn a_fenced_device_ends_everything_with_an_error_that_says_so() {
    let device = formatted();
    let fs = Arc::new(Fs::open_with(device.clone(), OpenOptions::default()).unwrap());
    deliver(&fs, Dir::ROOT, "before", b"acknowledged").unwrap();
    fs.commit().unwrap();
    deliver(&fs, Dir::ROOT, "late", b"not acknowledged").unwrap();
    device.fence();
    let error = fs.commit().unwrap_err();
    assert_eq!(Fenced::of(&error), Some(&Fenced { held: 1, current: 2 }));
    let errors = [
        deliver(&fs, Dir::ROOT, "x", b"x").unwrap_err(),
        read(&fs, Dir::ROOT, "before").unwrap_err(),
        fs.commit().unwrap_err(),
        fs.checkpoint().unwrap_err(),
        fs.close().unwrap_err(),
        fs.scan(Dir::ROOT, &mut |_| {}).unwrap_err(),
    ];
    assert!(errors.iter().all(|error| Fenced::of(error).is_some()), "{errors:?}");
    drop(fs);
    let fs = open(&TestDevice::from_image(device.image(), 2));
    assert_eq!(read(&fs, Dir::ROOT, "before").unwrap(), b"acknowledged");
}

#[test]
fn a_failed_flush_is_never_retried() {
    let device = formatted();
    let fs = open(&device);
    deliver(&fs, Dir::ROOT, "m", b"mail").unwrap();
    device.fail_flushes();
    let (error, written) = (fs.commit().unwrap_err(), device.written());
    assert!(error.to_string().contains("device failed"), "{error}");
    assert!(fs.commit().is_err() && fs.checkpoint().is_err() && deliver(&fs, Dir::ROOT, "n", b"").is_err());
    drop(fs);
    assert_eq!(device.written(), written, "nothing reaches the device any more");
}

#[test]
fn deliveries_go_on_beside_the_background_checkpoints() {
    let device = formatted();
    let every = Duration::from_millis(10);
    let background = OpenOptions { checkpoint_every: every, tick: every, ..OpenOptions::default() };
    let fs = Fs::open_with(device.clone(), background).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let fs = &fs;
            scope.spawn(move || {
                for n in 0..100 {
                    let (name, old) = (format!("t{thread}n{n}"), format!("t{thread}n{}", n - 5));
                    deliver(fs, Dir::ROOT, &name, &vec![thread; 2000 + n as usize]).unwrap();
                    fs.commit().unwrap();
                    assert_eq!(read(fs, Dir::ROOT, &name).unwrap().len(), 2000 + n as usize);
                    if n >= 5 {
                        fs.unlink(Dir::ROOT, old.as_bytes()).unwrap();
                    }
                }
            });
        }
    });
    assert!(fs.status().unwrap().checkpoints > 0);
    let before = dump(&fs);
    assert_eq!(before.len(), 20);
    fs.close().unwrap();
    let fs = open(&TestDevice::from_image(device.image(), 2));
    assert_eq!(dump(&fs), before);
    assert_eq!(fs.status().unwrap().replayed, 0, "closing leaves nothing to replay");
}

#[test]
fn a_file_read_while_its_last_name_goes_stays_whole() {
    let device = formatted();
    let fs = open(&device);
    deliver(&fs, Dir::ROOT, "m", &[9; 50_000]).unwrap();
    let free = fs.status().unwrap().data.0;
    let mut file = fs.open_file(Dir::ROOT, b"m").unwrap();
    fs.unlink(Dir::ROOT, b"m").unwrap();
    fs.checkpoint().unwrap();
    let mut count = 0;
    while deliver(&fs, Dir::ROOT, &format!("n{count}"), &[1; 50_000]).is_ok() {
        count += 1;
    }
    let mut content = Vec::new();
    file.read_to_end(&mut content).unwrap();
    assert!(content == [9; 50_000]);
    drop(file);
    for n in 0..count {
        fs.unlink(Dir::ROOT, format!("n{n}").as_bytes()).unwrap();
    }
    fs.checkpoint().unwrap();
    assert_eq!(fs.status().unwrap().data.0, free + 13 * 4096);
}

#[test]
fn a_linked_file_lives_until_its_last_name_goes() {
    let fs = open(&formatted());
    deliver(&fs, Dir::ROOT, "a", &[3; 9000]).unwrap();
    fs.link(Dir::ROOT, b"a", Dir::ROOT, b"b").unwrap();
    assert_eq!(fs.link(Dir::ROOT, b"a", Dir::ROOT, b"b").unwrap_err().kind(), ErrorKind::AlreadyExists);
    fs.unlink(Dir::ROOT, b"a").unwrap();
    fs.checkpoint().unwrap();
    assert_eq!(read(&fs, Dir::ROOT, "b").unwrap(), [3; 9000]);
    assert_eq!(fs.attributes(Dir::ROOT, b"b").unwrap().links, 1);
    let free = fs.status().unwrap().data.0;
    fs.unlink(Dir::ROOT, b"b").unwrap();
    fs.checkpoint().unwrap();
    assert_eq!(fs.status().unwrap().data.0, free + 3 * 4096);
}

#[test]
fn a_removed_tree_is_gone_at_once_and_its_space_later() {
    let fs = open(&formatted());
    fs.create_dir(Dir::ROOT, b"user/Maildir/new").unwrap();
    let dir = fs.dir(Dir::ROOT, b"user/Maildir/new").unwrap();
    fs.checkpoint().unwrap();
    let free = fs.status().unwrap().data.0;
    for n in 0..600 {
        deliver(&fs, dir, &format!("m{n}"), &vec![1; if n < 100 { 5000 } else { 10 }]).unwrap();
    }
    fs.remove_dir(Dir::ROOT, b"user").unwrap();
    let gone = |result: std::io::Result<()>| assert_eq!(result.unwrap_err().kind(), ErrorKind::NotFound);
    gone(deliver(&fs, dir, "late", b"late"));
    gone(read(&fs, dir, "m1").map(drop));
    gone(fs.unlink(dir, b"m1").map(drop));
    gone(fs.dir(Dir::ROOT, b"user").map(drop));
    gone(fs.scan(dir, &mut |_| {}).map(drop));
    fs.maintain().unwrap();
    fs.checkpoint().unwrap();
    assert_eq!(fs.status().unwrap().data.0, free);
}

#[test]
fn a_dropped_staged_file_gives_its_space_back() {
    let fs = open(&formatted());
    let free = fs.status().unwrap().data.0;
    let mut staged = fs.stage(None);
    std::io::Write::write_all(&mut staged, &vec![1; 2_500_000]).unwrap();
    assert!(fs.status().unwrap().data.0 < free);
    drop(staged);
    assert_eq!(fs.status().unwrap().data.0, free);
}

#[test]
fn a_large_file_survives_and_seeks() {
    let device = TestDevice::new(24 << 20);
    Fs::format(device.clone(), &FormatOptions { overwrite: true, ..format_options() }).unwrap();
    let fs = open(&device);
    let content = noise(&mut StdRng::seed_from_u64(1), 5_000_000);
    deliver(&fs, Dir::ROOT, "big", &content).unwrap();
    fs.commit().unwrap();
    drop(fs);
    let fs = open(&TestDevice::from_image(device.image(), 2));
    assert!(read(&fs, Dir::ROOT, "big").unwrap() == content);
    let mut file = fs.open_file(Dir::ROOT, b"big").unwrap();
    std::io::Seek::seek(&mut file, std::io::SeekFrom::Start(4_100_000)).unwrap();
    let mut piece = [0; 1000];
    file.read_exact(&mut piece).unwrap();
    assert!(piece == content[4_100_000..4_101_000]);
}

#[test]
fn names_that_are_no_names_are_refused() {
    let fs = open(&formatted());
    for name in ["", ".", "..", "a/b", "a\0b", &"x".repeat(256)] {
        let error = deliver(&fs, Dir::ROOT, name, b"x").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{name:?}");
    }
    assert_eq!(fs.create_dir(Dir::ROOT, b"a//b").unwrap_err().kind(), ErrorKind::InvalidInput);
    assert_eq!(fs.remove_dir(Dir::ROOT, b"").unwrap_err().kind(), ErrorKind::InvalidInput);
    assert_eq!(options().inline_max, 1024);
}

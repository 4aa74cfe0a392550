//! Power cuts at every write and flush.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use posthaste_clusterfs::{Dir, Fs, OpenError, OpenOptions};

use crate::device::{Crash, TestDevice};
use crate::workload::{Tree, Workload, deliver, dump, formatted, open, options};

/// An epoch above those of all workloads.
const LATER: u64 = 1000;

/// Opens what a crash left, and returns how many of the operations it shows.
fn check(image: Vec<u8>, workload: &Workload, at: usize, how: Crash) -> usize {
    let fs = Fs::open_with(TestDevice::from_image(image, LATER), options())
        .unwrap_or_else(|error| panic!("crash {how:?} at {at}: {error}"));
    let tree = dump(&fs);
    let (acked, begun) = workload.window(at);
    (acked..=begun)
        .rev()
        .find(|n| workload.trees[*n] == tree)
        .unwrap_or_else(|| panic!("crash {how:?} at {at}: no state between {acked} and {begun}"))
}

#[test]
fn after_a_crash_at_any_write_what_was_acknowledged_is_there_and_the_rest_is_a_prefix() {
    for seed in [1, 2] {
        let device = formatted();
        device.record();
        let fs = open(&device);
        let mut workload = Workload::new(seed, Tree::new(), 0);
        workload.run(&fs, &device, 90);
        drop(fs);
        for at in 0..=device.events() {
            check(device.crash(at, Crash::Lost), &workload, at, Crash::Lost);
            check(device.crash(at, Crash::Kept), &workload, at, Crash::Kept);
            let torn = Crash::Torn(seed * 1_000_000 + at as u64);
            check(device.crash(at, torn), &workload, at, torn);
        }
    }
}

#[test]
fn crash_after_crash_the_volume_goes_on() {
    let mut image = formatted().image();
    let (mut tree, mut next) = (Tree::new(), 0);
    for round in 0..40 {
        let device = TestDevice::from_image(image, round + 1);
        device.record();
        let fs = open(&device);
        assert_eq!(dump(&fs), tree, "round {round}");
        let mut workload = Workload::new(round, tree, next);
        workload.run(&fs, &device, 60);
        drop(fs);
        let at = device.events() * (round as usize % 7 + 1) / 7;
        let how = Crash::Torn(round);
        let shown = check(device.crash(at, how), &workload, at, how);
        image = device.crash(at, how);
        (tree, next) = (workload.trees[shown].clone(), workload.next());
    }
}

#[test]
fn acknowledged_deliveries_of_many_threads_survive_a_crash_beside_background_checkpoints() {
    let device = formatted();
    device.record();
    let every = Duration::from_millis(5);
    let background = OpenOptions { background: true, checkpoint_every: every, tick: every, ..options() };
    let fs = Fs::open_with(device.clone(), background).unwrap();
    let acked = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for thread in 0..4u8 {
            let (fs, device, acked) = (&fs, &device, &acked);
            scope.spawn(move || {
                for n in 0..40u8 {
                    let name = format!("t{thread}n{n}");
                    deliver(fs, Dir::ROOT, &name, &content(thread, n)).unwrap();
                    fs.commit().unwrap();
                    acked.lock().unwrap().push((device.events(), name.clone()));
                    if n % 4 == 3 {
                        // Frees blocks, which others may get once a checkpoint covers that.
                        fs.unlink(Dir::ROOT, format!("t{thread}n{}", n - 1).as_bytes()).unwrap();
                    }
                }
            });
        }
    });
    drop(fs);
    let acked = acked.into_inner().unwrap();
    for at in (0..=device.events()).step_by(7) {
        let torn = device.crash(at, Crash::Torn(at as u64));
        let fs = open(&TestDevice::from_image(torn, LATER));
        let tree = dump(&fs);
        for (path, body) in &tree {
            let (thread, n) = path[2..].split_once('n').unwrap();
            let whole = content(thread.parse().unwrap(), n.parse().unwrap());
            assert!(**body.as_ref().unwrap() == whole, "{path} after a crash at {at}");
        }
        for (event, name) in acked.iter().filter(|(event, _)| *event <= at) {
            let n: u8 = name.split_once('n').unwrap().1.parse().unwrap();
            let kept = n % 4 != 2; // the others are unlinked later
            assert!(
                !kept || tree.contains_key(&format!("/{name}")),
                "{name}, acknowledged at {event}, at {at}"
            );
        }
    }
}

#[test]
fn while_a_checkpoint_is_under_way_the_log_before_it_is_not_reused() {
    crash_in_a_checkpoint(6000);
}

#[test]
fn while_a_checkpoint_is_under_way_the_blocks_it_frees_are_not_reused() {
    crash_in_a_checkpoint(28_000);
}

/// Delivers bodies of `len` bytes while a checkpoint does not come to its end, until the log or
/// the blocks are used up; cuts the power then.
fn crash_in_a_checkpoint(len: usize) {
    let device = formatted();
    device.record();
    let fs = open(&device);
    for n in 0..100u8 {
        deliver(&fs, Dir::ROOT, &format!("old{n}"), &vec![n; len]).unwrap();
        fs.commit().unwrap();
    }
    for n in 50..100u8 {
        fs.unlink(Dir::ROOT, format!("old{n}").as_bytes()).unwrap();
    }
    fs.commit().unwrap();
    device.hold_checkpoints(true);
    let acked = AtomicUsize::new(0);
    let (image, before) = std::thread::scope(|scope| {
        let named = std::thread::Builder::new().name("checkpoint".into());
        named.spawn_scoped(scope, || fs.checkpoint().unwrap()).unwrap();
        device.await_checkpoint();
        scope.spawn(|| {
            for n in 0..400 {
                match deliver(&fs, Dir::ROOT, &format!("new{n}"), &vec![255; len]) {
                    Ok(()) => fs.commit().unwrap(),
                    Err(error) => return assert_eq!(error.kind(), std::io::ErrorKind::StorageFull),
                }
                acked.store(n + 1, Ordering::SeqCst);
            }
        });
        let mut before = usize::MAX;
        while before != acked.load(Ordering::SeqCst) || before == 0 {
            before = acked.load(Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(300));
        }
        let image = device.crash(device.events(), Crash::Lost);
        device.hold_checkpoints(false);
        (image, before)
    });
    assert!(before < 400 && acked.into_inner() > before, "{before} did not wait for the checkpoint");
    let tree = dump(&open(&TestDevice::from_image(image, LATER)));
    assert!((0..before).all(|n| tree.contains_key(&format!("/new{n}"))), "{before} were acknowledged");
    for n in 0..50u8 {
        assert!(**tree[&format!("/old{n}")].as_ref().unwrap() == vec![n; len], "old{n}");
    }
}

fn content(thread: u8, n: u8) -> Vec<u8> {
    vec![thread * 40 + n; 500 + usize::from(n) * 150]
}

#[test]
fn a_crash_while_formatting_leaves_no_half_volume() {
    let device = TestDevice::new(crate::workload::SIZE);
    device.record();
    Fs::format(device.clone(), &crate::workload::format_options()).unwrap();
    for at in 0..=device.events() {
        let image = device.crash(at, Crash::Torn(at as u64));
        match Fs::open_with(TestDevice::from_image(image, 1), options()) {
            Ok(_) | Err(OpenError::NotFormatted) => {}
            Err(error) => panic!("at {at}: {error}"),
        }
    }
}

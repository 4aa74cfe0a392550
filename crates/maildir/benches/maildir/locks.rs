//! How long others wait at most: the longest time that one lock file stood, seen from outside.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use posthaste_maildir::{Delivery, Durability, FlagChange, Flags, GroupFlush, LocalFs, Mailbox};

use crate::{Bench, at_most, raw, time};

const COUNT: usize = 10_000;

pub(crate) fn run(bench: &Bench) {
    let ours = bench.mailbox("locks", GroupFlush::Never);
    let (lock, done) = (bench.path("locks/dovecot-uidlist.lock"), AtomicBool::new(false));
    let longest = std::thread::scope(|scope| {
        let watcher = scope.spawn(|| longest_hold(&lock, &done));
        let took = time(|| work(&ours));
        println!("{COUNT} deliveries, looks, flag changes and expunges in {:.1} s", took.as_secs_f64());
        done.store(true, Ordering::SeqCst);
        watcher.join().unwrap()
    });
    at_most("lock-held", longest.as_secs_f64() * 1e3, "ms", 50.0);
}

/// As much at once as callers may ask for.
fn work(ours: &Mailbox<LocalFs>) {
    let content = raw::message();
    let items = vec![Delivery { base: None, content: &content }; 100];
    for _ in 0..COUNT / items.len() {
        ours.deliver(&items, Durability::Full).unwrap();
    }
    let uids: Vec<u32> = ours.snapshot().unwrap().messages.iter().map(|m| m.uid).collect();
    assert_eq!(uids.len(), COUNT);
    ours.change_flags(&uids, FlagChange::Add, Flags::SEEN, &[]).unwrap();
    ours.change_flags(&uids, FlagChange::Set, Flags::TRASHED, &[]).unwrap();
    assert_eq!(ours.expunge(None, true).unwrap().len(), COUNT);
}

/// A lock is the same one as long as its file has the same inode and time of change (it is touched
/// after ten seconds only). What is between two looks counts.
fn longest_hold(lock: &Path, done: &AtomicBool) -> Duration {
    let (mut held, mut longest) = (None, Duration::ZERO);
    while !done.load(Ordering::SeqCst) {
        let now = Instant::now();
        let seen = std::fs::metadata(lock).ok().map(|meta| (meta.ino(), meta.ctime(), meta.ctime_nsec()));
        held = match (seen, held) {
            (Some(seen), Some((same, since))) if seen == same => Some((same, since)),
            (Some(seen), _) => Some((seen, now)),
            (None, _) => None,
        };
        longest = longest.max(held.map_or(Duration::ZERO, |(_, since)| since.elapsed()));
        std::thread::sleep(Duration::from_micros(100));
    }
    longest
}

//! 32 deliveries at a time, each by a thread of its own that waits for its acknowledgement.

use std::cell::RefCell;
use std::sync::{Barrier, Mutex};
use std::time::{Duration, Instant};

use posthaste_maildir::{GroupFlush, LocalFs, Mailbox};

use crate::deliver::one;
use crate::{Bench, at_least, at_most, compare, raw, time};

const THREADS: usize = 32;
/// Messages of a thread in a slice.
const EACH: usize = 12;

pub(crate) fn run(bench: &Bench) {
    per_file(bench);
    sync_fs(bench);
}

/// All threads deliver; returns the time of the whole and of each delivery.
fn crowd(mailbox: &Mailbox<LocalFs>, content: &[u8]) -> (Duration, Vec<f64>) {
    let (start, waits) = (Barrier::new(THREADS + 1), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|_| {
                scope.spawn(|| {
                    start.wait();
                    for _ in 0..EACH {
                        let waited = time(|| one(mailbox, content)).as_secs_f64();
                        waits.lock().unwrap().push(waited);
                    }
                })
            })
            .collect();
        start.wait();
        let started = Instant::now();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        let all = started.elapsed();
        (all, waits.lock().unwrap().clone())
    })
}

/// Batches of 32 by one thread in the same mailbox, with the flushes of `flush`.
fn raw_batches(
    bench: &Bench,
    name: &str,
    flush: impl Fn(&[std::fs::File]),
    waits: &RefCell<Vec<f64>>,
) -> impl FnMut(usize) -> Duration {
    let path = bench.path(name);
    let (tmp, new) = (raw::dir(&path.join("tmp")), raw::dir(&path.join("new")));
    let (content, mut made) = (raw::message(), 0);
    move |_| {
        time(|| {
            for _ in 0..EACH {
                let began = Instant::now();
                let names: Vec<String> = (made..made + THREADS).map(raw::name).collect();
                made += THREADS;
                let files: Vec<_> = names.iter().map(|name| raw::write(&tmp, name, &content)).collect();
                flush(&files);
                for name in &names {
                    rustix::fs::renameat(&tmp, &name[..], &new, &name[..]).unwrap();
                }
                rustix::fs::fsync(&new).unwrap();
                waits.borrow_mut().push(began.elapsed().as_secs_f64());
            }
        })
    }
}

fn p99(mut waits: Vec<f64>) -> f64 {
    waits.sort_by(f64::total_cmp);
    waits[waits.len() * 99 / 100]
}

fn rate(seconds: f64) -> f64 {
    (THREADS * EACH) as f64 / seconds
}

fn per_file(bench: &Bench) {
    let (ours, content) = (bench.mailbox("per-file", GroupFlush::PerFile), raw::message());
    let waits = RefCell::default();
    let flush = |files: &[std::fs::File]| files.iter().for_each(|f| f.sync_all().unwrap());
    let raw = raw_batches(bench, "per-file", flush, &waits);
    let (ratio, our_time, raw_time) = compare(bench.rounds(9), |_| crowd(&ours, &content).0, raw);
    println!("32 at once, PerFile: ours {:.0}/s, raw batch {:.0}/s", rate(our_time), rate(raw_time));
    at_least("deliver-32-per-file", ratio, "x", 0.9);
}

fn sync_fs(bench: &Bench) {
    let (ours, content) = (bench.mailbox("sync-fs", GroupFlush::SyncFs), raw::message());
    let fs = raw::dir(&bench.dir);
    let (raw_waits, our_waits) = (RefCell::default(), RefCell::new(Vec::new()));
    let raw = raw_batches(bench, "sync-fs", |_| rustix::fs::syncfs(&fs).unwrap(), &raw_waits);
    let our_slice = |_| {
        let (all, waits) = crowd(&ours, &content);
        our_waits.borrow_mut().extend(waits);
        all
    };
    let (ratio, our_time, raw_time) = compare(bench.rounds(9), our_slice, raw);
    let single = bench.mailbox("sync-fs-single", GroupFlush::PerFile);
    let alone = |_| time(|| (0..THREADS * EACH / 4).for_each(|_| one(&single, &content))) * 4;
    let (over_single, ..) = compare(bench.rounds(5), |_| crowd(&ours, &content).0, alone);
    println!("32 at once, SyncFs: ours {:.0}/s, raw batch {:.0}/s", rate(our_time), rate(raw_time));
    at_least("deliver-32-syncfs", ratio, "x", 0.8);
    at_least("deliver-32-syncfs-over-single", over_single, "x", 4.0);
    // A raw batch's time is that of its flushes and of writing 32 messages; its slow ones are the
    // disk's.
    let wait = p99(our_waits.into_inner()) / p99(raw_waits.into_inner());
    at_most("deliver-32-syncfs-p99-wait", wait, "flushes", 2.0);
}

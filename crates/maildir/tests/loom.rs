//! Every order of steps of what threads share: the lock in front of a mailbox's lock file, and
//! the queue of those who wait for one flush. Run with
//! `RUSTFLAGS="--cfg loom" cargo test -p posthaste-maildir --test loom --release`.
#![cfg(loom)]

use std::io;
use std::time::Duration;

use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use loom::thread;
use posthaste_maildir::loom_parts::{Group, Slots};

fn model(check: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(check);
}

#[test]
fn loom_two_threads_never_hold_one_key_and_nothing_is_left_behind() {
    model(|| {
        let slots = Slots::default();
        let inside = Arc::new(AtomicUsize::new(0));
        let enter = |slots: Slots, inside: Arc<AtomicUsize>| {
            let held = slots.take((1, 2, b"k".to_vec()), Duration::from_secs(3600)).unwrap();
            assert_eq!(inside.fetch_add(1, SeqCst), 0, "two hold one key");
            inside.fetch_sub(1, SeqCst);
            drop(held);
        };
        let other = {
            let (slots, inside) = (slots.clone(), inside.clone());
            thread::spawn(move || enter(slots, inside))
        };
        enter(slots.clone(), inside);
        other.join().unwrap();
        assert_eq!(slots.len(), 0, "an unused key takes no memory");
    });
}

/// A disk that remembers what was flushed.
fn flush(group: &Group<Vec<usize>>, disk: &AtomicUsize) -> io::Result<()> {
    group.flush(|batch| {
        for bit in batch {
            disk.fetch_or(bit, SeqCst);
        }
        Ok(())
    })
}

#[test]
fn loom_who_returns_from_a_flush_is_on_disk_whoever_flushed() {
    model(|| {
        let group: Arc<Group<Vec<usize>>> = Arc::new(Group::default());
        let disk = Arc::new(AtomicUsize::new(0));
        let work = |group: &Group<Vec<usize>>, disk: &AtomicUsize, bit: usize| {
            group.add(|batch| batch.push(bit));
            flush(group, disk).unwrap();
            assert_ne!(disk.load(SeqCst) & bit, 0, "acknowledged and not on disk");
        };
        let threads: Vec<_> = [1, 2]
            .into_iter()
            .map(|bit| {
                let (group, disk) = (group.clone(), disk.clone());
                thread::spawn(move || work(&group, &disk, bit))
            })
            .collect();
        work(&group, &disk, 4);
        for thread in threads {
            thread.join().unwrap();
        }
        assert_eq!(disk.load(SeqCst), 7);
    });
}

#[test]
fn loom_a_failed_flush_reaches_all_who_wait_for_it() {
    model(|| {
        let group: Arc<Group<Vec<usize>>> = Arc::new(Group::default());
        let fail = |group: &Group<Vec<usize>>| {
            group.add(|batch| batch.push(1));
            group.flush(|_| Err(io::ErrorKind::Other.into())).is_err()
        };
        let other = {
            let group = group.clone();
            thread::spawn(move || fail(&group))
        };
        assert!(fail(&group));
        assert!(other.join().unwrap());
    });
}

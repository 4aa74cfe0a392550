//! Reads under way: they pass the core by, and hang in a disk like everything else.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

#[derive(Debug, Default)]
pub(super) struct Reads(Mutex<Open>);

#[derive(Debug, Default)]
struct Open {
    next: u64,
    begun: BTreeMap<u64, Instant>,
}

impl Reads {
    /// A read begins; it has ended when the guard is dropped.
    pub(super) fn begin(&self) -> Reading<'_> {
        let mut open = self.open();
        let number = open.next;
        open.next += 1;
        open.begun.insert(number, Instant::now());
        Reading { reads: self, number }
    }

    /// The age of the oldest.
    pub(super) fn age(&self) -> Option<Duration> {
        self.open().begun.values().next().map(Instant::elapsed)
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) struct Reading<'a> {
    reads: &'a Reads,
    number: u64,
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        self.reads.open().begun.remove(&self.number);
    }
}

//! One flush for all who wait for one.
//!
//! What must reach the disk gathers in a batch. The first who asks becomes the leader: it takes
//! the batch and flushes it; those who come meanwhile wait, and one of them leads the next.

#![cfg_attr(not(loom), allow(unreachable_pub, reason = "public for the model checker's test"))]

use std::io;
use std::mem;
use std::time::Duration;

use crate::sync::{Condvar, Mutex, MutexGuard, lock, wait};

/// A leader waits at most this long for those that the last flush woke, and at most a quarter of
/// what that flush took.
#[cfg(not(loom))]
const GATHER_MAX: Duration = Duration::from_millis(2);

/// A batch of something to flush, shared by threads.
#[derive(Debug)]
pub struct Group<T> {
    state: Mutex<State<T>>,
    /// A flush has ended.
    flushed: Condvar,
    /// Somebody waits for the batch that gathers.
    arrived: Condvar,
}

#[derive(Debug)]
struct State<T> {
    batch: T,
    dirty: bool,
    /// How many batches have been taken, and how many of them are on disk.
    taken: u64,
    done: u64,
    /// Does a leader wait for others to come?
    gathering: bool,
    /// Who waits for the batch that gathers, and who waited for the last.
    joined: usize,
    expected: usize,
    last_took: Duration,
    failed: Option<String>,
}

impl<T: Default> Default for Group<T> {
    fn default() -> Self {
        let state = State {
            batch: T::default(),
            dirty: false,
            taken: 0,
            done: 0,
            gathering: false,
            joined: 0,
            expected: 0,
            last_took: Duration::ZERO,
            failed: None,
        };
        Self { state: Mutex::new(state), flushed: Condvar::new(), arrived: Condvar::new() }
    }
}

impl<T: Default> Group<T> {
    /// Adds to the batch.
    pub fn add(&self, add: impl FnOnce(&mut T)) {
        let mut state = lock(&self.state);
        add(&mut state.batch);
        state.dirty = true;
    }

    /// Both in one step.
    pub fn add_and_flush(
        &self,
        add: impl FnOnce(&mut T),
        act: impl FnOnce(T) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut state = lock(&self.state);
        add(&mut state.batch);
        state.dirty = true;
        self.flush_from(state, act)
    }

    /// Returns when all that was added before the call has been flushed, by this thread or by
    /// another. A flush that failed is never retried: what it should have written may be gone, so
    /// every later call fails too.
    pub fn flush(&self, act: impl FnOnce(T) -> io::Result<()>) -> io::Result<()> {
        self.flush_from(lock(&self.state), act)
    }

    fn flush_from<'a>(
        &'a self,
        mut state: MutexGuard<'a, State<T>>,
        act: impl FnOnce(T) -> io::Result<()>,
    ) -> io::Result<()> {
        let mine = state.taken + u64::from(state.dirty);
        if state.dirty {
            state.joined += 1;
            if state.gathering && state.joined >= state.expected {
                self.arrived.notify_one();
            }
        }
        loop {
            if let Some(why) = &state.failed {
                return Err(io::Error::other(format!("an earlier flush failed: {why}")));
            }
            if state.done >= mine {
                return Ok(());
            }
            if !state.gathering && state.taken == state.done {
                // All that was added by now is in the batch that it takes.
                return self.lead(state, act);
            }
            state = wait(&self.flushed, state);
        }
    }

    /// From now on every flush fails, if this is an error.
    pub fn poison_on_error(&self, result: io::Result<()>) -> io::Result<()> {
        if let Err(e) = &result {
            lock(&self.state).failed = Some(e.to_string());
        }
        result
    }

    fn lead<'a>(
        &'a self,
        mut state: MutexGuard<'a, State<T>>,
        act: impl FnOnce(T) -> io::Result<()>,
    ) -> io::Result<()> {
        state.gathering = true;
        state = self.gather(state);
        state.gathering = false;
        let batch = mem::take(&mut state.batch);
        state.dirty = false;
        state.taken += 1;
        state.expected = mem::take(&mut state.joined);
        drop(state);
        let (result, took) = timed(|| act(batch));
        let mut state = lock(&self.state);
        state.last_took = took;
        match &result {
            Ok(()) => state.done = state.taken,
            Err(e) => state.failed = Some(e.to_string()),
        }
        // Who is woken finds the lock free.
        drop(state);
        self.flushed.notify_all();
        result
    }

    /// Those whom the last flush woke are likely to come again at once: a short wait for them
    /// makes one flush of two. Who is alone does not wait.
    #[cfg(not(loom))]
    fn gather<'a>(&'a self, mut state: MutexGuard<'a, State<T>>) -> MutexGuard<'a, State<T>> {
        let deadline = std::time::Instant::now() + (state.last_took / 4).min(GATHER_MAX);
        while state.joined < state.expected {
            let left = deadline.saturating_duration_since(std::time::Instant::now());
            if left.is_zero() {
                break;
            }
            let waited = self.arrived.wait_timeout(state, left);
            state = waited.unwrap_or_else(|poisoned| poisoned.into_inner()).0;
        }
        state
    }

    #[cfg(loom)]
    fn gather<'a>(&'a self, state: MutexGuard<'a, State<T>>) -> MutexGuard<'a, State<T>> {
        state
    }
}

#[cfg(not(loom))]
fn timed<R>(act: impl FnOnce() -> R) -> (R, Duration) {
    let started = std::time::Instant::now();
    let result = act();
    (result, started.elapsed())
}

#[cfg(loom)]
fn timed<R>(act: impl FnOnce() -> R) -> (R, Duration) {
    (act(), Duration::ZERO)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn a_failed_flush_is_told_to_all_and_never_retried() {
        let group: Group<Vec<u32>> = Group::default();
        group.flush(|_| panic!("there is nothing to flush")).unwrap();
        group.add(|batch| batch.push(1));
        assert!(group.flush(|_| Err(io::ErrorKind::Other.into())).is_err());
        assert!(group.flush(|_| Ok(())).is_err(), "though there is nothing left to flush");
    }

    #[test]
    fn flushes_of_many_threads_end_and_leave_nothing_behind() {
        let group: Group<Vec<usize>> = Group::default();
        let (flushes, flushed) = (AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let (group, flushes, flushed) = (&group, &flushes, &flushed);
                scope.spawn(move || {
                    for _ in 0..10 {
                        group.add(|batch| batch.push(thread));
                        let act = |batch: Vec<usize>| {
                            flushes.fetch_add(1, Ordering::SeqCst);
                            flushed.fetch_add(batch.len(), Ordering::SeqCst);
                            Ok(())
                        };
                        group.flush(act).unwrap();
                    }
                });
            }
        });
        assert_eq!(flushed.into_inner(), 40);
        assert!(flushes.into_inner() <= 40);
    }
}

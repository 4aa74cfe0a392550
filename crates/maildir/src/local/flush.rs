//! Flushes that concurrent callers share.
//!
//! What was touched gathers in a batch. The first caller of `commit` takes the batch and flushes
//! it; those who come meanwhile wait, and one of them flushes for all the next.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::mem;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use super::OpenDir;

/// Something that must reach the disk.
#[derive(Debug)]
pub(super) enum Touched {
    /// Names in a directory.
    Dir(Arc<OpenDir>),
    /// Bytes of a control file.
    File(File),
}

#[derive(Debug, Default)]
pub(super) struct SharedFlush {
    state: Mutex<State>,
    flushed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// By device and inode.
    batch: HashMap<(u64, u64), Touched>,
    /// How many batches have been taken, and how many of them are on disk.
    taken: u64,
    done: u64,
    failed: Option<String>,
}

impl SharedFlush {
    /// Adds to the batch.
    pub(super) fn touch(&self, id: (u64, u64), what: Touched) {
        self.lock().batch.insert(id, what);
    }

    /// Returns when all that was touched before the call is on disk.
    pub(super) fn commit(&self) -> io::Result<()> {
        let mut state = self.lock();
        let mine = state.taken + u64::from(!state.batch.is_empty());
        loop {
            if let Some(why) = &state.failed {
                return Err(io::Error::other(format!("an earlier flush failed: {why}")));
            }
            if state.done >= mine {
                return Ok(());
            }
            state = if state.taken == state.done {
                self.flush_batch(state)?
            } else {
                self.flushed.wait(state).unwrap_or_else(|poisoned| poisoned.into_inner())
            };
        }
    }

    /// A flush that failed is never retried: what it should have written may be gone.
    pub(super) fn poison_on_error(&self, result: io::Result<()>) -> io::Result<()> {
        if let Err(e) = &result {
            self.lock().failed = Some(e.to_string());
        }
        result
    }

    fn flush_batch<'a>(&'a self, mut state: MutexGuard<'a, State>) -> io::Result<MutexGuard<'a, State>> {
        let batch = mem::take(&mut state.batch);
        state.taken += 1;
        drop(state);
        let result = flush_all(batch);
        let mut state = self.lock();
        match &result {
            Ok(()) => state.done = state.taken,
            Err(e) => state.failed = Some(e.to_string()),
        }
        self.flushed.notify_all();
        result.map(|()| state)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// Files first: a directory may name what must be readable by then.
fn flush_all(batch: HashMap<(u64, u64), Touched>) -> io::Result<()> {
    let (files, dirs): (Vec<_>, Vec<_>) =
        batch.into_values().partition(|touched| matches!(touched, Touched::File(_)));
    files.into_iter().chain(dirs).try_for_each(|touched| match touched {
        Touched::File(file) => file.sync_data(),
        Touched::Dir(dir) => Ok(rustix::fs::fsync(&dir.fd)?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_flush_is_told_to_all_and_never_retried() {
        let flush = SharedFlush::default();
        flush.commit().unwrap();
        flush.touch((0, 1), Touched::File(File::open("/dev/null").unwrap()));
        assert!(flush.commit().is_err(), "/dev/null cannot be flushed");
        assert!(flush.commit().is_err(), "though there is nothing left to flush");
    }

    #[test]
    fn commits_of_many_threads_end_and_leave_nothing_behind() {
        let flush = SharedFlush::default();
        let dir = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let (flush, dir) = (&flush, &dir);
                scope.spawn(move || {
                    for i in 0..10 {
                        let file = File::create(dir.path().join(format!("{thread}.{i}"))).unwrap();
                        flush.touch((thread, i), Touched::File(file));
                        flush.commit().unwrap();
                    }
                });
            }
        });
        let state = flush.lock();
        assert!(state.batch.is_empty() && state.taken == state.done && state.taken <= 40);
    }
}

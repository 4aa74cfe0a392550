//! Queues of disk operations, each done in order, by a thread of its own or by whoever asks.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::core::{DiskOp, OpId};
use crate::zeros::Zeros;

/// One operation with its name.
pub(super) type Job = (OpId, DiskOp);

/// Writes given at once, at most.
const WRITES: usize = 128;
/// Their bytes, unless it is one write.
const BYTES: u64 = 4 << 20;

/// Fewer zeros are written as data: to mark each short range would cost the file system more.
const ZEROED: usize = 64 << 10;

#[derive(Debug, Default)]
struct State {
    jobs: VecDeque<Job>,
    /// Somebody works through the jobs.
    busy: bool,
    /// The lane's thread waits to be told.
    waits: bool,
    /// There is something else to do for the lane's thread.
    called: bool,
    stopped: bool,
}

/// Jobs to be done at once: one, or several writes.
pub(super) enum Batch {
    One(Job),
    Writes(Vec<Job>),
}

impl State {
    fn take(&mut self) -> Option<Batch> {
        let first = self.jobs.pop_front()?;
        let follows = self.jobs.front().is_some_and(|next| range(next).is_some());
        let Some(mut bytes) = range(&first).map(|r| r.end - r.start).filter(|_| follows) else {
            return Some(Batch::One(first));
        };
        let mut batch = vec![first];
        while batch.len() < WRITES
            && let Some(next) = self.jobs.front()
            && let Some(wanted) = range(next)
            && bytes + (wanted.end - wanted.start) <= BYTES
            && batch.iter().filter_map(range).all(|r| r.end <= wanted.start || wanted.end <= r.start)
        {
            bytes += wanted.end - wanted.start;
            batch.extend(self.jobs.pop_front());
        }
        if batch.len() > 1 {
            return Some(Batch::Writes(batch));
        }
        batch.pop().map(Batch::One)
    }
}

/// Zeros that the disk is told of by their number.
pub(super) fn zeroed(data: &Bytes) -> Option<Zeros> {
    Zeros::of(data).filter(|_| data.len() >= ZEROED)
}

fn range((_, what): &Job) -> Option<std::ops::Range<u64>> {
    match what {
        DiskOp::Write { data, .. } if zeroed(data).is_some() => None,
        DiskOp::Write { offset, data } | DiskOp::MetaWrite { offset, data } => {
            Some(*offset..*offset + data.len() as u64)
        }
        _ => None,
    }
}

/// An ordered queue of disk operations. At most one thread at a time works on it.
#[derive(Debug, Default)]
pub(super) struct Lane {
    state: Mutex<State>,
    wake: Condvar,
}

impl Lane {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends a job. With `wake`, the lane's thread is told; otherwise the caller must
    /// [`drain`](Self::drain).
    pub(super) fn push(&self, job: Job, wake: bool) {
        let mut state = self.state();
        if state.stopped {
            return;
        }
        state.jobs.push_back(job);
        if wake && !state.busy && state.waits {
            self.wake.notify_one();
        }
    }

    /// Whether all jobs are done.
    pub(super) fn idle(&self) -> bool {
        let state = self.state();
        state.jobs.is_empty() && !state.busy
    }

    /// Works through the jobs, unless another thread is at it: that one then does ours too. Writes that follow each
    /// other and do not overlap are given together.
    pub(super) fn drain(&self, mut work: impl FnMut(Batch)) {
        let mut state = self.state();
        if state.busy {
            return;
        }
        state.busy = true;
        while let Some(batch) = state.take() {
            drop(state);
            work(batch);
            state = self.state();
        }
        state.busy = false;
    }

    /// Has the lane's thread do something else when it is through with the jobs.
    pub(super) fn call(&self) {
        let mut state = self.state();
        state.called = true;
        if state.waits {
            self.wake.notify_one();
        }
    }

    /// The lane's own thread: drains whenever there is something to do, until stopped. When it was called, it does what `other`
    /// says, and as long as that says that there is more, in turn with the jobs.
    pub(super) fn serve(&self, mut work: impl FnMut(Batch), mut other: impl FnMut() -> bool) {
        loop {
            let mut state = self.state();
            while (state.jobs.is_empty() || state.busy) && !state.called && !state.stopped {
                state.waits = true;
                state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
                state.waits = false;
            }
            if state.stopped {
                return;
            }
            let called = std::mem::take(&mut state.called);
            drop(state);
            self.drain(&mut work);
            if called && other() {
                self.state().called = true;
            }
        }
    }

    /// Forgets what is queued and ends the thread. A job under way is not interrupted.
    pub(super) fn stop(&self) {
        let mut state = self.state();
        state.stopped = true;
        state.jobs.clear();
        self.wake.notify_all();
    }
}

//! Queues of disk operations, each done in order, by a thread of its own or by whoever asks.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::core::{DiskOp, OpId};

/// One operation with its name.
pub(super) type Job = (OpId, DiskOp);

#[derive(Debug, Default)]
struct State {
    jobs: VecDeque<Job>,
    /// Somebody works through the jobs.
    busy: bool,
    stopped: bool,
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
        if wake && !state.busy {
            self.wake.notify_one();
        }
    }

    /// Whether all jobs are done.
    pub(super) fn idle(&self) -> bool {
        let state = self.state();
        state.jobs.is_empty() && !state.busy
    }

    /// Works through the jobs, unless another thread is at it: that one then does ours too.
    pub(super) fn drain(&self, mut work: impl FnMut(Job)) {
        let mut state = self.state();
        if state.busy {
            return;
        }
        state.busy = true;
        while let Some(job) = state.jobs.pop_front() {
            drop(state);
            work(job);
            state = self.state();
        }
        state.busy = false;
    }

    /// The lane's own thread: drains whenever there is something to do, until stopped.
    pub(super) fn serve(&self, mut work: impl FnMut(Job)) {
        loop {
            let mut state = self.state();
            while (state.jobs.is_empty() || state.busy) && !state.stopped {
                state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            if state.stopped {
                return;
            }
            drop(state);
            self.drain(&mut work);
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

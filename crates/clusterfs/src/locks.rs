//! Named locks. The leader is a volume's only writer, so they live in its memory.

use std::collections::HashSet;
use std::io;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::op::Inode;

type Name = (Inode, Vec<u8>);

#[derive(Debug, Default)]
pub(crate) struct Locks {
    held: Mutex<HashSet<Name>>,
    released: Condvar,
}

impl Locks {
    pub(crate) fn take(&self, dir: Inode, name: &[u8], wait: Duration) -> io::Result<()> {
        let until = Instant::now() + wait;
        let lock = (dir, name.to_vec());
        let mut held = self.held();
        while held.contains(&lock) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "the lock is held"));
            }
            held = self.released.wait_timeout(held, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        held.insert(lock);
        Ok(())
    }

    pub(crate) fn release(&self, dir: Inode, name: &[u8]) {
        self.held().remove(&(dir, name.to_vec()));
        self.released.notify_all();
    }

    fn held(&self) -> MutexGuard<'_, HashSet<Name>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

//! Locks between the threads of this process, and the guard that holds both kinds.
//!
//! Dovecot's protocol overrides a lock file that names the caller's own process: without these,
//! two threads would steal from each other. The table is the process's, not the store's: two
//! stores may stand on one tree.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Condvar, Mutex, OnceLock};
use std::time::{Duration, Instant};

use super::dotlock::Dotlock;

/// Device, inode of the directory, and lock name.
pub(super) type Key = (u64, u64, Vec<u8>);

/// Holds a lock of a [`super::LocalFs`] until dropped.
#[derive(Debug)]
pub struct LocalGuard {
    // Dropped in this order: the file first.
    file: Option<Dotlock>,
    _thread: ThreadLock,
}

impl LocalGuard {
    pub(super) fn new(thread: ThreadLock, file: Option<Dotlock>) -> Self {
        Self { file, _thread: thread }
    }

    pub(super) fn refresh(&self) -> io::Result<()> {
        self.file.as_ref().map_or(Ok(()), Dotlock::refresh)
    }
}

#[derive(Debug, Default)]
struct Slot {
    held: Mutex<bool>,
    freed: Condvar,
}

#[derive(Debug)]
pub(super) struct ThreadLock {
    key: Key,
    slot: Arc<Slot>,
}

fn table() -> &'static Mutex<HashMap<Key, Arc<Slot>>> {
    static TABLE: OnceLock<Mutex<HashMap<Key, Arc<Slot>>>> = OnceLock::new();
    TABLE.get_or_init(Mutex::default)
}

/// Waits until no other thread holds `key`; `TimedOut` after `wait`.
pub(super) fn take(key: Key, wait: Duration) -> io::Result<ThreadLock> {
    let deadline = Instant::now() + wait;
    let slot = Arc::clone(lock(table()).entry(key.clone()).or_default());
    let mut held = lock(&slot.held);
    while *held {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        held = slot.freed.wait_timeout(held, left).unwrap_or_else(|poisoned| poisoned.into_inner()).0;
    }
    *held = true;
    drop(held);
    Ok(ThreadLock { key, slot })
}

impl Drop for ThreadLock {
    fn drop(&mut self) {
        let mut table = lock(table());
        *lock(&self.slot.held) = false;
        self.slot.freed.notify_one();
        // The table's reference and ours: nobody waits.
        if Arc::strong_count(&self.slot) == 2 {
            table.remove(&self.key);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_held_lock_times_out_and_a_freed_one_is_taken() {
        let key = || (0, 0, b"slots-test".to_vec());
        let first = take(key(), Duration::ZERO).unwrap();
        assert_eq!(take(key(), Duration::from_millis(1)).unwrap_err().kind(), io::ErrorKind::TimedOut);
        let waiter = std::thread::spawn(move || take(key(), Duration::from_secs(60)).is_ok());
        drop(first);
        assert!(waiter.join().unwrap());
        assert!(take(key(), Duration::from_secs(60)).is_ok());
    }
}

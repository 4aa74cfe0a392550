//! Locks between the threads of this process, and the guard that holds both kinds.
//!
//! Dovecot's protocol overrides a lock file that names the caller's own process: without these,
//! two threads would steal from each other. The table is the process's, not the store's: two
//! stores may stand on one tree.

#![cfg_attr(not(loom), allow(unreachable_pub, reason = "public for the model checker's test"))]

use std::collections::HashMap;
use std::io;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use super::dotlock::Dotlock;
use crate::sync::{Arc, Condvar, Mutex, lock};

/// Device, inode of the directory, and lock name.
pub type Key = (u64, u64, Vec<u8>);

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

/// Locks by key; keys that nobody holds or waits for take no memory.
#[derive(Debug, Default, Clone)]
pub struct Slots(Arc<Mutex<HashMap<Key, Shared>>>);

/// A slot, and how many hold it or wait for it.
#[derive(Debug, Default)]
struct Shared {
    slot: Arc<Slot>,
    users: usize,
}

#[derive(Debug, Default)]
struct Slot {
    held: Mutex<bool>,
    freed: Condvar,
}

/// One key of [`Slots`], held until dropped.
#[derive(Debug)]
pub struct ThreadLock {
    user: User,
}

/// Holds a key or waits for it.
#[derive(Debug)]
struct User {
    slots: Slots,
    key: Key,
    slot: Arc<Slot>,
}

/// The process's table.
pub(super) fn table() -> &'static Slots {
    static TABLE: OnceLock<Slots> = OnceLock::new();
    TABLE.get_or_init(Slots::default)
}

impl Slots {
    /// Waits until no other thread holds `key`; `TimedOut` after `wait`.
    pub fn take(&self, key: Key, wait: Duration) -> io::Result<ThreadLock> {
        let deadline = Instant::now() + wait;
        let user = self.user(key);
        let mut held = lock(&user.slot.held);
        while *held {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            held =
                user.slot.freed.wait_timeout(held, left).unwrap_or_else(|poisoned| poisoned.into_inner()).0;
        }
        *held = true;
        drop(held);
        Ok(ThreadLock { user })
    }

    fn user(&self, key: Key) -> User {
        let mut table = lock(&self.0);
        let shared = table.entry(key.clone()).or_default();
        shared.users += 1;
        User { slots: self.clone(), key, slot: Arc::clone(&shared.slot) }
    }

    /// How many keys are held or waited for.
    #[cfg(any(test, loom))]
    #[allow(clippy::len_without_is_empty, reason = "only for tests")]
    pub fn len(&self) -> usize {
        lock(&self.0).len()
    }
}

impl Drop for ThreadLock {
    fn drop(&mut self) {
        *lock(&self.user.slot.held) = false;
        self.user.slot.freed.notify_one();
    }
}

impl Drop for User {
    fn drop(&mut self) {
        let mut table = lock(&self.slots.0);
        // Ours: it stays as long as it has users.
        let users = table.get_mut(&self.key).map_or(0, |shared| {
            shared.users -= 1;
            shared.users
        });
        if users == 0 {
            table.remove(&self.key);
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_held_lock_times_out_and_a_freed_one_is_taken() {
        let slots = Slots::default();
        let key = || (0, 0, b"slots-test".to_vec());
        let first = slots.take(key(), Duration::ZERO).unwrap();
        let refused = slots.take(key(), Duration::from_millis(1));
        assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::TimedOut);
        let (again, theirs) = (slots.clone(), key());
        let waiter = std::thread::spawn(move || again.take(theirs, Duration::from_secs(60)).is_ok());
        drop(first);
        assert!(waiter.join().unwrap());
        assert!(slots.take(key(), Duration::from_secs(60)).is_ok());
        assert_eq!(slots.len(), 0, "nothing is left behind");
    }
}

//! Waiting for changes, whoever makes them.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Mailbox;
use crate::error::{Doing, Error};
use crate::store::{Stamp, Store, Watch};

/// Waits for changes of one mailbox. Begins to look when it is made: make it before the
/// [`super::Snapshot`] that it is to keep fresh.
#[derive(Debug)]
pub struct Watcher<S: Store> {
    store: Arc<S>,
    /// `new` and `cur`.
    dirs: [S::Dir; 2],
    stamps: [Stamp; 2],
    poll_every: Duration,
    told: Option<Box<dyn Watch>>,
}

impl<S: Store> Mailbox<S> {
    /// Begins to watch: by the store's own means ([`Store::watch`]: inotify), or else by looking
    /// at the directories' stamps every [`super::MailboxConfig::poll_every`].
    pub fn watch(&self) -> Result<Watcher<S>, Error> {
        let dirs = [self.dirs.new.clone(), self.dirs.cur.clone()];
        let told = match self.store.watch(&[&dirs[0], &dirs[1]]) {
            Ok(told) => Some(told),
            Err(e) if e.kind() == io::ErrorKind::Unsupported => None,
            Err(e) => {
                tracing::warn!(error = %e, "a mailbox cannot be watched; looking at it now and then");
                None
            }
        };
        let stamps = stamps(&*self.store, &dirs)?;
        let (store, poll_every) = (Arc::clone(&self.store), self.config.poll_every);
        Ok(Watcher { store, dirs, stamps, poll_every, told })
    }
}

impl<S: Store> Watcher<S> {
    /// Waits until something may have changed since the last call: look for what, with
    /// [`Mailbox::changes_since`]. False after `timeout`. The caller's own changes count too.
    pub fn wait(&mut self, timeout: Duration) -> Result<bool, Error> {
        if let Some(told) = &mut self.told {
            return told.wait(timeout).doing("watch a mailbox");
        }
        let deadline = Instant::now() + timeout;
        loop {
            let now = stamps(&*self.store, &self.dirs)?;
            if now != self.stamps {
                self.stamps = now;
                return Ok(true);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(false);
            }
            std::thread::sleep(self.poll_every.min(left));
        }
    }
}

fn stamps<S: Store>(store: &S, dirs: &[S::Dir; 2]) -> Result<[Stamp; 2], Error> {
    let stamp = |dir| store.stamp(dir).doing("look at a mailbox");
    Ok([stamp(&dirs[0])?, stamp(&dirs[1])?])
}

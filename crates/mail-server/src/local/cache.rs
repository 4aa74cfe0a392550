//! Open mailboxes, the least recently used closed first.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, RwLock};

use posthaste_maildir as maildir;
use posthaste_maildir::{Error, Mailbox, MailboxConfig, Tree};

use super::LocalStoreConfig;
use crate::store::{MailboxName, User};

/// One user's tree.
#[derive(Debug)]
pub(super) struct Home<S: maildir::Store> {
    pub(super) tree: Tree<S>,
    /// Written by what makes, removes and renames mailboxes: a handle to a mailbox that is gone
    /// must not come into the cache behind its back.
    pub(super) structure: RwLock<()>,
}

#[derive(Debug)]
pub(super) struct Cache<S: maildir::Store> {
    store: Arc<S>,
    mailbox: MailboxConfig,
    mailboxes_max: usize,
    inner: Mutex<Entries<S>>,
}

#[derive(Debug)]
struct Entries<S: maildir::Store> {
    clock: u64,
    homes: HashMap<User, Used<Home<S>>>,
    mailboxes: HashMap<(User, MailboxName), Used<Mailbox<S>>>,
}

#[derive(Debug)]
struct Used<T> {
    at: u64,
    value: Arc<T>,
}

impl<S: maildir::Store> Cache<S> {
    pub(super) fn new(store: Arc<S>, config: &LocalStoreConfig) -> Self {
        let inner = Entries { clock: 0, homes: HashMap::new(), mailboxes: HashMap::new() };
        Self {
            store,
            mailbox: config.mailbox.clone(),
            mailboxes_max: config.mailboxes_open_max.max(1),
            inner: Mutex::new(inner),
        }
    }

    /// A user's tree, made if there is none.
    pub(super) fn home(&self, user: &User) -> Result<Arc<Home<S>>, Error> {
        if let Some(home) = self.lock().home(user) {
            return Ok(home);
        }
        let root = user.as_str().as_bytes();
        let tree = Tree::new(Arc::clone(&self.store), root, self.mailbox.clone());
        tree.ensure()?;
        let mut entries = self.lock();
        // Another thread may have been quicker: there must be one lock a user.
        if let Some(home) = entries.home(user) {
            return Ok(home);
        }
        let home = Arc::new(Home { tree, structure: RwLock::new(()) });
        let at = entries.tick();
        entries.homes.insert(user.clone(), Used { at, value: Arc::clone(&home) });
        evict(&mut entries.homes, self.mailboxes_max);
        Ok(home)
    }

    /// A mailbox. The caller holds the structure lock of `home`.
    pub(super) fn mailbox(
        &self,
        user: &User,
        home: &Home<S>,
        name: &MailboxName,
    ) -> Result<Arc<Mailbox<S>>, Error> {
        let key = (user.clone(), name.clone());
        if let Some(mailbox) = self.lock().mailbox(&key) {
            return Ok(mailbox);
        }
        let mailbox = Arc::new(home.tree.mailbox(name.as_str())?);
        let mut entries = self.lock();
        // Another thread may have been quicker: use the same one, it knows what was told.
        if let Some(mailbox) = entries.mailbox(&key) {
            return Ok(mailbox);
        }
        let at = entries.tick();
        entries.mailboxes.insert(key, Used { at, value: Arc::clone(&mailbox) });
        evict(&mut entries.mailboxes, self.mailboxes_max);
        Ok(mailbox)
    }

    /// Closes mailboxes of a user. The caller holds the structure lock for writing.
    pub(super) fn close(&self, user: &User, which: impl Fn(&MailboxName) -> bool) {
        self.lock().mailboxes.retain(|(owner, name), _| owner != user || !which(name));
    }

    fn lock(&self) -> MutexGuard<'_, Entries<S>> {
        self.inner.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl<S: maildir::Store> Entries<S> {
    fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    fn home(&mut self, user: &User) -> Option<Arc<Home<S>>> {
        let at = self.tick();
        self.homes.get_mut(user).map(|used| used.touch(at))
    }

    fn mailbox(&mut self, key: &(User, MailboxName)) -> Option<Arc<Mailbox<S>>> {
        let at = self.tick();
        self.mailboxes.get_mut(key).map(|used| used.touch(at))
    }
}

impl<T> Used<T> {
    fn touch(&mut self, at: u64) -> Arc<T> {
        self.at = at;
        Arc::clone(&self.value)
    }
}

/// Drops the eighth that was unused for longest, when there are too many; nothing in use.
fn evict<K: Clone + Eq + std::hash::Hash, T>(entries: &mut HashMap<K, Used<T>>, max: usize) {
    if entries.len() <= max {
        return;
    }
    let idle = entries.iter().filter(|(_, used)| Arc::strong_count(&used.value) == 1);
    let mut idle: Vec<(u64, K)> = idle.map(|(key, used)| (used.at, key.clone())).collect();
    idle.sort_unstable_by_key(|(at, _)| *at);
    for (_, key) in idle.into_iter().take(max / 8 + 1) {
        entries.remove(&key);
    }
}

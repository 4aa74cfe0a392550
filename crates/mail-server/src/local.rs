//! A mail store on Maildirs: every user's Maildir++ tree in one [`maildir::Store`], a plain
//! directory or a volume.
//!
//! User `alice@example.org` has the tree `alice@example.org/` below the store's root; it is made
//! when it is first used. Operations run on tokio's blocking threads, at once where they concern
//! different mailboxes. No reply leaves before all it depends on is durable (DESIGN R3), and no
//! watcher hears of a change before.
//!
//! ```
//! # #[cfg(unix)] {
//! use posthaste_mail_server::local::{LocalStore, LocalStoreConfig};
//! use posthaste_mail_server::{MailStore, User};
//! use posthaste_maildir::{LocalConfig, LocalFs};
//!
//! # let dir = tempfile::tempdir()?;
//! let maildirs = LocalFs::open(dir.path(), LocalConfig::default())?;
//! let store = LocalStore::new(maildirs, LocalStoreConfig::default());
//! # let runtime = tokio::runtime::Builder::new_current_thread().build()?;
//! # runtime.block_on(async {
//! let alice = User::parse("alice@example.org")?;
//! store.deliver(&[alice], "Subject: hello\r\n\r\nhello\r\n".into()).await?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod cache;
mod convert;
mod ops;
#[cfg(all(test, unix))]
mod tests;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use posthaste_maildir as maildir;
use posthaste_maildir::MailboxConfig;

use crate::store::{MailStore, MailboxName, Op, Recipient, Reply, StoreError, User, Watch};
use cache::Cache;
use watch::Watchers;

/// Limits and names of a [`LocalStore`].
#[derive(Debug, Clone)]
pub struct LocalStoreConfig {
    /// How many mailboxes are kept open. Each holds five file descriptors on a local file system,
    /// and about 140 bytes a message. More may be open while more are in use.
    pub mailboxes_open_max: usize,
    /// How many bytes one [`Op::Fetch`] may return.
    pub fetch_bytes_max: usize,
    /// Where other programs may change the Maildirs ([`maildir::Caps::shared`]), watchers get a
    /// hint this often, since nobody tells us. Each costs an IMAP session three stamps.
    pub foreign_poll: Duration,
    /// The host in the names of messages that are made here.
    pub hostname: String,
    /// For each mailbox. `validity_dir` and `host` are overruled.
    pub mailbox: MailboxConfig,
}

impl Default for LocalStoreConfig {
    fn default() -> Self {
        Self {
            mailboxes_open_max: 128,
            fetch_bytes_max: 128 << 20,
            foreign_poll: Duration::from_secs(5),
            hostname: "localhost".to_owned(),
            mailbox: MailboxConfig::default(),
        }
    }
}

/// All users' mail in one Maildir store. Cheap to clone.
#[derive(Debug)]
pub struct LocalStore<S: maildir::Store> {
    inner: Arc<Inner<S>>,
}

impl<S: maildir::Store> Clone for LocalStore<S> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

#[derive(Debug)]
struct Inner<S: maildir::Store> {
    store: Arc<S>,
    config: LocalStoreConfig,
    cache: Cache<S>,
    watchers: Watchers,
}

/// What an operation did, before it is durable.
#[derive(Debug)]
struct Outcome {
    reply: Reply,
    /// Mailboxes that look different now.
    changed: Vec<(User, MailboxName)>,
}

impl<S: maildir::Store> LocalStore<S> {
    /// Serves the mail in `store`.
    pub fn new(store: S, config: LocalStoreConfig) -> Self {
        Self::shared(Arc::new(store), config)
    }

    /// Serves the mail in a store that others use too.
    pub fn shared(store: Arc<S>, mut config: LocalStoreConfig) -> Self {
        config.mailbox.host.clone_from(&config.hostname);
        let cache = Cache::new(Arc::clone(&store), &config);
        Self { inner: Arc::new(Inner { store, config, cache, watchers: Watchers::default() }) }
    }

    /// The store below.
    pub fn store(&self) -> &Arc<S> {
        &self.inner.store
    }

    /// Does one operation; returns when it is durable. Blocks: [`MailStore::call`] is the same for
    /// asynchronous callers.
    pub fn call_blocking(&self, user: &User, op: Op) -> Result<Reply, StoreError> {
        let outcome = self.inner.execute(user, op);
        // Also a refusal tells what others did: "no such mailbox" must still be true tomorrow.
        self.inner.store.commit().map_err(|e| {
            tracing::error!(error = %e, "the mail store cannot make its state durable");
            StoreError::Unavailable(format!("the mail store cannot make its state durable: {e}"))
        })?;
        let outcome = outcome?;
        for (user, name) in &outcome.changed {
            self.inner.watchers.tell(user, name);
        }
        Ok(outcome.reply)
    }
}

#[async_trait]
impl<S: maildir::Store> MailStore for LocalStore<S> {
    async fn call(&self, user: &User, op: Op) -> Result<Reply, StoreError> {
        let (this, user) = (self.clone(), user.clone());
        tokio::task::spawn_blocking(move || this.call_blocking(&user, op))
            .await
            .map_err(|e| StoreError::Internal(format!("a mail operation ended without an answer: {e}")))?
    }

    async fn deliver(&self, to: &[User], body: Bytes) -> Result<(), StoreError> {
        let recipient = |user: &User| Recipient {
            user: user.clone(),
            base: crate::base_name(&self.inner.config.hostname),
        };
        let to: Vec<Recipient> = to.iter().map(recipient).collect();
        let Some(first) = to.first().map(|recipient| recipient.user.clone()) else { return Ok(()) };
        self.call(&first, Op::Deliver { to, body }).await.map(drop)
    }

    async fn watch(&self, user: &User, name: &MailboxName) -> Result<Watch, StoreError> {
        let poll = self.inner.store.caps().shared.then_some(self.inner.config.foreign_poll);
        Ok(self.inner.watchers.watch(user, name, poll))
    }
}

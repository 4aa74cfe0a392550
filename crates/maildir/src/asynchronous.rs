//! Mailboxes for asynchronous callers: whole operations on tokio's blocking threads.

use std::sync::Arc;
use std::time::Duration;

use crate::error::Error;
use crate::flags::Flags;
use crate::keywords::Keyword;
use crate::mailbox::{
    Append, Appended, Changes, Delivered, Delivery, FlagChange, Mailbox, Snapshot, Watcher,
};
use crate::name::BaseName;
use crate::store::{Durability, Store};

/// A [`Mailbox`] whose operations are futures. Each runs as one piece of work on a blocking
/// thread: one hand-over an operation, not one a system call. Cheap to clone.
///
/// A future that is dropped does not stop its operation; what it did is found by a retry with the
/// same base name.
#[derive(Debug)]
pub struct AsyncMailbox<S: Store>(Arc<Mailbox<S>>);

impl<S: Store> Clone for AsyncMailbox<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<S: Store> AsyncMailbox<S> {
    /// The same mailbox for asynchronous callers.
    pub fn new(mailbox: Arc<Mailbox<S>>) -> Self {
        Self(mailbox)
    }

    /// The mailbox.
    pub fn blocking(&self) -> &Arc<Mailbox<S>> {
        &self.0
    }

    /// Any operation, or several in a row.
    pub async fn call<R: Send + 'static>(
        &self,
        act: impl FnOnce(&Mailbox<S>) -> Result<R, Error> + Send + 'static,
    ) -> Result<R, Error> {
        let mailbox = Arc::clone(&self.0);
        match tokio::task::spawn_blocking(move || act(&mailbox)).await {
            Ok(result) => result,
            Err(e) if e.is_panic() => std::panic::resume_unwind(e.into_panic()),
            Err(e) => Err(Error::io("run a mailbox operation", std::io::Error::other(e))),
        }
    }

    /// [`Mailbox::deliver`] of one message, durable when the future is ready.
    pub async fn deliver(&self, base: Option<BaseName>, content: Vec<u8>) -> Result<Delivered, Error> {
        let deliver = move |mailbox: &Mailbox<S>| {
            let item = Delivery { base, content: &content };
            mailbox.deliver(&[item], Durability::Full)?.remove(0)
        };
        self.call(deliver).await
    }

    /// [`Mailbox::append`], durable when the future is ready.
    pub async fn append(
        &self,
        content: Vec<u8>,
        flags: Flags,
        keywords: Vec<Keyword>,
    ) -> Result<Appended, Error> {
        let append = move |mailbox: &Mailbox<S>| {
            let item = Append { base: None, content: &content, flags, keywords: &keywords, date: None };
            mailbox.append(&item, Durability::Full)
        };
        self.call(append).await
    }

    /// [`Mailbox::snapshot`], and what it shows is durable.
    pub async fn snapshot(&self) -> Result<Snapshot, Error> {
        self.call(|mailbox| committed(mailbox, mailbox.snapshot()?)).await
    }

    /// [`Mailbox::changes_since`], and what it shows is durable.
    pub async fn changes_since(&self, modseq: u64) -> Result<Option<Changes>, Error> {
        self.call(move |mailbox| committed(mailbox, mailbox.changes_since(modseq)?)).await
    }

    /// [`Mailbox::read`].
    pub async fn read(&self, uid: u32) -> Result<Vec<u8>, Error> {
        self.call(move |mailbox| mailbox.read(uid)).await
    }

    /// [`Mailbox::change_flags`], durable when the future is ready.
    pub async fn change_flags(
        &self,
        uids: Vec<u32>,
        how: FlagChange,
        flags: Flags,
        keywords: Vec<Keyword>,
    ) -> Result<Vec<crate::Message>, Error> {
        let change = move |mailbox: &Mailbox<S>| {
            committed(mailbox, mailbox.change_flags(&uids, how, flags, &keywords)?)
        };
        self.call(change).await
    }

    /// [`Mailbox::expunge`], durable when the future is ready.
    pub async fn expunge(&self, uids: Option<Vec<u32>>, only_trashed: bool) -> Result<Vec<u32>, Error> {
        self.call(move |mailbox| committed(mailbox, mailbox.expunge(uids.as_deref(), only_trashed)?)).await
    }

    /// [`Watcher::wait`]; gives the watcher back. Takes a blocking thread for as long as it waits.
    pub async fn wait(
        &self,
        mut watcher: Watcher<S>,
        timeout: Duration,
    ) -> Result<(Watcher<S>, bool), Error> {
        self.call(move |_| watcher.wait(timeout).map(|changed| (watcher, changed))).await
    }
}

fn committed<S: Store, R>(mailbox: &Mailbox<S>, told: R) -> Result<R, Error> {
    let commit = mailbox.store().commit();
    commit.map(|()| told).map_err(|e| Error::io("make a change durable", e))
}

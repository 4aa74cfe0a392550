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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mailbox::MailboxConfig;
    use crate::sim::SimFs;

    #[test]
    fn operations_are_whole_and_what_they_tell_is_durable() {
        let disk = Arc::new(SimFs::default());
        let open = |disk: &Arc<SimFs>| {
            Arc::new(Mailbox::ensure(Arc::clone(disk), b"m", MailboxConfig::default()).unwrap())
        };
        let inbox = AsyncMailbox::new(open(&disk));
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let told = runtime.block_on(async {
            let base = BaseName::parse(b"1.a").unwrap();
            assert!(inbox.deliver(Some(base), b"x\n".to_vec()).await.unwrap().new);
            let first = inbox.snapshot().await.unwrap();
            assert_eq!(inbox.append(b"y".to_vec(), Flags::SEEN, Vec::new()).await.unwrap().uid, 2);
            let changed =
                inbox.change_flags(vec![1], FlagChange::Add, Flags::FLAGGED, Vec::new()).await.unwrap();
            assert_eq!((changed[0].uid, changed[0].flags), (1, Flags::FLAGGED));
            assert_eq!(inbox.expunge(Some(vec![2]), false).await.unwrap(), [2]);
            let changes = inbox.changes_since(first.modseq).await.unwrap().unwrap();
            assert_eq!((changes.changed.len(), &changes.vanished[..]), (1, &[2][..]));
            assert_eq!(inbox.read(1).await.unwrap(), b"x\r\n");
            let watcher = inbox.blocking().watch().unwrap();
            let (_, changed) = inbox.wait(watcher, Duration::ZERO).await.unwrap();
            assert!(!changed);
            assert!(matches!(inbox.read(9).await, Err(Error::Gone { uid: 9 })));
            inbox.snapshot().await.unwrap()
        });
        let found = open(&Arc::new(disk.crash(1))).snapshot().unwrap();
        let seen =
            |snapshot: &Snapshot| -> Vec<_> { snapshot.messages.iter().map(|m| (m.uid, m.flags)).collect() };
        assert_eq!(seen(&found), seen(&told));
    }
}

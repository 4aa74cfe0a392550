//! Trees in temporary directories.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use posthaste_maildir::{
    BaseName, Delivery, DotlockTimes, Durability, GroupFlush, LocalConfig, LocalFs, Mailbox, MailboxConfig,
};
use std::time::Duration;
use tempfile::TempDir;

pub(crate) type Local = Mailbox<LocalFs>;

/// A store and a mailbox in it.
pub(crate) struct Fixture {
    pub(crate) dir: TempDir,
    pub(crate) store: Arc<LocalFs>,
    pub(crate) inbox: Local,
}

pub(crate) fn config(shared: bool) -> LocalConfig {
    let lock_times = DotlockTimes {
        settle: Duration::from_millis(1),
        poll: (Duration::from_millis(1), Duration::from_millis(5)),
        ..DotlockTimes::default()
    };
    LocalConfig { shared, lock_times, ..LocalConfig::default() }
}

impl Fixture {
    pub(crate) fn new() -> Self {
        Self::with(true)
    }

    pub(crate) fn with(shared: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        // Nothing here loses power: what does is `crash`.
        let config = LocalConfig { group_flush: GroupFlush::Never, ..config(shared) };
        let store = Arc::new(LocalFs::open(dir.path(), config).unwrap());
        let inbox = Mailbox::ensure(Arc::clone(&store), b"inbox", MailboxConfig::default()).unwrap();
        Self { dir, store, inbox }
    }

    pub(crate) fn mailbox(&self, path: &str) -> Local {
        Mailbox::ensure(Arc::clone(&self.store), path.as_bytes(), MailboxConfig::default()).unwrap()
    }

    pub(crate) fn path(&self, below: &str) -> PathBuf {
        self.dir.path().join("inbox").join(below)
    }

    /// Delivers messages named `1.a`, `2.a`, … with their number as content.
    pub(crate) fn deliver(&self, numbers: std::ops::RangeInclusive<u32>) {
        for n in numbers {
            let content = format!("{n}\r\n");
            let item = Delivery { base: Some(base(&format!("{n}.a"))), content: content.as_bytes() };
            self.inbox.deliver(&[item], Durability::None).unwrap().pop().unwrap().unwrap();
        }
    }
}

pub(crate) fn base(name: &str) -> BaseName {
    BaseName::parse(name.as_bytes()).unwrap()
}

pub(crate) fn uids(mailbox: &Local) -> Vec<u32> {
    mailbox.snapshot().unwrap().messages.iter().map(|m| m.uid).collect()
}

pub(crate) fn ls(dir: impl AsRef<Path>) -> Vec<String> {
    let entries = std::fs::read_dir(dir).unwrap();
    let mut names: Vec<_> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

//! One mailbox: a Maildir with its UIDs, flags, keywords and change numbers.

mod cache;
mod changes;
mod control;
mod copy;
mod courier;
mod deliver;
mod expunge;
mod fetch;
mod flags;
mod import;
mod list;
mod modseq;
mod state;
mod sync;
mod watch;

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, RwLock};
use std::time::{Duration, SystemTime};

use crate::error::{Doing, Error};
use crate::flags::Flags;
use crate::generate::NameGenerator;
use crate::keywords::Keyword;
use crate::name::BaseName;
use crate::quota::{MaildirSize, QuotaLimits};
use crate::store::Store;
use state::State;

pub use cache::Digested;
pub use changes::Changes;
pub use copy::Copied;
pub use deliver::{Delivered, Delivery};
pub use flags::FlagChange;
pub use import::{Append, Appended, Import};
pub use list::{Listed, Listing};
pub use watch::Watcher;

pub(crate) const UIDLIST: &[u8] = b"dovecot-uidlist";
pub(crate) const UIDLIST_LOCK: &[u8] = b"dovecot-uidlist.lock";
pub(crate) const KEYWORDS: &[u8] = b"dovecot-keywords";

/// How many files are renamed or removed under one lock: less than 50 ms on a disk of our day.
const STRETCH: usize = 500;

/// Limits and names of a mailbox.
#[derive(Debug, Clone)]
pub struct MailboxConfig {
    /// How long to wait for the mailbox's lock. Dovecot overrides a dead host's lock after 120 s:
    /// to do the same, wait longer than that.
    pub lock_wait: Duration,
    /// How many expunged UIDs are remembered for [`Mailbox::changes_since`]; who asks for older
    /// ones must read the mailbox anew.
    pub vanished_max: usize,
    /// The largest message that is taken in, in bytes.
    pub message_bytes_max: u64,
    /// How often a [`Watcher`] looks at the mailbox where the store tells nothing (NFS).
    pub poll_every: Duration,
    /// Files in `tmp` that nobody has touched for this long belong to writers that are dead.
    /// Not less than a day: writers on other nodes may live.
    pub tmp_unused_for: Duration,
    /// [`Mailbox::clean_tmp`] does nothing if somebody did so within this time.
    pub tmp_clean_every: Duration,
    /// Keep sizes, dates, [`Mailbox::digests`] and change numbers in two files of our own
    /// (`posthaste-cache`, `posthaste-modseq`) in the mailbox, so that an opening begins where the
    /// last one ended. Both may be removed at any time.
    pub keep_cache: bool,
    /// How a [`crate::Tree`] names new folders on disk; both ways are read.
    pub folder_names: FolderNames,
    /// Where `dovecot-uidlist` and its kin are, if not with the mail (Dovecot's `CONTROL=`),
    /// relative to the store's root. Of a [`crate::Tree`]: the directory for INBOX; that of a
    /// folder is below it.
    pub control_dir: Option<Vec<u8>>,
    /// What a [`crate::Tree`] may hold. `None`: what its `maildirsize` says, if it has one.
    pub quota: Option<QuotaLimits>,
    /// The root of the tree that the mailbox's messages count for; [`crate::Tree`] sets it.
    pub quota_root: Option<Vec<u8>>,
    /// The host in generated message names.
    pub host: String,
    /// The directory whose `dovecot-uidvalidity` gives a new mailbox its UIDVALIDITY: the root of
    /// the tree, relative to the store's.
    pub validity_dir: Vec<u8>,
}

impl Default for MailboxConfig {
    fn default() -> Self {
        Self {
            lock_wait: Duration::from_secs(125),
            vanished_max: 10_000,
            message_bytes_max: 1 << 30,
            poll_every: Duration::from_secs(1),
            tmp_unused_for: Duration::from_secs(36 * 3600),
            tmp_clean_every: Duration::from_secs(7 * 24 * 3600),
            keep_cache: false,
            folder_names: FolderNames::default(),
            control_dir: None,
            quota: None,
            quota_root: None,
            host: "localhost".to_owned(),
            validity_dir: Vec::new(),
        }
    }
}

/// How folders are named on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FolderNames {
    /// Modified UTF-7: what Courier and Dovecot write.
    #[default]
    Mutf7,
    /// UTF-8: Dovecot with `UTF-8` in its `mail_location`, and the default of its 2.4.
    Utf8,
}

/// A mailbox. All calls block; all are safe from any thread.
///
/// What a call changed is visible at once and durable after [`Store::commit`] (or at once, where
/// the call takes a [`crate::Durability`]): commit before you tell anyone.
#[derive(Debug)]
pub struct Mailbox<S: Store> {
    store: Arc<S>,
    config: MailboxConfig,
    /// Where the mail is, relative to the store's root.
    path: Vec<u8>,
    names: NameGenerator,
    dirs: Dirs<S>,
    quota: Option<MaildirSize<S>>,
    /// Held for reading while messages are published whose names were looked for, for writing
    /// while `new` is emptied: a first try must not move between the look and its repetition.
    /// Taken while `state` is held, never the other way round.
    arrivals: RwLock<()>,
    /// Bytes and names of the last listing.
    listed: Mutex<(usize, usize)>,
    // Locked before `state`, never after it.
    cache: Mutex<cache::Cached>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct Dirs<S: Store> {
    /// Of the control files.
    root: S::Dir,
    new: S::Dir,
    cur: S::Dir,
    tmp: S::Dir,
    validity: S::Dir,
}

/// One message, without its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Strictly growing, never reused under one UIDVALIDITY.
    pub uid: u32,
    /// Its identity.
    pub base: BaseName,
    /// System flags (capital letters) and keyword letters.
    pub flags: Flags,
    /// The names of the keyword letters.
    pub keywords: Vec<Keyword>,
    /// Bytes with CRLF line ends: RFC822.SIZE.
    pub size: u64,
    /// INTERNALDATE.
    pub date: SystemTime,
    /// The mailbox's change number when this message changed last.
    pub modseq: u64,
}

/// A mailbox at one instant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// UIDVALIDITY.
    pub uid_validity: u32,
    /// UIDNEXT.
    pub uid_next: u32,
    /// The mailbox's change number, for [`Mailbox::changes_since`].
    pub modseq: u64,
    /// Keywords that have a letter.
    pub keywords: Vec<Keyword>,
    /// All messages, UIDs ascending.
    pub messages: Vec<Message>,
    /// UIDs that no earlier snapshot or change list of this `Mailbox` showed and that came through
    /// `new`: IMAP's `\Recent`. Looks by [`Mailbox::peek`] do not count.
    pub recent: Vec<u32>,
}

impl<S: Store> Mailbox<S> {
    /// Opens the mailbox at `path` (relative to the store's root; `b""` is the root itself).
    /// Reads nothing yet. [`Error::NoMailbox`] if there is no `cur`.
    pub fn open(store: Arc<S>, path: &[u8], config: MailboxConfig) -> Result<Self, Error> {
        let missing = |e: io::Error| match e.kind() {
            io::ErrorKind::NotFound => Error::NoMailbox(path.escape_ascii().to_string()),
            _ => Error::io(format!("open {}", path.escape_ascii()), e),
        };
        let cur = store.open_dir(&join(path, b"cur")).map_err(missing)?;
        let dirs = Dirs {
            root: match &config.control_dir {
                Some(control) => open_or_make(&*store, control)?,
                None => store.open_dir(path).map_err(missing)?,
            },
            new: open_or_make(&*store, &join(path, b"new"))?,
            tmp: open_or_make(&*store, &join(path, b"tmp"))?,
            validity: store.open_dir(&config.validity_dir).map_err(missing)?,
            cur,
        };
        let quota = match &config.quota_root {
            Some(root) => Some(MaildirSize::new(Arc::clone(&store), root, config.quota)?),
            None => None,
        };
        let state = Mutex::new(State::new(config.vanished_max));
        Ok(Self {
            names: NameGenerator::new(&config.host),
            store,
            config,
            path: path.to_vec(),
            dirs,
            quota,
            arrivals: RwLock::default(),
            listed: Mutex::default(),
            cache: Mutex::default(),
            state,
        })
    }

    /// Makes the mailbox if there is none, durably, and opens it.
    pub fn ensure(store: Arc<S>, path: &[u8], config: MailboxConfig) -> Result<Self, Error> {
        for sub in [&b"tmp"[..], b"new", b"cur"] {
            store.create_dir(&join(path, sub)).doing("make a mailbox")?;
        }
        Self::open(store, path, config)
    }

    /// The store that the mailbox is in.
    pub fn store(&self) -> &Arc<S> {
        &self.store
    }

    /// About how much memory what is known of the messages takes, in bytes. What
    /// [`Mailbox::digests`] has looked up comes on top.
    pub fn memory(&self) -> usize {
        self.state().memory()
    }

    /// Removes what dead writers left in `tmp`; returns how many files. Cheap when it was done
    /// within [`MailboxConfig::tmp_clean_every`].
    pub fn clean_tmp(&self) -> Result<usize, Error> {
        let (unused_for, every) = (self.config.tmp_unused_for, self.config.tmp_clean_every);
        self.store.sweep(&self.dirs.tmp, unused_for, every).doing("clean tmp")
    }

    /// An error if the user's tree may not hold so much more.
    fn check_quota(&self, bytes: u64, messages: u64) -> Result<(), Error> {
        self.quota.as_ref().map_or(Ok(()), |quota| quota.check(bytes, messages))
    }

    /// Notes what came (or, with `-1`, went).
    fn charge(&self, sign: i64, sizes: impl Iterator<Item = u64>) {
        let Some(quota) = &self.quota else { return };
        let (bytes, messages) = sizes.fold((0i64, 0), |(sum, n), size| (sum + size as i64, n + 1));
        if messages > 0 {
            quota.charge(sign * bytes, sign * messages);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl<S: Store> Drop for Mailbox<S> {
    fn drop(&mut self) {
        if let Err(e) = self.save_cache() {
            tracing::debug!(error = %e, "the cache of a mailbox was not saved");
        }
    }
}

fn open_or_make<S: Store>(store: &S, path: &[u8]) -> Result<S::Dir, Error> {
    match store.open_dir(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            store.create_dir(path).and_then(|_| store.open_dir(path)).doing("make a mailbox directory")
        }
        other => other.doing("open a mailbox directory"),
    }
}

/// `path/name`, where an empty path is the root.
pub(crate) fn join(path: &[u8], name: &[u8]) -> Vec<u8> {
    match path {
        b"" => name.to_vec(),
        path => [path, b"/", name].concat(),
    }
}

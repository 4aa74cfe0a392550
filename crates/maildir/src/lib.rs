#![forbid(unsafe_code)]
//! A Maildir that any number of threads and processes share, beside Dovecot: an acknowledged
//! message is there once, whole, after any crash; UIDs are never reused; no flag is lost.
//!
//! ```
//! # #[cfg(unix)] {
//! use posthaste_maildir::{Delivery, Durability, FlagChange, Flags, LocalConfig, LocalFs};
//! use posthaste_maildir::{MailboxConfig, Store, Tree};
//! use std::sync::Arc;
//!
//! let home = tempfile::tempdir()?;
//! let store = Arc::new(LocalFs::open(home.path(), LocalConfig::default())?);
//! let tree = Tree::new(store.clone(), b"Maildir", MailboxConfig::default());
//! tree.ensure()?;
//! let inbox = tree.mailbox("INBOX")?;
//!
//! let mail = Delivery { base: None, content: b"Subject: hello\r\n\r\nIt works.\r\n" };
//! inbox.deliver(&[mail], Durability::Full)?.remove(0)?; // now it may be acknowledged
//!
//! let uid = inbox.snapshot()?.messages[0].uid;
//! inbox.change_flags(&[uid], FlagChange::Add, Flags::SEEN, &[])?;
//! store.commit()?; // now anyone may be told the UID and the flag
//! assert!(inbox.read(uid)?.ends_with(b"It works.\r\n"));
//! # }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # The types
//!
//! - [`Store`] is what mail is kept on; [`LocalFs`] is the local file system (and NFS). A store of
//!   your own is checked by [`conformance`]; [`sim::SimFs`] loses power on demand.
//! - [`Tree`] is one user's Maildir++: INBOX and folders, subscriptions, quota.
//! - [`Mailbox`] is one Maildir: messages by UID, flags, keywords, change numbers.
//!   [`Mailbox::watch`] tells of changes by others, [`Mailbox::digests`] keeps what clients ask of
//!   all messages.
//! - [`BaseName`] is a message's identity, [`FileName`] its name on disk, with [`Flags`] and the
//!   letters of [`Keyword`]s.
//!
//! # The contract
//!
//! Calls block, and may come from any thread. A change is visible to all when its call returns,
//! and durable after the next [`Store::commit`] (or at once where a call takes
//! [`Durability::Full`]). **Commit before you tell anyone** what you saw or did: a UID, a flag, a
//! 250. Concurrent commits share their flushes, and so do the contents of concurrent deliveries, in
//! the way that [`GroupFlush`] says.
//!
//! Operations that create messages take the new base name from the caller. Repeating them with the
//! same name, after a crash or on another node, finds the first try and changes nothing.
//!
//! # Beside other programs
//!
//! | program | on one Maildir at the same moment | settings that it needs |
//! |---|---|---|
//! | Dovecot 2.3, 2.4 | yes: lock files, `dovecot-uidlist`, `dovecot-keywords` | `maildir_very_dirty_syncs=no`, `maildir_broken_filename_sizes=no` |
//! | Postfix, Exim, and other deliveries | yes: `new` needs no lock | none |
//! | mutt, notmuch, mbsync | yes; they rename without the lock, see below | none |
//! | Courier | its UIDs, keywords, subscriptions and quota are taken over | stop it first |
//!
//! # Guarantees
//!
//! - A message's name appears only after its content is durable; nothing is ever half there.
//! - An acknowledged delivery, import, copy or move is there once, whole, after any crash. A moved
//!   message is in one mailbox or in both, never in none.
//! - UIDs are never reused, UIDVALIDITY never falls; a file of UIDs that is cut or damaged gives no
//!   UID another meaning.
//! - Every rename and unlink in `cur` is done under `dovecot-uidlist.lock`, as Dovecot does it. A
//!   lock that was taken from us is noticed before the next write to a control file.
//! - A change of flags is computed from the name on disk: changes of two writers both survive.
//! - Unknown flags, unknown fields and lines of Dovecot's files are kept.
//! - A directory that cannot be read is an error, never an empty mailbox. No symbolic link below
//!   the root is followed.
//! - A message is gone only when two scans under the lock and a look at its name did not find it.
//! - On a full or read-only disk, reading goes on; what cannot be written fails with
//!   [`Error::is_storage_full`] or [`Error::is_read_only`] and leaves no trace.
//! - Whoever asks for what changed since a number that it was told ([`Mailbox::changes_since`])
//!   misses nothing: it may be told too much, or to read anew.
//!
//! # Not guaranteed
//!
//! - [`GroupFlush::Never`] gives up what an acknowledgement is worth.
//! - Change numbers (MODSEQ) and the cache are kept between openings only with
//!   [`MailboxConfig::keep_cache`]. They belong to one writer at a time: two processes count
//!   differently, and a number from one makes the other say "read anew".
//! - A program that renames in `cur` without the lock is coped with, but a UID may change when two
//!   scans in a row miss a name.
//! - Two nodes or containers that share a tree and a host name steal each other's locks; set
//!   [`LocalConfig::host`].
//! - NFS ([`LocalConfig::nfs`]) is built from documentation and tested on a local disk only.
//! - Dovecot 2.3.19 and 2.4.1 were run beside us, each for a minute of 1,000 flag changes a second.
//! - `maildirsize` is a sum of what its writers claim; it is put right when it is doubtful, not at
//!   each change.
//!
//! # Limits
//!
//! A lock is held for at most 500 renames at a stretch, and for one look through a directory;
//! what a caller imports or copies in one call is under one lock. An open mailbox takes about 75
//! bytes a message, and its base name. [`MailboxConfig`] and [`LocalConfig`] have them all: size of a message, patience with locks,
//! remembered expunges. 26 keywords a mailbox is the format's.
//!
//! # Features
//!
//! None is on by default.
//!
//! - `envelope`: `envelope::digest`, envelope and body structure for [`Mailbox::digests`], by
//!   mail-parser.
//! - `tokio`: `AsyncMailbox`, whole operations as futures.

#[cfg(feature = "tokio")]
mod asynchronous;
mod cache;
pub mod conformance;
mod courier;
#[cfg(feature = "envelope")]
pub mod envelope;
mod error;
mod flags;
mod generate;
mod keywords;
#[cfg(unix)]
mod local;
mod mailbox;
pub mod mutf7;
mod name;
mod quota;
pub mod sim;
mod store;
mod subscriptions;
mod sync;
mod tree;
pub mod uidlist;
mod validity;

/// For the model checker's test only.
#[cfg(loom)]
#[doc(hidden)]
pub mod loom_parts {
    pub use crate::local::group::Group;
    pub use crate::local::slots::{Key, Slots, ThreadLock};
}

#[cfg(feature = "tokio")]
pub use asynchronous::AsyncMailbox;
pub use error::Error;
pub use flags::Flags;
pub use generate::{NameGenerator, to_wire, wire_len};
pub use keywords::{BadKeyword, Keyword, Keywords};
#[cfg(unix)]
pub use local::{DotlockTimes, GroupFlush, LocalConfig, LocalDir, LocalFs, LocalGuard, LocalStaged};
pub use mailbox::{
    Append, Appended, Changes, Copied, Delivered, Delivery, Digested, FlagChange, FolderNames, Import,
    Listed, Listing, Mailbox, MailboxConfig, Message, Snapshot, Watcher,
};
pub use name::{BaseName, FileName, NameError};
pub use quota::{Quota, QuotaLimits};
pub use store::{Caps, Durability, Meta, Publish, Stamp, Store, Watch};
pub use tree::Tree;

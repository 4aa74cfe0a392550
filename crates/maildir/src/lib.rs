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
//! - [`Store`] is what mail is kept on; [`LocalFs`] is the local file system. [`conformance`] says
//!   what a store must do, and checks it.
//! - [`Tree`] is one user's Maildir++: INBOX and folders, subscriptions.
//! - [`Mailbox`] is one Maildir: messages by UID, flags, keywords, change numbers.
//! - [`BaseName`] is a message's identity, [`FileName`] its name on disk, with [`Flags`] and the
//!   letters of [`Keyword`]s.
//!
//! # The contract
//!
//! Calls block, and may come from any thread. A change is visible to all when its call returns,
//! and durable after the next [`Store::commit`] (or at once where a call takes
//! [`Durability::Full`]). **Commit before you tell anyone** what you saw or did: a UID, a flag, a
//! 250. Concurrent commits share their flushes.
//!
//! Operations that create messages take the new base name from the caller. Repeating them with the
//! same name, after a crash or on another node, finds the first try and changes nothing.
//!
//! # Guarantees
//!
//! - A message's name appears only after its content is durable; nothing is ever half there.
//! - Every rename and unlink in `cur` is done under `dovecot-uidlist.lock`, as Dovecot does it.
//! - A change of flags is computed from the name on disk: changes of two writers both survive.
//! - Unknown flags, unknown fields and lines of Dovecot's files are kept.
//! - A directory that cannot be read is an error, never an empty mailbox.
//! - On a full disk, reading goes on; what cannot be written fails with
//!   [`Error::is_storage_full`] and leaves no trace.
//!
//! # Not guaranteed
//!
//! - Change numbers (MODSEQ) live in memory: after a restart they start higher, and
//!   [`Mailbox::changes_since`] answers `None` for older ones.
//! - A program that renames in `cur` without the lock is coped with, but a UID may change when two
//!   scans in a row miss a name.
//!
//! # Not yet
//!
//! Quota (`maildirsize`), a cache of envelopes, NFS's peculiarities, tmp cleanup, notification
//! (inotify), delivery from a reader, moves and wanted UIDs.

#[cfg(feature = "tokio")]
mod asynchronous;
mod cache;
pub mod conformance;
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
    Append, Appended, Changes, Copied, Delivered, Delivery, FlagChange, FolderNames, Import, Listed, Listing,
    Mailbox, MailboxConfig, Message, Snapshot, Watcher,
};
pub use name::{BaseName, FileName, NameError};
pub use quota::{Quota, QuotaLimits};
pub use store::{Caps, Durability, Meta, Publish, Stamp, Store, Watch};
pub use tree::Tree;

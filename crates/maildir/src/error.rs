//! What can go wrong with a mailbox.

use std::io;

use crate::name::NameError;

/// Why a mailbox operation failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The store failed. What the call had not finished is undone, or completes when retried
    /// with the same base names.
    #[error("{doing}: {source}")]
    Io {
        /// What was being done, to what.
        doing: String,
        /// What the store said.
        source: io::Error,
    },
    /// There is no such mailbox. Nothing was changed.
    #[error("there is no mailbox {0}")]
    NoMailbox(String),
    /// A mailbox of this name exists. Nothing was changed.
    #[error("mailbox {0} exists")]
    Exists(String),
    /// Not a name that a mailbox can have. Nothing was changed.
    #[error("{name:?} cannot name a mailbox: {why}")]
    BadMailboxName {
        /// The name.
        name: String,
        /// The rule it breaks.
        why: &'static str,
    },
    /// Not a name that a message can have. Nothing was changed.
    #[error("not a message name: {0}")]
    BadMessageName(#[from] NameError),
    /// The message has been expunged, by us or by another program.
    #[error("message {uid} is gone")]
    Gone {
        /// Its UID.
        uid: u32,
    },
    /// All 26 keyword letters of the mailbox are taken. Nothing was changed.
    #[error("the mailbox has its 26 keywords already")]
    KeywordsFull,
    /// The caller's base name claims another size than the content has. Nothing was changed.
    #[error("the name claims {claimed} bytes, the message has {actual}")]
    WrongSize {
        /// The size in the name.
        claimed: u64,
        /// The content's.
        actual: u64,
    },
    /// The message is larger than [`crate::MailboxConfig::message_bytes_max`]. Nothing was changed.
    #[error("the message is larger than {max} bytes")]
    TooLarge {
        /// The limit in bytes.
        max: u64,
    },
    /// The user's tree may not hold so much. Nothing was changed.
    #[error("the user's quota is used up")]
    OverQuota,
    /// A wanted UID may have been another message's, or does not ascend in its batch. Nothing was
    /// changed.
    #[error("UID {wanted} is not free; the next is {}", next.map_or("none".to_owned(), |n| n.to_string()))]
    UidTaken {
        /// The UID that was wanted.
        wanted: u32,
        /// The least that it could be.
        next: Option<u32>,
    },
    /// The mailbox has given out all its UIDs.
    #[error("the mailbox has given out all UIDs; it must be re-created")]
    UidsExhausted,
}

impl Error {
    /// Wraps an error of the store.
    pub(crate) fn io(doing: impl Into<String>, source: io::Error) -> Self {
        Self::Io { doing: doing.into(), source }
    }

    /// Is the store full? Reads still work; the caller should try later.
    pub fn is_storage_full(&self) -> bool {
        let full = [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded];
        matches!(self, Self::Io { source, .. } if full.contains(&source.kind()))
    }

    /// Does the store refuse to be written (a read-only file system, or no permission)?
    pub fn is_read_only(&self) -> bool {
        let refused = [io::ErrorKind::ReadOnlyFilesystem, io::ErrorKind::PermissionDenied];
        matches!(self, Self::Io { source, .. } if refused.contains(&source.kind()))
    }

    /// Did another holder keep the mailbox's lock for too long? A retry may succeed.
    pub fn is_lock_timeout(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::TimedOut)
    }
}

/// Adds what was being done to a store's error.
pub(crate) trait Doing<T> {
    fn doing(self, what: &str) -> Result<T, Error>;
}

impl<T> Doing<T> for io::Result<T> {
    fn doing(self, what: &str) -> Result<T, Error> {
        self.map_err(|source| Error::io(what, source))
    }
}

//! The mail store as the services see it: whole operations, idempotent, shippable.
//!
//! An [`Op`] is one unit of work on one user's mail. It runs where that user's volume is led: in
//! process there, by RPC from elsewhere, so it is plain data (`serde`). The requester chooses the
//! Maildir base names, so that a retry after a failover finds its own work instead of doing it
//! twice. A reply means: durable, and still true (DESIGN R2, R3).

use std::fmt;
use std::time::SystemTime;

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// A user's canonical name, such as `alice@example.org`: lower case, no `/`, not empty, no
/// leading `.`; at most 200 bytes. It names the user's directory.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct User(String);

impl User {
    /// Accepts a canonical name.
    pub fn parse(name: &str) -> Result<Self, InvalidName> {
        let bad = name.is_empty()
            || name.len() > 200
            || name.starts_with('.')
            || name.chars().any(|c| c == '/' || c.is_control() || c.is_whitespace() || c.is_uppercase());
        if bad { Err(InvalidName(name.to_owned())) } else { Ok(Self(name.to_owned())) }
    }

    /// The canonical name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for User {
    type Error = InvalidName;
    fn try_from(name: String) -> Result<Self, InvalidName> {
        Self::parse(&name)
    }
}

impl From<User> for String {
    fn from(user: User) -> String {
        user.0
    }
}

impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A mailbox name in UTF-8 with `.` between levels (Maildir++); `INBOX` in any case is the inbox.
/// No empty level, no `/`, no control character; at most 200 bytes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MailboxName(String);

impl MailboxName {
    /// The inbox.
    pub fn inbox() -> Self {
        Self("INBOX".to_owned())
    }

    /// Accepts a name; `inbox` in any case becomes `INBOX`.
    pub fn parse(name: &str) -> Result<Self, InvalidName> {
        if name.eq_ignore_ascii_case("INBOX") {
            return Ok(Self::inbox());
        }
        let bad = name.len() > 200
            || name.split('.').any(str::is_empty)
            || name.chars().any(|c| c == '/' || c.is_control());
        if bad { Err(InvalidName(name.to_owned())) } else { Ok(Self(name.to_owned())) }
    }

    /// Whether this is the inbox.
    pub fn is_inbox(&self) -> bool {
        self.0 == "INBOX"
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for MailboxName {
    type Error = InvalidName;
    fn try_from(name: String) -> Result<Self, InvalidName> {
        Self::parse(&name)
    }
}

impl From<MailboxName> for String {
    fn from(name: MailboxName) -> String {
        name.0
    }
}

impl fmt::Display for MailboxName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The name breaks the rules of its type; nothing was done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a valid name")]
pub struct InvalidName(pub String);

/// A Maildir base name chosen by the requester: unique for ever, the identity of one message in
/// one mailbox (its POP3 UIDL too). Without `:`, `/`, control characters; 1 to 120 bytes, since
/// the store may add `,S=…,W=…`. Make one with [`crate::base_name`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Base(String);

impl Base {
    /// Accepts a base name.
    pub fn parse(name: &str) -> Result<Self, InvalidName> {
        let bad = name.is_empty()
            || name.len() > 120
            || name.starts_with('.')
            || !name.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'/' | b':' | b','));
        if bad { Err(InvalidName(name.to_owned())) } else { Ok(Self(name.to_owned())) }
    }

    /// The base name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Base {
    type Error = InvalidName;
    fn try_from(name: String) -> Result<Self, InvalidName> {
        Self::parse(&name)
    }
}

impl From<Base> for String {
    fn from(base: Base) -> String {
        base.0
    }
}

/// IMAP system flags and keywords of a message.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Flags {
    /// `\Seen`
    pub seen: bool,
    /// `\Answered`
    pub answered: bool,
    /// `\Flagged`
    pub flagged: bool,
    /// `\Deleted`
    pub deleted: bool,
    /// `\Draft`
    pub draft: bool,
    /// Keywords, sorted, without duplicates. At most 26 distinct ones fit in a mailbox.
    pub keywords: Vec<String>,
}

/// How [`Op::Store`] changes flags. Two writers' changes both survive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum FlagChange {
    /// Sets the given ones.
    Add,
    /// Clears the given ones.
    Remove,
    /// Makes the flags exactly the given ones.
    Replace,
}

/// One message of a mailbox, without its content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Its UID: strictly growing, never reused under one UIDVALIDITY.
    pub uid: u32,
    /// Its size in bytes as IMAP counts (CRLF line ends).
    pub size: u64,
    /// INTERNALDATE, seconds since 1970.
    pub date: i64,
    /// Its flags now.
    pub flags: Flags,
    /// The change number of its last change (grows over the mailbox's life while it is led by one
    /// node; a new leader may start higher, never lower).
    pub modseq: u64,
    /// Its identity: stable, unique, printable ASCII, at most 70 bytes if made by
    /// [`crate::base_name`]: POP3's UIDL.
    pub base: String,
}

/// A mailbox as it was at one instant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// UIDVALIDITY.
    pub uid_validity: u32,
    /// The next UID.
    pub uid_next: u32,
    /// The mailbox's change number: pass it to [`Op::Changes`].
    pub modseq: u64,
    /// All messages, by ascending UID.
    pub messages: Vec<Message>,
    /// Keywords known in the mailbox.
    pub keywords: Vec<String>,
    /// UIDs that became visible with this call for the first time to anyone (`\Recent`).
    pub recent: Vec<u32>,
}

/// What happened in a mailbox since a change number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changes {
    /// The mailbox's change number now.
    pub modseq: u64,
    /// The next UID.
    pub uid_next: u32,
    /// New messages and messages whose flags changed, by ascending UID.
    pub changed: Vec<Message>,
    /// UIDs that are gone, ascending.
    pub vanished: Vec<u32>,
    /// Keywords known in the mailbox.
    pub keywords: Vec<String>,
    /// UIDs newly seen by anyone (`\Recent`).
    pub recent: Vec<u32>,
}

/// Which part of a message [`Op::Fetch`] returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Part {
    /// The whole message.
    Whole,
    /// The header with its blank line.
    Header,
    /// `len` bytes from `offset`, fewer at the end.
    Range {
        /// First byte.
        offset: u64,
        /// How many bytes.
        len: u64,
    },
}

/// A mailbox in a listing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// Its name.
    pub name: MailboxName,
    /// Whether it is subscribed.
    pub subscribed: bool,
    /// Whether it exists (a subscription may outlive its mailbox).
    pub exists: bool,
}

/// One recipient of a delivery: whose inbox, and under which base name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recipient {
    /// The user.
    pub user: User,
    /// The base name that this recipient's copy will have.
    pub base: Base,
}

/// One operation on one user's mail. Doing it twice is doing it once ([`Op::retried`]).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Op {
    /// Puts a message into the inboxes of users of one volume. → [`Reply::Done`]
    Deliver {
        /// Who gets it.
        to: Vec<Recipient>,
        /// The message, CRLF line ends, trace header included.
        body: Bytes,
    },
    /// Lists all mailboxes and subscriptions. → [`Reply::Listing`]
    List,
    /// Makes a mailbox (missing parents are not made). → [`Reply::Done`]
    Create(MailboxName),
    /// Removes a mailbox with its messages (not its children). → [`Reply::Done`]
    Delete {
        /// The mailbox.
        name: MailboxName,
        /// From [`Op::Peek`]: a mailbox that was made under the same name since is another one,
        /// and stays ([`StoreError::NoMailbox`]).
        uid_validity: u32,
    },
    /// Renames a mailbox and its children. Not INBOX: its messages are moved instead, by steps
    /// that each find their own work ([`Op::Create`], [`Op::Copy`], [`Op::Expunge`]). → [`Reply::Done`]
    Rename {
        /// The old name.
        from: MailboxName,
        /// The new name.
        to: MailboxName,
    },
    /// Subscribes or unsubscribes. → [`Reply::Done`]
    Subscribe {
        /// The mailbox, which need not exist.
        name: MailboxName,
        /// Subscribe, or unsubscribe.
        on: bool,
    },
    /// A snapshot of a mailbox; assigns UIDs to what arrived. → [`Reply::Snapshot`]
    Open(MailboxName),
    /// As [`Op::Open`]; what is `\Recent` stays so for who opens it next. → [`Reply::Snapshot`]
    Peek(MailboxName),
    /// What changed since `modseq`. → [`Reply::Changes`], or [`Reply::Snapshot`] when that is too
    /// long ago (or another UIDVALIDITY) to be told as changes.
    Changes {
        /// The mailbox.
        name: MailboxName,
        /// From the last [`Snapshot`] or [`Changes`].
        since: u64,
        /// From the snapshot.
        uid_validity: u32,
        /// What is `\Recent` stays so.
        peek: bool,
    },
    /// Reads messages. → [`Reply::Parts`], without those that are gone.
    Fetch {
        /// The mailbox.
        name: MailboxName,
        /// Which; the sum of the parts should stay below some MiB: ask in portions.
        uids: Vec<u32>,
        /// What of each.
        part: Part,
    },
    /// Changes flags. → [`Reply::Messages`], those that still exist, as they are now.
    Store {
        /// The mailbox.
        name: MailboxName,
        /// Which.
        uids: Vec<u32>,
        /// How.
        change: FlagChange,
        /// What.
        flags: Flags,
    },
    /// Adds a message. → [`Reply::Appended`]
    Append {
        /// The mailbox; [`StoreError::NoMailbox`] if there is none.
        name: MailboxName,
        /// Its identity.
        base: Base,
        /// Its flags.
        flags: Flags,
        /// INTERNALDATE, seconds since 1970; now if absent.
        date: Option<i64>,
        /// The message, CRLF line ends.
        body: Bytes,
    },
    /// Copies messages with flags and dates. → [`Reply::Copied`]
    Copy {
        /// The source mailbox.
        from: MailboxName,
        /// The target; [`StoreError::NoMailbox`] if there is none.
        to: MailboxName,
        /// UID in the source, base name in the target.
        messages: Vec<(u32, Base)>,
    },
    /// Removes those of `uids` that have `\Deleted` (all such if `None`). → [`Reply::Vanished`]
    Expunge {
        /// The mailbox.
        name: MailboxName,
        /// Which.
        uids: Option<Vec<u32>>,
        /// Whether messages without `\Deleted` go too (POP3's DELE, MOVE).
        even_undeleted: bool,
    },
}

impl Op {
    /// What the outcome of a retry means, when an earlier try of this operation may have been
    /// carried out: a mailbox that is there already, or gone already, is that try's work.
    pub fn retried(&self, outcome: Result<Reply, StoreError>) -> Result<Reply, StoreError> {
        match (self, outcome) {
            (Self::Create(_), Err(StoreError::Exists(_)))
            | (Self::Delete { .. } | Self::Rename { .. }, Err(StoreError::NoMailbox(_))) => Ok(Reply::Done),
            (_, outcome) => outcome,
        }
    }
}

/// The answer to an [`Op`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Reply {
    /// It is done.
    Done,
    /// Mailboxes, by name; INBOX is always there.
    Listing(Vec<Listed>),
    /// A mailbox whole.
    Snapshot(Snapshot),
    /// A mailbox's changes.
    Changes(Changes),
    /// UIDs and the bytes asked for.
    Parts(Vec<(u32, Bytes)>),
    /// Messages as they are now.
    Messages(Vec<Message>),
    /// UIDVALIDITY and UID of the new message.
    Appended {
        /// Of the mailbox.
        uid_validity: u32,
        /// Of the message.
        uid: u32,
    },
    /// UIDVALIDITY of the target, and UIDs in source and target.
    Copied {
        /// Of the target mailbox.
        uid_validity: u32,
        /// Source UID, target UID.
        uids: Vec<(u32, u32)>,
    },
    /// UIDs that are gone, ascending.
    Vanished(Vec<u32>),
}

/// Why an operation was not done. `Unavailable` and `Internal` say nothing about the outcome; all
/// others mean that nothing changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[non_exhaustive]
pub enum StoreError {
    /// There is no such mailbox.
    #[error("there is no mailbox {0}")]
    NoMailbox(String),
    /// The mailbox exists already.
    #[error("the mailbox {0} exists already")]
    Exists(String),
    /// There is no such user here.
    #[error("there is no user {0}")]
    NoUser(String),
    /// The volume or the disk is full. Reads go on; try again when there is space.
    #[error("the mail store is full")]
    Full,
    /// What was asked for cannot be done (deleting INBOX, a 27th keyword, …).
    #[error("{0}")]
    Refused(String),
    /// No node can serve the user's volume now (no quorum, a failover that takes too long). The
    /// operation may or may not have been done; doing it again is safe.
    #[error("the mail store is not available: {0}")]
    Unavailable(String),
    /// The store is damaged or a program is wrong; see the log. Doing it again does not help.
    #[error("internal error: {0}")]
    Internal(String),
}

/// A change hint: something changed in this mailbox. Ask with [`Op::Changes`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changed {
    /// Whose.
    pub user: User,
    /// Which mailbox.
    pub name: MailboxName,
}

/// Change hints of one mailbox. Hints may come late, twice, or for nothing; never not at all,
/// except that the source ends (`None`), for example in a failover: watch again and ask.
pub type Watch = tokio::sync::mpsc::Receiver<()>;

/// A store of many users' mail.
#[async_trait]
pub trait MailStore: Send + Sync + 'static {
    /// Does one operation; returns when it is durable.
    async fn call(&self, user: &User, op: Op) -> Result<Reply, StoreError>;

    /// Accepts one message for several users with one durable step (R13): after `Ok` each of
    /// them will get it. The message carries CRLF line ends and its trace header.
    async fn deliver(&self, to: &[User], body: Bytes) -> Result<(), StoreError>;

    /// Begins to watch a mailbox; hints begin before this returns.
    async fn watch(&self, user: &User, name: &MailboxName) -> Result<Watch, StoreError>;
}

/// What an address means here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resolved {
    /// A user of ours.
    User(User),
    /// Our domain, but nobody there.
    NoSuchUser,
    /// Not our domain: relaying, which is refused.
    NotLocal,
    /// It can't be told now (no quorum yet): try later.
    TryLater,
}

/// Who exists, and who is who.
#[async_trait]
pub trait Directory: Send + Sync + 'static {
    /// What a recipient address (unquoted local part, domain) means; ASCII case is folded.
    async fn resolve(&self, local: &str, domain: &str) -> Resolved;

    /// The user whose login name (with or without domain) and password these are; `Ok(None)` if
    /// they do not match. Takes the time of a password hash in each case.
    async fn authenticate(&self, login: &str, password: &[u8]) -> Result<Option<User>, StoreError>;
}

/// Seconds since 1970 of a time, negative before.
pub fn unix_seconds(time: SystemTime) -> i64 {
    match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(d) => i64::try_from(d.as_secs()).unwrap_or(i64::MAX),
        Err(e) => -i64::try_from(e.duration().as_secs()).unwrap_or(i64::MAX),
    }
}

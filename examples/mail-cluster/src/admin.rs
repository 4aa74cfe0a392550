//! The operator's socket: JSON lines over a Unix socket in the data directory.
//!
//! One connection carries one request and its answer: any number of `progress` lines, then one
//! `reply` line. The socket is open to its owner only; that is all the authentication there is.

mod client;
pub mod commands;
mod server;

use serde::{Deserialize, Serialize};

use crate::status::StatusReport;

pub use client::ask;
pub use server::{AdminHandler, AdminSocket, Progress};

/// Version of the lines. A member refuses a newer one and says so.
pub const VERSION: u32 = 1;
/// Bytes of a request line.
const REQUEST_MAX: u64 = 64 << 10;
/// Bytes of an answer's line.
const REPLY_MAX: u64 = 64 << 20;

/// What an operator asks a member.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub enum AdminRequest {
    /// How is the cluster?
    Status,
    /// Make a user.
    UserAdd {
        /// `local@domain`.
        name: String,
        /// In clear: the socket does not leave the host.
        password: String,
        /// Where the mail goes; the member chooses if absent.
        volume: Option<String>,
    },
    /// Change a user's password.
    UserPasswd {
        /// `local@domain`.
        name: String,
        /// In clear.
        password: String,
    },
    /// List the users.
    UserList,
    /// Remove a user's account. The mail stays on the volume.
    UserDel {
        /// `local@domain`.
        name: String,
    },
    /// Move everything off a node (`on`), or let it serve again.
    Drain {
        /// The node's name.
        node: String,
        /// Whether to drain.
        on: bool,
    },
    /// Accept the new disk of a member that lost its old one.
    Replace {
        /// The member's name.
        member: String,
    },
    /// Compare the replicas of a volume, or of all.
    Verify {
        /// The volume's name.
        volume: Option<String>,
    },
}

impl std::fmt::Debug for AdminRequest {
    /// Without passwords.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Status => f.write_str("status"),
            Self::UserAdd { name, volume, .. } => write!(f, "user add {name} on {volume:?}"),
            Self::UserPasswd { name, .. } => write!(f, "user passwd {name}"),
            Self::UserList => f.write_str("user list"),
            Self::UserDel { name } => write!(f, "user del {name}"),
            Self::Drain { node, on } => write!(f, "drain {node} {on}"),
            Self::Replace { member } => write!(f, "replace {member}"),
            Self::Verify { volume } => write!(f, "verify {volume:?}"),
        }
    }
}

/// What the member answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "kebab-case")]
pub enum AdminReply {
    /// To [`AdminRequest::Status`].
    Status {
        /// The report.
        report: Box<StatusReport>,
    },
    /// It is done, durably.
    Done {
        /// What was done, in a sentence.
        text: String,
    },
    /// To [`AdminRequest::UserList`], in order of names.
    Users {
        /// The users.
        users: Vec<UserRow>,
    },
    /// To [`AdminRequest::Verify`].
    Verified {
        /// One row for each volume.
        volumes: Vec<VerifyRow>,
    },
    /// It was not done.
    Refused {
        /// What kind of refusal: it decides the exit code.
        why: Refusal,
        /// What is wrong and what would help.
        text: String,
    },
}

impl AdminReply {
    /// Done, with a sentence.
    pub fn done(text: impl Into<String>) -> Self {
        Self::Done { text: text.into() }
    }

    /// Refused, with a sentence.
    pub fn refused(why: Refusal, text: impl Into<String>) -> Self {
        Self::Refused { why, text: text.into() }
    }
}

/// Why something was not done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Refusal {
    /// The request makes no sense here: no such user, node, volume.
    BadRequest,
    /// The member has no quorum.
    NoQuorum,
    /// It was tried and failed. Whether it took effect is unknown unless the text says so.
    Failed,
}

/// A user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserRow {
    /// `local@domain`.
    pub name: String,
    /// Where the mail is.
    pub volume: String,
}

/// The outcome of the comparison of a volume's replicas.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifyRow {
    /// The volume.
    pub volume: String,
    /// Bytes that were compared.
    pub compared: u64,
    /// Who holds the copies that were compared.
    pub replicas: Vec<String>,
    /// How many blocks differ; 0 means identical.
    pub differing: u64,
    /// Why the comparison was not made or not finished; absent if it was.
    pub error: Option<String>,
}

impl VerifyRow {
    /// Whether all was compared and nothing differs.
    pub fn is_identical(&self) -> bool {
        self.error.is_none() && self.differing == 0
    }
}

/// A request's line.
#[derive(Debug, Serialize, Deserialize)]
struct RequestLine {
    version: u32,
    request: AdminRequest,
}

/// A line of the answer.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum AnswerLine {
    Progress(String),
    Reply(AdminReply),
}

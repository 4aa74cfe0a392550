//! Errors of the commands, and the exit code of each.

use std::fmt;
use std::path::Path;

use crate::config::ConfigError;

/// How a command ends: the process's exit code. Part of the command line's contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Ok = 0,
    /// It did not work; the message says what and why.
    Failed = 1,
    /// The command line is wrong.
    Usage = 2,
    /// The configuration, or a file that it names, is wrong.
    Config = 3,
    /// The node cannot be reached.
    Unreachable = 4,
    /// The node is up but has no quorum, so it may not decide anything.
    NoQuorum = 5,
    /// The member's quorum store has failed, so that it takes no part any more; start it again.
    StoreFailed = 6,
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration is wrong; nothing was started.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The configuration is right, but a file that it names cannot be used.
    #[error("{0}")]
    BadFile(String),
    /// The daemon does not answer on its socket or address.
    #[error("{0}")]
    Unreachable(String),
    /// The daemon answered that it has no quorum.
    #[error("no quorum: {0}")]
    NoQuorum(String),
    /// The store of this member's vote has failed.
    #[error("{0}")]
    StoreFailed(String),
    /// Anything else; the text says what happened to what.
    #[error("{0}")]
    Failed(String),
}

impl Error {
    /// A failure in words.
    pub fn failed(text: impl fmt::Display) -> Self {
        Self::Failed(text.to_string())
    }

    /// A failed operation on a file: `cannot <verb> <path>: <cause>`.
    pub fn file(verb: &str, path: &Path, cause: impl fmt::Display) -> Self {
        Self::Failed(format!("cannot {verb} {}: {cause}", path.display()))
    }

    /// The exit code that goes with it.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Config(_) | Self::BadFile(_) => Exit::Config,
            Self::Unreachable(_) => Exit::Unreachable,
            Self::NoQuorum(_) => Exit::NoQuorum,
            Self::StoreFailed(_) => Exit::StoreFailed,
            Self::Failed(_) => Exit::Failed,
        }
    }
}

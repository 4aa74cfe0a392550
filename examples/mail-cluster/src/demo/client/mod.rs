//! Small mail clients: what the demo and the bench see of the cluster, they see through these.
//!
//! They share no line of code with the servers, so that a fault in a parser of ours cannot hide on
//! both sides of a connection. Every wait has a limit; every failure says during which command it
//! happened, because the demo must tell "refused" from "the answer was lost".

mod imap;
mod pop3;
mod smtp;
mod wire;

pub use imap::{Fetched, ImapClient, Selected, UidSet};
pub use pop3::Pop3Client;
pub use smtp::{Delivery, SmtpClient};
pub use wire::{Security, Target, trust};

use std::io;
use std::time::Duration;

/// How a command of a client failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No connection came up; no command was sent.
    #[error("cannot connect to {target}: {source}")]
    Connect {
        /// The address and port.
        target: std::net::SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The server said good-bye (421, BYE) between two commands, or in place of answering one it
    /// never began. Connect again and repeat the command.
    #[error("the server closed between commands, before {command}: {farewell}")]
    Closed {
        /// The command that found the connection closing.
        command: String,
        /// What the server said.
        farewell: String,
    },
    /// The connection broke while a command waited for its answer.
    #[error("the connection broke during {command}: {source}")]
    Lost {
        /// The command without an answer.
        command: String,
        /// Why.
        source: io::Error,
    },
    /// The server answered, but not with yes.
    #[error("{command} was refused: {reply}")]
    Refused {
        /// The command.
        command: String,
        /// The answer, its first line.
        reply: String,
    },
    /// The answer makes no sense.
    #[error("{command} was answered by nonsense: {what}")]
    Protocol {
        /// The command.
        command: String,
        /// What was wrong with the answer.
        what: String,
    },
}

impl ClientError {
    /// Whether this counts as a failed command: an error reply, or a connection that broke in the
    /// middle of one. A connection that cannot be made, or that ended between two commands, is none.
    pub fn is_failed_command(&self) -> bool {
        matches!(self, Self::Lost { .. } | Self::Refused { .. } | Self::Protocol { .. })
    }
}

/// How long a client waits.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// For a connection and its TLS handshake. 1 s suits loopback: a dead address refuses at once.
    pub connect: Duration,
    /// For the answer to one command.
    pub command: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { connect: Duration::from_secs(1), command: Duration::from_secs(30) }
    }
}

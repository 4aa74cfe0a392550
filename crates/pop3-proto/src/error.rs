//! What a client did wrong, and what to answer.

use crate::Reply;

/// A complete line that is no command we know. The session is unchanged: send [`SyntaxError::reply`] and go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SyntaxError {
    /// No keyword of RFC 1939, 2449, 2595, 5034 or 6856.
    #[error("unknown command")]
    UnknownCommand,
    /// The keyword wants an argument.
    #[error("argument missing")]
    MissingArgument,
    /// More arguments than the keyword takes.
    #[error("too many arguments")]
    UnexpectedArgument,
    /// Not a message number from 1, or not a count of lines.
    #[error("malformed number")]
    BadNumber,
    /// The argument holds what it may not.
    #[error("malformed argument")]
    BadArgument,
}

impl SyntaxError {
    /// The reply to give.
    pub fn reply(&self) -> Reply {
        Reply::err(match self {
            SyntaxError::UnknownCommand => "unknown command",
            SyntaxError::MissingArgument => "argument missing",
            SyntaxError::UnexpectedArgument => "too many arguments",
            SyntaxError::BadNumber => "malformed number",
            SyntaxError::BadArgument => "malformed argument",
        })
    }
}

/// The client broke the framing or the grammar. Except for the fatal one the [`crate::Receiver`] has already found
/// (or is skipping to) the next CRLF: send [`ProtocolError::reply`] and go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProtocolError {
    /// RFC 2449 §4. The line is skipped to its CRLF.
    #[error("line longer than {limit} octets")]
    LineTooLong {
        /// The limit in octets with CRLF.
        limit: usize,
    },
    /// A line feed without a carriage return. What follows it, to the next CRLF, is skipped: it is no command.
    #[error("bare line feed in a command")]
    BareLf,
    /// A carriage return without a line feed; skipped likewise.
    #[error("bare carriage return in a command")]
    BareCr,
    /// A NUL; skipped likewise.
    #[error("NUL in a command")]
    Nul,
    /// No end of line came in a whole skip window. Fatal.
    #[error("no end of line within {limit} octets")]
    LineWithoutEnd {
        /// [`crate::Config::skip_limit`].
        limit: usize,
    },
    /// A complete line that is no command.
    #[error(transparent)]
    Syntax(#[from] SyntaxError),
    /// The answer to a SASL challenge is not base64; the exchange is over.
    #[error("SASL response is not base64")]
    BadSasl,
}

impl ProtocolError {
    /// The reply to give.
    pub fn reply(&self) -> Reply {
        match self {
            ProtocolError::LineTooLong { .. } => Reply::err("line too long"),
            ProtocolError::BareLf | ProtocolError::BareCr => Reply::err("lines end in CRLF only"),
            ProtocolError::Nul => Reply::err("NUL in a command"),
            ProtocolError::LineWithoutEnd { .. } => Reply::err("line without end, closing"),
            ProtocolError::Syntax(error) => error.reply(),
            ProtocolError::BadSasl => Reply::err("malformed base64"),
        }
    }

    /// Whether the connection must end after the reply; the receiver discards whatever else comes.
    pub fn is_fatal(&self) -> bool {
        matches!(self, ProtocolError::LineWithoutEnd { .. })
    }
}

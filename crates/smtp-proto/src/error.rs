//! What a client did wrong, and what to answer.

use crate::Reply;

/// A line that is no command we know. The session is unchanged: send [`SyntaxError::reply`] and go on, except
/// after [`SyntaxError::BadChunkSize`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SyntaxError {
    /// No verb of RFC 5321 §4.1 or of an extension that this crate knows.
    #[error("unknown command")]
    UnknownCommand,
    /// TURN, SEND, SOML or SAML, which RFC 5321 (appendices F.1 and F.6) wants nobody to implement.
    #[error("obsolete command")]
    Obsolete,
    /// The verb wants an argument.
    #[error("argument missing")]
    MissingArgument,
    /// The verb takes no argument.
    #[error("argument where none belongs")]
    UnexpectedArgument,
    /// EHLO, HELO or LHLO with a blank in the name.
    #[error("malformed client name")]
    BadClientName,
    /// MAIL's path is malformed (RFC 5321 §4.1.2).
    #[error("malformed sender address")]
    BadSender,
    /// RCPT's path is malformed (RFC 5321 §4.1.2).
    #[error("malformed recipient address")]
    BadRecipient,
    /// A parameter that we know has a value that it may not have.
    #[error("malformed parameter")]
    BadParameter,
    /// A parameter was given twice.
    #[error("parameter given twice")]
    DuplicateParameter,
    /// More parameters than anyone needs.
    #[error("more than {limit} unknown parameters")]
    TooManyParameters {
        /// The limit.
        limit: usize,
    },
    /// A non-ASCII sender without the SMTPUTF8 parameter (RFC 6531 §3.4).
    #[error("non-ASCII address without SMTPUTF8")]
    NeedsSmtpUtf8,
    /// AUTH with a malformed mechanism or base64.
    #[error("malformed AUTH")]
    BadAuth,
    /// BDAT with an unreadable size: where the chunk ends is unknown, so the connection must end.
    #[error("malformed BDAT size")]
    BadChunkSize,
    /// BURL with a malformed URL (RFC 4468 §3.5).
    #[error("malformed URL")]
    BadUrl,
    /// ETRN or ATRN with a malformed name (RFC 1985, RFC 2645).
    #[error("malformed domain name")]
    BadDomain,
    /// The line is not UTF-8.
    #[error("not UTF-8")]
    NotUtf8,
    /// A control character in the line.
    #[error("control character in a command")]
    ControlCharacter,
}

impl SyntaxError {
    /// The reply to give.
    pub fn reply(&self) -> Reply {
        match self {
            SyntaxError::UnknownCommand => Reply::new(500, (5, 1), "unknown command"),
            SyntaxError::Obsolete => Reply::new(502, (5, 1), "this command is obsolete"),
            SyntaxError::MissingArgument => Reply::new(501, (5, 4), "argument missing"),
            SyntaxError::UnexpectedArgument => Reply::new(501, (5, 4), "this command takes no argument"),
            SyntaxError::BadClientName => Reply::new(501, (5, 4), "malformed host name"),
            SyntaxError::BadSender => Reply::new(501, (1, 7), "malformed sender address"),
            SyntaxError::BadRecipient => Reply::new(501, (1, 3), "malformed recipient address"),
            SyntaxError::BadParameter => Reply::new(501, (5, 4), "malformed parameter"),
            SyntaxError::DuplicateParameter => Reply::new(501, (5, 4), "parameter given twice"),
            SyntaxError::TooManyParameters { .. } => Reply::new(501, (5, 4), "too many parameters"),
            SyntaxError::NeedsSmtpUtf8 => Reply::new(553, (6, 7), "non-ASCII addresses need SMTPUTF8"),
            SyntaxError::BadAuth => Reply::new(501, (5, 2), "malformed AUTH"),
            SyntaxError::BadChunkSize => Reply::new(421, (5, 4), "malformed BDAT size, closing"),
            SyntaxError::BadUrl => Reply::new(501, (5, 4), "malformed URL"),
            SyntaxError::BadDomain => Reply::new(501, (5, 4), "malformed domain name"),
            SyntaxError::NotUtf8 => Reply::new(500, (5, 2), "command is not UTF-8"),
            SyntaxError::ControlCharacter => Reply::new(500, (5, 2), "control character in a command"),
        }
    }

    /// Whether the place in the stream is lost, so that the connection must end after the reply.
    pub fn is_fatal(&self) -> bool {
        *self == SyntaxError::BadChunkSize
    }
}

/// The peer broke the framing or the grammar. Except for the fatal ones the [`crate::Receiver`] has already
/// found (or is skipping to) the next CRLF: send [`ProtocolError::reply`] and go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProtocolError {
    /// RFC 5321 §4.5.3.1.4. The line is skipped to its CRLF.
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
            ProtocolError::LineTooLong { .. } => Reply::new(500, (5, 6), "line too long"),
            ProtocolError::BareLf | ProtocolError::BareCr => {
                Reply::new(500, (5, 2), "lines end in CRLF only")
            }
            ProtocolError::Nul => Reply::new(500, (5, 2), "NUL in a command"),
            ProtocolError::LineWithoutEnd { .. } => Reply::new(421, (5, 6), "line without end, closing"),
            ProtocolError::Syntax(error) => error.reply(),
            ProtocolError::BadSasl => Reply::new(501, (5, 2), "malformed base64"),
        }
    }

    /// Whether the connection must end after the reply; the receiver discards whatever else comes.
    pub fn is_fatal(&self) -> bool {
        match self {
            ProtocolError::LineWithoutEnd { .. } => true,
            ProtocolError::Syntax(error) => error.is_fatal(),
            _ => false,
        }
    }
}

/// What is wrong with a message's text. The message is to be refused as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Violation {
    /// A line feed without a carriage return (RFC 5321 §2.3.8): the stuff that smuggling is made of.
    #[error("bare line feed in the message")]
    BareLf,
    /// A carriage return without a line feed.
    #[error("bare carriage return in the message")]
    BareCr,
    /// A NUL (RFC 5321 §4.5.2 takes octets 1 to 255).
    #[error("NUL in the message")]
    Nul,
}

impl Violation {
    /// The reply to give.
    pub fn reply(&self) -> Reply {
        match self {
            Violation::BareLf => Reply::new(554, (6, 0), "bare line feed in the message: lines end in CRLF"),
            Violation::BareCr => {
                Reply::new(554, (6, 0), "bare carriage return in the message: lines end in CRLF")
            }
            Violation::Nul => Reply::new(554, (6, 0), "NUL in the message"),
        }
    }
}

use crate::Tag;

/// A complete message that does not follow the grammar. The peer's fault; the decoder is unaffected and goes
/// on with the next command. A server answers `tag BAD`, or `* BAD` without a tag.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind} at octet {offset}")]
pub struct ParseError {
    /// The command's tag, when that much could be read.
    pub tag: Option<Tag<'static>>,
    /// Where, counted from the start of the message as the decoder delivered it.
    pub offset: usize,
    /// What is wrong there.
    pub kind: ParseErrorKind,
}

/// What [`ParseError`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseErrorKind {
    /// Something else stands where the grammar wants this.
    #[error("expected {0}")]
    Expected(&'static str),
    /// The verb is none that this crate knows.
    #[error("unknown command")]
    UnknownCommand,
    /// The message is whole, and more follows.
    #[error("unexpected text after the end of the message")]
    Trailing,
    /// A number does not fit its type.
    #[error("number too large")]
    NumberTooLarge,
    /// NUL is never legal outside a literal8 (RFC 3501 section 9, CHAR8).
    #[error("NUL is not allowed")]
    Nul,
    /// An octet above 127 where only ASCII may stand: neither IMAP4rev2 nor UTF8=ACCEPT is in force
    /// ([`Quirks::RAW_8BIT`](crate::Quirks::RAW_8BIT)).
    #[error("octets above 127 are not allowed here")]
    EightBit,
    /// Nested deeper than [`ParseLimits::depth_max`](crate::ParseLimits::depth_max).
    #[error("nested deeper than {limit} levels")]
    TooDeep {
        /// The limit in levels.
        limit: u32,
    },
    /// A list is longer than [`ParseLimits::items_max`](crate::ParseLimits::items_max).
    #[error("more than {limit} elements in a list")]
    TooManyItems {
        /// The limit in elements.
        limit: usize,
    },
}

/// A command could not be framed. The peer's fault. The decoder has already arranged to skip what belongs to the
/// refused command, literals included, so that none of it is taken for another command: answer and go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind}")]
pub struct FrameError {
    /// The tag to answer, when it had been seen.
    pub tag: Option<Tag<'static>>,
    /// What is wrong.
    pub kind: FrameErrorKind,
}

/// What [`FrameError`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameErrorKind {
    /// The command's lines exceed the limit; the rest is skipped to its end.
    #[error("command line longer than {limit} octets")]
    LineTooLong {
        /// The limit in octets.
        limit: usize,
    },
    /// A line ended in LF without CR; everything to the next CRLF is skipped.
    #[error("line ends in LF without CR")]
    BareLf,
    /// A literal is larger than the decoder may hold. A synchronizing one was not asked for; the octets of the
    /// other kind are skipped.
    #[error("literal of {octets} octets exceeds the limit of {limit}")]
    LiteralTooLarge {
        /// What was announced.
        octets: u64,
        /// The limit in octets.
        limit: u64,
    },
    /// An APPEND announced a message over [`Config::append_octets_max`](crate::Config::append_octets_max): answer
    /// `NO [TOOBIG]`. Skipped like `LiteralTooLarge`.
    #[error("message of {octets} octets exceeds the limit of {limit}")]
    MessageTooLarge {
        /// What was announced.
        octets: u64,
        /// The limit in octets.
        limit: u64,
    },
    /// A non-synchronizing literal of more than the 4096 octets that LITERAL- allows; its octets are skipped.
    #[error("non-synchronizing literal of {octets} octets, where LITERAL- allows 4096")]
    NonSyncTooLarge {
        /// What was announced.
        octets: u64,
    },
    /// Something other than CRLF follows the message of an APPEND. The message must not be stored.
    #[error("unexpected text after the message")]
    AfterMessage,
}

/// A server's response could not be framed. The server's fault. The decoder refuses all further input: close the
/// connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ResponseFrameError {
    /// A response's text exceeds the limit.
    #[error("response longer than {limit} octets")]
    TooLong {
        /// The limit in octets.
        limit: usize,
    },
    /// A literal exceeds the limit.
    #[error("literal of {octets} octets exceeds the limit of {limit}")]
    LiteralTooLarge {
        /// What was announced.
        octets: u64,
        /// The limit in octets.
        limit: u64,
    },
    /// A line ended in LF without CR.
    #[error("line ends in LF without CR")]
    BareLf,
    /// A NUL stands outside a literal.
    #[error("NUL outside a literal")]
    Nul,
}

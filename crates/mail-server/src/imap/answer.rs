//! How commands end.

use std::io;

use posthaste_imap_proto::{Code, Status, StatusKind};

use crate::store::StoreError;

/// Why the session ends.
#[derive(Debug)]
pub(super) enum End {
    /// The client closed the connection, or it broke.
    Gone(io::Error),
    /// The client said nothing for too long.
    Silent,
    /// The service shuts down.
    Shutdown,
    /// For this reason, which the client is told with BYE.
    Bye(Status<'static>),
    /// LOGOUT, already answered.
    Logout,
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> Self {
        End::Gone(error)
    }
}

/// What ended a command early.
#[derive(Debug)]
pub(super) enum Stop {
    /// This answer; the session goes on.
    Answer(Status<'static>),
    /// The session's end.
    End(End),
}

impl From<End> for Stop {
    fn from(end: End) -> Self {
        Stop::End(end)
    }
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Stop::End(End::Gone(error))
    }
}

impl From<Status<'static>> for Stop {
    fn from(status: Status<'static>) -> Self {
        Stop::Answer(status)
    }
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        Stop::Answer(refusal(&error))
    }
}

/// A command's answer.
pub(super) type Answer = Result<Status<'static>, Stop>;

pub(super) fn ok(text: &'static str) -> Status<'static> {
    Status::new(StatusKind::Ok, text)
}

pub(super) fn bad(text: &'static str) -> Status<'static> {
    Status::new(StatusKind::Bad, text)
}

pub(super) fn no(code: Code<'static>, text: impl Into<String>) -> Status<'static> {
    Status::new(StatusKind::No, text.into()).with_code(code)
}

/// A store's error as RFC 5530 has it.
pub(super) fn refusal(error: &StoreError) -> Status<'static> {
    let code = match error {
        StoreError::NoMailbox(_) => Code::NonExistent,
        StoreError::Exists(_) => Code::AlreadyExists,
        StoreError::NoUser(_) => Code::AuthorizationFailed,
        StoreError::Full => Code::OverQuota,
        StoreError::Refused(_) => Code::Cannot,
        StoreError::Unavailable(_) => Code::Unavailable,
        _ => Code::ServerBug,
    };
    no(code, error.to_string())
}

/// As [`refusal`]; a missing target may be made (RFC 3501 section 7.1, TRYCREATE).
pub(super) fn target_refusal(error: &StoreError) -> Status<'static> {
    match error {
        StoreError::NoMailbox(_) => no(Code::TryCreate, error.to_string()),
        _ => refusal(error),
    }
}

/// The store answered something else than was asked.
pub(super) fn odd_reply() -> Stop {
    Stop::Answer(no(Code::ServerBug, "the mail store gave an answer of another kind"))
}

//! IMAP4rev1 sessions (RFC 3501) with UIDPLUS, IDLE, LITERAL+, SASL-IR, NAMESPACE, UNSELECT, CHILDREN and ID.
//!
//! A session holds no truth: each command is one or a few whole operations on the [`crate::MailStore`], and the selected
//! mailbox is a view of what this client has been told. What others change is told at the end of the next command, or at
//! once in IDLE; EXPUNGE never while the client may count on sequence numbers. A store that is not available answers
//! `NO [UNAVAILABLE]`; it ends no session.

mod answer;
mod append;
mod driver;
mod fetch;
mod header;
mod idle;
mod input;
mod login;
mod mailboxes;
mod messages;
mod mime;
mod pattern;
mod search;
mod select;
mod session;
mod structure;
#[cfg(all(test, unix))]
mod tests;
mod view;

use std::io;
use std::time::Duration;

use posthaste_imap_proto::{Code, Response, Status, StatusKind};

use crate::server::{BoxedStream, Context, Peer};
use crate::wire::Wire;

/// How long a client may take to accept a piece of what is sent. While it does, a message may be held in memory.
const WRITE_WITHIN: Duration = Duration::from_secs(60);

/// Runs a session to its end; with `busy` it only refuses.
pub async fn run(stream: BoxedStream, peer: &Peer, context: &Context, busy: bool) -> io::Result<()> {
    let mut wire = Wire::new(stream, WRITE_WITHIN);
    if busy {
        let status = Status::new(StatusKind::Bye, "too many connections, try again later");
        Response::Status(status.with_code(Code::Unavailable)).encode(&mut wire.out);
        return wire.close().await;
    }
    driver::Driver::new(peer, context).run(wire).await
}

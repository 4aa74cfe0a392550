//! POP3 sessions.
//!
//! A session sees its mailbox as it was at login (RFC 1939 §5). Messages are removed at QUIT and only then. Any
//! number of sessions may be in a mailbox at once: a message that another one removed is an error when asked
//! for, and nothing else changes its number. UIDLs are the messages' base names, the same on every node.

mod auth;
mod mailbox;
mod session;
#[cfg(test)]
mod tests;

use std::io;

use posthaste_pop3_proto::{Config, Receiver, Reply, ResponseCode};
use tokio::time::Instant;

use crate::server::{BoxedStream, Context, Peer};
use crate::wire::{Input, Wire};
use session::{Next, Session};

/// Octets that one read takes: commands are short.
const READ_BUFFER: usize = 2 * 1024;

/// Runs a session to its end; with `busy` it only refuses.
pub async fn run(stream: BoxedStream, peer: &Peer, context: &Context, busy: bool) -> io::Result<()> {
    let mut wire = Wire::new(stream, context.limits.idle_pop3);
    if busy {
        temporary("too many connections, try again later").encode(&mut wire.out);
        return wire.close().await;
    }
    Reply::ok(format!("{} POP3 Posthaste", context.hostname)).encode(&mut wire.out);
    let mut driver = Driver {
        receiver: Receiver::new(Config::default()),
        session: Session::new(peer, context),
        context,
        heard: Instant::now(),
    };
    driver.run(wire).await
}

/// An error that is not the client's and will pass (RFC 3206).
fn temporary(text: &'static str) -> Reply {
    Reply::err(text).with_code(ResponseCode::SysTemp)
}

/// The loop between the wire and the session.
struct Driver<'c> {
    receiver: Receiver,
    session: Session<'c>,
    context: &'c Context,
    /// When the last whole line came: half a line does not count, so that nobody can drip for ever.
    heard: Instant,
}

impl Driver<'_> {
    async fn run(&mut self, mut wire: Wire) -> io::Result<()> {
        let mut buffer = vec![0; READ_BUFFER];
        let mut shutdown = self.context.shutdown.clone();
        loop {
            let deadline = self.heard + self.session.patience();
            let goodbye = match wire.read(&mut buffer, deadline, Some(&mut shutdown)).await? {
                Input::Octets(len) => match self.input(wire, &buffer[..len]).await? {
                    Some(open) => {
                        wire = open;
                        continue;
                    }
                    None => return Ok(()),
                },
                Input::End => return Ok(()),
                // RFC 1939 §3: the session ends without the update.
                Input::Silent => Reply::err("idle for too long, closing"),
                Input::Shutdown => temporary("shutting down, try again"),
            };
            goodbye.encode(&mut wire.out);
            return wire.close().await;
        }
    }

    /// Handles all that came; gives the wire back while the session goes on.
    async fn input(&mut self, mut wire: Wire, mut input: &[u8]) -> io::Result<Option<Wire>> {
        while let Some(event) = self.receiver.next(&mut input) {
            let next = self.session.handle(event, &mut wire).await?;
            self.heard = Instant::now();
            match next {
                Next::GoOn => {}
                Next::Sasl => self.receiver.expect_sasl(),
                Next::Tls => {
                    let dropped = self.receiver.start_tls(&mut input);
                    wire = self.start_tls(wire, dropped).await?;
                }
                Next::Close => {
                    wire.close().await?;
                    return Ok(None);
                }
            }
            wire.flush_if_much().await?;
        }
        Ok(Some(wire))
    }

    async fn start_tls(&mut self, wire: Wire, dropped: usize) -> io::Result<Wire> {
        if dropped > 0 {
            tracing::warn!(client = %self.session.client_addr(), dropped, "octets in the clear behind STLS were dropped");
        }
        let Some(acceptor) = &self.context.tls else { return Ok(wire) };
        let wire = wire.start_tls(acceptor).await?;
        self.session.secured();
        self.heard = Instant::now();
        Ok(wire)
    }
}

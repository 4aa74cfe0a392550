//! SMTP, LMTP and submission sessions.
//!
//! A message is acknowledged (250) only after [`crate::MailStore::deliver`] returned `Ok`, for all its recipients
//! at once. Only local recipients are taken: this is no relay. What is put before the message is
//! `trace::Trace`'s header; behind it the message stands octet for octet as it was sent.

mod auth;
mod body;
mod envelope;
mod greeting;
mod session;
#[cfg(test)]
mod tests;
mod trace;

use std::io;

use posthaste_smtp_proto::{Config, Receiver, Reply};
use tokio::time::Instant;

use crate::server::{BoxedStream, Context, Peer, Service};
use crate::wire::{Input, Wire};
use session::{Next, Session};

/// Octets that one read takes.
const READ_BUFFER: usize = 16 * 1024;

/// A message may take this many times [`crate::Limits::idle_smtp`] from 354 to its end.
const MESSAGE_PATIENCE: u32 = 12;

/// Runs a session to its end; with `busy` it only refuses.
pub async fn run(
    stream: BoxedStream,
    peer: &Peer,
    service: Service,
    context: &Context,
    busy: bool,
) -> io::Result<()> {
    let mut wire = Wire::new(stream, context.limits.idle_smtp);
    if busy {
        Reply::new(421, (3, 2), "too many connections, try again later").encode(&mut wire.out);
        return wire.close().await;
    }
    let session = Session::new(peer, service, context);
    session.greet(&mut wire.out);
    let mut driver = Driver {
        receiver: Receiver::new(Config::default()),
        heard: Instant::now(),
        message_since: None,
        session,
        context,
    };
    driver.run(wire).await
}

/// The loop between the wire and the session.
struct Driver<'c> {
    receiver: Receiver,
    session: Session<'c>,
    context: &'c Context,
    /// When the last whole thing came: half a line does not count, so that nobody can drip for ever.
    heard: Instant,
    message_since: Option<Instant>,
}

impl Driver<'_> {
    async fn run(&mut self, mut wire: Wire) -> io::Result<()> {
        let mut buffer = vec![0; READ_BUFFER];
        let mut shutdown = self.context.shutdown.clone();
        loop {
            // A 421 in the middle of a transaction would be the answer to a command that was never refused.
            let between = !self.receiver.in_message() && !self.session.in_transaction();
            let shutdown = between.then_some(&mut shutdown);
            let goodbye = match wire.read(&mut buffer, self.deadline(), shutdown).await? {
                Input::Octets(len) => match self.input(wire, &buffer[..len]).await? {
                    Some(open) => {
                        wire = open;
                        continue;
                    }
                    None => return Ok(()),
                },
                Input::End => return Ok(()),
                Input::Silent => Reply::new(421, (4, 2), "idle for too long, closing"),
                Input::Shutdown => Reply::new(421, (3, 2), "shutting down, try again"),
            };
            goodbye.encode(&mut wire.out);
            return wire.close().await;
        }
    }

    fn deadline(&self) -> Instant {
        let silent = self.heard + self.session.patience();
        match self.message_since {
            Some(since) => silent.min(since + self.context.limits.idle_smtp * MESSAGE_PATIENCE),
            None => silent,
        }
    }

    /// Handles all that came; gives the wire back while the session goes on.
    async fn input(&mut self, mut wire: Wire, mut input: &[u8]) -> io::Result<Option<Wire>> {
        while let Some(event) = self.session.receive(&mut self.receiver, &mut input) {
            let next = self.session.handle(event, &mut wire.out).await;
            self.heard = Instant::now();
            match next {
                Next::GoOn => {}
                Next::Message => self.receiver.accept_data(),
                Next::NewMessage => self.receiver.reset_message(),
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
        self.message_since = match self.receiver.in_message() {
            true => {
                self.heard = Instant::now();
                Some(self.message_since.unwrap_or(self.heard))
            }
            false => None,
        };
        Ok(Some(wire))
    }

    async fn start_tls(&mut self, wire: Wire, dropped: usize) -> io::Result<Wire> {
        if dropped > 0 {
            tracing::warn!(client = %self.session.client_addr(), dropped, "octets in the clear behind STARTTLS were dropped");
        }
        let Some(acceptor) = &self.context.tls else { return Ok(wire) };
        let wire = wire.start_tls(acceptor).await?;
        self.session.secured();
        self.heard = Instant::now();
        Ok(wire)
    }
}

//! What a session knows, and its answer to each event.

use std::io;

use posthaste_pop3_proto::{
    Command, Event, MessageNumber, Reply, ResponseCode, SaslResponse, Stuffer, TopCut,
};

use super::auth::Login;
use super::mailbox::Mailbox;
use super::temporary;
use crate::sasl::Credentials;
use crate::server::{Context, Peer};
use crate::wire::Wire;

/// Octets of a message that are read at once.
const PORTION: u64 = 256 * 1024;

/// What the loop has to do before the next event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    GoOn,
    /// The next line is a SASL response.
    Sasl,
    /// Speak TLS.
    Tls,
    /// Send what there is and close.
    Close,
}

pub(super) struct Session<'c> {
    pub(super) context: &'c Context,
    pub(super) peer: &'c Peer,
    pub(super) tls: bool,
    pub(super) login: Login,
    /// Open once logged in.
    pub(super) mailbox: Option<Mailbox>,
    errors: u32,
}

impl<'c> Session<'c> {
    pub(super) fn new(peer: &'c Peer, context: &'c Context) -> Self {
        Self { context, peer, tls: peer.tls, login: Login::default(), mailbox: None, errors: 0 }
    }

    pub(super) fn client_addr(&self) -> std::net::SocketAddr {
        self.peer.addr
    }

    /// How long the client may now be silent.
    pub(super) fn patience(&self) -> std::time::Duration {
        let limits = &self.context.limits;
        if self.mailbox.is_none() { limits.idle_before_login } else { limits.idle_pop3 }
    }

    /// TLS is up: what was said before is forgotten.
    pub(super) fn secured(&mut self) {
        *self = Self { tls: true, errors: self.errors, ..Self::new(self.peer, self.context) };
    }

    /// Answers one event.
    pub(super) async fn handle(&mut self, event: Event<'_>, wire: &mut Wire) -> io::Result<Next> {
        match event {
            Event::Command(command) => self.command(command, wire).await,
            Event::Sasl(SaslResponse::Response(secret)) => {
                Ok(self.continue_auth(secret.expose(), wire).await)
            }
            Event::Sasl(SaslResponse::Cancel) => {
                self.login.abort();
                Ok(self.reply(&Reply::err("login given up"), wire))
            }
            Event::Refused(error) => {
                self.login.abort();
                let next = self.reply(&error.reply(), wire);
                Ok(if error.is_fatal() { Next::Close } else { next })
            }
        }
    }

    /// Puts out a reply; `-ERR` counts as an error of the client's.
    pub(super) fn reply(&mut self, reply: &Reply, wire: &mut Wire) -> Next {
        reply.encode(&mut wire.out);
        self.errors += u32::from(!reply.is_ok());
        if self.errors < self.context.limits.errors { Next::GoOn } else { Next::Close }
    }

    async fn command(&mut self, command: Command<'_>, wire: &mut Wire) -> io::Result<Next> {
        match command {
            Command::Capa => Ok(self.capabilities(wire)),
            Command::Quit => Ok(self.quit(wire).await),
            command if self.mailbox.is_none() => Ok(self.before_login(command, wire).await),
            command => self.after_login(command, wire).await,
        }
    }

    async fn before_login(&mut self, command: Command<'_>, wire: &mut Wire) -> Next {
        match command {
            Command::Stls => self.start_tls(wire),
            Command::User(_) | Command::Pass(_) | Command::Auth { .. } if !self.offers_login() => {
                self.reply(&Reply::err("login only under TLS"), wire)
            }
            Command::User(name) => {
                self.login.name = Some(name.as_str().to_owned());
                self.reply(&Reply::ok("and the password?"), wire)
            }
            Command::Pass(secret) => match self.login.name.take() {
                Some(login) => {
                    self.log_in(Credentials { login, password: secret.expose().to_vec() }, wire).await
                }
                None => self.reply(&Reply::err("USER first"), wire),
            },
            Command::Auth { mechanism: None, .. } => self.list_mechanisms(wire),
            Command::Auth { mechanism: Some(mechanism), initial } => {
                self.begin_auth(mechanism.as_str(), initial.as_ref(), wire).await
            }
            Command::Noop | Command::Apop { .. } | Command::Utf8 | Command::Lang(_) => {
                self.reply(&Reply::err("not known here"), wire)
            }
            _ => self.reply(&Reply::err("log in first"), wire),
        }
    }

    fn start_tls(&mut self, wire: &mut Wire) -> Next {
        if self.tls || self.context.tls.is_none() {
            let text = if self.tls { "TLS is up already" } else { "no TLS here" };
            return self.reply(&Reply::err(text), wire);
        }
        Reply::ok("go ahead").encode(&mut wire.out);
        Next::Tls
    }

    fn capabilities(&mut self, wire: &mut Wire) -> Next {
        let mut lines = vec!["TOP", "UIDL", "RESP-CODES", "AUTH-RESP-CODE", "PIPELINING", "EXPIRE NEVER"];
        if self.offers_login() {
            lines.extend(["USER", "SASL PLAIN LOGIN"]);
        }
        if self.context.tls.is_some() && !self.tls {
            lines.push("STLS");
        }
        lines.push("IMPLEMENTATION Posthaste");
        let next = self.reply(&Reply::ok("what can be had:"), wire);
        lines.into_iter().for_each(|line| put_line(line, wire));
        put_line(".", wire);
        next
    }

    async fn after_login(&mut self, command: Command<'_>, wire: &mut Wire) -> io::Result<Next> {
        let Some(mailbox) = &mut self.mailbox else { return Ok(Next::GoOn) };
        let reply = match command {
            Command::Stat => Reply::ok(mailbox.stat().to_string()),
            Command::List(None) => return self.list(wire).await,
            Command::Uidl(None) => return self.uidl(wire).await,
            Command::List(Some(number)) => match mailbox.get(number) {
                Some(entry) => Reply::ok(format!("{number} {}", entry.octets)),
                None => no_message(),
            },
            Command::Uidl(Some(number)) => match mailbox.get(number) {
                Some(entry) => Reply::ok(format!("{number} {}", entry.id)),
                None => no_message(),
            },
            Command::Retr(number) => return self.send(number, None, wire).await,
            Command::Top { message, lines } => return self.send(message, Some(lines), wire).await,
            Command::Dele(number) if mailbox.delete(number) => Reply::ok("marked"),
            Command::Dele(_) => no_message(),
            Command::Rset => {
                mailbox.reset();
                Reply::ok("all marks taken back")
            }
            Command::Noop => Reply::ok("fine"),
            _ => Reply::err("not known here, or not now"),
        };
        Ok(self.reply(&reply, wire))
    }

    async fn list(&mut self, wire: &mut Wire) -> io::Result<Next> {
        let Some(mailbox) = &self.mailbox else { return Ok(Next::GoOn) };
        Reply::ok(format!("{} messages", mailbox.stat().messages)).encode(&mut wire.out);
        for line in mailbox.list() {
            put_line(&line.to_string(), wire);
            wire.flush_if_much().await?;
        }
        put_line(".", wire);
        Ok(Next::GoOn)
    }

    async fn uidl(&mut self, wire: &mut Wire) -> io::Result<Next> {
        let Some(mailbox) = &self.mailbox else { return Ok(Next::GoOn) };
        Reply::ok("unique ids").encode(&mut wire.out);
        for line in mailbox.uidl() {
            put_line(&line.to_string(), wire);
            wire.flush_if_much().await?;
        }
        put_line(".", wire);
        Ok(Next::GoOn)
    }

    /// Streams a message, or its header and some lines. Once `+OK` is out there is no way to say that something
    /// went wrong but to close before the end: half a message never looks like a whole one.
    async fn send(&mut self, number: MessageNumber, lines: Option<u32>, wire: &mut Wire) -> io::Result<Next> {
        let Some(mailbox) = &self.mailbox else { return Ok(Next::GoOn) };
        let Some(entry) = mailbox.get(number) else { return Ok(self.reply(&no_message(), wire)) };
        let mut portion = match mailbox.read(self.context, entry.uid, 0, PORTION).await {
            Ok(Some(portion)) => portion,
            Ok(None) => return Ok(self.reply(&Reply::err("another session removed this message"), wire)),
            Err(error) => {
                tracing::warn!(user = %mailbox.user, %error, "message could not be read");
                return Ok(self.reply(&temporary("the mail store is not available, try later"), wire));
            }
        };
        Reply::ok(format!("{} octets", entry.octets)).encode(&mut wire.out);
        let mut cut = lines.map(TopCut::new);
        let mut stuffer = Stuffer::new();
        let mut offset = 0;
        loop {
            let text = cut.as_mut().map_or(&portion[..], |cut| cut.take(&portion));
            for slice in stuffer.stuff(text) {
                wire.out.extend_from_slice(slice);
            }
            wire.flush_if_much().await?;
            offset += portion.len() as u64;
            if (portion.len() as u64) < PORTION || cut.as_ref().is_some_and(TopCut::is_done) {
                break;
            }
            portion = match mailbox.read(self.context, entry.uid, offset, PORTION).await {
                Ok(Some(portion)) => portion,
                gone => return Err(io::Error::other(format!("message lost while it was sent: {gone:?}"))),
            };
        }
        wire.out.extend_from_slice(stuffer.finish());
        Ok(Next::GoOn)
    }

    async fn quit(&mut self, wire: &mut Wire) -> Next {
        let removed = match &self.mailbox {
            Some(mailbox) => mailbox.update(self.context).await,
            None => Ok(()),
        };
        let reply = match removed {
            Ok(()) => Reply::ok("goodbye"),
            Err(error) => {
                tracing::warn!(client = %self.peer.addr, %error, "marked messages were not removed");
                Reply::err("some marked messages were not removed").with_code(ResponseCode::SysTemp)
            }
        };
        reply.encode(&mut wire.out);
        Next::Close
    }
}

fn no_message() -> Reply {
    Reply::err("no such message")
}

pub(super) fn put_line(line: &str, wire: &mut Wire) {
    wire.out.extend_from_slice(line.as_bytes());
    wire.out.extend_from_slice(b"\r\n");
}

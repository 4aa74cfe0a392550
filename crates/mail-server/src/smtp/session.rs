//! What a session knows, and its answer to each event.

use posthaste_smtp_proto::{
    ClientName, Command, Event, ForwardPath, MailParams, ProtocolError, RcptParams, Receiver, Reply,
    ReversePath, SaslResponse, Violation,
};

use super::auth::Auth;
use super::body::Collector;
use super::envelope::{Envelope, mail_refusal, rcpt_refusal};
use super::{greeting, trace};
use crate::server::{Context, Peer, Service};
use crate::store::{Resolved, StoreError, User};

/// What the loop has to do before the next event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    GoOn,
    /// DATA is accepted.
    Message,
    /// What was known of a message in chunks is void.
    NewMessage,
    /// The next line is a SASL response.
    Sasl,
    /// Speak TLS.
    Tls,
    /// Send what there is and close.
    Close,
}

/// How the client greeted us.
pub(super) struct Client {
    pub(super) name: String,
    /// By EHLO or LHLO.
    pub(super) extended: bool,
}

pub(super) struct Session<'c> {
    pub(super) context: &'c Context,
    pub(super) peer: &'c Peer,
    pub(super) service: Service,
    pub(super) tls: bool,
    pub(super) client: Option<Client>,
    pub(super) auth: Auth,
    envelope: Option<Envelope>,
    body: Option<Collector>,
    errors: u32,
    commands: u32,
}

impl<'c> Session<'c> {
    pub(super) fn new(peer: &'c Peer, service: Service, context: &'c Context) -> Self {
        Self {
            context,
            peer,
            service,
            tls: peer.tls,
            client: None,
            auth: Auth::default(),
            envelope: None,
            body: None,
            errors: 0,
            commands: 0,
        }
    }

    pub(super) fn greet(&self, out: &mut Vec<u8>) {
        greeting::banner(&self.context.hostname, self.service).encode(out);
    }

    pub(super) fn client_addr(&self) -> std::net::SocketAddr {
        self.peer.addr
    }

    /// How long the client may now be silent.
    pub(super) fn patience(&self) -> std::time::Duration {
        let stranger = self.service == Service::Submission && self.auth.user().is_none();
        if stranger { self.context.limits.idle_before_login } else { self.context.limits.idle_smtp }
    }

    /// TLS is up: all that was said before is forgotten (RFC 3207 §4.2).
    pub(super) fn secured(&mut self) {
        let (errors, commands) = (self.errors, self.commands);
        *self = Self { tls: true, errors, commands, ..Self::new(self.peer, self.service, self.context) };
    }

    /// The next event of `receiver`. The text of a message goes where it is kept, in the pass that looks at it.
    pub(super) fn receive<'s, 'i: 's>(
        &mut self,
        receiver: &'s mut Receiver,
        input: &mut &'i [u8],
    ) -> Option<Event<'s>> {
        let body = self.body.as_mut().filter(|_| receiver.in_message());
        let Some(text) = body.and_then(|body| body.room(input.len() + 1)) else {
            return receiver.next(input);
        };
        let before = text.len();
        let event = receiver.next_into(input, text);
        let octets = text.len() - before;
        if let Some(body) = &mut self.body {
            body.count(octets);
        }
        event
    }

    /// Answers one event.
    pub(super) async fn handle(&mut self, event: Event<'_>, out: &mut Vec<u8>) -> Next {
        match event {
            Event::Command(command) => self.command(command, out).await,
            Event::Body(piece) => {
                if let Some(body) = &mut self.body {
                    body.push(piece);
                }
                Next::GoOn
            }
            Event::EndOfData { violation } => self.end_of_message(violation, out).await,
            Event::EndOfChunk { last, violation } => self.end_of_chunk(last, violation, out).await,
            Event::Sasl(response) => self.sasl(response, out).await,
            Event::Refused(error) => self.refused(error, out),
        }
    }

    /// Puts out a reply; a refusal counts as an error of the client's.
    pub(super) fn reply(&mut self, reply: &Reply, out: &mut Vec<u8>) -> Next {
        reply.encode(out);
        if !reply.is_permanent() {
            return Next::GoOn;
        }
        self.errors += 1;
        if self.errors < self.context.limits.errors {
            return Next::GoOn;
        }
        Reply::new(421, (7, 0), "too many errors, closing").encode(out);
        Next::Close
    }

    fn refused(&mut self, error: ProtocolError, out: &mut Vec<u8>) -> Next {
        self.auth.abort();
        let next = self.reply(&error.reply(), out);
        if error.is_fatal() { Next::Close } else { next }
    }

    async fn command(&mut self, command: Command<'_>, out: &mut Vec<u8>) -> Next {
        self.commands += 1;
        if self.commands > self.context.limits.commands {
            Reply::new(421, (7, 0), "too many commands, closing").encode(out);
            return Next::Close;
        }
        match command {
            Command::Ehlo(name) if self.service != Service::Lmtp => self.hello(&name, true, out),
            Command::Helo(name) if self.service != Service::Lmtp => self.hello(&name, false, out),
            Command::Lhlo(name) if self.service == Service::Lmtp => self.hello(&name, true, out),
            Command::Mail { from, params } => self.mail(&from, &params, out),
            Command::Rcpt { to, params } => {
                let reply = self.rcpt(&to, &params).await;
                self.reply(&reply, out)
            }
            Command::Data => self.data(out),
            Command::Bdat { size, .. } => self.chunk(size),
            Command::StartTls => self.start_tls(out),
            Command::Auth { mechanism, initial } => self.begin_auth(&mechanism, initial.as_ref(), out).await,
            Command::Rset => {
                self.reset();
                self.reply(&Reply::new(250, (0, 0), "forgotten"), out);
                Next::NewMessage
            }
            Command::Quit => {
                Reply::new(221, (0, 0), "goodbye").encode(out);
                Next::Close
            }
            Command::Noop(_) => self.reply(&Reply::new(250, (0, 0), "fine"), out),
            Command::Help(_) => self.reply(&Reply::new(214, (0, 0), "see RFC 5321"), out),
            Command::Vrfy(_) => self.reply(&Reply::new(252, (1, 0), "send some mail, I'll try my best"), out),
            Command::Expn(_) => self.reply(&Reply::new(502, (5, 1), "no lists to expand"), out),
            _ => self.reply(&Reply::new(500, (5, 1), "unknown command"), out),
        }
    }

    fn reset(&mut self) {
        self.envelope = None;
        self.body = None;
    }

    fn hello(&mut self, name: &ClientName<'_>, extended: bool, out: &mut Vec<u8>) -> Next {
        self.reset();
        self.client = Some(Client { name: name.as_str().to_owned(), extended });
        let reply = if extended { greeting::extended(self) } else { greeting::plain(&self.context.hostname) };
        reply.encode(out);
        Next::NewMessage
    }

    fn start_tls(&mut self, out: &mut Vec<u8>) -> Next {
        if self.tls {
            return self.reply(&Reply::new(503, (5, 1), "TLS is up already"), out);
        }
        if self.context.tls.is_none() {
            return self.reply(&Reply::new(502, (5, 1), "no TLS here"), out);
        }
        Reply::new(220, (0, 0), "go ahead").encode(out);
        Next::Tls
    }

    fn mail(&mut self, from: &ReversePath<'_>, params: &MailParams<'_>, out: &mut Vec<u8>) -> Next {
        if let Err(reply) = self.may_send().and_then(|()| mail_refusal(self, params)) {
            return self.reply(&reply, out);
        }
        let sender = from.mailbox().map(ToString::to_string).unwrap_or_default();
        self.envelope = Some(Envelope::new(sender, params.smtputf8));
        Reply::new(250, (1, 0), "sender fine").encode(out);
        Next::NewMessage
    }

    fn may_send(&self) -> Result<(), Reply> {
        if self.client.is_none() {
            return Err(Reply::new(503, (5, 1), "greet me first"));
        }
        if self.service == Service::Submission && self.auth.user().is_none() {
            return Err(Reply::new(530, (7, 0), "log in first"));
        }
        if self.envelope.is_some() {
            return Err(Reply::new(503, (5, 1), "one sender is enough"));
        }
        Ok(())
    }

    async fn rcpt(&mut self, to: &ForwardPath<'_>, params: &RcptParams<'_>) -> Reply {
        let Some(envelope) = self.envelope.as_mut().filter(|_| self.body.is_none()) else {
            return Reply::new(503, (5, 1), "MAIL first");
        };
        if let Err(reply) = rcpt_refusal(to, params, envelope, self.context.limits.recipients) {
            return reply;
        }
        let (local, domain, address) = match to {
            ForwardPath::Postmaster => {
                ("postmaster", self.context.hostname.to_string(), "postmaster".to_owned())
            }
            ForwardPath::Mailbox(mailbox) => {
                (mailbox.local.as_str(), mailbox.domain.to_string(), mailbox.to_string())
            }
        };
        match self.context.directory.resolve(local, &domain).await {
            Resolved::User(user) => {
                envelope.add(address, user);
                Reply::new(250, (1, 5), "recipient fine")
            }
            Resolved::NoSuchUser => Reply::new(550, (1, 1), "no such user here"),
            Resolved::NotLocal => Reply::new(550, (7, 1), "relaying denied"),
            Resolved::TryLater => {
                Reply::new(451, (3, 0), "cannot tell now whether this user exists, try later")
            }
        }
    }

    fn data(&mut self, out: &mut Vec<u8>) -> Next {
        let ready = self.envelope.as_ref().is_some_and(|envelope| !envelope.users.is_empty());
        if !ready || self.body.is_some() {
            let text = if self.body.is_some() { "go on with BDAT" } else { "MAIL and RCPT first" };
            return self.reply(&Reply::new(503, (5, 1), text), out);
        }
        self.begin_body();
        Reply::plain(354, "go ahead, end with CRLF.CRLF").encode(out);
        Next::Message
    }

    fn begin_body(&mut self) {
        let Some(envelope) = &self.envelope else { return };
        let header = trace::header(self, envelope);
        let limits = &self.context.limits;
        self.body = Some(Collector::new(header, limits.message_bytes, self.context.budget.clone()));
    }

    /// A chunk comes, wanted or not; without a body it is only counted off.
    fn chunk(&mut self, size: u64) -> Next {
        let ready = self.envelope.as_ref().is_some_and(|envelope| !envelope.users.is_empty());
        if ready && self.body.is_none() {
            self.begin_body();
        }
        if let Some(body) = &mut self.body {
            body.expect(size);
        }
        Next::GoOn
    }

    async fn end_of_chunk(&mut self, last: bool, violation: Option<Violation>, out: &mut Vec<u8>) -> Next {
        let Some(body) = &self.body else {
            return self.reply(&Reply::new(503, (5, 1), "MAIL and RCPT first"), out);
        };
        if last {
            return self.end_of_message(violation, out).await;
        }
        match body.failure() {
            None => self.reply(&Reply::new(250, (0, 0), "chunk taken"), out),
            Some(failure) => {
                let reply = failure.reply();
                self.reset();
                self.reply(&reply, out)
            }
        }
    }

    /// Answers the end of a message: once, or for LMTP once for each recipient (RFC 2033 §4.2).
    async fn end_of_message(&mut self, violation: Option<Violation>, out: &mut Vec<u8>) -> Next {
        let (Some(envelope), Some(body)) = (self.envelope.take(), self.body.take()) else {
            return self.reply(&Reply::new(503, (5, 1), "MAIL and RCPT first"), out);
        };
        let reply = match self.accept(&envelope, body, violation).await {
            Ok(()) => {
                self.errors = 0;
                Reply::new(250, (0, 0), format!("delivered as {}", envelope.id))
            }
            Err(reply) => reply,
        };
        let more = if self.service == Service::Lmtp { envelope.accepted - 1 } else { 0 };
        (0..more).for_each(|_| reply.encode(out));
        self.reply(&reply, out)
    }

    async fn accept(
        &self,
        envelope: &Envelope,
        body: Collector,
        violation: Option<Violation>,
    ) -> Result<(), Reply> {
        // A message that was not kept whole can't be judged: its own failure comes first.
        let size = body.size();
        let (text, _held) = body.finish().map_err(|failure| failure.reply())?;
        violation.map_or(Ok(()), |violation| Err(violation.reply()))?;
        trace::refuse_loop(&text)?;
        let delivered = self.context.store.deliver(&envelope.users, text).await;
        let recipients = envelope.accepted;
        match &delivered {
            Ok(()) => {
                tracing::info!(id = %envelope.id, client = %self.peer.addr, recipients, size, "delivered")
            }
            Err(error) => {
                tracing::warn!(id = %envelope.id, client = %self.peer.addr, recipients, size, %error, "not delivered")
            }
        }
        delivered.map_err(|error| self.store_refusal(error))
    }

    fn store_refusal(&self, error: StoreError) -> Reply {
        match error {
            StoreError::Full => Reply::new(452, (3, 1), "the mail store is full, try later"),
            StoreError::Refused(why) => Reply::new(554, (3, 0), format!("refused: {why}")),
            StoreError::NoUser(_) => Reply::new(451, (2, 1), "a recipient is gone, try again"),
            _ if self.context.shutdown.begun() => Reply::new(421, (3, 2), "shutting down, try again"),
            _ => Reply::new(451, (3, 0), "the mail store is not available, try later"),
        }
    }

    async fn sasl(&mut self, response: SaslResponse<'_>, out: &mut Vec<u8>) -> Next {
        match response {
            SaslResponse::Cancel => {
                self.auth.abort();
                self.reply(&Reply::new(501, (7, 0), "login given up"), out)
            }
            SaslResponse::Response(secret) => self.continue_auth(secret.expose().as_bytes(), out).await,
        }
    }

    pub(super) fn in_transaction(&self) -> bool {
        self.envelope.is_some()
    }

    pub(super) fn user(&self) -> Option<&User> {
        self.auth.user()
    }
}

//! The loop of a session: events in, answers out.

use std::io;
use std::time::Duration;

use posthaste_imap_proto::{
    AppendHead, Code, Command, CommandBody, CommandDecoder, Config, Event, FrameError, FrameErrorKind,
    LiteralSpec, ParseError, Response, Status, StatusKind, Tag,
};

use super::answer::{Answer, End, Stop, bad, no};
use super::input::Input;
use super::session::Session;
use crate::server::{Context, Peer, Shutdown};
use crate::wire::Wire;

pub(super) struct Driver<'c> {
    pub(super) input: Input,
    pub(super) session: Session<'c>,
    pub(super) shutdown: Shutdown,
    config: Config,
    errors: u32,
}

/// An event, freed from the read buffer.
enum Incoming {
    More,
    Continue,
    Command(Result<Command<'static>, ParseError>),
    Append(LiteralSpec, Result<(Tag<'static>, AppendHead<'static>), ParseError>),
    Broken(FrameError),
}

impl<'c> Driver<'c> {
    pub(super) fn new(peer: &'c Peer, context: &'c Context) -> Self {
        let config = Config { append_octets_max: context.limits.message_bytes, ..Config::default() };
        Self {
            input: Input::new(CommandDecoder::new(config.clone())),
            session: Session::new(peer, context),
            shutdown: context.shutdown.clone(),
            config,
            errors: 0,
        }
    }

    pub(super) async fn run(mut self, mut wire: Wire) -> io::Result<()> {
        self.session.greet(&mut wire.out);
        loop {
            let end = match self.turn(&mut wire).await {
                Ok(Turn::Done) => continue,
                Ok(Turn::Tls) => {
                    wire = self.start_tls(wire).await?;
                    continue;
                }
                Err(end) => end,
            };
            let status = match end {
                End::Gone(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
                End::Gone(error) => return Err(error),
                End::Silent => Status::new(StatusKind::Bye, "idle for too long"),
                End::Shutdown => {
                    Status::new(StatusKind::Bye, "shutting down, connect again").with_code(Code::Unavailable)
                }
                End::Bye(status) => status,
                End::Logout => return wire.close().await,
            };
            Response::Status(status).encode(&mut wire.out);
            return wire.close().await;
        }
    }

    pub(super) fn patience(&self) -> Duration {
        let limits = &self.session.context.limits;
        if self.session.user.is_some() { limits.idle_imap } else { limits.idle_before_login }
    }

    /// Reads more; for the middle of a command.
    pub(super) async fn fill(&mut self, wire: &mut Wire) -> Result<(), End> {
        let patience = self.patience();
        self.input.fill(wire, patience, &mut self.shutdown, false).await
    }

    fn next(&mut self) -> Incoming {
        match self.input.decode() {
            Event::Command(raw) => Incoming::Command(raw.parse(&self.config.parse).map(Command::into_owned)),
            Event::Append(start) => {
                let head = start.parse(&self.config.parse);
                Incoming::Append(start.literal, head.map(|(tag, head)| (tag.into_owned(), head.into_owned())))
            }
            Event::Continue => Incoming::Continue,
            Event::Error(error) => Incoming::Broken(error),
            // Only asked for in the middle of a command, and then read there.
            Event::NeedMore | Event::Line(_) | Event::MessageChunk(_) | Event::MessageEnd(_) => {
                Incoming::More
            }
        }
    }

    async fn turn(&mut self, wire: &mut Wire) -> Result<Turn, End> {
        match self.next() {
            Incoming::More => self.fill(wire).await?,
            Incoming::Continue => wire.out.extend_from_slice(b"+ OK\r\n"),
            Incoming::Broken(error) => self.broken(wire, error)?,
            Incoming::Append(literal, head) => self.append(wire, literal, head).await?,
            Incoming::Command(Err(error)) => {
                let text = error.kind.to_string();
                self.complain(wire, error.tag, Status::new(StatusKind::Bad, text))?;
            }
            Incoming::Command(Ok(command)) => return self.command(wire, command).await,
        }
        wire.flush_if_much().await?;
        Ok(Turn::Done)
    }

    async fn command(&mut self, wire: &mut Wire, command: Command<'static>) -> Result<Turn, End> {
        let expunge = !matches!(
            command.body,
            CommandBody::Fetch { uid: false, .. }
                | CommandBody::Store { uid: false, .. }
                | CommandBody::Search { uid: false, .. }
        );
        let answer = match command.body {
            CommandBody::StartTls => match self.session.may_start_tls() {
                Ok(status) => {
                    Response::Tagged { tag: command.tag, status }.encode(&mut wire.out);
                    return Ok(Turn::Tls);
                }
                Err(status) => Ok(status),
            },
            CommandBody::Authenticate { mechanism, initial } => {
                self.authenticate(wire, mechanism.as_str(), initial).await
            }
            CommandBody::Idle => self.idle(wire).await,
            CommandBody::Logout => {
                Response::Status(Status::new(StatusKind::Bye, "goodbye")).encode(&mut wire.out);
                let status = Status::new(StatusKind::Ok, "logged out");
                Response::Tagged { tag: command.tag, status }.encode(&mut wire.out);
                return Err(End::Logout);
            }
            body => self.session.command(wire, body).await,
        };
        self.finish(wire, command.tag, answer, expunge).await?;
        wire.flush_if_much().await?;
        Ok(Turn::Done)
    }

    /// Tells what happened meanwhile, then answers.
    pub(super) async fn finish(
        &mut self,
        wire: &mut Wire,
        tag: Tag<'static>,
        answer: Answer,
        expunge: bool,
    ) -> Result<(), End> {
        let status = match answer {
            Ok(status) | Err(Stop::Answer(status)) => status,
            Err(Stop::End(end)) => return Err(end),
        };
        self.input.decoder.set_authenticated(self.session.user.is_some());
        self.session.catch_up(&mut wire.out, expunge).await?;
        self.input.touch();
        if status.kind == StatusKind::Bad {
            return self.complain(wire, Some(tag), status);
        }
        self.errors = 0;
        Response::Tagged { tag, status }.encode(&mut wire.out);
        Ok(())
    }

    /// BAD. Too many in a row end the session.
    pub(super) fn complain(
        &mut self,
        wire: &mut Wire,
        tag: Option<Tag<'static>>,
        status: Status<'static>,
    ) -> Result<(), End> {
        match tag {
            Some(tag) => Response::Tagged { tag, status },
            None => Response::Status(status),
        }
        .encode(&mut wire.out);
        self.errors += 1;
        if self.errors < self.session.context.limits.errors {
            return Ok(());
        }
        Err(End::Bye(Status::new(StatusKind::Bye, "too many errors")))
    }

    fn broken(&mut self, wire: &mut Wire, error: FrameError) -> Result<(), End> {
        let text = error.to_string();
        let status = match error.kind {
            FrameErrorKind::MessageTooLarge { .. } => no(Code::TooBig, text),
            _ => Status::new(StatusKind::Bad, text),
        };
        self.complain(wire, error.tag, status)
    }

    async fn start_tls(&mut self, wire: Wire) -> io::Result<Wire> {
        let discarded = self.input.discard_plaintext();
        if discarded > 0 {
            tracing::warn!(client = %self.session.peer.addr, discarded, "octets in the clear behind STARTTLS were dropped");
        }
        let Some(acceptor) = &self.session.context.tls else { return Ok(wire) };
        let wire = wire.start_tls(acceptor).await?;
        self.session.secured();
        Ok(wire)
    }

    /// The next line as it is; `None` if the client broke it.
    pub(super) async fn line(&mut self, wire: &mut Wire) -> Result<Option<Vec<u8>>, End> {
        loop {
            match self.input.decode() {
                Event::Line(line) => return Ok(Some(line.as_bytes().to_vec())),
                Event::NeedMore => {}
                _ => return Ok(None),
            }
            self.fill(wire).await?;
        }
    }
}

/// What the loop does next.
pub(super) enum Turn {
    Done,
    /// Speak TLS.
    Tls,
}

pub(super) fn wrong_state() -> Status<'static> {
    bad("not in this state")
}

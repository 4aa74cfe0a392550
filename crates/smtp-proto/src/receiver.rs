//! The server's side of the wire: octets in, events out.

use std::fmt;

use crate::data::{Piece, TextCheck, Unstuffer};
use crate::line::{Found, LineBuffer};
use crate::text::Secret;
use crate::{Command, ProtocolError, SyntaxError, Violation, common, parse};

/// Limits and policies of a [`Receiver`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Longest command line in octets with CRLF. RFC 5321 §4.5.3.1.4 asks for 512 plus what extensions add; 4096
    /// has room for all of them.
    pub command_line_max: usize,
    /// Longest SASL response line with CRLF (RFC 4954 §4.5 asks for 12,288).
    pub sasl_line_max: usize,
    /// How much of a bad line is skipped in search of its CRLF before the connection is given up.
    pub skip_limit: usize,
    /// What to make of messages with bare CR, bare LF or NUL.
    pub bad_text: BadText,
}

impl Default for Config {
    fn default() -> Self {
        Self { command_line_max: 4096, sasl_line_max: 12_288, skip_limit: 65_536, bad_text: BadText::Report }
    }
}

/// What to make of messages with bare CR, bare LF or NUL. Neither choice changes where a message ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum BadText {
    /// Report the first at the end of the message, which is then to be refused.
    #[default]
    Report,
    /// Pass them. Only for a server that never sends the mail on and whose readers do not care.
    Pass,
}

/// What came. Borrows from the input, or from the receiver where a line came in several pieces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event<'a> {
    /// A command; answer it.
    Command(Command<'a>),
    /// The answer to a 334, after [`Receiver::expect_sasl`].
    Sasl(SaslResponse<'a>),
    /// A piece of the message, dot-stuffing removed, after [`Receiver::accept_data`] or BDAT.
    Body(&'a [u8]),
    /// CRLF.CRLF came: answer DATA.
    EndOfData {
        /// Why the message is to be refused.
        violation: Option<Violation>,
    },
    /// The chunk is complete: answer BDAT.
    EndOfChunk {
        /// Whether this chunk ended the message.
        last: bool,
        /// Why the message is to be refused; told with the last chunk.
        violation: Option<Violation>,
    },
    /// Not a command: answer with [`ProtocolError::reply`].
    Refused(ProtocolError),
}

/// A line of a SASL exchange.
#[derive(Clone, PartialEq, Eq)]
pub enum SaslResponse<'a> {
    /// `*`: the client gives up; answer 501 (RFC 4954 §4).
    Cancel,
    /// Base64, maybe empty.
    Response(Secret<'a>),
}

impl SaslResponse<'_> {
    /// Appends the line with its CRLF: what a client sends after a 334.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(match self {
            SaslResponse::Cancel => b"*",
            SaslResponse::Response(secret) => secret.expose().as_bytes(),
        });
        out.extend_from_slice(b"\r\n");
    }
}

impl fmt::Debug for SaslResponse<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SaslResponse::Cancel => "Cancel",
            SaslResponse::Response(_) => "Response(<redacted>)",
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Command,
    Skip { left: usize },
    Sasl,
    Data,
    Chunk { left: u64, last: bool },
    Dead,
}

/// The server's side of an SMTP or LMTP connection as a state machine without I/O.
///
/// Driving contract: for each piece of input call [`Receiver::next`] until it returns `None`; the input is
/// then empty. A `Command` that changes what the next octets mean is refused by doing nothing, and accepted
/// **before** the next call: [`Receiver::accept_data`] after DATA, [`Receiver::expect_sasl`] after AUTH and
/// after each 334, [`Receiver::start_tls`] after STARTTLS.
#[derive(Debug)]
pub struct Receiver {
    config: Config,
    state: State,
    line: LineBuffer,
    unstuffer: Unstuffer,
    check: TextCheck,
    /// The message is declared to be no text.
    binary: bool,
}

impl Receiver {
    /// At the start of a connection.
    pub fn new(config: Config) -> Self {
        Self {
            config,
            state: State::Command,
            line: LineBuffer::default(),
            unstuffer: Unstuffer::new(),
            check: TextCheck::new(),
            binary: false,
        }
    }

    /// The next event, or `None` when all input is taken.
    #[inline(never)]
    pub fn next<'s, 'i: 's>(&'s mut self, input: &mut &'i [u8]) -> Option<Event<'s>> {
        match self.state {
            State::Command => self.next_command(input),
            State::Sasl => self.next_sasl(input),
            State::Data => self.next_data(input),
            State::Chunk { left, last } => self.next_chunk(input, left, last),
            State::Skip { left } => self.next_skip(input, left),
            State::Dead => {
                *input = &[];
                None
            }
        }
    }

    /// The same for whoever keeps the message in memory: its octets do not come as [`Event::Body`] but are appended to
    /// `out`, in the one pass that also looks at them. At most one octet more than `input` has is appended: a CR that was
    /// held back before.
    #[inline(never)]
    pub fn next_into<'s, 'i: 's>(&'s mut self, input: &mut &'i [u8], out: &mut Vec<u8>) -> Option<Event<'s>> {
        match self.state {
            State::Data => {
                let ended = match self.config.bad_text {
                    BadText::Report => self.unstuffer.copy_checked(input, &mut self.check, out),
                    BadText::Pass => self.unstuffer.copy(input, out),
                };
                ended.then(|| self.end_of_data())
            }
            State::Chunk { left, last } => {
                let text = self.take_chunk(input, left, last);
                match self.is_checking_chunks() {
                    true => self.check.push_copied(text, out),
                    false => out.extend_from_slice(text),
                }
                self.end_of_chunk()
            }
            _ => self.next(input),
        }
    }

    /// DATA is accepted (354 is on its way): what follows is a message.
    pub fn accept_data(&mut self) {
        debug_assert_eq!(self.state, State::Command, "only after DATA");
        self.unstuffer.restart();
        self.reset_message();
        self.state = State::Data;
    }

    /// A 334 is on its way: the next line is a SASL response.
    pub fn expect_sasl(&mut self) {
        debug_assert_eq!(self.state, State::Command, "only after AUTH or a response");
        self.state = State::Sasl;
    }

    /// STARTTLS is accepted (220 is on its way): everything that came in the clear behind it is thrown away, what
    /// the receiver holds as well as the rest of `input`. Returns how many octets that were; any at all means a
    /// broken client or an attacker (CVE-2011-0411).
    pub fn start_tls(&mut self, input: &mut &[u8]) -> usize {
        let dropped = self.line.buffered() + input.len();
        *input = &[];
        *self = Self::new(self.config.clone());
        dropped
    }

    /// Forgets what it knows of a message that came in chunks: after RSET, MAIL or EHLO.
    pub fn reset_message(&mut self) {
        self.check = TextCheck::new();
        self.binary = false;
    }

    /// MAIL with `BODY=BINARYMIME` is accepted: the chunks of this message may hold any octets (RFC 3030 §3). Until
    /// [`Receiver::reset_message`], or the message's end.
    pub fn expect_binary(&mut self) {
        self.binary = true;
    }

    /// Whether the octets that come next are part of a message and not a command.
    pub fn in_message(&self) -> bool {
        matches!(self.state, State::Data | State::Chunk { .. })
    }

    /// Whether it holds the beginning of a line.
    pub fn in_line(&self) -> bool {
        self.line.buffered() > 0 || matches!(self.state, State::Skip { .. })
    }

    #[inline(always)]
    fn next_command<'s, 'i: 's>(&'s mut self, input: &mut &'i [u8]) -> Option<Event<'s>> {
        let limit = if self.line.is_empty() { self.config.command_line_max } else { 0 };
        common::command(input, limit, |input| self.next_line(input))
    }

    /// A line of any kind, whole or in pieces.
    #[inline(never)]
    fn next_line<'s, 'i: 's>(&'s mut self, input: &mut &'i [u8]) -> Option<Event<'s>> {
        let Self { config, state, line, .. } = self;
        let line = match line.take(input, config.command_line_max) {
            Found::Whole(found) => found,
            Found::Spilled => line.spilled(),
            Found::Incomplete => return None,
            Found::Bad(error) => return Some(refuse(state, config, error)),
        };
        Some(match parse::command(line) {
            Ok(command) => {
                if let Command::Bdat { size, last } = command {
                    *state = State::Chunk { left: size, last };
                }
                Event::Command(command)
            }
            Err(error) => refuse_syntax(state, error),
        })
    }

    fn next_sasl<'s, 'i: 's>(&'s mut self, input: &mut &'i [u8]) -> Option<Event<'s>> {
        let Self { config, state, line, .. } = self;
        let line = match line.take(input, config.sasl_line_max) {
            Found::Incomplete => return None,
            Found::Bad(error) => return Some(refuse(state, config, error)),
            Found::Whole(found) => found,
            Found::Spilled => line.spilled(),
        };
        *state = State::Command;
        if line == b"*" {
            return Some(Event::Sasl(SaslResponse::Cancel));
        }
        let text = std::str::from_utf8(line).ok().and_then(Secret::new);
        Some(match text {
            Some(text) => Event::Sasl(SaslResponse::Response(text)),
            None => Event::Refused(ProtocolError::BadSasl),
        })
    }

    fn next_skip<'s, 'i: 's>(&'s mut self, input: &mut &'i [u8], mut left: usize) -> Option<Event<'s>> {
        let found = self.line.skip(input, &mut left);
        if left == 0 {
            self.state = State::Dead;
            let limit = self.config.skip_limit;
            return Some(Event::Refused(ProtocolError::LineWithoutEnd { limit }));
        }
        if !found {
            self.state = State::Skip { left };
            return None;
        }
        self.state = State::Command;
        self.next_command(input)
    }

    fn next_data<'s, 'i: 's>(&'s mut self, input: &mut &'i [u8]) -> Option<Event<'s>> {
        let piece = match self.config.bad_text {
            BadText::Report => self.unstuffer.next_checked(input, &mut self.check),
            BadText::Pass => self.unstuffer.next(input),
        };
        Some(match piece? {
            Piece::Text(text) => Event::Body(text),
            Piece::End => self.end_of_data(),
        })
    }

    fn end_of_data<'s>(&mut self) -> Event<'s> {
        self.state = State::Command;
        Event::EndOfData { violation: self.check.finish() }
    }

    fn next_chunk<'s, 'i: 's>(
        &'s mut self,
        input: &mut &'i [u8],
        left: u64,
        last: bool,
    ) -> Option<Event<'s>> {
        if let Some(end) = self.end_of_chunk() {
            return Some(end);
        }
        if input.is_empty() {
            return None;
        }
        let text = self.take_chunk(input, left, last);
        if self.is_checking_chunks() {
            self.check.push(text);
        }
        Some(Event::Body(text))
    }

    /// What there is of the chunk in `input`.
    fn take_chunk<'i>(&mut self, input: &mut &'i [u8], left: u64, last: bool) -> &'i [u8] {
        let len = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
        let (text, rest) = input.split_at(len);
        *input = rest;
        self.state = State::Chunk { left: left - len as u64, last };
        text
    }

    fn is_checking_chunks(&self) -> bool {
        self.config.bad_text == BadText::Report && !self.binary
    }

    fn end_of_chunk<'s>(&mut self) -> Option<Event<'s>> {
        let State::Chunk { left: 0, last } = self.state else { return None };
        self.state = State::Command;
        let violation = if last { self.check.finish() } else { None };
        self.binary &= !last;
        Some(Event::EndOfChunk { last, violation })
    }
}

fn refuse<'a>(state: &mut State, config: &Config, error: ProtocolError) -> Event<'a> {
    *state = State::Skip { left: config.skip_limit.max(1) };
    Event::Refused(error)
}

fn refuse_syntax<'a>(state: &mut State, error: SyntaxError) -> Event<'a> {
    if error.is_fatal() {
        *state = State::Dead;
    }
    Event::Refused(ProtocolError::Syntax(error))
}

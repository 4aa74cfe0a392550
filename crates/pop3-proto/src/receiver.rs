//! The server's side of the wire: octets in, events out.

use std::borrow::Cow;
use std::fmt;

use crate::line::{Found, LineBuffer};
use crate::text::{Secret, looks_like_base64};
use crate::{Command, ProtocolError, Quirks};

/// Limits of a [`Receiver`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Longest command line in octets with CRLF. RFC 2449 §4 says 255; room is left for long passwords.
    pub command_line_max: usize,
    /// Longest SASL response line with CRLF (RFC 5034 §4 lets mechanisms need more than a command).
    pub sasl_line_max: usize,
    /// How much of a bad line is skipped in search of its CRLF before the connection is given up.
    pub skip_limit: usize,
    /// Deviations to take; of use to a server is [`Quirks::BARE_LF`] alone.
    pub quirks: Quirks,
}

impl Default for Config {
    fn default() -> Self {
        Self { command_line_max: 1024, sasl_line_max: 12_288, skip_limit: 65_536, quirks: Quirks::NONE }
    }
}

/// What came. Borrows from the input, or from the receiver where a line came in several pieces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event<'a> {
    /// A command; answer it.
    Command(Command<'a>),
    /// The answer to a `+` challenge, after [`Receiver::expect_sasl`].
    Sasl(SaslResponse<'a>),
    /// Not a command: answer with [`ProtocolError::reply`].
    Refused(ProtocolError),
}

/// A line of a SASL exchange.
#[derive(Clone, PartialEq, Eq)]
pub enum SaslResponse<'a> {
    /// `*`: the client gives up; answer `-ERR` (RFC 5034 §4).
    Cancel,
    /// Base64, maybe empty.
    Response(Secret<'a>),
}

impl SaslResponse<'_> {
    /// Appends the line with its CRLF: what a client sends after a `+` challenge.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(match self {
            SaslResponse::Cancel => b"*",
            SaslResponse::Response(secret) => secret.expose(),
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
    Sasl,
    Skip { left: usize },
    Dead,
}

/// The server's side of a POP3 connection as a state machine without I/O.
///
/// Driving contract: for each piece of input call [`Receiver::next`] until it returns `None`; the input is then
/// empty. Before the next call say [`Receiver::expect_sasl`] after sending a `+` challenge, and
/// [`Receiver::start_tls`] after accepting STLS.
#[derive(Debug)]
pub struct Receiver {
    config: Config,
    state: State,
    line: LineBuffer,
}

impl Receiver {
    /// At the start of a connection.
    pub fn new(config: Config) -> Self {
        let line = LineBuffer::new(config.quirks);
        Self { config, state: State::Command, line }
    }

    /// The next event, or `None` when all input is taken.
    pub fn next<'s, 'i: 's>(&'s mut self, input: &mut &'i [u8]) -> Option<Event<'s>> {
        if let State::Skip { left } = self.state {
            if let Some(refused) = self.skip(input, left) {
                return Some(refused);
            }
        }
        match self.state {
            State::Command => self.next_command(input),
            State::Sasl => self.next_sasl(input),
            State::Skip { .. } => None,
            State::Dead => {
                *input = &[];
                None
            }
        }
    }

    /// A `+` challenge is on its way: the next line is a SASL response.
    pub fn expect_sasl(&mut self) {
        debug_assert_eq!(self.state, State::Command, "only after AUTH or a response");
        self.state = State::Sasl;
    }

    /// STLS is accepted (`+OK` is on its way): everything that came in the clear behind it is thrown away. Returns
    /// how many octets that were; any at all means a broken client or an attacker.
    pub fn start_tls(&mut self, input: &mut &[u8]) -> usize {
        let dropped = self.line.buffered() + input.len();
        *input = &[];
        *self = Self::new(self.config.clone());
        dropped
    }

    /// Whether it holds the beginning of a line.
    pub fn in_line(&self) -> bool {
        self.line.buffered() > 0 || matches!(self.state, State::Skip { .. })
    }

    fn next_command<'s, 'i: 's>(&'s mut self, input: &mut &'i [u8]) -> Option<Event<'s>> {
        let Self { config, state, line } = self;
        let line = match line.take(input, config.command_line_max) {
            Found::Incomplete => return None,
            Found::Bad(error) => return Some(refuse(state, config, error)),
            Found::Whole(found) => found,
            Found::Spilled => line.spilled(),
        };
        Some(match Command::parse(line) {
            Ok(command) => Event::Command(command),
            Err(error) => Event::Refused(error.into()),
        })
    }

    fn next_sasl<'s, 'i: 's>(&'s mut self, input: &mut &'i [u8]) -> Option<Event<'s>> {
        let Self { config, state, line } = self;
        let line = match line.take(input, config.sasl_line_max) {
            Found::Incomplete => return None,
            Found::Bad(error) => return Some(refuse(state, config, error)),
            Found::Whole(found) => found,
            Found::Spilled => line.spilled(),
        };
        *state = State::Command;
        Some(match (line, Secret::new(Cow::Borrowed(line))) {
            (b"*", _) => Event::Sasl(SaslResponse::Cancel),
            (line, Ok(secret)) if looks_like_base64(line) => Event::Sasl(SaslResponse::Response(secret)),
            _ => Event::Refused(ProtocolError::BadSasl),
        })
    }

    fn skip<'s>(&mut self, input: &mut &[u8], mut left: usize) -> Option<Event<'s>> {
        let found = self.line.skip(input, &mut left);
        self.state = match (left, found) {
            (0, _) => State::Dead,
            (_, true) => State::Command,
            (left, false) => State::Skip { left },
        };
        let limit = self.config.skip_limit;
        (left == 0).then_some(Event::Refused(ProtocolError::LineWithoutEnd { limit }))
    }
}

fn refuse<'a>(state: &mut State, config: &Config, error: ProtocolError) -> Event<'a> {
    *state = State::Skip { left: config.skip_limit.max(1) };
    Event::Refused(error)
}

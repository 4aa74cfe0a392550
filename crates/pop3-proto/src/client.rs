//! The client's side of the wire: octets in, responses out, message bodies streamed.

use std::collections::VecDeque;

use crate::data::{Piece, Unstuffer};
use crate::line::{Found, LineBuffer};
use crate::text::{Secret, looks_like_base64};
use crate::{ProtocolError, Quirks, Reply};

/// Limits of a [`ResponseReceiver`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientConfig {
    /// Longest status line or line of a listing, in octets with CRLF (RFC 2449 §4 says 512).
    pub line_max: usize,
    /// Deviations to take; give them to [`crate::UidlEntry::parse_with`] and its like as well.
    pub quirks: Quirks,
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self { line_max: 4096, quirks: Quirks::CLIENT }
    }
}

/// What a command's response looks like when it is `+OK`; only the one who sent the command knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// A status line: USER, STAT, DELE, LIST 1, AUTH and so on.
    Single,
    /// A status line and lines to its dot: CAPA, LIST, UIDL.
    Lines,
    /// A status line and a message: RETR, TOP.
    Message,
}

/// What came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientEvent<'a> {
    /// The status line. After `+OK` to a command of another shape than `Single`, more follows.
    Status(Reply),
    /// `+ challenge`: the server waits for a SASL response; the shape stays expected.
    Challenge(Secret<'a>),
    /// A line, without CRLF and stuffing.
    Line(&'a [u8]),
    /// A piece of the message, without stuffing.
    Text(&'a [u8]),
    /// The lines or the message are complete.
    End,
}

/// The server's response makes no sense: the place in the stream is lost, so close the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ResponseError {
    /// Not `+OK`, `-ERR` or `+ `.
    #[error("malformed status line")]
    Malformed,
    /// A line that no command asked for.
    #[error("response to no command")]
    Unexpected,
    /// A line that breaks the framing.
    #[error(transparent)]
    Line(ProtocolError),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Status,
    Lines,
    Message,
}

/// Reads a server's responses as a state machine without I/O.
///
/// Driving contract: [`ResponseReceiver::expect`] once for each command sent, in order (the greeting is expected
/// from the start); for each piece of input call [`ResponseReceiver::next`] until it returns `None`. After an
/// error close the connection. After STLS's `+OK` call [`ResponseReceiver::start_tls`].
#[derive(Debug)]
pub struct ResponseReceiver {
    config: ClientConfig,
    expected: VecDeque<Shape>,
    state: State,
    line: LineBuffer,
    unstuffer: Unstuffer,
}

impl ResponseReceiver {
    /// At the start of a connection, waiting for the greeting.
    pub fn new(config: ClientConfig) -> Self {
        let mut receiver = Self::after_tls(config);
        receiver.expect(Shape::Single);
        receiver
    }

    /// Inside TLS after STLS: no greeting comes.
    pub fn after_tls(config: ClientConfig) -> Self {
        Self {
            line: LineBuffer::new(config.quirks),
            config,
            expected: VecDeque::new(),
            state: State::Status,
            unstuffer: Unstuffer::new(),
        }
    }

    /// STLS was answered by `+OK`: everything that came in the clear behind it is thrown away, what the receiver holds as well
    /// as the rest of `input`. Returns how many octets that were; any at all means an attacker. What CAPA said before is
    /// void as well.
    pub fn start_tls(&mut self, input: &mut &[u8]) -> usize {
        let dropped = self.line.buffered() + input.len();
        *input = &[];
        *self = Self::after_tls(self.config.clone());
        dropped
    }

    /// A command whose response has this shape was sent.
    pub fn expect(&mut self, shape: Shape) {
        self.expected.push_back(shape);
    }

    /// The next event, or `None` when all input is taken.
    pub fn next<'s, 'i: 's>(
        &'s mut self,
        input: &mut &'i [u8],
    ) -> Option<Result<ClientEvent<'s>, ResponseError>> {
        match self.state {
            State::Status => self.next_status(input),
            State::Lines => self.next_line(input),
            State::Message => match self.unstuffer.next(input)? {
                Piece::Text(text) => Some(Ok(ClientEvent::Text(text))),
                Piece::End => {
                    self.state = State::Status;
                    Some(Ok(ClientEvent::End))
                }
            },
        }
    }

    fn next_status<'s, 'i: 's>(
        &'s mut self,
        input: &mut &'i [u8],
    ) -> Option<Result<ClientEvent<'s>, ResponseError>> {
        let Self { config, expected, state, line, unstuffer } = self;
        let line = match line.take(input, config.line_max) {
            Found::Incomplete => return None,
            Found::Bad(error) => return Some(Err(ResponseError::Line(error))),
            Found::Whole(found) => found,
            Found::Spilled => line.spilled(),
        };
        let Some(shape) = expected.front().copied() else { return Some(Err(ResponseError::Unexpected)) };
        if let Some(challenge) = challenge(line, config.quirks) {
            return Some(Ok(ClientEvent::Challenge(challenge)));
        }
        let Some(reply) = Reply::parse(&String::from_utf8_lossy(line)) else {
            return Some(Err(ResponseError::Malformed));
        };
        expected.pop_front();
        unstuffer.restart();
        *state = match (reply.is_ok(), shape) {
            (true, Shape::Lines) => State::Lines,
            (true, Shape::Message) => State::Message,
            _ => State::Status,
        };
        Some(Ok(ClientEvent::Status(reply)))
    }

    fn next_line<'s, 'i: 's>(
        &'s mut self,
        input: &mut &'i [u8],
    ) -> Option<Result<ClientEvent<'s>, ResponseError>> {
        let Self { config, state, line, .. } = self;
        let skips_empty = config.quirks.contains(Quirks::EMPTY_LINES);
        let line = loop {
            match line.take(input, config.line_max) {
                Found::Incomplete => return None,
                Found::Bad(error) => return Some(Err(ResponseError::Line(error))),
                Found::Whole([]) if skips_empty => {}
                Found::Whole(found) => break found,
                Found::Spilled if skips_empty && line.spilled().is_empty() => {}
                Found::Spilled => break line.spilled(),
            }
        };
        Some(Ok(match line {
            b"." => {
                *state = State::Status;
                ClientEvent::End
            }
            line => ClientEvent::Line(line.strip_prefix(b".").unwrap_or(line)),
        }))
    }
}

fn challenge(line: &[u8], quirks: Quirks) -> Option<Secret<'_>> {
    let text = if line == b"+" { b"".as_slice() } else { line.strip_prefix(b"+ ")? };
    if looks_like_base64(text) {
        return Secret::new(text).ok();
    }
    if quirks.contains(Quirks::CHALLENGE_TEXT) { Secret::new(b"".as_slice()).ok() } else { None }
}

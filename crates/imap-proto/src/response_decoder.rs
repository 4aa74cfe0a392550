//! From octets to whole responses: the client's side of framing.

use std::fmt;

use crate::error::ResponseFrameError as Error;
use crate::frame::{LiteralSpec, literal_outside_quotes};
use crate::{ParseError, ParseLimits, Response};

/// What a server may make the client hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResponseConfig {
    /// Octets of one response as it is held: its lines, and its literals up to `literal_held_max` each.
    pub response_octets_max: usize,
    /// Larger literals are streamed: their octets come as [`ResponseEvent::LiteralChunk`], and the response shows
    /// [`Payload::Streamed`](crate::Payload::Streamed). 0 streams every message.
    pub literal_held_max: u64,
    /// Octets of memory kept between responses. A client that is told long lists again and again saves their pages.
    pub buffer_kept: usize,
    /// Largest literal accepted at all, in octets.
    pub literal_octets_max: u64,
    /// Limits of the grammar.
    pub parse: ParseLimits,
}

impl Default for ResponseConfig {
    fn default() -> Self {
        Self {
            response_octets_max: 16 * 1024 * 1024,
            literal_held_max: 64 * 1024,
            buffer_kept: 1024 * 1024,
            literal_octets_max: 4 * 1024 * 1024 * 1024,
            parse: ParseLimits::client(),
        }
    }
}

/// Finds the responses in a server's octets, whichever way they are cut. After an error it refuses everything: the connection
/// is of no more use.
pub struct ResponseDecoder {
    config: ResponseConfig,
    state: State,
    buf: Vec<u8>,
    line_start: usize,
    lent: bool,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Line,
    Literal { left: u64 },
    Stream { left: u64 },
    Failed(Error),
}

/// What the decoder found.
#[derive(Debug, PartialEq, Eq)]
pub enum ResponseEvent<'b> {
    /// All input is consumed and no event is complete.
    NeedMore,
    /// A literal larger than the decoder holds follows in chunks.
    LiteralStart {
        /// The response so far, from its start to the literal: which message and section it is.
        so_far: &'b [u8],
        /// The literal's size.
        octets: u64,
    },
    /// Its next octets.
    LiteralChunk(&'b [u8]),
    /// A whole response.
    Response(RawResponse<'b>),
    /// The server broke the framing.
    Error(Error),
}

/// A framed response, not yet parsed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct RawResponse<'b>(&'b [u8]);

impl<'b> RawResponse<'b> {
    /// Parses it.
    pub fn parse(self, limits: &ParseLimits) -> Result<Response<'b>, ParseError> {
        Response::parse(self.0, limits)
    }

    /// Its octets, without the final CRLF.
    pub fn as_bytes(self) -> &'b [u8] {
        self.0
    }
}

impl fmt::Debug for RawResponse<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RawResponse({:?})", String::from_utf8_lossy(&self.0[..self.0.len().min(200)]))
    }
}

enum Step {
    Again,
    NeedMore,
    InInput(usize),
    InBuf,
    Start { so_far: usize, octets: u64 },
    Chunk(usize),
    Error(Error),
}

impl ResponseDecoder {
    /// A decoder for a new connection.
    pub fn new(config: ResponseConfig) -> Self {
        Self { config, state: State::Line, buf: Vec::new(), line_start: 0, lent: false }
    }

    /// For STARTTLS: forgets everything read in plain text, here and in `input`, and starts anew. Says how many octets that
    /// were; more than none is an attempt to inject responses: close the connection.
    pub fn discard_plaintext(&mut self, input: &mut &[u8]) -> usize {
        self.take_back();
        let discarded = self.buf.len() + input.len();
        *input = &[];
        self.restart();
        discarded
    }

    /// Advances over `input` to the next event. Call again with what is left of it; after
    /// [`ResponseEvent::NeedMore`], with more.
    pub fn decode<'b, 'i: 'b>(&'b mut self, input: &mut &'i [u8]) -> ResponseEvent<'b> {
        self.take_back();
        loop {
            match self.step(input) {
                Step::Again => {}
                Step::NeedMore => return ResponseEvent::NeedMore,
                Step::InInput(n) => {
                    let (line, rest) = input.split_at(n);
                    *input = rest;
                    return ResponseEvent::Response(RawResponse(&line[..n - 2]));
                }
                Step::InBuf => {
                    self.lent = true;
                    return ResponseEvent::Response(RawResponse(&self.buf[..self.buf.len() - 2]));
                }
                Step::Start { so_far, octets } => {
                    return ResponseEvent::LiteralStart { so_far: &self.buf[..so_far], octets };
                }
                Step::Chunk(n) => {
                    let (chunk, rest) = input.split_at(n);
                    *input = rest;
                    return ResponseEvent::LiteralChunk(chunk);
                }
                Step::Error(error) => {
                    self.state = State::Failed(error);
                    self.buf = Vec::new();
                    return ResponseEvent::Error(error);
                }
            }
        }
    }

    fn take_back(&mut self) {
        if self.lent {
            self.restart();
        }
    }

    fn restart(&mut self) {
        self.lent = false;
        self.buf.clear();
        self.buf.shrink_to(self.config.buffer_kept);
        self.line_start = 0;
        self.state = State::Line;
    }

    fn step(&mut self, input: &mut &[u8]) -> Step {
        match self.state {
            State::Failed(error) => Step::Error(error),
            State::Literal { left: 0 } | State::Stream { left: 0 } => {
                self.line_start = self.buf.len();
                self.state = State::Line;
                Step::Again
            }
            _ if input.is_empty() => Step::NeedMore,
            State::Line => self.line(input),
            State::Literal { left } => {
                let n = usize::try_from(left).map_or(input.len(), |left| left.min(input.len()));
                self.buf.extend_from_slice(&input[..n]);
                *input = &input[n..];
                self.state = State::Literal { left: left - n as u64 };
                Step::Again
            }
            State::Stream { left } => {
                let n = usize::try_from(left).map_or(input.len(), |left| left.min(input.len()));
                self.state = State::Stream { left: left - n as u64 };
                Step::Chunk(n)
            }
        }
    }

    fn line(&mut self, input: &mut &[u8]) -> Step {
        let limit = self.config.response_octets_max;
        let room = limit.saturating_sub(self.buf.len());
        let window = &input[..input.len().min(room + 1)];
        let Some(lf) = memchr::memchr(b'\n', window).filter(|lf| *lf < room) else {
            if window.len() > room {
                return Step::Error(Error::TooLong { limit });
            }
            self.buf.extend_from_slice(window);
            *input = &[];
            return Step::NeedMore;
        };
        let n = lf + 1;
        if self.buf.is_empty() {
            return match self.whole_in_input(&input[..input.len().min(room)], n) {
                Err(error) => Step::Error(error),
                Ok(Some(n)) => Step::InInput(n),
                Ok(None) => self.line_in_buf(input, n),
            };
        }
        self.line_in_buf(input, n)
    }

    /// Where the response ends whose first line is `n` octets, if it is all here and none of it streams: then it need
    /// not be copied.
    fn whole_in_input(&self, input: &[u8], n: usize) -> Result<Option<usize>, Error> {
        let (mut start, mut end) = (0, n);
        loop {
            let Some((_, literal)) = check_line(&input[..end], start)? else { return Ok(Some(end)) };
            if literal.octets > self.config.literal_held_max {
                return Ok(None);
            }
            let after = usize::try_from(literal.octets).ok().and_then(|octets| end.checked_add(octets));
            let Some(rest) = after.and_then(|at| input.get(at..)) else { return Ok(None) };
            let Some(lf) = memchr::memchr(b'\n', rest) else { return Ok(None) };
            start = input.len() - rest.len();
            end = start + lf + 1;
        }
    }

    fn line_in_buf(&mut self, input: &mut &[u8], n: usize) -> Step {
        self.buf.extend_from_slice(&input[..n]);
        *input = &input[n..];
        match check_line(&self.buf, self.line_start) {
            Err(error) => Step::Error(error),
            Ok(None) => Step::InBuf,
            Ok(Some((at, literal))) => self.literal(self.line_start + at, literal.octets),
        }
    }

    fn literal(&mut self, at: usize, octets: u64) -> Step {
        let limit = self.config.literal_octets_max;
        if octets > limit {
            return Step::Error(Error::LiteralTooLarge { octets, limit });
        }
        if octets > self.config.literal_held_max {
            self.buf.truncate(self.buf.len() - 2);
            self.buf.push(0);
            self.state = State::Stream { left: octets };
            return Step::Start { so_far: at, octets };
        }
        if self.buf.len() as u64 + octets > self.config.response_octets_max as u64 {
            return Step::Error(Error::TooLong { limit: self.config.response_octets_max });
        }
        self.state = State::Literal { left: octets };
        Step::Again
    }
}

impl fmt::Debug for ResponseDecoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseDecoder")
            .field("state", &self.state)
            .field("held", &self.buf.len())
            .finish_non_exhaustive()
    }
}

/// The literal that the response's last line, from `start`, announces.
fn check_line(response: &[u8], start: usize) -> Result<Option<(usize, LiteralSpec)>, Error> {
    let line = &response[start..];
    let Some(line) = line.strip_suffix(b"\r\n") else { return Err(Error::BareLf) };
    if memchr::memchr(0, line).is_some() {
        return Err(Error::Nul);
    }
    if start == 0 && is_text(line) {
        return Ok(None);
    }
    Ok(literal_outside_quotes(line).filter(|(_, literal)| literal.sync))
}

/// Status responses and continuations end in free text, in which braces and quotes mean nothing.
fn is_text(line: &[u8]) -> bool {
    let Some(rest) = line.strip_prefix(b"* ") else { return true };
    let word = rest.split(|b| *b == b' ').next().unwrap_or_default();
    [&b"OK"[..], b"NO", b"BAD", b"BYE", b"PREAUTH"].iter().any(|k| word.eq_ignore_ascii_case(k))
}

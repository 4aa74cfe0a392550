//! From octets to whole commands: the server's side of framing.

use std::fmt;

use crate::chars::{self, TAG};
use crate::command::AppendHead;
use crate::config::FrameLimits;
use crate::error::FrameErrorKind as Kind;
use crate::frame::{LiteralSpec, QuoteScan, literal_at_end, literal_outside_quotes};
use crate::lex::strip_word;
use crate::{Command, Config, FrameError, ParseError, ParseLimits, Quirks, Tag};

/// Finds the commands in a client's octets, whichever way they are cut.
///
/// Hand it input with [`decode`](Self::decode) until it says [`Event::NeedMore`]. It holds at most
/// one unfinished command; a command that arrives in one piece is not copied. The message of an APPEND is never held.
pub struct CommandDecoder {
    config: Config,
    authenticated: bool,
    state: State,
    /// The unfinished command, literals in place. In `Discard`, the last octets of the line being skipped.
    buf: Vec<u8>,
    /// Where the current line starts in `buf`.
    line_start: usize,
    /// Octets of this command outside its literals.
    line_octets: usize,
    /// The tag of an APPEND whose message is under way.
    tag: Option<Tag<'static>>,
    /// `buf` was lent out with the last event.
    lent: bool,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Line,
    Raw,
    Literal { left: usize },
    Offered(LiteralSpec),
    Body { left: u64 },
    AfterBody,
    Discard { quotes: QuoteScan },
    DiscardRaw,
    DiscardLiteral { left: u64 },
}

/// What the decoder found.
#[derive(PartialEq, Eq)]
pub enum Event<'b> {
    /// All input is consumed and no event is complete.
    NeedMore,
    /// A whole command.
    Command(RawCommand<'b>),
    /// The client waits before it sends a literal: send `+ OK` CRLF.
    Continue,
    /// An APPEND up to its message. Answer with [`CommandDecoder::accept_message`] or [`CommandDecoder::refuse_message`] before the
    /// next `decode`, which otherwise refuses.
    Append(AppendStart<'b>),
    /// The next octets of the message accepted, as they are.
    MessageChunk(&'b [u8]),
    /// The message and its command are complete: store it and answer. Without this event it must not be stored. The
    /// command parses, with [`Payload::Streamed`](crate::Payload::Streamed) for what was handed out: with
    /// [`Config::append_more`] a server must parse it before it stores anything.
    MessageEnd(RawCommand<'b>),
    /// The line asked for with [`CommandDecoder::expect_line`], without CRLF.
    Line(RawLine<'b>),
    /// The client broke the framing; the decoder skips what belongs to the refused command. Answer BAD (or NO) with the error's
    /// tag and go on.
    Error(FrameError),
}

/// A framed command, not yet parsed. `Debug` shows no octets, as they may hold a password.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct RawCommand<'b>(&'b [u8]);

impl<'b> RawCommand<'b> {
    /// Parses it.
    pub fn parse(self, limits: &ParseLimits) -> Result<Command<'b>, ParseError> {
        Command::parse(self.0, limits)
    }

    /// Its octets, without the final CRLF.
    pub fn as_bytes(self) -> &'b [u8] {
        self.0
    }
}

/// A line outside the command grammar: a SASL response, or IDLE's DONE. `Debug` shows no octets.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct RawLine<'b>(&'b [u8]);

impl<'b> RawLine<'b> {
    /// Its octets, without CRLF.
    pub fn as_bytes(self) -> &'b [u8] {
        self.0
    }
}

/// An APPEND whose message is about to come.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct AppendStart<'b> {
    text: &'b [u8],
    /// The message's announcement.
    pub literal: LiteralSpec,
}

impl<'b> AppendStart<'b> {
    /// Parses tag, mailbox, flags and date.
    pub fn parse(self, limits: &ParseLimits) -> Result<(Tag<'b>, AppendHead<'b>), ParseError> {
        crate::command::append_start(self.text, limits)
    }
}

impl fmt::Debug for Event<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Event::NeedMore => f.write_str("NeedMore"),
            Event::Command(c) => write!(f, "Command({} octets)", c.0.len()),
            Event::Continue => f.write_str("Continue"),
            Event::Append(a) => write!(f, "Append({:?})", a.literal),
            Event::MessageChunk(c) => write!(f, "MessageChunk({} octets)", c.len()),
            Event::MessageEnd(c) => write!(f, "MessageEnd({} octets)", c.0.len()),
            Event::Line(l) => write!(f, "Line({} octets)", l.0.len()),
            Event::Error(e) => write!(f, "Error({e:?})"),
        }
    }
}

/// The outcome of one step, before octets are lent out.
enum Step {
    Again,
    NeedMore,
    /// A line complete within the input: so many octets with CRLF.
    InInput(usize),
    InBuf,
    Append {
        text: usize,
        literal: LiteralSpec,
    },
    Continue,
    Chunk(usize),
    MessageEnd,
    Error(FrameError),
}

impl CommandDecoder {
    /// A decoder for a new connection.
    pub fn new(config: Config) -> Self {
        Self {
            config,
            authenticated: false,
            state: State::Line,
            buf: Vec::new(),
            line_start: 0,
            line_octets: 0,
            tag: None,
            lent: false,
        }
    }

    /// Which limits apply from the next line on, and whether APPEND is known.
    pub fn set_authenticated(&mut self, authenticated: bool) {
        self.authenticated = authenticated;
    }

    /// Takes the next line as it is: after the `+` of AUTHENTICATE or IDLE. Call it between commands.
    pub fn expect_line(&mut self) {
        debug_assert!(matches!(self.state, State::Line), "in the middle of a command");
        self.state = State::Raw;
    }

    /// Takes the message that [`Event::Append`] announced. If its literal is synchronizing, send `+ OK` CRLF.
    pub fn accept_message(&mut self) {
        if let State::Offered(literal) = self.state {
            self.state = State::Body { left: literal.octets };
        }
    }

    /// Does not take the message; if it comes unasked, it is skipped. Answer NO or BAD.
    pub fn refuse_message(&mut self) {
        if let State::Offered(literal) = self.state {
            self.skip_literal(literal);
        }
    }

    /// For STARTTLS: forgets everything read in plain text, here and in `input`, and starts anew. Says how many octets that
    /// were: more than none is an attempt to inject commands, worth a line in the log.
    pub fn discard_plaintext(&mut self, input: &mut &[u8]) -> usize {
        self.take_back();
        let discarded = self.buf.len() + input.len();
        *input = &[];
        self.start_command();
        self.authenticated = false;
        self.tag = None;
        discarded
    }

    /// Octets held for an unfinished command.
    pub fn held(&self) -> usize {
        if self.lent { 0 } else { self.buf.len() }
    }

    /// Whether the decoder stands between two commands.
    pub fn is_idle(&self) -> bool {
        self.held() == 0 && matches!(self.state, State::Line)
    }

    /// Advances over `input` to the next event. Call again with what is left of it; after [`Event::NeedMore`], with more.
    pub fn decode<'b, 'i: 'b>(&'b mut self, input: &mut &'i [u8]) -> Event<'b> {
        self.take_back();
        if let Some(n) = self.plain_line(input) {
            return Event::Command(RawCommand(&take(input, n)[..n - 2]));
        }
        loop {
            let raw = matches!(self.state, State::Raw);
            let whole = |line: &'b [u8]| {
                let line = without_end(line);
                if raw { Event::Line(RawLine(line)) } else { Event::Command(RawCommand(line)) }
            };
            match self.step(input) {
                Step::Again => {}
                Step::NeedMore => return Event::NeedMore,
                Step::InInput(n) => {
                    // Nothing of it was buffered.
                    self.state = State::Line;
                    return whole(take(input, n));
                }
                Step::InBuf => {
                    self.state = State::Line;
                    self.lent = true;
                    return whole(&self.buf);
                }
                Step::Append { text, literal } => {
                    return Event::Append(AppendStart { text: self.buf[..text].trim_ascii_end(), literal });
                }
                Step::Continue => return Event::Continue,
                Step::Chunk(n) => return Event::MessageChunk(take(input, n)),
                Step::MessageEnd => {
                    self.lent = true;
                    return Event::MessageEnd(RawCommand(&self.buf[..self.buf.len() - 2]));
                }
                Step::Error(error) => return Event::Error(error),
            }
        }
    }

    /// How long the command is that stands whole and without literals at the start of `input`: what most of them are. Everything
    /// else takes the long way through [`step`](Self::step), to the same events.
    #[inline]
    fn plain_line(&self, input: &[u8]) -> Option<usize> {
        if !matches!(self.state, State::Line) || !self.buf.is_empty() {
            return None;
        }
        let window = &input[..input.len().min(self.limits().line_octets_max)];
        let lf = memchr::memchr(b'\n', window)?;
        let plain = window[..lf].ends_with(b"\r") && !window[..lf].ends_with(b"}\r");
        plain.then_some(lf + 1)
    }

    /// Empties the buffer that the last event borrowed.
    #[inline]
    fn take_back(&mut self) {
        if self.lent {
            self.lent = false;
            self.forget_text();
        }
        if matches!(self.state, State::Offered(_)) {
            self.refuse_message();
        }
    }

    fn forget_text(&mut self) {
        self.buf.clear();
        self.buf.shrink_to(4096);
        self.line_start = 0;
        self.line_octets = 0;
        self.tag = None;
    }

    fn start_command(&mut self) {
        self.state = State::Line;
        self.forget_text();
    }

    fn limits(&self) -> &FrameLimits {
        if self.authenticated { &self.config.authenticated } else { &self.config.pre_auth }
    }

    fn bare_lf(&self) -> bool {
        self.config.parse.quirks.contains(Quirks::BARE_LF)
    }

    fn step(&mut self, input: &mut &[u8]) -> Step {
        match self.state {
            State::Body { left: 0 } => {
                self.line_start = self.buf.len();
                self.state = State::AfterBody;
                Step::Again
            }
            State::Literal { left: 0 } => {
                self.line_start = self.buf.len();
                self.state = if self.tag.is_some() { State::AfterBody } else { State::Line };
                Step::Again
            }
            State::DiscardLiteral { left: 0 } => {
                self.start_discard(QuoteScan::new());
                Step::Again
            }
            _ if input.is_empty() => Step::NeedMore,
            State::Line | State::Raw | State::AfterBody => self.line(input),
            State::Literal { left } => {
                let data = take(input, left.min(input.len()));
                self.buf.extend_from_slice(data);
                self.state = State::Literal { left: left - data.len() };
                Step::Again
            }
            State::Body { left } => {
                let n = at_most(left, input.len());
                self.state = State::Body { left: left - n as u64 };
                Step::Chunk(n)
            }
            State::DiscardLiteral { left } => {
                let n = at_most(left, input.len());
                take(input, n);
                self.state = State::DiscardLiteral { left: left - n as u64 };
                Step::Again
            }
            State::Discard { quotes } => self.discard_line(input, quotes),
            State::DiscardRaw => self.discard_raw(input),
            State::Offered(_) => {
                self.refuse_message();
                Step::Again
            }
        }
    }

    /// Looks for the end of the line, within the limit: what lies beyond does not change the outcome, so any split gives
    /// the same events.
    fn line(&mut self, input: &mut &[u8]) -> Step {
        let limits = self.limits();
        let of_line = (limits.line_octets_max.saturating_sub(self.line_octets), limits.line_octets_max);
        let of_command =
            (limits.command_octets_max.saturating_sub(self.buf.len()), limits.command_octets_max);
        let (room, limit) = of_line.min(of_command);
        let window = &input[..input.len().min(room + 1)];
        let Some(lf) = memchr::memchr(b'\n', window).filter(|lf| *lf < room) else {
            // What is beyond the limit stays: it may be the line's end, which ends the skipping too.
            let over = window.len() > room;
            let taken = take(input, window.len().min(room));
            self.buf.extend_from_slice(taken);
            self.line_octets += taken.len();
            return if over { self.refuse(Kind::LineTooLong { limit }) } else { Step::NeedMore };
        };
        let n = lf + 1;
        let before = if lf > 0 { Some(input[lf - 1]) } else { self.buf[self.line_start..].last().copied() };
        let bare = before != Some(b'\r');
        if bare && !self.bare_lf() {
            self.buf.extend_from_slice(take(input, n));
            return self.refuse(Kind::BareLf);
        }
        if bare && n == room {
            // There is no room for the CR that belongs before the LF, which stays to end the skipping.
            self.buf.extend_from_slice(take(input, lf));
            return self.refuse(Kind::LineTooLong { limit });
        }
        if self.buf.is_empty() && self.whole_in_input(&input[..n]) {
            return Step::InInput(n);
        }
        self.buf.extend_from_slice(take(input, n));
        self.line_octets += n;
        if bare {
            self.buf.pop();
            self.buf.extend_from_slice(b"\r\n");
        }
        self.line_in_buf()
    }

    fn whole_in_input(&self, line: &[u8]) -> bool {
        match self.state {
            State::Raw => true,
            State::Line => {
                let line = without_end(line);
                !line.ends_with(b"}") || literal_outside_quotes(line).is_none()
            }
            _ => false,
        }
    }

    /// `buf` ends in CRLF.
    fn line_in_buf(&mut self) -> Step {
        let line = &self.buf[self.line_start..self.buf.len() - 2];
        let literal = literal_outside_quotes(line);
        match (self.state, literal) {
            (State::Raw, _) => Step::InBuf,
            (State::AfterBody, None) if line.is_empty() || self.config.append_more => {
                self.state = State::Line;
                self.tag = None;
                Step::MessageEnd
            }
            (State::AfterBody, literal) if !self.config.append_more => {
                self.after_message(literal.map(|(_, l)| l))
            }
            (_, None) => Step::InBuf,
            (_, Some((at, literal))) => self.literal(self.line_start + at, literal),
        }
    }

    fn literal(&mut self, at: usize, literal: LiteralSpec) -> Step {
        if self.config.literal_minus && !literal.sync && literal.octets > NON_SYNC_MAX {
            let error = self.error(Kind::NonSyncTooLarge { octets: literal.octets });
            self.skip_literal(literal);
            return error;
        }
        if self.authenticated && message_follows(&self.buf[..at]) {
            return self.message(at, literal);
        }
        let limits = *self.limits();
        let held = self.buf.len() as u64;
        let room = (limits.command_octets_max as u64).saturating_sub(held);
        let limit = room.min(limits.literal_octets_max as u64);
        if literal.octets > limit {
            let error = self.error(Kind::LiteralTooLarge { octets: literal.octets, limit });
            self.skip_literal(literal);
            return error;
        }
        self.state = State::Literal { left: literal.octets as usize };
        if literal.sync { Step::Continue } else { Step::Again }
    }

    fn message(&mut self, at: usize, literal: LiteralSpec) -> Step {
        let limit = self.config.append_octets_max;
        if literal.octets > limit {
            let error = self.error(Kind::MessageTooLarge { octets: literal.octets, limit });
            self.skip_literal(literal);
            return error;
        }
        self.tag = tag_of(&self.buf);
        // NUL marks where the message was: no peer can send one there.
        self.buf.truncate(self.buf.len() - 2);
        self.buf.push(0);
        self.state = State::Offered(literal);
        Step::Append { text: at, literal }
    }

    fn after_message(&mut self, literal: Option<LiteralSpec>) -> Step {
        let error = FrameError { tag: self.tag.take(), kind: Kind::AfterMessage };
        match literal {
            Some(literal) => self.skip_literal(literal),
            None => self.start_command(),
        }
        Step::Error(error)
    }

    fn error(&self, kind: Kind) -> Step {
        let tag = match self.state {
            State::AfterBody => self.tag.clone(),
            State::Raw => None,
            _ => tag_of(&self.buf),
        };
        Step::Error(FrameError { tag, kind })
    }

    /// Refuses a command whose line is unfinished; its octets so far are in `buf`.
    fn refuse(&mut self, kind: Kind) -> Step {
        let error = self.error(kind);
        if matches!(self.state, State::Raw) {
            self.start_command();
            if kind != Kind::BareLf {
                self.state = State::DiscardRaw;
            }
            return error;
        }
        let mut quotes = QuoteScan::new();
        let line = self.buf.split_off(self.line_start);
        quotes.feed(&line);
        self.start_discard(quotes);
        self.buf.extend_from_slice(&line[line.len().saturating_sub(TAIL)..]);
        error
    }

    /// The command is refused at this literal.
    fn skip_literal(&mut self, literal: LiteralSpec) {
        self.start_command();
        if !literal.sync {
            self.state = State::DiscardLiteral { left: literal.octets };
        }
    }

    fn start_discard(&mut self, quotes: QuoteScan) {
        self.forget_text();
        self.state = State::Discard { quotes };
    }

    /// Skips a line, and knows at its end whether a literal belongs to it.
    fn discard_line(&mut self, input: &mut &[u8], mut quotes: QuoteScan) -> Step {
        let end = memchr::memchr(b'\n', input).map_or(input.len(), |lf| lf + 1);
        let taken = take(input, end);
        quotes.feed(taken);
        self.buf.extend_from_slice(&taken[taken.len().saturating_sub(TAIL)..]);
        let cut = self.buf.len().saturating_sub(TAIL);
        self.buf.drain(..cut);
        self.state = State::Discard { quotes };
        let Some(line) = self.buf.strip_suffix(b"\n") else { return Step::Again };
        let Some(line) = line.strip_suffix(b"\r").or(self.bare_lf().then_some(line)) else {
            return Step::Again;
        };
        match literal_at_end(line) {
            Some((_, literal)) if !quotes.inside() => self.skip_literal(literal),
            _ => self.start_command(),
        }
        Step::Again
    }

    fn discard_raw(&mut self, input: &mut &[u8]) -> Step {
        let end = memchr::memchr(b'\n', input).map_or(input.len(), |lf| lf + 1);
        if take(input, end).ends_with(b"\n") {
            self.start_command();
        }
        Step::Again
    }
}

impl fmt::Debug for CommandDecoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CommandDecoder")
            .field("state", &self.state)
            .field("held", &self.held())
            .finish_non_exhaustive()
    }
}

/// The largest non-synchronizing literal under LITERAL- (RFC 7888 section 5).
const NON_SYNC_MAX: u64 = 4096;

/// Enough to recognize a literal's announcement with 64 bits of length, zeros in front included up to a point.
const TAIL: usize = 64;

fn take<'b>(input: &mut &'b [u8], n: usize) -> &'b [u8] {
    let (taken, rest) = input.split_at(n);
    *input = rest;
    taken
}

/// A line without its CRLF, or its LF.
fn without_end(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r\n").or(line.strip_suffix(b"\n")).unwrap_or(line)
}

fn at_most(left: u64, available: usize) -> usize {
    usize::try_from(left).map_or(available, |left| left.min(available))
}

fn tag_of(command: &[u8]) -> Option<Tag<'static>> {
    let n = chars::span(command, TAG);
    let tag = Tag::from_bytes(&command[..n]).filter(|_| command.get(n) == Some(&b' '));
    tag.map(Tag::into_owned)
}

/// Whether the literal after `text` is a message of an APPEND or REPLACE, and not its mailbox or a URL.
fn message_follows(text: &[u8]) -> bool {
    let rest = &text[chars::span(text, TAG)..];
    let rest = strip_word(rest, b" UID").unwrap_or(rest);
    let arguments = match strip_word(rest, b" REPLACE ") {
        Some(rest) => memchr::memchr(b' ', rest).map(|sp| &rest[sp + 1..]),
        None => strip_word(rest, b" APPEND "),
    };
    let url = text.len() > 5
        && strip_word(&text[text.len() - 5..], b" URL ")
            .or(strip_word(&text[text.len() - 5..], b"(URL "))
            .is_some();
    arguments.is_some_and(|rest| !rest.is_empty()) && !url
}

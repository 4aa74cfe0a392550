//! The client's side of the wire: replies out of pieces of any size.

use memchr::memchr;

use crate::reply::{Enhanced, Reply, parse_line, split_enhanced};

/// Limits of a [`ReplyReceiver`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplyConfig {
    /// Longest line in octets with CRLF (RFC 5321 §4.5.3.1.5 asks for 512).
    pub line_max: usize,
    /// Most lines of one reply.
    pub lines_max: usize,
}

impl Default for ReplyConfig {
    fn default() -> Self {
        Self { line_max: 4096, lines_max: 128 }
    }
}

/// The server's reply makes no sense: the place in the stream is lost, so close the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReplyError {
    /// No CRLF within the limit.
    #[error("reply line longer than {limit} octets")]
    LineTooLong {
        /// [`ReplyConfig::line_max`]
        limit: usize,
    },
    /// More lines than the limit.
    #[error("reply of more than {limit} lines")]
    TooManyLines {
        /// [`ReplyConfig::lines_max`]
        limit: usize,
    },
    /// Not `3DIGIT (SP / "-") text`, or not ended by CRLF.
    #[error("malformed reply line")]
    Malformed,
    /// Lines of one reply with different codes (RFC 5321 §4.2.1).
    #[error("reply code changed within a reply")]
    CodeChanged,
}

/// Reads replies as a state machine without I/O.
///
/// Driving contract: for each piece of input call [`ReplyReceiver::next`] until it returns `None`; the input is
/// then empty. After an error close the connection. After STARTTLS's 220 call [`ReplyReceiver::start_tls`].
#[derive(Debug, Default)]
pub struct ReplyReceiver {
    config: ReplyConfig,
    line: Vec<u8>,
    partial: Option<Partial>,
}

#[derive(Debug)]
struct Partial {
    code: u16,
    enhanced: Option<Enhanced>,
    text: String,
    lines: usize,
}

impl ReplyReceiver {
    /// At the start of a connection.
    pub fn new(config: ReplyConfig) -> Self {
        Self { config, line: Vec::new(), partial: None }
    }

    /// The next reply, or `None` when all input is taken.
    pub fn next(&mut self, input: &mut &[u8]) -> Option<Result<Reply, ReplyError>> {
        loop {
            let end = memchr(b'\n', input).map(|at| at + 1);
            let (piece, rest) = input.split_at(end.unwrap_or(input.len()));
            if self.line.len() + piece.len() > self.config.line_max {
                return Some(Err(ReplyError::LineTooLong { limit: self.config.line_max }));
            }
            *input = rest;
            if end.is_none() {
                self.line.extend_from_slice(piece);
                return None;
            }
            if let Some(reply) = self.whole_line(piece).transpose() {
                return Some(reply);
            }
        }
    }

    /// A line whose end has come; its beginning may have come before.
    fn whole_line(&mut self, end: &[u8]) -> Result<Option<Reply>, ReplyError> {
        if self.line.is_empty() {
            return self.line(end);
        }
        let mut line = std::mem::take(&mut self.line);
        line.extend_from_slice(end);
        let reply = self.line(&line);
        self.line = line;
        self.line.clear();
        reply
    }

    /// STARTTLS was answered by 220: everything that came in the clear behind it is thrown away, what the receiver holds
    /// as well as the rest of `input`. Returns how many octets that were; any at all means an attacker. What EHLO said
    /// before is void as well.
    pub fn start_tls(&mut self, input: &mut &[u8]) -> usize {
        let held = self.line.len() + self.partial.as_ref().map_or(0, |partial| partial.text.len());
        let dropped = held + input.len();
        *input = &[];
        *self = Self::new(self.config.clone());
        dropped
    }

    fn line(&mut self, line: &[u8]) -> Result<Option<Reply>, ReplyError> {
        let line = line.strip_suffix(b"\r\n").ok_or(ReplyError::Malformed)?;
        let line = String::from_utf8_lossy(line);
        let line = parse_line(&line).ok_or(ReplyError::Malformed)?;
        let mut partial = match self.partial.take() {
            None => Partial::start(line.code, line.text),
            Some(partial) => partial.add(line.code, line.text, self.config.lines_max)?,
        };
        if line.last {
            let text = std::mem::take(&mut partial.text);
            return Ok(Some(Reply::from_parts(partial.code, partial.enhanced, text)));
        }
        self.partial = Some(partial);
        Ok(None)
    }
}

impl Partial {
    fn start(code: u16, text: &str) -> Self {
        let (enhanced, text) = match split_enhanced(code, text) {
            Some((enhanced, rest)) => (Some(enhanced), rest),
            None => (None, text),
        };
        Self { code, enhanced, text: text.to_owned(), lines: 1 }
    }

    fn add(mut self, code: u16, text: &str, lines_max: usize) -> Result<Self, ReplyError> {
        if code != self.code {
            return Err(ReplyError::CodeChanged);
        }
        if self.lines >= lines_max {
            return Err(ReplyError::TooManyLines { limit: lines_max });
        }
        let text = match (self.enhanced, split_enhanced(code, text)) {
            (Some(own), Some((enhanced, rest))) if own == enhanced => rest,
            _ => text,
        };
        self.lines += 1;
        self.text.push('\n');
        self.text.push_str(text);
        Ok(self)
    }
}

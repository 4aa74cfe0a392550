//! Lines that end in CRLF and nothing else, out of pieces of any size.

use memchr::{memchr, memchr3};

use crate::{ProtocolError, Quirks};

/// Holds the beginning of a line whose end has not come yet; a line that arrives whole is never copied.
#[derive(Debug, Default)]
pub(crate) struct LineBuffer {
    /// Whether LF alone ends a line as well.
    bare_lf: bool,
    spill: Vec<u8>,
    /// `spill` holds a whole line that was handed out by the last call.
    complete: bool,
    /// While skipping: the last octet was CR.
    skip_cr: bool,
}

pub(crate) enum Found<'i> {
    /// All input is taken; more is needed.
    Incomplete,
    /// A line, without CRLF, in the input.
    Whole(&'i [u8]),
    /// A line, without CRLF, in [`LineBuffer::spilled`].
    Spilled,
    /// The line is bad up to here; go on with [`LineBuffer::skip`].
    Bad(ProtocolError),
}

impl LineBuffer {
    pub(crate) fn new(quirks: Quirks) -> Self {
        Self { bare_lf: quirks.contains(Quirks::BARE_LF), ..Self::default() }
    }

    /// The next line of at most `limit` octets with CRLF.
    #[inline]
    pub(crate) fn take<'i>(&mut self, input: &mut &'i [u8], limit: usize) -> Found<'i> {
        if self.spill.is_empty() {
            let window = &input[..limit.min(input.len())];
            if let Some(at) = memchr3(b'\r', b'\n', 0, window) {
                if let [b'\r', b'\n', ..] = window[at..] {
                    let line = &window[..at];
                    *input = &input[at + 2..];
                    return Found::Whole(line);
                }
            }
        }
        self.take_split(input, limit)
    }

    /// A line that is not whole in the input, or not good.
    #[cold]
    fn take_split<'i>(&mut self, input: &mut &'i [u8], limit: usize) -> Found<'i> {
        if std::mem::take(&mut self.complete) {
            self.clear();
        }
        if self.spill.last() == Some(&b'\r') {
            return self.after_cr(input);
        }
        let room = limit.saturating_sub(self.spill.len());
        let window = &input[..room.min(input.len())];
        match memchr3(b'\r', b'\n', 0, window) {
            None if window.len() == room => self.too_long(input, room, limit),
            None => self.keep(input),
            Some(at) if window[at] == b'\n' && self.bare_lf => self.whole(input, at, 1),
            Some(at) if window[at] == b'\n' => self.bad(input, at + 1, ProtocolError::BareLf),
            Some(at) if window[at] == 0 => self.bad(input, at + 1, ProtocolError::Nul),
            Some(at) if at + 1 == room => self.too_long(input, room, limit),
            Some(at) => match input.get(at + 1) {
                None => self.keep(input),
                Some(b'\n') => self.whole(input, at, 2),
                Some(_) => self.bad(input, at + 1, ProtocolError::BareCr),
            },
        }
    }

    /// The line that [`Found::Spilled`] spoke of.
    pub(crate) fn spilled(&self) -> &[u8] {
        &self.spill
    }

    pub(crate) fn buffered(&self) -> usize {
        if self.complete { 0 } else { self.spill.len() }
    }

    /// Forgets what it holds; overwritten, since it may have been a password.
    pub(crate) fn clear(&mut self) {
        self.spill.fill(0);
        self.spill.clear();
        self.complete = false;
    }

    /// Drops octets through the next CRLF; true once it is found. `left` counts down what may be dropped.
    pub(crate) fn skip(&mut self, input: &mut &[u8], left: &mut usize) -> bool {
        while let Some(at) = memchr(b'\n', input) {
            let after_cr = if at == 0 { self.skip_cr } else { input[at - 1] == b'\r' };
            *left = left.saturating_sub(at + 1);
            *input = &input[at + 1..];
            self.skip_cr = false;
            if after_cr {
                return true;
            }
        }
        *left = left.saturating_sub(input.len());
        if let Some(last) = input.last() {
            self.skip_cr = *last == b'\r';
        }
        *input = &[];
        false
    }

    fn after_cr<'i>(&mut self, input: &mut &'i [u8]) -> Found<'i> {
        match input.first() {
            None => Found::Incomplete,
            Some(b'\n') => {
                *input = &input[1..];
                self.spill.pop();
                self.complete = true;
                Found::Spilled
            }
            Some(_) => self.bad(input, 0, ProtocolError::BareCr),
        }
    }

    /// A line of `at` octets and an end of `end`.
    fn whole<'i>(&mut self, input: &mut &'i [u8], at: usize, end: usize) -> Found<'i> {
        let line = &input[..at];
        *input = &input[at + end..];
        if self.spill.is_empty() {
            return Found::Whole(line);
        }
        self.spill.extend_from_slice(line);
        self.complete = true;
        Found::Spilled
    }

    fn keep<'i>(&mut self, input: &mut &'i [u8]) -> Found<'i> {
        self.spill.extend_from_slice(input);
        *input = &[];
        Found::Incomplete
    }

    fn too_long<'i>(&mut self, input: &mut &'i [u8], room: usize, limit: usize) -> Found<'i> {
        self.bad(input, room, ProtocolError::LineTooLong { limit })
    }

    fn bad<'i>(&mut self, input: &mut &'i [u8], taken: usize, error: ProtocolError) -> Found<'i> {
        self.skip_cr = taken > 0 && input[taken - 1] == b'\r';
        self.clear();
        *input = &input[taken..];
        Found::Bad(error)
    }
}

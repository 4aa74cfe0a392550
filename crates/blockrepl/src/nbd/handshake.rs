//! The fixed newstyle negotiation, out of bytes in any split.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::proto::{
    INIT_MAGIC, OPTION_MAGIC, OPTION_REPLY_MAGIC, STRING_MAX, export, handshake, info, option, rep,
};
use super::reply::Style;
use super::{Limits, NbdError};

/// The only metadata context there is.
const ALLOCATION: &[u8] = b"base:allocation";
/// Its number in this session.
const ALLOCATION_ID: u32 = 1;
/// What every export can do; `SEND_DF` only with structured replies.
const ABILITIES: u16 = export::HAS_FLAGS
    | export::SEND_FLUSH
    | export::SEND_FUA
    | export::SEND_TRIM
    | export::SEND_WRITE_ZEROES
    | export::CAN_MULTI_CONN
    | export::SEND_FAST_ZERO;

/// An export as the negotiation shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportInfo {
    /// Its name; an empty one asked for means the first export.
    pub name: String,
    /// A description for people; may be empty.
    pub description: String,
    /// In bytes.
    pub size: u64,
    /// Whether writes are refused.
    pub read_only: bool,
}

/// What `STARTTLS` is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsPolicy {
    /// Refused by policy; also the state once TLS has begun.
    Off,
    /// Possible.
    Offered,
    /// Nothing else is answered before it.
    Required,
}

/// What the client chose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session {
    /// Index of the export.
    pub export: usize,
    /// How to reply.
    pub style: Style,
    /// The number of `base:allocation`, if the client set it for this export.
    pub allocation: Option<u32>,
}

/// Where the negotiation stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Send what is in `out`, then give more bytes.
    More,
    /// Send what is in `out`; the rest of the input are requests.
    Start(Session),
    /// Send what is in `out`, then begin TLS as its server and go on.
    StartTls,
    /// Send what is in `out`, then hang up.
    Abort,
}

/// A server's side of one negotiation. It does no I/O; call [`greet`](Self::greet) once, then
/// [`handle`](Self::handle) whenever bytes came in.
#[derive(Debug)]
pub struct Negotiation {
    exports: Vec<ExportInfo>,
    limits: Limits,
    tls: TlsPolicy,
    client_flags: Option<u32>,
    options: u32,
    structured: bool,
    /// The export for which `base:allocation` was set.
    context: Option<usize>,
}

/// An option's data were not what they should be.
struct Malformed;

impl Negotiation {
    /// A negotiation about `exports`.
    pub fn new(exports: Vec<ExportInfo>, limits: Limits, tls: TlsPolicy) -> Self {
        Negotiation { exports, limits, tls, client_flags: None, options: 0, structured: false, context: None }
    }

    /// Appends what a server says first.
    pub fn greet(&self, out: &mut BytesMut) {
        out.put_u64(INIT_MAGIC);
        out.put_u64(OPTION_MAGIC);
        out.put_u16((handshake::FIXED_NEWSTYLE | handshake::NO_ZEROES) as u16);
    }

    /// Takes all whole options out of `input` and appends the answers to `out`. After an error
    /// send what is in `out`, then hang up.
    pub fn handle(&mut self, input: &mut BytesMut, out: &mut BytesMut) -> Result<Step, NbdError> {
        if self.client_flags.is_none() {
            let Some(mut head) = input.get(..4) else { return Ok(Step::More) };
            let flags = head.get_u32();
            if flags & !(handshake::FIXED_NEWSTYLE | handshake::NO_ZEROES) != 0 {
                return Err(NbdError::ClientFlags(flags));
            }
            input.advance(4);
            self.client_flags = Some(flags);
        }
        while let Some((number, data)) = self.next_option(input, out)? {
            match self.option(number, data, out)? {
                Step::More => {}
                Step::StartTls if !input.is_empty() => return Err(NbdError::ClearAfterStartTls),
                step => return Ok(step),
            }
        }
        Ok(Step::More)
    }

    fn next_option(
        &mut self,
        input: &mut BytesMut,
        out: &mut BytesMut,
    ) -> Result<Option<(u32, Bytes)>, NbdError> {
        // A magic that is wrong is told at once: a foreign client might wait for ever.
        if let Some(mut magic) = input.get(..8)
            && magic.get_u64() != OPTION_MAGIC
        {
            let mut magic = &input[..8];
            return Err(NbdError::OptionMagic(magic.get_u64()));
        }
        let Some(mut head) = input.get(8..16) else { return Ok(None) };
        let (number, len) = (head.get_u32(), head.get_u32());
        if len > self.limits.option {
            answer(out, number, rep::ERR_TOO_BIG, b"the option's data are too long");
            return Err(NbdError::OptionTooLong { option: number, len, limit: self.limits.option });
        }
        if input.len() < 16 + len as usize {
            return Ok(None);
        }
        self.options += 1;
        if self.options > self.limits.options {
            return Err(NbdError::TooManyOptions(self.limits.options));
        }
        input.advance(16);
        Ok(Some((number, input.split_to(len as usize).freeze())))
    }

    fn option(&mut self, number: u32, data: Bytes, out: &mut BytesMut) -> Result<Step, NbdError> {
        let required = self.tls == TlsPolicy::Required;
        match number {
            option::ABORT => {
                answer(out, number, rep::ACK, b"");
                return Ok(Step::Abort);
            }
            option::STARTTLS => return Ok(self.start_tls(&data, out)),
            option::EXPORT_NAME if required => return Err(NbdError::TlsRequired),
            _ if required => answer(out, number, rep::ERR_TLS_REQD, b"ask for TLS first"),
            option::EXPORT_NAME => return self.export_name(&data, out),
            option::LIST => self.list(&data, out),
            option::INFO | option::GO => return Ok(self.go(number, data, out)),
            option::STRUCTURED_REPLY if data.is_empty() => {
                self.structured = true;
                answer(out, number, rep::ACK, b"");
            }
            option::STRUCTURED_REPLY => invalid(out, number),
            option::LIST_META_CONTEXT | option::SET_META_CONTEXT => self.meta_context(number, data, out),
            _ => answer(out, number, rep::ERR_UNSUP, b"this option is not known here"),
        }
        Ok(Step::More)
    }

    fn start_tls(&mut self, data: &[u8], out: &mut BytesMut) -> Step {
        if self.tls == TlsPolicy::Off {
            answer(out, option::STARTTLS, rep::ERR_POLICY, b"no TLS here, or TLS already");
            return Step::More;
        }
        if !data.is_empty() {
            invalid(out, option::STARTTLS);
            return Step::More;
        }
        answer(out, option::STARTTLS, rep::ACK, b"");
        // Whatever was said in the clear is forgotten.
        self.tls = TlsPolicy::Off;
        self.structured = false;
        self.context = None;
        Step::StartTls
    }

    fn find(&self, name: &[u8]) -> Option<usize> {
        match name {
            [] if !self.exports.is_empty() => Some(0),
            _ => self.exports.iter().position(|e| e.name.as_bytes() == name),
        }
    }

    fn session(&self, export: usize) -> Session {
        let style = if self.structured { Style::Structured } else { Style::Simple };
        let allocation = (self.context == Some(export)).then_some(ALLOCATION_ID);
        Session { export, style, allocation }
    }

    fn abilities(&self, export: &ExportInfo) -> u16 {
        let read_only = if export.read_only { export::READ_ONLY } else { 0 };
        let df = if self.structured { export::SEND_DF } else { 0 };
        ABILITIES | read_only | df
    }

    fn export_name(&self, name: &[u8], out: &mut BytesMut) -> Result<Step, NbdError> {
        let unknown = || NbdError::UnknownExport(String::from_utf8_lossy(name).chars().take(64).collect());
        let index = self.find(name).ok_or_else(unknown)?;
        let export = &self.exports[index];
        out.put_u64(export.size);
        out.put_u16(self.abilities(export));
        if self.client_flags.unwrap_or(0) & handshake::NO_ZEROES == 0 {
            out.put_bytes(0, 124);
        }
        Ok(Step::Start(self.session(index)))
    }

    fn list(&self, data: &[u8], out: &mut BytesMut) {
        if !data.is_empty() {
            return invalid(out, option::LIST);
        }
        for export in &self.exports {
            let (name, text) = (export.name.as_bytes(), export.description.as_bytes());
            answer_head(out, option::LIST, rep::SERVER, 4 + name.len() + text.len());
            out.put_u32(name.len() as u32);
            out.put_slice(name);
            out.put_slice(text);
        }
        answer(out, option::LIST, rep::ACK, b"");
    }

    fn go(&mut self, number: u32, data: Bytes, out: &mut BytesMut) -> Step {
        let Ok((name, wanted)) = parse_go(data) else {
            invalid(out, number);
            return Step::More;
        };
        let Some(index) = self.find(&name) else {
            answer(out, number, rep::ERR_UNKNOWN, b"no export of this name");
            return Step::More;
        };
        self.inform(number, &self.exports[index], &wanted, out);
        answer(out, number, rep::ACK, b"");
        if number == option::GO { Step::Start(self.session(index)) } else { Step::More }
    }

    fn inform(&self, number: u32, export: &ExportInfo, wanted: &[u16], out: &mut BytesMut) {
        answer_head(out, number, rep::INFO, 12);
        out.put_u16(info::EXPORT);
        out.put_u64(export.size);
        out.put_u16(self.abilities(export));
        answer_head(out, number, rep::INFO, 14);
        out.put_u16(info::BLOCK_SIZE);
        out.put_u32(1);
        out.put_u32(4096);
        out.put_u32(self.limits.payload);
        for (kind, text) in [(info::NAME, &export.name), (info::DESCRIPTION, &export.description)] {
            if wanted.contains(&kind) && (kind == info::NAME || !text.is_empty()) {
                answer_head(out, number, rep::INFO, 2 + text.len());
                out.put_u16(kind);
                out.put_slice(text.as_bytes());
            }
        }
    }

    fn meta_context(&mut self, number: u32, data: Bytes, out: &mut BytesMut) {
        let set = number == option::SET_META_CONTEXT;
        if set {
            self.context = None;
        }
        let Ok((name, queries)) = parse_queries(data) else {
            return invalid(out, number);
        };
        if !self.structured {
            return answer(out, number, rep::ERR_INVALID, b"ask for structured replies first");
        }
        let Some(index) = self.find(&name) else {
            return answer(out, number, rep::ERR_UNKNOWN, b"no export of this name");
        };
        let all = !set && queries.is_empty();
        let meant = |query: &Bytes| query == ALLOCATION || (!set && &query[..] == b"base:");
        if all || queries.iter().any(meant) {
            let id = if set { ALLOCATION_ID } else { 0 };
            answer_head(out, number, rep::META_CONTEXT, 4 + ALLOCATION.len());
            out.put_u32(id);
            out.put_slice(ALLOCATION);
            if set {
                self.context = Some(index);
            }
        }
        answer(out, number, rep::ACK, b"");
    }
}

fn answer_head(out: &mut BytesMut, option: u32, kind: u32, len: usize) {
    out.put_u64(OPTION_REPLY_MAGIC);
    out.put_u32(option);
    out.put_u32(kind);
    out.put_u32(len as u32);
}

/// An answer with words for people in it, or none.
fn answer(out: &mut BytesMut, option: u32, kind: u32, words: &[u8]) {
    answer_head(out, option, kind, words.len());
    out.put_slice(words);
}

fn invalid(out: &mut BytesMut, option: u32) {
    answer(out, option, rep::ERR_INVALID, b"the option's data are malformed");
}

fn take(data: &mut Bytes, len: usize) -> Result<Bytes, Malformed> {
    if len > data.len() { Err(Malformed) } else { Ok(data.split_to(len)) }
}

fn take_string(data: &mut Bytes) -> Result<Bytes, Malformed> {
    let len = take(data, 4)?.get_u32() as usize;
    if len > STRING_MAX { Err(Malformed) } else { take(data, len) }
}

/// Name and wanted kinds of information.
fn parse_go(mut data: Bytes) -> Result<(Bytes, Vec<u16>), Malformed> {
    let name = take_string(&mut data)?;
    let count = take(&mut data, 2)?.get_u16() as usize;
    if data.len() != 2 * count {
        return Err(Malformed);
    }
    Ok((name, (0..count).map(|_| data.get_u16()).collect()))
}

/// Name and queries.
fn parse_queries(mut data: Bytes) -> Result<(Bytes, Vec<Bytes>), Malformed> {
    let name = take_string(&mut data)?;
    let count = take(&mut data, 4)?.get_u32();
    let mut queries = Vec::new();
    // Each query takes four bytes at least, so a huge count ends the loop at once.
    for _ in 0..count {
        queries.push(take_string(&mut data)?);
    }
    if data.is_empty() { Ok((name, queries)) } else { Err(Malformed) }
}

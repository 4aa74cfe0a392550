//! APPEND and REPLACE (RFC 3501 section 6.3.11, RFCs 3502, 4469, 8508 and 9755).

use std::borrow::Cow;

use crate::datetime::date_time;
use crate::keyword::{keys, keyword};
use crate::lex::{Ctx, In, Res, after_sp, astring, expected, in_parens, map, peek, sp, strip_word, word};
use crate::own::into_owned;
use crate::sequence::seq_num;
use crate::text::mailbox;
use crate::write::Writer;
use crate::{Atom, DateTime, Flags, Mailbox, Opaque, Payload, SeqNum, chars};

/// What stands before a message that is about to come, but for other extensions' data, which the whole command has.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct AppendHead<'a> {
    /// Where to.
    pub mailbox: Mailbox<'a>,
    /// Flags to set at once.
    pub flags: Flags<'a>,
    /// The INTERNALDATE to keep; now if absent.
    pub date: Option<DateTime>,
    /// How many literals of this command came before it: 0 but for MULTIAPPEND and CATENATE.
    pub before: usize,
    /// What the literal is.
    pub kind: LiteralKind,
    /// The message that this one replaces, and whether it is named by UID (REPLACE, RFC 8508).
    pub replaces: Option<(bool, SeqNum)>,
}

/// What a literal of APPEND is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum LiteralKind {
    /// A whole message.
    Message,
    /// A whole message with UTF-8 in its header (RFC 9755 section 4).
    Utf8,
    /// A piece of a message (CATENATE, RFC 4469).
    Piece,
}

/// One message of APPEND.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct AppendMessage<'a> {
    /// Flags to set at once.
    pub flags: Flags<'a>,
    /// The INTERNALDATE to keep; now if absent.
    pub date: Option<DateTime>,
    /// Other extensions' data, by name.
    pub extensions: Vec<(Atom<'a>, Opaque<'a>)>,
    /// The message.
    pub data: AppendData<'a>,
}

/// What a message to be appended is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum AppendData<'a> {
    /// A literal.
    Message(Payload<'a>),
    /// A literal8, whatever it holds (RFC 3516).
    Binary(Payload<'a>),
    /// A message with UTF-8 in its header (RFC 9755 section 4).
    Utf8(Payload<'a>),
    /// Pieces to be put together (RFC 4469).
    Catenate(Vec<CatenatePart<'a>>),
}

/// A piece of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum CatenatePart<'a> {
    /// TEXT: here it is.
    Text(Payload<'a>),
    /// URL: a piece of a message that the server has.
    Url(Cow<'a, [u8]>),
}

into_owned!(copy LiteralKind);
into_owned!(
    enum CatenatePart {
        Text(data),
        Url(url),
    }
);
into_owned!(
    enum AppendData {
        Message(data),
        Binary(data),
        Utf8(data),
        Catenate(parts),
    }
);
into_owned!(struct AppendMessage { flags, date, extensions, data });

impl AppendHead<'_> {
    /// The same, independent of the input buffer.
    pub fn into_owned(self) -> AppendHead<'static> {
        AppendHead {
            mailbox: self.mailbox.into_owned(),
            flags: self.flags.into_owned(),
            date: self.date,
            before: self.before,
            kind: self.kind,
            replaces: self.replaces,
        }
    }
}

impl<'a> AppendMessage<'a> {
    /// A message without flags, dated now.
    pub fn new(message: impl Into<Cow<'a, [u8]>>) -> Self {
        let data = AppendData::Message(Payload::Bytes(message.into()));
        Self { flags: Flags::default(), date: None, extensions: Vec::new(), data }
    }
}

keys!(CATENATE, UTF8, URL, TEXT);

/// What stands before a message's data; nothing is required.
fn attributes<'a>(i: In<'a>, ctx: Ctx) -> Res<'a, (Flags<'a>, Option<DateTime>)> {
    let (i, flags) = match i.strip_prefix(b" ") {
        Some(rest) if peek(rest) == Some(b'(') => Flags::parse_paren(rest, ctx, 0)?,
        _ => (i, Flags::default()),
    };
    match i.strip_prefix(b" ") {
        Some(rest) if peek(rest) == Some(b'"') => {
            let (i, date) = date_time(rest, ctx)?;
            Ok((i, (flags, Some(date))))
        }
        _ => Ok((i, (flags, None))),
    }
}

/// ` flags date data`
pub(super) fn message(i: In<'_>, ctx: Ctx) -> Res<'_, AppendMessage<'_>> {
    let (i, (flags, date)) = attributes(i, ctx)?;
    let (i, extensions) = extensions(i, ctx)?;
    map(after_sp(i, |i| data(i, ctx)), |data| AppendMessage { flags, date, extensions, data })
}

/// What other extensions say of a message, behind its date (RFC 4466 section 2.6).
fn extensions<'a>(mut i: In<'a>, ctx: Ctx) -> Res<'a, Vec<(Atom<'a>, Opaque<'a>)>> {
    let mut all = Vec::new();
    while let Some((rest, extension)) = extension(i, ctx)? {
        ctx.room(i, all.len())?;
        all.push(extension);
        i = rest;
    }
    Ok((i, all))
}

type Extension<'a> = (In<'a>, (Atom<'a>, Opaque<'a>));

fn extension<'a>(i: In<'a>, ctx: Ctx) -> Result<Option<Extension<'a>>, nom::Err<crate::lex::Fault<'a>>> {
    let Some(rest) = i.strip_prefix(b" ").filter(|i| peek(i).is_some_and(|b| b.is_ascii_alphabetic())) else {
        return Ok(None);
    };
    let (after, (name, key)) = keyword(rest, chars::ATOM, "append data")?;
    if matches!(key, CATENATE | UTF8) {
        return Ok(None);
    }
    let (after, value) = after_sp(after, |i| Opaque::parse(i, ctx))?;
    Ok(Some((after, (Atom::checked(crate::lex::ascii(name)), value))))
}

fn data(i: In<'_>, ctx: Ctx) -> Res<'_, AppendData<'_>> {
    match peek(i) {
        Some(b'{') => return map(checked(i), AppendData::Message),
        Some(b'~') => return map(Payload::parse(i), AppendData::Binary),
        _ => {}
    }
    let (rest, (_, key)) = keyword(i, chars::ATOM, "a message")?;
    match key {
        UTF8 => map(after_sp(rest, |i| in_parens(i, Payload::parse)), AppendData::Utf8),
        CATENATE => map(
            after_sp(rest, |i| crate::lex::paren_list(i, ctx, 1, |i| catenate_part(i, ctx))),
            AppendData::Catenate,
        ),
        _ => expected(i, "a message"),
    }
}

/// Without NUL.
fn checked(i: In<'_>) -> Res<'_, Payload<'_>> {
    let (rest, data) = Payload::parse(i)?;
    match data.bytes().and_then(|b| memchr::memchr(0, b)) {
        Some(_) => crate::lex::fail(i, crate::ParseErrorKind::Nul),
        None => Ok((rest, data)),
    }
}

fn catenate_part(i: In<'_>, ctx: Ctx) -> Res<'_, CatenatePart<'_>> {
    let (rest, (_, key)) = keyword(i, chars::ATOM, "TEXT or URL")?;
    match key {
        TEXT => map(after_sp(rest, Payload::parse), CatenatePart::Text),
        URL => map(after_sp(rest, |i| astring(i, ctx)), CatenatePart::Url),
        _ => expected(i, "TEXT or URL"),
    }
}

pub(super) fn messages(mut i: In<'_>, ctx: Ctx) -> Res<'_, Vec<AppendMessage<'_>>> {
    let mut messages = Vec::new();
    loop {
        ctx.room(i, messages.len())?;
        let (rest, one) = message(i, ctx)?;
        messages.push(one);
        if rest.is_empty() {
            return Ok((rest, messages));
        }
        i = rest;
    }
}

/// The head of a command, of which everything stands here up to the announcement of a literal that is to be streamed.
pub(crate) fn append_head(i: In<'_>, ctx: Ctx) -> Res<'_, AppendHead<'_>> {
    let (i, uid) = match strip_word(i, b"UID ") {
        Some(i) => (i, true),
        None => (i, false),
    };
    let (i, replaces) = match strip_word(i, b"REPLACE ") {
        Some(i) => {
            let (i, n) = seq_num(i)?;
            after_sp(i, |i| Ok((i, Some((uid, n)))))?
        }
        None => map(word(i, b"APPEND "), |()| None)?,
    };
    let (mut i, mailbox) = mailbox(i, ctx)?;
    let mut before = 0;
    loop {
        let (rest, (flags, date)) = attributes(i, ctx)?;
        let (rest, _) = extensions(rest, ctx)?;
        let head =
            |kind, before| AppendHead { mailbox: mailbox.clone(), flags, date, before, kind, replaces };
        if rest.is_empty() {
            return Ok((rest, head(LiteralKind::Message, before)));
        }
        if strip_word(rest, b" UTF8 (").is_some_and(<[u8]>::is_empty) {
            return Ok((&rest[rest.len()..], head(LiteralKind::Utf8, before)));
        }
        if let Some(parts) = strip_word(rest, b" CATENATE (") {
            let (rest, (inside, pieces)) = pieces(parts, ctx)?;
            before += pieces;
            if inside {
                return Ok((rest, head(LiteralKind::Piece, before)));
            }
            i = rest;
            continue;
        }
        let (rest, _) = message(i, ctx)?;
        before += 1;
        i = rest;
    }
}

/// Pieces of a CATENATE, up to one whose literal follows, or all of them; and how many literals there were.
fn pieces(mut i: In<'_>, ctx: Ctx) -> Res<'_, (bool, usize)> {
    let mut literals = 0;
    loop {
        if let Some(rest) = strip_word(i, b"TEXT").filter(|rest| rest.trim_ascii().is_empty()) {
            return Ok((&rest[rest.len()..], (true, literals)));
        }
        let (rest, part) = catenate_part(i, ctx)?;
        literals += usize::from(matches!(part, CatenatePart::Text(_)));
        match rest.strip_prefix(b")") {
            Some(rest) => return Ok((rest, (false, literals))),
            None => i = sp(rest)?.0,
        }
    }
}

impl AppendMessage<'_> {
    pub(super) fn write(&self, w: &mut Writer<'_>) {
        if !self.flags.is_empty() {
            w.raw(" ");
            self.flags.write_paren(w);
        }
        if let Some(date) = self.date {
            w.raw(" ");
            date.write(w);
        }
        for (name, value) in &self.extensions {
            w.raw(" ");
            w.word(name.as_str(), " ");
            value.write(w);
        }
        w.raw(" ");
        match &self.data {
            AppendData::Message(data) => data.write(w),
            AppendData::Binary(data) => write_literal8(w, data),
            AppendData::Utf8(data) => {
                w.raw("UTF8 (");
                write_literal8(w, data);
                w.raw(")");
            }
            AppendData::Catenate(parts) => {
                w.raw("CATENATE ");
                w.list(parts, |w, part| match part {
                    CatenatePart::Text(data) => {
                        w.raw("TEXT ");
                        data.write(w);
                    }
                    CatenatePart::Url(url) => {
                        w.raw("URL ");
                        w.astring(url);
                    }
                });
            }
        }
    }
}

fn write_literal8(w: &mut Writer<'_>, data: &Payload<'_>) {
    w.raw("~");
    match data {
        Payload::Bytes(bytes) => {
            w.announce(bytes.len() as u64);
            w.raw(bytes);
        }
        Payload::Streamed(n) => w.gap(*n),
    }
}

/// `REPLACE n mailbox message`
pub(super) fn replace(i: In<'_>, ctx: Ctx) -> Res<'_, (SeqNum, Mailbox<'_>, AppendMessage<'_>)> {
    let (i, n) = seq_num(i)?;
    let (i, mailbox) = after_sp(i, |i| mailbox(i, ctx))?;
    map(message(i, ctx), |message| (n, mailbox, message))
}

//! What FETCH asks for (RFC 3501 section 6.4.5).

use std::borrow::Cow;
use std::num::NonZeroU32;

use crate::ParseErrorKind;
use crate::chars::{self, ASTRING};
use crate::lex::{
    Ctx, In, Res, Upper, astring, byte, expected, fail, number, nz_number, paren_list, peek, run, strip_word,
};
use crate::text::owned_bytes;
use crate::write::Writer;

/// A macro, or a list of items.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FetchItems<'a> {
    /// ALL: FLAGS INTERNALDATE RFC822.SIZE ENVELOPE
    All,
    /// FAST: FLAGS INTERNALDATE RFC822.SIZE
    Fast,
    /// FULL: ALL with BODY
    Full,
    /// The items as listed, in that order.
    List(Vec<FetchItem<'a>>),
}

impl<'a> FetchItems<'a> {
    /// The items, macros replaced by what they stand for.
    pub fn expand(&self) -> Cow<'_, [FetchItem<'a>]> {
        use FetchItem as F;
        match self {
            FetchItems::Fast => vec![F::Flags, F::InternalDate, F::Rfc822Size].into(),
            FetchItems::All => vec![F::Flags, F::InternalDate, F::Rfc822Size, F::Envelope].into(),
            FetchItems::Full => vec![F::Flags, F::InternalDate, F::Rfc822Size, F::Envelope, F::Body].into(),
            FetchItems::List(items) => Cow::Borrowed(items),
        }
    }

    /// The same items, independent of the input buffer.
    pub fn into_owned(self) -> FetchItems<'static> {
        match self {
            FetchItems::All => FetchItems::All,
            FetchItems::Fast => FetchItems::Fast,
            FetchItems::Full => FetchItems::Full,
            FetchItems::List(items) => {
                FetchItems::List(items.into_iter().map(FetchItem::into_owned).collect())
            }
        }
    }

    pub(crate) fn write(&self, w: &mut Writer<'_>) {
        match self {
            FetchItems::All => w.raw("ALL"),
            FetchItems::Fast => w.raw("FAST"),
            FetchItems::Full => w.raw("FULL"),
            FetchItems::List(items) => w.list(items, |w, item| item.write(w)),
        }
    }
}

/// One data item of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum FetchItem<'a> {
    /// BODY: the structure without extension data.
    Body,
    /// BODYSTRUCTURE
    BodyStructure,
    /// ENVELOPE
    Envelope,
    /// FLAGS
    Flags,
    /// INTERNALDATE
    InternalDate,
    /// RFC822: `BODY[]`
    Rfc822,
    /// RFC822.HEADER: `BODY.PEEK[HEADER]`
    Rfc822Header,
    /// RFC822.SIZE
    Rfc822Size,
    /// RFC822.TEXT: `BODY[TEXT]`
    Rfc822Text,
    /// UID
    Uid,
    /// `BODY[section]<partial>`
    Section {
        /// BODY.PEEK: does not set \Seen.
        peek: bool,
        /// Which part.
        section: Section<'a>,
        /// Which of its octets.
        partial: Option<Partial>,
    },
}

/// `<start.octets>`: a substring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Partial {
    /// The first octet, from 0.
    pub start: u32,
    /// At most so many.
    pub octets_max: NonZeroU32,
}

/// What stands between the brackets of `BODY[...]`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Section<'a> {
    /// Part numbers, outermost first; empty for the whole message.
    pub part: Vec<NonZeroU32>,
    /// What of the part; `None` for all of its body, or for the entire message when `part` is empty.
    pub text: Option<SectionText<'a>>,
}

/// A piece of a part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SectionText<'a> {
    /// HEADER of the message, or of the message/rfc822 part.
    Header,
    /// TEXT: its body.
    Text,
    /// MIME: the part's own header. Only with a part number.
    Mime,
    /// HEADER.FIELDS: the fields named.
    HeaderFields(Vec<Cow<'a, [u8]>>),
    /// HEADER.FIELDS.NOT: all but the fields named.
    HeaderFieldsNot(Vec<Cow<'a, [u8]>>),
}

impl Section<'_> {
    /// The same section, independent of the input buffer.
    pub fn into_owned(self) -> Section<'static> {
        let own = |names: Vec<_>| names.into_iter().map(owned_bytes).collect();
        let text = self.text.map(|text| match text {
            SectionText::Header => SectionText::Header,
            SectionText::Text => SectionText::Text,
            SectionText::Mime => SectionText::Mime,
            SectionText::HeaderFields(n) => SectionText::HeaderFields(own(n)),
            SectionText::HeaderFieldsNot(n) => SectionText::HeaderFieldsNot(own(n)),
        });
        Section { part: self.part, text }
    }
}

impl FetchItem<'_> {
    /// The same item, independent of the input buffer.
    pub fn into_owned(self) -> FetchItem<'static> {
        match self {
            FetchItem::Body => FetchItem::Body,
            FetchItem::BodyStructure => FetchItem::BodyStructure,
            FetchItem::Envelope => FetchItem::Envelope,
            FetchItem::Flags => FetchItem::Flags,
            FetchItem::InternalDate => FetchItem::InternalDate,
            FetchItem::Rfc822 => FetchItem::Rfc822,
            FetchItem::Rfc822Header => FetchItem::Rfc822Header,
            FetchItem::Rfc822Size => FetchItem::Rfc822Size,
            FetchItem::Rfc822Text => FetchItem::Rfc822Text,
            FetchItem::Uid => FetchItem::Uid,
            FetchItem::Section { peek, section, partial } => {
                FetchItem::Section { peek, section: section.into_owned(), partial }
            }
        }
    }

    pub(crate) fn write(&self, w: &mut Writer<'_>) {
        match self {
            FetchItem::Body => w.raw("BODY"),
            FetchItem::BodyStructure => w.raw("BODYSTRUCTURE"),
            FetchItem::Envelope => w.raw("ENVELOPE"),
            FetchItem::Flags => w.raw("FLAGS"),
            FetchItem::InternalDate => w.raw("INTERNALDATE"),
            FetchItem::Rfc822 => w.raw("RFC822"),
            FetchItem::Rfc822Header => w.raw("RFC822.HEADER"),
            FetchItem::Rfc822Size => w.raw("RFC822.SIZE"),
            FetchItem::Rfc822Text => w.raw("RFC822.TEXT"),
            FetchItem::Uid => w.raw("UID"),
            FetchItem::Section { peek, section, partial } => {
                w.raw(if *peek { "BODY.PEEK" } else { "BODY" });
                write_section(w, section);
                if let Some(p) = partial {
                    w.raw("<");
                    w.number(p.start);
                    w.raw(".");
                    w.number(p.octets_max.get());
                    w.raw(">");
                }
            }
        }
    }
}

/// `[...]`.
pub(crate) fn write_section(w: &mut Writer<'_>, section: &Section<'_>) {
    w.raw("[");
    for (n, part) in section.part.iter().enumerate() {
        if n > 0 {
            w.raw(".");
        }
        w.number(part.get());
    }
    if let Some(text) = &section.text {
        if !section.part.is_empty() {
            w.raw(".");
        }
        write_text(w, text);
    }
    w.raw("]");
}

fn write_text(w: &mut Writer<'_>, text: &SectionText<'_>) {
    let (name, fields) = match text {
        SectionText::Header => return w.raw("HEADER"),
        SectionText::Text => return w.raw("TEXT"),
        SectionText::Mime => return w.raw("MIME"),
        SectionText::HeaderFields(fields) => ("HEADER.FIELDS ", fields),
        SectionText::HeaderFieldsNot(fields) => ("HEADER.FIELDS.NOT ", fields),
    };
    w.raw(name);
    w.list(fields, |w, field| w.astring(field));
}

pub(super) fn fetch_items(i: In<'_>, ctx: Ctx) -> Res<'_, FetchItems<'_>> {
    if peek(i) == Some(b'(') {
        let (i, items) = paren_list(i, ctx, 1, |i| fetch_item(i, ctx))?;
        return Ok((i, FetchItems::List(items)));
    }
    for (name, items) in
        [(&b"ALL"[..], FetchItems::All), (b"FAST", FetchItems::Fast), (b"FULL", FetchItems::Full)]
    {
        if i.eq_ignore_ascii_case(name) {
            return Ok((&[], items));
        }
    }
    let (i, item) = fetch_item(i, ctx)?;
    Ok((i, FetchItems::List(vec![item])))
}

fn fetch_item(i: In<'_>, ctx: Ctx) -> Res<'_, FetchItem<'_>> {
    let (rest, name) = run(i, chars::NAME, "a FETCH item")?;
    let upper = Upper::new(name);
    let item = match upper.as_bytes() {
        b"BODY" | b"BODY.PEEK" if peek(rest) == Some(b'[') => {
            return body_section(rest, ctx, name.len() > 4);
        }
        b"BODY" => FetchItem::Body,
        b"BODYSTRUCTURE" => FetchItem::BodyStructure,
        b"ENVELOPE" => FetchItem::Envelope,
        b"FLAGS" => FetchItem::Flags,
        b"INTERNALDATE" => FetchItem::InternalDate,
        b"RFC822" => FetchItem::Rfc822,
        b"RFC822.HEADER" => FetchItem::Rfc822Header,
        b"RFC822.SIZE" => FetchItem::Rfc822Size,
        b"RFC822.TEXT" => FetchItem::Rfc822Text,
        b"UID" => FetchItem::Uid,
        _ => return expected(i, "a FETCH item"),
    };
    Ok((rest, item))
}

fn body_section(i: In<'_>, ctx: Ctx, peek_only: bool) -> Res<'_, FetchItem<'_>> {
    let (i, section) = section(i, ctx)?;
    let (i, partial) = match peek(i) {
        Some(b'<') => partial(&i[1..]).map(|(i, p)| (i, Some(p)))?,
        _ => (i, None),
    };
    Ok((i, FetchItem::Section { peek: peek_only, section, partial }))
}

fn partial(i: In<'_>) -> Res<'_, Partial> {
    let (i, start) = number(i)?;
    let (i, ()) = byte(i, b'.', ".")?;
    let (i, octets_max) = nz_number(i)?;
    let (i, ()) = byte(i, b'>', ">")?;
    Ok((i, Partial { start, octets_max }))
}

/// `[...]`, in commands and in responses.
pub(crate) fn section(i: In<'_>, ctx: Ctx) -> Res<'_, Section<'_>> {
    let (mut i, ()) = byte(i, b'[', "[")?;
    let mut part = Vec::new();
    while peek(i).is_some_and(|b| b.is_ascii_digit()) {
        if part.len() >= ctx.depth_max() as usize {
            return fail(i, ParseErrorKind::TooDeep { limit: ctx.depth_max() });
        }
        let (rest, n) = nz_number(i)?;
        part.push(n);
        i = rest;
        match peek(i) {
            Some(b'.') => i = &i[1..],
            _ => return close(i, Section { part, text: None }),
        }
    }
    if part.is_empty() && peek(i) == Some(b']') {
        return close(i, Section::default());
    }
    let (i, text) = section_text(i, ctx, !part.is_empty())?;
    close(i, Section { part, text: Some(text) })
}

fn close<'a>(i: In<'a>, section: Section<'a>) -> Res<'a, Section<'a>> {
    let (i, ()) = byte(i, b']', "]")?;
    Ok((i, section))
}

fn section_text(i: In<'_>, ctx: Ctx, in_part: bool) -> Res<'_, SectionText<'_>> {
    for (name, not) in [(&b"HEADER.FIELDS.NOT "[..], true), (b"HEADER.FIELDS ", false)] {
        if let Some(rest) = strip_word(i, name) {
            let (rest, names) = paren_list(rest, ctx, 1, astring)?;
            let text =
                if not { SectionText::HeaderFieldsNot(names) } else { SectionText::HeaderFields(names) };
            return Ok((rest, text));
        }
    }
    let n = i.iter().position(|&b| !chars::is(b, ASTRING) || b == b']').unwrap_or(i.len());
    let text = match &i[..n] {
        t if t.eq_ignore_ascii_case(b"HEADER") => SectionText::Header,
        t if t.eq_ignore_ascii_case(b"TEXT") => SectionText::Text,
        t if t.eq_ignore_ascii_case(b"MIME") && in_part => SectionText::Mime,
        _ => return expected(i, "a section"),
    };
    Ok((&i[n..], text))
}

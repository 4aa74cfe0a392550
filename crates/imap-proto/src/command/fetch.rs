//! What FETCH asks for (RFC 3501 section 6.4.5, and the extensions' items).

use std::borrow::Cow;
use std::num::NonZeroU32;

use crate::chars;
use crate::few::Few;
use crate::keyword::{keys, keyword};
use crate::lex::{
    Ctx, In, Res, after_sp, ascii, byte, expected, fail, in_parens, map, number, nz_number, peek, run,
    strip_word, word,
};
use crate::list::{Element, list};
use crate::own::into_owned;
use crate::text::Strings;
use crate::write::Writer;
use crate::{Atom, Opaque, ParseErrorKind};

/// A macro, or a list of items.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum FetchItems<'a> {
    /// ALL: FLAGS INTERNALDATE RFC822.SIZE ENVELOPE
    All,
    /// FAST: FLAGS INTERNALDATE RFC822.SIZE
    Fast,
    /// FULL: ALL with BODY
    Full,
    /// The items as listed, in that order.
    List(FetchItemList<'a>),
}

list! {
    /// The items of a FETCH.
    FetchItemList<'w> of FetchItem<'w>
}

impl FetchItems<'_> {
    /// The items, macros replaced by what they stand for.
    pub fn expand(&self) -> Vec<FetchItem<'_>> {
        use FetchItem as F;
        match self {
            FetchItems::Fast => vec![F::Flags, F::InternalDate, F::Rfc822Size],
            FetchItems::All => vec![F::Flags, F::InternalDate, F::Rfc822Size, F::Envelope],
            FetchItems::Full => vec![F::Flags, F::InternalDate, F::Rfc822Size, F::Envelope, F::Body],
            FetchItems::List(items) => items.iter().collect(),
        }
    }

    pub(crate) fn write(&self, w: &mut Writer<'_>) {
        match self {
            FetchItems::All => w.raw("ALL"),
            FetchItems::Fast => w.raw("FAST"),
            FetchItems::Full => w.raw("FULL"),
            FetchItems::List(items) => items.write_paren(w),
        }
    }
}

/// One data item of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
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
    /// `BINARY[part]<partial>` (RFC 3516): the part, decoded.
    Binary {
        /// BINARY.PEEK: does not set \Seen.
        peek: bool,
        /// Which part.
        part: PartPath,
        /// Which of its octets, decoded.
        partial: Option<Partial>,
    },
    /// `BINARY.SIZE[part]` (RFC 3516): its size, decoded.
    BinarySize(PartPath),
    /// MODSEQ (RFC 7162)
    ModSeq,
    /// EMAILID (RFC 8474)
    EmailId,
    /// THREADID (RFC 8474)
    ThreadId,
    /// SAVEDATE (RFC 8514)
    SaveDate,
    /// PREVIEW (RFC 8970)
    Preview {
        /// LAZY: only if the server has it at hand.
        lazy: bool,
    },
    /// ANNOTATION (RFC 5257): `(entries attributes)`.
    Annotation(Opaque<'a>),
    /// An item of another extension, such as X-GM-LABELS.
    Other(Atom<'a>),
}

/// Part numbers, outermost first; empty for the whole message. Up to six are held in place.
pub type PartPath = Few<NonZeroU32, 6>;

/// `<start.octets>`: a substring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Partial {
    /// The first octet, from 0.
    pub start: u32,
    /// At most so many.
    pub octets_max: NonZeroU32,
}

/// What stands between the brackets of `BODY[...]`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Section<'a> {
    /// Part numbers, outermost first; empty for the whole message.
    pub part: PartPath,
    /// What of the part; `None` for all of its body, or for the entire message when `part` is empty.
    pub text: Option<SectionText<'a>>,
}

/// A piece of a part.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum SectionText<'a> {
    /// HEADER of the message, or of the message/rfc822 part.
    Header,
    /// TEXT: its body.
    Text,
    /// MIME: the part's own header. Only with a part number.
    Mime,
    /// HEADER.FIELDS: the fields named.
    HeaderFields(Strings<'a>),
    /// HEADER.FIELDS.NOT: all but the fields named.
    HeaderFieldsNot(Strings<'a>),
}

/// A range of results counted from one of their ends (RFC 9394): `1:100`, `-1:-100`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct PartialRange {
    /// Count from the last one.
    pub from_end: bool,
    /// One end, from 1.
    pub start: NonZeroU32,
    /// The other end.
    pub end: NonZeroU32,
}

/// What limits a FETCH (RFC 4466 section 2.4).
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum FetchModifier<'a> {
    /// CHANGEDSINCE (RFC 7162 section 3.1.4): only messages with a larger MODSEQ.
    ChangedSince(u64),
    /// VANISHED (RFC 7162 section 3.2.6): tell what was expunged too.
    Vanished,
    /// PARTIAL (RFC 9394 section 3.3).
    Partial(PartialRange),
    /// Of another extension.
    Other {
        /// Its name.
        name: Atom<'a>,
        /// Its value, if it has one.
        value: Option<Opaque<'a>>,
    },
}

list! {
    /// Modifiers of a FETCH.
    FetchModifiers<'w> of FetchModifier<'w>
}

into_owned!(
    enum FetchItems {
        All,
        Fast,
        Full,
        List(items),
    }
);
into_owned!(enum FetchItem {
    Body, BodyStructure, Envelope, Flags, InternalDate, Rfc822, Rfc822Header, Rfc822Size, Rfc822Text, Uid,
    Section { peek, section, partial }, Binary { peek, part, partial }, BinarySize(part), ModSeq, EmailId, ThreadId,
    SaveDate, Preview { lazy }, Annotation(what), Other(name),
});
into_owned!(copy Partial, PartialRange);
into_owned!(struct Section { part, text });
into_owned!(
    enum SectionText {
        Header,
        Text,
        Mime,
        HeaderFields(names),
        HeaderFieldsNot(names),
    }
);
into_owned!(enum FetchModifier { ChangedSince(n), Vanished, Partial(range), Other { name, value } });

impl<'w> Element<'w> for FetchItem<'w> {
    #[inline]
    fn parse(i: In<'w>, ctx: Ctx) -> Res<'w, Self> {
        fetch_item(i, ctx)
    }

    #[inline]
    fn check(i: In<'w>, ctx: Ctx) -> Res<'w, ()> {
        check_item(i, ctx)
    }

    fn write(&self, w: &mut Writer<'_>) {
        let name = match self {
            FetchItem::Body => "BODY",
            FetchItem::BodyStructure => "BODYSTRUCTURE",
            FetchItem::Envelope => "ENVELOPE",
            FetchItem::Flags => "FLAGS",
            FetchItem::InternalDate => "INTERNALDATE",
            FetchItem::Rfc822 => "RFC822",
            FetchItem::Rfc822Header => "RFC822.HEADER",
            FetchItem::Rfc822Size => "RFC822.SIZE",
            FetchItem::Rfc822Text => "RFC822.TEXT",
            FetchItem::Uid => "UID",
            FetchItem::ModSeq => "MODSEQ",
            FetchItem::EmailId => "EMAILID",
            FetchItem::ThreadId => "THREADID",
            FetchItem::SaveDate => "SAVEDATE",
            FetchItem::Preview { lazy: false } => "PREVIEW",
            FetchItem::Preview { lazy: true } => "PREVIEW (LAZY)",
            FetchItem::Section { peek: true, .. } => "BODY.PEEK",
            FetchItem::Section { .. } => "BODY",
            FetchItem::Binary { peek: true, .. } => "BINARY.PEEK",
            FetchItem::Binary { .. } => "BINARY",
            FetchItem::BinarySize(_) => "BINARY.SIZE",
            FetchItem::Annotation(_) => "ANNOTATION ",
            FetchItem::Other(name) => name.as_str(),
        };
        w.raw(name);
        match self {
            FetchItem::Section { section, partial, .. } => {
                write_section(w, section);
                write_partial(w, *partial);
            }
            FetchItem::Binary { part, partial, .. } => {
                write_part(w, part);
                write_partial(w, *partial);
            }
            FetchItem::BinarySize(part) => write_part(w, part),
            FetchItem::Annotation(what) => what.write(w),
            _ => {}
        }
    }
}

fn write_partial(w: &mut Writer<'_>, partial: Option<Partial>) {
    if let Some(p) = partial {
        w.raw("<");
        w.number(p.start);
        w.raw(".");
        w.number(p.octets_max.get());
        w.raw(">");
    }
}

/// `[1.2]`
pub(crate) fn write_part(w: &mut Writer<'_>, part: &[NonZeroU32]) {
    w.raw("[");
    write_path(w, part);
    w.raw("]");
}

fn write_path(w: &mut Writer<'_>, part: &[NonZeroU32]) {
    for (n, part) in part.iter().enumerate() {
        if n > 0 {
            w.raw(".");
        }
        w.number(part.get());
    }
}

/// `[...]`.
pub(crate) fn write_section(w: &mut Writer<'_>, section: &Section<'_>) {
    w.raw("[");
    write_path(w, &section.part);
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
    fields.write_paren(w);
}

keys!(
    BODY,
    BODYSTRUCTURE,
    ENVELOPE,
    FLAGS,
    INTERNALDATE,
    RFC822,
    UID,
    MODSEQ,
    EMAILID,
    THREADID,
    SAVEDATE,
    PREVIEW,
    ANNOTATION,
    BINARY,
    ALL,
    FAST,
    FULL,
    BODY_PEEK = "BODY.PEEK",
    RFC822_HEADER = "RFC822.HEADER",
    RFC822_SIZE = "RFC822.SIZE",
    RFC822_TEXT = "RFC822.TEXT",
    BINARY_PEEK = "BINARY.PEEK",
    BINARY_SIZE = "BINARY.SIZE",
    CHANGEDSINCE,
    VANISHED,
    PARTIAL,
    HEADER,
    TEXT,
    MIME,
);

#[inline]
pub(super) fn fetch_items(i: In<'_>, ctx: Ctx) -> Res<'_, FetchItems<'_>> {
    if peek(i) == Some(b'(') {
        return map(FetchItemList::parse_paren(i, ctx, 1), FetchItems::List);
    }
    let (rest, (_, key)) = keyword(i, chars::NAME, "a FETCH item")?;
    match key {
        ALL => Ok((rest, FetchItems::All)),
        FAST => Ok((rest, FetchItems::Fast)),
        FULL => Ok((rest, FetchItems::Full)),
        _ => {
            // One item without parentheses; modifiers may follow it.
            let (rest, _) = fetch_item(i, ctx)?;
            let text = &i[..i.len() - rest.len()];
            Ok((rest, FetchItems::List(FetchItemList(Cow::Borrowed(text)))))
        }
    }
}

#[inline]
fn fetch_item(i: In<'_>, ctx: Ctx) -> Res<'_, FetchItem<'_>> {
    let (rest, (name, key)) = keyword(i, chars::NAME, "a FETCH item")?;
    let bracket = peek(rest) == Some(b'[');
    let item = match key {
        BODY | BODY_PEEK if bracket => return body_section(rest, ctx, key == BODY_PEEK),
        BINARY | BINARY_PEEK if bracket => return binary(rest, ctx, key == BINARY_PEEK),
        BINARY_SIZE if bracket => return map(part_path(rest, ctx), FetchItem::BinarySize),
        PREVIEW => return preview(rest),
        ANNOTATION if rest.starts_with(b" (") => {
            return map(Opaque::parse(&rest[1..], ctx), FetchItem::Annotation);
        }
        BODY => FetchItem::Body,
        BODYSTRUCTURE => FetchItem::BodyStructure,
        ENVELOPE => FetchItem::Envelope,
        FLAGS => FetchItem::Flags,
        INTERNALDATE => FetchItem::InternalDate,
        RFC822 => FetchItem::Rfc822,
        RFC822_HEADER => FetchItem::Rfc822Header,
        RFC822_SIZE => FetchItem::Rfc822Size,
        RFC822_TEXT => FetchItem::Rfc822Text,
        UID => FetchItem::Uid,
        MODSEQ => FetchItem::ModSeq,
        EMAILID => FetchItem::EmailId,
        THREADID => FetchItem::ThreadId,
        SAVEDATE => FetchItem::SaveDate,
        BODY_PEEK | BINARY | BINARY_PEEK | BINARY_SIZE => return expected(rest, "["),
        _ => FetchItem::Other(Atom::checked(ascii(name))),
    };
    Ok((rest, item))
}

/// Takes what [`fetch_item`] takes. A name is one by itself, but for the few that want something behind it.
#[inline]
fn check_item(i: In<'_>, ctx: Ctx) -> Res<'_, ()> {
    let n = chars::span(i, chars::NAME);
    match (&i[n..], n) {
        ([b')', ..] | [b' ', b'A'..=b'Z' | b'a'..=b'z', ..], 1..=5 | 7 | 8 | 10 | 12..) => Ok((&i[n..], ())),
        // Among them BINARY, BODY.PEEK, BINARY.PEEK and BINARY.SIZE.
        _ => map(fetch_item(i, ctx), drop),
    }
}

fn preview(i: In<'_>) -> Res<'_, FetchItem<'_>> {
    match strip_word(i, b" (LAZY)") {
        Some(rest) => Ok((rest, FetchItem::Preview { lazy: true })),
        None => Ok((i, FetchItem::Preview { lazy: false })),
    }
}

#[inline]
fn body_section(i: In<'_>, ctx: Ctx, peek: bool) -> Res<'_, FetchItem<'_>> {
    let (i, section) = section(i, ctx)?;
    map(partial(i), |partial| FetchItem::Section { peek, section, partial })
}

fn binary(i: In<'_>, ctx: Ctx, peek: bool) -> Res<'_, FetchItem<'_>> {
    let (i, part) = part_path(i, ctx)?;
    map(partial(i), |partial| FetchItem::Binary { peek, part, partial })
}

#[inline]
fn partial(i: In<'_>) -> Res<'_, Option<Partial>> {
    let Some(i) = i.strip_prefix(b"<") else { return Ok((i, None)) };
    let (i, start) = number(i)?;
    let (i, ()) = byte(i, b'.', ".")?;
    let (i, octets_max) = nz_number(i)?;
    map(byte(i, b'>', ">"), |()| Some(Partial { start, octets_max }))
}

/// `[1.2]`, in commands and in responses.
pub(crate) fn part_path(i: In<'_>, ctx: Ctx) -> Res<'_, PartPath> {
    let (i, ()) = byte(i, b'[', "[")?;
    let (i, (part, dot)) = path(i, ctx)?;
    if dot {
        return expected(i, "a part number");
    }
    map(byte(i, b']', "]"), |()| part)
}

/// Part numbers, and whether a dot stands behind the last one.
#[inline]
fn path(mut i: In<'_>, ctx: Ctx) -> Res<'_, (PartPath, bool)> {
    let mut part = PartPath::new();
    while peek(i).is_some_and(|b| b.is_ascii_digit()) {
        if part.len() >= ctx.depth_max() as usize {
            return fail(i, ParseErrorKind::TooDeep { limit: ctx.depth_max() });
        }
        let (rest, n) = nz_number(i)?;
        part.push(n);
        match rest.strip_prefix(b".") {
            Some(rest) => i = rest,
            None => return Ok((rest, (part, false))),
        }
    }
    let dot = !part.is_empty();
    Ok((i, (part, dot)))
}

/// `[...]`, in commands and in responses.
#[inline]
pub(crate) fn section(i: In<'_>, ctx: Ctx) -> Res<'_, Section<'_>> {
    let (i, ()) = byte(i, b'[', "[")?;
    if let Some(rest) = i.strip_prefix(b"]") {
        return Ok((rest, Section::default()));
    }
    let (i, (part, dot)) = path(i, ctx)?;
    if !part.is_empty() && !dot {
        return map(byte(i, b']', "]"), |()| Section { part, text: None });
    }
    let (i, text) = section_text(i, ctx, dot)?;
    map(byte(i, b']', "]"), |()| Section { part, text: Some(text) })
}

fn section_text(i: In<'_>, ctx: Ctx, in_part: bool) -> Res<'_, SectionText<'_>> {
    let (rest, (name, key)) = keyword(i, chars::NAME, "a section")?;
    let text = match key {
        HEADER => SectionText::Header,
        TEXT => SectionText::Text,
        MIME if in_part => SectionText::Mime,
        _ if name.eq_ignore_ascii_case(b"HEADER.FIELDS") => {
            return map(after_sp(rest, |i| Strings::parse_paren(i, ctx, 1)), SectionText::HeaderFields);
        }
        _ if name.eq_ignore_ascii_case(b"HEADER.FIELDS.NOT") => {
            return map(after_sp(rest, |i| Strings::parse_paren(i, ctx, 1)), SectionText::HeaderFieldsNot);
        }
        _ => return expected(i, "a section"),
    };
    Ok((rest, text))
}

impl PartialRange {
    pub(crate) fn parse(i: In<'_>) -> Res<'_, Self> {
        let sign = |i: In<'_>| i.first() == Some(&b'-');
        let from_end = sign(i);
        let (i, start) = nz_number(&i[usize::from(from_end)..])?;
        let (i, ()) = byte(i, b':', ":")?;
        if sign(i) != from_end {
            return expected(i, "a range whose ends have one sign");
        }
        let (i, end) = nz_number(&i[usize::from(from_end)..])?;
        Ok((i, Self { from_end, start, end }))
    }

    pub(crate) fn write(self, w: &mut Writer<'_>) {
        let sign = if self.from_end { "-" } else { "" };
        w.numbered(sign, self.start.get());
        w.raw(":");
        w.numbered(sign, self.end.get());
    }
}

/// A mod-sequence: 63 bits (RFC 7162 section 7).
pub(crate) fn mod_seq(i: In<'_>) -> Res<'_, u64> {
    let (rest, n) = crate::lex::number64(i)?;
    if n > i64::MAX as u64 { fail(i, ParseErrorKind::NumberTooLarge) } else { Ok((rest, n)) }
}

/// `name [SP value]`, the value opaque.
pub(crate) fn named_opaque<'a>(
    i: In<'a>,
    ctx: Ctx,
    what: &'static str,
) -> Res<'a, (Atom<'a>, Option<Opaque<'a>>)> {
    let (rest, name) = run(i, chars::ATOM, what)?;
    let name = Atom::checked(ascii(name));
    // A value is a number, a set, or in parentheses; an atom behind a space is the next name.
    match rest {
        [b' ', b'(' | b'"' | b'0'..=b'9' | b'*' | b'-' | b'{', ..] => {
            map(Opaque::parse(&rest[1..], ctx), |value| (name, Some(value)))
        }
        _ => Ok((rest, (name, None))),
    }
}

pub(crate) fn write_named(w: &mut Writer<'_>, name: &Atom<'_>, value: Option<&Opaque<'_>>) {
    w.raw(name.as_str());
    if let Some(value) = value {
        w.raw(" ");
        value.write(w);
    }
}

impl<'w> Element<'w> for FetchModifier<'w> {
    fn parse(i: In<'w>, ctx: Ctx) -> Res<'w, Self> {
        let (rest, (_, key)) = keyword(i, chars::ATOM, "a FETCH modifier")?;
        match key {
            CHANGEDSINCE => map(after_sp(rest, mod_seq), Self::ChangedSince),
            VANISHED => Ok((rest, Self::Vanished)),
            PARTIAL => map(after_sp(rest, PartialRange::parse), Self::Partial),
            _ => map(named_opaque(i, ctx, "a FETCH modifier"), |(name, value)| Self::Other { name, value }),
        }
    }

    fn write(&self, w: &mut Writer<'_>) {
        match self {
            Self::ChangedSince(n) => w.numbered("CHANGEDSINCE ", *n),
            Self::Vanished => w.raw("VANISHED"),
            Self::Partial(range) => {
                w.raw("PARTIAL ");
                range.write(w);
            }
            Self::Other { name, value } => write_named(w, name, value.as_ref()),
        }
    }
}

/// ` (UNCHANGEDSINCE n)` of STORE (RFC 7162 section 3.1.3), if it stands here.
pub(super) fn unchanged_since(i: In<'_>) -> Res<'_, Option<u64>> {
    let Some(rest) = i.strip_prefix(b" (") else { return Ok((i, None)) };
    if strip_word(rest, b"UNCHANGEDSINCE ").is_none() {
        return Ok((i, None));
    }
    map(
        in_parens(&i[1..], |i| {
            let (i, ()) = word(i, b"UNCHANGEDSINCE ")?;
            mod_seq(i)
        }),
        Some,
    )
}

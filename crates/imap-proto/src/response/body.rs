use std::borrow::Cow;

use super::envelope::{Envelope, envelope};
use crate::lex::{Ctx, In, Res, byte, nil, nstring, number64, paren_list, peek, sp, string};
use crate::text::owned_bytes;
use crate::write::Writer;

/// Parameters of a media type or disposition, in order.
pub type Params<'a> = Vec<(Cow<'a, [u8]>, Cow<'a, [u8]>)>;

/// A message's MIME structure (RFC 3501 section 7.4.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BodyStructure<'a> {
    /// A part without parts; a message/rfc822 with the structure of its message.
    Single(Box<BodyPart<'a>>),
    /// multipart/*
    Multi(Box<MultiPart<'a>>),
}

/// A body that is not a multipart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BodyPart<'a> {
    /// Its media type, such as `TEXT`.
    pub media: Cow<'a, [u8]>,
    /// Its media subtype, such as `PLAIN`.
    pub subtype: Cow<'a, [u8]>,
    /// Its media type's parameters.
    pub params: Params<'a>,
    /// Content-ID
    pub id: Option<Cow<'a, [u8]>>,
    /// Content-Description
    pub description: Option<Cow<'a, [u8]>>,
    /// Content-Transfer-Encoding; `7BIT` when absent.
    pub encoding: Cow<'a, [u8]>,
    /// The body's size in octets, as encoded.
    pub octets: u64,
    /// What depends on the media type.
    pub kind: PartKind<'a>,
    /// Present in BODYSTRUCTURE, absent in BODY.
    pub extension: Option<PartExtension<'a>>,
}

/// What the structure tells of some media types only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PartKind<'a> {
    /// Nothing.
    Basic,
    /// text/*: its size in lines.
    Text {
        /// As encoded.
        lines: u64,
    },
    /// message/rfc822.
    Message {
        /// Its header.
        envelope: Box<Envelope<'a>>,
        /// Its structure.
        body: BodyStructure<'a>,
        /// Its size in lines.
        lines: u64,
    },
}

/// A multipart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MultiPart<'a> {
    /// At least one.
    pub parts: Vec<BodyStructure<'a>>,
    /// `MIXED`, `ALTERNATIVE` ...
    pub subtype: Cow<'a, [u8]>,
    /// Its parameters, with the boundary, then the same extension data as a part has (its MD5 always absent).
    pub extension: Option<(Params<'a>, PartExtension<'a>)>,
}

/// Extension data. What a server leaves out at the end is absent here.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PartExtension<'a> {
    /// Content-MD5
    pub md5: Option<Cow<'a, [u8]>>,
    /// Content-Disposition
    pub disposition: Option<Disposition<'a>>,
    /// Content-Language
    pub language: Vec<Cow<'a, [u8]>>,
    /// Content-Location
    pub location: Option<Cow<'a, [u8]>>,
    /// What future extensions add.
    pub more: Vec<BodyExtension<'a>>,
}

/// Content-Disposition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disposition<'a> {
    /// `INLINE`, `ATTACHMENT` ...
    pub kind: Cow<'a, [u8]>,
    /// Its parameters.
    pub params: Params<'a>,
}

/// An extension's value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BodyExtension<'a> {
    /// A number.
    Number(u64),
    /// A string or NIL.
    Text(Option<Cow<'a, [u8]>>),
    /// A list of values.
    List(Vec<BodyExtension<'a>>),
}

fn owned_params(params: Params<'_>) -> Params<'static> {
    params.into_iter().map(|(k, v)| (owned_bytes(k), owned_bytes(v))).collect()
}

impl BodyStructure<'_> {
    /// The same structure, independent of the input buffer.
    pub fn into_owned(self) -> BodyStructure<'static> {
        match self {
            BodyStructure::Single(part) => BodyStructure::Single(Box::new(part.into_owned())),
            BodyStructure::Multi(multi) => BodyStructure::Multi(Box::new(MultiPart {
                parts: multi.parts.into_iter().map(BodyStructure::into_owned).collect(),
                subtype: owned_bytes(multi.subtype),
                extension: multi.extension.map(|(p, e)| (owned_params(p), e.into_owned())),
            })),
        }
    }

    pub(crate) fn write(&self, w: &mut Writer<'_>) {
        w.raw("(");
        match self {
            BodyStructure::Single(part) => part.write(w),
            BodyStructure::Multi(multi) => multi.write(w),
        }
        w.raw(")");
    }
}

impl BodyPart<'_> {
    /// The same part, independent of the input buffer.
    pub fn into_owned(self) -> BodyPart<'static> {
        BodyPart {
            media: owned_bytes(self.media),
            subtype: owned_bytes(self.subtype),
            params: owned_params(self.params),
            id: self.id.map(owned_bytes),
            description: self.description.map(owned_bytes),
            encoding: owned_bytes(self.encoding),
            octets: self.octets,
            kind: match self.kind {
                PartKind::Basic => PartKind::Basic,
                PartKind::Text { lines } => PartKind::Text { lines },
                PartKind::Message { envelope, body, lines } => PartKind::Message {
                    envelope: Box::new(envelope.into_owned()),
                    body: body.into_owned(),
                    lines,
                },
            },
            extension: self.extension.map(PartExtension::into_owned),
        }
    }

    fn write(&self, w: &mut Writer<'_>) {
        w.string(&self.media);
        w.raw(" ");
        w.string(&self.subtype);
        w.raw(" ");
        write_params(w, &self.params);
        w.raw(" ");
        w.nstring(self.id.as_deref());
        w.raw(" ");
        w.nstring(self.description.as_deref());
        w.raw(" ");
        w.string(&self.encoding);
        w.raw(" ");
        w.number(self.octets);
        match &self.kind {
            PartKind::Basic => {}
            PartKind::Text { lines } => {
                w.raw(" ");
                w.number(*lines);
            }
            PartKind::Message { envelope, body, lines } => {
                w.raw(" ");
                envelope.write(w);
                w.raw(" ");
                body.write(w);
                w.raw(" ");
                w.number(*lines);
            }
        }
        if let Some(extension) = &self.extension {
            w.raw(" ");
            w.nstring(extension.md5.as_deref());
            extension.write(w);
        }
    }
}

impl MultiPart<'_> {
    fn write(&self, w: &mut Writer<'_>) {
        self.parts.iter().for_each(|part| part.write(w));
        w.raw(" ");
        w.string(&self.subtype);
        if let Some((params, extension)) = &self.extension {
            w.raw(" ");
            write_params(w, params);
            extension.write(w);
        }
    }
}

impl PartExtension<'_> {
    fn into_owned(self) -> PartExtension<'static> {
        PartExtension {
            md5: self.md5.map(owned_bytes),
            disposition: self
                .disposition
                .map(|d| Disposition { kind: owned_bytes(d.kind), params: owned_params(d.params) }),
            language: self.language.into_iter().map(owned_bytes).collect(),
            location: self.location.map(owned_bytes),
            more: self.more.into_iter().map(BodyExtension::into_owned).collect(),
        }
    }

    /// What follows the MD5 or the multipart's parameters.
    fn write(&self, w: &mut Writer<'_>) {
        w.raw(" ");
        match &self.disposition {
            None => w.raw("NIL"),
            Some(d) => {
                w.raw("(");
                w.string(&d.kind);
                w.raw(" ");
                write_params(w, &d.params);
                w.raw(")");
            }
        }
        w.raw(" ");
        match &self.language[..] {
            [] => w.raw("NIL"),
            many => w.list(many, |w, l| w.string(l)),
        }
        w.raw(" ");
        w.nstring(self.location.as_deref());
        for value in &self.more {
            w.raw(" ");
            value.write(w);
        }
    }
}

impl BodyExtension<'_> {
    fn into_owned(self) -> BodyExtension<'static> {
        match self {
            BodyExtension::Number(n) => BodyExtension::Number(n),
            BodyExtension::Text(t) => BodyExtension::Text(t.map(owned_bytes)),
            BodyExtension::List(l) => {
                BodyExtension::List(l.into_iter().map(BodyExtension::into_owned).collect())
            }
        }
    }

    fn write(&self, w: &mut Writer<'_>) {
        match self {
            BodyExtension::Number(n) => w.number(*n),
            BodyExtension::Text(t) => w.nstring(t.as_deref()),
            BodyExtension::List(l) => w.list(l, |w, v| v.write(w)),
        }
    }
}

fn write_params(w: &mut Writer<'_>, params: &Params<'_>) {
    if params.is_empty() {
        return w.raw("NIL");
    }
    w.list(params, |w, (name, value)| {
        w.string(name);
        w.raw(" ");
        w.string(value);
    });
}

pub(super) fn body(i: In<'_>, ctx: Ctx) -> Res<'_, BodyStructure<'_>> {
    let (_, ctx) = ctx.deeper(i)?;
    let (i, ()) = byte(i, b'(', "a body structure")?;
    let (i, structure) = if peek(i) == Some(b'(') {
        let (i, multi) = multi(i, ctx)?;
        (i, BodyStructure::Multi(multi))
    } else {
        let (i, part) = single(i, ctx)?;
        (i, BodyStructure::Single(part))
    };
    let (i, ()) = byte(i, b')', ")")?;
    Ok((i, structure))
}

fn multi(mut i: In<'_>, ctx: Ctx) -> Res<'_, Box<MultiPart<'_>>> {
    let mut parts = Vec::new();
    while peek(i) == Some(b'(') {
        ctx.room(i, parts.len())?;
        let (rest, part) = body(i, ctx)?;
        parts.push(part);
        i = rest;
    }
    multi_end(i, ctx, parts)
}

#[inline(never)]
fn multi_end<'a>(i: In<'a>, ctx: Ctx, parts: Vec<BodyStructure<'a>>) -> Res<'a, Box<MultiPart<'a>>> {
    let (i, ()) = sp(i)?;
    let (i, subtype) = string(i)?;
    let Some(rest) = i.strip_prefix(b" ") else {
        return Ok((i, Box::new(MultiPart { parts, subtype, extension: None })));
    };
    let (i, params) = params(rest, ctx)?;
    let (i, extension) = extension(i, ctx, None)?;
    Ok((i, Box::new(MultiPart { parts, subtype, extension: Some((params, extension)) })))
}

/// The recursion runs through this function: what it calls first has left the stack by then, and the part is on the heap.
fn single(i: In<'_>, ctx: Ctx) -> Res<'_, Box<BodyPart<'_>>> {
    let (i, mut part) = fields(i, ctx)?;
    // A number or a list can only be what a text or a message adds: the MD5 that follows otherwise is a string or NIL.
    // So servers that leave them out are understood.
    let i = match i {
        [b' ', b'(', ..] => message(&i[1..], ctx, &mut part)?.0,
        [b' ', b'0'..=b'9', ..] => {
            let (i, lines) = number64(&i[1..])?;
            part.kind = PartKind::Text { lines };
            i
        }
        _ => i,
    };
    let (i, extension) = part_extension(i, ctx)?;
    part.extension = extension;
    Ok((i, part))
}

fn message<'a>(i: In<'a>, ctx: Ctx, part: &mut BodyPart<'a>) -> Res<'a, ()> {
    let (i, envelope) = boxed_envelope(i, ctx)?;
    let (i, ()) = sp(i)?;
    let (i, body) = body(i, ctx)?;
    let (i, ()) = sp(i)?;
    let (i, lines) = number64(i)?;
    part.kind = PartKind::Message { envelope, body, lines };
    Ok((i, ()))
}

#[inline(never)]
fn boxed_envelope(i: In<'_>, ctx: Ctx) -> Res<'_, Box<Envelope<'_>>> {
    let (i, envelope) = envelope(i, ctx)?;
    Ok((i, Box::new(envelope)))
}

#[inline(never)]
fn part_extension(i: In<'_>, ctx: Ctx) -> Res<'_, Option<PartExtension<'_>>> {
    let Some(i) = i.strip_prefix(b" ") else { return Ok((i, None)) };
    let (i, md5) = nstring(i)?;
    let (i, extension) = extension(i, ctx, md5)?;
    Ok((i, Some(extension)))
}

/// What every part has.
#[inline(never)]
fn fields(i: In<'_>, ctx: Ctx) -> Res<'_, Box<BodyPart<'_>>> {
    let (i, media) = string(i)?;
    let (i, ()) = sp(i)?;
    let (i, subtype) = string(i)?;
    let (i, ()) = sp(i)?;
    let (i, params) = params(i, ctx)?;
    let (i, ()) = sp(i)?;
    let (i, id) = nstring(i)?;
    let (i, ()) = sp(i)?;
    let (i, description) = nstring(i)?;
    let (i, ()) = sp(i)?;
    // Some servers say NIL where they found no encoding.
    let (i, encoding) = nstring(i)?;
    let encoding = encoding.unwrap_or(Cow::Borrowed(b"7BIT"));
    let (i, ()) = sp(i)?;
    let (i, octets) = number64(i)?;
    let part = BodyPart {
        media,
        subtype,
        params,
        id,
        description,
        encoding,
        octets,
        kind: PartKind::Basic,
        extension: None,
    };
    Ok((i, Box::new(part)))
}

fn params(i: In<'_>, ctx: Ctx) -> Res<'_, Params<'_>> {
    if let Some(rest) = nil(i) {
        return Ok((rest, Vec::new()));
    }
    paren_list(i, ctx, 0, |i| {
        let (i, name) = string(i)?;
        let (i, ()) = sp(i)?;
        let (i, value) = nstring(i)?;
        Ok((i, (name, value.unwrap_or_default())))
    })
}

fn extension<'a>(i: In<'a>, ctx: Ctx, md5: Option<Cow<'a, [u8]>>) -> Res<'a, PartExtension<'a>> {
    let mut extension = PartExtension { md5, ..PartExtension::default() };
    let Some(i) = i.strip_prefix(b" ") else { return Ok((i, extension)) };
    let (i, disposition) = disposition(i, ctx)?;
    extension.disposition = disposition;
    let Some(i) = i.strip_prefix(b" ") else { return Ok((i, extension)) };
    let (i, language) = language(i, ctx)?;
    extension.language = language;
    let Some(i) = i.strip_prefix(b" ") else { return Ok((i, extension)) };
    let (mut i, location) = nstring(i)?;
    extension.location = location;
    while let Some(rest) = i.strip_prefix(b" ") {
        ctx.room(i, extension.more.len())?;
        let (rest, value) = value(rest, ctx)?;
        extension.more.push(value);
        i = rest;
    }
    Ok((i, extension))
}

fn disposition(i: In<'_>, ctx: Ctx) -> Res<'_, Option<Disposition<'_>>> {
    if let Some(rest) = nil(i) {
        return Ok((rest, None));
    }
    let (i, ()) = byte(i, b'(', "a disposition")?;
    let (i, kind) = string(i)?;
    let (i, ()) = sp(i)?;
    let (i, params) = params(i, ctx)?;
    let (i, ()) = byte(i, b')', ")")?;
    Ok((i, Some(Disposition { kind, params })))
}

fn language(i: In<'_>, ctx: Ctx) -> Res<'_, Vec<Cow<'_, [u8]>>> {
    if peek(i) == Some(b'(') {
        return paren_list(i, ctx, 0, string);
    }
    let (i, one) = nstring(i)?;
    Ok((i, one.into_iter().collect()))
}

fn value(i: In<'_>, ctx: Ctx) -> Res<'_, BodyExtension<'_>> {
    match peek(i) {
        Some(b'(') => {
            let (_, inner) = ctx.deeper(i)?;
            let (i, list) = paren_list(i, inner, 1, |i| value(i, inner))?;
            Ok((i, BodyExtension::List(list)))
        }
        Some(b'0'..=b'9') => {
            let (i, n) = number64(i)?;
            Ok((i, BodyExtension::Number(n)))
        }
        _ => {
            let (i, text) = nstring(i)?;
            Ok((i, BodyExtension::Text(text)))
        }
    }
}

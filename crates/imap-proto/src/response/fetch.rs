//! What a FETCH response tells (RFC 3501 section 7.4.2 and the extensions' items).

use std::borrow::Cow;
use std::num::NonZeroU32;

use super::body::{BodyStructure, body};
use super::envelope::{RawEnvelope, Shown};
use crate::chars::{self, ASTRING};
use crate::command::{mod_seq, part_path, section};
use crate::datetime::date_time;
use crate::keyword::{Key, keys, keyword};
use crate::lex::{
    Ctx, In, Res, ascii, atom_str, byte, expected, in_parens, map, nil, nstring, number, nz_number, peek,
    size, sp,
};
use crate::own::into_owned;
use crate::{Atom, DateTime, Flags, Opaque, PartPath, Payload, Quirks, Section};

/// One data item of a FETCH response.
#[derive(Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum FetchData<'a> {
    /// FLAGS
    Flags(Flags<'a>),
    /// UID
    Uid(NonZeroU32),
    /// INTERNALDATE
    InternalDate(DateTime),
    /// RFC822.SIZE, in octets
    Rfc822Size(u64),
    /// ENVELOPE
    Envelope(RawEnvelope<'a>),
    /// BODY without a section
    Body(BodyStructure<'a>),
    /// BODYSTRUCTURE
    BodyStructure(BodyStructure<'a>),
    /// RFC822; `None` is NIL.
    Rfc822(Option<Payload<'a>>),
    /// RFC822.HEADER
    Rfc822Header(Option<Payload<'a>>),
    /// RFC822.TEXT
    Rfc822Text(Option<Payload<'a>>),
    /// `BODY[section]<origin>`
    Section {
        /// Which part.
        section: Box<Section<'a>>,
        /// Where the octets start, if only some were asked for.
        origin: Option<u32>,
        /// The octets; `None` is NIL: there is no such part.
        data: Option<Payload<'a>>,
    },
    /// `BINARY[part]<origin>` (RFC 3516)
    Binary {
        /// Which part.
        part: Box<PartPath>,
        /// Where the octets start, if only some were asked for.
        origin: Option<u32>,
        /// The octets, decoded.
        data: Option<Payload<'a>>,
    },
    /// `BINARY.SIZE[part]` (RFC 3516)
    BinarySize {
        /// Which part.
        part: Box<PartPath>,
        /// Its size decoded, in octets.
        octets: u64,
    },
    /// MODSEQ (RFC 7162)
    ModSeq(u64),
    /// EMAILID (RFC 8474)
    EmailId(Atom<'a>),
    /// THREADID (RFC 8474); `None` is NIL.
    ThreadId(Option<Atom<'a>>),
    /// SAVEDATE (RFC 8514); `None` is NIL.
    SaveDate(Option<DateTime>),
    /// PREVIEW (RFC 8970), in UTF-8; `None` is NIL.
    Preview(Option<Cow<'a, [u8]>>),
    /// An item of an extension; the value as it stands on the wire.
    Other {
        /// Its name; it may hold a section, as `X[1]` does. Of ASTRING-CHARs: others are not written.
        name: Cow<'a, str>,
        /// Its value: an atom, a string or a list.
        value: Opaque<'a>,
    },
}

into_owned!(enum FetchData {
    Flags(f), Uid(n), InternalDate(d), Rfc822Size(n), Envelope(e), Body(b), BodyStructure(b), Rfc822(p), Rfc822Header(p),
    Rfc822Text(p), Section { section, origin, data }, Binary { part, origin, data }, BinarySize { part, octets },
    ModSeq(n), EmailId(id), ThreadId(id), SaveDate(d), Preview(text), Other { name, value },
});

impl std::fmt::Debug for FetchData<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            FetchData::Flags(v) => write!(f, "Flags({v:?})"),
            FetchData::Uid(v) => write!(f, "Uid({v})"),
            FetchData::InternalDate(v) => write!(f, "InternalDate({v:?})"),
            FetchData::Rfc822Size(v) => write!(f, "Rfc822Size({v})"),
            FetchData::Envelope(v) => v.fmt(f),
            FetchData::Body(v) => f.debug_tuple("Body").field(v).finish(),
            FetchData::BodyStructure(v) => f.debug_tuple("BodyStructure").field(v).finish(),
            FetchData::Rfc822(v) => f.debug_tuple("Rfc822").field(v).finish(),
            FetchData::Rfc822Header(v) => f.debug_tuple("Rfc822Header").field(v).finish(),
            FetchData::Rfc822Text(v) => f.debug_tuple("Rfc822Text").field(v).finish(),
            FetchData::Section { section, origin, data } => {
                write!(f, "Section({section:?}, origin: {origin:?}, data: {data:?})")
            }
            FetchData::Binary { part, origin, data } => {
                write!(f, "Binary({part:?}, origin: {origin:?}, data: {data:?})")
            }
            FetchData::BinarySize { part, octets } => write!(f, "BinarySize({part:?}, {octets})"),
            FetchData::ModSeq(v) => write!(f, "ModSeq({v})"),
            FetchData::EmailId(v) => write!(f, "EmailId({v})"),
            FetchData::ThreadId(v) => write!(f, "ThreadId({v:?})"),
            FetchData::SaveDate(v) => write!(f, "SaveDate({v:?})"),
            FetchData::Preview(v) => write!(f, "Preview({:?})", v.as_deref().map(Shown)),
            FetchData::Other { name, value } => write!(f, "Other({name} {value:?})"),
        }
    }
}

keys!(
    FLAGS,
    UID,
    INTERNALDATE,
    ENVELOPE,
    BODY,
    BODYSTRUCTURE,
    RFC822,
    MODSEQ,
    EMAILID,
    THREADID,
    SAVEDATE,
    PREVIEW,
    BINARY,
    RFC822_SIZE = "RFC822.SIZE",
    RFC822_HEADER = "RFC822.HEADER",
    RFC822_TEXT = "RFC822.TEXT",
    BINARY_SIZE = "BINARY.SIZE",
);

/// `(item value ...)`
#[inline]
pub(super) fn fetch_items(i: In<'_>, ctx: Ctx) -> Res<'_, Vec<FetchData<'_>>> {
    let (mut i, ()) = byte(i, b'(', "(")?;
    let mut items = Vec::with_capacity(8);
    if let Some(rest) = i.strip_prefix(b")") {
        return Ok((rest, items));
    }
    loop {
        ctx.room(i, items.len())?;
        let (rest, item) = fetch_data(i, ctx)?;
        items.push(item);
        i = rest;
        match i {
            [b')', rest @ ..] => return Ok((rest, items)),
            [b' ', b')', rest @ ..] if ctx.allows(Quirks::TRAILING_SPACE) => return Ok((rest, items)),
            [b' ', rest @ ..] => i = rest,
            _ => return expected(i, ") or a space"),
        }
    }
}

#[inline]
fn fetch_data(i: In<'_>, ctx: Ctx) -> Res<'_, FetchData<'_>> {
    use FetchData as F;
    let (rest, (_, key)) = keyword(i, chars::NAME, "a FETCH item")?;
    if peek(rest) == Some(b'[') {
        return bracketed(i, rest, key, ctx);
    }
    let Some(value) = rest.strip_prefix(b" ") else { return expected(rest, "a space") };
    match key {
        FLAGS => map(Flags::parse_paren(value, ctx, 0), F::Flags),
        UID => map(nz_number(value), F::Uid),
        MODSEQ => map(in_parens(value, mod_seq), F::ModSeq),
        RFC822_SIZE => map(size(value, ctx), F::Rfc822Size),
        INTERNALDATE => map(date_time(value, ctx), F::InternalDate),
        ENVELOPE => map(RawEnvelope::check(value, ctx), F::Envelope),
        BODY => map(body(value, ctx), F::Body),
        BODYSTRUCTURE => map(body(value, ctx), F::BodyStructure),
        _ => rarer(i, value, key, ctx),
    }
}

fn rarer<'a>(start: In<'a>, value: In<'a>, key: Key, ctx: Ctx) -> Res<'a, FetchData<'a>> {
    use FetchData as F;
    match key {
        RFC822 => map(payload(value, ctx), F::Rfc822),
        RFC822_HEADER => map(payload(value, ctx), F::Rfc822Header),
        RFC822_TEXT => map(payload(value, ctx), F::Rfc822Text),
        EMAILID => map(in_parens(value, object_id), F::EmailId),
        THREADID => map(or_nil(value, |i| in_parens(i, object_id)), F::ThreadId),
        SAVEDATE => map(or_nil(value, |i| date_time(i, ctx)), F::SaveDate),
        PREVIEW => map(nstring(value, ctx), F::Preview),
        _ => other_item(start, ctx),
    }
}

fn bracketed<'a>(start: In<'a>, i: In<'a>, key: Key, ctx: Ctx) -> Res<'a, FetchData<'a>> {
    match key {
        BODY => {
            let (i, section) = section(i, ctx)?;
            let (i, origin) = origin(i)?;
            let (i, ()) = sp(i)?;
            map(payload(i, ctx), |data| FetchData::Section { section: Box::new(section), origin, data })
        }
        BINARY => {
            let (i, part) = part_path(i, ctx)?;
            let (i, origin) = origin(i)?;
            let (i, ()) = sp(i)?;
            map(payload(i, ctx), |data| FetchData::Binary { part: Box::new(part), origin, data })
        }
        BINARY_SIZE => {
            let (i, part) = part_path(i, ctx)?;
            let (i, ()) = sp(i)?;
            map(size(i, ctx), |octets| FetchData::BinarySize { part: Box::new(part), octets })
        }
        _ => other_item(start, ctx),
    }
}

fn object_id(i: In<'_>) -> Res<'_, Atom<'_>> {
    map(atom_str(i), Atom::checked)
}

fn or_nil<'a, T>(i: In<'a>, value: impl FnOnce(In<'a>) -> Res<'a, T>) -> Res<'a, Option<T>> {
    match nil(i) {
        Some(rest) => Ok((rest, None)),
        None => map(value(i), Some),
    }
}

/// The name may hold brackets.
fn other_item(i: In<'_>, ctx: Ctx) -> Res<'_, FetchData<'_>> {
    let n = i.iter().position(|&b| !chars::is(b, ASTRING)).unwrap_or(i.len());
    let (name, rest) = i.split_at(n);
    let (rest, ()) = sp(rest)?;
    let name = Cow::Borrowed(ascii(name));
    map(Opaque::parse(rest, ctx), |value| FetchData::Other { name, value })
}

fn origin(i: In<'_>) -> Res<'_, Option<u32>> {
    let Some(i) = i.strip_prefix(b"<") else { return Ok((i, None)) };
    let (i, origin) = number(i)?;
    map(byte(i, b'>', ">"), |()| Some(origin))
}

pub(super) fn payload(i: In<'_>, ctx: Ctx) -> Res<'_, Option<Payload<'_>>> {
    match peek(i) {
        Some(b'{' | b'~') => map(Payload::parse(i), Some),
        _ => map(nstring(i, ctx), |data| data.map(Payload::Bytes)),
    }
}

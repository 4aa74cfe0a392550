//! What URLs name: the answer to URLFETCH (RFCs 4467 and 5524).

use std::borrow::Cow;

use super::body::{BodyStructure, body};
use super::encode::octets;
use super::fetch::payload;
use crate::lex::{Ctx, In, Res, after_sp, astring, atom_str, in_parens, map, peek, sp};
use crate::own::into_owned;
use crate::write::Writer;
use crate::{Atom, Opaque, Payload};

/// One URL, and what it names.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct UrlData<'a> {
    /// The URL, as the client wrote it.
    pub url: Cow<'a, [u8]>,
    /// What there is.
    pub content: UrlContent<'a>,
}

/// What is told of a URL.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum UrlContent<'a> {
    /// The octets that it names, as they are in the message (RFC 4467); `None` is NIL: it cannot be had.
    Text(Option<Payload<'a>>),
    /// What was asked for, each in parentheses (RFC 5524 section 3.2).
    Items(Vec<UrlMetadata<'a>>),
}

/// One thing told of a URL.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum UrlMetadata<'a> {
    /// BODYPARTSTRUCTURE: the part's structure, as its octets are sent here.
    BodyPartStructure(BodyStructure<'a>),
    /// BINARY: the octets, decoded; `None` is NIL: the server cannot decode them.
    Binary(Option<Payload<'a>>),
    /// BODY: the octets as they are in the message.
    Body(Option<Payload<'a>>),
    /// Of another extension.
    Other {
        /// Its name.
        name: Atom<'a>,
        /// Its value.
        value: Opaque<'a>,
    },
}

into_owned!(struct UrlData { url, content });
into_owned!(
    enum UrlContent {
        Text(data),
        Items(items),
    }
);
into_owned!(enum UrlMetadata { BodyPartStructure(body), Binary(data), Body(data), Other { name, value } });

impl<'a> UrlData<'a> {
    /// `url SP (nstring / 1*("(" item ")"))`
    pub(super) fn parse(i: In<'a>, ctx: Ctx) -> Res<'a, Self> {
        let (i, url) = astring(i, ctx)?;
        let (mut i, ()) = sp(i)?;
        if peek(i) != Some(b'(') {
            return map(payload(i, ctx), |data| Self { url, content: UrlContent::Text(data) });
        }
        let mut items = Vec::new();
        loop {
            ctx.room(i, items.len())?;
            let (rest, item) = in_parens(i, |i| UrlMetadata::parse(i, ctx))?;
            items.push(item);
            match rest.strip_prefix(b" ").filter(|next| peek(next) == Some(b'(')) {
                Some(next) => i = next,
                None => return Ok((rest, Self { url, content: UrlContent::Items(items) })),
            }
        }
    }

    pub(super) fn write(&self, w: &mut Writer<'_>) {
        w.astring(&self.url);
        match &self.content {
            UrlContent::Text(data) => {
                w.raw(" ");
                w.nstring(octets(data));
            }
            UrlContent::Items(items) => items.iter().for_each(|item| item.write(w)),
        }
    }
}

impl<'a> UrlMetadata<'a> {
    fn parse(i: In<'a>, ctx: Ctx) -> Res<'a, Self> {
        let (i, name) = atom_str(i)?;
        after_sp(i, |i| match name {
            _ if name.eq_ignore_ascii_case("BODYPARTSTRUCTURE") => map(body(i, ctx), Self::BodyPartStructure),
            _ if name.eq_ignore_ascii_case("BINARY") => map(payload(i, ctx), Self::Binary),
            _ if name.eq_ignore_ascii_case("BODY") => map(payload(i, ctx), Self::Body),
            _ => map(Opaque::parse(i, ctx), |value| Self::Other { name: Atom::checked(name), value }),
        })
    }

    fn write(&self, w: &mut Writer<'_>) {
        w.raw(" (");
        match self {
            Self::BodyPartStructure(body) => {
                w.raw("BODYPARTSTRUCTURE ");
                body.write(w);
            }
            Self::Binary(data) => {
                w.raw("BINARY ");
                w.nstring(octets(data));
            }
            Self::Body(data) => {
                w.raw("BODY ");
                w.nstring(octets(data));
            }
            Self::Other { name, value } => {
                w.word(name.as_str(), " ");
                value.write(w);
            }
        }
        w.raw(")");
    }
}

//! Extension data of a body structure (RFC 3501 section 7.4.2, body-ext-1part and body-ext-mpart).

use std::borrow::Cow;

use super::body::{Params, params, write_params};
use crate::lex::{Ctx, In, Res, byte, map, nil, nstring, number64, paren_list, peek, sp, string};
use crate::list::{Element, list};
use crate::own::into_owned;
use crate::text::Strings;
use crate::write::Writer;

/// Extension data. What a server leaves out at the end is absent here.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct PartExtension<'a> {
    /// Content-MD5
    pub md5: Option<Cow<'a, [u8]>>,
    /// Content-Disposition
    pub disposition: Option<Disposition<'a>>,
    /// Content-Language
    pub language: Strings<'a>,
    /// Content-Location
    pub location: Option<Cow<'a, [u8]>>,
    /// What future extensions add.
    pub more: BodyExtensions<'a>,
}

/// Content-Disposition.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Disposition<'a> {
    /// `INLINE`, `ATTACHMENT` ...
    pub kind: Cow<'a, [u8]>,
    /// Its parameters.
    pub params: Params<'a>,
}

/// An extension's value.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum BodyExtension<'a> {
    /// A number.
    Number(u64),
    /// A string or NIL.
    Text(Option<Cow<'a, [u8]>>),
    /// A list of values.
    List(Vec<BodyExtension<'a>>),
}

list! {
    /// Extensions' values.
    BodyExtensions<'w> of BodyExtension<'w>
}

/// Extension data as it stands on the wire, checked.
#[derive(Clone)]
pub struct RawExtension<'a> {
    wire: Cow<'a, [u8]>,
}

into_owned!(struct RawExtension { wire });
into_owned!(struct PartExtension { md5, disposition, language, location, more });
into_owned!(struct Disposition { kind, params });
into_owned!(
    enum BodyExtension {
        Number(n),
        Text(text),
        List(list),
    }
);

impl<'a> RawExtension<'a> {
    /// Its fields.
    pub fn parse(&self) -> PartExtension<'_> {
        // It was parsed before. A multipart has no MD5 and starts with the space before what follows.
        let parsed = match self.wire.first() {
            None | Some(b' ') => extension(&self.wire, Ctx::CHECKED, None),
            _ => whole(&self.wire, Ctx::CHECKED),
        };
        parsed.map(|(_, e)| e).unwrap_or_default()
    }

    /// `md5 [SP ...]`
    #[inline]
    pub(super) fn check(i: In<'a>, ctx: Ctx) -> Res<'a, Self> {
        let (rest, _) = whole(i, ctx)?;
        Ok((rest, Self { wire: Cow::Borrowed(&i[..i.len() - rest.len()]) }))
    }

    /// `[SP disposition ...]`
    pub(super) fn check_after_params(i: In<'a>, ctx: Ctx) -> Res<'a, Self> {
        let (rest, _) = extension(i, ctx, None)?;
        Ok((rest, Self { wire: Cow::Borrowed(&i[..i.len() - rest.len()]) }))
    }

    /// For a multipart, whose parameters stand in the MD5's place.
    pub fn of_multipart(extension: &PartExtension<'_>) -> RawExtension<'static> {
        let mut out = Vec::new();
        extension.write_rest(&mut Writer::checked(&mut out));
        RawExtension { wire: Cow::Owned(out) }
    }

    pub(super) fn write(&self, w: &mut Writer<'_>) {
        let parsed = self.parse();
        if self.wire.first().is_some_and(|b| *b != b' ') {
            w.nstring(parsed.md5.as_deref());
        }
        parsed.write_rest(w);
    }
}

impl From<&PartExtension<'_>> for RawExtension<'static> {
    fn from(extension: &PartExtension<'_>) -> Self {
        let mut out = Vec::new();
        let mut w = Writer::checked(&mut out);
        w.nstring(extension.md5.as_deref());
        extension.write_rest(&mut w);
        Self { wire: Cow::Owned(out) }
    }
}

impl PartialEq for RawExtension<'_> {
    fn eq(&self, other: &RawExtension<'_>) -> bool {
        self.wire == other.wire || self.parse() == other.parse()
    }
}

impl Eq for RawExtension<'_> {}

impl std::fmt::Debug for RawExtension<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.parse().fmt(f)
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for RawExtension<'_> {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let of_multipart = self.wire.first().is_none_or(|b| *b == b' ');
        (of_multipart, self.parse()).serialize(to)
    }
}

#[cfg(feature = "serde")]
impl<'de> serde::Deserialize<'de> for RawExtension<'_> {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let (of_multipart, extension) = <(bool, PartExtension<'_>)>::deserialize(from)?;
        Ok(if of_multipart { RawExtension::of_multipart(&extension) } else { RawExtension::from(&extension) })
    }
}

impl PartExtension<'_> {
    /// What follows the MD5 or the multipart's parameters.
    fn write_rest(&self, w: &mut Writer<'_>) {
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
        if self.language.is_empty() {
            w.raw("NIL");
        } else {
            w.list(&self.language, |w, l| w.string(&l));
        }
        w.raw(" ");
        w.nstring(self.location.as_deref());
        for value in &self.more {
            w.raw(" ");
            value.write(w);
        }
    }
}

#[inline]
fn whole(i: In<'_>, ctx: Ctx) -> Res<'_, PartExtension<'_>> {
    let (i, md5) = nstring(i, ctx)?;
    extension(i, ctx, md5)
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
    let (i, location) = nstring(i, ctx)?;
    extension.location = location;
    let Some(i) = i.strip_prefix(b" ") else { return Ok((i, extension)) };
    let (i, more) = BodyExtensions::parse_bare(i, ctx)?;
    extension.more = more;
    Ok((i, extension))
}

fn disposition(i: In<'_>, ctx: Ctx) -> Res<'_, Option<Disposition<'_>>> {
    if let Some(rest) = nil(i) {
        return Ok((rest, None));
    }
    let (i, ()) = byte(i, b'(', "a disposition")?;
    let (i, kind) = string(i, ctx)?;
    let (i, ()) = sp(i)?;
    let (i, params) = params(i, ctx)?;
    map(byte(i, b')', ")"), |()| Some(Disposition { kind, params }))
}

fn language(i: In<'_>, ctx: Ctx) -> Res<'_, Strings<'_>> {
    if peek(i) == Some(b'(') {
        return Strings::parse_paren(i, ctx, 0);
    }
    if let Some(rest) = nil(i) {
        return Ok((rest, Strings::default()));
    }
    let (rest, _) = string(i, ctx)?;
    map(Strings::parse_bare(&i[..i.len() - rest.len()], ctx), |one| one).map(|(_, one)| (rest, one))
}

impl<'w> Element<'w> for BodyExtension<'w> {
    fn parse(i: In<'w>, ctx: Ctx) -> Res<'w, Self> {
        match peek(i) {
            Some(b'(') => {
                let (_, inner) = ctx.deeper(i)?;
                map(paren_list(i, inner, 1, |i| Self::parse(i, inner)), BodyExtension::List)
            }
            Some(b'0'..=b'9') => map(number64(i), BodyExtension::Number),
            _ => map(nstring(i, ctx), BodyExtension::Text),
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

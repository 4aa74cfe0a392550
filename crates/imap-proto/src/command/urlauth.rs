//! URLs that grant access to a message (RFCs 4467 and 5524), languages and collations (RFC 5255), conversions (RFC 5259).

use std::borrow::Cow;

use super::CommandBody;
use crate::lex::{Ctx, In, Res, after_sp, astring, atom_str, in_parens, map, peek, trailing};
use crate::list::{Element, list};
use crate::own::into_owned;
use crate::sequence::saved_or_set;
use crate::text::{Strings, mailbox};
use crate::write::Writer;
use crate::{Atom, Mailbox, Opaque};

/// What URLFETCH wants of one URL.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct UrlRequest<'a> {
    /// The URL.
    pub url: Cow<'a, [u8]>,
    /// What to tell of it (RFC 5524 section 3.1), in parentheses on the wire; `None` for the text alone, as RFC 4467 has it. Empty
    /// means the same.
    pub items: Option<Vec<UrlItem<'a>>>,
}

/// An item of RFC 5524's URLFETCH.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum UrlItem<'a> {
    /// BODY: the octets as they are in the message.
    Body,
    /// BINARY: the octets, decoded.
    Binary,
    /// BODYPARTSTRUCTURE: the part's structure.
    BodyPartStructure,
    /// Of another extension.
    Other(Atom<'a>),
}

list! {
    /// What URLFETCH wants.
    UrlRequests<'w> of UrlRequest<'w>
}

into_owned!(struct UrlRequest { url, items });
into_owned!(
    enum UrlItem {
        Body,
        Binary,
        BodyPartStructure,
        Other(name),
    }
);

impl<'a> UrlItem<'a> {
    fn parse(i: In<'a>) -> Res<'a, Self> {
        map(atom_str(i), |name| match name {
            _ if name.eq_ignore_ascii_case("BODY") => Self::Body,
            _ if name.eq_ignore_ascii_case("BINARY") => Self::Binary,
            _ if name.eq_ignore_ascii_case("BODYPARTSTRUCTURE") => Self::BodyPartStructure,
            _ => Self::Other(Atom::checked(name)),
        })
    }

    fn name(&self) -> &str {
        match self {
            Self::Body => "BODY",
            Self::Binary => "BINARY",
            Self::BodyPartStructure => "BODYPARTSTRUCTURE",
            Self::Other(name) => name.as_str(),
        }
    }
}

impl<'w> Element<'w> for UrlRequest<'w> {
    fn parse(i: In<'w>, ctx: Ctx) -> Res<'w, Self> {
        if peek(i) != Some(b'(') {
            return map(astring(i, ctx), |url| Self { url, items: None });
        }
        in_parens(i, |i| {
            let (i, url) = astring(i, ctx)?;
            map(trailing(i, ctx, UrlItem::parse), |items| Self { url, items: Some(items) })
        })
    }

    fn write(&self, w: &mut Writer<'_>) {
        let Some(items) = &self.items else { return w.astring(&self.url) };
        w.raw("(");
        w.astring(&self.url);
        items.iter().for_each(|item| w.word(" ", item.name()));
        w.raw(")");
    }
}

/// ` url mechanism url mechanism ...`, at least one pair.
pub(super) fn gen_url_auth(start: In<'_>, ctx: Ctx) -> Res<'_, CommandBody<'_>> {
    let mut i = start;
    let mut urls = Vec::new();
    loop {
        ctx.room(i, urls.len())?;
        let (rest, url) = after_sp(i, |i| astring(i, ctx))?;
        let (rest, mechanism) = after_sp(rest, atom_str)?;
        urls.push((url, Atom::checked(mechanism)));
        if rest.is_empty() {
            return Ok((rest, CommandBody::GenUrlAuth(urls)));
        }
        i = rest;
    }
}

/// `[ mailbox mechanism mechanism ...]`
pub(super) fn reset_key(i: In<'_>, ctx: Ctx) -> Res<'_, CommandBody<'_>> {
    let Some(i) = i.strip_prefix(b" ") else { return Ok((i, CommandBody::ResetKey(None))) };
    let (i, mailbox) = mailbox(i, ctx)?;
    let mechanism = |i| map(atom_str(i), Atom::checked);
    map(trailing(i, ctx, mechanism), |mechanisms| CommandBody::ResetKey(Some((mailbox, mechanisms))))
}

/// ` a b c`, or nothing at all.
pub(super) fn strings(i: In<'_>, ctx: Ctx) -> Res<'_, Strings<'_>> {
    match i.strip_prefix(b" ") {
        Some(i) => Strings::parse_bare(i, ctx),
        None => Ok((i, Strings::default())),
    }
}

/// `set (type (parameters)) items`
pub(super) fn convert(i: In<'_>, ctx: Ctx, uid: bool) -> Res<'_, CommandBody<'_>> {
    let (i, set) = saved_or_set(i, ctx)?;
    let (i, to) = after_sp(i, |i| Opaque::parse(i, ctx))?;
    map(after_sp(i, |i| Opaque::parse(i, ctx)), |items| CommandBody::Convert { uid, set, to, items })
}

pub(super) fn conversions(i: In<'_>, ctx: Ctx) -> Res<'_, CommandBody<'_>> {
    let (i, from) = astring(i, ctx)?;
    map(after_sp(i, |i| astring(i, ctx)), |to| CommandBody::Conversions { from, to })
}

pub(super) fn write_gen_url_auth(w: &mut Writer<'_>, urls: &[(Cow<'_, [u8]>, Atom<'_>)]) {
    w.raw("GENURLAUTH");
    for (url, mechanism) in urls {
        w.raw(" ");
        w.astring(url);
        w.word(" ", mechanism.as_str());
    }
}

pub(super) fn write_reset_key(w: &mut Writer<'_>, of: Option<&(Mailbox<'_>, Vec<Atom<'_>>)>) {
    w.raw("RESETKEY");
    if let Some((mailbox, mechanisms)) = of {
        w.raw(" ");
        w.astring(mailbox.as_wire());
        mechanisms.iter().for_each(|mechanism| w.word(" ", mechanism.as_str()));
    }
}

pub(super) fn write_strings(w: &mut Writer<'_>, name: &str, strings: &Strings<'_>) {
    w.raw(name);
    if !strings.is_empty() {
        w.raw(" ");
        strings.write_bare(w);
    }
}

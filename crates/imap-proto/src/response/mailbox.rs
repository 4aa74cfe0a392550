//! What a server tells of mailboxes: LIST, NAMESPACE, QUOTA, ACL.

use std::borrow::Cow;

use crate::lex::{
    Ctx, In, Res, after_sp, astring, atom_str, byte, expected, in_parens, map, nil, number64, paren_list,
    peek, quoted, sp, string, trailing,
};
use crate::list::Element;
use crate::own::into_owned;
use crate::text::{Strings, mailbox};
use crate::write::Writer;
use crate::{Atom, Flags, Mailbox, Opaque, Quirks};

/// One line of LIST or LSUB.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct ListEntry<'a> {
    /// `\Noselect`, `\HasChildren`, `\Sent` ... as [`Flag::Extension`](crate::Flag::Extension).
    pub attributes: Flags<'a>,
    /// The hierarchy's delimiter; `None` in a flat namespace.
    pub delimiter: Option<u8>,
    /// The mailbox.
    pub mailbox: Mailbox<'a>,
    /// Extended data (RFC 5258 section 3).
    pub extended: Vec<ListExtended<'a>>,
}

/// Extended data of a LIST response.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum ListExtended<'a> {
    /// CHILDINFO (RFC 5258 section 4): why a mailbox that does not match itself is told, such as `SUBSCRIBED`.
    ChildInfo(Strings<'a>),
    /// OLDNAME (RFC 5465, RFC 9051 section 6.3.9.7): the mailbox was renamed from this.
    OldName(Mailbox<'a>),
    /// Of another extension.
    Other {
        /// Its name.
        name: Cow<'a, [u8]>,
        /// Its value.
        value: Opaque<'a>,
    },
}

/// One namespace of RFC 2342.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Namespace<'a> {
    /// What its mailboxes' names start with.
    pub prefix: Mailbox<'a>,
    /// Its hierarchy's delimiter.
    pub delimiter: Option<u8>,
    /// Extensions: names and values, such as TRANSLATION (RFC 5255).
    pub extensions: Vec<(Cow<'a, [u8]>, Strings<'a>)>,
}

/// A resource of a QUOTA response (RFC 9208 section 4.1), in its own unit: STORAGE counts KiB.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct QuotaResource<'a> {
    /// STORAGE, MESSAGE, MAILBOX, ANNOTATION-STORAGE or another.
    pub name: Atom<'a>,
    /// What is used.
    pub usage: u64,
    /// What may be used.
    pub limit: u64,
}

into_owned!(struct ListEntry { attributes, delimiter, mailbox, extended });
into_owned!(enum ListExtended { ChildInfo(info), OldName(name), Other { name, value } });
into_owned!(struct Namespace { prefix, delimiter, extensions });
into_owned!(struct QuotaResource { name, usage, limit });

fn delimiter(i: In<'_>, ctx: Ctx) -> Res<'_, Option<u8>> {
    if let Some(rest) = nil(i) {
        return Ok((rest, None));
    }
    let (rest, text) = quoted(i, ctx)?;
    match &text[..] {
        [] => Ok((rest, None)),
        [one] => Ok((rest, Some(*one))),
        _ => expected(i, "a delimiter of one character"),
    }
}

fn write_delimiter(w: &mut Writer<'_>, delimiter: Option<u8>) {
    match delimiter {
        Some(d) => w.quoted(&[d]),
        None => w.raw("NIL"),
    }
}

impl<'a> ListEntry<'a> {
    pub(super) fn parse(i: In<'a>, ctx: Ctx) -> Res<'a, Self> {
        let (i, attributes) = Flags::parse_paren(i, ctx, 0)?;
        let (i, delimiter) = after_sp(i, |i| delimiter(i, ctx))?;
        let (i, mailbox) = after_sp(i, |i| mailbox(i, ctx))?;
        let (i, extended) = match i.strip_prefix(b" ") {
            Some(rest) if ctx.allows(Quirks::TRAILING_SPACE) && rest.is_empty() => (rest, Vec::new()),
            Some(rest) => paren_list(rest, ctx, 0, |i| ListExtended::parse(i, ctx))?,
            None => (i, Vec::new()),
        };
        Ok((i, Self { attributes, delimiter, mailbox, extended }))
    }

    pub(super) fn write(&self, w: &mut Writer<'_>) {
        self.attributes.write_paren(w);
        w.raw(" ");
        write_delimiter(w, self.delimiter);
        w.raw(" ");
        w.astring(self.mailbox.as_wire());
        if !self.extended.is_empty() {
            w.raw(" ");
            w.list(&self.extended, |w, item| item.write(w));
        }
    }
}

impl<'a> ListExtended<'a> {
    fn parse(i: In<'a>, ctx: Ctx) -> Res<'a, Self> {
        let (i, name) = astring(i, ctx)?;
        let (i, ()) = sp(i)?;
        if name.eq_ignore_ascii_case(b"CHILDINFO") {
            return map(Strings::parse_paren(i, ctx, 1), Self::ChildInfo);
        }
        if name.eq_ignore_ascii_case(b"OLDNAME") {
            return map(in_parens(i, |i| mailbox(i, ctx)), Self::OldName);
        }
        map(Opaque::parse(i, ctx), |value| Self::Other { name, value })
    }

    fn write(&self, w: &mut Writer<'_>) {
        match self {
            Self::ChildInfo(info) => {
                w.raw("\"CHILDINFO\" ");
                w.list(info, |w, s| w.string(&s));
            }
            Self::OldName(name) => {
                w.raw("\"OLDNAME\" (");
                w.astring(name.as_wire());
                w.raw(")");
            }
            Self::Other { name, value } => {
                w.string(name);
                w.raw(" ");
                value.write(w);
            }
        }
    }
}

/// `(...)` or NIL, three times.
pub(super) fn namespaces(i: In<'_>, ctx: Ctx) -> Res<'_, [Option<Vec<Namespace<'_>>>; 3]> {
    let (i, personal) = namespace_list(i, ctx)?;
    let (i, others) = after_sp(i, |i| namespace_list(i, ctx))?;
    map(after_sp(i, |i| namespace_list(i, ctx)), |shared| [personal, others, shared])
}

fn namespace_list(i: In<'_>, ctx: Ctx) -> Res<'_, Option<Vec<Namespace<'_>>>> {
    if let Some(rest) = nil(i) {
        return Ok((rest, None));
    }
    let (mut i, ()) = byte(i, b'(', "a namespace")?;
    let mut list = Vec::new();
    while peek(i) != Some(b')') {
        ctx.room(i, list.len())?;
        let (rest, one) = in_parens(i, |i| Namespace::parse(i, ctx))?;
        list.push(one);
        i = rest;
    }
    Ok((&i[1..], Some(list)))
}

impl<'a> Namespace<'a> {
    fn parse(i: In<'a>, ctx: Ctx) -> Res<'a, Self> {
        let (i, prefix) = mailbox(i, ctx)?;
        let (i, delimiter) = after_sp(i, |i| delimiter(i, ctx))?;
        let (i, extensions) = trailing(i, ctx, |i| {
            let (i, name) = string(i, ctx)?;
            map(after_sp(i, |i| Strings::parse_paren(i, ctx, 1)), |values| (name, values))
        })?;
        Ok((i, Self { prefix, delimiter, extensions }))
    }

    fn write(&self, w: &mut Writer<'_>) {
        w.raw("(");
        w.string(self.prefix.as_wire());
        w.raw(" ");
        write_delimiter(w, self.delimiter);
        for (name, values) in &self.extensions {
            w.raw(" ");
            w.string(name);
            w.raw(" ");
            w.list(values, |w, v| w.string(&v));
        }
        w.raw(")");
    }
}

pub(super) fn write_namespaces(w: &mut Writer<'_>, spaces: &[Option<Vec<Namespace<'_>>>; 3]) {
    w.spaced(spaces, |w, space| match space {
        None => w.raw("NIL"),
        Some(space) => {
            w.raw("(");
            space.iter().for_each(|one| one.write(w));
            w.raw(")");
        }
    });
}

/// `root SP (name usage limit ...)`
pub(super) fn quota<'a>(i: In<'a>, ctx: Ctx) -> Res<'a, (Cow<'a, [u8]>, Vec<QuotaResource<'a>>)> {
    let (i, root) = astring(i, ctx)?;
    let more_spaces = |mut i: In<'a>| {
        while ctx.allows(Quirks::QUOTA_SPACES) && peek(i) == Some(b' ') {
            i = &i[1..];
        }
        i
    };
    let resource = |i| {
        let (i, name) = atom_str(more_spaces(i))?;
        let (i, usage) = after_sp(i, |i| number64(more_spaces(i)))?;
        map(after_sp(i, |i| number64(more_spaces(i))), |limit| QuotaResource {
            name: Atom::checked(name),
            usage,
            limit,
        })
    };
    map(after_sp(i, |i| paren_list(i, ctx, 0, resource)), |resources| (root, resources))
}

pub(super) fn write_quota(w: &mut Writer<'_>, root: &[u8], resources: &[QuotaResource<'_>]) {
    w.raw("QUOTA ");
    w.astring(root);
    w.raw(" ");
    w.list(resources, |w, r| {
        w.raw(r.name.as_str());
        w.numbered(" ", r.usage);
        w.numbered(" ", r.limit);
    });
}

/// A mailbox and strings behind it.
pub(super) fn mailbox_and_strings(i: In<'_>, ctx: Ctx) -> Res<'_, (Mailbox<'_>, Vec<Cow<'_, [u8]>>)> {
    let (i, name) = mailbox(i, ctx)?;
    map(trailing(i, ctx, |i| astring(i, ctx)), |strings| (name, strings))
}

/// `Element` for what METADATA lists.
pub(super) fn write_strings(w: &mut Writer<'_>, strings: &[Cow<'_, [u8]>]) {
    for s in strings {
        w.raw(" ");
        Element::write(s, w);
    }
}

//! METADATA (RFC 5464), QUOTA (RFC 9208) and ACL (RFC 4314): what a client says.

use std::borrow::Cow;

use crate::keyword::{keys, keyword};
use crate::lex::{
    Ctx, In, Res, after_sp, astring, atom_str, expected, in_parens, map, number, number64, paren_list, peek,
    sp, string, words,
};
use crate::list::{Element, list};
use crate::own::into_owned;
use crate::text::{Strings, mailbox};
use crate::write::Writer;
use crate::{Atom, Mailbox, chars};

words! {
    /// How far below an entry (RFC 5464 section 4.2.2).
    pub enum MetadataDepth("0, 1 or infinity") {
        /// Only itself.
        Zero = "0",
        /// Its children too.
        One = "1",
        /// All below it.
        Infinity = "infinity",
    }
}

/// GETMETADATA (RFC 5464 section 4.2). An empty mailbox name means the server itself.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct GetMetadata<'a> {
    /// MAXSIZE: longer values are left out, in octets.
    pub size_max: Option<u32>,
    /// DEPTH
    pub depth: Option<MetadataDepth>,
    /// Of which mailbox.
    pub mailbox: Mailbox<'a>,
    /// Which entries, such as `/private/comment`.
    pub entries: Strings<'a>,
}

/// A metadata entry and its value; `None` removes it or says that there is none.
#[derive(Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct MetadataEntry<'a> {
    /// Its name.
    pub name: Cow<'a, [u8]>,
    /// Its value.
    pub value: Option<Cow<'a, [u8]>>,
}

impl std::fmt::Debug for MetadataEntry<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let value = self.value.as_ref().map(|v| v.escape_ascii().to_string());
        write!(f, "MetadataEntry({} = {value:?})", self.name.escape_ascii())
    }
}

list! {
    /// Metadata entries with their values.
    MetadataEntries<'w> of MetadataEntry<'w>
}

/// A limit of SETQUOTA, in the resource's unit: STORAGE counts KiB, MESSAGE messages, MAILBOX mailboxes (RFC 9208 section 5).
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct QuotaLimit<'a> {
    /// STORAGE, MESSAGE, MAILBOX, ANNOTATION-STORAGE or another.
    pub resource: Atom<'a>,
    /// The limit.
    pub limit: u64,
}

list! {
    /// Limits of SETQUOTA.
    QuotaLimits<'w> of QuotaLimit<'w>
}

words! {
    /// How SETACL changes rights (RFC 4314 section 3.1).
    pub enum AclChange("+, - or rights") {
        /// They become the rights.
        Replace = "",
        /// They are added.
        Add = "+",
        /// They are taken away.
        Remove = "-",
    }
}

into_owned!(struct GetMetadata { size_max, depth, mailbox, entries });
into_owned!(struct MetadataEntry { name, value });
into_owned!(struct QuotaLimit { resource, limit });

keys!(DEPTH, MAXSIZE);

/// MAXSIZE and DEPTH.
type Options = (Option<u32>, Option<MetadataDepth>);

/// `(MAXSIZE n DEPTH d)`, in any order.
pub(super) fn options(i: In<'_>, ctx: Ctx) -> Res<'_, Options> {
    let (mut size_max, mut depth) = (None, None);
    let (i, _) = paren_list(i, ctx, 1, |i| {
        let (rest, (_, key)) = keyword(i, chars::ATOM, "an option")?;
        match key {
            MAXSIZE => map(after_sp(rest, number), |n| size_max = Some(n)),
            DEPTH => map(after_sp(rest, MetadataDepth::parse), |d| depth = Some(d)),
            _ => expected(i, "MAXSIZE or DEPTH"),
        }
    })?;
    Ok((i, (size_max, depth)))
}

/// ` (MAXSIZE n ...)` where RFC 5464's own examples have it, behind the mailbox and before a list of entries. Entries start with `/`, so
/// nothing else can be meant.
fn options_behind(i: In<'_>, ctx: Ctx) -> (In<'_>, Option<Options>) {
    match after_sp(i, |i| options(i, ctx)) {
        Ok((rest, options)) if rest.starts_with(b" ") => (rest, Some(options)),
        _ => (i, None),
    }
}

/// Whether it wrote anything.
pub(super) fn write_options(w: &mut Writer<'_>, size_max: Option<u32>, depth: Option<MetadataDepth>) -> bool {
    if size_max.is_none() && depth.is_none() {
        return false;
    }
    w.raw("(");
    if let Some(n) = size_max {
        w.numbered("MAXSIZE ", n);
    }
    if let Some(depth) = depth {
        w.raw(if size_max.is_some() { " " } else { "" });
        w.word("DEPTH ", depth.name());
    }
    w.raw(")");
    true
}

impl<'a> GetMetadata<'a> {
    pub(super) fn parse(i: In<'a>, ctx: Ctx) -> Res<'a, Self> {
        let (i, before) = match peek(i) {
            Some(b'(') => {
                let (i, options) = options(i, ctx)?;
                after_sp(i, |i| Ok((i, Some(options))))?
            }
            _ => (i, None),
        };
        let (i, mailbox) = mailbox(i, ctx)?;
        let (i, behind) = match before {
            None => options_behind(i, ctx),
            Some(_) => (i, None),
        };
        let (i, entries) = after_sp(i, |i| match peek(i) {
            Some(b'(') => Strings::parse_paren(i, ctx, 1),
            _ => Strings::parse_bare(i, ctx),
        })?;
        let (size_max, depth) = before.or(behind).unwrap_or_default();
        Ok((i, Self { size_max, depth, mailbox, entries }))
    }

    pub(super) fn write(&self, w: &mut Writer<'_>) {
        w.raw("GETMETADATA ");
        if write_options(w, self.size_max, self.depth) {
            w.raw(" ");
        }
        w.astring(self.mailbox.as_wire());
        w.raw(" ");
        self.entries.write_paren(w);
    }
}

impl<'w> Element<'w> for MetadataEntry<'w> {
    fn parse(i: In<'w>, ctx: Ctx) -> Res<'w, Self> {
        let (i, name) = astring(i, ctx)?;
        let (i, ()) = sp(i)?;
        match crate::lex::nil(i) {
            Some(rest) => Ok((rest, Self { name, value: None })),
            None => map(string(i, ctx), |value| Self { name, value: Some(value) }),
        }
    }

    fn write(&self, w: &mut Writer<'_>) {
        w.astring(&self.name);
        w.raw(" ");
        w.nstring(self.value.as_deref());
    }
}

impl<'w> Element<'w> for QuotaLimit<'w> {
    fn parse(i: In<'w>, _: Ctx) -> Res<'w, Self> {
        let (i, resource) = atom_str(i)?;
        map(after_sp(i, number64), |limit| Self { resource: Atom::checked(resource), limit })
    }

    fn write(&self, w: &mut Writer<'_>) {
        w.word(self.resource.as_str(), " ");
        w.number(self.limit);
    }
}

/// An identifier, what happens to its rights, and which.
type AclWords<'a> = (Cow<'a, [u8]>, AclChange, Cow<'a, [u8]>);

/// `identifier SP [+-]rights`
pub(super) fn acl_change(i: In<'_>, ctx: Ctx) -> Res<'_, AclWords<'_>> {
    let (i, identifier) = astring(i, ctx)?;
    let (i, rights) = after_sp(i, |i| astring(i, ctx))?;
    let (change, skip) = match rights.first() {
        Some(b'+') => (AclChange::Add, 1),
        Some(b'-') => (AclChange::Remove, 1),
        _ => (AclChange::Replace, 0),
    };
    let rights = match rights {
        Cow::Borrowed(r) => Cow::Borrowed(&r[skip..]),
        Cow::Owned(r) => Cow::Owned(r[skip..].to_vec()),
    };
    Ok((i, (identifier, change, rights)))
}

/// `(entry value ...)`
pub(super) fn metadata_entries(i: In<'_>, ctx: Ctx) -> Res<'_, MetadataEntries<'_>> {
    MetadataEntries::parse_paren(i, ctx, 1)
}

/// `(resource limit ...)`
pub(super) fn quota_limits(i: In<'_>, ctx: Ctx) -> Res<'_, QuotaLimits<'_>> {
    in_parens(i, |i| match peek(i) {
        Some(b')') => Ok((i, QuotaLimits::default())),
        _ => QuotaLimits::parse_bare(i, ctx),
    })
}

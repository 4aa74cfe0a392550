//! Flags and keywords (RFC 3501 section 2.3.2).

use crate::Atom;
use crate::Quirks;
use crate::chars::{ASTRING, ATOM};
use crate::keyword::{keys, keyword};
use crate::lex::{Ctx, In, Res, ascii, map, peek, run};
use crate::list::{Element, list};
use crate::own::into_owned;
use crate::write::Writer;

/// One flag of a message. Case of system flags is folded; keywords keep theirs.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Flag<'a> {
    /// `\Answered`
    Answered,
    /// `\Flagged`
    Flagged,
    /// `\Deleted`
    Deleted,
    /// `\Seen`
    Seen,
    /// `\Draft`
    Draft,
    /// `\Recent`: told by a server, never set by a client.
    Recent,
    /// `\*` in PERMANENTFLAGS: clients may invent keywords.
    NewKeywords,
    /// Another backslash flag: `\Noselect`, `\HasChildren`, `\Junk`. Held without its backslash.
    Extension(Atom<'a>),
    /// A keyword such as `$Forwarded`.
    Keyword(Atom<'a>),
}

impl<'a> Flag<'a> {
    /// A keyword; `None` unless it is an atom.
    pub fn keyword(name: &'a str) -> Option<Self> {
        Atom::new(name).map(Flag::Keyword)
    }

    /// Parses one flag as it stands on the wire, such as `\Seen` or `$Junk`; `None` if it is not one.
    pub fn from_wire(text: &'a str) -> Option<Self> {
        match flag(text.as_bytes(), Ctx::new(&crate::ParseLimits::default())) {
            Ok(([], flag)) => Some(flag),
            _ => None,
        }
    }

    /// Appends the flag as it stands on the wire.
    pub fn encode(&self, out: &mut Vec<u8>) {
        if matches!(self, Flag::Extension(_)) {
            out.push(b'\\');
        }
        out.extend_from_slice(match self {
            Flag::Answered => b"\\Answered",
            Flag::Flagged => b"\\Flagged",
            Flag::Deleted => b"\\Deleted",
            Flag::Seen => b"\\Seen",
            Flag::Draft => b"\\Draft",
            Flag::Recent => b"\\Recent",
            Flag::NewKeywords => b"\\*",
            Flag::Extension(a) | Flag::Keyword(a) => a.as_str().as_bytes(),
        });
    }
}

into_owned!(
    enum Flag {
        Answered,
        Flagged,
        Deleted,
        Seen,
        Draft,
        Recent,
        NewKeywords,
        Extension(a),
        Keyword(a),
    }
);

impl<'w> Element<'w> for Flag<'w> {
    #[inline]
    fn parse(i: In<'w>, ctx: Ctx) -> Res<'w, Self> {
        flag(i, ctx)
    }

    #[inline]
    fn check(i: In<'w>, ctx: Ctx) -> Res<'w, ()> {
        let name = i.strip_prefix(b"\\").unwrap_or(i);
        match name.strip_prefix(b"*") {
            Some(rest) if name.len() < i.len() => Ok((rest, ())),
            _ => map(run(name, class(ctx), "a flag"), drop),
        }
    }

    fn write(&self, w: &mut Writer<'_>) {
        self.encode(w.out);
    }
}

list! {
    /// Flags and keywords; in LIST, a mailbox's attributes.
    Flags<'w> of Flag<'w>
}

pub(crate) fn write_flags(w: &mut Writer<'_>, flags: &[Flag<'_>]) {
    w.list(flags, |w, f| f.encode(w.out));
}

#[inline]
fn class(ctx: Ctx) -> u8 {
    if ctx.allows(Quirks::LOOSE_KEYWORDS) { ASTRING } else { ATOM }
}

#[inline]
pub(crate) fn flag(i: In<'_>, ctx: Ctx) -> Res<'_, Flag<'_>> {
    let class = class(ctx);
    if peek(i) != Some(b'\\') {
        let (i, keyword) = run(i, class, "a flag")?;
        return Ok((i, Flag::Keyword(Atom::checked(ascii(keyword)))));
    }
    let name = &i[1..];
    if let Some(rest) = name.strip_prefix(b"*") {
        return Ok((rest, Flag::NewKeywords));
    }
    let (rest, (name, key)) = keyword(name, class, "a flag's name")?;
    let flag = match key {
        SEEN => Flag::Seen,
        DRAFT => Flag::Draft,
        RECENT => Flag::Recent,
        FLAGGED => Flag::Flagged,
        DELETED => Flag::Deleted,
        ANSWERED => Flag::Answered,
        _ => Flag::Extension(Atom::checked(ascii(name))),
    };
    Ok((rest, flag))
}

keys!(SEEN, DRAFT, RECENT, FLAGGED, DELETED, ANSWERED);

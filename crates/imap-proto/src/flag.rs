//! Flags and keywords (RFC 3501 section 2.3.2).

use crate::Atom;
use crate::chars::{self, ATOM};
use crate::lex::{Ctx, In, Res, ascii, atom_str, expected, paren_list, peek};
use crate::write::Writer;

/// One flag of a message. Case of system flags is folded; keywords keep theirs.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
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
        match flag(text.as_bytes()) {
            Ok(([], flag)) => Some(flag),
            _ => None,
        }
    }

    /// The same flag, independent of the input buffer.
    pub fn into_owned(self) -> Flag<'static> {
        match self {
            Flag::Answered => Flag::Answered,
            Flag::Flagged => Flag::Flagged,
            Flag::Deleted => Flag::Deleted,
            Flag::Seen => Flag::Seen,
            Flag::Draft => Flag::Draft,
            Flag::Recent => Flag::Recent,
            Flag::NewKeywords => Flag::NewKeywords,
            Flag::Extension(a) => Flag::Extension(a.into_owned()),
            Flag::Keyword(a) => Flag::Keyword(a.into_owned()),
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

pub(crate) fn write_flags(w: &mut Writer<'_>, flags: &[Flag<'_>]) {
    w.list(flags, |w, f| f.encode(w.out));
}

pub(crate) fn flag(i: In<'_>) -> Res<'_, Flag<'_>> {
    if peek(i) != Some(b'\\') {
        let (i, keyword) = atom_str(i)?;
        return Ok((i, Flag::Keyword(Atom::checked(keyword))));
    }
    if let Some(rest) = i.strip_prefix(b"\\*") {
        return Ok((rest, Flag::NewKeywords));
    }
    let name = &i[1..];
    let n = chars::span(name, ATOM);
    if n == 0 {
        return expected(name, "a flag's name");
    }
    Ok((&name[n..], system_flag(&name[..n])))
}

fn system_flag(name: &[u8]) -> Flag<'_> {
    for (known, flag) in [
        (&b"Seen"[..], Flag::Seen),
        (b"Answered", Flag::Answered),
        (b"Flagged", Flag::Flagged),
        (b"Deleted", Flag::Deleted),
        (b"Draft", Flag::Draft),
        (b"Recent", Flag::Recent),
    ] {
        if name.eq_ignore_ascii_case(known) {
            return flag;
        }
    }
    Flag::Extension(Atom::checked(ascii(name)))
}

pub(crate) fn flag_list(i: In<'_>, ctx: Ctx) -> Res<'_, Vec<Flag<'_>>> {
    paren_list(i, ctx, 0, flag)
}

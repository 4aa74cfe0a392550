//! Options of SELECT, CREATE and LIST (RFCs 5258, 5819, 6154, 7162, 8440 and 9590).

use std::borrow::Cow;
use std::num::NonZeroU32;

use super::fetch::{named_opaque, write_named};
use super::metadata::MetadataDepth;
use crate::keyword::{keys, keyword};
use crate::lex::{Ctx, In, Res, after_sp, expected, in_parens, map, nz_number, peek, run, string};
use crate::list::{Element, list};
use crate::own::into_owned;
use crate::sequence::sequence_set;
use crate::status::StatusItems;
use crate::text::Strings;
use crate::write::Writer;
use crate::{Atom, Flags, Mailbox, Opaque, SequenceSet, chars};

/// A parameter of SELECT or EXAMINE (RFC 4466 section 2.1).
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum SelectParam<'a> {
    /// CONDSTORE (RFC 7162 section 3.1.8)
    CondStore,
    /// QRESYNC (RFC 7162 section 3.2.5): tell what changed since.
    Qresync {
        /// The UIDVALIDITY that the client knows.
        uid_validity: NonZeroU32,
        /// The MODSEQ up to which it is informed.
        mod_seq: u64,
        /// The UIDs that it knows.
        known: Option<SequenceSet>,
        /// Some sequence numbers, and the UIDs that belonged to them.
        matching: Option<Box<(SequenceSet, SequenceSet)>>,
    },
    /// Of another extension.
    Other {
        /// Its name.
        name: Atom<'a>,
        /// Its value, if it has one.
        value: Option<Opaque<'a>>,
    },
}

list! {
    /// Parameters of SELECT.
    SelectParams<'w> of SelectParam<'w>
}

/// A parameter of CREATE.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum CreateParam<'a> {
    /// USE (RFC 6154 section 3): special uses such as `\Sent`.
    Use(Flags<'a>),
    /// Of another extension.
    Other {
        /// Its name.
        name: Atom<'a>,
        /// Its value, if it has one.
        value: Option<Opaque<'a>>,
    },
}

list! {
    /// Parameters of CREATE.
    CreateParams<'w> of CreateParam<'w>
}

/// Which mailboxes LIST is about (RFC 5258 section 3.1, RFC 6154 section 5.2).
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum ListSelection<'a> {
    /// SUBSCRIBED
    Subscribed,
    /// REMOTE: those on other servers too.
    Remote,
    /// RECURSIVEMATCH: parents of those that match.
    RecursiveMatch,
    /// SPECIAL-USE
    SpecialUse,
    /// Of another extension.
    Other {
        /// Its name.
        name: Atom<'a>,
        /// Its value, if it has one.
        value: Option<Opaque<'a>>,
    },
}

list! {
    /// Selection options of LIST.
    ListSelections<'w> of ListSelection<'w>
}

/// What LIST is to tell of each mailbox.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum ListReturn<'a> {
    /// SUBSCRIBED
    Subscribed,
    /// CHILDREN
    Children,
    /// SPECIAL-USE (RFC 6154)
    SpecialUse,
    /// STATUS (RFC 5819)
    Status(StatusItems<'a>),
    /// MYRIGHTS (RFC 8440)
    MyRights,
    /// METADATA (RFC 9590)
    Metadata {
        /// How far below the entries.
        depth: Option<MetadataDepth>,
        /// Longer values are left out, in octets.
        size_max: Option<u32>,
        /// Which entries.
        entries: Strings<'a>,
    },
    /// Of another extension.
    Other {
        /// Its name.
        name: Atom<'a>,
        /// Its value, if it has one.
        value: Option<Opaque<'a>>,
    },
}

list! {
    /// Return options of LIST.
    ListReturns<'w> of ListReturn<'w>
}

/// A mailbox name with the wildcards `%` and `*`.
#[derive(Clone, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Pattern<'a>(Cow<'a, [u8]>);

impl<'a> Pattern<'a> {
    /// Takes the pattern as the wire has it.
    pub fn from_wire(pattern: impl Into<Cow<'a, [u8]>>) -> Self {
        Self(pattern.into())
    }

    /// The octets on the wire, unquoted.
    pub fn as_wire(&self) -> &[u8] {
        &self.0
    }

    /// The pattern in UTF-8, its modified UTF-7 decoded.
    pub fn decode(&self) -> Result<Cow<'_, str>, crate::utf7::Utf7Error> {
        crate::utf7::decode(&self.0)
    }
}

impl std::fmt::Debug for Pattern<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pattern({})", String::from_utf8_lossy(&self.0))
    }
}

list! {
    /// What the names that LIST is about look like.
    Patterns<'w> of Pattern<'w>
}

/// LIST and its options.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct List<'a> {
    /// `None` without parentheses before the reference.
    pub selection: Option<ListSelections<'a>>,
    /// What names are relative to.
    pub reference: Mailbox<'a>,
    /// At least one.
    pub patterns: Patterns<'a>,
    /// `None` without RETURN.
    pub returns: Option<ListReturns<'a>>,
}

into_owned!(tuple Pattern);
into_owned!(struct List { selection, reference, patterns, returns });
into_owned!(enum SelectParam { CondStore, Qresync { uid_validity, mod_seq, known, matching }, Other { name, value } });
into_owned!(enum CreateParam { Use(flags), Other { name, value } });
into_owned!(enum ListSelection { Subscribed, Remote, RecursiveMatch, SpecialUse, Other { name, value } });
into_owned!(enum ListReturn {
    Subscribed, Children, SpecialUse, Status(items), MyRights, Metadata { depth, size_max, entries }, Other { name, value },
});

impl<'a> List<'a> {
    /// LIST as RFC 3501 has it.
    pub fn new(reference: Mailbox<'a>, pattern: Pattern<'_>) -> Self {
        Self { selection: None, reference, patterns: [pattern].into_iter().collect(), returns: None }
    }

    pub(super) fn parse(i: In<'a>, ctx: Ctx) -> Res<'a, Self> {
        let (i, selection) = match peek(i) {
            Some(b'(') => {
                let (i, selection) = ListSelections::parse_paren(i, ctx, 0)?;
                after_sp(i, |i| Ok((i, Some(selection))))?
            }
            _ => (i, None),
        };
        let (i, reference) = crate::text::mailbox(i, ctx)?;
        let (i, patterns) = after_sp(i, |i| match peek(i) {
            Some(b'(') => Patterns::parse_paren(i, ctx, 1),
            _ => {
                let (rest, _) = Pattern::parse(i, ctx)?;
                Ok((rest, Patterns(Cow::Borrowed(&i[..i.len() - rest.len()]))))
            }
        })?;
        let (i, returns) = match crate::lex::strip_word(i, b" RETURN ") {
            Some(i) => map(ListReturns::parse_paren(i, ctx, 0), Some)?,
            None => (i, None),
        };
        Ok((i, Self { selection, reference, patterns, returns }))
    }

    pub(super) fn write(&self, w: &mut Writer<'_>) {
        w.raw("LIST ");
        if let Some(selection) = &self.selection {
            selection.write_paren(w);
            w.raw(" ");
        }
        w.astring(self.reference.as_wire());
        w.raw(" ");
        if self.patterns.len() == 1 {
            self.patterns.write_bare(w);
        } else {
            self.patterns.write_paren(w);
        }
        if let Some(returns) = &self.returns {
            w.raw(" RETURN ");
            returns.write_paren(w);
        }
    }
}

impl<'w> Element<'w> for Pattern<'w> {
    fn parse(i: In<'w>, ctx: Ctx) -> Res<'w, Self> {
        match peek(i) {
            Some(b'"' | b'{') => map(string(i, ctx), Self),
            _ => map(run(i, chars::LIST, "a pattern"), |p| Self(Cow::Borrowed(p))),
        }
    }

    fn write(&self, w: &mut Writer<'_>) {
        w.string(&self.0);
    }
}

keys!(
    CONDSTORE,
    QRESYNC,
    USE,
    SUBSCRIBED,
    REMOTE,
    RECURSIVEMATCH,
    SPECIAL_USE = "SPECIAL-USE",
    CHILDREN,
    STATUS,
    MYRIGHTS,
    METADATA,
);

impl<'w> Element<'w> for SelectParam<'w> {
    fn parse(i: In<'w>, ctx: Ctx) -> Res<'w, Self> {
        let (rest, (_, key)) = keyword(i, chars::ATOM, "a parameter")?;
        match key {
            CONDSTORE => Ok((rest, Self::CondStore)),
            QRESYNC => after_sp(rest, |i| in_parens(i, |i| qresync(i, ctx))),
            _ => map(named_opaque(i, ctx, "a parameter"), |(name, value)| Self::Other { name, value }),
        }
    }

    fn write(&self, w: &mut Writer<'_>) {
        match self {
            Self::CondStore => w.raw("CONDSTORE"),
            Self::Qresync { uid_validity, mod_seq, known, matching } => {
                w.numbered("QRESYNC (", uid_validity.get());
                w.numbered(" ", *mod_seq);
                if let Some(known) = known {
                    w.raw(" ");
                    known.encode(w.out);
                }
                if let Some(sets) = matching {
                    w.raw(" (");
                    sets.0.encode(w.out);
                    w.raw(" ");
                    sets.1.encode(w.out);
                    w.raw(")");
                }
                w.raw(")");
            }
            Self::Other { name, value } => write_named(w, name, value.as_ref()),
        }
    }
}

fn qresync<'a>(i: In<'a>, ctx: Ctx) -> Res<'a, SelectParam<'a>> {
    let (i, uid_validity) = nz_number(i)?;
    let (i, mod_seq) = after_sp(i, super::fetch::mod_seq)?;
    let digits = |i: In<'_>| matches!(i, [b' ', b'0'..=b'9' | b'*', ..]);
    let (i, known) = if digits(i) { map(sequence_set(&i[1..], ctx), Some)? } else { (i, None) };
    let (i, matching) = match i.strip_prefix(b" ") {
        Some(i) => map(
            in_parens(i, |i| {
                let (i, numbers) = sequence_set(i, ctx)?;
                map(after_sp(i, |i| sequence_set(i, ctx)), |uids| Box::new((numbers, uids)))
            }),
            Some,
        )?,
        None => (i, None),
    };
    Ok((i, SelectParam::Qresync { uid_validity, mod_seq, known, matching }))
}

impl<'w> Element<'w> for CreateParam<'w> {
    fn parse(i: In<'w>, ctx: Ctx) -> Res<'w, Self> {
        let (rest, (_, key)) = keyword(i, chars::ATOM, "a parameter")?;
        match key {
            USE => map(after_sp(rest, |i| Flags::parse_paren(i, ctx, 0)), Self::Use),
            _ => map(named_opaque(i, ctx, "a parameter"), |(name, value)| Self::Other { name, value }),
        }
    }

    fn write(&self, w: &mut Writer<'_>) {
        match self {
            Self::Use(flags) => {
                w.raw("USE ");
                flags.write_paren(w);
            }
            Self::Other { name, value } => write_named(w, name, value.as_ref()),
        }
    }
}

impl<'w> Element<'w> for ListSelection<'w> {
    fn parse(i: In<'w>, ctx: Ctx) -> Res<'w, Self> {
        let (rest, (_, key)) = keyword(i, chars::ATOM, "a selection option")?;
        let plain = match key {
            SUBSCRIBED => Self::Subscribed,
            REMOTE => Self::Remote,
            RECURSIVEMATCH => Self::RecursiveMatch,
            SPECIAL_USE => Self::SpecialUse,
            _ => {
                let other = named_opaque(i, ctx, "a selection option");
                return map(other, |(name, value)| Self::Other { name, value });
            }
        };
        Ok((rest, plain))
    }

    fn write(&self, w: &mut Writer<'_>) {
        match self {
            Self::Subscribed => w.raw("SUBSCRIBED"),
            Self::Remote => w.raw("REMOTE"),
            Self::RecursiveMatch => w.raw("RECURSIVEMATCH"),
            Self::SpecialUse => w.raw("SPECIAL-USE"),
            Self::Other { name, value } => write_named(w, name, value.as_ref()),
        }
    }
}

impl<'w> Element<'w> for ListReturn<'w> {
    fn parse(i: In<'w>, ctx: Ctx) -> Res<'w, Self> {
        let (rest, (_, key)) = keyword(i, chars::ATOM, "a return option")?;
        let plain = match key {
            SUBSCRIBED => Self::Subscribed,
            CHILDREN => Self::Children,
            SPECIAL_USE => Self::SpecialUse,
            MYRIGHTS => Self::MyRights,
            STATUS => return map(after_sp(rest, |i| StatusItems::parse_paren(i, ctx, 1)), Self::Status),
            METADATA => return after_sp(rest, |i| list_metadata(i, ctx)),
            _ => {
                return map(named_opaque(i, ctx, "a return option"), |(name, value)| Self::Other {
                    name,
                    value,
                });
            }
        };
        Ok((rest, plain))
    }

    fn write(&self, w: &mut Writer<'_>) {
        match self {
            Self::Subscribed => w.raw("SUBSCRIBED"),
            Self::Children => w.raw("CHILDREN"),
            Self::SpecialUse => w.raw("SPECIAL-USE"),
            Self::MyRights => w.raw("MYRIGHTS"),
            Self::Status(items) => {
                w.raw("STATUS ");
                items.write_paren(w);
            }
            Self::Metadata { depth, size_max, entries } => {
                w.raw("METADATA ");
                if super::metadata::write_options(w, *size_max, *depth) {
                    w.raw(" ");
                }
                entries.write_paren(w);
            }
            Self::Other { name, value } => write_named(w, name, value.as_ref()),
        }
    }
}

/// `[(DEPTH d MAXSIZE n) SP] (entries)`; the options may stand within the same parentheses (RFC 9590 section 3).
fn list_metadata(i: In<'_>, ctx: Ctx) -> Res<'_, ListReturn<'_>> {
    if peek(i) != Some(b'(') {
        return expected(i, "( and metadata entries");
    }
    let options = super::metadata::options(i, ctx);
    let (i, (size_max, depth)) = match options {
        Ok((rest, options)) => after_sp(rest, |i| Ok((i, options)))?,
        Err(_) => (i, (None, None)),
    };
    map(Strings::parse_paren(i, ctx, 1), |entries| ListReturn::Metadata { depth, size_max, entries })
}

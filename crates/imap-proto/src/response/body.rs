//! BODY and BODYSTRUCTURE (RFC 3501 section 7.4.2): a tree held as a list, so that a deep structure is one allocation.

use std::borrow::Cow;

use super::envelope::RawEnvelope;
use super::extension::RawExtension;
use crate::Quirks;
use crate::lex::{Ctx, In, Res, byte, map, nil, nstring, peek, size, sp, string};
use crate::list::{Element, list};
use crate::own::into_owned;
use crate::write::Writer;

/// A message's MIME structure.
#[derive(Clone, PartialEq, Eq)]
pub struct BodyStructure<'a> {
    /// Each part before its own parts.
    nodes: Vec<Node<'a>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
struct Node<'a> {
    /// How many nodes the part is, itself included.
    nodes: usize,
    part: Part<'a>,
}

/// One part of a structure, and the way to those within it.
#[derive(Clone, Copy)]
pub struct BodyNode<'b, 'a> {
    nodes: &'b [Node<'a>],
}

/// What a structure tells of a part.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Part<'a> {
    /// A part without parts, or a message/rfc822, which has one: its message.
    Single(BodyPart<'a>),
    /// multipart/*
    Multi(MultiPart<'a>),
}

/// A body that is not a multipart.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
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
    pub extension: Option<RawExtension<'a>>,
}

/// What the structure tells of some media types only.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum PartKind<'a> {
    /// Nothing.
    Basic,
    /// text/*: its size in lines.
    Text {
        /// As encoded.
        lines: u64,
    },
    /// message/rfc822 and message/global. Its message's structure is the part's only child.
    Message {
        /// Its header.
        envelope: RawEnvelope<'a>,
        /// Its size in lines.
        lines: u64,
    },
}

/// A multipart.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct MultiPart<'a> {
    /// `MIXED`, `ALTERNATIVE` ...
    pub subtype: Cow<'a, [u8]>,
    /// Its parameters, with the boundary, then the same extension data as a part has (its MD5 always absent).
    pub extension: Option<(Params<'a>, RawExtension<'a>)>,
}

list! {
    /// Parameters of a media type or disposition, in order: names and values.
    Params<'w> of (Cow<'w, [u8]>, Cow<'w, [u8]>)
}

into_owned!(struct BodyStructure { nodes });
into_owned!(
    enum Part {
        Single(part),
        Multi(part),
    }
);
into_owned!(struct BodyPart { media, subtype, params, id, description, encoding, octets, kind, extension });
into_owned!(enum PartKind { Basic, Text { lines }, Message { envelope, lines } });
into_owned!(struct MultiPart { subtype, extension });

impl crate::own::Own for Node<'_> {
    type Owned = Node<'static>;
    fn own(self) -> Node<'static> {
        Node { nodes: self.nodes, part: self.part.own() }
    }
}

impl<'a> BodyStructure<'a> {
    /// A part without parts.
    ///
    /// # Panics
    /// With debug assertions, for a message/rfc822: use [`message`](Self::message).
    pub fn single(part: BodyPart<'a>) -> Self {
        debug_assert!(!matches!(part.kind, PartKind::Message { .. }), "a message has a structure of its own");
        Self { nodes: vec![Node { nodes: 1, part: Part::Single(part) }] }
    }

    /// A message/rfc822 around the structure of its message. `part.kind` becomes [`PartKind::Message`].
    pub fn message(
        part: BodyPart<'a>,
        envelope: RawEnvelope<'a>,
        lines: u64,
        body: BodyStructure<'a>,
    ) -> Self {
        let part = BodyPart { kind: PartKind::Message { envelope, lines }, ..part };
        Self::around(Part::Single(part), [body])
    }

    /// A multipart around its parts. `None` without parts.
    pub fn multi(part: MultiPart<'a>, parts: impl IntoIterator<Item = BodyStructure<'a>>) -> Option<Self> {
        let whole = Self::around(Part::Multi(part), parts);
        (whole.nodes.len() > 1).then_some(whole)
    }

    fn around(part: Part<'a>, inner: impl IntoIterator<Item = BodyStructure<'a>>) -> Self {
        let mut nodes = vec![Node { nodes: 1, part }];
        inner.into_iter().for_each(|body| nodes.extend(body.nodes));
        nodes[0].nodes = nodes.len();
        Self { nodes }
    }

    /// The outermost part.
    pub fn root(&self) -> BodyNode<'_, 'a> {
        BodyNode { nodes: &self.nodes }
    }

    pub(crate) fn write(&self, w: &mut Writer<'_>) {
        write_node(self.root(), w);
    }
}

impl<'b, 'a> BodyNode<'b, 'a> {
    /// What is told of it.
    pub fn part(self) -> &'b Part<'a> {
        &self.nodes[0].part
    }

    /// The parts of a multipart; the message of a message/rfc822.
    pub fn children(self) -> impl Iterator<Item = BodyNode<'b, 'a>> {
        let mut rest = &self.nodes[1..];
        std::iter::from_fn(move || {
            let (nodes, after) = rest.split_at(rest.first()?.nodes);
            rest = after;
            Some(BodyNode { nodes })
        })
    }
}

impl std::fmt::Debug for BodyNode<'_, '_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        struct Children<'b, 'a>(BodyNode<'b, 'a>);
        impl std::fmt::Debug for Children<'_, '_> {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_list().entries(self.0.children()).finish()
            }
        }
        self.part().fmt(f)?;
        if self.nodes.len() > 1 { Children(*self).fmt(f) } else { Ok(()) }
    }
}

impl std::fmt::Debug for BodyStructure<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.root().fmt(f)
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for BodyStructure<'_> {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.nodes.serialize(to)
    }
}

#[cfg(feature = "serde")]
impl<'de> serde::Deserialize<'de> for BodyStructure<'_> {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Self::from_nodes(Vec::deserialize(from)?).map_err(serde::de::Error::custom)
    }
}

#[cfg(feature = "serde")]
impl<'a> BodyStructure<'a> {
    /// Only if the nodes are a tree.
    fn from_nodes(nodes: Vec<Node<'a>>) -> Result<Self, &'static str> {
        let mut open = vec![&nodes[..]];
        while let Some(part) = open.pop() {
            let [first, inner @ ..] = part else { return Err("an empty structure") };
            if first.nodes != part.len() {
                return Err("a part of another size");
            }
            let mut rest = inner;
            let mut children = 0;
            while let Some(child) = rest.first() {
                let Some((nodes, after)) = rest.split_at_checked(child.nodes) else {
                    return Err("a part larger than what it stands in");
                };
                open.push(nodes);
                rest = after;
                children += 1;
            }
            let right = match &first.part {
                Part::Multi(_) => true,
                Part::Single(BodyPart { kind: PartKind::Message { .. }, .. }) => children == 1,
                Part::Single(_) => children == 0,
            };
            if !right {
                return Err("a wrong number of parts");
            }
        }
        Ok(Self { nodes })
    }
}

fn write_node(node: BodyNode<'_, '_>, w: &mut Writer<'_>) {
    w.raw("(");
    match node.part() {
        Part::Single(part) => write_single(part, node, w),
        Part::Multi(multi) => {
            node.children().for_each(|child| write_node(child, w));
            // Without parts only as a server wrote it, see `Quirks::EMPTY_MULTIPART`.
            w.raw(if node.nodes.len() > 1 { " " } else { "" });
            w.string(&multi.subtype);
            if let Some((params, extension)) = &multi.extension {
                w.raw(" ");
                // NIL behind the subtype of one without parts would be taken for a part's subtype.
                match node.nodes.len() {
                    1 => params.write_paren(w),
                    _ => write_params(w, params),
                }
                extension.write(w);
            }
        }
    }
    w.raw(")");
}

fn write_single(part: &BodyPart<'_>, node: BodyNode<'_, '_>, w: &mut Writer<'_>) {
    w.string(&part.media);
    w.raw(" ");
    w.string(&part.subtype);
    w.raw(" ");
    write_params(w, &part.params);
    w.raw(" ");
    w.nstring(part.id.as_deref());
    w.raw(" ");
    w.nstring(part.description.as_deref());
    w.raw(" ");
    w.string(&part.encoding);
    w.numbered(" ", part.octets);
    match &part.kind {
        PartKind::Basic => {}
        PartKind::Text { lines } => w.numbered(" ", *lines),
        PartKind::Message { envelope, lines } => {
            w.raw(" ");
            envelope.write(w);
            w.raw(" ");
            node.children().for_each(|child| write_node(child, w));
            w.numbered(" ", *lines);
        }
    }
    if let Some(extension) = &part.extension {
        w.raw(" ");
        extension.write(w);
    }
}

pub(super) fn write_params(w: &mut Writer<'_>, params: &Params<'_>) {
    if params.is_empty() {
        return w.raw("NIL");
    }
    params.write_paren(w);
}

impl<'w> Element<'w> for (Cow<'w, [u8]>, Cow<'w, [u8]>) {
    #[inline]
    fn parse(i: In<'w>, ctx: Ctx) -> Res<'w, Self> {
        let (i, name) = string(i, ctx)?;
        let (i, ()) = sp(i)?;
        if peek(i) == Some(b'"') || !ctx.allows(Quirks::NIL_PARAM_VALUE) {
            return map(string(i, ctx), |value| (name, value));
        }
        map(nstring(i, ctx), |value| (name, value.unwrap_or_default()))
    }

    fn write(&self, w: &mut Writer<'_>) {
        w.string(&self.0);
        w.raw(" ");
        w.string(&self.1);
    }
}

/// A part takes some 60 octets at the least: guesses how many there are, so that most structures are one allocation.
pub(super) fn body(i: In<'_>, ctx: Ctx) -> Res<'_, BodyStructure<'_>> {
    let mut nodes = Vec::with_capacity((i.len() / 64).clamp(1, 16));
    map(part(i, ctx, &mut nodes), |()| BodyStructure { nodes })
}

fn part<'a>(i: In<'a>, ctx: Ctx, nodes: &mut Vec<Node<'a>>) -> Res<'a, ()> {
    let (_, ctx) = ctx.deeper(i)?;
    let at = nodes.len();
    let (i, ()) = byte(i, b'(', "a body structure")?;
    let (i, ()) = if peek(i) == Some(b'(') { multi(i, ctx, nodes)? } else { single(i, ctx, nodes)? };
    nodes[at].nodes = nodes.len() - at;
    byte(i, b')', ")")
}

fn multi<'a>(mut i: In<'a>, ctx: Ctx, nodes: &mut Vec<Node<'a>>) -> Res<'a, ()> {
    let at = nodes.len();
    // Its own description follows its parts.
    let unknown = MultiPart { subtype: Cow::Borrowed(&[]), extension: None };
    nodes.push(Node { nodes: 1, part: Part::Multi(unknown) });
    let mut parts = 0;
    while peek(i) == Some(b'(') {
        ctx.room(i, parts)?;
        i = part(i, ctx, nodes)?.0;
        parts += 1;
    }
    let (i, described) = multi_end(i, ctx)?;
    nodes[at].part = Part::Multi(described);
    Ok((i, ()))
}

#[inline(never)]
fn multi_end<'a>(i: In<'a>, ctx: Ctx) -> Res<'a, MultiPart<'a>> {
    let (i, ()) = sp(i)?;
    let (i, subtype) = media(i, ctx)?;
    after_subtype(i, ctx, subtype)
}

fn after_subtype<'a>(i: In<'a>, ctx: Ctx, subtype: Cow<'a, [u8]>) -> Res<'a, MultiPart<'a>> {
    let Some(rest) = i.strip_prefix(b" ") else {
        return Ok((i, MultiPart { subtype, extension: None }));
    };
    let (i, params) = params(rest, ctx)?;
    map(RawExtension::check_after_params(i, ctx), |extension| MultiPart {
        subtype,
        extension: Some((params, extension)),
    })
}

/// The recursion runs through this function: what it calls first has left the stack by then, and the part is on the heap.
fn single<'a>(i: In<'a>, ctx: Ctx, nodes: &mut Vec<Node<'a>>) -> Res<'a, ()> {
    let at = nodes.len();
    let (i, ()) = fields(i, ctx, nodes)?;
    // A list can only be what a message adds: the MD5 that follows otherwise is a string or NIL. So servers that leave a
    // message's details out are understood.
    let i = match i {
        [b' ', b'(', ..] => {
            let (i, envelope) = RawEnvelope::check(&i[1..], ctx)?;
            let (i, ()) = sp(i)?;
            let (i, ()) = part(i, ctx, nodes)?;
            let (i, ()) = sp(i)?;
            let (i, lines) = size(i, ctx)?;
            set_kind(&mut nodes[at], PartKind::Message { envelope, lines });
            i
        }
        _ => i,
    };
    part_extension(i, ctx, &mut nodes[at])
}

fn set_kind<'a>(node: &mut Node<'a>, kind: PartKind<'a>) {
    if let Part::Single(part) = &mut node.part {
        part.kind = kind;
    }
}

#[inline(never)]
fn part_extension<'a>(i: In<'a>, ctx: Ctx, node: &mut Node<'a>) -> Res<'a, ()> {
    let Some(i) = i.strip_prefix(b" ") else { return Ok((i, ())) };
    let (i, extension) = RawExtension::check(i, ctx)?;
    if let Part::Single(part) = &mut node.part {
        part.extension = Some(extension);
    }
    Ok((i, ()))
}

/// What every part has, and a text's lines.
#[inline(never)]
fn fields<'a>(i: In<'a>, ctx: Ctx, nodes: &mut Vec<Node<'a>>) -> Res<'a, ()> {
    let (i, media_type) = media(i, ctx)?;
    if matches!(i, [b')', ..] | [b' ', b'(', ..]) && ctx.allows(Quirks::EMPTY_MULTIPART) {
        let (i, multi) = after_subtype(i, ctx, media_type)?;
        nodes.push(Node { nodes: 1, part: Part::Multi(multi) });
        return Ok((i, ()));
    }
    let (i, ()) = sp(i)?;
    let (i, subtype) = media(i, ctx)?;
    let (mut i, ()) = sp(i)?;
    while peek(i) == Some(b' ') && ctx.allows(Quirks::BODY_SPACES) {
        i = &i[1..];
    }
    let (i, params) = params(i, ctx)?;
    let (i, ()) = sp(i)?;
    let (i, id) = nstring(i, ctx)?;
    let (i, ()) = sp(i)?;
    let (i, description) = nstring(i, ctx)?;
    let (i, ()) = sp(i)?;
    let (i, encoding) = encoding(i, ctx)?;
    let (i, ()) = sp(i)?;
    let (i, octets) = size(i, ctx)?;
    let (i, kind) = match i {
        [b' ', b'0'..=b'9' | b'-', ..] => map(size(&i[1..], ctx), |lines| PartKind::Text { lines })?,
        _ => (i, PartKind::Basic),
    };
    let part = BodyPart {
        media: media_type,
        subtype,
        params,
        id,
        description,
        encoding,
        octets,
        kind,
        extension: None,
    };
    nodes.push(Node { nodes: 1, part: Part::Single(part) });
    Ok((i, ()))
}

fn media(i: In<'_>, ctx: Ctx) -> Res<'_, Cow<'_, [u8]>> {
    match nil(i) {
        Some(rest) if ctx.allows(Quirks::NIL_MEDIA) => Ok((rest, Cow::Borrowed(&[]))),
        _ => string(i, ctx),
    }
}

fn encoding(i: In<'_>, ctx: Ctx) -> Res<'_, Cow<'_, [u8]>> {
    match nil(i) {
        Some(rest) if ctx.allows(Quirks::NIL_ENCODING) => Ok((rest, Cow::Borrowed(b"7BIT"))),
        _ => string(i, ctx),
    }
}

pub(super) fn params(i: In<'_>, ctx: Ctx) -> Res<'_, Params<'_>> {
    if peek(i) == Some(b'(') {
        return Params::parse_paren(i, ctx, 0);
    }
    match nil(i) {
        Some(rest) => Ok((rest, Params::default())),
        None => crate::lex::expected(i, "parameters or NIL"),
    }
}

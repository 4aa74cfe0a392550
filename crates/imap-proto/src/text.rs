//! Tags, atoms, mailbox names, secrets, opaque values.

use std::borrow::Cow;
use std::fmt;

use crate::chars::{self, ATOM, TAG};
use crate::lex::{Ctx, In, Res, astring, atom, atom_str, map, opaque};
use crate::list::{Element, list};
use crate::own::into_owned;
use crate::utf7;
use crate::write::Writer;

/// A command's tag: one or more ASTRING-CHARs except `+`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tag<'a>(Cow<'a, [u8]>);

impl<'a> Tag<'a> {
    /// `None` unless `tag` is one by RFC 3501 section 9 and at most 128 octets long.
    pub fn new(tag: impl Into<Cow<'a, str>>) -> Option<Self> {
        let tag = match tag.into() {
            Cow::Borrowed(tag) => Cow::Borrowed(tag.as_bytes()),
            Cow::Owned(tag) => Cow::Owned(tag.into_bytes()),
        };
        let valid = (1..=128).contains(&tag.len()) && chars::all(&tag, TAG);
        valid.then_some(Self(tag))
    }

    pub(crate) fn from_bytes(tag: &'a [u8]) -> Option<Self> {
        chars::all(tag, TAG).then(|| Self::checked(tag)).flatten()
    }

    /// For text of which a parser has just found that it is all TAG characters.
    #[inline]
    pub(crate) fn checked(tag: &'a [u8]) -> Option<Self> {
        (1..=128).contains(&tag.len()).then_some(Self(Cow::Borrowed(tag)))
    }

    /// The tag's text.
    pub fn as_str(&self) -> &str {
        crate::lex::ascii(&self.0)
    }

    /// The same as octets.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Tag<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tag({})", self.as_str())
    }
}

impl fmt::Display for Tag<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A word that needs no quoting: keywords, capabilities, mechanism names.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Atom<'a>(Cow<'a, str>);

impl<'a> Atom<'a> {
    /// `None` unless `atom` consists of one or more ATOM-CHARs.
    pub fn new(atom: impl Into<Cow<'a, str>>) -> Option<Self> {
        let atom = atom.into();
        (!atom.is_empty() && chars::all(atom.as_bytes(), ATOM)).then_some(Self(atom))
    }

    /// For text whose characters a parser has just checked.
    pub(crate) fn checked(atom: &'a str) -> Self {
        Self(Cow::Borrowed(atom))
    }

    /// The atom's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Atom<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Atom({})", self.0)
    }
}

impl fmt::Display for Atom<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A password or a SASL message. Its `Debug` shows the length only; serde, which is asked for the value, has it.
#[derive(Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Secret<'a>(Cow<'a, [u8]>);

impl<'a> Secret<'a> {
    /// Wraps it.
    pub fn new(secret: impl Into<Cow<'a, [u8]>>) -> Self {
        Self(secret.into())
    }

    /// The octets themselves; keep them out of logs.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({} octets)", self.0.len())
    }
}

/// A mailbox name as it stands on the wire: modified UTF-7 (RFC 3501 section 5.1.3), or UTF-8 with IMAP4rev2 or UTF8=ACCEPT. INBOX in any
/// case is `INBOX`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(from = "Vec<u8>"))]
pub struct Mailbox<'a>(Cow<'a, [u8]>);

impl<'a> Mailbox<'a> {
    /// The name that every user has.
    pub const INBOX: Mailbox<'static> = Mailbox(Cow::Borrowed(b"INBOX"));

    /// Takes the name as the wire has it.
    pub fn from_wire(name: impl Into<Cow<'a, [u8]>>) -> Self {
        let name = name.into();
        if name.eq_ignore_ascii_case(b"INBOX") { Mailbox::INBOX } else { Self(name) }
    }

    /// Encodes a name from UTF-8.
    pub fn encode(name: &'a str) -> Self {
        Self::from_wire(match utf7::encode(name) {
            Cow::Borrowed(s) => Cow::Borrowed(s.as_bytes()),
            Cow::Owned(s) => Cow::Owned(s.into_bytes()),
        })
    }

    /// Takes a name in UTF-8 as it is: what IMAP4rev2 and UTF8=ACCEPT (RFC 9755 section 3) want on the wire.
    pub fn from_utf8(name: &'a str) -> Self {
        Self::from_wire(name.as_bytes())
    }

    /// The name in UTF-8, for a peer with IMAP4rev2 or UTF8=ACCEPT: `&` means itself. `None` if it is not UTF-8.
    pub fn as_utf8(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }

    /// The name in UTF-8. Names in raw UTF-8 that hold no `&` pass as they are, since some clients send them.
    pub fn decode(&self) -> Result<Cow<'_, str>, utf7::Utf7Error> {
        utf7::decode(&self.0)
    }

    /// Whether this is INBOX.
    pub fn is_inbox(&self) -> bool {
        *self.0 == *b"INBOX"
    }

    /// The octets on the wire, unquoted.
    pub fn as_wire(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Mailbox<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mailbox({})", String::from_utf8_lossy(&self.0))
    }
}

into_owned!(tuple Tag);
into_owned!(tuple Atom);
into_owned!(tuple Secret);
into_owned!(tuple Mailbox);
into_owned!(tuple Opaque);

#[cfg(feature = "serde")]
impl From<Vec<u8>> for Mailbox<'_> {
    fn from(name: Vec<u8>) -> Self {
        Self::from_wire(name)
    }
}

/// A value of an extension that this crate does not know, as it stands on the wire: an atom, a number, a string, or a balanced
/// list of them (RFC 4466 section 6, tagged-ext-val).
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Opaque<'a>(Cow<'a, [u8]>);

impl<'a> Opaque<'a> {
    /// `None` unless `wire` is exactly one value. A literal in it has its announcement before it.
    pub fn new(wire: impl Into<Cow<'a, [u8]>>) -> Option<Self> {
        let wire = wire.into();
        let whole =
            opaque(&wire, Ctx::new(&crate::ParseLimits::default())).is_ok_and(|(rest, _)| rest.is_empty());
        whole.then_some(Self(wire))
    }

    /// The text as it stands on the wire.
    pub fn as_wire(&self) -> &[u8] {
        &self.0
    }

    pub(crate) fn parse(i: In<'a>, ctx: Ctx) -> Res<'a, Self> {
        map(opaque(i, ctx), |text| Self(Cow::Borrowed(text)))
    }

    pub(crate) fn write(&self, w: &mut Writer<'_>) {
        w.raw(&self.0);
    }
}

impl fmt::Debug for Opaque<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Opaque({})", self.0.escape_ascii())
    }
}

#[cfg(feature = "serde")]
mod with_serde {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::{Atom, Opaque, Tag};

    macro_rules! checked_text {
        ($name:ident, $what:literal) => {
            impl Serialize for $name<'_> {
                fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                    to.serialize_str(self.as_str())
                }
            }

            impl<'de> Deserialize<'de> for $name<'_> {
                fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                    $name::new(String::deserialize(from)?).ok_or_else(|| D::Error::custom($what))
                }
            }
        };
    }

    checked_text!(Atom, "not an atom");
    checked_text!(Tag, "not a tag");

    impl Serialize for Opaque<'_> {
        fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
            to.serialize_bytes(&self.0)
        }
    }

    impl<'de> Deserialize<'de> for Opaque<'_> {
        fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
            Opaque::new(Vec::<u8>::deserialize(from)?).ok_or_else(|| D::Error::custom("not one value"))
        }
    }
}

impl<'w> Element<'w> for Atom<'w> {
    #[inline]
    fn parse(i: In<'w>, _: Ctx) -> Res<'w, Self> {
        map(atom_str(i), Atom::checked)
    }

    #[inline]
    fn check(i: In<'w>, _: Ctx) -> Res<'w, ()> {
        map(atom(i), drop)
    }

    fn write(&self, w: &mut Writer<'_>) {
        w.raw(self.as_str());
    }
}

list! {
    /// Capability names such as `IMAP4rev1`, `AUTH=PLAIN`; known or not.
    Capabilities<'w> of Atom<'w>
}

impl Capabilities<'_> {
    /// Whether `name` is among them, in any case.
    pub fn has(&self, name: &str) -> bool {
        self.iter().any(|known| known.as_str().eq_ignore_ascii_case(name))
    }
}

/// An `astring`.
impl<'w> Element<'w> for Cow<'w, [u8]> {
    #[inline]
    fn parse(i: In<'w>, ctx: Ctx) -> Res<'w, Self> {
        astring(i, ctx)
    }

    fn write(&self, w: &mut Writer<'_>) {
        w.astring(self);
    }
}

list! {
    /// Strings: header field names, metadata entries and the like.
    Strings<'w> of Cow<'w, [u8]>
}

#[inline]
pub(crate) fn mailbox(i: In<'_>, ctx: Ctx) -> Res<'_, Mailbox<'_>> {
    map(astring(i, ctx), Mailbox::from_wire)
}

impl<'w> Element<'w> for Mailbox<'w> {
    fn parse(i: In<'w>, ctx: Ctx) -> Res<'w, Self> {
        mailbox(i, ctx)
    }

    fn write(&self, w: &mut Writer<'_>) {
        w.astring(self.as_wire());
    }
}

list! {
    /// Mailbox names.
    Mailboxes<'w> of Mailbox<'w>
}

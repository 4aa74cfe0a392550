//! Tags, atoms, mailbox names, secrets.

use std::borrow::Cow;
use std::fmt;

use crate::chars::{self, ATOM, TAG};
use crate::utf7;

/// A command's tag: one or more ASTRING-CHARs except `+`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tag<'a>(Cow<'a, str>);

impl<'a> Tag<'a> {
    /// `None` unless `tag` is one by RFC 3501 section 9 and at most 128 octets long.
    pub fn new(tag: impl Into<Cow<'a, str>>) -> Option<Self> {
        let tag = tag.into();
        let valid = (1..=128).contains(&tag.len()) && chars::all(tag.as_bytes(), TAG);
        valid.then_some(Self(tag))
    }

    pub(crate) fn from_bytes(tag: &'a [u8]) -> Option<Self> {
        Self::new(std::str::from_utf8(tag).ok()?)
    }

    /// The tag's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The same tag, independent of the input buffer.
    pub fn into_owned(self) -> Tag<'static> {
        Tag(Cow::Owned(self.0.into_owned()))
    }
}

impl fmt::Debug for Tag<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tag({})", self.0)
    }
}

impl fmt::Display for Tag<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
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

    /// The same atom, independent of the input buffer.
    pub fn into_owned(self) -> Atom<'static> {
        Atom(Cow::Owned(self.0.into_owned()))
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

/// A password or a SASL message. Its `Debug` shows the length only.
#[derive(Clone, PartialEq, Eq)]
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

    /// The same secret, independent of the input buffer.
    pub fn into_owned(self) -> Secret<'static> {
        Secret(Cow::Owned(self.0.into_owned()))
    }
}

impl fmt::Debug for Secret<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({} octets)", self.0.len())
    }
}

/// A mailbox name as it stands on the wire (modified UTF-7, RFC 3501 section 5.1.3). INBOX in any case is `INBOX`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
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

    /// The same name, independent of the input buffer.
    pub fn into_owned(self) -> Mailbox<'static> {
        Mailbox(Cow::Owned(self.0.into_owned()))
    }
}

impl fmt::Debug for Mailbox<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mailbox({})", String::from_utf8_lossy(&self.0))
    }
}

pub(crate) fn owned_bytes(bytes: Cow<'_, [u8]>) -> Cow<'static, [u8]> {
    Cow::Owned(bytes.into_owned())
}

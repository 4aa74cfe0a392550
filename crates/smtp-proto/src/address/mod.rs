//! Mailboxes and paths (RFC 5321 §4.1.2, RFC 6531 §3.3).

use std::borrow::Cow;
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use crate::class::ATEXT;
use crate::cursor::Cursor;

mod grammar;

pub(crate) use grammar::{forward_path, reverse_path};

/// Text that is no mailbox or path; nothing was built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a mailbox address of RFC 5321 §4.1.2")]
pub struct InvalidAddress;

/// The part before the `@`, without quotes and backslashes: `"a b"@c` and `a\ b` are both `a b`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LocalPart<'a>(Cow<'a, str>);

impl<'a> LocalPart<'a> {
    /// Takes any text without control characters; [`fmt::Display`] adds quotes where the grammar wants them.
    pub fn new(text: impl Into<Cow<'a, str>>) -> Result<Self, InvalidAddress> {
        let text = text.into();
        if text.chars().any(char::is_control) { Err(InvalidAddress) } else { Ok(Self(text)) }
    }

    /// The unquoted text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The same, owning its text.
    pub fn into_owned(self) -> LocalPart<'static> {
        LocalPart(Cow::Owned(self.0.into_owned()))
    }

    fn is_dot_string(&self) -> bool {
        self.0.split('.').all(|atom| !atom.is_empty() && atom.bytes().all(|b| ATEXT.wide().holds(b)))
    }
}

impl fmt::Display for LocalPart<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_dot_string() {
            return f.write_str(&self.0);
        }
        f.write_str("\"")?;
        for c in self.0.chars() {
            if matches!(c, '"' | '\\') {
                f.write_str("\\")?;
            }
            write!(f, "{c}")?;
        }
        f.write_str("\"")
    }
}

/// The part after the `@`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Domain<'a> {
    /// A domain name, as written (compare with [`Domain::same_name`]).
    Name(DomainName<'a>),
    /// `[192.0.2.1]`
    V4(Ipv4Addr),
    /// `[IPv6:2001:db8::1]`
    V6(Ipv6Addr),
    /// `[tag:content]` of a tag yet to be standardized.
    General(Box<GeneralLiteral<'a>>),
}

/// `tag:content` of an address literal that is neither IPv4 nor IPv6 (RFC 5321 §4.1.3).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GeneralLiteral<'a>(Cow<'a, str>);

impl<'a> GeneralLiteral<'a> {
    /// Checks `tag:content`, without the brackets.
    pub fn new(text: impl Into<Cow<'a, str>>) -> Result<Self, InvalidAddress> {
        let text = text.into();
        if grammar::is_general_literal(&text) { Ok(Self(text)) } else { Err(InvalidAddress) }
    }

    /// What stands before the colon.
    pub fn tag(&self) -> &str {
        self.0.split_once(':').map_or("", |(tag, _)| tag)
    }

    /// What stands behind it.
    pub fn content(&self) -> &str {
        self.0.split_once(':').map_or("", |(_, content)| content)
    }
}

/// A domain name of letters, digits, `-`, `_` and, with SMTPUTF8, other characters; at most 255 octets.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DomainName<'a>(Cow<'a, str>);

impl<'a> DomainName<'a> {
    /// Checks the labels of `text`.
    pub fn new(text: impl Into<Cow<'a, str>>) -> Result<Self, InvalidAddress> {
        let text = text.into();
        if grammar::is_domain_name(&text) { Ok(Self(text)) } else { Err(InvalidAddress) }
    }

    /// The name as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The same, owning its text.
    pub fn into_owned(self) -> DomainName<'static> {
        DomainName(Cow::Owned(self.0.into_owned()))
    }
}

impl Domain<'_> {
    /// Whether this is the domain name `name`, in whatever case.
    pub fn same_name(&self, name: &str) -> bool {
        matches!(self, Domain::Name(own) if own.0.eq_ignore_ascii_case(name))
    }

    /// The same, owning its text.
    pub fn into_owned(self) -> Domain<'static> {
        match self {
            Domain::Name(name) => Domain::Name(name.into_owned()),
            Domain::V4(ip) => Domain::V4(ip),
            Domain::V6(ip) => Domain::V6(ip),
            Domain::General(literal) => {
                Domain::General(Box::new(GeneralLiteral(Cow::Owned(literal.0.into_owned()))))
            }
        }
    }
}

impl fmt::Display for Domain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Domain::Name(name) => f.write_str(&name.0),
            Domain::V4(ip) => write!(f, "[{ip}]"),
            Domain::V6(ip) => write!(f, "[IPv6:{ip}]"),
            Domain::General(literal) => write!(f, "[{}]", literal.0),
        }
    }
}

/// A mailbox: `local@domain`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mailbox<'a> {
    /// Before the `@`, unquoted.
    pub local: LocalPart<'a>,
    /// After the `@`.
    pub domain: Domain<'a>,
}

impl<'a> Mailbox<'a> {
    /// Parses a bare address such as `alice@example.org` or `"a b"@[192.0.2.1]`.
    pub fn parse(text: &'a str) -> Result<Self, InvalidAddress> {
        let mut i = Cursor::new(text, true);
        match grammar::mailbox(&mut i) {
            Ok(mailbox) if i.is_at_end() && !text.chars().any(char::is_control) => Ok(mailbox),
            _ => Err(InvalidAddress),
        }
    }

    /// Of a dot-string and a domain name, both ASCII and known to fit.
    #[inline(always)]
    pub(crate) fn plain(local: &'a str, domain: &'a str) -> Self {
        let domain = Domain::Name(DomainName(Cow::Borrowed(domain)));
        Self { local: LocalPart(Cow::Borrowed(local)), domain }
    }

    /// Whether it can be sent without SMTPUTF8.
    pub fn is_ascii(&self) -> bool {
        let domain_is_ascii = match &self.domain {
            Domain::Name(name) => name.0.is_ascii(),
            Domain::General(literal) => literal.0.is_ascii(),
            Domain::V4(_) | Domain::V6(_) => true,
        };
        domain_is_ascii && self.local.0.is_ascii()
    }

    /// The same, owning its text.
    pub fn into_owned(self) -> Mailbox<'static> {
        Mailbox { local: self.local.into_owned(), domain: self.domain.into_owned() }
    }
}

impl FromStr for Mailbox<'static> {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        Mailbox::parse(text).map(Mailbox::into_owned)
    }
}

impl fmt::Display for Mailbox<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.local, self.domain)
    }
}

/// Where MAIL says that bounces go.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum ReversePath<'a> {
    /// `<>`: a notification, which must cause no further one.
    Null,
    /// A mailbox.
    Mailbox(Mailbox<'a>),
}

impl ReversePath<'_> {
    /// The mailbox, if there is one.
    pub fn mailbox(&self) -> Option<&Mailbox<'_>> {
        match self {
            ReversePath::Null => None,
            ReversePath::Mailbox(mailbox) => Some(mailbox),
        }
    }

    /// The same, owning its text.
    pub fn into_owned(self) -> ReversePath<'static> {
        match self {
            ReversePath::Null => ReversePath::Null,
            ReversePath::Mailbox(mailbox) => ReversePath::Mailbox(mailbox.into_owned()),
        }
    }
}

impl fmt::Display for ReversePath<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReversePath::Null => f.write_str("<>"),
            ReversePath::Mailbox(mailbox) => write!(f, "<{mailbox}>"),
        }
    }
}

/// Whom RCPT names.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum ForwardPath<'a> {
    /// `<postmaster>` without a domain, in any case: this host's postmaster (RFC 5321 §4.5.1).
    Postmaster,
    /// A mailbox.
    Mailbox(Mailbox<'a>),
}

impl ForwardPath<'_> {
    /// The same, owning its text.
    pub fn into_owned(self) -> ForwardPath<'static> {
        match self {
            ForwardPath::Postmaster => ForwardPath::Postmaster,
            ForwardPath::Mailbox(mailbox) => ForwardPath::Mailbox(mailbox.into_owned()),
        }
    }
}

impl fmt::Display for ForwardPath<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ForwardPath::Postmaster => f.write_str("<postmaster>"),
            ForwardPath::Mailbox(mailbox) => write!(f, "<{mailbox}>"),
        }
    }
}

/// Serialized as the text that [`fmt::Display`] gives.
#[cfg(feature = "serde")]
impl serde::Serialize for Mailbox<'_> {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

#[cfg(feature = "serde")]
impl<'de> serde::Deserialize<'de> for Mailbox<'_> {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = <String as serde::Deserialize>::deserialize(d)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for DomainName<'_> {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&self.0)
    }
}

#[cfg(feature = "serde")]
impl<'de> serde::Deserialize<'de> for DomainName<'_> {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = <String as serde::Deserialize>::deserialize(d)?;
        Self::new(text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests;

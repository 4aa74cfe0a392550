//! Which waiting mail a client asks for with ETRN (RFC 1985).

use std::fmt;

use crate::address::DomainName;
use crate::text::Value;

/// What ETRN names.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Waiting<'a> {
    /// `example.org`: mail for this host.
    Host(DomainName<'a>),
    /// `@example.org`: for this domain and all below it.
    Subdomains(DomainName<'a>),
    /// `#uucp`: a queue by a name that both sides agreed on.
    Queue(Value<'a>),
}

impl<'a> Waiting<'a> {
    pub(crate) fn parse(text: &'a str) -> Option<Self> {
        match text.as_bytes().first()? {
            b'@' => DomainName::new(&text[1..]).ok().map(Waiting::Subdomains),
            b'#' => Value::new(&text[1..]).ok().map(Waiting::Queue),
            _ => DomainName::new(text).ok().map(Waiting::Host),
        }
    }

    /// The same, owning its text.
    pub fn into_owned(self) -> Waiting<'static> {
        match self {
            Waiting::Host(name) => Waiting::Host(name.into_owned()),
            Waiting::Subdomains(name) => Waiting::Subdomains(name.into_owned()),
            Waiting::Queue(name) => Waiting::Queue(name.into_owned()),
        }
    }
}

impl fmt::Display for Waiting<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Waiting::Host(name) => f.write_str(name.as_str()),
            Waiting::Subdomains(name) => write!(f, "@{}", name.as_str()),
            Waiting::Queue(name) => write!(f, "#{name}"),
        }
    }
}

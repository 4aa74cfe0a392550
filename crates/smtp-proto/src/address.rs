//! Mailboxes and paths (RFC 5321 §4.1.2, RFC 6531 §3.3).

use std::borrow::Cow;
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use nom::Parser;
use nom::branch::alt;
use nom::bytes::complete::tag;
use nom::combinator::map;
use nom::sequence::{delimited, preceded};
use nom::{Err, IResult};

use crate::parse::{ATEXT, LABEL, Syntax, fail, take_class};

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
        self.0.split('.').all(|atom| !atom.is_empty() && atom.bytes().all(|b| ATEXT.holds(b)))
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
    General {
        /// The standardized tag.
        tag: crate::Keyword<'a>,
        /// What follows the colon.
        content: crate::Value<'a>,
    },
}

/// A domain name of letters, digits, `-`, `_` and, with SMTPUTF8, other characters; at most 255 octets.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DomainName<'a>(Cow<'a, str>);

impl<'a> DomainName<'a> {
    /// Checks the labels of `text`.
    pub fn new(text: impl Into<Cow<'a, str>>) -> Result<Self, InvalidAddress> {
        let text = text.into();
        if is_domain_name(&text) { Ok(Self(text)) } else { Err(InvalidAddress) }
    }

    /// The name as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn is_domain_name(text: &str) -> bool {
    let label = |l: &str| {
        !l.is_empty()
            && l.len() <= 63
            && !l.starts_with('-')
            && !l.ends_with('-')
            && l.bytes().all(|b| LABEL.holds(b))
    };
    text.len() <= 255 && text.split('.').all(label)
}

impl Domain<'_> {
    /// Whether this is the domain name `name`, in whatever case.
    pub fn same_name(&self, name: &str) -> bool {
        matches!(self, Domain::Name(own) if own.0.eq_ignore_ascii_case(name))
    }

    /// The same, owning its text.
    pub fn into_owned(self) -> Domain<'static> {
        match self {
            Domain::Name(DomainName(name)) => Domain::Name(DomainName(Cow::Owned(name.into_owned()))),
            Domain::V4(ip) => Domain::V4(ip),
            Domain::V6(ip) => Domain::V6(ip),
            Domain::General { tag, content } => {
                Domain::General { tag: tag.into_owned(), content: content.into_owned() }
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
            Domain::General { tag, content } => write!(f, "[{tag}:{content}]"),
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
        match mailbox(text) {
            Ok(("", mailbox)) => Ok(mailbox),
            _ => Err(InvalidAddress),
        }
    }

    /// Whether it can be sent without SMTPUTF8.
    pub fn is_ascii(&self) -> bool {
        let domain_is_ascii = match &self.domain {
            Domain::Name(name) => name.0.is_ascii(),
            Domain::General { content, .. } => content.as_str().is_ascii(),
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

pub(crate) fn reverse_path(i: &str) -> IResult<&str, ReversePath<'_>, Syntax> {
    let mailbox = map(path, ReversePath::Mailbox);
    alt((map(tag("<>"), |_| ReversePath::Null), mailbox)).parse(i)
}

pub(crate) fn forward_path(i: &str) -> IResult<&str, ForwardPath<'_>, Syntax> {
    let name = "<postmaster>";
    match i.get(..name.len()) {
        Some(head) if head.eq_ignore_ascii_case(name) => Ok((&i[name.len()..], ForwardPath::Postmaster)),
        _ => map(path, ForwardPath::Mailbox).parse(i),
    }
}

fn path(i: &str) -> IResult<&str, Mailbox<'_>, Syntax> {
    delimited(tag("<"), preceded(source_route, mailbox), tag(">")).parse(i)
}

/// `@a,@b:` is obsolete: accepted and ignored (RFC 5321 §4.1.1.3, appendix C).
fn source_route(mut i: &str) -> IResult<&str, (), Syntax> {
    if !i.starts_with('@') {
        return Ok((i, ()));
    }
    loop {
        let (rest, _) = preceded(tag("@"), domain).parse(i)?;
        match rest.as_bytes().first() {
            Some(b',') => i = &rest[1..],
            Some(b':') => return Ok((&rest[1..], ())),
            _ => return fail(),
        }
    }
}

pub(crate) fn mailbox(i: &str) -> IResult<&str, Mailbox<'_>, Syntax> {
    let (i, local) = local_part(i)?;
    let (i, domain) = preceded(tag("@"), domain).parse(i)?;
    Ok((i, Mailbox { local, domain }))
}

fn local_part(i: &str) -> IResult<&str, LocalPart<'_>, Syntax> {
    if i.starts_with('"') { quoted(i) } else { dot_string(i) }
}

fn dot_string(i: &str) -> IResult<&str, LocalPart<'_>, Syntax> {
    let mut rest = i;
    loop {
        (rest, _) = take_class(rest, &ATEXT)?;
        match rest.strip_prefix('.') {
            Some(after) => rest = after,
            None => break,
        }
    }
    Ok((rest, LocalPart(Cow::Borrowed(&i[..i.len() - rest.len()]))))
}

/// `"` (qtext / `\` printable)* `"`. The line has no control characters besides tabs by now.
fn quoted(i: &str) -> IResult<&str, LocalPart<'_>, Syntax> {
    let inner = &i[1..];
    let mut unescaped: Option<String> = None;
    let mut chars = inner.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => {
                let text = unescaped.map_or(Cow::Borrowed(&inner[..at]), Cow::Owned);
                return Ok((&inner[at + 1..], LocalPart(text)));
            }
            '\\' => {
                let text = unescaped.get_or_insert_with(|| inner[..at].to_owned());
                match chars.next() {
                    Some((_, c)) if (' '..='~').contains(&c) => text.push(c),
                    _ => return fail(),
                }
            }
            c if c.is_control() => return fail(),
            c => {
                if let Some(text) = &mut unescaped {
                    text.push(c);
                }
            }
        }
    }
    fail()
}

fn domain(i: &str) -> IResult<&str, Domain<'_>, Syntax> {
    if let Some(inner) = i.strip_prefix('[') {
        let end = inner.find(']').ok_or(Err::Error(Syntax))?;
        return match literal(&inner[..end]) {
            Some(domain) => Ok((&inner[end + 1..], domain)),
            None => fail(),
        };
    }
    let end = i.bytes().position(|b| b != b'.' && !LABEL.holds(b)).unwrap_or(i.len());
    if !is_domain_name(&i[..end]) {
        return fail();
    }
    Ok((&i[end..], Domain::Name(DomainName(Cow::Borrowed(&i[..end])))))
}

fn literal(text: &str) -> Option<Domain<'_>> {
    if let Ok(ip) = text.parse() {
        return Some(Domain::V4(ip));
    }
    let (tag, content) = text.split_once(':')?;
    if tag.eq_ignore_ascii_case("IPv6") {
        return content.parse().ok().map(Domain::V6);
    }
    let content = crate::Value::new(content).ok().filter(|c| !c.as_str().contains(['[', '\\']))?;
    Some(Domain::General { tag: crate::Keyword::new(tag).ok()?, content })
}

#[cfg(feature = "serde")]
mod serde_impls {
    use super::Mailbox;

    impl serde::Serialize for Mailbox<'_> {
        fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
            s.collect_str(self)
        }
    }

    impl<'de> serde::Deserialize<'de> for Mailbox<'static> {
        fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
            let text = <String as serde::Deserialize>::deserialize(d)?;
            text.parse().map_err(serde::de::Error::custom)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_parse_and_print_the_same() {
        for text in [
            "alice@example.org",
            "a.b+c@x",
            "\"a b\"@example.org",
            "\"quo\\\"te\\\\\"@example.org",
            "\"\"@example.org",
            "\"a..b\"@example.org",
            "x@[192.0.2.1]",
            "x@[IPv6:2001:db8::1]",
            "x@[x400:abc]",
            "grün@bücher.example",
        ] {
            assert_eq!(Mailbox::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn needless_quotes_are_not_part_of_the_name() {
        assert_eq!(Mailbox::parse("\"alice\"@x").unwrap(), Mailbox::parse("alice@x").unwrap());
        assert_eq!(Mailbox::parse("\"\\a\"@x").unwrap().to_string(), "a@x");
    }

    #[test]
    fn malformed_addresses_are_refused() {
        for text in [
            "",
            "@",
            "a@",
            "@b",
            "a",
            "a b@c",
            "a@b c",
            "a..b@c",
            ".a@c",
            "a.@c",
            "a@b..c",
            "a@.b",
            "a@-b",
            "a@b-",
            "a@[1.2.3]",
            "a@[IPv6:zz]",
            "a@[",
            "\"a@b",
            "\"a\\",
            "\"a\"b@c",
            "a@b>",
            "<a@b>",
            "a@b.",
            "a@[x:]",
        ] {
            assert!(Mailbox::parse(text).is_err(), "{text:?}");
        }
    }
}

//! The attributes of XCLIENT and XFORWARD: what a trusted proxy says of the client behind it (Postfix
//! `XCLIENT_README`, `XFORWARD_README`).

use std::fmt;
use std::net::IpAddr;

use crate::command::put;
use crate::text::Text;
use crate::{SyntaxError, xtext};

/// A value, or why there is none.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Known<T> {
    /// The value.
    Value(T),
    /// `[UNAVAILABLE]`: there is none.
    Unavailable,
    /// `[TEMPUNAVAIL]`: it could not be found out now.
    TempUnavailable,
}

/// Which protocol the client spoke.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum ClientProtocol {
    /// `SMTP`: it said HELO.
    Smtp,
    /// `ESMTP`: it said EHLO.
    Esmtp,
}

/// Where the message came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Source {
    /// `LOCAL`
    Local,
    /// `REMOTE`
    Remote,
}

/// One `NAME=value`. Values are decoded from xtext.
///
/// Who may say this is the session's decision: believe it of configured peers only.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum Attribute<'a> {
    /// `NAME`: the client's host name.
    Name(Known<Text<'a>>),
    /// `ADDR`: its address.
    Addr(Known<IpAddr>),
    /// `PORT`: its port.
    Port(Known<u16>),
    /// `PROTO`: what it speaks.
    Proto(Known<ClientProtocol>),
    /// `HELO`: the name it gave.
    Helo(Known<Text<'a>>),
    /// `LOGIN`: who it logged in as (XCLIENT).
    Login(Known<Text<'a>>),
    /// `DESTADDR`: the address it connected to (XCLIENT).
    DestAddr(Known<IpAddr>),
    /// `DESTPORT`: the port it connected to (XCLIENT).
    DestPort(Known<u16>),
    /// `IDENT`: the message's id at the proxy (XFORWARD).
    Ident(Known<Text<'a>>),
    /// `SOURCE`: from here or elsewhere (XFORWARD).
    Source(Known<Source>),
}

impl Attribute<'_> {
    /// The name on the wire.
    pub fn name(&self) -> &'static str {
        match self {
            Attribute::Name(_) => "NAME",
            Attribute::Addr(_) => "ADDR",
            Attribute::Port(_) => "PORT",
            Attribute::Proto(_) => "PROTO",
            Attribute::Helo(_) => "HELO",
            Attribute::Login(_) => "LOGIN",
            Attribute::DestAddr(_) => "DESTADDR",
            Attribute::DestPort(_) => "DESTPORT",
            Attribute::Ident(_) => "IDENT",
            Attribute::Source(_) => "SOURCE",
        }
    }

    /// The same, owning its text.
    pub fn into_owned(self) -> Attribute<'static> {
        match self {
            Attribute::Name(text) => Attribute::Name(own(text)),
            Attribute::Addr(addr) => Attribute::Addr(addr),
            Attribute::Port(port) => Attribute::Port(port),
            Attribute::Proto(protocol) => Attribute::Proto(protocol),
            Attribute::Helo(text) => Attribute::Helo(own(text)),
            Attribute::Login(text) => Attribute::Login(own(text)),
            Attribute::DestAddr(addr) => Attribute::DestAddr(addr),
            Attribute::DestPort(port) => Attribute::DestPort(port),
            Attribute::Ident(text) => Attribute::Ident(own(text)),
            Attribute::Source(source) => Attribute::Source(source),
        }
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        put(out, format_args!(" {}=", self.name()));
        match self {
            Attribute::Name(text)
            | Attribute::Helo(text)
            | Attribute::Login(text)
            | Attribute::Ident(text) => put_known(out, text, |out, text| xtext::encode(text.as_str(), out)),
            Attribute::Addr(addr) | Attribute::DestAddr(addr) => put_known(out, addr, put_addr),
            Attribute::Port(port) | Attribute::DestPort(port) => put_known(out, port, put_shown),
            Attribute::Proto(protocol) => put_known(out, protocol, put_shown),
            Attribute::Source(source) => put_known(out, source, put_shown),
        }
    }
}

fn own(text: Known<Text<'_>>) -> Known<Text<'static>> {
    match text {
        Known::Value(text) => Known::Value(text.into_owned()),
        Known::Unavailable => Known::Unavailable,
        Known::TempUnavailable => Known::TempUnavailable,
    }
}

fn put_known<T>(out: &mut Vec<u8>, known: &Known<T>, put_value: impl Fn(&mut Vec<u8>, &T)) {
    match known {
        Known::Value(value) => put_value(out, value),
        Known::Unavailable => out.extend(b"[UNAVAILABLE]"),
        Known::TempUnavailable => out.extend(b"[TEMPUNAVAIL]"),
    }
}

fn put_shown(out: &mut Vec<u8>, value: &impl fmt::Display) {
    put(out, format_args!("{value}"));
}

fn put_addr(out: &mut Vec<u8>, addr: &IpAddr) {
    match addr {
        IpAddr::V4(v4) => put(out, format_args!("{v4}")),
        IpAddr::V6(v6) => put(out, format_args!("IPV6:{v6}")),
    }
}

impl fmt::Display for ClientProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ClientProtocol::Smtp => "SMTP",
            ClientProtocol::Esmtp => "ESMTP",
        })
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Source::Local => "LOCAL",
            Source::Remote => "REMOTE",
        })
    }
}

/// One attribute or more, each name once.
pub(crate) fn attributes(rest: &str) -> Result<Vec<Attribute<'_>>, SyntaxError> {
    let mut found: Vec<Attribute<'_>> = Vec::new();
    for word in rest.split(' ').filter(|word| !word.is_empty()) {
        let attribute = attribute(word).ok_or(SyntaxError::BadParameter)?;
        if found.iter().any(|other| other.name() == attribute.name()) {
            return Err(SyntaxError::DuplicateParameter);
        }
        found.push(attribute);
    }
    if found.is_empty() { Err(SyntaxError::MissingArgument) } else { Ok(found) }
}

fn attribute(word: &str) -> Option<Attribute<'_>> {
    let (name, value) = word.split_once('=')?;
    Some(match name.to_ascii_uppercase().as_str() {
        "NAME" => Attribute::Name(known(value, text)?),
        "ADDR" => Attribute::Addr(known(value, addr)?),
        "PORT" => Attribute::Port(known(value, port)?),
        "PROTO" => Attribute::Proto(known(value, protocol)?),
        "HELO" => Attribute::Helo(known(value, text)?),
        "LOGIN" => Attribute::Login(known(value, text)?),
        "DESTADDR" => Attribute::DestAddr(known(value, addr)?),
        "DESTPORT" => Attribute::DestPort(known(value, port)?),
        "IDENT" => Attribute::Ident(known(value, text)?),
        "SOURCE" => Attribute::Source(known(value, source)?),
        _ => return None,
    })
}

fn known<'a, T>(value: &'a str, parse: impl Fn(&'a str) -> Option<T>) -> Option<Known<T>> {
    match value {
        v if v.eq_ignore_ascii_case("[UNAVAILABLE]") => Some(Known::Unavailable),
        v if v.eq_ignore_ascii_case("[TEMPUNAVAIL]") => Some(Known::TempUnavailable),
        v => parse(v).map(Known::Value),
    }
}

fn text(value: &str) -> Option<Text<'_>> {
    let text = xtext::decode(value)?;
    // These would read as something else when they are encoded again.
    let reserved = ["[UNAVAILABLE]", "[TEMPUNAVAIL]"].iter().any(|word| text.eq_ignore_ascii_case(word));
    if reserved { None } else { Text::new(text).ok() }
}

fn addr(value: &str) -> Option<IpAddr> {
    let value = xtext::decode(value)?;
    match value.split_at_checked(5) {
        Some((tag, v6)) if tag.eq_ignore_ascii_case("IPV6:") => v6.parse().ok().map(IpAddr::V6),
        _ => value.parse().ok().map(IpAddr::V4),
    }
}

fn port(value: &str) -> Option<u16> {
    crate::class::number(value)?.try_into().ok()
}

fn protocol(value: &str) -> Option<ClientProtocol> {
    match value {
        v if v.eq_ignore_ascii_case("SMTP") => Some(ClientProtocol::Smtp),
        v if v.eq_ignore_ascii_case("ESMTP") => Some(ClientProtocol::Esmtp),
        _ => None,
    }
}

fn source(value: &str) -> Option<Source> {
    match value {
        v if v.eq_ignore_ascii_case("LOCAL") => Some(Source::Local),
        v if v.eq_ignore_ascii_case("REMOTE") => Some(Source::Remote),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_of_the_postfix_readme() {
        let found = attributes("NAME=spike.porcupine.org ADDR=168.100.189.2 PROTO=ESMTP").unwrap();
        assert_eq!(found[1], Attribute::Addr(Known::Value([168, 100, 189, 2].into())));
        let found = attributes("name=[unavailable] addr=IPv6:2001:db8::1 port=25 source=local").unwrap();
        assert_eq!(found[0], Attribute::Name(Known::Unavailable));
        let mut out = Vec::new();
        found.iter().for_each(|attribute| attribute.encode(&mut out));
        assert_eq!(out, b" NAME=[UNAVAILABLE] ADDR=IPV6:2001:db8::1 PORT=25 SOURCE=LOCAL");
    }

    #[test]
    fn bad_attributes_are_refused() {
        assert_eq!(attributes(" "), Err(SyntaxError::MissingArgument));
        assert_eq!(attributes("NAME=a NAME=b"), Err(SyntaxError::DuplicateParameter));
        for bad in ["X=y", "NAME", "NAME=", "NAME=a+0D+0Ab", "ADDR=1.2.3", "PORT=65536", "PROTO=HTTP"] {
            assert_eq!(attributes(bad), Err(SyntaxError::BadParameter), "{bad:?}");
        }
    }
}

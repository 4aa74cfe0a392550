//! The attributes of XCLIENT: what a trusted proxy says of the client behind it, as Dovecot has them
//! (`src/pop3-login/client.c` and `pop3-proxy.c`, Dovecot 2.4).

use std::fmt;
use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::SyntaxError;
use crate::command::put;
use crate::text::Word;

/// Longest session id that Dovecot takes.
pub const SESSION_MAX: usize = 64;
/// Most attributes of one command; Dovecot's proxy sends nine.
pub const ATTRIBUTES_MAX: usize = 24;

/// One `NAME=value`. Addresses stand as they are, those of IPv6 without the prefix that SMTP's XCLIENT has; nothing is in xtext.
///
/// Who may say this is the session's decision: believe it of configured peers only, and before the login.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum Attribute<'a> {
    /// `ADDR`: the client's address.
    Addr(IpAddr),
    /// `PORT`: its port.
    Port(u16),
    /// `DESTADDR`: the address it connected to.
    DestAddr(IpAddr),
    /// `DESTPORT`: the port it connected to.
    DestPort(u16),
    /// `DESTNAME`: the host name it asked TLS for.
    DestName(Word<'a>),
    /// `SESSION`: the proxy's name for the session, of at most [`SESSION_MAX`] octets.
    Session(Word<'a>),
    /// `TTL`: through how many more proxies this may go.
    Ttl(u32),
    /// `CLIENT-TRANSPORT`: whether the client speaks TLS with the proxy.
    ClientTransport {
        /// `TLS`, and not `insecure`.
        tls: bool,
    },
    /// `FORWARD`: whatever the proxy was told to pass on, as a rule `name=value`. On the wire the fields are joined by tabs,
    /// those inside them escaped, and all of it is in base64. An empty field is none.
    Forward(Vec<String>),
    /// Any other, as written; Dovecot skips it.
    Other {
        /// Its name.
        name: Word<'a>,
        /// What follows `=`; empty if nothing does.
        value: String,
    },
}

impl Attribute<'_> {
    /// The name on the wire.
    pub fn name(&self) -> &str {
        match self {
            Attribute::Addr(_) => "ADDR",
            Attribute::Port(_) => "PORT",
            Attribute::DestAddr(_) => "DESTADDR",
            Attribute::DestPort(_) => "DESTPORT",
            Attribute::DestName(_) => "DESTNAME",
            Attribute::Session(_) => "SESSION",
            Attribute::Ttl(_) => "TTL",
            Attribute::ClientTransport { .. } => "CLIENT-TRANSPORT",
            Attribute::Forward(_) => "FORWARD",
            Attribute::Other { name, .. } => name.as_str(),
        }
    }

    /// The same, owning its text.
    pub fn into_owned(self) -> Attribute<'static> {
        match self {
            Attribute::Addr(addr) => Attribute::Addr(addr),
            Attribute::Port(port) => Attribute::Port(port),
            Attribute::DestAddr(addr) => Attribute::DestAddr(addr),
            Attribute::DestPort(port) => Attribute::DestPort(port),
            Attribute::DestName(name) => Attribute::DestName(name.into_owned()),
            Attribute::Session(id) => Attribute::Session(id.into_owned()),
            Attribute::Ttl(ttl) => Attribute::Ttl(ttl),
            Attribute::ClientTransport { tls } => Attribute::ClientTransport { tls },
            Attribute::Forward(fields) => Attribute::Forward(fields),
            Attribute::Other { name, value } => Attribute::Other { name: name.into_owned(), value },
        }
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        put(out, format_args!(" {}=", self.name()));
        match self {
            Attribute::Addr(addr) | Attribute::DestAddr(addr) => put_shown(out, addr),
            Attribute::Port(port) | Attribute::DestPort(port) => put_shown(out, port),
            Attribute::DestName(text) | Attribute::Session(text) => put_shown(out, text),
            Attribute::Ttl(ttl) => put_shown(out, ttl),
            Attribute::ClientTransport { tls } => put_shown(out, if *tls { &"TLS" } else { &"insecure" }),
            Attribute::Forward(fields) => put_shown(out, &STANDARD.encode(joined(fields))),
            Attribute::Other { value, .. } => out.extend(value.bytes().filter(u8::is_ascii_graphic)),
        }
    }
}

fn put_shown(out: &mut Vec<u8>, value: &dyn fmt::Display) {
    put(out, format_args!("{value}"));
}

/// One attribute or more, each name once.
pub(crate) fn attributes(rest: &str) -> Result<Vec<Attribute<'_>>, SyntaxError> {
    let mut found: Vec<Attribute<'_>> = Vec::new();
    for word in rest.split(' ').filter(|word| !word.is_empty()) {
        let attribute = attribute(word).ok_or(SyntaxError::BadArgument)?;
        if found.len() == ATTRIBUTES_MAX {
            return Err(SyntaxError::UnexpectedArgument);
        }
        if found.iter().any(|other| other.name().eq_ignore_ascii_case(attribute.name())) {
            return Err(SyntaxError::BadArgument);
        }
        found.push(attribute);
    }
    if found.is_empty() { Err(SyntaxError::MissingArgument) } else { Ok(found) }
}

fn attribute(word: &str) -> Option<Attribute<'_>> {
    let (name, value) = word.split_once('=').unwrap_or((word, ""));
    Some(match name.to_ascii_uppercase().as_str() {
        "ADDR" => Attribute::Addr(value.parse().ok()?),
        "PORT" => Attribute::Port(number(value)?),
        "DESTADDR" => Attribute::DestAddr(value.parse().ok()?),
        "DESTPORT" => Attribute::DestPort(number(value)?),
        "DESTNAME" => Attribute::DestName(host_name(value)?),
        "SESSION" => Attribute::Session(Word::new(value).ok().filter(|id| id.as_str().len() <= SESSION_MAX)?),
        "TTL" => Attribute::Ttl(number(value)?),
        "CLIENT-TRANSPORT" => Attribute::ClientTransport { tls: value.starts_with("TLS") },
        "FORWARD" => Attribute::Forward(fields(&STANDARD.decode(value).ok()?)?),
        _ => {
            let value = if value.is_empty() { value } else { Word::new(value).ok().map(|_| value)? };
            Attribute::Other { name: Word::new(name).ok()?, value: value.to_owned() }
        }
    })
}

/// Digits and nothing else, of a number that fits.
fn number<T: std::str::FromStr>(text: &str) -> Option<T> {
    if text.bytes().all(|b| b.is_ascii_digit()) { text.parse().ok() } else { None }
}

fn host_name(text: &str) -> Option<Word<'_>> {
    let fits = text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
    if fits { Word::new(text).ok() } else { None }
}

/// What stands for a character that may not be in a field: U+0001 and this.
const ESCAPES: [(char, char); 5] = [('\0', '0'), ('\u{1}', '1'), ('\t', 't'), ('\r', 'r'), ('\n', 'n')];

fn joined(fields: &[String]) -> String {
    let escaped = |field: &String| {
        field.chars().fold(String::new(), |mut out, c| {
            match ESCAPES.iter().find(|(character, _)| *character == c) {
                Some((_, letter)) => out.extend(['\u{1}', *letter]),
                None => out.push(c),
            }
            out
        })
    };
    fields.iter().filter(|field| !field.is_empty()).map(escaped).collect::<Vec<_>>().join("\t")
}

fn fields(octets: &[u8]) -> Option<Vec<String>> {
    let text = std::str::from_utf8(octets).ok()?;
    text.split('\t').filter(|field| !field.is_empty()).map(unescaped).collect()
}

fn unescaped(field: &str) -> Option<String> {
    let (mut out, mut chars) = (String::new(), field.chars());
    while let Some(c) = chars.next() {
        out.push(match c {
            '\u{1}' => {
                let letter = chars.next()?;
                ESCAPES.iter().find(|(_, of)| *of == letter)?.0
            }
            '\0' | '\r' | '\n' => return None,
            c => c,
        });
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_dovecots_proxy_sends_reads_and_prints_the_same() {
        let line = "ADDR=192.0.2.1 PORT=4711 DESTADDR=2001:db8::2 DESTPORT=110 SESSION=YV7N3AtQcKAKABcL TTL=4 \
            CLIENT-TRANSPORT=TLS DESTNAME=pop.example.org FORWARD=dGVuYW50PTcJbm90ZT1hAXRi";
        let found = attributes(line).unwrap();
        assert_eq!(found[0], Attribute::Addr([192, 0, 2, 1].into()));
        assert_eq!(found[6], Attribute::ClientTransport { tls: true });
        assert_eq!(found[8], Attribute::Forward(vec!["tenant=7".into(), "note=a\tb".into()]));
        let mut out = Vec::new();
        found.iter().for_each(|attribute| attribute.encode(&mut out));
        assert_eq!(String::from_utf8(out).unwrap(), format!(" {line}"));
        assert!(found.iter().all(|attribute| attribute.clone().into_owned() == *attribute));
    }

    #[test]
    fn unknown_attributes_come_through_and_bad_ones_do_not() {
        let other = attributes("x-new=a=b").unwrap();
        assert_eq!(other, [Attribute::Other { name: Word::new("x-new").unwrap(), value: "a=b".into() }]);
        assert_eq!(
            attributes("CLIENT-TRANSPORT=insecure").unwrap(),
            [Attribute::ClientTransport { tls: false }]
        );
        assert_eq!(attributes("FORWARD=").unwrap(), [Attribute::Forward(vec![])]);
        assert_eq!(attributes("FORWARD=CWEJ").unwrap(), [Attribute::Forward(vec!["a".into()])]);
        let mut out = Vec::new();
        Attribute::Forward(vec![String::new(), "a".into()]).encode(&mut out);
        assert_eq!(out, b" FORWARD=YQ==");
        assert_eq!(attributes(" "), Err(SyntaxError::MissingArgument));
        let many = (0..=ATTRIBUTES_MAX).fold(String::new(), |line, n| format!("{line} X{n}=y"));
        assert_eq!(attributes(&many), Err(SyntaxError::UnexpectedArgument));
        let long = format!("SESSION={}", "x".repeat(SESSION_MAX + 1));
        for bad in [
            "ADDR=1.2.3",
            "ADDR=IPV6:::1",
            "PORT=65536",
            "PORT=+1",
            "TTL=",
            "TTL=-1",
            "SESSION=",
            &long,
            "DESTNAME=a/b",
            "FORWARD=!",
            "FORWARD=AXg=",
            "FORWARD=/w==",
            "FORWARD=YQ0=",
            "ADDR=::1 addr=::2",
            "X=\u{e9}",
        ] {
            assert_eq!(attributes(bad), Err(SyntaxError::BadArgument), "{bad}");
        }
    }
}

//! Status lines and what stands in listings, both ways.

use std::borrow::Cow;
use std::fmt;

use nom::Parser;
use nom::character::complete::char;
use nom::combinator::all_consuming;
use nom::sequence::separated_pair;

use crate::command::{MessageNumber, put};
use crate::parse::{message_number, octets, unique_id};
use crate::text::{UniqueId, Word};

/// A machine-readable code at the head of a status line's text (RFC 2449 §8, RFC 3206, RFC 6856).
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum ResponseCode {
    /// `[IN-USE]`: the mailbox is locked.
    InUse,
    /// `[LOGIN-DELAY]`: too soon after the last login.
    LoginDelay,
    /// `[SYS/TEMP]`: our fault, try again.
    SysTemp,
    /// `[SYS/PERM]`: our fault, do not.
    SysPerm,
    /// `[AUTH]`: the credentials are wrong.
    Auth,
    /// `[UTF8]`
    Utf8,
    /// Any other, as written.
    Other(Word<'static>),
}

impl ResponseCode {
    fn parse(text: &str) -> Option<Self> {
        Some(match text.to_ascii_uppercase().as_str() {
            "IN-USE" => Self::InUse,
            "LOGIN-DELAY" => Self::LoginDelay,
            "SYS/TEMP" => Self::SysTemp,
            "SYS/PERM" => Self::SysPerm,
            "AUTH" => Self::Auth,
            "UTF8" => Self::Utf8,
            _ => Self::Other(Word::new(text.to_owned()).ok()?),
        })
    }
}

impl fmt::Display for ResponseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::InUse => "IN-USE",
            Self::LoginDelay => "LOGIN-DELAY",
            Self::SysTemp => "SYS/TEMP",
            Self::SysPerm => "SYS/PERM",
            Self::Auth => "AUTH",
            Self::Utf8 => "UTF8",
            Self::Other(word) => word.as_str(),
        })
    }
}

/// A status line: `+OK` or `-ERR`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Reply {
    ok: bool,
    code: Option<ResponseCode>,
    text: Cow<'static, str>,
}

impl Reply {
    /// `+OK text`
    pub fn ok(text: impl Into<Cow<'static, str>>) -> Self {
        Self { ok: true, code: None, text: text.into() }
    }

    /// `-ERR text`
    pub fn err(text: impl Into<Cow<'static, str>>) -> Self {
        Self { ok: false, code: None, text: text.into() }
    }

    /// The same with a response code.
    pub fn with_code(self, code: ResponseCode) -> Self {
        Self { code: Some(code), ..self }
    }

    /// Whether it is `+OK`.
    pub fn is_ok(&self) -> bool {
        self.ok
    }

    /// The response code, if there is one.
    pub fn code(&self) -> Option<&ResponseCode> {
        self.code.as_ref()
    }

    /// What follows.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Parses one line without its CRLF.
    pub fn parse(line: &str) -> Option<Self> {
        let (status, text) = line.split_once(' ').unwrap_or((line, ""));
        let ok = match status {
            s if s.eq_ignore_ascii_case("+OK") => true,
            s if s.eq_ignore_ascii_case("-ERR") => false,
            _ => return None,
        };
        let (code, text) = split_code(text);
        Some(Self { ok, code, text: Cow::Owned(text.to_owned()) })
    }

    /// Appends the line with its CRLF. Control characters in the text become blanks.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend(if self.ok { b"+OK".as_slice() } else { b"-ERR" });
        if let Some(code) = &self.code {
            put(out, format_args!(" [{code}]"));
        }
        if !self.text.is_empty() {
            out.push(b' ');
            out.extend(self.text.bytes().map(|b| if b < b' ' || b == 127 { b' ' } else { b }));
        }
        out.extend(b"\r\n");
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = Vec::new();
        self.encode(&mut line);
        f.write_str(String::from_utf8_lossy(&line).trim_end())
    }
}

fn split_code(text: &str) -> (Option<ResponseCode>, &str) {
    let Some((code, rest)) = text.strip_prefix('[').and_then(|inner| inner.split_once(']')) else {
        return (None, text);
    };
    match ResponseCode::parse(code) {
        Some(code) => (Some(code), rest.strip_prefix(' ').unwrap_or(rest)),
        None => (None, text),
    }
}

/// What `+OK` to STAT says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Stat {
    /// Messages that are not marked deleted.
    pub messages: u64,
    /// Their size in octets.
    pub octets: u64,
}

impl Stat {
    /// Reads a reply's text; what follows the two numbers is ignored (RFC 1939 §5).
    pub fn parse(text: &str) -> Option<Self> {
        let (_, (messages, octets)) = separated_pair(octets, char(' '), octets).parse(text).ok()?;
        Some(Self { messages, octets })
    }
}

impl fmt::Display for Stat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.messages, self.octets)
    }
}

/// A scan listing: a line of LIST.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct ListEntry {
    /// Which message.
    pub message: MessageNumber,
    /// Its size in octets.
    pub octets: u64,
}

impl ListEntry {
    /// Parses `number octets`; what follows is ignored (RFC 1939 §5).
    pub fn parse(line: &str) -> Option<Self> {
        let (_, (message, octets)) = separated_pair(message_number, char(' '), octets).parse(line).ok()?;
        Some(Self { message, octets })
    }
}

impl fmt::Display for ListEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.message, self.octets)
    }
}

/// A unique-id listing: a line of UIDL.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct UidlEntry<'a> {
    /// Which message.
    pub message: MessageNumber,
    /// What names it for ever.
    pub id: UniqueId<'a>,
}

impl<'a> UidlEntry<'a> {
    /// Parses `number unique-id`.
    pub fn parse(line: &'a str) -> Option<Self> {
        let grammar = separated_pair(message_number, char(' '), unique_id);
        let (_, (message, id)) = all_consuming(grammar).parse(line).ok()?;
        Some(Self { message, id })
    }
}

impl fmt::Display for UidlEntry<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.message, self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_lines_known_answers() {
        for (line, reply) in [
            ("+OK", Reply::ok("")),
            ("+OK POP3 ready", Reply::ok("POP3 ready")),
            ("-ERR [AUTH] no", Reply::err("no").with_code(ResponseCode::Auth)),
            ("-ERR [SYS/TEMP]", Reply::err("").with_code(ResponseCode::SysTemp)),
            ("+OK [X-NEW] hi", Reply::ok("hi").with_code(ResponseCode::Other(Word::new("X-NEW").unwrap()))),
            ("-ERR [not a code", Reply::err("[not a code")),
        ] {
            assert_eq!(Reply::parse(line), Some(reply.clone()));
            assert_eq!(reply.to_string(), line);
        }
        assert!(["", "OK", "+OKAY", "* x"].into_iter().all(|bad| Reply::parse(bad).is_none()));
    }

    #[test]
    fn listings_known_answers() {
        let one = MessageNumber::MIN;
        assert_eq!(Stat::parse("2 320"), Some(Stat { messages: 2, octets: 320 }));
        assert_eq!(ListEntry::parse("1 120 extra"), Some(ListEntry { message: one, octets: 120 }));
        let entry = UidlEntry::parse("1 whqtswO00WBw418f9t5JxYwZ").unwrap();
        assert_eq!(entry.id.as_str(), "whqtswO00WBw418f9t5JxYwZ");
        assert!(
            ["0 5", "1", "x 5", "1 99999999999999999999999"]
                .into_iter()
                .all(|b| ListEntry::parse(b).is_none())
        );
        assert!(["1", "1 a b", "0 a"].into_iter().all(|bad| UidlEntry::parse(bad).is_none()));
    }
}

//! Status lines and what stands in listings, both ways.

use std::borrow::Cow;
use std::fmt;

use nom::Parser;
use nom::combinator::all_consuming;
use nom::sequence::separated_pair;

use crate::Quirks;
use crate::command::{MessageNumber, put};
use crate::parse::{gap, listed, message_number, octets, unique_id};
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
    /// `[XCLIENT]` in a greeting: the server takes [`crate::Command::XClient`] (Dovecot).
    XClient,
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
            "XCLIENT" => Self::XClient,
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
            Self::XClient => "XCLIENT",
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

    /// The timestamp of a greeting that offers APOP, with its `<` and `>`, wherever in the text it stands (RFC 1939 §7). Other
    /// things between these signs, such as a bare host name, are none: it has the form of a Message-ID.
    pub fn apop_timestamp(&self) -> Option<&str> {
        let up_to_closing = self.text.split_inclusive('>').filter(|part| part.ends_with('>'));
        let mut candidates = up_to_closing.filter_map(|part| Some(&part[part.rfind('<')?..]));
        candidates.find(|id| {
            let inner = &id[1..id.len() - 1];
            let halves =
                inner.split_once('@').is_some_and(|(left, right)| !left.is_empty() && !right.is_empty());
            halves && inner.bytes().all(|b| b.is_ascii_graphic())
        })
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

/// The text of an answer in which the message's number may be missing.
fn left_out(text: &str, quirks: Quirks) -> Option<&str> {
    quirks.contains(Quirks::NUMBER_LEFT_OUT).then(|| listed(text, quirks))
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
        Self::parse_with(text, Quirks::NONE)
    }

    /// The same with the blanks that `quirks` allow.
    pub fn parse_with(text: &str, quirks: Quirks) -> Option<Self> {
        let grammar = separated_pair(octets, gap(quirks), octets);
        let (_, (messages, octets)) = { grammar }.parse(listed(text, quirks)).ok()?;
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
        Self::parse_with(line, Quirks::NONE)
    }

    /// The same with the blanks that `quirks` allow.
    pub fn parse_with(line: &str, quirks: Quirks) -> Option<Self> {
        let grammar = separated_pair(message_number, gap(quirks), octets);
        let (_, (message, octets)) = { grammar }.parse(listed(line, quirks)).ok()?;
        Some(Self { message, octets })
    }

    /// Reads the text of `+OK` to LIST with the number `asked`, which [`Quirks::NUMBER_LEFT_OUT`] lets be left out.
    pub fn answer(asked: MessageNumber, text: &str, quirks: Quirks) -> Option<Self> {
        Self::parse_with(text, quirks).or_else(|| {
            let (_, octets) = all_consuming(octets).parse(left_out(text, quirks)?).ok()?;
            Some(Self { message: asked, octets })
        })
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
        Self::parse_with(line, Quirks::NONE)
    }

    /// The same with the blanks and the lengths that `quirks` allow.
    pub fn parse_with(line: &'a str, quirks: Quirks) -> Option<Self> {
        let grammar = separated_pair(message_number, gap(quirks), unique_id(quirks));
        let (_, (message, id)) = all_consuming(grammar).parse(listed(line, quirks)).ok()?;
        Some(Self { message, id })
    }

    /// Reads the text of `+OK` to UIDL with the number `asked`, which [`Quirks::NUMBER_LEFT_OUT`] lets be left out.
    pub fn answer(asked: MessageNumber, text: &'a str, quirks: Quirks) -> Option<Self> {
        Self::parse_with(text, quirks).or_else(|| {
            let (_, id) = all_consuming(unique_id(quirks)).parse(left_out(text, quirks)?).ok()?;
            Some(Self { message: asked, id })
        })
    }

    /// The same, owning its text.
    pub fn into_owned(self) -> UidlEntry<'static> {
        UidlEntry { message: self.message, id: self.id.into_owned() }
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
    fn a_timestamp_of_apop_has_the_form_of_a_message_id() {
        for (text, timestamp) in [
            (
                "POP3 server ready <1896.697170952@dbc.mtview.ca.us>",
                Some("<1896.697170952@dbc.mtview.ca.us>"),
            ),
            ("<1.2@x> ready", Some("<1.2@x>")),
            ("E.Novation POP3 server ready <a.b.c>", None),
            ("at <a.b.c> <1@x>", Some("<1@x>")),
            ("<<1@x>", Some("<1@x>")),
            ("<1 @x>", None),
            ("<@x>", None),
            ("<1@>", None),
            ("<1@x", None),
            ("no", None),
        ] {
            assert_eq!(Reply::ok(text).apop_timestamp(), timestamp, "{text}");
        }
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

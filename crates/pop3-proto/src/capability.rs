//! What a server can do: the lines of CAPA (RFC 2449 §6) and of LANG (RFC 6856 §3.2).

use std::fmt;

use crate::text::{Text, Word};

/// How long mail is kept (RFC 2449 §6.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Expire {
    /// `NEVER`
    Never,
    /// Days after which mail may go; 0: as soon as it was read.
    Days(u32),
}

/// A line of CAPA.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum Capability<'a> {
    /// `TOP`
    Top,
    /// `USER`: USER and PASS.
    User,
    /// `SASL`, with the mechanisms (RFC 5034).
    Sasl(Vec<Word<'a>>),
    /// `RESP-CODES`
    RespCodes,
    /// `LOGIN-DELAY`: seconds between logins.
    LoginDelay {
        /// The seconds, or the most of any user.
        seconds: u32,
        /// `USER`: asked before login, and it differs from user to user.
        per_user: bool,
    },
    /// `PIPELINING`
    Pipelining,
    /// `EXPIRE`
    Expire {
        /// For how long.
        keep: Expire,
        /// `USER`: asked before login, and it differs from user to user.
        per_user: bool,
    },
    /// `UIDL`
    Uidl,
    /// `IMPLEMENTATION`: only after login, if a stranger need not know.
    Implementation(Text<'a>),
    /// `STLS` (RFC 2595).
    Stls,
    /// `AUTH-RESP-CODE` (RFC 3206).
    AuthRespCode,
    /// `UTF8` (RFC 6856).
    Utf8 {
        /// `USER`: names and passwords may be UTF-8, too.
        in_user: bool,
    },
    /// `LANG` (RFC 6856).
    Lang,
    /// Any other, with its parameters as written.
    Other {
        /// The keyword, as written.
        keyword: Word<'a>,
        /// What follows it.
        params: Option<Text<'a>>,
    },
}

impl<'a> Capability<'a> {
    /// Parses one line without CRLF and stuffing. A capability whose parameters make no sense comes through as
    /// [`Capability::Other`]; `None` where the line has no keyword.
    pub fn parse(line: &'a str) -> Option<Self> {
        let line = line.trim_matches(' ');
        let (keyword, params) = line.split_once(' ').unwrap_or((line, ""));
        let params = params.trim_matches(' ');
        known(&keyword.to_ascii_uppercase(), params).or_else(|| {
            Some(Self::Other { keyword: Word::new(keyword).ok()?, params: Text::new(params).ok() })
        })
    }

    /// The same, owning its text.
    pub fn into_owned(self) -> Capability<'static> {
        match self {
            Self::Sasl(mechanisms) => {
                Capability::Sasl(mechanisms.into_iter().map(Word::into_owned).collect())
            }
            Self::Implementation(text) => Capability::Implementation(text.into_owned()),
            Self::Other { keyword, params } => {
                Capability::Other { keyword: keyword.into_owned(), params: params.map(Text::into_owned) }
            }
            Self::Top => Capability::Top,
            Self::User => Capability::User,
            Self::RespCodes => Capability::RespCodes,
            Self::LoginDelay { seconds, per_user } => Capability::LoginDelay { seconds, per_user },
            Self::Pipelining => Capability::Pipelining,
            Self::Expire { keep, per_user } => Capability::Expire { keep, per_user },
            Self::Uidl => Capability::Uidl,
            Self::Stls => Capability::Stls,
            Self::AuthRespCode => Capability::AuthRespCode,
            Self::Utf8 { in_user } => Capability::Utf8 { in_user },
            Self::Lang => Capability::Lang,
        }
    }
}

fn known<'a>(keyword: &str, params: &'a str) -> Option<Capability<'a>> {
    Some(match (keyword, params) {
        ("TOP", "") => Capability::Top,
        ("USER", "") => Capability::User,
        ("SASL", words) => {
            Capability::Sasl(words.split(' ').filter_map(|word| Word::new(word).ok()).collect())
        }
        ("RESP-CODES", "") => Capability::RespCodes,
        ("LOGIN-DELAY", params) => {
            let (seconds, per_user) = for_user(params)?;
            Capability::LoginDelay { seconds: seconds.parse().ok()?, per_user }
        }
        ("PIPELINING", "") => Capability::Pipelining,
        ("EXPIRE", params) => {
            let (keep, per_user) = for_user(params)?;
            let never = keep.eq_ignore_ascii_case("NEVER");
            let keep = if never { Expire::Never } else { Expire::Days(keep.parse().ok()?) };
            Capability::Expire { keep, per_user }
        }
        ("UIDL", "") => Capability::Uidl,
        ("IMPLEMENTATION", text) => Capability::Implementation(Text::new(text).ok()?),
        ("STLS", "") => Capability::Stls,
        ("AUTH-RESP-CODE", "") => Capability::AuthRespCode,
        ("UTF8", "") => Capability::Utf8 { in_user: false },
        ("UTF8", user) if user.eq_ignore_ascii_case("USER") => Capability::Utf8 { in_user: true },
        ("LANG", "") => Capability::Lang,
        _ => return None,
    })
}

/// `value` or `value USER`.
fn for_user(params: &str) -> Option<(&str, bool)> {
    match params.split_once(' ') {
        None => Some((params, false)),
        Some((value, user)) if user.eq_ignore_ascii_case("USER") => Some((value, true)),
        Some(_) => None,
    }
}

impl fmt::Display for Capability<'_> {
    /// As on the wire, without CRLF.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let user = |per_user: bool| if per_user { " USER" } else { "" };
        match self {
            Self::Top => f.write_str("TOP"),
            Self::User => f.write_str("USER"),
            Self::Sasl(mechanisms) => {
                f.write_str("SASL")?;
                mechanisms.iter().try_for_each(|mechanism| write!(f, " {mechanism}"))
            }
            Self::RespCodes => f.write_str("RESP-CODES"),
            Self::LoginDelay { seconds, per_user } => write!(f, "LOGIN-DELAY {seconds}{}", user(*per_user)),
            Self::Pipelining => f.write_str("PIPELINING"),
            Self::Expire { keep: Expire::Never, per_user } => write!(f, "EXPIRE NEVER{}", user(*per_user)),
            Self::Expire { keep: Expire::Days(days), per_user } => {
                write!(f, "EXPIRE {days}{}", user(*per_user))
            }
            Self::Uidl => f.write_str("UIDL"),
            Self::Implementation(text) => write!(f, "IMPLEMENTATION {text}"),
            Self::Stls => f.write_str("STLS"),
            Self::AuthRespCode => f.write_str("AUTH-RESP-CODE"),
            Self::Utf8 { in_user } => write!(f, "UTF8{}", user(*in_user)),
            Self::Lang => f.write_str("LANG"),
            Self::Other { keyword, params: Some(params) } => write!(f, "{keyword} {params}"),
            Self::Other { keyword, params: None } => write!(f, "{keyword}"),
        }
    }
}

/// A line of LANG's listing; also the text of `+OK` to LANG with a tag, which begins with the tag of the language that is spoken
/// from there on (RFC 6856 §3).
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct LangEntry<'a> {
    /// The language tag.
    pub tag: Word<'a>,
    /// The language's name in itself.
    pub name: Option<Text<'a>>,
}

impl<'a> LangEntry<'a> {
    /// Parses `tag name`.
    pub fn parse(line: &'a str) -> Option<Self> {
        let (tag, name) = line.split_once(' ').unwrap_or((line, ""));
        Some(Self { tag: Word::new(tag).ok()?, name: Text::new(name).ok() })
    }

    /// The same, owning its text.
    pub fn into_owned(self) -> LangEntry<'static> {
        LangEntry { tag: self.tag.into_owned(), name: self.name.map(Text::into_owned) }
    }
}

impl fmt::Display for LangEntry<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "{} {name}", self.tag),
            None => write!(f, "{}", self.tag),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_of_the_rfcs_parse_and_print_the_same() {
        for line in [
            "TOP",
            "USER",
            "SASL CRAM-MD5 KERBEROS_V4",
            "SASL",
            "RESP-CODES",
            "LOGIN-DELAY 900",
            "LOGIN-DELAY 120 USER",
            "PIPELINING",
            "EXPIRE 60",
            "EXPIRE 0 USER",
            "EXPIRE NEVER",
            "UIDL",
            "IMPLEMENTATION Shlemazle-Plotz-v302",
            "STLS",
            "AUTH-RESP-CODE",
            "UTF8",
            "UTF8 USER",
            "LANG",
        ] {
            let capability = Capability::parse(line).unwrap();
            assert!(!matches!(capability, Capability::Other { .. }), "{line}");
            assert_eq!(capability.to_string(), line);
            assert_eq!(capability.clone().into_owned(), capability);
        }
    }

    #[test]
    fn unknown_capabilities_come_through_as_they_are() {
        for line in ["X-NEW", "X-NEW a b", "EXPIRE soon", "LOGIN-DELAY", "TOP now", "UTF8 PASS"] {
            let capability = Capability::parse(line).unwrap();
            assert!(matches!(capability, Capability::Other { .. }), "{line}");
            assert_eq!(capability.to_string(), line);
        }
        assert!(Capability::parse("").is_none());
    }

    #[test]
    fn languages_of_rfc_6856_parse_and_print_the_same() {
        for line in ["en English", "de Deutsch", "i-klingon Klingon", "es-419"] {
            assert_eq!(LangEntry::parse(line).unwrap().to_string(), line);
        }
    }
}

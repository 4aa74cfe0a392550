//! The reply to EHLO and LHLO: what the server can do (RFC 5321 §4.1.1.1).

use std::fmt;

use crate::Reply;
use crate::text::{ClientName, Keyword, Text};

/// One line of the reply to EHLO.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Extension {
    /// RFC 2920
    Pipelining,
    /// RFC 1870; `None` or 0: no fixed limit.
    Size(Option<u64>),
    /// RFC 6152
    EightBitMime,
    /// RFC 6531
    SmtpUtf8,
    /// RFC 2034
    EnhancedStatusCodes,
    /// RFC 3030
    Chunking,
    /// RFC 3030
    BinaryMime,
    /// RFC 3207
    StartTls,
    /// RFC 4954, with the SASL mechanisms.
    Auth(Vec<Keyword<'static>>),
    /// RFC 3461
    Dsn,
    /// RFC 8689
    RequireTls,
    /// Any other, with its parameters as written.
    Other {
        /// The keyword, as written.
        keyword: Keyword<'static>,
        /// What follows it.
        params: Option<Text<'static>>,
    },
}

/// The whole reply to EHLO.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ehlo {
    /// The server's name.
    pub domain: ClientName<'static>,
    /// What follows it on the first line.
    pub greeting: Option<Text<'static>>,
    /// In the server's order.
    pub extensions: Vec<Extension>,
}

impl Ehlo {
    /// Reads a 250 reply; lines that are no extension are left out. `None` where it is no such reply.
    pub fn parse(reply: &Reply) -> Option<Self> {
        if reply.code() != 250 || reply.enhanced().is_some() {
            return None;
        }
        let mut lines = reply.lines();
        let (domain, greeting) = first_word(lines.next()?);
        Some(Self {
            domain: ClientName::new(domain.to_owned()).ok()?,
            greeting: Text::new(greeting.to_owned()).ok(),
            extensions: lines.filter_map(extension).collect(),
        })
    }

    /// The reply to send.
    pub fn to_reply(&self) -> Reply {
        let mut text = self.domain.to_string();
        if let Some(greeting) = &self.greeting {
            text.push(' ');
            text.push_str(greeting.as_str());
        }
        for extension in &self.extensions {
            text.push('\n');
            text.push_str(&extension.to_string());
        }
        Reply::plain(250, text)
    }

    /// Whether `extension` was announced, with these very parameters.
    pub fn has(&self, extension: &Extension) -> bool {
        self.extensions.contains(extension)
    }

    /// The announced limit of a message's size in octets, where there is one.
    pub fn size_limit(&self) -> Option<u64> {
        self.extensions.iter().find_map(|extension| match extension {
            Extension::Size(limit) => limit.filter(|limit| *limit > 0),
            _ => None,
        })
    }

    /// Whether AUTH was announced with `mechanism`.
    pub fn has_auth(&self, mechanism: &str) -> bool {
        self.extensions.iter().any(|extension| match extension {
            Extension::Auth(mechanisms) => {
                mechanisms.iter().any(|m| m.as_str().eq_ignore_ascii_case(mechanism))
            }
            _ => false,
        })
    }
}

fn first_word(line: &str) -> (&str, &str) {
    let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
    (word, rest.trim_matches([' ', '\t']))
}

fn extension(line: &str) -> Option<Extension> {
    let (keyword, params) = first_word(line);
    let known = match (keyword.to_ascii_uppercase().as_str(), params) {
        ("PIPELINING", "") => Extension::Pipelining,
        ("8BITMIME", "") => Extension::EightBitMime,
        ("SMTPUTF8", "") => Extension::SmtpUtf8,
        ("ENHANCEDSTATUSCODES", "") => Extension::EnhancedStatusCodes,
        ("CHUNKING", "") => Extension::Chunking,
        ("BINARYMIME", "") => Extension::BinaryMime,
        ("STARTTLS", "") => Extension::StartTls,
        ("DSN", "") => Extension::Dsn,
        ("REQUIRETLS", "") => Extension::RequireTls,
        ("SIZE", "") => Extension::Size(None),
        ("SIZE", size) if crate::parse::number(size).is_some() => Extension::Size(crate::parse::number(size)),
        ("AUTH", mechanisms) => auth(mechanisms),
        _ => Extension::Other {
            keyword: Keyword::new(keyword.to_owned()).ok()?,
            params: if params.is_empty() { None } else { Some(Text::new(params.to_owned()).ok()?) },
        },
    };
    Some(known)
}

fn auth(mechanisms: &str) -> Extension {
    let words = mechanisms.split(' ').filter_map(|word| Keyword::new(word.to_owned()).ok());
    Extension::Auth(words.collect())
}

impl fmt::Display for Extension {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Extension::Pipelining => "PIPELINING",
            Extension::Size(None) => "SIZE",
            Extension::Size(Some(limit)) => return write!(f, "SIZE {limit}"),
            Extension::EightBitMime => "8BITMIME",
            Extension::SmtpUtf8 => "SMTPUTF8",
            Extension::EnhancedStatusCodes => "ENHANCEDSTATUSCODES",
            Extension::Chunking => "CHUNKING",
            Extension::BinaryMime => "BINARYMIME",
            Extension::StartTls => "STARTTLS",
            Extension::Dsn => "DSN",
            Extension::RequireTls => "REQUIRETLS",
            Extension::Auth(mechanisms) => {
                f.write_str("AUTH")?;
                return mechanisms.iter().try_for_each(|mechanism| write!(f, " {mechanism}"));
            }
            Extension::Other { keyword, params: None } => keyword.as_str(),
            Extension::Other { keyword, params: Some(params) } => return write!(f, "{keyword} {params}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_with_control_characters_is_no_extension_and_not_the_bare_keyword_of_one() {
        let ehlo = Ehlo::parse(&Reply::plain(250, "mx\nSIZE 1\u{1}8\nX-A b\u{7f}\nDSN")).unwrap();
        assert_eq!(ehlo.extensions, [Extension::Dsn]);
    }

    #[test]
    fn ehlo_reply_known_answer() {
        let text = "mx.example.org at your service\nSIZE 35882577\n8bitmime\nAUTH PLAIN LOGIN\nX-FUN a b\nLIMITS RCPTMAX=20";
        let ehlo = Ehlo::parse(&Reply::plain(250, text)).unwrap();
        assert_eq!(ehlo.domain.as_str(), "mx.example.org");
        assert_eq!(ehlo.size_limit(), Some(35_882_577));
        assert!(ehlo.has(&Extension::EightBitMime) && !ehlo.has(&Extension::StartTls));
        assert!(ehlo.has_auth("login") && !ehlo.has_auth("SCRAM-SHA-256"));
        assert_eq!(ehlo.extensions.len(), 5);
        assert_eq!(ehlo.to_reply(), Reply::plain(250, text.replace("8bitmime", "8BITMIME")));
    }
}

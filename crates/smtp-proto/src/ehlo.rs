//! The reply to EHLO and LHLO: what the server can do (RFC 5321 §4.1.1.1).

use std::fmt;
use std::num::NonZeroU32;

use crate::Reply;
use crate::class::number;
use crate::params::{Parameter, UtcTime};
use crate::text::{ClientName, Keyword, Text, Value};

/// How much a client may ask of one session (RFC 9422 §4).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default))]
pub struct Limits {
    /// `MAILMAX`: transactions in a session.
    pub mail_max: Option<NonZeroU32>,
    /// `RCPTMAX`: recipients of a message.
    pub rcpt_max: Option<NonZeroU32>,
    /// `RCPTDOMAINMAX`: different domains among them.
    pub rcpt_domain_max: Option<NonZeroU32>,
    /// Limits that this crate does not know.
    pub other: Vec<Parameter<'static>>,
}

impl Limits {
    /// Words that are no limit are left out, as RFC 9422 §3.1 wants.
    fn parse(text: &str) -> Self {
        let mut limits = Self::default();
        for (name, value) in text.split(' ').filter_map(|word| word.split_once('=')) {
            let number = limit(value);
            match name.to_ascii_uppercase().as_str() {
                "MAILMAX" => limits.mail_max = number,
                "RCPTMAX" => limits.rcpt_max = number,
                "RCPTDOMAINMAX" => limits.rcpt_domain_max = number,
                _ => limits.other.extend(other_limit(name, value)),
            }
        }
        limits
    }
}

/// One to six digits, the first not 0 (RFC 9422 §4).
fn limit(value: &str) -> Option<NonZeroU32> {
    let fits = value.len() <= 6 && !value.starts_with('0') && value.bytes().all(|b| b.is_ascii_digit());
    if fits { value.parse().ok() } else { None }
}

fn other_limit(name: &str, value: &str) -> Option<Parameter<'static>> {
    let name = Keyword::new(name.to_owned()).ok()?;
    Some(Parameter { name, value: Some(Value::new(value.to_owned()).ok()?) })
}

impl fmt::Display for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LIMITS")?;
        let known =
            [("MAILMAX", self.mail_max), ("RCPTMAX", self.rcpt_max), ("RCPTDOMAINMAX", self.rcpt_domain_max)];
        for (name, value) in known {
            if let Some(value) = value {
                write!(f, " {name}={value}")?;
            }
        }
        self.other.iter().try_for_each(|Parameter { name, value }| match value {
            Some(value) => write!(f, " {name}={value}"),
            None => write!(f, " {name}"),
        })
    }
}

/// One line of the reply to EHLO.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
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
    /// RFC 6710, with the name of the priority profile.
    MtPriority(Option<Value<'static>>),
    /// RFC 2852, with the fewest seconds that `BY=` may ask for.
    DeliverBy(Option<u32>),
    /// RFC 4865: the longest hold in seconds, and the last moment.
    FutureRelease {
        /// For `HOLDFOR=`.
        max_interval: u32,
        /// For `HOLDUNTIL=`.
        max_time: UtcTime,
    },
    /// RFC 9422
    Limits(Limits),
    /// RFC 4468, with what it says of the URLs that it takes, such as `imap`.
    Burl(Option<Text<'static>>),
    /// RFC 1985
    Etrn,
    /// RFC 2645
    Atrn,
    /// Names of the attributes that XCLIENT may set.
    XClient(Vec<Keyword<'static>>),
    /// Names of the attributes that XFORWARD may set.
    XForward(Vec<Keyword<'static>>),
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
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
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

    /// What RFC 9422 limits were announced; none where the extension was not.
    pub fn limits(&self) -> Limits {
        let limits = self.extensions.iter().find_map(|extension| match extension {
            Extension::Limits(limits) => Some(limits.clone()),
            _ => None,
        });
        limits.unwrap_or_default()
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
    if line.chars().any(|c| c.is_control() && c != '\t') {
        return None;
    }
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
        ("SIZE", size) if number(size).is_some() => Extension::Size(number(size)),
        ("AUTH", mechanisms) => Extension::Auth(keywords(mechanisms)),
        ("MT-PRIORITY", "") => Extension::MtPriority(None),
        ("MT-PRIORITY", profile) if Value::new(profile).is_ok() => {
            Extension::MtPriority(Value::new(profile.to_owned()).ok())
        }
        ("DELIVERBY", "") => Extension::DeliverBy(None),
        ("DELIVERBY", least) if short_number(least).is_some() => Extension::DeliverBy(short_number(least)),
        ("FUTURERELEASE", limits) if future_release(limits).is_some() => future_release(limits)?,
        ("LIMITS", limits) => Extension::Limits(Limits::parse(limits)),
        ("BURL", "") => Extension::Burl(None),
        ("BURL", urls) => Extension::Burl(Some(Text::new(urls.to_owned()).ok()?)),
        ("ETRN", "") => Extension::Etrn,
        ("ATRN", "") => Extension::Atrn,
        ("XCLIENT", names) => Extension::XClient(keywords(names)),
        ("XFORWARD", names) => Extension::XForward(keywords(names)),
        _ => Extension::Other {
            keyword: Keyword::new(keyword.to_owned()).ok()?,
            params: if params.is_empty() { None } else { Some(Text::new(params.to_owned()).ok()?) },
        },
    };
    Some(known)
}

fn keywords(text: &str) -> Vec<Keyword<'static>> {
    text.split(' ').filter_map(|word| Keyword::new(word.to_owned()).ok()).collect()
}

fn short_number(text: &str) -> Option<u32> {
    number(text)?.try_into().ok()
}

fn future_release(limits: &str) -> Option<Extension> {
    let (interval, time) = limits.split_once(' ')?;
    Some(Extension::FutureRelease {
        max_interval: short_number(interval)?,
        max_time: time.trim().parse().ok()?,
    })
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
            Extension::Auth(mechanisms) => return write_words(f, "AUTH", mechanisms),
            Extension::MtPriority(profile) => return write_words(f, "MT-PRIORITY", profile),
            Extension::DeliverBy(least) => return write_words(f, "DELIVERBY", least),
            Extension::FutureRelease { max_interval, max_time } => {
                return write!(f, "FUTURERELEASE {max_interval} {max_time}");
            }
            Extension::Limits(limits) => return write!(f, "{limits}"),
            Extension::Burl(urls) => return write_words(f, "BURL", urls),
            Extension::Etrn => "ETRN",
            Extension::Atrn => "ATRN",
            Extension::XClient(names) => return write_words(f, "XCLIENT", names),
            Extension::XForward(names) => return write_words(f, "XFORWARD", names),
            Extension::Other { keyword, params: None } => keyword.as_str(),
            Extension::Other { keyword, params: Some(params) } => return write!(f, "{keyword} {params}"),
        })
    }
}

fn write_words<T: fmt::Display>(
    f: &mut fmt::Formatter<'_>,
    keyword: &str,
    words: impl IntoIterator<Item = T>,
) -> fmt::Result {
    f.write_str(keyword)?;
    words.into_iter().try_for_each(|word| write!(f, " {word}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extensions_with_parameters_known_answers() {
        let lines = [
            "MT-PRIORITY MIXER",
            "MT-PRIORITY x.1_y-z",
            "DELIVERBY 240",
            "DELIVERBY",
            "FUTURERELEASE 604800 2026-12-31T23:59:59Z",
            "LIMITS MAILMAX=5 RCPTMAX=100 RCPTDOMAINMAX=1 NEW=x",
            "XCLIENT NAME ADDR PROTO HELO",
            "XFORWARD NAME ADDR IDENT",
            "BURL imap",
            "BURL",
            "ETRN",
            "ATRN",
            "FUTURERELEASE soon",
        ];
        let ehlo = Ehlo::parse(&Reply::plain(250, format!("mx\n{}", lines.join("\n")))).unwrap();
        assert_eq!(ehlo.extensions.iter().map(ToString::to_string).collect::<Vec<_>>(), lines);
        assert_eq!(ehlo.limits().rcpt_max, NonZeroU32::new(100));
        assert!(matches!(ehlo.extensions.last().unwrap(), Extension::Other { .. }));
        for bad in ["RCPTMAX=0 MAILMAX=-1 junk RCPTMAX", "MAILMAX=+5", "RCPTMAX=05", "RCPTDOMAINMAX=1000000"]
        {
            assert_eq!(Limits::parse(bad), Limits::default(), "{bad}");
        }
        assert_eq!(Limits::parse("RCPTMAX=999999").rcpt_max, NonZeroU32::new(999_999));
    }

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

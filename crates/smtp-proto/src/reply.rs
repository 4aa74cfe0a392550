//! Replies, both ways (RFC 5321 §4.2, enhanced codes of RFC 2034 and 3463).

use std::borrow::Cow;
use std::fmt;

use crate::command::put;
use crate::text::Secret;

/// Subject and detail of an enhanced status code. The class is always the reply code's first digit
/// (RFC 2034 §4), so the two cannot disagree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Enhanced {
    /// 0 to 999: 1 addresses, 2 mailbox, 3 system, 4 network, 5 protocol, 6 content, 7 policy.
    pub subject: u16,
    /// 0 to 999.
    pub detail: u16,
}

impl From<(u16, u16)> for Enhanced {
    fn from((subject, detail): (u16, u16)) -> Self {
        Self { subject, detail }
    }
}

/// A reply of one or more lines.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Reply {
    #[cfg_attr(feature = "serde", serde(deserialize_with = "code"))]
    code: u16,
    enhanced: Option<Enhanced>,
    text: Cow<'static, str>,
}

/// A code that [`Reply::plain`] would leave as it is.
#[cfg(feature = "serde")]
fn code<'de, D: serde::Deserializer<'de>>(d: D) -> Result<u16, D::Error> {
    let code = <u16 as serde::Deserialize>::deserialize(d)?;
    let fits = (200..600).contains(&code);
    if fits { Ok(code) } else { Err(serde::de::Error::custom("not a reply code")) }
}

impl Reply {
    /// A reply with an enhanced code; each `\n` in `text` begins a line. A code outside 200..=599 is brought
    /// into it. Codes of 3xx have no enhanced form: use [`Reply::plain`].
    pub fn new(code: u16, enhanced: impl Into<Enhanced>, text: impl Into<Cow<'static, str>>) -> Self {
        debug_assert!(matches!(code / 100, 2 | 4 | 5), "{code} takes no enhanced code");
        Self { enhanced: Some(enhanced.into()), ..Self::plain(code, text) }
    }

    /// A reply without an enhanced code: greetings, replies to EHLO and HELO, 334 and 354.
    pub fn plain(code: u16, text: impl Into<Cow<'static, str>>) -> Self {
        Self { code: code.clamp(200, 599), enhanced: None, text: text.into() }
    }

    pub(crate) fn from_parts(code: u16, enhanced: Option<Enhanced>, text: String) -> Self {
        Self { code, enhanced, text: Cow::Owned(text) }
    }

    /// The three digits.
    pub fn code(&self) -> u16 {
        self.code
    }

    /// Subject and detail of the enhanced code.
    pub fn enhanced(&self) -> Option<Enhanced> {
        self.enhanced
    }

    /// The lines' texts, without codes.
    pub fn lines(&self) -> impl Iterator<Item = &str> {
        self.text.split('\n')
    }

    /// The base64 of a 334: the server's SASL challenge, maybe empty (RFC 4954 §4).
    pub fn challenge(&self) -> Option<Secret<'_>> {
        if self.code == 334 { Secret::new(self.text.trim()) } else { None }
    }

    /// 2xx
    pub fn is_success(&self) -> bool {
        self.code / 100 == 2
    }

    /// 3xx: the peer waits for more.
    pub fn is_intermediate(&self) -> bool {
        self.code / 100 == 3
    }

    /// 4xx: try again later.
    pub fn is_transient(&self) -> bool {
        self.code / 100 == 4
    }

    /// 5xx: do not try this again.
    pub fn is_permanent(&self) -> bool {
        self.code / 100 == 5
    }

    /// Appends the lines, each with its CRLF. Control characters in the text become blanks.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut lines = self.lines().peekable();
        while let Some(line) = lines.next() {
            let separator = if lines.peek().is_some() { '-' } else { ' ' };
            put(out, format_args!("{}{separator}", self.code));
            if let Some(Enhanced { subject, detail }) = self.enhanced {
                put(out, format_args!("{}.{subject}.{detail} ", self.code / 100));
            }
            out.extend(line.bytes().map(|b| if b < b' ' || b == 127 { b' ' } else { b }));
            out.extend(b"\r\n");
        }
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.code)?;
        if let Some(Enhanced { subject, detail }) = self.enhanced {
            write!(f, "{}.{subject}.{detail} ", self.code / 100)?;
        }
        f.write_str(&self.text.replace('\n', " / "))
    }
}

/// One line of a reply.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ReplyLine<'a> {
    pub(crate) code: u16,
    pub(crate) last: bool,
    pub(crate) text: &'a str,
}

pub(crate) fn parse_line(line: &str) -> Option<ReplyLine<'_>> {
    let digits = line.get(..3)?;
    if !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let code = digits.parse().ok().filter(|code| (200..600).contains(code))?;
    match line.as_bytes().get(3) {
        None => Some(ReplyLine { code, last: true, text: "" }),
        Some(b' ') => Some(ReplyLine { code, last: true, text: &line[4..] }),
        Some(b'-') => Some(ReplyLine { code, last: false, text: &line[4..] }),
        Some(_) => None,
    }
}

/// Splits `2.1.5 text` where its class fits the reply's.
pub(crate) fn split_enhanced(code: u16, text: &str) -> Option<(Enhanced, &str)> {
    if !matches!(code / 100, 2 | 4 | 5) {
        return None;
    }
    let (status, rest) = text.split_once(' ').unwrap_or((text, ""));
    let mut parts = status.split('.');
    let class = status_number(parts.next()?)?;
    let enhanced = Enhanced { subject: status_number(parts.next()?)?, detail: status_number(parts.next()?)? };
    (class == code / 100 && parts.next().is_none()).then_some((enhanced, rest))
}

fn status_number(text: &str) -> Option<u16> {
    let fits = (1..=3).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    if fits { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(reply: &Reply) -> String {
        let mut out = Vec::new();
        reply.encode(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn replies_known_answers() {
        assert_eq!(encoded(&Reply::plain(354, "go ahead")), "354 go ahead\r\n");
        assert_eq!(encoded(&Reply::new(550, (1, 1), "no such user")), "550 5.1.1 no such user\r\n");
        assert_eq!(encoded(&Reply::new(250, (0, 0), "a\nb")), "250-2.0.0 a\r\n250 2.0.0 b\r\n");
    }

    #[test]
    fn reply_text_cannot_inject_a_line() {
        assert_eq!(encoded(&Reply::new(550, (1, 1), "a\r\0b")), "550 5.1.1 a  b\r\n");
    }

    #[test]
    fn an_enhanced_code_of_another_class_is_text() {
        assert_eq!(split_enhanced(250, "5.1.1 x"), None);
        assert_eq!(split_enhanced(354, "3.1.1 x"), None);
        assert_eq!(split_enhanced(550, "5.1.1.1 x"), None);
        assert_eq!(split_enhanced(550, "5.1.1"), Some((Enhanced { subject: 1, detail: 1 }, "")));
    }
}

//! Paths and mailboxes out of a line: hand loops over the class table, one pass, nothing copied.

use std::borrow::Cow;

use nom::{Err, IResult};

use super::{Domain, DomainName, ForwardPath, GeneralLiteral, LocalPart, Mailbox, ReversePath};
use crate::class::{ATEXT, KEYWORD, LABEL, PRINT, Syntax, fail};

const LABEL_MAX: usize = 63;
const DOMAIN_MAX: usize = 255;

#[inline]
pub(crate) fn reverse_path(i: &str) -> IResult<&str, ReversePath<'_>, Syntax> {
    match i.strip_prefix("<>") {
        Some(rest) => Ok((rest, ReversePath::Null)),
        None => path(i).map(|(rest, mailbox)| (rest, ReversePath::Mailbox(mailbox))),
    }
}

#[inline]
pub(crate) fn forward_path(i: &str) -> IResult<&str, ForwardPath<'_>, Syntax> {
    match path(i) {
        Ok((rest, mailbox)) => Ok((rest, ForwardPath::Mailbox(mailbox))),
        Err(_) => postmaster(i),
    }
}

#[cold]
fn postmaster(i: &str) -> IResult<&str, ForwardPath<'_>, Syntax> {
    let name = "<postmaster>";
    match i.get(..name.len()) {
        Some(head) if head.eq_ignore_ascii_case(name) => Ok((&i[name.len()..], ForwardPath::Postmaster)),
        _ => fail(),
    }
}

#[inline]
fn path(i: &str) -> IResult<&str, Mailbox<'_>, Syntax> {
    let mut inner = after(i, b'<')?;
    if inner.as_bytes().first() == Some(&b'@') {
        inner = after_source_route(inner)?;
    }
    let (rest, mailbox) = mailbox(inner)?;
    Ok((after(rest, b'>')?, mailbox))
}

/// What follows the octet `b`, which is ASCII.
#[inline]
fn after(i: &str, b: u8) -> Result<&str, Err<Syntax>> {
    match i.as_bytes().first() {
        Some(first) if *first == b => Ok(&i[1..]),
        _ => Err(Err::Error(Syntax)),
    }
}

/// `@a,@b:` is obsolete: accepted and ignored (RFC 5321 §4.1.1.3, appendix C).
#[cold]
fn after_source_route(mut i: &str) -> Result<&str, Err<Syntax>> {
    loop {
        let (rest, _) = domain(after(i, b'@')?)?;
        match rest.as_bytes().first() {
            Some(b',') => i = &rest[1..],
            Some(b':') => return Ok(&rest[1..]),
            _ => return Err(Err::Error(Syntax)),
        }
    }
}

#[inline]
pub(super) fn mailbox(i: &str) -> IResult<&str, Mailbox<'_>, Syntax> {
    let (i, local) = if i.as_bytes().first() == Some(&b'"') { quoted(i)? } else { dot_string(i)? };
    let (i, domain) = domain(after(i, b'@')?)?;
    Ok((i, Mailbox { local, domain }))
}

#[inline]
fn dot_string(i: &str) -> IResult<&str, LocalPart<'_>, Syntax> {
    let bytes = i.as_bytes();
    let mut end = 0;
    loop {
        let begin = end;
        end = ATEXT.run(bytes, begin);
        if end == begin {
            return fail();
        }
        if bytes.get(end) != Some(&b'.') {
            break;
        }
        end += 1;
    }
    let (local, rest) = i.split_at(end);
    Ok((rest, LocalPart(Cow::Borrowed(local))))
}

/// `"` (qtext / `\` printable)* `"`.
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

#[inline]
fn domain(i: &str) -> IResult<&str, Domain<'_>, Syntax> {
    match domain_name_end(i.as_bytes()) {
        Some(end) => {
            let (name, rest) = i.split_at(end);
            Ok((rest, Domain::Name(DomainName(Cow::Borrowed(name)))))
        }
        None => literal(i),
    }
}

pub(super) fn is_domain_name(text: &str) -> bool {
    domain_name_end(text.as_bytes()) == Some(text.len())
}

/// Labels of 1 to 63 octets without `-` at either end, 255 in all: where they end.
#[inline]
fn domain_name_end(bytes: &[u8]) -> Option<usize> {
    let mut end = 0;
    loop {
        let begin = end;
        end = LABEL.run(bytes, begin);
        let label = &bytes[begin..end];
        let fits = label.len() <= LABEL_MAX && *label.first()? != b'-' && *label.last()? != b'-';
        if !fits {
            return None;
        }
        if bytes.get(end) != Some(&b'.') {
            return (end <= DOMAIN_MAX).then_some(end);
        }
        end += 1;
    }
}

#[cold]
fn literal(i: &str) -> IResult<&str, Domain<'_>, Syntax> {
    let Some((text, rest)) = i.strip_prefix('[').and_then(|inner| inner.split_once(']')) else {
        return fail();
    };
    if let Ok(ip) = text.parse() {
        return Ok((rest, Domain::V4(ip)));
    }
    let v6 = text.get(..5).filter(|tag| tag.eq_ignore_ascii_case("IPv6:"));
    match v6 {
        Some(_) => text[5..].parse().map(|ip| (rest, Domain::V6(ip))).map_err(|_| Err::Error(Syntax)),
        None if is_general_literal(text) => Ok((rest, Domain::General(GeneralLiteral(Cow::Borrowed(text))))),
        None => fail(),
    }
}

/// `tag:content`; the content has no brackets, no backslash and no blank.
pub(super) fn is_general_literal(text: &str) -> bool {
    let Some((tag, content)) = text.split_once(':') else { return false };
    let tag_fits = !tag.is_empty() && KEYWORD.is_all(tag) && !tag.eq_ignore_ascii_case("IPv6");
    let content_fits =
        !content.is_empty() && PRINT.is_all(content) && !content.contains([' ', '[', ']', '\\']);
    tag_fits && content_fits && !content.chars().any(char::is_control)
}

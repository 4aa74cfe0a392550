//! Paths and mailboxes out of a line: one pass, nothing copied.

use std::borrow::Cow;

use super::{Domain, DomainName, ForwardPath, GeneralLiteral, LocalPart, Mailbox, ReversePath};
use crate::class::{ATEXT, KEYWORD, LABEL, PRINT, Syntax};
use crate::cursor::Cursor;

const LABEL_MAX: usize = 63;
const DOMAIN_MAX: usize = 255;

pub(crate) fn reverse_path<'a>(i: &mut Cursor<'a>) -> Result<ReversePath<'a>, Syntax> {
    if i.eat_word("<>") { Ok(ReversePath::Null) } else { path(i).map(ReversePath::Mailbox) }
}

pub(crate) fn forward_path<'a>(i: &mut Cursor<'a>) -> Result<ForwardPath<'a>, Syntax> {
    if i.eat_word("<postmaster>") { Ok(ForwardPath::Postmaster) } else { path(i).map(ForwardPath::Mailbox) }
}

fn path<'a>(i: &mut Cursor<'a>) -> Result<Mailbox<'a>, Syntax> {
    must(i.eat(b'<'))?;
    if i.peek() == Some(b'@') {
        source_route(i)?;
    }
    let mailbox = mailbox(i)?;
    must(i.eat(b'>'))?;
    Ok(mailbox)
}

fn must(holds: bool) -> Result<(), Syntax> {
    if holds { Ok(()) } else { Err(Syntax) }
}

/// `@a,@b:` is obsolete: accepted and ignored (RFC 5321 §4.1.1.3, appendix C).
fn source_route(i: &mut Cursor<'_>) -> Result<(), Syntax> {
    loop {
        must(i.eat(b'@'))?;
        domain(i)?;
        if i.eat(b':') {
            return Ok(());
        }
        must(i.eat(b','))?;
    }
}

pub(super) fn mailbox<'a>(i: &mut Cursor<'a>) -> Result<Mailbox<'a>, Syntax> {
    let local = match i.peek() {
        Some(b'"') => quoted(i)?,
        _ => dot_string(i).map(|local| LocalPart(Cow::Borrowed(local))).ok_or(Syntax)?,
    };
    must(i.eat(b'@'))?;
    Ok(Mailbox { local, domain: domain(i)? })
}

#[inline(always)]
fn dot_string<'a>(i: &mut Cursor<'a>) -> Option<&'a str> {
    let begin = i.at();
    loop {
        let atom = i.at();
        i.run_wide(ATEXT);
        if i.at() == atom {
            return None;
        }
        if !i.eat(b'.') {
            return Some(i.since(begin));
        }
    }
}

/// `"` (qtext / `\` printable)* `"`.
fn quoted<'a>(i: &mut Cursor<'a>) -> Result<LocalPart<'a>, Syntax> {
    i.eat(b'"');
    let inner = i.clone().rest();
    let mut unescaped: Option<String> = None;
    let mut chars = inner.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => {
                i.eat_word(&inner[..=at]);
                return Ok(LocalPart(unescaped.map_or(Cow::Borrowed(&inner[..at]), Cow::Owned)));
            }
            '\\' => {
                let text = unescaped.get_or_insert_with(|| inner[..at].to_owned());
                let escaped = chars.next().map(|(_, c)| c).filter(|c| (' '..='~').contains(c));
                text.push(escaped.ok_or(Syntax)?);
            }
            c if c.is_control() => return Err(Syntax),
            c => {
                if let Some(text) = &mut unescaped {
                    text.push(c);
                }
            }
        }
    }
    Err(Syntax)
}

fn domain<'a>(i: &mut Cursor<'a>) -> Result<Domain<'a>, Syntax> {
    if i.peek() == Some(b'[') {
        return literal(i);
    }
    domain_name(i).map(|name| Domain::Name(DomainName(Cow::Borrowed(name)))).ok_or(Syntax)
}

pub(super) fn is_domain_name(text: &str) -> bool {
    let mut i = Cursor::new(text, true);
    domain_name(&mut i).is_some() && i.is_at_end()
}

/// Labels of 1 to 63 octets without `-` at either end, 255 in all.
#[inline(always)]
fn domain_name<'a>(i: &mut Cursor<'a>) -> Option<&'a str> {
    let begin = i.at();
    loop {
        let label = i.at();
        i.run_wide(LABEL);
        if !is_label(i.bytes_since(label)) {
            return None;
        }
        if !i.eat(b'.') {
            return Some(i.since(begin)).filter(|name| name.len() <= DOMAIN_MAX);
        }
    }
}

#[inline(always)]
fn is_label(label: &[u8]) -> bool {
    match (label.first(), label.last()) {
        (Some(first), Some(last)) => label.len() <= LABEL_MAX && *first != b'-' && *last != b'-',
        _ => false,
    }
}

fn literal<'a>(i: &mut Cursor<'a>) -> Result<Domain<'a>, Syntax> {
    i.eat(b'[');
    let (text, _) = i.clone().rest().split_once(']').ok_or(Syntax)?;
    let domain = literal_text(text).ok_or(Syntax)?;
    i.eat_word(text);
    i.eat(b']');
    Ok(domain)
}

fn literal_text(text: &str) -> Option<Domain<'_>> {
    if let Ok(ip) = text.parse() {
        return Some(Domain::V4(ip));
    }
    match text.split_at_checked(5) {
        Some((tag, v6)) if tag.eq_ignore_ascii_case("IPv6:") => v6.parse().ok().map(Domain::V6),
        _ if is_general_literal(text) => Some(Domain::General(Box::new(GeneralLiteral(Cow::Borrowed(text))))),
        _ => None,
    }
}

/// `tag:content`; the content has no brackets, no backslash and no blank.
pub(super) fn is_general_literal(text: &str) -> bool {
    let Some((tag, content)) = text.split_once(':') else { return false };
    let tag_fits = !tag.is_empty() && KEYWORD.is_all(tag) && !tag.eq_ignore_ascii_case("IPv6");
    let content_fits =
        !content.is_empty() && PRINT.wide().is_all(content) && !content.contains([' ', '[', ']', '\\']);
    tag_fits && content_fits && !content.chars().any(char::is_control)
}

//! One complete line → one [`Command`], or the reason why not.

use crate::address::{DomainName, ReversePath, forward_path, reverse_path};
use crate::attributes::attributes;
use crate::class::number;
use crate::cursor::Cursor;
use crate::params::{MailParams, RcptParams};
use crate::text::{ClientName, Keyword, Secret, Text, Url};
use crate::waiting::Waiting;
use crate::{Command, SyntaxError};

/// Parses one line without its CRLF.
///
/// The line is read as ASCII first, which it nearly always is. Where that fails, the reason may be characters of other
/// scripts, which stand in addresses, parameters and free text only (RFC 6531 §3.3).
pub(crate) fn command(line: &[u8]) -> Result<Command<'_>, SyntaxError> {
    let text = std::str::from_utf8(line).map_err(|_| SyntaxError::NotUtf8)?;
    parse(text, false).or_else(|error| again(text, error))
}

#[cold]
#[inline(never)]
fn again(text: &str, error: SyntaxError) -> Result<Command<'_>, SyntaxError> {
    // A control character is the better reason, whatever it made of the grammar.
    if text.chars().any(|c| c.is_control() && c != '\t') {
        return Err(SyntaxError::ControlCharacter);
    }
    if text.is_ascii() {
        return Err(error);
    }
    parse(text, true)
}

fn parse(line: &str, wide: bool) -> Result<Command<'_>, SyntaxError> {
    let line = line.trim_end_matches([' ', '\t']);
    let (verb, rest) = line.split_once([' ', '\t']).unwrap_or((line, ""));
    let is = |known: &str| verb.eq_ignore_ascii_case(known);
    let alone = |command| if rest.is_empty() { Ok(command) } else { Err(SyntaxError::UnexpectedArgument) };
    match verb.len() {
        4 if is("RCPT") => rcpt(Cursor::new(rest, wide)),
        4 if is("MAIL") => mail(Cursor::new(rest, wide)),
        4 if is("DATA") => alone(Command::Data),
        4 if is("QUIT") => alone(Command::Quit),
        4 if is("RSET") => alone(Command::Rset),
        4 if is("EHLO") => client_name(rest).map(Command::Ehlo),
        4 if is("AUTH") => auth(rest),
        4 if is("BDAT") => bdat(rest),
        4 if is("NOOP") => optional(rest).map(Command::Noop),
        4 if is("HELO") => client_name(rest).map(Command::Helo),
        4 if is("LHLO") => client_name(rest).map(Command::Lhlo),
        4 if is("HELP") => optional(rest).map(Command::Help),
        4 if is("VRFY") => required(rest).map(Command::Vrfy),
        4 if is("EXPN") => required(rest).map(Command::Expn),
        4 if is("BURL") => burl(rest),
        4 if is("ETRN") => etrn(rest),
        4 if is("ATRN") => atrn(rest),
        4 if ["TURN", "SEND", "SOML", "SAML"].into_iter().any(is) => Err(SyntaxError::Obsolete),
        8 if is("STARTTLS") => alone(Command::StartTls),
        7 if is("XCLIENT") => attributes(rest).map(Command::XClient),
        8 if is("XFORWARD") => attributes(rest).map(Command::XForward),
        _ => Err(SyntaxError::UnknownCommand),
    }
}

#[inline]
fn client_name(rest: &str) -> Result<ClientName<'_>, SyntaxError> {
    match rest.trim_start_matches(' ') {
        "" => Err(SyntaxError::MissingArgument),
        name => ClientName::new(name).map_err(|_| SyntaxError::BadClientName),
    }
}

fn optional(rest: &str) -> Result<Option<Text<'_>>, SyntaxError> {
    match rest.trim_matches([' ', '\t']) {
        "" => Ok(None),
        text => Text::new(text).map(Some).map_err(|_| SyntaxError::ControlCharacter),
    }
}

fn required(rest: &str) -> Result<Text<'_>, SyntaxError> {
    optional(rest)?.ok_or(SyntaxError::MissingArgument)
}

/// `FROM:` or `TO:` in any case; blanks around it are wrong but common.
#[inline(always)]
fn keyword(i: &mut Cursor<'_>, keyword: &str) -> bool {
    i.eat_blanks();
    let here = i.eat_word(keyword);
    i.eat_blanks();
    here
}

fn mail(mut i: Cursor<'_>) -> Result<Command<'_>, SyntaxError> {
    if !keyword(&mut i, "FROM:") {
        return Err(SyntaxError::MissingArgument);
    }
    let from = reverse_path(&mut i).map_err(|_| SyntaxError::BadSender)?;
    match i.peek() {
        None | Some(b' ') => announced(from, MailParams::parse(i)?),
        _ => Err(SyntaxError::BadSender),
    }
}

/// A sender beyond ASCII, quoted or not, needs SMTPUTF8 on its command (RFC 6531 §3.4).
#[inline(always)]
fn announced<'a>(from: ReversePath<'a>, params: MailParams<'a>) -> Result<Command<'a>, SyntaxError> {
    match &from {
        ReversePath::Mailbox(from) if !params.smtputf8 && !from.is_ascii() => Err(SyntaxError::NeedsSmtpUtf8),
        _ => Ok(Command::Mail { from, params }),
    }
}

fn rcpt(mut i: Cursor<'_>) -> Result<Command<'_>, SyntaxError> {
    if !keyword(&mut i, "TO:") {
        return Err(SyntaxError::MissingArgument);
    }
    let to = forward_path(&mut i).map_err(|_| SyntaxError::BadRecipient)?;
    match i.peek() {
        None | Some(b' ') => Ok(Command::Rcpt { to, params: RcptParams::parse(i)? }),
        _ => Err(SyntaxError::BadRecipient),
    }
}

fn bdat(rest: &str) -> Result<Command<'_>, SyntaxError> {
    let mut words = rest.split(' ').filter(|w| !w.is_empty());
    let size = words.next().and_then(number).ok_or(SyntaxError::BadChunkSize)?;
    match (words.next(), words.next()) {
        (None, _) => Ok(Command::Bdat { size, last: false }),
        (Some(word), None) if word.eq_ignore_ascii_case("LAST") => Ok(Command::Bdat { size, last: true }),
        _ => Err(SyntaxError::BadChunkSize),
    }
}

fn burl(rest: &str) -> Result<Command<'_>, SyntaxError> {
    let mut words = rest.split(' ').filter(|w| !w.is_empty());
    let url = words.next().ok_or(SyntaxError::MissingArgument)?;
    let url = Url::new(url).map_err(|_| SyntaxError::BadUrl)?;
    match (words.next(), words.next()) {
        (None, _) => Ok(Command::Burl { url, last: false }),
        (Some(word), None) if word.eq_ignore_ascii_case("LAST") => Ok(Command::Burl { url, last: true }),
        _ => Err(SyntaxError::BadUrl),
    }
}

fn etrn(rest: &str) -> Result<Command<'_>, SyntaxError> {
    match rest.trim_matches(' ') {
        "" => Err(SyntaxError::MissingArgument),
        waiting => Waiting::parse(waiting).map(Command::Etrn).ok_or(SyntaxError::BadDomain),
    }
}

fn atrn(rest: &str) -> Result<Command<'_>, SyntaxError> {
    let rest = rest.trim_matches(' ');
    let domains = rest.split(',').filter(|_| !rest.is_empty());
    domains
        .map(|domain| DomainName::new(domain).map_err(|_| SyntaxError::BadDomain))
        .collect::<Result<_, _>>()
        .map(Command::Atrn)
}

fn auth(rest: &str) -> Result<Command<'_>, SyntaxError> {
    let (mechanism, initial) = match rest.split_once(' ') {
        Some((mechanism, initial)) => (mechanism, Some(initial)),
        None if rest.is_empty() => return Err(SyntaxError::MissingArgument),
        None => (rest, None),
    };
    let mechanism = Keyword::new(mechanism).map_err(|_| SyntaxError::BadAuth)?;
    let initial = match initial {
        None => None,
        Some("=") => Secret::new(""),
        Some("") => return Err(SyntaxError::BadAuth),
        Some(text) => Some(Secret::new(text).ok_or(SyntaxError::BadAuth)?),
    };
    Ok(Command::Auth { mechanism, initial })
}

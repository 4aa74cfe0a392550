//! One complete line → one [`Command`]: dispatch on the verb's four octets, then hand loops.

use crate::address::{forward_path, reverse_path};
use crate::attributes::attributes;
use crate::class::number;
use crate::params::{MailParams, RcptParams};
use crate::text::{ClientName, Keyword, Secret, Text};
use crate::{Command, SyntaxError};

/// Parses one line without its CRLF.
#[inline]
pub(crate) fn command(line: &[u8]) -> Result<Command<'_>, SyntaxError> {
    let text = std::str::from_utf8(line).map_err(|_| SyntaxError::NotUtf8)?;
    if !line.is_ascii() {
        return beyond_ascii(text);
    }
    parse(text).map_err(|error| explain(text, error))
}

/// Non-ASCII stands in addresses, parameters and free text only (RFC 6531 §3.3).
#[cold]
fn beyond_ascii(line: &str) -> Result<Command<'_>, SyntaxError> {
    if line.chars().any(is_wrong) {
        return Err(SyntaxError::ControlCharacter);
    }
    parse(line)
}

/// A control character is the better reason, whatever it made of the grammar.
#[cold]
fn explain(line: &str, error: SyntaxError) -> SyntaxError {
    if line.chars().any(is_wrong) { SyntaxError::ControlCharacter } else { error }
}

fn is_wrong(c: char) -> bool {
    c.is_control() && c != '\t'
}

#[inline]
fn parse(line: &str) -> Result<Command<'_>, SyntaxError> {
    let line = trim_end(line);
    let Some((verb, rest)) = line.split_at_checked(4) else { return Err(SyntaxError::UnknownCommand) };
    let rest = match rest.as_bytes().first() {
        None => "",
        Some(b' ' | b'\t') => &rest[1..],
        Some(_) => return long_verb(line),
    };
    match &upper(verb) {
        b"RCPT" => rcpt(rest),
        b"MAIL" => mail(rest),
        b"DATA" => bare(rest, Command::Data),
        b"QUIT" => bare(rest, Command::Quit),
        b"RSET" => bare(rest, Command::Rset),
        b"EHLO" => client_name(rest).map(Command::Ehlo),
        b"BDAT" => bdat(rest),
        b"NOOP" => optional(rest).map(Command::Noop),
        b"AUTH" => auth(rest),
        b"HELO" => client_name(rest).map(Command::Helo),
        b"LHLO" => client_name(rest).map(Command::Lhlo),
        b"HELP" => optional(rest).map(Command::Help),
        b"VRFY" => required(rest).map(Command::Vrfy),
        b"EXPN" => required(rest).map(Command::Expn),
        _ => Err(SyntaxError::UnknownCommand),
    }
}

#[inline]
fn trim_end(line: &str) -> &str {
    match line.as_bytes().last() {
        Some(b' ' | b'\t') => line.trim_end_matches([' ', '\t']),
        _ => line,
    }
}

#[inline]
fn upper(verb: &str) -> [u8; 4] {
    let mut upper = [0; 4];
    upper.copy_from_slice(verb.as_bytes());
    upper.make_ascii_uppercase();
    upper
}

/// The verbs of more than four letters.
fn long_verb(line: &str) -> Result<Command<'_>, SyntaxError> {
    let (verb, rest) = line.split_once([' ', '\t']).unwrap_or((line, ""));
    match verb {
        v if v.eq_ignore_ascii_case("STARTTLS") => bare(rest, Command::StartTls),
        v if v.eq_ignore_ascii_case("XCLIENT") => attributes(rest).map(Command::XClient),
        v if v.eq_ignore_ascii_case("XFORWARD") => attributes(rest).map(Command::XForward),
        _ => Err(SyntaxError::UnknownCommand),
    }
}

#[inline]
fn bare<'a>(rest: &str, command: Command<'a>) -> Result<Command<'a>, SyntaxError> {
    if rest.is_empty() { Ok(command) } else { Err(SyntaxError::UnexpectedArgument) }
}

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
#[inline]
fn after_keyword<'a>(rest: &'a str, keyword: &str) -> Result<&'a str, SyntaxError> {
    match rest.split_at_checked(keyword.len()) {
        Some((head, rest)) if head.eq_ignore_ascii_case(keyword) => Ok(rest),
        _ if rest.starts_with(' ') => after_keyword(rest.trim_start_matches(' '), keyword),
        _ => Err(SyntaxError::MissingArgument),
    }
}

#[inline]
fn after_blanks(rest: &str) -> &str {
    if rest.starts_with('<') { rest } else { rest.trim_start_matches(' ') }
}

#[inline]
fn mail(rest: &str) -> Result<Command<'_>, SyntaxError> {
    let rest = after_blanks(after_keyword(rest, "FROM:")?);
    let (rest, from) = reverse_path(rest).map_err(|_| SyntaxError::BadSender)?;
    let mut params = MailParams::default();
    params.parse(parameters(rest).ok_or(SyntaxError::BadSender)?)?;
    if !params.smtputf8 && from.mailbox().is_some_and(|m| !m.is_ascii()) {
        return Err(SyntaxError::NeedsSmtpUtf8);
    }
    Ok(Command::Mail { from, params })
}

#[inline]
fn rcpt(rest: &str) -> Result<Command<'_>, SyntaxError> {
    let rest = after_blanks(after_keyword(rest, "TO:")?);
    let (rest, to) = forward_path(rest).map_err(|_| SyntaxError::BadRecipient)?;
    let mut params = RcptParams::default();
    params.parse(parameters(rest).ok_or(SyntaxError::BadRecipient)?)?;
    Ok(Command::Rcpt { to, params })
}

/// What follows a path: nothing, or a blank and parameters.
#[inline]
fn parameters(rest: &str) -> Option<&str> {
    if rest.is_empty() { Some("") } else { rest.strip_prefix(' ') }
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

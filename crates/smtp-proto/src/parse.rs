//! One complete line → one [`Command`]: leaf parsers over a class table, dispatch on the verb.

use nom::error::{ErrorKind, ParseError};
use nom::{Err, IResult};

use crate::address::{forward_path, reverse_path};
use crate::params::{MailParams, RcptParams};
use crate::text::{ClientName, Keyword, Secret, Text};
use crate::{Command, SyntaxError};

/// The text does not fit the grammar here; the caller says what was wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Syntax;

impl<I> ParseError<I> for Syntax {
    fn from_error_kind(_: I, _: ErrorKind) -> Self {
        Syntax
    }

    fn append(_: I, _: ErrorKind, other: Self) -> Self {
        other
    }
}

pub(crate) fn fail<'a, T>() -> IResult<&'a str, T, Syntax> {
    Err(Err::Error(Syntax))
}

/// A set of bytes. Bytes from 0x80 are in or out together, so that a split never falls inside a character.
pub(crate) struct Class([bool; 128]);

impl Class {
    const fn new(extra: &[u8]) -> Self {
        let mut set = [false; 128];
        let mut b = 0;
        while b < 128 {
            set[b] = (b as u8).is_ascii_alphanumeric();
            b += 1;
        }
        let mut i = 0;
        while i < extra.len() {
            set[extra[i] as usize] = true;
            i += 1;
        }
        Self(set)
    }

    pub(crate) fn holds(&self, b: u8) -> bool {
        self.0.get(usize::from(b)).copied().unwrap_or(true)
    }
}

/// `atext` of RFC 5322 §3.2.3, and non-ASCII characters (RFC 6531 §3.3).
pub(crate) static ATEXT: Class = Class::new(b"!#$%&'*+-/=?^_`{|}~");
/// What a domain's label may hold; `_` because names in use hold it.
pub(crate) static LABEL: Class = Class::new(b"-_");

/// One or more bytes of `class`.
pub(crate) fn take_class<'a>(i: &'a str, class: &Class) -> IResult<&'a str, &'a str, Syntax> {
    match i.bytes().position(|b| !class.holds(b)).unwrap_or(i.len()) {
        0 => fail(),
        end => Ok((&i[end..], &i[..end])),
    }
}

/// A decimal number that fits; leading zeros are taken.
pub(crate) fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if digits { text.parse().ok() } else { None }
}

/// Parses one line without its CRLF.
pub(crate) fn command(line: &[u8]) -> Result<Command<'_>, SyntaxError> {
    let line = std::str::from_utf8(line).map_err(|_| SyntaxError::NotUtf8)?;
    let line = line.trim_end_matches([' ', '\t']);
    if line.bytes().any(|b| b < b' ' && b != b'\t' || b == 127) {
        return Err(SyntaxError::ControlCharacter);
    }
    let (verb, rest) = split_verb(line);
    let mut upper = [0u8; 8];
    let verb = uppercase(verb, &mut upper).ok_or(SyntaxError::UnknownCommand)?;
    match verb {
        b"MAIL" => mail(rest),
        b"RCPT" => rcpt(rest),
        b"DATA" => bare(rest, Command::Data),
        b"RSET" => bare(rest, Command::Rset),
        b"QUIT" => bare(rest, Command::Quit),
        b"STARTTLS" => bare(rest, Command::StartTls),
        b"EHLO" => client_name(rest).map(Command::Ehlo),
        b"HELO" => client_name(rest).map(Command::Helo),
        b"LHLO" => client_name(rest).map(Command::Lhlo),
        b"BDAT" => bdat(rest),
        b"AUTH" => auth(rest),
        b"NOOP" => optional(rest).map(Command::Noop),
        b"HELP" => optional(rest).map(Command::Help),
        b"VRFY" => required(rest).map(Command::Vrfy),
        b"EXPN" => required(rest).map(Command::Expn),
        _ => Err(SyntaxError::UnknownCommand),
    }
}

/// The verb, and what follows its one blank.
fn split_verb(line: &str) -> (&str, &str) {
    line.split_once([' ', '\t']).unwrap_or((line, ""))
}

fn uppercase<'b>(verb: &str, buffer: &'b mut [u8; 8]) -> Option<&'b [u8]> {
    let upper = buffer.get_mut(..verb.len())?;
    upper.copy_from_slice(verb.as_bytes());
    upper.make_ascii_uppercase();
    Some(upper)
}

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

/// `FROM:` or `TO:` in any case; blanks after the colon are wrong but common.
fn after_keyword<'a>(rest: &'a str, keyword: &str) -> Result<&'a str, SyntaxError> {
    let rest = rest.trim_start_matches(' ');
    match rest.get(..keyword.len()) {
        Some(head) if head.eq_ignore_ascii_case(keyword) => Ok(rest[keyword.len()..].trim_start_matches(' ')),
        _ => Err(SyntaxError::MissingArgument),
    }
}

fn mail(rest: &str) -> Result<Command<'_>, SyntaxError> {
    let (rest, from) = reverse_path(after_keyword(rest, "FROM:")?).map_err(|_| SyntaxError::BadSender)?;
    let params = MailParams::parse(parameters(rest).ok_or(SyntaxError::BadSender)?)?;
    let needs_utf8 = from.mailbox().is_some_and(|m| !m.is_ascii());
    if needs_utf8 && !params.smtputf8 {
        return Err(SyntaxError::NeedsSmtpUtf8);
    }
    Ok(Command::Mail { from, params })
}

fn rcpt(rest: &str) -> Result<Command<'_>, SyntaxError> {
    let (rest, to) = forward_path(after_keyword(rest, "TO:")?).map_err(|_| SyntaxError::BadRecipient)?;
    let params = RcptParams::parse(parameters(rest).ok_or(SyntaxError::BadRecipient)?)?;
    Ok(Command::Rcpt { to, params })
}

/// What follows a path: nothing, or a blank and parameters.
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

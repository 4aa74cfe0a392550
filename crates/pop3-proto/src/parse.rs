//! One complete line → one [`Command`]: dispatch on the keyword's letters, then hand loops. And the leaf grammars that
//! listings share.

use std::borrow::Cow;

use nom::bytes::complete::{tag, take_while1};
use nom::combinator::map_opt;
use nom::error::{Error, ErrorKind};
use nom::{IResult, Parser};

use crate::attributes::attributes;
use crate::text::{Secret, Text, UniqueId, Word, looks_like_base64};
use crate::{Command, MessageNumber, Quirks, SyntaxError};

const fn keyword(letters: &[u8; 4]) -> u32 {
    u32::from_le_bytes(*letters)
}

const RETR: u32 = keyword(b"RETR");
const DELE: u32 = keyword(b"DELE");
const LIST: u32 = keyword(b"LIST");
const UIDL: u32 = keyword(b"UIDL");
const STAT: u32 = keyword(b"STAT");
const NOOP: u32 = keyword(b"NOOP");
const RSET: u32 = keyword(b"RSET");
const QUIT: u32 = keyword(b"QUIT");
const CAPA: u32 = keyword(b"CAPA");
const STLS: u32 = keyword(b"STLS");
const PASS: u32 = keyword(b"PASS");

/// Parses one line without its CRLF.
#[inline]
pub(crate) fn command(line: &[u8]) -> Result<Command<'_>, SyntaxError> {
    let Some(letters) = line.first_chunk::<4>() else { return short(line) };
    let octets = match line.get(4) {
        None => None,
        Some(b' ') => Some(&line[5..]),
        Some(_) if letters[3] == b' ' => return short(line),
        Some(_) => return long(line),
    };
    let upper = keyword(letters) & keyword(&[!0x20; 4]);
    if upper == PASS {
        let octets = octets.ok_or(SyntaxError::MissingArgument)?;
        return Secret::new(octets).map(Command::Pass).map_err(|_| SyntaxError::BadArgument);
    }
    let arguments = trim(octets.unwrap_or_default());
    match upper {
        RETR => number(arguments).map(Command::Retr),
        DELE => number(arguments).map(Command::Dele),
        LIST => optional_number(arguments).map(Command::List),
        UIDL => optional_number(arguments).map(Command::Uidl),
        STAT => bare(arguments, Command::Stat),
        NOOP => bare(arguments, Command::Noop),
        RSET => bare(arguments, Command::Rset),
        QUIT => bare(arguments, Command::Quit),
        CAPA => bare(arguments, Command::Capa),
        STLS => bare(arguments, Command::Stls),
        _ => with_text(*letters, arguments),
    }
}

/// Keywords of three letters.
fn short(line: &[u8]) -> Result<Command<'_>, SyntaxError> {
    match line.split_at_checked(3) {
        Some((word, [])) if word.eq_ignore_ascii_case(b"TOP") => Err(SyntaxError::MissingArgument),
        Some((word, [b' ', arguments @ ..])) if word.eq_ignore_ascii_case(b"TOP") => top(trim(arguments)),
        _ => Err(SyntaxError::UnknownCommand),
    }
}

/// The keyword of seven letters.
#[cold]
fn long(line: &[u8]) -> Result<Command<'_>, SyntaxError> {
    match line.split_at_checked(7) {
        Some((word, [])) if word.eq_ignore_ascii_case(b"XCLIENT") => Err(SyntaxError::MissingArgument),
        Some((word, [b' ', arguments @ ..])) if word.eq_ignore_ascii_case(b"XCLIENT") => {
            let text = std::str::from_utf8(arguments).map_err(|_| SyntaxError::BadArgument)?;
            attributes(text).map(Command::XClient)
        }
        _ => Err(SyntaxError::UnknownCommand),
    }
}

fn with_text(mut letters: [u8; 4], arguments: &[u8]) -> Result<Command<'_>, SyntaxError> {
    letters.make_ascii_uppercase();
    let text = std::str::from_utf8(arguments).map_err(|_| SyntaxError::BadArgument);
    match &letters {
        b"USER" => user(text?),
        b"APOP" => apop(text?),
        b"AUTH" => auth(text?),
        b"LANG" => lang(text?),
        b"UTF8" => bare(arguments, Command::Utf8),
        _ => Err(SyntaxError::UnknownCommand),
    }
}

/// Without blanks at either end.
#[inline]
fn trim(mut octets: &[u8]) -> &[u8] {
    while let [b' ', rest @ ..] | [rest @ .., b' '] = octets {
        octets = rest;
    }
    octets
}

#[inline]
fn bare<'a>(arguments: &[u8], command: Command<'a>) -> Result<Command<'a>, SyntaxError> {
    if arguments.is_empty() { Ok(command) } else { Err(SyntaxError::UnexpectedArgument) }
}

/// A decimal number that fits; leading zeros are taken.
#[inline]
fn decimal(digits: &[u8]) -> Option<u32> {
    if digits.is_empty() {
        return None;
    }
    let mut value = 0u32;
    for digit in digits.iter().map(|b| b.wrapping_sub(b'0')) {
        if digit > 9 {
            return None;
        }
        value = value.checked_mul(10)?.checked_add(u32::from(digit))?;
    }
    Some(value)
}

#[inline]
fn number(arguments: &[u8]) -> Result<MessageNumber, SyntaxError> {
    if arguments.is_empty() {
        return Err(SyntaxError::MissingArgument);
    }
    decimal(arguments).and_then(MessageNumber::new).ok_or(SyntaxError::BadNumber)
}

#[inline]
fn optional_number(arguments: &[u8]) -> Result<Option<MessageNumber>, SyntaxError> {
    if arguments.is_empty() { Ok(None) } else { number(arguments).map(Some) }
}

fn top(arguments: &[u8]) -> Result<Command<'_>, SyntaxError> {
    if arguments.is_empty() {
        return Err(SyntaxError::MissingArgument);
    }
    let mut words = arguments.splitn(2, |b| *b == b' ');
    let message = number(words.next().unwrap_or_default())?;
    let lines = words.next().and_then(|word| decimal(trim(word))).ok_or(SyntaxError::BadNumber)?;
    Ok(Command::Top { message, lines })
}

fn user(arguments: &str) -> Result<Command<'_>, SyntaxError> {
    if arguments.is_empty() {
        return Err(SyntaxError::MissingArgument);
    }
    Text::new(arguments).map(Command::User).map_err(|_| SyntaxError::BadArgument)
}

fn apop(arguments: &str) -> Result<Command<'_>, SyntaxError> {
    let (name, digest) = arguments.rsplit_once(' ').ok_or(SyntaxError::MissingArgument)?;
    let name = Text::new(name).map_err(|_| SyntaxError::BadArgument)?;
    if !digest.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(SyntaxError::BadArgument);
    }
    let digest = Secret::new(digest.as_bytes()).map_err(|_| SyntaxError::BadArgument)?;
    Ok(Command::Apop { name, digest })
}

fn auth(arguments: &str) -> Result<Command<'_>, SyntaxError> {
    let (mechanism, initial) = match arguments.split_once(' ') {
        Some((mechanism, initial)) => (mechanism, Some(initial)),
        None if arguments.is_empty() => return Ok(Command::Auth { mechanism: None, initial: None }),
        None => (arguments, None),
    };
    let mechanism = Word::new(mechanism).map_err(|_| SyntaxError::BadArgument)?;
    let initial = initial.map(initial_response).transpose()?;
    Ok(Command::Auth { mechanism: Some(mechanism), initial })
}

fn initial_response(text: &str) -> Result<Secret<'_>, SyntaxError> {
    let octets = match text {
        "=" => b"".as_slice(),
        text if !text.is_empty() && looks_like_base64(text.as_bytes()) => text.as_bytes(),
        _ => return Err(SyntaxError::BadArgument),
    };
    Secret::new(Cow::Borrowed(octets)).map_err(|_| SyntaxError::BadArgument)
}

fn lang(arguments: &str) -> Result<Command<'_>, SyntaxError> {
    if arguments.is_empty() {
        return Ok(Command::Lang(None));
    }
    Word::new(arguments).map(|tag| Command::Lang(Some(tag))).map_err(|_| SyntaxError::BadArgument)
}

#[inline]
pub(crate) fn message_number(i: &str) -> IResult<&str, MessageNumber> {
    map_opt(octets, |number| MessageNumber::new(number.try_into().ok()?)).parse(i)
}

/// A decimal number of 64 bits.
#[inline]
pub(crate) fn octets(i: &str) -> IResult<&str, u64> {
    let mut value = Some(0u64);
    let mut end = 0;
    for digit in i.bytes().map(|b| b.wrapping_sub(b'0')).take_while(|digit| *digit < 10) {
        value = value.and_then(|value| value.checked_mul(10)?.checked_add(u64::from(digit)));
        end += 1;
    }
    match value {
        Some(value) if end > 0 => Ok((&i[end..], value)),
        _ => Err(nom::Err::Error(Error::new(i, ErrorKind::Digit))),
    }
}

pub(crate) fn unique_id(quirks: Quirks) -> impl Fn(&str) -> IResult<&str, UniqueId<'_>> {
    let long = quirks.contains(Quirks::LONG_UNIQUE_IDS);
    let id = if long { any_unique_id } else { short_unique_id };
    move |i| map_opt(take_while1(|c| c != ' '), id).parse(i)
}

fn short_unique_id(text: &str) -> Option<UniqueId<'_>> {
    UniqueId::new(text).ok()
}

fn any_unique_id(text: &str) -> Option<UniqueId<'_>> {
    UniqueId::of_any_length(text).ok()
}

/// What stands between the numbers of a listing.
pub(crate) fn gap(quirks: Quirks) -> impl Fn(&str) -> IResult<&str, &str> {
    let many = quirks.contains(Quirks::LISTING_BLANKS);
    move |i| if many { take_while1(is_blank).parse(i) } else { tag(" ").parse(i) }
}

fn is_blank(c: char) -> bool {
    c == ' ' || c == '\t'
}

/// The line of a listing, without blanks at its ends if they may be there.
pub(crate) fn listed(line: &str, quirks: Quirks) -> &str {
    if quirks.contains(Quirks::LISTING_BLANKS) { line.trim_matches(is_blank) } else { line }
}

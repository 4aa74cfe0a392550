//! Commands, both ways.

use std::borrow::Cow;
use std::fmt;
use std::io::Write as _;
use std::num::NonZeroU32;

use nom::bytes::complete::take_while1;
use nom::character::complete::{char, digit1};
use nom::combinator::{all_consuming, map_opt, opt, rest};
use nom::sequence::{preceded, separated_pair};
use nom::{IResult, Parser};

use crate::SyntaxError;
use crate::text::{Secret, Text, UniqueId, Word, looks_like_base64};

/// A message's number within a session, from 1.
pub type MessageNumber = NonZeroU32;

/// A command. Borrows from the line it was parsed from; [`Command::into_owned`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Command<'a> {
    /// RFC 1939 §7. The whole rest of the line.
    User(Text<'a>),
    /// RFC 1939 §7. The whole rest of the line, blanks included.
    Pass(Secret<'a>),
    /// RFC 1939 §7
    Apop {
        /// The mailbox.
        name: Text<'a>,
        /// MD5 of timestamp and secret, in hexadecimal.
        digest: Secret<'a>,
    },
    /// RFC 5034 §4; without a mechanism it asks for the list of them (never standardized, but in use).
    Auth {
        /// The SASL mechanism, as written.
        mechanism: Option<Word<'a>>,
        /// The initial response in base64; empty for `=`.
        initial: Option<Secret<'a>>,
    },
    /// RFC 2449 §5
    Capa,
    /// RFC 2595 §4. See [`crate::Receiver::start_tls`].
    Stls,
    /// RFC 1939 §5
    Stat,
    /// RFC 1939 §5
    List(Option<MessageNumber>),
    /// RFC 1939 §7
    Uidl(Option<MessageNumber>),
    /// RFC 1939 §5
    Retr(MessageNumber),
    /// RFC 1939 §7
    Top {
        /// Which message.
        message: MessageNumber,
        /// How many lines of the body.
        lines: u32,
    },
    /// RFC 1939 §5
    Dele(MessageNumber),
    /// RFC 1939 §5
    Noop,
    /// RFC 1939 §5
    Rset,
    /// RFC 1939 §4 and §6
    Quit,
    /// RFC 6856 §2
    Utf8,
    /// RFC 6856 §3; without a tag it asks for the list.
    Lang(Option<Word<'a>>),
}

impl<'a> Command<'a> {
    /// Parses one line without its CRLF.
    pub fn parse(line: &'a [u8]) -> Result<Self, SyntaxError> {
        let end = line.iter().position(|b| *b == b' ').unwrap_or(line.len());
        let (keyword, arguments) = (&line[..end], line.get(end + 1..));
        let mut upper = [0; 4];
        let upper = upper.get_mut(..keyword.len()).ok_or(SyntaxError::UnknownCommand)?;
        upper.copy_from_slice(keyword);
        upper.make_ascii_uppercase();
        if upper == b"PASS" {
            let octets = arguments.ok_or(SyntaxError::MissingArgument)?;
            return Secret::new(octets).map(Command::Pass).map_err(|_| SyntaxError::BadArgument);
        }
        let arguments =
            std::str::from_utf8(arguments.unwrap_or_default()).map_err(|_| SyntaxError::BadArgument)?;
        with_arguments(upper, arguments.trim_matches(' '))
    }

    /// The same, owning its text.
    pub fn into_owned(self) -> Command<'static> {
        match self {
            Command::User(name) => Command::User(name.into_owned()),
            Command::Pass(secret) => Command::Pass(secret.into_owned()),
            Command::Apop { name, digest } => {
                Command::Apop { name: name.into_owned(), digest: digest.into_owned() }
            }
            Command::Auth { mechanism, initial } => Command::Auth {
                mechanism: mechanism.map(Word::into_owned),
                initial: initial.map(Secret::into_owned),
            },
            Command::Lang(tag) => Command::Lang(tag.map(Word::into_owned)),
            Command::Capa => Command::Capa,
            Command::Stls => Command::Stls,
            Command::Stat => Command::Stat,
            Command::List(number) => Command::List(number),
            Command::Uidl(number) => Command::Uidl(number),
            Command::Retr(number) => Command::Retr(number),
            Command::Top { message, lines } => Command::Top { message, lines },
            Command::Dele(number) => Command::Dele(number),
            Command::Noop => Command::Noop,
            Command::Rset => Command::Rset,
            Command::Quit => Command::Quit,
            Command::Utf8 => Command::Utf8,
        }
    }

    /// The keyword alone, for logs: never an argument, so never a secret.
    pub fn keyword(&self) -> &'static str {
        match self {
            Command::User(_) => "USER",
            Command::Pass(_) => "PASS",
            Command::Apop { .. } => "APOP",
            Command::Auth { .. } => "AUTH",
            Command::Capa => "CAPA",
            Command::Stls => "STLS",
            Command::Stat => "STAT",
            Command::List(_) => "LIST",
            Command::Uidl(_) => "UIDL",
            Command::Retr(_) => "RETR",
            Command::Top { .. } => "TOP",
            Command::Dele(_) => "DELE",
            Command::Noop => "NOOP",
            Command::Rset => "RSET",
            Command::Quit => "QUIT",
            Command::Utf8 => "UTF8",
            Command::Lang(_) => "LANG",
        }
    }

    /// Appends the command with its CRLF: what a client sends.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend(self.keyword().as_bytes());
        match self {
            Command::User(name) => put(out, format_args!(" {name}")),
            Command::Pass(secret) => put_secret(out, secret),
            Command::Apop { name, digest } => {
                put(out, format_args!(" {name}"));
                put_secret(out, digest);
            }
            Command::Auth { mechanism: Some(mechanism), initial } => {
                put(out, format_args!(" {mechanism}"));
                match initial {
                    Some(initial) if initial.expose().is_empty() => out.extend(b" ="),
                    Some(initial) => put_secret(out, initial),
                    None => {}
                }
            }
            Command::List(Some(number))
            | Command::Uidl(Some(number))
            | Command::Retr(number)
            | Command::Dele(number) => put(out, format_args!(" {number}")),
            Command::Top { message, lines } => put(out, format_args!(" {message} {lines}")),
            Command::Lang(Some(tag)) => put(out, format_args!(" {tag}")),
            _ => {}
        }
        out.extend(b"\r\n");
    }
}

fn put_secret(out: &mut Vec<u8>, secret: &Secret<'_>) {
    out.push(b' ');
    out.extend_from_slice(secret.expose());
}

/// Writing to a `Vec` cannot fail.
pub(crate) fn put(out: &mut Vec<u8>, text: fmt::Arguments<'_>) {
    let _ = out.write_fmt(text);
}

fn with_arguments<'a>(keyword: &[u8], arguments: &'a str) -> Result<Command<'a>, SyntaxError> {
    match keyword {
        b"STAT" => bare(arguments, Command::Stat),
        b"NOOP" => bare(arguments, Command::Noop),
        b"RSET" => bare(arguments, Command::Rset),
        b"QUIT" => bare(arguments, Command::Quit),
        b"CAPA" => bare(arguments, Command::Capa),
        b"STLS" => bare(arguments, Command::Stls),
        b"UTF8" => bare(arguments, Command::Utf8),
        b"LIST" => optional_number(arguments).map(Command::List),
        b"UIDL" => optional_number(arguments).map(Command::Uidl),
        b"RETR" => number(arguments).map(Command::Retr),
        b"DELE" => number(arguments).map(Command::Dele),
        b"TOP" => top(arguments),
        b"USER" => user(arguments),
        b"APOP" => apop(arguments),
        b"AUTH" => auth(arguments),
        b"LANG" => lang(arguments),
        _ => Err(SyntaxError::UnknownCommand),
    }
}

fn bare<'a>(arguments: &str, command: Command<'a>) -> Result<Command<'a>, SyntaxError> {
    if arguments.is_empty() { Ok(command) } else { Err(SyntaxError::UnexpectedArgument) }
}

/// Runs a grammar over all of the arguments; anything else is `error`.
fn whole<'a, T, P>(arguments: &'a str, grammar: P, error: SyntaxError) -> Result<T, SyntaxError>
where
    P: Parser<&'a str, Output = T, Error = nom::error::Error<&'a str>>,
{
    if arguments.is_empty() {
        return Err(SyntaxError::MissingArgument);
    }
    all_consuming(grammar).parse(arguments).map(|(_, value)| value).map_err(|_| error)
}

pub(crate) fn message_number(i: &str) -> IResult<&str, MessageNumber> {
    map_opt(digit1, |digits: &str| digits.parse().ok()).parse(i)
}

pub(crate) fn octets(i: &str) -> IResult<&str, u64> {
    map_opt(digit1, |digits: &str| digits.parse().ok()).parse(i)
}

pub(crate) fn unique_id(i: &str) -> IResult<&str, UniqueId<'_>> {
    map_opt(take_while1(|c| c != ' '), |id| UniqueId::new(id).ok()).parse(i)
}

fn word(i: &str) -> IResult<&str, Word<'_>> {
    map_opt(take_while1(|c| c != ' '), |word| Word::new(word).ok()).parse(i)
}

fn number(arguments: &str) -> Result<MessageNumber, SyntaxError> {
    whole(arguments, message_number, SyntaxError::BadNumber)
}

fn optional_number(arguments: &str) -> Result<Option<MessageNumber>, SyntaxError> {
    if arguments.is_empty() { Ok(None) } else { number(arguments).map(Some) }
}

fn top(arguments: &str) -> Result<Command<'_>, SyntaxError> {
    let lines = map_opt(digit1, |digits: &str| digits.parse().ok());
    let grammar = separated_pair(message_number, char(' '), lines);
    let (message, lines) = whole(arguments, grammar, SyntaxError::BadNumber)?;
    Ok(Command::Top { message, lines })
}

fn user(arguments: &str) -> Result<Command<'_>, SyntaxError> {
    let name = map_opt(rest, |name: &str| Text::new(name).ok());
    whole(arguments, name, SyntaxError::BadArgument).map(Command::User)
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
    if arguments.is_empty() {
        return Ok(Command::Auth { mechanism: None, initial: None });
    }
    let initial = map_opt(rest, |text: &str| match text {
        "=" => Secret::new(Cow::Borrowed(b"".as_slice())).ok(),
        text if !text.is_empty() && looks_like_base64(text.as_bytes()) => Secret::new(text.as_bytes()).ok(),
        _ => None,
    });
    let grammar = (word, opt(preceded(char(' '), initial)));
    let (mechanism, initial) = whole(arguments, grammar, SyntaxError::BadArgument)?;
    Ok(Command::Auth { mechanism: Some(mechanism), initial })
}

fn lang(arguments: &str) -> Result<Command<'_>, SyntaxError> {
    if arguments.is_empty() {
        return Ok(Command::Lang(None));
    }
    whole(arguments, word, SyntaxError::BadArgument).map(|tag| Command::Lang(Some(tag)))
}

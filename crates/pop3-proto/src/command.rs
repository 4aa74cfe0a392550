//! Commands, both ways.

use std::fmt;
use std::io::Write as _;
use std::num::NonZeroU32;

use crate::SyntaxError;
use crate::attributes::Attribute;
use crate::text::{Secret, Text, Word};

/// A message's number within a session, from 1.
pub type MessageNumber = NonZeroU32;

/// A command. Borrows from the line it was parsed from; [`Command::into_owned`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
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
    /// RFC 6856 §3: a language tag, or `*` for the server's choice; without a tag it asks for the list.
    Lang(Option<Word<'a>>),
    /// Dovecot's XCLIENT: a trusted proxy says who the client is. Only where the greeting had [`crate::ResponseCode::XClient`].
    XClient(Vec<Attribute<'a>>),
}

impl<'a> Command<'a> {
    /// Parses one line without its CRLF.
    #[inline]
    pub fn parse(line: &'a [u8]) -> Result<Self, SyntaxError> {
        crate::parse::command(line)
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
            Command::XClient(attributes) => {
                Command::XClient(attributes.into_iter().map(Attribute::into_owned).collect())
            }
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
            Command::XClient(_) => "XCLIENT",
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
            Command::XClient(attributes) => attributes.iter().for_each(|attribute| attribute.encode(out)),
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

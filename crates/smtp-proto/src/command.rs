//! Commands, both ways.

use std::fmt::{self, Write as _};
use std::io::Write as _;

use crate::address::{DomainName, ForwardPath, ReversePath};
use crate::attributes::Attribute;
use crate::params::{MailParams, RcptParams};
use crate::text::{ClientName, Keyword, Secret, Text, Url};
use crate::waiting::Waiting;
use crate::{SyntaxError, parse};

/// A command of SMTP, submission or LMTP. Borrows from the line it was parsed from; [`Command::into_owned`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum Command<'a> {
    /// RFC 5321 §4.1.1.1
    Ehlo(ClientName<'a>),
    /// RFC 5321 §4.1.1.1
    Helo(ClientName<'a>),
    /// RFC 2033 §4.1
    Lhlo(ClientName<'a>),
    /// RFC 5321 §4.1.1.2
    Mail {
        /// Where bounces go.
        from: ReversePath<'a>,
        /// SIZE, BODY and so on.
        params: MailParams<'a>,
    },
    /// RFC 5321 §4.1.1.3
    Rcpt {
        /// Whom the message is for.
        to: ForwardPath<'a>,
        /// NOTIFY and ORCPT.
        params: RcptParams<'a>,
    },
    /// RFC 5321 §4.1.1.4. Only [`crate::Receiver::accept_data`] makes what follows a message.
    Data,
    /// RFC 3030 §2. The chunk follows whether it is wanted or not.
    Bdat {
        /// Octets in the chunk.
        size: u64,
        /// Whether it ends the message.
        last: bool,
    },
    /// RFC 5321 §4.1.1.5
    Rset,
    /// RFC 5321 §4.1.1.6
    Vrfy(Text<'a>),
    /// RFC 5321 §4.1.1.7
    Expn(Text<'a>),
    /// RFC 5321 §4.1.1.8
    Help(Option<Text<'a>>),
    /// RFC 5321 §4.1.1.9
    Noop(Option<Text<'a>>),
    /// RFC 5321 §4.1.1.10
    Quit,
    /// RFC 3207. See [`crate::Receiver::start_tls`].
    StartTls,
    /// RFC 4954 §4
    Auth {
        /// The SASL mechanism, as written.
        mechanism: Keyword<'a>,
        /// The initial response in base64; empty for `=`.
        initial: Option<Secret<'a>>,
    },
    /// RFC 4468 §3.2: the server fetches this part of the message itself; no chunk follows.
    Burl {
        /// Where it is, as a rule an IMAP URL.
        url: Url<'a>,
        /// Whether it ends the message.
        last: bool,
    },
    /// RFC 1985: send me, in sessions of your own, the mail that waits for me.
    Etrn(Waiting<'a>),
    /// RFC 2645: the same in this session, with the roles turned round once 250 was said. No domain: all of the
    /// client's own.
    Atrn(Vec<DomainName<'a>>),
    /// XCLIENT: a trusted proxy says who the client is. Only before MAIL; answer 220 and begin anew.
    XClient(Vec<Attribute<'a>>),
    /// XFORWARD: a trusted proxy says, for the log, where the next message came from.
    XForward(Vec<Attribute<'a>>),
}

impl<'a> Command<'a> {
    /// Parses one line without its CRLF.
    pub fn parse(line: &'a [u8]) -> Result<Self, SyntaxError> {
        parse::command(line)
    }

    /// The same, owning its text.
    pub fn into_owned(self) -> Command<'static> {
        match self {
            Command::Ehlo(name) => Command::Ehlo(name.into_owned()),
            Command::Helo(name) => Command::Helo(name.into_owned()),
            Command::Lhlo(name) => Command::Lhlo(name.into_owned()),
            Command::Mail { from, params } => {
                Command::Mail { from: from.into_owned(), params: params.into_owned() }
            }
            Command::Rcpt { to, params } => {
                Command::Rcpt { to: to.into_owned(), params: params.into_owned() }
            }
            Command::Data => Command::Data,
            Command::Bdat { size, last } => Command::Bdat { size, last },
            Command::Rset => Command::Rset,
            Command::Vrfy(text) => Command::Vrfy(text.into_owned()),
            Command::Expn(text) => Command::Expn(text.into_owned()),
            Command::Help(text) => Command::Help(text.map(Text::into_owned)),
            Command::Noop(text) => Command::Noop(text.map(Text::into_owned)),
            Command::Quit => Command::Quit,
            Command::StartTls => Command::StartTls,
            Command::Auth { mechanism, initial } => {
                Command::Auth { mechanism: mechanism.into_owned(), initial: initial.map(Secret::into_owned) }
            }
            Command::Burl { url, last } => Command::Burl { url: url.into_owned(), last },
            Command::Etrn(waiting) => Command::Etrn(waiting.into_owned()),
            Command::Atrn(domains) => {
                Command::Atrn(domains.into_iter().map(DomainName::into_owned).collect())
            }
            Command::XClient(attributes) => Command::XClient(own(attributes)),
            Command::XForward(attributes) => Command::XForward(own(attributes)),
        }
    }

    /// Appends the command with its CRLF: what a client sends.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Command::Ehlo(name) => put(out, format_args!("EHLO {name}")),
            Command::Helo(name) => put(out, format_args!("HELO {name}")),
            Command::Lhlo(name) => put(out, format_args!("LHLO {name}")),
            Command::Mail { from, params } => {
                put(out, format_args!("MAIL FROM:{from}"));
                params.encode(out);
            }
            Command::Rcpt { to, params } => {
                put(out, format_args!("RCPT TO:{to}"));
                params.encode(out);
            }
            Command::Data => out.extend(b"DATA"),
            Command::Bdat { size, last } => {
                put(out, format_args!("BDAT {size}{}", if *last { " LAST" } else { "" }));
            }
            Command::Rset => out.extend(b"RSET"),
            Command::Vrfy(text) => put(out, format_args!("VRFY {text}")),
            Command::Expn(text) => put(out, format_args!("EXPN {text}")),
            Command::Help(text) => put_optional(out, "HELP", text.as_ref()),
            Command::Noop(text) => put_optional(out, "NOOP", text.as_ref()),
            Command::Quit => out.extend(b"QUIT"),
            Command::StartTls => out.extend(b"STARTTLS"),
            Command::Auth { mechanism, initial } => put_auth(out, mechanism, initial.as_ref()),
            Command::Burl { url, last } => {
                put(out, format_args!("BURL {url}{}", if *last { " LAST" } else { "" }));
            }
            Command::Etrn(waiting) => put(out, format_args!("ETRN {waiting}")),
            Command::Atrn(domains) => put_atrn(out, domains),
            Command::XClient(attributes) => put_attributes(out, "XCLIENT", attributes),
            Command::XForward(attributes) => put_attributes(out, "XFORWARD", attributes),
        }
        out.extend(b"\r\n");
    }

    /// The verb alone, for logs: never an argument, so never a secret.
    pub fn verb(&self) -> &'static str {
        match self {
            Command::Ehlo(_) => "EHLO",
            Command::Helo(_) => "HELO",
            Command::Lhlo(_) => "LHLO",
            Command::Mail { .. } => "MAIL",
            Command::Rcpt { .. } => "RCPT",
            Command::Data => "DATA",
            Command::Bdat { .. } => "BDAT",
            Command::Rset => "RSET",
            Command::Vrfy(_) => "VRFY",
            Command::Expn(_) => "EXPN",
            Command::Help(_) => "HELP",
            Command::Noop(_) => "NOOP",
            Command::Quit => "QUIT",
            Command::StartTls => "STARTTLS",
            Command::Auth { .. } => "AUTH",
            Command::Burl { .. } => "BURL",
            Command::Etrn(_) => "ETRN",
            Command::Atrn(_) => "ATRN",
            Command::XClient(_) => "XCLIENT",
            Command::XForward(_) => "XFORWARD",
        }
    }

    /// Whether a client that pipelines must wait for the reply before it sends more (RFC 2920 §3.1); the others may
    /// stand in the middle of a group.
    pub fn ends_group(&self) -> bool {
        match self {
            Command::Rset | Command::Mail { .. } | Command::Rcpt { .. } | Command::XForward(_) => false,
            // RFC 3030 §4.2, RFC 4468 §3.2: chunks may be pipelined; the last one's reply decides.
            Command::Bdat { last, .. } | Command::Burl { last, .. } => *last,
            _ => true,
        }
    }
}

/// Writing to a `Vec` cannot fail.
pub(crate) fn put(out: &mut Vec<u8>, text: fmt::Arguments<'_>) {
    let _ = out.write_fmt(text);
}

fn own(attributes: Vec<Attribute<'_>>) -> Vec<Attribute<'static>> {
    attributes.into_iter().map(Attribute::into_owned).collect()
}

fn put_attributes(out: &mut Vec<u8>, verb: &str, attributes: &[Attribute<'_>]) {
    out.extend(verb.as_bytes());
    attributes.iter().for_each(|attribute| attribute.encode(out));
}

fn put_atrn(out: &mut Vec<u8>, domains: &[DomainName<'_>]) {
    out.extend(b"ATRN");
    for (n, domain) in domains.iter().enumerate() {
        out.push(if n == 0 { b' ' } else { b',' });
        out.extend(domain.as_str().as_bytes());
    }
}

fn put_optional(out: &mut Vec<u8>, verb: &str, text: Option<&Text<'_>>) {
    out.extend(verb.as_bytes());
    if let Some(text) = text {
        put(out, format_args!(" {text}"));
    }
}

fn put_auth(out: &mut Vec<u8>, mechanism: &Keyword<'_>, initial: Option<&Secret<'_>>) {
    put(out, format_args!("AUTH {mechanism}"));
    match initial.map(Secret::expose) {
        None => {}
        Some("") => out.extend(b" ="),
        Some(text) => put(out, format_args!(" {text}")),
    }
}

impl fmt::Display for Command<'_> {
    /// As on the wire without CRLF, the initial response of AUTH left out: for logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Command::Auth { mechanism, .. } = self {
            return write!(f, "AUTH {mechanism}");
        }
        let mut line = Vec::new();
        self.encode(&mut line);
        String::from_utf8_lossy(&line).trim_end().chars().try_for_each(|c| f.write_char(c))
    }
}

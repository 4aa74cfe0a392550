//! What a server did not offer, a client must not use.

use crate::Command;
use crate::address::{ForwardPath, Mailbox, ReversePath};
use crate::attributes::Attribute;
use crate::ehlo::{Ehlo, Extension};
use crate::params::{Body, MailParams, RcptParams};
use crate::text::Keyword;

/// The command needs what EHLO's reply did not announce. Nothing was sent; the server would have misread it, or refused it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotOffered {
    /// An extension was not announced.
    #[error("the server does not offer {0}")]
    Extension(&'static str),
    /// The message is larger than SIZE allows.
    #[error("the server takes messages of at most {limit} octets")]
    TooLarge {
        /// The announced limit.
        limit: u64,
    },
}

impl Ehlo {
    /// Whether the server that gave this reply takes `command`: call it before [`Command::encode`].
    pub fn permits(&self, command: &Command<'_>) -> Result<(), NotOffered> {
        match command {
            Command::Mail { from, params } => self.permits_mail(from, params),
            Command::Rcpt { to, params } => self.permits_rcpt(to, params),
            Command::Bdat { .. } => self.need(true, "CHUNKING", |e| *e == Extension::Chunking),
            Command::Burl { .. } => self.need(true, "BURL", |e| matches!(e, Extension::Burl(_))),
            Command::Etrn(_) => self.need(true, "ETRN", |e| *e == Extension::Etrn),
            Command::Atrn(_) => self.need(true, "ATRN", |e| *e == Extension::Atrn),
            Command::StartTls => self.need(true, "STARTTLS", |e| *e == Extension::StartTls),
            Command::Auth { mechanism, .. } if !self.has_auth(mechanism.as_str()) => {
                Err(NotOffered::Extension("this AUTH mechanism"))
            }
            Command::XClient(attributes) => self.need(true, "these XCLIENT attributes", |e| match e {
                Extension::XClient(names) => all_named(attributes, names),
                _ => false,
            }),
            Command::XForward(attributes) => self.need(true, "these XFORWARD attributes", |e| match e {
                Extension::XForward(names) => all_named(attributes, names),
                _ => false,
            }),
            _ => Ok(()),
        }
    }

    fn need(
        &self,
        used: bool,
        name: &'static str,
        is_it: impl Fn(&Extension) -> bool,
    ) -> Result<(), NotOffered> {
        if used && !self.extensions.iter().any(is_it) { Err(NotOffered::Extension(name)) } else { Ok(()) }
    }

    fn permits_mail(&self, from: &ReversePath<'_>, params: &MailParams<'_>) -> Result<(), NotOffered> {
        let body = params.body;
        let utf8 = params.smtputf8 || from.mailbox().is_some_and(|m| !m.is_ascii());
        let dsn = params.ret.is_some() || params.envid.is_some();
        self.need(utf8, "SMTPUTF8", |e| *e == Extension::SmtpUtf8)?;
        self.need(matches!(body, Some(Body::SevenBit | Body::EightBitMime)), "8BITMIME", |e| {
            *e == Extension::EightBitMime
        })?;
        self.need(body == Some(Body::BinaryMime), "BINARYMIME", |e| *e == Extension::BinaryMime)?;
        self.need(body == Some(Body::BinaryMime), "CHUNKING", |e| *e == Extension::Chunking)?;
        self.need(params.auth.is_some(), "AUTH", |e| matches!(e, Extension::Auth(_)))?;
        self.need(dsn, "DSN", |e| *e == Extension::Dsn)?;
        self.need(params.requiretls, "REQUIRETLS", |e| *e == Extension::RequireTls)?;
        self.need(params.mt_priority.is_some(), "MT-PRIORITY", |e| matches!(e, Extension::MtPriority(_)))?;
        self.need(params.by().is_some(), "DELIVERBY", |e| matches!(e, Extension::DeliverBy(_)))?;
        self.need(params.hold().is_some(), "FUTURERELEASE", |e| {
            matches!(e, Extension::FutureRelease { .. })
        })?;
        self.need(params.size.is_some(), "SIZE", |e| matches!(e, Extension::Size(_)))?;
        match (params.size, self.size_limit()) {
            (Some(size), Some(limit)) if size > limit => Err(NotOffered::TooLarge { limit }),
            _ => Ok(()),
        }
    }

    fn permits_rcpt(&self, to: &ForwardPath<'_>, params: &RcptParams<'_>) -> Result<(), NotOffered> {
        let utf8 = matches!(to, ForwardPath::Mailbox(mailbox) if !Mailbox::is_ascii(mailbox));
        let dsn = params.notify.is_some() || params.orcpt.is_some();
        self.need(utf8, "SMTPUTF8", |e| *e == Extension::SmtpUtf8)?;
        self.need(dsn, "DSN", |e| *e == Extension::Dsn)
    }
}

fn all_named(attributes: &[Attribute<'_>], names: &[Keyword<'_>]) -> bool {
    attributes.iter().all(|a| names.iter().any(|name| name.as_str().eq_ignore_ascii_case(a.name())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Reply;

    #[test]
    fn what_was_not_offered_is_not_sent() {
        let full = "mx\nSIZE 1000\n8BITMIME\nSMTPUTF8\nCHUNKING\nBINARYMIME\nSTARTTLS\nDSN\nREQUIRETLS\nAUTH PLAIN\n\
            MT-PRIORITY\nDELIVERBY\nFUTURERELEASE 9 2030-01-01T00:00:00Z\nXCLIENT NAME\nXFORWARD ADDR\n\
            BURL imap\nETRN\nATRN";
        let full = Ehlo::parse(&Reply::plain(250, full)).unwrap();
        let bare = Ehlo::parse(&Reply::plain(250, "mx")).unwrap();
        for line in [
            "MAIL FROM:<a@b> SIZE=1000",
            "MAIL FROM:<a@b> BODY=8BITMIME",
            "MAIL FROM:<a@b> BODY=BINARYMIME",
            "MAIL FROM:<ü@b> SMTPUTF8",
            "MAIL FROM:<a@b> AUTH=<>",
            "MAIL FROM:<a@b> RET=FULL",
            "MAIL FROM:<a@b> ENVID=x",
            "MAIL FROM:<a@b> REQUIRETLS",
            "MAIL FROM:<a@b> MT-PRIORITY=3",
            "MAIL FROM:<a@b> BY=5;R",
            "MAIL FROM:<a@b> HOLDFOR=5",
            "RCPT TO:<a@b> NOTIFY=NEVER",
            "RCPT TO:<ü@b>",
            "BDAT 5 LAST",
            "STARTTLS",
            "AUTH PLAIN",
            "XCLIENT NAME=a",
            "XFORWARD ADDR=1.2.3.4",
            "BURL imap://h/x LAST",
            "ETRN b.example",
            "ATRN",
        ] {
            let command = Command::parse(line.as_bytes()).unwrap();
            assert_eq!(full.permits(&command), Ok(()), "{line}");
            assert!(matches!(bare.permits(&command), Err(NotOffered::Extension(_))), "{line}");
        }
        let parsed = |line: &'static str| Command::parse(line.as_bytes()).unwrap();
        assert_eq!(
            full.permits(&parsed("MAIL FROM:<a@b> SIZE=1001")),
            Err(NotOffered::TooLarge { limit: 1000 })
        );
        assert!(full.permits(&parsed("AUTH LOGIN")).is_err());
        assert!(full.permits(&parsed("XCLIENT PORT=1")).is_err());
        assert_eq!(bare.permits(&parsed("MAIL FROM:<a@b>")), Ok(()));
    }
}

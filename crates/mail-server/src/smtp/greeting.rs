//! What the server says about itself.

use posthaste_smtp_proto::{ClientName, Ehlo, Extension, Keyword, Reply};

use super::session::Session;
use crate::sasl;
use crate::server::Service;

/// The first line of the connection.
pub(super) fn banner(hostname: &str, service: Service) -> Reply {
    let protocol = if service == Service::Lmtp { "LMTP" } else { "ESMTP" };
    Reply::plain(220, format!("{hostname} {protocol} Posthaste"))
}

/// The reply to HELO.
pub(super) fn plain(hostname: &str) -> Reply {
    Reply::plain(250, hostname.to_owned())
}

/// The reply to EHLO and LHLO.
pub(super) fn extended(session: &Session<'_>) -> Reply {
    let mut extensions = vec![
        Extension::Pipelining,
        Extension::Size(Some(session.context.limits.message_bytes)),
        Extension::EightBitMime,
        Extension::SmtpUtf8,
        Extension::EnhancedStatusCodes,
        Extension::Chunking,
    ];
    if session.context.tls.is_some() && !session.tls {
        extensions.push(Extension::StartTls);
    }
    if session.offers_auth() {
        let mechanisms = sasl::MECHANISMS.into_iter().filter_map(|name| Keyword::new(name).ok());
        extensions.push(Extension::Auth(mechanisms.collect()));
    }
    match ClientName::new(session.context.hostname.to_string()) {
        Ok(domain) => Ehlo { domain, greeting: None, extensions }.to_reply(),
        Err(_) => Reply::new(451, (3, 5), "this host's name is misconfigured"),
    }
}

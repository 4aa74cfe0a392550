//! The header that this host puts on top of a message (RFC 5321 §4.4), and the brake on mail loops.

use std::fmt::Write as _;
use std::time::SystemTime;

use mail_parser::DateTime;
use posthaste_smtp_proto::Reply;

use super::envelope::Envelope;
use super::session::Session;
use crate::server::Service;
use crate::store::unix_seconds;

/// A message that passed more hosts than this goes in circles (RFC 5321 §6.3 wants at least 100).
const RECEIVED_MAX: usize = 100;

/// What goes in front of the message: `Return-Path`, `Delivered-To` where there is one recipient, `Received`.
pub(super) fn header(session: &Session<'_>, envelope: &Envelope) -> Vec<u8> {
    let mut text = format!("Return-Path: <{}>\r\n", envelope.sender);
    if envelope.accepted == 1 {
        let _ = write!(text, "Delivered-To: {}\r\n", envelope.first);
    }
    let name = session.client.as_ref().map_or("", |client| client.name.as_str());
    let date = DateTime::from_timestamp(unix_seconds(SystemTime::now())).to_rfc822();
    let _ = write!(
        text,
        "Received: from {} ([{}])\r\n\tby {} with {} id {};\r\n\t{date}\r\n",
        tame(name),
        session.peer.addr.ip(),
        session.context.hostname,
        protocol(session, envelope),
        envelope.id,
    );
    text.into_bytes()
}

/// The client chose its name: at most 255 characters, and none that means something in a header.
fn tame(name: &str) -> String {
    let tame = |c: char| if c.is_ascii_alphanumeric() || ".-_:[]".contains(c) { c } else { '?' };
    name.chars().take(255).map(tame).collect()
}

/// The protocol's registered name (RFC 3848, RFC 6531 §4.3).
fn protocol(session: &Session<'_>, envelope: &Envelope) -> String {
    let extended = session.client.as_ref().is_some_and(|client| client.extended);
    let base = match (session.service, envelope.smtputf8, extended) {
        (Service::Lmtp, false, _) => "LMTP",
        (Service::Lmtp, true, _) => "UTF8LMTP",
        (_, true, _) => "UTF8SMTP",
        (_, false, true) => "ESMTP",
        (_, false, false) => return "SMTP".to_owned(),
    };
    let secure = if session.tls { "S" } else { "" };
    let known = if session.user().is_some() { "A" } else { "" };
    format!("{base}{secure}{known}")
}

/// Refuses a message that has been through too many hosts.
pub(super) fn refuse_loop(message: &[u8]) -> Result<(), Reply> {
    let hops = header_lines(message).filter(|line| is_received(line)).count();
    // One of them is ours.
    if hops > RECEIVED_MAX + 1 {
        Err(Reply::new(554, (4, 6), "too many hops: this mail goes in circles"))
    } else {
        Ok(())
    }
}

fn is_received(line: &[u8]) -> bool {
    line.get(..9).is_some_and(|name| name.eq_ignore_ascii_case(b"Received:"))
}

/// The lines down to the first empty one.
fn header_lines(message: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut from = 0;
    memchr::memchr_iter(b'\n', message)
        .map(move |at| {
            let line = &message[from..at];
            from = at + 1;
            line
        })
        .take_while(|line| !line.is_empty() && *line != b"\r")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mail_loop_is_refused_after_a_hundred_hops() {
        let hop = "received: from a by b; now\r\n";
        let message = |hops: usize| format!("{}Subject: x\r\n\r\n{}", hop.repeat(hops), hop.repeat(500));
        assert_eq!(refuse_loop(message(RECEIVED_MAX + 1).as_bytes()), Ok(()));
        assert_eq!(refuse_loop(message(RECEIVED_MAX + 2).as_bytes()).unwrap_err().code(), 554);
        assert_eq!(refuse_loop(b"no line end"), Ok(()));
    }

    #[test]
    fn a_client_name_cannot_forge_header_syntax() {
        assert_eq!(tame("mx.example.org"), "mx.example.org");
        assert_eq!(tame("[IPv6:2001:db8::1]"), "[IPv6:2001:db8::1]");
        assert_eq!(tame("a(b);é"), "a?b???");
        assert_eq!(tame(&"x".repeat(4000)).len(), 255);
    }
}

//! Sender and recipients of the message in progress, and which parameters are refused.

use posthaste_smtp_proto::{AuthSender, Body, ForwardPath, MailParams, RcptParams, Reply};

use super::session::Session;
use crate::server::Service;
use crate::store::User;

/// A transaction: from MAIL to the message's end.
pub(super) struct Envelope {
    /// Where bounces would go; empty for `<>`.
    pub(super) sender: String,
    pub(super) smtputf8: bool,
    /// Names the message in the trace header, the reply and the log.
    pub(super) id: String,
    /// Whom it is delivered to, each once.
    pub(super) users: Vec<User>,
    /// The first recipient's address as given.
    pub(super) first: String,
    /// How many RCPT were answered with 250.
    pub(super) accepted: usize,
}

impl Envelope {
    pub(super) fn new(sender: String, smtputf8: bool) -> Self {
        let id = format!("{:016x}", rand::random::<u64>());
        Self { sender, smtputf8, id, users: Vec::new(), first: String::new(), accepted: 0 }
    }

    pub(super) fn add(&mut self, address: String, user: User) {
        if self.accepted == 0 {
            self.first = address;
        }
        self.accepted += 1;
        if !self.users.contains(&user) {
            self.users.push(user);
        }
    }
}

fn unknown_parameter(name: &str) -> Reply {
    Reply::new(555, (5, 4), format!("parameter {name} is not known here"))
}

/// Why MAIL's parameters can't be taken: those of extensions that EHLO did not announce, and a size too large.
pub(super) fn mail_refusal(session: &Session<'_>, params: &MailParams<'_>) -> Result<(), Reply> {
    if let Some(other) = params.other().first() {
        return Err(unknown_parameter(other.name.as_str()));
    }
    let submission = session.service == Service::Submission;
    let named_sender = matches!(params.auth, Some(AuthSender::Address(_)));
    for (given, name) in [
        (params.requiretls, "REQUIRETLS"),
        (params.ret.is_some(), "RET"),
        (params.envid.is_some(), "ENVID"),
        (params.mt_priority.is_some(), "MT-PRIORITY"),
        (params.by().is_some(), "BY"),
        (params.hold().is_some(), "HOLDFOR or HOLDUNTIL"),
        (params.body == Some(Body::BinaryMime), "BODY=BINARYMIME"),
        (named_sender && !submission, "AUTH"),
    ] {
        if given {
            return Err(unknown_parameter(name));
        }
    }
    match params.size {
        Some(size) if size > session.context.limits.message_bytes => {
            Err(Reply::new(552, (3, 4), "message larger than the limit"))
        }
        _ => Ok(()),
    }
}

/// Why a recipient can't be taken, before anybody is asked who it is.
pub(super) fn rcpt_refusal(
    to: &ForwardPath<'_>,
    params: &RcptParams<'_>,
    envelope: &Envelope,
    limit: usize,
) -> Result<(), Reply> {
    if let Some(other) = params.other.first() {
        return Err(unknown_parameter(other.name.as_str()));
    }
    if params.notify.is_some() || params.orcpt.is_some() {
        return Err(unknown_parameter(if params.notify.is_some() { "NOTIFY" } else { "ORCPT" }));
    }
    if envelope.accepted >= limit {
        return Err(Reply::new(452, (5, 3), "too many recipients, send the rest in another message"));
    }
    match to {
        ForwardPath::Mailbox(mailbox) if !envelope.smtputf8 && !mailbox.is_ascii() => {
            Err(Reply::new(553, (6, 7), "non-ASCII addresses need SMTPUTF8"))
        }
        _ => Ok(()),
    }
}

use super::{AppendHead, Command, CommandBody, IdField, StoreAction};
use crate::flag::write_flags;
use crate::write::{Literals, Writer};
use crate::{Mailbox, base64};

/// A command as octets, and where to wait.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct EncodedCommand {
    /// Everything, with the final CRLF.
    pub bytes: Vec<u8>,
    /// Offsets into `bytes`, ascending: stop there until the server has sent `+`. Empty with LITERAL+.
    pub pauses: Vec<usize>,
}

impl std::fmt::Debug for EncodedCommand {
    // It may hold a password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "EncodedCommand({} octets, {} pauses)", self.bytes.len(), self.pauses.len())
    }
}

impl Command<'_> {
    /// Encodes the command. Use [`Literals::NonSync`] only if the server advertised LITERAL+: others take the literal's
    /// octets for commands.
    pub fn encode(&self, literals: Literals) -> EncodedCommand {
        let mut encoded = EncodedCommand::default();
        let mut w = Writer { out: &mut encoded.bytes, literals, pauses: Some(&mut encoded.pauses) };
        w.raw(self.tag.as_str());
        w.raw(" ");
        body(&mut w, &self.body);
        w.raw("\r\n");
        encoded
    }
}

fn body(w: &mut Writer<'_>, command: &CommandBody<'_>) {
    use CommandBody as C;
    match command {
        C::Capability => w.raw("CAPABILITY"),
        C::Noop => w.raw("NOOP"),
        C::Logout => w.raw("LOGOUT"),
        C::StartTls => w.raw("STARTTLS"),
        C::Namespace => w.raw("NAMESPACE"),
        C::Idle => w.raw("IDLE"),
        C::Check => w.raw("CHECK"),
        C::Close => w.raw("CLOSE"),
        C::Unselect => w.raw("UNSELECT"),
        C::Expunge => w.raw("EXPUNGE"),
        C::UidExpunge(set) => {
            w.raw("UID EXPUNGE ");
            set.encode(w.out);
        }
        C::Authenticate { mechanism, initial } => {
            w.raw("AUTHENTICATE ");
            w.raw(mechanism.as_str());
            if let Some(initial) = initial {
                w.raw(" ");
                match initial.expose() {
                    [] => w.raw("="),
                    data => base64::encode(data, w.out),
                }
            }
        }
        C::Login { user, password } => {
            w.raw("LOGIN ");
            w.astring(user);
            w.raw(" ");
            w.astring(password.expose());
        }
        C::Select(m) => on_mailbox(w, "SELECT ", m),
        C::Examine(m) => on_mailbox(w, "EXAMINE ", m),
        C::Create(m) => on_mailbox(w, "CREATE ", m),
        C::Delete(m) => on_mailbox(w, "DELETE ", m),
        C::Subscribe(m) => on_mailbox(w, "SUBSCRIBE ", m),
        C::Unsubscribe(m) => on_mailbox(w, "UNSUBSCRIBE ", m),
        C::Rename { from, to } => {
            on_mailbox(w, "RENAME ", from);
            on_mailbox(w, " ", to);
        }
        C::List { reference, pattern } => {
            on_mailbox(w, "LIST ", reference);
            on_pattern(w, pattern);
        }
        C::Lsub { reference, pattern } => {
            on_mailbox(w, "LSUB ", reference);
            on_pattern(w, pattern);
        }
        C::Status { mailbox, items } => {
            on_mailbox(w, "STATUS ", mailbox);
            w.raw(" ");
            w.list(items, |w, item| w.raw(item.name()));
        }
        C::Append { head, message } => {
            append_head(w, head);
            w.raw(" ");
            w.literal(message);
        }
        C::Id(fields) => {
            w.raw("ID ");
            write_id(w, fields.as_deref());
        }
        _ => on_messages(w, command),
    }
}

fn on_messages(w: &mut Writer<'_>, command: &CommandBody<'_>) {
    use CommandBody as C;
    match command {
        C::Search { uid, charset, keys } => {
            w.raw(if *uid { "UID SEARCH " } else { "SEARCH " });
            if let Some(charset) = charset {
                w.raw("CHARSET ");
                w.astring(charset);
                w.raw(" ");
            }
            w.spaced(keys, |w, key| key.write(w));
        }
        C::Fetch { uid, set, items } => {
            w.raw(if *uid { "UID FETCH " } else { "FETCH " });
            set.encode(w.out);
            w.raw(" ");
            items.write(w);
        }
        C::Store { uid, set, action, silent, flags } => {
            w.raw(if *uid { "UID STORE " } else { "STORE " });
            set.encode(w.out);
            w.raw(match action {
                StoreAction::Replace => " FLAGS",
                StoreAction::Add => " +FLAGS",
                StoreAction::Remove => " -FLAGS",
            });
            w.raw(if *silent { ".SILENT " } else { " " });
            write_flags(w, flags);
        }
        C::Copy { uid, set, mailbox } => {
            w.raw(if *uid { "UID COPY " } else { "COPY " });
            set.encode(w.out);
            on_mailbox(w, " ", mailbox);
        }
        _ => {}
    }
}

fn on_mailbox(w: &mut Writer<'_>, verb: &str, mailbox: &Mailbox<'_>) {
    w.raw(verb);
    w.astring(mailbox.as_wire());
}

fn on_pattern(w: &mut Writer<'_>, pattern: &Mailbox<'_>) {
    w.raw(" ");
    w.string(pattern.as_wire());
}

fn append_head(w: &mut Writer<'_>, head: &AppendHead<'_>) {
    on_mailbox(w, "APPEND ", &head.mailbox);
    if !head.flags.is_empty() {
        w.raw(" ");
        write_flags(w, &head.flags);
    }
    if let Some(date) = head.date {
        w.raw(" ");
        date.write(w);
    }
}

pub(crate) fn write_id(w: &mut Writer<'_>, fields: Option<&[IdField<'_>]>) {
    match fields {
        None => w.raw("NIL"),
        Some(fields) => w.list(fields, |w, (name, value)| {
            w.string(name);
            w.raw(" ");
            w.nstring(value.as_deref());
        }),
    }
}

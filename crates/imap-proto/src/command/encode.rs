use super::{Command, CommandBody, IdField, Notify, Pattern, StoreAction, urlauth};
use crate::list::Element;
use crate::write::{Literals, Writer};
use crate::{Mailbox, SequenceSet, base64};

/// A command as octets, and where to wait.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct EncodedCommand {
    /// Everything, with the final CRLF.
    pub bytes: Vec<u8>,
    /// Offsets into `bytes`, ascending: stop there until the server has sent `+`. Empty with LITERAL+.
    pub pauses: Vec<usize>,
    /// Offsets into `bytes`, ascending, and how many octets to send there by other means: one for each
    /// [`Payload::Streamed`](crate::Payload::Streamed). A pause at the same offset comes first.
    pub gaps: Vec<(usize, u64)>,
}

impl std::fmt::Debug for EncodedCommand {
    // It may hold a password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { bytes, pauses, gaps } = self;
        write!(f, "EncodedCommand({} octets, {} pauses, {} gaps)", bytes.len(), pauses.len(), gaps.len())
    }
}

impl Command<'_> {
    /// Encodes the command. Use [`Literals::NonSync`] only if the server advertised LITERAL+: others take the literal's
    /// octets for commands.
    pub fn encode(&self, literals: Literals) -> EncodedCommand {
        let mut encoded = EncodedCommand::default();
        let EncodedCommand { bytes, pauses, gaps } = &mut encoded;
        let mut w = Writer { out: bytes, literals, pauses: Some(pauses), gaps: Some(gaps) };
        w.raw(self.tag.as_bytes());
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
        C::Unauthenticate => w.raw("UNAUTHENTICATE"),
        C::Namespace => w.raw("NAMESPACE"),
        C::Idle => w.raw("IDLE"),
        C::Check => w.raw("CHECK"),
        C::Close => w.raw("CLOSE"),
        C::Unselect => w.raw("UNSELECT"),
        C::Expunge => w.raw("EXPUNGE"),
        C::Authenticate { mechanism, initial } => {
            w.word("AUTHENTICATE ", mechanism.as_str());
            match initial.as_ref().map(|i| i.expose()) {
                None => {}
                Some([]) => w.raw(" ="),
                Some(data) => {
                    w.raw(" ");
                    base64::encode(data, w.out);
                }
            }
        }
        C::Login { user, password } => {
            w.raw("LOGIN ");
            w.astring(user);
            w.raw(" ");
            w.astring(password.expose());
        }
        C::Enable(names) => {
            w.raw("ENABLE ");
            names.write_bare(w);
        }
        C::Id(fields) => {
            w.raw("ID ");
            write_id(w, fields.as_deref());
        }
        C::Compress(algorithm) => w.word("COMPRESS ", algorithm.as_str()),
        C::Notify(notify) => Notify::write(notify, w),
        _ => on_mailboxes(w, command),
    }
}

fn on_mailboxes(w: &mut Writer<'_>, command: &CommandBody<'_>) {
    use CommandBody as C;
    match command {
        C::Select { mailbox, params } | C::Examine { mailbox, params } => {
            let select = matches!(command, C::Select { .. });
            on_mailbox(w, if select { "SELECT " } else { "EXAMINE " }, mailbox);
            if !params.is_empty() {
                w.raw(" ");
                params.write_paren(w);
            }
        }
        C::Create { mailbox, params } => {
            on_mailbox(w, "CREATE ", mailbox);
            if !params.is_empty() {
                w.raw(" ");
                params.write_paren(w);
            }
        }
        C::Delete(m) => on_mailbox(w, "DELETE ", m),
        C::Subscribe(m) => on_mailbox(w, "SUBSCRIBE ", m),
        C::Unsubscribe(m) => on_mailbox(w, "UNSUBSCRIBE ", m),
        C::Rename { from, to } => {
            on_mailbox(w, "RENAME ", from);
            on_mailbox(w, " ", to);
        }
        C::List(list) => list.write(w),
        C::Lsub { reference, pattern } => listed(w, "LSUB ", reference, pattern),
        C::Rlist { reference, pattern } => listed(w, "RLIST ", reference, pattern),
        C::Rlsub { reference, pattern } => listed(w, "RLSUB ", reference, pattern),
        C::Status { mailbox, items } => {
            on_mailbox(w, "STATUS ", mailbox);
            w.raw(" ");
            items.write_paren(w);
        }
        C::Append { mailbox, messages } => {
            on_mailbox(w, "APPEND ", mailbox);
            messages.iter().for_each(|message| message.write(w));
        }
        _ => on_messages(w, command),
    }
}

fn listed(w: &mut Writer<'_>, verb: &str, reference: &Mailbox<'_>, pattern: &Pattern<'_>) {
    on_mailbox(w, verb, reference);
    w.raw(" ");
    pattern.write(w);
}

fn verb(w: &mut Writer<'_>, uid: bool, verb: &str) {
    w.word(if uid { "UID " } else { "" }, verb);
}

fn on_set(w: &mut Writer<'_>, uid: bool, name: &str, set: &SequenceSet) {
    verb(w, uid, name);
    set.encode(w.out);
}

fn on_messages(w: &mut Writer<'_>, command: &CommandBody<'_>) {
    use CommandBody as C;
    match command {
        C::UidExpunge(set) => on_set(w, true, "EXPUNGE ", set),
        C::Fetch { uid, set, items, modifiers } => {
            on_set(w, *uid, "FETCH ", set);
            w.raw(" ");
            items.write(w);
            if !modifiers.is_empty() {
                w.raw(" ");
                modifiers.write_paren(w);
            }
        }
        C::Store { uid, set, unchanged_since, action, silent, flags } => {
            on_set(w, *uid, "STORE ", set);
            write_unchanged_since(w, *unchanged_since);
            write_action(w, *action, "FLAGS", *silent);
            flags.write_paren(w);
        }
        C::Copy { uid, set, mailbox } => {
            on_set(w, *uid, "COPY ", set);
            on_mailbox(w, " ", mailbox);
        }
        C::Move { uid, set, mailbox } => {
            on_set(w, *uid, "MOVE ", set);
            on_mailbox(w, " ", mailbox);
        }
        C::Replace { uid, n, mailbox, message } => {
            verb(w, *uid, "REPLACE ");
            n.write(w);
            on_mailbox(w, " ", mailbox);
            message.write(w);
        }
        C::UidBatches { size, range } => {
            w.numbered("UIDBATCHES ", *size);
            if let Some((first, last)) = range {
                w.numbered(" ", *first);
                w.numbered(":", *last);
            }
        }
        _ => searches(w, command),
    }
}

fn searches(w: &mut Writer<'_>, command: &CommandBody<'_>) {
    use CommandBody as C;
    match command {
        C::Search { uid, returns, charset, keys } => {
            verb(w, *uid, "SEARCH");
            write_returns(w, returns.as_ref());
            write_charset(w, charset.as_deref());
            w.raw(" ");
            keys.write_bare(w);
        }
        C::MultiSearch(search) => {
            w.raw("ESEARCH");
            if let Some(mailboxes) = &search.mailboxes {
                w.raw(" IN ");
                mailboxes.write_paren(w);
            }
            write_returns(w, search.returns.as_ref());
            write_charset(w, search.charset.as_deref());
            w.raw(" ");
            search.keys.write_bare(w);
        }
        C::Sort { uid, returns, criteria, charset, keys } => {
            verb(w, *uid, "SORT");
            write_returns(w, returns.as_ref());
            w.raw(" ");
            criteria.write_paren(w);
            w.raw(" ");
            w.astring(charset);
            w.raw(" ");
            keys.write_bare(w);
        }
        C::Thread { uid, algorithm, charset, keys } => {
            verb(w, *uid, "THREAD ");
            w.word(algorithm.as_str(), " ");
            w.astring(charset);
            w.raw(" ");
            keys.write_bare(w);
        }
        C::CancelUpdate(tags) => {
            w.raw("CANCELUPDATE ");
            // Tags stand in quotes here (RFC 5267 section 4.3).
            w.spaced(tags, |w, tag| w.string(&tag));
        }
        _ => administration(w, command),
    }
}

fn write_returns(w: &mut Writer<'_>, returns: Option<&super::SearchReturns<'_>>) {
    if let Some(returns) = returns {
        w.raw(" RETURN ");
        returns.write_paren(w);
    }
}

fn write_charset(w: &mut Writer<'_>, charset: Option<&[u8]>) {
    if let Some(charset) = charset {
        w.raw(" CHARSET ");
        w.astring(charset);
    }
}

fn administration(w: &mut Writer<'_>, command: &CommandBody<'_>) {
    use CommandBody as C;
    match command {
        C::GetQuota(root) => {
            w.raw("GETQUOTA ");
            w.astring(root);
        }
        C::GetQuotaRoot(m) => on_mailbox(w, "GETQUOTAROOT ", m),
        C::SetQuota { root, limits } => {
            w.raw("SETQUOTA ");
            w.astring(root);
            w.raw(" ");
            limits.write_paren(w);
        }
        C::SetAcl { mailbox, identifier, change, rights } => {
            on_mailbox(w, "SETACL ", mailbox);
            w.raw(" ");
            w.astring(identifier);
            w.raw(" ");
            w.astring(&[change.name().as_bytes(), rights].concat());
        }
        C::DeleteAcl { mailbox, identifier } => {
            on_mailbox(w, "DELETEACL ", mailbox);
            w.raw(" ");
            w.astring(identifier);
        }
        C::GetAcl(m) => on_mailbox(w, "GETACL ", m),
        C::ListRights { mailbox, identifier } => {
            on_mailbox(w, "LISTRIGHTS ", mailbox);
            w.raw(" ");
            w.astring(identifier);
        }
        C::MyRights(m) => on_mailbox(w, "MYRIGHTS ", m),
        C::GetMetadata(get) => get.write(w),
        C::SetMetadata { mailbox, entries } => {
            on_mailbox(w, "SETMETADATA ", mailbox);
            w.raw(" ");
            entries.write_paren(w);
        }
        _ => of_rare_extensions(w, command),
    }
}

fn of_rare_extensions(w: &mut Writer<'_>, command: &CommandBody<'_>) {
    use CommandBody as C;
    match command {
        C::StoreAnnotation { uid, set, unchanged_since, entries } => {
            on_set(w, *uid, "STORE ", set);
            write_unchanged_since(w, *unchanged_since);
            w.raw(" ANNOTATION ");
            entries.write(w);
        }
        C::GenUrlAuth(urls) => urlauth::write_gen_url_auth(w, urls),
        C::ResetKey(of) => urlauth::write_reset_key(w, of.as_ref()),
        C::UrlFetch(urls) => {
            w.raw("URLFETCH ");
            urls.write_bare(w);
        }
        C::GetJmapAccess => w.raw("GETJMAPACCESS"),
        C::StoreLabels { uid, set, action, silent, labels } => {
            on_set(w, *uid, "STORE ", set);
            write_action(w, *action, "X-GM-LABELS", *silent);
            labels.write(w);
        }
        C::Language(tags) => urlauth::write_strings(w, "LANGUAGE", tags),
        C::Comparator(names) => urlauth::write_strings(w, "COMPARATOR", names),
        C::Convert { uid, set, to, items } => {
            on_set(w, *uid, "CONVERT ", set);
            w.raw(" ");
            to.write(w);
            w.raw(" ");
            items.write(w);
        }
        C::Conversions { from, to } => {
            w.raw("CONVERSIONS ");
            w.astring(from);
            w.raw(" ");
            w.astring(to);
        }
        // The others were written before.
        _ => {}
    }
}

fn write_action(w: &mut Writer<'_>, action: StoreAction, what: &str, silent: bool) {
    w.raw(match action {
        StoreAction::Replace => " ",
        StoreAction::Add => " +",
        StoreAction::Remove => " -",
    });
    w.word(what, if silent { ".SILENT " } else { " " });
}

fn write_unchanged_since(w: &mut Writer<'_>, mod_seq: Option<u64>) {
    if let Some(n) = mod_seq {
        w.numbered(" (UNCHANGEDSINCE ", n);
        w.raw(")");
    }
}

fn on_mailbox(w: &mut Writer<'_>, verb: &str, mailbox: &Mailbox<'_>) {
    w.raw(verb);
    w.astring(mailbox.as_wire());
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

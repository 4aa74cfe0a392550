//! What a session knows, and which command is allowed when.

use posthaste_imap_proto::{Atom, Capabilities, Code, CommandBody, Data, Response, Status, StatusKind};

use super::answer::{Answer, End, Stop, bad, no, odd_reply, ok};
use super::driver::wrong_state;
use super::view::View;
use crate::server::{Context, Peer};
use crate::store::{Op, Reply, StoreError, User};
use crate::wire::Wire;

pub(super) struct Session<'c> {
    pub(super) context: &'c Context,
    pub(super) peer: &'c Peer,
    pub(super) tls: bool,
    pub(super) user: Option<User>,
    pub(super) view: Option<View>,
    pub(super) failures: u32,
}

impl<'c> Session<'c> {
    pub(super) fn new(peer: &'c Peer, context: &'c Context) -> Self {
        Self { context, peer, tls: peer.tls, user: None, view: None, failures: 0 }
    }

    pub(super) fn greet(&self, out: &mut Vec<u8>) {
        let text = format!("{} ready", self.context.hostname);
        let status = Status::new(StatusKind::Ok, text).with_code(Code::Capability(self.capabilities()));
        Response::Status(status).encode(out);
    }

    /// TLS is up: all that was said before is forgotten.
    pub(super) fn secured(&mut self) {
        *self = Self { tls: true, failures: self.failures, ..Self::new(self.peer, self.context) };
    }

    pub(super) fn may_start_tls(&self) -> Result<Status<'static>, Status<'static>> {
        if self.context.tls.is_none() {
            return Err(bad("no TLS here"));
        }
        if self.tls || self.user.is_some() {
            return Err(bad("not now"));
        }
        Ok(ok("begin TLS"))
    }

    /// Whether passwords are taken now.
    pub(super) fn may_log_in(&self) -> bool {
        self.tls || self.context.plaintext_login
    }

    pub(super) fn capabilities(&self) -> Capabilities<'static> {
        let mut names = vec!["IMAP4rev1", "LITERAL+", "ID"];
        if self.user.is_some() {
            names.extend(["IDLE", "NAMESPACE", "UIDPLUS", "UNSELECT", "CHILDREN"]);
        } else {
            names.push("SASL-IR");
            if self.context.tls.is_some() && !self.tls {
                names.push("STARTTLS");
            }
            names.extend(if self.may_log_in() { &["AUTH=PLAIN"][..] } else { &["LOGINDISABLED"] });
        }
        names.into_iter().filter_map(Atom::new).collect()
    }

    /// Does an operation on the user's mail.
    pub(super) async fn call(&self, op: Op) -> Result<Reply, StoreError> {
        let Some(user) = &self.user else {
            return Err(StoreError::Internal("nobody is logged in".into()));
        };
        let reply = self.context.store.call(user, op).await;
        if let Err(error @ (StoreError::Unavailable(_) | StoreError::Internal(_))) = &reply {
            tracing::warn!(client = %self.peer.addr, %user, %error, "the mail store refused");
        }
        reply
    }

    pub(super) async fn call_done(&self, op: Op) -> Result<(), Stop> {
        match self.call(op).await? {
            Reply::Done => Ok(()),
            _ => Err(odd_reply()),
        }
    }

    /// All commands but those that read more from the client.
    pub(super) async fn command(&mut self, wire: &mut Wire, body: CommandBody<'static>) -> Answer {
        use CommandBody as C;
        match body {
            C::Capability => {
                Response::Data(Data::Capability(self.capabilities())).encode(&mut wire.out);
                Ok(ok("done"))
            }
            C::Noop => {
                self.look_again();
                Ok(ok("done"))
            }
            C::Id(_) => {
                let name = |text: &'static str| text.as_bytes().into();
                let fields =
                    vec![(name("name"), Some(name("Posthaste"))), (name("vendor"), Some(name("Posthaste")))];
                Response::Data(Data::Id(Some(fields))).encode(&mut wire.out);
                Ok(ok("done"))
            }
            C::Login { user, password } => self.login(&user, password.expose()).await,
            _ if self.user.is_none() => Ok(bad("log in first")),
            _ if unadvertised(&body) => Ok(bad("that extension is not known here")),
            C::Select { .. }
            | C::Examine { .. }
            | C::Create { .. }
            | C::Delete(_)
            | C::Rename { .. }
            | C::Subscribe(_)
            | C::Unsubscribe(_)
            | C::List(_)
            | C::Lsub { .. }
            | C::Status { .. }
            | C::Namespace => self.on_mailboxes(wire, body).await,
            _ if self.view.is_none() => Ok(bad("select a mailbox first")),
            _ => self.on_messages(wire, body).await,
        }
    }

    async fn on_mailboxes(&mut self, wire: &mut Wire, body: CommandBody<'static>) -> Answer {
        use CommandBody as C;
        match body {
            C::Select { mailbox, .. } => self.select(wire, &mailbox, false).await,
            C::Examine { mailbox, .. } => self.select(wire, &mailbox, true).await,
            C::Create { mailbox, .. } => self.create(&mailbox).await,
            C::Delete(mailbox) => self.delete(&mailbox).await,
            C::Rename { from, to } => self.rename(&from, &to).await,
            C::Subscribe(mailbox) => self.subscribe(&mailbox, true).await,
            C::Unsubscribe(mailbox) => self.subscribe(&mailbox, false).await,
            C::List(list) => self.list_all(wire, &list).await,
            C::Lsub { reference, pattern } => self.list(wire, &reference, &pattern, true).await,
            C::Status { mailbox, items } => self.status(wire, mailbox, &items).await,
            C::Namespace => {
                Self::namespace(wire);
                Ok(ok("done"))
            }
            _ => Ok(wrong_state()),
        }
    }

    async fn on_messages(&mut self, wire: &mut Wire, body: CommandBody<'static>) -> Answer {
        use CommandBody as C;
        match body {
            C::Check => {
                self.look_again();
                Ok(ok("done"))
            }
            C::Close => self.close().await,
            C::Unselect => {
                self.view = None;
                Ok(ok("done"))
            }
            C::Expunge => self.expunge(None).await,
            C::UidExpunge(set) => self.expunge(Some(&set)).await,
            C::Search { uid, charset, keys, .. } => self.search(wire, uid, charset.as_deref(), &keys).await,
            C::Fetch { uid, set, items, .. } => self.fetch(wire, uid, &set, &items).await,
            C::Store { uid, set, action, silent, flags, .. } => {
                self.store(wire, (uid, &set), action, silent, &flags).await
            }
            C::Copy { uid, set, mailbox } => self.copy(uid, &set, &mailbox).await,
            _ => Ok(wrong_state()),
        }
    }

    /// The client asks for news.
    fn look_again(&mut self) {
        if let Some(view) = &mut self.view {
            view.hinted = true;
        }
    }

    /// Asks the store for what changed, where it may have, and tells the client.
    pub(super) async fn catch_up(&mut self, out: &mut Vec<u8>, expunge: bool) -> Result<(), End> {
        let Some(view) = &mut self.view else { return Ok(()) };
        view.poll_hints();
        if view.hinted {
            match self.pull().await {
                Ok(()) => {}
                Err(StoreError::NoMailbox(_)) => return self.mailbox_gone(out),
                // The next command asks again.
                Err(error) => tracing::debug!(client = %self.peer.addr, %error, "no news of the mailbox"),
            }
        }
        match &mut self.view {
            Some(view) => view.tell(out, expunge),
            None => {
                let status = Status::new(StatusKind::Bye, "the mailbox has a new UIDVALIDITY, connect again");
                return Err(End::Bye(status));
            }
        }
        Ok(())
    }

    fn mailbox_gone(&mut self, out: &mut Vec<u8>) -> Result<(), End> {
        self.view = None;
        Response::Status(no(Code::NonExistent, "the mailbox is gone and no longer selected")).encode(out);
        Ok(())
    }

    /// Brings the view up to date; no view is left if its UIDs mean nothing any more.
    pub(super) async fn pull(&mut self) -> Result<(), StoreError> {
        let Some(view) = &mut self.view else { return Ok(()) };
        if view.watch.is_none() {
            // Before asking, so that no change falls between.
            if let Some(user) = &self.user {
                view.watch = self.context.store.watch(user, &view.name).await.ok();
            }
        }
        let (name, since, uid_validity) = (view.name.clone(), view.modseq, view.uid_validity);
        let changes = Op::Changes { name, since, uid_validity, peek: view.read_only };
        let reply = self.call(changes).await?;
        let Some(view) = &mut self.view else { return Ok(()) };
        view.hinted = view.watch.is_none();
        match reply {
            Reply::Changes(changes) => view.apply(changes),
            Reply::Snapshot(snapshot) if snapshot.uid_validity == view.uid_validity => {
                view.apply_snapshot(snapshot);
            }
            Reply::Snapshot(_) => self.view = None,
            _ => return Err(StoreError::Internal("an answer of another kind".into())),
        }
        Ok(())
    }
}

/// Whether a command uses syntax of an extension that is not advertised: to pass over it would do something else than asked.
fn unadvertised(body: &CommandBody<'_>) -> bool {
    use CommandBody as C;
    match body {
        C::Select { params, .. } | C::Examine { params, .. } => !params.is_empty(),
        C::Create { params, .. } => !params.is_empty(),
        C::Search { returns, .. } => returns.is_some(),
        C::Fetch { modifiers, set, .. } => !modifiers.is_empty() || set.is_saved(),
        C::Store { unchanged_since, set, .. } => unchanged_since.is_some() || set.is_saved(),
        C::Copy { set, .. } | C::UidExpunge(set) => set.is_saved(),
        _ => false,
    }
}

//! SELECT, EXAMINE, CLOSE.

use std::num::NonZeroU32;

use posthaste_imap_proto::{Code, Data, Flag, Mailbox, Response, Status, StatusKind};

use super::answer::{Answer, Stop, no, odd_reply, ok};
use super::session::Session;
use super::view::{SEEN, View};
use crate::store::{MailboxName, Op, Reply};
use crate::wire::Wire;

/// Distinct keywords that a mailbox has room for.
const KEYWORDS_MAX: usize = 26;

/// The name as the store has it.
pub(super) fn store_name(mailbox: &Mailbox<'_>) -> Result<MailboxName, Stop> {
    let cannot = |why: String| Stop::from(no(Code::Cannot, why));
    let name = mailbox.decode().map_err(|e| cannot(e.to_string()))?;
    MailboxName::parse(&name).map_err(|e| cannot(e.to_string()))
}

impl Session<'_> {
    pub(super) async fn select(&mut self, wire: &mut Wire, mailbox: &Mailbox<'_>, read_only: bool) -> Answer {
        // Whatever becomes of it, the mailbox before is no longer selected (RFC 3501 section 6.3.1).
        self.view = None;
        let name = store_name(mailbox)?;
        let Some(user) = &self.user else { return Err(odd_reply()) };
        // Watched before it is read, so that no change falls between.
        let watch = self.context.store.watch(user, &name).await.ok();
        let look = if read_only { Op::Peek(name.clone()) } else { Op::Open(name.clone()) };
        let Reply::Snapshot(snapshot) = self.call(look).await? else { return Err(odd_reply()) };
        let view = View::new(name, read_only, snapshot, watch);
        tell_selected(&view, &mut wire.out);
        self.view = Some(view);
        Ok(match read_only {
            true => ok("examined").with_code(Code::ReadOnly),
            false => ok("selected").with_code(Code::ReadWrite),
        })
    }

    pub(super) async fn close(&mut self) -> Answer {
        if let Some(mut view) = self.view.take().filter(|view| !view.read_only) {
            view.poll_hints();
            // Nothing to do is worth no operation.
            if view.hinted || view.entries.iter().any(|e| e.flags.has(super::view::DELETED)) {
                let op = Op::Expunge { name: view.name, uids: None, even_undeleted: false };
                self.call(op).await?;
            }
        }
        Ok(ok("closed"))
    }
}

fn tell_selected(view: &View, out: &mut Vec<u8>) {
    let known = view.known_flags();
    let permanent = match view.read_only {
        true => Vec::new(),
        false => {
            let more = (view.keywords.len() < KEYWORDS_MAX).then_some(Flag::NewKeywords);
            known.iter().cloned().chain(more).collect()
        }
    };
    let mut code = |code: Code<'_>, text: &'static str| {
        Response::Status(Status::new(StatusKind::Ok, text).with_code(code)).encode(out);
    };
    code(Code::PermanentFlags(permanent.into_iter().collect()), "flags that last");
    if let Some(n) = NonZeroU32::new(view.uid_validity) {
        code(Code::UidValidity(n), "UIDs are valid");
    }
    if let Some(n) = NonZeroU32::new(view.uid_next) {
        code(Code::UidNext(n), "the next UID");
    }
    let unseen = view.entries.iter().position(|e| !e.flags.has(SEEN));
    if let Some(n) = unseen.and_then(|at| NonZeroU32::new(at as u32 + 1)) {
        code(Code::Unseen(n), "the first unseen message");
    }
    Response::Data(Data::Flags(known.into_iter().collect())).encode(out);
    Response::Data(Data::Exists(view.entries.len() as u32)).encode(out);
    Response::Data(Data::Recent(view.recent() as u32)).encode(out);
}

//! STORE, COPY, EXPUNGE.

use std::num::NonZeroU32;

use posthaste_imap_proto::{
    Code, Flag, Flags as WireFlags, IdSet, Mailbox, SeqNum, SeqRange, SequenceSet, StoreAction,
};

use super::answer::{Answer, Stop, bad, no, odd_reply, ok, target_refusal};
use super::select::store_name;
use super::session::Session;
use super::view::View;
use crate::base_name;
use crate::store::{FlagChange, Flags, Message, Op, Reply};
use crate::wire::Wire;

/// Flags as the store has them; `None` if one of them is none that it knows.
pub(super) fn store_flags(flags: &WireFlags<'_>) -> Option<Flags> {
    let mut set = Flags::default();
    for flag in flags {
        match flag {
            Flag::Seen => set.seen = true,
            Flag::Answered => set.answered = true,
            Flag::Flagged => set.flagged = true,
            Flag::Deleted => set.deleted = true,
            Flag::Draft => set.draft = true,
            // The server's own.
            Flag::Recent => {}
            Flag::Keyword(name) => set.keywords.push(name.as_str().to_owned()),
            Flag::Extension(_) | Flag::NewKeywords => return None,
        }
    }
    set.keywords.sort();
    set.keywords.dedup();
    Some(set)
}

impl Session<'_> {
    /// The view and the indices that a set means in it.
    pub(super) fn chosen(&mut self, set: &SequenceSet, uid: bool) -> Result<(&mut View, Vec<usize>), Stop> {
        let Some(view) = &mut self.view else { return Err(bad("select a mailbox first").into()) };
        match view.resolve(set, uid) {
            Ok(chosen) => Ok((view, chosen)),
            Err(_) => Err(bad("no such message").into()),
        }
    }

    pub(super) async fn store(
        &mut self,
        wire: &mut Wire,
        (uid, set): (bool, &SequenceSet),
        action: StoreAction,
        silent: bool,
        flags: &WireFlags<'_>,
    ) -> Answer {
        let (view, chosen) = self.chosen(set, uid)?;
        let uids: Vec<u32> = chosen.iter().map(|at| view.entries[*at].uid).collect();
        if view.read_only {
            return Ok(no(Code::Cannot, "the mailbox is selected read-only"));
        }
        let Some(flags) = store_flags(flags) else { return Ok(bad("unknown system flag")) };
        if uids.is_empty() {
            return Ok(ok("nothing to do"));
        }
        let name = view.name.clone();
        let (change, asked) = (flag_change(action), uids.len());
        let reply = self.call(Op::Store { name, uids, change, flags: flags.clone() }).await?;
        let Reply::Messages(messages) = reply else { return Err(odd_reply()) };
        for message in &messages {
            self.tell_stored(wire, message, silent, change, &flags);
            wire.flush_if_much().await?;
        }
        if messages.len() < asked && !uid {
            return Ok(no(Code::ExpungeIssued, "some of the messages are gone"));
        }
        Ok(ok("stored"))
    }

    /// A silent STORE tells only what the client cannot expect: that somebody else changed the flags too.
    fn tell_stored(
        &mut self,
        wire: &mut Wire,
        message: &Message,
        silent: bool,
        change: FlagChange,
        flags: &Flags,
    ) {
        let Some(view) = &mut self.view else { return };
        let Ok(at) = view.entries.binary_search_by_key(&message.uid, |e| e.uid) else { return };
        let before = view.entries[at];
        view.upsert_told(message);
        if !silent {
            return view.tell_flags(&mut wire.out, at);
        }
        let expected = view.expect(&before, change, flags);
        if expected != view.entries[at].flags {
            view.tell_flags(&mut wire.out, at);
        }
    }

    pub(super) async fn copy(&mut self, uid: bool, set: &SequenceSet, mailbox: &Mailbox<'_>) -> Answer {
        let hostname = &self.context.hostname;
        let to = store_name(mailbox)?;
        let (view, chosen) = self.chosen(set, uid)?;
        let uids = chosen.iter().map(|at| view.entries[*at].uid);
        let messages: Vec<_> = uids.map(|uid| (uid, base_name(hostname))).collect();
        if messages.is_empty() {
            return Ok(ok("nothing to copy"));
        }
        let (from, asked) = (view.name.clone(), messages.len());
        view.hinted |= from == to;
        let reply = self.call(Op::Copy { from, to, messages }).await.map_err(|e| target_refusal(&e))?;
        let Reply::Copied { uid_validity, uids } = reply else { return Err(odd_reply()) };
        let (from, to): (Vec<u32>, Vec<u32>) = uids.iter().copied().unzip();
        if from.len() < asked && !uid {
            return Ok(no(Code::ExpungeIssued, "some of the messages are gone"));
        }
        let copied = ok("copied");
        Ok(match (NonZeroU32::new(uid_validity), in_order(&from), in_order(&to)) {
            (Some(uid_validity), Some(from), Some(to)) => {
                copied.with_code(Code::CopyUid { uid_validity, from, to })
            }
            _ => copied,
        })
    }

    pub(super) async fn expunge(&mut self, set: Option<&SequenceSet>) -> Answer {
        let Some(view) = &mut self.view else { return Ok(bad("select a mailbox first")) };
        if view.read_only {
            return Ok(no(Code::Cannot, "the mailbox is selected read-only"));
        }
        let uids = match set {
            None => None,
            Some(set) => {
                let (view, chosen) = self.chosen(set, true)?;
                Some(chosen.iter().map(|at| view.entries[*at].uid).collect::<Vec<_>>())
            }
        };
        if uids.as_ref().is_some_and(Vec::is_empty) {
            return Ok(ok("nothing to do"));
        }
        let Some(view) = &self.view else { return Err(odd_reply()) };
        let name = view.name.clone();
        let Reply::Vanished(gone) = self.call(Op::Expunge { name, uids, even_undeleted: false }).await?
        else {
            return Err(odd_reply());
        };
        if let Some(view) = &mut self.view {
            view.vanish(gone);
        }
        Ok(ok("expunged"))
    }
}

fn flag_change(action: StoreAction) -> FlagChange {
    match action {
        StoreAction::Replace => FlagChange::Replace,
        StoreAction::Add => FlagChange::Add,
        StoreAction::Remove => FlagChange::Remove,
    }
}

/// UIDs as a set that keeps their order: the n-th of one set in COPYUID belongs to the n-th of the other.
fn in_order(uids: &[u32]) -> Option<SequenceSet> {
    let ascending = uids.windows(2).all(|w| w[0] < w[1]);
    if ascending {
        return SequenceSet::from_ids(&uids.iter().copied().collect::<IdSet>());
    }
    let number = |uid| NonZeroU32::new(uid).map(SeqNum::Number);
    let ranges = uids.iter().filter_map(|uid| Some(SeqRange { start: number(*uid)?, end: number(*uid)? }));
    SequenceSet::new(ranges)
}

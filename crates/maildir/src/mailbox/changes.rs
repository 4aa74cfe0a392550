//! What happened since somebody looked last.

use super::fetch::describe;
use super::state::State;
use super::{Mailbox, Message};
use crate::error::Error;
use crate::keywords::Keyword;
use crate::store::Store;

/// Changes since a change number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changes {
    /// UIDVALIDITY.
    pub uid_validity: u32,
    /// UIDNEXT.
    pub uid_next: u32,
    /// The change number now.
    pub modseq: u64,
    /// Keywords that have a letter.
    pub keywords: Vec<Keyword>,
    /// New messages, and those whose flags changed; UIDs ascending.
    pub changed: Vec<Message>,
    /// UIDs that are gone, ascending.
    pub vanished: Vec<u32>,
    /// As in [`super::Snapshot`].
    pub recent: Vec<u32>,
}

impl<S: Store> Mailbox<S> {
    /// What changed since the change number `since` of an earlier answer; `None` if that is not
    /// known any more (or UIDVALIDITY changed): take a new [`Mailbox::snapshot`].
    pub fn changes_since(&self, since: u64) -> Result<Option<Changes>, Error> {
        self.changes(since, State::take_recent)
    }

    /// As [`Mailbox::changes_since`]; what is recent stays so.
    pub fn peek_changes_since(&self, since: u64) -> Result<Option<Changes>, Error> {
        self.changes(since, State::peek_recent)
    }

    fn changes(&self, since: u64, recent: fn(&mut State) -> Vec<u32>) -> Result<Option<Changes>, Error> {
        self.sync()?;
        let state = self.state();
        let newer = state.entries.iter().filter(|entry| entry.modseq > since);
        let unknown: Vec<u32> = newer.filter(|entry| entry.facts.is_none()).map(|entry| entry.uid).collect();
        drop(state);
        for uid in unknown {
            // Gone again already: then it is not among the changed below.
            match self.message(uid) {
                Ok(_) | Err(Error::Gone { .. }) => {}
                Err(e) => return Err(e),
            }
        }
        Ok(self.collect(since, recent))
    }

    fn collect(&self, since: u64, recent: fn(&mut State) -> Vec<u32>) -> Option<Changes> {
        let mut state = self.state();
        let vanished = state.vanished_since(since)?;
        let uids = state.uids.as_ref()?;
        let newer = state.entries.iter().filter(|entry| entry.modseq > since);
        Some(Changes {
            uid_validity: uids.validity(),
            uid_next: uids.next_uid().unwrap_or(u32::MAX),
            modseq: state.modseq(),
            keywords: state.keywords.all(),
            changed: newer.map(|entry| describe(&state, entry)).collect(),
            vanished,
            recent: recent(&mut state),
        })
    }
}

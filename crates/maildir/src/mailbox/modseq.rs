//! Keeping change numbers between openings.
//!
//! The file is a picture of some moment, written now and then. What happened after it is found by
//! comparing it with the mailbox: what looks different gets a new number, and every UID given out
//! since that is not there counts as vanished just now. So what a client is told may be more than
//! it missed, and never less.

use std::io;

use super::Mailbox;
use super::state::State;
use crate::cache::ModSeqs;
use crate::error::{Doing, Error};
use crate::store::{Durability, Store};

const FILE: &[u8] = b"posthaste-modseq";

impl<S: Store> Mailbox<S> {
    pub(super) fn save_modseqs(&self) -> Result<(), Error> {
        let Some(told) = self.state().unsaved() else { return Ok(()) };
        // The picture must not be durable before what it shows: a message that it shows to be gone
        // would come back as another one.
        self.store.commit().doing("write change numbers")?;
        self.store
            .control_replace(&self.dirs.root, FILE, &told.render(), Durability::None)
            .doing("write change numbers")?;
        self.state().saved(told.modseq);
        Ok(())
    }

    /// The change numbers that an earlier holder of the mailbox has told.
    pub(super) fn saved_modseqs(&self, state: &State) -> Result<Option<ModSeqs>, Error> {
        if !self.config.keep_cache {
            return Ok(None);
        }
        let bytes = match self.store.control_read(&self.dirs.root, FILE, 0) {
            Ok((bytes, _)) => bytes,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(Error::io("read change numbers", e)),
        };
        let validity = state.uids.as_ref().map(crate::uidlist::UidList::validity);
        let told = ModSeqs::parse(&bytes).filter(|told| Some(told.validity) == validity);
        if told.is_none() {
            tracing::warn!("posthaste-modseq is damaged or of another UIDVALIDITY: not used");
        }
        Ok(told)
    }
}

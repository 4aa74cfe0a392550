//! Removing messages.

use std::io;

use super::sync::Locked;
use super::{Mailbox, STRETCH};
use crate::error::Error;
use crate::flags::Flags;
use crate::store::Store;

impl<S: Store> Mailbox<S> {
    /// Removes messages: those of `uids` (all, if `None`), and of them only those marked
    /// [`Flags::TRASHED`] if `only_trashed`. Returns the UIDs that are gone now, ascending: also
    /// those of `uids` that were gone before, so a retry gets the same answer.
    pub fn expunge(&self, uids: Option<&[u32]>, only_trashed: bool) -> Result<Vec<u32>, Error> {
        let sorted = uids.map(|uids| {
            let mut sorted = uids.to_vec();
            sorted.sort_unstable();
            sorted.dedup();
            sorted
        });
        let wanted = |uid: &u32| sorted.as_ref().is_none_or(|uids| uids.binary_search(uid).is_ok());
        let (mut gone, mut behind) = (Vec::new(), 0);
        loop {
            let mut locked = self.locked()?;
            let left = locked.state.entries.iter().filter(|entry| entry.uid > behind);
            let doomed = left
                .filter(|entry| wanted(&entry.uid))
                .filter(|entry| !only_trashed || entry.flags().contains(Flags::TRASHED))
                .map(|entry| entry.uid);
            let doomed: Vec<u32> = doomed.take(STRETCH).collect();
            locked.unlink(&doomed)?;
            behind = doomed.last().copied().unwrap_or(0);
            let whole = doomed.len() == STRETCH;
            gone.extend(doomed);
            // Others get their turn in between: nobody waits long.
            if whole {
                continue;
            }
            let Some(wanted) = sorted else { return Ok(gone) };
            return Ok(wanted.into_iter().filter(|uid| locked.state.entry(*uid).is_none()).collect());
        }
    }
}

impl<S: Store> Locked<'_, S> {
    fn unlink(&mut self, doomed: &[u32]) -> Result<(), Error> {
        let mut gone = Vec::with_capacity(doomed.len());
        let mut result = Ok(());
        let mut sizes = Vec::new();
        for (step, uid) in doomed.iter().enumerate() {
            match self.still_ours(step).and_then(|()| self.unlink_one(*uid)) {
                Ok(Some(size)) => {
                    gone.push(*uid);
                    sizes.push(size);
                }
                Ok(None) => {}
                Err(e) => {
                    result = Err(e);
                    break;
                }
            }
        }
        self.mailbox.charge(-1, sizes.into_iter());
        self.state.remove(&gone);
        match gone.len() == doomed.len() {
            true => self.note_own_changes(),
            false => {
                // Somebody renamed without the lock: look again, and leave the rest to a retry.
                self.state.cur_seen = None;
                result
            }
        }
    }

    /// The size of what was removed; `None` if the file has another name by now, or none.
    fn unlink_one(&self, uid: u32) -> Result<Option<u64>, Error> {
        let Some(name) = self.state.entry(uid).map(|entry| self.state.name(entry)) else { return Ok(None) };
        let (store, cur) = (&self.mailbox.store, &self.mailbox.dirs.cur);
        let size = match (name.base_size(), &self.mailbox.quota) {
            (Some(size), _) => size,
            (None, None) => 0,
            (None, Some(_)) => store.stat(cur, name.as_bytes()).map_or(0, |meta| meta.len),
        };
        match store.unlink(cur, name.as_bytes()) {
            Ok(()) => Ok(Some(size)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(Error::io(format!("expunge message {uid}"), e)),
        }
    }
}

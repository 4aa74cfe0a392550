//! Changing flags: a rename, computed from the name on disk, so that two writers' changes survive.

use std::io;

use super::sync::Locked;
use super::{Mailbox, Message, STRETCH};
use crate::error::Error;
use crate::flags::Flags;
use crate::keywords::Keyword;
use crate::store::Store;

/// How often a message that others rename meanwhile is looked up again.
const TRIES: usize = 10;

/// How flags change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlagChange {
    /// Sets the given ones.
    Add,
    /// Clears the given ones.
    Remove,
    /// Makes the flags that IMAP knows, and the keywords that have a name, the given ones. Other
    /// letters (`P`, unknown ones) stay.
    Set,
}

impl<S: Store> Mailbox<S> {
    /// Changes flags of messages: capital letters of `flags`, and `keywords`. Returns the messages
    /// that are still there, as they are now.
    ///
    /// [`Error::KeywordsFull`] if a keyword that must be set gets no letter; nothing is changed.
    pub fn change_flags(
        &self,
        uids: &[u32],
        how: FlagChange,
        flags: Flags,
        keywords: &[Keyword],
    ) -> Result<Vec<Message>, Error> {
        let system = flags.minus(Flags::KEYWORDS);
        // Others get their turn in between: nobody waits long.
        for some in uids.chunks(STRETCH) {
            let mut locked = self.locked()?;
            let letters = match how {
                FlagChange::Remove => locked.letters_known(keywords),
                FlagChange::Add | FlagChange::Set => locked.letters(keywords)?,
            };
            locked.rename_all(some, how, system.union(letters))?;
        }
        let there = uids.iter().filter_map(|uid| match self.message(*uid) {
            Err(Error::Gone { .. }) => None,
            other => Some(other),
        });
        there.collect()
    }
}

impl FlagChange {
    fn apply(self, old: Flags, wanted: Flags, settable: Flags) -> Flags {
        match self {
            Self::Add => old.union(wanted),
            Self::Remove => old.minus(wanted),
            Self::Set => old.minus(settable).union(wanted),
        }
    }
}

impl<S: Store> Locked<'_, S> {
    /// Letters for keywords, giving new ones a letter.
    pub(super) fn letters(&mut self, keywords: &[Keyword]) -> Result<Flags, Error> {
        let mut table = self.state.keywords.clone();
        let letters = keywords
            .iter()
            .map(|keyword| table.assign(keyword).ok_or(Error::KeywordsFull))
            .try_fold(Flags::EMPTY, |all, letter| letter.map(|letter| all.union(letter)))?;
        if self.letters_known(keywords) != letters {
            self.write_keywords(table)?;
        }
        Ok(letters)
    }

    /// Letters for as many keywords as have one or can get one.
    pub(super) fn letters_that_fit(&mut self, keywords: &[Keyword]) -> Result<Flags, Error> {
        keywords.iter().try_fold(Flags::EMPTY, |all, keyword| {
            match self.letters(std::slice::from_ref(keyword)) {
                Ok(letter) => Ok(all.union(letter)),
                Err(Error::KeywordsFull) => Ok(all),
                Err(e) => Err(e),
            }
        })
    }

    fn letters_known(&self, keywords: &[Keyword]) -> Flags {
        let known = keywords.iter().filter_map(|keyword| self.state.keywords.find(keyword));
        known.fold(Flags::EMPTY, Flags::union)
    }

    fn rename_all(&mut self, uids: &[u32], how: FlagChange, wanted: Flags) -> Result<(), Error> {
        let mut todo = uids.to_vec();
        for _ in 0..TRIES {
            let mut missed = Vec::new();
            for (step, uid) in todo.into_iter().enumerate() {
                self.still_ours(step)?;
                match self.rename_one(uid, how, wanted) {
                    Ok(true) => {}
                    Ok(false) => missed.push(uid),
                    Err(e) => {
                        self.state.cur_seen = None;
                        return Err(e);
                    }
                }
            }
            if missed.is_empty() {
                return self.note_own_changes();
            }
            self.state.cur_seen = None;
            self.sync()?;
            todo = missed;
        }
        Ok(())
    }

    /// False if the file is not there under the name that we know.
    fn rename_one(&mut self, uid: u32, how: FlagChange, wanted: Flags) -> Result<bool, Error> {
        let Some(at) = self.state.index(uid) else { return Ok(true) };
        let old = self.state.name(&self.state.entries[at]);
        let flags = how.apply(old.flags(), wanted, self.state.settable());
        if flags == old.flags() {
            return Ok(true);
        }
        let new = old.with_flags(flags);
        let (store, cur) = (&self.mailbox.store, &self.mailbox.dirs.cur);
        match store.rename(cur, old.as_bytes(), cur, new.as_bytes()) {
            Ok(()) => {
                self.state.rename(at, new);
                Ok(true)
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(Error::io(format!("change the flags of message {uid}"), e)),
        }
    }
}

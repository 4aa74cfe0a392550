//! Copying between mailboxes of one store: a second name for the same immutable file.

use std::io::{self, Read};

use super::fetch::Found;
use super::sync::Locked;
use super::{Mailbox, Message};
use crate::error::{Doing, Error};
use crate::flags::Flags;
use crate::name::{BaseName, FileName};
use crate::store::{Durability, Publish, Store};

/// One message that is in the target now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Copied {
    /// UID in the source.
    pub from: u32,
    /// UID in the target.
    pub to: u32,
    /// False: it was there before, and nothing was changed.
    pub new: bool,
}

/// A copy in the target's `tmp`, with what it will be.
struct Ready<'a> {
    message: Message,
    base: BaseName,
    tmp_name: &'a BaseName,
}

impl<S: Store> Mailbox<S> {
    /// Copies messages with flags, keywords and dates to another mailbox (or this one) of the same
    /// store. Each copy gets the identity that is given with its UID; sizes are added. Messages
    /// that are gone are left out, unless the target has their copies from an earlier try. After an
    /// error none is copied.
    ///
    /// Holds at most one mailbox's lock at a time.
    pub fn copy(&self, to: &Self, items: &[(u32, BaseName)]) -> Result<Vec<Copied>, Error> {
        self.sync()?;
        to.sync()?;
        let result = self.try_copy(to, items);
        if result.is_err() {
            for (_, base) in items {
                let _ = to.store.unlink(&to.dirs.tmp, base.as_bytes());
            }
        }
        result
    }

    /// Copies messages as [`Mailbox::copy`], makes that durable, and removes the originals. After a
    /// crash a message is in one of the two or in both, never in none; a retry with the same names
    /// does what is left.
    pub fn move_to(&self, to: &Self, items: &[(u32, BaseName)]) -> Result<Vec<Copied>, Error> {
        let copied = self.copy(to, items)?;
        if !copied.is_empty() {
            to.store.commit().doing("move messages")?;
            let moved: Vec<u32> = copied.iter().map(|copy| copy.from).collect();
            self.expunge(Some(&moved), false)?;
        }
        Ok(copied)
    }

    fn try_copy(&self, to: &Self, items: &[(u32, BaseName)]) -> Result<Vec<Copied>, Error> {
        let mut copied = Vec::new();
        let mut ready = Vec::new();
        for (uid, base) in items {
            match to.recorded(base) {
                Some(there) => copied.push(Copied { from: *uid, to: there, new: false }),
                None => ready.extend(self.link_to_tmp(to, *uid, base)?),
            }
        }
        if !ready.is_empty() {
            to.check_quota(ready.iter().filter_map(|r| r.base.size()).sum(), ready.len() as u64)?;
            to.locked()?.take_in(ready, &mut copied)?;
        }
        copied.sort_unstable_by_key(|copy| copy.from);
        Ok(copied)
    }

    fn recorded(&self, base: &BaseName) -> Option<u32> {
        self.state().uids.as_ref().and_then(|list| list.uid_of_stem(base.stem()))
    }

    fn link_to_tmp<'a>(&self, to: &Self, uid: u32, base: &'a BaseName) -> Result<Option<Ready<'a>>, Error> {
        let linked = self.with_file(uid, |found| {
            let link =
                || self.store.link(&self.dirs.cur, found.name.as_bytes(), &to.dirs.tmp, base.as_bytes());
            match link() {
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                    // From an earlier try that did not come to its end.
                    self.store.unlink(&to.dirs.tmp, base.as_bytes())?;
                    link()
                }
                Err(e) if e.kind() == io::ErrorKind::Unsupported => self.copy_bytes(to, found, base),
                other => other,
            }
        });
        match linked {
            Ok(()) => {}
            Err(Error::Gone { .. }) => return Ok(None),
            Err(e) => return Err(e),
        }
        let message = self.message(uid)?;
        let size = match message.base.size() {
            Some(size) => size,
            None => self.store.stat(&to.dirs.tmp, base.as_bytes()).doing("copy a message")?.len,
        };
        Ok(Some(Ready { base: base.with_sizes(size, message.size)?, message, tmp_name: base }))
    }

    /// Where files cannot have two names.
    fn copy_bytes(&self, to: &Self, found: &Found, base: &BaseName) -> io::Result<()> {
        let mut content = Vec::new();
        self.store.open(&self.dirs.cur, found.name.as_bytes())?.read_to_end(&mut content)?;
        let date = self.store.stat(&self.dirs.cur, found.name.as_bytes())?.modified;
        let staged = to.stage(&content, Some(date)).map_err(|e| match e {
            Error::Io { source, .. } => source,
            other => io::Error::other(other),
        })?;
        let publish = Publish { staged, dir: to.dirs.tmp.clone(), name: base.as_bytes().to_vec() };
        self.store.publish(vec![publish], Durability::None)?.into_iter().collect()
    }
}

impl<S: Store> Locked<'_, S> {
    /// Moves copies from `tmp` to `cur` and gives them UIDs: all, or none.
    fn take_in(&mut self, ready: Vec<Ready<'_>>, copied: &mut Vec<Copied>) -> Result<(), Error> {
        let mut names = Vec::new();
        let mut from = Vec::new();
        for (step, item) in ready.into_iter().enumerate() {
            if let Some(there) = self.find(&item.base) {
                copied.push(Copied { from: item.message.uid, to: there, new: false });
                continue;
            }
            let moved = self.still_ours(step).and_then(|()| self.move_in(&item));
            match moved {
                Ok(name) => names.push(name),
                Err(e) => {
                    self.take_back(&names);
                    return Err(e);
                }
            }
            from.push(item.message.uid);
        }
        if names.is_empty() {
            return Ok(());
        }
        let sizes: Vec<u64> = names.iter().filter_map(FileName::base_size).collect();
        let uids = self.enter(names)?;
        self.mailbox.charge(1, sizes.into_iter());
        copied.extend(from.into_iter().zip(uids).map(|(from, to)| Copied { from, to, new: true }));
        Ok(())
    }

    fn move_in(&mut self, item: &Ready<'_>) -> Result<FileName, Error> {
        let letters = self.letters_that_fit(&item.message.keywords)?;
        let name = FileName::new(&item.base, item.message.flags.minus(Flags::KEYWORDS).union(letters));
        let (store, dirs) = (&self.mailbox.store, &self.mailbox.dirs);
        store
            .rename(&dirs.tmp, item.tmp_name.as_bytes(), &dirs.cur, name.as_bytes())
            .doing("move a copy to cur")?;
        Ok(name)
    }
}

//! Adding messages: to `new` without any lock, or to `cur` with flags, date and UID.

use std::io::{self, Write};
use std::time::SystemTime;

use super::Mailbox;
use super::sync::Locked;
use crate::error::{Doing, Error};
use crate::flags::Flags;
use crate::generate::wire_len;
use crate::keywords::Keyword;
use crate::name::{BaseName, FileName};
use crate::store::{Durability, Publish, Store};

/// A message to be put into `new`.
#[derive(Debug, Clone)]
pub struct Delivery<'a> {
    /// The identity that it must have, with which a retry finds the first try; made up if `None`.
    /// Sizes (`,S=`, `,W=`) are added if it has none, and checked if it has.
    pub base: Option<BaseName>,
    /// The message.
    pub content: &'a [u8],
}

/// What became of a [`Delivery`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivered {
    /// The message's identity, with sizes.
    pub base: BaseName,
    /// False: a message of this identity was delivered before (it may be expunged by now), and
    /// nothing was changed.
    pub new: bool,
}

/// A message to be put into `cur`.
#[derive(Debug, Clone)]
pub struct Append<'a> {
    /// As in [`Delivery`].
    pub base: Option<BaseName>,
    /// The message.
    pub content: &'a [u8],
    /// System flags; keyword letters in it are ignored.
    pub flags: Flags,
    /// Keywords by name; new ones get a letter.
    pub keywords: &'a [Keyword],
    /// INTERNALDATE; now if `None`.
    pub date: Option<SystemTime>,
}

/// What became of an [`Append`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// UIDVALIDITY.
    pub uid_validity: u32,
    /// The message's UID.
    pub uid: u32,
    /// False: it was there before, and nothing was changed.
    pub new: bool,
}

impl<S: Store> Mailbox<S> {
    /// Delivers messages to `new`, sharing their flushes. Takes no lock, unless a wanted base name
    /// must be looked for in a mailbox that others have changed.
    ///
    /// Each message has its own result. Two calls that deliver the same base name *at the same
    /// time*, while the mailbox is synced, may both succeed: repeat an operation only after its
    /// first try has ended.
    pub fn deliver(
        &self,
        batch: &[Delivery<'_>],
        durability: Durability,
    ) -> Result<Vec<Result<Delivered, Error>>, Error> {
        let mut staged = Vec::new();
        let results: Vec<_> = batch.iter().map(|item| self.prepare(item, &mut staged)).collect();
        let published = self.store.publish(staged, durability).doing("deliver")?;
        let mut published = published.into_iter();
        let finish = |result: Result<Delivered, Error>| match result {
            Ok(done) if done.new => settle(done, published.next().expect("one result each")),
            other => other,
        };
        Ok(results.into_iter().map(finish).collect())
    }

    /// Does the mailbox hold, or did it ever hold, a message of this identity? Compares what
    /// stands before the first comma.
    pub fn contains_base(&self, base: &BaseName) -> Result<bool, Error> {
        self.sync()?;
        Ok(self.recorded_uid(base).is_some())
    }

    /// Adds a message with flags and date. Its UID may be told once the store has committed.
    pub fn append(&self, item: &Append<'_>, durability: Durability) -> Result<Appended, Error> {
        let base = self.identity(item.base.as_ref(), item.content)?;
        let mut locked = self.locked()?;
        let uid_validity = locked.uids().validity();
        if let Some(uid) = locked.find(&base) {
            return Ok(Appended { uid_validity, uid, new: false });
        }
        let flags = item.flags.minus(Flags::KEYWORDS).union(locked.letters(item.keywords)?);
        let name = FileName::new(&base, flags);
        let staged = self.stage(item.content, item.date)?;
        let publish = Publish { staged, dir: self.dirs.cur.clone(), name: name.as_bytes().to_vec() };
        let results = self.store.publish(vec![publish], Durability::None).doing("append")?;
        results.into_iter().collect::<io::Result<Vec<()>>>().doing("append")?;
        let uid = locked.enter(vec![name])?[0];
        drop(locked);
        if durability == Durability::Full {
            self.store.commit().doing("append")?;
        }
        Ok(Appended { uid_validity, uid, new: true })
    }

    /// Stages what is not yet there.
    fn prepare(&self, item: &Delivery<'_>, staged: &mut Vec<Publish<S>>) -> Result<Delivered, Error> {
        let base = self.identity(item.base.as_ref(), item.content)?;
        if item.base.is_some() && self.was_delivered(&base)? {
            return Ok(Delivered { base, new: false });
        }
        let content = self.stage(item.content, None)?;
        let name = base.as_bytes().to_vec();
        staged.push(Publish { staged: content, dir: self.dirs.new.clone(), name });
        Ok(Delivered { base, new: true })
    }

    fn was_delivered(&self, base: &BaseName) -> Result<bool, Error> {
        if !self.bases_are_known()? {
            // Full or not: what is readable has been read, and the delivery itself will tell.
            self.sync()?;
        }
        Ok(self.recorded_uid(base).is_some())
    }

    fn recorded_uid(&self, base: &BaseName) -> Option<u32> {
        self.state()
            .uids
            .as_ref()
            .and_then(|list| list.uid(base.as_bytes()).or_else(|| list.uid_of_stem(base.stem())))
    }

    fn identity(&self, wanted: Option<&BaseName>, content: &[u8]) -> Result<BaseName, Error> {
        let Some(wanted) = wanted else { return Ok(self.names.next(content)) };
        let (size, wire) = (content.len() as u64, wire_len(content));
        let named = wanted.with_sizes(size, wire)?;
        for (claimed, actual) in [(named.size(), size), (named.wire_size(), wire)] {
            match claimed {
                Some(claimed) if claimed != actual => return Err(Error::WrongSize { claimed, actual }),
                _ => {}
            }
        }
        Ok(named)
    }

    pub(super) fn stage(&self, content: &[u8], date: Option<SystemTime>) -> Result<S::Staged, Error> {
        let name = self.names.stem();
        let mut staged =
            self.store.stage(&self.dirs.tmp, name.as_bytes(), date).doing("make a file in tmp")?;
        staged.write_all(content).and_then(|()| staged.flush()).doing("write a message")?;
        Ok(staged)
    }
}

impl<S: Store> Locked<'_, S> {
    /// The UID recorded for an identity (what stands before the first comma).
    pub(super) fn find(&mut self, base: &BaseName) -> Option<u32> {
        let uids = self.uids();
        uids.uid(base.as_bytes()).or_else(|| uids.uid_of_stem(base.stem()))
    }

    /// Files that we have just put into `cur` get UIDs.
    pub(super) fn enter(&mut self, names: Vec<FileName>) -> Result<Vec<u32>, Error> {
        let entered = self.record(names.iter().map(FileName::base)).and_then(|uids| {
            for (uid, name) in uids.iter().zip(names) {
                self.state.insert(*uid, name);
            }
            self.note_own_changes()?;
            Ok(uids)
        });
        if entered.is_err() {
            self.state.cur_seen = None;
        }
        entered
    }
}

fn settle(done: Delivered, published: io::Result<()>) -> Result<Delivered, Error> {
    match published {
        Ok(()) => Ok(done),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(Delivered { new: false, ..done }),
        Err(e) => Err(Error::io(format!("deliver {}", done.base), e)),
    }
}

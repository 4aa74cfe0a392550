//! Adding messages to `cur`: with flags, keywords, date and, for migrations, the UID they had.

use std::collections::HashMap;
use std::io;
use std::time::SystemTime;

use super::Mailbox;
use super::sync::Locked;
use crate::error::{Doing, Error};
use crate::flags::Flags;
use crate::generate::Measure;
use crate::keywords::Keyword;
use crate::name::{BaseName, FileName};
use crate::store::{Durability, Publish, Store};

/// A message to be put into `cur`.
#[derive(Debug, Clone)]
pub struct Append<'a> {
    /// As in [`super::Delivery`].
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

/// An [`Append`] with the UID that the message must get.
#[derive(Debug, Clone)]
pub struct Import<'a> {
    /// The message.
    pub message: Append<'a>,
    /// Its UID: not below UIDNEXT and above those before it in the batch. `None`: the next.
    pub uid: Option<u32>,
}

/// An import on its way.
struct Ready<'a, S: Store> {
    item: &'a Import<'a>,
    base: BaseName,
    staged: S::Staged,
}

impl<S: Store> Mailbox<S> {
    /// Adds a message with flags and date. Its UID may be told once the store has committed.
    pub fn append(&self, item: &Append<'_>, durability: Durability) -> Result<Appended, Error> {
        let item = Import { message: item.clone(), uid: None };
        Ok(self.import(&[item], durability)?.remove(0))
    }

    /// Adds messages under one lock, with shared flushes: all, or after an error none (those that
    /// were there before stay).
    ///
    /// [`Error::UidTaken`] if a wanted UID may have been another message's.
    pub fn import(&self, batch: &[Import<'_>], durability: Durability) -> Result<Vec<Appended>, Error> {
        let bytes = batch.iter().map(|item| item.message.content.len() as u64).sum();
        self.check_quota(bytes, batch.len() as u64)?;
        let mut ready = Vec::with_capacity(batch.len());
        for item in batch {
            let base = self.identity(item.message.base.as_ref(), Measure::of(item.message.content))?;
            let staged = self.stage(item.message.content, item.message.date)?;
            ready.push(Ready { item, base, staged });
        }
        self.store
            .settle(&mut ready.iter_mut().map(|r| &mut r.staged).collect::<Vec<_>>())
            .doing("import")?;
        let appended = self.locked()?.take_imports(ready)?;
        self.settle_names(durability)?;
        Ok(appended)
    }
}

impl<S: Store> Locked<'_, S> {
    fn take_imports(&mut self, batch: Vec<Ready<'_, S>>) -> Result<Vec<Appended>, Error> {
        let uid_validity = self.uids().validity();
        let (mut names, mut wanted, mut publish) = (Vec::new(), Vec::new(), Vec::new());
        let mut places = Vec::with_capacity(batch.len());
        let mut stems: HashMap<Vec<u8>, usize> = HashMap::new();
        for Ready { item, base, staged } in batch {
            if let Some(uid) = self.find(&base) {
                places.push(Ok(uid));
                continue;
            }
            let at = *stems.entry(base.stem().to_vec()).or_insert(names.len());
            places.push(Err((at, at == names.len())));
            if at < names.len() {
                continue;
            }
            let letters = self.letters(item.message.keywords)?;
            let name = FileName::new(&base, item.message.flags.minus(Flags::KEYWORDS).union(letters));
            let dir = self.mailbox.dirs.cur.clone();
            publish.push(Publish { staged, dir, name: name.as_bytes().to_vec() });
            names.push(name);
            wanted.push(item.uid);
        }
        self.check_wanted(&wanted)?;
        let uids = if names.is_empty() { Vec::new() } else { self.put_in_cur(publish, names, &wanted)? };
        Ok(places
            .into_iter()
            .map(|place| match place {
                Ok(uid) => Appended { uid_validity, uid, new: false },
                Err((at, new)) => Appended { uid_validity, uid: uids[at], new },
            })
            .collect())
    }

    /// Are the wanted UIDs free, and do they ascend?
    fn check_wanted(&mut self, wanted: &[Option<u32>]) -> Result<(), Error> {
        let mut next = self.uids().next_uid().map_or(u64::from(u32::MAX) + 1, u64::from);
        for wanted in wanted {
            match wanted {
                Some(uid) if u64::from(*uid) < next => {
                    return Err(Error::UidTaken { wanted: *uid, next: u32::try_from(next).ok() });
                }
                Some(uid) => next = u64::from(*uid) + 1,
                None => next += 1,
            }
        }
        Ok(())
    }

    fn put_in_cur(
        &mut self,
        publish: Vec<Publish<S>>,
        names: Vec<FileName>,
        wanted: &[Option<u32>],
    ) -> Result<Vec<u32>, Error> {
        let results =
            self.mailbox.store.publish(publish, Durability::None).doing("put a message into cur")?;
        let failed = results.iter().any(Result::is_err);
        if failed {
            let there: Vec<FileName> =
                names.into_iter().zip(&results).filter(|(_, r)| r.is_ok()).map(|(name, _)| name).collect();
            self.take_back(&there);
            results.into_iter().collect::<io::Result<Vec<()>>>().doing("put a message into cur")?;
            return Ok(Vec::new());
        }
        let sizes: Vec<u64> = names.iter().filter_map(FileName::base_size).collect();
        let uids = self.enter_as(names, wanted)?;
        self.mailbox.charge(1, sizes.into_iter());
        Ok(uids)
    }
}

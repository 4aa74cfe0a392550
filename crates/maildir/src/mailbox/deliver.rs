//! Adding messages: to `new` without any lock, or to `cur` with flags, date and UID.

use std::io::{self, Read, Write};
use std::sync::RwLockReadGuard;
use std::time::SystemTime;

use super::Mailbox;
use super::state::State;
use super::sync::Locked;
use crate::error::{Doing, Error};
use crate::generate::Measure;
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

/// How much of a message is read at a time.
const COPY_STEP: usize = 64 << 10;

/// How often to look for what others did before a wanted base name is taken for new.
const LOOKS: usize = 3;

/// A message on its way: written to `tmp`.
struct Ready<S: Store> {
    base: BaseName,
    /// Did the caller choose the name? Then it may be a retry.
    wanted: bool,
    staged: S::Staged,
}

impl<S: Store> Mailbox<S> {
    /// Delivers messages to `new`, sharing their flushes. Takes no lock file, unless a wanted base
    /// name must be looked for in a mailbox that others have changed.
    ///
    /// Each message has its own result.
    pub fn deliver(
        &self,
        batch: &[Delivery<'_>],
        durability: Durability,
    ) -> Result<Vec<Result<Delivered, Error>>, Error> {
        let mut ready = Vec::new();
        self.check_quota(batch.iter().map(|item| item.content.len() as u64).sum(), batch.len() as u64)?;
        let staged: Vec<_> = batch.iter().map(|item| self.ready(item).map(|r| ready.push(r))).collect();
        let mut published = self.publish_ready(ready, durability)?.into_iter();
        Ok(staged
            .into_iter()
            .map(|staged| staged.and_then(|()| published.next().expect("one result each")))
            .collect())
    }

    /// Delivers one message that is read as it comes, never held in memory whole. `base` as in
    /// [`Delivery`]. [`Error::TooLarge`] behind [`super::MailboxConfig::message_bytes_max`]; then,
    /// and when reading fails, nothing was delivered.
    pub fn deliver_from(
        &self,
        base: Option<&BaseName>,
        content: &mut dyn Read,
        durability: Durability,
    ) -> Result<Delivered, Error> {
        let name = self.names.stem();
        let tmp = &self.dirs.tmp;
        let mut staged = self.store.stage(tmp, name.as_bytes(), None).doing("make a file in tmp")?;
        let measure = self.copy_measured(content, &mut staged)?;
        self.check_quota(measure.len, 1)?;
        let ready = Ready { base: self.identity(base, measure)?, wanted: base.is_some(), staged };
        self.publish_ready(vec![ready], durability)?.remove(0)
    }

    pub(super) fn settle_names(&self, durability: Durability) -> Result<(), Error> {
        match durability {
            Durability::None => Ok(()),
            Durability::Full => self.store.commit().doing("make a change durable"),
        }
    }

    fn copy_measured(&self, from: &mut dyn Read, to: &mut S::Staged) -> Result<Measure, Error> {
        let mut buffer = vec![0; COPY_STEP];
        let mut measure = Measure::default();
        loop {
            let read = match from.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => read,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(Error::io("read a message that is being delivered", e)),
            };
            measure.add(&buffer[..read]);
            self.check_size(measure.len)?;
            to.write_all(&buffer[..read]).doing("write a message")?;
        }
        to.flush().doing("write a message")?;
        Ok(measure)
    }

    pub(super) fn check_size(&self, len: u64) -> Result<(), Error> {
        match self.config.message_bytes_max {
            max if len > max => Err(Error::TooLarge { max }),
            _ => Ok(()),
        }
    }

    /// Delivers to several mailboxes of one store: to all, or after an error to none (except where
    /// a mailbox's reader was quicker than the undoing). Durable after [`Store::commit`].
    pub fn deliver_to_all(batch: &[(&Self, Delivery<'_>)]) -> Result<Vec<Delivered>, Error> {
        for (to, item) in batch {
            to.check_quota(item.content.len() as u64, 1)?;
        }
        let mut ready: Vec<_> = batch.iter().map(|(to, item)| to.ready(item)).collect::<Result<_, _>>()?;
        for ((to, _), ready) in batch.iter().zip(&mut ready) {
            to.store.settle(&mut [&mut ready.staged]).doing("deliver")?;
        }
        let mut done: Vec<Delivered> = Vec::new();
        for ((to, _), ready) in batch.iter().zip(ready) {
            let result =
                to.publish_ready(vec![ready], Durability::None).and_then(|mut results| results.remove(0));
            match result {
                Ok(delivered) => done.push(delivered),
                Err(e) => {
                    for ((to, _), delivered) in batch.iter().zip(&done).filter(|(_, d)| d.new) {
                        if to.store.unlink(&to.dirs.new, delivered.base.as_bytes()).is_ok() {
                            to.charge(-1, delivered.base.size().into_iter());
                        }
                    }
                    return Err(e);
                }
            }
        }
        Ok(done)
    }

    /// Does the mailbox hold, or did it ever hold, a message of this identity? Compares what
    /// stands before the first comma.
    pub fn contains_base(&self, base: &BaseName) -> Result<bool, Error> {
        self.sync()?;
        Ok(recorded_uid(&self.state(), base).is_some())
    }

    fn ready(&self, item: &Delivery<'_>) -> Result<Ready<S>, Error> {
        let base = self.identity(item.base.as_ref(), Measure::of(item.content))?;
        let wanted = item.base.is_some();
        // A name that we have just made up is nobody else's, in tmp too.
        let staged = match wanted {
            true => self.stage(item.content, None)?,
            false => self.stage_as(base.stem(), item.content, None)?,
        };
        Ok(Ready { base, wanted, staged })
    }

    /// Publishes what is not yet there.
    fn publish_ready(
        &self,
        batch: Vec<Ready<S>>,
        durability: Durability,
    ) -> Result<Vec<Result<Delivered, Error>>, Error> {
        let (is_there, _arriving) = self.look_for(&batch)?;
        let (mut done, mut publish) = (Vec::new(), Vec::new());
        for (Ready { base, staged, .. }, there) in batch.into_iter().zip(is_there) {
            if !there {
                let name = base.as_bytes().to_vec();
                publish.push(Publish { staged, dir: self.dirs.new.clone(), name });
            }
            done.push(Delivered { base, new: !there });
        }
        let mut published = self.store.publish(publish, durability).doing("deliver")?.into_iter();
        let settled = done.into_iter().map(|done| match done.new {
            true => settle(done, published.next().expect("one result each")),
            false => Ok(done),
        });
        let settled: Vec<Result<Delivered, Error>> = settled.collect();
        let new = settled.iter().flatten().filter(|delivered| delivered.new);
        self.charge(1, new.filter_map(|delivered| delivered.base.size()));
        // Also what was there before must be durable, and what is not new was not published.
        if settled.iter().flatten().any(|delivered| !delivered.new) {
            self.settle_names(durability)?;
        }
        Ok(settled)
    }

    /// Which of them were delivered before. While the guard lives, that stays so.
    fn look_for(&self, batch: &[Ready<S>]) -> Result<(Vec<bool>, Option<RwLockReadGuard<'_, ()>>), Error> {
        if !batch.iter().any(|ready| ready.wanted) {
            return Ok((vec![false; batch.len()], None));
        }
        for look in 0.. {
            let state = self.state();
            // When others are that busy here, what they do now is not our first try.
            if look == LOOKS || self.bases_are_known(&state)? {
                let there = |ready: &Ready<S>| ready.wanted && recorded_uid(&state, &ready.base).is_some();
                let there = batch.iter().map(there).collect();
                let arriving = self.arrivals.read().unwrap_or_else(|poisoned| poisoned.into_inner());
                return Ok((there, Some(arriving)));
            }
            drop(state);
            self.sync()?;
        }
        unreachable!("the last look ends it")
    }

    /// The name of a message of this size; what the caller chose must not claim another.
    pub(super) fn identity(&self, wanted: Option<&BaseName>, found: Measure) -> Result<BaseName, Error> {
        let Some(wanted) = wanted else { return Ok(self.names.next_sized(found)) };
        let named = wanted.with_sizes(found.len, found.wire_len)?;
        for (claimed, actual) in [(named.size(), found.len), (named.wire_size(), found.wire_len)] {
            match claimed {
                Some(claimed) if claimed != actual => return Err(Error::WrongSize { claimed, actual }),
                _ => {}
            }
        }
        Ok(named)
    }

    pub(super) fn stage(&self, content: &[u8], date: Option<SystemTime>) -> Result<S::Staged, Error> {
        self.stage_as(self.names.stem().as_bytes(), content, date)
    }

    fn stage_as(&self, name: &[u8], content: &[u8], date: Option<SystemTime>) -> Result<S::Staged, Error> {
        self.check_size(content.len() as u64)?;
        let mut staged = self.store.stage(&self.dirs.tmp, name, date).doing("make a file in tmp")?;
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

    /// Files that we have just put into `cur` get UIDs; if they can't, they are removed again.
    pub(super) fn enter(&mut self, names: Vec<FileName>) -> Result<Vec<u32>, Error> {
        let wanted = vec![None; names.len()];
        self.enter_as(names, &wanted)
    }

    /// As [`Locked::enter`]; some get the UID that they must have.
    pub(super) fn enter_as(
        &mut self,
        names: Vec<FileName>,
        wanted: &[Option<u32>],
    ) -> Result<Vec<u32>, Error> {
        let bases = names.iter().map(FileName::base).zip(wanted.iter().copied());
        let uids = match self.record(bases) {
            Ok(uids) => uids,
            Err(e) => {
                self.take_back(&names);
                return Err(e);
            }
        };
        for (uid, name) in uids.iter().zip(names) {
            self.state.insert(*uid, name);
        }
        self.note_own_changes()?;
        Ok(uids)
    }

    /// Removes files that we have put into `cur` and that nobody was told of.
    pub(super) fn take_back(&mut self, names: &[FileName]) {
        self.state.cur_seen = None;
        for name in names {
            let _ = self.mailbox.store.unlink(&self.mailbox.dirs.cur, name.as_bytes());
        }
    }
}

fn recorded_uid(state: &State, base: &BaseName) -> Option<u32> {
    let list = state.uids.as_ref()?;
    list.uid(base.as_bytes()).or_else(|| list.uid_of_stem(base.stem()))
}

fn settle(done: Delivered, published: io::Result<()>) -> Result<Delivered, Error> {
    match published {
        Ok(()) => Ok(done),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(Delivered { new: false, ..done }),
        Err(e) => Err(Error::io(format!("deliver {}", done.base), e)),
    }
}

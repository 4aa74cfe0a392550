//! Bringing memory and disk together: `new` is emptied into `cur`, what arrived gets UIDs, what
//! others changed is noticed.

use std::io;
use std::sync::MutexGuard;

use super::state::{Entry, Seen, State};
use super::{KEYWORDS, Mailbox, STRETCH, UIDLIST, UIDLIST_LOCK};
use crate::error::{Doing, Error};
use crate::name::{BaseName, FileName};
use crate::store::{Durability, Stamp, Store};

/// How often `new` is looked at again because something was in it.
const PASSES: usize = 5;
/// How many renames between two signs of life of the lock.
const REFRESH_EVERY: usize = 100;
/// Changes after which the change numbers are saved.
const SAVE_EVERY: u64 = 1000;
/// How many directory entries between two signs of life of the lock.
const REFRESH_SCAN_EVERY: usize = 10_000;
/// Lines of expunged messages that a rewrite of the uidlist keeps, newest first: a retry of the
/// operation that made the message still finds its traces.
const KEEP_DEAD: usize = 512;

impl<S: Store> Mailbox<S> {
    /// Looks for changes by others, moves what was delivered to `cur` and gives it UIDs. Costs
    /// three stamps when nothing changed.
    ///
    /// When the store is full, what is readable is still read; new messages wait for their UIDs.
    pub fn sync(&self) -> Result<(), Error> {
        if self.is_current()? {
            return Ok(());
        }
        let synced = self.sync_in_stretches();
        if self.config.keep_cache && self.state().changes_unsaved() >= SAVE_EVERY {
            self.save_modseqs()?;
        }
        match synced {
            Err(e) if e.is_storage_full() || e.is_read_only() => {
                tracing::warn!(error = %e, "mailbox: cannot write; reading without assigning UIDs");
                self.unlocked()?.read_only_sync(e)
            }
            other => other,
        }
    }

    /// Others get their turn in between: nobody waits long.
    fn sync_in_stretches(&self) -> Result<(), Error> {
        while self.locked()?.state.more_in_new {}
        Ok(())
    }

    /// Takes the mailbox's lock and syncs; of very much in `new`, a stretch.
    pub(super) fn locked(&self) -> Result<Locked<'_, S>, Error> {
        let lock = self.store.lock(&self.dirs.root, UIDLIST_LOCK, self.config.lock_wait);
        let guard = Some(lock.doing("lock the mailbox")?);
        let mut locked = Locked { mailbox: self, state: self.state(), guard };
        locked.sync()?;
        Ok(locked)
    }

    fn unlocked(&self) -> Result<Locked<'_, S>, Error> {
        Ok(Locked { mailbox: self, state: self.state(), guard: None })
    }

    fn is_current(&self) -> Result<bool, Error> {
        let new = self.store.stamp(&self.dirs.new).doing("look at new")?;
        let state = self.state();
        let new_known = state.new_seen.is_some_and(|seen| seen.proves_unchanged(new));
        Ok(new_known && self.bases_are_known(&state)?)
    }

    /// Are all base names in `cur`, and all recorded ones, in memory?
    pub(super) fn bases_are_known(&self, state: &State) -> Result<bool, Error> {
        Ok(self.cur_is_known(state)? && self.control_is_known(state)?)
    }

    fn cur_is_known(&self, state: &State) -> Result<bool, Error> {
        let cur = self.store.stamp(&self.dirs.cur).doing("look at cur")?;
        Ok(state.cur_seen.is_some_and(|seen| seen.proves_unchanged(cur)))
    }

    fn control_is_known(&self, state: &State) -> Result<bool, Error> {
        Ok(state.uids_at.is_some()
            && self.control_stamp(UIDLIST)? == state.uids_at
            && self.control_stamp(KEYWORDS)? == state.keywords_at)
    }

    pub(super) fn control_stamp(&self, name: &[u8]) -> Result<Option<Stamp>, Error> {
        match self.store.control_stamp(&self.dirs.root, name) {
            Ok(stamp) => Ok(Some(stamp)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(Error::io(format!("look at {}", name.escape_ascii()), e)),
        }
    }
}

/// The mailbox under its lock (without a guard: for reading only).
#[derive(Debug)]
pub(super) struct Locked<'a, S: Store> {
    pub(super) mailbox: &'a Mailbox<S>,
    // Dropped in this order: memory is free for others before the lock file is.
    pub(super) state: MutexGuard<'a, State>,
    pub(super) guard: Option<S::Guard>,
}

impl<S: Store> Drop for Locked<'_, S> {
    /// What was found out under a lock that was not ours any more is worth nothing.
    fn drop(&mut self) {
        if self.check_lock().is_err() {
            tracing::warn!("mailbox: the lock was lost while it was used; reading anew");
            self.state.uids_at = None;
            self.state.cur_seen = None;
            self.state.new_seen = None;
        }
    }
}

impl<S: Store> Locked<'_, S> {
    /// See [`Mailbox::sync`]. What fails half-way is forgotten, and found by the next scan.
    pub(super) fn sync(&mut self) -> Result<(), Error> {
        let result = self.try_sync();
        if result.is_err() {
            self.state.cur_seen = None;
            self.state.new_seen = None;
        }
        result
    }

    fn try_sync(&mut self) -> Result<(), Error> {
        self.read_uidlist()?;
        self.read_keywords()?;
        let cur_known = self.mailbox.cur_is_known(&self.state)?;
        let moved = self.empty_new()?;
        if !cur_known {
            return self.scan_cur();
        }
        if !moved.is_empty() {
            let arrived = moved.into_iter().filter_map(|name| self.place(name).transpose());
            let arrived = arrived.collect::<Result<Vec<_>, _>>()?;
            self.assign(arrived)?;
            self.note_own_changes()?;
        }
        Ok(())
    }

    /// `cur` is known, and everything in it that changed since was changed by us.
    pub(super) fn note_own_changes(&mut self) -> Result<(), Error> {
        let stamp = self.mailbox.store.stamp(&self.mailbox.dirs.cur).doing("look at cur")?;
        self.state.cur_seen = Some(Seen::new(stamp, self.mailbox.store.caps()));
        Ok(())
    }

    /// Tells the lock that we live, now and then.
    pub(super) fn still_ours(&self, step: usize) -> Result<(), Error> {
        match step % REFRESH_EVERY == REFRESH_EVERY - 1 {
            true => self.check_lock(),
            false => Ok(()),
        }
    }

    /// An error if another process took the lock over: then nothing may be written.
    pub(super) fn check_lock(&self) -> Result<(), Error> {
        match &self.guard {
            Some(guard) => self.mailbox.store.refresh_lock(guard).doing("keep the mailbox's lock"),
            None => Ok(()),
        }
    }

    /// Without the lock, on a full store: what has a UID can be read.
    fn read_only_sync(&mut self, full: Error) -> Result<(), Error> {
        match self.mailbox.control_stamp(UIDLIST)? {
            None => return Err(full),
            Some(stamp) => self.read_uidlist_from(stamp)?,
        }
        self.read_keywords()?;
        let (found, _) = self.read_cur()?;
        let uids = self.state.uids.take();
        let known = found.into_iter().filter_map(|name| Some((uids.as_ref()?.uid(name.base_bytes())?, name)));
        let mut known: Vec<_> = known.collect();
        self.state.uids = uids;
        known.sort_unstable_by_key(|(uid, _)| *uid);
        known.dedup_by_key(|(uid, _)| *uid);
        for (uid, name) in known {
            match self.state.index(uid) {
                Some(at) => self.state.rename(at, name),
                None => self.state.insert(uid, name),
            }
        }
        Ok(())
    }
}

impl<S: Store> Locked<'_, S> {
    /// Moves what is in `new` to `cur`, the oldest first, and at most a stretch of it; returns the
    /// names that it has there.
    fn empty_new(&mut self) -> Result<Vec<FileName>, Error> {
        let caps = self.mailbox.store.caps();
        let (store, dirs) = (&self.mailbox.store, &self.mailbox.dirs);
        let stamp = store.stamp(&dirs.new).doing("look at new")?;
        if self.state.new_seen.is_some_and(|seen| seen.proves_unchanged(stamp)) {
            return Ok(Vec::new());
        }
        self.state.more_in_new = false;
        let _quiet = self.mailbox.arrivals.write().unwrap_or_else(|poisoned| poisoned.into_inner());
        let mut moved = Vec::new();
        for _ in 0..PASSES {
            let mut found = Vec::new();
            let stamp = store
                .scan(&dirs.new, &mut |name| found.extend(FileName::parse(name).ok()))
                .doing("read new")?;
            found.sort_by_cached_key(|name| (name.base().arrival(), name.base()));
            let before = moved.len();
            for (step, name) in found.into_iter().enumerate() {
                if moved.len() == STRETCH {
                    (self.state.new_seen, self.state.more_in_new) = (None, true);
                    return Ok(moved);
                }
                self.still_ours(step)?;
                moved.extend(self.move_to_cur(name)?);
            }
            if moved.len() == before {
                self.state.new_seen = Some(Seen::new(stamp, caps));
                return Ok(moved);
            }
        }
        // Mail comes faster than we look: the rest is for the next sync.
        self.state.new_seen = None;
        Ok(moved)
    }

    fn move_to_cur(&self, name: FileName) -> Result<Option<FileName>, Error> {
        let (store, dirs) = (&self.mailbox.store, &self.mailbox.dirs);
        let mut target = name.with_flags(name.flags());
        if target.is_too_long() {
            // Nobody was told of it yet: it may as well be somebody else.
            let fresh = BaseName::parse(self.mailbox.names.stem().as_bytes())?;
            target = FileName::new(&fresh, name.flags());
        }
        match store.rename(&dirs.new, name.as_bytes(), &dirs.cur, target.as_bytes()) {
            Ok(()) => Ok(Some(target)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => self.move_duplicate(&name, &target),
            Err(e) => Err(Error::io(format!("move {name:?} to cur"), e)),
        }
    }

    /// `cur` has a file of this name. One file under two names is left alone; two files are two
    /// messages, and the newcomer gets another identity.
    fn move_duplicate(&self, name: &FileName, taken: &FileName) -> Result<Option<FileName>, Error> {
        let (store, dirs) = (&self.mailbox.store, &self.mailbox.dirs);
        let ours = store.stat(&dirs.new, name.as_bytes()).doing("look at a duplicate")?;
        match store.stat(&dirs.cur, taken.as_bytes()) {
            Ok(theirs) if theirs.id == ours.id => return Ok(None),
            _ => {}
        }
        let fresh = name.with_base(&self.fresh_base(name)?);
        store
            .rename(&dirs.new, name.as_bytes(), &dirs.cur, fresh.as_bytes())
            .doing("give a duplicate its own name")?;
        Ok(Some(fresh))
    }

    /// A new identity with the sizes of the old one.
    fn fresh_base(&self, name: &FileName) -> Result<BaseName, Error> {
        let old = name.base();
        let sizes = &old.as_bytes()[old.stem().len()..];
        let fresh = [self.mailbox.names.stem().as_bytes(), sizes].concat();
        Ok(BaseName::parse(&fresh)?)
    }

    fn read_cur(&self) -> Result<(Vec<FileName>, Stamp), Error> {
        let mut found = Vec::with_capacity(self.state.entries.len());
        let mut each = |name: &[u8]| {
            found.extend(FileName::parse(name).ok());
            if found.len().is_multiple_of(REFRESH_SCAN_EVERY) {
                // If it is lost, the next write finds out.
                let _ = self.check_lock();
            }
        };
        let stamp = self.mailbox.store.scan(&self.mailbox.dirs.cur, &mut each).doing("read cur")?;
        Ok((found, stamp))
    }

    /// Compares all of `cur` with what is known.
    fn scan_cur(&mut self) -> Result<(), Error> {
        let (found, stamp) = self.read_cur()?;
        let told = match self.state.resumed {
            true => None,
            false => self.mailbox.saved_modseqs(&self.state)?,
        };
        told.iter().for_each(|told| self.state.resume_vanished(told));
        let (mut known, mut arrived) = self.sort_out(found)?;
        let missing = missing(&self.state.entries, &known);
        if !missing.is_empty() && !self.mailbox.store.caps().coherent_scan {
            // A name can slip through one pass while somebody renames without the lock.
            let (again, _) = self.read_cur()?;
            let (again, _) = self.sort_out(again)?;
            known.extend(again.into_iter().filter(|(uid, _)| missing.binary_search(uid).is_ok()));
            known.sort_unstable_by_key(|(uid, _)| *uid);
            known.extend(self.still_there(&known)?);
            known.sort_unstable_by_key(|(uid, _)| *uid);
        }
        arrived.extend(self.merge(known)?);
        told.iter().for_each(|told| self.state.resume(told));
        self.state.resumed = true;
        self.assign(arrived)?;
        self.state.cur_seen = Some(Seen::new(stamp, self.mailbox.store.caps()));
        self.compact_uidlist()
    }

    /// Of the messages that scans did not show, those whose files are there all the same: some
    /// servers end a listing early.
    fn still_there(&self, known: &[(u32, FileName)]) -> Result<Vec<(u32, FileName)>, Error> {
        let (store, cur) = (&self.mailbox.store, &self.mailbox.dirs.cur);
        let mut found = Vec::new();
        for uid in missing(&self.state.entries, known) {
            let Some(entry) = self.state.entry(uid) else { continue };
            let name = self.state.name(entry);
            match store.stat(cur, name.as_bytes()) {
                Ok(_) => found.push((uid, name)),
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) => return Err(Error::io("look for a message", e)),
            }
        }
        Ok(found)
    }

    /// Names with a UID, by UID and each once, and names without.
    #[allow(clippy::type_complexity)]
    fn sort_out(&mut self, found: Vec<FileName>) -> Result<(Vec<(u32, FileName)>, Vec<FileName>), Error> {
        let mut known = Vec::with_capacity(found.len());
        let mut arrived = Vec::new();
        for name in found {
            match self.uids().uid(name.base_bytes()) {
                Some(uid) => known.push((uid, name)),
                None => arrived.push(name),
            }
        }
        known.sort_unstable_by(|a, b| (a.0, a.1.as_bytes()).cmp(&(b.0, b.1.as_bytes())));
        let mut single: Vec<(u32, FileName)> = Vec::with_capacity(known.len());
        for (uid, name) in known {
            match single.last() {
                Some((last, other)) if *last == uid => arrived.extend(self.split_duplicate(other, name)?),
                _ => single.push((uid, name)),
            }
        }
        arrived.sort_unstable_by(|a, b| a.as_bytes().cmp(b.as_bytes()));
        let mut unique: Vec<FileName> = Vec::with_capacity(arrived.len());
        for name in arrived {
            match unique.last() {
                Some(other) if other.base_bytes() == name.base_bytes() => {
                    let other = other.clone();
                    unique.extend(self.split_duplicate(&other, name)?);
                }
                _ => unique.push(name),
            }
        }
        Ok((single, unique))
    }

    /// Two names with one base: if they are two files, the second gets its own base.
    fn split_duplicate(&self, first: &FileName, second: FileName) -> Result<Option<FileName>, Error> {
        let (store, cur) = (&self.mailbox.store, &self.mailbox.dirs.cur);
        let ids = [first, &second].map(|name| store.stat(cur, name.as_bytes()).map(|meta| meta.id));
        match ids {
            [Ok(a), Ok(b)] if a != b => {
                let fresh = second.with_base(&self.fresh_base(&second)?);
                store
                    .rename(cur, second.as_bytes(), cur, fresh.as_bytes())
                    .doing("give a duplicate its own name")?;
                Ok(Some(fresh))
            }
            // One file, or one of the names has gone meanwhile.
            _ => Ok(None),
        }
    }

    /// Makes the known messages those in `found` (by UID); returns the names that need a UID.
    fn merge(&mut self, found: Vec<(u32, FileName)>) -> Result<Vec<FileName>, Error> {
        let gone = missing(&self.state.entries, &found);
        self.state.remove(&gone);
        if self.state.entries.is_empty() && !found.is_empty() {
            // The first look: not one insertion after the other.
            let modseq = self.state.tick();
            let returned = |state: &State, uid| state.told_vanished(uid);
            let (back, first): (Vec<_>, Vec<_>) =
                found.into_iter().partition(|(uid, _)| returned(&self.state, *uid));
            let entry = |(uid, name)| self.state.new_entry(uid, name, modseq);
            self.state.entries = first.into_iter().map(entry).collect();
            return back.into_iter().filter_map(|(_, name)| self.place(name).transpose()).collect();
        }
        let mut arrived = Vec::new();
        for (uid, name) in found {
            match self.state.index(uid) {
                Some(at) => self.state.rename(at, name),
                None => arrived.extend(self.place(name)?),
            }
        }
        Ok(arrived)
    }

    /// Enters a file in `cur` under the UID that is recorded for it; gives it back if it needs
    /// one. A message that was told to be gone does not come back under its old identity.
    fn place(&mut self, name: FileName) -> Result<Option<FileName>, Error> {
        let Some(uid) = self.uids().uid(name.base_bytes()) else { return Ok(Some(name)) };
        if let Some(entry) = self.state.entry(uid) {
            let other = self.state.name(entry);
            return self.split_duplicate(&other, name);
        }
        if !self.state.told_vanished(uid) {
            self.state.insert(uid, name);
            return Ok(None);
        }
        let fresh = name.with_base(&self.fresh_base(&name)?);
        let (store, cur) = (&self.mailbox.store, &self.mailbox.dirs.cur);
        store.rename(cur, name.as_bytes(), cur, fresh.as_bytes()).doing("rename a message that came back")?;
        Ok(Some(fresh))
    }

    /// Gives UIDs to files in `cur`, in the order of their arrival.
    fn assign(&mut self, mut arrived: Vec<FileName>) -> Result<(), Error> {
        arrived.sort_by_cached_key(|name| (name.base().arrival(), name.base()));
        let uids = self.record(arrived.iter().map(|name| (name.base(), None)))?;
        for (uid, name) in uids.iter().zip(arrived) {
            self.state.insert(*uid, name);
        }
        self.state.recent.extend(uids);
        Ok(())
    }

    /// Records new base names in the uidlist, some under the UID that they must have; all or none.
    pub(super) fn record(
        &mut self,
        bases: impl Iterator<Item = (BaseName, Option<u32>)>,
    ) -> Result<Vec<u32>, Error> {
        let (mut given, mut lines) = (Vec::new(), Vec::new());
        for (base, wanted) in bases {
            match self.uids().assign_at_least(&base, wanted.unwrap_or(1)) {
                Some(record) => {
                    record.render(&mut lines);
                    given.push(record.uid);
                }
                None => {
                    self.uids().forget_last(given.len());
                    return Err(Error::UidsExhausted);
                }
            }
        }
        if given.is_empty() {
            return Ok(given);
        }
        let written = self.write_records(&lines);
        if written.is_err() {
            self.uids().forget_last(given.len());
        }
        written.map(|()| given)
    }

    fn write_records(&mut self, lines: &[u8]) -> Result<(), Error> {
        if self.uids().needs_rewrite() {
            return self.rewrite_uidlist();
        }
        self.check_lock()?;
        let (store, root) = (&self.mailbox.store, &self.mailbox.dirs.root);
        let stamp = store
            .control_append(root, UIDLIST, lines, Durability::None)
            .doing("append to dovecot-uidlist")?;
        self.note_uidlist(stamp, lines);
        Ok(())
    }

    /// After a locked full scan it is proved which records are dead: drop the oldest of them when
    /// they are more than a quarter of all.
    fn compact_uidlist(&mut self) -> Result<(), Error> {
        let live = self.state.entries.len();
        let dead = self.uids().records().len().saturating_sub(live);
        if dead <= KEEP_DEAD.max(live / 3) {
            return Ok(());
        }
        let live: Vec<u32> = self.state.entries.iter().map(|entry| entry.uid).collect();
        let mut drop = dead.saturating_sub(KEEP_DEAD / 2);
        self.uids().retain(|record| {
            let keep = drop == 0 || live.binary_search(&record.uid).is_ok();
            drop -= usize::from(!keep);
            keep
        });
        self.rewrite_uidlist()
    }
}

/// UIDs of entries that are not among `found`; both ascend.
fn missing(entries: &[Entry], found: &[(u32, FileName)]) -> Vec<u32> {
    let is_found = |uid: &u32| found.binary_search_by_key(uid, |(uid, _)| *uid).is_ok();
    entries.iter().map(|entry| entry.uid).filter(|uid| !is_found(uid)).collect()
}

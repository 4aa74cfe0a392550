//! Keeping what message files say, and change numbers, in files of our own.

use std::collections::HashMap;
use std::io::{self, Read, Seek, SeekFrom};
use std::sync::{Arc, MutexGuard};
use std::time::Duration;

use super::Mailbox;
use crate::cache::{self, DIGEST_MAX, HEADER_LEN, Record};
use crate::error::{Doing, Error};
use crate::store::{Durability, Store};

const FILE: &[u8] = b"posthaste-cache";
const LOCK: &[u8] = b"posthaste-cache.lock";
/// How many new records are held in memory before they are written.
const PENDING_MAX: usize = 64;
/// How much of the file is read at a time.
const WINDOW: usize = 1 << 20;

/// What is known of the cache file.
#[derive(Debug, Default)]
pub(super) struct Cached {
    /// What it was loaded for: the digests' kind, and UIDVALIDITY.
    loaded: Option<(u32, u32)>,
    places: HashMap<u32, Place>,
    /// Bytes of records that a later one replaced.
    dead: u64,
    /// Not yet written.
    pending: Vec<Pending>,
    /// Must be replaced: there is none, or it is damaged, another version's, or mostly dead.
    rewrite: bool,
}

/// Where a record is.
#[derive(Debug, Clone, Copy)]
struct Place {
    offset: u64,
    len: u32,
}

#[derive(Debug, Clone)]
struct Pending {
    uid: u32,
    size: u64,
    date: std::time::SystemTime,
    digest: Arc<[u8]>,
}

impl Pending {
    fn record(&self) -> Record<'_> {
        Record { uid: self.uid, wire_size: self.size, modified: self.date, digest: &self.digest }
    }
}

/// A message's UID, and what was made of it.
pub type Digested = (u32, Arc<[u8]>);

impl<S: Store> Mailbox<S> {
    /// What `make` makes of each message (with CRLF line ends), from the cache where it is there:
    /// then no message file is opened. Messages that are gone are left out.
    ///
    /// `kind` names what `make` makes, with its version: digests of another kind are dropped.
    /// Kept between openings if [`super::MailboxConfig::keep_cache`]; not kept if longer than a
    /// mebibyte.
    pub fn digests(
        &self,
        uids: &[u32],
        kind: u32,
        make: &dyn Fn(&[u8]) -> Vec<u8>,
    ) -> Result<Vec<Digested>, Error> {
        let mut found = self.cached(uids, kind)?;
        let mut all = Vec::with_capacity(uids.len());
        for uid in uids {
            let digest = match found.remove(uid) {
                Some(digest) => digest,
                None => match self.read(*uid) {
                    Ok(content) => self.remember(*uid, kind, make(&content).into())?,
                    Err(Error::Gone { .. }) => continue,
                    Err(e) => return Err(e),
                },
            };
            all.push((*uid, digest));
        }
        Ok(all)
    }

    /// Writes what the cache and the change numbers have in memory only. Done by itself now and
    /// then and when the mailbox is dropped; nothing is lost that cannot be made again.
    pub fn save_cache(&self) -> Result<(), Error> {
        if self.config.keep_cache {
            self.save_modseqs()?;
            self.save_digests()?;
        }
        Ok(())
    }

    /// Takes sizes and dates from the cache, once.
    pub(super) fn load_facts(&self) -> Result<(), Error> {
        if !self.config.keep_cache || self.cache().loaded.is_some() {
            return Ok(());
        }
        match self.stored_kind()? {
            Some(kind) => self.loaded(kind).map(drop),
            None => Ok(()),
        }
    }

    fn cache(&self) -> MutexGuard<'_, Cached> {
        self.cache.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn stored_kind(&self) -> Result<Option<u32>, Error> {
        let Some(mut file) = self.open_cache()? else { return Ok(None) };
        let mut head = [0; HEADER_LEN];
        match file.read_exact(&mut head) {
            Ok(()) => Ok(head[8..12].try_into().ok().map(u32::from_le_bytes)),
            Err(_) => Ok(None),
        }
    }

    fn open_cache(&self) -> Result<Option<S::File>, Error> {
        match self.store.open(&self.dirs.root, FILE) {
            Ok(file) => Ok(Some(file)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(Error::io("open the cache", e)),
        }
    }

    /// The cache, read for this kind of digest.
    fn loaded(&self, kind: u32) -> Result<MutexGuard<'_, Cached>, Error> {
        let validity = self.state().uids.as_ref().map(crate::uidlist::UidList::validity);
        let validity = match validity {
            Some(validity) => validity,
            None => self.uid_validity()?,
        };
        let mut cache = self.cache();
        if cache.loaded != Some((kind, validity)) {
            *cache = Cached { loaded: Some((kind, validity)), rewrite: true, ..Cached::default() };
            let file = if self.config.keep_cache { self.open_cache()? } else { None };
            if let Some(mut file) = file {
                let mut state = self.state();
                let fact = |record: &Record<'_>| {
                    if let Some(at) = state.index(record.uid) {
                        state.entries[at].facts = Some((record.wire_size, record.modified));
                    }
                };
                cache.read(&mut file, &cache::header(kind, validity), fact).doing("read the cache")?;
            }
        }
        Ok(cache)
    }

    /// The digests that the cache has.
    fn cached(&self, uids: &[u32], kind: u32) -> Result<HashMap<u32, Arc<[u8]>>, Error> {
        let mut cache = self.loaded(kind)?;
        let mut found: HashMap<u32, Arc<[u8]>> =
            cache.pending.iter().map(|pending| (pending.uid, Arc::clone(&pending.digest))).collect();
        let mut places: Vec<(u32, Place)> =
            uids.iter().filter_map(|uid| Some((*uid, *cache.places.get(uid)?))).collect();
        if places.is_empty() {
            return Ok(found);
        }
        places.sort_unstable_by_key(|(_, place)| place.offset);
        let Some(mut file) = self.open_cache()? else { return Ok(found) };
        let mut window = Window::default();
        for (uid, place) in places {
            let bytes = window.get(&mut file, place).doing("read the cache")?;
            match Record::parse(bytes) {
                Some((record, _)) if record.uid == uid => drop(found.insert(uid, record.digest.into())),
                // Another process has replaced the file.
                _ => {
                    cache.places.remove(&uid);
                    cache.rewrite = true;
                }
            }
        }
        Ok(found)
    }

    fn remember(&self, uid: u32, kind: u32, digest: Arc<[u8]>) -> Result<Arc<[u8]>, Error> {
        if !self.config.keep_cache || digest.len() > DIGEST_MAX {
            return Ok(digest);
        }
        let message = self.message(uid)?;
        let mut cache = self.loaded(kind)?;
        let (size, date) = (message.size, message.date);
        cache.pending.push(Pending { uid, size, date, digest: Arc::clone(&digest) });
        let many = cache.pending.len() >= PENDING_MAX.max(cache.places.len() / 16);
        drop(cache);
        if many {
            self.save_digests()?;
        }
        Ok(digest)
    }

    fn save_digests(&self) -> Result<(), Error> {
        let mut cache = self.cache();
        let Some((kind, validity)) = cache.loaded.filter(|_| !cache.pending.is_empty()) else {
            return Ok(());
        };
        // Who is busy with it writes its own; ours can wait.
        let _guard = match self.store.lock(&self.dirs.root, LOCK, Duration::ZERO) {
            Err(e) if e.kind() == io::ErrorKind::TimedOut => return Ok(()),
            other => other.doing("lock the cache")?,
        };
        if cache.rewrite {
            return self.replace_cache(&mut cache, cache::header(kind, validity));
        }
        let mut bytes = Vec::new();
        cache.pending.iter().for_each(|pending| pending.record().render(&mut bytes));
        match self.store.control_append(&self.dirs.root, FILE, &bytes, Durability::None) {
            Ok(stamp) => cache.written(stamp.len - bytes.len() as u64),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                self.replace_cache(&mut cache, cache::header(kind, validity))?;
            }
            Err(e) => return Err(Error::io("append to the cache", e)),
        }
        Ok(())
    }

    /// Writes a new file of what is live.
    fn replace_cache(&self, cache: &mut Cached, header: Vec<u8>) -> Result<(), Error> {
        let mut bytes = header;
        let mut places: Vec<(u32, Place)> = cache.places.drain().collect();
        places.sort_unstable_by_key(|(_, place)| place.offset);
        let mut kept = HashMap::with_capacity(places.len());
        if let Some(mut file) = self.open_cache()?.filter(|_| !places.is_empty()) {
            let mut window = Window::default();
            for (uid, place) in places {
                let record = window.get(&mut file, place).doing("read the cache")?;
                let alive = self.state().entry(uid).is_some();
                if alive && Record::parse(record).is_some_and(|(record, _)| record.uid == uid) {
                    kept.insert(uid, Place { offset: bytes.len() as u64, len: place.len });
                    bytes.extend_from_slice(record);
                }
            }
        }
        cache.places = kept;
        let start = bytes.len() as u64;
        cache.pending.iter().for_each(|pending| pending.record().render(&mut bytes));
        self.store
            .control_replace(&self.dirs.root, FILE, &bytes, Durability::None)
            .doing("write the cache")?;
        cache.written(start);
        (cache.dead, cache.rewrite) = (0, false);
        Ok(())
    }
}

impl Cached {
    /// Reads all records; stops at the first that is damaged.
    fn read(
        &mut self,
        file: &mut (impl Read + Seek),
        header: &[u8],
        mut each: impl FnMut(&Record<'_>),
    ) -> io::Result<()> {
        let mut held = Vec::new();
        let (mut offset, mut at) = (0u64, 0);
        file.take(HEADER_LEN as u64).read_to_end(&mut held)?;
        if held != header {
            return Ok(());
        }
        offset += held.len() as u64;
        held.clear();
        self.rewrite = false;
        loop {
            let read = file.take(WINDOW as u64).read_to_end(&mut held)?;
            while let Some((record, len)) = Record::parse(&held[at..]) {
                each(&record);
                let place = Place { offset: offset + at as u64, len: len as u32 };
                self.dead += self.places.insert(record.uid, place).map_or(0, |old| u64::from(old.len));
                at += len;
            }
            if read == 0 {
                break;
            }
            offset += at as u64;
            held.drain(..at);
            at = 0;
        }
        // A record that cannot be read, or mostly records that are not needed.
        self.rewrite = at < held.len() || self.dead > offset / 2;
        Ok(())
    }

    /// What was pending is in the file, from `offset` on.
    fn written(&mut self, mut offset: u64) {
        for pending in self.pending.drain(..) {
            let len = pending.record().rendered_len();
            let place = Place { offset, len: len as u32 };
            self.dead += self.places.insert(pending.uid, place).map_or(0, |old| u64::from(old.len));
            offset += len as u64;
        }
    }
}

/// A piece of a file.
#[derive(Debug, Default)]
struct Window {
    offset: u64,
    bytes: Vec<u8>,
}

impl Window {
    /// The bytes at a place; fewer where the file ends.
    fn get(&mut self, file: &mut (impl Read + Seek), place: Place) -> io::Result<&[u8]> {
        let len = place.len as usize;
        let held = |window: &Self| {
            let from = usize::try_from(place.offset.checked_sub(window.offset)?).ok()?;
            (from + len <= window.bytes.len()).then_some(from)
        };
        if held(self).is_none() {
            file.seek(SeekFrom::Start(place.offset))?;
            self.offset = place.offset;
            self.bytes.clear();
            file.take(len.max(WINDOW) as u64).read_to_end(&mut self.bytes)?;
        }
        let from = held(self).unwrap_or(0);
        Ok(&self.bytes[from..(from + len).min(self.bytes.len())])
    }
}

//! The bare names of a mailbox's messages: for tools that need no UIDs.

use super::{Mailbox, UIDLIST_LOCK};
use crate::error::{Doing, Error};
use crate::flags::Flags;
use crate::name::FileName;
use crate::store::Store;

/// The names in `new` and `cur` as they were at one instant, in one piece of memory: their bytes
/// and four more each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    names: Vec<u8>,
    /// Where each name ends.
    ends: Vec<u32>,
    /// How many of them are in `new`.
    in_new: usize,
}

/// One message of a [`Listing`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listed<'a> {
    /// Its file name.
    pub name: &'a [u8],
    /// Its identity: all before the first `:`.
    pub base: &'a [u8],
    /// The letters that it is marked with.
    pub flags: Flags,
    /// Is it in `new`?
    pub is_new: bool,
}

impl Listing {
    /// How many messages.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Is there no message?
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The messages: first those in `new`, each directory in the order of its entries.
    pub fn iter(&self) -> impl Iterator<Item = Listed<'_>> {
        (0..self.ends.len()).filter_map(|at| {
            let from = if at == 0 { 0 } else { self.ends[at - 1] };
            let name = &self.names[from as usize..self.ends[at] as usize];
            let (base, flags) = FileName::split(name)?;
            Some(Listed { name, base, flags, is_new: at < self.in_new })
        })
    }

    /// How much memory it takes, in bytes.
    pub fn memory(&self) -> usize {
        self.names.capacity() + self.ends.capacity() * size_of::<u32>()
    }

    fn add(&mut self, name: &[u8]) {
        // Four gigabytes of names are more than a directory can hold in practice; beyond them the
        // listing ends.
        let Ok(end) = u32::try_from(self.names.len() + name.len()) else { return };
        if FileName::is_message_entry(name) {
            self.names.extend_from_slice(name);
            self.ends.push(end);
        }
    }
}

impl<S: Store> Mailbox<S> {
    /// All names, read under the mailbox's lock and in one pass: none is missed, none is there
    /// twice. Nothing is moved, and no UID is given.
    ///
    /// A directory that cannot be read is an error, never an empty listing.
    pub fn list(&self) -> Result<Listing, Error> {
        let lock = self.store.lock(&self.dirs.root, UIDLIST_LOCK, self.config.lock_wait);
        // Who may not write cannot lock: then it is what one look shows.
        let _guard = match lock.doing("lock the mailbox") {
            Err(e) if e.is_read_only() || e.is_storage_full() => None,
            other => Some(other?),
        };
        // As much room as the last one took: it need not be moved while it grows.
        let (bytes, count) = *self.listed.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let (names, ends) = (Vec::with_capacity(bytes), Vec::with_capacity(count));
        let mut listing = Listing { names, ends, in_new: 0 };
        self.store.scan(&self.dirs.new, &mut |name| listing.add(name)).doing("read new")?;
        listing.in_new = listing.len();
        self.store.scan(&self.dirs.cur, &mut |name| listing.add(name)).doing("read cur")?;
        listing.names.shrink_to_fit();
        listing.ends.shrink_to_fit();
        let sizes = (listing.names.len(), listing.ends.len());
        *self.listed.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = sizes;
        Ok(listing)
    }
}

//! The small files in a mailbox: `dovecot-uidlist`, `dovecot-keywords`.

use std::io;

use super::sync::Locked;
use super::{KEYWORDS, UIDLIST};
use crate::error::{Doing, Error};
use crate::keywords::Keywords;
use crate::store::{Durability, Stamp, Store};
use crate::uidlist::UidList;
use crate::validity;

/// How many bytes before an append are read again, to see that it is the same file.
const TAIL: usize = 64;

impl<S: Store> Locked<'_, S> {
    pub(super) fn uids(&mut self) -> &mut UidList {
        self.state.uids.as_mut().expect("sync has read the uidlist")
    }

    pub(super) fn read_uidlist(&mut self) -> Result<(), Error> {
        match self.mailbox.control_stamp(UIDLIST)? {
            Some(stamp) if Some(stamp) == self.state.uids_at => Ok(()),
            Some(stamp) => self.read_uidlist_from(stamp),
            None => self.make_uidlist(),
        }
    }

    pub(super) fn read_uidlist_from(&mut self, stamp: Stamp) -> Result<(), Error> {
        let grown = self.state.uids_at.is_some_and(|old| old.id == stamp.id && old.len <= stamp.len);
        if grown && self.read_appended()? {
            return Ok(());
        }
        let (store, root) = (&self.mailbox.store, &self.mailbox.dirs.root);
        let (bytes, stamp) = store.control_read(root, UIDLIST, 0).doing("read dovecot-uidlist")?;
        match UidList::parse(&bytes) {
            Ok((list, used)) => self.replace_list(list, &bytes[..used]),
            Err(_) => return self.replace_unreadable(&bytes),
        }
        self.state.uids_at = Some(stamp);
        Ok(())
    }

    /// Reads what was appended; false if the file is another one after all (an inode's number may
    /// be used again): then what stood before differs.
    fn read_appended(&mut self) -> Result<bool, Error> {
        let known = self.state.uids_tail.clone();
        let offset = self.state.uids_read - known.len() as u64;
        let (store, root) = (&self.mailbox.store, &self.mailbox.dirs.root);
        let (bytes, stamp) = store.control_read(root, UIDLIST, offset).doing("read dovecot-uidlist")?;
        let (Some(new), Some(list)) = (bytes.strip_prefix(&known[..]), self.state.uids.as_mut()) else {
            return Ok(false);
        };
        let used = list.extend(new);
        self.state.uids_read += used as u64;
        self.state.uids_tail = tail(&bytes[..known.len() + used]);
        self.state.uids_at = Some(stamp);
        Ok(true)
    }

    fn replace_list(&mut self, list: UidList, used: &[u8]) {
        let same = self.state.uids.as_ref().is_some_and(|old| old.validity() == list.validity());
        if !same {
            self.state.void();
        }
        // The records of messages that we know may have moved: compare with the disk.
        self.state.cur_seen = None;
        self.state.replace_uids(list);
        self.state.uids_read = used.len() as u64;
        self.state.uids_tail = tail(used);
    }

    /// Nobody can say what UIDs were given out: put the file aside and begin anew.
    fn replace_unreadable(&mut self, bytes: &[u8]) -> Result<(), Error> {
        if self.guard.is_none() {
            let damaged = io::Error::new(io::ErrorKind::InvalidData, "no readable header");
            return Err(Error::io("read dovecot-uidlist", damaged));
        }
        tracing::error!("dovecot-uidlist has no readable header: all messages get new UIDs");
        let (store, root) = (&self.mailbox.store, &self.mailbox.dirs.root);
        store
            .control_replace(root, b"dovecot-uidlist.damaged", bytes, Durability::None)
            .doing("put a damaged dovecot-uidlist aside")?;
        self.make_uidlist()
    }

    fn make_uidlist(&mut self) -> Result<(), Error> {
        let mailbox = self.mailbox;
        if let Some(list) = self.take_over_couriers()? {
            self.state.void();
            self.state.uids = Some(list);
            return self.rewrite_uidlist();
        }
        let validity = validity::take(&*mailbox.store, &mailbox.dirs.validity, mailbox.config.lock_wait)?;
        self.state.void();
        self.state.uids = Some(UidList::new(validity, rand::random()));
        self.rewrite_uidlist()
    }

    pub(super) fn rewrite_uidlist(&mut self) -> Result<(), Error> {
        self.check_lock()?;
        self.uids().ensure_guid(rand::random());
        let bytes = self.uids().render();
        let (store, root) = (&self.mailbox.store, &self.mailbox.dirs.root);
        let stamp = store
            .control_replace(root, UIDLIST, &bytes, Durability::None)
            .doing("replace dovecot-uidlist")?;
        self.uids().rewritten();
        self.note_uidlist(stamp, &bytes);
        Ok(())
    }

    pub(super) fn note_uidlist(&mut self, stamp: Stamp, written: &[u8]) {
        self.state.uids_at = Some(stamp);
        self.state.uids_read = stamp.len;
        self.state.uids_tail = tail(written);
    }

    pub(super) fn read_keywords(&mut self) -> Result<(), Error> {
        let stamp = self.mailbox.control_stamp(KEYWORDS)?;
        if stamp == self.state.keywords_at {
            return Ok(());
        }
        let (store, root) = (&self.mailbox.store, &self.mailbox.dirs.root);
        (self.state.keywords, self.state.keywords_at) = match stamp {
            None => (Keywords::default(), None),
            Some(_) => {
                let (bytes, stamp) = store.control_read(root, KEYWORDS, 0).doing("read dovecot-keywords")?;
                (Keywords::parse(&bytes), Some(stamp))
            }
        };
        Ok(())
    }

    /// Makes `keywords` the mailbox's.
    pub(super) fn write_keywords(&mut self, keywords: Keywords) -> Result<(), Error> {
        self.check_lock()?;
        let (store, root) = (&self.mailbox.store, &self.mailbox.dirs.root);
        let stamp = store
            .control_replace(root, KEYWORDS, &keywords.render(), Durability::None)
            .doing("write dovecot-keywords")?;
        self.state.keywords = keywords;
        self.state.keywords_at = Some(stamp);
        Ok(())
    }
}

fn tail(bytes: &[u8]) -> Vec<u8> {
    bytes[bytes.len().saturating_sub(TAIL)..].to_vec()
}

//! Maildir++: a user's mailboxes. INBOX is the root; folder `A.B` is the directory `.A.B` in it.

use std::io;
use std::sync::Arc;

use crate::error::{Doing, Error};
use crate::generate::NameGenerator;
use crate::mailbox::{FolderNames, Mailbox, MailboxConfig, join};
use crate::mutf7;
use crate::quota::{MaildirSize, Quota, QuotaLimits};
use crate::store::{Durability, Store};
use crate::subscriptions::{self, Subscriptions};

/// Directories that are being removed: two dots hide them from everybody's listings.
const TRASH: &[u8] = b"..posthaste-trash-";

/// One user's mailboxes. Names are UTF-8 with `.` between levels; `INBOX` in any case is the root.
///
/// Creating, deleting and renaming are durable when the calls return.
#[derive(Debug)]
pub struct Tree<S: Store> {
    store: Arc<S>,
    root: Vec<u8>,
    config: MailboxConfig,
    names: NameGenerator,
}

impl<S: Store> Tree<S> {
    /// The tree whose INBOX is at `root` in the store. Does nothing yet.
    /// `config.validity_dir` and `config.quota_root` are set.
    pub fn new(store: Arc<S>, root: &[u8], mut config: MailboxConfig) -> Self {
        config.validity_dir = config.control_dir.clone().unwrap_or_else(|| root.to_vec());
        config.quota_root = Some(root.to_vec());
        Self { names: NameGenerator::new(&config.host), store, root: root.to_vec(), config }
    }

    /// Makes INBOX if there is none, and clears away what an interrupted [`Tree::delete`] left.
    pub fn ensure(&self) -> Result<(), Error> {
        for sub in [&b"tmp"[..], b"new", b"cur"] {
            self.store.create_dir(&join(&self.root, sub)).doing("make INBOX")?;
        }
        if let Some(control) = &self.config.control_dir {
            self.store.create_dir(control).doing("make the directory of control files")?;
        }
        for left in self.dirs()?.into_iter().filter(|name| name.starts_with(TRASH)) {
            if let Err(e) = self.store.remove_dir(&join(&self.root, &left)) {
                // Another process may be at it; what stays is invisible.
                tracing::warn!(error = %e, "a deleted mailbox cannot be cleared away");
            }
        }
        Ok(())
    }

    /// The store that the tree is in.
    pub fn store(&self) -> &Arc<S> {
        &self.store
    }

    /// The names of all mailboxes: INBOX, then the others in byte order.
    pub fn list(&self) -> Result<Vec<String>, Error> {
        let mut names = Vec::new();
        for dir in self.dirs()? {
            match folder_name(&dir).filter(|name| !is_inbox(name)) {
                Some(name) if self.exists(&name)? => names.push(name),
                _ => {}
            }
        }
        names.sort_unstable();
        // One folder under both kinds of name is one mailbox.
        names.dedup();
        names.insert(0, "INBOX".to_owned());
        Ok(names)
    }

    /// Is there a mailbox of this name?
    pub fn exists(&self, name: &str) -> Result<bool, Error> {
        match self.store.open_dir(&join(&self.path(name)?, b"cur")) {
            Ok(_) => Ok(true),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(Error::io(format!("look for mailbox {name}"), e)),
        }
    }

    /// Opens a mailbox.
    pub fn mailbox(&self, name: &str) -> Result<Mailbox<S>, Error> {
        let path = self.path(name)?;
        let control_dir = self.control_path(&path);
        let config = MailboxConfig { control_dir, ..self.config.clone() };
        match Mailbox::open(Arc::clone(&self.store), &path, config) {
            Err(Error::NoMailbox(_)) => Err(Error::NoMailbox(name.to_owned())),
            other => other,
        }
    }

    /// Makes a mailbox; its parents need not exist.
    pub fn create(&self, name: &str) -> Result<(), Error> {
        if self.exists(name)? {
            return Err(Error::Exists(name.to_owned()));
        }
        let path = self.path(name)?;
        for sub in [&b"tmp"[..], b"new"] {
            self.store.create_dir(&join(&path, sub)).doing("make a mailbox")?;
        }
        let dir = self.store.open_dir(&path).doing("make a mailbox")?;
        self.store
            .control_replace(&dir, b"maildirfolder", b"", Durability::Full)
            .doing("mark a Maildir++ folder")?;
        // The last: what has a `cur` is a mailbox.
        self.store.create_dir(&join(&path, b"cur")).doing("make a mailbox")?;
        Ok(())
    }

    /// Removes a mailbox with its messages; its children stay. INBOX cannot be removed.
    pub fn delete(&self, name: &str) -> Result<(), Error> {
        if is_inbox(name) {
            return Err(bad_name(name, "INBOX cannot be deleted"));
        }
        if !self.exists(name)? {
            return Err(Error::NoMailbox(name.to_owned()));
        }
        let path = self.path(name)?;
        // Before the mail: a mailbox that has lost its numbers takes new ones, but one that is made
        // again must not find the old ones.
        self.remove_control(&path)?;
        // In one step it is gone; then there is time to remove its files.
        let trash = join(&self.root, &[TRASH, self.names.stem().as_bytes()].concat());
        self.store.rename_dir(&path, &trash).doing("delete a mailbox")?;
        self.store.remove_dir(&trash).doing("remove a deleted mailbox's files")?;
        match self.maildirsize()?.quota()? {
            Some(quota) => self.maildirsize()?.recalculate(quota.limits).map(drop),
            None => Ok(()),
        }
    }

    /// Renames a mailbox and its children; returns the old and new names. A retry after a crash
    /// renames the children that are left.
    pub fn rename(&self, from: &str, to: &str) -> Result<Vec<(String, String)>, Error> {
        if is_inbox(from) || is_inbox(to) {
            return Err(bad_name("INBOX", "INBOX cannot be renamed; move its messages"));
        }
        let below = format!("{from}.");
        let moves: Vec<(String, String)> = self
            .list()?
            .into_iter()
            .filter(|name| name == from || name.starts_with(&below))
            .map(|name| (format!("{to}{}", &name[from.len()..]), name))
            .map(|(new, old)| (old, new))
            .collect();
        if moves.is_empty() {
            return Err(Error::NoMailbox(from.to_owned()));
        }
        for (_, new) in &moves {
            if self.exists(new)? {
                return Err(Error::Exists(new.clone()));
            }
        }
        for (old, new) in &moves {
            let (old, new) = (self.path(old)?, self.path(new)?);
            self.store.rename_dir(&old, &new).doing("rename a mailbox")?;
            if let (Some(old), Some(new)) = (self.control_path(&old), self.control_path(&new)) {
                match self.store.rename_dir(&old, &new) {
                    Err(e) if e.kind() != io::ErrorKind::NotFound => {
                        return Err(Error::io("rename a mailbox's control files", e));
                    }
                    _ => {}
                }
            }
        }
        Ok(moves)
    }

    /// Subscribed names, in byte order; they need not exist.
    pub fn subscriptions(&self) -> Result<Vec<String>, Error> {
        let dir = self.control_root()?;
        Ok(Subscriptions::read(&*self.store, &dir)?.names())
    }

    /// Subscribes to a name or unsubscribes; doing it twice is doing it once.
    pub fn subscribe(&self, name: &str, on: bool) -> Result<(), Error> {
        self.path(name)?;
        let dir = self.control_root()?;
        let _guard =
            self.store.lock(&dir, subscriptions::LOCK, self.config.lock_wait).doing("lock subscriptions")?;
        let mut subscriptions = Subscriptions::read(&*self.store, &dir)?;
        if subscriptions.set(name, on) {
            self.store
                .control_replace(&dir, subscriptions::FILE, &subscriptions.render(), Durability::None)
                .doing("write subscriptions")?;
        }
        Ok(())
    }

    /// What the tree may hold, and holds (`maildirsize`); `None` if it has no quota. Counted anew
    /// when the file is long, damaged, or says "full" without being fresh.
    pub fn quota(&self) -> Result<Option<Quota>, Error> {
        self.maildirsize()?.quota()
    }

    /// Sets the limits in `maildirsize` and counts all messages.
    pub fn set_quota(&self, limits: QuotaLimits) -> Result<Quota, Error> {
        self.maildirsize()?.recalculate(limits)
    }

    /// Removes what dead writers left in the `tmp` of all mailboxes; see [`Mailbox::clean_tmp`].
    pub fn clean_tmp(&self) -> Result<usize, Error> {
        self.list()?.iter().try_fold(0, |sum, name| Ok(sum + self.mailbox(name)?.clean_tmp()?))
    }

    fn maildirsize(&self) -> Result<MaildirSize<S>, Error> {
        MaildirSize::new(Arc::clone(&self.store), &self.root, self.config.quota)
    }

    fn control_root(&self) -> Result<S::Dir, Error> {
        let root = self.config.control_dir.as_ref().unwrap_or(&self.root);
        self.store.open_dir(root).doing("read subscriptions")
    }

    /// Where the control files of the mailbox at `path` are, if not there.
    fn control_path(&self, path: &[u8]) -> Option<Vec<u8>> {
        let below = path.strip_prefix(&self.root[..]).unwrap_or(path);
        let below = below.strip_prefix(b"/").unwrap_or(below);
        let control = self.config.control_dir.as_ref()?;
        Some(if below.is_empty() { control.clone() } else { join(control, below) })
    }

    fn remove_control(&self, path: &[u8]) -> Result<(), Error> {
        match self.control_path(path).map(|control| self.store.remove_dir(&control)) {
            Some(Err(e)) if e.kind() != io::ErrorKind::NotFound => {
                Err(Error::io("remove a mailbox's control files", e))
            }
            _ => Ok(()),
        }
    }

    fn dirs(&self) -> Result<Vec<Vec<u8>>, Error> {
        self.store.list_dirs(&self.root).doing("list mailboxes")
    }

    /// Where a mailbox is in the store.
    fn path(&self, name: &str) -> Result<Vec<u8>, Error> {
        if is_inbox(name) {
            return Ok(self.root.clone());
        }
        check_name(name)?;
        let mut path = self.encoded(name, self.config.folder_names)?;
        // The other kind, where only that is there.
        if !name.is_ascii() || name.contains('&') {
            let other = match self.config.folder_names {
                FolderNames::Mutf7 => FolderNames::Utf8,
                FolderNames::Utf8 => FolderNames::Mutf7,
            };
            if let Ok(other) = self.encoded(name, other) {
                let there = |path: &[u8]| self.store.open_dir(path).is_ok();
                if !there(&path) && there(&other) {
                    path = other;
                }
            }
        }
        Ok(path)
    }

    fn encoded(&self, name: &str, how: FolderNames) -> Result<Vec<u8>, Error> {
        // A UTF-8 name that would be read as modified UTF-7 is written so.
        let dir = match how {
            FolderNames::Utf8 if folder_name(format!(".{name}").as_bytes()).as_deref() == Some(name) => {
                format!(".{name}")
            }
            _ => format!(".{}", mutf7::encode(name)),
        };
        match dir.len() {
            0..=255 => Ok(join(&self.root, dir.as_bytes())),
            _ => Err(bad_name(name, "it is too long")),
        }
    }
}

pub(crate) fn is_inbox(name: &str) -> bool {
    name.eq_ignore_ascii_case("INBOX")
}

fn check_name(name: &str) -> Result<(), Error> {
    if name.split('.').any(str::is_empty) {
        return Err(bad_name(name, "a level is empty"));
    }
    if name.chars().any(|c| c == '/' || c.is_control()) {
        return Err(bad_name(name, "it has a slash or a control character"));
    }
    Ok(())
}

fn bad_name(name: &str, why: &'static str) -> Error {
    Error::BadMailboxName { name: name.to_owned(), why }
}

/// The mailbox name of a directory, in modified UTF-7 or else in UTF-8; `None` if it is not one of
/// a mailbox.
fn folder_name(dir: &[u8]) -> Option<String> {
    let dir = dir.strip_prefix(b".")?;
    let name = mutf7::decode(dir).or_else(|| String::from_utf8(dir.to_vec()).ok())?;
    check_name(&name).is_ok().then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_that_are_no_folders_have_no_name() {
        for dir in [&b"cur"[..], b".", b"..trash", b".A..B", b".A.", b".\xff", b".a\x01"] {
            assert_eq!(folder_name(dir), None, "{}", dir.escape_ascii());
        }
        assert_eq!(folder_name(b".A.B").as_deref(), Some("A.B"));
        assert_eq!(folder_name(b".Entw&APw-rfe").as_deref(), Some("Entwürfe"));
        assert_eq!(folder_name(".Entwürfe".as_bytes()).as_deref(), Some("Entwürfe"));
        assert_eq!(folder_name(b".R&D").as_deref(), Some("R&D"), "no modified UTF-7: taken as it is");
    }
}

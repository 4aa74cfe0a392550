//! Maildir++: a user's mailboxes. INBOX is the root; folder `A.B` is the directory `.A.B` in it.

use std::io;
use std::sync::Arc;

use crate::error::{Doing, Error};
use crate::generate::NameGenerator;
use crate::mailbox::{Mailbox, MailboxConfig, join};
use crate::mutf7;
use crate::store::{Durability, Store};

const SUBSCRIPTIONS: &[u8] = b"subscriptions";
const SUBSCRIPTIONS_LOCK: &[u8] = b"subscriptions.lock";
/// First lines of Dovecot's second format; its levels are separated by tabs.
const SUBSCRIPTIONS_V2: &[u8] = b"V\t2\n\n";
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
    /// `config.validity_dir` is set to `root`.
    pub fn new(store: Arc<S>, root: &[u8], mut config: MailboxConfig) -> Self {
        config.validity_dir = root.to_vec();
        Self { names: NameGenerator::new(&config.host), store, root: root.to_vec(), config }
    }

    /// Makes INBOX if there is none, and clears away what an interrupted [`Tree::delete`] left.
    pub fn ensure(&self) -> Result<(), Error> {
        for sub in [&b"tmp"[..], b"new", b"cur"] {
            self.store.create_dir(&join(&self.root, sub)).doing("make INBOX")?;
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
        match Mailbox::open(Arc::clone(&self.store), &self.path(name)?, self.config.clone()) {
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
        // In one step it is gone; then there is time to remove its files.
        let trash = join(&self.root, &[TRASH, self.names.stem().as_bytes()].concat());
        self.store.rename_dir(&self.path(name)?, &trash).doing("delete a mailbox")?;
        self.store.remove_dir(&trash).doing("remove a deleted mailbox's files")
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
            self.store.rename_dir(&self.path(old)?, &self.path(new)?).doing("rename a mailbox")?;
        }
        Ok(moves)
    }

    /// Subscribed names, in byte order; they need not exist.
    pub fn subscriptions(&self) -> Result<Vec<String>, Error> {
        let dir = self.store.open_dir(&self.root).doing("read subscriptions")?;
        let mut names: Vec<String> =
            Subscriptions::read(&*self.store, &dir)?.lines.iter().filter_map(|l| decode_line(l)).collect();
        names.sort_unstable();
        names.dedup();
        Ok(names)
    }

    /// Subscribes to a name or unsubscribes; doing it twice is doing it once.
    pub fn subscribe(&self, name: &str, on: bool) -> Result<(), Error> {
        self.path(name)?;
        let dir = self.store.open_dir(&self.root).doing("read subscriptions")?;
        let _guard =
            self.store.lock(&dir, SUBSCRIPTIONS_LOCK, self.config.lock_wait).doing("lock subscriptions")?;
        let mut subscriptions = Subscriptions::read(&*self.store, &dir)?;
        if subscriptions.set(name, on) {
            self.store
                .control_replace(&dir, SUBSCRIPTIONS, &subscriptions.render(), Durability::None)
                .doing("write subscriptions")?;
        }
        Ok(())
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
        let dir = format!(".{}", mutf7::encode(name));
        match dir.len() {
            0..=255 => Ok(join(&self.root, dir.as_bytes())),
            _ => Err(bad_name(name, "it is too long")),
        }
    }
}

fn is_inbox(name: &str) -> bool {
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

/// The mailbox name of a directory; `None` if it is not one of a mailbox.
fn folder_name(dir: &[u8]) -> Option<String> {
    let name = mutf7::decode(dir.strip_prefix(b".")?)?;
    check_name(&name).is_ok().then_some(name)
}

/// The file `subscriptions`. Lines that cannot be read are kept.
#[derive(Debug)]
struct Subscriptions {
    /// Does it begin with [`SUBSCRIPTIONS_V2`]?
    second_format: bool,
    lines: Vec<Vec<u8>>,
}

impl Subscriptions {
    fn read<S: Store>(store: &S, dir: &S::Dir) -> Result<Self, Error> {
        let bytes = match store.control_read(dir, SUBSCRIPTIONS, 0) {
            Ok((bytes, _)) => bytes,
            Err(e) if e.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(e) => return Err(Error::io("read subscriptions", e)),
        };
        Ok(Self::parse(&bytes))
    }

    fn parse(bytes: &[u8]) -> Self {
        let body = bytes.strip_prefix(SUBSCRIPTIONS_V2);
        let lines = body.unwrap_or(bytes).split(|b| *b == b'\n').filter(|line| !line.is_empty());
        Self { second_format: body.is_some(), lines: lines.map(<[u8]>::to_vec).collect() }
    }

    fn render(&self) -> Vec<u8> {
        let mut out = if self.second_format { SUBSCRIPTIONS_V2.to_vec() } else { Vec::new() };
        for line in &self.lines {
            out.extend_from_slice(line);
            out.push(b'\n');
        }
        out
    }

    /// Returns whether anything changed.
    fn set(&mut self, name: &str, on: bool) -> bool {
        let before = self.lines.len();
        let same = |line: &[u8]| decode_line(line).as_deref() == Some(name);
        match on {
            true if self.lines.iter().any(|line| same(line)) => {}
            true => self.lines.push(self.encode_line(name)),
            false => self.lines.retain(|line| !same(line)),
        }
        self.lines.len() != before
    }

    fn encode_line(&self, name: &str) -> Vec<u8> {
        let line = mutf7::encode(name);
        if self.second_format { line.replace('.', "\t").into_bytes() } else { line.into_bytes() }
    }
}

fn decode_line(line: &[u8]) -> Option<String> {
    let line: Vec<u8> = line.iter().map(|b| if *b == b'\t' { b'.' } else { *b }).collect();
    mutf7::decode(&line).or_else(|| String::from_utf8(line).ok()).map(|name| match is_inbox(&name) {
        true => "INBOX".to_owned(),
        false => name,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_of_dovecots_subscription_formats_are_kept() {
        let mut first = Subscriptions::parse(b"A.B\nEntw&APw-rfe\n");
        assert!(first.set("Entwürfe", false) && first.set("C.D", true) && !first.set("A.B", true));
        assert_eq!(first.render(), b"A.B\nC.D\n");
        let mut second = Subscriptions::parse(b"V\t2\n\nA\tB\n");
        assert!(!second.set("A.B", true) && second.set("C.D", true));
        assert_eq!(second.render(), b"V\t2\n\nA\tB\nC\tD\n");
    }

    #[test]
    fn directories_that_are_no_folders_have_no_name() {
        for dir in [&b"cur"[..], b".", b"..trash", b".A..B", b".A.", b".&bad"] {
            assert_eq!(folder_name(dir), None, "{}", dir.escape_ascii());
        }
        assert_eq!(folder_name(b".A.B").as_deref(), Some("A.B"));
    }
}

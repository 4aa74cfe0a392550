//! What a Maildir needs of the thing it is stored on.
//!
//! Not a file system: a tree of directories that hold *immutable* files, plus a few small
//! *control files* (`dovecot-uidlist` and its kin) that grow or are replaced whole. Names are
//! bytes. `NotFound` is an answer, never "empty".

use std::io::{self, Read, Seek, Write};
use std::time::{Duration, SystemTime};

/// What a store can and cannot do; callers test it instead of guessing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caps {
    /// A scan that races with renames neither misses a name nor shows it twice.
    pub coherent_scan: bool,
    /// [`Stamp::generation`] is exact: equal stamps prove that nothing changed.
    pub exact_stamp: bool,
    /// Programs other than this one may change the tree (Dovecot, Postfix, mutt).
    pub shared: bool,
    /// [`Store::watch`] tells of changes; where it cannot, look at the stamps now and then.
    pub watch: bool,
    /// A staged file has no name before it is published: a writer that dies leaves nothing for
    /// [`Store::sweep`].
    pub unnamed: bool,
    /// The tree is on NFS: what other nodes do is seen late, and answers may get lost.
    pub nfs: bool,
}

/// How durable an operation is when it returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Durability {
    /// Visible, and durable at some later time or at the next [`Store::commit`].
    None,
    /// Durable, name and content, when the call returns (on a replicated store: on every
    /// in-sync replica).
    Full,
}

/// A cheap witness of a directory's or control file's state.
///
/// Equal stamps mean "nothing changed" if [`Caps::exact_stamp`]; elsewhere only if the time is
/// older than the clock's granularity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Stamp {
    /// Identity of the object: a replaced file or directory has another one.
    pub id: u64,
    /// Time of the last change in nanoseconds since 1970; 0 where [`Caps::exact_stamp`].
    pub mtime_ns: i128,
    /// Length in bytes (files), 0 for directories.
    pub len: u64,
    /// A number that grows with each change, where the store has one; else 0.
    pub generation: u64,
}

/// What is known of a file without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Meta {
    /// Length in bytes.
    pub len: u64,
    /// Modification time: IMAP's INTERNALDATE.
    pub modified: SystemTime,
    /// Identity (inode): two names of one file share it.
    pub id: u64,
}

/// One file of a [`Store::publish`] batch: staged content and the place where it becomes visible.
#[derive(Debug)]
pub struct Publish<S: Store + ?Sized> {
    /// The content, complete.
    pub staged: S::Staged,
    /// The directory (`new` or `cur`).
    pub dir: S::Dir,
    /// The file's name there; must not exist.
    pub name: Vec<u8>,
}

/// Tells of changes. Made by [`Store::watch`].
pub trait Watch: Send + std::fmt::Debug {
    /// Waits until something in a watched directory changed since the last call; false after
    /// `timeout`. A change may be told that was none; none is kept back.
    fn wait(&mut self, timeout: Duration) -> io::Result<bool>;
}

/// A tree of directories of immutable files. All calls block; all are safe from any thread.
///
/// Paths are relative to the tree's root, bytes separated by `/`, with no empty, `.` or `..`
/// component; `b""` is the root.
pub trait Store: Send + Sync + 'static {
    /// An open directory. Stays usable while the directory exists, whatever its name.
    type Dir: Clone + Send + Sync + std::fmt::Debug + 'static;
    /// A file opened for reading.
    type File: Read + Seek + Send + 'static;
    /// A file being written, not yet visible. Dropped unpublished, it is removed.
    type Staged: Write + Send + std::fmt::Debug;
    /// Holds a lock until dropped.
    type Guard: Send + std::fmt::Debug;

    /// What this store can do.
    fn caps(&self) -> Caps;

    /// Makes a directory and its missing parents, durably. An existing one is no error:
    /// returns whether it was made.
    fn create_dir(&self, path: &[u8]) -> io::Result<bool>;
    /// Opens a directory; `NotFound` if there is none.
    fn open_dir(&self, path: &[u8]) -> io::Result<Self::Dir>;
    /// The names of the directories directly below `path`, in any order.
    fn list_dirs(&self, path: &[u8]) -> io::Result<Vec<Vec<u8>>>;
    /// Renames a directory, durably; `AlreadyExists` if `to` exists.
    fn rename_dir(&self, from: &[u8], to: &[u8]) -> io::Result<()>;
    /// Removes a directory with all that is in it, durably.
    fn remove_dir(&self, path: &[u8]) -> io::Result<()>;

    /// Begins a file under an exclusive name in `tmp` (stores without litter may ignore both).
    /// `modified` becomes its modification time, else the time of publishing.
    fn stage(&self, tmp: &Self::Dir, name: &[u8], modified: Option<SystemTime>) -> io::Result<Self::Staged>;
    /// Makes the contents of staged files durable, sharing flushes with all who call at once, so
    /// that [`Store::publish`] need not. For stores where that is a step of its own.
    fn settle(&self, staged: &mut [&mut Self::Staged]) -> io::Result<()> {
        let _ = staged;
        Ok(())
    }
    /// Makes a batch visible, in order, sharing its flushes. A file's content is always durable
    /// before its name. Each file has its own result (`AlreadyExists` if the name is taken);
    /// the outer error means that no statement about durability can be made.
    fn publish(&self, batch: Vec<Publish<Self>>, durability: Durability) -> io::Result<Vec<io::Result<()>>>;

    /// Renames a file, atomically, replacing nothing that the caller should keep: Maildir names
    /// are unique by construction. `NotFound` if `old` is gone.
    fn rename(&self, from: &Self::Dir, old: &[u8], to: &Self::Dir, new: &[u8]) -> io::Result<()>;
    /// Gives a file a second name; `AlreadyExists` if taken; `Unsupported` where it cannot be
    /// (the caller copies).
    fn link(&self, from: &Self::Dir, old: &[u8], to: &Self::Dir, new: &[u8]) -> io::Result<()>;
    /// Removes a name.
    fn unlink(&self, dir: &Self::Dir, name: &[u8]) -> io::Result<()>;
    /// Opens a file for reading.
    fn open(&self, dir: &Self::Dir, name: &[u8]) -> io::Result<Self::File>;
    /// Size, date and identity of a file.
    fn stat(&self, dir: &Self::Dir, name: &[u8]) -> io::Result<Meta>;
    /// Calls `each` for every file name in the directory (not for subdirectories), in any order.
    /// The stamp was taken *before* the scan: what changes meanwhile changes it.
    fn scan(&self, dir: &Self::Dir, each: &mut dyn FnMut(&[u8])) -> io::Result<Stamp>;
    /// The directory's stamp.
    fn stamp(&self, dir: &Self::Dir) -> io::Result<Stamp>;

    /// The stamp of a control file; `NotFound` if there is none.
    fn control_stamp(&self, dir: &Self::Dir, name: &[u8]) -> io::Result<Stamp>;
    /// A control file's bytes from `offset` on, with its stamp at that time.
    fn control_read(&self, dir: &Self::Dir, name: &[u8], offset: u64) -> io::Result<(Vec<u8>, Stamp)>;
    /// Appends to an existing control file. The caller holds the lock.
    fn control_append(
        &self,
        dir: &Self::Dir,
        name: &[u8],
        bytes: &[u8],
        durability: Durability,
    ) -> io::Result<Stamp>;
    /// Replaces (or makes) a control file, atomically. The caller holds the lock.
    fn control_replace(
        &self,
        dir: &Self::Dir,
        name: &[u8],
        bytes: &[u8],
        durability: Durability,
    ) -> io::Result<Stamp>;

    /// Takes the lock named `name` in `dir` (on a shared file system: Dovecot's dotlock), against
    /// all threads, processes and nodes. `TimedOut` after `wait`.
    fn lock(&self, dir: &Self::Dir, name: &[u8], wait: Duration) -> io::Result<Self::Guard>;

    /// Says that a held lock is still in use, and checks that it is still ours. Long holders call
    /// it every so often (every 100 renames); an error means that it was lost: stop, and reread.
    fn refresh_lock(&self, guard: &Self::Guard) -> io::Result<()> {
        let _ = guard;
        Ok(())
    }

    /// Watches directories for names that appear, go or are renamed, whoever does it.
    /// `Unsupported` where the store cannot: look at the stamps now and then.
    fn watch(&self, dirs: &[&Self::Dir]) -> io::Result<Box<dyn Watch>> {
        let _ = dirs;
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Removes files from `tmp` that nobody has touched for `unused_for`, unless somebody did so
    /// within `at_most_every`; returns how many. Stores whose staged files leave nothing behind
    /// when a process dies do nothing.
    fn sweep(&self, tmp: &Self::Dir, unused_for: Duration, at_most_every: Duration) -> io::Result<usize> {
        let _ = (tmp, unused_for, at_most_every);
        Ok(0)
    }

    /// Returns when everything that this store has let anyone see so far is durable. Servers
    /// call it before a reply that carries state (DESIGN R3). Concurrent calls share flushes.
    fn commit(&self) -> io::Result<()>;
}

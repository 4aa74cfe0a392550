//! [`maildir::Store`](posthaste_maildir::Store) on a volume: one user's tree is one subtree.

use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use posthaste_maildir::{Caps, Durability, Meta, Publish, Stamp, Store};

use crate::{Attributes, Dir, File, Fs, LockGuard, Sequence, Staged};

/// A subtree of a volume as a Maildir store.
///
/// Paths begin at the subtree's root, which [`create_dir`](Store::create_dir) of `b""` makes.
#[derive(Debug, Clone)]
pub struct FsStore {
    fs: Arc<Fs>,
    root: Vec<u8>,
}

impl FsStore {
    /// The subtree at `root` (bytes separated by `/`; `b""` is the whole volume).
    #[must_use]
    pub fn new(fs: Arc<Fs>, root: &[u8]) -> Self {
        FsStore { fs, root: root.to_vec() }
    }

    /// The volume below.
    #[must_use]
    pub fn fs(&self) -> &Arc<Fs> {
        &self.fs
    }

    fn path(&self, path: &[u8]) -> Vec<u8> {
        match (self.root.as_slice(), path) {
            (root, b"") => root.to_vec(),
            (b"", path) => path.to_vec(),
            (root, path) => [root, b"/", path].concat(),
        }
    }

    fn settle(&self, changed: Sequence, durability: Durability) -> io::Result<()> {
        match durability {
            Durability::None => Ok(()),
            Durability::Full => self.fs.commit_until(changed),
        }
    }
}

fn stamp(attributes: &Attributes) -> Stamp {
    let (id, len, generation) = (attributes.inode, attributes.len, attributes.changed.0);
    Stamp { id, mtime_ns: 0, len, generation }
}

fn dir_stamp(dir: Dir, changed: Sequence) -> Stamp {
    Stamp { id: dir.0, mtime_ns: 0, len: 0, generation: changed.0 }
}

impl Store for FsStore {
    type Dir = Dir;
    type File = File;
    type Staged = Staged;
    type Guard = LockGuard;

    fn caps(&self) -> Caps {
        Caps {
            coherent_scan: true,
            exact_stamp: true,
            shared: false,
            watch: false,
            unnamed: true,
            nfs: false,
        }
    }

    fn create_dir(&self, path: &[u8]) -> io::Result<bool> {
        let made = self.fs.create_dir(Dir::ROOT, &self.path(path))?;
        self.fs.commit()?;
        Ok(made)
    }

    fn open_dir(&self, path: &[u8]) -> io::Result<Dir> {
        self.fs.dir(Dir::ROOT, &self.path(path))
    }

    fn list_dirs(&self, path: &[u8]) -> io::Result<Vec<Vec<u8>>> {
        self.fs.list_dirs(self.open_dir(path)?)
    }

    fn rename_dir(&self, from: &[u8], to: &[u8]) -> io::Result<()> {
        self.fs.rename_dir(Dir::ROOT, &self.path(from), &self.path(to))?;
        self.fs.commit()
    }

    fn remove_dir(&self, path: &[u8]) -> io::Result<()> {
        self.fs.remove_dir(Dir::ROOT, &self.path(path))?;
        self.fs.commit()
    }

    fn stage(&self, _tmp: &Dir, _name: &[u8], modified: Option<SystemTime>) -> io::Result<Staged> {
        Ok(self.fs.stage(modified))
    }

    fn publish(&self, batch: Vec<Publish<Self>>, durability: Durability) -> io::Result<Vec<io::Result<()>>> {
        let mut last = None;
        let mut results = Vec::with_capacity(batch.len());
        for Publish { staged, dir, name } in batch {
            let published = self.fs.publish(staged, dir, &name);
            last = last.max(published.as_ref().ok().copied());
            results.push(published.map(|_| ()));
        }
        if let Some(last) = last {
            self.settle(last, durability)?;
        }
        Ok(results)
    }

    fn rename(&self, from: &Dir, old: &[u8], to: &Dir, new: &[u8]) -> io::Result<()> {
        self.fs.rename(*from, old, *to, new).map(|_| ())
    }

    fn link(&self, from: &Dir, old: &[u8], to: &Dir, new: &[u8]) -> io::Result<()> {
        self.fs.link(*from, old, *to, new).map(|_| ())
    }

    fn unlink(&self, dir: &Dir, name: &[u8]) -> io::Result<()> {
        self.fs.unlink(*dir, name).map(|_| ())
    }

    fn open(&self, dir: &Dir, name: &[u8]) -> io::Result<File> {
        self.fs.open_file(*dir, name)
    }

    fn stat(&self, dir: &Dir, name: &[u8]) -> io::Result<Meta> {
        let found = self.fs.attributes(*dir, name)?;
        Ok(Meta { len: found.len, modified: found.modified, id: found.inode })
    }

    fn scan(&self, dir: &Dir, each: &mut dyn FnMut(&[u8])) -> io::Result<Stamp> {
        self.fs.scan(*dir, each).map(|changed| dir_stamp(*dir, changed))
    }

    fn stamp(&self, dir: &Dir) -> io::Result<Stamp> {
        self.fs.generation(*dir).map(|changed| dir_stamp(*dir, changed))
    }

    fn control_stamp(&self, dir: &Dir, name: &[u8]) -> io::Result<Stamp> {
        self.fs.attributes(*dir, name).map(|found| stamp(&found))
    }

    fn control_read(&self, dir: &Dir, name: &[u8], offset: u64) -> io::Result<(Vec<u8>, Stamp)> {
        let (bytes, found) = self.fs.read_from(*dir, name, offset)?;
        Ok((bytes, stamp(&found)))
    }

    fn control_append(
        &self,
        dir: &Dir,
        name: &[u8],
        bytes: &[u8],
        durability: Durability,
    ) -> io::Result<Stamp> {
        let found = self.fs.append(*dir, name, bytes)?;
        self.settle(found.changed, durability)?;
        Ok(stamp(&found))
    }

    fn control_replace(
        &self,
        dir: &Dir,
        name: &[u8],
        bytes: &[u8],
        durability: Durability,
    ) -> io::Result<Stamp> {
        let found = self.fs.replace(*dir, name, bytes)?;
        self.settle(found.changed, durability)?;
        Ok(stamp(&found))
    }

    fn lock(&self, dir: &Dir, name: &[u8], wait: Duration) -> io::Result<LockGuard> {
        self.fs.lock(*dir, name, wait)
    }

    fn commit(&self) -> io::Result<()> {
        self.fs.commit()
    }
}

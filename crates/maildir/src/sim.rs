//! A store in memory that can lose power: for tests of what survives.
//!
//! It keeps two images: what callers see, and what is durable. A [`Store::commit`](crate::Store::commit) makes the second
//! equal to the first; [`SimFs::freeze_at`] stops that at the k-th flush, as if the power went
//! there while the callers go on. [`SimFs::crash`] then gives the store as it might be found:
//! the durable image with some of the later changes, in an order of chance's choosing, and
//! control files cut or zeroed behind their last flush.
//!
//! ```
//! use posthaste_maildir::{Store, sim::SimFs};
//! let store = SimFs::default();
//! store.create_dir(b"a")?; // durable at once, by contract
//! let dir = store.open_dir(b"a")?;
//! store.freeze_at(store.flushes() + 2); // the content is flushed, the name is not
//! store.control_replace(&dir, b"file", b"x", posthaste_maildir::Durability::None)?;
//! store.commit()?;
//! assert!(store.is_frozen()); // this commit was one too many: nobody may be told of it
//! let after = (0..20).map(|seed| store.crash(seed).control_stamp(&dir, b"file").is_ok());
//! assert!(after.collect::<std::collections::HashSet<_>>().len() == 2); // there, or not
//! # Ok::<(), std::io::Error>(())
//! ```

mod store;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::{self, Cursor, Read, Seek, SeekFrom, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::SystemTime;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::store::{Publish, Stamp};

/// A store in memory, with a durable image beside the live one.
#[derive(Debug, Default)]
pub struct SimFs {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    world: Mutex<World>,
    locks: Mutex<HashSet<(u64, Vec<u8>)>>,
    unlocked: Condvar,
}

/// An open directory of a [`SimFs`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SimDir(u64);

/// A file of a [`SimFs`], opened for reading.
#[derive(Debug)]
pub struct SimFile(Cursor<Arc<[u8]>>);

/// A file of a [`SimFs`] that is being written.
#[derive(Debug)]
pub struct SimStaged {
    shared: Arc<Shared>,
    bytes: Vec<u8>,
    modified: Option<SystemTime>,
}

/// A lock of a [`SimFs`], held.
#[derive(Debug)]
pub struct SimGuard {
    shared: Arc<Shared>,
    key: (u64, Vec<u8>),
}

const ROOT: u64 = 0;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Node {
    Dir(u64),
    File(u64),
}

/// Directories by id. Ids of files and directories are never used twice.
type Image = HashMap<u64, BTreeMap<Vec<u8>, Node>>;

#[derive(Debug, Clone)]
struct World {
    live: Image,
    durable: Image,
    /// Changes that are not durable, oldest first; each happens whole or not at all.
    pending: Vec<Vec<Change>>,
    files: HashMap<u64, Content>,
    generations: HashMap<u64, u64>,
    /// The directory that each directory is in, or was in last.
    parents: HashMap<u64, u64>,
    last_id: u64,
    flushes: u64,
    freeze_at: u64,
    full: bool,
    /// Where scans lie, the seed of the next lie.
    scan_faults: Option<u64>,
}

#[derive(Debug, Clone)]
struct Content {
    bytes: Vec<u8>,
    durable_len: usize,
    /// What was written before the power went.
    written_len: usize,
    modified: SystemTime,
}

#[derive(Debug, Clone)]
enum Change {
    MakeDir(u64),
    Set(u64, Vec<u8>, Node),
    Clear(u64, Vec<u8>, Node),
}

impl Default for World {
    fn default() -> Self {
        let root: Image = HashMap::from([(ROOT, BTreeMap::new())]);
        Self {
            live: root.clone(),
            durable: root,
            pending: Vec::new(),
            files: HashMap::new(),
            generations: HashMap::new(),
            parents: HashMap::new(),
            last_id: ROOT,
            flushes: 0,
            freeze_at: u64::MAX,
            full: false,
            scan_faults: None,
        }
    }
}

impl SimFs {
    /// How many flushes there have been.
    pub fn flushes(&self) -> u64 {
        self.world().flushes
    }

    /// From this flush on (the first is 1), nothing becomes durable any more.
    pub fn freeze_at(&self, flush: u64) {
        self.world().freeze_at = flush;
    }

    /// Has a flush been without effect? What was done since the last one that had an effect must
    /// not count as acknowledged.
    pub fn is_frozen(&self) -> bool {
        self.world().is_frozen()
    }

    /// From now on nothing can be written (`StorageFull`), or it can again.
    pub fn set_full(&self, full: bool) {
        self.world().full = full;
    }

    /// From now on scans show names in an order of chance, some of them twice and some not at all
    /// (as `readdir` may while others rename, and as some NFS servers do in any case); or the truth
    /// again.
    pub fn set_scan_faults(&self, seed: Option<u64>) {
        self.world().scan_faults = seed;
    }

    /// The store as it might be found after the power went at this moment. The same seed finds
    /// the same.
    pub fn crash(&self, seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut world = self.world().clone();
        let style = rng.random_range(0..4u8);
        let cut = rng.random_range(0..=world.pending.len());
        for (at, group) in std::mem::take(&mut world.pending).into_iter().enumerate() {
            let survives = match style {
                0 => false,
                1 => at < cut,
                2 => rng.random(),
                _ => true,
            };
            if survives {
                apply(&mut world.durable, &group);
            }
        }
        let mut ids: Vec<u64> = world.files.keys().copied().collect();
        ids.sort_unstable();
        for id in ids {
            world.files.get_mut(&id).expect("listed").tear(&mut rng);
        }
        world.live = world.durable.clone();
        world.find_parents();
        world.freeze_at = u64::MAX;
        world.full = false;
        let shared = Shared { world: Mutex::new(world), ..Shared::default() };
        Self { shared: Arc::new(shared) }
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.shared.world()
    }
}

impl Shared {
    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Content {
    /// Behind the last flush anything may be: nothing, a part, zeros.
    fn tear(&mut self, rng: &mut StdRng) {
        self.bytes.truncate(self.written_len);
        let keep = rng.random_range(self.durable_len..=self.bytes.len());
        match rng.random() {
            true => self.bytes.truncate(keep),
            false => self.bytes[keep..].fill(0),
        }
        self.durable_len = self.bytes.len();
        self.written_len = self.bytes.len();
    }
}

fn apply(image: &mut Image, group: &[Change]) {
    for change in group {
        match change {
            Change::MakeDir(id) => drop(image.entry(*id).or_default()),
            Change::Set(dir, name, node) => drop(image.entry(*dir).or_default().insert(name.clone(), *node)),
            Change::Clear(dir, name, node) => {
                let entries = image.entry(*dir).or_default();
                if entries.get(name) == Some(node) {
                    entries.remove(name);
                }
            }
        }
    }
}

impl World {
    fn id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    fn change(&mut self, group: Vec<Change>) {
        apply(&mut self.live, &group);
        for change in &group {
            if let Change::Set(dir, ..) | Change::Clear(dir, ..) = change {
                *self.generations.entry(*dir).or_default() += 1;
            }
            if let Change::Set(dir, _, Node::Dir(id)) = change {
                self.parents.insert(*id, *dir);
            }
        }
        // Without power, what callers do from here on never happens.
        if !self.is_frozen() {
            self.pending.push(group);
        }
    }

    fn is_frozen(&self) -> bool {
        self.flushes >= self.freeze_at
    }

    fn flush(&mut self) {
        self.flushes += 1;
        if self.is_frozen() {
            return;
        }
        for group in std::mem::take(&mut self.pending) {
            apply(&mut self.durable, &group);
        }
        for file in self.files.values_mut() {
            file.durable_len = file.bytes.len();
        }
    }

    /// Flushes one file's content and nothing else.
    fn flush_file(&mut self, id: u64) {
        self.flushes += 1;
        if !self.is_frozen() {
            let file = self.files.get_mut(&id).expect("files are kept");
            file.durable_len = file.bytes.len();
        }
    }

    fn room(&self) -> io::Result<()> {
        if self.full { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn entries(&self, dir: u64) -> io::Result<&BTreeMap<Vec<u8>, Node>> {
        self.live.get(&dir).filter(|_| self.is_linked(dir)).ok_or(io::ErrorKind::NotFound.into())
    }

    fn is_linked(&self, dir: u64) -> bool {
        if dir == ROOT {
            return true;
        }
        let parent = self.parents.get(&dir).copied();
        let holds = |parent: &u64| {
            self.live.get(parent).is_some_and(|entries| entries.values().any(|node| *node == Node::Dir(dir)))
        };
        parent.filter(holds).is_some_and(|parent| self.is_linked(parent))
    }

    /// Where directories are, read from the live image.
    fn find_parents(&mut self) {
        let inside = |(dir, entries): (&u64, &BTreeMap<Vec<u8>, Node>)| {
            let dirs = entries.values().filter_map(|node| match node {
                Node::Dir(id) => Some(*id),
                Node::File(_) => None,
            });
            dirs.map(|id| (id, *dir)).collect::<Vec<_>>()
        };
        self.parents = self.live.iter().flat_map(inside).collect();
    }

    fn dir(&self, path: &[u8]) -> io::Result<u64> {
        components(path)?.into_iter().try_fold(ROOT, |dir, name| match self.entries(dir)?.get(name) {
            Some(Node::Dir(id)) => Ok(*id),
            Some(Node::File(_)) => Err(io::ErrorKind::NotADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        })
    }

    fn parent<'a>(&self, path: &'a [u8]) -> io::Result<(u64, &'a [u8])> {
        let at = path.iter().rposition(|b| *b == b'/');
        let (parent, name) = at.map_or((&b""[..], path), |at| (&path[..at], &path[at + 1..]));
        check_name(name)?;
        Ok((self.dir(parent)?, name))
    }

    fn file(&self, dir: SimDir, name: &[u8]) -> io::Result<(u64, &Content)> {
        check_name(name)?;
        match self.entries(dir.0)?.get(name) {
            Some(Node::File(id)) => Ok((*id, &self.files[id])),
            Some(Node::Dir(_)) => Err(io::ErrorKind::IsADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn free(&self, dir: SimDir, name: &[u8]) -> io::Result<()> {
        check_name(name)?;
        match self.entries(dir.0)?.contains_key(name) {
            true => Err(io::ErrorKind::AlreadyExists.into()),
            false => Ok(()),
        }
    }

    fn publish(&mut self, item: Publish<SimFs>) -> io::Result<()> {
        self.free(item.dir, &item.name)?;
        self.room()?;
        let modified = item.staged.modified.unwrap_or_else(SystemTime::now);
        let id = self.add_file(&item.staged.bytes, modified);
        self.change(vec![Change::Set(item.dir.0, item.name, Node::File(id))]);
        Ok(())
    }

    /// A file whose content is durable (unless the power is gone).
    fn add_file(&mut self, bytes: &[u8], modified: SystemTime) -> u64 {
        let id = self.id();
        let content = Content { bytes: bytes.to_vec(), durable_len: 0, written_len: bytes.len(), modified };
        self.files.insert(id, content);
        self.flush_file(id);
        id
    }

    fn control_stamp(&self, id: u64) -> Stamp {
        let len = self.files[&id].bytes.len() as u64;
        Stamp { id, len, ..Stamp::default() }
    }
}

impl Drop for SimGuard {
    fn drop(&mut self) {
        let mut held = self.shared.locks.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        held.remove(&self.key);
        self.shared.unlocked.notify_all();
    }
}

impl Write for SimStaged {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.shared.world().room()?;
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for SimFile {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read(buf)
    }
}

impl Seek for SimFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.0.seek(to)
    }
}

/// One name in twelve is missing, one in twelve there twice; no order.
fn lie(names: &mut Vec<Vec<u8>>, seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut shown = Vec::with_capacity(names.len());
    for name in names.drain(..) {
        let times = match rng.random_range(0..12) {
            0 => 0,
            1 => 2,
            _ => 1,
        };
        for _ in 0..times {
            shown.insert(rng.random_range(0..=shown.len()), name.clone());
        }
    }
    *names = shown;
}

fn components(path: &[u8]) -> io::Result<Vec<&[u8]>> {
    if path.is_empty() {
        return Ok(Vec::new());
    }
    path.split(|b| *b == b'/').map(|name| check_name(name).map(|()| name)).collect()
}

fn check_name(name: &[u8]) -> io::Result<()> {
    let bad = matches!(name, b"" | b"." | b"..") || name.iter().any(|b| matches!(b, b'/' | 0));
    if bad { Err(io::ErrorKind::InvalidInput.into()) } else { Ok(()) }
}

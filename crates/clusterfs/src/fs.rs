//! The file store: what callers hold.

use std::io::{self, Read, Seek, SeekFrom, Write};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use posthaste_blockrepl::BlockDevice;

use crate::apply::root_row;
use crate::disk::Disk;
use crate::error::{Failure, FormatError, OpenError};
use crate::file::{File, Purpose, Staged};
use crate::index::Index;
use crate::op::{Body, Inode, Leaf, Op, ROOT, key};
use crate::state::{Overlay, State};
use crate::superblock::{BLOCK, FormatOptions, Superblock};
use crate::volume::Volume;

/// The longest name in bytes.
pub const NAME_MAX: usize = 255;
/// The longest path in bytes.
pub const PATH_MAX: usize = 4096;
/// Most of the index that messages may fill, in percent; the rest is for what frees space.
const MESSAGE_SHARE: u64 = 90;

/// How to run an open volume.
#[derive(Debug, Clone)]
pub struct OpenOptions {
    /// Refuse any other volume. `None` takes whatever the device holds.
    pub expect_volume: Option<String>,
    /// Memory for the index's pages, in bytes.
    pub cache_bytes: usize,
    /// Files up to this many bytes travel in the log and live in the index; at most 4,096.
    pub inline_max: usize,
    /// Memory for what is not checkpointed yet, in bytes; writers wait at this mark.
    pub overlay_bytes: u64,
    /// Checkpoint at least this often while something changes. It bounds the log to replay, as
    /// does half of the ring.
    pub checkpoint_every: Duration,
    /// Longest time that something visible but not committed waits to be durable.
    pub tick: Duration,
    /// Run the thread that commits and checkpoints behind the callers. Without it they do so
    /// themselves when they must, and by [`Fs::maintain`].
    pub background: bool,
}

impl Default for OpenOptions {
    fn default() -> Self {
        OpenOptions {
            expect_volume: None,
            cache_bytes: 16 << 20,
            inline_max: 1024,
            overlay_bytes: 16 << 20,
            checkpoint_every: Duration::from_millis(1500),
            tick: Duration::from_millis(100),
            background: true,
        }
    }
}

impl OpenOptions {
    /// Rows of the index that may wait for a checkpoint.
    pub(crate) fn overlay_rows(&self) -> u64 {
        self.overlay_bytes / 256
    }
}

/// A directory: usable while it exists, whatever its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Dir(pub(crate) Inode);

impl Dir {
    /// The volume's root.
    pub const ROOT: Dir = Dir(ROOT);
}

/// The position of an operation in the volume's total order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sequence(pub u64);

/// What is known of a file without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attributes {
    /// Identity: two names of one file share it.
    pub inode: u64,
    /// Length in bytes.
    pub len: u64,
    /// Modification time.
    pub modified: SystemTime,
    /// Names of this file.
    pub links: u32,
    /// The last operation that changed its content.
    pub changed: Sequence,
}

/// The state of a volume, for operators.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// The volume's name.
    pub volume: String,
    /// Identity of the file system.
    pub uuid: [u8; 16],
    /// The epoch that this handle writes in.
    pub epoch: u64,
    /// The last operation that anyone can see.
    pub applied: Sequence,
    /// The last operation that is durable on all of the in-sync set.
    pub committed: Sequence,
    /// The last operation that the index holds.
    pub checkpointed: Sequence,
    /// Operations replayed when it was opened.
    pub replayed: u64,
    /// Whether opening dropped a torn, never acknowledged end of the log.
    pub cut: bool,
    /// Bytes of the log that wait for a checkpoint, and its size.
    pub log: (u64, u64),
    /// Free bytes for messages, and their sum with what is used.
    pub data: (u64, u64),
    /// Bytes of rows in the index, and how many may be there.
    pub index: (u64, u64),
    /// Flushes of the device, by anyone here.
    pub flushes: u64,
    /// Checkpoints since it was opened.
    pub checkpoints: u64,
}

/// The file store of one volume, on its leader. See the [crate's page](crate).
///
/// All calls block and are safe from any thread. Changes are visible at once to everyone here, and durable after
/// [`commit`](Self::commit). Dropped without [`close`](Self::close), it writes nothing any more:
/// the next opening replays the log.
#[derive(Debug)]
pub struct Fs {
    volume: Arc<Volume>,
    worker: Option<Worker>,
    replayed: u64,
    cut: bool,
}

impl Fs {
    /// Lays an empty volume out on a device. Refuses one that holds anything, unless told to.
    pub fn format(device: impl BlockDevice, options: &FormatOptions) -> Result<(), FormatError> {
        let disk = Arc::new(Disk::new(device));
        let superblock = Superblock::plan(disk.size(), options)?;
        if !options.overwrite {
            refuse_to_overwrite(&disk)?;
        }
        let mut rows = Overlay::default();
        let (root, row) = root_row();
        rows.rows.insert(root.into(), Some(row.into()));
        Index::create(disk.clone(), superblock.index, &rows)?;
        disk.flush()?;
        superblock.write(&disk)?;
        disk.flush()?;
        Ok(())
    }

    /// Opens a volume with the default options.
    pub fn open(device: impl BlockDevice) -> Result<Fs, OpenError> {
        Fs::open_with(device, OpenOptions::default())
    }

    /// Opens a volume: the index at its checkpoint, then the tail of the log, then an epoch-start
    /// record, durable before anything else (R10).
    pub fn open_with(device: impl BlockDevice, options: OpenOptions) -> Result<Fs, OpenError> {
        let options = OpenOptions { inline_max: options.inline_max.min(4096), ..options };
        let background = options.background;
        let tick = options.tick;
        let (volume, replayed) = Volume::open(Arc::new(Disk::new(device)), options)?;
        let volume = Arc::new(volume);
        let worker = if background { Some(Worker::start(volume.clone(), tick)?) } else { None };
        Ok(Fs { volume, worker, replayed: replayed.operations, cut: replayed.cut })
    }

    /// Makes everything durable and checkpoints, so that the next opening replays nothing. Every
    /// later call fails.
    pub fn close(&self) -> io::Result<()> {
        if let Some(worker) = &self.worker {
            worker.stop();
        }
        self.volume.close()
    }

    /// Bytes of the data area: free, and in all. Waits for no operation.
    pub fn space(&self) -> (u64, u64) {
        (self.volume.space.free() * BLOCK, self.volume.space.blocks() * BLOCK)
    }

    /// How the volume is.
    pub fn status(&self) -> io::Result<Status> {
        let progress = self.volume.progress();
        let state = self.volume.state()?;
        let superblock = &self.volume.superblock;
        Ok(Status {
            volume: superblock.volume.clone(),
            uuid: superblock.uuid,
            epoch: self.volume.disk.epoch(),
            applied: Sequence(state.next_seq - 1),
            committed: Sequence(progress.flushed),
            checkpointed: Sequence(progress.checkpointed),
            replayed: self.replayed,
            cut: self.cut,
            log: (progress.log_used, superblock.log.len),
            data: self.space(),
            index: (state.index_bytes, progress.index_limit),
            flushes: self.volume.disk.flushes(),
            checkpoints: progress.checkpoints,
        })
    }

    /// Returns when everything that anyone has seen so far is durable on all of the in-sync set
    /// (R2, R3): at once if it is already. Concurrent calls share flushes.
    pub fn commit(&self) -> io::Result<()> {
        self.volume.commit_all()
    }

    /// Returns when `sequence` and all before it are durable.
    pub fn commit_until(&self, sequence: Sequence) -> io::Result<()> {
        self.volume.commit_until(sequence.0)
    }

    /// Makes the index durable and frees the log before it. The background thread does this.
    pub fn checkpoint(&self) -> io::Result<()> {
        self.volume.checkpoint()
    }

    /// Commits, reaps removed directories, and checkpoints if it is due: one turn of the
    /// background thread, for those who run without it.
    pub fn maintain(&self) -> io::Result<()> {
        self.volume.maintain()
    }

    /// Finds a directory below `base`; `b""` is `base` itself.
    pub fn dir(&self, base: Dir, path: &[u8]) -> io::Result<Dir> {
        let names = components(path)?;
        resolve(&*self.volume.state()?, base, &names)
    }

    /// Makes a directory and its missing parents. Returns whether it was made.
    pub fn create_dir(&self, base: Dir, path: &[u8]) -> io::Result<bool> {
        let names = components(path)?;
        self.volume.admit(512 * (names.len() as u64 + 1), 100)?;
        self.volume.change(|state| {
            let (mut dir, mut made) = (base.0, false);
            state.folder(dir)?;
            for name in &names {
                dir = match state.entry(dir, key::DIR, name)? {
                    Some(found) => found,
                    None => {
                        let id = state.new_inode();
                        state.submit(&Op::Mkdir { parent: dir, name: name.to_vec(), id })?;
                        made = true;
                        id
                    }
                };
            }
            Ok(made)
        })
    }

    /// The names of the directories directly below `dir`.
    pub fn list_dirs(&self, dir: Dir) -> io::Result<Vec<Vec<u8>>> {
        let (low, high) = (key::entry(dir.0, key::DIR, b""), key::entry(dir.0, key::FILE, b""));
        let state = self.volume.state()?;
        state.folder(dir.0)?;
        let mut names = Vec::new();
        state.walk(&low, &high, &mut |key, _| {
            names.push(key[key::ENTRY..].to_vec());
            Ok(true)
        })?;
        Ok(names)
    }

    /// Renames a directory; `AlreadyExists` if `to` is there. Both paths are below `base`.
    pub fn rename_dir(&self, base: Dir, from: &[u8], to: &[u8]) -> io::Result<()> {
        let (old, new) = (split(from)?, split(to)?);
        self.volume.change(|state| {
            let from = resolve(state, base, &old.0)?.0;
            let to = resolve(state, base, &new.0)?.0;
            state.submit(&Op::RenameDir { from, old: old.1.to_vec(), to, new: new.1.to_vec() })?;
            Ok(())
        })
    }

    /// Removes a directory with all that is in it, at once for every observer; the space comes
    /// back later.
    pub fn remove_dir(&self, base: Dir, path: &[u8]) -> io::Result<()> {
        let (parents, name) = split(path)?;
        self.volume.change(|state| {
            let parent = resolve(state, base, &parents)?.0;
            state.submit(&Op::RemoveDir { parent, name: name.to_vec() })?;
            Ok(())
        })
    }

    /// Begins a file. `modified` becomes its modification time, else the time of publishing.
    #[must_use]
    pub fn stage(&self, modified: Option<SystemTime>) -> Staged {
        Staged::new(self.volume.clone(), Purpose::Message, modified)
    }

    /// Makes a staged file visible; `AlreadyExists` if the name is taken. Durable after
    /// [`commit_until`](Self::commit_until) of the result: content and name, or neither.
    pub fn publish(&self, staged: Staged, dir: Dir, name: &[u8]) -> io::Result<Sequence> {
        self.put(staged, dir, name, false).map(|(_, leaf)| Sequence(leaf.generation))
    }

    fn put(&self, mut staged: Staged, dir: Dir, name: &[u8], replace: bool) -> io::Result<(Inode, Leaf)> {
        check_name(name)?;
        if !Arc::ptr_eq(&staged.volume, &self.volume) {
            let why = "the file was staged on another volume";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        staged.finish()?;
        let body = staged.body();
        let share = if staged.purpose == Purpose::Message { MESSAGE_SHARE } else { 100 };
        self.volume.admit(growth(name, &body), share)?;
        if body.extents().len() * 20 + NAME_MAX + 64 > self.volume.op_max() {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "the file has too many pieces"));
        }
        let mtime = nanoseconds(staged.modified.unwrap_or_else(SystemTime::now));
        let put = self.volume.change(|state| {
            let id = state.new_inode();
            let op = Op::Put { dir: dir.0, name: name.to_vec(), id, mtime, body, replace };
            state.submit(&op)?;
            Ok((id, state.leaf((dir.0, name))?.1))
        })?;
        staged.keep();
        Ok(put)
    }

    /// Renames a file, atomically; what had the new name goes.
    pub fn rename(&self, from: Dir, old: &[u8], to: Dir, new: &[u8]) -> io::Result<Sequence> {
        check_name(new)?;
        let (old, new) = (old.to_vec(), new.to_vec());
        self.submit(&Op::Rename { from: from.0, old, to: to.0, new })
    }

    /// Gives a file a second name; `AlreadyExists` if it is taken.
    pub fn link(&self, from: Dir, old: &[u8], to: Dir, new: &[u8]) -> io::Result<Sequence> {
        check_name(new)?;
        self.volume.admit(growth(new, &Body::Inline(Vec::new())), MESSAGE_SHARE)?;
        let (old, new) = (old.to_vec(), new.to_vec());
        self.submit(&Op::Link { from: from.0, old, to: to.0, new })
    }

    /// Removes a name; with the last one, the file. Works on a full volume.
    pub fn unlink(&self, dir: Dir, name: &[u8]) -> io::Result<Sequence> {
        self.submit(&Op::Unlink { dir: dir.0, name: name.to_vec() })
    }

    fn submit(&self, op: &Op) -> io::Result<Sequence> {
        self.volume.change(|state| state.submit(op)).map(Sequence)
    }

    /// Opens a file for reading.
    pub fn open_file(&self, dir: Dir, name: &[u8]) -> io::Result<File> {
        let state = self.volume.state()?;
        let (inode, leaf) = state.leaf((dir.0, name))?;
        self.open_leaf(&state, name, inode, leaf)
    }

    fn open_leaf(&self, state: &State, name: &[u8], inode: Inode, leaf: Leaf) -> io::Result<File> {
        let tail = state.tail(inode, &leaf, 0)?;
        self.volume.space.pin(inode);
        Ok(File::new(self.volume.clone(), name, inode, leaf.body, tail))
    }

    /// Size, date and identity of a file.
    pub fn attributes(&self, dir: Dir, name: &[u8]) -> io::Result<Attributes> {
        let (inode, leaf) = self.volume.state()?.leaf((dir.0, name))?;
        Ok(attributes(inode, &leaf))
    }

    /// Calls `each` for every file name in a directory, as of one moment. Returns the last
    /// operation that had changed the directory then.
    pub fn scan(&self, dir: Dir, each: &mut dyn FnMut(&[u8])) -> io::Result<Sequence> {
        let low = key::entry(dir.0, key::FILE, b"");
        let high = key::after(&low);
        let (view, generation) = {
            let state = self.volume.state()?;
            let generation = state.folder(dir.0)?.generation;
            (state.view(low, high)?, generation)
        };
        view.walk(&mut |key, _| {
            each(&key[key::ENTRY..]);
            Ok(true)
        })?;
        Ok(Sequence(generation))
    }

    /// The last operation that changed a directory: names in it, or its control files.
    pub fn generation(&self, dir: Dir) -> io::Result<Sequence> {
        Ok(Sequence(self.volume.state()?.folder(dir.0)?.generation))
    }

    /// Replaces or makes a small file that may grow later, atomically. It may use space that is
    /// kept from messages.
    pub fn replace(&self, dir: Dir, name: &[u8], bytes: &[u8]) -> io::Result<Attributes> {
        let mut staged = Staged::new(self.volume.clone(), Purpose::Control, None);
        staged.write_all(bytes)?;
        let (inode, leaf) = self.put(staged, dir, name, true)?;
        Ok(attributes(inode, &leaf))
    }

    /// Appends to a file, atomically.
    pub fn append(&self, dir: Dir, name: &[u8], bytes: &[u8]) -> io::Result<Attributes> {
        if bytes.len() + 2 * NAME_MAX > self.volume.op_max() {
            let mut whole = Vec::new();
            self.open_file(dir, name)?.read_to_end(&mut whole)?;
            whole.extend_from_slice(bytes);
            return self.replace(dir, name, &whole);
        }
        self.volume.admit(bytes.len() as u64 + 512, 100)?;
        self.volume.change(|state| {
            let offset = state.leaf((dir.0, name))?.1.len;
            state.submit(&Op::Append { dir: dir.0, name: name.to_vec(), offset, bytes: bytes.to_vec() })?;
            let (inode, leaf) = state.leaf((dir.0, name))?;
            Ok(attributes(inode, &leaf))
        })
    }

    /// A file's bytes from `offset` on, with its attributes at that time.
    pub fn read_from(&self, dir: Dir, name: &[u8], offset: u64) -> io::Result<(Vec<u8>, Attributes)> {
        let state = self.volume.state()?;
        let (inode, leaf) = state.leaf((dir.0, name))?;
        let attributes = attributes(inode, &leaf);
        if offset >= leaf.base {
            return Ok((state.tail(inode, &leaf, offset)?, attributes));
        }
        let mut file = self.open_leaf(&state, name, inode, leaf)?;
        drop(state);
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(offset))?;
        file.read_to_end(&mut bytes)?;
        Ok((bytes, attributes))
    }

    /// Takes the lock named `name` in `dir`, against everyone who uses this `Fs`. `TimedOut`
    /// after `wait`.
    pub fn lock(&self, dir: Dir, name: &[u8], wait: Duration) -> io::Result<LockGuard> {
        self.volume.state()?.folder(dir.0)?;
        self.volume.locks.take(dir.0, name, wait)?;
        Ok(LockGuard { volume: self.volume.clone(), dir, name: name.to_vec() })
    }
}

impl Drop for Fs {
    fn drop(&mut self) {
        if let Some(worker) = &self.worker {
            worker.stop();
        }
        self.volume.disk.fail(Failure::Closed);
        self.volume.drop_caches();
    }
}

/// Holds a lock until dropped.
#[derive(Debug)]
pub struct LockGuard {
    volume: Arc<Volume>,
    dir: Dir,
    name: Vec<u8>,
}

impl Drop for LockGuard {
    fn drop(&mut self) {
        self.volume.locks.release(self.dir.0, &self.name);
    }
}

/// The background thread.
#[derive(Debug)]
struct Worker {
    stop: Arc<(Mutex<bool>, Condvar)>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Worker {
    fn start(volume: Arc<Volume>, tick: Duration) -> io::Result<Self> {
        let stop = Arc::new((Mutex::new(false), Condvar::new()));
        let signal = stop.clone();
        let run = move || {
            while !wait_for_stop(&signal, if volume.is_pressed() { Duration::ZERO } else { tick }) {
                if volume.maintain().is_err() && volume.disk.check().is_err() {
                    volume.drop_caches();
                    break;
                }
            }
        };
        let thread = std::thread::Builder::new().name("clusterfs".into()).spawn(run)?;
        Ok(Worker { stop, thread: Mutex::new(Some(thread)) })
    }

    fn stop(&self) {
        *self.stop.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.stop.1.notify_all();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("clusterfs: the background thread panicked");
        }
    }
}

fn wait_for_stop(signal: &(Mutex<bool>, Condvar), tick: Duration) -> bool {
    let stop = signal.0.lock().unwrap_or_else(PoisonError::into_inner);
    if *stop {
        return true;
    }
    *signal.1.wait_timeout(stop, tick).unwrap_or_else(PoisonError::into_inner).0
}

fn refuse_to_overwrite(disk: &Disk) -> Result<(), FormatError> {
    match Superblock::read(disk) {
        Ok(found) => return Err(FormatError::AlreadyFormatted(found.volume)),
        Err(OpenError::NotFormatted) => {}
        Err(OpenError::Io(error)) => return Err(error.into()),
        Err(_) => return Err(FormatError::AlreadyFormatted("(damaged, newer or truncated)".into())),
    }
    let mut block = [0; BLOCK as usize];
    disk.read(0, &mut block)?;
    if block.iter().any(|byte| *byte != 0) { Err(FormatError::NotEmpty) } else { Ok(()) }
}

fn components(path: &[u8]) -> io::Result<Vec<&[u8]>> {
    if path.is_empty() {
        return Ok(Vec::new());
    }
    if path.len() > PATH_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the path is too long"));
    }
    path.split(|byte| *byte == b'/').map(|name| check_name(name).map(|()| name)).collect()
}

/// A path as its parents and its last name.
fn split(path: &[u8]) -> io::Result<(Vec<&[u8]>, &[u8])> {
    let mut names = components(path)?;
    let last = names.pop();
    let root = || io::Error::new(io::ErrorKind::InvalidInput, "the root cannot be renamed or removed");
    Ok((names, last.ok_or_else(root)?))
}

fn check_name(name: &[u8]) -> io::Result<()> {
    let bad = name.is_empty() || name == b"." || name == b".." || name.len() > NAME_MAX;
    if bad || name.iter().any(|byte| matches!(byte, b'/' | 0)) {
        let why = format!("{:?} is no file name", String::from_utf8_lossy(name));
        return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    }
    Ok(())
}

fn resolve(state: &State, base: Dir, names: &[&[u8]]) -> io::Result<Dir> {
    state.folder(base.0)?;
    let mut dir = base.0;
    for name in names {
        let found = state.entry(dir, key::DIR, name)?;
        dir = found.ok_or_else(|| crate::error::not_found("no such directory"))?;
    }
    Ok(Dir(dir))
}

/// What a file adds to the index at most.
fn growth(name: &[u8], body: &Body) -> u64 {
    let body = match body {
        Body::Inline(bytes) => bytes.len(),
        Body::Extents(extents) => extents.len() * 20,
    };
    (name.len() + body + 192) as u64
}

fn attributes(inode: Inode, leaf: &Leaf) -> Attributes {
    let distance = Duration::from_nanos(leaf.mtime.unsigned_abs());
    let modified = if leaf.mtime < 0 { UNIX_EPOCH - distance } else { UNIX_EPOCH + distance };
    Attributes { inode, len: leaf.len, modified, links: leaf.links, changed: Sequence(leaf.generation) }
}

fn nanoseconds(time: SystemTime) -> i64 {
    let clamp = |distance: Duration| i64::try_from(distance.as_nanos()).unwrap_or(i64::MAX);
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => clamp(after),
        Err(before) => -clamp(before.duration()),
    }
}

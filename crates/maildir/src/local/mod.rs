//! The local file system as a [`Store`]: descriptors of directories, no paths that could be
//! swapped, and flushes that concurrent callers share.

mod at;
mod dir;
mod dotlock;
mod flush;
pub(crate) mod group;
mod inotify;
mod nfs;
pub(crate) mod slots;
mod staged;
mod unnamed;

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use rustix::fs::{self, AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use crate::store::{Caps, Durability, Meta, Publish, Stamp, Store, Watch};
use at::*;
use flush::{SharedFlush, Touched};
use group::Group;
use inotify::Inotify;
use unnamed::Unnamed;

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

pub use dir::LocalDir;
pub use dotlock::DotlockTimes;
pub use slots::LocalGuard;
pub use staged::LocalStaged;

/// How the contents of messages that are delivered at once reach the disk. Names always follow by
/// one flush of their directories.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum GroupFlush {
    /// Each file by its own flush, those of several threads at once. Right where other programs
    /// write to the same file system.
    #[default]
    PerFile,
    /// One flush of the whole file system for all who wait: several times the deliveries a second
    /// when many come at once. For a file system that holds nothing but mail, since everyone's
    /// data is flushed. (Where the system has no `syncfs`, as `PerFile`.)
    SyncFs,
    /// Not at all: after a crash, what was acknowledged may be gone or empty. For tests, and for
    /// imports that are begun anew after a crash.
    Never,
}

/// How a [`LocalFs`] behaves.
#[derive(Debug, Clone)]
pub struct LocalConfig {
    /// Do programs other than this process change the tree (Dovecot, Postfix, mutt, a second
    /// node)? Then Dovecot's lock files are taken, and what the last second's time stamps say is
    /// looked at twice. `false` saves that; a second writer would then damage mailboxes.
    pub shared: bool,
    /// The name in lock files and message names. Must differ between nodes *and containers* that
    /// share a tree: two that share a name steal each other's locks.
    pub host: String,
    /// Permission bits of directories that are made. Files take the `rw` bits and the group of
    /// the directory they are in.
    pub dir_mode: u32,
    /// Patience with other holders of lock files.
    pub lock_times: DotlockTimes,
    /// How contents reach the disk.
    pub group_flush: GroupFlush,
    /// Is the tree on NFS? Then lock files are flushed and looked at again after they are made,
    /// stale handles are tried again, directories are opened anew before their stamps are
    /// believed, a repeated rename whose first answer was lost counts as done, and nothing is
    /// watched. Nodes' clocks must agree within a second.
    pub nfs: bool,
}

impl Default for LocalConfig {
    fn default() -> Self {
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        Self {
            shared: true,
            host,
            dir_mode: 0o700,
            lock_times: DotlockTimes::default(),
            group_flush: GroupFlush::default(),
            nfs: false,
        }
    }
}

/// A tree on the local file system.
///
/// Symbolic links below the root are never followed. A failed flush of a directory is final: the
/// kernel may have dropped what was to be written, so every later [`Store::commit`] fails too.
#[derive(Debug)]
pub struct LocalFs {
    root: PathBuf,
    /// Names the file system for flushes of all of it. Open all the time: a flush tells of what
    /// failed since the last one by the same descriptor.
    top: LocalDir,
    config: LocalConfig,
    /// Contents, where one flush of the file system is for all.
    contents: Group<()>,
    /// What is to be published, there.
    jobs: Group<Vec<Job>>,
    /// Names, and control files.
    flush: SharedFlush,
    /// Can files be made that have no name?
    unnamed: Unnamed,
}

/// What one caller wants published, and what became of it.
#[derive(Debug)]
struct Job {
    batch: Vec<Publish<LocalFs>>,
    results: Arc<Mutex<Vec<io::Result<()>>>>,
}

impl LocalFs {
    /// Opens the tree at `root`, which must be a directory.
    pub fn open(root: impl AsRef<Path>, config: LocalConfig) -> io::Result<Self> {
        let root = root.as_ref().canonicalize()?;
        let (contents, jobs, flush) = (Group::default(), Group::default(), SharedFlush::default());
        let unnamed = Unnamed::new(!config.nfs);
        let top = LocalDir::open(open_root(&root)?)?;
        Ok(Self { root, top, config, contents, jobs, flush, unnamed })
    }

    /// The directory that holds the tree.
    pub fn root(&self) -> &Path {
        &self.root
    }

    fn root_dir(&self) -> io::Result<OwnedFd> {
        open_root(&self.root)
    }

    fn descend(&self, path: &[u8]) -> io::Result<OwnedFd> {
        components(path).try_fold(self.root_dir()?, |dir, name| open_subdir(&dir, name?))
    }

    /// The parent directory of `path`, and its last component.
    fn parent<'a>(&self, path: &'a [u8]) -> io::Result<(OwnedFd, &'a [u8])> {
        let (parent, name) = match path.iter().rposition(|b| *b == b'/') {
            Some(at) => (&path[..at], &path[at + 1..]),
            None => (&b""[..], path),
        };
        check_name(name)?;
        Ok((self.descend(parent)?, name))
    }

    fn touch(&self, dir: &LocalDir) {
        dir.changed();
        if self.config.group_flush == GroupFlush::Never {
            return;
        }
        self.flush.touch((dir.0.dev, dir.0.ino), Touched::Dir(Arc::clone(&dir.0)));
    }

    fn dir_mode(&self) -> Mode {
        Mode::from_raw_mode(self.config.dir_mode)
    }

    fn publish_all(&self, mut batch: Vec<Publish<Self>>) -> Vec<io::Result<()>> {
        // Each file has its own error, and it is the first one that says why.
        let settle = |item: &mut Publish<Self>| self.settle(&mut [&mut item.staged]);
        let settled: Vec<io::Result<()>> = batch.iter_mut().map(settle).collect();
        let publish = |(item, settled): (_, io::Result<()>)| settled.and_then(|()| self.publish_one(item));
        batch.into_iter().zip(settled).map(publish).collect()
    }

    fn publish_one(&self, item: Publish<Self>) -> io::Result<()> {
        check_name(&item.name)?;
        item.staged.publish(&item.dir, &item.name, self.config.nfs)?;
        self.touch(&item.dir);
        Ok(())
    }

    /// One thread publishes for all who wait: one flush of the contents, all renames, one flush of
    /// the names.
    fn publish_together(&self, batch: Vec<Publish<Self>>) -> io::Result<Vec<io::Result<()>>> {
        let results = Arc::new(Mutex::new(Vec::new()));
        let job = Job { batch, results: Arc::clone(&results) };
        self.jobs.add_and_flush(|jobs| jobs.push(job), |jobs| self.do_jobs(jobs))?;
        let results = std::mem::take(&mut *lock(&results));
        Ok(results)
    }

    fn do_jobs(&self, mut jobs: Vec<Job>) -> io::Result<()> {
        let mut staged: Vec<&mut LocalStaged> =
            jobs.iter_mut().flat_map(|job| &mut job.batch).map(|item| &mut item.staged).collect();
        self.settle(&mut staged)?;
        for job in jobs {
            *lock(&job.results) = self.publish_all(job.batch);
        }
        self.commit()
    }

    fn stamp_of(&self, stat: &Stat, len: u64, generation: u64) -> Stamp {
        let mtime_ns = if self.config.shared { mtime_ns(stat) } else { 0 };
        Stamp { id: stat.st_ino, mtime_ns, len, generation }
    }
}

/// The root itself may be behind a link.
fn open_root(root: &Path) -> io::Result<OwnedFd> {
    Ok(fs::open(root, DIR_FLAGS.difference(OFlags::NOFOLLOW), Mode::empty())?)
}

impl Store for LocalFs {
    type Dir = LocalDir;
    type File = File;
    type Staged = LocalStaged;
    type Guard = LocalGuard;

    fn caps(&self) -> Caps {
        Caps {
            coherent_scan: false,
            exact_stamp: !self.config.shared,
            shared: self.config.shared,
            watch: cfg!(target_os = "linux") && !self.config.nfs,
            unnamed: self.unnamed.is_possible(),
            nfs: self.config.nfs,
        }
    }

    fn create_dir(&self, path: &[u8]) -> io::Result<bool> {
        let mut made = false;
        let mut dir = self.root_dir()?;
        for name in components(path) {
            let name = name?;
            match fs::mkdirat(&dir, name, self.dir_mode()) {
                Ok(()) => {
                    made = true;
                    fs::fsync(&dir)?;
                }
                Err(Errno::EXIST) => {
                    // Whoever made it may not have flushed it yet.
                    let parent = LocalDir::open(dir.try_clone()?)?;
                    self.flush.touch((parent.0.dev, parent.0.ino), Touched::Dir(parent.0));
                    made = false;
                }
                Err(e) => return Err(full(e)),
            }
            dir = open_subdir(&dir, name)?;
        }
        Ok(made)
    }

    fn open_dir(&self, path: &[u8]) -> io::Result<LocalDir> {
        LocalDir::open(self.descend(path)?)
    }

    fn list_dirs(&self, path: &[u8]) -> io::Result<Vec<Vec<u8>>> {
        let dir = self.descend(path)?;
        let mut found = Vec::new();
        for entry in fs::Dir::read_from(&dir)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if !matches!(name, b"." | b"..") && file_type(&dir, &entry)? == FileType::Directory {
                found.push(name.to_vec());
            }
        }
        Ok(found)
    }

    fn rename_dir(&self, from: &[u8], to: &[u8]) -> io::Result<()> {
        let (from_dir, from) = self.parent(from)?;
        let (to_dir, to) = self.parent(to)?;
        rename_noreplace(&from_dir, from, &to_dir, to, self.config.nfs)?;
        fs::fsync(&to_dir)?;
        Ok(fs::fsync(&from_dir)?)
    }

    fn remove_dir(&self, path: &[u8]) -> io::Result<()> {
        let (parent, name) = self.parent(path)?;
        remove_tree(&parent, name)?;
        Ok(fs::fsync(&parent)?)
    }

    fn stage(&self, tmp: &LocalDir, name: &[u8], modified: Option<SystemTime>) -> io::Result<LocalStaged> {
        check_name(name)?;
        let (file, name) = match self.unnamed.make(tmp)? {
            Some(file) => (file, None),
            None => (tmp.create(name, OFlags::WRONLY | OFlags::EXCL)?, Some(name.to_vec())),
        };
        Ok(LocalStaged::new(file, tmp.clone(), name, modified))
    }

    fn settle(&self, staged: &mut [&mut LocalStaged]) -> io::Result<()> {
        match self.config.group_flush {
            GroupFlush::PerFile => staged.iter_mut().try_for_each(|file| file.settle()),
            GroupFlush::SyncFs => self.settle_together(staged),
            GroupFlush::Never => staged.iter_mut().try_for_each(|file| {
                file.date()?;
                file.settled();
                Ok(())
            }),
        }
    }

    fn publish(&self, batch: Vec<Publish<Self>>, durability: Durability) -> io::Result<Vec<io::Result<()>>> {
        if durability == Durability::Full && self.config.group_flush == GroupFlush::SyncFs {
            return self.publish_together(batch);
        }
        let results = self.publish_all(batch);
        if durability == Durability::Full {
            self.commit()?;
        }
        Ok(results)
    }

    fn rename(&self, from: &LocalDir, old: &[u8], to: &LocalDir, new: &[u8]) -> io::Result<()> {
        check_name(old)?;
        check_name(new)?;
        if from.0.ino == to.0.ino && old == new {
            return self.stat(from, old).map(drop);
        }
        rename_noreplace(&from.0.fd, old, &to.0.fd, new, self.config.nfs)?;
        self.touch(to);
        if from.0.ino != to.0.ino {
            self.touch(from);
        }
        Ok(())
    }

    fn link(&self, from: &LocalDir, old: &[u8], to: &LocalDir, new: &[u8]) -> io::Result<()> {
        check_name(old)?;
        check_name(new)?;
        link(&from.0.fd, old, &to.0.fd, new)?;
        self.touch(to);
        Ok(())
    }

    fn unlink(&self, dir: &LocalDir, name: &[u8]) -> io::Result<()> {
        check_name(name)?;
        fs::unlinkat(&dir.0.fd, name, AtFlags::empty())?;
        self.touch(dir);
        Ok(())
    }

    fn open(&self, dir: &LocalDir, name: &[u8]) -> io::Result<File> {
        check_name(name)?;
        // A FIFO among the messages must not stop the reader.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let open = || fs::openat(&dir.0.fd, name, flags, Mode::empty());
        Ok(File::from(nfs::patient(self.config.nfs, open)?))
    }

    fn stat(&self, dir: &LocalDir, name: &[u8]) -> io::Result<Meta> {
        check_name(name)?;
        let stat = nfs::patient(self.config.nfs, || stat(&dir.0.fd, name))?;
        let (secs, nanos) = (stat.st_mtime, stat.st_mtime_nsec as u32);
        Ok(Meta { len: stat.st_size as u64, modified: system_time(secs, nanos), id: stat.st_ino })
    }

    fn scan(&self, dir: &LocalDir, each: &mut dyn FnMut(&[u8])) -> io::Result<Stamp> {
        let stamp = self.stamp(dir)?;
        each_file(&dir.0.fd, each)?;
        Ok(stamp)
    }

    fn stamp(&self, dir: &LocalDir) -> io::Result<Stamp> {
        let generation = dir.generation();
        let stat = match self.config.nfs {
            false => fs::fstat(&dir.0.fd)?,
            // Opening asks the server; what is known of an open directory may be old.
            true => nfs::patient(true, || fs::fstat(fs::openat(&dir.0.fd, c".", DIR_FLAGS, Mode::empty())?))?,
        };
        match stat.st_nlink {
            0 => Err(io::ErrorKind::NotFound.into()),
            _ => Ok(self.stamp_of(&stat, 0, generation)),
        }
    }

    fn control_stamp(&self, dir: &LocalDir, name: &[u8]) -> io::Result<Stamp> {
        check_name(name)?;
        let stat = nfs::patient(self.config.nfs, || stat(&dir.0.fd, name))?;
        Ok(self.control_stamp_of(&stat))
    }

    fn control_read(&self, dir: &LocalDir, name: &[u8], offset: u64) -> io::Result<(Vec<u8>, Stamp)> {
        let mut file = self.open(dir, name)?;
        let stamp = self.control_stamp_of(&fs::fstat(&file)?);
        file.seek(SeekFrom::Start(offset))?;
        let mut bytes = Vec::new();
        file.take(stamp.len.saturating_sub(offset)).read_to_end(&mut bytes)?;
        Ok((bytes, stamp))
    }

    fn control_append(
        &self,
        dir: &LocalDir,
        name: &[u8],
        bytes: &[u8],
        durability: Durability,
    ) -> io::Result<Stamp> {
        check_name(name)?;
        let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file = File::from(fs::openat(&dir.0.fd, name, flags, Mode::empty())?);
        let before = file.metadata()?.len();
        if let Err(e) = file.write_all(bytes) {
            // Half a line must not stay; if it does, readers ignore it and writers replace it.
            let _ = file.set_len(before);
            return Err(full_io(e));
        }
        let stat = fs::fstat(&file)?;
        match durability {
            _ if self.config.group_flush == GroupFlush::Never => {}
            Durability::Full => self.flush.poison_on_error(file.sync_data())?,
            Durability::None => self.flush.touch((stat.st_dev, stat.st_ino), Touched::File(file)),
        }
        Ok(self.control_stamp_of(&stat))
    }

    fn control_replace(
        &self,
        dir: &LocalDir,
        name: &[u8],
        bytes: &[u8],
        durability: Durability,
    ) -> io::Result<Stamp> {
        check_name(name)?;
        let temporary = [name, b".tmp"].concat();
        let file = dir.create(&temporary, OFlags::WRONLY | OFlags::TRUNC)?;
        let stamp = self.write_control(dir, name, &file, bytes).and_then(|stamp| {
            fs::renameat(&dir.0.fd, &temporary[..], &dir.0.fd, name)?;
            Ok(stamp)
        });
        if stamp.is_err() {
            let _ = fs::unlinkat(&dir.0.fd, &temporary[..], AtFlags::empty());
        }
        let stamp = stamp.map_err(full_io)?;
        self.touch(dir);
        if durability == Durability::Full {
            self.commit()?;
        }
        Ok(stamp)
    }

    fn lock(&self, dir: &LocalDir, name: &[u8], wait: Duration) -> io::Result<LocalGuard> {
        check_name(name)?;
        let started = std::time::Instant::now();
        let thread = slots::table().take((dir.0.dev, dir.0.ino, name.to_vec()), wait)?;
        let file = match self.config.shared {
            false => None,
            true => {
                let left = wait.saturating_sub(started.elapsed());
                Some(dotlock::take(dir, name, (&self.config, &self.unnamed), left)?)
            }
        };
        Ok(LocalGuard::new(thread, file))
    }

    fn refresh_lock(&self, guard: &LocalGuard) -> io::Result<()> {
        guard.refresh()
    }

    fn commit(&self) -> io::Result<()> {
        self.flush.commit()
    }

    fn watch(&self, dirs: &[&LocalDir]) -> io::Result<Box<dyn Watch>> {
        match self.config.nfs {
            true => Err(io::ErrorKind::Unsupported.into()),
            false => Ok(Box::new(Inotify::names(dirs)?)),
        }
    }

    fn sweep(&self, tmp: &LocalDir, unused_for: Duration, at_most_every: Duration) -> io::Result<usize> {
        let now = SystemTime::now();
        let age = |secs: i64, nanos: u32| now.duration_since(system_time(secs, nanos)).unwrap_or_default();
        let stat = fs::fstat(&tmp.0.fd)?;
        if age(stat.st_atime, stat.st_atime_nsec as u32) < at_most_every {
            return Ok(0);
        }
        // Before the work: so that one process does it.
        set_atime(&tmp.0.fd, now)?;
        let mut names = Vec::new();
        each_file(&tmp.0.fd, &mut |name| names.push(name.to_vec()))?;
        let mut removed = 0;
        for name in names {
            // Not the time of last change of the content: an import may have set that back.
            match at::stat(&tmp.0.fd, &name) {
                Ok(stat) if age(stat.st_ctime, stat.st_ctime_nsec as u32) >= unused_for => {}
                _ => continue,
            }
            gone_is_fine(fs::unlinkat(&tmp.0.fd, &name[..], AtFlags::empty()))?;
            removed += 1;
        }
        Ok(removed)
    }
}

impl LocalFs {
    /// One flush of the file system for all who wait. Files on another one are flushed alone.
    #[cfg(target_os = "linux")]
    fn settle_together(&self, staged: &mut [&mut LocalStaged]) -> io::Result<()> {
        let mut waiting = false;
        for file in staged.iter_mut().filter(|file| !file.is_settled()) {
            if file.tmp.0.dev == self.top.0.dev {
                file.date()?;
                waiting = true;
            } else {
                file.settle()?;
            }
        }
        if waiting {
            self.contents.add_and_flush(|()| {}, |()| fs::syncfs(&self.top.0.fd).map_err(full))?;
        }
        staged.iter_mut().for_each(|file| file.settled());
        Ok(())
    }

    #[cfg(not(target_os = "linux"))]
    fn settle_together(&self, staged: &mut [&mut LocalStaged]) -> io::Result<()> {
        staged.iter_mut().try_for_each(|file| file.settle())
    }

    fn control_stamp_of(&self, stat: &Stat) -> Stamp {
        // Control files of an unshared tree may be replaced by one of the same length on the
        // same inode: here the time tells, at any age, since all writers are in this process.
        Stamp { id: stat.st_ino, mtime_ns: mtime_ns(stat), len: stat.st_size as u64, generation: 0 }
    }

    fn write_control(&self, dir: &LocalDir, name: &[u8], mut file: &File, bytes: &[u8]) -> io::Result<Stamp> {
        file.write_all(bytes)?;
        if name == b"dovecot-keywords" {
            self.advance_mtime(dir, name, file)?;
        }
        if self.config.group_flush != GroupFlush::Never {
            file.sync_all()?;
        }
        Ok(self.control_stamp_of(&fs::fstat(file)?))
    }

    /// Dovecot compares the seconds of this file's mtime: they must grow.
    fn advance_mtime(&self, dir: &LocalDir, name: &[u8], file: &File) -> io::Result<()> {
        let Ok(old) = stat(&dir.0.fd, name) else { return Ok(()) };
        let now = fs::fstat(file)?.st_mtime;
        let next = old.st_mtime.saturating_add(1);
        if now < next { set_mtime(file, system_time(next, 0)) } else { Ok(()) }
    }
}

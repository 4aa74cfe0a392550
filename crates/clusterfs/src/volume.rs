//! The engine: operations gather, one caller at a time writes and flushes them for all (group
//! commit), and checkpoints move them into the index behind everyone's back.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Instant;

use crate::disk::Disk;
use crate::error::{Failure, OpenError};
use crate::index::{Checkpoint, Index, position};
use crate::log::{Head, Replayed, Ring};
use crate::op::{Extent, Inode, Op, key};
use crate::record::{HEADER, Header, padded};
use crate::space::Space;
use crate::state::{Overlay, Pending, State};
use crate::superblock::{BLOCK, Superblock};
use crate::{OpenOptions, locks::Locks};

/// Ring space kept for the epoch starts of openings that crash before their first checkpoint.
const RESERVE: u64 = 8 * BLOCK;

#[derive(Debug)]
pub(crate) struct Volume {
    pub(crate) disk: Arc<Disk>,
    pub(crate) superblock: Superblock,
    pub(crate) options: OpenOptions,
    pub(crate) space: Space,
    pub(crate) locks: Locks,
    ring: Ring,
    state: RwLock<State>,
    /// The index's writer: whoever holds it checkpoints.
    index: Mutex<Option<Index>>,
    commit: Mutex<Commit>,
    /// Told of every change of `commit`.
    changed: Condvar,
}

/// Who may write to the log, and how far it is.
#[derive(Debug)]
struct Commit {
    /// Somebody writes and flushes just now.
    busy: bool,
    /// Highest committed sequence (R2).
    flushed: u64,
    head: Head,
    /// Where replay would begin; the space before it is free.
    tail: u64,
    checkpointed: u64,
    checkpoints: u64,
    last_checkpoint: Instant,
    index_limit: u64,
}

/// How a try to commit ended.
enum Flushed {
    Yes,
    RingFull,
}

/// Counters for [`crate::Status`].
pub(crate) struct Progress {
    pub(crate) flushed: u64,
    pub(crate) checkpointed: u64,
    pub(crate) checkpoints: u64,
    pub(crate) log_used: u64,
    pub(crate) index_limit: u64,
}

impl Volume {
    /// Opens the index at its checkpoint, replays the log, and writes the epoch start.
    pub(crate) fn open(disk: Arc<Disk>, options: OpenOptions) -> Result<(Self, Replayed), OpenError> {
        let superblock = Superblock::read(&disk)?;
        if let Some(expected) = options.expect_volume.clone().filter(|name| *name != superblock.volume) {
            return Err(OpenError::WrongVolume { expected, found: superblock.volume });
        }
        let index = Index::open(disk.clone(), superblock.index, options.cache_bytes)?;
        let base = Arc::new(index.snapshot()?);
        let from = position(&base)?;
        let space = Space::open(base.clone(), superblock.data.len / BLOCK)?;
        let mut state = State {
            active: Overlay::default(),
            frozen: None,
            base: Some(base),
            pending: Pending::default(),
            next_seq: from.next_seq,
            next_inode: from.next_inode,
            index_bytes: from.bytes,
        };
        let ring = Ring::new(disk.clone(), superblock.log, superblock.seed());
        let data = superblock.data.start;
        let whole = |ops: &[Op]| bodies_are_whole(&disk, data, ops);
        let replayed = ring.replay(&from, &whole, &mut |seq, op| {
            op.body().into_iter().flat_map(|body| body.runs()).try_for_each(|run| space.mark(run))?;
            state.apply(seq, op)
        })?;
        if replayed.epoch > disk.epoch() {
            return Err(OpenError::StaleEpoch { held: disk.epoch(), seen: replayed.epoch });
        }
        let commit = Commit {
            busy: false,
            flushed: state.next_seq - 1,
            head: replayed.head,
            tail: from.lsn,
            checkpointed: from.next_seq - 1,
            checkpoints: 0,
            last_checkpoint: Instant::now(),
            index_limit: index.limit(options.overlay_rows()),
        };
        let volume = Volume {
            disk,
            superblock,
            options,
            space,
            locks: Locks::default(),
            ring,
            state: RwLock::new(state),
            index: Mutex::new(Some(index)),
            commit: Mutex::new(commit),
            changed: Condvar::new(),
        };
        volume.start_epoch()?;
        Ok((volume, replayed))
    }

    fn start_epoch(&self) -> io::Result<()> {
        let seq = self.state_mut()?.submit(&Op::EpochStart)?;
        self.commit_until(seq)
    }

    pub(crate) fn state(&self) -> io::Result<RwLockReadGuard<'_, State>> {
        self.disk.check()?;
        Ok(self.state.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn state_mut(&self) -> io::Result<RwLockWriteGuard<'_, State>> {
        self.disk.check()?;
        Ok(self.state.write().unwrap_or_else(PoisonError::into_inner))
    }

    fn commit_state(&self) -> MutexGuard<'_, Commit> {
        self.commit.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The longest operation, encoded.
    pub(crate) fn op_max(&self) -> usize {
        (self.ring.record_max() / 2) as usize - HEADER
    }

    /// Runs `change` on the tree, under the lock that orders all operations. Before that it waits
    /// until the log and the overlay have room for what a change can add.
    pub(crate) fn change<R>(&self, change: impl FnOnce(&mut State) -> io::Result<R>) -> io::Result<R> {
        loop {
            let mut state = self.state_mut()?;
            let (seq, pending) = (state.next_seq - 1, state.pending.bytes.len());
            let crowded = state.active.growth > self.options.overlay_bytes
                || state.active.rows.len() as u64 > self.options.overlay_rows();
            if !crowded && pending <= self.op_max() {
                return change(&mut state);
            }
            let checkpoints = self.commit_state().checkpoints;
            drop(state);
            if crowded { self.checkpoint_after(checkpoints)? } else { self.commit_until(seq)? }
        }
    }

    /// Returns when everything applied so far is durable.
    pub(crate) fn commit_all(&self) -> io::Result<()> {
        let seq = self.state()?.next_seq - 1;
        self.commit_until(seq)
    }

    /// Returns when the operation `seq` is durable on all of the in-sync set (R2). Callers that
    /// come while a flush runs share the next one.
    pub(crate) fn commit_until(&self, seq: u64) -> io::Result<()> {
        loop {
            let mut commit = self.commit_state();
            while commit.flushed < seq && commit.busy {
                self.disk.check()?;
                commit = self.changed.wait(commit).unwrap_or_else(PoisonError::into_inner);
            }
            if commit.flushed >= seq {
                return Ok(());
            }
            self.disk.check()?;
            let checkpoints = commit.checkpoints;
            commit.busy = true;
            drop(commit);
            let turn = Turn(self);
            let flushed = self.flush_batch(None);
            drop(turn);
            if self.disk.check().is_err() {
                self.drop_caches();
            }
            if let Flushed::RingFull = flushed? {
                self.checkpoint_after(checkpoints)?;
            }
        }
    }

    fn take_turn(&self) -> io::Result<Turn<'_>> {
        let mut commit = self.commit_state();
        while commit.busy {
            self.disk.check()?;
            commit = self.changed.wait(commit).unwrap_or_else(PoisonError::into_inner);
        }
        self.disk.check()?;
        commit.busy = true;
        Ok(Turn(self))
    }

    /// Writes what is pending as one record and flushes it. Only in one's turn. With `freeze`,
    /// the overlay is frozen at that very point, for a checkpoint; then a full ring is no
    /// obstacle: the checkpoint makes durable what the log could not take.
    fn flush_batch(&self, freeze: Option<&mut Frozen>) -> io::Result<Flushed> {
        let (head, tail, flushed) = {
            let commit = self.commit_state();
            (commit.head, commit.tail, commit.flushed)
        };
        let mut state = self.state_mut()?;
        let last = state.next_seq - 1;
        let len = (HEADER + state.pending.bytes.len()) as u64;
        let epoch_start = state.pending.bytes == [0]; // the first variant, alone
        let reserve = if epoch_start { 0 } else { RESERVE };
        let fits = head.lsn - tail + padded(len) + reserve <= self.ring.len();
        if !fits && freeze.is_none() {
            return Ok(Flushed::RingFull);
        }
        if freeze.is_some() && state.frozen.is_some() {
            return Err(crate::error::corrupt("an earlier checkpoint did not come to its end"));
        }
        let pending = std::mem::take(&mut state.pending);
        if let Some(frozen) = freeze {
            let overlay = Arc::new(std::mem::take(&mut state.active));
            state.frozen = Some(overlay.clone());
            *frozen = Frozen { overlay, next_inode: state.next_inode, last, bytes: state.index_bytes };
        }
        drop(state);
        if pending.count == 0 || !fits {
            return Ok(Flushed::Yes);
        }
        let (epoch, prev, count) = (self.disk.epoch(), head.hash, pending.count);
        let first = last + 1 - u64::from(count);
        let header = Header { len: len as u32, count, lsn: head.lsn, first, committed: flushed, epoch, prev };
        let mut record = Vec::with_capacity(len as usize);
        let hash = header.encode(&pending.bytes, self.ring.seed, &mut record);
        self.ring.write(head.lsn, &record)?;
        self.disk.flush()?;
        let mut commit = self.commit_state();
        commit.head = Head { lsn: header.next_lsn(), hash };
        commit.flushed = last;
        Ok(Flushed::Yes)
    }

    /// Checkpoints, unless somebody did since the caller saw `seen` checkpoints.
    pub(crate) fn checkpoint_after(&self, seen: u64) -> io::Result<()> {
        let mut index = self.index.lock().unwrap_or_else(PoisonError::into_inner);
        if self.commit_state().checkpoints > seen {
            return Ok(());
        }
        let result = match &*index {
            Some(index) => self.run_checkpoint(index),
            None => self.disk.check().and(Err(Failure::Closed.to_io())),
        };
        if let Err(error) = &result {
            // Nothing is lost, the log has it; but this process cannot go on.
            self.disk.fail(Failure::Index(error.to_string().into()));
            let lost = index.take();
            drop(index);
            self.drop_caches();
            drop(lost);
        }
        result
    }

    /// Makes the index durable as of now, then frees the log and the blocks it covers (R10).
    pub(crate) fn checkpoint(&self) -> io::Result<()> {
        let seen = self.commit_state().checkpoints;
        self.checkpoint_after(seen)
    }

    fn run_checkpoint(&self, index: &Index) -> io::Result<()> {
        let mut turn = Some(self.take_turn()?);
        let mut frozen = Frozen::default();
        self.flush_batch(Some(&mut frozen))?;
        let (head, logged) = {
            let commit = self.commit_state();
            (commit.head, commit.flushed >= frozen.last)
        };
        if logged {
            turn = None; // deliveries go on meanwhile
        }
        let at = Checkpoint {
            lsn: head.lsn,
            hash: head.hash,
            next_seq: frozen.last + 1,
            next_inode: frozen.next_inode,
            epoch: self.disk.epoch(),
            bytes: frozen.bytes,
            ..Checkpoint::initial()
        };
        let bytes = index.checkpoint(&frozen.overlay, at, self.space.blocks())?;
        self.checkpointed(index, &frozen, at, bytes)?;
        drop(turn);
        Ok(())
    }

    fn checkpointed(&self, index: &Index, frozen: &Frozen, at: Checkpoint, bytes: u64) -> io::Result<()> {
        let base = Arc::new(index.snapshot()?);
        {
            let mut state = self.state_mut()?;
            state.base = Some(base.clone());
            state.frozen = None;
            state.index_bytes = bytes;
        }
        self.space.checkpointed(base, &frozen.overlay.frees)?;
        let mut commit = self.commit_state();
        commit.tail = at.lsn;
        commit.flushed = commit.flushed.max(frozen.last);
        commit.checkpointed = frozen.last;
        commit.checkpoints += 1;
        commit.last_checkpoint = Instant::now();
        commit.index_limit = index.limit(self.options.overlay_rows());
        drop(commit);
        self.changed.notify_all();
        Ok(())
    }

    /// Takes blocks for a body, waiting for a checkpoint if that may free some. `keep`: blocks
    /// that must stay free.
    pub(crate) fn take_blocks(&self, need: u32, keep: u64) -> io::Result<Vec<crate::op::Run>> {
        for last_try in [false, true] {
            self.disk.check()?;
            let seen = self.commit_state().checkpoints;
            if let Some(runs) = self.space.take(need, keep)? {
                return Ok(runs);
            }
            let state = self.state()?;
            let pending = !state.active.frees.is_empty() || state.frozen.is_some();
            drop(state);
            if last_try || !pending {
                break;
            }
            self.checkpoint_after(seen)?;
            // A checkpoint that ran already may have begun before the release: one more.
            if self.state().is_ok_and(|state| !state.active.frees.is_empty()) {
                self.checkpoint()?;
            }
        }
        Err(full("the volume is full"))
    }

    /// Refuses what would let the index outgrow its region; `share` is a percentage of it.
    pub(crate) fn admit(&self, growth: u64, share: u64) -> io::Result<()> {
        for last_try in [false, true] {
            let (limit, seen) = {
                let commit = self.commit_state();
                (commit.index_limit / 100 * share, commit.checkpoints)
            };
            let state = self.state()?;
            if state.index_bound() + growth <= limit {
                return Ok(());
            }
            let settled = state.active.is_empty() && state.frozen.is_none();
            drop(state);
            if last_try || settled {
                break;
            }
            self.checkpoint_after(seen)?;
        }
        Err(full("the volume's index is full"))
    }

    /// Whether small bodies should no longer live in the index.
    pub(crate) fn index_is_half_full(&self) -> bool {
        let limit = self.commit_state().index_limit;
        self.state().is_ok_and(|state| state.index_bound() > limit / 2)
    }

    /// What the background thread does each time it wakes.
    pub(crate) fn maintain(&self) -> io::Result<()> {
        self.disk.check()?;
        self.reap()?;
        self.commit_all()?;
        if self.checkpoint_is_due() { self.checkpoint() } else { Ok(()) }
    }

    fn checkpoint_is_due(&self) -> bool {
        let Ok(state) = self.state() else { return false };
        let (work, growth) = (!state.active.is_empty(), state.active.growth);
        drop(state);
        let commit = self.commit_state();
        let used = commit.head.lsn - commit.tail;
        let old = commit.last_checkpoint.elapsed() >= self.options.checkpoint_every;
        used >= self.ring.len() / 2 || growth >= self.options.overlay_bytes / 2 || (old && (work || used > 0))
    }

    /// Whether the background thread should not wait for its next tick.
    pub(crate) fn is_pressed(&self) -> bool {
        let commit = self.commit_state();
        commit.head.lsn - commit.tail >= self.ring.len() / 2
    }

    /// Drops the files of removed directories, a few at a time.
    fn reap(&self) -> io::Result<()> {
        const TURNS: u32 = 16;
        let mut cursor = (0, Vec::new());
        for _ in 0..TURNS {
            let mut orphan = None;
            self.state()?.walk(b"o", b"p", &mut |key, _| {
                orphan = key[1..].try_into().ok().map(u64::from_be_bytes);
                Ok(false)
            })?;
            let Some(dir) = orphan else { return Ok(()) };
            if cursor.0 != dir {
                cursor = (dir, Vec::new());
            }
            cursor.1 = self.change(|state| reap_some(state, dir, cursor.1.clone()))?;
        }
        Ok(())
    }

    /// Everything durable, and nothing to replay at the next opening. Then the volume is shut.
    pub(crate) fn close(&self) -> io::Result<()> {
        self.commit_all()?;
        self.checkpoint()?;
        let index = self.index.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.drop_snapshots();
        drop(index);
        self.disk.fail(Failure::Closed);
        self.changed.notify_all();
        Ok(())
    }

    /// Lets go of all that was read or is unwritten (R4); called once the device has failed.
    pub(crate) fn drop_caches(&self) {
        self.drop_snapshots();
        if let Ok(mut index) = self.index.try_lock() {
            *index = None;
        }
        self.changed.notify_all();
    }

    fn drop_snapshots(&self) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        state.base = None;
        state.frozen = None;
        state.active = Overlay::default();
        state.pending = Pending::default();
        drop(state);
        self.space.drop_caches();
    }

    pub(crate) fn progress(&self) -> Progress {
        let commit = self.commit_state();
        Progress {
            flushed: commit.flushed,
            checkpointed: commit.checkpointed,
            checkpoints: commit.checkpoints,
            log_used: commit.head.lsn - commit.tail,
            index_limit: commit.index_limit,
        }
    }
}

/// The right to write to the log; ends when dropped.
struct Turn<'a>(&'a Volume);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.commit_state().busy = false;
        self.0.changed.notify_all();
    }
}

/// What a checkpoint writes.
#[derive(Debug, Default)]
struct Frozen {
    overlay: Arc<Overlay>,
    next_inode: u64,
    /// Its last operation.
    last: u64,
    bytes: u64,
}

/// Reaps a few files of a removed directory, from the name `after` on. Returns the last of them.
fn reap_some(state: &mut State, dir: Inode, after: Vec<u8>) -> io::Result<Vec<u8>> {
    const AT_ONCE: u32 = 256;
    let (low, mut last, mut left) = (key::entry(dir, key::FILE, &after), after.clone(), AT_ONCE);
    state.walk(&low, &key::after(&key::entry(dir, key::FILE, b"")), &mut |row, _| {
        last = row[key::ENTRY..].to_vec();
        left -= 1;
        Ok(left > 0)
    })?;
    state.submit(&Op::Reap { dir, after, count: AT_ONCE })?;
    Ok(last)
}

fn full(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::StorageFull, why)
}

/// Whether every extent named by these operations matches its checksum.
fn bodies_are_whole(disk: &Disk, data: u64, ops: &[Op]) -> io::Result<bool> {
    let mut buf = Vec::new();
    for extent in ops.iter().filter_map(Op::body).flat_map(|body| body.extents()) {
        if !read_extent(disk, data, extent, &mut buf)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Reads an extent into `buf` and says whether it matches its checksum.
pub(crate) fn read_extent(disk: &Disk, data: u64, extent: &Extent, buf: &mut Vec<u8>) -> io::Result<bool> {
    buf.resize(extent.len as usize, 0);
    match disk.read(data + extent.start * BLOCK, buf) {
        Ok(()) => Ok(crc32fast::hash(buf) == extent.crc),
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(false), // beyond the device
        Err(error) => Err(error),
    }
}

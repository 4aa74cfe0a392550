//! openraft's view of the journal: a copy in memory, and a thread that writes.

use std::fmt::Debug;
use std::io::{self, Cursor};
use std::ops::RangeBounds;
use std::sync::mpsc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use openraft::storage::{LogFlushed, RaftLogStorage, RaftStateMachine, Snapshot};
use openraft::{
    Entry, EntryPayload, LogId, LogState, RaftLogReader, RaftSnapshotBuilder, SnapshotMeta, StorageError,
    StorageIOError, StoredMembership, Vote,
};
use tokio::sync::{oneshot, watch};

use super::journal::{Image, Journal, Record};
use super::{LogFile, Response, StoreError, StoreIdentity, TypeConfig};
use crate::ClusterId;
use crate::consensus::Committed;
use crate::lease::FenceLog;
use crate::state::{FORMAT, State, apply};

type StorageResult<T> = Result<T, StorageError<u64>>;

/// A voter's durable store, opened.
pub struct Store {
    journal: Journal,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("identity", &self.journal.identity).finish_non_exhaustive()
    }
}

impl Store {
    /// Makes a new store in two empty files, with `reserve` bytes of each allocated for good (R11). 4 MiB suits
    /// a state without many keys; it grows with the state.
    ///
    /// # Errors
    /// [`StoreError::NotEmpty`], or what the file system says.
    pub fn format(
        files: [Box<dyn LogFile>; 2],
        identity: StoreIdentity,
        reserve: u64,
    ) -> Result<Self, StoreError> {
        Journal::format(files, identity, reserve).map(|journal| Self { journal })
    }

    /// Opens a store. Never makes one: a voter that has lost its store must be replaced (R7).
    ///
    /// # Errors
    /// [`StoreError`]; nothing on disk has been changed.
    pub fn open(files: [Box<dyn LogFile>; 2], cluster: ClusterId) -> Result<Self, StoreError> {
        Journal::open(files, cluster).map(|journal| Self { journal })
    }

    /// Who it is.
    pub fn identity(&self) -> StoreIdentity {
        self.journal.identity
    }

    /// Whether it has never held a command: the cluster may not have been started yet.
    pub fn is_pristine(&self) -> bool {
        let image = &self.journal.image;
        let is_command = |entry: &Entry<TypeConfig>| matches!(entry.payload, EntryPayload::Normal(_));
        image.snapshot.is_none() && !image.entries.values().any(is_command)
    }

    /// The state of the last snapshot in the store, without what the log adds to it.
    ///
    /// # Errors
    /// The snapshot is of a newer release, or damaged.
    pub fn snapshot_state(&self) -> Result<State, StoreError> {
        match &self.journal.image.snapshot {
            None => Ok(State::default()),
            Some((_, data)) => decode_state(data).map_err(StoreError::Io),
        }
    }

    /// Starts the writing thread; the halves are openraft's.
    pub(super) fn split(self, fences: FenceLog) -> Result<(LogStore, Machine, Failure), StoreError> {
        let image = self.journal.image.clone();
        for (index, entry) in &image.entries {
            note_fence(&fences, *index, entry);
        }
        let machine_image = image.snapshot.clone();
        let memory = Arc::new(Mutex::new(image));
        let (jobs, work) = mpsc::channel();
        let journal = self.journal;
        let (failed, failure) = watch::channel(None);
        thread::Builder::new().name("quorum-log".into()).spawn(move || write_all(journal, &work, &failed))?;
        let writer = Writer { memory, jobs };
        let log = LogStore { writer: writer.clone(), fences };
        let machine = Machine::new(writer, machine_image)?;
        Ok((log, machine, failure))
    }
}

fn note_fence(fences: &FenceLog, index: u64, entry: &Entry<TypeConfig>) {
    if let EntryPayload::Normal(command) = &entry.payload {
        fences.appended(index, command);
    } else {
        fences.replaced(index);
    }
}

/// Why the writing thread can write no more, once it can't.
pub(super) type Failure = watch::Receiver<Option<String>>;

type Done = Box<dyn FnOnce(io::Result<()>) + Send>;

struct Job {
    records: Vec<Record>,
    /// Called once all is durable; without it nothing is flushed.
    done: Option<Done>,
}

/// Writes what has piled up, flushes once, answers everybody. Ends with its last sender.
fn write_all(mut journal: Journal, work: &mpsc::Receiver<Job>, failed: &watch::Sender<Option<String>>) {
    while let Ok(first) = work.recv() {
        let mut done = Vec::new();
        let mut records = Vec::new();
        for job in std::iter::once(first).chain(work.try_iter()) {
            records.extend(job.records);
            done.extend(job.done);
        }
        let mut result = journal.write(records);
        if result.is_ok() && !done.is_empty() {
            result = journal.sync();
        }
        if let Err(error) = &result
            && failed.borrow().is_none()
        {
            tracing::error!(%error, "the quorum store has failed; this voter stops");
            failed.send_replace(Some(error.to_string()));
        }
        for answer in done {
            answer(result.as_ref().map_err(|e| io::Error::new(e.kind(), e.to_string())).copied());
        }
    }
}

#[derive(Clone)]
struct Writer {
    memory: Arc<Mutex<Image>>,
    jobs: mpsc::Sender<Job>,
}

impl Writer {
    fn image(&self) -> MutexGuard<'_, Image> {
        // No code panics while it holds the lock.
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the copy in memory and queues the same for the disk.
    fn submit(&self, records: Vec<Record>, done: Option<Done>) -> io::Result<()> {
        records.iter().cloned().for_each(|r| self.image().apply(r));
        self.jobs.send(Job { records, done }).map_err(|_| io::Error::other("the writing thread has ended"))
    }

    async fn submit_durably(&self, records: Vec<Record>) -> io::Result<()> {
        let (tx, rx) = oneshot::channel();
        let done = move |result| drop(tx.send(result));
        self.submit(records, Some(Box::new(done)))?;
        rx.await.unwrap_or_else(|_| Err(io::Error::other("the writing thread has ended")))
    }
}

fn log_error(e: &io::Error) -> StorageError<u64> {
    StorageIOError::write_logs(e).into()
}

/// The log and the vote.
#[derive(Clone)]
pub(super) struct LogStore {
    writer: Writer,
    fences: FenceLog,
}

impl RaftLogReader<TypeConfig> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + Send>(
        &mut self,
        range: RB,
    ) -> StorageResult<Vec<Entry<TypeConfig>>> {
        Ok(self.writer.image().entries.range(range).map(|(_, e)| e.clone()).collect())
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> StorageResult<LogState<TypeConfig>> {
        let image = self.writer.image();
        let last = image.entries.values().next_back().map(|e| e.log_id);
        Ok(LogState { last_purged_log_id: image.purged, last_log_id: last.or(image.purged) })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote<u64>) -> StorageResult<()> {
        let saved = self.writer.submit_durably(vec![Record::Vote(*vote)]).await;
        saved.map_err(|e| StorageIOError::write_vote(&e).into())
    }

    async fn read_vote(&mut self) -> StorageResult<Option<Vote<u64>>> {
        Ok(self.writer.image().vote)
    }

    async fn save_committed(&mut self, committed: Option<LogId<u64>>) -> StorageResult<()> {
        self.writer.submit(vec![Record::Committed(committed)], None).map_err(|e| log_error(&e))
    }

    async fn read_committed(&mut self) -> StorageResult<Option<LogId<u64>>> {
        Ok(self.writer.image().committed)
    }

    async fn append<I>(&mut self, entries: I, callback: LogFlushed<TypeConfig>) -> StorageResult<()>
    where
        I: IntoIterator<Item = Entry<TypeConfig>> + Send,
        I::IntoIter: Send,
    {
        let entries: Vec<_> = entries.into_iter().collect();
        // R5: the grantor knows of a fence before anybody is told that this log holds it.
        entries.iter().for_each(|e| note_fence(&self.fences, e.log_id.index, e));
        let records = entries.into_iter().map(Record::Append).collect();
        let done = Box::new(move |result| callback.log_io_completed(result));
        self.writer.submit(records, Some(done)).map_err(|e| log_error(&e))
    }

    async fn truncate(&mut self, log_id: LogId<u64>) -> StorageResult<()> {
        let records = vec![Record::TruncateFrom(log_id.index)];
        self.writer.submit(records, None).map_err(|e| log_error(&e))?;
        self.fences.truncated_from(log_id.index);
        Ok(())
    }

    async fn purge(&mut self, log_id: LogId<u64>) -> StorageResult<()> {
        self.writer.submit(vec![Record::PurgeTo(log_id)], None).map_err(|e| log_error(&e))
    }
}

/// The replicated state and its snapshots.
pub(super) struct Machine {
    writer: Writer,
    applied: Option<LogId<u64>>,
    membership: StoredMembership<u64, ()>,
    watch: watch::Sender<Committed>,
}

impl Machine {
    fn new(writer: Writer, snapshot: Option<(SnapshotMeta<u64, ()>, Vec<u8>)>) -> io::Result<Self> {
        let (watch, _) = watch::channel(Committed::default());
        let mut machine = Self { writer, applied: None, membership: StoredMembership::default(), watch };
        if let Some((meta, data)) = snapshot {
            machine.restore(&meta, decode_state(&data)?);
        }
        Ok(machine)
    }

    pub(super) fn watch(&self) -> watch::Receiver<Committed> {
        self.watch.subscribe()
    }

    fn restore(&mut self, meta: &SnapshotMeta<u64, ()>, state: State) {
        self.applied = meta.last_log_id;
        self.membership = meta.last_membership.clone();
        self.publish(Arc::new(state));
    }

    fn publish(&self, state: Arc<State>) {
        let index = self.applied.map_or(0, |id| id.index);
        self.watch.send_replace(Committed { index, state });
    }

    fn apply_one(&mut self, state: &mut Arc<State>, entry: Entry<TypeConfig>) -> Response {
        self.applied = Some(entry.log_id);
        match entry.payload {
            EntryPayload::Blank => Response(None),
            EntryPayload::Membership(m) => {
                self.membership = StoredMembership::new(Some(entry.log_id), m);
                Response(None)
            }
            EntryPayload::Normal(command) => Response(Some(match apply(state, &command) {
                Ok(next) => {
                    *state = Arc::new(next);
                    Ok(())
                }
                Err(refused) => Err(refused),
            })),
        }
    }

    fn state(&self) -> Arc<State> {
        self.watch.borrow().state.clone()
    }
}

impl RaftStateMachine<TypeConfig> for Machine {
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> StorageResult<(Option<LogId<u64>>, StoredMembership<u64, ()>)> {
        Ok((self.applied, self.membership.clone()))
    }

    async fn apply<I>(&mut self, entries: I) -> StorageResult<Vec<Response>>
    where
        I: IntoIterator<Item = Entry<TypeConfig>> + Send,
        I::IntoIter: Send,
    {
        let mut state = self.state();
        let answers = entries.into_iter().map(|e| self.apply_one(&mut state, e)).collect();
        self.publish(state);
        Ok(answers)
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        Builder {
            writer: self.writer.clone(),
            applied: self.applied,
            membership: self.membership.clone(),
            state: self.state(),
        }
    }

    async fn begin_receiving_snapshot(&mut self) -> StorageResult<Box<Cursor<Vec<u8>>>> {
        Ok(Box::default())
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta<u64, ()>,
        snapshot: Box<Cursor<Vec<u8>>>,
    ) -> StorageResult<()> {
        let data = snapshot.into_inner();
        let error = |e: io::Error| StorageIOError::write_snapshot(Some(meta.signature()), &e);
        let state = decode_state(&data).map_err(error)?;
        self.writer.submit_durably(vec![Record::Snapshot(meta.clone(), data)]).await.map_err(error)?;
        self.restore(meta, state);
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> StorageResult<Option<Snapshot<TypeConfig>>> {
        let snapshot = self.writer.image().snapshot.clone();
        Ok(snapshot.map(|(meta, data)| Snapshot { meta, snapshot: Box::new(Cursor::new(data)) }))
    }
}

/// Makes one snapshot.
pub(super) struct Builder {
    writer: Writer,
    applied: Option<LogId<u64>>,
    membership: StoredMembership<u64, ()>,
    state: Arc<State>,
}

impl RaftSnapshotBuilder<TypeConfig> for Builder {
    async fn build_snapshot(&mut self) -> StorageResult<Snapshot<TypeConfig>> {
        let error = |e: io::Error| StorageIOError::write_snapshot(None, &e);
        let data = encode_state(&self.state).map_err(error)?;
        let id = self.applied.map_or_else(|| "0".to_owned(), |id| format!("{}-{}", id.leader_id, id.index));
        let meta = SnapshotMeta {
            last_log_id: self.applied,
            last_membership: self.membership.clone(),
            snapshot_id: id,
        };
        let record = Record::Snapshot(meta.clone(), data.clone());
        self.writer.submit_durably(vec![record]).await.map_err(error)?;
        Ok(Snapshot { meta, snapshot: Box::new(Cursor::new(data)) })
    }
}

/// The format, then the state.
pub(super) fn encode_state(state: &State) -> io::Result<Vec<u8>> {
    postcard::to_extend(state, FORMAT.to_le_bytes().to_vec()).map_err(io::Error::other)
}

fn decode_state(data: &[u8]) -> io::Result<State> {
    let (format, body) = data.split_first_chunk().ok_or_else(|| io::Error::other("an empty snapshot"))?;
    match u16::from_le_bytes(*format) {
        FORMAT => postcard::from_bytes(body).map_err(io::Error::other),
        newer => Err(io::Error::other(format!("the state has format {newer}; this release reads {FORMAT}"))),
    }
}

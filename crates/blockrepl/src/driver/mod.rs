//! The core on real disks, threads and links.

mod handle;
mod inbox;
mod incoming;
mod lane;
pub(crate) mod link;
mod metrics;
mod outbox;
mod reads;
mod remote;
mod shared;
mod within;

use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::broadcast;

use crate::config::{Config, Protocol};
use crate::core::{Denied, Event, Input, Replica, Reply, ScrubReport, Snapshot, Status, VerifyReport};
use crate::device::BlockDevice;
use crate::disk::{DirectDisk, Disk, FileDisk, VolatileDisk};
use crate::ids::{DeviceId, Grant, Identity, MemberSet, NodeId, Raised};
use crate::meta::{DATA_HEADER_LEN, OpenError, check_data_header, encode_data_header};
use crate::snapshot::{FileSnapshots, Image, NoSnapshots, SnapshotStore};
use crate::wire::Hello;
use handle::Handle;
use shared::{Shared, Worker};

pub use link::{Link, LinkError};
pub(crate) use metrics::escaped;
pub use metrics::{Count, LATENCY_BOUNDS_US, Latency, Metrics};
pub use remote::RangeLease;

/// Where a replica's two files lie. They may be on different disks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paths {
    /// The device's content, behind a header of 4096 bytes.
    pub data: PathBuf,
    /// Epoch, ancestry, bitmaps, activity log, undo area.
    pub meta: PathBuf,
}

/// How to open a volume.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Limits and tunables.
    pub config: Config,
    /// Read and write past the page cache ([`DirectDisk`]). Default false.
    pub direct: bool,
    /// For tests: keep unflushed writes in process memory, so that SIGKILL acts as a power cut.
    pub volatile: bool,
}

/// Bytes that a replica wrote to its two files since it was opened, in whole pages of 4096 bytes, as
/// the system hands them to the disk; not what the file system adds of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// To the data file.
    pub data: u64,
    /// To the metadata file.
    pub meta: u64,
}

/// One replica of a volume: the one type to begin with. Cheap to clone; the last clone (and the
/// last handle) that goes stops it as abruptly as a power cut. [`close`](Self::close) is the gentle way.
#[derive(Clone, Debug)]
pub struct Volume {
    owner: Arc<Owner>,
}

#[derive(Debug)]
struct Owner {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.shared.stop();
        // A hung disk must not hang its owner: the threads get a second to notice.
        for _ in 0..200 {
            if self.threads.iter().all(JoinHandle::is_finished) {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Volume {
    /// Creates a blank replica of `size` bytes (a multiple of 4096) with all its blocks allocated.
    /// Blocks the thread. Existing content is refused, never overwritten.
    pub fn create(
        paths: &Paths,
        identity: &Identity,
        size: u64,
        options: Options,
    ) -> Result<Volume, OpenError> {
        let (meta_len, _) = Replica::format(&options.config, identity, size)?;
        let data = create_file(&paths.data, DATA_HEADER_LEN + size)?;
        let meta = create_file(&paths.meta, meta_len).inspect_err(|_| {
            // It was made just now and holds nothing.
            drop(std::fs::remove_file(&paths.data));
        })?;
        Self::format(&*data, &*meta, identity, size, &options.config)?;
        drop((data, meta));
        Self::open(paths, identity, options)
    }

    /// Opens a replica. Blocks the thread. Files of another cluster, volume, node, device or of a
    /// newer format, and truncated ones, are refused and left as they are.
    pub fn open(paths: &Paths, identity: &Identity, options: Options) -> Result<Volume, OpenError> {
        let open = |path| open_file(path, options.direct);
        let (data, meta) = (open(&paths.data)?, open(&paths.meta)?);
        let cached = |disk: Arc<dyn Disk>| -> Arc<dyn Disk> {
            if options.volatile { Arc::new(VolatileDisk::new(disk)) } else { disk }
        };
        let snapshots = Arc::new(FileSnapshots::new(&paths.data));
        Self::with_snapshots(cached(data), cached(meta), snapshots, identity, options.config.clone())
    }

    /// Writes the structures of a blank replica to two disks full of zeros.
    pub fn format(
        data: &dyn Disk,
        meta: &dyn Disk,
        identity: &Identity,
        size: u64,
        config: &Config,
    ) -> Result<(), OpenError> {
        let (_, writes) = Replica::format(config, identity, size)?;
        let head = encode_data_header(identity, size);
        data.write_at(0, &head)
            .and_then(|()| data.flush())
            .map_err(OpenError::io("formatting the data file"))?;
        let write_all = || writes.iter().try_for_each(|(offset, bytes)| meta.write_at(*offset, bytes));
        write_all().and_then(|()| meta.flush()).map_err(OpenError::io("formatting the metadata file"))
    }

    /// Opens a replica on any two disks, without a place for snapshots of lost generations: none are kept.
    pub fn with_disks(
        data: Arc<dyn Disk>,
        meta: Arc<dyn Disk>,
        identity: &Identity,
        config: Config,
    ) -> Result<Volume, OpenError> {
        let config = Config { snapshots_max: 0, ..config };
        Self::with_snapshots(data, meta, Arc::new(NoSnapshots), identity, config)
    }

    /// Opens a replica on any two disks and a place for snapshots of lost generations.
    pub fn with_snapshots(
        data: Arc<dyn Disk>,
        meta: Arc<dyn Disk>,
        snapshots: Arc<dyn SnapshotStore>,
        identity: &Identity,
        config: Config,
    ) -> Result<Volume, OpenError> {
        // What a killed process wrote may be in the page cache alone; what is read here counts as durable.
        meta.flush().and_then(|()| data.flush()).map_err(OpenError::io("flushing what was left"))?;
        let core = Replica::open(config.clone(), identity, |offset, buf| meta.read_at(offset, buf))?;
        check_len("metadata", &*meta, core.meta_len())?;
        check_head(&*data, identity, &core)?;
        Self::start(Shared::new(core, (data, meta), snapshots, &config))
    }

    fn start(shared: Shared) -> Result<Volume, OpenError> {
        let shared = Arc::new(shared);
        let threads = spawn_threads(&shared).map_err(OpenError::io("starting the disk threads"))?;
        Ok(Volume { owner: Arc::new(Owner { shared, threads }) })
    }

    fn shared(&self) -> &Shared {
        &self.owner.shared
    }

    /// R4: refuses lower epochs from now on, drains and flushes what was accepted, records the
    /// epoch, then reports. A leader of a lower epoch here is fenced by it.
    pub async fn raise_epoch(&self, epoch: u64) -> Result<Raised, Denied> {
        match self.shared().ask(|request| Input::Raise { request, epoch }).await? {
            Reply::Raised(raised) => Ok(raised),
            _ => Err(Denied::Closed),
        }
    }

    /// Leads under `grant`, whose epoch must have been raised here, and gives the only handle that
    /// can write. Peers that are connected, or connect later, are brought in step by themselves.
    pub async fn lead(&self, grant: Grant) -> Result<Arc<dyn BlockDevice>, Denied> {
        let epoch = grant.epoch;
        self.shared().ask(|request| Input::Lead { request, grant }).await?;
        Ok(Arc::new(Handle::new(self.owner.clone(), epoch)))
    }

    /// Obeys the leader of `epoch`: the same as [`raise_epoch`](Self::raise_epoch), and nothing
    /// more, for a replica that does not lead follows whoever leads.
    pub async fn follow(&self, epoch: u64) -> Result<Raised, Denied> {
        self.raise_epoch(epoch).await
    }

    /// Applies a changed in-sync set to this leader. Call it in the order of the commits.
    pub fn set_grant(&self, grant: Grant) -> Result<(), Denied> {
        self.shared().with(Worker::Threads, |state, now| state.core.set_grant(now, grant))
    }

    /// R1: call it *before* proposing `pending` to the quorum; `None` when the proposal is known to
    /// have failed. See [`Replica::set_pending`].
    pub fn set_pending(&self, pending: Option<MemberSet>) -> Result<(), Denied> {
        self.shared().with(Worker::Threads, |state, now| state.core.set_pending(now, pending))
    }

    /// Grows this leader's device to `size` bytes (a multiple of 4096), on all members of the in-sync set, which must be
    /// connected and synced, and on all other connected peers; one that is away grows when it returns. Files are allocated
    /// in full. The handle sees the new size when it is durable everywhere. Failed or cut off half-way, nothing
    /// has changed for the handle, and it can be asked again. A smaller size is refused: see [`shrink`](Self::shrink).
    pub async fn resize(&self, size: u64) -> Result<u64, Denied> {
        match self.shared().ask(|request| Input::Resize { request, size }).await? {
            Reply::Resized { size } => Ok(size),
            _ => Err(Denied::Closed),
        }
    }

    /// Cuts the device off at `size` bytes (a multiple of 4096): what lies behind is lost, on every copy, so make the file
    /// system on it smaller first. All replicas that are known must be connected and synced. Writes behind the
    /// new end fail from now on; when all before are durable, the leader becomes smaller, then the others. If one is lost
    /// half-way, the answer is [`Denied::NotSynced`]: nothing has changed, or ([`status`](Self::status) tells) the leader is
    /// smaller, and the other one will be when it returns. Of snapshots, the ranges behind the new end are listed no more.
    pub async fn shrink(&self, size: u64) -> Result<u64, Denied> {
        match self.shared().ask(|request| Input::Shrink { request, size }).await? {
            Reply::Resized { size } => Ok(size),
            _ => Err(Denied::Closed),
        }
    }

    /// Changes what this replica, when it leads, waits for from a peer. See [`Replica::set_protocol`].
    pub fn set_protocol(&self, peer: NodeId, protocol: Protocol) {
        self.shared().with(Worker::Threads, |state, now| state.core.set_protocol(now, peer, protocol));
    }

    /// Changes `Config::min_redundancy`, until the volume is opened again.
    pub fn set_min_redundancy(&self, copies: usize) {
        self.shared().with(Worker::Threads, |state, now| state.core.set_min_redundancy(now, copies));
    }

    /// Takes a replica out for good. See [`Replica::forget`].
    pub fn forget(&self, device: DeviceId) -> Result<(), Denied> {
        self.shared().with(Worker::Threads, |state, now| state.core.forget(now, device))
    }

    /// Holds the resync of a peer from here. See [`Replica::pause_resync`].
    pub fn pause_resync(&self, peer: NodeId) {
        self.shared().with(Worker::Threads, |state, now| state.core.pause_resync(now, peer, true));
    }

    /// Lets it go on.
    pub fn resume_resync(&self, peer: NodeId) {
        self.shared().with(Worker::Threads, |state, now| state.core.pause_resync(now, peer, false));
    }

    /// Runs a link to `peer` over a stream that this side opened. Of two nodes, let one dial.
    pub async fn attach<IO>(&self, peer: NodeId, io: IO) -> Result<Link, LinkError>
    where
        IO: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        link::dial(self.owner.shared.clone(), peer, io).await
    }

    /// Runs a link over a stream that was accepted and whose [`Hello`] was read.
    pub async fn accept<IO>(&self, hello: Hello, io: IO) -> Result<Link, LinkError>
    where
        IO: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        link::accept(self.owner.shared.clone(), hello, io).await
    }

    /// The picture now. Never waits for a disk or a peer.
    pub fn status(&self) -> Status {
        self.shared().state().core.status()
    }

    /// How long the disk has owed an answer to its oldest operation; `None` when it owes none. A disk that
    /// hangs shows here and nowhere else.
    pub fn disk_age(&self) -> Option<Duration> {
        self.shared().disk_age()
    }

    /// Gives the disk up, as if it had reported an error (R11): handles fail, peers are told, and only
    /// opening the volume anew attaches it again. For a disk that hangs. What hangs in it may still reach
    /// it later; the resync that follows a reopening covers that.
    pub fn detach(&self, reason: &str) {
        self.shared().input(Input::Detach { reason: reason.into() });
    }

    /// How much was written to the two files since the volume was opened.
    pub fn written(&self) -> Written {
        self.shared().written()
    }

    /// What the volume did since it was opened.
    pub fn metrics(&self) -> Metrics {
        let status = self.status();
        Metrics {
            candidate_score: status.candidate.score.into(),
            in_sync_copies: status.in_sync.len() as u64,
            ..self.shared().counters.metrics(self.written())
        }
    }

    /// What happens from now on. A reader that lags by more than 1024 events is told so.
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.shared().events.subscribe()
    }

    /// Compares this leader's copy with every synced peer's, while writes go on. Where they differ, the
    /// checksums tell which one is wrong, and it is overwritten with the right bytes; where they do not, the
    /// leader's copy is taken, and the report says so. What all agree on has checksums afterwards.
    pub async fn verify(&self) -> Result<VerifyReport, Denied> {
        match self.shared().ask(|request| Input::Verify { request }).await? {
            Reply::Verified(report) => Ok(report),
            _ => Err(Denied::Closed),
        }
    }

    /// Reads this replica's disk against its checksums, leader or follower, while writes go on. What is
    /// damaged is healed: here by the leader, from a synced peer; at a follower, by its leader.
    pub async fn scrub(&self) -> Result<ScrubReport, Denied> {
        match self.shared().ask(|request| Input::Scrub { request }).await? {
            Reply::Scrubbed(report) => Ok(report),
            _ => Err(Denied::Closed),
        }
    }

    /// The generations that lost a split brain and were kept here, oldest first.
    pub fn snapshots(&self) -> Vec<Snapshot> {
        self.shared().state().core.snapshots()
    }

    /// Opens a snapshot as a read-only device: [`Export::read_only`](crate::nbd::Export) serves it by NBD.
    /// Blocks the thread.
    pub fn open_snapshot(&self, id: u64) -> Result<Arc<dyn BlockDevice>, Denied> {
        let found = self.snapshots().into_iter().find(|s| s.id == id).ok_or(Denied::NoSnapshot(id))?;
        let store = self.shared().snapshots.clone();
        let failed = |e: std::io::Error| Denied::Snapshot(e.to_string().into());
        store.read(id, 0, &mut [0; 1]).map_err(failed)?;
        Ok(Arc::new(Image { store, id, size: found.size, epoch: found.generation.epoch }))
    }

    /// Deletes a snapshot: its record first, then its image, then the last trace of it.
    pub async fn delete_snapshot(&self, id: u64) -> Result<(), Denied> {
        self.shared().ask(|request| Input::DeleteSnapshot { request, id }).await.map(drop)
    }

    /// R9: gives up an unfinished resync into this replica and returns to the state before it.
    /// Only for `promote --accept-loss`, or for a device the quorum still counts as in sync.
    pub async fn rollback(&self) -> Result<(), Denied> {
        self.shared().ask(|request| Input::Rollback { request }).await.map(drop)
    }

    /// An operator's consent that diverged data on `device` is overwritten from this leader.
    pub fn discard(&self, device: DeviceId) {
        self.shared().input(Input::Discard { device });
    }

    /// Flushes everything, records exactly what may differ, and stops. A leader's handle fails.
    pub async fn close(&self) -> Result<(), Denied> {
        let result = self.shared().ask(|request| Input::Close { request }).await.map(drop);
        self.shared().stop();
        result
    }
}

fn create_file(path: &std::path::Path, len: u64) -> Result<Arc<dyn Disk>, OpenError> {
    match FileDisk::create(path, len) {
        Ok(disk) => Ok(Arc::new(disk)),
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {
            Err(OpenError::Exists(path.display().to_string()))
        }
        Err(source) => Err(OpenError::io(format!("creating {} of {len} bytes", path.display()))(source)),
    }
}

fn open_file(path: &std::path::Path, direct: bool) -> Result<Arc<dyn Disk>, OpenError> {
    let disk: std::io::Result<Arc<dyn Disk>> = if direct {
        DirectDisk::open(path).map(|disk| Arc::new(disk) as Arc<dyn Disk>)
    } else {
        FileDisk::open(path).map(|disk| Arc::new(disk) as Arc<dyn Disk>)
    };
    disk.map_err(OpenError::io(format!("opening {}", path.display())))
}

fn check_len(file: &'static str, disk: &dyn Disk, expected: u64) -> Result<(), OpenError> {
    let found = disk.size().map_err(OpenError::io(format!("measuring the {file} file")))?;
    if found < expected { Err(OpenError::Truncated { file, found, expected }) } else { Ok(()) }
}

fn check_head(data: &dyn Disk, identity: &Identity, core: &Replica) -> Result<(), OpenError> {
    let size = core.size();
    let len = data.size().map_err(OpenError::io("measuring the data file"))?;
    if len < DATA_HEADER_LEN {
        return Err(OpenError::Truncated { file: "data", found: len, expected: DATA_HEADER_LEN + size });
    }
    let mut head = vec![0; DATA_HEADER_LEN as usize];
    data.read_at(0, &mut head).map_err(OpenError::io("reading the data file's header"))?;
    check_data_header(&head, len, identity, (size, core.was_shrunk()))
}

/// A disk thread's name and what it does.
type DiskThread = (&'static str, fn(&Shared));

fn spawn_threads(shared: &Arc<Shared>) -> std::io::Result<Vec<JoinHandle<()>>> {
    let roles: [DiskThread; 3] = [
        ("repl-data", Shared::serve_data),
        ("repl-flush", Shared::serve_flush),
        ("repl-meta", Shared::serve_meta),
    ];
    let spawn = |(name, serve): DiskThread| {
        let shared = shared.clone();
        std::thread::Builder::new().name(name.into()).spawn(move || serve(&shared))
    };
    roles.into_iter().map(spawn).collect()
}

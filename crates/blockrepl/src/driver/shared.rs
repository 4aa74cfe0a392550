//! What the handles, the disk threads and the links of one volume share.

use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::{broadcast, oneshot};

use super::Written;
use super::inbox::Inbox;
use super::incoming::Incoming;
use super::lane::{Batch, Job, Lane, zeroed};
use super::metrics::Counters;
use super::outbox::Outbox;
use super::reads::Reads;
use crate::config::Config;
use crate::core::sums_of;
use crate::core::{
    Denied, DiskOp, Event, Input, LinkId, OpId, Output, Replica, Reply, RequestId, SnapshotOp,
};
use crate::device::DeviceError;
use crate::disk::Disk;
use crate::meta::{BLOCK, DATA_HEADER_LEN};
use crate::pool::Pool;
use crate::snapshot::SnapshotStore;
use crate::wire::{Message, Refusal};
use crate::zeros::Zeros;

/// Events kept for a slow reader before it is told that it missed some.
const EVENTS_MAX: usize = 1024;
/// Data of this length or more lies in buffers that are used again.
pub(super) const LONG: usize = 64 << 10;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) type Answer = Result<Reply, Denied>;

/// A thread waits here for one answer.
#[derive(Debug, Default)]
pub(super) struct Slot {
    answer: Mutex<Option<Answer>>,
    ready: Condvar,
}

impl Slot {
    fn put(&self, answer: Answer) {
        *self.answer.lock().unwrap_or_else(PoisonError::into_inner) = Some(answer);
        self.ready.notify_one();
    }

    pub(super) fn wait(&self) -> Answer {
        let mut answer = self.answer.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match answer.take() {
                Some(answer) => return answer,
                None => answer = self.ready.wait(answer).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }
}

/// Who does the disk work that an input causes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Worker {
    /// The disk threads.
    Threads,
    /// The caller, but for flushes.
    Writer,
    /// The caller.
    Flusher,
}

#[derive(Debug)]
pub(super) enum Waiter {
    Thread(Arc<Slot>),
    Task(oneshot::Sender<Answer>),
}

impl Waiter {
    fn put(self, answer: Answer) {
        match self {
            Waiter::Thread(slot) => slot.put(answer),
            // The task may have gone: nobody waits any more.
            Waiter::Task(sender) => drop(sender.send(answer)),
        }
    }
}

/// Whether a leader's handle is still good.
#[derive(Debug)]
pub(super) struct Lease {
    pub(super) epoch: u64,
    pub(super) dead: OnceLock<DeviceError>,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) core: Replica,
    waiters: HashMap<RequestId, Waiter>,
    links: HashMap<LinkId, Arc<Outbox>>,
    /// Those with something new to send.
    talking: Vec<Arc<Outbox>>,
    lease: Option<Arc<Lease>>,
    next: u64,
    stopped: bool,
}

#[derive(Debug)]
pub(super) struct Shared {
    state: Mutex<State>,
    pub(super) events: broadcast::Sender<Event>,
    pub(super) data: Arc<dyn Disk>,
    meta: Arc<dyn Disk>,
    pub(super) snapshots: Arc<dyn SnapshotStore>,
    reads: Reads,
    pub(super) counters: Counters,
    data_written: AtomicU64,
    meta_written: AtomicU64,
    pub(super) data_lane: Lane,
    flush_lane: Lane,
    meta_lane: Lane,
    /// Links on which the thread of the data disk is to read.
    incoming: Mutex<VecDeque<Arc<Incoming>>>,
    pool: Arc<Pool>,
    frame_limit: u32,
    pub(super) unsent_limit: u64,
    /// There are other writers: reads must pass through the core.
    pub(super) many: AtomicBool,
    /// Something here is known to be damaged.
    damaged: AtomicBool,
    pub(super) ticking: AtomicBool,
    pub(super) verify_reads: bool,
    pub(super) free_discarded: bool,
    /// Of the device, in bytes.
    pub(super) size: AtomicU64,
    start: Instant,
}

impl Shared {
    pub(super) fn new(
        core: Replica,
        (data, meta): (Arc<dyn Disk>, Arc<dyn Disk>),
        snapshots: Arc<dyn SnapshotStore>,
        config: &Config,
    ) -> Self {
        let damaged = core.knows_damage();
        let size = AtomicU64::new(core.size());
        let state = State {
            core,
            waiters: HashMap::new(),
            links: HashMap::new(),
            talking: Vec::new(),
            lease: None,
            next: 0,
            stopped: false,
        };
        Shared {
            state: Mutex::new(state),
            events: broadcast::channel(EVENTS_MAX).0,
            data,
            meta,
            snapshots,
            reads: Reads::default(),
            counters: Counters::default(),
            data_written: AtomicU64::new(0),
            meta_written: AtomicU64::new(0),
            data_lane: Lane::default(),
            flush_lane: Lane::default(),
            meta_lane: Lane::default(),
            incoming: Mutex::default(),
            pool: Arc::default(),
            many: AtomicBool::new(false),
            damaged: AtomicBool::new(damaged),
            ticking: AtomicBool::new(false),
            frame_limit: config.frame_bytes_max,
            unsent_limit: config.unsent_limit(),
            verify_reads: config.verify_reads,
            free_discarded: config.free_discarded,
            size,
            start: Instant::now(),
        }
    }

    /// Reads data for a handle.
    pub(super) fn read_data(&self, offset: u64, buf: &mut [u8]) -> std::io::Result<()> {
        let _reading = self.reads.begin();
        self.data.read_at(offset, buf)
    }

    /// Where data reads as zeros, for a handle.
    pub(super) fn zeros_in(&self, range: Range<u64>, most: usize) -> Vec<Range<u64>> {
        self.data.zeros_in(range, most)
    }

    /// Whether reads are compared with the checksums: always, if anything here is known to be damaged.
    pub(super) fn checks_reads(&self) -> bool {
        self.verify_reads || self.damaged.load(Ordering::SeqCst)
    }

    /// Reads data for a handle if it need not wait for the disk.
    pub(super) fn read_cached(&self, offset: u64, buf: &mut [u8]) -> bool {
        self.data.read_cached(offset, buf)
    }

    /// Reads data for a handle, in whole blocks, and says whether it is what was written. False also when a
    /// write came between, or when the checksums are not in memory.
    pub(super) fn read_verified(&self, offset: u64, buf: &mut [u8]) -> bool {
        let end = offset + buf.len() as u64;
        if offset.is_multiple_of(BLOCK) && end.is_multiple_of(BLOCK) {
            return self.read_data(DATA_HEADER_LEN + offset, buf).is_ok() && self.sums_hold(offset, buf);
        }
        let start = offset / BLOCK * BLOCK;
        let mut blocks = vec![0; (end.next_multiple_of(BLOCK) - start) as usize];
        let sound =
            self.read_data(DATA_HEADER_LEN + start, &mut blocks).is_ok() && self.sums_hold(start, &blocks);
        let at = (offset - start) as usize;
        buf.copy_from_slice(&blocks[at..at + buf.len()]);
        sound
    }

    fn sums_hold(&self, offset: u64, blocks: &[u8]) -> bool {
        let computed = sums_of(blocks);
        self.state().core.sums_hold(offset, &computed) == Some(true)
    }

    /// The age of the oldest thing that the disks owe an answer to.
    pub(super) fn disk_age(&self) -> Option<Duration> {
        self.with(Worker::Threads, |state, now| state.core.disk_age(now)).max(self.reads.age())
    }

    /// Never held across I/O: whoever asks for the status gets it at once.
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn input(&self, input: Input) {
        self.with(Worker::Threads, |state, now| state.core.handle(now, input));
    }

    /// Runs `f` on the core and passes on what comes out of it.
    pub(super) fn with<R>(&self, worker: Worker, f: impl FnOnce(&mut State, Duration) -> R) -> R {
        let mut state = self.state();
        let result = f(&mut state, self.start.elapsed());
        // Before another writer can hear that it is one.
        self.many.store(state.core.is_shared(), Ordering::SeqCst);
        self.damaged.store(state.core.knows_damage(), Ordering::SeqCst);
        self.dispatch(&mut state, worker);
        let talking = std::mem::take(&mut state.talking);
        drop(state);
        talking.iter().for_each(Outbox::urge);
        result
    }

    fn dispatch(&self, state: &mut State, worker: Worker) {
        while let Some(output) = state.core.poll_output() {
            match output {
                Output::Disk { op, what } if what.is_meta() => self.meta_lane.push((op, what), true),
                Output::Disk { op, what: DiskOp::Flush } if self.data_lane.idle() => {
                    // Nothing to be done before it: the flush's own thread begins at once.
                    self.flush_lane.push((op, DiskOp::Flush), worker != Worker::Flusher);
                }
                Output::Disk { op, what } => self.data_lane.push((op, what), worker == Worker::Threads),
                Output::Send { link, message } => {
                    // A link that ended is reported by its own task.
                    if let Some(outbox) = state.links.get(&link) {
                        self.counters.sent(&message);
                        outbox.push(message);
                        state.talking.push(outbox.clone());
                    }
                }
                Output::CloseLink { link } => {
                    if let Some(outbox) = state.links.remove(&link) {
                        outbox.close();
                    }
                }
                Output::Done { request, result } => {
                    if let Some(waiter) = state.waiters.remove(&request) {
                        waiter.put(result);
                    }
                }
                Output::Event(event) => self.publish(state, event),
            }
        }
    }

    fn publish(&self, state: &mut State, event: Event) {
        match &event {
            Event::Fenced { held, current } => {
                state.end_lease(DeviceError::Fenced { held: *held, current: *current });
            }
            Event::Resized { size } => self.size.store(*size, Ordering::Release),
            Event::DiskFailed { reason } => state.end_lease(DeviceError::Failed(reason.clone())),
            _ => {}
        }
        self.counters.event(&event);
        tracing::debug!(node = %state.core.identity().node, ?event, "blockrepl");
        // Nobody may be listening.
        drop(self.events.send(event));
    }

    /// What comes in on a new link.
    pub(super) fn inbox(&self) -> Inbox {
        Inbox::new(self.frame_limit, self.pool.clone())
    }

    /// Has the thread of the data disk read what comes in.
    pub(super) fn have_read(&self, from: Arc<Incoming>) {
        let mut waiting = lock(&self.incoming);
        if !waiting.iter().any(|other| Arc::ptr_eq(other, &from)) {
            waiting.push_back(from);
        }
        drop(waiting);
        self.data_lane.call();
    }

    /// Reads one message for the link whose turn it is, and says whether there may be more.
    fn read_on(&self) -> bool {
        let next = lock(&self.incoming).pop_front();
        let more = next.filter(|incoming| {
            // A stream that panics ends its link, not the thread of the disk.
            let read = catch_unwind(AssertUnwindSafe(|| incoming.read(self)));
            read.unwrap_or_else(|_| {
                self.give_up(incoming);
                false
            })
        });
        let mut waiting = lock(&self.incoming);
        waiting.extend(more);
        !waiting.is_empty()
    }

    fn give_up(&self, incoming: &Incoming) {
        let outbox = self.state().links.get(&incoming.link()).cloned();
        if let Some(outbox) = outbox {
            outbox.abandon();
        }
        incoming.give_up();
    }

    /// Bytes of a write, to be kept until they are on all disks.
    pub(super) fn keep(&self, data: &[u8]) -> Bytes {
        if data.len() < LONG { Bytes::copy_from_slice(data) } else { self.pool.copy(data) }
    }

    /// Time has passed.
    pub(super) fn tick(&self) {
        self.input(Input::Tick);
        self.pool.tick();
    }

    /// A request from a thread that then waits; it does the disk work that it causes.
    pub(super) fn call(&self, flush: bool, make: impl FnOnce(RequestId) -> Input) -> Answer {
        let slot = Arc::new(Slot::default());
        let worker = if flush { Worker::Flusher } else { Worker::Writer };
        let started = self.with(worker, |state, now| {
            state.start(Waiter::Thread(slot.clone())).map(|request| state.core.handle(now, make(request)))
        });
        started?;
        // A flush is done by who asks for it; a writer leaves other people's flushes alone.
        self.data_lane.drain(|batch| self.data_jobs(batch, !flush));
        if flush {
            self.flush_lane.drain(|batch| self.disk_jobs(batch));
        }
        slot.wait()
    }

    /// A request from a task.
    pub(super) async fn ask(&self, make: impl FnOnce(RequestId) -> Input) -> Answer {
        let (sender, receiver) = oneshot::channel();
        self.with(Worker::Threads, |state, now| {
            state.start(Waiter::Task(sender)).map(|request| state.core.handle(now, make(request)))
        })?;
        receiver.await.unwrap_or(Err(Denied::Closed))
    }

    /// Data operations in order; a flush goes to its own lane, so that writes may overtake it.
    fn data_jobs(&self, batch: Batch, wake: bool) {
        match batch {
            Batch::One(job @ (_, DiskOp::Flush)) => self.flush_lane.push(job, wake),
            Batch::One(job) => self.disk_job(job),
            Batch::Writes(jobs) => self.write_jobs(jobs),
        }
    }

    fn disk_jobs(&self, batch: Batch) {
        match batch {
            Batch::One(job) => self.disk_job(job),
            Batch::Writes(jobs) => self.write_jobs(jobs),
        }
    }

    fn disk_job(&self, (op, what): Job) {
        let result = self.perform(what).map_err(|e| Arc::from(e.to_string()));
        self.complete(op, result);
    }

    /// Writes of one lane, and so to one disk.
    fn write_jobs(&self, jobs: Vec<Job>) {
        let (mut disk, mut written) = (&self.data, &self.data_written);
        let mut writes: Vec<(u64, &[u8])> = Vec::with_capacity(jobs.len());
        for (_, what) in &jobs {
            match what {
                DiskOp::Write { offset, data } => writes.push((DATA_HEADER_LEN + offset, data)),
                DiskOp::MetaWrite { offset, data } => {
                    (disk, written) = (&self.meta, &self.meta_written);
                    writes.push((*offset, data));
                }
                _ => {}
            }
        }
        let result = disk.write_many(&writes).map_err(|e| Arc::<str>::from(e.to_string()));
        let bytes = writes.iter().map(|(offset, data)| page_bytes(*offset, data.len())).sum();
        written.fetch_add(bytes, Ordering::Relaxed);
        self.with(Worker::Threads, |state, now| {
            for (op, _) in &jobs {
                let result = result.clone().map(|()| Bytes::new());
                state.core.handle(now, Input::DiskDone { op: *op, result });
            }
        });
    }

    fn complete(&self, op: OpId, result: Result<Bytes, Arc<str>>) {
        self.input(Input::DiskDone { op, result });
    }

    fn perform(&self, what: DiskOp) -> std::io::Result<Bytes> {
        match what {
            DiskOp::Write { offset, data } if let Some(zeros) = zeroed(&data) => {
                let free = self.free_discarded && zeros == Zeros::Free;
                self.data.zero(DATA_HEADER_LEN + offset, data.len() as u64, free)?;
            }
            DiskOp::Write { offset, data } => {
                let offset = DATA_HEADER_LEN + offset;
                self.data.write_at(offset, &data)?;
                self.data_written.fetch_add(page_bytes(offset, data.len()), Ordering::Relaxed);
            }
            DiskOp::Read { offset, len } if len as usize >= LONG => {
                let mut buffer = self.pool.take(len as usize);
                self.data.read_at(DATA_HEADER_LEN + offset, buffer.as_mut())?;
                return Ok(Bytes::from_owner(buffer));
            }
            DiskOp::Read { offset, len } => return read(&*self.data, DATA_HEADER_LEN + offset, len),
            DiskOp::Grow { from, to } => self.data.grow(DATA_HEADER_LEN + from, DATA_HEADER_LEN + to)?,
            DiskOp::Shrink { to } => self.data.shrink(DATA_HEADER_LEN + to)?,
            DiskOp::MetaGrow { from, to } => self.meta.grow(from, to)?,
            DiskOp::Snapshot(op) => return self.snapshot(op),
            DiskOp::Flush => self.data.flush()?,
            DiskOp::MetaWrite { offset, data } => {
                self.meta.write_at(offset, &data)?;
                self.meta_written.fetch_add(page_bytes(offset, data.len()), Ordering::Relaxed);
            }
            DiskOp::MetaRead { offset, len } => return read(&*self.meta, offset, len),
            DiskOp::MetaFlush => self.meta.flush()?,
        }
        Ok(Bytes::new())
    }

    fn snapshot(&self, op: SnapshotOp) -> std::io::Result<Bytes> {
        let store = &self.snapshots;
        match op {
            // Any bytes say that the image has all of the device's.
            SnapshotOp::Create { id, size } if store.create(id, size)? => {
                return Ok(Bytes::from_static(b"all"));
            }
            SnapshotOp::Create { .. } => {}
            SnapshotOp::Write { id, offset, data } => store.write(id, offset, &data)?,
            SnapshotOp::Flush { id } => store.flush(id)?,
            SnapshotOp::Remove { id } => store.remove(id)?,
        }
        Ok(Bytes::new())
    }

    /// What the disks were given so far.
    pub(super) fn written(&self) -> Written {
        Written {
            data: self.data_written.load(Ordering::Relaxed),
            meta: self.meta_written.load(Ordering::Relaxed),
        }
    }

    /// The peer on this link broke the protocol.
    pub(super) fn reject(&self, link: LinkId) {
        let outbox = self.state().links.remove(&link);
        if let Some(outbox) = outbox {
            outbox.push(Message::Refused(Refusal::Protocol));
            outbox.close();
        }
    }

    /// The three disk threads: data in order, data flushes, metadata in order.
    pub(super) fn serve_data(&self) {
        self.data_lane.serve(|batch| self.data_jobs(batch, true), || self.read_on());
    }

    pub(super) fn serve_flush(&self) {
        self.flush_lane.serve(|batch| self.disk_jobs(batch), || false);
    }

    pub(super) fn serve_meta(&self) {
        self.meta_lane.serve(|batch| self.disk_jobs(batch), || false);
    }

    pub(super) fn stopped(&self) -> bool {
        self.state().stopped
    }

    /// As if the power failed: nothing more is written, every waiter and link ends.
    pub(super) fn stop(&self) {
        let mut state = self.state();
        state.stopped = true;
        state.links.drain().for_each(|(_, outbox)| outbox.close());
        let held = state.lease.as_ref().map_or(0, |l| l.epoch);
        state.end_lease(DeviceError::Fenced { held, current: held });
        for (_, waiter) in state.waiters.drain() {
            waiter.put(Err(Denied::Closed));
        }
        drop(state);
        self.data_lane.stop();
        self.flush_lane.stop();
        self.meta_lane.stop();
    }
}

/// The whole pages that a range touches, in bytes: what a page cache hands on.
fn page_bytes(offset: u64, len: usize) -> u64 {
    const PAGE: u64 = 4096;
    (offset + len as u64).next_multiple_of(PAGE) - offset / PAGE * PAGE
}

fn read(disk: &dyn Disk, offset: u64, len: u32) -> std::io::Result<Bytes> {
    let mut buf = vec![0; len as usize];
    disk.read_at(offset, &mut buf)?;
    Ok(buf.into())
}

impl State {
    pub(super) fn name(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn start(&mut self, waiter: Waiter) -> Result<RequestId, Denied> {
        if self.stopped {
            return Err(Denied::Closed);
        }
        let request = RequestId(self.name());
        self.waiters.insert(request, waiter);
        Ok(request)
    }

    pub(super) fn add_link(&mut self, outbox: Arc<Outbox>) -> Option<LinkId> {
        if self.stopped {
            return None;
        }
        let link = LinkId(self.name());
        self.links.insert(link, outbox);
        Some(link)
    }

    pub(super) fn drop_link(&mut self, link: LinkId) {
        self.links.remove(&link);
    }

    pub(super) fn set_lease(&mut self, lease: Arc<Lease>) {
        self.end_lease(DeviceError::Fenced { held: 0, current: lease.epoch });
        self.lease = Some(lease);
    }

    fn end_lease(&mut self, why: DeviceError) {
        if let Some(lease) = self.lease.take() {
            // The first reason stays.
            drop(lease.dead.set(why));
        }
    }
}

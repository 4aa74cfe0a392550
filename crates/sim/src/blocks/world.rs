//! Virtual time, machines and disks: one queue of events, and who handles each.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use posthaste_blockrepl::core::{
    Denied, DiskOp, Event as Told, Input, LeaseId, OpId, Output, Replica, Reply, RequestId, SnapshotOp,
};
use posthaste_blockrepl::{ClusterId, Config, DeviceId, Identity, Member, NodeId, Protocol, VolumeId};

use super::authority::{Authority, Grants};
use super::bugs::Bug;
use super::faults::Fault;
use super::followers::Follows;
use super::history::{Asks, History};
use super::images::{Forced, Images, Lost};
use super::layout::{SIZE, config, sectors};
use super::net::Net;
use super::oracle::Oracle;
use super::owner::Proc;
use super::scenarios::Setting;
use super::stopwatch::Stopwatch;
use crate::checkers::Verdict;
use crate::disk::{Disk, Image};
use crate::rng::Rng;
use crate::world::Violation;

pub(super) use crate::world::MS;

/// Something that will happen.
#[derive(Debug)]
pub(super) enum Event {
    Tick { n: usize, life: u64 },
    DiskEnds { n: usize, life: u64, op: OpId, what: Ending },
    DiskDone { n: usize, life: u64, op: OpId, result: Result<Bytes, Arc<str>> },
    Answer { n: usize, life: u64, request: RequestId, result: Box<Result<Reply, Denied>> },
    Hear { n: usize, life: u64, event: Box<Told> },
    Commit { n: usize, life: u64, next: Box<Grants> },
    Learn { n: usize, life: u64, rev: u64 },
    Lease { n: usize, life: u64, epoch: u64, until: u64 },
    Dial { a: usize, b: usize },
    Deliver { link: u64, end: usize },
    LinkLost { link: u64, end: usize, only_if_cut: bool },
    Client { n: usize, life: u64, epoch: u64 },
    Unlease { n: usize, life: u64, lease: LeaseId },
    Resume { n: usize, life: u64 },
    Fault(Fault),
}

/// What a disk does when an operation's time is up.
#[derive(Debug, Clone, Copy)]
pub(super) enum Ending {
    Write { meta: bool, seq: u64 },
    Read { meta: bool, offset: u64, len: u32 },
    Flush { meta: bool, mark: u64 },
    Grow { meta: bool, from: u64, to: u64 },
    Shrink { meta: bool, to: u64 },
    Snapshot { meta: bool },
}

impl Event {
    /// The process that handles it, and which life of it; such an event waits while the process is paused.
    fn process(&self) -> Option<(usize, u64)> {
        match self {
            Self::Tick { n, life }
            | Self::DiskDone { n, life, .. }
            | Self::Answer { n, life, .. }
            | Self::Hear { n, life, .. }
            | Self::Learn { n, life, .. }
            | Self::Lease { n, life, .. }
            | Self::Unlease { n, life, .. }
            | Self::Client { n, life, .. } => Some((*n, *life)),
            _ => None,
        }
    }

    fn kind(&self) -> u64 {
        match self {
            Self::Tick { .. } => 1,
            Self::DiskEnds { .. } => 2,
            Self::DiskDone { .. } => 3,
            Self::Answer { .. } => 4,
            Self::Hear { .. } => 5,
            Self::Commit { .. } => 6,
            Self::Learn { .. } => 7,
            Self::Lease { .. } => 8,
            Self::Dial { .. } => 9,
            Self::Deliver { .. } => 10,
            Self::LinkLost { .. } => 11,
            Self::Client { .. } => 12,
            Self::Resume { .. } => 13,
            Self::Fault(_) => 14,
            Self::Unlease { .. } => 15,
        }
    }
}

/// What outlives a process.
#[derive(Debug)]
pub(super) struct Machine {
    pub(super) life: u64,
    pub(super) up: bool,
    pub(super) paused_until: Option<u64>,
    held: Vec<Event>,
    /// Its clock began here, runs a little fast or slow, and has jumped.
    clock: (u64, i64),
    pub(super) jumped: u64,
    /// What the replica is told besides: jumps in both directions.
    pub(super) wall: i64,
    /// Data and metadata; a witness has none.
    pub(super) disks: Option<[Disk; 2]>,
    /// Counts the devices that were here.
    pub(super) serial: u8,
    pub(super) images: Images,
    image_ops: BTreeMap<OpId, SnapshotOp>,
    pub(super) slow: u64,
    /// A disk lies, or damaged what it was given: what it holds proves nothing.
    pub(super) distrusted: bool,
    /// Granules that were written to, and when last.
    pub(super) touched: BTreeMap<u64, u64>,
    /// When it died last.
    pub(super) died: Option<u64>,
    /// What it was when the last resync into it began.
    pub(super) before: Option<Before>,
}

/// The whole of it.
#[derive(Debug)]
pub(super) struct World {
    /// True time in microseconds.
    pub now: u64,
    seq: u64,
    queue: BTreeMap<(u64, u64), Event>,
    pub(super) rng: Rng,
    /// Nodes with a copy; the rest of the three is a witness.
    pub(super) copies: usize,
    pub(super) config: Config,
    pub(super) setting: Setting,
    pub(super) bug: Option<Bug>,
    pub(super) net: Net,
    pub(super) machines: [Machine; 3],
    pub(super) procs: [Option<Proc>; 3],
    pub(super) authority: Authority,
    pub(super) oracle: Oracle,
    /// With several writers: what their clients did, instead of the oracle's registers.
    pub(super) history: Option<History>,
    /// What is being given to a replica for a client of several writers.
    pub(super) asking: Option<Asks>,
    pub(super) written_ids: u64,
    /// Of their operations, per mille, ask for a range.
    pub(super) leases: u64,
    /// Chance for what was added later, so that the older traces stay.
    pub(super) chance: Rng,
    /// What is waited for, per node.
    pub(super) protocols: [Protocol; 3],
    pub(super) follows: [Follows; 3],
    pub(super) promoted: u32,
    /// Copies that were given up, and what the forced one held when they parted.
    pub(super) lost: Vec<Lost>,
    pub(super) parted: Option<Image>,
    pub(super) deleted_snapshots: bool,
    /// No fault so far.
    pub(super) undisturbed: bool,
    /// Clients pause this long between operations, in microseconds, at most.
    pub(super) pace: u64,
    pub(super) clients_stop: bool,
    /// How long owners wait for a member that is away, in microseconds.
    pub(super) patience: u64,
    pub(super) stopwatch: Stopwatch,
    /// What was written where an operator's force led.
    pub(super) forced: Forced,
    /// The oracle opens the disks; else it sees what a client sees.
    pub(super) opens_disks: bool,
    /// Replicas that hold data which an operator has split off: nobody judges it.
    pub(super) split: bool,
    /// What verifies have found, in all.
    pub(super) differing: usize,
    pub(super) verifies: usize,
    /// A verify was asked for: copies may be healed.
    pub(super) verifying: bool,
    pub(super) diverged: usize,
    pub(super) resyncs: u64,
    /// Whom the last fault has hit.
    pub(super) last_hit: usize,
    /// What went wrong first.
    pub violation: Option<Violation>,
    hash: u64,
    trace: Option<Vec<String>>,
}

impl World {
    /// `copies` replicas, formatted and started, and witnesses up to three members.
    pub(super) fn new(seed: u64, copies: usize, setting: Setting, bug: Option<Bug>, trace: bool) -> Self {
        let mut rng = Rng::new(seed ^ 0xB10C);
        let config = setting.config(config(&mut rng), seed);
        let machines = std::array::from_fn(|_| Machine::new(&mut rng));
        let pace = rng.pick(&[4, 20, 40]) * MS;
        let mut world = Self {
            now: 0,
            seq: 0,
            queue: BTreeMap::new(),
            copies,
            config,
            setting,
            bug,
            net: Net::default(),
            machines,
            procs: [None, None, None],
            authority: Authority::new((0..copies).map(|n| member(n, 0)).collect()),
            oracle: Oracle::default(),
            history: setting.shares().then(|| History::new(sectors(SIZE))),
            asking: None,
            written_ids: 0,
            leases: 50,
            chance: Rng::new(seed ^ 0xCAFE),
            protocols: setting.protocols(copies, seed),
            follows: Default::default(),
            promoted: 0,
            lost: Vec::new(),
            parted: None,
            deleted_snapshots: false,
            undisturbed: true,
            pace,
            clients_stop: false,
            patience: super::owner::PATIENCE,
            stopwatch: Stopwatch::default(),
            forced: Forced::default(),
            opens_disks: true,
            split: false,
            differing: 0,
            verifies: 0,
            verifying: false,
            diverged: 0,
            resyncs: 0,
            last_hit: 0,
            violation: None,
            hash: 0xcbf2_9ce4_8422_2325,
            trace: trace.then(Vec::new),
            rng,
        };
        for n in 0..copies {
            world.machines[n].images.shares = world.chance.chance(500);
            world.format(n);
        }
        (0..3).for_each(|n| world.start(n));
        let ends = if setting == Setting::Diskless { 3 } else { copies };
        for a in 0..copies {
            (a + 1..ends).for_each(|b| world.push(MS, Event::Dial { a, b }));
        }
        world
    }

    // ---- time ----

    pub(super) fn push(&mut self, after: u64, event: Event) {
        self.seq += 1;
        self.queue.insert((self.now + after, self.seq), event);
    }

    /// Plans a fault.
    pub(super) fn plan(&mut self, after_ms: u64, fault: Fault) {
        self.push(after_ms * MS, Event::Fault(fault));
    }

    /// Lets virtual time pass, up to `until` or the first violation.
    pub(super) fn run_to(&mut self, until: u64) {
        while self.violation.is_none() {
            let Some(entry) = self.queue.first_entry().filter(|e| e.key().0 <= until) else { break };
            let at = entry.key().0;
            let event = entry.remove();
            self.now = self.now.max(at);
            self.happen(event);
        }
        self.now = self.now.max(until);
    }

    fn happen(&mut self, event: Event) {
        let process = event.process();
        if let Some((n, life)) = process {
            let machine = &mut self.machines[n];
            if life != machine.life {
                return;
            }
            if machine.paused_until.is_some() {
                return machine.held.push(event);
            }
        }
        self.mark(event.kind(), process.map_or(9, |(n, _)| n as u64));
        self.dispatch(event);
    }

    fn dispatch(&mut self, event: Event) {
        match event {
            Event::Tick { n, life } => {
                self.push(50 * MS, Event::Tick { n, life });
                self.tick(n);
            }
            Event::DiskEnds { n, life, op, what } => {
                if self.machines[n].life == life {
                    self.disk_ends(n, op, what);
                }
            }
            Event::DiskDone { n, op, result, .. } => self.input(n, Input::DiskDone { op, result }),
            Event::Answer { n, request, result, .. } => self.answered(n, request, *result),
            Event::Hear { n, event, .. } => self.hear(n, *event),
            Event::Commit { n, life, next } => {
                if self.machines[n].life == life {
                    self.commit(n, *next);
                }
            }
            Event::Learn { n, rev, .. } => self.learn(n, rev),
            Event::Lease { n, epoch, until, .. } => self.leased(n, epoch, until),
            Event::Dial { a, b } => self.dial(a, b),
            Event::Deliver { link, end } => self.deliver(link, end),
            Event::LinkLost { link, end, only_if_cut } => self.link_lost(link, end, only_if_cut),
            Event::Client { n, life, epoch } => self.client(n, life, epoch),
            Event::Unlease { n, lease, .. } => self.unlease(n, lease),
            Event::Resume { n, life } => self.resume(n, life),
            Event::Fault(fault) => self.inflict(fault),
        }
    }

    /// The node's own clock.
    pub(super) fn local(&self, n: usize) -> u64 {
        let machine = &self.machines[n];
        let (offset, ppm) = machine.clock;
        let drift = i128::from(self.now) * i128::from(ppm) / 1_000_000;
        (i128::from(offset + self.now + machine.jumped) + drift) as u64
    }

    // ---- processes ----

    pub(super) fn runs(&self, n: usize) -> bool {
        self.machines[n].up && self.machines[n].paused_until.is_none()
    }

    /// Makes a node's device anew, blank and under a new name.
    pub(super) fn format(&mut self, n: usize) {
        let identity = identity(n, self.machines[n].serial);
        let made = Replica::format(&self.config, &identity, SIZE);
        let (len, writes) =
            made.unwrap_or_else(|e| unreachable!("a device of {SIZE} bytes is possible: {e}"));
        let mut meta = Disk::new(len);
        for (offset, data) in &writes {
            meta.begin(*offset, data);
        }
        meta.seal();
        self.machines[n].disks = Some([Disk::new(SIZE), meta]);
    }

    /// Starts what does not run.
    pub(super) fn start(&mut self, n: usize) {
        if self.machines[n].up {
            return;
        }
        self.machines[n].up = true;
        let life = self.machines[n].life;
        let Some(disks) = &mut self.machines[n].disks else { return self.start_diskless(n) };
        // An owner flushes what a process before it may have left in the cache, before it believes it.
        disks.iter_mut().for_each(Disk::seal);
        let meta = &disks[1].live;
        let read = |offset: u64, buf: &mut [u8]| {
            meta.read(offset, buf);
            Ok(())
        };
        let opened = Replica::open(self.config.clone(), &identity(n, self.machines[n].serial), read);
        let replica = match opened {
            Ok(replica) => super::bugs::with(replica, self.bug),
            Err(e) => return self.judge("open", Err(format!("node {n} cannot open its copy: {e}"))),
        };
        self.say(|| format!("node {n} starts life {life}"));
        self.procs[n] = Some(Proc::new(replica));
        self.push(MS, Event::Tick { n, life });
        self.tell(n);
    }

    /// A witness may write through the leader.
    fn start_diskless(&mut self, n: usize) {
        if self.setting != Setting::Diskless {
            return;
        }
        let made = Replica::diskless(self.config.clone(), &identity(n, 0), SIZE);
        let replica = made.unwrap_or_else(|e| unreachable!("a device of {SIZE} bytes is possible: {e}"));
        self.procs[n] = Some(Proc::new(super::bugs::with(replica, self.bug)));
        let life = self.machines[n].life;
        self.push(MS, Event::Tick { n, life });
        self.tell(n);
    }

    /// SIGKILL, or with `power` a power cut: what its disks had not flushed is lost or torn.
    pub(super) fn kill(&mut self, n: usize, power: bool) {
        if !std::mem::take(&mut self.machines[n].up) {
            return;
        }
        self.procs[n] = None;
        self.history.iter_mut().for_each(|h| h.dies(n));
        let machine = &mut self.machines[n];
        machine.died = Some(self.now);
        machine.life += 1;
        machine.paused_until = None;
        machine.held.clear();
        for disk in machine.disks.iter_mut().flatten() {
            match power {
                true => disk.crash(&mut self.rng),
                false => disk.outlive(&mut self.rng),
            }
            (disk.wrong.fail_flush, disk.wrong.fail_io) = (false, false);
        }
        machine.image_ops.clear();
        machine.before.iter_mut().for_each(|before| before.power_cut |= power);
        if power {
            machine.images.crash(&mut self.chance);
        }
        self.follower_dies(n, power);
        self.say(|| format!("node {n} dies, power cut: {power}"));
        self.links_of_dead(n, power);
    }

    /// Stops the process; what comes in waits.
    pub(super) fn pause(&mut self, n: usize, ms: u64) {
        if self.machines[n].up {
            let until = self.now + ms * MS;
            let machine = &mut self.machines[n];
            machine.paused_until = Some(machine.paused_until.map_or(until, |u| u.max(until)));
            let life = machine.life;
            self.push(ms * MS, Event::Resume { n, life });
        }
    }

    fn resume(&mut self, n: usize, life: u64) {
        let now = self.now;
        let machine = &mut self.machines[n];
        if machine.life != life || machine.paused_until.is_none_or(|until| until > now) {
            return;
        }
        machine.paused_until = None;
        let held = std::mem::take(&mut machine.held);
        for event in held {
            self.happen(event);
        }
    }

    /// Ends all pauses.
    pub(super) fn wake_all(&mut self) {
        for n in 0..3 {
            if self.machines[n].paused_until.is_some() {
                self.machines[n].paused_until = Some(self.now);
                let life = self.machines[n].life;
                self.resume(n, life);
            }
        }
    }

    // ---- the replica's driver ----

    pub(super) fn replica(&self, n: usize) -> Option<&Replica> {
        self.procs[n].as_ref().map(|p| &p.replica)
    }

    /// What the replica believes the time to be: it may jump, in both directions.
    pub(super) fn replica_now(&self, n: usize) -> Duration {
        let local = self.local(n).saturating_add_signed(self.machines[n].wall);
        Duration::from_micros(local)
    }

    pub(super) fn input(&mut self, n: usize, input: Input) {
        let now = self.replica_now(n);
        if let Some(p) = &mut self.procs[n] {
            p.replica.handle(now, input);
        }
        self.drain(n);
    }

    /// Carries out what the replica wishes.
    pub(super) fn drain(&mut self, n: usize) {
        let life = self.machines[n].life;
        while let Some(wish) = self.procs[n].as_mut().and_then(|p| p.replica.poll_output()) {
            match wish {
                Output::Disk { op, what } => self.disk_begins(n, op, what),
                Output::Send { link, message } => self.link_send(n, link, message),
                Output::CloseLink { link } => self.link_close(n, link),
                Output::Done { request, result } => {
                    self.promise(n, request, &result);
                    let after = self.rng.between(5, 80);
                    let result = Box::new(result);
                    self.push(after, Event::Answer { n, life, request, result });
                }
                Output::Event(event) => {
                    self.note_before(n, &event);
                    self.told_of_size(n, &event);
                    self.told_of_writers(n, &event);
                    self.told_of_followers(n, &event);
                    let after = self.rng.between(5, 200);
                    self.push(after, Event::Hear { n, life, event: Box::new(event) });
                }
            }
        }
    }

    fn disk_begins(&mut self, n: usize, op: OpId, what: DiskOp) {
        let meta = what.is_meta();
        let life = self.machines[n].life;
        let slow = self.machines[n].slow;
        let flush = matches!(what, DiskOp::Flush | DiskOp::MetaFlush);
        let takes = slow * if flush { self.rng.between(200, 1500) } else { self.rng.between(10, 60) };
        let now = self.now;
        self.note_touched(n, &what);
        self.check_mark(n, &what);
        let Some(disk) = self.machines[n].disks.as_mut().map(|d| &mut d[usize::from(meta)]) else { return };
        let what = match what {
            DiskOp::Write { offset, data } | DiskOp::MetaWrite { offset, data } => {
                Ending::Write { meta, seq: disk.begin(offset, &data) }
            }
            DiskOp::Read { offset, len } | DiskOp::MetaRead { offset, len } => {
                Ending::Read { meta, offset, len }
            }
            DiskOp::Flush | DiskOp::MetaFlush => Ending::Flush { meta, mark: disk.mark() },
            DiskOp::Snapshot(what) => {
                self.machines[n].image_ops.insert(op, what);
                Ending::Snapshot { meta: false }
            }
            DiskOp::Grow { from, to } | DiskOp::MetaGrow { from, to } => Ending::Grow { meta, from, to },
            DiskOp::Shrink { to } => Ending::Shrink { meta, to },
        };
        // Flushes of the data run beside later writes; the metadata is one lane.
        let beside = flush && !meta;
        let last = if beside { disk.flush_ends.max(disk.lane_ends) } else { disk.lane_ends };
        let end = (now + takes).max(last);
        if beside {
            disk.flush_ends = end
        } else {
            disk.lane_ends = end
        }
        let poisoned = flush && disk.is_poisoned();
        if poisoned {
            let what = format!("node {n} flushes a disk whose flush has failed");
            self.judge("R11", Err(what));
        }
        self.push(end - now, Event::DiskEnds { n, life, op, what });
    }

    /// R9: what a resync overwrites is marked as inconsistent. Only copies are as long as a granule of the
    /// usual size, and longer than what clients write; those that heal are no resync.
    fn check_mark(&mut self, n: usize, what: &DiskOp) {
        let DiskOp::Write { offset, data } = what else { return };
        if self.proc(n).is_some_and(|p| p.healed.contains(offset)) {
            return;
        }
        if data.len() < 65_536 || self.verifying || !self.opens_disks {
            return;
        }
        if self.replica(n).is_some_and(|r| r.status().consistent) {
            self.judge(
                "R9",
                Err(format!("a resync overwrites the copy of node {n}, which calls itself consistent")),
            );
        }
    }

    /// R9: what a rollback must bring back, noted when the resync begins.
    fn note_before(&mut self, n: usize, event: &Told) {
        if matches!(event, Told::Inconsistent) {
            let machine = &mut self.machines[n];
            let data = machine.disks.as_ref().map(|[data, _]| data);
            machine.before = data.map(|data| Before {
                image: data.when_done(),
                durable: data.durable.clone(),
                power_cut: false,
            });
        }
    }

    /// An operation ends in the kernel, though the process may be stopped.
    fn disk_ends(&mut self, n: usize, op: OpId, what: Ending) {
        let (Ending::Write { meta, .. }
        | Ending::Read { meta, .. }
        | Ending::Flush { meta, .. }
        | Ending::Grow { meta, .. }
        | Ending::Shrink { meta, .. }
        | Ending::Snapshot { meta, .. }) = what;
        let life = self.machines[n].life;
        let Machine { disks, images, image_ops, .. } = &mut self.machines[n];
        let Some(disk) = disks.as_mut().map(|d| &mut d[usize::from(meta)]) else { return };
        if disk.wrong.hangs {
            return self.push(20 * MS, Event::DiskEnds { n, life, op, what });
        }
        let fails = !matches!(what, Ending::Flush { .. } | Ending::Snapshot { .. } | Ending::Shrink { .. })
            && std::mem::take(&mut disk.wrong.fail_io);
        let result = match what {
            _ if fails => Err("injected: input or output error".into()),
            Ending::Write { seq, .. } => {
                disk.apply(seq);
                Ok(Bytes::new())
            }
            Ending::Read { offset, len, .. } if !disk.is_readable(offset, len) => {
                Err("injected: a sector cannot be read".into())
            }
            Ending::Read { offset, len, .. } => Ok(disk.read(offset, len)),
            Ending::Snapshot { .. } => {
                let step = image_ops.remove(&op);
                Ok(step.map(|step| images.apply(step, &disk.live)).unwrap_or_default())
            }
            Ending::Grow { .. } if disk.wrong.no_room => Err("injected: no room".into()),
            Ending::Grow { from, to, .. } => {
                disk.grow(from, to);
                Ok(Bytes::new())
            }
            Ending::Shrink { to, .. } => {
                // A raw device gives nothing back.
                if self.chance.chance(500) {
                    disk.cut(to);
                }
                Ok(Bytes::new())
            }
            Ending::Flush { mark, .. } => {
                disk.flush(mark, &mut self.rng).map(|()| Bytes::new()).map_err(Arc::from)
            }
        };
        self.push(1, Event::DiskDone { n, life, op, result });
    }

    // ---- judging and telling ----

    pub(super) fn judge(&mut self, rule: &'static str, verdict: Verdict) {
        if let (Err(what), None) = (verdict, &self.violation) {
            self.say(|| format!("{rule} VIOLATED: {what}"));
            self.violation = Some(Violation { rule, at: self.now, what });
        }
    }

    /// Folds something into the trace's hash.
    pub(super) fn mark(&mut self, a: u64, b: u64) {
        for word in [self.now, a, b] {
            self.hash = (self.hash ^ word).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(23);
        }
    }

    /// Adds a line to the trace, if one is kept.
    pub(super) fn say(&mut self, line: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{:>12.3} ms {}", self.now as f64 / 1000.0, line()));
        }
    }

    /// The trace's hash.
    pub(super) fn hash(&self) -> u64 {
        self.hash
    }

    /// The trace's lines.
    pub(super) fn take_trace(&mut self) -> Vec<String> {
        self.trace.take().unwrap_or_default()
    }
}

/// A copy before a resync overwrote it.
#[derive(Debug)]
pub(super) struct Before {
    image: Image,
    /// What of it was durable.
    durable: Image,
    /// The power was cut since: what was not durable may be lost.
    power_cut: bool,
}

impl Before {
    /// Where a copy that was rolled back is not what it was.
    pub(super) fn lacks(&self, after: &Image) -> Option<u64> {
        let unflushed = |at: u64| self.image.differing_pages(&self.durable).any(|(page, _)| page == at);
        let mut differs = after.differing_pages(&self.image).map(|(at, _)| at);
        differs.find(|at| !self.power_cut || !unflushed(*at))
    }
}

impl Machine {
    fn new(rng: &mut Rng) -> Self {
        // Up to 2 % each way: far more than a clock's, well within what the margin of a lease allows.
        let ppm = rng.below(40_001) as i64 - 20_000;
        Self {
            life: 1,
            up: false,
            paused_until: None,
            held: Vec::new(),
            clock: (rng.between(100_000, 10_000_000) * MS, ppm),
            jumped: 0,
            wall: 0,
            disks: None,
            serial: 0,
            images: Images::default(),
            image_ops: BTreeMap::new(),
            slow: 1,
            distrusted: false,
            touched: BTreeMap::new(),
            died: None,
            before: None,
        }
    }
}

/// The copy on node `n`; `serial` counts the devices that were there.
pub(super) fn identity(n: usize, serial: u8) -> Identity {
    let Member { node, device } = member(n, serial);
    Identity { cluster: ClusterId([1; 16]), volume: VolumeId([2; 16]), device, node }
}

pub(super) fn member(n: usize, serial: u8) -> Member {
    let mut device = [n as u8 + 1; 16];
    device[0] = serial;
    Member { node: NodeId(n as u64 + 1), device: DeviceId(device) }
}

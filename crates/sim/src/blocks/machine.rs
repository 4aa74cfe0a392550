//! Machines: what outlives a process, and processes that start, sleep and die on them.

use std::collections::BTreeMap;

use posthaste_blockrepl::core::{OpId, Replica, SnapshotOp};
use posthaste_blockrepl::{ClusterId, DeviceId, Identity, Member, NodeId, VolumeId};

use super::driver::Before;
use super::event::Event;
use super::images::Images;
use super::layout::SIZE;
use super::owner::Proc;
use super::scenarios::Setting;
use super::world::{MS, World};
use crate::disk::Disk;
use crate::rng::Rng;

/// What outlives a process.
#[derive(Debug)]
pub(super) struct Machine {
    pub(super) life: u64,
    pub(super) up: bool,
    pub(super) paused_until: Option<u64>,
    pub(super) held: Vec<Event>,
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
    pub(super) image_ops: BTreeMap<OpId, SnapshotOp>,
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

impl Machine {
    pub(super) fn new(rng: &mut Rng) -> Self {
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

impl World {
    /// The node's own clock.
    pub(super) fn local(&self, n: usize) -> u64 {
        let machine = &self.machines[n];
        let (offset, ppm) = machine.clock;
        let drift = i128::from(self.now) * i128::from(ppm) / 1_000_000;
        (i128::from(offset + self.now + machine.jumped) + drift) as u64
    }

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

    pub(super) fn resume(&mut self, n: usize, life: u64) {
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
}

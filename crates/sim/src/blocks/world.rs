//! Virtual time: one queue of events, and who handles each; and what all know.

use std::collections::{BTreeMap, BTreeSet};

use posthaste_blockrepl::core::Input;
use posthaste_blockrepl::{Config, Protocol};

use super::authority::Authority;
use super::bugs::Bug;
use super::event::Event;
use super::faults::Fault;
use super::followers::Follows;
use super::history::{Asks, History};
use super::images::{Forced, Lost};
use super::layout::{SIZE, config, sectors};
use super::machine::{Machine, member};
use super::net::Net;
use super::oracle::Oracle;
use super::owner::Proc;
use super::scenarios::Setting;
use super::stopwatch::Stopwatch;
use crate::checkers::Verdict;
use crate::disk::Image;
use crate::rng::Rng;
use crate::world::Violation;

pub(super) use crate::world::MS;

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
    /// Of their writes, per mille, are zeros.
    pub(super) zeros: u64,
    /// Zeros that a client has written: where, and how many.
    pub(super) zeroed: BTreeSet<(u64, usize)>,
    /// No disk has done wrong so far.
    pub(super) disks_are_well: bool,
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
            zeros: 50,
            zeroed: BTreeSet::new(),
            disks_are_well: true,
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

    pub(super) fn happen(&mut self, event: Event) {
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

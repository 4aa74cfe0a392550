//! How long it takes from a leader's end to the first write of its successor, and from a copy's return to its being in sync,
//! where one thing goes wrong with all else well.

use super::faults::Fault;
use super::scenarios::Setting;
use super::world::World;
use posthaste_blockrepl::Protocol;

/// What is being timed, and what was.
#[derive(Debug, Default)]
pub(super) struct Stopwatch {
    /// Since when nobody leads, and the epoch that is over.
    down: Option<(u64, u64)>,
    /// Since when a copy that was away is back.
    back: Option<u64>,
    pub(super) times: Times,
}

/// Times in simulated microseconds.
#[derive(Debug, Default, Clone)]
pub struct Times {
    /// From the leader's death, or its isolation, to the first write that its successor answers.
    pub takeovers: Vec<u64>,
    /// From the moment at which a copy that was away can be reached to its being in the in-sync set.
    pub returns: Vec<u64>,
}

impl Stopwatch {
    /// A write of this epoch is answered.
    pub(super) fn writes(&mut self, epoch: u64, now: u64) {
        if let Some((since, _)) = self.down.take_if(|(_, over)| epoch > *over) {
            self.times.takeovers.push(now - since);
        }
    }
}

impl World {
    /// Whether nothing is wrong but that copies may be out of step.
    fn is_calm(&self) -> bool {
        let well = |n: usize| {
            let machine = &self.machines[n];
            let disks = machine.disks.iter().flatten();
            self.runs(n) && machine.slow == 1 && disks.clone().all(|d| d.is_well()) && !machine.distrusted
        };
        let cut = self.net.cut.iter().chain(&self.net.links_cut).flatten();
        !cut.copied().any(|cut| cut)
            && self.net.delay_ms == 0
            && self.authority.lost_answers == 0
            && self.patience == super::owner::PATIENCE
            && (0..3).all(|n| well(n) || (n >= self.copies && self.setting != Setting::Diskless))
            && self.serving().is_some()
    }

    fn all_in_sync(&self) -> bool {
        let counts = (0..self.copies).filter(|n| self.protocols[*n] == Protocol::C).count();
        self.authority.current().in_sync.len() == counts
    }

    /// A fault is about to happen; says whether all was well before it.
    pub(super) fn is_well(&self) -> bool {
        self.is_calm() && self.all_in_sync()
    }

    /// A fault has happened. One that comes while time is taken makes that worthless.
    pub(super) fn time_fault(&mut self, fault: Fault, was_well: bool) {
        if matches!(fault, Fault::Pace(_) | Fault::Leases(_)) {
            return;
        }
        (self.stopwatch.down, self.stopwatch.back) = (None, None);
        let current = self.authority.current();
        match fault {
            Fault::Kill { .. } | Fault::Isolate(_) if was_well && current.leader == Some(self.last_hit) => {
                self.stopwatch.down = Some((self.now, current.epoch));
            }
            Fault::StartAll | Fault::Start(_) | Fault::Mend if self.is_calm() && !self.all_in_sync() => {
                self.stopwatch.back = Some(self.now);
            }
            _ => {}
        }
    }

    /// Something was granted.
    pub(super) fn time_grant(&mut self) {
        if self.all_in_sync()
            && let Some(since) = self.stopwatch.back.take()
        {
            self.stopwatch.times.returns.push(self.now - since);
        }
    }
}

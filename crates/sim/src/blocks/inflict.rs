//! Faults, carried out.

use posthaste_blockrepl::core::Input;

use super::faults::{Fault, Who};
use super::layout::{BLOCK, SECTORS, decode, offset};
use super::owner::Asked;
use super::world::World;
use crate::disk::{Disk, SECTOR};

impl World {
    fn whom(&mut self, who: Who) -> usize {
        let leader = self.authority.history.iter().rev().find_map(|g| g.leader).unwrap_or(0);
        let n = match who {
            Who::Member(n) => n,
            Who::Leader => leader,
            Who::Follower => (leader + 1 + self.rng.below(self.copies as u64 - 1) as usize) % self.copies,
            Who::Witness => 2,
            Who::Same => self.last_hit,
        };
        self.last_hit = n;
        n
    }

    fn disk_of(&mut self, who: Who, meta: bool) -> Option<&mut Disk> {
        let n = self.whom(who);
        self.machines[n].disks.as_mut().map(|d| &mut d[usize::from(meta)])
    }

    pub(super) fn inflict(&mut self, fault: Fault) {
        self.say(|| format!("FAULT {fault:?}"));
        let well = self.is_well();
        self.carry_out(fault);
        self.time_fault(fault, well);
    }

    fn carry_out(&mut self, fault: Fault) {
        self.undisturbed &= matches!(
            fault,
            Fault::Pace(_) | Fault::Delay(_) | Fault::Leases(_) | Fault::Zeros(_) | Fault::SlowDisk { .. }
        );
        match fault {
            Fault::Kill { who, power } => {
                let n = self.whom(who);
                let poisoned = self.machines[n].disks.iter().flatten().any(Disk::is_poisoned);
                // After a failed flush the machine is started anew, not only the process (R11).
                self.kill(n, power || poisoned);
            }
            Fault::StartAll => (0..3).for_each(|n| self.start(n)),
            Fault::Start(who) => {
                let n = self.whom(who);
                self.start(n);
            }
            Fault::Pause { who, ms } => {
                let n = self.whom(who);
                self.pause(n, ms);
            }
            Fault::Cut { a, b, on } => {
                (self.net.cut[a][b], self.net.cut[b][a]) = (on, on);
                self.links_time_out();
            }
            Fault::OneWay { from, to } => {
                self.net.cut[from][to] = true;
                self.links_time_out();
            }
            Fault::Isolate(who) => {
                let n = self.whom(who);
                for m in (0..3).filter(|m| *m != n) {
                    (self.net.cut[n][m], self.net.cut[m][n]) = (true, true);
                }
                self.forced.parted_at = self.now;
                self.links_time_out();
            }
            Fault::LinkCut(who) => {
                let n = self.whom(who);
                for m in (0..3).filter(|m| *m != n) {
                    (self.net.links_cut[n][m], self.net.links_cut[m][n]) = (true, true);
                }
                self.links_time_out();
            }
            Fault::Mend => (self.net.cut, self.net.links_cut) = Default::default(),
            Fault::Delay(ms) => self.net.delay_ms = ms,
            Fault::LostAnswers(per_mille) => self.authority.lost_answers = per_mille,
            Fault::Protocol { who, protocol } => {
                let n = self.whom(who);
                self.change_protocol(n, protocol);
            }
            Fault::Promote(who) => {
                let n = self.whom(who);
                self.promote(n);
            }
            Fault::Forget(who) => {
                let n = self.whom(who);
                self.forget_member(n);
            }
            Fault::Scrub(who) => {
                let n = self.whom(who);
                self.ask(n, Asked::Client, |request| Input::Scrub { request });
            }
            Fault::Leases(per_mille) => self.leases = per_mille,
            Fault::Zeros(per_mille) => self.zeros = per_mille,
            Fault::Detach(who) => {
                let n = self.whom(who);
                self.input(n, Input::Detach { reason: "the operator wants it so".into() });
            }
            Fault::Pace(us) => self.pace = us,
            Fault::Patience(ms) => self.patience = ms * 1000,
            Fault::Move => self.begin_move(),
            Fault::Verify => self.begin_verify(),
            Fault::Resize => self.resize(),
            Fault::Shrink => self.shrink(),
            Fault::Redundancy(copies) => self.ask_for_copies(copies),
            Fault::ForcedWins => self.decide_for_the_forced(),
            Fault::Force(who) => {
                let n = self.whom(who);
                self.force(n);
            }
            Fault::Replace(who) => {
                let n = self.whom(who);
                self.replace(n);
            }
            Fault::ClockJump { who, ms, back } => {
                let n = self.whom(who);
                match back {
                    true => self.machines[n].wall -= (ms * 1000) as i64,
                    false => self.machines[n].jumped += ms * 1000,
                }
            }
            disk => self.spoil(disk),
        }
    }

    /// Whether a checksum was made of what it holds.
    fn is_acknowledged(&self, sector: usize) -> bool {
        match &self.history {
            Some(history) => history.is_acknowledged(sector),
            None => self.oracle.is_acknowledged(sector),
        }
    }

    /// What goes wrong with a disk.
    fn spoil(&mut self, fault: Fault) {
        self.disks_are_well &= matches!(fault, Fault::SlowDisk { .. } | Fault::NoRoom(_));
        // Who finds damage heals it at once.
        self.verifying |= matches!(
            fault,
            Fault::Lie(_)
                | Fault::Lose(_)
                | Fault::Misdirect(_)
                | Fault::Flip(_)
                | Fault::Rot(_)
                | Fault::Latent(_)
        );
        match fault {
            Fault::SlowDisk { who, times } => {
                let n = self.whom(who);
                self.machines[n].slow = times;
            }
            Fault::FailFlush { who, meta } => {
                self.disk_of(who, meta).into_iter().for_each(|d| d.wrong.fail_flush = true);
            }
            Fault::FailIo { who, meta } => {
                self.disk_of(who, meta).into_iter().for_each(|d| d.wrong.fail_io = true);
            }
            Fault::Hang { who, meta } => {
                self.disk_of(who, meta).into_iter().for_each(|d| d.wrong.hangs = true);
            }
            Fault::NoRoom(who) => {
                let n = self.whom(who);
                self.machines[n].disks.iter_mut().flatten().for_each(|d| d.wrong.no_room = true);
            }
            Fault::Latent(who) => {
                let n = self.whom(who);
                let sectors: Vec<u64> =
                    (0..3).map(|_| offset(self.rng.below(SECTORS as u64) as usize)).collect();
                let whole = |at: &&u64| self.is_readable_elsewhere(n, **at);
                let sectors: Vec<u64> = sectors.iter().filter(whole).map(|at| at / SECTOR as u64).collect();
                self.disk_of(Who::Same, false).into_iter().for_each(|d| d.unreadable.extend(&sectors));
            }
            Fault::Lie(who) => {
                self.disk_of(who, false).into_iter().for_each(|d| d.wrong.lies = true);
                self.machines[self.last_hit].distrusted = true;
            }
            Fault::Lose(who) => {
                self.disk_of(who, false).into_iter().for_each(|d| d.wrong.lose = true);
                self.machines[self.last_hit].distrusted = true;
            }
            Fault::Misdirect(who) => {
                // With checksums whoever leads may be hit: what it tears has some.
                let far = if self.setting.checks() { 64 << 10 } else { 1 << 20 };
                let aside = self.rng.pick(&[SECTOR as u64, 4096, 64 << 10, far]);
                self.disk_of(who, false).into_iter().for_each(|d| d.wrong.misdirect = Some(aside));
                self.machines[self.last_hit].distrusted = true;
            }
            Fault::Rot(who) => {
                let n = self.whom(who);
                self.rot(n);
            }
            Fault::Flip(who) => {
                let sector = self.rng.below(SECTORS as u64) as usize;
                let at = offset(sector) + self.rng.below(SECTOR as u64);
                if self.setting.checks() && !self.is_acknowledged(sector) {
                    // No checksum was ever made of it.
                    return;
                }
                self.disk_of(who, false).into_iter().for_each(|d| d.flip(at));
                self.machines[self.last_hit].distrusted = true;
            }
            _ => {}
        }
    }

    /// Whether no other copy has a bad sector in the same block: where all have one, none is whole (seed 2004397).
    fn is_readable_elsewhere(&self, n: usize, at: u64) -> bool {
        let others = self.machines.iter().enumerate().filter(|(m, _)| *m != n);
        let mut disks = others.filter_map(|(_, machine)| machine.disks.as_ref());
        disks.all(|[data, _]| data.is_readable(at / BLOCK * BLOCK, BLOCK as u32))
    }

    /// Damages a block of node `n`: from now on it is read nowhere, or healed, until it is written anew.
    fn rot(&mut self, n: usize) {
        let sectors: Vec<usize> = (0..30).map(|_| self.rng.below(SECTORS as u64) as usize).collect();
        let known = |sector: &&usize| {
            let block = offset(**sector) / BLOCK * BLOCK;
            // No block has this checksum: it holds only where none is known.
            self.oracle.is_acknowledged(**sector)
                && self.replica(n).is_some_and(|r| r.sums_hold(block, &[u32::MAX]) == Some(false))
        };
        let image = |m: usize| self.machines[m].disks.as_ref().map(|[data, _]| &data.live);
        let shows = |m: usize, sector: usize| image(m).and_then(|image| decode(image, sector));
        let alone =
            |sector: &&usize| (0..self.copies).all(|m| m == n || shows(m, **sector) != shows(n, **sector));
        let mut known = sectors.iter().filter(known);
        let Some(first) = known.clone().next() else { return };
        let sector = *known.find(alone).unwrap_or(first);
        let at = offset(sector) + self.rng.below(16);
        self.disk_of(Who::Member(n), false).into_iter().for_each(|d| d.flip(at));
        self.oracle.rots(sector);
        // It is copied as it is, where no copy has it right.
        self.machines.iter_mut().for_each(|m| m.distrusted = true);
    }
}

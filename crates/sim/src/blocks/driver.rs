//! The driver of each replica: what goes into it, and what it wishes, on disks and links.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use posthaste_blockrepl::core::{DiskOp, Event as Told, Input, OpId, Output, Replica};

use super::event::Event;
use super::machine::Machine;
use super::world::{MS, World};
use crate::disk::Image;

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

/// A copy before a resync overwrote it.
#[derive(Debug)]
pub(super) struct Before {
    image: Image,
    /// What of it was durable.
    durable: Image,
    /// The power was cut since: what was not durable may be lost.
    pub(super) power_cut: bool,
}

impl Before {
    /// Where a copy that was rolled back is not what it was.
    pub(super) fn lacks(&self, after: &Image) -> Option<u64> {
        let unflushed = |at: u64| self.image.differing_pages(&self.durable).any(|(page, _)| page == at);
        let mut differs = after.differing_pages(&self.image).map(|(at, _)| at);
        differs.find(|at| !self.power_cut || !unflushed(*at))
    }
}

impl World {
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
                    self.told_of_damage(n, &event);
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
    /// usual size, and longer than what clients write, but for zeros; those that heal are no resync.
    fn check_mark(&mut self, n: usize, what: &DiskOp) {
        let DiskOp::Write { offset, data } = what else { return };
        if self.zeroed.contains(&(*offset, data.len())) {
            return;
        }
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

    /// N2: what disks have done right is not called damaged.
    fn told_of_damage(&mut self, n: usize, event: &Told) {
        let damaged = matches!(event, Told::Damaged(_) | Told::DamageCopied { .. } | Told::Unreadable { .. });
        if damaged && self.disks_are_well {
            self.judge("N2", Err(format!("node {n} says {event:?}, though no disk has done wrong")));
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
    pub(super) fn disk_ends(&mut self, n: usize, op: OpId, what: Ending) {
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
}

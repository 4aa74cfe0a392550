//! The driver of a replica: its requests, its disks, and the order in which answers come.

use bytes::Bytes;
use posthaste_blockrepl as repl;
use posthaste_blockrepl::core::{Event as ReplicaEvent, Output as Wish, Replica};

use crate::bugs::Bug;
use crate::checkers;
use crate::keeper::Keeper;
use crate::world::{Event, World};

impl World {
    pub(crate) fn replica(&self, n: usize, v: usize) -> Option<&Replica> {
        Some(&self.procs[n].as_ref()?.keepers.get(v)?.replica)
    }

    pub(crate) fn keeper_mut(&mut self, n: usize, v: usize) -> Option<&mut Keeper> {
        self.procs[n].as_mut()?.keepers.get_mut(v)
    }

    pub(crate) fn replica_input(&mut self, n: usize, v: usize, input: repl::core::Input) {
        let now = self.local(n).since_boot();
        let Some(keeper) = self.keeper_mut(n, v) else { return };
        keeper.replica.handle(now, input);
        if self.checks.r9.is_half(n, v) && self.replica(n, v).is_some_and(|r| r.status().consistent) {
            self.checks.r9.is_whole(n, v);
        }
        self.drain(n, v);
    }

    /// Carries out what the replica wishes.
    pub(crate) fn drain(&mut self, n: usize, v: usize) {
        while let Some(wish) = self.keeper_mut(n, v).and_then(|k| k.replica.poll_output()) {
            match wish {
                Wish::Disk { op, what } => self.disk_begins(n, v, op, what),
                Wish::Send { link, message } => self.link_send(n, link, message),
                Wish::CloseLink { link } => self.link_close(n, link),
                Wish::Done { request, result } => {
                    if let Ok(repl::core::Reply::Raised(raised)) = &result {
                        let verdict = self.checks.r4.raised(n, v, raised.epoch);
                        self.judge("R4", verdict);
                    }
                    let (life, after) = (self.machines[n].life, self.rng.between(5, 80));
                    self.push(after, Event::Done { n, life, v, request, result });
                }
                Wish::Event(event) => self.replica_tells(n, v, event),
            }
        }
    }

    fn replica_tells(&mut self, n: usize, v: usize, event: ReplicaEvent) {
        if let ReplicaEvent::Diverged { peer, .. } = &event {
            self.judge("R1", checkers::r1::diverged(n, v, peer.0));
        }
        let (life, after) = (self.machines[n].life, self.rng.between(5, 200));
        let mut end = self.keeper_mut(n, v).map_or(0, |k| k.hear_end);
        self.push_fifo(&mut end, after, Event::Hear { n, life, v, event });
        self.keeper_mut(n, v).into_iter().for_each(|k| k.hear_end = end);
    }

    fn disk_begins(&mut self, n: usize, v: usize, op: repl::core::OpId, what: repl::core::DiskOp) {
        use repl::core::DiskOp as D;
        let meta = what.is_meta();
        self.check_disk(n, v, &what);
        let slow = self.machines[n].slow;
        let takes = match what {
            D::Flush | D::MetaFlush => self.rng.between(200, 1500) * slow,
            _ => self.rng.between(10, 60) * slow,
        };
        let disk = &mut self.machines[n].disks[v][usize::from(meta)];
        let mut flush = None;
        let data = match what {
            D::Write { offset, data } | D::MetaWrite { offset, data } => {
                disk.write(offset, &data);
                Bytes::new()
            }
            D::Read { offset, len } | D::MetaRead { offset, len } => disk.read(offset, len),
            D::Snapshot(_) => unreachable!("no snapshots are kept"),
            D::Grow { .. } | D::MetaGrow { .. } | D::Shrink { .. } => {
                unreachable!("no scenario resizes a volume")
            }
            D::Flush | D::MetaFlush => {
                flush = Some(disk.mark());
                Bytes::new()
            }
        };
        // Data flushes run beside later writes; the metadata is one lane.
        let mut end = if flush.is_some() && !meta { disk.flush_ends } else { disk.lane_ends };
        if flush.is_some() {
            end = end.max(disk.lane_ends);
        }
        let life = self.machines[n].life;
        self.push_fifo(&mut end, takes, Event::DiskEnds { n, life, v, meta, op, flush, data });
        let disk = &mut self.machines[n].disks[v][usize::from(meta)];
        match flush.is_some() && !meta {
            true => disk.flush_ends = end,
            false => disk.lane_ends = end,
        }
    }

    /// R9 and R11, at the beginning of each operation.
    fn check_disk(&mut self, n: usize, v: usize, what: &repl::core::DiskOp) {
        use repl::core::DiskOp as D;
        match what {
            D::Write { .. } => {
                let consistent = self.replica(n, v).is_some_and(|r| r.status().consistent);
                self.checks.r9.writes(n, v, consistent);
            }
            D::Flush | D::MetaFlush => {
                let disk = &self.machines[n].disks[v][usize::from(what.is_meta())];
                let verdict = checkers::r11::flushes(n, v, disk.is_poisoned());
                self.judge("R11", verdict);
            }
            _ => {}
        }
    }

    /// An operation ends in the kernel, though the process may be stopped.
    pub(crate) fn disk_ends(
        &mut self,
        n: usize,
        v: usize,
        (meta, op): (bool, repl::core::OpId),
        flush: Option<u64>,
        data: Bytes,
    ) {
        let lies = self.bug(if meta { Bug::LyingMetaFlush } else { Bug::LyingFlush });
        let retry = self.bug(Bug::RetryFlush);
        let disk = &mut self.machines[n].disks[v][usize::from(meta)];
        let mut result = Ok(data);
        match flush {
            Some(mark) if std::mem::take(&mut disk.wrong.fail_flush) => {
                disk.fail_flush(mark, &mut self.rng);
                if !retry {
                    result = Err("injected: the flush failed".into());
                }
            }
            // It is saved by the next one, if there is a next one.
            Some(mark) if lies => disk.settle(mark.saturating_sub(1)),
            Some(mark) => disk.settle(mark),
            None => {}
        }
        let life = self.machines[n].life;
        self.push(1, Event::DiskDone { n, life, v, op, result });
    }
}

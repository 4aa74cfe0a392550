//! Clients' operations on a node that leads.

use posthaste_blockrepl as repl;
use posthaste_heartbeat::Epoch;

use crate::bugs::Bug;
use crate::checkers;
use crate::client::{Reply, Request, What};
use crate::disk::Image;
use crate::keeper::{Asked, Stage};
use crate::layout::Slot;
use crate::volume_id;
use crate::world::World;

impl World {
    fn may_reply(&self, n: usize) -> bool {
        self.has_lease(n) || self.bug(Bug::ServeWithoutLease)
    }

    /// A client asks: this node answers if it leads and its lease holds (R3).
    pub(crate) fn serve(&mut self, n: usize, v: usize, request: Request) {
        let allowed = self.may_reply(n);
        // A device handle fails for ever once it is fenced, or its disk has failed.
        let holds = self.replica(n, v).is_some_and(|r| r.hello().leading) || self.bug(Bug::ForgetAbandon);
        let leading = self.keeper_mut(n, v).and_then(|k| k.leading.as_mut());
        let leading = leading.filter(|l| l.stage == Stage::Serving && allowed && holds);
        let Some(leading) = leading else {
            return self.send_reply(n, v, request.op, Reply::NotHere);
        };
        leading.running += 1;
        let (epoch, slot) = (leading.epoch, request.slot);
        match request.what {
            What::Put(value) => {
                let (offset, data) = (Slot::of(slot).offset(), Slot::of(slot).encode(value));
                let asked = Asked::Write(epoch, request);
                self.ask(n, v, asked, |request| repl::core::Input::Write { request, offset, data });
            }
            What::Get(_) if self.is_dirty(n, v, slot) => {
                let asked = Asked::Flush(epoch, request);
                self.ask(n, v, asked, |request| repl::core::Input::Flush { request });
            }
            What::Get(_) => self.reply(n, v, epoch, &request),
        }
    }

    /// Whether a write to the slot is not known to be durable: a reader must wait for it.
    fn is_dirty(&mut self, n: usize, v: usize, slot: usize) -> bool {
        if self.bug(Bug::DirtyRead) {
            return false;
        }
        let writes = |a: &Asked| match a {
            Asked::Write(_, r) => r.slot == slot,
            Asked::Flush(_, r) => r.slot == slot && matches!(r.what, What::Put(_)),
            _ => false,
        };
        self.keeper_mut(n, v).is_some_and(|k| k.asked.values().any(writes))
    }

    pub(crate) fn written(&mut self, n: usize, v: usize, epoch: Epoch, request: Request, ok: bool) {
        if !ok {
            return self.fail(n, v, epoch, &request);
        }
        if self.bug(Bug::AckBeforeFlush) {
            return self.reply(n, v, epoch, &request);
        }
        let asked = Asked::Flush(epoch, request);
        self.ask(n, v, asked, |request| repl::core::Input::Flush { request });
    }

    pub(crate) fn flushed(&mut self, n: usize, v: usize, epoch: Epoch, request: Request, ok: bool) {
        match (ok, &request.what) {
            (false, _) => self.fail(n, v, epoch, &request),
            // A write that began meanwhile may show: it has to be waited for, too.
            (true, What::Get(_)) if self.is_dirty(n, v, request.slot) => {
                let asked = Asked::Flush(epoch, request);
                self.ask(n, v, asked, |request| repl::core::Input::Flush { request });
            }
            (true, _) => self.reply(n, v, epoch, &request),
        }
    }

    fn fail(&mut self, n: usize, v: usize, epoch: Epoch, request: &Request) {
        self.send_reply(n, v, request.op, Reply::Failed);
        self.operation_ended(n, v, epoch);
    }

    /// The reply is built; then the lease is checked; then it leaves (R3).
    fn reply(&mut self, n: usize, v: usize, epoch: Epoch, request: &Request) {
        if !self.may_reply(n) {
            return self.fail(n, v, epoch, request);
        }
        self.judge("R3", checkers::r3::leaves(n, self.has_lease(n)));
        match &request.what {
            What::Put(value) => self.acknowledge(n, v, epoch, request.slot, *value),
            What::Get(floor) => {
                let found = Slot::of(request.slot).read(&self.machines[n].disks[v][0].live);
                let verdict = checkers::r3::committed(request.slot, &found, &self.in_sync_images(v));
                self.judge("R3", verdict);
                let verdict = self.checks.r2[v].shown(request.slot, &found, floor);
                self.judge("R3", verdict);
            }
        }
        self.send_reply(n, v, request.op, Reply::Done);
        self.operation_ended(n, v, epoch);
    }

    fn acknowledge(&mut self, n: usize, v: usize, epoch: Epoch, slot: usize, value: u64) {
        self.mark("ack", (v * 100 + slot) as u64, value);
        let verdict = self.checks.r4.acknowledges(n, v, epoch.0);
        self.judge("R4", verdict);
        let verdict = self.checks.r8.acknowledges(n, self.now);
        self.judge("R8", verdict);
        let in_sync = self.in_sync(v);
        let seen = in_sync.iter().filter(|_| self.opens_disks);
        let images: Vec<_> = seen.map(|m| (*m, &self.machines[*m].disks[v][0].durable)).collect();
        let verdict = self.checks.r2[v].acknowledge(slot, value, &images);
        self.judge("R2", verdict);
    }

    fn operation_ended(&mut self, n: usize, v: usize, epoch: Epoch) {
        let Some(keeper) = self.keeper_mut(n, v) else { return };
        let leading = keeper.leading.iter_mut().filter(|l| l.epoch == epoch);
        leading.for_each(|l| l.running = l.running.saturating_sub(1));
        self.finish_closing(n, v);
    }
}

// ---- what the checkers see ----

impl World {
    /// The nodes whose copies the committed set counts.
    fn in_sync(&self, v: usize) -> Vec<usize> {
        let volume = self.quorum.state().volumes.get(&volume_id(v));
        volume.iter().flat_map(|v| v.in_sync.iter()).map(|(node, _)| node.0 as usize - 1).collect()
    }

    /// The durable images of the in-sync set; none if the disks are not opened.
    pub(crate) fn in_sync_images(&self, v: usize) -> Vec<(usize, &Image)> {
        let in_sync = if self.opens_disks { self.in_sync(v) } else { Vec::new() };
        in_sync.into_iter().map(|m| (m, &self.machines[m].disks[v][0].durable)).collect()
    }
}

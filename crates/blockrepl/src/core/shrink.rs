//! Shrinking the device while it is in use, when that is asked for in so many words.
//!
//! The leader takes no more writes behind the new end; when all before are complete and durable on all replicas, it
//! becomes smaller itself; then the others, each in one superblock. Whatever happens in between, a copy that was cut
//! off is never taken for one that holds what it lost: it knows that it was cut off, and when a leader makes it
//! larger before it was brought in step, it gives itself up and is copied in full.

use super::resize::AskedBy;
use super::writers::Span;
use super::*;
use crate::bitmap::EXTENT;
use crate::meta::Layout;

/// How far a leader has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Writes behind the new end that were taken before must go to the disks.
    Fencing,
    /// They must be durable everywhere: writes up to `seq`, which are `order` here.
    Draining { seq: u64, order: u64 },
    /// This replica becomes smaller.
    Here,
    /// The others do.
    There,
}

impl Replica {
    /// Whether the device was ever cut off.
    pub(crate) fn was_shrunk(&self) -> bool {
        self.sb.shrunk
    }

    /// Where the owner's writes must end: in the midst of a shrinking, at the new end.
    pub(super) fn usable_size(&self) -> u64 {
        let shrinking = self.resize.as_ref().filter(|r| r.shrink.is_some());
        shrinking.map_or(self.layout.size, |r| r.size.min(self.layout.size))
    }

    pub(super) fn may_shrink(&self) -> Result<(), Denied> {
        if self.verify.is_some() || self.scrub.is_some() {
            return Err(Denied::Busy);
        }
        self.all_up()
    }

    /// Every replica that is known must be connected and synced.
    pub(super) fn all_up(&self) -> Result<(), Denied> {
        let known = self.slots.iter().map(|s| Member { node: s.head.node, device: s.head.device });
        let lost = known.chain(self.counted()).find(|m| *m != self.me() && !self.may_join(m));
        lost.map_or(Ok(()), |m| Err(Denied::NotSynced(m.node)))
    }

    pub(super) fn pump_shrink(&mut self, request: RequestId, size: u64) {
        let Some(stage) = self.resize.as_ref().and_then(|r| r.shrink) else { return };
        let why = match (stage, self.leading()) {
            (_, None) => Some(Denied::NotLeading),
            (Stage::Here, _) => None,
            (Stage::There, _) => self.members_up().err(),
            (_, _) => self.all_up().err(),
        };
        if let Some(why) = why {
            self.resize = None;
            return self.done(request, Err(why));
        }
        let next = match stage {
            Stage::Fencing if !self.is_queued_behind(size) => {
                let (seq, order) = (self.seq, self.order);
                self.want_flush_up_to(seq, order);
                Stage::Draining { seq, order }
            }
            Stage::Draining { seq, order } if self.is_quiet_behind(seq, order, size) => {
                self.grow(size, AskedBy::Shrinking);
                Stage::Here
            }
            Stage::Here if self.growth.is_none() => Stage::There,
            Stage::There if self.links.values().all(|l| l.hello.size <= size || !is_target(l)) => {
                self.resize = None;
                return self.done(request, Ok(Reply::Resized { size }));
            }
            _ => return,
        };
        if let Some(resize) = &mut self.resize {
            resize.shrink = Some(next);
        }
        self.pump_shrink(request, size);
    }

    fn is_queued_behind(&self, size: u64) -> bool {
        let behind = |q: &Queued| q.span().is_some_and(|s| s.end > size);
        self.queue.iter().any(behind) || self.writers.leases.parked().any(behind)
    }

    /// What was written behind the end is complete and durable, and nothing there is being healed or read.
    fn is_quiet_behind(&self, seq: u64, order: u64, size: u64) -> bool {
        let behind = Span::new(size, u64::MAX - size);
        self.waits(seq, order).is_empty()
            && !self.writers.flying(behind)
            && self.mends.is_empty()
            && self.reading.is_empty()
    }

    /// A synced peer whose device is larger than that of a leader which was made smaller.
    pub(super) fn tell_large_ones(&mut self) {
        let Some(epoch) = self.leading().map(|l| l.grant.epoch).filter(|_| self.sb.shrunk) else { return };
        // In the midst of a growth they are larger first.
        let grows = self.resize.as_ref().is_some_and(|r| r.shrink.is_none());
        if self.growth.is_some() || grows {
            return;
        }
        let size = self.layout.size;
        for (id, link) in &mut self.links {
            let large = link.hello.size > size;
            let Side::Target(t) = &mut link.side else { continue };
            if large && t.state == TargetState::Synced && !t.shrink_told {
                t.shrink_told = true;
                self.out.push_back(Output::Send { link: *id, message: Message::Shrink { epoch, size } });
            }
        }
    }

    /// The leader has cut the device off.
    pub(super) fn remote_shrink(&mut self, link: LinkId, size: u64) {
        let synced =
            matches!(self.links.get(&link).map(|l| &l.side), Some(Side::Source { synced: true, .. }));
        let behind = |q: &Queued| matches!(q, Queued::Remote { offset, data, .. } if offset + data.len() as u64 > size);
        if Layout::check_size(size, self.layout.granule).is_err() || !synced || self.queue.iter().any(behind)
        {
            return self.refuse(link, Refusal::Protocol);
        }
        if size >= self.layout.size {
            let size = self.layout.size;
            return self.send(link, Message::Resized { size });
        }
        self.grow(size, AskedBy::Leader(link));
    }

    /// All that is remembered of what lies behind the new end goes with it.
    pub(super) fn cut_off(&mut self, layout: &Layout) {
        let (size, granules) = (layout.size, layout.granules());
        self.sb.shrunk = true;
        self.slots.iter_mut().for_each(|s| s.bits.truncate(granules));
        self.kept.iter_mut().for_each(|k| k.bits.truncate(granules));
        self.hot.retain(|extent, _| u64::from(*extent) * EXTENT < size);
        self.sums.cut_off(size);
        self.damage.cut_off(size);
        self.computed.clear();
        self.rotten.retain(|chunk, _| *chunk < layout.chunks());
        self.recent.retain(|r| r.first < granules);
        self.recent.iter_mut().for_each(|r| r.last = r.last.min(granules - 1));
        // Before-images of what is gone could not be put back.
        self.sb.undo_lost |= self.sb.sync.is_some();
    }

    /// A copy that was cut off, and that a leader makes larger before it was brought in step, lacks what the leader may
    /// have kept. The same superblock that makes it larger says so.
    /// One that has diverged as well is left as it is: what becomes of it is not decided yet, and then all of it is copied.
    pub(super) fn distrust_growth(&mut self) -> bool {
        let fresh = |l: &Link| matches!(l.side, Side::Source { synced: false, .. });
        let source = self.links.iter().find(|(_, l)| fresh(l)).map(|(id, _)| *id);
        let Some(link) = source.filter(|_| self.sb.shrunk) else { return false };
        if self.loses_data(link) {
            return false;
        }
        self.sb.consistent = false;
        // Of no device: whoever leads copies all of it.
        self.sb.sync = Some((DeviceId::default(), 0));
        self.sb.undo_lost = true;
        self.event(Event::Inconsistent);
        true
    }

    /// Operations of a session that no longer fit.
    pub(super) fn fail_beyond_the_end(&mut self) {
        let size = self.layout.size;
        for (id, offset, len) in self.session_ops_behind(size) {
            self.op_answered(id, Err(Denied::OutOfRange { offset, len, size }));
        }
    }
}

fn is_target(link: &Link) -> bool {
    matches!(&link.side, Side::Target(t) if t.state != TargetState::Beginning)
}

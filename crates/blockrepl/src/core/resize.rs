//! The size of the device changes while it is in use. It grows on the members of the in-sync set first, then at the leader,
//! who only then shows the new size. How it shrinks stands in `shrink`.

use super::shrink::Stage;
use super::*;
use crate::meta::{Area, Layout, PAGE_LEN};

/// A leader's request, until all members have the new size.
#[derive(Debug)]
pub(super) struct Resize {
    pub(super) request: RequestId,
    pub(super) size: u64,
    /// To a smaller size, and how far it has come.
    pub(super) shrink: Option<Stage>,
}

/// This replica changes its size: data file and metadata file, then one superblock that names the new places.
#[derive(Debug)]
pub(super) struct Growth {
    size: u64,
    layout: Layout,
    /// Files that have not their new length yet.
    files: u32,
    failed: Option<Arc<str>>,
    /// The commit that makes it so.
    commit: Option<u64>,
    /// It becomes smaller.
    shrunk: bool,
    /// This copy must be copied in full.
    distrusted: bool,
    asked_by: Vec<AskedBy>,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum AskedBy {
    Owner(RequestId),
    Leader(LinkId),
    /// The first half of a shrinking: the members are next.
    Shrinking,
}

impl Replica {
    /// The leader's owner wants another size.
    pub(super) fn resize(&mut self, request: RequestId, size: u64, may_shrink: bool) {
        match self.may_resize(size, may_shrink) {
            Err(why) => self.done(request, Err(why)),
            Ok(()) if size == self.layout.size => self.done(request, Ok(Reply::Resized { size })),
            Ok(()) if size < self.layout.size => {
                self.resize = Some(Resize { request, size, shrink: Some(Stage::Fencing) });
            }
            Ok(()) => {
                self.resize = Some(Resize { request, size, shrink: None });
                let smaller =
                    |l: &Link| matches!(&l.side, Side::Target(t) if t.state != TargetState::Beginning);
                let links = self.links.iter().filter(|(_, l)| smaller(l)).map(|(id, _)| *id);
                for link in links.collect::<Vec<_>>() {
                    self.tell_size(link, size);
                }
            }
        }
    }

    fn may_resize(&self, size: u64, may_shrink: bool) -> Result<(), Denied> {
        self.may_write()?;
        let from = self.layout.size;
        match () {
            () if Layout::check_size(size, self.layout.granule).is_err() => Err(Denied::Size(size)),
            () if size < from && !may_shrink => Err(Denied::Shrinks { from, to: size }),
            () if self.resize.is_some() || self.growth.is_some() => Err(Denied::Busy),
            () if size < from => self.may_shrink(),
            // One that missed a shrinking would take what is behind its end for what is new here.
            () if self.sb.shrunk => self.all_up(),
            () => self.members_up(),
        }
    }

    /// Every member but this one must be connected and synced.
    pub(super) fn members_up(&self) -> Result<(), Denied> {
        let mut others = self.counted().into_iter().filter(|m| *m != self.me());
        others.find(|m| !self.may_join(m)).map_or(Ok(()), |m| Err(Denied::NotSynced(m.node)))
    }

    fn tell_size(&mut self, link: LinkId, size: u64) {
        if let Some(epoch) = self.leading().map(|l| l.grant.epoch) {
            self.send(link, Message::Resize { epoch, size });
        }
    }

    /// A peer that was away meanwhile must grow before it is brought in step. Says whether it must.
    pub(super) fn grow_first(&mut self, link: LinkId, answer: &Message) -> bool {
        let size = self.layout.size;
        let Some(l) = self.links.get_mut(&link).filter(|l| l.hello.size < size) else { return false };
        l.parked = Some(answer.clone());
        self.tell_size(link, size);
        true
    }

    /// A peer has grown, or was large enough.
    pub(super) fn resized(&mut self, link: LinkId, size: u64) {
        let ours = self.layout.size;
        let Some(l) = self.links.get_mut(&link) else { return };
        l.hello.size = size;
        if let Side::Target(t) = &mut l.side {
            t.shrink_told = false;
        }
        // It was in the midst of another change when it was told.
        let wanted = self.resize.as_ref().filter(|r| r.shrink.is_none()).map(|r| r.size);
        if let Some(wanted) = wanted.filter(|wanted| size < *wanted) {
            return self.tell_size(link, wanted);
        }
        let Some(l) = self.links.get_mut(&link).filter(|l| l.hello.size >= ours) else { return };
        if let Some(answer) = l.parked.take() {
            self.begin_ack(link, answer);
        }
    }

    /// The leader's turn comes when all members have grown.
    pub(super) fn pump_resize(&mut self) {
        let Some(Resize { request, size, shrink }) = &self.resize else { return };
        let (request, size) = (*request, *size);
        if shrink.is_some() {
            return self.pump_shrink(request, size);
        }
        if self.leading().is_none() {
            self.resize = None;
            return self.done(request, Err(Denied::NotLeading));
        }
        if let Err(why) = self.members_up() {
            self.resize = None;
            return self.done(request, Err(why));
        }
        // Members are among them.
        let grown = |l: &Link| match &l.side {
            Side::Target(t) => t.state == TargetState::Beginning || l.hello.size >= size,
            _ => true,
        };
        if self.links.values().all(grown) {
            self.resize = None;
            self.grow(size, AskedBy::Owner(request));
        }
    }

    /// The leader tells this follower to grow.
    pub(super) fn remote_resize(&mut self, link: LinkId, size: u64) {
        if Layout::check_size(size, self.layout.granule).is_err() {
            return self.refuse(link, Refusal::Protocol);
        }
        if size <= self.layout.size {
            let size = self.layout.size;
            return self.send(link, Message::Resized { size });
        }
        self.grow(size, AskedBy::Leader(link));
    }

    pub(super) fn grow(&mut self, size: u64, asked_by: AskedBy) {
        if let Some(growth) = &mut self.growth {
            // Whoever asks for another size meanwhile hears of this one, and asks again.
            return growth.asked_by.push(asked_by);
        }
        let (layout, larger) = (self.layout.resized(size), size > self.layout.size);
        let files = 1 + u32::from(larger);
        self.growth = Some(Growth {
            size,
            layout,
            files,
            failed: None,
            commit: None,
            shrunk: !larger,
            distrusted: false,
            asked_by: vec![asked_by],
        });
        if larger {
            self.disk(OpKind::Grow, DiskOp::Grow { from: self.layout.size, to: size });
        }
        self.disk(OpKind::Grow, DiskOp::MetaGrow { from: self.layout.meta_len(), to: layout.meta_len() });
    }

    /// A file has grown, or cannot: then nothing has changed.
    pub(super) fn file_grown(&mut self, result: Result<Bytes, Arc<str>>) {
        let Some(growth) = &mut self.growth else { return };
        growth.files -= 1;
        growth.failed = growth.failed.take().or(result.err());
        match growth.failed.clone() {
            _ if growth.files > 0 => {}
            None => self.switch_layout(),
            Some(reason) => self.cannot_grow(&reason),
        }
    }

    fn cannot_grow(&mut self, reason: &Arc<str>) {
        let asked_by = self.growth.take().map(|g| g.asked_by).unwrap_or_default();
        for by in asked_by {
            match by {
                AskedBy::Owner(request) => self.done(request, Err(Denied::CannotGrow(reason.clone()))),
                AskedBy::Leader(link) => self.refuse(link, Refusal::CannotGrow),
                AskedBy::Shrinking => {
                    let request = self.resize.take().map(|r| r.request);
                    request.into_iter().for_each(|r| self.done(r, Err(Denied::CannotGrow(reason.clone()))));
                }
            }
        }
    }

    /// All bitmaps go to their new place, are flushed, and the superblock that names it follows. The old
    /// ones are in force until it is durable.
    fn switch_layout(&mut self) {
        let Some(layout) = self.growth.as_ref().map(|g| g.layout) else { return };
        let distrusted = match layout.size < self.layout.size {
            true => {
                self.cut_off(&layout);
                false
            }
            false => self.distrust_growth(),
        };
        self.layout = layout;
        self.sb.layout = layout;
        // The checksums are not moved: those that are not in memory count as unknown.
        self.sb.sums_run += 1;
        let pages = layout.pages();
        for slot in &mut self.slots {
            slot.bits.grow(layout.granules());
            slot.changed = (0..pages).collect();
        }
        for kept in &mut self.kept {
            kept.bits.grow(layout.granules());
            kept.changed = (0..pages).collect();
        }
        let commit = self.touch_with_pages();
        if let Some(growth) = &mut self.growth {
            (growth.commit, growth.distrusted) = (Some(commit), distrusted);
        }
    }

    pub(super) fn pump_growth(&mut self) {
        let early = self.bug(Bug::GrownEarly);
        let durable = |g: &mut Growth| g.commit.is_some_and(|commit| self.commit.durable >= commit || early);
        let Some(growth) = self.growth.take_if(durable) else { return };
        let size = growth.size;
        if growth.shrunk {
            // What the file gives back is of no importance.
            self.disk(OpKind::Shrink, DiskOp::Shrink { to: size });
            self.fail_beyond_the_end();
        }
        // Before the answer: who hears that it has grown must find it so.
        self.event(Event::Resized { size });
        for by in growth.asked_by {
            match by {
                AskedBy::Owner(request) => self.done(request, Ok(Reply::Resized { size })),
                // It must begin anew with a copy that it cannot trust.
                AskedBy::Leader(link) if growth.distrusted => self.refuse(link, Refusal::Closing),
                AskedBy::Leader(link) if self.links.contains_key(&link) => {
                    self.send(link, Message::Resized { size });
                }
                AskedBy::Leader(_) | AskedBy::Shrinking => {}
            }
        }
        self.drop_small_ones();
    }

    /// A peer that came meanwhile and was not told: it grows when it connects anew.
    fn drop_small_ones(&mut self) {
        let size = self.layout.size;
        let small = |l: &Link| matches!(&l.side, Side::Target(t) if t.state != TargetState::Beginning && l.hello.size < size);
        let links: Vec<LinkId> = self.links.iter().filter(|(_, l)| small(l)).map(|(id, _)| *id).collect();
        links.into_iter().for_each(|link| self.refuse(link, Refusal::Closing));
    }

    /// What waits for a growth when nothing is done any more.
    pub(super) fn abandon_growth(&mut self) -> Vec<RequestId> {
        let owner = |by: &AskedBy| match by {
            AskedBy::Owner(request) => Some(*request),
            AskedBy::Leader(_) | AskedBy::Shrinking => None,
        };
        let growing = self.growth.take().map(|g| g.asked_by).unwrap_or_default();
        growing.iter().filter_map(owner).chain(self.resize.take().map(|r| r.request)).collect()
    }
}

impl Layout {
    /// The layout of a device of another size: bitmaps and checksums lie behind all that there was, the undo area stays.
    fn resized(&self, size: u64) -> Layout {
        let at = self.meta_len().next_multiple_of(PAGE_LEN);
        let bitmaps = Area { at, len: Layout::bitmaps_len(size, self.granule) };
        let sums = Area { at: bitmaps.end(), len: Layout::sums_len(size) };
        Layout { size, bitmaps, sums, ..*self }
    }
}

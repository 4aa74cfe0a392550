//! The leader's half of a resync: which granules are copied to a peer when, and what became of them.

use super::*;
use crate::meta::BLOCK;
use crate::zeros::is_zero;

/// Granules on their way to a peer at once, at most: fewer than a peer bears questions.
const WINDOW_MAX: u64 = 8192;
/// Reads that it takes to fill a window, at least.
const RUNS_AT_ONCE: u64 = 8;
/// Parts of a window that are flushed one by one.
const FLUSHES_A_WINDOW: u64 = 4;

/// The granules that are on their way to a peer.
#[derive(Debug, Default)]
pub(super) struct Copies {
    all: BTreeMap<u32, CopyState>,
    /// How many of them are sent.
    sent: usize,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum CopyState {
    /// `whole`: to be sent; otherwise its digest goes first.
    Reading { whole: bool },
    /// Its digest is sent. `again`: a later write to it was not sent.
    Asked { again: bool },
    /// Sent; a flush with at least this number covers it.
    Sent {
        flush: u64,
        /// A later write to it was not sent: copy it again.
        again: bool,
    },
}

impl Copies {
    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    fn len(&self) -> usize {
        self.all.len()
    }

    fn get(&self, granule: u32) -> Option<&CopyState> {
        self.all.get(&granule)
    }

    fn put(&mut self, granule: u32, state: CopyState) {
        self.remove(granule);
        self.sent += usize::from(state.is_sent());
        self.all.insert(granule, state);
    }

    pub(super) fn remove(&mut self, granule: u32) {
        let gone = self.all.remove(&granule);
        self.sent -= usize::from(gone.is_some_and(|state| state.is_sent()));
    }

    /// What was sent of it as a part of the stream counts as a copy, covered by this flush. `fresh`: it needs none so far.
    pub(super) fn was_written(&mut self, granule: u32, next_flush: u64, fresh: bool) {
        match self.all.get_mut(&granule) {
            Some(CopyState::Sent { flush, .. }) => *flush = next_flush,
            None if fresh => self.put(granule, CopyState::Sent { flush: next_flush, again: false }),
            _ => {}
        }
    }

    /// A later write to these is not sent: what was sent of them is out of date.
    pub(super) fn again(&mut self, granules: std::ops::RangeInclusive<u32>) {
        for state in self.all.range_mut(granules).map(|(_, state)| state) {
            if let CopyState::Sent { again, .. } | CopyState::Asked { again } = state {
                *again = true;
            }
        }
    }

    /// Takes out what a flush has covered, each with whether it is to be copied again.
    pub(super) fn flushed(&mut self, id: u64) -> Vec<(u32, bool)> {
        if self.sent == 0 {
            return Vec::new();
        }
        let covered = |(granule, state): (&u32, &CopyState)| match state {
            CopyState::Sent { flush, again } if *flush <= id => Some((*granule, *again)),
            _ => None,
        };
        let over: Vec<(u32, bool)> = self.all.iter().filter_map(covered).collect();
        over.iter().for_each(|(granule, _)| self.remove(*granule));
        over
    }
}

impl CopyState {
    fn is_sent(&self) -> bool {
        matches!(self, CopyState::Sent { .. })
    }
}

impl Replica {
    /// Starts the reads of the next granules that a peer lacks, within the window; ends a resync
    /// that has nothing left.
    pub(super) fn pump_copies(&mut self) -> bool {
        if self.leading().is_none() {
            return false;
        }
        let links: Vec<(LinkId, DeviceId)> = self.links.iter().map(|(id, l)| (*id, l.hello.device)).collect();
        for (link, device) in links {
            if let Some(slot) = self.slot_of(device) {
                self.pump_copy(link, slot);
            }
        }
        false
    }

    fn pump_copy(&mut self, link: LinkId, slot: usize) {
        loop {
            let left = self.slots[slot].bits.count();
            let Some(t) = self.target(link) else { return };
            if !matches!(t.state, TargetState::Syncing | TargetState::Synced) {
                return;
            }
            if left == 0 && t.copies.is_empty() {
                if t.state == TargetState::Syncing {
                    self.finish_target(link);
                }
                return;
            }
            let Some(run) = self.copy_now(link, slot) else { return self.flush_copies(link) };
            self.read_copy(link, run, false);
        }
    }

    /// The next granules, if there is room for them and it is time.
    fn copy_now(&mut self, link: LinkId, slot: usize) -> Option<Run> {
        let most = self.room_for_copies(link, slot);
        let first = self.next_copy(link, slot).filter(|_| most > 0)?;
        if !self.sums_at_hand(first) {
            return None;
        }
        let (now, bits, unread) = (self.now, &self.slots[slot].bits, &self.unread);
        let (sums, layout) = (&self.sums, &self.layout);
        let Some(Link { side: Side::Target(t), .. }) = self.links.get_mut(&link) else { return None };
        let known = |g: u32| sums.has(layout.granule_at(g), layout.granule_len(g));
        let alone = |granule: u32| unread.contains(granule) || !known(granule);
        let joins = |granule: u32| bits.get(granule) && !alone(first) && !alone(granule);
        let resync = t.state == TargetState::Syncing;
        let mut count = 0;
        while count < most
            && (count == 0 || joins(first + count) && t.copies.get(first + count).is_none())
            && (!resync || t.pace.take(now, &self.config))
        {
            count += 1;
        }
        (count > 0).then_some(Run { first, count })
    }

    /// Granules that may be on their way to a peer.
    fn window_of(&self, t: &Target) -> u64 {
        (t.pace.window(&self.config) / self.layout.granule).clamp(1, WINDOW_MAX)
    }

    /// How many granules may be read for a peer at once.
    fn room_for_copies(&self, link: LinkId, slot: usize) -> u32 {
        let Some(Link { side: Side::Target(t), .. }) = self.links.get(&link) else { return 0 };
        let (window, granule) = (self.window_of(t), self.layout.granule);
        let room = if self.unread.is_full() { 0 } else { window.saturating_sub(t.copies.len() as u64) };
        if t.state == TargetState::Synced {
            return room.min(1) as u32;
        }
        // New writes go to the peer as long as there is room; copies leave some.
        let sent = t.in_flight() + u64::from(t.reading) * granule;
        let unsent = (self.config.peer_window() / 4 * 3).saturating_sub(sent).div_ceil(granule);
        // Read at once, and sent as one message: as many as the largest write has.
        let at_once = (WRITE_MAX as u64 / granule).max(1);
        match self.paused.contains(&self.slots[slot].head.node) {
            true => 0,
            false => room.min(unsent).min(window.div_ceil(RUNS_AT_ONCE)).min(at_once) as u32,
        }
    }

    /// What was copied counts once it is flushed. The peer flushes a part of the window while it takes in the rest.
    fn flush_copies(&mut self, link: LinkId) {
        let least = |t: &Target| (self.window_of(t) / FLUSHES_A_WINDOW).max(1) as usize;
        let Some(Link { side: Side::Target(t), .. }) = self.links.get(&link) else { return };
        if t.flush.is_some() || t.flush_wanted {
            return;
        }
        let sent = t.copies.sent;
        let enough = sent == t.copies.len() || sent >= least(t);
        if let Some(t) = self.target(link).filter(|_| sent > 0 && enough) {
            t.flush_wanted = true;
        }
    }

    /// The next granule to copy, round and round.
    fn next_copy(&mut self, link: LinkId, slot: usize) -> Option<u32> {
        let Some(Link { side: Side::Target(t), .. }) = self.links.get(&link) else { return None };
        let free =
            |granule: &u32| t.copies.get(*granule).is_none() && !self.unread.waits(*granule, link, t.silent);
        let bits = &self.slots[slot].bits;
        // All are on their way: not to be gone through for each answer of the peer.
        if bits.count() as usize <= t.copies.len() {
            return None;
        }
        let dirty = |from: u32| std::iter::successors(bits.next(from), |at| bits.next(at + 1));
        dirty(t.cursor).find(free).or_else(|| dirty(0).take_while(|g| *g < t.cursor).find(free))
    }

    fn read_copy(&mut self, link: LinkId, run: Run, whole: bool) {
        let digests = self.config.resync_by_digest;
        let Some(t) = self.target(link) else { return };
        let whole = whole || !digests || t.state == TargetState::Synced;
        t.cursor = run.first + run.count;
        t.reading += run.count;
        for granule in run.granules() {
            t.copies.put(granule, CopyState::Reading { whole });
        }
        for granule in run.granules() {
            *self.reading.entry(granule).or_default() += 1;
        }
        let (offset, len) = self.place_of_run(run.first, run.count);
        let ready = self.sums_ready(offset, u64::from(len));
        let sums = if ready { self.sums(offset, u64::from(len)) } else { Vec::new() };
        self.disk(OpKind::CopyRead { link, run, sums }, DiskOp::Read { offset, len });
    }

    /// Where a granule lies in the device, and its length.
    pub(super) fn place_of(&self, granule: u32) -> (u64, u32) {
        self.place_of_run(granule, 1)
    }

    /// Where `count` granules lie in the device, and their length.
    pub(super) fn place_of_run(&self, first: u32, count: u32) -> (u64, u32) {
        let offset = self.layout.granule_at(first);
        let len = (u64::from(count) * self.layout.granule).min(self.layout.size.saturating_sub(offset));
        (offset, len as u32)
    }

    pub(super) fn copy_read(
        &mut self,
        link: LinkId,
        run: Run,
        sums: &[u32],
        result: Result<Bytes, Arc<str>>,
    ) {
        for granule in run.granules() {
            match self.reading.get_mut(&granule) {
                Some(readers) if *readers > 1 => *readers -= 1,
                _ => drop(self.reading.remove(&granule)),
            }
        }
        if let Some(t) = self.target(link) {
            t.reading = t.reading.saturating_sub(run.count);
        }
        match result {
            Ok(data) => self.copy_checked(link, run, sums, &data.into()),
            Err(reason) => self.source_unreadable(link, run, reason),
        }
    }

    /// Compares what was read with the checksums here: damage must not be copied as if it were sound.
    fn copy_checked(&mut self, link: LinkId, run: Run, sums: &[u32], data: &Data) {
        let (offset, len) = self.place_of_run(run.first, run.count);
        let late = match () {
            () if !sums.is_empty() => Vec::new(),
            () if self.sums_ready(offset, u64::from(len)) => self.sums(offset, u64::from(len)),
            // They come: it is read again then.
            () => return self.copies_not(link, run),
        };
        let sums = if sums.is_empty() { &late } else { sums };
        let damaged = match self.bug(Bug::UncheckedSource) {
            true => Vec::new(),
            false => Self::damaged_blocks(offset, &data.sums(), sums),
        };
        if !damaged.is_empty() {
            return self.source_damaged(link, run, data, &damaged);
        }
        self.unread.read(run);
        self.send_copies(link, run, data);
    }

    /// Sends a granule that is damaged. Says whether it did.
    pub(super) fn copy_damaged(
        &mut self,
        link: LinkId,
        granule: u32,
        data: Data,
        damaged: &[DamagedBlock],
    ) -> bool {
        let Some(epoch) = self.leading().map(|l| l.grant.epoch) else { return false };
        let Some(t) = self.target(link) else { return false };
        if !matches!(t.copies.get(granule), Some(CopyState::Reading { .. })) {
            return false;
        }
        let (heal, flush) = (t.state == TargetState::Synced, t.next_flush);
        t.copies.put(granule, CopyState::Sent { flush, again: false });
        let first = self.layout.granule_at(granule) / BLOCK;
        let blocks = damaged.iter().map(|d| ((d.block - first) as u8, d.right)).collect();
        self.send_copy(link, Message::CopyDamaged { epoch, granule, heal, blocks, data });
        true
    }

    /// Sends what was read, or asks about it first.
    pub(super) fn send_copies(&mut self, link: LinkId, run: Run, data: &Data) {
        let Some(epoch) = self.leading().map(|l| l.grant.epoch) else { return };
        let granule_len = self.layout.granule as usize;
        let Some(t) = self.target(link) else { return };
        let Some(CopyState::Reading { whole }) = t.copies.get(run.first) else { return };
        let (whole, heal, flush) = (*whole, t.state == TargetState::Synced, t.next_flush);
        let pieces: Vec<Bytes> = (0..data.len())
            .step_by(granule_len)
            .map(|at| data.slice(at..data.len().min(at + granule_len)))
            .collect();
        let state = || match whole {
            true => CopyState::Sent { flush, again: false },
            false => CopyState::Asked { again: false },
        };
        run.granules().for_each(|granule| t.copies.put(granule, state()));
        if !whole {
            for (granule, piece) in run.granules().zip(&pieces) {
                let piece = if self.bug(Bug::DigestOfOne) { &pieces[0] } else { piece };
                self.send(link, Message::Compare { epoch, granule, digest: Digest::of(piece) });
            }
            return;
        }
        if self.bug(Bug::ClearBeforeFlush)
            && let Some(slot) = self.links.get(&link).and_then(|l| self.slot_of(l.hello.device))
        {
            run.granules().for_each(|granule| self.unmark(slot, granule));
        }
        for (granule, data) in without_zeros(run.first, data, &pieces, granule_len) {
            self.send_copy(link, Message::Copy { epoch, granule, heal, data });
        }
    }

    fn send_copy(&mut self, link: LinkId, message: Message) {
        let now = self.now;
        if let Some(t) = self.target(link) {
            t.sent_bytes += message.weight();
            t.pace.sent(now, t.sent_bytes);
            self.send(link, message);
        }
    }

    /// What is the same counts as copied: it is certain once the peer has flushed.
    pub(super) fn compare_answered(&mut self, link: LinkId, granule: u32, same: bool) {
        let Some(t) = self.target(link) else { return };
        let Some(CopyState::Asked { again }) = t.copies.get(granule) else { return };
        if same {
            let state = CopyState::Sent { flush: t.next_flush, again: *again };
            t.copies.put(granule, state);
            if self.bug(Bug::SameUnflushed)
                && let Some(slot) = self.links.get(&link).and_then(|l| self.slot_of(l.hello.device))
            {
                self.unmark(slot, granule);
            }
        } else {
            self.read_copy(link, Run { first: granule, count: 1 }, true);
        }
    }
}

/// What was read, in as few parts as it takes to send no zeros: each begins with its first granule, and one of
/// zeros has no bytes.
fn without_zeros(first: u32, data: &Data, pieces: &[Bytes], granule: usize) -> Vec<(u32, Data)> {
    let zero: Vec<bool> = pieces.iter().map(|piece| is_zero(piece)).collect();
    let mut parts = Vec::new();
    let mut at = 0;
    while at < zero.len() {
        let count = match zero[at] {
            true => 1,
            false => zero[at..].iter().take_while(|zero| !**zero).count(),
        };
        let span = at * granule..data.len().min((at + count) * granule);
        parts.push((first + at as u32, if zero[at] { Data::default() } else { data.part(span) }));
        at += count;
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// It is asked for whenever a peer says anything, and must not be counted anew each time.
        #[test]
        fn those_that_are_sent_are_counted(ops in proptest::collection::vec((0u8..7, 0u32..9, 0u64..4), 0..100)) {
            let mut copies = Copies::default();
            for (what, granule, flush) in ops {
                match what {
                    0 => copies.put(granule, CopyState::Reading { whole: true }),
                    1 => copies.put(granule, CopyState::Asked { again: false }),
                    2 => copies.put(granule, CopyState::Sent { flush, again: false }),
                    3 => copies.remove(granule),
                    4 => copies.was_written(granule, flush, flush % 2 == 0),
                    5 => copies.again(granule..=granule + 2),
                    _ => drop(copies.flushed(flush)),
                }
                prop_assert_eq!(copies.sent, copies.all.values().filter(|state| state.is_sent()).count());
            }
        }
    }
}

//! Durable state: format and open, commits, bitmaps, the activity log.

use std::collections::BTreeSet;
use std::io;

use bytes::Bytes;

use super::*;
use crate::bitmap::EXTENT;
use crate::ids::GenerationId;
use crate::meta::{
    self, MAX_SLOTS, OpenError, PAGE_LEN, SB_LEN, check_identity, decode_page, decode_sums, encode_page,
};

impl Replica {
    /// The writes that make a blank metadata file, and its length in bytes. All other bytes of the
    /// file are zero.
    pub fn format(
        config: &Config,
        identity: &Identity,
        size: u64,
    ) -> Result<(u64, Vec<(u64, Bytes)>), OpenError> {
        let layout = Layout::new(size, config.granule_bytes, config.undo_bytes)?;
        let first = Superblock::blank(*identity, &layout);
        let second = Superblock { seq: first.seq + 1, ..first.clone() };
        Ok((layout.meta_len(), vec![(first.offset(), first.encode()), (second.offset(), second.encode())]))
    }

    /// Opens a replica from its metadata. `read` fills the buffer from an offset of the metadata file.
    ///
    /// After a crash, all extents that were hot may differ from any peer's: they are marked so.
    pub fn open(
        config: Config,
        identity: &Identity,
        mut read: impl FnMut(u64, &mut [u8]) -> io::Result<()>,
    ) -> Result<Self, OpenError> {
        let mut get = |offset: u64, len: u64, expected: u64| {
            let mut buf = vec![0; len as usize];
            match read(offset, &mut buf) {
                Ok(()) => Ok(buf),
                Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => {
                    Err(OpenError::Truncated { file: "metadata", found: offset, expected })
                }
                Err(e) => Err(OpenError::io("reading the metadata")(e)),
            }
        };
        let sb = Superblock::newest(&get(0, SB_LEN, 2 * SB_LEN)?, &get(SB_LEN, SB_LEN, 2 * SB_LEN)?)?;
        check_identity("metadata", &sb.identity, identity)?;
        let layout = sb.layout;
        let whole = layout.meta_len();
        let mut slots = Vec::new();
        for head in &sb.slots {
            let mut bits = Bitmap::new(layout.granules());
            for page in 0..layout.pages() {
                let bytes = get(layout.page_at(head.slot as usize, page), PAGE_LEN, whole)?;
                decode_page(&mut bits, head.device, page, &bytes);
            }
            slots.push(Slot { head: head.clone(), bits, changed: BTreeSet::new() });
        }
        let undo = match sb.sync {
            Some(_) if !sb.undo_lost => {
                undo::Undo::found(&layout, sb.undo_run, |at, len| get(at, len, whole))?
            }
            _ => undo::Undo::default(),
        };
        let mut sums = sums::Sums::default();
        for extent in sb.hot.iter().filter(|e| u64::from(**e) * EXTENT < layout.size) {
            for page in sums::extent_pages(*extent) {
                let at = layout.sums_at(page);
                if at < layout.sums.end() {
                    let bytes = get(at, PAGE_LEN, whole)?;
                    sums.loaded(page, decode_sums(&bytes, sb.identity.device, sb.sums_run, page));
                }
            }
            sums.void_extent(*extent);
        }
        let mut kept = Vec::new();
        for head in &sb.snapshots {
            let mut bits = Bitmap::new(layout.granules());
            for page in 0..layout.pages() {
                let bytes = get(layout.page_at(head.bitmap as usize, page), PAGE_LEN, whole)?;
                decode_page(&mut bits, sb.identity.device, page, &bytes);
            }
            kept.push(snapshots::Kept::new(head.clone(), bits));
        }
        Ok(Self::with(config, sb, slots, undo, sums, kept))
    }

    /// The length that the metadata file must have, in bytes.
    pub fn meta_len(&self) -> u64 {
        self.layout.meta_len()
    }

    pub(super) fn with(
        config: Config,
        mut sb: Superblock,
        slots: Vec<Slot>,
        undo: undo::Undo,
        mut sums: sums::Sums,
        kept: Vec<snapshots::Kept>,
    ) -> Self {
        let hot = sb.hot.iter().map(|e| (*e, Hot { seq: 0, commit: 0, order: 0 })).collect();
        let mut commit = Commit::default();
        if sb.sync.is_some() {
            // A resync was broken off: which pages speak of what it copied is not known.
            sb.sums_run += 1;
            sums = sums::Sums::default();
            commit.wanted = 1;
        }
        let queue_limit = 4 * config.peer_window_bytes + (64 << 20);
        let mut replica = Replica {
            layout: sb.layout,
            floor: sb.epoch,
            damage: damage::Damage::opened(&sb.damaged),
            unmarked: 0,
            config,
            sb,
            slots,
            now: Duration::ZERO,
            out: VecDeque::new(),
            ops: BTreeMap::new(),
            next_op: 0,
            role: Role::Follower,
            raise: None,
            closing: None,
            rollback: None,
            rolling: 0,
            links: BTreeMap::new(),
            queue: VecDeque::new(),
            queued_bytes: 0,
            flying_bytes: 0,
            gate: Gate::Open,
            order: 0,
            writes_in_flight: 0,
            local: LocalFlush::default(),
            acks: VecDeque::new(),
            flushes: VecDeque::new(),
            seq: 0,
            stable: 0,
            everywhere: 0,
            stable_told: 0,
            away: BTreeMap::new(),
            recent: VecDeque::new(),
            hot,
            sums,
            commit,
            undo,
            reading: BTreeMap::new(),
            unread: unread::Unread::default(),
            verify: None,
            computed: BTreeMap::new(),
            scrub: None,
            rotten: BTreeMap::new(),
            mends: BTreeMap::new(),
            next_mend: 0,
            checked: reads::Checked::default(),
            integrity: Integrity::default(),
            kept,
            taking: None,
            deleting: Vec::new(),
            adopting: VecDeque::new(),
            discard: BTreeSet::new(),
            protocols: BTreeMap::new(),
            paused: BTreeSet::new(),
            resize: None,
            growth: None,
            failed: None,
            queue_limit,
            writers: Writers::default(),
            session: None,
            applying: VecDeque::new(),
            known: 0,
            heir: None,
            #[cfg(feature = "bugs")]
            bug: None,
        };
        for slot in 0..replica.slots.len() {
            replica.mark_hot(slot);
        }
        replica.settle_found_images();
        replica
    }

    /// Asks for the superblock to be written; returns the commit that will hold it.
    pub(super) fn touch(&mut self) -> u64 {
        self.commit.wanted += 1;
        self.commit.wanted
    }

    /// As [`touch`](Self::touch), with the changed bitmap pages durable before it.
    pub(super) fn touch_with_pages(&mut self) -> u64 {
        self.commit.pages = true;
        self.touch()
    }

    pub(super) fn durable(&self, commit: u64) -> bool {
        self.commit.durable >= commit
    }

    pub(super) fn pump_commit(&mut self) {
        if self.commit.running.is_some() || self.commit.wanted == self.commit.durable {
            return;
        }
        if self.commit.pages && self.sums.must_wait() {
            return;
        }
        if std::mem::take(&mut self.commit.pages) {
            self.write_pages();
        }
        self.sb.seq += 1;
        self.sb.slots = self.slots.iter().map(|s| s.head.clone()).collect();
        self.sb.snapshots = self.kept.iter().map(|k| k.head.clone()).collect();
        self.sb.hot = self.hot.keys().copied().collect();
        self.sb.damaged = self.damage.recorded();
        let (offset, data) = (self.sb.offset(), self.sb.encode());
        self.disk(OpKind::Meta, DiskOp::MetaWrite { offset, data });
        let version = self.commit.wanted;
        self.commit.running = Some(version);
        self.disk(OpKind::Commit(version), DiskOp::MetaFlush);
    }

    fn write_pages(&mut self) {
        let flush = self.sums_unflushed();
        let mut writes = self.changed_sums();
        for slot in &mut self.slots {
            for page in std::mem::take(&mut slot.changed) {
                let offset = self.layout.page_at(slot.head.slot as usize, page);
                writes.push((offset, encode_page(&slot.bits, slot.head.device, page)));
            }
        }
        let device = self.sb.identity.device;
        for kept in &mut self.kept {
            for page in std::mem::take(&mut kept.changed) {
                let offset = self.layout.page_at(kept.head.bitmap as usize, page);
                writes.push((offset, encode_page(&kept.bits, device, page)));
            }
        }
        if writes.is_empty() && !flush {
            return;
        }
        for (offset, data) in writes {
            self.disk(OpKind::Meta, DiskOp::MetaWrite { offset, data });
        }
        self.disk(OpKind::Meta, DiskOp::MetaFlush);
    }

    pub(super) fn slot_of(&self, device: DeviceId) -> Option<usize> {
        self.slots.iter().position(|s| s.head.device == device)
    }

    /// The slot of a peer, made anew if there is none. An older device of the same node loses its
    /// slot, and so does one outside the in-sync set when there are too many.
    pub(super) fn make_slot(&mut self, member: Member, base: GenerationId) -> usize {
        if let Some(slot) = self.slot_of(member.device) {
            return slot;
        }
        self.slots.retain(|s| s.head.node != member.node);
        if self.slots.len() == MAX_SLOTS {
            let keep = |s: &Slot, members: &MemberSet| members.iter().any(|m| m.device == s.head.device);
            let victim = self.slots.iter().position(|s| !keep(s, &self.sb.members)).unwrap_or(0);
            self.slots.remove(victim);
        }
        let used: BTreeSet<u32> = self.slots.iter().map(|s| s.head.slot).collect();
        let slot = (0..MAX_SLOTS as u32).find(|n| !used.contains(n)).expect("fewer slots than areas");
        let head = SlotHead { slot, node: member.node, device: member.device, base, sync: 0 };
        let changed = (0..self.layout.pages()).collect();
        self.slots.push(Slot { head, bits: Bitmap::new(self.layout.granules()), changed });
        self.commit.pages = true;
        self.slots.len() - 1
    }

    pub(super) fn mark(&mut self, slot: usize, granule: u32) {
        let slot = &mut self.slots[slot];
        if slot.bits.set(granule) {
            slot.changed.insert(granule / meta::BITS_PER_PAGE);
        }
    }

    pub(super) fn unmark(&mut self, slot: usize, granule: u32) {
        let slot = &mut self.slots[slot];
        if slot.bits.clear(granule) {
            slot.changed.insert(granule / meta::BITS_PER_PAGE);
        }
    }

    pub(super) fn mark_all(&mut self, slot: usize) {
        self.mark_run(slot, 0, self.layout.granules());
    }

    /// Marks `count` granules from `first` on, as far as there are any.
    pub(super) fn mark_run(&mut self, slot: usize, first: u32, count: u32) {
        let end = first.saturating_add(count).min(self.layout.granules());
        if first < end {
            let slot = &mut self.slots[slot];
            let before = slot.bits.count();
            slot.bits.set_run(first, end - first);
            if slot.bits.count() > before {
                slot.changed.extend(first / meta::BITS_PER_PAGE..=(end - 1) / meta::BITS_PER_PAGE);
            }
        }
    }

    pub(super) fn unmark_all(&mut self, slot: usize) {
        let slot = &mut self.slots[slot];
        let mut at = 0;
        while let Some(granule) = slot.bits.next(at) {
            let page = granule / meta::BITS_PER_PAGE;
            slot.changed.insert(page);
            at = (page + 1) * meta::BITS_PER_PAGE;
        }
        slot.bits.clear_all();
    }

    pub(super) fn mark_hot(&mut self, slot: usize) {
        let extents: Vec<u32> = self.hot.keys().copied().collect();
        for extent in extents {
            let (first, count) = self.layout.extent_granules(extent);
            self.mark_run(slot, first, count);
        }
    }

    /// Marks what was written after `seq` and is not known to be everywhere.
    pub(super) fn mark_recent(&mut self, slot: usize, seq: u64) {
        let recent = std::mem::take(&mut self.recent);
        for r in recent.iter().filter(|r| r.seq > seq) {
            self.mark_run(slot, r.first, r.last - r.first + 1);
        }
        self.recent = recent;
    }

    /// A leadership or a stream ends: whatever is not known to be everywhere may differ from
    /// every peer.
    pub(super) fn settle_recent(&mut self) {
        for slot in 0..self.slots.len() {
            self.mark_recent(slot, 0);
        }
        self.recent.clear();
        self.hot.values_mut().for_each(|h| h.seq = 0);
    }

    pub(super) fn note_recent(&mut self, seq: u64, offset: u64, len: usize) {
        let (first, last) = self.layout.granules_of(offset, len);
        match self.recent.back_mut() {
            Some(r) if (r.first, r.last) == (first, last) => r.seq = seq,
            _ => self.recent.push_back(Recent { seq, first, last }),
        }
        for extent in extents(offset, len) {
            if let Some(hot) = self.hot.get_mut(&extent) {
                hot.seq = seq;
            }
        }
    }

    pub(super) fn set_stable(&mut self, stable: u64) {
        self.stable = self.stable.max(stable);
        while self.recent.front().is_some_and(|r| r.seq <= self.stable) {
            self.recent.pop_front();
        }
    }

    pub(super) fn is_hot(&self, offset: u64, len: usize) -> bool {
        extents(offset, len).all(|e| self.hot.get(&e).is_some_and(|h| self.durable(h.commit)))
    }

    /// Makes extents hot for the writes near the head of the queue, with one commit for all, and those ahead of
    /// sequential writers before they are needed: such a commit is waited for by nobody.
    pub(super) fn warm(&mut self) {
        let limit = self.config.hot_limit();
        let mut needed = BTreeSet::new();
        for entry in self.queue.iter().take(64) {
            if needed.len() >= limit / 2 {
                break;
            }
            match entry {
                Queued::Local { offset, data, .. }
                | Queued::Forward { offset, data, .. }
                | Queued::Remote { offset, data, .. } => {
                    needed.extend(extents(*offset, data.len()));
                }
                Queued::Copy { granule, data, .. } if self.sb.sync.is_none() => {
                    needed.extend(extents(self.layout.granule_at(*granule), data.len()));
                }
                // What stands behind it may belong to a resync or not.
                Queued::SyncStart { .. } | Queued::SyncEnd { .. } => break,
                _ => {}
            }
        }
        self.warm_extents(needed);
    }

    /// Makes these extents hot, with one commit for all.
    pub(super) fn warm_extents(&mut self, needed: BTreeSet<u32>) {
        let commit = self.commit.wanted + 1;
        let mut added = false;
        for extent in &needed {
            added |= self.heat(*extent, commit, &needed, true);
            for next in self.ahead_of(*extent) {
                added |= self.heat(next, commit, &needed, false);
            }
        }
        if added {
            self.touch();
            self.flush_early();
        }
    }

    /// The extents to make hot now for a writer who has come to this one: as many as are hot in a row behind it,
    /// at most `hot_ahead`, once less than half of them are hot.
    fn ahead_of(&self, extent: u32) -> std::ops::Range<u32> {
        let hot = |e: Option<u32>| e.is_some_and(|e| self.hot.contains_key(&e));
        let most = self.config.hot_ahead.min(self.config.hot_limit() as u32 / 4);
        let behind = (1..=most).take_while(|n| hot(extent.checked_sub(*n))).count() as u32;
        let ready = (1..=behind).take_while(|n| hot(extent.checked_add(*n))).count() as u32;
        if ready > behind / 2 {
            return 0..0;
        }
        let end = self.layout.size.div_ceil(EXTENT) as u32;
        let until = |n: u32| extent.saturating_add(n).saturating_add(1).min(end);
        until(ready)..until(behind)
    }

    /// Extents cool down only after a flush: asks for one while half of them can still be exchanged, so that
    /// nobody has to wait for it.
    fn flush_early(&mut self) {
        let unflushed = self.hot.values().filter(|h| h.seq > self.stable).count();
        if 2 * unflushed > self.config.hot_limit() && !self.flush_under_way() {
            self.want_flush_everywhere();
        }
    }

    /// Adds one extent; returns whether it is new. `must`: a follower may exceed its limit, for
    /// its leader's limit may be larger.
    fn heat(&mut self, extent: u32, commit: u64, needed: &BTreeSet<u32>, must: bool) -> bool {
        if self.hot.contains_key(&extent) {
            return false;
        }
        if self.hot.len() >= self.config.hot_limit() && !self.cool(needed) {
            if !must {
                return false;
            }
            self.relieve();
            let grow = self.leading().is_none() && self.hot.len() < Config::MAX_HOT;
            if !grow && !self.cool(needed) {
                self.want_flush_everywhere();
                return false;
            }
        }
        self.hot.insert(extent, Hot { seq: self.seq.min(self.stable), commit, order: 0 });
        self.load_extent(extent);
        true
    }

    /// Drops the extent written longest ago, if all its writes are everywhere or in a bitmap.
    fn cool(&mut self, needed: &BTreeSet<u32>) -> bool {
        let stable = self.stable;
        // The source of a resync tracks what its target has not flushed.
        let target = self.sb.sync.is_some();
        // One that is not hot yet is waited for by somebody: taken away, two could take it from each other for ever.
        let used = self.commit.durable;
        let idle =
            |(e, h): &(&u32, &Hot)| (h.seq <= stable || target) && h.commit <= used && !needed.contains(e);
        // Its checksums speak of what is durable here, except in a resync, which ends with a flush.
        let flushed = self.local.flushed;
        let durable = |(_, h): &(&u32, &Hot)| target || h.order <= flushed;
        let oldest = self
            .hot
            .iter()
            .filter(idle)
            .filter(durable)
            .min_by_key(|(_, h)| (h.seq, h.commit))
            .map(|(e, _)| *e);
        let Some(extent) = oldest else {
            if self.hot.iter().any(|h| idle(&h)) {
                self.local.wanted = self.order;
            }
            return false;
        };
        self.hot.remove(&extent);
        self.cool_sums(extent);
        // What the extent stood for must be in the bitmaps before it is forgotten.
        self.commit.pages = true;
        true
    }
}

/// The extents a range touches.
pub(super) fn extents(offset: u64, len: usize) -> std::ops::RangeInclusive<u32> {
    let last = offset + (len as u64).max(1) - 1;
    (offset / EXTENT) as u32..=(last / EXTENT) as u32
}

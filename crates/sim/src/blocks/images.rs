//! Images of what a split brain's loser had: made, flushed, lost with the power, and judged in the end.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use posthaste_blockrepl::core::{DiskOp, Input, Snapshot, SnapshotOp};

use super::layout::decode;
use super::owner::Asked;
use super::world::{MS, World};
use crate::checkers::Verdict;
use crate::disk::Image;
use crate::rng::Rng;

/// The images beside one data file.
#[derive(Debug, Default)]
pub(super) struct Images {
    pub(super) images: BTreeMap<u64, (Image, bool)>,
    /// The file system shares blocks.
    pub(super) shares: bool,
}

/// What a copy held when it was given up, and where it parted from the others.
#[derive(Debug, Clone)]
pub(super) struct Lost {
    node: usize,
    image: Image,
    parted: Option<Image>,
    /// Granules that it may have to list, if that is known.
    touched: Option<BTreeSet<u64>>,
}

/// What was written where an operator's force led.
#[derive(Debug, Default)]
pub(super) struct Forced {
    pub(super) node: usize,
    /// When somebody was cut off last.
    pub(super) parted_at: u64,
    /// Name, first sector, sectors, in their order.
    pub(super) writes: Vec<(u64, usize, usize)>,
    /// A flush of them was acknowledged.
    pub(super) durable: bool,
}

/// What was written so long before the copies parted is durable on both, and known to be.
const SETTLED: u64 = 2000 * MS;

impl Images {
    /// Does it, at its turn among the operations on the data, which hold `live` now.
    pub(super) fn apply(&mut self, op: SnapshotOp, live: &Image) -> Bytes {
        match op {
            SnapshotOp::Create { id, size } => {
                let image = if self.shares { live.clone() } else { Image::new(size) };
                self.images.insert(id, (image, false));
                return Bytes::from_static(if self.shares { b"shared" } else { b"" });
            }
            SnapshotOp::Write { id, offset, data } => {
                if let Some((image, _)) = self.images.get_mut(&id) {
                    image.write(offset as usize, &data);
                }
            }
            SnapshotOp::Flush { id } => {
                self.images.get_mut(&id).into_iter().for_each(|(_, flushed)| *flushed = true);
            }
            SnapshotOp::Remove { id } => drop(self.images.remove(&id)),
        }
        Bytes::new()
    }

    /// Power cut: an image that was not flushed is gone, or garbage.
    pub(super) fn crash(&mut self, rng: &mut Rng) {
        for (image, _) in self.images.values_mut().filter(|(_, flushed)| !flushed) {
            image.write(0, &[0xEE; 512]);
        }
        self.images.retain(|_, (_, flushed)| *flushed || rng.chance(500));
    }
}

impl World {
    /// A copy is given up: what it holds must be kept.
    pub(super) fn note_lost(&mut self, node: usize) {
        let machine = &self.machines[node];
        let Some([data, _]) = &machine.disks else { return };
        let since = self.forced.parted_at.saturating_sub(SETTLED);
        // After a crash it takes what was hot for written.
        let lived = machine.died.is_none_or(|died| died < since) && self.promoted == 0;
        let late = machine.touched.iter().filter(|(_, at)| **at >= since).map(|(granule, _)| *granule);
        let touched = lived.then(|| late.collect());
        self.lost.push(Lost { node, image: data.when_done(), parted: self.parted.clone(), touched });
    }

    /// A copy is written to.
    pub(super) fn note_touched(&mut self, n: usize, what: &DiskOp) {
        let DiskOp::Write { offset, data } = what else { return };
        let granule = self.config.granule_bytes;
        let (first, last) = (offset / granule, (offset + data.len() as u64 - 1) / granule);
        let now = self.now;
        self.machines[n].touched.extend((first..=last).map(|granule| (granule, now)));
    }

    /// There is no room for another snapshot: the operator deletes the oldest.
    pub(super) fn make_room(&mut self, n: usize) {
        let oldest = self.replica(n).and_then(|r| r.snapshots().first().map(|s| s.id));
        if let Some(id) = oldest {
            self.deleted_snapshots = true;
            self.ask(n, Asked::Client, |request| Input::DeleteSnapshot { request, id });
        }
    }

    /// N4: each snapshot that is listed is what some loser had, and lists where that differed; each loser has one.
    pub(super) fn check_snapshots(&mut self) {
        let verdict = (0..self.copies).try_for_each(|n| self.snapshots_of(n));
        self.judge("N4", verdict);
    }

    fn snapshots_of(&self, n: usize) -> Verdict {
        let listed = self.replica(n).map(|r| r.snapshots()).unwrap_or_default();
        let lost: Vec<&Lost> = self.lost.iter().filter(|lost| lost.node == n).collect();
        if !lost.is_empty() && listed.is_empty() && !self.deleted_snapshots {
            return Err(format!("what node {n} lost was not kept"));
        }
        listed.iter().try_for_each(|snapshot| self.is_what_was_lost(n, snapshot, &lost))
    }

    fn is_what_was_lost(&self, n: usize, snapshot: &Snapshot, lost: &[&Lost]) -> Verdict {
        let id = snapshot.id;
        let images = self.machines[n].images.images.get(&id);
        let Some((image, _)) = images else {
            return Err(format!("node {n} lists snapshot {id}, which is gone"));
        };
        if lost.is_empty() {
            // Nobody gave it up: it began a generation that its successors were not told of, and they have all that it had.
            return Ok(());
        }
        let same = |lost: &&&Lost| lost.image.difference(image).is_none();
        let Some(lost) = lost.iter().find(same) else {
            let at: Vec<_> = lost.iter().map(|lost| lost.image.difference(image)).collect();
            return Err(format!("snapshot {id} of node {n} is not what it had: it differs at {at:?}"));
        };
        let Some(parted) = &lost.parted else { return Ok(()) };
        let told =
            |at: u64, len: u64| snapshot.written.iter().any(|(from, n)| at < from + n && *from < at + len);
        if let Some((at, _)) = lost.image.differing_pages(parted).find(|(at, len)| !told(*at, *len)) {
            let told = &snapshot.written;
            return Err(format!(
                "snapshot {id} of node {n} was written at byte {at} since, and tells {told:?}"
            ));
        }
        self.lists_only_what_was_written(n, snapshot, lost)?;
        self.has_what_was_forced(n, image)
    }

    /// Nothing is listed that the loser has not written since they parted, or shortly before.
    fn lists_only_what_was_written(&self, n: usize, snapshot: &Snapshot, lost: &Lost) -> Verdict {
        let Some(touched) = &lost.touched else { return Ok(()) };
        let granule = self.config.granule_bytes;
        let listed = snapshot.written.iter();
        let listed = listed.flat_map(|(at, len)| at / granule..(at + len).div_ceil(granule));
        match listed.into_iter().find(|granule| !touched.contains(granule)) {
            Some(granule) => {
                let id = snapshot.id;
                Err(format!("snapshot {id} of node {n} lists granule {granule}, which it has not written"))
            }
            None => Ok(()),
        }
    }

    /// What was acknowledged on the losing side is in its snapshot.
    fn has_what_was_forced(&self, n: usize, image: &Image) -> Verdict {
        let Forced { node, writes, durable, .. } = &self.forced;
        if *node != n || !durable {
            return Ok(());
        }
        let sectors = writes.iter().flat_map(|(id, first, len)| (*first..first + len).map(move |s| (s, *id)));
        let newest: BTreeMap<usize, u64> = sectors.collect();
        match newest.into_iter().find(|(sector, id)| decode(image, *sector) != Some(*id)) {
            Some((sector, id)) => Err(format!(
                "the snapshot of node {n} lacks write {id:#x} to sector {sector}, which was acknowledged"
            )),
            None => Ok(()),
        }
    }
}

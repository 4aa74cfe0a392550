//! Images of what a split brain's loser had: made, flushed, lost with the power, and judged in the end.

use std::collections::BTreeMap;

use bytes::Bytes;
use posthaste_blockrepl::core::{Input, Snapshot, SnapshotOp};

use super::owner::Asked;
use super::world::World;
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
}

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
        let Some([data, _]) = &self.machines[node].disks else { return };
        self.lost.push(Lost { node, image: data.when_done(), parted: self.parted.clone() });
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
        match lost.image.differing_pages(parted).find(|(at, len)| !told(*at, *len)) {
            Some((at, _)) => {
                let told = &snapshot.written;
                Err(format!("snapshot {id} of node {n} was written at byte {at} since, and tells {told:?}"))
            }
            None => Ok(()),
        }
    }
}

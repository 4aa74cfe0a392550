//! The model of the replication layer: who leads a volume, on whose acknowledgements, and what it reports.

use super::*;

pub(super) type Members = BTreeSet<(NodeId, DeviceId)>;

/// What the replication layer holds of one leadership: acknowledgements count on both sets.
pub(super) struct Lead {
    pub(super) epoch: Epoch,
    pub(super) in_sync: Members,
    pub(super) pending: Option<Members>,
    pub(super) serves: bool,
}

impl Lead {
    pub(super) fn counted(&self) -> Members {
        self.in_sync.iter().chain(self.pending.iter().flatten()).copied().collect()
    }
}

impl World {
    pub(super) fn report(&mut self, to: NodeId, after: u64, report: VolumeReport) {
        let life = self.nodes[&to].life;
        self.push(after, Event::Input { to, life, input: Input::Volume(report) });
    }

    pub(super) fn obey_volume(&mut self, me: NodeId, order: VolumeOrder) {
        self.note(format!("{me} -> {order:?}"));
        match order {
            VolumeOrder::RaiseEpoch { volume, epoch } => {
                let held = self.epochs.entry((me, volume.clone())).or_default();
                *held = epoch.max(*held);
                let (epoch, device) = (*held, device(me, &volume));
                let generation = Generation::default();
                let consistent = true;
                self.report(
                    me,
                    5 * MS,
                    VolumeReport::Raised { volume, epoch, generation, device, consistent },
                );
            }
            VolumeOrder::Lead { volume, epoch, in_sync, .. } => {
                assert!(in_sync.iter().any(|(n, _)| *n == me), "R1: a leader is in sync");
                assert!(self.epochs[&(me, volume.clone())] >= epoch, "R4: raised before it is opened");
                let n = self.nodes.get_mut(&me).unwrap();
                n.open.insert(volume.clone(), epoch);
                n.leads.insert(volume.clone(), Lead { epoch, in_sync, pending: None, serves: false });
                let (at, life) = (me, n.life);
                self.links.remove(&(at, volume.clone()));
                self.push(300 * MS, Event::Link { at, life, volume: volume.clone(), epoch });
                self.begin_flush(me, 5 * MS, VolumeReport::Opened { volume, epoch });
            }
            VolumeOrder::SetPending { volume, epoch, union } => self.set_pending(me, volume, epoch, union),
            VolumeOrder::UpdateInSync { volume, epoch, in_sync, .. } => {
                if let Some(lead) = self.lead(me, &volume, epoch) {
                    (lead.in_sync, lead.pending) = (in_sync, None);
                }
            }
            VolumeOrder::Retire { volume, epoch } => {
                if let Some(lead) = self.lead(me, &volume, epoch) {
                    lead.serves = false;
                }
                self.begin_flush(me, 3 * MS, VolumeReport::Closed { volume, epoch, clean: true });
            }
            VolumeOrder::Abandon { volume, .. } => {
                let n = self.nodes.get_mut(&me).unwrap();
                n.open.remove(&volume);
                n.leads.remove(&volume);
            }
            VolumeOrder::Follow { .. } => {}
        }
    }

    pub(super) fn lead(&mut self, at: NodeId, volume: &VolumeId, epoch: Epoch) -> Option<&mut Lead> {
        self.nodes.get_mut(&at)?.leads.get_mut(volume).filter(|l| l.epoch == epoch)
    }

    /// A copy that is not synced now is refused, as lost.
    pub(super) fn set_pending(&mut self, me: NodeId, volume: VolumeId, epoch: Epoch, union: Members) {
        let peer = if me == A { B } else { A };
        if self.lead(me, &volume, epoch).is_none() {
            return;
        }
        if !self.copy_answers(peer) || self.links.get(&(me, volume.clone())) != Some(&true) {
            self.links.insert((me, volume.clone()), false);
            return self.report(me, 0, VolumeReport::PeerLost { volume, epoch, node: peer, disk: false });
        }
        self.lead(me, &volume, epoch).unwrap().pending = Some(union.clone());
        self.begin_flush(me, 2 * MS, VolumeReport::UnionHeld { volume, epoch, union });
    }

    pub(super) fn copy_answers(&self, peer: NodeId) -> bool {
        let up = self.nodes.get(&peer).is_some_and(|n| self.runs(n));
        up && self.linked(A, B) && !self.replica_cut
    }

    pub(super) fn begin_flush(&mut self, at: NodeId, after: u64, then: VolumeReport) {
        let life = self.nodes[&at].life;
        self.push(after, Event::Flush { at, life, then });
    }

    pub(super) fn flush(&mut self, at: NodeId, life: u64, then: VolumeReport) {
        let (VolumeReport::Opened { volume, epoch }
        | VolumeReport::Closed { volume, epoch, .. }
        | VolumeReport::UnionHeld { volume, epoch, .. }) = &then
        else {
            unreachable!("needs no flush: {then:?}");
        };
        let Some(n) = self.nodes.get(&at).filter(|n| n.life == life) else { return };
        let Some(lead) = n.leads.get(volume).filter(|l| l.epoch == *epoch) else { return };
        let held = lead.counted().iter().all(|(peer, _)| *peer == at || self.copy_answers(*peer));
        if !held || !self.runs(n) {
            return self.push(10 * MS, Event::Flush { at, life, then });
        }
        let n = self.nodes.get_mut(&at).unwrap();
        match &then {
            VolumeReport::Closed { volume, .. } => {
                n.open.remove(volume);
                n.leads.remove(volume);
            }
            VolumeReport::UnionHeld { volume, union, .. } => {
                if n.leads[volume].pending.as_ref() != Some(union) {
                    return;
                }
            }
            _ => n.leads.get_mut(volume).unwrap().serves = true,
        }
        self.report(at, 0, then);
    }

    /// Every 300 ms: the peer's copy is complete if its node is within reach, else it is lost.
    pub(super) fn look_at_link(&mut self, at: NodeId, life: u64, volume: VolumeId, epoch: Epoch) {
        let open = |n: &&Node| n.life == life && n.open.get(&volume) == Some(&epoch);
        let Some(n) = self.nodes.get(&at).filter(open) else { return };
        if !self.runs(n) {
            return self.push(300 * MS, Event::Link { at, life, volume, epoch });
        }
        let node = if at == A { B } else { A };
        let linked = self.copy_answers(node);
        let device = device(node, &volume);
        if self.links.insert((at, volume.clone()), linked) != Some(linked) {
            let (volume, disk) = (volume.clone(), false);
            let report = if linked {
                VolumeReport::PeerSynced { volume, epoch, node, device }
            } else {
                VolumeReport::PeerLost { volume, epoch, node, disk }
            };
            self.report(at, 0, report);
        }
        self.push(300 * MS, Event::Link { at, life, volume, epoch });
    }
}

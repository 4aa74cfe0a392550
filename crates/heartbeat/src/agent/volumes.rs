//! One volume on one node: raise, open, follow, change the in-sync set, hand over (R1, R4).

use std::collections::{BTreeMap, BTreeSet};

use super::proposals::Purpose;
use super::takeovers::Wait;
use super::{Agent, Output, VolumeOrder, VolumeReport};
use crate::state::{Command, State, Volume};
use crate::{DeviceId, Epoch, Generation, NodeId, Time, VolumeId};

/// What is the case here.
#[derive(Debug, Default)]
pub(super) struct Local {
    raise_ordered: Option<(Epoch, Time)>,
    replica: Option<Replica>,
    pub(super) disk_failed: bool,
    pub(super) phase: Phase,
    open_failed: Option<(Time, String)>,
    /// The set that the replication layer was last told.
    told: BTreeSet<(NodeId, DeviceId)>,
    pending: Option<Pending>,
    /// A join was given up, and the replication layer has not answered since: what it says about a union
    /// may be about that one.
    withdrawn: bool,
    /// Replicas that are fully resynced, and since when others are lost.
    synced: BTreeMap<NodeId, DeviceId>,
    lost: BTreeMap<NodeId, Loss>,
    /// Whom it could go to, and since when.
    fit: Option<(NodeId, Time)>,
    leaderless: Option<(Epoch, Time)>,
}

/// What the local replica showed when its epoch was last raised.
#[derive(Debug, Clone)]
struct Replica {
    epoch: Epoch,
    generation: Generation,
    device: DeviceId,
    consistent: bool,
}

#[derive(Debug, Clone, Copy)]
struct Loss {
    since: Time,
    disk: bool,
}

/// A replica on its way into the in-sync set.
#[derive(Debug)]
struct Pending {
    node: NodeId,
    device: DeviceId,
    union: BTreeSet<(NodeId, DeviceId)>,
    held: bool,
    again: bool,
}

/// What this node does with the volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Phase {
    #[default]
    Idle,
    Following(Epoch, NodeId),
    Opening(Epoch),
    Leading(Epoch),
    Retiring(Epoch),
    Closed(Epoch, bool),
}

impl Phase {
    /// The epoch of the handle that is, or may be, open here.
    fn holds(self) -> Option<Epoch> {
        match self {
            Self::Opening(e) | Self::Leading(e) | Self::Retiring(e) | Self::Closed(e, _) => Some(e),
            Self::Idle | Self::Following(..) => None,
        }
    }
}

impl Local {
    fn end_leadership(&mut self) {
        self.phase = Phase::Idle;
        self.pending = None;
        self.withdrawn = false;
        self.synced.clear();
        self.lost.clear();
        self.told.clear();
        self.fit = None;
    }

    /// R1: whether the replica may be opened under `v`, by its own showing.
    fn unfit(&self, v: &Volume, me: NodeId) -> Option<&'static str> {
        let Some(r) = self.replica.as_ref().filter(|r| r.epoch == v.epoch) else {
            return Some("the local replica has not raised the epoch yet");
        };
        if self.disk_failed {
            return Some("the local disk has failed");
        }
        if !v.in_sync.contains(&(me, r.device)) {
            return Some("the local device is not the one that is in sync");
        }
        if r.generation != v.generation {
            return Some("the local device is of another generation");
        }
        (!r.consistent).then_some("the local replica is in the middle of a resync")
    }
}

impl Agent {
    pub(super) fn handle_volume(&mut self, now: Time, report: VolumeReport) {
        use VolumeReport as R;
        match report {
            R::Raised { volume, epoch, generation, device, consistent } => {
                let known = self.volumes.entry(volume).or_default();
                known.withdrawn &= known.phase.holds() != Some(epoch);
                known.replica = Some(Replica { epoch, generation, device, consistent });
            }
            R::DiskFailed { volume } => self.volumes.entry(volume).or_default().disk_failed = true,
            R::Opened { volume, epoch } => {
                self.advance(&volume, Phase::Opening(epoch), Phase::Leading(epoch));
            }
            R::OpenFailed { volume, epoch, why } => self.note_failed_open(now, &volume, epoch, why),
            R::Closed { volume, epoch, clean } => {
                self.advance(&volume, Phase::Retiring(epoch), Phase::Closed(epoch, clean));
            }
            R::UnionHeld { volume, epoch, union } => self.note_union(&volume, epoch, &union),
            R::PeerSynced { volume, epoch, node, device } => {
                if let Some(local) = self.led(&volume, epoch) {
                    local.synced.insert(node, device);
                    local.lost.remove(&node);
                    // Synced anew: what was ordered before may have found it lost.
                    if let Some(p) = local.pending.as_mut().filter(|p| p.node == node) {
                        p.again |= !p.held;
                    }
                }
            }
            R::PeerLost { volume, epoch, node, disk } => {
                if let Some(local) = self.led(&volume, epoch) {
                    local.synced.remove(&node);
                    let loss = local.lost.entry(node).or_insert(Loss { since: now, disk });
                    loss.disk |= disk;
                }
            }
        }
    }

    fn advance(&mut self, name: &VolumeId, from: Phase, to: Phase) {
        if let Some(local) = self.volumes.get_mut(name).filter(|l| l.phase == from) {
            local.phase = to;
            local.open_failed = None;
        }
    }

    fn led(&mut self, name: &VolumeId, epoch: Epoch) -> Option<&mut Local> {
        self.volumes.get_mut(name).filter(|l| l.phase.holds() == Some(epoch))
    }

    fn note_failed_open(&mut self, now: Time, name: &VolumeId, epoch: Epoch, why: String) {
        if let Some(local) = self.volumes.get_mut(name).filter(|l| l.phase == Phase::Opening(epoch)) {
            local.end_leadership();
            local.open_failed = Some((now, why));
        }
    }

    fn note_union(&mut self, name: &VolumeId, epoch: Epoch, union: &BTreeSet<(NodeId, DeviceId)>) {
        let Some(pending) = self.led(name, epoch).and_then(|l| l.pending.as_mut()) else { return };
        pending.held |= pending.union == *union;
    }

    pub(super) fn reconcile_volumes(&mut self, now: Time, state: &State) {
        for (name, v) in &state.volumes {
            if v.replicas.contains_key(&self.config.me) {
                let mut local = self.volumes.remove(name).unwrap_or_default();
                self.reconcile_volume(now, state, name, v, &mut local);
                self.volumes.insert(name.clone(), local);
            }
        }
    }

    fn order(&mut self, order: VolumeOrder) {
        self.out.push_back(Output::Volume(order));
    }

    fn reconcile_volume(&mut self, now: Time, state: &State, name: &VolumeId, v: &Volume, local: &mut Local) {
        if local.phase.holds().is_some_and(|held| held < v.epoch) {
            self.abandon(name, local);
        }
        if local.replica.as_ref().is_none_or(|r| r.epoch < v.epoch) {
            if local.disk_failed && v.leader == Some(self.config.me) && local.phase.holds().is_none() {
                return self.give_up(now, state, name, v, local);
            }
            self.raise(now, name, v, local);
            return;
        }
        match v.leader {
            Some(leader) if leader == self.config.me => self.lead(now, state, name, v, local),
            Some(leader) => self.follow(name, v, leader, local),
            None => self.offer(now, state, name, v, local),
        }
    }

    fn abandon(&mut self, name: &VolumeId, local: &mut Local) {
        if let Some(epoch) = local.phase.holds() {
            self.order(VolumeOrder::Abandon { volume: name.clone(), epoch });
        }
        self.flights.forget(&Purpose::Volume(name.clone()));
        local.end_leadership();
    }

    fn raise(&mut self, now: Time, name: &VolumeId, v: &Volume, local: &mut Local) {
        let patience = self.config.outcome_within;
        let waiting = |(epoch, at): (Epoch, Time)| epoch == v.epoch && now.since(at) < patience;
        if !local.raise_ordered.is_some_and(waiting) {
            local.raise_ordered = Some((v.epoch, now));
            self.order(VolumeOrder::RaiseEpoch { volume: name.clone(), epoch: v.epoch });
        }
    }

    fn follow(&mut self, name: &VolumeId, v: &Volume, leader: NodeId, local: &mut Local) {
        let wanted = Phase::Following(v.epoch, leader);
        if local.phase != wanted {
            local.phase = wanted;
            self.order(VolumeOrder::Follow { volume: name.clone(), epoch: v.epoch, leader });
        }
    }

    // ---- no leader ----

    /// Offers this node: at once if the volume is at home here or its home cannot, else after a while.
    fn offer(&mut self, now: Time, state: &State, name: &VolumeId, v: &Volume, local: &mut Local) {
        let since = match local.leaderless {
            Some((epoch, since)) if epoch == v.epoch => since,
            _ => now,
        };
        local.leaderless = Some((v.epoch, since));
        local.phase = Phase::Idle;
        let me = self.config.me;
        if !self.serving || local.unfit(v, me).is_some() {
            return;
        }
        if v.has_in_sync(v.home) && self.home_may_come(now, state, v.home, since) {
            return;
        }
        let Some(device) = v.replicas.get(&me).copied() else { return };
        let command = Command::ElectLeader { volume: name.clone(), at: v.at(), node: me, device };
        self.propose(now, Purpose::Volume(name.clone()), command);
    }

    // ---- leading ----

    fn lead(&mut self, now: Time, state: &State, name: &VolumeId, v: &Volume, local: &mut Local) {
        if self.stint().is_none() {
            return;
        }
        match local.phase {
            Phase::Idle | Phase::Following(..) => self.try_open(now, state, name, v, local),
            Phase::Leading(_) => self.run(now, state, name, v, local),
            Phase::Closed(_, clean) => self.hand_over(now, state, name, v, (clean, local.disk_failed)),
            Phase::Opening(_) | Phase::Retiring(_) => self.unblock(now, state, name, v, local),
        }
    }

    /// Opening and closing need flushes, which wait for every copy in the set: they must hear of a copy
    /// that was thrown out meanwhile, and go on without one that is lost.
    fn unblock(&mut self, now: Time, state: &State, name: &VolumeId, v: &Volume, local: &mut Local) {
        let purpose = Purpose::Volume(name.clone());
        if self.flights.is_open(&purpose) {
            return;
        }
        self.settle_pending(state, name, v, local);
        if !self.flights.is_busy(&purpose) {
            self.drop_lost(now, name, v, local);
        }
    }

    /// Opens once the replica has drained, the earlier lease is over and the own one holds.
    fn try_open(&mut self, now: Time, state: &State, name: &VolumeId, v: &Volume, local: &mut Local) {
        let me = self.config.me;
        if local.unfit(v, me).is_some() {
            return self.give_up(now, state, name, v, local);
        }
        let waits = self.takeovers.wait(now, state, me, &v.prior) != Wait::Over;
        let retry = self.config.retry_every;
        let failed = local.open_failed.as_ref().is_some_and(|(at, _)| now.since(*at) < retry);
        if waits || failed || !self.serving {
            return;
        }
        local.phase = Phase::Opening(v.epoch);
        local.told.clone_from(&v.in_sync);
        self.order(VolumeOrder::Lead {
            volume: name.clone(),
            epoch: v.epoch,
            generation: v.generation,
            in_sync: v.in_sync.clone(),
            replicas: v.replicas.clone(),
        });
    }

    /// This node leads but cannot open (R1, R11): to another one that is in sync, if there is any.
    /// Nothing is open here, so nobody has to wait; who has not served since the last fence
    /// cannot vouch for the end of earlier leases, so it waits for them first.
    fn give_up(&mut self, now: Time, state: &State, name: &VolumeId, v: &Volume, local: &Local) {
        let over = self.takeovers.wait(now, state, self.config.me, &v.prior) == Wait::Over;
        let hopeless = local.disk_failed || local.replica.as_ref().is_some_and(|r| r.epoch == v.epoch);
        if let Some(to) = self.anyone_in_sync(state, v, local.disk_failed).filter(|_| over && hopeless) {
            self.propose_move(now, name, v, to, false);
        }
    }

    fn run(&mut self, now: Time, state: &State, name: &VolumeId, v: &Volume, local: &mut Local) {
        let purpose = Purpose::Volume(name.clone());
        if self.flights.is_open(&purpose) {
            return;
        }
        self.settle_pending(state, name, v, local);
        if self.flights.is_busy(&purpose) || self.drop_lost(now, name, v, local) {
            return;
        }
        if local.pending.is_some() {
            return self.finish_join(now, name, v, local);
        }
        if !self.begin_join(state, name, v, local) {
            self.consider_move(now, state, name, v, local);
        }
    }

    /// Tells the replication layer the committed set when it changed, and forgets a join that is done
    /// or has lost its replica.
    fn settle_pending(&mut self, state: &State, name: &VolumeId, v: &Volume, local: &mut Local) {
        let stale = |p: &Pending| {
            v.in_sync.contains(&(p.node, p.device))
                || local.synced.get(&p.node) != Some(&p.device)
                || !state.is_up_node(p.node)
                || p.again
                // A copy was thrown out meanwhile: the union would wait for it.
                || !p.union.iter().all(|m| *m == (p.node, p.device) || v.in_sync.contains(m))
        };
        let given_up = local.pending.as_ref().is_some_and(stale);
        if given_up && local.pending.take().is_some_and(|p| !v.in_sync.contains(&(p.node, p.device))) {
            local.withdrawn = true;
        }
        if given_up || (local.pending.is_none() && local.told != v.in_sync) {
            self.tell_in_sync(name, v, local);
        }
    }

    fn tell_in_sync(&mut self, name: &VolumeId, v: &Volume, local: &mut Local) {
        local.told.clone_from(&v.in_sync);
        self.order(VolumeOrder::UpdateInSync {
            volume: name.clone(),
            epoch: v.epoch,
            in_sync: v.in_sync.clone(),
            replicas: v.replicas.clone(),
        });
        if local.withdrawn {
            // Changes nothing; its answer comes after all that was said about the union before.
            self.order(VolumeOrder::RaiseEpoch { volume: name.clone(), epoch: v.epoch });
        }
    }

    /// Goes on without a replica whose disk failed, or whose node is alive but out of reach for this
    /// volume. A node that is suspected is left to the fence: in a cut, two leaders that drop each other
    /// would leave the survivor without a copy of the other's volume (R6).
    fn drop_lost(&mut self, now: Time, name: &VolumeId, v: &Volume, local: &Local) -> bool {
        // Whoever has lost its own disk cannot judge: the others may have the only good copies.
        if local.disk_failed {
            return false;
        }
        let patience = self.config.peer_patience;
        let hopeless = |n: NodeId, loss: &Loss| {
            let steady = self.detector.alive_for(now, n).is_some_and(|d| d >= patience);
            loss.disk || (steady && now.since(loss.since) >= patience)
        };
        let in_set = |n: NodeId| v.in_sync.iter().any(|(m, _)| *m == n);
        let lost = local.lost.iter().find(|(n, loss)| in_set(**n) && hopeless(**n, loss)).map(|(n, _)| *n);
        let Some(node) = lost else { return false };
        let command = Command::LeaveInSync { volume: name.clone(), at: v.at(), node };
        self.propose(now, Purpose::Volume(name.clone()), command);
        true
    }

    /// R1: before a join is proposed, acknowledgements count on the union.
    fn begin_join(&mut self, state: &State, name: &VolumeId, v: &Volume, local: &mut Local) -> bool {
        let ready = |(n, d): (&NodeId, &DeviceId)| {
            !v.in_sync.contains(&(*n, *d)) && v.replicas.get(n) == Some(d) && state.is_up_node(*n)
        };
        if local.withdrawn {
            return false;
        }
        let Some((node, device)) = local.synced.iter().find(|(n, d)| ready((n, d))).map(|(n, d)| (*n, *d))
        else {
            return false;
        };
        let mut union = v.in_sync.clone();
        union.insert((node, device));
        local.pending = Some(Pending { node, device, union: union.clone(), held: false, again: false });
        self.order(VolumeOrder::SetPending { volume: name.clone(), epoch: v.epoch, union });
        true
    }

    fn finish_join(&mut self, now: Time, name: &VolumeId, v: &Volume, local: &Local) {
        if let Some(Pending { node, device, held: true, .. }) = local.pending {
            let command = Command::JoinInSync { volume: name.clone(), at: v.at(), node, device };
            self.propose(now, Purpose::Volume(name.clone()), command);
        }
    }

    // ---- planned moves ----

    fn consider_move(&mut self, now: Time, state: &State, name: &VolumeId, v: &Volume, local: &mut Local) {
        let me = self.config.me;
        let target = self.move_target(now, state, v, local.disk_failed);
        let since = match (target, local.fit) {
            (Some(to), Some((before, since))) if to == before => since,
            _ => now,
        };
        local.fit = target.map(|to| (to, since));
        let urgent = local.disk_failed || state.members.get(&me).is_some_and(|m| m.drained);
        let waited = now.since(since) >= self.config.home_after;
        if target.is_some() && (urgent || waited) && self.serving {
            local.phase = Phase::Retiring(v.epoch);
            self.order(VolumeOrder::Retire { volume: name.clone(), epoch: v.epoch });
        }
    }

    /// Who should lead instead, if anybody.
    fn move_target(&self, now: Time, state: &State, v: &Volume, away: bool) -> Option<NodeId> {
        let me = self.config.me;
        let steady =
            |n: NodeId| self.detector.alive_for(now, n).is_some_and(|d| d >= self.config.return_after);
        let fit = |n: NodeId| n != me && state.is_welcome(n) && v.has_in_sync(n) && steady(n);
        if away {
            return self.anyone_in_sync(state, v, true);
        }
        if v.home != me && fit(v.home) {
            return Some(v.home);
        }
        let drained = state.members.get(&me).is_some_and(|m| m.drained);
        let rank = |n: &NodeId| (state.led_by(*n), *n);
        v.replicas.keys().copied().filter(|n| drained && fit(*n)).min_by_key(rank)
    }

    /// With the disk here failed, also one that is silent: it has all the mail, and if it is fenced next, the
    /// volume waits for it instead of for a dead disk.
    fn anyone_in_sync(&self, state: &State, v: &Volume, disk_failed: bool) -> Option<NodeId> {
        let alive = |n: NodeId| self.detector.is_alive(n);
        let fit = |n: &NodeId| {
            *n != self.config.me && state.is_up_node(*n) && v.has_in_sync(*n) && (disk_failed || alive(*n))
        };
        let rank = |n: &NodeId| (!alive(*n), !state.is_welcome(*n), *n != v.home, *n);
        v.replicas.keys().copied().filter(fit).min_by_key(rank)
    }

    /// The device is closed: to the target, or, if there is none any more, open it again here.
    fn hand_over(
        &mut self,
        now: Time,
        state: &State,
        name: &VolumeId,
        v: &Volume,
        (clean, disk_failed): (bool, bool),
    ) {
        let target = self.move_target(now, state, v, disk_failed);
        // Not back to a failed disk: that would throw the good copies out.
        if let Some(to) = target.or((!disk_failed).then_some(self.config.me)) {
            self.propose_move(now, name, v, to, clean);
        }
    }

    fn propose_move(&mut self, now: Time, name: &VolumeId, v: &Volume, to: NodeId, clean: bool) {
        let from = self.config.me;
        let command = Command::MoveVolume { volume: name.clone(), at: v.at(), from, to, clean };
        self.propose(now, Purpose::Volume(name.clone()), command);
    }

    // ---- for the status ----

    /// What this node does with the volume, and what it waits for.
    pub(super) fn explain_volume(
        &self,
        now: Time,
        state: &State,
        name: &VolumeId,
        v: &Volume,
    ) -> (String, Option<String>) {
        let idle = Local::default();
        let local = self.volumes.get(name).unwrap_or(&idle);
        let doing = match local.phase {
            Phase::Idle => "idle",
            Phase::Following(..) => "following",
            Phase::Opening(_) => "opening",
            Phase::Leading(_) => "leading",
            Phase::Retiring(_) | Phase::Closed(..) => "moving",
        };
        (doing.to_owned(), self.why_volume_waits(now, state, v, local))
    }

    fn why_volume_waits(&self, now: Time, state: &State, v: &Volume, local: &Local) -> Option<String> {
        let me = self.config.me;
        match v.leader {
            None if v.in_sync.iter().all(|(n, _)| !state.is_up_node(*n)) => {
                let names: Vec<String> = v.in_sync.iter().map(|(n, _)| state.name_of(*n)).collect();
                Some(format!("no node with all of its mail is in: waits for {}", names.join(" or ")))
            }
            None => Some("waits for an election".to_owned()),
            Some(leader) if leader != me => None,
            Some(_) if matches!(local.phase, Phase::Leading(_)) => None,
            Some(_) => local
                .unfit(v, me)
                .map(str::to_owned)
                .or_else(|| self.explain_wait(now, state, &v.prior))
                .or_else(|| local.open_failed.as_ref().map(|(_, why)| why.clone()))
                .or_else(|| (!self.serving).then(|| "waits for this node's own lease".to_owned())),
        }
    }
}

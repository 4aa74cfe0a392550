//! Who leads, who writes through the other machine, and what is exported here.
//!
//! One machine *leads*: it puts all writes into one order. The operator says which, with `promote`; only the *heir* of a
//! leader that ended in order, or whose disk failed, and that was in sync, takes over by itself. The device may be
//! *wanted* here, on both machines with `dual`, without this one leading: then it goes through the other machine.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use posthaste_blockrepl::core::{LinkStatus, RoleStatus, Status};
use posthaste_blockrepl::nbd::{Export, Limits, Server, Trim};
use posthaste_blockrepl::{BlockDevice, Denied, DeviceError, Grant, Member, NodeId};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::config::{Discard, OnDiskError, OnPeerLoss, Pair};
use crate::daemon::Daemon;
use crate::device::Switch;
use crate::export::Serving;
use crate::tls;

/// `on_peer_loss = "continue"`: how long the other machine may be away before.
const PEER_LOSS: Duration = Duration::from_secs(3);
/// A program that could not fence the other machine is asked again after this time.
const FENCE_AGAIN: Duration = Duration::from_secs(10);
/// After the failure of its disk a machine's clients wait this long for the other machine to take over.
const HAND_OVER: Duration = Duration::from_secs(10);
const JOIN_WAIT: Duration = Duration::from_secs(1);
/// A leader that does not name this machine as a writer yet is asked again after this time.
const JOIN_EVERY: Duration = Duration::from_millis(200);

/// What this machine does.
#[derive(Default)]
pub(crate) struct Place {
    /// The device is to be exported here.
    pub(crate) wanted: bool,
    pub(crate) leading: Option<Leading>,
    /// What the clients hold.
    pub(crate) exported: Option<Arc<Switch>>,
    /// The next handle takes the place of the one before it, and the clients stay.
    pub(crate) hands_over: bool,
    asked_to_join: Option<Instant>,
    serving: Option<Serving>,
    /// The snapshots that are exported.
    snapshots: Vec<u64>,
    /// The exports are others than those that are served.
    changed: bool,
    said: String,
}

pub(crate) struct Leading {
    pub(crate) grant: Grant,
    pub(crate) device: Arc<dyn BlockDevice>,
    /// Only because the other machine's disk failed: the device is exported there.
    pub(crate) for_peer: bool,
    /// Since when the other machine, which is waited for, is away.
    lost: Option<Instant>,
    /// The operator's program sees to it that it does not lead, or was asked when.
    fencing: Option<Fencing>,
}

enum Fencing {
    Asked(Asked),
    Refused(Instant),
}

/// The program ends when nobody waits for what it says: the other machine is back, or this one leads no more.
struct Asked(JoinHandle<Result<(), String>>);

impl Drop for Asked {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Place {
    pub(crate) fn new(wanted: bool) -> Self {
        Place { wanted, ..Place::default() }
    }

    /// What the clients hold ends, and with it their connections.
    pub(crate) fn end_export(&mut self, why: DeviceError) {
        self.hands_over = false;
        if let Some(switch) = self.exported.take() {
            switch.end(why);
            self.changed = true;
            if let Some(serving) = &self.serving {
                serving.hang_up();
            }
        }
    }

    pub(crate) fn close(&mut self) {
        self.leading = None;
        self.exported = None;
        self.serving = None;
    }
}

impl Daemon {
    /// What goes by itself.
    pub(crate) async fn look(&self) {
        let place = &mut *self.place.lock().await;
        let status = self.volume().status();
        match (&place.leading, status.role) {
            (Some(_), RoleStatus::Leader) => self.keep_grant(place, &status).await,
            (Some(_), role) => self.leads_no_more(place, role),
            (None, _) if self.inherits(place, &status) => self.take_over(place, &status).await,
            (None, _) => self.join_leader(place, &status).await,
        }
        let over = place.exported.as_ref().filter(|_| place.hands_over).and_then(|s| s.held());
        if over.is_some_and(|held| held > HAND_OVER) {
            eprintln!("nbd-pair: no other machine took over: the clients are sent away");
            place.wanted &= self.pair.dual;
            place.end_export(DeviceError::Failed("the disk failed, and no other machine took over".into()));
        }
        if let Err(why) = self.list(place).await
            && place.said != why
        {
            eprintln!("nbd-pair: {why}");
            place.said = why;
        }
    }

    fn others(&self, yes: bool) -> BTreeSet<NodeId> {
        yes.then_some(self.pair.peer.id).into_iter().collect()
    }

    /// A leader takes the other machine in when it is in step, leaves it out by policy, and lets it write when it should.
    async fn keep_grant(&self, place: &mut Place, status: &Status) {
        let Some(leading) = &mut place.leading else { return };
        let peer = self.peer(status);
        let link = peer.map_or(LinkStatus::Down, |p| p.link);
        let diskless = link != LinkStatus::Down && peer.is_some_and(|p| p.is_diskless());
        let counted = leading.grant.in_sync.contains(&self.pair.peer.member());
        let waited_for = counted || !leading.grant.writers.is_empty();
        let lost = waited_for && link == LinkStatus::Down;
        let since = leading.lost.get_or_insert_with(Instant::now).elapsed();
        if !lost {
            // What was done about an earlier loss says nothing of a later one.
            (leading.lost, leading.fencing) = (None, None);
        }
        let gives_up = lost && self.pair.on_peer_loss == OnPeerLoss::Continue && since >= PEER_LOSS;
        let given_up = gives_up && self.has_fenced(leading).await;
        let result = match () {
            () if given_up => self.go_on_alone(leading),
            // It said itself that it has no copy.
            () if counted && diskless && self.pair.on_disk_error == OnDiskError::Detach => {
                let writers = leading.grant.writers.clone();
                self.regrant(leading, [self.pair.me.member()].into(), writers)
            }
            () if link == LinkStatus::Down => Ok(()),
            () => {
                let in_sync =
                    if link == LinkStatus::Synced { self.pair.both() } else { leading.grant.in_sync.clone() };
                let writers = self.others(self.pair.dual || leading.for_peer);
                self.regrant(leading, in_sync, writers)
            }
        };
        result.unwrap_or_else(|why| eprintln!("nbd-pair: {why}"));
    }

    /// Whether the operator's program, if there is one, has seen to it that the other machine does not lead. Nothing
    /// waits for the program; one that refuses is asked again after a while.
    async fn has_fenced(&self, leading: &mut Leading) -> bool {
        if !self.handlers.fences() {
            return true;
        }
        match &mut leading.fencing {
            Some(Fencing::Refused(at)) if at.elapsed() < FENCE_AGAIN => {}
            Some(Fencing::Asked(Asked(asked))) if !asked.is_finished() => {}
            Some(Fencing::Asked(Asked(asked))) => match asked.await {
                Ok(Ok(())) => {
                    leading.fencing = None;
                    return true;
                }
                why => {
                    let why =
                        why.map_or_else(|why| why.to_string(), |refused| refused.err().unwrap_or_default());
                    eprintln!("nbd-pair: {why}: the other machine is waited for");
                    leading.fencing = Some(Fencing::Refused(Instant::now()));
                }
            },
            None | Some(Fencing::Refused(_)) => {
                let asked = tokio::spawn(self.handlers.clone().fence_peer());
                leading.fencing = Some(Fencing::Asked(Asked(asked)));
            }
        }
        false
    }

    pub(crate) fn regrant(
        &self,
        leading: &mut Leading,
        in_sync: BTreeSet<Member>,
        writers: BTreeSet<NodeId>,
    ) -> Result<(), String> {
        if in_sync == leading.grant.in_sync && writers == leading.grant.writers {
            return Ok(());
        }
        let shrinks = !in_sync.is_superset(&leading.grant.in_sync);
        let generation = leading.grant.generation + u64::from(shrinks);
        let grant = Grant { in_sync: in_sync.clone(), generation, writers, ..leading.grant.clone() };
        let volume = self.volume();
        volume
            .set_pending(Some(in_sync))
            .and_then(|()| volume.set_grant(grant.clone()))
            .map_err(|e| e.to_string())?;
        leading.grant = grant;
        if shrinks {
            self.handlers.out_of_sync();
        }
        Ok(())
    }

    /// The other machine is neither waited for nor does it write.
    pub(crate) fn go_on_alone(&self, leading: &mut Leading) -> Result<(), String> {
        self.regrant(leading, [self.pair.me.member()].into(), BTreeSet::new())?;
        eprintln!("nbd-pair: node {} goes on alone", self.pair.me.id);
        Ok(())
    }

    /// By a failed disk, or because the other machine was promoted.
    pub(crate) fn leads_no_more(&self, place: &mut Place, role: RoleStatus) {
        let Some(leading) = place.leading.take() else { return };
        eprintln!("nbd-pair: node {} leads no more", self.pair.me.id);
        let heir = leading.grant.in_sync.contains(&self.pair.peer.member());
        let detach = self.pair.on_disk_error == OnDiskError::Detach;
        place.hands_over = role == RoleStatus::Failed && detach && heir && place.exported.is_some();
        if !place.hands_over {
            place.wanted &= self.pair.dual;
            let held = leading.grant.epoch;
            place.end_export(DeviceError::Fenced { held, current: held + 1 });
        }
    }

    /// Whether this copy is the one to lead now, without being asked.
    fn inherits(&self, place: &Place, status: &Status) -> bool {
        let detach = self.pair.on_disk_error == OnDiskError::Detach;
        status.role == RoleStatus::Follower
            && status.consistent
            && status.heir.is_some_and(|heir| place.wanted || heir.disk_failed && detach)
    }

    async fn take_over(&self, place: &mut Place, status: &Status) {
        eprintln!("nbd-pair: node {} takes over", self.pair.me.id);
        place.hands_over = place.exported.is_some();
        let for_peer = !place.wanted;
        if let Err(why) = self.lead(place, status, for_peer).await {
            eprintln!("nbd-pair: {why}");
            place.hands_over = false;
        }
    }

    /// R1: a takeover begins alone; the other machine is taken in as soon as it is in step.
    pub(crate) async fn lead(
        &self,
        place: &mut Place,
        status: &Status,
        for_peer: bool,
    ) -> Result<u64, String> {
        let volume = self.volume();
        volume.set_protocol(self.pair.peer.id, self.pair.protocol);
        let epoch = self.pair.next_epoch(status.known_epoch);
        let raised = volume.raise_epoch(epoch).await.map_err(|e| e.to_string())?;
        let in_sync = [self.pair.me.member()].into();
        let writers = self.others(self.pair.dual || for_peer);
        let grant = Grant::new(epoch, self.pair.me.id, in_sync, raised.generation + 1).with_writers(writers);
        let device = volume.lead(grant.clone()).await.map_err(|e| e.to_string())?;
        if place.wanted {
            self.export(place, device.clone());
            if let Err(why) = self.list(place).await {
                place.end_export(DeviceError::Fenced { held: epoch, current: epoch });
                drop(volume.raise_epoch(Pair::last_epoch(epoch)).await);
                return Err(why);
            }
        }
        place.leading = Some(Leading { grant, device, for_peer, lost: None, fencing: None });
        eprintln!("nbd-pair: node {} leads epoch {epoch}", self.pair.me.id);
        Ok(epoch)
    }

    /// Writes through the other machine, where that leads.
    async fn join_leader(&self, place: &mut Place, status: &Status) {
        let leads = self.peer(status).is_some_and(|p| p.link == LinkStatus::Leader);
        let asked = place.asked_to_join.is_some_and(|at| at.elapsed() < JOIN_EVERY);
        if !place.wanted || !leads || asked || status.session.is_some() {
            return;
        }
        place.asked_to_join = Some(Instant::now());
        match timeout(JOIN_WAIT, self.volume().join(status.known_epoch)).await {
            Ok(Ok(device)) => {
                eprintln!("nbd-pair: node {} writes through node {}", self.pair.me.id, self.pair.peer.id);
                self.export(place, device);
            }
            // It will be named when the leader has seen it.
            Ok(Err(Denied::NotWriter { .. })) | Err(_) => {}
            Ok(Err(why)) => eprintln!("nbd-pair: {why}"),
        }
    }

    /// The clients go on with this handle, or there are none yet.
    pub(crate) fn export(&self, place: &mut Place, device: Arc<dyn BlockDevice>) {
        let hands_over = std::mem::take(&mut place.hands_over);
        if let Some(switch) = place.exported.as_ref().filter(|_| hands_over)
            && switch.put(device.clone())
        {
            return;
        }
        // Whoever was left out has missed what others did meanwhile.
        let epoch = device.epoch();
        place.end_export(DeviceError::Fenced { held: epoch, current: epoch });
        let lasting = self.pair.dual || self.pair.on_disk_error == OnDiskError::Detach;
        place.exported = Some(Arc::new(Switch::new(device, self.pair.write_through, lasting)));
        place.changed = true;
    }

    /// Listens for NBD clients while there is anything to export: the device, and copies that were given up.
    pub(crate) async fn list(&self, place: &mut Place) -> Result<(), String> {
        if place.exported.as_ref().is_some_and(|s| s.has_ended()) {
            place.end_export(DeviceError::Fenced { held: 0, current: 0 });
        }
        let volume = self.volume();
        let snapshots: Vec<u64> = volume.snapshots().iter().map(|s| s.id).collect();
        let exports = usize::from(place.exported.is_some()) + snapshots.len();
        if exports == 0 {
            place.snapshots = snapshots;
            return place.serving.take().map_or(Ok(()), |serving| {
                serving.end();
                Ok(())
            });
        }
        if place.serving.is_some() && !place.changed && place.snapshots == snapshots {
            return Ok(());
        }
        let server = self.server(place, &snapshots)?;
        match &place.serving {
            Some(serving) => serving.change(server),
            None => {
                let tls = self.pair.tls.as_ref().map(tls::acceptor).transpose()?;
                place.serving = Some(Serving::start(server, &self.pair.me.nbd, tls).await?);
            }
        }
        (place.snapshots, place.changed) = (snapshots, false);
        Ok(())
    }

    fn server(&self, place: &Place, snapshots: &[u64]) -> Result<Server, String> {
        let mut exports = Vec::new();
        if let Some(switch) = &place.exported {
            let mut export = Export::new(&self.pair.export, switch.clone());
            export.trim = match self.pair.discard {
                Discard::Ignore => Trim::Ignore,
                Discard::Zero | Discard::Free => Trim::Zero,
            };
            export.description = match &self.pair.dual {
                true => "on both machines".into(),
                false => format!("led by node {}", self.pair.me.id),
            };
            exports.push(export);
        }
        let volume = self.volume();
        for id in snapshots {
            let device = volume.open_snapshot(*id).map_err(|e| e.to_string())?;
            let mut export = Export::new(&format!("{}-snapshot-{id}", self.pair.export), device);
            export.read_only = true;
            export.description = "a copy that was given up".into();
            exports.push(export);
        }
        let limits = Limits { connections: 16, ..Limits::default() };
        Server::with_limits(exports, limits).map_err(|e| e.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Two, ended};

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_program_that_fences_ends_when_nobody_waits_for_its_word_any_more() {
        let hangs = "sleep 1000 & echo $! >child; mv child child-$(ls | grep -c child); wait";
        let mut two = Two::new(hangs, |pair| pair.on_peer_loss = OnPeerLoss::Continue).await;
        // The other machine comes back; or this one leads no more.
        for (name, comes_back) in [("child-1", true), ("child-2", false)] {
            two.cut().await;
            two.daemon.look().await;
            two.daemon.place.lock().await.leading.as_mut().unwrap().lost =
                Instant::now().checked_sub(PEER_LOSS);
            two.daemon.look().await;
            let child = two.child(name).await;
            if comes_back {
                two.connect().await;
            } else {
                let epoch = two.daemon.pair.next_epoch(two.daemon.volume().status().known_epoch);
                two.daemon.volume().raise_epoch(epoch).await.unwrap();
            }
            two.daemon.look().await;
            ended(&child).await;
            assert_eq!(two.waits_for_the_other().await, comes_back);
        }
    }
}

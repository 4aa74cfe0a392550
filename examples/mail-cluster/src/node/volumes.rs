//! Carrying out the agent's orders about volumes: raise, lead, follow, retire.
//!
//! Each volume has a task of its own, so that one slow disk holds up no other volume. Opening the file
//! store needs flushes, and those may need orders that come later (a grant without a dead peer):
//! so opening and closing run beside the task, which goes on taking orders.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use posthaste_blockrepl::core::{Event, LinkStatus};
use posthaste_blockrepl::{self as repl, BlockDevice};
use posthaste_clusterfs::{FormatOptions, Fs, OpenError, OpenOptions};
use posthaste_heartbeat::agent::{Input, VolumeOrder, VolumeReport};
use posthaste_heartbeat::consensus::Consensus;
use posthaste_heartbeat::lease::LeaseFlag;
use posthaste_heartbeat::state::{Command, Expect};
use posthaste_heartbeat::{DeviceId, Epoch, Generation, NodeId, VolumeId, clock};
use posthaste_mail_server::store::MailStore;
use tokio::sync::{broadcast, mpsc};
use tokio::task::JoinHandle;

use super::led::{Led, LedVolumes};
use super::quorum::AgentHandle;
use super::replica::Replica;
use super::route::RoutedStore;
use super::spool;

type Members = BTreeSet<(NodeId, DeviceId)>;

/// What the tasks of all volumes share.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) me: NodeId,
    pub(crate) hostname: Arc<str>,
    pub(crate) agent: AgentHandle,
    pub(crate) led: LedVolumes,
    pub(crate) lease: LeaseFlag,
    pub(crate) store: RoutedStore,
    pub(crate) consensus: Arc<dyn Consensus>,
    pub(crate) log_sizes: Arc<HashMap<VolumeId, u64>>,
    /// Open file stores, for the status report.
    pub(crate) open: OpenStores,
}

/// The file stores that are open here.
#[derive(Clone, Default)]
pub(crate) struct OpenStores(Arc<std::sync::Mutex<HashMap<VolumeId, Arc<Fs>>>>);

impl OpenStores {
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<VolumeId, Arc<Fs>>> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The open store of a volume.
    pub(crate) fn find(&self, volume: &VolumeId) -> Option<Arc<Fs>> {
        self.lock().get(volume).cloned()
    }
}

/// Passes orders to the volumes' tasks, in order, until the agent ends.
pub(crate) async fn keep(
    replicas: Vec<Replica>,
    shared: Shared,
    mut orders: mpsc::UnboundedReceiver<VolumeOrder>,
) {
    let start = |replica: Replica| {
        let (queue, orders) = mpsc::unbounded_channel();
        let name = replica.name.clone();
        tokio::spawn(Keeper::new(replica, shared.clone()).run(orders));
        (name, queue)
    };
    let queues: HashMap<VolumeId, _> = replicas.into_iter().map(start).collect();
    while let Some(order) = orders.recv().await {
        match queues.get(volume_of(&order)) {
            Some(queue) => drop(queue.send(order)),
            None => tracing::warn!(?order, "an order about a volume that has no copy here"),
        }
    }
}

fn volume_of(order: &VolumeOrder) -> &VolumeId {
    match order {
        VolumeOrder::RaiseEpoch { volume, .. }
        | VolumeOrder::Lead { volume, .. }
        | VolumeOrder::SetPending { volume, .. }
        | VolumeOrder::UpdateInSync { volume, .. }
        | VolumeOrder::Follow { volume, .. }
        | VolumeOrder::Retire { volume, .. }
        | VolumeOrder::Abandon { volume, .. } => volume,
        _ => unreachable!("an order of a newer agent"),
    }
}

/// The task of one volume.
struct Keeper {
    replica: Replica,
    shared: Shared,
    /// The leadership that is wanted here, from its order until it is retired or abandoned.
    leading: Option<Leading>,
}

struct Leading {
    epoch: Epoch,
    in_sync: Members,
    /// Grows when the set loses a copy: what is written from then on is not there.
    generation: u64,
    device: Option<Arc<dyn BlockDevice>>,
    /// Opens, then distributes the spool. Ended with the leadership.
    task: Option<JoinHandle<()>>,
}

impl Keeper {
    fn new(replica: Replica, shared: Shared) -> Self {
        Self { replica, shared, leading: None }
    }

    async fn run(mut self, mut orders: mpsc::UnboundedReceiver<VolumeOrder>) {
        let mut events = self.replica.volume.events();
        loop {
            tokio::select! {
                order = orders.recv() => match order {
                    Some(order) => self.obey(order).await,
                    None => return self.abandon(),
                },
                event = events.recv() => match event {
                    Ok(event) => self.hear(event),
                    Err(broadcast::error::RecvError::Lagged(_)) => self.look_around(),
                    Err(broadcast::error::RecvError::Closed) => return self.abandon(),
                },
            }
        }
    }

    fn report(&self, report: VolumeReport) {
        tracing::debug!(?report, "volume");
        self.shared.agent.tell(Input::Volume(report));
    }

    async fn obey(&mut self, order: VolumeOrder) {
        tracing::debug!(?order, "volume");
        match order {
            VolumeOrder::RaiseEpoch { epoch, .. } => self.raise(epoch).await,
            VolumeOrder::Lead { epoch, in_sync, .. } => self.lead(epoch, in_sync).await,
            VolumeOrder::SetPending { epoch, union, .. } => self.set_pending(epoch, union),
            VolumeOrder::UpdateInSync { epoch, in_sync, .. } => self.update(epoch, in_sync),
            VolumeOrder::Follow { epoch, .. } => self.follow(epoch).await,
            VolumeOrder::Retire { epoch, .. } => self.retire(epoch),
            VolumeOrder::Abandon { epoch, .. } if self.leading.as_ref().is_some_and(|l| l.epoch <= epoch) => {
                self.abandon()
            }
            _ => {}
        }
    }

    async fn raise(&mut self, epoch: Epoch) {
        if self.leading.as_ref().is_some_and(|leading| leading.epoch < epoch) {
            self.abandon();
        }
        match self.replica.volume.raise_epoch(epoch.0).await {
            Ok(raised) => {
                let rolled_back = !raised.consistent
                    && raised.can_roll_back
                    && self.is_to_lead(epoch)
                    && {
                        tracing::warn!(volume = %self.replica.name, %epoch, "the leader is gone in the midst of a resync: going back to the state before it");
                        self.replica.volume.rollback().await.is_ok()
                    };
                self.report(VolumeReport::Raised {
                    volume: self.replica.name.clone(),
                    epoch: Epoch(raised.epoch),
                    // Nobody can override the quorum yet (R8): there is one history.
                    generation: Generation::default(),
                    device: DeviceId(u128::from_be_bytes(raised.device.0)),
                    consistent: raised.consistent || rolled_back,
                });
            }
            Err(error) => {
                tracing::warn!(volume = %self.replica.name, %epoch, %error, "cannot raise the epoch")
            }
        }
    }

    /// Whether the quorum counts this copy as in sync and wants it to lead in this epoch. If it was being
    /// resynced all the same, after a break of its link, the state before that holds all that was
    /// acknowledged (R9): its leader acknowledged nothing without it.
    fn is_to_lead(&self, epoch: Epoch) -> bool {
        let (state, me) = (self.shared.store.state(), self.shared.me);
        let volume = state.volumes.get(&self.replica.name);
        volume.is_some_and(|v| {
            v.epoch == epoch && v.leader == Some(me) && v.in_sync.contains(&(me, self.replica.device))
        })
    }

    async fn follow(&mut self, epoch: Epoch) {
        if self.leading.as_ref().is_some_and(|leading| leading.epoch < epoch) {
            self.abandon();
        }
        if let Err(error) = self.replica.volume.follow(epoch.0).await {
            tracing::warn!(volume = %self.replica.name, %epoch, %error, "cannot follow");
        }
    }

    async fn lead(&mut self, epoch: Epoch, in_sync: Members) {
        self.abandon();
        let generation = self.first_generation(epoch, &in_sync);
        let grant = self.grant(epoch, &in_sync, generation);
        let device = match self.replica.volume.lead(grant).await {
            Ok(device) => device,
            Err(error) => return self.report_failure(epoch, error.to_string()),
        };
        let task = tokio::spawn(open_and_serve(
            self.replica.clone(),
            self.shared.clone(),
            epoch,
            Arc::clone(&device),
        ));
        self.leading = Some(Leading { epoch, in_sync, generation, device: Some(device), task: Some(task) });
    }

    fn report_failure(&self, epoch: Epoch, why: String) {
        tracing::error!(volume = %self.replica.name, %epoch, why, "cannot open the volume");
        self.report(VolumeReport::OpenFailed { volume: self.replica.name.clone(), epoch, why });
    }

    /// A takeover, alone in the set, begins a generation; a planned move with its whole set goes on
    /// with the one that all of them have.
    fn first_generation(&self, epoch: Epoch, in_sync: &Members) -> u64 {
        let own = self.replica.volume.status().generation.generation;
        if in_sync.len() == 1 || own == 0 { epoch.0 << 20 } else { own }
    }

    fn grant(&self, epoch: Epoch, in_sync: &Members, generation: u64) -> repl::Grant {
        let leader = repl::NodeId(self.shared.me.0);
        repl::Grant { epoch: epoch.0, leader, in_sync: members(in_sync), generation }
    }

    fn set_pending(&mut self, epoch: Epoch, union: Members) {
        let Some(leading) = self.leading.as_ref().filter(|l| l.epoch == epoch) else { return };
        if let Err(error) = self.replica.volume.set_pending(Some(members(&union))) {
            tracing::info!(volume = %self.replica.name, %error, "a copy cannot be proposed as in sync now");
            return;
        }
        let Some(device) = leading.device.clone() else { return };
        let (agent, volume) = (self.shared.agent.clone(), self.replica.name.clone());
        tokio::task::spawn_blocking(move || {
            // What was acknowledged before must be durable on the union too (R1).
            if device.flush().is_ok() {
                agent.tell(Input::Volume(VolumeReport::UnionHeld { volume, epoch, union }));
            }
        });
    }

    fn update(&mut self, epoch: Epoch, in_sync: Members) {
        let Some(leading) = self.leading.as_mut().filter(|l| l.epoch == epoch) else { return };
        if leading.in_sync.difference(&in_sync).next().is_some() {
            leading.generation += 1;
        }
        leading.in_sync = in_sync.clone();
        let generation = leading.generation;
        if let Err(error) = self.replica.volume.set_grant(self.grant(epoch, &in_sync, generation)) {
            tracing::warn!(volume = %self.replica.name, %epoch, %error, "the in-sync set was not taken");
        }
    }

    /// Ends the leadership in order: no operation begins, those that run end, all is flushed.
    fn retire(&mut self, epoch: Epoch) {
        let Some(leading) = self.leading.take_if(|l| l.epoch == epoch) else {
            let volume = self.replica.name.clone();
            return self.report(VolumeReport::Closed { volume, epoch, clean: false });
        };
        let (shared, volume) = (self.shared.clone(), self.replica.name.clone());
        tokio::spawn(async move {
            let clean = close(&shared, &volume, leading).await;
            shared.agent.tell(Input::Volume(VolumeReport::Closed { volume, epoch, clean }));
        });
    }

    /// Ends the leadership at once: nothing of it is written or acknowledged any more.
    fn abandon(&mut self) {
        let Some(leading) = self.leading.take() else { return };
        tracing::info!(volume = %self.replica.name, epoch = %leading.epoch, "leadership is over");
        self.shared.led.end(&self.replica.name);
        if let Some(task) = leading.task {
            task.abort();
        }
        let fs = self.shared.open.lock().remove(&self.replica.name);
        // Dropping a file store joins its thread, which may wait for the disk.
        tokio::task::spawn_blocking(move || drop((fs, leading.device)));
    }

    fn hear(&mut self, event: Event) {
        tracing::debug!(volume = %self.replica.name, ?event, "replica");
        match event {
            Event::PeerSynced { peer, device } => self.peer_synced(peer, device),
            // Also of one that is not in the set: it must not be taken for synced when its node returns.
            Event::PeerLost { peer, .. } => self.peer_lost(peer, false),
            Event::RefusedBy { peer, why } => {
                tracing::warn!(volume = %self.replica.name, peer = peer.0, ?why, "a copy refuses this leader");
            }
            Event::Diverged { peer, .. } => {
                tracing::error!(volume = %self.replica.name, peer = peer.0, "a copy has diverged; an operator must choose");
            }
            Event::Fenced { held, .. } if self.leading.as_ref().is_some_and(|l| l.epoch.0 == held) => {
                self.abandon()
            }
            Event::DiskFailed { reason } => {
                tracing::error!(volume = %self.replica.name, %reason, "the disk has failed");
                self.report(VolumeReport::DiskFailed { volume: self.replica.name.clone() });
            }
            _ => {}
        }
    }

    fn peer_synced(&self, peer: repl::NodeId, device: repl::DeviceId) {
        let Some(leading) = &self.leading else { return };
        self.report(VolumeReport::PeerSynced {
            volume: self.replica.name.clone(),
            epoch: leading.epoch,
            node: NodeId(peer.0),
            device: DeviceId(u128::from_be_bytes(device.0)),
        });
    }

    fn peer_lost(&self, peer: repl::NodeId, disk: bool) {
        let Some(leading) = &self.leading else { return };
        let (volume, epoch) = (self.replica.name.clone(), leading.epoch);
        self.report(VolumeReport::PeerLost { volume, epoch, node: NodeId(peer.0), disk });
    }

    /// Events were missed: what the status says takes their place.
    fn look_around(&self) {
        for peer in self.replica.volume.status().peers {
            match peer.link {
                LinkStatus::Synced => self.peer_synced(peer.node, peer.device),
                LinkStatus::Down => self.peer_lost(peer.node, false),
                _ => {}
            }
        }
    }
}

fn members(set: &Members) -> repl::MemberSet {
    let member = |(node, device): &(NodeId, DeviceId)| repl::Member {
        node: repl::NodeId(node.0),
        device: repl::DeviceId(device.0.to_be_bytes()),
    };
    set.iter().map(member).collect()
}

/// Opens the file store on the device and serves the volume until the task is aborted.
async fn open_and_serve(replica: Replica, shared: Shared, epoch: Epoch, device: Arc<dyn BlockDevice>) {
    let volume = replica.name.clone();
    let log_size = shared.log_sizes.get(&volume).copied();
    let name = volume.as_str().to_owned();
    let may_format = !shared.store.state().kv.contains_key(&formatted_key(&volume));
    let begun = std::time::Instant::now();
    let on = Arc::clone(&device);
    let opened = tokio::task::spawn_blocking(move || open_fs(&on, &name, log_size, may_format)).await;
    let fs = match opened.map_err(|e| e.to_string()).and_then(|opened| opened) {
        Ok(fs) => Arc::new(fs),
        Err(why) => {
            tracing::error!(%volume, %epoch, why, "cannot open the volume");
            return shared.agent.tell(Input::Volume(VolumeReport::OpenFailed { volume, epoch, why }));
        }
    };
    tracing::info!(%volume, %epoch, took_ms = begun.elapsed().as_millis() as u64, "leading");
    let store: Arc<dyn MailStore> = super::store_on(Arc::clone(&fs), &shared.hostname);
    let lease = shared.lease.clone();
    let guard = Arc::new(move || lease.is_valid(clock::now()));
    shared.open.lock().insert(volume.clone(), fs);
    shared.led.begin(Led::new(volume.clone(), epoch, store, guard));
    shared.agent.tell(Input::Volume(VolumeReport::Opened { volume: volume.clone(), epoch }));
    if may_format {
        remember_formatted(&shared, &volume).await;
    }
    spool::run(volume, shared.store.clone()).await;
}

fn formatted_key(volume: &VolumeId) -> String {
    format!("volume/{volume}/formatted")
}

/// The quorum remembers that the volume holds a file store: from then on a device that shows none is
/// damaged, not new.
async fn remember_formatted(shared: &Shared, volume: &VolumeId) {
    let put = || Command::Put { key: formatted_key(volume), value: Vec::new(), expect: Expect::Anything };
    while let Err(error) = shared.consensus.propose(put()).await {
        tracing::debug!(%volume, %error, "not remembered yet");
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
}

/// The file store of the volume; a new one only where the quorum knows of none.
fn open_fs(
    device: &Arc<dyn BlockDevice>,
    name: &str,
    log_size: Option<u64>,
    may_format: bool,
) -> Result<Fs, String> {
    let options = || OpenOptions { expect_volume: Some(name.to_owned()), ..OpenOptions::default() };
    match Fs::open_with(Arc::clone(device), options()) {
        Err(OpenError::NotFormatted) if may_format => {
            let mut format = FormatOptions::new(name);
            format.log_bytes = log_size.or(format.log_bytes);
            Fs::format(Arc::clone(device), &format).map_err(|e| e.to_string())?;
            Fs::open_with(Arc::clone(device), options()).map_err(|e| e.to_string())
        }
        opened => opened.map_err(|e| e.to_string()),
    }
}

/// Ends operations, closes the file store; whether all was flushed to every in-sync copy.
async fn close(shared: &Shared, volume: &VolumeId, leading: Leading) -> bool {
    if let Some(task) = leading.task {
        task.abort();
        let _ = task.await;
    }
    if let Some(led) = shared.led.end(volume) {
        led.quiesce().await;
    }
    let fs = shared.open.lock().remove(volume);
    let device = leading.device;
    let closed = tokio::task::spawn_blocking(move || {
        let clean = fs.is_none_or(|fs| fs.close().is_ok());
        drop(device);
        clean
    });
    closed.await.unwrap_or(false)
}

//! Carrying out the agent's orders about volumes: raise, lead, follow, retire.
//!
//! Each volume has a task of its own, so that one slow disk holds up no other volume. Opening the file
//! store needs flushes, and those may need orders that come later (a grant without a dead peer):
//! so opening and closing run beside the task, which goes on taking orders.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use posthaste_blockrepl::core::{Event, LinkStatus, RoleStatus};
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
    /// Copies whose disk keeps a flush waiting, as reported.
    slow: BTreeSet<NodeId>,
    ended: mpsc::UnboundedSender<Ended>,
    endings: Option<mpsc::UnboundedReceiver<Ended>>,
}

/// What ran beside the task has ended.
enum Ended {
    /// The flush that a pending union needs; `union_no` says which.
    Union {
        epoch: Epoch,
        union_no: u64,
        union: Members,
    },
    Close {
        epoch: Epoch,
        clean: bool,
    },
}

/// A flush that waits so long for a copy makes it a lost one, until it answers.
const SLOW: Duration = Duration::from_secs(1);
const LOOK_EVERY: Duration = Duration::from_millis(500);

type Wanted = Arc<std::sync::Mutex<bool>>;

struct Leading {
    epoch: Epoch,
    in_sync: Members,
    /// Grows when the set loses a copy: what is written from then on is not there.
    generation: u64,
    device: Option<Arc<dyn BlockDevice>>,
    /// Grows with each order about the set: tells answers about an earlier union.
    union_no: u64,
    closing: bool,
    /// Held while what was opened is handed out; false once that must not happen any more.
    wanted: Wanted,
    /// Opens, then distributes the spool. Ended with the leadership.
    task: Option<JoinHandle<()>>,
}

impl Keeper {
    fn new(replica: Replica, shared: Shared) -> Self {
        let (ended, endings) = mpsc::unbounded_channel();
        Self { replica, shared, leading: None, slow: BTreeSet::new(), ended, endings: Some(endings) }
    }

    async fn run(mut self, mut orders: mpsc::UnboundedReceiver<VolumeOrder>) {
        let mut events = self.replica.volume.events();
        let Some(mut endings) = self.endings.take() else { return };
        let mut look = tokio::time::interval(LOOK_EVERY);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                order = orders.recv() => match order {
                    Some(order) => self.obey(order).await,
                    None => return self.abandon(),
                },
                Some(ended) = endings.recv() => self.finish(ended).await,
                _ = look.tick() => self.look_for_slow_copies(),
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
        if self.reopen(epoch, &in_sync) {
            return;
        }
        self.abandon();
        let generation = self.first_generation(epoch, &in_sync);
        let grant = self.grant(epoch, &in_sync, generation);
        let device = match self.replica.volume.lead(grant).await {
            Ok(device) => device,
            Err(error) => return self.report_failure(epoch, error.to_string()),
        };
        let wanted = Wanted::new(std::sync::Mutex::new(true));
        let task = Some(self.begin_opening(epoch, &device, &wanted));
        let device = Some(device);
        self.leading =
            Some(Leading { epoch, in_sync, generation, device, union_no: 0, closing: false, wanted, task });
        self.look_around();
    }

    /// Tries again on the device of this epoch after the file store could not be opened.
    fn reopen(&mut self, epoch: Epoch, in_sync: &Members) -> bool {
        let over = |l: &Leading| !l.closing && l.task.as_ref().is_some_and(JoinHandle::is_finished);
        let Some(leading) = self.leading.as_ref().filter(|l| l.epoch == epoch && over(l)) else {
            return false;
        };
        let Some(device) = leading.device.clone() else { return false };
        let wanted = leading.wanted.clone();
        self.update(epoch, in_sync.clone());
        let task = self.begin_opening(epoch, &device, &wanted);
        if let Some(leading) = &mut self.leading {
            leading.task = Some(task);
        }
        true
    }

    fn begin_opening(&self, epoch: Epoch, device: &Arc<dyn BlockDevice>, wanted: &Wanted) -> JoinHandle<()> {
        let (replica, shared) = (self.replica.clone(), self.shared.clone());
        tokio::spawn(open_and_serve(replica, shared, epoch, Arc::clone(device), Arc::clone(wanted)))
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
        let Some(leading) = self.leading.as_mut().filter(|l| l.epoch == epoch && !l.closing) else { return };
        leading.union_no += 1;
        let (union_no, device) = (leading.union_no, leading.device.clone());
        if let Err(error) = self.replica.volume.set_pending(Some(members(&union))) {
            tracing::info!(volume = %self.replica.name, %error, "a copy cannot be proposed as in sync now");
            // The agent must not take it for synced: it hears of it again when it is.
            let joining: Vec<NodeId> = union.difference(&leading.in_sync).map(|(n, _)| *n).collect();
            return joining.into_iter().for_each(|n| self.peer_lost(repl::NodeId(n.0), false));
        }
        let (Some(device), ended) = (device, self.ended.clone()) else { return };
        tokio::task::spawn_blocking(move || {
            // What was acknowledged before must be durable on the union too (R1).
            if device.flush().is_ok() {
                drop(device);
                let _ = ended.send(Ended::Union { epoch, union_no, union });
            }
        });
    }

    async fn finish(&mut self, ended: Ended) {
        let volume = self.replica.name.clone();
        match ended {
            Ended::Union { epoch, union_no, union } => {
                if self.leading.as_ref().is_some_and(|l| l.epoch == epoch && l.union_no == union_no) {
                    self.report(VolumeReport::UnionHeld { volume, epoch, union });
                }
            }
            Ended::Close { epoch, clean } => {
                let Some(leading) = self.leading.take_if(|l| l.epoch == epoch) else { return };
                let _ = tokio::task::spawn_blocking(move || drop(leading.device)).await;
                self.report(VolumeReport::Closed { volume, epoch, clean });
            }
        }
    }

    fn update(&mut self, epoch: Epoch, in_sync: Members) {
        let Some(leading) = self.leading.as_mut().filter(|l| l.epoch == epoch) else { return };
        if leading.in_sync.difference(&in_sync).next().is_some() {
            leading.generation += 1;
        }
        leading.in_sync = in_sync.clone();
        leading.union_no += 1;
        let generation = leading.generation;
        if let Err(error) = self.replica.volume.set_grant(self.grant(epoch, &in_sync, generation)) {
            tracing::warn!(volume = %self.replica.name, %epoch, %error, "the in-sync set was not taken");
            return;
        }
        // Only now: if the union has become the set, no acknowledgement may slip in between without it (R1).
        if let Err(error) = self.replica.volume.set_pending(None) {
            tracing::warn!(volume = %self.replica.name, %epoch, %error, "the pending set was not withdrawn");
        }
    }

    /// Ends the leadership in order: no operation begins, those that run end, all is flushed.
    fn retire(&mut self, epoch: Epoch) {
        let Some(leading) = self.leading.as_mut().filter(|l| l.epoch == epoch) else {
            let volume = self.replica.name.clone();
            return self.report(VolumeReport::Closed { volume, epoch, clean: false });
        };
        if std::mem::replace(&mut leading.closing, true) {
            return;
        }
        withdraw(&leading.wanted);
        let task = leading.task.take();
        let led = self.shared.led.end(&self.replica.name);
        let fs = self.shared.open.lock().remove(&self.replica.name);
        let ended = self.ended.clone();
        tokio::spawn(async move {
            let clean = close(task, led, fs).await;
            let _ = ended.send(Ended::Close { epoch, clean });
        });
    }

    /// Ends the leadership at once: nothing of it is written or acknowledged any more.
    fn abandon(&mut self) {
        self.slow.clear();
        let Some(leading) = self.leading.take() else { return };
        tracing::info!(volume = %self.replica.name, epoch = %leading.epoch, "leadership is over");
        withdraw(&leading.wanted);
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
                if matches!(why, repl::wire::Refusal::DiskFailed) {
                    self.peer_lost(peer, true);
                }
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
    fn look_around(&mut self) {
        let status = self.replica.volume.status();
        if let Some(reason) = &status.failed {
            tracing::error!(volume = %self.replica.name, %reason, "the disk has failed");
            self.report(VolumeReport::DiskFailed { volume: self.replica.name.clone() });
        } else if status.role != RoleStatus::Leader {
            return self.abandon();
        }
        for peer in status.peers {
            match peer.link {
                LinkStatus::Synced => self.peer_synced(peer.node, peer.device),
                LinkStatus::Down => self.peer_lost(peer.node, false),
                _ => {}
            }
        }
    }

    /// A copy whose node lives but whose disk hangs: nothing else would tell the agent.
    fn look_for_slow_copies(&mut self) {
        let Some(leading) = &self.leading else { return };
        let counts = |n: NodeId| leading.in_sync.iter().any(|(m, _)| *m == n);
        let mut slow = std::mem::take(&mut self.slow);
        slow.retain(|n| counts(*n));
        for peer in self.replica.volume.status().peers {
            let node = NodeId(peer.node.0);
            let hangs = peer.flush_age.is_some_and(|age| age >= SLOW);
            if hangs && counts(node) && slow.insert(node) {
                tracing::warn!(volume = %self.replica.name, %node, "a copy's disk answers slowly");
                self.peer_lost(peer.node, false);
            } else if !hangs && matches!(peer.link, LinkStatus::Synced) && slow.remove(&node) {
                self.peer_synced(peer.node, peer.device);
            }
        }
        self.slow = slow;
    }
}

/// From here on nothing is handed out for this leadership.
fn withdraw(wanted: &Wanted) {
    *wanted.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = false;
}

fn members(set: &Members) -> repl::MemberSet {
    let member = |(node, device): &(NodeId, DeviceId)| repl::Member {
        node: repl::NodeId(node.0),
        device: repl::DeviceId(device.0.to_be_bytes()),
    };
    set.iter().map(member).collect()
}

/// Opens the file store on the device and serves the volume until the task is aborted.
async fn open_and_serve(
    replica: Replica,
    shared: Shared,
    epoch: Epoch,
    device: Arc<dyn BlockDevice>,
    wanted: Wanted,
) {
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
    let led = Led::new(volume.clone(), epoch, store, guard);
    if let Err(unwanted) = hand_out(&shared, &wanted, &volume, fs, led) {
        drop(tokio::task::spawn_blocking(move || drop((unwanted, device))));
        return;
    }
    shared.agent.tell(Input::Volume(VolumeReport::Opened { volume: volume.clone(), epoch }));
    if may_format {
        remember_formatted(&shared, &volume).await;
    }
    spool::run(volume, shared.store.clone()).await;
}

/// The volume can be found from here on, unless its leadership has ended meanwhile.
fn hand_out(
    shared: &Shared,
    wanted: &Wanted,
    volume: &VolumeId,
    fs: Arc<Fs>,
    led: Led,
) -> Result<(), Box<(Arc<Fs>, Led)>> {
    let wanted = wanted.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if !*wanted {
        return Err(Box::new((fs, led)));
    }
    shared.open.lock().insert(volume.clone(), fs);
    shared.led.begin(led);
    Ok(())
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
async fn close(task: Option<JoinHandle<()>>, led: Option<Arc<Led>>, fs: Option<Arc<Fs>>) -> bool {
    if let Some(task) = task {
        task.abort();
        let _ = task.await;
    }
    if let Some(led) = led {
        led.quiesce().await;
    }
    let closed = tokio::task::spawn_blocking(move || fs.is_none_or(|fs| fs.close().is_ok()));
    closed.await.unwrap_or(false)
}

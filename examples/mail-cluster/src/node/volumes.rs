//! Carrying out the agent's orders about volumes: raise, lead, follow, retire.
//!
//! Each volume has a task of its own, so that one slow disk holds up no other volume. Opening the file
//! store needs flushes, and those may need orders that come later (a grant without a dead peer):
//! so opening and closing run beside the task, which goes on taking orders.

use std::collections::{BTreeSet, HashMap};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use posthaste_blockrepl::core::{Denied, Event, LinkStatus, RoleStatus};
use posthaste_blockrepl::wire::Refusal;
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
use tokio::time::MissedTickBehavior;

use super::led::{Led, LedVolumes};
use super::quorum::AgentHandle;
use super::replica::{Replica, SLOW_AFTER};
use super::route::RoutedStore;
use super::spool;

type Members = BTreeSet<(NodeId, DeviceId)>;

/// How often a leader looks whether its disk still answers.
const LOOK_AT_DISK: Duration = Duration::from_millis(500);

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
    /// How long the disk of a volume that is led here may owe an answer.
    pub(crate) disk_patience: Duration,
}

impl Shared {
    fn knows_formatted(&self, volume: &VolumeId) -> bool {
        self.store.state().kv.contains_key(&formatted_key(volume))
    }
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
        let (ended, endings) = mpsc::unbounded_channel();
        let keeper = Keeper { replica, shared: shared.clone(), leading: None, ended };
        tokio::spawn(keeper.run(orders, endings));
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

/// The task of one volume. What it hands out, it alone hands out and takes back, so that nothing is left
/// of a leadership that has ended.
struct Keeper {
    replica: Replica,
    shared: Shared,
    /// The leadership that is wanted here, from its order until it is closed or abandoned.
    leading: Option<Leading>,
    /// Where what runs beside the task says that it has ended.
    ended: mpsc::UnboundedSender<Ended>,
}

struct Leading {
    epoch: Epoch,
    in_sync: Members,
    /// Grows when the set loses a copy: what is written from then on is not there.
    generation: u64,
    device: Arc<dyn BlockDevice>,
    /// Grows with each order about the set, and tells answers about an earlier union.
    union: u64,
    stage: Stage,
}

enum Stage {
    /// The file store is being opened; `true` if it is to be closed then.
    Opening(bool),
    /// It could not be opened.
    Failed,
    /// The volume can be used; the task distributes its spool.
    Serving(JoinHandle<()>),
    Closing,
}

/// What ran beside a volume's task has ended.
enum Ended {
    Open { epoch: Epoch, opened: Result<Fs, String> },
    Union { epoch: Epoch, number: u64, union: Members },
    Close { epoch: Epoch, clean: bool },
}

impl Keeper {
    async fn run(
        mut self,
        mut orders: mpsc::UnboundedReceiver<VolumeOrder>,
        mut endings: mpsc::UnboundedReceiver<Ended>,
    ) {
        let mut events = self.replica.volume.events();
        let mut look = tokio::time::interval(LOOK_AT_DISK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                order = orders.recv() => match order {
                    Some(order) => self.obey(order).await,
                    None => return self.abandon(),
                },
                Some(ended) = endings.recv() => self.finish(ended),
                _ = look.tick() => self.look_at_disk(),
                event = events.recv() => match event {
                    Ok(event) => self.hear(event),
                    Err(broadcast::error::RecvError::Lagged(_)) => self.look_around(),
                    Err(broadcast::error::RecvError::Closed) => return self.abandon(),
                },
            }
        }
    }

    fn finish(&mut self, ended: Ended) {
        match ended {
            Ended::Open { epoch, opened } => self.opened(epoch, opened),
            Ended::Union { epoch, number, union } => self.union_held(epoch, number, union),
            Ended::Close { epoch, clean } => self.closed(epoch, clean),
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
        match self.patiently(self.replica.volume.raise_epoch(epoch.0)).await {
            Ok(raised) => {
                let rolled_back = !raised.consistent
                    && raised.can_roll_back
                    && self.may_lead(epoch)
                    && {
                        tracing::warn!(volume = %self.replica.name, %epoch, "the leader is gone in the midst of a resync: going back to the state before it");
                        self.patiently(self.replica.volume.rollback()).await.is_ok()
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

    /// Whether the quorum counts this copy as in sync and wants, or may want, it to lead in this epoch. If it was being
    /// resynced all the same, after a break of its link, the state before that holds all that was
    /// acknowledged (R9): its leader acknowledged nothing without it.
    fn may_lead(&self, epoch: Epoch) -> bool {
        let (state, me) = (self.shared.store.state(), self.shared.me);
        let volume = state.volumes.get(&self.replica.name);
        volume.is_some_and(|v| {
            let here = v.leader.is_none_or(|leader| leader == me);
            v.epoch == epoch && here && v.in_sync.contains(&(me, self.replica.device))
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
        if self.leading.as_ref().is_some_and(|l| l.epoch == epoch && matches!(l.stage, Stage::Failed)) {
            // The replica leads in this epoch already: only the file store is to be tried again.
            self.update(epoch, in_sync);
        } else if let Err(why) = self.take_lead(epoch, in_sync).await {
            return self.report_failure(epoch, why);
        }
        self.begin_opening();
        // Events from before this leadership were not reported, and may not come again.
        self.look_around();
    }

    async fn take_lead(&mut self, epoch: Epoch, in_sync: Members) -> Result<(), String> {
        self.abandon();
        let generation = self.first_generation(epoch, &in_sync);
        let grant = self.grant(epoch, &in_sync, generation);
        let device = self.patiently(self.replica.volume.lead(grant)).await.map_err(|e| e.to_string())?;
        let stage = Stage::Failed;
        self.leading = Some(Leading { epoch, in_sync, generation, device, union: 0, stage });
        Ok(())
    }

    fn begin_opening(&mut self) {
        let Some(leading) = &mut self.leading else { return };
        leading.stage = Stage::Opening(false);
        let (epoch, device, ended) = (leading.epoch, Arc::clone(&leading.device), self.ended.clone());
        let (name, may_format) =
            (self.replica.name.clone(), !self.shared.knows_formatted(&self.replica.name));
        let log_size = self.shared.log_sizes.get(&name).copied();
        let opening =
            tokio::task::spawn_blocking(move || open_fs(&device, name.as_str(), log_size, may_format));
        tokio::spawn(async move {
            let opened = opening.await.unwrap_or_else(|panic| Err(panic.to_string()));
            // Whoever would hear it may have ended.
            drop(ended.send(Ended::Open { epoch, opened }));
        });
    }

    fn opened(&mut self, epoch: Epoch, opened: Result<Fs, String>) {
        let Some((leading, close)) = self
            .leading
            .as_mut()
            .filter(|l| l.epoch == epoch)
            .and_then(|l| if let Stage::Opening(close) = l.stage { Some((l, close)) } else { None })
        else {
            drop_aside(opened);
            return;
        };
        let fs = match opened {
            Ok(fs) => Arc::new(fs),
            Err(_) if close => return self.closed(epoch, true),
            Err(why) => {
                leading.stage = Stage::Failed;
                return self.report_failure(epoch, why);
            }
        };
        if close {
            leading.stage = Stage::Closing;
            return self.begin_close(epoch, None, None, Some(fs));
        }
        let serving = tokio::spawn(serve(self.replica.name.clone(), self.shared.clone()));
        leading.stage = Stage::Serving(serving);
        self.hand_out(epoch, fs);
    }

    fn hand_out(&self, epoch: Epoch, fs: Arc<Fs>) {
        let (shared, volume) = (&self.shared, self.replica.name.clone());
        tracing::info!(%volume, %epoch, "leading");
        let store: Arc<dyn MailStore> = super::store_on(Arc::clone(&fs), &shared.hostname);
        let lease = shared.lease.clone();
        let guard = Arc::new(move || lease.is_valid(clock::now()));
        shared.open.lock().insert(volume.clone(), fs);
        shared.led.begin(Led::new(volume.clone(), epoch, store, guard));
        self.report(VolumeReport::Opened { volume, epoch });
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
        repl::Grant::new(epoch.0, leader, members(in_sync), generation)
    }

    fn set_pending(&mut self, epoch: Epoch, union: Members) {
        let Some(leading) = self.leading.as_mut().filter(|l| l.epoch == epoch) else { return };
        leading.union += 1;
        let (number, device, ended) = (leading.union, Arc::clone(&leading.device), self.ended.clone());
        if let Err(error) = self.replica.volume.set_pending(Some(members(&union))) {
            tracing::info!(volume = %self.replica.name, %error, "a copy cannot be proposed as in sync now");
            // It was lost meanwhile. Once it is synced anew, that is reported.
            let joining = union.difference(&leading.in_sync).map(|(node, _)| *node).collect::<Vec<_>>();
            return joining.into_iter().for_each(|node| self.peer_lost(repl::NodeId(node.0), false));
        }
        tokio::task::spawn_blocking(move || {
            // What was acknowledged before must be durable on the union too (R1).
            if device.flush().is_ok() {
                drop(ended.send(Ended::Union { epoch, number, union }));
            }
        });
    }

    fn union_held(&self, epoch: Epoch, number: u64, union: Members) {
        if self.leading.as_ref().is_some_and(|l| l.epoch == epoch && l.union == number) {
            self.report(VolumeReport::UnionHeld { volume: self.replica.name.clone(), epoch, union });
        }
    }

    fn update(&mut self, epoch: Epoch, in_sync: Members) {
        let Some(leading) = self.leading.as_mut().filter(|l| l.epoch == epoch) else { return };
        if leading.in_sync.difference(&in_sync).next().is_some() {
            leading.generation += 1;
        }
        leading.in_sync = in_sync.clone();
        leading.union += 1;
        let generation = leading.generation;
        let taken = self.replica.volume.set_grant(self.grant(epoch, &in_sync, generation));
        // Only then: if the union has become the set, nothing may be acknowledged without it in between (R1).
        if let Err(error) = taken.and_then(|()| self.replica.volume.set_pending(None)) {
            tracing::warn!(volume = %self.replica.name, %epoch, %error, "the in-sync set was not taken");
        }
    }

    /// Ends the leadership in order: no operation begins, those that run end, all is flushed. Until then
    /// it goes on to hear of the set: a flush that waits for a copy that is gone would never end.
    fn retire(&mut self, epoch: Epoch) {
        let volume = self.replica.name.clone();
        let Some(leading) = self.leading.as_mut().filter(|l| l.epoch == epoch) else {
            return self.report(VolumeReport::Closed { volume, epoch, clean: false });
        };
        if self.replica.volume.status().failed.is_some() {
            return self.give_up(epoch);
        }
        match std::mem::replace(&mut leading.stage, Stage::Closing) {
            Stage::Opening(_) => leading.stage = Stage::Opening(true),
            Stage::Failed => self.closed(epoch, true),
            Stage::Serving(spool) => {
                let (led, fs) = (self.shared.led.end(&volume), self.shared.open.lock().remove(&volume));
                self.begin_close(epoch, Some(spool), led, fs);
            }
            Stage::Closing => {}
        }
    }

    fn begin_close(
        &self,
        epoch: Epoch,
        spool: Option<JoinHandle<()>>,
        led: Option<Arc<Led>>,
        fs: Option<Arc<Fs>>,
    ) {
        let ended = self.ended.clone();
        tokio::spawn(async move {
            let clean = close(spool, led, fs).await;
            drop(ended.send(Ended::Close { epoch, clean }));
        });
    }

    fn closed(&mut self, epoch: Epoch, clean: bool) {
        let Some(leading) = self.leading.take_if(|l| l.epoch == epoch) else { return };
        drop_aside(leading.device);
        self.report(VolumeReport::Closed { volume: self.replica.name.clone(), epoch, clean });
    }

    /// Ends the leadership at once: nothing of it is written or acknowledged any more.
    fn abandon(&mut self) {
        let Some(leading) = self.leading.take() else { return };
        tracing::info!(volume = %self.replica.name, epoch = %leading.epoch, "leadership is over");
        if let Some(led) = self.shared.led.end(&self.replica.name) {
            led.abandon();
        }
        if let Stage::Serving(spool) = &leading.stage {
            spool.abort();
        }
        let fs = self.shared.open.lock().remove(&self.replica.name);
        drop_aside((fs, leading.device));
    }

    fn hear(&mut self, event: Event) {
        tracing::debug!(volume = %self.replica.name, ?event, "replica");
        match event {
            Event::PeerSynced { peer, device } => self.peer_synced(peer, device),
            // Also of one that is not in the set: it must not be taken for synced when its node returns.
            Event::PeerLost { peer, .. } => self.peer_lost(peer, false),
            Event::PeerSlow { peer, .. } => {
                tracing::warn!(volume = %self.replica.name, peer = peer.0, "a copy does not answer");
                self.peer_lost(peer, false);
            }
            Event::PeerRecovered { peer, device } => self.peer_synced(peer, device),
            Event::RefusedBy { peer, why } => {
                tracing::warn!(volume = %self.replica.name, peer = peer.0, %why, "a copy refuses this leader");
                self.peer_lost(peer, matches!(why, Refusal::DiskFailed));
            }
            Event::Diverged { peer, .. } => {
                tracing::error!(volume = %self.replica.name, peer = peer.0, "a copy has diverged; an operator must choose");
            }
            Event::Fenced { held, .. } if self.leading.as_ref().is_some_and(|l| l.epoch.0 == held) => {
                self.abandon()
            }
            Event::DiskFailed { reason } => self.disk_failed(&reason),
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

    /// A disk that hangs reports nothing by itself. A follower waits for it: its leader goes on without it, and
    /// takes it back when it answers. Where the volume is to be led that cannot be waited for.
    fn look_at_disk(&self) {
        let patience = self.shared.disk_patience;
        let hangs = || self.replica.volume.disk_age().is_some_and(|age| age >= patience);
        if (self.leading.is_some() || self.is_wanted()) && hangs() {
            self.replica.volume.detach(&format!("it has not answered for {} s", patience.as_secs()));
        }
    }

    /// Whether the quorum wants the volume to be led here.
    fn is_wanted(&self) -> bool {
        let state = self.shared.store.state();
        state.volumes.get(&self.replica.name).is_some_and(|v| v.leader == Some(self.shared.me))
    }

    /// Waits for what needs the disk, with an eye on it.
    async fn patiently<T>(&self, call: impl Future<Output = Result<T, Denied>>) -> Result<T, Denied> {
        let mut call = std::pin::pin!(call);
        loop {
            tokio::select! {
                result = &mut call => return result,
                () = tokio::time::sleep(LOOK_AT_DISK) => self.look_at_disk(),
            }
        }
    }

    /// The handle is dead (R11). What still runs on it may hang in the disk: nobody waits for that.
    fn disk_failed(&mut self, reason: &str) {
        tracing::error!(volume = %self.replica.name, reason, "the disk has failed; start the node anew when it is well again");
        self.report(VolumeReport::DiskFailed { volume: self.replica.name.clone() });
        let Some((epoch, stage)) = self.leading.as_ref().map(|l| (l.epoch, &l.stage)) else { return };
        match stage {
            Stage::Serving(_) | Stage::Failed => {}
            Stage::Opening(false) => {
                self.abandon();
                self.report_failure(epoch, format!("the disk has failed: {reason}"));
            }
            Stage::Opening(true) | Stage::Closing => self.give_up(epoch),
        }
    }

    fn give_up(&mut self, epoch: Epoch) {
        self.abandon();
        let volume = self.replica.name.clone();
        self.report(VolumeReport::Closed { volume, epoch, clean: false });
    }

    /// Events were missed: what the status says takes their place.
    fn look_around(&mut self) {
        let status = self.replica.volume.status();
        if let Some(reason) = status.failed {
            return self.hear(Event::DiskFailed { reason });
        }
        if status.role != RoleStatus::Leader {
            return self.abandon();
        }
        for peer in status.peers {
            let slow = peer.flush_age.is_some_and(|age| age >= SLOW_AFTER);
            match peer.link {
                LinkStatus::Synced if slow => self.peer_lost(peer.node, false),
                LinkStatus::Synced => self.peer_synced(peer.node, peer.device),
                LinkStatus::Down => self.peer_lost(peer.node, false),
                _ => {}
            }
        }
    }
}

/// Dropping a file store joins its thread, which may wait for the disk.
pub(super) fn drop_aside<T: Send + 'static>(what: T) {
    // Without a runtime the process is ending, and this thread is nobody's.
    match tokio::runtime::Handle::try_current() {
        Ok(runtime) => drop(runtime.spawn_blocking(move || drop(what))),
        Err(_) => drop(what),
    }
}

fn members(set: &Members) -> repl::MemberSet {
    let member = |(node, device): &(NodeId, DeviceId)| repl::Member {
        node: repl::NodeId(node.0),
        device: repl::DeviceId(device.0.to_be_bytes()),
    };
    set.iter().map(member).collect()
}

/// Distributes the spool of a volume that is led here, until aborted.
async fn serve(volume: VolumeId, shared: Shared) {
    if !shared.knows_formatted(&volume) {
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
async fn close(spool: Option<JoinHandle<()>>, led: Option<Arc<Led>>, fs: Option<Arc<Fs>>) -> bool {
    if let Some(spool) = spool {
        spool.abort();
        drop(spool.await);
    }
    if let Some(led) = led {
        led.quiesce().await;
    }
    let closed = tokio::task::spawn_blocking(move || fs.is_none_or(|fs| fs.close().is_ok()));
    closed.await.unwrap_or(false)
}

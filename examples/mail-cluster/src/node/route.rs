//! The routed mail store: each operation runs where its user's volume is led (DESIGN §3).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use posthaste_heartbeat::consensus::Committed;
use posthaste_heartbeat::state::{State, Status};
use posthaste_heartbeat::{Epoch, NodeId, VolumeId};
use posthaste_mail_server::base_name;
use posthaste_mail_server::store::{MailStore, MailboxName, Op, Recipient, Reply, StoreError, User, Watch};
use tokio::sync::watch;
use tokio::time::Instant;

use super::accounts;
use super::led::LedVolumes;
use super::spool;
use super::wire::{self, Request, Response};

/// Carries a request to another node's mail service.
#[async_trait]
pub(crate) trait MailPeers: Send + Sync + 'static {
    /// The answer's bytes.
    async fn ask(&self, to: NodeId, request: Bytes) -> Result<Bytes, NotAnswered>;

    /// The same for requests that wait at the other end, so that they are in nobody's way.
    async fn ask_patiently(&self, to: NodeId, request: Bytes) -> Result<Bytes, NotAnswered>;
}

/// A request got no answer.
#[derive(Debug)]
pub(crate) struct NotAnswered {
    /// Whether it may have been carried out all the same.
    pub(crate) maybe_done: bool,
    /// What happened.
    pub(crate) why: String,
}

/// An operation was not done, or not known to be.
struct Miss {
    error: StoreError,
    maybe_done: bool,
}

/// An error from before anything was done.
impl From<StoreError> for Miss {
    fn from(error: StoreError) -> Self {
        Self { error, maybe_done: false }
    }
}

/// Longest wait for a leader before the client gets an error.
const PATIENCE: Duration = Duration::from_secs(15);
/// Pause between two tries when nothing tells that trying is worth it.
const PAUSE: Duration = Duration::from_millis(25);

/// Every user's mail, wherever it is led.
#[derive(Clone)]
pub(crate) struct RoutedStore {
    me: NodeId,
    hostname: Arc<str>,
    state: watch::Receiver<Committed>,
    led: LedVolumes,
    peers: Arc<dyn MailPeers>,
}

impl RoutedStore {
    /// A store that routes by `state`.
    pub(crate) fn new(
        me: NodeId,
        hostname: Arc<str>,
        state: watch::Receiver<Committed>,
        led: LedVolumes,
        peers: Arc<dyn MailPeers>,
    ) -> Self {
        Self { me, hostname, state, led, peers }
    }

    /// The newest state known here.
    pub(crate) fn state(&self) -> Arc<State> {
        self.state.borrow().state.clone()
    }

    /// The volume of a user's mail.
    pub(crate) fn volume_of(&self, user: &User) -> Result<VolumeId, StoreError> {
        if let Some(volume) = spool::volume_of(user) {
            return Ok(volume);
        }
        accounts::volume_of(&self.state.borrow().state, user)
    }

    /// Does the operation on the volume's leader; replays it to the next one until it is known to
    /// be done (R12) or the patience ends.
    pub(crate) async fn on_volume(
        &self,
        volume: &VolumeId,
        user: &User,
        op: Op,
    ) -> Result<Reply, StoreError> {
        let deadline = Instant::now() + PATIENCE;
        let mut state = self.state.clone();
        let mut unknown = false;
        loop {
            state.mark_unchanged();
            match self.once(volume, user, op.clone()).await {
                Err(Miss { error: StoreError::Unavailable(why), maybe_done })
                    if Instant::now() < deadline =>
                {
                    tracing::debug!(%volume, %user, why, "waiting for the volume's leader");
                    unknown |= maybe_done;
                    let _ = tokio::time::timeout(PAUSE, state.changed()).await;
                }
                Err(miss) if unknown => return op.retried(Err(miss.error)),
                result => return result.map_err(|miss| miss.error),
            }
        }
    }

    async fn once(&self, volume: &VolumeId, user: &User, op: Op) -> Result<Reply, Miss> {
        let done = |error| Miss { error, maybe_done: true };
        match self.leader(volume)? {
            (leader, _) if leader == self.me => self.local(volume)?.call(user, op).await.map_err(done),
            (leader, epoch) => {
                let request = Request::Call { volume: volume.clone(), epoch, user: user.clone(), op };
                match self.ask(leader, &request).await? {
                    Response::Reply(reply) => Ok(reply),
                    Response::Failed(error) => Err(done(error)),
                    Response::Seen(_) => {
                        Err(done(StoreError::Internal("a peer answered another question".into())))
                    }
                }
            }
        }
    }

    async fn poll(&self, user: &User, name: &MailboxName, seen: u64) -> Result<u64, StoreError> {
        let volume = self.volume_of(user)?;
        match self.leader(&volume)? {
            (leader, _) if leader == self.me => self.local(&volume)?.poll(user, name, seen).await,
            (leader, _) => {
                let request = Request::Poll { volume, user: user.clone(), name: name.clone(), seen };
                match self.ask(leader, &request).await.map_err(|miss| miss.error)? {
                    Response::Seen(count) => Ok(count),
                    Response::Failed(error) => Err(error),
                    Response::Reply(_) => {
                        Err(StoreError::Internal("a peer answered another question".into()))
                    }
                }
            }
        }
    }

    /// Who leads the volume, and since which epoch.
    fn leader(&self, volume: &VolumeId) -> Result<(NodeId, Epoch), StoreError> {
        let committed = self.state.borrow();
        let entry = committed
            .state
            .volumes
            .get(volume)
            .ok_or_else(|| StoreError::Internal(format!("no volume {volume}")))?;
        let none = || StoreError::Unavailable(format!("{volume} has no leader now"));
        Ok((entry.leader.ok_or_else(none)?, entry.epoch))
    }

    fn local(&self, volume: &VolumeId) -> Result<Arc<super::led::Led>, StoreError> {
        self.led.find(volume).ok_or_else(|| StoreError::Unavailable(format!("{volume} is being opened here")))
    }

    async fn ask(&self, leader: NodeId, request: &Request) -> Result<Response, Miss> {
        // A peer that was killed may not say so: a new leader ends the wait for the old one.
        let mut state = self.state.clone();
        let (Request::Call { volume, .. } | Request::Poll { volume, .. }) = request;
        let volume = volume.clone();
        let moved = async move {
            let moved =
                state.wait_for(|s| s.state.volumes.get(&volume).is_none_or(|v| v.leader != Some(leader)));
            drop(moved.await);
        };
        let bytes = wire::encode(request);
        let asked = match request {
            Request::Call { .. } => self.peers.ask(leader, bytes),
            Request::Poll { .. } => self.peers.ask_patiently(leader, bytes),
        };
        let unavailable = |why, maybe_done| Miss { error: StoreError::Unavailable(why), maybe_done };
        tokio::select! {
            answer = asked => {
                let answer = answer.map_err(|e| unavailable(format!("{leader}: {}", e.why), e.maybe_done))?;
                wire::decode(&answer).map_err(|error| Miss { error, maybe_done: true })
            }
            () = moved => Err(unavailable(format!("{leader} no longer leads"), true)),
        }
    }

    /// Answers another node's request: only for volumes that this node leads.
    pub(crate) async fn serve(&self, from: NodeId, request: &[u8]) -> Bytes {
        let response = match wire::decode(request) {
            Ok(request) => self.answer(from, request).await,
            Err(error) => Err(error),
        };
        wire::encode(&response.unwrap_or_else(Response::Failed))
    }

    async fn answer(&self, from: NodeId, request: Request) -> Result<Response, StoreError> {
        match request {
            Request::Call { volume, epoch, user, op } => {
                self.check_in(from)?;
                let led = self.local(&volume)?;
                if led.epoch() != epoch {
                    let now = led.epoch();
                    let why = format!("{volume} is led in epoch {now}, not {epoch}");
                    return Err(StoreError::Unavailable(why));
                }
                led.call(&user, op).await.map(Response::Reply)
            }
            Request::Poll { volume, user, name, seen } => {
                self.local(&volume)?.poll(&user, &name, seen).await.map(Response::Seen)
            }
        }
    }

    /// R12: the sessions of a node that was fenced have ended, and their clients may be elsewhere.
    fn check_in(&self, from: NodeId) -> Result<(), StoreError> {
        match self.state.borrow().state.members.get(&from) {
            Some(member) if member.status == Status::Up => Ok(()),
            _ => Err(StoreError::Unavailable(format!("{from} is out of the cluster now"))),
        }
    }

    fn recipients(&self, to: &[User]) -> Result<BTreeMap<VolumeId, Vec<Recipient>>, StoreError> {
        let mut by_volume: BTreeMap<VolumeId, Vec<Recipient>> = BTreeMap::new();
        for user in to {
            let recipient = Recipient { user: user.clone(), base: base_name(&self.hostname) };
            by_volume.entry(self.volume_of(user)?).or_default().push(recipient);
        }
        Ok(by_volume)
    }

    /// Where a spool record for these volumes goes: a volume that this node leads, if there is one.
    fn spool_volume<'a>(&self, volumes: impl Iterator<Item = &'a VolumeId> + Clone) -> Option<VolumeId> {
        let near = volumes.clone().find(|volume| self.led.find(volume).is_some());
        near.or_else(|| volumes.clone().next()).cloned()
    }
}

#[async_trait]
impl MailStore for RoutedStore {
    async fn call(&self, user: &User, op: Op) -> Result<Reply, StoreError> {
        let volume = self.volume_of(user)?;
        self.on_volume(&volume, user, op).await
    }

    async fn deliver(&self, to: &[User], body: Bytes) -> Result<(), StoreError> {
        let mut by_volume = self.recipients(to)?;
        let Some(at) = self.spool_volume(by_volume.keys()) else { return Ok(()) };
        if by_volume.len() == 1 {
            let to = by_volume.remove(&at).unwrap_or_default();
            let Some(first) = to.first().map(|r| r.user.clone()) else { return Ok(()) };
            return self.on_volume(&at, &first, Op::Deliver { to, body }).await.map(drop);
        }
        // R13: one durable record, then 250; the record's volume sees to the rest.
        let record = spool::record(&at, by_volume.into_values().flatten().collect(), &body, &self.hostname)?;
        self.on_volume(&at, &spool::user(&at), record).await.map(drop)
    }

    async fn watch(&self, user: &User, name: &MailboxName) -> Result<Watch, StoreError> {
        let (hints, watch) = tokio::sync::mpsc::channel(1);
        let (store, user, name) = (self.clone(), user.clone(), name.clone());
        let mut seen = store.poll(&user, &name, 0).await?;
        tokio::spawn(async move {
            loop {
                let polled = tokio::select! {
                    polled = store.poll(&user, &name, seen) => polled,
                    () = hints.closed() => return,
                };
                match polled {
                    Ok(count) if count == seen => {}
                    Ok(count) => {
                        seen = count;
                        let _ = hints.try_send(());
                    }
                    // The watcher sees the end of the channel, watches again and asks.
                    Err(_) => return,
                }
            }
        });
        Ok(watch)
    }
}

#[cfg(test)]
mod tests;

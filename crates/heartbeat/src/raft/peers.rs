//! Calls to other voters, directly or through a third one.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use openraft::error::{InstallSnapshotError, NetworkError, RPCError, RaftError, RemoteError, Unreachable};
use openraft::network::{Backoff, RPCOption, RaftNetwork, RaftNetworkFactory};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest, InstallSnapshotResponse,
    VoteRequest, VoteResponse,
};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::timeout;

use super::TypeConfig;
use crate::consensus::{Applied, Committed, ProposeError};
use crate::state::Command;
use crate::{ClusterId, NodeId, StoreId, Time, clock};

/// The version of the RPCs; another one is refused.
pub(super) const VERSION: u8 = 1;

/// Carries one request to another voter and brings its answer. The embedding program vouches for who the
/// other one is.
#[async_trait]
pub trait RaftTransport: Send + Sync + 'static {
    /// Sends `request` to `to`'s [`RaftNode::handle_rpc`](super::RaftNode::handle_rpc).
    ///
    /// # Errors
    /// `NotConnected` or `ConnectionRefused` if it certainly did not arrive; any other kind if it may have.
    async fn call(&self, to: NodeId, request: Vec<u8>) -> io::Result<Vec<u8>>;
}

/// A request, in its envelope.
#[derive(Serialize, Deserialize)]
pub(super) struct Request {
    pub(super) version: u8,
    pub(super) cluster: ClusterId,
    /// Who asks, and its store (R7). A relay does not change it.
    pub(super) from: NodeId,
    pub(super) store: StoreId,
    pub(super) to: NodeId,
    pub(super) body: Rpc,
}

#[derive(Serialize, Deserialize)]
pub(super) enum Rpc {
    Append(AppendEntriesRequest<TypeConfig>),
    Vote(VoteRequest<u64>),
    Snapshot(InstallSnapshotRequest<TypeConfig>),
    /// To the leader only.
    Propose(Command),
    /// To the leader only: up to where must be applied for a linearizable read?
    ReadIndex,
}

/// An answer, in its envelope.
#[derive(Serialize, Deserialize)]
pub(super) struct Answer {
    pub(super) version: u8,
    pub(super) from: NodeId,
    pub(super) store: StoreId,
    pub(super) body: Reply,
}

#[derive(Serialize, Deserialize)]
pub(super) enum Reply {
    Append(Result<AppendEntriesResponse<u64>, RaftError<u64>>),
    Vote(Result<VoteResponse<u64>, RaftError<u64>>),
    Snapshot(Result<InstallSnapshotResponse<u64>, RaftError<u64, InstallSnapshotError>>),
    Propose(Result<Applied, ProposeError>),
    ReadIndex(Result<u64, ProposeError>),
    /// Not answered, for this reason; nothing has been done.
    Refused(String),
    /// The relay could not reach the target; the request certainly did not arrive.
    Unreachable,
    /// The relay got no answer.
    Lost,
}

/// Why a call has no answer.
#[derive(Debug)]
pub(super) enum CallError {
    /// It certainly did not arrive, or was refused.
    NotDelivered(String),
    /// It may have arrived.
    Lost(String),
}

impl CallError {
    pub(super) fn text(&self) -> &str {
        match self {
            Self::NotDelivered(why) | Self::Lost(why) => why,
        }
    }
}

/// The other voters.
pub(super) struct Peers {
    pub(super) me: NodeId,
    pub(super) cluster: ClusterId,
    pub(super) store: StoreId,
    pub(super) others: Vec<NodeId>,
    pub(super) transport: Arc<dyn RaftTransport>,
    pub(super) state: watch::Receiver<Committed>,
    /// Who could not be reached directly, until when the detour comes first, and through whom.
    detours: Mutex<BTreeMap<NodeId, (Time, NodeId)>>,
}

/// How long a detour that worked is preferred to the direct way.
const DETOUR: Duration = Duration::from_secs(1);

impl Peers {
    pub(super) fn new(
        (me, cluster, store): (NodeId, ClusterId, StoreId),
        others: Vec<NodeId>,
        transport: Arc<dyn RaftTransport>,
        state: watch::Receiver<Committed>,
    ) -> Self {
        Self { me, cluster, store, others, transport, state, detours: Mutex::default() }
    }

    /// R7: whether `store` is what the membership knows `node` by. Unknown members and times before the
    /// bootstrap are not judged.
    pub(super) fn is_known_store(&self, node: NodeId, store: StoreId) -> bool {
        self.state.borrow().state.members.get(&node).is_none_or(|m| m.store == store)
    }

    /// Calls `to` directly; if that fails within part of `within`, through each of the others.
    pub(super) async fn call(&self, to: NodeId, body: Rpc, within: Duration) -> Result<Reply, CallError> {
        let (version, cluster, from, store) = (VERSION, self.cluster, self.me, self.store);
        let request = Request { version, cluster, from, store, to, body };
        let bytes = postcard::to_stdvec(&request).map_err(|e| CallError::NotDelivered(e.to_string()))?;
        // What is not idempotent must not go twice, so a call that may have arrived is not repeated.
        let repeatable = !matches!(request.body, Rpc::Propose(_));
        let mut lost = None;
        let ways = self.ways(to);
        let share = within / u32::try_from(ways.len()).unwrap_or(1).max(1);
        for via in ways {
            match self.once(via, to, bytes.clone(), share).await {
                Ok(reply) => {
                    self.remember(to, via);
                    return Ok(reply);
                }
                Err(CallError::Lost(why)) if !repeatable => {
                    self.avoid_direct(to, via);
                    return Err(CallError::Lost(why));
                }
                Err(error) => lost = Some(error),
            }
        }
        Err(lost.unwrap_or_else(|| CallError::NotDelivered("no way to it".into())))
    }

    /// The direct way and those through others, the one that worked last first.
    fn ways(&self, to: NodeId) -> Vec<NodeId> {
        let detours = self.detours.lock().unwrap_or_else(PoisonError::into_inner);
        let mut ways = vec![to];
        ways.extend(self.others.iter().filter(|n| **n != to));
        if let Some((_, via)) = detours.get(&to).filter(|(until, _)| clock::now() < *until) {
            ways.retain(|w| w != via);
            ways.insert(0, *via);
        }
        ways
    }

    fn remember(&self, to: NodeId, via: NodeId) {
        let mut detours = self.detours.lock().unwrap_or_else(PoisonError::into_inner);
        let now = clock::now();
        if via == to {
            detours.remove(&to);
        } else if detours.get(&to).is_none_or(|(until, _)| now >= *until) {
            detours.insert(to, (now + DETOUR, via));
        }
    }

    /// The direct way swallowed something: the next call goes round.
    fn avoid_direct(&self, to: NodeId, failed: NodeId) {
        let other = self.others.iter().find(|n| **n != to && **n != failed);
        if let Some(via) = other.filter(|_| failed == to) {
            self.remember(to, *via);
        }
    }

    /// A request of `from` came through `via`: so does what goes there.
    pub(super) fn came_by(&self, from: NodeId, via: NodeId) {
        if from != via {
            self.remember(from, via);
        }
    }

    async fn once(
        &self,
        via: NodeId,
        to: NodeId,
        bytes: Vec<u8>,
        within: Duration,
    ) -> Result<Reply, CallError> {
        let answer = match timeout(within, self.transport.call(via, bytes)).await {
            Err(_) => return Err(CallError::Lost(format!("{via} did not answer within {within:?}"))),
            Ok(Err(e)) if is_before_sending(&e) => return Err(CallError::NotDelivered(e.to_string())),
            Ok(Err(e)) => return Err(CallError::Lost(e.to_string())),
            Ok(Ok(bytes)) => bytes,
        };
        let answer: Answer =
            postcard::from_bytes(&answer).map_err(|_| CallError::Lost(format!("{via} answered nonsense")))?;
        match answer.body {
            Reply::Refused(why) => Err(CallError::NotDelivered(why)),
            Reply::Unreachable => Err(CallError::NotDelivered(format!("{via} cannot reach {to}"))),
            Reply::Lost => Err(CallError::Lost(format!("{via} got no answer from {to}"))),
            _ if answer.from != to => Err(CallError::Lost(format!("{} answered for {to}", answer.from))),
            _ if !self.is_known_store(to, answer.store) => {
                Err(CallError::Lost(format!("{to} answers with another store than the recorded one")))
            }
            body => Ok(body),
        }
    }
}

pub(super) fn is_before_sending(e: &io::Error) -> bool {
    matches!(e.kind(), io::ErrorKind::NotConnected | io::ErrorKind::ConnectionRefused)
}

/// openraft's client of one other voter.
pub(super) struct Client {
    peers: Arc<Peers>,
    to: NodeId,
}

#[derive(Clone)]
pub(super) struct Factory(pub(super) Arc<Peers>);

impl RaftNetworkFactory<TypeConfig> for Factory {
    type Network = Client;

    async fn new_client(&mut self, target: u64, _node: &()) -> Client {
        Client { peers: self.0.clone(), to: NodeId(target) }
    }
}

// openraft's own error type is this large.
type NetworkResult<T, E> = Result<T, RPCError<u64, (), E>>;

impl Client {
    async fn call(&self, body: Rpc, option: &RPCOption) -> Result<Reply, CallError> {
        self.peers.call(self.to, body, option.hard_ttl()).await
    }

    #[allow(clippy::result_large_err)]
    fn answer<T, E: std::error::Error>(&self, remote: Result<T, E>) -> NetworkResult<T, E> {
        remote.map_err(|e| RPCError::RemoteError(RemoteError::new(self.to.0, e)))
    }
}

fn failed<E: std::error::Error>(error: &CallError) -> RPCError<u64, (), E> {
    let io = io::Error::other(error.text().to_owned());
    match error {
        CallError::NotDelivered(_) => RPCError::Unreachable(Unreachable::new(&io)),
        CallError::Lost(_) => RPCError::Network(NetworkError::new(&io)),
    }
}

fn nonsense<E: std::error::Error>() -> RPCError<u64, (), E> {
    failed(&CallError::Lost("an answer to another question".into()))
}

impl RaftNetwork<TypeConfig> for Client {
    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> NetworkResult<AppendEntriesResponse<u64>, RaftError<u64>> {
        match self.call(Rpc::Append(rpc), &option).await {
            Ok(Reply::Append(answer)) => self.answer(answer),
            Ok(_) => Err(nonsense()),
            Err(e) => Err(failed(&e)),
        }
    }

    async fn install_snapshot(
        &mut self,
        rpc: InstallSnapshotRequest<TypeConfig>,
        option: RPCOption,
    ) -> NetworkResult<InstallSnapshotResponse<u64>, RaftError<u64, InstallSnapshotError>> {
        match self.call(Rpc::Snapshot(rpc), &option).await {
            Ok(Reply::Snapshot(answer)) => self.answer(answer),
            Ok(_) => Err(nonsense()),
            Err(e) => Err(failed(&e)),
        }
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<u64>,
        option: RPCOption,
    ) -> NetworkResult<VoteResponse<u64>, RaftError<u64>> {
        match self.call(Rpc::Vote(rpc), &option).await {
            Ok(Reply::Vote(answer)) => self.answer(answer),
            Ok(_) => Err(nonsense()),
            Err(e) => Err(failed(&e)),
        }
    }

    fn backoff(&self) -> Backoff {
        Backoff::new(std::iter::repeat(Duration::from_millis(50)))
    }
}

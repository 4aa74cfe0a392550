//! One running voter.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use openraft::error::{CheckIsLeaderError, ClientWriteError, Fatal, InitializeError, RaftError};
use openraft::{Config, Raft, SnapshotPolicy};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use super::peers::{
    Answer, CallError, Factory, Peers, RaftTransport, Reply, Request, Rpc, VERSION, is_before_sending,
};
use super::store::Failure;
use super::{Response, Store, StoreError, TypeConfig};
use crate::consensus::{Applied, Committed, Consensus, ProposeError};
use crate::lease::FenceLog;
use crate::state::{Command, State};
use crate::{ClusterId, NodeId, StoreId};

/// How a voter runs.
#[derive(Debug, Clone)]
pub struct RaftConfig {
    /// Which member.
    pub me: NodeId,
    /// All voters, this one included.
    pub voters: Vec<NodeId>,
    /// How often the leader is heard. 75 ms suits a LAN.
    pub heartbeat: Duration,
    /// Election timeout, least and most: a follower stands for election after `most` plus a random time
    /// between the two without a leader. Shorter for the witness, so that it usually leads, and the
    /// death of a node does not cost an election on top.
    pub election: (Duration, Duration),
    /// How long a proposal or read looks for a leader and waits for the outcome.
    pub patience: Duration,
    /// Entries between snapshots.
    pub snapshot_every: u64,
}

impl RaftConfig {
    /// For a node.
    pub fn node(me: NodeId, voters: Vec<NodeId>) -> Self {
        let ms = Duration::from_millis;
        let (heartbeat, election, patience) = (ms(75), (ms(350), ms(500)), ms(2000));
        Self { me, voters, heartbeat, election, patience, snapshot_every: 1000 }
    }

    /// For a witness.
    pub fn witness(me: NodeId, voters: Vec<NodeId>) -> Self {
        let election = (Duration::from_millis(200), Duration::from_millis(300));
        Self { election, ..Self::node(me, voters) }
    }

    fn openraft(&self) -> Config {
        let ms = |d: Duration| u64::try_from(d.as_millis()).unwrap_or(u64::MAX);
        Config {
            cluster_name: "posthaste".into(),
            heartbeat_interval: ms(self.heartbeat),
            election_timeout_min: ms(self.election.0),
            election_timeout_max: ms(self.election.1),
            snapshot_policy: SnapshotPolicy::LogsSinceLast(self.snapshot_every),
            max_in_snapshot_log_to_keep: self.snapshot_every / 10,
            install_snapshot_timeout: 2000,
            ..Config::default()
        }
    }
}

/// Why a voter did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The timings contradict each other.
    #[error("the quorum's timings are invalid: {0}")]
    Config(String),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// openraft failed.
    #[error("the quorum did not start: {0}")]
    Raft(String),
}

/// A running voter.
pub struct RaftNode {
    config: RaftConfig,
    cluster: ClusterId,
    store: StoreId,
    genesis: bool,
    raft: Raft<TypeConfig>,
    peers: Arc<Peers>,
    watch: watch::Receiver<Committed>,
    failure: Failure,
}

impl std::fmt::Debug for RaftNode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RaftNode")
            .field("me", &self.config.me)
            .field("store", &self.store)
            .finish_non_exhaustive()
    }
}

impl RaftNode {
    /// Starts a voter on the current tokio runtime. `fences` goes to the same member's
    /// [`Agent`](crate::Agent).
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start(
        config: RaftConfig,
        store: Store,
        transport: Arc<dyn RaftTransport>,
        fences: FenceLog,
    ) -> Result<Arc<Self>, StartError> {
        let settings = config.openraft().validate().map_err(|e| StartError::Config(e.to_string()))?;
        let id = store.identity();
        let (log, machine, failure) = store.split(fences)?;
        let watch = machine.watch();
        let others = config.voters.iter().copied().filter(|n| *n != config.me).collect();
        let peers = Peers::new((config.me, id.cluster, id.store), others, transport, watch.clone());
        let peers = Arc::new(peers);
        let raft = Raft::new(config.me.0, Arc::new(settings), Factory(peers.clone()), log, machine)
            .await
            .map_err(|e| StartError::Raft(e.to_string()))?;
        let (cluster, store, genesis) = (id.cluster, id.store, id.genesis);
        let node = Arc::new(Self { config, cluster, store, genesis, raft, peers, watch, failure });
        node.prepare().await?;
        Ok(node)
    }

    /// A store made with the cluster starts with the configured voters; a later one waits until the
    /// quorum knows it (R7).
    async fn prepare(self: &Arc<Self>) -> Result<(), StartError> {
        if !self.genesis {
            self.raft.runtime_config().elect(self.may_vote());
            tokio::spawn(self.clone().await_replacement());
            return Ok(());
        }
        let voters: BTreeMap<u64, ()> = self.config.voters.iter().map(|n| (n.0, ())).collect();
        match self.raft.initialize(voters).await {
            Ok(()) | Err(RaftError::APIError(InitializeError::NotAllowed(_))) => Ok(()),
            Err(e) => Err(StartError::Raft(e.to_string())),
        }
    }

    async fn await_replacement(self: Arc<Self>) {
        let mut watch = self.watch.clone();
        let (me, store) = (self.config.me, self.store);
        let known = |c: &Committed| c.state.members.get(&me).is_some_and(|m| m.store == store);
        if watch.wait_for(known).await.is_ok() {
            self.raft.runtime_config().elect(true);
        }
    }

    /// R7: a store that was not made with the cluster votes only once the membership names it.
    fn may_vote(&self) -> bool {
        let known = self.watch.borrow().state.members.get(&self.config.me).map(|m| m.store);
        known.map_or(self.genesis, |store| store == self.store)
    }

    /// Stops the voter. Proposals under way end with an unknown outcome.
    pub async fn shutdown(&self) {
        // Only a panic in openraft's task is reported here, and it has been logged.
        let _ = self.raft.shutdown().await;
    }

    /// Returns, with the reason, when this voter can take no part any more: its store has failed, or
    /// openraft has ended. A voter that goes on as if nothing were is of no use to anybody: the process
    /// should end and be started again, which reads anew what is on the disk.
    pub async fn failed(&self) -> String {
        let mut failure = self.failure.clone();
        let mut metrics = self.raft.metrics();
        let store = async {
            match failure.wait_for(Option::is_some).await {
                Ok(why) => why.clone().unwrap_or_default(),
                Err(_) => "the thread that writes its log has ended".to_owned(),
            }
        };
        let raft = async {
            match metrics.wait_for(|m| m.running_state.is_err()).await {
                Ok(m) => m.running_state.as_ref().err().map_or_else(String::new, ToString::to_string),
                Err(_) => "its task has ended".to_owned(),
            }
        };
        tokio::select! {
            biased;
            why = store => why,
            why = raft => why,
        }
    }

    /// Who leads the quorum, as far as this voter knows.
    pub fn leader(&self) -> Option<NodeId> {
        self.raft.metrics().borrow().current_leader.map(NodeId)
    }

    /// Proposes `initial` as soon as there is a quorum, until the cluster has been started, by whomever.
    ///
    /// # Errors
    /// [`ProposeError::NoQuorum`] with the reason, if `initial` is refused.
    pub async fn bootstrap(&self, initial: &State) -> Result<(), ProposeError> {
        loop {
            if self.watch.borrow().state.is_initialised() {
                return Ok(());
            }
            if self.leader().is_some() {
                let command = Command::Bootstrap(Box::new(initial.clone()));
                let outcome = self.propose(command).await.map(|a| a.outcome);
                if let Ok(Err(refused @ crate::state::Refused::BadBootstrap(_))) = outcome {
                    return Err(ProposeError::NoQuorum(refused.to_string()));
                }
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    // ---- serving others ----

    /// Answers what another voter's [`RaftTransport`] brought. `from` is who the transport knows it is.
    pub async fn handle_rpc(&self, from: NodeId, request: &[u8]) -> Vec<u8> {
        let body = match postcard::from_bytes::<Request>(request) {
            Err(_) => Reply::Refused("the request cannot be read; is the peer of another release?".into()),
            Ok(r) if r.version != VERSION => {
                Reply::Refused(format!("RPC version {} is not {VERSION}", r.version))
            }
            Ok(r) if r.cluster != self.cluster => {
                Reply::Refused(format!("cluster {} is not mine", r.cluster))
            }
            Ok(r) if ![from, r.from].iter().all(|n| self.config.voters.contains(n)) => {
                Reply::Refused(format!("{from} or {} is no voter", r.from))
            }
            Ok(r) if r.to != self.config.me => return self.relay(from, r.from, r.to, request).await,
            Ok(r) => {
                self.peers.came_by(r.from, from);
                self.serve(r).await
            }
        };
        self.envelope(body)
    }

    fn envelope(&self, body: Reply) -> Vec<u8> {
        let (version, from, store) = (VERSION, self.config.me, self.store);
        let answer = Answer { version, from, store, body };
        // Writing plain data to a Vec cannot fail; nothing is what a caller takes for a lost answer.
        postcard::to_stdvec(&answer).unwrap_or_default()
    }

    /// Passes a request on, once: only for who wrote it, only to whom it is for.
    async fn relay(&self, from: NodeId, author: NodeId, to: NodeId, request: &[u8]) -> Vec<u8> {
        if from != author || to == author || !self.config.voters.contains(&to) {
            return self.envelope(Reply::Refused(format!("{from} may not send for {author} to {to}")));
        }
        let call = self.peers.transport.call(to, request.to_vec());
        match timeout(self.config.patience, call).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(e)) if is_before_sending(&e) => self.envelope(Reply::Unreachable),
            Ok(Err(_)) | Err(_) => self.envelope(Reply::Lost),
        }
    }

    async fn serve(&self, request: Request) -> Reply {
        let Request { from, store, body, .. } = request;
        if !self.peers.is_known_store(from, store) {
            let why = "comes with another store than the recorded one (R7)";
            return Reply::Refused(format!("{from} {why}: `replace` it"));
        }
        match body {
            Rpc::Append(rpc) => Reply::Append(self.raft.append_entries(rpc).await),
            Rpc::Vote(_) if !self.may_vote() => Reply::Refused("this voter's store is new (R7)".into()),
            Rpc::Vote(rpc) => Reply::Vote(self.raft.vote(rpc).await),
            Rpc::Snapshot(rpc) => Reply::Snapshot(self.raft.install_snapshot(rpc).await),
            Rpc::Propose(command) => Reply::Propose(self.propose_here(command, self.deadline()).await),
            Rpc::ReadIndex => Reply::ReadIndex(self.read_index_here().await),
        }
    }

    // ---- proposing ----

    fn deadline(&self) -> Instant {
        Instant::now() + self.config.patience
    }

    /// As the leader, or `NoLeader` with who is.
    async fn propose_here(&self, command: Command, deadline: Instant) -> Result<Applied, ProposeError> {
        self.require_quorum()?;
        let write = self.raft.client_write(command);
        match tokio::time::timeout_at(deadline, write).await {
            Err(_) => Err(self.timed_out()),
            Ok(Ok(done)) => {
                let Response(outcome) = done.data;
                Ok(Applied { index: done.log_id.index, outcome: outcome.unwrap_or(Ok(())) })
            }
            Ok(Err(RaftError::APIError(ClientWriteError::ForwardToLeader(to)))) => {
                Err(ProposeError::NoLeader(to.leader_id.map(NodeId)))
            }
            Ok(Err(RaftError::APIError(e))) => Err(ProposeError::NoQuorum(e.to_string())),
            Ok(Err(RaftError::Fatal(e))) => Err(stopped(&e)),
        }
    }

    /// A leader that too few others answer does not begin what it cannot finish.
    fn require_quorum(&self) -> Result<(), ProposeError> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow();
        if metrics.current_leader != Some(self.config.me.0) {
            return Err(ProposeError::NoLeader(metrics.current_leader.map(NodeId)));
        }
        let silence = self.config.election.1 * 2;
        match metrics.millis_since_quorum_ack.map(Duration::from_millis) {
            Some(since) if since > silence => Err(no_quorum(since)),
            _ => Ok(()),
        }
    }

    fn timed_out(&self) -> ProposeError {
        ProposeError::Timeout(u64::try_from(self.config.patience.as_millis()).unwrap_or(u64::MAX))
    }

    /// Finds the leader and asks it, until it has answered or the time is up.
    async fn at_leader(&self, ask: Ask) -> Result<Applied, ProposeError> {
        let deadline = self.deadline();
        let mut why = ProposeError::NoQuorum("no voter has been elected leader".into());
        while Instant::now() < deadline {
            let left = deadline - Instant::now();
            let answer = match self.leader() {
                Some(leader) if leader == self.config.me => self.ask_here(&ask, deadline).await,
                Some(leader) => self.ask_there(&ask, leader, left).await,
                None => Err(ProposeError::NoQuorum("no voter has been elected leader".into())),
            };
            match answer {
                Err(error) if !error.is_unknown() => why = error,
                settled => return settled,
            }
            sleep(Duration::from_millis(20).min(left)).await;
        }
        Err(why)
    }

    async fn ask_here(&self, ask: &Ask, deadline: Instant) -> Result<Applied, ProposeError> {
        match ask {
            Ask::Propose(command) => self.propose_here((**command).clone(), deadline).await,
            Ask::ReadIndex => self.read_index_here().await.map(Applied::at),
        }
    }

    async fn ask_there(&self, ask: &Ask, leader: NodeId, within: Duration) -> Result<Applied, ProposeError> {
        let rpc = match ask {
            Ask::Propose(command) => Rpc::Propose((**command).clone()),
            Ask::ReadIndex => Rpc::ReadIndex,
        };
        match self.peers.call(leader, rpc, within).await {
            Ok(Reply::Propose(answer)) => answer,
            Ok(Reply::ReadIndex(answer)) => answer.map(Applied::at),
            Err(CallError::NotDelivered(_)) => Err(ProposeError::NoLeader(Some(leader))),
            Ok(_) | Err(CallError::Lost(_)) => Err(self.timed_out()),
        }
    }

    // ---- reading ----

    async fn read_index_here(&self) -> Result<u64, ProposeError> {
        self.require_quorum()?;
        let check = timeout(self.config.patience, self.raft.get_read_log_id());
        match check.await {
            Err(_) => Err(self.timed_out()),
            Ok(Ok((read, _))) => Ok(read.map_or(0, |id| id.index)),
            Ok(Err(RaftError::APIError(CheckIsLeaderError::ForwardToLeader(to)))) => {
                Err(ProposeError::NoLeader(to.leader_id.map(NodeId)))
            }
            Ok(Err(RaftError::APIError(e))) => Err(ProposeError::NoQuorum(e.to_string())),
            Ok(Err(RaftError::Fatal(e))) => Err(stopped(&e)),
        }
    }
}

/// What only the leader can do.
enum Ask {
    Propose(Box<Command>),
    ReadIndex,
}

impl Applied {
    fn at(index: u64) -> Self {
        Self { index, outcome: Ok(()) }
    }
}

fn no_quorum(since: Duration) -> ProposeError {
    ProposeError::NoQuorum(format!(
        "too few voters have answered the leader for {:.1} s",
        since.as_secs_f64()
    ))
}

fn stopped(e: &Fatal<u64>) -> ProposeError {
    ProposeError::Stopped(e.to_string())
}

#[async_trait]
impl Consensus for RaftNode {
    async fn propose(&self, command: Command) -> Result<Applied, ProposeError> {
        self.at_leader(Ask::Propose(Box::new(command))).await
    }

    async fn read_linearizable(&self) -> Result<Committed, ProposeError> {
        let index = self.at_leader(Ask::ReadIndex).await?.index;
        let mut watch = self.watch.clone();
        let applied = timeout(self.config.patience, watch.wait_for(|c| c.index >= index)).await;
        match applied {
            Ok(Ok(state)) => Ok(state.clone()),
            Ok(Err(_)) => Err(ProposeError::Stopped("the state machine has ended".into())),
            Err(_) => Err(self.timed_out()),
        }
    }

    fn watch(&self) -> watch::Receiver<Committed> {
        self.watch.clone()
    }
}

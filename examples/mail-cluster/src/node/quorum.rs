//! The quorum's own thread: detector, leases, proposals (R5). What it decides leaves as orders.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::{BufMut, Bytes, BytesMut};
use posthaste_heartbeat::agent::{
    AddressOrder, Agent, AgentConfig, Input, Outcome, Output, ProposalId, Status, VolumeOrder,
};
use posthaste_heartbeat::clock;
use posthaste_heartbeat::consensus::{Consensus, ProposeError};
use posthaste_heartbeat::detector::DetectorConfig;
use posthaste_heartbeat::lease::{FenceLog, LeaseFlag};
use posthaste_heartbeat::message::Message;
use posthaste_heartbeat::raft::{RaftConfig, RaftNode, RaftTransport};
use posthaste_heartbeat::state::Command;
use posthaste_heartbeat::{Incarnation, NodeId, Time};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

use super::beats;
use super::bootstrap::{FOR_RAFT, Lobby};
use crate::config::{Config, Role};
use crate::error::Error;
use crate::peer::{Handlers, PeerNet};
use crate::rpc::{RpcClient, RpcLimits, serve_rpc};
use crate::tls::Alpn;

/// Messages that may wait for a peer's link; further ones are lost, as on any network.
pub(crate) const LINK_QUEUE: usize = 64;

/// What others tell or ask the agent.
#[derive(Debug)]
pub(crate) enum Event {
    /// Something happened.
    Input(Input),
    /// Somebody wants to know.
    Status(oneshot::Sender<Status>),
}

/// A handle to the agent, for any thread.
#[derive(Debug, Clone)]
pub(crate) struct AgentHandle(mpsc::UnboundedSender<Event>);

impl AgentHandle {
    /// A handle and the queue that [`drive`] empties.
    pub(crate) fn channel() -> (Self, mpsc::UnboundedReceiver<Event>) {
        let (sender, events) = mpsc::unbounded_channel();
        (Self(sender), events)
    }

    /// Tells the agent; nothing happens once it has ended.
    pub(crate) fn tell(&self, input: Input) {
        let _ = self.0.send(Event::Input(input));
    }

    /// What the agent knows; `None` once it has ended.
    pub(crate) async fn status(&self) -> Option<Status> {
        let (answer, status) = oneshot::channel();
        self.0.send(Event::Status(answer)).ok()?;
        status.await.ok()
    }
}

/// Where the agent's outputs go.
pub(crate) struct Outlets {
    /// One bounded queue a peer.
    pub(crate) peers: HashMap<NodeId, mpsc::Sender<Message>>,
    /// The volumes' keeper.
    pub(crate) volumes: mpsc::UnboundedSender<VolumeOrder>,
    /// The addresses' keeper.
    pub(crate) addresses: mpsc::UnboundedSender<AddressOrder>,
    /// Where commands are proposed.
    pub(crate) consensus: Arc<dyn Consensus>,
    /// The agent itself, for outcomes.
    pub(crate) agent: AgentHandle,
}

/// The quorum's thread, with a runtime of its own: nothing else runs there.
pub(crate) fn thread() -> Result<Handle, Error> {
    let failed = |e: io::Error| Error::failed(format!("cannot start the quorum's thread: {e}"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let handle = runtime.handle().clone();
    let run = move || runtime.block_on(std::future::pending::<()>());
    std::thread::Builder::new().name("quorum".into()).spawn(run).map_err(failed)?;
    Ok(handle)
}

/// Ways to ask the other members on the quorum's protocol.
pub(crate) fn peers(net: &PeerNet) -> BTreeMap<NodeId, RpcClient> {
    let others = net.members().map(|m| m.id).filter(|id| *id != net.me());
    others.map(|id| (id, RpcClient::new(net.clone(), id, Alpn::Raft, RpcLimits::default()))).collect()
}

/// Beats and the consensus of other members, handled on the quorum's thread.
pub(crate) fn handlers(
    on: &Handle,
    net: PeerNet,
    hints: bool,
    agent: AgentHandle,
    lobby: Arc<Lobby>,
) -> Handlers {
    Handlers::new()
        .on(Alpn::Beat, on.clone(), move |from, stream| {
            beats::listen(net.clone(), hints, from, stream, agent.clone())
        })
        .on(Alpn::Raft, on.clone(), move |from, stream| {
            let lobby = Arc::clone(&lobby);
            let answer = move |from, request| {
                let lobby = Arc::clone(&lobby);
                async move { lobby.answer(from, request).await }
            };
            async move {
                // openraft itself tells what is old.
                let served = serve_rpc(stream, from, Arc::new(answer), RpcLimits::default(), None);
                if let Err(error) = served.await {
                    tracing::debug!(peer = from.0, %error, "quorum link down");
                }
            }
        })
}

/// The running quorum, as the rest of the node sees it.
#[derive(Clone)]
pub(crate) struct Quorum {
    pub(crate) agent: AgentHandle,
    pub(crate) lease: LeaseFlag,
    pub(crate) consensus: Arc<dyn Consensus>,
    pub(crate) leader: Arc<dyn Fn() -> Option<NodeId> + Send + Sync>,
    raft: Arc<RaftNode>,
}

impl Quorum {
    /// Returns when this member can take no part in the quorum any more.
    pub(crate) async fn failed(&self) -> Error {
        let why = self.raft.failed().await;
        Error::StoreFailed(format!(
            "this member's quorum store has failed: {why}. It votes and serves no more until it is started again"
        ))
    }
}

/// What the agent's orders and events go through.
pub(crate) struct Channels {
    pub(crate) agent: AgentHandle,
    pub(crate) events: mpsc::UnboundedReceiver<Event>,
    pub(crate) volumes: mpsc::UnboundedSender<VolumeOrder>,
    pub(crate) addresses: mpsc::UnboundedSender<AddressOrder>,
}

/// Opens the store, joins the consensus, starts the agent. To be run on the quorum's thread.
pub(crate) async fn start(
    config: Arc<Config>,
    net: PeerNet,
    lobby: Arc<Lobby>,
    channels: Channels,
) -> Result<Quorum, Error> {
    let store = lobby.store().await?;
    let identity = store.identity();
    let fences = FenceLog::new();
    let voters: Vec<NodeId> = config.members.iter().map(|m| m.id).collect();
    let raft_config = match config.node.role {
        Role::Node => RaftConfig::node(config.node.id, voters.clone()),
        Role::Witness => RaftConfig::witness(config.node.id, voters.clone()),
    };
    let transport = Arc::new(Transport(peers(&net)));
    let raft = RaftNode::start(raft_config, store, transport, fences.clone()).await.map_err(Error::failed)?;
    lobby.open(Arc::clone(&raft));
    let first = Arc::clone(&raft);
    tokio::spawn(async move { lobby.start_cluster(first).await });

    let agent_config = AgentConfig {
        detector: DetectorConfig {
            heartbeat_every: config.timing.heartbeat,
            suspect_after: config.timing.suspect,
            suspect_after_max: config.timing.suspect * 3,
        },
        lease_margin: config.timing.margin,
        ..AgentConfig::new(config.node.id, identity.cluster, Incarnation(rand::random()), identity.store)
    };
    let agent = Agent::new(agent_config, voters.iter().copied(), fences, clock::now());
    let quorum = Quorum {
        agent: channels.agent.clone(),
        lease: agent.lease(),
        consensus: Arc::clone(&raft) as Arc<dyn Consensus>,
        leader: Arc::new({
            let raft = Arc::clone(&raft);
            move || raft.leader()
        }),
        raft,
    };
    let links = voters.into_iter().filter(|id| *id != config.node.id).map(|id| {
        let (queue, messages) = mpsc::channel(LINK_QUEUE);
        tokio::spawn(beats::send(net.clone(), id, messages));
        (id, queue)
    });
    let outlets = Outlets {
        peers: links.collect(),
        volumes: channels.volumes,
        addresses: channels.addresses,
        consensus: Arc::clone(&quorum.consensus),
        agent: channels.agent,
    };
    tokio::spawn(drive(agent, channels.events, outlets));
    Ok(quorum)
}

/// Carries the consensus's requests.
struct Transport(BTreeMap<NodeId, RpcClient>);

#[async_trait]
impl RaftTransport for Transport {
    async fn call(&self, to: NodeId, request: Vec<u8>) -> io::Result<Vec<u8>> {
        let client = self.0.get(&to).ok_or(io::ErrorKind::NotConnected)?;
        let mut framed = BytesMut::with_capacity(request.len() + 1);
        framed.put_u8(FOR_RAFT);
        framed.put_slice(&request);
        match client.call(framed.freeze()).await {
            Ok(answer) => Ok(Bytes::into(answer)),
            Err(error) if error.not_sent() => {
                Err(io::Error::new(io::ErrorKind::NotConnected, error.to_string()))
            }
            Err(error) => Err(io::Error::other(error.to_string())),
        }
    }
}

/// Runs the agent until all handles are gone.
pub(crate) async fn drive(mut agent: Agent, mut events: mpsc::UnboundedReceiver<Event>, outlets: Outlets) {
    let mut commits = outlets.consensus.watch();
    commits.mark_changed();
    loop {
        while let Some(output) = agent.poll_output() {
            outlets.dispatch(output);
        }
        tokio::select! {
            event = events.recv() => match event {
                Some(Event::Input(input)) => agent.handle(clock::now(), input),
                Some(Event::Status(answer)) => drop(answer.send(agent.status(clock::now()))),
                None => return,
            },
            Ok(()) = commits.changed() => {
                let newest = commits.borrow_and_update().clone();
                agent.handle(clock::now(), Input::Committed { index: newest.index, state: newest.state });
            }
            () = sleep_until(due(agent.poll_timeout())) => agent.handle_timeout(clock::now()),
        }
    }
}

/// The runtime's instant of a point on the agent's clock. A suspended machine wakes late by that much
/// and then finds every deadline passed, which is what the agent's own clock says.
fn due(at: Option<Time>) -> Instant {
    let wait = at.map_or(std::time::Duration::from_secs(1), |at| at.since(clock::now()));
    Instant::now() + wait
}

impl Outlets {
    fn dispatch(&self, output: Output) {
        match output {
            Output::Send { to, message } => {
                if let Some(queue) = self.peers.get(&to) {
                    let _ = queue.try_send(message);
                }
            }
            Output::Propose { id, command } => self.propose(id, command),
            Output::Volume(order) => drop(self.volumes.send(order)),
            Output::Address(order) => drop(self.addresses.send(order)),
            Output::StepDown => {
                tracing::warn!("the lease has ended: this node answers nobody until it is renewed")
            }
            Output::Resume => tracing::info!("the lease holds: this node serves"),
            _ => {}
        }
    }

    fn propose(&self, id: ProposalId, command: Command) {
        let (consensus, agent) = (Arc::clone(&self.consensus), self.agent.clone());
        tokio::spawn(async move {
            tracing::debug!(?command, "proposing");
            let outcome = match consensus.propose(command).await {
                Ok(applied) => Outcome::Settled { index: applied.index, result: applied.outcome },
                Err(error) if error.is_unknown() => Outcome::Unknown,
                Err(error) => {
                    log_refusal(&error);
                    Outcome::NotProposed
                }
            };
            agent.tell(Input::Outcome { id, outcome });
        });
    }
}

fn log_refusal(error: &ProposeError) {
    tracing::debug!(%error, "not proposed");
}

//! The daemon: what a node and a witness run.
//!
//! ```text
//!            quorum thread                          main runtime
//!  beats ──► agent ──orders──► volumes.rs  ── opens ──► led.rs (store, guard) ◄── route.rs ◄── sessions
//!   raft ──► consensus         services.rs ── takes addresses, serves sessions            ◄── other nodes
//! ```
//!
//! | file | what |
//! |---|---|
//! | `quorum` | the agent's thread; its outputs become orders |
//! | `beats` | the agents' messages on the wire |
//! | `bootstrap` | the first start: members meet, one proposes the first state |
//! | `replica`, `volumes` | this node's copies; carrying out orders about them |
//! | `led`, `route`, `wire`, `spool` | mail operations, run where the volume is led |
//! | `leave` | the end at SIGTERM, and the return |
//! | `services` | addresses and the services on them |
//! | `accounts`, `operator` | who exists; the operator's questions |

mod accounts;
mod beats;
mod bootstrap;
mod counting;
mod leave;
mod led;
mod operator;
mod quorum;
mod replica;
mod route;
mod services;
mod spool;
mod testdisk;
mod volumes;
mod wire;

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use posthaste_clusterfs::{Fs, FsStore};
use posthaste_heartbeat::agent::{AddressOrder, VolumeOrder};
use posthaste_heartbeat::lease::LeaseFlag;
use posthaste_heartbeat::{NodeId, clock};
use posthaste_mail_server::local::{LocalStore, LocalStoreConfig};
use posthaste_mail_server::store::MailStore;
use posthaste_mail_server::{Budget, Context, Limits, Shutdown};
use posthaste_vip::{AddressDriver, Netlink, NetlinkConfig};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc::{self, UnboundedReceiver};

use crate::admin::{AdminHandler, AdminReply, AdminRequest, AdminSocket, Progress, Refusal};
use crate::config::{Driver, Role};
use crate::peer::{Handlers, PeerNet};
use crate::rpc::{RpcClient, RpcLimits, Turns, serve_rpc};
use crate::tls::{Alpn, ServiceTls};
use crate::{Config, Error};
use bootstrap::Lobby;
use operator::Operator;
use quorum::{AgentHandle, Quorum};
use replica::{Copies, Replica};
use route::{NotAnswered, RoutedStore};

/// Runs the member that `config` describes, a node or a witness, until SIGTERM or SIGINT.
///
/// # Errors
/// Whatever keeps it from starting or makes it stop.
pub fn run(config: Config) -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("mail")
        .build()
        .map_err(|e| Error::failed(format!("cannot start threads: {e}")))?;
    let config = Arc::new(config);
    let result = runtime.block_on(serve(Arc::clone(&config)));
    // Whatever hangs in a disk must not keep the process.
    runtime.shutdown_timeout(Duration::from_secs(1));
    result
}

/// The store of a volume's file store.
pub(crate) fn store_on(fs: Arc<Fs>, hostname: &str) -> Arc<dyn MailStore> {
    let config = LocalStoreConfig { hostname: hostname.to_owned(), ..LocalStoreConfig::default() };
    Arc::new(LocalStore::new(FsStore::new(fs, b""), config))
}

async fn serve(config: Arc<Config>) -> Result<(), Error> {
    std::fs::create_dir_all(&config.node.data_dir)
        .map_err(|e| Error::file("make the directory", &config.node.data_dir, e))?;
    let _only_one = lock_data_dir(&config)?;
    let mut ending = Ending::new()?;
    let net = PeerNet::new(&config)?;
    let listener = net.listen(config.node.peer_listen).await?;
    let admin = AdminSocket::bind(&config.node.data_dir.join("admin.sock")).await?;
    let copies = {
        let config = Arc::clone(&config);
        let opened = tokio::task::spawn_blocking(move || replica::open_all(&config)).await;
        opened.map_err(Error::failed)??
    };
    let thread = quorum::thread()?;
    let lobby = Arc::new(Lobby::new(Arc::clone(&config), &copies.replicas, quorum::peers(&net))?);
    let (agent, events) = AgentHandle::channel();
    let front = Arc::new(Front { lobby: Arc::clone(&lobby), node: OnceLock::new() });
    let handlers = handlers(
        &config,
        quorum::handlers(&thread, net.clone(), config.timing.hints, agent.clone(), Arc::clone(&lobby)),
        &copies.replicas,
        &front,
    );
    tokio::spawn(listener.serve(handlers));
    tokio::spawn(admin.serve(Arc::clone(&front) as Arc<dyn AdminHandler>));
    tracing::info!(member = config.node.name, role = %config.node.role, "started");

    let (volumes, volume_orders) = mpsc::unbounded_channel();
    let (addresses, address_orders) = mpsc::unbounded_channel();
    let channels = quorum::Channels { agent, events, volumes, addresses };
    let starting = thread.spawn(quorum::start(Arc::clone(&config), net.clone(), lobby, channels));
    let quorum = tokio::select! {
        quorum = starting => quorum.map_err(Error::failed)??,
        () = ending.wait() => return Ok(()),
    };
    let (own, returned) = (Arc::clone(&config), quorum.clone());
    tokio::spawn(async move { leave::come_back(&own, &returned).await });
    let tasks = compose(&config, &net, &quorum, copies, &front, (volume_orders, address_orders)).await?;
    tokio::select! {
        () = ending.wait() => if let Some((store, operator)) = front.node.get() {
            leave::leave(&config, &quorum, store, &operator.sessions).await;
        },
        () = tasks => return Err(Error::failed("the quorum's thread has ended; the log says why")),
        why = quorum.failed() => return Err(why),
    }
    Ok(())
}

/// Puts the node together around its quorum. The future ends when the quorum does.
async fn compose(
    config: &Arc<Config>,
    net: &PeerNet,
    quorum: &Quorum,
    Copies { replicas, refused }: Copies,
    front: &Front,
    (volume_orders, address_orders): (UnboundedReceiver<VolumeOrder>, UnboundedReceiver<AddressOrder>),
) -> Result<impl Future<Output = ()> + use<>, Error> {
    let hostname: Arc<str> = config.services.hostname.as_str().into();
    let (led, open) = (led::LedVolumes::default(), volumes::OpenStores::default());
    let state = quorum.consensus.watch();
    let peers = Arc::new(Peers::new(net));
    let store = RoutedStore::new(config.node.id, Arc::clone(&hostname), state, led.clone(), peers);
    let shared = volumes::Shared {
        me: config.node.id,
        hostname,
        agent: quorum.agent.clone(),
        led,
        lease: quorum.lease.clone(),
        store: store.clone(),
        consensus: Arc::clone(&quorum.consensus),
        log_sizes: Arc::new(log_sizes(config)),
        open: open.clone(),
        disk_patience: config.timing.disk,
    };
    for replica in &replicas {
        for peer in replica.peers.iter().filter(|peer| **peer > config.node.id) {
            tokio::spawn(replica.clone().keep_link(net.clone(), *peer));
        }
    }
    let counters = services::Counters::new(&config.services);
    let context = mail_context(config, quorum, store.clone())?;
    let (driver, agent) = (driver(config, quorum.lease.clone()).await?, quorum.agent.clone());
    let addresses = services::Keeper::new(driver, &config.services, context, counters.clone(), agent.clone());
    let operator = Operator {
        config: Arc::clone(config),
        agent,
        consensus: Arc::clone(&quorum.consensus),
        quorum_leader: Arc::clone(&quorum.leader),
        replicas: replicas.clone(),
        refused,
        lobby: Arc::clone(&front.lobby),
        open,
        sessions: counters,
    };
    let _ = front.node.set((store, operator));
    let volumes = tokio::spawn(volumes::keep(replicas, shared, volume_orders));
    let ours = config.addresses.iter().map(|a| a.ip).collect();
    let addresses = tokio::spawn(Arc::new(addresses).run(ours, address_orders));
    Ok(async move {
        let _ = tokio::join!(volumes, addresses);
    })
}

/// What others and the operator meet, also before the node has its quorum.
struct Front {
    lobby: Arc<Lobby>,
    node: OnceLock<(RoutedStore, Operator)>,
}

#[async_trait]
impl AdminHandler for Front {
    async fn handle(&self, request: AdminRequest, progress: Progress) -> AdminReply {
        match self.node.get() {
            Some((_, operator)) => operator.handle(request, progress).await,
            None => AdminReply::refused(
                Refusal::NoQuorum,
                format!("the first start waits: {}", self.lobby.waits()),
            ),
        }
    }
}

impl Front {
    async fn mail(&self, from: NodeId, request: Bytes) -> Bytes {
        match self.node.get() {
            Some((store, _)) => store.serve(from, &request).await,
            None => wire::starting(),
        }
    }
}

/// The signals that end a member.
struct Ending {
    terminate: Signal,
    interrupt: Signal,
}

impl Ending {
    fn new() -> Result<Self, Error> {
        let listen =
            |kind| signal(kind).map_err(|e| Error::failed(format!("cannot listen for signals: {e}")));
        Ok(Self { terminate: listen(SignalKind::terminate())?, interrupt: listen(SignalKind::interrupt())? })
    }

    async fn wait(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => tracing::info!("SIGTERM: leaving"),
            _ = self.interrupt.recv() => tracing::info!("SIGINT: leaving"),
        }
    }
}

/// One process a data directory: the lock goes with the process, however it ends.
fn lock_data_dir(config: &Config) -> Result<std::fs::File, Error> {
    let path = config.node.data_dir.join("lock");
    let failed = |e: std::io::Error| Error::file("lock", &path, e);
    let file = std::fs::File::create(&path).map_err(failed)?;
    rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive).map_err(|e| {
        Error::failed(format!(
            "{}: another posthaste runs on this directory ({e})",
            config.node.data_dir.display()
        ))
    })?;
    Ok(file)
}

fn log_sizes(config: &Config) -> HashMap<posthaste_heartbeat::VolumeId, u64> {
    config.volumes.iter().filter_map(|v| Some((v.name.clone(), v.log_size?))).collect()
}

async fn driver(config: &Config, lease: LeaseFlag) -> Result<Arc<dyn AddressDriver>, Error> {
    match &config.driver {
        Driver::Loopback => Ok(Arc::new(posthaste_vip::Loopback::new())),
        Driver::Netlink { interface, prefix } => {
            // The kernel itself drops the addresses of a node that was stopped past its lease.
            let may_hold: posthaste_vip::MayHold = Arc::new(move || lease.is_valid(clock::now()));
            let config = NetlinkConfig { prefix: *prefix, may_hold, ..NetlinkConfig::new(interface) };
            Ok(Arc::new(Netlink::start(config).await.map_err(Error::failed)?))
        }
    }
}

fn mail_context(config: &Config, quorum: &Quorum, store: RoutedStore) -> Result<Context, Error> {
    let tls = config.services.tls.as_ref().map(ServiceTls::load).transpose()?;
    let acceptor = tls.as_ref().map(ServiceTls::acceptor);
    if let Some(tls) = tls {
        tokio::spawn(reload_at_sighup(tls));
    }
    let limits = Limits {
        connections: config.limits.connections,
        message_bytes: config.limits.message_size,
        recipients: config.limits.recipients,
        memory_bytes: usize::try_from(config.limits.memory).unwrap_or(usize::MAX),
        ..Limits::default()
    };
    let directory =
        accounts::ClusterDirectory::new(Arc::clone(&quorum.consensus), config.cluster.domains.clone());
    let (_, shutdown) = Shutdown::channel();
    Ok(Context {
        hostname: config.services.hostname.as_str().into(),
        store: Arc::new(store),
        directory: Arc::new(directory),
        tls: acceptor,
        plaintext_login: config.services.plaintext_login,
        budget: Budget::new(limits.memory_bytes),
        limits: Arc::new(limits),
        shutdown,
    })
}

/// A renewed certificate is taken at SIGHUP, without a restart; a bad one is not, and the old one serves on.
async fn reload_at_sighup(tls: ServiceTls) {
    let Ok(mut hangup) = signal(SignalKind::hangup()) else { return };
    while hangup.recv().await.is_some() {
        match tls.reload() {
            Ok(()) => tracing::info!("SIGHUP: the service certificate is read again"),
            Err(error) => tracing::error!(%error, "SIGHUP: the old service certificate stays"),
        }
    }
}

/// Who takes the streams of other members.
fn handlers(config: &Config, quorum: Handlers, replicas: &[Replica], front: &Arc<Front>) -> Handlers {
    let main = tokio::runtime::Handle::current();
    let door = replica::Doorkeeper::new(config.cluster.id, replicas);
    let front = Arc::clone(front);
    let turns = Arc::new(Turns::default());
    quorum
        .on(Alpn::Repl, main.clone(), move |from, stream| {
            let door = door.clone();
            async move { door.accept(from, stream).await }
        })
        .on(Alpn::Mail, main, move |from, stream| {
            let (front, turns) = (Arc::clone(&front), Some(Arc::clone(&turns)));
            let answer = move |from: NodeId, request: Bytes| {
                let front = Arc::clone(&front);
                async move { front.mail(from, request).await }
            };
            async move {
                if let Err(error) = serve_rpc(stream, from, Arc::new(answer), MAIL_LIMITS, turns).await {
                    tracing::debug!(peer = from.0, %error, "mail link down");
                }
            }
        })
}

/// Requests about mail to other nodes.
struct Peers {
    /// For operations. One connection after the other: what was sent on one that broke is replayed.
    calls: HashMap<NodeId, RpcClient>,
    /// For polls, which wait at the other end: a connection of their own.
    polls: HashMap<NodeId, RpcClient>,
}

/// Many mailboxes may be watched at once.
const MAIL_LIMITS: RpcLimits = RpcLimits { frame: 64 << 20, in_flight: 8192, bytes_in_flight: 256 << 20 };

impl Peers {
    fn new(net: &PeerNet) -> Self {
        let clients = |new: fn(PeerNet, NodeId, Alpn, RpcLimits) -> RpcClient| {
            let nodes = net.members().filter(|m| m.role == Role::Node && m.id != net.me());
            nodes.map(|m| (m.id, new(net.clone(), m.id, Alpn::Mail, MAIL_LIMITS))).collect()
        };
        Self { calls: clients(RpcClient::in_turn), polls: clients(RpcClient::new) }
    }
}

async fn ask(clients: &HashMap<NodeId, RpcClient>, to: NodeId, request: Bytes) -> Result<Bytes, NotAnswered> {
    let stranger = || NotAnswered { maybe_done: false, why: format!("{to} is not in the configuration") };
    let client = clients.get(&to).ok_or_else(stranger)?;
    client.call(request).await.map_err(|e| NotAnswered { maybe_done: !e.not_sent(), why: e.to_string() })
}

#[async_trait]
impl route::MailPeers for Peers {
    async fn ask(&self, to: NodeId, request: Bytes) -> Result<Bytes, NotAnswered> {
        ask(&self.calls, to, request).await
    }

    async fn ask_patiently(&self, to: NodeId, request: Bytes) -> Result<Bytes, NotAnswered> {
        ask(&self.polls, to, request).await
    }
}

//! The first start: members tell each other their stores and devices, until all have met. What they
//! said becomes the first state; from then on a store or a device with another id is a stranger (R1, R7).
//!
//! A member without a quorum store asks all others before it makes one. If any of them knows the cluster,
//! the store was lost, and the new one may not vote until an operator accepts it (R7). If it made
//! one without asking, it could vote twice in one election.

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use posthaste_heartbeat::consensus::Consensus as _;
use posthaste_heartbeat::raft::{LogFile, OsFile, RaftNode, Store, StoreIdentity};
use posthaste_heartbeat::state::{self, Address, Member, State, Volume};
use posthaste_heartbeat::{ClusterId, DeviceId, NodeId, StoreId, VolumeId};
use serde::{Deserialize, Serialize};

use super::replica::Replica;
use super::testdisk::VolatileLog;
use crate::config::{Config, Role};
use crate::error::Error;
use crate::rpc::RpcClient;

/// Pause between two rounds of introductions.
const ROUND: Duration = Duration::from_millis(100);
/// Longest wait for one introduction.
const ANSWER: Duration = Duration::from_secs(1);
/// Bytes of each of the quorum log's files, reserved for good (R11).
const RESERVE: u64 = 4 << 20;

/// First byte of a request on the quorum's protocol: for the consensus.
pub(crate) const FOR_RAFT: u8 = 0;
/// First byte of a request on the quorum's protocol: who are you?
pub(crate) const INTRODUCE: u8 = 1;

/// What a member says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Introduction {
    version: u8,
    cluster: ClusterId,
    pub(crate) store: StoreId,
    pub(crate) devices: BTreeMap<VolumeId, DeviceId>,
    /// Its quorum store exists.
    ready: bool,
    /// It knows of commands: the cluster has been started.
    started: bool,
}

/// Where a member answers others before and after it has a consensus.
pub(crate) struct Lobby {
    config: Arc<Config>,
    introduction: Mutex<Introduction>,
    raft: OnceLock<Arc<RaftNode>>,
    peers: BTreeMap<NodeId, RpcClient>,
    waits: Mutex<String>,
}

impl Lobby {
    /// A lobby; `peers` ask the other members on the quorum's protocol.
    pub(crate) fn new(
        config: Arc<Config>,
        replicas: &[Replica],
        peers: BTreeMap<NodeId, RpcClient>,
    ) -> Result<Self, Error> {
        let store = store_id(&config)?;
        let devices = replicas.iter().map(|r| (r.name.clone(), r.device)).collect();
        let cluster = config.cluster.id;
        let introduction = Introduction { version: 1, cluster, store, devices, ready: false, started: false };
        let waits = Mutex::new("is starting".to_owned());
        Ok(Self { config, introduction: Mutex::new(introduction), raft: OnceLock::new(), peers, waits })
    }

    /// Answers a request of another member on the quorum's protocol.
    pub(crate) async fn answer(&self, from: NodeId, request: Bytes) -> Bytes {
        match (request.split_first(), self.raft.get()) {
            (Some((&FOR_RAFT, body)), Some(raft)) => raft.handle_rpc(from, body).await.into(),
            // Nothing is what a caller takes for a lost answer.
            (Some((&FOR_RAFT, _)), None) => Bytes::new(),
            // Plain data.
            _ => postcard::to_stdvec(&self.myself()).unwrap_or_default().into(),
        }
    }

    /// The consensus is there.
    pub(crate) fn open(&self, raft: Arc<RaftNode>) {
        let _ = self.raft.set(raft);
    }

    /// Why the member does not take part yet, for the operator.
    pub(crate) fn waits(&self) -> String {
        self.waits.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn myself(&self) -> Introduction {
        let mine = self.introduction.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let started = self.raft.get().is_some_and(|raft| raft.watch().borrow().state.is_initialised());
        Introduction { started: mine.started || started, ..mine }
    }

    fn note(&self, why: &str) {
        let mut waits = self.waits.lock().unwrap_or_else(PoisonError::into_inner);
        if *waits != why {
            tracing::info!("the first start waits: {why}");
            why.clone_into(&mut waits);
        }
    }

    /// Opens this member's quorum store; makes it, if this is the first start.
    pub(crate) async fn store(&self) -> Result<Store, Error> {
        let dir = quorum_dir(&self.config);
        let store = if has_store(&self.config) { self.reopen(&dir)? } else { self.make(&dir).await? };
        let mut mine = self.introduction.lock().unwrap_or_else(PoisonError::into_inner);
        mine.store = store.identity().store;
        mine.started = !store.is_pristine();
        mine.ready = true;
        Ok(store)
    }

    fn reopen(&self, dir: &Path) -> Result<Store, Error> {
        let files = files(&self.config, dir, OsFile::open)?;
        Store::open(files, self.config.cluster.id)
            .map_err(|e| Error::failed(format!("{}: {e}", dir.display())))
    }

    async fn make(&self, dir: &Path) -> Result<Store, Error> {
        let genesis = loop {
            match self.meet().await {
                Ok(all) => break !all.values().any(|other| other.started),
                Err(why) => self.note(&why),
            }
            tokio::time::sleep(ROUND).await;
        };
        if !genesis {
            tracing::error!(
                "the cluster exists, but this member's quorum store does not: its disk was lost or replaced. \
                 It does not vote until an operator accepts its new store: `posthaste replace {}` on another member",
                self.config.node.name
            );
            // The quorum knows the old id: under it the new store would pass for the old one (R7).
            let new = new_store_id(&self.config)?;
            self.introduction.lock().unwrap_or_else(PoisonError::into_inner).store = new;
        }
        let identity = StoreIdentity { cluster: self.config.cluster.id, store: self.myself().store, genesis };
        // Made aside and renamed, so that a crash leaves a whole store or none.
        let aside = dir.join("new");
        let failed = |e: io::Error| Error::file("make the quorum store in", dir, e);
        match std::fs::remove_dir_all(&aside) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(failed(e)),
            _ => {}
        }
        std::fs::create_dir(&aside).map_err(failed)?;
        let made = [aside.join("log.0"), aside.join("log.1")].map(|path| OsFile::create(&path));
        let [first, second] = made;
        let files: [Box<dyn LogFile>; 2] =
            [Box::new(first.map_err(failed)?), Box::new(second.map_err(failed)?)];
        drop(Store::format(files, identity, RESERVE).map_err(Error::failed)?);
        // The first name last: it is what says that the store exists.
        for name in ["log.1", "log.0"] {
            std::fs::rename(aside.join(name), dir.join(name)).map_err(failed)?;
            std::fs::File::open(dir).and_then(|dir| dir.sync_all()).map_err(failed)?;
        }
        self.reopen(dir)
    }

    /// What another member says of itself now: its store and devices, once it has them.
    pub(crate) async fn introduction_of(&self, node: NodeId) -> Result<Introduction, String> {
        let client = self.peers.get(&node).ok_or("it is this member itself: ask another one")?;
        let answer = client.call_within(Bytes::from_static(&[INTRODUCE]), ANSWER).await;
        let other: Introduction = postcard::from_bytes(&answer.map_err(|e| e.to_string())?)
            .map_err(|_| "it answers in another version".to_owned())?;
        match () {
            () if other.version != 1 || other.cluster != self.config.cluster.id => {
                Err("it belongs to another cluster or version".to_owned())
            }
            () if !other.ready => {
                Err("its quorum store is not made yet: it must reach all members first".to_owned())
            }
            () => Ok(other),
        }
    }

    /// Everybody's introduction, or who could not be asked.
    async fn meet(&self) -> Result<BTreeMap<NodeId, Introduction>, String> {
        let mut all = BTreeMap::from([(self.config.node.id, self.myself())]);
        for (id, client) in &self.peers {
            let name = self.config.members.iter().find(|m| m.id == *id).map_or("a member", |m| &m.name);
            let answer = client.call_within(Bytes::from_static(&[INTRODUCE]), ANSWER).await;
            let answer = answer.map_err(|e| e.to_string())?;
            let other: Introduction =
                postcard::from_bytes(&answer).map_err(|_| format!("{name} answers in another version"))?;
            if other.version != 1 || other.cluster != self.config.cluster.id {
                return Err(format!("{name} belongs to another cluster or version"));
            }
            all.insert(*id, other);
        }
        Ok(all)
    }

    /// Brings the first state about, unless there is one.
    pub(crate) async fn start_cluster(&self, raft: Arc<RaftNode>) {
        let mut watch = raft.watch();
        let first = async {
            loop {
                match self.meet().await.and_then(|all| first_state(&self.config, &all)) {
                    Ok(first) => return first,
                    Err(why) => self.note(&why),
                }
                tokio::time::sleep(ROUND).await;
            }
        };
        let first = tokio::select! {
            first = first => first,
            _ = watch.wait_for(|committed| committed.state.is_initialised()) => return,
        };
        match raft.bootstrap(&first).await {
            Ok(()) => tracing::info!("the cluster has its first state"),
            Err(error) => tracing::error!(%error, "the first state was refused"),
        }
    }
}

/// Whether this member has its quorum store: it took part before.
pub(crate) fn has_store(config: &Config) -> bool {
    quorum_dir(config).join("log.0").exists()
}

fn quorum_dir(config: &Config) -> PathBuf {
    config.node.data_dir.join("quorum")
}

/// This member's store id: drawn once, kept until the store is made with it.
fn store_id(config: &Config) -> Result<StoreId, Error> {
    let dir = quorum_dir(config);
    let path = dir.join("id");
    std::fs::create_dir_all(&dir).map_err(|e| Error::file("make the directory", &dir, e))?;
    match std::fs::read_to_string(&path) {
        Ok(text) => {
            let id =
                u128::from_str_radix(text.trim(), 16).map_err(|e| Error::file("understand", &path, e))?;
            Ok(StoreId(id))
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => new_store_id(config),
        Err(e) => Err(Error::file("read", &path, e)),
    }
}

/// Draws a store id and remembers it durably.
fn new_store_id(config: &Config) -> Result<StoreId, Error> {
    let dir = quorum_dir(config);
    let failed = |e: io::Error| Error::file("write the store's id in", &dir, e);
    let id = StoreId(rand::random());
    let aside = dir.join("id.new");
    let mut file = std::fs::File::create(&aside).map_err(failed)?;
    file.write_all(format!("{id}\n").as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
    std::fs::rename(&aside, dir.join("id")).map_err(failed)?;
    std::fs::File::open(&dir).and_then(|dir| dir.sync_all()).map_err(failed)?;
    Ok(id)
}

fn files(
    config: &Config,
    dir: &Path,
    open: impl Fn(&Path) -> io::Result<OsFile>,
) -> Result<[Box<dyn LogFile>; 2], Error> {
    let one = |name: &str| -> Result<Box<dyn LogFile>, Error> {
        let path = dir.join(name);
        let file = open(&path).map_err(|e| Error::file("open", &path, e))?;
        Ok(match config.testing.volatile_disk {
            true => Box::new(VolatileLog::new(file, dir.join("broken"))),
            false => Box::new(file),
        })
    };
    Ok([one("log.0")?, one("log.1")?])
}

fn first_state(config: &Config, all: &BTreeMap<NodeId, Introduction>) -> Result<State, String> {
    let named = |id: &NodeId| {
        config.members.iter().find(|m| m.id == *id).map_or_else(|| id.to_string(), |m| m.name.clone())
    };
    if let Some((late, _)) = all.iter().find(|(_, i)| !i.ready) {
        return Err(format!("{} is not ready yet", named(late)));
    }
    let member = |m: &crate::config::Member| {
        let role = if m.role == Role::Node { state::Role::Node } else { state::Role::Witness };
        let store = all.get(&m.id).map(|i| i.store).unwrap_or_default();
        (m.id, Member::new(&m.name, role, store, &m.address))
    };
    let device = |node: &NodeId, volume: &VolumeId| {
        let found = all.get(node).and_then(|i| i.devices.get(volume));
        found.copied().map(|device| (*node, device)).ok_or_else(|| {
            format!("{} has no copy of {volume}: do the members' configurations agree?", named(node))
        })
    };
    let volume = |v: &crate::config::Volume| {
        let devices: Result<Vec<_>, String> = v.replicas.iter().map(|node| device(node, &v.name)).collect();
        Ok((v.name.clone(), Volume::new(v.home, devices?)))
    };
    Ok(State {
        format: state::FORMAT,
        cluster: config.cluster.id,
        lease_ms: u32::try_from(config.timing.lease.as_millis()).unwrap_or(u32::MAX),
        members: config.members.iter().map(member).collect(),
        volumes: config.volumes.iter().map(volume).collect::<Result<_, String>>()?,
        addresses: config.addresses.iter().map(|a| (a.ip, Address::new(a.home))).collect(),
        ..State::default()
    })
}

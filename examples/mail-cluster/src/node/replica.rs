//! This node's copies of the volumes: their files, their identities, their links to the other copies.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use posthaste_blockrepl as repl;
use posthaste_heartbeat::{ClusterId, DeviceId, NodeId, VolumeId};

use super::bootstrap;
use super::counting::Counting;
use crate::config::{self, Config};
use crate::error::Error;
use crate::peer::{PeerNet, PeerStream};
use crate::tls::Alpn;

/// Pause before a lost link is dialled again.
const REDIAL: Duration = Duration::from_millis(50);

/// How long a link to a copy that is not here is held before it is dropped.
const UNKNOWN: Duration = Duration::from_secs(5);

/// A copy whose disk does not answer for this long is reported, and soon left out. Virtual disks do stall for
/// a second; to go on without the copy costs a resync, and safety until it is over.
pub(super) const SLOW_AFTER: Duration = Duration::from_secs(3);

/// One local copy of one volume.
#[derive(Clone)]
pub(crate) struct Replica {
    pub(crate) name: VolumeId,
    pub(crate) device: DeviceId,
    pub(crate) volume: repl::Volume,
    /// Bytes sent to other copies, since the start.
    pub(crate) sent: Arc<AtomicU64>,
    /// The other nodes that have a copy.
    pub(crate) peers: Vec<NodeId>,
}

/// 128 bits that name `parts`, the same on each node (FNV-1a): identities, not secrets.
fn name_hash(parts: &[&[u8]]) -> [u8; 16] {
    let bytes = parts
        .iter()
        .flat_map(|part| (part.len() as u64).to_be_bytes().into_iter().chain(part.iter().copied()));
    let hash = bytes.fold(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d_u128, |hash, byte| {
        (hash ^ u128::from(byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b)
    });
    hash.to_be_bytes()
}

fn cluster_of(id: ClusterId) -> repl::ClusterId {
    repl::ClusterId(id.0.to_be_bytes())
}

/// What replicas call a volume.
pub(crate) fn volume_of(cluster: ClusterId, name: &VolumeId) -> repl::VolumeId {
    repl::VolumeId(name_hash(&[&cluster.0.to_be_bytes(), name.as_str().as_bytes()]))
}

/// What this node has of the volumes.
pub(crate) struct Copies {
    /// The copies that can be used.
    pub(crate) replicas: Vec<Replica>,
    /// Those that cannot, and why not.
    pub(crate) refused: BTreeMap<VolumeId, String>,
}

/// Opens this node's copy of each volume; one that has no files yet is created, with a new random
/// device id: the quorum then knows that it is not the copy it had (R1).
///
/// A copy that cannot be used is left as it is, and the node goes on without it, so that it still
/// votes and serves the others. Without a raised epoch the quorum never takes it for a leader's (R1).
/// Only the first start needs them all.
pub(crate) fn open_all(config: &Config) -> Result<Copies, Error> {
    let mut copies = Copies { replicas: Vec::new(), refused: BTreeMap::new() };
    for volume in config.volumes.iter().filter(|volume| volume.replicas.contains(&config.node.id)) {
        match open(config, volume) {
            Ok(replica) => copies.replicas.push(replica),
            Err(why) if !bootstrap::has_store(config) => {
                return Err(Error::failed(format!("volume {}: {why}", volume.name)));
            }
            Err(why) => {
                tracing::error!(volume = %volume.name, why, "this copy cannot be used: it is left as it is, and the node goes on without it");
                copies.refused.insert(volume.name.clone(), why);
            }
        }
    }
    Ok(copies)
}

fn open(config: &Config, volume: &config::Volume) -> Result<Replica, String> {
    let all = config.node.data_dir.join("volumes");
    let dir = all.join(volume.name.as_str());
    if !dir.exists() {
        create(config, volume, &all, &dir)?;
    }
    let device = read_device(&dir.join("device"))?;
    let identity = identity(config, volume, device);
    let opened = repl::Volume::open(&paths(&dir), &identity, options(config)).map_err(|e| e.to_string())?;
    let size = opened.status().size;
    if size != volume.size {
        return Err(format!("its device has {size} bytes, the configuration says {}", volume.size));
    }
    let peers = volume.replicas.iter().copied().filter(|n| *n != config.node.id).collect();
    Ok(Replica { name: volume.name.clone(), device, volume: opened, sent: Arc::default(), peers })
}

fn paths(dir: &Path) -> repl::Paths {
    repl::Paths { data: dir.join("data"), meta: dir.join("meta") }
}

fn options(node: &Config) -> repl::Options {
    let config = repl::Config { slow_after: SLOW_AFTER, ..repl::Config::default() };
    repl::Options { config, volatile: node.testing.volatile_disk, ..repl::Options::default() }
}

fn identity(config: &Config, volume: &config::Volume, device: DeviceId) -> repl::Identity {
    repl::Identity {
        cluster: cluster_of(config.cluster.id),
        volume: volume_of(config.cluster.id, &volume.name),
        device: repl::DeviceId(device.0.to_be_bytes()),
        node: repl::NodeId(config.node.id.0),
    }
}

/// Makes the files aside and moves them into place whole, so that a crash leaves all or nothing.
fn create(config: &Config, volume: &config::Volume, all: &Path, dir: &Path) -> Result<(), String> {
    let aside = PathBuf::from(format!("{}.new", dir.display()));
    let tell = |what: &str, e: io::Error| format!("{what} {}: {e}", aside.display());
    match fs::remove_dir_all(&aside) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(tell("cannot remove", e)),
        _ => {}
    }
    fs::create_dir_all(&aside).map_err(|e| tell("cannot make", e))?;
    let device = DeviceId(rand::random());
    write_synced(&aside.join("device"), format!("{device}\n").as_bytes())
        .map_err(|e| tell("cannot write in", e))?;
    // Created on the real disk also in tests on the volatile one: a crash here just starts over.
    let identity = identity(config, volume, device);
    repl::Volume::create(&paths(&aside), &identity, volume.size, repl::Options::default())
        .map_err(|e| e.to_string())?;
    sync_dir(&aside).map_err(|e| tell("cannot sync", e))?;
    fs::rename(&aside, dir).map_err(|e| tell("cannot rename", e))?;
    sync_dir(all).map_err(|e| tell("cannot sync the directory of", e))?;
    tracing::info!(volume = %volume.name, %device, bytes = volume.size, "created an empty copy");
    Ok(())
}

fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = fs::File::create_new(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn sync_dir(dir: &Path) -> io::Result<()> {
    fs::File::open(dir)?.sync_all()
}

fn read_device(path: &Path) -> Result<DeviceId, String> {
    let text = fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
    let id = u128::from_str_radix(text.trim(), 16).map_err(|e| format!("{}: {e}", path.display()))?;
    Ok(DeviceId(id))
}

impl Replica {
    /// Keeps a link to `peer`, for ever. Of two nodes the one with the lower number dials.
    pub(crate) async fn keep_link(self, net: PeerNet, peer: NodeId) {
        loop {
            if let Ok(stream) = net.dial(peer, Alpn::Repl).await {
                let counted = Counting::new(stream, Arc::clone(&self.sent));
                match self.volume.attach(repl::NodeId(peer.0), counted).await {
                    Ok(link) => {
                        tracing::info!(volume = %self.name, peer = peer.0, "replication link up");
                        let why = link.ended().await;
                        tracing::info!(volume = %self.name, peer = peer.0, %why, "replication link down");
                    }
                    Err(error) => {
                        tracing::warn!(volume = %self.name, peer = peer.0, %error, "replication link refused")
                    }
                }
            }
            tokio::time::sleep(REDIAL).await;
        }
    }

    /// Bytes sent to other copies, since the start.
    pub(crate) fn bytes_sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }
}

/// The copies that this node has, for links that come in.
#[derive(Clone)]
pub(crate) struct Doorkeeper {
    replicas: Arc<HashMap<repl::VolumeId, Replica>>,
}

impl Doorkeeper {
    /// Lets links to these in.
    pub(crate) fn new(cluster: ClusterId, replicas: &[Replica]) -> Self {
        let by_id = replicas.iter().map(|replica| (volume_of(cluster, &replica.name), replica.clone()));
        Self { replicas: Arc::new(by_id.collect()) }
    }

    /// Runs an accepted link until it ends.
    pub(crate) async fn accept(&self, from: NodeId, mut stream: PeerStream) {
        let hello = match repl::wire::Hello::read(&mut stream).await {
            Ok(hello) => hello,
            Err(error) => {
                tracing::warn!(peer = from.0, %error, "a replication link did not introduce itself");
                return;
            }
        };
        if hello.node.0 != from.0 {
            tracing::warn!(
                peer = from.0,
                claims = hello.node.0,
                "a replication link claims to be another node"
            );
            return;
        }
        let Some(replica) = self.replicas.get(&hello.volume) else {
            tracing::warn!(peer = from.0, volume = %hello.volume, "a replication link asks for a volume without a copy here");
            // It would ask again at once.
            tokio::time::sleep(UNKNOWN).await;
            return;
        };
        match replica.volume.accept(hello, Counting::new(stream, Arc::clone(&replica.sent))).await {
            Ok(link) => {
                tracing::info!(volume = %replica.name, peer = from.0, "replication link up");
                let why = link.ended().await;
                tracing::info!(volume = %replica.name, peer = from.0, %why, "replication link down");
            }
            Err(error) => {
                tracing::warn!(volume = %replica.name, peer = from.0, %error, "replication link refused")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volumes_of_two_clusters_are_never_confused() {
        let name = VolumeId::parse("vol1").unwrap();
        let other = VolumeId::parse("vol2").unwrap();
        let (a, b) = (ClusterId(1), ClusterId(2));
        assert_eq!(volume_of(a, &name), volume_of(a, &name));
        assert_ne!(volume_of(a, &name), volume_of(b, &name));
        assert_ne!(volume_of(a, &name), volume_of(a, &other));
    }
}

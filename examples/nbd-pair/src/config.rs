//! The pair's file.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use posthaste_blockrepl as repl;
use posthaste_blockrepl::bond::{BondConfig, PATHS_MAX};
use posthaste_blockrepl::{
    ClusterId, Congestion, DeviceId, Identity, LowRedundancy, Member, NodeId, Options, Paths, Protocol,
    SplitBrainPolicy, Volume, VolumeId,
};
use serde::Deserialize;

use crate::{handlers, tls, turn};

/// The file as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    cluster: String,
    volume: String,
    size_mib: u64,
    #[serde(default = "default_export")]
    export: String,
    #[serde(default = "yes")]
    write_through: bool,
    #[serde(default)]
    on_peer_loss: OnPeerLoss,
    #[serde(default)]
    dual: bool,
    #[serde(default)]
    on_disk_error: OnDiskError,
    #[serde(default)]
    split_brain: SplitBrainPolicy,
    #[serde(default)]
    verify_reads: bool,
    #[serde(default)]
    protocol: Protocol,
    #[serde(default)]
    congestion: Congestion,
    #[serde(default = "one")]
    min_redundancy: usize,
    #[serde(default)]
    low_redundancy: LowRedundancy,
    #[serde(default)]
    discard: Discard,
    /// Of a device that is created from this file.
    granule_kib: Option<u64>,
    #[serde(default)]
    resync: Resync,
    resync_group: Option<turn::Group>,
    #[serde(default)]
    handlers: handlers::Table,
    tls: Option<tls::Files>,
    link_tls: Option<tls::LinkFiles>,
    link_secret: Option<SecretFile>,
    #[serde(default)]
    paths: PathTimes,
    node: Vec<NodeEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NodeEntry {
    id: u64,
    device: String,
    dir: PathBuf,
    replication: Addresses,
    nbd: Vec<String>,
}

/// One address, or one for each path, the preferred one first.
#[derive(Deserialize)]
#[serde(untagged)]
enum Addresses {
    One(SocketAddr),
    Many(Vec<SocketAddr>),
}

/// The times of a link over several paths, in milliseconds.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct PathTimes {
    keepalive_ms: Option<u64>,
    silence_ms: Option<u64>,
    settle_ms: Option<u64>,
    give_up_ms: Option<u64>,
}

/// The secret that both machines prove to know.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SecretFile {
    pub(crate) file: PathBuf,
    /// Whether what goes over the link is encrypted and authenticated too.
    #[serde(default = "yes")]
    pub(crate) seal: bool,
}

/// How the other machine is brought in step.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Resync {
    min_kib: Option<u64>,
    max_kib: Option<u64>,
    #[serde(default)]
    by_digest: bool,
    /// The resync after a crash may take this long.
    after_crash_seconds: Option<u64>,
}

/// What a leader does when the other machine is lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum OnPeerLoss {
    /// Flushes wait until it returns, or until `nbd-pair alone`.
    #[default]
    Wait,
    /// After three seconds the leader goes on alone.
    Continue,
}

/// What a client's discard (`TRIM`) does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Discard {
    /// Nothing.
    Ignore,
    /// The range reads as zeros, and keeps its room.
    #[default]
    Zero,
    /// The same, and its room is given back.
    Free,
}

/// What becomes of the device when the disk of the machine that leads fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum OnDiskError {
    /// The other machine, if it is in sync, leads by itself, and this one exports the device through it.
    #[default]
    Detach,
    /// The export ends.
    Fail,
}

/// Where a leader listens for NBD clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Listen {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// One machine.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) id: NodeId,
    pub(crate) device: DeviceId,
    pub(crate) dir: PathBuf,
    /// One for each path; both machines have as many.
    pub(crate) replication: Vec<SocketAddr>,
    pub(crate) nbd: Vec<Listen>,
}

impl Node {
    pub(crate) fn member(&self) -> Member {
        Member { node: self.id, device: self.device }
    }

    /// Where its daemon takes commands.
    pub(crate) fn control(&self) -> PathBuf {
        self.dir.join("control")
    }
}

/// The pair as one of the two sees it.
#[derive(Clone, Debug)]
pub(crate) struct Pair {
    cluster: ClusterId,
    volume: VolumeId,
    pub(crate) size: u64,
    pub(crate) export: String,
    pub(crate) write_through: bool,
    pub(crate) on_peer_loss: OnPeerLoss,
    pub(crate) protocol: Protocol,
    /// Both machines export the device.
    pub(crate) dual: bool,
    pub(crate) on_disk_error: OnDiskError,
    pub(crate) discard: Discard,
    config: repl::Config,
    /// Its resyncs wait for those of others on the same disks.
    pub(crate) resync_group: Option<turn::Group>,
    pub(crate) handlers: handlers::Table,
    /// With it, both machines must show certificates.
    pub(crate) link_tls: Option<tls::LinkFiles>,
    /// With it, both machines must prove to know it.
    pub(crate) link_secret: Option<SecretFile>,
    /// Of a link over several paths.
    pub(crate) bond: BondConfig,
    /// With it, TCP clients must begin TLS.
    pub(crate) tls: Option<tls::Files>,
    pub(crate) me: Node,
    pub(crate) peer: Node,
    /// Whether this machine is the first in the file: it dials.
    pub(crate) first: bool,
}

fn default_export() -> String {
    "disk0".into()
}

fn yes() -> bool {
    true
}

fn one() -> usize {
    1
}

impl Pair {
    pub(crate) fn load(path: &Path, node: u64) -> Result<Self, String> {
        let text = std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
        Self::parse(&text, node).map_err(|why| format!("{}: {why}", path.display()))
    }

    pub(crate) fn parse(text: &str, node: u64) -> Result<Self, String> {
        let file: File = toml::from_str(text).map_err(|e| e.to_string())?;
        let nodes = file.node.iter().map(parse_node).collect::<Result<Vec<Node>, String>>()?;
        let [a, b] = <[Node; 2]>::try_from(nodes).map_err(|n| format!("{} nodes instead of two", n.len()))?;
        if a.id == b.id || a.device == b.device {
            return Err("the two nodes must differ in id and device".into());
        }
        check_addresses(&a.replication, &b.replication)?;
        if file.size_mib == 0 {
            return Err("size_mib is 0".into());
        }
        if file.dual && file.protocol != Protocol::C {
            return Err(
                "dual = true needs protocol C: a machine that may be behind cannot go on with the device"
                    .into(),
            );
        }
        if !(1..=2).contains(&file.min_redundancy) {
            return Err("min_redundancy is 1 or 2".into());
        }
        file.handlers.check()?;
        let first = a.id.0 == node;
        let (me, peer) = match first {
            true => (a, b),
            false if b.id.0 == node => (b, a),
            false => return Err(format!("there is no node {node} in it")),
        };
        Ok(Pair {
            cluster: ClusterId(hex16("cluster", &file.cluster)?),
            volume: VolumeId(hex16("volume", &file.volume)?),
            size: file.size_mib.checked_mul(1 << 20).ok_or("size_mib is too large")?,
            export: file.export,
            write_through: file.write_through,
            on_peer_loss: file.on_peer_loss,
            protocol: file.protocol,
            dual: file.dual,
            on_disk_error: file.on_disk_error,
            discard: file.discard,
            config: repl::Config {
                split_brain: file.split_brain,
                verify_reads: file.verify_reads,
                protocol: file.protocol,
                congestion: file.congestion,
                min_redundancy: file.min_redundancy,
                low_redundancy: file.low_redundancy,
                free_discarded: file.discard == Discard::Free,
                granule_bytes: file.granule_kib.map_or(repl::GRANULE, |kib| kib.saturating_mul(1024)),
                ..resync_config(&file.resync)?
            },
            resync_group: file.resync_group,
            handlers: file.handlers,
            link_tls: file.link_tls,
            link_secret: file.link_secret,
            bond: bond_config(&file.paths)?,
            tls: file.tls,
            me,
            peer,
            first,
        })
    }

    pub(crate) fn both(&self) -> BTreeSet<Member> {
        [self.me.member(), self.peer.member()].into()
    }

    /// What tells this volume from others of the machine, for people and for file names.
    pub(crate) fn name(&self) -> String {
        let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
        let [a, b, c, d, ..] = self.volume.0;
        format!("{}-{a:02x}{b:02x}{c:02x}{d:02x}", self.export.chars().map(plain).collect::<String>())
    }

    pub(crate) fn identity(&self) -> Identity {
        Identity { cluster: self.cluster, volume: self.volume, device: self.me.device, node: self.me.id }
    }

    fn paths(&self) -> Paths {
        Paths { data: self.me.dir.join("data"), meta: self.me.dir.join("meta") }
    }

    fn options(&self) -> Options {
        Options { config: self.config.clone(), ..Options::default() }
    }

    pub(crate) fn create(&self) -> Result<(), String> {
        let dir = &self.me.dir;
        std::fs::create_dir_all(dir).map_err(|e| format!("{}: {e}", dir.display()))?;
        Volume::create(&self.paths(), &self.identity(), self.size, self.options())
            .map(drop)
            .map_err(|e| e.to_string())
    }

    /// This machine without its disk, for a device of `size` bytes.
    pub(crate) fn diskless(&self, size: u64) -> Result<Volume, String> {
        Volume::diskless(&self.identity(), size, self.config.clone()).map_err(|e| e.to_string())
    }

    pub(crate) fn open(&self) -> Result<Volume, String> {
        Volume::open(&self.paths(), &self.identity(), self.options()).map_err(|e| e.to_string())
    }

    /// The epoch of the next leadership here. Epochs are `4 * term + kind`; the kind is 1 or 2 for a leadership of the
    /// first or the second machine, so no epoch ever has two leaders, whatever the operators do.
    pub(crate) fn next_epoch(&self, known: u64) -> u64 {
        (known / 4 + 1) * 4 + if self.first { 1 } else { 2 }
    }

    /// The epoch that ends the leadership of `epoch`: kind 3 of its term, so that the other machine's next one is higher
    /// though it may not have heard of it.
    pub(crate) fn last_epoch(epoch: u64) -> u64 {
        epoch | 3
    }
}

fn resync_config(resync: &Resync) -> Result<repl::Config, String> {
    let usual = repl::Config::default();
    let bytes = |kib: Option<u64>, usual: u64| match kib {
        Some(0) => Err("a resync rate of 0".to_owned()),
        Some(kib) => kib.checked_mul(1024).ok_or_else(|| "a resync rate is too large".to_owned()),
        None => Ok(usual),
    };
    Ok(repl::Config {
        resync_rate_min: bytes(resync.min_kib, usual.resync_rate_min)?,
        resync_rate_max: bytes(resync.max_kib, usual.resync_rate_max)?,
        resync_by_digest: resync.by_digest,
        resync_after_crash: resync.after_crash_seconds.map(Duration::from_secs),
        ..usual
    })
}

/// Both machines have an address on each path, and no address twice.
fn check_addresses(a: &[SocketAddr], b: &[SocketAddr]) -> Result<(), String> {
    if a.len() != b.len() || !(1..=PATHS_MAX).contains(&a.len()) {
        return Err(format!("replication: both nodes need the same number of addresses, 1 to {PATHS_MAX}"));
    }
    if a.iter().chain(b).collect::<BTreeSet<_>>().len() < 2 * a.len() {
        return Err("replication: an address stands there twice".into());
    }
    // One path alone does not begin at an address of its own.
    match a.iter().zip(b).find(|(x, y)| a.len() > 1 && x.is_ipv4() != y.is_ipv4()) {
        Some((a, b)) => Err(format!("replication: {a} and {b} cannot be one path")),
        None => Ok(()),
    }
}

fn bond_config(times: &PathTimes) -> Result<BondConfig, String> {
    let usual = BondConfig::default();
    let time = |ms: Option<u64>, usual| ms.map_or(usual, Duration::from_millis);
    let config = BondConfig {
        keepalive: time(times.keepalive_ms, usual.keepalive),
        silence: time(times.silence_ms, usual.silence),
        settle: time(times.settle_ms, usual.settle),
        give_up: time(times.give_up_ms, usual.give_up),
        ..usual
    };
    if config.keepalive.is_zero() || config.silence < 2 * config.keepalive {
        return Err("paths: silence_ms must be twice keepalive_ms or more".into());
    }
    Ok(config)
}

fn parse_node(entry: &NodeEntry) -> Result<Node, String> {
    Ok(Node {
        id: NodeId(entry.id),
        device: DeviceId(hex16("device", &entry.device)?),
        dir: entry.dir.clone(),
        replication: match &entry.replication {
            Addresses::One(address) => vec![*address],
            Addresses::Many(addresses) => addresses.clone(),
        },
        nbd: entry.nbd.iter().map(|text| parse_listen(text)).collect::<Result<_, _>>()?,
    })
}

fn parse_listen(text: &str) -> Result<Listen, String> {
    if let Some(path) = text.strip_prefix("unix:") {
        return Ok(Listen::Unix(path.into()));
    }
    let address = text.strip_prefix("tcp:").and_then(|address| address.parse().ok());
    address.map(Listen::Tcp).ok_or(format!("nbd = {text:?} is neither tcp:ADDRESS:PORT nor unix:PATH"))
}

fn hex16(what: &str, text: &str) -> Result<[u8; 16], String> {
    let bad = || format!("{what} = {text:?} is not 32 hexadecimal digits");
    if text.len() != 32 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(bad());
    }
    Ok(u128::from_str_radix(text, 16).map_err(|_| bad())?.to_be_bytes())
}

/// A new pair's file.
pub(crate) fn fresh(size_mib: u64, hosts: [&str; 2]) -> Result<String, String> {
    let mut random = std::fs::File::open("/dev/urandom").map_err(|e| format!("/dev/urandom: {e}"))?;
    let mut id = || {
        let mut bytes = [0; 16];
        std::io::Read::read_exact(&mut random, &mut bytes).map_err(|e| format!("/dev/urandom: {e}"))?;
        Ok::<_, String>(DeviceId(bytes))
    };
    let mut text = format!(
        "# The same file on both machines.\ncluster = \"{}\"\nvolume = \"{}\"\nsize_mib = {size_mib}\nexport = \"disk0\"\n\
         # Answer a write only when it is on both disks: needed for clients that reconnect by themselves.\n\
         write_through = true\n\
         # \"wait\", or \"continue\": read the README before.\non_peer_loss = \"wait\"\n",
        id()?,
        id()?
    );
    for (n, host) in hosts.into_iter().enumerate() {
        let address = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        text += &format!(
            "\n[[node]]\nid = {}\ndevice = \"{}\"\ndir = \"/var/lib/nbd-pair\"\nreplication = \"{address}:7789\"\n\
             nbd = [\"tcp:{address}:10809\", \"unix:/run/nbd-pair.sock\"]\n",
            n + 1,
            id()?
        );
    }
    Pair::parse(&text, 1).map(|_| text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fresh_file_parses_for_both_machines() {
        let text = fresh(8, ["192.0.2.1", "2001:db8::2"]).unwrap();
        let (a, b) = (Pair::parse(&text, 1).unwrap(), Pair::parse(&text, 2).unwrap());
        assert_eq!((a.me.id, a.peer.id, b.me.id, a.size), (NodeId(1), NodeId(2), NodeId(2), 8 << 20));
        assert_eq!(a.both(), b.both());
        assert!(Pair::parse(&text, 3).is_err());
        assert!(fresh(0, ["192.0.2.1", "192.0.2.2"]).is_err());
        assert!(fresh(8, ["192.0.2.1", "192.0.2.1"]).is_err());
    }

    #[test]
    fn protocol_and_resync_are_read_and_unknown_keys_are_refused() {
        let fresh = fresh(8, ["192.0.2.1", "192.0.2.2"]).unwrap();
        let with =
            |text: &str| Pair::parse(&fresh.replacen("\n[[node]]", &format!("\n{text}\n[[node]]"), 1), 1);
        let pair = with("protocol = \"A\"\ncongestion = \"behind\"\n[resync]\nmin_kib = 500\nmax_kib = 9000")
            .unwrap();
        assert_eq!((pair.protocol, pair.config.protocol), (Protocol::A, Protocol::A));
        assert_eq!(pair.config.congestion, Congestion::Behind);
        assert_eq!((pair.config.resync_rate_min, pair.config.resync_rate_max), (512_000, 9_216_000));
        let pair = with("dual = true\non_disk_error = \"fail\"\nsplit_brain = \"discard-least-changes\"\nmin_redundancy = 2\nlow_redundancy = \"fail\"")
            .unwrap();
        assert_eq!((pair.dual, pair.on_disk_error), (true, OnDiskError::Fail));
        assert_eq!(pair.config.split_brain, SplitBrainPolicy::DiscardLeastChanges);
        assert_eq!((pair.config.min_redundancy, pair.config.low_redundancy), (2, LowRedundancy::Fail));
        assert!(with("[resync_group]\ndir = \"/run/disks\"\norder = 3").unwrap().resync_group.is_some());
        assert!(with("[resync_group]\norder = 3").is_err());
        assert!(with("[handlers]\nsplit_brain = []").is_err());
        assert!(with("discard = \"free\"").unwrap().config.free_discarded);
        assert!(!with("discard = \"ignore\"").unwrap().config.free_discarded);
        assert_eq!(with("granule_kib = 4").unwrap().config.granule_bytes, 4096);
        assert!(with("dual = true\nprotocol = \"A\"").is_err());
        assert!(with("min_redundancy = 3").is_err());
        assert!(with("protocol = \"D\"").is_err());
        assert!(with("[resync]\nmax_kib = 0").is_err());
        assert!(with("[resync]\nfastest = 1").is_err());
        assert!(with("[link_tls]\ncert = \"a\"").is_err());
    }

    #[test]
    fn several_paths_and_a_secret_are_read_and_what_cannot_be_is_refused() {
        let text = fresh(8, ["192.0.2.1", "192.0.2.2"]).unwrap();
        let with = |first: &str, second: &str, more: &str| {
            let text = text.replace("\"192.0.2.1:7789\"", first).replace("\"192.0.2.2:7789\"", second);
            Pair::parse(&text.replacen("\n[[node]]", &format!("\n{more}\n[[node]]"), 1), 1)
        };
        let two = (r#"["10.0.0.1:7789", "192.0.2.1:7789"]"#, r#"["10.0.0.2:7789", "192.0.2.2:7789"]"#);
        let pair =
            with(two.0, two.1, "[paths]\nkeepalive_ms = 50\nsilence_ms = 200\n[link_secret]\nfile = \"s\"")
                .unwrap();
        assert_eq!(
            (pair.me.replication.len(), pair.peer.replication[0]),
            (2, "10.0.0.2:7789".parse().unwrap())
        );
        assert_eq!(
            (pair.bond.keepalive, pair.bond.silence),
            (Duration::from_millis(50), Duration::from_millis(200))
        );
        assert!(pair.link_secret.is_some_and(|secret| secret.seal));
        let one = "\"192.0.2.2:7789\"";
        assert!(with(two.0, one, "").is_err(), "as many on both");
        assert!(with(two.0, two.0, "").is_err(), "twice");
        assert!(with("[]", "[]", "").is_err(), "none");
        assert!(
            with(r#"["[::1]:1", "10.0.0.1:1"]"#, r#"["10.0.0.2:1", "10.0.0.3:1"]"#, "").is_err(),
            "two families"
        );
        assert!(with(two.0, two.1, "[paths]\nsilence_ms = 150").is_err());
        assert!(with(two.0, two.1, "[link_secret]\nseal = true").is_err());
    }

    #[test]
    fn no_epoch_belongs_to_both_machines_and_a_successor_is_above_a_resignation() {
        let text = fresh(8, ["192.0.2.1", "192.0.2.2"]).unwrap();
        let (a, b) = (Pair::parse(&text, 1).unwrap(), Pair::parse(&text, 2).unwrap());
        for known in 0..20 {
            let (first, second) = (a.next_epoch(known), b.next_epoch(known));
            assert!(first > known && second > known);
            assert_eq!((first % 4, second % 4), (1, 2));
            assert!(Pair::last_epoch(first) > first && b.next_epoch(first) > Pair::last_epoch(first));
        }
    }
}

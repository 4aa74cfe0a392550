//! The configuration of one member: a TOML file, parsed and checked into [`Config`].
//!
//! A [`Config`] is right by construction: names are unique, everything that is referred to
//! exists, the timings fit each other, paths are absolute. Whoever holds one need not check again.

mod check;
mod error;
mod raw;
mod size;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use error::ConfigError;
pub use posthaste_heartbeat::{ClusterId, NodeId, VolumeId};
pub use size::{BadSize, parse_size, show_size};

/// A checked configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// The file that it came from.
    pub file: PathBuf,
    /// What all members agree on.
    pub cluster: Cluster,
    /// This member.
    pub node: Node,
    /// All members, this one too, in the file's order.
    pub members: Vec<Member>,
    /// The volumes, in the file's order.
    pub volumes: Vec<Volume>,
    /// The addresses that move, in the file's order.
    pub addresses: Vec<Address>,
    /// How addresses are taken.
    pub driver: Driver,
    /// What mail clients see.
    pub services: Services,
    /// Bounds.
    pub limits: Limits,
    /// Timings of failure detection.
    pub timing: Timing,
    /// Switches for tests.
    pub testing: Testing,
}

/// `[cluster]`: the same in every member's file.
#[derive(Debug, Clone)]
pub struct Cluster {
    /// Random, made by `init`; peers of another cluster are refused.
    pub id: ClusterId,
    /// For people.
    pub name: String,
    /// Mail domains whose users live here, lower case.
    pub domains: Vec<String>,
}

/// Whether a member holds mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Holds volumes, serves mail, votes.
    Node,
    /// Votes only.
    Witness,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Node => "node",
            Self::Witness => "witness",
        })
    }
}

/// `[node]`: this member.
#[derive(Debug, Clone)]
pub struct Node {
    /// Its name among the members.
    pub name: String,
    /// Its number among the members.
    pub id: NodeId,
    /// Whether it holds mail.
    pub role: Role,
    /// Everything that it stores: volumes, the quorum log, the admin socket.
    pub data_dir: PathBuf,
    /// Where it listens for the other members.
    pub peer_listen: SocketAddr,
    /// The cluster's CA certificate (PEM).
    pub ca: PathBuf,
    /// Its own certificate (PEM), which names it and the cluster.
    pub cert: PathBuf,
    /// The key of that certificate (PEM).
    pub key: PathBuf,
}

/// `[[member]]`: one member, as all see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its name.
    pub name: String,
    /// Its number, never reused.
    pub id: NodeId,
    /// Whether it holds mail.
    pub role: Role,
    /// Where the others reach it: `host:port`, looked up at each dial.
    pub address: String,
}

/// `[[volume]]`: a replicated store of mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// Its name.
    pub name: VolumeId,
    /// Size of its device, in bytes; a multiple of 4096.
    pub size: u64,
    /// Size of the log at its front, in bytes; the file store's own choice if absent.
    pub log_size: Option<u64>,
    /// Where it is led when all is well; one of `replicas`.
    pub home: NodeId,
    /// Which nodes have a copy.
    pub replicas: Vec<NodeId>,
}

/// `[[address]]`: an address that clients use and that moves between nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address {
    /// The address.
    pub ip: IpAddr,
    /// Who has it when all is well.
    pub home: NodeId,
}

/// `[addresses]`: how a node takes an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Driver {
    /// By binding it. For addresses that every process of one host can bind: tests and the demo.
    Loopback,
    /// By adding it to an interface and announcing it by ARP or NDP.
    Netlink {
        /// The interface's name.
        interface: String,
        /// Prefix length to add it with; 32 or 128 by default.
        prefix: Option<u8>,
    },
}

/// `[services]`: what mail clients see. A port of `None` is off.
#[derive(Debug, Clone)]
pub struct Services {
    /// In greetings and trace headers.
    pub hostname: String,
    /// SMTP, usually 25.
    pub smtp: Option<u16>,
    /// LMTP, usually 24.
    pub lmtp: Option<u16>,
    /// Submission with STARTTLS, usually 587.
    pub submission: Option<u16>,
    /// Submission over TLS, usually 465.
    pub submissions: Option<u16>,
    /// IMAP with STARTTLS, usually 143.
    pub imap: Option<u16>,
    /// IMAP over TLS, usually 993.
    pub imaps: Option<u16>,
    /// POP3 with STLS, usually 110.
    pub pop3: Option<u16>,
    /// POP3 over TLS, usually 995.
    pub pop3s: Option<u16>,
    /// Whether passwords are accepted without TLS.
    pub plaintext_login: bool,
    /// Certificate chain and key that clients see (PEM).
    pub tls: Option<TlsFiles>,
}

impl Services {
    /// The ports that are on, with the service's name.
    pub fn ports(&self) -> Vec<(&'static str, u16)> {
        self.every().into_iter().filter_map(|(name, port)| Some((name, port?))).collect()
    }

    /// Whether a service begins with TLS.
    pub fn wants_tls(&self) -> bool {
        self.submissions.or(self.imaps).or(self.pop3s).is_some()
    }

    fn every(&self) -> [(&'static str, Option<u16>); 8] {
        [
            ("smtp", self.smtp),
            ("lmtp", self.lmtp),
            ("submission", self.submission),
            ("submissions", self.submissions),
            ("imap", self.imap),
            ("imaps", self.imaps),
            ("pop3", self.pop3),
            ("pop3s", self.pop3s),
        ]
    }
}

/// A certificate chain and its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The chain (PEM), the server's own certificate first.
    pub cert: PathBuf,
    /// The key (PEM).
    pub key: PathBuf,
}

/// `[limits]`: bounds of what clients can make a node hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one message.
    pub message_size: u64,
    /// Client connections at once.
    pub connections: usize,
    /// Bytes of messages in memory at once.
    pub memory: u64,
    /// Recipients of one message.
    pub recipients: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { message_size: 50 << 20, connections: 1024, memory: 256 << 20, recipients: 1000 }
    }
}

/// `[timing]`: failure detection. The same in every member's file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// How often members say that they are alive.
    pub heartbeat: Duration,
    /// Silence after which a member is suspected. At least three heartbeats.
    pub suspect: Duration,
    /// How long an owner may act after its last renewal. More than `suspect`.
    pub lease: Duration,
    /// What an owner gives up of its lease for clock drift. At most half of `lease`.
    pub margin: Duration,
    /// How long a disk may owe an answer before what it leads moves away.
    pub disk: Duration,
    /// Whether a refused connection after a closed one proves that a member's process is gone. It saves
    /// part of the wait for its silence, never the wait for its lease.
    pub hints: bool,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_millis(100),
            suspect: Duration::from_millis(500),
            lease: Duration::from_millis(700),
            margin: Duration::from_millis(100),
            disk: Duration::from_secs(20),
            hints: false,
        }
    }
}

/// `[testing]`: never in production.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Testing {
    /// Keeps what was written and not flushed in process memory, so that SIGKILL is a power cut.
    pub volatile_disk: bool,
}

impl Config {
    /// Reads and checks the file at `path`. Relative paths in it are relative to its directory.
    ///
    /// # Errors
    /// [`ConfigError`] names the file, and where it can the line and the key.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let file = std::path::absolute(path).map_err(|e| ConfigError::file(path, &e))?;
        let text = std::fs::read_to_string(&file).map_err(|e| ConfigError::file(path, &e))?;
        Self::parse(&text, &file)
    }

    /// Checks `text`, the content of `file` (which need not exist).
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn parse(text: &str, file: &Path) -> Result<Self, ConfigError> {
        let raw: raw::File = toml::from_str(text).map_err(|e| ConfigError::toml(file, text, &e))?;
        check::check(raw, text, file)
    }

    /// The member of that number.
    pub fn member(&self, id: NodeId) -> Option<&Member> {
        self.members.iter().find(|m| m.id == id)
    }

    /// The member of that name.
    pub fn member_named(&self, name: &str) -> Option<&Member> {
        self.members.iter().find(|m| m.name == name)
    }

    /// A member's name for people; its number if it has none.
    pub fn name_of(&self, id: NodeId) -> String {
        self.member(id).map_or_else(|| id.to_string(), |m| m.name.clone())
    }

    /// The volume of that name.
    pub fn volume(&self, name: &str) -> Option<&Volume> {
        self.volumes.iter().find(|v| v.name.as_str() == name)
    }

    /// The members that hold mail.
    pub fn nodes(&self) -> impl Iterator<Item = &Member> {
        self.members.iter().filter(|m| m.role == Role::Node)
    }

    /// All members but this one.
    pub fn others(&self) -> impl Iterator<Item = &Member> {
        self.members.iter().filter(|m| m.id != self.node.id)
    }

    /// The operator's socket.
    pub fn admin_socket(&self) -> PathBuf {
        self.node.data_dir.join("admin.sock")
    }
}

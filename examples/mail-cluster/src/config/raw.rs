//! The file's shape, before its meaning is checked. Spans lead errors back to lines.

use serde::Deserialize;
use toml::Spanned;

use super::Role;

type Text = Spanned<String>;
type Number = Spanned<u64>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    pub(super) cluster: Cluster,
    pub(super) node: Node,
    #[serde(default, rename = "member")]
    pub(super) members: Vec<Spanned<Member>>,
    #[serde(default, rename = "volume")]
    pub(super) volumes: Vec<Spanned<Volume>>,
    #[serde(default, rename = "address")]
    pub(super) addresses: Vec<Address>,
    #[serde(rename = "addresses")]
    pub(super) driver: Option<Spanned<Addresses>>,
    pub(super) services: Option<Spanned<Services>>,
    #[serde(default)]
    pub(super) limits: Limits,
    #[serde(default)]
    pub(super) timing: Timing,
    #[serde(default)]
    pub(super) testing: Testing,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Cluster {
    pub(super) id: Text,
    pub(super) name: Text,
    pub(super) domains: Spanned<Vec<Text>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Node {
    pub(super) name: Text,
    pub(super) id: Number,
    pub(super) role: Spanned<Role>,
    pub(super) data_dir: Text,
    pub(super) peer_listen: Text,
    pub(super) ca: Text,
    pub(super) cert: Text,
    pub(super) key: Text,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Member {
    pub(super) name: Text,
    pub(super) id: Number,
    pub(super) role: Role,
    pub(super) address: Text,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Volume {
    pub(super) name: Text,
    pub(super) size: Text,
    pub(super) log_size: Option<Text>,
    pub(super) home: Text,
    pub(super) replicas: Spanned<Vec<Text>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Address {
    pub(super) ip: Text,
    pub(super) home: Text,
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(super) enum DriverName {
    Loopback,
    Netlink,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Addresses {
    pub(super) driver: DriverName,
    pub(super) interface: Option<Text>,
    pub(super) prefix: Option<Spanned<u8>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Services {
    pub(super) hostname: Text,
    pub(super) smtp: Option<Spanned<u16>>,
    pub(super) lmtp: Option<Spanned<u16>>,
    pub(super) submission: Option<Spanned<u16>>,
    pub(super) submissions: Option<Spanned<u16>>,
    pub(super) imap: Option<Spanned<u16>>,
    pub(super) imaps: Option<Spanned<u16>>,
    pub(super) pop3: Option<Spanned<u16>>,
    pub(super) pop3s: Option<Spanned<u16>>,
    #[serde(default)]
    pub(super) plaintext_login: bool,
    pub(super) cert: Option<Text>,
    pub(super) key: Option<Text>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct Limits {
    pub(super) message_size: Option<Text>,
    pub(super) connections: Option<Number>,
    pub(super) memory: Option<Text>,
    pub(super) recipients: Option<Number>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct Timing {
    pub(super) heartbeat_ms: Option<Number>,
    pub(super) suspect_ms: Option<Number>,
    pub(super) lease_ms: Option<Number>,
    pub(super) margin_ms: Option<Number>,
    pub(super) disk_ms: Option<Number>,
    #[serde(default)]
    pub(super) hints: bool,
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(super) enum DiskName {
    Durable,
    Volatile,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct Testing {
    pub(super) disk: Option<DiskName>,
}

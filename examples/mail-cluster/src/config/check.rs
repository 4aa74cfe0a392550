//! From the file's shape to its meaning; every error with its line and key.

use std::collections::HashMap;
use std::fmt::Display;
use std::net::IpAddr;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use toml::Spanned;

use super::error::{ConfigError, line_of};
use super::{
    Address, Cluster, ClusterId, Config, Driver, Limits, Member, Node, NodeId, Role, Services, Testing,
    Timing, TlsFiles, Volume, VolumeId, parse_size, raw,
};

type Span = Range<usize>;
type Result<T> = std::result::Result<T, ConfigError>;

/// Members of one cluster at most: small tables everywhere.
const MEMBERS_MAX: usize = 64;
/// Volumes and addresses at most.
const ITEMS_MAX: usize = 1024;
/// The smallest device that can hold a log and a checkpoint.
const VOLUME_MIN: u64 = 16 << 20;

pub(super) fn check(raw: raw::File, text: &str, file: &Path) -> Result<Config> {
    let at = Place { text, file };
    let cluster = at.cluster(&raw.cluster)?;
    let members = at.members(&raw.members)?;
    let node = at.node(&raw.node, &members)?;
    let volumes = at.volumes(&raw.volumes, &members)?;
    let driver = at.driver(raw.driver.as_ref())?;
    let addresses = at.addresses(&raw.addresses, &members, &driver)?;
    let services = at.services(raw.services.as_ref(), node.role, &cluster)?;
    let limits = at.limits(&raw.limits)?;
    let timing = at.timing(&raw.timing)?;
    let testing = Testing { volatile_disk: raw.testing.disk == Some(raw::DiskName::Volatile) };
    let file = file.to_owned();
    Ok(Config { file, cluster, node, members, volumes, addresses, driver, services, limits, timing, testing })
}

/// Where errors point to.
struct Place<'a> {
    text: &'a str,
    file: &'a Path,
}

impl Place<'_> {
    fn wrong(&self, span: &Span, key: impl Into<String>, message: impl Display) -> ConfigError {
        let (line, key) = (Some(line_of(self.text, span)), Some(key.into()));
        ConfigError { file: self.file.to_owned(), line, key, message: message.to_string() }
    }

    fn missing(&self, key: &str, message: &str) -> ConfigError {
        let (file, key) = (self.file.to_owned(), Some(key.to_owned()));
        ConfigError { file, line: None, key, message: message.to_owned() }
    }

    fn parse<T: FromStr>(&self, text: &Spanned<String>, key: &str, what: &str) -> Result<T> {
        let bad = |_| self.wrong(&text.span(), key, format!("{:?} is no {what}", text.get_ref()));
        text.get_ref().trim().parse().map_err(bad)
    }

    fn size(&self, text: &Spanned<String>, key: &str) -> Result<u64> {
        parse_size(text.get_ref()).map_err(|e| self.wrong(&text.span(), key, e))
    }

    /// Relative to the file's directory.
    fn path(&self, text: &Spanned<String>, key: &str) -> Result<PathBuf> {
        if text.get_ref().is_empty() {
            return Err(self.wrong(&text.span(), key, "is empty; write a path"));
        }
        Ok(self.file.parent().unwrap_or(Path::new("/")).join(text.get_ref()))
    }

    fn cluster(&self, raw: &raw::Cluster) -> Result<Cluster> {
        let digits = raw.id.get_ref().replace('-', "");
        let id = (digits.len() == 32).then(|| u128::from_str_radix(&digits, 16).ok()).flatten();
        let no_id = || {
            self.wrong(
                &raw.id.span(),
                "cluster.id",
                "is no cluster id: 32 hexadecimal digits, made by `posthaste init`",
            )
        };
        let id = ClusterId(id.ok_or_else(no_id)?);
        if raw.name.get_ref().trim().is_empty() {
            return Err(self.wrong(&raw.name.span(), "cluster.name", "is empty"));
        }
        let domains = raw.domains.get_ref().iter().map(|d| self.domain(d)).collect::<Result<Vec<_>>>()?;
        if domains.is_empty() {
            return Err(self.wrong(
                &raw.domains.span(),
                "cluster.domains",
                "is empty; name at least one mail domain",
            ));
        }
        Ok(Cluster { id, name: raw.name.get_ref().clone(), domains })
    }

    fn domain(&self, text: &Spanned<String>) -> Result<String> {
        let name = text.get_ref();
        if is_domain(name) {
            return Ok(name.to_ascii_lowercase());
        }
        Err(self.wrong(&text.span(), "cluster.domains", format!("{name:?} is no domain name")))
    }

    fn members(&self, raw: &[Spanned<raw::Member>]) -> Result<Vec<Member>> {
        if raw.is_empty() || raw.len() > MEMBERS_MAX {
            return Err(self.missing(
                "member",
                &format!(
                    "has {} entries; write one [[member]] for each node and witness, at most {MEMBERS_MAX}",
                    raw.len()
                ),
            ));
        }
        let (mut names, mut ids, mut addresses) = (Unique::default(), Unique::default(), Unique::default());
        let mut members = Vec::with_capacity(raw.len());
        for (i, entry) in raw.iter().enumerate() {
            let m = entry.get_ref();
            let member = self.member(i, m)?;
            names.insert(self, &m.name.span(), format!("member[{i}].name"), member.name.clone())?;
            ids.insert(self, &m.id.span(), format!("member[{i}].id"), member.id.0)?;
            addresses.insert(
                self,
                &m.address.span(),
                format!("member[{i}].address"),
                member.address.clone(),
            )?;
            members.push(member);
        }
        self.roles(raw, &members)?;
        Ok(members)
    }

    fn member(&self, i: usize, m: &raw::Member) -> Result<Member> {
        let name = m.name.get_ref();
        if !is_name(name) {
            return Err(self.wrong(
                &m.name.span(),
                format!("member[{i}].name"),
                format!("{name:?} is no name: 1 to 32 of a-z A-Z 0-9 - _"),
            ));
        }
        if *m.id.get_ref() == 0 {
            return Err(self.wrong(&m.id.span(), format!("member[{i}].id"), "is 0; numbers begin with 1"));
        }
        let address = m.address.get_ref().clone();
        if !is_host_port(&address) {
            return Err(self.wrong(
                &m.address.span(),
                format!("member[{i}].address"),
                format!("{address:?} is no address: write host:port, like \"192.0.2.1:7420\""),
            ));
        }
        Ok(Member { name: name.clone(), id: NodeId(*m.id.get_ref()), role: m.role, address })
    }

    fn roles(&self, raw: &[Spanned<raw::Member>], members: &[Member]) -> Result<()> {
        let mut witnesses = members.iter().enumerate().filter(|(_, m)| m.role == Role::Witness);
        if members.iter().all(|m| m.role == Role::Witness) {
            return Err(self.missing("member", "has no entry with role \"node\": nobody would hold mail"));
        }
        match witnesses.nth(1) {
            Some((i, _)) => Err(self.wrong(
                &raw[i].span(),
                format!("member[{i}].role"),
                "is the second witness; one is enough for any cluster",
            )),
            None => Ok(()),
        }
    }

    fn node(&self, raw: &raw::Node, members: &[Member]) -> Result<Node> {
        let name = raw.name.get_ref();
        let known = members.iter().find(|m| m.name == *name).ok_or_else(|| {
            self.wrong(
                &raw.name.span(),
                "node.name",
                format!("{name:?} is no member; members are {}", names(members)),
            )
        })?;
        if known.id.0 != *raw.id.get_ref() {
            return Err(self.wrong(
                &raw.id.span(),
                "node.id",
                format!("is {}, but the member {name:?} has id {}", raw.id.get_ref(), known.id.0),
            ));
        }
        if known.role != *raw.role.get_ref() {
            return Err(self.wrong(
                &raw.role.span(),
                "node.role",
                format!("is {}, but the member {name:?} is a {}", raw.role.get_ref(), known.role),
            ));
        }
        Ok(Node {
            name: name.clone(),
            id: known.id,
            role: known.role,
            data_dir: self.path(&raw.data_dir, "node.data_dir")?,
            peer_listen: self.parse(
                &raw.peer_listen,
                "node.peer_listen",
                "address to listen on: write ip:port, like \"0.0.0.0:7420\"",
            )?,
            ca: self.path(&raw.ca, "node.ca")?,
            cert: self.path(&raw.cert, "node.cert")?,
            key: self.path(&raw.key, "node.key")?,
        })
    }

    /// The node (not witness) of that name.
    fn holder(&self, name: &Spanned<String>, key: String, members: &[Member]) -> Result<NodeId> {
        match members.iter().find(|m| m.name == *name.get_ref()) {
            Some(m) if m.role == Role::Node => Ok(m.id),
            Some(_) => Err(self.wrong(
                &name.span(),
                key,
                format!("{:?} is the witness, which holds nothing", name.get_ref()),
            )),
            None => Err(self.wrong(
                &name.span(),
                key,
                format!("{:?} is no member; members are {}", name.get_ref(), names(members)),
            )),
        }
    }

    fn volumes(&self, raw: &[Spanned<raw::Volume>], members: &[Member]) -> Result<Vec<Volume>> {
        if raw.is_empty() || raw.len() > ITEMS_MAX {
            return Err(self.missing(
                "volume",
                &format!("has {} entries; write one [[volume]] for each, 1 to {ITEMS_MAX}", raw.len()),
            ));
        }
        let mut seen = Unique::default();
        let mut volumes = Vec::with_capacity(raw.len());
        for (i, entry) in raw.iter().enumerate() {
            let v = entry.get_ref();
            let volume = self.volume(i, v, members)?;
            seen.insert(self, &v.name.span(), format!("volume[{i}].name"), volume.name.to_string())?;
            volumes.push(volume);
        }
        Ok(volumes)
    }

    fn volume(&self, i: usize, v: &raw::Volume, members: &[Member]) -> Result<Volume> {
        let key = |field: &str| format!("volume[{i}].{field}");
        let name =
            VolumeId::parse(v.name.get_ref()).map_err(|e| self.wrong(&v.name.span(), key("name"), e))?;
        let size = self.size(&v.size, &key("size"))?;
        if size < VOLUME_MIN || !size.is_multiple_of(4096) {
            return Err(self.wrong(
                &v.size.span(),
                key("size"),
                "must be at least 16 MiB and a multiple of 4 KiB",
            ));
        }
        let log_size =
            v.log_size.as_ref().map(|text| self.log_size(text, &key("log_size"), size)).transpose()?;
        let mut replicas = Vec::new();
        for name in v.replicas.get_ref() {
            let id = self.holder(name, key("replicas"), members)?;
            if replicas.contains(&id) {
                return Err(self.wrong(
                    &name.span(),
                    key("replicas"),
                    format!("names {:?} twice", name.get_ref()),
                ));
            }
            replicas.push(id);
        }
        if replicas.is_empty() {
            return Err(self.wrong(
                &v.replicas.span(),
                key("replicas"),
                "is empty; name the nodes that have a copy",
            ));
        }
        let home = self.holder(&v.home, key("home"), members)?;
        if !replicas.contains(&home) {
            return Err(self.wrong(
                &v.home.span(),
                key("home"),
                format!("{:?} is not one of the volume's replicas", v.home.get_ref()),
            ));
        }
        Ok(Volume { name, size, log_size, home, replicas })
    }

    fn log_size(&self, text: &Spanned<String>, key: &str, size: u64) -> Result<u64> {
        let log = self.size(text, key)?;
        if log == 0 || !log.is_multiple_of(4096) || log > size / 2 {
            return Err(self.wrong(
                &text.span(),
                key,
                "must be a multiple of 4 KiB and at most half of the volume",
            ));
        }
        Ok(log)
    }

    fn driver(&self, raw: Option<&Spanned<raw::Addresses>>) -> Result<Driver> {
        let Some(spanned) = raw else { return Ok(Driver::Loopback) };
        let raw = spanned.get_ref();
        match (raw.driver, &raw.interface) {
            (raw::DriverName::Loopback, Some(name)) => {
                Err(self.wrong(&name.span(), "addresses.interface", "is of no use with driver \"loopback\""))
            }
            (raw::DriverName::Loopback, None) => Ok(Driver::Loopback),
            (raw::DriverName::Netlink, None) => Err(self.wrong(
                &spanned.span(),
                "addresses.interface",
                "is missing; driver \"netlink\" needs it",
            )),
            (raw::DriverName::Netlink, Some(name)) => self.netlink(name, raw.prefix.as_ref()),
        }
    }

    fn netlink(&self, interface: &Spanned<String>, prefix: Option<&Spanned<u8>>) -> Result<Driver> {
        let name = interface.get_ref();
        // IFNAMSIZ is 16 with the terminator.
        if name.is_empty() || name.len() > 15 || name.contains(['/', ' ']) {
            return Err(self.wrong(
                &interface.span(),
                "addresses.interface",
                format!("{name:?} is no interface name"),
            ));
        }
        Ok(Driver::Netlink { interface: name.clone(), prefix: prefix.map(|p| *p.get_ref()) })
    }

    fn addresses(&self, raw: &[raw::Address], members: &[Member], driver: &Driver) -> Result<Vec<Address>> {
        if raw.len() > ITEMS_MAX {
            return Err(self.missing("address", &format!("has more than {ITEMS_MAX} entries")));
        }
        let mut seen = Unique::default();
        let mut addresses = Vec::with_capacity(raw.len());
        for (i, a) in raw.iter().enumerate() {
            let key = format!("address[{i}].ip");
            let ip: IpAddr = self.parse(&a.ip, &key, "IP address")?;
            self.fits_driver(&a.ip.span(), &key, ip, driver)?;
            seen.insert(self, &a.ip.span(), key, ip)?;
            addresses
                .push(Address { ip, home: self.holder(&a.home, format!("address[{i}].home"), members)? });
        }
        Ok(addresses)
    }

    fn fits_driver(&self, span: &Span, key: &str, ip: IpAddr, driver: &Driver) -> Result<()> {
        if ip.is_unspecified() || ip.is_multicast() {
            return Err(self.wrong(span, key, format!("{ip} cannot be one node's address")));
        }
        match driver {
            Driver::Loopback if !ip.is_loopback() => Err(self.wrong(
                span,
                key,
                format!("{ip} is not on the loopback; driver \"loopback\" takes 127.0.0.0/8 and ::1"),
            )),
            Driver::Netlink { .. } if ip.is_loopback() => {
                Err(self.wrong(span, key, format!("{ip} is on the loopback; nobody else could reach it")))
            }
            Driver::Netlink { prefix: Some(prefix), .. } if *prefix > bits(ip) || *prefix == 0 => {
                Err(self.wrong(span, key, format!("prefix {prefix} does not fit {ip}")))
            }
            _ => Ok(()),
        }
    }

    fn services(
        &self,
        raw: Option<&Spanned<raw::Services>>,
        role: Role,
        cluster: &Cluster,
    ) -> Result<Services> {
        let Some(spanned) = raw else {
            return match role {
                Role::Witness => Ok(no_services(cluster)),
                Role::Node => Err(self.missing("services", "is missing; a node needs [services]")),
            };
        };
        let raw = spanned.get_ref();
        let services = self.ports(raw)?;
        if services.tls.is_none() && services.wants_tls() {
            return Err(self.wrong(
                &spanned.span(),
                "services.cert",
                "is missing; imaps, pop3s and submissions need cert and key",
            ));
        }
        if services.tls.is_none() && !services.plaintext_login {
            return Err(self.wrong(
                &spanned.span(),
                "services.cert",
                "is missing: without cert and key nobody could log in; or set plaintext_login = true",
            ));
        }
        Ok(services)
    }

    fn ports(&self, raw: &raw::Services) -> Result<Services> {
        let mut seen = Unique::default();
        let mut port = |value: &Option<Spanned<u16>>, name: &str| -> Result<Option<u16>> {
            let Some(value) = value.as_ref().filter(|v| *v.get_ref() != 0) else { return Ok(None) };
            seen.insert(self, &value.span(), format!("services.{name}"), *value.get_ref())?;
            Ok(Some(*value.get_ref()))
        };
        let hostname = raw.hostname.get_ref();
        if !is_domain(hostname) {
            return Err(self.wrong(
                &raw.hostname.span(),
                "services.hostname",
                format!("{hostname:?} is no host name"),
            ));
        }
        Ok(Services {
            hostname: hostname.clone(),
            smtp: port(&raw.smtp, "smtp")?,
            lmtp: port(&raw.lmtp, "lmtp")?,
            submission: port(&raw.submission, "submission")?,
            submissions: port(&raw.submissions, "submissions")?,
            imap: port(&raw.imap, "imap")?,
            imaps: port(&raw.imaps, "imaps")?,
            pop3: port(&raw.pop3, "pop3")?,
            pop3s: port(&raw.pop3s, "pop3s")?,
            plaintext_login: raw.plaintext_login,
            tls: self.tls(raw)?,
        })
    }

    fn tls(&self, raw: &raw::Services) -> Result<Option<TlsFiles>> {
        match (&raw.cert, &raw.key) {
            (None, None) => Ok(None),
            (Some(cert), Some(key)) => Ok(Some(TlsFiles {
                cert: self.path(cert, "services.cert")?,
                key: self.path(key, "services.key")?,
            })),
            (Some(cert), None) => Err(self.wrong(&cert.span(), "services.key", "is missing; cert needs it")),
            (None, Some(key)) => Err(self.wrong(&key.span(), "services.cert", "is missing; key needs it")),
        }
    }

    fn limits(&self, raw: &raw::Limits) -> Result<Limits> {
        let mut limits = Limits::default();
        if let Some(text) = &raw.message_size {
            limits.message_size = self.size(text, "limits.message_size")?;
        }
        if let Some(text) = &raw.memory {
            limits.memory = self.size(text, "limits.memory")?;
        }
        if let Some(n) = &raw.connections {
            limits.connections = self.count(n, "limits.connections", 1_000_000)?;
        }
        if let Some(n) = &raw.recipients {
            limits.recipients = self.count(n, "limits.recipients", 100_000)?;
        }
        // A replicated message travels in one request of at most 64 MiB.
        if !(1024..=60 << 20).contains(&limits.message_size) {
            let span = raw.message_size.as_ref().map_or(0..0, Spanned::span);
            return Err(self.wrong(&span, "limits.message_size", "must be 1 KiB to 60 MiB"));
        }
        if limits.memory < limits.message_size.saturating_mul(2) {
            let span = raw.memory.as_ref().or(raw.message_size.as_ref()).map_or(0..0, Spanned::span);
            return Err(self.wrong(
                &span,
                "limits.memory",
                "must hold at least two messages of message_size",
            ));
        }
        Ok(limits)
    }

    fn count(&self, n: &Spanned<u64>, key: &str, max: usize) -> Result<usize> {
        let fits = usize::try_from(*n.get_ref()).ok().filter(|n| (1..=max).contains(n));
        fits.ok_or_else(|| self.wrong(&n.span(), key, format!("must be 1 to {max}")))
    }

    fn timing(&self, raw: &raw::Timing) -> Result<Timing> {
        let default = Timing::default();
        let heartbeat = self.millis(raw.heartbeat_ms.as_ref(), default.heartbeat, "timing.heartbeat_ms")?;
        let suspect = self.millis(raw.suspect_ms.as_ref(), default.suspect, "timing.suspect_ms")?;
        let lease = self.millis(raw.lease_ms.as_ref(), default.lease, "timing.lease_ms")?;
        let margin = self.millis(raw.margin_ms.as_ref(), default.margin, "timing.margin_ms")?;
        let disk = self.millis(raw.disk_ms.as_ref(), default.disk, "timing.disk_ms")?;
        let relations = [
            (
                suspect >= heartbeat * 3,
                &raw.suspect_ms,
                "timing.suspect_ms",
                "must be at least three times heartbeat_ms: one lost packet is no failure",
            ),
            (
                lease > suspect,
                &raw.lease_ms,
                "timing.lease_ms",
                "must be more than suspect_ms: an owner must survive what is not yet suspected",
            ),
            (
                disk >= lease * 2,
                &raw.disk_ms,
                "timing.disk_ms",
                "must be at least twice lease_ms: a disk that is busy is not dead",
            ),
            (margin * 2 <= lease, &raw.margin_ms, "timing.margin_ms", "must be at most half of lease_ms"),
            (
                lease.saturating_sub(margin) >= heartbeat * 3,
                &raw.lease_ms,
                "timing.lease_ms",
                "less margin_ms must be at least three times heartbeat_ms",
            ),
        ];
        for (holds, value, key, message) in relations {
            if !holds {
                return Err(self.untimely(raw, value.as_ref(), key, message));
            }
        }
        Ok(Timing { heartbeat, suspect, lease, margin, disk, hints: raw.hints })
    }

    /// A relation fails though its key may be absent: then the line is that of a timing that is there.
    fn untimely(
        &self,
        raw: &raw::Timing,
        value: Option<&Spanned<u64>>,
        key: &str,
        message: &str,
    ) -> ConfigError {
        let others = [&raw.heartbeat_ms, &raw.suspect_ms, &raw.lease_ms, &raw.margin_ms, &raw.disk_ms];
        match value.or_else(|| others.into_iter().flatten().next()) {
            Some(value) => self.wrong(&value.span(), key, message),
            None => self.missing(key, message),
        }
    }

    fn millis(&self, value: Option<&Spanned<u64>>, default: Duration, key: &str) -> Result<Duration> {
        match value {
            None => Ok(default),
            Some(ms) if (5..=600_000).contains(ms.get_ref()) => Ok(Duration::from_millis(*ms.get_ref())),
            Some(ms) => Err(self.wrong(&ms.span(), key, "must be 5 to 600000 milliseconds")),
        }
    }
}

/// Values that must differ, and where each was first seen.
struct Unique<T>(HashMap<T, usize>);

impl<T> Default for Unique<T> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<T: std::hash::Hash + Eq + Display + Clone> Unique<T> {
    fn insert(&mut self, at: &Place<'_>, span: &Span, key: String, value: T) -> Result<()> {
        let line = line_of(at.text, span);
        match self.0.insert(value.clone(), line) {
            Some(first) => Err(at.wrong(span, key, format!("{value} is used twice, first on line {first}"))),
            None => Ok(()),
        }
    }
}

fn names(members: &[Member]) -> String {
    members.iter().map(|m| m.name.as_str()).collect::<Vec<_>>().join(", ")
}

fn bits(ip: IpAddr) -> u8 {
    if ip.is_ipv4() { 32 } else { 128 }
}

fn no_services(cluster: &Cluster) -> Services {
    let hostname = cluster.domains.first().cloned().unwrap_or_default();
    Services {
        hostname,
        smtp: None,
        lmtp: None,
        submission: None,
        submissions: None,
        imap: None,
        imaps: None,
        pop3: None,
        pop3s: None,
        plaintext_login: false,
        tls: None,
    }
}

/// A member's name: 1 to 32 of `a-z A-Z 0-9 - _`.
pub(crate) fn is_name(name: &str) -> bool {
    (1..=32).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
}

/// A host name by RFC 1123 §2.1: labels of letters, digits and inner hyphens.
pub(crate) fn is_domain(name: &str) -> bool {
    let label = |l: &str| {
        (1..=63).contains(&l.len())
            && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !l.starts_with('-')
            && !l.ends_with('-')
    };
    name.len() <= 253 && name.split('.').all(label)
}

/// `host:port` with a host name, an IPv4 address or a bracketed IPv6 address, and a port above 0.
pub(crate) fn is_host_port(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let host_fits = match host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
        Some(v6) => v6.parse::<std::net::Ipv6Addr>().is_ok(),
        None => is_domain(host),
    };
    host_fits && port.parse::<u16>().is_ok_and(|p| p > 0) && port.bytes().all(|b| b.is_ascii_digit())
}

//! `posthaste init`: from the command line to a [`Plan`], and what to do next.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::{Layout, Plan, Planned, Ports, lay};
use crate::config::{Driver, Limits, Role, Timing, parse_size};
use crate::error::Error;

/// What `posthaste init` takes.
#[derive(Debug, Clone, clap::Args)]
pub struct InitArgs {
    /// Where to write; must be absent or empty
    #[arg(long)]
    dir: PathBuf,
    /// A mail domain whose users live here; the first one names the cluster
    #[arg(long = "domain", required = true)]
    domains: Vec<String>,
    /// A node that holds mail, and where the others reach it
    #[arg(long = "node", required = true, value_name = "NAME=HOST:PORT", value_parser = member)]
    nodes: Vec<Planned>,
    /// The witness, which only votes
    #[arg(long, value_name = "NAME=HOST:PORT", value_parser = member)]
    witness: Option<Planned>,
    /// An address that moves, and the node where it is at home
    #[arg(long = "address", value_name = "IP=NODE", value_parser = address)]
    addresses: Vec<(IpAddr, String)>,
    /// The interface to add the addresses to; without it they must be loopback addresses
    #[arg(long)]
    interface: Option<String>,
    /// Prefix length to add the addresses with
    #[arg(long, requires = "interface")]
    prefix: Option<u8>,
    /// Size of the volume of each node
    #[arg(long, default_value = "10 GiB", value_parser = size)]
    volume_size: u64,
    /// What greetings say; `mail.` and the first domain by default
    #[arg(long)]
    hostname: Option<String>,
    /// Another port for a service, 0 for off: smtp, lmtp, submission, submissions, imap, imaps, pop3, pop3s
    #[arg(long = "port", value_name = "SERVICE=PORT", value_parser = port)]
    ports: Vec<(String, u16)>,
    /// Accept passwords without TLS
    #[arg(long)]
    plaintext_login: bool,
    /// Where each member stores everything; relative to its configuration
    #[arg(long, default_value = "/var/lib/posthaste")]
    data_dir: PathBuf,
    /// Unflushed writes die with the process: for tests only
    #[arg(long, hide = true)]
    volatile_disk: bool,
    /// Milliseconds of silence after which a member is suspected; the lease follows
    #[arg(long, hide = true)]
    suspect_ms: Option<u64>,
}

/// Lays the cluster out and says what to do next.
///
/// # Errors
/// As [`lay`].
pub fn run(args: InitArgs) -> Result<(), Error> {
    let layout = lay(&args.plan()?)?;
    print!("{}", next(&layout));
    Ok(())
}

impl InitArgs {
    fn plan(self) -> Result<Plan, Error> {
        let first = self.domains.first().cloned().unwrap_or_default();
        let driver = match self.interface {
            Some(interface) => Driver::Netlink { interface, prefix: self.prefix },
            None => Driver::Loopback,
        };
        let mut ports = Ports::default();
        for (service, port) in &self.ports {
            *ports
                .of(service)
                .ok_or_else(|| Error::failed(format!("--port {service}: no such service")))? = *port;
        }
        Ok(Plan {
            dir: self.dir,
            name: first.clone(),
            domains: self.domains,
            nodes: self.nodes,
            witness: self.witness,
            addresses: self.addresses,
            driver,
            volume_size: self.volume_size,
            hostname: self.hostname.unwrap_or_else(|| format!("mail.{first}")),
            ports,
            plaintext_login: self.plaintext_login,
            data_dir: self.data_dir,
            timing: timing(self.suspect_ms),
            limits: Limits::default(),
            volatile_disk: self.volatile_disk,
        })
    }
}

/// The default relations, scaled.
fn timing(suspect_ms: Option<u64>) -> Timing {
    let default = Timing::default();
    let Some(ms) = suspect_ms else { return default };
    let suspect = Duration::from_millis(ms);
    Timing {
        heartbeat: suspect / 5,
        suspect,
        lease: suspect * 7 / 5,
        margin: suspect / 5,
        disk: default.disk.max(suspect * 3),
        ..default
    }
}

fn member(text: &str) -> Result<Planned, String> {
    let (name, address) = text.split_once('=').ok_or("write NAME=HOST:PORT")?;
    Ok(Planned::new(name, address))
}

fn address(text: &str) -> Result<(IpAddr, String), String> {
    let (ip, home) = text.split_once('=').ok_or("write IP=NODE")?;
    Ok((ip.parse().map_err(|_| format!("{ip:?} is no IP address"))?, home.to_owned()))
}

fn port(text: &str) -> Result<(String, u16), String> {
    let (service, port) = text.split_once('=').ok_or("write SERVICE=PORT")?;
    Ports::default().of(service).ok_or_else(|| format!("{service:?} is no service"))?;
    Ok((service.to_owned(), port.parse().map_err(|_| format!("{port:?} is no port"))?))
}

fn size(text: &str) -> Result<u64, String> {
    parse_size(text).map_err(|e| e.to_string())
}

/// What an operator does with the layout.
fn next(layout: &Layout) -> String {
    let mut out = format!("The cluster {} is laid out in {}.\n\n", layout.cluster, layout.dir.display());
    out.push_str("Copy each directory to its host (it has the member's key), for example:\n");
    for m in &layout.members {
        let host = m.address.rsplit_once(':').map_or(m.address.as_str(), |(host, _)| host);
        out.push_str(&format!("  rsync -a {}/ root@{host}:/etc/posthaste/\n", m.dir.display()));
    }
    out.push_str("Then start each member there (or by the units in examples/mail-cluster/units):\n");
    for m in &layout.members {
        let host = m.address.rsplit_once(':').map_or(m.address.as_str(), |(host, _)| host);
        out.push_str(&format!("  ssh root@{host} systemd-run --unit=posthaste posthaste {}\n", role(m.role)));
    }
    out.push_str("And on any node:\n  posthaste status\n  posthaste user add NAME@DOMAIN\n\n");
    out.push_str(&format!(
        "Keep {}/ca off line: its key lets anyone join. Mail clients need {}\n",
        layout.dir.display(),
        layout.ca.display()
    ));
    out.push_str("until you replace service.crt and service.key by a certificate of a public CA.\n");
    out
}

fn role(role: Role) -> &'static str {
    match role {
        Role::Node => "node",
        Role::Witness => "witness",
    }
}

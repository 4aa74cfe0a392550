//! Lays out a new cluster: one directory a member, ready to be copied to its host.
//!
//! ```text
//! DIR/ca/ca.crt, ca.key      the cluster's CA; no daemon needs the key
//! DIR/<member>/posthaste.toml, ca.crt, node.crt, node.key
//! DIR/<node>/service.crt, service.key     what mail clients see
//! ```

mod args;
mod render;

use std::fs;
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::config::{ClusterId, Config, Driver, Limits, NodeId, Role, Timing};
use crate::error::Error;
use crate::pki::{Authority, Issued, PkiError};

pub use args::{InitArgs, run};

/// What to lay out. The demo makes one in code, `posthaste init` from its arguments.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Where. Must be absent or empty.
    pub dir: PathBuf,
    /// The cluster's name, for people.
    pub name: String,
    /// Mail domains whose users live here.
    pub domains: Vec<String>,
    /// The nodes; their ids are 1, 2, … in this order.
    pub nodes: Vec<Planned>,
    /// The witness; its id follows the nodes'.
    pub witness: Option<Planned>,
    /// The addresses, and the name of the node where each is at home.
    pub addresses: Vec<(IpAddr, String)>,
    /// How addresses are taken.
    pub driver: Driver,
    /// Bytes of each volume; there is one homed on each node.
    pub volume_size: u64,
    /// What greetings say.
    pub hostname: String,
    /// Ports of the services.
    pub ports: Ports,
    /// Whether passwords are accepted without TLS.
    pub plaintext_login: bool,
    /// Where members store everything; relative to their directory.
    pub data_dir: PathBuf,
    /// Timings of failure detection.
    pub timing: Timing,
    /// Bounds.
    pub limits: Limits,
    /// Whether unflushed writes die with the process (tests).
    pub volatile_disk: bool,
}

impl Plan {
    /// A plan for `domain` in `dir` with the defaults and nobody in it.
    pub fn new(dir: impl Into<PathBuf>, domain: &str) -> Self {
        Self {
            dir: dir.into(),
            name: domain.to_owned(),
            domains: vec![domain.to_owned()],
            nodes: Vec::new(),
            witness: None,
            addresses: Vec::new(),
            driver: Driver::Loopback,
            volume_size: 10 << 30,
            hostname: format!("mail.{domain}"),
            ports: Ports::default(),
            plaintext_login: false,
            data_dir: "/var/lib/posthaste".into(),
            timing: Timing::default(),
            limits: Limits::default(),
            volatile_disk: false,
        }
    }
}

/// A member to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// Its name.
    pub name: String,
    /// Where the others reach it: `host:port`.
    pub address: String,
}

impl Planned {
    /// A member of that name at that address.
    pub fn new(name: impl Into<String>, address: impl Into<String>) -> Self {
        Self { name: name.into(), address: address.into() }
    }
}

/// Ports of the services; 0 is off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is the service of its name")]
pub struct Ports {
    pub smtp: u16,
    pub lmtp: u16,
    pub submission: u16,
    pub submissions: u16,
    pub imap: u16,
    pub imaps: u16,
    pub pop3: u16,
    pub pop3s: u16,
}

impl Default for Ports {
    fn default() -> Self {
        Self {
            smtp: 25,
            lmtp: 0,
            submission: 587,
            submissions: 465,
            imap: 143,
            imaps: 993,
            pop3: 110,
            pop3s: 995,
        }
    }
}

impl Ports {
    /// The port of a service by its name.
    pub fn of(&mut self, service: &str) -> Option<&mut u16> {
        Some(match service {
            "smtp" => &mut self.smtp,
            "lmtp" => &mut self.lmtp,
            "submission" => &mut self.submission,
            "submissions" => &mut self.submissions,
            "imap" => &mut self.imap,
            "imaps" => &mut self.imaps,
            "pop3" => &mut self.pop3,
            "pop3s" => &mut self.pop3s,
            _ => return None,
        })
    }
}

/// What was laid out.
#[derive(Debug, Clone)]
pub struct Layout {
    /// Where.
    pub dir: PathBuf,
    /// The new cluster's id.
    pub cluster: ClusterId,
    /// The CA's certificate, for mail clients.
    pub ca: PathBuf,
    /// The members, nodes first.
    pub members: Vec<Laid>,
}

/// A member as it was laid out.
#[derive(Debug, Clone)]
pub struct Laid {
    /// Its name.
    pub name: String,
    /// Its number.
    pub id: NodeId,
    /// Whether it holds mail.
    pub role: Role,
    /// Its address.
    pub address: String,
    /// Its directory.
    pub dir: PathBuf,
    /// Its configuration file.
    pub config: PathBuf,
}

impl Layout {
    /// The member of that name.
    pub fn member(&self, name: &str) -> Option<&Laid> {
        self.members.iter().find(|m| m.name == name)
    }
}

/// A file to be written.
struct Draft {
    path: PathBuf,
    mode: u32,
    text: String,
}

const SECRET: u32 = 0o600;
const PUBLIC: u32 = 0o644;

/// Lays out a cluster. Everything is made and checked before the first file is written.
///
/// # Errors
/// [`Error::Failed`] when the directory is in use or cannot be written, [`Error::BadFile`] when the
/// plan makes a configuration that would be refused.
pub fn lay(plan: &Plan) -> Result<Layout, Error> {
    refuse_to_overwrite(&plan.dir)?;
    let dir = std::path::absolute(&plan.dir).map_err(|e| Error::file("use", &plan.dir, e))?;
    let cluster = ClusterId(rand::random());
    let authority = Authority::new(cluster).map_err(Error::failed)?;
    let members = laid(plan, &dir);
    let mut drafts = authority_drafts(&authority, &dir);
    let service = service(plan, &authority).map_err(Error::failed)?;
    for member in &members {
        drafts.extend(member_drafts(plan, cluster, &authority, &service, member, &members)?);
    }
    for draft in &drafts {
        draft.write()?;
    }
    Ok(Layout { ca: dir.join("ca").join("ca.crt"), dir, cluster, members })
}

fn refuse_to_overwrite(dir: &Path) -> Result<(), Error> {
    match fs::read_dir(dir) {
        Ok(mut entries) => match entries.next() {
            None => Ok(()),
            Some(_) => Err(Error::failed(format!(
                "{} is not empty; nothing was changed: name a new directory",
                dir.display()
            ))),
        },
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(Error::file("use", dir, e)),
    }
}

fn laid(plan: &Plan, dir: &Path) -> Vec<Laid> {
    let nodes = plan.nodes.iter().map(|n| (n, Role::Node));
    let witness = plan.witness.iter().map(|w| (w, Role::Witness));
    let member = |(id, (planned, role)): (u64, (&Planned, Role))| {
        let dir = dir.join(&planned.name);
        let (name, address) = (planned.name.clone(), planned.address.clone());
        Laid { name, id: NodeId(id), role, address, config: dir.join("posthaste.toml"), dir }
    };
    (1..).zip(nodes.chain(witness)).map(member).collect()
}

fn service(plan: &Plan, authority: &Authority) -> Result<Issued, PkiError> {
    let addresses: Vec<IpAddr> = plan.addresses.iter().map(|(ip, _)| *ip).collect();
    authority.issue_service(&plan.hostname, &addresses)
}

const CA_NOTE: &str =
    "ca.crt  the cluster's CA certificate; give it to mail clients until service.crt is from a public CA
ca.key  its key: whoever has it can join the cluster and read all mail. No daemon needs it.
        Keep it off line; it signs the certificates of members that are added or replaced.
";

fn authority_drafts(authority: &Authority, dir: &Path) -> Vec<Draft> {
    let file = |name: &str, mode, text| Draft { path: dir.join("ca").join(name), mode, text };
    vec![
        file("ca.crt", PUBLIC, authority.cert_pem()),
        file("ca.key", SECRET, authority.key_pem()),
        file("README", PUBLIC, CA_NOTE.into()),
    ]
}

fn member_drafts(
    plan: &Plan,
    cluster: ClusterId,
    authority: &Authority,
    service: &Issued,
    member: &Laid,
    members: &[Laid],
) -> Result<Vec<Draft>, Error> {
    let text = render::config(plan, cluster, member, members);
    Config::parse(&text, &member.config)
        .map_err(|e| Error::BadFile(format!("nothing was written, because this would be refused: {e}")))?;
    let own = authority.issue_member(member.id, &member.name).map_err(Error::failed)?;
    let file = |name: &str, mode, text| Draft { path: member.dir.join(name), mode, text };
    let mut drafts = vec![
        file("posthaste.toml", PUBLIC, text),
        file("ca.crt", PUBLIC, authority.cert_pem()),
        file("node.crt", PUBLIC, own.cert_pem),
        file("node.key", SECRET, own.key_pem),
    ];
    if member.role == Role::Node {
        drafts.push(file("service.crt", PUBLIC, service.cert_pem.clone()));
        drafts.push(file("service.key", SECRET, service.key_pem.clone()));
    }
    Ok(drafts)
}

impl Draft {
    fn write(&self) -> Result<(), Error> {
        let failed = |e| Error::file("write", &self.path, e);
        if let Some(dir) = self.path.parent() {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed)?;
        }
        let file = fs::OpenOptions::new().write(true).create_new(true).mode(self.mode).open(&self.path);
        let mut file = file.map_err(failed)?;
        file.write_all(self.text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)
    }
}

//! `reach.json` in the demo's directory: how a program reaches the cluster with mail clients.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::cluster::{A, Cluster};
use super::people::{Person, Ports};

/// The file's name.
pub const FILE: &str = "reach.json";

/// What the file says.
#[derive(Debug, Serialize)]
struct Reach<'a> {
    addresses: [IpAddr; 2],
    ports: ServicePorts,
    /// The first two have their mail on different volumes.
    users: Vec<User<'a>>,
    /// The certificate that clients must trust.
    ca: PathBuf,
    /// For `posthaste status --config`.
    config: &'a Path,
}

#[derive(Debug, Serialize)]
struct ServicePorts {
    smtp: u16,
    imap: u16,
    imaps: u16,
    pop3: u16,
    pop3s: u16,
}

#[derive(Debug, Serialize)]
struct User<'a> {
    name: &'a str,
    password: &'a str,
}

impl<'a> User<'a> {
    fn of(person: &'a Person) -> Self {
        Self { name: &person.address, password: &person.password }
    }
}

impl Cluster {
    /// Writes [`FILE`], whole or not at all, and returns its path.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write_reach(&self) -> Result<PathBuf, String> {
        let (world, member) = (self.world(), &self.members()[A]);
        let Ports { smtp, imap, imaps, pop3, pop3s } = world.doors.ports;
        let reach = Reach {
            addresses: world.doors.addresses,
            ports: ServicePorts { smtp, imap, imaps, pop3, pop3s },
            users: world.people.iter().map(User::of).collect(),
            ca: member.dir.join("ca.crt"),
            config: &member.config,
        };
        let path = self.directory().join(FILE);
        let text = serde_json::to_string_pretty(&reach).map_err(|e| e.to_string())?;
        let aside = path.with_extension("new");
        std::fs::write(&aside, text)
            .and_then(|()| std::fs::rename(&aside, &path))
            .map_err(|e| format!("cannot write {}: {e}", path.display()))?;
        Ok(path)
    }
}

//! Where the members of a demo live, and how a program is started there.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::client::Patience;
use super::netns::{self, Net};
use super::people::Ports;
use super::ports::find_block;
use crate::config::Driver;

/// Addresses, ports and the way to start a program.
pub struct Place {
    /// The two addresses that clients use.
    pub vips: [IpAddr; 2],
    /// Where node a, node b and the witness listen for each other.
    pub peers: [SocketAddr; 3],
    /// The services' ports.
    pub ports: Ports,
    /// How long clients wait.
    pub patience: Patience,
    /// The namespaces, if there are some.
    pub net: Option<Net>,
}

impl Place {
    /// On this host's loopback, on addresses that nobody else uses.
    ///
    /// # Errors
    /// No free addresses.
    pub fn loopback() -> io::Result<Self> {
        let block = find_block()?;
        let patience = Patience::default();
        Ok(Self { vips: block.vips, peers: block.peers, ports: block.ports, patience, net: None })
    }

    /// In network namespaces.
    pub fn namespaces(net: Net) -> Self {
        let ports = Ports { smtp: 25, imap: 143, imaps: 993, pop3: 110, pop3s: 995 };
        // A host that is gone does not refuse: it is silent, and one that sleeps even takes what is
        // sent to it. Try again before TCP itself would.
        let patience = Patience { connect: Duration::from_millis(250), command: Duration::from_secs(3) };
        Self { vips: netns::VIPS, peers: netns::peers(), ports, patience, net: Some(net) }
    }

    /// How nodes take addresses here.
    pub fn driver(&self) -> Driver {
        match self.net {
            None => Driver::Loopback,
            Some(_) => Driver::Netlink { interface: netns::INTERFACE.into(), prefix: Some(netns::PREFIX) },
        }
    }

    /// The command that runs `program` where a member lives.
    pub fn command(&self, member: usize, program: &Path) -> Command {
        match &self.net {
            None => Command::new(program),
            Some(net) => net.command(member, program),
        }
    }
}

//! The users of the demo, and where clients find the cluster.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use rustls::ClientConfig;

use super::client::{Patience, Security, Target};
use super::corpus::Rng;
use super::ledger::UserIndex;

/// The mail domain of the demo.
pub const DOMAIN: &str = "demo.example";

const NAMES: &[&str] = &["ada", "ben", "cleo", "dan", "eva", "finn", "gwen", "hugo", "iris", "jon"];

/// One user.
#[derive(Debug, Clone)]
pub struct Person {
    /// The address, which is also the name to log in with.
    pub address: String,
    /// The password.
    pub password: String,
    /// Which of the two volumes holds the mail.
    pub volume: usize,
}

/// `count` users, spread over the volumes in turn.
pub fn people(seed: u64, count: usize) -> Vec<Person> {
    let mut rng = Rng::fork(seed, 0x70_656f_706c);
    let person = |index: usize| {
        let name = NAMES[index % NAMES.len()];
        let name =
            if index < NAMES.len() { name.to_owned() } else { format!("{name}{}", index / NAMES.len()) };
        let password = format!("{:012x}", rng.next_u64() >> 16);
        Person { address: format!("{name}@{DOMAIN}"), password, volume: index % 2 }
    };
    (0..count).map(person).collect()
}

/// The users of one volume.
pub fn of_volume(people: &[Person], volume: usize) -> Vec<UserIndex> {
    let there = people.iter().enumerate().filter(|(_, person)| person.volume == volume);
    there.map(|(index, _)| index).collect()
}

/// The services' ports; the same on both addresses.
#[derive(Debug, Clone, Copy)]
pub struct Ports {
    /// SMTP, with STARTTLS.
    pub smtp: u16,
    /// IMAP, with STARTTLS.
    pub imap: u16,
    /// IMAP under TLS.
    pub imaps: u16,
    /// POP3, with STLS.
    pub pop3: u16,
    /// POP3 under TLS.
    pub pop3s: u16,
}

/// The two addresses that clients know, and how to speak to them.
#[derive(Clone)]
pub struct Doors {
    /// The first is at home on node a, the second on node b.
    pub addresses: [IpAddr; 2],
    /// The services' ports.
    pub ports: Ports,
    /// Whom to trust.
    pub trust: Arc<ClientConfig>,
    /// How long to wait.
    pub patience: Patience,
}

impl Doors {
    /// SMTP at an address.
    pub fn smtp(&self, via: usize, security: Security) -> Target {
        self.target(via, self.ports.smtp, security)
    }

    /// IMAP at an address; [`Security::Tls`] goes to the port for it.
    pub fn imap(&self, via: usize, security: Security) -> Target {
        let port = if security == Security::Tls { self.ports.imaps } else { self.ports.imap };
        self.target(via, port, security)
    }

    /// POP3 at an address; [`Security::Tls`] goes to the port for it.
    pub fn pop3(&self, via: usize, security: Security) -> Target {
        let port = if security == Security::Tls { self.ports.pop3s } else { self.ports.pop3 };
        self.target(via, port, security)
    }

    fn target(&self, via: usize, port: u16, security: Security) -> Target {
        let address = SocketAddr::new(self.addresses[via], port);
        Target { address, security, trust: Arc::clone(&self.trust), patience: self.patience }
    }
}

//! The network between members: one listener, TLS both ways, the protocol by ALPN.
//!
//! [`PeerNet::dial`] reaches a member and makes sure that it is that member. A [`PeerListener`] accepts
//! others and hands each stream, with the identity behind it, to the handler of its protocol, on
//! the runtime that the handler was registered with: so heartbeats can live on a thread of their own.
//!
//! After the handshake the accepting end sends one byte, [`WELCOME`]: only then does the dialler
//! know that its own certificate was accepted (in TLS 1.3 the client finishes first).

mod dial;
mod listen;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use tokio::net::TcpStream;

use crate::config::{Config, Member, NodeId};
use crate::error::Error;
use crate::tls::{Alpn, PeerTls};

pub use dial::DialError;
pub use listen::{Handlers, PeerListener};

/// A verified connection to another member.
pub type PeerStream = tokio_rustls::TlsStream<TcpStream>;

/// What the accepting end says when it has verified the dialler.
pub const WELCOME: u8 = 1;
/// What it says to a certificate of the right CA that names no member it knows.
pub const STRANGER: u8 = 2;

/// Waiting times of the network between members.
#[derive(Debug, Clone, Copy)]
pub struct PeerTiming {
    /// For the TCP connection.
    pub connect: Duration,
    /// For the handshake, after the connection.
    pub handshake: Duration,
    /// Unacknowledged data, or an unanswered probe of an idle connection, ends it after this time.
    pub dead_after: Duration,
}

impl Default for PeerTiming {
    fn default() -> Self {
        let short = Duration::from_secs(2);
        Self { connect: Duration::from_secs(1), handshake: short, dead_after: short }
    }
}

/// The way to the other members. Cheap to clone.
#[derive(Clone)]
pub struct PeerNet {
    inner: Arc<Inner>,
}

struct Inner {
    me: NodeId,
    members: HashMap<NodeId, Member>,
    tls: PeerTls,
    clients: HashMap<Alpn, Arc<ClientConfig>>,
    timing: PeerTiming,
}

impl PeerNet {
    /// Reads the certificates that `config` names.
    ///
    /// # Errors
    /// [`Error::BadFile`] when one is missing, unreadable, or not this member's.
    pub fn new(config: &Config) -> Result<Self, Error> {
        Self::with_timing(config, PeerTiming::default())
    }

    /// The same with other waiting times.
    ///
    /// # Errors
    /// As [`PeerNet::new`].
    pub fn with_timing(config: &Config, timing: PeerTiming) -> Result<Self, Error> {
        let tls = PeerTls::load(config)?;
        let client = |alpn| {
            tls.client(alpn)
                .map(|c| (alpn, c))
                .map_err(|e| Error::BadFile(format!("{}: {e}", config.node.key.display())))
        };
        let clients = Alpn::ALL.into_iter().map(client).collect::<Result<_, _>>()?;
        let members = config.members.iter().map(|m| (m.id, m.clone())).collect();
        Ok(Self { inner: Arc::new(Inner { me: config.node.id, members, tls, clients, timing }) })
    }

    /// This member.
    pub fn me(&self) -> NodeId {
        self.inner.me
    }

    /// All members, this one too, in no order.
    pub fn members(&self) -> impl Iterator<Item = &Member> {
        self.inner.members.values()
    }
}

/// No delay, and a short time until a dead peer is noticed.
fn tune(stream: &TcpStream, dead_after: Duration) -> std::io::Result<()> {
    use rustix::net::sockopt;
    stream.set_nodelay(true)?;
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, Duration::from_secs(1))?;
    sockopt::set_tcp_keepintvl(stream, Duration::from_secs(1))?;
    sockopt::set_tcp_keepcnt(stream, 2)?;
    sockopt::set_tcp_user_timeout(stream, u32::try_from(dead_after.as_millis()).unwrap_or(u32::MAX))?;
    Ok(())
}

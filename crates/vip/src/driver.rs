//! The contract of all ways to take an address.

use std::any::Any;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};

use async_trait::async_trait;

/// Takes addresses and gives them back.
#[async_trait]
pub trait AddressDriver: Send + Sync + 'static {
    /// Takes `ip` and listens on all of `ports` on it. Waits while a port is still in use by the
    /// former owner. Cancel-safe: dropped before it returned, nothing is held.
    ///
    /// # Errors
    /// [`ClaimError`], for what waiting does not cure. Nothing is held then.
    async fn claim(&self, ip: IpAddr, ports: &[u16]) -> Result<Claim, ClaimError>;

    /// Gives the address back; when it returns, others can take it, provided that the listeners
    /// taken out of `claim` are closed.
    ///
    /// # Errors
    /// [`ReleaseError`] when the address may still be here.
    async fn release(&self, claim: Claim) -> Result<(), ReleaseError>;

    /// Removes what an earlier process of this host left of `ips`. For the start, before any claim.
    ///
    /// # Errors
    /// [`ReleaseError`] when one of them may still be here.
    async fn release_all(&self, ips: &[IpAddr]) -> Result<(), ReleaseError>;
}

/// An address could not be taken, and waiting would not help. Nothing is held.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    /// The system refuses to listen there: no privilege for the port, no descriptors, no such address.
    #[error("cannot listen on {address}: {cause}")]
    Listen {
        /// The address and port.
        address: SocketAddr,
        /// What the system says.
        cause: io::Error,
    },
    /// Another program of this host has the port, and it is not the former owner going away.
    #[error("cannot listen on {address}: another program has the port")]
    PortInUse {
        /// The address and port.
        address: SocketAddr,
    },
    /// The interface does not exist, or has no Ethernet address.
    #[error("interface {interface}: {cause}")]
    Interface {
        /// Its name.
        interface: String,
        /// What is wrong.
        cause: String,
    },
    /// The kernel refuses to add the address.
    #[error("cannot add {ip} to {interface}: {cause}")]
    Add {
        /// The address.
        ip: IpAddr,
        /// The interface's name.
        interface: String,
        /// What the kernel says; EPERM means that CAP_NET_ADMIN is missing.
        cause: String,
    },
}

/// An address may still be here. Until this is repaired, two hosts may answer for it.
#[derive(Debug, thiserror::Error)]
#[error("cannot remove {ip} from {interface}: {cause}")]
pub struct ReleaseError {
    /// The address.
    pub ip: IpAddr,
    /// The interface's name.
    pub interface: String,
    /// What the kernel says.
    pub cause: String,
}

/// An address that is held. Dropped, it is released.
pub struct Claim {
    ip: IpAddr,
    listeners: Vec<Listener>,
    /// What holds the address besides the listeners; the driver's own.
    hold: Option<Box<dyn Any + Send + Sync>>,
}

impl std::fmt::Debug for Claim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Claim")
            .field("ip", &self.ip)
            .field("listeners", &self.listeners)
            .finish_non_exhaustive()
    }
}

impl Claim {
    /// For drivers: an address with what holds it.
    pub fn new(ip: IpAddr, listeners: Vec<Listener>, hold: Option<Box<dyn Any + Send + Sync>>) -> Self {
        Self { ip, listeners, hold }
    }

    /// The address.
    pub fn ip(&self) -> IpAddr {
        self.ip
    }

    /// The listeners that were not taken out.
    pub fn listeners(&self) -> &[Listener] {
        &self.listeners
    }

    /// Takes out the listener of `port`, as it was asked for.
    pub fn take_listener(&mut self, port: u16) -> Option<Listener> {
        let at = self.listeners.iter().position(|l| l.port == port)?;
        Some(self.listeners.swap_remove(at))
    }

    /// Takes out all listeners.
    pub fn take_listeners(&mut self) -> Vec<Listener> {
        std::mem::take(&mut self.listeners)
    }

    /// For drivers: closes the listeners, gives what holds the address.
    pub fn into_hold(self) -> Option<Box<dyn Any + Send + Sync>> {
        self.hold
    }
}

/// A listening socket on a claimed address, non-blocking, of no runtime yet.
#[derive(Debug)]
pub struct Listener {
    /// The port that was asked for.
    pub port: u16,
    socket: TcpListener,
}

impl Listener {
    pub(crate) fn new(port: u16, socket: TcpListener) -> Self {
        Self { port, socket }
    }

    /// Where it listens.
    ///
    /// # Errors
    /// What the system says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// For the runtime of the caller.
    ///
    /// # Errors
    /// When there is no runtime, or it cannot take more sockets.
    pub fn into_tokio(self) -> io::Result<tokio::net::TcpListener> {
        tokio::net::TcpListener::from_std(self.socket)
    }
}

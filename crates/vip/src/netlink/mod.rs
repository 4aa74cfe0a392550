//! Addresses on an interface, by netlink (Linux).

mod kernel;
#[allow(unsafe_code)]
mod raw;
mod worker;

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{mpsc, oneshot};

use crate::bind::listen_on_all;
use crate::driver::{AddressDriver, Claim, ClaimError, ReleaseError};
use worker::{Command, Worker};

/// How long a claim waits for a port that another program has: our own former listeners may still
/// be closing.
const PATIENCE: Duration = Duration::from_secs(2);

/// Whether this host may hold addresses just now: its lease, for example.
pub type MayHold = Arc<dyn Fn() -> bool + Send + Sync>;

/// How [`Netlink`] holds addresses.
#[derive(Clone)]
pub struct NetlinkConfig {
    /// The interface that gets the addresses; it must have an Ethernet address.
    pub interface: String,
    /// Prefix length to add them with. By default 32 or 128: no route comes and goes with them.
    pub prefix: Option<u8>,
    /// Asked five times a second, on the driver's own thread. While it says no, the addresses are
    /// not renewed, and the kernel drops them after about a second.
    pub may_hold: MayHold,
}

impl NetlinkConfig {
    /// For `interface`, with the defaults: no guard beyond the process being alive.
    pub fn new(interface: impl Into<String>) -> Self {
        Self { interface: interface.into(), prefix: None, may_hold: Arc::new(|| true) }
    }
}

/// Adds an address to an interface, announces it, and keeps both up while the claim lives.
///
/// An address is added with a lifetime of one second, which a thread of this driver renews: when the
/// process is killed or stopped, the kernel itself removes the address 1 to 2 s later, so that a
/// dead or sleeping owner does not go on answering ARP. It is added as deprecated, so it is never
/// chosen as the source of outgoing connections.
///
/// Needs `CAP_NET_ADMIN` (addresses) and `CAP_NET_RAW` (announcements).
#[derive(Clone)]
pub struct Netlink {
    commands: mpsc::UnboundedSender<Command>,
    serials: Arc<AtomicU64>,
    interface: Arc<str>,
}

impl Netlink {
    /// Starts the driver's thread and looks the interface up.
    ///
    /// # Errors
    /// [`ClaimError::Interface`] when there is no such interface, or no privilege for raw sockets.
    pub async fn start(config: NetlinkConfig) -> Result<Self, ClaimError> {
        let interface: Arc<str> = config.interface.as_str().into();
        let (commands, waiting) = mpsc::unbounded_channel();
        let (ready, started) = oneshot::channel();
        let failed = |cause: String| ClaimError::Interface { interface: interface.to_string(), cause };
        std::thread::Builder::new()
            .name("vip".into())
            .spawn(move || worker::run(config, waiting, ready))
            .map_err(|e| failed(e.to_string()))?;
        started.await.map_err(|_| failed("the driver's thread has ended".into()))??;
        Ok(Self { commands, serials: Arc::default(), interface })
    }

    async fn add(&self, ip: IpAddr) -> Result<Held, ClaimError> {
        let serial = self.serials.fetch_add(1, Ordering::Relaxed);
        let held = Held { ip, serial, commands: Some(self.commands.clone()) };
        let (done, outcome) = oneshot::channel();
        self.send(Command::Add { ip, serial, done });
        // From here on, dropping `held` removes the address, also if we are dropped while we wait.
        match outcome.await {
            Ok(added) => added.map(|()| held),
            Err(_) => Err(ClaimError::Interface {
                interface: self.interface.to_string(),
                cause: Worker::GONE.into(),
            }),
        }
    }

    fn send(&self, command: Command) {
        // The thread ends after the last sender is gone; if it panicked, the answer says so.
        let _ = self.commands.send(command);
    }

    fn lost(&self, ip: IpAddr) -> ReleaseError {
        ReleaseError { ip, interface: self.interface.to_string(), cause: Worker::GONE.into() }
    }
}

#[async_trait]
impl AddressDriver for Netlink {
    /// Adds the address, listens, announces. A port that another program has for more than 2 s is an error.
    async fn claim(&self, ip: IpAddr, ports: &[u16]) -> Result<Claim, ClaimError> {
        let held = self.add(ip).await?;
        let listeners = listen_on_all(ip, ports, Some(PATIENCE)).await?;
        self.send(Command::Announce { ip, serial: held.serial });
        Ok(Claim::new(ip, listeners, Some(Box::new(held))))
    }

    async fn release(&self, claim: Claim) -> Result<(), ReleaseError> {
        let ip = claim.ip();
        let Some(held) = claim.into_hold().and_then(|hold| hold.downcast::<Held>().ok()) else {
            return Ok(());
        };
        let (done, outcome) = oneshot::channel();
        held.remove(done);
        outcome.await.map_err(|_| self.lost(ip))?
    }

    async fn release_all(&self, ips: &[IpAddr]) -> Result<(), ReleaseError> {
        for ip in ips.iter().copied() {
            let (done, outcome) = oneshot::channel();
            self.send(Command::RemoveLeftover { ip, done });
            outcome.await.map_err(|_| self.lost(ip))??;
        }
        Ok(())
    }
}

/// An address that the driver's thread keeps on the interface until this is dropped.
struct Held {
    ip: IpAddr,
    serial: u64,
    commands: Option<mpsc::UnboundedSender<Command>>,
}

impl Held {
    fn remove(mut self, done: oneshot::Sender<Result<(), ReleaseError>>) {
        if let Some(commands) = self.commands.take() {
            let _ = commands.send(Command::Remove { ip: self.ip, serial: self.serial, done: Some(done) });
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(commands) = self.commands.take() {
            let _ = commands.send(Command::Remove { ip: self.ip, serial: self.serial, done: None });
        }
    }
}

//! The driver's thread: keeps the addresses alive and announced, whatever the rest of the process does.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use rtnetlink::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{MissedTickBehavior, interval, sleep_until};

use super::NetlinkConfig;
use super::kernel::{self, Link};
use super::raw::RawSocket;
use crate::announce::{Schedule, frames};
use crate::driver::{ClaimError, ReleaseError};

/// Lifetime of an address in the kernel; it counts in whole seconds.
const LIFETIME_S: u32 = 1;
/// How often it is renewed: four renewals may be late before it lapses.
const RENEW: Duration = Duration::from_millis(200);

pub(super) enum Command {
    /// Add the address and keep it.
    Add { ip: IpAddr, serial: u64, done: oneshot::Sender<Result<(), ClaimError>> },
    /// Begin to announce it.
    Announce { ip: IpAddr, serial: u64 },
    /// Remove it, unless a later claim has it.
    Remove { ip: IpAddr, serial: u64, done: Option<oneshot::Sender<Result<(), ReleaseError>>> },
    /// Remove what an earlier process left.
    RemoveLeftover { ip: IpAddr, done: oneshot::Sender<Result<(), ReleaseError>> },
}

/// The thread. Ends when all drivers and claims are dropped.
pub(super) fn run(
    config: NetlinkConfig,
    commands: mpsc::UnboundedReceiver<Command>,
    ready: oneshot::Sender<Result<(), ClaimError>>,
) {
    let interface = config.interface.clone();
    let failed = |cause: String| ClaimError::Interface { interface, cause };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(e) => return drop(ready.send(Err(failed(e.to_string())))),
    };
    runtime.block_on(async move {
        match Worker::start(config).await.map_err(failed) {
            Ok(mut worker) => {
                let _ = ready.send(Ok(()));
                worker.serve(commands).await;
            }
            Err(error) => drop(ready.send(Err(error))),
        }
    });
}

pub(super) struct Worker {
    config: NetlinkConfig,
    netlink: Handle,
    socket: RawSocket,
    held: HashMap<IpAddr, Holding>,
}

/// An address on the interface.
struct Holding {
    serial: u64,
    /// Absent before the services listen.
    schedule: Option<Schedule>,
    /// Whether the last renewal failed, so that the log says it once.
    failing: bool,
}

impl Worker {
    pub(super) const GONE: &str = "the driver's thread has ended";

    async fn start(config: NetlinkConfig) -> Result<Self, String> {
        let (connection, netlink, _) = rtnetlink::new_connection().map_err(|e| e.to_string())?;
        tokio::spawn(connection);
        let socket = RawSocket::open().map_err(|e| format!("raw socket: {e} (CAP_NET_RAW is needed)"))?;
        kernel::link(&netlink, &config.interface).await?;
        Ok(Self { config, netlink, socket, held: HashMap::new() })
    }

    async fn serve(&mut self, mut commands: mpsc::UnboundedReceiver<Command>) {
        let mut renew = interval(RENEW);
        renew.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let due = self.held.values().filter_map(|h| h.schedule).map(|s| s.poll_timeout()).min();
            let announce = async {
                match due {
                    Some(at) => sleep_until(at.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                command = commands.recv() => match command {
                    Some(command) => self.handle(command).await,
                    None => return,
                },
                () = announce => self.announce_due().await,
                _ = renew.tick() => self.renew().await,
            }
        }
    }

    async fn handle(&mut self, command: Command) {
        match command {
            Command::Add { ip, serial, done } => {
                let added = self.add(ip, serial).await;
                // If the claimant is gone, its `Held` has sent the removal already.
                let _ = done.send(added);
            }
            Command::Announce { ip, serial } => {
                if let Some(holding) = self.held.get_mut(&ip).filter(|h| h.serial == serial) {
                    holding.schedule = Some(Schedule::new(Instant::now()));
                }
            }
            Command::Remove { ip, serial, done } => {
                let current = self.held.get(&ip).is_none_or(|h| h.serial == serial);
                let removed = if current { self.remove(ip).await } else { Ok(()) };
                report(removed, done);
            }
            Command::RemoveLeftover { ip, done } => {
                let held = self.held.contains_key(&ip);
                let removed = if held { Ok(()) } else { self.remove(ip).await };
                report(removed, Some(done));
            }
        }
    }

    async fn link(&self) -> Result<Link, String> {
        kernel::link(&self.netlink, &self.config.interface).await
    }

    async fn add(&mut self, ip: IpAddr, serial: u64) -> Result<(), ClaimError> {
        let interface = || self.config.interface.clone();
        let link =
            self.link().await.map_err(|cause| ClaimError::Interface { interface: interface(), cause })?;
        let added = kernel::hold(&self.netlink, link, ip, self.config.prefix, LIFETIME_S).await;
        added.map_err(|cause| ClaimError::Add { ip, interface: interface(), cause })?;
        self.held.insert(ip, Holding { serial, schedule: None, failing: false });
        Ok(())
    }

    async fn remove(&mut self, ip: IpAddr) -> Result<(), ReleaseError> {
        self.held.remove(&ip);
        let removed = match self.link().await {
            Ok(link) => kernel::remove(&self.netlink, link, ip).await,
            Err(cause) => Err(cause),
        };
        removed.map_err(|cause| ReleaseError { ip, interface: self.config.interface.clone(), cause })
    }

    /// Without the right to hold them, or when this thread does not run, the addresses lapse.
    async fn renew(&mut self) {
        if self.held.is_empty() || !(self.config.may_hold)() {
            return;
        }
        let link = self.link().await;
        let (netlink, prefix) = (&self.netlink, self.config.prefix);
        for (ip, holding) in &mut self.held {
            let renewed = match &link {
                Ok(link) => kernel::hold(netlink, *link, *ip, prefix, LIFETIME_S).await,
                Err(cause) => Err(cause.clone()),
            };
            match renewed {
                Ok(()) => holding.failing = false,
                Err(cause) if !holding.failing => {
                    holding.failing = true;
                    tracing::error!(%ip, interface = self.config.interface, cause, "cannot keep the address; trying on");
                }
                Err(_) => {}
            }
        }
    }

    async fn announce_due(&mut self) {
        let link = self.link().await;
        let may_hold = (self.config.may_hold)();
        let router = forwards_ipv6(&self.config.interface);
        let now = Instant::now();
        for (ip, holding) in &mut self.held {
            let due = holding.schedule.as_mut().is_some_and(|s| s.handle_timeout(now));
            let Ok(link) = link.as_ref() else { continue };
            if !due || !may_hold {
                continue;
            }
            for frame in frames(link.mac, *ip, router) {
                if let Err(error) = self.socket.send(link.index, &frame) {
                    tracing::warn!(%ip, %error, "cannot announce the address");
                }
            }
        }
    }
}

fn report(removed: Result<(), ReleaseError>, done: Option<oneshot::Sender<Result<(), ReleaseError>>>) {
    match (removed, done) {
        (removed, Some(done)) => drop(done.send(removed)),
        // Nobody waits; in a second the kernel removes it anyway.
        (Err(error), None) => tracing::warn!(%error, "an address lapses instead of being removed"),
        (Ok(()), None) => {}
    }
}

/// Whether neighbours may take this host for a router.
fn forwards_ipv6(interface: &str) -> bool {
    let path = format!("/proc/sys/net/ipv6/conf/{interface}/forwarding");
    std::fs::read_to_string(path).is_ok_and(|text| text.trim() != "0")
}

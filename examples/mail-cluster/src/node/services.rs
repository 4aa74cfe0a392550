//! The addresses that this node has, and the mail services on them.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use posthaste_heartbeat::agent::{AddressOrder, AddressReport, Input};
use posthaste_mail_server::{Context, Count, Service, Shutdown, serve_counted};
use posthaste_vip::{AddressDriver, Claim};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};

use super::quorum::AgentHandle;
use crate::config::Services;
use crate::status::ServiceSessions;

/// A planned move waits this long for commands in progress before the address goes.
const GRACE: Duration = Duration::from_millis(150);

/// Sessions by service.
#[derive(Clone)]
pub(crate) struct Counters(Arc<BTreeMap<&'static str, Arc<Count>>>);

impl Counters {
    /// Counters of the services that are on.
    pub(crate) fn new(services: &Services) -> Self {
        Self(Arc::new(services.ports().into_iter().map(|(name, _)| (name, Arc::default())).collect()))
    }

    /// For the status report.
    pub(crate) fn report(&self) -> Vec<ServiceSessions> {
        let row = |(name, count): (&&str, &Arc<Count>)| ServiceSessions {
            service: (*name).to_owned(),
            open: count.open(),
            total: count.total(),
        };
        self.0.iter().map(row).collect()
    }
}

/// Which service a configured port name means, and whether it begins with TLS.
fn service(name: &str) -> (Service, bool) {
    match name {
        "lmtp" => (Service::Lmtp, false),
        "submission" => (Service::Submission, false),
        "submissions" => (Service::Submission, true),
        "imap" => (Service::Imap, false),
        "imaps" => (Service::Imap, true),
        "pop3" => (Service::Pop3, false),
        "pop3s" => (Service::Pop3, true),
        _ => (Service::Smtp, false),
    }
}

/// Takes and drops addresses as the agent orders.
pub(crate) struct Keeper {
    driver: Arc<dyn AddressDriver>,
    ports: Vec<(&'static str, u16)>,
    context: Context,
    counters: Counters,
    agent: AgentHandle,
}

/// One address, from the order to take it until it is dropped.
struct Held {
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Held {
    fn lives(&self) -> bool {
        !self.task.is_finished()
    }
}

impl Keeper {
    /// A keeper of addresses with these services.
    pub(crate) fn new(
        driver: Arc<dyn AddressDriver>,
        services: &Services,
        context: Context,
        counters: Counters,
        agent: AgentHandle,
    ) -> Self {
        Self { driver, ports: services.ports(), context, counters, agent }
    }

    /// Obeys until the orders end; then drops everything.
    pub(crate) async fn run(
        self: Arc<Self>,
        ours: Vec<IpAddr>,
        mut orders: mpsc::UnboundedReceiver<AddressOrder>,
    ) {
        if let Err(error) = self.driver.release_all(&ours).await {
            tracing::error!(%error, "an address of an earlier life may still be here");
        }
        let mut held: HashMap<IpAddr, Held> = HashMap::new();
        while let Some(order) = orders.recv().await {
            match order {
                AddressOrder::Take(ip) if held.get(&ip).is_some_and(Held::lives) => {}
                AddressOrder::Take(ip) => drop(held.insert(ip, Arc::clone(&self).take(ip))),
                AddressOrder::Drop(ip) => match held.remove(&ip).filter(Held::lives) {
                    Some(address) => drop(address.stop.send_replace(true)),
                    None => self.report(AddressReport::Dropped(ip)),
                },
            }
        }
        for (_, address) in held {
            address.stop.send_replace(true);
            let _ = address.task.await;
        }
    }

    fn report(&self, report: AddressReport) {
        tracing::debug!(?report, "address");
        self.agent.tell(Input::Address(report));
    }

    fn take(self: Arc<Self>, ip: IpAddr) -> Held {
        let (stop, shutdown) = Shutdown::channel();
        let task = tokio::spawn(async move { self.hold(ip, shutdown).await });
        Held { stop, task }
    }

    /// Claims the address, serves on it, and gives it up when told.
    async fn hold(&self, ip: IpAddr, mut shutdown: Shutdown) {
        let ports: Vec<u16> = self.ports.iter().map(|(_, port)| *port).collect();
        let claim = tokio::select! {
            claim = self.driver.claim(ip, &ports) => claim,
            () = shutdown.wait() => return self.report(AddressReport::Dropped(ip)),
        };
        match claim {
            Ok(claim) => self.serve(ip, claim, shutdown).await,
            Err(error) => {
                tracing::error!(%ip, %error, "cannot take the address");
                self.report(AddressReport::Failed(ip, error.to_string()));
            }
        }
    }

    async fn serve(&self, ip: IpAddr, mut claim: Claim, mut shutdown: Shutdown) {
        let context = Context { shutdown: shutdown.clone(), ..self.context.clone() };
        let mut sessions = JoinSet::new();
        let mut closed = Vec::new();
        for (name, listener) in self.listeners(&mut claim) {
            let (service, tls) = service(name);
            let count = self.counters.0.get(name).cloned().unwrap_or_default();
            let (tell, told) = oneshot::channel();
            closed.push(told);
            sessions.spawn(serve_counted(listener, service, tls, context.clone(), count, tell));
        }
        tracing::info!(%ip, "address taken");
        self.report(AddressReport::Taken(ip));
        shutdown.wait().await;
        for told in closed {
            let _ = told.await;
        }
        let ended = async { while sessions.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(GRACE, ended).await;
        if let Err(error) = self.driver.release(claim).await {
            tracing::error!(%ip, %error, "cannot give the address up");
        }
        tracing::info!(%ip, "address dropped");
        self.report(AddressReport::Dropped(ip));
        // Sessions that still end may do so: their address is gone or, on the loopback, still theirs.
        sessions.detach_all();
    }

    fn listeners(&self, claim: &mut Claim) -> Vec<(&'static str, TcpListener)> {
        let take = |(name, port): &(&'static str, u16)| {
            Some((*name, claim.take_listener(*port)?.into_tokio().ok()?))
        };
        self.ports.iter().filter_map(take).collect()
    }
}

//! One plain Maildir directory behind the same services: what the cluster is compared with.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use posthaste_mail_server::local::{LocalStore, LocalStoreConfig};
use posthaste_mail_server::store::{Resolved, StoreError};
use posthaste_mail_server::{Budget, Context, Directory, Limits, Service, Shutdown, User, serve};
use posthaste_maildir::{LocalConfig, LocalFs};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::drive::Server;
use crate::demo::client::Patience;
use crate::demo::people::{self, Doors, Ports};

/// A single-process server on a directory. Dropping it ends its sessions.
pub(super) struct Plain {
    /// Where it is.
    pub(super) server: Server,
    _shutdown: watch::Sender<bool>,
}

impl Plain {
    /// Serves `root` to `users` users.
    ///
    /// # Errors
    /// The directory or the listeners cannot be opened.
    pub(super) async fn start(root: &Path, users: usize) -> Result<Self, String> {
        let people = Arc::new(people::people(0, users));
        let known = people.iter().map(|person| (person.address.clone(), person.password.clone())).collect();
        std::fs::create_dir_all(root).map_err(|e| e.to_string())?;
        // Nobody but this process uses the directory: the quickest it can be.
        let config = LocalConfig { shared: false, ..LocalConfig::default() };
        let files = LocalFs::open(root, config).map_err(|e| format!("{}: {e}", root.display()))?;
        let (sender, shutdown) = Shutdown::channel();
        let context = context(files, Known(known), shutdown);
        let smtp = offer(Service::Smtp, &context).await.map_err(|e| e.to_string())?;
        let imap = offer(Service::Imap, &context).await.map_err(|e| e.to_string())?;
        let ports = Ports { smtp, imap, imaps: 0, pop3: 0, pop3s: 0 };
        Ok(Self { server: Server { doors: doors(ports)?, people }, _shutdown: sender })
    }
}

const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn context(files: LocalFs, known: Known, shutdown: Shutdown) -> Context {
    let limits = Limits::default();
    Context {
        hostname: "plain.example".into(),
        store: Arc::new(LocalStore::new(files, LocalStoreConfig::default())),
        directory: Arc::new(known),
        tls: None,
        plaintext_login: true,
        budget: Budget::new(limits.memory_bytes),
        limits: Arc::new(limits),
        shutdown,
    }
}

async fn offer(service: Service, context: &Context) -> io::Result<u16> {
    let listener = TcpListener::bind((LOCALHOST, 0)).await?;
    let port = listener.local_addr()?.port();
    tokio::spawn(serve(listener, service, false, context.clone()));
    Ok(port)
}

fn doors(ports: Ports) -> Result<Doors, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let trust = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    let addresses = [LOCALHOST, LOCALHOST];
    Ok(Doors { addresses, ports, trust: Arc::new(trust), patience: Patience::default() })
}

/// The benchmark's users. A log-in costs no hash here; none is timed.
struct Known(HashMap<String, String>);

#[async_trait]
impl Directory for Known {
    async fn resolve(&self, local: &str, domain: &str) -> Resolved {
        let name = format!("{local}@{domain}").to_ascii_lowercase();
        match User::parse(&name) {
            Ok(user) if self.0.contains_key(&name) => Resolved::User(user),
            _ => Resolved::NoSuchUser,
        }
    }

    async fn authenticate(&self, login: &str, password: &[u8]) -> Result<Option<User>, StoreError> {
        let right = self.0.get(login).is_some_and(|known| known.as_bytes() == password);
        Ok(if right { User::parse(login).ok() } else { None })
    }
}

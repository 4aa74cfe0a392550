//! The link to the other machine: over one path or several, with TLS, a secret, both or neither.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use posthaste_blockrepl::bond::{Acceptor, Bond, BondConfig, Monitor, PathEvent, Stream};
use posthaste_blockrepl::wire::Refusal;
use posthaste_blockrepl::{Hello, Identity, Link, LinkError, NodeId, Secret, Volume};
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Notify, Semaphore};
use tokio::time::{sleep, timeout};

use crate::config::{Pair, SecretFile};
use crate::daemon::Daemon;
use crate::said::Said;
use crate::tls::LinkTls;

const DIAL_EVERY: Duration = Duration::from_millis(300);
const DIAL_WAIT: Duration = Duration::from_secs(3);
/// A link whose other end says nothing is given up after two to three seconds, on both sides.
const SILENCE: Duration = Duration::from_secs(2);
const PROBE_EVERY: Duration = Duration::from_secs(1);
/// An address that is not there yet, as that of a card without a cable, is tried again so often.
const LISTEN_EVERY: Duration = Duration::from_secs(1);
/// Connections of one address that have not proved to be the other machine's: more wait to be accepted.
const STRANGERS_MAX: usize = 16;
/// One has so long to become a link, or a path of one.
const WELCOME_WAIT: Duration = Duration::from_secs(10);
/// The longest secret, in bytes.
const SECRET_MAX: u64 = 4096;

/// What links are made of and by.
pub(crate) struct Links {
    us: Identity,
    peer: NodeId,
    ours: Vec<SocketAddr>,
    theirs: Vec<SocketAddr>,
    bond: BondConfig,
    tls: Option<LinkTls>,
    secret: Option<Secret>,
    acceptor: Acceptor,
    /// The paths of the newest link, if there are several.
    monitor: Mutex<Option<Monitor>>,
    /// Why each path could not be dialled, as last told.
    told: Mutex<Vec<String>>,
    /// What is wrong with connections that came.
    said: Said,
    /// The link that the other machine dialled.
    accepted: Mutex<Option<Link>>,
    /// The dialled link is to be replaced by a new one.
    relink: Notify,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn other(why: String) -> LinkError {
    LinkError::Io(std::io::Error::other(why))
}

impl Links {
    pub(crate) fn new(pair: &Pair) -> Result<Arc<Self>, String> {
        let (ours, theirs) = (pair.me.replication.clone(), pair.peer.replication.clone());
        let addresses = theirs.iter().map(SocketAddr::ip).collect();
        let tls = pair.link_tls.as_ref().map(|files| LinkTls::load(files, addresses)).transpose()?;
        let (us, peer) = (pair.identity(), pair.peer.id);
        Ok(Arc::new(Links {
            acceptor: Acceptor::new(&us, [peer], ours.len(), pair.bond),
            us,
            peer,
            ours,
            theirs,
            bond: pair.bond,
            tls,
            secret: pair.link_secret.as_ref().map(read_secret).transpose()?,
            monitor: Mutex::default(),
            told: Mutex::new(vec![String::new(); pair.peer.replication.len()]),
            said: Said::default(),
            accepted: Mutex::default(),
            relink: Notify::new(),
        }))
    }

    fn is_bond(&self) -> bool {
        self.theirs.len() > 1
    }

    /// The paths of the link, and how they are; none if there is but one.
    pub(crate) fn report(&self) -> String {
        if !self.is_bond() {
            return String::new();
        }
        let monitor = lock(&self.monitor).clone().filter(|m| !m.is_over());
        let status = monitor.as_ref().map(Monitor::status);
        let line = |(rank, address): (usize, &SocketAddr)| {
            let path = status.as_ref().map(|paths| paths[rank]).filter(|path| path.up);
            let how = match path {
                Some(path) if path.carries => "carries the link".into(),
                Some(_) => "up".into(),
                None => match monitor.as_ref().and_then(|m| m.failure(rank)) {
                    Some(why) => format!("down: {why}"),
                    None => "down".to_owned(),
                },
            };
            format!("path        {rank} to {address}: {how}\n")
        };
        self.theirs.iter().enumerate().map(line).collect()
    }

    pub(crate) fn metrics(&self, volume: &str) -> String {
        lock(&self.monitor).as_ref().map(|m| m.metrics().prometheus(volume)).unwrap_or_default()
    }

    /// Remembers the newest link's paths, and tells what happens to them.
    fn watch(self: &Arc<Self>, monitor: Monitor) {
        let (mut events, links) = (monitor.events(), self.clone());
        // What went wrong before anybody listened.
        for rank in 0..self.theirs.len() {
            monitor.failure(rank).into_iter().for_each(|why| self.tell(rank, why));
        }
        *lock(&self.monitor) = Some(monitor);
        tokio::spawn(async move {
            loop {
                match events.recv().await {
                    Ok(PathEvent::Failed { rank, why }) => links.tell(rank, why),
                    Ok(event) => {
                        if let PathEvent::Up { rank } = event {
                            lock(&links.told)[rank].clear();
                        }
                        eprintln!("nbd-pair: of the paths to {:?}: {event:?}", links.theirs);
                    }
                    Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return,
                }
            }
        });
    }

    // ---- dialling ----

    async fn dial(self: Arc<Self>, volume: Volume) -> Result<Link, LinkError> {
        let peer = self.peer;
        if !self.is_bond() {
            let io = self.open(0).await?;
            return volume.attach(peer, io).await;
        }
        let links = self.clone();
        let connect = move |rank| {
            let links = links.clone();
            async move { links.open(rank).await.inspect_err(|why| links.tell(rank, why.to_string())) }
        };
        let bond = Bond::dial(&self.us, peer, self.bond, self.theirs.len(), connect).await?;
        self.watch(bond.monitor());
        volume.attach(peer, bond).await
    }

    /// Why one path of several is not there, once.
    fn tell(&self, rank: usize, why: String) {
        let told = &mut lock(&self.told)[rank];
        if *told != why {
            eprintln!("nbd-pair: path {rank} to {}: {why}", self.theirs[rank]);
            *told = why;
        }
    }

    /// A connection to the other machine on one path, on which it has proved who it is.
    async fn open(&self, rank: usize) -> Result<Box<dyn Stream>, LinkError> {
        let io = self.connect(rank).await?;
        watched(&io)?;
        let io: Box<dyn Stream> = match &self.tls {
            None => Box::new(io),
            Some(tls) => Box::new(tls.connect(rank, io).await.map_err(|why| other(format!("TLS: {why}")))?),
        };
        match &self.secret {
            None => Ok(io),
            Some(secret) => Ok(Box::new(secret.dial(&self.us, self.peer, io).await?)),
        }
    }

    /// Of several paths, each begins at its own address.
    async fn connect(&self, rank: usize) -> std::io::Result<TcpStream> {
        let to = self.theirs[rank];
        if !self.is_bond() {
            return TcpStream::connect(to).await;
        }
        let from = SocketAddr::new(self.ours[rank].ip(), 0);
        let socket = if to.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.bind(from)?;
        socket.connect(to).await
    }

    // ---- being dialled ----

    /// The listeners of all addresses that are there; with one address, it must be.
    async fn listen(&self) -> Result<Vec<(SocketAddr, Option<TcpListener>)>, String> {
        let mut listeners = Vec::new();
        for address in &self.ours {
            match TcpListener::bind(address).await {
                Ok(listener) => listeners.push((*address, Some(listener))),
                Err(e) if self.is_bond() => {
                    eprintln!("nbd-pair: {address}: {e}");
                    listeners.push((*address, None));
                }
                Err(e) => return Err(format!("{address}: {e}")),
            }
        }
        if listeners.iter().all(|(_, listener)| listener.is_none()) {
            return Err(format!("none of {:?} is an address of this machine that is free", self.ours));
        }
        Ok(listeners)
    }

    async fn welcome(self: &Arc<Self>, volume: Volume, io: TcpStream) -> Result<(), LinkError> {
        watched(&io)?;
        let io: Box<dyn Stream> = match &self.tls {
            None => Box::new(io),
            Some(tls) => {
                let io = timeout(DIAL_WAIT, tls.accept(io)).await.unwrap_or(Err("it does not go on".into()));
                Box::new(io.map_err(|why| other(format!("TLS: {why}")))?)
            }
        };
        let io: Box<dyn Stream> = match &self.secret {
            None => io,
            Some(secret) => {
                let io = secret.accept(&self.us, io).await?;
                if io.peer() != self.peer {
                    return Err(LinkError::WrongPeer { expected: self.peer, found: io.peer() });
                }
                Box::new(io)
            }
        };
        if !self.is_bond() {
            return self.introduced(volume, io).await;
        }
        match self.acceptor.accept_from(self.peer, io).await? {
            Some(bond) => {
                self.watch(bond.monitor());
                self.introduced(volume, bond).await
            }
            // A path more of the link that is there.
            None => Ok(()),
        }
    }

    /// Whoever dialled must be the other machine.
    async fn introduced(&self, volume: Volume, mut io: impl Stream + 'static) -> Result<(), LinkError> {
        let refused = match Hello::read(&mut io).await {
            Ok(hello) if hello.node == self.peer => {
                let link = volume.accept(hello, io).await?;
                drop(lock(&self.accepted).replace(link));
                return Ok(());
            }
            Ok(hello) => LinkError::WrongPeer { expected: self.peer, found: hello.node },
            Err(why) => why,
        };
        let said = if matches!(refused, LinkError::OtherSetup) {
            Refusal::OtherSetup
        } else {
            Refusal::UnknownVolume
        };
        drop(Hello::refuse(&mut io, said).await);
        Err(refused)
    }
}

impl Daemon {
    /// Takes what the other machine dials, on each address.
    pub(crate) async fn accept_links(self: &Arc<Self>) -> Result<(), String> {
        for (address, listener) in self.links.listen().await? {
            tokio::spawn(self.clone().accept_at(address, listener));
        }
        Ok(())
    }

    async fn accept_at(self: Arc<Self>, address: SocketAddr, mut listener: Option<TcpListener>) {
        let strangers = Arc::new(Semaphore::new(STRANGERS_MAX));
        loop {
            let Ok(permit) = strangers.clone().acquire_owned().await else { return };
            let Some(listening) = &listener else {
                sleep(LISTEN_EVERY).await;
                listener = TcpListener::bind(address).await.ok();
                continue;
            };
            let Ok((io, from)) = listening.accept().await else {
                sleep(DIAL_EVERY).await;
                continue;
            };
            let (links, volume) = (self.links.clone(), self.volume());
            tokio::spawn(async move {
                let welcome = timeout(WELCOME_WAIT, links.welcome(volume, io)).await;
                drop(permit);
                if let Err(why) = welcome.unwrap_or(Err(LinkError::Timeout)) {
                    links.said.say(format!("a link from {}: {why}", from.ip()));
                }
            });
        }
    }

    /// The first machine dials, again and again.
    pub(crate) async fn dial(&self) {
        let mut said = String::new();
        loop {
            let why = match timeout(DIAL_WAIT, self.links.clone().dial(self.volume())).await {
                Ok(Ok(link)) => tokio::select! {
                    why = link.ended() => why.to_string(),
                    // A newer link replaces the older one on both sides.
                    () = self.links.relink.notified() => continue,
                },
                Ok(Err(why)) => why.to_string(),
                Err(_) => "no answer".into(),
            };
            if why != said {
                eprintln!("nbd-pair: the link to node {}: {why}", self.pair.peer.id);
                said = why;
            }
            sleep(DIAL_EVERY).await;
        }
    }

    /// The other machine learns by a new link's hello how this one stands now.
    pub(crate) fn introduce_anew(&self) {
        if let Some(link) = lock(&self.links.accepted).take() {
            link.cut();
        }
        if self.pair.first {
            self.links.relink.notify_one();
        }
    }
}

/// A cut cable says nothing: the link must find out by itself.
fn watched(io: &TcpStream) -> std::io::Result<()> {
    io.set_nodelay(true)?;
    let socket = SockRef::from(io);
    let probes = TcpKeepalive::new().with_time(PROBE_EVERY).with_interval(PROBE_EVERY);
    socket.set_tcp_keepalive(&probes)?;
    socket.set_tcp_user_timeout(Some(SILENCE))
}

/// A secret that others on this machine can read, or have written, is none.
fn read_secret(file: &SecretFile) -> Result<Secret, String> {
    use std::io::Read;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    let path: &Path = &file.file;
    let failed = |e: std::io::Error| format!("{}: {e}", path.display());
    // To open a pipe would be to wait for its other end.
    if !std::fs::metadata(path).map_err(failed)?.is_file() {
        return Err(format!("{}: not a file", path.display()));
    }
    let opened = std::fs::File::open(path).map_err(failed)?;
    let found = opened.metadata().map_err(failed)?;
    let (owner, us) = (found.uid(), rustix::process::geteuid().as_raw());
    if !found.is_file() || owner != us && owner != 0 {
        return Err(format!(
            "{}: it belongs to user {owner}: it must be a file of user {us}, whose daemon this is, or of root",
            path.display()
        ));
    }
    let mode = found.permissions().mode();
    if mode & 0o077 != 0 {
        let mode = mode & 0o777;
        return Err(format!(
            "{}: others may read or write it (mode {mode:03o}); chmod 600 it",
            path.display()
        ));
    }
    let mut bytes = Vec::new();
    opened.take(SECRET_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > SECRET_MAX {
        return Err(format!("{}: longer than {SECRET_MAX} bytes", path.display()));
    }
    let secret = Secret::new(bytes.trim_ascii()).map_err(|e| format!("{}: {e}", path.display()))?;
    Ok(if file.seal { secret } else { secret.unsealed() })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_secret_is_read_only_from_a_file_that_nobody_else_may_read_and_shown_nowhere() {
        let dir = std::env::temp_dir().join(format!("nbd-pair-secret-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let path = dir.join("secret");
        let with = |text: &str, mode: u32| {
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            read_secret(&SecretFile { file: path.clone(), seal: true })
        };
        let good = with("0123456789abcdef-secret\n", 0o600).unwrap();
        assert!(!format!("{good:?}").contains("0123"));
        for mode in [0o640, 0o604, 0o620, 0o666] {
            assert!(with("0123456789abcdef-secret", mode).unwrap_err().contains("chmod 600"));
        }
        assert!(with("too short\n", 0o400).unwrap_err().contains("too short"));
        assert!(with(&"x".repeat(5000), 0o600).unwrap_err().contains("longer"));
        let no_file = SecretFile { file: dir.clone(), seal: true };
        assert!(read_secret(&no_file).unwrap_err().contains("not a file"));
        std::fs::remove_dir_all(&dir).unwrap();
        assert!(read_secret(&SecretFile { file: path, seal: true }).is_err());
    }
}

//! One machine's side: the volume, and its link to the other machine.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex as StdMutex, PoisonError};
use std::time::Duration;

use posthaste_blockrepl::core::{Event, LinkStatus, PeerStatus, Status};
use posthaste_blockrepl::wire::Refusal;
use posthaste_blockrepl::{Hello, Link, NodeId, Volume};
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Mutex, Notify};
use tokio::time::{sleep, timeout};

use crate::config::Pair;
use crate::control;
use crate::handlers::Handlers;
use crate::roles::Place;
use crate::tls::LinkTls;

/// How often the picture is looked at, besides at each event.
const TICK: Duration = Duration::from_millis(200);
const DIAL_EVERY: Duration = Duration::from_millis(300);
const DIAL_WAIT: Duration = Duration::from_secs(3);
/// A link whose other end says nothing is given up after two to three seconds, on both sides.
const SILENCE: Duration = Duration::from_secs(2);
const PROBE_EVERY: Duration = Duration::from_secs(1);
/// The last flush before the process ends may take this long.
const CLOSE_WAIT: Duration = Duration::from_secs(30);

pub(crate) struct Daemon {
    pub(crate) pair: Pair,
    volume: StdMutex<Volume>,
    link_tls: Option<LinkTls>,
    pub(crate) place: Mutex<Place>,
    pub(crate) handlers: Handlers,
    /// The operator holds resyncs from here.
    pub(crate) paused: AtomicBool,
    /// Those of other volumes go first.
    pub(crate) held: AtomicBool,
    /// The one that is waited for.
    pub(crate) waits_for: StdMutex<Option<String>>,
    /// The link that the other machine dialled.
    accepted: Arc<StdMutex<Option<Link>>>,
    /// The dialled link is to be replaced by a new one.
    relink: Notify,
}

/// Runs until the process is told to end.
pub(crate) fn run(pair: Pair) -> Result<(), String> {
    // Each request of a client may block a thread, a flush for long.
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().max_blocking_threads(2048).build();
    let runtime = runtime.map_err(|e| format!("starting: {e}"))?;
    let result = runtime.block_on(serve(pair));
    runtime.shutdown_timeout(Duration::from_secs(1));
    result
}

async fn serve(pair: Pair) -> Result<(), String> {
    let peer = pair.peer.replication.ip();
    let link_tls = pair.link_tls.as_ref().map(|files| LinkTls::load(files, peer)).transpose()?;
    let volume = pair.open()?;
    let control = pair.me.control();
    // Opening the volume locked it: whoever listened here before has gone.
    drop(std::fs::remove_file(&control));
    let commands = UnixListener::bind(&control).map_err(|e| format!("{}: {e}", control.display()))?;
    let place = Place::new(pair.dual);
    let (handlers, work) = Handlers::new(&pair);
    tokio::spawn(work);
    let daemon = Arc::new(Daemon {
        pair,
        volume: StdMutex::new(volume),
        link_tls,
        place: Mutex::new(place),
        handlers,
        paused: AtomicBool::new(false),
        held: AtomicBool::new(false),
        waits_for: StdMutex::default(),
        accepted: Arc::default(),
        relink: Notify::new(),
    });
    let links = TcpListener::bind(daemon.pair.me.replication)
        .await
        .map_err(|e| format!("{}: {e}", daemon.pair.me.replication))?;
    let mut term = signal(SignalKind::terminate()).map_err(|e| format!("signals: {e}"))?;
    eprintln!("nbd-pair: node {} follows", daemon.pair.me.id);
    tokio::select! {
        () = control::serve(daemon.clone(), commands) => {}
        () = daemon.accept_links(links) => {}
        () = daemon.dial(), if daemon.pair.first => {}
        () = daemon.watch() => {}
        () = daemon.keep_order() => {}
        _ = term.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
    daemon.stop().await;
    drop(std::fs::remove_file(&control));
    Ok(())
}

impl Daemon {
    pub(crate) fn volume(&self) -> Volume {
        self.volume.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Gives the former one.
    pub(crate) fn replace_volume(&self, volume: Volume) -> Volume {
        let former =
            std::mem::replace(&mut *self.volume.lock().unwrap_or_else(PoisonError::into_inner), volume);
        self.apply_pause();
        former
    }

    /// The other machine as it is connected, or as it was.
    pub(crate) fn peer<'a>(&self, status: &'a Status) -> Option<&'a PeerStatus> {
        let (node, device) = (self.pair.peer.id, self.pair.peer.device);
        let of_it = |p: &&PeerStatus| p.node == node && (p.device == device || p.is_diskless());
        // Its disk may have failed: then it is connected without, and its copy is not.
        status.peers.iter().filter(of_it).max_by_key(|p| p.link != LinkStatus::Down)
    }

    // ---- the link ----

    async fn accept_links(&self, listener: TcpListener) {
        loop {
            let Ok((io, from)) = listener.accept().await else {
                sleep(DIAL_EVERY).await;
                continue;
            };
            let (volume, peer, place) = (self.volume(), self.pair.peer.id, self.accepted.clone());
            let tls = self.link_tls.clone();
            tokio::spawn(async move {
                let link = match (watched(&io), tls) {
                    (Err(why), _) => Err(why.to_string()),
                    (_, None) => introduced(&volume, peer, io).await,
                    (_, Some(tls)) => match timeout(DIAL_WAIT, tls.accept(io)).await {
                        Ok(Ok(io)) => introduced(&volume, peer, io).await,
                        Ok(Err(why)) => Err(format!("TLS: {why}")),
                        Err(_) => Err("TLS: it does not go on".into()),
                    },
                };
                match link {
                    Ok(link) => drop(place.lock().unwrap_or_else(PoisonError::into_inner).insert(link)),
                    Err(why) => eprintln!("nbd-pair: a link from {from}: {why}"),
                }
            });
        }
    }

    /// The first machine dials, again and again.
    async fn dial(&self) {
        let mut said = String::new();
        loop {
            let why = match timeout(DIAL_WAIT, self.connect()).await {
                Ok(Ok(link)) => tokio::select! {
                    why = link.ended() => why.to_string(),
                    // A newer link replaces the older one on both sides.
                    () = self.relink.notified() => continue,
                },
                Ok(Err(why)) => why,
                Err(_) => "no answer".into(),
            };
            if why != said {
                eprintln!("nbd-pair: the link to node {}: {why}", self.pair.peer.id);
                said = why;
            }
            sleep(DIAL_EVERY).await;
        }
    }

    async fn connect(&self) -> Result<Link, String> {
        let io = TcpStream::connect(self.pair.peer.replication).await.map_err(|e| e.to_string())?;
        watched(&io).map_err(|e| e.to_string())?;
        let (volume, peer) = (self.volume(), self.pair.peer.id);
        let link = match &self.link_tls {
            None => volume.attach(peer, io).await,
            Some(tls) => {
                let io = tls.connect(io).await.map_err(|why| format!("TLS: {why}"))?;
                volume.attach(peer, io).await
            }
        };
        link.map_err(|e| e.to_string())
    }

    /// The other machine learns by a new link's hello how this one stands now.
    pub(crate) fn introduce_anew(&self) {
        if let Some(link) = self.accepted.lock().unwrap_or_else(PoisonError::into_inner).take() {
            link.cut();
        }
        if self.pair.first {
            self.relink.notify_one();
        }
    }

    async fn watch(&self) {
        loop {
            let mut events = self.volume().events();
            loop {
                match timeout(TICK, events.recv()).await {
                    Ok(Ok(event)) => {
                        tell(&event);
                        self.handlers.event(&event);
                    }
                    // Another volume takes its place.
                    Ok(Err(RecvError::Closed)) => break,
                    _ => {}
                }
                self.look().await;
            }
            sleep(TICK).await;
        }
    }

    async fn stop(&self) {
        self.place.lock().await.close();
        // A disk that hangs must not hold the process; a crash is what the copy is made for.
        if timeout(CLOSE_WAIT, self.volume().close()).await.is_err() {
            eprintln!("nbd-pair: the disk does not answer");
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

/// Whoever dialled must be the other machine.
async fn introduced<IO>(volume: &Volume, peer: NodeId, mut io: IO) -> Result<Link, String>
where
    IO: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    match Hello::read(&mut io).await {
        Ok(hello) if hello.node == peer => volume.accept(hello, io).await.map_err(|e| e.to_string()),
        Ok(hello) => {
            drop(Hello::refuse(&mut io, Refusal::UnknownVolume).await);
            Err(format!("node {} is not the other machine", hello.node))
        }
        Err(why) => Err(why.to_string()),
    }
}

fn tell(event: &Event) {
    eprintln!("nbd-pair: {event:?}");
}

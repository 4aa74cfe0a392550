//! One machine's side of the pair.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex as StdMutex, PoisonError};
use std::time::Duration;

use posthaste_blockrepl::Volume;
use posthaste_blockrepl::core::{Event, LinkStatus, PeerStatus, Status};
use tokio::net::UnixListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::broadcast::{Receiver, error::RecvError};
use tokio::sync::{Mutex, mpsc};
use tokio::time::timeout;

use crate::config::Pair;
use crate::control;
use crate::handlers::Handlers;
use crate::links::Links;
use crate::roles::Place;

/// How often the picture is looked at, besides at each event.
const TICK: Duration = Duration::from_millis(200);
/// The last flush before the process ends may take this long.
const CLOSE_WAIT: Duration = Duration::from_secs(30);

pub(crate) struct Daemon {
    pub(crate) pair: Pair,
    volume: StdMutex<Volume>,
    /// What happens to each volume, from its beginning.
    events: mpsc::UnboundedSender<Receiver<Event>>,
    pub(crate) links: Arc<Links>,
    pub(crate) place: Mutex<Place>,
    pub(crate) handlers: Handlers,
    /// The operator holds resyncs from here.
    pub(crate) paused: AtomicBool,
    /// Those of other volumes go first.
    pub(crate) held: AtomicBool,
    /// Held while what they say is applied.
    pub(crate) pausing: StdMutex<()>,
    /// The one that is waited for.
    pub(crate) waits_for: StdMutex<Option<String>>,
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
    let control = pair.me.control();
    let (daemon, mut to_watch) = Daemon::new(pair)?;
    // Opening the volume locked it: whoever listened here before has gone.
    drop(std::fs::remove_file(&control));
    let commands = UnixListener::bind(&control).map_err(|e| format!("{}: {e}", control.display()))?;
    daemon.accept_links().await?;
    let mut term = signal(SignalKind::terminate()).map_err(|e| format!("signals: {e}"))?;
    eprintln!("nbd-pair: node {} follows", daemon.pair.me.id);
    tokio::select! {
        () = control::serve(daemon.clone(), commands) => {}
        () = daemon.dial(), if daemon.pair.first => {}
        () = daemon.watch(&mut to_watch) => {}
        () = daemon.keep_order() => {}
        _ = term.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
    daemon.stop().await;
    drop(std::fs::remove_file(&control));
    Ok(())
}

impl Daemon {
    /// And the events of its volumes.
    pub(crate) fn new(pair: Pair) -> Result<(Arc<Self>, mpsc::UnboundedReceiver<Receiver<Event>>), String> {
        let links = Links::new(&pair)?;
        let volume = pair.open()?;
        let place = Place::new(pair.dual);
        let (handlers, work) = Handlers::new(&pair);
        tokio::spawn(work);
        let (events, to_watch) = mpsc::unbounded_channel();
        drop(events.send(volume.events()));
        let daemon = Daemon {
            pair,
            volume: StdMutex::new(volume),
            events,
            links,
            place: Mutex::new(place),
            handlers,
            paused: AtomicBool::new(false),
            held: AtomicBool::new(false),
            pausing: StdMutex::default(),
            waits_for: StdMutex::default(),
        };
        Ok((Arc::new(daemon), to_watch))
    }

    pub(crate) fn volume(&self) -> Volume {
        self.volume.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Gives the former one.
    pub(crate) fn replace_volume(&self, volume: Volume) -> Volume {
        // Both ends are this daemon's.
        drop(self.events.send(volume.events()));
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

    async fn watch(&self, volumes: &mut mpsc::UnboundedReceiver<Receiver<Event>>) {
        while let Some(mut events) = volumes.recv().await {
            loop {
                match timeout(TICK, events.recv()).await {
                    Ok(Ok(event)) => {
                        tell(&event);
                        self.handlers.event(&event);
                    }
                    // Another volume takes its place.
                    Ok(Err(RecvError::Closed)) => break,
                    Ok(Err(RecvError::Lagged(n))) => {
                        eprintln!("nbd-pair: too much happened at once: {n} events are not told");
                    }
                    Err(_) => {}
                }
                self.look().await;
            }
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

fn tell(event: &Event) {
    eprintln!("nbd-pair: {event:?}");
}

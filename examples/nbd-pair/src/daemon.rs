//! One machine's side: the volume, its link to the other machine, and what an operator decides.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex as StdMutex, PoisonError};
use std::time::{Duration, Instant};

use posthaste_blockrepl::core::{
    Event, Finding, LinkStatus, PeerStatus, RoleStatus, Snapshot, Status, Wrong,
};
use posthaste_blockrepl::nbd::{Export, Limits, Server};
use posthaste_blockrepl::wire::Refusal;
use posthaste_blockrepl::{BlockDevice, Grant, Hello, Link, Member, NodeId, Volume};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Mutex, Notify};
use tokio::time::{sleep, timeout};

use crate::config::{OnPeerLoss, Pair, Protocol};
use crate::control::{self, Command};
use crate::export::Serving;
use crate::tls::{self, LinkTls};

/// How often the picture is looked at, besides at each event.
const TICK: Duration = Duration::from_millis(200);
/// `on_peer_loss = "continue"`: how long the other machine may be away before.
const PEER_LOSS: Duration = Duration::from_secs(3);
const DIAL_EVERY: Duration = Duration::from_millis(300);
const DIAL_WAIT: Duration = Duration::from_secs(3);
/// A demotion's last flush may take this long.
const FLUSH_WAIT: Duration = Duration::from_secs(30);
/// Answers of a leadership that ended may take this long to reach the clients.
const LAST_WORDS: Duration = Duration::from_millis(500);

pub(crate) struct Daemon {
    pair: Pair,
    volume: Volume,
    link_tls: Option<LinkTls>,
    leading: Mutex<Option<Leading>>,
    /// The link that the other machine dialled.
    accepted: Arc<StdMutex<Option<Link>>>,
    /// The dialled link is to be replaced by a new one.
    relink: Notify,
}

struct Leading {
    grant: Grant,
    device: Arc<dyn BlockDevice>,
    serving: Serving,
    /// Since when the other machine, in sync before, is away.
    lost: Option<Instant>,
}

/// Runs until the process is told to end.
pub(crate) fn run(pair: Pair) -> Result<(), String> {
    // Each request of a client may block a thread, a flush for long.
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().max_blocking_threads(1024).build();
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
    let daemon = Arc::new(Daemon {
        pair,
        volume,
        link_tls,
        leading: Mutex::new(None),
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
        _ = term.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
    daemon.stop().await;
    drop(std::fs::remove_file(&control));
    Ok(())
}

impl Daemon {
    // ---- the link ----

    async fn accept_links(&self, listener: TcpListener) {
        loop {
            let Ok((io, from)) = listener.accept().await else {
                sleep(DIAL_EVERY).await;
                continue;
            };
            let (volume, peer, place) = (self.volume.clone(), self.pair.peer.id, self.accepted.clone());
            let tls = self.link_tls.clone();
            tokio::spawn(async move {
                drop(io.set_nodelay(true));
                let link = match tls {
                    None => introduced(&volume, peer, io).await,
                    Some(tls) => match timeout(DIAL_WAIT, tls.accept(io)).await {
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
        drop(io.set_nodelay(true));
        let (peer, tls) = (self.pair.peer.id, self.link_tls.as_ref());
        let link = match tls {
            None => self.volume.attach(peer, io).await,
            Some(tls) => {
                let io = tls.connect(io).await.map_err(|why| format!("TLS: {why}"))?;
                self.volume.attach(peer, io).await
            }
        };
        link.map_err(|e| e.to_string())
    }

    // ---- what goes by itself ----

    async fn watch(&self) {
        let mut events = self.volume.events();
        loop {
            if let Ok(Ok(event)) = timeout(TICK, events.recv()).await {
                tell(&event);
            }
            self.look().await;
        }
    }

    /// A leader takes the other machine in when it is in step, and leaves it out by policy.
    async fn look(&self) {
        let mut place = self.leading.lock().await;
        let Some(leading) = place.as_mut() else { return };
        let status = self.volume.status();
        if status.role != RoleStatus::Leader {
            eprintln!("nbd-pair: node {} leads no more", self.pair.me.id);
            end(place.take());
            return;
        }
        let link = self.peer(&status).map_or(LinkStatus::Down, |p| p.link);
        let counted = leading.grant.in_sync.contains(&self.pair.peer.member());
        if link == LinkStatus::Synced && !counted {
            self.regrant(leading, self.pair.both()).unwrap_or_else(|why| eprintln!("nbd-pair: {why}"));
        }
        let lost = counted && link == LinkStatus::Down;
        let since = leading.lost.get_or_insert_with(Instant::now).elapsed();
        match lost {
            false => leading.lost = None,
            true if self.pair.on_peer_loss == OnPeerLoss::Continue && since >= PEER_LOSS => {
                self.go_on_alone(leading).unwrap_or_else(|why| eprintln!("nbd-pair: {why}"));
            }
            true => {}
        }
    }

    fn peer<'a>(&self, status: &'a Status) -> Option<&'a PeerStatus> {
        status.peers.iter().find(|p| p.device == self.pair.peer.device)
    }

    fn regrant(&self, leading: &mut Leading, in_sync: BTreeSet<Member>) -> Result<(), String> {
        let shrinks = !in_sync.is_superset(&leading.grant.in_sync);
        let generation = leading.grant.generation + u64::from(shrinks);
        let grant = Grant { in_sync: in_sync.clone(), generation, ..leading.grant.clone() };
        self.volume
            .set_pending(Some(in_sync))
            .and_then(|()| self.volume.set_grant(grant.clone()))
            .map_err(|e| e.to_string())?;
        leading.grant = grant;
        Ok(())
    }

    fn go_on_alone(&self, leading: &mut Leading) -> Result<(), String> {
        self.regrant(leading, [self.pair.me.member()].into())?;
        eprintln!("nbd-pair: node {} goes on alone", self.pair.me.id);
        Ok(())
    }

    // ---- what an operator decides ----

    pub(crate) async fn command(&self, command: Command) -> Result<String, String> {
        match command {
            Command::Status => Ok(self.status().await),
            Command::Promote { peer_is_down, accept_loss, new } => {
                self.promote(peer_is_down, accept_loss, new).await
            }
            Command::Demote { not_in_sync } => self.demote(not_in_sync).await,
            Command::Alone => self.alone().await,
            Command::DiscardPeer => {
                self.volume.discard(self.pair.peer.device);
                Ok("when it connects, its copy is overwritten\n".into())
            }
            Command::Verify => self.verify().await,
            Command::Resize { mib } => self.resize(mib).await,
            Command::Pause => {
                self.volume.pause_resync(self.pair.peer.id);
                Ok("a resync from here is held, now and later, until resume\n".into())
            }
            Command::Resume => {
                self.volume.resume_resync(self.pair.peer.id);
                Ok("a resync from here goes on\n".into())
            }
            Command::Protocol(protocol) => self.change_protocol(protocol).await,
            Command::Scrub => self.scrub().await,
            Command::DropSnapshots => self.drop_snapshots().await,
            Command::Snapshots => Ok(self.volume.snapshots().iter().map(kept).collect()),
            Command::Metrics => Ok(self.volume.metrics().prometheus(&self.pair.export)),
        }
    }

    async fn promote(&self, peer_is_down: bool, accept_loss: bool, new: bool) -> Result<String, String> {
        let mut place = self.leading.lock().await;
        if place.is_some() {
            return Ok("it leads already\n".into());
        }
        let status = self.volume.status();
        self.may_promote(&status, peer_is_down, accept_loss, new)?;
        if !status.consistent {
            self.volume.rollback().await.map_err(|e| e.to_string())?;
        }
        self.volume.set_protocol(self.pair.peer.id, self.pair.protocol.into());
        let epoch = self.pair.next_epoch(status.epoch);
        let raised = self.volume.raise_epoch(epoch).await.map_err(|e| e.to_string())?;
        // R1: a takeover begins alone; the other machine is taken in as soon as it is in step.
        let in_sync = [self.pair.me.member()].into();
        let grant = Grant::new(epoch, self.pair.me.id, in_sync, raised.generation + 1);
        let device = self.volume.lead(grant.clone()).await.map_err(|e| e.to_string())?;
        let serving = match self.export(&device).await {
            Ok(serving) => serving,
            Err(why) => {
                drop(self.volume.raise_epoch(Pair::last_epoch(epoch)).await);
                return Err(why);
            }
        };
        *place = Some(Leading { grant, device, serving, lost: None });
        eprintln!("nbd-pair: node {} leads epoch {epoch}", self.pair.me.id);
        Ok(format!("node {} leads epoch {epoch} and exports {:?}\n", self.pair.me.id, self.pair.export))
    }

    fn may_promote(
        &self,
        status: &Status,
        peer_is_down: bool,
        accept_loss: bool,
        new: bool,
    ) -> Result<(), String> {
        let blank = status.generation.generation == 0 && status.consistent;
        let link = self.peer(status).map_or(LinkStatus::Down, |p| p.link);
        let peer = self.pair.peer.id;
        let refuse = |why: String| Err(why);
        match link {
            LinkStatus::Leader => refuse(format!("node {peer} leads: demote it first")),
            LinkStatus::Down if !peer_is_down && !new => refuse(format!(
                "node {peer} is not connected. If it still led, the two would diverge: make sure that it is \
                 down and stays so, then use --peer-is-down"
            )),
            _ if blank && !new => {
                refuse("this copy is blank: wait for its resync, or begin with --new".into())
            }
            _ if !blank && new => refuse("this copy holds data: promote it without --new".into()),
            _ if !status.consistent && !status.can_roll_back => {
                refuse("this copy is in the midst of a resync and cannot be rolled back".into())
            }
            _ if !status.consistent && !accept_loss => {
                refuse("this copy is in the midst of a resync: --accept-loss goes back to before it".into())
            }
            _ if !blank && !status.in_sync.contains(&self.pair.me.member()) && !accept_loss => {
                refuse(format!(
                    "this copy was not in sync when it last heard of node {peer}: promote that one, or use --accept-loss"
                ))
            }
            _ => Ok(()),
        }
    }

    async fn export(&self, device: &Arc<dyn BlockDevice>) -> Result<Serving, String> {
        let mut export = Export::new(&self.pair.export, device.clone());
        export.write_through = self.pair.write_through;
        export.description = format!("led by node {}", self.pair.me.id);
        let limits = Limits { connections: 16, ..Limits::default() };
        let server = Server::with_limits(vec![export], limits).map_err(|e| e.to_string())?;
        let tls = self.pair.tls.as_ref().map(tls::acceptor).transpose()?;
        Serving::start(&server, &self.pair.me.nbd, tls).await
    }

    async fn resize(&self, mib: u64) -> Result<String, String> {
        let size = mib.checked_mul(1 << 20).ok_or("the size is too large")?;
        let size = self.volume.resize(size).await.map_err(|e| e.to_string())?;
        Ok(format!("{size} bytes; clients see them when they connect anew\n"))
    }

    /// From C, the other machine first leaves the set; to C, it enters it as soon as it is in step.
    async fn change_protocol(&self, protocol: Protocol) -> Result<String, String> {
        let mut place = self.leading.lock().await;
        let Some(leading) = place.as_mut() else { return Err("it does not lead".into()) };
        self.volume.set_protocol(self.pair.peer.id, protocol.into());
        if protocol != Protocol::C && leading.grant.in_sync.contains(&self.pair.peer.member()) {
            self.regrant(leading, [self.pair.me.member()].into())?;
        }
        Ok(format!("protocol {protocol:?}, until this daemon ends\n"))
    }

    /// A machine under A or B lacks at most what is under way: it is brought in step before it takes over.
    async fn bring_in_step(&self, leading: &mut Leading) -> Result<(), String> {
        let peer = self.pair.peer.id;
        let link = || self.peer(&self.volume.status()).map(|p| p.link);
        if link() != Some(LinkStatus::Following) {
            return Ok(());
        }
        self.volume.set_protocol(peer, Protocol::C.into());
        let synced = async {
            while link() != Some(LinkStatus::Synced) {
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(FLUSH_WAIT, synced).await.map_err(|_| format!("node {peer} is not in step after 30 s"))?;
        self.regrant(leading, self.pair.both())
    }

    async fn demote(&self, not_in_sync: bool) -> Result<String, String> {
        let mut place = self.leading.lock().await;
        let Some(leading) = place.as_mut() else { return Ok("it does not lead\n".into()) };
        if let Err(why) = self.bring_in_step(leading).await
            && !not_in_sync
        {
            return Err(why);
        }
        let status = self.volume.status();
        let link = self.peer(&status).map(|p| p.link);
        let in_step = link == Some(LinkStatus::Synced) && leading.grant.in_sync == self.pair.both();
        if !in_step && !not_in_sync {
            return Err(format!(
                "node {} is not in sync, so it could not take over without loss; --not-in-sync does it anyway",
                self.pair.peer.id
            ));
        }
        let device = leading.device.clone();
        let flush = tokio::task::spawn_blocking(move || device.flush());
        match timeout(FLUSH_WAIT, flush).await {
            Ok(Ok(Ok(()))) => {}
            Ok(Ok(Err(why))) => return Err(format!("the last flush failed: {why}")),
            _ => return Err("the last flush is not done after 30 s; it still leads".into()),
        }
        let epoch = Pair::last_epoch(leading.grant.epoch);
        // It fences the handle first: what comes in now is refused, not lost.
        self.volume.raise_epoch(epoch).await.map_err(|e| e.to_string())?;
        end(place.take());
        self.introduce_anew();
        Ok("it follows\n".into())
    }

    /// The other machine learns by a new link's hello that this one leads no more.
    fn introduce_anew(&self) {
        if let Some(link) = self.accepted.lock().unwrap_or_else(PoisonError::into_inner).take() {
            link.cut();
        }
        if self.pair.first {
            self.relink.notify_one();
        }
    }

    async fn alone(&self) -> Result<String, String> {
        let mut place = self.leading.lock().await;
        let Some(leading) = place.as_mut() else { return Err("it does not lead".into()) };
        self.go_on_alone(leading)?;
        Ok("it goes on alone\n".into())
    }

    async fn verify(&self) -> Result<String, String> {
        let report = self.volume.verify().await.map_err(|e| e.to_string())?;
        let (peers, bytes) = (report.peers.len(), report.checked_bytes);
        let mut text =
            format!("{bytes} bytes compared with {peers} peer(s), {} differ\n", report.differing.len());
        text.extend(report.differing.iter().map(told));
        if report.incomplete.is_empty() { Ok(text) } else { Err(format!("{text}the link broke meanwhile")) }
    }

    async fn drop_snapshots(&self) -> Result<String, String> {
        let all = self.volume.snapshots();
        for snapshot in &all {
            self.volume.delete_snapshot(snapshot.id).await.map_err(|e| e.to_string())?;
        }
        Ok(format!("{} snapshots deleted\n", all.len()))
    }

    async fn scrub(&self) -> Result<String, String> {
        let report = self.volume.scrub().await.map_err(|e| e.to_string())?;
        let mut text = format!(
            "{} bytes read, {} of them without a checksum, {} ranges damaged\n",
            report.checked_bytes,
            report.unknown_bytes,
            report.findings.len()
        );
        text.extend(report.findings.iter().map(told));
        Ok(text)
    }

    async fn status(&self) -> String {
        let status = self.volume.status();
        let set: Vec<String> = status.in_sync.iter().map(|m| m.node.to_string()).collect();
        let mut text = format!(
            "node        {}\nrole        {:?}\nsize        {}\nepoch       {}\ngeneration  {}\nconsistent  {}\nin_sync     {}\n",
            status.identity.node,
            status.role,
            status.size,
            status.epoch,
            status.generation.generation,
            status.consistent,
            set.join(" "),
        );
        if let Some(peer) = self.peer(&status) {
            text += &format!("peer        {:?}, {} bytes to resync\n", peer.link, peer.dirty_bytes);
            text += &format!("protocol    {:?}\n", peer.protocol);
            if let Some(resync) = peer.resync {
                let rate = resync
                    .rate
                    .map_or("as fast as it goes".into(), |r| format!("at most {r} bytes a second"));
                text += &format!("resync      {}\n", if resync.paused { "paused" } else { &rate });
            }
        }
        status.waiting.iter().for_each(|why| text += &format!("flush       {why}\n"));
        if let Some(why) = &status.failed {
            text += &format!("disk        {why}\n");
        }
        if self.leading.lock().await.is_some() {
            text += &format!("export      {:?} at {:?}\n", self.pair.export, self.pair.me.nbd);
        }
        text
    }

    async fn stop(&self) {
        drop(self.leading.lock().await.take());
        // A disk that hangs must not hold the process; a crash is what the copy is made for.
        if timeout(FLUSH_WAIT, self.volume.close()).await.is_err() {
            eprintln!("nbd-pair: the disk does not answer");
        }
    }
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

/// The export stops a moment later, so that clients hear why.
fn end(leading: Option<Leading>) {
    let Some(Leading { mut serving, .. }) = leading else { return };
    serving.close();
    tokio::spawn(async move {
        sleep(LAST_WORDS).await;
        drop(serving);
    });
}

fn tell(event: &Event) {
    eprintln!("nbd-pair: {event:?}");
}

/// A line about a damaged range.
fn told(finding: &Finding) -> String {
    let Finding { node, offset, len, wrong, healed, .. } = finding;
    let what = match wrong {
        Wrong::Copy => "is wrong",
        Wrong::Unknown => "differs, and no checksum decides: the leader's copy is taken",
        _ => "is wrong, and so is the other one",
    };
    let then = if *healed { "healed" } else { "NOT healed" };
    format!("node {node}: {len} bytes at {offset}: this copy {what}; {then}\n")
}

/// A line about a copy that was given up.
fn kept(snapshot: &Snapshot) -> String {
    let written: u64 = snapshot.written.iter().map(|(_, len)| len).sum();
    let Snapshot { id, generation, .. } = snapshot;
    format!(
        "snapshot {id}: generation {}, {written} bytes written since the copies parted\n",
        generation.generation
    )
}

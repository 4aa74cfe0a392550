//! Links over several paths, on real sockets with cables that are pulled.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use posthaste_blockrepl::bond::{
    Acceptor, Bond, BondConfig, Monitor, PathEvent, PathLoss, PathStatus, Stream,
};
use posthaste_blockrepl::core::LinkStatus;
use posthaste_blockrepl::wire::{Hello, Message, Opening, Refusal};
use posthaste_blockrepl::{BlockDevice, Identity, Link, LinkError, NodeId, Volume};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::spawn_blocking;

use crate::driver::{content, create, until};
use crate::harness::{SIZE, grant, identity};
use crate::relay::{Cable, Relay};

const WAIT: Duration = Duration::from_secs(20);

/// Times for tests: long enough for a machine that is busy with others.
fn config() -> BondConfig {
    BondConfig {
        keepalive: Duration::from_millis(20),
        silence: Duration::from_millis(300),
        settle: Duration::from_millis(100),
        give_up: Duration::from_millis(600),
        redial: Duration::from_millis(10),
        ..BondConfig::default()
    }
}

async fn dial(us: Identity, peer: NodeId, relays: Vec<SocketAddr>) -> Result<Bond, LinkError> {
    let paths = relays.len();
    let connect = move |rank: usize| {
        let address = relays[rank];
        async move {
            let io = TcpStream::connect(address).await?;
            io.set_nodelay(true)?;
            Ok(Box::new(io) as Box<dyn Stream>)
        }
    };
    Bond::dial(&us, peer, config(), paths, connect).await
}

/// Node 1 listens; each bond that is dialled becomes a link of the volume.
async fn serve(volume: Volume, paths: usize) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let acceptor = Arc::new(Acceptor::new(&identity(1), [identity(0).node], paths, config()));
    tokio::spawn(async move {
        loop {
            let (io, _) = listener.accept().await.unwrap();
            io.set_nodelay(true).unwrap();
            let (acceptor, volume) = (acceptor.clone(), volume.clone());
            tokio::spawn(async move {
                let Ok(Some(mut bond)) = acceptor.accept(io).await else { return };
                let Ok(hello) = Hello::read(&mut bond).await else { return };
                drop(volume.accept(hello, bond).await.unwrap());
            });
        }
    });
    address
}

struct Two {
    dir: TempDir,
    volumes: [Volume; 2],
    device: Arc<dyn BlockDevice>,
    relays: [Relay; 2],
    monitor: Monitor,
    link: Link,
}

async fn two() -> Two {
    let dir = TempDir::new().unwrap();
    let volumes = [create(&dir, 0), create(&dir, 1)];
    let to = serve(volumes[1].clone(), 2).await;
    let relays = [Relay::new(to).await, Relay::new(to).await];
    volumes[0].raise_epoch(1).await.unwrap();
    let device = volumes[0].lead(grant(1, 0, &[0, 1], 1)).await.unwrap();
    let bond = dial(identity(0), identity(1).node, relays.iter().map(|r| r.address).collect()).await.unwrap();
    let monitor = bond.monitor();
    let link = volumes[0].attach(identity(1).node, bond).await.unwrap();
    let two = Two { dir, volumes, device, relays, monitor, link };
    until("sync", || two.volumes[0].status().peers.first().map(|p| p.link) == Some(LinkStatus::Synced)).await;
    until("both paths", || two.monitor.status().iter().all(|p| p.up)).await;
    until("the preferred one carries", || carries(&two.monitor, 0)).await;
    two
}

fn carries(monitor: &Monitor, rank: usize) -> bool {
    monitor.status().iter().any(|p: &PathStatus| p.rank == rank && p.carries)
}

/// Writes and flushes until told to stop; gives what must be on both disks.
fn write_on(
    device: Arc<dyn BlockDevice>,
) -> (Arc<std::sync::atomic::AtomicBool>, tokio::task::JoinHandle<Vec<u8>>) {
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let stopped = stop.clone();
    let writer = spawn_blocking(move || {
        let mut image = vec![0; SIZE as usize];
        let mut n = 0u64;
        while !stopped.load(std::sync::atomic::Ordering::Relaxed) {
            n += 1;
            let len = 1 + (n * 7919) as usize % 100_000;
            let at = (n * 104_729) as usize % (SIZE as usize - len);
            let data = vec![n as u8; len];
            device.write_at(at as u64, &data).unwrap();
            image[at..at + len].copy_from_slice(&data);
            if n.is_multiple_of(4) {
                device.flush().unwrap();
            }
        }
        device.flush().unwrap();
        image
    });
    (stop, writer)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_outlives_each_of_its_paths_while_it_is_written_to() {
    let two = two().await;
    let mut events = two.monitor.events();
    let (stop, writer) = write_on(two.device.clone());
    for cable in [Cable::Silent, Cable::Cut] {
        two.relays[0].set(cable);
        until("the spare carries", || carries(&two.monitor, 1)).await;
        let sent = |rank: usize| two.monitor.status()[rank].sent_bytes;
        let before = sent(1);
        until("writes go on", || sent(1) > before + 200_000).await;
        two.relays[0].set(Cable::Whole);
        until("the preferred one carries again", || carries(&two.monitor, 0)).await;
        // The spare's death is not noticed but by those who ask.
        two.relays[1].set(cable);
        until("the spare is lost", || !two.monitor.status()[1].up).await;
        let before = sent(0);
        until("writes go on", || sent(0) > before + 200_000).await;
        two.relays[1].set(Cable::Whole);
        until("the spare is back", || two.monitor.status()[1].up).await;
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    let image = writer.await.unwrap();
    assert!(content(&two.dir, 0) == image && content(&two.dir, 1) == image);
    for volume in &two.volumes {
        let metrics = volume.metrics();
        assert_eq!((metrics.peers_connected, metrics.peers_lost), (1, 0));
    }
    assert!(two.volumes[0].verify().await.unwrap().differing.is_empty());
    let mut lost = Vec::new();
    while let Ok(event) = events.try_recv() {
        if let PathEvent::Down { rank, why } = event {
            lost.push((rank, why));
        }
    }
    assert!(lost.contains(&(0, PathLoss::Silent)) && lost.contains(&(1, PathLoss::Silent)), "{lost:?}");
    assert!(lost.iter().any(|(rank, why)| *rank == 0 && matches!(why, PathLoss::Broke(_))), "{lost:?}");
    let metrics = two.monitor.metrics();
    assert!(metrics.moves >= 5 && metrics.paths.iter().all(|p| p.losses >= 2), "{metrics:?}");
    let text = metrics.prometheus("v");
    for line in ["blockrepl_path_carries{volume=\"v\",path=\"0\"} 1", "# TYPE blockrepl_path_up gauge"] {
        assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_without_any_path_ends_in_time_and_a_new_one_brings_the_copies_in_step() {
    let two = two().await;
    let (stop, writer) = write_on(two.device.clone());
    two.relays.iter().for_each(|relay| relay.set(Cable::Silent));
    let why = tokio::time::timeout(WAIT, two.link.ended()).await.unwrap();
    assert!(matches!(&why, LinkError::Io(e) if e.kind() == std::io::ErrorKind::TimedOut), "{why}");
    assert!(two.monitor.is_over());
    until("the other side gives up as well", || two.volumes[1].metrics().peers_lost == 1).await;
    two.relays.iter().for_each(|relay| relay.set(Cable::Whole));
    let paths = two.relays.iter().map(|r| r.address).collect();
    let bond = dial(identity(0), identity(1).node, paths).await.unwrap();
    let _link = two.volumes[0].attach(identity(1).node, bond).await.unwrap();
    until("sync", || two.volumes[0].status().peers[0].link == LinkStatus::Synced).await;
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    let image = writer.await.unwrap();
    assert!(content(&two.dir, 0) == image && content(&two.dir, 1) == image);
}

/// A pair of bonds over pipes, and the pipes' far ends of those that were dialled.
async fn bonds(acceptor: &Acceptor) -> (Bond, Bond) {
    let (ours, theirs) = tokio::io::duplex(1 << 16);
    let ours = std::sync::Mutex::new(Some(ours));
    let connect = move |_| {
        let io = ours.lock().unwrap().take();
        async move { io.map(|io| Box::new(io) as Box<dyn Stream>).ok_or(LinkError::Closed) }
    };
    let us = identity(0);
    let dialled = Bond::dial(&us, identity(1).node, config(), 1, connect);
    let (dialled, accepted) = tokio::join!(dialled, acceptor.accept(theirs));
    (dialled.unwrap(), accepted.unwrap().expect("a new bond"))
}

fn acceptor(paths: usize) -> Acceptor {
    acceptor_with(paths, config())
}

fn acceptor_with(paths: usize, config: BondConfig) -> Acceptor {
    Acceptor::new(&identity(1), [identity(0).node], paths, config)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bond_ends_in_good_order_and_a_new_one_of_the_same_peer_takes_its_place() {
    let acceptor = acceptor(1);
    let (mut dialled, mut accepted) = bonds(&acceptor).await;
    let long = vec![5; 300_000];
    let (sent, got) = tokio::join!(
        async {
            dialled.write_all(&long).await?;
            dialled.shutdown().await
        },
        async {
            let mut got = Vec::new();
            accepted.read_to_end(&mut got).await.map(|_| got)
        }
    );
    sent.unwrap();
    assert!(got.unwrap() == long);
    // A second one, while the first is still held.
    let (mut newer, mut at_it) = bonds(&acceptor).await;
    let why = accepted.write_all(b"late").await.unwrap_err();
    assert_eq!(why.kind(), std::io::ErrorKind::ConnectionAborted);
    at_it.write_all(b"hello").await.unwrap();
    at_it.flush().await.unwrap();
    let mut got = [0; 5];
    newer.read_exact(&mut got).await.unwrap();
    drop(at_it);
    let why = tokio::time::timeout(WAIT, newer.read_exact(&mut got)).await.unwrap().unwrap_err();
    assert!(
        matches!(why.kind(), std::io::ErrorKind::TimedOut | std::io::ErrorKind::ConnectionReset),
        "{why}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_side_that_does_not_read_for_a_while_loses_no_path() {
    let acceptor = acceptor(1);
    let (mut dialled, mut accepted) = bonds(&acceptor).await;
    // It asked, and then has other things to do.
    let mut got = [0; 4];
    let asked = tokio::time::timeout(Duration::from_millis(1), accepted.read_exact(&mut got)).await;
    assert!(asked.is_err());
    tokio::time::sleep(3 * config().silence).await;
    let _heard = tokio::time::timeout(Duration::from_millis(1), dialled.read_exact(&mut got)).await;
    dialled.write_all(b"late").await.unwrap();
    dialled.flush().await.unwrap();
    accepted.read_exact(&mut got).await.unwrap();
    assert_eq!(&got, b"late");
    assert_eq!((dialled.monitor().status()[0].losses, accepted.monitor().status()[0].losses), (0, 0));
}

struct Counter(std::sync::atomic::AtomicUsize);

impl std::task::Wake for Counter {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    }
}

/// Who drops it may hold a lock that his waker wants.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bond_that_is_dropped_wakes_nobody() {
    let acceptor = acceptor(1);
    let (mut dialled, _accepted) = bonds(&acceptor).await;
    let counter = Arc::new(Counter(Default::default()));
    let waker = std::task::Waker::from(counter.clone());
    let mut cx = std::task::Context::from_waker(&waker);
    let mut pinned = std::pin::Pin::new(&mut dialled);
    assert!(tokio::io::AsyncWrite::poll_write(pinned.as_mut(), &mut cx, b"more").is_ready());
    let mut got = [0; 1];
    let mut buf = tokio::io::ReadBuf::new(&mut got);
    assert!(tokio::io::AsyncRead::poll_read(pinned, &mut cx, &mut buf).is_pending());
    let woken = || counter.0.load(std::sync::atomic::Ordering::Relaxed);
    let before = woken();
    drop(dialled);
    assert_eq!(woken(), before);
}

fn frame(message: &Message) -> Vec<u8> {
    let mut out = bytes::BytesMut::new();
    message.encode(&mut out);
    out.to_vec()
}

fn path(session: u8, answer: [u8; 16], rank: u8) -> Opening {
    let (us, peer) = (identity(0), identity(1));
    let (cluster, volume) = (us.cluster, us.volume);
    Opening::Path { cluster, volume, from: us.node, to: peer.node, session: [session; 16], answer, rank }
}

async fn hear(io: &mut DuplexStream) -> Message {
    let mut decoder = posthaste_blockrepl::wire::Decoder::new(1024);
    loop {
        if let Some(message) = decoder.next().unwrap() {
            return message;
        }
        let byte = io.read_u8().await.unwrap();
        decoder.buffer().extend_from_slice(&[byte]);
    }
}

/// What the acceptor says to an opening, and how its call ends if nothing more comes.
async fn offered(acceptor: &Acceptor, opening: Message) -> (Message, Result<Option<Bond>, LinkError>) {
    let (mut ours, theirs) = tokio::io::duplex(1 << 12);
    ours.write_all(&frame(&opening)).await.unwrap();
    let answer = async {
        let answer = hear(&mut ours).await;
        drop(ours);
        answer
    };
    tokio::join!(answer, acceptor.accept_from(identity(0).node, theirs))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn paths_of_strangers_and_of_sessions_that_are_over_are_refused_without_effect() {
    let acceptor = acceptor(2);
    let changed = |change: fn(&mut Opening)| {
        let mut opening = path(9, [0; 16], 0);
        change(&mut opening);
        Message::Opening(opening)
    };
    fn fields(opening: &mut Opening) -> (&mut [u8; 16], &mut [u8; 16], &mut NodeId, &mut NodeId, &mut u8) {
        match opening {
            Opening::Path { cluster, volume, from, to, rank, .. } => {
                (&mut cluster.0, &mut volume.0, from, to, rank)
            }
            _ => unreachable!(),
        }
    }
    let hello = Message::Hello(crate::hostile_links::stranger());
    for (opening, refusal) in [
        (changed(|o| fields(o).0[0] ^= 1), Refusal::WrongCluster),
        (changed(|o| fields(o).1[0] ^= 1), Refusal::UnknownVolume),
        (changed(|o| fields(o).2.0 = 77), Refusal::UnknownVolume),
        (changed(|o| fields(o).3.0 = 77), Refusal::UnknownVolume),
        (changed(|o| *fields(o).4 = 2), Refusal::OtherSetup),
        (Message::Opening(path(9, [1; 16], 0)), Refusal::SessionOver),
        (Message::Opening(Opening::Go), Refusal::OtherSetup),
        (hello, Refusal::OtherSetup),
    ] {
        let (said, ended) = offered(&acceptor, opening.clone()).await;
        assert_eq!(said, Message::Refused(refusal), "{opening:?}");
        assert!(ended.is_err());
    }
    // One that asks and does not go on has begun nothing.
    let (said, ended) = offered(&acceptor, Message::Opening(path(9, [0; 16], 0))).await;
    assert!(matches!(said, Message::Opening(Opening::Taken(_))) && ended.is_err());
    // What was once said does not bring a session back that is over.
    let (mut ours, theirs) = tokio::io::duplex(1 << 12);
    ours.write_all(&frame(&Message::Opening(path(9, [0; 16], 0)))).await.unwrap();
    let go = async {
        let Message::Opening(Opening::Taken(answer)) = hear(&mut ours).await else { panic!() };
        ours.write_all(&frame(&Message::Opening(Opening::Go))).await.unwrap();
        answer
    };
    let (answer, bond) = tokio::join!(go, acceptor.accept(theirs));
    drop(bond.unwrap().expect("a bond"));
    for answer in [[0; 16], answer] {
        let (said, _) = offered(&acceptor, Message::Opening(path(9, answer, 1))).await;
        assert_eq!(said, Message::Refused(Refusal::SessionOver));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_on_a_path_ends_its_own_bond_only() {
    let dir = TempDir::new().unwrap();
    let volume = create(&dir, 1);
    let acceptor = acceptor(1);
    for garbage in [vec![0xff; 100], b"GET / HTTP/1.1\r\n\r\n and more than a header".to_vec()] {
        let (mut ours, theirs) = tokio::io::duplex(1 << 12);
        ours.write_all(&frame(&Message::Opening(path(garbage[0], [0; 16], 0)))).await.unwrap();
        let go = async {
            hear(&mut ours).await;
            ours.write_all(&frame(&Message::Opening(Opening::Go))).await.unwrap();
            ours.write_all(&garbage).await.unwrap();
        };
        let ((), bond) = tokio::join!(go, acceptor.accept(theirs));
        let why = Hello::read(&mut bond.unwrap().expect("a bond")).await.unwrap_err();
        assert!(matches!(&why, LinkError::Io(e) if e.kind() == std::io::ErrorKind::InvalidData), "{why}");
    }
    assert_eq!(volume.metrics().peers_connected, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_side_with_several_paths_and_one_with_a_single_link_say_so() {
    let dir = TempDir::new().unwrap();
    let volume = create(&dir, 0);
    // One link dials a bond's listener.
    let (ours, theirs) = tokio::io::duplex(1 << 12);
    let acceptor = acceptor(2);
    let (dialled, accepted) = tokio::join!(volume.attach(NodeId(2), ours), acceptor.accept(theirs));
    assert!(matches!(dialled, Err(LinkError::Refused(Refusal::OtherSetup))), "{dialled:?}");
    assert!(matches!(accepted, Err(LinkError::OtherSetup)), "{accepted:?}");
    // And the other way round.
    let (mut ours, mut theirs) = tokio::io::duplex(1 << 12);
    ours.write_all(&frame(&Message::Opening(path(1, [0; 16], 0)))).await.unwrap();
    let read = Hello::read(&mut theirs).await;
    assert!(matches!(read, Err(LinkError::OtherSetup)), "{read:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_link_that_is_cut_while_it_is_written_to_lets_go_of_its_paths() {
    let two = two().await;
    let (stop, writer) = write_on(two.device.clone());
    let mut link = two.link;
    for _ in 0..10 {
        let before = two.monitor.status()[0].sent_bytes;
        until("it is written to", || two.monitor.is_over() || two.monitor.status()[0].sent_bytes > before)
            .await;
        link.cut();
        let paths = two.relays.iter().map(|r| r.address).collect();
        let bond = dial(identity(0), identity(1).node, paths).await.unwrap();
        link = two.volumes[0].attach(identity(1).node, bond).await.unwrap();
        until("sync", || two.volumes[0].status().peers[0].link == LinkStatus::Synced).await;
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    let image = writer.await.unwrap();
    assert!(content(&two.dir, 0) == image && content(&two.dir, 1) == image);
}

/// A bond dialled with `connect`, whose only good path is `theirs`.
async fn over<F>(
    config: BondConfig,
    connect: impl Fn(usize) -> F + Send + Sync + 'static,
    theirs: DuplexStream,
) -> Result<(Bond, Bond), LinkError>
where
    F: Future<Output = Result<Box<dyn Stream>, LinkError>> + Send + 'static,
{
    let acceptor = acceptor_with(2, config);
    let (us, peer) = (identity(0), identity(1).node);
    let (dialled, accepted) =
        tokio::join!(Bond::dial(&us, peer, config, 2, connect), acceptor.accept(theirs));
    Ok((dialled?, accepted?.expect("a new bond")))
}

/// What one side writes gets to the other, and back.
async fn talk(a: &mut Bond, b: &mut Bond) {
    say(a, b).await;
    say(b, a).await;
}

async fn say(from: &mut Bond, to: &mut Bond) {
    from.write_all(b"hello").await.unwrap();
    from.flush().await.unwrap();
    let mut got = [0; 5];
    tokio::time::timeout(WAIT, to.read_exact(&mut got)).await.unwrap().unwrap();
    assert_eq!(&got, b"hello");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_not_proved_to_be_the_peer_cannot_say_that_the_link_is_over() {
    let (ours, theirs) = tokio::io::duplex(1 << 16);
    let ours = std::sync::Mutex::new(Some(ours));
    let tries = Arc::new(std::sync::atomic::AtomicU64::new(0));
    let tried = tries.clone();
    // Somebody sits on the second path and answers what a secret's proof is asked with.
    let connect = move |rank| {
        let io = if rank == 0 { ours.lock().unwrap().take() } else { None };
        tried.fetch_add(rank as u64, std::sync::atomic::Ordering::Relaxed);
        async move { io.map(|io| Box::new(io) as Box<dyn Stream>).ok_or(LinkError::Refused(Refusal::SessionOver)) }
    };
    let (mut dialled, mut accepted) = over(config(), connect, theirs).await.unwrap();
    let more = || tries.load(std::sync::atomic::Ordering::Relaxed) > 3 || dialled.monitor().is_over();
    until("the second path is tried again", more).await;
    talk(&mut dialled, &mut accepted).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dial_succeeds_with_the_first_path_that_comes_up_though_each_failed_once() {
    let (ours, theirs) = tokio::io::duplex(1 << 16);
    let ours = std::sync::Mutex::new(vec![Some(ours), None]);
    let connect = move |rank| {
        let io = if rank == 1 { ours.lock().unwrap().pop().flatten() } else { None };
        async move {
            if rank == 0 {
                tokio::time::sleep(config().silence).await;
            }
            io.map(|io| Box::new(io) as Box<dyn Stream>).ok_or(LinkError::Closed)
        }
    };
    let (mut dialled, mut accepted) = over(config(), connect, theirs).await.unwrap();
    talk(&mut dialled, &mut accepted).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn why_a_path_does_not_come_up_is_told_once_for_each_reason() {
    let (ours, theirs) = tokio::io::duplex(1 << 16);
    let ours = std::sync::Mutex::new(Some(ours));
    let broken = Arc::new(std::sync::Mutex::new("no cable"));
    let now = broken.clone();
    let connect = move |rank| {
        let io = if rank == 0 { ours.lock().unwrap().take() } else { None };
        let why = *now.lock().unwrap();
        async move {
            io.map(|io| Box::new(io) as Box<dyn Stream>)
                .ok_or_else(|| LinkError::Io(std::io::Error::other(why)))
        }
    };
    let (dialled, _accepted) = over(config(), connect, theirs).await.unwrap();
    let monitor = dialled.monitor();
    let is = |why: &str| monitor.failure(1).is_some_and(|told| told.contains(why));
    until("it failed", || is("no cable")).await;
    let mut events = monitor.events();
    *broken.lock().unwrap() = "no answer";
    until("it failed otherwise", || is("no answer")).await;
    let failed =
        |event: PathEvent| matches!(event, PathEvent::Failed { rank: 1, why } if why.contains("no answer"));
    assert!(failed(events.recv().await.unwrap()));
    tokio::time::sleep(5 * config().redial).await;
    assert!(events.try_recv().is_err(), "told again");
    assert_eq!(monitor.failure(0), None);
}

/// What a test does not wait for: with these times only what happens moves a bond.
fn never_ticks() -> BondConfig {
    let long = Duration::from_secs(3600);
    BondConfig { keepalive: long, silence: 2 * long, give_up: 4 * long, connect_wait: long, ..config() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_taken_to_be_sent_is_sent_though_its_writer_turns_to_other_things() {
    let (ours, theirs) = tokio::io::duplex(256);
    let ours = std::sync::Mutex::new(Some(ours));
    let connect = move |rank| {
        let io = if rank == 0 { ours.lock().unwrap().take() } else { None };
        async move { io.map(|io| Box::new(io) as Box<dyn Stream>).ok_or(LinkError::Closed) }
    };
    let (mut dialled, mut accepted) = over(never_ticks(), connect, theirs).await.unwrap();
    talk(&mut dialled, &mut accepted).await;
    let data: Vec<u8> = (0..10_000u32).map(|n| n as u8).collect();
    // It is woken when there is room again, and does nothing.
    let mut idle = std::task::Context::from_waker(std::task::Waker::noop());
    let mut taken = 0;
    while taken < data.len() {
        match std::pin::Pin::new(&mut dialled).poll_write(&mut idle, &data[taken..]) {
            std::task::Poll::Ready(len) => taken += len.unwrap(),
            std::task::Poll::Pending => panic!("the window has room for all of it"),
        }
    }
    let mut got = vec![0; data.len()];
    tokio::time::timeout(WAIT, accepted.read_exact(&mut got)).await.expect("it is sent").unwrap();
    assert!(got == data);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bond_that_has_ended_dials_no_more_and_lets_go_of_what_it_was_dialling() {
    let (ours, theirs) = tokio::io::duplex(1 << 16);
    let (ours, dialling) = (std::sync::Mutex::new(Some(ours)), Arc::new(()));
    let held = dialling.clone();
    // Nobody answers on the second path.
    let connect = move |rank| {
        let (io, held) = (if rank == 0 { ours.lock().unwrap().take() } else { None }, held.clone());
        async move {
            match io {
                Some(io) => Ok(Box::new(io) as Box<dyn Stream>),
                None => std::future::pending().await,
            }
            .inspect(|_| drop(held))
        }
    };
    let (dialled, accepted) = over(never_ticks(), connect, theirs).await.unwrap();
    assert!(Arc::strong_count(&dialling) > 1);
    drop((dialled, accepted));
    until("nothing is dialled", || Arc::strong_count(&dialling) == 1).await;
}

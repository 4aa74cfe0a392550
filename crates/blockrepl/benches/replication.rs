//! The driver beside what the disk and the loopback can do at all: two replicas in one process, linked by TCP over
//! loopback, each on files of one file system. `cargo bench -p posthaste-blockrepl --benches -- [--quick] [qd1] [qd32] [sequential] [log] [read] [vouched]
//! [nbd] [resync] [images] [links] [reconnect] [disks] [memory]`; with `--features io-uring` for `disks` by that, with `--features secret` for
//! `links` by that.
//!
//! Both sides give the same durability: whatever is timed ends when its bytes are on both files by `fdatasync`, and nothing
//! is flushed that was not asked for. Ours keeps epoch, activity log and checksums besides.
//!
//! Each figure is the median of ratios; ours and the raw side are timed in turn, within a second of each other.

mod links;
mod vouched;

use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use posthaste_blockrepl::core::{LinkStatus, Replica};
use posthaste_blockrepl::nbd::{Export, Server};
use posthaste_blockrepl::{
    BlockDevice, ClusterId, Config, DATA_HEADER_LEN, DeviceId, DirectDisk, Disk, FileDisk, Grant, Hello,
    Identity, Link, Member, NodeId, Options, Paths, Volume, VolumeId,
};

const SIZE: u64 = 256 << 20;
const BLOCK: usize = 4096;
const PIECE: usize = 1 << 20;

fn main() {
    let quick = std::env::args().any(|arg| arg == "--quick");
    let dir = tempfile::tempdir_in(std::env::var_os("BENCH_DIR").unwrap_or_else(|| ".".into()))
        .expect("a directory for the files");
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("tokio");
    let pair = runtime.block_on(Pair::new(dir.path(), Options::default()));
    let mut raw = Raw::new(dir.path());
    let wanted: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let run = |name: &str| wanted.is_empty() || wanted.iter().any(|w| name.contains(w.as_str()));
    if run("qd1") {
        queue_depth_1(&pair, &mut raw, if quick { 60 } else { 600 });
    }
    if run("qd32") {
        queue_depth_32(&pair, &raw, if quick { 2 } else { 7 }, if quick { 10 } else { 40 });
    }
    if run("sequential") {
        sequential(&pair, &raw, if quick { 3 } else { 15 });
    }
    if run("log") {
        runtime.block_on(small_log(dir.path(), &raw, if quick { 1 } else { 7 }));
    }
    if run("read") {
        reads(&pair, if quick { 11 } else { 41 });
    }
    if run("vouched") {
        vouched::vouched(&runtime, &pair, dir.path(), if quick { 200 } else { 4000 });
    }
    if run("nbd") {
        runtime.block_on(nbd(&pair, dir.path(), if quick { 1 } else { 5 }));
    }
    let mut pair = pair;
    if run("resync") {
        runtime.block_on(resync(&mut pair, &raw, if quick { 1 } else { 7 }));
    }
    if run("images") {
        runtime.block_on(resync_with_images(dir.path(), &raw, if quick { 1 } else { 5 }));
    }
    if run("links") {
        links::links(&runtime, &mut pair, if quick { 1 } else { 9 });
    }
    if run("reconnect") {
        runtime.block_on(pair.reconnect(if quick { 3 } else { 21 }));
    }
    if run("disks") {
        runtime.block_on(disks(dir.path(), &mut raw, if quick { 1 } else { 7 }));
    }
    if run("memory") {
        runtime.block_on(memory(dir.path()));
    }
}

fn figure(name: &str, value: f64, unit: &str, op: &str, target: f64) {
    let ok = if op == "<=" { value <= target } else { value >= target };
    let verdict = if ok { "ok" } else { "short" };
    println!("figure blockrepl/{name} {value:.3} {unit} target {op} {target} {verdict}");
}

fn median<T: PartialOrd + Copy>(values: &mut [T]) -> T {
    values.sort_by(|a, b| a.partial_cmp(b).expect("no NaN is measured"));
    values[values.len() / 2]
}

fn timed(work: impl FnOnce()) -> Duration {
    let begun = Instant::now();
    work();
    begun.elapsed()
}

// ---- the two replicas ----

struct Pair {
    volumes: [Volume; 2],
    device: Arc<dyn BlockDevice>,
    /// The leader's data file.
    file: File,
    link: Option<(Link, Link)>,
}

fn identity(n: u8) -> Identity {
    Identity {
        cluster: ClusterId([1; 16]),
        volume: VolumeId([2; 16]),
        device: DeviceId([n + 3; 16]),
        node: NodeId(n.into()),
    }
}

impl Pair {
    async fn new(dir: &Path, options: Options) -> Self {
        let create = |n: u8| {
            let paths = Paths { data: dir.join(format!("{n}.data")), meta: dir.join(format!("{n}.meta")) };
            Volume::create(&paths, &identity(n), SIZE, options.clone()).expect("a new volume")
        };
        let volumes = [create(0), create(1)];
        let in_sync = [0, 1].map(|n| Member { node: NodeId(n), device: identity(n as u8).device }).into();
        volumes[0].raise_epoch(1).await.expect("a first epoch");
        let grant = Grant::new(1, NodeId(0), in_sync, 1);
        let device = volumes[0].lead(grant).await.expect("the leadership");
        let mut pair =
            Pair { volumes, device, file: File::open(dir.join("0.data")).expect("its file"), link: None };
        pair.connect().await;
        pair.warm();
        pair
    }

    /// Both sides' files hold data everywhere, as a device in use does.
    fn warm(&self) {
        let piece = vec![1; PIECE];
        (0..SIZE / PIECE as u64)
            .for_each(|i| self.device.write_at(i * PIECE as u64, &piece).expect("a write"));
        self.device.flush().expect("a flush");
    }

    async fn connect(&mut self) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let dial = async {
            let io = tokio::net::TcpStream::connect(address).await.expect("a connection");
            io.set_nodelay(true).expect("no delay");
            self.volumes[0].attach(NodeId(1), io).await.expect("a link")
        };
        let accept = async {
            let (mut io, _) = listener.accept().await.expect("a connection");
            io.set_nodelay(true).expect("no delay");
            let hello = Hello::read(&mut io).await.expect("a hello");
            self.volumes[1].accept(hello, io).await.expect("a link")
        };
        self.link = Some(tokio::join!(dial, accept));
        self.until(LinkStatus::Synced).await;
    }

    /// Looks when something has happened: it is not to take the processors' time from what is measured.
    async fn until(&self, wanted: LinkStatus) {
        let mut events = self.volumes[0].events();
        while self.volumes[0].status().peers.first().map(|p| p.link) != Some(wanted) {
            drop(tokio::time::timeout(Duration::from_millis(5), events.recv()).await);
        }
    }

    fn sync_write(&self, offset: u64, data: &[u8]) {
        self.device.write_at(offset, data).and_then(|()| self.device.flush()).expect("a write on both disks");
    }

    async fn cut(&mut self) {
        let (ours, theirs) = self.link.take().expect("it is linked");
        ours.cut();
        theirs.cut();
        self.until(LinkStatus::Down).await;
    }

    /// From the connection's beginning to the peer's being in step, when nothing was written meanwhile.
    async fn reconnect(mut self, rounds: usize) {
        let mut times = Vec::new();
        for _ in 0..rounds {
            self.device.flush().expect("a flush");
            self.cut().await;
            let begun = Instant::now();
            self.connect().await;
            times.push(begun.elapsed().as_secs_f64() * 1e3);
        }
        figure("reconnect-clean", median(&mut times), "ms", "<=", 50.0);
    }
}

// ---- what two files and the loopback can do ----

struct Raw {
    files: [Arc<File>; 2],
    second: mpsc::Sender<u64>,
    second_done: mpsc::Receiver<()>,
    echo: TcpStream,
}

impl Raw {
    fn new(dir: &Path) -> Self {
        let files = ["raw.0", "raw.1"].map(|name| {
            let options = OpenOptions::new().read(true).write(true).create_new(true).open(dir.join(name));
            let file = options.expect("a new file");
            let piece = vec![1; PIECE];
            (0..SIZE / PIECE as u64)
                .for_each(|i| file.write_all_at(&piece, i * PIECE as u64).expect("a write"));
            file.sync_all().expect("a sync");
            Arc::new(file)
        });
        let (second, offsets) = mpsc::channel();
        let (done, second_done) = mpsc::channel();
        let file = files[1].clone();
        thread::spawn(move || {
            while let Ok(offset) = offsets.recv() {
                write_sync(&file, offset);
                if done.send(()).is_err() {
                    return;
                }
            }
        });
        Raw { files, second, second_done, echo: echo::<BLOCK, 16>() }
    }

    /// A block on both files at once, then the same block to a neighbour on the loopback and his answer back.
    fn sync_write(&mut self, offset: u64) {
        self.second.send(offset).expect("the second writer lives");
        write_sync(&self.files[0], offset);
        self.second_done.recv().expect("the second writer lives");
        self.echo.write_all(&[7; BLOCK]).expect("a request");
        self.echo.read_exact(&mut [0; 16]).expect("an answer");
    }
}

fn write_sync(file: &File, offset: u64) {
    file.write_all_at(&[7; BLOCK], offset).and_then(|()| file.sync_data()).expect("a write");
}

/// A neighbour who answers each message with its first bytes.
fn echo<const MESSAGE: usize, const ANSWER: usize>() -> TcpStream {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("its address");
    thread::spawn(move || {
        let (mut io, _) = listener.accept().expect("a connection");
        io.set_nodelay(true).expect("no delay");
        let mut message = [0; MESSAGE];
        while io.read_exact(&mut message).is_ok() && io.write_all(&message[..ANSWER]).is_ok() {}
    });
    let io = TcpStream::connect(address).expect("a connection");
    io.set_nodelay(true).expect("no delay");
    io
}

/// Places of blocks: within 64 MiB, so that the extents stay hot, as a journal's or a data base's do.
fn place(i: u64) -> u64 {
    i.wrapping_mul(0x9E37_79B9_7F4A_7C15) % (64 << 20) / BLOCK as u64 * BLOCK as u64
}

// ---- the figures ----

fn queue_depth_1(pair: &Pair, raw: &mut Raw, rounds: u64) {
    let (mut ratios, mut single) = (Vec::new(), Vec::new());
    let (mut ours, mut theirs, mut alone) = (Vec::new(), Vec::new(), Vec::new());
    // The first write into a cold extent costs a flush of the metadata more; that is not what is asked here.
    (0..64).for_each(|extent| pair.sync_write(extent << 20, &[7; BLOCK]));
    for i in 0..rounds {
        let a = timed(|| pair.sync_write(place(i), &[7; BLOCK]));
        let b = timed(|| raw.sync_write(place(i)));
        let c = timed(|| write_sync(&raw.files[0], place(i)));
        ratios.push(a.as_secs_f64() / b.as_secs_f64());
        single.push(a.as_secs_f64() / c.as_secs_f64());
        ours.push(a);
        theirs.push(b);
        alone.push(c);
    }
    figure("sync-write-qd1-latency", median(&mut ratios), "x", "<=", 1.25);
    println!("queue depth 1: {:.2} x the latency of one raw file", median(&mut single));
    let [ours, theirs, alone] = [&mut ours, &mut theirs, &mut alone].map(|times| median(times));
    println!(
        "queue depth 1: ours {ours:?}, two raw files and a round trip {theirs:?}, one raw file {alone:?}"
    );
}

/// Runs `work` in 32 threads, `count` times each; the time of all.
fn in_32_threads(count: u64, work: impl Fn(u64) + Sync) -> Duration {
    let (next, start) = (AtomicU64::new(0), Barrier::new(33));
    thread::scope(|scope| {
        for _ in 0..32 {
            scope.spawn(|| {
                start.wait();
                (0..count).for_each(|_| work(place(next.fetch_add(1, Ordering::Relaxed))));
            });
        }
        start.wait();
        Instant::now()
    })
    .elapsed()
}

fn queue_depth_32(pair: &Pair, raw: &Raw, rounds: usize, count: u64) {
    let (mut ratios, files) = (Vec::new(), &raw.files);
    for _ in 0..rounds {
        let ours = in_32_threads(count, |at| pair.sync_write(at, &[7; BLOCK]));
        // 32 writers on each file at once: the slower file ends the time.
        let both = timed(|| {
            thread::scope(|scope| {
                for file in files {
                    scope.spawn(|| in_32_threads(count, |at| write_sync(file, at)));
                }
            });
        });
        let alone = in_32_threads(count, |at| write_sync(&files[0], at));
        let rate = |time: Duration| 32.0 * count as f64 / time.as_secs_f64();
        println!(
            "queue depth 32: ours {:.0}/s, two raw files {:.0}/s each, one {:.0}/s",
            rate(ours),
            rate(both),
            rate(alone)
        );
        ratios.push(rate(ours) / rate(both));
    }
    figure("sync-write-qd32-rate", median(&mut ratios), "x", ">=", 0.8);
}

fn offsets() -> impl Iterator<Item = u64> {
    (0..SIZE).step_by(PIECE)
}

fn stream(pair: &Pair, piece: &Bytes) -> Duration {
    timed(|| {
        offsets().for_each(|at| pair.device.write_bytes(at, piece.clone()).expect("a write"));
        pair.device.flush().expect("a flush");
    })
}

/// Each thread writes all of one file, then flushes it.
fn two_raw_writers(raw: &Raw, piece: &[u8]) -> Duration {
    timed(|| {
        thread::scope(|scope| {
            for file in &raw.files {
                scope.spawn(|| {
                    offsets().for_each(|at| file.write_all_at(piece, at).expect("a write"));
                    file.sync_data().expect("a sync");
                });
            }
        });
    })
}

/// Gives each piece to the loopback, with `feed`; another thread takes it from there and writes it to `file`. Both begin the
/// writing to the disk early, as [`FileDisk`] does, and nothing is computed or kept: the least that a copy over a link costs.
fn over_loopback(file: &File, mut feed: impl FnMut(u64, &mut TcpStream) + Send) -> Duration {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let mut near = TcpStream::connect(listener.local_addr().expect("its address")).expect("a connection");
    let (mut far, _) = listener.accept().expect("a connection");
    timed(|| {
        thread::scope(|scope| {
            scope.spawn(move || {
                let mut taken = vec![0; PIECE];
                offsets().for_each(|at| {
                    far.read_exact(&mut taken).expect("a piece");
                    write_ahead(file, at, &taken);
                });
                file.sync_data().expect("a sync");
            });
            scope.spawn(move || offsets().for_each(|at| feed(at, &mut near)));
        });
    })
}

fn write_ahead(file: &File, at: u64, piece: &[u8]) {
    file.write_all_at(piece, at).expect("a write");
    let ahead = 4 << 20;
    if (at + PIECE as u64).is_multiple_of(ahead) {
        let from = (at + PIECE as u64 - ahead) as libc::off64_t;
        // SAFETY: the file is open, and no memory is touched.
        unsafe {
            libc::sync_file_range(file.as_raw_fd(), from, ahead as libc::off64_t, libc::SYNC_FILE_RANGE_WRITE)
        };
    }
}

/// Each piece goes to the first file and over the loopback to the second one.
fn bare_stream(raw: &Raw, piece: &[u8]) -> Duration {
    let [first, second] = &raw.files;
    over_loopback(second, |at, near| {
        near.write_all(piece).expect("a piece");
        write_ahead(first, at, piece);
        if at + PIECE as u64 == SIZE {
            first.sync_data().expect("a sync");
        }
    })
}

/// Each piece is read from the leader's file and goes over the loopback to another one.
fn bare_resync(pair: &Pair, raw: &Raw) -> Duration {
    let mut piece = vec![0; PIECE];
    over_loopback(&raw.files[1], move |at, near| {
        pair.file.read_exact_at(&mut piece, DATA_HEADER_LEN + at).expect("a read");
        near.write_all(&piece).expect("a piece");
    })
}

/// Time that both processors of this process have spent, in the kernel and outside of it.
fn processor() -> Duration {
    // SAFETY: all zeros are a `rusage`, and the call fills it.
    let used = unsafe {
        let mut used: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_SELF, &mut used);
        used
    };
    let time = |t: libc::timeval| Duration::new(t.tv_sec as u64, t.tv_usec as u32 * 1000);
    time(used.ru_utime) + time(used.ru_stime)
}

fn sequential(pair: &Pair, raw: &Raw, rounds: usize) {
    let piece = Bytes::from(vec![9; PIECE]);
    let (mut ratios, mut beside_bare, mut limits) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        let begun = processor();
        let ours = stream(pair, &piece);
        let spent = processor() - begun;
        let both = two_raw_writers(raw, &piece);
        let bare = bare_stream(raw, &piece);
        println!(
            "sequential: ours {:.0} MB/s ({} ms of processors), two raw writers {:.0} MB/s each, a bare copy over the loopback {:.0} MB/s",
            rate(ours),
            spent.as_millis(),
            rate(both),
            rate(bare)
        );
        ratios.push(both.as_secs_f64() / ours.as_secs_f64());
        beside_bare.push(bare.as_secs_f64() / ours.as_secs_f64());
        limits.push(both.as_secs_f64() / bare.as_secs_f64());
    }
    figure("sequential-write", median(&mut ratios), "x", ">=", 0.85);
    figure("sequential-write-beside-bare-copy", median(&mut beside_bare), "x", ">=", 0.75);
    println!("sequential: a bare copy reaches {:.2} x two raw writers", median(&mut limits));
}

/// A stream through more extents than may be hot, as on a device that is larger than its activity log.
async fn small_log(dir: &Path, raw: &Raw, rounds: usize) {
    let dir = dir.join("small-log");
    std::fs::create_dir(&dir).expect("a directory");
    let config = Config { hot_extents: 128, ..Config::default() };
    let pair = Pair::new(&dir, Options { config, ..Options::default() }).await;
    let piece = Bytes::from(vec![9; PIECE]);
    let ratio = |_| two_raw_writers(raw, &piece).as_secs_f64() / stream(&pair, &piece).as_secs_f64();
    let mut ratios: Vec<f64> = (0..rounds).map(ratio).collect();
    println!("sequential, with half of the device hot at most: {:.2} x two raw writers", median(&mut ratios));
    std::fs::remove_dir_all(&dir).expect("its end");
}

/// The kinds of disk beside each other, bare and below a pair of replicas.
async fn disks(dir: &Path, raw: &mut Raw, rounds: usize) {
    let path = dir.join("disk");
    drop(FileDisk::create(&path, SIZE).expect("a file"));
    let direct = match DirectDisk::open(&path) {
        Ok(disk) => disk,
        Err(e) => return println!("disks: no O_DIRECT here: {e}"),
    };
    let how = if direct.uses_io_uring() { "io_uring" } else { "threads" };
    let mut cached = Vec::new();
    let mut past = bare_disk(&direct, rounds);
    drop(direct);
    let disk = FileDisk::open(&path).expect("the file");
    cached.append(&mut bare_disk(&disk, rounds));
    drop(disk);
    for ((name, cached), past) in ["stream", "scattered", "read"].iter().zip(&mut cached).zip(&mut past) {
        let ratio = median(cached) / median(past);
        println!("disk {name}: O_DIRECT by {how} {ratio:.2} x the page cache");
    }
    std::fs::remove_file(&path).expect("its end");
    let below = dir.join("direct");
    std::fs::create_dir(&below).expect("a directory");
    let pair = Pair::new(&below, Options { direct: true, ..Options::default() }).await;
    let piece = Bytes::from(vec![9; PIECE]);
    let ratio = |_| two_raw_writers(raw, &piece).as_secs_f64() / stream(&pair, &piece).as_secs_f64();
    let mut stream: Vec<f64> = (0..rounds).map(ratio).collect();
    let mut sync: Vec<f64> = (0..100 * rounds as u64)
        .map(|i| {
            let ours = timed(|| pair.sync_write(place(i), &[7; BLOCK]));
            ours.as_secs_f64() / timed(|| raw.sync_write(place(i))).as_secs_f64()
        })
        .collect();
    println!(
        "pair on O_DIRECT by {how}: sequential {:.2} x two raw writers, queue depth 1 {:.2} x the latency of two raw files and a round trip",
        median(&mut stream),
        median(&mut sync)
    );
    std::fs::remove_dir_all(&below).expect("its end");
}

/// The times of a stream of long writes, of batches of 32 scattered blocks, each with a flush at its end, and of reading it all.
fn bare_disk(disk: &dyn Disk, rounds: usize) -> Vec<Vec<f64>> {
    let memory = vec![3; 2 * PIECE];
    let start = memory.as_ptr().align_offset(BLOCK);
    let piece = &memory[start..start + PIECE];
    let mut space = vec![0; 2 * PIECE];
    let mut times = vec![Vec::new(); 3];
    for round in 0..rounds as u64 {
        let stream = timed(|| {
            offsets().for_each(|at| disk.write_at(at, piece).expect("a write"));
            disk.flush().expect("a flush");
        });
        let scattered = timed(|| {
            for batch in 0..16 {
                let places: BTreeSet<u64> = (0..32).map(|i| place((round * 16 + batch) * 32 + i)).collect();
                let writes: Vec<(u64, &[u8])> = places.into_iter().map(|at| (at, &piece[..BLOCK])).collect();
                disk.write_many(&writes).and_then(|()| disk.flush()).expect("a batch");
            }
        });
        let start = space.as_ptr().align_offset(BLOCK);
        let into = &mut space[start..start + PIECE];
        let read = timed(|| offsets().for_each(|at| disk.read_at(at, into).expect("a read")));
        for (times, time) in times.iter_mut().zip([stream, scattered, read]) {
            times.push(time.as_secs_f64());
        }
    }
    times
}

/// Beside plain reads of the same bytes of the same file.
fn reads(pair: &Pair, rounds: usize) {
    let mut piece = vec![0; PIECE];
    let mut ratios = Vec::new();
    for _ in 0..rounds {
        // Piece by piece in turn, at different places: whatever else the machine does, it does to both.
        let (mut ours, mut raw) = (Duration::ZERO, Duration::ZERO);
        for at in offsets() {
            let far = (at + SIZE / 2) % SIZE;
            ours += timed(|| pair.device.read_at(at, &mut piece).expect("a read"));
            raw += timed(|| pair.file.read_exact_at(&mut piece, DATA_HEADER_LEN + far).expect("a read"));
        }
        ratios.push(raw.as_secs_f64() / ours.as_secs_f64());
    }
    figure("local-read", median(&mut ratios), "x", ">=", 0.95);
}

/// A peer that missed every block, beside a plain copy of the same file to another one.
async fn resync(pair: &mut Pair, raw: &Raw, rounds: usize) {
    let (mut ratios, mut limits) = copies(pair, raw, rounds).await;
    figure("resync-rate", median(&mut ratios), "x", ">=", 0.8);
    println!("resync: a bare copy over the loopback reaches {:.2} x a plain copy", median(&mut limits));
}

/// The same with an undo area that holds all of it: each block's before-image is read, written and flushed first (R9).
async fn resync_with_images(dir: &Path, raw: &Raw, rounds: usize) {
    let dir = dir.join("images");
    std::fs::create_dir(&dir).expect("a directory");
    let config = Config { undo_bytes: Some(SIZE), ..Config::default() };
    let mut pair = Pair::new(&dir, Options { config, ..Options::default() }).await;
    let (mut ratios, _) = copies(&mut pair, raw, rounds).await;
    figure("resync-rate-with-images", median(&mut ratios), "x", ">=", 0.3);
    std::fs::remove_dir_all(&dir).expect("its end");
}

/// Plain copy to ours, and to a bare one.
async fn copies(pair: &mut Pair, raw: &Raw, rounds: usize) -> (Vec<f64>, Vec<f64>) {
    let (mut ratios, mut limits) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        pair.cut().await;
        let piece = vec![round as u8 + 1; PIECE];
        (0..SIZE).step_by(PIECE).for_each(|at| pair.device.write_at(at, &piece).expect("a write"));
        // The writes were the leader's; the copying begins with them on its disk, on both sides.
        pair.file.sync_data().expect("a sync");
        let (begun, before) = (Instant::now(), processor());
        pair.connect().await;
        let (ours, spent) = (begun.elapsed(), processor() - before);
        let copied = timed(|| {
            let mut piece = vec![0; PIECE];
            for at in (0..SIZE).step_by(PIECE) {
                pair.file.read_exact_at(&mut piece, DATA_HEADER_LEN + at).expect("a read");
                raw.files[1].write_all_at(&piece, at).expect("a write");
            }
            raw.files[1].sync_data().expect("a sync");
        });
        let bare = bare_resync(pair, raw);
        println!(
            "resync: {:.0} MB/s ({} ms of processors), a plain copy {:.0} MB/s, a bare copy over the loopback {:.0} MB/s",
            rate(ours),
            spent.as_millis(),
            rate(copied),
            rate(bare)
        );
        ratios.push(copied.as_secs_f64() / ours.as_secs_f64());
        limits.push(copied.as_secs_f64() / bare.as_secs_f64());
    }
    (ratios, limits)
}

/// What a volume of 1 TiB with one peer keeps in memory, checksums on disk left aside; its files are sparse.
async fn memory(dir: &Path) {
    const TIB: u64 = 1 << 40;
    let paths = [dir.join("tib.data"), dir.join("tib.meta")];
    let config = Config { undo_bytes: Some(0), ..Config::default() };
    let (meta_len, _) = Replica::format(&config, &identity(0), TIB).expect("a layout");
    let disks = [(&paths[0], DATA_HEADER_LEN + TIB), (&paths[1], meta_len)].map(|(path, len)| {
        File::create_new(path).and_then(|file| file.set_len(len)).expect("a sparse file");
        Arc::new(FileDisk::open(path).expect("a disk"))
    });
    let [data, meta] = disks;
    Volume::format(&*data, &*meta, &identity(0), TIB, &config).expect("a format");
    let before = LIVE.load(Ordering::Relaxed);
    let volume = Volume::with_disks(data, meta, &identity(0), config).expect("a volume");
    volume.raise_epoch(1).await.expect("an epoch");
    let in_sync = [0, 1].map(|n| Member { node: NodeId(n), device: identity(n as u8).device }).into();
    let device = volume
        .lead(Grant { epoch: 1, leader: NodeId(0), in_sync, writers: Default::default(), generation: 1 })
        .await
        .expect("a lead");
    // What the peer, who is away, misses is in its bitmap.
    (0..512).for_each(|i| device.write_at(i * (TIB / 512), &[1; BLOCK]).expect("a write"));
    let used = LIVE.load(Ordering::Relaxed).saturating_sub(before);
    figure("metadata-memory", used as f64 / f64::from(1 << 20), "MiB/TiB", "<=", 40.0);
}

// ---- the same by foreign clients, beside nbdkit's file plugin ----

/// Through NBD: fio and nbdcopy, in turn on our device and on nbdkit's file on the same file system. Ours is on two disks, theirs on
/// one, and both files lie on one disk here: writes cannot exceed half of theirs where the disk is the limit.
async fn nbd(pair: &Pair, dir: &Path, rounds: usize) {
    if let Some(missing) = ["nbdkit", "fio", "nbdcopy"].into_iter().find(|tool| !installed(tool)) {
        return println!("nbd: skipped, {missing} is not installed");
    }
    let (ours, theirs) = (dir.join("ours.sock"), dir.join("nbdkit.sock"));
    let server = Server::new(vec![Export::new("d", pair.device.clone())]).expect("one export");
    let listener = tokio::net::UnixListener::bind(&ours).expect("a socket");
    let serving = tokio::spawn(async move {
        while let Ok((io, _)) = listener.accept().await {
            let server = server.clone();
            tokio::spawn(async move { server.serve(io).await });
        }
    });
    let file = dir.join("raw.0");
    let mut nbdkit = Command::new("nbdkit")
        .args(["--foreground", "--exit-with-parent", "--unix"])
        .arg(&theirs)
        .arg("file")
        .arg(&file)
        .spawn()
        .expect("nbdkit");
    while !theirs.exists() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let dir = dir.to_owned();
    let measuring = tokio::task::spawn_blocking(move || nbd_rounds(&ours, &theirs, &dir, rounds));
    measuring.await.expect("the measuring");
    serving.abort();
    nbdkit.kill().and_then(|()| nbdkit.wait()).expect("the end of nbdkit");
}

fn nbd_rounds(ours: &Path, theirs: &Path, dir: &Path, rounds: usize) {
    let uri = |socket: &Path| format!("nbd+unix:///d?socket={}", socket.display());
    let (ours, theirs) = (uri(ours), uri(theirs));
    let sync: [&str; 5] = ["--rw=randwrite", "--bs=4k", "--iodepth=1", "--fsync=1", "--number_ios=400"];
    let stream: [&str; 4] = ["--rw=write", "--bs=1M", "--iodepth=4", "--end_fsync=1"];
    let copied = |uri: &str| {
        let out = dir.join("copied");
        let took = timed(|| drop(run_tool(Command::new("nbdcopy").arg(uri).arg(&out))));
        std::fs::remove_file(&out).expect("the copy");
        1.0 / took.as_secs_f64()
    };
    let mut ratios = [const { Vec::new() }; 3];
    for _ in 0..rounds {
        let [(a, b), (c, d)] = [&sync[..], &stream].map(|flags| (fio(&ours, flags), fio(&theirs, flags)));
        ratios[0].push(a / b);
        ratios[1].push(c / d);
        // A copy takes half a second, most of it the client's own: one says little.
        (0..5).for_each(|_| ratios[2].push(copied(&ours) / copied(&theirs)));
        println!(
            "nbd: fio sync writes {a:.0}/s, nbdkit {b:.0}/s; sequential {c:.0}/s of 1 MiB, nbdkit {d:.0}/s"
        );
    }
    let [sync, stream, copy] = &mut ratios;
    figure("nbd-fio-sync-write-beside-nbdkit", median(sync), "x", ">=", 0.4);
    figure("nbd-fio-sequential-write-beside-nbdkit", median(stream), "x", ">=", 0.4);
    figure("nbd-nbdcopy-read-beside-nbdkit", median(copy), "x", ">=", 0.9);
}

fn installed(tool: &str) -> bool {
    Command::new(tool).arg("--version").output().is_ok_and(|out| out.status.success())
}

fn run_tool(command: &mut Command) -> String {
    let out = command.output().expect("the tool runs");
    assert!(out.status.success(), "{command:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8_lossy(&out.stdout).into_owned()
}

/// Writes a second.
fn fio(uri: &str, flags: &[&str]) -> f64 {
    let mut command = Command::new("fio");
    command.args(["--name=job", "--ioengine=nbd", "--size=128M", "--output-format=json"]);
    let text = run_tool(command.arg(format!("--uri={uri}")).args(flags));
    let writes = text.split("\"write\" : {").nth(1).expect("fio tells of its writes");
    let iops = writes.split("\"iops\" :").nth(1).and_then(|rest| rest.split(',').next());
    iops.and_then(|number| number.trim().parse().ok()).expect("their rate")
}

/// Bytes that are allocated now.
static LIVE: AtomicUsize = AtomicUsize::new(0);

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps the contract.
        unsafe { System.alloc(layout) }
    }
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps the contract.
        unsafe { System.alloc_zeroed(layout) }
    }
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps the contract.
        unsafe { System.dealloc(at, layout) }
    }
}

fn rate(time: Duration) -> f64 {
    SIZE as f64 / time.as_secs_f64() / 1e6
}

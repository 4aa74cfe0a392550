//! The figures: deliveries and commands a second on one plain directory and on the cluster, beside
//! the raw disk, in turn and in one run.
//!
//! Machines are noisy, so what counts are the ratios: each round measures everything once, a
//! ratio is made within a round, and a figure is the median of the rounds.

mod disk;
mod drive;
mod figures;
mod plain;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;

use crate::Error;
use crate::demo::DemoArgs;
use crate::demo::cluster::{A, B, Cluster};
use crate::demo::place::Place;
use drive::Server;
use figures::{Figure, Target};
use plain::Plain;

/// What `posthaste bench` takes.
#[derive(Debug, Clone, clap::Args)]
pub struct BenchArgs {
    /// How long each measurement runs, in seconds
    #[arg(long, default_value_t = 3.0)]
    pub seconds: f64,
    /// How many rounds; a figure is the median of them
    #[arg(long, default_value_t = 3)]
    pub rounds: usize,
    /// One short round: to see that each figure is printed, not to quote it
    #[arg(long)]
    pub quick: bool,
    /// Where to put mail and volumes, instead of the system's place for temporary files: the disk
    /// that is measured
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
}

/// SMTP clients at once.
const CLIENTS: [usize; 3] = [1, 10, 50];
/// IMAP clients at once.
const IMAP_CLIENTS: usize = 10;
/// Users, half on each volume.
const USERS: u16 = 10;
/// Bytes of each volume: room for all that the rounds deliver.
const VOLUME_BYTES: u64 = 1 << 30;

/// Runs the benchmark.
///
/// # Errors
/// When something could not be measured.
pub fn run(args: &BenchArgs) -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|e| Error::failed(format!("cannot start: {e}")))?;
    runtime.block_on(bench(args)).map_err(Error::failed)
}

async fn bench(args: &BenchArgs) -> Result<(), String> {
    let (rounds, time) = if args.quick { (1, 0.5) } else { (args.rounds.max(1), args.seconds) };
    let time = Duration::try_from_secs_f64(time).map_err(|e| format!("--seconds: {e}"))?;
    let mut stage = Stage::set(args).await?;
    let mut all = Vec::new();
    for number in 1..=rounds {
        eprintln!("round {number} of {rounds}");
        all.push(stage.round(time).await?);
    }
    for figure in figures(&all) {
        println!("{figure}");
    }
    Ok(())
}

/// Everything that is measured, on one disk.
struct Stage {
    cluster: Cluster,
    plain: Plain,
    directory: TempDir,
}

/// What one round measured, in units a second; deliveries in the order of [`CLIENTS`].
#[derive(Debug, Clone, Default)]
struct Round {
    fdatasync: f64,
    publish: f64,
    plain: Vec<f64>,
    cluster: Vec<f64>,
    plain_imap: f64,
    cluster_imap: f64,
    /// Bytes a message that each node wrote to its disk, over the message's size.
    written: f64,
    /// Bytes a message that went to the replica, over the message's size.
    sent: f64,
}

impl Stage {
    async fn set(args: &BenchArgs) -> Result<Self, String> {
        let above = args.dir.clone().unwrap_or_else(std::env::temp_dir);
        let directory = tempfile::Builder::new().prefix("posthaste-bench-").tempdir_in(&above);
        let directory =
            directory.map_err(|e| format!("cannot make a directory in {}: {e}", above.display()))?;
        let plain = Plain::start(&directory.path().join("plain"), usize::from(USERS)).await?;
        let demo = DemoArgs { users: USERS, dir: Some(directory.path().to_owned()), ..DemoArgs::default() };
        let place = Place::loopback().map_err(|e| format!("no free addresses: {e}"))?;
        let mut cluster = Cluster::lay_sized(&demo, place, VOLUME_BYTES)?;
        cluster.start_all().await?;
        cluster.add_users().await?;
        Ok(Self { cluster, plain, directory })
    }

    async fn round(&mut self, time: Duration) -> Result<Round, String> {
        let mut round = Round::default();
        (round.fdatasync, round.publish) = raw(self.directory.path(), time).await?;
        let (plain, cluster) = (self.plain.server.clone(), self.server());
        for clients in CLIENTS {
            round.plain.push(drive::deliveries(&plain, clients, time).await?);
            let before = self.traffic().await?;
            let rate = drive::deliveries(&cluster, clients, time).await?;
            let after = self.traffic().await?;
            round.cluster.push(rate);
            // The last of CLIENTS stays: many messages a flush.
            let bytes = rate * time.as_secs_f64() * disk::BYTES as f64;
            round.written = after.written.saturating_sub(before.written) as f64 / 2.0 / bytes;
            round.sent = after.sent.saturating_sub(before.sent) as f64 / bytes;
        }
        round.plain_imap = drive::imap_commands(&plain, IMAP_CLIENTS, time).await?;
        round.cluster_imap = drive::imap_commands(&cluster, IMAP_CLIENTS, time).await?;
        Ok(round)
    }

    fn server(&self) -> Server {
        let world = self.cluster.world();
        Server { doors: world.doors.clone(), people: Arc::new(world.people.clone()) }
    }

    /// What both nodes wrote and sent since their start.
    async fn traffic(&self) -> Result<Traffic, String> {
        let mut traffic = Traffic::default();
        for node in [A, B] {
            traffic.written += self.cluster.bytes_written(node)?;
            let report = self.cluster.status(node).await?;
            traffic.sent += report.volumes.iter().filter_map(|volume| volume.sent_bytes).sum::<u64>();
        }
        Ok(traffic)
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Traffic {
    written: u64,
    sent: u64,
}

/// The raw rates, on a thread that may block.
async fn raw(dir: &Path, time: Duration) -> Result<(f64, f64), String> {
    let dir = dir.to_owned();
    let measured = tokio::task::spawn_blocking(move || {
        Ok::<_, std::io::Error>((disk::fdatasync_rate(&dir, time)?, disk::publish_rate(&dir, time)?))
    });
    measured.await.map_err(|e| e.to_string())?.map_err(|e| format!("the raw disk: {e}"))
}

fn figures(rounds: &[Round]) -> Vec<Figure> {
    let of = |value: &dyn Fn(&Round) -> f64| rounds.iter().map(value).collect::<Vec<f64>>();
    let some = Target::AtLeast(1.0);
    let mut out = vec![
        Figure::median("raw_fdatasync", &of(&|r| r.fdatasync), "/s", some),
        Figure::median("raw_publish", &of(&|r| r.publish), "/s", some),
    ];
    // One client waits for two disks and a network; many share their flushes.
    let least = [0.5, 1.0, 1.0];
    for (at, clients) in CLIENTS.into_iter().enumerate() {
        let least = Target::AtLeast(least[at]);
        let name = |what: &str| format!("{what}_{clients}_clients");
        out.extend([
            Figure::median(name("plain_deliveries"), &of(&|r| r.plain[at]), "/s", some),
            Figure::median(name("cluster_deliveries"), &of(&|r| r.cluster[at]), "/s", some),
            Figure::median(name("plain_to_raw_publish"), &of(&|r| r.plain[at] / r.publish), "x", least),
            Figure::median(name("cluster_to_raw_publish"), &of(&|r| r.cluster[at] / r.publish), "x", least),
            Figure::median(
                name("cluster_to_raw_fdatasync"),
                &of(&|r| r.cluster[at] / r.fdatasync),
                "x",
                Target::AtLeast(0.25),
            ),
            Figure::median(name("cluster_to_plain"), &of(&|r| r.cluster[at] / r.plain[at]), "x", least),
        ]);
    }
    out.extend([
        Figure::median("plain_imap_commands", &of(&|r| r.plain_imap), "/s", some),
        Figure::median("cluster_imap_commands", &of(&|r| r.cluster_imap), "/s", some),
        Figure::median(
            "imap_cluster_to_plain",
            &of(&|r| r.cluster_imap / r.plain_imap),
            "x",
            Target::AtLeast(0.5),
        ),
        Figure::median("bytes_written_a_node_to_message", &of(&|r| r.written), "x", Target::AtMost(3.0)),
        Figure::median("bytes_sent_to_message", &of(&|r| r.sent), "x", Target::AtMost(1.5)),
    ]);
    out
}

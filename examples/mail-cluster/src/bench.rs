//! The figures: deliveries and commands a second on one plain directory and on the cluster, beside
//! the raw disk, in turn and in one run.
//!
//! Machines are noisy, so what counts are the ratios: each round measures everything once, a
//! ratio is made within a round, and a figure is the median of the rounds.
//!
//! - Rates are of messages of 8 KiB, the size that most published figures use. Bytes are measured with
//!   these, and with a mix of sizes whose median is 20 KiB, nearer to what people get.
//! - Bytes written count whole pages of the volumes' files, on one node: what the node hands to its
//!   disk. What the block device was given, the file system's journal and everything else on the
//!   machine included, is printed beside it where the kernel tells. The kernel's account by process
//!   (`/proc/<pid>/io`) is of no use: it counts a write of 4 KiB into a large folio as the whole folio.
//! - The bytes of a load are read once its checkpoints have been made.

mod disk;
mod drive;
mod figures;
mod plain;

use std::path::{Path, PathBuf};
use std::slice::SliceIndex;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;

use crate::Error;
use crate::demo::DemoArgs;
use crate::demo::cluster::{A, B, Cluster};
use crate::demo::corpus;
use crate::demo::people::Person;
use crate::demo::place::Place;
use disk::Device;
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
/// SMTP clients that send the mix.
const MIX_CLIENTS: usize = 10;
/// Kibibytes of the messages of the mix: from a short note to a photograph; median 20, mean 69.
const MIX: [usize; 11] = [2, 4, 6, 8, 12, 20, 32, 48, 75, 150, 400];
/// Different messages of one size.
const MESSAGES: usize = 16;
/// IMAP clients at once, each a user's, who gets no other mail.
const READERS: u16 = 10;
/// Messages in each reader's mailbox.
const READERS_MESSAGES: usize = 50;
/// Users who get the deliveries, half on each volume.
const RECIPIENTS: u16 = 10;
/// Bytes of each volume: both have room for the loads of a round, each of which ends at
/// [`drive::LOAD_BYTES_MAX`].
const VOLUME_BYTES: u64 = 1 << 30;
/// How long to wait for the checkpoints of a load: longer than the time between two.
const SETTLE: Duration = Duration::from_secs(2);

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
    let mut all = Vec::new();
    for number in 1..=rounds {
        eprintln!("round {number} of {rounds}");
        // Anew each time: a round begins with empty volumes and mailboxes.
        all.push(Stage::set(args).await?.round(time).await?);
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
    device: Option<Device>,
    /// Messages of 8 KiB.
    even: Arc<Vec<Vec<u8>>>,
    /// Messages of the mix.
    mixed: Arc<Vec<Vec<u8>>>,
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
    /// In the order of [`CLIENTS`], then of the mix.
    costs: Vec<Cost>,
}

/// Bytes that a byte of mail costs.
#[derive(Debug, Clone, Copy, Default)]
struct Cost {
    /// Written by each node to its copies of the volumes.
    written: f64,
    /// Sent to the other copy.
    sent: f64,
    /// Given to the block device, for each node.
    device: Option<f64>,
}

impl Stage {
    async fn set(args: &BenchArgs) -> Result<Self, String> {
        let above = args.dir.clone().unwrap_or_else(std::env::temp_dir);
        let directory = tempfile::Builder::new().prefix("posthaste-bench-").tempdir_in(&above);
        let directory =
            directory.map_err(|e| format!("cannot make a directory in {}: {e}", above.display()))?;
        let users = RECIPIENTS + READERS;
        let plain = Plain::start(&directory.path().join("plain"), usize::from(users)).await?;
        let demo = DemoArgs { users, dir: Some(directory.path().to_owned()), ..DemoArgs::default() };
        let place = Place::loopback().map_err(|e| format!("no free addresses: {e}"))?;
        let mut cluster = Cluster::lay_sized(&demo, place, VOLUME_BYTES)?;
        cluster.start_all().await?;
        cluster.add_users().await?;
        let device = Device::below(directory.path());
        let (even, mixed) = (messages([disk::BYTES]), messages(MIX.map(|kib| kib << 10)));
        let stage = Self { cluster, plain, directory, device, even, mixed };
        stage.warm_up().await?;
        Ok(stage)
    }

    /// Every mailbox is made and opened once, and the readers have what they read.
    async fn warm_up(&self) -> Result<(), String> {
        for server in [self.plain.server.clone(), self.server()] {
            drive::fill(&recipients(&server), 1).await?;
            drive::fill(&readers(&server), READERS_MESSAGES).await?;
        }
        tokio::time::sleep(SETTLE).await;
        Ok(())
    }

    async fn round(&self, time: Duration) -> Result<Round, String> {
        let mut round = Round::default();
        (round.fdatasync, round.publish) = raw(self.directory.path(), time).await?;
        let (plain, cluster) = (self.plain.server.clone(), self.server());
        for clients in CLIENTS {
            let load = drive::deliveries(&recipients(&plain), clients, &self.even, time).await?;
            round.plain.push(load.rate);
            let (rate, cost) = self.weigh(clients, &self.even, time).await?;
            round.cluster.push(rate);
            round.costs.push(cost);
        }
        round.costs.push(self.weigh(MIX_CLIENTS, &self.mixed, time).await?.1);
        let clients = usize::from(READERS);
        round.plain_imap = drive::imap_commands(&readers(&plain), clients, time).await?;
        round.cluster_imap = drive::imap_commands(&readers(&cluster), clients, time).await?;
        Ok(round)
    }

    /// A load on the cluster, and what it cost.
    async fn weigh(
        &self,
        clients: usize,
        messages: &Arc<Vec<Vec<u8>>>,
        time: Duration,
    ) -> Result<(f64, Cost), String> {
        let before = self.traffic().await?;
        let load = drive::deliveries(&recipients(&self.server()), clients, messages, time).await?;
        tokio::time::sleep(SETTLE).await;
        let after = self.traffic().await?;
        let nodes = 2.0;
        let each = |after: u64, before: u64| after.saturating_sub(before) as f64 / load.bytes as f64;
        let device = after.device.zip(before.device).map(|(after, before)| each(after, before) / nodes);
        let written = each(after.written, before.written) / nodes;
        Ok((load.rate, Cost { written, sent: each(after.sent, before.sent), device }))
    }

    fn server(&self) -> Server {
        let world = self.cluster.world();
        Server { doors: world.doors.clone(), people: Arc::new(world.people.clone()) }
    }

    /// What both nodes wrote and sent since their start.
    async fn traffic(&self) -> Result<Traffic, String> {
        let device = self.device.as_ref().and_then(Device::written);
        let mut traffic = Traffic { device, ..Traffic::default() };
        for node in [A, B] {
            for volume in self.cluster.status(node).await?.volumes {
                traffic.written += volume.written_bytes.unwrap_or_default();
                traffic.sent += volume.sent_bytes.unwrap_or_default();
            }
        }
        Ok(traffic)
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Traffic {
    written: u64,
    sent: u64,
    device: Option<u64>,
}

/// A few messages of each size, in bytes.
fn messages<const N: usize>(sizes: [usize; N]) -> Arc<Vec<Vec<u8>>> {
    let all = (0..MESSAGES * N).map(|index| corpus::small(0, index as u64, sizes[index % N]).bytes);
    Arc::new(all.collect())
}

fn recipients(server: &Server) -> Server {
    some_of(server, ..usize::from(RECIPIENTS))
}

fn readers(server: &Server) -> Server {
    some_of(server, usize::from(RECIPIENTS)..)
}

fn some_of(server: &Server, which: impl SliceIndex<[Person], Output = [Person]>) -> Server {
    Server { doors: server.doors.clone(), people: Arc::new(server.people[which].to_vec()) }
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
    ]);
    let loads = CLIENTS.iter().map(|clients| format!("{clients}_clients")).chain(["mix".to_owned()]);
    for (at, load) in loads.enumerate() {
        let name = |what: &str| format!("{what}_{load}");
        // Whole blocks weigh less in larger messages.
        let [written, sent, device] = if at < CLIENTS.len() { [3.0, 1.5, 4.0] } else { [1.5, 1.2, 2.0] };
        let most = Target::AtMost;
        out.extend([
            Figure::median(
                name("bytes_written_to_message"),
                &of(&|r| r.costs[at].written),
                "x",
                most(written),
            ),
            Figure::median(name("bytes_sent_to_message"), &of(&|r| r.costs[at].sent), "x", most(sent)),
        ]);
        let given: Option<Vec<f64>> = rounds.iter().map(|r| r.costs[at].device).collect();
        out.extend(given.map(|g| Figure::median(name("device_bytes_to_message"), &g, "x", most(device))));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mix_has_the_sizes_that_the_documentation_says() {
        let mut sizes: Vec<usize> = messages(MIX.map(|kib| kib << 10)).iter().map(Vec::len).collect();
        sizes.sort_unstable();
        let (median, mean) = (sizes[sizes.len() / 2], sizes.iter().sum::<usize>() / sizes.len());
        assert_eq!((median >> 10, (mean + 512) >> 10), (20, 69));
        assert_eq!(sizes.len(), MESSAGES * MIX.len());
    }

    #[test]
    fn only_the_device_may_be_unknown() {
        let known = |device| Round {
            plain: vec![1.0; 3],
            cluster: vec![1.0; 3],
            costs: vec![Cost { written: 1.0, sent: 1.0, device }; 4],
            ..Round::default()
        };
        let (with, without) = (figures(&[known(Some(1.0))]), figures(&[known(None)]));
        assert_eq!(with.len() - without.len(), 4);
    }
}

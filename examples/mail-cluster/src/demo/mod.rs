//! The demonstration: a throw-away cluster, real mail, a kill, nothing lost.
//!
//! [`run`] lays a cluster out in a temporary directory, starts its three members as processes,
//! plays the [`story`] on it and prints what was promised and what was measured. Whatever ends it
//! (success, failure, Ctrl-C, a panic) stops every process; the directory goes too, unless
//! something failed that its logs may explain, or `--keep` asks for it.

pub mod client;
pub mod cluster;
pub mod corpus;
pub mod courier;
pub mod ledger;
pub mod load;
pub mod netns;
pub mod operator;
pub mod people;
pub mod place;
pub mod ports;
pub mod process;
mod progress;
pub mod reach;
pub mod reading;
pub mod report;
pub mod story;
pub mod story_netns;

use std::path::PathBuf;
use std::time::Instant;

use tokio::signal::unix::{SignalKind, signal};

use crate::Error;
use cluster::{A, B, Cluster};
use netns::Net;
use place::Place;
use progress::Step;
use report::Report;

/// What `posthaste demo` takes.
#[derive(Debug, Clone, clap::Args)]
pub struct DemoArgs {
    /// Seed of the corpus, of the passwords and of the load
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Messages of the corpus to deliver; more than the repository holds are generated
    #[arg(long, default_value_t = 220, value_name = "N")]
    pub messages: usize,
    /// Users, spread over both volumes
    #[arg(long, default_value_t = 8, value_name = "N", value_parser = clap::value_parser!(u16).range(2..=1000))]
    pub users: u16,
    /// Leave the cluster running at the end and say how to reach it; Ctrl-C stops it
    #[arg(long)]
    pub keep: bool,
    /// Just start the cluster and leave it running: for programs that read reach.json
    #[arg(long, hide = true)]
    pub serve: bool,
    /// Let nodes use closed sockets as a hint that a peer is dead, and show the time with that
    #[arg(long)]
    pub hints: bool,
    /// Hold unflushed writes in process memory, so that SIGKILL is a power cut
    #[arg(long)]
    pub test_disk: bool,
    /// With hosts in network namespaces, addresses announced by ARP, pauses and cut links; needs root
    #[arg(long)]
    pub netns: bool,
    /// Print the result as JSON on stdout
    #[arg(long)]
    pub json: bool,
    /// Where to make the throw-away directory, instead of the system's place
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
}

impl Default for DemoArgs {
    fn default() -> Self {
        Self {
            seed: 1,
            messages: 220,
            users: 8,
            keep: false,
            serve: false,
            hints: false,
            test_disk: false,
            netns: false,
            json: false,
            dir: None,
        }
    }
}

/// Runs the demo.
///
/// # Errors
/// When a promise did not hold, or the cluster could not be started.
pub fn run(args: &DemoArgs) -> Result<(), Error> {
    let place = if args.netns { namespaces()? } else { Place::loopback().map_err(Error::failed)? };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.map_err(|e| Error::failed(format!("cannot start: {e}")))?;
    // The future runs on this thread, which starts the processes: they die with it.
    runtime.block_on(demo(args, place))
}

/// Makes the namespaces and enters the client's, before there are other threads.
fn namespaces() -> Result<Place, Error> {
    let net = Net::make().map_err(Error::failed)?;
    net.enter_client().map_err(Error::failed)?;
    Ok(Place::namespaces(net))
}

async fn demo(args: &DemoArgs, place: Place) -> Result<(), Error> {
    let started = Instant::now();
    let mut report = Report { seed: args.seed, ..Report::default() };
    let mut cluster = Cluster::lay(args, place).map_err(Error::failed)?;
    if args.serve {
        return tokio::select! {
            served = serve(&mut cluster, &mut report) => served,
            () = interrupted() => Ok(()),
        };
    }
    let outcome = tokio::select! {
        outcome = play(args, &mut cluster, &mut report) => outcome,
        () = interrupted() => {
            return Err(Error::failed("interrupted; every process is stopped, the directory is removed"));
        }
    };
    report.seconds = started.elapsed().as_secs_f64();
    if let Err(stopped) = &outcome {
        report.check(7, "every step ends", "stopped".into(), vec![stopped.clone()]);
    }
    conclude(args, cluster, report).await
}

async fn play(args: &DemoArgs, cluster: &mut Cluster, report: &mut Report) -> Result<(), String> {
    begin(cluster, report).await?;
    story::run(args, cluster, report).await
}

/// Only the first step; then the cluster is everybody's.
async fn serve(cluster: &mut Cluster, report: &mut Report) -> Result<(), Error> {
    begin(cluster, report).await.map_err(Error::failed)?;
    leave_running(cluster).await
}

/// Says how to reach the cluster, to people and in `reach.json`, and waits for Ctrl-C.
async fn leave_running(cluster: &Cluster) -> Result<(), Error> {
    let reach = cluster.write_reach().map_err(Error::failed)?;
    eprintln!("\n{}\n  programs  {}", cluster.how_to_reach(), reach.display());
    interrupted().await;
    Ok(())
}

/// Step 1: the processes run, agree, and know the users.
async fn begin(cluster: &mut Cluster, report: &mut Report) -> Result<(), String> {
    let started = Instant::now();
    let step = Step::begin(1, "start node a, node b and the witness", 0);
    cluster.start_all().await?;
    step.say("users");
    cluster.add_users().await?;
    let people = cluster.world().people.len();
    let measured = format!("{people} users, ready after {} ms", started.elapsed().as_millis());
    report.check(1, "three processes form a cluster, each node leads a volume", measured.clone(), vec![]);
    report.measure("start", started.elapsed().as_secs_f64() * 1e3, "ms");
    step.end(&measured);
    Ok(())
}

/// Prints the result; keeps the directory if something failed, the cluster if that was asked for.
async fn conclude(args: &DemoArgs, mut cluster: Cluster, mut report: Report) -> Result<(), Error> {
    let holds = report.holds();
    if !holds {
        report.directory = Some(cluster.keep_directory());
    }
    print(args, &report);
    if args.keep && cluster.is_running(A) && cluster.is_running(B) {
        leave_running(&cluster).await?;
    }
    if holds {
        return Ok(());
    }
    let count = report.checks.iter().filter(|check| !check.ok).count();
    let files = cluster.directory().display();
    Err(Error::failed(format!(
        "{count} promises were not kept (--seed {}); files and logs are in {files}",
        args.seed
    )))
}

fn print(args: &DemoArgs, report: &Report) {
    if args.json {
        println!("{}", serde_json::to_string_pretty(report).unwrap_or_default());
        return;
    }
    println!("\n{}", report.table());
    for measure in &report.measures {
        println!("   {}: {:.0} {}", measure.name, measure.value, measure.unit);
    }
    println!("   {:.1} s in all, seed {}", report.seconds, report.seed);
}

/// Returns at Ctrl-C or SIGTERM.
async fn interrupted() {
    let (Ok(mut interrupt), Ok(mut terminate)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => (),
        _ = terminate.recv() => (),
    }
}

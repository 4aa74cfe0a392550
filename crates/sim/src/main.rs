//! Runs seeds, replays one, hunts the known bugs.

mod block_runs;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use posthaste_sim::{Bug, Job, Report, SCENARIOS, Scenario};

/// A seeded simulator of the cluster cores, with checkers.
#[derive(Debug, Parser)]
#[command(name = "posthaste-sim")]
struct Args {
    /// How many seeds to run.
    #[arg(long, default_value_t = 100)]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 1)]
    from: u64,
    /// Run this one alone.
    #[arg(long)]
    seed: Option<u64>,
    /// In this scenario; without it each seed chooses one.
    #[arg(long)]
    scenario: Option<String>,
    /// Stop after about this many seconds of real time.
    #[arg(long)]
    seconds: Option<u64>,
    /// Print what happened in each run that fails, or in the one of --seed.
    #[arg(long)]
    trace: bool,
    /// Print the trace's hash of each seed.
    #[arg(long)]
    trace_hash: bool,
    /// Switch this known bug on (with the feature `bugs`).
    #[arg(long)]
    bug: Option<String>,
    /// Find each known bug, and print the first seed that does (with the feature `bugs`).
    #[arg(long)]
    bugs: bool,
    /// Simulate replicas of a block device only, with their own scenarios and known bugs, on all cores.
    #[arg(long)]
    blocks: bool,
    /// On so many threads (with --blocks); without it on all cores.
    #[arg(long)]
    jobs: Option<usize>,
    /// List scenarios and known bugs.
    #[arg(long)]
    list: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    if args.list {
        list();
        return ExitCode::SUCCESS;
    }
    if (args.bugs || args.bug.is_some()) && !cfg!(feature = "bugs") {
        eprintln!("known bugs need `--features bugs`");
        return ExitCode::from(2);
    }
    // A core's panic is a finding like any other; it is printed with its seed.
    std::panic::set_hook(Box::new(|_| {}));
    let found = match args.bugs {
        _ if args.blocks => blocks(&args),
        true => hunt(args.seeds.max(500), end(&args)),
        false => parse(&args).map(|(scenario, bug)| explore(&args, scenario, bug)),
    };
    match found {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::from(2)
        }
    }
}

fn blocks(args: &Args) -> Result<bool, String> {
    let cores = || std::thread::available_parallelism().map_or(1, |n| n.get());
    let jobs = args.jobs.unwrap_or_else(cores).max(1);
    if args.bugs {
        return block_runs::hunt(args.seeds.max(500), end(args), jobs);
    }
    block_runs::explore(&block_runs::Ask {
        seeds: seeds(args),
        scenario: args.scenario.as_deref(),
        bug: args.bug.as_deref(),
        trace: args.trace,
        trace_hash: args.trace_hash,
        end: end(args),
        jobs,
    })
}

fn seeds(args: &Args) -> std::ops::Range<u64> {
    match args.seed {
        Some(seed) => seed..seed + 1,
        None => args.from..args.from + args.seeds,
    }
}

fn list() {
    println!("scenarios: {}", SCENARIOS.iter().map(|s| s.name).collect::<Vec<_>>().join(", "));
    Bug::ALL.iter().for_each(|b| println!("bug {}: {}", b.name(), b.what()));
    block_runs::list();
}

fn parse(args: &Args) -> Result<(Option<Scenario>, Option<Bug>), String> {
    let scenario = match &args.scenario {
        None => None,
        Some(name) => {
            Some(Scenario::parse(name).ok_or_else(|| format!("no scenario is called {name:?}; see --list"))?)
        }
    };
    let bug = match &args.bug {
        None => None,
        Some(name) => Some(Bug::parse(name).ok_or_else(|| format!("no bug is called {name:?}; see --list"))?),
    };
    Ok((scenario, bug))
}

fn end(args: &Args) -> Option<Instant> {
    args.seconds.map(|s| Instant::now() + Duration::from_secs(s))
}

/// Runs the seeds; whether all went well.
fn explore(args: &Args, scenario: Option<Scenario>, bug: Option<Bug>) -> bool {
    let seeds = seeds(args);
    let end = end(args);
    let mut totals = Totals { from: seeds.start, ..Totals::default() };
    for seed in seeds {
        if end.is_some_and(|end| Instant::now() >= end) {
            break;
        }
        let job = Job { bug, trace: args.trace && args.seed.is_some(), ..Job::of_seed(seed) };
        let job = Job { scenario: scenario.unwrap_or(job.scenario), ..job };
        let report = job.run();
        if args.trace_hash {
            println!("seed {seed} {} {:016x}", report.job.scenario.name, report.hash);
        }
        report.trace.iter().for_each(|line| println!("{line}"));
        totals.add(&report);
    }
    totals.print();
    totals.failed == 0
}

#[derive(Debug, Default)]
struct Totals {
    from: u64,
    seeds: u64,
    failed: u64,
    virtual_us: u64,
    acked: u64,
    committed: u64,
    slowest_us: u64,
}

impl Totals {
    fn add(&mut self, report: &Report) {
        self.seeds += 1;
        self.virtual_us += report.took_us;
        self.acked += report.acked;
        self.committed += report.committed;
        self.slowest_us = self.slowest_us.max(report.recovered_us);
        if let Some(v) = &report.violation {
            self.failed += 1;
            println!("seed {} FAILED at {:.3} s: {}: {}", report.job.seed, v.at as f64 / 1e6, v.rule, v.what);
            println!("  replay: {}", report.job.replay_line());
        }
    }

    fn print(&self) {
        println!(
            "{} seeds from {}, {} failed; {:.2} simulated hours, {} acknowledged writes, {} commits; slowest recovery {:.1} s",
            self.seeds,
            self.from,
            self.failed,
            self.virtual_us as f64 / 3.6e9,
            self.acked,
            self.committed,
            self.slowest_us as f64 / 1e6,
        );
    }
}

/// Finds each known bug; whether all were found within `limit` seeds and in time, and pass where nothing
/// goes wrong.
fn hunt(limit: u64, end: Option<Instant>) -> Result<bool, String> {
    let quiet = Scenario::parse("fault_free").ok_or("the fault-free scenario is gone")?;
    let mut all = true;
    for bug in Bug::ALL {
        let calm = Job { bug: Some(*bug), black_box: true, ..Job::scenario(1, quiet) }.run();
        let haunt = bug.haunt().and_then(Scenario::parse);
        let in_time = |_: &u64| end.is_none_or(|end| Instant::now() < end);
        let first = (1..=limit).take_while(in_time).find_map(|seed| {
            let clean = Job { scenario: haunt.unwrap_or(Scenario::of_seed(seed)), ..Job::of_seed(seed) };
            let report = Job { bug: Some(*bug), ..clean }.run();
            // What is found without the bug as well is not its merit.
            let merit = |_: &_| clean.run().violation.is_none();
            report.violation.filter(merit).map(|v| (report.job, v))
        });
        let passes = if calm.violation.is_none() { "passes" } else { "FAILS" };
        match &first {
            Some((job, v)) => println!(
                "bug {:<22} {passes} fault-free; found by seed {:>3} ({}): {}: {}",
                bug.name(),
                job.seed,
                job.scenario.name,
                v.rule,
                v.what
            ),
            None => {
                println!("bug {:<22} {passes} fault-free; NOT FOUND in {limit} seeds or in time", bug.name())
            }
        }
        if let Some(v) = &calm.violation {
            println!("  fault-free: {}: {}", v.rule, v.what);
        }
        all &= first.is_some() && calm.violation.is_none();
    }
    Ok(all)
}

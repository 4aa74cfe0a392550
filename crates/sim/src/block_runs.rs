//! `--blocks`: the runs of the block-level simulation, on all cores; reports come in the order of the seeds.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::Instant;

use posthaste_sim::blocks::{Bug, Job, Report, SCENARIOS, Scenario, Times, bugs};

/// What to run.
#[derive(Debug)]
pub(crate) struct Ask<'a> {
    pub(crate) seeds: Range<u64>,
    pub(crate) scenario: Option<&'a str>,
    pub(crate) bug: Option<&'a str>,
    pub(crate) trace: bool,
    pub(crate) trace_hash: bool,
    pub(crate) end: Option<Instant>,
    pub(crate) jobs: usize,
}

/// Lists scenarios and known bugs.
pub(crate) fn list() {
    println!("block scenarios: {}", SCENARIOS.iter().map(|s| s.name).collect::<Vec<_>>().join(", "));
    Bug::ALL.iter().for_each(|b| println!("block bug {}: {}", b.name(), b.what()));
}

/// Runs the seeds; whether all went well.
pub(crate) fn explore(ask: &Ask<'_>) -> Result<bool, String> {
    let scenario = ask.scenario.map(|name| {
        Scenario::parse(name).ok_or_else(|| format!("no block scenario is called {name:?}; see --list"))
    });
    let scenario = scenario.transpose()?;
    let bug = ask
        .bug
        .map(|name| bugs::parse(name).ok_or_else(|| format!("no block bug is called {name:?}; see --list")));
    let bug = bug.transpose()?;
    let single = ask.seeds.end - ask.seeds.start == 1;
    let make = |seed: u64| {
        let job = Job::of_seed(seed);
        let scenario = scenario.unwrap_or(job.scenario);
        Job { scenario, bug, trace: ask.trace && single, ..job }
    };
    let mut totals = Totals::default();
    let from = ask.seeds.start;
    on_all_cores(ask, make, |report| {
        if ask.trace_hash {
            println!("seed {} {} {:016x}", report.job.seed, report.job.scenario.name, report.hash);
        }
        report.trace.iter().for_each(|line| println!("{line}"));
        totals.add(&report);
    });
    totals.print(from);
    Ok(totals.failed == 0)
}

/// Runs each seed's job on one of the cores, and hands the reports on in the order of the seeds.
fn on_all_cores(ask: &Ask<'_>, make: impl Fn(u64) -> Job + Sync, mut take: impl FnMut(Report)) {
    let next = AtomicU64::new(ask.seeds.start);
    let (sender, reports) = mpsc::channel();
    std::thread::scope(|scope| {
        for _ in 0..ask.jobs {
            let (sender, next, make) = (sender.clone(), &next, &make);
            scope.spawn(move || {
                while ask.end.is_none_or(|end| Instant::now() < end) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= ask.seeds.end || sender.send(make(seed).run()).is_err() {
                        break;
                    }
                }
            });
        }
        drop(sender);
        let (mut early, mut due) = (BTreeMap::new(), ask.seeds.start);
        for report in reports {
            early.insert(report.job.seed, report);
            while let Some(report) = early.remove(&due) {
                due += 1;
                take(report);
            }
        }
    });
}

#[derive(Debug, Default)]
struct Totals {
    seeds: u64,
    failed: u64,
    virtual_us: u64,
    flushes: u64,
    reads: u64,
    resyncs: u64,
    epochs: u64,
    slowest_us: u64,
    times: Times,
}

impl Totals {
    fn add(&mut self, report: &Report) {
        self.seeds += 1;
        self.virtual_us += report.took_us;
        self.flushes += report.flushes;
        self.reads += report.reads;
        self.resyncs += report.resyncs;
        self.epochs += report.epochs;
        self.slowest_us = self.slowest_us.max(report.recovered_us);
        self.times.takeovers.extend(&report.times.takeovers);
        self.times.returns.extend(&report.times.returns);
        if let Some(v) = &report.violation {
            self.failed += 1;
            let (job, at) = (&report.job, v.at as f64 / 1e6);
            println!("seed {} ({}) FAILED at {at:.3} s: {}: {}", job.seed, job.scenario.name, v.rule, v.what);
            println!("  replay: {}", job.replay_line());
        }
    }

    fn print(&self, from: u64) {
        println!(
            "blocks: {} seeds from {from}, {} failed; {:.2} simulated hours, {} acknowledged flushes, {} sectors read, {} resyncs, {} epochs; slowest recovery {:.1} s",
            self.seeds,
            self.failed,
            self.virtual_us as f64 / 3.6e9,
            self.flushes,
            self.reads,
            self.resyncs,
            self.epochs,
            self.slowest_us as f64 / 1e6,
        );
        figures("takeover", &self.times.takeovers, 2000);
        // An end may hold its old link for seconds before it notices.
        figures("return", &self.times.returns, 5000);
    }
}

/// What half of them, nine of ten and all but one in a hundred stay below, in simulated milliseconds.
fn figures(what: &str, times_us: &[u64], last_ms: u64) {
    let mut sorted = times_us.to_vec();
    sorted.sort_unstable();
    let Some(longest) = sorted.last() else { return };
    println!("{what}: {} times, at most {:.0} ms (simulated)", sorted.len(), *longest as f64 / 1e3);
    for (per_cent, target_ms) in [(50, 1000), (90, 1500), (99, last_ms)] {
        let ms = sorted[(sorted.len() * per_cent / 100).min(sorted.len() - 1)] / 1000;
        let verdict = if ms <= target_ms { "ok" } else { "short" };
        println!("figure blockrepl/sim-{what}-p{per_cent} {ms} ms target <= {target_ms} {verdict}");
    }
}

/// Finds each known bug; whether all were found within `limit` seeds and in time, and pass where nothing
/// goes wrong.
pub(crate) fn hunt(limit: u64, end: Option<Instant>, jobs: usize) -> Result<bool, String> {
    let next = AtomicU64::new(0);
    let (sender, found) = mpsc::channel();
    let mut all = true;
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            let (sender, next) = (sender.clone(), &next);
            scope.spawn(move || {
                while let Some(bug) = Bug::ALL.get(next.fetch_add(1, Ordering::Relaxed) as usize) {
                    drop(sender.send(hunt_one(*bug, limit, end)));
                }
            });
        }
        drop(sender);
        for (line, well) in found {
            println!("{line}");
            all &= well;
        }
    });
    Ok(all)
}

fn hunt_one(bug: Bug, limit: u64, end: Option<Instant>) -> (String, bool) {
    let quiet = SCENARIOS[0];
    let calm = Job { bug: Some(bug), black_box: true, ..Job::scenario(1, quiet) }.run();
    let haunt = bugs::haunt(bug).and_then(Scenario::parse);
    let in_time = |_: &u64| end.is_none_or(|end| Instant::now() < end);
    let first = (1..=limit).take_while(in_time).find_map(|seed| {
        let clean = Job { scenario: haunt.unwrap_or(Scenario::of_seed(seed)), ..Job::of_seed(seed) };
        let report = Job { bug: Some(bug), ..clean }.run();
        // What is found without the bug as well is not its merit.
        let merit = |_: &_| clean.run().violation.is_none();
        report.violation.filter(merit).map(|v| (report.job, v))
    });
    let passes = if calm.violation.is_none() { "passes" } else { "FAILS" };
    let name = bug.name();
    let mut line = match &first {
        Some((job, v)) => format!(
            "block bug {name:<20} {passes} fault-free; found by seed {:>3} ({}): {}: {}",
            job.seed, job.scenario.name, v.rule, v.what
        ),
        None => format!("block bug {name:<20} {passes} fault-free; NOT FOUND in {limit} seeds or in time"),
    };
    if let Some(v) = &calm.violation {
        line.push_str(&format!("\n  fault-free: {}: {}", v.rule, v.what));
    }
    (line, first.is_some() && calm.violation.is_none())
}

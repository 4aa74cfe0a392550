//! Figures of the Maildir, each beside the raw system calls (and the `maildir` 0.6 crate) in the
//! same run. `cargo bench -p posthaste-maildir`; `-- --quick` for fewer rounds, `-- --dir <path>`
//! for another disk than the target directory's.
//!
//! Things that are compared take turns in slices, and the median of the rounds counts: other work
//! on the machine then hits both. Nothing is deleted before the end: on ext4, creating files soon
//! after many were deleted is slow.

mod deliver;
mod fetch;
mod flags;
mod group;
mod listing;
mod locks;
mod raw;
mod reopen;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use posthaste_maildir::{GroupFlush, LocalConfig, LocalFs, Mailbox, MailboxConfig};

type Part = fn(&Bench);

/// How long it may take, and where.
pub(crate) struct Bench {
    pub(crate) dir: PathBuf,
    pub(crate) quick: bool,
}

impl Bench {
    /// `full`, or fewer in a quick run.
    pub(crate) fn rounds(&self, full: usize) -> usize {
        if self.quick { full.min(3) } else { full }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// An empty mailbox in a directory of its own.
    pub(crate) fn mailbox(&self, name: &str, group_flush: GroupFlush) -> Mailbox<LocalFs> {
        raw::maildir(&self.path(name));
        open(&self.path(name), group_flush)
    }
}

pub(crate) fn open(path: &Path, group_flush: GroupFlush) -> Mailbox<LocalFs> {
    let config = LocalConfig { group_flush, ..LocalConfig::default() };
    let store = Arc::new(LocalFs::open(path, config).unwrap());
    Mailbox::open(store, b"", MailboxConfig::default()).unwrap()
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let given = args.iter().position(|arg| arg == "--dir").and_then(|at| args.get(at + 1));
    let below = given.map_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")), PathBuf::from);
    std::fs::create_dir_all(&below).unwrap();
    let dir = tempfile::tempdir_in(&below).unwrap();
    let bench = Bench { dir: dir.path().to_owned(), quick: args.iter().any(|arg| arg == "--quick") };
    let only = args.iter().position(|arg| arg == "--only").and_then(|at| args.get(at + 1));
    let parts: [(&str, Part); 7] = [
        ("deliver", deliver::run),
        ("group", group::run),
        ("listing", listing::run),
        ("flags", flags::run),
        ("locks", locks::run),
        ("reopen", reopen::run),
        ("fetch", fetch::run),
    ];
    for (name, run) in parts {
        if only.is_none_or(|only| only == name) {
            run(&bench);
        }
    }
}

pub(crate) fn time<R>(act: impl FnOnce() -> R) -> Duration {
    let started = Instant::now();
    std::hint::black_box(act());
    started.elapsed()
}

pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Times two things in turn, the first first in every second round; returns the median of the
/// times of the second over those of the first (how many times as fast the first is), and the
/// median seconds of both.
pub(crate) fn compare(
    rounds: usize,
    mut first: impl FnMut(usize) -> Duration,
    mut second: impl FnMut(usize) -> Duration,
) -> (f64, f64, f64) {
    let (mut ratios, mut firsts, mut seconds) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..rounds {
        let (one, two) = if round.is_multiple_of(2) {
            let one = first(round);
            (one, second(round))
        } else {
            let two = second(round);
            (first(round), two)
        };
        ratios.push(two.as_secs_f64() / one.as_secs_f64());
        firsts.push(one.as_secs_f64());
        seconds.push(two.as_secs_f64());
    }
    (median(ratios), median(firsts), median(seconds))
}

pub(crate) fn at_least(name: &str, value: f64, unit: &str, target: f64) {
    let verdict = if value >= target { "ok" } else { "short" };
    println!("figure maildir/{name} {value:.3} {unit} target >= {target} {verdict}");
}

pub(crate) fn at_most(name: &str, value: f64, unit: &str, target: f64) {
    let verdict = if value <= target { "ok" } else { "short" };
    println!("figure maildir/{name} {value:.3} {unit} target <= {target} {verdict}");
}

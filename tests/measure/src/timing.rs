//! Contestants timed in turn, medians compared, one `figure` line a target (DESIGN §7).
//!
//! Time is the processor's, not the wall's: what else runs on the machine costs rounds, not truth.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// How long and how often to measure.
#[derive(Debug, Clone, Copy)]
pub struct Effort {
    rounds: usize,
    slice: Duration,
}

impl Effort {
    /// `--quick` sees that every figure is printed; without it they can be quoted.
    pub fn from_args() -> Self {
        if std::env::args().any(|arg| arg == "--quick") {
            Self { rounds: 15, slice: Duration::from_micros(500) }
        } else {
            Self { rounds: 401, slice: Duration::from_millis(1) }
        }
    }
}

/// One thing to be timed: a name, and what one pass over the corpus is.
pub struct Contestant<'a> {
    name: &'static str,
    pass: Box<dyn FnMut() + 'a>,
}

/// `pass` under a name.
pub fn contestant<'a>(name: &'static str, pass: impl FnMut() + 'a) -> Contestant<'a> {
    Contestant { name, pass: Box::new(pass) }
}

/// What came out for each contestant, in the order given.
#[derive(Debug)]
pub struct Outcome {
    names: Vec<&'static str>,
    /// Nanoseconds a pass: one row a round, one column a contestant.
    rounds: Vec<Vec<f64>>,
}

/// Times all contestants in turn, round after round, so that a busy machine hits each alike.
pub fn race(effort: Effort, mut contestants: Vec<Contestant<'_>>) -> Outcome {
    let passes: Vec<u32> = contestants.iter_mut().map(|c| calibrate(effort.slice, &mut c.pass)).collect();
    let rounds = (0..effort.rounds)
        .map(|_| contestants.iter_mut().zip(&passes).map(|(c, n)| time(*n, &mut c.pass)).collect())
        .collect();
    Outcome { names: contestants.iter().map(|c| c.name).collect(), rounds }
}

/// This thread's time on the processor.
fn now() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn calibrate(slice: Duration, pass: &mut dyn FnMut()) -> u32 {
    let (mut count, begun) = (0u32, now());
    while now() - begun < slice {
        pass();
        count += 1;
    }
    count.max(1)
}

/// The first pass is not timed: it finds the caches as the contestant before left them.
fn time(passes: u32, pass: &mut dyn FnMut()) -> f64 {
    pass();
    let begun = now();
    (0..passes).for_each(|_| pass());
    (now() - begun).as_nanos() as f64 / f64::from(passes)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

impl Outcome {
    fn column(&self, name: &str) -> usize {
        self.names.iter().position(|n| *n == name).expect("a contestant of this name")
    }

    /// Prints each contestant's median, as time a unit or as speed.
    pub fn print(&self, title: &str, units: usize, bytes: usize) {
        println!("{title}: {units} in {bytes} octets");
        for (column, name) in self.names.iter().enumerate() {
            let pass = median(self.rounds.iter().map(|round| round[column]).collect());
            let (each, speed) = (pass / units as f64, bytes as f64 / pass);
            println!("  {name:<28} {each:>10.1} ns each {speed:>8.2} GB/s");
        }
    }

    /// How many times as fast as `other` is `ours`: the median of the rounds' ratios.
    pub fn ratio(&self, ours: &str, other: &str) -> f64 {
        let (ours, other) = (self.column(ours), self.column(other));
        median(self.rounds.iter().map(|round| round[other] / round[ours]).collect())
    }
}

/// Prints one figure that is to be at least `target`.
pub fn at_least(name: &str, value: f64, target: f64) {
    let verdict = if value >= target { "ok" } else { "short" };
    println!("figure {name} {value:.2} x target >= {target} {verdict}");
}

/// Prints one figure that is to be at most `target`.
pub fn at_most(name: &str, value: f64, target: f64) {
    let verdict = if value <= target { "ok" } else { "short" };
    println!("figure {name} {value:.2} x target <= {target} {verdict}");
}

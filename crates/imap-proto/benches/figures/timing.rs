//! Contestants timed in turn, medians compared, one `figure` line a target.

use std::time::{Duration, Instant};

/// How long and how often to measure.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Effort {
    rounds: usize,
    slice: Duration,
}

impl Effort {
    /// `--quick` sees that every figure is printed; without it they can be quoted.
    pub(crate) fn from_args() -> Self {
        if std::env::args().any(|arg| arg == "--quick") {
            Self { rounds: 7, slice: Duration::from_millis(3) }
        } else {
            Self { rounds: 41, slice: Duration::from_millis(10) }
        }
    }
}

/// One thing to be timed: a name, and what one pass over the corpus is.
pub(crate) struct Contestant<'a> {
    name: &'static str,
    pass: Box<dyn FnMut() + 'a>,
}

/// `pass` under a name.
pub(crate) fn contestant<'a>(name: &'static str, pass: impl FnMut() + 'a) -> Contestant<'a> {
    Contestant { name, pass: Box::new(pass) }
}

/// What came out for each contestant, in the order given.
pub(crate) struct Outcome {
    names: Vec<&'static str>,
    /// Nanoseconds a pass: one row a round, one column a contestant.
    rounds: Vec<Vec<f64>>,
}

/// Times all contestants in turn, round after round, so that a busy machine hits each alike.
pub(crate) fn race(effort: Effort, mut contestants: Vec<Contestant<'_>>) -> Outcome {
    let passes: Vec<u32> = contestants.iter_mut().map(|c| calibrate(effort.slice, &mut c.pass)).collect();
    let rounds = (0..effort.rounds)
        .map(|_| contestants.iter_mut().zip(&passes).map(|(c, n)| time(*n, &mut c.pass)).collect())
        .collect();
    Outcome { names: contestants.iter().map(|c| c.name).collect(), rounds }
}

fn calibrate(slice: Duration, pass: &mut dyn FnMut()) -> u32 {
    let (mut count, begun) = (0_u32, Instant::now());
    while begun.elapsed() < slice {
        pass();
        count += 1;
    }
    count.max(1)
}

fn time(passes: u32, pass: &mut dyn FnMut()) -> f64 {
    let begun = Instant::now();
    (0..passes).for_each(|_| pass());
    begun.elapsed().as_nanos() as f64 / f64::from(passes)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

impl Outcome {
    fn column(&self, name: &str) -> usize {
        self.names.iter().position(|n| *n == name).expect("a contestant of this name")
    }

    /// Prints each contestant's median, as time a unit and as speed.
    pub(crate) fn print(&self, title: &str, units: usize, octets: usize) {
        println!("{title}: {units} in {octets} octets");
        for (column, name) in self.names.iter().enumerate() {
            let pass = median(self.rounds.iter().map(|round| round[column]).collect());
            let (each, speed) = (pass / units as f64, octets as f64 * 1000.0 / pass);
            println!("  {name:<28} {each:>12.1} ns each {speed:>10.0} MB/s");
        }
    }

    /// How many times as long as `ours` `other` takes: the median of the rounds' ratios.
    pub(crate) fn ratio(&self, ours: &str, other: &str) -> f64 {
        let (ours, other) = (self.column(ours), self.column(other));
        median(self.rounds.iter().map(|round| round[other] / round[ours]).collect())
    }
}

/// Prints one figure that is to be at least `target`.
pub(crate) fn at_least(name: &str, value: f64, target: f64) {
    let verdict = if value >= target { "ok" } else { "short" };
    println!("figure imap-proto/{name} {value:.2} x target >= {target} {verdict}");
}

/// Prints one figure that is to be at most `target`.
pub(crate) fn at_most(name: &str, value: f64, unit: &str, target: f64) {
    let verdict = if value <= target { "ok" } else { "short" };
    println!("figure imap-proto/{name} {value:.2} {unit} target <= {target} {verdict}");
}

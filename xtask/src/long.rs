//! The runs that take too long for each change.

use crate::run;

/// Runs demos with different seeds, demos in network namespaces, and the simulator; stops at the
/// first failure, whose seed is in the command that it names.
pub(crate) fn long(demos: u64, netns: u64, (seeds, seconds): (u64, u64)) -> Result<(), String> {
    run::pass(&mut run::cargo(&["build", "--release", "--bin", "posthaste"]))?;
    for seed in 1..=demos {
        demo(seed, &["--test-disk"])?;
    }
    for seed in 1..=netns {
        demo(seed, &["--netns"])?;
    }
    println!("simulating {seeds} seeds, for {seconds} s at most");
    let mut sim = run::cargo(&["run", "--release", "--package", "posthaste-sim", "--", "--seeds"]);
    run::pass(sim.arg(seeds.to_string()).arg("--seconds").arg(seconds.to_string()))?;
    println!("simulating {seeds} seeds of replicated block devices, for {seconds} s at most");
    let mut sim =
        run::cargo(&["run", "--release", "--package", "posthaste-sim", "--", "--blocks", "--seeds"]);
    // Others than CI's.
    run::pass(sim.arg(seeds.to_string()).args(["--from", "10000000", "--seconds"]).arg(seconds.to_string()))
}

fn demo(seed: u64, more: &[&str]) -> Result<(), String> {
    println!("demo, seed {seed} {more:?}");
    let mut command =
        run::cargo(&["run", "--quiet", "--release", "--bin", "posthaste", "--", "demo", "--seed"]);
    run::pass(command.arg(seed.to_string()).args(more))
}

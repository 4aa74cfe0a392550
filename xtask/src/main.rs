//! The project's own commands: `cargo xtask figures|promises|long`.

mod figures;
mod long;
mod promises;
mod run;
mod tables;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(about = "Posthaste's own commands")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs the benchmarks of one crate, or of all, and prints their figures as a table.
    Figures {
        /// The crate's short name (`maildir`, `mail-cluster`, ...).
        name: Option<String>,
        /// Quick rounds: to see that each figure is printed, not to quote it.
        #[arg(long)]
        quick: bool,
        /// Also writes the figure lines to this file.
        #[arg(long)]
        save: Option<PathBuf>,
    },
    /// Checks PROMISES.toml against what ran, and prints it as a table.
    Promises {
        /// Output of test and check runs (repeatable); without any, `cargo test --workspace` runs.
        #[arg(long)]
        log: Vec<PathBuf>,
        /// Prints the table in Markdown.
        #[arg(long)]
        markdown: bool,
    },
    /// The long runs: many demos, many simulation seeds.
    Long {
        /// How many demos, each with another seed.
        #[arg(long, default_value_t = 20)]
        demos: u64,
        /// How many demos in network namespaces (root only).
        #[arg(long, default_value_t = 5)]
        netns: u64,
        /// How many simulation seeds.
        #[arg(long, default_value_t = 100_000)]
        seeds: u64,
        /// Seconds after which the simulation ends, whatever is left of the seeds.
        #[arg(long, default_value_t = 3600)]
        seconds: u64,
    },
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Figures { name, quick, save } => figures::figures(name.as_deref(), quick, save.as_deref()),
        Command::Promises { log, markdown } => promises::promises(&log, markdown),
        Command::Long { demos, netns, seeds, seconds } => long::long(demos, netns, (seeds, seconds)),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error}");
            ExitCode::FAILURE
        }
    }
}

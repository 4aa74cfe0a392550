//! One device on two machines, served by NBD from the one that an operator made the leader.
//!
//! ```sh
//! nbd-pair new --size-mib 1024 192.0.2.1 192.0.2.2 >pair.toml   # once; the same file on both machines
//! nbd-pair create pair.toml --node 1                            # on each machine: its files
//! nbd-pair run pair.toml --node 1 &                             # on each machine: the daemon
//! nbd-pair promote pair.toml --node 1 --new                     # once, on the first leader
//! qemu-img info nbd://192.0.2.1/disk0
//! ```
//!
//! README.md says what is the operator's to decide.

mod config;
mod control;
mod daemon;
mod device;
mod export;
mod handlers;
mod links;
mod operator;
mod report;
mod roles;
mod said;
#[cfg(test)]
mod testing;
mod tls;
mod turn;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use config::Pair;
use control::Command;
use posthaste_blockrepl::Protocol;

#[derive(Parser)]
#[command(version, about)]
struct Cli {
    #[command(subcommand)]
    command: Cmd,
}

/// Which machine of which pair.
#[derive(Args)]
struct Here {
    /// The pair's file, the same on both machines.
    config: PathBuf,
    /// This machine's id in it.
    #[arg(long)]
    node: u64,
}

#[derive(Subcommand)]
enum Cmd {
    /// Print a new pair's file, with fresh random ids.
    New {
        /// Size of the device in MiB.
        #[arg(long, default_value_t = 1024)]
        size_mib: u64,
        /// Addresses of the two machines.
        #[arg(num_args = 2)]
        hosts: Vec<String>,
    },
    /// Create this machine's blank copy. Existing files are refused.
    Create(#[command(flatten)] Here),
    /// Run this machine's side in the foreground. It follows until it is promoted.
    Run(#[command(flatten)] Here),
    /// Show how this side stands.
    Status(#[command(flatten)] Here),
    /// Lead here, and export the device.
    Promote {
        #[command(flatten)]
        here: Here,
        /// You have seen to it that the other machine does not lead and will not be promoted.
        #[arg(long)]
        peer_is_down: bool,
        /// This copy lacks writes that were acknowledged; go on without them.
        #[arg(long)]
        accept_loss: bool,
        /// Both copies are blank: begin with this one.
        #[arg(long)]
        new: bool,
    },
    /// Flush, stop the export, and follow. Afterwards promote the other machine.
    Demote {
        #[command(flatten)]
        here: Here,
        /// Also if the other machine lacks something.
        #[arg(long)]
        not_in_sync: bool,
    },
    /// Leader: go on without the other machine; its copy will be resynced when it returns.
    Alone {
        #[command(flatten)]
        here: Here,
        /// You have seen to it yourself that it does not lead: the handler `fence_peer` is not asked.
        #[arg(long)]
        peer_is_down: bool,
    },
    /// Leader: overwrite the other machine's copy, though it has diverged.
    DiscardPeer(#[command(flatten)] Here),
    /// Leader: compare both copies; what differs is overwritten on the other machine.
    Verify(#[command(flatten)] Here),
    /// Leader: change the size of the device, on both machines. Clients see it when they connect anew.
    Resize {
        #[command(flatten)]
        here: Here,
        /// The new size in MiB.
        #[arg(long)]
        size_mib: u64,
        /// It may be smaller: the file system was made smaller before, and what lies behind the new end is lost.
        #[arg(long)]
        shrink: bool,
    },
    /// Takes a disk back that failed: it is repaired, and holds this machine's files.
    Attach(#[command(flatten)] Here),
    /// Leader: ask for so many copies in sync, until the daemon ends. With fewer, writes wait or fail.
    Redundancy {
        #[command(flatten)]
        here: Here,
        /// 1 or 2.
        copies: usize,
    },
    /// Leader: hold the resync of the other machine.
    Pause(#[command(flatten)] Here),
    /// Leader: let it go on.
    Resume(#[command(flatten)] Here),
    /// Leader: change what a flush waits for at the other machine, until the daemon ends.
    Protocol {
        #[command(flatten)]
        here: Here,
        /// A, B or C.
        #[arg(value_parser = control::parse_protocol)]
        protocol: Protocol,
    },
    /// Lists the copies that were given up here and kept: they are exported too, read-only.
    Snapshots(#[command(flatten)] Here),
    /// The ranges in which one of them was written to since the copies parted: a line of offset and length in bytes for each.
    Ranges {
        #[command(flatten)]
        here: Here,
        /// Its number.
        snapshot: u64,
    },
    /// Deletes them all.
    DropSnapshots(#[command(flatten)] Here),
    /// Reads this machine's copy against its checksums, and heals it.
    Scrub(#[command(flatten)] Here),
    /// Counters of this machine's copy, as Prometheus reads them.
    Metrics(#[command(flatten)] Here),
}

fn main() -> ExitCode {
    match act(Cli::parse().command) {
        Ok(text) => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("nbd-pair: {why}");
            ExitCode::FAILURE
        }
    }
}

fn act(command: Cmd) -> Result<String, String> {
    let (here, command) = match command {
        Cmd::New { size_mib, hosts } => return config::fresh(size_mib, [&hosts[0], &hosts[1]]),
        Cmd::Create(here) => return create(&here),
        Cmd::Run(here) => return daemon::run(Pair::load(&here.config, here.node)?).map(|()| String::new()),
        Cmd::Status(here) => (here, Command::Status),
        Cmd::Promote { here, peer_is_down, accept_loss, new } => {
            (here, Command::Promote { peer_is_down, accept_loss, new })
        }
        Cmd::Demote { here, not_in_sync } => (here, Command::Demote { not_in_sync }),
        Cmd::Alone { here, peer_is_down } => (here, Command::Alone { peer_is_down }),
        Cmd::DiscardPeer(here) => (here, Command::DiscardPeer),
        Cmd::Verify(here) => (here, Command::Verify),
        Cmd::Resize { here, size_mib, shrink } => (here, Command::Resize { mib: size_mib, shrink }),
        Cmd::Attach(here) => (here, Command::Attach),
        Cmd::Redundancy { here, copies } => (here, Command::Redundancy(copies)),
        Cmd::Ranges { here, snapshot } => (here, Command::Ranges { snapshot }),
        Cmd::Pause(here) => (here, Command::Pause),
        Cmd::Resume(here) => (here, Command::Resume),
        Cmd::Protocol { here, protocol } => (here, Command::Protocol(protocol)),
        Cmd::Snapshots(here) => (here, Command::Snapshots),
        Cmd::DropSnapshots(here) => (here, Command::DropSnapshots),
        Cmd::Scrub(here) => (here, Command::Scrub),
        Cmd::Metrics(here) => (here, Command::Metrics),
    };
    control::ask(&Pair::load(&here.config, here.node)?, command)
}

fn create(here: &Here) -> Result<String, String> {
    let pair = Pair::load(&here.config, here.node)?;
    pair.create()?;
    Ok(format!("a blank copy of {} bytes in {}\n", pair.size, pair.me.dir.display()))
}

//! The commands, and how each ends.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::admin::commands;
use crate::config::{Config, Role};
use crate::error::{Error, Exit};
use crate::{bench, demo, init, node};

const EXIT_CODES: &str = "Exit codes:
  0  done
  1  it did not work; the message says what and why
  2  wrong command line
  3  the configuration, or a file that it names, is wrong
  4  the node cannot be reached
  5  the node is up but has no quorum
  6  the member's quorum store has failed (a disk error, a full file system); the member is to be started again

Environment:
  POSTHASTE_LOG     what to log to stderr, like info or posthaste_heartbeat=debug,warn (default: info for
                    node and witness, warn for all else)
  POSTHASTE_CONFIG  the default of --config";

/// Highly available mail on two nodes and a witness.
#[derive(Debug, Parser)]
#[command(name = "posthaste", version, after_help = EXIT_CODES)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Lay out a new cluster: its CA, and a directory with configuration and certificate for each member
    Init(init::InitArgs),
    /// Run this host as a node, which holds and serves mail
    Node(MemberArgs),
    /// Run this host as the witness, which only votes
    Witness(MemberArgs),
    /// Check a configuration and say what is wrong with it
    Check(ConfigArg),
    /// Show who leads what, what is in sync, and why something waits
    Status(commands::StatusArgs),
    /// Add, change, list and remove users
    #[command(subcommand)]
    User(commands::UserCommand),
    /// Move everything off a node before maintenance, or let it serve again
    Drain(commands::DrainArgs),
    /// Accept a member that lost its disk and came back with an empty one: its vote, and copies to be filled
    Replace(commands::ReplaceArgs),
    /// Compare the replicas of volumes while they are in use
    Verify(commands::VerifyArgs),
    /// Show a whole cluster at work on this machine: real mail, a kill, nothing lost
    Demo(demo::DemoArgs),
    /// Measure deliveries and commands a second, beside the raw disk
    Bench(bench::BenchArgs),
}

/// Which configuration.
#[derive(Debug, Clone, clap::Args)]
pub struct ConfigArg {
    /// The member's configuration file
    #[arg(
        long,
        short,
        env = "POSTHASTE_CONFIG",
        default_value = "/etc/posthaste/posthaste.toml",
        value_name = "FILE"
    )]
    pub config: PathBuf,
}

/// What `posthaste node` and `posthaste witness` take.
#[derive(Debug, Clone, clap::Args)]
struct MemberArgs {
    #[command(flatten)]
    config: ConfigArg,
    /// Die when the process with this id, the parent, dies: the demo leaves nothing behind
    #[arg(long, hide = true, value_name = "PID")]
    die_with_parent: Option<i32>,
}

impl ConfigArg {
    /// Reads it.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn load(&self) -> Result<Config, Error> {
        Ok(Config::load(&self.config)?)
    }
}

/// Parses the command line, runs the command, prints its error.
pub fn main() -> ExitCode {
    // clap itself exits with 2 on a wrong command line and with 0 after --help.
    let cli = Cli::parse();
    start_logging(&cli.command);
    match run(cli.command) {
        Ok(()) => ExitCode::from(Exit::Ok as u8),
        Err(error) => {
            eprintln!("posthaste: {error}");
            ExitCode::from(error.exit() as u8)
        }
    }
}

fn run(command: Command) -> Result<(), Error> {
    match command {
        Command::Init(args) => init::run(args),
        Command::Node(arg) => run_member(&arg, Role::Node),
        Command::Witness(arg) => run_member(&arg, Role::Witness),
        Command::Check(arg) => check(&arg),
        Command::Status(args) => commands::status(&args),
        Command::User(command) => commands::user(command),
        Command::Drain(args) => commands::drain(args),
        Command::Replace(args) => commands::replace(args),
        Command::Verify(args) => commands::verify(args),
        Command::Demo(args) => demo::run(&args),
        Command::Bench(args) => bench::run(&args),
    }
}

fn run_member(args: &MemberArgs, role: Role) -> Result<(), Error> {
    if let Some(parent) = args.die_with_parent {
        die_with(parent)?;
    }
    let config = args.config.load()?;
    if config.node.role != role {
        let file = config.file.display();
        let text = format!(
            "{file}: {:?} is a {}: start it with `posthaste {}`",
            config.node.name, config.node.role, config.node.role
        );
        return Err(Error::BadFile(text));
    }
    node::run(config)
}

/// The kernel kills this process when its parent dies, which may have happened already.
fn die_with(parent: i32) -> Result<(), Error> {
    use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(Error::failed)?;
    if getppid().map(Pid::as_raw_nonzero).map(i32::from) == Some(parent) {
        return Ok(());
    }
    Err(Error::failed(format!("--die-with-parent {parent}: that is not the parent, or it has ended")))
}

fn check(arg: &ConfigArg) -> Result<(), Error> {
    let config = arg.load()?;
    println!(
        "{}: {} {:?} of cluster {:?}: fine",
        config.file.display(),
        config.node.role,
        config.node.name,
        config.cluster.name
    );
    Ok(())
}

/// To stderr, so that stdout has only what was asked for.
fn start_logging(command: &Command) {
    let default = if matches!(command, Command::Node(_) | Command::Witness(_)) { "info" } else { "warn" };
    let filter =
        tracing_subscriber::EnvFilter::try_from_env("POSTHASTE_LOG").unwrap_or_else(|_| default.into());
    let colours = std::io::IsTerminal::is_terminal(&std::io::stderr());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colours).init();
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_units_start_what_there_is() {
        let units = [
            (include_str!("../units/posthaste-node.service"), "node"),
            (include_str!("../units/posthaste-witness.service"), "witness"),
        ];
        for (unit, command) in units {
            let start = unit.lines().find_map(|line| line.strip_prefix("ExecStart=")).unwrap();
            let cli = Cli::try_parse_from(start.split(' ')).unwrap();
            match (cli.command, command) {
                (Command::Node(_), "node") | (Command::Witness(_), "witness") => {}
                (other, _) => panic!("{command}: {other:?}"),
            }
        }
    }

    #[test]
    fn init_takes_the_command_of_the_readme() {
        let readme = include_str!("../../../README.md");
        let line = readme.lines().find(|line| line.starts_with("posthaste init ")).unwrap();
        assert!(matches!(Cli::try_parse_from(line.split(' ')).unwrap().command, Command::Init(_)));
    }
}

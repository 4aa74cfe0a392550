//! `status`, `user`, `drain`, `replace` and `verify`: ask the member on this host, show the answer.

use std::io::{self, BufRead, IsTerminal, Write};
use std::time::Duration;

use clap::Subcommand;

use super::{AdminReply, AdminRequest, Refusal, VerifyRow, ask};
use crate::cli::ConfigArg;
use crate::config::show_size;
use crate::error::Error;
use crate::status::Table;

/// What `posthaste status` takes.
#[derive(Debug, Clone, clap::Args)]
pub struct StatusArgs {
    #[command(flatten)]
    config: ConfigArg,
    /// As JSON
    #[arg(long)]
    json: bool,
    /// Again every second, until interrupted
    #[arg(long)]
    watch: bool,
}

/// What `posthaste user` takes.
#[derive(Debug, Clone, Subcommand)]
#[allow(missing_docs, reason = "a doc comment on a flattened group would be shown as help")]
pub enum UserCommand {
    /// Make a user; asks for the password, or reads one line of standard input
    Add {
        /// name@domain
        name: String,
        #[command(flatten)]
        config: ConfigArg,
        /// The volume of the user's mail; by default the one with the fewest users
        #[arg(long)]
        volume: Option<String>,
    },
    /// Change a user's password; asks for it, or reads one line of standard input
    Passwd {
        /// name@domain
        name: String,
        #[command(flatten)]
        config: ConfigArg,
    },
    /// List the users
    List {
        #[command(flatten)]
        config: ConfigArg,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Remove a user's account; the mail stays on the volume
    Del {
        /// name@domain
        name: String,
        #[command(flatten)]
        config: ConfigArg,
    },
}

/// What `posthaste drain` takes.
#[derive(Debug, Clone, clap::Args)]
pub struct DrainArgs {
    /// The node's name
    node: String,
    #[command(flatten)]
    config: ConfigArg,
    /// Let it serve again
    #[arg(long)]
    undo: bool,
}

/// What `posthaste replace` takes.
#[derive(Debug, Clone, clap::Args)]
pub struct ReplaceArgs {
    /// The member's name; it runs, on its new disk
    member: String,
    #[command(flatten)]
    config: ConfigArg,
}

/// What `posthaste verify` takes.
#[derive(Debug, Clone, clap::Args)]
pub struct VerifyArgs {
    /// The volume; all by default
    volume: Option<String>,
    #[command(flatten)]
    config: ConfigArg,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// `posthaste status`.
///
/// # Errors
/// When the member cannot be asked; with `--watch` it goes on after that.
pub fn status(args: &StatusArgs) -> Result<(), Error> {
    loop {
        let outcome = show_status(args);
        if !args.watch {
            return outcome;
        }
        if let Err(error) = outcome {
            println!("posthaste: {error}");
        }
        std::thread::sleep(Duration::from_secs(1));
    }
}

fn show_status(args: &StatusArgs) -> Result<(), Error> {
    match request(&args.config, AdminRequest::Status)? {
        AdminReply::Status { report } if args.json => json(&report),
        AdminReply::Status { report } => show(format_args!("{report}")),
        other => Err(unexpected(other)),
    }
}

/// `posthaste user …`.
///
/// # Errors
/// When the member refuses or cannot be asked.
pub fn user(command: UserCommand) -> Result<(), Error> {
    match command {
        UserCommand::Add { name, config, volume } => {
            let password = password(&name)?;
            done(request(&config, AdminRequest::UserAdd { name, password, volume })?)
        }
        UserCommand::Passwd { name, config } => {
            let password = password(&name)?;
            done(request(&config, AdminRequest::UserPasswd { name, password })?)
        }
        UserCommand::Del { name, config } => done(request(&config, AdminRequest::UserDel { name })?),
        UserCommand::List { config, json: as_json } => {
            list(request(&config, AdminRequest::UserList)?, as_json)
        }
    }
}

fn list(reply: AdminReply, as_json: bool) -> Result<(), Error> {
    let AdminReply::Users { users } = reply else { return Err(unexpected(reply)) };
    if as_json {
        return json(&users);
    }
    let mut table = Table::new(&["USER", "VOLUME"]);
    users.into_iter().for_each(|u| table.row([u.name, u.volume]));
    show(format_args!("{table}"))
}

/// `posthaste drain`.
///
/// # Errors
/// When the member refuses or cannot be asked.
pub fn drain(args: DrainArgs) -> Result<(), Error> {
    done(request(&args.config, AdminRequest::Drain { node: args.node, on: !args.undo })?)
}

/// `posthaste replace`.
///
/// # Errors
/// When the member refuses or cannot be asked.
pub fn replace(args: ReplaceArgs) -> Result<(), Error> {
    done(request(&args.config, AdminRequest::Replace { member: args.member })?)
}

/// `posthaste verify`.
///
/// # Errors
/// When replicas differ, or the comparison could not be made.
pub fn verify(args: VerifyArgs) -> Result<(), Error> {
    let reply = request(&args.config, AdminRequest::Verify { volume: args.volume })?;
    let AdminReply::Verified { volumes } = reply else { return Err(unexpected(reply)) };
    if args.json {
        json(&volumes)?;
    } else {
        show(format_args!("{}", verify_table(&volumes)))?;
    }
    let bad: Vec<&str> = volumes.iter().filter(|v| !v.is_identical()).map(|v| v.volume.as_str()).collect();
    if bad.is_empty() {
        Ok(())
    } else {
        Err(Error::failed(format!("not verified as identical: {}", bad.join(", "))))
    }
}

fn verify_table(volumes: &[VerifyRow]) -> Table {
    let mut table = Table::new(&["VOLUME", "COMPARED", "REPLICAS", "OUTCOME"]);
    for v in volumes {
        let outcome = match (&v.error, v.differing) {
            (Some(error), _) => error.clone(),
            (None, 0) => "identical".into(),
            (None, n) => format!("{n} blocks differ"),
        };
        table.row([v.volume.clone(), show_size(v.compared).to_string(), v.replicas.join(" "), outcome]);
    }
    table
}

/// Asks the member that `config` describes; a refusal becomes the error of its exit code.
fn request(config: &ConfigArg, request: AdminRequest) -> Result<AdminReply, Error> {
    let socket = config.load()?.admin_socket();
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Error::failed)?;
    let reply = runtime.block_on(ask(&socket, request, |line| eprintln!("{line}")))?;
    match reply {
        AdminReply::Refused { why: Refusal::NoQuorum, text } => Err(Error::NoQuorum(text)),
        AdminReply::Refused { text, .. } => Err(Error::Failed(text)),
        reply => Ok(reply),
    }
}

fn done(reply: AdminReply) -> Result<(), Error> {
    match reply {
        AdminReply::Done { text } => show(format_args!("{text}\n")),
        other => Err(unexpected(other)),
    }
}

fn unexpected(reply: AdminReply) -> Error {
    Error::failed(format!("the member answered something else: {reply:?}"))
}

fn json(value: &impl serde::Serialize) -> Result<(), Error> {
    let text = serde_json::to_string_pretty(value).map_err(Error::failed)?;
    show(format_args!("{text}\n"))
}

/// Prints; a reader that went away (`| head`) is no failure.
fn show(text: std::fmt::Arguments<'_>) -> Result<(), Error> {
    match io::stdout().lock().write_fmt(text) {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => Err(Error::failed(format!("cannot print: {e}"))),
        _ => Ok(()),
    }
}

/// From the terminal without showing it, else the first line of standard input.
fn password(name: &str) -> Result<String, Error> {
    let stdin = io::stdin();
    let failed = |e: io::Error| Error::failed(format!("cannot read the password: {e}"));
    let quiet = if stdin.is_terminal() {
        eprint!("Password of {name}: ");
        Some(Quiet::new().map_err(failed)?)
    } else {
        None
    };
    let mut line = String::new();
    stdin.lock().read_line(&mut line).map_err(failed)?;
    if quiet.is_some() {
        eprintln!();
    }
    let password = line.trim_end_matches(['\r', '\n']).to_owned();
    if password.is_empty() {
        Err(Error::failed("the password is empty; nothing was changed"))
    } else {
        Ok(password)
    }
}

/// The terminal without echo; as before when dropped.
struct Quiet(rustix::termios::Termios);

impl Quiet {
    fn new() -> io::Result<Self> {
        use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
        let before = tcgetattr(io::stdin())?;
        let mut quiet = before.clone();
        quiet.local_modes.remove(LocalModes::ECHO);
        tcsetattr(io::stdin(), OptionalActions::Flush, &quiet)?;
        Ok(Self(before))
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        let _ = rustix::termios::tcsetattr(io::stdin(), rustix::termios::OptionalActions::Now, &self.0);
    }
}

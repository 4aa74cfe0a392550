//! The throw-away cluster: three processes, their files, and the operator's hand on them.

use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Instant;

use rustix::process::Signal;
use tempfile::TempDir;

use super::DemoArgs;
use super::client::trust;
use super::courier::World;
use super::netns::Net;
use super::people::{self, Doors};
use super::place::Place;
use super::process::{Process, last_lines};
use crate::config::{Role, Timing};
use crate::init::{self, Laid, Plan, Planned, Ports};

/// Node a, the first address, the first volume.
pub const A: usize = 0;
/// Node b, the second address, the second volume.
pub const B: usize = 1;
/// The witness.
pub const WITNESS: usize = 2;

/// The members' names, in the order of the constants above.
pub const NAMES: [&str; 3] = ["a", "b", "w"];

/// Bytes of each volume.
const VOLUME_BYTES: u64 = 256 << 20;

/// The cluster. Dropping it kills every process and removes the directory.
pub struct Cluster {
    // Before the directory, so that nothing writes to it any more when it is removed.
    processes: [Option<Process>; 3],
    members: Vec<Laid>,
    world: Arc<World>,
    ca: PathBuf,
    place: Place,
    program: Option<PathBuf>,
    directory: Directory,
}

enum Directory {
    Removed(TempDir),
    Kept(PathBuf),
}

impl Cluster {
    /// Writes the members' directories; nothing runs yet.
    ///
    /// # Errors
    /// No place for the files, no free addresses, or a plan that `init` refuses.
    pub fn lay(args: &DemoArgs, place: Place) -> Result<Self, String> {
        Self::lay_sized(args, place, VOLUME_BYTES)
    }

    /// As [`Self::lay`], with volumes of `volume_bytes`.
    ///
    /// # Errors
    /// As [`Self::lay`].
    pub fn lay_sized(args: &DemoArgs, place: Place, volume_bytes: u64) -> Result<Self, String> {
        let above = args.dir.clone().unwrap_or_else(std::env::temp_dir);
        let directory = tempfile::Builder::new().prefix("posthaste-demo-").tempdir_in(&above);
        let directory =
            directory.map_err(|e| format!("cannot make a directory in {}: {e}", above.display()))?;
        let plan = Plan { volume_size: volume_bytes, ..plan(args, directory.path(), &place) };
        let layout = init::lay(&plan).map_err(|e| e.to_string())?;
        let ca =
            std::fs::read(&layout.ca).map_err(|e| format!("cannot read {}: {e}", layout.ca.display()))?;
        let doors =
            Doors { addresses: place.vips, ports: place.ports, trust: trust(&ca)?, patience: place.patience };
        let people = people::people(args.seed, usize::from(args.users));
        Ok(Self {
            processes: [None, None, None],
            members: layout.members,
            world: World::new(doors, people, args.seed),
            ca: layout.ca,
            place,
            program: None,
            directory: Directory::Removed(directory),
        })
    }

    /// Runs the members with this program, where the calling one is not `posthaste` itself: a test.
    pub fn use_program(&mut self, program: PathBuf) {
        self.program = Some(program);
    }

    /// The users, the addresses, the book.
    pub fn world(&self) -> &Arc<World> {
        &self.world
    }

    /// Starts a member.
    ///
    /// # Errors
    /// The program cannot be started.
    pub fn start(&mut self, member: usize) -> Result<(), String> {
        let exe = self.program.clone().map_or_else(std::env::current_exe, Ok);
        let exe = exe.map_err(|e| format!("cannot find this program: {e}"))?;
        let laid = &self.members[member];
        let mut program = self.place.command(member, &exe);
        program.arg(if laid.role == Role::Witness { "witness" } else { "node" });
        program.arg("--config").arg(&laid.config).arg(format!("--die-with-parent={}", std::process::id()));
        let process = Process::start(program, &self.log(member)).map_err(|e| e.to_string())?;
        self.processes[member] = Some(process);
        Ok(())
    }

    /// SIGKILL. Returns the instant just before it.
    ///
    /// # Errors
    /// The member does not run.
    pub fn kill(&mut self, member: usize) -> Result<Instant, String> {
        let mut process =
            self.processes[member].take().ok_or_else(|| format!("{} does not run", NAMES[member]))?;
        process.kill().map_err(|e| format!("cannot kill {}: {e}", NAMES[member]))
    }

    /// Whether a member runs.
    pub fn is_running(&mut self, member: usize) -> bool {
        self.processes[member].as_mut().is_some_and(|process| process.ended().is_none())
    }

    /// The exit status of a member that has ended, once; from then on it counts as stopped.
    pub fn take_ended(&mut self, member: usize) -> Option<ExitStatus> {
        let status = self.processes[member].as_mut()?.ended()?;
        self.processes[member] = None;
        Some(status)
    }

    /// The members, in order.
    pub fn members(&self) -> &[Laid] {
        &self.members
    }

    /// The namespaces, if the members live there.
    pub fn net(&self) -> Option<&Net> {
        self.place.net.as_ref()
    }

    /// SIGSTOP; returns when every thread of the member has stopped.
    ///
    /// # Errors
    /// The member does not run, or does not stop.
    pub fn stop(&self, member: usize) -> Result<(), String> {
        self.process(member)?.stop().map_err(|e| format!("cannot stop {}: {e}", NAMES[member]))
    }

    /// SIGCONT.
    ///
    /// # Errors
    /// The member does not run.
    pub fn wake(&self, member: usize) -> Result<(), String> {
        let woken = self.process(member)?.signal(Signal::CONT);
        woken.map_err(|e| format!("cannot wake {}: {e}", NAMES[member]))
    }

    /// SIGTERM: the member is asked to leave.
    ///
    /// # Errors
    /// The member does not run.
    pub fn terminate(&self, member: usize) -> Result<(), String> {
        let asked = self.process(member)?.signal(Signal::TERM);
        asked.map_err(|e| format!("cannot ask {} to leave: {e}", NAMES[member]))
    }

    fn process(&self, member: usize) -> Result<&Process, String> {
        self.processes[member].as_ref().ok_or_else(|| format!("{} does not run", NAMES[member]))
    }

    /// Where a member's output goes.
    pub fn log(&self, member: usize) -> PathBuf {
        self.directory().join(format!("{}.log", NAMES[member]))
    }

    /// The cluster's directory.
    pub fn directory(&self) -> &Path {
        match &self.directory {
            Directory::Removed(directory) => directory.path(),
            Directory::Kept(path) => path,
        }
    }

    /// Keeps the directory when the cluster ends, and returns its path.
    pub fn keep_directory(&mut self) -> PathBuf {
        let path = self.directory().to_owned();
        if let Directory::Removed(directory) =
            std::mem::replace(&mut self.directory, Directory::Kept(path.clone()))
        {
            let _ = directory.keep();
        }
        path
    }

    /// A process that should run and has ended is an error, with the end of its log.
    pub(super) fn check_running(&mut self) -> Result<(), String> {
        for member in [A, B, WITNESS] {
            let Some(process) = self.processes[member].as_mut() else { continue };
            if let Some(status) = process.ended() {
                let lines = last_lines(process.log());
                return Err(format!(
                    "{} ended by itself ({status}); its last lines:\n{lines}",
                    NAMES[member]
                ));
            }
        }
        Ok(())
    }

    /// How to reach the cluster with a mail client.
    pub fn how_to_reach(&self) -> String {
        let (doors, person) = (&self.world.doors, &self.world.people[0]);
        let [first, second] = doors.addresses;
        let ports = doors.ports;
        format!(
            "The cluster runs until Ctrl-C.\n  hosts     {first} and {second}, either\n  ports     IMAP {} (TLS {}), POP3 \
             {} (TLS {}), SMTP {}\n  user      {}\n  password  {}\n  CA file   {}\n  logs      {}/*.log\n  status    \
             posthaste status --config {}",
            ports.imap,
            ports.imaps,
            ports.pop3,
            ports.pop3s,
            ports.smtp,
            person.address,
            person.password,
            self.ca.display(),
            self.directory().display(),
            self.members[A].config.display(),
        )
    }
}

fn plan(args: &DemoArgs, dir: &Path, place: &Place) -> Plan {
    let member = |index: usize| Planned::new(NAMES[index], place.peers[index].to_string());
    let ports = Ports {
        smtp: place.ports.smtp,
        imap: place.ports.imap,
        imaps: place.ports.imaps,
        pop3: place.ports.pop3,
        pop3s: place.ports.pop3s,
        lmtp: 0,
        submission: 0,
        submissions: 0,
    };
    Plan {
        nodes: vec![member(A), member(B)],
        witness: Some(member(WITNESS)),
        addresses: vec![(place.vips[A], NAMES[A].into()), (place.vips[B], NAMES[B].into())],
        ports,
        plaintext_login: true,
        driver: place.driver(),
        data_dir: "data".into(),
        volatile_disk: args.test_disk,
        timing: Timing { hints: args.hints, ..Timing::default() },
        ..Plan::new(dir.join("cluster"), people::DOMAIN)
    }
}

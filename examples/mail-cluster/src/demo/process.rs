//! A member of the demo's cluster as an operating-system process.

use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// How many lines of a log an error shows.
const LOG_LINES: usize = 15;

/// How long a process may take to stop.
const STOP_PATIENCE: Duration = Duration::from_secs(5);

/// A process that runs a member. It is killed when dropped, and by the kernel when this process
/// dies (the member asks for that itself, see `--die-with-parent`).
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `program` with its output appended to `log`. Call it on the main thread: a child
    /// dies with the *thread* that started it.
    ///
    /// # Errors
    /// The program or the log cannot be opened.
    pub fn start(mut program: Command, log: &Path) -> io::Result<Self> {
        let out = File::options().create(true).append(true).open(log)?;
        // Ctrl-C is for us: we stop the members. So they are in a process group of their own.
        program.stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out).process_group(0);
        let name = program.get_program().to_owned();
        let child = program.spawn();
        let child = child.map_err(|e| io::Error::new(e.kind(), format!("cannot start {name:?}: {e}")))?;
        Ok(Self { child, log: log.to_owned() })
    }

    /// SIGKILL: no farewell, no flush. Returns the instant just before it.
    ///
    /// # Errors
    /// The process is not there.
    pub fn kill(&mut self) -> io::Result<Instant> {
        let before = Instant::now();
        self.child.kill()?;
        self.child.wait()?;
        Ok(before)
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// The process is not there.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        kill_process(pid.ok_or(io::ErrorKind::InvalidInput)?, signal).map_err(io::Error::from)
    }

    /// SIGSTOP, and waits until every thread has stopped: on a busy machine that takes a while.
    ///
    /// # Errors
    /// The process is not there, or does not stop.
    pub fn stop(&self) -> io::Result<()> {
        self.signal(Signal::STOP)?;
        let started = Instant::now();
        while !self.is_stopped()? {
            if started.elapsed() > STOP_PATIENCE {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "it does not stop"));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    fn is_stopped(&self) -> io::Result<bool> {
        for task in std::fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            // The state follows the name, which stands in parentheses and may hold anything.
            let stat = std::fs::read_to_string(task?.path().join("stat"))?;
            let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
            if state != Some('T') {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Its exit status, if it has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Its log file.
    pub fn log(&self) -> &Path {
        &self.log
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The last lines of a log, indented, for an error message.
pub fn last_lines(log: &Path) -> String {
    let text =
        std::fs::read(log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let shown: Vec<String> =
        lines[lines.len().saturating_sub(LOG_LINES)..].iter().map(|line| format!("    {line}")).collect();
    shown.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_killed_when_dropped_and_its_output_is_in_the_log() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", "echo started; exec sleep 100"]);
        let mut process = Process::start(shell, &log).unwrap();
        while !last_lines(&log).contains("started") {
            assert!(process.ended().is_none());
            std::thread::yield_now();
        }
        process.stop().unwrap();
        assert!(process.is_stopped().unwrap());
        let pid = Pid::from_raw(i32::try_from(process.id()).unwrap()).unwrap();
        drop(process);
        assert!(kill_process(pid, Signal::CONT).is_err());
    }
}

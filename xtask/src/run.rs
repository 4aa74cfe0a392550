//! Running cargo and keeping what it prints.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// The workspace's root.
pub(crate) fn root() -> PathBuf {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    here.parent().map_or(here.clone(), PathBuf::from)
}

/// `cargo` with `args`, in the workspace's root.
pub(crate) fn cargo(args: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root()).args(args);
    // What cargo tells this program of itself would make some build scripts, and all above them, run anew.
    for name in std::env::vars_os().filter_map(|(name, _)| name.into_string().ok()) {
        if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
            command.env_remove(name);
        }
    }
    command
}

/// Runs to the end with the output passed on; an error names the command.
pub(crate) fn pass(command: &mut Command) -> Result<(), String> {
    let status = command.status().map_err(|e| format!("{command:?} does not start: {e}"))?;
    if status.success() { Ok(()) } else { Err(format!("{command:?} failed: {status}")) }
}

/// Runs to the end; the standard output is passed on and returned.
pub(crate) fn tee(command: &mut Command) -> Result<String, String> {
    let mut child =
        command.stdout(Stdio::piped()).spawn().map_err(|e| format!("{command:?} does not start: {e}"))?;
    let mut kept = String::new();
    if let Some(out) = child.stdout.take() {
        for line in BufReader::new(out).lines() {
            let line = line.map_err(|e| format!("{command:?}: its output can't be read: {e}"))?;
            let _ = writeln!(std::io::stdout(), "{line}");
            kept.push_str(&line);
            kept.push('\n');
        }
    }
    let status = child.wait().map_err(|e| format!("{command:?}: {e}"))?;
    if status.success() { Ok(kept) } else { Err(format!("{command:?} failed: {status}")) }
}

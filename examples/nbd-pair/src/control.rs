//! An operator's commands, over a Unix socket in the daemon's directory.
//!
//! One line asks, `ok` or `error` in the first line of the answer says how it went.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream as StdStream;
use std::sync::Arc;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};

use crate::config::Pair;
use crate::daemon::Daemon;
use posthaste_blockrepl::Protocol;

/// The longest command.
const LINE_MAX: u64 = 256;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Status,
    Promote { peer_is_down: bool, accept_loss: bool, new: bool },
    Demote { not_in_sync: bool },
    Alone { peer_is_down: bool },
    DiscardPeer,
    Verify,
    Resize { mib: u64, shrink: bool },
    Attach,
    Redundancy(usize),
    Ranges { snapshot: u64 },
    Pause,
    Resume,
    Protocol(Protocol),
    Scrub,
    Snapshots,
    DropSnapshots,
    Metrics,
}

impl Command {
    fn encode(self) -> String {
        let words = |name: &str, flags: &[(bool, &str)]| {
            let set = flags.iter().filter(|(on, _)| *on).map(|(_, flag)| format!(" {flag}"));
            name.to_owned() + &set.collect::<String>()
        };
        match self {
            Command::Status => words("status", &[]),
            Command::Promote { peer_is_down, accept_loss, new } => words(
                "promote",
                &[(peer_is_down, "peer-is-down"), (accept_loss, "accept-loss"), (new, "new")],
            ),
            Command::Demote { not_in_sync } => words("demote", &[(not_in_sync, "not-in-sync")]),
            Command::Alone { peer_is_down } => words("alone", &[(peer_is_down, "peer-is-down")]),
            Command::DiscardPeer => words("discard-peer", &[]),
            Command::Verify => words("verify", &[]),
            Command::Resize { mib, shrink } => words(&format!("resize {mib}"), &[(shrink, "shrink")]),
            Command::Attach => words("attach", &[]),
            Command::Redundancy(copies) => format!("redundancy {copies}"),
            Command::Ranges { snapshot } => format!("ranges {snapshot}"),
            Command::Pause => words("pause", &[]),
            Command::Resume => words("resume", &[]),
            Command::Protocol(protocol) => format!("protocol {protocol:?}"),
            Command::Scrub => words("scrub", &[]),
            Command::Snapshots => words("snapshots", &[]),
            Command::DropSnapshots => words("drop-snapshots", &[]),
            Command::Metrics => words("metrics", &[]),
        }
    }

    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split_whitespace();
        let name = words.next()?;
        let flags: Vec<&str> = words.collect();
        let has = |flag: &str| flags.contains(&flag);
        let command = match name {
            "status" => Command::Status,
            "promote" => Command::Promote {
                peer_is_down: has("peer-is-down"),
                accept_loss: has("accept-loss"),
                new: has("new"),
            },
            "demote" => Command::Demote { not_in_sync: has("not-in-sync") },
            "alone" => Command::Alone { peer_is_down: has("peer-is-down") },
            "discard-peer" => Command::DiscardPeer,
            "verify" => Command::Verify,
            "resize" => Command::Resize { mib: flags.first()?.parse().ok()?, shrink: has("shrink") },
            "attach" => Command::Attach,
            "redundancy" => Command::Redundancy(flags.first()?.parse().ok()?),
            "ranges" => Command::Ranges { snapshot: flags.first()?.parse().ok()? },
            "pause" => Command::Pause,
            "resume" => Command::Resume,
            "protocol" => Command::Protocol(parse_protocol(flags.first()?).ok()?),
            "scrub" => Command::Scrub,
            "snapshots" => Command::Snapshots,
            "drop-snapshots" => Command::DropSnapshots,
            "metrics" => Command::Metrics,
            _ => return None,
        };
        // A flag that is not known here must not be passed over: it may have been a condition.
        (command.encode().split_whitespace().count() == flags.len() + 1).then_some(command)
    }
}

/// One of the three letters.
pub(crate) fn parse_protocol(letter: &str) -> Result<Protocol, String> {
    match letter.to_ascii_uppercase().as_str() {
        "A" => Ok(Protocol::A),
        "B" => Ok(Protocol::B),
        "C" => Ok(Protocol::C),
        _ => Err("A, B or C".into()),
    }
}

/// Asks this machine's daemon.
pub(crate) fn ask(pair: &Pair, command: Command) -> Result<String, String> {
    let path = pair.me.control();
    let mut io =
        StdStream::connect(&path).map_err(|e| format!("no daemon answers at {}: {e}", path.display()))?;
    let mut answer = String::new();
    writeln!(io, "{}", command.encode())
        .and_then(|()| io.read_to_string(&mut answer))
        .map_err(|e| format!("the daemon went away: {e}"))?;
    match answer.split_once('\n') {
        Some(("ok", text)) => Ok(text.to_owned()),
        Some(("error", text)) => Err(text.trim_end().to_owned()),
        _ => Err("the daemon went away without an answer".into()),
    }
}

/// Takes commands until the process ends.
pub(crate) async fn serve(daemon: Arc<Daemon>, listener: UnixListener) {
    loop {
        match listener.accept().await {
            Ok((io, _)) => drop(tokio::spawn(answer(daemon.clone(), io))),
            Err(_) => tokio::time::sleep(std::time::Duration::from_millis(100)).await,
        }
    }
}

async fn answer(daemon: Arc<Daemon>, io: UnixStream) {
    let (read, mut write) = io.into_split();
    let mut line = String::new();
    if BufReader::new(read.take(LINE_MAX)).read_line(&mut line).await.is_err() {
        return;
    }
    let result = match Command::parse(&line) {
        Some(command) => daemon.command(command).await,
        None => Err("a command that this version does not know".into()),
    };
    let text = match result {
        Ok(text) => format!("ok\n{text}"),
        Err(why) => format!("error\n{why}\n"),
    };
    // Who asked may have gone.
    drop(write.write_all(text.as_bytes()).await);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_come_out_as_they_went_in_and_unknown_flags_are_refused() {
        for command in [
            Command::Status,
            Command::Promote { peer_is_down: true, accept_loss: false, new: true },
            Command::Demote { not_in_sync: true },
            Command::Verify,
            Command::Alone { peer_is_down: true },
            Command::Metrics,
            Command::Resize { mib: 4096, shrink: false },
            Command::Resize { mib: 2048, shrink: true },
            Command::Attach,
            Command::Redundancy(1),
            Command::Ranges { snapshot: 3 },
            Command::Pause,
            Command::Resume,
            Command::Protocol(Protocol::B),
        ] {
            assert_eq!(Command::parse(&command.encode()), Some(command));
        }
        assert_eq!(Command::parse("promote peer-is-down only-if-idle"), None);
        assert_eq!(Command::parse("reboot"), None);
        assert_eq!(Command::parse("resize"), None);
        assert_eq!(Command::parse("resize 4096 now"), None);
        assert_eq!(Command::parse("protocol D"), None);
        assert_eq!(Command::parse(""), None);
    }
}

//! Programs of the operator, run on events, and asked before a leader goes on without its peer.
//!
//! Those for events run one after the other, in the order of the events, beside the daemon: nothing waits for them.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use posthaste_blockrepl::core::{Event, Finding, Wrong};
use serde::Deserialize;
use tokio::process::{Child, Command};
use tokio::sync::{Mutex, mpsc};
use tokio::time::timeout;

use crate::config::Pair;

/// Events that wait for the programs of earlier ones; more are told in the log only.
const QUEUE: usize = 256;
/// What was killed is waited for so long: in its disk, or a share that is away, it may hang for ever.
const KILLED_WAIT: Duration = Duration::from_secs(5);

/// The table `[handlers]`: for each event a program and its arguments.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Table {
    /// Each program is ended after so long.
    #[serde(default = "minute")]
    timeout_seconds: u64,
    /// For all that have none of their own.
    any: Option<Vec<String>>,
    /// Asked before a leader goes on without the other machine: only its exit status 0 lets it.
    fence_peer: Option<Vec<String>>,
    split_brain: Option<Vec<String>>,
    diverged: Option<Vec<String>>,
    disk_failed: Option<Vec<String>>,
    peer_disk_failed: Option<Vec<String>>,
    fenced: Option<Vec<String>>,
    peer_lost: Option<Vec<String>>,
    out_of_sync: Option<Vec<String>>,
    resync_started: Option<Vec<String>>,
    in_sync: Option<Vec<String>>,
    damaged: Option<Vec<String>>,
    unreadable: Option<Vec<String>>,
    inconsistent: Option<Vec<String>>,
    consistent: Option<Vec<String>>,
    snapshot_kept: Option<Vec<String>>,
    snapshot_failed: Option<Vec<String>>,
}

impl Default for Table {
    fn default() -> Self {
        toml::from_str("").expect("no field is required")
    }
}

fn minute() -> u64 {
    60
}

/// What happened, as a program is told it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Told {
    name: &'static str,
    /// Environment variables besides those that all have.
    more: Vec<(&'static str, String)>,
}

/// Runs the programs.
#[derive(Clone, Debug)]
pub(crate) struct Handlers {
    table: Arc<Table>,
    /// What each program finds in its environment.
    common: Arc<BTreeMap<&'static str, String>>,
    events: mpsc::Sender<Told>,
    /// Held while the other machine is being fenced: one program at a time.
    fencing: Arc<Mutex<()>>,
}

impl Table {
    pub(crate) fn check(&self) -> Result<(), String> {
        if self.timeout_seconds == 0 {
            return Err("handlers: timeout_seconds is 0".into());
        }
        let all = EVENTS.iter().map(|(name, _)| *name).chain(["any", "fence_peer"]);
        match all.filter_map(|name| self.own(name).map(|argv| (name, argv))).find(|(_, argv)| argv.is_empty())
        {
            Some((name, _)) => Err(format!("handlers: {name} names no program")),
            None => Ok(()),
        }
    }

    fn own(&self, event: &str) -> Option<&Vec<String>> {
        match event {
            "any" => self.any.as_ref(),
            "fence_peer" => self.fence_peer.as_ref(),
            _ => EVENTS.iter().find(|(name, _)| *name == event).and_then(|(_, of)| of(self)),
        }
    }

    fn of(&self, event: &str) -> Option<&Vec<String>> {
        self.own(event).or(self.any.as_ref())
    }
}

type Field = fn(&Table) -> Option<&Vec<String>>;

const EVENTS: &[(&str, Field)] = &[
    ("split_brain", |t| t.split_brain.as_ref()),
    ("diverged", |t| t.diverged.as_ref()),
    ("disk_failed", |t| t.disk_failed.as_ref()),
    ("peer_disk_failed", |t| t.peer_disk_failed.as_ref()),
    ("fenced", |t| t.fenced.as_ref()),
    ("peer_lost", |t| t.peer_lost.as_ref()),
    ("out_of_sync", |t| t.out_of_sync.as_ref()),
    ("resync_started", |t| t.resync_started.as_ref()),
    ("in_sync", |t| t.in_sync.as_ref()),
    ("damaged", |t| t.damaged.as_ref()),
    ("unreadable", |t| t.unreadable.as_ref()),
    ("inconsistent", |t| t.inconsistent.as_ref()),
    ("consistent", |t| t.consistent.as_ref()),
    ("snapshot_kept", |t| t.snapshot_kept.as_ref()),
    ("snapshot_failed", |t| t.snapshot_failed.as_ref()),
];

impl Told {
    fn new(name: &'static str) -> Self {
        Told { name, more: Vec::new() }
    }

    fn with(mut self, variable: &'static str, value: impl ToString) -> Self {
        self.more.push((variable, value.to_string()));
        self
    }

    fn of(event: &Event) -> Option<Self> {
        Some(match event {
            Event::SplitBrain(split) => {
                let bytes = |b: Option<u64>| b.map_or(String::new(), |b| b.to_string());
                Told::new("split_brain")
                    .with("NBD_PAIR_VERDICT", format!("{:?}", split.verdict))
                    .with("NBD_PAIR_OUR_BYTES", bytes(split.ours.changed_bytes))
                    .with("NBD_PAIR_THEIR_BYTES", bytes(split.theirs.changed_bytes))
            }
            Event::Diverged { .. } => Told::new("diverged"),
            Event::DiskFailed { reason } => Told::new("disk_failed").with("NBD_PAIR_REASON", reason),
            Event::LeaderFailed { .. } => Told::new("peer_disk_failed"),
            Event::Fenced { held, current } => {
                Told::new("fenced").with("NBD_PAIR_HELD", held).with("NBD_PAIR_EPOCH", current)
            }
            Event::PeerLost { in_sync, .. } => Told::new("peer_lost").with("NBD_PAIR_IN_SYNC", in_sync),
            Event::ResyncStarted { bytes, full, .. } => {
                Told::new("resync_started").with("NBD_PAIR_BYTES", bytes).with("NBD_PAIR_FULL", full)
            }
            Event::PeerSynced { .. } => Told::new("in_sync"),
            Event::Damaged(finding) => damaged(finding),
            Event::Unreadable { offset, len, reason, .. } => Told::new("unreadable")
                .with("NBD_PAIR_OFFSET", offset)
                .with("NBD_PAIR_LENGTH", len)
                .with("NBD_PAIR_REASON", reason),
            Event::Inconsistent => Told::new("inconsistent"),
            Event::Consistent { generation } => {
                Told::new("consistent").with("NBD_PAIR_GENERATION", generation)
            }
            Event::SnapshotKept { id, bytes, .. } => {
                Told::new("snapshot_kept").with("NBD_PAIR_SNAPSHOT", id).with("NBD_PAIR_BYTES", bytes)
            }
            Event::SnapshotFailed { reason } => Told::new("snapshot_failed").with("NBD_PAIR_REASON", reason),
            _ => return None,
        })
    }
}

fn damaged(finding: &Finding) -> Told {
    let wrong = match finding.wrong {
        Wrong::Copy => "copy",
        Wrong::Both => "both",
        _ => "unknown",
    };
    Told::new("damaged")
        .with("NBD_PAIR_COPY", finding.node.0)
        .with("NBD_PAIR_OFFSET", finding.offset)
        .with("NBD_PAIR_LENGTH", finding.len)
        .with("NBD_PAIR_WRONG", wrong)
        .with("NBD_PAIR_HEALED", finding.healed)
}

impl Handlers {
    /// And what runs those of events, until the last of them is dropped.
    pub(crate) fn new(pair: &Pair) -> (Self, impl Future<Output = ()> + use<>) {
        let common = BTreeMap::from([
            ("NBD_PAIR_EXPORT", pair.export.clone()),
            ("NBD_PAIR_VOLUME", pair.name()),
            ("NBD_PAIR_NODE", pair.me.id.0.to_string()),
            ("NBD_PAIR_DIR", pair.me.dir.display().to_string()),
            ("NBD_PAIR_PEER", pair.peer.id.0.to_string()),
            ("NBD_PAIR_PEER_ADDRESS", pair.peer.replication[0].ip().to_string()),
        ]);
        let (events, mut queue) = mpsc::channel::<Told>(QUEUE);
        let handlers = Handlers {
            table: Arc::new(pair.handlers.clone()),
            common: Arc::new(common),
            events,
            fencing: Arc::default(),
        };
        // The queue ends with the daemon's own handle.
        let (table, common) = (handlers.table.clone(), handlers.common.clone());
        let work = async move {
            while let Some(told) = queue.recv().await {
                if let Some(argv) = table.of(told.name)
                    && let Err(why) = run(argv, &told, &common, table.timeout_seconds).await
                {
                    eprintln!("nbd-pair: {why}");
                }
            }
        };
        (handlers, work)
    }

    /// Tells the operator's program, some time.
    pub(crate) fn event(&self, event: &Event) {
        if let Some(told) = Told::of(event) {
            self.tell(told);
        }
    }

    /// The leader goes on without the other machine's copy.
    pub(crate) fn out_of_sync(&self) {
        self.tell(Told::new("out_of_sync"));
    }

    fn tell(&self, told: Told) {
        if self.table.of(told.name).is_some()
            && let Err(mpsc::error::TrySendError::Full(told)) = self.events.try_send(told)
        {
            eprintln!("nbd-pair: too many handlers wait: none is run for {}", told.name);
        }
    }

    /// Whether the operator's program has a say in whether the other machine may be left out.
    pub(crate) fn fences(&self) -> bool {
        self.table.fence_peer.is_some()
    }

    /// Asks it to see to it that the other machine does not lead. Without such a program the answer is yes. Dropped, it ends the
    /// program.
    pub(crate) async fn fence_peer(self) -> Result<(), String> {
        let _alone = self.fencing.lock().await;
        match &self.table.fence_peer {
            None => Ok(()),
            Some(argv) => run(argv, &Told::new("fence_peer"), &self.common, self.table.timeout_seconds).await,
        }
    }
}

/// A program with all that it started. Dropped before it has ended, they are killed.
struct Group(Child);

impl Group {
    fn kill(&self) {
        // None when it has ended.
        let group = self.0.id().and_then(|id| rustix::process::Pid::from_raw(id as i32));
        if let Some(group) = group {
            // They may all have ended just now.
            rustix::process::kill_process_group(group, rustix::process::Signal::KILL).unwrap_or_default();
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Runs a program to its end; how that was goes into the log.
async fn run(
    argv: &[String],
    told: &Told,
    common: &BTreeMap<&'static str, String>,
    seconds: u64,
) -> Result<(), String> {
    let Some((program, arguments)) = argv.split_first() else { return Ok(()) };
    let named = |why: String| format!("handler {program} for {}: {why}", told.name);
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).process_group(0).kill_on_drop(true);
    command.envs(common).env("NBD_PAIR_EVENT", told.name).envs(told.more.iter().cloned());
    let mut group = Group(command.spawn().map_err(|e| named(e.to_string()))?);
    match timeout(Duration::from_secs(seconds), group.0.wait()).await {
        Ok(Ok(status)) if status.success() => {
            eprintln!("nbd-pair: {}", named("done".into()));
            Ok(())
        }
        Ok(Ok(status)) => Err(named(status.to_string())),
        Ok(Err(why)) => Err(named(why.to_string())),
        Err(_) => {
            group.kill();
            Err(named(match timeout(KILLED_WAIT, group.0.wait()).await {
                Ok(_) => format!("not done after {seconds} s, ended"),
                Err(_) => format!("not done after {seconds} s, killed, and it hangs in the kernel"),
            }))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use posthaste_blockrepl::{DeviceId, NodeId};
    use std::path::Path;

    fn handlers(dir: &Path, table: &str) -> (Handlers, impl Future<Output = ()>) {
        let text = crate::config::fresh(8, ["192.0.2.1", "192.0.2.2"]).unwrap();
        let mut pair = Pair::parse(&text, 1).unwrap();
        let table = table.replace("DIR", &dir.display().to_string());
        pair.handlers = toml::from_str(&table).unwrap();
        pair.handlers.check().unwrap();
        Handlers::new(&pair)
    }

    fn script(dir: &Path, name: &str, body: &str) {
        use std::os::unix::fs::PermissionsExt;
        let path = dir.join(name);
        std::fs::write(&path, format!("#!/bin/sh\ncd {}\n{body}\n", dir.display())).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    }

    fn lost() -> Event {
        Event::PeerLost { peer: NodeId(2), device: DeviceId([2; 16]), in_sync: true }
    }

    #[tokio::test]
    async fn events_run_their_programs_in_their_order_with_what_is_to_be_known_in_the_environment() {
        let dir = tempfile::tempdir().unwrap();
        script(
            dir.path(),
            "tell",
            "echo $1 $NBD_PAIR_EVENT $NBD_PAIR_NODE $NBD_PAIR_PEER $NBD_PAIR_PEER_ADDRESS $NBD_PAIR_EXPORT \
             $NBD_PAIR_IN_SYNC $NBD_PAIR_OFFSET $NBD_PAIR_HEALED $NBD_PAIR_REASON >>told",
        );
        let (handlers, work) =
            handlers(dir.path(), "any = [\"DIR/tell\", \"any\"]\ndamaged = [\"DIR/tell\", \"bad\"]");
        handlers.event(&lost());
        let finding = Finding { node: NodeId(2), offset: 4096, len: 4096, wrong: Wrong::Copy, healed: true };
        handlers.event(&Event::Damaged(finding));
        handlers.event(&Event::DiskFailed { reason: "on fire".into() });
        handlers.event(&Event::UndoLost { reason: "the undo area was too small" });
        handlers.out_of_sync();
        drop(handlers);
        work.await;
        let told = std::fs::read_to_string(dir.path().join("told")).unwrap();
        let each = "1 2 192.0.2.2 disk0";
        assert_eq!(
            told,
            format!(
                "any peer_lost {each} true\nbad damaged {each} 4096 true\nany disk_failed {each} on fire\nany out_of_sync {each}\n"
            )
        );
    }

    #[tokio::test]
    async fn a_program_that_hangs_is_ended_with_all_it_started_and_the_next_one_runs() {
        let dir = tempfile::tempdir().unwrap();
        script(dir.path(), "hang", "sleep 1000 & echo $! >child; wait");
        script(dir.path(), "next", "echo next >next-ran");
        let (handlers, work) = handlers(
            dir.path(),
            "timeout_seconds = 1\npeer_lost = [\"DIR/hang\"]\nin_sync = [\"/no/such/program\"]\nfenced = [\"DIR/next\"]",
        );
        handlers.event(&lost());
        handlers.event(&Event::PeerSynced { peer: NodeId(2), device: DeviceId([2; 16]) });
        handlers.event(&Event::Fenced { held: 1, current: 2 });
        drop(handlers);
        work.await;
        assert!(dir.path().join("next-ran").exists());
        let child = std::fs::read_to_string(dir.path().join("child")).unwrap();
        let state = std::fs::read_to_string(format!("/proc/{}/stat", child.trim())).unwrap_or_default();
        assert!(state.is_empty() || state.contains(" Z "), "{state}");
    }

    #[tokio::test]
    async fn the_other_machine_is_left_out_only_after_exit_status_0() {
        let dir = tempfile::tempdir().unwrap();
        script(dir.path(), "fence", "echo $NBD_PAIR_PEER >asked; exit $(cat status)");
        let (handlers, _work) = handlers(dir.path(), "fence_peer = [\"DIR/fence\"]");
        assert!(handlers.fences());
        std::fs::write(dir.path().join("status"), "5").unwrap();
        let refused = handlers.clone().fence_peer().await.unwrap_err();
        assert!(refused.contains("fence_peer: exit status: 5"), "{refused}");
        std::fs::write(dir.path().join("status"), "0").unwrap();
        handlers.clone().fence_peer().await.unwrap();
        assert_eq!(std::fs::read_to_string(dir.path().join("asked")).unwrap(), "2\n");
    }

    #[tokio::test]
    async fn one_program_fences_at_a_time_and_it_ends_with_its_reason_and_all_it_started() {
        let dir = tempfile::tempdir().unwrap();
        script(
            dir.path(),
            "fence",
            "mkdir busy || touch two-at-once; echo >>runs; [ -e quick ] || { sleep 1000 & echo $! >child; wait; }; rmdir busy",
        );
        let (handlers, _work) = handlers(dir.path(), "fence_peer = [\"DIR/fence\"]");
        let first = tokio::spawn(handlers.clone().fence_peer());
        let child = async {
            loop {
                match std::fs::read_to_string(dir.path().join("child")) {
                    Ok(id) if id.ends_with('\n') => return id,
                    _ => tokio::time::sleep(Duration::from_millis(5)).await,
                }
            }
        };
        let child = timeout(Duration::from_secs(20), child).await.unwrap();
        // The second one waits, for as long as the first has a reason.
        let mut second = std::pin::pin!(handlers.clone().fence_peer());
        assert!(timeout(Duration::from_millis(50), &mut second).await.is_err());
        std::fs::write(dir.path().join("quick"), "").unwrap();
        first.abort();
        assert!(first.await.unwrap_err().is_cancelled());
        let ended = async {
            loop {
                let state =
                    std::fs::read_to_string(format!("/proc/{}/stat", child.trim())).unwrap_or_default();
                if state.is_empty() || state.contains(" Z ") {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(Duration::from_secs(20), ended).await.expect("it outlives its reason");
        std::fs::remove_dir(dir.path().join("busy")).unwrap();
        second.await.unwrap();
        assert_eq!(std::fs::read_to_string(dir.path().join("runs")).unwrap(), "\n\n");
        assert!(!dir.path().join("two-at-once").exists());
    }

    #[test]
    fn a_table_that_cannot_work_is_refused() {
        let check =
            |text: &str| toml::from_str::<Table>(text).map_err(|e| e.to_string()).and_then(|t| t.check());
        assert!(check("split_brain = [\"/bin/true\"]").is_ok());
        assert!(check("split_brain = []").is_err());
        assert!(check("timeout_seconds = 0").is_err());
        assert!(check("on_fire = [\"/bin/true\"]").is_err());
    }
}

//! Resyncs of several pairs on the same disks of this machine, one after the other.
//!
//! Each daemon has a ticket in a directory that they share: a file named by its place in the order, locked while
//! a resync is under way or waits, with a number in it that changes while it moves. The kernel unlocks the file
//! of a daemon that dies, and one that does not move is in nobody's way: nothing has to be tidied up.

use std::fs::{File, TryLockError};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::PoisonError;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use posthaste_blockrepl::core::{LinkStatus, RoleStatus, Status};
use posthaste_blockrepl::{ResyncOrder, Turn};
use serde::Deserialize;
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};

use crate::daemon::Daemon;

const LOOK_EVERY: Duration = Duration::from_millis(200);
/// A look at the directory takes no longer, or there is no order meanwhile.
const LOOK_WAIT: Duration = Duration::from_secs(5);
/// A resync that has not moved for so long is in nobody's way.
const PATIENCE: Duration = Duration::from_secs(10);

/// The table `[resync_group]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Group {
    /// The directory that all pairs of the group share, on each machine; best on a tmpfs.
    dir: PathBuf,
    /// Lower ones go first; of equal ones the names decide.
    #[serde(default)]
    order: u32,
    #[serde(default = "one")]
    at_once: usize,
}

fn one() -> usize {
    1
}

/// The place in the order, and the name.
type Key = (u32, String);

/// This daemon's view of its group.
struct Queue {
    group: Group,
    me: Key,
    node: u64,
    ticket: Option<File>,
    order: ResyncOrder<Key>,
    began: Instant,
}

impl Queue {
    fn new(group: Group, name: String, node: u64) -> Self {
        let (me, at_once) = ((group.order, name), group.at_once);
        let order = ResyncOrder::new(at_once, PATIENCE);
        Queue { group, me, node, ticket: None, order, began: Instant::now() }
    }

    fn path(&self) -> PathBuf {
        self.group.dir.join(format!("{:010}-{}-{}", self.me.0, self.me.1, self.node))
    }

    /// How the resync here stands is told, and how the others do is heard.
    fn look(&mut self, place: Option<u64>) -> io::Result<Turn<Key>> {
        let now = self.began.elapsed();
        self.order.saw(now, self.me.clone(), place);
        match place {
            Some(place) => self.show(place)?,
            None => {
                // The name goes before the lock does.
                if let Some(ticket) = self.ticket.take() {
                    drop(std::fs::remove_file(self.path()));
                    drop(ticket);
                }
                return Ok(Turn::Idle);
            }
        }
        let others = self.others()?;
        self.order.keep(now, |key| *key == self.me || others.iter().any(|(other, _)| other == key));
        for (other, place) in others {
            self.order.saw(now, other, Some(place));
        }
        Ok(self.order.turn(&self.me))
    }

    fn show(&mut self, place: u64) -> io::Result<()> {
        if self.ticket.is_none() {
            std::fs::create_dir_all(&self.group.dir)?;
            let file = File::options().create(true).truncate(false).write(true).open(self.path())?;
            match file.try_lock() {
                Ok(()) => self.ticket = Some(file),
                // Somebody looks whether it is locked: the next time, then.
                Err(TryLockError::WouldBlock) => return Ok(()),
                Err(TryLockError::Error(why)) => return Err(why),
            }
        }
        match &self.ticket {
            Some(ticket) => ticket.write_all_at(&place.to_le_bytes(), 0),
            None => Ok(()),
        }
    }

    /// The other volumes' tickets that are held.
    fn others(&self) -> io::Result<Vec<(Key, u64)>> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(&self.group.dir)? {
            let entry = entry?;
            let Some(key) = entry.file_name().to_str().and_then(parse).filter(|key| key.1 != self.me.1)
            else {
                continue;
            };
            // It may have gone just now.
            let Ok(file) = File::open(entry.path()) else { continue };
            if matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)) {
                let mut place = [0; 8];
                let read = file.read_exact_at(&mut place, 0);
                found.push((key, read.map_or(0, |()| u64::from_le_bytes(place))));
            }
        }
        Ok(found)
    }
}

/// The key in a ticket's name.
fn parse(name: &str) -> Option<Key> {
    let (order, rest) = name.split_once('-')?;
    let (name, _node) = rest.rsplit_once('-')?;
    Some((order.parse().ok()?, name.to_owned()))
}

/// A number that changes while a resync from or into this machine moves; `None` when there is none that could.
fn place(status: &Status, peer: LinkStatus, left: u64, copied: u64) -> Option<u64> {
    match (status.role, peer) {
        (RoleStatus::Leader, LinkStatus::Syncing) => Some(left),
        (_, LinkStatus::Leader) if !status.consistent => Some(copied),
        _ => None,
    }
}

impl Daemon {
    /// Holds the resync from here while others go first.
    pub(crate) async fn keep_order(&self) {
        let Some(group) = self.pair.resync_group.clone() else { return std::future::pending().await };
        let mut queue = Queue::new(group, self.pair.name(), self.pair.me.id.0);
        let mut said = String::new();
        // Until it is its turn.
        self.hold(true);
        loop {
            let place = self.resync_place();
            let mut looking = spawn_blocking(move || {
                let turn = queue.look(place);
                (queue, turn)
            });
            let looked = match timeout(LOOK_WAIT, &mut looking).await {
                Ok(looked) => looked,
                Err(_) => {
                    eprintln!(
                        "nbd-pair: the resync group: its directory does not answer: resyncs go on without it"
                    );
                    self.wait_for(None, false);
                    looking.await
                }
            };
            let Ok((back, turn)) = looked else { return std::future::pending().await };
            queue = back;
            // Without the directory there is no order, and that is better than no resync.
            let (waits_for, why) = match turn {
                Ok(Turn::Waits((_, name))) => (Some(name), String::new()),
                Ok(Turn::Goes | Turn::Idle) => (None, String::new()),
                Err(why) => (None, format!("the resync group: {why}")),
            };
            if !why.is_empty() && why != said {
                eprintln!("nbd-pair: {why}");
            }
            said = why;
            let held = waits_for.is_some() || place.is_none();
            self.wait_for(waits_for, held);
            sleep(LOOK_EVERY).await;
        }
    }

    fn resync_place(&self) -> Option<u64> {
        let volume = self.volume();
        let status = volume.status();
        let peer = self.peer(&status)?;
        // One that the operator holds lets the others go.
        let paused = self.paused.load(Relaxed) && status.role == RoleStatus::Leader;
        let copied = volume.metrics().resync_received.bytes;
        place(&status, peer.link, peer.dirty_bytes, copied).filter(|_| !paused)
    }

    fn wait_for(&self, other: Option<String>, held: bool) {
        self.hold(held);
        *self.waits_for.lock().unwrap_or_else(PoisonError::into_inner) = other;
    }

    /// Whether the order lets a resync from here wait.
    fn hold(&self, held: bool) {
        if self.held.swap(held, Relaxed) != held {
            self.apply_pause();
        }
    }

    /// Whether the operator does.
    pub(crate) fn pause(&self, paused: bool) {
        self.paused.store(paused, Relaxed);
        self.apply_pause();
    }

    /// To the volume as it is now.
    pub(crate) fn apply_pause(&self) {
        // Whoever applies last has seen what all have said.
        let _one = self.pausing.lock().unwrap_or_else(PoisonError::into_inner);
        let (volume, peer) = (self.volume(), self.pair.peer.id);
        match self.paused.load(Relaxed) || self.held.load(Relaxed) {
            true => volume.pause_resync(peer),
            false => volume.resume_resync(peer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(dir: &std::path::Path, order: u32, name: &str) -> Queue {
        Queue::new(Group { dir: dir.join("group"), order, at_once: 1 }, name.into(), 1)
    }

    fn waits(order: u32, name: &str) -> Turn<Key> {
        Turn::Waits((order, name.into()))
    }

    #[test]
    fn one_goes_after_the_other_and_nobody_waits_for_a_daemon_that_died() {
        let dir = tempfile::tempdir().unwrap();
        let [mut first, mut second, mut third] =
            [(1, "mail"), (2, "spool"), (2, "web")].map(|(order, name)| queue(dir.path(), order, name));
        assert_eq!(second.look(Some(7)).unwrap(), Turn::Goes, "it is alone");
        assert_eq!(first.look(Some(9)).unwrap(), Turn::Goes, "it comes later, and goes first");
        assert_eq!(second.look(Some(7)).unwrap(), waits(1, "mail"));
        assert_eq!(third.look(Some(5)).unwrap(), waits(1, "mail"));
        // The operator holds it, or it is done.
        assert_eq!(first.look(None).unwrap(), Turn::Idle);
        assert_eq!(third.look(Some(5)).unwrap(), waits(2, "spool"));
        assert_eq!(second.look(Some(6)).unwrap(), Turn::Goes);
        // A daemon that dies leaves its file, and the kernel takes the lock.
        drop(second);
        assert_eq!(third.look(Some(5)).unwrap(), Turn::Goes);
        assert!(std::fs::read_dir(dir.path().join("group")).unwrap().count() == 2);
    }

    #[test]
    fn the_other_machine_of_the_same_volume_and_strange_files_are_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let mut here = queue(dir.path(), 1, "mail");
        let mut there = Queue { node: 2, ..queue(dir.path(), 1, "mail") };
        assert_eq!(there.look(Some(1)).unwrap(), Turn::Goes);
        for name in ["x", "1-2", "one-disk-1", "0000000001-empty-1"] {
            std::fs::write(dir.path().join("group").join(name), b"").unwrap();
        }
        assert_eq!(here.look(Some(1)).unwrap(), Turn::Goes);
    }

    #[test]
    fn without_its_directory_the_error_is_told() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("group"), b"a file").unwrap();
        assert!(queue(dir.path(), 1, "mail").look(Some(1)).is_err());
    }
}

//! A volume that this node leads: its store, guarded by lease and epoch.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use posthaste_heartbeat::{Epoch, VolumeId};
use posthaste_mail_server::store::{MailStore, MailboxName, Op, Reply, StoreError, User};
use tokio::sync::{RwLock as Gate, Semaphore, watch};

use super::volumes::drop_aside;

/// How long a poll waits for a change before it answers with the old count.
const POLL: Duration = Duration::from_secs(5);
/// Operations of one volume at once; others wait. Each may hold a thread, and a disk that hangs holds them all:
/// other volumes and the rest of the node need theirs.
const RUNNING_MAX: usize = 128;
/// Mailboxes with a change counter; when there are more, those that nobody waits for are dropped.
const WATCHED_MAX: usize = 10_000;

/// Says whether this node still may answer for a volume: its lease holds and the epoch is its own.
pub(crate) type Guard = Arc<dyn Fn() -> bool + Send + Sync>;

/// One leadership of one volume. Dropped when it ends; operations in progress then fail.
pub(crate) struct Led {
    volume: VolumeId,
    epoch: Epoch,
    /// There until it is dropped.
    store: Option<Arc<dyn MailStore>>,
    guard: Guard,
    changes: Mutex<Counters>,
    /// Each operation holds it shared; who ends the leadership takes it alone, and keeps it.
    gate: Arc<Gate<()>>,
    running: Semaphore,
    /// Set when nobody waits any more for what still runs.
    abandoned: watch::Sender<bool>,
}

impl Drop for Led {
    fn drop(&mut self) {
        drop_aside(self.store.take());
    }
}

/// Change counts of mailboxes: one number space, so that a forgotten counter can't repeat a value.
struct Counters {
    last: u64,
    mailboxes: HashMap<(User, MailboxName), watch::Sender<u64>>,
}

impl std::fmt::Debug for Led {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Led")
            .field("volume", &self.volume)
            .field("epoch", &self.epoch)
            .finish_non_exhaustive()
    }
}

impl Led {
    /// Begins a leadership over an opened store.
    pub(crate) fn new(volume: VolumeId, epoch: Epoch, store: Arc<dyn MailStore>, guard: Guard) -> Self {
        // A count that an earlier leader gave must not be met again by chance.
        let changes = Mutex::new(Counters { last: epoch.0 << 32 | 1, mailboxes: HashMap::new() });
        let (running, abandoned) = (Semaphore::new(RUNNING_MAX), watch::Sender::new(false));
        Self { volume, epoch, store: Some(store), guard, changes, gate: Arc::default(), running, abandoned }
    }

    /// The leadership's epoch.
    pub(crate) fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Does an operation. The guard is checked after the reply is built (R3).
    pub(crate) async fn call(&self, user: &User, op: Op) -> Result<Reply, StoreError> {
        let Ok(_running) = self.gate.try_read() else { return Err(self.over()) };
        self.check()?;
        let touched = touched(user, &op);
        let mut abandoned = self.abandoned.subscribe();
        let result = tokio::select! {
            result = self.run(user, op) => result,
            _ = abandoned.wait_for(|over| *over) => Err(self.over()),
        };
        if result.is_ok() {
            self.announce(touched);
        }
        self.check()?;
        result
    }

    async fn run(&self, user: &User, op: Op) -> Result<Reply, StoreError> {
        let (Some(store), Ok(_running)) = (&self.store, self.running.acquire().await) else {
            return Err(self.over());
        };
        store.call(user, op).await
    }

    /// Ends the wait of those whose operations still run: whether they were done is not known.
    pub(crate) fn abandon(&self) {
        self.abandoned.send_replace(true);
    }

    /// Waits until the mailbox's change count differs from `seen`, for some seconds.
    pub(crate) async fn poll(&self, user: &User, name: &MailboxName, seen: u64) -> Result<u64, StoreError> {
        self.check()?;
        let mut count = self.counter(user, name);
        if seen != 0 {
            let waited = tokio::time::timeout(POLL, count.wait_for(|now| *now != seen)).await;
            if let Ok(Err(_)) = waited {
                return Err(self.over());
            }
        }
        self.check()?;
        let now = *count.borrow();
        Ok(now)
    }

    fn check(&self) -> Result<(), StoreError> {
        if (self.guard)() {
            return Ok(());
        }
        Err(self.over())
    }

    fn over(&self) -> StoreError {
        StoreError::Unavailable(format!("this node no longer leads {} (epoch {})", self.volume, self.epoch))
    }

    /// Ends the polls that wait: their watchers go to the next leader.
    fn end_polls(&self) {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner).mailboxes.clear();
    }

    /// Lets no operation begin from here on, and returns when those that run have ended.
    pub(crate) async fn quiesce(&self) {
        // Kept for ever: a leadership that has ended does not begin again.
        std::mem::forget(Arc::clone(&self.gate).write_owned().await);
    }

    fn counter(&self, user: &User, name: &MailboxName) -> watch::Receiver<u64> {
        let mut changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        if changes.mailboxes.len() >= WATCHED_MAX {
            changes.mailboxes.retain(|_, count| count.receiver_count() > 0);
        }
        let last = changes.last;
        changes
            .mailboxes
            .entry((user.clone(), name.clone()))
            .or_insert_with(|| watch::channel(last).0)
            .subscribe()
    }

    fn announce(&self, touched: Vec<(User, MailboxName)>) {
        if touched.is_empty() {
            return;
        }
        let mut changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        changes.last += 1;
        let last = changes.last;
        for key in touched {
            if let Some(count) = changes.mailboxes.get(&key) {
                count.send_replace(last);
            }
        }
    }
}

/// The mailboxes that an operation changes.
fn touched(user: &User, op: &Op) -> Vec<(User, MailboxName)> {
    let own = |names: &[&MailboxName]| names.iter().map(|name| (user.clone(), (*name).clone())).collect();
    match op {
        Op::Deliver { to, .. } => to.iter().map(|r| (r.user.clone(), MailboxName::inbox())).collect(),
        Op::Store { name, .. } | Op::Append { name, .. } | Op::Expunge { name, .. } => own(&[name]),
        Op::Copy { to, .. } => own(&[to]),
        Op::Delete { name, .. } => own(&[name]),
        Op::Rename { from, to } => own(&[from, to]),
        _ => Vec::new(),
    }
}

/// The volumes that this node leads now.
#[derive(Debug, Clone, Default)]
pub(crate) struct LedVolumes(Arc<RwLock<HashMap<VolumeId, Arc<Led>>>>);

impl LedVolumes {
    /// The leadership of `volume`, if this node has it.
    pub(crate) fn find(&self, volume: &VolumeId) -> Option<Arc<Led>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(volume).cloned()
    }

    /// Begins a leadership.
    pub(crate) fn begin(&self, led: Led) {
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        all.insert(led.volume.clone(), Arc::new(led));
    }

    /// Ends a leadership: no operation begins from here on.
    pub(crate) fn end(&self, volume: &VolumeId) -> Option<Arc<Led>> {
        let led = self.0.write().unwrap_or_else(PoisonError::into_inner).remove(volume)?;
        led.end_polls();
        Some(led)
    }
}

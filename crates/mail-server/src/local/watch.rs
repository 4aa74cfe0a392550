//! Who waits for changes of which mailbox.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::mpsc::{self, Sender, error::TrySendError};

use crate::store::{MailboxName, User, Watch};

type Key = (User, MailboxName);

#[derive(Debug, Default)]
pub(super) struct Watchers {
    table: Mutex<HashMap<Key, Vec<Sender<()>>>>,
}

impl Watchers {
    /// `poll`: give a hint this often in any case.
    pub(super) fn watch(&self, user: &User, name: &MailboxName, poll: Option<Duration>) -> Watch {
        // One hint that waits says all: "look again".
        let (sender, receiver) = mpsc::channel(1);
        if let Some(every) = poll {
            tokio::spawn(hint_now_and_then(sender.clone(), every));
        }
        let mut table = self.lock();
        let senders = table.entry((user.clone(), name.clone())).or_default();
        senders.retain(|sender| !sender.is_closed());
        senders.push(sender);
        receiver
    }

    pub(super) fn tell(&self, user: &User, name: &MailboxName) {
        let mut table = self.lock();
        let key = (user.clone(), name.clone());
        let Some(senders) = table.get_mut(&key) else { return };
        senders.retain(|sender| !matches!(sender.try_send(()), Err(TrySendError::Closed(()))));
        if senders.is_empty() {
            table.remove(&key);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Vec<Sender<()>>>> {
        self.table.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

async fn hint_now_and_then(sender: Sender<()>, every: Duration) {
    loop {
        tokio::select! {
            () = sender.closed() => return,
            () = tokio::time::sleep(every) => {}
        }
        let _ = sender.try_send(());
    }
}

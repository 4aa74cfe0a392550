//! One connection of a member after the other.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedRwLockReadGuard, RwLock};

use crate::config::NodeId;

/// Which connection of each member has its turn: the one that asked for it last.
///
/// Whoever opens another connection has given up what it sent on the one before, and may send it
/// again. So what the old one has begun is ended before the new one begins, and nothing of it
/// begins later (R12: an ended session's late operations are refused).
#[derive(Debug, Default)]
pub struct Turns(Mutex<HashMap<NodeId, Arc<RwLock<()>>>>);

/// One connection's turn. Each request in work holds it shared; the next turn takes it for ever.
#[derive(Debug)]
pub(super) struct Turn(Arc<RwLock<()>>);

impl Turns {
    /// Ends the turn of the connection before; returns when nothing of it, or of an earlier one,
    /// is in work.
    pub(super) async fn take(&self, from: NodeId) -> io::Result<Turn> {
        let gate = Arc::new(RwLock::new(()));
        let own = Arc::clone(&gate).read_owned().await;
        let before = {
            let mut newest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            newest.insert(from, Arc::clone(&gate))
        };
        // As a task of its own, since this connection may break meanwhile: the next one, which
        // waits for `own`, must then wait all the same.
        let waited = tokio::spawn(async move {
            if let Some(before) = before {
                // Kept for ever: a turn that is over does not come back.
                std::mem::forget(before.write_owned().await);
            }
            drop(own);
        });
        waited.await.map_err(io::Error::other)?;
        Ok(Turn(gate))
    }
}

impl Turn {
    /// A request begins; what is returned is held until it has ended.
    pub(super) fn enter(&self) -> io::Result<OwnedRwLockReadGuard<()>> {
        let over =
            |_| io::Error::new(io::ErrorKind::ConnectionReset, "a newer connection has taken its turn");
        Arc::clone(&self.0).try_read_owned().map_err(over)
    }
}

//! The quorum as its users see it: propose, read, watch.

use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::NodeId;
use crate::agent::Outcome;
use crate::state::{Command, Refused, State};

/// A proposal that is in the log for good.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// Where in the log.
    pub index: u64,
    /// What `apply` said.
    pub outcome: Result<(), Refused>,
}

/// Why a proposal has no known outcome, or a read no answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[non_exhaustive]
pub enum ProposeError {
    /// Nobody leads, or the leader is out of reach. The command is not in the log and will not be.
    #[error("the quorum has no reachable leader (last known: {0:?})")]
    NoLeader(Option<NodeId>),
    /// Too few voters answer. The command is not in the log and will not be.
    #[error("no quorum: {0}")]
    NoQuorum(String),
    /// No answer in time. **The command may commit, or have committed.**
    #[error("no answer within {0} ms; the command may or may not commit")]
    Timeout(u64),
    /// This member's own store has failed; it takes no part any more.
    #[error("the quorum's store has failed: {0}")]
    Stopped(String),
}

impl ProposeError {
    /// Whether the command may nevertheless commit.
    pub fn is_unknown(&self) -> bool {
        matches!(self, Self::Timeout(_) | Self::Stopped(_))
    }
}

/// What a proposer's agent is told.
impl From<Result<Applied, ProposeError>> for Outcome {
    fn from(result: Result<Applied, ProposeError>) -> Self {
        match result {
            Ok(Applied { index, outcome }) => Self::Settled { index, result: outcome },
            Err(e) if e.is_unknown() => Self::Unknown,
            Err(_) => Self::NotProposed,
        }
    }
}

/// The newest state known at a member.
#[derive(Debug, Clone, Default)]
pub struct Committed {
    /// The index of the last log entry in it; 0 before the first.
    pub index: u64,
    /// The state.
    pub state: Arc<State>,
}

/// Agreement on one [`State`]. Implementations: `raft`, and the simulator's seeded model.
#[async_trait]
pub trait Consensus: Send + Sync + 'static {
    /// Commits a command, or says why not. A command that `apply` refuses is committed all the same; its
    /// outcome says so.
    async fn propose(&self, command: Command) -> Result<Applied, ProposeError>;

    /// The state with all that had been committed when this was called.
    async fn read_linearizable(&self) -> Result<Committed, ProposeError>;

    /// The newest state known here; may lag behind.
    fn watch(&self) -> watch::Receiver<Committed>;
}

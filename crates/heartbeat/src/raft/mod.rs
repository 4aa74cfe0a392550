//! [`Consensus`](crate::consensus::Consensus) on openraft, with its own durable log.
//!
//! [`Store::format`] makes a voter's store once; [`Store::open`] opens it at each start; [`RaftNode::start`] runs
//! the voter; the embedding program carries bytes between voters through [`RaftTransport`] and
//! passes what arrives to [`RaftNode::handle_rpc`]. A voter that cannot reach another one directly goes
//! through a third, one hop.

mod file;
mod journal;
mod node;
mod peers;
mod store;
#[cfg(test)]
mod tests;

use std::io::Cursor;

use serde::{Deserialize, Serialize};

pub use file::{LogFile, OsFile};
pub use journal::{StoreError, StoreIdentity};
pub use node::{RaftConfig, RaftNode, StartError};
pub use peers::RaftTransport;
pub use store::Store;

use crate::state::{Command, Refused};

openraft::declare_raft_types!(
    /// What openraft is made of here.
    pub(crate) TypeConfig:
        D = Command,
        R = Response,
        NodeId = u64,
        Node = (),
        SnapshotData = Cursor<Vec<u8>>,
);

/// What `apply` said; nothing for entries that are no commands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Response(pub(crate) Option<Result<(), Refused>>);

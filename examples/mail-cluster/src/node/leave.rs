//! The end at SIGTERM: everything moves to the others first, and comes home after the restart.
//!
//! A node that leaves drains itself. So that this does not outlive the restart, as an operator's
//! `posthaste drain` does, it leaves a mark in its data directory.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use posthaste_heartbeat::NodeId;
use posthaste_heartbeat::agent::Input;
use posthaste_heartbeat::state::{Command, State};
use posthaste_mail_server::store::Op;

use super::quorum::Quorum;
use super::route::RoutedStore;
use super::services::Counters;
use super::spool;
use crate::config::{Config, Role};

/// Longest wait for the drain before the node ends all the same.
const LEAVE: Duration = Duration::from_secs(10);
/// How often open sessions are counted.
const LOOK: Duration = Duration::from_millis(10);
/// Pause between two tries to end an earlier drain.
const AGAIN: Duration = Duration::from_millis(200);

/// Moves everything to the others, if there are others, before the process ends.
pub(crate) async fn leave(config: &Config, quorum: &Quorum, store: &RoutedStore, sessions: &Counters) {
    if config.node.role == Role::Witness {
        return;
    }
    let node = config.node.id;
    if !is_drained(&store.state(), node)
        && let Err(error) = set_mark(&config.node.data_dir)
    {
        tracing::warn!(%error, "cannot note that this drain ends with the restart: `posthaste drain --undo` ends it");
    }
    quorum.agent.tell(Input::Drain { node, on: true });
    match tokio::time::timeout(LEAVE, gone(node, quorum, store, sessions)).await {
        Ok(()) => tracing::info!("everything has moved; ending"),
        Err(_) => tracing::warn!("nobody took everything over in time; ending all the same"),
    }
}

/// Returns when others serve all that this node had, and its sessions have ended. Until the next
/// leaders have opened their volumes, they need this node's copies.
async fn gone(node: NodeId, quorum: &Quorum, store: &RoutedStore, sessions: &Counters) {
    let mut state = quorum.consensus.watch();
    let _ = state.wait_for(|committed| has_nothing(&committed.state, node)).await;
    for volume in store.state().volumes.keys() {
        // Answered by a leader that serves, whatever the answer.
        let _ = store.on_volume(volume, &spool::user(volume), Op::List).await;
    }
    while sessions.report().iter().any(|service| service.open > 0) {
        tokio::time::sleep(LOOK).await;
    }
}

fn is_drained(state: &State, node: NodeId) -> bool {
    state.members.get(&node).is_some_and(|m| m.drained)
}

fn has_nothing(state: &State, node: NodeId) -> bool {
    let leads = state.volumes.values().any(|v| v.leader == Some(node));
    let has = state.addresses.values().any(|a| a.owner == Some(node));
    !leads && !has && state.members.get(&node).is_none_or(|m| m.drained)
}

/// Ends the drain of an earlier [`leave`], if there was one; until the quorum has agreed.
pub(crate) async fn come_back(config: &Config, quorum: &Quorum) {
    if !mark(&config.node.data_dir).exists() {
        return;
    }
    let node = config.node.id;
    let mut state = quorum.consensus.watch();
    if state.wait_for(|committed| committed.state.is_initialised()).await.is_err() {
        return;
    }
    while let Err(error) = quorum.consensus.propose(Command::Drain { node, on: false }).await {
        tracing::debug!(%error, "the drain at the last end is not over yet");
        tokio::time::sleep(AGAIN).await;
    }
    match fs::remove_file(mark(&config.node.data_dir)) {
        Ok(()) => tracing::info!("the drain at the last end is over"),
        Err(error) => tracing::warn!(%error, "cannot remove the mark of the last end"),
    }
}

fn mark(data_dir: &Path) -> PathBuf {
    data_dir.join("leaving")
}

/// Durable before the drain is: a mark without a drain does nothing.
fn set_mark(data_dir: &Path) -> io::Result<()> {
    File::create(mark(data_dir))?.sync_all()?;
    File::open(data_dir)?.sync_all()
}

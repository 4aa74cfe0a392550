//! R1: a leader comes only from the in-sync set, by node and device.

use std::collections::BTreeSet;

use posthaste_heartbeat::state::{Command, State};
use posthaste_heartbeat::{DeviceId, NodeId};

use super::Verdict;

/// Each committed leader is in sync, with the device that it is known to have.
pub fn committed(state: &State) -> Verdict {
    for (name, v) in &state.volumes {
        if let Some(leader) = v.leader.filter(|l| !v.has_in_sync(*l)) {
            return Err(format!("{name} is led by {leader}, in sync are {:?}", v.in_sync));
        }
    }
    Ok(())
}

/// A leader that opens is in the set it was given, with the device that it has.
pub fn opens(me: NodeId, device: DeviceId, in_sync: &BTreeSet<(NodeId, DeviceId)>) -> Verdict {
    match in_sync.contains(&(me, device)) {
        true => Ok(()),
        false => Err(format!("{me} opens device {device}, in sync are {in_sync:?}")),
    }
}

/// A new leader was in sync before, and begins alone, unless the earlier one handed over in order.
pub fn elected(before: &State, after: &State, command: Option<&Command>) -> Verdict {
    let in_order = matches!(command, Some(Command::MoveVolume { clean: true, .. }));
    for (name, v) in &after.volumes {
        let old = before.volumes.get(name).filter(|old| old.epoch != v.epoch);
        let (Some(old), Some(leader)) = (old, v.leader) else { continue };
        if !old.in_sync.is_superset(&v.in_sync) || !in_order && v.in_sync.len() > 1 {
            return Err(format!(
                "{leader} takes {name} with {:?}, in sync were {:?}",
                v.in_sync, old.in_sync
            ));
        }
    }
    Ok(())
}

/// The copies of one history never part (nobody can override the quorum here).
pub fn diverged(node: usize, volume: usize, peer: u64) -> Verdict {
    Err(format!("node {node} finds the copy of vol{volume} on member {peer} diverged"))
}

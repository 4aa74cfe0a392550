//! R1: a leader comes only from the in-sync set, by node and device.

use std::collections::BTreeSet;

use posthaste_heartbeat::state::State;
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

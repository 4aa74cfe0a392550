//! Epochs, revisions and the membership epoch only grow.

use posthaste_heartbeat::state::State;

use super::Verdict;

/// Compares two successive committed states.
pub fn grows(before: &State, after: &State) -> Verdict {
    if after.membership_epoch < before.membership_epoch || after.generation < before.generation {
        return Err(format!(
            "the membership went back: {} to {}",
            before.membership_epoch, after.membership_epoch
        ));
    }
    for (name, v) in &after.volumes {
        let Some(old) = before.volumes.get(name) else { continue };
        if v.epoch < old.epoch || v.revision < old.revision {
            return Err(format!("{name} went back: {:?} to {:?}", old.at(), v.at()));
        }
        if v.leader != old.leader && v.epoch == old.epoch {
            return Err(format!("{name} changed its leader within epoch {}", v.epoch));
        }
    }
    for (ip, a) in &after.addresses {
        let old = before.addresses.get(ip);
        if old.is_some_and(|o| o.owner != a.owner && o.revision >= a.revision) {
            return Err(format!("{ip} changed its owner within revision {}", a.revision));
        }
    }
    Ok(())
}

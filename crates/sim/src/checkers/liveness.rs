//! Once the faults have ended: everything at home, in sync and serving, within a bounded time.

use super::Verdict;

/// What is still missing, in words; an empty list is a cluster that has recovered.
pub fn recovered(missing: &[String], after_s: u64) -> Verdict {
    match missing {
        [] => Ok(()),
        _ => Err(format!("{after_s} s after the last fault ended: {}", missing.join("; "))),
    }
}

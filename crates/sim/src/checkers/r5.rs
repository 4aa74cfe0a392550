//! R5: at no true time do two nodes with a valid lease answer for one thing.

use super::Verdict;

/// `servers` have the thing open, or the address, and a lease that holds on their own clock.
pub fn exclusive(what: &str, servers: &[usize]) -> Verdict {
    match servers {
        [] | [_] => Ok(()),
        all => Err(format!("{what} is served by nodes {all:?} at once")),
    }
}

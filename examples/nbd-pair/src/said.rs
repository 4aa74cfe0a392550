//! The log of what others cause: once each, however often it happens.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What was said is not said again for so long.
const QUIET: Duration = Duration::from_secs(60);
/// Different things said in that time.
const DIFFERENT_MAX: usize = 32;

/// What was said lately.
#[derive(Debug, Default)]
pub(crate) struct Said(Mutex<HashMap<String, Instant>>);

impl Said {
    pub(crate) fn say(&self, what: String) {
        if self.is_new(&what, Instant::now()) {
            eprintln!("nbd-pair: {what}");
        }
    }

    fn is_new(&self, what: &str, now: Instant) -> bool {
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        said.retain(|_, at| now.duration_since(*at) < QUIET);
        if said.len() >= DIFFERENT_MAX || said.contains_key(what) {
            return false;
        }
        said.insert(what.to_owned(), now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_said_once_a_minute_and_no_more_than_so_many() {
        let (said, now) = (Said::default(), Instant::now());
        assert!(said.is_new("one", now) && !said.is_new("one", now + QUIET / 2));
        let new = |n: usize| said.is_new(&format!("{n}"), now + QUIET / 2);
        assert_eq!((0..100).filter(|n| new(*n)).count(), DIFFERENT_MAX - 1);
        assert!(said.is_new("one", now + QUIET));
    }
}

//! M8: no writes while fewer copies are in sync than were asked for.

use super::*;
use crate::config::LowRedundancy;

impl Replica {
    /// Asks for so many in-sync copies from now on, in place of `Config::min_redundancy`: what an operator lowers to go on
    /// with fewer.
    pub fn set_min_redundancy(&mut self, now: Duration, copies: usize) {
        self.now = self.now.max(now);
        self.config.min_redundancy = copies;
        self.advance();
    }

    /// How many copies there are and must be, when there are too few.
    fn too_few(&self) -> Option<(usize, usize)> {
        let need = self.config.min_redundancy;
        let have = self.leading()?.grant.in_sync.len();
        (have < need).then_some((have, need))
    }

    pub(super) fn is_redundant(&self) -> bool {
        self.too_few().is_none()
    }

    pub(super) fn redundancy_waits(&self) -> Option<Waiting> {
        self.too_few().map(|(have, need)| Waiting::Redundancy { have, need })
    }

    /// By policy, the owner's writes and flushes fail instead of waiting. What other writers forwarded keeps its place.
    pub(super) fn fail_for_redundancy(&mut self) {
        if self.config.low_redundancy == LowRedundancy::Suspend {
            return;
        }
        let Some((have, need)) = self.too_few() else { return };
        let mut requests: Vec<RequestId> = Vec::new();
        self.queue.retain(|q| match q {
            Queued::Local { request, .. } => {
                requests.push(*request);
                false
            }
            _ => true,
        });
        self.flushes.retain(|f| match f.by {
            Asker::Owner(request) => {
                requests.push(request);
                false
            }
            Asker::Writer { .. } => true,
        });
        if !requests.is_empty() {
            self.queued_bytes = self.queue.iter().map(Queued::len).sum();
        }
        for request in requests {
            self.done(request, Err(Denied::Redundancy { have, need }));
        }
    }
}

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

    /// By policy, writes and flushes fail instead of waiting, the owner's and those of other writers.
    pub(super) fn fail_for_redundancy(&mut self) {
        if self.config.low_redundancy == LowRedundancy::Suspend {
            return;
        }
        let Some((have, need)) = self.too_few() else { return };
        let mut askers: Vec<Asker> = self.flushes.drain(..).map(|f| f.by).collect();
        let queue = std::mem::take(&mut self.queue);
        for entry in queue {
            match entry {
                Queued::Local { request, .. } => askers.push(Asker::Owner(request)),
                Queued::Forward { link, id, ref data, .. } => {
                    self.writers.taken(link, data.len());
                    askers.push(Asker::Writer { link, id });
                }
                other => self.queue.push_back(other),
            }
        }
        if !askers.is_empty() {
            self.queued_bytes = self.queue.iter().map(Queued::len).sum();
        }
        for asker in askers {
            self.answer(asker, Err(Denied::Redundancy { have, need }));
        }
    }
}

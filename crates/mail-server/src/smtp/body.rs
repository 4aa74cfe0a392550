//! The message while it comes: bounded by the size limit and by the node's memory for messages.

use bytes::Bytes;
use posthaste_smtp_proto::Reply;

use crate::server::{Budget, Reserved};

/// Memory is taken in steps of at least this many octets.
const STEP: usize = 32 * 1024;

/// Why a message is not kept; what is left of it is read and dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    TooLarge,
    NoMemory,
}

impl Failure {
    pub(super) fn reply(self) -> Reply {
        match self {
            Failure::TooLarge => Reply::new(552, (3, 4), "message larger than the limit"),
            Failure::NoMemory => Reply::new(452, (3, 1), "no memory for this message now, try later"),
        }
    }
}

/// Collects one message behind its trace header.
pub(super) struct Collector {
    text: Vec<u8>,
    held: Reserved,
    budget: Budget,
    /// Octets of the message, the trace header not counted, also those that were dropped.
    size: u64,
    limit: u64,
    failure: Option<Failure>,
}

impl Collector {
    pub(super) fn new(header: Vec<u8>, limit: u64, budget: Budget) -> Self {
        let mut collector =
            Self { text: Vec::new(), held: Reserved::default(), budget, size: 0, limit, failure: None };
        if let Some(text) = collector.room(header.len()) {
            text.extend_from_slice(&header);
        }
        collector
    }

    /// Adds a piece, or drops it once the message has failed.
    pub(super) fn push(&mut self, piece: &[u8]) {
        self.count(piece.len());
        if let Some(text) = self.room(piece.len()) {
            text.extend_from_slice(piece);
        }
    }

    /// Where to append the next octets of the message, at most so many, unless it has failed. Tell [`Collector::count`].
    pub(super) fn room(&mut self, octets: usize) -> Option<&mut Vec<u8>> {
        self.reserve(octets);
        self.failure.is_none().then_some(&mut self.text)
    }

    /// So many octets of the message came.
    pub(super) fn count(&mut self, octets: usize) {
        self.size = self.size.saturating_add(octets as u64);
        if self.size > self.limit {
            self.fail(Failure::TooLarge);
        }
    }

    /// A chunk of so many octets is announced: if it can't fit, nothing of it is kept.
    pub(super) fn expect(&mut self, octets: u64) {
        if self.size.saturating_add(octets) > self.limit {
            self.fail(Failure::TooLarge);
        }
    }

    /// Octets of the message so far.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    pub(super) fn failure(&self) -> Option<Failure> {
        self.failure
    }

    /// The message with its header. The memory stays reserved until the second value is dropped.
    pub(super) fn finish(self) -> Result<(Bytes, Reserved), Failure> {
        match self.failure {
            Some(failure) => Err(failure),
            None => Ok((Bytes::from(self.text), self.held)),
        }
    }

    fn reserve(&mut self, octets: usize) {
        let missing = (self.text.len() + octets).saturating_sub(self.text.capacity());
        if missing > 0 && self.failure.is_none() {
            let more = missing.max(self.text.capacity() / 2).max(STEP);
            if !self.budget.take(&mut self.held, more) {
                return self.fail(Failure::NoMemory);
            }
            // Exactly: what is reserved is what the budget was asked for.
            self.text.reserve_exact(self.text.capacity() - self.text.len() + more);
        }
    }

    fn fail(&mut self, failure: Failure) {
        self.failure.get_or_insert(failure);
        self.text = Vec::new();
        self.held = Reserved::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_kept_whole_behind_its_header() {
        let mut collector = Collector::new(b"H: x\r\n".to_vec(), 100_000, Budget::new(1 << 20));
        let piece = [b'y'; 1000];
        (0..100).for_each(|_| collector.push(&piece));
        assert_eq!(collector.size(), 100_000);
        let (text, _held) = collector.finish().unwrap();
        assert_eq!(text.len(), 100_006);
        assert!(text.starts_with(b"H: x\r\nyyy"));
    }

    #[test]
    fn one_octet_over_the_limit_is_too_large() {
        let mut collector = Collector::new(Vec::new(), 10, Budget::new(1 << 20));
        collector.push(&[0; 11]);
        assert_eq!(collector.finish().unwrap_err(), Failure::TooLarge);
        let mut collector = Collector::new(Vec::new(), 10, Budget::new(1 << 20));
        collector.expect(11);
        assert_eq!(collector.failure(), Some(Failure::TooLarge));
    }

    #[test]
    fn memory_is_taken_as_octets_come_and_given_back() {
        let budget = Budget::new(64 * 1024);
        let mut first = Collector::new(b"h".to_vec(), 1 << 30, budget.clone());
        let mut second = Collector::new(b"h".to_vec(), 1 << 30, budget.clone());
        first.push(&[0; 20_000]);
        second.push(&[0; 40_000]);
        assert_eq!(second.failure(), Some(Failure::NoMemory));
        second.push(&[0; 100]);
        let (_, held) = first.finish().unwrap();
        let mut third = Collector::new(b"h".to_vec(), 1 << 30, budget.clone());
        third.push(&[0; 40_000]);
        assert_eq!(third.failure(), Some(Failure::NoMemory), "the first message still holds its memory");
        drop((held, third));
        let mut fourth = Collector::new(b"h".to_vec(), 1 << 30, budget);
        fourth.push(&[0; 40_000]);
        assert_eq!(fourth.failure(), None);
    }
}

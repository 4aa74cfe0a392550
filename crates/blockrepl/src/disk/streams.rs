//! Finds what is written in long runs among all writes.
//!
//! The page cache keeps writes back until a flush, which then waits while the disk does all of them. A long run is not
//! written again soon: the disk may as well begin with it while the rest of it still comes.

use std::ops::Range;

/// What is handed to the disk at once, in bytes. A quarter of it and four times as much measured alike.
const PIECE: u64 = 4 << 20;
/// Pieces that are being filled at once: several streams, or one whose writes overtake each other.
const OPEN: usize = 8;

/// Counts the bytes written to each of the last few pieces.
#[derive(Debug, Default)]
pub(super) struct Streams {
    open: [Piece; OPEN],
    /// The one to be replaced next.
    oldest: usize,
}

#[derive(Clone, Copy, Debug, Default)]
struct Piece {
    number: u64,
    bytes: u64,
}

impl Streams {
    /// Notes a write. Gives the range of the pieces that are full by it, which are forgotten.
    pub(super) fn note(&mut self, offset: u64, len: u64) -> Option<Range<u64>> {
        let end = offset.saturating_add(len);
        let mut full: Option<Range<u64>> = None;
        for number in offset / PIECE..end.div_ceil(PIECE) {
            let start = number * PIECE;
            let here = end.min(start.saturating_add(PIECE)) - offset.max(start);
            if self.fill(number, here) {
                full = Some(full.map_or(start, |f| f.start)..start + PIECE);
            }
        }
        full
    }

    fn fill(&mut self, number: u64, bytes: u64) -> bool {
        let found = self.open.iter().position(|p| p.bytes > 0 && p.number == number);
        let at = found.unwrap_or_else(|| {
            let at = self.oldest;
            self.oldest = (at + 1) % OPEN;
            self.open[at] = Piece { number, bytes: 0 };
            at
        });
        let piece = &mut self.open[at];
        piece.bytes += bytes;
        let full = piece.bytes >= PIECE;
        if full {
            piece.bytes = 0;
        }
        full
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    /// Where the full ranges begin and end, in pieces.
    fn full(writes: impl IntoIterator<Item = (u64, u64)>) -> Vec<(u64, u64)> {
        let mut streams = Streams::default();
        let full = writes.into_iter().filter_map(|(offset, len)| streams.note(offset, len));
        full.map(|range| (range.start / PIECE, range.end / PIECE)).collect()
    }

    #[test]
    fn each_piece_of_a_run_is_given_once_when_it_is_full() {
        let run = (0..9).map(|i| (4096 + i * MIB, MIB));
        // Of the first piece a page was written by nobody.
        assert_eq!(full(run), [(1, 2)]);
    }

    #[test]
    fn writes_of_a_run_may_overtake_each_other_and_be_of_any_length() {
        assert_eq!(full([1, 0, 3, 2].map(|i| (i * MIB, MIB))), [(0, 1)]);
        assert_eq!(full([(0, 3 * PIECE)]), [(0, 3)]);
        assert_eq!(full((0..1024).map(|i| (i * 4096, 4096))), [(0, 1)]);
    }

    #[test]
    fn scattered_writes_are_left_to_the_page_cache() {
        assert_eq!(full((0..10_000).map(|i| (i * 7919 % 1024 * PIECE, 4096))), []);
    }
}

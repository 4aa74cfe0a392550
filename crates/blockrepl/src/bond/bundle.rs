//! One stream over several paths, without I/O and without a clock.
//!
//! Each side sends on one path at a time, and takes what comes on any. What the other side has not said to have is kept;
//! when the path changes, sending begins again behind what it has. So what comes on a path never leaves a gap behind what
//! came before, and no order need be restored: what is there already is passed over.
//!
//! Time is counted in ticks, at each of which every path sends something. A path on which nothing came for some ticks is
//! dead. A process that was stopped for a while has counted no ticks.

use std::collections::VecDeque;

use bytes::{Buf, Bytes};

use super::segment::{Kind, Malformed, Segment};
use super::{PathEvent, PathLoss};

/// Bytes that arrive before it is said, at the latest.
const SAY_EVERY: u64 = 256 << 10;
/// A path that was lost while it carried the stream must last longer each time before it is preferred again, up to this
/// many times as long.
const DISTRUST_MAX: u32 = 32;

/// Limits, the times in ticks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) silence: u32,
    pub(super) settle: u32,
    pub(super) give_up: u32,
    pub(super) window: u64,
}

/// Why the stream is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Over {
    /// No path came up again in time.
    NoPath,
    /// The other side broke the rules.
    Malformed,
    /// The other side does not know the session any more.
    Forgotten,
    /// Another one took its place.
    Replaced,
    /// Dropped on this side.
    Closed,
}

/// What is counted of one path.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Strand {
    pub(super) up: bool,
    /// Something came since the last tick.
    heard: bool,
    /// Ticks in a row without.
    silent: u32,
    /// Something was sent since the last tick.
    said: bool,
    /// The other side must hear something.
    owes: bool,
    /// Ticks since it came up.
    age: u32,
    /// How many times as long as others it must last until it is preferred.
    distrust: u32,
    /// The offset of what is sent next on it.
    next: u64,
    end_sent: bool,
    /// Bytes of the stream sent on it.
    pub(super) sent: u64,
    /// New bytes of the stream that came on it.
    pub(super) received: u64,
    pub(super) losses: u64,
}

/// One side of a stream over several paths.
#[derive(Debug)]
pub(super) struct Bundle {
    limits: Limits,
    pub(super) strands: Vec<Strand>,
    active: Option<usize>,
    /// What the other side may not have: pieces with their offsets.
    kept: VecDeque<(u64, Bytes)>,
    /// The other side has all before.
    acked: u64,
    /// The length of our stream so far.
    end: u64,
    ending: bool,
    /// We have all before of the other side's stream.
    received: u64,
    /// As last said.
    told: u64,
    /// Where the other side's stream ends.
    ends_at: Option<u64>,
    /// Ticks without any path.
    alone: u32,
    pub(super) over: Option<Over>,
    pub(super) moves: u64,
    pub(super) resent: u64,
    events: VecDeque<PathEvent>,
}

impl Bundle {
    pub(super) fn new(paths: usize, limits: Limits) -> Self {
        Bundle {
            limits,
            strands: vec![Strand { distrust: 1, ..Strand::default() }; paths],
            active: None,
            kept: VecDeque::new(),
            acked: 0,
            end: 0,
            ending: false,
            received: 0,
            told: 0,
            ends_at: None,
            alone: 0,
            over: None,
            moves: 0,
            resent: 0,
            events: VecDeque::new(),
        }
    }

    pub(super) fn poll_event(&mut self) -> Option<PathEvent> {
        self.events.pop_front()
    }

    /// The path on which we send.
    pub(super) fn active(&self) -> Option<usize> {
        self.active
    }

    // ---- paths ----

    pub(super) fn up(&mut self, rank: usize) {
        if self.strands[rank].up {
            self.down(rank, PathLoss::Replaced);
        }
        let strand = &mut self.strands[rank];
        (strand.up, strand.heard, strand.silent, strand.age) = (true, false, 0, 0);
        (strand.said, strand.owes) = (false, true);
        self.alone = 0;
        self.events.push_back(PathEvent::Up { rank });
        self.choose();
    }

    pub(super) fn down(&mut self, rank: usize, why: PathLoss) {
        let strand = &mut self.strands[rank];
        if !std::mem::take(&mut strand.up) {
            return;
        }
        strand.losses += 1;
        if self.active == Some(rank) {
            strand.distrust = (strand.distrust * 2).min(DISTRUST_MAX);
            self.active = None;
        }
        self.events.push_back(PathEvent::Down { rank, why });
        self.choose();
    }

    fn choose(&mut self) {
        let up = |(_, s): &(usize, &Strand)| s.up;
        let chosen = match self.active {
            None => self.strands.iter().enumerate().find(up),
            Some(now) => self.strands[..now].iter().enumerate().find(|(_, s)| {
                s.up && s.silent == 0 && s.age >= self.limits.settle.saturating_mul(s.distrust)
            }),
        };
        let Some((rank, _)) = chosen else { return };
        self.active = Some(rank);
        self.moves += 1;
        self.resent += self.strands.iter().map(|s| s.next).max().unwrap_or(0).saturating_sub(self.acked);
        let strand = &mut self.strands[rank];
        (strand.next, strand.end_sent) = (self.acked, false);
        self.events.push_back(PathEvent::Carries { rank });
    }

    /// Time has passed. Without `listening`, nobody reads here: then silence is not the paths' fault.
    pub(super) fn tick(&mut self, listening: bool) {
        for rank in 0..self.strands.len() {
            let (carries, settle) = (self.active == Some(rank), self.limits.settle);
            let strand = &mut self.strands[rank];
            strand.silent = if strand.heard || !listening { 0 } else { strand.silent + 1 };
            strand.heard = false;
            strand.owes |= !std::mem::take(&mut strand.said);
            strand.age = strand.age.saturating_add(1);
            if carries && strand.age > settle.saturating_mul(strand.distrust).saturating_mul(8) {
                strand.distrust = 1;
            }
            if strand.up && strand.silent >= self.limits.silence {
                self.down(rank, PathLoss::Silent);
            }
        }
        self.choose();
        if self.strands.iter().any(|s| s.up) {
            self.alone = 0;
        } else {
            self.alone += 1;
            if self.alone >= self.limits.give_up {
                self.fail(Over::NoPath);
            }
        }
    }

    /// The first reason stays.
    pub(super) fn fail(&mut self, why: Over) {
        self.over.get_or_insert(why);
    }

    // ---- out ----

    /// Bytes that may be written now.
    pub(super) fn room(&self) -> u64 {
        (self.limits.window + self.acked).saturating_sub(self.end)
    }

    pub(super) fn write(&mut self, data: Bytes) {
        let at = self.end;
        self.end += data.len() as u64;
        self.kept.push_back((at, data));
    }

    /// Nothing more is written.
    pub(super) fn end(&mut self) {
        self.ending = true;
    }

    /// All that was written, and the end, was given to a path.
    pub(super) fn is_sent(&self) -> bool {
        let sent = |s: &Strand| s.next.max(self.acked) == self.end && (s.end_sent || !self.ending);
        self.active.is_some_and(|rank| sent(&self.strands[rank]))
    }

    /// What to send next on a path, if anything.
    pub(super) fn next(&mut self, rank: usize) -> Option<(Segment, Bytes)> {
        if !self.strands[rank].up {
            return None;
        }
        let (kind, offset, data) = if self.active == Some(rank)
            && let Some(found) = self.unsent(rank)
        {
            found
        } else if self.strands[rank].owes
            || self.active == Some(rank) && self.received - self.told >= self.say_every()
        {
            (Kind::Alive, 0, Bytes::new())
        } else {
            return None;
        };
        let strand = &mut self.strands[rank];
        (strand.said, strand.owes) = (true, false);
        strand.sent += data.len() as u64;
        self.told = self.received;
        Some((Segment { kind, len: data.len() as u32, offset, received: self.received }, data))
    }

    /// Well within what the other side may have under way.
    fn say_every(&self) -> u64 {
        SAY_EVERY.min(self.limits.window.div_ceil(4))
    }

    fn unsent(&mut self, rank: usize) -> Option<(Kind, u64, Bytes)> {
        let strand = &mut self.strands[rank];
        let at = strand.next.max(self.acked);
        let place = self.kept.partition_point(|(offset, data)| offset + data.len() as u64 <= at);
        if let Some((offset, data)) = self.kept.get(place) {
            let data = data.slice((at - offset) as usize..);
            strand.next = at + data.len() as u64;
            return Some((Kind::Data, at, data));
        }
        let end = self.ending && !std::mem::replace(&mut strand.end_sent, self.ending);
        end.then(|| (Kind::End, self.end, Bytes::new()))
    }

    // ---- in ----

    /// The header of a segment that came on a path.
    pub(super) fn heard(&mut self, rank: usize, segment: &Segment) -> Result<(), Malformed> {
        self.strands[rank].heard = true;
        // Beyond what we sent, or with a gap behind what came before.
        if segment.received > self.end || segment.kind != Kind::Alive && segment.offset > self.received {
            return Err(Malformed);
        }
        if segment.kind == Kind::End {
            if segment.offset != self.received {
                return Err(Malformed);
            }
            self.ends_at = Some(segment.offset);
        }
        if self.ends_at.is_some_and(|end| segment.offset + u64::from(segment.len) > end) {
            return Err(Malformed);
        }
        self.trim(segment.received);
        Ok(())
    }

    fn trim(&mut self, received: u64) {
        self.acked = self.acked.max(received);
        while let Some((offset, data)) = self.kept.front_mut() {
            let gone = self.acked.saturating_sub(*offset) as usize;
            if gone < data.len() {
                data.advance(gone);
                *offset += gone as u64;
                return;
            }
            self.kept.pop_front();
        }
    }

    /// So many bytes at `offset` came on a path, of which those that were not here yet count as received.
    pub(super) fn take(&mut self, rank: usize, offset: u64, len: usize) {
        let new = (offset + len as u64).saturating_sub(self.received);
        self.received += new;
        let strand = &mut self.strands[rank];
        strand.heard = true;
        strand.received += new;
    }

    /// How much of the other side's stream is here.
    pub(super) fn received(&self) -> u64 {
        self.received
    }

    /// The other side's stream is here to its end.
    pub(super) fn is_ended(&self) -> bool {
        self.ends_at == Some(self.received)
    }
}

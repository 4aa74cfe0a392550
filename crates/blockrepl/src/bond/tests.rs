//! Two bundles whose paths break, hang and come back at any moment, each end noticing in its own time.

use std::collections::VecDeque;

use bytes::Bytes;
use proptest::prelude::*;

use super::bundle::{Bundle, Limits, Over};
use super::segment::{Kind, Malformed, Segment};
use super::{BondConfig, PathEvent, PathLoss};

const PATHS: usize = 3;
const LIMITS: Limits = Limits { silence: 4, settle: 6, give_up: 40, window: 5000 };

/// The byte at an offset of either stream.
fn byte(offset: u64) -> u8 {
    (offset % 251) as u8
}

/// What is under way on each path, to each side.
type Wire = [[VecDeque<(Segment, Bytes)>; PATHS]; 2];

struct Pair {
    sides: [Bundle; 2],
    written: [u64; 2],
    wire: Wire,
    /// Swallows all.
    dead: [bool; PATHS],
}

impl Pair {
    fn new() -> Self {
        let sides = [(); 2].map(|()| Bundle::new(PATHS, LIMITS));
        Pair { sides, written: [0; 2], wire: Wire::default(), dead: [false; PATHS] }
    }

    fn connect(&mut self, rank: usize) {
        for side in 0..2 {
            self.wire[side][rank].clear();
            self.sides[side].up(rank);
        }
        self.dead[rank] = false;
    }

    fn write(&mut self, side: usize, len: u64) {
        let len = len.min(self.sides[side].room());
        let at = self.written[side];
        if len > 0 {
            self.sides[side].write((at..at + len).map(byte).collect::<Vec<u8>>().into());
            self.written[side] += len;
        }
    }

    /// Sends up to `most` segments of a side on a path.
    fn send(&mut self, side: usize, rank: usize, most: usize) {
        for _ in 0..most {
            let Some((segment, data)) = self.sides[side].next(rank) else { return };
            assert_eq!(Segment::decode(&segment.encode()), Ok(segment));
            assert!(data.iter().zip(segment.offset..).all(|(found, at)| *found == byte(at)));
            assert_eq!(data.len(), segment.len as usize);
            if !self.dead[rank] {
                self.wire[1 - side][rank].push_back((segment, data));
            }
        }
    }

    /// A segment arrives at a side, its data in two parts.
    fn deliver(&mut self, side: usize, rank: usize) {
        let bundle = &mut self.sides[side];
        if !bundle.strands[rank].up {
            return;
        }
        let Some((segment, data)) = self.wire[side][rank].pop_front() else { return };
        bundle.heard(rank, &segment).expect("no gap, and nothing that was not sent");
        let (mut at, half) = (segment.offset, data.len() / 2);
        for len in [half, data.len() - half].into_iter().filter(|len| *len > 0) {
            bundle.take(rank, at, len);
            at += len as u64;
        }
        assert!(bundle.received() <= self.written[1 - side]);
    }

    fn round(&mut self) {
        for (side, rank) in (0..2).flat_map(|side| (0..PATHS).map(move |rank| (side, rank))) {
            self.send(side, rank, 100);
            while !self.wire[side][rank].is_empty() && self.sides[side].strands[rank].up {
                self.deliver(side, rank);
            }
        }
        self.sides.iter_mut().for_each(|side| side.tick(true));
    }
}

#[derive(Clone, Debug)]
enum Step {
    Write(usize, u64),
    Send(usize, usize),
    Deliver(usize, usize),
    Tick(usize),
    /// One end hears at once that the path broke.
    Break(usize, usize),
    /// Nobody is told.
    Hang(usize),
    Connect(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let (side, rank) = (0..2usize, 0..PATHS);
    prop_oneof![
        6 => (side.clone(), 1..2000u64).prop_map(|(s, n)| Step::Write(s, n)),
        6 => (side.clone(), rank.clone()).prop_map(|(s, r)| Step::Send(s, r)),
        8 => (side.clone(), rank.clone()).prop_map(|(s, r)| Step::Deliver(s, r)),
        4 => side.clone().prop_map(Step::Tick),
        1 => (side, rank.clone()).prop_map(|(s, r)| Step::Break(s, r)),
        1 => rank.clone().prop_map(Step::Hang),
        2 => rank.prop_map(Step::Connect),
    ]
}

proptest! {
    /// Whatever happens to the paths: both streams arrive whole, in order, each byte once, as soon as one path is there.
    #[test]
    fn each_byte_arrives_once_and_in_order_whatever_happens_to_the_paths(steps in proptest::collection::vec(step(), 0..400)) {
        let mut pair = Pair::new();
        for step in steps {
            match step {
                Step::Write(side, len) => pair.write(side, len),
                Step::Send(side, rank) => pair.send(side, rank, 2),
                Step::Deliver(side, rank) => pair.deliver(side, rank),
                Step::Tick(side) => pair.sides[side].tick(true),
                Step::Break(side, rank) => {
                    pair.dead[rank] = true;
                    pair.sides[side].down(rank, PathLoss::Broke(std::io::ErrorKind::ConnectionReset));
                }
                Step::Hang(rank) => pair.dead[rank] = true,
                Step::Connect(rank) => pair.connect(rank),
            }
            for side in &pair.sides {
                let carrying = side.active().is_some_and(|rank| side.strands[rank].up);
                prop_assert_eq!(carrying, side.strands.iter().any(|s| s.up));
            }
        }
        if pair.sides.iter().any(|side| side.over.is_some()) {
            return Ok(());
        }
        pair.connect(1);
        pair.sides.iter_mut().for_each(Bundle::end);
        (0..20).for_each(|_| pair.round());
        for side in 0..2 {
            prop_assert_eq!(pair.sides[side].received(), pair.written[1 - side]);
            prop_assert!(pair.sides[side].is_ended());
            prop_assert!(pair.sides[side].is_sent() && pair.sides[side].room() == LIMITS.window);
        }
    }
}

fn events(side: &mut Bundle) -> Vec<PathEvent> {
    std::iter::from_fn(|| side.poll_event()).collect()
}

#[test]
fn a_silent_path_is_left_and_preferred_again_once_it_has_lasted_longer_each_time() {
    let mut pair = Pair::new();
    pair.connect(0);
    pair.connect(1);
    let mut lasted = Vec::new();
    for _ in 0..3 {
        pair.dead[0] = true;
        (0..=LIMITS.silence).for_each(|_| pair.round());
        assert_eq!(pair.sides[0].active(), Some(1));
        pair.connect(0);
        assert_eq!(pair.sides[0].active(), Some(1), "the spare goes on");
        let rounds = (1..).find(|_| {
            pair.round();
            pair.sides[0].active() == Some(0)
        });
        lasted.push(rounds.unwrap());
    }
    assert_eq!(lasted, [2 * LIMITS.settle, 4 * LIMITS.settle, 8 * LIMITS.settle]);
    let seen = events(&mut pair.sides[0]);
    assert!(seen.contains(&PathEvent::Down { rank: 0, why: PathLoss::Silent }));
    assert_eq!(pair.sides[0].strands[1].losses, 0);
    // It is trusted as before once it has carried the stream for long.
    (0..20 * 8 * LIMITS.settle).for_each(|_| pair.round());
    pair.sides.iter_mut().for_each(|side| side.down(0, PathLoss::Silent));
    pair.connect(0);
    (0..2 * LIMITS.settle).for_each(|_| pair.round());
    assert_eq!(pair.sides[0].active(), Some(0));
}

#[test]
fn silence_does_not_count_while_nobody_reads_and_without_a_path_the_stream_ends_in_time() {
    let mut side = Bundle::new(2, LIMITS);
    side.up(0);
    (0..10 * LIMITS.silence).for_each(|_| side.tick(false));
    assert!(side.strands[0].up);
    (0..LIMITS.silence).for_each(|_| side.tick(true));
    assert!(!side.strands[0].up && side.active().is_none());
    (0..LIMITS.give_up - 2).for_each(|_| side.tick(true));
    assert_eq!(side.over, None);
    side.tick(true);
    assert_eq!(side.over, Some(Over::NoPath));
}

#[test]
fn what_no_bond_sends_is_malformed() {
    let fresh = || {
        let mut side = Bundle::new(1, LIMITS);
        side.up(0);
        side.write(Bytes::from_static(b"twelve bytes"));
        side.heard(0, &Segment { kind: Kind::Data, len: 8, offset: 0, received: 12 }).unwrap();
        side.take(0, 0, 8);
        side
    };
    let segment = |kind, len, offset, received| Segment { kind, len, offset, received };
    for hostile in [
        // More than was sent to it, a gap, an end before or behind what came.
        segment(Kind::Alive, 0, 0, 13),
        segment(Kind::Data, 1, 9, 0),
        segment(Kind::End, 0, 7, 0),
        segment(Kind::End, 0, 9, 0),
    ] {
        assert_eq!(fresh().heard(0, &hostile), Err(Malformed), "{hostile:?}");
    }
    let mut ended = fresh();
    ended.heard(0, &segment(Kind::End, 0, 8, 12)).unwrap();
    assert!(ended.is_ended());
    assert_eq!(ended.heard(0, &segment(Kind::Data, 1, 8, 12)), Err(Malformed));
    // What is old is no crime: it comes after a move.
    fresh().heard(0, &segment(Kind::Data, 4, 0, 3)).unwrap();

    let good = segment(Kind::Data, 5, 7, 9).encode();
    for at in 0..good.len() {
        let mut bad = good;
        bad[at] ^= 1;
        assert_eq!(Segment::decode(&bad), Err(Malformed), "byte {at}");
    }
    for impossible in [
        segment(Kind::Data, 0, 0, 0),
        segment(Kind::Data, (1 << 20) + 1, 0, 0),
        segment(Kind::Data, 2, u64::MAX - 1, 0),
        segment(Kind::Alive, 1, 0, 0),
        segment(Kind::Alive, 0, 1, 0),
        segment(Kind::End, 1, 0, 0),
    ] {
        assert_eq!(Segment::decode(&impossible.encode()), Err(Malformed), "{impossible:?}");
    }
}

#[test]
fn a_window_bounds_what_is_kept_and_opens_as_it_is_acknowledged() {
    let mut pair = Pair::new();
    pair.connect(0);
    pair.write(0, LIMITS.window + 1);
    assert_eq!((pair.written[0], pair.sides[0].room()), (LIMITS.window, 0));
    // There, back, and read: nobody waits for a tick that says so.
    (0..3).for_each(|_| pair.round());
    assert_eq!(pair.sides[0].room(), LIMITS.window);
}

#[test]
fn times_are_whole_ticks_and_never_none() {
    let limits = BondConfig::default().limits();
    assert_eq!((limits.silence, limits.settle, limits.give_up), (5, 20, 15));
    let zero = std::time::Duration::ZERO;
    let odd =
        BondConfig { silence: zero, settle: zero, give_up: zero, keepalive: zero, ..BondConfig::default() };
    assert_eq!((odd.limits().silence, odd.limits().settle, odd.limits().give_up), (2, 1, 1));
}

#[test]
fn a_segment_s_header_is_as_it_is_drawn() {
    let bytes = Segment { kind: Kind::Data, len: 5, offset: 7, received: 9 }.encode();
    let fields: [&[u8]; 4] = [&[1, 0, 0, 0], &5u32.to_le_bytes(), &7u64.to_le_bytes(), &9u64.to_le_bytes()];
    assert_eq!(bytes[..24], fields.concat());
    assert_eq!(bytes[24..], crc32fast::hash(&bytes[..24]).to_le_bytes());
    let drawn = include_str!("../../docs/format.md");
    assert!(drawn.contains("1 data, 2 alive, 3 end"), "kinds are not drawn");
}

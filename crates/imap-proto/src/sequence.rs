//! Sets of sequence numbers and UIDs. Ranges stay ranges: `1:4294967295` costs as much as `1`.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use crate::few::{Few, Filler};
use crate::lex::{Ctx, In, Res, expected, fail, peek};
use crate::own::into_owned;
use crate::write::Writer;
use crate::{IdSet, ParseErrorKind};

/// A number in a set, or `*`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum SeqNum {
    /// A sequence number or a UID.
    Number(NonZeroU32),
    /// `*`: the highest one in use.
    Last,
}

impl SeqNum {
    fn resolve(self, last: u32) -> u32 {
        match self {
            SeqNum::Number(n) => n.get(),
            SeqNum::Last => last,
        }
    }

    pub(crate) fn write(self, w: &mut Writer<'_>) {
        match self {
            SeqNum::Number(n) => w.number(n.get()),
            SeqNum::Last => w.raw("*"),
        }
    }
}

/// `a` or `a:b`; the ends may come in either order (RFC 3501 section 9, seq-range).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct SeqRange {
    /// One end.
    pub start: SeqNum,
    /// The other end; equal to `start` for a single number.
    pub end: SeqNum,
}

impl SeqRange {
    /// Exactly one number.
    pub fn single(n: NonZeroU32) -> Self {
        Self { start: SeqNum::Number(n), end: SeqNum::Number(n) }
    }

    pub(crate) fn write(self, w: &mut Writer<'_>) {
        self.start.write(w);
        if self.end != self.start {
            w.raw(":");
            self.end.write(w);
        }
    }
}

impl Filler for SeqRange {
    const FILLER: Self = SeqRange { start: SeqNum::Last, end: SeqNum::Last };
}

into_owned!(copy SeqNum, SeqRange);

/// A `sequence-set` as a client wrote it: one or more ranges, unordered, perhaps overlapping; or `$`, the result that the server
/// saved (RFC 5182). Up to four ranges are held in place.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct SequenceSet {
    ranges: Few<SeqRange, 4>,
}

impl SequenceSet {
    /// `$`: what SEARCH RETURN (SAVE) found last (RFC 5182 section 2.1). It has no ranges.
    pub const SAVED: SequenceSet = SequenceSet { ranges: Few::new() };

    /// `None` for no ranges at all.
    pub fn new(ranges: impl IntoIterator<Item = SeqRange>) -> Option<Self> {
        let ranges: Few<_, 4> = ranges.into_iter().collect();
        (!ranges.is_empty()).then_some(Self { ranges })
    }

    /// A set of one number; `None` for zero.
    pub fn single(n: u32) -> Option<Self> {
        Self::new([SeqRange::single(NonZeroU32::new(n)?)])
    }

    /// `1:*`.
    pub fn all() -> Self {
        let all = SeqRange { start: SeqNum::Number(NonZeroU32::MIN), end: SeqNum::Last };
        Self { ranges: [all].into_iter().collect() }
    }

    /// The set as an ordered one; `None` if it is empty.
    pub fn from_ids(ids: &IdSet) -> Option<Self> {
        let number = |n| NonZeroU32::new(n).map(SeqNum::Number);
        Self::new(ids.ranges().filter_map(|(a, b)| Some(SeqRange { start: number(a)?, end: number(b)? })))
    }

    /// Whether this is `$`.
    pub fn is_saved(&self) -> bool {
        self.ranges.is_empty()
    }

    /// The ranges as written; none for `$`.
    pub fn ranges(&self) -> &[SeqRange] {
        &self.ranges
    }

    /// The numbers meant when `last` is the highest in use (0: none is, and `*` means nothing). Of `$`, none: the server
    /// knows what it saved.
    pub fn resolve(&self, last: u32) -> IdSet {
        let mut set = IdSet::new();
        for range in self.ranges.iter() {
            let (a, b) = (range.start.resolve(last), range.end.resolve(last));
            if a != 0 && b != 0 {
                set.ranges.push((a.min(b), a.max(b)));
            }
        }
        set.normalize();
        set
    }

    /// The set with the lower end of each range first, as some servers want it (modern-email/defects #40); `*` counts as the highest.
    pub fn ascending(&self) -> SequenceSet {
        let key = |n: SeqNum| n.resolve(u32::MAX);
        let order = |r: &SeqRange| match key(r.start) > key(r.end) {
            true => SeqRange { start: r.end, end: r.start },
            false => *r,
        };
        SequenceSet { ranges: self.ranges.iter().map(order).collect() }
    }

    /// Appends the set as it stands on the wire.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut w = Writer::response(out);
        if self.is_saved() {
            return w.raw("$");
        }
        for (n, range) in self.ranges.iter().enumerate() {
            if n > 0 {
                w.raw(",");
            }
            range.write(&mut w);
        }
    }
}

impl crate::own::Own for SequenceSet {
    type Owned = SequenceSet;
    fn own(self) -> SequenceSet {
        self
    }
}

impl fmt::Display for SequenceSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = Vec::new();
        self.encode(&mut text);
        f.write_str(&String::from_utf8_lossy(&text))
    }
}

impl fmt::Debug for SequenceSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SequenceSet({self})")
    }
}

/// A text that is no sequence set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a sequence set")]
pub struct NotASet;

impl FromStr for SequenceSet {
    type Err = NotASet;

    fn from_str(text: &str) -> Result<Self, NotASet> {
        match saved_or_set(text.as_bytes(), Ctx::CHECKED) {
            Ok(([], set)) => Ok(set),
            _ => Err(NotASet),
        }
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for SequenceSet {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

#[cfg(feature = "serde")]
impl<'de> serde::Deserialize<'de> for SequenceSet {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
    }
}

/// `sequence-set` or `$`.
#[inline(always)]
pub(crate) fn saved_or_set(i: In<'_>, ctx: Ctx) -> Res<'_, SequenceSet> {
    match i.strip_prefix(b"$") {
        Some(rest) => Ok((rest, SequenceSet::SAVED)),
        None => sequence_set(i, ctx),
    }
}

#[inline(always)]
pub(crate) fn sequence_set(i: In<'_>, ctx: Ctx) -> Res<'_, SequenceSet> {
    let (mut i, first) = seq_range(i)?;
    let mut ranges = Few::new();
    ranges.push(first);
    while peek(i) == Some(b',') {
        ctx.room(i, ranges.len())?;
        let (rest, range) = seq_range(&i[1..])?;
        ranges.push(range);
        i = rest;
    }
    Ok((i, SequenceSet { ranges }))
}

/// Takes what [`saved_or_set`] takes.
#[inline]
pub(crate) fn check_saved_or_set(i: In<'_>, ctx: Ctx) -> Res<'_, ()> {
    match i.strip_prefix(b"$") {
        Some(rest) => Ok((rest, ())),
        None => check_set(i, ctx),
    }
}

/// Takes what [`sequence_set`] takes.
#[inline]
pub(crate) fn check_set(i: In<'_>, ctx: Ctx) -> Res<'_, ()> {
    let (mut i, _) = seq_range(i)?;
    let mut ranges = 1;
    while peek(i) == Some(b',') {
        ctx.room(i, ranges)?;
        i = seq_range(&i[1..])?.0;
        ranges += 1;
    }
    Ok((i, ()))
}

#[inline(always)]
pub(crate) fn seq_range(i: In<'_>) -> Res<'_, SeqRange> {
    let (i, start) = seq_num(i)?;
    if peek(i) != Some(b':') {
        return Ok((i, SeqRange { start, end: start }));
    }
    let (i, end) = seq_num(&i[1..])?;
    Ok((i, SeqRange { start, end }))
}

#[inline(always)]
pub(crate) fn seq_num(i: In<'_>) -> Res<'_, SeqNum> {
    if let Some(rest) = i.strip_prefix(b"*") {
        return Ok((rest, SeqNum::Last));
    }
    let (n, value) = digits(i);
    if value > u64::from(u32::MAX) {
        return fail(i, ParseErrorKind::NumberTooLarge);
    }
    match NonZeroU32::new(value as u32) {
        Some(number) => Ok((&i[n..], SeqNum::Number(number))),
        None => expected(i, "a sequence number"),
    }
}

/// How many digits stand here, at most eleven, and their number.
#[inline]
fn digits(i: In<'_>) -> (usize, u64) {
    let (mut n, mut value) = (0, 0);
    while let Some(digit) = i.get(n).map(|b| b.wrapping_sub(b'0')).filter(|d| *d < 10 && n < 11) {
        value = value * 10 + u64::from(digit);
        n += 1;
    }
    (n, value)
}

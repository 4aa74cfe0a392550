//! What the checksums of all copies say of one block.

use super::mend::Mend;
use super::sums::VOID;
use super::*;
use crate::meta::{BLOCK, block_sum};

/// A chunk as a peer has it.
#[derive(Debug)]
pub(super) struct PeerCopy {
    /// Blocks whose checksums there hold, and those that have none: a bit each.
    pub(super) good: u16,
    pub(super) void: u16,
    /// Empty: it cannot be read.
    pub(super) data: Bytes,
}

/// What a checksum says of one block of one copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Good,
    Void,
    Bad,
}

/// One block of a peer's copy, and what its checksum there says.
type Copy = (LinkId, Option<Bytes>, State);

/// The verdict on one block.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    /// The content that is right, if it is not the leader's.
    pub(super) right: Option<Bytes>,
    /// The leader's checksum is to be taken from its copy.
    pub(super) rebuild: bool,
    pub(super) ours: Option<Wrong>,
    pub(super) peers: Vec<(LinkId, Wrong)>,
    /// What a copy that is behind has might be right, and none that has answered is.
    pub(super) open: bool,
}

impl PeerCopy {
    fn block(&self, link: LinkId, block: usize) -> Copy {
        let span = block * BLOCK as usize..(block + 1) * BLOCK as usize;
        let data = (self.data.len() >= span.end).then(|| self.data.slice(span));
        let state = match () {
            () if data.is_none() => State::Bad,
            () if self.good >> block & 1 == 1 => State::Good,
            () if self.void >> block & 1 == 1 => State::Void,
            () => State::Bad,
        };
        (link, data, state)
    }
}

/// Of those that have answered. `ours` is the leader's copy, `None` if it cannot be read.
pub(super) fn verdict(block: usize, ours: &Option<Bytes>, mend: &Mend, known_damaged: bool) -> Verdict {
    let sum = mend.sums[block];
    let state = match ours {
        None => State::Bad,
        Some(_) if sum == VOID && known_damaged => State::Bad,
        Some(_) if sum == VOID => State::Void,
        Some(data) if block_sum(data) == sum => State::Good,
        Some(_) => State::Bad,
    };
    let copies = mend.answers().map(|(link, copy)| copy.block(link, block));
    let (behind, theirs): (Vec<Copy>, Vec<Copy>) = copies.partition(|(l, ..)| mend.behind.contains(l));
    // Where the data is right, the checksum there may be wrong: a copy mends that as well.
    let blame = |right: &Option<Bytes>, good: bool| {
        let wrong =
            |s: State| if good && s != State::Good || s == State::Bad { Wrong::Copy } else { Wrong::Unknown };
        let differs = |(_, data, s): &&Copy| data != right || *s == State::Bad;
        theirs.iter().filter(differs).map(|(l, _, s)| (*l, wrong(*s))).collect()
    };
    let vouched = !known_damaged && theirs.iter().any(|(_, _, s)| *s == State::Good);
    let agree = ours.is_some() && !theirs.is_empty() && theirs.iter().all(|(_, data, _)| data == ours);
    if agree && (state != State::Bad || vouched) {
        let (rebuild, peers) = (state != State::Good, blame(ours, true));
        return Verdict { rebuild, peers, ..Verdict::default() };
    }
    if state == State::Good {
        return Verdict { peers: blame(ours, true), ..Verdict::default() };
    }
    let is_ours = |d: &Option<Bytes>| sum != VOID && d.as_ref().is_some_and(|d| block_sum(d) == sum);
    let by_our_sum = theirs.iter().chain(&behind).find(|(_, d, _)| is_ours(d));
    let open = sum != VOID && by_our_sum.is_none();
    let by_their_sum = theirs.iter().find(|(_, d, s)| *s == State::Good && d != ours);
    let only_readable = theirs.iter().find(|(_, d, s)| ours.is_none() && d.is_some() && *s == State::Void);
    if let Some((_, right, _)) = by_our_sum.or(by_their_sum).or(only_readable) {
        let (right, peers) = (right.clone(), blame(right, true));
        return Verdict { right, ours: Some(Wrong::Copy), peers, open, ..Verdict::default() };
    }
    if state == State::Void {
        return Verdict { peers: blame(ours, false), ..Verdict::default() };
    }
    let peers = theirs.iter().map(|(l, _, _)| (*l, Wrong::Both)).collect();
    Verdict { ours: Some(Wrong::Both), peers, open, ..Verdict::default() }
}

//! Which copy of a chunk is right, block by block, and the healing of the others.
//!
//! The leader judges. It holds back writes into the chunk, reads its own copy and fetches those of the
//! synced peers at the same point of the stream. Where all copies agree, one whose checksum holds vouches for the others;
//! damage that all have alike is damage. Where they differ, a checksum tells which one is what was written; where none
//! does, the leader's copy wins, and the report says so. What is to be copied by a resync is also asked of its target:
//! what that has counts if it is what the leader's checksum says, and for nothing else.

use super::sums::{BLOCKS, VOID, sums_of};
use super::*;
use crate::meta::{BLOCK, block_sum};

/// Chunks being judged at once; a peer that names more is healed from the leader's copy as it is.
const MENDS_MAX: usize = 64;

#[derive(Debug)]
pub(super) struct Mend {
    id: u64,
    step: Step,
    /// What the checksums here said when the copies were asked for.
    sums: Vec<u32>,
    local: Local,
    peers: BTreeMap<LinkId, Option<PeerCopy>>,
    /// Those of them that are being brought in step.
    behind: BTreeSet<LinkId>,
    /// Followers who found it damaged there.
    asked_by: BTreeSet<LinkId>,
    findings: Vec<Finding>,
    /// Blocks here that no copy has right.
    lost: Vec<DamagedBlock>,
}

/// The copy here, block by block.
#[derive(Debug)]
enum Local {
    Unknown,
    /// The chunk could not be read as a whole: which of its blocks can?
    Blocks {
        read: Vec<Option<Bytes>>,
        left: usize,
    },
    /// `None`: it cannot be read.
    Known(Vec<Option<Bytes>>),
}

#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// Waits for the checksums.
    Asked,
    /// Waits for the copies.
    Reading,
    /// Writes the healed chunk, once its extent is hot.
    Healing(Bytes),
    /// Reads again what was written.
    Checking {
        left: usize,
    },
    Done,
}

#[derive(Debug)]
struct PeerCopy {
    good: u16,
    void: u16,
    data: Bytes,
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
struct Verdict {
    /// The content that is right, if it is not the leader's.
    right: Option<Bytes>,
    /// The leader's checksum is to be taken from its copy.
    rebuild: bool,
    ours: Option<Wrong>,
    peers: Vec<(LinkId, Wrong)>,
}

impl Replica {
    pub(super) fn synced_links(&self) -> Vec<LinkId> {
        let synced = |l: &Link| matches!(&l.side, Side::Target(t) if t.state == TargetState::Synced);
        self.links.iter().filter(|(_, l)| synced(l)).map(|(id, _)| *id).collect()
    }

    /// Has a chunk judged. Returns whether it will be.
    pub(super) fn mend(&mut self, chunk: u32) -> bool {
        if self.leading().is_none() || self.mends.len() >= MENDS_MAX && !self.mends.contains_key(&chunk) {
            return false;
        }
        self.next_mend += 1;
        let id = self.next_mend;
        self.mends.entry(chunk).or_insert(Mend {
            id,
            step: Step::Asked,
            sums: Vec::new(),
            local: Local::Unknown,
            peers: BTreeMap::new(),
            behind: BTreeSet::new(),
            asked_by: BTreeSet::new(),
            findings: Vec::new(),
            lost: Vec::new(),
        });
        true
    }

    pub(super) fn pump_mends(&mut self) -> bool {
        let chunks: Vec<u32> = self.mends.keys().copied().collect();
        for chunk in chunks {
            self.ask_copies(chunk);
            self.judge(chunk);
            self.heal_here(chunk);
        }
        let done = |m: &Mend| m.step == Step::Done;
        let over: Vec<u32> = self.mends.iter().filter(|(_, m)| done(m)).map(|(g, _)| *g).collect();
        over.iter().for_each(|chunk| self.end_mend(*chunk));
        !over.is_empty()
    }

    fn ask_copies(&mut self, chunk: u32) {
        let Some(epoch) = self.leading().map(|l| l.grant.epoch) else { return };
        if self.mends.get(&chunk).is_none_or(|m| m.step != Step::Asked) {
            return;
        }
        let (offset, len) = (self.layout.chunk_at(chunk), self.layout.chunk_len(chunk));
        if !self.sums_ready(offset, len) {
            return;
        }
        let (sums, mut links) = (self.sums(offset, len), self.synced_links());
        let behind = self.links_behind(chunk);
        links.extend(&behind);
        let Some(mend) = self.mends.get_mut(&chunk) else { return };
        (mend.step, mend.sums) = (Step::Reading, sums);
        mend.peers = links.iter().map(|l| (*l, None)).collect();
        mend.behind = behind;
        let id = mend.id;
        self.disk(OpKind::MendRead(chunk), DiskOp::Read { offset, len: len as u32 });
        for link in links {
            self.send(link, Message::Fetch { epoch, id, chunk });
        }
    }

    /// Targets of resyncs, for what is judged to be copied to one.
    fn links_behind(&self, chunk: u32) -> BTreeSet<LinkId> {
        let syncing = |l: &Link| matches!(&l.side, Side::Target(t) if t.state == TargetState::Syncing);
        let judged = self.is_judged_to_copy(self.layout.granule_of_chunk(chunk));
        self.links.iter().filter(|(_, l)| judged && syncing(l)).map(|(id, _)| *id).collect()
    }

    pub(super) fn mend_read(&mut self, chunk: u32, result: Result<Bytes, Arc<str>>) {
        let (start, len) = (self.layout.chunk_at(chunk), self.layout.chunk_len(chunk));
        let Some(mend) = self.mends.get_mut(&chunk) else { return };
        let blocks = (len / BLOCK) as usize;
        let span = |block: usize| block * BLOCK as usize..(block + 1) * BLOCK as usize;
        if let Ok(data) = result {
            mend.local = Local::Known((0..blocks).map(|block| Some(data.slice(span(block)))).collect());
            return;
        }
        mend.local = Local::Blocks { read: vec![None; blocks], left: blocks };
        for block in 0..blocks {
            let what = DiskOp::Read { offset: start + block as u64 * BLOCK, len: BLOCK as u32 };
            self.disk(OpKind::MendBlock { chunk, block }, what);
        }
    }

    pub(super) fn mend_block_read(&mut self, chunk: u32, block: usize, data: Option<Bytes>) {
        let Some(mend) = self.mends.get_mut(&chunk) else { return };
        let Local::Blocks { read, left } = &mut mend.local else { return };
        read[block] = data;
        *left -= 1;
        if *left == 0 {
            mend.local = Local::Known(std::mem::take(read));
        }
    }

    pub(super) fn fetched(&mut self, link: LinkId, id: u64, copy: (u16, u16, Bytes)) {
        let Some((chunk, mend)) = self.mends.iter_mut().find(|(_, m)| m.id == id) else { return };
        let len = self.layout.chunk_len(*chunk);
        let (good, void, data) = copy;
        if !data.is_empty() && data.len() as u64 != len || good & void != 0 {
            return self.refuse(link, Refusal::Protocol);
        }
        if let Some(answer) = mend.peers.get_mut(&link) {
            *answer = Some(PeerCopy { good, void, data });
        }
    }

    pub(super) fn mend_lost(&mut self, link: LinkId) {
        self.mends.values_mut().filter(|m| m.step == Step::Reading).for_each(|m| {
            m.peers.remove(&link);
        });
    }

    fn judge(&mut self, chunk: u32) {
        let Some(mend) = self.mends.get_mut(&chunk) else { return };
        if mend.step != Step::Reading
            || !matches!(mend.local, Local::Known(_))
            || mend.peers.values().any(Option::is_none)
        {
            return;
        }
        let Some(mend) = self.mends.remove(&chunk) else { return };
        let (healed, mend, rebuild) = self.verdicts(chunk, mend);
        self.mends.insert(chunk, mend);
        for (block, sum) in rebuild {
            self.put_sum(block, sum);
        }
        if let Some(mend) = self.mends.get_mut(&chunk) {
            mend.step = healed.map_or(Step::Done, Step::Healing);
        }
    }

    /// The chunk as it should be here, if it is not; and the checksums to be taken anew.
    fn verdicts(&self, chunk: u32, mut mend: Mend) -> (Option<Bytes>, Mend, Vec<(u64, u32)>) {
        let (start, len) = (self.layout.chunk_at(chunk), self.layout.chunk_len(chunk));
        let local = match std::mem::replace(&mut mend.local, Local::Unknown) {
            Local::Known(blocks) => blocks,
            _ => Vec::new(),
        };
        let mut whole = vec![0; len as usize];
        for (block, data) in whole.chunks_mut(BLOCK as usize).zip(&local) {
            data.iter().for_each(|data| block.copy_from_slice(data));
        }
        let (mut changed, mut rebuild) = (false, Vec::new());
        for block in 0..(len / BLOCK) as usize {
            let ours = local.get(block).cloned().flatten();
            let number = start / BLOCK + block as u64;
            let known_damaged = self.damage.holds(number);
            let verdict = verdict(block, ours.clone(), &mend, known_damaged);
            if let (Some(Wrong::Both), Some(data)) = (verdict.ours, &ours) {
                let (found, right) = (block_sum(data), mend.sums[block]);
                mend.lost.extend((right != VOID).then_some(DamagedBlock { block: number, found, right }));
            }
            let at = block * BLOCK as usize;
            if let Some(right) = &verdict.right {
                whole[at..at + BLOCK as usize].copy_from_slice(right);
                changed = true;
            }
            if verdict.rebuild {
                let sum = block_sum(&whole[at..at + BLOCK as usize]);
                rebuild.push((start / BLOCK + block as u64, sum));
            }
            let me = verdict.ours.map(|wrong| (self.me().node, wrong, verdict.right.is_some()));
            let peers = verdict.peers.iter().filter_map(|(link, wrong)| {
                let heals = *wrong != Wrong::Both;
                self.links.get(link).map(|l| (l.hello.node, *wrong, heals))
            });
            for (node, wrong, healed) in me.into_iter().chain(peers) {
                note(
                    &mut mend.findings,
                    Finding { node, offset: start + at as u64, len: BLOCK, wrong, healed },
                );
            }
        }
        (changed.then(|| whole.into()), mend, rebuild)
    }

    fn heal_here(&mut self, chunk: u32) {
        let Some(Step::Healing(data)) = self.mends.get(&chunk).map(|m| &m.step) else { return };
        let data = data.clone();
        let (offset, len) = (self.layout.chunk_at(chunk), data.len());
        if !self.is_hot(offset, len) {
            return self.warm_extents(super::persist::extents(offset, len).collect());
        }
        let me = self.me().node;
        let Some(mend) = self.mends.get_mut(&chunk) else { return };
        let here: Vec<Finding> = mend.findings.iter().filter(|f| f.node == me && f.healed).copied().collect();
        mend.step = Step::Checking { left: here.len() };
        for run in here {
            let at = (run.offset - offset) as usize;
            let data = data.slice(at..at + run.len as usize);
            self.write(OpKind::MendWrite, run.offset, data.clone().into());
            let what = DiskOp::Read { offset: run.offset, len: run.len as u32 };
            self.disk(OpKind::MendCheck { chunk, data }, what);
        }
        self.local.wanted = self.order;
    }

    /// What was rewritten is read again: a disk that does not take it has failed (R11).
    pub(super) fn mend_checked(&mut self, chunk: u32, expected: &Bytes, result: Result<Bytes, Arc<str>>) {
        match result {
            Ok(data) if data == *expected => {}
            Ok(_) => return self.disk_failed("a block that was rewritten reads otherwise".into()),
            Err(reason) => return self.disk_failed(reason),
        }
        let Some(mend) = self.mends.get_mut(&chunk) else { return };
        if let Step::Checking { left } = &mut mend.step {
            *left -= 1;
            if *left == 0 {
                mend.step = Step::Done;
            }
        }
    }

    fn end_mend(&mut self, chunk: u32) {
        let Some(mend) = self.mends.remove(&chunk) else { return };
        let granule = self.layout.granule_of_chunk(chunk);
        mend.lost.iter().for_each(|d| {
            self.note_damage(*d);
        });
        for finding in &mend.findings {
            self.count(finding);
            self.event(Event::Damaged(*finding));
            let slot = self.slots.iter().position(|s| s.head.node == finding.node);
            if let Some(slot) = slot.filter(|_| finding.healed) {
                self.mark(slot, granule);
            }
        }
        self.tell_unhealed(chunk, &mend);
        self.verify_mended(chunk, &mend.findings);
        self.scrub_mended(chunk, &mend.findings);
        self.reads_mended(chunk);
        self.unread_mended(chunk);
    }

    /// Those who asked, and get nothing that heals.
    fn tell_unhealed(&mut self, chunk: u32, mend: &Mend) {
        let Some(epoch) = self.leading().map(|l| l.grant.epoch) else { return };
        for link in &mend.asked_by {
            let node = self.links.get(link).map(|l| l.hello.node);
            if node.is_some_and(|node| !mend.findings.iter().any(|f| f.node == node && f.healed)) {
                self.send(*link, Message::Judged { epoch, chunk });
            }
        }
    }

    /// The follower's half: the copy as it is at this point of the stream.
    pub(super) fn remote_fetch(&mut self, link: LinkId, id: u64, chunk: u32) {
        if chunk >= self.layout.chunks() {
            return self.refuse(link, Refusal::Protocol);
        }
        self.enqueue(Queued::Fetch { link, id, chunk });
    }

    pub(super) fn fetch(&mut self, link: LinkId, id: u64, chunk: u32) {
        let (offset, len) = (self.layout.chunk_at(chunk), self.layout.chunk_len(chunk));
        let sums = self.sums(offset, len);
        self.disk(OpKind::FetchRead { link, id, sums }, DiskOp::Read { offset, len: len as u32 });
    }

    pub(super) fn fetch_answer(&mut self, link: LinkId, id: u64, sums: &[u32], data: Bytes) {
        if !self.links.contains_key(&link) {
            return;
        }
        let (mut good, mut void) = (0u16, 0u16);
        let computed = sums_of(&data);
        for (bit, sum) in sums.iter().enumerate().take(BLOCKS) {
            void |= u16::from(*sum == VOID) << bit;
            good |= u16::from(*sum != VOID && computed.get(bit) == Some(sum)) << bit;
        }
        self.send(link, Message::Fetched { id, good, void, data });
    }

    /// A follower's word that its copy is damaged.
    pub(super) fn rotten_there(&mut self, link: LinkId, chunk: u32) {
        let device = match self.links.get(&link) {
            Some(Link { side: Side::Target(t), hello, .. }) if t.state == TargetState::Synced => hello.device,
            _ => return,
        };
        if chunk >= self.layout.chunks() {
            return self.refuse(link, Refusal::Protocol);
        }
        let judged = self.mend(chunk);
        if let Some(mend) = self.mends.get_mut(&chunk) {
            mend.asked_by.insert(link);
        }
        if let Some(slot) = self.slot_of(device).filter(|_| !judged) {
            self.mark(slot, self.layout.granule_of_chunk(chunk));
        }
    }
}

/// Adds a finding, joined to the one before it if that goes on.
pub(super) fn note(findings: &mut Vec<Finding>, new: Finding) {
    let goes_on = |f: &&mut Finding| {
        f.offset + f.len == new.offset && (f.node, f.wrong, f.healed) == (new.node, new.wrong, new.healed)
    };
    match findings.iter_mut().find(goes_on) {
        Some(f) => f.len += new.len,
        None => findings.push(new),
    }
}

fn verdict(block: usize, ours: Option<Bytes>, mend: &Mend, known_damaged: bool) -> Verdict {
    let (sum, behind) = (mend.sums[block], &mend.behind);
    let span = block * BLOCK as usize..(block + 1) * BLOCK as usize;
    let state = match &ours {
        None => State::Bad,
        Some(_) if sum == VOID && known_damaged => State::Bad,
        Some(_) if sum == VOID => State::Void,
        Some(data) if block_sum(data) == sum => State::Good,
        Some(_) => State::Bad,
    };
    let copies = mend.peers.iter().filter_map(|(l, p)| p.as_ref().map(|p| (*l, p)));
    let copies = copies.map(|(l, p)| p.block(l, block, &span));
    let (behind, theirs): (Vec<Copy>, Vec<Copy>) = copies.partition(|(l, ..)| behind.contains(l));
    let differing = |right: &Option<Bytes>| -> Vec<(LinkId, State)> {
        theirs.iter().filter(|(_, data, _)| data != right).map(|(l, _, state)| (*l, *state)).collect()
    };
    let vouched = !known_damaged && theirs.iter().any(|(_, _, s)| *s == State::Good);
    let agree = ours.is_some() && !theirs.is_empty() && differing(&ours).is_empty();
    if agree && (state != State::Bad || vouched) {
        return Verdict { rebuild: state != State::Good, ..Verdict::default() };
    }
    let blame = |right: &Option<Bytes>, good: bool| {
        let wrong =
            |s: State| if good && s != State::Good || s == State::Bad { Wrong::Copy } else { Wrong::Unknown };
        differing(right).into_iter().map(|(l, s)| (l, wrong(s))).collect()
    };
    if state == State::Good {
        return Verdict { peers: blame(&ours, true), ..Verdict::default() };
    }
    let is_ours = |d: &Option<Bytes>| sum != VOID && d.as_ref().is_some_and(|d| block_sum(d) == sum);
    let by_our_sum = theirs.iter().chain(&behind).find(|(_, d, _)| is_ours(d));
    let by_their_sum = theirs.iter().find(|(_, d, s)| *s == State::Good && *d != ours);
    let only_readable = theirs.iter().find(|(_, d, s)| ours.is_none() && d.is_some() && *s == State::Void);
    if let Some((_, right, _)) = by_our_sum.or(by_their_sum).or(only_readable) {
        let peers = blame(right, true);
        return Verdict { right: right.clone(), ours: Some(Wrong::Copy), peers, ..Verdict::default() };
    }
    if state == State::Void {
        return Verdict { peers: blame(&ours, false), ..Verdict::default() };
    }
    let peers = theirs.iter().map(|(l, _, _)| (*l, Wrong::Both)).collect();
    Verdict { ours: Some(Wrong::Both), peers, ..Verdict::default() }
}

impl PeerCopy {
    fn block(
        &self,
        link: LinkId,
        block: usize,
        span: &std::ops::Range<usize>,
    ) -> (LinkId, Option<Bytes>, State) {
        let data = (self.data.len() >= span.end).then(|| self.data.slice(span.clone()));
        let state = match () {
            () if data.is_none() => State::Bad,
            () if self.good >> block & 1 == 1 => State::Good,
            () if self.void >> block & 1 == 1 => State::Void,
            () => State::Bad,
        };
        (link, data, state)
    }
}

//! Which copy of a chunk is right, block by block, and the healing of the others.
//!
//! The leader judges. It holds back writes into the chunk, reads its own copy and fetches those of the
//! synced peers at the same point of the stream. Where all copies agree, one whose checksum holds vouches for the others;
//! damage that all have alike is damage. Where they differ, a checksum tells which one is what was written; where none
//! does, the leader's copy wins, and the report says so. What is to be copied by a resync is also asked of its target:
//! what that has counts if it is what the leader's checksum says, and for nothing else. It is waited for where nothing else decides,
//! and not for long: the leader's owner comes first.

use super::sums::{BLOCKS, VOID, sums_of};
use super::verdict::{PeerCopy, Verdict, verdict};
use super::*;
use crate::meta::{BLOCK, block_sum};

/// Chunks being judged at once; a peer that names more is healed from the leader's copy as it is.
pub(super) const MENDS_MAX: usize = 64;

#[derive(Debug)]
pub(super) struct Mend {
    id: u64,
    step: Step,
    /// What the checksums here said when the copies were asked for.
    pub(super) sums: Vec<u32>,
    /// When that was.
    asked: Duration,
    local: Local,
    peers: BTreeMap<LinkId, Option<PeerCopy>>,
    /// Those of them that are being brought in step.
    pub(super) behind: BTreeSet<LinkId>,
    /// An answer came since it was last looked whether they decide.
    news: bool,
    /// A block that no copy has right so far is one that a copy that has not answered might have.
    open: bool,
    /// Followers who found it damaged there.
    asked_by: BTreeSet<LinkId>,
    findings: Vec<Finding>,
    /// Blocks here that no copy has right.
    pub(super) lost: Vec<DamagedBlock>,
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

impl Mend {
    fn new(id: u64) -> Self {
        Mend {
            id,
            step: Step::Asked,
            sums: Vec::new(),
            asked: Duration::ZERO,
            local: Local::Unknown,
            peers: BTreeMap::new(),
            behind: BTreeSet::new(),
            news: false,
            open: false,
            asked_by: BTreeSet::new(),
            findings: Vec::new(),
            lost: Vec::new(),
        }
    }

    /// The copies of the peers that have answered.
    pub(super) fn answers(&self) -> impl Iterator<Item = (LinkId, &PeerCopy)> {
        self.peers.iter().filter_map(|(link, copy)| copy.as_ref().map(|copy| (*link, copy)))
    }

    /// Those who have none of the blocks right that nobody has who answered; `None` if no other answer could have counted.
    pub(super) fn lost_for(&self) -> Option<BTreeSet<LinkId>> {
        self.open.then(|| self.answers().map(|(link, _)| link).collect())
    }

    /// Those that have not.
    fn silent(&self) -> impl Iterator<Item = LinkId> {
        self.peers.iter().filter(|(_, copy)| copy.is_none()).map(|(link, _)| *link)
    }

    /// Whether something came by which it may be decided.
    fn may_be_decided(&mut self) -> bool {
        let news = self.step == Step::Reading && std::mem::take(&mut self.news);
        news && matches!(self.local, Local::Known(_)) && self.silent().all(|l| self.behind.contains(&l))
    }

    fn forget(&mut self, link: LinkId) {
        self.peers.remove(&link);
        self.news = true;
    }
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
        self.mends.entry(chunk).or_insert_with(|| Mend::new(id));
        true
    }

    pub(super) fn pump_mends(&mut self) -> bool {
        let chunks: Vec<u32> = self.mends.keys().copied().collect();
        for chunk in chunks {
            self.read_here(chunk);
            self.ask_copies(chunk);
            self.judge(chunk);
            self.heal_here(chunk);
        }
        let done = |m: &Mend| m.step == Step::Done;
        let over: Vec<u32> = self.mends.iter().filter(|(_, m)| done(m)).map(|(g, _)| *g).collect();
        over.iter().for_each(|chunk| self.end_mend(*chunk));
        !over.is_empty()
    }

    fn read_here(&mut self, chunk: u32) {
        let (offset, len) = (self.layout.chunk_at(chunk), self.layout.chunk_len(chunk));
        if self.mends.get(&chunk).is_none_or(|m| m.step != Step::Asked) || !self.sums_ready(offset, len) {
            return;
        }
        let (sums, now) = (self.sums(offset, len), self.now);
        let Some(mend) = self.mends.get_mut(&chunk) else { return };
        (mend.step, mend.sums, mend.asked) = (Step::Reading, sums, now);
        self.disk(OpKind::MendRead(chunk), DiskOp::Read { offset, len: len as u32 });
    }

    /// Asks for the copies, also of those who come while the others are waited for: nothing is written into the chunk meanwhile.
    fn ask_copies(&mut self, chunk: u32) {
        let (now, patience) = (self.now, self.patience());
        let Some(epoch) = self.leading().map(|l| l.grant.epoch) else { return };
        let waits = |m: &&Mend| m.step == Step::Reading && now < m.asked + patience;
        if self.mends.get(&chunk).filter(waits).is_none() {
            return;
        }
        let (synced, behind) = (self.synced_links(), self.links_behind(chunk));
        let Some(mend) = self.mends.get_mut(&chunk) else { return };
        let mut links: Vec<LinkId> = synced.into_iter().chain(behind.iter().copied()).collect();
        links.retain(|link| !mend.peers.contains_key(link));
        mend.peers.extend(links.iter().map(|link| (*link, None)));
        mend.behind.extend(behind);
        let id = mend.id;
        for link in links {
            self.send(link, Message::Fetch { epoch, id, chunk });
        }
    }

    /// Targets of resyncs, for what is judged to be copied to one.
    fn links_behind(&self, chunk: u32) -> BTreeSet<LinkId> {
        if !self.is_judged_to_copy(self.layout.granule_of_chunk(chunk)) {
            return BTreeSet::new();
        }
        let syncing =
            |l: &Link| matches!(&l.side, Side::Target(t) if t.state == TargetState::Syncing && !t.silent);
        self.links.iter().filter(|(_, l)| syncing(l)).map(|(id, _)| *id).collect()
    }

    pub(super) fn mend_read(&mut self, chunk: u32, result: Result<Bytes, Arc<str>>) {
        let start = self.layout.chunk_at(chunk);
        let Some(mend) = self.mends.get_mut(&chunk) else { return };
        // As many as there were when it was asked for: the device may have grown since.
        let blocks = mend.sums.len();
        let span = |block: usize| block * BLOCK as usize..(block + 1) * BLOCK as usize;
        if let Ok(data) = result {
            mend.local = Local::Known((0..blocks).map(|block| Some(data.slice(span(block)))).collect());
            mend.news = true;
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
            mend.news = true;
        }
    }

    pub(super) fn fetched(&mut self, link: LinkId, id: u64, copy: (u16, u16, Bytes)) {
        if let Some(t) = self.target(link) {
            t.silent = false;
        }
        let Some(mend) = self.mends.values_mut().find(|m| m.id == id) else { return };
        let (good, void, data) = copy;
        // A larger device has more of what is the last chunk here. What is behind the end counts for nothing.
        let lens = mend.sums.len() as u64 * BLOCK..=self.layout.chunk();
        if !data.is_empty() && !lens.contains(&(data.len() as u64)) || good & void != 0 {
            return self.refuse(link, Refusal::Protocol);
        }
        if let Some(answer) = mend.peers.get_mut(&link) {
            *answer = Some(PeerCopy { good, void, data });
            mend.news = true;
        }
    }

    pub(super) fn mend_lost(&mut self, link: LinkId) {
        self.mends.values_mut().filter(|m| m.step == Step::Reading).for_each(|m| m.forget(link));
    }

    /// When targets that do not answer are not waited for any more.
    pub(super) fn mends_due(&self) -> Option<Duration> {
        let waits = |m: &&Mend| m.step == Step::Reading && m.silent().any(|l| m.behind.contains(&l));
        self.mends.values().filter(waits).map(|m| m.asked + self.patience()).min()
    }

    fn patience(&self) -> Duration {
        self.config.slow_after * 4
    }

    /// Writes wait for what is judged: not for ever for a target of a resync.
    pub(super) fn judge_without_silent(&mut self) {
        let (now, patience) = (self.now, self.patience());
        let mut silent = BTreeSet::new();
        for mend in self.mends.values_mut().filter(|m| m.step == Step::Reading && now >= m.asked + patience) {
            let links: Vec<LinkId> = mend.silent().filter(|l| mend.behind.contains(l)).collect();
            links.iter().for_each(|link| mend.forget(*link));
            silent.extend(links);
        }
        silent.into_iter().for_each(|link| self.asks_no_more(link));
    }

    /// It is not asked again before it has answered, nor gets what it would have to be asked for.
    fn asks_no_more(&mut self, link: LinkId) {
        let Some(Link { side: Side::Target(t), hello, .. }) = self.links.get_mut(&link) else { return };
        t.silent = true;
        let (told, peer) = (std::mem::replace(&mut t.slow_told, true), hello.node);
        if !told {
            let in_sync = self.counted().iter().any(|m| m.node == peer);
            self.event(Event::PeerSlow { peer, in_sync });
        }
    }

    fn judge(&mut self, chunk: u32) {
        if !self.mends.get_mut(&chunk).is_some_and(Mend::may_be_decided) {
            return;
        }
        let Some(mut mend) = self.mends.remove(&chunk) else { return };
        let verdicts = self.verdicts(chunk, &mend);
        mend.open = verdicts.iter().any(|v| v.open && v.ours == Some(Wrong::Both));
        if mend.silent().next().is_none() || !verdicts.iter().any(|v| v.open) {
            let healed = self.conclude(chunk, &mut mend, verdicts);
            mend.step = healed.map_or(Step::Done, Step::Healing);
        }
        self.mends.insert(chunk, mend);
    }

    /// By what was read here, and by those that have answered.
    fn verdicts(&self, chunk: u32, mend: &Mend) -> Vec<Verdict> {
        let Local::Known(local) = &mend.local else { return Vec::new() };
        let first = self.layout.chunk_at(chunk) / BLOCK;
        let blocks = local.iter().enumerate();
        blocks.map(|(at, ours)| verdict(at, ours, mend, self.damage.holds(first + at as u64))).collect()
    }

    /// Notes what is wrong, and takes checksums anew. Returns the chunk as it should be here, if it is not.
    fn conclude(&mut self, chunk: u32, mend: &mut Mend, verdicts: Vec<Verdict>) -> Option<Bytes> {
        let start = self.layout.chunk_at(chunk);
        let Local::Known(local) = std::mem::replace(&mut mend.local, Local::Unknown) else { return None };
        let heals = verdicts.iter().any(|v| v.right.is_some());
        let mut whole = Vec::new();
        for (at, (verdict, ours)) in verdicts.iter().zip(&local).enumerate() {
            let block = start / BLOCK + at as u64;
            if let (Some(Wrong::Both), Some(data)) = (verdict.ours, ours) {
                let (found, right) = (block_sum(data), mend.sums[at]);
                mend.lost.extend((right != VOID).then_some(DamagedBlock { block, found, right }));
            }
            let data = verdict.right.as_ref().or(ours.as_ref());
            if let Some(data) = data.filter(|_| verdict.rebuild) {
                self.put_sum(block, block_sum(data));
            }
            match data {
                Some(data) if heals => whole.extend_from_slice(data),
                _ => whole.resize(whole.len() + BLOCK as usize, 0),
            }
            self.blame(block * BLOCK, verdict, &mut mend.findings);
        }
        heals.then(|| whole.into())
    }

    /// Whose copy of a block is wrong.
    fn blame(&self, offset: u64, verdict: &Verdict, findings: &mut Vec<Finding>) {
        let me = verdict.ours.map(|wrong| (self.me().node, wrong, verdict.right.is_some()));
        let peers = verdict.peers.iter().filter_map(|(link, wrong)| {
            self.links.get(link).map(|l| (l.hello.node, *wrong, *wrong != Wrong::Both))
        });
        for (node, wrong, healed) in me.into_iter().chain(peers) {
            note(findings, Finding { node, offset, len: BLOCK, wrong, healed });
        }
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
        self.unread_mended(chunk, &mend);
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

//! Online verify: both sides digest a chunk at the same point of the ordered stream. A chunk that differs
//! is judged (see `mend`); where all agree, checksums that were void are taken from the copies.

use super::sums::{bad_blocks, sums_of};
use super::*;
use crate::bitmap::CHUNK_MAX;
use crate::meta::BLOCK;
use crate::wire::Digest;

/// Bytes being compared at once.
const WINDOW: u64 = 16 * CHUNK_MAX;

#[derive(Debug)]
pub(super) struct Verify {
    pub(super) request: RequestId,
    peers: BTreeMap<LinkId, NodeId>,
    next: u32,
    /// Chunks that differ, being judged.
    mending: BTreeSet<u32>,
    chunks: BTreeMap<u64, Chunk>,
    report: VerifyReport,
}

#[derive(Debug, Default)]
struct Chunk {
    local: Option<Digest>,
    /// What the checksums here said when it was asked for.
    known: Vec<u32>,
    /// The checksums of the local copy, while nothing is written into it.
    sums: Option<Vec<u32>>,
    remote: BTreeMap<LinkId, Option<Digest>>,
}

impl Replica {
    pub(super) fn start_verify(&mut self, request: RequestId) {
        if let Err(why) = self.may_write() {
            return self.done(request, Err(why));
        }
        if self.verify.is_some() {
            return self.done(request, Err(Denied::Busy));
        }
        let synced = |l: &Link| matches!(&l.side, Side::Target(t) if t.state == TargetState::Synced);
        let peers: BTreeMap<LinkId, NodeId> =
            self.links.iter().filter(|(_, l)| synced(l)).map(|(id, l)| (*id, l.hello.node)).collect();
        let missing = self.required().into_iter().map(|m| m.node).filter(|n| !peers.values().any(|p| p == n));
        let report = VerifyReport { incomplete: missing.collect(), ..VerifyReport::default() };
        self.verify = Some(Verify {
            request,
            peers,
            next: 0,
            mending: BTreeSet::new(),
            chunks: BTreeMap::new(),
            report,
        });
    }

    /// Chunks being compared at once.
    fn verify_window(&self) -> usize {
        (WINDOW / self.layout.chunk()) as usize
    }

    pub(super) fn pump_verify(&mut self) -> bool {
        let Some(epoch) = self.leading().map(|l| l.grant.epoch) else { return false };
        let (chunks, window) = (self.layout.chunks(), self.verify_window());
        while let Some(v) = &mut self.verify {
            if v.chunks.len() >= window || v.next >= chunks || v.peers.is_empty() {
                break;
            }
            let chunk = v.next;
            if !self.chunk_sums_ready(chunk) {
                break;
            }
            let known = self.sums(self.layout.chunk_at(chunk), self.layout.chunk_len(chunk));
            let Some(v) = &mut self.verify else { break };
            v.next += 1;
            let (id, offset) = (u64::from(chunk), self.layout.chunk_at(chunk));
            let len = self.layout.chunk_len(chunk) as u32;
            let links: Vec<LinkId> = v.peers.keys().copied().collect();
            let remote = links.iter().map(|l| (*l, None)).collect();
            v.chunks.insert(id, Chunk { known, remote, ..Chunk::default() });
            self.disk(OpKind::VerifyLocal(id), DiskOp::Read { offset, len });
            for link in links {
                self.send(link, Message::Verify { epoch, id, offset, len });
            }
        }
        self.judge_differing();
        self.end_verify();
        false
    }

    fn end_verify(&mut self) {
        let chunks = self.layout.chunks();
        let over = |v: &mut Verify| {
            v.chunks.is_empty() && v.mending.is_empty() && (v.next >= chunks || v.peers.is_empty())
        };
        if let Some(mut v) = self.verify.take_if(over) {
            v.report.peers = v.peers.into_values().collect();
            if !v.report.peers.is_empty() {
                v.report.checked_bytes = self.layout.size;
            }
            self.done(v.request, Ok(Reply::Verified(v.report)));
        }
    }

    pub(super) fn verify_local(&mut self, id: u64, data: &[u8]) {
        if let Some(chunk) = self.verify.as_mut().and_then(|v| v.chunks.get_mut(&id)) {
            chunk.local = Some(Digest::of(data));
            chunk.sums = chunk.sums.is_none().then(|| sums_of(data));
            self.compare(id);
        }
    }

    pub(super) fn verify_remote(&mut self, link: LinkId, id: u64, digest: Digest) {
        if let Some(answer) =
            self.verify.as_mut().and_then(|v| v.chunks.get_mut(&id)).and_then(|c| c.remote.get_mut(&link))
        {
            *answer = Some(digest);
            self.compare(id);
        }
    }

    /// A follower reads a chunk.
    pub(super) fn read_for_verify(&mut self, link: LinkId, id: u64, offset: u64, len: u32) {
        while self.computed.len() >= 4 * self.verify_window() {
            self.computed.pop_first();
        }
        self.computed.insert(id, ((offset / self.layout.chunk()) as u32, Vec::new()));
        self.disk(OpKind::VerifyRemote { link, id }, DiskOp::Read { offset, len });
    }

    /// The follower's answer.
    pub(super) fn verify_answer(&mut self, link: LinkId, id: u64, data: &[u8]) {
        if !self.links.contains_key(&link) {
            return;
        }
        if let Some((_, sums)) = self.computed.get_mut(&id) {
            *sums = sums_of(data);
        }
        self.send(link, Message::Verified { id, digest: Digest::of(data) });
    }

    /// The leader's word that all copies of a chunk are the same.
    pub(super) fn agreed(&mut self, id: u64) {
        if let Some((chunk, sums)) = self.computed.remove(&id) {
            self.learn(chunk, &sums);
        }
    }

    /// Takes checksums that were void from a copy that all agree on.
    pub(super) fn learn(&mut self, chunk: u32, sums: &[u32]) {
        let first = self.layout.chunk_at(chunk) / BLOCK;
        for (block, sum) in (first..).zip(sums) {
            if self.sums(block * BLOCK, BLOCK) != [*sum] && !self.damage.holds(block) {
                self.put_sum(block, *sum);
            }
        }
    }

    /// A write: what was computed of these chunks is out of date.
    pub(super) fn forget_computed(&mut self, offset: u64, len: usize) {
        let (first, last) = self.layout.chunks_of(offset, len);
        let within = |g: u32| (first..=last).contains(&g);
        self.computed.retain(|_, (chunk, _)| !within(*chunk));
        if let Some(v) = &mut self.verify {
            let written = v.chunks.iter_mut().filter(|(id, _)| within(**id as u32));
            written.for_each(|(_, chunk)| chunk.sums = Some(Vec::new()));
        }
        self.scrub_dirtied(first, last);
    }

    fn compare(&mut self, id: u64) {
        let Some(v) = &mut self.verify else { return };
        let Some(chunk) = v.chunks.get(&id) else { return };
        let (Some(local), true) = (chunk.local, chunk.remote.values().all(Option::is_some)) else { return };
        let Some(chunk) = v.chunks.remove(&id) else { return };
        let (number, epoch) = (id as u32, self.leading().map_or(0, |l| l.grant.epoch));
        // Copies that agree may be damaged alike: one was made of the other.
        let computed = chunk.sums.as_deref().unwrap_or_default();
        let sound = bad_blocks(computed, &chunk.known).is_empty();
        if sound && chunk.remote.values().all(|d| *d == Some(local)) {
            if !chunk.remote.is_empty() {
                self.learn(number, &chunk.sums.unwrap_or_default());
            }
            for link in chunk.remote.into_keys() {
                self.send(link, Message::Agreed { epoch, id });
            }
        } else if let Some(v) = &mut self.verify {
            v.mending.insert(number);
        }
    }

    /// Has chunks judged that differ, as far as there is room.
    fn judge_differing(&mut self) {
        let wanted: Vec<u32> = self.verify.iter().flat_map(|v| &v.mending).copied().collect();
        wanted.into_iter().for_each(|chunk| {
            self.mend(chunk);
        });
    }

    /// A chunk was judged.
    pub(super) fn verify_mended(&mut self, chunk: u32, findings: &[Finding]) {
        if let Some(v) = &mut self.verify
            && v.mending.remove(&chunk)
        {
            v.report.differing.extend(findings);
        }
    }

    pub(super) fn verify_lost(&mut self, link: LinkId) {
        let Some(v) = &mut self.verify else { return };
        let Some(node) = v.peers.remove(&link) else { return };
        v.report.incomplete.push(node);
        let ids: Vec<u64> = v.chunks.keys().copied().collect();
        for chunk in v.chunks.values_mut() {
            chunk.remote.remove(&link);
        }
        for id in ids {
            self.compare(id);
        }
    }
}

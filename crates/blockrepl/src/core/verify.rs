//! Online verify: both sides digest a chunk at the same point of the ordered stream.

use super::*;
use crate::bitmap::GRANULE;
use crate::wire::Digest;

/// Chunks being compared at once.
const WINDOW: usize = 16;

#[derive(Debug)]
pub(super) struct Verify {
    pub(super) request: RequestId,
    peers: BTreeMap<LinkId, NodeId>,
    next: u32,
    chunks: BTreeMap<u64, Chunk>,
    report: VerifyReport,
}

#[derive(Debug, Default)]
struct Chunk {
    local: Option<Digest>,
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
        self.verify = Some(Verify { request, peers, next: 0, chunks: BTreeMap::new(), report });
    }

    pub(super) fn pump_verify(&mut self) -> bool {
        let Some(epoch) = self.leading().map(|l| l.grant.epoch) else { return false };
        let granules = self.layout.granules();
        while let Some(v) = &mut self.verify {
            if v.chunks.len() >= WINDOW || v.next >= granules || v.peers.is_empty() {
                break;
            }
            let granule = v.next;
            v.next += 1;
            let (id, offset) = (u64::from(granule), u64::from(granule) * GRANULE);
            let len = self.layout.granule_len(granule) as u32;
            let links: Vec<LinkId> = v.peers.keys().copied().collect();
            v.chunks.insert(id, Chunk { local: None, remote: links.iter().map(|l| (*l, None)).collect() });
            self.disk(OpKind::VerifyLocal(id), DiskOp::Read { offset, len });
            for link in links {
                self.send(link, Message::Verify { epoch, id, offset, len });
            }
        }
        self.end_verify();
        false
    }

    fn end_verify(&mut self) {
        let granules = self.layout.granules();
        let over = |v: &mut Verify| v.chunks.is_empty() && (v.next >= granules || v.peers.is_empty());
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

    /// The follower's answer.
    pub(super) fn verify_answer(&mut self, link: LinkId, id: u64, data: &[u8]) {
        if self.links.contains_key(&link) {
            self.send(link, Message::Verified { id, digest: Digest::of(data) });
        }
    }

    fn compare(&mut self, id: u64) {
        let Some(v) = &mut self.verify else { return };
        let Some(chunk) = v.chunks.get(&id) else { return };
        let (Some(local), true) = (chunk.local, chunk.remote.values().all(Option::is_some)) else { return };
        let Some(chunk) = v.chunks.remove(&id) else { return };
        let differing = chunk.remote.into_iter().filter(|(_, d)| *d != Some(local)).map(|(link, _)| link);
        for link in differing.collect::<Vec<_>>() {
            self.differs(link, id as u32);
        }
    }

    /// The leader's copy wins: it is the elected one.
    fn differs(&mut self, link: LinkId, granule: u32) {
        let len = self.layout.granule_len(granule);
        let Some(member) = self.links.get(&link).map(Link::member) else { return };
        if let Some(v) = &mut self.verify {
            let offset = u64::from(granule) * GRANULE;
            v.report.differing.push(Difference { peer: member.node, offset, len });
        }
        if let Some(slot) = self.slot_of(member.device) {
            self.mark(slot, granule);
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

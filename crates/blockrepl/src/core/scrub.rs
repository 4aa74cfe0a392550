//! Scrub: this replica's disk against its own checksums.
//!
//! A leader has what is damaged judged and healed (see `mend`). A follower tells its leader, which
//! does the same and sends its granule anew; the follower then reads it again.

use super::sums::{VOID, sums_of};
use super::*;
use crate::meta::BLOCK;

/// Chunks being read at once.
const WINDOW: usize = 8;

#[derive(Debug)]
pub(super) struct Scrub {
    pub(super) request: RequestId,
    next: u32,
    /// The checksums at the time when the read was issued; empty once something was written.
    reading: BTreeMap<u32, Vec<u32>>,
    mending: BTreeSet<u32>,
    report: ScrubReport,
}

impl Replica {
    pub(super) fn start_scrub(&mut self, request: RequestId) {
        let busy = self.scrub.is_some() || self.rollback.is_some();
        match self.unusable() {
            Some(why) => self.done(request, Err(why)),
            None if busy => self.done(request, Err(Denied::Busy)),
            None if self.sb.sync.is_some() => self.done(request, Err(Denied::Inconsistent)),
            None => {
                self.scrub = Some(Scrub {
                    request,
                    next: 0,
                    reading: BTreeMap::new(),
                    mending: BTreeSet::new(),
                    report: ScrubReport::default(),
                });
            }
        }
    }

    pub(super) fn pump_scrub(&mut self) {
        while let Some(s) = &self.scrub {
            let chunk = s.next;
            if s.reading.len() >= WINDOW || chunk >= self.layout.chunks() {
                break;
            }
            if !self.chunk_sums_ready(chunk) {
                break;
            }
            let (offset, len) = (self.layout.chunk_at(chunk), self.layout.chunk_len(chunk));
            let sums = self.sums(offset, len);
            self.disk(OpKind::ScrubRead(chunk), DiskOp::Read { offset, len: len as u32 });
            if let Some(s) = &mut self.scrub {
                s.next += 1;
                s.reading.insert(chunk, sums);
            }
        }
        let mending: Vec<u32> = self.scrub.iter().flat_map(|s| &s.mending).copied().collect();
        if self.leading().is_some() {
            mending.into_iter().for_each(|chunk| {
                self.mend(chunk);
            });
        }
        self.end_scrub();
    }

    fn end_scrub(&mut self) {
        let chunks = self.layout.chunks();
        let over = |s: &mut Scrub| s.next >= chunks && s.reading.is_empty() && s.mending.is_empty();
        if let Some(s) = self.scrub.take_if(over) {
            self.done(s.request, Ok(Reply::Scrubbed(s.report)));
        }
    }

    /// No data: it could not be read.
    pub(super) fn scrub_read(&mut self, chunk: u32, data: &[u8]) {
        let Some(s) = &mut self.scrub else { return };
        let Some(sums) = s.reading.remove(&chunk) else { return };
        s.report.checked_bytes += data.len() as u64;
        if sums.is_empty() && !data.is_empty() {
            // Written meanwhile: it is what was written just now that stands there.
            return;
        }
        let computed = sums_of(data);
        s.report.unknown_bytes += sums.iter().filter(|sum| **sum == VOID).count() as u64 * BLOCK;
        let wrong = |i: usize| match computed.get(i) {
            None => true,
            Some(found) => sums[i] != VOID && sums[i] != *found,
        };
        let blocks = self.layout.chunk_len(chunk) / BLOCK;
        let bad: Vec<u64> = (0..blocks).filter(|i| data.is_empty() || wrong(*i as usize)).collect();
        if bad.is_empty() {
            return self.learn_alone(chunk, &computed);
        }
        if let Some(s) = &mut self.scrub {
            s.mending.insert(chunk);
        }
        if self.leading().is_none() {
            self.tell_rotten(chunk, &bad);
        }
    }

    /// A leader without peers has the elected copy: it knows from now on what it reads.
    fn learn_alone(&mut self, chunk: u32, computed: &[u32]) {
        if self.leading().is_some() && self.synced_links().is_empty() {
            self.learn(chunk, computed);
        }
    }

    /// A follower's finding: the leader is asked to judge it.
    fn tell_rotten(&mut self, chunk: u32, bad: &[u64]) {
        let node = self.me().node;
        let mut findings: Vec<Finding> = Vec::new();
        for block in bad {
            let offset = self.layout.chunk_at(chunk) + block * BLOCK;
            match findings.last_mut() {
                Some(f) if f.offset + f.len == offset => f.len += BLOCK,
                _ => findings.push(Finding { node, offset, len: BLOCK, wrong: Wrong::Copy, healed: false }),
            }
        }
        match self.source_link() {
            Some(link) => {
                self.rotten.insert(chunk, findings);
                self.send(link, Message::Rotten { chunk });
            }
            None => self.rotten_ended(chunk, findings, false),
        }
    }

    /// A copy of the leader's was written: if it repairs something, it is read again.
    pub(super) fn repaired(&mut self, offset: u64, copy: &Bytes) {
        let (first, last) = self.layout.chunks_of(offset, copy.len());
        let rotten: Vec<u32> = self.rotten.range(first..=last).map(|(c, _)| *c).collect();
        for chunk in rotten {
            let start = self.layout.chunk_at(chunk);
            let at = (start - offset) as usize;
            let data = copy.slice(at..copy.len().min(at + self.layout.chunk() as usize));
            let (offset, len) = (start, data.len() as u32);
            self.disk(OpKind::RepairCheck { chunk, data }, DiskOp::Read { offset, len });
        }
    }

    pub(super) fn repair_checked(&mut self, chunk: u32, expected: &Bytes, result: Result<Bytes, Arc<str>>) {
        let Some(findings) = self.rotten.remove(&chunk) else { return };
        match result {
            Ok(data) if data == *expected => self.rotten_ended(chunk, findings, true),
            Ok(_) => self.disk_failed("a chunk that was rewritten reads otherwise".into()),
            Err(reason) => self.disk_failed(reason),
        }
    }

    fn rotten_ended(&mut self, chunk: u32, findings: Vec<Finding>, healed: bool) {
        let findings = if healed { self.what_is_healed(&findings) } else { findings };
        for finding in &findings {
            self.count(finding);
            self.event(Event::Damaged(*finding));
        }
        self.scrub_mended(chunk, &findings);
    }

    /// What the leader has sent heals all but what it has no better itself.
    fn what_is_healed(&self, findings: &[Finding]) -> Vec<Finding> {
        let mut ended = Vec::new();
        for f in findings {
            for offset in (f.offset..f.offset + f.len).step_by(BLOCK as usize) {
                let (wrong, healed) = match self.damage.holds(offset / BLOCK) {
                    true => (Wrong::Both, false),
                    false => (f.wrong, true),
                };
                super::mend::note(&mut ended, Finding { offset, len: BLOCK, wrong, healed, ..*f });
            }
        }
        ended
    }

    /// A read found these blocks damaged, counted from `start` on.
    pub(super) fn found_rotten(&mut self, start: u64, bad: &[u64]) {
        let mut chunks: BTreeMap<u32, Vec<u64>> = BTreeMap::new();
        for offset in bad.iter().map(|block| start + block * BLOCK) {
            let size = self.layout.chunk();
            chunks.entry((offset / size) as u32).or_default().push(offset % size / BLOCK);
        }
        for (chunk, blocks) in chunks {
            if !self.rotten.contains_key(&chunk) {
                self.tell_rotten(chunk, &blocks);
            }
        }
    }

    /// The leader sends nothing that heals this chunk.
    pub(super) fn left_rotten(&mut self, chunk: u32) {
        if let Some(findings) = self.rotten.remove(&chunk) {
            self.rotten_ended(chunk, findings, false);
        }
    }

    /// Nobody will answer for what the leader was told.
    pub(super) fn leader_lost(&mut self) {
        for (chunk, findings) in std::mem::take(&mut self.rotten) {
            self.rotten_ended(chunk, findings, false);
        }
    }

    /// A chunk was judged, or repaired by the leader.
    pub(super) fn scrub_mended(&mut self, chunk: u32, findings: &[Finding]) {
        if let Some(s) = &mut self.scrub
            && s.mending.remove(&chunk)
        {
            s.report.findings.extend(findings);
        }
    }

    /// The leadership is over: nothing more is judged.
    pub(super) fn scrub_gives_up(&mut self) {
        if let Some(s) = &mut self.scrub {
            s.mending.clear();
        }
    }

    pub(super) fn scrub_dirtied(&mut self, first: u32, last: u32) {
        if let Some(s) = &mut self.scrub {
            s.reading.range_mut(first..=last).for_each(|(_, sums)| sums.clear());
        }
    }

    pub(super) fn count(&mut self, finding: &Finding) {
        let count = &mut self.integrity;
        count.undecided += u64::from(finding.wrong == Wrong::Unknown);
        match (finding.healed, finding.node == self.sb.identity.node) {
            (true, true) => count.healed_here += 1,
            (true, false) => count.healed_there += 1,
            (false, _) => count.lost += 1,
        }
    }
}

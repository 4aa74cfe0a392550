//! Reads whose bytes are checked: served from a peer, and healed here, when the local copy is damaged.

use super::sums::{bad_blocks, sums_of};
use super::writers::Span;
use super::*;
use crate::meta::BLOCK;

/// The reads that are not answered yet.
#[derive(Debug, Default)]
pub(super) struct Checked(BTreeMap<Asker, Read>);

#[derive(Debug)]
struct Read {
    offset: u64,
    len: u32,
    state: ReadState,
}

#[derive(Debug, PartialEq, Eq)]
enum ReadState {
    /// Waits for the checksums.
    Asked {
        /// The damaged chunks were healed, if they could be.
        again: bool,
    },
    Reading {
        again: bool,
    },
    /// Waits until these chunks are judged.
    Mending(BTreeSet<u32>),
}

impl Checked {
    /// Forgets all, for their answers.
    pub(super) fn take(&mut self) -> Vec<RequestId> {
        let owner = |asker| match asker {
            Asker::Owner(request) => Some(request),
            Asker::Writer { .. } => None,
        };
        std::mem::take(&mut self.0).into_keys().filter_map(owner).collect()
    }

    /// Forgets those of a link that is gone.
    pub(super) fn drop_link(&mut self, link: LinkId) {
        self.0.retain(|asker, _| !matches!(asker, Asker::Writer { link: l, .. } if *l == link));
    }
}

impl Read {
    /// The whole blocks that it touches: where they begin, and how long they are.
    fn blocks(&self) -> (u64, u64) {
        let start = self.offset / BLOCK * BLOCK;
        (start, (self.offset + u64::from(self.len)).next_multiple_of(BLOCK) - start)
    }
}

impl Replica {
    pub(super) fn local_read(&mut self, request: RequestId, offset: u64, len: u32) {
        if let Err(why) = self.may_write() {
            return self.done(request, Err(why));
        }
        let (end, size) = (offset.checked_add(u64::from(len)), self.layout.size);
        if len as usize > WRITE_MAX || end.is_none_or(|end| end > size) {
            return self.done(request, Err(Denied::OutOfRange { offset, len: u64::from(len), size }));
        }
        if len == 0 {
            return self.done(request, Ok(Reply::Read(Bytes::new())));
        }
        self.start_read(Asker::Owner(request), offset, len);
    }

    pub(super) fn start_read(&mut self, asker: Asker, offset: u64, len: u32) {
        self.checked.0.insert(asker, Read { offset, len, state: ReadState::Asked { again: false } });
    }

    pub(super) fn pump_reads(&mut self) -> bool {
        if self.checked.0.is_empty() {
            return false;
        }
        let askers: Vec<Asker> = self.checked.0.keys().copied().collect();
        for asker in askers {
            let Some(read) = self.checked.0.get(&asker) else { continue };
            let (start, len) = read.blocks();
            match &read.state {
                ReadState::Asked { again } => {
                    let (again, span) = (*again, Span::new(read.offset, u64::from(read.len)));
                    // What is not complete everywhere is shown nowhere.
                    if !self.writers.flying(span) && self.sums_ready(start, len) {
                        self.issue_read(asker, start, len, again);
                    }
                }
                ReadState::Mending(chunks) => {
                    // There may have been no room for all at once.
                    let wanted: Vec<u32> = chunks.iter().copied().collect();
                    wanted.into_iter().for_each(|chunk| {
                        self.mend(chunk);
                    });
                }
                ReadState::Reading { .. } => {}
            }
        }
        false
    }

    fn issue_read(&mut self, asker: Asker, start: u64, len: u64, again: bool) {
        let sums = self.sums(start, len);
        if let Some(read) = self.checked.0.get_mut(&asker) {
            read.state = ReadState::Reading { again };
        }
        self.disk(OpKind::CheckedRead { asker, sums }, DiskOp::Read { offset: start, len: len as u32 });
    }

    pub(super) fn read_checked(&mut self, asker: Asker, sums: &[u32], data: Option<Bytes>) {
        let (trusts, layout) = (self.bug(Bug::TrustBlocks), self.layout);
        let Some(read) = self.checked.0.get_mut(&asker) else { return };
        let (start, whole) = read.blocks();
        let ReadState::Reading { again } = read.state else { return };
        let computed = data.as_deref().map(sums_of).unwrap_or_default();
        let bad = match &data {
            Some(_) if trusts => BTreeSet::new(),
            Some(_) => damaged(layout.chunk(), start, &computed, sums),
            None => {
                let (first, last) = layout.chunks_of(start, whole as usize);
                (first..=last).collect()
            }
        };
        let (offset, len) = (read.offset, read.len as usize);
        let answer = match data {
            Some(data) if bad.is_empty() => {
                let at = (offset - start) as usize;
                let data = data.slice(at..at + len);
                if let Asker::Writer { link, id } = asker {
                    let sums = if len as u64 == whole { computed } else { Vec::new() };
                    self.checked.0.remove(&asker);
                    return self.answer_read(link, id, sums, data);
                }
                Ok(Reply::Read(data))
            }
            _ if again => Err(Denied::Corrupt { offset, len: len as u64 }),
            _ => return read.state = ReadState::Mending(bad),
        };
        self.checked.0.remove(&asker);
        self.answer(asker, answer);
    }

    /// A chunk was judged.
    pub(super) fn reads_mended(&mut self, chunk: u32) {
        for read in self.checked.0.values_mut() {
            if let ReadState::Mending(chunks) = &mut read.state
                && chunks.remove(&chunk)
                && chunks.is_empty()
            {
                read.state = ReadState::Asked { again: true };
            }
        }
    }
}

/// The chunks in which a block is not as its checksum says.
fn damaged(chunk: u64, start: u64, computed: &[u32], sums: &[u32]) -> BTreeSet<u32> {
    let chunk = |block: u64| ((start + block * BLOCK) / chunk) as u32;
    bad_blocks(computed, sums).into_iter().map(chunk).collect()
}

//! A writer's reads of its own copy, which its leader vouches for, and of the leader's.

use super::*;
use crate::core::sums::bad_blocks;
use crate::meta::BLOCK;

impl Session {
    /// This copy is read no more. What was, and was not vouched for, is read anew.
    pub(super) fn read_elsewhere(&mut self) {
        self.from = None;
        for op in self.ops.values_mut() {
            if let What::Read { place: place @ Place::Here { .. }, .. } = &mut op.what {
                *place = Place::Open;
            }
        }
    }

    /// The leader has answered question `id`, and with it those before.
    pub(super) fn vouch(&mut self, id: u64) {
        for op in self.ops.values_mut() {
            if let What::Read { place: Place::Here { ask, vouched, .. }, .. } = &mut op.what {
                *vouched |= *ask <= id;
            }
        }
    }

    /// The next read that was served here and vouched for.
    pub(super) fn shown(&mut self) -> Option<(u64, Bytes)> {
        self.ops.iter_mut().find_map(|(id, op)| match &mut op.what {
            What::Read { place: Place::Here { vouched: true, found, .. }, .. } => Some((*id, found.take()?)),
            _ => None,
        })
    }
}

impl Replica {
    pub(super) fn reads_here(&self, s: &Session) -> bool {
        let ready = |from: u64| self.applied() >= from && s.visible >= from;
        s.joined && self.failed.is_none() && self.sb.consistent && s.from.is_some_and(ready)
    }

    pub(super) fn pump_session_reads(&mut self) {
        let Some(s) = &self.session else { return };
        if !self.reads_here(s) {
            return;
        }
        let waits = |span: &Span| s.flights.iter().any(|(_, f)| f.meets(*span));
        let ready: Vec<(u64, Span)> = s
            .ops
            .iter()
            .filter_map(|(id, op)| match &op.what {
                What::Read { span, place: Place::Open, .. } if !op.sent && !waits(span) => Some((*id, *span)),
                _ => None,
            })
            .collect();
        let (session, before) = (s.number, s.asked);
        let (ask, vouched) = (before + 1, self.bug(Bug::UnvouchedRead));
        for (id, span) in ready {
            let (start, len) = (span.blocks().start, span.blocks().len());
            if !self.sums_ready(start, len) {
                continue;
            }
            let sums = self.sums(start, len);
            let Some(s) = &mut self.session else { return };
            if let Some(What::Read { place, .. }) = s.ops.get_mut(&id).map(|op| &mut op.what) {
                *place = Place::Here { ask, vouched, found: None };
            }
            s.asked = ask;
            let what = DiskOp::Read { offset: start, len: len as u32 };
            self.disk(OpKind::SessionRead { session, id, ask, sums }, what);
        }
        let Some(s) = self.session.as_ref().filter(|s| s.asked > before) else { return };
        let (epoch, link) = (s.epoch, s.joined_link());
        if let Some(link) = link {
            self.send(link, Message::Writer(M::VouchAsk { epoch, id: ask }));
        }
    }

    pub(super) fn show_reads(&mut self) {
        while let Some((id, data)) = self.session.as_mut().and_then(Session::shown) {
            self.op_answered(id, Ok(Reply::Read(data)));
        }
    }

    /// A leader begins anew: it will say when this copy may be read again.
    pub(in crate::core) fn read_elsewhere(&mut self) {
        self.session.iter_mut().for_each(Session::read_elsewhere);
    }

    /// The disk here has answered. If it could not, or not with what was written, the leader is asked instead.
    pub(in crate::core) fn session_read(
        &mut self,
        (session, id, ask): (u64, u64, u64),
        sums: &[u32],
        data: Option<Bytes>,
    ) {
        let op = self.session.as_mut().filter(|s| s.number == session).and_then(|s| s.ops.get_mut(&id));
        let Some(What::Read { span, place, .. }) = op.map(|op| &mut op.what) else { return };
        let (span, blocks) = (*span, span.blocks());
        let found = match place {
            Place::Here { ask: asked, found, .. } if *asked == ask => found,
            // It is read anew meanwhile.
            _ => return,
        };
        let bad = match &data {
            Some(data) => bad_blocks(&sums_of(data), sums),
            None => (0..blocks.len() / BLOCK).collect(),
        };
        if let Some(data) = data.filter(|_| bad.is_empty()) {
            *found = Some(part(&data, span));
            return;
        }
        *place = Place::Far;
        if self.failed.is_none() {
            self.found_rotten(blocks.start, &bad);
        }
    }

    /// What the leader has checked is checked here once more, by its checksums.
    pub(super) fn read_answered(&mut self, id: u64, sums: &[u32], data: &Bytes) {
        let op = self.session.as_mut().and_then(|s| s.ops.get_mut(&id));
        let Some(Op { what: What::Read { span, again, .. }, sent, .. }) = op else { return };
        let (span, whole) = (*span, data.len() as u64 == span.blocks().len());
        let sound = whole
            && sums.len() as u64 * BLOCK == data.len() as u64
            && bad_blocks(&sums_of(data), sums).is_empty();
        if whole && !sound && !*again {
            (*again, *sent) = (true, false);
            return;
        }
        let result = match sound {
            true => Ok(Reply::Read(part(data, span))),
            false => Err(Denied::Corrupt { offset: span.start, len: span.len() }),
        };
        self.op_answered(id, result);
    }
}

/// The bytes of a range, of those of the whole blocks that it touches.
fn part(blocks: &Bytes, span: Span) -> Bytes {
    let at = (span.start - span.blocks().start) as usize;
    blocks.slice(at..at + span.len() as usize)
}

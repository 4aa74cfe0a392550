//! Range leases (N3): while one writer holds a range, the others' writes to it wait their turn.
//!
//! A lease is granted once no write of another is in flight or queued for its range; from the
//! moment it is next in line, new ones are parked. Parked writes of one writer keep their order.

use super::writers::{Asker, Span};
use super::*;
use crate::wire::{LEASES_MAX, WriterMessage as M};

#[derive(Debug, Default)]
pub(super) struct Leases {
    /// Granted and asked for, in the order in which they were asked for.
    list: Vec<Lease>,
    parked: VecDeque<Queued>,
}

#[derive(Debug)]
struct Lease {
    asker: Asker,
    holder: NodeId,
    /// The holder's name for it.
    id: u64,
    span: Span,
    granted: bool,
}

impl Leases {
    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty() && self.parked.is_empty()
    }

    pub(super) fn has_room(&self, holder: NodeId, id: u64) -> bool {
        let mut own = self.list.iter().filter(|l| l.holder == holder);
        own.clone().count() < LEASES_MAX && own.all(|l| l.id != id)
    }

    pub(super) fn ask(&mut self, asker: Asker, holder: NodeId, id: u64, span: Span) {
        self.list.push(Lease { asker, holder, id, span, granted: false });
    }

    pub(super) fn release(&mut self, holder: NodeId, id: u64) -> bool {
        let before = self.list.len();
        self.list.retain(|l| l.holder != holder || l.id != id);
        self.list.len() < before
    }

    pub(super) fn release_all(&mut self, holder: NodeId) -> Vec<u64> {
        self.list.extract_if(.., |l| l.holder == holder).map(|l| l.id).collect()
    }

    /// The leases that `holder` was granted.
    pub(super) fn of(&self, holder: NodeId) -> Vec<u64> {
        self.list.iter().filter(|l| l.holder == holder && l.granted).map(|l| l.id).collect()
    }

    pub(super) fn held_by(&self, holder: NodeId) -> bool {
        self.list.iter().any(|l| l.holder == holder && l.granted)
    }

    /// The link of a writer is gone: what it still waited for it will ask for again.
    pub(super) fn drop_link(&mut self, link: LinkId) {
        let from = |asker: Asker| matches!(asker, Asker::Writer { link: l, .. } if l == link);
        self.list.retain(|l| l.granted || !from(l.asker));
        self.parked.retain(|q| q.link() != Some(link));
    }

    pub(super) fn requests(self) -> Vec<RequestId> {
        let asked = self.list.into_iter().filter(|l| !l.granted).filter_map(|l| match l.asker {
            Asker::Owner(request) => Some(request),
            Asker::Writer { .. } => None,
        });
        let parked = self.parked.into_iter().filter_map(|q| match q {
            Queued::Local { request, .. } => Some(request),
            _ => None,
        });
        asked.chain(parked).collect()
    }

    /// Whose leases keep writes waiting.
    pub(super) fn parked(&self) -> impl Iterator<Item = &Queued> {
        self.parked.iter()
    }

    pub(super) fn parked_for(&self) -> impl Iterator<Item = NodeId> {
        let spans = || self.parked.iter().filter_map(Queued::span);
        let holds = move |l: &&Lease| l.granted && spans().any(|span| span.meets(l.span));
        let holders: BTreeSet<NodeId> = self.list.iter().filter(holds).map(|l| l.holder).collect();
        holders.into_iter()
    }

    /// Whether the node keeps all others out of the whole range.
    pub(super) fn cover(&self, node: NodeId, span: Span) -> bool {
        let holds = |l: &Lease| l.granted && l.holder == node && l.span.holds(span);
        self.list.iter().any(holds)
    }

    /// Whether lease `n` waits for an earlier one of somebody else.
    fn behind(&self, n: usize) -> bool {
        let lease = &self.list[n];
        self.list[..n].iter().any(|l| l.holder != lease.holder && l.span.meets(lease.span))
    }

    /// Whether a lease that is granted, or next in line, keeps this write out.
    fn keeps_out(&self, node: NodeId, span: Span) -> bool {
        let mut against =
            self.list.iter().enumerate().filter(|(_, l)| l.holder != node && l.span.meets(span));
        against.any(|(n, l)| l.granted || !self.behind(n))
    }
}

impl Queued {
    /// The range of a write that is to be ordered here.
    pub(super) fn span(&self) -> Option<Span> {
        match self {
            Queued::Local { offset, data, .. } | Queued::Forward { offset, data, .. } => {
                Some(Span::new(*offset, data.len() as u64))
            }
            _ => None,
        }
    }
}

impl Replica {
    fn queued_origin(&self, entry: &Queued) -> NodeId {
        match entry.link() {
            Some(link) => self.links.get(&link).map_or(self.me().node, |l| l.hello.node),
            None => self.me().node,
        }
    }

    /// Puts a write into the queue, or aside while somebody else's lease keeps it out.
    pub(super) fn take_in(&mut self, entry: Queued) {
        if !self.writers.leases.is_empty() && self.must_park(&entry, self.writers.leases.parked.len()) {
            self.writers.leases.parked.push_back(entry);
        } else {
            self.enqueue(entry);
        }
    }

    /// Whether a lease keeps the write out, or one of the same writer among the first `before` parked
    /// goes before it.
    fn must_park(&self, entry: &Queued, before: usize) -> bool {
        let Some(span) = entry.span() else { return false };
        let node = self.queued_origin(entry);
        if self.bug(Bug::LeaseIgnored) && entry.link().is_some() {
            return false;
        }
        let earlier = |q: &Queued| q.span().is_some_and(|s| s.meets(span)) && self.queued_origin(q) == node;
        self.writers.leases.keeps_out(node, span)
            || self.writers.leases.parked.iter().take(before).any(earlier)
    }

    pub(super) fn pump_leases(&mut self) -> bool {
        if self.writers.leases.is_empty() {
            return false;
        }
        self.unpark() | self.grant_leases()
    }

    fn unpark(&mut self) -> bool {
        let (mut n, mut moved) = (0, false);
        while n < self.writers.leases.parked.len() {
            let entry = &self.writers.leases.parked[n];
            let (node, span) = (self.queued_origin(entry), entry.span());
            // What the former holder left in flight ends first: leased ranges never race.
            let flying = span.is_some_and(|span| self.writers.in_flight(span, node));
            if flying || self.must_park(entry, n) {
                n += 1;
                continue;
            }
            if let Some(entry) = self.writers.leases.parked.remove(n) {
                self.enqueue(entry);
                moved = true;
            }
        }
        moved
    }

    fn grant_leases(&mut self) -> bool {
        let Some(epoch) = self.leading().map(|l| l.grant.epoch) else { return false };
        let mut moved = false;
        for n in 0..self.writers.leases.list.len() {
            let Lease { asker, holder, id, span, granted } = self.writers.leases.list[n];
            let queued = || {
                let other = |q: &Queued| self.queued_origin(q) != holder;
                self.queue.iter().any(|q| q.span().is_some_and(|s| s.meets(span)) && other(q))
            };
            if granted || self.writers.leases.behind(n) || self.writers.in_flight(span, holder) || queued() {
                continue;
            }
            self.writers.leases.list[n].granted = true;
            moved = true;
            self.answer(asker, Ok(Reply::Leased(LeaseId { epoch, number: id })));
        }
        moved
    }

    /// A lease for this replica's own handle, of the leader or of a writer that joined.
    pub(super) fn lease(&mut self, request: RequestId, epoch: u64, offset: u64, len: u64) {
        let size = self.layout.size;
        if !self.fits(offset, len) || len == 0 {
            return self.done(request, Err(Denied::OutOfRange { offset, len, size }));
        }
        if self.session.as_ref().is_some_and(|s| s.is(epoch)) {
            return self.session_lease(request, offset, len);
        }
        match self.may_write() {
            Err(why) => self.done(request, Err(why)),
            Ok(()) if self.leading().is_none_or(|l| l.grant.epoch != epoch) => {
                self.done(request, Err(Denied::NotLeading));
            }
            Ok(()) if !self.writers.leases.has_room(self.me().node, request.0) => {
                self.done(request, Err(Denied::Busy));
            }
            Ok(()) => {
                let (node, span) = (self.me().node, Span::new(offset, len));
                self.writers.leases.ask(Asker::Owner(request), node, request.0, span);
            }
        }
    }

    /// Whether a lease of this replica's own handle still holds, as far as is known here.
    pub fn holds(&self, lease: LeaseId) -> bool {
        let LeaseId { epoch, number } = lease;
        match self.leading() {
            Some(l) => l.grant.epoch == epoch && self.writers.leases.of(self.me().node).contains(&number),
            None => self.session.as_ref().is_some_and(|s| s.is(epoch) && s.leases.contains(&number)),
        }
    }

    pub(super) fn unlease(&mut self, lease: LeaseId) {
        let LeaseId { epoch, number } = lease;
        if self.leading().is_some_and(|l| l.grant.epoch == epoch) {
            let node = self.me().node;
            self.writers.leases.release(node, number);
        } else if let Some(session) = &mut self.session
            && session.is(epoch)
            && session.leases.remove(&number)
            && let Some(link) = session.joined_link()
        {
            self.send(link, Message::Writer(M::Release { epoch, id: number }));
        }
    }

    /// Leases of writers that have been away for too long end.
    pub(super) fn end_lost_leases(&mut self) {
        let led = self.leading().filter(|_| !self.bug(Bug::LeaseOutlives));
        let Some(epoch) = led.map(|l| l.grant.epoch) else { return };
        let (now, grace) = (self.now, self.config.lease_grace);
        let over: Vec<NodeId> =
            self.writers.away().filter(|(_, lost)| now >= *lost + grace).map(|(node, _)| node).collect();
        for holder in over {
            for number in self.writers.leases.release_all(holder) {
                self.event(Event::LeaseLost { holder, lease: LeaseId { epoch, number } });
            }
        }
    }
}

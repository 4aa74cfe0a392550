//! Protocols A, B and C: who is waited for, and how a peer under C becomes a candidate for the in-sync set.

use super::*;
use crate::config::{Congestion, Protocol};

/// The way of a peer under C from the end of its resync to where it may be proposed as a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Join {
    /// Until it has flushed up to here: all that may have been acknowledged without it.
    Flushing { seq: u64 },
    /// Until it has recorded that it is waited for.
    Adopting { version: u64 },
}

impl Replica {
    /// The protocol towards a peer while no grant and no proposal counts it.
    pub fn protocol(&self, node: NodeId) -> Protocol {
        self.protocols.get(&node).copied().unwrap_or(self.config.protocol)
    }

    /// Changes the protocol towards a peer, connected or not, at any time. A member of the in-sync set is
    /// waited for as under C until a grant leaves it out. A peer that comes to C is reported by
    /// [`Event::PeerSynced`] when it may be proposed. Kept until the volume is opened anew.
    pub fn set_protocol(&mut self, now: Duration, node: NodeId, protocol: Protocol) {
        self.now = self.now.max(now);
        let before = self.protocol(node);
        self.protocols.insert(node, protocol);
        if let Some(link) = self.find_link(node)
            && (before == Protocol::C) != (protocol == Protocol::C)
        {
            self.change_course(link, protocol);
        }
        self.advance();
    }

    fn change_course(&mut self, link: LinkId, protocol: Protocol) {
        let seq = self.seq;
        let Some(member) = self.links.get(&link).map(Link::member) else { return };
        let counts = self.counts(&member);
        let Some(t) = self.target(link).filter(|t| t.state == TargetState::Synced && !counts) else { return };
        if protocol == Protocol::C {
            t.joins = Some(Join::Flushing { seq });
            t.flush_wanted = true;
        } else {
            t.joins = None;
            self.tell_version();
        }
    }

    /// All synced peers are to record the set anew.
    pub(super) fn tell_version(&mut self) -> u64 {
        let Role::Leading(l) = &mut self.role else { return 0 };
        l.version += 1;
        l.version
    }

    /// Whether the grant or a pending change counts it.
    pub(super) fn counts(&self, member: &Member) -> bool {
        self.leading().is_some_and(|l| {
            l.grant.in_sync.contains(member) || l.pending.as_ref().is_some_and(|p| p.contains(member))
        })
    }

    /// Whether the peer follows the stream and no flush waits for its disk.
    pub(super) fn lags(&self, member: &Member) -> bool {
        let optional = self.protocol(member.node) != Protocol::C && !self.counts(member);
        optional && !self.writers.reads(member.node)
    }

    /// The set that a peer is told: with itself, if the flushes wait for it. They do when it is proposed: the quorum may have
    /// made it a member by then.
    pub(super) fn told_members(&self, link: LinkId) -> MemberSet {
        let Some(leading) = self.leading() else { return MemberSet::new() };
        let mut set = leading.grant.in_sync.clone();
        let Some(l) = self.links.get(&link) else { return set };
        let flushing = |t: &Target| matches!(t.joins, Some(Join::Flushing { .. }));
        let has_joined = matches!(&l.side, Side::Target(t) if t.state == TargetState::Synced && !flushing(t))
            && !self.lags(&l.member());
        if has_joined || leading.pending.as_ref().is_some_and(|p| p.contains(&l.member())) {
            set.insert(l.member());
        }
        set
    }

    /// The peer holds all that we held at the end of its resync.
    pub(super) fn start_join(&mut self, link: LinkId, member: Member) {
        let (seq, lags) = (self.seq, self.lags(&member));
        let Some(t) = self.target(link) else { return };
        t.joins = if lags { None } else { Some(Join::Flushing { seq }) };
        if lags {
            self.event(Event::PeerFollows { peer: member.node, device: member.device });
        }
    }

    /// After a flush was answered or a set adopted: the next step, if it is time for it.
    pub(super) fn pump_joins(&mut self) {
        let links: Vec<LinkId> = self.links.keys().copied().collect();
        for link in links {
            self.pump_join(link);
        }
    }

    fn pump_join(&mut self, link: LinkId) {
        let Some(member) = self.links.get(&link).map(Link::member) else { return };
        let counts = self.counts(&member);
        let Some(t) = self.target(link) else { return };
        match t.joins {
            Some(Join::Flushing { seq }) if t.flushed >= seq && !counts => {
                let version = self.tell_version();
                if let Some(t) = self.target(link) {
                    t.joins = Some(Join::Adopting { version });
                }
            }
            Some(Join::Flushing { seq }) if t.flushed >= seq => self.joined(link, member),
            Some(Join::Adopting { version }) if t.adopted >= version => self.joined(link, member),
            _ => {}
        }
    }

    fn joined(&mut self, link: LinkId, member: Member) {
        if let Some(t) = self.target(link) {
            t.joins = None;
        }
        self.event(Event::PeerSynced { peer: member.node, device: member.device });
        self.let_read(link);
    }

    /// Whether the peer may be proposed: it holds all that was ever acknowledged, and is waited for.
    pub(super) fn may_join(&self, member: &Member) -> bool {
        let ready = |t: &Target| t.state == TargetState::Synced && t.joins.is_none();
        let link = self.links.values().find(|l| l.member() == *member);
        !self.lags(member) && matches!(link.map(|l| &l.side), Some(Side::Target(t)) if ready(t))
    }

    /// Protocol B: whether a flush still waits for the peer's memory.
    pub(super) fn unreached(&self, member: &Member, t: &Target, seq: u64) -> bool {
        t.state == TargetState::Synced
            && !self.bug(Bug::AckUnreceived)
            && t.reached < seq
            && self.protocol(member.node) == Protocol::B
            && !self.counts(member)
    }

    /// Asks the peers under B whether they have got what the newest flush covers; one question at a time.
    pub(super) fn pump_reach(&mut self) {
        let Some(epoch) = self.leading().map(|l| l.grant.epoch) else { return };
        let Some(wanted) = self.flushes.back().map(|f| f.seq) else { return };
        let (seq, now) = (self.seq, self.now);
        let asked = self.links.iter().filter(|(_, l)| match &l.side {
            Side::Target(t) => t.reach.is_none() && self.unreached(&l.member(), t, wanted),
            _ => false,
        });
        for link in asked.map(|(id, _)| *id).collect::<Vec<_>>() {
            if let Some(t) = self.target(link) {
                t.reach = Some((seq, now));
            }
            self.send(link, Message::Reach { epoch, seq });
        }
    }

    pub(super) fn reached(&mut self, link: LinkId, seq: u64) {
        let last = self.seq;
        let Some(t) = self.target(link).filter(|t| t.state != TargetState::Beginning) else { return };
        if seq > last {
            return self.refuse(link, Refusal::Protocol);
        }
        if t.reach.take_if(|(asked, _)| *asked == seq).is_some() {
            t.reached = t.reached.max(seq);
        }
    }

    /// Whether every peer that keeps step has room for another write. By policy, one under A or B that has
    /// none makes room by falling behind.
    pub(super) fn make_room(&mut self) -> bool {
        let window = self.config.peer_window();
        let full = |l: &Link| matches!(&l.side, Side::Target(t) if t.state >= TargetState::Finishing && t.in_flight() >= window);
        let behind = |l: &Link| matches!(&l.side, Side::Target(t) if t.state == TargetState::Synced);
        if self.config.congestion == Congestion::Behind {
            let slow = self.links.iter().filter(|(_, l)| full(l) && behind(l) && self.lags(&l.member()));
            for link in slow.map(|(id, _)| *id).collect::<Vec<_>>() {
                self.fall_behind(link);
            }
        }
        !self.links.values().any(full)
    }

    /// From here on the peer gets what there is room for, and the rest from its bitmap.
    fn fall_behind(&mut self, link: LinkId) {
        let Some(member) = self.links.get(&link).map(Link::member) else { return };
        let Some(slot) = self.slot_of(member.device) else { return };
        if let Some(t) = self.target(link) {
            t.state = TargetState::Syncing;
            t.reach = None;
        }
        self.event(Event::PeerBehind { peer: member.node });
        self.start_sync(link, slot);
    }

    /// A peer under A or B must not hold up the activity log: what it has not flushed is in its bitmap until
    /// its next flush is answered, as after a copy.
    pub(super) fn note_laggards(&mut self) {
        let links: Vec<(LinkId, Member)> = self.links.iter().map(|(id, l)| (*id, l.member())).collect();
        for (link, member) in links {
            let lags = self.lags(&member);
            let Some(slot) = self.slot_of(member.device) else { continue };
            let seq = self.seq;
            let Some(t) = self.target(link).filter(|t| lags && t.state == TargetState::Synced) else {
                continue;
            };
            let from = t.flushed.max(t.noted);
            t.noted = seq;
            t.flush_wanted |= from < seq;
            let unflushed: Vec<(u32, u32)> =
                self.recent.iter().filter(|r| r.seq > from).map(|r| (r.first, r.last)).collect();
            for granule in unflushed.into_iter().flat_map(|(first, last)| first..=last) {
                self.note_sent(link, slot, granule);
            }
        }
    }

    fn note_sent(&mut self, link: LinkId, slot: usize, granule: u32) {
        let fresh = !self.slots[slot].bits.get(granule);
        self.mark(slot, granule);
        let Some(t) = self.target(link) else { return };
        let flush = t.next_flush;
        t.copies.was_written(granule, flush, fresh);
    }
}

//! Who should lead next: how good a candidate this replica is, and the heir of a leader that ended.

use super::*;
use std::fmt;

/// How good a candidate for the leadership a replica is. Of several, the one with the highest score lacks the least; it is
/// told by what each knows itself, so a replica that lost its links may think too well of itself. Whoever grants decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// 0: it cannot lead. Up to 19: only after a rollback, which loses the resync under way. 20 to 39: it lacks, or may lack,
    /// what was acknowledged. 60 to 99: it is in sync, as far as it knows. 100: it leads. Within a range, one more for
    /// each connected peer, and ten more for an heir.
    pub score: u32,
    /// Why.
    pub reasons: Vec<Reason>,
}

/// What makes a replica a better or a worse candidate.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// It leads.
    Leads,
    /// It was closed.
    Closed,
    /// Its disk failed, or it has none (R11).
    NoDisk(Arc<str>),
    /// It is in the midst of a resync (R9).
    Inconsistent {
        /// Whether it can go back to before it.
        can_roll_back: bool,
    },
    /// Nothing was ever written to it.
    Blank,
    /// It was in the in-sync set when it last heard of it.
    InSync,
    /// It was not.
    NotInSync,
    /// The leader that it followed has ended and had all of its acknowledged writes here.
    Heir,
    /// A connected peer holds a newer generation.
    Newer {
        /// Who.
        node: NodeId,
        /// The number of that generation.
        generation: u64,
    },
    /// Another node leads, and is connected: it must end first.
    Follows(NodeId),
    /// A connected peer: a successor that sees it can bring it in step.
    Sees(NodeId),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Leads => f.write_str("it leads"),
            Reason::Closed => f.write_str("it is closed"),
            Reason::NoDisk(why) => write!(f, "no disk: {why}"),
            Reason::Inconsistent { can_roll_back: true } => {
                f.write_str("in the midst of a resync, which can be rolled back")
            }
            Reason::Inconsistent { can_roll_back: false } => f.write_str("in the midst of a resync"),
            Reason::Blank => f.write_str("blank"),
            Reason::InSync => f.write_str("in sync when it last heard"),
            Reason::NotInSync => f.write_str("not in sync when it last heard"),
            Reason::Heir => f.write_str("the leader ended and left it in sync"),
            Reason::Newer { node, generation } => {
                write!(f, "node {node} holds the newer generation {generation}")
            }
            Reason::Follows(node) => write!(f, "node {node} leads"),
            Reason::Sees(node) => write!(f, "sees node {node}"),
        }
    }
}

/// What an in-sync follower of a leader that ended knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heir {
    /// Who led.
    pub leader: NodeId,
    /// A successor's epoch must exceed this.
    pub epoch: u64,
    /// It ended because its disk failed; otherwise it was told to.
    pub disk_failed: bool,
}

impl Replica {
    /// What the leader on this link said of the set.
    pub(super) fn note_membership(&mut self, link: LinkId, members: &MemberSet) {
        let me = self.me();
        if let Some(Link { side: Side::Source { member, synced, .. }, .. }) = self.links.get_mut(&link) {
            (*member, *synced) = (members.contains(&me), true);
        }
    }

    /// The leader on this link has ended. Says whether this copy has all that it acknowledged: a set without it would have been
    /// told before anything was acknowledged without it, and on the same link.
    pub(super) fn inherit(&mut self, link: LinkId, epoch: u64, disk_failed: bool) -> bool {
        let Some(Link { side: Side::Source { member: true, .. }, hello, .. }) = self.links.get(&link) else {
            return false;
        };
        if !self.sb.consistent || self.failed.is_some() {
            return false;
        }
        self.heir = Some(Heir { leader: hello.node, epoch, disk_failed });
        true
    }

    pub(super) fn leader_failed(&mut self, link: LinkId) {
        let Some(Link { side: Side::Source { epoch, .. }, hello, .. }) = self.links.get(&link) else {
            return;
        };
        let (peer, epoch) = (hello.node, *epoch);
        let in_sync = self.inherit(link, epoch, true);
        self.event(Event::LeaderFailed { peer, epoch, in_sync });
    }

    pub(super) fn candidate(&self) -> Candidate {
        let (base, mut reasons) = self.own_merits();
        let own = self.sb.lineage.current().generation;
        let mut score = base;
        for link in self.links.values() {
            let (node, theirs) = (link.hello.node, link.hello.generation.generation);
            if theirs > own && base < 100 {
                reasons.push(Reason::Newer { node, generation: theirs });
                score = score.min(20);
            }
            reasons.push(match link.side {
                Side::Source { .. } => Reason::Follows(node),
                _ => Reason::Sees(node),
            });
        }
        // At most eight copies.
        let seen = if score == 0 || score == 100 { 0 } else { self.links.len().min(9) as u32 };
        Candidate { score: score + seen, reasons }
    }

    fn own_merits(&self) -> (u32, Vec<Reason>) {
        if let Some(why) = &self.failed {
            return (0, vec![Reason::NoDisk(why.clone())]);
        }
        let can_roll_back = self.undo_active();
        match () {
            () if matches!(self.role, Role::Closed) => (0, vec![Reason::Closed]),
            () if self.leading().is_some() => (100, vec![Reason::Leads]),
            () if !self.sb.consistent => {
                (if can_roll_back { 10 } else { 0 }, vec![Reason::Inconsistent { can_roll_back }])
            }
            () if self.sb.lineage.is_blank() => (20, vec![Reason::Blank]),
            () if !self.sb.members.contains(&self.me()) => (20, vec![Reason::NotInSync]),
            () if self.heir.is_some() => (80, vec![Reason::InSync, Reason::Heir]),
            () => (60, vec![Reason::InSync]),
        }
    }
}

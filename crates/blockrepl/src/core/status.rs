//! A picture of a replica, for operators and for its owner.

use super::*;
use crate::bitmap::EXTENT;
use crate::ids::GenerationId;

/// What a replica does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoleStatus {
    /// It obeys the leader of its epoch, if one is connected.
    Follower,
    /// It leads.
    Leader,
    /// Its disk failed (R11).
    Failed,
    /// It was closed.
    Closed,
}

/// How a peer stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkStatus {
    /// No link.
    Down,
    /// A link, and nobody leads on it.
    Idle,
    /// It leads, we follow.
    Leader,
    /// We lead; the handshake is under way.
    Beginning,
    /// We lead; it is being resynced.
    Syncing,
    /// We lead; it has all that was acknowledged, and may be in the in-sync set.
    Synced,
    /// We lead; it follows the stream under protocol A or B, and is not waited for.
    Following,
}

/// How a resync goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResyncStatus {
    /// The limit in force, in bytes a second; `None`: as fast as it goes.
    pub rate: Option<u64>,
    /// It is held until [`Volume::resume_resync`](crate::Volume::resume_resync).
    pub paused: bool,
}

/// One peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerStatus {
    /// The node.
    pub node: NodeId,
    /// Its device.
    pub device: DeviceId,
    /// How it stands.
    pub link: LinkStatus,
    /// Bytes that may differ from ours: what a resync has left to copy.
    pub dirty_bytes: u64,
    /// Bytes sent and not yet written there.
    pub in_flight_bytes: u64,
    /// Age of its oldest unanswered flush.
    pub flush_age: Option<Duration>,
    /// What is waited for, while no grant counts it.
    pub protocol: Protocol,
    /// Its resync, while it has one.
    pub resync: Option<ResyncStatus>,
}

/// One replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Who it is.
    pub identity: Identity,
    /// Bytes of the device.
    pub size: u64,
    /// What it does.
    pub role: RoleStatus,
    /// The highest epoch known here; lower ones are refused.
    pub epoch: u64,
    /// The newest generation of the data.
    pub generation: GenerationId,
    /// False in the midst of a resync (R9).
    pub consistent: bool,
    /// Whether that resync can be rolled back.
    pub can_roll_back: bool,
    /// The in-sync set as last recorded here.
    pub in_sync: MemberSet,
    /// A change of it whose outcome is not known yet.
    pub pending: Option<MemberSet>,
    /// All peers that are connected or tracked.
    pub peers: Vec<PeerStatus>,
    /// Why the oldest flush, write or operation of a writer waits; empty when none does.
    pub waiting: Vec<Waiting>,
    /// Bytes that would be copied after a crash now, besides what is dirty already.
    pub hot_bytes: u64,
    /// What was found damaged, and what came of it.
    pub integrity: Integrity,
    /// The disk's error.
    pub failed: Option<Arc<str>>,
    /// The highest epoch heard of; a new leader's must exceed it, or equal it if it was raised here.
    pub known_epoch: u64,
    /// Nodes that write through this leader, and whether each reads its own copy.
    pub writers: Vec<(NodeId, bool)>,
    /// Writes of this leader's epoch that raced with another writer's to the same bytes.
    pub overlaps: u64,
    /// How good a candidate for the leadership it is, and why.
    pub candidate: Candidate,
    /// The leader it followed has ended in order, and this copy has all that was acknowledged: it may be led now.
    pub heir: Option<Heir>,
    /// This node's handle under another leader.
    pub session: Option<SessionStatus>,
}

impl PeerStatus {
    /// Whether it is a node whose disk failed, or that has none.
    pub fn is_diskless(&self) -> bool {
        self.device == DeviceId::default()
    }
}

impl Replica {
    /// Since when the disk owes an answer.
    pub fn disk_age(&self, now: Duration) -> Option<Duration> {
        self.ops.values().next().map(|(_, begun)| now.saturating_sub(*begun))
    }

    /// The picture as of the last input.
    pub fn status(&self) -> Status {
        let role = match (&self.failed, &self.role) {
            (Some(_), _) => RoleStatus::Failed,
            (None, Role::Leading(_)) => RoleStatus::Leader,
            (None, Role::Follower) => RoleStatus::Follower,
            (None, Role::Closed) => RoleStatus::Closed,
        };
        Status {
            identity: self.sb.identity,
            size: self.layout.size,
            role,
            epoch: self.floor,
            generation: self.sb.lineage.current(),
            consistent: self.sb.consistent,
            can_roll_back: self.undo_active(),
            in_sync: self.sb.members.clone(),
            pending: self.leading().and_then(|l| l.pending.clone()),
            peers: self.peers(),
            waiting: self.waiting(),
            hot_bytes: self.hot.len() as u64 * EXTENT,
            integrity: Integrity {
                memory_bytes: self.sums.bytes(),
                damaged_bytes: self.damage.bytes(),
                ..self.integrity
            },
            failed: self.failed.clone(),
            known_epoch: self.floor.max(self.known),
            writers: self.writers.list().collect(),
            overlaps: self.writers.overlaps(),
            candidate: self.candidate(),
            heir: self.heir,
            session: self.session_status(),
        }
    }

    fn waiting(&self) -> Vec<Waiting> {
        let mut waits = self.flushes.front().map(|f| self.waits(f.seq, f.order)).unwrap_or_default();
        waits.extend(self.write_waits());
        waits.extend(self.session_waits());
        waits
    }

    fn peers(&self) -> Vec<PeerStatus> {
        let mut members: MemberSet = self.links.values().map(Link::member).collect();
        members.extend(self.slots.iter().map(|s| Member { node: s.head.node, device: s.head.device }));
        members.into_iter().map(|m| self.peer(m)).collect()
    }

    fn peer(&self, member: Member) -> PeerStatus {
        let found = self.links.values().find(|l| l.member() == member);
        let side = found.map(|l| &l.side);
        let target = match side {
            Some(Side::Target(t)) => Some(&**t),
            _ => None,
        };
        let link = match side {
            None => LinkStatus::Down,
            // A node without a disk is told so.
            Some(Side::Idle) if found.is_some_and(|l| l.leads.is_some()) => LinkStatus::Leader,
            Some(Side::Idle) => LinkStatus::Idle,
            Some(Side::Source { .. }) => LinkStatus::Leader,
            Some(Side::Target(t)) => match t.state {
                TargetState::Beginning => LinkStatus::Beginning,
                TargetState::Syncing | TargetState::Finishing => LinkStatus::Syncing,
                TargetState::Synced if self.lags(&member) => LinkStatus::Following,
                TargetState::Synced if t.joins.is_some() => LinkStatus::Syncing,
                TargetState::Synced => LinkStatus::Synced,
            },
        };
        let dirty = self.slot_of(member.device).map_or(0, |s| self.slots[s].bits.count());
        PeerStatus {
            node: member.node,
            device: member.device,
            link,
            dirty_bytes: u64::from(dirty) * self.layout.granule,
            in_flight_bytes: target.map_or(0, Target::in_flight),
            protocol: self.protocol(member.node),
            resync: target
                .filter(|t| t.state == TargetState::Syncing)
                .map(|t| ResyncStatus { rate: t.pace.rate(), paused: self.paused.contains(&member.node) }),
            flush_age: target.and_then(|t| t.flush.as_ref()).map(|f| self.now.saturating_sub(f.since)),
        }
    }
}

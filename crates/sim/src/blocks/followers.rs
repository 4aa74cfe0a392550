//! Copies under protocol A or B: they follow the stream, are never counted as in sync, and lead only when an operator
//! says so; what they may lack then is what their protocol says.

use std::rc::Rc;

use posthaste_blockrepl::core::Event as Told;
use posthaste_blockrepl::{NodeId, Protocol};

use super::authority::Grants;
use super::oracle::Loss;
use super::owner::node;
use super::world::World;

/// What is known of one copy as a follower.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Follows {
    /// The leader has said that it has caught up, and nothing has broken since.
    keeps_up: bool,
    /// It shows some moment of the device: no power cut has torn what it had not flushed.
    whole: bool,
}

impl World {
    /// The leader's owner sets what was configured.
    pub(super) fn set_protocols(&mut self, n: usize) {
        let now = self.replica_now(n);
        let protocols = self.protocols;
        let Some(p) = self.proc(n) else { return };
        for (m, protocol) in protocols.into_iter().enumerate().filter(|(m, _)| *m != n) {
            p.replica.set_protocol(now, NodeId(m as u64 + 1), protocol);
        }
        self.drain(n);
    }

    /// An operator changes it, whatever is under way.
    pub(super) fn change_protocol(&mut self, n: usize, protocol: Protocol) {
        self.protocols[n] = protocol;
        (0..self.copies).for_each(|n| self.set_protocols(n));
    }

    /// What a leader says of a follower, the moment it says so.
    pub(super) fn told_of_followers(&mut self, n: usize, event: &Told) {
        let leads = self.authority.current().leader == Some(n);
        match event {
            Told::PeerFollows { peer, .. } | Told::PeerSynced { peer, .. } if leads => {
                self.follows[node(*peer)] = Follows { keeps_up: true, whole: true };
            }
            Told::PeerLost { peer, .. } | Told::PeerBehind { peer } | Told::ResyncStarted { peer, .. } => {
                self.follows[node(*peer)].keeps_up = false;
            }
            _ => {}
        }
    }

    /// It died; without power, what it had not flushed may be torn.
    pub(super) fn follower_dies(&mut self, n: usize, power: bool) {
        self.follows[n].keeps_up = false;
        self.follows[n].whole &= !power;
    }

    /// The operator makes a follower lead whose leader is dead for good, as far as he knows. Under B it lacks nothing
    /// that was acknowledged while it kept up, under A the newest writes.
    pub(super) fn promote(&mut self, n: usize) {
        let current = self.authority.current().clone();
        let counted_alive = current.in_sync.iter().any(|m| self.machines[node(m.node)].up);
        let Some(status) = self.replica(n).map(|r| r.status()).filter(|_| !counted_alive) else { return };
        if self.machines[n].paused_until.is_some() || !(status.consistent || status.can_roll_back) {
            return;
        }
        let follows = self.follows[n];
        self.oracle.accept = match (self.protocols[n], follows) {
            (Protocol::B, Follows { keeps_up: true, .. }) => Loss::Nothing,
            (_, Follows { whole: true, .. }) => Loss::Newest,
            _ => Loss::Any,
        };
        self.split = true;
        self.parted = self.machines[n].disks.as_ref().map(|[data, _]| data.when_done());
        let next = Grants {
            rev: current.rev + 1,
            epoch: current.epoch + 1,
            leader: Some(n),
            in_sync: [self.me(n)].into(),
            generation: current.generation.max(status.generation.generation) + 1,
            writers: Default::default(),
        };
        self.say(|| format!("the operator makes {n} lead, which is {follows:?}: {next:?}"));
        self.authority.history.push(Rc::new(next));
        self.promoted += 1;
    }
}

//! Whom to fence and when, and when to ask back in (R6).

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Duration;

use super::Agent;
use super::proposals::Purpose;
use crate::state::{Command, Role, State, Status};
use crate::{NodeId, Time};

/// Since when something has been wrong with a peer.
#[derive(Debug, Default)]
pub(super) struct Watch {
    broken: BTreeMap<NodeId, Time>,
    deaf: BTreeMap<NodeId, Time>,
    stranger: BTreeMap<NodeId, Time>,
    /// Since when this member is known here to be fenced.
    out: Option<Time>,
}

/// Notes when `holds` began for `node`, and says for how long it has held.
fn held_for(since: &mut BTreeMap<NodeId, Time>, node: NodeId, holds: bool, now: Time) -> Option<Duration> {
    if !holds {
        since.remove(&node);
        return None;
    }
    Some(now.since(*since.entry(node).or_insert(now)))
}

impl Agent {
    pub(super) fn reconcile_members(&mut self, now: Time, state: &State) {
        let Some(me) = state.members.get(&self.config.me).cloned() else { return };
        self.watch_peers(now, state);
        self.members.out = match me.status {
            Status::Up => None,
            Status::Fenced => self.members.out.or(Some(now)),
        };
        if self.stint().is_none() {
            self.ask_in(now, state, me.status);
        } else if me.role == Role::Node && self.holder.is_valid(now) {
            self.fence_the_lost(now, state);
        }
    }

    fn watch_peers(&mut self, now: Time, state: &State) {
        for peer in self.peers.clone() {
            let deaf = self.says_it_cannot_hear_me(now, peer);
            held_for(&mut self.members.deaf, peer, deaf, now);
            let stranger = self.is_stranger(state, peer);
            held_for(&mut self.members.stranger, peer, stranger, now);
            let broken = self.is_broken(now, peer);
            held_for(&mut self.members.broken, peer, broken, now);
        }
    }

    /// The link fails in at least one direction.
    fn is_broken(&self, now: Time, peer: NodeId) -> bool {
        // Long enough for a beat that was sent after an own pause to be answered.
        let patience = self.config.detector.heartbeat_every * 2;
        let deaf = self.members.deaf.get(&peer).is_some_and(|since| now.since(*since) >= patience);
        !self.detector.is_alive(peer) || deaf
    }

    fn says_it_cannot_hear_me(&self, now: Time, peer: NodeId) -> bool {
        let patience = self.config.detector.suspect_after;
        let fresh = self.detector.silence(now, peer).is_some_and(|s| s < patience);
        let told = self.detector.silence_seen_by(now, peer, self.config.me);
        fresh && told.is_some_and(|silence| silence >= patience)
    }

    /// In as another life than the one that is heard, and it does not say `Restarted`: it cannot.
    fn is_stranger(&self, state: &State, peer: NodeId) -> bool {
        let heard = self.detector.incarnation(peer).filter(|_| self.detector.is_alive(peer));
        let member = state.members.get(&peer).filter(|m| m.status == Status::Up);
        matches!((heard, member), (Some(i), Some(m)) if i != m.incarnation)
    }

    fn ask_in(&mut self, now: Time, state: &State, status: Status) {
        let (node, incarnation, store) = (self.config.me, self.config.incarnation, self.config.store);
        let command = match status {
            Status::Up => Command::Restarted { node, incarnation, store },
            Status::Fenced if self.may_return(now, state) => Command::Return { node, incarnation, store },
            Status::Fenced => return,
        };
        self.propose(now, Purpose::Rejoin, command);
    }

    /// Not while there is a cut between this member and one that is in: it would be fenced again.
    fn may_return(&self, now: Time, state: &State) -> bool {
        let witness = self.myself().is_some_and(|m| m.role == Role::Witness);
        // The other side of a cut may notice it first: what was heard before the fence proves nothing.
        let fenced_for = self.members.out.map(|since| now.since(since));
        if !witness && fenced_for.is_none_or(|d| d < self.config.return_after) {
            return false;
        }
        witness || state.up_nodes().all(|peer| peer == self.config.me || self.is_no_obstacle(now, peer))
    }

    fn is_no_obstacle(&self, now: Time, peer: NodeId) -> bool {
        let steady = self.detector.alive_for(now, peer).is_some_and(|d| d >= self.config.return_after);
        let both_ways = steady && !self.members.deaf.contains_key(&peer);
        let gone = !self.detector.is_alive(peer) && !self.is_seen_by_a_third(now, peer);
        both_ways || gone
    }

    /// Whether it is a cut rather than a death: another voter has heard `peer` just now.
    fn is_seen_by_a_third(&self, now: Time, peer: NodeId) -> bool {
        let recent = self.config.detector.heartbeat_every * 3;
        let Some(state) = self.state() else { return false };
        state.voters().filter(|t| *t != peer && *t != self.config.me).any(|third| {
            self.detector.is_alive(third)
                && self.detector.silence_seen_by(now, third, peer).is_some_and(|s| s < recent)
        })
    }

    fn fence_the_lost(&mut self, now: Time, state: &State) {
        let up: Vec<NodeId> = state.up_nodes().filter(|n| *n != self.config.me).collect();
        let due = |p: &NodeId| self.is_due(now, state, *p) && !self.rests_on(state, *p);
        let due: Vec<NodeId> = up.iter().copied().filter(due).collect();
        for target in due {
            let avoid = up.iter().copied().filter(|n| *n != target && self.is_broken(now, *n)).collect();
            let (by, membership_epoch) = (self.config.me, state.membership_epoch);
            let command = Command::Fence { target, by, membership_epoch, avoid };
            self.propose(now, Purpose::Fence(target), command);
        }
    }

    /// Whether `home` may still come for what belongs to it, `since` nobody owns it.
    pub(super) fn home_may_come(&self, now: Time, state: &State, home: NodeId, since: Time) -> bool {
        if home == self.config.me {
            return false;
        }
        let heard = self.detector.alive_for(now, home).is_some();
        let patience = if state.is_up_node(home) { self.config.elect_after } else { self.config.start_grace };
        let starting = now.since(self.started) < self.config.start_grace;
        (heard && now.since(since) < patience) || (starting && !heard)
    }

    fn is_due(&self, now: Time, state: &State, peer: NodeId) -> bool {
        let spared = now.since(self.started) < self.config.start_grace;
        if spared && self.detector.incarnation(peer).is_none() {
            return false;
        }
        let strange = self.members.stranger.get(&peer).map(|since| now.since(*since));
        if strange.is_some_and(|d| d >= self.config.start_grace) {
            return true;
        }
        let Some(broken) = self.members.broken.get(&peer).map(|since| now.since(*since)) else {
            return false;
        };
        let yields = self.is_seen_by_a_third(now, peer) && !self.is_preferred(state, peer);
        broken >= if yields { self.config.cut_delay } else { Duration::ZERO }
    }

    /// A volume that is led here has its mail there, and here on a failed disk only: before the fence it is
    /// handed over, for afterwards the dead disk would be all that is left.
    fn rests_on(&self, state: &State, peer: NodeId) -> bool {
        state.volumes.iter().any(|(name, v)| {
            v.leader == Some(self.config.me)
                && v.has_in_sync(peer)
                && self.volumes.get(name).is_some_and(|local| local.disk_failed)
        })
    }

    /// R6: more in-sync volumes, then more led, then the lower id survives.
    fn is_preferred(&self, state: &State, peer: NodeId) -> bool {
        let weight = |n: NodeId| {
            let in_sync = state.volumes.values().filter(|v| v.has_in_sync(n)).count();
            (in_sync, state.led_by(n), Reverse(n))
        };
        weight(self.config.me) > weight(peer)
    }
}

//! A model of the quorum: Raft's replication and its rule of elections, with elections in one step.
//!
//! Each voter has a log of its own, durable before it answers. A leader commits an entry of its term
//! once a majority holds it; a new leader is one whose log is at least as new as those of a
//! majority that elects it. So an entry whose proposer has got no answer may commit later, or never;
//! followers learn late; a voter that lost its store counts for nothing until `replace` (R7).

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use posthaste_heartbeat::StoreId;
use posthaste_heartbeat::agent::{Input, Outcome, ProposalId};
use posthaste_heartbeat::lease::FenceLog;
use posthaste_heartbeat::state::{Command, Refused, State, apply};

use crate::bugs::Bug;
use crate::world::{Event, MS, World};
use crate::{NODES, node_id};

/// An entry of a log.
#[derive(Debug)]
pub struct Entry {
    term: u64,
    command: Option<Command>,
}

/// Who waits for the outcome of an entry.
#[derive(Debug, Clone)]
pub struct Proposer {
    /// The node.
    pub node: usize,
    /// Its life then.
    pub life: u64,
    /// The proposal.
    pub id: ProposalId,
}

/// What one voter holds durably.
#[derive(Debug, Default)]
pub struct Voter {
    log: Vec<Rc<Entry>>,
    /// How much of it is known here to be committed.
    known: usize,
}

/// The quorum.
#[derive(Debug)]
pub struct Quorum {
    voters: [Voter; NODES],
    leader: Option<usize>,
    term: u64,
    led_well_at: u64,
    patience: u64,
    matched: [usize; NODES],
    committed: Vec<Rc<Entry>>,
    states: Vec<Arc<State>>,
    waiting: BTreeMap<(u64, usize), Proposer>,
    /// Answers to proposers that get lost, per mille.
    pub lost_answers: u64,
}

impl Quorum {
    /// Bootstrapped, with all voters at the same point.
    pub fn new(initial: State) -> Self {
        let command = Command::Bootstrap(Box::new(initial));
        let state = apply(&State::default(), &command).unwrap_or_default();
        let first = Rc::new(Entry { term: 1, command: Some(command) });
        let voter = || Voter { log: vec![first.clone()], known: 1 };
        Self {
            voters: std::array::from_fn(|_| voter()),
            leader: None,
            term: 1,
            led_well_at: 0,
            patience: 0,
            matched: [0; NODES],
            committed: vec![first.clone()],
            states: vec![Arc::new(state)],
            waiting: BTreeMap::new(),
            lost_answers: 0,
        }
    }

    /// The newest committed state, which nobody may know yet.
    pub fn state(&self) -> &Arc<State> {
        &self.states[self.states.len() - 1]
    }

    /// Entries committed.
    pub fn committed(&self) -> usize {
        self.committed.len()
    }

    /// The state as `node` knows it, with its index; none before it knows any.
    pub fn known(&self, node: usize) -> Option<(u64, Arc<State>)> {
        let known = self.voters[node].known;
        (known > 0).then(|| (known as u64, self.states[known - 1].clone()))
    }

    /// The fences in a voter's log, read when it starts.
    pub fn fences(&self, node: usize) -> FenceLog {
        let fences = FenceLog::new();
        for (at, entry) in self.voters[node].log.iter().enumerate() {
            note_fence(&fences, at, entry);
        }
        fences
    }

    /// The store is gone.
    pub fn forget(&mut self, node: usize) {
        self.voters[node] = Voter::default();
        if self.leader == Some(node) {
            self.leader = None;
        }
    }

    fn newness(&self, voter: usize) -> (u64, usize) {
        let log = &self.voters[voter].log;
        (log.last().map_or(0, |e| e.term), log.len())
    }
}

fn note_fence(fences: &FenceLog, at: usize, entry: &Entry) {
    let index = at as u64 + 1;
    match &entry.command {
        Some(command) => fences.appended(index, command),
        None => fences.replaced(index),
    }
}

impl World {
    fn votes(&self, n: usize) -> bool {
        let known = self.quorum.state().members.get(&node_id(n)).map(|m| m.store);
        self.bug(Bug::AmnesiacVotes) || known == Some(self.machines[n].store)
    }

    fn running(&self, n: usize) -> bool {
        self.procs[n].is_some() && !self.is_paused(n)
    }

    /// The voters that run, count, and are linked to `n` both ways; itself included.
    fn electorate(&self, n: usize) -> Vec<usize> {
        let linked = |v: &usize| self.running(*v) && self.votes(*v) && self.connected(n, *v);
        (0..NODES).filter(linked).collect()
    }

    /// Whether two members reach each other, if need be by a third that relays.
    fn connected(&self, a: usize, b: usize) -> bool {
        let relays = |r: usize| self.running(r) && self.net.both_ways(a, r) && self.net.both_ways(r, b);
        self.net.both_ways(a, b) || (0..NODES).any(relays)
    }

    /// The delay of one message of the quorum; none if it is lost.
    fn rpc(&mut self, from: usize, to: usize) -> Option<u64> {
        if self.net.passes(from, to) {
            return self.net.datagram(from, to, &mut self.rng);
        }
        let delay = self.net.delay(&mut self.rng) * 2;
        self.connected(from, to).then_some(delay)
    }

    /// Every 40 ms: the leader's heartbeat, or an election where there is none.
    pub(crate) fn quorum_tick(&mut self) {
        self.push(40 * MS, Event::QuorumTick);
        let well = self.quorum.leader.is_some_and(|l| {
            let all = self.electorate(l);
            all.contains(&l) && all.len() > NODES / 2
        });
        if well {
            self.quorum.led_well_at = self.now;
            return self.replicate();
        }
        if self.now >= self.quorum.led_well_at + self.quorum.patience {
            self.elect();
        }
    }

    fn elect(&mut self) {
        let fit = |c: &usize| {
            let newness = self.quorum.newness(*c);
            let all = self.electorate(*c);
            let for_it = all.iter().filter(|v| self.quorum.newness(**v) <= newness).count();
            all.contains(c) && for_it > NODES / 2
        };
        let candidates: Vec<usize> = (0..NODES).filter(fit).collect();
        if candidates.is_empty() {
            return;
        }
        let leader = self.rng.pick(&candidates);
        self.quorum.term += 1;
        self.quorum.leader = Some(leader);
        self.quorum.led_well_at = self.now;
        self.quorum.patience = self.rng.between(150 * MS, 600 * MS);
        self.quorum.matched = [0; NODES];
        self.mark("elected", leader as u64, self.quorum.term);
        self.say(|| format!("quorum: {leader} leads"));
        self.append(leader, Entry { term: self.quorum.term, command: None });
        let log = &self.quorum.voters[leader].log;
        let kept = self
            .quorum
            .committed
            .iter()
            .enumerate()
            .all(|(i, e)| log.get(i).is_some_and(|l| Rc::ptr_eq(l, e)));
        let result = crate::checkers::r7::keeps_committed(kept, leader);
        self.judge("R7", result);
        self.replicate();
    }

    fn append(&mut self, leader: usize, entry: Entry) -> usize {
        let entry = Rc::new(entry);
        let at = self.quorum.voters[leader].log.len();
        if let Some(p) = &self.procs[leader] {
            note_fence(&p.fences, at, &entry);
        }
        self.quorum.voters[leader].log.push(entry);
        at + 1
    }

    fn replicate(&mut self) {
        let Some(leader) = self.quorum.leader else { return };
        let (term, len) = (self.quorum.term, self.quorum.voters[leader].log.len());
        let committed = self.quorum.committed.len();
        for to in (0..NODES).filter(|n| *n != leader) {
            let Some(delay) = self.rpc(leader, to) else { continue };
            let life = self.machines[to].life;
            let delay = delay + self.rng.between(200, 2000);
            self.push(delay, Event::Append { to, life, term, len, committed });
        }
        self.try_commit();
    }

    /// A voter takes the leader's log up to `len` in, durably, and answers.
    pub(crate) fn take_append(&mut self, to: usize, term: u64, len: usize, committed: usize) {
        let Some(leader) = self.quorum.leader.filter(|_| term == self.quorum.term) else { return };
        let theirs: Vec<Rc<Entry>> = self.quorum.voters[leader].log[..len].to_vec();
        let Some(fences) = self.procs[to].as_ref().map(|p| p.fences.clone()) else { return };
        let voter = &mut self.quorum.voters[to];
        let same = voter.log.iter().zip(&theirs).take_while(|(a, b)| Rc::ptr_eq(a, b)).count();
        if same < theirs.len() {
            voter.log.truncate(same);
            fences.truncated_from(same as u64 + 1);
            for (at, entry) in theirs.iter().enumerate().skip(same) {
                note_fence(&fences, at, entry);
                voter.log.push(entry.clone());
            }
        }
        self.learn(to, committed.min(len));
        if let Some(delay) = self.rpc(to, leader) {
            let life = self.machines[leader].life;
            self.push(delay, Event::Appended { leader, life, term, from: to, len });
        }
    }

    /// The leader hears that a voter holds its log up to `len`.
    pub(crate) fn take_appended(&mut self, term: u64, from: usize, len: usize) {
        if term == self.quorum.term && self.quorum.leader.is_some() {
            self.quorum.matched[from] = self.quorum.matched[from].max(len);
            self.try_commit();
        }
    }

    fn try_commit(&mut self) {
        let Some(leader) = self.quorum.leader else { return };
        self.quorum.matched[leader] = self.quorum.voters[leader].log.len();
        let mut held: Vec<usize> =
            (0..NODES).map(|v| if self.votes(v) { self.quorum.matched[v] } else { 0 }).collect();
        held.sort_unstable();
        let upto = held[NODES - (NODES / 2 + 1)];
        let log = &self.quorum.voters[leader].log;
        if upto <= self.quorum.committed.len() || log[upto - 1].term != self.quorum.term {
            return;
        }
        let entries = log[self.quorum.committed.len()..upto].to_vec();
        for entry in entries {
            self.commit(entry);
        }
        self.learn(leader, upto);
        self.replicate();
    }

    fn commit(&mut self, entry: Rc<Entry>) {
        let before = self.quorum.state().clone();
        let (next, result) = match &entry.command {
            None => (before.clone(), Ok(())),
            Some(command) => match apply(&before, command) {
                Ok(next) => (Arc::new(next), Ok(())),
                Err(why) => (before.clone(), Err(why)),
            },
        };
        let term = entry.term;
        self.quorum.committed.push(entry.clone());
        self.quorum.states.push(next.clone());
        let index = self.quorum.committed.len();
        self.mark("commit", index as u64, next.membership_epoch.0);
        self.say(|| format!("commit {index}: {:?}: {:?}", entry.command, result));
        self.check_commit(&before, &next, entry.command.as_ref(), result.is_ok());
        if let Some(proposer) = self.quorum.waiting.remove(&(term, index)) {
            self.answer_proposer(proposer, index, result);
        }
    }

    fn answer_proposer(&mut self, to: Proposer, index: usize, result: Result<(), Refused>) {
        let outcome = Outcome::Settled { index: index as u64, result };
        if self.rng.chance(self.quorum.lost_answers) {
            return;
        }
        let delay = self.net.delay(&mut self.rng) * 2;
        self.push(delay, Event::Outcome { to: to.node, life: to.life, id: to.id, outcome });
    }

    /// A member learns that more is committed; its agent is told a moment later.
    fn learn(&mut self, n: usize, committed: usize) {
        let voter = &mut self.quorum.voters[n];
        if committed <= voter.known {
            return;
        }
        voter.known = committed;
        let (index, state) = (committed as u64, self.quorum.states[committed - 1].clone());
        let lag =
            if self.rng.chance(100) { self.rng.between(MS, 60 * MS) } else { self.rng.between(50, 500) };
        self.tell_agent(n, lag, Input::Committed { index, state });
    }

    /// An agent proposes. What cannot reach the leader, directly or by the third member, is not proposed.
    pub(crate) fn propose(&mut self, node: usize, id: ProposalId, command: Command) {
        let life = self.machines[node].life;
        let proposer = Proposer { node, life, id };
        if let Some(p) = &mut self.procs[node] {
            p.proposals.insert(id);
        }
        let reach = self.quorum.leader.filter(|l| self.connected(node, *l));
        let Some(leader) = reach else {
            let after = self.rng.between(20 * MS, 100 * MS);
            return self.push(after, Event::Outcome { to: node, life, id, outcome: Outcome::NotProposed });
        };
        self.push(1000 * MS, Event::Outcome { to: node, life, id, outcome: Outcome::Unknown });
        let delay = self.net.delay(&mut self.rng);
        let at = self.machines[leader].life;
        self.push(
            delay,
            Event::Propose { leader, life: at, proposer: Some(proposer), command: Box::new(command) },
        );
    }

    /// A proposal reaches the node that was thought to lead.
    pub(crate) fn take_proposal(&mut self, leader: usize, from: Option<Proposer>, command: Command) {
        if self.quorum.leader != Some(leader) {
            if let Some(p) = from {
                let delay = self.net.delay(&mut self.rng);
                let (to, life, id) = (p.node, p.life, p.id);
                self.push(delay, Event::Outcome { to, life, id, outcome: Outcome::NotProposed });
            }
            return;
        }
        let term = self.quorum.term;
        let index = self.append(leader, Entry { term, command: Some(command) });
        if let Some(proposer) = from {
            self.quorum.waiting.insert((term, index), proposer);
        }
        self.replicate();
    }

    /// The operator accepts a member's new store, again and again until it is in (R7).
    pub(crate) fn replace_store(&mut self, n: usize) {
        let store: StoreId = self.machines[n].store;
        if self.quorum.state().members.get(&node_id(n)).is_some_and(|m| m.store == store) {
            return;
        }
        let command = Command::Replace { node: node_id(n), store };
        if let Some(leader) = self.quorum.leader {
            let life = self.machines[leader].life;
            self.push(MS, Event::Propose { leader, life, proposer: None, command: Box::new(command) });
        }
        self.push(700 * MS, Event::Replace(n));
    }
}

//! One process: its agent, and what carries out the agent's wishes.

use std::collections::BTreeSet;
use std::net::IpAddr;

use posthaste_blockrepl as repl;
use posthaste_blockrepl::core::Replica;
use posthaste_heartbeat::agent::{
    AddressOrder, AddressReport, AgentConfig, Input, Outcome, Output, ProposalId,
};
use posthaste_heartbeat::lease::FenceLog;
use posthaste_heartbeat::message::Message;
use posthaste_heartbeat::{Agent, ClusterId, Incarnation, NodeId};

use crate::bugs::Bug;
use crate::keeper::{Keeper, Stage};
use crate::layout::config;
use crate::world::{Event, MS, World, blank, device};
use crate::{NODES, ip, node_id};

/// One life of one member's process.
#[derive(Debug)]
pub struct Proc {
    agent: Agent,
    /// What its log holds that ends leases.
    pub fences: FenceLog,
    /// Proposals without an outcome.
    pub proposals: BTreeSet<ProposalId>,
    /// Addresses that it has.
    pub addresses: [bool; 2],
    /// One for each volume.
    pub(crate) keepers: Vec<Keeper>,
    timer: Option<u64>,
    orders_end: u64,
    addresses_end: u64,
    pub(crate) reports_end: u64,
}

/// Who the copy of volume `v` on node `n` is.
pub(crate) fn identity(n: usize, v: usize) -> repl::Identity {
    repl::Identity {
        cluster: repl::ClusterId([1; 16]),
        volume: repl::VolumeId([v as u8 + 1; 16]),
        device: repl::DeviceId(device(n, v).0.to_be_bytes()),
        node: repl::NodeId(node_id(n).0),
    }
}

fn index_of_address(address: IpAddr) -> usize {
    usize::from(address == ip(1))
}

impl World {
    /// Starts a process on what its disks and its quorum store hold.
    pub(crate) fn start(&mut self, n: usize) {
        if self.procs[n].is_some() {
            return;
        }
        if self.bug(Bug::FormatOnRejoin) && self.machines[n].life > 1 {
            self.machines[n].disks = (0..self.machines[n].disks.len()).map(|v| blank(n, v)).collect();
        }
        let life = self.machines[n].life;
        let mut incarnation = Incarnation(self.rng.draw());
        if self.bug(Bug::OldIncarnation)
            && let Some(member) = self.quorum.state().members.get(&node_id(n)).filter(|_| life > 1)
        {
            incarnation = member.incarnation;
        }
        let agent_config = AgentConfig::new(node_id(n), ClusterId(1), incarnation, self.machines[n].store);
        let fences = self.quorum.fences(n);
        let mut now = self.local(n);
        if self.bug(Bug::ForgetfulGrantor) && life > 1 {
            now = now - std::time::Duration::from_secs(5);
        }
        let agent = Agent::new(agent_config, (0..NODES).map(node_id), fences.clone(), now);
        let keepers = (0..self.machines[n].disks.len()).map(|v| self.keeper(n, v)).collect();
        self.procs[n] = Some(Proc {
            agent,
            fences,
            proposals: BTreeSet::new(),
            addresses: [false; 2],
            keepers,
            timer: None,
            orders_end: 0,
            addresses_end: 0,
            reports_end: 0,
        });
        self.say(|| format!("node {n} starts life {life}"));
        self.first_events(n, life);
    }

    fn first_events(&mut self, n: usize, life: u64) {
        if let Some((index, state)) = self.quorum.known(n) {
            self.tell_agent(n, MS, Input::Committed { index, state });
        }
        for v in 0..self.machines[n].disks.len() {
            self.push(100 * MS, Event::ReplicaTick { n, life, v });
            if n == 0 {
                self.push(5 * MS, Event::Dial { life, volume: v });
            }
        }
        self.arm(n);
    }

    fn keeper(&mut self, n: usize, v: usize) -> Keeper {
        let meta = &self.machines[n].disks[v][1].live;
        let read = |offset: u64, buf: &mut [u8]| {
            meta.read(offset, buf);
            Ok(())
        };
        let opened = Replica::open(config(), &identity(n, v), read);
        let replica = match opened {
            Ok(replica) => replica,
            Err(e) => panic!("node {n} cannot open its copy of vol{v} after a crash: {e}"),
        };
        let status = replica.status();
        let verdict = self.checks.r4.starts(n, v, status.epoch);
        self.judge("R4", verdict);
        let verdict = self.checks.r9.starts(n, v, &status);
        self.judge("R9", verdict);
        Keeper::new(replica, self.machines[n].no_copy[v])
    }

    /// Hands the agent an input after a while; such inputs keep their order.
    pub(crate) fn tell_agent(&mut self, n: usize, after: u64, input: Input) {
        let life = self.machines[n].life;
        self.push(after, Event::Agent { n, life, input: Box::new(input) });
    }

    pub(crate) fn agent_timer(&mut self, n: usize, at: u64) {
        let now = self.local(n);
        let Some(p) = self.procs[n].as_mut().filter(|p| p.timer == Some(at)) else { return };
        p.timer = None;
        p.agent.handle_timeout(now);
        self.obey_agent(n);
    }

    pub(crate) fn agent_input(&mut self, n: usize, input: Input) {
        let now = self.local(n);
        if !matches!(input, Input::Message { .. }) {
            self.say(|| match &input {
                Input::Committed { index, .. } => format!("agent {n} sees state {index}"),
                other => format!("agent {n} <- {other:?}"),
            });
        }
        let input = match input {
            Input::Message { from, message: Message::Grant { stint, granted, .. } }
                if self.bug(Bug::LeaseFromAnswer) =>
            {
                Input::Message { from, message: Message::Grant { sent: now, stint, granted } }
            }
            other => other,
        };
        let Some(p) = &mut self.procs[n] else { return };
        p.agent.handle(now, input);
        self.obey_agent(n);
    }

    pub(crate) fn agent_outcome(&mut self, n: usize, id: ProposalId, outcome: Outcome) {
        let open = self.procs[n].as_mut().is_some_and(|p| p.proposals.remove(&id));
        if open {
            self.agent_input(n, Input::Outcome { id, outcome });
        }
    }

    fn arm(&mut self, n: usize) {
        let due = self.procs[n].as_ref().and_then(|p| p.agent.poll_timeout()).map(|t| self.truly(n, t));
        let life = self.machines[n].life;
        let Some(p) = &mut self.procs[n] else { return };
        if let Some(at) = due.filter(|at| p.timer != Some(*at)) {
            p.timer = Some(at);
            self.push(at - self.now, Event::AgentTimer { n, life, at });
        }
    }

    fn obey_agent(&mut self, n: usize) {
        let life = self.machines[n].life;
        while let Some(out) = self.procs[n].as_mut().and_then(|p| p.agent.poll_output()) {
            match out {
                Output::Send { to, message } => self.send_beat(n, to, message),
                Output::Propose { id, command } => self.propose(n, id, command),
                Output::Volume(order) => {
                    let after = self.rng.between(10, 300);
                    let mut end = self.procs[n].as_ref().map_or(0, |p| p.orders_end);
                    self.push_fifo(&mut end, after, Event::Order { n, life, order });
                    self.procs[n].iter_mut().for_each(|p| p.orders_end = end);
                }
                Output::Address(order) => {
                    let after = self.rng.between(MS, 15 * MS);
                    let mut end = self.procs[n].as_ref().map_or(0, |p| p.addresses_end);
                    self.push_fifo(&mut end, after, Event::Address { n, life, order });
                    self.procs[n].iter_mut().for_each(|p| p.addresses_end = end);
                }
                Output::StepDown => self.say(|| format!("agent {n} steps down")),
                Output::Resume => self.say(|| format!("agent {n} resumes")),
                other => unreachable!("an output of a newer agent: {other:?}"),
            }
        }
        self.arm(n);
    }

    fn send_beat(&mut self, from: usize, to: NodeId, message: Message) {
        let to = to.0 as usize - 1;
        let message = match message {
            Message::Age { holder, stint, sent, .. } if self.bug(Bug::OpenBeforeLeaseEnd) => {
                Message::Age { holder, stint, sent, age_nanos: 60_000_000_000 }
            }
            other => other,
        };
        if let Some(delay) = self.net.datagram(from, to, &mut self.rng) {
            self.tell_agent(to, delay, Input::Message { from: node_id(from), message });
        }
    }

    /// Whether the node's lease holds, by its own clock.
    pub(crate) fn has_lease(&self, n: usize) -> bool {
        self.procs[n].as_ref().is_some_and(|p| p.agent.lease().is_valid(self.local(n)))
    }

    /// Whether the volume is open here for clients.
    pub(crate) fn has_led(&self, n: usize, v: usize) -> bool {
        let keeper = self.procs[n].as_ref().and_then(|p| p.keepers.get(v));
        keeper.and_then(|k| k.leading.as_ref()).is_some_and(|l| l.stage == Stage::Serving)
    }

    pub(crate) fn take_address(&mut self, n: usize, order: AddressOrder) {
        let Some(p) = &mut self.procs[n] else { return };
        let report = match order {
            AddressOrder::Take(ip) => {
                p.addresses[index_of_address(ip)] = true;
                AddressReport::Taken(ip)
            }
            AddressOrder::Drop(ip) => {
                let address = index_of_address(ip);
                let later = if self.bug(Bug::DropLater) { 80 * MS } else { 0 };
                match later {
                    0 => self.address_gone(n, address),
                    _ => self.push(later, Event::AddressGone { n, life: self.machines[n].life, address }),
                }
                AddressReport::Dropped(ip)
            }
        };
        self.tell_agent(n, MS, Input::Address(report));
    }

    pub(crate) fn address_gone(&mut self, n: usize, address: usize) {
        self.procs[n].iter_mut().for_each(|p| p.addresses[address] = false);
    }
}

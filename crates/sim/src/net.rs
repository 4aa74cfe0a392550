//! The network: datagrams that get lost, and replication links that are FIFO, stall and break.

use std::collections::{BTreeMap, VecDeque};

use posthaste_blockrepl::core::{Input, LinkId};
use posthaste_blockrepl::wire::{Hello, Message};

use crate::NODES;
use crate::rng::Rng;
use crate::world::{Event, MS, World};

/// The state of the wires.
#[derive(Debug, Default)]
pub struct Net {
    /// `cut[a][b]`: nothing passes from a to b.
    pub cut: [[bool; NODES]; NODES],
    /// The replication links of this volume break, and no new one comes up.
    pub links_cut: [bool; 2],
    /// Clients cannot reach the node.
    pub no_clients: [bool; NODES],
    /// Datagrams lost, per mille.
    pub loss: u64,
    /// Added to each delay, at most, in microseconds.
    pub delay_max: u64,
    links: BTreeMap<u64, Wire>,
    next_link: u64,
}

/// What travels on a link: the hello first.
#[derive(Debug)]
enum Item {
    Hello(Hello),
    Message(Message),
}

/// One connection between the copies of one volume; end 0 is at node 0, which dials.
#[derive(Debug)]
struct Wire {
    volume: usize,
    /// The node at each end, and its life.
    ends: [End; 2],
    /// What travels towards each end, with its earliest arrival.
    queues: [VecDeque<(u64, Item)>; 2],
    pumping: [bool; 2],
    breaking: bool,
}

#[derive(Debug)]
struct End {
    node: usize,
    life: u64,
    open: bool,
    /// The core has been told of the link.
    up: bool,
    /// The epoch of the last `Begin` that arrived here.
    begun: u64,
}

impl Net {
    /// Whether a datagram from `a` reaches `b`, by the cuts alone.
    pub fn passes(&self, a: usize, b: usize) -> bool {
        !self.cut[a][b]
    }

    /// Whether both directions work.
    pub fn both_ways(&self, a: usize, b: usize) -> bool {
        a == b || (self.passes(a, b) && self.passes(b, a))
    }

    /// Cuts or mends both directions.
    pub fn set_cut(&mut self, a: usize, b: usize, on: bool) {
        (self.cut[a][b], self.cut[b][a]) = (on, on);
    }

    /// Mends everything.
    pub fn heal(&mut self) {
        self.cut = Default::default();
        self.links_cut = [false; 2];
        self.no_clients = [false; NODES];
        (self.loss, self.delay_max) = (0, 0);
    }

    /// The delay of one datagram, in microseconds; none if it is lost.
    pub fn datagram(&self, from: usize, to: usize, rng: &mut Rng) -> Option<u64> {
        let lost = !self.passes(from, to) || rng.chance(self.loss);
        (!lost).then(|| self.delay(rng))
    }

    /// The delay of one piece of a stream: what is lost is sent again, later.
    fn stream_delay(&self, rng: &mut Rng) -> u64 {
        let resent = if rng.chance(self.loss) { rng.between(20 * MS, 220 * MS) } else { 0 };
        self.delay(rng) + resent
    }

    /// A delay in microseconds.
    pub fn delay(&self, rng: &mut Rng) -> u64 {
        rng.between(100, 500) + rng.below(self.delay_max + 1)
    }
}

impl World {
    /// Node 0 dials for each volume, every 50 ms while there is no link.
    pub(crate) fn dial(&mut self, life: u64, volume: usize) {
        self.push(50 * MS, Event::Dial { life, volume });
        let connected = |w: &Wire| w.volume == volume && w.ends[0].open && w.ends[0].life == life;
        let busy = self.net.links.values().any(connected);
        if busy
            || self.net.links_cut[volume]
            || !self.net.both_ways(0, 1)
            || self.procs[1].is_none()
            || self.is_absent(volume)
        {
            return;
        }
        let Some(hello) = self.replica(0, volume).map(|r| r.hello()) else { return };
        self.net.next_link += 1;
        let link = self.net.next_link;
        let end = |node: usize, life: u64| End { node, life, open: true, up: false, begun: 0 };
        let ends = [end(0, life), end(1, self.machines[1].life)];
        let wire = Wire { volume, ends, queues: Default::default(), pumping: [false; 2], breaking: false };
        self.net.links.insert(link, wire);
        self.put_on_wire(link, 1, Item::Hello(hello));
    }

    /// Whether a copy of the volume is not there for others.
    fn is_absent(&self, volume: usize) -> bool {
        let keepers = self.procs.iter().flatten().filter_map(|p| p.keepers.get(volume));
        keepers.into_iter().any(|k| k.absent)
    }

    /// A core at `from` sends on a link.
    pub(crate) fn link_send(&mut self, from: usize, link: LinkId, message: Message) {
        self.check_epoch_of_answer(from, link.0, &message);
        self.put_on_wire(link.0, 1 - from, Item::Message(message));
    }

    /// R4: a follower that has reported a higher epoch answers no leader of a lower one.
    fn check_epoch_of_answer(&mut self, from: usize, link: u64, message: &Message) {
        if !matches!(message, Message::FlushAck { .. } | Message::Adopted { .. } | Message::SyncDone { .. }) {
            return;
        }
        let Some(wire) = self.net.links.get(&link) else { return };
        let (begun, volume) = (wire.ends[from].begun, wire.volume);
        let result = self.checks.r4.answers(from, volume, begun);
        self.judge("R4", result);
    }

    fn put_on_wire(&mut self, link: u64, to: usize, item: Item) {
        let delay = self.net.stream_delay(&mut self.rng);
        let Some(wire) = self.net.links.get_mut(&link) else { return };
        let last = wire.queues[to].back().map_or(0, |(at, _)| *at);
        let at = (self.now + delay).max(last);
        wire.queues[to].push_back((at, item));
        if !wire.pumping[to] {
            wire.pumping[to] = true;
            let (node, life) = (wire.ends[to].node, wire.ends[to].life);
            self.push(at - self.now, Event::Pump { link, to: node, life });
        }
    }

    /// What is due at the end `to` arrives, unless the wire is cut.
    pub(crate) fn pump(&mut self, link: u64, to: usize, life: u64) {
        let Some(wire) = self.net.links.get_mut(&link) else { return };
        wire.pumping[to] = false;
        if !wire.ends[to].open {
            return;
        }
        let (stalled, now) = (self.net.cut[1 - to][to], self.now);
        let due = if stalled { None } else { wire.queues[to].pop_front_if(|(at, _)| *at <= now) };
        let (item, volume) = (due, wire.volume);
        if let Some((next, _)) = wire.queues[to].front() {
            let wait = if stalled { 20 * MS } else { next.saturating_sub(now) };
            wire.pumping[to] = true;
            self.push(wait, Event::Pump { link, to, life });
        }
        if let Some((_, item)) = item {
            self.arrive(link, to, volume, item);
        }
    }

    fn arrive(&mut self, link: u64, to: usize, volume: usize, item: Item) {
        let name = LinkId(link);
        match item {
            Item::Hello(hello) => {
                if to == 1 {
                    let Some(ours) = self.replica(1, volume).map(|r| r.hello()) else { return };
                    self.put_on_wire(link, 0, Item::Hello(ours));
                }
                if let Some(wire) = self.net.links.get_mut(&link) {
                    wire.ends[to].up = true;
                }
                self.say(|| format!("vol{volume} link {link} up at {to}"));
                self.replica_input(to, volume, Input::LinkUp { link: name, hello });
            }
            Item::Message(message) => {
                if let (Message::Begin { epoch, .. }, Some(wire)) = (&message, self.net.links.get_mut(&link))
                {
                    wire.ends[to].begun = *epoch;
                }
                self.replica_input(to, volume, Input::Message { link: name, message });
            }
        }
    }

    /// The core at `from` closes the link: what it sent still arrives, then the other end hears of it.
    pub(crate) fn link_close(&mut self, from: usize, link: LinkId) {
        let Some(wire) = self.net.links.get_mut(&link.0) else { return };
        wire.ends[from].open = false;
        let last = wire.queues[1 - from].back().map_or(0, |(at, _)| at.saturating_sub(self.now));
        self.push(last + MS, Event::LinkBreaks { link: link.0, end: 1 - from });
    }

    /// One end notices that the link is gone.
    pub(crate) fn link_breaks(&mut self, link: u64, end: usize) {
        let cut = self.net.cut[1 - end][end];
        let Some(wire) = self.net.links.get_mut(&link) else { return };
        if cut && wire.ends[end].open && !wire.breaking {
            // No reset passes a cut; the time-out of the connection will tell.
            return self.push(400 * MS, Event::LinkBreaks { link, end });
        }
        let (open, up, volume) = (wire.ends[end].open, wire.ends[end].up, wire.volume);
        let (node, life) = (wire.ends[end].node, wire.ends[end].life);
        wire.ends[end].open = false;
        match wire.ends.iter().any(|e| e.open) {
            // The other end hears of it, as soon as anything passes.
            true if open => self.push(5 * MS, Event::LinkBreaks { link, end: 1 - end }),
            true => {}
            false => drop(self.net.links.remove(&link)),
        }
        if open && up && self.machines[node].life == life {
            self.say(|| format!("vol{volume} link {link} down at {end}"));
            self.replica_input(node, volume, Input::LinkDown { link: LinkId(link) });
        }
    }

    /// A process died: the other ends are told, as far as anything passes.
    pub(crate) fn links_of_dead(&mut self, node: usize) {
        let mut told = Vec::new();
        for (link, wire) in &mut self.net.links {
            let Some(end) = wire.ends.iter().position(|e| e.node == node) else { continue };
            wire.ends[end].open = false;
            told.push((*link, 1 - end));
        }
        for (link, end) in told {
            let after = self.rng.between(MS, 10 * MS);
            self.push(after, Event::LinkBreaks { link, end });
        }
    }

    /// The connections over a cut wire, or of a volume, time out after a while.
    pub(crate) fn links_break(&mut self, volume: Option<usize>) {
        let hit = |w: &Wire| volume.is_none_or(|v| w.volume == v);
        let ends: Vec<u64> = self.net.links.iter().filter(|(_, w)| hit(w)).map(|(link, _)| *link).collect();
        for link in ends {
            for end in [0, 1] {
                let after = self.rng.between(300 * MS, 2000 * MS);
                self.push(after, Event::LinkTimesOut { link, end, volume });
            }
        }
    }

    /// If it is still cut, the connection is given up.
    pub(crate) fn link_times_out(&mut self, link: u64, end: usize, volume: Option<usize>) {
        let still = match volume {
            Some(v) => self.net.links_cut[v],
            None => !self.net.both_ways(0, 1),
        };
        let Some(wire) = self.net.links.get_mut(&link).filter(|_| still) else { return };
        wire.breaking = true;
        self.push(0, Event::LinkBreaks { link, end });
    }
}

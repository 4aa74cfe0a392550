//! Links: in order, never twice, late; they stall while cut, and break for each end at its own time, so that
//! an end may hold a connection that the other has long given up.

use std::collections::{BTreeMap, VecDeque};

use posthaste_blockrepl::core::{Input, LinkId};
use posthaste_blockrepl::wire::Message;

use super::event::Event;
use super::scenarios::Setting;
use super::world::{MS, World};

#[derive(Debug)]
enum Item {
    Message(Message),
    Fin,
}

#[derive(Debug)]
struct End {
    node: usize,
    life: u64,
    open: bool,
    /// The other side's hello was read.
    up: bool,
    inbox: VecDeque<Item>,
    inbox_ends: u64,
}

/// The state of the wires.
#[derive(Debug, Default)]
pub struct Net {
    /// Nothing passes from one to the other.
    pub cut: [[bool; 3]; 3],
    /// Replication links between two nodes do not pass, all else does.
    pub links_cut: [[bool; 3]; 3],
    /// Added delay, at most, in milliseconds.
    pub delay_ms: u64,
    next: u64,
    links: BTreeMap<u64, [End; 2]>,
}

impl Net {
    /// Whether both hear each other.
    pub fn both_ways(&self, a: usize, b: usize) -> bool {
        !self.cut[a][b] && !self.cut[b][a]
    }

    fn link_passes(&self, from: usize, to: usize) -> bool {
        !self.cut[from][to] && !self.links_cut[from][to]
    }

    /// All faults end.
    pub fn heal(&mut self) {
        (self.cut, self.links_cut, self.delay_ms) = Default::default();
    }
}

impl World {
    /// The one with the lower number dials, again and again.
    pub(super) fn dial(&mut self, a: usize, b: usize) {
        let again = self.rng.between(100 * MS, 300 * MS);
        self.push(again, Event::Dial { a, b });
        let has = |ends: &[End; 2]| ends[0].node == a && ends[1].node == b && ends[0].open;
        if !self.runs(a) || !self.runs(b) || self.net.links.values().any(has) {
            return;
        }
        if !self.net.link_passes(a, b) || !self.net.link_passes(b, a) {
            return;
        }
        let Some(hello) = self.replica(a).map(|r| r.hello()) else { return };
        self.net.next += 1;
        let link = self.net.next;
        let end = |node: usize, life: u64| End {
            node,
            life,
            open: true,
            up: false,
            inbox: VecDeque::new(),
            inbox_ends: 0,
        };
        self.net.links.insert(link, [end(a, self.machines[a].life), end(b, self.machines[b].life)]);
        self.put(link, 1, Item::Message(Message::Hello(hello)));
    }

    /// Puts something on its way to one end.
    fn put(&mut self, link: u64, end: usize, item: Item) {
        let most = 400 + self.net.delay_ms * MS;
        let takes = self.rng.between(50, most);
        let now = self.now;
        let Some(to) = self.net.links.get_mut(&link).map(|ends| &mut ends[end]) else { return };
        to.inbox.push_back(item);
        to.inbox_ends = to.inbox_ends.max(now + takes);
        let after = to.inbox_ends - now;
        self.push(after, Event::Deliver { link, end });
    }

    fn end_of(&self, n: usize, link: u64) -> Option<usize> {
        let ends = self.net.links.get(&link)?;
        ends.iter().position(|e| e.node == n && e.open && e.life == self.machines[n].life)
    }

    pub(super) fn link_send(&mut self, n: usize, link: LinkId, message: Message) {
        if let Some(end) = self.end_of(n, link.0) {
            self.put(link.0, 1 - end, Item::Message(message));
        }
    }

    /// This end closes; what it sent before still arrives.
    pub(super) fn link_close(&mut self, n: usize, link: LinkId) {
        let Some(end) = self.end_of(n, link.0) else { return };
        self.close_end(link.0, end);
        self.put(link.0, 1 - end, Item::Fin);
    }

    fn close_end(&mut self, link: u64, end: usize) {
        if let Some(ends) = self.net.links.get_mut(&link) {
            ends[end].open = false;
        }
    }

    /// The next thing arrives at an end.
    pub(super) fn deliver(&mut self, link: u64, end: usize) {
        let Some(ends) = self.net.links.get(&link) else { return };
        let (from, to) = (ends[1 - end].node, ends[end].node);
        let (life, open) = (ends[end].life, ends[end].open);
        let alive = self.machines[to].life == life && self.machines[to].up;
        if alive && open && (!self.net.link_passes(from, to) || !self.runs(to)) {
            return self.push(20 * MS, Event::Deliver { link, end });
        }
        let item = self.net.links.get_mut(&link).and_then(|ends| ends[end].inbox.pop_front());
        if !open || !alive {
            self.close_end(link, end);
            if self.net.link_passes(to, from) {
                let after = self.rng.between(MS, 10 * MS);
                self.push(after, Event::LinkLost { link, end: 1 - end, only_if_cut: false });
            }
            return self.forget(link);
        }
        match item {
            Some(Item::Message(message)) => self.arrive(link, end, message),
            Some(Item::Fin) => self.link_lost(link, end, false),
            None => {}
        }
    }

    fn arrive(&mut self, link: u64, end: usize, message: Message) {
        let Some(to) = self.net.links.get_mut(&link).map(|ends| &mut ends[end]) else { return };
        let (node, up) = (to.node, to.up);
        match message {
            Message::Hello(hello) if !up => {
                to.up = true;
                if let Some(ours) = self.replica(node).map(|r| r.hello()).filter(|_| end == 1) {
                    self.put(link, 0, Item::Message(Message::Hello(ours)));
                }
                self.say(|| format!("link {link} is up at {node}"));
                self.input(node, Input::LinkUp { link: LinkId(link), hello });
            }
            message => {
                self.say(|| format!("link {link} -> {node}: {}", brief(&message)));
                if let Message::Copy { granule, heal: true, .. } = message {
                    let offset = u64::from(granule) * self.config.granule_bytes;
                    self.proc(node).into_iter().for_each(|p| p.healed.extend([offset]));
                }
                self.input(node, Input::Message { link: LinkId(link), message });
            }
        }
    }

    /// An end learns that the link is gone.
    pub(super) fn link_lost(&mut self, link: u64, end: usize, only_if_cut: bool) {
        let Some(ends) = self.net.links.get(&link) else { return };
        let (n, peer) = (ends[end].node, ends[1 - end].node);
        let (open, up, life) = (ends[end].open, ends[end].up, ends[end].life);
        if only_if_cut && self.net.link_passes(n, peer) && self.net.link_passes(peer, n) {
            return;
        }
        if open && self.machines[n].paused_until.is_some() && self.machines[n].life == life {
            return self.push(20 * MS, Event::LinkLost { link, end, only_if_cut });
        }
        self.close_end(link, end);
        if open {
            // Repeated until it passes.
            self.put(link, 1 - end, Item::Fin);
        }
        if open && up && self.machines[n].life == life {
            self.say(|| format!("link {link} down at {n}"));
            self.input(n, Input::LinkDown { link: LinkId(link) });
        }
        self.forget(link);
    }

    fn forget(&mut self, link: u64) {
        if self.net.links.get(&link).is_some_and(|ends| ends.iter().all(|e| !e.open)) {
            self.net.links.remove(&link);
        }
    }

    /// The process is gone: its machine closes its connections, or has no power to.
    pub(super) fn links_of_dead(&mut self, n: usize, power: bool) {
        let ends = self.net.links.iter().filter_map(|(link, ends)| {
            let end = ends.iter().position(|e| e.node == n && e.open)?;
            Some((*link, end))
        });
        let ends: Vec<(u64, usize)> = ends.collect();
        for (link, end) in ends {
            self.close_end(link, end);
            if power {
                // What the machine had not sent yet is gone with it.
                let few = self.rng.below(4) as usize;
                let all = self.setting == Setting::Followers;
                let some = if all { self.rng.below(64) as usize } else { few };
                if let Some(ends) = self.net.links.get_mut(&link) {
                    let inbox = &mut ends[1 - end].inbox;
                    inbox.truncate(inbox.len().saturating_sub(some));
                }
                let after = self.rng.between(100 * MS, 1500 * MS);
                self.push(after, Event::LinkLost { link, end: 1 - end, only_if_cut: false });
            } else {
                self.put(link, 1 - end, Item::Fin);
            }
        }
    }

    /// What passes from `a` to `b` has changed: connections over a cut time out, at each end in its own time.
    pub(super) fn links_time_out(&mut self) {
        let links: Vec<u64> = self.net.links.keys().copied().collect();
        for link in links {
            for end in [0, 1] {
                let after = self.rng.between(200 * MS, 2000 * MS);
                self.push(after, Event::LinkLost { link, end, only_if_cut: true });
            }
        }
    }
}

/// A message without its bytes.
fn brief(message: &Message) -> String {
    match message {
        Message::Write { epoch, seq, stable, offset, data } => {
            format!("Write epoch {epoch} seq {seq} stable {stable} at {offset}+{}", data.len())
        }
        Message::Copy { granule, heal, data, .. } => {
            format!("Copy {granule} heal {heal} of {}", data.len())
        }
        other => format!("{other:?}"),
    }
}

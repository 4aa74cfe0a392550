//! One client a volume: writes that are acknowledged when durable, and reads.

use std::collections::BTreeMap;

use crate::checkers::r2::Values;
use crate::layout::SLOTS;
use crate::world::{Event, MS, World};

/// Operations of one client under way at once.
const DEPTH: usize = 4;

/// One operation on one slot.
#[derive(Debug, Clone)]
pub struct Request {
    /// Its number.
    pub op: u64,
    /// Where.
    pub slot: usize,
    /// What.
    pub what: What,
}

/// What an operation does.
#[derive(Debug, Clone)]
pub enum What {
    /// Write this value, durably.
    Put(u64),
    /// Read; the value must not be below what was promised when the reader asked.
    Get(Values),
}

/// What a node answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reply {
    /// Done.
    Done,
    /// It does not lead the volume.
    NotHere,
    /// It failed; it may have been done, or half.
    Failed,
}

/// A client.
#[derive(Debug)]
pub struct Client {
    /// Whom it asks.
    target: usize,
    next_op: u64,
    busy: BTreeMap<u64, usize>,
    last_sent: [u64; 2],
    /// It begins nothing any more.
    pub stopped: bool,
    /// Operations done.
    pub done: u64,
}

impl Client {
    /// One that asks `target` first.
    pub fn new(target: usize) -> Self {
        Self { target, next_op: 0, busy: BTreeMap::new(), last_sent: [0; 2], stopped: false, done: 0 }
    }

    /// Nothing is under way.
    pub fn is_idle(&self) -> bool {
        self.busy.is_empty()
    }
}

impl World {
    /// Begins an operation, every now and then, on a slot where none of its own is under way.
    pub(crate) fn client_tick(&mut self, v: usize) {
        let pause = self.rng.between(10 * MS, 70 * MS);
        self.push(pause, Event::ClientTick { v });
        let client = &self.clients[v];
        let slot = self.rng.below(SLOTS as u64) as usize;
        if client.stopped || client.busy.len() >= DEPTH || client.busy.values().any(|s| *s == slot) {
            return;
        }
        let what = match self.rng.chance(650) {
            true => What::Put(self.checks.r2[v].next_value(slot)),
            false => What::Get(self.checks.r2[v].floor(slot)),
        };
        let client = &mut self.clients[v];
        client.next_op += 1;
        let op = client.next_op;
        client.busy.insert(op, slot);
        self.push(1000 * MS, Event::ClientTimeout { v, op });
        self.send_request(v, Request { op, slot, what });
    }

    fn send_request(&mut self, v: usize, request: Request) {
        let n = self.clients[v].target;
        if self.net.no_clients[n] {
            return;
        }
        if self.procs[n].is_none() {
            return self.push(20 * MS, Event::ToClient { v, op: request.op, reply: Reply::NotHere });
        }
        let delay = self.net.delay(&mut self.rng);
        let mut last = self.clients[v].last_sent[n];
        let life = self.machines[n].life;
        self.push_fifo(&mut last, delay, Event::ToServer { n, life, v, request });
        self.clients[v].last_sent[n] = last;
    }

    /// A node answers, if the client is within reach.
    pub(crate) fn send_reply(&mut self, n: usize, v: usize, op: u64, reply: Reply) {
        if !self.net.no_clients[n] {
            let delay = self.net.delay(&mut self.rng);
            self.push(delay, Event::ToClient { v, op, reply });
        }
    }

    pub(crate) fn client_reply(&mut self, v: usize, op: u64, reply: Reply) {
        let client = &mut self.clients[v];
        if client.busy.remove(&op).is_none() {
            return;
        }
        match reply {
            Reply::Done => client.done += 1,
            Reply::NotHere => client.target = 1 - client.target,
            Reply::Failed => {}
        }
    }

    /// Its outcome stays unknown.
    pub(crate) fn client_timeout(&mut self, v: usize, op: u64) {
        let client = &mut self.clients[v];
        if client.busy.remove(&op).is_some() {
            client.target = 1 - client.target;
        }
    }
}

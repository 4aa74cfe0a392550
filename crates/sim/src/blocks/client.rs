//! Clients of the block device: overlapping writes, flushes and reads on the node that leads.

use std::collections::BTreeMap;

use bytes::Bytes;
use posthaste_blockrepl::LowRedundancy;
use posthaste_blockrepl::core::{Denied, Event as Told, Input, Reply, RequestId};

use super::event::Event;
use super::layout::{PLACE, decode, decode_bytes, offset, range, zeros_range};
use super::name;
use super::owner::{Asked, Stage};
use super::world::World;
use crate::disk::SECTOR;

/// What clients have under way in one leadership.
#[derive(Debug, Default)]
pub(super) struct Session {
    epoch: u64,
    next: u64,
    /// Not answered yet: name, first sector, sectors.
    pub(super) writes: BTreeMap<RequestId, (u64, usize, usize)>,
    /// Answered, in that order: name and sector.
    done: Vec<(u64, usize)>,
    flushed: usize,
    /// A flush covers so many of `done`.
    flushes: BTreeMap<RequestId, usize>,
    busy: usize,
    /// A shrinking is under way.
    pub(super) shrinking: bool,
    /// Writes up to this one were given to it while enough copies were in sync.
    redundant: u64,
    /// The write that is being given to the replica.
    writing: Option<(u64, usize, usize)>,
    /// Reads through the core: from which sector on, and what they must show at least.
    reads: BTreeMap<RequestId, (usize, Vec<u64>)>,
    reading: Option<(usize, Vec<u64>)>,
}

impl Session {
    pub(super) fn new(epoch: u64) -> Self {
        Self { epoch, ..Self::default() }
    }
}

impl World {
    pub(super) fn begin_clients(&mut self, n: usize, epoch: u64) {
        let life = self.machines[n].life;
        for _ in 0..2 {
            let after = self.rng.below(self.pace);
            self.push(after, Event::Client { n, life, epoch });
        }
    }

    /// One client does one thing.
    pub(super) fn client(&mut self, n: usize, life: u64, epoch: u64) {
        if self.history.is_some() {
            return self.shared_client(n, life, epoch);
        }
        let serving = self.proc(n).is_some_and(|p| p.stage == Stage::Serving(epoch));
        if !serving || self.clients_stop {
            return;
        }
        let after = self.rng.below(self.pace) + 200;
        self.push(after, Event::Client { n, life, epoch });
        match self.rng.below(100) {
            0..=54 => self.client_writes(n),
            55..=69 => self.client_flushes(n),
            _ => self.client_reads(n, epoch),
        }
    }

    fn client_writes(&mut self, n: usize) {
        let wanders = self.rng.chance(30);
        let busy = self.rng.below(1 << 16) as usize;
        let Some(p) = self.procs[n].as_mut().filter(|p| p.session.writes.len() < 24) else { return };
        if wanders {
            p.session.busy = busy;
        }
        p.session.next += 1;
        let (epoch, number, busy) = (p.session.epoch, p.session.next, p.session.busy);
        let zeros = self.chance.chance(self.zeros);
        let (first, len) = self.range_to_write(busy, self.oracle.sectors(), zeros);
        let name = if zeros { name::zeros(epoch, number) } else { name::id(epoch, number) };
        self.oracle.issue(name, first, len);
        let (offset, data) = self.bytes(first, len, name);
        self.say(|| format!("client on {n} writes {} to {first}+{len}", name::text(name)));
        let Some(p) = self.proc(n) else { return };
        p.session.writing = Some((name, first, len));
        self.ask(n, Asked::Client, |request| Input::Write { request, offset, data });
    }

    /// Which of the first `sectors` a client writes, or zeroes.
    pub(super) fn range_to_write(&mut self, busy: usize, sectors: usize, zeros: bool) -> (usize, usize) {
        let whole = self.setting.checks();
        if zeros {
            return zeros_range(&mut self.chance, busy, sectors, whole);
        }
        let (first, len) = range(&mut self.rng, busy, sectors);
        if whole { (first / PLACE * PLACE, PLACE) } else { (first, len) }
    }

    /// Where a write goes, and its bytes.
    pub(super) fn bytes(&mut self, first: usize, len: usize, name: u64) -> (u64, Bytes) {
        let (offset, data) = self.setting.bytes(first, len, name);
        if name::is_zeros(name) {
            self.zeroed.insert((offset, data.len()));
        }
        (offset, data)
    }

    /// Clients flush, all of them at once.
    pub(super) fn client_flushes(&mut self, n: usize) {
        if self.history.is_some() {
            return self.shared_flushes(n);
        }
        self.ask(n, Asked::Client, |request| Input::Flush { request });
    }

    /// A reader is answered from the local disk while the lease holds (R5).
    fn client_reads(&mut self, n: usize, epoch: u64) {
        let local = self.local(n);
        let leads = self.leads(n) && self.proc(n).is_some_and(|p| local < p.lease);
        let Some(disks) = self.machines[n].disks.as_ref().filter(|_| leads) else { return };
        let first = self.rng.below((self.oracle.sectors() / PLACE) as u64) as usize * PLACE;
        if self.setting.checks() {
            return self.client_reads_checked(n, first);
        }
        if self.machines[n].distrusted {
            return;
        }
        let found: Vec<Option<u64>> = (first..first + PLACE).map(|s| decode(&disks[0].live, s)).collect();
        for (at, found) in found.into_iter().enumerate() {
            let verdict = self.oracle.read(epoch, first + at, found);
            self.judge("linearizable", verdict);
        }
    }

    /// A reader whose bytes are checked, and come from a peer if they are damaged here.
    fn client_reads_checked(&mut self, n: usize, first: usize) {
        let since = self.oracle.seen(first, PLACE);
        let (offset, len) = (offset(first), (PLACE * SECTOR) as u32);
        self.proc(n).into_iter().for_each(|p| p.session.reading = Some((first, since.clone())));
        self.ask(n, Asked::Client, |request| Input::Read { request, offset, len });
    }

    fn read_answered(&mut self, n: usize, request: RequestId, result: &Result<Reply, Denied>) {
        let local = self.local(n);
        let Some(p) = self.procs[n].as_mut() else { return };
        let Some((first, since)) = p.session.reads.remove(&request).filter(|_| local < p.lease) else {
            return;
        };
        let epoch = p.session.epoch;
        let damaged = self.oracle.may_be_damaged(first, PLACE);
        if let Err(Denied::Corrupt { offset, len }) = result
            && !damaged
        {
            let what = format!("{len} bytes at {offset} cannot be read on node {n}, though a copy is whole");
            return self.judge("checksums", Err(what));
        }
        let Ok(Reply::Read(data)) = result else { return };
        for (at, since) in since.into_iter().enumerate() {
            let found = decode_bytes(first + at, &data[at * SECTOR..]);
            let verdict = self.oracle.read_since(epoch, first + at, since, found);
            self.judge("linearizable", verdict);
        }
    }

    /// A request goes to the replica: what it may do is noted before.
    pub(super) fn client_asks(&mut self, n: usize, request: RequestId, input: &Input) {
        if let Some((history, asks)) = self.history.as_mut().zip(self.asking.take()) {
            return history.begin(n, request, asks, self.now);
        }
        let Some(p) = self.proc(n) else { return };
        match input {
            Input::Write { .. } => {
                let write = p.session.writing.take();
                p.session.writes.extend(write.map(|write| (request, write)));
            }
            Input::Read { .. } => {
                let read = p.session.reading.take();
                p.session.reads.extend(read.map(|read| (request, read)));
            }
            Input::Flush { .. } => {
                p.session.flushes.insert(request, p.session.done.len());
            }
            _ => {}
        }
    }

    /// A replica answers: from this moment on it has promised.
    pub(super) fn promise(&mut self, n: usize, request: RequestId, result: &Result<Reply, Denied>) {
        self.size_answered(n, request, result);
        if self.history.is_some() {
            return self.shared_promise(n, request, result);
        }
        self.read_answered(n, request, result);
        self.check_redundancy(n, request, result);
        let Some(p) = self.procs[n].as_mut() else { return };
        let session = &mut p.session;
        if let Some((name, first, len)) = session.writes.remove(&request) {
            match result {
                Ok(_) => {
                    self.stopwatch.writes(session.epoch, self.now);
                    session.done.extend((first..first + len).map(|sector| (name, sector)));
                    self.oracle.written(name, first, len);
                }
                Err(_) => self.oracle.refused(name, first, len),
            }
        }
        let covers = session.flushes.remove(&request).filter(|_| result.is_ok());
        let Some(covers) = covers.filter(|covers| *covers >= session.flushed) else { return };
        let from = std::mem::replace(&mut session.flushed, covers);
        if self.split && session.epoch < self.authority.current().epoch {
            // Given up by the operator.
            return;
        }
        let trusted = |m: usize| self.opens_disks && !self.machines[m].distrusted;
        let members = self.authority.current().in_sync.iter().map(|m| m.node.0 as usize - 1);
        let images = members.filter(|m| trusted(*m)).filter_map(|m| {
            let disks = self.machines[m].disks.as_ref()?;
            Some((m, &disks[0].durable))
        });
        let images: Vec<_> = images.collect();
        let verdict = self.oracle.flushed(&session.done[from..covers], &images);
        self.mark(n as u64, covers as u64);
        self.judge("R2", verdict);
    }
}

impl World {
    /// A change of the size is answered.
    fn size_answered(&mut self, n: usize, request: RequestId, result: &Result<Reply, Denied>) {
        let Some(p) = self.procs[n].as_mut() else { return };
        let current = p.session.epoch == self.oracle.epoch;
        let shrinks = p.asked.get(&request) == Some(&Asked::Shrink);
        p.session.shrinking &= !shrinks;
        match result {
            Ok(Reply::Resized { size }) if current => {
                let kept = self.oracle.resized(*size);
                self.history.iter_mut().for_each(|h| h.resized(kept, self.oracle.sectors()));
            }
            Err(_) if current && shrinks && p.replica.size() == self.oracle.size => {
                self.oracle.does_not_shrink();
            }
            _ => {}
        }
    }

    /// What a replica says of its size, the moment it is so.
    pub(super) fn told_of_size(&mut self, n: usize, event: &Told) {
        let Some(p) = &self.procs[n] else { return };
        if let (Told::Resized { size }, Some(epoch)) = (event, p.stage.epoch())
            && epoch == self.oracle.epoch
        {
            self.oracle.leader_has(*size);
        }
    }

    /// M8: with fewer copies in sync than are asked for no flush is answered, and no write that came then; what waits says
    /// so; and only then they fail.
    fn check_redundancy(&mut self, n: usize, request: RequestId, result: &Result<Reply, Denied>) {
        let Some((have, enough)) = self.redundancy(n) else { return };
        let Some(p) = self.procs[n].as_mut() else { return };
        let number = p.session.writes.get(&request).map(|(name, ..)| name::number(*name));
        let early = match result {
            Ok(Reply::Flushed) => !enough,
            Ok(Reply::Written) => !enough && number.is_some_and(|number| number > p.session.redundant),
            Err(Denied::Redundancy { .. }) => enough || self.config.low_redundancy == LowRedundancy::Suspend,
            _ => false,
        };
        if early {
            self.judge(
                "M8",
                Err(format!(
                    "{result:?} of node {n} with {have} copies in sync of {}",
                    self.config.min_redundancy
                )),
            );
        }
    }

    /// The copies that a leader counts, and whether they are enough. If so, what it was given up to now need not wait for more:
    /// to be asked before they become fewer.
    pub(super) fn redundancy(&mut self, n: usize) -> Option<(usize, bool)> {
        let need = self.config.min_redundancy;
        let p = self.procs[n].as_mut()?;
        let known = p.known.as_ref().filter(|k| k.leader == Some(n) && need > 1)?;
        let have = known.in_sync.len();
        let enough = have >= need || known.epoch != p.session.epoch;
        if enough {
            p.session.redundant = p.session.next;
        }
        Some((have, enough))
    }
}

//! Several writers: who may write besides the leader, how they join and hold their lease, and their clients.
//!
//! A node that writes holds a lease as the leader does: no other leader opens before that is over. From the writers it may be
//! taken at any time, and let in again.

use std::collections::BTreeSet;

use posthaste_blockrepl::NodeId;
use posthaste_blockrepl::core::{Denied, Event as Told, Input, LeaseId, RemoteOp, Reply, RequestId, Waiting};

use super::authority::{Grants, LEASE, MARGIN};
use super::event::Event;
use super::history::{Asks, Race};
use super::layout::{PLACE, SECTORS, decode_bytes, offset, sectors};
use super::name;
use super::owner::{Asked, Stage, node};
use super::world::{MS, World};
use crate::disk::SECTOR;

/// Where nothing goes wrong a message takes no longer: it is delayed by 30 ms at most.
const LATE: u64 = 40 * MS;
/// Operations that the clients of one node have under way; fewer bytes than a session may forward at once.
const UNDER_WAY: usize = 8;

impl World {
    // ---- granting ----

    /// The writers that this leader wants besides itself: those that it hears of, but for one that all writes
    /// have waited for too long.
    pub(super) fn wanted_writers(&mut self, n: usize, known: &Grants) -> BTreeSet<NodeId> {
        let (local, patience) = (self.local(n), self.patience);
        let Some(p) = self.proc(n) else { return BTreeSet::new() };
        if !matches!(p.stage, Stage::Serving(_)) {
            return known.writers.clone();
        }
        let waits = p.replica.status().waiting;
        let mut wanted = BTreeSet::new();
        for m in (0..3).filter(|m| *m != n) {
            let name = NodeId(m as u64 + 1);
            let heard = local < p.heard[m] + 200 * MS;
            let blocks = waits.contains(&Waiting::Writer(name));
            let since = *p.blocked[m].get_or_insert(local);
            if !blocks {
                p.blocked[m] = None;
            }
            let granted = known.writers.contains(&name);
            let patient = granted && local < since + patience;
            if patient || !blocks && (granted || heard) {
                wanted.insert(name);
            }
        }
        wanted.retain(|name| self.procs[node(*name)].is_some() || known.writers.contains(name));
        wanted
    }

    /// Who is a writer no more holds no range.
    pub(super) fn end_writers(&mut self, n: usize, next: &Grants) {
        if let Some(history) = &mut self.history {
            history.only(|m| m == n || next.writers.contains(&NodeId(m as u64 + 1)));
        }
    }

    // ---- joining ----

    /// A node that is granted as a writer joins its leader, and renews its lease.
    pub(super) fn look_to_join(&mut self, n: usize) {
        let me = self.me(n).node;
        let Some(p) = self.proc(n) else { return };
        let Some(known) = p.known.clone() else { return };
        let writes = known.leader.is_some_and(|l| l != n) && known.writers.contains(&me);
        if let Some((epoch, _)) = p.session_at {
            return self.renew_reader(n, epoch);
        }
        let idle = p.stage == Stage::Idle && !p.joining;
        if writes && idle && p.replica.status().session.is_none() {
            p.joining = true;
            let (epoch, session) = (known.epoch, self.rng.draw());
            self.ask(n, Asked::Join(epoch, session), |request| Input::Join { request, epoch, session });
        }
    }

    pub(super) fn joined(&mut self, n: usize, epoch: u64, session: u64, ok: bool) {
        let Some(p) = self.proc(n) else { return };
        p.joining = false;
        let still = p.replica.status().session.is_some_and(|s| s.epoch == epoch);
        if ok && still {
            (p.session_at, p.lease) = (Some((epoch, session)), 0);
            self.renew_reader(n, epoch);
            self.begin_clients(n, epoch);
        }
    }

    fn renew_reader(&mut self, n: usize, epoch: u64) {
        let (me, current) = (self.me(n).node, self.authority.current());
        if current.epoch != epoch || !current.writers.contains(&me) || !self.has_majority(n) {
            return;
        }
        let until = self.local(n) + LEASE - MARGIN;
        self.authority.reader_ends[n] = self.now + LEASE;
        let (after, life) = (self.rng.between(MS, 10 * MS), self.machines[n].life);
        self.push(after, Event::Lease { n, life, epoch, until });
    }

    // ---- clients ----

    /// The session of a handle that may be used: none for the leader's own.
    fn handle(&self, n: usize, epoch: u64) -> Option<Option<u64>> {
        let p = self.procs[n].as_ref()?;
        match p.session_at {
            Some((at, session)) if at == epoch => Some(Some(session)),
            _ => (p.stage == Stage::Serving(epoch)).then_some(None),
        }
    }

    /// One client of several writers does one thing.
    pub(super) fn shared_client(&mut self, n: usize, life: u64, epoch: u64) {
        let Some(session) = self.handle(n, epoch).filter(|_| !self.clients_stop) else { return };
        let after = self.rng.below(self.pace) + 200;
        self.push(after, Event::Client { n, life, epoch });
        if self.history.as_ref().is_none_or(|h| h.under_way(n) >= UNDER_WAY) {
            return;
        }
        let busy = (self.now / (300 * MS)) as usize;
        let sectors = self.shared_sectors(n);
        let (first, len) = self.range_to_write(busy, sectors, false);
        let asks = match self.rng.below(93) {
            _ if self.rng.chance(self.leases) => Asks::Lease { first, len },
            0..=49 => {
                let zeros = self.chance.chance(self.zeros);
                Asks::Write { id: self.next_name(epoch, zeros), first, len }
            }
            50..=79 => Asks::Read { first: first / PLACE * PLACE, len: PLACE },
            _ => Asks::Flush,
        };
        self.shared_ask(n, epoch, session, asks);
    }

    /// The name of a write of several writers.
    pub(super) fn next_name(&mut self, epoch: u64, zeros: bool) -> u64 {
        self.written_ids += 1;
        if zeros { name::zeros(epoch, self.written_ids) } else { name::id(epoch, self.written_ids) }
    }

    /// Sectors that a handle on this node has.
    fn shared_sectors(&self, n: usize) -> usize {
        let here = self.replica(n).map_or(SECTORS, |r| sectors(r.size()));
        self.history.as_ref().map_or(SECTORS, |h| h.sectors().min(here).min(self.oracle.sectors()))
    }

    pub(super) fn shared_flushes(&mut self, n: usize) {
        let Some(epoch) = self.procs[n].as_ref().and_then(|p| p.stage.epoch()) else { return };
        self.shared_ask(n, epoch, None, Asks::Flush);
    }

    fn shared_ask(&mut self, n: usize, epoch: u64, session: Option<u64>, asks: Asks) {
        self.say(|| format!("client on {n} asks {asks:x?}"));
        self.asking = Some(asks);
        let op = match asks {
            Asks::Write { id, first, len } => {
                let (offset, data) = self.bytes(first, len, id);
                RemoteOp::Write { offset, data }
            }
            Asks::Read { first, len } => RemoteOp::Read { offset: offset(first), len: (len * SECTOR) as u32 },
            Asks::Flush => RemoteOp::Flush,
            Asks::Lease { first, len } => {
                let (offset, len) = (offset(first), (len * SECTOR) as u64);
                return self.ask(n, Asked::Client, |request| Input::Lease { request, epoch, offset, len });
            }
        };
        self.ask(n, Asked::Client, |request| match (session, op) {
            (Some(session), op) => Input::Remote { request, session, op },
            (None, RemoteOp::Write { offset, data }) => Input::Write { request, offset, data },
            (None, RemoteOp::Read { offset, len }) => Input::Read { request, offset, len },
            (None, RemoteOp::Flush) => Input::Flush { request },
        });
    }

    /// A replica has answered: from this moment on it has promised, if the lease holds.
    pub(super) fn shared_promise(&mut self, n: usize, request: RequestId, result: &Result<Reply, Denied>) {
        let (now, local) = (self.now, self.local(n));
        let epoch = self.procs[n].as_ref().and_then(|p| p.epoch()).unwrap_or(0);
        let leased = self.procs[n].as_ref().is_some_and(|p| local < p.lease);
        let calm = self.calm();
        let Some(history) = &mut self.history else { return };
        let stale = epoch != history.epoch;
        let Some((asks, began, void)) = history.end(n, request, result.is_ok() && !stale, now) else {
            return;
        };
        let (rule, verdict) = match (asks, result) {
            (Asks::Read { .. }, Err(Denied::Corrupt { offset, len })) if self.setting.checks() => {
                let what =
                    format!("{len} bytes at {offset} cannot be read on node {n}, though a copy is whole");
                ("checksums", Err(what))
            }
            (Asks::Write { first, len, .. }, Ok(Reply::Written)) if !stale => {
                self.stopwatch.writes(epoch, self.now);
                ("N3", history.written(n, (first, len), began, calm))
            }
            (Asks::Read { .. }, Ok(_)) if stale && leased => {
                let open = history.epoch;
                ("R5", Err(format!("node {n} answers a reader in epoch {epoch} while {open} is open")))
            }
            // Within an epoch, lease or not.
            (Asks::Read { first, len }, Ok(Reply::Read(data))) if !stale => {
                let values: Vec<_> =
                    (0..len).map(|at| decode_bytes(first + at, &data[at * SECTOR..])).collect();
                self.oracle.reads += len as u64;
                ("linearizable", history.read(first, &values, began))
            }
            (Asks::Lease { first, len }, Ok(Reply::Leased(lease))) if !stale => {
                // Who wakes too late may have been taken out meanwhile, and its range given to another.
                let valid = leased && !void;
                let verdict = if valid { history.leased(n, *lease, (first, len)) } else { Ok(()) };
                let (lease, life) = (*lease, self.machines[n].life);
                let after = self.rng.between(MS, 60 * MS);
                self.push(after, Event::Unlease { n, life, lease });
                ("N3", verdict)
            }
            (Asks::Flush, Ok(Reply::Flushed)) => return self.shared_flushed(n, epoch, began),
            _ => return,
        };
        self.judge(rule, verdict);
    }

    fn shared_flushed(&mut self, n: usize, epoch: u64, began: u64) {
        let members = self.authority.current().in_sync.iter().map(|m| node(m.node));
        let images = members.filter(|m| self.opens_disks && !self.machines[*m].distrusted).filter_map(|m| {
            let disks = self.machines[m].disks.as_ref()?;
            Some((m, &disks[0].durable))
        });
        let images: Vec<_> = images.collect();
        let Some(history) = &mut self.history else { return };
        // What the operator has given up is nothing to anybody.
        let given_up = self.split && epoch < self.authority.current().epoch;
        let verdict = match epoch == history.epoch && !given_up {
            true => history.flush(began, &images),
            // What it was asked for in an epoch that is over is nothing to a newer one.
            false => Ok(()),
        };
        self.oracle.acked += 1;
        self.mark(n as u64, began);
        self.judge("R2", verdict);
    }

    /// Who leads, if nothing has gone wrong so far, all writers read their own copies, and writes wait for these.
    fn calm(&self) -> Option<usize> {
        let leader = self.authority.current().leader.filter(|_| self.undisturbed)?;
        let waited_for = self.replica(leader)?.status().writers;
        let reads = |m: usize| {
            let here = self.replica(m).is_some_and(|r| r.status().session.is_some_and(|s| s.reads_here));
            m == leader || here && waited_for.contains(&(NodeId(m as u64 + 1), true))
        };
        (0..self.copies).all(reads).then_some(leader)
    }

    pub(super) fn unlease(&mut self, n: usize, lease: LeaseId) {
        if let Some(history) = &mut self.history {
            history.released(n, lease, self.now);
        }
        self.input(n, Input::Unlease(lease));
    }

    /// What a replica says of writers, the moment it says so.
    pub(super) fn told_of_writers(&mut self, n: usize, event: &Told) {
        let epoch = self.procs[n].as_ref().and_then(|p| p.stage.epoch());
        let late_us = self.undisturbed.then_some(LATE);
        let Some(history) = &mut self.history else { return };
        match event {
            Told::Overlap { first, second, offset: at, len } if epoch == Some(history.epoch) => {
                let touched =
                    |sector: &usize| offset(*sector) < at + len && *at < offset(*sector) + SECTOR as u64;
                let touched: Vec<usize> = (0..history.sectors()).filter(touched).collect();
                let sectors = (touched.first().copied().unwrap_or(0), touched.len());
                let (first, second, at_us) = (node(*first), node(*second), self.now);
                let verdict = history.overlapped(Race { first, second, sectors, at_us, late_us });
                self.judge("N3", verdict);
            }
            Told::LeaseLost { holder, lease } => history.lost(node(*holder), *lease, self.now),
            Told::WriterLeft { peer } => history.only(|m| m != node(*peer)),
            Told::SessionEnded { .. } => {
                history.dies(n);
                self.proc(n).into_iter().for_each(|p| p.session_at = None);
            }
            _ => {}
        }
    }

    /// What healthy writers have and these have not.
    pub(super) fn writers_miss(&self, leader: usize) -> Option<String> {
        let history = self.history.as_ref()?;
        for n in (0..3).filter(|n| *n != leader) {
            let Some(p) = &self.procs[n] else { continue };
            let session = p.replica.status().session;
            if !session.is_some_and(|s| s.joined && (s.reads_here || n >= self.copies)) {
                return Some(format!("node {n} does not write: {session:?}"));
            }
        }
        let (node, asks, _) = history.oldest().filter(|(_, _, since)| since + 2000 * MS < self.now)?;
        let waits = self.replica(leader).map(|r| r.status().waiting);
        Some(format!("{asks:?} of node {node} is not answered; the leader waits for {waits:?}"))
    }
}

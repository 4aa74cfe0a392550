//! Replicas on disks and links in memory, in one thread, in an order that a seed chooses.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use posthaste_blockrepl::core::{
    Denied, DiskOp, Event, Input, LinkId, OpId, Output, PeerStatus, Replica, Reply, RequestId, SnapshotOp,
    Status, VerifyReport,
};
use posthaste_blockrepl::wire::{Decoder, Message, WriterMessage};
use posthaste_blockrepl::{
    ClusterId, Config, DeviceId, Grant, Identity, Member, MemberSet, NodeId, Protocol, Raised, VolumeId,
    Zeros,
};

use crate::image::Image;

/// More extents than may be hot at once.
pub const SIZE: u64 = 12 << 20;

/// A disk that remembers which writes were not flushed yet.
#[derive(Default)]
pub struct Disk {
    pub live: Image,
    durable: Image,
    unsynced: Vec<(usize, Vec<u8>)>,
    pub syncs: u64,
}

impl Disk {
    fn new(len: u64) -> Self {
        Disk { live: Image::new(len as usize), durable: Image::new(len as usize), ..Disk::default() }
    }

    fn write(&mut self, offset: u64, data: &[u8]) {
        let at = offset as usize;
        self.live.write(at, data);
        self.unsynced.push((at, data.to_vec()));
    }

    /// A bit changes by itself, on the medium.
    pub fn rot(&mut self, at: usize) {
        [&mut self.live, &mut self.durable].into_iter().for_each(|image| image[at] ^= 4);
        for (from, data) in &mut self.unsynced {
            data.get_mut(at.wrapping_sub(*from)).into_iter().for_each(|byte| *byte ^= 4);
        }
    }

    /// Durable at once, as the length of a file is.
    fn grow(&mut self, from: u64, to: u64) {
        self.syncs += 1;
        for image in [&mut self.live, &mut self.durable] {
            image.truncate(from as usize);
            image.resize(to as usize);
        }
        self.unsynced.retain(|(at, data)| (at + data.len()) as u64 <= from);
    }

    fn cut(&mut self, to: u64) {
        self.live.truncate(to as usize);
        self.durable.truncate(to as usize);
        self.unsynced.retain(|(at, data)| (at + data.len()) as u64 <= to);
    }

    fn flush(&mut self) {
        self.syncs += 1;
        for (at, data) in self.unsynced.drain(..) {
            self.durable.write(at, &data);
        }
    }

    /// Power cut: each unsynced write survives, in 512-byte pieces, as `keep` says.
    fn crash(&mut self, mut keep: impl FnMut() -> bool) {
        for (at, data) in std::mem::take(&mut self.unsynced) {
            for (i, piece) in data.chunks(512).enumerate() {
                if keep() {
                    self.durable.write(at + i * 512, piece);
                }
            }
        }
        self.live.copy_from(&self.durable);
    }
}

pub struct Node {
    pub identity: Identity,
    pub config: Config,
    pub replica: Option<Replica>,
    pub data: Disk,
    pub meta: Disk,
    data_ops: VecDeque<(OpId, DiskOp)>,
    meta_ops: VecDeque<(OpId, DiskOp)>,
    pub events: Vec<Event>,
    /// Bytes of the device written by anybody, to tell a small resync from a full one.
    pub written: u64,
    /// Images of snapshots, and whether each was flushed.
    pub images: BTreeMap<u64, (Vec<u8>, bool)>,
    /// Images share the blocks of the data disk.
    pub clones: bool,
    /// There is no room for images.
    pub no_images: bool,
    /// Reads of the data disk that touch these bytes fail, until they are written.
    pub unreadable: Vec<u64>,
    /// The metadata has latent errors at these places: reads of them fail when it is opened.
    pub unreadable_meta: Vec<u64>,
    /// The data disk cannot grow.
    pub no_room: bool,
    /// The data disk answers the next flush with an error.
    pub fail_flush: bool,
    /// Power is cut right after this many syncs of the metadata.
    pub die_after_syncs: Option<u64>,
    /// Power is cut before so many syncs of the metadata are over: some of what was written since the last one is there.
    pub die_before_sync: Option<u64>,
    pub meta_writes: u64,
}

impl Node {
    fn snapshot(&mut self, op: SnapshotOp) -> Result<Bytes, Arc<str>> {
        match op {
            SnapshotOp::Create { .. } if self.no_images => return Err(Arc::from("no room")),
            SnapshotOp::Create { id, size } => {
                let bytes = if self.clones { self.data.live.to_vec() } else { vec![0; size as usize] };
                self.images.insert(id, (bytes, false));
                return Ok(Bytes::from_static(if self.clones { b"all" } else { b"" }));
            }
            SnapshotOp::Write { id, offset, data } => {
                let image = &mut self.images.get_mut(&id).expect("it was created").0;
                image[offset as usize..offset as usize + data.len()].copy_from_slice(&data);
            }
            SnapshotOp::Flush { id } => self.images.get_mut(&id).expect("it was created").1 = true,
            SnapshotOp::Remove { id } => drop(self.images.remove(&id)),
        }
        Ok(Bytes::new())
    }
}

pub struct Net {
    pub nodes: Vec<Node>,
    /// Link name to its two ends.
    links: BTreeMap<LinkId, (usize, usize)>,
    wires: BTreeMap<(LinkId, usize), VecDeque<Message>>,
    pub answers: HashMap<RequestId, Result<Reply, Denied>>,
    next: u64,
    rng: u64,
    pub now: Duration,
    /// Messages to this node are held back.
    pub deaf: Option<usize>,
    /// The metadata disk of this node does not answer.
    pub hung: Option<usize>,
    /// The data disk of this node does not answer.
    pub hung_data: Option<usize>,
    /// Neither disk of this node answers.
    pub hold_disks: Option<usize>,
    /// Replicas that are opened from now on have it.
    #[cfg(feature = "bugs")]
    pub bug: Option<posthaste_blockrepl::bugs::Bug>,
}

pub fn identity(n: usize) -> Identity {
    Identity {
        cluster: ClusterId([1; 16]),
        volume: VolumeId([2; 16]),
        device: DeviceId([n as u8 + 10; 16]),
        node: NodeId(n as u64),
    }
}

pub fn member(n: usize) -> Member {
    Member { node: NodeId(n as u64), device: identity(n).device }
}

pub fn set(nodes: &[usize]) -> MemberSet {
    nodes.iter().map(|n| member(*n)).collect()
}

pub fn grant(epoch: u64, leader: usize, nodes: &[usize], generation: u64) -> Grant {
    Grant::new(epoch, NodeId(leader as u64), set(nodes), generation)
}

pub fn small() -> Config {
    Config { hot_extents: 8, hot_ahead: 1, undo_bytes: Some(1 << 20), ..Config::default() }
}

impl Net {
    pub fn new(count: usize, seed: u64) -> Self {
        Self::with(count, seed, small())
    }

    pub fn with(count: usize, seed: u64, config: Config) -> Self {
        Self::sized(count, seed, config, SIZE)
    }

    /// Devices of `size` bytes.
    pub fn sized(count: usize, seed: u64, config: Config, size: u64) -> Self {
        let nodes = (0..count).map(|n| Self::node(identity(n), config.clone(), size)).collect();
        let mut net = Net {
            nodes,
            links: BTreeMap::new(),
            wires: BTreeMap::new(),
            answers: HashMap::new(),
            next: 0,
            rng: seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1,
            now: Duration::ZERO,
            deaf: None,
            hung: None,
            hung_data: None,
            hold_disks: None,
            #[cfg(feature = "bugs")]
            bug: None,
        };
        (0..count).for_each(|n| net.boot(n));
        net
    }

    fn node(identity: Identity, config: Config, size: u64) -> Node {
        let (len, writes) = Replica::format(&config, &identity, size).unwrap();
        let mut meta = Disk::new(len);
        writes.iter().for_each(|(at, bytes)| meta.write(*at, bytes));
        meta.flush();
        meta.syncs = 0;
        Node {
            identity,
            config,
            replica: None,
            data: Disk::new(size),
            meta,
            data_ops: VecDeque::new(),
            meta_ops: VecDeque::new(),
            events: Vec::new(),
            written: 0,
            images: BTreeMap::new(),
            clones: false,
            no_images: false,
            unreadable: Vec::new(),
            unreadable_meta: Vec::new(),
            no_room: false,
            fail_flush: false,
            die_after_syncs: None,
            die_before_sync: None,
            meta_writes: 0,
        }
    }

    /// A node without a disk.
    pub fn boot_diskless(&mut self, n: usize) {
        let node = &mut self.nodes[n];
        node.replica = Some(Replica::diskless(node.config.clone(), &node.identity, SIZE).unwrap());
    }

    /// A new, blank disk with another device id in an old node.
    pub fn replace_disk(&mut self, n: usize, device: u8) {
        let identity = Identity { device: DeviceId([device; 16]), ..self.nodes[n].identity };
        self.nodes[n] = Self::node(identity, self.nodes[n].config.clone(), SIZE);
        self.boot(n);
    }

    pub fn random(&mut self, below: u64) -> u64 {
        self.rng ^= self.rng << 13;
        self.rng ^= self.rng >> 7;
        self.rng ^= self.rng << 17;
        self.rng % below
    }

    pub fn boot(&mut self, n: usize) {
        let node = &mut self.nodes[n];
        let meta = &node.meta.live;
        let bad = &node.unreadable_meta;
        let read = |at: u64, buf: &mut [u8]| {
            if bad.iter().any(|bad| (at..at + buf.len() as u64).contains(bad)) {
                return Err(std::io::Error::other("latent error"));
            }
            buf.copy_from_slice(&meta[at as usize..at as usize + buf.len()]);
            Ok(())
        };
        let replica = Replica::open(node.config.clone(), &node.identity, read).unwrap();
        #[cfg(feature = "bugs")]
        let replica = match self.bug {
            Some(bug) => replica.with_bug(bug),
            None => replica,
        };
        node.replica = Some(replica);
    }

    /// Power cut: volatile state and a seeded part of the unsynced writes are lost.
    pub fn crash(&mut self, n: usize) {
        let links: Vec<LinkId> =
            self.links.iter().filter(|(_, (a, b))| *a == n || *b == n).map(|(l, _)| *l).collect();
        self.nodes[n].replica = None;
        links.into_iter().for_each(|l| self.cut_link(l));
        let mut coin = self.rng;
        let mut keep = || {
            coin ^= coin << 13;
            coin ^= coin >> 7;
            coin ^= coin << 17;
            coin.is_multiple_of(3)
        };
        let node = &mut self.nodes[n];
        node.data_ops.clear();
        node.meta_ops.clear();
        node.data.crash(&mut keep);
        node.meta.crash(&mut keep);
        // What of an image was not flushed may be there or not.
        node.images.retain(|_, (bytes, flushed)| {
            if !*flushed {
                bytes.fill(0xEE);
            }
            *flushed || keep()
        });
        (node.die_after_syncs, node.die_before_sync) = (None, None);
        self.rng = coin;
    }

    pub fn connect(&mut self, a: usize, b: usize) -> LinkId {
        self.next += 1;
        let link = LinkId(self.next);
        let hello = |n: &Node| n.replica.as_ref().unwrap().hello();
        let (ha, hb) = (hello(&self.nodes[a]), hello(&self.nodes[b]));
        self.links.insert(link, (a, b));
        self.input(a, Input::LinkUp { link, hello: hb });
        self.input(b, Input::LinkUp { link, hello: ha });
        link
    }

    pub fn cut(&mut self, a: usize, b: usize) {
        let links: Vec<LinkId> =
            self.links.iter().filter(|(_, e)| **e == (a, b) || **e == (b, a)).map(|(l, _)| *l).collect();
        links.into_iter().for_each(|l| self.cut_link(l));
    }

    pub fn connected(&self, a: usize, b: usize) -> bool {
        self.links.values().any(|e| *e == (a, b) || *e == (b, a))
    }

    fn cut_link(&mut self, link: LinkId) {
        let Some((a, b)) = self.links.remove(&link) else { return };
        self.wires.retain(|(l, _), _| *l != link);
        for n in [a, b] {
            self.input(n, Input::LinkDown { link });
        }
    }

    /// Only this end hears that the link is gone; to the other one nothing comes any more, and it does not know.
    pub fn lose_end(&mut self, link: LinkId, n: usize) {
        self.links.remove(&link);
        self.wires.retain(|(l, _), _| *l != link);
        self.input(n, Input::LinkDown { link });
    }

    pub fn input(&mut self, n: usize, input: Input) {
        let now = self.now;
        if let Some(replica) = &mut self.nodes[n].replica {
            replica.handle(now, input);
        }
        self.collect(n);
    }

    pub fn collect(&mut self, n: usize) {
        let node = &mut self.nodes[n];
        let mut closed = Vec::new();
        while let Some(output) = node.replica.as_mut().and_then(Replica::poll_output) {
            match output {
                Output::Disk { op, what } if what.is_meta() => node.meta_ops.push_back((op, what)),
                Output::Disk { op, what } => node.data_ops.push_back((op, what)),
                Output::Send { link, message } => {
                    if let Some((a, b)) = self.links.get(&link) {
                        let to = if *a == n { *b } else { *a };
                        self.wires.entry((link, to)).or_default().push_back(message);
                    }
                }
                Output::CloseLink { link } => closed.push(link),
                Output::Done { request, result } => {
                    assert!(self.answers.insert(request, result).is_none(), "answered twice");
                }
                Output::Event(event) => node.events.push(event),
            }
        }
        for link in closed {
            self.close_link(link, n);
        }
    }

    /// One end closes: what it sent still arrives, then the other end hears of it.
    fn close_link(&mut self, link: LinkId, n: usize) {
        let Some((a, b)) = self.links.get(&link).copied() else { return };
        let other = if a == n { b } else { a };
        self.wires.remove(&(link, n));
        for message in self.wires.remove(&(link, other)).unwrap_or_default() {
            self.input(other, Input::Message { link, message });
        }
        if self.links.remove(&link).is_some() {
            self.wires.retain(|(l, _), _| *l != link);
            self.input(other, Input::LinkDown { link });
        }
    }

    /// Does one thing that can be done, chosen by the seed.
    pub fn step(&mut self) -> bool {
        let mut choices: Vec<(u8, usize, LinkId)> = Vec::new();
        for (n, node) in self.nodes.iter().enumerate() {
            if self.hold_disks == Some(n) {
                continue;
            }
            let answers = self.hung_data != Some(n) && !node.data_ops.is_empty();
            choices.extend(answers.then_some((0, n, LinkId(0))));
            let answers = self.hung != Some(n) && !node.meta_ops.is_empty();
            choices.extend(answers.then_some((1, n, LinkId(0))));
        }
        for ((link, to), queue) in &self.wires {
            if !queue.is_empty() && self.deaf != Some(*to) {
                choices.push((2, *to, *link));
            }
        }
        if choices.is_empty() {
            return false;
        }
        let pick = self.random(choices.len() as u64) as usize;
        match choices[pick] {
            (0, n, _) => self.data_op(n),
            (1, n, _) => self.meta_op(n),
            (_, n, link) => {
                let message = self.wires.get_mut(&(link, n)).and_then(VecDeque::pop_front);
                let message = through_the_wire(message.unwrap());
                self.input(n, Input::Message { link, message });
            }
        }
        true
    }

    fn data_op(&mut self, n: usize) {
        let node = &mut self.nodes[n];
        let Some((op, what)) = node.data_ops.pop_front() else { return };
        let result = match what {
            DiskOp::Write { offset, data } => {
                node.written += data.len() as u64;
                node.unreadable.retain(|at| !(offset..offset + data.len() as u64).contains(at));
                node.data.write(offset, &data);
                Ok(Bytes::new())
            }
            DiskOp::Read { offset, len } => {
                let fails = node.unreadable.iter().any(|at| (offset..offset + u64::from(len)).contains(at));
                if fails { Err(Arc::from("latent error")) } else { Ok(slice(&node.data, offset, len)) }
            }
            DiskOp::Grow { .. } if node.no_room => Err(Arc::from("no room")),
            DiskOp::Grow { from, to } => {
                node.data.grow(from, to);
                Ok(Bytes::new())
            }
            DiskOp::Shrink { to } => {
                node.data.cut(to);
                Ok(Bytes::new())
            }
            DiskOp::Snapshot(op) => node.snapshot(op),
            _ if node.fail_flush => Err(Arc::from("injected")),
            _ => {
                node.data.flush();
                Ok(Bytes::new())
            }
        };
        self.input(n, Input::DiskDone { op, result });
    }

    fn meta_op(&mut self, n: usize) {
        let node = &mut self.nodes[n];
        let Some((op, what)) = node.meta_ops.pop_front() else { return };
        if matches!(what, DiskOp::MetaFlush) && node.die_before_sync.is_some_and(|k| k <= node.meta.syncs + 1)
        {
            return self.crash(n);
        }
        let result = match what {
            DiskOp::MetaWrite { offset, data } => {
                node.meta_writes += 1;
                node.meta.write(offset, &data);
                Bytes::new()
            }
            DiskOp::MetaRead { offset, len } => slice(&node.meta, offset, len),
            DiskOp::MetaGrow { from, to } => {
                node.meta.grow(from, to);
                Bytes::new()
            }
            _ => {
                node.meta.flush();
                Bytes::new()
            }
        };
        if node.die_after_syncs.is_some_and(|k| node.meta.syncs >= k) {
            return self.crash(n);
        }
        self.input(n, Input::DiskDone { op, result: Ok(result) });
    }

    /// Runs until nothing can happen any more.
    pub fn settle(&mut self) {
        let mut steps = 0;
        while self.step() {
            steps += 1;
            assert!(steps < 2_000_000, "the replicas never come to rest");
        }
    }

    pub fn request(&mut self, n: usize, make: impl FnOnce(RequestId) -> Input) -> RequestId {
        self.next += 1;
        let request = RequestId(self.next);
        self.input(n, make(request));
        request
    }

    pub fn write(&mut self, n: usize, offset: u64, data: &[u8]) -> RequestId {
        let data = Bytes::copy_from_slice(data);
        self.request(n, |request| Input::Write { request, offset, data })
    }

    /// Zeros that travel as their number.
    pub fn zero(&mut self, n: usize, offset: u64, len: usize) -> RequestId {
        let data = Zeros::Free.bytes(len);
        self.request(n, |request| Input::Write { request, offset, data })
    }

    /// A write, and all that follows from it.
    pub fn put(&mut self, n: usize, offset: u64, data: &[u8]) {
        self.write(n, offset, data);
        self.settle();
    }

    /// A while later, without a fault.
    pub fn idle(&mut self) {
        self.settle();
        self.now += Duration::from_millis(100);
        (0..self.nodes.len()).for_each(|n| self.input(n, Input::Tick));
        self.settle();
    }

    pub fn flush(&mut self, n: usize) -> RequestId {
        self.request(n, |request| Input::Flush { request })
    }

    pub fn resize(&mut self, n: usize, size: u64) -> RequestId {
        self.request(n, |request| Input::Resize { request, size })
    }

    pub fn shrink(&mut self, n: usize, size: u64) -> RequestId {
        self.request(n, |request| Input::Shrink { request, size })
    }

    pub fn verify(&mut self, n: usize) -> RequestId {
        self.request(n, |request| Input::Verify { request })
    }

    /// What a verify of node `n` reports.
    pub fn verified(&mut self, n: usize) -> VerifyReport {
        let request = self.verify(n);
        self.settle();
        match &self.answers[&request] {
            Ok(Reply::Verified(report)) => report.clone(),
            other => panic!("{other:?}"),
        }
    }

    pub fn delete_snapshot(&mut self, n: usize, id: u64) -> RequestId {
        self.request(n, |request| Input::DeleteSnapshot { request, id })
    }

    pub fn snapshots(&self, n: usize) -> Vec<posthaste_blockrepl::core::Snapshot> {
        self.nodes[n].replica.as_ref().unwrap().snapshots()
    }

    pub fn scrub(&mut self, n: usize) -> RequestId {
        self.request(n, |request| Input::Scrub { request })
    }

    pub fn read(&mut self, n: usize, offset: u64, len: u32) -> RequestId {
        self.request(n, |request| Input::Read { request, offset, len })
    }

    pub fn close(&mut self, n: usize) -> RequestId {
        self.request(n, |request| Input::Close { request })
    }

    pub fn rollback(&mut self, n: usize) -> RequestId {
        self.request(n, |request| Input::Rollback { request })
    }

    pub fn start_raise(&mut self, n: usize, epoch: u64) -> RequestId {
        self.request(n, |request| Input::Raise { request, epoch })
    }

    pub fn start_lead(&mut self, n: usize, grant: Grant) -> RequestId {
        self.request(n, |request| Input::Lead { request, grant })
    }

    pub fn raise(&mut self, n: usize, epoch: u64) -> Result<Raised, Denied> {
        let request = self.start_raise(n, epoch);
        self.settle();
        match self.answers.remove(&request).expect("a raise is answered") {
            Ok(Reply::Raised(raised)) => Ok(raised),
            Ok(other) => panic!("{other:?}"),
            Err(why) => Err(why),
        }
    }

    pub fn try_lead(&mut self, n: usize, grant: Grant) -> Result<(), Denied> {
        let request = self.start_lead(n, grant);
        self.settle();
        self.answers.remove(&request).expect("a lead is answered").map(drop)
    }

    /// Raises and leads.
    pub fn lead(&mut self, n: usize, grant: Grant) {
        self.raise(n, grant.epoch).unwrap();
        self.try_lead(n, grant).unwrap();
    }

    pub fn set_grant(&mut self, n: usize, grant: Grant) -> Result<(), Denied> {
        let now = self.now;
        let result = self.nodes[n].replica.as_mut().unwrap().set_grant(now, grant);
        self.collect(n);
        result
    }

    pub fn set_pending(&mut self, n: usize, pending: Option<MemberSet>) -> Result<(), Denied> {
        let now = self.now;
        let result = self.nodes[n].replica.as_mut().unwrap().set_pending(now, pending);
        self.collect(n);
        result
    }

    pub fn set_protocol(&mut self, n: usize, peer: usize, protocol: Protocol) {
        let now = self.now;
        self.nodes[n].replica.as_mut().unwrap().set_protocol(now, NodeId(peer as u64), protocol);
        self.collect(n);
    }

    pub fn pause_resync(&mut self, n: usize, peer: usize, paused: bool) {
        let now = self.now;
        self.nodes[n].replica.as_mut().unwrap().pause_resync(now, NodeId(peer as u64), paused);
        self.collect(n);
    }

    /// What `n` knows of `peer`.
    pub fn peer(&self, n: usize, peer: usize) -> PeerStatus {
        let node = NodeId(peer as u64);
        self.status(n).peers.into_iter().find(|p| p.node == node).expect("the peer is known")
    }

    /// Lets time pass to when `n` asks for it.
    pub fn wait(&mut self, n: usize) -> bool {
        let due = self.nodes[n].replica.as_ref().and_then(|r| r.poll_timeout());
        let Some(due) = due else { return false };
        self.now = self.now.max(due);
        self.input(n, Input::Tick);
        true
    }

    /// Damages at most so many answers to reads that are on their way to `n`; returns in how many.
    pub fn damage_reads(&mut self, n: usize, most: usize) -> usize {
        let wires = self.wires.iter_mut().filter(|((_, to), _)| *to == n);
        let reads = wires.flat_map(|(_, queue)| queue).filter_map(|message| match message {
            Message::Writer(WriterMessage::ReadData { data, .. })
                if data.first().is_some_and(|b| *b != 0xEE) =>
            {
                Some(data)
            }
            _ => None,
        });
        let damaged = reads.take(most).map(|data| {
            let mut bytes = data.to_vec();
            bytes[0] = 0xEE;
            *data = bytes.into();
        });
        damaged.count()
    }

    pub fn heard(&self, n: usize, event: impl Fn(&Event) -> bool) -> bool {
        self.nodes[n].events.iter().any(event)
    }

    pub fn answered(&self, request: RequestId) -> bool {
        self.answers.contains_key(&request)
    }

    pub fn status(&self, n: usize) -> Status {
        self.nodes[n].replica.as_ref().unwrap().status()
    }

    pub fn synced(&self, n: usize, peer: usize) -> bool {
        let event = |e: &Event| matches!(e, Event::PeerSynced { peer: p, .. } if *p == NodeId(peer as u64));
        self.nodes[n].events.iter().any(event)
    }

    pub fn assert_identical(&self, a: usize, b: usize) {
        let differs = self.nodes[a].data.live.differs(&self.nodes[b].data.live);
        assert_eq!(differs, None, "the replicas differ at this byte");
    }

    /// Two nodes, connected, node 0 leads both.
    pub fn pair(seed: u64) -> Self {
        Self::pair_with(seed, small())
    }

    pub fn pair_with(seed: u64, config: Config) -> Self {
        let mut net = Net::with(2, seed, config);
        net.connect(0, 1);
        net.lead(0, grant(1, 0, &[0, 1], 1));
        net
    }
}

fn slice(disk: &Disk, offset: u64, len: u32) -> Bytes {
    Bytes::copy_from_slice(&disk.live[offset as usize..offset as usize + len as usize])
}

fn through_the_wire(message: Message) -> Message {
    let mut decoder = Decoder::new(4 << 20);
    let mut bytes = BytesMut::new();
    message.encode(&mut bytes);
    decoder.buffer().extend_from_slice(&bytes);
    let read = decoder.next().unwrap().expect("a whole message");
    assert_eq!(read, message);
    read
}

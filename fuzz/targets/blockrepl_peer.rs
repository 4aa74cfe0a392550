//! A hostile or broken peer: strangers, replayed epochs, ranges out of bounds, any message in any order, answers to what
//! was not asked, while the replica leads, follows or writes through another. A stranger is refused without effect; only
//! what the leader of the newest epoch sent on a link that it opened reaches the disk, within the device; the epoch never
//! falls; no request is answered twice; a flush is answered only when this disk has flushed.
#![no_main]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use libfuzzer_sys::fuzz_target;
use posthaste_blockrepl::core::{
    DiskOp, Input, LinkId, OpId, Output, RemoteOp, Replica, Reply, RequestId, RoleStatus,
};
use posthaste_blockrepl::wire::{Decoder, Hello, Message, Refusal, WIRE_VERSION, WriterMessage};
use posthaste_blockrepl::*;
use posthaste_fuzz::Script;

const SIZE: u64 = 1 << 20;
/// What a device may grow to.
const ROOM: u64 = 2 << 20;
/// In every byte of what the replica's own user writes.
const OWN: u8 = 255;

fn identity(node: u8) -> Identity {
    let (cluster, volume) = (ClusterId([7; 16]), VolumeId([8; 16]));
    Identity { cluster, volume, device: DeviceId([node; 16]), node: NodeId(u64::from(node)) }
}

fn member(node: u8) -> Member {
    Member { node: identity(node).node, device: identity(node).device }
}

struct Peer {
    node: u8,
    /// The epoch in which it opened replication.
    begun: Option<u64>,
}

struct Victim {
    replica: Replica,
    now: Duration,
    meta: Vec<u8>,
    data: Vec<u8>,
    /// Links whose hello was in order.
    links: BTreeMap<u64, Peer>,
    /// What was sent, by the number in its bytes: whether it may reach the disk.
    sent: Vec<bool>,
    /// Who may write through this replica when it leads.
    writers: BTreeSet<NodeId>,
    refused: bool,
    /// The disk does not answer.
    hung: bool,
    waiting: VecDeque<(OpId, DiskOp)>,
    requests: u64,
    /// Requests without an answer; of a flush, the writes that it covers.
    open: BTreeMap<RequestId, usize>,
    writes: usize,
    flushed: usize,
}

impl Victim {
    fn new(kind: u8) -> Self {
        let config = Config {
            hot_extents: 8,
            undo_bytes: Some(256 << 10),
            resync_by_digest: kind & 1 != 0,
            snapshots_max: usize::from(kind >> 1 & 1),
            ..Config::default()
        };
        let (len, writes) = Replica::format(&config, &identity(1), SIZE).expect("a size that fits");
        let mut meta = vec![0; len as usize];
        writes.iter().for_each(|(at, bytes)| meta[*at as usize..][..bytes.len()].copy_from_slice(bytes));
        let read = |at: u64, buf: &mut [u8]| {
            buf.copy_from_slice(&meta[at as usize..][..buf.len()]);
            Ok(())
        };
        let replica = Replica::open(config, &identity(1), read).expect("a fresh file");
        Victim {
            replica,
            now: Duration::ZERO,
            meta,
            data: vec![0; SIZE as usize],
            links: BTreeMap::new(),
            sent: Vec::new(),
            writers: BTreeSet::new(),
            refused: false,
            hung: false,
            waiting: VecDeque::new(),
            requests: 0,
            open: BTreeMap::new(),
            writes: 0,
            flushed: 0,
        }
    }

    fn input(&mut self, input: Input) {
        let before = self.replica.status().epoch;
        self.replica.handle(self.now, input);
        self.carry_out();
        assert!(self.replica.status().epoch >= before, "the epoch falls");
    }

    fn carry_out(&mut self) {
        loop {
            while let Some(output) = self.replica.poll_output() {
                self.output(output);
            }
            if self.hung {
                return;
            }
            let Some((op, what)) = self.waiting.pop_front() else { return };
            let result = self.disk(what);
            self.replica.handle(self.now, Input::DiskDone { op, result });
        }
    }

    fn output(&mut self, output: Output) {
        match output {
            Output::Disk { op, what } => {
                self.writes += usize::from(matches!(what, DiskOp::Write { .. }));
                self.waiting.push_back((op, what));
            }
            Output::Send { message: Message::Refused(_), .. } => self.refused = true,
            Output::CloseLink { link } => drop(self.links.remove(&link.0)),
            Output::Done { request, result } => {
                let covers = self.open.remove(&request).expect("an answer to nobody's question");
                assert!(
                    result != Ok(Reply::Flushed) || self.flushed >= covers,
                    "what is acknowledged is lost"
                );
            }
            _ => {}
        }
    }

    fn disk(&mut self, what: DiskOp) -> Result<Bytes, Arc<str>> {
        match what {
            DiskOp::Write { offset, data } => {
                assert!(offset + data.len() as u64 <= self.data.len() as u64, "past the end of the device");
                assert!(self.may_write(&data), "what must not count reaches the disk");
                self.data[offset as usize..][..data.len()].copy_from_slice(&data);
            }
            DiskOp::Read { offset, len } => {
                return Ok(Bytes::copy_from_slice(&self.data[offset as usize..][..len as usize]));
            }
            // All that came before it is on this disk.
            DiskOp::Flush => {
                let later = self.waiting.iter().filter(|(_, what)| matches!(what, DiskOp::Write { .. }));
                self.flushed = self.writes - later.count();
            }
            DiskOp::Grow { to, .. } if to > ROOM => return Err("no room".into()),
            DiskOp::Grow { to, .. } => self.data.resize(to as usize, 0),
            DiskOp::MetaGrow { to, .. } if to > 2 * ROOM => return Err("no room".into()),
            DiskOp::MetaGrow { to, .. } => self.meta.resize(to as usize, 0),
            DiskOp::MetaWrite { offset, data } => {
                self.meta[offset as usize..][..data.len()].copy_from_slice(&data)
            }
            DiskOp::MetaRead { offset, len } => {
                return Ok(Bytes::copy_from_slice(&self.meta[offset as usize..][..len as usize]));
            }
            _ => {}
        }
        Ok(Bytes::new())
    }

    /// Zeros come from copies without bytes, and from the device.
    fn may_write(&self, data: &[u8]) -> bool {
        let mut tags = data.iter().filter(|tag| **tag != 0 && **tag != OWN);
        tags.all(|tag| self.sent.get(usize::from(*tag) - 1).copied().unwrap_or(false))
    }

    /// Bytes that tell whether they may reach the disk.
    fn data(&mut self, len: usize, counts: bool) -> Bytes {
        let mut tag = 0;
        if self.sent.len() < 250 {
            self.sent.push(counts);
            tag = self.sent.len() as u8;
        }
        Bytes::from(vec![tag; len])
    }

    fn request(&mut self) -> RequestId {
        self.requests += 1;
        let request = RequestId(self.requests);
        self.open.insert(request, self.writes);
        request
    }

    /// A hello, right or with one thing wrong.
    fn connect(&mut self, link: u64, kind: u8) {
        let node = 2 + kind % 2;
        let peer = identity(node);
        let mut hello = Hello {
            cluster: peer.cluster,
            volume: peer.volume,
            node: peer.node,
            device: peer.device,
            size: SIZE,
            granule: posthaste_blockrepl::GRANULE as u32,
            epoch: u64::from(kind >> 6),
            generation: GenerationId::default(),
            leading: kind & 2 != 0,
        };
        let wrong = kind >> 2 & 3 == 3;
        match kind >> 4 & 3 {
            0 if wrong => hello.cluster = ClusterId([9; 16]),
            1 if wrong => hello.volume = VolumeId([9; 16]),
            2 if wrong => hello.device = identity(1).device,
            3 if wrong => hello.node = identity(1).node,
            0 => hello.device = DeviceId::default(),
            _ => {}
        }
        let before = self.replica.status();
        self.refused = false;
        self.links.insert(link, Peer { node, begun: None });
        self.input(Input::LinkUp { link: LinkId(link), hello });
        if wrong {
            assert!(self.refused && !self.links.contains_key(&link), "a stranger is let in");
            assert_eq!(self.replica.status(), before, "a stranger has an effect");
        }
    }

    /// What the owner of the replica does.
    fn owner(&mut self, script: &mut Script<'_>) {
        let (kind, epoch) = (script.byte(), u64::from(script.byte() % 8));
        let (request, offset) = (self.request(), script.short() as u64 * 17);
        let (data, session) = (Bytes::from(vec![OWN; 1 + script.short() % 5000]), 7);
        let len = data.len() as u32;
        let input = match kind % 16 {
            0 | 1 => Input::Raise { request, epoch },
            2 | 3 => {
                let in_sync = if kind & 16 != 0 { [1, 2].map(member).into() } else { [member(1)].into() };
                let writers: BTreeSet<NodeId> = (kind & 32 != 0).then_some(NodeId(2)).into_iter().collect();
                let grant = Grant::new(epoch, NodeId(1), in_sync, u64::from(kind >> 6));
                self.writers.extend(&writers);
                Input::Lead { request, grant: grant.with_writers(writers) }
            }
            4 | 5 => Input::Write { request, offset, data },
            6 => Input::Flush { request },
            7 => Input::Read { request, offset, len },
            8 => Input::Verify { request },
            9 => Input::Scrub { request },
            10 => Input::Rollback { request },
            11 => Input::Join { request, epoch, session },
            12 => Input::Remote { request, session, op: RemoteOp::Write { offset, data } },
            13 => Input::Remote { request, session, op: RemoteOp::Read { offset, len } },
            14 => Input::Lease { request, epoch, offset, len: len.into() },
            _ => Input::Resize { request, size: SIZE + u64::from(kind >> 4) * 65_536 },
        };
        self.input(input);
    }

    /// The replica's leader changes its set, or a resync its rules.
    fn grant(&mut self, script: &mut Script<'_>) {
        let (kind, now) = (script.byte(), self.now);
        let members: MemberSet = if kind & 1 != 0 { [1, 2].map(member).into() } else { [member(1)].into() };
        let protocol = [Protocol::A, Protocol::B, Protocol::C][usize::from(kind >> 4) % 3];
        match kind >> 1 & 3 {
            0 => drop(self.replica.set_pending(now, (kind & 8 != 0).then_some(members))),
            1 => self.replica.set_protocol(now, NodeId(2), protocol),
            2 => self.replica.pause_resync(now, NodeId(2), kind & 8 != 0),
            _ => {
                let grant = Grant::new(u64::from(kind >> 3 & 7), NodeId(1), members, u64::from(kind >> 6));
                drop(self.replica.set_grant(now, grant));
            }
        }
        self.carry_out();
    }

    fn message(&mut self, link: u64, script: &mut Script<'_>) {
        let (kind, epoch) = (script.byte(), u64::from(script.byte() % 8));
        let status = self.replica.status();
        let Some(peer) = self.links.get_mut(&link) else { return };
        if kind % 16 <= 1 && epoch >= status.epoch {
            peer.begun = Some(epoch);
        }
        // The newest epoch known, or a higher one, on a link whose leader opened it with just that.
        let leads = peer.begun == Some(epoch) && epoch >= status.epoch;
        let writes = status.role == RoleStatus::Leader
            && status.epoch == epoch
            && self.writers.contains(&NodeId(u64::from(peer.node)));
        let far = |script: &mut Script<'_>| match script.byte() {
            255 => u64::MAX - script.short() as u64,
            n if n > 200 => SIZE - u64::from(script.byte()),
            _ => script.short() as u64 * 17,
        };
        let lineage = Lineage::default();
        let message = match kind % 16 {
            0 | 1 => {
                let seq = if kind >= 240 { u64::MAX } else { u64::from(kind >> 4) };
                Message::Begin { epoch, seq, lineage }
            }
            2 | 3 => {
                let (seq, offset) = (u64::from(script.byte()), far(script));
                let seq = if seq == 255 { u64::MAX } else { seq };
                let data = self.data(script.short() % 3000, leads);
                Message::Write { epoch, seq, stable: u64::from(kind >> 4), offset, data: data.into() }
            }
            4 => Message::Flush { epoch, id: u64::from(kind >> 4), stable: script.short() as u64 },
            5 => Message::SyncStart { epoch, sync: u64::from(kind >> 4), granules: u32::from(kind & 3) * 4 },
            6 => {
                let len = [0, 65_536, 100, 70_000][usize::from(kind >> 4 & 3)];
                let data = self.data(len, leads);
                let granule = u32::from(script.byte()) % 20;
                let most = if kind & 64 != 0 { script.byte() % 20 } else { 0 };
                let blocks = (0..most).map(|n| (n, u32::from(n) + u32::from(kind >> 7))).collect();
                match kind & 64 {
                    0 => Message::Copy { epoch, granule, heal: kind & 128 != 0, data: data.into() },
                    _ => Message::CopyDamaged { epoch, granule, heal: true, blocks, data: data.into() },
                }
            }
            7 => {
                let dirty = vec![(script.short() as u32, u32::MAX)];
                Message::SyncEnd { epoch, version: 1, lineage, members: [member(1)].into(), dirty }
            }
            8 => Message::Verify { epoch, id: 1, offset: far(script), len: script.short() as u32 * 3 },
            9 => Message::FlushAck { id: u64::from(kind >> 4), bytes: u64::MAX },
            10 => Message::BeginAck {
                lineage,
                members: MemberSet::new(),
                base: GenerationId::default(),
                consistent: kind & 16 != 0,
                sync: None,
                changed: u32::MAX,
                dirty: if kind & 32 != 0 { vec![(0, 3), (9, u32::MAX)] } else { Vec::new() },
            },
            11 => Message::SyncDone { version: u64::from(kind >> 4) },
            12 if kind & 128 != 0 => Message::Refused(Refusal::Fenced { current: epoch }),
            12 => Message::Adopted { version: u64::from(kind >> 4) },
            13 => {
                let (id, offset) = (u64::from(script.byte()), far(script));
                let data = self.data(script.short() % 3000, writes);
                Message::Writer(WriterMessage::Forward {
                    epoch,
                    id,
                    seen: u64::from(kind >> 4),
                    offset,
                    data,
                })
            }
            14 if kind & 128 != 0 => {
                Message::Writer(WriterMessage::Join { epoch, session: 1, again: kind & 64 != 0 })
            }
            14 if kind & 64 != 0 => Message::Writer(WriterMessage::VouchAsk { epoch, id: u64::from(kind) }),
            _ => match noise(script, epoch) {
                Some(message) => message,
                None => return,
            },
        };
        self.input(Input::Message { link: LinkId(link), message });
    }
}

/// Any message but those whose data may reach the disk.
fn noise(script: &mut Script<'_>, epoch: u64) -> Option<Message> {
    let (kind, len) = (script.byte() % 99, usize::from(script.byte()));
    if matches!(kind, 5 | 10 | 36 | 49 | 72) {
        return None;
    }
    let mut payload = epoch.to_le_bytes().to_vec();
    for _ in 0..len.min(12) {
        // Small numbers mean something.
        let number = u64::from(script.byte());
        payload.extend_from_slice(&if number == 255 { u64::MAX } else { number }.to_le_bytes());
    }
    payload.truncate(len);
    let mut frame = vec![b'P', b'B', WIRE_VERSION, kind];
    frame.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    frame.extend_from_slice(&crc32fast::hash(&payload).to_le_bytes());
    frame.extend_from_slice(&crc32fast::hash(&frame).to_le_bytes());
    frame.extend_from_slice(&payload);
    let mut decoder = Decoder::new(4096);
    *decoder.buffer() = BytesMut::from(&frame[..]);
    decoder.next().ok().flatten()
}

fuzz_target!(|data: &[u8]| {
    let mut script = Script(data);
    let mut victim = Victim::new(script.byte());
    let mut next = 1;
    while !script.is_over() {
        let kind = script.byte();
        let link = next - u64::from(kind >> 7);
        match kind % 16 {
            0 | 1 => {
                next += 1;
                victim.connect(next, script.byte());
            }
            2 => {
                victim.links.remove(&link);
                victim.input(Input::LinkDown { link: LinkId(link) });
            }
            3 => {
                victim.hung = kind & 64 != 0;
                victim.carry_out();
            }
            4 => {
                victim.now += Duration::from_millis(50 << (kind >> 4));
                victim.input(Input::Tick);
            }
            5 => victim.grant(&mut script),
            6..=8 => victim.owner(&mut script),
            _ => victim.message(link, &mut script),
        }
    }
});

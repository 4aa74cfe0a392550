//! A hostile or broken peer has no effect. Each test is a row of `tests/HOSTILE.md`.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use posthaste_blockrepl::core::{
    Denied, DiskOp, Event, Input, LinkId, OpId, Output, RemoteOp, Replica, Reply, RequestId, RoleStatus,
};
use posthaste_blockrepl::wire::{Digest, Hello, Message, Refusal, WriterMessage};
use posthaste_blockrepl::{
    ClusterId, Config, GRANULE, GenerationId, Grant, Lineage, MemberSet, NodeId, VolumeId,
};

use crate::harness::{grant, identity, member, set, small};

const SIZE: u64 = 4 << 20;
const LINK: LinkId = LinkId(1);
const END: u64 = u64::MAX;

/// One replica, node 0, whose peer on the one link is ours to play.
struct Victim {
    replica: Replica,
    data: Vec<u8>,
    meta: Vec<u8>,
    /// The disk answers nothing.
    hung: bool,
    ops: VecDeque<(OpId, DiskOp)>,
    heard: Vec<Message>,
    closed: bool,
    events: Vec<Event>,
    answers: Vec<Result<Reply, Denied>>,
}

impl Victim {
    fn new() -> Self {
        Self::with(small())
    }

    fn with(config: Config) -> Self {
        let (len, writes) = Replica::format(&config, &identity(0), SIZE).unwrap();
        let mut meta = vec![0; len as usize];
        writes.iter().for_each(|(at, bytes)| meta[*at as usize..][..bytes.len()].copy_from_slice(bytes));
        let read = |at: u64, buf: &mut [u8]| {
            buf.copy_from_slice(&meta[at as usize..][..buf.len()]);
            Ok(())
        };
        let replica = Replica::open(config, &identity(0), read).unwrap();
        Victim {
            replica,
            data: vec![7; SIZE as usize],
            meta,
            hung: false,
            ops: VecDeque::new(),
            heard: Vec::new(),
            closed: false,
            events: Vec::new(),
            answers: Vec::new(),
        }
    }

    /// It follows node 1 in epoch 5.
    fn following() -> Self {
        let mut victim = Victim::new();
        victim.connect(hello());
        victim.say(begin(5, 0));
        assert!(matches!(victim.heard.pop(), Some(Message::BeginAck { .. })));
        victim
    }

    /// It leads epoch 5; node 1 is connected.
    fn leading(grant: Grant) -> Self {
        let mut victim = Victim::new();
        victim.lead(grant);
        victim.connect(hello());
        victim
    }

    /// As above, and node 1 is in step.
    fn synced(grant: Grant) -> Self {
        let mut victim = Self::leading(grant);
        victim.say(begin_ack());
        let Some(Message::SyncEnd { version, .. }) =
            victim.heard.iter().find(|m| matches!(m, Message::SyncEnd { .. })).cloned()
        else {
            panic!("{:?}", victim.heard)
        };
        victim.say(Message::SyncDone { version });
        victim
    }

    fn lead(&mut self, grant: Grant) {
        self.input(Input::Raise { request: RequestId(1), epoch: grant.epoch });
        self.input(Input::Lead { request: RequestId(2), grant });
        assert_eq!(self.replica.status().role, RoleStatus::Leader, "{:?}", self.answers);
        self.answers.clear();
    }

    fn connect(&mut self, hello: Hello) {
        self.closed = false;
        self.input(Input::LinkUp { link: LINK, hello });
    }

    fn say(&mut self, message: Message) {
        self.input(Input::Message { link: LINK, message });
    }

    fn ask(&mut self, make: impl FnOnce(RequestId) -> Input) {
        self.input(make(RequestId(9)));
    }

    fn input(&mut self, input: Input) {
        self.replica.handle(Duration::ZERO, input);
        self.drain();
    }

    fn drain(&mut self) {
        loop {
            while let Some(output) = self.replica.poll_output() {
                match output {
                    Output::Disk { op, what } => self.ops.push_back((op, what)),
                    Output::Send { message, .. } => self.heard.push(message),
                    Output::CloseLink { .. } => self.closed = true,
                    Output::Done { result, .. } => self.answers.push(result),
                    Output::Event(event) => self.events.push(event),
                }
            }
            if self.hung {
                return;
            }
            let Some((op, what)) = self.ops.pop_front() else { return };
            let result = Ok(self.carry_out(what));
            self.replica.handle(Duration::ZERO, Input::DiskDone { op, result });
        }
    }

    fn carry_out(&mut self, what: DiskOp) -> Bytes {
        let slice = |file: &[u8], at: u64, len| Bytes::copy_from_slice(&file[at as usize..][..len]);
        match what {
            DiskOp::Write { offset, data } => {
                self.data[offset as usize..][..data.len()].copy_from_slice(&data)
            }
            DiskOp::MetaWrite { offset, data } => {
                self.meta[offset as usize..][..data.len()].copy_from_slice(&data)
            }
            DiskOp::Read { offset, len } => return slice(&self.data, offset, len as usize),
            DiskOp::MetaRead { offset, len } => return slice(&self.meta, offset, len as usize),
            _ => {}
        }
        Bytes::new()
    }

    fn files(&self) -> (Vec<u8>, Vec<u8>) {
        (self.data.clone(), self.meta.clone())
    }

    /// The last word to the peer, after which the link is closed.
    fn refused(&self) -> Option<Refusal> {
        let last = self.heard.iter().rev().find_map(|m| match m {
            Message::Refused(why) => Some(why.clone()),
            _ => None,
        });
        last.filter(|_| self.closed)
    }

    /// Says what no honest peer says: the answer is a refusal, both files stay as they are, and the owner hears of it.
    #[track_caller]
    fn must_refuse(mut self, message: Message) {
        let before = self.files();
        self.say(message.clone());
        assert_eq!(self.refused(), Some(Refusal::Protocol), "{message:?}");
        assert!(self.files() == before, "{message:?} has an effect");
        let told = |e: &Event| matches!(e, Event::Refused { peer: NodeId(1), why: Refusal::Protocol });
        assert!(self.events.iter().any(told), "{message:?}");
    }
}

fn hello() -> Hello {
    let id = identity(1);
    Hello {
        cluster: id.cluster,
        volume: id.volume,
        node: id.node,
        device: id.device,
        size: SIZE,
        granule: GRANULE as u32,
        epoch: 0,
        generation: GenerationId::default(),
        leading: false,
    }
}

fn begin(epoch: u64, seq: u64) -> Message {
    Message::Begin { epoch, seq, lineage: Lineage::default() }
}

fn begin_ack() -> Message {
    Message::BeginAck {
        lineage: Lineage::default(),
        members: MemberSet::new(),
        base: GenerationId::default(),
        consistent: true,
        sync: None,
        changed: u32::MAX,
        dirty: Vec::new(),
    }
}

fn write(epoch: u64, seq: u64, offset: u64, len: usize) -> Message {
    Message::Write { epoch, seq, stable: 0, offset, data: vec![0xEE; len].into() }
}

fn copy(epoch: u64, granule: u32, heal: bool, len: usize) -> Message {
    Message::Copy { epoch, granule, heal, data: vec![0xEE; len].into() }
}

/// One of each kind of what a leader says, within all bounds.
fn of_a_leader(epoch: u64) -> Vec<Message> {
    let (lineage, members, version) = (Lineage::default(), set(&[0, 1]), 1);
    vec![
        write(epoch, 1, 0, 512),
        Message::Flush { epoch, id: 1, stable: 0 },
        Message::SyncStart { epoch, sync: 1, granules: 1 },
        copy(epoch, 0, true, GRANULE as usize),
        Message::SyncEnd {
            epoch,
            version,
            lineage: lineage.clone(),
            members: members.clone(),
            dirty: vec![],
        },
        Message::Adopt { epoch, version, lineage, members },
        Message::Verify { epoch, id: 1, offset: 0, len: 4096 },
        Message::Stable { epoch, stable: 0 },
        Message::Fetch { epoch, id: 1, chunk: 0 },
        Message::Agreed { epoch, id: 1 },
        Message::Reach { epoch, seq: 0 },
        Message::Compare { epoch, granule: 0, digest: Digest::of(b"") },
        Message::Resize { epoch, size: 2 * SIZE },
        Message::Shrink { epoch, size: SIZE / 2 },
        Message::Lacks { epoch, member: member(2), base: GenerationId::default(), dirty: vec![(0, 1)] },
    ]
}

#[test]
fn a_peer_of_another_cluster_or_volume_or_with_our_identity_is_refused_without_effect() {
    let ours = identity(0);
    for (hello, why) in [
        (Hello { cluster: ClusterId([9; 16]), ..hello() }, Refusal::WrongCluster),
        (Hello { volume: VolumeId([9; 16]), ..hello() }, Refusal::UnknownVolume),
        (Hello { node: ours.node, ..hello() }, Refusal::OwnIdentity),
        (Hello { granule: 4096, ..hello() }, Refusal::OtherGranule { ours: GRANULE as u32 }),
        (Hello { device: ours.device, ..hello() }, Refusal::OwnIdentity),
        // Neither can a stranger end a leadership by an epoch that it claims.
        (Hello { cluster: ClusterId([9; 16]), epoch: END, leading: true, ..hello() }, Refusal::WrongCluster),
    ] {
        let mut victim = Victim::new();
        let (before, status) = (victim.files(), victim.replica.status());
        victim.connect(hello.clone());
        assert_eq!((victim.refused(), victim.heard.len()), (Some(why), 1), "{hello:?}");
        for message in of_a_leader(7).into_iter().chain([begin(7, 0)]) {
            victim.say(message);
        }
        assert_eq!(victim.heard.len(), 1, "a stranger is answered");
        assert!(victim.files() == before && victim.replica.status() == status, "{hello:?}");
    }
}

#[test]
fn a_replayed_epoch_is_told_that_it_is_over_and_has_no_effect() {
    let mut victim = Victim::new();
    victim.connect(hello());
    victim.say(begin(4, 0));
    victim.say(write(4, 1, 0, 512));
    assert_eq!(victim.data[..512], [0xEE; 512]);
    victim.input(Input::Raise { request: RequestId(1), epoch: 5 });
    let (before, heard) = (victim.files(), victim.heard.len());
    victim.say(begin(4, 0));
    for message in of_a_leader(4) {
        victim.say(message);
    }
    // Told at the raise; the link is good for the leader's next role.
    assert_eq!(victim.heard.len(), heard);
    assert_eq!(victim.heard.last(), Some(&Message::Refused(Refusal::Fenced { current: 5 })));
    assert!(!victim.closed && victim.files() == before);
}

#[test]
fn what_only_a_leader_says_is_refused_from_one_that_has_not_begun() {
    for message in of_a_leader(5) {
        let mut victim = Victim::new();
        victim.connect(hello());
        victim.must_refuse(message);
    }
    // Nor does one begin that leads the epoch of the victim itself, or speaks for another epoch than it began.
    for message in of_a_leader(5).into_iter().chain([begin(5, 0)]) {
        Victim::leading(grant(5, 0, &[0], 1)).must_refuse(message);
    }
    for message in of_a_leader(6) {
        Victim::following().must_refuse(message);
    }
}

#[test]
fn ranges_that_do_not_fit_the_device_are_refused() {
    let granules = (SIZE / GRANULE) as u32;
    let digest = Digest::of(b"");
    for message in [
        write(5, 1, SIZE - 511, 512),
        write(5, 1, END - 100, 512),
        write(5, 1, 0, 0),
        write(5, 1, 0, (1 << 20) + 1),
        copy(5, granules, true, GRANULE as usize),
        copy(5, u32::MAX, true, 0),
        copy(5, 0, true, GRANULE as usize + 1),
        Message::Verify { epoch: 5, id: 1, offset: SIZE, len: 1 },
        Message::Verify { epoch: 5, id: 1, offset: END, len: u32::MAX },
        Message::Verify { epoch: 5, id: 1, offset: 0, len: GRANULE as u32 + 1 },
        Message::Fetch { epoch: 5, id: 1, chunk: granules },
        Message::Compare { epoch: 5, granule: granules, digest },
        Message::Resize { epoch: 5, size: 1 },
        Message::Resize { epoch: 5, size: END },
        Message::Shrink { epoch: 5, size: 1 },
        // This copy was not brought in step on this link.
        Message::Shrink { epoch: 5, size: SIZE / 2 },
    ] {
        Victim::following().must_refuse(message);
    }
}

#[test]
fn messages_out_of_their_order_are_refused() {
    let mut victim = Victim::following();
    victim.say(write(5, 8, 0, 512));
    victim.must_refuse(write(5, 8, 4096, 512));
    let mut victim = Victim::following();
    victim.say(write(5, 8, 0, 512));
    victim.must_refuse(write(5, 7, 4096, 512));
    let stable =
        Message::Write { epoch: 5, seq: 1, stable: 2, offset: 0, data: Bytes::from_static(b"x").into() };
    Victim::following().must_refuse(stable);
    // A copy without the mark that goes before it (R9), a second hello, a writer's word to one that leads nothing.
    Victim::following().must_refuse(copy(5, 0, false, GRANULE as usize));
    Victim::following().must_refuse(Message::Hello(hello()));
    let forward =
        WriterMessage::Forward { epoch: 5, id: 1, seen: 0, offset: 0, data: Bytes::from_static(b"x") };
    Victim::following().must_refuse(Message::Writer(forward));
    // An ancestry that ours is not part of is not taken over without a resync.
    let mut victim = Victim::new();
    victim.lead(grant(4, 0, &[0], 1));
    victim.connect(hello());
    victim.say(begin(5, 0));
    victim.must_refuse(Message::Adopt {
        epoch: 5,
        version: 1,
        lineage: Lineage::default(),
        members: set(&[1]),
    });
}

#[test]
fn answers_that_nobody_asked_for_change_nothing() {
    let answers = [
        Message::FlushAck { id: 0, bytes: END },
        Message::Progress { bytes: END },
        Message::Verified { id: 3, digest: Digest::of(b"") },
        Message::Compared { granule: u32::MAX, same: true },
        Message::Fetched { id: 1, good: 1, void: 0, data: vec![0xEE; GRANULE as usize].into() },
        Message::Reached { seq: 0 },
        Message::Adopted { version: 0 },
        Message::SyncDone { version: 1 },
        begin_ack(),
    ];
    for mut victim in [Victim::following(), Victim::synced(grant(5, 0, &[0, 1], 1))] {
        let before = victim.files();
        answers.iter().for_each(|answer| victim.say(answer.clone()));
        assert!(victim.files() == before && !victim.closed);
    }
}

#[test]
fn a_peer_that_acknowledges_what_it_has_not_got_is_refused_and_not_believed() {
    // A flush that was not sent; a set that it was not told; a write that there was not (protocol B); the
    // end of a resync that it was not told.
    for lie in [
        Message::FlushAck { id: 7, bytes: 0 },
        Message::Adopted { version: 2 },
        Message::Adopted { version: END },
        Message::Reached { seq: END },
    ] {
        let mut victim = Victim::synced(grant(5, 0, &[0, 1], 1));
        victim.input(Input::Write { request: RequestId(3), offset: 0, data: Bytes::from_static(b"x") });
        victim.answers.clear();
        victim.ask(|request| Input::Flush { request });
        victim.say(lie.clone());
        assert_eq!(victim.refused(), Some(Refusal::Protocol), "{lie:?}");
        assert!(victim.answers.is_empty(), "{lie:?} ends a flush");
        let lost = |e: &Event| matches!(e, Event::PeerLost { peer: NodeId(1), in_sync: true, .. });
        assert!(victim.events.iter().any(lost));
    }
    let mut victim = Victim::leading(grant(5, 0, &[0, 1], 1));
    victim.say(begin_ack());
    victim.say(Message::SyncDone { version: 2 });
    assert_eq!(victim.refused(), Some(Refusal::Protocol));
    assert!(!victim.events.iter().any(|e| matches!(e, Event::PeerSynced { .. })));
}

#[test]
fn a_copy_that_says_it_was_written_before_it_was_sent_frees_no_window() {
    let mut victim = Victim::synced(grant(5, 0, &[0, 1], 1));
    victim.say(Message::Progress { bytes: END });
    victim.input(Input::Write { request: RequestId(3), offset: 0, data: Bytes::from(vec![1; 4096]) });
    let peers = victim.replica.status().peers;
    assert_eq!(peers[0].in_flight_bytes, 4096 + 64);
}

#[test]
fn numbers_at_the_end_of_their_range_are_refused_and_the_replica_can_still_lead() {
    for message in [begin(5, END), begin(5, END / 2 + 1)] {
        let mut victim = Victim::new();
        victim.connect(hello());
        victim.must_refuse(message);
    }
    let mut victim = Victim::following();
    victim.say(write(5, END, 0, 512));
    assert_eq!(victim.refused(), Some(Refusal::Protocol));
    victim.lead(grant(6, 0, &[0], 1));
    victim.input(Input::Write { request: RequestId(3), offset: 0, data: Bytes::from_static(b"x") });
    assert_eq!(victim.answers, [Ok(Reply::Written)]);
    // One that writes through a leader is told no such number either.
    let mut victim = Victim::following();
    victim.ask(|request| Input::Join { request, epoch: 5, session: 1 });
    let joined = WriterMessage::Joined { epoch: 5, session: 1, ordered: vec![], leases: vec![] };
    victim.say(Message::Writer(joined));
    victim.must_refuse(Message::Writer(WriterMessage::ReadHere { epoch: 5, seq: END }));
}

/// What lies in memory because of a peer.
fn held(victim: &Victim) -> u64 {
    let data = |op: &DiskOp| match op {
        DiskOp::Write { data, .. } => data.len() as u64,
        _ => 0,
    };
    victim.ops.iter().map(|(_, op)| data(op)).sum()
}

#[test]
fn a_flood_of_writes_is_refused_while_the_disk_hangs() {
    let mut victim = Victim::following();
    victim.say(write(5, 1, 0, 512));
    victim.hung = true;
    let limit = 4 * small().peer_window_bytes + (64 << 20);
    let (data, mut sent) = (Bytes::from(vec![0xEE; 1 << 20]), 0);
    // Beginning anew does not make room: what is at the disk stays there.
    for round in 0..6u64 {
        victim.say(begin(5, 0));
        for seq in 1..=20 {
            let message = Message::Write { epoch: 5, seq, stable: 0, offset: 0, data: data.clone().into() };
            sent += u64::from(!victim.closed) * data.len() as u64;
            victim.say(message);
        }
        assert!(held(&victim) <= limit + (1 << 20), "round {round}");
    }
    assert_eq!(victim.refused(), Some(Refusal::Protocol));
    assert!(sent > limit / 2, "an honest leader's window fits");
    assert!(victim.data[..1 << 20].iter().skip(512).all(|b| *b == 7));
}

#[test]
fn a_flood_of_questions_is_refused_while_the_disk_hangs() {
    let flush = |n| Message::Flush { epoch: 5, id: n, stable: 0 };
    let compare = |_| Message::Compare { epoch: 5, granule: 0, digest: Digest::of(b"") };
    let adopt = |n| {
        let (lineage, members) = (Lineage::default(), set(&[0, 1]));
        Message::Adopt { epoch: 5, version: n, lineage, members }
    };
    let tiny = |n| write(5, n, n % SIZE, 1);
    let kinds: [&dyn Fn(u64) -> Message; 4] = [&flush, &compare, &adopt, &tiny];
    for kind in kinds {
        let mut victim = Victim::with(Config { peer_window_bytes: 512 << 10, ..small() });
        victim.connect(hello());
        victim.say(begin(5, 0));
        victim.say(write(5, 1, 0, 512));
        victim.hung = true;
        let said = (2..100_000).take_while(|n| {
            victim.say(kind(*n));
            !victim.closed
        });
        let said = said.count();
        assert_eq!(victim.refused(), Some(Refusal::Protocol), "{:?}", kind(2));
        assert!((30_000..35_000).contains(&said), "{:?} {said}", kind(2));
    }
}

#[test]
fn the_end_of_a_resync_is_not_said_twice_at_once() {
    let mut victim = Victim::following();
    victim.hung = true;
    let end = || Message::SyncEnd {
        epoch: 5,
        version: 1,
        lineage: Lineage::default(),
        members: set(&[0, 1]),
        dirty: vec![(0, 1)],
    };
    victim.say(write(5, 1, 0, 512));
    victim.say(end());
    assert!(!victim.closed);
    victim.must_refuse(end());
}

#[test]
fn a_writer_that_asks_for_too_much_is_refused() {
    let writers = || grant(5, 0, &[0, 1], 1).with_writers([NodeId(1)]);
    let joined = || {
        let mut victim = Victim::synced(writers());
        victim.say(Message::Writer(WriterMessage::Join { epoch: 5, session: 1, again: false }));
        assert!(victim.heard.iter().any(|m| matches!(m, Message::Writer(WriterMessage::Joined { .. }))));
        victim
    };
    let forward = |id: u64, seen, offset, len: usize| {
        let data = Bytes::from(vec![0xEE; len]);
        Message::Writer(WriterMessage::Forward { epoch: 5, id, seen, offset, data })
    };
    let read = |id, offset, len| Message::Writer(WriterMessage::ReadAt { epoch: 5, id, offset, len });
    let lease = |id, offset, len| Message::Writer(WriterMessage::LeaseAsk { epoch: 5, id, offset, len });
    for message in [
        forward(1, 0, SIZE, 1),
        forward(1, 0, END, 512),
        forward(1, 0, 0, 0),
        forward(1, 0, 0, (1 << 20) + 1),
        forward(1, END, 0, 512),
        forward(0, 0, 0, 512),
        read(1, END, 1),
        read(1, 0, 0),
        read(1, 0, u32::MAX),
        lease(1, 0, 0),
        lease(1, END, 2),
    ] {
        joined().must_refuse(message);
    }
    // It never says that it has seen a write complete, so that all must be remembered.
    let mut victim = joined();
    let said = (1..100_000).take_while(|id| {
        victim.say(forward(*id, 0, 0, 1));
        !victim.closed
    });
    assert_eq!(said.count(), 8192);
    // Reads and flushes without end, while the disk hangs.
    for ask in [read as fn(u64, u64, u32) -> Message, |id, _, _| {
        Message::Writer(WriterMessage::FlushAsk { epoch: 5, id })
    }] {
        let mut victim = joined();
        victim.say(forward(1, 0, 0, 512));
        victim.hung = true;
        let said = (2..10_000).take_while(|n| {
            victim.say(ask(*n, 0, 4096));
            !victim.closed
        });
        assert_eq!(said.count(), 512);
    }
    // A writer's word without the right to it, and leases without end.
    let mut victim = Victim::synced(grant(5, 0, &[0, 1], 1));
    victim.say(Message::Writer(WriterMessage::Join { epoch: 5, session: 1, again: false }));
    assert_eq!(victim.heard.last(), Some(&Message::Refused(Refusal::NotWriter { epoch: 5 })));
    victim.must_refuse(forward(1, 0, 0, 512));
    let mut victim = joined();
    (0..1024).for_each(|n| victim.say(lease(n, n * 4096 % SIZE, 1)));
    assert!(!victim.closed);
    victim.must_refuse(lease(5000, 0, 1));
}

#[test]
fn a_leader_that_answers_what_its_writer_did_not_ask_is_refused_or_passed_over() {
    let mut victim = Victim::following();
    victim.ask(|request| Input::Join { request, epoch: 5, session: 1 });
    victim.say(Message::Writer(WriterMessage::Joined {
        epoch: 5,
        session: 1,
        ordered: vec![(3, 3)],
        leases: vec![9],
    }));
    assert_eq!(victim.answers, [Ok(Reply::Joined)]);
    let op = RemoteOp::Read { offset: 0, len: 4 };
    victim.ask(|request| Input::Remote { request, session: 1, op });
    for message in [
        WriterMessage::Flushed { id: 99 },
        WriterMessage::Leased { id: 99 },
        WriterMessage::ReadData { id: 99, sums: Vec::new(), data: Bytes::from_static(b"evil") },
        WriterMessage::Visible { epoch: 5, seq: END },
    ] {
        victim.say(Message::Writer(message));
    }
    assert!(victim.answers.len() == 1 && !victim.closed);
    // Of another length than was asked for: no data at all.
    victim.say(Message::Writer(WriterMessage::ReadData {
        id: 1,
        sums: Vec::new(),
        data: Bytes::from_static(b"much more"),
    }));
    assert_eq!(victim.answers[1], Err(Denied::Corrupt { offset: 0, len: 4 }));
    victim.must_refuse(Message::Writer(WriterMessage::Ordered {
        epoch: 5,
        seq: 1,
        stable: 0,
        id: 99,
        apply: true,
    }));
}

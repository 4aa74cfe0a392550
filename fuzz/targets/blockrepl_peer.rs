//! A hostile or broken peer: strangers, replayed epochs, ranges out of bounds, any order of messages. A stranger is refused
//! and has no effect; only what the leader of the newest epoch sent on a link that it opened reaches the disk, within
//! the device; the epoch never falls; a replica that leads is never written by others.
#![no_main]

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use posthaste_blockrepl::core::{DiskOp, Input, LinkId, Output, Replica, RequestId};
use posthaste_blockrepl::wire::{Hello, Message, Refusal};
use posthaste_blockrepl::*;
use posthaste_fuzz::Script;

const SIZE: u64 = 1 << 20;

fn identity(node: u8) -> Identity {
    let (cluster, volume) = (ClusterId([7; 16]), VolumeId([8; 16]));
    Identity { cluster, volume, device: DeviceId([node; 16]), node: NodeId(u64::from(node)) }
}

struct Victim {
    replica: Replica,
    meta: Vec<u8>,
    data: Vec<u8>,
    /// Links whose hello was in order.
    links: BTreeMap<u64, u64>,
    /// What was sent, by the number in its bytes: whether it may reach the disk.
    sent: Vec<bool>,
    refused: bool,
}

impl Victim {
    fn new() -> Self {
        let config = Config { hot_extents: 8, undo_bytes: Some(256 << 10), ..Config::default() };
        let (len, writes) = Replica::format(&config, &identity(1), SIZE).expect("a size that fits");
        let mut meta = vec![0; len as usize];
        writes.iter().for_each(|(at, bytes)| meta[*at as usize..][..bytes.len()].copy_from_slice(bytes));
        let read = |at: u64, buf: &mut [u8]| {
            buf.copy_from_slice(&meta[at as usize..][..buf.len()]);
            Ok(())
        };
        let replica = Replica::open(config, &identity(1), read).expect("a fresh file");
        Victim { replica, meta, data: vec![0; SIZE as usize], links: BTreeMap::new(), sent: vec![], refused: false }
    }

    fn input(&mut self, input: Input) {
        let before = self.replica.status().epoch;
        self.replica.handle(Duration::ZERO, input);
        while let Some(output) = self.replica.poll_output() {
            match output {
                Output::Disk { op, what } => {
                    let result = Ok(self.disk(what));
                    self.replica.handle(Duration::ZERO, Input::DiskDone { op, result });
                }
                Output::Send { message: Message::Refused(_), .. } => self.refused = true,
                Output::CloseLink { link } => drop(self.links.remove(&link.0)),
                _ => {}
            }
        }
        assert!(self.replica.status().epoch >= before, "the epoch falls");
    }

    fn disk(&mut self, what: DiskOp) -> Bytes {
        match what {
            DiskOp::Write { offset, data } => {
                assert!(offset + data.len() as u64 <= SIZE, "past the end of the device");
                assert!(self.may_write(&data), "what must not count reaches the disk");
                self.data[offset as usize..][..data.len()].copy_from_slice(&data);
            }
            DiskOp::Read { offset, len } => {
                return Bytes::copy_from_slice(&self.data[offset as usize..][..len as usize]);
            }
            DiskOp::MetaWrite { offset, data } => {
                self.meta[offset as usize..][..data.len()].copy_from_slice(&data)
            }
            DiskOp::MetaRead { offset, len } => {
                return Bytes::copy_from_slice(&self.meta[offset as usize..][..len as usize]);
            }
            _ => {}
        }
        Bytes::new()
    }

    /// Zeros come from copies without bytes.
    fn may_write(&self, data: &[u8]) -> bool {
        match data[0] {
            0 => data.iter().all(|b| *b == 0),
            tag => self.sent.get(usize::from(tag) - 1).copied().unwrap_or(false),
        }
    }

    /// A hello, right or with one thing wrong.
    fn connect(&mut self, link: u64, kind: u8) {
        let peer = identity(2 + kind % 2);
        let mut hello = Hello {
            cluster: peer.cluster,
            volume: peer.volume,
            node: peer.node,
            device: peer.device,
            size: SIZE,
            epoch: u64::from(kind >> 4),
            generation: GenerationId::default(),
            leading: kind & 2 != 0,
        };
        let wrong = kind >> 2 & 3 == 3;
        match kind >> 4 & 3 {
            0 if wrong => hello.cluster = ClusterId([9; 16]),
            1 if wrong => hello.volume = VolumeId([9; 16]),
            2 if wrong => hello.device = identity(1).device,
            _ if wrong => hello.node = identity(1).node,
            _ => {}
        }
        let before = self.replica.status();
        self.refused = false;
        self.links.insert(link, 0);
        self.input(Input::LinkUp { link: LinkId(link), hello });
        if wrong {
            assert!(self.refused && !self.links.contains_key(&link), "a stranger is let in");
            assert_eq!(self.replica.status(), before, "a stranger has an effect");
        }
    }

    fn message(&mut self, link: u64, script: &mut Script<'_>) {
        let (kind, epoch) = (script.byte(), u64::from(script.byte() % 8));
        let status = self.replica.status();
        let begun = self.links.get(&link).copied();
        // The newest epoch known, or a higher one, on a link whose leader opened it with just that.
        let counts = begun == Some(epoch) && epoch >= status.epoch && epoch > 0;
        let tag = (self.sent.len() < 250).then(|| {
            self.sent.push(counts);
            self.sent.len() as u8
        });
        let data = |len: usize| Bytes::from(vec![tag.unwrap_or(0); len]);
        let far = |script: &mut Script<'_>| match script.byte() {
            255 => u64::MAX - script.short() as u64,
            n if n > 200 => SIZE - u64::from(script.byte()),
            _ => script.short() as u64 * 17,
        };
        let message = match kind % 14 {
            0 | 1 => {
                if epoch >= status.epoch
                    && let Some(begun) = self.links.get_mut(&link)
                {
                    *begun = epoch;
                }
                Message::Begin { epoch, seq: script.short() as u64, lineage: Lineage::default() }
            }
            2 | 3 => {
                let (seq, offset) = (script.short() as u64, far(script));
                let len = script.short() % 3000;
                Message::Write { epoch, seq, stable: 0, offset, data: data(len) }
            }
            4 => Message::Flush { epoch, id: 1, stable: script.short() as u64 },
            5 => Message::SyncStart { epoch, sync: u64::from(script.byte()) },
            6 | 7 => {
                let (granule, kind) = (u32::from(script.byte()) % 20, script.byte());
                let len = [0, 65_536, 100, 70_000][usize::from(kind % 4)];
                Message::Copy { epoch, granule, heal: kind & 8 != 0, data: data(len) }
            }
            8 => Message::SyncEnd {
                epoch,
                version: 1,
                lineage: Lineage::default(),
                members: MemberSet::new(),
                dirty: vec![(script.short() as u32, u32::MAX)],
            },
            9 => Message::Adopt { epoch, version: 2, lineage: Lineage::default(), members: MemberSet::new() },
            10 => Message::Verify { epoch, id: 1, offset: far(script), len: script.short() as u32 * 3 },
            11 => Message::FlushAck { id: u64::from(script.byte()), bytes: u64::MAX },
            12 => Message::SyncDone { version: u64::from(script.byte()) },
            _ => Message::Refused(Refusal::Fenced { current: epoch }),
        };
        self.input(Input::Message { link: LinkId(link), message });
    }
}

fuzz_target!(|data: &[u8]| {
    let mut script = Script(data);
    let mut victim = Victim::new();
    let mut next = 1;
    while !script.is_over() {
        let kind = script.byte();
        match kind % 8 {
            0 => {
                next += 1;
                victim.connect(next, script.byte());
            }
            1 => victim.input(Input::LinkDown { link: LinkId(next - u64::from(kind >> 7)) }),
            2 => {
                let epoch = u64::from(script.byte() % 8);
                victim.input(Input::Raise { request: RequestId(1), epoch });
            }
            _ => victim.message(next - u64::from(kind >> 7), &mut script),
        }
    }
});

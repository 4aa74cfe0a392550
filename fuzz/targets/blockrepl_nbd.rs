//! An NBD client's bytes, well formed and not: the server comes to an end, holds no more than its limits, says nothing
//! that a client could not read, answers each request once, never writes to a read-only export, and changes nothing
//! outside the ranges that were asked for.
#![no_main]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes, BytesMut};
use libfuzzer_sys::fuzz_target;
use posthaste_blockrepl::nbd::proto::{
    INIT_MAGIC, OPTION_MAGIC, OPTION_REPLY_MAGIC, REQUEST_MAGIC, SIMPLE_REPLY_MAGIC, STRUCTURED_REPLY_MAGIC,
    chunk, cmd, option, rep,
};
use posthaste_blockrepl::nbd::{Export, Limits, Server, Trim};
use posthaste_blockrepl::{BlockDevice, DeviceError};
use posthaste_fuzz::{Script, pieces};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::{Builder, Runtime};

const SIZE: usize = 1 << 16;
const LIMITS: Limits = Limits {
    payload: 4096,
    requests: 4,
    in_flight: 8192,
    option: 200,
    options: 8,
    handshake: Duration::from_secs(5),
    connections: 1,
};

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    Builder::new_current_thread().max_blocking_threads(2).enable_time().build().expect("a runtime")
});

/// A device that trusts nobody.
#[derive(Debug)]
struct Checked {
    bytes: Mutex<Vec<u8>>,
    writable: bool,
}

impl Checked {
    fn new(writable: bool) -> Arc<Self> {
        Arc::new(Checked { bytes: Mutex::new(vec![0; SIZE]), writable })
    }

    fn range(&self, offset: u64, len: usize) -> std::ops::Range<usize> {
        let end = offset.checked_add(len as u64).expect("an offset that overflows");
        assert!(end <= SIZE as u64, "{len} bytes at {offset} are past the end");
        offset as usize..end as usize
    }
}

impl BlockDevice for Checked {
    fn size(&self) -> u64 {
        SIZE as u64
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), DeviceError> {
        assert!(buf.len() <= LIMITS.payload as usize, "more than a payload is held");
        buf.copy_from_slice(&self.bytes.lock().expect("unharmed")[self.range(offset, buf.len())]);
        Ok(())
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> Result<(), DeviceError> {
        assert!(self.writable, "a read-only export is written");
        self.bytes.lock().expect("unharmed")[self.range(offset, data.len())].copy_from_slice(data);
        Ok(())
    }

    fn flush(&self) -> Result<(), DeviceError> {
        Ok(())
    }

    fn epoch(&self) -> u64 {
        1
    }
}

/// What a client says, and what that may lead to.
#[derive(Default)]
struct Client {
    wire: Vec<u8>,
    /// By cookie: the bytes that a reply in the simple style has, if it is one of data.
    requests: BTreeMap<u64, usize>,
    may_change: BTreeSet<usize>,
    /// It said something that may mean anything.
    raw: bool,
    no_zeroes: bool,
    aborted: bool,
    /// The requests that came before it said that it leaves.
    left: Option<usize>,
}

impl Client {
    fn put(&mut self, bytes: &[u8]) {
        self.wire.extend_from_slice(bytes);
    }

    fn option(&mut self, number: u32, said: u32, data: &[u8]) {
        self.put(&OPTION_MAGIC.to_be_bytes());
        self.put(&number.to_be_bytes());
        self.put(&said.to_be_bytes());
        self.put(data);
    }

    fn honest(&mut self, number: u32, data: &[u8]) {
        self.option(number, data.len() as u32, data);
    }

    fn options(&mut self, script: &mut Script<'_>) {
        for _ in 0..script.byte() % 10 {
            let kind = script.byte();
            match kind % 8 {
                0 | 1 => self.honest(option::STRUCTURED_REPLY, b""),
                2 => self.honest(option::LIST, b""),
                3 => self.contexts(kind & 16 != 0, kind & 32 != 0),
                4 => self.choose(option::INFO, script.take(usize::from(kind >> 4))),
                5 => {
                    // What follows are requests, if it is the name of an export.
                    let name = script.take(usize::from(kind >> 4));
                    self.raw |= [&b""[..], b"rw", b"ro"].contains(&name);
                    self.choose(option::GO, name);
                }
                6 => {
                    let number = u32::from(script.byte() % 13);
                    let data = script.take(usize::from(kind));
                    self.aborted |= number == option::ABORT;
                    self.raw |= number != option::ABORT;
                    self.honest(number, data);
                }
                _ => {
                    self.raw = true;
                    let (number, said) = (u32::from(script.byte() % 13), script.short() as u32 * 37);
                    let data = script.take(usize::from(kind >> 3));
                    self.option(number, said, data);
                }
            }
        }
    }

    fn contexts(&mut self, set: bool, read_only: bool) {
        let mut data = Vec::new();
        string(&mut data, if read_only { b"ro" } else { b"rw" });
        data.extend_from_slice(&1u32.to_be_bytes());
        string(&mut data, b"base:allocation");
        self.honest(if set { option::SET_META_CONTEXT } else { option::LIST_META_CONTEXT }, &data);
    }

    fn choose(&mut self, number: u32, name: &[u8]) {
        let mut data = Vec::new();
        string(&mut data, name);
        data.extend_from_slice(&[0, 0]);
        self.honest(number, &data);
    }

    fn request(&mut self, script: &mut Script<'_>) {
        let (kind, flags, command) = (script.byte(), script.byte(), u16::from(script.byte() % 9));
        let offset = match kind & 3 {
            0 => u64::MAX - script.short() as u64,
            1 => SIZE as u64 - u64::from(script.byte()),
            _ => script.short() as u64,
        };
        let len = match kind >> 2 & 3 {
            0 if command != cmd::WRITE => u32::MAX - u32::from(script.byte()),
            1 => script.short() as u32 % (2 * LIMITS.payload),
            _ => u32::from(script.byte()),
        };
        if command == cmd::DISC {
            self.left.get_or_insert(self.requests.len());
        }
        let cookie = self.requests.len() as u64 + 1;
        self.put(&REQUEST_MAGIC.to_be_bytes());
        self.put(&u16::from(flags & 0x1f).to_be_bytes());
        self.put(&command.to_be_bytes());
        self.put(&cookie.to_be_bytes());
        self.put(&offset.to_be_bytes());
        self.put(&len.to_be_bytes());
        self.requests.insert(cookie, if command == cmd::READ { len as usize } else { 0 });
        if matches!(command, cmd::WRITE | cmd::TRIM | cmd::WRITE_ZEROES)
            && let Some(end) = offset.checked_add(len.into()).filter(|end| *end <= SIZE as u64)
        {
            self.may_change.extend(offset as usize..end as usize);
        }
        if command == cmd::WRITE {
            self.put(&vec![kind | 1; len as usize]);
        }
    }

    fn new(script: &mut Script<'_>) -> Self {
        let (mut client, kind) = (Client::default(), script.byte());
        let flags = if kind & 12 == 0 { u32::from(script.byte()) } else { u32::from(kind & 3) };
        client.no_zeroes = flags & 2 != 0;
        client.raw |= flags > 3;
        client.put(&flags.to_be_bytes());
        client.options(script);
        client.choose(option::GO, if kind & 16 != 0 { b"ro" } else { b"rw" });
        while !script.is_over() {
            match script.byte() {
                byte if byte < 248 => client.request(script),
                byte => {
                    client.raw = true;
                    client.put(script.take(usize::from(byte)));
                }
            }
        }
        client
    }
}

fn string(out: &mut Vec<u8>, text: &[u8]) {
    out.extend_from_slice(&(text.len() as u32).to_be_bytes());
    out.extend_from_slice(text);
}

/// A client's ear: what it reads must make sense to it up to the end, or up to where the server hung up on it.
struct Ear<'a> {
    client: &'a Client,
    hung_up: bool,
    structured: bool,
    answered: BTreeSet<u64>,
}

impl Ear<'_> {
    /// Whether so much is there; less is only where the server hung up.
    fn has(&self, out: &Bytes, len: usize) -> bool {
        assert!(out.len() >= len || self.hung_up, "the server stops in the middle of a reply");
        out.len() >= len
    }

    fn listen(&mut self, mut out: Bytes) {
        if !self.has(&out, 18) {
            return;
        }
        assert_eq!((out.get_u64(), out.get_u64(), out.get_u16()), (INIT_MAGIC, OPTION_MAGIC, 3));
        if self.negotiation(&mut out) {
            while !out.is_empty() && self.reply(&mut out) {}
        }
    }

    /// Whether requests follow.
    fn negotiation(&mut self, out: &mut Bytes) -> bool {
        while !out.is_empty() {
            if out.get(..8).is_some_and(|magic| magic != OPTION_REPLY_MAGIC.to_be_bytes()) {
                // The answer to EXPORT_NAME, which only noise asks for here.
                assert!(self.client.raw, "an option's answer without its magic");
                let len = if self.client.no_zeroes { 10 } else { 134 };
                assert_eq!((&out[..8]).get_u64(), SIZE as u64);
                return self.has(out, len) && out.split_to(len).len() == len;
            }
            if !self.has(out, 20) {
                return false;
            }
            out.advance(8);
            let (number, kind, len) = (out.get_u32(), out.get_u32(), out.get_u32() as usize);
            assert!(len <= 1024, "{len} bytes of an answer");
            if !self.has(out, len) {
                return false;
            }
            out.advance(len);
            self.structured |= (number, kind) == (option::STRUCTURED_REPLY, rep::ACK);
            if (number, kind) == (option::GO, rep::ACK) {
                return true;
            }
        }
        false
    }

    /// Whether another one can be read.
    fn reply(&mut self, out: &mut Bytes) -> bool {
        let head = if self.structured { 20 } else { 16 };
        if !self.has(out, head) {
            return false;
        }
        let magic = out.get_u32();
        assert_eq!(magic, if self.structured { STRUCTURED_REPLY_MAGIC } else { SIMPLE_REPLY_MAGIC });
        let (flags, kind, errno) = match self.structured {
            true => (out.get_u16(), out.get_u16(), 0),
            false => (chunk::DONE, chunk::NONE, out.get_u32()),
        };
        let cookie = out.get_u64();
        let Some(asked) = self.client.requests.get(&cookie).copied() else {
            assert!(self.client.raw, "an answer to nobody's question");
            return false;
        };
        let len = match (self.structured, errno) {
            (true, _) => out.get_u32() as usize,
            (false, 0) => asked,
            (false, _) => 0,
        };
        let data = if kind == chunk::OFFSET_DATA { asked + 8 } else { len };
        assert!(self.client.raw || len == data, "{len} bytes where {asked} were asked for");
        assert!(len <= LIMITS.payload as usize + 8, "a reply of {len} bytes");
        let known = [chunk::NONE, chunk::OFFSET_DATA, chunk::BLOCK_STATUS, chunk::ERROR].contains(&kind);
        assert!(known && flags == chunk::DONE, "a chunk of kind {kind}");
        assert!(self.answered.insert(cookie) || self.client.raw, "a request is answered twice");
        self.has(out, len) && out.split_to(len).len() == len
    }
}

fuzz_target!(|data: &[u8]| {
    let mut script = Script(data);
    let split = script.byte();
    let client = Client::new(&mut script);
    let (rw, ro) = (Checked::new(true), Checked::new(false));
    let mut exports = vec![Export::new("rw", rw.clone()), Export::new("ro", ro.clone())];
    exports[0].trim = Trim::Zero;
    exports[1].read_only = true;
    let server = Server::with_limits(exports, LIMITS).expect("limits that agree");
    let (ours, theirs) = tokio::io::duplex(1 << 14);
    let session = async {
        let (mut read, mut write) = tokio::io::split(theirs);
        let says = async {
            for piece in pieces(&client.wire, split | 1) {
                if write.write_all(piece).await.is_err() {
                    break;
                }
            }
            drop(write.shutdown().await);
        };
        let hears = async {
            let mut out = BytesMut::new();
            while read.read_buf(&mut out).await.is_ok_and(|n| n > 0) {}
            out.freeze()
        };
        tokio::join!(server.serve(ours), says, hears)
    };
    let limit = Duration::from_secs(15);
    let timed = async { tokio::time::timeout(limit, session).await.expect("it hangs") };
    let (ended, (), out) = RUNTIME.block_on(timed);
    drop(server);
    // What was under way is done, and answered to nobody.
    let begun = Instant::now();
    while Arc::strong_count(&rw) + Arc::strong_count(&ro) > 2 {
        assert!(begun.elapsed() < limit, "a request never ends");
        std::thread::yield_now();
    }
    if !client.raw {
        let bytes = rw.bytes.lock().expect("unharmed");
        let mut changed = bytes.iter().enumerate().filter(|(_, b)| **b != 0).map(|(at, _)| at);
        let other = changed.find(|at| !client.may_change.contains(at));
        assert_eq!(other, None, "a byte that was not asked for");
    }
    let (hung_up, answered) = (ended.is_err(), BTreeSet::new());
    let mut ear = Ear { client: &client, hung_up, structured: false, answered };
    ear.listen(out);
    if !hung_up && !client.raw && !client.aborted {
        assert_eq!(Some(ear.answered.len()), client.left, "who leaves in good order has every answer");
    }
});

//! An NBD client's bytes, well formed and not: the server comes to an end, holds no more than its limits, answers
//! no request twice, and nothing outside the ranges that were asked for changes on the device.
#![no_main]

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use libfuzzer_sys::fuzz_target;
use posthaste_blockrepl::nbd::proto::{OPTION_MAGIC, cmd, option};
use posthaste_blockrepl::nbd::{Export, Limits, Server, Trim};
use posthaste_blockrepl::{BlockDevice, DeviceError};
use posthaste_fuzz::{Script, pieces};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::{Builder, Runtime};

const SIZE: usize = 1 << 16;
const PAYLOAD: u32 = 4096;

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    Builder::new_current_thread().max_blocking_threads(2).enable_time().build().expect("a runtime")
});

/// A device that trusts nobody.
#[derive(Debug)]
struct Checked {
    bytes: Mutex<Vec<u8>>,
    writable: bool,
    calls: AtomicUsize,
}

impl Checked {
    fn new(writable: bool) -> Arc<Self> {
        Arc::new(Checked { bytes: Mutex::new(vec![0; SIZE]), writable, calls: AtomicUsize::new(0) })
    }

    fn begin(&self, offset: u64, len: usize) -> usize {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let end = offset.checked_add(len as u64).expect("an offset that overflows");
        assert!(end <= SIZE as u64, "{len} bytes at {offset} are past the end");
        offset as usize
    }
}

impl BlockDevice for Checked {
    fn size(&self) -> u64 {
        SIZE as u64
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), DeviceError> {
        let at = self.begin(offset, buf.len());
        assert!(buf.len() <= PAYLOAD as usize, "more than a payload is held");
        buf.copy_from_slice(&self.bytes.lock().expect("unharmed")[at..at + buf.len()]);
        Ok(())
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> Result<(), DeviceError> {
        let at = self.begin(offset, data.len());
        assert!(self.writable, "a read-only export is written");
        self.bytes.lock().expect("unharmed")[at..at + data.len()].copy_from_slice(data);
        Ok(())
    }

    fn flush(&self) -> Result<(), DeviceError> {
        Ok(())
    }

    fn epoch(&self) -> u64 {
        1
    }
}

/// What a client says, and what it may change by that.
#[derive(Default)]
struct Client {
    wire: Vec<u8>,
    requests: usize,
    cookies: BTreeSet<u64>,
    may_change: BTreeSet<usize>,
    /// Bytes that may mean anything.
    raw: bool,
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

    fn options(&mut self, script: &mut Script<'_>) {
        for _ in 0..script.byte() % 6 {
            let (number, kind) = (u32::from(script.byte()) % 13, script.byte());
            let data = script.take(usize::from(kind >> 3));
            let lie = if kind & 7 == 7 { script.short() as u32 * 37 } else { data.len() as u32 };
            self.raw |= kind & 7 == 7 || matches!(number, option::GO | option::EXPORT_NAME | option::ABORT);
            self.option(number, lie, data);
        }
    }

    fn go(&mut self, name: &[u8]) {
        let mut data = (name.len() as u32).to_be_bytes().to_vec();
        data.extend_from_slice(name);
        data.extend_from_slice(&[0, 0]);
        self.option(option::GO, data.len() as u32, &data);
    }

    fn request(&mut self, script: &mut Script<'_>) {
        let (kind, flags, command) = (script.byte(), script.byte(), u16::from(script.byte()) % 9);
        let offset = match kind & 3 {
            0 => u64::MAX - script.short() as u64,
            1 => (SIZE as u64).saturating_sub(u64::from(script.byte())),
            _ => script.short() as u64,
        };
        let len = match kind >> 2 & 3 {
            0 if command != cmd::WRITE => u32::MAX - u32::from(script.byte()),
            1 => script.short() as u32 % (2 * PAYLOAD),
            _ => u32::from(script.byte()),
        };
        let cookie = self.cookies.len() as u64 + 1;
        self.put(&0x2560_9513u32.to_be_bytes());
        self.put(&u16::from(flags & 0x1f).to_be_bytes());
        self.put(&command.to_be_bytes());
        self.put(&cookie.to_be_bytes());
        self.put(&offset.to_be_bytes());
        self.put(&len.to_be_bytes());
        self.requests += 1;
        self.cookies.insert(cookie);
        if matches!(command, cmd::WRITE | cmd::TRIM | cmd::WRITE_ZEROES)
            && let Some(end) = offset.checked_add(len.into()).filter(|end| *end <= SIZE as u64)
        {
            self.may_change.extend(offset as usize..end as usize);
        }
        if command == cmd::WRITE {
            self.put(&vec![kind | 1; len as usize]);
        }
    }

    fn new(script: &mut Script<'_>) -> (Self, bool) {
        let (mut client, kind) = (Client::default(), script.byte());
        let flags = if kind & 3 == 0 { u32::from(script.byte()) } else { 3 };
        client.raw |= flags > 3;
        client.put(&flags.to_be_bytes());
        client.options(script);
        let read_only = kind & 4 != 0;
        client.go(if read_only { b"ro" } else { b"rw" });
        while !script.is_over() {
            match script.byte() {
                byte if byte < 240 => client.request(script),
                byte => {
                    client.raw = true;
                    client.put(script.take(usize::from(byte)));
                }
            }
        }
        (client, read_only)
    }
}

/// Simple and structured replies; stops at what neither is.
fn answered(mut out: Bytes) -> Vec<u64> {
    use bytes::Buf;
    let mut cookies = Vec::new();
    while out.len() >= 16 {
        let magic = out.get_u32();
        match magic {
            0x668e_33ef if out.len() >= 16 => {
                let _kind = out.get_u32();
                cookies.push(out.get_u64());
                let len = out.get_u32() as usize;
                assert!(len <= PAYLOAD as usize + 8192, "a reply of {len} bytes");
                out.advance(len.min(out.len()));
            }
            _ => break,
        }
    }
    cookies
}

fuzz_target!(|data: &[u8]| {
    let mut script = Script(data);
    let split = script.byte();
    let (client, _) = Client::new(&mut script);
    let (rw, ro) = (Checked::new(true), Checked::new(false));
    let mut exports = vec![Export::new("rw", rw.clone()), Export::new("ro", ro.clone())];
    exports[0].trim = Trim::Zero;
    exports[1].read_only = true;
    let limits = Limits {
        payload: PAYLOAD,
        requests: 4,
        in_flight: 2 * PAYLOAD,
        option: 200,
        options: 8,
        ..Limits::default()
    };
    let server = Server::with_limits(exports, limits).expect("limits that agree");
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
        let (_, (), out) = tokio::join!(server.serve(ours), says, hears);
        out
    };
    let limit = Duration::from_secs(15);
    let out = RUNTIME.block_on(async { tokio::time::timeout(limit, session).await.expect("it hangs") });
    drop(server);
    // What was under way is done, and answered to nobody.
    let begun = Instant::now();
    while Arc::strong_count(&rw) + Arc::strong_count(&ro) > 2 {
        assert!(begun.elapsed() < limit, "a request never ends");
        std::thread::yield_now();
    }
    if !client.raw {
        let bytes = rw.bytes.lock().expect("unharmed");
        let changed = bytes.iter().enumerate().filter(|(_, b)| **b != 0).map(|(at, _)| at);
        changed.for_each(|at| assert!(client.may_change.contains(&at), "byte {at} was not asked for"));
    }
    // Replies follow the negotiation's; find the first, if replies are structured.
    let at = out.windows(4).position(|w| w == 0x668e_33efu32.to_be_bytes());
    let cookies = at.map(|at| answered(out.slice(at..))).unwrap_or_default();
    let distinct: BTreeSet<u64> = cookies.iter().copied().collect();
    assert!(client.raw || distinct.len() == cookies.len(), "a request is answered twice");
    assert!(client.raw || distinct.is_subset(&client.cookies), "an answer to nobody's question");
});

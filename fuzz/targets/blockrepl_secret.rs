//! Somebody on the path between two sides that share a secret: bits flipped, records dropped, repeated, swapped, turned back or cut
//! off. A dialler whose handshake was touched does not get through, nor anybody without the secret; what is read is what the other
//! side wrote, up to the first record that is not the next one as it was sealed, and nothing after that, however often one asks.
//! A side whose connection takes nothing more keeps one record and no more.
#![no_main]

use std::collections::VecDeque;
use std::pin::{Pin, pin};
use std::sync::{Arc, LazyLock, Mutex};
use std::task::{Context, Poll, Waker};

use libfuzzer_sys::fuzz_target;
use posthaste_blockrepl::wire::HEADER_LEN;
use posthaste_blockrepl::{ClusterId, DeviceId, Guarded, Identity, LinkError, NodeId, Secret, VolumeId};
use posthaste_fuzz::Script;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::runtime::{Builder, Runtime};

/// The most data of a record; what a record adds to them; the length before them.
const DATA_MAX: usize = 64 << 10;
const ADDED: usize = HEAD + 16;
const HEAD: usize = 4;

/// Nobody waits for the clock: what is asked is asked once, and again when there is more.
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime")
});

fn identity(n: u8) -> Identity {
    let (cluster, volume) = (ClusterId([7; 16]), VolumeId([8; 16]));
    Identity { cluster, volume, device: DeviceId([n; 16]), node: NodeId(n.into()) }
}

/// What one side reads and writes; the middle moves it.
#[derive(Debug, Default)]
struct Wire {
    inbound: VecDeque<u8>,
    outbound: VecDeque<u8>,
    room: usize,
    over: bool,
}

#[derive(Clone, Debug)]
struct End(Arc<Mutex<Wire>>);

impl End {
    fn new() -> Self {
        End(Arc::new(Mutex::new(Wire { room: usize::MAX, ..Wire::default() })))
    }

    fn take(&self) -> Vec<u8> {
        self.0.lock().expect("unharmed").outbound.drain(..).collect()
    }

    fn put(&self, bytes: &[u8]) {
        self.0.lock().expect("unharmed").inbound.extend(bytes);
    }

    fn set_room(&self, room: usize) {
        self.0.lock().expect("unharmed").room = room;
    }
}

impl AsyncRead for End {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let mut wire = self.0.lock().expect("unharmed");
        let len = buf.remaining().min(wire.inbound.len());
        wire.inbound.drain(..len).for_each(|byte| buf.put_slice(&[byte]));
        if len == 0 && !wire.over { Poll::Pending } else { Poll::Ready(Ok(())) }
    }
}

impl AsyncWrite for End {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<std::io::Result<usize>> {
        let mut wire = self.0.lock().expect("unharmed");
        let len = buf.len().min(wire.room);
        wire.room -= len;
        wire.outbound.extend(&buf[..len]);
        if len == 0 { Poll::Pending } else { Poll::Ready(Ok(len)) }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// How somebody on the path may touch the handshake: one byte of one of its messages, or of its payload with the checksums made
/// right again.
struct Touch {
    message: usize,
    at: usize,
    bits: u8,
    right: bool,
}

impl Touch {
    fn apply(&self, said: &mut [u8]) {
        if !self.right {
            let at = self.at % said.len();
            said[at] ^= self.bits;
            return;
        }
        let (head, payload) = said.split_at_mut(HEADER_LEN);
        let at = self.at % payload.len();
        payload[at] ^= self.bits;
        head[8..12].copy_from_slice(&crc32fast::hash(payload).to_le_bytes());
        let crc = crc32fast::hash(&head[..12]);
        head[12..].copy_from_slice(&crc.to_le_bytes());
    }
}

/// Both sides' handshakes, with somebody in between; whether they got through.
fn shake(
    secrets: [&Secret; 2],
    ends: [&End; 2],
    touch: Option<&Touch>,
) -> [Option<Result<Guarded<End>, LinkError>>; 2] {
    let (us, them) = (identity(1), identity(2));
    let mut dial = pin!(secrets[0].dial(&us, NodeId(2), ends[0].clone()));
    let mut accept = pin!(secrets[1].accept(&them, ends[1].clone()));
    let mut done = [None, None];
    let mut cx = Context::from_waker(Waker::noop());
    let mut messages = 0;
    for round in 0..12 {
        // Of a header that says more than there is, the rest never comes.
        ends.iter().for_each(|end| end.0.lock().expect("unharmed").over = round > 6);
        if done[0].is_none()
            && let Poll::Ready(result) = dial.as_mut().poll(&mut cx)
        {
            done[0] = Some(result);
        }
        if done[1].is_none()
            && let Poll::Ready(result) = accept.as_mut().poll(&mut cx)
        {
            done[1] = Some(result);
        }
        for side in 0..2 {
            let mut said = ends[side].take();
            if said.is_empty() {
                continue;
            }
            if let Some(touch) = touch.filter(|touch| touch.message == messages) {
                touch.apply(&mut said);
            }
            messages += 1;
            ends[1 - side].put(&said);
        }
    }
    done
}

/// One direction: what was written, how it was sealed, and what was read of it.
#[derive(Default)]
struct Way {
    written: Vec<u8>,
    /// All that came from the sender; behind each record, where that and its data end.
    sealed: Vec<u8>,
    ends: Vec<(usize, usize)>,
    /// Records that were not passed on, and some that were.
    held: VecDeque<Vec<u8>>,
    passed: Vec<Vec<u8>>,
    /// So much was passed on as it was sealed, and whether anything else came behind it; the data of whole records.
    same: usize,
    broken: bool,
    due: usize,
    read: usize,
}

impl Way {
    fn collect(&mut self, end: &End) {
        self.sealed.extend(end.take());
        loop {
            let (at, data) = self.ends.last().copied().unwrap_or_default();
            let Some(head) = self.sealed[at..].first_chunk::<HEAD>() else { break };
            let len = u32::from_le_bytes(*head) as usize;
            assert!((1..=DATA_MAX).contains(&len), "a record of {len} bytes");
            let Some(record) = self.sealed[at..].get(..len + ADDED) else { break };
            self.held.push_back(record.to_vec());
            self.ends.push((at + len + ADDED, data + len));
        }
        let sealed = self.ends.last().map_or(0, |(_, data)| *data);
        assert!(self.written.len() - sealed <= DATA_MAX, "more than a record is kept");
    }

    fn pass(&mut self, bytes: &[u8], to: &End) {
        to.put(bytes);
        for byte in bytes {
            self.broken |= self.sealed.get(self.same) != Some(byte);
            self.same += usize::from(!self.broken);
        }
        let whole = self.ends.partition_point(|(end, _)| *end <= self.same);
        self.due = whole.checked_sub(1).map_or(0, |last| self.ends[last].1);
    }

    fn read(&mut self, side: &mut Guarded<End>, room: usize) {
        let mut cx = Context::from_waker(Waker::noop());
        let mut space = vec![0; room];
        // After an error it is asked again.
        let mut errors = 0;
        while errors < 3 {
            let mut buf = ReadBuf::new(&mut space);
            match Pin::new(&mut *side).poll_read(&mut cx, &mut buf) {
                Poll::Ready(Ok(())) if buf.filled().is_empty() => break,
                Poll::Ready(Ok(())) => {
                    let end = self.read + buf.filled().len();
                    assert!(end <= self.due, "more than was passed on untouched");
                    assert_eq!(buf.filled(), &self.written[self.read..end], "not what was written");
                    self.read = end;
                }
                Poll::Ready(Err(_)) => {
                    assert!(self.broken, "an untouched record is refused");
                    errors += 1;
                }
                Poll::Pending => break,
            }
        }
        assert_eq!(self.read, self.due, "an untouched record is not read");
    }
}

struct Middle {
    ends: [End; 2],
    sides: [Guarded<End>; 2],
    ways: [Way; 2],
}

impl Middle {
    fn write(&mut self, from: usize, len: usize, flush: bool) {
        let way = &mut self.ways[from];
        let data: Vec<u8> = (way.written.len()..).take(len).map(|at| (at % 251) as u8).collect();
        let mut cx = Context::from_waker(Waker::noop());
        if let Poll::Ready(Ok(written)) = Pin::new(&mut self.sides[from]).poll_write(&mut cx, &data) {
            way.written.extend(&data[..written]);
        }
        if flush {
            let _ = Pin::new(&mut self.sides[from]).poll_flush(&mut cx);
        }
        way.collect(&self.ends[from]);
    }

    /// What the middle does with the next record.
    fn tamper(&mut self, from: usize, script: &mut Script<'_>) {
        let to = self.ends[1 - from].clone();
        let way = &mut self.ways[from];
        let kind = script.byte();
        match kind % 16 {
            8 if !way.passed.is_empty() => {
                let which = usize::from(kind >> 4) % way.passed.len();
                let again = way.passed[which].clone();
                way.pass(&again, &to);
            }
            9 if way.held.len() > 1 => way.held.swap(0, 1),
            // Noise in place of a record.
            10 => way.pass(script.take(usize::from(kind >> 4)), &to),
            // What a side has sealed comes back to it.
            11 => {
                let record = way.held.front().cloned().unwrap_or_default();
                let back = self.ends[from].clone();
                self.ways[1 - from].pass(&record, &back);
            }
            // Left out.
            12 => drop(way.held.pop_front()),
            _ => {
                let Some(mut record) = way.held.pop_front() else { return };
                let at = script.short() % record.len();
                match kind % 16 {
                    13 => record[at] ^= 1 << (kind >> 5),
                    14 => record.truncate(at),
                    15 => record.insert(at, kind),
                    _ => way.passed.push(record.clone()),
                }
                way.passed.truncate(8);
                way.pass(&record, &to);
            }
        }
    }

    fn run(&mut self, script: &mut Script<'_>) {
        while !script.is_over() {
            let kind = script.byte();
            let from = usize::from(kind >> 7);
            match kind % 8 {
                0..=2 => {
                    let long = if kind & 64 != 0 { 40 } else { 1 };
                    self.write(from, script.short() % 4096 * long + 1, kind & 32 != 0);
                }
                3 => self.ends[from].set_room(script.short()),
                4 => {
                    self.ends[from].set_room(usize::MAX);
                    self.write(from, 1, true);
                }
                _ => self.tamper(from, script),
            }
            let room = if kind & 16 != 0 { 100 } else { 1 << 16 };
            self.ways[from].read(&mut self.sides[1 - from], room);
            self.ways[1 - from].read(&mut self.sides[from], room);
        }
        for from in 0..2 {
            self.ends[from].set_room(usize::MAX);
            self.write(from, 1, true);
            let way = &mut self.ways[from];
            while let Some(record) = way.held.pop_front() {
                way.pass(&record, &self.ends[1 - from]);
                way.read(&mut self.sides[1 - from], 1 << 16);
            }
            assert!(way.broken || way.read == way.written.len(), "what was written is not read");
            self.ends[1 - from].0.lock().expect("unharmed").over = true;
            way.read(&mut self.sides[1 - from], 1 << 16);
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let _time = RUNTIME.enter();
    let mut script = Script(data);
    let kind = script.byte();
    let (right, wrong) =
        (Secret::new(b"0123456789abcdef").expect("long"), Secret::new(b"0123456789abcdeg").expect("long"));
    let strange = kind % 16 == 1;
    let touch = (kind % 16 == 2).then(|| {
        let message = usize::from(kind >> 4) % 4;
        Touch { message, at: script.short(), bits: script.byte().max(1), right: script.byte() % 2 == 0 }
    });
    let ends = [End::new(), End::new()];
    let secrets = [if strange { &wrong } else { &right }, &right];
    let done = shake(secrets, [&ends[0], &ends[1]], touch.as_ref());
    let through = |side: usize| matches!(&done[side], Some(Ok(_)));
    if strange || touch.is_some() {
        // Of the last message only the dialler can know.
        let last = touch.as_ref().is_some_and(|touch| touch.message == 3);
        assert!(!through(0) && through(1) == last, "let through: {done:?}");
        return;
    }
    ends.iter().for_each(|end| end.0.lock().expect("unharmed").over = false);
    let [Some(Ok(dialler)), Some(Ok(acceptor))] = done else {
        panic!("honest sides do not get through: {done:?}")
    };
    let sides = [dialler, acceptor];
    Middle { ends, sides, ways: Default::default() }.run(&mut script);
});

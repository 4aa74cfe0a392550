//! A peer's segments on the paths of a bond, honest and not, cut anywhere, on paths that come, hang and break: what is read is
//! the peer's stream, each byte once and in order, just as far as a plain reading of the rules says; after a broken rule
//! nothing is read any more. What is sent is what was written, never with a gap, and never more than the window of it.
#![no_main]

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, LazyLock, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use posthaste_blockrepl::bond::{Acceptor, Bond, BondConfig, PATHS_MAX};
use posthaste_blockrepl::wire::{HEADER_LEN, Message, Opening};
use posthaste_blockrepl::{ClusterId, DeviceId, Identity, LinkError, NodeId, VolumeId};
use posthaste_fuzz::Script;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::runtime::{Builder, Runtime};

const PATHS: usize = 3;
const WINDOW: u64 = 3000;
/// Of a segment's header.
const HEAD: usize = 28;
const CLUSTER: ClusterId = ClusterId([7; 16]);
const VOLUME: VolumeId = VolumeId([8; 16]);

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime")
});

/// The byte at an offset of the peer's stream, or of ours.
fn byte(offset: u64, ours: bool) -> u8 {
    (offset % 251) as u8 ^ if ours { 0xFF } else { 0 }
}

/// What is under way on one connection.
#[derive(Default)]
struct Wire {
    to_bond: VecDeque<u8>,
    from_bond: VecDeque<u8>,
    /// Bytes that it still takes from the bond.
    room: usize,
    broken: bool,
    /// The bond has let go of it.
    dropped: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

struct End(Arc<Mutex<Wire>>);

impl Drop for End {
    fn drop(&mut self) {
        self.0.lock().expect("unharmed").dropped = true;
    }
}

impl AsyncRead for End {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let mut wire = self.0.lock().expect("unharmed");
        if wire.to_bond.is_empty() && !wire.broken {
            wire.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let len = buf.remaining().min(wire.to_bond.len());
        wire.to_bond.drain(..len).for_each(|byte| buf.put_slice(&[byte]));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for End {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<std::io::Result<usize>> {
        let mut wire = self.0.lock().expect("unharmed");
        let len = buf.len().min(wire.room);
        if wire.broken {
            return Poll::Ready(Err(std::io::ErrorKind::BrokenPipe.into()));
        }
        if len == 0 {
            wire.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        wire.room -= len;
        wire.from_bond.extend(&buf[..len]);
        Poll::Ready(Ok(len))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// A connection as the peer sees it, and what the rules say of what was sent on it.
struct Path {
    wire: Arc<Mutex<Wire>>,
    /// Sent, and no whole header yet.
    head: Vec<u8>,
    /// The data that come next: their offset, and how many.
    body: Option<(u64, u64)>,
    /// Of what came from the bond.
    came: Vec<u8>,
}

impl Path {
    fn new() -> (Self, End) {
        let wire = Arc::new(Mutex::new(Wire { room: usize::MAX, ..Wire::default() }));
        let path = Path { wire: wire.clone(), head: Vec::new(), body: None, came: Vec::new() };
        (path, End(wire))
    }

    fn is_gone(&self) -> bool {
        let wire = self.wire.lock().expect("unharmed");
        wire.dropped || wire.broken
    }

    /// Puts bytes on it, and wakes who waits for them.
    fn put(&self, bytes: &[u8]) {
        let mut wire = self.wire.lock().expect("unharmed");
        wire.to_bond.extend(bytes);
        wire.reader.take().into_iter().for_each(Waker::wake);
    }

    fn takes(&self, more: usize) {
        let mut wire = self.wire.lock().expect("unharmed");
        wire.room = wire.room.saturating_add(more);
        wire.writer.take().into_iter().for_each(Waker::wake);
    }
}

fn framed(opening: Opening) -> BytesMut {
    let mut out = BytesMut::new();
    Message::Opening(opening).encode(&mut out);
    out
}

fn header(kind: u32, len: u32, offset: u64, received: u64) -> Vec<u8> {
    let mut head = Vec::with_capacity(HEAD);
    head.extend_from_slice(&kind.to_le_bytes());
    head.extend_from_slice(&len.to_le_bytes());
    head.extend_from_slice(&offset.to_le_bytes());
    head.extend_from_slice(&received.to_le_bytes());
    let crc = crc32fast::hash(&head);
    head.extend_from_slice(&crc.to_le_bytes());
    head
}

fn word(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

struct Peer {
    acceptor: Acceptor,
    paths: [Option<Path>; PATHS],
    bond: Option<Bond>,
    /// What the bond must have read, by what came first of each byte; how much it has, and how much is due.
    stream: Vec<u8>,
    read: usize,
    due: u64,
    /// Where our stream ends, as it was told.
    ends_at: Option<u64>,
    /// A rule was broken.
    broke: bool,
    /// Of the bond's stream: written into it, what we have said to have, and what came.
    written: u64,
    said: u64,
    came: u64,
}

impl Peer {
    fn new() -> Self {
        let us = Identity { cluster: CLUSTER, volume: VOLUME, device: DeviceId([2; 16]), node: NodeId(2) };
        let config = BondConfig { window_bytes: WINDOW, ..BondConfig::default() };
        Peer {
            acceptor: Acceptor::new(&us, [NodeId(1)], PATHS, config),
            paths: Default::default(),
            bond: None,
            stream: Vec::new(),
            read: 0,
            due: 0,
            ends_at: None,
            broke: false,
            written: 0,
            said: 0,
            came: 0,
        }
    }

    /// A new connection as path `rank`, or one that says something else.
    async fn connect(&mut self, rank: usize, kind: u8) {
        let (mut path, end) = Path::new();
        let odd = |n: u8| kind >> 4 == n;
        let opening = Opening::Path {
            cluster: if odd(1) { ClusterId([9; 16]) } else { CLUSTER },
            volume: if odd(2) { VolumeId([9; 16]) } else { VOLUME },
            from: NodeId(if odd(3) { 3 } else { 1 }),
            to: NodeId(if odd(4) { 1 } else { 2 }),
            session: [5; 16],
            answer: if odd(5) { [6; 16] } else { [0; 16] },
            rank: if odd(6) { PATHS_MAX as u8 } else { rank as u8 },
        };
        path.put(&framed(opening));
        path.put(&framed(if odd(7) { Opening::Share([0; 32]) } else { Opening::Go }));
        let stranger = (1..=7).any(odd);
        let taken = self.acceptor.accept(end).await;
        assert!(!stranger || taken.is_err(), "a stranger is let in");
        match taken {
            Ok(bond) => {
                assert_eq!(bond.is_some(), self.bond.is_none(), "the first path brings the bond, no other");
                self.bond = self.bond.take().or(bond);
                let mut wire = path.wire.lock().expect("unharmed");
                wire.from_bond.drain(..HEADER_LEN + 16);
                drop(wire);
                path.came.clear();
                self.paths[rank] = Some(path);
            }
            // Over is over: the session is not begun again.
            Err(LinkError::Refused(_)) if stranger || self.is_over() => {}
            Err(e) if stranger => drop(e),
            Err(e) => panic!("an honest path is refused: {e}"),
        }
    }

    fn is_over(&self) -> bool {
        self.bond.as_ref().is_some_and(|bond| bond.monitor().is_over())
    }

    /// A segment: mostly what the rules allow, sometimes not.
    fn segment(&mut self, script: &mut Script<'_>) -> Vec<u8> {
        let (kind, shape) = (script.byte(), script.byte());
        let len = u64::from(script.byte()) * if kind & 64 != 0 { 8 } else { 1 };
        // Again, from the middle, or behind what is there.
        let offset = match shape % 8 {
            0..=3 => self.due,
            4 | 5 => self.due.saturating_sub(u64::from(script.byte())),
            6 => self.due / 2,
            _ => self.due + u64::from(script.byte() % 3),
        };
        let received = match shape >> 4 {
            15 => self.written + u64::from(script.byte() % 2),
            14 => script.short() as u64,
            _ => self.came.min(self.said + u64::from(shape >> 4) * 100),
        };
        let mut bytes = match kind % 16 {
            0 => header(2, 0, 0, received),
            1 if kind & 128 != 0 => header(3, 0, offset, received),
            2 if kind & 128 != 0 => header(1, 1 << 20, offset, received),
            3 if kind & 128 != 0 => header(u32::from(script.byte()), script.byte().into(), offset, received),
            4 if kind & 128 != 0 => header(1, 1, u64::MAX - u64::from(script.byte() % 2), received),
            5 if kind & 128 != 0 => return script.take(HEAD).to_vec(),
            _ => {
                let len = len.max(1);
                let mut all = header(1, len as u32, offset, received);
                all.extend((offset..offset + len).map(|at| byte(at, false)));
                all
            }
        };
        if kind == 0xF6 {
            let at = usize::from(script.byte()) % HEAD;
            bytes[at] ^= 1 << (shape & 7);
        }
        bytes
    }

    /// What the rules say of bytes on a path: how far our stream has come.
    fn judge(&mut self, rank: usize, bytes: &[u8]) {
        let Some(mut path) = self.paths[rank].take() else { return };
        for part in bytes {
            if self.broke {
                break;
            }
            if let Some((offset, left)) = path.body {
                if offset == self.due {
                    self.stream.push(*part);
                    self.due += 1;
                }
                path.body = Some((offset + 1, left - 1)).filter(|(_, left)| *left > 0);
                continue;
            }
            path.head.push(*part);
            if path.head.len() == HEAD {
                path.body = self.judge_head(&path.head);
                path.head.clear();
            }
        }
        self.paths[rank] = Some(path);
    }

    fn judge_head(&mut self, head: &[u8]) -> Option<(u64, u64)> {
        let (kind, len) = (word(head, 0) as u32, word(head, 0) >> 32);
        let (offset, received) = (word(head, 8), word(head, 16));
        let sound = crc32fast::hash(&head[..HEAD - 4]).to_le_bytes() == head[HEAD - 4..];
        let fits = match kind {
            1 => (1..=1 << 20).contains(&len) && offset <= self.due,
            2 => len == 0 && offset == 0,
            3 => len == 0 && offset == self.due,
            _ => false,
        };
        let inside = offset.checked_add(len).is_some_and(|end| self.ends_at.is_none_or(|at| end <= at));
        if !sound || !fits || !inside || received > self.written {
            self.broke = true;
            return None;
        }
        if kind == 3 {
            self.ends_at = Some(offset);
        }
        self.said = self.said.max(received);
        // What we say to have is not sent to us again, whether it is true or not.
        self.came = self.came.max(received);
        (kind == 1).then_some((offset, len))
    }

    /// Reads all there is.
    fn drain(&mut self, room: usize) {
        let Some(bond) = &mut self.bond else { return };
        let mut cx = Context::from_waker(Waker::noop());
        let mut space = vec![0; room];
        loop {
            let mut buf = ReadBuf::new(&mut space);
            match Pin::new(&mut *bond).poll_read(&mut cx, &mut buf) {
                Poll::Ready(Ok(())) if buf.filled().is_empty() => {
                    assert_eq!(self.ends_at, Some(self.read as u64), "an end that nobody told");
                    break;
                }
                Poll::Ready(Ok(())) => {
                    let end = self.read + buf.filled().len();
                    assert_eq!(self.stream.get(self.read..end), Some(buf.filled()), "not what came first");
                    self.read = end;
                }
                Poll::Ready(Err(_)) => {
                    assert!(bond.monitor().is_over(), "an error of a stream that is not over");
                    break;
                }
                Poll::Pending => {
                    assert!(!self.broke, "a broken rule is not told");
                    break;
                }
            }
        }
        assert!(
            self.read == self.stream.len() || self.broke || bond.monitor().is_over(),
            "what was sent is not read"
        );
    }

    fn write(&mut self, len: usize) {
        let Some(bond) = &mut self.bond else { return };
        let data: Vec<u8> = (self.written..self.written + len as u64).map(|at| byte(at, true)).collect();
        let mut cx = Context::from_waker(Waker::noop());
        if let Poll::Ready(Ok(written)) = Pin::new(bond).poll_write(&mut cx, &data) {
            self.written += written as u64;
        }
        assert!(self.written - self.said <= WINDOW, "more is kept than the window");
    }

    /// What came from the bond: segments, of its stream and without a gap.
    fn hear(&mut self) {
        for path in self.paths.iter_mut().flatten() {
            path.came.extend(path.wire.lock().expect("unharmed").from_bond.drain(..));
            while let Some(head) = path.came.first_chunk::<HEAD>() {
                let (kind, len) = (word(head, 0) as u32, word(head, 0) >> 32);
                let (offset, received) = (word(head, 8), word(head, 16));
                let again = header(kind, len as u32, offset, received);
                assert!(again == head && (1..=3).contains(&kind), "no segment: {head:?}");
                assert!(received <= self.due, "it has what was not sent");
                let whole = HEAD + if kind == 1 { len as usize } else { 0 };
                if kind == 1 {
                    assert!(offset <= self.came, "a gap");
                    let data = &path.came[HEAD..whole.min(path.came.len())];
                    assert!(
                        data.iter().zip(offset..).all(|(b, at)| *b == byte(at, true)),
                        "not what was written"
                    );
                    self.came = self.came.max(offset + data.len() as u64);
                    assert!(self.came <= self.written, "more than was written");
                }
                if path.came.len() < whole {
                    break;
                }
                path.came.drain(..whole);
            }
        }
    }

    async fn run(&mut self, script: &mut Script<'_>) {
        let mut cut: Option<(usize, Vec<u8>)> = None;
        self.connect(0, 0).await;
        while !script.is_over() {
            let kind = script.byte();
            let rank = usize::from(kind >> 4) % PATHS;
            match kind % 16 {
                0 => self.connect(rank, script.byte()).await,
                1 | 2 => self.write(script.short() % 4000),
                3 => {
                    for path in self.paths[rank].iter().filter(|_| kind & 128 != 0) {
                        path.wire.lock().expect("unharmed").broken = true;
                        path.put(&[]);
                        path.takes(0);
                    }
                }
                4 => {
                    for path in self.paths[rank].iter() {
                        path.wire.lock().expect("unharmed").room = script.byte().into();
                    }
                }
                5 => self.paths[rank].iter().for_each(|path| path.takes(1 << 20)),
                6 => tokio::time::advance(Duration::from_millis(u64::from(script.byte()) * 2)).await,
                _ => {
                    // The rest of one that was cut comes first, on its own path.
                    let (rank, bytes) = cut.take().unwrap_or_else(|| (rank, self.segment(script)));
                    let (now, later) = match kind & 15 {
                        15 => bytes.split_at(usize::from(script.byte()) % (bytes.len() + 1)),
                        _ => (&bytes[..], &[][..]),
                    };
                    cut = Some((rank, later.to_vec())).filter(|_| !later.is_empty());
                    if let Some(path) = self.paths[rank].as_ref().filter(|path| !path.is_gone()) {
                        path.put(now);
                        self.judge(rank, now);
                    }
                }
            }
            self.drain(if kind & 32 != 0 { 7 } else { 5000 });
            tokio::task::yield_now().await;
            self.hear();
            if cut.as_ref().is_some_and(|(rank, _)| self.paths[*rank].as_ref().is_none_or(Path::is_gone)) {
                cut = None;
            }
        }
        self.end().await;
    }

    /// All takes what the bond sends: what was written has come, while there is a path.
    async fn end(&mut self) {
        self.paths.iter().flatten().for_each(|path| path.takes(1 << 20));
        tokio::task::yield_now().await;
        self.drain(5000);
        self.hear();
        let lives = self.paths.iter().flatten().any(|path| !path.is_gone());
        if lives && !self.broke && !self.is_over() {
            assert_eq!(self.came, self.written, "what was written has not come");
        }
    }
}

fuzz_target!(|data: &[u8]| {
    RUNTIME.block_on(async {
        Peer::new().run(&mut Script(data)).await;
        // The bond's keeper hears that it is over.
        tokio::task::yield_now().await;
    });
});

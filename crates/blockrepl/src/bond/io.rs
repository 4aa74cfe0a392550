//! The bundle on real connections: whoever reads or writes the stream moves the bytes, and a keeper the rest.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{Notify, broadcast};
use tokio::time::MissedTickBehavior;

use super::bundle::{Bundle, Over};
use super::segment::{HEADER, Kind, SEGMENT_MAX, Segment};
use super::{BondConfig, PathEvent, PathLoss, PathStatus, Stream};
use crate::pool::Pool;

/// Bytes read at once, but for long data.
const INBOX: usize = 64 << 10;
/// The rest of a segment of this length or more is read to where it is wanted.
const LONG: usize = 16 << 10;
/// Data of this length or more lies in buffers that are used again, which are twice as long.
const POOLED: usize = 512 << 10;
const EVENTS_MAX: usize = 256;

/// One stream: its state, its connections, and who waits for them.
#[derive(Debug)]
pub(super) struct Shared {
    state: Mutex<State>,
    /// Apart from the state: a connection may wake us while we use it.
    waiting: Arc<Waiting>,
    /// Wakes who reads.
    arrived: Waker,
    /// The keeper has something to do.
    kick: Notify,
    /// A path came up or went down.
    pub(super) changed: Notify,
    pub(super) events: broadcast::Sender<PathEvent>,
    /// Why each path does not come up.
    failures: Mutex<Vec<Option<String>>>,
    pool: Arc<Pool>,
}

#[derive(Debug)]
struct State {
    bundle: Bundle,
    paths: Vec<Option<PathIo>>,
    /// Where reading goes on.
    turn: usize,
    /// A writer waits for room.
    starved: bool,
}

#[derive(Debug, Default)]
struct Waiting {
    /// Somebody waits, and nothing has come for him.
    reader: Mutex<Option<Waker>>,
    writer: Mutex<Option<Waker>>,
}

/// Something came on a connection.
impl Wake for Waiting {
    fn wake(self: Arc<Self>) {
        wake(&self.reader);
    }
}

fn wake(waiting: &Mutex<Option<Waker>>) {
    let waker = lock(waiting).take();
    if let Some(waker) = waker {
        waker.wake();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A connection takes more.
impl Wake for Shared {
    fn wake(self: Arc<Self>) {
        wake(&self.waiting.writer);
        // He may have other things to do by now.
        self.kick.notify_one();
    }
}

fn error(over: Over) -> io::Error {
    let (kind, why) = match over {
        Over::NoPath => (io::ErrorKind::TimedOut, "no path to the peer is left"),
        Over::Malformed => (io::ErrorKind::InvalidData, "the peer sent what no bond sends"),
        Over::Forgotten => (io::ErrorKind::ConnectionReset, "the peer does not know the link any more"),
        Over::Replaced => (io::ErrorKind::ConnectionAborted, "the peer began another link"),
        Over::Closed => (io::ErrorKind::NotConnected, "closed on this side"),
    };
    io::Error::new(kind, why)
}

impl Shared {
    pub(super) fn new(paths: usize, config: &BondConfig) -> Arc<Self> {
        let bundle = Bundle::new(paths, config.limits());
        let state = State { bundle, paths: (0..paths).map(|_| None).collect(), turn: 0, starved: false };
        let waiting: Arc<Waiting> = Arc::default();
        Arc::new(Shared {
            state: Mutex::new(state),
            arrived: Waker::from(waiting.clone()),
            waiting,
            kick: Notify::new(),
            changed: Notify::new(),
            events: broadcast::channel(EVENTS_MAX).0,
            failures: Mutex::new(vec![None; paths]),
            pool: Arc::default(),
        })
    }

    /// A connection is this path from now on.
    pub(super) fn add(self: &Arc<Self>, rank: usize, io: Box<dyn Stream>) {
        let mut state = lock(&self.state);
        if state.bundle.over.is_some() {
            return;
        }
        state.bundle.up(rank);
        lock(&self.failures)[rank] = None;
        let before = state.paths[rank].replace(PathIo::new(io));
        self.settle(&mut state);
        drop(state);
        drop(before);
    }

    pub(super) fn is_up(&self, rank: usize) -> bool {
        lock(&self.state).bundle.strands[rank].up
    }

    /// A path could not be dialled.
    pub(super) fn failed(&self, rank: usize, why: String) {
        let before = lock(&self.failures)[rank].replace(why.clone());
        if before.as_ref() != Some(&why) {
            tracing::debug!(rank, why, "a path does not come up");
            // Nobody may be listening.
            drop(self.events.send(PathEvent::Failed { rank, why }));
        }
    }

    pub(super) fn failure(&self, rank: usize) -> Option<String> {
        lock(&self.failures).get(rank).cloned().flatten()
    }

    pub(super) fn over(&self) -> Option<Over> {
        lock(&self.state).bundle.over
    }

    pub(super) fn fail(self: &Arc<Self>, why: Over) {
        let mut state = lock(&self.state);
        state.bundle.fail(why);
        self.settle(&mut state);
        drop(state);
        self.wake_all();
    }

    /// The stream was dropped: nobody waits for it, and whoever drops it may hold what a waker needs.
    pub(super) fn close(self: &Arc<Self>) {
        drop((lock(&self.waiting.reader).take(), lock(&self.waiting.writer).take()));
        self.fail(Over::Closed);
    }

    pub(super) fn status(&self) -> Vec<PathStatus> {
        let state = lock(&self.state);
        let active = state.bundle.active();
        let of = |(rank, s): (usize, &super::bundle::Strand)| PathStatus {
            rank,
            up: s.up,
            carries: active == Some(rank),
            sent_bytes: s.sent,
            received_bytes: s.received,
            losses: s.losses,
        };
        state.bundle.strands.iter().enumerate().map(of).collect()
    }

    /// How often another path than before was taken, and bytes that were sent again for it.
    pub(super) fn moves(&self) -> (u64, u64) {
        let state = lock(&self.state);
        (state.bundle.moves, state.bundle.resent)
    }

    fn wake_all(self: &Arc<Self>) {
        wake(&self.waiting.reader);
        self.clone().wake();
        self.changed.notify_waiters();
    }

    /// Sends what there is to send, lets go of paths that are down, and tells what happened.
    fn settle(self: &Arc<Self>, state: &mut State) {
        let waker = Waker::from(self.clone());
        let mut cx = Context::from_waker(&waker);
        while !state.pump(&mut cx) {}
        if state.bundle.over.is_some() {
            state.paths.iter_mut().for_each(|path| *path = None);
        }
        let mut happened = false;
        while let Some(event) = state.bundle.poll_event() {
            tracing::debug!(?event, "bond");
            // Nobody may be listening.
            drop(self.events.send(event));
            happened = true;
        }
        if happened {
            self.wake_all();
        }
    }

    /// Counts time, and moves what nobody waits for, until the stream is over.
    pub(super) async fn keep(self: Arc<Self>, every: Duration) {
        let mut ticks = tokio::time::interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks.tick().await;
        while self.over().is_none() {
            let ticked = tokio::select! {
                _ = ticks.tick() => true,
                () = self.kick.notified() => false,
            };
            let listening = lock(&self.waiting.reader).is_some();
            let mut state = lock(&self.state);
            if ticked {
                state.bundle.tick(listening);
                self.pool.tick();
            }
            self.settle(&mut state);
        }
        self.wake_all();
    }

    // ---- the stream ----

    pub(super) fn poll_read(
        self: &Arc<Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut state = lock(&self.state);
        // Before the connections are asked: they may wake at once.
        *lock(&self.waiting.reader) = Some(cx.waker().clone());
        let read = state.poll_read(&mut Context::from_waker(&self.arrived), buf);
        if read.is_ready() {
            *lock(&self.waiting.reader) = None;
        }
        self.settle(&mut state);
        let fed = state.starved && state.bundle.room() > 0;
        state.starved &= !fed;
        let over = state.bundle.over;
        drop(state);
        if fed {
            self.clone().wake();
        }
        match over {
            Some(over) if read.is_pending() => Poll::Ready(Err(error(over))),
            _ => read,
        }
    }

    pub(super) fn poll_write(
        self: &Arc<Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut state = lock(&self.state);
        if let Some(over) = state.bundle.over {
            return Poll::Ready(Err(error(over)));
        }
        *lock(&self.waiting.writer) = Some(cx.waker().clone());
        let wanted = bufs.iter().map(|b| b.len()).sum::<usize>().min(SEGMENT_MAX);
        let len = wanted.min(state.bundle.room() as usize);
        if len > 0 {
            state.bundle.write(self.gather(bufs, len));
        }
        self.settle(&mut state);
        if len == 0 && wanted > 0 {
            state.starved = true;
            return Poll::Pending;
        }
        Poll::Ready(Ok(len))
    }

    fn gather(&self, bufs: &[IoSlice<'_>], len: usize) -> Bytes {
        let mut left = len;
        let mut parts = bufs.iter().map(|b| {
            let part = &b[..b.len().min(left)];
            left -= part.len();
            part
        });
        if len < POOLED {
            return parts
                .by_ref()
                .fold(Vec::with_capacity(len), |mut all, part| {
                    all.extend_from_slice(part);
                    all
                })
                .into();
        }
        let mut buffer = self.pool.take(len);
        let mut rest = buffer.as_mut();
        for part in parts {
            let (here, behind) = rest.split_at_mut(part.len());
            here.copy_from_slice(part);
            rest = behind;
        }
        Bytes::from_owner(buffer)
    }

    pub(super) fn poll_flush(self: &Arc<Self>, cx: &mut Context<'_>, end: bool) -> Poll<io::Result<()>> {
        let mut state = lock(&self.state);
        if let Some(over) = state.bundle.over {
            return Poll::Ready(if end { Ok(()) } else { Err(error(over)) });
        }
        if end {
            state.bundle.end();
        }
        *lock(&self.waiting.writer) = Some(cx.waker().clone());
        self.settle(&mut state);
        let State { bundle, paths, .. } = &mut *state;
        let active = bundle.active().and_then(|rank| paths[rank].as_mut());
        match active {
            Some(path) if bundle.is_sent() && path.is_idle() && end => {
                Pin::new(&mut path.io).poll_shutdown(cx)
            }
            Some(path) if bundle.is_sent() && path.is_idle() => Poll::Ready(Ok(())),
            _ => Poll::Pending,
        }
    }
}

impl State {
    /// Sends on each path until it takes no more; false when one broke.
    fn pump(&mut self, cx: &mut Context<'_>) -> bool {
        for (rank, path) in self.paths.iter_mut().enumerate() {
            let Some(io) = path else { continue };
            if !self.bundle.strands[rank].up {
                *path = None;
            } else if let Err(e) = io.pump(&mut self.bundle, rank, cx) {
                *path = None;
                self.bundle.down(rank, PathLoss::Broke(e.kind()));
                return false;
            }
        }
        true
    }

    /// Ready with nothing read: the stream has ended.
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.bundle.is_ended() {
            return Poll::Ready(Ok(()));
        }
        let paths = self.paths.len();
        for rank in (0..paths).map(|n| (self.turn + n) % paths) {
            let Some(path) = &mut self.paths[rank] else { continue };
            match path.poll_read(&mut self.bundle, rank, cx, buf) {
                Poll::Ready(Ok(())) => {
                    self.turn = rank;
                    return Poll::Ready(Ok(()));
                }
                Poll::Ready(Err(e)) => {
                    self.paths[rank] = None;
                    self.bundle.down(rank, PathLoss::Broke(e.kind()));
                }
                Poll::Pending => {}
            }
        }
        Poll::Pending
    }
}

/// One connection.
struct PathIo {
    io: Box<dyn Stream>,
    inbox: Box<[u8]>,
    /// What of the inbox is full.
    full: std::ops::Range<usize>,
    /// The data that comes next: its offset in the stream, and its length.
    body: Option<(u64, usize)>,
    head: [u8; HEADER],
    /// What of the head is sent.
    head_sent: usize,
    data: Bytes,
    flushed: bool,
}

impl std::fmt::Debug for PathIo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PathIo").field("body", &self.body).finish_non_exhaustive()
    }
}

impl PathIo {
    fn new(io: Box<dyn Stream>) -> Self {
        PathIo {
            io,
            inbox: vec![0; INBOX].into(),
            full: 0..0,
            body: None,
            head: [0; HEADER],
            head_sent: HEADER,
            data: Bytes::new(),
            flushed: true,
        }
    }

    fn is_idle(&self) -> bool {
        self.head_sent == HEADER && self.data.is_empty() && self.flushed
    }

    /// Sends until nothing is left, or the connection takes no more.
    fn pump(&mut self, bundle: &mut Bundle, rank: usize, cx: &mut Context<'_>) -> io::Result<()> {
        while let Poll::Ready(more) = self.poll_send(cx)? {
            if !more {
                match bundle.next(rank) {
                    Some((segment, data)) => {
                        (self.head, self.head_sent, self.data) = (segment.encode(), 0, data);
                    }
                    None if self.flushed => return Ok(()),
                    None => match Pin::new(&mut self.io).poll_flush(cx)? {
                        Poll::Ready(()) => self.flushed = true,
                        Poll::Pending => return Ok(()),
                    },
                }
            }
        }
        Ok(())
    }

    /// Whether something was sent.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let head = &self.head[self.head_sent..];
        if head.is_empty() && self.data.is_empty() {
            self.data = Bytes::new();
            return Poll::Ready(Ok(false));
        }
        self.flushed = false;
        let parts = [IoSlice::new(head), IoSlice::new(&self.data)];
        let written = ready!(Pin::new(&mut self.io).poll_write_vectored(cx, &parts))?;
        if written == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        let of_head = written.min(head.len());
        self.head_sent += of_head;
        self.data.advance(written - of_head);
        Poll::Ready(Ok(true))
    }

    /// Ready when new bytes of the stream are in `buf`, or it has ended.
    fn poll_read(
        &mut self,
        bundle: &mut Bundle,
        rank: usize,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        loop {
            while buf.remaining() > 0 && self.parse(bundle, rank, buf)? {}
            if buf.filled().len() > before || bundle.is_ended() || buf.remaining() == 0 {
                return Poll::Ready(Ok(()));
            }
            match self.body {
                Some((offset, left)) if left >= LONG && offset == bundle.received() => {
                    let mut part = ReadBuf::new(buf.initialize_unfilled_to(left.min(buf.remaining())));
                    ready!(Pin::new(&mut self.io).poll_read(cx, &mut part))?;
                    let read = part.filled().len();
                    buf.advance(read);
                    self.took(bundle, rank, read)?;
                }
                _ => ready!(self.poll_fill(cx))?,
            }
        }
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.inbox.copy_within(self.full.clone(), 0);
        self.full = 0..self.full.len();
        let mut rest = ReadBuf::new(&mut self.inbox[self.full.end..]);
        ready!(Pin::new(&mut self.io).poll_read(cx, &mut rest))?;
        let read = rest.filled().len();
        self.full.end += read;
        Poll::Ready(if read == 0 { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) })
    }

    /// Goes one step on with what is in the inbox; false when it needs more.
    fn parse(&mut self, bundle: &mut Bundle, rank: usize, buf: &mut ReadBuf<'_>) -> io::Result<bool> {
        let full = &self.inbox[self.full.clone()];
        let Some((offset, left)) = self.body else {
            let Some(head) = full.first_chunk::<HEADER>() else { return Ok(false) };
            let read =
                Segment::decode(head).and_then(|segment| bundle.heard(rank, &segment).map(|()| segment));
            let Ok(segment) = read else {
                bundle.fail(Over::Malformed);
                return Err(io::ErrorKind::InvalidData.into());
            };
            self.full.start += HEADER;
            if segment.kind == Kind::Data {
                self.body = Some((segment.offset, segment.len as usize));
            }
            return Ok(true);
        };
        let known = bundle.received().saturating_sub(offset).min(left as u64) as usize;
        // What is known does not count against the room.
        let here = full.len().min(left).min(known + buf.remaining());
        if here == 0 {
            return Ok(false);
        }
        if let Some(new) = full[..here].get(known..) {
            buf.put_slice(new);
        }
        self.full.start += here;
        self.took(bundle, rank, here)?;
        Ok(true)
    }

    /// So many bytes of the data came.
    fn took(&mut self, bundle: &mut Bundle, rank: usize, len: usize) -> io::Result<()> {
        let Some((offset, left)) = self.body.filter(|_| len > 0) else {
            return Err(io::ErrorKind::UnexpectedEof.into());
        };
        bundle.take(rank, offset, len);
        self.body = Some((offset + len as u64, left - len)).filter(|(_, left)| *left > 0);
        Ok(())
    }
}

//! Who reads what comes in from one peer: the link's task, and in a stream of long messages the thread that writes them to
//! the disk. It then has them in its processor's cache, and nobody need be woken in between.
//!
//! The task is woken when there is something to read. In a stream it leaves that to the disk thread, which reads until there is
//! nothing left and is then woken itself. Should that thread hang in its disk, the task reads on after a moment: what a peer
//! says must be heard.

use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use tokio::io::AsyncRead;

use super::inbox::Inbox;
use super::link::LinkError;
use super::shared::Shared;
use crate::core::{Input, LinkId};
use crate::wire::{Message, Refusal};

/// How long the task leaves the reading to a disk thread of which nothing is heard.
const PATIENCE: Duration = Duration::from_millis(100);

/// The way in from one peer, for whoever has the turn.
pub(super) struct Incoming {
    link: LinkId,
    shared: Weak<Shared>,
    stream: Mutex<Option<Stream>>,
    turn: Mutex<Turn>,
}

struct Stream {
    io: Pin<Box<dyn AsyncRead + Send>>,
    inbox: Inbox,
    refused: Option<Refusal>,
}

#[derive(Default)]
struct Turn {
    task: Option<Waker>,
    /// Long messages come: the disk thread is to read.
    long: bool,
    /// It knows so: it is the one to be woken.
    told: bool,
    /// When it was asked to, or has read last.
    asked: Option<Instant>,
    /// Why there is nothing to be read any more.
    ended: Option<LinkError>,
}

impl std::fmt::Debug for Incoming {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Incoming").field("link", &self.link).finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Incoming {
    /// What comes by `io`.
    pub(super) fn new(shared: &Arc<Shared>, link: LinkId, io: impl AsyncRead + Send + 'static) -> Arc<Self> {
        let stream = Stream { io: Box::pin(io), inbox: shared.inbox(), refused: None };
        let shared = Arc::downgrade(shared);
        Arc::new(Incoming { link, shared, stream: Mutex::new(Some(stream)), turn: Mutex::default() })
    }

    /// The link's task: reads, or has the disk thread read. Ready when the stream has ended.
    pub(super) fn poll(self: &Arc<Self>, shared: &Shared, cx: &mut Context<'_>) -> Poll<LinkError> {
        loop {
            let mut turn = lock(&self.turn);
            if let Some(why) = turn.ended.take() {
                return Poll::Ready(why);
            }
            if turn.task.as_ref().is_none_or(|waker| !waker.will_wake(cx.waker())) {
                turn.task = Some(cx.waker().clone());
            }
            let hangs = turn.asked.is_some_and(|at| at.elapsed() >= PATIENCE);
            if turn.long && !hangs {
                if !std::mem::replace(&mut turn.told, true) {
                    turn.asked = Some(Instant::now());
                    drop(turn);
                    shared.have_read(self.clone());
                }
                return Poll::Pending;
            }
            turn.told = false;
            drop(turn);
            if self.poll_message(shared, cx).is_pending() {
                return Poll::Pending;
            }
        }
    }

    /// The disk thread: reads one message, if it is here, and says whether to go on.
    pub(super) fn read(self: &Arc<Self>, shared: &Shared) -> bool {
        // Before it is certain that nothing is here: what comes from then on asks again.
        lock(&self.turn).asked = None;
        let waker = Waker::from(self.clone());
        let read = self.poll_message(shared, &mut Context::from_waker(&waker)).is_ready();
        let mut turn = lock(&self.turn);
        if turn.ended.is_none() && turn.long {
            if read {
                turn.asked = Some(Instant::now());
            }
            return read;
        }
        drop(turn);
        self.hand_back();
        false
    }

    /// The link's task is to see to it.
    fn hand_back(&self) {
        let mut turn = lock(&self.turn);
        turn.told = false;
        let task = turn.task.clone();
        drop(turn);
        if let Some(task) = task {
            task.wake();
        }
    }

    pub(super) fn link(&self) -> LinkId {
        self.link
    }

    /// What was read broke off in the midst: the link ends.
    pub(super) fn give_up(&self) {
        self.close();
        lock(&self.turn).ended.get_or_insert(LinkError::Closed);
        self.hand_back();
    }

    /// Reads and handles the next message. Ready also at the end.
    fn poll_message(&self, shared: &Shared, cx: &mut Context<'_>) -> Poll<()> {
        let mut guard = lock(&self.stream);
        let Some(stream) = guard.as_mut() else {
            lock(&self.turn).ended.get_or_insert(LinkError::Closed);
            return Poll::Ready(());
        };
        let read = stream.poll_next(cx);
        let long = stream.inbox.is_long();
        match read {
            Poll::Pending => {
                lock(&self.turn).long = long;
                return Poll::Pending;
            }
            Poll::Ready(Ok(message)) => {
                shared.counters.got(&message);
                shared.input(Input::Message { link: self.link, message });
                lock(&self.turn).long = long;
            }
            Poll::Ready(Err(why)) => {
                // Whoever else reads must not find what comes behind it.
                *guard = None;
                lock(&self.turn).ended.get_or_insert(why);
            }
        }
        Poll::Ready(())
    }

    /// Reads nothing more, and lets go of the stream.
    pub(super) fn close(&self) {
        *lock(&self.stream) = None;
    }
}

/// There is more to read in a stream of long messages.
impl Wake for Incoming {
    fn wake(self: Arc<Self>) {
        lock(&self.turn).asked = Some(Instant::now());
        if let Some(shared) = self.shared.upgrade() {
            shared.have_read(self);
        }
    }
}

impl Stream {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Message, LinkError>> {
        loop {
            if let Some(message) = self.inbox.next()? {
                if let Message::Refused(why) = &message {
                    self.refused = Some(why.clone());
                }
                return Poll::Ready(Ok(message));
            }
            // A read that is given up has read nothing.
            let why = match pin!(self.inbox.read(&mut self.io)).poll(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(0)) => LinkError::ClosedByPeer,
                Poll::Ready(Ok(_)) => continue,
                Poll::Ready(Err(e)) => LinkError::Io(e),
            };
            return Poll::Ready(Err(self.refused.take().map_or(why, LinkError::Refused)));
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::*;
    use crate::core::Replica;
    use crate::{ClusterId, Config, DeviceId, Identity, MemDisk, NodeId, Volume, VolumeId};

    /// Two may be about to read, and the one who reads what is wrong does not stop the other one by that.
    #[test]
    fn behind_a_frame_that_is_refused_nothing_is_read_however_often_one_asks() {
        let identity = Identity {
            cluster: ClusterId([1; 16]),
            volume: VolumeId([2; 16]),
            device: DeviceId([3; 16]),
            node: NodeId(1),
        };
        let (size, config) = (1 << 20, Config::default());
        let (meta_len, _) = Replica::format(&config, &identity, size).unwrap();
        let [data, meta] = [size + 4096, meta_len].map(|len| Arc::new(MemDisk::new(len)));
        Volume::format(&*data, &*meta, &identity, size, &config).unwrap();
        let volume = Volume::with_disks(data, meta, &identity, config).unwrap();
        let shared = &volume.owner.shared;

        let mut bytes = BytesMut::new();
        let write = Message::Write { epoch: 1, seq: 1, stable: 0, offset: 0, data: vec![7; 100_000].into() };
        write.encode(&mut bytes);
        *bytes.last_mut().unwrap() ^= 1;
        write.encode(&mut bytes);
        let incoming = Incoming::new(shared, LinkId(1), std::io::Cursor::new(bytes.freeze()));
        let mut cx = Context::from_waker(Waker::noop());
        for _ in 0..5 {
            assert!(incoming.poll_message(shared, &mut cx).is_ready());
        }
        assert_eq!(volume.metrics().received.ops, 0);
        assert!(matches!(lock(&incoming.turn).ended, Some(LinkError::Wire(_))), "the first reason stays");
    }
}

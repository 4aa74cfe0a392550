//! What is on its way to one peer.
//!
//! Messages are queued under the core's lock, so their order is the core's. They are written by the thread that has just
//! caused them, as far as the stream takes them at once: no other thread need wake up, and the data is still in this
//! one's cache. The rest is written by the link's task.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker, ready};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::AsyncWrite;

use crate::wire::{Message, WriterMessage};

/// Messages are put into one write up to this many bytes.
const BATCH: usize = 256 << 10;
/// Batches that a thread writes, others' messages among them, before it leaves the rest to the link's task.
const BATCHES: u32 = 4;
/// Data of this length or more goes to the stream from where it lies.
const LONG: usize = 32 << 10;

type Writer = Box<dyn AsyncWrite + Send + Unpin>;

/// The way out to one peer.
pub(super) struct Outbox {
    queue: Mutex<Queue>,
    /// Bytes that may wait.
    limit: u64,
    /// Touched only by whoever has the turn.
    stream: Mutex<Stream>,
}

#[derive(Default)]
struct Queue {
    messages: VecDeque<Message>,
    bytes: u64,
    /// More came than a peer may leave unread.
    overfull: bool,
    turn: Turn,
    /// The stream took no more and has since said that it would: try again.
    again: bool,
    /// To be shut down once all is sent.
    closing: bool,
    /// Nothing is sent any more.
    dropped: bool,
    error: Option<io::Error>,
    task: Option<Waker>,
}

/// Whose turn it is to write.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Turn {
    #[default]
    Anybody,
    Somebody,
    TheTask,
}

struct Stream {
    io: Option<Writer>,
    /// Taken from the queue and not encoded yet.
    taken: VecDeque<Message>,
    head: BytesMut,
    data: Bytes,
    flushed: bool,
}

impl std::fmt::Debug for Outbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outbox").field("messages", &self.queue().messages.len()).finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// About what a message takes in memory.
fn size(message: &Message) -> u64 {
    let more = match message {
        Message::BeginAck { dirty, .. } | Message::SyncEnd { dirty, .. } | Message::Lacks { dirty, .. } => {
            size_of_val(&dirty[..])
        }
        Message::Writer(WriterMessage::Joined { ordered, .. }) => size_of_val(&ordered[..]),
        other => other.data().len(),
    };
    more as u64 + 64
}

impl Outbox {
    /// A way out by `io`, on which `limit` bytes may wait.
    pub(super) fn new(io: Writer, limit: u64) -> Arc<Self> {
        let (taken, head, data) = (VecDeque::new(), BytesMut::new(), Bytes::new());
        let stream = Stream { io: Some(io), taken, head, data, flushed: true };
        Arc::new(Outbox { queue: Mutex::default(), limit, stream: Mutex::new(stream) })
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        lock(&self.queue)
    }

    /// Queues a message. [`urge`](Self::urge) afterwards, without the core's lock.
    pub(super) fn push(&self, message: Message) {
        let mut queue = self.queue();
        if queue.dropped {
            return;
        }
        queue.bytes += size(&message);
        queue.messages.push_back(message);
        if queue.bytes > self.limit {
            (queue.dropped, queue.overfull) = (true, true);
            queue.messages.clear();
            queue.error = Some(io::ErrorKind::QuotaExceeded.into());
            drop(queue);
            self.wake_task();
        }
    }

    /// Whether it was given up because the peer did not read.
    pub(super) fn is_overfull(&self) -> bool {
        self.queue().overfull
    }

    /// What is queued is still sent, then the stream is shut down.
    pub(super) fn close(&self) {
        self.queue().closing = true;
        self.wake_task();
    }

    /// Sends nothing more, and lets go of the stream.
    pub(super) fn abandon(&self) {
        let mut queue = self.queue();
        queue.dropped = true;
        queue.messages.clear();
        let idle = queue.turn != Turn::Somebody;
        drop(queue);
        if idle {
            let gone = lock(&self.stream).io.take();
            drop(gone);
        }
    }

    /// Writes what is queued, unless somebody is at it or the stream takes no more.
    pub(super) fn urge(self: &Arc<Self>) {
        let mut queue = self.queue();
        if queue.messages.is_empty() || queue.turn != Turn::Anybody {
            return;
        }
        queue.turn = Turn::Somebody;
        drop(queue);
        self.work(false);
    }

    /// The link's task: goes on with what was left to it. Ready when the stream is shut down or broken.
    pub(super) fn poll(self: &Arc<Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut queue = self.queue();
        if queue.task.as_ref().is_none_or(|waker| !waker.will_wake(cx.waker())) {
            queue.task = Some(cx.waker().clone());
        }
        let begin = match queue.turn {
            Turn::Somebody => false,
            Turn::TheTask => true,
            Turn::Anybody => !queue.messages.is_empty(),
        };
        if begin {
            queue.turn = Turn::Somebody;
            drop(queue);
            self.work(true);
            queue = self.queue();
        }
        if let Some(error) = queue.error.take() {
            return Poll::Ready(Err(error));
        }
        if queue.dropped || !queue.closing || queue.turn != Turn::Anybody || !queue.messages.is_empty() {
            return Poll::Pending;
        }
        drop(queue);
        match &mut lock(&self.stream).io {
            Some(io) => Pin::new(io).poll_shutdown(cx),
            None => Poll::Ready(Ok(())),
        }
    }

    /// Sends until nothing is left, the stream takes no more, or, for another than the task, it becomes much.
    fn work(self: &Arc<Self>, task: bool) {
        let waker = Waker::from(self.clone());
        let mut cx = Context::from_waker(&waker);
        let mut stream = lock(&self.stream);
        let mut batches = BATCHES;
        loop {
            let sent = stream.poll_send(&mut cx);
            let waits = sent.is_pending();
            let mut queue = self.queue();
            match sent {
                Poll::Pending => queue.turn = Turn::TheTask,
                Poll::Ready(Err(error)) => {
                    queue.dropped = true;
                    queue.messages.clear();
                    queue.error = Some(error);
                    queue.turn = Turn::Anybody;
                }
                Poll::Ready(Ok(())) if queue.messages.is_empty() => queue.turn = Turn::Anybody,
                Poll::Ready(Ok(())) if !task && batches == 0 => queue.turn = Turn::TheTask,
                Poll::Ready(Ok(())) => {
                    batches = batches.saturating_sub(1);
                    stream.take(&mut queue);
                    continue;
                }
            }
            let gone = if queue.dropped { stream.io.take() } else { None };
            let again = std::mem::take(&mut queue.again);
            let left = queue.turn == Turn::TheTask && (again || !task && !waits);
            let ended = !task && (queue.closing || queue.dropped);
            drop(queue);
            drop(stream);
            // It may wake us: nothing of ours is locked.
            drop(gone);
            if left || ended {
                self.wake_task();
            }
            return;
        }
    }

    fn wake_task(&self) {
        let task = self.queue().task.clone();
        if let Some(task) = task {
            task.wake();
        }
    }
}

/// The stream takes more.
impl Wake for Outbox {
    fn wake(self: Arc<Self>) {
        let mut queue = self.queue();
        if queue.turn == Turn::Somebody {
            queue.again = true;
            return;
        }
        drop(queue);
        self.wake_task();
    }
}

impl Stream {
    /// Takes messages to be sent next.
    fn take(&mut self, queue: &mut Queue) {
        let mut bytes = 0;
        while bytes < BATCH as u64
            && let Some(message) = queue.messages.pop_front()
        {
            queue.bytes -= size(&message);
            bytes += size(&message);
            self.taken.push_back(message);
        }
    }

    /// Turns what was taken into bytes. Long data is not copied; it ends the write.
    fn encode(&mut self) {
        while self.data.is_empty()
            && self.head.len() < BATCH
            && let Some(message) = self.taken.pop_front()
        {
            message.encode_head(&mut self.head);
            match message {
                // Some zeros are in the head already.
                Message::Write { ref data, .. } | Message::Copy { ref data, .. }
                    if message.data().len() >= LONG =>
                {
                    self.data = Bytes::clone(data);
                }
                short => self.head.extend_from_slice(short.data()),
            }
        }
    }

    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            if self.head.is_empty() && self.data.is_empty() {
                self.data = Bytes::new();
                self.encode();
            }
            let Some(io) = &mut self.io else { return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())) };
            if self.head.is_empty() && self.data.is_empty() {
                if !self.flushed {
                    ready!(Pin::new(io).poll_flush(cx))?;
                    self.flushed = true;
                }
                return Poll::Ready(Ok(()));
            }
            self.flushed = false;
            let parts = [io::IoSlice::new(&self.head), io::IoSlice::new(&self.data)];
            let written = ready!(Pin::new(io).poll_write_vectored(cx, &parts))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            let from_head = written.min(self.head.len());
            self.head.advance(from_head);
            self.data.advance(written - from_head);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;
    use crate::wire::Opening;

    /// As a bond does, it wakes whoever has written to it when it is dropped; and its link ends while it is written to.
    struct Wakes {
        outbox: Arc<Mutex<Option<Arc<Outbox>>>>,
        writer: Option<Waker>,
    }

    impl AsyncWrite for Wakes {
        fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
            self.writer = Some(cx.waker().clone());
            if let Some(outbox) = lock(&self.outbox).take() {
                outbox.abandon();
            }
            Poll::Ready(Ok(buf.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    impl Drop for Wakes {
        fn drop(&mut self) {
            self.writer.take().expect("it was written to").wake();
        }
    }

    #[test]
    fn a_stream_that_wakes_its_writer_when_it_is_dropped_is_let_go_of() {
        let place: Arc<Mutex<Option<Arc<Outbox>>>> = Arc::default();
        let outbox = Outbox::new(Box::new(Wakes { outbox: place.clone(), writer: None }), 1 << 20);
        *lock(&place) = Some(outbox.clone());
        outbox.push(Message::Opening(Opening::Go));
        let (done, ended) = mpsc::channel();
        std::thread::spawn(move || {
            outbox.urge();
            done.send(lock(&outbox.stream).io.is_none())
        });
        assert!(ended.recv_timeout(Duration::from_secs(20)).expect("it waits for itself"));
    }
}

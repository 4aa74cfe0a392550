//! The answering end.

use std::future::Future;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, BufReader, BufWriter, WriteHalf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::RpcLimits;
use super::frame::{self, Frame, Kind};
use super::turns::{Turn, Turns};
use crate::config::NodeId;

/// Replies that wait for the writer of a connection.
const QUEUE: usize = 64;
/// The unit of the budget of bytes.
const UNIT: usize = 1024;

/// Answers the requests on `stream`, which member `from` sends, until the stream ends.
///
/// Each request runs as a task of its own and is finished even if the connection breaks or this
/// future is dropped, which closes the connection; its reply is then dropped. A handler that panics
/// fails its request only.
///
/// With `turns`, which all connections share that must not overlap, also clients that are
/// [`RpcClient::in_turn`](super::RpcClient::in_turn) are served.
///
/// # Errors
/// When the stream breaks, the other end breaks the rules (a frame over the limit, a bad header), or
/// a newer connection has taken the turn.
pub async fn serve_rpc<S, H, Fut>(
    stream: S,
    from: NodeId,
    handler: Arc<H>,
    limits: RpcLimits,
    turns: Option<Arc<Turns>>,
) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    H: Fn(NodeId, Bytes) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Bytes> + Send + 'static,
{
    let (read, write) = tokio::io::split(stream);
    let mut read = BufReader::with_capacity(16 << 10, read);
    let (replies, waiting) = mpsc::channel(QUEUE);
    let mut writer = AbortOnDrop(tokio::spawn(write_replies(write, waiting)));
    let server = Server { from, handler, limits, turns, budget: Budget::new(limits), replies };
    tokio::select! {
        outcome = server.read_requests(&mut read) => outcome,
        broken = &mut writer.0 => broken.unwrap_or_else(|e| Err(io::Error::other(e))),
    }
}

/// The writer has half of the connection, which must not outlive [`serve_rpc`].
struct AbortOnDrop(tokio::task::JoinHandle<io::Result<()>>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// One connection's.
struct Server<H> {
    from: NodeId,
    handler: Arc<H>,
    limits: RpcLimits,
    turns: Option<Arc<Turns>>,
    budget: Budget,
    replies: mpsc::Sender<Frame>,
}

impl<H, Fut> Server<H>
where
    H: Fn(NodeId, Bytes) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Bytes> + Send + 'static,
{
    async fn read_requests(&self, stream: &mut (impl AsyncRead + Unpin)) -> io::Result<()> {
        let mut turn: Option<Turn> = None;
        while let Some(header) = frame::read_header(stream, self.limits.frame).await? {
            match (header.kind, &self.turns) {
                (Kind::Request, _) => {}
                (Kind::Turn, Some(turns)) if turn.is_none() && header.len == 0 => {
                    turn = Some(turns.take(self.from).await?);
                    let come = Frame { id: header.id, kind: Kind::Turn, body: Bytes::new() };
                    // Nobody is left to tell if the connection is gone.
                    let _ = self.replies.send(come).await;
                    continue;
                }
                _ => {
                    let what = "something else instead of a request";
                    return Err(io::Error::new(io::ErrorKind::InvalidData, what));
                }
            }
            let held = self.budget.take(header.len).await;
            let body = frame::read_body(stream, header.len).await?;
            let running = turn.as_ref().map(Turn::enter).transpose()?;
            self.begin(header.id, body, (held, running));
        }
        Ok(())
    }

    /// `held` is let go when the request has ended.
    fn begin(&self, id: u64, body: Bytes, held: impl Send + 'static) {
        let (limit, replies) = (self.limits.frame, Some(self.replies.clone()));
        let mut answer = Answer { id, body: None, limit, replies };
        let (handler, from) = (Arc::clone(&self.handler), self.from);
        tokio::spawn(async move {
            answer.body = Some(handler(from, body).await);
            answer.send().await;
            drop(held);
        });
    }
}

async fn write_replies<S: AsyncWrite>(
    write: WriteHalf<S>,
    mut waiting: mpsc::Receiver<Frame>,
) -> io::Result<()> {
    let mut stream = BufWriter::with_capacity(16 << 10, write);
    while let Some(frame) = waiting.recv().await {
        frame::write(&mut stream, &frame).await?;
        if waiting.is_empty() {
            stream.flush().await?;
        }
    }
    stream.shutdown().await
}

/// The reply of one request. Dropped unsent, because the handler panicked, it says so.
struct Answer {
    id: u64,
    body: Option<Bytes>,
    limit: usize,
    replies: Option<mpsc::Sender<Frame>>,
}

impl Answer {
    fn frame(&mut self) -> Frame {
        let fits = self.body.take().filter(|body| body.len() <= self.limit);
        let kind = if fits.is_some() { Kind::Reply } else { Kind::Failed };
        Frame { id: self.id, kind, body: fits.unwrap_or_default() }
    }

    async fn send(mut self) {
        let frame = self.frame();
        if let Some(replies) = self.replies.take() {
            // Nobody is left to tell if the connection is gone.
            let _ = replies.send(frame).await;
        }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        let Some(replies) = self.replies.take() else { return };
        self.body = None;
        let frame = self.frame();
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                let _ = replies.send(frame).await;
            });
        }
    }
}

/// What the requests in work may be, in number and bytes.
struct Budget {
    requests: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
    units: usize,
}

impl Budget {
    fn new(limits: RpcLimits) -> Self {
        // The widest request must fit, or it would wait for ever.
        let units = limits.bytes_in_flight.max(limits.frame).div_ceil(UNIT).min(u32::MAX as usize);
        Self {
            requests: Arc::new(Semaphore::new(limits.in_flight.max(1))),
            bytes: Arc::new(Semaphore::new(units)),
            units,
        }
    }

    async fn take(&self, len: usize) -> (Option<OwnedSemaphorePermit>, Option<OwnedSemaphorePermit>) {
        let units = u32::try_from(len.div_ceil(UNIT).min(self.units)).unwrap_or(u32::MAX);
        // Neither is ever closed.
        let request = Arc::clone(&self.requests).acquire_owned().await.ok();
        (request, Arc::clone(&self.bytes).acquire_many_owned(units).await.ok())
    }
}

//! The asking end.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::io::{AsyncWriteExt, BufReader, BufWriter, ReadHalf, WriteHalf};
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;

use super::RpcLimits;
use super::frame::{self, Frame, Kind};
use crate::config::NodeId;
use crate::peer::{DialError, PeerNet, PeerStream};
use crate::tls::Alpn;

/// Requests that wait for the writer of a connection.
const QUEUE: usize = 64;

/// A request got no reply.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RpcError {
    /// There is no connection. The request was not sent.
    #[error("{0}")]
    Dial(#[from] Arc<DialError>),
    /// The connection broke before the other end was ready for requests. This one was not sent.
    #[error("the connection to {to} broke before its turn came: {cause}")]
    NoTurn {
        /// The member.
        to: String,
        /// What happened.
        cause: String,
    },
    /// The connection broke. Whether the request was carried out is unknown.
    #[error("the connection to {to} broke: {cause}")]
    Broken {
        /// The member.
        to: String,
        /// What happened.
        cause: String,
    },
    /// The other end gave up on this request; the connection goes on. Whether it was carried out is unknown.
    #[error("{to} failed on the request; its log says why")]
    Failed {
        /// The member.
        to: String,
    },
    /// No reply in time. Whether the request was carried out is unknown.
    #[error("no reply from {to} within {} ms", after.as_millis())]
    Timeout {
        /// The member.
        to: String,
        /// How long we waited.
        after: Duration,
    },
    /// The request is over the limit. It was not sent.
    #[error("a request of {len} bytes is over the limit of {limit}")]
    TooLarge {
        /// Bytes of the request.
        len: usize,
        /// [`RpcLimits::frame`].
        limit: usize,
    },
}

impl RpcError {
    /// Whether the request certainly was not carried out.
    pub fn not_sent(&self) -> bool {
        matches!(self, Self::Dial(_) | Self::NoTurn { .. } | Self::TooLarge { .. })
    }
}

/// Asks one member. Cheap to clone; clones share the connection, whose tasks run on the runtime
/// of the call that dialled.
#[derive(Clone)]
pub struct RpcClient {
    inner: Arc<Inner>,
}

struct Inner {
    net: PeerNet,
    to: NodeId,
    name: String,
    protocol: Alpn,
    limits: RpcLimits,
    in_turn: bool,
    next_id: AtomicU64,
    link: tokio::sync::Mutex<Link>,
    /// The current connection again, for those who must not wait for a dial in progress.
    current: Mutex<Option<Arc<Connection>>>,
}

/// The connection, or the last failure to make one.
#[derive(Default)]
struct Link {
    connection: Option<Arc<Connection>>,
    failed: Option<(Instant, Arc<DialError>)>,
}

impl RpcClient {
    /// A client that has not dialled yet.
    pub fn new(net: PeerNet, to: NodeId, protocol: Alpn, limits: RpcLimits) -> Self {
        Self::with(net, to, protocol, limits, false)
    }

    /// A client whose connections do not overlap at the other end: what was sent on one that broke or
    /// was [`reset`](Self::reset) is ended there, or will be refused, before the first call on the next
    /// one begins. One a member, protocol and process; the other end serves with [`Turns`](super::Turns).
    pub fn in_turn(net: PeerNet, to: NodeId, protocol: Alpn, limits: RpcLimits) -> Self {
        Self::with(net, to, protocol, limits, true)
    }

    fn with(net: PeerNet, to: NodeId, protocol: Alpn, limits: RpcLimits, in_turn: bool) -> Self {
        let name = net.members().find(|m| m.id == to).map_or_else(|| to.to_string(), |m| m.name.clone());
        let (link, current) = Default::default();
        let next_id = AtomicU64::new(1);
        Self { inner: Arc::new(Inner { net, to, name, protocol, limits, in_turn, next_id, link, current }) }
    }

    /// The member that it asks.
    pub fn to(&self) -> NodeId {
        self.inner.to
    }

    /// Sends `body`, returns the reply. Cancel-safe: dropped, the request may or may not be carried
    /// out, and the connection goes on.
    ///
    /// # Errors
    /// [`RpcError`]; [`RpcError::not_sent`] says whether a repetition is harmless.
    pub async fn call(&self, body: Bytes) -> Result<Bytes, RpcError> {
        let (len, limit) = (body.len(), self.inner.limits.frame);
        if len > limit {
            return Err(RpcError::TooLarge { len, limit });
        }
        let connection = self.connection().await?;
        let id = self.inner.next_id.fetch_add(1, Ordering::Relaxed);
        let mut reply = connection.pending.expect(id).map_err(|cause| self.broken(cause))?;
        let _forget = Forget { pending: &connection.pending, id };
        let request = Frame { id, kind: Kind::Request, body };
        // A full queue must not hold up the news that the connection broke. A closed one means
        // that the writer has ended, and then it has failed what is pending.
        let outcome = tokio::select! {
            biased;
            early = &mut reply => early,
            _ = connection.queue.send(request) => reply.await,
        };
        match outcome {
            Ok(Some(body)) => Ok(body),
            Ok(None) => Err(RpcError::Failed { to: self.inner.name.clone() }),
            Err(_) => Err(self.broken(connection.pending.cause())),
        }
    }

    /// [`RpcClient::call`] with an end, dialling included.
    ///
    /// # Errors
    /// As [`RpcClient::call`], and [`RpcError::Timeout`].
    pub async fn call_within(&self, body: Bytes, after: Duration) -> Result<Bytes, RpcError> {
        let late = |_| RpcError::Timeout { to: self.inner.name.clone(), after };
        tokio::time::timeout(after, self.call(body)).await.map_err(late)?
    }

    /// Ends the current connection: all pending calls fail now, the next call dials. For those who
    /// learn sooner than TCP that the member is gone or fenced.
    pub fn reset(&self, cause: &str) {
        let current = self.inner.current.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(connection) = current {
            connection.pending.fail(cause);
        }
    }

    /// The connection that there is, or a new one. Those who wait together share one dial's failure.
    async fn connection(&self) -> Result<Arc<Connection>, RpcError> {
        let began = Instant::now();
        let mut link = self.inner.link.lock().await;
        if let Some(open) = link.connection.as_ref().filter(|c| c.pending.is_open()) {
            return Ok(Arc::clone(open));
        }
        if let Some((_, error)) = link.failed.as_ref().filter(|(at, _)| *at > began) {
            return Err(Arc::clone(error).into());
        }
        link.connection = None;
        let dialled = self.inner.net.dial(self.inner.to, self.inner.protocol).await;
        let mut stream = dialled.map_err(|error| {
            let error = Arc::new(error);
            link.failed = Some((Instant::now(), Arc::clone(&error)));
            error
        })?;
        if self.inner.in_turn {
            let no_turn =
                |e: io::Error| RpcError::NoTurn { to: self.inner.name.clone(), cause: e.to_string() };
            take_turn(&mut stream).await.map_err(no_turn)?;
        }
        let connection = Arc::new(Connection::start(stream, self.inner.limits));
        link.connection = Some(Arc::clone(&connection));
        *self.inner.current.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&connection));
        Ok(connection)
    }

    fn broken(&self, cause: String) -> RpcError {
        RpcError::Broken { to: self.inner.name.clone(), cause }
    }
}

/// Returns when all that was begun on the connections before has ended at the other end. Takes as long
/// as that takes: whoever can't wait drops the call.
async fn take_turn(stream: &mut PeerStream) -> io::Result<()> {
    frame::write(stream, &Frame { id: 0, kind: Kind::Turn, body: Bytes::new() }).await?;
    stream.flush().await?;
    match frame::read_header(stream, 0).await? {
        Some(header) if header.kind == Kind::Turn => Ok(()),
        Some(_) => Err(io::Error::new(io::ErrorKind::InvalidData, "something else came")),
        None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// One connection: a reader and a writer that end together.
struct Connection {
    pending: Arc<Pending>,
    queue: mpsc::Sender<Frame>,
    tasks: [AbortHandle; 2],
}

impl Connection {
    fn start(stream: PeerStream, limits: RpcLimits) -> Self {
        let (read, write) = tokio::io::split(stream);
        let (queue, waiting) = mpsc::channel(QUEUE);
        let pending = Arc::new(Pending::default());
        let reader = tokio::spawn(read_replies(read, Arc::clone(&pending), limits.frame));
        let writer = tokio::spawn(write_requests(write, waiting, Arc::clone(&pending)));
        Self { pending, queue, tasks: [reader.abort_handle(), writer.abort_handle()] }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

async fn read_replies(read: ReadHalf<PeerStream>, pending: Arc<Pending>, limit: usize) {
    // Also when this task is aborted, or its runtime ends.
    let guard = FailOnDrop(Arc::clone(&pending));
    let mut stream = BufReader::with_capacity(16 << 10, read);
    let outcome: io::Result<()> = async {
        while let Some(header) = frame::read_header(&mut stream, limit).await? {
            let body = frame::read_body(&mut stream, header.len).await?;
            match header.kind {
                Kind::Reply => pending.resolve(header.id, Some(body)),
                Kind::Failed => pending.resolve(header.id, None),
                Kind::Request | Kind::Turn => {
                    let what = "something else instead of a reply";
                    return Err(io::Error::new(io::ErrorKind::InvalidData, what));
                }
            }
        }
        Ok(())
    }
    .await;
    pending.fail(&outcome.map_or_else(|e| e.to_string(), |()| "it closed the connection".into()));
    drop(guard);
}

async fn write_requests(
    write: WriteHalf<PeerStream>,
    mut waiting: mpsc::Receiver<Frame>,
    pending: Arc<Pending>,
) {
    let guard = FailOnDrop(Arc::clone(&pending));
    let mut stream = BufWriter::with_capacity(16 << 10, write);
    let mut ended = pending.ended();
    let outcome: io::Result<()> = async {
        loop {
            let next = tokio::select! {
                next = waiting.recv() => next,
                _ = ended.wait_for(|ended| *ended) => None,
            };
            let Some(frame) = next else { return Ok(()) };
            frame::write(&mut stream, &frame).await?;
            if waiting.is_empty() {
                stream.flush().await?;
            }
        }
    }
    .await;
    if let Err(error) = outcome {
        pending.fail(&error.to_string());
    }
    drop(guard);
}

/// Who waits for which reply. Once it has failed, it stays failed.
struct Pending {
    state: Mutex<State>,
    ended: tokio::sync::watch::Sender<bool>,
}

enum State {
    Open(HashMap<u64, oneshot::Sender<Option<Bytes>>>),
    Failed(String),
}

impl Default for Pending {
    fn default() -> Self {
        Self { state: Mutex::new(State::Open(HashMap::new())), ended: tokio::sync::watch::Sender::new(false) }
    }
}

impl Pending {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_open(&self) -> bool {
        matches!(*self.lock(), State::Open(_))
    }

    /// The end of the reply to `id`, or why there will be none.
    fn expect(&self, id: u64) -> Result<oneshot::Receiver<Option<Bytes>>, String> {
        match &mut *self.lock() {
            State::Open(waiting) => {
                let (tx, rx) = oneshot::channel();
                waiting.insert(id, tx);
                Ok(rx)
            }
            State::Failed(cause) => Err(cause.clone()),
        }
    }

    fn resolve(&self, id: u64, body: Option<Bytes>) {
        let waiter = match &mut *self.lock() {
            State::Open(waiting) => waiting.remove(&id),
            State::Failed(_) => None,
        };
        // Nobody waits any more if the call was dropped.
        if let Some(waiter) = waiter {
            let _ = waiter.send(body);
        }
    }

    fn forget(&self, id: u64) {
        if let State::Open(waiting) = &mut *self.lock() {
            waiting.remove(&id);
        }
    }

    fn fail(&self, cause: &str) {
        let mut state = self.lock();
        if matches!(*state, State::Open(_)) {
            *state = State::Failed(cause.to_owned());
            self.ended.send_replace(true);
        }
    }

    fn cause(&self) -> String {
        match &*self.lock() {
            State::Open(_) => "the reply was dropped".into(),
            State::Failed(cause) => cause.clone(),
        }
    }

    fn ended(&self) -> tokio::sync::watch::Receiver<bool> {
        self.ended.subscribe()
    }
}

struct FailOnDrop(Arc<Pending>);

impl Drop for FailOnDrop {
    fn drop(&mut self) {
        self.0.fail("its task was stopped");
    }
}

struct Forget<'a> {
    pending: &'a Pending,
    id: u64,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.pending.forget(self.id);
    }
}

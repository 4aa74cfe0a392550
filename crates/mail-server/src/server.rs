//! Accepting connections: limits, TLS, graceful end. The sessions live in their own modules.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::store::{Base, Directory, MailStore};

/// A byte stream that a session runs on: TCP, TLS, or a pipe in tests.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Stream for T {}

/// A boxed [`Stream`]; sessions swap it at STARTTLS.
pub type BoxedStream = Box<dyn Stream>;

/// Limits of all services.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Connections at once on one listener; further ones get a greeting that refuses them.
    pub connections: usize,
    /// Bytes of one message (SIZE, APPENDLIMIT).
    pub message_bytes: u64,
    /// Recipients of one message.
    pub recipients: usize,
    /// Bytes of messages held in memory at once, over all sessions; beyond it deliveries are
    /// deferred (452), so it should hold some messages of the largest size.
    pub memory_bytes: usize,
    /// Bad commands (and refused recipients) of one session; then it is ended.
    pub errors: u32,
    /// Commands of one SMTP session; then it is ended.
    pub commands: u32,
    /// How long a wrong password is answered late; the fifth ends the session.
    pub login_failure_delay: Duration,
    /// How long a client may be silent before it has logged in.
    pub idle_before_login: Duration,
    /// How long an SMTP client may be silent (RFC 5321 §4.5.3.2 asks for 5 minutes).
    pub idle_smtp: Duration,
    /// How long a POP3 client may be silent (RFC 1939 §3 asks for 10 minutes).
    pub idle_pop3: Duration,
    /// How long an IMAP client may be silent (RFC 3501 §5.4 asks for 30 minutes).
    pub idle_imap: Duration,
    /// How long a shutdown waits for commands in progress before it cuts the connections.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1024,
            message_bytes: 50 << 20,
            recipients: 1000,
            memory_bytes: 256 << 20,
            errors: 50,
            commands: 100_000,
            login_failure_delay: Duration::from_secs(2),
            idle_before_login: Duration::from_secs(60),
            idle_smtp: Duration::from_secs(300),
            idle_pop3: Duration::from_secs(600),
            idle_imap: Duration::from_secs(1800),
            drain: Duration::from_secs(5),
        }
    }
}

/// A bound on bytes held in memory, shared by all sessions.
#[derive(Debug, Clone)]
pub struct Budget(Arc<Semaphore>);

/// Bytes taken from a [`Budget`]; given back when dropped.
#[derive(Debug, Default)]
pub struct Reserved(Option<OwnedSemaphorePermit>);

/// The budget's unit in bytes: one semaphore permit.
const BUDGET_UNIT: usize = 4096;

impl Budget {
    /// A budget of `bytes`.
    pub fn new(bytes: usize) -> Self {
        Self(Arc::new(Semaphore::new((bytes / BUDGET_UNIT).min(Semaphore::MAX_PERMITS))))
    }

    /// Adds `bytes` to what `held` holds; `false` (and nothing taken) if there are not so many.
    pub fn take(&self, held: &mut Reserved, bytes: usize) -> bool {
        let Ok(units) = u32::try_from(bytes.div_ceil(BUDGET_UNIT)) else { return false };
        let Ok(more) = Arc::clone(&self.0).try_acquire_many_owned(units) else { return false };
        match &mut held.0 {
            Some(permit) => permit.merge(more),
            none => *none = Some(more),
        }
        true
    }
}

/// Tells sessions that they should end at their next command boundary.
#[derive(Debug, Clone)]
pub struct Shutdown(watch::Receiver<bool>);

impl Shutdown {
    /// A sender that begins the shutdown by `send(true)`, and its receiver.
    pub fn channel() -> (watch::Sender<bool>, Self) {
        let (tx, rx) = watch::channel(false);
        (tx, Self(rx))
    }

    /// Whether it has begun.
    pub fn begun(&self) -> bool {
        *self.0.borrow()
    }

    /// Returns when it begins (also when the sender is gone). Cancel-safe.
    pub async fn wait(&mut self) {
        let _ = self.0.wait_for(|begun| *begun).await;
    }
}

/// What all sessions of a node share.
#[derive(Clone)]
pub struct Context {
    /// The name in greetings and trace headers.
    pub hostname: Arc<str>,
    /// The mail.
    pub store: Arc<dyn MailStore>,
    /// The users.
    pub directory: Arc<dyn Directory>,
    /// TLS, for STARTTLS/STLS and the implicit ports; without it neither is offered.
    pub tls: Option<TlsAcceptor>,
    /// Whether passwords may cross a connection without TLS (only for tests and loopback).
    pub plaintext_login: bool,
    /// The limits.
    pub limits: Arc<Limits>,
    /// Memory for messages in flight.
    pub budget: Budget,
    /// Ends sessions.
    pub shutdown: Shutdown,
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context").field("hostname", &self.hostname).finish_non_exhaustive()
    }
}

/// A service that a listener offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Service {
    /// SMTP from other servers: local recipients only.
    Smtp,
    /// LMTP (RFC 2033).
    Lmtp,
    /// Message submission (RFC 6409): after login. Local recipients only, until there is a queue.
    Submission,
    /// IMAP4rev1.
    Imap,
    /// POP3.
    Pop3,
}

/// One connection as its session sees it.
#[derive(Debug, Clone)]
pub struct Peer {
    /// The client.
    pub addr: SocketAddr,
    /// The address the client connected to.
    pub local: IpAddr,
    /// Whether the connection is encrypted from its start.
    pub tls: bool,
}

/// How many sessions a listener has, and had.
#[derive(Debug, Default)]
pub struct Count {
    open: AtomicU64,
    total: AtomicU64,
}

impl Count {
    /// Sessions now.
    pub fn open(&self) -> u64 {
        self.open.load(Ordering::Relaxed)
    }

    /// Sessions since the start.
    pub fn total(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }
}

/// Counts one session from its start to its end, however it ends.
struct Counted(Arc<Count>);

impl Counted {
    fn begin(count: &Arc<Count>) -> Self {
        count.open.fetch_add(1, Ordering::Relaxed);
        count.total.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(count))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Accepts connections on `listener` and runs a session for each, until the shutdown; then lets
/// commands in progress end (at most [`Limits::drain`]) and returns. The listener is closed first.
pub async fn serve(listener: TcpListener, service: Service, implicit_tls: bool, context: Context) {
    let (closed, _) = tokio::sync::oneshot::channel();
    serve_counted(listener, service, implicit_tls, context, Arc::default(), closed).await;
}

/// [`serve`] that counts its sessions, and tells by `closed` when the listener is closed: sessions may
/// then still be ending, but somebody else can bind the address.
pub async fn serve_counted(
    listener: TcpListener,
    service: Service,
    implicit_tls: bool,
    context: Context,
    count: Arc<Count>,
    closed: tokio::sync::oneshot::Sender<()>,
) {
    let gate = Arc::new(Semaphore::new(context.limits.connections));
    let mut sessions = JoinSet::new();
    let mut shutdown = context.shutdown.clone();
    loop {
        let accepted = tokio::select! {
            biased;
            () = shutdown.wait() => break,
            Some(_) = sessions.join_next(), if !sessions.is_empty() => continue,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, addr)) => {
                let permit = Arc::clone(&gate).try_acquire_owned().ok();
                let session = connection(stream, addr, service, implicit_tls, context.clone(), permit);
                let counted = Counted::begin(&count);
                sessions.spawn(async move {
                    session.await;
                    drop(counted);
                });
            }
            Err(error) => {
                // EMFILE and the like: the connection stays in the backlog; let others end first.
                tracing::warn!(%error, ?service, "accept failed");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    drop(listener);
    let _ = closed.send(());
    let _ =
        tokio::time::timeout(context.limits.drain, async { while sessions.join_next().await.is_some() {} })
            .await;
}

async fn connection(
    stream: TcpStream,
    addr: SocketAddr,
    service: Service,
    implicit_tls: bool,
    context: Context,
    permit: Option<OwnedSemaphorePermit>,
) {
    let _ = stream.set_nodelay(true);
    let local = stream.local_addr().map_or(addr.ip(), |a| a.ip());
    let peer = Peer { addr, local, tls: implicit_tls };
    let busy = permit.is_none();
    let stream: BoxedStream = match (&context.tls, implicit_tls) {
        (Some(tls), true) => {
            match tokio::time::timeout(context.limits.idle_before_login, tls.accept(stream)).await {
                Ok(Ok(stream)) => Box::new(stream),
                Ok(Err(error)) => {
                    tracing::debug!(%addr, %error, "TLS handshake failed");
                    return;
                }
                Err(_) => return,
            }
        }
        _ => Box::new(stream),
    };
    session(stream, peer, service, context, busy).await;
    drop(permit);
}

/// Runs one session on a stream (a listener does it by itself; tests and embedders call this).
/// With `busy` it only refuses, politely.
pub async fn session(stream: BoxedStream, peer: Peer, service: Service, context: Context, busy: bool) {
    let ended = match service {
        Service::Smtp | Service::Lmtp | Service::Submission => {
            crate::smtp::run(stream, &peer, service, &context, busy).await
        }
        Service::Imap => crate::imap::run(stream, &peer, &context, busy).await,
        Service::Pop3 => crate::pop3::run(stream, &peer, &context, busy).await,
    };
    if let Err(error) = ended {
        tracing::debug!(client = %peer.addr, ?service, %error, "session ended");
    }
}

/// A new base name: `secs.MmicrosPpid.Rrandom.host`, unique for ever (64 random bits).
pub fn base_name(hostname: &str) -> Base {
    static LAST: AtomicU64 = AtomicU64::new(0);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let now = u64::try_from(now.as_micros()).unwrap_or(u64::MAX / 2);
    // Strictly monotonic within the process, also when the clock stalls or steps back.
    let last = LAST.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| Some(now.max(last + 1)));
    let tick = last.map_or(now, |last| now.max(last + 1));
    let host: String =
        hostname.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-')).take(40).collect();
    let name = format!(
        "{}.M{:06}P{}R{:016x}.{host}",
        tick / 1_000_000,
        tick % 1_000_000,
        std::process::id(),
        rand::random::<u64>()
    );
    Base::parse(&name).unwrap_or_else(|_| unreachable!("made of allowed characters, at most 100 bytes"))
}

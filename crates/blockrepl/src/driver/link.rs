//! Links over any byte stream.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::task::JoinHandle;

use super::incoming::Incoming;
use super::outbox::Outbox;
use super::shared::Shared;
use super::within::Within;
use crate::core::{Input, LinkId};
use crate::ids::NodeId;
use crate::wire::{Decoder, HEADER_LEN, Hello, Message, Refusal, WireError};

/// The largest hello.
const HELLO_MAX: u32 = 1024;
/// How long the other side may take to say hello.
pub(crate) const HELLO_WAIT: Duration = Duration::from_secs(5);
const TICK: Duration = Duration::from_millis(100);

/// Why a link did not come up, or ended. The volume is unharmed; connect again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
    /// The connection broke.
    #[error("the link broke: {0}")]
    Io(#[from] std::io::Error),
    /// The other side sent what no replica sends.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// The other side refused us.
    #[error("the peer refused: {0}")]
    Refused(Refusal),
    /// Something else than a hello came first.
    #[error("the peer did not begin with a hello")]
    NoHello,
    /// Another node answered than the one dialled.
    #[error("node {found} answered where node {expected} was expected: check its address")]
    WrongPeer {
        /// The one dialled.
        expected: NodeId,
        /// The one that answered.
        found: NodeId,
    },
    /// No hello came, or ours was not taken, for five seconds.
    #[error("the peer exchanged no hello within {} s", HELLO_WAIT.as_secs())]
    Timeout,
    /// The other side reads less than it asks for: more than `Config::unsent_bytes_max` is waiting for it.
    #[error("the peer does not read: more than {limit} bytes wait for it")]
    Unread {
        /// The limit in bytes.
        limit: u64,
    },
    /// The other side begins otherwise than this one is set up for: with or without a secret, with one path or
    /// several. Set both up alike.
    #[error("the peer begins otherwise than this side: the two differ in their secret or their paths")]
    OtherSetup,
    /// The other side did not prove that it knows our secret.
    #[error("the peer did not prove that it knows the secret: give both machines the same one")]
    Unauthenticated,
    /// Closed in good order by the other side.
    #[error("the peer closed the link")]
    ClosedByPeer,
    /// Closed by this side: the volume was closed or fenced, or the link was replaced.
    #[error("this side closed the link")]
    Closed,
}

impl Hello {
    /// Reads the hello that a dialling replica sends first, so that a listener can tell which
    /// volume the link is for. Reads not one byte more. Then call
    /// [`Volume::accept`](crate::Volume::accept), or [`Hello::refuse`].
    pub async fn read<R: AsyncRead + Unpin>(io: &mut R) -> Result<Hello, LinkError> {
        let read = tokio::time::timeout(HELLO_WAIT, read_one(io));
        match read.await.map_err(|_| LinkError::Timeout)?? {
            Message::Hello(hello) => Ok(hello),
            Message::Refused(why) => Err(LinkError::Refused(why)),
            Message::Opening(_) => Err(LinkError::OtherSetup),
            _ => Err(LinkError::NoHello),
        }
    }

    /// Sends a refusal; the caller then drops the stream.
    pub async fn refuse<W: AsyncWrite + Unpin>(io: &mut W, why: Refusal) -> Result<(), LinkError> {
        write_one(io, &Message::Refused(why)).await
    }
}

/// One message before a link is up.
pub(crate) async fn read_one<R: AsyncRead + Unpin>(io: &mut R) -> Result<Message, LinkError> {
    let mut decoder = Decoder::new(HELLO_MAX);
    let mut need = HEADER_LEN;
    loop {
        let mut bytes = vec![0; need];
        io.read_exact(&mut bytes).await?;
        if decoder.buffer().is_empty() {
            let len = u32::from_le_bytes(bytes[4..8].try_into().expect("a header has a length"));
            need = len.min(HELLO_MAX) as usize;
        }
        decoder.buffer().extend_from_slice(&bytes);
        if let Some(message) = decoder.next()? {
            return Ok(message);
        }
    }
}

pub(crate) async fn write_one<W: AsyncWrite + Unpin>(io: &mut W, message: &Message) -> Result<(), LinkError> {
    let mut out = BytesMut::new();
    message.encode(&mut out);
    io.write_all(&out).await?;
    io.flush().await?;
    Ok(())
}

/// A link that is up. Dropping it leaves the link as it is.
#[derive(Debug)]
pub struct Link {
    peer: NodeId,
    task: JoinHandle<LinkError>,
}

impl Link {
    /// Who is on the other side.
    pub fn peer(&self) -> NodeId {
        self.peer
    }

    /// Waits until the link has ended, and says why. A dialler then connects again.
    pub async fn ended(self) -> LinkError {
        self.task.await.unwrap_or(LinkError::Closed)
    }

    /// Cuts the link.
    pub fn cut(&self) {
        self.task.abort();
    }
}

/// Says hello, expects one from `peer`, and runs the link.
pub(super) async fn dial<IO>(shared: Arc<Shared>, peer: NodeId, mut io: IO) -> Result<Link, LinkError>
where
    IO: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    say_hello(&shared, &mut io).await?;
    let hello = Hello::read(&mut io).await?;
    if hello.node != peer {
        return Err(LinkError::WrongPeer { expected: peer, found: hello.node });
    }
    start(shared, hello, io)
}

/// Answers a hello that was read, and runs the link.
pub(super) async fn accept<IO>(shared: Arc<Shared>, hello: Hello, mut io: IO) -> Result<Link, LinkError>
where
    IO: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    say_hello(&shared, &mut io).await?;
    start(shared, hello, io)
}

/// One who does not listen keeps nobody waiting.
async fn say_hello<W: AsyncWrite + Unpin>(shared: &Shared, io: &mut W) -> Result<(), LinkError> {
    let ours = Message::Hello(shared.state().core.hello());
    tokio::time::timeout(HELLO_WAIT, write_one(io, &ours)).await.map_err(|_| LinkError::Timeout)?
}

fn start<IO>(shared: Arc<Shared>, hello: Hello, io: IO) -> Result<Link, LinkError>
where
    IO: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let peer = hello.node;
    let (read, write) = tokio::io::split(Within::current(io));
    let outbox = Outbox::new(Box::new(write), shared.unsent_limit);
    let link = shared.state().add_link(outbox.clone()).ok_or(LinkError::Closed)?;
    // The guard tells the core that the link is gone, also when the task is aborted.
    let incoming = Incoming::new(&shared, link, read);
    let guard = Guard { shared: shared.clone(), link, outbox, incoming };
    shared.input(Input::LinkUp { link, hello });
    let task = tokio::spawn(run(guard));
    Ok(Link { peer, task })
}

async fn run(guard: Guard) -> LinkError {
    let mut reading = std::pin::pin!(std::future::poll_fn(|cx| guard.incoming.poll(&guard.shared, cx)));
    let mut writing = std::pin::pin!(write_loop(&guard));
    let why = tokio::select! {
        why = &mut reading => why,
        why = &mut writing => return unless_refused(why, reading).await,
        why = tick(&guard) => why,
    };
    if matches!(why, LinkError::Wire(_)) {
        // Say why before hanging up, if the other side still listens.
        guard.shared.reject(guard.link);
        drop(tokio::time::timeout(TICK, writing).await);
    }
    why
}

/// When a write fails because the other side hung up, it may have said why before.
async fn unless_refused(why: LinkError, reading: impl Future<Output = LinkError>) -> LinkError {
    if !matches!(why, LinkError::Io(_)) {
        return why;
    }
    match tokio::time::timeout(TICK, reading).await {
        Ok(refused @ LinkError::Refused(_)) => refused,
        _ => why,
    }
}

struct Guard {
    shared: Arc<Shared>,
    link: LinkId,
    outbox: Arc<Outbox>,
    incoming: Arc<Incoming>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.shared.state().drop_link(self.link);
        self.outbox.abandon();
        self.incoming.close();
        self.shared.input(Input::LinkDown { link: self.link });
    }
}

/// Ends once the core has closed this link and the refusal, if any, was sent.
async fn write_loop(guard: &Guard) -> LinkError {
    match std::future::poll_fn(|cx| guard.outbox.poll(cx)).await {
        Ok(()) => LinkError::Closed,
        Err(_) if guard.outbox.is_overfull() => LinkError::Unread { limit: guard.shared.unsent_limit },
        Err(e) => LinkError::Io(e),
    }
}

async fn tick(guard: &Guard) -> LinkError {
    loop {
        tokio::time::sleep(TICK).await;
        guard.shared.tick();
    }
}

//! Accepting other members.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::server::Acceptor;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};
use tokio_rustls::{LazyConfigAcceptor, StartHandshake};

use super::{PeerNet, PeerStream, STRANGER, WELCOME, tune};
use crate::config::NodeId;
use crate::error::Error;
use crate::tls::Alpn;

/// Handshakes at once: whoever has no certificate of ours can hold no more than these.
const HANDSHAKES_MAX: usize = 64;

type Handler = Arc<dyn Fn(NodeId, PeerStream) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

/// Who takes the accepted streams.
#[derive(Clone, Default)]
pub struct Handlers {
    by_alpn: HashMap<Alpn, (Handle, Handler)>,
}

impl Handlers {
    /// Nobody yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Streams of `protocol` go to `handler`, handshake included on `runtime`. A later one replaces it.
    #[must_use]
    pub fn on<F, Fut>(mut self, protocol: Alpn, runtime: Handle, handler: F) -> Self
    where
        F: Fn(NodeId, PeerStream) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let boxed: Handler = Arc::new(move |from, stream| Box::pin(handler(from, stream)));
        self.by_alpn.insert(protocol, (runtime, boxed));
        self
    }
}

/// A bound port for the other members, which do not get an answer before [`PeerListener::serve`].
pub struct PeerListener {
    net: PeerNet,
    tcp: TcpListener,
}

impl PeerNet {
    /// Binds `address`.
    ///
    /// # Errors
    /// [`Error::Failed`] names the address and the cause, such as a port in use.
    pub async fn listen(&self, address: SocketAddr) -> Result<PeerListener, Error> {
        let failed = |e| Error::failed(format!("cannot listen for members on {address}: {e}"));
        let tcp = TcpListener::bind(address).await.map_err(failed)?;
        Ok(PeerListener { net: self.clone(), tcp })
    }
}

impl PeerListener {
    /// The bound address.
    ///
    /// # Errors
    /// What the system says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }

    /// Accepts until dropped. Handlers that run go on.
    ///
    /// # Errors
    /// Only at once, when the certificates cannot be used.
    pub async fn serve(self, handlers: Handlers) -> Result<(), Error> {
        let spoken: Vec<Alpn> = Alpn::ALL.into_iter().filter(|a| handlers.by_alpn.contains_key(a)).collect();
        let config = self.net.inner.tls.server(&spoken).map_err(Error::failed)?;
        let door = Arc::new(Door { net: self.net, config, handlers });
        let slots = Arc::new(Semaphore::new(HANDSHAKES_MAX));
        loop {
            let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return Ok(()) };
            match self.tcp.accept().await {
                Ok((tcp, from)) => drop(tokio::spawn(Arc::clone(&door).greet(tcp, from, slot))),
                Err(error) => {
                    // Out of descriptors, or a connection that died in the queue.
                    tracing::warn!(%error, "cannot accept a member's connection");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }
}

/// Why an incoming connection was not let in.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("the handshake failed: {0}")]
    Handshake(#[from] io::Error),
    #[error("the handshake took too long")]
    Late(#[from] tokio::time::error::Elapsed),
    #[error("{0}")]
    Stranger(#[from] crate::tls::Stranger),
    #[error("it shows our own certificate")]
    Myself,
}

struct Door {
    net: PeerNet,
    config: Arc<ServerConfig>,
    handlers: Handlers,
}

impl Door {
    /// Reads the first message, which says the protocol, then moves to the runtime of its handler.
    async fn greet(self: Arc<Self>, tcp: TcpStream, from: SocketAddr, slot: OwnedSemaphorePermit) {
        let timing = self.net.inner.timing;
        let deadline = Instant::now() + timing.handshake;
        let hello = async {
            tune(&tcp, timing.dead_after)?;
            LazyConfigAcceptor::new(Acceptor::default(), tcp).await
        };
        let start = match timeout_at(deadline, hello).await {
            Ok(Ok(start)) => start,
            Ok(Err(error)) => return refuse(from, &error.into()),
            Err(late) => return refuse(from, &late.into()),
        };
        let wanted = start.client_hello().alpn().and_then(|mut names| names.find_map(Alpn::parse));
        let entry = wanted.and_then(|alpn| self.handlers.by_alpn.get(&alpn)).cloned();
        let (runtime, handler) = entry.map_or((Handle::current(), None), |(r, h)| (r, Some(h)));
        runtime.spawn(async move {
            let admitted = timeout_at(deadline, self.admit(start)).await.map_err(Refusal::from);
            drop(slot);
            match (admitted.and_then(|inner| inner), handler) {
                (Ok((peer, stream)), Some(handler)) => handler(peer, stream).await,
                // Without a handler the handshake fails for want of a common protocol.
                (Ok(_), None) => {}
                (Err(refusal), _) => refuse(from, &refusal),
            }
        });
    }

    /// Finishes the handshake here and finds out who it is.
    async fn admit(&self, start: StartHandshake<TcpStream>) -> Result<(NodeId, PeerStream), Refusal> {
        // The socket belongs to the runtime that accepted it; it moves to this one.
        let tcp = TcpStream::from_std(start.io.into_std()?)?;
        let handshake = StartHandshake::from_parts(start.accepted, tcp).into_stream(Arc::clone(&self.config));
        let mut stream = handshake.await?;
        let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
        let identity = self.net.inner.tls.identify(chain, self.net.inner.members.keys().copied());
        match identity {
            Ok(peer) if peer == self.net.inner.me => Err(Refusal::Myself),
            Ok(peer) => {
                stream.write_u8(WELCOME).await?;
                stream.flush().await?;
                Ok((peer, stream.into()))
            }
            Err(stranger) => {
                stream.write_u8(STRANGER).await?;
                stream.shutdown().await?;
                Err(stranger.into())
            }
        }
    }
}

fn refuse(from: SocketAddr, why: &Refusal) {
    // A port scan, or a connection that the dialler gave up, is no event.
    match why {
        Refusal::Handshake(e) if e.kind() != io::ErrorKind::InvalidData => {
            tracing::debug!(%from, %why, "refused a member's connection")
        }
        _ => tracing::warn!(%from, %why, "refused a member's connection"),
    }
}

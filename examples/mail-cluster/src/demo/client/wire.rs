//! A connection that reads lines and counted bytes, in the clear or under TLS.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::{ClientError, Patience};

/// The longest line of an answer. FETCH answers hold their long parts in literals.
const LINE_BYTES_MAX: usize = 1 << 20;

/// How a connection is secured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Security {
    /// Not at all.
    Plain,
    /// STARTTLS or STLS after the greeting.
    StartTls,
    /// TLS from the first byte.
    Tls,
}

/// Where to connect and how.
#[derive(Clone)]
pub struct Target {
    /// Address and port.
    pub address: SocketAddr,
    /// In the clear or not.
    pub security: Security,
    /// Whom to trust, for TLS.
    pub trust: Arc<ClientConfig>,
    /// How long to wait.
    pub patience: Patience,
}

/// A TLS configuration that trusts the certificates of a PEM file and nobody else.
pub fn trust(ca_pem: &[u8]) -> Result<Arc<ClientConfig>, String> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(ca_pem) {
        let certificate = certificate.map_err(|e| format!("the CA file is not PEM: {e}"))?;
        roots.add(certificate).map_err(|e| format!("the CA certificate is not usable: {e}"))?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| format!("TLS: {e}"))?;
    Ok(Arc::new(config.with_root_certificates(roots).with_no_client_auth()))
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// One connection.
pub(super) struct Wire {
    stream: Option<Box<dyn Stream>>,
    buffer: Vec<u8>,
    start: usize,
    target: Target,
}

impl Wire {
    /// Connects, and makes the TLS handshake if the target wants it at once.
    pub(super) async fn connect(target: &Target) -> Result<Self, ClientError> {
        let fail = |source| ClientError::Connect { target: target.address, source };
        let connecting = async {
            let tcp = TcpStream::connect(target.address).await?;
            tcp.set_nodelay(true)?;
            let mut wire =
                Self { stream: Some(Box::new(tcp)), buffer: Vec::new(), start: 0, target: target.clone() };
            if target.security == Security::Tls {
                wire.secure().await?;
            }
            Ok(wire)
        };
        limit(target.patience.connect, connecting).await.map_err(fail)
    }

    /// Turns the connection into a TLS one.
    pub(super) async fn secure(&mut self) -> io::Result<()> {
        if self.start < self.buffer.len() {
            return Err(io::Error::other("the server sent text before the TLS handshake"));
        }
        let plain = self.stream.take().ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected))?;
        let name = ServerName::from(self.target.address.ip());
        let connector = TlsConnector::from(Arc::clone(&self.target.trust));
        self.stream = Some(Box::new(connector.connect(name, plain).await?));
        Ok(())
    }

    /// Whether the target asks for STARTTLS or STLS.
    pub(super) fn wants_start_tls(&self) -> bool {
        self.target.security == Security::StartTls
    }

    /// How long an answer may take.
    pub(super) fn command_wait(&self) -> Duration {
        self.target.patience.command
    }

    fn stream(&mut self) -> io::Result<&mut Box<dyn Stream>> {
        self.stream.as_mut().ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected))
    }

    /// Sends everything. An error here is not final: an answer may already be on its way.
    pub(super) async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let wait = self.target.patience.command;
        let stream = self.stream()?;
        limit(wait, async {
            stream.write_all(bytes).await?;
            stream.flush().await
        })
        .await
    }

    /// The next line without its CRLF.
    pub(super) async fn line(&mut self) -> io::Result<Vec<u8>> {
        self.line_within(self.target.patience.command).await
    }

    /// The next line without its CRLF, if it comes within `wait`.
    pub(super) async fn line_within(&mut self, wait: Duration) -> io::Result<Vec<u8>> {
        limit(wait, async {
            let mut searched = 0;
            loop {
                let pending = &self.buffer[self.start..];
                if let Some(at) = pending[searched..].iter().position(|&byte| byte == b'\n') {
                    let end = searched + at;
                    let line = pending[..end].strip_suffix(b"\r").unwrap_or(&pending[..end]).to_vec();
                    self.start += end + 1;
                    return Ok(line);
                }
                searched = pending.len();
                if searched > LINE_BYTES_MAX {
                    return Err(io::Error::other("a line of the answer is too long"));
                }
                self.fill().await?;
            }
        })
        .await
    }

    /// The next `count` bytes.
    pub(super) async fn exactly(&mut self, count: usize) -> io::Result<Vec<u8>> {
        limit(self.target.patience.command, async {
            while self.buffer.len() - self.start < count {
                self.fill().await?;
            }
            let bytes = self.buffer[self.start..self.start + count].to_vec();
            self.start += count;
            Ok(bytes)
        })
        .await
    }

    /// Whether the server has said or done something that nobody asked for: a line that waits, or
    /// the end of the connection.
    pub(super) async fn has_news(&mut self) -> bool {
        if self.start < self.buffer.len() {
            return true;
        }
        let Some(stream) = self.stream.as_mut() else { return true };
        let mut room = [0; 512];
        let mut room = ReadBuf::new(&mut room);
        let polled = std::future::poll_fn(|context| {
            Poll::Ready(Pin::new(&mut *stream).poll_read(context, &mut room).is_ready())
        })
        .await;
        self.buffer.extend_from_slice(room.filled());
        polled
    }

    async fn fill(&mut self) -> io::Result<()> {
        if self.start > 0 {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        self.buffer.reserve(64 * 1024);
        let stream = self.stream.as_mut().ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected))?;
        match stream.read_buf(&mut self.buffer).await? {
            0 => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the server closed the connection")),
            _ => Ok(()),
        }
    }
}

async fn limit<T>(wait: Duration, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    tokio::time::timeout(wait, work).await.unwrap_or_else(|_| {
        Err(io::Error::new(io::ErrorKind::TimedOut, format!("nothing came within {wait:?}")))
    })
}

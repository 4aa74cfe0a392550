//! A session's end of the connection: buffered output, reads with a deadline, TLS in mid-stream.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsAcceptor;

use crate::server::{BoxedStream, Shutdown};

/// Output beyond this is sent before more is made.
const OUT_HIGH: usize = 32 * 1024;

/// How long a client has to close its side after we closed ours.
const LINGER: Duration = Duration::from_secs(1);

/// The connection.
pub(crate) struct Wire {
    stream: BoxedStream,
    /// What is to be sent; [`Wire::read`] sends it before it waits.
    pub(crate) out: Vec<u8>,
    /// How long the client may take to accept what is sent.
    write_within: Duration,
}

/// What a read came back with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Input {
    /// So many octets.
    Octets(usize),
    /// The client closed its side.
    End,
    /// The deadline passed.
    Silent,
    /// The service shuts down, and nothing came before that.
    Shutdown,
}

impl Wire {
    pub(crate) fn new(stream: BoxedStream, write_within: Duration) -> Self {
        Self { stream, out: Vec::new(), write_within }
    }

    /// Sends what is to be sent, then waits for input, the deadline, or (where one is given) the shutdown.
    pub(crate) async fn read(
        &mut self,
        buffer: &mut [u8],
        deadline: Instant,
        shutdown: Option<&mut Shutdown>,
    ) -> io::Result<Input> {
        self.flush().await?;
        let ending = async {
            match shutdown {
                Some(shutdown) => shutdown.wait().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = ending => Ok(Input::Shutdown),
            read = timeout_at(deadline, self.stream.read(buffer)) => match read {
                Ok(Ok(0)) => Ok(Input::End),
                Ok(Ok(len)) => Ok(Input::Octets(len)),
                Ok(Err(error)) => Err(error),
                Err(_) => Ok(Input::Silent),
            },
        }
    }

    /// Sends what is to be sent.
    pub(crate) async fn flush(&mut self) -> io::Result<()> {
        if self.out.is_empty() {
            return Ok(());
        }
        let send = async {
            self.stream.write_all(&self.out).await?;
            self.stream.flush().await
        };
        timeout(self.write_within, send).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        self.out.clear();
        self.out.shrink_to(OUT_HIGH);
        Ok(())
    }

    /// Sends what is to be sent, then `octets`, from where they lie. The deadline holds for each piece.
    pub(crate) async fn send(&mut self, octets: &[u8]) -> io::Result<()> {
        self.flush().await?;
        for piece in octets.chunks(OUT_HIGH) {
            let sent = timeout(self.write_within, self.stream.write_all(piece)).await;
            sent.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        }
        Ok(())
    }

    /// [`Wire::flush`] once much has gathered: keeps long answers from filling the memory.
    pub(crate) async fn flush_if_much(&mut self) -> io::Result<()> {
        if self.out.len() >= OUT_HIGH { self.flush().await } else { Ok(()) }
    }

    /// Sends the rest and closes our side, TLS's close_notify included; then reads on for a moment, since to close
    /// with input unread makes the kernel send a reset, and the client may never see our last words.
    pub(crate) async fn close(mut self) -> io::Result<()> {
        self.flush().await?;
        let closed = timeout(self.write_within, self.stream.shutdown()).await;
        closed.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        let mut sink = vec![0; 4096];
        let linger = async { while matches!(self.stream.read(&mut sink).await, Ok(1..)) {} };
        let _ = timeout(LINGER, linger).await;
        Ok(())
    }

    /// Sends the rest in the clear, then speaks TLS.
    pub(crate) async fn start_tls(mut self, acceptor: &TlsAcceptor) -> io::Result<Self> {
        self.flush().await?;
        let stream = timeout(self.write_within, acceptor.accept(self.stream))
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        Ok(Self { stream: Box::new(stream), out: self.out, write_within: self.write_within })
    }
}

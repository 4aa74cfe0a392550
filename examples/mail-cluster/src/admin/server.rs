//! The member's end of the operator's socket.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::OwnedWriteHalf;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;

use super::{AdminReply, AdminRequest, AnswerLine, REQUEST_MAX, Refusal, RequestLine, VERSION};
use crate::error::Error;

/// Operators at once.
const CONNECTIONS_MAX: usize = 32;
/// How long a request line may take.
const REQUEST_TIME: Duration = Duration::from_secs(10);

/// Answers operators.
#[async_trait]
pub trait AdminHandler: Send + Sync + 'static {
    /// Does what `request` asks. Runs to its end even if the operator goes away.
    async fn handle(&self, request: AdminRequest, progress: Progress) -> AdminReply;
}

/// Tells the operator how a long request goes. Lines that nobody reads are dropped.
#[derive(Debug, Clone)]
pub struct Progress(mpsc::Sender<String>);

impl Progress {
    /// Shows a line.
    pub fn say(&self, text: impl Into<String>) {
        let _ = self.0.try_send(text.into());
    }
}

/// A bound socket, not answering yet. The file is removed when this is dropped.
#[derive(Debug)]
pub struct AdminSocket {
    listener: UnixListener,
    path: PathBuf,
}

impl AdminSocket {
    /// Makes the socket at `path`, for its owner only. One left by a member that died is replaced.
    ///
    /// # Errors
    /// [`Error::Failed`] when a member is running there already, or the directory cannot be written.
    pub async fn bind(path: &Path) -> Result<Self, Error> {
        let failed = |e: io::Error| Error::file("make the socket", path, e);
        match UnixStream::connect(path).await {
            Ok(_) => {
                return Err(Error::failed(format!("{}: another posthaste is running here", path.display())));
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => {
                std::fs::remove_file(path).map_err(failed)?
            }
            Err(e) => return Err(failed(e)),
        }
        // Nobody may connect between bind and chmod: it gets its name when it is closed to others.
        let staged = path.with_extension("new");
        match std::fs::remove_file(&staged) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(failed(e)),
            _ => {}
        }
        let listener = UnixListener::bind(&staged).map_err(failed)?;
        std::fs::set_permissions(&staged, std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
        std::fs::rename(&staged, path).map_err(failed)?;
        Ok(Self { listener, path: path.to_owned() })
    }

    /// Answers until dropped.
    pub async fn serve(self, handler: Arc<dyn AdminHandler>) {
        let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    let handler = Arc::clone(&handler);
                    tokio::spawn(async move {
                        if let Err(error) = answer(stream, handler).await {
                            tracing::debug!(%error, "an operator went away");
                        }
                        drop(slot);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept an operator");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }
}

impl Drop for AdminSocket {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

async fn answer(stream: UnixStream, handler: Arc<dyn AdminHandler>) -> io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut line = String::new();
    let mut read = BufReader::new(read.take(REQUEST_MAX));
    timeout(REQUEST_TIME, read.read_line(&mut line)).await??;
    let request = match parse(&line) {
        Ok(request) => request,
        Err(text) => {
            return send(&mut write, &AnswerLine::Reply(AdminReply::refused(Refusal::BadRequest, text)))
                .await;
        }
    };
    tracing::debug!(?request, "an operator asks");
    let (tx, mut lines) = mpsc::channel(64);
    let work = tokio::spawn(async move { handler.handle(request, Progress(tx)).await });
    while let Some(text) = lines.recv().await {
        send(&mut write, &AnswerLine::Progress(text)).await?;
    }
    let reply = work
        .await
        .unwrap_or_else(|e| AdminReply::refused(Refusal::Failed, format!("the member failed on it: {e}")));
    send(&mut write, &AnswerLine::Reply(reply)).await
}

/// The version first: a newer request may have another shape.
fn parse(line: &str) -> Result<AdminRequest, String> {
    #[derive(Deserialize)]
    struct Versioned {
        version: u32,
    }
    let bad = |e: serde_json::Error| format!("the request is no JSON line that this member knows: {e}");
    let Versioned { version } = serde_json::from_str(line).map_err(bad)?;
    if version > VERSION {
        return Err(format!(
            "the request has version {version}; this member knows up to {VERSION}: update it"
        ));
    }
    Ok(serde_json::from_str::<RequestLine>(line).map_err(bad)?.request)
}

async fn send(stream: &mut OwnedWriteHalf, line: &AnswerLine) -> io::Result<()> {
    let mut bytes = serde_json::to_vec(line)?;
    bytes.push(b'\n');
    stream.write_all(&bytes).await
}

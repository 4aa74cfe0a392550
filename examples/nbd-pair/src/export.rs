//! The NBD listeners.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use posthaste_blockrepl::nbd::{Ended, Server};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::config::Listen;

/// Answers of a device that ended may take this long to reach the clients.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// What new clients are served, and whether TLS must come first.
#[derive(Clone)]
struct Service {
    server: Arc<Mutex<Server>>,
    tls: Option<TlsAcceptor>,
}

impl Service {
    fn server(&self) -> Server {
        self.server.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Listeners and connections. Dropping it ends them all.
pub(crate) struct Serving {
    server: Arc<Mutex<Server>>,
    tasks: JoinSet<()>,
    sockets: Vec<PathBuf>,
    open: Option<watch::Sender<()>>,
}

impl Serving {
    /// Listens wherever it should, or nowhere. With `tls`, clients by TCP must begin it.
    pub(crate) async fn start(
        server: Server,
        places: &[Listen],
        tls: Option<TlsAcceptor>,
    ) -> Result<Self, String> {
        let (open, opened) = watch::channel(());
        let server = Arc::new(Mutex::new(server));
        let mut serving =
            Serving { server: server.clone(), tasks: JoinSet::new(), sockets: Vec::new(), open: Some(open) };
        for place in places {
            let tls = tls.clone().filter(|_| matches!(place, Listen::Tcp(_)));
            serving
                .listen(Service { server: server.clone(), tls }, opened.clone(), place)
                .await
                .map_err(|e| format!("listening at {place:?}: {e}"))?;
        }
        Ok(serving)
    }

    /// The clients of now are hung up on a moment later, so that they hear why.
    pub(crate) fn hang_up(&self) {
        if let Some(open) = &self.open {
            open.send_replace(());
        }
    }

    /// New clients are served this; the others keep what they have.
    pub(crate) fn change(&self, server: Server) {
        *self.server.lock().unwrap_or_else(PoisonError::into_inner) = server;
    }

    /// Ends a moment later, so that clients hear why.
    pub(crate) fn end(mut self) {
        self.close();
        tokio::spawn(async move {
            tokio::time::sleep(LAST_WORDS).await;
            drop(self);
        });
    }

    /// Takes no new clients from now on, and leaves the addresses to others.
    fn close(&mut self) {
        self.open = None;
        self.sockets.drain(..).for_each(|path| drop(std::fs::remove_file(path)));
    }

    async fn listen(
        &mut self,
        service: Service,
        open: watch::Receiver<()>,
        place: &Listen,
    ) -> io::Result<()> {
        match place {
            Listen::Tcp(address) => {
                let listener = TcpListener::bind(address).await?;
                self.tasks.spawn(accept(service, open, async move || {
                    let (io, from) = listener.accept().await?;
                    io.set_nodelay(true)?;
                    Ok((io, from.to_string()))
                }));
            }
            Listen::Unix(path) => {
                // What lies there is a former leadership's: this process holds the volume's lock.
                drop(std::fs::remove_file(path));
                let listener = UnixListener::bind(path)?;
                self.sockets.push(path.clone());
                self.tasks.spawn(accept(service, open, async move || {
                    Ok((listener.accept().await?.0, "a local client".to_owned()))
                }));
            }
        }
        Ok(())
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.close();
    }
}

async fn accept<IO>(
    service: Service,
    mut open: watch::Receiver<()>,
    mut next: impl AsyncFnMut() -> io::Result<(IO, String)>,
) where
    IO: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let mut clients = JoinSet::new();
    let mut leaving = JoinSet::new();
    loop {
        while leaving.try_join_next().is_some() {}
        while clients.try_join_next().is_some() {}
        let next = tokio::select! {
            next = next() => next,
            signal = open.changed() => match signal {
                Ok(()) => {
                    let mut ending = std::mem::take(&mut clients);
                    leaving.spawn(async move {
                        tokio::time::sleep(LAST_WORDS).await;
                        ending.abort_all();
                    });
                    continue;
                }
                Err(_) => break,
            },
        };
        match next {
            Ok((io, from)) => drop(clients.spawn(serve(service.clone(), io, from))),
            // No descriptors left, or a client that went away at once.
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
    // The listener goes, the clients stay.
    drop(next);
    while clients.join_next().await.is_some() {}
}

async fn serve<IO>(service: Service, io: IO, from: String)
where
    IO: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let server = service.server();
    let ended = match service.tls {
        Some(tls) => server.serve_tls(io, true, |io| tls.accept(io)).await,
        None => server.serve(io).await,
    };
    match ended {
        Ok(()) => {}
        Err(Ended::Io(e)) if e.kind() == io::ErrorKind::UnexpectedEof => {}
        Err(why) => eprintln!("nbd-pair: {from}: {why}"),
    }
}

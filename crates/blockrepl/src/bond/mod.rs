//! One link over several paths: two network cards, a cable between the two machines and the switch.
//!
//! A [`Bond`] is a byte stream to one peer, and so a link as any other, for [`Volume::attach`](crate::Volume::attach) and
//! [`Volume::accept`](crate::Volume::accept). Below it are as many connections as there are paths, all of them up all the time. The one with
//! the lowest rank carries the stream; when it breaks, or nothing comes on it for [`BondConfig::silence`],
//! the next one does, at once, from where the peer says that it has come. So the loss of a path
//! is no loss of the link: no resync, no writer taken out, nothing written twice. A path that has come back is preferred again
//! once it has lasted for [`BondConfig::settle`], without a break.
//!
//! ```
//! use std::sync::Mutex;
//! use posthaste_blockrepl::bond::{Acceptor, Bond, BondConfig, Stream};
//! use posthaste_blockrepl::{ClusterId, DeviceId, Identity, LinkError, NodeId, VolumeId};
//! use tokio::io::{AsyncReadExt, AsyncWriteExt};
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), LinkError> {
//! let identity = |n: u8| {
//!     let (cluster, volume) = (ClusterId([7; 16]), VolumeId([8; 16]));
//!     Identity { cluster, volume, device: DeviceId([n; 16]), node: NodeId(n.into()) }
//! };
//! // Two paths; here pipes, with their other ends taken from a list.
//! let (ours, theirs): (Vec<_>, Vec<_>) = (0..2).map(|_| tokio::io::duplex(1 << 16)).unzip();
//! let ours = Mutex::new(ours.into_iter().map(Some).collect::<Vec<_>>());
//! let us = identity(1);
//! let dial = Bond::dial(&us, NodeId(2), BondConfig::default(), 2, move |rank| {
//!     let io = ours.lock().unwrap()[rank].take();
//!     async move { io.map(|io| Box::new(io) as Box<dyn Stream>).ok_or(LinkError::Closed) }
//! });
//! let acceptor = Acceptor::new(&identity(2), [NodeId(1)], 2, BondConfig::default());
//! let accept = async {
//!     let mut bond = None;
//!     for io in theirs {
//!         bond = acceptor.accept(io).await?.or(bond); // the first path brings the bond, others join it
//!     }
//!     Ok::<_, LinkError>(bond.expect("a bond"))
//! };
//! let (dialled, accepted) = tokio::join!(dial, accept);
//! let (mut dialled, mut accepted) = (dialled?, accepted?);
//! dialled.write_all(b"over one of them").await?;
//! let mut seen = [0; 16];
//! accepted.read_exact(&mut seen).await?;
//! assert_eq!(&seen, b"over one of them");
//! # Ok(())
//! # }
//! ```
//!
//! A path on which only long segments get lost is found too, for nothing else comes behind them; one that only loses some is
//! left to TCP. All paths of a bond are dialled from the same side. Whether the two sides are who they say is not a matter of the bond:
//! give it streams that were authenticated, by TLS or a `Secret`, path by path. The figures are drawn in `docs/format.md`.

mod accept;
mod bundle;
mod dial;
mod io;
mod metrics;
mod segment;
#[cfg(test)]
mod tests;

use std::io::IoSlice;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::broadcast;

pub use accept::Acceptor;
pub use metrics::BondMetrics;

use crate::ids::NodeId;
use bundle::Limits;
use io::Shared;

/// The most paths of one bond.
pub const PATHS_MAX: usize = 8;

/// What a path may be.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// The times of a bond. Both sides should have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BondConfig {
    /// Something is sent on each path at least so often. Short enough for a few of them within `silence`.
    pub keepalive: Duration,
    /// A path on which nothing comes for so long is lost. A machine that is busy for longer than that loses its paths
    /// and gets them back, which costs some bytes sent again.
    pub silence: Duration,
    /// A path that came back is preferred to one of a higher rank after so long; twice as long each time that it was lost
    /// while it carried the stream, up to 32 times.
    pub settle: Duration,
    /// The link ends when there has been no path for so long.
    pub give_up: Duration,
    /// How long to wait before a lost path is dialled again. After eight failures in a row twice as long each time, up to 32 times.
    pub redial: Duration,
    /// How long one attempt may take.
    pub connect_wait: Duration,
    /// Bytes that may be under way: what the other side has not said to have is kept. More than a path's speed times its delay.
    pub window_bytes: u64,
}

impl Default for BondConfig {
    fn default() -> Self {
        BondConfig {
            keepalive: Duration::from_millis(100),
            silence: Duration::from_millis(500),
            settle: Duration::from_secs(2),
            give_up: Duration::from_millis(1500),
            redial: Duration::from_millis(100),
            connect_wait: Duration::from_secs(2),
            window_bytes: 8 << 20,
        }
    }
}

impl BondConfig {
    fn tick(&self) -> Duration {
        self.keepalive.max(Duration::from_millis(1))
    }

    /// The times in ticks, each at least one; silence at least two.
    fn limits(&self) -> Limits {
        let tick = self.tick().as_millis();
        let ticks = |time: Duration| time.as_millis().div_ceil(tick).clamp(1, u32::MAX.into()) as u32;
        Limits {
            silence: ticks(self.silence).max(2),
            settle: ticks(self.settle),
            give_up: ticks(self.give_up),
            window: self.window_bytes.max(1),
        }
    }
}

/// What happens to the paths of a bond.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PathEvent {
    /// A path is up: a spare, until it carries the stream.
    Up {
        /// Which one.
        rank: usize,
    },
    /// A path is lost. It is dialled again.
    Down {
        /// Which one.
        rank: usize,
        /// How.
        why: PathLoss,
    },
    /// What this side sends goes on this path from now on.
    Carries {
        /// Which one.
        rank: usize,
    },
    /// A path that this side dials does not come up. It is tried again; told when it is for another reason than before.
    Failed {
        /// Which one.
        rank: usize,
        /// What went wrong, and what to do.
        why: String,
    },
}

/// How a path was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PathLoss {
    /// Nothing came on it for too long.
    Silent,
    /// Its connection broke.
    Broke(std::io::ErrorKind),
    /// A newer connection took its place.
    Replaced,
}

/// One path as this side sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PathStatus {
    /// Which one; 0 is preferred.
    pub rank: usize,
    /// Whether it is up.
    pub up: bool,
    /// Whether this side sends on it.
    pub carries: bool,
    /// Bytes of the stream sent on it, again or not.
    pub sent_bytes: u64,
    /// Bytes of the stream that came on it first.
    pub received_bytes: u64,
    /// How often it was lost.
    pub losses: u64,
}

/// A stream to one peer over several paths. Dropped, it closes them.
#[derive(Debug)]
pub struct Bond {
    shared: Arc<Shared>,
    peer: NodeId,
}

impl Bond {
    fn start(shared: Arc<Shared>, peer: NodeId, config: &BondConfig) -> Self {
        tokio::spawn(shared.clone().keep(config.tick()));
        Bond { shared, peer }
    }

    /// Who is on the other side, as it says.
    pub fn peer(&self) -> NodeId {
        self.peer
    }

    /// What to look at its paths with when a link has taken it.
    pub fn monitor(&self) -> Monitor {
        Monitor { shared: self.shared.clone() }
    }
}

impl Drop for Bond {
    fn drop(&mut self) {
        self.shared.close();
    }
}

/// A look at a bond's paths.
#[derive(Clone, Debug)]
pub struct Monitor {
    shared: Arc<Shared>,
}

impl Monitor {
    /// The paths, by rank.
    pub fn status(&self) -> Vec<PathStatus> {
        self.shared.status()
    }

    /// Why the path of a rank does not come up, as it was when it was last dialled from here.
    pub fn failure(&self, rank: usize) -> Option<String> {
        self.shared.failure(rank)
    }

    /// What happens from now on.
    pub fn events(&self) -> broadcast::Receiver<PathEvent> {
        self.shared.events.subscribe()
    }

    /// Whether the bond has ended.
    pub fn is_over(&self) -> bool {
        self.shared.over().is_some()
    }

    /// What is counted.
    pub fn metrics(&self) -> BondMetrics {
        let (moves, resent_bytes) = self.shared.moves();
        BondMetrics { moves, resent_bytes, paths: self.status() }
    }
}

impl AsyncRead for Bond {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        self.shared.poll_read(cx, buf)
    }
}

impl AsyncWrite for Bond {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<std::io::Result<usize>> {
        self.shared.poll_write(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        self.shared.poll_write(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        self.shared.poll_flush(cx, false)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        self.shared.poll_flush(cx, true)
    }
}

fn random() -> std::io::Result<[u8; 16]> {
    let mut bytes = [0; 16];
    let got = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    // Zeros mean that there is no name yet.
    bytes[0] |= 1;
    if got == bytes.len() { Ok(bytes) } else { Err(std::io::ErrorKind::UnexpectedEof.into()) }
}

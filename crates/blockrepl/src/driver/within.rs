//! A stream that is polled, and dropped, within its tokio runtime whichever thread does it.
//!
//! Disk threads read links, and threads of the owner write to them; a stream may use timers or spawn tasks.

use std::io::{IoSlice, Result};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::runtime::Handle;

pub(super) struct Within<IO> {
    /// There until it is dropped.
    io: Option<IO>,
    runtime: Handle,
}

impl<IO: Unpin> Within<IO> {
    /// The runtime of the caller.
    pub(super) fn current(io: IO) -> Self {
        Within { io: Some(io), runtime: Handle::current() }
    }

    fn with<R>(self: Pin<&mut Self>, poll: impl FnOnce(Pin<&mut IO>) -> R) -> R {
        let Within { io, runtime } = self.get_mut();
        let _within = runtime.enter();
        poll(Pin::new(io.as_mut().expect("it is there until it is dropped")))
    }
}

impl<IO> Drop for Within<IO> {
    fn drop(&mut self) {
        let _within = self.runtime.enter();
        self.io = None;
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Within<IO> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        self.with(|io| io.poll_read(cx, buf))
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Within<IO> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<Result<usize>> {
        self.with(|io| io.poll_write(cx, buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        self.with(|io| io.poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        self.io.as_ref().is_some_and(AsyncWrite::is_write_vectored)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.with(|io| io.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.with(|io| io.poll_shutdown(cx))
    }
}

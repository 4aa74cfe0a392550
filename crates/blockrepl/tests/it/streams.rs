//! Any byte stream is a link: also one that needs its runtime whenever it is touched.

use std::io::Result;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use posthaste_blockrepl::Hello;
use posthaste_blockrepl::core::LinkStatus;
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::runtime::Handle;
use tokio::task::spawn_blocking;

use crate::driver::{content, create, until};
use crate::harness::{SIZE, grant};

/// Each poll begins a timer, as a stream with a time-out does; dropped, it says good-bye in a task.
struct Timed(DuplexStream);

fn timer() {
    drop(tokio::time::sleep(Duration::from_secs(1)));
}

impl AsyncRead for Timed {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        timer();
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Timed {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<Result<usize>> {
        timer();
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        timer();
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        timer();
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

impl Drop for Timed {
    fn drop(&mut self) {
        drop(Handle::current().spawn(async {}));
    }
}

/// Panics once when a thread of a disk reads it.
struct Panics(DuplexStream);

impl AsyncRead for Panics {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        assert!(std::thread::current().name() != Some("repl-data"), "a fault of the stream");
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Panics {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_panics_ends_its_link_and_not_the_disk() {
    let dir = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let (a, b) = (create(&dir, 0), create(&dir, 1));
    a.raise_epoch(1).await.unwrap();
    let device = a.lead(grant(1, 0, &[0], 1)).await.unwrap();
    let synced = || a.status().peers.first().is_some_and(|p| p.link == LinkStatus::Synced);
    for panics in [true, false] {
        let (ours, mut theirs) = tokio::io::duplex(1 << 16);
        let accepted = async {
            let hello = Hello::read(&mut theirs).await.unwrap();
            match panics {
                true => b.accept(hello, Panics(theirs)).await.unwrap(),
                false => b.accept(hello, theirs).await.unwrap(),
            }
        };
        let (dialled, accepted) = tokio::join!(a.attach(b.status().identity.node, ours), accepted);
        dialled.unwrap();
        until("sync", synced).await;
        let device = device.clone();
        // Long messages are read by the thread of the disk.
        let write = move || {
            (0..SIZE >> 20).try_for_each(|n| device.write_at(n << 20, &vec![n as u8 + 1; 1 << 20]))?;
            device.flush()
        };
        let written = tokio::time::timeout(Duration::from_secs(20), spawn_blocking(write)).await;
        written.expect("it is not stuck").unwrap().unwrap();
        if panics {
            let ended = tokio::time::timeout(Duration::from_secs(20), accepted.ended()).await;
            ended.expect("the link ends");
            until("the link's end", || !synced()).await;
        }
    }
    assert!(content(&dir, 1) == content(&dir, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_may_use_timers_and_tasks_whoever_reads_and_writes_it() {
    let dir = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let (a, b) = (create(&dir, 0), create(&dir, 1));
    a.raise_epoch(1).await.unwrap();
    let device = a.lead(grant(1, 0, &[0, 1], 1)).await.unwrap();
    let (ours, theirs) = tokio::io::duplex(1 << 16);
    let (ours, mut theirs) = (Timed(ours), Timed(theirs));
    let accepted = async {
        let hello = Hello::read(&mut theirs).await.unwrap();
        b.accept(hello, theirs).await.unwrap()
    };
    let (dialled, accepted) = tokio::join!(a.attach(b.status().identity.node, ours), accepted);
    let links = (dialled.unwrap(), accepted);
    until("sync", || a.status().peers.first().is_some_and(|p| p.link == LinkStatus::Synced)).await;
    // Long messages: at the other end the thread of the disk reads them. Here they are written by a thread without a runtime.
    let writer = std::thread::spawn(move || {
        (0..SIZE >> 20).try_for_each(|n| device.write_at(n << 20, &vec![n as u8 + 1; 1 << 20]))?;
        device.flush()
    });
    let written = spawn_blocking(move || writer.join());
    let written = tokio::time::timeout(Duration::from_secs(20), written).await.expect("it is not stuck");
    written.unwrap().expect("no thread panicked").unwrap();
    assert!(content(&dir, 1) == content(&dir, 0));
    links.0.cut();
    until("the link's end", || a.status().peers.first().is_none_or(|p| p.link != LinkStatus::Synced)).await;
}

//! Carrying the agents' messages between members: small frames, lost rather than late.

use std::time::Duration;

use posthaste_heartbeat::NodeId;
use posthaste_heartbeat::agent::Input;
use posthaste_heartbeat::message::{MESSAGE_BYTES_MAX, Message};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::quorum::AgentHandle;
use crate::peer::{DialError, PeerNet, PeerStream};
use crate::tls::Alpn;

/// Pause before a peer that can't be reached is dialled again.
const REDIAL: Duration = Duration::from_millis(100);
/// A dial or a write that takes longer is given up: the message is stale by then.
const PATIENCE: Duration = Duration::from_millis(400);

/// Sends what comes through the queue to one peer, for ever. What waits while there is no link is dropped.
pub(crate) async fn send(net: PeerNet, to: NodeId, mut queue: mpsc::Receiver<Message>) {
    let mut reachable = true;
    while !queue.is_closed() {
        match timeout(PATIENCE, net.dial(to, Alpn::Beat)).await {
            Ok(Ok(stream)) => {
                tracing::debug!(peer = to.0, "heartbeat link up");
                reachable = true;
                drain(&mut queue);
                relay(stream, &mut queue).await;
            }
            Ok(Err(error)) if reachable || error.is_misconfigured() => {
                reachable = false;
                tracing::info!(peer = to.0, %error, "cannot reach a member");
            }
            _ => {}
        }
        tokio::time::sleep(REDIAL).await;
    }
}

fn drain(queue: &mut mpsc::Receiver<Message>) {
    while queue.try_recv().is_ok() {}
}

/// Writes messages until the link breaks or the queue ends.
async fn relay(stream: PeerStream, queue: &mut mpsc::Receiver<Message>) {
    let (mut read, mut write) = tokio::io::split(stream);
    let mut byte = [0];
    loop {
        tokio::select! {
            message = queue.recv() => {
                let Some(message) = message else { return };
                let written = timeout(PATIENCE, async {
                    write.write_all(&frame(&message)).await?;
                    write.flush().await
                });
                if !matches!(written.await, Ok(Ok(()))) {
                    return;
                }
            }
            // The peer never writes here: this is the end of the link.
            _ = read.read(&mut byte) => return,
        }
    }
}

fn frame(message: &Message) -> Vec<u8> {
    let body = message.encode();
    let mut frame = Vec::with_capacity(2 + body.len());
    // A message is at most 16 KiB.
    frame.extend_from_slice(&(body.len() as u16).to_be_bytes());
    frame.extend_from_slice(&body);
    frame
}

/// Takes a peer's messages in, until the link breaks; then, if hints are wanted, finds out whether its
/// process is gone: a host that refuses a connection has nobody there.
pub(crate) async fn listen(net: PeerNet, hints: bool, from: NodeId, stream: PeerStream, agent: AgentHandle) {
    receive(from, stream, agent.clone()).await;
    if !hints {
        return;
    }
    if let Ok(Err(DialError::Connect { cause, .. })) = timeout(PATIENCE, net.dial(from, Alpn::Beat)).await
        && cause.kind() == std::io::ErrorKind::ConnectionRefused
    {
        tracing::info!(peer = from.0, "a member's process is gone");
        agent.tell(Input::Gone { node: from });
    }
}

/// Takes a peer's messages in, until the link breaks.
async fn receive(from: NodeId, mut stream: PeerStream, agent: AgentHandle) {
    let mut body = Vec::with_capacity(256);
    loop {
        let Ok(length) = stream.read_u16().await else { return };
        if usize::from(length) > MESSAGE_BYTES_MAX {
            tracing::warn!(peer = from.0, length, "a heartbeat is too long; closing the link");
            return;
        }
        body.resize(usize::from(length), 0);
        if stream.read_exact(&mut body).await.is_err() {
            return;
        }
        match Message::decode(&body) {
            Ok(message) => agent.tell(Input::Message { from, message }),
            Err(error) => tracing::warn!(peer = from.0, %error, "a heartbeat was dropped"),
        }
    }
}

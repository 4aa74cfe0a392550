//! The service's session.
use crate::server::{BoxedStream, Context, Peer};

/// Runs a session to its end; with `busy` it only refuses.
pub async fn run(_stream: BoxedStream, _peer: &Peer, _context: &Context, _busy: bool) -> std::io::Result<()> {
    Ok(())
}

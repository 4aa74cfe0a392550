//! Requests and replies over one connection between members: many at once, in any order.
//!
//! A frame is a length (u32, big-endian, of what follows), a request id (u64), a kind (u8) and a body.
//! [`RpcClient`] dials when it is first used and again after a broken connection; it never repeats
//! a request by itself: whoever asks knows whether that is safe (R12). [`serve_rpc`] is the other end.
//! With [`RpcClient::in_turn`] and [`Turns`], what was sent on a connection that is given up is
//! ended or refused before anything on the next one begins.

mod client;
mod frame;
mod server;
mod turns;

pub use client::{RpcClient, RpcError};
pub use server::serve_rpc;
pub use turns::Turns;

/// Bounds of both ends.
#[derive(Debug, Clone, Copy)]
pub struct RpcLimits {
    /// Bytes of one request or reply. A longer one ends the connection.
    pub frame: usize,
    /// Requests that one connection may have in work; more wait in the network.
    pub in_flight: usize,
    /// Bytes of requests that one connection may have in work; at least `frame`.
    pub bytes_in_flight: usize,
}

impl Default for RpcLimits {
    fn default() -> Self {
        Self { frame: 64 << 20, in_flight: 256, bytes_in_flight: 256 << 20 }
    }
}

//! What replicas say to each other, and its framing. Drawn in bytes in `docs/format.md`.
//!
//! The framing does no I/O: [`Decoder`] takes bytes in any split and gives [`Message`]s.
mod digest;
mod frame;
mod hello;
mod message;
mod opening;
mod payload;
mod refusal;
mod writers;

pub use digest::Digest;
pub(crate) use frame::Partial;
pub use frame::{Decoder, HEADER_LEN, WireError};
pub use hello::Hello;
pub use message::Message;
pub use opening::Opening;
pub use refusal::Refusal;
pub(crate) use writers::LEASES_MAX;
pub use writers::WriterMessage;

/// The version of the wire protocol; a peer of another version is refused.
pub const WIRE_VERSION: u8 = 3;
/// Runs of dirty granules in one message.
pub(crate) const RUNS_MAX: usize = 65_536;

//! Behaviour of the crate as its users see it.

mod allocations;
mod bombs;
mod commands;
mod examples;
mod framing;
mod laws;
mod quirks;
mod responses;
#[cfg(feature = "serde")]
mod with_serde;

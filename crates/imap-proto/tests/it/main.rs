//! Behaviour of the crate as its users see it.

mod bombs;
mod commands;
mod framing;
mod laws;
mod responses;

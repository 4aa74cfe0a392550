#![forbid(unsafe_code)]
//! The SASL mechanisms that mail clients use, for both sides, without I/O, clock or random source.
//!
//! ```
//! use posthaste_sasl::{Client, Credentials, Mechanism, Nonce, ScramKeys, Server, Step};
//!
//! let keys = ScramKeys::new(b"pencil", b"salt of sixteen!", 4096)?; // kept instead of the password
//! let mut server = Server::scram(Mechanism::ScramSha256, Nonce::new("server's own")?, None);
//! let login = Credentials::password("user", b"pencil");
//! let mut client = Client::new(Mechanism::ScramSha256, login, Nonce::new("client's own")?, None)?;
//!
//! let Step::Keys { login } = server.respond(&client.initial())? else { panic!() };
//! assert_eq!(login, "user"); // look the keys up
//! let challenge = server.keys(keys)?;
//! let Step::Challenge(proof) = server.respond(&client.respond(&challenge)?)? else { panic!() };
//! let Step::Done { login, .. } = server.respond(&client.respond(&proof)?)? else { panic!() };
//! client.finish()?; // the server knew the keys, too
//! assert_eq!(login, "user");
//! # Ok::<(), posthaste_sasl::SaslError>(())
//! ```
//!
//! # The types
//!
//! A [`Mechanism`] is named in AUTH or AUTHENTICATE. A [`Server`] takes the client's messages and says what to do in a
//! [`Step`]: send a challenge, look [`ScramKeys`] up, or check [`Credentials`]. A [`Client`] makes messages of credentials.
//! Messages are octets; the protocols put them in base64 ([`encode`], [`decode`]).
//!
//! # Limits, and what it does not do
//!
//! A message has at most [`MESSAGE_MAX`] octets; a client refuses to hash more than [`ITERATIONS_MAX`] times for a server.
//! Names and passwords beyond ASCII are not prepared by SASLprep, they count as they come. CRAM-MD5, DIGEST-MD5 and
//! SCRAM-SHA-1 are left out on purpose: all clients of today have something better.

mod client;
mod credentials;
mod error;
mod mechanism;
mod messages;
mod scram;
mod server;

pub use client::Client;
pub use credentials::{Credentials, Secret};
pub use error::SaslError;
pub use mechanism::Mechanism;
pub use scram::{ChannelBinding, ITERATIONS_MAX, ITERATIONS_MIN, Nonce, ScramKeys};
pub use server::{Server, Step};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Longest message in octets; RFC 4954 §4 lets a line of base64 have 12,288.
pub const MESSAGE_MAX: usize = 9_216;

/// A message in base64, as the protocols carry it.
pub fn encode(message: &[u8]) -> String {
    STANDARD.encode(message)
}

/// A message out of base64; an error if it is none.
pub fn decode(base64: &[u8]) -> Result<Vec<u8>, SaslError> {
    STANDARD.decode(base64).map_err(|_| SaslError::NotBase64)
}

//! An NBD server for a leader's device, over any byte stream. (Feature `nbd`, on by default; it needs no
//! further dependency.)
//!
//! ```
//! use std::sync::Arc;
//! use posthaste_blockrepl::nbd::{Export, Server};
//! # use posthaste_blockrepl::{BlockDevice, DeviceError};
//! # #[derive(Debug)] struct Zeros;
//! # impl BlockDevice for Zeros {
//! #     fn size(&self) -> u64 { 1 << 20 }
//! #     fn read_at(&self, _: u64, buf: &mut [u8]) -> Result<(), DeviceError> { buf.fill(0); Ok(()) }
//! #     fn write_at(&self, _: u64, _: &[u8]) -> Result<(), DeviceError> { Ok(()) }
//! #     fn flush(&self) -> Result<(), DeviceError> { Ok(()) }
//! #     fn epoch(&self) -> u64 { 1 }
//! # }
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let (listener_side, client_side) = tokio::io::duplex(1024); drop(client_side);
//! # let device: Arc<dyn BlockDevice> = Arc::new(Zeros); // in earnest: `volume.lead(grant).await?`
//! let server = Server::new(vec![Export::new("disk0", device)])?;
//! // For each connection that a TCP or Unix listener accepts:
//! let ended = server.serve(listener_side).await;
//! # assert!(ended.is_err());
//! # Ok(())
//! # }
//! ```
//!
//! # What it speaks
//!
//! Fixed newstyle negotiation: `EXPORT_NAME`, `GO`, `INFO`, `LIST`, `ABORT`, `STRUCTURED_REPLY`, `STARTTLS`,
//! `LIST_META_CONTEXT`, `SET_META_CONTEXT` (`base:allocation`). Then `READ` (also with `DF`), `WRITE`, `FLUSH`, `TRIM`,
//! `WRITE_ZEROES`, `BLOCK_STATUS`, each with `FUA` where the protocol has it, and `DISC`; simple and structured replies,
//! the latter with the reason of an error in words. Several exports, many connections to each.
//!
//! - `CAN_MULTI_CONN` is said because it is true: all connections share one device handle, and its flush
//!   covers every write that was answered before, on whichever connection.
//! - `WRITE_ZEROES` sends no zeros and, where the file systems can, writes none: their blocks are marked and stay allocated (R11). With
//!   [`Config::free_discarded`](crate::Config::free_discarded) they are freed, unless the client says `NO_HOLE`. [`Trim`] says what `TRIM` does.
//! - `FAST_ZERO` is always refused at once: how fast the other replicas' disks are at it is not known here.
//! - `BLOCK_STATUS` tells where the device reads as zeros, as far as the local file system knows; all is data where another writer may
//!   change it, or reads are verified.
//! - Not spoken: `CACHE`, `RESIZE`, extended headers (64-bit lengths), the oldstyle handshake.
//!
//! # Durability across a failover
//!
//! A write that was answered is visible; it is durable on every in-sync replica after `FLUSH` or with `FUA`, as on a
//! disk with a volatile cache. A client whose connection breaks and that connects *by itself* to the next leader, and
//! goes on as if nothing had happened (`reconnect-delay` of QEMU, `-persist` of `nbd-client`), no longer knows that its
//! unflushed writes may be gone. For such clients set [`Export::write_through`]. A fenced leader answers
//! `ESHUTDOWN`, never success.
//!
//! # TLS
//!
//! The server takes any stream. NBD clients begin in the clear and ask for TLS by `STARTTLS`:
//! [`Server::serve_tls`] hands the stream to the embedder's TLS library in that moment and goes on with what it
//! gives back. Without it `STARTTLS` is answered by `ERR_POLICY`. Which certificates are demanded is the
//! embedder's to say; there is no other authentication.
//!
//! # Layers
//!
//! [`Negotiation`], [`Decoder`] and [`reply`] do no I/O: bytes in, bytes out. [`Server`] drives them on tokio;
//! a device call may block (a flush: until a grant comes), so each runs on tokio's blocking pool, at most
//! [`Limits::requests`] for one connection: give the runtime enough of those threads.

mod handshake;
pub mod proto;
pub mod reply;
mod request;
mod server;

pub use handshake::{ExportInfo, Negotiation, Session, Step, TlsPolicy};
pub use request::{Command, Decoder, Request};
pub use server::{Ended, Export, ExportsError, Server, Trim};

/// What a client may ask of the server at most. Beyond it the client is refused or its connection ended;
/// other connections are untouched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The longest read or write, in bytes. A longer read is refused; a longer write ends the connection. Told to
    /// the client as its maximum. At most 1 GiB. Default 32 MiB, what clients assume that are told nothing.
    pub payload: u32,
    /// Requests of one connection that are worked on at once; more wait in the client's socket. Default 64.
    pub requests: usize,
    /// Bytes of reads and writes of one connection that are held at once, [`payload`](Self::payload) at least; one more
    /// payload is held while it arrives. Default 64 MiB.
    pub in_flight: u32,
    /// The longest data of one option, in bytes. Default 64 KiB.
    pub option: u32,
    /// Options of one negotiation. Default 256.
    pub options: u32,
    /// How long a negotiation may take. Default 30 s.
    pub handshake: std::time::Duration,
    /// Connections served at once by one server; more are hung up on. Default 256.
    pub connections: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            payload: 32 << 20,
            requests: 64,
            in_flight: 64 << 20,
            option: 64 << 10,
            options: 256,
            handshake: std::time::Duration::from_secs(30),
            connections: 256,
        }
    }
}

/// The client broke the protocol or a limit; its connection ends. The device is unharmed, and whatever was not
/// answered may or may not have been done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NbdError {
    /// The client sent flags that this server did not offer.
    #[error("the client asks for unknown handshake flags {0:#x}")]
    ClientFlags(u32),
    /// Not an option where one was expected.
    #[error("an option begins with {0:#018x}: not an NBD client")]
    OptionMagic(u64),
    /// Not a request where one was expected.
    #[error("a request begins with {0:#010x}: the stream is out of step")]
    RequestMagic(u32),
    /// An option longer than [`Limits::option`].
    #[error("option {option} has {len} bytes; the limit is {limit}")]
    OptionTooLong {
        /// The option's number.
        option: u32,
        /// Its length in bytes.
        len: u32,
        /// The limit in bytes.
        limit: u32,
    },
    /// More options than [`Limits::options`].
    #[error("more than {0} options")]
    TooManyOptions(u32),
    /// A write longer than [`Limits::payload`].
    #[error("a write of {len} bytes; the limit is {limit}")]
    WriteTooLong {
        /// Its length in bytes.
        len: u32,
        /// The limit in bytes.
        limit: u32,
    },
    /// `EXPORT_NAME` of something that is not there: the protocol has no answer but to hang up.
    #[error("no export of the name {0:?}")]
    UnknownExport(String),
    /// `EXPORT_NAME` in the clear where TLS is required.
    #[error("the client asks for an export without TLS, which is required here")]
    TlsRequired,
    /// Bytes in the clear after `STARTTLS`: somebody put them there.
    #[error("the client sent bytes in the clear after STARTTLS")]
    ClearAfterStartTls,
}

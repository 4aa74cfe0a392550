#![deny(unsafe_code)]
//! Virtual IP takeover: whoever is told to own an address takes it, announces it, and gives it back.
//!
//! This crate never decides who owns an address: a quorum with leases does (DESIGN R5), and calls
//! an [`AddressDriver`]. Between `claim` and `release` the address and its listening sockets are
//! here; before and after, they are not.
//!
//! ```
//! use posthaste_vip::{AddressDriver, Loopback};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let driver = Loopback::new();
//! // Waits while another process has it; port 0 lets the system choose, for this example.
//! let mut claim = driver.claim("127.0.0.1".parse()?, &[0]).await?;
//! let smtp = claim.take_listener(0).expect("was claimed").into_tokio()?;
//! let client = tokio::net::TcpStream::connect(smtp.local_addr()?).await?;
//! let (_served, from) = smtp.accept().await?;
//! assert_eq!(from, client.local_addr()?);
//!
//! drop(smtp); // listeners that were taken out are the caller's to close, before:
//! driver.release(claim).await?;
//! # Ok(())
//! # }
//! ```
//!
//! # Types
//!
//! - [`AddressDriver`]: claim, release. [`Loopback`] takes an address by binding it and works
//!   anywhere, for tests and demos; `Netlink` (Linux) adds it to an interface and announces it, and
//!   the kernel takes it away from a process that is killed, stopped or without a lease.
//! - [`Claim`]: an address that is held, with its [`Listener`]s.
//! - [`announce`]: the frames and their timing, without any I/O.
//!
//! # Driving contract
//!
//! Call `claim` once the right to the address is proven and the old owner's lease is over; dropping
//! the future gives up and leaves nothing behind. Close the listeners that were taken out of a
//! claim, then `release` it. Dropping a claim releases it too, without telling when it is done.
//!
//! # What it does not do yet
//!
//! VRRPv3 and CARP, the watch for foreign claims, a probe before taking over an address whose owner
//! is not proven fenced, virtual MAC addresses, providers' APIs.

pub mod announce;
mod bind;
mod driver;
mod loopback;
#[cfg(target_os = "linux")]
mod netlink;

pub use driver::{AddressDriver, Claim, ClaimError, Listener, ReleaseError};
pub use loopback::Loopback;
#[cfg(target_os = "linux")]
pub use netlink::{MayHold, Netlink, NetlinkConfig};

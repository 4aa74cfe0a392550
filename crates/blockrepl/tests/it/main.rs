//! Behaviour of replicas: the core among simulated disks and links, and the driver on real ones.

#![allow(unreachable_pub)]

mod chaos;
mod driver;
mod format;
mod harness;
#[cfg(feature = "nbd")]
mod nbd;
mod replication;
mod resync;
mod wire;
mod writers;
mod writers_chaos;

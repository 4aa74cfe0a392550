//! Behaviour of replicas: the core among simulated disks and links, and the driver on real ones.

#![allow(unreachable_pub)]

mod asked_targets;
mod bond;
mod candidate;
mod chaos;
mod control;
mod copies;
mod crash_images;
mod damaged_source;
mod disks;
mod driver;
mod format;
mod format_records;
mod granules;
mod harness;
mod hostile;
mod hostile_links;
mod image;
mod integrity;
#[cfg(feature = "nbd")]
mod nbd;
mod protocols;
mod redundancy;
mod relay;
mod replication;
mod resize;
mod resync;
mod rollback;
#[cfg(feature = "secret")]
mod secret;
mod shrink;
mod splitbrain;
mod streams;
mod sums_model;
mod wire;
mod writers;
mod writers_chaos;
mod writers_driver;

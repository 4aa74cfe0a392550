//! Bad input and faults, on real processes: each has a clear error, and nothing is lost.
//!
//! Every test has a cluster of its own on loopback addresses of its own: node a, node b and the
//! witness w as processes of `posthaste`. They run on the test disk (`[testing] disk =
//! "volatile"`), which keeps unflushed writes in process memory: SIGKILL is a power cut for volumes,
//! metadata and the quorum's log.

mod disks;
mod full;
mod house;
mod lost_disk;
mod majority;
mod pauses;
mod power;
mod refusals;
mod startup;
mod strangers;
mod volume_files;

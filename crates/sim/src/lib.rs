#![forbid(unsafe_code)]
//! The cluster's cores under a seeded simulator: the same [`Agent`](posthaste_heartbeat::Agent),
//! [`Replica`](posthaste_blockrepl::core::Replica) and [`apply`](posthaste_heartbeat::state::apply) that
//! the node runs, on simulated clocks, networks and disks, with faults drawn from the seed.
//!
//! ```
//! use posthaste_sim::{Job, Scenario};
//!
//! let kill = Scenario::parse("kill").unwrap();
//! let report = Job::scenario(7, kill).run();
//! assert_eq!(report.violation, None, "{}", report.job.replay_line());
//! ```
//!
//! # A run
//!
//! Two nodes, a witness, two volumes, two addresses, a client for each volume. They start; everything
//! comes home; the [scenario's faults](faults) happen; all faults end; within
//! [`RECOVERS_WITHIN_S`] virtual seconds everything must be at home again, in sync and answering; the
//! clients stop, and the copies must be byte-identical. The [`checkers`] judge at every event, one
//! invariant a file. One seed gives one run, down to the [hash of its trace](Report::hash).
//!
//! # What is real and what is a model
//!
//! Real: the agents with detectors, leases and takeovers, the replicas with their metadata on disk,
//! `apply`. A model: the [quorum](consensus) (Raft's replication without its wire), the
//! [network](net), the [disks](disk), and the [glue](keeper) between agent and replica, which follows the
//! node daemon's line by line. The file store above a volume is a register a sector.
//!
//! # What it does not do
//!
//! clusterfs's log (R10), an operator's override (R8), shipped mail operations (R12, R13), the
//! openraft adapter and the tokio drivers are not in it: each has tests of its own.
//!
//! # Features
//!
//! `bugs`: known [bugs](Bug) that can be switched on, to measure what a hunt finds. Test-only.

#[macro_use]
#[path = "../../blockrepl/src/known_bugs.rs"]
mod known_bugs;

pub mod blocks;
pub mod bugs;
pub mod checkers;
pub mod client;
pub mod consensus;
pub mod disk;
pub mod driver;
pub mod faults;
pub mod keeper;
pub mod layout;
pub mod net;
pub mod node;
pub mod rng;
pub mod run;
pub mod serve;
pub mod world;

use std::net::{IpAddr, Ipv4Addr};

use posthaste_heartbeat::{NodeId, VolumeId};

pub use bugs::Bug;
pub use faults::{SCENARIOS, Scenario};
pub use run::{Job, RECOVERS_WITHIN_S, Report};

/// Members: node 0, node 1 and the witness.
pub const NODES: usize = 3;

/// What heartbeat calls member `n`.
pub(crate) fn node_id(n: usize) -> NodeId {
    NodeId(n as u64 + 1)
}

/// What it calls volume `v`, whose home is node `v`.
pub(crate) fn volume_id(v: usize) -> VolumeId {
    match VolumeId::parse(["vol0", "vol1"][v]) {
        Ok(id) => id,
        Err(e) => unreachable!("{e}"),
    }
}

/// Address `a`, whose home is node `a`.
pub(crate) fn ip(a: usize) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 0, 0, a as u8 + 1))
}

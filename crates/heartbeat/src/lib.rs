#![forbid(unsafe_code)]
//! Failure detection, quorum, leases, fencing and ownership of resources for small clusters: **at most one
//! owner of a resource per epoch, epochs only grow, and a node acts as owner only while its lease holds**.
//!
//! It was made for two nodes and a witness, and is at home with up to five voters among more nodes. It decides who
//! leads each replicated volume and who answers to each service address; the replication of data
//! and the handling of addresses are its user's.
//!
//! ```
//! use posthaste_heartbeat::state::{Address, Command, FORMAT, Member, Role, State, Volume, apply};
//! use posthaste_heartbeat::{ClusterId, DeviceId, Incarnation, NodeId, StoreId, VolumeId};
//!
//! let (a, b) = (NodeId(1), NodeId(2));
//! let initial = State {
//!     format: FORMAT,
//!     cluster: ClusterId(1),
//!     lease_ms: 700,
//!     members: [a, b].map(|n| (n, Member::new(&n.to_string(), Role::Node, StoreId(1), "-"))).into(),
//!     volumes: [(VolumeId::parse("vol1")?, Volume::new(a, [(a, DeviceId(1)), (b, DeviceId(2))]))].into(),
//!     addresses: [("10.0.0.1".parse()?, Address::new(a))].into(),
//!     ..State::default()
//! };
//! let started = apply(&State::default(), &Command::Bootstrap(Box::new(initial)))?;
//! let came = Command::Return { node: a, incarnation: Incarnation(7), store: StoreId(1) };
//! let state = apply(&started, &came)?;
//! assert!(state.is_up_node(a) && !state.is_up_node(b));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # The parts
//!
//! | module | what it is |
//! |---|---|
//! | [`state`] | the replicated [`State`](state::State) and the one pure function that changes it |
//! | [`detector`] | who can be heard: all-pairs heartbeats |
//! | [`lease`] | grants, the holder's flag, the successor's wait (R5) |
//! | [`agent`] | the brain of a member: from beats, states and reports to proposals and orders |
//! | [`consensus`] | agreement, as a trait (feature `tokio`) |
//! | [`raft`] | agreement, on openraft with its own durable log (feature `raft`) |
//! | [`clock`] | the clock, for adapters only |
//!
//! All but the last three do no I/O, read no clock and draw no random number: `now` and inputs come in, outputs
//! come out, and a simulator runs what a node runs.
//!
//! # Driving an [`Agent`]
//!
//! *Mutate once, drain, wait.* Call [`Agent::handle`] for each input and [`Agent::handle_timeout`] when
//! [`Agent::poll_timeout`] is due, each with the time read just before; after either, take outputs from
//! [`Agent::poll_output`] until there is none, and **carry them out in their order**: a
//! [`SetPending`](agent::VolumeOrder::SetPending) must have taken effect before the proposal behind
//! it is sent (R1). Reports of one volume come in the order in which things happened. Every proposal
//! gets an outcome, every `RaiseEpoch`, `Lead`, `Retire`, `Take` and `Drop` a report. Give the agent a thread
//! of its own (R5), and give it the same [`FenceLog`](lease::FenceLog) as this member's log store.
//!
//! Whatever replies to a client builds the reply first and then asks the
//! [`LeaseFlag`](lease::LeaseFlag) (R3). A node that starts with addresses left by an earlier life of its
//! process is told to drop them.
//!
//! # Limits, and what it does not do
//!
//! [`state::limits`] lists the limits. Members, volumes and addresses are given at the start: they cannot be added to a
//! running cluster yet. Without a witness either death stops a cluster of two; a forced takeover by an
//! operator (R8) is not there yet. Clocks may drift by `margin / lease` (100 ms in 700) at most.
//!
//! # Features
//!
//! `raft` (default): the quorum on openraft. `tokio`: only the [`consensus`] trait. Neither: the cores.

mod ids;
mod sync;
mod time;

pub mod agent;
pub mod clock;
#[cfg(feature = "tokio")]
pub mod consensus;
pub mod detector;
pub mod lease;
#[cfg(test)]
mod lease_tests;
pub mod message;
#[cfg(feature = "raft")]
pub mod raft;
pub mod state;

pub use agent::Agent;
pub use ids::{
    BadVolumeId, ClusterId, DeviceId, Epoch, Generation, Incarnation, MembershipEpoch, NodeId, Revision,
    StoreId, VolumeId,
};
pub use time::Time;

#![forbid(unsafe_code)]
//! temp

mod ids;
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

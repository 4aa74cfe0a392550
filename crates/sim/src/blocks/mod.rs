//! Replicas of one block device under seeded faults: the very [`Replica`](posthaste_blockrepl::core::Replica)
//! that an embedder drives, two or three of them, with block clients on whoever leads.
//!
//! ```
//! use posthaste_sim::blocks::{Job, Scenario};
//!
//! let scenario = Scenario::parse("resync-after-primary-crash").unwrap();
//! let report = Job::scenario(7, scenario).run();
//! assert_eq!(report.violation, None, "{}", report.job.replay_line());
//! ```
//!
//! Where the whole-cluster simulation has the node's agents and quorum, here the owner of a replica does no more
//! than blockrepl's documentation asks for, and the source of grants is one [register](authority). So there is
//! time for faults that a cluster would take for the end of a node: [disks](crate::disk) that lie, lose and
//! misdirect writes, [links](net) that each end gives up at its own time, clocks that jump, an operator who splits
//! the copies. The [oracle] takes each sector for a register: linearizable, with the crash semantics of a
//! disk with a volatile cache.

pub mod authority;
pub mod bugs;
mod client;
mod driver;
mod event;
pub mod faults;
mod followers;
pub mod history;
mod images;
mod inflict;
pub mod layout;
mod machine;
pub mod name;
pub mod net;
mod operator;
pub mod oracle;
mod owner;
mod run;
pub mod scenarios;
mod stopwatch;
mod world;
mod writers;

pub use bugs::Bug;
pub use faults::Fault;
pub use run::{Job, RECOVERS_WITHIN_S, Report};
pub use scenarios::{SCENARIOS, Scenario};
pub use stopwatch::Times;

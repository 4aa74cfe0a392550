//! What the tests and benchmarks of several crates measure with: contestants timed in turn, and an allocator that counts.

pub mod timing;

mod counting;

pub use counting::{Counting, allocations};

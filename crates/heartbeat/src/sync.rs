//! What threads share here, under the names of `std`; under `cfg(loom)` it is loom's, which tries every
//! order of their steps (`tests/loom.rs`).

#[cfg(loom)]
pub(crate) use loom::sync::{
    Arc, Mutex, MutexGuard,
    atomic::{AtomicU64, Ordering},
};
#[cfg(not(loom))]
pub(crate) use std::sync::{
    Arc, Mutex, MutexGuard,
    atomic::{AtomicU64, Ordering},
};

//! Behaviour of a volume, crashes included.

mod crash;
mod device;
mod engine;
mod logdamage;
#[cfg(feature = "maildir")]
mod maildir;
mod workload;

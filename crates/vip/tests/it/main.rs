//! Behaviour of the drivers.

mod loopback;
#[cfg(target_os = "linux")]
mod netlink;

//! Behaviour of the drivers.

mod loopback;

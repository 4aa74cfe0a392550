//! Behaviour of the foundation: configuration, certificates, the network between members, the
//! operator's socket. The whole cluster is tested by the demo.

mod admin;
mod config;
mod init;
mod peer;
mod rpc;
mod util;

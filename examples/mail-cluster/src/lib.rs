#![forbid(unsafe_code)]
//! A two-node active/active mail cluster made of the Posthaste crates.
//!
//! One binary, `posthaste`, is the node, the witness, the operator's command line and the demo.
//! This library is its inside, so that tests and the demo use the very same code.
//!
//! | module | what it is |
//! |---|---|
//! | [`cli`] | the commands and their exit codes |
//! | [`config`] | the TOML file, checked: [`config::Config`] |
//! | [`init`] | lays out a new cluster: CA, certificates, one directory a member |
//! | [`pki`], [`tls`] | certificates; the one rustls configuration |
//! | [`peer`], [`rpc`] | one listener a node, protocols by ALPN; requests and replies on it |
//! | [`admin`], [`accounts`], [`status`] | the operator's socket, users, the status report |
//! | [`node`] | the daemon |
//! | [`demo`], [`bench`](mod@bench) | the demonstration and the figures |
//!
//! It is an example: read it, copy from it. It is not published and its API is not stable.

pub mod accounts;
pub mod admin;
pub mod bench;
pub mod cli;
pub mod config;
pub mod demo;
pub mod error;
pub mod init;
pub mod node;
pub mod peer;
pub mod pki;
pub mod rpc;
pub mod status;
pub mod tls;

pub use config::Config;
pub use error::{Error, Exit};

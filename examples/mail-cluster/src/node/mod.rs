//! The daemon: what a node and a witness run.

use crate::{Config, Error};

/// Runs the member that `config` describes, a node or a witness, until SIGTERM or SIGINT.
///
/// # Errors
/// Whatever keeps it from starting or makes it stop.
pub fn run(config: Config) -> Result<(), Error> {
    Err(Error::failed(format!("{} {}: this build has no daemon", config.node.role, config.node.name)))
}

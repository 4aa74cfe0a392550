//! The demonstration: a throw-away cluster, real mail, a kill.

use crate::Error;

/// What `posthaste demo` takes.
#[derive(Debug, Clone, clap::Args)]
pub struct DemoArgs {
    /// Seed of the corpus and of the load
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

/// Runs the demo.
///
/// # Errors
/// When a promise did not hold, or the cluster could not be started.
pub fn run(args: &DemoArgs) -> Result<(), Error> {
    Err(Error::failed(format!("demo --seed {}: this build has no demo", args.seed)))
}

//! The figures: deliveries and commands a second, beside the raw disk.

use crate::Error;

/// What `posthaste bench` takes.
#[derive(Debug, Clone, clap::Args)]
pub struct BenchArgs {
    /// How long each measurement runs, in seconds
    #[arg(long, default_value_t = 5)]
    pub seconds: u64,
}

/// Runs the benchmark.
///
/// # Errors
/// When something could not be measured.
pub fn run(args: &BenchArgs) -> Result<(), Error> {
    Err(Error::failed(format!("bench --seconds {}: this build has no benchmark", args.seconds)))
}

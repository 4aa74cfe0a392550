//! The `posthaste` command; everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    posthaste_mail_cluster::cli::main()
}

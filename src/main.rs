//! The binary: argv in, exit code out.

use std::process::ExitCode;

/// Measured against the system's and mimalloc: fewest bytes per idle connection, cheapest downloads.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    portcullis::cli::main()
}

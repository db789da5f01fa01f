//! Arguments to configuration to command to exit status; nothing else.

use std::process::ExitCode;

// A quarter of the time goes into allocating, most of it in the client library: docs/performance.md.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    oncegate::cli::main()
}

//! Arguments to configuration to command to exit status; nothing else.

use std::process::ExitCode;

// A quarter of the time goes into allocating, most of it in the client library: docs/performance.md. RocksDB uses it
// too (the crate's `override`): what compactions free goes back to the system, docs/scaling.md.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // The allocator would ask for huge pages. To clear one takes as long as some thousand actions, each time that
    // memory is taken anew; where the system does not know the call, it stays so: docs/performance.md.
    rustix::thread::disable_transparent_huge_pages(true).ok();
    oncegate::cli::main()
}

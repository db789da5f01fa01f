//! Arguments to configuration to command to exit status; nothing else.

use std::process::ExitCode;

fn main() -> ExitCode {
    oncegate::cli::main()
}

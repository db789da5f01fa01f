//! Which way the space of expired keys is freed: measured, for `docs/performance.md`.
//!
//!     cargo bench --bench expiry -- --keys 100000000 --way filter --dir DIR
//!
//! A steady load fills a table until as many keys are live as asked for, goes on while as many again
//! expire, and then stops, as source time goes on.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    missing_docs,
    reason = "a measurement stops at what it did not expect, and prints"
)]

mod load;
mod meter;
mod run;
mod ways;

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

use load::Load;
use oncegate::gate; // The product's settings, compiled in here, name it so.
use ways::{Buckets, Filter};

#[derive(Parser)]
struct Arguments {
    /// How many keys are live at once.
    #[arg(long, default_value_t = 1_000_000)]
    keys: u64,
    /// How many windows the load goes on once they are.
    #[arg(long, default_value_t = 1.0)]
    windows: f64,
    #[arg(long, value_enum, default_value_t = Way::Filter)]
    way: Way,
    /// Where the table is made, and removed from again.
    #[arg(long, default_value_os_t = std::env::temp_dir())]
    dir: PathBuf,
    /// `cargo bench` says so.
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Way {
    /// One family, a compaction filter, and rewriting: the product's own table.
    Filter,
    /// A family per quarter of a window of expiry, dropped whole.
    Buckets,
}

fn main() {
    let arguments = Arguments::parse();
    let load = Load::new(arguments.keys);
    let rounds = (load.rounds_a_window() as f64 * (1.0 + arguments.windows)) as u64;
    let dir = tempfile::Builder::new().prefix("expiry-").tempdir_in(&arguments.dir).unwrap();
    println!("{:?}: {} keys, {rounds} rounds of 1,000", arguments.way, arguments.keys);
    match arguments.way {
        Way::Filter => run::measure(&Filter::make(dir.path()), dir.path(), &load, rounds),
        Way::Buckets => run::measure(&Buckets::make(dir.path()), dir.path(), &load, rounds),
    }
}

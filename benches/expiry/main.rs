//! Which way the space of expired keys is freed: measured, for `docs/performance.md`.
//!
//!     cargo bench --bench expiry -- --keys 100000000 --way filter --dir DIR
//!
//! A steady load fills a table until as many keys are live as asked for, goes on while as many again
//! expire, and then stops, as source time goes on.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::print_stdout,
    missing_docs,
    reason = "a measurement stops at what it did not expect, and prints"
)]

mod buckets;

use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::{Parser, ValueEnum};
use tokio_util::sync::CancellationToken;

use buckets::Buckets;
use oncegate::bench::table::load::Load;
use oncegate::bench::table::{Measured, measure, meter, stretches};
use oncegate::gate; // The product's settings, compiled in here, name it so.
use oncegate::table::{RocksTable, WriteBehind};

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
        Way::Filter => {
            let table = WriteBehind::new(RocksTable::open(dir.path(), "bench").unwrap());
            run(&table, dir.path(), &load, rounds);
        }
        Way::Buckets => run(&Buckets::make(dir.path()), dir.path(), &load, rounds),
    }
}

fn run(table: &impl Measured, dir: &Path, load: &Load, rounds: u64) {
    let stretches = stretches(load, rounds);
    let each = |stretch| {
        println!("{}", serde_json::to_string(&stretch)?);
        Ok(())
    };
    measure(table, dir, load, &stretches, &CancellationToken::new(), |_| (), each).unwrap();
    without_load(table, dir, load, rounds);
}

/// No key comes any more, until all have expired.
fn without_load(table: &impl Measured, dir: &Path, load: &Load, rounds: u64) {
    let next = rounds * 1_000;
    println!("windows without a key | GB left | s");
    for eighth in 0..=10 {
        table.commit(load.pause(next + eighth * load.keys() / 8)).unwrap();
        let started = Instant::now();
        table.collect().unwrap();
        println!(
            "{:.3} | {:.3} | {:.1}",
            eighth as f64 / 8.0,
            meter::disk_bytes(dir) as f64 / 1e9,
            started.elapsed().as_secs_f64()
        );
    }
}

//! `oncegate bench table`: the key table alone, as it grows.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::bench::table::load::{KEYS_MIN, Load, ROUND};
use crate::bench::table::{self, AtRest, Stretch};
use crate::cli::{say, stop_on_signal};
use crate::config::Config;
use crate::progress::Progress;
use crate::table::{RocksTable, WriteBehind};

/// An eighth longer than to where the first rewrite of the whole table is due, when half as many keys as live have
/// expired.
const EIGHTHS_OF_A_WINDOW: u64 = 13;
const MB: f64 = 1e6;

/// Looks up and writes new keys in rounds of 1,000, on a table of its own, until N keys live, and on until the table
/// is rewritten because half as many have expired. Memory is bounded as `table.memory_mb` says. Stop anything else
/// that wants the machine
#[derive(Args)]
pub struct Table {
    /// How many keys live at once
    #[arg(long, value_name = "N", default_value_t = 10_000_000,
          value_parser = clap::value_parser!(u64).range(KEYS_MIN..=1_000_000_000_000))]
    keys: u64,
    /// Where the table is made, and removed from again: on the disk that the worker uses, with 200 bytes a key to
    /// spare [default: the system's directory for temporary files]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// One JSON object a line on standard output
    #[arg(long)]
    json: bool,
}

/// The last line: how the full table compares with the beginning.
#[derive(Serialize)]
struct Result {
    /// The last stretch before N keys lived against the first.
    rate_ratio: f64,
    memory_bytes_max: u64,
    disk_bytes_max: u64,
    #[serde(flatten)]
    at_rest: AtRest,
}

impl Table {
    pub async fn execute(self, config: &Config) -> anyhow::Result<ExitCode> {
        // It may hold gigabytes: it is removed, whatever comes.
        let stop = stop_on_signal()?;
        let memory_bytes = config.table.memory_bytes();
        tokio::task::spawn_blocking(move || self.measure(memory_bytes, &stop)).await??;
        Ok(ExitCode::SUCCESS)
    }

    fn measure(&self, memory_bytes: usize, stop: &CancellationToken) -> anyhow::Result<()> {
        let parent = self.dir.clone().unwrap_or_else(std::env::temp_dir);
        let dir = tempfile::Builder::new().prefix("oncegate-bench-").tempdir_in(&parent);
        let dir = dir.with_context(|| format!("making a directory in {}", parent.display()))?;
        let measured = self.measure_in(dir.path(), memory_bytes, stop);
        let shown = dir.path().display().to_string();
        let removed = dir.close().with_context(|| format!("removing {shown}"));
        measured.and(removed)
    }

    fn measure_in(
        &self,
        dir: &Path,
        memory_bytes: usize,
        stop: &CancellationToken,
    ) -> anyhow::Result<()> {
        let load = Load::new(self.keys);
        let rounds = load.rounds_a_window() * EIGHTHS_OF_A_WINDOW / 8;
        let progress = Progress::of_command("keys");
        let table = RocksTable::open_within(memory_bytes, dir, "bench")?;
        table.learn()?;
        let table = WriteBehind::new(table);
        let mut seen: Vec<Stretch> = Vec::new();
        if !self.json {
            say(HEADINGS)?;
        }
        table::measure(
            &table,
            dir,
            &load,
            &table::stretches(&load, rounds),
            stop,
            |done| progress.at(done * ROUND, rounds * ROUND),
            |stretch| {
                match self.json {
                    true => say(serde_json::to_string(&stretch)?)?,
                    false => say(line(&stretch))?,
                }
                seen.push(stretch);
                Ok(())
            },
        )?;
        let at_rest = table::at_rest(&table, dir, &load, rounds)?;
        let result = Result {
            rate_ratio: ratio(&seen, load.keys()),
            memory_bytes_max: seen.iter().map(|s| s.memory_bytes_max).max().unwrap_or(0),
            disk_bytes_max: seen.iter().map(|s| s.disk_bytes_max).max().unwrap_or(0),
            at_rest,
        };
        match self.json {
            true => say(serde_json::to_string(&result)?)?,
            false => say(text(&result))?,
        }
        Ok(())
    }
}

fn ratio(seen: &[Stretch], full: u64) -> f64 {
    let first = seen.first();
    let full = seen.iter().find(|stretch| stretch.keys == full);
    full.zip(first).map_or(0.0, |(full, first)| full.keys_per_s / first.keys_per_s)
}

const HEADINGS: &str = "        keys  windows    keys/s  cpu us: loop    all  written B     disk MB    at most   memory MB  at most  \
                        round ms: p50   p99.9     max";

fn line(stretch: &Stretch) -> String {
    let Stretch { keys, windows, keys_per_s, written_bytes_per_key, .. } = stretch;
    let Stretch { loop_cpu_us_per_key, cpu_us_per_key, .. } = stretch;
    let round = &stretch.round_ms;
    let mb = |bytes: u64| bytes as f64 / MB;
    let mut text = format!(
        "{keys:>12}  {windows:>7.3}  {keys_per_s:>8.0}  {loop_cpu_us_per_key:>12.1} {cpu_us_per_key:>6.1}  {written_bytes_per_key:>9.0}  \
         {:>10.0} {:>10.0}  {:>10.0} {:>8.0}  {:>13.1} {:>7.1} {:>7.1}",
        mb(stretch.disk_bytes),
        mb(stretch.disk_bytes_max),
        mb(stretch.memory_bytes),
        mb(stretch.memory_bytes_max),
        round.p50,
        round.p99_9,
        round.max,
    );
    for rewrite in &stretch.rewrites {
        text.push_str(&format!(
            "\n              the table was rewritten beside the load: {:.1} s, from {:.3} to {:.3} windows",
            rewrite.duration_s, rewrite.from_windows, rewrite.to_windows
        ));
    }
    text
}

fn text(result: &Result) -> String {
    let AtRest { keys_live, collection_s, disk_bytes_per_key, memory_bytes, .. } = result.at_rest;
    format!(
        "{keys_live} live keys: {:.2} times the rate of the first stretch; {disk_bytes_per_key:.1} bytes a key on disk \
         after a last collection, which took {collection_s:.1} s; memory {:.0} MB, {:.0} MB at most",
        result.rate_ratio,
        memory_bytes as f64 / MB,
        result.memory_bytes_max as f64 / MB,
    )
}

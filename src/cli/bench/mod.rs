//! `oncegate bench`.

mod account;
mod forward;
mod table;

use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use clap::{Args, Subcommand, ValueEnum};
use tokio::signal::unix::{SignalKind, signal};

use account::Account;

use super::{BAD_USAGE, complain, say};
use crate::bench::contender::{Contender, Program};
use crate::bench::place::Place;
use crate::bench::plan::{PAYLOAD_BYTES_MIN, Shape};
use crate::bench::stage::Stage;
use crate::bench::{self, Options};
use crate::config::Config;

const INTERRUPTED: &str = "interrupted";
/// Duplicates and mismatches together.
const REPEATS_PERCENT_MAX: u8 = 90;
/// The same every time, so that runs can be compared.
const SEED: u64 = 1;

#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Bench {
    #[command(subcommand)]
    part: Option<Part>,
    #[command(flatten)]
    gate: Gate,
}

#[derive(Subcommand)]
enum Part {
    /// The key table alone, as it grows
    Table(table::Table),
    #[command(hide = true)]
    Forward(forward::Forward),
}

#[derive(Args)]
struct Gate {
    /// How many actions each contender forwards in a round
    #[arg(long, value_name = "N", default_value_t = 200_000,
          value_parser = clap::value_parser!(u32).range(1000..=100_000_000))]
    actions: u32,
    /// Size of each action's payload (JSON)
    #[arg(long, value_name = "BYTES", default_value_t = 200, value_parser = payload_bytes)]
    payload: usize,
    /// How many of the actions are exact repeats of an earlier one
    #[arg(long, value_name = "PERCENT", default_value_t = 0)]
    duplicates: u8,
    /// How many have the key of an earlier one and another payload
    #[arg(long, value_name = "PERCENT", default_value_t = 0)]
    mismatches: u8,
    /// How often each contender has its turn
    #[arg(long, value_name = "R", default_value_t = 5,
          value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// Measure latency too: one action at a time, then so many a second, for 10 seconds or as many
    /// as --actions
    #[arg(long, value_name = "PER_SECOND", value_parser = clap::value_parser!(u32).range(1..=200_000))]
    rate: Option<u32>,
    /// What the gate is measured beside: a plain forwarder, and the same with Nats-Msg-Id
    #[arg(long, value_name = "NAMES", value_enum, value_delimiter = ',',
          default_values_t = [Other::Forwarder, Other::Native])]
    against: Vec<Other>,
    /// Where the gate's table is [default: beside table.path, on the same disk]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// One JSON object a line on standard output: a measurement each, and a summary
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Other {
    Forwarder,
    Native,
}

impl From<Other> for Contender {
    fn from(other: Other) -> Self {
        match other {
            Other::Forwarder => Self::Forwarder,
            Other::Native => Self::Native,
        }
    }
}

impl Bench {
    /// `file` is what `--config` says.
    pub async fn execute(self, config: Config, file: Option<&Path>) -> anyhow::Result<ExitCode> {
        match self.part {
            Some(Part::Table(table)) => table.execute(&config).await,
            Some(Part::Forward(forward)) => forward.execute(config).await,
            None => self.gate.execute(&config, file).await,
        }
    }
}

impl Gate {
    async fn execute(self, config: &Config, file: Option<&Path>) -> anyhow::Result<ExitCode> {
        if self.duplicates.saturating_add(self.mismatches) > REPEATS_PERCENT_MAX {
            complain(&anyhow::anyhow!(
                "--duplicates {} and --mismatches {} are together more than {REPEATS_PERCENT_MAX} %: some \
                 actions must be new",
                self.duplicates,
                self.mismatches
            ));
            return Ok(ExitCode::from(BAD_USAGE));
        }
        let mut interrupted = pin!(interruption()?);
        let options = self.options();
        let place = Place::new(self.dir.as_deref(), &config.table.path)?;
        let settings = place.settings()?;
        let config = super::load(file, settings.clone())?;
        let path = std::env::current_exe().context("finding this program")?;
        let program = Program { path, config: file.map(Path::to_owned), settings };
        let mut stage = tokio::select! {
            stage = Stage::open(Arc::new(config), place, program) => stage?,
            () = &mut interrupted => anyhow::bail!(INTERRUPTED),
        };
        let mut account = Account::default();
        let mut tell = |told: &bench::Told| match self.json {
            true => say(serde_json::to_string(told)?),
            false => account.line(told),
        };
        let measured = tokio::select! {
            measured = bench::run(&mut stage, &options, &mut tell) => measured,
            () = &mut interrupted => Err(anyhow::anyhow!(INTERRUPTED)),
        };
        let cleared = stage.clear().await;
        if let (Err(_), Err(error)) = (&measured, &cleared) {
            complain(error);
        }
        measured.and(cleared)?;
        Ok(ExitCode::SUCCESS)
    }

    fn options(&self) -> Options {
        let shape = Shape {
            actions: self.actions,
            payload_bytes: self.payload,
            duplicates_percent: self.duplicates,
            mismatches_percent: self.mismatches,
            seed: SEED,
        };
        let mut against: Vec<Contender> = Vec::new();
        for other in self.against.iter().copied().map(Into::into) {
            if !against.contains(&other) {
                against.push(other);
            }
        }
        Options { shape, rounds: self.rounds, against, rate: self.rate }
    }
}

/// Comes back at a signal that would else end the program. From this call on, not from its first being waited for.
fn interruption() -> std::io::Result<impl Future<Output = ()>> {
    let (mut terminate, mut interrupt, mut hangup) = (
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
        signal(SignalKind::hangup())?,
    );
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            _ = hangup.recv() => {}
        }
    })
}

fn payload_bytes(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(bytes) if bytes >= PAYLOAD_BYTES_MIN => Ok(bytes),
        _ => Err(format!("a number of bytes, at least {PAYLOAD_BYTES_MIN}")),
    }
}

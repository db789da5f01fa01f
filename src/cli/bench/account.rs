//! What a measurement says, for a person.

use super::super::say;
use crate::bench::latency::{Latency, Pace};
use crate::bench::summary::{Comparison, Differences, Spread};
use crate::bench::throughput::Throughput;
use crate::bench::{Environment, Told};

const MEGABYTE: f64 = 1e6;

/// Writes it down line by line.
#[derive(Default)]
pub struct Account {
    /// Which table the last line stood in.
    table: Option<&'static str>,
}

impl Account {
    pub fn line(&mut self, told: &Told) -> std::io::Result<()> {
        match told {
            Told::Environment(environment) => self::environment(environment),
            Told::Throughput(measured) => {
                self.head("round contender  actions/s   CPU us/action: client server   peak MB   disk B/key")?;
                throughput(measured)
            }
            Told::Latency(measured) => {
                self.head("round contender  pace      p50 ms    p99 ms  p99.9 ms    max ms   sent late, p99 ms")?;
                latency(measured)
            }
            Told::Summary { comparisons } => {
                if !comparisons.is_empty() {
                    self.head(
                        "                                 median  (least to most of the rounds)",
                    )?;
                }
                comparisons.iter().try_for_each(comparison)
            }
        }
    }

    fn head(&mut self, head: &'static str) -> std::io::Result<()> {
        if self.table == Some(head) {
            return Ok(());
        }
        self.table = Some(head);
        say(format_args!("\n{head}"))
    }
}

fn environment(at: &Environment) -> std::io::Result<()> {
    let place = if at.server_is_local { "on this machine" } else { "not on this machine" };
    say(format_args!(
        "{} cores (load average {}), nats-server {} {place}, {} storage, replicas: {} of the input, {} of \
         the ledger",
        at.cores,
        or_none(at.load_average, 1),
        at.server,
        at.storage,
        at.input_replicas,
        at.ledger_replicas
    ))?;
    say(format_args!(
        "{} actions of {} B, of them {} % duplicates and {} % mismatches; {} rounds",
        at.actions, at.payload_bytes, at.duplicates_percent, at.mismatches_percent, at.rounds
    ))?;
    match at.rate {
        Some(rate) => say(format_args!("latency: one action at a time, then {rate} a second")),
        None => Ok(()),
    }
}

fn throughput(measured: &Throughput) -> std::io::Result<()> {
    say(format_args!(
        "{:>5} {:<9} {:>10.0} {:>23.1} {:>6} {:>9.0} {:>12}",
        measured.round,
        measured.contender,
        measured.actions_per_second,
        measured.client_cpu_us_per_action,
        or_none(measured.server_cpu_us_per_action, 1),
        measured.memory_peak_bytes as f64 / MEGABYTE,
        or_none(measured.disk_bytes_per_key, 0),
    ))
}

fn or_none(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
}

fn latency(measured: &Latency) -> std::io::Result<()> {
    let pace = match measured.pace {
        Pace::Idle => "idle",
        Pace::Rate => "rate",
    };
    say(format_args!(
        "{:>5} {:<9} {pace:<5} {:>10.2} {:>9.2} {:>9.2} {:>9.2} {:>19}",
        measured.round,
        measured.contender,
        measured.p50_ms,
        measured.p99_ms,
        measured.p999_ms,
        measured.max_ms,
        or_none(measured.sent_late_p99_ms, 2),
    ))
}

fn comparison(beside: &Comparison) -> std::io::Result<()> {
    let Comparison { against, throughput_ratio, cpu_ratio, latency } = beside;
    let line = |sign: char, what: &str, Spread { min, median, max }: Spread| {
        let name = format!("gate {sign} {against}, {what}");
        say(format_args!("{name:<32} {median:>6.2}  ({min:.2} to {max:.2})"))
    };
    line('/', "actions/s", *throughput_ratio)?;
    if let Some(cpu_ratio) = cpu_ratio {
        line('/', "all CPU", *cpu_ratio)?;
    }
    if let Some(Differences { idle_p50_ms, idle_p99_ms, rate_p50_ms, rate_p99_ms, rate_p999_ms }) =
        latency
    {
        line('-', "ms, idle p50", *idle_p50_ms)?;
        line('-', "ms, idle p99", *idle_p99_ms)?;
        line('-', "ms, rate p50", *rate_p50_ms)?;
        line('-', "ms, rate p99", *rate_p99_ms)?;
        line('-', "ms, rate p99.9", *rate_p999_ms)?;
    }
    Ok(())
}

//! What a measurement says, for a person.

use super::super::say;
use crate::bench::contender::Contender;
use crate::bench::summary::Ratio;
use crate::bench::throughput::Throughput;
use crate::bench::{Environment, Told};

const MEGABYTE: f64 = 1e6;

pub fn line(told: &Told) -> std::io::Result<()> {
    match told {
        Told::Environment(environment) => self::environment(environment),
        Told::Throughput(measured) => throughput(measured),
        Told::Summary { ratios } => summary(ratios),
    }
}

fn environment(at: &Environment) -> std::io::Result<()> {
    let place = if at.server_is_local { "on this machine" } else { "elsewhere" };
    say(format_args!(
        "{} cores; nats-server {} {place}, {} storage, replicas {} and {}",
        at.cores, at.server, at.storage, at.input_replicas, at.ledger_replicas
    ))?;
    say(format_args!(
        "{} actions of {} B, of them {} % duplicates and {} % mismatches; {} rounds",
        at.actions, at.payload_bytes, at.duplicates_percent, at.mismatches_percent, at.rounds
    ))?;
    say("")?;
    say("round contender  actions/s  CPU us/action: client  server  memory MB  B/key on disk")
}

fn throughput(measured: &Throughput) -> std::io::Result<()> {
    let or_none = |value: Option<f64>, digits: usize| {
        value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
    };
    say(format_args!(
        "{:>5} {:<9} {:>10.0} {:>22.1} {:>7} {:>10.0} {:>14}",
        measured.round,
        measured.contender,
        measured.actions_per_second,
        measured.client_cpu_us_per_action,
        or_none(measured.server_cpu_us_per_action, 1),
        measured.memory_peak_bytes as f64 / MEGABYTE,
        or_none(measured.disk_bytes_per_key, 0),
    ))
}

fn summary(ratios: &[Ratio]) -> std::io::Result<()> {
    if !ratios.is_empty() {
        say("")?;
    }
    for Ratio { against, throughput } in ratios {
        say(format_args!(
            "{} / {against:<9}  {:.2} (median; {:.2} to {:.2})",
            Contender::Gate,
            throughput.median,
            throughput.min,
            throughput.max
        ))?;
    }
    Ok(())
}

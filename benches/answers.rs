//! What receipts cost: actions that want an answer against the same without, in turn, for `docs/performance.md`.
//!
//!     cargo bench --bench answers -- --actions 200000 --rounds 5
//!
//! Each round has a server, a worker and a table of its own; the actions are in the stream before the worker
//! starts. From the first verdict to the last, by the worker's own metrics. The caller counts its receipts and reads
//! none: callers are elsewhere, and only what gate and server do for them is to be measured.

#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::indexing_slicing,
    clippy::print_stdout,
    missing_docs,
    dead_code,
    reason = "a measurement stops at what it did not expect, and prints; it uses a part of what tests share"
)]

#[path = "../tests/support/mod.rs"]
mod support;

use std::time::{Duration, Instant};

use clap::Parser;

use support::gate::Gate;
use support::raw::Outgoing;
use support::server::Server;
use support::streams;

#[derive(Parser)]
struct Arguments {
    /// In each measurement.
    #[arg(long, default_value_t = 200_000)]
    actions: u64,
    #[arg(long, default_value_t = 5)]
    rounds: u64,
    /// `cargo bench` says so.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() {
    let Arguments { actions, rounds, .. } = Arguments::parse();
    let mut ratios = Vec::new();
    println!("| round | actions/s without | with a receipt each | ratio | receipts that came |");
    println!("|---|---|---|---|---|");
    for round in 1..=rounds {
        // Which comes first changes from round to round.
        let first_with = round % 2 == 0;
        let mut rates = [(0.0, 0), (0.0, 0)];
        for with in [first_with, !first_with] {
            rates[usize::from(with)] = measure(actions, with);
        }
        let [(without, _), (with, came)] = rates;
        ratios.push(with / without);
        println!("| {round} | {without:.0} | {with:.0} | {:.2} | {came} |", with / without);
    }
    ratios.sort_by(f64::total_cmp);
    let (least, most) = (ratios[0], ratios[ratios.len() - 1]);
    println!("\nratio: median {:.2}, from {least:.2} to {most:.2}", ratios[ratios.len() / 2]);
}

/// Verdicts a second, and how many receipts came.
fn measure(actions: u64, receipts: bool) -> (f64, u64) {
    let server = Server::start();
    let mut client = server.client();
    streams::create(&mut client, &streams::input_config(&serde_json::json!({})));
    let body = format!(r#"{{"to":"account-7","note":"{}"}}"#, "x".repeat(160));
    for first in (0..actions).step_by(10_000) {
        let messages: Vec<_> = (first..actions.min(first + 10_000))
            .map(|n| {
                let key = format!("{n:08}-0000-4000-8000-000000000000");
                let mut headers = vec![("Idempotency-Key", key.as_str())];
                if receipts {
                    headers.push(("Oncegate-Reply-To", "_INBOX.bench.answers"));
                }
                Outgoing::new("actions.pay", &headers, body.as_bytes())
            })
            .collect();
        client.publish_all(&messages);
    }
    let mut caller = server.client();
    caller.subscribe("_INBOX.bench.answers");
    let counting = std::thread::spawn(move || {
        caller.patience(Duration::from_secs(3));
        caller.count_deliveries(actions)
    });
    let mut gate = Gate::on(&server.url());
    gate.spawn();
    let accepted = |gate: &Gate| gate.try_metrics().map_or(0, |metrics| metrics.accepted() as u64);
    let first = support::wait_for("the first verdict", || {
        Some((accepted(&gate), Instant::now())).filter(|(accepted, _)| *accepted > 0)
    });
    support::wait_until("the last verdict", || accepted(&gate) == actions);
    let rate = (actions - first.0) as f64 / first.1.elapsed().as_secs_f64();
    let came = if receipts { counting.join().unwrap() } else { 0 };
    gate.stop();
    (rate, came)
}

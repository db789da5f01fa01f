//! Deterministic simulation: the gate's core in a world that a seed chooses, held to a model after every step.
//!
//! The world has the two input streams (actions and reports), the gate's consumers on them, a ledger with the real rules of fast-ingest
//! batches (`ledger_server`, which `tests/conformance` holds to real servers), a lease, connections, and up to
//! three workers. `scripts/simulate` runs many seeds, or one with its trace.
#![allow(
    dead_code,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test fails by panicking, and the ledger server has other users"
)]

mod agenda;
mod counts;
mod faults;
mod input_server;
mod inputs;
mod lease_server;
mod ledger_server;
mod link;
mod messages;
mod network;
mod plan;
mod processes;
mod publisher;
mod reporter;
mod runs;
mod serving;
mod trace;
mod truth;
mod worker;
mod world;
mod wrong;

use std::str::FromStr;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use runs::Failure;
use world::World;
use wrong::Wrong;

/// Run every time, whatever the time.
const SEEDS_MIN: u64 = 20_000;
/// More seeds, others each time, until this is over.
const BUDGET: Duration = Duration::from_secs(60);
/// A wrong engine is caught within so many.
const SEEDS_TO_CATCH: u64 = 20_000;

fn setting<T: FromStr>(name: &str) -> Option<T> {
    let text = std::env::var(name).ok().filter(|text| !text.is_empty())?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}: {text}")))
}

fn expect_no(failure: Option<Failure>) {
    if let Some(Failure { seed, why }) = failure {
        panic!("seed {seed}: {why}\nto see it happen: scripts/simulate --seed {seed}");
    }
}

#[test]
fn whatever_a_seed_chooses() {
    let begun = Instant::now();
    let others = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() << 24;
    let (counts, failure) = match setting::<u64>("SIMULATE_SEEDS") {
        Some(seeds) => {
            let first: u64 = setting("SIMULATE_FIRST").unwrap_or(1);
            runs::run(first..first + seeds, None, |_| true)
        }
        None => {
            let seeds = (1..=SEEDS_MIN).chain(others..);
            runs::run(seeds, None, |done| done < SEEDS_MIN || begun.elapsed() < BUDGET)
        }
    };
    println!("{counts}");
    expect_no(failure);
    if counts.runs >= SEEDS_MIN {
        assert_eq!(counts.never_met(), Vec::<String>::new(), "the runs never met these");
    }
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in 1..=200 {
        let trace = || {
            let mut world = World::new(seed, true, None);
            world.run().ok();
            world.trace.text()
        };
        let first = trace();
        assert!(first.lines().count() > 20, "seed {seed} does nothing");
        assert!(first == trace(), "seed {seed} has two traces");
    }
}

#[test]
fn wrong_engines_are_caught() {
    let mut missed = Vec::new();
    for wrong in Wrong::ALL {
        let (_, failure) = runs::run(1..=SEEDS_TO_CATCH, Some(wrong), |_| true);
        match failure {
            Some(Failure { seed, why }) => println!("{wrong:?}: caught by seed {seed}: {why}"),
            None => missed.push(wrong),
        }
    }
    assert_eq!(missed, [], "not caught by {SEEDS_TO_CATCH} seeds");
}

/// For `scripts/simulate --seed`.
#[test]
fn one_seed() {
    let Some(seed) = setting::<u64>("SIMULATE_SEED") else { return };
    let mut world = World::new(seed, true, None);
    let ended = world.run();
    let counts = world.counts.to_string();
    println!("{}{counts}", world.trace.text());
    expect_no(ended.err().map(|why| Failure { seed, why }));
}

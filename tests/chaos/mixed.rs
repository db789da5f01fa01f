//! All faults by a seed, in rounds: each on fresh servers, so that a long run is as fast at its end as
//! at its beginning. `scripts/chaos` sets the environment that this reads.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::faults::{CLUSTER, SINGLE, named};
use crate::stage::{Fault, Stage, Tally};
use crate::support::cluster::Cluster;
use crate::support::gate::Settings;
use crate::support::server::Server;
use crate::support::world::Site;

const PROGRESS: Duration = Duration::from_secs(3);

/// What a run consists of.
struct Scene<S: Site + 'static> {
    faults: &'static [Fault<S>],
    /// Faults in a round.
    steps: u64,
    /// For the script.
    flag: &'static str,
    begin: fn(u64) -> Stage<S>,
}

#[test]
fn whatever_goes_wrong_on_one_server() {
    let begin = |seed| {
        // Every third round has a work queue for its input.
        let kind = if seed % 3 == 0 { "workqueue" } else { "limits" };
        Stage::begin(Server::start(), seed, &json!({ "retention": kind }), &Settings::default())
    };
    run(&Scene { faults: SINGLE, steps: 40, flag: "", begin });
}

#[test]
fn whatever_goes_wrong_on_a_cluster() {
    let begin = |seed| {
        let (fields, settings) = in_three_replicas();
        Stage::begin(Cluster::start(), seed, &fields, &settings)
    };
    run(&Scene { faults: CLUSTER, steps: 10, flag: " --cluster", begin });
}

#[test]
fn the_script_knows_every_fault() {
    let script = std::fs::read_to_string("scripts/chaos").unwrap();
    let listed = |variable: &str| -> Vec<String> {
        let (_, rest) = script.split_once(&format!("\n{variable}=\"")).unwrap();
        rest.split('"').next().unwrap().split_whitespace().map(String::from).collect()
    };
    assert_eq!(listed("SINGLE_FAULTS"), SINGLE.iter().map(|f| f.name).collect::<Vec<_>>());
    assert_eq!(listed("CLUSTER_FAULTS"), CLUSTER.iter().map(|f| f.name).collect::<Vec<_>>());
}

/// Fields of the input stream, and settings.
pub fn in_three_replicas() -> (Value, Settings) {
    let settings = Settings::default().with("input.replicas", "3").with("ledger.replicas", "3");
    (json!({ "num_replicas": 3 }), settings)
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Rounds of seeds from `CHAOS_SEED` on, until `CHAOS_SECONDS` are over; one if it is not set.
fn run<S: Site + 'static>(scene: &Scene<S>) {
    let Scene { faults, flag, .. } = *scene;
    let first = variable("CHAOS_SEED").map_or(1, |seed| seed.parse().unwrap());
    let least = variable("CHAOS_SECONDS").map_or(0, |seconds| seconds.parse().unwrap());
    let chosen: Vec<&Fault<S>> = match variable("CHAOS_FAULTS") {
        Some(names) => names.split(',').map(|name| named(faults, name).expect(name)).collect(),
        None => faults.iter().collect(),
    };
    let (started, mut total, mut rounds) = (Instant::now(), Tally::default(), 0);
    while rounds == 0 || started.elapsed() < Duration::from_secs(least) {
        let seed = first + rounds;
        let rerun = Rerun { seed, flag };
        total.add(&round(scene, &chosen, seed));
        drop(rerun);
        rounds += 1;
    }
    report(first, rounds, started.elapsed(), &total);
}

fn round<S: Site + 'static>(scene: &Scene<S>, faults: &[&Fault<S>], seed: u64) -> Tally {
    let (mut stage, steps) = ((scene.begin)(seed), scene.steps);
    let weights: u64 = faults.iter().map(|fault| fault.weight).sum();
    let mut told = Instant::now();
    for step in 0..steps {
        let mut place = stage.dice.roll(weights);
        let fault = faults.iter().find(|fault| {
            let here = place < fault.weight;
            place = place.saturating_sub(fault.weight);
            here
        });
        stage.step(fault.unwrap());
        if told.elapsed() > PROGRESS {
            told = Instant::now();
            let Tally { worker_kills, server_kills, .. } = stage.tally;
            eprintln!(
                "seed {seed}: fault {} of {steps}; {worker_kills} worker kills, {server_kills} server kills",
                step + 1
            );
        }
    }
    stage.end()
}

/// Says on a failure how to see it again.
struct Rerun {
    seed: u64,
    flag: &'static str,
}

impl Drop for Rerun {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let Self { seed, flag } = self;
            let faults = variable("CHAOS_FAULTS").map(|names| format!(" --faults {names}"));
            let faults = faults.unwrap_or_default();
            eprintln!("this round again: scripts/chaos --seconds 1 --seed {seed}{flag}{faults}");
        }
    }
}

/// One line, as text and as JSON, into the files that `CHAOS_REPORT` begins the names of.
fn report(seed: u64, rounds: u64, took: Duration, total: &Tally) {
    let seconds = took.as_secs();
    let Tally { faults, worker_kills, server_kills, actions, retried, entries, .. } = total;
    let Tally { accepted, duplicates, rejected, .. } = total;
    let Tally { reports, completed, released, repeated, rejected_reports, .. } = total;
    let named: Vec<String> = faults.iter().map(|(name, count)| format!("{name} {count}")).collect();
    let text = format!(
        "seed {seed}: {seconds} s, {rounds} rounds, {actions} actions ({retried} published again), \
         {entries} ledger entries: {accepted} accepted, {duplicates} duplicates, {rejected} rejected; \
         {reports} reports: {completed} completed, {released} released, {repeated} repeated, \
         {rejected_reports} rejected; \
         {worker_kills} worker kills, {server_kills} server kills; faults: {}; lost 0, doubled 0\n",
        named.join(", ")
    );
    eprint!("{text}");
    if let Some(path) = variable("CHAOS_REPORT") {
        let json = json!({
            "seed": seed, "seconds": seconds, "rounds": rounds, "actions": actions, "retried": retried,
            "entries": entries, "accepted": accepted, "duplicates": duplicates, "rejected": rejected,
            "reports": reports, "completed": completed, "released": released, "repeated": repeated,
            "rejected_reports": rejected_reports,
            "worker_kills": worker_kills, "server_kills": server_kills, "faults": faults,
            "lost": 0, "doubled": 0,
        });
        std::fs::write(format!("{path}.txt"), text).unwrap();
        std::fs::write(format!("{path}.json"), format!("{json}\n")).unwrap();
    }
}

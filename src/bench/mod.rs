//! `oncegate bench`: the gate beside what does less, on the same server, in turn, round by round.
//!
//! Absolute figures move with the machine and its neighbours; what is told at last are ratios between contenders of
//! one round. No number is told before the output it stands for was read from end to end and found right.
//!
//! In reading order: [`plan`] (the load, decided by a seed), [`place`] and [`stage`] (a name, streams and a directory
//! of its own, and their removal), [`room`] (whether there is enough of it), [`contender`] (a process that is
//! measured), [`forwarder`] (what the gate is measured beside), [`publisher`] and [`load`] (how actions get there),
//! [`check`] (whether an output is right), [`process`] (what a process uses), [`throughput`] (one measurement),
//! [`latency`] with [`schedule`], [`watch`] and [`times`] (the other), [`summary`] (what they say together). Apart from all that,
//! [`table`]: the key table alone, as it grows.

pub mod check;
pub mod contender;
pub mod forwarder;
pub mod latency;
pub mod load;
pub mod place;
pub mod plan;
pub mod process;
pub mod publisher;
pub mod room;
pub mod schedule;
pub mod stage;
pub mod summary;
pub mod table;
pub mod throughput;
pub mod times;
pub mod watch;

use std::io;

use serde::Serialize;

use contender::Contender;
use latency::Latency;
use plan::{Plan, Shape};
use stage::Stage;
use summary::{Comparison, Measured};
use throughput::Throughput;

/// What is measured.
#[derive(Clone, Debug)]
pub struct Options {
    /// The load.
    pub shape: Shape,
    /// How often each contender has its turn.
    pub rounds: u32,
    /// Beside the gate.
    pub against: Vec<Contender>,
    /// Actions a second at which latency is measured, if it is.
    pub rate: Option<u32>,
}

/// What is told, as soon as it is known.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Told {
    /// Where it is measured.
    Environment(Environment),
    /// A contender has been through the load.
    Throughput(Throughput),
    /// A contender has forwarded actions at one of two paces.
    Latency(Latency),
    /// All rounds are over.
    Summary {
        /// The gate beside each of the others.
        comparisons: Vec<Comparison>,
    },
}

/// See [`Told`].
#[derive(Clone, Debug, Serialize)]
pub struct Environment {
    /// Processors that this process may use.
    pub cores: usize,
    /// How many threads wanted a processor in the minute before: whoever else works here takes from all that follows.
    pub load_average: Option<f64>,
    /// Its version.
    pub server: String,
    /// It is on this machine, and shares its processors.
    pub server_is_local: bool,
    /// Of the load.
    pub actions: u32,
    /// Of each action.
    pub payload_bytes: usize,
    /// Exact repeats.
    pub duplicates_percent: u8,
    /// A key with another payload.
    pub mismatches_percent: u8,
    /// How often each has its turn.
    pub rounds: u32,
    /// Actions a second at which latency is measured.
    pub rate: Option<u32>,
    /// Of all streams.
    pub storage: &'static str,
    /// Of the input stream.
    pub input_replicas: usize,
    /// Of the output streams.
    pub ledger_replicas: usize,
}

/// All rounds. The stage is to be cleared afterwards, however this ended.
pub async fn run(
    stage: &mut Stage,
    options: &Options,
    tell: &mut dyn FnMut(&Told) -> io::Result<()>,
) -> anyhow::Result<()> {
    room::check(stage, &options.shape).await?;
    tell(&Told::Environment(environment(stage, options)))?;
    let mut measured = Measured::default();
    let plan = Plan::new(options.shape);
    load::put(stage, &plan).await?;
    for turn in turns(options) {
        let one = throughput::measure(stage, &plan, turn).await?;
        tell(&Told::Throughput(one.clone()))?;
        measured.throughput.push(one);
    }
    stage.clear_input().await?;
    if let Some(per_second) = options.rate {
        for turn in turns(options) {
            for one in latency::measure(stage, per_second, turn, options.shape).await? {
                tell(&Told::Latency(one.clone()))?;
                measured.latency.push(one);
            }
        }
    }
    tell(&Told::Summary { comparisons: measured.comparisons(&options.against) })?;
    Ok(())
}

/// In each round everybody, beginning with another one than in the last.
fn turns(options: &Options) -> impl Iterator<Item = (u32, Contender)> {
    let mut contenders = vec![Contender::Gate];
    contenders.extend(&options.against);
    (1..=options.rounds).flat_map(move |round| {
        let turn = contenders.clone();
        contenders.rotate_left(1);
        turn.into_iter().map(move |contender| (round, contender))
    })
}

fn environment(stage: &Stage, options: &Options) -> Environment {
    let shape = &options.shape;
    Environment {
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        load_average: process::load_average().map(summary::rounded),
        server: stage.connection.client.server_info().version,
        server_is_local: stage.server.is_some(),
        actions: shape.actions,
        payload_bytes: shape.payload_bytes,
        duplicates_percent: shape.duplicates_percent,
        mismatches_percent: shape.mismatches_percent,
        rounds: options.rounds,
        rate: options.rate,
        storage: "file",
        input_replicas: stage.config.input.replicas,
        ledger_replicas: stage.config.ledger.replicas,
    }
}

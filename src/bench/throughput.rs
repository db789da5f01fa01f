//! One contender through the whole load, as fast as it can.

use std::time::Duration;

use anyhow::Context as _;
use serde::Serialize;

use super::check;
use super::contender::Contender;
use super::plan::{Kind, Plan};
use super::process;
use super::stage::Stage;
use super::summary::rounded;
use crate::clock;
use crate::nats::raw;
use crate::progress::Progress;

const LOOKS_EVERY: Duration = Duration::from_millis(50);
/// An output that does not grow for so long will not.
const PATIENCE: Duration = Duration::from_secs(60);

/// What was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Throughput {
    /// From 1.
    pub round: u32,
    /// Who.
    pub contender: Contender,
    /// Of the load.
    pub actions: u64,
    /// Forwarded.
    pub accepted: u64,
    /// Refused, as entries of the ledger.
    pub rejected: u64,
    /// From the output's first message to its last, by its own times.
    pub seconds: f64,
    /// Of all actions of the load.
    pub actions_per_second: f64,
    /// Of the contender's process, from its start.
    pub client_cpu_us_per_action: f64,
    /// Of the server's process meanwhile, for whomever; `None` if it is not on this machine.
    pub server_cpu_us_per_action: Option<f64>,
    /// Of the contender's process, resident.
    pub memory_peak_bytes: u64,
    /// Of the gate's table when it has stopped, for each key.
    pub disk_bytes_per_key: Option<f64>,
}

/// Runs it, checks its output, and removes that again.
pub async fn measure(
    stage: &mut Stage,
    plan: &Plan,
    (round, contender): (u32, Contender),
) -> anyhow::Result<Throughput> {
    let server_cpu =
        |stage: &Stage| stage.server.and_then(process::usage).map(|usage| usage.cpu_seconds);
    let server_before = server_cpu(stage);
    stage.start(contender).await?;
    wait_for_the_last(stage, plan, contender).await?;
    let used = stage.usage()?;
    let server_after = server_cpu(stage);
    stage.stop().await?;
    let found = check::output(stage, plan, contender).await?;
    let table_bytes = stage.place.table_bytes();
    stage.clear_output().await?;

    let actions = plan.steps().len() as u64;
    let (first, last) = found.stored_ns.context("the output is empty")?;
    let seconds = Duration::from_nanos((last - first).unsigned_abs()).as_secs_f64();
    let per_action = |seconds: f64| rounded(seconds * 1e6 / actions as f64);
    let keys = plan.count(Kind::New) as f64;
    Ok(Throughput {
        round,
        contender,
        actions,
        accepted: found.accepted,
        rejected: found.rejected,
        seconds: rounded(seconds),
        actions_per_second: rounded(actions as f64 / seconds),
        client_cpu_us_per_action: per_action(used.cpu_seconds),
        server_cpu_us_per_action: server_before
            .zip(server_after)
            .map(|(before, after)| per_action(after - before)),
        memory_peak_bytes: used.memory_peak_bytes,
        disk_bytes_per_key: (contender == Contender::Gate)
            .then(|| rounded(table_bytes as f64 / keys)),
    })
}

/// Until the output holds the load's last action, which every contender forwards.
async fn wait_for_the_last(stage: &mut Stage, plan: &Plan, who: Contender) -> anyhow::Result<()> {
    let progress = Progress::of_command(match who {
        Contender::Gate => "the gate",
        Contender::Forwarder => "a plain forwarder",
        Contender::Native => "the same with Nats-Msg-Id",
    });
    let last = format!("{}.accepted.{}", stage.config.name, stage.action_subject(true));
    let stream = stage.config.ledger_stream();
    let (mut held, mut since) = (0, clock::monotonic());
    loop {
        tokio::time::sleep(LOOKS_EVERY).await;
        stage.must_run()?;
        let now_held = stage.output().await?.map_or(0, |info| info.state.messages);
        if now_held > held {
            (held, since) = (now_held, clock::monotonic());
            let all = plan.steps().len() as u64;
            progress.at(held.min(all), all);
            if raw::last_on(&stage.connection, &stream, &last).await?.is_some() {
                return Ok(());
            }
        }
        anyhow::ensure!(
            since.elapsed() < PATIENCE,
            "the output of the {who} has stood still at {held} messages for {} s, before its last",
            PATIENCE.as_secs()
        );
    }
}

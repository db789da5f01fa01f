//! How long an action takes from its publisher to the output: one at a time, and at a fixed rate.
//!
//! At the rate, when an action is due is fixed beforehand, and its time counts from there. A contender that stands
//! still, or a publisher that comes late, makes all waiting actions late, and all of these are counted.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::contender::Contender;
use super::plan::{Plan, Shape, Step};
use super::schedule::{self, Action, Schedule};
use super::stage::Stage;
use super::times::{histogram, microseconds};
use super::watch::Watch;
use crate::clock;
use crate::progress::Progress;

/// Until a contender has forwarded these, it is still starting.
const FIRST_ACTIONS: u32 = 100;
/// One at a time.
const IDLE_ACTIONS: u32 = 200;
/// Between two of them.
const IDLE_PAUSE: Duration = Duration::from_millis(5);
/// How long actions come at the rate, unless the load is smaller.
const RATE_SECONDS: u32 = 10;
/// From when everything is ready to when the first of these is due.
const RATE_BEGINS_AFTER: Duration = Duration::from_millis(20);

/// How actions came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Pace {
    /// Each after the last one was through.
    Idle,
    /// By a schedule, whatever became of the last.
    Rate,
}

/// What was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Latency {
    /// From 1.
    pub round: u32,
    /// Who.
    pub contender: Contender,
    /// How actions came.
    pub pace: Pace,
    /// How many.
    pub actions: u64,
    /// From when it was due to when a consumer of the output had it; half took no longer.
    pub p50_ms: f64,
    /// 99 of 100.
    pub p99_ms: f64,
    /// 999 of 1,000.
    pub p999_ms: f64,
    /// The slowest one.
    pub max_ms: f64,
    /// By how much 99 of 100 were sent too late at most: the measurement's own part. `None` without a schedule.
    pub sent_late_p99_ms: Option<f64>,
}

/// Starts a contender on an empty input, measures it at both paces, and removes all of it.
pub async fn measure(
    stage: &mut Stage,
    per_second: u32,
    (round, contender): (u32, Contender),
    shape: Shape,
) -> anyhow::Result<[Latency; 2]> {
    let timed = per_second.saturating_mul(RATE_SECONDS).min(shape.actions);
    let actions = FIRST_ACTIONS + IDLE_ACTIONS + timed;
    let plan = Plan::new(Shape { actions, duplicates_percent: 0, mismatches_percent: 0, ..shape });
    let (first, rest) = plan.steps().split_at(FIRST_ACTIONS as usize);
    let (idle, timed) = rest.split_at(IDLE_ACTIONS as usize);
    stage.make_input().await?;
    stage.start(contender).await?;
    let mut watch = Watch::open(stage, &plan).await?;
    one_by_one(stage, &mut watch, first).await?;
    let idle = one_by_one(stage, &mut watch, idle).await?;
    let timed = at_a_rate(stage, &mut watch, timed, per_second).await?;
    stage.stop().await?;
    stage.clear_output().await?;
    stage.clear_input().await?;
    let latency = |pace, times: Times| times.told((round, contender), pace);
    Ok([latency(Pace::Idle, idle), latency(Pace::Rate, timed)])
}

async fn one_by_one(
    stage: &mut Stage,
    watch: &mut Watch<'_>,
    steps: &[Step],
) -> anyhow::Result<Times> {
    let mut times = Times::new()?;
    for step in steps {
        let action = Action::of(stage, watch.plan, *step)?;
        let due = clock::monotonic();
        action.send(&stage.connection.client).await?;
        let (_, came) = watch.next(stage).await?;
        times.came.record(microseconds(came - due))?;
        sleep(IDLE_PAUSE).await;
    }
    Ok(times)
}

async fn at_a_rate(
    stage: &mut Stage,
    watch: &mut Watch<'_>,
    steps: &[Step],
    per_second: u32,
) -> anyhow::Result<Times> {
    let actions = steps.iter().map(|step| Action::of(stage, watch.plan, *step));
    let actions: Vec<Action> = actions.collect::<Result<_, _>>()?;
    let schedule = Schedule { begin: clock::monotonic() + RATE_BEGINS_AFTER, per_second };
    let stop = CancellationToken::new();
    let _stop_at_the_end = stop.clone().drop_guard();
    let client = stage.connection.client.clone();
    let sending = move || schedule::send_all(&client, actions, schedule, &stop);
    let sending = tokio::task::spawn_blocking(sending);
    let progress = Progress::of_command("actions at a fixed rate");
    let mut times = Times::new()?;
    let count = steps.len() as u64;
    let mut through = 0;
    while through < count {
        let (many, came) = watch.next(stage).await?;
        for index in through..(through + many).min(count) {
            let late = came.saturating_duration_since(schedule.due(index));
            times.came.record(microseconds(late))?;
        }
        through += many;
        progress.at(through, count);
    }
    times.sent_late = Some(sending.await??);
    Ok(times)
}

struct Times {
    came: Histogram<u64>,
    sent_late: Option<Histogram<u64>>,
}

impl Times {
    fn new() -> anyhow::Result<Self> {
        Ok(Self { came: histogram()?, sent_late: None })
    }

    fn told(&self, (round, contender): (u32, Contender), pace: Pace) -> Latency {
        let ms = |times: &Histogram<u64>, quantile| times.value_at_quantile(quantile) as f64 / 1e3;
        Latency {
            round,
            contender,
            pace,
            actions: self.came.len(),
            p50_ms: ms(&self.came, 0.5),
            p99_ms: ms(&self.came, 0.99),
            p999_ms: ms(&self.came, 0.999),
            max_ms: self.came.max() as f64 / 1e3,
            sent_late_p99_ms: self.sent_late.as_ref().map(|late| ms(late, 0.99)),
        }
    }
}

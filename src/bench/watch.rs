//! When actions come out: a consumer of the output that sees what is stored, not what is published.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::time::{sleep, timeout};

use super::load;
use super::plan::Plan;
use super::stage::Stage;
use crate::clock;
use crate::nats::pull::Broken;
use crate::nats::tail::Tail;

/// An action that has not come by then is lost, or as good as lost.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOKS_EVERY: Duration = Duration::from_millis(20);

/// What it brings must be the plan's actions, in order.
pub struct Watch<'a> {
    /// What must come.
    pub plan: &'a Plan,
    tail: Tail,
    seen: usize,
}

impl<'a> Watch<'a> {
    /// As soon as there is an output.
    pub async fn open(stage: &mut Stage, plan: &'a Plan) -> anyhow::Result<Self> {
        let begun = clock::monotonic();
        while stage.output().await?.is_none() {
            stage.must_run()?;
            anyhow::ensure!(begun.elapsed() < PATIENCE, "there is no output stream yet");
            sleep(LOOKS_EVERY).await;
        }
        Ok(Self { plan, tail: tail(stage).await?, seen: 0 })
    }

    /// How many more have come, and when.
    pub async fn next(&mut self, stage: &mut Stage) -> anyhow::Result<(u64, Instant)> {
        let begun = clock::monotonic();
        let chunk = loop {
            match timeout(PATIENCE, self.tail.next()).await {
                Ok(Ok(chunk)) => break chunk,
                // In a cluster, a stream or a consumer that was just made may not be reached yet.
                Ok(Err(broken)) if self.seen == 0 && begun.elapsed() < PATIENCE => {
                    tracing::debug!(%broken, "reading the output anew");
                    sleep(LOOKS_EVERY).await;
                    self.tail = tail(stage).await?;
                }
                Ok(Err(broken)) => return Err(broken.into()),
                Err(_) => {
                    stage.must_run()?;
                    let seconds = PATIENCE.as_secs();
                    anyhow::bail!("action {} has not come for {seconds} s", self.seen + 1);
                }
            }
        };
        let came = clock::monotonic();
        for message in &chunk.entries {
            let step = self.plan.steps().get(self.seen).context("more came than was sent")?;
            load::must_be(message, self.plan, *step)?;
            self.seen += 1;
        }
        Ok((chunk.entries.len() as u64, came))
    }
}

async fn tail(stage: &Stage) -> Result<Tail, Broken> {
    let subjects = [format!("{}.accepted.>", stage.config.name)];
    Tail::open_whole(&stage.config, (&stage.config.ledger_stream(), &subjects), 1).await
}

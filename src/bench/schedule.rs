//! Actions at a fixed rate: when each is due is fixed beforehand, whatever becomes of those before it.

use std::time::{Duration, Instant};

use async_nats::{Client, HeaderMap, Subject};
use bytes::Bytes;
use hdrhistogram::Histogram;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::load;
use super::plan::{Plan, Step};
use super::stage::Stage;
use super::times;
use crate::clock;

/// When actions are due.
#[derive(Clone, Copy)]
pub struct Schedule {
    /// When the first is due.
    pub begin: Instant,
    /// How many are due in a second.
    pub per_second: u32,
}

impl Schedule {
    /// When the action of this index is due.
    pub fn due(&self, index: u64) -> Instant {
        let nanos = u128::from(index) * 1_000_000_000 / u128::from(self.per_second);
        self.begin + Duration::from_nanos(nanos.try_into().unwrap_or(u64::MAX))
    }
}

/// On a thread of its own, since a timer of the runtime ticks once a millisecond. How late each was sent.
pub fn send_all(
    client: &Client,
    actions: Vec<Action>,
    schedule: Schedule,
    stop: &CancellationToken,
) -> anyhow::Result<Histogram<u64>> {
    let runtime = Handle::current();
    let mut late = times::histogram()?;
    for (index, action) in (0..).zip(actions) {
        let due = schedule.due(index);
        std::thread::sleep(due.saturating_duration_since(clock::monotonic()));
        if stop.is_cancelled() {
            break;
        }
        runtime.block_on(action.send(client))?;
        late.record(times::microseconds(clock::monotonic().saturating_duration_since(due)))?;
    }
    Ok(late)
}

/// Ready to be sent.
pub struct Action {
    subject: Subject,
    headers: HeaderMap,
    payload: Bytes,
}

impl Action {
    /// Of the plan.
    pub fn of(stage: &Stage, plan: &Plan, step: Step) -> anyhow::Result<Self> {
        Ok(Self {
            subject: stage.action_subject(false).into(),
            headers: load::headers(plan, step)?,
            payload: plan.payload(step),
        })
    }
    /// Without asking for an acknowledgement: whether it was stored shows in the output.
    pub async fn send(self, client: &Client) -> anyhow::Result<()> {
        Ok(client.publish_with_headers(self.subject, self.headers, self.payload).await?)
    }
}

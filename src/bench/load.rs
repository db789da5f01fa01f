//! Puts the load into the input stream, and knows its actions again in an output.

use async_nats::HeaderMap;
use async_nats::header::HeaderValue;

use super::plan::{Plan, Step};
use super::publisher::Publisher;
use super::stage::Stage;
use crate::gate::entry::KEY;
use crate::nats::raw::RawMessage;
use crate::nats::setup;
use crate::progress::Progress;

/// All of it, and the stream must hold just that.
pub async fn put(stage: &mut Stage, plan: &Plan) -> anyhow::Result<()> {
    stage.make_input().await?;
    let progress = Progress::of_command("loading actions");
    let mut publisher = Publisher::open(&stage.connection).await?;
    let count = plan.steps().len();
    for (index, step) in plan.steps().iter().enumerate() {
        while !publisher.has_room() {
            publisher.more_stored().await?;
            progress.at(publisher.stored(), count as u64);
        }
        let subject = stage.action_subject(index + 1 == count);
        publisher.send(subject.into(), headers(plan, *step)?, plan.payload(*step)).await?;
    }
    while publisher.stored() < publisher.sent() {
        publisher.more_stored().await?;
    }
    let stream = &stage.config.input.stream;
    let info = setup::stream_info(&stage.connection, stream).await?;
    let held = info.map_or(0, |info| info.state.messages);
    anyhow::ensure!(
        held == count as u64,
        "{stream} holds {held} actions after {count} were stored"
    );
    Ok(())
}

/// Of an action.
pub fn headers(plan: &Plan, step: Step) -> anyhow::Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    headers.insert(KEY, plan.key(step).parse::<HeaderValue>()?);
    Ok(headers)
}

/// A message of an output must carry this action's key and payload.
pub fn must_be(message: &RawMessage, plan: &Plan, step: Step) -> anyhow::Result<()> {
    let headers = message.headers.as_ref().map_err(|error| anyhow::anyhow!("{error}"))?;
    let (key, expected) = (headers.one(KEY), plan.key(step));
    anyhow::ensure!(
        key == Some(expected.as_str()),
        "its key is {key:?}, expected: {expected}: an action is missing, doubled or out of order"
    );
    anyhow::ensure!(message.payload == plan.payload(step), "its payload is not that of the action");
    Ok(())
}

//! What the gate is measured beside: a forwarder as one would write it with the client library. Durable consumer,
//! AckAll, large pulls; the library's own publishing to a stream, with many acknowledgements outstanding. It knows
//! nothing of keys, unless it is told to leave them to the stream, as `Nats-Msg-Id`.
//!
//! It loses nothing: an action is acknowledged when the output stream has it. One exception is in its favour: of a
//! repeat that a replicated stream calls in process, it trusts that the original gets there, and does not send it
//! again to be sure.

use std::collections::VecDeque;
use std::error::Error as _;
use std::future::{Future, IntoFuture as _};
use std::pin::Pin;
use std::time::Duration;

use async_nats::jetstream::context::{ContextBuilder, PublishError};
use async_nats::jetstream::publish::PublishAck;
use async_nats::jetstream::{self, Context, ErrorCode};
use async_nats::{Client, Message, Subject};
use futures::FutureExt as _;
use tokio::time::sleep;

use crate::clock;
use crate::config::Config;
use crate::gate::entry::KEY;
use crate::nats::connect::Connection;
use crate::nats::pull::{Brought, PULL_MESSAGES, Pull};

/// So many acknowledgements of the output may be outstanding. Beyond 10,000 messages the server drops what waits
/// before a stream.
const OUTSTANDING_MAX: usize = 4096;
/// One acknowledgement of the input for so many actions.
const ACKNOWLEDGED_AT_ONCE: u64 = 500;
/// How long to try for the first delivery, and after what pause again.
const REACHED_WITHIN: Duration = Duration::from_secs(10);
const RETRY_AFTER: Duration = Duration::from_millis(20);
/// A repeat of a `Nats-Msg-Id` that a replicated stream has not quite stored.
const REPEAT_IN_PROCESS: ErrorCode = ErrorCode::STREAM_DUPLICATE_MESSAGE_CONFLICT;

type Stored = Pin<Box<dyn Future<Output = Result<PublishAck, PublishError>> + Send>>;

struct Forwarder {
    input: Client,
    output: Context,
    prefix: String,
    message_ids: bool,
    /// In the order in which they were sent, each with what acknowledges its action.
    outstanding: VecDeque<(Stored, Option<Subject>)>,
    stored: u64,
    /// What acknowledges all that is stored, once it is due.
    last: Option<Subject>,
}

/// Forwards until it is killed.
pub async fn run(config: &Config, message_ids: bool) -> anyhow::Result<()> {
    let input = Connection::open(&config.nats, "bench forwarder, input").await?;
    let output = Connection::open(&config.nats, "bench forwarder, output").await?;
    let (mut pull, mut brought) = begin(&input, config).await?;
    // Its own bound is not to be met: a publish that waits would hold up the acknowledgements.
    let publishing = ContextBuilder::new().max_ack_inflight(2 * OUTSTANDING_MAX);
    let mut forwarder = Forwarder {
        input: input.client.clone(),
        output: publishing.build(output.client.clone()),
        prefix: format!("{}.accepted", config.name),
        message_ids,
        outstanding: VecDeque::new(),
        stored: 0,
        last: None,
    };
    loop {
        let mut next = match brought {
            Some(Brought::Delivery(message, place)) => Some((message, place)),
            Some(Brought::Idle { .. }) => {
                forwarder.acknowledge_last().await?;
                None
            }
            None => None,
        };
        while let Some((message, _)) = next {
            forwarder.forward(message).await?;
            next = if forwarder.has_room() { pull.at_hand()? } else { None };
        }
        let has_room = forwarder.has_room();
        brought = tokio::select! {
            biased;
            stored = forwarder.more_stored(), if !forwarder.outstanding.is_empty() => {
                stored.map(|()| None)?
            }
            brought = pull.next(), if has_room => Some(brought?),
        };
    }
}

/// In a cluster, a consumer that was just made may not be reached yet.
async fn begin(input: &Connection, config: &Config) -> anyhow::Result<(Pull, Option<Brought>)> {
    let begun = clock::monotonic();
    loop {
        let breaks = input.breaks();
        let mut pull =
            Pull::open(input, &config.input.stream, config.consumer(), breaks, PULL_MESSAGES)
                .await?;
        match pull.next().await {
            Ok(brought) => return Ok((pull, Some(brought))),
            Err(broken) if broken.denied || begun.elapsed() > REACHED_WITHIN => {
                return Err(broken.into());
            }
            Err(_) => sleep(RETRY_AFTER).await,
        }
    }
}

impl Forwarder {
    fn has_room(&self) -> bool {
        self.outstanding.len() < OUTSTANDING_MAX
    }

    async fn forward(&mut self, message: Message) -> anyhow::Result<()> {
        let mut headers = message.headers.unwrap_or_default();
        if self.message_ids
            && let Some(key) = headers.get(KEY).cloned()
        {
            headers.insert("Nats-Msg-Id", key);
        }
        let subject = format!("{}.{}", self.prefix, message.subject);
        let sent = self.output.publish_with_headers(subject, headers, message.payload).await?;
        self.outstanding.push_back((sent.into_future(), message.reply));
        Ok(())
    }

    /// Waits for the next acknowledgement of the output, and takes what else is there. May be given up while it
    /// waits: nothing is taken by then.
    async fn more_stored(&mut self) -> anyhow::Result<()> {
        let Some((first, _)) = self.outstanding.front_mut() else { return Ok(()) };
        let mut stored = Some(first.await);
        while let Some(answer) = stored {
            is_stored(answer)?;
            let taken = self.outstanding.pop_front();
            self.stored += 1;
            self.last = taken.and_then(|(_, reply)| reply);
            if self.stored.is_multiple_of(ACKNOWLEDGED_AT_ONCE) {
                self.acknowledge().await?;
            }
            let next = self.outstanding.front_mut();
            stored = next.and_then(|(next, _)| next.now_or_never());
        }
        Ok(())
    }

    /// All that is stored, by its last.
    async fn acknowledge(&mut self) -> anyhow::Result<()> {
        if let Some(reply) = self.last.clone() {
            self.input.publish(reply, "+ACK".into()).await?;
        }
        self.last = None;
        Ok(())
    }

    /// Nothing comes any more.
    async fn acknowledge_last(&mut self) -> anyhow::Result<()> {
        match self.outstanding.is_empty() {
            true => self.acknowledge().await,
            false => Ok(()),
        }
    }
}

fn is_stored(answer: Result<PublishAck, PublishError>) -> anyhow::Result<()> {
    let error = match answer {
        Ok(_) => return Ok(()),
        Err(error) => error,
    };
    let told = error.source().and_then(|source| source.downcast_ref::<jetstream::Error>());
    match told.is_some_and(|told| told.error_code() == REPEAT_IN_PROCESS) {
        true => Ok(()),
        false => Err(anyhow::anyhow!("the stream does not store what was published: {error}")),
    }
}

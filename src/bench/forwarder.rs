//! What the gate is measured beside: a forwarder as one would write it with the client library, and as fast as
//! that makes it. Durable consumer, large pulls, acknowledgements pipelined both ways; it knows nothing of keys,
//! unless it is told to leave them to the stream, as `Nats-Msg-Id`.
//!
//! It loses nothing: an action is acknowledged when the output stream has it. One exception is in its favour: of a
//! repeat that a replicated stream calls in process, it trusts that the original gets there, and does not send it
//! again to be sure.

use std::collections::VecDeque;
use std::time::Duration;

use async_nats::{Client, Message, Subject};
use tokio::time::sleep;

use super::publisher::Publisher;
use crate::clock;
use crate::config::Config;
use crate::gate::entry::KEY;
use crate::nats::connect::Connection;
use crate::nats::pull::{Brought, Pull};

/// One acknowledgement for so many actions.
const ACKNOWLEDGED_AT_ONCE: u64 = 500;
/// How long to try for the first delivery, and after what pause again.
const REACHED_WITHIN: Duration = Duration::from_secs(10);
const RETRY_AFTER: Duration = Duration::from_millis(20);

struct Forwarder {
    input: Client,
    output: Publisher,
    prefix: String,
    message_ids: bool,
    /// Acknowledgements that are due once so many messages are stored.
    due: VecDeque<(u64, Subject)>,
    /// That of the last message.
    last: Option<Subject>,
}

/// Forwards until it is killed.
pub async fn run(config: &Config, message_ids: bool) -> anyhow::Result<()> {
    let input = Connection::open(&config.nats, "bench forwarder, input").await?;
    let output = Connection::open(&config.nats, "bench forwarder, output").await?;
    let (mut pull, mut brought) = begin(&input, config).await?;
    let mut forwarder = Forwarder {
        input: input.client.clone(),
        output: Publisher::open(&output).await?,
        prefix: format!("{}.accepted", config.name),
        message_ids,
        due: VecDeque::new(),
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
            next = if forwarder.output.has_room() { pull.at_hand()? } else { None };
        }
        forwarder.acknowledge().await?;
        brought = tokio::select! {
            biased;
            stored = forwarder.output.more_stored() => stored.map(|()| None)?,
            brought = pull.next(), if forwarder.output.has_room() => Some(brought?),
        };
    }
}

/// In a cluster, a consumer that was just made may not be reached yet.
async fn begin(input: &Connection, config: &Config) -> anyhow::Result<(Pull, Option<Brought>)> {
    let begun = clock::monotonic();
    loop {
        let breaks = input.breaks();
        let mut pull = Pull::open(input, &config.input.stream, config.consumer(), breaks).await?;
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
    async fn forward(&mut self, message: Message) -> anyhow::Result<()> {
        let mut headers = message.headers.unwrap_or_default();
        if self.message_ids
            && let Some(key) = headers.get(KEY).cloned()
        {
            headers.insert("Nats-Msg-Id", key);
        }
        let subject = format!("{}.{}", self.prefix, message.subject);
        self.output.send(subject.into(), headers, message.payload).await?;
        let sent = self.output.sent();
        if sent.is_multiple_of(ACKNOWLEDGED_AT_ONCE)
            && let Some(reply) = &message.reply
        {
            self.due.push_back((sent, reply.clone()));
        }
        self.last = message.reply;
        Ok(())
    }

    /// Acknowledges what is stored: all up to a message, by acknowledging that.
    async fn acknowledge(&mut self) -> anyhow::Result<()> {
        let stored = self.output.stored();
        let mut last = None;
        while self.due.front().is_some_and(|(after, _)| *after <= stored) {
            last = self.due.pop_front();
        }
        if let Some((_, reply)) = last {
            self.input.publish(reply, "+ACK".into()).await?;
        }
        Ok(())
    }

    /// Nothing comes any more.
    async fn acknowledge_last(&mut self) -> anyhow::Result<()> {
        if self.output.stored() == self.output.sent()
            && let Some(reply) = self.last.take()
        {
            self.input.publish(reply, "+ACK".into()).await?;
        }
        Ok(())
    }
}

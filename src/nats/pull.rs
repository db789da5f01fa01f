//! The deliveries of a pull consumer, in order and without a hole.
//!
//! The delivery sequence must count 1, 2, 3; anything else (a hole, a missed heartbeat, an ended pull, a
//! break of the connection) ends it, and whoever reads begins anew from a position of their own.

use std::time::Duration;

use async_nats::{Message, Subscriber};
use futures::{FutureExt, StreamExt};
use serde_json::json;
use tokio::task::coop::unconstrained;
use tokio::time::timeout;

use super::api::ApiError;
use super::connect::Connection;
use super::place::Place;
use crate::gate::engine::delivery::{Hole, Numbered};

/// Messages that a pull asks for where each is more work than to bring it; two pulls may be outstanding.
pub(crate) const PULL_MESSAGES: u64 = 2048;
/// Bytes a pull may bring, at least; never less than two of the server's largest messages.
const PULL_BYTES: usize = 8 << 20;
const PULL_EXPIRES: Duration = Duration::from_secs(60);
const HEARTBEAT: Duration = Duration::from_secs(2);
/// Silence for so long is a missed heartbeat.
const SILENCE_MAX: Duration = Duration::from_secs(6);

/// Why the deliveries ended; `label` is the cause in `oncegate_recoveries_total`.
#[derive(Debug, thiserror::Error)]
#[error("{why}")]
pub struct Broken {
    /// Short and fixed.
    pub label: &'static str,
    /// For a person.
    pub why: String,
    /// The server forbids what is needed: trying again changes nothing.
    pub denied: bool,
}

pub(super) fn broken(label: &'static str, why: impl std::fmt::Display) -> Broken {
    Broken { label, why: why.to_string(), denied: false }
}

impl From<ApiError> for Broken {
    fn from(error: ApiError) -> Self {
        let denied = matches!(error, ApiError::Denied(_));
        Self { denied, ..broken("feed_request", error) }
    }
}

impl From<Hole> for Broken {
    fn from(hole: Hole) -> Self {
        broken("hole", hole)
    }
}

/// What a pull brings.
#[expect(
    clippy::large_enum_variant,
    reason = "nearly all are deliveries, and one is held at a time"
)]
pub(crate) enum Brought {
    Delivery(Message, Place),
    /// Nothing; the consumer holds everything up to this stream sequence for delivered.
    Idle {
        up_to: u64,
    },
}

/// See the module.
pub(crate) struct Pull {
    connection: Connection,
    next_subject: String,
    messages: Subscriber,
    inbox: String,
    pull_messages: u64,
    outstanding: u64,
    delivered: Numbered,
    breaks: u64,
}

impl Pull {
    /// From a consumer whose first delivery will be number 1, in pulls of so many messages. A connection that broke
    /// more than `breaks` times ends it.
    pub(crate) async fn open(
        connection: &Connection,
        stream: &str,
        consumer: &str,
        breaks: u64,
        pull_messages: u64,
    ) -> Result<Self, Broken> {
        let inbox = connection.client.new_inbox();
        let subscribed = connection.client.subscribe(inbox.clone()).await;
        let messages = subscribed.map_err(|error| broken("feed_request", error))?;
        let call = format!("CONSUMER.MSG.NEXT.{stream}.{consumer}");
        Ok(Self {
            next_subject: connection.api_subject(&call),
            connection: connection.clone(),
            messages,
            inbox,
            pull_messages,
            outstanding: 0,
            delivered: Numbered::default(),
            breaks,
        })
    }

    /// The next delivery, or the server's word that there is none; waits until there is either.
    pub(crate) async fn next(&mut self) -> Result<Brought, Broken> {
        loop {
            self.replenish().await?;
            let message = self.wait().await?;
            if let Some(brought) = self.take(message)? {
                return Ok(brought);
            }
        }
    }

    /// The next delivery, if it is here already.
    pub(crate) fn at_hand(&mut self) -> Result<Option<(Message, Place)>, Broken> {
        // Without tokio's budget, by which there would seem to be no more after every 128 messages; whoever
        // reads ends after a batch of their own.
        while let Some(message) = unconstrained(self.messages.next()).now_or_never() {
            let message = message.ok_or_else(|| broken("feed_ended", "the subscription ended"))?;
            if let Some(Brought::Delivery(message, place)) = self.take(message)? {
                return Ok(Some((message, place)));
            }
        }
        Ok(None)
    }

    /// After a break: the highest sequence that the client still had at hand, at least `seen`.
    pub(super) fn drain_highest(&mut self, seen: u64) -> u64 {
        let mut highest = seen;
        while let Some(Some(message)) = self.messages.next().now_or_never() {
            let place = message.reply.as_deref().and_then(Place::read);
            highest = highest.max(place.map_or(0, |place| place.sequence));
        }
        highest
    }

    /// Keeps enough asked for that the server is never idle.
    async fn replenish(&mut self) -> Result<(), Broken> {
        if self.outstanding > self.pull_messages {
            return Ok(());
        }
        let bytes = PULL_BYTES.max(2 * self.connection.message_bytes_max() + (1 << 17));
        let body = json!({
            "batch": self.pull_messages, "max_bytes": bytes,
            "expires": PULL_EXPIRES.as_nanos() as u64,
            "idle_heartbeat": HEARTBEAT.as_nanos() as u64,
        });
        let (subject, inbox) = (self.next_subject.clone(), self.inbox.clone());
        let sent =
            self.connection.client.publish_with_reply(subject, inbox, body.to_string().into());
        sent.await.map_err(|error| broken("feed_request", error))?;
        self.outstanding += self.pull_messages;
        Ok(())
    }

    async fn wait(&mut self) -> Result<Message, Broken> {
        tokio::select! {
            biased;
            message = timeout(SILENCE_MAX, self.messages.next()) => match message {
                Ok(Some(message)) => Ok(message),
                Ok(None) => Err(broken("feed_ended", "the subscription ended")),
                Err(_) => Err(broken("missed_heartbeat", "the server has been silent")),
            },
            () = self.connection.broken_since(self.breaks) => {
                Err(broken("disconnected", "the connection broke"))
            }
        }
    }

    /// `None`: a message of the server about the pull itself.
    fn take(&mut self, message: Message) -> Result<Option<Brought>, Broken> {
        let Some(place) = message.reply.as_deref().and_then(Place::read) else {
            return self.status(&message);
        };
        self.outstanding = self.outstanding.saturating_sub(1);
        self.delivered.take(place.delivery)?;
        Ok(Some(Brought::Delivery(message, place)))
    }

    fn status(&mut self, message: &Message) -> Result<Option<Brought>, Broken> {
        let code = message.status.map_or(0, |status| status.as_u16());
        let text = message.description.clone().unwrap_or_default();
        let ended_by_itself = match code {
            100 => {
                if let Some(last) = header_number(message, "Nats-Last-Consumer") {
                    self.delivered.idle(last)?;
                }
                let up_to = header_number(message, "Nats-Last-Stream");
                return Ok(up_to.map(|up_to| Brought::Idle { up_to }));
            }
            408 => true,
            409 => text.starts_with("Batch Completed") || text.starts_with("Message Size"),
            _ => false,
        };
        if !ended_by_itself {
            return Err(broken("pull_ended", format!("the server ended the pull: {code} {text}")));
        }
        let left = header_number(message, "Nats-Pending-Messages").unwrap_or(0);
        self.outstanding = self.outstanding.saturating_sub(left);
        Ok(None)
    }
}

fn header_number(message: &Message, name: &str) -> Option<u64> {
    message.headers.as_ref()?.get(name)?.as_str().parse().ok()
}

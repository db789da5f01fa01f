//! Actions from the input stream, in order and without a hole.
//!
//! A durable pull consumer, reset to the position asked for. Its delivery sequence must count 1, 2, 3;
//! anything else (a hole, a missed heartbeat, an ended pull, a break of the connection) ends the feed, and
//! the worker recovers.
//!
//! The client library can't read every message that the server stores: on some it reconnects forever, on
//! one kind its task panics. So after a break the next messages are read one by one and whole, until past
//! the place; only our own reading of the bytes says what is malformed, never the break itself.

mod place;

use std::sync::Arc;
use std::time::Duration;

use async_nats::{Message, Subject, Subscriber};
use futures::{FutureExt, StreamExt};
use serde_json::json;
use tokio::time::timeout;

use self::place::{Place, matches};
use crate::config::Config;
use crate::gate::action::RawAction;
use crate::gate::headers::Headers;
use crate::gate::source::Source;
use crate::nats::api::ApiError;
use crate::nats::connect::Connection;
use crate::nats::raw::{self, RawMessage};
use crate::nats::setup;

/// Messages a pull asks for; two pulls may be outstanding.
const PULL_MESSAGES: u64 = 2048;
/// Bytes a pull may bring, at least; never less than two of the server's largest messages.
const PULL_BYTES: usize = 16 << 20;
const PULL_EXPIRES: Duration = Duration::from_secs(60);
const HEARTBEAT: Duration = Duration::from_secs(2);
/// Silence for so long is a missed heartbeat.
const SILENCE_MAX: Duration = Duration::from_secs(6);
/// Messages read one by one and handed over together.
const RAW_AT_ONCE: u64 = 63;
/// Actions handed over at once.
const BATCH_ACTIONS_MAX: usize = 1024;
/// And so many bytes of them.
const BATCH_BYTES_MAX: usize = 4 << 20;

/// How a committed action is acknowledged.
#[derive(Clone, Debug)]
pub enum Ack {
    /// A limits stream: the gate's own cursor is all that counts.
    None,
    /// A work queue: acknowledge the delivery.
    Reply(Subject),
    /// A work queue's message that was read raw, and has no delivery: delete it.
    Delete,
}

/// An action on its way in.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The message.
    pub raw: RawAction,
    /// What to do once it is committed.
    pub ack: Ack,
}

/// Some actions, in order.
#[derive(Debug, Default)]
pub struct Batch {
    /// At least one.
    pub deliveries: Vec<Delivery>,
    /// How many messages the stream holds behind the last of them, as far as the server said.
    pub pending: u64,
    /// Sequences before them that the stream no longer holds.
    pub missed: u64,
    payload_bytes: usize,
}

impl Batch {
    fn bytes(&self) -> usize {
        self.payload_bytes
    }

    fn push(&mut self, delivery: Delivery) {
        self.payload_bytes += delivery.raw.payload.len();
        self.deliveries.push(delivery);
    }
}

/// Why the feed ended; `label` is the cause in `oncegate_recoveries_total`.
#[derive(Debug, thiserror::Error)]
#[error("{why}")]
pub struct Broken {
    /// Short and fixed.
    pub label: &'static str,
    /// For a person.
    pub why: String,
    /// The server forbids what the feed needs: trying again changes nothing.
    pub denied: bool,
}

fn broken(label: &'static str, why: impl std::fmt::Display) -> Broken {
    Broken { label, why: why.to_string(), denied: false }
}

impl From<ApiError> for Broken {
    fn from(error: ApiError) -> Self {
        let denied = matches!(error, ApiError::Denied(_));
        Self { denied, ..broken("feed_request", error) }
    }
}

/// See the module.
pub struct Feed {
    connection: Connection,
    config: Arc<Config>,
    stream: Arc<str>,
    work_queue: bool,
    /// When the stream was created, as the server says.
    created: String,
    /// Its first sequence, as last heard; asked for once a batch.
    first_sequence: Option<u64>,
    /// The stream takes nothing but what the gate's filter takes.
    whole_stream: bool,
    /// Next stream sequence that is due.
    due: u64,
    /// Everything up to here is judged: it may be gone.
    judged: u64,
    /// Read one by one until a message beyond this was read.
    raw_until: Option<u64>,
    pull: Option<Pull>,
    breaks: u64,
}

struct Pull {
    messages: Subscriber,
    inbox: String,
    outstanding: u64,
    delivered: u64,
}

impl Feed {
    /// From stream sequence `from` on; everything up to `judged` is judged already, and comes from a work
    /// queue only.
    /// Messages up to and with the first one beyond `raw_until` are read one by one.
    pub fn new(
        connection: Connection,
        config: Arc<Config>,
        info: &setup::StreamInfo,
        (from, judged): (u64, u64),
        raw_until: Option<u64>,
    ) -> Self {
        let mut subjects = (info.subjects(), config.input.subjects.clone());
        subjects.0.sort();
        subjects.1.sort();
        Self {
            breaks: connection.breaks(),
            connection,
            stream: config.input.stream.as_str().into(),
            work_queue: info.is_work_queue(),
            created: info.created.clone(),
            first_sequence: None,
            whole_stream: subjects.0 == subjects.1,
            due: from,
            judged,
            raw_until,
            pull: None,
            config,
        }
    }

    /// The next actions; waits until there are some.
    pub async fn next(&mut self) -> Result<Batch, Broken> {
        self.first_sequence = None;
        while let Some(until) = self.raw_until {
            if let Some(batch) = self.next_raw(until).await? {
                return Ok(batch);
            }
        }
        loop {
            self.replenish().await?;
            let mut batch = Batch::default();
            let first = self.wait().await?;
            self.take(first, &mut batch).await?;
            while batch.deliveries.len() < BATCH_ACTIONS_MAX && batch.bytes() < BATCH_BYTES_MAX {
                let Some(pull) = &mut self.pull else { break };
                let Some(more) = pull.messages.next().now_or_never() else {
                    break;
                };
                let more = more.ok_or_else(|| broken("feed_ended", "the subscription ended"))?;
                self.take(more, &mut batch).await?;
            }
            if !batch.deliveries.is_empty() {
                return Ok(batch);
            }
        }
    }

    /// After a break: the highest sequence that the client still had at hand, at least `seen`.
    pub fn drain_highest(&mut self, seen: u64) -> u64 {
        let mut highest = seen;
        let Some(pull) = &mut self.pull else {
            return highest;
        };
        while let Some(Some(message)) = pull.messages.next().now_or_never() {
            let place = message.reply.as_deref().and_then(Place::read);
            highest = highest.max(place.map_or(0, |place| place.sequence));
        }
        highest
    }

    /// Reads some one by one, many requests at a time; `None`: none of them is ours, or there is none.
    async fn next_raw(&mut self, until: u64) -> Result<Option<Batch>, Broken> {
        let subjects = self.config.input.subjects.clone();
        let filter = if let [one] = subjects.as_slice() { one } else { ">" };
        let next = raw::next(&self.connection, &self.stream, self.due, filter).await?;
        let Some(first) = next else {
            self.raw_until = None;
            return Ok(None);
        };
        let (from, to) = (first.sequence + 1, until.min(first.sequence + RAW_AT_ONCE));
        if first.sequence > until {
            self.raw_until = None;
        }
        let mut found = vec![first];
        if from <= to {
            found.extend(
                raw::range(&self.connection, &self.stream, (from, to), |message| message).await?,
            );
        }
        // Whether more is behind them is not known; it may well be.
        let mut batch = Batch { pending: 1, ..Batch::default() };
        for message in found {
            self.nothing_passed_over(message.sequence).await?;
            batch.missed += self.missed(message.sequence).await?;
            self.due = message.sequence + 1;
            if subjects.iter().any(|subject| matches(subject, &message.subject)) {
                batch.push(self.raw_delivery(message));
            }
        }
        Ok((!batch.deliveries.is_empty()).then_some(batch))
    }

    fn raw_delivery(&self, message: RawMessage) -> Delivery {
        let RawMessage { sequence, time_ns, subject, headers, payload } = message;
        let source = Source { stream: self.stream.clone(), sequence, time_ns };
        // The API gives U+FFFD for bytes that are not UTF-8; a subject that really holds one can't be
        // told from that, and is treated the careful way.
        let subject_exact = !subject.contains(char::REPLACEMENT_CHARACTER);
        Delivery {
            raw: RawAction { source, subject, subject_exact, headers, payload },
            ack: if self.work_queue { Ack::Delete } else { Ack::None },
        }
    }

    /// Makes the consumer when first needed, and keeps enough asked for that the server is never idle.
    async fn replenish(&mut self) -> Result<(), Broken> {
        if self.pull.is_none() {
            setup::consumer(&self.connection, &self.config, self.work_queue, self.due).await?;
            self.still_the_same().await?;
            let inbox = self.connection.client.new_inbox();
            let subscribed = self.connection.client.subscribe(inbox.clone()).await;
            let messages = subscribed.map_err(|error| broken("feed_request", error))?;
            self.pull = Some(Pull { messages, inbox, outstanding: 0, delivered: 0 });
        }
        let Some(pull) = &mut self.pull else {
            return Ok(());
        };
        if pull.outstanding > PULL_MESSAGES {
            return Ok(());
        }
        let bytes = PULL_BYTES.max(2 * self.connection.message_bytes_max() + (1 << 17));
        let body = json!({
            "batch": PULL_MESSAGES, "max_bytes": bytes,
            "expires": PULL_EXPIRES.as_nanos() as u64,
            "idle_heartbeat": HEARTBEAT.as_nanos() as u64,
        });
        let call = format!("CONSUMER.MSG.NEXT.{}.{}", self.stream, self.config.consumer());
        let subject = self.connection.api_subject(&call);
        let inbox = pull.inbox.clone();
        let sent =
            self.connection.client.publish_with_reply(subject, inbox, body.to_string().into());
        sent.await.map_err(|error| broken("feed_request", error))?;
        pull.outstanding += PULL_MESSAGES;
        Ok(())
    }

    /// A stream that was made anew since the recovery ends before the position asked for.
    async fn still_the_same(&self) -> Result<(), Broken> {
        let info = setup::stream_info(&self.connection, &self.stream).await?;
        match info {
            Some(info) if info.created == self.created && info.state.last_seq >= self.due - 1 => {
                Ok(())
            }
            _ => Err(broken("input_changed", "the input stream was made anew")),
        }
    }

    async fn wait(&mut self) -> Result<Message, Broken> {
        let Some(pull) = &mut self.pull else {
            return Err(broken("feed_ended", "no pull"));
        };
        tokio::select! {
            biased;
            message = timeout(SILENCE_MAX, pull.messages.next()) => match message {
                Ok(Some(message)) => Ok(message),
                Ok(None) => Err(broken("feed_ended", "the subscription ended")),
                Err(_) => Err(broken("missed_heartbeat", "the server has been silent")),
            },
            () = self.connection.broken_since(self.breaks) => {
                Err(broken("disconnected", "the connection broke"))
            }
        }
    }

    async fn take(&mut self, message: Message, batch: &mut Batch) -> Result<(), Broken> {
        let Some(place) = message.reply.as_deref().and_then(Place::read) else {
            return self.status(&message);
        };
        let Some(pull) = &mut self.pull else {
            return Ok(());
        };
        pull.outstanding = pull.outstanding.saturating_sub(1);
        if place.delivery != pull.delivered + 1 {
            let why = format!("delivery {} where {} was due", place.delivery, pull.delivered + 1);
            return Err(broken("hole", why));
        }
        pull.delivered = place.delivery;
        if self.whole_stream || place.delivery == 1 {
            self.nothing_passed_over(place.sequence).await?;
        }
        batch.pending = place.pending;
        batch.missed += self.missed(place.sequence).await?;
        self.due = self.due.max(place.sequence + 1);
        if let Some(delivery) = self.delivery(message, place).await? {
            batch.push(delivery);
        }
        Ok(())
    }

    /// Sequences that were not brought must be gone from the stream. Somebody else may have moved the
    /// consumer before its first delivery, which then has number 1 as it should; and a stream's new leader,
    /// while it catches up, may not have a message and the next moment have the one after it.
    async fn nothing_passed_over(&self, brought: u64) -> Result<(), Broken> {
        let due = self.due.max(self.judged + 1);
        if brought <= due {
            return Ok(());
        }
        for filter in &self.config.input.subjects {
            let next = raw::next(&self.connection, &self.stream, due, filter).await?;
            if let Some(held) = next.map(|held| held.sequence).filter(|held| *held < brought) {
                let why = format!("message {brought} came, and the stream still holds {held}");
                return Err(broken("hole", why));
            }
        }
        Ok(())
    }

    /// `None` if the message is gone before its odd header block could be read whole.
    async fn delivery(&self, message: Message, place: Place) -> Result<Option<Delivery>, Broken> {
        let Place { sequence, time_ns, .. } = place;
        let ack = match (&message.reply, self.work_queue) {
            (Some(reply), true) => Ack::Reply(reply.clone()),
            _ => Ack::None,
        };
        let Some(headers) = plain_headers(&message) else {
            let whole = raw::get(&self.connection, &self.stream, sequence).await?;
            return Ok(whole.map(|whole| Delivery { ack, ..self.raw_delivery(whole) }));
        };
        let source = Source { stream: self.stream.clone(), sequence, time_ns };
        let raw = RawAction {
            source,
            // As in a raw reading, so that both give the same verdict.
            subject_exact: !message.subject.contains(char::REPLACEMENT_CHARACTER),
            subject: message.subject.to_string(),
            headers: Ok(headers),
            payload: message.payload,
        };
        Ok(Some(Delivery { raw, ack }))
    }

    /// A message of the server about the pull itself.
    fn status(&mut self, message: &Message) -> Result<(), Broken> {
        let code = message.status.map_or(0, |status| status.as_u16());
        let text = message.description.clone().unwrap_or_default();
        let ended_by_itself = match code {
            100 => return Ok(()),
            408 => true,
            409 => text.starts_with("Batch Completed") || text.starts_with("Message Size"),
            _ => false,
        };
        if !ended_by_itself {
            return Err(broken("pull_ended", format!("the server ended the pull: {code} {text}")));
        }
        let left =
            message.headers.as_ref().and_then(|headers| headers.get("Nats-Pending-Messages"));
        let left = left.and_then(|left| left.as_str().parse().ok()).unwrap_or(0);
        if let Some(pull) = &mut self.pull {
            pull.outstanding = pull.outstanding.saturating_sub(left);
        }
        Ok(())
    }

    /// How many sequences between the last message and this one the stream dropped. Where the filter
    /// takes a part of the stream only, those below its first sequence count: an upper bound, since some of
    /// them may have been on other subjects.
    async fn missed(&mut self, sequence: u64) -> Result<u64, Broken> {
        let due = self.due.max(self.judged + 1);
        let gap = sequence.saturating_sub(due);
        if gap == 0 || self.whole_stream {
            return Ok(gap);
        }
        let first = match self.first_sequence {
            Some(first) => first,
            None => {
                let info = setup::stream_info(&self.connection, &self.stream).await?;
                info.map_or(0, |info| info.state.first_seq)
            }
        };
        self.first_sequence = Some(first);
        Ok(first.min(sequence).saturating_sub(due))
    }
}

/// The headers as the library read them, where its reading is certain.
fn plain_headers(message: &Message) -> Option<Headers> {
    if message.status.is_some() || message.description.is_some() {
        return None;
    }
    let Some(headers) = &message.headers else {
        return Some(Headers::default());
    };
    let around = message.subject.len() + message.reply.as_ref().map_or(0, |r| r.len());
    let block = message.length.checked_sub(around + message.payload.len())?;
    let pairs = headers.iter().flat_map(|(name, values)| {
        values.iter().map(move |value| (name.to_string(), value.to_string()))
    });
    Headers::from_library(pairs.collect(), block)
}

/// Acknowledges a committed action. An acknowledgement is only sent; a deletion is waited for.
pub async fn acknowledge(
    connection: &Connection,
    stream: &str,
    sequence: u64,
    ack: Ack,
) -> Result<(), ApiError> {
    match ack {
        Ack::None => Ok(()),
        Ack::Delete => raw::delete(connection, stream, sequence).await,
        Ack::Reply(reply) => {
            let subject = reply.to_string();
            let sent = connection.client.publish(reply, "+ACK".into()).await;
            sent.map_err(|error| ApiError::Unavailable { subject, why: error.to_string() })
        }
    }
}

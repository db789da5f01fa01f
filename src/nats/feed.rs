//! The messages of an input stream (actions, or reports), in order and without a hole.
//!
//! A durable pull consumer, reset to the position asked for. Where its deliveries end (see
//! [`super::pull`]) the feed ends, and the worker recovers.
//!
//! The client library can't read every message that the server stores: on some it reconnects forever, on
//! one kind its task panics. So after a break the next messages are read one by one and whole, until past
//! the place; only our own reading of the bytes says what is malformed, never the break itself.

use std::sync::Arc;

use async_nats::{Message, Subject};

use super::place::{Place, matches};
use super::pull::{Broken, Brought, PULL_MESSAGES, Pull, broken};
use crate::config::InputStream;
use crate::gate::action::RawAction;
use crate::gate::engine::delivery::Due;
use crate::gate::source::{Source, TimeNs};
use crate::nats::api::ApiError;
use crate::nats::connect::Connection;
use crate::nats::raw::{self, RawMessage};
use crate::nats::setup;

/// Messages read one by one and handed over together.
const RAW_AT_ONCE: u64 = 63;
/// Actions handed over at once.
const BATCH_ACTIONS_MAX: usize = 1024;
/// And so many bytes of them.
const BATCH_BYTES_MAX: usize = 4 << 20;

/// How a committed action of a work queue is acknowledged. With a limits stream the gate's own cursor is all that
/// counts.
#[derive(Clone, Debug)]
pub enum Ack {
    /// Acknowledge the delivery.
    Reply(Subject),
    /// It was read raw, and has no delivery: delete it, if the stream has not been made anew and this is still
    /// what stands there.
    Delete {
        /// When the stream stored it.
        time_ns: TimeNs,
    },
}

/// An action on its way in.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The message.
    pub raw: RawAction,
    /// What to do once it is committed.
    pub ack: Option<Ack>,
}

/// Some actions, in order.
#[derive(Debug)]
pub struct Batch {
    /// At least one.
    pub deliveries: Vec<Delivery>,
    /// How many messages the stream holds behind the last of them, as far as the server said.
    pub pending: u64,
    /// Sequences before them that the stream no longer holds.
    pub missed: u64,
    payload_bytes: usize,
    /// The stream's name, in an allocation of the batch's own: one for all would have its uses counted by this task
    /// and by the loop at once, for each message.
    stream: Arc<str>,
}

impl Batch {
    fn of(stream: &str) -> Self {
        let (deliveries, stream) = (Vec::new(), stream.into());
        Self { deliveries, pending: 0, missed: 0, payload_bytes: 0, stream }
    }

    fn bytes(&self) -> usize {
        self.payload_bytes
    }

    fn push(&mut self, delivery: Delivery) {
        self.payload_bytes += delivery.raw.payload.len();
        self.deliveries.push(delivery);
    }
}

/// See the module.
pub struct Feed {
    connection: Connection,
    input: InputStream,
    consumer: String,
    work_queue: bool,
    /// When the stream was created, as the server says.
    created: String,
    /// Its first sequence, as last heard; asked for once a batch.
    first_sequence: Option<u64>,
    /// Next stream sequence that is due.
    due: Due,
    /// Read one by one until a message beyond this was read.
    raw_until: Option<u64>,
    pull: Option<Pull>,
    breaks: u64,
}

impl Feed {
    /// From stream sequence `from` on; everything up to `judged` is judged already, and comes from a work
    /// queue only.
    /// Messages up to and with the first one beyond `raw_until` are read one by one.
    pub fn new(
        connection: Connection,
        (input, consumer): (InputStream, &str),
        info: &setup::StreamInfo,
        (from, judged): (u64, u64),
        raw_until: Option<u64>,
    ) -> Self {
        let mut subjects = (info.subjects(), input.subjects.clone());
        subjects.0.sort();
        subjects.1.sort();
        Self {
            breaks: connection.breaks(),
            connection,
            work_queue: info.is_work_queue(),
            created: info.created.clone(),
            first_sequence: None,
            due: Due::new(from, judged, subjects.0 == subjects.1),
            raw_until,
            pull: None,
            input,
            consumer: consumer.to_owned(),
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
            let mut batch = Batch::of(&self.input.stream);
            match self.pull().await?.next().await? {
                Brought::Delivery(first, place) => self.take(first, place, &mut batch).await?,
                Brought::Idle { up_to } => {
                    self.nothing_held(up_to).await?;
                    continue;
                }
            }
            while batch.deliveries.len() < BATCH_ACTIONS_MAX && batch.bytes() < BATCH_BYTES_MAX {
                let Some((more, place)) = self.pull().await?.at_hand()? else {
                    break;
                };
                self.take(more, place, &mut batch).await?;
            }
            if !batch.deliveries.is_empty() {
                return Ok(batch);
            }
        }
    }

    /// After a break: the highest sequence that the client still had at hand, at least `seen`.
    pub fn drain_highest(&mut self, seen: u64) -> u64 {
        self.pull.as_mut().map_or(seen, |pull| pull.drain_highest(seen))
    }

    /// Reads some one by one, many requests at a time; `None`: none of them is ours, or there is none.
    async fn next_raw(&mut self, until: u64) -> Result<Option<Batch>, Broken> {
        let subjects = self.input.subjects.clone();
        let filter = if let [one] = subjects.as_slice() { one } else { ">" };
        let next =
            raw::next(&self.connection, &self.input.stream, self.due.sequence(), filter).await?;
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
                raw::range(&self.connection, &self.input.stream, (from, to), |message| message)
                    .await?,
            );
        }
        // Only now is it certain that they are of the stream that was recovered.
        self.still_the_same().await?;
        // Whether more is behind them is not known; it may well be.
        let mut batch = Batch { pending: 1, ..Batch::of(&self.input.stream) };
        for message in found {
            self.nothing_held(message.sequence - 1).await?;
            batch.missed += self.missed(message.sequence).await?;
            self.due.take(message.sequence);
            if subjects.iter().any(|subject| matches(subject, &message.subject)) {
                batch.push(self.raw_delivery(message));
            }
        }
        Ok((!batch.deliveries.is_empty()).then_some(batch))
    }

    fn raw_delivery(&self, message: RawMessage) -> Delivery {
        let RawMessage { sequence, time_ns, subject, headers, payload } = message;
        let source = Source { stream: self.input.stream.clone(), sequence, time_ns };
        // The API gives U+FFFD for bytes that are not UTF-8; a subject that really holds one can't be
        // told from that, and is treated the careful way.
        let subject_exact = !subject.contains(char::REPLACEMENT_CHARACTER);
        Delivery {
            raw: RawAction { source, subject, subject_exact, headers, payload },
            ack: self.work_queue.then_some(Ack::Delete { time_ns }),
        }
    }

    /// Makes the consumer when first needed.
    async fn pull(&mut self) -> Result<&mut Pull, Broken> {
        if self.pull.is_none() {
            let consumer = (&self.input, self.consumer.as_str());
            setup::consumer(&self.connection, consumer, self.work_queue, self.due.sequence())
                .await?;
            self.still_the_same().await?;
            let stream = &self.input.stream;
            let pull =
                Pull::open(&self.connection, stream, &self.consumer, self.breaks, PULL_MESSAGES)
                    .await?;
            self.pull = Some(pull);
        }
        self.pull.as_mut().ok_or_else(|| broken("feed_ended", "no pull"))
    }

    /// A stream that was made anew since the recovery ends before the position asked for.
    async fn still_the_same(&self) -> Result<(), Broken> {
        let info = setup::stream_info(&self.connection, &self.input.stream).await?;
        let due = self.due.sequence();
        match info {
            Some(info) if info.created == self.created && info.state.last_seq >= due - 1 => Ok(()),
            _ => Err(broken("input_changed", "the input stream was made anew")),
        }
    }

    async fn take(
        &mut self,
        message: Message,
        place: Place,
        batch: &mut Batch,
    ) -> Result<(), Broken> {
        self.nothing_passed_over(place).await?;
        batch.pending = place.pending;
        batch.missed += self.missed(place.sequence).await?;
        self.due.take(place.sequence);
        let delivery = self.delivery(message, place, &batch.stream).await?;
        batch.push(delivery);
        Ok(())
    }

    /// The first message from `from` on that the gate's filter takes.
    async fn first_held(&self, from: u64) -> Result<Option<u64>, Broken> {
        let mut first = None;
        for filter in &self.input.subjects {
            let next = raw::next(&self.connection, &self.input.stream, from, filter).await?;
            first = first.into_iter().chain(next.map(|held| held.sequence)).min();
        }
        Ok(first)
    }

    /// Sequences that were not brought must be gone from the stream.
    async fn nothing_passed_over(&self, place: Place) -> Result<(), Broken> {
        match self.due.left_out(place.sequence, place.delivery) {
            Some(from) => Ok(Due::nothing_before(place.sequence, self.first_held(from).await?)?),
            None => Ok(()),
        }
    }

    /// The same for what the consumer holds for delivered, or for sequences between messages read one by one.
    async fn nothing_held(&self, up_to: u64) -> Result<(), Broken> {
        match self.due.not_brought(up_to) {
            Some(from) => Ok(Due::nothing_up_to(up_to, self.first_held(from).await?)?),
            None => Ok(()),
        }
    }

    /// Where an odd header block can't be read whole, it is not passed over: the message may be gone, which
    /// the next reading counts, or a stream's new leader may not have it yet.
    async fn delivery(
        &self,
        message: Message,
        place: Place,
        stream: &Arc<str>,
    ) -> Result<Delivery, Broken> {
        let Place { sequence, time_ns, .. } = place;
        let ack = message.reply.clone().filter(|_| self.work_queue).map(Ack::Reply);
        let Some(headers) = raw::plain_headers(&message) else {
            let whole = raw::get(&self.connection, &self.input.stream, sequence).await?;
            let unread = || broken("hole", format!("message {sequence} came and can't be read"));
            return Ok(Delivery { ack, ..self.raw_delivery(whole.ok_or_else(unread)?) });
        };
        let source = Source { stream: stream.clone(), sequence, time_ns };
        let raw = RawAction {
            source,
            // As in a raw reading, so that both give the same verdict.
            subject_exact: !message.subject.contains(char::REPLACEMENT_CHARACTER),
            subject: message.subject.to_string(),
            headers: Ok(headers),
            payload: message.payload,
        };
        Ok(Delivery { raw, ack })
    }

    /// How many sequences between the last message and this one the stream dropped.
    async fn missed(&mut self, sequence: u64) -> Result<u64, Broken> {
        let gap = self.due.gap(sequence);
        if gap == 0 || self.due.is_whole_stream() {
            return Ok(gap);
        }
        let first = match self.first_sequence {
            Some(first) => first,
            None => {
                let info = setup::stream_info(&self.connection, &self.input.stream).await?;
                info.map_or(0, |info| info.state.first_seq)
            }
        };
        self.first_sequence = Some(first);
        Ok(self.due.dropped_below(first, sequence))
    }
}

/// Acknowledges a committed action. An acknowledgement is only sent; a deletion is waited for.
pub async fn acknowledge(
    connection: &Connection,
    stream: &str,
    sequence: u64,
    ack: Ack,
) -> Result<(), ApiError> {
    match ack {
        Ack::Delete { time_ns } => match raw::get(connection, stream, sequence).await? {
            Some(message) if message.time_ns == time_ns => {
                raw::delete(connection, stream, sequence).await
            }
            _ => Ok(()),
        },
        Ack::Reply(reply) => {
            let subject = reply.to_string();
            let sent = connection.client.publish(reply, "+ACK".into()).await;
            sent.map_err(|error| ApiError::Unavailable { subject, why: error.to_string() })
        }
    }
}

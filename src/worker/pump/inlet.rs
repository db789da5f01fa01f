//! One of the two inputs as the loop sees it: what it brings, and what must be told to its stream.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use crate::config::InputStream;
use crate::gate::action::RawAction;
use crate::gate::engine::InputKind;
use crate::nats::api::ApiError;
use crate::nats::connect::Connection;
use crate::nats::feed::{self, Ack, Feed};
use crate::nats::pull::Broken;
use crate::worker::input::{Decoded, Input};
use crate::worker::kill::{self, Step};
use crate::worker::term::FeedMemory;
use crate::worker::{Trouble, Worker};

/// Until an acknowledgement that the server did not take is tried again.
const ACKNOWLEDGE_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// See the module.
pub(super) struct Inlet<T> {
    stream: Arc<str>,
    pub(super) input: Option<Input<T>>,
    /// Of what is not settled yet; a work queue's only.
    acks: BTreeMap<u64, Ack>,
    /// Under way; over before another feed begins, which may find a stream that was made anew.
    acknowledging: JoinSet<()>,
    /// Messages behind the last that came, as far as the server said.
    pub(super) pending: u64,
    /// Sequences that the stream dropped before the one named, and how many; counted when that is settled.
    missed: BTreeMap<u64, u64>,
}

impl<T: Send + 'static> Inlet<T> {
    /// Everything up to `judged` is judged already. `created_ns`: of the stream that was recovered.
    pub(super) async fn open(
        worker: &Worker,
        connection: &Connection,
        (input, kind): (InputStream, InputKind),
        (judged, created_ns, memory): (u64, i64, &FeedMemory),
        decode: impl Fn(RawAction) -> T + Send + 'static,
    ) -> Result<Self, Trouble> {
        let around = kill::around(Step::AskInput);
        let info = worker.stream(connection, &input.stream).await?;
        around.done();
        if info.created_ns() != created_ns {
            return Err(Trouble::Wait(format!("the stream {} was made anew", input.stream)));
        }
        let role = match kind {
            InputKind::Actions => "feed",
            InputKind::Reports => "reports",
        };
        // A connection of its own: what breaks the feed must not break the ledger.
        let around = kill::around(Step::ConnectFeed);
        let feeding = Connection::open(&worker.config.nats, role).await;
        let feeding = feeding.map_err(|error| Trouble::Wait(error.to_string()))?;
        around.done();
        let raw_until = (memory.breaks_in_a_row > 0).then(|| memory.raw_until(judged));
        // What a work queue still holds of judged messages is there to be acknowledged.
        let from = if info.is_work_queue() { 1 } else { judged + 1 };
        let around = kill::around(Step::StartFeed);
        let stream = input.stream.clone();
        let consumer = worker.config.consumer();
        let feed = Feed::new(feeding, (input, consumer), &info, (from, judged), raw_until);
        let input = Input::start(feed, decode, judged.max(memory.highest_seen));
        around.done();
        Ok(Self {
            stream,
            input: Some(input),
            acks: BTreeMap::new(),
            acknowledging: JoinSet::new(),
            pending: 0,
            missed: BTreeMap::new(),
        })
    }

    /// The next batch; waits for ever where none can come any more.
    pub(super) async fn next(&mut self) -> Option<Decoded<T>> {
        match &mut self.input {
            Some(input) => input.batches.recv().await,
            None => std::future::pending().await,
        }
    }

    /// Takes a batch in. `sequence`: of one of it.
    pub(super) fn take(&mut self, decoded: Decoded<T>, sequence: impl Fn(&T) -> u64) -> Vec<T> {
        let Decoded { all, acks, pending, missed } = decoded;
        if let Some(first) = all.first().filter(|_| missed > 0) {
            *self.missed.entry(sequence(first)).or_default() += missed;
        }
        self.pending = pending;
        self.acks.extend(acks);
        all
    }

    /// Nothing waits to be judged.
    pub(super) fn is_idle(&self) -> bool {
        self.at_hand() == 0 && self.pending == 0
    }

    /// Batches that wait to be judged.
    pub(super) fn at_hand(&self) -> usize {
        self.input.as_ref().map_or(0, |input| input.batches.len())
    }

    /// Everything up to `last` is settled.
    pub(super) fn settle(&mut self, worker: &Worker, connection: &Connection, last: u64) {
        let later = self.missed.split_off(&last.saturating_add(1));
        for (before, missed) in std::mem::replace(&mut self.missed, later) {
            worker.metrics.input_missed(missed);
            let stream = &*self.stream;
            tracing::warn!(
                stream,
                missed,
                before,
                "the input stream dropped messages before they were judged"
            );
        }
        let later = self.acks.split_off(&last.saturating_add(1));
        let settled = std::mem::replace(&mut self.acks, later);
        self.acknowledge(connection, settled.into_iter().collect());
    }

    /// This one came again, and is settled.
    pub(super) fn redelivered(&mut self, connection: &Connection, sequence: u64) {
        let ack = self.acks.remove(&sequence);
        self.acknowledge(connection, ack.map(|ack| (sequence, ack)).into_iter().collect());
    }

    /// Beside the loop. Nothing rests on it: what is not acknowledged comes again, after the next recovery at the
    /// latest, and is known as judged.
    fn acknowledge(&mut self, connection: &Connection, acks: Vec<(u64, Ack)>) {
        while self.acknowledging.try_join_next().is_some() {}
        if acks.is_empty() {
            return;
        }
        let (connection, stream) = (connection.clone(), self.stream.clone());
        self.acknowledging.spawn(async move {
            for (sequence, ack) in acks {
                loop {
                    let around = kill::around(Step::Acknowledge);
                    let sent = feed::acknowledge(&connection, &stream, sequence, ack.clone()).await;
                    around.done();
                    let Err(error) = sent else { break };
                    tracing::warn!(%error, sequence, "a judged message is not acknowledged yet");
                    if matches!(error, ApiError::Denied(_)) {
                        return;
                    }
                    tokio::time::sleep(ACKNOWLEDGE_AGAIN_AFTER).await;
                }
            }
        });
    }

    /// Ends the feed: why it ended, and the highest sequence that it brought.
    pub(super) async fn end(&mut self) -> Option<(Broken, u64)> {
        let around = kill::around(Step::EndInput);
        let ended = match self.input.take() {
            Some(input) => Some(input.end().await),
            None => None,
        };
        around.done();
        self.acknowledging.shutdown().await;
        ended
    }
}

//! Feed and decoding, on a task of their own: what comes out is ready to be judged.

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::kill::{self, Step};
use crate::gate::action::RawAction;
use crate::nats::feed::{Ack, Batch, Delivery, Feed};
use crate::nats::pull::Broken;

/// Batches that wait to be judged.
const BATCHES_AT_HAND: usize = 4;

/// Actions, or reports, in order.
pub struct Decoded<T> {
    /// At least one.
    pub all: Vec<T>,
    /// What acknowledges them, by stream sequence, where they want it.
    pub acks: Vec<(u64, Ack)>,
    /// How many messages the stream holds behind them.
    pub pending: u64,
    /// Sequences before them that the stream no longer holds.
    pub missed: u64,
}

/// A running feed.
pub struct Input<T> {
    /// What it brings; after the last, [`Input::end`] says why it ended.
    pub batches: mpsc::Receiver<Decoded<T>>,
    task: JoinHandle<(Broken, u64)>,
    highest_seen: u64,
}

impl<T: Send + 'static> Input<T> {
    /// Starts the task. `highest_seen`: the highest sequence that a feed before it brought.
    pub fn start(
        mut feed: Feed,
        decode: impl Fn(RawAction) -> T + Send + 'static,
        highest_seen: u64,
    ) -> Self {
        let (sender, batches) = mpsc::channel(BATCHES_AT_HAND);
        let task = tokio::spawn(async move {
            let mut highest = highest_seen;
            loop {
                let around = kill::around(Step::ReadFeed);
                let batch = tokio::select! {
                    batch = feed.next() => batch,
                    () = sender.closed() => return (ended(), highest),
                };
                around.done();
                let batch = match batch {
                    Ok(batch) => batch,
                    Err(broken) => return (broken, feed.drain_highest(highest)),
                };
                let (all, acks) = (Vec::with_capacity(batch.deliveries.len()), Vec::new());
                let Batch { deliveries, pending, missed, .. } = batch;
                let mut decoded = Decoded { all, acks, pending, missed };
                for Delivery { raw, ack } in deliveries {
                    let sequence = raw.source.sequence;
                    highest = highest.max(sequence);
                    decoded.acks.extend(ack.map(|ack| (sequence, ack)));
                    decoded.all.push(decode(raw));
                }
                if sender.send(decoded).await.is_err() {
                    return (ended(), highest);
                }
            }
        });
        Self { batches, task, highest_seen }
    }

    /// Ends the feed: why it ended, and the highest sequence that it brought or had at hand.
    pub async fn end(self) -> (Broken, u64) {
        drop(self.batches);
        match self.task.await {
            Ok(ended) => ended,
            Err(error) => {
                let why = error.to_string();
                (Broken { label: "feed_ended", why, denied: false }, self.highest_seen)
            }
        }
    }
}

fn ended() -> Broken {
    Broken { label: "stopped", why: "it was told to".to_owned(), denied: false }
}

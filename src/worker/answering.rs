//! Answers beside the loop, for as long as this instance leads: receipts, and the look-up service. Nothing
//! rests on them: whoever missed one asks.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use tokio::sync::{Notify, mpsc};
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use super::lookup::{self, Lookup};
use super::waiting::Waiting;
use super::{Backoff, Worker};
use crate::config::Config;
use crate::gate::engine::Decided;
use crate::gate::key::ActionKey;
use crate::gate::receipt::{Known, Receipt, Shape};
use crate::metrics::Metrics;
use crate::nats::connect::Connection;
use crate::nats::service::{self, Lookups, Question, Refused};
use crate::table::KeyTable;

/// Batches of receipts that wait to be sent; more are dropped.
const BATCHES_WAITING: usize = 4096;
/// Results that are read for receipts at once.
const RESULTS_AT_ONCE: usize = 24;
/// Look-ups at once; more are turned away.
const LOOKUPS_AT_ONCE: usize = 20_000;
/// As the server lists the connection.
const LOOKUPS: &str = "look-ups";
/// What is left to be sent at the end has so long.
const END_MAX: Duration = Duration::from_secs(2);

/// In boxes: a receipt is large, and goes through many hands.
type Receipts = Vec<Box<Receipt>>;

/// See the module.
pub(super) struct Answering {
    receipts: mpsc::Sender<Receipts>,
    waiting: Arc<Waiting>,
    /// The table is at the ledger's end.
    warm: Arc<Notify>,
    over: CancellationToken,
    metrics: Metrics,
    sending: JoinHandle<()>,
    serving: JoinHandle<()>,
}

impl Answering {
    /// From the beginning of a term. Look-ups are taken from [`Answering::open`] on.
    pub(super) fn start(worker: &Worker) -> Self {
        let (receipts, to_send) = mpsc::channel(BATCHES_WAITING);
        let waiting = Arc::new(Waiting::default());
        let (warm, over) = (Arc::new(Notify::new()), CancellationToken::new());
        let metrics = worker.metrics.clone();
        let desk = Arc::new(Desk {
            config: worker.config.clone(),
            table: worker.table.clone(),
            waiting: waiting.clone(),
            warm: warm.clone(),
            over: over.clone(),
            metrics: metrics.clone(),
        });
        // Receipts where the loop is, which hands them over: they wait for nothing but the server. A look-up may wait
        // for the disk.
        let sending = tokio::spawn(desk.clone().send_receipts(to_send));
        let serving = worker.beside.spawn(desk.serve_lookups());
        Self { receipts, waiting, warm, over, metrics, sending, serving }
    }

    /// What the table says is what the ledger says.
    pub(super) fn open(&self) {
        self.warm.notify_one();
    }

    /// These are settled.
    pub(super) fn tell(&self, decided: Vec<Decided>, answered: &[ActionKey]) {
        self.waiting.tell(answered);
        self.send(decided);
    }

    /// These were settled by a recovery, and what else the ledger held is in the table too.
    pub(super) fn recovered(&self, settled: Vec<Decided>) {
        self.waiting.tell_all();
        self.send(settled);
    }

    fn send(&self, decided: Vec<Decided>) {
        let receipts: Receipts =
            decided.into_iter().filter_map(|decided| decided.receipt).collect();
        if receipts.is_empty() {
            return;
        }
        if let Err(unsent) = self.receipts.try_send(receipts) {
            self.metrics.receipts_dropped(unsent.into_inner().len() as u64);
        }
    }

    /// Whoever waits is told to ask again.
    pub(super) async fn end(self) {
        let Self { receipts, over, mut sending, mut serving, .. } = self;
        drop(receipts);
        over.cancel();
        let both = async { tokio::join!(&mut sending, &mut serving) };
        if tokio::time::timeout(END_MAX, both).await.is_err() {
            sending.abort();
            serving.abort();
        }
    }
}

fn result_at(receipt: &Receipt) -> Option<u64> {
    receipt.known.as_ref().and_then(Known::result_at)
}

struct Desk {
    config: Arc<Config>,
    table: Arc<dyn KeyTable>,
    waiting: Arc<Waiting>,
    warm: Arc<Notify>,
    over: CancellationToken,
    metrics: Metrics,
}

impl Desk {
    async fn send_receipts(self: Arc<Self>, mut to_send: mpsc::Receiver<Receipts>) {
        let Some(connection) = self.connect("receipts").await else { return };
        self.send_all(&connection, &mut to_send).await;
        if let Err(error) = connection.client.flush().await {
            tracing::debug!(%error, "the last receipts may not have been sent");
        }
    }

    async fn serve_lookups(self: Arc<Self>) {
        if let Some(connection) = self.connect(LOOKUPS).await {
            self.serve(&connection).await;
        }
    }

    /// A connection of its own: what breaks it must not break the ledger, nor the feed.
    async fn connect(&self, role: &str) -> Option<Connection> {
        let mut waiting = Backoff::default();
        loop {
            match Connection::open(&self.config.nats, role).await {
                Ok(connection) => return Some(connection),
                Err(error) => tracing::debug!(%error, "no connection for answers yet"),
            }
            tokio::select! {
                () = tokio::time::sleep(waiting.next()) => {}
                () = self.over.cancelled() => return None,
            }
        }
    }

    async fn send_all(&self, connection: &Connection, to_send: &mut mpsc::Receiver<Receipts>) {
        while let Some(receipts) = to_send.recv().await {
            let (with_result, without): (Receipts, Receipts) =
                receipts.into_iter().partition(|receipt| result_at(receipt).is_some());
            for receipt in without {
                self.send_one(connection, receipt, None).await;
            }
            futures::stream::iter(with_result)
                .for_each_concurrent(RESULTS_AT_ONCE, |receipt| async {
                    let at = result_at(&receipt).unwrap_or_default();
                    let result = self.result(connection, at).await;
                    self.send_one(connection, receipt, Some(result)).await;
                })
                .await;
        }
    }

    async fn send_one(
        &self,
        connection: &Connection,
        receipt: Box<Receipt>,
        result: Option<Shape>,
    ) {
        let mut body = receipt.body(result.as_ref());
        if body.len() > connection.message_bytes_max() {
            body = receipt.body(Some(&Shape::Elsewhere));
        }
        let sent =
            service::send(connection, receipt.reply_to, receipt.verdict.as_str(), body).await;
        match sent {
            Ok(()) => self.metrics.receipts(1),
            Err(error) => {
                tracing::debug!(%error, "a receipt was not sent");
                self.metrics.receipts_dropped(1);
            }
        }
    }

    async fn result(&self, connection: &Connection, at: u64) -> Shape {
        let found = lookup::result(connection, &self.config, at).await;
        found.unwrap_or_else(|error| {
            tracing::debug!(%error, at, "a receipt goes without its result");
            Shape::Elsewhere
        })
    }

    /// The service, made anew where its connection's task has ended.
    async fn serve(&self, connection: &Connection) {
        tokio::select! {
            () = self.warm.notified() => {}
            () = self.over.cancelled() => return,
        }
        let mut waiting = Backoff::default();
        let mut current = connection.clone();
        while !self.over.is_cancelled() {
            match Lookups::open(&current, &self.config.name).await {
                Ok(lookups) => self.serve_all(&current, lookups).await,
                Err(error) => tracing::debug!(%error, "the look-up service is not there yet"),
            }
            tokio::select! {
                () = tokio::time::sleep(waiting.next()) => {}
                () = self.over.cancelled() => return,
            }
            match self.connect(LOOKUPS).await {
                Some(new) => current = new,
                None => return,
            }
        }
    }

    async fn serve_all(&self, connection: &Connection, mut lookups: Lookups) {
        let lookup = Lookup {
            config: self.config.clone(),
            table: self.table.clone(),
            connection: connection.clone(),
            waiting: self.waiting.clone(),
            over: self.over.clone(),
        };
        let mut answers = JoinSet::new();
        loop {
            tokio::select! {
                question = lookups.next() => match question {
                    Some(question) => self.take(question, &lookup, &mut answers).await,
                    None => break,
                },
                Some(_) = answers.join_next() => {}
                () = self.over.cancelled() => break,
            }
            self.metrics.set_lookup_waiters(answers.len() as u64);
        }
        lookups.close().await;
        // Each of them sees that it is over.
        while answers.join_next().await.is_some() {}
        self.metrics.set_lookup_waiters(0);
        connection.client.flush().await.ok();
    }

    async fn take(&self, question: Question, lookup: &Lookup, answers: &mut JoinSet<()>) {
        if answers.len() >= LOOKUPS_AT_ONCE {
            let why = "too many look-ups are under way: ask again".to_owned();
            return question.answer(Err(Refused { code: 503, why })).await;
        }
        let lookup = lookup.clone();
        answers.spawn(async move {
            let answer = lookup.answer(question.body()).await;
            question.answer(answer).await;
        });
    }
}

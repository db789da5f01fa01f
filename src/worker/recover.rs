//! Carries out the engine's recovery: asks the streams, writes the table.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use super::{Trouble, Worker, kill};
use crate::config::Config;
use crate::gate::engine::Unsettled;
use crate::gate::engine::recovery::{
    Answer, Ask, LedgerMessage, Records, Recovered, Recovery, Refusal, Step,
};
use crate::gate::key::ActionKey;
use crate::http::Status;
use crate::nats::connect::Connection;
use crate::nats::pull::Broken;
use crate::nats::raw::{self, RawMessage};
use crate::nats::setup;
use crate::nats::tail::Tail;
use crate::progress::Progress;
use crate::table::{KeyTable, TableError};

/// Entries read one by one and applied at once.
const TAIL_CHUNK: u64 = 1000;
/// A consumer is worth making for a tail of so many entries.
const TAIL_LONG: u64 = 2000;
/// Chunks of a long tail that are read while the one before is applied.
const CHUNKS_AHEAD: usize = 4;
/// A consumer on a replica that is cut off has nothing to say, and says so by heartbeats.
const TAIL_SILENCE_MAX: Duration = Duration::from_secs(10);

/// Where a recovery happens, and who is told of it.
pub(super) struct Recovering<'a> {
    pub config: &'a Config,
    pub connection: &'a Connection,
    pub table: &'a dyn KeyTable,
    pub watch: &'a dyn Watch,
}

/// Who is told how a recovery gets on.
pub(super) trait Watch: Sync {
    /// The ledger is read, at entry `at` of those up to `to`.
    fn reads(&self, at: u64, to: u64);
    /// Messages that the gate did not write were passed over.
    fn foreign(&self, sequences: &[u64]);
}

impl Worker {
    /// From the table's positions to the ledger's end.
    /// `unsettled` learns what the ledger says of it.
    pub(super) async fn recover(
        &self,
        connection: &Connection,
        unsettled: &mut Unsettled,
    ) -> Result<Recovered, Trouble> {
        let (config, table) = (&self.config, &*self.table);
        let progress = Progress::of_service("reading the ledger");
        let watch = &Watching { worker: self, progress };
        Recovering { config, connection, table, watch }.run(unsettled).await
    }

    pub(super) async fn stream(
        &self,
        connection: &Connection,
        name: &str,
    ) -> Result<setup::StreamInfo, Trouble> {
        stream(&self.config, connection, name).await
    }
}

impl Recovering<'_> {
    /// See [`Recovery`].
    pub(super) async fn run(&self, unsettled: &mut Unsettled) -> Result<Recovered, Trouble> {
        let cursors = self.table.cursors()?;
        let window_ns = self.config.retention.window_ns();
        let inputs = [self.config.actions().stream, self.config.reports().stream];
        let (mut recovery, first) = Recovery::new(&self.config.name, inputs, cursors, window_ns);
        let mut reader = TailReader::default();
        let mut step = Step::Ask(first);
        loop {
            let around = kill::around(&step);
            let answer = match step {
                Step::Ask(ask) => self.find_out(&mut reader, ask).await?,
                Step::Commit { commit, foreign, decided } => {
                    self.watch.foreign(&foreign);
                    unsettled.read(&decided);
                    self.table.commit(commit)?;
                    Answer::Committed
                }
                Step::Done(recovered) => {
                    around.done();
                    return Ok(recovered);
                }
            };
            around.done();
            step = match recovery.next(answer) {
                Ok(step) => step,
                Err(refusal) => return Err(self.refused(refusal).await),
            };
        }
    }

    async fn refused(&self, refusal: Refusal) -> Trouble {
        let ledger = self.config.ledger_stream();
        let refusal = anyhow::anyhow!("(ledger stream {ledger}) {refusal}");
        let input = setup::stream_info(self.connection, &self.config.input.stream).await;
        let replicated = input.map_or(true, |i| i.is_some_and(|i| i.is_replicated()));
        doubt_or_stop(self.config, refusal, replicated)
    }

    async fn find_out(&self, reader: &mut TailReader, ask: Ask) -> Result<Answer, Trouble> {
        let ledger = self.config.ledger_stream();
        let connection = self.connection;
        Ok(match ask {
            Ask::LedgerState => {
                let state = stream(self.config, connection, &ledger).await?.state;
                Answer::LedgerState { first: state.first_seq.max(1), last: state.last_seq }
            }
            Ask::LedgerEntry(at) => {
                let found = raw::get(connection, &ledger, at).await?;
                Answer::LedgerEntry(found.map(entry))
            }
            Ask::LedgerTail { from, to } => {
                self.watch.reads(from, to);
                Answer::LedgerTail(self.read_tail(reader, (from, to)).await?)
            }
            Ask::Records(keys) => Answer::Records(records(self.table, keys)?),
            Ask::InputState(input) => {
                let info = stream(self.config, connection, &input).await?;
                Answer::InputState { created_ns: info.created_ns(), last: info.state.last_seq }
            }
            Ask::InputFrom(input, at) => {
                let found = raw::next(connection, &input, at, ">").await?;
                Answer::InputFrom(found.map(|message| (message.sequence, message.time_ns)))
            }
        })
    }

    /// A long tail comes from a consumer. What that can't read is read one by one.
    async fn read_tail(
        &self,
        reader: &mut TailReader,
        (from, to): (u64, u64),
    ) -> Result<Vec<LedgerMessage>, Trouble> {
        let worth_it = reader.ahead.is_some() || to - from >= TAIL_LONG;
        if worth_it && from > reader.one_by_one_to {
            match reader.next(self.config, from).await {
                Ok(entries) => return Ok(entries),
                Err(error) => {
                    reader.give_up(&error, from);
                }
            }
        }
        let to = to.min(from + TAIL_CHUNK - 1);
        let keep = |message| entry_without_payload(&self.config.name, message);
        let ledger = self.config.ledger_stream();
        let found = raw::range(self.connection, &ledger, (from, to), keep).await?;
        if found.is_empty() {
            return Err(Trouble::Wait(format!("ledger entries {from}..={to} can't be read")));
        }
        Ok(found)
    }
}

/// What the table holds of these keys.
pub(super) fn records(table: &dyn KeyTable, keys: Vec<ActionKey>) -> Result<Records, TableError> {
    if keys.is_empty() {
        return Ok(Records::new());
    }
    let asked: Vec<_> = keys.iter().collect();
    let found = table.load_many(&asked)?;
    Ok(keys.into_iter().zip(found).filter_map(|(key, found)| Some((key, found?))).collect())
}

async fn stream(
    config: &Config,
    connection: &Connection,
    name: &str,
) -> Result<setup::StreamInfo, Trouble> {
    let info = setup::stream_info(connection, name).await?;
    info.ok_or_else(|| match name != config.ledger_stream() {
        // Between deleting an input stream and making it anew there is a moment without one.
        true => Trouble::Wait(format!(
            "the input stream {name} is gone; waiting until it is there again: restore it, make it \
             anew, or start the gate again to have it made"
        )),
        false => {
            let gone = anyhow::anyhow!(
                "the ledger stream {name} is gone: somebody deleted it. Restore it; a ledger that is \
                 made anew does not fit the key table, and is refused."
            );
            doubt_or_stop(config, gone, false)
        }
    })
}

/// What one server of several says need not be the streams' last word.
fn doubt_or_stop(config: &Config, why: anyhow::Error, input_is_replicated: bool) -> Trouble {
    match config.ledger.replicas > 1 || input_is_replicated {
        true => Trouble::Doubt(why),
        false => Trouble::Stop(why),
    }
}

struct Watching<'a> {
    worker: &'a Worker,
    progress: Progress,
}

impl Watch for Watching<'_> {
    fn reads(&self, at: u64, to: u64) {
        let status = Status::CatchingUp(format!("the ledger is read, at entry {at} of {to}"));
        self.worker.health.set(status);
        self.progress.at(at, to);
    }

    fn foreign(&self, sequences: &[u64]) {
        self.worker.report_foreign(sequences);
    }
}

impl Worker {
    pub(super) fn report_foreign(&self, sequences: &[u64]) {
        if let Some(first) = sequences.first() {
            self.metrics.foreign_entries(sequences.len() as u64);
            tracing::warn!(
                first,
                count = sequences.len(),
                "messages in the ledger that the gate did not write are passed over"
            );
        }
    }
}

/// What reads a long tail, and up to where it can't.
#[derive(Default)]
struct TailReader {
    ahead: Option<Ahead>,
    one_by_one_to: u64,
    denied: bool,
}

/// A tail that is read ahead of what is applied.
struct Ahead {
    chunks: mpsc::Receiver<Result<Vec<LedgerMessage>, Broken>>,
    _reading: AbortOnDropHandle<()>,
}

impl TailReader {
    fn give_up(&mut self, error: &Broken, from: u64) {
        match error.denied && !self.denied {
            // It is not mended by trying again, and takes many times as long.
            true => tracing::warn!(
                %error,
                from,
                "permissions keep the ledger from being read through a consumer: it is read one by one, \
                 which is slow. Allow the consumer, as README says under Permissions"
            ),
            false => tracing::debug!(%error, from, "the tail is read one by one"),
        }
        self.denied |= error.denied;
        self.ahead = None;
        self.one_by_one_to = from + TAIL_CHUNK;
    }

    async fn next(&mut self, config: &Config, from: u64) -> Result<Vec<LedgerMessage>, Broken> {
        let ahead = match &mut self.ahead {
            Some(ahead) => ahead,
            none => none.insert(Ahead::of(Tail::open(config, from).await?)),
        };
        ahead.chunks.recv().await.unwrap_or_else(|| Err(silent()))
    }
}

impl Ahead {
    fn of(mut tail: Tail) -> Self {
        let (sender, chunks) = mpsc::channel(CHUNKS_AHEAD);
        let reading = tokio::spawn(async move {
            loop {
                let chunk = tokio::time::timeout(TAIL_SILENCE_MAX, tail.next()).await;
                let chunk = chunk.unwrap_or_else(|_| Err(silent()));
                let entries =
                    chunk.map(|chunk| chunk.entries.into_iter().map(entry).collect::<Vec<_>>());
                let over = entries.is_err();
                if sender.send(entries).await.is_err() || over {
                    return;
                }
            }
        });
        Self { chunks, _reading: AbortOnDropHandle::new(reading) }
    }
}

fn silent() -> Broken {
    let why = "it does not get on".to_owned();
    Broken { label: "missed_heartbeat", why, denied: false }
}

pub(super) fn entry(message: RawMessage) -> LedgerMessage {
    let RawMessage { sequence, time_ns, subject, headers, payload } = message;
    LedgerMessage { sequence, time_ns, subject, headers, payload }
}

/// Only `leading` entries say something in their payload; the others' may be large.
fn entry_without_payload(name: &str, message: RawMessage) -> LedgerMessage {
    let mut entry = entry(message);
    if entry.subject != format!("{name}.leading") {
        entry.payload = bytes::Bytes::new();
    }
    entry
}

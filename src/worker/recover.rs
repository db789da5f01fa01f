//! Carries out the engine's recovery: asks the streams, writes the table.

use std::time::Duration;

use super::{Trouble, Worker, kill};
use crate::gate::engine::Unsettled;
use crate::gate::engine::recovery::{Answer, Ask, LedgerMessage, Recovered, Recovery, Step};
use crate::http::Status;
use crate::nats::connect::Connection;
use crate::nats::pull::Broken;
use crate::nats::raw::{self, RawMessage};
use crate::nats::setup;
use crate::nats::tail::Tail;
use crate::table::KeyTable;

/// Entries read one by one and applied at once.
const TAIL_CHUNK: u64 = 1000;
/// A consumer is worth making for a tail of so many entries.
const TAIL_LONG: u64 = 2000;
/// A consumer on a replica that is cut off has nothing to say, and says so by heartbeats.
const TAIL_SILENCE_MAX: Duration = Duration::from_secs(10);

impl Worker {
    /// From the table's positions to the ledger's end.
    /// `unsettled` learns what the ledger says of it.
    pub(super) async fn recover(
        &self,
        connection: &Connection,
        unsettled: &mut Unsettled,
    ) -> Result<Recovered, Trouble> {
        let cursors = self.table.cursors()?;
        let window_ns = self.config.retention.window.as_nanos().try_into().unwrap_or(i64::MAX);
        let input = self.config.input.stream.as_str().into();
        let (mut recovery, first) = Recovery::new(&self.config.name, input, cursors, window_ns);
        let mut reader = TailReader::default();
        let mut step = Step::Ask(first);
        loop {
            let around = kill::around(&step);
            let answer = match step {
                Step::Ask(ask) => self.find_out(connection, &mut reader, ask).await?,
                Step::Commit { commit, foreign, decided } => {
                    self.report_foreign(&foreign);
                    unsettled.read(&decided);
                    tokio::task::block_in_place(|| self.table.commit(&commit))?;
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
                Err(refusal) => {
                    let ledger = self.config.ledger_stream();
                    let refusal = anyhow::anyhow!("(ledger stream {ledger}) {refusal}");
                    let input = setup::stream_info(connection, &self.config.input.stream).await;
                    let replicated = input.map_or(true, |i| i.is_some_and(|i| i.is_replicated()));
                    return Err(self.refused(refusal, replicated));
                }
            };
        }
    }

    async fn find_out(
        &self,
        connection: &Connection,
        reader: &mut TailReader,
        ask: Ask,
    ) -> Result<Answer, Trouble> {
        let ledger = self.config.ledger_stream();
        let input = &self.config.input.stream;
        Ok(match ask {
            Ask::LedgerState => {
                let state = self.stream(connection, &ledger).await?.state;
                Answer::LedgerState { first: state.first_seq.max(1), last: state.last_seq }
            }
            Ask::LedgerEntry(at) => {
                let found = raw::get(connection, &ledger, at).await?;
                Answer::LedgerEntry(found.map(entry))
            }
            Ask::LedgerTail { from, to } => {
                self.health.set(Status::CatchingUp(format!("the ledger is read, at entry {from}")));
                Answer::LedgerTail(self.read_tail(connection, reader, (from, to)).await?)
            }
            Ask::InputState => {
                let info = self.stream(connection, input).await?;
                Answer::InputState { created_ns: info.created_ns(), last: info.state.last_seq }
            }
            Ask::InputFrom(at) => {
                let found = raw::next(connection, input, at, ">").await?;
                Answer::InputFrom(found.map(|message| (message.sequence, message.time_ns)))
            }
        })
    }

    /// A long tail comes from a consumer. What that can't read is read one by one.
    async fn read_tail(
        &self,
        connection: &Connection,
        reader: &mut TailReader,
        (from, to): (u64, u64),
    ) -> Result<Vec<LedgerMessage>, Trouble> {
        let worth_it = reader.tail.is_some() || to - from >= TAIL_LONG;
        if worth_it && from > reader.one_by_one_to {
            match reader.next(self, from).await {
                Ok(entries) => return Ok(entries),
                Err(error) => {
                    tracing::debug!(%error, from, "the tail is read one by one");
                    *reader = TailReader { tail: None, one_by_one_to: from + TAIL_CHUNK };
                }
            }
        }
        let to = to.min(from + TAIL_CHUNK - 1);
        let keep = |message| entry_without_payload(&self.config.name, message);
        let ledger = self.config.ledger_stream();
        let found = raw::range(connection, &ledger, (from, to), keep).await?;
        if found.is_empty() {
            return Err(Trouble::Wait(format!("ledger entries {from}..={to} can't be read")));
        }
        Ok(found)
    }

    pub(super) async fn stream(
        &self,
        connection: &Connection,
        name: &str,
    ) -> Result<setup::StreamInfo, Trouble> {
        let info = setup::stream_info(connection, name).await?;
        info.ok_or_else(|| match name == self.config.input.stream {
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
                self.refused(gone, false)
            }
        })
    }

    /// What one server of several says need not be the streams' last word.
    fn refused(&self, why: anyhow::Error, input_is_replicated: bool) -> Trouble {
        match self.config.ledger.replicas > 1 || input_is_replicated {
            true => Trouble::Doubt(why),
            false => Trouble::Stop(why),
        }
    }

    pub(super) fn report_foreign(&self, foreign: &[u64]) {
        if let Some(first) = foreign.first() {
            self.metrics.foreign_entries(foreign.len() as u64);
            tracing::warn!(
                first,
                count = foreign.len(),
                "messages in the ledger that the gate did not write are passed over"
            );
        }
    }
}

/// What reads a long tail, and up to where it can't.
#[derive(Default)]
struct TailReader {
    tail: Option<Tail>,
    one_by_one_to: u64,
}

impl TailReader {
    async fn next(&mut self, worker: &Worker, from: u64) -> Result<Vec<LedgerMessage>, Broken> {
        let tail = match &mut self.tail {
            Some(tail) => tail,
            none => none.insert(Tail::open(&worker.config, from).await?),
        };
        let silent = || Broken {
            label: "missed_heartbeat",
            why: "it does not get on".to_owned(),
            denied: false,
        };
        let chunk = tokio::time::timeout(TAIL_SILENCE_MAX, tail.next()).await;
        let chunk = chunk.map_err(|_| silent())??;
        Ok(chunk.entries.into_iter().map(entry).collect())
    }
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

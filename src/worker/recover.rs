//! Carries out the engine's recovery: asks the streams, writes the table.

use super::{Trouble, Worker, kill};
use crate::gate::engine::recovery::{Answer, Ask, LedgerMessage, Recovered, Recovery, Step};
use crate::http::Status;
use crate::nats::connect::Connection;
use crate::nats::raw::{self, RawMessage};
use crate::nats::setup;
use crate::table::KeyTable;

/// Entries read and applied at once.
const TAIL_CHUNK: u64 = 1000;

impl Worker {
    /// From the table's positions to the ledger's end.
    pub(super) async fn recover(&self, connection: &Connection) -> Result<Recovered, Trouble> {
        let cursors = self.table.cursors()?;
        let window_ns = self.config.retention.window.as_nanos().try_into().unwrap_or(i64::MAX);
        let input = self.config.input.stream.as_str().into();
        let (mut recovery, first) = Recovery::new(&self.config.name, input, cursors, window_ns);
        let mut step = Step::Ask(first);
        loop {
            let around = kill::around(&step);
            let answer = match step {
                Step::Ask(ask) => self.find_out(connection, ask).await?,
                Step::Commit { commit, foreign } => {
                    self.report_foreign(&foreign);
                    tokio::task::block_in_place(|| self.table.commit(&commit))?;
                    Answer::Committed
                }
                Step::Done(recovered) => {
                    around.done();
                    return Ok(recovered);
                }
            };
            around.done();
            step = recovery.next(answer).map_err(|refusal| {
                let ledger = self.config.ledger_stream();
                Trouble::Stop(anyhow::anyhow!("(ledger stream {ledger}) {refusal}"))
            })?;
        }
    }

    async fn find_out(&self, connection: &Connection, ask: Ask) -> Result<Answer, Trouble> {
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
                let to = to.min(from + TAIL_CHUNK - 1);
                self.health.set(Status::CatchingUp(format!("the ledger is read, at entry {from}")));
                let keep = |message| entry_without_payload(&self.config.name, message);
                let found = raw::range(connection, &ledger, (from, to), keep).await?;
                if found.is_empty() {
                    return Err(Trouble::Wait(format!(
                        "ledger entries {from}..={to} can't be read"
                    )));
                }
                Answer::LedgerTail(found)
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
            false => Trouble::Stop(anyhow::anyhow!(
                "the ledger stream {name} is gone: somebody deleted it. Restore it; a ledger that is made \
                 anew does not fit the key table, and is refused."
            )),
        })
    }

    fn report_foreign(&self, foreign: &[u64]) {
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

fn entry(message: RawMessage) -> LedgerMessage {
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

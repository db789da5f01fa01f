//! A key table made anew from the ledger, without running the worker.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context as _;

use super::recover::{Recovering, Watch};
use super::{Backoff, Doubts, Trouble, clock, identity};
use crate::config::Config;
use crate::gate::cursor::Cursors;
use crate::gate::engine::Unsettled;
use crate::gate::engine::recovery::{Recovered, Refusal};
use crate::nats::connect::Connection;
use crate::nats::setup;
use crate::progress::Progress;
use crate::table::rebuild::{self, Old, OldTable};
use crate::table::{KeyTable, RocksTable};

/// A server that answers nothing for so long is given up.
const PATIENCE: Duration = Duration::from_secs(60);

/// A new table, whole, that is not yet in its place.
pub struct Rebuilt {
    table: RocksTable,
    /// Ledger sequence that it stands at.
    pub ledger_sequence: u64,
    /// Up to where the input is judged.
    pub input_sequence: u64,
    /// Messages in the ledger that the gate did not write.
    pub foreign: u64,
    /// Keys in it. An estimate.
    pub keys: u64,
    /// The table in place can't be read: why.
    pub unreadable: Option<String>,
    /// The table in place is of another ledger, or of a longer one.
    pub loss: Option<Loss>,
}

/// What the table in place knows, and the ledger does not.
pub struct Loss {
    /// How the two disagree.
    pub refusal: Refusal,
    /// Ledger sequence that the table in place stands at.
    pub ledger_sequence: u64,
    /// Up to where it has the input judged.
    pub input_sequence: u64,
    /// Its live keys that the ledger does not hold by the same action.
    pub keys: u64,
    /// The input deletes what is judged, so that nothing is judged again.
    pub is_work_queue: bool,
}

/// Makes the new table beside the one in place; nothing is changed yet.
///
/// Where the table in place can be read and its ledger is not the one that is there: an error, unless
/// `accept_ledger`.
pub async fn prepare(config: &Config, accept_ledger: bool) -> anyhow::Result<Rebuilt> {
    let connection = Connection::open(&config.nats, "rebuild").await?;
    for (role, stream) in
        [("ledger", config.ledger_stream()), ("input", config.input.stream.clone())]
    {
        let info = setup::stream_info(&connection, &stream).await?;
        anyhow::ensure!(
            info.is_some(),
            "the {role} stream {stream} is not there, so there is nothing to make a table from: restore it first"
        );
    }
    // What is not fit is not made fit here.
    let looking = Config { manage: false, ..config.clone() };
    let input = setup::input(&connection, &looking).await?;
    setup::ledger(&connection, &looking).await?;
    let (old, table) = rebuild::begin(&config.table.path, &config.name)?;
    let read = async {
        let disagreement = match &old {
            Old::Readable(old) => disagreement(config, &connection, old).await?,
            Old::Absent | Old::Unreadable(_) => None,
        };
        if let Some(refusal) = disagreement.as_ref().filter(|_| !accept_ledger) {
            anyhow::bail!(
                "the table in {} and the ledger do not belong together, and a table made from this ledger \
                 would know less. {refusal}",
                config.table.path.display()
            );
        }
        let watch = Reading::default();
        let recovered = read_all(config, &connection, &table, &watch).await?;
        let loss = match (&old, disagreement) {
            (Old::Readable(old), Some(refusal)) => {
                let input = (config.input.stream.as_str(), input.is_work_queue());
                Some(tokio::task::block_in_place(|| loss(old, &table, refusal, input))?)
            }
            _ => None,
        };
        Ok((recovered.cursors, watch.foreign.into_inner(), loss))
    };
    match read.await {
        Ok((cursors, foreign, loss)) => Ok(Rebuilt {
            ledger_sequence: cursors.ledger.sequence,
            input_sequence: judged(&cursors, &config.input.stream),
            foreign,
            keys: table.stats().keys,
            unreadable: match old {
                Old::Unreadable(error) => Some(error.to_string()),
                Old::Absent | Old::Readable(_) => None,
            },
            loss,
            table,
        }),
        Err(error) => {
            rebuild::discard(table)?;
            Err(error)
        }
    }
}

impl Rebuilt {
    /// Puts the new table in its place; where the old one is kept, if there was one.
    pub fn finish(self) -> anyhow::Result<Option<PathBuf>> {
        Ok(rebuild::finish(self.table)?)
    }

    /// Leaves everything as it was.
    pub fn discard(self) -> anyhow::Result<()> {
        Ok(rebuild::discard(self.table)?)
    }
}

/// How the ledger is not the one that the old table has applied.
async fn disagreement(
    config: &Config,
    connection: &Connection,
    old: &OldTable,
) -> anyhow::Result<Option<Refusal>> {
    let Err(error) = identity::ledger_end(connection, config, old.cursors().clone()).await else {
        return Ok(None);
    };
    match error.downcast() {
        // What the old table lacks, the new one may find in the ledger, or not: its own recovery tells.
        Ok(Refusal::EntriesMissing { .. }) => Ok(None),
        Ok(refusal) => Ok(Some(refusal)),
        Err(error) => Err(error),
    }
}

async fn read_all(
    config: &Config,
    connection: &Connection,
    table: &RocksTable,
    watch: &Reading,
) -> anyhow::Result<Recovered> {
    let recovering = Recovering { config, connection, table, watch };
    let recover = || async { recovering.run(&mut Unsettled::default()).await };
    let at = || table.cursors().map_or(0, |cursors| cursors.ledger.sequence);
    patiently(recover, at).await
}

/// Tries until it is done, as long as `got_to` moves or the server has not been silent for long.
async fn patiently<T, F: Future<Output = Result<T, Trouble>>>(
    mut work: impl FnMut() -> F,
    got_to: impl Fn() -> u64,
) -> anyhow::Result<T> {
    let (mut waiting, mut doubts) = (Backoff::default(), Doubts::default());
    let mut progress = (got_to(), clock::monotonic());
    loop {
        let why = match work().await {
            Ok(done) => return Ok(done),
            Err(trouble) => doubts.settle(trouble)?,
        };
        if got_to() > progress.0 {
            progress = (got_to(), clock::monotonic());
            waiting = Backoff::default();
        }
        if progress.1.elapsed() > PATIENCE {
            return Err(anyhow::anyhow!(why)).context("given up; nothing was changed");
        }
        tracing::warn!(why, "trying again");
        tokio::time::sleep(waiting.next()).await;
    }
}

fn loss(
    old: &OldTable,
    new: &RocksTable,
    refusal: Refusal,
    (input, is_work_queue): (&str, bool),
) -> anyhow::Result<Loss> {
    new.flush()?;
    let progress = Progress::of_command("comparing keys");
    let keys = old.keys_unknown_to(new, |seen, of| progress.at(seen, of))?;
    Ok(Loss {
        refusal,
        ledger_sequence: old.cursors().ledger.sequence,
        input_sequence: judged(old.cursors(), input),
        keys,
        is_work_queue,
    })
}

fn judged(cursors: &Cursors, input: &str) -> u64 {
    cursors.position(input).map_or(0, |source| source.sequence)
}

/// Shows how far it is.
struct Reading {
    progress: Progress,
    foreign: AtomicU64,
}

impl Default for Reading {
    fn default() -> Self {
        Self { progress: Progress::of_command("reading the ledger"), foreign: AtomicU64::new(0) }
    }
}

impl Watch for Reading {
    fn reads(&self, at: u64, to: u64) {
        self.progress.at(at, to);
    }

    fn foreign(&self, sequences: &[u64]) {
        self.foreign.fetch_add(sequences.len() as u64, Ordering::Relaxed);
    }
}

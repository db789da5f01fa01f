//! A key table made anew from the ledger, without running the worker.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context as _;

use super::recover::{Recovering, Watch};
use super::{Backoff, Doubts, Trouble, clock, identity};
use crate::config::Config;
use crate::gate::cursor::Cursors;
use crate::gate::engine::recovery::{Recovered, Refusal};
use crate::gate::engine::{Commit, Unsettled};
use crate::nats::connect::Connection;
use crate::nats::{raw, setup};
use crate::progress::Progress;
use crate::table::rebuild::{self, Filling, Old, OldTable};
use crate::table::{KeyTable, RocksTable, TableError};

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
    /// What somebody has to accept before it takes its place.
    pub at_stake: Option<Stake>,
}

/// Why the new table may know less than the one in place.
pub enum Stake {
    /// The one in place can't be read, so nobody can tell: why.
    Unknown(String),
    /// The one in place is of another ledger, or of a longer one.
    Known(Loss),
}

/// What the table in place knows, and the ledger does not.
pub struct Loss {
    /// How the two disagree.
    pub refusal: Refusal,
    /// Ledger sequence that the table in place stands at.
    pub ledger_sequence: u64,
    /// Inputs whose position goes back, in the order in which the gate first read them.
    pub inputs: Vec<GoesBack>,
    /// Its live keys that the ledger does not hold by the same action; `None` where some can't be read.
    pub keys: Option<u64>,
    /// The configured input deletes what is judged, so that only what it still holds is judged again.
    pub is_work_queue: bool,
}

/// An input that would be judged again.
pub struct GoesBack {
    /// Its stream.
    pub stream: Arc<str>,
    /// Up to where the table in place has it judged.
    pub from: u64,
    /// Up to where the new one has.
    pub to: u64,
}

/// Makes the new table beside the one in place; nothing is changed yet.
///
/// Where the new one may know less than the one in place (whose ledger is not the one that is there, or which
/// can't be read, so that nobody can tell): an error, unless `accept_ledger`.
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
    setup::reports(&connection, config).await?;
    let results = format!("{}.completed.>", config.name);
    let filling = match raw::next(&connection, &config.ledger_stream(), 1, &results).await? {
        Some(_) => Filling::WrittenAndRead,
        None => Filling::Written,
    };
    let (memory_bytes, path) = (config.table.memory_bytes(), &config.table.path);
    let (old, table) = rebuild::begin(memory_bytes, path, &config.name, filling)?;
    let read = async {
        let disagreement = match &old {
            Old::Readable(old) => disagreement(config, &connection, old).await?,
            Old::Unreadable(error) if !accept_ledger => anyhow::bail!(
                "{error}. A table that can't be read can't tell whether this ledger still holds all that it \
                 had applied, so it is not replaced unasked: with --accept-ledger this command says what is at \
                 stake, and asks"
            ),
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
        keep_proof(&table, &recovered)?;
        let at_stake = match (&old, disagreement) {
            (Old::Readable(old), Some(refusal)) => {
                let is_work_queue = input.is_work_queue();
                let loss = || loss(old, &table, refusal, is_work_queue);
                Some(Stake::Known(tokio::task::block_in_place(loss)?))
            }
            (Old::Unreadable(error), _) => Some(Stake::Unknown(error.to_string())),
            _ => None,
        };
        Ok((recovered.cursors, watch.foreign.into_inner(), at_stake))
    };
    match read.await {
        Ok((cursors, foreign, at_stake)) => Ok(Rebuilt {
            ledger_sequence: cursors.ledger.sequence,
            input_sequence: judged(&cursors, &config.input.stream),
            foreign,
            keys: table.stats().keys,
            at_stake,
            table,
        }),
        Err(error) => {
            discard(table);
            Err(error)
        }
    }
}

/// What can't be thrown away now is thrown away at the next opening, and is no reason to hide why it must be.
fn discard(table: RocksTable) {
    if let Err(error) = rebuild::discard(table) {
        tracing::warn!(%error, "the unfinished table stays until the next opening");
    }
}

impl Rebuilt {
    /// Puts the new table in its place; where the old one is kept, if there was one.
    pub fn finish(self) -> anyhow::Result<Option<PathBuf>> {
        Ok(rebuild::finish(self.table)?)
    }

    /// Leaves everything as it was.
    pub fn discard(self) {
        discard(self.table);
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

/// That all which a trimmed ledger lost has expired is proved by the input's next action, which need not be there
/// any more when the worker starts.
fn keep_proof(table: &RocksTable, recovered: &Recovered) -> Result<(), TableError> {
    let cursors = table.cursors()?;
    if cursors.filling.is_none() || recovered.cursors.filling.is_some() {
        return Ok(());
    }
    table.commit(Commit { changes: Vec::new(), cursors: Cursors { filling: None, ..cursors } })
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
    is_work_queue: bool,
) -> anyhow::Result<Loss> {
    new.flush()?;
    let progress = Progress::of_command("comparing keys");
    let keys = match old.keys_unknown_to(new, |seen, of| progress.at(seen, of)) {
        // Damage behind positions that can be read must not keep it from being replaced.
        Err(error @ TableError::Damaged { .. }) => {
            tracing::warn!(%error, "its keys can't be compared");
            None
        }
        counted => Some(counted?),
    };
    Ok(Loss {
        refusal,
        ledger_sequence: old.cursors().ledger.sequence,
        inputs: going_back(old.cursors(), &new.cursors()?),
        keys,
        is_work_queue,
    })
}

fn going_back(old: &Cursors, new: &Cursors) -> Vec<GoesBack> {
    let positions = old.inputs.iter().map(|input| GoesBack {
        stream: input.stream.clone(),
        from: input.sequence,
        to: judged(new, &input.stream),
    });
    positions.filter(|input| input.to < input.from).collect()
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

//! Commits are gathered, and written to RocksDB many at once.
//!
//! RocksDB's write buffer is sorted all the time, and larger than the processor's cache: finding the place of each
//! new key was two thirds of a commit (docs/performance.md). Of tens of thousands of keys in order, each is a step
//! from the one before.
//!
//! What is gathered is answered from here, and written out beside the commits, by whoever calls
//! [`WriteBehind::write_out`] again and again. A crash loses it, as it may lose the end of RocksDB's log: whole
//! commits and from the end only, which the ledger replays (DESIGN invariant 3).

use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use indexmap::IndexMap;

use super::{KeyTable, RocksTable, TableError, TableStats};
use crate::gate::cursor::Cursors;
use crate::gate::engine::Commit;
use crate::gate::key::ActionKey;
use crate::gate::record::KeyRecord;

/// So many changed keys are written at once: some 15 MB of memory, and as much again while they are written.
const GATHERED_KEYS: usize = 1 << 16;
/// Where the writing falls behind by so much, commits wait for it.
const GATHERED_KEYS_MAX: usize = 2 * GATHERED_KEYS;

/// So often is looked, at most, before what is committed is written out: half a second, which is what a crash may
/// lose and the ledger replays.
const LOOKS_MAX: u32 = 10;
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Where so few have come in that time, they are written at once: at rates where nothing is to be gained, no
/// write is so long that actions wait for its processor.
const LITTLE_KEYS: usize = 2048;

/// Entries stand one after the other, and what finds them is small enough for the processor's cache.
type Changes = IndexMap<ActionKey, Option<KeyRecord>, foldhash::fast::RandomState>;

/// See the module.
#[derive(Debug)]
pub struct WriteBehind {
    table: Arc<RocksTable>,
    gathered: Mutex<Gathered>,
    /// One at a time, so that they reach RocksDB in order.
    writing: Mutex<()>,
    /// Something is gathered, or [`Gathered::is_due`] has become true.
    due: Condvar,
}

#[derive(Debug, Default)]
struct Gathered {
    changes: Changes,
    /// Empty, and as large as it was once: to grow one again costs as much as to fill it.
    spare: Changes,
    /// Older than `changes`; until they are in RocksDB.
    on_the_way: Arc<Changes>,
    /// Of the last commit, unless RocksDB has them.
    cursors: Option<Cursors>,
    /// Nobody waits any more.
    closing: bool,
}

impl Gathered {
    fn is_due(&self) -> bool {
        self.closing || self.changes.len() >= GATHERED_KEYS
    }
}

impl WriteBehind {
    /// In front of this table, which only this one commits to.
    pub fn new(table: RocksTable) -> Self {
        let (gathered, writing, due) = (Mutex::default(), Mutex::default(), Condvar::default());
        Self { table: Arc::new(table), gathered, writing, due }
    }

    /// RocksDB's own.
    pub fn table(&self) -> &Arc<RocksTable> {
        &self.table
    }

    /// The table's directory.
    pub fn path(&self) -> &Path {
        self.table.path()
    }

    /// [`RocksTable::flush`] of everything committed so far.
    pub fn flush(&self) -> Result<(), TableError> {
        self.write_out()?;
        self.table.flush()
    }

    /// Waits until something is committed, and then half a second for more at most. Whether to go on, which it says
    /// until [`WriteBehind::close`].
    pub fn wait_until_due(&self) -> bool {
        let nothing = |known: &mut Gathered| known.cursors.is_none() && !known.closing;
        let waited = self.due.wait_while(self.gathered(), nothing);
        let mut gathered = waited.unwrap_or_else(PoisonError::into_inner);
        for _ in 0..LOOKS_MAX {
            let waited = self.due.wait_timeout_while(gathered, LOOK_EVERY, |known| !known.is_due());
            gathered = waited.unwrap_or_else(PoisonError::into_inner).0;
            if gathered.is_due() || gathered.changes.len() <= LITTLE_KEYS {
                break;
            }
        }
        !gathered.closing
    }

    /// Whoever waits goes on.
    pub fn close(&self) {
        self.gathered().closing = true;
        self.due.notify_all();
    }

    /// Fails where an earlier write failed, or something in the background that lets no more be written, as the next
    /// commit would. May wait for the disk.
    pub fn check(&self) -> Result<(), TableError> {
        self.table.usable()?;
        if self.table.failed_in_background()? {
            let _one = self.writing();
            self.table.commit_all([].into_iter(), &self.table.cursors()?)?;
        }
        Ok(())
    }

    /// Writes what is gathered to RocksDB, keys and positions in one piece. Commits and look-ups go on meanwhile.
    pub fn write_out(&self) -> Result<(), TableError> {
        let _one = self.writing();
        let (changes, cursors) = {
            let mut gathered = self.gathered();
            let Some(cursors) = gathered.cursors.clone() else { return Ok(()) };
            let spare = std::mem::take(&mut gathered.spare);
            gathered.on_the_way = Arc::new(std::mem::replace(&mut gathered.changes, spare));
            (gathered.on_the_way.clone(), cursors)
        };
        // If it fails nothing is answered any more: what is on its way stays there.
        self.table.commit_all(changes.iter(), &cursors)?;
        self.gathered().on_the_way = Arc::default();
        let mut spare = Arc::into_inner(changes).unwrap_or_default();
        spare.clear();
        let mut gathered = self.gathered();
        gathered.spare = spare;
        if gathered.changes.is_empty() && gathered.cursors.as_ref() == Some(&cursors) {
            gathered.cursors = None;
        }
        Ok(())
    }

    fn writing(&self) -> MutexGuard<'_, ()> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn gathered(&self) -> MutexGuard<'_, Gathered> {
        // A panic in the middle of a change leaves at most an unfinished commit's keys, and its thread ended.
        self.gathered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl KeyTable for WriteBehind {
    fn cursors(&self) -> Result<Cursors, TableError> {
        // First, since they may be on their way: what RocksDB has then is not older.
        let gathered = self.gathered().cursors.clone();
        let written = self.table.cursors()?;
        Ok(gathered.unwrap_or(written))
    }

    fn load_many(&self, keys: &[&ActionKey]) -> Result<Vec<Option<KeyRecord>>, TableError> {
        let mut records = vec![None; keys.len()];
        let mut others = Vec::with_capacity(keys.len());
        {
            let gathered = self.gathered();
            for (key, record) in keys.iter().zip(&mut records) {
                let newest = gathered.changes.get(*key);
                match newest.or_else(|| gathered.on_the_way.get(*key)) {
                    Some(known) => record.clone_from(known),
                    None => others.push((*key, record)),
                }
            }
        }
        // What is on its way meanwhile was found above.
        let asked: Vec<_> = others.iter().map(|(key, _)| *key).collect();
        for ((_, record), found) in others.into_iter().zip(self.table.load_many(&asked)?) {
            *record = found;
        }
        Ok(records)
    }

    fn commit(&self, commit: Commit) -> Result<(), TableError> {
        self.table.usable()?;
        let too_many = {
            let mut gathered = self.gathered();
            gathered.changes.extend(commit.changes);
            let first = gathered.cursors.replace(commit.cursors).is_none();
            if first || gathered.is_due() {
                self.due.notify_all();
            }
            gathered.changes.len() >= GATHERED_KEYS_MAX
        };
        if too_many { self.write_out() } else { Ok(()) }
    }

    fn stats(&self) -> TableStats {
        let stats = self.table.stats();
        let gathered = self.gathered().changes.len() as u64;
        TableStats { keys: stats.keys.saturating_add(gathered), ..stats }
    }
}

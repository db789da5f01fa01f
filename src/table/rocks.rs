//! The table on RocksDB.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use rocksdb::properties::{BACKGROUND_ERRORS, ESTIMATE_NUM_KEYS};
use rocksdb::statistics::Ticker;
use rocksdb::{
    BottommostLevelCompaction, ColumnFamily, CompactOptions, DB, FlushOptions, Options, WriteBatch,
    WriteOptions,
};

use super::expiry::{Watermark, rewrite_is_due};
use super::home::{Home, bytes_in};
use super::key_filter::KeyFilter;
use super::look::Looked;
use super::meta::{Meta, family};
use super::options::{self, Filling, KEYS, Logs, META, Memory};
use super::{KeyTable, MEMORY_BYTES, TableError, TableStats};
use crate::gate::cursor::Cursors;
use crate::gate::engine::Commit;
use crate::gate::key::ActionKey;
use crate::gate::record::KeyRecord;
use crate::gate::source::TimeNs;

/// So much of the memory is the filter's of all keys, one half: the files' own, in the cache, are asked little.
const KEY_FILTER_SHARE: usize = 2;
/// A first guess of the bytes that a key and its record take in a write batch.
const BYTES_PER_PUT: usize = 120;

/// A directory holding one table, open and locked until this is dropped.
///
/// Dropping it at any time is safe; [`RocksTable::flush`] first makes the next opening quick.
pub struct RocksTable {
    // In the order in which they must go: the database before its settings, the lock last.
    db: DB,
    database: Options,
    watermark: Watermark,
    /// No key expires before it, as in the family `meta`.
    collected_ns: AtomicI64,
    interrupted: AtomicBool,
    /// How the first failed commit failed.
    poison: OnceLock<String>,
    /// So many flushes and compactions had failed when that was last asked.
    background_errors: AtomicU64,
    writing: WriteOptions,
    filter: KeyFilter,
    /// RocksDB's files.
    place: PathBuf,
    pub(super) home: Home,
}

/// What [`RocksTable::collect_expired`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Collected {
    /// Keys that expired at this source time or before may be gone.
    pub watermark_ns: TimeNs,
    /// The whole table was rewritten: they are.
    pub rewritten: bool,
}

impl RocksTable {
    /// [`RocksTable::open_within`] [`MEMORY_BYTES`].
    pub fn open(path: &Path, gate_name: &str) -> Result<Self, TableError> {
        Self::open_within(MEMORY_BYTES, path, gate_name)
    }

    /// Opens the table of the gate `gate_name` in the directory `path`, a fresh one if there is none. Its filter of all
    /// keys, cache and write buffers take `memory_bytes` at most.
    ///
    /// Refuses, and changes nothing, when the directory is in use, when its table is damaged, of a newer
    /// format or another gate's. A database of which only a part is there is damaged.
    pub fn open_within(
        memory_bytes: usize,
        path: &Path,
        gate_name: &str,
    ) -> Result<Self, TableError> {
        let home = Home::take(path)?;
        if !home.has_db()? {
            let new = home.new_db()?;
            make(&home, &new, gate_name)?;
            home.adopt(&new)?;
        }
        Self::open_in(home, memory_bytes, gate_name)
    }

    /// [`RocksTable::open_within`], for a table that must be there: makes nothing.
    pub fn open_existing(
        memory_bytes: usize,
        path: &Path,
        gate_name: &str,
    ) -> Result<Self, TableError> {
        let missing = || TableError::Missing { path: path.to_owned() };
        if !path.is_dir() {
            return Err(missing());
        }
        let home = Home::take(path)?;
        match home.has_db()? {
            true => Self::open_in(home, memory_bytes, gate_name),
            false => Err(missing()),
        }
    }

    fn open_in(home: Home, memory_bytes: usize, gate_name: &str) -> Result<Self, TableError> {
        let place = home.db();
        // What is refused must stay as it is.
        let Looked { families, has_log, .. } = Looked::at(&place, &home.path, gate_name)?;
        if !has_log {
            make_log(&place, &home.path, &families)?;
        }
        // What a rebuild or a restore has left unfinished may be as large as the table.
        home.new_db()?;
        let filter_bytes = memory_bytes / KEY_FILTER_SHARE;
        let (watermark, memory) = (Watermark::default(), Memory::of(memory_bytes - filter_bytes));
        let failed = |source| TableError::rocks(&home.path, "opening", source);
        let database = options::database(Logs::Chained, &memory).map_err(failed)?;
        let families = options::families(&watermark, &memory, &families).map_err(failed)?;
        let db = DB::open_cf_descriptors(&database, &place, families).map_err(failed)?;
        // Into the log, without fsync: what a power failure takes, the ledger replays.
        let mut writing = WriteOptions::default();
        writing.set_memtable_insert_hint_per_batch(true);
        Self::of(home, place, database, db, watermark, writing, KeyFilter::new(filter_bytes))
    }

    /// A fresh table beside the one that is in the directory of `home`, to take its place with
    /// [`RocksTable::replace`], within `memory_bytes` as [`RocksTable::open_within`]. It writes no log, since what is
    /// not finished is thrown away.
    pub(super) fn beside(
        home: Home,
        memory_bytes: usize,
        gate_name: &str,
        filling: Filling,
    ) -> Result<Self, TableError> {
        let place = home.new_db()?;
        make(&home, &place, gate_name)?;
        let mut writing = WriteOptions::default();
        writing.disable_wal(true);
        let failed = |source| TableError::rocks(&home.path, "opening", source);
        let memory = Memory::of(memory_bytes);
        let database = options::filling_database(filling, &memory).map_err(failed)?;
        let families = options::filling_families(filling, &memory).map_err(failed)?;
        let db = DB::open_cf_descriptors(&database, &place, families).map_err(failed)?;
        // Never learnt.
        let filter = KeyFilter::new(0);
        Self::of(home, place, database, db, Watermark::default(), writing, filter)
    }

    /// Puts everything on disk, and in the place of the table that was there, which is kept aside: where
    /// that is now, if there was one.
    pub(super) fn replace(self) -> Result<Option<PathBuf>, TableError> {
        let flushed = self.flush();
        let Self { db, home, place, .. } = self;
        drop(db);
        flushed.and_then(|()| home.replace(&place)).inspect_err(|_| {
            // What can't be thrown away now is at the next opening; the first error is the one to tell.
            home.new_db().ok();
        })
    }

    /// Throws away a table that was made [`RocksTable::beside`] another.
    pub(super) fn discard(self) -> Result<(), TableError> {
        let Self { db, home, .. } = self;
        drop(db);
        home.new_db().map(|_| ())
    }

    fn of(
        home: Home,
        place: PathBuf,
        database: Options,
        db: DB,
        watermark: Watermark,
        writing: WriteOptions,
        filter: KeyFilter,
    ) -> Result<Self, TableError> {
        let collected = Meta::of(&db, &home.path)?.collected()?;
        Ok(Self {
            db,
            database,
            watermark,
            collected_ns: AtomicI64::new(collected.unwrap_or(TimeNs::MIN)),
            interrupted: AtomicBool::new(false),
            poison: OnceLock::new(),
            background_errors: AtomicU64::new(0),
            writing,
            filter,
            place,
            home,
        })
    }

    /// The table's directory.
    pub fn path(&self) -> &Path {
        &self.home.path
    }

    /// Puts everything committed so far on disk, keys and positions together. For a clean stop.
    pub fn flush(&self) -> Result<(), TableError> {
        self.usable()?;
        let families = [self.family(KEYS)?, self.family(META)?];
        let flushed = self.db.flush_cfs_opt(&families, &FlushOptions::default());
        flushed.map_err(|source| self.failed("flushing", source))
    }

    /// Frees the space of keys that expired: flushes, then lets compactions drop what was expired at the
    /// highest source time of the flushed position, and rewrites the whole table if half a window has gone by since
    /// the last time, or since its first key expired. No verdict changes by it.
    ///
    /// Takes as long as the flush, or as reading and writing the whole table once: call it beside the
    /// thread that commits, every few minutes, or every eighth of the window if that is shorter, one call
    /// at a time. Commits and look-ups go on meanwhile.
    pub fn collect_expired(&self) -> Result<Collected, TableError> {
        // Read before the flush, which therefore covers it.
        let cursors = self.cursors()?;
        self.flush()?;
        let watermark_ns = cursors.ledger.source_time_max_ns;
        self.watermark.set_expiry_watermark(watermark_ns);

        let last_ns = self.collected_ns.load(Ordering::Acquire);
        let window_ns = cursors.in_force.map_or(0, |in_force| in_force.window_ns);
        let rewritten = rewrite_is_due(window_ns, last_ns, watermark_ns) && self.rewrite()?;
        if rewritten {
            self.meta()?.set_collected(watermark_ns)?;
            self.collected_ns.store(watermark_ns, Ordering::Release);
        }
        Ok(Collected { watermark_ns, rewritten })
    }

    /// Ends a rewrite that is under way, and all other work in the background. Only before the end:
    /// call [`RocksTable::flush`] first, and nothing but a drop after it.
    pub fn interrupt(&self) {
        self.interrupted.store(true, Ordering::Release);
        self.db.cancel_all_background_work(false);
    }

    /// RocksDB does not tell whether a compaction failed: if it did, the next commit fails.
    fn rewrite(&self) -> Result<bool, TableError> {
        let mut options = CompactOptions::default();
        options.set_exclusive_manual_compaction(false);
        options.set_bottommost_level_compaction(BottommostLevelCompaction::ForceOptimized);
        let keys = self.family(KEYS)?;
        self.db.compact_range_cf_opt(keys, None::<&[u8]>, None::<&[u8]>, &options);
        Ok(!self.is_interrupted())
    }

    pub(super) fn is_interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Acquire)
    }

    pub(super) fn db(&self) -> &DB {
        &self.db
    }

    pub(super) fn filter(&self) -> &KeyFilter {
        &self.filter
    }

    pub(super) fn family(&self, name: &str) -> Result<&ColumnFamily, TableError> {
        family(&self.db, self.path(), name)
    }

    fn meta(&self) -> Result<Meta<'_>, TableError> {
        Meta::of(&self.db, self.path())
    }

    pub(super) fn failed(&self, doing: &'static str, source: rocksdb::Error) -> TableError {
        TableError::rocks(self.path(), doing, source)
    }

    pub(super) fn usable(&self) -> Result<(), TableError> {
        match self.poison.get() {
            None => Ok(()),
            Some(first) => {
                let path: PathBuf = self.path().to_owned();
                Err(TableError::Poisoned { path, first: first.clone() })
            }
        }
    }

    /// Whether a flush or a compaction has failed since this was last asked. What it means for the table, only who
    /// writes is told.
    pub(super) fn failed_in_background(&self) -> Result<bool, TableError> {
        let errors = self.db.property_int_value(BACKGROUND_ERRORS);
        let errors = errors.map_err(|source| self.failed("asking for its state", source))?;
        let errors = errors.unwrap_or(0);
        Ok(errors > self.background_errors.swap(errors, Ordering::Relaxed))
    }

    /// [`KeyTable::commit`] of these `changes`, so many of them.
    pub(super) fn commit_all<'a>(
        &self,
        changes: impl ExactSizeIterator<Item = (&'a ActionKey, &'a Option<KeyRecord>)>,
        cursors: &Cursors,
    ) -> Result<(), TableError> {
        self.usable()?;
        self.write(changes, cursors).inspect_err(|error| {
            // Whether it is in the log is not known; the first failure is the one to tell.
            let _ = self.poison.set(error.to_string());
        })
    }

    fn write<'a>(
        &self,
        changes: impl ExactSizeIterator<Item = (&'a ActionKey, &'a Option<KeyRecord>)>,
        cursors: &Cursors,
    ) -> Result<(), TableError> {
        let keys = self.family(KEYS)?;
        // In order, neighbours find their places in the write buffer sooner.
        let changes = sorted(changes);
        let records = changes.iter().filter_map(|(.., record)| record.as_ref());
        let first_expires_ns = self.expires_first(records, cursors);
        // Held until they are written.
        let _writing = self.filter.writing();
        let hashes: Vec<_> = changes.iter().map(|(_, key, _)| self.filter.hash(key)).collect();
        self.filter.put(&hashes);
        let mut batch = WriteBatch::with_capacity_bytes(changes.len() * BYTES_PER_PUT);
        let mut bytes = Vec::with_capacity(BYTES_PER_PUT);
        for (_, key, record) in changes {
            let Some(record) = record else {
                batch.delete_cf(keys, key);
                continue;
            };
            bytes.clear();
            record.encode(&mut bytes);
            batch.put_cf(keys, key, &bytes);
        }
        let meta = self.meta()?;
        meta.put_cursors(&mut batch, cursors);
        if let Some(first_ns) = first_expires_ns {
            meta.put_collected(&mut batch, first_ns);
        }
        let written = self.db.write_opt(batch, &self.writing);
        written.map_err(|source| self.failed("committing", source))?;
        if let Some(first_ns) = first_expires_ns {
            self.collected_ns.store(first_ns, Ordering::Release);
        }
        Ok(())
    }

    /// When the first of these keys expires, if that is before any other does, and none has expired yet. From then on
    /// rewrites follow one another: late actions, which expire as they come, bring no more of them.
    fn expires_first<'a>(
        &self,
        records: impl Iterator<Item = &'a KeyRecord>,
        cursors: &Cursors,
    ) -> Option<TimeNs> {
        let (known_ns, now_ns) =
            (self.collected_ns.load(Ordering::Acquire), cursors.ledger.source_time_max_ns);
        if known_ns <= now_ns {
            return None;
        }
        let first_ns = records.map(|record| record.expires_ns).min();
        first_ns.filter(|first_ns| *first_ns < known_ns)
    }
}

/// Keys in the order of their bytes, each behind its first 16 and with what belongs to it. Those of one key keep their
/// order.
fn sorted<'a, T>(all: impl IntoIterator<Item = (&'a ActionKey, T)>) -> Vec<(u128, &'a [u8], T)> {
    let with = |(key, one): (&'a ActionKey, T)| {
        let key = key.as_bytes();
        (start_of(key), key, one)
    };
    let mut sorted: Vec<_> = all.into_iter().map(with).collect();
    // The first bytes tell nearly all keys apart, and are at hand.
    sorted.sort_by(|one, other| one.0.cmp(&other.0).then_with(|| one.1.cmp(other.1)));
    sorted
}

/// Its first 16 bytes, zeros where it has fewer: no greater than that of any key after it.
fn start_of(key: &[u8]) -> u128 {
    let mut start = [0; 16];
    match key.first_chunk() {
        Some(first) => start = *first,
        None => start.iter_mut().zip(key).for_each(|(to, from)| *to = *from),
    }
    u128::from_be_bytes(start)
}

impl fmt::Debug for RocksTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RocksTable").field(&self.home.path).finish()
    }
}

/// A database without a log gets one, for the next opening to go by.
fn make_log(at: &Path, path: &Path, names: &[String]) -> Result<(), TableError> {
    let failed = |source| TableError::rocks(path, "making a log", source);
    let memory = Memory::of(MEMORY_BYTES);
    let database = options::database(Logs::Unchained, &memory).map_err(failed)?;
    let families = options::families(&Watermark::default(), &memory, names).map_err(failed)?;
    DB::open_cf_descriptors(&database, at, families).map(drop).map_err(failed)
}

/// Makes a whole database beside its place: a crash leaves all of it or nothing.
fn make(home: &Home, new: &Path, gate_name: &str) -> Result<(), TableError> {
    let failed = |source| TableError::rocks(&home.path, "making a new table", source);
    let memory = Memory::of(MEMORY_BYTES);
    let mut database = options::database(Logs::Chained, &memory).map_err(failed)?;
    database.create_if_missing(true);
    database.create_missing_column_families(true);
    let families = options::families(&Watermark::default(), &memory, &[]).map_err(failed)?;
    let db = DB::open_cf_descriptors(&database, new, families).map_err(failed)?;
    Meta::of(&db, &home.path)?.begin(gate_name)
}

impl KeyTable for RocksTable {
    fn cursors(&self) -> Result<Cursors, TableError> {
        self.usable()?;
        self.meta()?.cursors()
    }

    fn load_many(&self, keys: &[&ActionKey]) -> Result<Vec<Option<KeyRecord>>, TableError> {
        self.usable()?;
        let mut possible: Vec<_> = keys.iter().copied().zip(0..).collect();
        self.filter.retain_possible(&mut possible, |(key, _)| key.as_bytes());
        let mut records = vec![None; keys.len()];
        if possible.is_empty() {
            return Ok(records);
        }
        let sorted = sorted(possible);
        let asked = sorted.iter().map(|(_, key, _)| key);
        let answers = self.db.batched_multi_get_cf(self.family(KEYS)?, asked, true);
        for ((.., place), answer) in sorted.into_iter().zip(answers) {
            let Some(bytes) = answer.map_err(|source| self.failed("a look-up", source))? else {
                continue;
            };
            let record = KeyRecord::decode(&bytes).map_err(|damaged| {
                TableError::damaged(self.path(), format!("a record: {damaged}"))
            })?;
            if let Some(slot) = records.get_mut::<usize>(place) {
                *slot = Some(record);
            }
        }
        Ok(records)
    }

    fn commit(&self, commit: Commit) -> Result<(), TableError> {
        let changes = commit.changes.iter().map(|(key, record)| (key, record));
        self.commit_all(changes, &commit.cursors)
    }

    fn stats(&self) -> TableStats {
        let keys = self.family(KEYS).ok();
        let keys =
            keys.and_then(|keys| self.db.property_int_value_cf(keys, ESTIMATE_NUM_KEYS).ok()?);
        TableStats {
            keys: keys.unwrap_or(0),
            bytes: bytes_in(&self.place),
            filtered: self.database.get_ticker_count(Ticker::BloomFilterUseful),
        }
    }
}

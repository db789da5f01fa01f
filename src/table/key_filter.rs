//! What answers most look-ups: one Bloom filter of all keys of the table, in memory. Nearly every look-up is for a key
//! that is not there, and RocksDB would ask a filter for each of its runs, each somewhere else in memory.
//!
//! Its one rule is that a key of the table is never taken for absent. So it answers nothing until it was given every
//! key: those that the table had, by a reading of all of it ([`RocksTable::learn`]), and each one that comes, before
//! it is written. It forgets none, and is made anew when half of those that it has are gone from the table.

use std::hash::BuildHasher;
use std::sync::{Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use fastbloom::BloomFilter;
use foldhash::quality::RandomState;
use rocksdb::ReadOptions;

use super::options::KEYS;
use super::rocks::RocksTable;
use super::{KeyTable, TableError};

/// With so many places for each key, 14 of 10,000 that are not there are taken for one that may be, where there is room.
/// Each costs as much as asking all runs.
const BITS_PER_KEY: u64 = 16;
const HASHES: u32 = 5;
/// So much of its room is made at first; when that is full, the rest. Look-ups ask every part, so there are no more than
/// two.
const FIRST_PART: u64 = 16;
/// Put in while look-ups wait.
const KEYS_PER_LOCK: usize = 256;
/// Keys read between two looks at whether to go on.
const KEYS_PER_READ: usize = 4096;

/// See the module. Any thread may ask and put in.
pub(super) struct KeyFilter {
    known: RwLock<Known>,
    /// Held by whoever writes keys.
    writes: RwLock<()>,
    /// One reading of the table at a time.
    learning: Mutex<()>,
    hasher: RandomState,
    /// It has room for so many.
    keys_max: u64,
}

#[derive(Default)]
struct Known {
    parts: Vec<Part>,
    /// All keys of the table are in it.
    complete: bool,
}

struct Part {
    bits: BloomFilter,
    keys: u64,
    /// It has room for so many.
    keys_max: u64,
}

impl KeyFilter {
    /// That knows nothing yet, and takes `bytes_max` at most. Of more keys than have room there, more and more look-ups
    /// ask RocksDB.
    pub(super) fn new(bytes_max: usize) -> Self {
        let keys_max = (bytes_max as u64 * 8 / BITS_PER_KEY).max(1);
        let (known, writes, learning) = (RwLock::default(), RwLock::default(), Mutex::default());
        Self { known, writes, learning, hasher: RandomState::default(), keys_max }
    }

    /// Leaves what the table may hold.
    pub(super) fn retain_possible<T>(&self, asked: &mut Vec<T>, key: impl Fn(&T) -> &[u8]) {
        let known = self.known();
        if known.complete {
            asked.retain(|one| known.may_hold(self.hash(key(one))));
        }
    }

    /// What a key is put in as.
    pub(super) fn hash(&self, key: &[u8]) -> u64 {
        self.hasher.hash_one(key)
    }

    /// To be held while keys are put in, and then written.
    pub(super) fn writing(&self) -> RwLockReadGuard<'_, ()> {
        self.writes.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The table may hold these from here on.
    pub(super) fn put(&self, hashes: &[u64]) {
        for some in hashes.chunks(KEYS_PER_LOCK) {
            self.make_room();
            if let Some(part) = self.known_mut().parts.last_mut() {
                for hash in some {
                    part.keys += u64::from(!part.bits.insert_hash(*hash));
                }
            }
        }
    }

    /// Look-ups do not wait while the memory is made ready.
    fn make_room(&self) {
        let wanted = self.known().next_part_keys(self.keys_max);
        if let Some(keys) = wanted {
            let part = Part::new(keys);
            let mut known = self.known_mut();
            if known.next_part_keys(self.keys_max) == wanted {
                known.parts.push(part);
            }
        }
    }

    /// Whether look-ups would gain by a reading of the table, which holds so many keys.
    fn is_worth_learning(&self, keys: u64) -> bool {
        let known = self.known();
        !known.complete || known.keys() > 2 * keys.max(self.first_part_keys())
    }

    /// Forgets everything, and has room for so many keys. What the table holds once this has returned must be put in by who
    /// asked for it; what is written later, its writer puts in.
    fn begin(&self, keys: u64) {
        // First, since what comes may take as much.
        *self.known_mut() = Known::default();
        let part = Part::new(keys.clamp(self.first_part_keys(), self.keys_max));
        self.known_mut().parts.push(part);
        // Whoever did not see it has written now.
        drop(self.writes.write().unwrap_or_else(PoisonError::into_inner));
    }

    fn first_part_keys(&self) -> u64 {
        self.keys_max.div_ceil(FIRST_PART)
    }

    fn complete(&self) {
        self.known_mut().complete = true;
    }

    fn known(&self) -> RwLockReadGuard<'_, Known> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn known_mut(&self) -> RwLockWriteGuard<'_, Known> {
        // Bits are only ever set, and `complete` last.
        self.known.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn may_hold(&self, hash: u64) -> bool {
        // The last one has most of them.
        self.parts.iter().rev().any(|part| part.bits.contains_hash(hash))
    }

    fn keys(&self) -> u64 {
        self.parts.iter().map(|part| part.keys).sum()
    }

    /// The room that is left, if the first part is full. Where it is small beside that one, another part would cost look-ups
    /// more than it saves.
    fn next_part_keys(&self, keys_max: u64) -> Option<u64> {
        let [first] = self.parts.as_slice() else { return None };
        let left = keys_max.saturating_sub(first.keys_max);
        (first.keys >= first.keys_max && left > first.keys_max / 4).then_some(left)
    }
}

impl Part {
    fn new(keys_max: u64) -> Self {
        let bits = BloomFilter::with_num_bits((keys_max * BITS_PER_KEY) as usize);
        Self { bits: bits.hashes(HASHES), keys: 0, keys_max }
    }
}

impl RocksTable {
    /// Reads all keys once, where look-ups gain by it: most for keys that are not there need not ask RocksDB then. After
    /// the opening, and when half of the keys known have left the table. No answer changes by it.
    ///
    /// Takes as long as reading the whole table: call it beside the thread that commits. Commits and look-ups go on
    /// meanwhile, and as before after it failed. [`RocksTable::interrupt`] ends it.
    pub fn learn(&self) -> Result<(), TableError> {
        let filter = self.filter();
        let _one = filter.learning.lock().unwrap_or_else(PoisonError::into_inner);
        let about = self.stats().keys;
        if !filter.is_worth_learning(about) {
            return Ok(());
        }
        filter.begin(about.saturating_add(about / 4));
        let mut reading = ReadOptions::default();
        reading.fill_cache(false);
        let mut keys = self.db().raw_iterator_cf_opt(self.family(KEYS)?, reading);
        keys.seek_to_first();
        let mut hashes = Vec::with_capacity(KEYS_PER_READ);
        while keys.valid() && !self.is_interrupted() {
            hashes.clear();
            while hashes.len() < KEYS_PER_READ
                && let Some(key) = keys.key()
            {
                hashes.push(filter.hash(key));
                keys.next();
            }
            filter.put(&hashes);
        }
        keys.status().map_err(|source| self.failed("reading all keys", source))?;
        if !self.is_interrupted() {
            filter.complete();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::ops::Range;

    use super::*;
    use crate::gate::cursor::{Cursors, InForce};
    use crate::gate::digest::{Digest, Form};
    use crate::gate::engine::Commit;
    use crate::gate::key::ActionKey;
    use crate::gate::record::{KeyRecord, RunState};

    /// Has room for 16,000 keys, a thousand of them at first.
    const BYTES: usize = 32_000;

    fn put(filter: &KeyFilter, keys: Range<u32>) {
        let hashes: Vec<_> = keys.map(|key| filter.hash(&key.to_be_bytes())).collect();
        filter.put(&hashes);
    }

    fn possible(filter: &KeyFilter, keys: Range<u32>) -> usize {
        let mut asked: Vec<_> = keys.map(u32::to_be_bytes).collect();
        filter.retain_possible(&mut asked, |key| key);
        asked.len()
    }

    #[test]
    fn what_was_put_in_is_possible_and_little_else_as_long_as_there_is_room() {
        let filter = KeyFilter::new(BYTES);
        put(&filter, 0..10);
        filter.begin(0);
        put(&filter, 10..900);
        assert_eq!(possible(&filter, 0..2_000), 2_000, "nothing is known yet");
        filter.complete();
        assert!(possible(&filter, 100_000..110_000) < 50);
        put(&filter, 900..15_000);
        assert_eq!(possible(&filter, 10..15_000), 14_990);
        assert!(possible(&filter, 100_000..110_000) < 50);
        put(&filter, 15_000..60_000);
        assert_eq!(possible(&filter, 10..60_000), 59_990);
        let passed = possible(&filter, 100_000..110_000);
        assert!((50..5_000).contains(&passed), "{passed}");
        assert_eq!(filter.known().parts.len(), 2);
    }

    #[test]
    fn a_key_that_comes_again_takes_no_room() {
        let filter = KeyFilter::new(BYTES);
        filter.begin(0);
        (0..100).for_each(|_| put(&filter, 0..900));
        let known = filter.known();
        assert!(known.parts.len() == 1 && known.keys() <= 900, "{}", known.keys());
    }

    fn commit(table: &RocksTable, keys: Range<i64>) {
        let record = |n| KeyRecord {
            digest: Digest { form: Form::Json, hash: 7 },
            rules: 0,
            stream: 0,
            sequence: 1,
            time_ns: n,
            expires_ns: n + 100,
            ledger_sequence: 1,
            state: RunState::Pending,
        };
        let mut cursors = Cursors::default();
        cursors.ledger.source_time_max_ns = keys.end;
        cursors.in_force = Some(InForce { window_ns: 100, rules: 0 });
        let key = |n| ActionKey::new::<&str>(&[], &format!("key-{n}"));
        let changes = keys.map(|n| (key(n), Some(record(n)))).collect();
        table.commit(Commit { changes, cursors }).unwrap();
    }

    #[test]
    fn when_half_of_what_is_known_has_left_the_table_it_is_learnt_anew() {
        let dir = tempfile::tempdir().unwrap();
        // A sixteenth of the filter's half has room for 15,625 keys.
        let table = RocksTable::open_within(1_000_000, dir.path(), "orders").unwrap();
        table.learn().unwrap();
        let known = || table.filter().known().keys();
        commit(&table, 0..20_000);
        assert!(table.collect_expired().unwrap().rewritten);
        table.learn().unwrap();
        assert!(known() > 19_000, "not yet: {}", known());
        commit(&table, 20_000..40_000);
        table.learn().unwrap();
        assert!(known() > 38_000, "half is there: {}", known());
        assert!(table.collect_expired().unwrap().rewritten);
        table.learn().unwrap();
        assert!(known() <= 100, "{}", known());
    }
}

//! A prototype of the other way, with the product's settings.

#[allow(dead_code, reason = "the product uses the rest")]
#[path = "../../src/table/expiry.rs"]
mod expiry;
#[allow(dead_code, reason = "the product uses the rest")]
#[path = "../../src/table/options.rs"]
mod options;

use std::path::Path;
use std::sync::RwLock;

use oncegate::bench::table::Measured;
use oncegate::bench::table::load::WINDOW_NS;
use oncegate::gate::cursor::Cursors;
use oncegate::gate::engine::Commit;
use oncegate::gate::key::ActionKey;
use oncegate::gate::record::KeyRecord;
use oncegate::gate::source::TimeNs;
use oncegate::table::{KeyTable, MEMORY_BYTES, TableError, TableStats};
use rocksdb::{DBWithThreadMode, FlushOptions, MultiThreaded, Options, WriteBatch};

use expiry::Watermark;

const META: &str = "meta";
const CURSORS: &str = "cursors";
/// Four that are full and one that fills are live at once.
const BUCKET_NS: TimeNs = WINDOW_NS / 4;

/// A family per bucket of expiry, named by its end, and one for the cursors.
pub struct Buckets {
    db: DBWithThreadMode<MultiThreaded>,
    _database: Options,
    keys: Options,
    /// The end of each, the newest first: nothing in it expires later.
    ends_ns: RwLock<Vec<TimeNs>>,
}

impl Buckets {
    pub fn make(dir: &Path) -> Self {
        let memory = options::Memory::of(MEMORY_BYTES);
        let mut database = options::database(options::Logs::Chained, &memory).unwrap();
        database.create_if_missing(true);
        let db = DBWithThreadMode::open(&database, dir.join("db")).unwrap();
        db.create_cf(META, &options::meta()).unwrap();
        // One for all, since they share its cache.
        let keys = options::keys(&Watermark::default(), &memory).unwrap();
        Self { db, _database: database, keys, ends_ns: RwLock::default() }
    }

    /// Makes the bucket if it is not there yet.
    fn bucket(&self, expires_ns: TimeNs) -> TimeNs {
        let end_ns = (expires_ns / BUCKET_NS + 1) * BUCKET_NS;
        if !self.ends_ns.read().unwrap().contains(&end_ns) {
            self.db.create_cf(end_ns.to_string(), &self.keys).unwrap();
            let mut ends_ns = self.ends_ns.write().unwrap();
            ends_ns.push(end_ns);
            ends_ns.sort_unstable_by(|one, other| other.cmp(one));
        }
        end_ns
    }
}

impl KeyTable for Buckets {
    fn cursors(&self) -> Result<Cursors, TableError> {
        let meta = self.db.cf_handle(META).unwrap();
        let bytes = self.db.get_cf(&meta, CURSORS).unwrap();
        Ok(bytes.map_or_else(Cursors::default, |bytes| Cursors::decode(&bytes).unwrap()))
    }

    fn load_many(&self, keys: &[&ActionKey]) -> Result<Vec<Option<KeyRecord>>, TableError> {
        let mut records = vec![None; keys.len()];
        let mut asked: Vec<_> = keys.iter().map(|key| key.as_bytes()).enumerate().collect();
        asked.sort_unstable_by_key(|(_, key)| *key);
        for end_ns in self.ends_ns.read().unwrap().iter() {
            let bucket = self.db.cf_handle(&end_ns.to_string()).unwrap();
            let answers =
                self.db.batched_multi_get_cf(&bucket, asked.iter().map(|(_, key)| key), true);
            let mut answers = answers.into_iter();
            asked.retain(|(place, _)| match answers.next().unwrap().unwrap() {
                Some(bytes) => {
                    *records.get_mut(*place).unwrap() = Some(KeyRecord::decode(&bytes).unwrap());
                    false
                }
                None => true,
            });
        }
        Ok(records)
    }

    fn commit(&self, commit: Commit) -> Result<(), TableError> {
        let mut batch = WriteBatch::default();
        let mut bytes = Vec::new();
        for (key, record) in &commit.changes {
            let record = record.as_ref().unwrap();
            let end_ns = self.bucket(record.expires_ns);
            let bucket = self.db.cf_handle(&end_ns.to_string()).unwrap();
            bytes.clear();
            record.encode(&mut bytes);
            batch.put_cf(&bucket, key.as_bytes(), &bytes);
        }
        batch.put_cf(&self.db.cf_handle(META).unwrap(), CURSORS, commit.cursors.encode());
        self.db.write(batch).unwrap();
        Ok(())
    }

    fn stats(&self) -> TableStats {
        TableStats::default()
    }
}

impl Measured for Buckets {
    fn collect(&self) -> Result<bool, TableError> {
        let watermark_ns = self.cursors()?.ledger.source_time_max_ns;
        let dead: Vec<_> = {
            let ends_ns = self.ends_ns.read().unwrap();
            let names = ends_ns.iter().map(TimeNs::to_string).chain([META.to_owned()]);
            let families: Vec<_> = names.map(|name| self.db.cf_handle(&name).unwrap()).collect();
            let families: Vec<_> = families.iter().collect();
            self.db.flush_cfs_opt(&families, &FlushOptions::default()).unwrap();
            ends_ns.iter().copied().filter(|end_ns| *end_ns <= watermark_ns).collect()
        };
        self.ends_ns.write().unwrap().retain(|end_ns| *end_ns > watermark_ns);
        for end_ns in &dead {
            self.db.drop_cf(&end_ns.to_string()).unwrap();
        }
        Ok(!dead.is_empty())
    }

    fn interrupt(&self) {
        self.db.cancel_all_background_work(false);
    }
}

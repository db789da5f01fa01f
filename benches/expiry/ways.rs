//! The two ways: the product's table, and a prototype of the other with the same settings.

#[allow(dead_code, reason = "the product uses the rest")]
#[path = "../../src/table/expiry.rs"]
mod expiry;
#[allow(dead_code, reason = "the product uses the rest")]
#[path = "../../src/table/options.rs"]
mod options;

use std::path::Path;
use std::sync::RwLock;

use oncegate::gate::engine::Commit;
use oncegate::gate::key::ActionKey;
use oncegate::gate::record::KeyRecord;
use oncegate::gate::source::TimeNs;
use oncegate::table::{KeyTable, RocksTable};
use rocksdb::{DBWithThreadMode, FlushOptions, MultiThreaded, Options, WriteBatch};

use crate::load::WINDOW_NS;
use expiry::Watermark;

pub trait Way: Sync {
    fn look_up(&self, keys: &[&ActionKey]) -> Vec<Option<KeyRecord>>;
    fn commit(&self, commit: &Commit);
    /// Frees what can be freed now; says what it did.
    fn collect(&self) -> String;
}

pub struct Filter(RocksTable);

impl Filter {
    pub fn make(dir: &Path) -> Self {
        Self(RocksTable::open(dir, "bench").unwrap())
    }
}

impl Way for Filter {
    fn look_up(&self, keys: &[&ActionKey]) -> Vec<Option<KeyRecord>> {
        self.0.load_many(keys).unwrap()
    }

    fn commit(&self, commit: &Commit) {
        self.0.commit(commit).unwrap();
    }

    fn collect(&self) -> String {
        let collected = self.0.collect_expired().unwrap();
        if collected.rewritten { "rewritten".to_owned() } else { String::new() }
    }
}

const META: &str = "meta";
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
        let mut database = options::database(options::Logs::Chained).unwrap();
        database.create_if_missing(true);
        let db = DBWithThreadMode::open(&database, dir.join("db")).unwrap();
        db.create_cf(META, &options::meta()).unwrap();
        // One for all, since they share its cache.
        let keys = options::keys(&Watermark::default());
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

    fn positions(&self) -> TimeNs {
        let meta = self.db.cf_handle(META).unwrap();
        let bytes = self.db.get_cf(&meta, "time").unwrap();
        bytes.map_or(TimeNs::MIN, |bytes| TimeNs::from_le_bytes(bytes.try_into().unwrap()))
    }
}

impl Way for Buckets {
    fn look_up(&self, keys: &[&ActionKey]) -> Vec<Option<KeyRecord>> {
        let mut records = vec![None; keys.len()];
        let mut asked: Vec<_> = keys.iter().map(|key| key.as_bytes()).enumerate().collect();
        asked.sort_unstable_by_key(|(_, key)| *key);
        for end_ns in self.ends_ns.read().unwrap().iter() {
            let bucket = self.db.cf_handle(&end_ns.to_string()).unwrap();
            let answers =
                self.db.batched_multi_get_cf(&bucket, asked.iter().map(|(_, key)| *key), true);
            let mut answers = answers.into_iter();
            asked.retain(|(place, _)| match answers.next().unwrap().unwrap() {
                Some(bytes) => {
                    records[*place] = Some(KeyRecord::decode(&bytes).unwrap());
                    false
                }
                None => true,
            });
        }
        records
    }

    fn commit(&self, commit: &Commit) {
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
        let meta = self.db.cf_handle(META).unwrap();
        batch.put_cf(&meta, "time", commit.cursors.ledger.source_time_max_ns.to_le_bytes());
        batch.put_cf(&meta, "cursors", commit.cursors.encode());
        self.db.write(batch).unwrap();
    }

    fn collect(&self) -> String {
        let watermark_ns = self.positions();
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
        if dead.is_empty() { String::new() } else { format!("{} dropped", dead.len()) }
    }
}

//! A table of numbered keys, and what it must hold at each position: for tests that take the table alone.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use oncegate::gate::cursor::{Cursors, InForce, InputCursor, LedgerCursor};
use oncegate::gate::digest::{Digest, Form};
use oncegate::gate::engine::Commit;
use oncegate::gate::key::ActionKey;
use oncegate::gate::record::{KeyRecord, RunState};
use oncegate::gate::rules::RulesFingerprint;
use oncegate::table::{KeyTable, RocksTable, TableError};
use proptest::prelude::*;
use tempfile::TempDir;

pub const GATE: &str = "orders";
pub const WINDOW_NS: i64 = 1_000;

pub fn open(path: &Path) -> RocksTable {
    RocksTable::open(path, GATE).unwrap()
}

pub fn refusal(path: &Path) -> TableError {
    RocksTable::open(path, GATE).unwrap_err()
}

pub fn key(n: u64) -> ActionKey {
    ActionKey::new(&["tenant"], &format!("key-{n}"))
}

/// A key's bytes in the table.
pub fn key_bytes(scope: &[&str], key: &str) -> Vec<u8> {
    ActionKey::new(scope, key).as_bytes().to_vec()
}

/// The record of the n-th key of a ledger that holds an accepted entry a position.
pub fn record(n: u64) -> KeyRecord {
    let time_ns = n as i64 * 10;
    KeyRecord {
        digest: Digest { form: Form::Json, hash: u128::from(n) << 64 | 5 },
        rules: 0,
        stream: 0,
        sequence: n,
        time_ns,
        expires_ns: time_ns + WINDOW_NS,
        ledger_sequence: n,
        state: RunState::Pending,
    }
}

pub fn cursors(ledger_sequence: u64) -> Cursors {
    let time_ns = ledger_sequence as i64 * 10;
    Cursors {
        ledger: LedgerCursor {
            sequence: ledger_sequence,
            fingerprint: ledger_sequence * 31,
            anchor: None,
            source_time_max_ns: time_ns,
        },
        inputs: vec![InputCursor {
            stream: "ACTIONS".into(),
            sequence: ledger_sequence,
            time_ns,
            created_ns: 1,
        }],
        rules: vec![RulesFingerprint(9)],
        in_force: Some(InForce { window_ns: WINDOW_NS, rules: 0 }),
        filling: None,
    }
}

/// Ledger positions `first..=last`, each with its key.
pub fn commit(first: u64, last: u64) -> Commit {
    Commit {
        changes: (first..=last).map(|n| (key(n), Some(record(n)))).collect(),
        cursors: cursors(last),
    }
}

/// A few changes of a few keys, some of which are given back, at any position.
pub fn any_commit() -> impl Strategy<Value = Commit> {
    let change = (0_u64..40, any::<u16>(), 0_u8..4).prop_map(|(n, sequence, given_back)| {
        let record = KeyRecord { ledger_sequence: sequence.into(), ..record(n) };
        (key(n), (given_back > 0).then_some(record))
    });
    (prop::collection::vec(change, 0..20), 0_u64..1_000)
        .prop_map(|(changes, at)| Commit { changes, cursors: cursors(at) })
}

pub fn load(
    table: &dyn KeyTable,
    numbers: impl IntoIterator<Item = u64>,
) -> Vec<Option<KeyRecord>> {
    let keys: Vec<_> = numbers.into_iter().map(key).collect();
    table.load_many(&keys.iter().collect::<Vec<_>>()).unwrap()
}

/// Every key up to the position is there, none above it; says the position.
pub fn assert_agrees(table: &dyn KeyTable, up_to: u64) -> u64 {
    let position = table.cursors().unwrap().ledger.sequence;
    assert!(position <= up_to, "position {position} was never committed");
    assert_eq!(
        table.cursors().unwrap(),
        if position == 0 { Cursors::default() } else { cursors(position) }
    );
    for (n, found) in (1..=up_to).zip(load(table, 1..=up_to)) {
        assert_eq!(found, (n <= position).then(|| record(n)), "key {n} at position {position}");
    }
    position
}

/// Of an open table too: where RocksDB removes a file meanwhile, it begins anew.
pub fn copy(from: &Path) -> TempDir {
    fn all(from: &Path, to: &Path) -> io::Result<()> {
        fs::create_dir_all(to)?;
        for entry in fs::read_dir(from)? {
            let entry = entry?;
            let to = to.join(entry.file_name());
            if entry.file_type()?.is_dir() {
                all(&entry.path(), &to)?;
            } else {
                fs::copy(entry.path(), to)?;
            }
        }
        Ok(())
    }
    loop {
        let to = TempDir::new().unwrap();
        match all(from, to.path()) {
            Ok(()) => return to,
            Err(error) if error.kind() == io::ErrorKind::NotFound && from.exists() => {}
            Err(error) => panic!("{error}"),
        }
    }
}

/// RocksDB's files of this kind, by the start or the end of their names.
pub fn files(table: &Path, kind: &str) -> Vec<PathBuf> {
    let named = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        name.starts_with(kind) || name.ends_with(kind)
    };
    let mut files: Vec<_> =
        fs::read_dir(table.join("db")).unwrap().map(|e| e.unwrap().path()).collect();
    files.retain(named);
    files.sort();
    assert!(!files.is_empty(), "no {kind} in {}", table.display());
    files
}

pub fn flip(file: &Path, at: usize) {
    let mut bytes = fs::read(file).unwrap();
    bytes[at] ^= 0x5A;
    fs::write(file, bytes).unwrap();
}

/// Writes behind the table's back.
pub fn put_raw(table: &Path, family: &str, key: &[u8], value: Option<&[u8]>) {
    let options = rocksdb::Options::default();
    let db = rocksdb::DB::open_cf(&options, table.join("db"), ["keys", "meta"]).unwrap();
    let family = db.cf_handle(family).unwrap();
    match value {
        Some(value) => db.put_cf(family, key, value).unwrap(),
        None => db.delete_cf(family, key).unwrap(),
    }
}

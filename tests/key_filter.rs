//! The filter of all keys in front of RocksDB: no key of the table is ever taken for absent, whatever comes while the
//! keys are learnt; and most look-ups for others do not reach RocksDB.

#![allow(dead_code, clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

#[path = "support/numbered.rs"]
mod numbered;

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;

use numbered::{any_commit, assert_agrees, commit, files, flip, key, load, open, record};
use oncegate::gate::engine::Commit;
use oncegate::table::{KeyTable, MemoryTable, RocksTable, TableError};
use proptest::prelude::*;
use tempfile::TempDir;

/// The filter takes a third of it: room for 222,000 keys, of which 13,900 are made at first.
const LITTLE_MEMORY: usize = 4_000_000;

/// How many filters of RocksDB's said "not there" while these keys were looked up, of which none is there.
fn asked_of_rocksdb(table: &RocksTable, absent: std::ops::Range<u64>) -> u64 {
    let before = table.stats().filtered;
    assert!(load(table, absent).iter().all(Option::is_none));
    table.stats().filtered - before
}

#[derive(Clone, Debug)]
enum Step {
    Commit(Commit),
    Learn,
    Flush,
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let commit = any_commit().prop_map(Step::Commit);
    let others = prop_oneof![Just(Step::Learn), Just(Step::Flush), Just(Step::Reopen)];
    prop::collection::vec(prop_oneof![2 => commit, 1 => others], 1..16)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn the_twin_in_memory_is_no_different(
        steps in steps(),
        asked in prop::collection::vec(0_u64..60, 0..100),
    ) {
        let dir = TempDir::new().unwrap();
        let twin = MemoryTable::new();
        let mut table = open(dir.path());
        for step in &steps {
            match step {
                Step::Commit(commit) => {
                    table.commit(commit.clone()).unwrap();
                    twin.commit(commit.clone()).unwrap();
                }
                Step::Learn => table.learn().unwrap(),
                Step::Flush => table.flush().unwrap(),
                Step::Reopen => {
                    drop(table);
                    table = open(dir.path());
                }
            }
            prop_assert_eq!(load(&table, asked.clone()), load(&twin, asked.clone()));
        }
    }
}

/// A key that is missed here is an action forwarded twice.
#[test]
fn no_key_is_missed_that_comes_while_the_table_is_learnt() {
    let dir = TempDir::new().unwrap();
    let mut last = 0;
    for _ in 0..40 {
        let table = open(dir.path());
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                table.learn().unwrap();
                done.store(true, Relaxed);
            });
            let mut ended = false;
            while !ended {
                // Once more after it.
                ended = done.load(Relaxed);
                table.commit(commit(last + 1, last + 50)).unwrap();
                last += 50;
                let some = (1..=last).rev().step_by(7).take(500);
                let found = load(&table, some.clone());
                assert!(some.zip(found).all(|(n, found)| found == Some(record(n))));
            }
        });
        assert_eq!(assert_agrees(&table, last + 100), last);
    }
}

#[test]
fn of_a_table_that_is_learnt_rocksdb_is_not_asked_for_keys_that_are_not_there() {
    let dir = TempDir::new().unwrap();
    let table = open(dir.path());
    table.commit(commit(1, 1_000)).unwrap();
    table.flush().unwrap();
    let absent = 100_000..101_000;
    assert!(asked_of_rocksdb(&table, absent.clone()) > 980, "nothing is known yet");
    table.learn().unwrap();
    assert_eq!(asked_of_rocksdb(&table, absent.clone()), 0, "there is room for many more");
    table.commit(commit(1_001, 2_000)).unwrap();
    assert_eq!(assert_agrees(&table, 2_500), 2_000);
    drop(table);
    let table = open(dir.path());
    assert!(asked_of_rocksdb(&table, absent.clone()) > 980, "nor after the next opening");
    table.learn().unwrap();
    assert_eq!(asked_of_rocksdb(&table, absent), 0);
    assert_eq!(assert_agrees(&table, 2_500), 2_000);
}

#[test]
fn a_reading_that_is_ended_early_leaves_everything_to_rocksdb() {
    let dir = TempDir::new().unwrap();
    open(dir.path()).commit(commit(1, 30_000)).unwrap();
    let table = open(dir.path());
    table.interrupt();
    table.learn().unwrap();
    assert_eq!(assert_agrees(&table, 30_100), 30_000);
}

#[test]
fn a_reading_that_meets_damage_says_so_and_leaves_everything_to_rocksdb() {
    let dir = TempDir::new().unwrap();
    let table = open(dir.path());
    table.commit(commit(1, 1_000)).unwrap();
    table.flush().unwrap();
    drop(table);
    let mut of_keys = files(dir.path(), ".sst");
    of_keys.sort_by_key(|file| fs::metadata(file).unwrap().len());
    flip(of_keys.last().unwrap(), 100);
    let table = open(dir.path());
    let error = table.learn().unwrap_err();
    assert!(matches!(error, TableError::Damaged { .. }), "{error}");
    let keys: Vec<_> = (1..=1_000).map(key).collect();
    let answers: Vec<_> = keys.iter().map(|key| table.load_many(&[key])).collect();
    let found = answers.iter().filter(|answer| matches!(answer.as_deref(), Ok([Some(_)]))).count();
    let damaged = answers.iter().filter(|answer| answer.is_err()).count();
    assert!(found > 0 && damaged > 0 && found + damaged == 1_000, "{found} {damaged}");
}

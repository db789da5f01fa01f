//! What the worker puts in front of its table: commits are gathered, and nobody may be able to tell, but after a
//! crash, which takes back what was not written out.

#![allow(dead_code, clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

#[path = "support/numbered.rs"]
mod numbered;

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;

use numbered::{any_commit, assert_agrees, commit, cursors, key, load, open, record};
use oncegate::gate::engine::Commit;
use oncegate::table::{KeyTable, MemoryTable, TableError, WriteBehind};
use proptest::prelude::*;
use tempfile::TempDir;

/// Enough for a writer to be woken.
const MANY: u64 = 1 << 16;

fn gathering(path: &Path) -> WriteBehind {
    WriteBehind::new(open(path))
}

#[derive(Clone, Debug)]
enum Step {
    Commit(Commit),
    WriteOut,
    Flush,
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let commit = any_commit().prop_map(Step::Commit);
    let others = prop_oneof![Just(Step::WriteOut), Just(Step::Flush), Just(Step::Reopen)];
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
        let mut table = gathering(dir.path());
        for step in &steps {
            match step {
                Step::Commit(commit) => {
                    table.commit(commit.clone()).unwrap();
                    twin.commit(commit.clone()).unwrap();
                }
                Step::WriteOut => table.write_out().unwrap(),
                Step::Flush => table.table().flush().unwrap(),
                Step::Reopen => {
                    table.flush().unwrap();
                    drop(table);
                    table = gathering(dir.path());
                }
            }
            prop_assert_eq!(load(&table, asked.clone()), load(&twin, asked.clone()));
            prop_assert_eq!(table.cursors().unwrap(), twin.cursors().unwrap());
        }
    }
}

#[test]
fn a_crash_takes_back_what_was_not_written_out_keys_and_positions_together() {
    let dir = TempDir::new().unwrap();
    let table = gathering(dir.path());
    table.commit(commit(1, 50)).unwrap();
    table.write_out().unwrap();
    table.commit(commit(51, 99)).unwrap();
    assert_eq!(assert_agrees(&table, 120), 99);
    drop(table);
    let table = gathering(dir.path());
    assert_eq!(assert_agrees(&table, 120), 50);
    table.commit(commit(51, 99)).unwrap();
    table.flush().unwrap();
    drop(table);
    assert_eq!(assert_agrees(&open(dir.path()), 120), 99);
}

#[test]
fn positions_that_no_key_moved_are_written_out_too() {
    let dir = TempDir::new().unwrap();
    let table = gathering(dir.path());
    table.commit(commit(1, 2)).unwrap();
    table.write_out().unwrap();
    table.commit(Commit { changes: Vec::new(), cursors: cursors(7) }).unwrap();
    table.write_out().unwrap();
    drop(table);
    assert_eq!(open(dir.path()).cursors().unwrap(), cursors(7));
}

/// A key that is missed on its way from memory to RocksDB is an action forwarded twice.
#[test]
fn no_key_is_missed_while_it_is_written_out() {
    let dir = TempDir::new().unwrap();
    let table = gathering(dir.path());
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let writers = [(); 2].map(|()| {
            scope.spawn(|| {
                while !done.load(Relaxed) {
                    table.write_out().unwrap();
                }
            })
        });
        let readers = [1, 7].map(|step| {
            let (table, done) = (&table, &done);
            scope.spawn(move || {
                let mut before = 0;
                while !done.load(Relaxed) {
                    let position = table.cursors().unwrap().ledger.sequence;
                    assert!(before <= position, "from {before} back to {position}");
                    before = position;
                    let asked: Vec<_> = (1..=position).rev().step_by(step).collect();
                    let wanted: Vec<_> = asked.iter().map(|n| Some(record(*n))).collect();
                    assert!(load(table, asked) == wanted, "a key up to {position} is missed");
                }
            })
        });
        for first in (1..4_000).step_by(4) {
            table.commit(commit(first, first + 3)).unwrap();
        }
        done.store(true, Relaxed);
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        readers.into_iter().for_each(|reader| reader.join().unwrap());
    });
    assert_eq!(assert_agrees(&table, 5_000), 4_000);
}

#[test]
fn a_writer_is_woken_for_many_keys_for_few_in_between_and_at_the_end() {
    let dir = TempDir::new().unwrap();
    let table = gathering(dir.path());
    thread::scope(|scope| {
        let writer = scope.spawn(|| {
            while table.wait_until_due() {
                table.write_out().unwrap();
            }
        });
        for (first, last) in [(1, MANY), (MANY + 1, MANY + 3), (MANY + 4, MANY + 9_000)] {
            table.commit(commit(first, last)).unwrap();
            while table.table().cursors().unwrap() != cursors(last) {
                thread::yield_now();
            }
        }
        table.close();
        writer.join().unwrap();
    });
}

#[test]
fn commits_wait_for_a_writer_that_is_far_behind() {
    let dir = TempDir::new().unwrap();
    let table = gathering(dir.path());
    for part in 0..2 {
        assert_eq!(table.table().cursors().unwrap().ledger.sequence, 0);
        table.commit(commit(part * MANY + 1, (part + 1) * MANY)).unwrap();
    }
    assert_eq!(table.table().cursors().unwrap(), cursors(2 * MANY), "nobody else wrote it");
    assert_eq!(load(&table, [1, 2 * MANY]), [Some(record(1)), Some(record(2 * MANY))]);
}

#[test]
fn after_a_failed_write_it_takes_and_answers_nothing() {
    let dir = TempDir::new().unwrap();
    let table = gathering(dir.path());
    table.commit(commit(1, 3)).unwrap();
    table.write_out().unwrap();
    table.commit(commit(4, 6)).unwrap();
    fs::remove_dir_all(dir.path().join("db")).unwrap();
    assert!(table.table().flush().is_err(), "no place for the files");
    let first = table.write_out().unwrap_err();
    assert!(matches!(first, TableError::Storage { .. } | TableError::Damaged { .. }), "{first}");
    let poisoned = |error| matches!(error, TableError::Poisoned { .. });
    assert!(poisoned(table.commit(commit(7, 7)).unwrap_err()));
    assert!(poisoned(table.cursors().unwrap_err()));
    for n in [1, 5, 9] {
        assert!(poisoned(table.load_many(&[&key(n)]).unwrap_err()), "key {n}");
    }
    assert!(poisoned(table.flush().unwrap_err()));
}

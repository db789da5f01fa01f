//! The key table on real RocksDB files: what it keeps, what it refuses, and what a crash or a collection
//! must not change.

#![allow(dead_code, clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

#[path = "support/numbered.rs"]
mod numbered;

use std::fs;
use std::path::Path;

use numbered::{
    assert_agrees, commit, copy, cursors, files, key, load, open, put_raw, record, refusal,
};
use oncegate::gate::cursor::Cursors;
use oncegate::gate::digest::{Digest, Form};
use oncegate::gate::engine::Commit;
use oncegate::gate::key::ActionKey;
use oncegate::gate::record::{KeyRecord, RunState};
use oncegate::table::{KeyTable, MemoryTable, RocksTable, TableError, instance_id};
use proptest::prelude::*;
use tempfile::TempDir;

// ---- What it keeps

#[test]
fn a_fresh_table_is_empty_and_at_no_position() {
    let dir = TempDir::new().unwrap();
    let table = open(&dir.path().join("made/on/the/way"));
    assert_eq!(table.cursors().unwrap(), Cursors::default());
    assert_eq!(load(&table, 1..=3), [None, None, None]);
    assert!(table.load_many(&[]).unwrap().is_empty());
}

#[test]
fn keys_and_positions_come_back_together_after_reopening() {
    let dir = TempDir::new().unwrap();
    for (first, last) in [(1, 100), (101, 101), (102, 350)] {
        let table = open(dir.path());
        assert_eq!(assert_agrees(&table, 400), first - 1);
        table.commit(commit(first, last)).unwrap();
        assert_eq!(assert_agrees(&table, 400), last);
        if first == 101 {
            table.flush().unwrap();
        }
    }
    assert_eq!(assert_agrees(&open(dir.path()), 400), 350);
}

#[test]
fn every_field_of_record_and_cursors_survives() {
    let dir = TempDir::new().unwrap();
    let mut odd = commit(7, 7);
    let record = odd.changes[0].1.as_mut().unwrap();
    record.digest = Digest { form: Form::Bytes, hash: u128::MAX };
    (record.rules, record.stream, record.sequence) = (u32::MAX, 3, u64::MAX);
    (record.time_ns, record.expires_ns) = (i64::MIN, i64::MAX);
    record.state = RunState::Failed(u64::MAX);
    odd.cursors.ledger.anchor = Some((5, -1));
    odd.cursors.in_force = None;
    open(dir.path()).commit(odd.clone()).unwrap();
    let table = open(dir.path());
    assert_eq!(load(&table, [7]), [odd.changes[0].1.clone()]);
    assert_eq!(table.cursors().unwrap(), odd.cursors);
}

#[test]
fn answers_are_in_the_order_asked_repeats_included() {
    let dir = TempDir::new().unwrap();
    let table = open(dir.path());
    table.commit(commit(1, 50)).unwrap();
    table.flush().unwrap();
    table.commit(commit(51, 99)).unwrap();
    let asked = [99, 1, 700, 50, 1, 51, 700, 99, 2];
    let wanted: Vec<_> = asked.iter().map(|&n| (n < 100).then(|| record(n))).collect();
    assert_eq!(load(&table, asked), wanted);
    let many: Vec<u64> = (0..3_000).rev().map(|n| n * 7 % 211).collect();
    let wanted: Vec<_> = many.iter().map(|n| (1..100).contains(n).then(|| record(*n))).collect();
    assert_eq!(load(&table, many), wanted);
}

#[test]
fn keys_of_other_scopes_are_other_keys() {
    let dir = TempDir::new().unwrap();
    let table = open(dir.path());
    let (one, other) = (ActionKey::new(&["a"], "b"), ActionKey::new::<&str>(&[], "ab"));
    let changes = vec![(one.clone(), Some(record(1)))];
    table.commit(Commit { changes, cursors: cursors(1) }).unwrap();
    assert_eq!(table.load_many(&[&other, &one]).unwrap(), [None, Some(record(1))]);
}

#[test]
fn format_2_is_read_as_it_was_written() {
    // Written once by this format, and never to be changed: tables out there hold these bytes.
    let record_bytes =
        b"\x42\x05\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x0a\x01\xd0\x0f\0\x02";
    let cursor_bytes =
        b"\x01\x01\x1f\0\0\x14\x01\x07ACTIONS\x01\x14\x02\x01\x09\0\0\0\0\0\0\0\x01\xd0\x0f\0\0";
    let dir = TempDir::new().unwrap();
    drop(open(dir.path()));
    put_raw(dir.path(), "meta", b"format", Some(&[2, 0, 0, 0]));
    put_raw(dir.path(), "meta", b"gate", Some(b"orders"));
    put_raw(dir.path(), "meta", b"cursors", Some(cursor_bytes));
    put_raw(dir.path(), "keys", b"\x01\x07tenant\x06key-1", Some(record_bytes));
    let table = open(dir.path());
    assert_eq!(table.cursors().unwrap(), cursors(1));
    let wanted = KeyRecord { state: RunState::Succeeded(2), ..record(1) };
    assert_eq!(load(&table, [1]), [Some(wanted)]);
}

// ---- The twin

fn commits() -> impl Strategy<Value = Vec<(Commit, bool)>> {
    let change = (0_u64..40, any::<i16>(), any::<u16>(), 0_u8..4);
    let change = change.prop_map(|(n, expiry, sequence, given_back)| {
        let ledger_sequence = sequence.into();
        let record = KeyRecord { expires_ns: expiry.into(), ledger_sequence, ..record(n) };
        (key(n), (given_back > 0).then_some(record))
    });
    let one = (prop::collection::vec(change, 0..20), 0_u64..1_000)
        .prop_map(|(changes, position)| Commit { changes, cursors: cursors(position) });
    prop::collection::vec((one, any::<bool>()), 1..8)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn the_twin_in_memory_is_no_different(
        commits in commits(),
        asked in prop::collection::vec(0_u64..60, 0..100),
    ) {
        let dir = TempDir::new().unwrap();
        let twin = MemoryTable::new();
        let mut table = open(dir.path());
        for (commit, reopen) in &commits {
            table.commit(commit.clone()).unwrap();
            twin.commit(commit.clone()).unwrap();
            if *reopen {
                drop(table);
                table = open(dir.path());
            }
            prop_assert_eq!(load(&table, asked.clone()), load(&twin, asked.clone()));
            prop_assert_eq!(table.cursors().unwrap(), twin.cursors().unwrap());
        }
    }
}

#[test]
fn a_snapshot_of_the_twin_goes_its_own_way() {
    let twin = MemoryTable::new();
    twin.commit(commit(1, 2)).unwrap();
    let before = twin.snapshot();
    twin.commit(commit(3, 3)).unwrap();
    assert_eq!((before.stats().keys, twin.stats().keys), (2, 3));
    assert_eq!(before.cursors().unwrap(), cursors(2));
}

// ---- What it refuses

#[test]
fn a_second_opening_is_refused_and_names_the_directory() {
    let dir = TempDir::new().unwrap();
    let table = open(dir.path());
    let refused = refusal(dir.path());
    assert!(matches!(&refused, TableError::InUse { path } if path == dir.path()), "{refused}");
    assert!(refused.to_string().contains(dir.path().to_str().unwrap()));
    drop(table);
    open(dir.path());
}

#[test]
fn a_record_of_garbage_is_damage_not_absence() {
    let dir = TempDir::new().unwrap();
    open(dir.path()).commit(commit(1, 3)).unwrap();
    put_raw(dir.path(), "keys", key(2).as_bytes(), Some(b"\x01garbage"));
    let table = open(dir.path());
    let (good, bad) = (key(1), key(2));
    assert!(matches!(table.load_many(&[&good, &bad]), Err(TableError::Damaged { .. })));
    assert_eq!(table.load_many(&[&good]).unwrap(), [Some(record(1))]);
}

#[test]
fn a_table_without_its_meta_is_damaged() {
    for name in ["format", "gate", "cursors"] {
        for value in [None, Some(&b"\0"[..])] {
            let dir = TempDir::new().unwrap();
            open(dir.path()).commit(commit(1, 3)).unwrap();
            put_raw(dir.path(), "meta", name.as_bytes(), value);
            match (refusal(dir.path()), name, value) {
                (TableError::OtherGate { .. }, "gate", Some(_)) => {}
                (TableError::Damaged { .. }, ..) => {}
                (other, ..) => panic!("{name} {value:?}: {other}"),
            }
        }
    }
}

#[test]
fn a_rocksdb_of_somebody_else_is_damaged() {
    let dir = TempDir::new().unwrap();
    let mut options = rocksdb::Options::default();
    options.create_if_missing(true);
    rocksdb::DB::open(&options, dir.path().join("db")).unwrap().put(b"k", b"v").unwrap();
    let refused = refusal(dir.path());
    assert!(
        matches!(&refused, TableError::Damaged { what, .. } if what.contains("keys")),
        "{refused}"
    );
}

#[test]
fn a_newer_format_and_another_name_are_refused() {
    let dir = TempDir::new().unwrap();
    open(dir.path()).commit(commit(1, 3)).unwrap();
    match RocksTable::open(dir.path(), "payments").unwrap_err() {
        TableError::OtherGate { found, wanted, .. } => {
            assert_eq!((found.as_str(), wanted.as_str()), ("orders", "payments"));
        }
        other => panic!("{other}"),
    }
    assert_eq!(assert_agrees(&open(dir.path()), 5), 3, "nothing was changed");
    put_raw(dir.path(), "meta", b"format", Some(&3_u32.to_le_bytes()));
    let refused = refusal(dir.path());
    assert!(matches!(refused, TableError::NewerFormat { found: 3, known: 2, .. }), "{refused}");
    put_raw(dir.path(), "meta", b"format", Some(&1_u32.to_le_bytes()));
    let refused = refusal(dir.path());
    assert!(matches!(refused, TableError::OlderFormat { found: 1, known: 2, .. }), "{refused}");
}

#[test]
fn a_format_with_more_families_is_newer_not_damaged() {
    let dir = TempDir::new().unwrap();
    drop(open(dir.path()));
    put_raw(dir.path(), "meta", b"format", Some(&9_u32.to_le_bytes()));
    let options = rocksdb::Options::default();
    let db = rocksdb::DB::open_cf(&options, dir.path().join("db"), ["keys", "meta"]);
    db.unwrap().create_cf("more", &options).unwrap();
    assert!(matches!(refusal(dir.path()), TableError::NewerFormat { found: 9, .. }));
}

#[test]
fn a_crash_while_making_the_table_leaves_no_trace() {
    let dir = TempDir::new().unwrap();
    fs::create_dir_all(dir.path().join("db")).unwrap();
    fs::create_dir_all(dir.path().join("db.new")).unwrap();
    fs::write(dir.path().join("db.new/CURRENT"), "half").unwrap();
    let table = open(dir.path());
    table.commit(commit(1, 3)).unwrap();
    assert_eq!(assert_agrees(&table, 5), 3);
    assert!(!dir.path().join("db.new").exists());
}

#[test]
fn what_was_left_unfinished_beside_a_table_is_thrown_away() {
    let dir = TempDir::new().unwrap();
    open(dir.path()).commit(commit(1, 3)).unwrap();
    fs::create_dir_all(dir.path().join("db.new")).unwrap();
    fs::write(dir.path().join("db.new/000008.sst"), "half").unwrap();
    assert_eq!(assert_agrees(&open(dir.path()), 5), 3);
    assert!(!dir.path().join("db.new").exists());
}

/// A crash while a table that was made anew takes the old one's place.
#[test]
fn the_next_opening_finishes_a_replacement() {
    for old_is_aside in [false, true] {
        let (dir, new) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        open(dir.path()).commit(commit(1, 3)).unwrap();
        open(new.path()).commit(commit(1, 5)).unwrap();
        fs::rename(new.path().join("db"), dir.path().join("db.rebuilt")).unwrap();
        if old_is_aside {
            fs::rename(dir.path().join("db"), dir.path().join("db.replaced-1")).unwrap();
        }
        assert_eq!(assert_agrees(&open(dir.path()), 5), 5);
        assert!(!dir.path().join("db.rebuilt").exists());
        fs::rename(dir.path().join("db.replaced-1"), new.path().join("db")).unwrap();
        assert_eq!(assert_agrees(&open(new.path()), 5), 3, "the old one is whole");
    }
}

#[test]
fn after_a_failed_commit_it_takes_and_answers_nothing() {
    let dir = TempDir::new().unwrap();
    let table = open(dir.path());
    table.commit(commit(1, 3)).unwrap();
    fs::remove_dir_all(dir.path().join("db")).unwrap();
    assert!(table.flush().is_err(), "no place for the files");
    let first = table.commit(commit(4, 4)).unwrap_err();
    assert!(matches!(first, TableError::Storage { .. } | TableError::Damaged { .. }), "{first}");
    let poisoned = |error| matches!(error, TableError::Poisoned { .. });
    assert!(poisoned(table.commit(commit(4, 4)).unwrap_err()));
    assert!(poisoned(table.cursors().unwrap_err()));
    assert!(poisoned(table.load_many(&[&key(1)]).unwrap_err()));
    assert!(poisoned(table.flush().unwrap_err()));
    assert!(poisoned(table.collect_expired().unwrap_err()));
    let told = table.load_many(&[&key(1)]).unwrap_err().to_string();
    assert!(told.contains(&first.to_string()), "{told}");
}

// ---- Crashes

#[test]
fn whenever_the_process_is_killed_keys_and_positions_agree() {
    let dir = TempDir::new().unwrap();
    let table = open(dir.path());
    for position in 1..=12 {
        table.commit(commit(position * 10 - 9, position * 10)).unwrap();
        if position % 5 == 0 {
            table.flush().unwrap();
        }
        let killed = copy(dir.path());
        assert_eq!(assert_agrees(&open(killed.path()), 130), position * 10);
    }
}

#[test]
fn wherever_a_power_failure_tears_the_log_keys_and_positions_agree() {
    let dir = TempDir::new().unwrap();
    let table = open(dir.path());
    table.commit(commit(1, 20)).unwrap();
    table.flush().unwrap();
    for position in 21..=40 {
        table.commit(commit(position, position)).unwrap();
    }
    let log = files(dir.path(), ".log").pop().unwrap();
    let (name, length) = (log.file_name().unwrap(), fs::metadata(&log).unwrap().len());
    let mut positions = Vec::new();
    for kept in (0..=length).step_by(length as usize / 16) {
        let torn = copy(dir.path());
        let log = fs::File::options().write(true).open(torn.path().join("db").join(name));
        log.unwrap().set_len(kept).unwrap();
        positions.push(assert_agrees(&open(torn.path()), 50));
    }
    assert_eq!(positions.first(), Some(&20), "what was flushed stays");
    assert!(positions.is_sorted() && positions.last().unwrap() > &35, "{positions:?}");
}

// ---- Speed that is a promise: filters

#[test]
fn misses_are_answered_by_filters() {
    let dir = TempDir::new().unwrap();
    let table = open(dir.path());
    table.commit(commit(1, 1_000)).unwrap();
    table.flush().unwrap();
    let before = table.stats().filtered;
    assert_eq!(load(&table, 2_001..=3_000), vec![None; 1_000]);
    let rose = table.stats().filtered - before;
    assert!(rose > 980, "16 bits a key let hardly anything through: {rose} of 1000");
    drop(table);
    let reopened = open(dir.path());
    load(&reopened, 2_001..=3_000);
    assert!(reopened.stats().filtered > 980, "real options at reopening, too");
}

#[test]
fn stats_tell_keys_and_bytes() {
    let dir = TempDir::new().unwrap();
    let table = open(dir.path());
    let fresh = table.stats();
    assert_eq!(fresh.keys, 0);
    table.commit(commit(1, 1_000)).unwrap();
    table.flush().unwrap();
    let filled = table.stats();
    assert!((900..=1_100).contains(&filled.keys), "{filled:?}");
    assert!(filled.bytes > fresh.bytes, "{fresh:?} {filled:?}");
}

// ---- Expiry

fn keys_on_disk(table: &Path) -> usize {
    let copy = copy(table);
    let options = rocksdb::Options::default();
    let db = rocksdb::DB::open_cf(&options, copy.path().join("db"), ["keys", "meta"]).unwrap();
    db.iterator_cf(db.cf_handle("keys").unwrap(), rocksdb::IteratorMode::Start).count()
}

/// The key counts as seen at the table's own *now*.
fn seen(table: &RocksTable, n: u64) -> bool {
    let now_ns = table.cursors().unwrap().ledger.source_time_max_ns;
    load(table, [n])[0].as_ref().is_some_and(|record| now_ns < record.expires_ns)
}

#[test]
fn expired_records_leave_live_ones_stay_and_no_verdict_changes() {
    let dir = TempDir::new().unwrap();
    let table = open(dir.path());
    // The n-th key's source time is 10 n, its expiry 10 n + 1000.
    table.commit(commit(1, 100)).unwrap();
    let first = table.collect_expired().unwrap();
    assert_eq!((first.watermark_ns, first.rewritten), (1_000, false), "none has expired yet");
    table.commit(commit(101, 200)).unwrap();
    let before: Vec<_> = (1..=200).map(|n| seen(&table, n)).collect();
    assert_eq!(before.iter().position(|seen| *seen), Some(100), "keys 1 to 100 are dead");
    assert_eq!(keys_on_disk(dir.path()), 200);

    let second = table.collect_expired().unwrap();
    assert_eq!((second.watermark_ns, second.rewritten), (2_000, true));
    assert_eq!(keys_on_disk(dir.path()), 100, "the dead have left");
    assert_eq!((1..=200).map(|n| seen(&table, n)).collect::<Vec<_>>(), before);
    assert_eq!(load(&table, 101..=200), (101..=200).map(|n| Some(record(n))).collect::<Vec<_>>());

    let third = table.collect_expired().unwrap();
    assert!(!third.rewritten, "not again before half a window went by");
    drop(table);
    let table = open(dir.path());
    assert!(!table.collect_expired().unwrap().rewritten, "not after reopening either");
    assert_eq!((1..=200).map(|n| seen(&table, n)).collect::<Vec<_>>(), before);
}

/// Its keys are read from the disk alone, so that reopening is a part of it.
#[test]
fn a_table_is_first_rewritten_half_a_window_after_its_first_key_expired() {
    let dir = TempDir::new().unwrap();
    let collects_at = |n: u64| {
        let table = open(dir.path());
        table.commit(commit(n, n)).unwrap();
        table.collect_expired().unwrap().rewritten
    };
    // Late by three keys: it expires at 1,070, and nothing before it does.
    assert!(!collects_at(10));
    assert!(!collects_at(7), "source time does not go back");
    let due: Vec<_> = [20, 110, 156, 157, 158, 206, 207].map(collects_at).into();
    assert_eq!(due, [false, false, false, true, false, false, true]);
    // Nor does a rewrite follow each action that is dead as it comes.
    let table = open(dir.path());
    let mut late = commit(208, 208);
    late.changes.push((key(1), Some(record(1))));
    table.commit(late).unwrap();
    assert!(!table.collect_expired().unwrap().rewritten);
}

#[test]
fn a_table_that_does_not_say_when_its_first_key_expires_is_rewritten_at_once() {
    let dir = TempDir::new().unwrap();
    open(dir.path()).commit(commit(1, 10)).unwrap();
    put_raw(dir.path(), "meta", b"collected", None);
    let table = open(dir.path());
    assert!(table.collect_expired().unwrap().rewritten, "made by an earlier version");
    assert!(!table.collect_expired().unwrap().rewritten);
}

#[test]
fn a_table_filled_with_what_is_long_dead_is_freed_of_it_by_its_first_collection() {
    let dir = TempDir::new().unwrap();
    let table = open(dir.path());
    table.commit(commit(1, 1_000)).unwrap();
    assert!(table.collect_expired().unwrap().rewritten);
    assert_eq!(keys_on_disk(dir.path()), 100, "the window has a hundred keys");
}

#[test]
fn a_key_accepted_anew_hides_its_dead_record_for_good() {
    let dir = TempDir::new().unwrap();
    let table = open(dir.path());
    table.commit(commit(1, 100)).unwrap();
    table.collect_expired().unwrap();
    let anew = KeyRecord { ledger_sequence: 200, ..record(200) };
    let changes = vec![(key(1), Some(anew.clone()))];
    table.commit(Commit { changes, cursors: cursors(200) }).unwrap();
    assert!(table.collect_expired().unwrap().rewritten);
    assert_eq!(load(&table, [1, 2]), [Some(anew), None]);
    assert!(seen(&table, 1));
}

#[test]
fn what_the_flushed_position_does_not_cover_is_never_dropped() {
    let dir = TempDir::new().unwrap();
    let table = open(dir.path());
    table.commit(commit(1, 10)).unwrap();
    table.collect_expired().unwrap();
    // Key 3 expires exactly at the position's source time, key 4 one nanosecond later.
    let mut next = commit(200, 200);
    next.changes.push((key(3), Some(KeyRecord { expires_ns: 2_000, ..record(3) })));
    next.changes.push((key(4), Some(KeyRecord { expires_ns: 2_001, ..record(4) })));
    table.commit(next).unwrap();
    assert!(table.collect_expired().unwrap().rewritten);
    let left: Vec<_> = load(&table, [3, 4, 200]).iter().map(Option::is_some).collect();
    assert_eq!(left, [false, true, true]);
}

#[test]
fn a_crash_after_a_collection_replays_into_the_same_verdicts() {
    let dir = TempDir::new().unwrap();
    let table = open(dir.path());
    table.commit(commit(1, 100)).unwrap();
    table.collect_expired().unwrap();
    table.commit(commit(101, 200)).unwrap();
    let collected = table.collect_expired().unwrap();
    table.commit(commit(201, 220)).unwrap();
    let crashed = copy(dir.path());
    for log in files(crashed.path(), ".log") {
        fs::File::create(log).unwrap(); // The power failed: all that was not flushed is gone.
    }
    let table = open(crashed.path());
    let now_ns = table.cursors().unwrap().ledger.source_time_max_ns;
    assert!(now_ns >= collected.watermark_ns, "never behind what was dropped");
    assert_eq!(load(&table, [100, 101]), [None, Some(record(101))]);
}

#[test]
fn the_watermark_is_on_disk_before_anything_may_be_dropped() {
    let dir = TempDir::new().unwrap();
    let table = open(dir.path());
    table.commit(commit(1, 100)).unwrap();
    let collected = table.collect_expired().unwrap();
    let crashed = copy(dir.path());
    for log in files(crashed.path(), ".log") {
        fs::File::create(log).unwrap();
    }
    let cursors = open(crashed.path()).cursors().unwrap();
    assert_eq!(cursors.ledger.source_time_max_ns, collected.watermark_ns);
}

#[test]
fn garbage_outlives_a_collection_and_is_told() {
    let dir = TempDir::new().unwrap();
    open(dir.path()).commit(commit(1, 10)).unwrap();
    put_raw(dir.path(), "keys", key(2).as_bytes(), Some(b"garbage"));
    let table = open(dir.path());
    table.collect_expired().unwrap();
    table.commit(commit(300, 300)).unwrap();
    assert!(table.collect_expired().unwrap().rewritten);
    assert!(matches!(table.load_many(&[&key(2)]), Err(TableError::Damaged { .. })));
    assert_eq!(load(&table, [1, 300]), [None, Some(record(300))]);
}

#[test]
fn an_interrupted_table_closes_and_opens_again() {
    let dir = TempDir::new().unwrap();
    let table = open(dir.path());
    table.commit(commit(1, 10)).unwrap();
    table.flush().unwrap();
    table.interrupt();
    drop(table);
    assert_eq!(assert_agrees(&open(dir.path()), 20), 10);
}

// ---- Who this instance is

#[test]
fn the_instance_has_one_id_for_as_long_as_its_file_lives() {
    let dir = TempDir::new().unwrap();
    let table = open(dir.path());
    table.commit(commit(1, 3)).unwrap();
    let id = instance_id(dir.path()).unwrap();
    assert_eq!(id.get_version_num(), 7);
    assert_eq!(instance_id(dir.path()).unwrap(), id);
    drop(table);
    assert_eq!(assert_agrees(&open(dir.path()), 5), 3, "RocksDB leaves it alone, and it RocksDB");
    assert_eq!(instance_id(dir.path()).unwrap(), id);

    fs::remove_file(dir.path().join("instance")).unwrap();
    let anew = instance_id(dir.path()).unwrap();
    assert_ne!(anew, id);
    assert_eq!(instance_id(dir.path()).unwrap(), anew);
    fs::write(dir.path().join("instance"), "?").unwrap();
    assert!(instance_id(dir.path()).unwrap_err().to_string().contains("remove it"));
}

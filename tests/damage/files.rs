//! The table alone, on copies of real files that are damaged in many places.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use oncegate::gate::engine::Commit;
use oncegate::gate::key::ActionKey;
use oncegate::table::{KeyTable, RocksTable, TableError};
use tempfile::TempDir;

use crate::numbered::{
    GATE, commit, copy, cursors, files, flip, key, open, put_raw, record, refusal,
};
use crate::support::load::Dice;
use crate::support::wait_for;

/// Keys of each file of the template, and of its log.
const KEYS_A_FILE: u64 = 1_500;
const FILES: u64 = 3;
const KEYS: u64 = KEYS_A_FILE * (FILES + 1);

/// What a killed process left: several files of keys, and a log with as many more.
fn template() -> &'static Path {
    static TEMPLATE: OnceLock<TempDir> = OnceLock::new();
    let made = TEMPLATE.get_or_init(|| {
        let dir = TempDir::new().unwrap();
        let table = open(dir.path());
        for file in 0..=FILES {
            for chunk in (0..KEYS_A_FILE).step_by(100) {
                let first = file * KEYS_A_FILE + chunk + 1;
                table.commit(commit(first, first + 99)).unwrap();
            }
            if file < FILES {
                table.flush().unwrap();
            }
        }
        wait_for("a copy that was not made within a merge", || {
            let copied = copy(dir.path());
            every_table_file_is_live(copied.path()).then_some(copied)
        })
    });
    made.path()
}

/// RocksDB merges the files of positions when there are enough: what a copy holds of a merge's inputs or
/// output, while its manifest names only the other, may be lost without harm.
fn every_table_file_is_live(table: &Path) -> bool {
    // To open it, even to read, leaves files.
    let opened = copy(table);
    let Ok(db) = rocksdb::DB::open_cf_for_read_only(
        &rocksdb::Options::default(),
        opened.path().join("db"),
        ["keys", "meta"],
        false,
    ) else {
        return false;
    };
    db.live_files().unwrap().len() == files(table, ".sst").len()
}

/// Name and bytes of every file, without what says nothing about the table.
fn content(table: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![table.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let name = entry.file_name().into_string().unwrap();
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
            } else if !name.starts_with("LOG") && !name.starts_with("LOCK") {
                found.insert(entry.path(), fs::read(entry.path()).unwrap());
            }
        }
    }
    found
}

/// What came of damage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// It was refused, and nothing was changed.
    Refused,
    /// It opened, and some look-up was refused; all others are right.
    FoundLate,
    /// It stands at this earlier (or the last) position, and every answer is right for it.
    At(u64),
}

/// Opens a damaged table, and holds it to what is promised.
#[track_caller]
fn outcome(table: &Path, place: &str) -> Outcome {
    let before = content(table);
    let opened = match RocksTable::open(table, GATE) {
        Ok(table) => table,
        Err(error) => {
            assert_explains(&error, table, place);
            let after = content(table);
            assert!(
                before == after,
                "{place}: refused, and changed: {:?}",
                changed(&before, &after)
            );
            return Outcome::Refused;
        }
    };
    let position = opened.cursors().unwrap().ledger.sequence;
    if position > 0 {
        assert_eq!(opened.cursors().unwrap(), cursors(position), "{place}");
    }
    let mut found_late = false;
    for first in (1..=KEYS).step_by(50) {
        let numbers = first..first + 50;
        let keys: Vec<ActionKey> = numbers.clone().map(key).collect();
        match opened.load_many(&keys.iter().collect::<Vec<_>>()) {
            Ok(answers) => {
                for (n, answer) in numbers.zip(answers) {
                    let wanted = (n <= position).then(|| record(n));
                    assert_eq!(answer, wanted, "{place}: key {n} at position {position}");
                }
            }
            Err(error) => {
                assert_explains(&error, table, place);
                found_late = true;
            }
        }
    }
    if found_late { Outcome::FoundLate } else { Outcome::At(position) }
}

fn changed(
    before: &BTreeMap<PathBuf, Vec<u8>>,
    after: &BTreeMap<PathBuf, Vec<u8>>,
) -> Vec<PathBuf> {
    let names = before.keys().chain(after.keys());
    let mut changed: Vec<_> =
        names.filter(|name| before.get(*name) != after.get(*name)).cloned().collect();
    changed.dedup();
    changed
}

/// One paragraph: what, where, what to do.
#[track_caller]
fn assert_explains(error: &TableError, table: &Path, place: &str) {
    let text = error.to_string();
    assert!(
        matches!(error, TableError::Damaged { .. } | TableError::Storage { .. }),
        "{place}: {text}"
    );
    for part in [table.to_str().unwrap(), "oncegate rebuild", "oncegate restore"] {
        assert!(text.contains(part), "{place}: {part:?} is not in: {text}");
    }
    assert!(!text.contains('\n'), "{place}: {text}");
}

/// Flips bytes of every file of this kind: a number of places all over it, and every one of the last few.
fn flips(kind: &str, spread: usize, last: usize) -> BTreeMap<String, Outcome> {
    let mut outcomes = BTreeMap::new();
    let mut dice = Dice::new(7);
    for file in files(template(), kind) {
        let length = fs::metadata(&file).unwrap().len() as usize;
        let name = file.file_name().unwrap().to_str().unwrap().to_owned();
        let mut places: Vec<_> = (0..spread).map(|_| dice.roll(length as u64) as usize).collect();
        places.extend(length.saturating_sub(last)..length);
        for at in places {
            let damaged = copy(template());
            flip(&damaged.path().join("db").join(&name), at);
            let place = format!("{name}, byte {at} of {length}");
            outcomes.insert(place.clone(), outcome(damaged.path(), &place));
        }
    }
    outcomes
}

fn count(outcomes: &BTreeMap<String, Outcome>, of: impl Fn(Outcome) -> bool) -> usize {
    outcomes.values().filter(|outcome| of(**outcome)).count()
}

#[test]
fn the_template_is_whole() {
    let all = files(template(), ".sst");
    let of_keys = all.iter().filter(|file| fs::metadata(file).unwrap().len() > KEYS_A_FILE);
    // Those of positions may have been merged into one by now.
    assert_eq!(of_keys.count() as u64, FILES, "{all:?}");
    assert!(all.len() as u64 > FILES, "{all:?}");
    assert_eq!(outcome(copy(template()).path(), "undamaged"), Outcome::At(KEYS));
}

/// Data blocks, index, filter, properties and footer.
#[test]
fn flipped_bytes_in_a_file_of_keys() {
    let outcomes = flips(".sst", 10, 16);
    let told = count(&outcomes, |outcome| outcome != Outcome::At(KEYS));
    assert!(told * 2 > outcomes.len(), "the flips hit something: {outcomes:#?}");
    let earlier = count(&outcomes, |outcome| matches!(outcome, Outcome::At(p) if p != KEYS));
    assert_eq!(earlier, 0, "what a file held is never just left out: {outcomes:#?}");
}

#[test]
fn flipped_bytes_in_the_manifest() {
    let outcomes = flips("MANIFEST-", 200, 0);
    assert!(count(&outcomes, |o| o == Outcome::Refused) * 2 > outcomes.len(), "{outcomes:#?}");
}

#[test]
fn flipped_bytes_in_current_and_options() {
    let current = flips("CURRENT", 0, 16);
    assert_eq!(count(&current, |o| o == Outcome::Refused), current.len(), "{current:#?}");
    let options = flips("OPTIONS-", 20, 0);
    assert_eq!(count(&options, |o| o == Outcome::At(KEYS)), options.len(), "{options:#?}");
}

/// What comes after the flip is read from the ledger again.
#[test]
fn flipped_bytes_in_the_log() {
    let outcomes = flips(".log", 40, 8);
    let flushed = KEYS_A_FILE * FILES;
    let fits = |o| matches!(o, Outcome::At(p) if p >= flushed);
    assert_eq!(count(&outcomes, fits), outcomes.len(), "{outcomes:#?}");
    assert!(count(&outcomes, |o| o != Outcome::At(KEYS)) * 2 > outcomes.len(), "{outcomes:#?}");
}

#[test]
fn a_missing_file() {
    for (kind, wanted) in [
        ("CURRENT", Outcome::Refused),
        ("MANIFEST-", Outcome::Refused),
        (".sst", Outcome::Refused),
        ("OPTIONS-", Outcome::At(KEYS)),
        ("IDENTITY", Outcome::At(KEYS)),
        (".log", Outcome::At(KEYS_A_FILE * FILES)),
    ] {
        for file in files(template(), kind) {
            let damaged = copy(template());
            let name = file.file_name().unwrap();
            fs::remove_file(damaged.path().join("db").join(name)).unwrap();
            let place = format!("without {name:?}");
            assert_eq!(outcome(damaged.path(), &place), wanted, "{place}");
        }
    }
}

#[test]
fn a_file_that_was_cut() {
    for kind in ["CURRENT", "MANIFEST-", ".sst", ".log", "OPTIONS-"] {
        for file in files(template(), kind) {
            let length = fs::metadata(&file).unwrap().len();
            let name = file.file_name().unwrap().to_owned();
            let step = (length / 12).max(1);
            for kept in (0..length).step_by(step as usize).chain([length - 1]) {
                let damaged = copy(template());
                let cut =
                    fs::File::options().write(true).open(damaged.path().join("db").join(&name));
                cut.unwrap().set_len(kept).unwrap();
                let place = format!("{name:?} cut to {kept} of {length}");
                match (outcome(damaged.path(), &place), kind) {
                    (Outcome::Refused, "CURRENT" | "MANIFEST-" | ".sst") => {}
                    (Outcome::At(KEYS), "OPTIONS-") => {}
                    // An unfinished record at the end is what a crash leaves: the table lags.
                    (Outcome::At(_), "MANIFEST-" | ".log") => {}
                    (other, _) => panic!("{place}: {other:?}"),
                }
            }
        }
    }
}

#[test]
fn a_directory_of_nothing() {
    let dir = TempDir::new().unwrap();
    fs::create_dir_all(dir.path().join("db")).unwrap();
    assert_eq!(outcome(dir.path(), "an empty directory"), Outcome::At(0));
    let file = TempDir::new().unwrap();
    fs::write(file.path().join("db"), "?").unwrap();
    let refused = refusal(file.path());
    assert!(matches!(refused, TableError::Io { .. }), "{refused}");
    assert_eq!(fs::read(file.path().join("db")).unwrap(), b"?");
    for kept in ["LOG", "OPTIONS-", ".sst", "IDENTITY"] {
        let damaged = copy(template());
        let keep = files(damaged.path(), kept);
        for file in files(damaged.path(), "") {
            if !keep.contains(&file) {
                fs::remove_file(file).unwrap();
            }
        }
        assert_eq!(outcome(damaged.path(), &format!("{kept} alone")), Outcome::Refused);
    }
}

/// What belongs to another or to later versions is refused as it is: not a byte changes.
#[test]
fn what_is_of_another_or_newer_is_left_alone() {
    let strange: [(&str, &[u8], &[u8]); 4] = [
        ("meta", b"gate", b"payments"),
        ("meta", b"format", &[3, 0, 0, 0]),
        ("meta", b"cursors", &[9; 40]),
        ("meta", b"format", b"\0"),
    ];
    for (family, name, value) in strange {
        let damaged = copy(template());
        put_raw(damaged.path(), family, name, Some(value));
        let before = content(damaged.path());
        let refused = refusal(damaged.path());
        let after = content(damaged.path());
        assert!(before == after, "{refused}: {:?}", changed(&before, &after));
    }
    let newer = copy(template());
    put_raw(newer.path(), "keys", key(1).as_bytes(), Some(&[9; 40]));
    assert_eq!(outcome(newer.path(), "a record of a later version"), Outcome::FoundLate);
}

/// A write buffer that is full is flushed in the background, while the next log is written already. The
/// process is killed before the flush is done, and the first of the two logs is damaged: what only the second
/// one holds must not stand above a hole.
#[test]
fn a_first_log_of_two_that_is_damaged() {
    let dir = TempDir::new().unwrap();
    let table = open(dir.path());
    table.commit(commit(1, 10)).unwrap();
    table.interrupt();
    let wide = |n: u64| ActionKey::new(&["x".repeat(50_000)], &format!("key-{n}"));
    let last = 1_000;
    for n in 11..=last {
        table
            .commit(Commit { changes: vec![(wide(n), Some(record(n)))], cursors: cursors(n) })
            .unwrap();
    }
    let killed = copy(dir.path());
    let logs = files(killed.path(), ".log");
    assert_eq!(logs.len(), 2, "{logs:?}");
    let first = logs[0].file_name().unwrap();
    let length = fs::metadata(&logs[0]).unwrap().len();
    let check = |what: &str, damage: &dyn Fn(&Path)| {
        let damaged = copy(killed.path());
        damage(&damaged.path().join("db").join(first));
        let table = match RocksTable::open(damaged.path(), GATE) {
            Ok(table) => table,
            Err(error) => return assert_explains(&error, damaged.path(), what),
        };
        let position = table.cursors().unwrap().ledger.sequence;
        for n in 11..=position {
            let found = table.load_many(&[&wide(n)]).unwrap();
            assert_eq!(found, [Some(record(n))], "{what}: key {n} at position {position}");
        }
    };
    check("missing", &|log| fs::remove_file(log).unwrap());
    for kept in [0, 100, length / 2, length - 1] {
        check(&format!("cut to {kept}"), &|log| {
            fs::File::options().write(true).open(log).unwrap().set_len(kept).unwrap();
        });
    }
    for at in [4, 5, 6, length as usize / 2] {
        check(&format!("flipped at {at}"), &|log| flip(log, at));
    }
    // The byte that says of what kind a record is: a record of a log that was used again ends the log.
    check("a record of another log", &|log| {
        let mut bytes = fs::read(log).unwrap();
        bytes[6] = 5;
        fs::write(log, bytes).unwrap();
    });
}

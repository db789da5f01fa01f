//! Backups of a real table, made beside a real worker and without one, and what is restored from them.
#![allow(
    dead_code,
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a test fails by panicking, and each file uses its own part of the support"
)]

#[path = "../support/mod.rs"]
mod support;

mod damage;
mod faults;
mod ledgers;
mod making;
mod refusals;
mod schedule;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

use support::gate::Gate;
use support::load;
use support::model::Rules;
use support::world::World;

/// A directory, as a command is given it.
const BACKUPS: &str = "backups";

fn backups(gate: &Gate) -> PathBuf {
    gate.dir().join(BACKUPS)
}

/// A command that must work; its JSON objects.
#[track_caller]
fn json(gate: &Gate, arguments: &[&str]) -> Vec<Value> {
    let arguments: Vec<&str> = arguments.iter().copied().chain(["--json"]).collect();
    let ending = gate.call(&arguments);
    assert_eq!(ending.code, Some(0), "{ending:#?}");
    ending.stdout.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
}

/// `oncegate backup`, as its JSON object.
#[track_caller]
fn back_up(gate: &Gate) -> Value {
    json(gate, &["backup", BACKUPS]).remove(0)
}

/// `oncegate restore`, as its JSON object.
#[track_caller]
fn restore(gate: &Gate) -> Value {
    json(gate, &["restore", BACKUPS]).remove(0)
}

/// A command that must fail with a text that holds these words, and leave backups and table as they are.
#[track_caller]
fn refused(gate: &Gate, arguments: &[&str], words: &[&str]) {
    let state = || {
        let mut files = files_below(&gate.dir().join("data"));
        files.extend(files_below(&backups(gate)));
        // Where a backup opens the table, RocksDB tidies up.
        files.retain(|path, _| arguments[0] == "restore" || !path.starts_with(gate.table()));
        files
    };
    let before = state();
    let ending = gate.call(arguments);
    assert_eq!(ending.code, Some(1), "{ending:#?}");
    ending.says(words);
    let after = state();
    let changed: Vec<_> =
        after.iter().filter(|(path, was)| before.get(*path) != Some(was)).collect();
    assert!(changed.is_empty() && before.len() == after.len(), "changed: {changed:?}, {ending:#?}");
}

/// Every file with something in it (a lock file has nothing), and its content.
fn files_below(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files_below(&path));
        } else if path.is_file() {
            let content = std::fs::read(&path).unwrap();
            if !content.is_empty() {
                found.insert(path, content);
            }
        }
    }
    found
}

fn lose_table(gate: &Gate) {
    std::fs::remove_dir_all(gate.table()).unwrap();
}

/// A gate that has judged something, is stopped, has backup 1 and no table.
fn with_a_backup() -> World {
    let mut world = World::started(Rules::default());
    world.publish_all(&load::mixed(200, "k", 1));
    world.check();
    world.gate.stop();
    back_up(&world.gate);
    lose_table(&world.gate);
    world
}

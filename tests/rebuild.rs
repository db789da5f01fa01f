//! A key table made anew from the ledger by `oncegate rebuild`.
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

mod support;

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::json;

use support::gate::Ending;
use support::load;
use support::model::{Rules, Verdict};
use support::raw::Outgoing;
use support::stores::{copy_of, roll_back};
use support::streams;
use support::world::{World, action};

fn key(n: usize) -> String {
    format!("k{n}")
}

/// So many keys, all new.
fn accept(world: &mut World, keys: std::ops::Range<usize>) {
    let actions: Vec<Outgoing> =
        keys.map(|n| action("actions.pay", &key(n), &format!("{{\"n\":{n}}}"))).collect();
    world.publish_all(&actions);
    world.check();
}

/// Every file below a directory, with its bytes.
fn content(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(content(&path)),
            false => {
                found.insert(path.clone(), std::fs::read(path).unwrap());
            }
        }
    }
    found
}

/// A rebuild that must refuse, with a text that holds these words, and leave everything as it was.
#[track_caller]
fn refuses(world: &World, flags: &[&str], words: &[&str]) -> Ending {
    let before = content(&world.gate.table());
    let ending = world.gate.call(&[&["rebuild"], flags].concat());
    assert_eq!(ending.code, Some(1), "{ending:#?}");
    ending.says(words);
    assert!(content(&world.gate.table()) == before, "something was changed: {ending:#?}");
    ending
}

#[track_caller]
fn rebuild(world: &World, flags: &[&str]) -> Ending {
    let ending = world.gate.call(&[&["rebuild"], flags].concat());
    assert_eq!(ending.code, Some(0), "{ending:#?}");
    ending
}

/// Where old tables are kept.
fn kept_aside(world: &World) -> usize {
    let entries = std::fs::read_dir(world.gate.table()).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with("db.replaced-")).count()
}

/// A retry of each key of [`accept`] is a duplicate.
fn assert_known(world: &mut World, keys: std::ops::Range<usize>) {
    let retries: Vec<Outgoing> =
        keys.map(|n| action("actions.pay", &key(n), &format!("{{\"n\":{n}}}"))).collect();
    let sequences = world.publish_all(&retries);
    let report = world.check();
    for sequence in sequences {
        assert_eq!(report.verdict(sequence), Verdict::Duplicate);
    }
}

#[test]
fn a_lost_table_is_made_again() {
    let mut world = World::started(Rules::default());
    world.publish_all(&load::mixed(5_000, "m", 1));
    accept(&mut world, 0..300);
    world.gate.stop();
    std::fs::remove_dir_all(world.gate.table()).unwrap();
    let ending = rebuild(&world, &[]);
    assert!(ending.stdout.contains("data/keys"), "{ending:#?}");
    assert_eq!(kept_aside(&world), 0);
    world.gate.start();
    assert!(world.gate.log().contains("tail_entries=0"), "the ledger was read twice");
    assert_known(&mut world, 0..300);
}

#[test]
fn a_damaged_table_is_replaced_and_kept_aside() {
    let mut world = World::started(Rules::default());
    accept(&mut world, 0..300);
    world.gate.stop();
    let current = world.gate.table().join("db/CURRENT");
    std::fs::write(&current, "MANIFEST-nowhere\n").unwrap();
    world.gate.refuses(&["oncegate rebuild --accept-ledger", "MANIFEST-nowhere"]);
    refuses(&world, &[], &["MANIFEST-nowhere", "can't be read", "--accept-ledger"]);
    refuses(
        &world,
        &["--accept-ledger"],
        &["MANIFEST-nowhere", "Nobody can tell", "not confirmed"],
    );
    let ending = rebuild(&world, &["--accept-ledger", "--yes"]);
    ending.says(&["MANIFEST-nowhere", "can't be read", "forwarded a second time"]);
    assert!(ending.stdout.contains("db.replaced-1"), "{ending:#?}");
    let aside = world.gate.table().join("db.replaced-1/CURRENT");
    assert_eq!(std::fs::read_to_string(aside).unwrap(), "MANIFEST-nowhere\n");
    world.gate.start();
    assert_known(&mut world, 0..300);
    world.gate.stop();
    rebuild(&world, &[]);
    assert_eq!(kept_aside(&world), 2, "what is kept is never overwritten");
}

#[test]
fn not_under_a_running_worker() {
    let mut world = World::started(Rules::default());
    accept(&mut world, 0..10);
    let ending = world.gate.call(&["rebuild"]);
    assert_eq!(ending.code, Some(1), "{ending:#?}");
    ending.says(&["in use"]);
    accept(&mut world, 10..20);
}

#[test]
fn not_what_nobody_should_replace_by_mistake() {
    let mut world = World::started(Rules::default());
    accept(&mut world, 0..10);
    world.gate.stop();
    world.gate.settings.set("name", "\"other\"");
    streams::create(
        &mut world.client,
        &streams::ledger_config(&json!({
            "name": "OTHER",
            "subjects": ["other.accepted.>", "other.rejected.>", "other.completed.>", "other.released.>",
                         "other.leading", "other.judged"],
        })),
    );
    refuses(&world, &[], &["oncegate", "other", "table.path"]);
    refuses(&world, &["--accept-ledger", "--yes"], &["oncegate", "other", "table.path"]);
}

#[test]
fn not_without_a_ledger() {
    let mut world = World::started(Rules::default());
    accept(&mut world, 0..10);
    world.gate.stop();
    streams::delete(&mut world.client, "ONCEGATE");
    refuses(&world, &[], &["ONCEGATE", "not there", "restore"]);
    assert!(!streams::info(&mut world.client, "ONCEGATE")["error"].is_null(), "it made a ledger");
    world.server.kill();
    refuses(&world, &[], &["no NATS server answers"]);
}

/// The first entries are gone, and what they held may be live.
#[test]
fn not_from_a_ledger_that_was_trimmed() {
    let mut world = World::started(Rules::default());
    accept(&mut world, 0..100);
    world.gate.stop();
    streams::trim(&mut world.client, "ONCEGATE", 70);
    std::fs::remove_dir_all(world.gate.table().join("db")).unwrap();
    refuses(&world, &[], &["trimmed", "oncegate restore"]);
}

/// What they held has expired: the window is over since.
#[test]
fn from_a_ledger_that_was_trimmed_a_window_ago() {
    let mut world = World::started(Rules::window(1));
    accept(&mut world, 0..100);
    world.gate.stop();
    streams::trim(&mut world.client, "ONCEGATE", 70);
    let last = streams::last_sequence(&mut world.client, "ONCEGATE");
    let read = streams::get(&mut world.client, "ONCEGATE", last).unwrap().time;
    let clock = json!({ "name": "CLOCK", "subjects": ["clock"], "storage": "file" });
    streams::create(&mut world.client, &clock);
    support::wait_until("the window to be over", || {
        let tick = world.client.publish(&Outgoing::new("clock", &[], b"")).sequence;
        let now = streams::get(&mut world.client, "CLOCK", tick).unwrap().time;
        now > read + jiff::SignedDuration::from_secs(1)
    });
    world.act("later", "{}");
    std::fs::remove_dir_all(world.gate.table().join("db")).unwrap();
    rebuild(&world, &[]);
    world.gate.start();
    support::wait_until("the ledger to go on", || {
        world.gate.must_run();
        streams::last_sequence(&mut world.client, "ONCEGATE") > 102
    });
}

/// A ledger that went back, as after a power failure: entries 0..100 are there, 100..150 are lost.
fn gone_back() -> World {
    let mut world = World::started(Rules::default());
    accept(&mut world, 0..100);
    world.gate.stop();
    let copy = copy_of(&mut world, "ONCEGATE");
    world.gate.start();
    accept(&mut world, 100..150);
    world.gate.stop();
    roll_back(&mut world, "ONCEGATE", copy.path());
    world
}

#[test]
fn a_ledger_that_went_back_is_accepted_only_if_asked() {
    let mut world = gone_back();
    world.gate.refuses(&["went back", "oncegate rebuild --accept-ledger"]);
    refuses(&world, &[], &["went back", "--accept-ledger"]);
    refuses(
        &world,
        &["--accept-ledger"],
        &["50 live keys", "second time", "not confirmed", "--yes"],
    );
    let ending = rebuild(&world, &["--accept-ledger", "--yes"]);
    ending.says(&["50 live keys", "judged again from 101", "up to 50 actions"]);
    world.gate.start();
    world.check();
    assert_known(&mut world, 0..150);
}

#[test]
fn the_answer_is_read() {
    let mut world = gone_back();
    for (answer, code) in [("no\n", 1), ("", 1), ("yes\n", 0)] {
        let mut command = world.gate.command(&["rebuild", "--accept-ledger"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(answer.as_bytes()).unwrap();
        let ending = Ending::from(child.wait_with_output().unwrap());
        assert_eq!(ending.code, Some(code), "{answer:?}: {ending:#?}");
        assert_eq!(kept_aside(&world), usize::from(code == 0), "{answer:?}");
    }
    world.gate.start();
    world.check();
    assert_known(&mut world, 0..150);
}

/// Killed at its last moment: the new table is whole, and waits for the answer.
#[test]
fn a_rebuild_that_is_killed_leaves_the_old_table() {
    let mut world = gone_back();
    let before = content(&world.gate.table().join("db"));
    let mut command = world.gate.command(&["rebuild", "--accept-ledger"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let (mut stderr, mut said) = (child.stderr.take().unwrap(), Vec::new());
    while !String::from_utf8_lossy(&said).contains("Type yes") {
        let mut some = [0; 1024];
        let read = stderr.read(&mut some).unwrap();
        assert!(read > 0, "it ended: {}", String::from_utf8_lossy(&said));
        said.extend_from_slice(&some[..read]);
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(world.gate.table().join("db.new").is_dir(), "there was nothing to leave behind");
    assert!(content(&world.gate.table().join("db")) == before, "the old table was changed");
    assert_eq!(kept_aside(&world), 0);
    world.gate.refuses(&["went back"]);
    rebuild(&world, &["--accept-ledger", "--yes"]);
    assert!(!world.gate.table().join("db.new").exists());
    world.gate.start();
    world.check();
    assert_known(&mut world, 0..150);
}

#[test]
fn a_ledger_that_went_back_and_grew_past_the_table() {
    let mut world = gone_back();
    let back_to = streams::last_sequence(&mut world.client, "ONCEGATE");
    let strangers = vec![Outgoing::new("oncegate.accepted.x", &[], b""); 100];
    world.client.publish_all(&strangers);
    (back_to + 1..=back_to + 100).for_each(|sequence| world.foreign(sequence));
    world.gate.refuses(&["not the one", "oncegate rebuild --accept-ledger"]);
    let ending = rebuild(&world, &["--accept-ledger", "--yes"]);
    ending.says(&["50 live keys"]);
    assert!(ending.stdout.contains("100 messages"), "{ending:#?}");
    world.gate.start();
    world.check();
    assert_known(&mut world, 0..150);
}

/// What was judged is gone from a work queue: a key that the ledger lost is new again when it is retried, and
/// the command says so.
#[test]
fn a_ledger_that_went_back_beside_a_work_queue() {
    let fields = json!({ "retention": "workqueue" });
    let mut world = World::with_input(Rules::default(), &fields);
    let actions = |keys: std::ops::Range<usize>| -> Vec<Outgoing> {
        keys.map(|n| action("actions.pay", &key(n), "{}")).collect()
    };
    world.publish_all(&actions(0..20));
    world.capture();
    world.gate.start();
    world.check();
    world.gate.stop();
    let copy = copy_of(&mut world, "ONCEGATE");
    world.publish_all(&actions(20..50));
    world.gate.start();
    support::wait_until("all to be acknowledged", || {
        world.gate.must_run();
        streams::info(&mut world.client, "ACTIONS")["state"]["messages"] == 0
    });
    world.gate.stop();
    roll_back(&mut world, "ONCEGATE", copy.path());
    let ending = rebuild(&world, &["--accept-ledger", "--yes"]);
    ending.says(&[
        "30 live keys",
        "work queue",
        "still holds from 21 on",
        "nothing is judged again",
    ]);
    world.publish_all(&actions(0..50));
    world.capture();
    world.gate.start();
    let report = world.check();
    assert_eq!(report.count(|verdict| verdict == Verdict::Accepted), 50);
}

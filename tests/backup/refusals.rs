//! What is refused, with its reason, and changes nothing.

use std::fs::File;

use rocksdb::backup::{BackupEngine, BackupEngineOptions};

use crate::support::gate::Gate;
use crate::support::load;
use crate::support::model::Rules;
use crate::support::world::World;
use crate::{BACKUPS, back_up, backups, lose_table, refused, restore, with_a_backup};

#[test]
fn a_table_that_is_there_or_in_use() {
    let mut world = with_a_backup();
    restore(&world.gate);
    refused(
        &world.gate,
        &["restore", BACKUPS],
        &["a key table in data/keys already", "move it away"],
    );
    world.gate.start();
    let ending = world.gate.call(&["restore", BACKUPS]);
    assert_eq!(ending.code, Some(1), "{ending:#?}");
    ending.says(&["data/keys is in use"]);
    world.act("k", "1");
    world.check();
}

#[test]
fn a_directory_that_holds_something_else() {
    let mut world = World::started(Rules::default());
    let foreign = backups(&world.gate);
    std::fs::create_dir_all(&foreign).unwrap();
    std::fs::write(foreign.join("thesis.txt"), "years of work").unwrap();
    let online = world.gate.call(&["backup", BACKUPS]);
    assert_eq!(online.code, Some(1), "{online:#?}");
    online.says(&["no directory of backups", "nothing was written"]);
    // A worker writes its table when it likes.
    world.gate.stop();
    refused(&world.gate, &["restore", BACKUPS], &["there are no backups in"]);
    refused(&world.gate, &["backup", BACKUPS, "--list"], &["there are no backups in"]);
    refused(&world.gate, &["backup", BACKUPS], &["no directory of backups", "nothing was written"]);
    let found = std::fs::read_dir(&foreign).unwrap().count();
    assert_eq!(found, 1, "not even a lock file");
}

#[test]
fn backups_that_another_process_uses() {
    let mut world = World::started(Rules::default());
    back_up(&world.gate);
    let lock = File::open(backups(&world.gate).join("LOCK.oncegate")).unwrap();
    lock.try_lock().unwrap();
    let words = ["backups in", "in use by another process"];
    let online = world.gate.call(&["backup", BACKUPS]);
    assert_eq!(online.code, Some(1), "{online:#?}");
    online.says(&words);
    world.gate.stop();
    refused(&world.gate, &["backup", BACKUPS], &words);
    refused(&world.gate, &["backup", BACKUPS, "--list"], &words);
    lose_table(&world.gate);
    refused(&world.gate, &["restore", BACKUPS], &words);
    drop(lock);
    restore(&world.gate);
}

#[test]
fn a_backup_of_another_gate() {
    let mut world = with_a_backup();
    world.gate.settings.set("name", "\"other\"");
    let words = ["of the gate \"oncegate\", not of \"other\""];
    refused(&world.gate, &["restore", BACKUPS], &words);
    refused(&world.gate, &["restore", BACKUPS, "--offline"], &words);
    world.gate.start();
    let online = world.gate.call(&["backup", BACKUPS]);
    assert_eq!(online.code, Some(1), "{online:#?}");
    online.says(&words);
}

/// Backup 2, of a table of another format.
fn back_up_of_format(gate: &Gate, format: u32) {
    let options = rocksdb::Options::default();
    let db = gate.table().join("db");
    let db = rocksdb::DB::open_cf(&options, db, ["keys", "meta"]).unwrap();
    db.put_cf(db.cf_handle("meta").unwrap(), "format", format.to_le_bytes()).unwrap();
    let options = BackupEngineOptions::new(backups(gate)).unwrap();
    let mut engine = BackupEngine::open(&options, &rocksdb::Env::new().unwrap()).unwrap();
    engine.create_new_backup_flush(&db, true).unwrap();
}

/// What helps is said of the backup. Another gate's is another gate's first.
#[test]
fn a_backup_of_an_older_format() {
    let mut world = with_a_backup();
    restore(&world.gate);
    back_up_of_format(&world.gate, 1);
    world.gate.settings.set("name", "\"other\"");
    world.gate.refuses(&["belongs to the gate", "oncegate", "other"]);
    world.gate.settings.set("name", "\"oncegate\"");
    world.gate.refuses(&["format 1", "reads format 2", "oncegate rebuild --accept-ledger"]);
    lose_table(&world.gate);
    let words = ["backup 2", "format 1", "reads format 2", "--id", "Nothing was changed"];
    refused(&world.gate, &["restore", BACKUPS], &words);
}

#[test]
fn a_backup_of_a_newer_format() {
    let mut world = with_a_backup();
    restore(&world.gate);
    back_up_of_format(&world.gate, 77);
    lose_table(&world.gate);
    refused(&world.gate, &["restore", BACKUPS], &["format 77", "formats up to 2"]);
    let mark = backups(&world.gate).join("oncegate.json");
    let earlier = std::fs::read(&mark).unwrap();
    std::fs::write(&mark, r#"{"layout":9,"gate":"oncegate","more":true}"#).unwrap();
    refused(&world.gate, &["restore", BACKUPS, "--id", "1"], &["format 9", "formats up to 1"]);
    std::fs::write(&mark, earlier).unwrap();
    let ending = world.gate.call(&["restore", BACKUPS, "--id", "1"]);
    assert_eq!(ending.code, Some(0), "{ending:#?}");
    world.gate.start();
    world.publish_all(&load::mixed(200, "k", 1));
    world.check();
}

#[test]
fn what_is_not_there() {
    let world = with_a_backup();
    refused(&world.gate, &["restore", BACKUPS, "--id", "5"], &["no backup 5 in"]);
    refused(&world.gate, &["restore", "nowhere"], &["there are no backups in nowhere"]);
    refused(&world.gate, &["backup", BACKUPS], &["there is no key table in data/keys"]);
    assert!(!world.gate.table().exists(), "no table was begun");
    let usage = world.gate.call(&["backup", BACKUPS, "--keep", "0"]);
    assert_eq!(usage.code, Some(2), "{usage:#?}");
}

//! Backups whose files are not what was written.

use std::path::{Path, PathBuf};

use crate::support::load;
use crate::{BACKUPS, back_up, backups, files_below, json, refused, restore, with_a_backup};

fn flip(file: &Path, at: usize) {
    let mut bytes = std::fs::read(file).unwrap();
    bytes[at] ^= 0x10;
    std::fs::write(file, bytes).unwrap();
}

fn rocksdbs_files(dir: &Path) -> Vec<PathBuf> {
    let own = |path: &PathBuf| {
        ["private", "shared_checksum"].iter().any(|folder| path.starts_with(dir.join(folder)))
    };
    files_below(dir).into_keys().filter(own).collect()
}

#[test]
fn a_flipped_byte_in_any_file_is_found() {
    let mut world = with_a_backup();
    let files = rocksdbs_files(&backups(&world.gate));
    assert!(files.len() >= 5, "{files:?}");
    for file in &files {
        let length = std::fs::metadata(file).unwrap().len() as usize;
        for at in [0, length / 2, length - 1] {
            flip(file, at);
            refused(&world.gate, &["restore", BACKUPS], &["backup 1 in backups is damaged"]);
            let verified = world.gate.call(&["backup", BACKUPS, "--verify", "--json"]);
            assert_eq!(verified.code, Some(1), "{verified:#?}");
            assert!(verified.stdout.contains("\"damaged\""), "{verified:#?}");
            flip(file, at);
        }
    }
    restore(&world.gate);
    world.gate.start();
    world.publish_all(&load::mixed(200, "k", 1));
    world.check();
}

#[test]
fn a_missing_or_shorter_file_is_found() {
    let world = with_a_backup();
    for file in rocksdbs_files(&backups(&world.gate)) {
        let content = std::fs::read(&file).unwrap();
        std::fs::remove_file(&file).unwrap();
        refused(&world.gate, &["restore", BACKUPS], &["backup 1 in backups is damaged"]);
        std::fs::write(&file, &content[1..]).unwrap();
        refused(&world.gate, &["restore", BACKUPS], &["backup 1 in backups is damaged"]);
        std::fs::write(&file, content).unwrap();
    }
    restore(&world.gate);
}

/// The list of a backup's files, and the note of it: an older backup is never taken in its place.
#[test]
fn a_damaged_list_of_files_is_found() {
    let world = with_a_backup();
    restore(&world.gate);
    back_up(&world.gate);
    crate::lose_table(&world.gate);
    let list = backups(&world.gate).join("meta/2");
    let content = std::fs::read_to_string(&list).unwrap();
    let name = content.find("private/").unwrap();
    let checksum = content.find("crc32 ").unwrap() + "crc32 ".len();
    for at in [name, name + "private/2/".len(), checksum - 3, content.len() - 1] {
        flip(&list, at);
        refused(&world.gate, &["restore", BACKUPS], &["backup 2 in backups is damaged", "--id"]);
        flip(&list, at);
    }
    std::fs::remove_file(&list).unwrap();
    refused(&world.gate, &["restore", BACKUPS], &["backup 2 in backups is damaged"]);
    let listed = json(&world.gate, &["backup", BACKUPS, "--list"]);
    let states: Vec<_> = listed.iter().map(|backup| (&backup["id"], &backup["state"])).collect();
    assert_eq!(states, [(&1.into(), &"there".into()), (&2.into(), &"damaged".into())]);
    let first = json(&world.gate, &["restore", BACKUPS, "--id", "1"]).remove(0);
    assert_eq!(first["id"], 1);
}

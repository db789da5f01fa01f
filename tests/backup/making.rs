//! Backups through the worker and without it, what is new in them, and how many are kept.

use std::os::unix::fs::PermissionsExt;

use crate::support::load;
use crate::support::model::Rules;
use crate::support::server::Server;
use crate::support::world::{World, action};
use crate::support::{streams, wait_until};
use crate::{BACKUPS, back_up, backups, files_below, json, lose_table, restore};

#[test]
fn made_under_load_and_restored_it_accepts_nothing_twice() {
    let mut world = World::started(Rules::default());
    let load = load::mixed(12_000, "k", 7);
    let mut publisher = world.server.client();
    let to_publish = load.clone();
    let publishing = std::thread::spawn(move || {
        to_publish.chunks(500).for_each(|chunk| {
            publisher.publish_all(chunk);
        });
    });
    wait_until("something to be judged", || {
        streams::last_sequence(&mut world.client, "ONCEGATE") > 100
    });
    let mut made = vec![back_up(&world.gate)];
    while !publishing.is_finished() {
        made.push(back_up(&world.gate));
    }
    publishing.join().unwrap();
    world.publish_all(&load::mixed(500, "later", 8));
    world.settle();
    world.gate.kill9();
    lose_table(&world.gate);

    let restored = restore(&world.gate);
    let last = made.last().unwrap();
    assert_eq!(restored["id"], last["id"]);
    assert!(restored["ledger_sequence"].as_u64() >= last["ledger_sequence"].as_u64(), "{restored}");
    assert!(restored["entries_to_replay"].as_u64() >= Some(300), "{restored}");
    world.gate.start();
    world.publish_all(&load);
    world.publish_all(&load::mixed(500, "later", 8));
    let report = world.check();
    assert_eq!(report.judged.len(), 25_000);
    let whole = json(&world.gate, &["backup", BACKUPS, "--verify"]);
    assert_eq!(whole.len(), made.len());
    assert!(whole.iter().all(|backup| backup["state"] == "whole"), "{whole:#?}");
}

#[test]
fn made_without_a_worker() {
    let mut world = World::started(Rules::default());
    world.publish_all(&load::mixed(500, "k", 1));
    world.check();
    world.gate.stop();
    let made = back_up(&world.gate);
    let last = streams::last_sequence(&mut world.client, "ONCEGATE");
    assert_eq!(made["ledger_sequence"], last);
    let before = files_below(&backups(&world.gate));
    lose_table(&world.gate);
    let restored = restore(&world.gate);
    assert_eq!(
        (&restored["ledger_sequence"], &restored["entries_to_replay"]),
        (&last.into(), &0.into())
    );
    assert_eq!(files_below(&backups(&world.gate)), before, "a restore changes no backup");
    world.gate.start();
    world.publish_all(&load::mixed(500, "k", 1));
    world.check();
}

#[test]
fn made_while_the_server_is_away() {
    let mut world = World::started(Rules::default());
    world.publish_all(&load::mixed(200, "k", 1));
    world.check();
    world.server.kill();
    let made = back_up(&world.gate);
    world.server.restart();
    world.reconnect();
    let last = streams::last_sequence(&mut world.client, "ONCEGATE");
    assert_eq!(made["ledger_sequence"], last);
}

#[test]
fn what_has_not_changed_is_not_copied_again() {
    let mut world = World::started(Rules::default());
    world.publish_all(&load::mixed(3_000, "k", 1));
    world.check();
    let first = back_up(&world.gate);
    assert_eq!((&first["new_bytes"], &first["new_files"]), (&first["bytes"], &first["files"]));
    world.act("one more", "1");
    world.settle();
    let second = back_up(&world.gate);
    let new = second["new_bytes"].as_u64().unwrap();
    assert!(new * 2 < second["bytes"].as_u64().unwrap(), "{second}");
    assert!(second["new_files"].as_u64() < second["files"].as_u64(), "{second}");
}

#[test]
fn only_so_many_are_kept() {
    let mut world = World::started(Rules::default());
    for number in 0..4 {
        world.act(&format!("k{number}"), "1");
        world.settle();
        back_up(&world.gate);
    }
    let made = json(&world.gate, &["backup", BACKUPS, "--keep", "2"]).remove(0);
    assert_eq!(made["dropped"], serde_json::json!([1, 2, 3]));
    let kept = json(&world.gate, &["backup", BACKUPS, "--verify"]);
    let ids: Vec<_> = kept.iter().map(|backup| backup["id"].as_u64().unwrap()).collect();
    assert_eq!(ids, [4, 5]);
    world.gate.stop();
    lose_table(&world.gate);
    let older = json(&world.gate, &["restore", BACKUPS, "--id", "4"]).remove(0);
    assert_eq!(older["id"], 4);
    world.gate.start();
    for number in 0..4 {
        world.act(&format!("k{number}"), "1");
    }
    world.check();
}

#[test]
fn the_socket_is_its_users_alone_and_one_of_a_dead_worker_is_replaced() {
    let mut world = World::started(Rules::default());
    let socket = world.gate.table().join("control.sock");
    let mode = std::fs::metadata(&socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    world.gate.kill9();
    assert!(socket.exists());
    world.gate.start();
    back_up(&world.gate);
    world.gate.stop();
    assert!(!socket.exists(), "a worker that stops takes it away");
}

#[test]
fn a_table_with_a_long_path_is_reached_too() {
    let mut world = World::prepared(Server::start(), Rules::default());
    let path = format!("{}/{}/table", "d".repeat(120), "e".repeat(120));
    world.gate.settings.set("table.path", format!("{path:?}"));
    world.gate.start();
    world.publish(&action("actions.pay", "k", "1"));
    world.check();
    assert_eq!(back_up(&world.gate)["id"], 1);
}

#[test]
fn a_relative_directory_is_that_of_the_command() {
    let mut world = World::prepared(Server::start(), Rules::default());
    world.gate.settings.set("table.path", format!("{:?}", world.gate.table()));
    world.gate.start();
    let elsewhere = tempfile::tempdir().unwrap();
    let mut command = world.gate.command(&["backup", BACKUPS]);
    let status = command.current_dir(elsewhere.path()).status().unwrap();
    assert!(status.success());
    assert!(elsewhere.path().join(BACKUPS).join("meta/1").is_file());
    assert!(!backups(&world.gate).exists());
}

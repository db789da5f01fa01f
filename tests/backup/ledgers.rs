//! A restored table and its ledger: one that was trimmed, is too short, is another, or can't be asked.

use crate::support::model::Rules;
use crate::support::raw::Outgoing;
use crate::support::world::{World, action};
use crate::support::{ledger, streams};
use crate::{BACKUPS, back_up, json, lose_table, refused, restore, with_a_backup};

fn payments(numbers: std::ops::Range<usize>) -> Vec<Outgoing> {
    numbers.map(|number| action("actions.pay", &format!("k{number}"), "{}")).collect()
}

/// Stopped after 150 actions; the backup was made after 100.
fn backed_up_in_between() -> World {
    let mut world = World::started(Rules::default());
    world.publish_all(&payments(0..100));
    world.check();
    back_up(&world.gate);
    world.publish_all(&payments(100..150));
    world.check();
    world.gate.stop();
    lose_table(&world.gate);
    world
}

#[test]
fn a_ledger_shorter_than_the_window_is_enough_with_a_backup() {
    let mut world = backed_up_in_between();
    streams::trim(&mut world.client, "ONCEGATE", 60);
    world.act("next", "{}");
    // What it is for: without the backup the gate refuses.
    world.gate.refuses(&["the key table was empty and the ledger can't fill it"]);
    lose_table(&world.gate);

    let restored = restore(&world.gate);
    assert_eq!(restored["entries_to_replay"], 50);
    world.gate.start();
    world.settle();
    let before = ledger::read_all(&mut world.client, "ONCEGATE").len();
    world.publish_all(&payments(0..150));
    world.settle();
    let entries = ledger::read_all(&mut world.client, "ONCEGATE");
    let accepted = |entry: &&ledger::Entry| entry.kind() == "accepted";
    assert_eq!(entries[before..].iter().filter(accepted).count(), 0, "nothing is accepted twice");
    assert_eq!(world.gate.metrics().duplicates(), 150.0);
}

#[test]
fn a_ledger_that_does_not_reach_back_to_the_backup() {
    let mut world = backed_up_in_between();
    streams::trim(&mut world.client, "ONCEGATE", 40);
    refused(
        &world.gate,
        &["restore", BACKUPS],
        &["lost entries 102..=", "was not restored", "--list", "oncegate run"],
    );
    // The gate itself says so too.
    json(&world.gate, &["restore", BACKUPS, "--offline"]);
    world.gate.refuses(&["lost entries 102..="]);
}

#[test]
fn a_ledger_that_is_another() {
    let mut world = with_a_backup();
    let info = streams::info(&mut world.client, "ONCEGATE");
    let length = info["state"]["last_seq"].as_u64().unwrap();
    streams::delete(&mut world.client, "ONCEGATE");
    let arguments = ["restore", BACKUPS];
    refused(
        &world.gate,
        &arguments,
        &["(ledger stream ONCEGATE) there is no such stream", "was not restored"],
    );
    streams::create(&mut world.client, &info["config"]);
    refused(&world.gate, &arguments, &["the ledger went back", "was not restored"]);
    let filler = Outgoing::new("oncegate.accepted.x", &[], b"");
    world.client.publish_all(&vec![filler; length as usize + 50]);
    refused(&world.gate, &arguments, &["the ledger is not the one", "was not restored"]);
}

#[test]
fn without_a_server_only_if_told_so() {
    let mut world = with_a_backup();
    world.server.kill();
    refused(&world.gate, &["restore", BACKUPS], &["--offline", "no NATS server answers"]);
    let ending = world.gate.call(&["restore", BACKUPS, "--offline"]);
    assert_eq!(ending.code, Some(0), "{ending:#?}");
    assert!(ending.stdout.contains("the ledger was not looked at"), "{ending:#?}");
    world.server.restart();
    world.reconnect();
    world.gate.start();
    world.act("k", "1");
    world.check();
}

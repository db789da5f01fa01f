//! More than one worker for one gate.

use serde_json::json;

use crate::ledger_reaches;
use crate::support::model::Rules;
use crate::support::server::Server;
use crate::support::world::World;
use crate::support::{load, streams, wait_until};

#[test]
fn a_second_process_on_the_same_directory_is_refused() {
    let mut world = World::started(Rules::default());
    let mut second = world.gate.twin();
    let table = world.gate.table();
    second.settings.set("table.path", format!("{table:?}"));
    second.refuses(&["data/keys"]);
    world.act("k", "1");
    world.check();
}

#[test]
fn a_second_instance_waits_and_takes_over() {
    let mut world = World::started(Rules::default());
    let mut second = world.gate.twin();
    second.spawn();
    wait_until("the second to answer", || second.ready().is_some());
    world.publish_all(&load::mixed(1_000, "k", 14));
    world.check();
    assert!(world.gate.leads());
    assert!(!second.leads());
    world.gate.kill9();
    world.publish_all(&load::mixed(1_000, "k", 15));
    second.wait_leading();
    second.wait_ready();
    std::mem::swap(&mut world.gate, &mut second);
    world.check();
    second.spawn();
    wait_until("the first to answer", || second.ready().is_some());
    world.publish_all(&load::mixed(1_000, "k", 16));
    world.check();
    assert!(world.gate.leads());
    assert!(!second.leads());
    world.gate.stop();
    second.wait_leading();
    std::mem::swap(&mut world.gate, &mut second);
    world.publish_all(&load::mixed(1_000, "k", 17));
    world.check();
}

#[test]
fn a_leader_that_was_frozen_writes_nothing_more() {
    let mut world = World::started(Rules::default());
    let mut second = world.gate.twin();
    second.spawn();
    world.publish_all(&load::mixed(2_000, "k", 18));
    world.gate.freeze();
    second.wait_leading();
    world.publish_all(&load::mixed(2_000, "k", 19));
    world.gate.thaw();
    wait_until("the old leader to step down", || !world.gate.leads());
    world.gate.must_run();
    std::mem::swap(&mut world.gate, &mut second);
    world.publish_all(&load::mixed(2_000, "k", 20));
    world.check();
    assert!(world.gate.leads());
}

#[test]
fn a_leader_frozen_in_the_middle_of_its_work_is_fenced() {
    let mut world = World::with_input(Rules::default(), &json!({}));
    let mut second = world.gate.twin();
    for round in 0..3 {
        world.publish_all(&load::mixed(10_000, "k", 24 + round));
        let before = streams::last_sequence(&mut world.client, "ONCEGATE");
        world.gate.spawn();
        ledger_reaches(&mut world, before + 500);
        world.gate.freeze();
        second.start();
        second.wait_leading();
        ledger_reaches(&mut world, before + 1_500);
        world.gate.thaw();
        wait_until("the old leader to step down", || !world.gate.leads());
        second.kill9();
        world.gate.kill9();
    }
    world.gate.start();
    world.check();
}

#[test]
fn a_crashed_leader_leads_again_without_waiting_for_its_lease() {
    let mut world = World::prepared(Server::start(), Rules::default());
    world.gate.settings.set("ha.takeover", "\"5m\"");
    world.gate.start();
    world.gate.wait_leading();
    world.act("k", "1");
    world.settle();
    world.gate.kill9();
    world.gate.start();
    world.gate.wait_leading();
    world.act("k", "1");
    world.check();
}

//! A table that is lost, a ledger that is full or holds what the gate did not write.

use serde_json::json;

use crate::ledger_reaches;
use crate::support::gate::Gate;
use crate::support::model::Rules;
use crate::support::raw::Outgoing;
use crate::support::world::{World, action};
use crate::support::{ledger, load, streams, wait_until};

#[test]
fn a_lost_table_is_filled_from_the_ledger() {
    let mut world = World::started(Rules::default());
    world.publish_all(&load::mixed(3_000, "k", 10));
    world.check();
    world.gate.stop();
    std::fs::remove_dir_all(world.gate.table()).unwrap();
    world.publish_all(&load::mixed(3_000, "k", 10));
    world.gate.start();
    let report = world.check();
    let twice = report.judged.len();
    assert_eq!(twice, 6_000);
}

#[test]
fn a_full_ledger_is_waited_for() {
    let mut world = World::with_input(Rules::default(), &json!({}));
    let config = streams::ledger_config(&json!({ "max_msgs": 30 }));
    streams::create(&mut world.client, &config);
    world.gate.start();
    world.publish_all(&load::mixed(200, "k", 21));
    ledger_reaches(&mut world, 30);
    wait_until("the worker to say so", || world.gate.ready() == Some(503));
    assert_eq!(world.gate.get("/healthz").unwrap().0, 200);
    streams::update(&mut world.client, "ONCEGATE", &json!({ "max_msgs": -1 }));
    world.gate.wait_ready();
    world.check();
}

#[test]
fn strangers_in_the_ledger_are_passed_over() {
    let mut world = World::started(Rules::default());
    let strays = [
        Outgoing::new("oncegate.accepted.actions.pay", &[], b"{}"),
        Outgoing::new("oncegate.judged", &[("X", "1")], b""),
        Outgoing::new("oncegate.leading", &[], b"not JSON"),
        Outgoing::new("oncegate.rejected.x", &[("Oncegate-Source", "nonsense")], b""),
        Outgoing::with_block("oncegate.accepted.x", b"N", b"broken"),
        Outgoing::with_block("oncegate.accepted.x", b"NATS/1.0\r\nX: \xff\r\n\r\n", b""),
        Outgoing::new("oncegate.completed.succeeded", &[], b""),
    ];
    for (number, stray) in strays.iter().enumerate() {
        world.publish_all(&load::mixed(50, "k", number as u64));
        let ack = world.client.publish(stray);
        assert_eq!(ack.stream, "ONCEGATE");
        world.foreign(ack.sequence);
        world.publish_all(&load::mixed(50, "k", number as u64 + 100));
    }
    world.check();
    let foreign = |gate: &Gate| gate.metrics().sum("oncegate_foreign_entries_total", &[]);
    wait_until("all of them to be counted", || foreign(&world.gate) == strays.len() as f64);
    world.gate.kill9();
    let ack = world.client.publish(&strays[0]);
    world.foreign(ack.sequence);
    world.gate.start();
    world.publish_all(&load::mixed(100, "k", 3));
    world.check();
    world.gate.stop();
    std::fs::remove_dir_all(world.gate.table()).unwrap();
    world.gate.start();
    world.publish_all(&load::mixed(100, "k", 3));
    world.check();
}

#[test]
fn duplicates_at_the_end_are_closed_by_a_marker() {
    let mut world = World::started(Rules::default());
    world.act("k", "1");
    for _ in 0..3 {
        world.act("k", "1.0");
        world.settle();
    }
    let report = world.check();
    assert!(report.entries_of("judged") >= 1);
    let last = ledger::last_named(&mut world.client, "ONCEGATE").unwrap();
    assert_eq!(last.sequence, 4);
}

#[test]
fn a_long_stretch_of_duplicates_is_counted_whole() {
    let mut world = World::with_input(Rules::default(), &json!({}));
    world.act("k", "1");
    world.publish_all(&vec![action("actions.pay", "k", "1.0"); 10_000]);
    world.gate.start();
    let report = world.check();
    assert!(report.entries_of("judged") < 100, "markers are few");
    assert_eq!(world.gate.metrics().duplicates(), 10_000.0);
}

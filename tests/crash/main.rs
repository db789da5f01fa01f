//! Whatever crashes, restarts, is replaced or goes away: the ledger equals the model.
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

mod inputs;
mod instances;
mod ledgers;
mod servers;

use serde_json::json;

use support::model::Rules;
use support::model::Verdict::{Accepted, Duplicate};
use support::world::{Report, World, action};
use support::{load, streams, wait_until};

/// Waits until the ledger holds this many messages.
fn ledger_reaches(world: &mut World, sequence: u64) {
    wait_until("the ledger to grow", || {
        streams::last_sequence(&mut world.client, "ONCEGATE") >= sequence
    });
}

#[test]
fn killed_again_and_again_in_the_middle_of_twenty_thousand() {
    let mut world = World::with_input(Rules::default(), &json!({}));
    world.publish_all(&load::mixed(20_000, "k", 1));
    for target in [500, 3_000, 5_500, 8_000, 10_500, 13_000] {
        world.gate.spawn();
        ledger_reaches(&mut world, target);
        world.gate.kill9();
    }
    world.gate.start();
    world.check();
}

#[test]
fn killed_again_and_again_on_a_work_queue() {
    let fields = json!({ "retention": "workqueue" });
    let mut world = World::with_input(Rules::default(), &fields);
    world.publish_all(&load::mixed(10_000, "k", 2));
    world.capture();
    for target in [500, 2_500, 4_500, 6_000] {
        world.gate.spawn();
        ledger_reaches(&mut world, target);
        world.gate.kill9();
    }
    world.gate.start();
    world.check();
    wait_until("the queue to be empty", || {
        streams::info(&mut world.client, "ACTIONS")["state"]["messages"] == 0
    });
}

#[test]
fn killed_among_nothing_but_duplicates() {
    let mut world = World::started(Rules::default());
    let first = world.act("k", "{}");
    for _ in 0..4 {
        world.publish_all(&vec![action("actions.pay", "k", "{ }"); 1_500]);
        world.gate.kill9();
        world.gate.start();
    }
    let report = world.check();
    assert_eq!(report.entries_of("accepted"), 1);
    assert_eq!(report.verdict(first), Accepted);
    assert_eq!(report.count(|verdict| verdict == Duplicate), 6_000);
}

#[test]
fn asked_to_stop_in_the_middle() {
    let mut world = World::with_input(Rules::default(), &json!({}));
    world.publish_all(&load::mixed(20_000, "k", 4));
    world.gate.spawn();
    ledger_reaches(&mut world, 2_000);
    let ending = world.gate.term();
    assert_eq!(ending.code, Some(0), "{ending:#?}");
    world.gate.spawn();
    ledger_reaches(&mut world, 6_000);
    let ending = world.gate.interrupt();
    assert_eq!(ending.code, Some(0), "{ending:#?}");
    world.gate.start();
    world.check();
}

#[test]
fn a_restart_alone_judges_nothing_again() {
    let mut world = World::started(Rules::default());
    world.publish_all(&load::mixed(500, "k", 5));
    let before = world.check();
    for _ in 0..3 {
        world.gate.restart();
    }
    let after = world.check();
    let verdicts = |report: &Report| report.entries_of("accepted") + report.entries_of("rejected");
    assert_eq!(verdicts(&before), verdicts(&after));
    let metrics = world.gate.metrics();
    assert_eq!(metrics.accepted() + metrics.duplicates() + metrics.rejected(), 0.0);
    assert_eq!(metrics.sum("oncegate_input_missed_total", &[]), 0.0);
}

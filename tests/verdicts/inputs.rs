//! Kinds of input streams, long loads, and what the metrics say of them.

use serde_json::json;

use crate::support::model::Rules;
use crate::support::model::Verdict::{self, Accepted, Duplicate, Rejected};
use crate::support::server::{Server, V2_14};
use crate::support::world::{World, action};
use crate::support::{load, streams, wait_until};

#[test]
fn a_long_mixed_load_is_judged_in_its_order() {
    let mut world = World::started(Rules::default());
    for round in 0..4 {
        world.publish_all(&load::mixed(2_000, "k", round));
    }
    let report = world.check();
    let metrics = world.gate.metrics();
    let of = |verdict: fn(Verdict) -> bool| report.count(verdict) as f64;
    assert_eq!(metrics.accepted(), of(|verdict| verdict == Accepted));
    assert_eq!(metrics.duplicates(), of(|verdict| verdict == Duplicate));
    assert_eq!(metrics.rejected(), of(|verdict| matches!(verdict, Rejected(_))));
    assert_eq!(metrics.sum("oncegate_redeliveries_total", &[]), 0.0);
    assert_eq!(metrics.sum("oncegate_input_missed_total", &[]), 0.0);
    assert_eq!(metrics.sum("oncegate_input_sequence", &[]), 8_000.0);
}

#[test]
fn the_same_on_the_older_server() {
    let mut world = World::prepared(Server::start_version(V2_14), Rules::default());
    world.gate.start();
    world.publish_all(&load::mixed(2_000, "k", 7));
    world.check();
    world.gate.restart();
    world.publish_all(&load::mixed(500, "k", 8));
    world.check();
}

#[test]
fn a_work_queue_as_input() {
    let mut world = World::with_input(Rules::default(), &json!({ "retention": "workqueue" }));
    let messages = load::mixed(1_500, "k", 3);
    world.publish_all(&messages[..1_000]);
    world.capture();
    world.gate.start();
    world.check();
    wait_until("the queue to be empty", || {
        streams::info(&mut world.client, "ACTIONS")["state"]["messages"] == 0
    });
    world.gate.kill9();
    world.publish_all(&messages[1_000..]);
    world.capture();
    world.gate.start();
    world.check();
    let metrics = world.gate.metrics();
    assert_eq!(metrics.sum("oncegate_input_missed_total", &[]), 0.0);
}

#[test]
fn only_the_configured_subjects_of_the_input_are_read() {
    let fields = json!({ "subjects": ["actions.>", "others.>"] });
    let mut world = World::with_input(Rules::default(), &fields);
    world.gate.start();
    for number in 0..20 {
        world.act(&format!("k{number}"), "{}");
        world.publish(&action("others.pay", "k", "{}"));
    }
    let last = world.act("last", "{}");
    let report = world.check();
    assert_eq!(report.entries_of("accepted"), 21);
    assert_eq!(report.entry(last).source().unwrap().sequence, 41);
    let metrics = world.gate.metrics();
    assert_eq!(metrics.sum("oncegate_input_missed_total", &[]), 0.0);
}

#[test]
fn metrics_are_all_there() {
    let mut world = World::started(Rules::default());
    world.publish_all(&load::mixed(100, "k", 1));
    world.check();
    let metrics = world.gate.metrics();
    let counters = [
        "oncegate_actions_total",
        "oncegate_redeliveries_total",
        "oncegate_input_missed_total",
        "oncegate_foreign_entries_total",
        "oncegate_recoveries_total",
    ];
    let gauges = [
        "oncegate_input_sequence",
        "oncegate_input_lag_messages",
        "oncegate_ledger_sequence",
        "oncegate_inflight_actions",
        "oncegate_leading",
        "oncegate_table_keys",
        "oncegate_table_bytes",
        "oncegate_build_info",
    ];
    for name in counters {
        assert_eq!(metrics.kind(name), Some("counter"), "{name}");
    }
    for name in gauges {
        assert_eq!(metrics.kind(name), Some("gauge"), "{name}");
        assert!(metrics.has(name), "{name}");
    }
    for name in ["oncegate_decision_duration_seconds", "oncegate_batch_actions"] {
        assert_eq!(metrics.kind(name), Some("histogram"), "{name}");
        assert!(metrics.sum(&format!("{name}_count"), &[]) > 0.0, "{name}");
        let all = metrics.sum(&format!("{name}_bucket"), &[("le", "+Inf")]);
        assert_eq!(all, metrics.sum(&format!("{name}_count"), &[]), "{name}");
        assert!(metrics.sum(&format!("{name}_sum"), &[]) >= 0.0, "{name}");
    }
    assert_eq!(metrics.sum("oncegate_leading", &[]), 1.0);
    assert_eq!(metrics.sum("oncegate_input_sequence", &[]), 100.0);
    let last = streams::last_sequence(&mut world.client, "ONCEGATE");
    assert_eq!(metrics.sum("oncegate_ledger_sequence", &[]), last as f64);
    assert!(metrics.sum("oncegate_table_keys", &[]) > 0.0);
    assert!(metrics.sum("process_resident_memory_bytes", &[]) > 0.0);
    assert_eq!(world.gate.get("/healthz").unwrap().0, 200);
    assert_eq!(world.gate.get("/readyz").unwrap().0, 200);
    assert_eq!(world.gate.get("/nothing").unwrap().0, 404);
}

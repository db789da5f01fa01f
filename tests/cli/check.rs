//! `oncegate check`.

use serde_json::Value;

use crate::support::model::Rules;
use crate::support::raw::Outgoing;
use crate::support::server::Server;
use crate::support::streams;
use crate::support::world::World;
use crate::{has_fields, object, objects};

#[test]
fn check_says_what_it_found() {
    let world = World::started(Rules::default());
    let shown = world.gate.call(&["check"]);
    assert_eq!(shown.code, Some(0), "{shown:#?}");
    assert!(shown.stdout.contains("ACTIONS"), "{shown:#?}");
    assert!(shown.stdout.contains("ONCEGATE"), "{shown:#?}");
    for finding in objects(&world.gate.call(&["check", "--json"])) {
        has_fields(&finding, &["check", "status", "detail"]);
        assert!(finding["status"] == "ok" || finding["status"] == "warn", "{finding}");
    }
}

#[test]
fn check_writes_nothing() {
    let mut world = World::prepared(Server::start(), Rules::default());
    let before = world.gate.call(&["check"]);
    assert_eq!(before.code, Some(0), "{before:#?}");
    let names = world.client.api("STREAM.NAMES", &Value::Null);
    assert_eq!(names["total"], 0, "{names}");
    world.gate.start();
    world.act("k", "1");
    world.check();
    let last = streams::last_sequence(&mut world.client, "ONCEGATE");
    assert_eq!(world.gate.call(&["check"]).code, Some(0));
    assert_eq!(streams::last_sequence(&mut world.client, "ONCEGATE"), last);
    assert_eq!(streams::last_sequence(&mut world.client, "ACTIONS"), 1);
}

#[test]
fn check_warns_of_message_ids_that_the_input_acts_on() {
    let fields = serde_json::json!({ "duplicate_window": 120_000_000_000_u64 });
    let mut world = World::with_input(Rules::default(), &fields);
    let warns = |world: &World| {
        objects(&world.gate.call(&["check", "--json"])).iter().any(|finding| {
            finding["status"] == "warn" && finding.to_string().contains("Nats-Msg-Id")
        })
    };
    world.act("k", "1");
    world.publish(&Outgoing::new("actions.pay", &[("Nats-Msg-Id", "m")], b"1"));
    assert!(warns(&world));
}

#[test]
fn check_fails_where_run_would() {
    let mut world = World::with_input(Rules::default(), &serde_json::json!({}));
    let unfit = streams::ledger_config(&serde_json::json!({ "discard": "old" }));
    streams::create(&mut world.client, &unfit);
    let ending = world.gate.call(&["check", "--json"]);
    assert_eq!(ending.code, Some(1), "{ending:#?}");
    let findings: Vec<Value> = ending.stdout.lines().map(object).collect();
    let failed = findings.iter().find(|finding| finding["status"] == "fail");
    let detail = failed.expect("a failure")["detail"].as_str().unwrap();
    assert!(detail.contains("discard"), "{detail}");
    world.server.kill();
    let away = world.gate.call(&["check"]);
    assert_eq!(away.code, Some(1), "{away:#?}");
}

//! A server that dies, hangs, or is not there yet.

use serde_json::{Value, json};

use crate::ledger_reaches;
use crate::support::model::Rules;
use crate::support::model::Verdict::Duplicate;
use crate::support::server::Server;
use crate::support::world::World;
use crate::support::{load, streams, wait_until};

#[test]
fn a_server_killed_in_the_middle() {
    let mut world = World::with_input(Rules::default(), &json!({}));
    world.publish_all(&load::mixed(20_000, "k", 6));
    world.gate.start();
    for target in [2_000, 6_000, 10_000] {
        ledger_reaches(&mut world, target);
        world.server.restart();
        world.reconnect();
    }
    world.check();
    world.publish_all(&load::mixed(500, "k", 7));
    world.check();
}

#[test]
fn a_server_that_is_away_for_a_while() {
    let mut world = World::started(Rules::default());
    world.act("k", "1");
    world.settle();
    world.server.kill();
    wait_until("the worker to notice", || world.gate.ready() == Some(503));
    let (_, why) = world.gate.get("/readyz").unwrap();
    assert_eq!(why.trim().lines().count(), 1, "{why}");
    assert_eq!(world.gate.get("/healthz").unwrap().0, 200);
    world.server.restart();
    world.reconnect();
    world.gate.wait_ready();
    let again = world.act("k", "1");
    assert_eq!(world.check().verdict(again), Duplicate);
}

#[test]
fn a_worker_that_comes_before_its_server() {
    let mut world = World::prepared(Server::start(), Rules::default());
    world.server.kill();
    world.gate.spawn();
    wait_until("the worker to say that it waits", || world.gate.ready() == Some(503));
    assert_eq!(world.gate.get("/healthz").unwrap().0, 200);
    world.server.restart();
    world.reconnect();
    world.gate.wait_ready();
    world.act("k", "1");
    world.check();
}

#[test]
fn a_server_that_answers_nothing_for_a_while() {
    let mut world = World::started(Rules::default());
    world.publish_all(&load::mixed(3_000, "k", 8));
    world.server.freeze();
    wait_until("the worker to notice", || world.gate.ready() == Some(503));
    world.server.thaw();
    world.gate.wait_ready();
    world.publish_all(&load::mixed(500, "k", 9));
    world.check();
}

#[test]
fn the_gates_own_consumer_may_vanish() {
    let mut world = World::started(Rules::default());
    world.publish_all(&load::mixed(300, "k", 12));
    world.settle();
    for round in 0..3 {
        let names = world.client.api("CONSUMER.NAMES.ACTIONS", &Value::Null);
        for name in names["consumers"].as_array().unwrap() {
            let call = format!("CONSUMER.DELETE.ACTIONS.{}", name.as_str().unwrap());
            streams::must(world.client.api(&call, &Value::Null));
        }
        world.publish_all(&load::mixed(300, "k", 13 + round));
        world.settle();
    }
    world.check();
}

//! Who waits for a result is told of it, even where its acknowledgement never came: by the recovery.

use oncegate::worker::kill::{Point, Step};
use serde_json::{Value, json};

use crate::frozen::FREEZE_AT;
use crate::scene::is_frozen;
use crate::support::model::Rules;
use crate::support::raw::Outgoing;
use crate::support::server::Server;
use crate::support::wait_until;
use crate::support::world::{World, action, result};

const RUNS: usize = 200;

/// In the midst of a batch, of which nothing is acknowledged yet, somebody else writes into the ledger.
#[test]
fn results_that_a_recovery_finds_are_told() {
    let mut world = World::prepared(Server::start(), Rules::default());
    let actions: Vec<Outgoing> =
        (0..RUNS).map(|n| action("actions.pay", &format!("k{n}"), "1")).collect();
    world.gate.start();
    world.publish_all(&actions);
    let report = world.check();
    world.gate.stop();
    let runs: Vec<String> = report
        .entries
        .iter()
        .filter_map(|entry| entry.header("Oncegate-Run-Id").map(String::from))
        .collect();
    let point = Point::After(Step::AppendMiddle).to_string();
    world.gate.env = vec![(FREEZE_AT.into(), format!("{point}:20"))];
    world.gate.start();
    wait_until("the service", || {
        let answer = world.client.request(&Outgoing::new("$SRV.PING.oncegate", &[], b""));
        !answer.payload.is_empty()
    });
    let mut caller = world.server.client();
    caller.subscribe("_INBOX.waiting.>");
    for n in 0..RUNS {
        let ask = json!({ "key": format!("k{n}"), "wait_ms": 60_000 }).to_string();
        let ask = Outgoing::new("oncegate.svc.lookup", &[], ask.as_bytes());
        caller.send(&ask, Some(&format!("_INBOX.waiting.{n}")));
    }
    wait_until("all to wait", || {
        world.gate.metrics().sum("oncegate_lookup_waiters", &[]) == RUNS as f64
    });
    let results: Vec<Outgoing> = runs
        .iter()
        .enumerate()
        .map(|(n, id)| result(&format!("k{n}"), id, "succeeded", b"1"))
        .collect();
    world.report_all(&results);
    wait_until("it to be frozen", || is_frozen(&world.gate));
    let stray = Outgoing::new("oncegate.accepted.actions.pay", &[], b"{}");
    let ack = world.client.publish(&stray);
    world.foreign(ack.sequence);
    world.gate.thaw();
    for _ in 0..RUNS {
        let answer: Value = serde_json::from_slice(&caller.delivery().unwrap().payload).unwrap();
        assert_eq!(answer["state"], "succeeded", "{answer}");
    }
    world.check();
}

//! Who waits for a result is told of it, even where its acknowledgement is lost: by the recovery.

use oncegate::worker::kill::{Point, Step};
use serde_json::{Value, json};

use crate::frozen::FREEZE_AT;
use crate::scene::is_frozen;
use crate::support::model::Rules;
use crate::support::raw::Outgoing;
use crate::support::server::Server;
use crate::support::wait_until;
use crate::support::world::{World, result};

const CALLER: &str = "_INBOX.waiting.caller";

#[test]
fn a_result_that_a_recovery_finds_is_told() {
    let mut world = World::prepared(Server::start(), Rules::default());
    // The action is the first that ends a batch; the result is the second.
    let point = Point::After(Step::AppendEnd).to_string();
    world.gate.env = vec![(FREEZE_AT.into(), format!("{point}:2"))];
    world.gate.start();
    let sequence = world.act("k", "1");
    let report = world.check();
    let id = report.entry(sequence).header("Oncegate-Run-Id").unwrap().to_string();
    wait_until("the service", || {
        let answer = world.client.request(&Outgoing::new("$SRV.PING.oncegate", &[], b""));
        !answer.payload.is_empty()
    });
    let ask = json!({ "key": "k", "wait_ms": 60_000 }).to_string();
    let ask = Outgoing::new("oncegate.svc.lookup", &[], ask.as_bytes());
    world.client.send(&ask, Some(CALLER));
    wait_until("it to wait", || world.gate.metrics().sum("oncegate_lookup_waiters", &[]) == 1.0);
    world.report(&result("k", &id, "succeeded", b"1"));
    wait_until("it to be frozen", || is_frozen(&world.gate));
    world.server.kill();
    world.server.restart();
    world.reconnect();
    let mut caller = world.server.client();
    caller.subscribe(CALLER);
    world.gate.thaw();
    let answer: Value = serde_json::from_slice(&caller.delivery().unwrap().payload).unwrap();
    assert_eq!(answer["state"], "succeeded");
    world.check();
}

//! The look-up service.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::asking::{Answer, Caller, catch_up, known, look_up, look_up_bytes, run, unknown};
use crate::support::gate::Gate;
use crate::support::load::Dice;
use crate::support::model::Rules;
use crate::support::raw::{Client, Outgoing};
use crate::support::server::Server;
use crate::support::world::{World, result};
use crate::support::{wait_for, wait_until};

const WAIT_MS: u64 = 60_000;

fn request(key: &str, wait_ms: u64) -> Value {
    json!({ "key": key, "scope": [], "wait_ms": wait_ms })
}

fn waiters(gate: &Gate) -> f64 {
    gate.metrics().sum("oncegate_lookup_waiters", &[])
}

/// One worker that leads and one that stands by, warm.
fn pair() -> (World, Gate) {
    let mut world = World::prepared(Server::start(), Rules::default());
    world.gate.settings.set("ha.takeover", "\"1s\"");
    world.gate.start();
    world.gate.wait_leading();
    let mut standby = world.gate.twin();
    standby.start();
    (world, standby)
}

#[test]
fn a_known_key_shows_its_run_and_an_unknown_one_is_404() {
    let rules = Rules { scope: vec!["header:Tenant"], ..Rules::default() };
    let mut world = World::started(rules);
    let headers = [("Idempotency-Key", "k"), ("Tenant", "a")];
    let sequence = world.publish(&Outgoing::new("actions.pay", &headers, b"1"));
    let report = world.check();
    let entry = report.entry(sequence);
    catch_up(&mut world);
    let answer = look_up(&mut world, &json!({ "key": "k", "scope": ["a"] }));
    let first = json!({
        "sequence": sequence, "ledger_sequence": entry.sequence, "time": answer.body["first"]["time"],
    });
    let expected = json!({
        "key": "k", "scope": ["a"], "run_id": entry.header("Oncegate-Run-Id"), "state": "pending",
        "reason": null, "detail": null, "first": first, "result": null,
        "expires_at": answer.body["expires_at"],
    });
    assert_eq!(answer.body, expected);
    for other in
        [json!({ "key": "k" }), json!({ "key": "k", "scope": ["b"] }), json!({ "key": "x" })]
    {
        let (code, why) = look_up(&mut world, &other).error().expect("an error");
        assert_eq!(code, 404, "{other}: {why}");
        assert!(why.contains("not known"), "{why}");
    }
}

#[test]
fn a_bad_request_is_told_what_is_wrong() {
    let mut world = World::started(Rules::default());
    let long = json!({ "key": "k".repeat(256) }).to_string();
    let bad: [(&[u8], &str); 12] = [
        (b"", "request"),
        (b"k", "request"),
        (b"{}", "key"),
        (b"{\"key\":7}", "string"),
        (b"{\"key\":\"k\",\"scope\":\"a\"}", "sequence"),
        (b"{\"key\":\"k\",\"wait\":1}", "wait"),
        (b"{\"key\":\"k\",\"wait_ms\":-1}", "-1"),
        (b"{\"key\":\"k\",\"wait_ms\":60001}", "60000"),
        (b"{\"key\":\"\"}", "key"),
        (b"{\"key\":\" k\"}", "white space"),
        (b"{\"key\":\"k\",\"scope\":[\"a\\u0000\"]}", "scope"),
        (long.as_bytes(), "255"),
    ];
    for (request, word) in bad {
        let shown = String::from_utf8_lossy(request);
        let (code, why) = look_up_bytes(&mut world, request).error().expect(&shown);
        assert_eq!(code, 400, "{shown}: {why}");
        assert!(why.to_lowercase().contains(word), "{shown}: {why}");
    }
    look_up_bytes(&mut world, b"\xff\xfe{\"key\":\"\xc3\x28\"}").error().expect("an error");
    run(&mut world, "k");
    known(&mut world, "k");
}

#[test]
fn whoever_waits_is_answered_when_the_result_comes() {
    let mut world = World::started(Rules::default());
    let mut caller = Caller::of(&world);
    let id = run(&mut world, "k");
    caller.ask("waiting", &request("k", WAIT_MS));
    wait_until("it to wait", || waiters(&world.gate) == 1.0);
    caller.has_nothing();
    world.report(&result("k", &id, "failed", b"no money"));
    let answer = caller.receipt();
    assert_eq!(answer.body["state"], "failed");
    assert_eq!(answer.body["result"]["data_base64"], "bm8gbW9uZXk=");
    // There is a result: no wait.
    assert_eq!(look_up(&mut world, &request("k", WAIT_MS)).body, answer.body);
    wait_until("nobody to wait", || waiters(&world.gate) == 0.0);
    world.check();
}

#[test]
fn a_wait_ends_with_its_time_or_when_the_key_is_given_back() {
    let mut world = World::started(Rules::default());
    let mut caller = Caller::of(&world);
    let id = run(&mut world, "k");
    let pending = look_up(&mut world, &request("k", 1));
    assert_eq!(pending.body["state"], "pending");
    caller.ask("waiting", &request("k", WAIT_MS));
    wait_until("it to wait", || waiters(&world.gate) == 1.0);
    world.report(&result("k", &id, "retry", b""));
    assert_eq!(caller.receipt().error().map(|(code, _)| code), Some(404));
    // A key that is not there is not waited for.
    unknown(&mut world, "k");
    let answer = look_up(&mut world, &request("k", WAIT_MS));
    assert_eq!(answer.error().map(|(code, _)| code), Some(404));
}

/// Also where results become known by a recovery: somebody writes into the ledger all the time.
#[test]
fn thousands_of_waiters_are_all_answered() {
    const KEYS: usize = 500;
    const WAITERS: usize = 5_000;
    let mut world = World::started(Rules::default());
    let mut caller = Caller::of(&world);
    let keys: Vec<String> = (0..KEYS).map(|n| format!("k{n}")).collect();
    let actions: Vec<Outgoing> =
        keys.iter().map(|key| crate::support::world::action("actions.pay", key, "1")).collect();
    world.publish_all(&actions);
    let report = world.check();
    let runs: Vec<String> = report
        .entries
        .iter()
        .filter_map(|entry| entry.header("Oncegate-Run-Id").map(String::from))
        .collect();
    for waiter in 0..WAITERS {
        caller.ask(&format!("waiting.{waiter}"), &request(&keys[waiter % KEYS], WAIT_MS));
    }
    wait_until("all to wait", || waiters(&world.gate) == WAITERS as f64);
    let results: Vec<Outgoing> = (keys.iter().zip(&runs).enumerate())
        .map(|(n, (key, id))| result(key, id, "succeeded", n.to_string().as_bytes()))
        .collect();
    let mut dice = Dice::new(1);
    for some in results.chunks(25) {
        world.report_all(some);
        if dice.roll(2) == 0 {
            let stray = Outgoing::new("oncegate.accepted.actions.pay", &[], b"{}");
            let ack = world.client.publish(&stray);
            world.foreign(ack.sequence);
        }
    }
    let mut answered = BTreeSet::new();
    while answered.len() < WAITERS {
        let answer = caller.receipt();
        let waiter: usize = answer.subject.rsplit('.').next().unwrap().parse().unwrap();
        assert_eq!(answer.body["state"], "succeeded", "{answer:?}");
        assert_eq!(answer.body["result"]["data"], waiter % KEYS, "{answer:?}");
        assert!(answered.insert(waiter), "answered twice: {answer:?}");
    }
    world.check();
}

/// What the service answers a monitoring request.
fn monitored(client: &mut Client, subject: &str) -> Value {
    wait_for("an answer", || {
        let answer = client.request(&Outgoing::new(subject, &[], b""));
        let nobody = answer.headers.is_some_and(|block| block.starts_with(b"NATS/1.0 503"));
        (!nobody).then(|| serde_json::from_slice(&answer.payload).unwrap())
    })
}

#[test]
fn the_service_is_listed_with_its_description_and_statistics() {
    let mut world = World::started(Rules::default());
    world.act("k", "1");
    world.settle();
    known(&mut world, "k");
    unknown(&mut world, "x");
    let info = monitored(&mut world.client, "$SRV.INFO.oncegate");
    assert_eq!(info["type"], "io.nats.micro.v1.info_response");
    assert_eq!(
        (&info["name"], &info["version"]),
        (&json!("oncegate"), &json!(env!("CARGO_PKG_VERSION")))
    );
    assert!(info["description"].as_str().unwrap().contains("Oncegate"), "{info}");
    let endpoint = &info["endpoints"][0];
    assert_eq!(
        (&endpoint["name"], &endpoint["subject"]),
        (&json!("lookup"), &json!("oncegate.svc.lookup"))
    );
    assert!(endpoint["metadata"]["description"].as_str().unwrap().contains("wait_ms"), "{info}");
    let ping = monitored(&mut world.client, "$SRV.PING");
    assert_eq!((&ping["name"], &ping["id"]), (&info["name"], &info["id"]));
    let stats = monitored(&mut world.client, "$SRV.STATS.oncegate");
    let of_lookup = &stats["endpoints"][0];
    assert_eq!(
        (&of_lookup["num_requests"], &of_lookup["num_errors"]),
        (&json!(2), &json!(1)),
        "{stats}"
    );
    assert!(of_lookup["last_error"].as_str().unwrap().contains("404"), "{stats}");
}

#[test]
fn a_standby_does_not_answer() {
    let (mut world, mut standby) = pair();
    let info = |world: &mut World| {
        let mut client = world.server.client();
        client.subscribe("_INBOX.all.>");
        client.send(&Outgoing::new("$SRV.PING.oncegate", &[], b""), Some("_INBOX.all.1"));
        client.send(&Outgoing::new("_INBOX.all.end", &[], b""), None);
        let mut found = BTreeSet::new();
        loop {
            let delivery = client.delivery().unwrap();
            if delivery.subject == b"_INBOX.all.end" {
                return found;
            }
            let body: Value = serde_json::from_slice(&delivery.payload).unwrap_or_default();
            found.extend(body["id"].as_str().map(String::from));
        }
    };
    run(&mut world, "k");
    known(&mut world, "k");
    let ids: BTreeSet<String> = (0..50).flat_map(|_| info(&mut world)).collect();
    assert!(ids.len() <= 1, "{ids:?}");
    world.gate.stop();
    standby.wait_leading();
    known(&mut world, "k");
    let others: BTreeSet<String> = (0..50).flat_map(|_| info(&mut world)).collect();
    assert!(others.len() <= 1 && others.is_disjoint(&ids), "{ids:?} {others:?}");
}

/// Asks again where it is told to.
fn answered_in_the_end(world: &mut World, answer: Answer) {
    let (code, why) = answer.error().expect("it was not told");
    assert_eq!(code, 503, "{why}");
    assert!(why.contains("ask again"), "{why}");
    known(world, "k");
}

#[test]
fn a_stop_tells_whoever_waits() {
    let (mut world, mut standby) = pair();
    let mut caller = Caller::of(&world);
    run(&mut world, "k");
    caller.ask("waiting", &request("k", WAIT_MS));
    wait_until("it to wait", || waiters(&world.gate) == 1.0);
    world.gate.stop();
    let answer = caller.receipt();
    standby.wait_leading();
    answered_in_the_end(&mut world, answer);
}

#[test]
fn a_take_over_tells_whoever_waits() {
    let (mut world, mut standby) = pair();
    let mut caller = Caller::of(&world);
    run(&mut world, "k");
    caller.ask("waiting", &request("k", WAIT_MS));
    wait_until("it to wait", || waiters(&world.gate) == 1.0);
    world.gate.freeze();
    standby.wait_leading();
    world.gate.thaw();
    let answer = caller.receipt();
    answered_in_the_end(&mut world, answer);
}

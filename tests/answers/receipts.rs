//! Receipts: after the commit, to whom asked for one, and nothing of the original for who is rejected.

use serde_json::{Value, json};

use crate::asking::{BOX, Caller, asking, asking_at, known, place, run};
use crate::support::model::Rules;
use crate::support::raw::Outgoing;
use crate::support::world::{World, action, result};
use crate::support::{ledger, streams, wait_until};

fn pay(key: &str, payload: &str) -> Outgoing {
    action("actions.pay", key, payload)
}

#[test]
fn an_accepted_action_and_its_duplicates_name_the_same_run() {
    let mut world = World::started(Rules::default());
    let mut caller = Caller::of(&world);
    let first = world.publish(&asking(pay("k", "{\"amount\":10}")));
    let accepted = caller.receipt_of("accepted");
    let report = world.check();
    let entry = report.entry(first);
    let at = place(&mut world, "ACTIONS", first);
    let expected = json!({
        "verdict": "accepted", "replayed": false, "key": "k", "scope": [],
        "run_id": entry.header("Oncegate-Run-Id"), "state": "pending", "reason": null, "detail": null,
        "source": at,
        "first": { "sequence": first, "time": at["time"], "ledger_sequence": entry.sequence },
        "expires_at": accepted["expires_at"], "result": null,
    });
    assert_eq!(accepted, expected);
    let time: jiff::Timestamp = at["time"].as_str().unwrap().parse().unwrap();
    let expires: jiff::Timestamp = accepted["expires_at"].as_str().unwrap().parse().unwrap();
    assert_eq!(expires.duration_since(time).as_secs(), 7 * 86_400);

    let again = world.publish(&asking(pay("k", "{ \"amount\": 10.0 }")));
    let duplicate = caller.receipt_of("duplicate");
    let mut expected = expected;
    expected["verdict"] = json!("duplicate");
    expected["replayed"] = json!(true);
    expected["source"] = place(&mut world, "ACTIONS", again);
    assert_eq!(duplicate, expected);
    world.check();
    wait_until("receipts to be counted", || {
        world.gate.metrics().sum("oncegate_receipts_total", &[]) == 2.0
    });
}

#[test]
fn a_rejected_caller_learns_nothing_of_the_original() {
    let mut world = World::started(Rules::default());
    let mut caller = Caller::of(&world);
    let id = run(&mut world, "k");
    world.report(&result("k", &id, "succeeded", b"\"the secret of the first\""));
    world.settle();
    let sequence = world.publish(&asking(pay("k", "another")));
    let rejected = caller.receipt_of("rejected");
    let expected = json!({
        "verdict": "rejected", "replayed": false, "key": "k", "scope": [], "run_id": null,
        "state": null, "reason": "payload_mismatch", "detail": rejected["detail"],
        "source": place(&mut world, "ACTIONS", sequence), "first": null, "expires_at": null,
        "result": null,
    });
    assert_eq!(rejected, expected);
    let text = rejected.to_string();
    let stamp = known(&mut world, "k")["first"]["time"].as_str().unwrap().to_string();
    for secret in [id.as_str(), "the secret", stamp.as_str(), "succeeded"] {
        assert!(!text.contains(secret), "{secret}: {text}");
    }
    for (message, reason) in [
        (Outgoing::new("actions.pay", &[], b"x"), "missing_key"),
        (pay(&"k".repeat(256), "x"), "invalid_key"),
    ] {
        world.publish(&asking(message));
        let rejected = caller.receipt_of("rejected");
        assert_eq!(rejected["reason"], reason, "{rejected}");
        assert_eq!(rejected["key"], Value::Null, "{rejected}");
        assert!(rejected["detail"].as_str().unwrap().contains(' '), "{rejected}");
    }
    world.check();
}

#[test]
fn scoped_keys_and_actions_without_a_key_are_answered_too() {
    let scope = vec!["subject:2", "header:Tenant"];
    let rules = Rules { scope, forward_missing: true, ..Rules::default() };
    let mut world = World::started(rules);
    let mut caller = Caller::of(&world);
    let headers = [("Idempotency-Key", "k"), ("Tenant", "a b")];
    world.publish(&asking(Outgoing::new("actions.pay", &headers, b"1")));
    let accepted = caller.receipt_of("accepted");
    assert_eq!(accepted["scope"], json!(["pay", "a b"]));
    world.publish(&asking(Outgoing::new("actions.pay", &[("Tenant", "a b")], b"1")));
    let keyless = caller.receipt_of("accepted");
    assert_eq!(
        (&keyless["key"], &keyless["expires_at"]),
        (&Value::Null, &Value::Null),
        "{keyless}"
    );
    assert!(keyless["run_id"].is_string(), "{keyless}");
    world.check();
}

#[test]
fn only_subjects_under_a_prefix_are_answered_and_the_others_counted() {
    let mut world = World::prepared(crate::support::server::Server::start(), Rules::default());
    world.gate.settings.set("answers.reply_prefixes", "[\"_INBOX.\", \"replies.\"]");
    world.gate.start();
    let mut everything = world.server.client();
    everything.subscribe("victim.>");
    everything.subscribe("replies.>");
    everything.subscribe("_INBOX.caller.>");
    let not_answered = [
        "victim.a",
        "_INBOX.",
        "_INBOX",
        "replies.*",
        "replies.>",
        "replies..a",
        "replies.a.",
        "oncegate.svc.lookup",
        "$JS.API.STREAM.DELETE.ACTIONS",
        "_ONCEGATE.x",
        "ONCEGATE",
        "oncegate.results.x",
        "actions.pay",
        "replies.a b",
    ];
    for (number, reply_to) in not_answered.iter().enumerate() {
        world.publish(&asking_at(pay(&format!("k{number}"), "1"), reply_to));
    }
    // Two are no wish.
    world.publish(&asking(asking(pay("two", "1"))));
    world.publish(&asking_at(pay("last", "1"), "replies.good"));
    let first = everything.delivery().unwrap();
    assert_eq!(first.subject, b"replies.good");
    let report = world.check();
    assert_eq!(report.entries_of("accepted"), not_answered.len() + 2);
    let ignored = world.gate.metrics().sum("oncegate_replies_ignored_total", &[]);
    assert_eq!(ignored, not_answered.len() as f64);
    let none_leaks = |name: &str| report.entries.iter().all(|entry| entry.header(name).is_none());
    assert!(none_leaks("Oncegate-Reply-To"));
}

/// Neither the verdict nor a duplicate's is told before the ledger has it.
#[test]
fn while_the_ledger_takes_nothing_there_is_no_receipt() {
    let mut world = World::started(Rules::default());
    let mut caller = Caller::of(&world);
    let id = run(&mut world, "old");
    let held = streams::info(&mut world.client, "ONCEGATE")["state"]["messages"].clone();
    streams::update(&mut world.client, "ONCEGATE", &json!({ "max_msgs": held }));
    world.publish(&asking(pay("old", "1")));
    world.publish(&asking(pay("new", "1")));
    world.publish(&asking(pay("old", "2")));
    world.report(&asking(result("old", &id, "succeeded", b"1")));
    world.capture();
    wait_until("it to say that the ledger is full", || world.gate.ready() == Some(503));
    caller.has_nothing();
    streams::update(&mut world.client, "ONCEGATE", &json!({ "max_msgs": -1 }));
    let mut verdicts: Vec<String> =
        (0..4).map(|_| caller.receipt().header("Oncegate-Verdict").unwrap().to_string()).collect();
    verdicts.sort();
    assert_eq!(verdicts, ["accepted", "completed", "duplicate", "rejected"]);
    world.check();
}

/// What a receipt says is in the ledger when it comes, and in the table.
#[test]
fn a_receipt_is_never_early() {
    let mut world = World::started(Rules::default());
    let mut caller = Caller::of(&world);
    for number in 0..150 {
        let key = format!("k{}", number / 2);
        let sequence = world.publish(&asking(pay(&key, "1")));
        let receipt = caller.receipt().body;
        let named = ledger::last_named(&mut world.client, "ONCEGATE");
        assert!(named.is_some_and(|named| named.sequence >= sequence), "{receipt}");
        let at = receipt["first"]["ledger_sequence"].as_u64().unwrap();
        let entry = ledger::read_from(&mut world.client, "ONCEGATE", at, at).remove(0);
        assert_eq!(entry.header("Oncegate-Run-Id"), receipt["run_id"].as_str());
        assert_eq!(known(&mut world, &key)["run_id"], receipt["run_id"]);
    }
    world.check();
}

#[test]
fn after_a_kill_a_retry_gets_the_first_result() {
    let mut world = World::started(Rules::default());
    let mut caller = Caller::of(&world);
    let id = run(&mut world, "k");
    world.report(&asking(result(
        "k",
        &id,
        "succeeded",
        br#"{"id": "ch_1", "n": 12345678901234567890123}"#,
    )));
    let completed = caller.receipt_of("completed");
    assert_eq!(completed["state"], "succeeded");
    for _ in 0..2 {
        world.gate.kill9();
        world.gate.start();
        world.publish(&asking(pay("k", "1")));
        let duplicate = caller.receipt_of("duplicate");
        assert_eq!((&duplicate["run_id"], &duplicate["state"]), (&json!(id), &json!("succeeded")));
        assert_eq!(duplicate["result"], completed["result"]);
        assert!(duplicate["result"].to_string().contains("ch_1"));
    }
    // Whose receipt was lost by the kill.
    world.publish(&asking(pay("k", "1")));
    world.gate.kill9();
    world.capture();
    world.gate.start();
    world.check();
    assert_eq!(known(&mut world, "k")["result"], completed["result"]);
}

#[test]
fn callers_who_are_gone_or_very_many_do_no_harm() {
    let mut world = World::started(Rules::default());
    let nobody: Vec<Outgoing> = (0..2_000)
        .map(|n| asking_at(pay(&format!("k{}", n / 2), "1"), &format!("{BOX}-gone.{n}")))
        .collect();
    world.publish_all(&nobody);
    let report = world.check();
    assert_eq!(report.entries_of("accepted"), 1_000);
    wait_until("all to be answered", || {
        let metrics = world.gate.metrics();
        let of = |name| metrics.sum(name, &[]);
        of("oncegate_receipts_total") + of("oncegate_receipts_dropped_total") == 2_000.0
    });
}

//! Reports: every row of the contract.

use serde_json::{Value, json};

use crate::asking::{Caller, asking, known, run, unknown};
use crate::support::model::Rules;
use crate::support::model::reports::Outcome::{Completed, Rejected, Released, Repeated};
use crate::support::raw::Outgoing;
use crate::support::world::{World, action, forget, result};
use crate::support::{streams, wait_until};

#[test]
fn a_result_stands_in_the_ledger_and_the_key_keeps_it() {
    for (status, payload, data) in [
        ("succeeded", br#"{"id": "ch_1", "n": 1.5}"#.as_slice(), json!({ "id": "ch_1", "n": 1.5 })),
        ("failed", b"null", Value::Null),
    ] {
        let mut world = World::started(Rules::default());
        let mut caller = Caller::of(&world);
        let id = run(&mut world, "k");
        let sequence = world.report(&asking(result("k", &id, status, payload)));
        let at = place_of_report(&world.reports_stream(), &mut world, sequence);
        let receipt = caller.receipt_of("completed");
        let report = world.check();
        assert_eq!(report.outcome(sequence), Completed(status));
        let entry = report.report_entry(sequence);
        assert_eq!(entry.subject, format!("oncegate.completed.{status}"));
        let shown = json!({ "status": status, "ledger_sequence": entry.sequence, "data": data });
        assert_eq!((&receipt["state"], &receipt["result"]), (&json!(status), &shown));
        assert_eq!((&receipt["replayed"], &receipt["source"]), (&json!(false), &at));
        let known = known(&mut world, "k");
        assert_eq!(
            (&known["state"], &known["result"], &known["run_id"]),
            (&json!(status), &shown, &json!(id))
        );
        world.publish(&asking(action("actions.pay", "k", "1")));
        let duplicate = caller.receipt_of("duplicate");
        assert_eq!((&duplicate["state"], &duplicate["result"]), (&json!(status), &shown));
        world.check();
    }
}

/// The report itself is gone once it is judged: its place as the ledger tells it.
fn place_of_report(stream: &str, world: &mut World, sequence: u64) -> Value {
    let report = world.check();
    let source = report.report_entry(sequence).source().unwrap();
    json!({ "stream": stream, "sequence": sequence, "time": format!("{:.9}", source.time) })
}

#[test]
fn a_run_that_had_no_effect_is_given_back_and_the_next_is_another() {
    let mut world = World::started(Rules::default());
    let mut caller = Caller::of(&world);
    let id = run(&mut world, "k");
    let retry = world.report(&asking(result("k", &id, "retry", b"busy")));
    let receipt = caller.receipt_of("released");
    assert_eq!((&receipt["run_id"], &receipt["key"]), (&json!(id), &json!("k")));
    unknown(&mut world, "k");
    // Another payload, since it is new.
    let again = world.publish(&asking(action("actions.pay", "k", "2")));
    let accepted = caller.receipt_of("accepted");
    assert_ne!(accepted["run_id"], json!(id));
    let late = world.report(&asking(result("k", &id, "succeeded", b"1")));
    assert_eq!(caller.receipt_of("rejected")["reason"], "unknown_run");
    let report = world.check();
    assert_eq!(report.outcome(retry), Released("retry"));
    assert_eq!(report.report_entry(retry).subject, "oncegate.released.retry");
    assert_eq!(report.outcome(late), Rejected("unknown_run"));
    assert_eq!(report.verdict(again), crate::support::model::Verdict::Accepted);
    assert_eq!(known(&mut world, "k")["state"], "pending");
}

#[test]
fn the_first_result_stands() {
    let mut world = World::started(Rules::default());
    let mut caller = Caller::of(&world);
    let id = run(&mut world, "k");
    let first = br#"{"a":1,"b":[2]}"#.as_slice();
    let mut told = Vec::new();
    for (status, payload, verdict, reason) in [
        ("succeeded", first, "completed", Value::Null),
        ("succeeded", first, "completed", Value::Null),
        ("succeeded", br#" {"b":[2.0],"a":1e0}"#, "completed", Value::Null),
        ("succeeded", br#"{"a":1,"b":[3]}"#, "rejected", json!("result_conflict")),
        ("failed", first, "rejected", json!("result_conflict")),
        ("retry", first, "rejected", json!("result_conflict")),
        ("succeeded", first, "completed", Value::Null),
    ] {
        let sequence = world.report(&asking(result("k", &id, status, payload)));
        let receipt = caller.receipt_of(verdict);
        assert_eq!(receipt["reason"], reason, "{receipt}");
        let replayed = verdict == "completed" && sequence > 1;
        assert_eq!(receipt["replayed"], replayed, "{receipt}");
        if verdict == "rejected" {
            assert_eq!((&receipt["run_id"], &receipt["result"]), (&Value::Null, &Value::Null));
        } else {
            assert_eq!(receipt["result"]["data"], json!({ "a": 1, "b": [2] }));
        }
        told.push(sequence);
    }
    let report = world.check();
    let outcomes: Vec<_> = told.iter().map(|sequence| report.outcome(*sequence)).collect();
    let conflict = Rejected("result_conflict");
    assert_eq!(
        outcomes,
        [Completed("succeeded"), Repeated, Repeated, conflict, conflict, conflict, Repeated]
    );
    let dead = report.report_entry(told[3]);
    assert_eq!(dead.subject, "oncegate.rejected.result_conflict");
    assert_eq!(dead.payload, br#"{"a":1,"b":[3]}"#);
    let count = |verdict, reason| {
        world
            .gate
            .metrics()
            .sum("oncegate_reports_total", &[("verdict", verdict), ("reason", reason)])
    };
    assert_eq!(count("completed", ""), 1.0);
    assert_eq!(count("repeated", ""), 3.0);
    assert_eq!(count("rejected", "result_conflict"), 3.0);
}

#[test]
fn runs_that_are_not_known_go_to_the_dead_letters() {
    let mut world = World::started(Rules::default());
    let mut caller = Caller::of(&world);
    let id = run(&mut world, "k");
    let other = run(&mut world, "other");
    let reports = [
        result("never", &id, "succeeded", b"1"),
        result("k", &other, "failed", b"1"),
        result("k", "00000000-0000-7000-8000-000000000000", "retry", b""),
        forget("never"),
    ];
    let mut sequences = Vec::new();
    for report in reports {
        sequences.push(world.report(&asking(report)));
        let receipt = caller.receipt_of("rejected");
        assert_eq!(receipt["reason"], "unknown_run");
        assert_eq!((&receipt["run_id"], &receipt["first"]), (&Value::Null, &Value::Null));
    }
    let report = world.check();
    for sequence in sequences {
        assert_eq!(report.outcome(sequence), Rejected("unknown_run"));
        assert_eq!(report.report_entry(sequence).subject, "oncegate.rejected.unknown_run");
    }
}

#[test]
fn a_result_after_the_window_is_of_no_run() {
    let mut world = World::started(Rules::window(1));
    let mut caller = Caller::of(&world);
    let id = run(&mut world, "k");
    let in_time = run(&mut world, "in-time");
    world.report(&asking(result("in-time", &in_time, "succeeded", b"1")));
    let first = caller.receipt();
    // Slow machines: it may have been late.
    assert!(first.body["verdict"] == "completed" || first.body["reason"] == "unknown_run");
    let mut sequence = 0;
    wait_until("the window to be over", || {
        sequence = world.report(&asking(result("k", &id, "perhaps", b"")));
        caller.receipt_of("rejected");
        unknown_by_now(&mut world)
    });
    sequence = world.report(&asking(result("k", &id, "succeeded", b"1"))).max(sequence);
    assert_eq!(caller.receipt_of("rejected")["reason"], "unknown_run");
    let report = world.check();
    assert_eq!(report.outcome(sequence), Rejected("unknown_run"));
    world.publish(&asking(action("actions.pay", "k", "1")));
    assert_ne!(caller.receipt_of("accepted")["run_id"], json!(id));
    world.check();
}

/// A look-up goes by the ledger's time, which dead letters move on.
fn unknown_by_now(world: &mut World) -> bool {
    let answer = crate::asking::look_up(world, &json!({ "key": "k" }));
    answer.error().is_some_and(|(code, _)| code == 404)
}

#[test]
fn a_report_that_says_nothing_usable_is_an_invalid_result() {
    let mut world = World::started(Rules::default());
    let mut caller = Caller::of(&world);
    let id = run(&mut world, "k");
    let (key, run_id) = (("Idempotency-Key", "k"), ("Oncegate-Run-Id", id.as_str()));
    let status = ("Oncegate-Status", "succeeded");
    let on_result = |headers: &[(&str, &str)]| Outgoing::new("oncegate.results.x", headers, b"1");
    let on_operator =
        |subject: &str, headers: &[(&str, &str)]| Outgoing::new(subject, headers, b"");
    let detail = ("Oncegate-Detail", "why not");
    let reports = [
        on_result(&[]),
        on_result(&[key, run_id]),
        on_result(&[key, status]),
        on_result(&[run_id, status]),
        on_result(&[key, run_id, ("Oncegate-Status", "Succeeded")]),
        on_result(&[key, run_id, ("Oncegate-Status", "pending")]),
        on_result(&[key, run_id, status, status]),
        on_result(&[key, key, run_id, status]),
        on_result(&[key, ("Oncegate-Run-Id", "k"), status]),
        on_result(&[("Idempotency-Key", ""), run_id, status]),
        on_result(&[key, run_id, status, ("Oncegate-Scope", "a")]),
        on_result(&[key, run_id, status, ("Oncegate-Scope", "[1]")]),
        on_result(&[key, run_id, status, ("Oncegate-Scope", "[\"\"]")]),
        on_operator("oncegate.operator.forget", &[key]),
        on_operator("oncegate.operator.forget", &[detail]),
        on_operator("oncegate.operator.forget.k", &[key, detail]),
        on_operator("oncegate.operator.pause", &[key, detail]),
    ];
    for report in reports {
        let sequence = world.report(&asking(report.clone()));
        let receipt = caller.receipt_of("rejected");
        assert_eq!(receipt["reason"], "invalid_result", "{report:?}");
        assert!(receipt["detail"].as_str().unwrap().contains(' '), "{receipt}");
        assert!(sequence > 0);
    }
    assert_eq!(known(&mut world, "k")["state"], "pending");
    let report = world.check();
    assert_eq!(report.entries_of("rejected"), 17);
}

#[test]
fn a_scoped_key_is_reported_on_with_its_scope() {
    let mut world = World::started(Rules { scope: vec!["header:Tenant"], ..Rules::default() });
    let mut caller = Caller::of(&world);
    let act = |tenant| {
        let headers = [("Idempotency-Key", "k"), ("Tenant", tenant)];
        asking(Outgoing::new("actions.pay", &headers, b"1"))
    };
    world.publish(&act("a"));
    let id = caller.receipt_of("accepted")["run_id"].as_str().unwrap().to_string();
    world.publish(&act("b"));
    caller.receipt_of("accepted");
    let on = |scope: &[(&str, &str)], status| {
        let mut headers = vec![
            ("Idempotency-Key", "k"),
            ("Oncegate-Run-Id", id.as_str()),
            ("Oncegate-Status", status),
        ];
        headers.extend(scope);
        asking(Outgoing::new("oncegate.results.x", &headers, b"1"))
    };
    world.report(&on(&[], "succeeded"));
    assert_eq!(caller.receipt_of("rejected")["reason"], "unknown_run");
    world.report(&on(&[("Oncegate-Scope", "[\"b\"]")], "succeeded"));
    assert_eq!(caller.receipt_of("rejected")["reason"], "unknown_run");
    world.report(&on(&[("Oncegate-Scope", "[ \"a\" ]")], "succeeded"));
    assert_eq!(caller.receipt_of("completed")["scope"], json!(["a"]));
    world.publish(&act("b"));
    assert_eq!(caller.receipt_of("duplicate")["state"], "pending");
    world.check();
}

#[test]
fn settled_reports_leave_their_stream() {
    let mut world = World::started(Rules::default());
    let id = run(&mut world, "k");
    let mut reports = vec![result("k", &id, "succeeded", b"1"); 300];
    reports.push(result("x", &id, "failed", b"1"));
    reports.push(forget("k"));
    reports.extend(vec![result("k", &id, "succeeded", b"1"); 300]);
    world.report_all(&reports);
    let report = world.check();
    // The same report is judged by what it finds: before the key was forgotten, and after.
    assert_eq!(report.entries_of("rejected"), 301);
    let stream = world.reports_stream();
    wait_until("the stream to be empty", || {
        streams::info(&mut world.client, &stream)["state"]["messages"] == 0
    });
    assert_eq!(streams::last_sequence(&mut world.client, &stream), 602);
}

//! A ledger that somebody wrote over: each change is found, named and placed.

use serde_json::json;

use crate::stage::{Audit, Copied, difference, of_input, rewrite};
use crate::support::model::Rules;
use crate::support::raw::Outgoing;
use crate::support::streams;
use crate::support::world::World;

/// Two keys, with retries that are the same and one that is not, and a key that is missing.
///
/// Inputs: 1 accepted k, 2 accepted l, 3 and 4 duplicates of k, 5 mismatch of k, 6 missing key, 7 accepted m.
fn tampered(change: impl FnOnce(&mut Vec<Copied>)) -> Audit {
    let mut world = World::started(Rules::default());
    world.act("k", r#"{"amount":10}"#);
    world.publish(&Outgoing::new(
        "actions.mail",
        &[("Idempotency-Key", "l"), ("Trace", "t1")],
        b"2",
    ));
    world.act("k", r#"{"amount":10}"#);
    world.act("k", r#"{"amount":10.0}"#);
    // So that the duplicates have a marker.
    world.settle();
    world.act("k", r#"{"amount":1000}"#);
    world.publish(&Outgoing::new("actions.mail", &[], b"no key"));
    world.act("m", "3");
    rewrite(&mut world, change);
    Audit::of(&world)
}

#[test]
fn nothing_is_found_where_nothing_was_changed() {
    let audit = tampered(|_| {});
    audit.is_clean();
    audit.counts("accepted", 3);
    audit.counts("rejected", 2);
    audit.counts("duplicates", 2);
}

#[test]
fn an_entry_that_is_missing() {
    let audit = tampered(|entries| {
        entries.remove(of_input(entries, "rejected", 5));
    });
    let finding = audit.only();
    assert_eq!(finding["kind"], "missing");
    assert_eq!((&finding["input"]["sequence"], &finding["key"]), (&json!(5), &json!("k")));
    let (what, expected, found) = difference(finding);
    assert_eq!((what, found), ("entry", "none"));
    let first = "rejected payload_mismatch (first accepted as ledger entry 2)";
    assert_eq!(expected, first);
}

#[test]
fn an_accepted_entry_that_is_missing_is_one_discrepancy_whatever_rests_on_it() {
    let audit = tampered(|entries| {
        let at = of_input(entries, "accepted", 1);
        entries.remove(at);
        // What names it by its place names the place it would have now.
        let mismatch = of_input(entries, "rejected", 5);
        entries[mismatch].set("Oncegate-First-Sequence", "1");
    });
    let finding = audit.only();
    assert_eq!((&finding["kind"], &finding["input"]["sequence"]), (&json!("missing"), &json!(1)));
}

#[test]
fn a_hole_in_the_ledger() {
    let mut world = World::started(Rules::default());
    world.act("k", "1");
    world.act("l", "2");
    world.act("m", "3");
    rewrite(&mut world, |_| {});
    streams::update(&mut world.client, "ONCEGATE", &json!({ "allow_direct": true }));
    let audit = Audit::of(&world);
    audit.is_clean();
    // A ledger can't be told to delete; a copy of it can.
    let last = streams::last_sequence(&mut world.client, "ONCEGATE");
    let copies = streams::read(&mut world.client, "ONCEGATE", 1..=last);
    streams::delete(&mut world.client, "ONCEGATE");
    let config = streams::ledger_config(&json!({ "deny_delete": false, "deny_purge": false }));
    streams::create(&mut world.client, &config);
    for copy in copies {
        let subject = copy.subject.into_bytes();
        let message = Outgoing { subject, headers: copy.headers, payload: copy.payload };
        world.client.publish(&message);
    }
    let gone =
        streams::must(world.client.api("STREAM.MSG.DELETE.ONCEGATE", &json!({ "seq": last - 1 })));
    assert_eq!(gone["success"], true);
    let audit = Audit::of(&world);
    assert_eq!(audit.code, Some(1));
    let kinds: Vec<_> = audit.findings.iter().map(|f| f["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["missing", "missing"], "{audit:#?}");
    assert_eq!(audit.findings[0]["ledger_sequence"], last - 1);
    assert_eq!(audit.findings[1]["input"]["sequence"], 2);
}

#[test]
fn an_entry_that_is_doubled() {
    let audit = tampered(|entries| {
        let at = of_input(entries, "accepted", 7);
        entries.push(entries[at].clone());
    });
    let finding = audit.only();
    assert_eq!((&finding["kind"], &finding["key"]), (&json!("doubled"), &json!("m")));
    assert_eq!(finding["input"]["sequence"], 7);
}

#[test]
fn entries_that_are_swapped() {
    let audit = tampered(|entries| {
        let at = of_input(entries, "rejected", 6);
        entries.swap(at, at + 1);
    });
    let told: Vec<_> = audit
        .findings
        .iter()
        .map(|finding| (finding["kind"].as_str().unwrap(), finding["input"]["sequence"].clone()))
        .collect();
    assert_eq!(told, [("missing", json!(6)), ("out_of_order", json!(6))], "{audit:#?}");
    assert_eq!(audit.code, Some(1));
}

#[test]
fn a_wrong_reason() {
    let audit = tampered(|entries| {
        let at = of_input(entries, "rejected", 6);
        entries[at].set("Oncegate-Reason", "invalid_key");
        entries[at].subject = entries[at].subject.replace("missing_key", "invalid_key");
    });
    let finding = audit.only();
    let expected = ("verdict", "rejected missing_key", "rejected invalid_key");
    assert_eq!(difference(finding), expected);
    assert_eq!(finding["input"]["sequence"], 6);
    assert!(finding["ledger_sequence"].is_u64());
}

#[test]
fn a_reason_that_can_not_be_true() {
    let audit = tampered(|entries| {
        let at = of_input(entries, "accepted", 7);
        let entry = &mut entries[at];
        entry.subject = entry.subject.replace("accepted", "rejected.too_large");
        entry.headers.retain(|(name, _)| name != "Oncegate-Run-Id");
        entry.headers.push(("Oncegate-Reason".into(), "too_large".into()));
        entry.headers.push(("Oncegate-Detail".into(), "so it says".into()));
    });
    assert_eq!(difference(audit.only()), ("verdict", "accepted", "rejected too_large"));
}

#[test]
fn a_wrong_digest() {
    let audit = tampered(|entries| {
        let at = of_input(entries, "accepted", 1);
        let wrong = "json:00000000000000000000000000000001";
        entries[at].set("Oncegate-Digest", wrong);
    });
    let (what, _, found) = difference(audit.only());
    assert_eq!((what, found), ("Oncegate-Digest", "json:00000000000000000000000000000001"));
}

#[test]
fn a_wrong_first_run() {
    let audit = tampered(|entries| {
        let at = of_input(entries, "rejected", 5);
        entries[at].set("Oncegate-First-Run-Id", "0199b2f0-7c1e-7000-8000-0123456789ab");
        entries[at].set("Oncegate-First-Sequence", "4");
    });
    let finding = audit.only();
    let whats: Vec<_> = finding["differences"]
        .as_array()
        .unwrap()
        .iter()
        .map(|difference| difference["what"].as_str().unwrap())
        .collect();
    assert_eq!(whats, ["Oncegate-First-Run-Id", "Oncegate-First-Sequence"]);
}

#[test]
fn a_payload_and_headers_that_are_not_the_publisher_s() {
    let audit = tampered(|entries| {
        let at = of_input(entries, "accepted", 2);
        entries[at].payload = b"22".to_vec();
        entries[at].set("Trace", "t2");
    });
    let finding = audit.only();
    let differences = finding["differences"].as_array().unwrap();
    assert_eq!(differences[0]["what"], "publisher's headers");
    assert_eq!(
        (&differences[0]["expected"], &differences[0]["found"]),
        (&json!("Trace: t1"), &json!("Trace: t2"))
    );
    assert_eq!(differences[1]["what"], "payload");
}

#[test]
fn another_subject() {
    let audit = tampered(|entries| {
        let at = of_input(entries, "accepted", 2);
        entries[at].subject = "oncegate.accepted.actions.other".into();
    });
    let expected = ("subject", "oncegate.accepted.actions.mail", "oncegate.accepted.actions.other");
    assert_eq!(difference(audit.only()), expected);
}

#[test]
fn a_time_that_is_not_the_input_s() {
    let audit = tampered(|entries| {
        let at = of_input(entries, "rejected", 6);
        let source = entries[at].header("Oncegate-Source").to_owned();
        let (place, _) = source.rsplit_once(' ').unwrap();
        entries[at].set("Oncegate-Source", &format!("{place} 2026-01-01T00:00:00.000000000Z"));
    });
    assert_eq!(difference(audit.only()).0, "Oncegate-Source");
}

#[test]
fn a_wrong_count_of_duplicates() {
    for wrong in ["0", "1", "3"] {
        let audit = tampered(|entries| {
            let at = of_input(entries, "judged", 4);
            let told = entries[at].header("Oncegate-Duplicates").to_owned();
            // The gate may have paused between the two.
            entries[at].set("Oncegate-Duplicates", if told == wrong { "2" } else { wrong });
        });
        assert_eq!(difference(audit.only()).0, "Oncegate-Duplicates");
    }
}

#[test]
fn rules_that_are_not_those_of_the_fingerprint() {
    let audit = tampered(|entries| {
        let body = String::from_utf8(entries[0].payload.clone()).unwrap();
        entries[0].payload =
            body.replace("\"window_ms\"", "\"rules_fingerprint_\":0,\"window_ms\"").into();
        let mut body: serde_json::Value = serde_json::from_slice(&entries[0].payload).unwrap();
        body["rules_fingerprint"] = json!("0000000000000000");
        entries[0].payload = body.to_string().into();
    });
    assert_eq!(difference(audit.only()).0, "rules_fingerprint");
}

//! What is no longer there can't be checked, and is never taken for wrong.

use serde_json::json;

use crate::stage::{Audit, Copied, difference, of_input, rewrite};
use crate::support::load::mixed;
use crate::support::model::{Rules, Verdict};
use crate::support::raw::Outgoing;
use crate::support::streams;
use crate::support::world::World;

#[test]
fn the_entries_of_a_work_queue_are_judged_from_themselves() {
    let fields = json!({ "retention": "workqueue" });
    let mut world = World::with_input(Rules::default(), &fields);
    world.publish_all(&mixed(500, "k", 7));
    world.publish(&Outgoing::new("actions.\u{a0}x", &[("Idempotency-Key", "u")], b"hidden"));
    let big = vec![b'x'; (1 << 20) - 60];
    world.publish(&Outgoing::new("actions.big", &[("Idempotency-Key", "big")], &big));
    world.act("end", "1");
    world.capture();
    world.gate.start();
    let report = world.check();
    let audit = Audit::of(&world);
    audit.is_clean();
    audit.counts("accepted", report.entries_of("accepted"));
    audit.counts("rejected", report.entries_of("rejected"));
    audit.counts("inputs_gone", 503);
}

/// A work queue's ledger, of a key that is accepted, comes back otherwise, and of another key.
fn queued(change: impl FnOnce(&mut Vec<Copied>)) -> Audit {
    let fields = json!({ "retention": "workqueue" });
    let mut world = World::with_input(Rules::default(), &fields);
    world.act("k", "1");
    world.act("k", "2");
    world.act("l", "3");
    world.capture();
    world.gate.start();
    rewrite(&mut world, change);
    Audit::of(&world)
}

#[test]
fn a_payload_that_was_changed_shows_without_its_input() {
    let audit = queued(|entries| {
        let at = of_input(entries, "accepted", 3);
        entries[at].payload = b"4".to_vec();
    });
    assert_eq!(difference(audit.only()).0, "Oncegate-Digest");
}

#[test]
fn a_key_that_was_accepted_twice_shows_without_its_input() {
    let audit = queued(|entries| {
        let mismatch = of_input(entries, "rejected", 2);
        let accepted = entries[of_input(entries, "accepted", 1)].clone();
        let source = entries[mismatch].header("Oncegate-Source").to_owned();
        // As the gate would have written it, had it forgotten the key.
        let mut forged = accepted;
        forged.set("Oncegate-Source", &source);
        forged.set("Oncegate-Run-Id", &run_id(&source, "k"));
        forged.payload = entries[mismatch].payload.clone();
        let digest = entries[mismatch].header("Oncegate-Digest").to_owned();
        forged.set("Oncegate-Digest", &digest);
        entries[mismatch] = forged;
    });
    let finding = audit.only();
    let (what, expected, found) = difference(finding);
    assert_eq!((what, found), ("verdict", "accepted"));
    assert!(expected.starts_with("rejected payload_mismatch"), "{finding}");
}

fn run_id(source: &str, key: &str) -> String {
    use oncegate::gate::key::ActionKey;
    use oncegate::gate::source::Source;
    let source: Source = source.parse().unwrap();
    source.run_id(Some(&ActionKey::new::<&str>(&[], key))).hyphenated().to_string()
}

#[test]
fn a_trimmed_ledger_leaves_keys_unknown() {
    let mut world = World::started(Rules::default());
    world.publish_all(&mixed(200, "a", 1));
    world.settle();
    world.gate.restart();
    world.publish_all(&mixed(200, "a", 1));
    world.publish_all(&mixed(100, "b", 2));
    world.settle();
    world.gate.stop();
    let stream = world.ledger();
    let last = streams::last_sequence(&mut world.client, &stream);
    let entries = streams::read(&mut world.client, &stream, 1..=last);
    let second_term =
        entries.iter().rposition(|entry| entry.subject == "oncegate.leading").unwrap() as u64;
    world.trim_ledger(last - second_term + 3);
    let audit = Audit::of(&world);
    audit.is_clean();
    audit.counts("before_first_term", 3);
    assert!(audit.summary["entries_trimmed"].as_u64().unwrap() > 0, "{audit:#?}");
    assert!(audit.summary["not_checkable"].as_u64().unwrap() >= 100, "{audit:#?}");
    assert!(audit.summary["unknown_until"].is_string(), "{audit:#?}");
}

#[test]
fn inputs_that_the_stream_dropped_are_counted() {
    let mut world = World::started(Rules::default());
    world.publish_all(&mixed(300, "k", 5));
    let report = world.check();
    streams::trim(&mut world.client, "ACTIONS", 100);
    let audit = Audit::of(&world);
    audit.is_clean();
    audit.counts("inputs_gone", 200);
    audit.counts("accepted", report.entries_of("accepted"));
}

#[test]
fn an_input_that_was_made_anew_is_another() {
    let mut world = World::started(Rules::default());
    world.publish_all(&mixed(100, "k", 5));
    world.settle();
    world.gate.stop();
    streams::delete(&mut world.client, "ACTIONS");
    streams::create(&mut world.client, &streams::input_config(&json!({})));
    world.input_is_new();
    let unread = Audit::of(&world);
    unread.is_clean();
    unread.counts("inputs_gone", 100);
    world.gate.start();
    world.publish_all(&mixed(150, "k", 6));
    let report = world.check();
    let audit = Audit::of(&world);
    audit.is_clean();
    audit.counts("inputs_gone", 100);
    audit.counts("accepted", report.count(|verdict| verdict == Verdict::Accepted));
}

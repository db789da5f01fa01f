//! No false discrepancy, whatever the gate went through.

use std::time::Duration;

use serde_json::json;

use crate::stage::{Audit, rewrite};
use crate::support::load::mixed;
use crate::support::model::{Rules, Verdict};
use crate::support::raw::Outgoing;
use crate::support::streams;
use crate::support::wait_until;
use crate::support::world::{World, action};

fn odd() -> Vec<Outgoing> {
    let key = [("Idempotency-Key", "odd")];
    vec![
        Outgoing::with_block("actions.odd", b"N", b"hidden"),
        Outgoing::with_block("actions.odd", b"NATS/1.0\r\nA: b\rc\r\n\r\n", b"hidden"),
        Outgoing::new("actions.\u{a0}x", &[("Idempotency-Key", "u")], b"hidden"),
        Outgoing { subject: b"actions.\xff".to_vec(), ..Outgoing::new("", &key, b"hidden") },
        Outgoing::new(
            &format!("actions.{}", "long".repeat(985)),
            &[("Idempotency-Key", "l")],
            b"1",
        ),
        Outgoing::new("actions.big", &[("Idempotency-Key", "big")], &vec![b'x'; (1 << 20) - 60]),
        Outgoing::new("actions.x", &[("Idempotency-Key", &"k".repeat(256))], b"too long a key"),
        Outgoing::new("actions.x", &[("Idempotency-Key", "h"), ("X", "1"), ("X", "2")], b"[1]"),
        Outgoing::new("actions.x", &[("Idempotency-Key", "h"), ("Nats-Nothing", "1")], b"[2]"),
        Outgoing::new("actions.x", &[("Oncegate-Run-Id", "forged")], br#"{"idempotency_key":"j"}"#),
    ]
}

/// Actions, retries of all ages, odd messages, kills, rules and window that change.
fn eventful() -> World {
    let mut world = World::started(Rules::default());
    world.publish_all(&mixed(600, "a", 1));
    world.publish_all(&odd());
    world.settle();
    world.gate.kill9();
    world.publish_all(&mixed(300, "b", 2));
    world.gate.start();
    world.publish_all(&mixed(300, "b", 3));
    let ignoring = Rules { ignore: vec!["/to"], ..Rules::default() };
    world.change_rules(ignoring.clone(), &[]);
    // Retries of what was accepted under other rules, the same and not.
    world.publish_all(&mixed(600, "a", 1));
    world.act("a1", r#"{"amount":1,"to":"somebody else"}"#);
    world.publish_all(&mixed(300, "c", 4));
    let short = Rules { window: Duration::from_secs(3600), ..ignoring };
    world.change_rules(short, &[]);
    world.publish_all(&mixed(300, "c", 5));
    world
}

#[test]
fn an_eventful_ledger_has_no_discrepancy() {
    let mut world = eventful();
    let report = world.check();
    let audit = Audit::of(&world);
    audit.is_clean();
    audit.counts("accepted", report.entries_of("accepted"));
    audit.counts("rejected", report.entries_of("rejected"));
    audit.counts("duplicates", report.count(|verdict| verdict == Verdict::Duplicate));
    for nothing in ["inputs_gone", "not_checkable", "foreign", "not_yet_judged", "entries_trimmed"]
    {
        audit.counts(nothing, 0);
    }
}

#[test]
fn a_ledger_that_is_written_over_unchanged_is_the_same() {
    let mut world = eventful();
    rewrite(&mut world, |_| {});
    Audit::of(&world).is_clean();
}

#[test]
fn keys_that_expired_are_new() {
    let mut world = World::started(Rules::window(1));
    world.act("k", "1");
    world.act("k", "1");
    world.settle();
    wait_until("the key to be forgotten", || {
        let sequence = world.act("k", "1");
        world.check().verdict(sequence) == Verdict::Accepted
    });
    world.act("k", "2");
    let report = world.check();
    let audit = Audit::of(&world);
    audit.is_clean();
    audit.counts("accepted", report.entries_of("accepted"));
}

#[test]
fn scoped_keys_and_actions_without_one() {
    let rules = Rules {
        scope: vec!["subject:2", "header:Tenant"],
        forward_missing: true,
        ..Rules::default()
    };
    let mut world = World::started(rules);
    for (subject, tenant) in [("actions.a", "1"), ("actions.b", "1"), ("actions.a", "2")] {
        let headers = [("Idempotency-Key", "k"), ("Tenant", tenant)];
        world.publish(&Outgoing::new(subject, &headers, b"1"));
        world.publish(&Outgoing::new(subject, &headers, b"1"));
        world.publish(&Outgoing::new(subject, &headers, b"2"));
    }
    world.publish(&action("actions.a", "k", "without a tenant"));
    world.publish(&Outgoing::new("actions.free", &[], b"no key"));
    world.publish(&Outgoing::new("actions.free", &[], b"no key"));
    let report = world.check();
    let audit = Audit::of(&world);
    audit.is_clean();
    audit.counts("accepted", report.entries_of("accepted"));
}

#[test]
fn json_alone_is_taken_where_the_rules_say_so() {
    let mut world = World::started(Rules { compare: "json", ..Rules::default() });
    world.act("k", "{}");
    world.act("k", "{ }");
    world.act("l", "no json");
    world.act("m", "");
    world.check();
    Audit::of(&world).is_clean();
}

#[test]
fn what_is_not_judged_yet_is_counted() {
    let mut world = World::started(Rules::default());
    world.act("k", "1");
    world.settle();
    world.gate.stop();
    world.publish_all(&mixed(30, "later", 1));
    let audit = Audit::of(&world);
    audit.is_clean();
    audit.counts("not_yet_judged", 30);
}

#[test]
fn it_is_told_for_people_too() {
    let mut world = World::started(Rules::default());
    world.act("k", "1");
    world.act("k", "1");
    world.settle();
    let told = world.gate.call(&["audit"]);
    assert_eq!(told.code, Some(0), "{told:#?}");
    for words in ["1 accepted", "1 duplicates", "no discrepancy"] {
        assert!(told.stdout.contains(words), "{words}: {told:#?}");
    }
}

#[test]
fn without_a_ledger_there_is_nothing_to_audit() {
    let world = World::with_input(Rules::default(), &json!({}));
    let told = world.gate.call(&["audit"]);
    assert_eq!(told.code, Some(1), "{told:#?}");
    told.says(&["no ledger stream ONCEGATE"]);
}

#[test]
fn other_subjects_of_the_input_stream_are_none_of_its_business() {
    let fields = json!({ "subjects": ["actions.>", "other.>"] });
    let mut world = World::with_input(Rules::default(), &fields);
    world.gate.start();
    for n in 0..20 {
        world.publish(&Outgoing::new("other.x", &[], b"1"));
        world.act(&format!("k{}", n / 2), "1");
    }
    world.settle();
    streams::last_sequence(&mut world.client, "ACTIONS");
    let audit = Audit::of(&world);
    audit.is_clean();
    audit.counts("duplicates", 10);
}

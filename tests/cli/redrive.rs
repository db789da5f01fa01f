//! `oncegate redrive`.

use crate::support::model::{Rules, Verdict};
use crate::support::raw::Outgoing;
use crate::support::world::{World, action};
use crate::{has_fields, objects};

fn stored_headers(world: &mut World, sequence: u64) -> Vec<(String, String)> {
    let stored = crate::support::streams::get(&mut world.client, "ACTIONS", sequence).unwrap();
    crate::support::model::parse_block(&stored.headers.unwrap()).unwrap()
}

#[test]
fn a_mismatch_comes_back_under_a_new_key() {
    let mut world = World::started(Rules::default());
    world.act("k", "1");
    let headers = [("Idempotency-Key", "k"), ("Trace", "t"), ("Trace", "u")];
    let rejected = world.publish(&Outgoing::new("actions.pay", &headers, b"2"));
    let entry = world.check().entry(rejected).clone();
    let sequence = entry.sequence.to_string();
    let refused = world.gate.call(&["redrive", &sequence]);
    assert_eq!(refused.code, Some(1));
    refused.says(&["\"k\"", "--key", "accepted before"]);
    let told = objects(&world.gate.call(&["redrive", &sequence, "--key", "new", "--json"]));
    let [told] = told.as_slice() else { panic!("{told:?}") };
    has_fields(told, &["stream", "sequence", "key", "subject", "redrive_of"]);
    assert_eq!((&told["stream"], &told["key"]), (&"ACTIONS".into(), &"new".into()));
    let back = told["sequence"].as_u64().unwrap();
    let report = world.check();
    assert_eq!(report.verdict(back), Verdict::Accepted);
    assert_eq!(report.entry(back).subject, "oncegate.accepted.actions.pay");
    assert_eq!(report.entry(back).payload, b"2");
    let mut headers = stored_headers(&mut world, back);
    headers.sort();
    let pair = |name: &str, value: &str| (name.to_string(), value.to_string());
    let expected = [
        pair("Idempotency-Key", "new"),
        pair("Redrive-Of", &sequence),
        pair("Trace", "t"),
        pair("Trace", "u"),
    ];
    let of_publisher = headers.iter().filter(|(name, _)| name != "Nats-Expected-Stream");
    assert!(of_publisher.eq(expected.iter()), "{headers:?}");
    // Sent twice, it is still performed once.
    let again = objects(&world.gate.call(&["redrive", &sequence, "--key", "new", "--json"]));
    let again = again[0]["sequence"].as_u64().unwrap();
    assert_eq!(world.check().verdict(again), Verdict::Duplicate);
}

#[test]
fn a_missing_key_can_be_given() {
    let mut world = World::started(Rules::default());
    let rejected = world.publish(&Outgoing::new("actions.mail", &[], b""));
    let sequence = world.check().entry(rejected).sequence.to_string();
    let refused = world.gate.call(&["redrive", &sequence]);
    refused.says(&["--key"]);
    assert_eq!(refused.code, Some(1));
    let told = world.gate.call(&["redrive", &sequence, "--key", "given"]);
    assert_eq!(told.stdout, "ACTIONS 2 key given\n", "{told:#?}");
    assert_eq!(world.check().verdict(2), Verdict::Accepted);
}

#[test]
fn a_key_that_was_forgotten_can_be_used_again() {
    let mut world = World::started(Rules::default());
    world.act("k", "1");
    let rejected = world.act("k", "2");
    let sequence = world.check().entry(rejected).sequence.to_string();
    world.gate.stop();
    let release = |key| {
        let headers = [("Idempotency-Key", key), ("Oncegate-Detail", "it never went out")];
        Outgoing::new("oncegate.released.operator", &headers, b"")
    };
    world.publish(&release("another"));
    assert_eq!(world.gate.call(&["redrive", &sequence]).code, Some(1));
    world.publish(&release("k"));
    let told = world.gate.call(&["redrive", &sequence]);
    assert_eq!((told.code, told.stdout.as_str()), (Some(0), "ACTIONS 3 key k\n"), "{told:#?}");
}

#[test]
fn what_can_not_be_put_back_is_refused_with_the_reason() {
    let mut world = World::started(Rules::default());
    let of_json = |key: &str, amount: u32| {
        let payload = format!(r#"{{"idempotency_key":"{key}","amount":{amount}}}"#);
        Outgoing::new("actions.pay", &[], payload.as_bytes())
    };
    world.publish(&of_json("j", 1));
    let in_payload = world.publish(&of_json("j", 2));
    let odd = world.publish(&Outgoing::with_block("actions.odd", b"N", b"x"));
    let big = vec![b'x'; (1 << 20) - 60];
    let too_large = world.publish(&action("actions.big", "big", ""));
    let headers = [("Idempotency-Key", "bigger")];
    let bigger = world.publish(&Outgoing::new("actions.big", &headers, &big));
    let unroutable =
        world.publish(&Outgoing::new("actions.\u{a0}x", &[("Idempotency-Key", "u")], b"1"));
    let accepted = world.act("k", "1");
    let mismatch = world.act("k", "2");
    let report = world.check();
    assert_eq!(report.verdict(too_large), Verdict::Accepted);
    let refused = |world: &World, input: u64, words: &[&str]| {
        let sequence = report.entry(input).sequence.to_string();
        let ending = world.gate.call(&["redrive", &sequence, "--key", "new"]);
        assert_eq!((ending.code, ending.stdout.as_str()), (Some(1), ""), "{ending:#?}");
        ending.says(words);
    };
    refused(&world, in_payload, &["comes from the payload", "json:/idempotency_key"]);
    refused(&world, odd, &["lacks the action's headers"]);
    refused(&world, bigger, &["lacks the action's payload"]);
    refused(&world, unroutable, &["rejected for its subject"]);
    refused(&world, accepted, &["not a rejected action"]);
    let missing = world.gate.call(&["redrive", "999", "--key", "new"]);
    assert_eq!(missing.code, Some(1));
    missing.says(&["no entry 999", "1 to"]);
    let sequence = report.entry(mismatch).sequence.to_string();
    let bad = world.gate.call(&["redrive", &sequence, "--key", " spaced "]);
    assert_eq!(bad.code, Some(1));
    world.gate.settings.set("input.subjects", "[\"actions.mail\"]");
    refused(&world, mismatch, &["actions.pay is not among input.subjects", "actions.mail"]);
    assert_eq!(crate::support::streams::last_sequence(&mut world.client, "ACTIONS"), mismatch);
}

//! What stands in an entry of the ledger, and what does not.

use serde_json::json;

use crate::support::model::Verdict::{Accepted, Duplicate, Rejected};
use crate::support::model::{Rules, parse_block};
use crate::support::raw::Outgoing;
use crate::support::streams;
use crate::support::world::World;
use crate::{INVALID, MALFORMED, MISMATCH, MISSING, Row, keyed, play};

#[test]
fn a_publisher_cannot_forge_what_the_gate_or_the_server_says() {
    let fields = json!({ "allow_msg_ttl": true, "allow_rollup_hdrs": true });
    let mut world = World::with_input(Rules::default(), &fields);
    world.gate.start();
    let forged = [
        ("Idempotency-Key", "k1"),
        ("oncegate-run-id", "01990000-0000-7000-8000-000000000000"),
        ("ONCEGATE-SOURCE", "ACTIONS 1 2020-01-01T00:00:00.000000000Z"),
        ("Oncegate-Reason", "payload_mismatch"),
        ("Oncegate-First-Sequence", "1"),
        ("Oncegate-Anything", "x"),
        ("Oncegate-", "x"),
        ("Nats-Msg-Id", "m1"),
        ("Nats-TTL", "1h"),
        ("nats-ttl", "1s"),
        ("nAtS-rOlLuP", "all"),
        ("Nats-Expected-Stream", "ACTIONS"),
        ("nats-expected-last-sequence", "999"),
        ("nats-schedule", "@every 1s"),
        ("Nats-Trace-Dest", "trace"),
        ("Nats-Anything", "x"),
        ("Trace-Id", "abc"),
        ("trace-id", "def"),
        ("Trace-Id", "ghi"),
        ("Empty", ""),
        ("Spaced", "  a  b\t "),
        ("Unicode", "grüße 🚀"),
        ("Natsy", "mine"),
        ("Oncegates", "mine"),
        ("X!#$%&'*+-.^_`|~(),/;<=>?@[]{}\"\\", "odd but allowed"),
    ];
    let sequence = world.publish(&Outgoing::new("actions.pay", &forged, b"{}"));
    let again = world.publish(&Outgoing::new("actions.pay", &forged[..7], b"{}"));
    let changed = world.publish(&Outgoing::new("actions.pay", &forged[..7], b"[]"));
    let roll = [("Idempotency-Key", "k2"), ("Nats-Rollup", "sub"), ("Nats-TTL", "never")];
    let rolled = world.publish(&Outgoing::new("actions.rolled", &roll, b"{}"));
    let report = world.check();
    assert_eq!(report.verdict(sequence), Accepted);
    assert_eq!(report.verdict(again), Duplicate);
    assert_eq!(report.verdict(changed), MISMATCH);
    assert_eq!(report.verdict(rolled), Accepted);
    let entry = report.entry(sequence);
    let own: Vec<&str> = entry
        .headers
        .iter()
        .map(|(name, _)| name.as_str())
        .filter(|name| name.to_lowercase().starts_with("oncegate-"))
        .collect();
    assert_eq!(own.len(), 3, "{own:?}");
}

#[test]
fn a_message_id_of_the_publisher_is_the_servers_affair() {
    let fields = json!({ "duplicate_window": 120_000_000_000_u64 });
    let mut world = World::with_input(Rules::default(), &fields);
    world.gate.start();
    let send = |world: &mut World, key: &str| {
        let headers = [("Idempotency-Key", key), ("Nats-Msg-Id", "same")];
        world.client.publish(&Outgoing::new("actions.pay", &headers, b"{}"))
    };
    assert!(!send(&mut world, "k1").duplicate);
    assert!(send(&mut world, "k2").duplicate, "the input drops it");
    world.act("k2", "{}");
    let report = world.check();
    assert_eq!(report.judged.len(), 2);
    assert_eq!(report.count(|verdict| verdict == Accepted), 2);
}

#[test]
fn an_entry_looks_as_the_contract_says() {
    let mut world = World::started(Rules::default());
    let first = world.act("k1", r#"{"a":1}"#);
    let other = world.act("k1", r#"{"a":2}"#);
    let report = world.check();
    let (accepted, rejected) = (report.entry(first), report.entry(other));
    assert_eq!(accepted.subject, "oncegate.accepted.actions.pay");
    assert_eq!(accepted.payload, br#"{"a":1}"#);
    assert_eq!(rejected.subject, "oncegate.rejected.payload_mismatch.actions.pay");
    assert_eq!(rejected.payload, br#"{"a":2}"#);
    assert_eq!(rejected.header("Oncegate-First-Run-Id"), accepted.header("Oncegate-Run-Id"));
    let detail = rejected.header("Oncegate-Detail").unwrap();
    assert!(detail.contains(' ') && !detail.contains("{\"a\""), "{detail}");
    let stored = streams::get(&mut world.client, "ONCEGATE", accepted.sequence).unwrap();
    assert!(parse_block(&stored.headers.unwrap()).is_some());
}

#[test]
fn every_reason_once_in_the_order_of_the_contract() {
    let mut world = World::started(Rules { compare: "json", ..Rules::default() });
    let key = ("Idempotency-Key", "k");
    let whole = vec![b' '; (1 << 20) - 100];
    let full_of = |key: &str| {
        let mut payload = whole.clone();
        payload[0] = b'1';
        Outgoing::new("actions.big", &[("Idempotency-Key", key)], &payload)
    };
    let far = format!("actions.{}", "s".repeat(3_930));
    let broken = Outgoing::with_block(&far, b"NATS/1.0\r\nbroken\r\n\r\n", b"{");
    #[rustfmt::skip]
    let rows = [
        Row("first", Outgoing::new("actions.pay", &[key], b"1"), Accepted),
        Row("headers before all", broken, Rejected("malformed_headers")),
        Row("then the key", Outgoing::new(&far, &[], b"{"), MISSING),
        Row("then its form", Outgoing::new(&far, &[("Idempotency-Key", "")], b"{"), INVALID),
        Row("then the payload", Outgoing::new(&far, &[key], b"{"), MALFORMED),
        Row("then its history", full_of("k"), MISMATCH),
        Row("then its size", full_of("big"), Rejected("too_large")),
        Row("then its subject", Outgoing::new(&far, &[("Idempotency-Key", "far")], b"1"), Rejected("unroutable")),
        Row("an unroutable key is free", Outgoing::new("actions.pay", &[("Idempotency-Key", "far")], b"2"), Accepted),
        Row("a key too large is free", Outgoing::new("actions.pay", &[("Idempotency-Key", "big")], b"2"), Accepted),
    ];
    play(&mut world, &rows);
}

#[test]
fn a_name_of_its_own() {
    let mut world = World::started(Rules { name: "pay-gate_2", ..Rules::default() });
    #[rustfmt::skip]
    let rows = [
        keyed("a first use", "k", "1", Accepted),
        keyed("again", "k", "1.0", Duplicate),
        keyed("changed", "k", "2", MISMATCH),
    ];
    play(&mut world, &rows);
    assert_eq!(world.ledger(), "PAY-GATE_2");
    assert!(world.gate.metrics().has("oncegate_actions_total"));
}

#[test]
fn a_ledger_that_takes_smaller_messages_than_the_server() {
    let small = Rules { max_payload: 20_000, ..Rules::default() };
    let mut world = World::with_input(small, &json!({}));
    let config = streams::ledger_config(&json!({ "max_msg_size": 20_000 }));
    streams::create(&mut world.client, &config);
    world.gate.start();
    #[rustfmt::skip]
    let rows = [
        keyed("small enough", "a", &"x".repeat(10_000), Accepted),
        keyed("too large", "b", &"x".repeat(19_999), Rejected("too_large")),
        keyed("far too large", "b", &"x".repeat(500_000), Rejected("too_large")),
        keyed("a mismatch too large to keep", "a", &"x".repeat(19_999), MISMATCH),
        keyed("the key is still free", "b", "x", Accepted),
    ];
    play(&mut world, &rows);
}

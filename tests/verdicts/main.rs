//! What becomes of an action: the contract's verdicts, through a real server.
#![allow(
    dead_code,
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a test fails by panicking, and each file uses its own part of the support"
)]

#[path = "../support/mod.rs"]
mod support;

mod entries;
mod inputs;
mod keys;
mod payloads;
mod rules;
mod windows;

use support::model::Rules;
use support::model::Verdict::{self, Accepted, Duplicate, Rejected};
use support::raw::Outgoing;
use support::wait_until;
use support::world::{World, action};

const MISMATCH: Verdict = Rejected("payload_mismatch");

const MISSING: Verdict = Rejected("missing_key");

const INVALID: Verdict = Rejected("invalid_key");

const MALFORMED: Verdict = Rejected("malformed_payload");

/// A row of a verdict table: what it shows, what is published, what must come of it.
struct Row(&'static str, Outgoing, Verdict);

/// A row whose key is in the header.
fn keyed(what: &'static str, key: &str, payload: &str, verdict: Verdict) -> Row {
    Row(what, action("actions.pay", key, payload), verdict)
}

fn with(what: &'static str, headers: &[(&str, &str)], payload: &str, verdict: Verdict) -> Row {
    let message = Outgoing::new("actions.pay", headers, payload.as_bytes());
    Row(what, message, verdict)
}

fn on(what: &'static str, subject: &str, key: &str, payload: &str, verdict: Verdict) -> Row {
    Row(what, action(subject, key, payload), verdict)
}

/// Publishes the rows, waits for the ledger, and compares it with the model and the table.
#[track_caller]
fn play(world: &mut World, rows: &[Row]) {
    let messages: Vec<Outgoing> = rows.iter().map(|row| row.1.clone()).collect();
    let sequences = world.publish_all(&messages);
    let report = world.check();
    for (Row(what, _, expected), sequence) in rows.iter().zip(sequences) {
        assert_eq!(report.verdict(sequence), *expected, "{what}");
    }
}

#[test]
fn the_table_of_the_contract() {
    let mut world = World::started(Rules::default());
    #[rustfmt::skip]
    let rows = [
        keyed("a first use", "k1", r#"{"a":1}"#, Accepted),
        keyed("the same again", "k1", r#"{"a":1}"#, Duplicate),
        keyed("another payload", "k1", r#"{"a":2}"#, MISMATCH),
        keyed("the first payload once more", "k1", r#"{"a":1}"#, Duplicate),
        keyed("the other payload once more", "k1", r#"{"a":2}"#, MISMATCH),
        on("another subject", "actions.refund", "k1", r#"{"a":1}"#, MISMATCH),
        keyed("another key", "k2", r#"{"a":1}"#, Accepted),
        keyed("keys know upper case", "K1", r#"{"a":1}"#, Accepted),
        with("no key", &[], "hello", MISSING),
        with("no headers, no payload", &[], "", MISSING),
        with("other headers", &[("Trace", "1")], r#"{"a":1}"#, MISSING),
        keyed("an empty key", "", "x", INVALID),
        keyed("not JSON", "bytes", "plain text", Accepted),
        keyed("the same bytes", "bytes", "plain text", Duplicate),
        keyed("one byte more", "bytes", "plain text ", MISMATCH),
        keyed("an empty payload", "nothing", "", Accepted),
        keyed("an empty payload again", "nothing", "", Duplicate),
        keyed("nothing is not null", "nothing", "null", MISMATCH),
    ];
    play(&mut world, &rows);
    // They are counted once they are in the table, which is after the ledger has them.
    wait_until("the verdicts are counted", || world.gate.metrics().accepted() == 5.0);
    let metrics = world.gate.metrics();
    assert_eq!(metrics.duplicates(), 4.0);
    assert_eq!(metrics.rejected(), 9.0);
    let reason = [("verdict", "rejected"), ("reason", "payload_mismatch")];
    assert_eq!(metrics.sum("oncegate_actions_total", &reason), 5.0);
}
